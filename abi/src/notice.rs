//! What a gate delivers that no program sent: labels of kernel notices and of fault messages.
//!
//! Notices arrive with [`Status::PULSE`](crate::Status::PULSE) and [`Status::NOTICE`](crate::Status::NOTICE) set and no
//! request id. An ordinary pulse has only `PULSE` set, its badge in `rdx`, its accumulated bits or count in word 0.

/// Notice: the last handle to the connection with this badge is gone. Badge: the connection's.
pub const CLOSED: u64 = 1;
/// Notice: the caller of a request in progress wants to leave; answer it soon. Word 0: the request id. Badge: the connection's.
pub const UNBLOCK: u64 = 2;

/// Message to a thread's fault connection: a page is missing or forbids the access. Word 0: address. Word 1: instruction
/// pointer. Word 2: access ([`access`]). Word 3: the thread's cookie (set by `CONFIGURE`). Reply label 0: try again; any
/// other label: refused, see [`crate::upcall`].
pub const FAULT_PAGE: u64 = 0x1_0001;
/// Message to a thread's fault connection: another exception. Word 0: the processor's vector. Word 1: instruction pointer.
/// Word 2: error code. Word 3: the thread's cookie. Reply label 0: resume; any other label: the thread becomes DEAD.
pub const FAULT_EXCEPTION: u64 = 0x1_0002;
/// Message to a thread's fault connection: a page fault that the pager refused and that no upcall takes. Words as [`FAULT_PAGE`].
pub const FAULT_REFUSED: u64 = 0x1_0003;

/// Bits of a faulting access.
pub mod access {
    /// It wrote.
    pub const WRITE: u64 = 1;
    /// It fetched an instruction.
    pub const EXECUTE: u64 = 2;
    /// The page is present, but forbids it.
    pub const PRESENT: u64 = 4;
}
