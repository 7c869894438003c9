//! Reserve batons: a passive server that would be stuck goes on with its gate's (DESIGN §2).

use abi::object::gate as gate_method;
use abi::object::process::DESTROY;
use abi::object::thread::SET_BATON;
use abi::thread::State;
use abi::{Handle, PAGE_SIZE};
use simulator::scenario;
use simulator::scenario::{Log, Plan};

use crate::Pair;

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
        root.user.method(server.handle, SET_BATON, [0; 4]).ok().await;
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
        root.user.method(server.handle, SET_BATON, [0; 4]).ok().await;
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
/// is given up, the stuck one goes on; not while it waits with a request.
#[test]
fn a_reserve_that_is_given_up_frees_a_receiver_that_is_stuck() {
    scenario(|root| async move {
        for way in [
            "parks",
            "receives elsewhere",
            "dies",
            "process dies",
            "gets a baton",
            "answers and parks",
            "answers, and its caller has lost its baton",
            "calls, and is put off",
        ] {
            let pair = Pair::with_gate(&root, 5, 0).await;
            let other = root.gate(&pair.server).await;
            let one_process = root.process().await;
            let log = Log::new();
            let mut one = None;
            // The one that parks last takes the first message.
            for (name, process) in [("stuck", &pair.server), ("one", &one_process)] {
                let (gate, elsewhere) =
                    (root.give_gate(process, pair.gate).await, root.give_gate(process, other).await);
                let connection = root.give_connection(process, other, 3).await;
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
                            "answers, and its caller has lost its baton" => {
                                let _ = user.reply_and_receive(message.request, gate).await;
                            }
                            "calls, and is put off" => {
                                user.call(connection).ok().await;
                                noted.note("one is answered");
                                let _ = user.receive(gate).await;
                            }
                            _ => user.hog().await,
                        }
                    })
                    .await;
                root.until_state(server, State::Receive).await;
                root.user.method(server.handle, SET_BATON, [0; 4]).ok().await;
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
                if count == 1 && way == "answers, and its caller has lost its baton" {
                    root.user.method(victim.handle, SET_BATON, [0; 4]).ok().await;
                } else {
                    root.destroy(victim.handle).await;
                }
            }
            let mut expected = vec!["one serves", "stuck serves"];
            log.assert(&expected);
            if way == "calls, and is put off" {
                let request = root.user.receive(other).ok().await.request;
                root.sleep(1_000_000).await;
                log.assert(&expected);
                root.user.reply(request).ok().await;
                expected.push("one is answered");
            }
            root.sleep(100_000).await;
            let one = one.expect("two servers").handle;
            match way {
                "dies" => root.destroy(one).await,
                "process dies" => root.destroy(one_process.handle).await,
                "gets a baton" => {
                    let baton = root.baton(&one_process, 3).await;
                    root.user.method(one, SET_BATON, [baton.0, 0, 0, 0]).ok().await;
                }
                _ => {}
            }
            expected.push("goes on");
            root.until_noted(&log, expected.len()).await;
            log.assert(&expected);
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
        for (runs, dies) in [(true, true), (true, false), (false, true), (false, false)] {
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
            root.user.method(server.handle, SET_BATON, [0; 4]).ok().await;
            let reserve = root.baton(&pair.server, 5).await;
            let owner = if runs {
                let owner = Plan::new(&pair.server, "owner").baton(reserve);
                root.start(owner, |user| async move { user.hog().await }).await
            } else {
                let owner = root.create_thread(&Plan::new(&pair.server, "owner"), 0).await;
                root.user.method(owner.handle, SET_BATON, [reserve.0, 0, 0, 0]).ok().await;
                owner
            };
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
                root.user.method(owner.handle, SET_BATON, [baton.0, 0, 0, 0]).ok().await;
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
        root.user.method(server.handle, SET_BATON, [0; 4]).ok().await;
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

/// A receiver without a baton needs none while it is parked: the reserve is for one that is stuck.
#[test]
fn a_parked_receiver_whose_baton_is_destroyed_leaves_the_reserve_to_others() {
    scenario(|root| async move {
        let pair = Pair::with_gate(&root, 5, 0).await;
        let (gate, log) = (pair.receiving, Log::new());
        let mut parked = Handle::NONE;
        for name in ["parked", "stuck"] {
            let noted = log.clone();
            let plan = Plan::new(&pair.server, name).priority(20);
            let server = root.start_server(plan, |user| async move {
                user.receive(gate).ok().await;
                noted.note(format!("{name} serves"));
                let _ = user.compute(500_000).await;
                noted.note(format!("{name} goes on"));
            });
            let server = server.await;
            if name == "parked" {
                parked = server.baton;
            } else {
                root.user.method(server.handle, SET_BATON, [0; 4]).ok().await;
            }
        }
        root.destroy(parked).await;
        let connection = pair.sending;
        let victim = Plan::new(&pair.client, "victim").priority(10);
        let victim = root
            .start(victim, |user| async move {
                let _ = user.call(connection).await;
            })
            .await;
        root.until_noted(&log, 1).await;
        root.destroy(victim.handle).await;
        root.until_noted(&log, 2).await;
        log.assert(&["stuck serves", "stuck goes on"]);
    });
}

/// A message goes away in the middle of its copy. Its receiver goes on by the reserve, and waits again without it: another one that
/// loses its caller has the reserve then.
#[test]
fn who_waits_again_after_its_message_went_away_leaves_the_reserve_to_others() {
    const PLACE: u64 = 0x50_0000_0000;
    const PAGES: u64 = 512;
    scenario(|root| async move {
        let pair = Pair::with_gate(&root, 30, 0).await;
        for process in [&pair.server, &pair.client] {
            let memory = root.memory(PAGES).await;
            assert_eq!(root.map(process.handle, memory, PLACE, 3, PAGES).await.error(), None);
        }
        let (gate, log) = (pair.receiving, Log::new());
        // The one that parks last takes the first message.
        for name in ["other", "copies"] {
            let noted = log.clone();
            root.start_passive(Plan::new(&pair.server, name), |user| async move {
                user.receive(gate).room(PLACE, PAGES * PAGE_SIZE).ok().await;
                noted.note(format!("{name} serves"));
                let _ = user.compute(500_000).await;
                noted.note(format!("{name} goes on"));
            })
            .await;
        }
        let mut callers = Vec::new();
        for (priority, length) in [(10, PAGES * PAGE_SIZE), (20, 0)] {
            let connection = pair.sending;
            let plan = Plan::new(&pair.client, "caller").priority(priority);
            let caller = root.start(plan, move |user| async move {
                let _ = user.call(connection).send(PLACE, length).await;
            });
            callers.push(caller.await);
            // Some of the long one is copied by now, but not half.
            root.sleep(40_000).await;
        }
        for caller in callers {
            root.destroy(caller.handle).await;
            root.sleep(40_000).await;
        }
        root.until_noted(&log, 2).await;
        log.assert(&["other serves", "other goes on"]);
    });
}

/// Whether a server runs on it or not: the gate has none any more, and a baton that is made in its place is another.
#[test]
fn a_reserve_that_is_destroyed_is_nobodys_any_more() {
    scenario(|root| async move {
        for in_use in [true, false] {
            let pair = Pair::new(&root).await;
            let (gate, connection, log) = (pair.receiving, pair.sending, Log::new());
            let reserve = root.baton(&pair.server, 5).await;
            root.user.method(pair.gate, gate_method::SET_RESERVE, [reserve.0, 0, 0, 0]).ok().await;
            let noted = log.clone();
            let server = root
                .start_passive(Plan::new(&pair.server, "passive"), |user| async move {
                    let message = user.receive(gate).ok().await;
                    user.reply(message.request).ok().await;
                    let _ = user.compute(300_000).await;
                    noted.note("goes on");
                })
                .await;
            let call = async || {
                let plan = Plan::new(&pair.client, "client").priority(10);
                let client = root.start(plan, |user| async move {
                    user.call(connection).ok().await;
                });
                root.until_state(client.await, State::Dead).await;
            };
            if in_use {
                call().await;
                root.sleep(50_000).await;
                assert!(root.billed(reserve).await > 20_000);
            }
            root.destroy(reserve).await;
            let mut others = Vec::new();
            for _ in 0..4 {
                others.push(root.baton(&pair.client, 30).await);
            }
            if !in_use {
                call().await;
            }
            root.sleep(1_000_000).await;
            log.assert(&[]);
            assert_eq!(root.state(server).await.state, State::Ready);
            for other in others {
                assert_eq!(root.billed(other).await, 0);
            }
            let another = root.baton(&pair.server, 5).await;
            root.user.method(pair.gate, gate_method::SET_RESERVE, [another.0, 0, 0, 0]).ok().await;
            root.until_noted(&log, 1).await;
            assert!(root.billed(another).await > 200_000);
            root.dismantle(pair.server).await;
            root.dismantle(pair.client).await;
        }
    });
}
