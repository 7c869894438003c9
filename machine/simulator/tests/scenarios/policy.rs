//! Who runs: the strongest baton; among equals the first come, or in turn; and how strong a baton may be (DESIGN §2).

use abi::object::{baton, process, thread};
use abi::thread::{Policy, State};
use abi::{Error, Handle, Quota, Rights};
use simulator::scenario;
use simulator::scenario::{Log, Plan, QUOTA, Timeline, quota_bytes};

use crate::Pair;

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
            let billed = root.billed(baton).await;
            assert!(billed.abs_diff(30_000_000) < 1_000_000, "{billed}");
        }
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

/// Who blocks has had its turn.
#[test]
fn a_fifo_baton_that_blocks_goes_behind_its_equals() {
    scenario(|root| async move {
        let process = root.process().await;
        let gate = root.gate(&process).await;
        let gate = root.give_gate(&process, gate).await;
        let log = Log::new();
        for name in ["blocks", "computes"] {
            let noted = log.clone();
            root.start(Plan::new(&process, name).priority(10), |user| async move {
                noted.note(format!("{name} first"));
                if name == "blocks" {
                    user.pause(gate, 50_000).await;
                } else {
                    let _ = user.compute(1_000_000).await;
                }
                noted.note(format!("{name} then"));
            })
            .await;
        }
        root.until_noted(&log, 4).await;
        log.assert(&["blocks first", "computes first", "computes then", "blocks then"]);
    });
}

const SLICE_NS: u64 = 1_000_000;

/// Every turn but the last is a whole slice.
fn assert_whole_slices(turns: &[(usize, u64)]) {
    for (group, ns) in &turns[..turns.len() - 1] {
        assert!(ns.abs_diff(SLICE_NS) < 5_000, "group {group} had {ns} ns in a turn: {turns:?}");
    }
}

/// The receiver goes on with what is left of the caller's slice, and the caller with what the receiver left: turns end in the
/// middle of a service, and are no longer for all the messages.
#[test]
fn the_slice_goes_with_the_message() {
    scenario(|root| async move {
        for passive in [false, true] {
            let pair = Pair::new(&root).await;
            let gate = pair.receiving;
            let plan = Plan::new(&pair.server, "server");
            let server = if passive {
                root.start_passive(plan, |user| async move { user.serve(gate, 270_000).await }).await
            } else {
                root.start_server(plan.round_robin(10, SLICE_NS), |user| async move { user.serve(gate, 270_000).await })
                    .await
            };
            let connection = pair.sending;
            let plan = Plan::new(&pair.client, "client").round_robin(10, SLICE_NS);
            let client = root
                .start(plan, |user| async move {
                    loop {
                        let _ = user.compute(10_000).await;
                        user.call(connection).ok().await;
                    }
                })
                .await;
            let plan = Plan::new(&pair.client, "hog").round_robin(10, SLICE_NS);
            let hog = root.start(plan, |user| async move { user.hog().await }).await;
            let timeline = Timeline::new(&root);
            root.sleep(30 * SLICE_NS).await;
            let turns = timeline.turns(&[&[client, server], &[hog]]);
            assert!(turns.len() >= 29, "{turns:?}");
            assert_whole_slices(&turns);
            for thread in [client, server, hog] {
                root.destroy(thread.handle).await;
            }
        }
    });
}

/// A stronger one interrupts a turn; it does not end it.
#[test]
fn who_is_preempted_keeps_its_turn_and_the_rest_of_its_slice() {
    scenario(|root| async move {
        let process = root.process().await;
        let gate = root.gate(&process).await;
        let gate = root.give_gate(&process, gate).await;
        let mut equals = Vec::new();
        for name in ["first", "second"] {
            let plan = Plan::new(&process, name).round_robin(10, SLICE_NS);
            equals.push(root.start(plan, |user| async move { user.hog().await }).await);
        }
        root.start(Plan::new(&process, "strong").priority(20), |user| async move {
            loop {
                let _ = user.compute(110_000).await;
                user.pause(gate, 330_000).await;
            }
        })
        .await;
        let timeline = Timeline::new(&root);
        root.sleep(30 * SLICE_NS).await;
        let turns = timeline.turns(&[&equals[..1], &equals[1..]]);
        assert!(turns.len() >= 20, "{turns:?}");
        assert_whole_slices(&turns);
    });
}

/// An active server runs on its caller's baton until it answers or receives again, then on its own; batons of requests that it
/// put off wait. Who is answered runs at once only if it is stronger.
#[test]
fn a_thread_runs_on_the_baton_of_the_message_it_received_last() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let log = Log::new();
        let (gate, noted) = (pair.receiving, log.clone());
        root.start_server(Plan::new(&pair.server, "server").priority(20), |user| async move {
            let weak = user.receive(gate).ok().await;
            noted.note(format!("on {}", user.priority().await));
            user.receive(gate).poll().fails(Error::TimedOut).await;
            noted.note(format!("on {}", user.priority().await));
            let strong = user.receive(gate).ok().await;
            noted.note(format!("on {}", user.priority().await));
            user.reply(weak.request).ok().await;
            noted.note(format!("on {}", user.priority().await));
            user.reply(strong.request).ok().await;
            noted.note(format!("on {}", user.priority().await));
        })
        .await;
        for (name, priority) in [("weak", 10), ("strong", 30)] {
            let connection = root.give_connection(&pair.client, pair.gate, 1).await;
            let noted = log.clone();
            root.start(Plan::new(&pair.client, name).priority(priority), |user| async move {
                user.call(connection).ok().await;
                noted.note(name);
            })
            .await;
            root.sleep(20_000).await;
        }
        root.until_noted(&log, 7).await;
        log.assert(&["on 10", "on 20", "on 30", "on 30", "strong", "on 20", "weak"]);
    });
}

/// The cap is that of the process that pays for the baton, when it is made and when it is changed; a child's is not above its
/// parent's.
#[test]
fn priorities_are_capped_by_quota() {
    scenario(|root| async move {
        let process = root.process().await;
        let cap = u64::from(QUOTA.priority);
        let create = |words| root.user.method(process.handle, process::CREATE_BATON, words);
        create([cap, 0, 0, 0]).ok().await;
        for policy in [Policy::Fifo, Policy::RoundRobin, Policy::Sporadic] {
            create([cap + 1, policy as u64, 1_000_000, 1_000_000]).fails(Error::QuotaExceeded).await;
        }
        create([256, 0, 0, 0]).fails(Error::BadArgument).await;
        // Nor by its low priority.
        create([10, Policy::Sporadic as u64, 1000, 1000]).option(11).fails(Error::BadArgument).await;
        let baton = root.baton(&process, 10).await;
        root.user.method(baton, baton::SET, [cap + 1, 0, 0, 0]).fails(Error::QuotaExceeded).await;
        root.user.method(baton, baton::SET, [cap, 0, 0, 0]).ok().await;

        let quota = Quota { processes: 0, priority: QUOTA.priority + 1, ..QUOTA };
        let small = Quota {
            threads: 1,
            batons: 1,
            gates: 1,
            connections: 1,
            pulses: 1,
            memories: 1,
            mappings: 4,
            pages: 4,
            ..quota
        };
        let given = root.give(&process, process.handle, Rights::ALL).await;
        let log = Log::new();
        let noted = log.clone();
        let bytes = quota_bytes(&small);
        root.start(Plan::new(&process, "parent").priority(10), |user| async move {
            let address = simulator::scenario::DATA;
            user.store(address, &bytes).await.unwrap();
            let child = user.method(given, process::CREATE_PROCESS, [99, 0, 0, 0]).send(address, bytes.len() as u64);
            child.fails(Error::BadArgument).await;
            noted.note("refused");
        })
        .await;
        root.until_noted(&log, 1).await;
    });
}

/// What is there stays what it is: batons, and caps that were carved out of it.
#[test]
fn a_cap_that_is_lowered_counts_from_then_on() {
    scenario(|root| async move {
        let process = root.process().await;
        let strong = root.baton(&process, 150).await;
        let bytes = quota_bytes(&Quota { priority: 100, ..QUOTA });
        let place = abi::boot::STACK_TOP - 3000;
        root.user.store(place, &bytes).await.unwrap();
        root.user.method(process.handle, process::SET_QUOTA, [0; 4]).send(place, bytes.len() as u64).ok().await;
        assert_eq!(root.user.method(strong, baton::INFORMATION, [0; 4]).ok().await.words[1], 150);
        root.user.method(process.handle, process::CREATE_BATON, [101, 0, 0, 0]).fails(Error::QuotaExceeded).await;
        root.user.method(strong, baton::SET, [101, 0, 0, 0]).fails(Error::QuotaExceeded).await;
        for priority in [100, 99, 100] {
            root.user.method(strong, baton::SET, [priority, 0, 0, 0]).ok().await;
        }
    });
}

/// A process that may have no batons, and was given a sporadic one that it may not manage, has that share and no more.
#[test]
fn a_share_is_capped_by_batons_that_cannot_be_changed() {
    scenario(|root| async move {
        let process = root.process_with(Quota { batons: 0, ..QUOTA }).await;
        let other = root.process().await;
        let share = root.baton_with(&other, 20, Policy::Sporadic, 1_000_000, 10_000_000, 1).await;
        let given = root.give(&process, share, Rights::SEND).await;
        let own = root.give(&process, process.handle, Rights::ALL).await;
        let itself = Plan::new(&process, "greedy").baton(share);
        let greedy = root
            .start(itself, |user| async move {
                user.method(own, process::CREATE_BATON, [50, 0, 0, 0]).fails(Error::QuotaExceeded).await;
                user.method(given, baton::SET, [50, 0, 0, 0]).fails(Error::NoRight).await;
                user.hog().await;
            })
            .await;
        root.start(Plan::new(&other, "hog").priority(10), |user| async move { user.hog().await }).await;
        root.sleep(50_000_000).await;
        let billed = root.billed(share).await;
        assert!(billed.abs_diff(5_000_000) < 200_000, "{billed}");
        assert_eq!(root.state(greedy).await.state, State::Ready);
        root.user.method(greedy.handle, thread::STOP, [0; 4]).ok().await;
    });
}
