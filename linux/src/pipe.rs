//! Pipes and event counters: files of the pipe service, by path.

use alloc::sync::Arc;
use alloc::vec::Vec;

use protocol::file::{self, features};
use protocol::{Errno, pipe as service};
use runtime::{Buffers, OwnedHandle};

use crate::descriptor::{self, OpenFile};
use crate::files;
use crate::message::insist;
use crate::numbers::{Outcome, open};
use crate::path::{self, Follow};
use crate::paths;
use crate::slot::Slot;
use crate::task::Task;
use crate::user_memory;

fn place(name: &[u8]) -> Vec<u8> {
    let mut path = service::MOUNT.as_bytes().to_vec();
    path.push(b'/');
    path.extend_from_slice(name);
    path
}

/// `pipe`.
pub(crate) fn pipe(task: &mut Task, [address, ..]: [u64; 6]) -> Outcome {
    pipe2(task, [address, 0, 0, 0, 0, 0])
}

/// A pipe: its read end, its write end, its mode.
pub(crate) fn make(task: &Task, status: u64) -> Result<(OwnedHandle, OwnedHandle, u32), Errno> {
    let (first, second) = (Slot::new(task.connection())?, Slot::new(task.connection())?);
    let (answer, _) = path::walk(task, place(service::PIPE), Follow::Yes, |mount, rest, room| {
        files::charged(task, || {
            let mut buffers = Buffers::new().send(rest).receive(room).take(first.handle()).take(second.handle());
            insist(&mut buffers, |buffers| file::open(mount, status, 0, 0, buffers, files::CHARGED))
        })
    })?;
    let (first, second) = (first.filled(), second.filled());
    if answer.handles == 2 { Ok((first, second, answer.mode as u32)) } else { Err(Errno::EIO) }
}

/// Give two new files numbers, both or none, and write these to the program.
pub(crate) fn install_two(
    task: &Task,
    one: OpenFile,
    two: OpenFile,
    close_on_exec: bool,
    address: u64,
) -> Outcome {
    let mut files = task.files.lock();
    let first = files.insert(0, Arc::new(one), close_on_exec)?;
    let second = match files.insert(0, Arc::new(two), close_on_exec) {
        Ok(second) => second,
        Err(error) => {
            files.remove(first)?;
            return Err(error);
        }
    };
    drop(files);
    user_memory::write(address, &[first, second])?;
    Ok(0)
}

/// `pipe2`.
pub(crate) fn pipe2(task: &mut Task, [address, flags, ..]: [u64; 6]) -> Outcome {
    const DIRECT: u64 = 0o4_0000;
    let flags = flags & 0xffff_ffff;
    if flags & !(open::CLOSE_ON_EXEC | open::NONBLOCK | DIRECT) != 0 {
        return Err(Errno::EINVAL);
    }
    user_memory::check(address, 8)?;
    user_memory::touch_write(address, 8)?;
    let status = flags & open::NONBLOCK;
    let (first, second, mode) = make(task, status)?;
    let reader = OpenFile::new(first, Vec::new(), mode, features::WAITS, status);
    let writer = OpenFile::new(second, Vec::new(), mode, features::WAITS, status | open::WRITE_ONLY);
    install_two(task, reader, writer, flags & open::CLOSE_ON_EXEC != 0, address)
}

/// `eventfd`.
pub(crate) fn eventfd(task: &mut Task, [initial, ..]: [u64; 6]) -> Outcome {
    eventfd2(task, [initial, 0, 0, 0, 0, 0])
}

/// `eventfd2`.
pub(crate) fn eventfd2(task: &mut Task, [initial, flags, ..]: [u64; 6]) -> Outcome {
    let flags = flags & 0xffff_ffff;
    if flags & !(open::CLOSE_ON_EXEC | open::NONBLOCK | service::EVENT_SEMAPHORE) != 0 {
        return Err(Errno::EINVAL);
    }
    let mut name = service::EVENT.to_vec();
    paths::digits(&mut name, flags);
    name.push(b'/');
    paths::digits(&mut name, initial & 0xffff_ffff);
    let opened = files::open_freely(task, place(&name), 2 | flags & open::NONBLOCK, 0)?;
    descriptor::install(task, opened, flags & open::CLOSE_ON_EXEC != 0)
}
