//! The 16550's registers and FIFOs (National Semiconductor PC16550D data sheet).

use alloc::collections::VecDeque;

use abi::{Error, Handle};
use runtime::object::memory;

/// Register offsets.
mod register {
    pub(super) const DATA: u64 = 0;
    pub(super) const INTERRUPT_ENABLE: u64 = 1;
    pub(super) const INTERRUPT_IDENTITY: u64 = 2;
    pub(super) const FIFO_CONTROL: u64 = 2;
    pub(super) const LINE_CONTROL: u64 = 3;
    pub(super) const MODEM_CONTROL: u64 = 4;
    pub(super) const LINE_STATUS: u64 = 5;
}

const ENABLE_RECEIVED: u32 = 1;
const ENABLE_EMPTY: u32 = 2;
/// Enable and clear both FIFOs, interrupt at 8 received bytes.
const FIFOS: u32 = 0x87;
/// Eight bits, no parity, one stop bit; and the same with the divisor's registers in place of data and interrupt enable.
const FORMAT: u32 = 3;
const DIVISOR_ACCESS: u32 = 0x83;
/// 115,200 baud.
const DIVISOR: u32 = 1;
/// DTR, RTS, and OUT2, which lets interrupts through on PCs.
const MODEM: u32 = 0x0b;
const RECEIVED: u32 = 1;
const HOLDING_EMPTY: u32 = 0x20;
/// Bytes that the transmit FIFO takes when it is empty.
const FIFO_LENGTH: usize = 16;
/// Received bytes that nobody has read; more are lost, as on any serial line.
const INPUT_MAXIMUM: usize = 64 * 1024;
/// Bytes waiting to be sent; more wait at their writer.
pub(crate) const OUTPUT_MAXIMUM: usize = 16 * 1024;

/// A serial port.
pub(crate) struct Uart {
    ports: Handle,
    pub(crate) input: VecDeque<u8>,
    pub(crate) output: VecDeque<u8>,
    pub(crate) lost: u64,
    enabled: u32,
}

impl Uart {
    /// Set the port up: 115,200 baud, 8N1, FIFOs and the receive interrupt on.
    ///
    /// # Errors
    /// The ports are not ours.
    pub(crate) fn new(ports: Handle) -> Result<Self, Error> {
        let write = |register, value| memory::port_write(ports, register, 1, value);
        write(register::INTERRUPT_ENABLE, 0)?;
        write(register::LINE_CONTROL, DIVISOR_ACCESS)?;
        write(register::DATA, DIVISOR)?;
        write(register::INTERRUPT_ENABLE, 0)?;
        write(register::LINE_CONTROL, FORMAT)?;
        write(register::FIFO_CONTROL, FIFOS)?;
        write(register::MODEM_CONTROL, MODEM)?;
        write(register::INTERRUPT_ENABLE, ENABLE_RECEIVED)?;
        Ok(Self { ports, input: VecDeque::new(), output: VecDeque::new(), lost: 0, enabled: ENABLE_RECEIVED })
    }

    fn read(&self, register: u64) -> u32 {
        // Fails only without the handle, which `new` has proved.
        memory::port_read(self.ports, register, 1).unwrap_or(0)
    }

    /// Take what has come, and send what waits.
    pub(crate) fn service(&mut self) {
        // Reading it acknowledges "holding register empty".
        self.read(register::INTERRUPT_IDENTITY);
        let mut status = self.read(register::LINE_STATUS);
        while status & RECEIVED != 0 {
            let byte = self.read(register::DATA) as u8;
            if self.input.len() < INPUT_MAXIMUM {
                self.input.push_back(byte);
            } else {
                self.lost += 1;
            }
            status = self.read(register::LINE_STATUS);
        }
        while status & HOLDING_EMPTY != 0 && !self.output.is_empty() {
            self.send_some();
            status = self.read(register::LINE_STATUS);
        }
        self.enable(ENABLE_RECEIVED | if self.output.is_empty() { 0 } else { ENABLE_EMPTY });
    }

    /// Fill the empty transmit FIFO.
    fn send_some(&mut self) {
        let mut bytes = [0; FIFO_LENGTH];
        let count = self.output.len().min(FIFO_LENGTH);
        for (place, byte) in bytes.iter_mut().zip(self.output.drain(..count)) {
            *place = byte;
        }
        let _ = memory::port_write_bytes(self.ports, register::DATA, &bytes[..count]);
    }

    fn enable(&mut self, interrupts: u32) {
        if self.enabled != interrupts {
            self.enabled = interrupts;
            let _ = memory::port_write(self.ports, register::INTERRUPT_ENABLE, 1, interrupts);
        }
    }
}
