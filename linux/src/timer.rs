//! Timers: `setitimer` and POSIX timers are the process service's, which sends their signals.

use protocol::Errno;
use protocol::process::{self as service, FIRST_TIMER, TIMER_ABSOLUTE, notify};
use runtime::Buffers;

use crate::message::{PROMPT, ask};
use crate::numbers::{Outcome, int, signals};
use crate::task::Task;
use crate::time::{Clock, CpuClock, SECOND_NS, clock, nanoseconds, timespec, timeval};
use crate::user_memory;

/// Set a timer; gives what was left of it, and its interval.
fn set(task: &Task, number: u64, value: u64, interval: u64, flags: u64) -> Result<(u64, u64), Errno> {
    ask(&mut Buffers::new(), |buffers| {
        service::timer_set(task.connection(), number, value, interval, flags, buffers, PROMPT)
    })
    .map(|answer| (answer.value_ns, answer.interval_ns))
}

fn get(task: &Task, number: u64) -> Result<(u64, u64), Errno> {
    ask(&mut Buffers::new(), |buffers| service::timer_get(task.connection(), number, buffers, PROMPT))
        .map(|answer| (answer.value_ns, answer.interval_ns))
}

/// `alarm`.
pub(crate) fn alarm(task: &mut Task, [seconds, ..]: [u64; 6]) -> Outcome {
    let value = (seconds & 0xffff_ffff) * SECOND_NS;
    let (left, _) = set(task, 0, value, 0, 0)?;
    // To the nearest second, but what is left is never nothing.
    Ok(if left == 0 { 0 } else { ((left + SECOND_NS / 2) / SECOND_NS).max(1) })
}

fn of_timeval([seconds, micros]: [u64; 2]) -> Outcome {
    if micros >= 1_000_000 || seconds > i64::MAX as u64 {
        return Err(Errno::EINVAL);
    }
    Ok(seconds.saturating_mul(SECOND_NS).saturating_add(micros * 1000))
}

fn interval_record((value, interval): (u64, u64)) -> [u64; 4] {
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
    let before = set(task, which, value, interval, 0)?;
    user_memory::write_optional(old, &interval_record(before))?;
    Ok(0)
}

/// `getitimer`.
pub(crate) fn getitimer(task: &mut Task, [which, address, ..]: [u64; 6]) -> Outcome {
    if which > 2 {
        return Err(Errno::EINVAL);
    }
    user_memory::write(address, &interval_record(get(task, which)?))?;
    Ok(0)
}

/// How the service numbers a program's timer.
fn number(timer: u64) -> Result<u64, Errno> {
    u64::try_from(int(timer)).map(|number| number + u64::from(FIRST_TIMER)).map_err(|_| Errno::EINVAL)
}

/// `timer_create`.
pub(crate) fn timer_create(task: &mut Task, [id, event, address, ..]: [u64; 6]) -> Outcome {
    const SIGNAL: u32 = 0;
    const NONE: u32 = 1;
    const THREAD: u32 = 2;
    const THREAD_ID: u32 = 4;
    let clock = match clock(id)? {
        // Of the coarse ones and the raw one there are no timers.
        _ if matches!(int(id), 4..=6) => return Err(Errno::EOPNOTSUPP),
        Clock::Monotonic => 0,
        Clock::Real => 3,
        Clock::Cpu(CpuClock::Process(pid)) => 1 | u64::from(pid) << 32,
        Clock::Cpu(CpuClock::Thread(tid)) => 2 | u64::from(if tid == 0 { task.tid } else { tid }) << 32,
    };
    user_memory::check(address, 4)?;
    // Linux's `struct sigevent`: value, then signal and kind, then a thread's id.
    let (how, value) = match user_memory::read_optional::<[u64; 3]>(event)? {
        None => (u64::from(signals::ALRM) | notify::NUMBER << 8, 0),
        Some([value, code, thread]) => {
            let (signal, kind) = (code as u32, (code >> 32) as u32);
            let kind = match kind {
                SIGNAL | THREAD => notify::SIGNAL,
                NONE => notify::NONE,
                THREAD_ID => notify::THREAD,
                _ => return Err(Errno::EINVAL),
            };
            if kind != notify::NONE && !(1..=signals::LAST).contains(&signal) {
                return Err(Errno::EINVAL);
            }
            (u64::from(signal & 0xff) | kind << 8 | (thread & 0xffff_ffff) << 32, value)
        }
    };
    let answer = ask(&mut Buffers::new(), |buffers| {
        service::timer_create(task.connection(), clock, how, value, buffers, PROMPT)
    })?;
    user_memory::write(address, &((answer.number - u64::from(FIRST_TIMER)) as u32))?;
    Ok(0)
}

fn timer_record((value, interval): (u64, u64)) -> [u64; 4] {
    let ([a, b], [c, d]) = (timespec(interval), timespec(value));
    [a, b, c, d]
}

/// `timer_settime`.
pub(crate) fn timer_settime(task: &mut Task, [timer, flags, new, old, ..]: [u64; 6]) -> Outcome {
    let wish: [u64; 4] = if new == 0 { return Err(Errno::EINVAL) } else { user_memory::read(new)? };
    let (interval, value) = (nanoseconds([wish[0], wish[1]])?, nanoseconds([wish[2], wish[3]])?);
    let before = set(task, number(timer)?, value, interval, flags & TIMER_ABSOLUTE)?;
    user_memory::write_optional(old, &timer_record(before))?;
    Ok(0)
}

/// `timer_gettime`.
pub(crate) fn timer_gettime(task: &mut Task, [timer, address, ..]: [u64; 6]) -> Outcome {
    user_memory::write(address, &timer_record(get(task, number(timer)?)?))?;
    Ok(0)
}

/// `timer_getoverrun`.
pub(crate) fn timer_getoverrun(task: &mut Task, [timer, ..]: [u64; 6]) -> Outcome {
    let number = number(timer)?;
    ask(&mut Buffers::new(), |buffers| service::timer_overrun(task.connection(), number, buffers, PROMPT))
        .map(|answer| answer.count)
}

/// `timer_delete`.
pub(crate) fn timer_delete(task: &mut Task, [timer, ..]: [u64; 6]) -> Outcome {
    let number = number(timer)?;
    ask(&mut Buffers::new(), |buffers| service::timer_delete(task.connection(), number, buffers, PROMPT)).map(|_| 0)
}
