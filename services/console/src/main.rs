//! The terminal: line discipline, job control, window size.
//!
//! Mounted at `/dev/console` (mount badge 0) and `/dev/tty` (mount badge 1: only for processes of its session). Below it is a serial
//! line. Handles: `gate`, `line` (a mount connection of the serial driver), `process` (with the console's messages), `log`.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(any(target_os = "none", test))]
extern crate alloc;

#[cfg(target_os = "none")]
mod console;
#[cfg(any(target_os = "none", test))]
mod discipline;
#[cfg(target_os = "none")]
mod jobs;
#[cfg(target_os = "none")]
mod line;
#[cfg(target_os = "none")]
mod reads;
#[cfg(any(target_os = "none", test))]
mod termios;

#[cfg(target_os = "none")]
runtime::main!(main);
#[cfg(target_os = "none")]
runtime::heap!();

#[cfg(target_os = "none")]
fn main() {
    use protocol::resource_manager::Server;
    use runtime::start;

    let gate = start::handle("gate");
    match console::Console::new(gate, start::handle("line")) {
        Ok(console) => {
            let error = Server::new(gate, console).serve();
            runtime::log!(Error, "cannot receive: {}", error.text());
        }
        Err(failure) => runtime::log!(Error, "no terminal: {}", failure.errno().text()),
    }
}

#[cfg(not(target_os = "none"))]
fn main() {}
