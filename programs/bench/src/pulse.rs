//! Pulses: raised for nobody, for a weaker receiver, for a stronger one.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use abi::{Error, Handle};
use runtime::object::process;

use crate::row::{ROUNDS, Report, Value, ticks, timed};
use crate::world::{PRIORITY, STRONGER, Server, WEAKER, World, given};
use crate::{mark, time};

/// When the receiver had the pulse.
static RECEIVED: AtomicU64 = AtomicU64::new(0);

extern "C" fn take_pulses(argument: u64) -> ! {
    let [gate, ..] = given(argument);
    while runtime::receive_words(gate).is_ok() {
        let now = ticks();
        mark::pause();
        RECEIVED.store(now, Relaxed);
    }
    runtime::entry::end()
}

fn pulse_to(gate: Handle) -> Result<Handle, Error> {
    process::create_pulse(Handle::SELF_PROCESS, gate, 1, process::Accumulate::Or, PRIORITY, Handle::NONE)
}

fn no_waiter(world: &World) -> Result<Value, Error> {
    let gate = world.gate()?;
    let pulse = pulse_to(gate.gate)?;
    let value = timed(ROUNDS, |round| {
        let took = time!(runtime::raise(pulse, round)?);
        // The next one is as new.
        runtime::receive_words(gate.gate)?;
        Ok(took)
    });
    process::destroy(pulse)?;
    gate.end()?;
    value
}

fn with_receiver(
    world: &World,
    priority: u8,
    round: impl Fn(&Server, Handle, u64) -> Result<u64, Error>,
) -> Result<Value, Error> {
    let server = world.server(take_pulses, priority)?;
    let pulse = pulse_to(server.gate.gate)?;
    let value = timed(ROUNDS / 10, |number| round(&server, pulse, number));
    process::destroy(pulse)?;
    server.end()?;
    value
}

fn wakes_lower(world: &World) -> Result<Value, Error> {
    with_receiver(world, WEAKER, |_, pulse, round| {
        let took = time!(runtime::raise(pulse, round)?);
        // Until it waits again.
        world.rest(20_000)?;
        Ok(took)
    })
}

fn to_higher(world: &World) -> Result<Value, Error> {
    with_receiver(world, STRONGER, |_, pulse, round| {
        mark::begin();
        let start = ticks();
        runtime::raise(pulse, round)?;
        Ok(RECEIVED.load(Relaxed) - start)
    })
}

/// The rows.
pub(crate) fn rows(world: &World, report: &Report) {
    report.row("pulse_no_waiter", "raise a pulse for which nobody waits and that is not pending", no_waiter(world));
    let how = "raise a pulse for which a weaker thread in another address space waits, until the raiser goes on";
    report.row("pulse_wakes_lower", how, wakes_lower(world));
    let how = "raise a pulse until the stronger thread in another address space that waits for it has it";
    report.row("pulse_to_higher", how, to_higher(world));
}
