//! A thread's own baton, set while it works for somebody else.

use abi::object::thread::SET_BATON;
use abi::{Error, Handle};
use simulator::scenario;
use simulator::scenario::{Log, Plan};

use crate::Pair;

/// For whom the thread works meanwhile: it goes on with that one's baton, and with its own when it has done with it.
#[test]
fn a_baton_that_is_set_while_its_thread_works_for_another_is_used_afterwards() {
    scenario(|root| async move {
        for pulse in [false, true] {
            let pair = Pair::new(&root).await;
            let (gate, log) = (pair.receiving, Log::new());
            let noted = log.clone();
            let server = root
                .start_passive(Plan::new(&pair.server, "server"), |user| async move {
                    let message = user.receive(gate).ok().await;
                    noted.note("begins");
                    let _ = user.compute(500_000).await;
                    noted.note("is done");
                    if message.request != 0 {
                        user.reply(message.request).ok().await;
                    }
                    user.receive(gate).poll().fails(Error::TimedOut).await;
                    let _ = user.compute(500_000).await;
                    noted.note("works for itself");
                })
                .await;
            let carried = root.baton(&pair.server, 30).await;
            if pulse {
                let pulse = root.pulse(&pair.server, pair.gate, 0, 30, false, carried).await;
                root.user.raise(pulse, 1).ok().await;
            } else {
                let connection = pair.sending;
                root.start(Plan::new(&pair.client, "caller").priority(30), |user| async move {
                    user.call(connection).ok().await;
                })
                .await;
            }
            root.until_noted(&log, 1).await;
            let noted = log.clone();
            let hog = root
                .start(Plan::new(&pair.client, "hog").priority(20), |user| async move {
                    let _ = user.compute(2_000_000).await;
                    noted.note("hog is done");
                })
                .await;
            if pulse {
                // Nobody else can have the one that it uses.
                root.user.method(hog.handle, SET_BATON, [carried.0, 0, 0, 0]).fails(Error::Busy).await;
            }
            let own = root.baton(&pair.server, 5).await;
            root.user.method(server.handle, SET_BATON, [own.0, 0, 0, 0]).ok().await;
            root.until_noted(&log, 4).await;
            log.assert(&["begins", "is done", "hog is done", "works for itself"]);
        }
    });
}

/// It has none, and is to have none: that takes nothing from the caller for whom it waits itself.
#[test]
fn a_thread_without_a_baton_keeps_its_callers_when_it_is_to_have_none() {
    scenario(|root| async move {
        let (first, second) = (Pair::new(&root).await, Pair::new(&root).await);
        let onward = root.give_connection(&first.server, second.gate, 1).await;
        let log = Log::new();
        let mut passive = Handle::NONE;
        for (pair, calls) in [(&second, Handle::NONE), (&first, onward)] {
            let (gate, noted) = (pair.receiving, log.clone());
            let server = root
                .start_passive(Plan::new(&pair.server, "server"), |user| async move {
                    let message = user.receive(gate).ok().await;
                    if calls == Handle::NONE {
                        noted.note("begins");
                        let _ = user.compute(500_000).await;
                    } else {
                        user.call(calls).ok().await;
                    }
                    noted.note("is done");
                    user.reply_and_receive(message.request, gate).ok().await;
                })
                .await;
            passive = server.handle;
        }
        for name in ["caller", "hog"] {
            let (connection, noted) = (first.sending, log.clone());
            let plan = Plan::new(&first.client, name).priority(if name == "hog" { 20 } else { 30 });
            root.start(plan, move |user| async move {
                if name == "hog" {
                    let _ = user.compute(2_000_000).await;
                } else {
                    user.call(connection).ok().await;
                }
                noted.note(format!("{name} is done"));
            })
            .await;
        }
        root.until_noted(&log, 1).await;
        root.user.method(passive, SET_BATON, [0; 4]).ok().await;
        root.until_noted(&log, 5).await;
        log.assert(&["begins", "is done", "is done", "caller is done", "hog is done"]);
    });
}
