//! Giving the processor away.

use abi::{Error, Handle};
use runtime::object::thread;

use crate::row::{ROUNDS, Report, Value, measure};
use crate::world::{PRIORITY, World};

extern "C" fn yield_always(_: u64) -> ! {
    loop {
        thread::yield_now();
    }
}

fn alone() -> Result<Value, Error> {
    measure(ROUNDS, |_| {
        thread::yield_now();
        Ok(())
    })
}

fn round_trip(world: &World) -> Result<Value, Error> {
    let other = world.other(Handle::NONE)?;
    other.start(yield_always, PRIORITY, 0)?;
    let value = alone();
    other.end()?;
    value
}

/// The rows.
pub(crate) fn rows(world: &World, report: &Report) {
    report.row("yield", "yield with nobody else ready", alone());
    report.row("switch_round_trip", "two yields, to another address space and back", round_trip(world));
}
