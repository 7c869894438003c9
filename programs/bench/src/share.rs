//! The field's test: a pair of programs that pass a message to and fro, alone, then beside a program that only computes, all at
//! one priority under round robin. Two of the three can be run at a time, by two batons: each is to have half. And what is left to
//! a program that computes beside one that has many alarms of the shortest period.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use abi::{Error, Handle, Rights};
use runtime::object::process;
use runtime::object::process::Accumulate;
use runtime::object::pulse;
use runtime::{Buffers, Message, Options};

use crate::row::{Report, Value};
use crate::world::{BUFFER_ADDRESS, Other, WEAKER, World, given};

/// How long each is looked at, and the slice.
const TIME_NS: u64 = 50_000_000;
const SLICE_NS: u64 = 100_000;
/// Alarms, and their period.
const ALARMS: u64 = 48;
const PERIOD_NS: u64 = 10_000;
/// Bytes of the message, each way.
const LENGTH: u64 = 64;

static PAIRS: AtomicU64 = AtomicU64::new(0);
static HOGS: AtomicU64 = AtomicU64::new(0);

extern "C" fn server(argument: u64) -> ! {
    let [gate, ..] = given(argument);
    let mut request = runtime::receive(gate, &mut Buffers::new(), Options::NONE);
    while let Ok(received) = request {
        let mut buffers = Buffers::new();
        buffers.add_receive(BUFFER_ADDRESS, LENGTH);
        buffers.add_send(BUFFER_ADDRESS, LENGTH);
        request = runtime::reply_and_receive(received.request, Message::default(), &mut buffers, gate, Options::NONE);
    }
    runtime::entry::end()
}

extern "C" fn client(argument: u64) -> ! {
    let [connection, ..] = given(argument);
    loop {
        let mut buffers = Buffers::new();
        buffers.add_send(BUFFER_ADDRESS, LENGTH);
        buffers.add_receive(BUFFER_ADDRESS, LENGTH);
        if runtime::call(connection, Message::default(), &mut buffers, Options::NONE).is_err() {
            runtime::entry::end()
        }
        PAIRS.fetch_add(1, Relaxed);
    }
}

extern "C" fn hog(_: u64) -> ! {
    loop {
        HOGS.fetch_add(1, Relaxed);
    }
}

extern "C" fn taker(argument: u64) -> ! {
    let [gate, ..] = given(argument);
    while runtime::receive_words(gate).is_ok() {}
    runtime::entry::end()
}

/// What both achieve in the time that is looked at.
fn achieved(world: &World) -> Result<[u64; 2], Error> {
    // Until all are on their way.
    world.rest(10 * SLICE_NS)?;
    let before = [PAIRS.load(Relaxed), HOGS.load(Relaxed)];
    world.rest(TIME_NS)?;
    Ok([PAIRS.load(Relaxed) - before[0], HOGS.load(Relaxed) - before[1]])
}

fn start_pair(world: &World) -> Result<[Other; 2], Error> {
    let gate = world.gate()?;
    let (receiver, sender) = (world.other(Handle::NONE)?, world.other(Handle::NONE)?);
    receiver.give(gate.gate, Rights::RECEIVE)?;
    receiver.start(server, WEAKER, SLICE_NS)?;
    sender.give(gate.connection, Rights::SEND)?;
    sender.start(client, WEAKER, SLICE_NS)?;
    Ok([receiver, sender])
}

/// The pair's and the hog's share, each of what it achieves alone, in thousandths.
fn shares(world: &World) -> Result<[u64; 2], Error> {
    let pair = start_pair(world)?;
    let [pairs_alone, _] = achieved(world)?;
    let other = world.other(Handle::NONE)?;
    other.start(hog, WEAKER, SLICE_NS)?;
    let [pairs, hogs] = achieved(world)?;
    for member in pair {
        member.end()?;
    }
    let [_, hogs_alone] = achieved(world)?;
    other.end()?;
    Ok([pairs * 1000 / pairs_alone.max(1), hogs * 1000 / hogs_alone.max(1)])
}

/// The share of a program that computes, of what it has alone: while nobody receives the alarms, and while one that is as strong
/// as itself does nothing else.
fn beside_alarms(world: &World) -> Result<[u64; 2], Error> {
    let other = world.other(Handle::NONE)?;
    other.start(hog, WEAKER, SLICE_NS)?;
    let [_, alone] = achieved(world)?;
    let gate = world.gate()?;
    for number in 0..ALARMS {
        let alarm = process::create_pulse(Handle::SELF_PROCESS, gate.gate, number, Accumulate::Count, 1, Handle::NONE)?;
        pulse::set_alarm(alarm, world.now() + number * PERIOD_NS / ALARMS, PERIOD_NS)?;
    }
    let [_, unreceived] = achieved(world)?;
    let receiver = world.other(Handle::NONE)?;
    receiver.give(gate.gate, Rights::RECEIVE)?;
    receiver.start(taker, WEAKER, SLICE_NS)?;
    let [_, received] = achieved(world)?;
    receiver.end()?;
    gate.end()?;
    other.end()?;
    Ok([unreceived * 1000 / alone.max(1), received * 1000 / alone.max(1)])
}

/// The rows.
pub(crate) fn rows(world: &World, report: &Report) {
    let shares = shares(world);
    let share = |index: usize| shares.map(|shares: [u64; 2]| Value::Share(shares[index]));
    let how = "64-byte round trips beside a program of equal priority that only computes, of those without it";
    report.row("fair_share_pair", how, share(0));
    report.row("fair_share_hog", "loops of that program, of those without the pair", share(1));
    let shares = beside_alarms(world);
    let share = |index: usize| shares.map(|shares: [u64; 2]| Value::Share(shares[index]));
    let how = "loops of a program beside 48 alarms of the shortest period, of those without them: nobody receives them";
    report.row("share_beside_alarms", how, share(0));
    report.row("share_beside_alarms_received", "the same; one of equal priority receives them", share(1));
}
