//! Threads and tasks of POSIX processes.

use alloc::boxed::Box;

use abi::{Handle, Rights};
use protocol::process::LibraryHeader;
use protocol::{Errno, Reply};

use crate::kernel::{self, ThreadSpecification};
use crate::scheduling::Policy;
use crate::server::{Call, Deferred, Outcome, Server, badge};
use crate::signal::{Pending, SIGCHLD};
use crate::table::{Process, State, Thread};

/// Threads of all POSIX processes.
const THREADS: usize = 2000;

impl Server {
    /// A kernel thread in a space for process `pid`, numbered `tid`, not started.
    pub(crate) fn make_thread(&mut self, pid: u32, tid: u32, space: u64, block: u64, mask: u64) -> Result<(), Errno> {
        self.make_thread_numbered(pid, tid, tid, space, block, mask)
    }

    /// The same, with the number that it will have, which its faults name.
    pub(crate) fn make_thread_numbered(
        &mut self,
        pid: u32,
        tid: u32,
        named: u32,
        space: u64,
        block: u64,
        mask: u64,
    ) -> Result<(), Errno> {
        if self.table.threads.len() >= THREADS {
            return Err(Errno::EAGAIN);
        }
        let header = self.image.as_ref().map_or_else(LibraryHeader::default, |image| image.header);
        let faults = self.fault_connection;
        let configuration = abi::thread::Configuration {
            native_mask: abi::NATIVE_BASE,
            upcall_syscall: header.syscall,
            upcall_interrupt: header.interrupt,
            upcall_fault: header.fault,
            upcall_block: block,
            window_start: header.window_start,
            window_end: header.window_end,
            cookie: u64::from(named) | space << 32,
            fs_base: 0,
            gs_base: block,
        };
        let memory = self.spaces.get_mut(&space).ok_or(Errno::ESRCH)?;
        let handle = memory
            .with_quota(|process| kernel::create_thread(&ThreadSpecification { process, faults, configuration }))
            .map_err(|error| if error == abi::Error::BadArgument { Errno::EINVAL } else { Errno::EAGAIN })?;
        let process = self.table.process_mut(pid).ok_or(Errno::ESRCH)?;
        process.threads.insert(tid);
        let thread = Thread {
            tid,
            pid,
            space,
            handle,
            block,
            baton: Handle::NONE,
            mask,
            policy: Policy::default(),
            has_lent_priority: false,
            pending: Pending::default(),
            name: process.name,
        };
        self.table.threads.insert(tid, thread);
        Ok(())
    }

    /// Let a thread run.
    pub(crate) fn run_thread(&mut self, tid: u32, entry: u64, stack: u64, argument: u64) -> Result<(), Errno> {
        let thread = self.table.threads.get_mut(&tid).ok_or(Errno::ESRCH)?;
        if thread.baton != Handle::NONE {
            return Err(Errno::EBUSY);
        }
        let handle = thread.handle;
        let process = self.table.processes.get(&thread.pid).ok_or(Errno::ESRCH)?;
        let (level, stopped) = (thread.policy.level(process.nice), process.state == State::Stopped);
        let memory = self.spaces.get_mut(&thread.space).ok_or(Errno::ESRCH)?;
        if stopped {
            kernel::stop(handle);
        }
        let baton = memory
            .with_quota(|process| kernel::start_thread(process, handle, entry, stack, argument, level))
            .map_err(|_| Errno::EAGAIN)?;
        thread.baton = baton;
        Ok(())
    }

    /// End a kernel thread and forget it; `whole`: its kernel process is destroyed anyhow.
    pub(crate) fn drop_thread(&mut self, tid: u32, whole: bool) {
        let Some(thread) = self.table.threads.remove(&tid) else { return };
        let cpu_ns = kernel::activity(thread.handle).cpu_ns;
        if let Some(process) = self.table.process_mut(thread.pid) {
            process.threads.remove(&tid);
            process.cpu_ns += cpu_ns;
        }
        if whole {
            kernel::close(thread.handle);
            kernel::close(thread.baton);
        } else {
            kernel::destroy(thread.handle);
            if thread.baton != Handle::NONE {
                kernel::destroy(thread.baton);
            }
        }
    }

    /// `ThreadPrepare`.
    pub(crate) fn thread_prepare(&mut self, pid: u32, block: u64, maker: u64) -> Result<Outcome, Errno> {
        let space = self.space_of(pid)?;
        self.room_for_user(pid)?;
        if self.ram.is_scarce() {
            return Err(Errno::EAGAIN);
        }
        let tid = self.table.number().ok_or(Errno::EAGAIN)?;
        self.make_thread(pid, tid, space, block, u64::MAX)?;
        self.inherit_policy(tid, maker as u32);
        Ok(Outcome::ok([u64::from(tid), 0, 0, 0]))
    }

    /// `ThreadStart`.
    pub(crate) fn thread_start(
        &mut self,
        pid: u32,
        tid: u64,
        entry: u64,
        stack: u64,
        argument: u64,
    ) -> Result<Outcome, Errno> {
        let tid = self.own_thread(pid, tid)?;
        self.run_thread(tid, entry, stack, argument)?;
        Ok(Outcome::DONE)
    }

    /// `ThreadExit`.
    pub(crate) fn thread_exit(&mut self, pid: u32, tid: u64, clear: u64, status: u64) -> Result<Outcome, Errno> {
        let tid = self.own_thread(pid, tid)?;
        let space = self.space_of(pid)?;
        self.leave_futexes(space, tid, clear);
        if self.table.process(pid).is_some_and(|process| process.threads.len() <= 1) {
            self.end_process(pid, crate::wait::exited(status));
        } else {
            self.drop_thread(tid, false);
        }
        Ok(Outcome::Later)
    }

    /// `TaskPrepare`: a process that shares its parent's space.
    pub(crate) fn task_prepare(&mut self, pid: u32, block: u64, flags: u64, call: &Call) -> Result<Outcome, Errno> {
        let space = self.space_of(pid)?;
        self.room_for_process(pid)?;
        let task = self.table.number().ok_or(Errno::EAGAIN)?;
        let parent = self.table.process(pid).ok_or(Errno::ESRCH)?;
        let process = Process {
            space,
            state: State::Running,
            exit_signal: if flags & 1 != 0 { 0 } else { SIGCHLD },
            start_ns: kernel::now(),
            ..Process::child(parent, task)
        };
        self.table.processes.insert(task, Box::new(process));
        let made =
            self.make_thread(task, task, space, block, u64::MAX).and_then(|()| self.connect(badge::POSIX, task, 0));
        if let Some(memory) = self.spaces.get_mut(&space) {
            memory.users += 1;
        }
        match made {
            Ok(connection) => {
                self.forks += 1;
                self.inherit_cpu_limit(task);
                self.inherit_policy(task, pid);
                let answer = Reply::ok([u64::from(task), 0, 0, 0]);
                let given = self.reply_handle(call.request, answer, connection, Rights::SEND.and(Rights::COPY));
                kernel::close(connection);
                if !given {
                    self.discard_process(task);
                }
                Ok(Outcome::Later)
            }
            Err(errno) => {
                self.discard_process(task);
                Err(errno)
            }
        }
    }

    /// `TaskStart`.
    pub(crate) fn task_start(
        &mut self,
        pid: u32,
        task: u32,
        entry: u64,
        stack: u64,
        argument: u64,
    ) -> Result<Outcome, Errno> {
        if self.table.process(task).is_none_or(|process| process.parent != pid) {
            return Err(Errno::ESRCH);
        }
        self.run_thread(task, entry, stack, argument)?;
        Ok(Outcome::DONE)
    }

    /// `TaskWait`.
    pub(crate) fn task_wait(&mut self, pid: u32, task: u32, call: &Call) -> Result<Outcome, Errno> {
        match self.table.process(task) {
            Some(process) if process.parent == pid && !process.executed && process.state != State::Zombie => {
                self.defer(call.request, Deferred::Task { pid, task }, u64::MAX);
                Ok(Outcome::Later)
            }
            // It was reaped, or has done it.
            _ => Ok(Outcome::DONE),
        }
    }

    /// Answer those who wait for a task to replace its image or to end.
    pub(crate) fn task_done(&mut self, task: u32) {
        let waiting: alloc::vec::Vec<u64> = self
            .deferred
            .iter()
            .filter(|(_, deferred)| matches!(deferred, Deferred::Task { task: other, .. } if *other == task))
            .map(|(&request, _)| request)
            .collect();
        for request in waiting {
            self.forget(request);
            let _ = kernel::reply(request, 0, [0; 4], &[], None);
        }
    }
}
