//! What tools see of threads: in which state each is, and whom it waits for.

use abi::object::{process, thread};
use abi::thread::State;
use abi::{Error, Handle};
use simulator::scenario;
use simulator::scenario::Plan;

use crate::Pair;

/// Under the names of the field, from before its first instruction to after its last.
#[test]
fn a_thread_is_seen_in_each_state_it_can_be_in() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let pager = root.process().await;
        let faults = root.gate(&pager).await;
        let faults = root.connect(faults, 1).await;
        let (gate, connection) = (pair.receiving, pair.sending);
        let seen = async |thread| {
            let now = root.state(thread).await;
            (now.state.name(), now.waits_for)
        };
        let plan = Plan::new(&pair.client, "client").priority(10).fault(faults);
        let base = root.user.world().program("client", |user| async move {
            let _ = user.compute(200_000).await;
            user.call(connection).ok().await;
            let _ = user.load(0x50_0000_0000, 1).await;
        });
        let client = root.create_thread(&plan, base).await;
        assert_eq!(seen(client).await, ("DEAD", 0), "it was not started yet");
        root.begin(&plan, client).await;
        // Whoever asks runs.
        assert_eq!(seen(client).await, ("READY", 0));
        let own = root.user.method(Handle::CURRENT_THREAD, thread::STATE, [0; 4]).ok().await.words[0];
        assert_eq!(State::from_number(own as u8).map(State::name), Some("RUNNING"));
        root.sleep(300_000).await;
        assert_eq!(seen(client).await, ("SEND", pair.server.identity));
        let request = root.user.receive(pair.gate).ok().await.request;
        assert_eq!(seen(client).await, ("REPLY", 1), "root took it");
        root.user.reply(request).ok().await;
        root.sleep(100_000).await;
        assert_eq!(seen(client).await, ("FAULT", pager.identity));
        root.user.method(client.handle, thread::STOP, [0; 4]).ok().await;
        assert_eq!((seen(client).await, root.state(client).await.stopped), (("FAULT", pager.identity), true));
        let server = root.start(Plan::new(&pair.server, "server").priority(20), |user| async move {
            user.receive(gate).poll().fails(Error::TimedOut).await;
            user.receive(gate).ok().await;
        });
        let server = server.await;
        root.sleep(100_000).await;
        assert_eq!(seen(server).await, ("RECEIVE", 0));
        let pulse = root.pulse(&pair.server, pair.gate, 1, 5, false, Handle::NONE).await;
        root.user.raise(pulse, 1).ok().await;
        root.sleep(100_000).await;
        assert_eq!(seen(server).await, ("DEAD", 0));
    });
}

#[test]
fn who_manages_a_process_finds_all_its_threads() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let mut made = Vec::new();
        for priority in 10..13 {
            let plan = Plan::new(&pair.client, "idle").priority(priority).argument(priority.into());
            made.push(
                root.start(plan, |user| async move {
                    let _ = user.compute(u64::MAX >> 1).await;
                })
                .await,
            );
        }
        // In the slots between, those of somebody else and one that is no more.
        root.start(Plan::new(&pair.server, "other").priority(5), |user| async move {
            let _ = user.compute(1).await;
        })
        .await;
        root.user.method(Handle::SELF_PROCESS, process::DESTROY, [made[1].handle.0, 0, 0, 0]).ok().await;
        let (mut slot, mut found) = (0, Vec::new());
        loop {
            let answer = root.user.method(pair.client.handle, process::NEXT_THREAD, [slot, 0, 0, 0]).await;
            match answer.error() {
                Some(Error::NotFound) => break,
                Some(Error::More) => slot = answer.words[0],
                error => {
                    assert_eq!(error, None);
                    assert!(answer.words[1] > slot);
                    slot = answer.words[1];
                    found.push(
                        root.user.method(answer.handle(), thread::STATE, [0; 4]).ok().await.words[0] >> 16 & 0xff,
                    );
                }
            }
        }
        assert_eq!(found, [10, 12]);
    });
}

#[test]
fn a_caller_that_no_receiver_took_waits_for_the_busy_receiver_not_the_gates_owner() {
    scenario(|root| async move {
        let (server, client, owner) = (root.process().await, root.process().await, root.process().await);
        let gate = root.gate_with(&owner, Handle::NONE, 0).await;
        let receiving = root.give_gate(&server, gate).await;
        let connection = root.give_connection(&client, gate, 0).await;
        let state_in_send = |priority| {
            let (root, client) = (root.clone(), client.clone());
            async move {
                let plan = Plan::new(&client, "caller").priority(priority);
                let caller = root
                    .start(plan, |user| async move {
                        let _ = user.call(connection).await;
                    })
                    .await;
                root.until_state(caller, State::Send).await;
                root.state(caller).await
            }
        };
        assert_eq!(state_in_send(10).await.waits_for, owner.identity, "nobody receives yet");
        root.start(Plan::new(&server, "server").priority(20), |user| async move {
            user.receive(receiving).ok().await;
            let _ = user.compute(u64::MAX >> 1).await;
        })
        .await;
        // Stronger than the first, on whose baton the server runs.
        assert_eq!(state_in_send(11).await.waits_for, server.identity);
    });
}
