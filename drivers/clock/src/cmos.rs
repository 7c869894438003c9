//! The clock's registers behind ports 0x70 and 0x71 (Motorola MC146818A data sheet).

use abi::{Error, Handle};
use runtime::object::memory;

use crate::calendar::Reading;

const INDEX: u64 = 0;
const DATA: u64 = 1;
/// Status register A: an update is in progress while bit 7 is set.
const STATUS_A: u32 = 0x0a;
const STATUS_B: u32 = 0x0b;
const UPDATING: u8 = 0x80;
/// Where PC firmware keeps the century (ACPI's FADT names it; all emulators and most boards use this one).
const CENTURY: u32 = 0x32;
/// An update takes at most 2 ms; a read of a port some 100 ns or more.
const UPDATE_READS: u32 = 100_000;

fn register(ports: Handle, index: u32) -> Result<u8, Error> {
    memory::port_write(ports, INDEX, 1, index)?;
    memory::port_read(ports, DATA, 1).map(|value| value as u8)
}

fn read_once(ports: Handle) -> Result<Reading, Error> {
    let mut waits = 0;
    while register(ports, STATUS_A)? & UPDATING != 0 && waits < UPDATE_READS {
        waits += 1;
    }
    Ok(Reading {
        second: register(ports, 0)?,
        minute: register(ports, 2)?,
        hour: register(ports, 4)?,
        day: register(ports, 7)?,
        month: register(ports, 8)?,
        year: register(ports, 9)?,
        century: register(ports, CENTURY)?,
        mode: register(ports, STATUS_B)?,
    })
}

/// A reading that no update tore apart: two in a row that agree.
pub(crate) fn read(ports: Handle) -> Result<Reading, Error> {
    let mut last = read_once(ports)?;
    loop {
        let next = read_once(ports)?;
        if next == last {
            return Ok(next);
        }
        last = next;
    }
}
