//! Calls: of a kernel object, and between address spaces.

use abi::trace::{RECEIVED, class_of};
use abi::{Error, Handle, Rights};
use runtime::object::{memory, process};
use runtime::{Buffers, Message, Options};

use crate::row::{ROUNDS, Report, Value, measure};
use crate::world::{BUFFER_ADDRESS, Crowd, PRIORITY, World, given};

/// Answers with its words, each one more, so that nothing can be foreseen.
extern "C" fn echo_words(argument: u64) -> ! {
    let [gate, ..] = given(argument);
    let mut next = runtime::receive_words(gate);
    while let Ok(received) = next {
        let words = received.message.words.map(|word| word.wrapping_add(1));
        next = runtime::reply_and_receive_words(received.request, Message::new(0, words), gate);
    }
    runtime::entry::end()
}

/// Asks another what it is asked.
extern "C" fn pass_on(argument: u64) -> ! {
    let [gate, next_server, ..] = given(argument);
    let mut next = runtime::receive_words(gate);
    while let Ok(received) = next {
        let Ok(answer) = runtime::call_words(next_server, received.message) else { break };
        next = runtime::reply_and_receive_words(received.request, answer.message, gate);
    }
    runtime::entry::end()
}

/// Receives up to as many bytes as word 0 of the first message says and sends back as many as its word 1 says.
extern "C" fn echo_bytes(argument: u64) -> ! {
    let [gate, ..] = given(argument);
    let mut next = runtime::receive(gate, &mut Buffers::new(), Options::NONE);
    let [receive, back, ..] = next.map_or([0; 4], |received| received.message.words);
    while let Ok(received) = next {
        let mut buffers = Buffers::new();
        buffers.add_receive(BUFFER_ADDRESS, receive);
        buffers.add_send(BUFFER_ADDRESS, back);
        let message = Message::new(0, [received.moved, 0, 0, 0]);
        next = runtime::reply_and_receive(received.request, message, &mut buffers, gate, Options::NONE);
    }
    runtime::entry::end()
}

fn null_call() -> Result<Value, Error> {
    measure(ROUNDS, |_| {
        let information = process::handle_information(Handle::SELF_PROCESS)?;
        if information.rights == Rights::NONE { Err(Error::NoRight) } else { Ok(()) }
    })
}

/// Rounds of a call with words to whoever answers each with one more.
fn call_with_words<const WORDS: bool>(connection: Handle) -> Result<Value, Error> {
    measure(ROUNDS, |round| {
        let sent = if WORDS { [round, round + 1, round + 2, round + 3] } else { [0; 4] };
        let answer = runtime::call_words(connection, Message::new(round, sent))?;
        if answer.message.words[0] == sent[0] + 1 { Ok(()) } else { Err(Error::BadArgument) }
    })
}

fn words<const WORDS: bool>(world: &World, crowded: bool) -> Result<Value, Error> {
    let server = world.server(echo_words, PRIORITY)?;
    let value = if crowded {
        let crowds = (Crowd::new(world, Handle::SELF_PROCESS)?, Crowd::new(world, server.other.process)?);
        let value = call_with_words::<WORDS>(server.gate.connection);
        crowds.0.end()?;
        crowds.1.end()?;
        value
    } else {
        call_with_words::<WORDS>(server.gate.connection)
    };
    server.end()?;
    value
}

/// A round trip that the kernel notes in its trace.
fn traced(world: &World) -> Result<Value, Error> {
    memory::trace(world.boot.trace, class_of(RECEIVED))?;
    let value = words::<false>(world, false);
    memory::trace(world.boot.trace, 0)?;
    value
}

fn nested(world: &World) -> Result<Value, Error> {
    let last = world.server(echo_words, PRIORITY)?;
    let (gate, first) = (world.gate()?, world.other(Handle::NONE)?);
    first.give(gate.gate, Rights::RECEIVE)?;
    first.give(last.gate.connection, Rights::SEND)?;
    first.start(pass_on, PRIORITY, 0)?;
    world.rest(20_000)?;
    first.make_passive()?;
    last.other.make_passive()?;
    let value = call_with_words::<true>(gate.connection);
    first.end()?;
    gate.end()?;
    last.end()?;
    value
}

fn bytes(world: &World, length: u64, back: u64) -> Result<Value, Error> {
    let server = world.server(echo_bytes, PRIORITY)?;
    let connection = server.gate.connection;
    let set_up = Message::new(0, [length, back, 0, 0]);
    runtime::call(connection, set_up, &mut Buffers::new(), Options::NONE)?;
    let value = measure(ROUNDS, |round| {
        let mut buffers = Buffers::new();
        buffers.add_send(BUFFER_ADDRESS, length);
        if back != 0 {
            buffers.add_receive(BUFFER_ADDRESS, back);
        }
        let message = Message::new(0, [round, 0, 0, 0]);
        let answer = runtime::call(connection, message, &mut buffers, Options::NONE)?;
        if answer.message.words[0] == length && answer.moved == back { Ok(()) } else { Err(Error::BadArgument) }
    });
    server.end()?;
    value
}

/// The rows.
pub(crate) fn rows(world: &World, report: &Report) {
    let row = |name, how, value| report.row(name, how, value);
    row("null_call", "rights of a handle, through the ordinary object dispatch", null_call());
    let how = "call + reply-and-receive between two address spaces, no words";
    row("ipc_round_trip_0", how, words::<false>(world, false));
    row("ipc_round_trip_4w", "the same with four words", words::<true>(world, false));
    let how = "the same as ipc_round_trip_0, while messages are traced";
    row("ipc_round_trip_0_traced", how, traced(world));
    let how = "the same as ipc_round_trip_0, both processes with 100 open handles and 50 ready threads";
    row("ipc_round_trip_0_crowded", how, words::<false>(world, true));
    row("ipc_round_trip_4w_crowded", "likewise with four words", words::<true>(world, true));
    let how = "client, server, server and back, both servers without a baton of their own, four words";
    row("ipc_round_trip_passive_nested", how, nested(world));
    row("ipc_round_trip_64b", "64 bytes by buffer each way", bytes(world, 64, 64));
    row("ipc_round_trip_512b", "512 bytes by buffer each way", bytes(world, 512, 512));
    row("ipc_round_trip_4k", "4 KiB by buffer each way", bytes(world, 4096, 4096));
    row("ipc_round_trip_64k", "64 KiB by buffer one way", bytes(world, 65536, 0));
}
