//! Futexes: waiting and waking are the process service's, which holds every thread's memory.

use protocol::Errno;
use protocol::process as service;
use runtime::Buffers;

use crate::message::{PROMPT, WAIT, ask};
use crate::numbers::{Outcome, RESTART, RESTART_ALWAYS, int};
use crate::signal;
use crate::task::Task;
use crate::time;
use crate::user_memory;

mod operation {
    pub(super) const WAIT: u64 = 0;
    pub(super) const WAKE: u64 = 1;
    pub(super) const REQUEUE: u64 = 3;
    pub(super) const COMPARE_REQUEUE: u64 = 4;
    pub(super) const WAKE_OPERATION: u64 = 5;
    pub(super) const LOCK: u64 = 6;
    pub(super) const UNLOCK: u64 = 7;
    pub(super) const TRY_LOCK: u64 = 8;
    pub(super) const WAIT_BITSET: u64 = 9;
    pub(super) const WAKE_BITSET: u64 = 10;
    pub(super) const LOCK_BY_CLOCK: u64 = 13;
    pub(super) const PRIVATE: u64 = 0x80;
    pub(super) const REALTIME: u64 = 0x100;
}

const ANY: u64 = 0xffff_ffff;

/// `futex`.
pub(crate) fn futex(task: &mut Task, [address, code, value, timeout, other, third]: [u64; 6]) -> Outcome {
    let code = code & 0xffff_ffff;
    let shared = u64::from(code & operation::PRIVATE == 0);
    if !address.is_multiple_of(4) {
        return Err(Errno::EINVAL);
    }
    user_memory::check(address, 4)?;
    let third = third & ANY;
    match code & !(operation::PRIVATE | operation::REALTIME) {
        operation::WAIT => {
            let deadline = time::deadline_after(timeout)?;
            wait(task, address, value, ANY, deadline, shared)
        }
        operation::WAIT_BITSET => {
            let deadline = time::deadline_at(timeout, code & operation::REALTIME != 0)?;
            wait(task, address, value, third, deadline, shared)
        }
        operation::WAKE => wake(task, address, value, ANY, shared),
        operation::WAKE_BITSET => wake(task, address, value, third, shared),
        operation::REQUEUE => requeue(task, address, value, timeout, other, u64::MAX),
        operation::COMPARE_REQUEUE => requeue(task, address, value, timeout, other, third),
        operation::LOCK => lock(task, address, time::deadline_at(timeout, true)?, shared),
        operation::LOCK_BY_CLOCK => {
            let deadline = time::deadline_at(timeout, code & operation::REALTIME != 0)?;
            lock(task, address, deadline, shared)
        }
        operation::TRY_LOCK => lock(task, address, u64::MAX, shared | 2),
        operation::UNLOCK => unlock(task, address, shared),
        operation::WAKE_OPERATION => wake_operation(task, [address, value, timeout, other, third], shared),
        _ => Err(Errno::ENOSYS),
    }
}

fn wait(task: &mut Task, address: u64, expected: u64, bitset: u64, deadline: u64, shared: u64) -> Outcome {
    if bitset == 0 {
        return Err(Errno::EINVAL);
    }
    loop {
        user_memory::touch_read(address, 4)?;
        let waited = ask(&mut Buffers::new(), |buffers| {
            service::futex_wait(task.connection(), address, expected & ANY | bitset << 32, deadline, shared, buffers, WAIT)
        });
        match waited {
            // With no time-out the whole call may be restarted.
            Err(RESTART) if !signal::interrupted(task) => {}
            Err(RESTART) if deadline == u64::MAX => return Err(RESTART),
            Err(RESTART) => return Err(Errno::EINTR),
            result => return result.map(|_| 0),
        }
    }
}

/// A lock with an owner, whose waiting is not broken off: after a handler it is made again.
fn lock(task: &mut Task, address: u64, deadline: u64, flags: u64) -> Outcome {
    loop {
        user_memory::touch_write(address, 4)?;
        let locked = ask(&mut Buffers::new(), |buffers| {
            service::futex_lock(task.connection(), address, u64::from(task.tid), deadline, flags, buffers, WAIT)
        });
        match locked {
            Err(RESTART) if !signal::interrupted(task) => {}
            Err(RESTART) => return Err(RESTART_ALWAYS),
            result => return result.map(|_| 0),
        }
    }
}

fn unlock(task: &Task, address: u64, flags: u64) -> Outcome {
    user_memory::touch_write(address, 4)?;
    ask(&mut Buffers::new(), |buffers| {
        service::futex_unlock(task.connection(), address, u64::from(task.tid), flags, buffers, PROMPT)
    })
    .map(|_| 0)
}

fn wake(task: &Task, address: u64, count: u64, bitset: u64, shared: u64) -> Outcome {
    if bitset == 0 {
        return Err(Errno::EINVAL);
    }
    user_memory::touch_read(address, 4)?;
    let count = int(count).max(1) as u64;
    ask(&mut Buffers::new(), |buffers| service::futex_wake(task.connection(), address, count, bitset, shared, buffers, PROMPT))
        .map(|answer| answer.woken)
}

fn requeue(task: &Task, address: u64, wake: u64, moved: u64, target: u64, expected: u64) -> Outcome {
    user_memory::check(target, 4)?;
    if !target.is_multiple_of(4) || int(wake) < 0 || int(moved) < 0 {
        return Err(Errno::EINVAL);
    }
    user_memory::touch_read(address, 4)?;
    user_memory::touch_read(target, 4)?;
    let count = wake & ANY | (moved & ANY) << 32;
    ask(&mut Buffers::new(), |buffers| service::futex_requeue(task.connection(), address, count, target, expected, buffers, PROMPT))
        .map(|answer| answer.woken)
}

/// FUTEX_WAKE_OP: change the second word, wake on the first, and on the second if its old value meets a condition.
fn wake_operation(task: &Task, [address, count, other_count, other, code]: [u64; 5], shared: u64) -> Outcome {
    user_memory::check(other, 4)?;
    if !other.is_multiple_of(4) {
        return Err(Errno::EINVAL);
    }
    let field = |at: u32, width: u32| (code as u32) << (32 - at - width) >> (32 - width);
    let signed = |value: u32| ((value << 20) as i32) >> 20;
    let mut argument = signed(field(12, 12));
    if field(31, 1) != 0 {
        argument = 1 << (argument & 31);
    }
    let old = user_memory::update(other, |old| match field(28, 3) {
        0 => Some(argument as u32),
        1 => Some(old.wrapping_add(argument as u32)),
        2 => Some(old | argument as u32),
        3 => Some(old & !(argument as u32)),
        4 => Some(old ^ argument as u32),
        _ => None,
    })?;
    let (old, with) = (old as i32, signed(field(0, 12)));
    let holds = match field(24, 4) {
        0 => old == with,
        1 => old != with,
        2 => old < with,
        3 => old <= with,
        4 => old > with,
        5 => old >= with,
        _ => return Err(Errno::ENOSYS),
    };
    let mut woken = wake(task, address, count, ANY, shared)?;
    if holds {
        woken += wake(task, other, other_count, ANY, shared)?;
    }
    Ok(woken)
}
