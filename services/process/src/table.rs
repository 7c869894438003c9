//! Who there is: processes, threads, groups and sessions, by number.
//!
//! A thread's number is a process's too: the first thread of a process has the process's, all others numbers of their own from the same supply.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use abi::Handle;

use crate::native::Native;
use crate::scheduling::Policy;
use crate::signal::{Action, Pending, SIGNALS};
use crate::timer::Timer;

/// pid 1: the end of every parent chain, reaps by itself.
pub(crate) const INIT: u32 = 1;
/// The service itself.
pub(crate) const SERVICE: u32 = 2;
/// Numbers go up to here, then start again.
const NUMBERS: u32 = 32_768;
/// Numbers that are not given out again.
const RESERVED: u32 = 64;
/// Limits that are kept, as Linux counts them.
pub(crate) const LIMITS: usize = 16;

/// What a process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Made, but has no image yet.
    Embryo,
    /// Runs, or could.
    Running,
    /// Stopped by a signal.
    Stopped,
    /// Ended; its parent has not asked.
    Zombie,
}

/// What a parent is still to be told by `Wait`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// Stopped by this signal.
    Stopped(u32),
    /// Continued.
    Continued,
}

/// A process.
pub(crate) struct Process {
    /// Its number.
    pub(crate) pid: u32,
    /// Its parent's.
    pub(crate) parent: u32,
    /// Its process group.
    pub(crate) group: u32,
    /// Its session.
    pub(crate) session: u32,
    /// What it is doing.
    pub(crate) state: State,
    /// Its space; 0: none.
    pub(crate) space: u64,
    /// The space that exec is filling; 0: none.
    pub(crate) embryo: u64,
    /// Its threads.
    pub(crate) threads: BTreeSet<u32>,
    /// Part of its connection's badge.
    pub(crate) epoch: u32,
    /// The same of the connection that its next image has.
    pub(crate) next_epoch: u32,
    /// Its name space, to be given to the image it begins with (`Spawn`).
    pub(crate) name_space: Handle,
    /// Of a zombie: the wait status.
    pub(crate) status: u32,
    /// What its parent is to be told.
    pub(crate) report: Option<Report>,
    /// It is to end with this status, at this moment at the latest.
    pub(crate) ending: Option<(u32, u64)>,
    /// Signal to the parent at its end; 0: none.
    pub(crate) exit_signal: u32,
    /// Signal when its parent ends; 0: none.
    pub(crate) death_signal: u32,
    /// Its descendants' orphans become its children, not init's.
    pub(crate) subreaper: bool,
    /// Has replaced its image since it was made.
    pub(crate) executed: bool,
    /// What each signal does.
    pub(crate) actions: [Action; SIGNALS],
    /// Signals to the process as a whole.
    pub(crate) pending: Pending,
    /// Its timers.
    pub(crate) timers: BTreeMap<u32, Timer>,
    /// Soft and hard limits.
    pub(crate) limits: [(u64, u64); LIMITS],
    /// uid | euid << 32.
    pub(crate) user: u64,
    /// gid | egid << 32.
    pub(crate) group_id: u64,
    /// nice + 20.
    pub(crate) nice: u8,
    /// For tools.
    pub(crate) name: [u8; 16],
    /// Arguments, each ended by a zero byte.
    pub(crate) command: Vec<u8>,
    /// When it was made, ns.
    pub(crate) start_ns: u64,
    /// CPU time of threads that ended, ns.
    pub(crate) cpu_ns: u64,
    /// CPU time of children that were waited for, ns.
    pub(crate) children_ns: u64,
    /// Most resident pages.
    pub(crate) peak: u64,
    /// Page faults.
    pub(crate) faults: u64,
    /// The same two of children that were waited for: of the largest, and of all.
    pub(crate) children_peak: u64,
    /// See above.
    pub(crate) children_faults: u64,
    /// A native program.
    pub(crate) native: Option<Native>,
    /// Raised when it ends (pidfd polls).
    pub(crate) watchers: Vec<Handle>,
}

/// A thread of a POSIX process.
pub(crate) struct Thread {
    /// Its number.
    pub(crate) tid: u32,
    /// Its process.
    pub(crate) pid: u32,
    /// The space it runs in.
    pub(crate) space: u64,
    /// The kernel's thread.
    pub(crate) handle: Handle,
    /// Its library's block.
    pub(crate) block: u64,
    /// Its baton, once started.
    pub(crate) baton: Handle,
    /// Signals it does not take now.
    pub(crate) mask: u64,
    /// Who it runs before.
    pub(crate) policy: Policy,
    /// It runs at the priority of one who waits for a lock of its.
    pub(crate) has_lent_priority: bool,
    /// Signals to it alone.
    pub(crate) pending: Pending,
    /// For tools.
    pub(crate) name: [u8; 16],
}

/// Everybody.
#[derive(Default)]
pub(crate) struct Table {
    /// Processes by number.
    pub(crate) processes: BTreeMap<u32, Box<Process>>,
    /// Threads of POSIX processes by number.
    pub(crate) threads: BTreeMap<u32, Thread>,
    /// Terminals of sessions.
    pub(crate) terminals: BTreeMap<u32, u32>,
    last: u32,
}

impl Process {
    /// A process with nothing in it.
    #[must_use]
    pub(crate) fn new(pid: u32, parent: u32) -> Self {
        let mut limits = [(u64::MAX, u64::MAX); LIMITS];
        limits[3] = (8 << 20, u64::MAX);
        limits[4] = (0, u64::MAX);
        limits[7] = (1024, 4096);
        (limits[13], limits[14]) = ((0, 0), (0, 0));
        limits[11] = (crate::signal::QUEUED, crate::signal::QUEUED);
        Self {
            pid,
            parent,
            group: pid,
            session: pid,
            state: State::Embryo,
            space: 0,
            embryo: 0,
            threads: BTreeSet::new(),
            epoch: 0,
            next_epoch: 0,
            name_space: Handle::NONE,
            status: 0,
            report: None,
            ending: None,
            exit_signal: crate::signal::SIGCHLD,
            death_signal: 0,
            subreaper: false,
            executed: false,
            actions: [Action::default(); SIGNALS],
            pending: Pending::default(),
            timers: BTreeMap::new(),
            limits,
            user: 0,
            group_id: 0,
            nice: 20,
            name: [0; 16],
            command: Vec::new(),
            start_ns: 0,
            cpu_ns: 0,
            children_ns: 0,
            peak: 0,
            faults: 0,
            children_peak: 0,
            children_faults: 0,
            native: None,
            watchers: Vec::new(),
        }
    }

    /// A child of `parent`, with all that fork hands down.
    #[must_use]
    pub(crate) fn child(parent: &Self, pid: u32) -> Self {
        Self {
            group: parent.group,
            session: parent.session,
            actions: parent.actions,
            limits: parent.limits,
            user: parent.user,
            group_id: parent.group_id,
            nice: parent.nice,
            name: parent.name,
            command: parent.command.clone(),
            ..Self::new(pid, parent.pid)
        }
    }

    /// Whether its effective user is root, which POSIX lets do more.
    #[must_use]
    pub(crate) const fn is_privileged(&self) -> bool {
        self.user >> 32 == 0
    }

    /// Alive, and not native.
    #[must_use]
    pub(crate) fn is_posix(&self) -> bool {
        self.native.is_none() && self.state != State::Zombie
    }
}

impl Table {
    /// A number that nobody has: no process, thread, group or session.
    pub(crate) fn number(&mut self) -> Option<u32> {
        for _ in 0..NUMBERS {
            self.last += 1;
            if self.last >= NUMBERS {
                self.last = RESERVED;
            }
            let number = self.last;
            let used = self.processes.contains_key(&number)
                || self.threads.contains_key(&number)
                || self.processes.values().any(|process| process.group == number || process.session == number);
            if !used {
                return Some(number);
            }
        }
        None
    }

    /// The process with this number.
    #[must_use]
    pub(crate) fn process(&self, pid: u32) -> Option<&Process> {
        self.processes.get(&pid).map(Box::as_ref)
    }

    /// The process with this number.
    pub(crate) fn process_mut(&mut self, pid: u32) -> Option<&mut Process> {
        self.processes.get_mut(&pid).map(Box::as_mut)
    }

    /// Numbers of processes for which `choose` holds.
    pub(crate) fn select(&self, choose: impl Fn(&Process) -> bool) -> Vec<u32> {
        self.processes.values().filter(|process| choose(process)).map(|process| process.pid).collect()
    }

    /// Whether a group exists in a session.
    #[must_use]
    pub(crate) fn group_in_session(&self, group: u32, session: u32) -> bool {
        // One that ended but was not waited for is a member still.
        self.processes.values().any(|process| process.group == group && process.session == session)
    }

    /// Whether nobody in the group has a parent in another group of the same session: nobody would continue it if it stopped.
    /// `ending` counts as gone.
    #[must_use]
    pub(crate) fn is_orphaned(&self, group: u32, ending: u32) -> bool {
        !self.processes.values().any(|member| {
            member.group == group
                && member.pid != ending
                && member.state != State::Zombie
                && self.processes.get(&member.parent).is_some_and(|parent| {
                    parent.pid != ending
                        && parent.state != State::Zombie
                        && parent.group != group
                        && parent.session == member.session
                })
        })
    }

    /// Whether a member of the group is stopped.
    #[must_use]
    pub(crate) fn has_stopped(&self, group: u32) -> bool {
        self.processes.values().any(|process| process.group == group && process.state == State::Stopped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(members: &[(u32, u32, u32, u32)]) -> Table {
        let mut table = Table::default();
        for &(pid, parent, group, session) in members {
            let process = Process { group, session, state: State::Running, ..Process::new(pid, parent) };
            table.processes.insert(pid, Box::new(process));
        }
        table
    }

    #[test]
    fn a_group_is_orphaned_without_a_parent_in_its_session() {
        // A shell (10), its job (11, 12), and a session of its own whose leader's parent is elsewhere.
        let table = table(&[(1, 0, 1, 1), (10, 1, 10, 10), (11, 10, 11, 10), (12, 11, 11, 10)]);
        assert!(!table.is_orphaned(11, 0));
        assert!(table.is_orphaned(11, 10), "when the shell ends");
        assert!(table.is_orphaned(10, 0));
        assert!(table.group_in_session(11, 10) && !table.group_in_session(11, 1));
    }

    #[test]
    fn numbers_in_use_are_passed_over() {
        let mut table = table(&[(1, 0, 1, 1), (2, 1, 3, 4)]);
        assert_eq!(table.number(), Some(5));
        table.last = NUMBERS - 1;
        assert_eq!(table.number(), Some(RESERVED));
    }
}
