//! What users other than 0 may do with files, as POSIX programs expect it: by owner, group and mode. Bookkeeping of the personality, not
//! security: what a program can reach at all is decided by the handles it holds. User 0 may do everything, and pays nothing here.

use protocol::Errno;
use protocol::file::{Status, Times};
use protocol::resource_manager::{TIME_NOW, TIME_OMIT};

use crate::descriptor::OpenFile;
use crate::numbers::{mode, open};
use crate::path::{self, Follow};
use crate::paths;
use crate::task::Task;

/// Permission to read, to write, to execute or search: as in a mode's last three bits.
pub(crate) const READ: u32 = 4;
pub(crate) const WRITE: u32 = 2;
pub(crate) const EXECUTE: u32 = 1;

const STICKY: u32 = 0o1000;
const SET_IDS: u32 = 0o6000;

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Who {
    user: u32,
    group: u32,
}

impl Who {
    /// By effective ids, or by real ones.
    pub(crate) fn of(task: &Task, real: bool) -> Self {
        let ids = task.process.user.lock();
        let which = usize::from(!real);
        Self { user: ids.user[which], group: ids.group[which] }
    }

    /// Whether a file may be used like that. User 0 may execute what anybody may.
    pub(crate) fn may(self, status: &Status, wanted: u32) -> bool {
        let granted = if self.user == 0 {
            let is_directory = status.mode & mode::TYPE == mode::DIRECTORY;
            READ | WRITE | if is_directory || status.mode & 0o111 != 0 { EXECUTE } else { 0 }
        } else if self.user == status.user {
            status.mode >> 6
        } else if self.group == status.group {
            status.mode >> 3
        } else {
            status.mode
        };
        granted & wanted == wanted
    }

    fn need(self, status: &Status, wanted: u32) -> Result<(), Errno> {
        if self.may(status, wanted) { Ok(()) } else { Err(Errno::EACCES) }
    }
}

/// Whose permissions count; `None`: nobody asks.
fn restricted(task: &Task) -> Option<Who> {
    Some(Who::of(task, false)).filter(|who| who.user != 0)
}

/// All directories on the way to a path may be searched.
pub(crate) fn search(task: &Task, whole: &[u8], follow: Follow) -> Result<(), Errno> {
    match restricted(task) {
        None => Ok(()),
        Some(who) => search_as(task, who, whole, follow),
    }
}

fn search_as(task: &Task, who: Who, whole: &[u8], follow: Follow) -> Result<(), Errno> {
    let path = paths::trimmed(whole);
    let slashes = path.iter().enumerate().skip(1).filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    for end in slashes {
        // What is not there, or shows no directories on the way to what it has (message queues), is for its owner to say.
        let Ok((status, place)) = path::look(task, path[..end].to_vec(), Follow::Yes) else { return Ok(()) };
        if place != path[..end] {
            // A link: the way to what it leads to counts, too. That has no links.
            search_as(task, who, &place, Follow::No)?;
        }
        who.need(&status, EXECUTE)?;
    }
    if follow == Follow::Yes
        && let Ok((_, place)) = path::look(task, path.to_vec(), Follow::Yes)
        && place != path
    {
        search_as(task, who, &place, Follow::No)?;
    }
    Ok(())
}

/// What is at a path may be used like that. What is not there is for its owner to say.
pub(crate) fn node(task: &Task, whole: &[u8], follow: Follow, wanted: u32) -> Result<(), Errno> {
    let Some(who) = restricted(task) else { return Ok(()) };
    search_as(task, who, whole, follow)?;
    match path::look(task, whole.to_vec(), follow) {
        Ok((status, _)) => who.need(&status, wanted),
        Err(_) => Ok(()),
    }
}

/// A path may be opened like that, and made if it is not there.
pub(crate) fn opening(task: &Task, whole: &[u8], follow: Follow, flags: u64) -> Result<(), Errno> {
    const TEMPORARY: u64 = 0o2000_0000;
    let Some(who) = restricted(task) else { return Ok(()) };
    search_as(task, who, whole, follow)?;
    if flags & open::PATH != 0 {
        return Ok(());
    }
    match path::look(task, whole.to_vec(), follow) {
        Ok(_) if flags & (open::CREATE | open::EXCLUSIVE) == open::CREATE | open::EXCLUSIVE => Ok(()),
        Ok((status, _)) if flags & TEMPORARY != 0 => who.need(&status, WRITE | EXECUTE),
        Ok((status, _)) => {
            let access = [READ, WRITE, READ | WRITE, READ | WRITE][(flags & open::ACCESS) as usize];
            who.need(&status, access | if flags & open::TRUNCATE != 0 { WRITE } else { 0 })
        }
        Err(Errno::ENOENT) if flags & open::CREATE != 0 => directory_of(task, who, whole).map(drop),
        Err(_) => Ok(()),
    }
}

/// The directory of a path may be changed: its status.
fn directory_of(task: &Task, who: Who, whole: &[u8]) -> Result<Status, Errno> {
    let parent = paths::parent(paths::trimmed(whole)).to_vec();
    let (status, _) = path::look(task, parent, Follow::Yes)?;
    who.need(&status, WRITE | EXECUTE).map(|()| status)
}

/// An entry may be made at a path. (If it is there already, its owner says so.)
pub(crate) fn making(task: &Task, whole: &[u8]) -> Result<(), Errno> {
    let Some(who) = restricted(task) else { return Ok(()) };
    search_as(task, who, whole, Follow::No)?;
    match path::look(task, paths::trimmed(whole).to_vec(), Follow::No) {
        Err(Errno::ENOENT) => directory_of(task, who, whole).map(drop),
        _ => Ok(()),
    }
}

/// An entry may be removed, or renamed: in a sticky directory only by its owner or the directory's.
pub(crate) fn removing(task: &Task, whole: &[u8]) -> Result<(), Errno> {
    let Some(who) = restricted(task) else { return Ok(()) };
    search_as(task, who, whole, Follow::No)?;
    let Ok((entry, _)) = path::look(task, paths::trimmed(whole).to_vec(), Follow::No) else { return Ok(()) };
    let directory = directory_of(task, who, whole)?;
    let others = directory.user != who.user && entry.user != who.user;
    if directory.mode & STICKY != 0 && others { Err(Errno::EPERM) } else { Ok(()) }
}

/// `rename`: the old name goes, the new one comes or is replaced.
pub(crate) fn renaming(task: &Task, old: &[u8], new: &[u8]) -> Result<(), Errno> {
    removing(task, old)?;
    making(task, new)?;
    removing(task, new)
}

/// A hard link to somebody else's file needs the right to read and write it, and no set-id bits may be on it.
pub(crate) fn linking(task: &Task, old: &[u8], new: &[u8]) -> Result<(), Errno> {
    let Some(who) = restricted(task) else { return Ok(()) };
    search_as(task, who, old, Follow::No)?;
    if let Ok((status, _)) = path::look(task, old.to_vec(), Follow::No)
        && status.user != who.user
        && (status.mode & mode::TYPE != mode::REGULAR || status.mode & SET_IDS != 0 || !who.may(&status, READ | WRITE))
    {
        return Err(Errno::EPERM);
    }
    making(task, new)
}

/// A node of this mode may be made: devices only by user 0.
pub(crate) fn device(task: &Task, kind: u32) -> Result<(), Errno> {
    let is_device = matches!(kind & mode::TYPE, mode::CHARACTER | mode::BLOCK);
    if is_device && restricted(task).is_some() { Err(Errno::EPERM) } else { Ok(()) }
}

/// A file, by name or open.
pub(crate) enum File<'a> {
    Path(&'a [u8], Follow),
    Open(&'a OpenFile),
}

impl File<'_> {
    fn status(&self, task: &Task, who: Who) -> Result<Status, Errno> {
        match self {
            Self::Open(opened) => path::stat_open(opened),
            Self::Path(whole, follow) => {
                search_as(task, who, whole, *follow)?;
                path::look(task, whole.to_vec(), *follow).map(|(status, _)| status)
            }
        }
    }
}

/// Only the owner changes a file's mode. Answers the mode that it gets: a group that one is not in is not lent.
pub(crate) fn changing_mode(task: &Task, file: &File<'_>, wanted: u64) -> Result<u64, Errno> {
    const SET_GROUP: u64 = 0o2000;
    let Some(who) = restricted(task) else { return Ok(wanted) };
    let status = file.status(task, who)?;
    if status.user != who.user {
        return Err(Errno::EPERM);
    }
    Ok(if status.group == who.group { wanted } else { wanted & !SET_GROUP })
}

/// A file is given away by user 0 only; its owner may give it to his own group.
pub(crate) fn changing_owner(task: &Task, file: &File<'_>, user: u64, group: u64) -> Result<(), Errno> {
    let Some(who) = restricted(task) else { return Ok(()) };
    let (user, group) = (user as u32, group as u32);
    if (user, group) == (u32::MAX, u32::MAX) {
        return Ok(());
    }
    let status = file.status(task, who)?;
    let keeps = user == u32::MAX || user == status.user;
    let own_group = group == u32::MAX || group == status.group || group == who.group;
    if status.user == who.user && keeps && own_group { Ok(()) } else { Err(Errno::EPERM) }
}

/// Who may write a file may set its times to now; any other only its owner.
pub(crate) fn changing_times(task: &Task, file: &File<'_>, times: &Times) -> Result<(), Errno> {
    let Some(who) = restricted(task) else { return Ok(()) };
    let status = file.status(task, who)?;
    let both = |what| times.access_nanoseconds == what && times.modified_nanoseconds == what;
    if status.user == who.user || both(TIME_OMIT) {
        return Ok(());
    }
    if both(TIME_NOW) { who.need(&status, WRITE) } else { Err(Errno::EPERM) }
}

/// Paths that a program is run by: it must be permitted to execute, not to read.
pub(crate) fn executing(task: &Task, whole: &[u8]) -> Result<(), Errno> {
    node(task, whole, Follow::Yes, EXECUTE)
}
