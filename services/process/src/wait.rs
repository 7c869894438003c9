//! wait4 and waitid: which child, in which state, and what is told of it.

use protocol::process::Resources;
use protocol::{Errno, Reply};

use crate::kernel;
use crate::server::{Call, Deferred, Outcome, Server};
use crate::table::{Process, Report, State};

/// `WNOHANG`.
const NO_HANG: u64 = 1;
/// `WUNTRACED`, `WSTOPPED`.
const STOPPED: u64 = 2;
/// `WEXITED`.
const EXITED: u64 = 4;
/// `WCONTINUED`.
const CONTINUED: u64 = 8;
/// `WNOWAIT`.
const NO_WAIT: u64 = 0x0100_0000;

/// A question about children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    /// > 0 this one, 0 own group, −1 any, < −1 group.
    pub(crate) selector: i64,
    /// W* bits.
    pub(crate) options: u64,
}

/// A wait status as wait4 gives it, of an exit.
#[must_use]
pub(crate) const fn exited(status: u64) -> u32 {
    (status as u32 & 0xff) << 8
}

/// A wait status of a death by a signal.
#[must_use]
pub(crate) const fn signaled(signal: u32, core: bool) -> u32 {
    signal & 0x7f | if core { 0x80 } else { 0 }
}

impl Question {
    /// Whether it asks about this child of a parent in `group`.
    #[must_use]
    pub(crate) fn concerns(&self, child: &Process, group: u32) -> bool {
        match self.selector {
            -1 => true,
            0 => child.group == group,
            selector if selector > 0 => i64::from(child.pid) == selector,
            selector => selector.checked_neg() == Some(i64::from(child.group)),
        }
    }

    /// The status to tell of a child, if it is in a state that was asked for.
    #[must_use]
    pub(crate) fn status(&self, child: &Process) -> Option<u32> {
        if child.state == State::Zombie {
            // wait4 does not pass WEXITED; waitid without it does not want the dead.
            let wanted = self.options & (EXITED | STOPPED | CONTINUED) == 0 || self.options & EXITED != 0;
            return wanted.then_some(child.status);
        }
        match child.report? {
            Report::Stopped(signal) if self.options & STOPPED != 0 => Some(signal << 8 | 0x7f),
            Report::Continued if self.options & CONTINUED != 0 => Some(0xffff),
            _ => None,
        }
    }
}

/// As it travels.
#[must_use]
pub(crate) fn resource_bytes(resources: &Resources) -> [u8; 48] {
    let mut bytes = [0; 48];
    let words = [
        resources.user_ns,
        resources.system_ns,
        resources.children_ns,
        resources.resident_maximum,
        resources.minor_faults,
        resources.major_faults,
    ];
    for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

impl Server {
    /// `Wait`.
    pub(crate) fn wait(&mut self, pid: u32, question: Question, call: &Call) -> Result<Outcome, Errno> {
        // waitid says WEXITED itself; wait4's options never do.
        match self.try_wait(pid, question, call.request)? {
            Some(outcome) => Ok(outcome),
            None if question.options & NO_HANG != 0 => Ok(Outcome::ok([0; 4])),
            None => {
                self.defer(call.request, Deferred::Wait { pid, question }, u64::MAX);
                Ok(Outcome::Later)
            }
        }
    }

    /// Answer now if a child is in a state that was asked for.
    fn try_wait(&mut self, pid: u32, question: Question, request: u64) -> Result<Option<Outcome>, Errno> {
        let group = self.table.process(pid).ok_or(Errno::ESRCH)?.group;
        let mut any = false;
        let mut found = None;
        for child in self.table.processes.values().filter(|child| child.parent == pid && child.native.is_none()) {
            if question.concerns(child, group) {
                any = true;
                if let Some(status) = question.status(child) {
                    found = Some((child.pid, status));
                    break;
                }
            }
        }
        let Some((child, status)) = found else { return if any { Ok(None) } else { Err(Errno::ECHILD) } };
        let mut used = self.resources(child);
        // What it waited for counts as its own (wait4(2)).
        used.user_ns += used.children_ns;
        let bytes = resource_bytes(&used);
        let answer = Reply::ok([u64::from(child), u64::from(status), 0, 0]);
        if self.reply_bytes(request, answer, &bytes) && question.options & NO_WAIT == 0 {
            self.told(pid, child);
        }
        Ok(Some(Outcome::Later))
    }

    /// The parent knows: a zombie goes, another's report is cleared.
    fn told(&mut self, parent: u32, child: u32) {
        let Some(process) = self.table.process_mut(child) else { return };
        if process.state == State::Zombie {
            let (cpu_ns, faults) = (process.cpu_ns + process.children_ns, process.faults + process.children_faults);
            let peak = process.peak.max(process.children_peak);
            if let Some(parent) = self.table.process_mut(parent) {
                parent.children_ns += cpu_ns;
                parent.children_faults += faults;
                parent.children_peak = parent.children_peak.max(peak);
            }
            self.reap(child);
        } else {
            process.report = None;
        }
    }

    /// A zombie goes.
    pub(crate) fn reap(&mut self, child: u32) {
        let Some(gone) = self.table.processes.remove(&child) else { return };
        for watcher in gone.watchers {
            kernel::close(watcher);
        }
    }

    /// A child of `parent` changed: answer who waits for it.
    pub(crate) fn child_changed(&mut self, parent: u32) {
        let waiting: alloc::vec::Vec<(u64, Question)> = self
            .deferred
            .iter()
            .filter_map(|(&request, deferred)| match deferred {
                Deferred::Wait { pid, question } if *pid == parent => Some((request, *question)),
                _ => None,
            })
            .collect();
        for (request, question) in waiting {
            // It is answered by what follows or stays: taken out first, so that nothing answers it twice.
            let Some(deferred) = self.forget(request) else { continue };
            match self.try_wait(parent, question, request) {
                Ok(Some(_)) => {}
                Ok(None) => self.defer(request, deferred, u64::MAX),
                Err(errno) => self.reply_error(request, errno),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child(pid: u32, group: u32) -> Process {
        Process { group, state: State::Running, ..Process::new(pid, 1) }
    }

    #[test]
    fn selectors_mean_what_wait_says() {
        let child = child(20, 30);
        let concerns = |selector| Question { selector, options: 0 }.concerns(&child, 30);
        assert!(concerns(-1) && concerns(0) && concerns(20) && concerns(-30));
        assert!(!concerns(21) && !concerns(-31));
    }

    #[test]
    fn states_are_told_only_when_asked_for() {
        let mut child = child(20, 30);
        let status = |options, child: &Process| Question { selector: -1, options }.status(child);
        assert_eq!(status(STOPPED | CONTINUED, &child), None);
        child.report = Some(Report::Stopped(19));
        assert_eq!((status(0, &child), status(STOPPED, &child)), (None, Some(0x137f)));
        child.report = Some(Report::Continued);
        assert_eq!(status(CONTINUED, &child), Some(0xffff));
        child.state = State::Zombie;
        child.status = exited(3);
        assert_eq!((status(0, &child), status(EXITED, &child)), (Some(0x300), Some(0x300)));
        assert_eq!(signaled(11, true), 0x8b);
    }
}
