//! A new image brought about by `Exec…` messages to the process service: memory is mapped and filled beside the old image, and
//! takes its place only when all that can fail has not.

use alloc::vec::Vec;

use abi::{Handle, PAGE_SIZE, Rights};
use runtime::{Buffers, Options};

use super::{Arguments, Image, STACK_LENGTH, STACK_TOP, Segment, Start, TASK_ADDRESS, TASK_LENGTH, stack};
use crate::process::{BLOB_ADDRESS, map_flags};
use crate::{Errno, Failure, file, process};

/// How often a message is repeated because a buffer was not present.
const ATTEMPTS: usize = 1000;

/// Repeat a message as long as its server asks for it.
fn insist<T>(mut attempt: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    for _ in 0..ATTEMPTS {
        match attempt() {
            Err(Failure::Retry | Failure::Kernel(abi::Error::LenderFault | abi::Error::BadAddress)) => {}
            result => return result,
        }
    }
    attempt()
}

/// Read all of `bytes` from an open file at `offset`.
///
/// # Errors
/// EIO if the file is shorter; else what its server says.
pub fn read_exactly(file: Handle, mut offset: u64, mut bytes: &mut [u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        let count = read_some(file, offset, bytes)?;
        if count == 0 {
            return Err(Errno::EIO);
        }
        offset += count as u64;
        bytes = &mut bytes[count..];
    }
    Ok(())
}

/// Read up to `bytes` from an open file at `offset`; fewer only at its end.
///
/// # Errors
/// What its server says.
pub fn read_some(file: Handle, offset: u64, bytes: &mut [u8]) -> Result<usize, Errno> {
    let length = bytes.len();
    let answer = insist(|| {
        // A fork may have made the buffer copy-on-write.
        for page in bytes.chunks_mut(PAGE_SIZE as usize) {
            page[0] = core::hint::black_box(0);
        }
        file::read(file, offset, 0, &mut Buffers::new().receive(bytes), Options::NONE)
    });
    answer.map(|answer| length.min(answer.count as usize)).map_err(Failure::errno)
}

fn write(connection: Handle, mut address: u64, bytes: &[u8]) -> Result<(), Errno> {
    const CHUNK: usize = 64 << 10;
    for chunk in bytes.chunks(CHUNK) {
        insist(|| process::exec_write(connection, address, &mut Buffers::new().send(chunk), Options::NONE))
            .map_err(Failure::errno)?;
        address += chunk.len() as u64;
    }
    Ok(())
}

/// Zeroed memory in the new image. `flags`: [`map_flags`].
fn map_zeroed(connection: Handle, address: u64, length: u64, access: u64, flags: u64) -> Result<(), Errno> {
    if length == 0 {
        return Ok(());
    }
    process::exec_map(connection, address, length, access | flags << 8, 0, &mut Buffers::new(), Options::NONE)
        .map(drop)
        .map_err(Failure::errno)
}

/// Map `length` bytes of the file from `offset` on, if its server can show them. Whether it could.
fn map_file(
    connection: Handle,
    file: Handle,
    address: u64,
    length: u64,
    offset: u64,
    access: u64,
) -> Result<bool, Errno> {
    let slot = runtime::handle::reserve().map_err(|error| Failure::from(error).errno())?;
    let slot = runtime::OwnedHandle::new(slot);
    let shown = file::map(file, offset, length, 0, &mut Buffers::new().take(slot.handle()), Options::NONE);
    let Ok(shown) = shown else { return Ok(false) };
    if shown.length.next_multiple_of(PAGE_SIZE) < length || !shown.memory_offset.is_multiple_of(PAGE_SIZE) {
        return Ok(false);
    }
    let mut buffers = Buffers::new().give(slot.handle(), Rights::ALL);
    process::exec_map(connection, address, length, access, shown.memory_offset, &mut buffers, Options::NONE)
        .map(|_| true)
        .map_err(Failure::errno)
}

fn copy(connection: Handle, file: Handle, segment: &Segment, from: u64, bounce: &mut [u8]) -> Result<(), Errno> {
    let mut done = from;
    while done < segment.file_length {
        let part = bounce.len().min((segment.file_length - done) as usize);
        read_exactly(file, segment.file_offset + done, &mut bounce[..part])?;
        write(connection, segment.address + done, &bounce[..part])?;
        done += part as u64;
    }
    Ok(())
}

/// Load one segment; `below` is the first page that is not taken yet, by what lies below it. The access of a page shared by two is that of the first and WRITE.
fn load_segment(
    connection: Handle,
    file: Handle,
    segment: &Segment,
    below: u64,
    bounce: &mut [u8],
) -> Result<(), Errno> {
    let first = segment.first_page().max(below);
    let lead = first.saturating_sub(segment.address);
    // Whole pages of file content; the last one too, if nothing but zeros of its own could follow in it.
    let content_end = segment.address + segment.file_length;
    let shown_end = if segment.memory_length > segment.file_length || segment.access & 2 != 0 {
        content_end & !(PAGE_SIZE - 1)
    } else {
        content_end.next_multiple_of(PAGE_SIZE)
    };
    let mut shown = 0;
    if segment.is_congruent() && shown_end > first {
        let offset = segment.file_offset - (segment.address - segment.first_page()) + (first - segment.first_page());
        if map_file(connection, file, first, shown_end - first, offset, segment.access)? {
            shown = shown_end - first;
        }
    }
    let rest = first + shown;
    if segment.end_page() > rest {
        map_zeroed(connection, rest, segment.end_page() - rest, segment.access, 0)?;
    }
    if shown == 0 {
        return copy(connection, file, segment, 0, bounce);
    }
    if lead > 0 {
        let head = Segment { file_length: lead.min(segment.file_length), ..*segment };
        copy(connection, file, &head, 0, bounce)?;
    }
    copy(connection, file, segment, rest - segment.address, bounce)
}

fn load(connection: Handle, file: Handle, image: &Image) -> Result<(), Errno> {
    let mut bounce = Vec::new();
    bounce.try_reserve_exact(64 << 10).map_err(|_| Errno::ENOMEM)?;
    bounce.resize(64 << 10, 0);
    let mut below = 0;
    for segment in &image.segments {
        load_segment(connection, file, segment, below, &mut bounce)?;
        below = segment.end_page();
    }
    Ok(())
}

fn build(
    connection: Handle,
    file: Handle,
    image: &Image,
    arguments: &Arguments,
    start: &mut Start,
) -> Result<(), Errno> {
    load(connection, file, image)?;
    let (pointer, bytes) = stack(image, arguments, &start.user)?;
    let access = if image.executable_stack { 7 } else { 3 };
    map_zeroed(
        connection,
        STACK_TOP - STACK_LENGTH,
        STACK_LENGTH,
        access,
        map_flags::GROWS_DOWN | map_flags::NO_RESERVE,
    )?;
    write(connection, pointer, &bytes)?;
    map_zeroed(connection, TASK_ADDRESS, TASK_LENGTH, 3, map_flags::LIBRARY | map_flags::NO_RESERVE)?;
    (start.entry, start.stack, start.program_break) = (image.entry, pointer, image.end);
    write(connection, BLOB_ADDRESS, &start.encode())?;
    let mut kept: Vec<u64> =
        start.descriptors.iter().flat_map(|descriptor| [descriptor.handle, descriptor.writer]).collect();
    kept.retain(|handle| *handle != 0);
    kept.sort_unstable();
    kept.dedup();
    for part in kept.chunks(512) {
        let bytes: Vec<u8> = part.iter().flat_map(|handle| handle.to_le_bytes()).collect();
        insist(|| process::exec_keep(connection, &mut Buffers::new().send(&bytes), Options::NONE))
            .map_err(Failure::errno)?;
    }
    Ok(())
}

/// Give the process of `connection` a new image: `image`, of the open `file`. If it works, and the process is the caller's, this does not return.
///
/// # Errors
/// Whatever went wrong; then the old image is as it was.
pub fn replace(
    connection: Handle,
    file: Handle,
    image: &Image,
    arguments: &Arguments,
    start: &mut Start,
) -> Result<(), Errno> {
    let names = prepare(connection, file, image, arguments, start)?;
    commit(connection, &names)
}

/// The first part of [`replace`], with all that can fail for want of anything: build the new image beside the old one. Gives
/// what [`commit`] is to tell. The caller can free everything else before that.
///
/// # Errors
/// Whatever went wrong; then the new image is given up.
pub fn prepare(
    connection: Handle,
    file: Handle,
    image: &Image,
    arguments: &Arguments,
    start: &mut Start,
) -> Result<Vec<u8>, Errno> {
    process::exec_begin(connection, &mut Buffers::new(), Options::NONE).map_err(Failure::errno)?;
    let mut names = tool_name(&arguments.name);
    names.push(0);
    names.extend_from_slice(&arguments.arguments);
    names.truncate(64 << 10);
    match build(connection, file, image, arguments, start) {
        Ok(()) => Ok(names),
        Err(error) => {
            give_up(connection);
            Err(error)
        }
    }
}

/// The new image takes the old one's place.
///
/// # Errors
/// The service refused; then the old image is as it was.
pub fn commit(connection: Handle, names: &[u8]) -> Result<(), Errno> {
    match insist(|| process::exec_commit(connection, TASK_ADDRESS, &mut Buffers::new().send(names), Options::NONE)) {
        Ok(_) => Ok(()),
        Err(failure) => {
            give_up(connection);
            Err(failure.errno())
        }
    }
}

fn give_up(connection: Handle) {
    // What cannot be given up is gone with the process.
    let _ = process::exec_abort(connection, &mut Buffers::new(), Options::NONE);
}

/// The name for tools: the last component, at most 15 bytes.
fn tool_name(path: &[u8]) -> Vec<u8> {
    let last = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    last[..last.len().min(15)].to_vec()
}
