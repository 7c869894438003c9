//! The last words of a kernel that cannot go on, on the first serial port, by polling. Nothing else uses it: the console is
//! a program with a driver of its own.

use crate::processor;

const COM1: u16 = 0x3f8;
const LINE_STATUS: u16 = COM1 + 5;
const TRANSMITTER_EMPTY: u8 = 1 << 5;
/// Readings of the line status before a byte is given up: a port that is not there never becomes ready.
const PATIENCE: u32 = 100_000;

/// What a line is made of. Formatting with `core::fmt` would take a tenth of the kernel's image.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part<'a> {
    /// As it is.
    Text(&'a [u8]),
    /// In hexadecimal, with `0x` and all 16 digits.
    Hexadecimal(u64),
}

fn byte(byte: u8) {
    for _ in 0..PATIENCE {
        if processor::in8(LINE_STATUS) & TRANSMITTER_EMPTY != 0 {
            break;
        }
    }
    processor::out8(COM1, byte);
}

fn text(text: &[u8]) {
    text.iter().copied().for_each(byte);
}

fn hexadecimal(value: u64) {
    text(b"0x");
    for place in (0..16).rev() {
        let digit = (value >> (4 * place)) as u8 & 15;
        byte(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
    }
}

/// Print a line. The port is programmed each time (38,400 baud or what the emulator makes of it, 8 bits, no interrupts),
/// as its driver may have left it in any state.
pub(crate) fn print(parts: &[Part<'_>]) {
    for (register, value) in [(1, 0), (3, 0x80), (0, 3), (1, 0), (3, 3), (2, 7), (4, 3)] {
        processor::out8(COM1 + register, value);
    }
    for part in parts {
        match *part {
            Part::Text(words) => text(words),
            Part::Hexadecimal(value) => hexadecimal(value),
        }
    }
    text(b"\r\n");
}
