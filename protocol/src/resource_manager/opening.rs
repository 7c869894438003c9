//! What a manager is asked and answers: opening, mapping, locking.

use abi::{Handle, Rights};

use super::{Refusal, open_flags};
use crate::Errno;

/// How a file is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Open {
    /// [`open_flags`].
    pub flags: u64,
    /// Permission bits of a new file.
    pub mode: u32,
    /// Owner of a new file.
    pub user: u32,
    /// Group of a new file.
    pub group: u32,
}

impl Open {
    /// Whether it is opened for reading.
    #[must_use]
    pub const fn reads(&self) -> bool {
        self.flags & (open_flags::PATH | open_flags::ACCESS) != open_flags::WRITE && self.flags & open_flags::PATH == 0
    }

    /// Whether it is opened for writing.
    #[must_use]
    pub const fn writes(&self) -> bool {
        self.flags & open_flags::ACCESS != open_flags::READ && self.flags & open_flags::PATH == 0
    }

    /// Whether any of these flags is set.
    #[must_use]
    pub const fn has(&self, flags: u64) -> bool {
        self.flags & flags != 0
    }
}

/// A file that was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opened<F> {
    /// The manager's part.
    pub file: F,
    /// Its status flags.
    pub flags: u64,
    /// `st_mode`.
    pub mode: u32,
    /// [`features`].
    pub features: u64,
    /// A second open file with its status flags, for the second taken slot (pipes).
    pub second: Option<(F, u64)>,
    /// A directory's anchor, if it can be renamed: see [`file::anchor`].
    pub anchor: u64,
}

impl<F> Opened<F> {
    /// A file opened as asked.
    #[must_use]
    pub const fn new(file: F, open: &Open, mode: u32, features: u64) -> Self {
        Self { file, flags: open.flags, mode, features, second: None, anchor: 0 }
    }
}

/// What `Map` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// The Memory, which stays the manager's.
    pub memory: Handle,
    /// What its user may do.
    pub rights: Rights,
    /// Where in it the asked byte is.
    pub memory_offset: u64,
    /// Bytes from there on that belong to the file.
    pub length: u64,
}

/// A record lock operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockOperation {
    /// F_GETLK.
    Test,
    /// F_SETLK.
    Set,
    /// F_SETLKW.
    SetAndWait,
    /// flock: `LOCK_SH` 1, `LOCK_EX` 2, `LOCK_NB` 4, `LOCK_UN` 8.
    Whole(u64),
}

/// A deferred `Open` that came to an end.
#[derive(Debug)]
pub struct OpenedLater<F> {
    /// The request.
    pub request: u64,
    /// Its end.
    pub result: Result<Opened<F>, Errno>,
}

/// Result of a message with a plain answer.
pub type Done = Result<(), Refusal>;
