//! Pipes, FIFOs, event counters, message queues, and System V's IPC; see [`protocol::pipe`].
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

mod callers;
mod ends;
mod event;
mod keyed;
mod pipe;
mod queue;
mod ring;
mod segments;
mod semaphores;
mod system_v;
mod typed_queue;

use protocol::resource_manager::Server;
use runtime::start;

runtime::main!(run);
runtime::heap!();

fn run() {
    let gate = start::handle("gate");
    let error = Server::new(gate, ends::Ends::new(gate)).serve();
    runtime::log!(Error, "cannot receive: {}", error.text());
}
