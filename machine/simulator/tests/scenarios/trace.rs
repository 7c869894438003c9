//! The trace: what is noted, under which id, what is lost, and who may see it.

use std::cell::RefCell;
use std::rc::Rc;

use abi::call::flags;
use abi::object::{access, gate as gate_method, memory, process, pulse, thread};
use abi::thread::State;
use abi::trace::{self, CHOSEN, CLASSES, EVENTS, Event, RING_LENGTH};
use abi::{Error, Handle, PAGE_SIZE, Rights};
use simulator::Settings;
use simulator::scenario::{DATA, Log, Plan, Root, Thread};
use simulator::{User, scenario, scenario_with};

use crate::Pair;

/// Where root has the ring.
const RING: u64 = 0x50_0000_0000;
const MESSAGE: u64 = trace::class_of(trace::SENT);
const MARK: u64 = trace::class_of(trace::MARKED);

/// Reads the ring as a program does: mapped.
struct Reader {
    root: Root,
    read: u64,
}

impl Reader {
    async fn new(root: &Root, classes: u64) -> Self {
        let mapped = root.map(Handle::SELF_PROCESS, root.record().trace, RING, access::READ, RING_LENGTH / PAGE_SIZE);
        assert_eq!(mapped.await.error(), None);
        let reader = Self { root: root.clone(), read: 0 };
        reader.switch(classes).await;
        reader
    }

    async fn switch(&self, classes: u64) -> u64 {
        let ring = self.root.record().trace;
        self.root.user.method(ring, memory::TRACE, [classes, 0, 0, 0]).ok().await.words[0]
    }

    async fn written(&self) -> u64 {
        self.root.user.load_word(RING).await / size_of::<Event>() as u64
    }

    async fn event(&self, number: u64) -> Event {
        let place = RING + PAGE_SIZE + number % EVENTS as u64 * size_of::<Event>() as u64;
        let bytes = self.root.user.load(place, size_of::<Event>() as u64).await.expect("the ring is mapped");
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let (time, kind) = (word(0), word(24));
        Event {
            time: [time as u32, (time >> 32) as u32],
            trace: word(8),
            word: word(16),
            label: kind as u32,
            thread: (kind >> 32) as u16,
            event: (kind >> 48) as u16,
        }
    }

    /// What was noted since the last time, nothing of it lost.
    async fn events(&mut self) -> Vec<Event> {
        let written = self.written().await;
        assert!(written - self.read <= EVENTS as u64);
        let mut events = Vec::new();
        for number in self.read..written {
            events.push(self.event(number).await);
        }
        self.read = written;
        assert!(events.windows(2).all(|pair| pair[0].ticks() <= pair[1].ticks()), "in order of time");
        events
    }
}

async fn mark(user: &User, id: u64, label: u64, word: u64) {
    user.method(Handle::CURRENT_THREAD, thread::TRACE, [id, label, word, 0]).ok().await;
}

/// The slot of a thread.
async fn slot(root: &Root, process: Handle, of: Thread) -> u16 {
    let mut below = 0;
    loop {
        let next = root.user.method(process, process::NEXT_THREAD, [below, 0, 0, 0]).repeat().await;
        below = next.words[1];
        let same = root.user.method(next.handle(), thread::NAME, [0; 4]).ok().await.words
            == root.user.method(of.handle, thread::NAME, [0; 4]).ok().await.words;
        root.close(next.handle()).await;
        if same {
            return below as u16;
        }
    }
}

/// Which event, of which trace.
fn outline(events: &[Event]) -> Vec<(&'static str, u64)> {
    events.iter().map(|event| (trace::event_name(event.event).unwrap_or("?"), event.trace)).collect()
}

#[test]
fn only_the_oldest_events_are_overwritten() {
    let settings = Settings { check_every: 5000, spurious_per_mille: 0, ..Settings::default() };
    scenario_with(settings, |root| async move {
        let reader = Reader::new(&root, MARK).await;
        let count = EVENTS as u64 + 777;
        for number in 0..count {
            mark(&root.user, 0, number % 5, number).await;
        }
        assert_eq!(reader.switch(0).await, MARK);
        mark(&root.user, 0, 0, u64::MAX).await;
        assert_eq!(reader.written().await, count);
        for number in (count - EVENTS as u64..count).step_by(97).chain([count - EVENTS as u64, count - 1]) {
            let event = reader.event(number).await;
            assert_eq!((event.event, event.word, event.label), (trace::MARKED, number, (number % 5) as u32));
        }
    });
}

#[test]
fn each_class_is_switched_for_itself() {
    scenario(|root| async move {
        let mut reader = Reader::new(&root, 0).await;
        let pager = root.connect(root.own_gate(), 1).await;
        for (number, (name, bit)) in CLASSES.iter().enumerate() {
            let number = 5 + number as u32;
            let pair = Pair::new(&root).await;
            let (gate, connection) = (pair.receiving, pair.sending);
            let line = root.pulse(&pair.server, pair.gate, 4, 50, false, Handle::NONE).await;
            let alarm = root.pulse(&pair.server, pair.gate, 5, 50, false, Handle::NONE).await;
            let bind = [root.record().interrupts.0, u64::from(number), 0, 0];
            root.user.method(line, pulse::BIND_INTERRUPT, bind).ok().await;
            assert!(reader.events().await.is_empty(), "nothing is noted while all classes are off");
            reader.switch(*bit).await;
            let server = root.start(Plan::new(&pair.server, "server").priority(50), move |user| async move {
                let mut message = user.receive(gate).ok().await;
                let mut pulses = 0;
                loop {
                    message = if message.request == 0 {
                        pulses += 1;
                        if pulses == 2 {
                            return;
                        }
                        user.receive(gate).ok().await
                    } else {
                        user.reply_and_receive(message.request, gate).ok().await
                    };
                }
            });
            let server = server.await;
            let client =
                root.start(Plan::new(&pair.client, "client").priority(40).fault(pager), move |user| async move {
                    mark(&user, 0, 0, 0).await;
                    user.call(connection).ok().await;
                    assert!(user.load(1 << 20, 1).await.is_err());
                });
            let client = client.await;
            let fault = root.user.receive(root.own_gate()).ok().await;
            root.user.reply(fault.request).label(1).ok().await;
            let again = root.user.receive(root.own_gate()).ok().await;
            root.user.reply(again.request).label(1).ok().await;
            root.until_state(client, State::Dead).await;
            root.alarm(alarm, root.user.now() + 10_000, 0).await;
            root.user.world().set_line(number, true);
            root.until_state(server, State::Dead).await;
            reader.switch(0).await;
            root.user.world().set_line(number, false);
            let events = reader.events().await;
            assert!(!events.is_empty(), "{name}");
            assert!(events.iter().all(|event| trace::class_of(event.event) == *bit), "{name}: {events:?}");
            root.dismantle(pair.client).await;
            root.dismantle(pair.server).await;
        }
    });
}

#[test]
fn a_chosen_trace_id_goes_with_the_call_through_every_server_and_back() {
    scenario(|root| async move {
        let mut reader = Reader::new(&root, 0).await;
        let (outer, inner) = (Pair::new(&root).await, Pair::new(&root).await);
        let to_inner = root.give_connection(&outer.server, inner.gate, 78).await;
        let log = Log::new();
        let (gate, noted) = (outer.receiving, log.clone());
        let first = root
            .start(Plan::new(&outer.server, "outer").priority(20), move |user| async move {
                let message = user.receive(gate).ok().await;
                let said = user.method(gate, gate_method::REQUEST_INFORMATION, [message.request, 0, 0, 0]).ok().await;
                noted.note(format!("outer sees {:#x}", said.words[2] & !CHOSEN));
                user.call(to_inner).label(8).ok().await;
                user.reply_and_receive(message.request, gate).label(2).await;
            })
            .await;
        let (gate, noted) = (inner.receiving, log.clone());
        let second = root
            .start(Plan::new(&inner.server, "inner").priority(20), move |user| async move {
                let message = user.receive(gate).ok().await;
                let said = user.method(gate, gate_method::REQUEST_INFORMATION, [message.request, 0, 0, 0]).ok().await;
                noted.note(format!("inner sees {:#x}", said.words[2] & !CHOSEN));
                user.reply_and_receive(message.request, gate).label(3).await;
            })
            .await;
        root.until_state(first, State::Receive).await;
        root.until_state(second, State::Receive).await;
        reader.switch(MESSAGE | MARK).await;
        let (connection, noted) = (outer.sending, log.clone());
        root.start(Plan::new(&outer.client, "client").priority(30), move |user| async move {
            mark(&user, 0x77, 6, 9).await;
            user.call(connection).label(7).ok().await;
            noted.note("answered");
        })
        .await;
        root.until_noted(&log, 3).await;
        reader.switch(0).await;
        log.assert(&["outer sees 0x77", "inner sees 0x77", "answered"]);
        let id = 0x77 | CHOSEN;
        let mut events = reader.events().await;
        events.retain(|event| event.trace == id);
        let expected = ["MARKED", "RECEIVED", "RECEIVED", "REPLIED", "REPLIED"].map(|name| (name, id));
        assert_eq!(outline(&events), expected);
        assert_eq!(events.iter().map(|event| event.label).collect::<Vec<_>>(), [6, 7, 8, 3, 2]);
        let outer = slot(&root, outer.server.handle, first).await;
        let inner = slot(&root, inner.server.handle, second).await;
        assert_eq!(events[1..].iter().map(|event| event.thread).collect::<Vec<_>>(), [outer, inner, inner, outer]);
        assert_eq!((events[1].word, events[2].word), (events[4].word, events[3].word), "requests");
    });
}

#[test]
fn a_call_without_a_trace_id_gets_one_of_its_own() {
    scenario(|root| async move {
        let mut reader = Reader::new(&root, 0).await;
        let (outer, inner) = (Pair::new(&root).await, Pair::new(&root).await);
        let to_inner = root.give_connection(&outer.server, inner.gate, 78).await;
        let log = Log::new();
        let seen = Rc::new(RefCell::new(Vec::new()));
        for (pair, next) in [(&outer, Some(to_inner)), (&inner, None)] {
            let (gate, seen) = (pair.receiving, seen.clone());
            let server = root.start(Plan::new(&pair.server, "server").priority(20), move |user| async move {
                let mut message = user.receive(gate).ok().await;
                loop {
                    if next.is_none() {
                        let asked = user.method(gate, gate_method::REQUEST_INFORMATION, [message.request, 0, 0, 0]);
                        let id = asked.ok().await.words[2];
                        seen.borrow_mut().push(id);
                    }
                    if let Some(next) = next {
                        // With a segment: the same by the other ways through the kernel.
                        user.call(next).send(DATA, 8).ok().await;
                    }
                    message = user.reply_and_receive(message.request, gate).ok().await;
                }
            });
            root.until_state(server.await, State::Receive).await;
        }
        reader.switch(MESSAGE).await;
        let (connection, noted) = (outer.sending, log.clone());
        root.start(Plan::new(&outer.client, "client").priority(30), move |user| async move {
            for _ in 0..2 {
                user.call(connection).ok().await;
            }
            noted.note("done");
        })
        .await;
        root.until_noted(&log, 1).await;
        reader.switch(0).await;
        let mut events = reader.events().await;
        // Root itself waits and times out meanwhile.
        events.retain(|event| event.event != trace::LEFT);
        let (first, second) = (events[0].word, events[4].word);
        assert_ne!(first, second);
        // Plain calls and answers go the shortest way, which leaves the id to the reader.
        let one = |id| [("RECEIVED", 0), ("RECEIVED", id), ("REPLIED", 0), ("REPLIED", 0)];
        assert_eq!(outline(&events), [one(first), one(second)].concat());
        assert_eq!(*seen.borrow(), [first, second]);
    });
}

#[test]
fn an_answer_that_was_put_off_is_of_its_callers_trace() {
    scenario(|root| async move {
        let mut reader = Reader::new(&root, 0).await;
        let pair = Pair::new(&root).await;
        let log = Log::new();
        let gate = pair.receiving;
        root.start(Plan::new(&pair.server, "server").priority(20), move |user| async move {
            mark(&user, 0x99, 0, 0).await;
            let (first, second) = (user.receive(gate).ok().await, user.receive(gate).ok().await);
            // On its own baton.
            user.receive(gate).poll().await;
            user.reply(second.request).ok().await;
            user.reply(first.request).ok().await;
        })
        .await;
        reader.switch(MESSAGE).await;
        let connection = pair.sending;
        for id in [1, 2] {
            let noted = log.clone();
            root.start(Plan::new(&pair.client, "client").priority(30 - id as u8), move |user| async move {
                mark(&user, id, 0, 0).await;
                user.call(connection).ok().await;
                noted.note("answered");
            })
            .await;
        }
        root.until_noted(&log, 2).await;
        reader.switch(0).await;
        let mut events = reader.events().await;
        events.retain(|event| matches!(event.event, trace::RECEIVED | trace::REPLIED));
        let [one, two] = [1, 2].map(|id| id | CHOSEN);
        assert_eq!(outline(&events), [("RECEIVED", one), ("RECEIVED", two), ("REPLIED", two), ("REPLIED", one)]);
    });
}

#[test]
fn a_pulses_baton_brings_its_trace_along() {
    scenario(|root| async move {
        let mut reader = Reader::new(&root, 0).await;
        let (pair, behind) = (Pair::new(&root).await, Pair::new(&root).await);
        let carried = root.baton(&pair.server, 35).await;
        let event_pulse = root.pulse(&pair.server, pair.gate, 2, 35, false, carried).await;
        let (gate, onward) = (behind.receiving, root.give_connection(&pair.server, behind.gate, 5).await);
        let server = root.start(Plan::new(&behind.server, "behind").priority(20), move |user| async move {
            let message = user.receive(gate).ok().await;
            user.reply_and_receive(message.request, gate).await;
        });
        root.until_state(server.await, State::Receive).await;
        let log = Log::new();
        let (gate, noted) = (pair.receiving, log.clone());
        let taker = root
            .start(Plan::new(&pair.server, "taker").priority(40), move |user| async move {
                user.receive(gate).ok().await;
                mark(&user, 0x55, 0, 0).await;
                user.receive(gate).ok().await;
                user.call(onward).ok().await;
                noted.note("done");
            })
            .await;
        root.until_state(taker, State::Receive).await;
        root.user.method(taker.handle, thread::SET_BATON, [0; 4]).ok().await;
        root.user.raise(event_pulse, 1).ok().await;
        root.until_state(taker, State::Receive).await;
        reader.switch(MESSAGE | trace::class_of(trace::TAKEN)).await;
        root.user.raise(event_pulse, 1).ok().await;
        root.until_noted(&log, 1).await;
        reader.switch(0).await;
        let mut events = reader.events().await;
        events.retain(|event| event.event != trace::RAISED && event.trace == 0x55 | CHOSEN);
        assert_eq!(outline(&events).iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["RECEIVED", "REPLIED"]);
    });
}

#[test]
fn a_retried_request_keeps_its_trace() {
    scenario(|root| async move {
        let mut reader = Reader::new(&root, MESSAGE).await;
        let pair = Pair::new(&root).await;
        let (gate, connection) = (pair.receiving, pair.sending);
        let dying = root.process().await;
        let theirs = root.give_gate(&dying, pair.gate).await;
        root.start(Plan::new(&dying, "dying").priority(20), move |user| async move {
            user.receive(theirs).ok().await;
            user.exception(6, 0).await.expect("it ends");
        })
        .await;
        let log = Log::new();
        let noted = log.clone();
        root.start(Plan::new(&pair.client, "client").priority(15), move |user| async move {
            mark(&user, 3, 0, 0).await;
            user.call(connection).flags(flags::RETRY).ok().await;
            noted.note("answered");
        })
        .await;
        root.sleep(100_000).await;
        root.start(Plan::new(&pair.server, "next").priority(20), move |user| async move {
            let message = user.receive(gate).ok().await;
            user.reply(message.request).ok().await;
        })
        .await;
        root.until_noted(&log, 1).await;
        reader.switch(0).await;
        let mut events = reader.events().await;
        events.retain(|event| event.trace == 3 | CHOSEN && event.event != trace::SENT);
        let names: Vec<_> = outline(&events).iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["RECEIVED", "RECEIVED", "REPLIED"]);
    });
}

#[test]
fn a_wait_that_ends_early_says_why() {
    scenario(|root| async move {
        let mut reader = Reader::new(&root, MESSAGE).await;
        let pair = Pair::new(&root).await;
        let (gate, connection) = (pair.receiving, pair.sending);
        root.start(Plan::new(&pair.server, "server").priority(20), move |user| async move {
            user.receive(gate).ok().await;
            user.compute(100_000).await.expect("it only takes time");
        })
        .await;
        let client = root.start(Plan::new(&pair.client, "client").priority(15), move |user| async move {
            let until = user.now() + 20_000;
            let answer = user.call(connection).deadline(until, flags::DEADLINE_REPLY).await;
            assert_eq!(answer.error(), Some(Error::TimedOut));
        });
        let client = client.await;
        root.until_state(client, State::Dead).await;
        reader.switch(0).await;
        let client = slot(&root, pair.client.handle, client).await;
        let events = reader.events().await;
        let received = events.iter().find(|event| event.event == trace::RECEIVED).expect("it was received");
        let left = events.iter().find(|event| event.event == trace::LEFT && event.thread == client).expect("it left");
        assert_eq!((left.label, left.word), (Error::TimedOut as u32, received.word));
    });
}

#[test]
fn threads_tell_their_process_and_name() {
    scenario(|root| async move {
        let mut reader = Reader::new(&root, trace::class_of(trace::STARTED)).await;
        let child = root.process().await;
        let started = root.start(Plan::new(&child, "a name of 16 by").priority(20), |_| async {}).await;
        root.until_state(started, State::Dead).await;
        reader.switch(0).await;
        let slot = slot(&root, child.handle, started).await;
        let events = reader.events().await;
        let of = |kind| *events.iter().find(|event| event.event == kind && event.thread == slot).expect("noted");
        let name = [of(trace::NAMED).trace.to_le_bytes(), of(trace::NAMED).word.to_le_bytes()].concat();
        assert_eq!(name, b"a name of 16 by\0");
        assert_eq!((of(trace::STARTED).word, of(trace::ENDED).word), (child.identity, child.identity));
        assert_eq!(of(trace::STARTED).label, of(trace::ENDED).label);
    });
}

#[test]
fn nobody_reads_or_switches_the_trace_without_its_handle_and_the_rights() {
    scenario(|root| async move {
        let (user, ring) = (root.user.clone(), root.record().trace);
        let classes = [MESSAGE, 0, 0, 0];
        // Other Memory is no ring, whatever its rights.
        let plain = root.memory(1).await;
        user.method(plain, memory::TRACE, classes).fails(Error::WrongKind).await;
        user.method(Handle::NONE, memory::TRACE, classes).fails(Error::BadHandle).await;
        // Nobody writes it, and nobody destroys it.
        let writable = root.map(Handle::SELF_PROCESS, ring, RING, access::READ | access::WRITE, 1).await;
        assert_eq!(writable.error(), Some(Error::NoRight));
        user.method(Handle::SELF_PROCESS, process::DESTROY, [ring.0, 0, 0, 0]).fails(Error::NoRight).await;
        // A handle for looking does not switch.
        let child = root.process().await;
        let looking = root.give(&child, ring, Rights::READ).await;
        let log = Log::new();
        let noted = log.clone();
        root.start(Plan::new(&child, "looking").priority(20), move |user| async move {
            user.method(looking, memory::TRACE, classes).fails(Error::NoRight).await;
            noted.note("looked");
        })
        .await;
        root.until_noted(&log, 1).await;
        let part = [Handle::SELF_PROCESS.0, PAGE_SIZE, PAGE_SIZE, u64::from(Rights::ALL.0)];
        let part = user.method(ring, memory::DERIVE, part).ok().await.handle();
        user.method(part, memory::TRACE, classes).fails(Error::WrongKind).await;
        assert_eq!(root.map(Handle::SELF_PROCESS, part, RING, access::READ, 1).await.error(), None);
    });
}
