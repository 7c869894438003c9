//! RAM that a program maps at addresses of its own choice, such as a file system's pages, and that others map too.
//! [`Mapping`](crate::Mapping) is simpler, and finds the address itself; this is for those who map and unmap for ever.

use abi::object::access;
use abi::{Error, Handle};

use crate::object::process;

/// First address that a program may use as it likes: behind its image, stack, heap and [`Mapping`](crate::Mapping)s.
pub const FREE_ADDRESS: u64 = 0x80_0000_0000;

/// A mapped range, for reading and writing. No slice of it is ever made, as others may have it mapped too.
/// It is unmapped by [`Window::unmap`] only.
#[derive(Debug, PartialEq, Eq)]
pub struct Window {
    address: u64,
    length: u64,
}

impl Window {
    /// Map a part of a Memory.
    ///
    /// # Errors
    /// The kernel refused to map it.
    pub fn map(memory: Handle, address: u64, offset: u64, length: u64) -> Result<Self, Error> {
        let rights = access::READ | access::WRITE;
        process::map(Handle::SELF_PROCESS, memory, address, rights, offset, length)?;
        Ok(Self { address, length })
    }

    /// A range that somebody else has mapped into this process.
    ///
    /// # Safety
    /// It is writable as long as this lives, and no Rust reference names any of it.
    #[must_use]
    pub const unsafe fn given(address: u64, length: u64) -> Self {
        Self { address, length }
    }

    /// Where it is.
    #[must_use]
    pub const fn address(&self) -> u64 {
        self.address
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

    /// Write one word, aligned or not.
    ///
    /// # Panics
    /// It does not fit.
    #[inline]
    pub fn set(&self, offset: u64, word: u64) {
        let to = self.pointer(offset, 8).cast::<u64>();
        // SAFETY: as in `clear`.
        unsafe { to.write_unaligned(word) }
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
}
