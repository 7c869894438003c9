//! The entries of `/proc/self/fd`: which descriptors there are only the library knows. The directory itself, and the position in it, are procfs's.

use alloc::vec::Vec;

use protocol::Errno;
use protocol::file;
use protocol::resource_manager::Records;
use runtime::Buffers;

use crate::descriptor::OpenFile;
use crate::message::{PROMPT, ask};
use crate::numbers::{Outcome, mode};
use crate::paths;
use crate::task::Task;
use crate::user_memory;

/// Most bytes answered at a time.
const MOST: u64 = 8192;
/// Positions before the first descriptor: `.` and `..`.
const DOTS: [&[u8]; 2] = [b".", b".."];

/// Whether an open directory is this process's own `/proc/PID/fd`.
pub(crate) fn is_here(task: &Task, opened: &OpenFile) -> bool {
    let inside = paths::trimmed(&opened.path).strip_prefix(b"/proc/").and_then(|rest| rest.strip_suffix(b"/fd"));
    inside.is_some_and(|owner| paths::decimal(owner) == Some(task.process.pid))
}

/// The next entries, as `getdents64` has them.
pub(crate) fn list(task: &Task, opened: &OpenFile, address: u64, length: u64) -> Outcome {
    let seek = |offset, whence| {
        ask(&mut Buffers::new(), |buffers| file::seek(opened.handle(), offset, whence, buffers, PROMPT))
            .map(|answer| answer.position)
    };
    let mut next = seek(0, 1)?;
    let numbers: Vec<u32> = task.files.lock().iter().map(|(number, _)| number).collect();
    let mut bytes = user_memory::buffer(length.min(MOST) as usize)?;
    let mut records = Records::new(&mut bytes);
    for (at, name) in DOTS.into_iter().enumerate().skip(next as usize) {
        if records.add(1, at as u64 + 1, mode::DIRECTORY, name) {
            next = at as u64 + 1;
        }
    }
    for number in numbers.into_iter().map(u64::from) {
        let position = number + DOTS.len() as u64;
        let mut name = Vec::new();
        paths::digits(&mut name, number);
        if position >= next {
            if !records.add(position, position + 1, mode::LINK, &name) {
                break;
            }
            next = position + 1;
        }
    }
    if records.too_small() {
        return Err(Errno::EINVAL);
    }
    let used = records.used();
    user_memory::write_bytes(address, &bytes[..used])?;
    seek(next, 0)?;
    Ok(used as u64)
}
