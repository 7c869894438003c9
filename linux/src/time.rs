//! Clocks and sleeping.

use abi::Error;
use abi::call::flags::{DEADLINE_RECEIVE, INTERRUPTIBLE};
use protocol::Errno;
use protocol::process as service;
use runtime::{Buffers, Options, clock};

use crate::message::{WAIT, ask, kernel};
use crate::numbers::{Outcome, RESTART, RESTART_UNHANDLED, int};
use crate::process;
use crate::signal;
use crate::task::Task;
use crate::user_memory;

pub(crate) const SECOND_NS: u64 = 1_000_000_000;

/// A `struct timespec` in nanoseconds.
pub(crate) fn nanoseconds([seconds, part]: [u64; 2]) -> Outcome {
    if part >= SECOND_NS || seconds > i64::MAX as u64 {
        return Err(Errno::EINVAL);
    }
    Ok(seconds.saturating_mul(SECOND_NS).saturating_add(part))
}

/// Nanoseconds as a `struct timespec`.
pub(crate) const fn timespec(nanoseconds: u64) -> [u64; 2] {
    [nanoseconds / SECOND_NS, nanoseconds % SECOND_NS]
}

/// Nanoseconds as a `struct timeval`.
pub(crate) const fn timeval(nanoseconds: u64) -> [u64; 2] {
    [nanoseconds / SECOND_NS, nanoseconds % SECOND_NS / 1000]
}

/// The deadline that lies a `struct timespec` of the program's ahead; none if there is no such address.
pub(crate) fn deadline_after(address: u64) -> Outcome {
    match user_memory::read_optional::<[u64; 2]>(address)? {
        None => Ok(u64::MAX),
        Some(length) => Ok(clock::monotonic_ns().saturating_add(nanoseconds(length)?)),
    }
}

/// The deadline at an absolute `struct timespec` of the program's, by the real or the monotonic clock.
pub(crate) fn deadline_at(address: u64, real: bool) -> Outcome {
    match user_memory::read_optional::<[u64; 2]>(address)? {
        None => Ok(u64::MAX),
        Some(moment) => Ok(monotonic(nanoseconds(moment)?, real)),
    }
}

/// A moment of the real clock by the monotonic one.
fn monotonic(moment: u64, real: bool) -> u64 {
    let offset = if real { clock::page().realtime_offset_ns } else { 0 };
    moment.saturating_sub(offset)
}

/// Wait until a deadline, or until a handler is to run ([`RESTART_UNHANDLED`]).
pub(crate) fn wait(task: &mut Task, deadline: u64) -> Result<(), Errno> {
    let gate = match task.waiting() {
        Ok((gate, _)) => gate,
        Err(Errno::ENOMEM) => return wait_at_service(task, deadline),
        Err(error) => return Err(error),
    };
    let options = Options { flags: INTERRUPTIBLE | DEADLINE_RECEIVE, deadline };
    loop {
        match runtime::receive(gate, &mut Buffers::new(), options) {
            // A pulse that was meant for an earlier wait.
            Ok(_) => {}
            Err(Error::TimedOut) => return Ok(()),
            Err(Error::Interrupted) if signal::interrupted(task) => return Err(RESTART_UNHANDLED),
            Err(Error::Interrupted) => {}
            Err(error) => return Err(kernel(error)),
        }
    }
}

/// The same without a gate of the thread's own, of which there may be no more: the process service waits for it.
fn wait_at_service(task: &mut Task, deadline: u64) -> Result<(), Errno> {
    loop {
        let waited = ask(&mut Buffers::new(), |buffers| {
            service::signal_wait(task.connection(), u64::from(task.tid), 0, deadline, buffers, WAIT)
        });
        match waited {
            Err(RESTART) if signal::interrupted(task) => return Err(RESTART_UNHANDLED),
            Err(RESTART) => {}
            Err(Errno::EAGAIN) => return Ok(()),
            result => return result.map(drop),
        }
    }
}

/// `nanosleep`.
pub(crate) fn nanosleep(task: &mut Task, [wish, rest, ..]: [u64; 6]) -> Outcome {
    clock_nanosleep(task, [1, 0, wish, rest, 0, 0])
}

/// A clock of CPU time: of a process, or of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CpuClock {
    /// 0: the caller's.
    Process(u32),
    /// 0: the caller.
    Thread(u32),
}

/// What kind of clock a number names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    Real,
    Monotonic,
    Cpu(CpuClock),
}

/// The clock with a number (`clock_getcpuclockid(3)` makes negative ones: the inverted id, then whether it is a thread's, then a kind).
pub(crate) fn clock(id: u64) -> Result<Clock, Errno> {
    const THREAD: i32 = 4;
    const DESCRIPTOR: i32 = 3;
    match int(id) {
        // Coarse or not, alarm or not, and TAI (no leap seconds are known).
        0 | 5 | 8 | 11 => Ok(Clock::Real),
        1 | 4 | 6 | 7 | 9 => Ok(Clock::Monotonic),
        2 => Ok(Clock::Cpu(CpuClock::Process(0))),
        3 => Ok(Clock::Cpu(CpuClock::Thread(0))),
        id if id < 0 && id & 3 != DESCRIPTOR => {
            let number = !(id >> 3) as u32;
            Ok(Clock::Cpu(if id & THREAD != 0 { CpuClock::Thread(number) } else { CpuClock::Process(number) }))
        }
        _ => Err(Errno::EINVAL),
    }
}

fn read_cpu_clock(task: &Task, clock: CpuClock) -> Outcome {
    let (who, number) = match clock {
        CpuClock::Process(number) => (0, number),
        CpuClock::Thread(0) => (2, task.tid),
        CpuClock::Thread(number) => (2, number),
    };
    // A number that nobody has makes an invalid clock.
    let used = process::used(task, who, u64::from(number)).map_err(|error| if error == Errno::ESRCH { Errno::EINVAL } else { error })?;
    Ok(used.user_ns + used.system_ns)
}

/// `clock_nanosleep`.
pub(crate) fn clock_nanosleep(task: &mut Task, [clock_id, flags, wish, rest, ..]: [u64; 6]) -> Outcome {
    const ABSOLUTE: u64 = 1;
    const COARSE: [i32; 3] = [4, 5, 6];
    let clock = clock(clock_id)?;
    if clock == Clock::Cpu(CpuClock::Thread(0)) || COARSE.contains(&int(clock_id)) {
        return Err(Errno::EOPNOTSUPP);
    }
    let length = nanoseconds(user_memory::read(wish)?)?;
    let absolute = flags & ABSOLUTE != 0;
    let now = read_clock(task, clock)?;
    let until = if absolute { length } else { now.saturating_add(length) };
    let slept = match clock {
        Clock::Cpu(cpu) => sleep_by_cpu(task, cpu, until),
        Clock::Real | Clock::Monotonic => wait(task, monotonic(until, clock == Clock::Real)),
    };
    match slept {
        Ok(()) => Ok(0),
        Err(RESTART_UNHANDLED) => {
            if !absolute {
                let left = until.saturating_sub(read_clock(task, clock)?);
                user_memory::write_optional(rest, &timespec(left))?;
            }
            Err(Errno::EINTR)
        }
        Err(error) => Err(error),
    }
}

/// CPU time has no alarm: look when it could have been used at the earliest, but not more often than Linux's tick.
fn sleep_by_cpu(task: &mut Task, cpu: CpuClock, until: u64) -> Result<(), Errno> {
    const TICK_NS: u64 = 4_000_000;
    loop {
        let left = until.saturating_sub(read_cpu_clock(task, cpu)?);
        if left == 0 {
            return Ok(());
        }
        wait(task, clock::monotonic_ns().saturating_add(left.max(TICK_NS)))?;
    }
}

/// What a clock says.
fn read_clock(task: &Task, clock: Clock) -> Outcome {
    match clock {
        Clock::Real => Ok(clock::realtime_ns()),
        Clock::Monotonic => Ok(clock::monotonic_ns()),
        Clock::Cpu(cpu) => read_cpu_clock(task, cpu),
    }
}

/// `clock_gettime`.
pub(crate) fn clock_gettime(task: &mut Task, [id, address, ..]: [u64; 6]) -> Outcome {
    let now = read_clock(task, clock(id)?)?;
    user_memory::write(address, &timespec(now))?;
    Ok(0)
}

/// `clock_getres`.
pub(crate) fn clock_getres(task: &mut Task, [id, address, ..]: [u64; 6]) -> Outcome {
    const COARSE_NS: u64 = 4_000_000;
    read_clock(task, clock(id)?)?;
    let resolution = if matches!(id, 5 | 6) { COARSE_NS } else { 1 };
    user_memory::write_optional(address, &timespec(resolution))?;
    Ok(0)
}

/// `clock_settime`: only the real clock could be set, and that is the clock driver's business.
pub(crate) fn clock_settime(_: &mut Task, [id, address, ..]: [u64; 6]) -> Outcome {
    if int(id) != 0 {
        return Err(Errno::EINVAL);
    }
    nanoseconds(user_memory::read(address)?)?;
    Err(Errno::EPERM)
}

/// `settimeofday`: as [`clock_settime`].
pub(crate) fn settimeofday(_: &mut Task, [address, zone, ..]: [u64; 6]) -> Outcome {
    if let Some([_, micros]) = user_memory::read_optional::<[u64; 2]>(address)?
        && micros > 1_000_000
    {
        return Err(Errno::EINVAL);
    }
    user_memory::read_optional::<u64>(zone)?;
    Err(Errno::EPERM)
}

/// `adjtimex`: as [`clock_settime`].
pub(crate) fn adjtimex(_: &mut Task, _: [u64; 6]) -> Outcome {
    Err(Errno::EPERM)
}

/// `gettimeofday`.
pub(crate) fn gettimeofday(_: &mut Task, [address, zone, ..]: [u64; 6]) -> Outcome {
    user_memory::write_optional(address, &timeval(clock::realtime_ns()))?;
    user_memory::write_optional(zone, &0_u64)?;
    Ok(0)
}

/// `time`.
pub(crate) fn time(_: &mut Task, [address, ..]: [u64; 6]) -> Outcome {
    let seconds = clock::realtime_ns() / SECOND_NS;
    user_memory::write_optional(address, &seconds)?;
    Ok(seconds)
}
