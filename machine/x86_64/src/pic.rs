//! The two 8259 interrupt controllers, reached through the local APIC's virtual wire.
//!
//! Why these and not the I/O APIC: the line that firmware writes into a PCI function's configuration (0x3c) is a line of
//! these controllers, and the firmware has already set which lines are level-triggered; the I/O APIC's routing is known
//! from ACPI's byte code only, which nobody here interprets. See docs/decisions/0010-x86-interrupts.md.

use core::cell::Cell;

use crate::processor;

/// First vector of the 16 lines.
pub(crate) const FIRST_VECTOR: u64 = 32;
/// How many lines there are.
pub(crate) const LINES: u32 = 16;

const COMMAND: [u16; 2] = [0x20, 0xa0];
const DATA: [u16; 2] = [0x21, 0xa1];
/// Edge or level, a bit per line.
const TRIGGER: [u16; 2] = [0x4d0, 0x4d1];
/// The line by which the second controller reports to the first.
const CASCADE: u32 = 2;
/// Lines whose trigger is fixed: timer, keyboard, cascade, clock, coprocessor.
const FIXED_TRIGGER: u16 = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 8 | 1 << 13;
const SPECIFIC_END: u8 = 0x60;
const READ_IN_SERVICE: u8 = 0x0b;

/// Both controllers.
pub(crate) struct Pic {
    masked: Cell<u16>,
}

impl Pic {
    /// Initialise them, all lines masked.
    #[unsafe(link_section = ".boot.text")]
    pub(crate) fn new() -> Self {
        for (chip, wiring) in [(0, 1 << CASCADE), (1, CASCADE as u8)] {
            processor::out8(COMMAND[chip & 1], 0x11);
            processor::out8(DATA[chip & 1], FIRST_VECTOR as u8 + 8 * chip as u8);
            processor::out8(DATA[chip & 1], wiring);
            processor::out8(DATA[chip & 1], 1);
        }
        let pic = Self { masked: Cell::new(!(1 << CASCADE)) };
        pic.write_mask(0);
        pic.write_mask(1);
        pic
    }

    fn write_mask(&self, chip: usize) {
        processor::out8(DATA[chip & 1], self.masked.get().to_le_bytes()[chip & 1]);
    }

    pub(crate) fn mask(&self, line: u32) {
        if line < LINES && line != CASCADE && self.masked.get() & 1 << line == 0 {
            self.masked.set(self.masked.get() | 1 << line);
            self.write_mask(line as usize / 8);
        }
    }

    pub(crate) fn unmask(&self, line: u32, edge: bool) {
        if line >= LINES || line == CASCADE {
            return;
        }
        if FIXED_TRIGGER & 1 << line == 0 {
            let port = TRIGGER[line as usize / 8];
            let bit = 1 << (line % 8);
            let was = processor::in8(port);
            let now = if edge { was & !bit } else { was | bit };
            if now != was {
                processor::out8(port, now);
            }
        }
        self.masked.set(self.masked.get() & !(1 << line));
        self.write_mask(line as usize / 8);
    }

    /// A line has interrupted: mask it and let the controllers report others. False: it was not really there.
    pub(crate) fn take(&self, line: u32) -> bool {
        let chip = line as usize / 8;
        if line % 8 == 7 {
            processor::out8(COMMAND[chip & 1], READ_IN_SERVICE);
            if processor::in8(COMMAND[chip & 1]) & 1 << 7 == 0 {
                // The first controller has served its cascade line all the same.
                if chip == 1 {
                    processor::out8(COMMAND[0], SPECIFIC_END | CASCADE as u8);
                }
                return false;
            }
        }
        self.mask(line);
        if chip == 1 {
            processor::out8(COMMAND[1], SPECIFIC_END | (line - 8) as u8);
            processor::out8(COMMAND[0], SPECIFIC_END | CASCADE as u8);
        } else {
            processor::out8(COMMAND[0], SPECIFIC_END | line as u8);
        }
        true
    }
}
