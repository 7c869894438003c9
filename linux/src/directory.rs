//! The current directory and the file mode creation mask.

use alloc::vec::Vec;

use protocol::{Errno, file};

use crate::descriptor;
use crate::numbers::{Outcome, mode};
use crate::path::{self, Follow};
use crate::permission;
use crate::task::Task;
use crate::user_memory;

/// Where relative paths start, and which permission bits new files do not get.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    /// Absolute, without links or trailing slash; with the anchor of a directory that can be renamed.
    pub(crate) path: Vec<u8>,
    pub(crate) umask: u32,
}

/// `chdir`.
pub(crate) fn chdir(task: &mut Task, [address, ..]: [u64; 6]) -> Outcome {
    let name = user_memory::read_path(address)?;
    let whole = path::from(task, crate::numbers::AT_FDCWD, &name)?;
    let (status, place) = path::directory(task, whole)?;
    permission::node(task, &place, Follow::Yes, permission::EXECUTE)?;
    enter(task, status.mode, &place)
}

/// `fchdir`.
pub(crate) fn fchdir(task: &mut Task, [number, ..]: [u64; 6]) -> Outcome {
    let opened = descriptor::get_any(task, number)?;
    permission::node(task, &opened.path, Follow::Yes, permission::EXECUTE)?;
    enter(task, opened.mode, &opened.path)
}

fn enter(task: &Task, kind: u32, place: &[u8]) -> Outcome {
    if kind & mode::TYPE != mode::DIRECTORY {
        return Err(Errno::ENOTDIR);
    }
    if place.len() >= file::PATH_MAXIMUM {
        return Err(Errno::ENAMETOOLONG);
    }
    task.directory.lock().path = crate::paths::trimmed(place).to_vec();
    Ok(0)
}

/// `getcwd`.
pub(crate) fn getcwd(task: &mut Task, [address, length, ..]: [u64; 6]) -> Outcome {
    let place = task.directory.lock().path.clone();
    let mut place = path::shown(task, &place)?;
    place.push(0);
    if place.len() as u64 > length {
        return Err(Errno::ERANGE);
    }
    user_memory::write_bytes(address, &place)?;
    Ok(place.len() as u64)
}

/// `umask`.
pub(crate) fn umask(task: &mut Task, [mask, ..]: [u64; 6]) -> Outcome {
    let mut directory = task.directory.lock();
    Ok(u64::from(core::mem::replace(&mut directory.umask, mask as u32 & 0o777)))
}
