//! Handles: how a process names what it may use.

/// A name for an entry of the caller's handle table: index in bits 0–15, generation in bits 16–63. A closed slot's
/// generation never matches again, so a stale handle is an error, never another object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Handle(pub u64);

impl Handle {
    /// Names nothing; never valid.
    pub const NONE: Self = Self(0);
    /// The calling process itself (installed when the process is created).
    pub const SELF_PROCESS: Self = Self(1 << 16 | 1);
    /// The calling thread, whichever it is: understood by every method that takes a thread.
    pub const CURRENT_THREAD: Self = Self(1 << 16 | 2);
    /// First index that ordinary entries use; what is below is fixed by this file.
    pub const FIRST_FREE_INDEX: u16 = 3;

    /// A handle from its parts.
    #[must_use]
    pub const fn new(index: u16, generation: u64) -> Self {
        Self(generation << 16 | index as u64)
    }

    /// Position in the table.
    #[must_use]
    pub const fn index(self) -> u16 {
        self.0 as u16
    }

    /// How often the slot had been used when this handle was made.
    #[must_use]
    pub const fn generation(self) -> u64 {
        self.0 >> 16
    }

    /// Whether this is [`Handle::NONE`].
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}
