//! Death of threads, processes and servers: nobody waits for them, and everybody is told.

use abi::call::{Status, flags};
use abi::object::{process, pulse};
use abi::thread::State;
use abi::{Error, Handle, Quota};
use simulator::scenario;
use simulator::scenario::{Log, Plan, QUOTA};

use crate::Pair;

#[test]
fn callers_of_a_dead_gate_are_told() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let log = Log::new();
        let mut threads = Vec::new();
        for number in 0..3 {
            let connection = root.give_connection(&pair.client, pair.gate, number).await;
            let noted = log.clone();
            let thread = root
                .start(Plan::new(&pair.client, "caller").priority(10), |user| async move {
                    noted.note(format!("{:?}", user.call(connection).await.error()));
                    noted.note(format!("{:?}", user.call(connection).await.error()));
                })
                .await;
            root.until_state(thread, State::Send).await;
            threads.push(thread);
        }
        // One is in REPLY, two are in SEND. The request lives on: its server does.
        let request = root.user.receive(pair.gate).ok().await.request;
        root.destroy(pair.gate).await;
        root.until_noted(&log, 4).await;
        root.user.reply(request).ok().await;
        root.until_noted(&log, 6).await;
        let (gone, answered) = ("Some(Gone)", "None");
        log.assert(&[gone, gone, gone, gone, answered, gone]);
    });
}

#[test]
fn when_the_server_process_dies_requests_in_progress_fail_and_callers_stay_queued() {
    scenario(|root| async move {
        let supervisor = root.process().await;
        let pair = Pair::new(&root).await;
        // The gate is the supervisor's; the server only receives at it.
        let gate = root.gate_with(&supervisor, Handle::NONE, 0).await;
        let receiving = root.give_gate(&pair.server, gate).await;
        let log = Log::new();
        let server = root
            .start(Plan::new(&pair.server, "server").priority(20), |user| async move {
                user.receive(receiving).ok().await;
                user.receive(receiving).ok().await;
                user.receive(receiving).ok().await;
                user.hog().await;
            })
            .await;
        root.until_state(server, State::Receive).await;
        for (name, flag, priority) in
            [("plain", 0, 40_u64), ("retry", flags::RETRY, 35), ("retry2", flags::RETRY, 30), ("queued", 0, 25)]
        {
            let connection = root.give_connection(&pair.client, gate, priority).await;
            let noted = log.clone();
            root.start(Plan::new(&pair.client, name).priority(priority as u8), |user| async move {
                let answer = user.call(connection).flags(flag).await;
                noted.note(format!("{name}: {:?}", answer.error()));
            })
            .await;
        }
        root.sleep(200_000).await;
        log.assert(&[]);
        root.destroy(pair.server.handle).await;
        root.until_noted(&log, 1).await;
        // The successor takes them in the same order; what was begun is marked.
        for (badge, retried) in [(35, true), (30, true), (25, false)] {
            let message = root.user.receive(gate).ok().await;
            assert_eq!(message.badge, badge);
            assert_eq!(message.status & Status::RETRIED != 0, retried);
            root.user.reply(message.request).ok().await;
        }
        root.until_noted(&log, 4).await;
        log.assert(&["plain: Some(Gone)", "retry: None", "retry2: None", "queued: None"]);
    });
}

#[test]
fn a_dead_caller_is_gone_for_its_server() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let connection = pair.sending;
        let client = root
            .start(Plan::new(&pair.client, "client").priority(10), |user| async move {
                let _ = user.call(connection).send(simulator::scenario::DATA, 100).await;
            })
            .await;
        root.until_state(client, State::Send).await;
        let message = root.user.receive(pair.gate).ok().await;
        root.destroy(pair.client.handle).await;
        assert_eq!(
            root.user.read_request(message.request, 0, abi::boot::STACK_TOP - 4096, 10).await.error(),
            Some(Error::Gone)
        );
        assert_eq!(root.user.reply(message.request).await.error(), Some(Error::Gone));
        // The last handle to the connection died with its process.
        let notice = root.user.receive(pair.gate).ok().await;
        assert_eq!((notice.label, notice.badge), (abi::notice::CLOSED, 77));
        // It runs on its own baton.
        assert_eq!(notice.status().priority(), root.user.priority().await);
    });
}

#[test]
fn a_death_raises_the_pulse_bound_to_it() {
    scenario(|root| async move {
        let watcher = root.process().await;
        let gate = root.gate(&watcher).await;
        let victim = root.process().await;
        let thread = root
            .start(Plan::new(&victim, "sleeper").priority(10), |user| async move {
                user.hog().await;
            })
            .await;
        for (badge, handle) in [(1, thread.handle), (2, victim.handle)] {
            let pulse = root.pulse(&watcher, gate, badge, 10, false, Handle::NONE).await;
            root.user.method(pulse, pulse::BIND_DEATH, [handle.0, 0, 0, 0]).ok().await;
        }
        assert_eq!(root.user.receive(gate).poll().await.error(), Some(Error::TimedOut));
        root.destroy(thread.handle).await;
        assert_eq!(root.user.receive(gate).ok().await.badge, 1);
        root.destroy(victim.handle).await;
        assert_eq!(root.user.receive(gate).ok().await.badge, 2);
    });
}

#[test]
fn a_thread_that_ends_by_a_fault_nobody_handles_is_dead_and_raises_its_pulse() {
    scenario(|root| async move {
        let watcher = root.process().await;
        let gate = root.gate(&watcher).await;
        let thread = root
            .start(Plan::new(&watcher, "faulter").priority(10), |user| async move {
                let _ = user.compute(100_000).await;
                let _ = user.load(0xdead_0000, 1).await;
            })
            .await;
        let pulse = root.pulse(&watcher, gate, 1, 10, false, Handle::NONE).await;
        root.user.method(pulse, pulse::BIND_DEATH, [thread.handle.0, 0, 0, 0]).ok().await;
        assert_eq!(root.user.receive(gate).ok().await.badge, 1);
        assert_eq!(root.state(thread).await.state, State::Dead);
    });
}

#[test]
fn destroying_a_process_goes_in_pieces_and_everything_comes_back() {
    scenario(|root| async move {
        let before = root.usage(Handle::SELF_PROCESS).await.used;
        let parent = root
            .process_with(Quota {
                processes: 20,
                threads: 100,
                batons: 100,
                memories: 100,
                mappings: 1000,
                pages: 600,
                connections: 200,
                ..QUOTA
            })
            .await;
        let user = root.user.clone();
        let gate = root.gate(&parent).await;
        // Many objects of each kind, a child with some too, and callers in all states.
        let child = {
            let bytes = simulator::scenario::quota_bytes(&Quota {
                processes: 0,
                threads: 60,
                batons: 1,
                gates: 1,
                pages: 60,
                ..QUOTA
            });
            let scratch = abi::boot::STACK_TOP - 3000;
            user.store(scratch, &bytes).await.unwrap();
            user.method(parent.handle, process::CREATE_PROCESS, [1234, 0, 0, 0]).send(scratch, 40).ok().await.handle()
        };
        let mut handles = vec![child];
        for number in 0..60 {
            handles.push(root.connect(gate, number).await);
            handles.push(root.baton(&parent, 10).await);
            handles.push(user.method(child, process::CREATE_THREAD, [0; 4]).await.handle());
        }
        for number in 0..10 {
            let connection = root.give_connection(&parent, gate, 1000 + number).await;
            root.start(Plan::new(&parent, "caller").priority(10), |user| async move {
                let _ = user.call(connection).await;
            })
            .await;
        }
        root.sleep(100_000).await;
        user.receive(gate).ok().await;
        // In pieces: `More` came at least once, and from the first piece on the process is dead. Its quota comes back with the last.
        let mut pieces = 0;
        let held = root.usage(Handle::SELF_PROCESS).await.used;
        loop {
            let answer = user.method(Handle::SELF_PROCESS, process::DESTROY, [parent.handle.0, 0, 0, 0]).await;
            assert!(user.method(parent.handle, process::IDENTITY, [0; 4]).await.error().is_some());
            match answer.error() {
                None => break,
                Some(Error::More) => pieces += 1,
                Some(error) => panic!("{error:?}"),
            }
            let now = root.usage(Handle::SELF_PROCESS).await.used;
            // But for its own connections to the gate that is no more.
            assert_eq!(Quota { connections: held.connections, ..now }, held);
        }
        assert!(pieces > 0, "all at once is too long");
        for handle in handles {
            let _ = user.method(Handle::SELF_PROCESS, process::CLOSE, [handle.0, 0, 0, 0]).await;
        }
        let after = root.usage(Handle::SELF_PROCESS).await.used;
        // Root's own Memories for stacks and data are still there.
        assert_eq!(Quota { memories: 0, ..after }, Quota { memories: 0, ..before });
    });
}

#[test]
fn if_the_destroyer_dies_its_parent_inherits_the_obligation() {
    scenario(|root| async move {
        let before = root.usage(Handle::SELF_PROCESS).await.used;
        let destroyer = root
            .process_with(Quota {
                processes: 4,
                threads: 200,
                batons: 100,
                connections: 400,
                pages: 500,
                mappings: 400,
                ..QUOTA
            })
            .await;
        let log = Log::new();
        let user = root.user.clone();
        let bytes = simulator::scenario::quota_bytes(&Quota {
            processes: 0,
            threads: 150,
            connections: 200,
            pages: 200,
            ..QUOTA
        });
        let scratch = abi::boot::STACK_TOP - 3000;
        user.store(scratch, &bytes).await.unwrap();
        let victim =
            user.method(destroyer.handle, process::CREATE_PROCESS, [99, 0, 0, 0]).send(scratch, 40).ok().await.handle();
        for _ in 0..150 {
            let thread = user.method(victim, process::CREATE_THREAD, [0; 4]).ok().await.handle();
            root.close(thread).await;
        }
        let target = root.give(&destroyer, victim, abi::Rights::ALL).await;
        let noted = log.clone();
        root.start(Plan::new(&destroyer, "destroyer").priority(30), |user| async move {
            // One piece only, then it dies.
            let answer = user.method(Handle::SELF_PROCESS, process::DESTROY, [target.0, 0, 0, 0]).await;
            noted.note(format!("{:?}", answer.error()));
        })
        .await;
        root.until_noted(&log, 1).await;
        log.assert(&["Some(More)"]);
        root.destroy(destroyer.handle).await;
        let after = root.usage(Handle::SELF_PROCESS).await.used;
        assert_eq!(Quota { memories: 0, ..after }, Quota { memories: 0, ..before });
    });
}

#[test]
fn a_process_that_destroys_itself_runs_no_more_and_leaves_nothing() {
    scenario(|root| async move {
        let before = root.usage(Handle::SELF_PROCESS).await.used;
        let process = root.process().await;
        let itself = root.give(&process, process.handle, abi::Rights::ALL).await;
        // More than one piece takes.
        for _ in 0..12 {
            root.gate(&process).await;
        }
        let log = Log::new();
        let noted = log.clone();
        root.start(Plan::new(&process, "itself").priority(30), |user| async move {
            noted.note("begins");
            let _ = user.method(Handle::SELF_PROCESS, process::DESTROY, [itself.0, 0, 0, 0]).await;
            noted.note("never");
        })
        .await;
        root.sleep(5_000_000).await;
        log.assert(&["begins"]);
        let after = root.usage(Handle::SELF_PROCESS).await.used;
        assert_eq!(Quota { memories: 0, ..after }, Quota { memories: 0, ..before });
    });
}

#[test]
fn a_notice_that_its_taker_did_not_settle_is_given_to_the_next() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let log = Log::new();
        let victim = root
            .start(Plan::new(&pair.client, "victim").priority(5), |user| async move {
                user.hog().await;
            })
            .await;
        let death = root.pulse(&pair.server, pair.gate, 200, 10, false, Handle::NONE).await;
        root.user.method(death, pulse::BIND_DEATH, [victim.handle.0, 0, 0, 0]).ok().await;
        let extra = root.connect(pair.gate, 55).await;
        let mut receivers = Vec::new();
        for _ in 0..2 {
            let gate = pair.receiving;
            let noted = log.clone();
            receivers.push(
                root.start(Plan::new(&pair.server, "taker").round_robin(20, 100_000), |user| async move {
                    let message = user.receive(gate).ok().await;
                    noted.note(format!("took {}", message.badge));
                    user.hog().await;
                })
                .await,
            );
        }
        root.close(extra).await;
        root.destroy(victim.handle).await;
        root.until_noted(&log, 2).await;
        // Neither receives again: both die, and their successor is told.
        for receiver in receivers {
            root.destroy(receiver.handle).await;
        }
        let mut badges = Vec::new();
        for _ in 0..2 {
            badges.push(root.user.receive(pair.gate).ok().await.badge);
        }
        badges.sort_unstable();
        assert_eq!(badges, [55, 200]);
        root.user.receive(pair.gate).poll().fails(Error::TimedOut).await;
    });
}

#[test]
fn a_retried_request_keeps_its_deadline() {
    scenario(|root| async move {
        let supervisor = root.process().await;
        let pair = Pair::new(&root).await;
        let gate = root.gate(&supervisor).await;
        let receiving = root.give_gate(&pair.server, gate).await;
        let connection = root.give_connection(&pair.client, gate, 1).await;
        let log = Log::new();
        let server = root
            .start(Plan::new(&pair.server, "server").priority(20), |user| async move {
                user.receive(receiving).ok().await;
                user.hog().await;
            })
            .await;
        root.until_state(server, State::Receive).await;
        let noted = log.clone();
        let until = root.user.now() + 400_000;
        root.start(Plan::new(&pair.client, "client").priority(10), |user| async move {
            let states = flags::DEADLINE_SEND | flags::DEADLINE_REPLY;
            let answer = user.call(connection).flags(flags::RETRY).deadline(until, states).await;
            assert_eq!(answer.error(), Some(Error::TimedOut));
            assert!(user.now() >= until && user.now() < until + 50_000);
            noted.note("timed out");
        })
        .await;
        root.sleep(100_000).await;
        root.destroy(server.handle).await;
        root.until_noted(&log, 1).await;
    });
}

#[test]
fn a_baton_that_is_destroyed_in_use_leaves_its_thread_to_the_reserve() {
    scenario(|root| async move {
        let pair = Pair::with_gate(&root, 12, 0).await;
        let log = Log::new();
        let gate = pair.receiving;
        let noted = log.clone();
        let server = root
            .start(Plan::new(&pair.server, "server").priority(20), |user| async move {
                let message = user.receive(gate).ok().await;
                noted.note("serves");
                let _ = user.compute(300_000).await;
                user.reply(message.request).ok().await;
                noted.note("replied");
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
        root.until_noted(&log, 1).await;
        root.destroy(client.baton).await;
        root.until_noted(&log, 2).await;
        // The client has its answer, and nothing to run on.
        assert_eq!(root.state(client).await.state, State::Ready);
        let other = root.baton(&pair.client, 9).await;
        root.user.method(client.handle, abi::object::thread::SET_BATON, [other.0, 0, 0, 0]).ok().await;
        root.until_state(client, State::Dead).await;
    });
}

#[test]
fn what_was_taken_from_a_pulse_that_is_gone_is_not_given_back_to_its_successor() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let log = Log::new();
        let mut victims = Vec::new();
        for _ in 0..2 {
            let plan = Plan::new(&pair.client, "victim").priority(5);
            victims.push(root.start(plan, |user| async move { user.hog().await }).await);
        }
        let first = root.pulse(&pair.server, pair.gate, 1, 10, false, Handle::NONE).await;
        root.user.method(first, pulse::BIND_DEATH, [victims[0].handle.0, 0, 0, 0]).ok().await;
        let gate = pair.receiving;
        let noted = log.clone();
        let taker = root
            .start(Plan::new(&pair.server, "taker").priority(20), |user| async move {
                let message = user.receive(gate).ok().await;
                noted.note(format!("took {}", message.badge));
                user.hog().await;
            })
            .await;
        root.until_state(taker, State::Receive).await;
        root.destroy(victims[0].handle).await;
        root.until_noted(&log, 1).await;
        root.destroy(first).await;
        // In the same slot, for a thread that lives.
        let second = root.pulse(&pair.server, pair.gate, 2, 10, false, Handle::NONE).await;
        root.user.method(second, pulse::BIND_DEATH, [victims[1].handle.0, 0, 0, 0]).ok().await;
        root.destroy(taker.handle).await;
        root.user.receive(pair.gate).poll().fails(Error::TimedOut).await;
        root.destroy(victims[1].handle).await;
        assert_eq!(root.user.receive(pair.gate).ok().await.badge, 2);
    });
}

#[test]
fn eight_pulses_tell_of_one_death() {
    scenario(|root| async move {
        let process = root.process().await;
        let gate = root.own_gate();
        let mut pulses = Vec::new();
        for badge in 0..9 {
            pulses.push(root.pulse(&process, gate, badge, 9, false, Handle::NONE).await);
        }
        let victim = root.process().await;
        let bind = |one: Handle| root.user.method(one, pulse::BIND_DEATH, [victim.handle.0, 0, 0, 0]);
        for one in &pulses[..8] {
            bind(*one).ok().await;
        }
        bind(pulses[8]).fails(Error::Busy).await;
        // Binding one again, and one more after another was destroyed, is nothing new.
        bind(pulses[3]).ok().await;
        root.destroy(pulses[0]).await;
        bind(pulses[8]).ok().await;
        root.destroy(victim.handle).await;
        let mut told = Vec::new();
        while let message = root.user.receive(gate).poll().await
            && message.error().is_none()
        {
            told.push(message.badge);
        }
        told.sort_unstable();
        assert_eq!(told, [1, 2, 3, 4, 5, 6, 7, 8]);
    });
}

/// Children go before their parents, and are found by going down from the topmost: not deeper than a bound.
#[test]
fn the_tree_of_processes_has_a_bounded_depth() {
    scenario(|root| async move {
        let before = root.usage(Handle::SELF_PROCESS).await.used;
        let scratch = abi::boot::STACK_TOP - 2048;
        let (mut parent, mut top, mut depth) = (Handle::SELF_PROCESS, Handle::NONE, 0);
        let refused = loop {
            let left = 60 - depth;
            let quota = abi::Quota { processes: left, pages: 3 * left, ..abi::Quota::default() };
            root.user.store(scratch, &simulator::scenario::quota_bytes(&quota)).await.expect("root is never moved");
            let made = root.user.method(parent, process::CREATE_PROCESS, [0; 4]).send(scratch, 40).await;
            if let Some(error) = made.error() {
                break error;
            }
            (parent, depth) = (made.handle(), depth + 1);
            top = if top.is_none() { parent } else { top };
        };
        assert_eq!((refused, depth), (Error::QuotaExceeded, 31));
        root.destroy(top).await;
        assert_eq!(root.usage(Handle::SELF_PROCESS).await.used, before);
    });
}
