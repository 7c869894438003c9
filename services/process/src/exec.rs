//! exec: a new image under the same number, filled by the old one's library; and `Spawn`, which begins with that.

use alloc::boxed::Box;

use abi::{Handle, PAGE_SIZE, Rights};
use protocol::process::{BLOB_ADDRESS, BLOB_MAXIMUM, NAME_SPACE, START_STACK_TOP, map_flags};
use protocol::{Errno, Reply};

use crate::area::{Backing, READ, WRITE};
use crate::fork::copy_handle;
use crate::kernel;
use crate::server::{Call, Outcome, Server, badge};
use crate::space::{Space, next_id};
use crate::table::{Process, State};
use crate::window;

/// Longest name and command line that are kept.
const COMMAND: usize = 4096;

/// A POSIX process's share of kernel objects to begin with; what the service makes in it grows by itself.
pub(crate) const SHARE: abi::Quota = abi::Quota {
    processes: 0,
    threads: 1,
    batons: 1,
    gates: 2,
    connections: 40,
    pulses: 8,
    memories: 1,
    mappings: 64,
    pages: 14,
    priority: 63,
};

impl Server {
    /// An empty space for a process, with this share of kernel objects.
    pub(crate) fn new_space(&mut self, pid: u32, share: abi::Quota) -> Result<(u64, Space), Errno> {
        let id = next_id();
        let process = kernel::create_process(u64::from(pid) | id << 32, &share).map_err(|_| Errno::EAGAIN)?;
        Ok((id, Space::new(process, share)))
    }

    /// `ExecBegin`.
    pub(crate) fn exec_begin(&mut self, pid: u32) -> Result<Outcome, Errno> {
        self.exec_abort(pid)?;
        if self.ram.is_scarce() {
            return Err(Errno::ENOMEM);
        }
        let process = self.table.process(pid).ok_or(Errno::ESRCH)?;
        let (name_space, old) = (process.name_space, process.space);
        let epoch = process.epoch;
        let (id, space) = self.new_space(pid, SHARE)?;
        self.spaces.insert(id, space);
        let result = self.begin_image(pid, id, name_space, old);
        // The old connection stays the one that counts until `ExecCommit`.
        let process = self.table.process_mut(pid).ok_or(Errno::ESRCH)?;
        match result {
            Ok(()) => {
                process.embryo = id;
                process.next_epoch = core::mem::replace(&mut process.epoch, epoch);
                Ok(Outcome::DONE)
            }
            Err(errno) => {
                process.epoch = epoch;
                self.leave_space(id);
                Err(errno)
            }
        }
    }

    fn begin_image(&mut self, pid: u32, id: u64, name_space: Handle, old: u64) -> Result<(), Errno> {
        let given = (name_space != Handle::NONE).then_some(name_space);
        self.furnish(pid, id, given)?;
        let from = self.spaces.get(&old).map(|space| space.process);
        let image = self.image.as_ref().ok_or(Errno::ENOEXEC)?;
        let space = self.spaces.get_mut(&id).ok_or(Errno::ESRCH)?;
        if let (None, Some(from)) = (given, from) {
            copy_handle(space, from, NAME_SPACE)?;
        }
        image.map_into(space, &mut self.ram)?;
        let length = protocol::process::START_STACK_LENGTH;
        let flags = map_flags::FIXED | map_flags::LIBRARY | map_flags::NO_RESERVE;
        let access = u64::from(READ | WRITE);
        space.map(&mut self.ram, START_STACK_TOP - length, length, access, flags, Backing::Anonymous).map(drop)
    }

    fn embryo(&mut self, pid: u32) -> Result<u64, Errno> {
        self.table.process(pid).map(|process| process.embryo).filter(|&id| id != 0).ok_or(Errno::EINVAL)
    }

    /// `ExecMap`.
    pub(crate) fn exec_map(
        &mut self,
        pid: u32,
        address: u64,
        length: u64,
        access: u64,
        offset: u64,
    ) -> Result<Outcome, Errno> {
        let embryo = self.embryo(pid)?;
        let flags = (access >> 8 | map_flags::FIXED) & !map_flags::NO_REPLACE;
        // The first stack: as much as RLIMIT_STACK says, below the same top.
        let (address, length) = if flags & map_flags::GROWS_DOWN != 0 {
            let end = address.checked_add(length).ok_or(Errno::ENOMEM)?;
            let room = self.stack_length(pid).min(end);
            (end - room, room)
        } else {
            (address, length)
        };
        let backing = self.passed_backing(offset)?;
        let space = self.spaces.get_mut(&embryo).ok_or(Errno::ESRCH)?;
        space.map(&mut self.ram, address, length, access & 0xff, flags, backing)?;
        Ok(Outcome::DONE)
    }

    /// `ExecWrite`: straight from the caller's memory into the new image's frames.
    pub(crate) fn exec_write(&mut self, pid: u32, address: u64, call: &Call) -> Result<Outcome, Errno> {
        let embryo = self.embryo(pid)?;
        let end = address.checked_add(call.sent).filter(|&end| end <= abi::USER_END).ok_or(Errno::EFAULT)?;
        let space = self.spaces.get_mut(&embryo).ok_or(Errno::ESRCH)?;
        if address >= BLOB_ADDRESS && end <= BLOB_ADDRESS + BLOB_MAXIMUM {
            let flags = map_flags::FIXED | map_flags::LIBRARY;
            let access = u64::from(READ | WRITE);
            // Only what is not there yet.
            let mut at = address & !(PAGE_SIZE - 1);
            while at < end && space.areas.find(at).is_some() {
                at += PAGE_SIZE;
            }
            if at < end {
                space.map(
                    &mut self.ram,
                    at,
                    end.next_multiple_of(PAGE_SIZE) - at,
                    access,
                    flags,
                    Backing::Anonymous,
                )?;
            }
        }
        let mut done = 0;
        while done < call.sent {
            let at = address + done;
            let count = (PAGE_SIZE - at % PAGE_SIZE).min(call.sent - done);
            let physical = space.physical(&mut self.ram, at)?;
            let moved = copy_from_caller(call, done, physical, count)?;
            if moved < count {
                return Err(crate::server::RETRY);
            }
            done += count;
        }
        Ok(Outcome::DONE)
    }

    /// `ExecKeep`.
    pub(crate) fn exec_keep(&mut self, pid: u32, call: &Call) -> Result<Outcome, Errno> {
        let embryo = self.embryo(pid)?;
        let handles = self.all_bytes(call, 8 * 16_384)?;
        let process = self.table.process(pid).ok_or(Errno::ESRCH)?;
        let source = match self.spaces.get(&process.space) {
            Some(space) => space.process,
            // Being spawned: the handles are its maker's.
            None => {
                self.table
                    .process(process.parent)
                    .and_then(|parent| parent.native.as_ref())
                    .ok_or(Errno::ESRCH)?
                    .process
            }
        };
        let space = self.spaces.get_mut(&embryo).ok_or(Errno::ESRCH)?;
        for handle in handles.chunks_exact(8) {
            let handle = u64::from_le_bytes(handle.try_into().map_err(|_| Errno::EINVAL)?);
            copy_handle(space, source, Handle(handle))?;
        }
        Ok(Outcome::DONE)
    }

    /// `ExecCommit`.
    pub(crate) fn exec_commit(&mut self, pid: u32, block: u64, call: &Call) -> Result<Outcome, Errno> {
        let embryo = self.embryo(pid)?;
        let mut command = self.all_bytes(call, 1 << 20)?;
        let start = self.image.as_ref().ok_or(Errno::ENOEXEC)?.header.start;
        let name_end = command.iter().position(|&byte| byte == 0).unwrap_or(command.len());
        let mut name = [0; 16];
        for (place, &byte) in name[..15].iter_mut().zip(&command[..name_end]) {
            *place = byte;
        }
        command.drain(..command.len().min(name_end + 1));
        command.truncate(COMMAND);

        // The mask survives; of several threads' the first one's.
        let process = self.table.process(pid).ok_or(Errno::ESRCH)?;
        let was_embryo = process.state == State::Embryo;
        let mask = process.threads.first().and_then(|tid| self.table.threads.get(tid)).map_or(0, |thread| thread.mask);
        let old_threads = process.threads.clone();
        // The thread of the new image is made under a number of its own: until the old one is gone, that has the process's.
        let temporary = self.table.number().ok_or(Errno::EAGAIN)?;
        self.make_thread_numbered(pid, temporary, pid, embryo, block, mask)?;
        let policy = self.table.threads.get(&pid).map_or_else(Default::default, |thread| thread.policy);
        if let Some(thread) = self.table.threads.get_mut(&temporary) {
            thread.policy = policy;
        }
        if let Err(errno) = self.run_stopped(temporary, start) {
            self.drop_thread(temporary, false);
            return Err(errno);
        }

        // From here on nothing can fail.
        let old = self.table.process(pid).map_or(0, |process| process.space);
        let whole = self.spaces.get(&old).is_some_and(|space| space.users == 1);
        let peak = self.spaces.get(&old).map_or(0, |space| space.peak);
        // Signals to the thread that calls exec stay pending.
        let pending = self.table.threads.get_mut(&pid).map(|thread| core::mem::take(&mut thread.pending));
        self.leave_all_robust(pid);
        for tid in old_threads {
            self.drop_thread(tid, whole);
        }
        self.forget_process(pid);
        self.leave_space(old);
        let Some(mut thread) = self.table.threads.remove(&temporary) else { return Err(Errno::ESRCH) };
        let handle = thread.handle;
        thread.tid = pid;
        thread.name = name;
        thread.pending = pending.unwrap_or_default();
        self.table.threads.insert(pid, thread);
        self.reset_actions(pid);
        if let Some(process) = self.table.process_mut(pid) {
            process.threads.clear();
            process.threads.insert(pid);
            process.space = embryo;
            process.embryo = 0;
            process.epoch = process.next_epoch;
            process.executed = true;
            process.name = name;
            process.command = command;
            process.peak = process.peak.max(peak);
            if was_embryo {
                process.state = State::Running;
            }
            let name_space = core::mem::replace(&mut process.name_space, Handle::NONE);
            kernel::close(name_space);
        }
        kernel::name_thread(handle, core::str::from_utf8(&name).unwrap_or("?").trim_end_matches('\0'));
        if was_embryo {
            // The maker is another process and waits for the answer.
            let _ = kernel::reply(call.request, 0, [0; 4], &[], None);
        }
        self.task_done(pid);
        if self.table.process(pid).is_some_and(|process| process.state != State::Stopped) {
            kernel::resume(handle);
        }
        Ok(Outcome::Later)
    }

    /// `Spawn`: a process without an image, its connection to its maker.
    pub(crate) fn spawn(&mut self, maker: u32, call: &Call) -> Result<Outcome, Errno> {
        let name_space = self.gift.take().ok_or(Errno::EINVAL)?;
        let made = self.room_for_process(maker).and_then(|()| self.table.number().ok_or(Errno::EAGAIN));
        let pid = match made {
            Ok(pid) => pid,
            Err(errno) => {
                kernel::close(name_space);
                return Err(errno);
            }
        };
        let process = Process { name_space, start_ns: kernel::now(), ..Process::new(pid, maker) };
        self.table.processes.insert(pid, Box::new(process));
        match self.connect(badge::POSIX, pid, 0) {
            Ok(connection) => {
                self.forks += 1;
                let answer = Reply::ok([u64::from(pid), 0, 0, 0]);
                let given = self.reply_handle(call.request, answer, connection, Rights::SEND.and(Rights::COPY));
                kernel::close(connection);
                if !given {
                    self.discard_process(pid);
                }
                Ok(Outcome::Later)
            }
            Err(errno) => {
                self.discard_process(pid);
                Err(errno)
            }
        }
    }

    /// What the Memory that came with a message is as an area's backing; nothing came: zeros.
    pub(crate) fn passed_backing(&mut self, offset: u64) -> Result<Backing, Errno> {
        let Some(handle) = self.gift.take() else { return Ok(Backing::Anonymous) };
        let memory = match kernel::memory_information(handle) {
            Ok((length, base)) => kernel::PassedMemory { handle, length, base },
            Err(_) => {
                kernel::close(handle);
                return Err(Errno::ENODEV);
            }
        };
        if !offset.is_multiple_of(PAGE_SIZE) {
            return Err(Errno::EINVAL);
        }
        let memory = alloc::rc::Rc::new(memory);
        self.lent.note(&memory);
        Ok(Backing::Memory(memory, offset))
    }

    /// Start a thread that does not run until it is continued.
    fn run_stopped(&mut self, tid: u32, entry: u64) -> Result<(), Errno> {
        if let Some(thread) = self.table.threads.get(&tid) {
            kernel::stop(thread.handle);
        }
        self.run_thread(tid, entry, START_STACK_TOP, BLOB_ADDRESS)
    }
}

/// Copy from a caller's memory to a physical address within one frame.
#[cfg(target_os = "none")]
fn copy_from_caller(call: &Call, offset: u64, physical: u64, count: u64) -> Result<u64, Errno> {
    kernel::read_request_raw(call.request, offset, window::address(physical), count)
        .map_err(|error| if error == abi::Error::LenderFault { crate::server::RETRY } else { Errno::EFAULT })
}

#[cfg(not(target_os = "none"))]
fn copy_from_caller(call: &Call, offset: u64, physical: u64, count: u64) -> Result<u64, Errno> {
    let mut bytes = alloc::vec![0; count as usize];
    let moved = kernel::read_request(call.request, offset, &mut bytes).map_err(|_| Errno::EFAULT)?;
    window::write(physical, &bytes[..moved as usize]);
    Ok(moved)
}
