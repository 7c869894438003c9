//! A gate outlives its server: whoever else receives there takes over what the dead one left.

use abi::Handle;
use abi::call::{Status, flags};
use abi::thread::State;
use simulator::scenario;
use simulator::scenario::{Log, Plan};

/// The one that was to take a dead server's request dies with it: the next one takes it.
#[test]
fn a_request_is_not_lost_when_its_next_receiver_dies_too() {
    scenario(|root| async move {
        let supervisor = root.process().await;
        let (dying, staying, client) = (root.process().await, root.process().await, root.process().await);
        let gate = root.gate_with(&supervisor, Handle::NONE, 0).await;
        let connection = root.give_connection(&client, gate, 1).await;
        let log = Log::new();
        let (receiving, noted) = (root.give_gate(&staying, gate).await, log.clone());
        let body = |user: simulator::User| async move {
            let answer = user.receive(receiving).ok().await;
            noted.note(format!("retried {}", answer.status & Status::RETRIED != 0));
            user.reply(answer.request).ok().await;
        };
        let last = root.start(Plan::new(&staying, "last").priority(20), body).await;
        root.until_state(last, State::Receive).await;
        // The newest thread of a process ends first, so the one that works is the newer; it parks last, so it is served first.
        let receiving = root.give_gate(&dying, gate).await;
        for (name, received) in [("parked", 1), ("working", 1)] {
            let body = move |user: simulator::User| async move {
                for _ in 0..received {
                    user.receive(receiving).ok().await;
                }
                user.hog().await;
            };
            let thread = root.start(Plan::new(&dying, name).priority(20), body).await;
            root.until_state(thread, State::Receive).await;
        }
        let noted = log.clone();
        let body = |user: simulator::User| async move {
            let answer = user.call(connection).flags(flags::RETRY).await;
            noted.note(format!("{:?}", answer.error()));
        };
        let caller = root.start(Plan::new(&client, "caller").priority(10), body).await;
        root.until_state(caller, State::Reply).await;
        root.destroy(dying.handle).await;
        root.until_noted(&log, 2).await;
        log.assert(&["retried true", "None"]);
    });
}

/// A request that the dead one had put off: the one that is busy there works for it at once, on its baton.
#[test]
fn what_a_dead_server_put_off_presses_its_successor() {
    scenario(|root| async move {
        let supervisor = root.process().await;
        let (dying, staying, client) = (root.process().await, root.process().await, root.process().await);
        let gate = root.gate_with(&supervisor, Handle::NONE, 0).await;
        let connection = root.give_connection(&client, gate, 1).await;
        let log = Log::new();
        let receiving = root.give_gate(&dying, gate).await;
        let body = |user: simulator::User| async move {
            user.receive(receiving).ok().await;
            // Put off.
            user.receive(receiving).ok().await;
        };
        let server = root.start(Plan::new(&dying, "server").priority(20), body).await;
        root.until_state(server, State::Receive).await;
        let noted = log.clone();
        let body = |user: simulator::User| async move {
            let answer = user.call(connection).flags(flags::RETRY).await;
            noted.note(format!("{:?}", answer.error()));
        };
        let caller = root.start(Plan::new(&client, "caller").priority(30), body).await;
        root.until_state(caller, State::Reply).await;
        // Busy at the gate, weaker than a program that never stops.
        let (receiving, noted) = (root.give_gate(&staying, gate).await, log.clone());
        let body = |user: simulator::User| async move {
            let _ = user.receive(receiving).poll().await;
            let _ = user.compute(50_000).await;
            noted.note("busy no more");
            let request = user.receive(receiving).ok().await.request;
            user.reply(request).ok().await;
        };
        let successor = root.start(Plan::new(&staying, "successor").priority(5), body).await;
        root.sleep(20_000).await;
        assert_eq!(root.state(successor).await.state, State::Ready);
        root.start(Plan::new(&client, "hog").priority(20), |user| async move { user.hog().await }).await;
        root.destroy(dying.handle).await;
        root.until_noted(&log, 2).await;
        log.assert(&["busy no more", "None"]);
    });
}
