//! The rows that native programs measure: time-stamp differences over many rounds. Under `-icount shift=0` a tick is an instruction.

use core::fmt;

use abi::{Error, Handle, Rights};
use runtime::object::{process, thread};
use runtime::{Buffers, Message, Options};

use crate::world::{self, BUFFER_ADDRESS, PRIORITY, Server};

const ROUNDS: u64 = 2_000;
const WARM_UP: u64 = 50;

/// A figure. Shown, it is a JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// What it is called.
    pub name: &'static str,
    /// Instructions.
    pub value: u64,
    /// How it was measured.
    pub how: &'static str,
}

impl fmt::Display for Row {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, value, how } = self;
        write!(formatter, r#"{{"name":"{name}","value":{value},"unit":"instructions","how":"{how}"}}"#)
    }
}

/// The time-stamp counter.
#[cfg(target_os = "none")]
fn ticks() -> u64 {
    runtime::clock::ticks()
}

/// Nothing is measured on a host.
#[cfg(not(target_os = "none"))]
fn ticks() -> u64 {
    0
}

/// Instructions of one of many calls of `body`, less what the loop itself costs.
fn measure(mut body: impl FnMut(u64) -> Result<(), Error>) -> Result<u64, Error> {
    for round in 0..WARM_UP {
        body(round)?;
    }
    let start = ticks();
    for round in 0..ROUNDS {
        body(round)?;
    }
    Ok((ticks() - start) / ROUNDS)
}

/// Answers with its words, each one more, so that nothing can be foreseen.
extern "C" fn echo_words(gate: u64) -> ! {
    let gate = Handle(gate);
    let mut next = runtime::receive_words(gate);
    while let Ok(received) = next {
        let words = received.message.words.map(|word| word.wrapping_add(1));
        next = runtime::reply_and_receive_words(received.request, Message::new(0, words), gate);
    }
    runtime::entry::end()
}

/// Receives up to as many bytes as word 0 says and sends them back if word 1 is not 0.
extern "C" fn echo_bytes(gate: u64) -> ! {
    let gate = Handle(gate);
    let (mut receive, mut back) = (0, 0);
    let mut next = runtime::receive(gate, &mut Buffers::new(), Options::NONE);
    loop {
        let Ok(received) = next else { runtime::entry::end() };
        if received.message.label == SET_UP {
            [receive, back, ..] = received.message.words;
        }
        let mut buffers = Buffers::new().receive_raw(BUFFER_ADDRESS, receive);
        if back != 0 && received.message.label != SET_UP {
            buffers = buffers.send_raw(BUFFER_ADDRESS, back);
        }
        next = runtime::reply_and_receive(
            received.request,
            Message::new(0, [received.moved, 0, 0, 0]),
            &mut buffers,
            gate,
            Options::NONE,
        );
    }
}

const SET_UP: u64 = 1;
const TRANSFER: u64 = 2;

fn words(with_words: bool) -> Result<u64, Error> {
    let server = Server::start(echo_words)?;
    let result = measure(|round| {
        let sent = if with_words { [round, round + 1, round + 2, round + 3] } else { [0; 4] };
        let answer = runtime::call_words(server.connection, Message::new(round, sent))?;
        if answer.message.words[0] == sent[0] + 1 { Ok(()) } else { Err(Error::BadArgument) }
    });
    server.stop();
    result
}

fn bytes(length: u64, back: u64) -> Result<u64, Error> {
    let server = Server::start(echo_bytes)?;
    let set_up = Message::new(SET_UP, [length, back, 0, 0]);
    runtime::call(server.connection, set_up, &mut Buffers::new(), Options::NONE)?;
    let result = measure(|round| {
        let mut buffers = Buffers::new().send_raw(BUFFER_ADDRESS, length).receive_raw(BUFFER_ADDRESS, back);
        let message = Message::new(TRANSFER, [round, 0, 0, 0]);
        let answer = runtime::call(server.connection, message, &mut buffers, Options::NONE)?;
        if answer.message.words[0] == length && answer.moved == back { Ok(()) } else { Err(Error::BadArgument) }
    });
    server.stop();
    result
}

fn null_call() -> Result<u64, Error> {
    measure(|_| {
        let information = process::handle_information(Handle::SELF_PROCESS)?;
        if information.rights == Rights::NONE { Err(Error::NoRight) } else { Ok(()) }
    })
}

fn pulse_no_waiter() -> Result<u64, Error> {
    let gate = process::create_gate(Handle::SELF_PROCESS, Handle::NONE, 0)?;
    let pulse = process::create_pulse(Handle::SELF_PROCESS, gate, 1, process::Accumulate::Or, PRIORITY, Handle::NONE)?;
    let result = measure(|round| runtime::raise(pulse, round));
    process::destroy(gate)?;
    result
}

fn thread_yield() -> Result<u64, Error> {
    measure(|_| {
        thread::yield_now();
        Ok(())
    })
}

/// Threads made, started, ended and destroyed are measured with an empty body.
extern "C" fn end_at_once(_: u64) -> ! {
    runtime::entry::end()
}

fn process_cycle() -> Result<u64, Error> {
    measure_few(|| {
        let server = Server::start(end_at_once)?;
        // Its connection fails once it is gone; until then this side lets it run.
        thread::yield_now();
        server.stop();
        Ok(())
    })
}

fn measure_few(mut body: impl FnMut() -> Result<(), Error>) -> Result<u64, Error> {
    const FEW: u64 = 20;
    body()?;
    let start = ticks();
    for _ in 0..FEW {
        body()?;
    }
    Ok((ticks() - start) / FEW)
}

/// Measure all rows; one that fails is left out and said in the log.
pub fn all(mut found: impl FnMut(Row)) {
    if let Err(error) = world::own_buffer() {
        runtime::log!(Error, "no buffer to measure with: {}", error.text());
        return;
    }
    let mut row = |name, how, value: Result<u64, Error>| match value {
        Ok(value) => found(Row { name, value, how }),
        Err(error) => runtime::log!(Error, "{name}: {}", error.text()),
    };
    row("null_call", "rights of a handle, through the ordinary object dispatch", null_call());
    row("ipc_round_trip_0", "call + reply-and-receive between two address spaces, no words", words(false));
    row("ipc_round_trip_4w", "the same with four words", words(true));
    row("ipc_round_trip_64b", "64 bytes by buffer each way", bytes(64, 64));
    row("ipc_round_trip_512b", "512 bytes by buffer each way", bytes(512, 512));
    row("ipc_round_trip_4k", "4 KiB by buffer each way", bytes(4096, 4096));
    row("ipc_round_trip_64k", "64 KiB by buffer each way", bytes(65536, 65536));
    row("pulse_no_waiter", "raise a pulse that nobody waits for", pulse_no_waiter());
    row("yield", "yield with nobody else ready", thread_yield());
    row("process_cycle", "create a process with a thread, start, end, destroy", process_cycle());
}
