//! The terminal: line discipline, job control, window size.
//!
//! Mounted at `/dev/console` (mount badge 0) and `/dev/tty` (mount badge 1: only for processes of its session). Below it is a serial
//! line. Handles: `gate`, `line` (a mount connection of the serial driver), `process` (with the console's messages), `log`.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

mod console;
mod discipline;
mod jobs;
mod line;
mod reads;
mod termios;

use protocol::resource_manager::Server;
use runtime::start;

runtime::main!(run);
runtime::heap!();

fn run() {
    let gate = start::handle("gate");
    match console::Console::new(gate, start::handle("line")) {
        Ok(console) => {
            let error = Server::new(gate, console).serve();
            runtime::log!(Error, "cannot receive: {}", error.text());
        }
        Err(failure) => runtime::log!(Error, "no terminal: {}", failure.errno().text()),
    }
}
