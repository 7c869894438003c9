//! The skeleton of a resource manager: a program that answers the messages of [`crate::file`].
//!
//! Implement [`ResourceManager`] for what you serve: every message has a default that a POSIX user expects (ENOSYS, EINVAL,
//! ENOTTY, ESPIPE…), so a simple device writes `open`, `read` and `write`. Then
//! `Server::new(gate, manager).serve()`. The skeleton keeps the open files (position, status flags, generation-checked
//! badges), checks paths and access modes, makes the connection that an `Open` answers, and closes what the last handle left.
//!
//! What always holds:
//! * A file's position moves, and [`ResourceManager::delivered`] is called, only after the caller has got the bytes. If one of its
//!   pages was missing it is answered [`RETRY`](crate::message::RETRY) and nothing was consumed.
//! * Nothing of a caller's is trusted: lengths are bounded here, and paths hold no zero byte but an anchor's.
//! * Answers may come later: return [`Refusal::Later`] and keep [`Call::request`]; then [`complete`] it. A caller that
//!   wants to leave is announced by [`ResourceManager::unblock`], and answered EINTR.

mod arguments;
mod call;
mod figures;
mod flags;
pub mod handles;
mod manager;
mod opening;
mod pollers;
mod records;
pub mod resolve;
mod server;
#[doc(hidden)]
pub mod storm;
mod table;

pub use call::{Call, Data, Output, Refusal, complete, complete_plain};
pub use figures::Figures;
pub use flags::{TIME_NOW, TIME_OMIT, events, lock_kind, mode, open_flags};
pub use manager::ResourceManager;
pub use opening::{Done, LockOperation, Mapped, Open, Opened, OpenedLater};
pub use pollers::Pollers;
pub use records::Records;
pub use server::Server;
pub use table::{OPEN_FILE, OpenFile, Table};
