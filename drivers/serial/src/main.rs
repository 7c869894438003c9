//! The 16550 serial port as a file: bytes in, bytes out, nothing interpreted. The terminal above it is `console`.
//!
//! One opener at a time: two readers would steal each other's bytes. Handles: `gate`, `ports` (eight of them), `interrupts`,
//! `process`, `log`; number: `line`.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

mod port;
mod uart;

use abi::{Error, Handle};
use protocol::resource_manager::Server;
use runtime::object::{process, pulse};
use runtime::start;

runtime::main!(run);
runtime::heap!();

fn run() {
    let gate = start::handle("gate");
    match start_port(gate) {
        Ok(port) => {
            let error = Server::new(gate, port).serve();
            runtime::log!(Error, "cannot receive: {}", error.text());
        }
        Err(error) => runtime::log!(Error, "the port cannot be driven: {}", error.text()),
    }
}

fn start_port(gate: Handle) -> Result<port::Port, Error> {
    let uart = uart::Uart::new(start::handle("ports"))?;
    let interrupt = process::create_pulse(
        Handle::SELF_PROCESS,
        gate,
        port::INTERRUPT_BADGE,
        process::Accumulate::Or,
        start::number("priority") as u8,
        Handle::NONE,
    )?;
    pulse::bind_interrupt(interrupt, start::handle("interrupts"), start::number("line"), 0, pulse::Trigger::Edge)?;
    Ok(port::Port::new(uart, interrupt))
}
