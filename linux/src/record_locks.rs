//! Record locks and `flock`.

use core::sync::atomic::Ordering;

use protocol::Errno;
use protocol::file::{self, Lock};
use runtime::Buffers;

use crate::descriptor::{self, OpenFile};
use crate::message::{PROMPT, WAIT, ask};
use crate::numbers::{Outcome, RESTART, open};
use crate::path;
use crate::signal;
use crate::task::Task;
use crate::user_memory;

const GET: u64 = 5;
const SET: u64 = 6;
const SET_AND_WAIT: u64 = 7;
/// What the operations of locks that an open file owns (F_OFD_*) are greater by.
const OF_OPEN_FILE: u64 = 31;
const UNLOCK: u16 = 2;
/// `flock` in messages: the LOCK_* bits, added to this.
const FLOCK: u64 = 100;

/// F_GETLK, F_SETLK, F_SETLKW, and the same as F_OFD_*.
pub(crate) fn control(task: &mut Task, opened: &OpenFile, code: u64, address: u64) -> Outcome {
    let mut lock: Lock = user_memory::read(address)?;
    let of_open_file = code > SET_AND_WAIT;
    let (operation, kind) = if of_open_file { (code - OF_OPEN_FILE, OF_OPEN_FILE) } else { (code, 0) };
    if of_open_file && lock.pid != 0 {
        return Err(Errno::EINVAL);
    }
    let access = opened.opened() & open::ACCESS;
    if operation != GET && (lock.kind == 0 && access == 1 || lock.kind == 1 && access == 0) {
        return Err(Errno::EBADF);
    }
    absolute(opened, &mut lock)?;
    if operation != GET && lock.kind != UNLOCK && !of_open_file {
        task.process.record_locks.store(true, Ordering::Relaxed);
    }
    let (sent, owner) = (lock, u64::from(task.process.pid));
    let mut attempt = |operation, options| {
        let mut buffers = Buffers::new().send(user_memory::bytes_of(&sent)).receive(user_memory::bytes_of_mut(&mut lock));
        ask(&mut buffers, |buffers| file::lock(opened.handle(), operation + kind, owner, buffers, options))
    };
    if operation == SET_AND_WAIT {
        until_locked(task, |waits| if waits { attempt(operation, WAIT) } else { attempt(SET, PROMPT) }.map(drop))?;
    } else {
        attempt(operation, PROMPT)?;
    }
    if operation == GET {
        user_memory::write(address, &lock)?;
    }
    Ok(0)
}

/// Wait for a lock, or until a handler is to run; a lock that is free is taken in any case.
fn until_locked(task: &mut Task, mut attempt: impl FnMut(bool) -> Result<(), Errno>) -> Result<(), Errno> {
    loop {
        match attempt(true) {
            Err(RESTART) if signal::interrupted(task) => {
                return attempt(false).map_err(|error| if error == Errno::EAGAIN { RESTART } else { error });
            }
            Err(RESTART) => {}
            result => return result,
        }
    }
}

/// Make a lock's start absolute and its length positive.
fn absolute(opened: &OpenFile, lock: &mut Lock) -> Result<(), Errno> {
    if lock.kind > UNLOCK {
        return Err(Errno::EINVAL);
    }
    let base = match lock.whence {
        0 => 0,
        1 => ask(&mut Buffers::new(), |buffers| file::seek(opened.handle(), 0, 1, buffers, PROMPT))?.position,
        2 => path::stat_open(opened)?.size,
        _ => return Err(Errno::EINVAL),
    };
    let mut start = (base as i64).checked_add(lock.start as i64).ok_or(Errno::EOVERFLOW)?;
    let mut length = lock.length as i64;
    if length < 0 {
        start = start.checked_add(length).ok_or(Errno::EINVAL)?;
        length = length.checked_neg().ok_or(Errno::EINVAL)?;
    }
    if start < 0 {
        return Err(Errno::EINVAL);
    }
    start.checked_add(length).ok_or(Errno::EOVERFLOW)?;
    (lock.whence, lock.start, lock.length) = (0, start as u64, length as u64);
    Ok(())
}

/// `flock`.
pub(crate) fn flock(task: &mut Task, [number, operation, ..]: [u64; 6]) -> Outcome {
    const NONBLOCK: u64 = 4;
    let opened = descriptor::get(task, number)?;
    if !matches!(operation & !NONBLOCK, 1 | 2 | 8) {
        return Err(Errno::EINVAL);
    }
    let owner = u64::from(task.process.pid);
    let attempt = |operation, options| {
        ask(&mut Buffers::new(), |buffers| file::lock(opened.handle(), FLOCK + operation, owner, buffers, options)).map(drop)
    };
    if operation & NONBLOCK != 0 {
        attempt(operation, PROMPT)?;
    } else {
        until_locked(task, |waits| {
            if waits { attempt(operation, WAIT) } else { attempt(operation | NONBLOCK, PROMPT) }
        })?;
    }
    Ok(0)
}
