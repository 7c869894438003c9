//! What services say to each other: one file per service, one definition per message.
//!
//! Every message of every protocol has the same shape: the label is the message's number, up to four words go each
//! way, bytes travel in the send and receive segments, up to four handles are passed. The label of a reply is 0, an
//! [`Errno`], or one of the special answers in [`message`].
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod message;

mod errno;
pub use errno::Errno;
pub use message::{Failure, Reply};

pub mod file;
pub mod image;
pub mod init;
pub mod log;
pub mod path;
pub mod pipe;
pub mod place;
pub mod process;
pub mod registry;
pub mod resource_manager;
pub mod system_v;
