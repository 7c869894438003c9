//! Clocks, sleeping, interval timers.

use abi::Error;
use abi::call::flags::{DEADLINE_RECEIVE, INTERRUPTIBLE};
use protocol::Errno;
use protocol::process as service;
use runtime::{Buffers, Options, clock};

use crate::message::{PROMPT, ask, kernel};
use crate::numbers::{Outcome, RESTART_UNHANDLED, int};
use crate::process;
use crate::signal;
use crate::task::Task;
use crate::user_memory;

const SECOND_NS: u64 = 1_000_000_000;

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
const fn timeval(nanoseconds: u64) -> [u64; 2] {
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
    let (gate, _) = task.waiting()?;
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

/// `nanosleep`.
pub(crate) fn nanosleep(task: &mut Task, [wish, rest, ..]: [u64; 6]) -> Outcome {
    clock_nanosleep(task, [1, 0, wish, rest, 0, 0])
}

/// `clock_nanosleep`.
pub(crate) fn clock_nanosleep(task: &mut Task, [clock_id, flags, wish, rest, ..]: [u64; 6]) -> Outcome {
    const ABSOLUTE: u64 = 1;
    let real = match clock_id {
        0 | 8 | 11 => true,
        1 | 7 | 9 => false,
        2 => return Err(Errno::EOPNOTSUPP),
        _ => return Err(Errno::EINVAL),
    };
    let length = nanoseconds(user_memory::read(wish)?)?;
    let absolute = flags & ABSOLUTE != 0;
    let now = clock::monotonic_ns();
    let deadline = if absolute { monotonic(length, real) } else { now.saturating_add(length) };
    match wait(task, deadline) {
        Ok(()) => Ok(0),
        Err(RESTART_UNHANDLED) => {
            if !absolute {
                let left = deadline.saturating_sub(clock::monotonic_ns());
                user_memory::write_optional(rest, &timespec(left))?;
            }
            Err(Errno::EINTR)
        }
        Err(error) => Err(error),
    }
}

/// What a clock says.
fn read_clock(task: &Task, id: u64) -> Outcome {
    match int(id) {
        // Real time, coarse or not, alarm or not, and TAI (no leap seconds are known).
        0 | 5 | 8 | 11 => Ok(clock::realtime_ns()),
        1 | 4 | 6 | 7 | 9 => Ok(clock::monotonic_ns()),
        2 => process::used(task, 0).map(|used| used.user_ns + used.system_ns),
        3 => process::used(task, 2).map(|used| used.user_ns + used.system_ns),
        // CPU clocks of threads and processes by number: ours.
        id if id < 0 => process::used(task, if id & 4 != 0 { 2 } else { 0 }).map(|used| used.user_ns + used.system_ns),
        _ => Err(Errno::EINVAL),
    }
}

/// `clock_gettime`.
pub(crate) fn clock_gettime(task: &mut Task, [id, address, ..]: [u64; 6]) -> Outcome {
    let now = read_clock(task, id)?;
    user_memory::write(address, &timespec(now))?;
    Ok(0)
}

/// `clock_getres`.
pub(crate) fn clock_getres(task: &mut Task, [id, address, ..]: [u64; 6]) -> Outcome {
    const COARSE_NS: u64 = 4_000_000;
    read_clock(task, id)?;
    let resolution = if matches!(id, 5 | 6) { COARSE_NS } else { 1 };
    user_memory::write_optional(address, &timespec(resolution))?;
    Ok(0)
}

/// `clock_settime`, `settimeofday`, `adjtimex`: the clock driver's business.
pub(crate) fn not_permitted(_: &mut Task, _: [u64; 6]) -> Outcome {
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

/// `alarm`.
pub(crate) fn alarm(task: &mut Task, [seconds, ..]: [u64; 6]) -> Outcome {
    let value = (seconds & 0xffff_ffff) * SECOND_NS;
    let answer = ask(&mut Buffers::new(), |buffers| service::set_timer(task.connection(), 0, value, 0, buffers, PROMPT))?;
    Ok(answer.value_ns.div_ceil(SECOND_NS))
}

fn of_timeval([seconds, micros]: [u64; 2]) -> Outcome {
    if micros >= 1_000_000 || seconds > i64::MAX as u64 {
        return Err(Errno::EINVAL);
    }
    Ok(seconds.saturating_mul(SECOND_NS).saturating_add(micros * 1000))
}

fn timer_record(interval: u64, value: u64) -> [u64; 4] {
    let ([a, b], [c, d]) = (timeval(interval), timeval(value.next_multiple_of(1000)));
    [a, b, c, d]
}

/// `setitimer`.
pub(crate) fn setitimer(task: &mut Task, [which, new, old, ..]: [u64; 6]) -> Outcome {
    if which > 2 {
        return Err(Errno::EINVAL);
    }
    let wish = user_memory::read_optional::<[u64; 4]>(new)?.unwrap_or_default();
    let (interval, value) = (of_timeval([wish[0], wish[1]])?, of_timeval([wish[2], wish[3]])?);
    let answer =
        ask(&mut Buffers::new(), |buffers| service::set_timer(task.connection(), which, value, interval, buffers, PROMPT))?;
    user_memory::write_optional(old, &timer_record(answer.interval_ns, answer.value_ns))?;
    Ok(0)
}

/// `getitimer`.
pub(crate) fn getitimer(task: &mut Task, [which, address, ..]: [u64; 6]) -> Outcome {
    if which > 2 {
        return Err(Errno::EINVAL);
    }
    let answer = ask(&mut Buffers::new(), |buffers| service::timer(task.connection(), which, buffers, PROMPT))?;
    user_memory::write(address, &timer_record(answer.interval_ns, answer.value_ns))?;
    Ok(0)
}
