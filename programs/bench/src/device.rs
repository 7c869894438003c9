//! An interrupt: from the program that it interrupts to the driver that waits for it. The device is the PC's real-time clock.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use abi::{Error, Handle, Rights};
use runtime::object::process::Accumulate;
use runtime::object::{memory, process, pulse};

use crate::mark;
use crate::row::{Report, Value, ticks};
use crate::world::{PRIORITY, STRONGER, World, given};

/// The real-time clock's index port (the data port follows), and its line.
const PORTS: u64 = 0x70;
const LINE: u64 = 8;
const STATUS_A: u32 = 0x0a;
const STATUS_B: u32 = 0x0b;
const STATUS_C: u32 = 0x0c;
/// Interrupts 8,192 times a second of the divided clock.
const FAST: u32 = 0x23;
const PERIODIC: u32 = 0x40;

const ROUNDS: u64 = 100;
const WARM_UP: u64 = 5;

/// The interrupted program was here.
static STAMP: AtomicU64 = AtomicU64::new(0);
static TAKEN: AtomicU64 = AtomicU64::new(0);
static TOTAL: AtomicU64 = AtomicU64::new(0);

fn read(ports: Handle, register: u32) -> Result<u32, Error> {
    memory::port_write(ports, PORTS, 1, register)?;
    memory::port_read(ports, PORTS + 1, 1)
}

fn write(ports: Handle, register: u32, value: u32) -> Result<(), Error> {
    memory::port_write(ports, PORTS, 1, register)?;
    memory::port_write(ports, PORTS + 1, 1, value)
}

/// Let it interrupt.
fn begin(ports: Handle) -> Result<(), Error> {
    let mode = read(ports, STATUS_B)?;
    write(ports, STATUS_A, FAST)?;
    // What was pending would hold the line where it is.
    acknowledge(ports)?;
    write(ports, STATUS_B, mode | PERIODIC)
}

/// Let it not interrupt any more.
fn quiet(ports: Handle) -> Result<(), Error> {
    let mode = read(ports, STATUS_B)?;
    write(ports, STATUS_B, mode & !PERIODIC)?;
    acknowledge(ports)
}

/// Let the line go: reading the register does that.
fn acknowledge(ports: Handle) -> Result<(), Error> {
    read(ports, STATUS_C).map(drop)
}

extern "C" fn driver(argument: u64) -> ! {
    let [gate, ports, ..] = given(argument);
    while runtime::receive_words(gate).is_ok() {
        let took = ticks() - STAMP.load(Relaxed);
        mark::pause();
        if TAKEN.fetch_add(1, Relaxed) >= WARM_UP {
            TOTAL.fetch_add(took, Relaxed);
        }
        if acknowledge(ports).is_err() {
            break;
        }
    }
    runtime::entry::end()
}

fn to_driver(world: &World) -> Result<Value, Error> {
    let (ports, interrupts) = (world.boot.ports, world.boot.interrupts);
    let (gate, other) = (world.gate()?, world.other(Handle::NONE)?);
    other.give(gate.gate, Rights::RECEIVE)?;
    other.give(ports, Rights::READ.and(Rights::WRITE))?;
    other.start(driver, STRONGER, 0)?;
    let interrupt = process::create_pulse(Handle::SELF_PROCESS, gate.gate, 1, Accumulate::Or, PRIORITY, Handle::NONE)?;
    pulse::bind_interrupt(interrupt, interrupts, LINE, 0, pulse::Trigger::Edge)?;
    begin(ports)?;
    let mut section = 0;
    while TAKEN.load(Relaxed) < ROUNDS + WARM_UP {
        let taken = TAKEN.load(Relaxed);
        if taken == WARM_UP {
            section = mark::end_section() + 1;
        }
        mark::begin();
        while TAKEN.load(Relaxed) == taken {
            STAMP.store(ticks(), Relaxed);
        }
    }
    quiet(ports)?;
    mark::end_section();
    process::destroy(interrupt)?;
    other.end()?;
    gate.end()?;
    Ok(Value::Instructions { total: TOTAL.load(Relaxed), rounds: ROUNDS, section })
}

/// The row.
pub(crate) fn rows(world: &World, report: &Report) {
    let how = "from the last counter reading of a program that does nothing else, which an interrupt stops, until the \
               receive of the driver, in another address space, has returned";
    report.row("interrupt_to_driver", how, to_driver(world));
}
