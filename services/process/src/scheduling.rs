//! Who runs before whom: nice values of processes, and POSIX's scheduling policies of threads, as priorities of batons.
//!
//! Ordinary threads have the priorities 10 to 14; real-time ones lie above, in the same order as Linux's 1 to 99, and below everything of the system's own:
//! whatever a program asks for, the console and the services answer.

use protocol::Errno;

use crate::kernel::{self, Sharing};
use crate::server::{Outcome, Server};
use crate::table::{Process, Thread};

/// `SCHED_FIFO`, `SCHED_RR`, `SCHED_IDLE`.
const FIFO: u8 = 1;
const ROUND_ROBIN: u8 = 2;
const IDLE: u8 = 5;
/// Priorities that stand for 1 and 99.
const REAL_TIME_LOWEST: u8 = 15;
const REAL_TIME_HIGHEST: u8 = 61;
/// The priority of `SCHED_IDLE`.
const LEAST: u8 = 6;
/// Where the number of RLIMIT_RTPRIO and of RLIMIT_NICE is.
const REAL_TIME_LIMIT: usize = 14;
const NICE_LIMIT: usize = 13;

/// A thread's policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Policy {
    /// `SCHED_*`.
    pub(crate) kind: u8,
    /// 1 to 99 for the real-time ones, else 0.
    pub(crate) priority: u8,
    /// Children start with the ordinary policy.
    pub(crate) reset_on_fork: bool,
}

impl Policy {
    /// What a thread made by one with this policy has.
    #[must_use]
    pub(crate) fn inherited(self) -> Self {
        if self.reset_on_fork { Self::default() } else { self }
    }

    /// The priority of a baton, for a process's nice value + 20, and how it is shared.
    #[must_use]
    pub(crate) const fn level(self, nice: u8) -> (u8, Sharing) {
        const SPAN: u16 = (REAL_TIME_HIGHEST - REAL_TIME_LOWEST) as u16;
        match self.kind {
            FIFO | ROUND_ROBIN => {
                let above = (self.priority as u16 - 1) * SPAN / 98;
                let sharing = if self.kind == FIFO { Sharing::Fifo } else { Sharing::RoundRobin };
                (REAL_TIME_LOWEST + above as u8, sharing)
            }
            IDLE => (LEAST, Sharing::RoundRobin),
            // Up to four more or three less than 10 for the nice value.
            _ => (14 - nice / 5, Sharing::RoundRobin),
        }
    }
}

impl Server {
    /// A thread starts with the policy of the one that made it.
    pub(crate) fn inherit_policy(&mut self, tid: u32, maker: u32) {
        let policy = self.table.threads.get(&maker).map_or_else(Policy::default, |thread| thread.policy.inherited());
        if let Some(thread) = self.table.threads.get_mut(&tid) {
            thread.policy = policy;
        }
    }

    /// Run a thread as its own policy says.
    pub(crate) fn apply_policy_of(&self, tid: u32) {
        if let Some(thread) = self.table.threads.get(&tid)
            && let Some(process) = self.table.process(thread.pid)
        {
            Self::apply_policy(process, thread);
        }
    }

    fn apply_policy(process: &Process, thread: &Thread) {
        let (level, sharing) = thread.policy.level(process.nice);
        kernel::set_priority(thread.baton, level, sharing);
    }

    /// `Schedule`: sched_setscheduler, sched_getscheduler and their family.
    pub(crate) fn schedule_thread(&mut self, pid: u32, tid: u64, kind: u64, priority: u64) -> Result<Outcome, Errno> {
        let tid = u32::try_from(tid).map_err(|_| Errno::ESRCH)?;
        let owner = self.table.threads.get(&tid).ok_or(Errno::ESRCH)?.pid;
        if kind != u64::MAX {
            self.may_schedule(pid, owner)?;
            let policy = Policy {
                kind: kind as u8,
                priority: u8::try_from(priority).map_err(|_| Errno::EINVAL)?,
                reset_on_fork: kind >> 8 != 0,
            };
            let is_valid = match policy.kind {
                FIFO | ROUND_ROBIN => (1..=99).contains(&policy.priority),
                0 | 3 | IDLE => policy.priority == 0,
                _ => false,
            };
            if !is_valid {
                return Err(Errno::EINVAL);
            }
            let caller = self.known(pid)?;
            if !caller.is_privileged() && u64::from(policy.priority) > caller.limits[REAL_TIME_LIMIT].0 {
                return Err(Errno::EPERM);
            }
            let process = self.table.processes.get(&owner).ok_or(Errno::ESRCH)?;
            let thread = self.table.threads.get_mut(&tid).ok_or(Errno::ESRCH)?;
            thread.policy = policy;
            Self::apply_policy(process, thread);
        }
        let policy = self.table.threads.get(&tid).ok_or(Errno::ESRCH)?.policy;
        let kind = u64::from(policy.kind) | u64::from(policy.reset_on_fork) << 8;
        Ok(Outcome::ok([kind, u64::from(policy.priority), 0, 0]))
    }

    fn may_schedule(&self, caller: u32, target: u32) -> Result<(), Errno> {
        let (caller, target) = (self.known(caller)?, self.known(target)?);
        let effective = (caller.user >> 32) as u32;
        let owners = [target.user as u32, (target.user >> 32) as u32];
        if caller.is_privileged() || owners.contains(&effective) { Ok(()) } else { Err(Errno::EPERM) }
    }

    /// setpriority, getpriority.
    pub(crate) fn nice(&mut self, pid: u32, which: u64, who: u64, nice: u64) -> Result<Outcome, Errno> {
        if which > 2 {
            return Err(Errno::EINVAL);
        }
        let own = self.known(pid)?;
        let (group, user, who) = (own.group, own.user as u32, who as u32);
        let (privileged, lowest) = (own.is_privileged(), 40_u64.saturating_sub(own.limits[NICE_LIMIT].0.min(40)));
        let chosen = self.table.select(|process| {
            process.is_posix()
                && match which {
                    0 => process.pid == if who == 0 { pid } else { who },
                    1 => process.group == if who == 0 { group } else { who },
                    _ => process.user as u32 == if who == 0 { user } else { who },
                }
        });
        let mut answer = Err(Errno::ESRCH);
        for chosen in chosen {
            let permitted = nice == u64::MAX || self.may_schedule(pid, chosen).is_ok();
            let Some(process) = self.table.processes.get_mut(&chosen) else { continue };
            let raises = nice < u64::from(process.nice) && nice < lowest;
            if !permitted || nice != u64::MAX && raises && !privileged {
                answer = Err(if permitted { Errno::EACCES } else { Errno::EPERM });
                continue;
            }
            if nice != u64::MAX {
                process.nice = nice.min(39) as u8;
                for thread in process.threads.iter().filter_map(|tid| self.table.threads.get(tid)) {
                    Self::apply_policy(process, thread);
                }
            }
            let nice = u64::from(process.nice);
            answer = Ok(answer.map_or(nice, |least: u64| least.min(nice)));
        }
        answer.map(|nice| Outcome::ok([nice, 0, 0, 0]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_time_lies_above_all_else_in_order() {
        let level = |kind, priority| Policy { kind, priority, reset_on_fork: false }.level(20).0;
        assert_eq!((Policy::default().level(0).0, level(0, 0), Policy::default().level(39).0), (14, 10, 7));
        assert!((2..=99).all(|priority| level(FIFO, priority) >= level(FIFO, priority - 1)));
        assert_eq!((level(FIFO, 1), level(ROUND_ROBIN, 99)), (REAL_TIME_LOWEST, REAL_TIME_HIGHEST));
        assert!(level(IDLE, 0) < level(0, 0) && level(FIFO, 1) > Policy::default().level(0).0);
    }

    #[test]
    fn a_policy_is_handed_down_unless_it_says_not() {
        let policy = Policy { kind: FIFO, priority: 3, reset_on_fork: false };
        assert_eq!(policy.inherited(), policy);
        assert_eq!(Policy { reset_on_fork: true, ..policy }.inherited(), Policy::default());
    }
}
