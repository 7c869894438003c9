//! A gate outlives its server: callers stay queued, and requests in progress whose callers asked for it are queued again.

use abi::call::flags;
use abi::object::{gate, thread};
use abi::thread::State;
use abi::{Error, Handle, Status};
use simulator::scenario;
use simulator::scenario::{DATA, Log, Plan, Process, Root, Thread};

use crate::Pair;

/// A supervisor's gate, at which servers come and go.
struct Supervised {
    gate: Handle,
    clients: Process,
    answered: Log,
}

impl Supervised {
    async fn new(root: &Root) -> Self {
        let (supervisor, clients) = (root.process().await, root.process().await);
        let gate = root.gate(&supervisor).await;
        Self { gate, clients, answered: Log::new() }
    }

    /// A server with threads that each take so many requests, put all but the last off, and never answer.
    async fn server(&self, root: &Root, takes: &[u64], seen: &Log) -> Process {
        let process = root.process().await;
        let receiving = root.give_gate(&process, self.gate).await;
        let nobody = root.gate(&process).await;
        let nobody = root.give_connection(&process, nobody, 0).await;
        for count in takes.iter().copied() {
            let noted = seen.clone();
            let plan = Plan::new(&process, "server").priority(40);
            root.start(plan, |user| async move {
                for _ in 0..count {
                    let message = user.receive(receiving).room(DATA, 8).ok().await;
                    noted.note(seen_as(&message));
                }
                let _ = user.call(nobody).await;
            })
            .await;
            root.sleep(50_000).await;
        }
        process
    }

    /// A caller with this badge, in registers or with an envelope.
    async fn caller(&self, root: &Root, badge: u64, priority: u8, flag: u64) -> Thread {
        let connection = root.give_connection(&self.clients, self.gate, badge).await;
        let answered = self.answered.clone();
        let plan = Plan::new(&self.clients, "caller").round_robin(priority, 20_000);
        root.start(plan, |user| async move {
            let call = user.call(connection).flags(flag);
            let call = if badge.is_multiple_of(2) { call.send(DATA, 8) } else { call };
            let error = call.await.error();
            answered.note(error.map_or(format!("{badge}"), |error| format!("{badge} {error:?}")));
        })
        .await
    }

    /// What a successor finds, in order, answering each.
    async fn succeed(&self, root: &Root) -> Vec<String> {
        let mut found = Vec::new();
        loop {
            let message = root.user.receive(self.gate).poll().await;
            if message.error().is_some() {
                return found;
            }
            found.push(seen_as(&message));
            root.user.reply(message.request).ok().await;
        }
    }
}

fn seen_as(message: &simulator::Answer) -> String {
    let retried = message.status & Status::RETRIED != 0;
    format!("{}{}", message.badge, if retried { " retried" } else { "" })
}

/// Whether one thread took them all and put them off, or several took one each: they come again in the order in which they
/// had come, before those that have waited since.
#[test]
fn retried_requests_come_again_in_their_order_and_before_who_waited() {
    scenario(|root| async move {
        for takes in [&[4][..], &[1, 1, 1, 1], &[2, 2], &[3, 1], &[1, 3]] {
            let gate = Supervised::new(&root).await;
            let seen = Log::new();
            let server = gate.server(&root, takes, &seen).await;
            // Stronger than the server's threads, so that each arrives, in this order.
            for badge in 1..=4 {
                gate.caller(&root, badge, 50, flags::RETRY).await;
                root.until_noted(&seen, badge as usize).await;
            }
            for badge in 5..=6 {
                let waiting = gate.caller(&root, badge, 50, flags::RETRY).await;
                root.until_state(waiting, State::Send).await;
            }
            seen.assert(&["1", "2", "3", "4"]);
            root.dismantle(server).await;
            // The next server dies of them, too, half-way.
            let again = Log::new();
            let server = gate.server(&root, &[2], &again).await;
            root.until_noted(&again, 2).await;
            again.assert(&["1 retried", "2 retried"]);
            root.dismantle(server).await;
            let found = gate.succeed(&root).await;
            assert_eq!(found, ["1 retried", "2 retried", "3 retried", "4 retried", "5", "6"], "{takes:?}");
            root.until_noted(&gate.answered, 6).await;
            assert!(gate.answered.all(|note| !note.contains(' ')), "{:?}", gate.answered);
        }
    });
}

#[test]
fn retried_requests_come_again_by_priority_and_others_fail() {
    scenario(|root| async move {
        let gate = Supervised::new(&root).await;
        let seen = Log::new();
        let server = gate.server(&root, &[4], &seen).await;
        for (badge, priority, flag) in [(1, 50, flags::RETRY), (2, 52, 0), (3, 51, flags::RETRY), (4, 52, 0)] {
            gate.caller(&root, badge, priority, flag).await;
            root.until_noted(&seen, badge as usize).await;
        }
        let waiting = gate.caller(&root, 5, 51, 0).await;
        root.until_state(waiting, State::Send).await;
        root.dismantle(server).await;
        root.until_noted(&gate.answered, 2).await;
        let mut failed = gate.answered.notes();
        failed.sort_unstable();
        assert_eq!(failed, ["2 Gone", "4 Gone"]);
        assert_eq!(gate.succeed(&root).await, ["3 retried", "5", "1 retried"]);
        root.until_noted(&gate.answered, 5).await;
    });
}

/// A request that one thread put off is still its process's: it comes again when the process dies, not with the thread.
#[test]
fn a_request_is_retried_with_the_thread_that_serves_it_or_the_process_that_put_it_off() {
    scenario(|root| async move {
        let gate = Supervised::new(&root).await;
        let process = root.process().await;
        let receiving = root.give_gate(&process, gate.gate).await;
        let seen = Log::new();
        let noted = seen.clone();
        let thread = root
            .start(Plan::new(&process, "server").priority(40), |user| async move {
                for _ in 0..2 {
                    noted.note(seen_as(&user.receive(receiving).ok().await));
                }
                let _ = user.compute(u64::MAX / 2).await;
            })
            .await;
        root.until_state(thread, State::Receive).await;
        for badge in 1..=2 {
            gate.caller(&root, badge, 50, flags::RETRY).await;
            root.until_noted(&seen, badge as usize).await;
        }
        root.destroy(thread.handle).await;
        assert_eq!(gate.succeed(&root).await, ["2 retried"]);
        root.destroy(process.handle).await;
        assert_eq!(gate.succeed(&root).await, ["1 retried"]);
        root.until_noted(&gate.answered, 2).await;
    });
}

#[test]
fn a_successor_finds_the_live_connections_by_their_badges() {
    scenario(|root| async move {
        let supervised = Supervised::new(&root).await;
        let (user, gate) = (root.user.clone(), supervised.gate);
        let server = supervised.server(&root, &[1], &Log::new()).await;
        // Many badges, one of them twice, one with several handles, and some that are closed again.
        let mut expected = Vec::new();
        for number in 0..40_u64 {
            let badge = number * 37 % 101;
            let connection = root.connect(gate, badge).await;
            if number % 5 == 0 {
                // Until its notice is dealt with, it is there, without handles.
                root.close(connection).await;
                expected.push((badge, 0));
                continue;
            }
            if number % 7 == 0 {
                root.give(&supervised.clients, connection, abi::Rights::SEND).await;
            }
            expected.push((badge, 1 + u64::from(number % 7 == 0)));
        }
        root.dismantle(server).await;
        expected.sort_unstable();
        let mut found = Vec::new();
        let mut next = user.method(gate, gate::NEXT_CONNECTION, [0; 4]).option(1).await;
        while next.error().is_none() {
            found.push((next.words[0], next.words[1]));
            next = user.method(gate, gate::NEXT_CONNECTION, [next.words[0], 0, 0, 0]).await;
        }
        assert_eq!(next.error(), Some(Error::NotFound));
        assert_eq!(found, expected);
    });
}

/// Who wants to leave does when its server is gone, and is told why it wanted to: its request does not come again.
#[test]
fn a_caller_that_wants_to_leave_does_when_its_server_dies() {
    const GRACE_NS: u64 = 100_000_000;
    scenario(|root| async move {
        for (interrupted, flag) in [(true, flags::RETRY), (false, flags::RETRY), (true, 0), (false, 0)] {
            for process_dies in [true, false] {
                let pair = Pair::new(&root).await;
                let supervisor = root.process().await;
                let gate = root.gate_with(&supervisor, Handle::NONE, GRACE_NS).await;
                let receiving = root.give_gate(&pair.server, gate).await;
                let connection = root.give_connection(&pair.client, gate, 1).await;
                let log = Log::new();
                let server = root
                    .start_server(Plan::new(&pair.server, "server").priority(20), |user| async move {
                        user.receive(receiving).ok().await;
                        user.hog().await;
                    })
                    .await;
                let noted = log.clone();
                let client = root
                    .start(Plan::new(&pair.client, "client").priority(10), |user| async move {
                        let call = user.call(connection).flags(flag);
                        let call = if interrupted {
                            call.flags(flags::INTERRUPTIBLE)
                        } else {
                            call.deadline(user.now() + 200_000, flags::DEADLINE_SEND | flags::DEADLINE_REPLY)
                        };
                        noted.note(format!("{:?}", call.await.error()));
                    })
                    .await;
                root.until_state(client, State::Reply).await;
                if interrupted {
                    root.user.method(client.handle, thread::INTERRUPT, [0; 4]).ok().await;
                }
                root.sleep(300_000).await;
                // The server has the time of grace, and has not heard of it.
                assert_eq!(root.state(client).await.state, State::Reply);
                let dies = root.user.now();
                root.destroy(if process_dies { pair.server.handle } else { server.handle }).await;
                root.until_noted(&log, 1).await;
                assert!(root.user.now() < dies + GRACE_NS / 2);
                log.assert(&[if interrupted { "Some(Interrupted)" } else { "Some(TimedOut)" }]);
                root.user.receive(gate).poll().fails(Error::TimedOut).await;
                for process in [pair.server, pair.client, supervisor] {
                    root.dismantle(process).await;
                }
            }
        }
    });
}

/// Its baton was destroyed while it waited for the answer, and it was given another.
#[test]
fn a_retried_request_waits_with_the_baton_that_its_caller_has_by_then() {
    scenario(|root| async move {
        let gate = Supervised::new(&root).await;
        let seen = Log::new();
        let server = gate.server(&root, &[1], &seen).await;
        let client = gate.caller(&root, 1, 50, flags::RETRY).await;
        root.until_noted(&seen, 1).await;
        root.destroy(client.baton).await;
        let other = root.baton(&gate.clients, 33).await;
        root.user.method(client.handle, thread::SET_BATON, [other.0, 0, 0, 0]).ok().await;
        root.dismantle(server).await;
        let message = root.user.receive(gate.gate).ok().await;
        assert_eq!((seen_as(&message), message.status().priority()), ("1 retried".to_string(), 33));
        root.user.reply(message.request).ok().await;
        root.until_noted(&gate.answered, 1).await;
        gate.answered.assert(&["1"]);
    });
}
