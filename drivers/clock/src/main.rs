//! The CMOS real-time clock: tells `process` the time of day, once, when it starts.
//!
//! The clock counts whole seconds, so the driver waits for a second to begin: then what it tells is right to the
//! microsecond that a reading takes. Handles: `ports` (0x70–0x71), `process`, `log`.
#![cfg_attr(target_os = "none", no_std, no_main)]

mod calendar;
mod cmos;

use abi::{Error, Handle};
use protocol::{Errno, Reply, process};
use runtime::{Buffers, Message, Options};

runtime::main!(main);
runtime::heap!(static 4096);

/// A second's beginning is looked for at most this long.
const EDGE_WAIT_NS: u64 = 1_100_000_000;
/// Time between two looks.
const LOOK_INTERVAL_NS: u64 = 1_000_000;

fn main() {
    let ports = runtime::start::handle("ports");
    match time_of_day(ports) {
        Ok(Some((seconds, monotonic_ns))) => tell(seconds * 1_000_000_000 - monotonic_ns),
        Ok(None) => runtime::log!(Error, "the clock's registers hold no date; the time of day is unknown"),
        Err(error) => runtime::log!(Error, "cannot read the clock: {}", error.text()),
    }
    wait_for_ever();
}

/// Seconds since 1970, and the monotonic time at which that second began.
fn time_of_day(ports: Handle) -> Result<Option<(u64, u64)>, Error> {
    // Good to a second at once; programs need not wait for the better one.
    let first = cmos::read(ports)?;
    if let Some(date) = first.date_time() {
        tell(date.seconds() * 1_000_000_000 - runtime::clock::monotonic_ns());
    }
    let deadline = runtime::clock::monotonic_ns() + EDGE_WAIT_NS;
    loop {
        let now = runtime::clock::monotonic_ns();
        let reading = cmos::read(ports)?;
        if reading != first || now > deadline {
            return Ok(reading.date_time().map(|date| (date.seconds(), now)));
        }
        sleep_until(now + LOOK_INTERVAL_NS);
    }
}

fn tell(offset_ns: u64) {
    let connection = runtime::start::handle("process");
    if let Err(failure) = process::set_realtime(connection, offset_ns, &mut Buffers::new(), Options::NONE) {
        runtime::log!(Error, "the time of day was refused: {}", failure.errno().text());
    }
}

/// The work is done. A driver that ended would be started again, so it waits, and costs nothing.
fn wait_for_ever() -> ! {
    loop {
        sleep_until(abi::call::NEVER);
    }
}

/// Wait at the driver's gate, where nobody has anything to ask.
fn sleep_until(deadline: u64) {
    let gate = runtime::start::handle("gate");
    let options = Options { flags: abi::call::flags::DEADLINE_RECEIVE, deadline };
    while let Ok(received) = runtime::receive(gate, &mut Buffers::new(), options) {
        if !received.is_pulse() {
            let refusal = Reply::error(Errno::ENOSYS);
            // Fails only if the caller has left.
            let _ = runtime::reply(received.request, Message::new(refusal.label, refusal.words), &Buffers::new());
        }
    }
}
