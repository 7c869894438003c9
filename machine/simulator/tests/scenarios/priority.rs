//! Scheduling and messages are one thing: order, inheritance, fairness, reserve batons, budgets.

use std::cell::Cell;
use std::rc::Rc;

use abi::Handle;
use abi::object::process::DESTROY;
use abi::object::{baton as baton_method, gate as gate_method};
use abi::thread::{Policy, State};
use simulator::scenario;
use simulator::scenario::{Log, Plan, Root};

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

#[test]
fn a_stronger_one_preempts_at_once_and_equals_in_fifo_do_not() {
    scenario(|root| async move {
        let process = root.process().await;
        let log = Log::new();
        for (name, priority) in [("first", 10), ("second", 10), ("strong", 20)] {
            let noted = log.clone();
            root.start(Plan::new(&process, name).priority(priority), |user| async move {
                noted.note(format!("{name} begins"));
                let _ = user.compute(3_000_000).await;
                noted.note(format!("{name} ends"));
            })
            .await;
            root.sleep(100_000).await;
        }
        root.until_noted(&log, 6).await;
        log.assert(&["first begins", "strong begins", "strong ends", "first ends", "second begins", "second ends"]);
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

#[test]
fn help_goes_through_a_chain_of_gates() {
    scenario(|root| async move {
        let log = Log::new();
        let client = root.process().await;
        let mut servers = Vec::new();
        let mut next: Option<Handle> = None;
        // The last one computes; each of the others forwards.
        for depth in 0..5 {
            let server = root.process().await;
            let gate = root.gate(&server).await;
            let receiving = root.give_gate(&server, gate).await;
            let forward = match next {
                Some(gate) => Some(root.give_connection(&server, gate, 1).await),
                None => None,
            };
            let thread = root
                .start(Plan::new(&server, "chain").priority(60), |user| async move {
                    let mut message = user.receive(receiving).ok().await;
                    loop {
                        match forward {
                            Some(connection) => drop(user.call(connection).ok().await),
                            None => drop(user.compute(1_000_000).await),
                        }
                        message = user.reply_and_receive(message.request, receiving).ok().await;
                    }
                })
                .await;
            root.until_state(thread, State::Receive).await;
            servers.push((depth, thread));
            next = Some(gate);
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
            let noted = log.clone();
            root.start(Plan::new(&pair.client, "hog").priority(20), |user| async move {
                let _ = user.compute(5_000_000).await;
                noted.note("hog is done");
            })
            .await;
            root.sleep(20_000).await;

            let carried = root.baton(&pair.server, if what == "baton is strengthened" { 15 } else { 40 }).await;
            let given = if what == "has no baton" { Handle::NONE } else { carried };
            let pulse = root.pulse(&pair.server, pair.gate, 2, 30, false, given).await;
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

/// The field's acceptance test: a message benchmark beside a processor-bound program of equal priority.
#[test]
fn a_message_pair_beside_a_hog_gets_an_equal_share() {
    scenario(|root| async move {
        for hogs in [0_u64, 1, 2] {
            let pair = Pair::new(&root).await;
            let gate = pair.receiving;
            let server = root
                .start(Plan::new(&pair.server, "server").round_robin(10, 1_000_000), |user| async move {
                    let mut message = user.receive(gate).ok().await;
                    loop {
                        let _ = user.compute(2000).await;
                        message = user.reply_and_receive(message.request, gate).ok().await;
                    }
                })
                .await;
            root.until_state(server, State::Receive).await;
            let connection = pair.sending;
            let rounds = Rc::new(Cell::new(0_u64));
            let counted = Rc::clone(&rounds);
            let mut threads = vec![
                root.start(Plan::new(&pair.client, "client").round_robin(10, 1_000_000), |user| async move {
                    loop {
                        user.call(connection).ok().await;
                        counted.set(counted.get() + 1);
                    }
                })
                .await,
            ];
            for _ in 0..hogs {
                threads.push(
                    root.start(Plan::new(&pair.client, "hog").round_robin(10, 1_000_000), |user| async move {
                        user.hog().await;
                    })
                    .await,
                );
            }
            let span = 120_000_000;
            let mut before = Vec::new();
            for thread in &threads {
                before.push(root.user.method(thread.baton, baton_method::INFORMATION, [0; 4]).ok().await.words[0]);
            }
            root.sleep(span).await;
            for (thread, before) in threads.iter().zip(before) {
                let billed =
                    root.user.method(thread.baton, baton_method::INFORMATION, [0; 4]).ok().await.words[0] - before;
                let share = span / (hogs + 1);
                assert!(billed.abs_diff(share) <= share / 50, "beside {hogs} hogs: {billed} ns of {share}");
            }
            assert!(rounds.get() > 1000 / (hogs + 1), "{}", rounds.get());
            for thread in threads {
                root.destroy(thread.handle).await;
            }
            root.destroy(server.handle).await;
        }
    });
}

#[test]
fn round_robin_equals_take_turns() {
    scenario(|root| async move {
        let process = root.process().await;
        let mut batons = Vec::new();
        for _ in 0..3 {
            let thread = root
                .start(Plan::new(&process, "spinner").round_robin(10, 500_000), |user| async move {
                    user.hog().await;
                })
                .await;
            batons.push(thread.baton);
        }
        root.sleep(90_000_000).await;
        for baton in batons {
            let billed = root.user.method(baton, baton_method::INFORMATION, [0; 4]).ok().await.words[0];
            assert!(billed.abs_diff(30_000_000) < 1_000_000, "{billed}");
        }
    });
}

#[test]
fn a_sporadic_budget_holds_through_a_server() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let gate = pair.receiving;
        let server = root
            .start(Plan::new(&pair.server, "server").priority(60), |user| async move {
                let mut message = user.receive(gate).ok().await;
                loop {
                    let _ = user.compute(100_000).await;
                    message = user.reply_and_receive(message.request, gate).ok().await;
                }
            })
            .await;
        root.until_state(server, State::Receive).await;
        // 1 ms in every 10, then below the hog.
        let sporadic = root.baton_with(&pair.client, 30, Policy::Sporadic, 1_000_000, 10_000_000, 5).await;
        let hog = root
            .start(Plan::new(&pair.client, "hog").priority(20), |user| async move {
                user.hog().await;
            })
            .await;
        let connection = pair.sending;
        root.start(Plan::new(&pair.client, "client").baton(sporadic), |user| async move {
            loop {
                user.call(connection).ok().await;
            }
        })
        .await;
        let start = root.user.method(hog.baton, baton_method::INFORMATION, [0; 4]).ok().await.words[0];
        root.sleep(100_000_000).await;
        let billed = root.user.method(sporadic, baton_method::INFORMATION, [0; 4]).ok().await.words[0];
        assert!((9_000_000..=12_500_000).contains(&billed), "{billed}");
        let rest = root.user.method(hog.baton, baton_method::INFORMATION, [0; 4]).ok().await.words[0] - start;
        assert!(rest > 85_000_000, "{rest}");
    });
}

/// What was used comes back one period after the use began, stretch by stretch, not all at once.
#[test]
fn a_sporadic_batons_uses_come_back_one_by_one() {
    scenario(|root| async move {
        let process = root.process().await;
        // 1 ms in every 10, else below the hog.
        let sporadic = root.baton_with(&process, 30, Policy::Sporadic, 1_000_000, 10_000_000, 5).await;
        root.start(Plan::new(&process, "hog").priority(20), |user| async move { user.hog().await }).await;
        let gate = root.gate(&process).await;
        let gate = root.give_gate(&process, gate).await;
        let uses = Rc::new(std::cell::RefCell::new(Vec::new()));
        let noted = Rc::clone(&uses);
        root.start(Plan::new(&process, "sporadic").baton(sporadic), |user| async move {
            // Two uses of 0.4 ms, 3 ms apart, then as much as there is.
            for (pause, length) in
                [(3_000_000, 400_000), (3_000_000, 400_000), (0, 400_000), (0, 400_000), (0, 300_000)]
            {
                noted.borrow_mut().push(user.now());
                let _ = user.compute(length).await;
                noted.borrow_mut().push(user.now());
                if pause != 0 {
                    let until = user.now() + pause;
                    let _ = user.receive(gate).deadline(until, abi::call::flags::DEADLINE_RECEIVE).await;
                }
            }
        })
        .await;
        root.sleep(40_000_000).await;
        let uses = uses.borrow();
        let start = uses[0];
        let near = |ns: u64, expected: u64| assert!((ns - start).abs_diff(expected) < 100_000, "{uses:?} {expected}");
        // The third use ends the budget after 0.2 ms. The first's 0.4 ms come back at 10 ms: 0.2 for the third, 0.2 for
        // the fourth, which goes on when the second's come back at 13.4 ms, and has 0.2 left for the fifth. That ends with
        // the 0.2 ms of the third's beginning, which come back at 16.8 ms.
        for (at, expected) in [
            (1, 400_000),
            (2, 3_400_000),
            (3, 3_800_000),
            (4, 6_800_000),
            (5, 10_200_000),
            (7, 13_600_000),
            (9, 16_900_000),
        ] {
            near(uses[at], expected);
        }
    });
}

/// No more uses than it says are remembered: with so many to come back, it has no budget, whatever is left of it.
#[test]
fn a_sporadic_batons_replenishments_are_bounded() {
    scenario(|root| async move {
        let process = root.process().await;
        for (limit, expected) in [(2, 2), (5, 5), (8, 8), (0, 8)] {
            let words = [30, Policy::Sporadic as u64, 1_000_000, 100_000_000];
            let create = abi::object::process::CREATE_BATON;
            let sporadic = root.user.method(process.handle, create, words).option(5 | limit << 8).ok().await.handle();
            let plan = Plan::new(&process, "hog").priority(20);
            let hog = root.start(plan, |user| async move { user.hog().await }).await;
            let gate = root.gate(&process).await;
            let gate = root.give_gate(&process, gate).await;
            let uses = Rc::new(Cell::new(0));
            let counted = Rc::clone(&uses);
            let thread = root
                .start(Plan::new(&process, "sporadic").baton(sporadic), |user| async move {
                    loop {
                        let _ = user.compute(10_000).await;
                        counted.set(counted.get() + 1);
                        let until = user.now() + 20_000;
                        let _ = user.receive(gate).deadline(until, abi::call::flags::DEADLINE_RECEIVE).await;
                    }
                })
                .await;
            root.sleep(2_000_000).await;
            assert_eq!(uses.get(), expected);
            root.destroy(hog.handle).await;
            root.sleep(1_000_000).await;
            assert!(uses.get() > 20, "at its low priority it has all that nobody else wants: {}", uses.get());
            root.destroy(thread.handle).await;
        }
        for option in [5 | 9 << 8, 31, 1 << 16] {
            let words = [30, Policy::Sporadic as u64, 1_000_000, 100_000_000];
            let refused =
                root.user.method(process.handle, abi::object::process::CREATE_BATON, words).option(option).await;
            assert_eq!(refused.error(), Some(abi::Error::BadArgument));
        }
    });
}

/// What a baton has used when its parameters are set is forgotten, replenishments and all.
#[test]
fn a_sporadic_baton_that_is_set_anew_begins_anew() {
    scenario(|root| async move {
        let process = root.process().await;
        let sporadic = root.baton_with(&process, 30, Policy::Sporadic, 1_000_000, 10_000_000, 5).await;
        root.start(Plan::new(&process, "hog").priority(20), |user| async move { user.hog().await }).await;
        root.start(Plan::new(&process, "sporadic").baton(sporadic), |user| async move { user.hog().await }).await;
        root.sleep(5_000_000).await;
        let billed = async || root.user.method(sporadic, baton_method::INFORMATION, [0; 4]).ok().await.words[0];
        let before = billed().await;
        assert!(before.abs_diff(1_000_000) < 20_000, "{before}");
        let words = [30, Policy::Sporadic as u64, 500_000, 20_000_000];
        root.user.method(sporadic, baton_method::SET, words).option(5).ok().await;
        // The old millisecond does not come back at 10 ms.
        root.sleep(19_000_000).await;
        let after = billed().await - before;
        assert!(after.abs_diff(500_000) < 20_000, "{after}");
        root.sleep(2_000_000).await;
        let again = billed().await - before;
        assert!(again.abs_diff(1_000_000) < 20_000, "{again}");
    });
}

#[test]
fn a_passive_server_that_lost_its_caller_goes_on_by_the_reserve_baton() {
    scenario(|root| async move {
        let pair = Pair::with_gate(&root, 40, 0).await;
        let log = Log::new();
        let gate = pair.receiving;
        let noted = log.clone();
        let server = root
            .start(Plan::new(&pair.server, "passive").priority(50), |user| async move {
                let message = user.receive(gate).ok().await;
                noted.note("serving");
                let _ = user.compute(1_000_000).await;
                let late = user.reply(message.request).await;
                noted.note(format!("{:?}", late.error()));
                let message = user.receive(gate).ok().await;
                user.reply(message.request).ok().await;
                // Replied without receiving: the caller's baton is gone.
                let _ = user.compute(10_000).await;
                noted.note("goes on");
            })
            .await;
        root.until_state(server, State::Receive).await;
        root.user.method(server.handle, abi::object::thread::SET_BATON, [0; 4]).ok().await;
        let connection = pair.sending;
        let victim = root
            .start(Plan::new(&pair.client, "victim").priority(10), |user| async move {
                let _ = user.call(connection).await;
            })
            .await;
        root.until_noted(&log, 1).await;
        root.destroy(victim.handle).await;
        root.until_noted(&log, 2).await;
        let again = root.give_connection(&pair.client, pair.gate, 9).await;
        let noted = log.clone();
        root.start(Plan::new(&pair.client, "second").priority(10), |user| async move {
            user.call(again).ok().await;
            noted.note("second answered");
        })
        .await;
        root.until_noted(&log, 4).await;
        log.assert(&["serving", "Some(Gone)", "goes on", "second answered"]);
    });
}

#[test]
fn yield_lets_equals_run() {
    scenario(|root| async move {
        let process = root.process().await;
        let log = Log::new();
        for name in ["a", "b"] {
            let noted = log.clone();
            root.start(Plan::new(&process, name).priority(10), |user| async move {
                let _ = user.compute(200_000).await;
                for _ in 0..2 {
                    noted.note(name);
                    user.method(Handle::CURRENT_THREAD, abi::object::thread::YIELD, [0; 4]).ok().await;
                }
            })
            .await;
        }
        root.until_noted(&log, 4).await;
        log.assert(&["a", "b", "a", "b"]);
    });
}

#[test]
fn priorities_are_capped_by_quota() {
    scenario(|root| async move {
        let process = root.process().await;
        let high = u64::from(simulator::scenario::QUOTA.priority) + 1;
        let refused = root.user.method(process.handle, abi::object::process::CREATE_BATON, [high, 0, 0, 0]).await;
        assert!(matches!(refused.error(), Some(abi::Error::QuotaExceeded)), "{refused:?}");
        let baton = root.baton(&process, 10).await;
        let refused = root.user.method(baton, baton_method::SET, [high, 0, 0, 0]).await;
        assert!(matches!(refused.error(), Some(abi::Error::QuotaExceeded)), "{refused:?}");
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
fn a_new_reserve_frees_a_server_that_is_stuck() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let log = Log::new();
        let gate = pair.receiving;
        let noted = log.clone();
        let server = root
            .start(Plan::new(&pair.server, "passive").priority(20), |user| async move {
                let message = user.receive(gate).ok().await;
                user.reply(message.request).ok().await;
                noted.note("goes on");
            })
            .await;
        root.until_state(server, State::Receive).await;
        root.user.method(server.handle, abi::object::thread::SET_BATON, [0; 4]).ok().await;
        let connection = pair.sending;
        let client = root
            .start(Plan::new(&pair.client, "client").priority(10), |user| async move {
                user.call(connection).ok().await;
            })
            .await;
        root.until_state(client, State::Dead).await;
        root.sleep(50_000).await;
        log.assert(&[]);
        assert_eq!(root.state(server).await.state, State::Ready);
        let reserve = root.baton(&pair.server, 15).await;
        root.user.method(pair.gate, abi::object::gate::SET_RESERVE, [reserve.0, 0, 0, 0]).ok().await;
        root.until_noted(&log, 1).await;
    });
}

/// Two passive receivers whose callers are gone: the one runs on the gate's reserve, the other is stuck. However the reserve
/// is given up, the stuck one goes on.
#[test]
fn a_reserve_that_is_given_up_frees_a_receiver_that_is_stuck() {
    scenario(|root| async move {
        for way in ["parks", "receives elsewhere", "dies", "process dies", "gets a baton", "answers and parks"] {
            let pair = Pair::with_gate(&root, 5, 0).await;
            let other = root.gate(&pair.server).await;
            let one_process = root.process().await;
            let log = Log::new();
            let mut one = None;
            // The one that parks last takes the first message.
            for (name, process) in [("stuck", &pair.server), ("one", &one_process)] {
                let (gate, elsewhere) =
                    (root.give_gate(process, pair.gate).await, root.give_gate(process, other).await);
                let noted = log.clone();
                let server = root
                    .start(Plan::new(process, name).priority(50), |user| async move {
                        let message = user.receive(gate).ok().await;
                        noted.note(format!("{name} serves"));
                        let _ = user.compute(500_000).await;
                        if name == "stuck" {
                            noted.note("goes on");
                            return;
                        }
                        match way {
                            "parks" => {
                                let _ = user.receive(gate).await;
                            }
                            "receives elsewhere" => {
                                let _ = user.receive(elsewhere).await;
                            }
                            "answers and parks" => {
                                assert!(user.reply_and_receive(message.request, gate).await.error().is_some());
                                {
                                    let _ = user.receive(gate).await;
                                };
                            }
                            _ => user.hog().await,
                        }
                    })
                    .await;
                root.until_state(server, State::Receive).await;
                root.user.method(server.handle, abi::object::thread::SET_BATON, [0; 4]).ok().await;
                one = Some(server);
            }
            for count in 1..3 {
                let connection = root.give_connection(&pair.client, pair.gate, 1).await;
                let victim = Plan::new(&pair.client, "victim").priority(10);
                let victim = root
                    .start(victim, |user| async move {
                        let _ = user.call(connection).await;
                    })
                    .await;
                root.until_noted(&log, count).await;
                root.destroy(victim.handle).await;
            }
            log.assert(&["one serves", "stuck serves"]);
            root.sleep(100_000).await;
            let one = one.expect("two servers").handle;
            match way {
                "dies" => root.destroy(one).await,
                "process dies" => root.destroy(one_process.handle).await,
                "gets a baton" => {
                    let baton = root.baton(&one_process, 3).await;
                    root.user.method(one, abi::object::thread::SET_BATON, [baton.0, 0, 0, 0]).ok().await;
                }
                _ => {}
            }
            root.until_noted(&log, 3).await;
            log.assert(&["one serves", "stuck serves", "goes on"]);
            for process in [&pair.server, &pair.client, &one_process] {
                let _ = root.user.method(Handle::SELF_PROCESS, DESTROY, [process.handle.0, 0, 0, 0]).repeat().await;
            }
        }
    });
}

/// A reserve that is a thread's own is not free, until that thread dies or gets another; and no gate shares it.
#[test]
fn a_reserve_that_somebody_owns_is_free_when_the_owner_gives_it_up() {
    scenario(|root| async move {
        for dies in [true, false] {
            let pair = Pair::new(&root).await;
            let log = Log::new();
            let (gate, noted) = (pair.receiving, log.clone());
            let server = root
                .start(Plan::new(&pair.server, "passive").priority(20), |user| async move {
                    let message = user.receive(gate).ok().await;
                    user.reply(message.request).ok().await;
                    noted.note("goes on");
                })
                .await;
            root.until_state(server, State::Receive).await;
            root.user.method(server.handle, abi::object::thread::SET_BATON, [0; 4]).ok().await;
            let reserve = root.baton(&pair.server, 5).await;
            let owner = Plan::new(&pair.server, "owner").baton(reserve);
            let owner = root.start(owner, |user| async move { user.hog().await }).await;
            root.user.method(pair.gate, gate_method::SET_RESERVE, [reserve.0, 0, 0, 0]).ok().await;
            let other = root.gate(&pair.server).await;
            let shared = root.user.method(other, gate_method::SET_RESERVE, [reserve.0, 0, 0, 0]).await;
            assert_eq!(shared.error(), Some(abi::Error::Busy));
            let connection = pair.sending;
            let client = Plan::new(&pair.client, "client").priority(10);
            let client = root
                .start(client, |user| async move {
                    user.call(connection).ok().await;
                })
                .await;
            root.until_state(client, State::Dead).await;
            root.sleep(50_000).await;
            log.assert(&[]);
            if dies {
                root.destroy(owner.handle).await;
            } else {
                let baton = root.baton(&pair.server, 3).await;
                root.user.method(owner.handle, abi::object::thread::SET_BATON, [baton.0, 0, 0, 0]).ok().await;
            }
            root.until_noted(&log, 1).await;
            if !dies {
                root.destroy(owner.handle).await;
            }
        }
    });
}

#[test]
fn a_stuck_server_is_freed_by_the_next_caller() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let log = Log::new();
        let gate = pair.receiving;
        let noted = log.clone();
        let server = root
            .start(Plan::new(&pair.server, "passive").priority(20), |user| async move {
                let message = user.receive(gate).ok().await;
                user.reply(message.request).ok().await;
                noted.note("helped");
                let message = user.receive(gate).ok().await;
                user.reply_and_receive(message.request, gate).await;
            })
            .await;
        root.until_state(server, State::Receive).await;
        root.user.method(server.handle, abi::object::thread::SET_BATON, [0; 4]).ok().await;
        for name in ["first", "second"] {
            let connection = root.give_connection(&pair.client, pair.gate, 1).await;
            let noted = log.clone();
            let client = root
                .start(Plan::new(&pair.client, name).priority(10), |user| async move {
                    user.call(connection).ok().await;
                    noted.note(name);
                })
                .await;
            root.until_state(client, State::Dead).await;
        }
        log.assert(&["first", "helped", "second"]);
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

#[test]
fn every_nanosecond_is_billed_to_somebody_or_idle() {
    scenario(|root| async move {
        let pair = Pair::with_gate(&root, 15, 0).await;
        let gate = pair.receiving;
        let server = root
            .start(Plan::new(&pair.server, "server").priority(20), |user| async move {
                let mut message = user.receive(gate).ok().await;
                loop {
                    let _ = user.compute(7_000).await;
                    message = user.reply_and_receive(message.request, gate).ok().await;
                }
            })
            .await;
        root.until_state(server, State::Receive).await;
        let own = root.gate(&pair.client).await;
        let own = root.give_gate(&pair.client, own).await;
        let mut threads = vec![server];
        for number in 0..3 {
            let connection = root.give_connection(&pair.client, pair.gate, number).await;
            let plan = Plan::new(&pair.client, "client").round_robin(10 + number as u8, 50_000);
            threads.push(
                root.start(plan, |user| async move {
                    loop {
                        user.call(connection).ok().await;
                        let until = user.now() + 30_000;
                        let _ = user.receive(own).deadline(until, abi::call::flags::DEADLINE_RECEIVE).await;
                    }
                })
                .await,
            );
        }
        let billed = async || {
            let itself = root.user.method(root.record().thread, abi::object::thread::STATE, [0; 4]).ok().await;
            let mut sum = itself.words[2];
            for thread in &threads {
                sum += root.state(*thread).await.billed_ns;
            }
            let idle = root.user.method(Handle::SELF_PROCESS, abi::object::process::SYSTEM, [0; 4]).ok().await.words[3];
            (sum + idle, idle, root.user.now())
        };
        let before = billed().await;
        root.sleep(20_000_000).await;
        let after = billed().await;
        let (accounted, idle, elapsed) = (after.0 - before.0, after.1 - before.1, after.2 - before.2);
        assert!(idle > 0 && accounted.abs_diff(elapsed) < elapsed / 200, "{accounted} of {elapsed} ns, {idle} idle");
        // Clients pay for the server's work: it has a baton of its own and does not use it.
        let server_billed = root.state(threads[0]).await.billed_ns;
        assert!(server_billed < 100_000, "{server_billed}");
    });
}

/// Help must reach the places in queues, not only the processor: whoever is waited for by a strong one, however far up, waits
/// as a strong one.
#[test]
fn a_place_in_a_queue_is_inherited_through_requests_and_gates() {
    scenario(|root| async move {
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
        // The weak one's request is on its way to middle when the strong one comes to front.
        let waits = [(gates[0], "weak", 10), (gates[0], "strong", 40)];
        for (gate, name, priority) in waits {
            let connection = root.give_connection(&client, gate, 1).await;
            root.start(Plan::new(&client, name).priority(priority), |user| async move {
                user.call(connection).word(u64::from(priority)).ok().await;
            })
            .await;
            root.sleep(30_000).await;
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
    });
}
