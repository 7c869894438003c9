//! Owns all free memory; processes, address spaces, faults; pids, signals and wait for POSIX.
//!
//! A server with one thread and one gate that calls only the kernel ([`kernel`]). What it knows is in [`server::Server`]; what
//! it is asked is [`protocol::process`]. RAM is in [`frames`] and [`ram`]; an address space is [`area`]s and [`pages`] held together by
//! [`space`]; who there is is in [`table`].
//!
//! What must hold: no message panics it, whatever a library sends; nothing is kept of a caller's memory; after a process has
//! ended all that it had is free again.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![cfg_attr(not(target_os = "none"), allow(dead_code))]

extern crate alloc;

mod area;
mod deadline;
mod exec;
mod exit;
mod fault;
mod fork;
mod frames;
mod futex;
mod futex_lock;
mod heap;
mod image;
mod kernel;
mod lent;
mod limit;
mod memory;
mod native;
mod open_files;
mod pages;
mod ram;
mod record;
mod scheduling;
mod server;
mod session;
mod signal;
mod space;
#[cfg(target_os = "none")]
mod start;
mod table;
#[cfg(test)]
mod tests;
mod thread;
mod timer;
mod wait;
mod window;

#[cfg(target_os = "none")]
runtime::main!(start::run);
#[cfg(target_os = "none")]
runtime::heap!(heap::grow);

#[cfg(not(target_os = "none"))]
fn main() {}
