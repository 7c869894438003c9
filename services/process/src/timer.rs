//! Timers of processes: setitimer's three, POSIX's, and the watch over RLIMIT_CPU. One signal of a timer is pending at a time;
//! expiries meanwhile are counted (`timer_getoverrun(2)`).
//!
//! CPU time has no alarm: with one processor a process uses no more of it than passes, so the service looks when the rest could have been
//! used at the earliest, at most every [`GRAIN_NS`].

use protocol::Errno;
use protocol::process::{FIRST_TIMER, SignalInformation, TIMER_ABSOLUTE, notify};

use crate::deadline::Event;
use crate::kernel;
use crate::server::{Outcome, Server};
use crate::signal::{SI_KERNEL, SI_TIMER, SIGALRM, SIGKILL, SIGNALS, SIGPROF, SIGVTALRM, SIGXCPU};

/// Number of the watch over RLIMIT_CPU.
const CPU_WATCH: u32 = 3;
/// Timers of one process.
const MOST: usize = 512;
/// How often a timer is looked at whose signal nobody takes, or whose clock is CPU time.
const GRAIN_NS: u64 = 4_000_000;
const SECOND_NS: u64 = 1_000_000_000;

/// What a timer goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// Time.
    Monotonic,
    /// The time of day: only absolute moments differ.
    Real,
    /// CPU time of a process.
    Process(u32),
    /// CPU time of a thread.
    Thread(u32),
}

/// What an expiry does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// setitimer's signal.
    Interval(u32),
    /// A POSIX timer's signal, to a thread or the process.
    Posix { signal: u32, target: Option<u32>, value: u64 },
    /// Nothing: it is only read.
    Nothing,
    /// RLIMIT_CPU.
    CpuLimit,
}

/// A timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timer {
    clock: Clock,
    effect: Effect,
    /// When it expires next, by its clock; 0: not set.
    at_ns: u64,
    /// How often after that; 0: not again.
    every_ns: u64,
    /// When it is looked at next, monotonic; 0: not.
    look_ns: u64,
    /// Expiries since the one that its pending signal tells of.
    missed: u64,
    /// Those of the last signal that was taken.
    overrun: u64,
}

impl Timer {
    const fn new(clock: Clock, effect: Effect) -> Self {
        Self { clock, effect, at_ns: 0, every_ns: 0, look_ns: 0, missed: 0, overrun: 0 }
    }

    /// Time left at `now` of its clock, at least 1 if it is set.
    const fn left(&self, now: u64) -> u64 {
        if self.at_ns == 0 {
            0
        } else if self.at_ns > now {
            self.at_ns - now
        } else if self.every_ns == 0 {
            1
        } else {
            self.every_ns - (now - self.at_ns) % self.every_ns
        }
    }

    /// Pass all expiries up to `now`; gives how many.
    const fn pass(&mut self, now: u64) -> u64 {
        if self.at_ns == 0 || self.at_ns > now {
            return 0;
        }
        if self.every_ns == 0 {
            self.at_ns = 0;
            return 1;
        }
        let count = (now - self.at_ns) / self.every_ns + 1;
        self.at_ns = self.at_ns.saturating_add(count.saturating_mul(self.every_ns));
        count
    }
}

impl Server {
    fn timer(&self, pid: u32, number: u32) -> Option<&Timer> {
        self.table.process(pid)?.timers.get(&number)
    }

    fn timer_mut(&mut self, pid: u32, number: u32) -> Option<&mut Timer> {
        self.table.process_mut(pid)?.timers.get_mut(&number)
    }

    /// What a clock says; 0 of who is gone.
    fn read_clock(&self, clock: Clock) -> u64 {
        match clock {
            Clock::Monotonic | Clock::Real => kernel::now(),
            Clock::Process(pid) => self.table.process(pid).map_or(0, |process| self.cpu_ns(process)),
            Clock::Thread(tid) => {
                self.table.threads.get(&tid).map_or(0, |thread| kernel::activity(thread.handle).cpu_ns)
            }
        }
    }

    /// Look at a timer again when it may have expired, but not before `least` from now.
    fn schedule(&mut self, pid: u32, number: u32, least: u64) {
        let Some(&timer) = self.timer(pid, number) else { return };
        self.deadlines.remove(&(timer.look_ns, Event::Timer(pid, number)));
        let mut look_ns = 0;
        if timer.at_ns != 0 && timer.effect != Effect::Nothing {
            let is_cpu = matches!(timer.clock, Clock::Process(_) | Clock::Thread(_));
            let least = if is_cpu { least.max(GRAIN_NS) } else { least };
            let left = timer.at_ns.saturating_sub(self.read_clock(timer.clock));
            look_ns = kernel::now().saturating_add(left.max(least));
            self.deadlines.insert((look_ns, Event::Timer(pid, number)));
        }
        if let Some(timer) = self.timer_mut(pid, number) {
            timer.look_ns = look_ns;
        }
    }

    /// `TimerCreate`.
    pub(crate) fn timer_create(&mut self, pid: u32, clock: u64, how: u64, value: u64) -> Result<Outcome, Errno> {
        let named = (clock >> 32) as u32;
        let clock = match clock as u32 {
            0 => Clock::Monotonic,
            1 => {
                let named = if named == 0 { pid } else { named };
                self.known(named).map_err(|_| Errno::EINVAL)?;
                Clock::Process(named)
            }
            2 => Clock::Thread(self.own_thread(pid, u64::from(named)).map_err(|_| Errno::EINVAL)?),
            3 => Clock::Real,
            _ => return Err(Errno::EINVAL),
        };
        let signal = how as u32 & 0xff;
        let kind = how >> 8 & 0xff;
        if kind != notify::NONE && !(1..SIGNALS as u32).contains(&signal) {
            return Err(Errno::EINVAL);
        }
        let target = match kind {
            notify::THREAD => Some(self.own_thread(pid, how >> 32).map_err(|_| Errno::EINVAL)?),
            _ => None,
        };
        let process = self.table.process_mut(pid).ok_or(Errno::ESRCH)?;
        if process.timers.len() >= MOST || self.ram.is_scarce() {
            return Err(Errno::EAGAIN);
        }
        let number = (FIRST_TIMER..).find(|number| !process.timers.contains_key(number)).ok_or(Errno::EAGAIN)?;
        let effect = match kind {
            notify::NONE => Effect::Nothing,
            notify::NUMBER => Effect::Posix { signal, target, value: u64::from(number - FIRST_TIMER) },
            _ => Effect::Posix { signal, target, value },
        };
        process.timers.insert(number, Timer::new(clock, effect));
        Ok(Outcome::ok([u64::from(number), 0, 0, 0]))
    }

    /// The timer of a message: setitimer's are there when they are first set.
    fn named_timer(&mut self, pid: u32, number: u64, make: bool) -> Result<(u32, Timer), Errno> {
        let number = u32::try_from(number).ok().filter(|&number| number != CPU_WATCH).ok_or(Errno::EINVAL)?;
        if let Some(&timer) = self.timer(pid, number) {
            return Ok((number, timer));
        }
        let (clock, signal) = match number {
            0 => (Clock::Monotonic, SIGALRM),
            1 => (Clock::Process(pid), SIGVTALRM),
            2 => (Clock::Process(pid), SIGPROF),
            _ => return Err(Errno::EINVAL),
        };
        let timer = Timer::new(clock, Effect::Interval(signal));
        if make {
            self.table.process_mut(pid).ok_or(Errno::ESRCH)?.timers.insert(number, timer);
        }
        Ok((number, timer))
    }

    /// `TimerSet`.
    pub(crate) fn timer_set(
        &mut self,
        pid: u32,
        number: u64,
        value: u64,
        interval: u64,
        flags: u64,
    ) -> Result<Outcome, Errno> {
        let (number, old) = self.named_timer(pid, number, value != 0)?;
        let now = self.read_clock(old.clock);
        let offset = if old.clock == Clock::Real { self.realtime_offset_ns } else { 0 };
        if let Some(timer) = self.timer_mut(pid, number) {
            timer.at_ns = match value {
                0 => 0,
                value if flags & TIMER_ABSOLUTE != 0 => value.saturating_sub(offset).max(1),
                value => now.saturating_add(value),
            };
            timer.every_ns = if value == 0 { 0 } else { interval };
            (timer.missed, timer.overrun) = (0, 0);
        }
        self.schedule(pid, number, 0);
        Ok(Outcome::ok([old.left(now), old.every_ns, 0, 0]))
    }

    /// `TimerGet`.
    pub(crate) fn timer_get(&mut self, pid: u32, number: u64) -> Result<Outcome, Errno> {
        let (_, timer) = self.named_timer(pid, number, false)?;
        let now = self.read_clock(timer.clock);
        // One that is only read expires unseen.
        let left = if timer.effect == Effect::Nothing && timer.every_ns == 0 {
            timer.at_ns.saturating_sub(now)
        } else {
            timer.left(now)
        };
        Ok(Outcome::ok([left, timer.every_ns, 0, 0]))
    }

    /// `TimerOverrun`.
    pub(crate) fn timer_overrun(&mut self, pid: u32, number: u64) -> Result<Outcome, Errno> {
        let (_, timer) = self.named_timer(pid, number, false)?;
        Ok(Outcome::ok([timer.overrun, 0, 0, 0]))
    }

    /// `TimerDelete`.
    pub(crate) fn timer_delete(&mut self, pid: u32, number: u64) -> Result<Outcome, Errno> {
        let number = u32::try_from(number).ok().filter(|&number| number >= FIRST_TIMER).ok_or(Errno::EINVAL)?;
        let process = self.table.process_mut(pid).ok_or(Errno::ESRCH)?;
        let timer = process.timers.remove(&number).ok_or(Errno::EINVAL)?;
        self.deadlines.remove(&(timer.look_ns, Event::Timer(pid, number)));
        Ok(Outcome::DONE)
    }

    /// All of a process's timers from a number on are gone: at its end all, at exec the POSIX ones.
    pub(crate) fn drop_timers(&mut self, pid: u32, first: u32) {
        let Some(process) = self.table.process_mut(pid) else { return };
        for (number, timer) in process.timers.split_off(&first) {
            self.deadlines.remove(&(timer.look_ns, Event::Timer(pid, number)));
        }
    }

    /// A new process has its parent's limits.
    pub(crate) fn inherit_cpu_limit(&mut self, pid: u32) {
        if self.table.process(pid).is_some_and(|process| process.limits[0] != (u64::MAX, u64::MAX)) {
            self.watch_cpu(pid);
        }
    }

    /// Keep watch over RLIMIT_CPU, or no longer.
    pub(crate) fn watch_cpu(&mut self, pid: u32) {
        let Some(process) = self.table.process_mut(pid) else { return };
        let (soft, hard) = process.limits[0];
        let timer = process.timers.entry(CPU_WATCH).or_insert(Timer::new(Clock::Process(pid), Effect::CpuLimit));
        let seconds = soft.min(hard);
        // Linux takes 0 for a second.
        timer.at_ns = if seconds == u64::MAX { 0 } else { seconds.max(1).saturating_mul(SECOND_NS) };
        self.schedule(pid, CPU_WATCH, 0);
    }

    /// A timer is to be looked at.
    pub(crate) fn look_at_timer(&mut self, pid: u32, number: u32) {
        let Some(&timer) = self.timer(pid, number) else { return };
        let now = self.read_clock(timer.clock);
        let is_queued = self.has_signal_of(pid, number, &timer);
        let count = match self.timer_mut(pid, number) {
            Some(timer) => timer.pass(now),
            None => 0,
        };
        if count == 0 {
            return self.schedule(pid, number, 0);
        }
        if let Some(timer) = self.timer_mut(pid, number) {
            timer.missed = if is_queued { timer.missed.saturating_add(count) } else { count - 1 };
        }
        if timer.effect == Effect::CpuLimit {
            return self.cpu_limit_reached(pid, now);
        }
        // Who takes the signal has the next expiry come in time; if nobody does, it is of no haste.
        self.schedule(pid, number, GRAIN_NS);
        if is_queued {
            return;
        }
        let (information, target) = match timer.effect {
            Effect::Interval(signal) => (SignalInformation { signal, code: SI_KERNEL, ..Default::default() }, None),
            Effect::Posix { signal, target, value } => {
                let pid = number - FIRST_TIMER;
                (SignalInformation { signal, code: SI_TIMER, pid, value, ..Default::default() }, target)
            }
            Effect::Nothing | Effect::CpuLimit => return,
        };
        // It fails only if the process or the thread is gone.
        let _ = self.signal_from_timer(pid, target, information);
    }

    fn has_signal_of(&self, pid: u32, number: u32, timer: &Timer) -> bool {
        let Some(process) = self.table.process(pid) else { return false };
        match timer.effect {
            Effect::Interval(signal) => process.pending.set() & crate::signal::bit(signal) != 0,
            Effect::Posix { target, .. } => {
                let pending = target
                    .and_then(|tid| self.table.threads.get(&tid))
                    .map_or(&process.pending, |thread| &thread.pending);
                pending.is_from_timer(number - FIRST_TIMER)
            }
            Effect::Nothing | Effect::CpuLimit => false,
        }
    }

    /// A signal is about to be handled: if a timer sent it, say how many expiries it stands for, and go on with the timer.
    pub(crate) fn account_taken(&mut self, pid: u32, information: &mut SignalInformation) {
        let number = match (information.code, information.signal) {
            (SI_TIMER, _) => FIRST_TIMER + information.pid,
            (SI_KERNEL, SIGALRM) => 0,
            (SI_KERNEL, SIGVTALRM) => 1,
            (SI_KERNEL, SIGPROF) => 2,
            _ => return,
        };
        let Some(&timer) = self.timer(pid, number) else { return };
        let now = self.read_clock(timer.clock);
        let Some(timer) = self.timer_mut(pid, number) else { return };
        let missed = timer.missed.saturating_add(timer.pass(now));
        (timer.overrun, timer.missed) = (missed.min(i32::MAX as u64), 0);
        if information.code == SI_TIMER {
            information.user = timer.overrun as u32;
        }
        self.schedule(pid, number, 0);
    }

    /// SIGXCPU now and every second, until the hard limit is the end (`setrlimit(2)`).
    fn cpu_limit_reached(&mut self, pid: u32, used_ns: u64) {
        let Some(process) = self.table.process_mut(pid) else { return };
        let (_, hard) = process.limits[0];
        if used_ns >= hard.max(1).saturating_mul(SECOND_NS) {
            return self.end_by_signal(pid, SIGKILL, false);
        }
        if let Some(timer) = process.timers.get_mut(&CPU_WATCH) {
            timer.at_ns = used_ns.saturating_add(SECOND_NS).min(hard.max(1).saturating_mul(SECOND_NS));
        }
        self.schedule(pid, CPU_WATCH, 0);
        let _ = self.signal_process(pid, crate::signal::from_system(SIGXCPU));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timer(at_ns: u64, every_ns: u64) -> Timer {
        Timer { at_ns, every_ns, ..Timer::new(Clock::Monotonic, Effect::Nothing) }
    }

    #[test]
    fn expiries_are_passed_all_at_once() {
        let mut periodic = timer(100, 10);
        assert_eq!((periodic.pass(99), periodic.pass(100), periodic.at_ns), (0, 1, 110));
        assert_eq!((periodic.pass(135), periodic.at_ns), (3, 140));
        let mut once = timer(100, 0);
        assert_eq!((once.pass(135), once.pass(140), once.at_ns), (1, 0, 0));
    }

    #[test]
    fn what_is_left_is_never_nothing_while_it_is_set() {
        assert_eq!((timer(100, 0).left(40), timer(100, 0).left(200), timer(0, 0).left(1)), (60, 1, 0));
        assert_eq!((timer(100, 30).left(100), timer(100, 30).left(150)), (30, 10));
    }
}
