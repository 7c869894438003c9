//! The user library: the call, start-up, heap, server loop.
//!
//! A native program says `runtime::main!(main)` (entry point, panic handler) and, if it allocates, `runtime::heap!()`
//! (global allocator); a library in a foreign process uses the rest without either.
#![no_std]
#![allow(unsafe_code)]

extern crate alloc;

pub mod clock;
pub mod entry;
pub mod exchange;
pub mod executor;
pub mod handle;
pub mod heap;
pub mod log;
pub mod mapped;
pub mod mapping;
pub mod object;
pub mod server;
pub mod start;

pub use exchange::{
    Answer, Buffers, Message, Options, Received, call, call_words, raise, read_request, receive, receive_words, reply,
    reply_and_receive, reply_and_receive_words, write_request,
};
pub use handle::OwnedHandle;
pub use mapping::Mapping;
pub use server::{Delivery, Inbox, Reaction, serve};
