//! The Linux personality: unmodified static Linux binaries on Baton.
//!
//! A library that is mapped into every POSIX process, at a fixed address in the native range. The kernel enters it at one of
//! the [`entry`] points when the program makes a system call, when a signal is posted, and when the program faults; it turns what
//! is asked into messages to the services and goes back. [`table`] names every call and its handler: one file per area.
//!
//! What must hold: no state of a task is a static (a process may hold several tasks, see [`task`]); the program's memory is
//! touched only through [`user_memory`]; vector registers are never touched but by [`vector`]; nothing panics.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![cfg_attr(not(target_os = "none"), allow(dead_code))]
#![allow(unsafe_code)]

extern crate alloc;

mod frame;
mod names;
mod numbered;
mod numbers;
mod paths;
#[cfg(any(target_os = "none", test))]
mod table;

macro_rules! modules {
    ($($name:ident)*) => { $(#[cfg(target_os = "none")] mod $name;)* };
}

modules! {
    descriptor directory dispatch entry epoll exec
    fault file_limit files futex
    heap identity locks memory message message_queue mounts
    own_descriptors path permission pipe poll process
    record_locks scheduling signal signal_frame slot socket splice special_files start status system
    system_v
    task thread time timer
    user_memory vector
    vsyscall
}

#[cfg(not(target_os = "none"))]
fn main() {}
