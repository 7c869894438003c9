//! The last words of a kernel that cannot go on, on the first serial port, by polling. Nothing else uses it: the console is
//! a program with a driver of its own.

use core::fmt::{self, Write};

use crate::processor;

const COM1: u16 = 0x3f8;
const LINE_STATUS: u16 = COM1 + 5;
const TRANSMITTER_EMPTY: u8 = 1 << 5;
/// Readings of the line status before a byte is given up: a port that is not there never becomes ready.
const PATIENCE: u32 = 100_000;

/// Writes to the port.
pub(crate) struct Serial;

impl Serial {
    fn byte(byte: u8) {
        for _ in 0..PATIENCE {
            if processor::in8(LINE_STATUS) & TRANSMITTER_EMPTY != 0 {
                break;
            }
        }
        processor::out8(COM1, byte);
    }
}

impl Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                Self::byte(b'\r');
            }
            Self::byte(byte);
        }
        Ok(())
    }
}

/// Print a line. The port is programmed each time (38,400 baud or what the emulator makes of it, 8 bits, no interrupts),
/// as its driver may have left it in any state.
pub(crate) fn print(text: fmt::Arguments<'_>) {
    for (register, value) in [(1, 0), (3, 0x80), (0, 3), (1, 0), (3, 3), (2, 7), (4, 3)] {
        processor::out8(COM1 + register, value);
    }
    // It never fails: `write_str` above does not.
    let _ = Serial.write_fmt(text);
    let _ = Serial.write_str("\n");
}
