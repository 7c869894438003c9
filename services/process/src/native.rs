//! Native programs: their numbers, and the RAM that they were given.

use alloc::collections::BTreeMap;

use alloc::boxed::Box;

use abi::{Handle, PAGE_SIZE, Rights};
use protocol::process::{self, native_flags};
use protocol::{Errno, Reply};

use crate::frames::Frame;
use crate::kernel;
use crate::server::{Call, Outcome, Server, badge};
use crate::table::{INIT, Process, SERVICE, State};
use crate::window;

/// Pages that data leaves to programs, so that a full file system kills nobody.
const SPARE: u64 = 2048;

/// RAM given to a native program.
pub(crate) struct Allocation {
    pub(crate) memory: Handle,
    pub(crate) frame: Frame,
    pub(crate) pages: u32,
    pub(crate) physical: u64,
}

impl Allocation {
    /// First physical address behind it.
    pub(crate) const fn end(&self) -> u64 {
        self.physical + self.pages as u64 * PAGE_SIZE
    }
}

/// What is known of a native program besides its number.
pub(crate) struct Native {
    /// Its process; [`Handle::NONE`]: not to be destroyed from here.
    pub(crate) process: Handle,
    /// [`native_flags`].
    pub(crate) flags: u64,
    allocations: BTreeMap<u64, Allocation>,
    last: u64,
}

impl Native {
    fn new(process: Handle, flags: u64) -> Self {
        Self { process, flags, allocations: BTreeMap::new(), last: 0 }
    }

    /// Pages it was given.
    #[must_use]
    pub(crate) fn pages(&self) -> u64 {
        self.allocations.values().map(|allocation| u64::from(allocation.pages)).sum()
    }
}

/// A name as tools have it.
fn named(bytes: &[u8]) -> [u8; 16] {
    let mut name = [0; 16];
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len()).min(15);
    name[..end].copy_from_slice(&bytes[..end]);
    name
}

impl Server {
    /// Init and the service itself.
    pub(crate) fn add_first(&mut self) {
        for (pid, name) in [(INIT, &b"init"[..]), (SERVICE, b"process")] {
            let process = Process {
                name: named(name),
                native: Some(Native::new(Handle::NONE, if pid == INIT { native_flags::INIT } else { 0 })),
                state: State::Running,
                group: 0,
                session: 0,
                ..Process::new(pid, if pid == INIT { 0 } else { INIT })
            };
            self.table.processes.insert(pid, Box::new(process));
        }
    }

    /// `AddNative`.
    pub(crate) fn add_native(&mut self, flags: u64, call: &Call) -> Result<Outcome, Errno> {
        let handle = self.gift.take().ok_or(Errno::EINVAL)?;
        let Some(pid) = self.table.number() else {
            kernel::close(handle);
            return Err(Errno::EAGAIN);
        };
        let process = Process {
            name: named(call.bytes),
            native: Some(Native::new(handle, flags)),
            state: State::Running,
            start_ns: kernel::now(),
            group: 0,
            session: 0,
            ..Process::new(pid, INIT)
        };
        self.table.processes.insert(pid, Box::new(process));
        let connection = match self.connect(badge::NATIVE, pid, 0) {
            Ok(connection) => connection,
            Err(errno) => {
                kernel::close(handle);
                self.table.processes.remove(&pid);
                return Err(errno);
            }
        };
        let answer = Reply::ok([u64::from(pid), 0, 0, 0]);
        let given = self.reply_handle(call.request, answer, connection, Rights::SEND.and(Rights::COPY));
        kernel::close(connection);
        if !given {
            self.table.processes.remove(&pid);
            kernel::close(handle);
        }
        Ok(Outcome::Later)
    }

    /// `RemoveNative`.
    pub(crate) fn remove_native(&mut self, pid: u32) -> Result<Outcome, Errno> {
        if pid == INIT || pid == SERVICE || self.table.process(pid).is_none_or(|process| process.native.is_none()) {
            return Err(Errno::ESRCH);
        }
        self.release_all(pid);
        self.forget_process(pid);
        self.leave_children(pid);
        if let Some(native) = self.table.processes.remove(&pid).and_then(|process| process.native) {
            kernel::close(native.process);
        }
        Ok(Outcome::DONE)
    }

    /// Destroy a native program's process; init learns by its death and removes it.
    pub(crate) fn end_native(&mut self, pid: u32) {
        let native = self.table.process_mut(pid).and_then(|process| process.native.as_mut());
        let Some(native) = native else { return };
        let process = core::mem::replace(&mut native.process, Handle::NONE);
        if process != Handle::NONE {
            kernel::destroy(process);
        }
    }

    /// `Allocate`.
    pub(crate) fn allocate(&mut self, pid: u32, length: u64, call: &Call) -> Result<Outcome, Errno> {
        let pages =
            length.checked_next_multiple_of(PAGE_SIZE).filter(|&length| length != 0).ok_or(Errno::EINVAL)? / PAGE_SIZE;
        let count = u32::try_from(pages).map_err(|_| Errno::ENOMEM)?;
        let spare = if call.words[1] & process::allocate_flags::FOR_DATA != 0 { SPARE } else { 0 };
        self.ram.charge_leaving(pages, spare)?;
        let Some(frame) = self.ram.frames.allocate(count) else {
            self.ram.release(pages);
            return Err(Errno::ENOMEM);
        };
        let physical = self.ram.frames.physical(frame);
        window::zero(physical, pages * PAGE_SIZE);
        let (whole, offset) = self.ram.frames.memory(frame);
        let derived = kernel::derive(whole, offset, pages * PAGE_SIZE, Rights::ALL);
        let rights = [Rights::READ, Rights::WRITE, Rights::EXECUTE, Rights::MANAGE, Rights::COPY];
        let rights = rights.into_iter().fold(Rights::NONE, Rights::and);
        let native = self.table.process_mut(pid).and_then(|process| process.native.as_mut());
        let (Ok(memory), Some(native)) = (derived, native) else {
            self.ram.frames.free_run(frame, count);
            self.ram.release(pages);
            return Err(Errno::ENOMEM);
        };
        native.last += 1;
        let number = native.last;
        native.allocations.insert(number, Allocation { memory, frame, pages: count, physical });
        if !self.reply_handle(call.request, Reply::ok([number, 0, 0, 0]), memory, rights) {
            self.release(pid, number)?;
        }
        Ok(Outcome::Later)
    }

    /// `Release`.
    pub(crate) fn release(&mut self, pid: u32, number: u64) -> Result<Outcome, Errno> {
        let native = self.table.process_mut(pid).and_then(|process| process.native.as_mut()).ok_or(Errno::ESRCH)?;
        let allocation = native.allocations.remove(&number).ok_or(Errno::EINVAL)?;
        if let Some(allocation) = self.lent.give_back(allocation) {
            self.free_allocation(&allocation);
        }
        Ok(Outcome::DONE)
    }

    fn free_allocation(&mut self, allocation: &Allocation) {
        // Whatever was mapped of it anywhere is gone when this returns.
        kernel::destroy(allocation.memory);
        self.ram.frames.free_run(allocation.frame, allocation.pages);
        self.ram.release(u64::from(allocation.pages));
    }

    /// Free what was given back while others showed it, if they no longer do.
    pub(crate) fn sweep_lent(&mut self) {
        for allocation in self.lent.sweep() {
            self.free_allocation(&allocation);
        }
    }

    /// All of a native program's RAM comes back.
    pub(crate) fn release_all(&mut self, pid: u32) {
        loop {
            let native = self.table.process(pid).and_then(|process| process.native.as_ref());
            let Some(number) = native.and_then(|native| native.allocations.keys().next().copied()) else { return };
            let _ = self.release(pid, number);
        }
    }
}
