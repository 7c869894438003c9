//! Numbers of the file protocol that are Linux's.

/// Flags of `Open` (Linux's O_*).
pub mod open_flags {
    /// The access mode: 0 read, 1 write, 2 both.
    pub const ACCESS: u64 = 3;
    /// Read only.
    pub const READ: u64 = 0;
    /// Write only.
    pub const WRITE: u64 = 1;
    /// Read and write.
    pub const BOTH: u64 = 2;
    /// Create it if it is not there.
    pub const CREATE: u64 = 0o100;
    /// It must not be there.
    pub const EXCLUSIVE: u64 = 0o200;
    /// Truncate it.
    pub const TRUNCATE: u64 = 0o1000;
    /// Writes go to the end.
    pub const APPEND: u64 = 0o2000;
    /// Do not wait.
    pub const NON_BLOCKING: u64 = 0o4000;
    /// It must be a directory.
    pub const DIRECTORY: u64 = 0o200_000;
    /// A final symbolic link is not followed.
    pub const NO_FOLLOW: u64 = 0o400_000;
    /// Reads do not change the access time.
    pub const NO_ACCESS_TIME: u64 = 0o1_000_000;
    /// Only a place in the tree.
    pub const PATH: u64 = 0o10_000_000;
    /// A file without a name (with [`DIRECTORY`]).
    pub const TEMPORARY: u64 = 0o20_000_000;
    /// What stays with the open file and is told by `Flags`.
    pub const KEPT: u64 = ACCESS | APPEND | NON_BLOCKING | DIRECTORY | NO_ACCESS_TIME | PATH | NO_FOLLOW;
    /// What `SetFlags` may change.
    pub const SETTABLE: u64 = APPEND | NON_BLOCKING | NO_ACCESS_TIME;
}

/// Types and bits of a mode (Linux's S_*).
pub mod mode {
    /// The type.
    pub const TYPE: u32 = 0o170_000;
    /// Directory.
    pub const DIRECTORY: u32 = 0o040_000;
    /// Regular file.
    pub const FILE: u32 = 0o100_000;
    /// Symbolic link.
    pub const LINK: u32 = 0o120_000;
    /// FIFO.
    pub const FIFO: u32 = 0o010_000;
    /// Socket.
    pub const SOCKET: u32 = 0o140_000;
    /// Character device.
    pub const CHARACTER: u32 = 0o020_000;
    /// Block device.
    pub const BLOCK: u32 = 0o060_000;
    /// Permission bits, set-id bits and the sticky bit.
    pub const PERMISSIONS: u32 = 0o7777;
}

/// Events of `Poll` (Linux's POLL*).
pub mod events {
    /// Readable.
    pub const IN: u64 = 1;
    /// Writable.
    pub const OUT: u64 = 4;
    /// Broken.
    pub const ERROR: u64 = 8;
    /// The other end is gone.
    pub const HANG_UP: u64 = 16;
    /// All that means readable.
    pub const READABLE: u64 = IN | 0x40;
    /// All that means writable.
    pub const WRITABLE: u64 = OUT | 0x100;
}

/// `Lock::kind`.
pub mod lock_kind {
    /// F_RDLCK.
    pub const READ: u16 = 0;
    /// F_WRLCK.
    pub const WRITE: u16 = 1;
    /// F_UNLCK.
    pub const NONE: u16 = 2;
}

/// Nanoseconds that mean "now".
pub const TIME_NOW: u64 = 0x3fff_ffff;
/// Nanoseconds that mean "leave it".
pub const TIME_OMIT: u64 = 0x3fff_fffe;
