//! What is known of files: stat and its family, access, modes, owners, times, file systems.

use alloc::vec::Vec;

use protocol::Errno;
use protocol::file::{self, Status, Times};
use runtime::Buffers;

use crate::descriptor;
use crate::files::follow_unless;
use crate::message::{PROMPT, ask, insist};
use crate::numbers::{AT_FDCWD, Outcome, int};
use crate::path::{self, Follow};
use crate::permission::{self, File, Who};
use crate::task::Task;
use crate::user_memory::{self, Plain};

const AT_SYMLINK_NOFOLLOW: u64 = 0x100;
const AT_EACCESS: u64 = 0x200;
const AT_NO_AUTOMOUNT: u64 = 0x800;
const AT_EMPTY_PATH: u64 = 0x1000;
const AT_STATX_SYNC: u64 = 0x6000;

/// `stat`.
pub(crate) fn stat(task: &mut Task, [path, address, ..]: [u64; 6]) -> Outcome {
    newfstatat(task, [AT_FDCWD as u64, path, address, 0, 0, 0])
}

/// `lstat`.
pub(crate) fn lstat(task: &mut Task, [path, address, ..]: [u64; 6]) -> Outcome {
    newfstatat(task, [AT_FDCWD as u64, path, address, AT_SYMLINK_NOFOLLOW, 0, 0])
}

/// `fstat`.
pub(crate) fn fstat(task: &mut Task, [number, address, ..]: [u64; 6]) -> Outcome {
    let opened = descriptor::get_any(task, number)?;
    user_memory::write(address, &path::stat_open(&opened)?)?;
    Ok(0)
}

/// `newfstatat`.
pub(crate) fn newfstatat(task: &mut Task, [directory, path, address, flags, ..]: [u64; 6]) -> Outcome {
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    user_memory::write(address, &status(task, directory, path, flags)?)?;
    Ok(0)
}

/// A name of an `*at` call, which AT_EMPTY_PATH lets be the descriptor itself.
enum Named {
    Path(Vec<u8>),
    Descriptor(u64),
}

fn named(task: &Task, directory: u64, address: u64, flags: u64) -> Result<Named, Errno> {
    let empty_allowed = flags & AT_EMPTY_PATH != 0;
    let name = if empty_allowed && address == 0 { Vec::new() } else { user_memory::read_path(address)? };
    if !name.is_empty() {
        return path::from(task, int(directory), &name).map(Named::Path);
    }
    match (empty_allowed, int(directory)) {
        (false, _) => Err(Errno::ENOENT),
        (true, AT_FDCWD) => Ok(Named::Path(task.directory.lock().path.clone())),
        (true, _) => Ok(Named::Descriptor(directory)),
    }
}

fn status(task: &Task, directory: u64, address: u64, flags: u64) -> Result<Status, Errno> {
    match named(task, directory, address, flags)? {
        Named::Path(whole) => path::stat(task, whole, follow_unless(flags)).map(|(status, _)| status),
        Named::Descriptor(number) => path::stat_open(&*descriptor::get_any(task, number)?),
    }
}

/// Linux's `struct statx`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Extended {
    mask: u32,
    block_size: u32,
    attributes: u64,
    links: u32,
    user: u32,
    group: u32,
    mode: u16,
    spare: u16,
    inode: u64,
    size: u64,
    blocks: u64,
    attributes_mask: u64,
    /// Access, birth, change of status, change of content.
    times: [Moment; 4],
    device_node: [u32; 2],
    device: [u32; 2],
    rest: [u64; 14],
}

const _: () = assert!(size_of::<Extended>() == 256);
// SAFETY: `repr(C)`, integers, no padding (its size is the sum of its fields').
unsafe impl Plain for Extended {}

#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Moment {
    seconds: u64,
    nanoseconds: u32,
    reserved: u32,
}

fn moment(times: &[u64; 6], index: usize) -> Moment {
    Moment { seconds: times[2 * index], nanoseconds: times[2 * index + 1] as u32, reserved: 0 }
}

/// Major and minor number of a device.
fn device(number: u64) -> [u32; 2] {
    let major = (number >> 8 & 0xfff) as u32 | (number >> 32) as u32 & !0xfff;
    let minor = (number & 0xff) as u32 | (number >> 12) as u32 & !0xff;
    [major, minor]
}

/// `statx`.
pub(crate) fn statx(task: &mut Task, [directory, path, flags, mask, address, _]: [u64; 6]) -> Outcome {
    let known = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC;
    if flags & !known != 0 || mask & 0x8000_0000 != 0 {
        return Err(Errno::EINVAL);
    }
    let status = status(task, directory, path, flags)?;
    let extended = Extended {
        mask: 0x7ff,
        block_size: status.block_size as u32,
        links: status.links as u32,
        user: status.user,
        group: status.group,
        mode: status.mode as u16,
        inode: status.inode,
        size: status.size,
        blocks: status.blocks,
        times: [moment(&status.times, 0), Moment::default(), moment(&status.times, 2), moment(&status.times, 1)],
        device_node: device(status.device_node),
        device: device(status.device),
        ..Extended::default()
    };
    user_memory::write(address, &extended)?;
    Ok(0)
}

/// `access`.
pub(crate) fn access(task: &mut Task, [path, mode, ..]: [u64; 6]) -> Outcome {
    faccessat2(task, [AT_FDCWD as u64, path, mode, 0, 0, 0])
}

/// `faccessat`.
pub(crate) fn faccessat(task: &mut Task, [directory, path, mode, ..]: [u64; 6]) -> Outcome {
    faccessat2(task, [directory, path, mode, 0, 0, 0])
}

/// `faccessat2`: by the real ids, unless AT_EACCESS says otherwise.
pub(crate) fn faccessat2(task: &mut Task, [directory, path, mode, flags, ..]: [u64; 6]) -> Outcome {
    if mode & !7 != 0 || flags & !(AT_SYMLINK_NOFOLLOW | AT_EACCESS | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let status = status(task, directory, path, flags)?;
    let who = Who::of(task, flags & AT_EACCESS == 0);
    if who.may(&status, mode as u32) { Ok(0) } else { Err(Errno::EACCES) }
}

/// `chmod`.
pub(crate) fn chmod(task: &mut Task, [path, mode, ..]: [u64; 6]) -> Outcome {
    fchmodat(task, [AT_FDCWD as u64, path, mode, 0, 0, 0])
}

/// `fchmodat`.
pub(crate) fn fchmodat(task: &mut Task, [directory, path, mode, ..]: [u64; 6]) -> Outcome {
    let whole = path::from_user(task, int(directory), path)?;
    let mode = permission::changing_mode(task, &File::Path(&whole, Follow::Yes), mode)?;
    path::change(task, whole, Follow::Yes, |mount, buffers| {
        file::change_mode(mount, mode & 0o7777, 1, buffers, PROMPT).map(drop)
    })
}

/// `fchmodat2`.
pub(crate) fn fchmodat2(task: &mut Task, [directory, path, mode, flags, ..]: [u64; 6]) -> Outcome {
    match flags {
        0 => fchmodat(task, [directory, path, mode, 0, 0, 0]),
        _ => Err(Errno::EOPNOTSUPP),
    }
}

/// `fchmod`.
pub(crate) fn fchmod(task: &mut Task, [number, mode, ..]: [u64; 6]) -> Outcome {
    let opened = descriptor::get(task, number)?;
    let mode = permission::changing_mode(task, &File::Open(&opened), mode)?;
    ask(&mut Buffers::new(), |buffers| file::change_mode_open(opened.handle(), mode & 0o7777, buffers, PROMPT)).map(|_| 0)
}

/// `chown`.
pub(crate) fn chown(task: &mut Task, [path, user, group, ..]: [u64; 6]) -> Outcome {
    fchownat(task, [AT_FDCWD as u64, path, user, group, 0, 0])
}

/// `lchown`.
pub(crate) fn lchown(task: &mut Task, [path, user, group, ..]: [u64; 6]) -> Outcome {
    fchownat(task, [AT_FDCWD as u64, path, user, group, AT_SYMLINK_NOFOLLOW, 0])
}

/// `fchown`.
pub(crate) fn fchown(task: &mut Task, [number, user, group, ..]: [u64; 6]) -> Outcome {
    let opened = descriptor::get(task, number)?;
    let (user, group) = (user & 0xffff_ffff, group & 0xffff_ffff);
    permission::changing_owner(task, &File::Open(&opened), user, group)?;
    ask(&mut Buffers::new(), |buffers| file::change_owner_open(opened.handle(), user, group, buffers, PROMPT)).map(|_| 0)
}

/// `fchownat`.
pub(crate) fn fchownat(task: &mut Task, [directory, path, user, group, flags, _]: [u64; 6]) -> Outcome {
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let (user, group) = (user & 0xffff_ffff, group & 0xffff_ffff);
    match named(task, directory, path, flags)? {
        Named::Descriptor(number) => fchown(task, [number, user, group, 0, 0, 0]),
        Named::Path(whole) => {
            let follow = follow_unless(flags);
            permission::changing_owner(task, &File::Path(&whole, follow), user, group)?;
            path::change(task, whole, follow, |mount, buffers| {
                file::change_owner(mount, user, group, follow.word(), buffers, PROMPT).map(drop)
            })
        }
    }
}

const UTIME_NOW: u64 = 0x3fff_ffff;
const UTIME_OMIT: u64 = 0x3fff_fffe;
const NOW: Times =
    Times { access_seconds: 0, access_nanoseconds: UTIME_NOW, modified_seconds: 0, modified_nanoseconds: UTIME_NOW };

/// `utimensat`; a null path means the descriptor.
pub(crate) fn utimensat(task: &mut Task, [directory, path, times, flags, ..]: [u64; 6]) -> Outcome {
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let times = user_memory::read_optional::<Times>(times)?.unwrap_or(NOW);
    let valid = |part: u64| part < 1_000_000_000 || part == UTIME_NOW || part == UTIME_OMIT;
    if !valid(times.access_nanoseconds) || !valid(times.modified_nanoseconds) {
        return Err(Errno::EINVAL);
    }
    if path == 0 {
        return set_times_open(task, directory, &times);
    }
    match named(task, directory, path, flags)? {
        Named::Descriptor(number) => set_times_open(task, number, &times),
        Named::Path(whole) => set_times(task, whole, follow_unless(flags), &times),
    }
}

fn set_times_open(task: &Task, number: u64, times: &Times) -> Outcome {
    let opened = descriptor::get_any(task, number)?;
    permission::changing_times(task, &File::Open(&opened), times)?;
    let mut buffers = Buffers::new().send(user_memory::bytes_of(times));
    ask(&mut buffers, |buffers| file::set_times_open(opened.handle(), buffers, PROMPT)).map(|_| 0)
}

fn set_times(task: &Task, whole: Vec<u8>, follow: Follow, times: &Times) -> Outcome {
    permission::changing_times(task, &File::Path(&whole, follow), times)?;
    path::walk(task, whole, follow, |mount, rest, room| {
        let mut buffers = Buffers::new().send(user_memory::bytes_of(times)).send(rest).receive(room);
        insist(&mut buffers, |buffers| file::set_times(mount, follow.word(), buffers, PROMPT))
    })?;
    Ok(0)
}

/// `utimes`, and `futimesat`: microseconds.
pub(crate) fn utimes(task: &mut Task, [path, times, ..]: [u64; 6]) -> Outcome {
    futimesat(task, [AT_FDCWD as u64, path, times, 0, 0, 0])
}

/// `futimesat`.
pub(crate) fn futimesat(task: &mut Task, [directory, path, times, ..]: [u64; 6]) -> Outcome {
    let times = match user_memory::read_optional::<[u64; 4]>(times)? {
        None => NOW,
        Some([_, micros, _, more_micros]) if micros >= 1_000_000 || more_micros >= 1_000_000 => {
            return Err(Errno::EINVAL);
        }
        Some([access, access_micros, modified, modified_micros]) => Times {
            access_seconds: access,
            access_nanoseconds: access_micros * 1000,
            modified_seconds: modified,
            modified_nanoseconds: modified_micros * 1000,
        },
    };
    let whole = path::from_user(task, int(directory), path)?;
    set_times(task, whole, Follow::Yes, &times)
}

/// `utime`: seconds.
pub(crate) fn utime(task: &mut Task, [path, times, ..]: [u64; 6]) -> Outcome {
    let times = user_memory::read_optional::<[u64; 2]>(times)?.map_or(NOW, |[access, modified]| Times {
        access_seconds: access,
        modified_seconds: modified,
        ..Times::default()
    });
    let whole = path::from_user(task, AT_FDCWD, path)?;
    set_times(task, whole, Follow::Yes, &times)
}

/// Bytes of `struct statfs`.
const STATFS_LENGTH: usize = 120;

/// `statfs`.
pub(crate) fn statfs(task: &mut Task, [path, address, ..]: [u64; 6]) -> Outcome {
    let whole = path::from_user(task, AT_FDCWD, path)?;
    let (figures, _) = path::walk(task, whole, Follow::Yes, |mount, rest, room| {
        insist(&mut Buffers::new().send(rest).receive(room), |buffers| file::file_system(mount, buffers, PROMPT))?;
        Ok(room[..STATFS_LENGTH].to_vec())
    })?;
    user_memory::write_bytes(address, &figures)?;
    Ok(0)
}

/// `fstatfs`.
pub(crate) fn fstatfs(task: &mut Task, [number, address, ..]: [u64; 6]) -> Outcome {
    let opened = descriptor::get_any(task, number)?;
    let mut figures = [0; STATFS_LENGTH];
    ask(&mut Buffers::new().receive(&mut figures), |buffers| file::file_system_open(opened.handle(), buffers, PROMPT))?;
    user_memory::write_bytes(address, &figures)?;
    Ok(0)
}
