//! Memory: `brk`, `mmap` and their family. Areas are the process service's; files show themselves as Memory where they can.

use abi::{PAGE_SIZE, Rights};
use protocol::file;
use protocol::process::{self as service, map_flags};
use protocol::Errno;
use runtime::{Buffers, OwnedHandle};

use crate::descriptor::{self, OpenFile};
use crate::message::{PROMPT, ask};
use crate::numbers::{Outcome, open};
use crate::slot::Slot;
use crate::task::Task;
use crate::user_memory;

const PROT_WRITE: u64 = 2;
const PROT_KNOWN: u64 = 7;
/// PROT_GROWSDOWN, PROT_GROWSUP, PROT_SEM: accepted.
const PROT_OTHER: u64 = 0x0300_0008;

mod flag {
    pub(super) const SHARED: u64 = 1;
    pub(super) const PRIVATE: u64 = 2;
    pub(super) const SHARED_VALIDATE: u64 = 3;
    pub(super) const TYPE: u64 = 15;
    pub(super) const FIXED: u64 = 0x10;
    pub(super) const ANONYMOUS: u64 = 0x20;
    pub(super) const GROWS_DOWN: u64 = 0x100;
    pub(super) const NO_RESERVE: u64 = 0x4000;
    pub(super) const POPULATE: u64 = 0x8000;
    pub(super) const HUGE: u64 = 0x4_0000;
    pub(super) const FIXED_NO_REPLACE: u64 = 0x10_0000;
}

fn whole_pages(length: u64) -> Result<u64, Errno> {
    length.checked_next_multiple_of(PAGE_SIZE).filter(|length| *length <= abi::NATIVE_BASE).ok_or(Errno::ENOMEM)
}

/// `mmap`.
pub(crate) fn mmap(task: &mut Task, [address, length, access, flags, number, offset]: [u64; 6]) -> Outcome {
    let kind = flags & flag::TYPE;
    let valid_kind = matches!(kind, flag::SHARED | flag::PRIVATE | flag::SHARED_VALIDATE);
    if length == 0 || !valid_kind || !offset.is_multiple_of(PAGE_SIZE) || flags & flag::HUGE != 0 {
        return Err(Errno::EINVAL);
    }
    let length = whole_pages(length)?;
    let access = access & !PROT_OTHER & PROT_KNOWN;
    let shared = kind != flag::PRIVATE;
    let mut wanted = if shared { map_flags::SHARED } else { 0 };
    for (theirs, ours) in [
        (flag::FIXED, map_flags::FIXED),
        (flag::FIXED_NO_REPLACE, map_flags::NO_REPLACE),
        (flag::GROWS_DOWN, map_flags::GROWS_DOWN),
        (flag::NO_RESERVE, map_flags::NO_RESERVE),
        (flag::POPULATE, map_flags::POPULATE),
    ] {
        if flags & theirs != 0 {
            wanted |= ours;
        }
    }
    if wanted & (map_flags::FIXED | map_flags::NO_REPLACE) != 0 && !address.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL);
    }
    if flags & flag::ANONYMOUS != 0 {
        return anonymous(task, address, length, access, wanted);
    }
    let opened = descriptor::get(task, number)?;
    let mode = opened.opened() & open::ACCESS;
    if mode == open::WRITE_ONLY || shared && access & PROT_WRITE != 0 && mode == 0 {
        return Err(Errno::EACCES);
    }
    of_file(task, &opened, [address, length, access, wanted], offset)
}

fn anonymous(task: &Task, address: u64, length: u64, access: u64, flags: u64) -> Outcome {
    ask(&mut Buffers::new(), |buffers| service::map(task.connection(), address, length, access, flags, buffers, PROMPT))
        .map(|answer| answer.address)
}

/// A file's Memory, and where in it the bytes from an offset on are.
struct Shown {
    memory: OwnedHandle,
    offset: u64,
    length: u64,
}

impl Shown {
    const fn is_aligned(&self) -> bool {
        self.offset.is_multiple_of(PAGE_SIZE)
    }

    /// Bytes of it, in whole pages, that a mapping of `length` bytes shows.
    const fn present(&self, length: u64) -> u64 {
        let present = self.length.next_multiple_of(PAGE_SIZE);
        if present < length { present } else { length }
    }
}

fn show(task: &Task, opened: &OpenFile, offset: u64, length: u64, write: bool) -> Result<Shown, Errno> {
    let memory = Slot::new(task.connection())?;
    let mut buffers = Buffers::new().take(memory.handle());
    let answer = ask(&mut buffers, |buffers| file::map(opened.handle(), offset, length, u64::from(write), buffers, PROMPT))?;
    if answer.handles == 0 {
        return Err(Errno::ENODEV);
    }
    Ok(Shown { memory: memory.filled(), offset: answer.memory_offset, length: answer.length })
}

fn of_file(task: &Task, opened: &OpenFile, wish: [u64; 4], offset: u64) -> Outcome {
    let [_, length, _, flags] = wish;
    let shared = flags & map_flags::SHARED != 0;
    let writes = shared && opened.opened() & open::ACCESS == 2;
    match show(task, opened, offset, length, writes) {
        Ok(shown) if shown.is_aligned() && shown.present(length) == length => map_shown(task, &shown, wish),
        Ok(shown) if shown.is_aligned() => in_pieces(task, opened, wish, Ok(shown), offset, writes),
        // Beyond its end, which is no error before it is touched.
        Err(Errno::ENXIO) if opened.is_regular() => in_pieces(task, opened, wish, Err(Errno::ENXIO), offset, writes),
        Ok(_) | Err(Errno::ENODEV | Errno::ENOSYS | Errno::EINVAL) if !shared && can_be_read(opened) => {
            copy(task, opened, wish, offset)
        }
        Ok(_) => Err(Errno::ENODEV),
        Err(error) => Err(error),
    }
}

/// `shmat`: a file, shared, at a place or (0) anywhere.
pub(crate) fn map_segment(
    task: &Task,
    opened: &OpenFile,
    place: u64,
    length: u64,
    writes: bool,
    replace: bool,
) -> Outcome {
    let fixed = match (place, replace) {
        (0, _) => 0,
        (_, true) => map_flags::FIXED,
        (_, false) => map_flags::NO_REPLACE,
    };
    let access = if writes { 1 | PROT_WRITE } else { 1 };
    of_file(task, opened, [place, whole_pages(length)?, access, map_flags::SHARED | fixed], 0)
}

fn can_be_read(opened: &OpenFile) -> bool {
    opened.is_regular() || opened.path == b"/dev/zero"
}

/// Flags of areas, without access, that lie beyond the end of a mapped file: touching them is SIGBUS.
pub(crate) const BEYOND_FILE: u64 = map_flags::SHARED | map_flags::NO_RESERVE;

fn map_shown(task: &Task, shown: &Shown, [address, length, access, flags]: [u64; 4]) -> Outcome {
    let mut buffers = Buffers::new().give(shown.memory.handle(), Rights::ALL);
    ask(&mut buffers, |buffers| {
        service::map(task.connection(), address, length, access, flags | shown.offset, buffers, PROMPT)
    })
    .map(|answer| answer.address)
}

/// Map a file that shows itself a piece at a time; what lies beyond its end is reserved without access.
fn in_pieces(
    task: &Task,
    opened: &OpenFile,
    [address, length, access, flags]: [u64; 4],
    first: Result<Shown, Errno>,
    offset: u64,
    writes: bool,
) -> Outcome {
    let place_only = flags & (map_flags::FIXED | map_flags::NO_REPLACE);
    let place = anonymous(task, address, length, 0, place_only | BEYOND_FILE)?;
    let flags = flags & !map_flags::NO_REPLACE | map_flags::FIXED;
    let (mut piece, mut done) = (first, 0);
    let outcome = loop {
        let shown = match piece {
            Ok(shown) if shown.length > 0 => shown,
            Ok(_) | Err(Errno::ENXIO) => break Ok(place),
            Err(error) => break Err(error),
        };
        let present = shown.present(length - done);
        if !shown.is_aligned() {
            break Err(Errno::ENODEV);
        }
        if let Err(error) = map_shown(task, &shown, [place + done, present, access, flags]) {
            break Err(error);
        }
        done += present;
        if done == length {
            break Ok(place);
        }
        piece = show(task, opened, offset + done, length - done, writes);
    };
    if outcome.is_err() {
        // What was there before is gone, as when Linux fails late.
        let _ = unmap(task, place, length);
    }
    outcome
}

/// A private copy of a file that shows no Memory.
fn copy(task: &Task, opened: &OpenFile, [address, length, access, flags]: [u64; 4], offset: u64) -> Outcome {
    let place = anonymous(task, address, length, access | PROT_WRITE, flags & !map_flags::POPULATE)?;
    let mut done = 0;
    while opened.is_regular() && done < length {
        let mut buffers = Buffers::new().receive_raw(place + done, (length - done).min(1 << 20));
        let count = ask(&mut buffers, |buffers| file::read(opened.handle(), offset + done, 0, buffers, PROMPT))?.count;
        if count == 0 {
            break;
        }
        done += count;
    }
    if access & PROT_WRITE == 0 {
        protect(task, place, length, access)?;
    }
    Ok(place)
}

fn range(address: u64, length: u64, outside: Errno) -> Result<u64, Errno> {
    if !address.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL);
    }
    let length = whole_pages(length).map_err(|_| outside)?;
    user_memory::check(address, length).map_err(|_| outside)?;
    Ok(length)
}

/// `munmap`.
pub(crate) fn munmap(task: &mut Task, [address, length, ..]: [u64; 6]) -> Outcome {
    let length = range(address, length, Errno::EINVAL)?;
    if length == 0 {
        return Err(Errno::EINVAL);
    }
    unmap(task, address, length).map(|()| 0)
}

/// Unmap, piece by piece: the service does so much at a time that nobody else waits for long.
fn unmap(task: &Task, address: u64, length: u64) -> Result<(), Errno> {
    let mut gone = 0;
    while gone < length {
        let (at, rest) = (address + gone, length - gone);
        let answer = ask(&mut Buffers::new(), |buffers| service::unmap(task.connection(), at, rest, buffers, PROMPT))?;
        gone = gone.saturating_add(answer.done.max(PAGE_SIZE));
    }
    Ok(())
}

fn protect(task: &Task, address: u64, length: u64, access: u64) -> Outcome {
    ask(&mut Buffers::new(), |buffers| service::protect(task.connection(), address, length, access, buffers, PROMPT))
        .map(|_| 0)
}

/// `mprotect`, and `pkey_mprotect` without a key.
pub(crate) fn mprotect(task: &mut Task, [address, length, access, ..]: [u64; 6]) -> Outcome {
    let length = range(address, length, Errno::ENOMEM)?;
    if access & !(PROT_KNOWN | PROT_OTHER) != 0 {
        return Err(Errno::EINVAL);
    }
    if length == 0 { Ok(0) } else { protect(task, address, length, access & PROT_KNOWN) }
}

/// `mremap`.
pub(crate) fn mremap(task: &mut Task, [address, old, new, flags, target, _]: [u64; 6]) -> Outcome {
    const MAY_MOVE: u64 = 1;
    const FIXED: u64 = 2;
    if flags & !(MAY_MOVE | FIXED) != 0 || flags & FIXED != 0 && flags & MAY_MOVE == 0 || new == 0 || old == 0 {
        return Err(Errno::EINVAL);
    }
    let (old, new) = (range(address, old, Errno::EINVAL)?, whole_pages(new)?);
    let target = target.to_le_bytes();
    let mut buffers = if flags & FIXED != 0 { Buffers::new().send(&target) } else { Buffers::new() };
    ask(&mut buffers, |buffers| service::remap(task.connection(), address, old, new, flags, buffers, PROMPT))
        .map(|answer| answer.address)
}

/// `madvise`.
pub(crate) fn madvise(task: &mut Task, [address, length, advice, ..]: [u64; 6]) -> Outcome {
    let length = range(address, length, Errno::EINVAL)?;
    if length == 0 {
        return Ok(0);
    }
    ask(&mut Buffers::new(), |buffers| service::advise(task.connection(), address, length, advice & 0xffff_ffff, buffers, PROMPT))
        .map(|_| 0)
}

/// `mincore`.
pub(crate) fn mincore(task: &mut Task, [address, length, vector, ..]: [u64; 6]) -> Outcome {
    let length = range(address, length, Errno::ENOMEM)?;
    let pages = length / PAGE_SIZE;
    user_memory::check(vector, pages)?;
    ask(&mut Buffers::new().receive_raw(vector, pages), |buffers| {
        service::resident(task.connection(), address, length, buffers, PROMPT)
    })
    .map(|_| 0)
}

/// ENOMEM where nothing is mapped.
fn covered(task: &Task, address: u64, length: u64) -> Outcome {
    if length == 0 {
        return Ok(0);
    }
    ask(&mut Buffers::new(), |buffers| service::resident(task.connection(), address, length, buffers, PROMPT)).map(|_| 0)
}

/// `msync`: shared mappings are the file's own bytes.
pub(crate) fn msync(task: &mut Task, [address, length, flags, ..]: [u64; 6]) -> Outcome {
    let both = flags & 5 == 5;
    if flags & !7 != 0 || both {
        return Err(Errno::EINVAL);
    }
    covered(task, address, range(address, length, Errno::ENOMEM)?)
}

/// `mlock`, `munlock`, `mlock2`: nothing is ever paged out.
pub(crate) fn lock(task: &mut Task, [address, length, ..]: [u64; 6]) -> Outcome {
    let start = address & !(PAGE_SIZE - 1);
    covered(task, start, range(start, length.saturating_add(address - start), Errno::ENOMEM)?)
}

/// `mlockall`.
pub(crate) fn lock_all(_: &mut Task, [flags, ..]: [u64; 6]) -> Outcome {
    /// Of no meaning alone.
    const ON_FAULT: u64 = 4;
    if matches!(flags, 0 | ON_FAULT) || flags & !7 != 0 { Err(Errno::EINVAL) } else { Ok(0) }
}

/// `munlockall`.
pub(crate) fn unlock_all(_: &mut Task, _: [u64; 6]) -> Outcome {
    Ok(0)
}

/// `brk`.
pub(crate) fn brk(task: &mut Task, [wanted, ..]: [u64; 6]) -> Outcome {
    let process = alloc::sync::Arc::clone(&task.process);
    let mut place = process.program_break.lock();
    let (start, now) = *place;
    if wanted < start || wanted > abi::NATIVE_BASE {
        return Ok(now);
    }
    let (old, new) = (now.next_multiple_of(PAGE_SIZE), wanted.next_multiple_of(PAGE_SIZE));
    let moved: Result<(), Errno> = if new > old {
        ask(&mut Buffers::new(), |buffers| {
            service::map(task.connection(), old, new - old, 3, map_flags::NO_REPLACE, buffers, PROMPT)
        })
        .map(drop)
    } else if new < old {
        unmap(task, new, old - new)
    } else {
        Ok(())
    };
    if moved.is_ok() {
        place.1 = wanted;
    }
    Ok(place.1)
}
