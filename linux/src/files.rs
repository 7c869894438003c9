//! Opening, reading and writing, directories, links and names.

use alloc::vec::Vec;

use abi::call::flags::{CHARGE_ME, INTERRUPTIBLE};
use protocol::file::{self, AT_POSITION, features, read_flags};
use protocol::pipe::FIFO;
use protocol::{Errno, Failure};
use runtime::{Buffers, Options};

use crate::file_limit;
use crate::descriptor::{self, OpenFile};
use crate::message::{self, PROMPT, WAIT, ask, insist};
use crate::numbers::{AT_FDCWD, Outcome, RESTART, int, mode, open};
use crate::own_descriptors;
use crate::path::{self, Follow};
use crate::paths::{self, Own};
use crate::permission;
use crate::task::Task;
use crate::user_memory;
use crate::signal;
use crate::slot::Slot;

/// Most bytes that one call moves, as on Linux; and what one message may carry.
const TRANSFER_MAXIMUM: u64 = 1 << 30;
/// Most buffers of `readv` and `writev`.
const VECTOR_MAXIMUM: u64 = 1024;

const AT_SYMLINK_NOFOLLOW: u64 = 0x100;
const AT_REMOVEDIR: u64 = 0x200;
const AT_SYMLINK_FOLLOW: u64 = 0x400;
const AT_EMPTY_PATH: u64 = 0x1000;

/// uid | gid << 32 for new files.
pub(crate) fn owner(task: &Task) -> u64 {
    let user = task.process.user.lock();
    u64::from(user.user[1]) | u64::from(user.group[1]) << 32
}

/// `open`.
pub(crate) fn open(task: &mut Task, [path, flags, mode, ..]: [u64; 6]) -> Outcome {
    openat(task, [AT_FDCWD as u64, path, flags, mode, 0, 0])
}

/// `creat`.
pub(crate) fn creat(task: &mut Task, [path, mode, ..]: [u64; 6]) -> Outcome {
    open(task, [path, open::CREATE | open::WRITE_ONLY | open::TRUNCATE, mode, 0, 0, 0])
}

/// `openat`.
pub(crate) fn openat(task: &mut Task, [directory, path, flags, mode, ..]: [u64; 6]) -> Outcome {
    let whole = path::from_user(task, int(directory), path)?;
    let flags = flags & 0xffff_ffff;
    let close_on_exec = flags & open::CLOSE_ON_EXEC != 0;
    if let Some(own) = path::own_file(task, &whole)
        && !own.is_regular()
        && flags & open::NO_FOLLOW == 0
    {
        return task.files.lock().insert(0, own, close_on_exec).map(u64::from);
    }
    // A number must be free before a file is made or truncated.
    let opened = open_path(task, whole, flags, mode)?;
    descriptor::install(task, opened, close_on_exec)
}

const fn followed(flags: u64) -> Follow {
    if flags & open::NO_FOLLOW != 0 || flags & (open::CREATE | open::EXCLUSIVE) == open::CREATE | open::EXCLUSIVE {
        Follow::No
    } else {
        Follow::Yes
    }
}

/// Open a path.
pub(crate) fn open_path(task: &Task, whole: Vec<u8>, flags: u64, mode: u64) -> Result<OpenFile, Errno> {
    permission::opening(task, &whole, followed(flags), flags)?;
    open_freely(task, whole, flags, mode)
}

/// As [`open_path`], whoever asks.
pub(crate) fn open_freely(task: &Task, whole: Vec<u8>, flags: u64, mode: u64) -> Result<OpenFile, Errno> {
    let mask = task.directory.lock().umask;
    let mode = mode & 0o7777 & !u64::from(mask);
    let owner = owner(task);
    let slot = Slot::new(task.connection())?;
    let (answer, place) = path::walk(task, whole, followed(flags), |mount, rest, room| {
        charged(task, || {
            let mut buffers = Buffers::new();
            buffers.add_send(rest.as_ptr() as u64, rest.len() as u64);
            buffers.add_receive(room.as_mut_ptr() as u64, room.len() as u64);
            buffers.add_take(slot.handle());
            insist(&mut buffers, |buffers| {
                let options = if rest.starts_with(FIFO) { CHARGED_WAIT } else { CHARGED };
                file::open(mount, flags, mode, owner, buffers, options)
            })
        })
    })?;
    if answer.handles == 0 {
        return Err(Errno::EIO);
    }
    let place = if answer.anchor == 0 { place } else { paths::anchored(&place, answer.anchor) };
    Ok(OpenFile::new(slot.filled(), place, answer.mode as u32, answer.features, flags))
}

/// Do what the server makes a connection for, at our charge; once more with a larger share if it failed for that.
pub(crate) fn charged<T>(task: &Task, mut attempt: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    match attempt() {
        Err(Failure::Service(Errno::ENOMEM) | Failure::Kernel(abi::Error::QuotaExceeded))
            if message::enlarge(task.connection()) =>
        {
            attempt()
        }
        result => result,
    }
}

/// An open file is charged to who opens it.
pub(crate) const CHARGED: Options = Options::flags(CHARGE_ME);
/// A FIFO waits for its other end.
const CHARGED_WAIT: Options = Options::flags(INTERRUPTIBLE | CHARGE_ME);


/// Do what may wait until it is done, or a handler is to run. A signal that comes before there was a wait must not keep what
/// can be done at once from being done.
fn waiting(task: &mut Task, opened: &OpenFile, mut send: impl FnMut(u64, Options) -> Outcome) -> Outcome {
    if opened.features & features::WAITS == 0 {
        return send(0, PROMPT);
    }
    loop {
        match send(0, WAIT) {
            Err(RESTART) if signal::interrupted(task) => {
                return match send(read_flags::AT_ONCE, PROMPT) {
                    Err(Errno::EAGAIN) => Err(RESTART),
                    result => result,
                };
            }
            Err(RESTART) => {}
            result => return result,
        }
    }
}

/// Read into buffers of the program's.
pub(crate) fn read_segments(task: &mut Task, opened: &OpenFile, segments: &[[u64; 2]], offset: u64) -> Outcome {
    let read = waiting(task, opened, |flags, options| {
        // Built in place: a copy of an envelope costs as much as the rest of this.
        let mut buffers = Buffers::new();
        segments.iter().for_each(|[address, length]| buffers.add_receive(*address, *length));
        ask(&mut buffers, |buffers| file::read(opened.handle(), offset, flags, buffers, options)).map(|answer| answer.count)
    });
    opened.touch(false);
    read
}

/// Write buffers of the program's; EPIPE comes with its signal.
pub(crate) fn write_segments(task: &mut Task, opened: &OpenFile, segments: &[[u64; 2]], offset: u64) -> Outcome {
    let written = write_quietly(task, opened, segments, offset);
    if written == Err(Errno::EPIPE) {
        signal::send_to_self(task, crate::numbers::signals::PIPE);
    }
    written
}

/// Write buffers of the program's; EPIPE comes without its signal.
pub(crate) fn write_quietly(task: &mut Task, opened: &OpenFile, segments: &[[u64; 2]], offset: u64) -> Outcome {
    if task.process.file_limit.get().is_some() {
        let wanted = segments.iter().map(|[_, length]| length).sum();
        let allowed = file_limit::allowed(task, opened, offset, wanted)?;
        if allowed < wanted {
            return write_all(task, opened, &cut(segments, allowed), offset);
        }
    }
    write_all(task, opened, segments, offset)
}

/// The first so many bytes of buffers.
fn cut(segments: &[[u64; 2]], mut left: u64) -> Vec<[u64; 2]> {
    let mut out = Vec::new();
    for [address, length] in segments {
        let length = left.min(*length);
        left -= length;
        out.push([*address, length]);
    }
    out
}

fn write_all(task: &mut Task, opened: &OpenFile, segments: &[[u64; 2]], offset: u64) -> Outcome {
    let written = waiting(task, opened, |flags, options| {
        let mut buffers = Buffers::new();
        segments.iter().for_each(|[address, length]| buffers.add_send(*address, *length));
        ask(&mut buffers, |buffers| file::write(opened.writer(), offset, flags, buffers, options)).map(|answer| answer.count)
    });
    opened.touch(true);
    written
}

/// One buffer, checked and cut to what a message carries.
pub(crate) fn segment(address: u64, length: u64) -> Result<[u64; 2], Errno> {
    if length > i64::MAX as u64 {
        return Err(Errno::EINVAL);
    }
    let length = length.min(TRANSFER_MAXIMUM);
    user_memory::check(address, length)?;
    Ok([address, length])
}

/// Whether it was opened for reading, and is nothing that cannot be read.
pub(crate) fn readable(task: &Task, number: u64) -> Result<alloc::sync::Arc<OpenFile>, Errno> {
    let opened = descriptor::get(task, number)?;
    if opened.is_directory() {
        return Err(Errno::EISDIR);
    }
    if opened.opened() & open::ACCESS == open::WRITE_ONLY { Err(Errno::EBADF) } else { Ok(opened) }
}

pub(crate) fn writable(task: &Task, number: u64) -> Result<alloc::sync::Arc<OpenFile>, Errno> {
    let opened = descriptor::get(task, number)?;
    if opened.opened() & open::ACCESS == 0 { Err(Errno::EBADF) } else { Ok(opened) }
}

/// `read`.
pub(crate) fn read(task: &mut Task, [number, address, length, ..]: [u64; 6]) -> Outcome {
    let opened = readable(task, number)?;
    read_segments(task, &opened, &[segment(address, length)?], AT_POSITION)
}

/// `write`.
pub(crate) fn write(task: &mut Task, [number, address, length, ..]: [u64; 6]) -> Outcome {
    let opened = writable(task, number)?;
    write_segments(task, &opened, &[segment(address, length)?], AT_POSITION)
}

/// Where `pread` and `pwrite` read and write.
fn position(opened: &OpenFile, offset: u64) -> Outcome {
    if offset > i64::MAX as u64 {
        return Err(Errno::EINVAL);
    }
    if opened.features & features::SEEK == 0 { Err(Errno::ESPIPE) } else { Ok(offset) }
}

/// `pread64`.
pub(crate) fn pread64(task: &mut Task, [number, address, length, offset, ..]: [u64; 6]) -> Outcome {
    let opened = readable(task, number)?;
    read_segments(task, &opened, &[segment(address, length)?], position(&opened, offset)?)
}

/// `pwrite64`.
pub(crate) fn pwrite64(task: &mut Task, [number, address, length, offset, ..]: [u64; 6]) -> Outcome {
    let opened = writable(task, number)?;
    write_segments(task, &opened, &[segment(address, length)?], position(&opened, offset)?)
}

/// The buffers of `readv` and `writev`.
pub(crate) fn vector(address: u64, count: u64) -> Result<Vec<[u64; 2]>, Errno> {
    if count > VECTOR_MAXIMUM {
        return Err(Errno::EINVAL);
    }
    let mut left = TRANSFER_MAXIMUM;
    let mut out = Vec::new();
    for [base, length] in user_memory::read_array::<[u64; 2]>(address, count as usize)? {
        let [base, length] = segment(base, length)?;
        let length = length.min(left);
        left -= length;
        if length > 0 {
            out.push([base, length]);
        }
    }
    Ok(out)
}

/// Move several buffers, as many as a message takes at a time; stop at the first that is not moved whole.
fn move_vector(
    segments: &[[u64; 2]],
    mut offset: Option<u64>,
    mut transfer: impl FnMut(&[[u64; 2]], u64) -> Outcome,
) -> Outcome {
    let mut total = 0;
    if segments.is_empty() {
        return transfer(&[], offset.unwrap_or(AT_POSITION));
    }
    for part in segments.chunks(abi::envelope::SEGMENTS) {
        let wanted: u64 = part.iter().map(|[_, length]| length).sum();
        let moved = match transfer(part, offset.unwrap_or(AT_POSITION)) {
            Ok(moved) => moved,
            Err(_) if total > 0 => return Ok(total),
            Err(error) => return Err(error),
        };
        total += moved;
        offset = offset.map(|offset| offset + moved);
        if moved < wanted {
            break;
        }
    }
    Ok(total)
}

/// `readv`. (A wait for more after the first buffers would be wrong: only the first message may wait.)
pub(crate) fn readv(task: &mut Task, [number, address, count, ..]: [u64; 6]) -> Outcome {
    let opened = readable(task, number)?;
    let segments = vector(address, count)?;
    let mut first = true;
    move_vector(&segments, None, |part, offset| {
        if !core::mem::take(&mut first) && opened.features & features::WAITS != 0 {
            return Ok(0);
        }
        read_segments(task, &opened, part, offset)
    })
}

/// `writev`.
pub(crate) fn writev(task: &mut Task, [number, address, count, ..]: [u64; 6]) -> Outcome {
    let opened = writable(task, number)?;
    move_vector(&vector(address, count)?, None, |part, offset| write_segments(task, &opened, part, offset))
}

/// `preadv`; the offset is one register on x86_64.
pub(crate) fn preadv(task: &mut Task, [number, address, count, offset, ..]: [u64; 6]) -> Outcome {
    let opened = readable(task, number)?;
    let offset = position(&opened, offset)?;
    move_vector(&vector(address, count)?, Some(offset), |part, offset| read_segments(task, &opened, part, offset))
}

/// `pwritev`.
pub(crate) fn pwritev(task: &mut Task, [number, address, count, offset, ..]: [u64; 6]) -> Outcome {
    let opened = writable(task, number)?;
    let offset = position(&opened, offset)?;
    move_vector(&vector(address, count)?, Some(offset), |part, offset| write_segments(task, &opened, part, offset))
}

/// Flags of `preadv2` and `pwritev2`.
mod vector_flags {
    /// RWF_HIPRI, DSYNC, SYNC: nothing is held back.
    pub(super) const HEARD: u64 = 7;
    /// At the end, whatever the offset.
    pub(super) const APPEND: u64 = 0x10;
}

/// `preadv2`.
pub(crate) fn preadv2(task: &mut Task, [number, address, count, offset, _, flags]: [u64; 6]) -> Outcome {
    if flags & !vector_flags::HEARD != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    if offset == AT_POSITION {
        return readv(task, [number, address, count, 0, 0, 0]);
    }
    preadv(task, [number, address, count, offset, 0, 0])
}

/// `pwritev2`.
pub(crate) fn pwritev2(task: &mut Task, [number, address, count, offset, _, flags]: [u64; 6]) -> Outcome {
    if flags & !(vector_flags::HEARD | vector_flags::APPEND) != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    let at_end = flags & vector_flags::APPEND != 0;
    if offset == AT_POSITION && !at_end {
        return writev(task, [number, address, count, 0, 0, 0]);
    }
    let offset = if at_end { path::stat_open(&*writable(task, number)?)?.size } else { offset };
    pwritev(task, [number, address, count, offset, 0, 0])
}

/// `lseek`.
pub(crate) fn lseek(task: &mut Task, [number, offset, whence, ..]: [u64; 6]) -> Outcome {
    let opened = descriptor::get(task, number)?;
    if whence > 4 {
        return Err(Errno::EINVAL);
    }
    ask(&mut Buffers::new(), |buffers| file::seek(opened.handle(), offset, whence, buffers, PROMPT))
        .map(|answer| answer.position)
}

/// `getdents64`.
pub(crate) fn getdents64(task: &mut Task, [number, address, length, ..]: [u64; 6]) -> Outcome {
    let opened = descriptor::get(task, number)?;
    if !opened.is_directory() {
        return Err(Errno::ENOTDIR);
    }
    let [address, length] = segment(address, length & 0xffff_ffff)?;
    if own_descriptors::is_here(task, &opened) {
        return own_descriptors::list(task, &opened, address, length);
    }
    ask(&mut Buffers::new().receive_raw(address, length), |buffers| file::read_directory(opened.handle(), buffers, PROMPT))
        .map(|answer| answer.count)
}

/// `fsync`.
pub(crate) fn fsync(task: &mut Task, [number, ..]: [u64; 6]) -> Outcome {
    sync_file(task, number, 0)
}

/// `fdatasync`.
pub(crate) fn fdatasync(task: &mut Task, [number, ..]: [u64; 6]) -> Outcome {
    sync_file(task, number, 1)
}

fn sync_file(task: &Task, number: u64, data_only: u64) -> Outcome {
    let opened = descriptor::get(task, number)?;
    ask(&mut Buffers::new(), |buffers| file::sync(opened.handle(), data_only, buffers, PROMPT)).map(|_| 0)
}

/// `sync`, and `syncfs` of a good descriptor: our file systems hold nothing back.
pub(crate) fn sync(_: &mut Task, _: [u64; 6]) -> Outcome {
    Ok(0)
}

/// `truncate`.
pub(crate) fn truncate(task: &mut Task, [path, length, ..]: [u64; 6]) -> Outcome {
    if length > i64::MAX as u64 {
        return Err(Errno::EINVAL);
    }
    let whole = path::from_user(task, AT_FDCWD, path)?;
    file_limit::check_length(task, length)?;
    permission::node(task, &whole, Follow::Yes, permission::WRITE)?;
    path::change(task, whole, Follow::Yes, |mount, buffers| file::truncate(mount, length, buffers, PROMPT).map(drop))
}

/// `ftruncate`.
pub(crate) fn ftruncate(task: &mut Task, [number, length, ..]: [u64; 6]) -> Outcome {
    let opened = descriptor::get(task, number)?;
    if length > i64::MAX as u64 || opened.opened() & open::ACCESS == 0 {
        return Err(Errno::EINVAL);
    }
    file_limit::check_length(task, length)?;
    ask(&mut Buffers::new(), |buffers| file::truncate_open(opened.handle(), length, buffers, PROMPT)).map(|_| 0)
}

/// `fallocate`.
pub(crate) fn fallocate(task: &mut Task, [number, how, offset, length, ..]: [u64; 6]) -> Outcome {
    let opened = writable(task, number)?;
    if offset > i64::MAX as u64 || length == 0 || length > i64::MAX as u64 {
        return Err(Errno::EINVAL);
    }
    file_limit::check_length(task, offset.saturating_add(length))?;
    ask(&mut Buffers::new(), |buffers| file::allocate(opened.handle(), how, offset, length, buffers, PROMPT)).map(|_| 0)
}

/// Number of `fadvise64`.
const FADVISE: u64 = 221;

/// `fadvise64`, `readahead`, `sync_file_range`: advice is heard and not needed.
pub(crate) fn advice(task: &mut Task, [number, _, _, what, ..]: [u64; 6]) -> Outcome {
    const LAST: u64 = 5;
    let opened = descriptor::get(task, number)?;
    if task.frame().call == FADVISE && what > LAST {
        return Err(Errno::EINVAL);
    }
    if opened.features & features::SEEK == 0 { Err(Errno::ESPIPE) } else { Ok(0) }
}

/// `sendfile`.
pub(crate) fn sendfile(task: &mut Task, [to, from, offset, count, ..]: [u64; 6]) -> Outcome {
    let (target, source) = (writable(task, to)?, readable(task, from)?);
    // What was read from anything else and cannot be written would be lost: programs then read and write themselves.
    if !source.is_regular() {
        return Err(Errno::EINVAL);
    }
    let mut at = user_memory::read_optional::<u64>(offset)?;
    let moved = pump(task, &source, at.as_mut(), &target, None, count)?;
    if let Some(at) = at {
        user_memory::write(offset, &at)?;
    }
    Ok(moved)
}

/// `copy_file_range`.
pub(crate) fn copy_file_range(task: &mut Task, [from, at_from, to, at_to, count, flags]: [u64; 6]) -> Outcome {
    let (source, target) = (readable(task, from)?, writable(task, to)?);
    if flags != 0 || !source.is_regular() || !target.is_regular() {
        return Err(Errno::EINVAL);
    }
    let mut read_at = user_memory::read_optional::<u64>(at_from)?;
    let mut write_at = user_memory::read_optional::<u64>(at_to)?;
    let moved = pump(task, &source, read_at.as_mut(), &target, write_at.as_mut(), count)?;
    if let Some(at) = read_at {
        user_memory::write(at_from, &at)?;
    }
    if let Some(at) = write_at {
        user_memory::write(at_to, &at)?;
    }
    Ok(moved)
}

/// Move bytes from one file to another through a buffer of the library's.
pub(crate) fn pump(
    task: &mut Task,
    source: &OpenFile,
    mut read_at: Option<&mut u64>,
    target: &OpenFile,
    mut write_at: Option<&mut u64>,
    count: u64,
) -> Outcome {
    let mut room = user_memory::buffer(64 << 10)?;
    let address = room.as_mut_ptr() as u64;
    let mut total = 0;
    while total < count {
        let part = (count - total).min(room.len() as u64);
        let offset = read_at.as_deref().copied().unwrap_or(AT_POSITION);
        let got = match read_segments(task, source, &[[address, part]], offset) {
            Ok(0) => break,
            Ok(got) => got,
            Err(_) if total > 0 => break,
            Err(error) => return Err(error),
        };
        let offset = write_at.as_deref().copied().unwrap_or(AT_POSITION);
        let put = write_segments(task, target, &[[address, got]], offset);
        let moved = *put.as_ref().unwrap_or(&0);
        if let Some(at) = read_at.as_deref_mut() {
            *at += moved;
        } else if moved < got {
            // What was read and not written goes back.
            let back = (got - moved).wrapping_neg();
            let _ = ask(&mut Buffers::new(), |buffers| file::seek(source.handle(), back, 1, buffers, PROMPT));
        }
        if let Some(at) = write_at.as_deref_mut() {
            *at += moved;
        }
        total += moved;
        if moved < got {
            return if total > 0 { Ok(total) } else { put };
        }
    }
    Ok(total)
}

/// `memfd_create`: a file in `/tmp` without a name. Seals are not kept.
pub(crate) fn memfd_create(task: &mut Task, [name, flags, ..]: [u64; 6]) -> Outcome {
    const CLOSE_ON_EXEC: u64 = 1;
    const ALLOW_SEALING: u64 = 2;
    const NAME_MAXIMUM: usize = 249;
    let name = user_memory::read_string(name, NAME_MAXIMUM, Errno::EINVAL)?;
    if flags & !(CLOSE_ON_EXEC | ALLOW_SEALING) != 0 {
        return Err(Errno::EINVAL);
    }
    let mut place = b"/tmp/.memory-".to_vec();
    let mut random = [0; 8];
    crate::system::random(task, &mut random)?;
    paths::digits(&mut place, u64::from_le_bytes(random));
    let mut opened = open_path(task, place.clone(), 2 | open::CREATE | open::EXCLUSIVE, 0o777)?;
    path::change(task, place, Follow::No, |mount, buffers| file::unlink(mount, 0, buffers, PROMPT).map(drop))?;
    opened.path = [b"/memfd:", &name[..], b" (deleted)"].concat();
    descriptor::install(task, opened, flags & CLOSE_ON_EXEC != 0)
}

/// `mkdir`.
pub(crate) fn mkdir(task: &mut Task, [path, mode, ..]: [u64; 6]) -> Outcome {
    mkdirat(task, [AT_FDCWD as u64, path, mode, 0, 0, 0])
}

/// `mkdirat`.
pub(crate) fn mkdirat(task: &mut Task, [directory, path, mode, ..]: [u64; 6]) -> Outcome {
    let whole = path::from_user(task, int(directory), path)?;
    permission::making(task, &whole)?;
    let (mode, owner) = (masked(task, mode), owner(task));
    path::change(task, paths::trimmed(&whole).to_vec(), Follow::No, |mount, buffers| {
        file::make_directory(mount, mode, owner, buffers, PROMPT).map(drop)
    })
}

fn masked(task: &Task, mode: u64) -> u64 {
    mode & 0o7777 & !u64::from(task.directory.lock().umask)
}

/// `mknod`.
pub(crate) fn mknod(task: &mut Task, [path, mode, device, ..]: [u64; 6]) -> Outcome {
    mknodat(task, [AT_FDCWD as u64, path, mode, device, 0, 0])
}

/// `mknodat`.
pub(crate) fn mknodat(task: &mut Task, [directory, path, kind, device, ..]: [u64; 6]) -> Outcome {
    let whole = path::from_user(task, int(directory), path)?;
    permission::making(task, &whole)?;
    permission::device(task, kind as u32)?;
    let kind_bits = kind as u32 & mode::TYPE;
    let mode = u64::from(if kind_bits == 0 { mode::REGULAR } else { kind_bits }) | masked(task, kind);
    let owner = owner(task);
    path::change(task, whole, Follow::No, |mount, buffers| {
        file::make_node(mount, mode, owner, device, buffers, PROMPT).map(drop)
    })
}

/// `rmdir`.
pub(crate) fn rmdir(task: &mut Task, [path, ..]: [u64; 6]) -> Outcome {
    unlinkat(task, [AT_FDCWD as u64, path, AT_REMOVEDIR, 0, 0, 0])
}

/// `unlink`.
pub(crate) fn unlink(task: &mut Task, [path, ..]: [u64; 6]) -> Outcome {
    unlinkat(task, [AT_FDCWD as u64, path, 0, 0, 0, 0])
}

/// `unlinkat`.
pub(crate) fn unlinkat(task: &mut Task, [directory, path, flags, ..]: [u64; 6]) -> Outcome {
    if flags & !AT_REMOVEDIR != 0 {
        return Err(Errno::EINVAL);
    }
    let name = user_memory::read_path(path)?;
    let whole = path::from(task, int(directory), &name)?;
    let is_directory = flags & AT_REMOVEDIR != 0;
    if is_directory && (name == b"." || name.ends_with(b"/.")) {
        return Err(Errno::EINVAL);
    }
    let whole = if is_directory { paths::trimmed(&whole).to_vec() } else { whole };
    permission::removing(task, &whole)?;
    path::change(task, whole, Follow::No, |mount, buffers| {
        file::unlink(mount, u64::from(is_directory), buffers, PROMPT).map(drop)
    })
}

/// `symlink`.
pub(crate) fn symlink(task: &mut Task, [target, path, ..]: [u64; 6]) -> Outcome {
    symlinkat(task, [target, AT_FDCWD as u64, path, 0, 0, 0])
}

/// `symlinkat`.
pub(crate) fn symlinkat(task: &mut Task, [target, directory, path, ..]: [u64; 6]) -> Outcome {
    let target = user_memory::read_path(target)?;
    if target.is_empty() {
        return Err(Errno::ENOENT);
    }
    let whole = path::from_user(task, int(directory), path)?;
    permission::making(task, &whole)?;
    let owner = owner(task);
    path::walk(task, whole, Follow::No, |mount, rest, room| {
        insist(&mut Buffers::new().send(rest).send(&target).receive(room), |buffers| {
            file::symbolic_link(mount, rest.len() as u64, owner, buffers, PROMPT)
        })
    })?;
    Ok(0)
}

/// `readlink`.
pub(crate) fn readlink(task: &mut Task, [path, address, length, ..]: [u64; 6]) -> Outcome {
    readlinkat(task, [AT_FDCWD as u64, path, address, length, 0, 0])
}

/// `readlinkat`.
pub(crate) fn readlinkat(task: &mut Task, [directory, path, address, length, ..]: [u64; 6]) -> Outcome {
    if int(length) <= 0 {
        return Err(Errno::EINVAL);
    }
    let whole = path::from_user(task, int(directory), path)?;
    let target = match own_target(task, &whole)? {
        Some(target) => target,
        None => read_link(task, whole)?,
    };
    let count = target.len().min(length as usize);
    user_memory::write_bytes(address, &target[..count])?;
    Ok(count as u64)
}

fn read_link(task: &Task, whole: Vec<u8>) -> Result<Vec<u8>, Errno> {
    let (target, _) = path::walk(task, whole, Follow::No, |mount, rest, room| {
        let answer = insist(&mut Buffers::new().send(rest).receive(room), |buffers| file::read_link(mount, buffers, PROMPT))?;
        let length = room.len().min(answer.length as usize);
        Ok(room[..length].to_vec())
    })?;
    Ok(target)
}

/// What a link of the process's own under `/proc` says.
fn own_target(task: &Task, whole: &[u8]) -> Result<Option<Vec<u8>>, Errno> {
    let Some((own, b"")) = paths::own(whole, task.process.pid) else { return Ok(None) };
    Ok(Some(match own {
        Own::Program => task.process.program.clone(),
        Own::Directory => {
            let place = task.directory.lock().path.clone();
            path::shown(task, &place)?
        }
        Own::Root => b"/".to_vec(),
        Own::Descriptor(_) if !whole.starts_with(b"/proc/") => return Ok(None),
        Own::Descriptor(number) => {
            let opened = descriptor::get_any(task, u64::from(number)).map_err(|_| Errno::ENOENT)?;
            if opened.path.is_empty() { nameless(&opened)? } else { path::shown(task, &opened.path)? }
        }
    }))
}

/// As Linux shows what has no name: `pipe:[inode]`.
fn nameless(opened: &OpenFile) -> Result<Vec<u8>, Errno> {
    let status = path::stat_open(opened)?;
    let mut text = if status.mode & mode::TYPE == 0o1_0000 { b"pipe:[".to_vec() } else { b"anon_inode:[".to_vec() };
    paths::digits(&mut text, status.inode);
    text.push(b']');
    Ok(text)
}

/// `rename`.
pub(crate) fn rename(task: &mut Task, [old, new, ..]: [u64; 6]) -> Outcome {
    renameat2(task, [AT_FDCWD as u64, old, AT_FDCWD as u64, new, 0, 0])
}

/// `renameat`.
pub(crate) fn renameat(task: &mut Task, [from, old, to, new, ..]: [u64; 6]) -> Outcome {
    renameat2(task, [from, old, to, new, 0, 0])
}

/// `renameat2`.
pub(crate) fn renameat2(task: &mut Task, [from, old, to, new, flags, _]: [u64; 6]) -> Outcome {
    if flags & !3 != 0 || flags == 3 {
        return Err(Errno::EINVAL);
    }
    let (old, new) = (user_memory::read_path(old)?, user_memory::read_path(new)?);
    // A tidied path does not show it any more.
    if [&old, &new].into_iter().any(|name| *name == b"." || name.ends_with(b"/.")) {
        return Err(Errno::EBUSY);
    }
    let (first, second) = (path::from(task, int(from), &old)?, path::from(task, int(to), &new)?);
    permission::renaming(task, &first, &second)?;
    path::walk_two(task, first, second, |mount, one, two, room| {
        insist(&mut Buffers::new().send(one).send(two).receive(room), |buffers| {
            file::rename(mount, one.len() as u64, flags, buffers, PROMPT).map(drop)
        })
    })
}

/// `link`.
pub(crate) fn link(task: &mut Task, [old, new, ..]: [u64; 6]) -> Outcome {
    linkat(task, [AT_FDCWD as u64, old, AT_FDCWD as u64, new, 0, 0])
}

/// `linkat`.
pub(crate) fn linkat(task: &mut Task, [from, old, to, new, flags, _]: [u64; 6]) -> Outcome {
    if flags & !(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let follow = u64::from(flags & AT_SYMLINK_FOLLOW != 0);
    let first = path::from_user(task, int(from), old)?;
    let second = path::from_user(task, int(to), new)?;
    permission::linking(task, &first, &second)?;
    path::walk_two(task, first, second, |mount, one, two, room| {
        insist(&mut Buffers::new().send(one).send(two).receive(room), |buffers| {
            file::link(mount, one.len() as u64, follow, buffers, PROMPT).map(drop)
        })
    })
}

mod command {
    pub(super) const TCGETS: u64 = 0x5401;
    pub(super) const TCSETSF: u64 = 0x5404;
    pub(super) const TIOCGPGRP: u64 = 0x540f;
    pub(super) const TIOCSPGRP: u64 = 0x5410;
    pub(super) const TIOCOUTQ: u64 = 0x5411;
    pub(super) const TIOCGWINSZ: u64 = 0x5413;
    pub(super) const TIOCSWINSZ: u64 = 0x5414;
    pub(super) const FIONREAD: u64 = 0x541b;
    pub(super) const FIONBIO: u64 = 0x5421;
    pub(super) const TIOCGSID: u64 = 0x5429;
    pub(super) const FIONCLEX: u64 = 0x5450;
    pub(super) const FIOCLEX: u64 = 0x5451;
    pub(super) const TIOCGPTN: u64 = 0x8004_5430;
    pub(super) const TIOCSPTLCK: u64 = 0x4004_5431;
}

/// How many bytes a command takes from the program, and gives it.
const fn control_lengths(code: u64) -> (usize, usize) {
    match code {
        command::TCGETS => (0, 36),
        0x5402..=command::TCSETSF => (36, 0),
        command::TIOCGWINSZ => (0, 8),
        command::TIOCSWINSZ => (8, 0),
        command::TIOCGPGRP | command::TIOCOUTQ | command::FIONREAD | command::TIOCGSID | command::TIOCGPTN => (0, 4),
        command::TIOCSPGRP | command::TIOCSPTLCK => (4, 0),
        _ => (0, 0),
    }
}

/// `ioctl`.
pub(crate) fn ioctl(task: &mut Task, [number, code, argument, ..]: [u64; 6]) -> Outcome {
    let code = code & 0xffff_ffff;
    match code {
        command::FIOCLEX | command::FIONCLEX => {
            task.files.lock().get_mut(number as u32)?.close_on_exec = code == command::FIOCLEX;
            Ok(0)
        }
        command::FIONBIO => {
            let on: u32 = user_memory::read(argument)?;
            descriptor::set_nonblocking(&*descriptor::get(task, number)?, on != 0)
        }
        _ => control(&*descriptor::get(task, number)?, code, argument),
    }
}

fn control(opened: &OpenFile, code: u64, argument: u64) -> Outcome {
    let (taken, given) = control_lengths(code);
    let mut sent = [0; 64];
    let mut back = [0; 64];
    user_memory::read_bytes(argument, &mut sent[..taken]).or_else(|error| if taken == 0 { Ok(()) } else { Err(error) })?;
    let mut buffers = Buffers::new().send(&sent[..taken]).receive(&mut back[..given]);
    let result = ask(&mut buffers, |buffers| file::control(opened.handle(), code, argument, buffers, PROMPT))?.result;
    if given > 0 {
        user_memory::write_bytes(argument, &back[..given])?;
    }
    Ok(result)
}

/// The follow mode that `flags` of an `*at` call ask for.
pub(crate) fn follow_unless(flags: u64) -> Follow {
    if flags & AT_SYMLINK_NOFOLLOW != 0 { Follow::No } else { Follow::Yes }
}
