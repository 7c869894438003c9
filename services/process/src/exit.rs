//! The end of a process, and all that hangs on it.

use alloc::collections::BTreeSet;

use abi::Handle;
use protocol::Errno;

use crate::deadline::Event;
use crate::kernel;
use crate::server::{Outcome, Server};
use crate::signal::{Disposition, SIGCONT, SIGHUP, from_system};
use crate::table::{INIT, State};
use crate::wait;

impl Server {
    /// One process fewer uses a space; the last one's end destroys it.
    pub(crate) fn leave_space(&mut self, id: u64) {
        let Some(space) = self.spaces.get_mut(&id) else { return };
        space.users -= 1;
        if space.users > 0 {
            return;
        }
        kernel::destroy(space.process);
        space.clear(&mut self.ram);
        self.spaces.remove(&id);
    }

    /// All of a process's threads, and its hold on its spaces, go.
    pub(crate) fn drop_images(&mut self, pid: u32) {
        let Some(process) = self.table.process_mut(pid) else { return };
        let (space, embryo) = (core::mem::take(&mut process.space), core::mem::take(&mut process.embryo));
        let threads = process.threads.clone();
        let whole = self.spaces.get(&space).is_some_and(|space| space.users == 1);
        if let Some(space) = self.spaces.get(&space) {
            let peak = space.peak;
            if let Some(process) = self.table.process_mut(pid) {
                process.peak = process.peak.max(peak);
            }
        }
        for tid in threads {
            self.drop_thread(tid, whole);
        }
        self.leave_space(space);
        self.leave_space(embryo);
    }

    /// A process that could not be made completely, or whose maker got nothing of it: as if it had never been.
    pub(crate) fn discard_process(&mut self, pid: u32) {
        self.drop_images(pid);
        if let Some(process) = self.table.processes.remove(&pid) {
            kernel::close(process.name_space);
        }
    }

    /// A process dies of a signal. If its threads share memory with another process (vfork), they may hold locks there: they end where
    /// their library asks what is the matter, or when it has not for a while. (A core is not written, and what wait is told says so.)
    pub(crate) fn end_by_signal(&mut self, pid: u32, signal: u32, _core: bool) {
        const PATIENCE_NS: u64 = 1_000_000_000;
        let status = wait::signaled(signal, false);
        let Some(process) = self.table.process_mut(pid) else { return };
        if self.spaces.get(&process.space).is_none_or(|space| space.users <= 1) {
            return self.end_process(pid, status);
        }
        if process.ending.is_some() || process.state == State::Zombie {
            return;
        }
        let until = kernel::now().saturating_add(PATIENCE_NS);
        process.ending = Some((status, until));
        process.state = State::Running;
        self.deadlines.insert((until, Event::End(pid)));
        self.each_thread(pid, kernel::resume);
        let threads = self.table.process(pid).map(|process| process.threads.clone()).unwrap_or_default();
        for tid in threads {
            self.interrupt(tid);
        }
    }

    /// A thread of a process is where nothing of its library's is locked: if the process is to end, it ends now. Whether it did.
    pub(crate) fn end_if_due(&mut self, pid: u32) -> bool {
        let Some((status, _)) = self.table.process(pid).and_then(|process| process.ending) else { return false };
        self.end_process(pid, status);
        true
    }

    /// A process ends with a wait status.
    pub(crate) fn end_process(&mut self, pid: u32, status: u32) {
        let Some(process) = self.table.process_mut(pid) else { return };
        if process.state == State::Zombie || process.native.is_some() {
            return;
        }
        let (group, session) = (process.group, process.session);
        let name_space = core::mem::replace(&mut process.name_space, Handle::NONE);
        kernel::close(name_space);
        if let Some((_, until)) = process.ending.take() {
            self.deadlines.remove(&(until, Event::End(pid)));
        }
        self.drop_timers(pid, 0);
        self.leave_all_robust(pid);
        self.forget_process(pid);
        self.drop_images(pid);

        let orphaned = self.newly_orphaned(pid, group);
        if let Some(process) = self.table.process_mut(pid) {
            process.state = State::Zombie;
            process.status = status;
            process.report = None;
            process.pending.remove(u64::MAX);
            for &watcher in &process.watchers {
                kernel::raise(watcher);
            }
        }
        self.leave_children(pid);
        if session == pid {
            self.table.terminals.remove(&session);
            for &watcher in &self.session_watchers {
                kernel::raise(watcher);
            }
        }
        for group in orphaned {
            self.signal_group(group, from_system(SIGHUP));
            self.signal_group(group, from_system(SIGCONT));
        }
        self.task_done(pid);
        let unwanted = self.tell_of_end(pid, status);
        let parent = self.table.process(pid).map_or(INIT, |process| process.parent);
        if unwanted {
            self.reap(pid);
            // The last child of who waits may have gone without a word.
            self.child_changed(parent);
        }
    }

    /// Tell a zombie's parent. Whether it does not want to know.
    fn tell_of_end(&mut self, pid: u32, status: u32) -> bool {
        let (code, value) =
            if status & 0x7f == 0 { (1, status >> 8) } else { (2 + (status >> 7 & 1) as i32, status & 0x7f) };
        self.tell_parent(pid, code, value)
    }

    /// Groups with stopped members that nobody can continue once this process is gone.
    fn newly_orphaned(&self, pid: u32, group: u32) -> BTreeSet<u32> {
        let mut groups: BTreeSet<u32> = self
            .table
            .processes
            .values()
            .filter(|process| process.parent == pid)
            .map(|process| process.group)
            .collect();
        groups.insert(group);
        groups.retain(|&group| {
            !self.table.is_orphaned(group, 0) && self.table.is_orphaned(group, pid) && self.table.has_stopped(group)
        });
        groups
    }

    /// Whose the children of a process become: the nearest ancestor's that wants them, or init's.
    fn adopter(&self, pid: u32) -> u32 {
        let mut above = pid;
        // Bound: as many steps as there are ancestors.
        while let Some(process) = self.table.process(above) {
            if above != pid && process.subreaper && process.state != State::Zombie {
                return above;
            }
            above = process.parent;
        }
        INIT
    }

    /// The children of a process that ends get another parent.
    pub(crate) fn leave_children(&mut self, pid: u32) {
        let adopter = self.adopter(pid);
        for child in self.table.select(|process| process.parent == pid && process.native.is_none()) {
            let Some(process) = self.table.process_mut(child) else { continue };
            process.parent = adopter;
            let (zombie, status, death_signal) = (process.state == State::Zombie, process.status, process.death_signal);
            if zombie {
                if adopter == INIT || self.tell_of_end(child, status) {
                    self.reap(child);
                }
            } else if death_signal != 0 {
                let _ = self.signal_process(child, from_system(death_signal));
            }
        }
    }

    /// Reset what exec resets: handlers are gone with the old image, and POSIX timers.
    pub(crate) fn reset_actions(&mut self, pid: u32) {
        self.drop_timers(pid, protocol::process::FIRST_TIMER);
        let Some(process) = self.table.process_mut(pid) else { return };
        for action in &mut process.actions {
            if action.disposition == Disposition::Handled {
                action.disposition = Disposition::Default;
            }
            action.flags = 0;
        }
    }

    /// Whether there may be one more process. What starts a shell's commands may go on when others may not, so that
    /// somebody can still put an end to those.
    pub(crate) fn room_for_process(&self, pid: u32) -> Result<(), Errno> {
        self.room_for_user(pid)?;
        let count = self.table.processes.values().filter(|process| process.native.is_none()).count();
        let leads = self.table.process(pid).is_some_and(|process| process.session == pid || process.native.is_some());
        let limit = self.process_limit + if leads { 4 } else { 0 };
        if count >= limit || self.ram.is_scarce() { Err(Errno::EAGAIN) } else { Ok(()) }
    }

    /// `spare`: promises that only those who lead a session may use up.
    pub(crate) fn spare(&self, pid: u32) -> u64 {
        let leads = self.table.process(pid).is_some_and(|process| process.session == pid);
        if leads { 0 } else { u64::from(self.ram.frames.total() / 64) }
    }

    /// `ExecAbort`.
    pub(crate) fn exec_abort(&mut self, pid: u32) -> Result<Outcome, Errno> {
        let process = self.table.process_mut(pid).ok_or(Errno::ESRCH)?;
        let embryo = core::mem::take(&mut process.embryo);
        self.leave_space(embryo);
        Ok(Outcome::DONE)
    }
}
