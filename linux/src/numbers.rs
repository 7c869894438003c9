//! Numbers of Linux for x86_64 that more than one file needs.

use protocol::Errno;

/// What a system call answers: a value, or an error number.
pub(crate) type Outcome = Result<u64, Errno>;

/// A wait was broken off: repeat the call after a handler with SA_RESTART, or if there was none; else EINTR. Never seen by programs.
pub(crate) const RESTART: Errno = Errno(512);
/// As [`RESTART`], but repeated after any handler.
pub(crate) const RESTART_ALWAYS: Errno = Errno(513);
/// As [`RESTART`], but EINTR after any handler.
pub(crate) const RESTART_UNHANDLED: Errno = Errno(514);

/// Descriptor that stands for the current directory in `*at` calls.
pub(crate) const AT_FDCWD: i32 = -100;

/// Flags of `open`.
pub(crate) mod open {
    pub(crate) const WRITE_ONLY: u64 = 1;
    pub(crate) const CREATE: u64 = 0o100;
    pub(crate) const EXCLUSIVE: u64 = 0o200;
    pub(crate) const NONBLOCK: u64 = 0o4000;
    pub(crate) const DIRECTORY: u64 = 0o20_0000;
    pub(crate) const NO_FOLLOW: u64 = 0o40_0000;
    pub(crate) const CLOSE_ON_EXEC: u64 = 0o200_0000;
    pub(crate) const PATH: u64 = 0o1000_0000;
    pub(crate) const TRUNCATE: u64 = 0o1000;
    pub(crate) const APPEND: u64 = 0o2000;
    pub(crate) const ACCESS: u64 = 3;
}

/// Types in `st_mode`.
pub(crate) mod mode {
    pub(crate) const TYPE: u32 = 0o17_0000;
    pub(crate) const DIRECTORY: u32 = 0o4_0000;
    pub(crate) const REGULAR: u32 = 0o10_0000;
    pub(crate) const LINK: u32 = 0o12_0000;
    pub(crate) const SOCKET: u32 = 0o14_0000;
    pub(crate) const FIFO: u32 = 0o1_0000;
    pub(crate) const CHARACTER: u32 = 0o2_0000;
    pub(crate) const BLOCK: u32 = 0o6_0000;
}

/// Signals.
pub(crate) mod signals {
    pub(crate) const ILL: u32 = 4;
    pub(crate) const TRAP: u32 = 5;
    pub(crate) const ABRT: u32 = 6;
    pub(crate) const BUS: u32 = 7;
    pub(crate) const FPE: u32 = 8;
    pub(crate) const KILL: u32 = 9;
    pub(crate) const SEGV: u32 = 11;
    pub(crate) const PIPE: u32 = 13;
    pub(crate) const ALRM: u32 = 14;
    pub(crate) const STOP: u32 = 19;
    pub(crate) const XFSZ: u32 = 25;
    pub(crate) const LAST: u32 = 64;
    /// What no mask can hold.
    pub(crate) const UNBLOCKABLE: u64 = 1 << (KILL - 1) | 1 << (STOP - 1);
}

/// A number from a register, as C's `int`.
pub(crate) const fn int(register: u64) -> i32 {
    register as i32
}
