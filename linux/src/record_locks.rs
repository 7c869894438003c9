//! Record locks and `flock`.

use core::sync::atomic::Ordering;

use protocol::Errno;
use protocol::file::{self, Lock};
use runtime::Buffers;

use crate::descriptor::{self, OpenFile};
use crate::message::{PROMPT, WAIT, ask};
use crate::numbers::{Outcome, open};
use crate::path;
use crate::task::Task;
use crate::user_memory;

const GET: u64 = 5;
const UNLOCK: u16 = 2;
/// `flock` in messages: the LOCK_* bits, added to this.
const FLOCK: u64 = 100;

/// F_GETLK, F_SETLK, F_SETLKW.
pub(crate) fn control(task: &Task, opened: &OpenFile, operation: u64, address: u64) -> Outcome {
    let mut lock: Lock = user_memory::read(address)?;
    let access = opened.opened() & open::ACCESS;
    if operation != GET && (lock.kind == 0 && access == 1 || lock.kind == 1 && access == 0) {
        return Err(Errno::EBADF);
    }
    absolute(opened, &mut lock)?;
    if operation != GET && lock.kind != UNLOCK {
        task.process.record_locks.store(true, Ordering::Relaxed);
    }
    let sent = lock;
    let buffers = Buffers::new().send(user_memory::bytes_of(&sent)).receive(user_memory::bytes_of_mut(&mut lock));
    ask(buffers, |buffers| file::lock(opened.handle(), operation, u64::from(task.process.pid), buffers, WAIT))?;
    if operation == GET {
        user_memory::write(address, &lock)?;
    }
    Ok(0)
}

/// Make a lock's start absolute and its length positive.
fn absolute(opened: &OpenFile, lock: &mut Lock) -> Result<(), Errno> {
    if lock.kind > UNLOCK {
        return Err(Errno::EINVAL);
    }
    let base = match lock.whence {
        0 => 0,
        1 => ask(Buffers::new(), |buffers| file::seek(opened.handle(), 0, 1, buffers, PROMPT))?.position,
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
    ask(Buffers::new(), |buffers| file::lock(opened.handle(), FLOCK + operation, owner, buffers, WAIT)).map(|_| 0)
}
