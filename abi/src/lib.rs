//! All that the Baton kernel and its programs agree on.
//!
//! One module per concept: the [`call`] and its registers, [`handle`]s and [`rights`], the [`error`]s, the
//! [`envelope`] that names buffers, the kernel [`object`]s and their methods, the [`notice`]s a gate delivers,
//! [`upcall`]s into a personality library, the [`trace`], and the layouts that cross a boundary at boot ([`boot`], [`archive`]),
//! at run time ([`system_page`]) and towards the host ([`host`]).
//!
//! Everything here is plain data: no dependency, no `unsafe`, layouts asserted at compile time.
#![no_std]
#![forbid(unsafe_code)]

pub mod archive;
pub mod boot;
pub mod call;
pub mod envelope;
pub mod error;
pub mod handle;
pub mod host;
pub mod notice;
pub mod object;
pub mod quota;
pub mod rights;
pub mod system_page;
pub mod thread;
pub mod trace;
pub mod upcall;

pub use call::{Operation, Status};
pub use envelope::{Envelope, Gift, Segment};
pub use error::{Blame, Error};
pub use handle::Handle;
pub use quota::Quota;
pub use rights::Rights;

/// Size of a page, the unit of mapping, in bytes.
pub const PAGE_SIZE: u64 = 4096;

/// First address of the *native range* of processes that run a foreign personality: every instruction at or above it
/// may use [`Operation`]s directly, every `syscall` below it is an upcall (a single bit, tested in one instruction).
pub const NATIVE_BASE: u64 = 1 << 46;

/// First address above user space (the last page of the canonical lower half is never mapped, so that a `syscall`
/// instruction can never return to a non-canonical address).
pub const USER_END: u64 = (1 << 47) - PAGE_SIZE;
