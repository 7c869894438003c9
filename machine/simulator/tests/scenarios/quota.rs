//! Quotas: exact, carved out of the parent's, and a full one is an answer.

use abi::object::{access, gate as gate_method, process};
use abi::thread::State;
use abi::{Error, Handle, Quota, Rights};
use simulator::scenario;
use simulator::scenario::{Log, Plan, QUOTA, Root, quota_bytes};

use crate::Pair;

const PLACE: u64 = 0x60_0000_0000;
const SCRATCH: u64 = abi::boot::STACK_TOP - 3000;

/// The field of a quota that a method is charged to.
type Counted = fn(&Quota) -> u32;

async fn create(root: &Root, parent: Handle, quota: &Quota) -> simulator::Answer {
    root.user.store(SCRATCH, &quota_bytes(quota)).await.unwrap();
    root.user.method(parent, process::CREATE_PROCESS, [5, 0, 0, 0]).send(SCRATCH, 40).await
}

#[test]
fn each_kind_is_counted_exactly_and_refused_when_it_is_full() {
    scenario(|root| async move {
        let quota = Quota {
            processes: 1,
            threads: 3,
            batons: 4,
            gates: 2,
            connections: 5,
            pulses: 6,
            memories: 7,
            mappings: 8,
            pages: 60,
            priority: 99,
        };
        let process = root.process_with(quota).await;
        let user = root.user.clone();
        let usage = root.usage(process.handle).await;
        assert_eq!(usage.limit, quota);
        assert_eq!(Quota { pages: 0, ..usage.used }, Quota { mappings: 1, priority: 99, ..Quota::default() });
        let gate = root.gate(&process).await;
        let memory = root.memory(1).await;
        let methods: [(u16, [u64; 4], u32, Counted); 5] = [
            (process::CREATE_THREAD, [0; 4], 3, |quota| quota.threads),
            (process::CREATE_BATON, [5, 0, 0, 0], 4, |quota| quota.batons),
            (process::CREATE_GATE, [0; 4], 2, |quota| quota.gates),
            (process::CREATE_PULSE, [gate.0, 1, 0, 0], 6, |quota| quota.pulses),
            (process::MAP, [memory.0, PLACE | access::READ, 0, abi::PAGE_SIZE], 8, |quota| quota.mappings),
        ];
        for (method, mut words, limit, counted) in methods {
            let mut made = Vec::new();
            loop {
                let used = counted(&root.usage(process.handle).await.used);
                if method == process::MAP {
                    words[1] += 2 * abi::PAGE_SIZE;
                }
                let answer = user.method(process.handle, method, words).repeat().await;
                if used == limit {
                    assert_eq!(answer.error(), Some(Error::QuotaExceeded), "method {method:#x}");
                    assert_eq!(counted(&root.usage(process.handle).await.used), limit);
                    break;
                }
                assert_eq!(answer.error(), None, "method {method:#x} at {used} of {limit}");
                assert_eq!(counted(&root.usage(process.handle).await.used), used + 1);
                made.push(answer.handle());
            }
            if method == process::MAP {
                user.method(process.handle, process::UNMAP, [PLACE, 64 * abi::PAGE_SIZE, 0, 0]).ok().await;
                assert_eq!(root.usage(process.handle).await.used.mappings, 1);
                continue;
            }
            for handle in made {
                root.destroy(handle).await;
            }
        }
        // Connections are charged to who makes them.
        let receiving = root.give_gate(&process, gate).await;
        let log = Log::new();
        let noted = log.clone();
        root.start(Plan::new(&process, "connector").priority(10), |user| async move {
            let mut connections = Vec::new();
            for badge in 0..5 {
                connections.push(user.method(receiving, gate_method::CONNECT, [badge, 0, 0, 0]).ok().await.handle());
            }
            user.method(receiving, gate_method::CONNECT, [9, 0, 0, 0]).fails(Error::QuotaExceeded).await;
            // The slot comes back when the server has taken the notice of the last close, at the latest.
            user.method(Handle::SELF_PROCESS, process::CLOSE, [connections[0].0, 0, 0, 0]).ok().await;
            user.receive(receiving).ok().await;
            let _ = user.receive(receiving).poll().await;
            user.method(receiving, gate_method::CONNECT, [10, 0, 0, 0]).ok().await;
            noted.note("done");
        })
        .await;
        root.until_noted(&log, 1).await;
    });
}

#[test]
fn a_child_is_carved_out_of_its_parent() {
    scenario(|root| async move {
        let parent = root.process_with(Quota { processes: 3, threads: 10, batons: 10, priority: 50, ..QUOTA }).await;
        let share = Quota {
            processes: 0,
            threads: 6,
            batons: 2,
            gates: 1,
            connections: 1,
            pulses: 1,
            memories: 1,
            mappings: 1,
            pages: 20,
            priority: 50,
        };
        let before = root.usage(parent.handle).await.used;
        let child = create(&root, parent.handle, &share).await;
        assert_eq!(child.error(), None);
        let used = root.usage(parent.handle).await.used;
        assert_eq!(
            (used.threads - before.threads, used.processes - before.processes, used.pages - before.pages),
            (6, 1, 20)
        );
        // What is left is 4.
        assert_eq!(create(&root, parent.handle, &share).await.error(), Some(Error::QuotaExceeded));
        assert_eq!(root.usage(parent.handle).await.used, used);
        assert!(create(&root, parent.handle, &Quota { threads: 1, priority: 51, ..share }).await.error().is_some());
        // Resize: growth from the parent, what is used must fit.
        let user = root.user.clone();
        let set = async |process: Handle, quota: &Quota| {
            user.store(SCRATCH, &quota_bytes(quota)).await.unwrap();
            user.method(process, process::SET_QUOTA, [0; 4]).send(SCRATCH, 40).await.error()
        };
        // Only the parent itself may.
        assert_eq!(set(child.handle(), &share).await, Some(Error::NoRight));
        assert_eq!(set(Handle::SELF_PROCESS, &Quota { threads: 100_000, ..share }).await, Some(Error::NoRight));
        root.destroy(child.handle()).await;
        assert_eq!(root.usage(parent.handle).await.used, before);
        let threads = async || root.usage(Handle::SELF_PROCESS).await.used.threads;
        let rest = threads().await;
        assert_eq!(set(parent.handle, &Quota { threads: 30, ..QUOTA }).await, None);
        assert_eq!(threads().await, rest + 20);
        assert_eq!(set(parent.handle, &Quota { threads: 100_000, ..QUOTA }).await, Some(Error::QuotaExceeded));
        user.method(parent.handle, process::CREATE_THREAD, [0; 4]).ok().await;
        assert_eq!(set(parent.handle, &Quota { threads: 0, ..QUOTA }).await, Some(Error::QuotaExceeded));
        assert_eq!(set(parent.handle, &Quota { threads: 1, ..QUOTA }).await, None);
        assert_eq!(threads().await, rest - 9);
    });
}

/// Every allocation that a little system needs is refused in turn: the asker is told, nothing leaks, nobody else notices.
#[test]
fn each_allocation_refused_in_turn_is_an_error_to_the_asker_only() {
    scenario(|root| async move {
        let full = Quota {
            processes: 2,
            threads: 2,
            batons: 2,
            gates: 1,
            connections: 2,
            pulses: 1,
            memories: 2,
            mappings: 4,
            pages: 40,
            priority: 50,
        };
        let lessened: [fn(&mut Quota) -> &mut u32; 9] = [
            |quota| &mut quota.processes,
            |quota| &mut quota.threads,
            |quota| &mut quota.batons,
            |quota| &mut quota.gates,
            |quota| &mut quota.connections,
            |quota| &mut quota.pulses,
            |quota| &mut quota.memories,
            |quota| &mut quota.mappings,
            |quota| &mut quota.pages,
        ];
        let before = root.usage(Handle::SELF_PROCESS).await.used;
        let user = root.user.clone();
        let mut refusals = 0;
        for kind in lessened {
            let mut quota = full;
            let most = *kind(&mut quota);
            for limit in 0..=most {
                let mut quota = full;
                *kind(&mut quota) = limit;
                let created = create(&root, Handle::SELF_PROCESS, &quota).await;
                if created.error().is_some() {
                    // A process has a root table and a page of handles at least.
                    let hopeless = quota.pages < 2;
                    assert_eq!(created.error(), Some(if hopeless { Error::BadArgument } else { Error::QuotaExceeded }));
                    refusals += 1;
                    continue;
                }
                let process = created.handle();
                let mut handles = Vec::new();
                let gate = user.method(process, process::CREATE_GATE, [0; 4]).await;
                let mut answers = vec![gate];
                for _ in 0..2 {
                    answers.push(user.method(process, process::CREATE_THREAD, [0; 4]).await);
                    answers.push(user.method(process, process::CREATE_BATON, [10, 0, 0, 0]).await);
                    if gate.error().is_none() {
                        answers.push(user.method(gate.handle(), gate_method::CONNECT, [1, 0, 0, 0]).await);
                    }
                    answers.push(
                        create(&root, process, &Quota { threads: 0, pages: 10, priority: 5, ..Quota::default() }).await,
                    );
                    let ram = root.record().ram[0];
                    answers.push(
                        user.method(
                            ram,
                            abi::object::memory::DERIVE,
                            [process.0, 0, 600 * abi::PAGE_SIZE, u64::from(Rights::ALL.0)],
                        )
                        .await,
                    );
                    let memory = answers.last().expect("just pushed");
                    if memory.error().is_none() {
                        let memory = memory.handle();
                        let place = PLACE + (answers.len() as u64) * 0x4000_0000;
                        let mapped = user
                            .method(process, process::MAP, [memory.0, place | access::READ, 0, 600 * abi::PAGE_SIZE])
                            .repeat()
                            .await;
                        let after = root.usage(process).await.used.mappings;
                        if let Some(error) = mapped.error() {
                            assert_eq!(error, Error::QuotaExceeded);
                            refusals += 1;
                            let again = root.usage(process).await.used.mappings;
                            assert_eq!(after, again);
                        }
                    }
                }
                for answer in answers {
                    match answer.error() {
                        None => handles.push(answer.handle()),
                        Some(error) => {
                            assert_eq!(error, Error::QuotaExceeded);
                            refusals += 1;
                        }
                    }
                }
                root.destroy(process).await;
                for handle in handles {
                    let _ = user.method(Handle::SELF_PROCESS, process::CLOSE, [handle.0, 0, 0, 0]).await;
                }
                let after = root.usage(Handle::SELF_PROCESS).await.used;
                assert_eq!(after, before, "quota {quota:?}");
            }
        }
        assert!(refusals > 50, "{refusals}");
    });
}

#[test]
fn a_connection_is_charged_to_who_makes_it_or_to_a_caller_that_allowed_it_and_nobody_else() {
    scenario(|root| async move {
        let pair = crate::Pair::new(&root).await;
        // The gate is a supervisor's, as gates are that outlive their servers.
        let supervisor = root.process().await;
        let gate = root.gate(&supervisor).await;
        let connection = root.give_connection(&pair.client, gate, 1).await;
        let gate = root.give_gate(&pair.server, gate).await;
        let log = Log::new();
        let noted = log.clone();
        root.start(Plan::new(&pair.server, "server").priority(20), |user| async move {
            for round in 0..2 {
                let message = user.receive(gate).ok().await;
                let mut made = user.method(gate, gate_method::CONNECT, [100 + round, message.request, 0, 0]).await;
                noted.note(format!("{:?}", made.error()));
                if made.error().is_some() {
                    made = user.method(gate, gate_method::CONNECT, [100 + round, 0, 0, 0]).ok().await;
                }
                user.reply(message.request).give(made.handle(), Rights::SEND).ok().await;
            }
        })
        .await;
        let used = async || {
            let mut used = Vec::new();
            for process in [pair.server.handle, pair.client.handle, supervisor.handle, Handle::SELF_PROCESS] {
                used.push(root.usage(process).await.used.connections);
            }
            used
        };
        let before = used().await;
        let noted = log.clone();
        root.start(Plan::new(&pair.client, "client").priority(10), |user| async move {
            let slot = user.reserve().await;
            user.call(connection).flags(abi::call::flags::CHARGE_ME).take(slot).ok().await;
            let slot = user.reserve().await;
            user.call(connection).take(slot).ok().await;
            noted.note("done");
        })
        .await;
        root.until_noted(&log, 3).await;
        let after = used().await;
        let growth: Vec<u32> = after.iter().zip(&before).map(|(after, before)| after - before).collect();
        assert_eq!(growth, [1, 1, 0, 0]);
        log.assert(&["None", "Some(NoRight)", "done"]);
    });
}

#[test]
fn when_the_system_has_none_left_the_asker_is_told_and_others_go_on() {
    scenario(|root| async move {
        let user = root.user.clone();
        let before = root.usage(Handle::SELF_PROCESS).await.used;
        // Two children may each have more than there is together with the other.
        let mut handles = Vec::new();
        let gate = root.own_gate();
        let refused = loop {
            let made = user.method(Handle::SELF_PROCESS, process::CREATE_PULSE, [gate.0, 1, 0, 0]).await;
            if let Some(error) = made.error() {
                break error;
            }
            handles.push(made.handle());
            assert!(handles.len() < 10_000);
        };
        assert!(matches!(refused, Error::Exhausted | Error::QuotaExceeded), "{refused:?}");
        for handle in handles {
            root.destroy(handle).await;
        }
        assert_eq!(root.usage(Handle::SELF_PROCESS).await.used, before);
        root.user.method(Handle::SELF_PROCESS, process::CREATE_PULSE, [gate.0, 1, 0, 0]).ok().await;
    });
}

/// Who made it is gone, and others hold it: it goes on working, and is charged to the parent until the last handle is closed.
#[test]
fn a_connection_outlives_who_paid_for_it_at_its_parents_expense() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let user = root.user.clone();
        let connections = async || root.usage(Handle::SELF_PROCESS).await.used.connections;
        let before = connections().await;
        let payer = root.process().await;
        let gate = root.give_gate(&payer, pair.gate).await;
        let call = root.give_connection(&payer, pair.gate, 1).await;
        let plan = Plan::new(&payer, "payer").priority(10);
        let thread = root.start(plan, |user| async move {
            let made = user.method(gate, gate_method::CONNECT, [9, 0, 0, 0]).ok().await.handle();
            user.call(call).hand_over(made, Rights::ALL).ok().await;
        });
        let thread = thread.await;
        let slot = user.reserve().await;
        let request = user.receive(pair.gate).take(slot).ok().await.request;
        user.reply(request).ok().await;
        root.until_state(thread, State::Dead).await;
        assert_eq!(root.usage(payer.handle).await.used.connections, 1);
        root.destroy(payer.handle).await;
        // What it called by is closed, and forgotten when that was received.
        assert_eq!(user.receive(pair.gate).ok().await.badge, 1);
        user.receive(pair.gate).poll().fails(Error::TimedOut).await;
        assert_eq!(connections().await, before + 1);
        let given = root.give(&pair.client, slot, Rights::SEND).await;
        root.close(slot).await;
        let client = root.start(Plan::new(&pair.client, "client").priority(10), |user| async move {
            user.call(given).ok().await;
            user.method(Handle::SELF_PROCESS, process::CLOSE, [given.0, 0, 0, 0]).ok().await;
        });
        let client = client.await;
        let message = user.receive(pair.gate).ok().await;
        assert_eq!(message.badge, 9);
        user.reply(message.request).ok().await;
        root.until_state(client, State::Dead).await;
        let closed = user.receive(pair.gate).ok().await;
        assert_eq!((closed.label, closed.badge), (abi::notice::CLOSED, 9));
        user.receive(pair.gate).poll().fails(Error::TimedOut).await;
        assert_eq!(connections().await, before);
    });
}
