//! The server: all state, and which function answers which message.
//!
//! One thread. A request that has to wait is kept by its id in `deferred` and answered later; nothing is kept of a caller's memory.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use abi::{Error, Handle, Rights};
use protocol::process::{Request, native_flags};
use protocol::{Errno, Reply};

use crate::deadline::Event;
use crate::futex::{Key, Queues};
use crate::image::Image;
use crate::kernel;
use crate::open_files::OpenFile;
use crate::ram::Ram;
use crate::space::Space;
use crate::table::{Process, State, Table};
use crate::wait::Question;

/// Kinds of badges: bits 60–63. Below: epoch (28 bits), pid (32 bits).
pub(crate) mod badge {
    /// A native program's connection; badge 0 is init's.
    pub(crate) const NATIVE: u64 = 1;
    /// A POSIX process's connection.
    pub(crate) const POSIX: u64 = 2;
    /// Where faults come from.
    pub(crate) const FAULT: u64 = 3;
    /// A pidfd.
    pub(crate) const FILE: u64 = 4;
    /// An open timer or signal set.
    pub(crate) const OPEN: u64 = 5;

    /// A badge.
    #[must_use]
    pub(crate) const fn make(kind: u64, epoch: u32, pid: u32) -> u64 {
        kind << 60 | (epoch as u64 & 0xfff_ffff) << 32 | pid as u64
    }

    /// Kind, epoch, pid.
    #[must_use]
    pub(crate) const fn split(badge: u64) -> (u64, u32, u32) {
        (badge >> 60, (badge >> 32) as u32 & 0xfff_ffff, badge as u32)
    }
}

/// A message that arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    /// To be answered.
    pub(crate) request: u64,
    /// The connection's.
    pub(crate) badge: u64,
    /// The message's number.
    pub(crate) label: u64,
    /// Its words.
    pub(crate) words: [u64; 4],
    /// Bytes that the caller sent in all.
    pub(crate) sent: u64,
    /// Bytes that it can take back.
    pub(crate) room: u64,
    /// The first of its bytes.
    pub(crate) bytes: &'a [u8],
}

/// A request that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deferred {
    /// For a child.
    Wait { pid: u32, question: Question },
    /// For a signal.
    Signal { pid: u32, tid: u32, set: u64, deadline: u64 },
    /// For a word of memory.
    Futex { pid: u32, key: Key, deadline: u64 },
    /// For something to read, with room for so much.
    Read { file: u32, room: u64 },
    /// For a task to replace its image or to end.
    Task { pid: u32, task: u32 },
}

impl Deferred {
    /// Who asked.
    const fn pid(&self) -> u32 {
        match self {
            Self::Wait { pid, .. } | Self::Signal { pid, .. } | Self::Futex { pid, .. } | Self::Task { pid, .. } => {
                *pid
            }
            // Whoever has the file may read it.
            Self::Read { .. } => 0,
        }
    }

    const fn deadline(&self) -> u64 {
        match self {
            Self::Signal { deadline, .. } | Self::Futex { deadline, .. } => *deadline,
            Self::Wait { .. } | Self::Read { .. } | Self::Task { .. } => u64::MAX,
        }
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// This answer.
    Answer(Reply),
    /// This answer, with so many bytes of `Server::out`.
    Bytes(Reply, usize),
    /// It is answered later, or was already.
    Later,
}

impl Outcome {
    /// Done.
    pub(crate) const DONE: Self = Self::Answer(Reply::DONE);

    /// Done, with words.
    #[must_use]
    pub(crate) const fn ok(words: [u64; 4]) -> Self {
        Self::Answer(Reply::ok(words))
    }
}

/// Room for an answer's bytes.
pub(crate) const OUT: usize = 4096;

/// All state.
pub(crate) struct Server {
    /// Where messages arrive.
    pub(crate) gate: Handle,
    /// Where threads' faults go.
    pub(crate) fault_connection: Handle,
    /// RAM to give out.
    pub(crate) ram: Ram,
    /// Address spaces by id.
    pub(crate) spaces: BTreeMap<u64, Space>,
    /// Who there is.
    pub(crate) table: Table,
    /// Who waits for memory to change.
    pub(crate) futexes: Queues,
    /// Timers and signal sets that are open as files.
    pub(crate) files: BTreeMap<u32, OpenFile>,
    /// Requests that wait.
    pub(crate) deferred: BTreeMap<u64, Deferred>,
    /// When what is due.
    pub(crate) deadlines: BTreeSet<(u64, Event)>,
    /// The personality.
    pub(crate) image: Option<Image>,
    /// The system page, read-only; its physical address.
    pub(crate) system_page: (Handle, u64),
    /// Pulses to raise when a session's leader ends.
    pub(crate) session_watchers: Vec<Handle>,
    /// A handle that came with the message being served.
    pub(crate) gift: Option<Handle>,
    /// An answer's bytes.
    pub(crate) out: [u8; OUT],
    /// Processes made since boot.
    pub(crate) forks: u64,
    /// POSIX processes that there may be.
    pub(crate) process_limit: usize,
    /// What to add to monotonic time for the time of day.
    pub(crate) realtime_offset_ns: u64,
    /// Load averages and when they were computed.
    pub(crate) load: crate::record::Load,
    /// Connections made so far.
    pub(crate) epochs: u32,
    /// Lines that the log has not taken yet, newest last.
    pub(crate) notes: Vec<alloc::string::String>,
    /// RAM of native programs that others show.
    pub(crate) lent: crate::lent::Lent,
}

impl Server {
    /// A server with this gate and this RAM, knowing nobody but init and itself.
    pub(crate) fn new(gate: Handle, fault_connection: Handle, ram: Ram) -> Self {
        let mut server = Self {
            gate,
            fault_connection,
            ram,
            spaces: BTreeMap::new(),
            table: Table::default(),
            futexes: Queues::default(),
            files: BTreeMap::new(),
            deferred: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            image: None,
            system_page: (Handle::NONE, 0),
            session_watchers: Vec::new(),
            gift: None,
            out: [0; OUT],
            forks: 0,
            process_limit: 0,
            realtime_offset_ns: 0,
            load: crate::record::Load::default(),
            epochs: 0,
            notes: Vec::new(),
            lent: crate::lent::Lent::default(),
        };
        server.add_first();
        server
    }

    /// Keep a request until it is answered.
    pub(crate) fn defer(&mut self, request: u64, deferred: Deferred, deadline: u64) {
        self.deferred.insert(request, deferred);
        if deadline != u64::MAX {
            self.deadlines.insert((deadline, Event::Request(request)));
        }
    }

    /// A request no longer waits.
    pub(crate) fn forget(&mut self, request: u64) -> Option<Deferred> {
        let deferred = self.deferred.remove(&request)?;
        self.deadlines.remove(&(deferred.deadline(), Event::Request(request)));
        if let Deferred::Futex { key, .. } = deferred {
            self.futexes.remove(key, request);
        }
        Some(deferred)
    }

    /// Nobody waits any more on behalf of a process; nobody is answered.
    pub(crate) fn forget_process(&mut self, pid: u32) {
        let requests: Vec<u64> =
            self.deferred.iter().filter(|(_, deferred)| deferred.pid() == pid).map(|(&request, _)| request).collect();
        for request in requests {
            self.forget(request);
        }
    }

    /// A request's deadline has come.
    pub(crate) fn timed_out(&mut self, request: u64) {
        match self.forget(request) {
            Some(Deferred::Futex { .. }) => self.reply_error(request, Errno::ETIMEDOUT),
            Some(Deferred::Signal { .. }) => self.reply_error(request, Errno::EAGAIN),
            _ => {}
        }
    }

    /// The caller of a request wants to leave.
    pub(crate) fn unblock(&mut self, request: u64) {
        if self.forget(request).is_some() {
            self.reply_error(request, Errno::EINTR);
        }
    }

    /// Answer with an error.
    pub(crate) fn reply_error(&self, request: u64, errno: Errno) {
        // A caller that is gone needs no answer.
        let _ = kernel::reply(request, u64::from(errno.0), [0; 4], &[], None);
    }

    /// Answer with bytes; false if the caller got nothing of it (it is gone, or is told to repeat).
    pub(crate) fn reply_bytes(&self, request: u64, reply: Reply, bytes: &[u8]) -> bool {
        match kernel::reply(request, reply.label, reply.words, bytes, None) {
            Ok(()) => true,
            Err(abi::Error::Gone) => false,
            Err(_) => {
                let _ = kernel::reply(request, Reply::RETRY.label, [0; 4], &[], None);
                false
            }
        }
    }

    /// Answer with a handle; false if the caller did not get it.
    pub(crate) fn reply_handle(&self, request: u64, reply: Reply, handle: Handle, rights: Rights) -> bool {
        match kernel::reply(request, reply.label, reply.words, &[], Some((handle, rights))) {
            Ok(()) => true,
            Err(abi::Error::Gone) => false,
            Err(_) => {
                self.reply_error(request, Errno::EMFILE);
                false
            }
        }
    }

    /// A connection to the gate for a process, replacing an earlier one: only the newest counts. `charge`: the request whose
    /// caller pays for it, 0: the service.
    pub(crate) fn connect(&mut self, kind: u64, pid: u32, charge: u64) -> Result<Handle, Errno> {
        self.epochs = self.epochs.wrapping_add(1) & 0xfff_ffff;
        let epoch = self.epochs;
        let made = kernel::connect(self.gate, badge::make(kind, epoch, pid), charge);
        let connection = made.map_err(|error| match error {
            Error::NoRight => Errno::EPERM,
            _ => Errno::ENOMEM,
        })?;
        if matches!(kind, badge::NATIVE | badge::POSIX)
            && let Some(process) = self.table.process_mut(pid)
        {
            process.epoch = epoch;
        }
        Ok(connection)
    }

    /// The space that a process runs in.
    pub(crate) fn space_of(&self, pid: u32) -> Result<u64, Errno> {
        self.table.process(pid).map(|process| process.space).filter(|&space| space != 0).ok_or(Errno::ESRCH)
    }

    /// The space itself, with what it is changed with.
    pub(crate) fn space_and_ram(&mut self, pid: u32) -> Result<(&mut Space, &mut Ram), Errno> {
        let id = self.space_of(pid)?;
        let space = self.spaces.get_mut(&id).ok_or(Errno::ESRCH)?;
        Ok((space, &mut self.ram))
    }

    /// A thread's number, if it is one of the process's own.
    pub(crate) fn own_thread(&self, pid: u32, tid: u64) -> Result<u32, Errno> {
        let tid = u32::try_from(tid).map_err(|_| Errno::ESRCH)?;
        self.table.threads.get(&tid).filter(|thread| thread.pid == pid).map(|thread| thread.tid).ok_or(Errno::ESRCH)
    }

    /// The bytes that came with a message, all of them, at most `most`.
    pub(crate) fn all_bytes(&self, call: &Call, most: usize) -> Result<Vec<u8>, Errno> {
        let length = call.sent as usize;
        if length > most {
            return Err(Errno::E2BIG);
        }
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(length).map_err(|_| Errno::ENOMEM)?;
        bytes.extend_from_slice(&call.bytes[..call.bytes.len().min(length)]);
        if bytes.len() < length {
            let got = bytes.len();
            bytes.resize(length, 0);
            let read = kernel::read_request(call.request, got as u64, &mut bytes[got..]).map_err(|_| Errno::EFAULT)?;
            bytes.truncate(got + read as usize);
        }
        Ok(bytes)
    }

    /// Answer a message.
    pub(crate) fn serve(&mut self, call: &Call) -> Outcome {
        self.sweep_lent();
        let result = match badge::split(call.badge) {
            (0, ..) => self.serve_native(crate::table::INIT, call),
            (badge::NATIVE, epoch, pid) if self.is_current(pid, epoch) => self.serve_native(pid, call),
            (badge::POSIX, epoch, pid) if self.is_current(pid, epoch) => self.serve_posix(pid, call),
            (badge::FAULT, ..) => Ok(self.serve_fault(call)),
            (badge::FILE, _, pid) => self.serve_process_file(pid, call),
            (badge::OPEN, _, number) => self.serve_open_file(number, call),
            _ => Err(Errno::ESRCH),
        };
        result.unwrap_or_else(|errno| {
            let label = if errno.0 == RETRY_MARK { Reply::RETRY } else { Reply::error(errno) };
            Outcome::Answer(label)
        })
    }

    fn is_current(&self, pid: u32, epoch: u32) -> bool {
        self.table.process(pid).is_some_and(|process| process.epoch == epoch && process.state != State::Zombie)
    }

    fn flags(&self, pid: u32) -> u64 {
        self.table.process(pid).and_then(|process| process.native.as_ref()).map_or(0, |native| native.flags)
    }

    fn permit(&self, pid: u32, flag: u64) -> Result<(), Errno> {
        let flags = self.flags(pid);
        if flags & (flag | native_flags::INIT) == 0 { Err(Errno::EPERM) } else { Ok(()) }
    }

    /// Messages of native programs.
    fn serve_native(&mut self, pid: u32, call: &Call) -> Result<Outcome, Errno> {
        let request = Request::decode(call.label, call.words).ok_or(Errno::ENOSYS)?;
        match request {
            Request::Allocate { length, flags: _ } => self.allocate(pid, length, call),
            Request::Release { number } => self.release(pid, number),
            Request::SystemPage {} => {
                self.reply_handle(call.request, Reply::DONE, self.system_page.0, Rights::READ.and(Rights::COPY));
                Ok(Outcome::Later)
            }
            Request::AddNative { flags } => {
                self.permit(pid, native_flags::INIT)?;
                self.add_native(flags, call)
            }
            Request::RemoveNative { pid: gone } => {
                self.permit(pid, native_flags::INIT)?;
                self.remove_native(gone as u32)
            }
            Request::Spawn { flags: _ } => {
                self.permit(pid, native_flags::SPAWN)?;
                self.spawn(pid, call)
            }
            Request::SignalGroup { group, signal } => {
                self.permit(pid, native_flags::CONSOLE)?;
                self.console_signal(group as u32, signal)
            }
            Request::SetTerminal { session, terminal } => {
                self.permit(pid, native_flags::CONSOLE)?;
                self.set_terminal(session as u32, terminal as u32)
            }
            Request::SetRealtime { offset_ns } => {
                self.permit(pid, native_flags::CLOCK)?;
                self.set_realtime(offset_ns);
                Ok(Outcome::DONE)
            }
            Request::WatchSessions {} => {
                self.permit(pid, native_flags::CONSOLE)?;
                let pulse = self.gift.take().ok_or(Errno::EINVAL)?;
                // One console: an earlier one is dead.
                for old in self.session_watchers.drain(..) {
                    kernel::close(old);
                }
                self.session_watchers.push(pulse);
                Ok(Outcome::DONE)
            }
            Request::Group { group } => self.group(group as u32),
            Request::SignalIgnored { pid, signal } => {
                Ok(Outcome::ok([u64::from(self.signal_ignored(pid as u32, signal as u32)), 0, 0, 0]))
            }
            Request::Wait { selector, options } => {
                self.wait(pid, Question { selector: selector as i64, options }, call)
            }
            Request::Kill { pid: target, signal, code, value } => self.kill(pid, target as i64, signal, code, value),
            other => self.serve_tools(pid, other, call),
        }
    }

    /// Messages that anybody may send: looking at others.
    fn serve_tools(&mut self, pid: u32, request: Request, call: &Call) -> Result<Outcome, Errno> {
        match request {
            Request::Identity { pid: other } => self.identity(if other == 0 { pid } else { other as u32 }),
            Request::Areas { pid: other, from } => self.areas(if other == 0 { pid } else { other as u32 }, from, call),
            Request::Next { after } => self.next(after),
            Request::Record { pid: other } => self.record(if other == 0 { pid } else { other as u32 }),
            Request::CommandLine { pid: other } => self.command_line(if other == 0 { pid } else { other as u32 }, call),
            Request::System {} => self.system(),
            Request::NextThread { pid: other, after } => {
                self.next_thread(if other == 0 { pid } else { other as u32 }, after)
            }
            _ => Err(Errno::ENOSYS),
        }
    }

    /// Messages of POSIX processes.
    fn serve_posix(&mut self, pid: u32, call: &Call) -> Result<Outcome, Errno> {
        let request = Request::decode(call.label, call.words).ok_or(Errno::ENOSYS)?;
        match request {
            Request::ThreadPrepare { block, maker } => self.thread_prepare(pid, block, maker),
            Request::ThreadStart { tid, entry, stack, argument } => self.thread_start(pid, tid, entry, stack, argument),
            Request::ThreadExit { tid, clear, status } => self.thread_exit(pid, tid, clear, status),
            Request::Exit { status } => {
                self.end_process(pid, crate::wait::exited(status));
                Ok(Outcome::Later)
            }
            Request::ExitSignal { signal, core } => {
                let signal =
                    u32::try_from(signal).ok().filter(|signal| (1..65).contains(signal)).ok_or(Errno::EINVAL)?;
                self.end_by_signal(pid, signal, core != 0);
                Ok(Outcome::Later)
            }
            Request::Fork { entry, stack, argument, block } => self.fork(pid, [entry, stack, argument, block], call),
            Request::TaskPrepare { block, flags } => self.task_prepare(pid, block, flags, call),
            Request::TaskStart { pid: task, entry, stack, argument } => {
                self.task_start(pid, task as u32, entry, stack, argument)
            }
            Request::TaskWait { pid: task } => self.task_wait(pid, task as u32, call),
            Request::Wait { selector, options } => {
                self.wait(pid, Question { selector: selector as i64, options }, call)
            }

            Request::ExecBegin {} => self.exec_begin(pid),
            Request::ExecMap { address, length, access, memory_offset } => {
                self.exec_map(pid, address, length, access, memory_offset)
            }
            Request::ExecWrite { address } => self.exec_write(pid, address, call),
            Request::ExecKeep {} => self.exec_keep(pid, call),
            Request::ExecCommit { block } => self.exec_commit(pid, block, call),
            Request::ExecAbort {} => self.exec_abort(pid),

            Request::Map { address, length, access, flags } => self.map(pid, address, length, access, flags),
            Request::Unmap { address, length } => {
                if length == 0 {
                    return Err(Errno::EINVAL);
                }
                let (space, ram) = self.space_and_ram(pid)?;
                let piece = space.soon_unmapped(address, length);
                space.unmap(ram, address, piece).map(|()| Outcome::ok([piece, 0, 0, 0])).map_err(|errno| {
                    // munmap knows no ENOMEM for addresses out of range.
                    if errno == Errno::ENOMEM && crate::space::check_range(address, length).is_err() {
                        Errno::EINVAL
                    } else {
                        errno
                    }
                })
            }
            Request::Protect { address, length, access } => {
                let (space, ram) = self.space_and_ram(pid)?;
                space.protect(ram, address, length, access).map(|()| Outcome::DONE)
            }
            Request::Remap { address, old_length, new_length, flags } => {
                self.remap(pid, address, old_length, new_length, flags, call)
            }
            Request::Advise { address, length, advice } => self.advise(pid, address, length, advice),
            Request::Resident { address, length } => self.resident(pid, address, length, call),

            Request::SetAction { signal, disposition, flags } => self.set_action(pid, signal, disposition, flags),
            Request::SetMask { tid, mask } => self.set_mask(pid, tid, mask),
            Request::Kill { pid: target, signal, code, value } => self.kill(pid, target as i64, signal, code, value),
            Request::ThreadKill { pid: target, tid, how, value } => self.thread_kill(pid, target, tid, how, value),
            Request::TakeSignal { tid } => self.take_signal(pid, tid, call),
            Request::SignalWait { tid, set, deadline } => self.signal_wait(pid, tid, set, deadline, call),
            Request::TimerCreate { clock, notify, value } => self.timer_create(pid, clock, notify, value),
            Request::TimerSet { number, value_ns, interval_ns, flags } => {
                self.timer_set(pid, number, value_ns, interval_ns, flags)
            }
            Request::TimerGet { number } => self.timer_get(pid, number),
            Request::TimerOverrun { number } => self.timer_overrun(pid, number),
            Request::TimerDelete { number } => self.timer_delete(pid, number),

            Request::FutexWait { address, expected, deadline, flags } => {
                self.futex_wait(pid, address, expected, deadline, flags, call)
            }
            Request::FutexWake { address, count, bitset, flags } => self.futex_wake(pid, address, count, bitset, flags),
            Request::FutexLock { address, tid, deadline, flags } => {
                self.futex_lock(pid, address, tid, deadline, flags, call)
            }
            Request::FutexUnlock { address, tid, flags } => self.futex_unlock(pid, address, tid, flags),
            Request::FutexRequeue { address, count, target, expected } => {
                self.futex_requeue(pid, address, count, target, expected)
            }

            Request::SetGroup { pid: target, group } => self.set_group(pid, target, group),
            Request::SetSession {} => self.set_session(pid),
            Request::SetUser { user, group } => {
                let process = self.table.process_mut(pid).ok_or(Errno::ESRCH)?;
                (process.user, process.group_id) = (user, group);
                Ok(Outcome::DONE)
            }
            Request::Limit { pid: target, resource, soft, hard } => self.limit(pid, target, resource, soft, hard),
            Request::SetName { tid } => self.set_name(pid, tid, call),
            Request::SetDeathSignal { signal } => {
                let process = self.table.process_mut(pid).ok_or(Errno::ESRCH)?;
                process.death_signal = u32::try_from(signal).ok().filter(|&signal| signal < 65).ok_or(Errno::EINVAL)?;
                Ok(Outcome::DONE)
            }
            Request::Subreaper { wish } => {
                let process = self.table.process_mut(pid).ok_or(Errno::ESRCH)?;
                process.subreaper = if wish < 2 { wish == 1 } else { process.subreaper };
                Ok(Outcome::ok([u64::from(process.subreaper), 0, 0, 0]))
            }
            Request::Schedule { tid, policy, priority } => self.schedule_thread(pid, tid, policy, priority),
            Request::Nice { which, who, nice } => self.nice(pid, which, who, nice),
            Request::Usage { who, number } => self.usage(pid, who, number),
            Request::Enlarge { connections, pulses, pages } => {
                let (space, _) = self.space_and_ram(pid)?;
                let count = |more: u64| u32::try_from(more).unwrap_or(u32::MAX);
                space.enlarge_by(count(connections), count(pulses), count(pages)).map(|()| Outcome::DONE)
            }
            Request::ProcessFile { pid: target } => self.process_file(target, call),
            Request::OpenTimer { real, flags } => self.open_timer(real, flags, call),
            Request::OpenSignals { set, flags } => self.open_signals(pid, set, flags, call),
            other => self.serve_tools(pid, other, call),
        }
    }

    /// Something to say to whoever looks after the machine.
    pub(crate) fn note(&mut self, text: alloc::string::String) {
        // Bounded: what nobody fetches is lost, oldest first.
        if self.notes.len() >= 16 {
            self.notes.remove(0);
        }
        self.notes.push(text);
    }

    /// The last handle to a connection is gone.
    pub(crate) fn closed(&mut self, badge: u64) {
        let (kind, epoch, pid) = badge::split(badge);
        if kind == badge::OPEN {
            return self.file_closed(pid);
        }
        if !self.is_current(pid, epoch) {
            return;
        }
        match kind {
            badge::NATIVE => self.release_all(pid),
            // A POSIX process without its connection can neither exit nor be told anything: its library is broken, or its
            // maker gave it up.
            badge::POSIX => self.end_by_signal(pid, crate::signal::SIGKILL, false),
            _ => {}
        }
    }

    /// A process that is there to be looked at.
    pub(crate) fn known(&self, pid: u32) -> Result<&Process, Errno> {
        self.table.process(pid).ok_or(Errno::ESRCH)
    }
}

/// Not an errno: stands for "repeat with your buffers present".
pub(crate) const RETRY_MARK: u16 = 0xfff;

/// Repeat with your buffers present.
pub(crate) const RETRY: Errno = Errno(RETRY_MARK);
