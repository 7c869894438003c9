//! Callers and pulses wait in one order, and whoever waits helps (DESIGN §2): a busy server runs on the strongest waiting baton.

use std::cell::Cell;
use std::rc::Rc;

use abi::call::flags;
use abi::object::{baton as baton_method, thread as thread_method};
use abi::thread::State;
use abi::{Error, Handle, Quota};
use simulator::scenario;
use simulator::scenario::{Log, Plan, Process, QUOTA, Root, Thread};

use crate::Pair;

#[test]
fn waiting_callers_and_pulses_are_taken_by_priority_then_arrival() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let user = root.user.clone();
        for (badge, priority) in [(1, 10), (2, 30), (3, 20), (4, 30), (5, 10), (6, 25)] {
            let connection = root.give_connection(&pair.client, pair.gate, badge).await;
            let thread = root
                .start(Plan::new(&pair.client, "caller").priority(priority), |user| async move {
                    user.call(connection).ok().await;
                })
                .await;
            root.until_state(thread, State::Send).await;
        }
        for (badge, priority) in [(101, 20), (102, 30), (103, 5), (104, 40)] {
            let pulse = root.pulse(&pair.server, pair.gate, badge, priority, false, Handle::NONE).await;
            user.raise(pulse, 1).ok().await;
        }
        let mut order = Vec::new();
        for _ in 0..10 {
            let message = user.receive(pair.gate).ok().await;
            order.push(message.badge);
            if message.request != 0 {
                user.reply(message.request).ok().await;
            }
        }
        assert_eq!(order, [104, 2, 4, 102, 6, 3, 101, 1, 5, 103]);
    });
}

/// Where a busy server's thread is when a strong caller comes: a weak thread of middle priority must not delay it.
#[test]
fn a_busy_server_runs_on_the_strongest_waiting_baton() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let log = Log::new();
        let gate = pair.receiving;
        let noted = log.clone();
        let server = root
            .start(Plan::new(&pair.server, "server").priority(60), |user| async move {
                let mut message = user.receive(gate).ok().await;
                loop {
                    noted.note(format!("serves {}", message.badge));
                    let _ = user.compute(1_000_000).await;
                    message = user.reply_and_receive(message.request, gate).ok().await;
                }
            })
            .await;
        root.until_state(server, State::Receive).await;
        for (name, badge, priority) in [("weak", 1, 10), ("middle", 0, 20), ("strong", 2, 30)] {
            let connection = root.give_connection(&pair.client, pair.gate, badge).await;
            let noted = log.clone();
            root.start(Plan::new(&pair.client, name).priority(priority), |user| async move {
                if badge == 0 {
                    let _ = user.compute(10_000_000).await;
                } else {
                    user.call(connection).ok().await;
                }
                noted.note(format!("{name} is done"));
            })
            .await;
            root.sleep(100_000).await;
        }
        root.until_noted(&log, 5).await;
        log.assert(&["serves 1", "serves 2", "strong is done", "middle is done", "weak is done"]);
    });
}

/// A link of a chain: a server that forwards what comes to its gate to another gate, or works so long if there is none.
async fn link(root: &Root, server: &Process, next: Option<Handle>, work_ns: u64) -> (Handle, Thread) {
    let gate = root.gate(server).await;
    let receiving = root.give_gate(server, gate).await;
    let forward = match next {
        Some(next) => Some(root.give_connection(server, next, 1).await),
        None => None,
    };
    let thread = root
        .start_server(Plan::new(server, "chain").priority(60), |user| async move {
            let mut message = user.receive(receiving).ok().await;
            loop {
                match forward {
                    Some(connection) => drop(user.call(connection).ok().await),
                    None => drop(user.compute(work_ns).await),
                }
                message = user.reply_and_receive(message.request, receiving).ok().await;
            }
        })
        .await;
    (gate, thread)
}

#[test]
fn help_goes_through_a_chain_of_gates() {
    scenario(|root| async move {
        let log = Log::new();
        let client = root.process().await;
        let mut next: Option<Handle> = None;
        // The last one computes; each of the others forwards.
        for _ in 0..5 {
            let server = root.process().await;
            next = Some(link(&root, &server, next, 1_000_000).await.0);
        }
        let entry = next.expect("five servers");
        for (name, priority) in [("weak", 10), ("hog", 20), ("strong", 30)] {
            let connection = root.give_connection(&client, entry, 7).await;
            let noted = log.clone();
            root.start(Plan::new(&client, name).priority(priority), |user| async move {
                if name == "hog" {
                    let _ = user.compute(20_000_000).await;
                } else {
                    user.call(connection).ok().await;
                }
                noted.note(name);
            })
            .await;
            root.sleep(100_000).await;
        }
        root.until_noted(&log, 3).await;
        log.assert(&["strong", "hog", "weak"]);
    });
}

/// A thread that makes one call, and notes when it is done.
async fn calls(root: &Root, pair: &Pair, name: &'static str, badge: u64, priority: u8, log: &Log) {
    let connection = root.give_connection(&pair.client, pair.gate, badge).await;
    let noted = log.clone();
    root.start(Plan::new(&pair.client, name).priority(priority), |user| async move {
        user.call(connection).ok().await;
        noted.note(format!("{name} is done"));
    })
    .await;
    root.sleep(20_000).await;
}

/// A server works for a weak caller beside a hog when a pulse comes for it: the pulse's baton helps, for as long as there is one.
#[test]
fn a_pulse_that_waits_helps_with_the_baton_it_carries() {
    scenario(|root| async move {
        let first: &[&str] = &["serves 1", "takes 2", "hog is done", "weak is done"];
        let after_hog: &[&str] = &["serves 1", "hog is done", "takes 2", "weak is done"];
        let last: &[&str] = &["serves 1", "hog is done", "weak is done", "takes 2"];
        for (what, expected) in [
            ("nothing", first),
            ("has no baton", last),
            ("baton is destroyed", last),
            ("baton is weakened", after_hog),
            ("baton is strengthened", first),
            ("baton becomes a thread's own", after_hog),
            ("pulse is destroyed", &["serves 1", "hog is done", "weak is done"]),
            // Only who is next helps: the caller, who is too weak.
            ("is behind a caller", &["serves 1", "hog is done", "serves 3", "takes 2", "weak is done"]),
            // It goes on waiting before the caller, who helps.
            ("baton is destroyed, a caller comes", &["serves 1", "takes 2", "serves 3", "hog is done", "weak is done"]),
        ] {
            let pair = Pair::new(&root).await;
            let log = Log::new();
            let (gate, noted) = (pair.receiving, log.clone());
            let server = root
                .start(Plan::new(&pair.server, "server").priority(5), |user| async move {
                    let mut message = user.receive(gate).ok().await;
                    loop {
                        if message.request == 0 {
                            noted.note(format!("takes {}", message.badge));
                            message = user.receive(gate).ok().await;
                            continue;
                        }
                        noted.note(format!("serves {}", message.badge));
                        let _ = user.compute(1_000_000).await;
                        message = user.reply_and_receive(message.request, gate).ok().await;
                    }
                })
                .await;
            root.until_state(server, State::Receive).await;
            calls(&root, &pair, "weak", 1, 10, &log).await;
            let behind = what == "is behind a caller";
            if behind {
                calls(&root, &pair, "middle", 3, 15, &Log::new()).await;
            }
            let noted = log.clone();
            root.start(Plan::new(&pair.client, "hog").priority(20), |user| async move {
                let _ = user.compute(5_000_000).await;
                noted.note("hog is done");
            })
            .await;
            root.sleep(20_000).await;

            let carried = root.baton(&pair.server, if what == "baton is strengthened" { 15 } else { 40 }).await;
            let given = if what == "has no baton" { Handle::NONE } else { carried };
            let priority = if behind { 12 } else { 30 };
            let pulse = root.pulse(&pair.server, pair.gate, 2, priority, false, given).await;
            root.user.raise(pulse, 1).ok().await;
            let set = |priority| root.user.method(carried, baton_method::SET, [priority, 0, 0, 0]).ok();
            match what {
                "baton is destroyed" => root.destroy(carried).await,
                "baton is destroyed, a caller comes" => {
                    root.destroy(carried).await;
                    calls(&root, &pair, "middle", 3, 25, &Log::new()).await;
                }
                "baton is weakened" => drop(set(15).await),
                "baton is strengthened" => drop(set(50).await),
                "pulse is destroyed" => root.destroy(pulse).await,
                "baton becomes a thread's own" => {
                    root.start(Plan::new(&pair.server, "owner").baton(carried), |_| async {}).await;
                }
                _ => {}
            }
            root.until_noted(&log, expected.len()).await;
            root.sleep(1_000_000).await;
            log.assert(expected);
            root.dismantle(pair.server).await;
            root.dismantle(pair.client).await;
        }
    });
}

#[test]
fn a_deferred_requests_baton_rests_until_it_is_answered() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let log = Log::new();
        let gate = pair.receiving;
        let noted = log.clone();
        let server = root
            .start(Plan::new(&pair.server, "async").priority(20), |user| async move {
                let strong = user.receive(gate).ok().await;
                assert_eq!(strong.status().priority(), 40);
                // It is put off: the server goes on at its own priority.
                let weak = user.receive(gate).ok().await;
                assert_eq!(weak.status().priority(), 30);
                user.reply(weak.request).ok().await;
                noted.note("weak replied");
                let _ = user.compute(200_000).await;
                noted.note("computed");
                user.reply(strong.request).ok().await;
                noted.note("strong replied");
            })
            .await;
        root.until_state(server, State::Receive).await;
        for (name, priority) in [("strong", 40), ("weak", 30), ("hog", 25)] {
            let connection = root.give_connection(&pair.client, pair.gate, 1).await;
            let noted = log.clone();
            root.start(Plan::new(&pair.client, name).priority(priority), |user| async move {
                if name == "hog" {
                    let _ = user.compute(500_000).await;
                } else {
                    user.call(connection).ok().await;
                }
                noted.note(name);
            })
            .await;
        }
        root.until_noted(&log, 6).await;
        // At 20 the server is behind the hog; the strong caller runs at once when it is answered.
        log.assert(&["weak", "hog", "weak replied", "computed", "strong", "strong replied"]);
    });
}

#[test]
fn of_several_busy_receivers_the_one_that_received_earliest_is_helped() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let log = Log::new();
        for _ in 0..2 {
            let gate = pair.receiving;
            let noted = log.clone();
            let thread = root
                .start(Plan::new(&pair.server, "server").priority(60), |user| async move {
                    let mut message = user.receive(gate).ok().await;
                    loop {
                        let _ = user.compute(400_000).await;
                        noted.note(format!("served {}", message.badge));
                        message = user.reply_and_receive(message.request, gate).ok().await;
                    }
                })
                .await;
            root.until_state(thread, State::Receive).await;
        }
        // Two weak callers keep both busy, the later one is the stronger; then a strong one comes.
        for (badge, priority) in [(1, 10), (2, 11), (3, 30)] {
            let connection = root.give_connection(&pair.client, pair.gate, badge).await;
            root.start(Plan::new(&pair.client, "caller").priority(priority), |user| async move {
                user.call(connection).ok().await;
            })
            .await;
            root.sleep(50_000).await;
        }
        root.until_noted(&log, 3).await;
        log.assert(&["served 1", "served 3", "served 2"]);
    });
}

/// Help must reach the places in queues, not only the processor: whoever is waited for by a strong one, however far up, waits
/// as a strong one.
#[test]
fn a_place_in_a_queue_is_inherited_through_requests_and_gates() {
    scenario(|root| async move {
        for late in [false, true] {
            let log = Log::new();
            let client = root.process().await;
            let (front, middle, back) = (root.process().await, root.process().await, root.process().await);
            let mut gates = Vec::new();
            for process in [&front, &middle, &back] {
                gates.push(root.gate(process).await);
            }
            // Front forwards to middle, middle works and then forwards to back; back serves in order.
            for (number, process) in [&front, &middle].into_iter().enumerate() {
                let receiving = root.give_gate(process, gates[number]).await;
                let forward = root.give_connection(process, gates[number + 1], 1000).await;
                let thread = root
                    .start(Plan::new(process, "forwarder").priority(60), |user| async move {
                        let mut message = user.receive(receiving).ok().await;
                        loop {
                            let _ = user.compute(if number == 0 { 1_000 } else { 300_000 }).await;
                            user.call(forward).words(message.words).ok().await;
                            message = user.reply_and_receive(message.request, receiving).ok().await;
                        }
                    })
                    .await;
                root.until_state(thread, State::Receive).await;
            }
            let calls = async |name, priority| {
                let connection = root.give_connection(&client, gates[0], 1).await;
                root.start(Plan::new(&client, name).priority(priority), |user| async move {
                    user.call(connection).word(u64::from(priority)).ok().await;
                })
                .await;
                root.sleep(30_000).await;
            };
            // The weak one's request is on its way to middle when the strong one comes to front, or waits at back already.
            calls("weak", 10).await;
            if !late {
                calls("strong", 40).await;
            }
            // Meanwhile callers of middling strength come to back, which is not yet there.
            for number in 0..3 {
                let connection = root.give_connection(&client, gates[2], 2).await;
                root.start(Plan::new(&client, "middling").priority(20), |user| async move {
                    user.call(connection).word(100 + number).ok().await;
                })
                .await;
            }
            root.sleep(2_000_000).await;
            if late {
                calls("strong", 40).await;
            }
            let receiving = root.give_gate(&back, gates[2]).await;
            let noted = log.clone();
            root.start(Plan::new(&back, "back").priority(5), |user| async move {
                let mut message = user.receive(receiving).ok().await;
                loop {
                    noted.note(format!("{}", message.words[0]));
                    let _ = user.compute(200_000).await;
                    message = user.reply_and_receive(message.request, receiving).ok().await;
                }
            })
            .await;
            root.until_noted(&log, 5).await;
            // The weak one's request was first because the strong one waits for it; the strong one's own comes while 100 is served.
            log.assert(&["10", "100", "40", "101", "102"]);
            for process in [client, front, middle, back] {
                root.dismantle(process).await;
            }
        }
    });
}

/// Whoever waits as strongly as its caller does no more when somebody else has answered that one.
#[test]
fn an_inherited_place_in_a_queue_is_given_up_when_a_colleague_answers() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let back = root.process().await;
        let back_gate = root.gate(&back).await;
        let forward = root.give_connection(&pair.server, back_gate, 7).await;
        let (gate, log, request) = (pair.receiving, Log::new(), Rc::new(Cell::new(0)));
        let taken = Rc::clone(&request);
        let server = root
            .start_server(Plan::new(&pair.server, "server").priority(5), |user| async move {
                taken.set(user.receive(gate).ok().await.request);
                user.call(forward).word(5).ok().await;
            })
            .await;
        let calls = async |connection, priority| {
            root.start(Plan::new(&pair.client, "caller").priority(priority), |user| async move {
                user.call(connection).word(u64::from(priority)).ok().await;
            })
            .await
        };
        calls(pair.sending, 40).await;
        root.until_state(server, State::Send).await;
        let middling = calls(root.give_connection(&pair.client, back_gate, 1).await, 20).await;
        root.until_state(middling, State::Send).await;
        let request = request.get();
        root.start(Plan::new(&pair.server, "colleague").priority(60), |user| async move {
            user.reply(request).ok().await;
        })
        .await;
        let (receiving, noted) = (root.give_gate(&back, back_gate).await, log.clone());
        root.start(Plan::new(&back, "back").priority(5), |user| async move {
            let mut message = user.receive(receiving).ok().await;
            loop {
                noted.note(format!("{}", message.words[0]));
                message = user.reply_and_receive(message.request, receiving).ok().await;
            }
        })
        .await;
        root.until_noted(&log, 2).await;
        log.assert(&["20", "5"]);
    });
}

#[test]
fn a_caller_whose_baton_changes_while_it_waits_changes_its_place() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let mut callers = Vec::new();
        for priority in [10, 20, 30] {
            let connection = root.give_connection(&pair.client, pair.gate, priority).await;
            let plan = Plan::new(&pair.client, "caller").priority(priority as u8);
            let caller = root.start(plan, |user| async move {
                user.call(connection).ok().await;
            });
            callers.push(caller.await);
            root.until_state(callers[callers.len() - 1], State::Send).await;
        }
        for (which, priority) in [(0, 40), (2, 5)] {
            root.user.method(callers[which].baton, baton_method::SET, [priority, 0, 0, 0]).ok().await;
        }
        for expected in [10, 20, 30] {
            let message = root.user.receive(pair.gate).ok().await;
            assert_eq!(message.badge, expected);
            root.user.reply(message.request).ok().await;
        }
    });
}

/// Also one whose baton rests, because its turn came while the server waited itself.
#[test]
fn a_caller_whose_baton_becomes_stronger_helps_from_then_on() {
    scenario(|root| async move {
        for rests in [false, true] {
            let pair = Pair::new(&root).await;
            let nobodys = root.gate(&pair.client).await;
            let nobodys = root.give_connection(&pair.server, nobodys, 0).await;
            let (gate, log) = (pair.receiving, Log::new());
            let noted = log.clone();
            root.start_server(Plan::new(&pair.server, "server").priority(5), |user| async move {
                let mut message = user.receive(gate).ok().await;
                if rests {
                    let until = user.now() + 300_000;
                    user.call(nobodys).deadline(until, flags::DEADLINE_SEND).fails(Error::TimedOut).await;
                }
                loop {
                    let _ = user.compute(500_000).await;
                    noted.note(format!("served {}", message.badge));
                    message = user.reply_and_receive(message.request, gate).ok().await;
                }
            })
            .await;
            let mut second = Handle::NONE;
            for (badge, priority) in [(1, 10), (2, 11), (3, 12)] {
                let connection = root.give_connection(&pair.client, pair.gate, badge).await;
                let plan = Plan::new(&pair.client, "caller").priority(priority);
                let caller = root.start(plan, |user| async move {
                    user.call(connection).ok().await;
                });
                let caller = caller.await;
                root.until_state(caller, if badge == 1 { State::Reply } else { State::Send }).await;
                if badge == 2 {
                    second = caller.baton;
                }
            }
            let noted = log.clone();
            root.start(Plan::new(&pair.client, "hog").priority(20), |user| async move {
                let _ = user.compute(3_000_000).await;
                noted.note("hog is done");
            })
            .await;
            root.sleep(if rests { 300_000 } else { 50_000 }).await;
            root.user.method(second, baton_method::SET, [30, 0, 0, 0]).ok().await;
            root.until_noted(&log, 4).await;
            log.assert(&["served 1", "served 2", "hog is done", "served 3"]);
        }
    });
}

/// A chain of as many gates as help goes through, a caller waiting at each, and the last server stopped: when it goes on, the
/// strongest of them helps it, the farthest one.
#[test]
fn help_comes_from_the_farthest_of_many_gates_with_callers() {
    const GATES: u64 = 15;
    scenario(|root| async move {
        let log = Log::new();
        let (client, between) = (root.process().await, root.process().await);
        let (mut gates, mut last) = (Vec::new(), None);
        let small =
            Quota { processes: 0, threads: 1, batons: 1, gates: 1, memories: 2, mappings: 8, pages: 24, ..QUOTA };
        for number in 0..GATES {
            let server = root.process_with(Quota { connections: 4, pulses: 0, ..small }).await;
            let (gate, thread) = link(&root, &server, gates.last().copied(), 100_000).await;
            if number == 0 {
                last = Some(thread);
            }
            gates.push(gate);
        }
        let last = last.expect("there are gates").handle;
        let entry = *gates.last().expect("there are gates");
        let calls = async |process: &Process, name: &'static str, gate: Handle, priority: u8| {
            let connection = root.give_connection(process, gate, 1).await;
            let noted = log.clone();
            root.start(Plan::new(process, name).priority(priority), |user| async move {
                user.call(connection).ok().await;
                if name != "between" {
                    noted.note(name);
                }
            })
            .await;
            root.sleep(50_000).await;
        };
        calls(&client, "first", entry, 10).await;
        root.user.method(last, thread_method::STOP, [0; 4]).ok().await;
        for (number, gate) in gates[..gates.len() - 1].iter().enumerate() {
            calls(&between, "between", *gate, 11 + number as u8).await;
        }
        calls(&client, "strongest", entry, 40).await;
        let noted = log.clone();
        root.start(Plan::new(&client, "hog").priority(30), |user| async move {
            let _ = user.compute(20_000_000).await;
            noted.note("hog");
        })
        .await;
        root.sleep(50_000).await;
        root.user.method(last, thread_method::CONTINUE, [0; 4]).ok().await;
        root.until_noted(&log, 3).await;
        log.assert(&["strongest", "hog", "first"]);
    });
}
