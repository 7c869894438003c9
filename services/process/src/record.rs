//! What tools are told: records of processes, threads and the system.

use abi::PAGE_SIZE;
use abi::thread::State as ThreadState;
use protocol::process::{ProcessRecord, Resources, SystemRecord, ThreadRecord, map_flags};
use protocol::{Errno, Reply};

use crate::kernel;
use crate::server::{Call, Outcome, Server};
use crate::signal::{Disposition, bit};
use crate::table::{Process, SERVICE, State};

/// Load averages in 1/65536, and when they were computed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Load {
    averages: [u64; 3],
    at_ns: u64,
}

impl Load {
    /// Move towards `running` for the time since the last look, in steps of 5 seconds as Linux does (`kernel/sched/loadavg.c`).
    fn update(&mut self, running: u64, now_ns: u64) {
        const STEP_NS: u64 = 5_000_000_000;
        // e^(-5/60), e^(-5/300), e^(-5/900) in 1/2048.
        const DECAY: [u64; 3] = [1884, 2014, 2037];
        let steps = (now_ns.saturating_sub(self.at_ns) / STEP_NS).min(1000);
        if steps == 0 {
            return;
        }
        self.at_ns = now_ns - now_ns % STEP_NS;
        for _ in 0..steps {
            for (average, decay) in self.averages.iter_mut().zip(DECAY) {
                *average = (*average * decay + (running << 16) * (2048 - decay)) / 2048;
            }
        }
    }
}

/// Bytes of a record in the making.
struct Out<'a> {
    bytes: &'a mut [u8],
    length: usize,
}

impl Out<'_> {
    fn put(&mut self, bytes: &[u8]) {
        if let Some(place) = self.bytes.get_mut(self.length..self.length + bytes.len()) {
            place.copy_from_slice(bytes);
            self.length += bytes.len();
        }
    }

    fn put_u32(&mut self, numbers: &[u32]) {
        for number in numbers {
            self.put(&number.to_le_bytes());
        }
    }

    fn put_u64(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.put(&number.to_le_bytes());
        }
    }
}

impl Server {
    /// CPU time of a process so far.
    pub(crate) fn cpu_ns(&self, process: &Process) -> u64 {
        let threads = process.threads.iter().filter_map(|tid| self.table.threads.get(tid));
        process.cpu_ns + threads.map(|thread| kernel::activity(thread.handle).cpu_ns).sum::<u64>()
    }

    /// What a process has used.
    pub(crate) fn resources(&self, pid: u32) -> Resources {
        let Some(process) = self.table.process(pid) else { return Resources::default() };
        let peak = self.spaces.get(&process.space).map_or(0, |space| space.peak).max(process.peak);
        Resources {
            user_ns: self.cpu_ns(process),
            system_ns: 0,
            children_ns: process.children_ns,
            resident_maximum: peak * PAGE_SIZE,
            minor_faults: process.faults,
            major_faults: 0,
        }
    }

    /// `Usage`.
    pub(crate) fn usage(&mut self, pid: u32, who: u64, number: u64) -> Result<Outcome, Errno> {
        let resources = match who {
            0 => {
                let number = u32::try_from(number).map_err(|_| Errno::ESRCH)?;
                let other = if number == 0 { pid } else { number };
                self.known(other)?;
                self.resources(other)
            }
            1 => {
                let process = self.known(pid)?;
                Resources {
                    user_ns: process.children_ns,
                    resident_maximum: process.children_peak * PAGE_SIZE,
                    minor_faults: process.children_faults,
                    ..Resources::default()
                }
            }
            2 => {
                let tid = self.own_thread(pid, number)?;
                let cpu_ns = self.table.threads.get(&tid).map_or(0, |thread| kernel::activity(thread.handle).cpu_ns);
                Resources { user_ns: cpu_ns, ..self.resources(pid) }
            }
            _ => return Err(Errno::EINVAL),
        };
        self.out[..48].copy_from_slice(&crate::wait::resource_bytes(&resources));
        Ok(Outcome::Bytes(Reply::DONE, 48))
    }

    /// R, S, D, T or Z.
    fn letter(&self, process: &Process) -> u8 {
        match process.state {
            State::Zombie => b'Z',
            State::Stopped => b'T',
            State::Embryo => b'D',
            State::Running => {
                let runs = |state: u32| {
                    matches!(
                        ThreadState::from_number(state as u8),
                        Some(ThreadState::Running | ThreadState::Ready | ThreadState::Fault)
                    )
                };
                let mut threads = process.threads.iter().filter_map(|tid| self.table.threads.get(tid));
                if threads.any(|thread| runs(kernel::activity(thread.handle).state)) { b'R' } else { b'S' }
            }
        }
    }

    fn fill(&mut self, pid: u32) -> Result<usize, Errno> {
        let process = self.known(pid)?;
        let space = self.spaces.get(&process.space);
        let (virtual_bytes, resident) = match (space, &process.native) {
            (Some(space), _) => {
                let library = map_flags::LIBRARY as u8;
                let areas = space.areas.from(0).filter(|(_, _, kind)| kind.flags & library == 0);
                (areas.map(|(start, end, _)| end - start).sum(), space.pages.count())
            }
            (None, Some(native)) => (native.pages() * PAGE_SIZE, native.pages()),
            (None, None) => (0, 0),
        };
        let mut sets = [process.pending.set(), 0, 0, 0];
        if let Some(thread) = process.threads.first().and_then(|tid| self.table.threads.get(tid)) {
            sets[0] |= thread.pending.set();
            sets[1] = thread.mask;
        }
        for signal in 1..65 {
            match process.actions[signal as usize].disposition {
                Disposition::Ignored => sets[2] |= bit(signal),
                Disposition::Handled => sets[3] |= bit(signal),
                Disposition::Default => {}
            }
        }
        let terminal = self.table.terminals.get(&process.session).copied().unwrap_or(0);
        let (letter, cpu_ns) = (self.letter(process), self.cpu_ns(process));
        let threads = if process.native.is_some() { 1 } else { process.threads.len() as u32 };
        let head = [
            process.pid,
            process.parent,
            process.group,
            process.session,
            terminal,
            u32::from(if process.native.is_some() { b'S' } else { letter }),
            threads,
            u32::from(process.nice),
        ];
        let ids = [process.user, process.group_id];
        let name = process.name;
        let figures =
            [process.start_ns, cpu_ns, virtual_bytes, resident * PAGE_SIZE, u64::from(process.native.is_some())];
        let mut out = Out { bytes: &mut self.out, length: 0 };
        out.put_u32(&head);
        out.put_u64(&ids);
        out.put(&name);
        out.put_u64(&figures);
        out.put_u64(&sets);
        debug_assert_eq!(out.length, size_of::<ProcessRecord>());
        Ok(out.length)
    }

    /// `Record`.
    pub(crate) fn record(&mut self, pid: u32) -> Result<Outcome, Errno> {
        let length = self.fill(pid)?;
        Ok(Outcome::Bytes(Reply::ok([u64::from(pid), 0, 0, 0]), length))
    }

    /// `Next`.
    pub(crate) fn next(&mut self, after: u64) -> Result<Outcome, Errno> {
        let after = u32::try_from(after).map_err(|_| Errno::ESRCH)?;
        let first = after.checked_add(1).ok_or(Errno::ESRCH)?;
        let (&pid, _) = self.table.processes.range(first..).next().ok_or(Errno::ESRCH)?;
        self.record(pid)
    }

    /// `CommandLine`.
    pub(crate) fn command_line(&mut self, pid: u32, call: &Call) -> Result<Outcome, Errno> {
        let process = self.table.process(pid).ok_or(Errno::ESRCH)?;
        let length = process.command.len().min(self.out.len()).min(call.room as usize);
        self.out[..length].copy_from_slice(&process.command[..length]);
        Ok(Outcome::Bytes(Reply::ok([length as u64, 0, 0, 0]), length))
    }

    /// `System`.
    pub(crate) fn system(&mut self) -> Result<Outcome, Errno> {
        let [arena_used, arena_total, ram_total, idle_ns] = kernel::system();
        let now = kernel::now();
        let running = self
            .table
            .processes
            .values()
            .filter(|process| {
                process.native.is_none() && process.state == State::Running && self.letter(process) == b'R'
            })
            .count() as u64;
        self.load.update(running, now);
        let free = u64::from(self.ram.frames.free()) * PAGE_SIZE;
        let figures = [
            ram_total,
            free,
            arena_used,
            arena_total,
            self.ram.committed() * PAGE_SIZE,
            self.table.processes.len() as u64,
            self.forks,
            now,
            idle_ns,
            self.load.averages[0],
            self.load.averages[1],
            self.load.averages[2],
            running,
            self.table.threads.len() as u64,
        ];
        let mut out = Out { bytes: &mut self.out, length: 0 };
        out.put_u64(&figures);
        debug_assert_eq!(out.length, size_of::<SystemRecord>());
        let length = out.length;
        Ok(Outcome::Bytes(Reply::DONE, length))
    }

    /// `NextThread`. A native program shows none: its threads are its own business.
    pub(crate) fn next_thread(&mut self, pid: u32, after: u64) -> Result<Outcome, Errno> {
        let process = self.table.process(pid).ok_or(Errno::ESRCH)?;
        let after = u32::try_from(after).map_err(|_| Errno::ESRCH)?;
        let &tid = process.threads.iter().find(|&&tid| tid > after).ok_or(Errno::ESRCH)?;
        let thread = self.table.threads.get(&tid).ok_or(Errno::ESRCH)?;
        let (activity, name) = (kernel::activity(thread.handle), thread.name);
        let waits_for = self.named_by(activity.waits_for);
        let mut out = Out { bytes: &mut self.out, length: 0 };
        out.put_u32(&[tid, activity.state]);
        out.put_u64(&[waits_for, activity.cpu_ns]);
        out.put(&name);
        debug_assert_eq!(out.length, size_of::<ThreadRecord>());
        let length = out.length;
        Ok(Outcome::Bytes(Reply::ok([u64::from(tid), 0, 0, 0]), length))
    }

    /// What tools can look up for the identity that a thread waits for: the pid. A POSIX process's identity has it; init chooses those
    /// of native programs, whose processes we have handles of.
    fn named_by(&self, identity: u64) -> u64 {
        if identity == 0 {
            return 0;
        }
        let is_it = |process| runtime::object::process::identity(process) == Ok(identity);
        if is_it(abi::Handle::SELF_PROCESS) {
            return u64::from(SERVICE);
        }
        let mut natives = self.table.processes.values().filter(|process| process.native.is_some());
        let native = natives.find(|process| process.native.as_ref().is_some_and(|native| is_it(native.process)));
        native.map_or(identity & u64::from(u32::MAX), |process| u64::from(process.pid))
    }

    /// `SetName`.
    pub(crate) fn set_name(&mut self, pid: u32, tid: u64, call: &Call) -> Result<Outcome, Errno> {
        let tid = self.own_thread(pid, tid)?;
        let mut name = [0; 16];
        let end = call.bytes.iter().position(|&byte| byte == 0).unwrap_or(call.bytes.len()).min(15);
        name[..end].copy_from_slice(&call.bytes[..end]);
        if let Some(thread) = self.table.threads.get_mut(&tid) {
            thread.name = name;
            kernel::name_thread(thread.handle, core::str::from_utf8(&name[..end]).unwrap_or("?"));
        }
        if tid == pid
            && let Some(process) = self.table.process_mut(pid)
        {
            process.name = name;
        }
        Ok(Outcome::DONE)
    }

    /// The time of day is known.
    pub(crate) fn set_realtime(&mut self, offset_ns: u64) {
        self.realtime_offset_ns = offset_ns;
        if self.system_page.0 != abi::Handle::NONE {
            crate::window::write(self.system_page.1 + 16, &offset_ns.to_le_bytes());
        }
    }
}
