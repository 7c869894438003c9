//! virtio-serial ports: streams to and from the host, each a file by its name on the host's command line.
//!
//! Mounted as a directory: `baton.stdin`, … A read waits for bytes and gets 0 once the host has closed its end and everything was
//! read. `fsync` waits until the host has taken all that was written. Handles: `gate`, `ports` (0xcf8–0xcff, PCI
//! configuration), `devices`, `interrupts`, `process`, `log`.
#![cfg_attr(target_os = "none", no_std, no_main)]
// The device reads and writes memory that Rust does not know of.
#![allow(unsafe_code)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod device;
#[cfg(target_os = "none")]
mod dma;
#[cfg(target_os = "none")]
mod pci;
#[cfg(target_os = "none")]
mod ring;
#[cfg(target_os = "none")]
mod streams;

#[cfg(target_os = "none")]
runtime::main!(main);
#[cfg(target_os = "none")]
runtime::heap!();

#[cfg(target_os = "none")]
fn main() {
    use protocol::resource_manager::Server;
    use runtime::start;

    let gate = start::handle("gate");
    match start_device(gate) {
        Ok(device) => {
            let error = Server::new(gate, streams::Streams::new(device)).serve();
            runtime::log!(Error, "cannot receive: {}", error.text());
        }
        Err(reason) => {
            runtime::log!(Warning, "no streams to the host: {reason}");
            // Whoever opens a stream is told that there is none.
            Server::new(gate, streams::Absent).serve();
        }
    }
}

/// Find the device, start it, and have its interrupts come to `gate`.
#[cfg(target_os = "none")]
fn start_device(gate: abi::Handle) -> Result<device::Device, &'static str> {
    use abi::{Error, Handle};
    use runtime::object::{process, pulse};
    use runtime::start;
    use virtio_drivers::transport::pci::PciTransport;
    use virtio_drivers::transport::pci::bus::PciRoot;

    let ports = start::handle("ports");
    let mut root = PciRoot::new(pci::ConfigurationPorts(ports));
    let (function, line) = pci::find(&mut root, ports).ok_or("there is no virtio console on the PCI bus")?;
    dma::set_up(start::handle("devices")).map_err(Error::text)?;
    let interrupt = process::create_pulse(
        Handle::SELF_PROCESS,
        gate,
        streams::INTERRUPT_BADGE,
        process::Accumulate::Or,
        start::number("priority") as u8,
        Handle::NONE,
    )
    .map_err(Error::text)?;
    pulse::bind_interrupt(interrupt, start::handle("interrupts"), line, 0, pulse::Trigger::Level)
        .map_err(Error::text)?;
    let transport = PciTransport::new::<dma::DeviceMemory, _>(&mut root, function)
        .map_err(|_| "its PCI capabilities are not those of a modern virtio device")?;
    device::Device::new(transport).ok_or("it lacks what we need: version 1 and several ports")
}

#[cfg(not(target_os = "none"))]
fn main() {}
