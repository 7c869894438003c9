//! Memory mapped for a while: a window into RAM or a device, at an address that is found here.

use core::sync::atomic::{AtomicU64, Ordering};

use abi::archive::Archive;
use abi::object::access;
use abi::{Error, Handle, PAGE_SIZE};

use crate::object::process;

/// Where windows begin. Addresses are given out upwards; one is used again when what was mapped last goes first.
const WINDOWS: u64 = 0x20_0000_0000;
/// Where they end.
const WINDOWS_END: u64 = 0x7f_0000_0000;

static NEXT: AtomicU64 = AtomicU64::new(WINDOWS);

/// A run of pages of a Memory, mapped as long as this lives.
#[derive(Debug)]
pub struct Mapping {
    address: u64,
    length: u64,
}

fn claim(length: u64) -> Result<u64, Error> {
    let claimed = NEXT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| {
        next.checked_add(length).filter(|&end| end <= WINDOWS_END)
    });
    claimed.map_err(|_| Error::Exhausted)
}

fn release(address: u64, length: u64) {
    // Not the newest: its addresses stay unused.
    let _ = NEXT.compare_exchange(address + length, address, Ordering::Relaxed, Ordering::Relaxed);
}

impl Mapping {
    /// Map `length` bytes from `offset` on, with [`access`] bits. The Memory must outlive the mapping, or accesses fault.
    ///
    /// # Errors
    /// As [`process::map`]; [`Error::Exhausted`] when there are no addresses left.
    pub fn new(memory: Handle, offset: u64, length: u64, access: u64) -> Result<Self, Error> {
        let length = length.checked_next_multiple_of(PAGE_SIZE).ok_or(Error::BadArgument)?;
        let address = claim(length)?;
        if let Err(error) = process::map(Handle::SELF_PROCESS, memory, address, access, offset, length) {
            release(address, length);
            return Err(error);
        }
        Ok(Self { address, length })
    }

    /// Where it is mapped.
    #[must_use]
    pub const fn address(&self) -> u64 {
        self.address
    }

    /// How long it is, in bytes (whole pages).
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    fn place(&self, offset: u64, length: usize) -> u64 {
        let end = offset.checked_add(length as u64);
        assert!(end.is_some_and(|end| end <= self.length), "outside the mapping");
        self.address + offset
    }

    /// Copy bytes out. Others may write them meanwhile.
    ///
    /// # Panics
    /// If the range is not within the mapping.
    pub fn read(&self, offset: u64, bytes: &mut [u8]) {
        copy(bytes.as_mut_ptr() as u64, self.place(offset, bytes.len()), bytes.len());
    }

    /// Copy bytes in.
    ///
    /// # Panics
    /// If the range is not within the mapping.
    pub fn write(&self, offset: u64, bytes: &[u8]) {
        copy(self.place(offset, bytes.len()), bytes.as_ptr() as u64, bytes.len());
    }

    /// Fill a range with zeros.
    ///
    /// # Panics
    /// If the range is not within the mapping.
    pub fn clear(&self, offset: u64, length: u64) {
        let zeros = [0; 512];
        let mut done = 0;
        while done < length {
            let part = (length - done).min(512);
            self.write(offset + done, &zeros[..part as usize]);
            done += part;
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if process::unmap(Handle::SELF_PROCESS, self.address, self.length).is_ok() {
            release(self.address, self.length);
        }
    }
}

/// Copy bytes between ordinary memory and memory that others may use at the same time, which Rust's references must not name.
#[cfg(all(target_arch = "x86_64", target_os = "none"))]
fn copy(to: u64, from: u64, length: usize) {
    // SAFETY: the callers in this file pass one address of a borrowed slice and one within a mapping, each valid for
    // `length` bytes; they do not overlap, since windows are no one's slices. The direction flag is clear by the ABI.
    unsafe {
        core::arch::asm!(
            "rep movsb",
            inout("rdi") to => _,
            inout("rsi") from => _,
            inout("rcx") length => _,
            options(nostack, preserves_flags),
        );
    }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "none")))]
fn copy(_to: u64, _from: u64, _length: usize) {
    unreachable!("nothing is mapped on a host")
}

/// Map the boot archive for good and look at it.
///
/// # Errors
/// As [`process::map`]; [`Error::BadArgument`] if it is no archive, [`Error::NoRight`] for a Memory that may be written.
pub fn archive(memory: Handle, length: u64) -> Result<Archive<'static>, Error> {
    if process::handle_information(memory)?.rights.contains(abi::Rights::WRITE) {
        return Err(Error::NoRight);
    }
    let mapping = Mapping::new(memory, 0, length, access::READ)?;
    // SAFETY: it was just mapped, and stays so, as `forget` keeps it from being dropped; nobody writes to the boot archive:
    // the boot stub hands it out without the right to.
    let bytes = unsafe { core::slice::from_raw_parts(mapping.address as *const u8, length as usize) };
    core::mem::forget(mapping);
    Archive::new(bytes).ok_or(Error::BadArgument)
}
