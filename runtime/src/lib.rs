//! The user library: the call, start-up, heap, server loop.
#![no_std]
