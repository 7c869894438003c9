//! From a name to its owner: the path service says whose it is, the owner does what is asked or sends us elsewhere.

use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::Handle;
use protocol::file::{self, REDIRECTS, Status};
use protocol::{Errno, Failure};
use runtime::Buffers;

use crate::descriptor::{self, OpenFile};
use crate::message::{PROMPT, ask, errno, insist};
use crate::mounts::{Owner, owner};
use crate::numbers::{AT_FDCWD, Outcome, mode};
use crate::paths::{self, Own};
use crate::permission;
use crate::task::Task;
use crate::user_memory;

/// Whether a link at the path's end is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Follow {
    /// It is.
    Yes,
    /// The link itself is meant.
    No,
}

impl Follow {
    /// As a word of a message.
    pub(crate) const fn word(self) -> u64 {
        match self {
            Self::Yes => 1,
            Self::No => 0,
        }
    }
}

/// The task's buffer for answers and redirects, while it is in use.
struct Room<'a> {
    task: &'a Task,
    bytes: Vec<u8>,
}

impl<'a> Room<'a> {
    fn of(task: &'a Task) -> Self {
        let mut bytes = task.room.take();
        bytes.resize(file::PATH_MAXIMUM, 0);
        Self { task, bytes }
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.task.room.set(core::mem::take(&mut self.bytes));
    }
}

/// The absolute path for `name`, seen from directory `number` (or AT_FDCWD).
pub(crate) fn from(task: &Task, number: i32, name: &[u8]) -> Result<Vec<u8>, Errno> {
    if name.is_empty() {
        return Err(Errno::ENOENT);
    }
    if name.starts_with(b"/") {
        return limited(paths::absolute(b"/", name));
    }
    if number == AT_FDCWD {
        return limited(paths::absolute(&task.directory.lock().path, name));
    }
    let directory = descriptor::get_any(task, number as u32 as u64)?;
    if !directory.is_directory() {
        return Err(Errno::ENOTDIR);
    }
    limited(paths::absolute(&directory.path, name))
}

fn limited(path: Vec<u8>) -> Result<Vec<u8>, Errno> {
    if path.len() < file::PATH_MAXIMUM { Ok(path) } else { Err(Errno::ENAMETOOLONG) }
}

/// As [`from`], of a name in the program's memory.
pub(crate) fn from_user(task: &Task, number: i32, address: u64) -> Result<Vec<u8>, Errno> {
    let name = user_memory::read_path(address)?;
    if paths::is_tidy(&name) { limited(name) } else { from(task, number, &name) }
}

/// Do something with a path: `operate` gets the owner's connection, the rest of the path, and room for an answer or a redirect.
/// Links on the way are followed. Answers the path without links, too.
pub(crate) fn walk<T>(
    task: &Task,
    path: Vec<u8>,
    follow: Follow,
    operate: impl FnMut(Handle, &[u8], &mut [u8]) -> Result<T, Failure>,
) -> Result<(T, Vec<u8>), Errno> {
    permission::search(task, &path, follow)?;
    walk_freely(task, path, follow, operate)
}

/// As [`walk`], whoever asks.
fn walk_freely<T>(
    task: &Task,
    mut path: Vec<u8>,
    follow: Follow,
    mut operate: impl FnMut(Handle, &[u8], &mut [u8]) -> Result<T, Failure>,
) -> Result<(T, Vec<u8>), Errno> {
    let mut room = Room::of(task);
    for _ in 0..REDIRECTS {
        if let Some(target) = own_link(task, &path, follow) {
            path = target;
            continue;
        }
        match at_owners(task, &path, |owner, rest| operate(owner.mount.handle(), rest, &mut room.bytes)) {
            Ok(value) => return Ok((value, path)),
            Err((Failure::Redirect { length, .. }, consumed)) => {
                let target = room.bytes.get(..length as usize).ok_or(Errno::EIO)?;
                path = limited(paths::redirected(&path[..consumed], target))?;
            }
            // The server was started anew; what was at the directory's place may be there again.
            Err((Failure::Service(Errno::ESTALE), _)) if paths::anchor(&path).is_some() => path = paths::plain(&path),
            Err((failure, _)) => match paths::above(&path) {
                Some(above) if failure == Failure::Service(Errno::ENOENT) => path = above,
                _ => return Err(errno(failure)),
            },
        }
    }
    Err(Errno::ELOOP)
}

/// Try the owners of a path in turn, as long as they say that it is not theirs. With an error comes how much of the path was the prefix.
fn at_owners<T>(
    task: &Task,
    path: &[u8],
    mut operate: impl FnMut(&Owner, &[u8]) -> Result<T, Failure>,
) -> Result<T, (Failure, usize)> {
    let mut skip = 0;
    loop {
        let owner = owner(task, path, skip).map_err(|failure| (failure, 0))?;
        match operate(&owner, rest(path, owner.consumed)) {
            Err(Failure::Service(Errno::ENOENT)) if owner.more => skip += 1,
            result => return result.map_err(|failure| (failure, owner.consumed)),
        }
    }
}

/// What the owner of the first bytes of a path is told of it.
fn rest(path: &[u8], consumed: usize) -> &[u8] {
    &path[paths::anchor(path).unwrap_or(consumed)..]
}

/// The path of a directory or of what is in it, as programs see it: where it is now.
pub(crate) fn shown(task: &Task, path: &[u8]) -> Result<Vec<u8>, Errno> {
    let Some((at, (anchor, rest))) = paths::anchor(path).and_then(|at| Some((at, file::anchor::read(&path[at..])?))) else {
        return Ok(path.to_vec());
    };
    let owner = owner(task, path, 0).map_err(errno)?;
    let mut room = Room::of(task);
    let found = ask(&mut Buffers::new().receive(&mut room.bytes), |buffers| {
        file::where_is(owner.mount.handle(), anchor, buffers, PROMPT)
    });
    match found {
        Ok(answer) => {
            let place = room.bytes.get(..answer.length as usize).ok_or(Errno::EIO)?;
            let directory = paths::absolute(&path[..owner.consumed.min(at)], place);
            Ok(if rest.is_empty() { directory } else { paths::absolute(&directory, rest) })
        }
        Err(Errno::ESTALE) => Ok(paths::plain(path)),
        Err(error) => Err(error),
    }
}

/// Where a link of this process's own under `/proc` leads.
fn own_link(task: &Task, path: &[u8], follow: Follow) -> Option<Vec<u8>> {
    let Some((own, rest)) = paths::own(path, task.process.pid) else {
        // Who asks a server in a vfork is its parent, for all that the server knows.
        let mut target = b"/proc/".to_vec();
        paths::digits(&mut target, u64::from(task.process.pid));
        return path.strip_prefix(b"/proc/self/").map(|rest| paths::absolute(&target, rest));
    };
    if follow == Follow::No && rest.is_empty() && !path.ends_with(b"/") {
        return None;
    }
    let target = match own {
        Own::Program => task.process.program.clone(),
        Own::Directory => task.directory.lock().path.clone(),
        Own::Root => b"/".to_vec(),
        Own::Descriptor(number) => descriptor::get_any(task, u64::from(number)).ok()?.path.clone(),
    };
    target.starts_with(b"/").then(|| paths::absolute(&target, rest))
}

/// The open file that a path under `/proc/self/fd` stands for.
pub(crate) fn own_file(task: &Task, path: &[u8]) -> Option<Arc<OpenFile>> {
    match paths::own(path, task.process.pid)? {
        (Own::Descriptor(number), b"") => descriptor::get_any(task, u64::from(number)).ok(),
        _ => None,
    }
}

/// Do something with two paths of one owner: rename, link.
pub(crate) fn walk_two(
    task: &Task,
    mut first: Vec<u8>,
    mut second: Vec<u8>,
    mut operate: impl FnMut(Handle, &[u8], &[u8], &mut [u8]) -> Result<(), Failure>,
) -> Outcome {
    let mut room = Room::of(task);
    let mut resolved = false;
    for _ in 0..REDIRECTS {
        if let Some(target) = own_link(task, &first, Follow::No) {
            first = target;
        }
        let attempt = at_owners(task, &first, |one, rest| {
            let two = owner(task, &second, 0)?;
            if one.number != two.number {
                return Err(Failure::Service(Errno::EXDEV));
            }
            operate(one.mount.handle(), rest, self::rest(&second, two.consumed), &mut room.bytes)
        });
        match attempt {
            Ok(()) => return Ok(0),
            Err((Failure::Redirect { length, which }, consumed)) => {
                let target = room.bytes.get(..length as usize).ok_or(Errno::EIO)?;
                if which == 0 {
                    first = limited(paths::redirected(&first[..consumed], target))?;
                } else {
                    let consumed = owner(task, &second, 0).map_err(errno)?.consumed;
                    second = limited(paths::redirected(&second[..consumed], target))?;
                }
            }
            Err((Failure::Service(Errno::ESTALE), _)) if [&first, &second].into_iter().any(|path| paths::anchor(path).is_some()) => {
                (first, second) = (paths::plain(&first), paths::plain(&second));
            }
            Err((Failure::Service(Errno::EXDEV), _)) if !resolved => {
                // Two owners; but a link on the way to one may lead to the other's (/dev/shm).
                resolved = true;
                first = in_real_directory(task, &first)?;
                second = in_real_directory(task, &second)?;
            }
            Err((failure, _)) => return Err(errno(failure)),
        }
    }
    Err(Errno::ELOOP)
}

/// A path without links but for its last part.
fn in_real_directory(task: &Task, path: &[u8]) -> Result<Vec<u8>, Errno> {
    let trimmed = paths::trimmed(path);
    let (_, directory) = look(task, paths::parent(trimmed).to_vec(), Follow::Yes)?;
    let name = trimmed.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    Ok(paths::absolute(&directory, &path[name..]))
}

/// Status of a path, and the path without links.
pub(crate) fn stat(task: &Task, path: Vec<u8>, follow: Follow) -> Result<(Status, Vec<u8>), Errno> {
    permission::search(task, &path, follow)?;
    look(task, path, follow)
}

/// As [`stat`], whoever asks.
pub(crate) fn look(task: &Task, path: Vec<u8>, follow: Follow) -> Result<(Status, Vec<u8>), Errno> {
    if let Some(opened) = own_file(task, &path)
        && follow == Follow::Yes
    {
        return Ok((stat_open(&opened)?, opened.path.clone()));
    }
    if follow == Follow::No && paths::own(&path, task.process.pid).is_some_and(|(_, rest)| rest.is_empty()) {
        let link = Status { mode: mode::LINK | 0o777, links: 1, block_size: 4096, ..Status::default() };
        return Ok((link, path));
    }
    ask_status(task, path, follow).map(|((status, _), path)| (status, path))
}

/// Status and anchor of a path, and the path without links.
fn ask_status(task: &Task, path: Vec<u8>, follow: Follow) -> Result<((Status, u64), Vec<u8>), Errno> {
    walk_freely(task, path, follow, |mount, rest, room| {
        let answer =
            insist(&mut Buffers::new().send(rest).receive(room), |buffers| file::stat(mount, follow.word(), buffers, PROMPT))?;
        let mut status = Status::default();
        let bytes = user_memory::bytes_of_mut(&mut status);
        bytes.copy_from_slice(&room[..bytes.len()]);
        Ok((status, answer.anchor))
    })
}

/// A directory to start from: its status, and its path with its anchor.
pub(crate) fn directory(task: &Task, path: Vec<u8>) -> Result<(Status, Vec<u8>), Errno> {
    permission::search(task, &path, Follow::Yes)?;
    let ((status, anchor), path) = ask_status(task, path, Follow::Yes)?;
    Ok((status, paths::anchored(&path, anchor)))
}

/// Status of an open file.
pub(crate) fn stat_open(opened: &OpenFile) -> Result<Status, Errno> {
    let mut status = Status::default();
    let bytes = user_memory::bytes_of_mut(&mut status);
    ask(&mut Buffers::new().receive(bytes), |buffers| file::stat_open(opened.handle(), buffers, PROMPT))?;
    if opened.is_socket() {
        status.mode = opened.mode;
    }
    Ok(status)
}

/// Do something with a path that answers nothing.
pub(crate) fn change(
    task: &Task,
    path: Vec<u8>,
    follow: Follow,
    mut send: impl for<'a> FnMut(Handle, &mut Buffers<'a>) -> Result<(), Failure>,
) -> Outcome {
    walk(task, path, follow, |mount, rest, room| {
        insist(&mut Buffers::new().send(rest).receive(room), |buffers| send(mount, buffers))
    })?;
    Ok(0)
}
