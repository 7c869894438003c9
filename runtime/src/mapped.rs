//! Memory that a program maps itself, at addresses of its own choice outside its image, stack and heap.

use abi::object::access;
use abi::{Error, Handle};

use crate::object::process;

/// First address that a program may use as it likes.
pub const FREE_ADDRESS: u64 = 0x20_0000_0000;

/// Map a Memory for reading, for good. Its content must never change: a read-only boot archive.
///
/// # Errors
/// The kernel refused to map it.
pub fn map_constant(memory: Handle, address: u64, length: u64) -> Result<&'static [u8], Error> {
    let length = length.next_multiple_of(abi::PAGE_SIZE);
    process::map(Handle::SELF_PROCESS, memory, address, access::READ, 0, length)?;
    // SAFETY: the range was just mapped, is never unmapped, and by the caller's word nobody writes what it shows; bytes have
    // no alignment or validity to break.
    Ok(unsafe { core::slice::from_raw_parts(address as *const u8, length as usize) })
}

/// A range of RAM mapped for reading and writing, which others may have mapped too: hence no slice of it is ever made.
#[derive(Debug, PartialEq, Eq)]
pub struct Window {
    address: u64,
    length: u64,
}

impl Window {
    /// Map a part of a Memory. The window is unmapped by [`Window::unmap`] only.
    ///
    /// # Errors
    /// The kernel refused to map it.
    pub fn map(memory: Handle, address: u64, offset: u64, length: u64) -> Result<Self, Error> {
        let rights = access::READ | access::WRITE;
        process::map(Handle::SELF_PROCESS, memory, address, rights, offset, length)?;
        Ok(Self { address, length })
    }

    /// Where it is.
    #[must_use]
    pub const fn address(&self) -> u64 {
        self.address
    }

    /// Its bytes.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Remove it from the address space.
    pub fn unmap(self) {
        let _ = process::unmap(Handle::SELF_PROCESS, self.address, self.length);
    }

    fn pointer(&self, offset: u64, length: u64) -> *mut u8 {
        assert!(offset <= self.length && length <= self.length - offset, "outside of the window");
        (self.address + offset) as *mut u8
    }

    /// Fill a part with zeros.
    ///
    /// # Panics
    /// The part is not inside.
    pub fn clear(&self, offset: u64, length: u64) {
        // SAFETY: `pointer` checked that the range is inside the window, which is mapped writable and of which no reference exists.
        unsafe { self.pointer(offset, length).write_bytes(0, length as usize) }
    }

    /// Copy bytes in.
    ///
    /// # Panics
    /// They do not fit.
    pub fn copy_in(&self, offset: u64, bytes: &[u8]) {
        let to = self.pointer(offset, bytes.len() as u64);
        // SAFETY: as in `clear`; `bytes` is ordinary memory, hence not in the window.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) }
    }

    /// Copy bytes out.
    ///
    /// # Panics
    /// They are not inside.
    pub fn copy_out(&self, offset: u64, bytes: &mut [u8]) {
        let from = self.pointer(offset, bytes.len() as u64);
        // SAFETY: as in `copy_in`.
        unsafe { core::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), bytes.len()) }
    }
}
