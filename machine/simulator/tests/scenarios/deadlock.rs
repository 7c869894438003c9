//! Deadlock is an answer: a call that would wait for itself fails and says which cycle it would have closed, and nobody
//! is accused who could still be answered.

use std::cell::Cell;
use std::rc::Rc;

use abi::object::process;
use abi::thread::State;
use abi::{Error, Handle, Quota};
use simulator::scenario;
use simulator::scenario::{DATA_PAGES, Log, Plan, Process, QUOTA, Root, Thread};

use crate::Pair;

/// The longest chain of gates that is looked at.
const CHAIN: usize = 16;

async fn big_process(root: &Root) -> Process {
    root.process_with(Quota { threads: 40, batons: 40, gates: 40, connections: 80, ..QUOTA }).await
}

/// Gates of one process in a row: a thread at each that takes one request, calls the gate behind it, says what that
/// call ended with, and replies.
struct Row {
    process: Process,
    gates: Vec<Handle>,
    threads: Vec<Thread>,
    log: Log,
}

impl Row {
    /// `last`: what the last gate's thread calls; none: the first gate, and the row is a ring. The thread of gate number n
    /// calls by badge 100 + n.
    async fn new(root: &Root, length: usize, last: Option<Handle>) -> Self {
        let process = big_process(root).await;
        let mut gates = Vec::new();
        for _ in 0..length {
            gates.push(root.gate(&process).await);
        }
        let (mut threads, log) = (Vec::new(), Log::new());
        for number in 0..length {
            let receiving = root.give_gate(&process, gates[number]).await;
            let next = if number + 1 < length { gates[number + 1] } else { last.unwrap_or(gates[0]) };
            let next = root.give_connection(&process, next, 100 + number as u64).await;
            let noted = log.clone();
            let plan = Plan::new(&process, "link").priority(20);
            let thread = root
                .start(plan, |user| async move {
                    let message = user.receive(receiving).ok().await;
                    let answer = user.call(next).words([1, 2, 3, 4]).await;
                    let said = match answer.error() {
                        Some(Error::Deadlock) => format!("Deadlock {:?}", answer.words),
                        error => format!("{error:?}"),
                    };
                    noted.note(format!("{number}: {said}"));
                    user.reply(message.request).ok().await;
                })
                .await;
            root.until_state(thread, State::Receive).await;
            threads.push(thread);
        }
        Self { process, gates, threads, log }
    }

    /// Have its first gate called.
    async fn begin(&self, root: &Root) -> Thread {
        let first = root.give_connection(&self.process, self.gates[0], 1).await;
        root.start(Plan::new(&self.process, "begin").priority(10), |user| async move {
            user.call(first).ok().await;
        })
        .await
    }

    async fn end(self, root: &Root) {
        root.dismantle(self.process).await;
        root.forget(&self.gates).await;
        for thread in self.threads {
            root.forget(&[thread.handle, thread.baton]).await;
        }
    }
}

#[test]
fn a_ring_of_up_to_sixteen_gates_is_an_error_that_names_it_and_a_longer_one_another() {
    scenario(|root| async move {
        for length in 1..=CHAIN + 2 {
            let row = Row::new(&root, length, None).await;
            let begun = row.begin(&root).await;
            root.until_noted(&row.log, length).await;
            root.until_state(begun, State::Dead).await;
            // The last one's call would have closed it; all others are answered.
            let last = length - 1;
            let badge = 100 + last as u64;
            let mut expected = vec![if length <= CHAIN {
                format!("{last}: Deadlock {:?}", [badge, length as u64, row.process.identity, 0])
            } else {
                format!("{last}: Some(ChainTooLong)")
            }];
            expected.extend((0..last).rev().map(|number| format!("{number}: None")));
            assert_eq!(row.log.notes(), expected);
            root.forget(&[begun.handle, begun.baton]).await;
            row.end(&root).await;
        }
    });
}

#[test]
fn up_to_sixteen_gates_in_a_row_are_searched_and_more_are_an_error() {
    scenario(|root| async move {
        for length in 1..=CHAIN + 1 {
            // Each waits for the next, and the last for somebody who is not blocked: no cycle.
            let busy = root.process().await;
            let gate = root.gate(&busy).await;
            let row = Row::new(&root, length, Some(gate)).await;
            let begun = row.begin(&root).await;
            root.until_state(*row.threads.last().expect("there is one"), State::Send).await;
            let request = root.user.receive(gate).ok().await.request;
            let late = root.give_connection(&row.process, row.gates[0], 2).await;
            let noted = row.log.clone();
            let late = root
                .start(Plan::new(&row.process, "late").priority(10), |user| async move {
                    noted.note(format!("late: {:?}", user.call(late).await.error()));
                })
                .await;
            // Root, behind the row, has put its request off.
            if length <= CHAIN {
                root.until_state(late, State::Send).await;
                assert!(row.log.is_empty());
            } else {
                root.until_noted(&row.log, 1).await;
                row.log.assert(&["late: Some(ChainTooLong)"]);
            }
            root.user.reply(request).ok().await;
            root.until_state(begun, State::Dead).await;
            for thread in [begun, late] {
                root.forget(&[thread.handle, thread.baton]).await;
            }
            row.end(&root).await;
            root.dismantle(busy).await;
            root.close(gate).await;
        }
    });
}

/// If the gate at which a ring would close has a second receiver, that one can serve it when it is free. If another gate has,
/// nobody can say what will come: the caller waits, too.
#[test]
fn a_gate_with_several_receivers_is_never_accused() {
    scenario(|root| async move {
        for (length, several) in [(1, 0), (2, 0), (3, 0), (CHAIN, 0), (2, 1), (3, 1), (CHAIN, 9), (CHAIN, CHAIN - 1)] {
            let row = Row::new(&root, length, None).await;
            let receiving = root.give_gate(&row.process, row.gates[several]).await;
            let (done, released) = (Log::new(), Rc::new(Cell::new(false)));
            let (noted, is_released) = (done.clone(), Rc::clone(&released));
            let plan = Plan::new(&row.process, "second").priority(5);
            let second = root
                .start(plan, |user| async move {
                    // It takes a message, is busy for long, and then takes the next.
                    let first = user.receive(receiving).ok().await;
                    noted.note("busy");
                    while !is_released.get() {
                        let _ = user.compute(10_000).await;
                    }
                    user.reply(first.request).ok().await;
                    let next = user.receive(receiving).ok().await;
                    user.reply(next.request).ok().await;
                })
                .await;
            root.until_state(second, State::Receive).await;
            let other = root.give_connection(&row.process, row.gates[several], 3).await;
            let plan = Plan::new(&row.process, "other").priority(6);
            let other = root
                .start(plan, |user| async move {
                    let _ = user.call(other).ok().await;
                })
                .await;
            root.until_noted(&done, 1).await;
            let begun = row.begin(&root).await;
            root.until_state(row.threads[length - 1], State::Send).await;
            released.set(true);
            root.until_state(other, State::Dead).await;
            if several == 0 {
                root.until_noted(&row.log, length).await;
                root.until_state(begun, State::Dead).await;
            }
            assert!(row.log.all(|note| note.ends_with(": None")), "{:?}", row.log);
            assert_eq!(row.log.len(), if several == 0 { length } else { 0 });
            for thread in [begun, second, other] {
                root.forget(&[thread.handle, thread.baton]).await;
            }
            row.end(&root).await;
        }
    });
}

/// A request that its server put off may be answered by anybody in its process.
#[test]
fn a_deferred_reply_is_never_accused() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        // The client has a gate as well, which the server calls back.
        let back_gate = root.gate(&pair.client).await;
        let back_receiving = root.give_gate(&pair.client, back_gate).await;
        let back = root.give_connection(&pair.server, back_gate, 5).await;
        let plug = root.pulse(&pair.server, pair.gate, 6, 30, false, Handle::NONE).await;
        let (gate, connection, log) = (pair.receiving, pair.sending, Log::new());
        let (request, noted) = (Rc::new(Cell::new(0)), log.clone());
        let taken = Rc::clone(&request);
        let server = root
            .start(Plan::new(&pair.server, "server").priority(20), |user| async move {
                taken.set(user.receive(gate).ok().await.request);
                assert!(user.receive(gate).ok().await.status().is_pulse());
                noted.note(format!("called back: {:?}", user.call(back).await.error()));
            })
            .await;
        root.until_state(server, State::Receive).await;
        let noted = log.clone();
        let client = root
            .start(Plan::new(&pair.client, "client").priority(10), |user| async move {
                // It is the receiver of its gate, and serves it after its own call.
                user.receive(back_receiving).poll().fails(Error::TimedOut).await;
                noted.note(format!("called: {:?}", user.call(connection).await.error()));
                let message = user.receive(back_receiving).ok().await;
                user.reply(message.request).ok().await;
            })
            .await;
        root.until_state(client, State::Reply).await;
        root.user.raise(plug, 1).ok().await;
        root.until_state(server, State::Send).await;
        log.assert(&[]);
        let request = request.get();
        root.start(Plan::new(&pair.server, "colleague").priority(20), |user| async move {
            user.reply(request).ok().await;
        })
        .await;
        root.until_noted(&log, 2).await;
        log.assert(&["called: None", "called back: None"]);
    });
}

/// Nor one whose receiver serves another gate by now, nor one that is not in a call at all.
#[test]
fn a_receiver_that_went_to_another_gate_or_is_in_no_call_is_never_accused() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let elsewhere = root.gate(&pair.server).await;
        let receiving_elsewhere = root.give_gate(&pair.server, elsewhere).await;
        let (gate, connection, log) = (pair.receiving, pair.sending, Log::new());
        let (request, noted) = (Rc::new(Cell::new(0)), log.clone());
        let taken = Rc::clone(&request);
        let server = root
            .start(Plan::new(&pair.server, "server").priority(20), |user| async move {
                taken.set(user.receive(gate).ok().await.request);
                noted.note("taken");
                let _ = user.receive(receiving_elsewhere).await;
            })
            .await;
        root.until_state(server, State::Receive).await;
        let call = async |badge: u64| {
            let connection =
                if badge == 77 { connection } else { root.give_connection(&pair.client, pair.gate, badge).await };
            let noted = log.clone();
            root.start(Plan::new(&pair.client, "client").priority(10), |user| async move {
                noted.note(format!("{badge}: {:?}", user.call(connection).await.error()));
            })
            .await
        };
        let first = call(77).await;
        root.until_state(first, State::Reply).await;
        root.until_state(server, State::Receive).await;
        // Nobody receives at the gate any more: whoever calls waits, and is told when the gate goes.
        let second = call(78).await;
        root.until_state(second, State::Send).await;
        log.assert(&["taken"]);
        root.destroy(pair.gate).await;
        root.until_noted(&log, 2).await;
        log.assert(&["taken", "78: Some(Gone)"]);
        let request = request.get();
        root.start(Plan::new(&pair.server, "colleague").priority(20), |user| async move {
            user.reply(request).ok().await;
        })
        .await;
        root.until_noted(&log, 3).await;
        log.assert(&["taken", "78: Some(Gone)", "77: None"]);
    });
}

/// Who waits for a receiver waits as much as who waits for an answer.
#[test]
fn of_two_servers_that_call_each_other_before_either_receives_the_second_is_told() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let back_gate = root.gate(&pair.client).await;
        let back_receiving = root.give_gate(&pair.client, back_gate).await;
        let back = root.give_connection(&pair.server, back_gate, 5).await;
        let (gate, connection, log) = (pair.receiving, pair.sending, Log::new());
        let busy = Rc::new(Cell::new(true));
        let (is_busy, noted) = (Rc::clone(&busy), log.clone());
        root.start(Plan::new(&pair.server, "second").priority(5), |user| async move {
            user.receive(gate).poll().fails(Error::TimedOut).await;
            noted.note("busy");
            while is_busy.get() {
                let _ = user.compute(10_000).await;
            }
            let answer = user.call(back).await;
            noted.note(format!("second: {:?} {:?}", answer.error(), answer.words));
            let message = user.receive(gate).ok().await;
            user.reply(message.request).ok().await;
        })
        .await;
        root.until_noted(&log, 1).await;
        let noted = log.clone();
        let first = root
            .start(Plan::new(&pair.client, "first").priority(10), |user| async move {
                user.receive(back_receiving).poll().fails(Error::TimedOut).await;
                noted.note(format!("first: {:?}", user.call(connection).await.error()));
            })
            .await;
        root.until_state(first, State::Send).await;
        busy.set(false);
        root.until_noted(&log, 3).await;
        let told = format!("second: Some(Deadlock) {:?}", [5, 2, pair.client.identity, 0]);
        log.assert(&["busy", &told, "first: None"]);
    });
}

/// A fault is a call to the pager. Whichever of the two comes last is told.
#[test]
fn a_pager_and_its_client_that_wait_for_each_other_are_told() {
    const MISSING: u64 = 0x50_0000_0000;
    for pager_calls_last in [true, false] {
        let settings = simulator::Settings::default();
        simulator::simulation::run(1, settings, move |root| async move {
            let pair = Pair::new(&root).await;
            let faults_gate = root.gate(&pair.client).await;
            let faults_receiving = root.give_gate(&pair.client, faults_gate).await;
            let faults = root.connect(faults_gate, 66).await;
            let (gate, connection, log) = (pair.receiving, pair.sending, Log::new());
            let noted = log.clone();
            let plan = Plan::new(&pair.server, "server").priority(20).fault(faults);
            let server = root
                .start(plan, |user| async move {
                    let message = user.receive(gate).ok().await;
                    if user.load(MISSING, 1).await.is_ok() {
                        noted.note("the page came");
                    }
                    user.reply(message.request).ok().await;
                })
                .await;
            root.until_state(server, State::Receive).await;
            if pager_calls_last {
                // Somebody else's request makes the server fault.
                let other = root.connect(pair.gate, 9).await;
                let other = root.give(&pair.server, other, abi::Rights::SEND).await;
                root.start(Plan::new(&pair.server, "other").priority(10), |user| async move {
                    user.call(other).ok().await;
                })
                .await;
            }
            let memory = root.give(&pair.client, pair.server.memory, abi::Rights::ALL).await;
            let server_process = root.give(&pair.client, pair.server.handle, abi::Rights::ALL).await;
            let noted = log.clone();
            root.start(Plan::new(&pair.client, "pager").priority(30), |user| async move {
                let receive = user.receive(faults_receiving);
                let fault = if pager_calls_last { receive.ok().await } else { receive.poll().await };
                let answer = user.call(connection).await;
                noted.note(format!("pager: {:?}", answer.error()));
                if pager_calls_last {
                    assert_eq!(answer.words[..2], [77, 2]);
                    let words = [memory.0, MISSING | 1, 0, DATA_PAGES * abi::PAGE_SIZE];
                    user.method(server_process, process::MAP, words).ok().await;
                    user.reply(fault.request).ok().await;
                }
            })
            .await;
            root.until_noted(&log, if pager_calls_last { 2 } else { 1 }).await;
            if pager_calls_last {
                log.assert(&["pager: Some(Deadlock)", "the page came"]);
            } else {
                // The fault could not be told: the server ends, and its caller with an error.
                log.assert(&["pager: Some(Gone)"]);
                assert_eq!(root.state(server).await.state, State::Dead);
            }
        });
    }
}
