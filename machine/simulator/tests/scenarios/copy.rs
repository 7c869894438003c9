//! Long copies are cut in pieces, between which everything can happen: a stronger thread runs, either side leaves, dies or
//! loses its memory. Each side is told once, with what was moved.

use abi::call::flags;
use abi::object::{process, thread};
use abi::thread::State;
use abi::{Error, Handle, PAGE_SIZE};
use simulator::buffer::Buffer;
use simulator::scenario::{Log, Plan, Root, Thread};
use simulator::{Answer, Exchange, User, scenario};

use crate::Pair;

/// Bytes that the kernel copies before it looks for interrupts.
const PIECE: u64 = 16 * 1024;
/// A MiB is copied in 65 µs of simulated time.
const PAGES: u64 = 512;
const LENGTH: u64 = PAGES * PAGE_SIZE;
/// A moment when some of it is copied, but not half.
const MIDDLE_NS: u64 = 40_000;
/// More than it takes to copy all of it.
const LONG_NS: u64 = 400_000;
/// Where the buffers are, in either process.
const PLACE: u64 = 0x50_0000_0000;
/// What a caller says that comes later.
const LATER: u64 = 7;

/// What copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Deliver,
    Reply,
    Read,
    Write,
}

/// What happens meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    CallerThreadDies,
    CallerProcessDies,
    ServerThreadDies,
    ServerThreadDiesOfARetriedRequest,
    ServerProcessDies,
    GateDies,
    ConnectionIsClosed,
    CallersMemoryGoes,
    CallersMemoryIsDestroyed,
    ServersMemoryGoes,
    Interrupt,
    InterruptWithGrace,
    InterruptWithGraceDeclined,
    Deadline,
    DeadlineWithGrace,
    CallerStops,
    ServerStops,
    StrongerThreadRuns,
}

const WAYS: [Way; 4] = [Way::Deliver, Way::Reply, Way::Read, Way::Write];
const EVENTS: [Event; 18] = [
    Event::CallerThreadDies,
    Event::CallerProcessDies,
    Event::ServerThreadDies,
    Event::ServerThreadDiesOfARetriedRequest,
    Event::ServerProcessDies,
    Event::GateDies,
    Event::ConnectionIsClosed,
    Event::CallersMemoryGoes,
    Event::CallersMemoryIsDestroyed,
    Event::ServersMemoryGoes,
    Event::Interrupt,
    Event::InterruptWithGrace,
    Event::InterruptWithGraceDeclined,
    Event::Deadline,
    Event::DeadlineWithGrace,
    Event::CallerStops,
    Event::ServerStops,
    Event::StrongerThreadRuns,
];

/// What is said to the caller in the end, and to the server by what copies. Nothing is said to the dead.
fn expected(way: Way, event: Event) -> (&'static str, &'static str) {
    let delivers = way == Way::Deliver;
    // A message that did not come: its server goes on waiting.
    let left = if delivers { "waits on" } else { "Gone after some" };
    match event {
        Event::CallerThreadDies | Event::CallerProcessDies => ("", left),
        Event::ServerThreadDies | Event::ServerProcessDies => ("Gone after none", ""),
        Event::ServerThreadDiesOfARetriedRequest => ("answered by the next", ""),
        Event::CallersMemoryGoes | Event::CallersMemoryIsDestroyed if delivers => ("BadAddress after half", left),
        Event::CallersMemoryGoes | Event::CallersMemoryIsDestroyed => ("answered", "LenderFault after half"),
        Event::ServersMemoryGoes if delivers => ("LenderFault after half", "BadAddress after half"),
        Event::ServersMemoryGoes => ("answered", "BadAddress after half"),
        Event::Interrupt | Event::InterruptWithGraceDeclined => ("Interrupted after none", left),
        Event::Deadline => ("TimedOut after none", left),
        Event::GateDies
        | Event::ConnectionIsClosed
        | Event::InterruptWithGrace
        | Event::DeadlineWithGrace
        | Event::CallerStops
        | Event::ServerStops
        | Event::StrongerThreadRuns => ("answered", "whole"),
    }
}

fn said(answer: &Answer) -> String {
    let moved = match answer.moved {
        0 => "none",
        LENGTH => "whole",
        moved if moved == LENGTH / 2 => "half",
        moved if moved % PIECE == 0 => "some",
        moved => panic!("{moved} bytes are no whole pieces"),
    };
    answer.error().map_or_else(|| moved.to_string(), |error| format!("{error:?} after {moved}"))
}

/// Receive and copy once, then answer whoever calls.
async fn serve(user: User, way: Way, gate: Handle, log: Log) {
    let receive = user.receive(gate);
    let first = if way == Way::Deliver { receive.room(PLACE, LENGTH).await } else { receive.await };
    if way != Way::Deliver {
        log.note("copies");
    }
    let copied = match way {
        Way::Deliver => first,
        Way::Reply => user.reply(first.request).send(PLACE, LENGTH).word(1).await,
        Way::Read => user.read_request(first.request, 0, PLACE, LENGTH).await,
        Way::Write => user.write_request(first.request, 0, PLACE, LENGTH).await,
    };
    if way == Way::Deliver && (first.words[0] == LATER || first.status().is_notice()) {
        log.note("server: waits on");
    } else {
        log.note(format!("server: {}", said(&copied)));
    }
    // Whatever became of it: it can be answered now, or it is gone.
    let answered = user.reply(first.request).word(1).await.error();
    let done = way == Way::Reply && copied.error().is_none();
    let open = match copied.error() {
        Some(Error::Gone) => false,
        Some(Error::BadAddress) if way == Way::Deliver => false,
        _ => !done && first.request != 0,
    };
    assert_eq!(answered, (!open).then_some(Error::Gone), "{way:?}");
    loop {
        let message = user.receive(gate).await;
        if message.error().is_some() {
            break;
        }
        if message.request != 0 {
            user.reply(message.request).ok().await;
        }
    }
}

/// The call whose copy is disturbed.
fn disturbed_call(user: &User, way: Way, event: Event, connection: Handle) -> Exchange {
    let call = user.call(connection);
    let call = match way {
        Way::Deliver | Way::Read => call.send(PLACE, LENGTH),
        Way::Reply | Way::Write => call.room(PLACE, LENGTH),
    };
    match event {
        Event::Interrupt | Event::InterruptWithGrace => call.flags(flags::INTERRUPTIBLE),
        Event::InterruptWithGraceDeclined => call.flags(flags::INTERRUPTIBLE | flags::NO_GRACE),
        Event::Deadline | Event::DeadlineWithGrace => {
            call.deadline(user.now() + MIDDLE_NS + 30_000, flags::DEADLINE_REPLY)
        }
        Event::ServerThreadDiesOfARetriedRequest => call.flags(flags::RETRY),
        _ => call,
    }
}

struct Stage {
    pair: Pair,
    server: Thread,
    client: Thread,
    /// The buffers, each in its process.
    client_buffer: Buffer,
    server_buffer: Buffer,
    log: Log,
}

impl Stage {
    async fn new(root: &Root, way: Way, event: Event) -> Self {
        let with_grace =
            matches!(event, Event::InterruptWithGrace | Event::InterruptWithGraceDeclined | Event::DeadlineWithGrace);
        let pair = Pair::with_gate(root, 0, if with_grace { 100 * LONG_NS } else { 0 }).await;
        let client_buffer = root.buffer(&pair.client, PLACE, PAGES).await;
        let server_buffer = root.buffer(&pair.server, PLACE, PAGES).await;
        let log = Log::new();
        let (gate, connection) = (pair.receiving, pair.sending);
        let noted = log.clone();
        let plan = Plan::new(&pair.server, "server").priority(20);
        let server = root.start(plan, |user| serve(user, way, gate, noted)).await;
        root.until_state(server, State::Receive).await;
        let noted = log.clone();
        let client = root
            .start(Plan::new(&pair.client, "client").priority(10), |user| async move {
                if way == Way::Deliver {
                    noted.note("copies");
                }
                let answer = disturbed_call(&user, way, event, connection).await;
                let said = match (answer.error(), answer.words[0]) {
                    (None, 1) => "answered".to_string(),
                    (None, _) => "answered by the next".to_string(),
                    _ => said(&answer),
                };
                noted.note(format!("client: {said}"));
            })
            .await;
        Self { pair, server, client, client_buffer, server_buffer, log }
    }

    /// Let it happen.
    async fn happen(&self, root: &Root, event: Event) {
        let user = &root.user;
        let half = [PLACE + LENGTH / 2, LENGTH / 2, 0, 0];
        let all_the_while = |thread: Thread| async move {
            user.method(thread.handle, thread::STOP, [0; 4]).ok().await;
            root.sleep(LONG_NS).await;
            user.method(thread.handle, thread::CONTINUE, [0; 4]).ok().await;
        };
        match event {
            Event::CallerThreadDies => root.destroy(self.client.handle).await,
            Event::CallerProcessDies => root.destroy(self.pair.client.handle).await,
            Event::ServerThreadDies | Event::ServerThreadDiesOfARetriedRequest => {
                root.destroy(self.server.handle).await;
            }
            Event::ServerProcessDies => root.destroy(self.pair.server.handle).await,
            Event::GateDies => root.destroy(self.pair.gate).await,
            Event::ConnectionIsClosed => {
                let words = [self.pair.sending.0, 0, 0, 0];
                user.method(self.pair.client.handle, process::CLOSE, words).ok().await;
            }
            Event::CallersMemoryGoes => {
                user.method(self.pair.client.handle, process::UNMAP, half).ok().await;
            }
            Event::CallersMemoryIsDestroyed => {
                // The second half is another Memory's now: replaced before, as nothing is copied there yet.
                user.method(self.pair.client.handle, process::UNMAP, half).ok().await;
                let memory = root.memory(1).await;
                let mapped = root.map(self.pair.client.handle, memory, half[0], 3, 1).await;
                assert_eq!(mapped.error(), None);
                root.destroy(memory).await;
            }
            Event::ServersMemoryGoes => {
                user.method(self.pair.server.handle, process::UNMAP, half).ok().await;
            }
            Event::Interrupt | Event::InterruptWithGrace | Event::InterruptWithGraceDeclined => {
                user.method(self.client.handle, thread::INTERRUPT, [0; 4]).ok().await;
            }
            Event::Deadline | Event::DeadlineWithGrace => {}
            Event::CallerStops => all_the_while(self.client).await,
            Event::ServerStops => all_the_while(self.server).await,
            Event::StrongerThreadRuns => {
                let before = user.now();
                // As it is: after every piece, at the latest.
                for _ in 0..10 {
                    let due = user.now() + 2_000;
                    root.sleep(2_000).await;
                    assert!(user.now() < due + 3_000, "woken {} ns late", user.now() - due);
                }
                let _ = user.compute(LONG_NS).await;
                assert!(user.now() < before + LONG_NS + 60_000);
            }
        }
    }
}

async fn disturb(root: &Root, way: Way, event: Event) {
    let before = root.usage(Handle::SELF_PROCESS).await.used;
    let stage = Stage::new(root, way, event).await;
    let world = root.user.world().clone();
    let (source, destination) = match way {
        Way::Deliver | Way::Read => (stage.client_buffer, stage.server_buffer),
        Way::Reply | Way::Write => (stage.server_buffer, stage.client_buffer),
    };
    let bytes: Vec<u8> = (0..LENGTH / 8).flat_map(|_| world.random.next().to_le_bytes()).collect();
    source.write(&world, 0, &bytes);
    root.until_noted(&stage.log, 1).await;
    root.sleep(MIDDLE_NS).await;
    assert_eq!(stage.log.len(), 1, "{way:?} {event:?}: nothing is told in the middle of it");
    stage.happen(root, event).await;
    root.sleep(LONG_NS).await;

    let (client, server) = expected(way, event);
    if event == Event::ServerThreadDiesOfARetriedRequest {
        // The request waits for whoever receives next: it begins anew.
        let again = root.user.receive(stage.pair.gate).ok().await;
        assert_ne!(again.status & abi::Status::RETRIED, 0);
        root.user.reply(again.request).word(2).ok().await;
    } else if server == "waits on" {
        let later = root.connect(stage.pair.gate, 8).await;
        root.user.call(later).word(LATER).ok().await;
        root.close(later).await;
    }
    let mut told = vec!["copies".to_string()];
    told.extend((!client.is_empty()).then(|| format!("client: {client}")));
    told.extend((!server.is_empty()).then(|| format!("server: {server}")));
    root.until_noted(&stage.log, told.len()).await;
    root.sleep(LONG_NS).await;
    let mut notes = stage.log.notes();
    notes.sort_unstable();
    told.sort_unstable();
    assert_eq!(notes, told, "{way:?} {event:?}");
    if server == "whole" {
        assert!(destination.bytes(&world) == bytes, "{way:?} {event:?}: the bytes are other ones");
    }

    let Stage { pair, server, client, .. } = stage;
    root.dismantle(pair.client).await;
    root.dismantle(pair.server).await;
    root.forget(&[pair.gate, server.handle, server.baton, client.handle, client.baton]).await;
    let after = root.usage(Handle::SELF_PROCESS).await.used;
    let memories = |quota| abi::Quota { memories: 0, ..quota };
    assert_eq!(memories(after), memories(before), "{way:?} {event:?}");
}

#[test]
fn whatever_happens_in_the_middle_of_a_long_copy_each_side_is_told_once_with_what_was_moved() {
    scenario(|root| async move {
        for way in WAYS {
            for event in EVENTS {
                disturb(&root, way, event).await;
            }
        }
    });
}
