//! The user library: the call, start-up, heap, server loop.
#![no_std]
#![allow(unsafe_code)]

pub mod exchange;

pub use exchange::{Answer, Buffers, Message, Options, Received, call, call_words, raise, receive, reply, reply_and_receive};
