//! Who runs before whom: policies and priorities of threads, nice values, and the one processor.

use protocol::Errno;
use protocol::process as service;
use runtime::Buffers;

use crate::message::{PROMPT, ask};
use crate::numbers::{Outcome, int};
use crate::task::Task;
use crate::time;
use crate::user_memory::{self, Plain};

const FIFO: u64 = 1;
const ROUND_ROBIN: u64 = 2;
/// `SCHED_DEADLINE`, which there is not.
const DEADLINE: u64 = 6;
/// `SCHED_RESET_ON_FORK`, and the service's bit for it.
const RESET_ON_FORK: u64 = 0x4000_0000;
const RESET: u64 = 1 << 8;
const KIND: u64 = 0xff;
/// Ask for a policy, change nothing.
const ASK: u64 = u64::MAX;

/// `sched_yield`.
pub(crate) fn sched_yield(_: &mut Task, _: [u64; 6]) -> Outcome {
    runtime::object::thread::yield_now();
    Ok(0)
}

/// The thread that a `pid` of these calls names.
fn named(task: &Task, pid: u64) -> Outcome {
    match int(pid) {
        0 => Ok(u64::from(task.tid)),
        pid => u64::try_from(pid).map_err(|_| Errno::EINVAL),
    }
}

/// Set, or only ask for, a thread's policy and priority.
fn schedule(task: &Task, pid: u64, policy: u64, priority: u64) -> Result<(u64, u64), Errno> {
    let tid = named(task, pid)?;
    ask(&mut Buffers::new(), |buffers| service::schedule(task.connection(), tid, policy, priority, buffers, PROMPT))
        .map(|answer| (answer.policy, answer.priority))
}

/// A policy as programs give it, for the service.
fn policy(number: u64) -> Outcome {
    let kind = number & 0xffff_ffff & !RESET_ON_FORK;
    if kind > DEADLINE {
        return Err(Errno::EINVAL);
    }
    Ok(kind | if number & RESET_ON_FORK != 0 { RESET } else { 0 })
}

/// `sched_setscheduler`.
pub(crate) fn sched_setscheduler(task: &mut Task, [pid, number, parameter, ..]: [u64; 6]) -> Outcome {
    named(task, pid)?;
    if parameter == 0 || int(number) < 0 {
        return Err(Errno::EINVAL);
    }
    let priority: u32 = user_memory::read(parameter)?;
    schedule(task, pid, policy(number)?, u64::from(priority)).map(|_| 0)
}

/// `sched_getscheduler`.
pub(crate) fn sched_getscheduler(task: &mut Task, [pid, ..]: [u64; 6]) -> Outcome {
    let (policy, _) = schedule(task, pid, ASK, 0)?;
    Ok(policy & KIND | if policy & RESET != 0 { RESET_ON_FORK } else { 0 })
}

/// `sched_setparam`.
pub(crate) fn sched_setparam(task: &mut Task, [pid, parameter, ..]: [u64; 6]) -> Outcome {
    named(task, pid)?;
    if parameter == 0 {
        return Err(Errno::EINVAL);
    }
    let priority: u32 = user_memory::read(parameter)?;
    let (policy, _) = schedule(task, pid, ASK, 0)?;
    schedule(task, pid, policy, u64::from(priority)).map(|_| 0)
}

/// `sched_getparam`.
pub(crate) fn sched_getparam(task: &mut Task, [pid, address, ..]: [u64; 6]) -> Outcome {
    named(task, pid)?;
    if address == 0 {
        return Err(Errno::EINVAL);
    }
    let (_, priority) = schedule(task, pid, ASK, 0)?;
    user_memory::write(address, &(priority as u32)).map(|()| 0)
}

/// Linux's `struct sched_attr`, first version.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Attributes {
    length: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    deadline: [u64; 3],
}

// SAFETY: `repr(C)`, integers, no padding (its size is asserted).
unsafe impl Plain for Attributes {}
const _: () = assert!(size_of::<Attributes>() == 48);

/// `sched_setattr`.
pub(crate) fn sched_setattr(task: &mut Task, [pid, address, flags, ..]: [u64; 6]) -> Outcome {
    const FLAG_RESET: u64 = 1;
    named(task, pid)?;
    if address == 0 || flags != 0 {
        return Err(Errno::EINVAL);
    }
    let wish: Attributes = user_memory::read(address)?;
    if wish.length < 48 || wish.flags & !FLAG_RESET != 0 {
        return Err(Errno::EINVAL);
    }
    let reset = if wish.flags & FLAG_RESET != 0 { RESET_ON_FORK } else { 0 };
    schedule(task, pid, policy(u64::from(wish.policy) | reset)?, u64::from(wish.priority))?;
    if matches!(wish.policy, 0 | 3) {
        setpriority(task, [0, pid, wish.nice as u64, 0, 0, 0])?;
    }
    Ok(0)
}

/// `sched_getattr`.
pub(crate) fn sched_getattr(task: &mut Task, [pid, address, length, flags, ..]: [u64; 6]) -> Outcome {
    if address == 0 || flags != 0 || length & 0xffff_ffff < 48 {
        return Err(Errno::EINVAL);
    }
    let (policy, priority) = schedule(task, pid, ASK, 0)?;
    let nice = 20 - getpriority(task, [0, pid, 0, 0, 0, 0])? as i32;
    let record = Attributes {
        length: 48,
        policy: (policy & KIND) as u32,
        flags: u64::from(policy & RESET != 0),
        nice,
        priority: priority as u32,
        deadline: [0; 3],
    };
    user_memory::write(address, &record).map(|()| 0)
}

/// `sched_get_priority_max`.
pub(crate) fn sched_get_priority_max(_: &mut Task, [policy, ..]: [u64; 6]) -> Outcome {
    match policy & 0xffff_ffff {
        FIFO | ROUND_ROBIN => Ok(99),
        0 | 3 | 5 | DEADLINE => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}

/// `sched_get_priority_min`.
pub(crate) fn sched_get_priority_min(task: &mut Task, arguments: [u64; 6]) -> Outcome {
    sched_get_priority_max(task, arguments).map(|most| most.min(1))
}

/// `sched_rr_get_interval`.
pub(crate) fn sched_rr_get_interval(task: &mut Task, [pid, address, ..]: [u64; 6]) -> Outcome {
    const SLICE_NS: u64 = 10_000_000;
    let (policy, _) = schedule(task, pid, ASK, 0)?;
    let slice = if policy & KIND == FIFO { 0 } else { SLICE_NS };
    user_memory::write(address, &time::timespec(slice)).map(|()| 0)
}

/// `sched_getaffinity`: one processor.
pub(crate) fn sched_getaffinity(task: &mut Task, [pid, length, address, ..]: [u64; 6]) -> Outcome {
    const LENGTH: u64 = 8;
    if length < LENGTH || !length.is_multiple_of(8) {
        return Err(Errno::EINVAL);
    }
    exists(task, pid)?;
    user_memory::write(address, &1_u64)?;
    Ok(LENGTH)
}

/// `sched_setaffinity`: the one processor must be in the set.
pub(crate) fn sched_setaffinity(task: &mut Task, [pid, length, address, ..]: [u64; 6]) -> Outcome {
    let first: u8 = if length == 0 { 0 } else { user_memory::read(address)? };
    exists(task, pid)?;
    if first & 1 == 0 { Err(Errno::EINVAL) } else { Ok(0) }
}

fn exists(task: &Task, pid: u64) -> Result<(), Errno> {
    // Most ask about themselves, which needs no message.
    let own = int(pid) == 0 || pid as u32 == task.tid;
    if own { Ok(()) } else { schedule(task, pid, ASK, 0).map(drop).map_err(|_| Errno::ESRCH) }
}

fn nice(task: &Task, which: u64, who: u64, value: u64) -> Outcome {
    if which > 2 {
        return Err(Errno::EINVAL);
    }
    ask(&mut Buffers::new(), |buffers| service::nice(task.connection(), which, who & 0xffff_ffff, value, buffers, PROMPT))
        .map(|answer| answer.nice)
}

/// `getpriority`: 20 − nice, as the kernel gives it.
pub(crate) fn getpriority(task: &mut Task, [which, who, ..]: [u64; 6]) -> Outcome {
    nice(task, which, who, u64::MAX).map(|biased| 40_u64.saturating_sub(biased))
}

/// `setpriority`.
pub(crate) fn setpriority(task: &mut Task, [which, who, value, ..]: [u64; 6]) -> Outcome {
    let biased = int(value).clamp(-20, 19) + 20;
    nice(task, which, who, biased as u64).map(|_| 0)
}
