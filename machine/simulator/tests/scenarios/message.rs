//! Calls and replies: who runs, what is copied, what is an error and whose.

use abi::call::flags;
use abi::object::{gate as gate_method, process};
use abi::thread::State;
use abi::{Error, Handle, Rights};
use simulator::scenario;
use simulator::scenario::{DATA, Log, Plan};

use crate::Pair;

#[test]
fn a_call_carries_label_words_badge_identity_and_priority() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let log = Log::new();
        let (identity, gate, connection, noted) = (pair.client.identity, pair.receiving, pair.sending, log.clone());
        root.start(Plan::new(&pair.server, "server").priority(20), |user| async move {
            let message = user.receive(gate).await;
            assert_eq!(message.error(), None);
            assert_eq!((message.label, message.words), (5, [1, 2, 3, 4]));
            assert_eq!((message.badge, message.identity), (77, identity));
            assert_eq!((message.sent, message.room, message.moved), (0, 0, 0));
            assert_eq!(message.status().priority(), 30);
            assert_ne!(message.request, 0);
            let done = user.reply(message.request).label(6).words([9, 8, 7, 6]).await;
            assert_eq!(done.error(), None);
            noted.note("replied");
        })
        .await;
        let noted = log.clone();
        root.start(Plan::new(&pair.client, "client").priority(30), |user| async move {
            let answer = user.call(connection).label(5).words([1, 2, 3, 4]).ok().await;
            assert_eq!((answer.label, answer.words), (6, [9, 8, 7, 6]));
            noted.note("answered");
        })
        .await;
        root.until_noted(&log, 2).await;
    });
}

#[test]
fn the_parked_receiver_runs_at_once_on_the_callers_baton_and_the_caller_at_the_reply() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let log = Log::new();
        let (gate, connection) = (pair.receiving, pair.sending);
        let noted = log.clone();
        let server = root
            .start(Plan::new(&pair.server, "passive").priority(50), |user| async move {
                let mut message = user.receive(gate).await;
                loop {
                    noted.note(format!("serve {}", message.words[0]));
                    message = user.reply_and_receive(message.request, gate).words(message.words).await;
                }
            })
            .await;
        root.until_state(server, State::Receive).await;
        // From here on it has no baton of its own: all it runs on is its callers'.
        root.user.method(server.handle, abi::object::thread::SET_BATON, [0; 4]).ok().await;
        for name in ["a", "b"] {
            let noted = log.clone();
            let connection =
                if name == "a" { connection } else { root.give_connection(&pair.client, pair.gate, 78).await };
            root.start(Plan::new(&pair.client, name).priority(10), |user| async move {
                for round in 0..3 {
                    noted.note(format!("{name} calls"));
                    user.call(connection).word(round).ok().await;
                    noted.note(format!("{name} has {round}"));
                }
            })
            .await;
        }
        root.until_noted(&log, 18).await;
        // FIFO equals: a does all its rounds, through the server, before b runs at all.
        log.assert(&[
            "a calls", "serve 0", "a has 0", "a calls", "serve 1", "a has 1", "a calls", "serve 2", "a has 2", //
            "b calls", "serve 0", "b has 0", "b calls", "serve 1", "b has 1", "b calls", "serve 2", "b has 2",
        ]);
    });
}

#[test]
fn a_caller_without_receiver_waits_in_send_then_in_reply() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let connection = pair.sending;
        let client = root.start(Plan::new(&pair.client, "client").priority(10), |user| async move {
            user.call(connection).ok().await;
        });
        let client = client.await;
        root.until_state(client, State::Send).await;
        assert_eq!(root.state(client).await.waits_for, pair.server.identity);
        let message = root.user.receive(pair.gate).await;
        assert_eq!(root.state(client).await.state, State::Reply);
        root.user.reply(message.request).ok().await;
        root.until_state(client, State::Dead).await;
    });
}

#[test]
fn a_server_reads_and_writes_a_request_at_any_offset_before_it_replies() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let log = Log::new();
        let (gate, connection) = (pair.receiving, pair.sending);
        let noted = log.clone();
        root.start(Plan::new(&pair.server, "server").priority(20), |user| async move {
            let message = user.receive(gate).room(DATA, 4).ok().await;
            assert_eq!((message.moved, message.sent, message.room), (4, 5000, 4000));
            let read = user.read_request(message.request, 4094, DATA + 100, 4).ok().await;
            assert_eq!(read.moved, 4);
            assert_eq!(
                user.load(DATA + 100, 4).await.unwrap(),
                [(4094 % 251) as u8, (4095 % 251) as u8, (4096 % 251) as u8, (4097 % 251) as u8]
            );
            // Past the end: fewer bytes, then none.
            assert_eq!(user.read_request(message.request, 4998, DATA, 100).ok().await.moved, 2);
            assert_eq!(user.read_request(message.request, 5000, DATA, 100).ok().await.moved, 0);
            // No message is longer than that: an offset behind it is none.
            let most = abi::envelope::MESSAGE_MAXIMUM;
            assert_eq!(user.read_request(message.request, most, DATA, 100).ok().await.moved, 0);
            for offset in [most + 1, u64::MAX] {
                user.read_request(message.request, offset, DATA, 100).fails(Error::BadArgument).await;
            }
            user.store(DATA, b"hello").await.unwrap();
            assert_eq!(user.write_request(message.request, 3998, DATA, 5).ok().await.moved, 2);
            assert_eq!(user.write_request(message.request, 10, DATA, 5).ok().await.moved, 5);
            user.reply(message.request).send(DATA, 1).ok().await;
            // The right to answer is used up.
            let late = user.read_request(message.request, 0, DATA, 1).await;
            assert_eq!(late.error(), Some(Error::Gone));
            assert_eq!(user.write_request(message.request, 0, DATA, 1).await.error(), Some(Error::Gone));
            assert_eq!(user.reply(message.request).await.error(), Some(Error::Gone));
            noted.note("served");
        })
        .await;
        let noted = log.clone();
        root.start(Plan::new(&pair.client, "client").priority(20), |user| async move {
            let bytes: Vec<u8> = (0..5000_u64).map(|index| (index % 251) as u8).collect();
            user.store(DATA, &bytes).await.unwrap();
            user.call(connection).send(DATA, 5000).room(DATA + 8192, 4000).ok().await;
            assert_eq!(user.load(DATA + 8192 + 3998, 3).await.unwrap(), [b'h', b'e', 0]);
            assert_eq!(user.load(DATA + 8192 + 10, 5).await.unwrap(), b"hello");
            assert_eq!(user.load(DATA + 8192, 2).await.unwrap(), [b'h', 0]);
            noted.note("answered");
        })
        .await;
        root.until_noted(&log, 2).await;
    });
}

/// Not even where flags make it no plain one.
#[test]
fn a_message_without_bytes_carries_none_of_the_message_before() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let (gate, connection, log) = (pair.receiving, pair.sending, Log::new());
        let (extra, noted) = (root.give_connection(&pair.client, pair.gate, 5).await, log.clone());
        root.start_server(Plan::new(&pair.server, "server").priority(20), |user| async move {
            let slot = user.reserve().await;
            let mut message = user.receive(gate).room(DATA, 9).take(slot).ok().await;
            loop {
                let (sent, handles) = (message.sent, message.status().handles());
                noted.note(format!("{} {sent} {} {handles}", message.moved, message.room));
                message = user.reply_and_receive(message.request, gate).room(DATA, 9).ok().await;
            }
        })
        .await;
        root.start(Plan::new(&pair.client, "client").priority(10), |user| async move {
            user.call(connection).send(DATA, 5).room(DATA, 7).give(extra, Rights::SEND).ok().await;
            user.call(connection).flags(flags::INTERRUPTIBLE).ok().await;
            user.call(connection).send(DATA, 3).room(DATA, 7).ok().await;
            user.call(connection).flags(flags::NO_GRACE).ok().await;
        })
        .await;
        root.until_noted(&log, 4).await;
        log.assert(&["5 5 7 1", "0 0 0 0", "3 3 7 0", "0 0 0 0"]);
    });
}

#[test]
fn what_does_not_exist_is_an_error() {
    scenario(|root| async move {
        let user = root.user.clone();
        assert_eq!(user.raw(7, 0).await.error(), Some(Error::Unsupported));
        assert_eq!(user.raw(255, 0).await.error(), Some(Error::Unsupported));
        // Segments in registers leave no room for an envelope or a deadline.
        for flag in [flags::ENVELOPE, flags::DEADLINE_SEND, flags::DEADLINE_REPLY, flags::DEADLINE_RECEIVE] {
            // In the deadline's register is a length.
            let answer = user.raw(flags::SEGMENTS, 0).deadline(5, flag).await;
            assert_eq!(answer.error(), Some(Error::BadArgument));
        }
        assert_eq!(user.call(Handle::NONE).await.error(), Some(Error::BadHandle));
        assert_eq!(user.call(Handle(u64::MAX)).await.error(), Some(Error::BadHandle));
        assert_eq!(user.call(Handle::new(500, 1)).await.error(), Some(Error::BadHandle));
        assert_eq!(user.call(Handle::new(1, 2)).await.error(), Some(Error::BadHandle));
        assert_eq!(user.receive(Handle::SELF_PROCESS).await.error(), Some(Error::WrongKind));
        assert_eq!(user.raise(Handle::SELF_PROCESS, 1).await.error(), Some(Error::WrongKind));
        assert_eq!(
            user.method(Handle::SELF_PROCESS, process::CREATE_GATE + 200, [0; 4]).await.error(),
            Some(Error::Unsupported)
        );
        assert_eq!(user.method(root.own_gate(), process::CREATE_GATE, [0; 4]).await.error(), Some(Error::WrongKind));
        for request in [0, 1, u64::MAX, 1 << 16, 0x10_0001] {
            assert_eq!(user.reply(request).await.error(), Some(Error::Gone), "request {request:#x}");
        }
    });
}

#[test]
fn only_the_receiving_process_can_use_a_request() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let connection = pair.sending;
        let client = root.start(Plan::new(&pair.client, "client").priority(10), |user| async move {
            user.call(connection).ok().await;
        });
        let client = client.await;
        let message = root.user.receive(pair.gate).await;
        let log = Log::new();
        let noted = log.clone();
        let request = message.request;
        root.start(Plan::new(&pair.server, "thief").priority(10), |user| async move {
            for forged in [request, request + 1, request - 1, request + (1 << 16)] {
                assert_eq!(user.reply(forged).await.error(), Some(Error::Gone));
                assert_eq!(user.read_request(forged, 0, DATA, 1).await.error(), Some(Error::Gone));
            }
            noted.note("refused");
        })
        .await;
        root.until_noted(&log, 1).await;
        assert_eq!(root.state(client).await.state, State::Reply);
        root.user.reply(request).ok().await;
        root.until_state(client, State::Dead).await;
    });
}

#[test]
fn several_requests_may_be_answered_in_any_order() {
    scenario(|root| async move {
        let pair = Pair::with_gate(&root, 40, 0).await;
        let log = Log::new();
        let gate = pair.receiving;
        root.start(Plan::new(&pair.server, "server").priority(30), |user| async move {
            let mut held = Vec::new();
            while held.len() < 3 {
                held.push(user.receive(gate).ok().await.request);
            }
            for request in [held[1], held[2], held[0]] {
                user.reply(request).ok().await;
            }
        })
        .await;
        for number in 0..3 {
            let connection = root.give_connection(&pair.client, pair.gate, number).await;
            let noted = log.clone();
            root.start(Plan::new(&pair.client, "client").priority(10), |user| async move {
                user.call(connection).ok().await;
                noted.note(format!("{number}"));
            })
            .await;
        }
        root.until_noted(&log, 3).await;
        // The server replied to 1 first; but on the baton of 2 it ran, which goes on where it was stopped.
        log.assert(&["2", "1", "0"]);
    });
}

#[test]
fn receivers_parked_at_a_gate_that_dies_are_told() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let log = Log::new();
        for _ in 0..3 {
            let gate = pair.receiving;
            let noted = log.clone();
            let thread = root
                .start(Plan::new(&pair.server, "server").priority(20), |user| async move {
                    noted.note(format!("{:?}", user.receive(gate).await.error()));
                    noted.note(format!("{:?}", user.receive(gate).await.error()));
                })
                .await;
            root.until_state(thread, State::Receive).await;
        }
        root.destroy(pair.gate).await;
        root.until_noted(&log, 6).await;
        assert!(log.all(|note| note == "Some(Gone)" || note == "Some(BadHandle)"));
    });
}

#[test]
fn of_several_receivers_each_takes_a_message() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let log = Log::new();
        let mut threads = Vec::new();
        for number in 0..3 {
            let gate = pair.receiving;
            let noted = log.clone();
            let thread = root
                .start(Plan::new(&pair.server, "server").priority(20), |user| async move {
                    let mut message = user.receive(gate).ok().await;
                    loop {
                        noted.note(format!("{number} serves"));
                        let _ = user.compute(100_000).await;
                        message = user.reply_and_receive(message.request, gate).ok().await;
                    }
                })
                .await;
            root.until_state(thread, State::Receive).await;
            threads.push(thread);
        }
        for badge in 0..6 {
            let connection = root.give_connection(&pair.client, pair.gate, badge).await;
            root.start(Plan::new(&pair.client, "client").priority(10 + badge as u8), |user| async move {
                user.call(connection).ok().await;
            })
            .await;
        }
        root.until_noted(&log, 6).await;
        for thread in threads {
            root.until_state(thread, State::Receive).await;
        }
        let figures = root.user.method(pair.gate, gate_method::INFORMATION, [0; 4]).ok().await;
        assert_eq!((figures.words[0], figures.words[2]), (0, 0));
    });
}

#[test]
fn a_request_says_who_asked_and_how_strongly() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let connection = pair.sending;
        root.start(Plan::new(&pair.client, "client").priority(17), |user| async move {
            user.call(connection).ok().await;
        })
        .await;
        let message = root.user.receive(pair.gate).ok().await;
        let said = root.user.method(pair.gate, gate_method::REQUEST_INFORMATION, [message.request, 0, 0, 0]).ok().await;
        assert_eq!(said.words[..2], [pair.client.identity, 17]);
        root.user.reply(message.request).ok().await;
        root.user
            .method(pair.gate, gate_method::REQUEST_INFORMATION, [message.request, 0, 0, 0])
            .fails(Error::Gone)
            .await;
    });
}

#[test]
fn a_request_is_none_of_the_gate_that_comes_after_its_own() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let gate = root.gate(&pair.server).await;
        let connection = root.give_connection(&pair.client, gate, 3).await;
        root.start(Plan::new(&pair.client, "client").priority(17), |user| async move {
            user.call(connection).ok().await;
        })
        .await;
        let message = root.user.receive(gate).ok().await;
        root.destroy(gate).await;
        let next = root.gate(&pair.server).await;
        root.user
            .method(next, gate_method::REQUEST_INFORMATION, [message.request, 0, 0, 0])
            .fails(Error::NotFound)
            .await;
        root.user.reply(message.request).ok().await;
    });
}
