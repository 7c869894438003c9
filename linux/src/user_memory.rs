//! The program's memory: every touch of it from the library, with a fix-up, so that a wild pointer is EFAULT.
//!
//! The assembly between `linux_access_start` and `linux_access_end` may fault; the fault entry then makes it return 1. It uses
//! no stack but its return address. Who else touches the program's memory has a bug.

use alloc::vec::Vec;
use core::arch::global_asm;
use core::ffi::CStr;

use abi::{NATIVE_BASE, PAGE_SIZE, Segment};
use protocol::Errno;

unsafe extern "C" {
    pub(crate) fn linux_access_start();
    pub(crate) fn linux_access_end();
    fn linux_copy(to: u64, from: u64, length: u64) -> u64;
    fn linux_touch_read(address: u64) -> u64;
    fn linux_touch_write(address: u64) -> u64;
    fn linux_exchange(address: u64, expected: u32, new: u32, found: *mut u32) -> u64;
}

global_asm!(
    ".pushsection .text.user_memory, \"ax\"",
    ".global linux_access_start",
    "linux_access_start:",
    ".global linux_copy",
    "linux_copy:",
    "mov rcx, rdx",
    "shr rcx, 3",
    "rep movsq",
    "mov ecx, edx",
    "and ecx, 7",
    "rep movsb",
    "xor eax, eax",
    "ret",
    ".global linux_touch_read",
    "linux_touch_read:",
    "mov al, [rdi]",
    "xor eax, eax",
    "ret",
    ".global linux_touch_write",
    "linux_touch_write:",
    "lock add byte ptr [rdi], 0",
    "xor eax, eax",
    "ret",
    ".global linux_exchange",
    "linux_exchange:",
    "mov eax, esi",
    "lock cmpxchg [rdi], edx",
    "mov [rcx], eax",
    "mov eax, 0",
    "ret",
    ".global linux_access_end",
    "linux_access_end:",
    ".popsection",
);

/// Values that are plain data: any bytes are a value, none is hidden.
///
/// # Safety
/// `repr(C)` or a primitive, integers only, no padding.
pub(crate) unsafe trait Plain: Copy + Default {}

// SAFETY: an integer.
unsafe impl Plain for u8 {}
// SAFETY: an integer.
unsafe impl Plain for u16 {}
// SAFETY: an integer.
unsafe impl Plain for u32 {}
// SAFETY: an integer.
unsafe impl Plain for u64 {}
// SAFETY: an integer.
unsafe impl Plain for i32 {}
// SAFETY: integers, one after the other.
unsafe impl<const N: usize> Plain for [u64; N] where Self: Default {}
// SAFETY: integers, one after the other.
unsafe impl<const N: usize> Plain for [u32; N] where Self: Default {}
// SAFETY: `repr(C)`, integers, no padding (its size is asserted).
unsafe impl Plain for protocol::file::Status {}
// SAFETY: `repr(C)`, integers, no padding (its size is asserted).
unsafe impl Plain for protocol::file::Times {}
// SAFETY: `repr(C)`, integers, no padding (its size is asserted).
unsafe impl Plain for protocol::file::Lock {}
// SAFETY: `repr(C)`, integers, no padding (its size is asserted).
unsafe impl Plain for protocol::process::SignalInformation {}
// SAFETY: `repr(C)`, `u64`s only.
unsafe impl Plain for protocol::process::Resources {}
// SAFETY: `repr(C)`, `u64`s only.
unsafe impl Plain for protocol::process::SystemRecord {}

/// The bytes of a value.
pub(crate) fn bytes_of<T: Plain>(value: &T) -> &[u8] {
    // SAFETY: plain data has no hidden bytes; the slice borrows the value.
    unsafe { core::slice::from_raw_parts(core::ptr::from_ref(value).cast(), size_of::<T>()) }
}

/// The bytes of a value, to be written.
pub(crate) fn bytes_of_mut<T: Plain>(value: &mut T) -> &mut [u8] {
    // SAFETY: any bytes are a value of plain data; the slice borrows the value.
    unsafe { core::slice::from_raw_parts_mut(core::ptr::from_mut(value).cast(), size_of::<T>()) }
}

/// Check that a range lies where programs have memory.
pub(crate) fn check(address: u64, length: u64) -> Result<(), Errno> {
    match address.checked_add(length) {
        Some(end) if end <= NATIVE_BASE => Ok(()),
        _ => Err(Errno::EFAULT),
    }
}

fn done(result: u64) -> Result<(), Errno> {
    if result == 0 { Ok(()) } else { Err(Errno::EFAULT) }
}

/// Copy from the program.
pub(crate) fn read_bytes(address: u64, bytes: &mut [u8]) -> Result<(), Errno> {
    check(address, bytes.len() as u64)?;
    // SAFETY: the destination is ours and as long; the source is the program's and may fault, which is fixed up.
    done(unsafe { linux_copy(bytes.as_mut_ptr() as u64, address, bytes.len() as u64) })
}

/// Copy to the program.
pub(crate) fn write_bytes(address: u64, bytes: &[u8]) -> Result<(), Errno> {
    check(address, bytes.len() as u64)?;
    // SAFETY: the source is ours; the destination is the program's and may fault, which is fixed up.
    done(unsafe { linux_copy(address, bytes.as_ptr() as u64, bytes.len() as u64) })
}

/// A value of the program's.
pub(crate) fn read<T: Plain>(address: u64) -> Result<T, Errno> {
    let mut value = T::default();
    read_bytes(address, bytes_of_mut(&mut value))?;
    Ok(value)
}

/// Give the program a value.
pub(crate) fn write<T: Plain>(address: u64, value: &T) -> Result<(), Errno> {
    write_bytes(address, bytes_of(value))
}

/// As [`write`], unless the address is 0.
pub(crate) fn write_optional<T: Plain>(address: u64, value: &T) -> Result<(), Errno> {
    if address == 0 { Ok(()) } else { write(address, value) }
}

/// As [`read`], unless the address is 0.
pub(crate) fn read_optional<T: Plain>(address: u64) -> Result<Option<T>, Errno> {
    if address == 0 { Ok(None) } else { read(address).map(Some) }
}

/// Values that follow each other.
pub(crate) fn read_array<T: Plain>(address: u64, count: usize) -> Result<Vec<T>, Errno> {
    let mut values = Vec::new();
    values.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
    for index in 0..count as u64 {
        values.push(read(address.checked_add(index * size_of::<T>() as u64).ok_or(Errno::EFAULT)?)?);
    }
    Ok(values)
}

/// A string of the program's, without its zero byte. Longer than `maximum` is `too_long`.
pub(crate) fn read_string(address: u64, maximum: usize, too_long: Errno) -> Result<Vec<u8>, Errno> {
    let mut text = Vec::new();
    loop {
        let here = address.checked_add(text.len() as u64).ok_or(Errno::EFAULT)?;
        let part = (PAGE_SIZE - here % PAGE_SIZE).min(256) as usize;
        let from = text.len();
        text.try_reserve(part).map_err(|_| Errno::ENOMEM)?;
        text.resize(from + part, 0);
        read_bytes(here, &mut text[from..])?;
        // Word by word, unlike a search through an iterator.
        if let Ok(found) = CStr::from_bytes_until_nul(&text[from..]) {
            text.truncate(from + found.count_bytes());
            return if text.len() > maximum { Err(too_long) } else { Ok(text) };
        }
        if text.len() > maximum {
            return Err(too_long);
        }
    }
}

/// A path of the program's.
pub(crate) fn read_path(address: u64) -> Result<Vec<u8>, Errno> {
    read_string(address, protocol::file::PATH_MAXIMUM - 1, Errno::ENAMETOOLONG)
}

/// Zeroed bytes.
pub(crate) fn buffer(length: usize) -> Result<Vec<u8>, Errno> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length).map_err(|_| Errno::ENOMEM)?;
    bytes.resize(length, 0);
    Ok(bytes)
}

fn pages(address: u64, length: u64) -> impl Iterator<Item = u64> {
    let first = address & !(PAGE_SIZE - 1);
    let end = if length == 0 { first } else { address.saturating_add(length) };
    (first..end).step_by(PAGE_SIZE as usize).map(move |page| page.max(address))
}

/// Make every page of a range present for reading.
pub(crate) fn touch_read(address: u64, length: u64) -> Result<(), Errno> {
    // SAFETY: reads a byte and forgets it; faults are fixed up.
    pages(address, length).try_for_each(|page| done(unsafe { linux_touch_read(page) }))
}

/// Make every page of a range present for writing.
pub(crate) fn touch_write(address: u64, length: u64) -> Result<(), Errno> {
    // SAFETY: adds 0 to a byte, atomically; faults are fixed up.
    pages(address, length).try_for_each(|page| done(unsafe { linux_touch_write(page) }))
}

/// Change a word of the program's, atomically; `None` is no such change. Answers what was there.
pub(crate) fn update(address: u64, change: impl Fn(u32) -> Option<u32>) -> Result<u32, Errno> {
    let mut old: u32 = read(address)?;
    loop {
        let new = change(old).ok_or(Errno::ENOSYS)?;
        let mut found = 0;
        // SAFETY: `found` is ours; the other word is the program's and may fault, which is fixed up.
        done(unsafe { linux_exchange(address, old, new, &raw mut found) })?;
        if found == old {
            return Ok(old);
        }
        old = found;
    }
}

/// Make all that a message lends present.
pub(crate) fn touch(sent: &[Segment], received: &[Segment]) -> Result<(), Errno> {
    for segment in sent {
        touch_read(segment.address, segment.length)?;
    }
    for segment in received {
        touch_write(segment.address, segment.length)?;
    }
    Ok(())
}
