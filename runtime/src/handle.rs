//! Handles that close themselves, and slots for handles that arrive.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use abi::{Error, Handle, Rights};

use crate::object::process;

/// A handle that is closed when it is dropped.
#[derive(Debug, PartialEq, Eq)]
pub struct OwnedHandle(Handle);

impl OwnedHandle {
    /// Take charge of a handle. [`Handle::NONE`] is allowed and closes nothing.
    #[must_use]
    pub const fn new(handle: Handle) -> Self {
        Self(handle)
    }

    /// The handle, still owned.
    #[must_use]
    pub const fn handle(&self) -> Handle {
        self.0
    }

    /// The handle, which the caller now has to close.
    #[must_use]
    pub fn into_handle(mut self) -> Handle {
        core::mem::replace(&mut self.0, Handle::NONE)
    }

    /// A second handle to the same object.
    ///
    /// # Errors
    /// [`Error::NoRight`] if it may not be copied; [`Error::QuotaExceeded`] when the table cannot grow.
    pub fn duplicate(&self) -> Result<Self, Error> {
        duplicate(self.0, Rights::ALL).map(Self)
    }
}

impl Drop for OwnedHandle {
    fn drop(&mut self) {
        close(self.0);
    }
}

/// Close a handle of the running process; [`Handle::NONE`] and stale ones do nothing.
pub fn close(handle: Handle) {
    if !handle.is_none() {
        // A handle whose object was destroyed is closed already.
        let _ = process::close(Handle::SELF_PROCESS, handle);
    }
}

/// Entries by which a full table grows.
const GROWTH: u64 = 64;
/// Largest table.
const ENTRIES_MAXIMUM: u64 = 1 << 16;
/// Entries that the table is known to have been grown to.
static ENTRIES: AtomicU64 = AtomicU64::new(0);

/// Do what needs a free entry; grow the table of the running process as often as it is full.
///
/// # Errors
/// What `attempt` fails with, other than [`Error::TableFull`]; what growing fails with.
pub fn with_room<T>(mut attempt: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    loop {
        match attempt() {
            Err(Error::TableFull) => {
                let entries = ENTRIES.fetch_add(GROWTH, Relaxed) + GROWTH;
                if entries > ENTRIES_MAXIMUM {
                    ENTRIES.store(ENTRIES_MAXIMUM, Relaxed);
                    return Err(Error::TableFull);
                }
                process::grow_handles(Handle::SELF_PROCESS, entries)?;
            }
            result => return result,
        }
    }
}

/// A slot for an arriving handle, in a table that grows as needed. If none arrives, the slot stays reserved: use it
/// again, or [`close`] it.
///
/// # Errors
/// [`Error::QuotaExceeded`] when the table cannot grow.
pub fn reserve() -> Result<Handle, Error> {
    with_room(|| process::reserve(Handle::SELF_PROCESS))
}

/// A second handle, with these rights at most, in a table that grows as needed.
///
/// # Errors
/// [`Error::NoRight`] if it may not be copied; [`Error::QuotaExceeded`] when the table cannot grow.
pub fn duplicate(handle: Handle, rights: Rights) -> Result<Handle, Error> {
    with_room(|| process::duplicate(Handle::SELF_PROCESS, handle, rights))
}
