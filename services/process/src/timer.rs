//! Deadlines: of requests that wait, and interval timers. The server waits for messages until the earliest.

use protocol::Errno;
use protocol::process::SignalInformation;

use crate::kernel;
use crate::server::{Outcome, Server};
use crate::signal::{SI_KERNEL, SIGALRM};

/// An interval timer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Interval {
    /// When it expires next, monotonic ns; 0: not set.
    pub(crate) at_ns: u64,
    /// How often after that; 0: not again.
    pub(crate) every_ns: u64,
}

/// What happens at a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    /// A request has waited long enough.
    Request(u64),
    /// A process's real timer expires.
    Alarm(u32),
}

impl Interval {
    /// Time left at `now`, at least 1 if it is set.
    #[must_use]
    pub(crate) const fn left(&self, now: u64) -> u64 {
        if self.at_ns == 0 {
            0
        } else if self.at_ns > now {
            self.at_ns - now
        } else {
            1
        }
    }

    /// The expiry after one at `now`: missed ones are left out.
    #[must_use]
    pub(crate) const fn next(&self, now: u64) -> Self {
        if self.every_ns == 0 {
            return Self { at_ns: 0, every_ns: 0 };
        }
        let missed = now.saturating_sub(self.at_ns) / self.every_ns;
        Self { at_ns: self.at_ns.saturating_add((missed + 1).saturating_mul(self.every_ns)), every_ns: self.every_ns }
    }
}

impl Server {
    /// setitimer. Only the real timer runs; the others keep their values (CPU time has no alarm yet).
    pub(crate) fn set_timer(&mut self, pid: u32, which: u64, value: u64, interval: u64) -> Result<Outcome, Errno> {
        let now = kernel::now();
        let process = self.table.process_mut(pid).ok_or(Errno::ESRCH)?;
        let timer = process.timers.get_mut(which as usize).filter(|_| which < 3).ok_or(Errno::EINVAL)?;
        let old = *timer;
        *timer = if value == 0 {
            Interval::default()
        } else {
            Interval { at_ns: now.saturating_add(value), every_ns: interval }
        };
        let new = *timer;
        if which == 0 {
            self.deadlines.remove(&(old.at_ns, Event::Alarm(pid)));
            if new.at_ns != 0 {
                self.deadlines.insert((new.at_ns, Event::Alarm(pid)));
            }
        }
        Ok(Outcome::ok([old.left(now), old.every_ns, 0, 0]))
    }

    /// getitimer.
    pub(crate) fn timer(&self, pid: u32, which: u64) -> Result<Outcome, Errno> {
        let process = self.table.process(pid).ok_or(Errno::ESRCH)?;
        let timer = process.timers.get(which as usize).ok_or(Errno::EINVAL)?;
        Ok(Outcome::ok([timer.left(kernel::now()), timer.every_ns, 0, 0]))
    }

    /// Do what is due, if there is anything to be due: reading the clock costs.
    pub(crate) fn expire_if_due(&mut self) {
        if !self.deadlines.is_empty() {
            self.expire();
        }
    }

    /// Do what is due.
    pub(crate) fn expire(&mut self) {
        let now = kernel::now();
        while let Some(&(at, event)) = self.deadlines.first().filter(|(at, _)| *at <= now) {
            self.deadlines.remove(&(at, event));
            match event {
                Event::Request(request) => self.timed_out(request),
                Event::Alarm(pid) => {
                    let Some(process) = self.table.process_mut(pid) else { continue };
                    process.timers[0] = process.timers[0].next(now);
                    let next = process.timers[0].at_ns;
                    if next != 0 {
                        self.deadlines.insert((next, Event::Alarm(pid)));
                    }
                    let information =
                        SignalInformation { signal: SIGALRM, code: SI_KERNEL, ..SignalInformation::default() };
                    let _ = self.signal_process(pid, information);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missed_expiries_are_left_out() {
        let timer = Interval { at_ns: 100, every_ns: 10 };
        assert_eq!(timer.next(100).at_ns, 110);
        assert_eq!(timer.next(135).at_ns, 140);
        assert_eq!(Interval { every_ns: 0, ..timer }.next(135), Interval::default());
        assert_eq!((timer.left(40), timer.left(200), Interval::default().left(1)), (60, 1, 0));
    }
}
