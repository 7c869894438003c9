//! Calls and replies: who runs, what is copied, what is an error and whose.

use abi::envelope::Envelope;
use abi::object::{access, gate as gate_method, process};
use abi::thread::State;
use abi::{Error, Handle, Segment};
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
fn the_smaller_of_sent_and_wanted_is_moved_and_both_sides_are_told() {
    scenario(|root| async move {
        for (sent, wanted) in [(10, 20), (20, 10), (0, 5), (5, 0), (4096, 4096), (1, 1)] {
            let pair = Pair::new(&root).await;
            let log = Log::new();
            let (gate, connection) = (pair.receiving, pair.sending);
            let noted = log.clone();
            root.start(Plan::new(&pair.server, "server").priority(20), |user| async move {
                let message = user.receive(gate).room(DATA, wanted).ok().await;
                assert_eq!((message.sent, message.moved, message.room), (sent, sent.min(wanted), wanted));
                let bytes = user.load(DATA, 8).await.unwrap();
                assert_eq!(bytes[0], if sent.min(wanted) > 0 { 7 } else { 0 });
                let done = user.reply(message.request).send(DATA, sent).ok().await;
                assert_eq!(done.moved, sent.min(wanted));
                noted.note("served");
            })
            .await;
            let noted = log.clone();
            root.start(Plan::new(&pair.client, "client").priority(20), |user| async move {
                user.store(DATA, &[7; 4096]).await.unwrap();
                let answer = user.call(connection).send(DATA, sent).room(DATA + 8192, wanted).ok().await;
                assert_eq!(answer.moved, sent.min(wanted));
                noted.note("answered");
            })
            .await;
            root.until_noted(&log, 2).await;
        }
    });
}

#[test]
fn segments_are_one_run_of_bytes_whatever_their_alignment_and_pages() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let log = Log::new();
        let (gate, connection) = (pair.receiving, pair.sending);
        let random = root.user.world().random.next();
        let noted = log.clone();
        root.start(Plan::new(&pair.server, "server").priority(20), |user| async move {
            // 4 odd pieces, together 6000 bytes, over page boundaries.
            let message = user
                .receive(gate)
                .room(DATA + 4000, 101)
                .room(DATA + 5003, 3000)
                .room(DATA + 1, 899)
                .room(DATA + 12_287, 2000)
                .ok()
                .await;
            assert_eq!((message.sent, message.moved), (6000, 6000));
            let mut bytes = user.load(DATA + 4000, 101).await.unwrap();
            bytes.extend(user.load(DATA + 5003, 3000).await.unwrap());
            bytes.extend(user.load(DATA + 1, 899).await.unwrap());
            bytes.extend(user.load(DATA + 12_287, 2000).await.unwrap());
            let expected: Vec<u8> = (0..6000_u64).map(|index| (index * 31 + random) as u8).collect();
            assert!(bytes == expected, "the bytes came in another order");
            user.reply(message.request)
                .send(DATA + 4000, 101)
                .send(DATA + 5003, 3000)
                .send(DATA + 1, 899)
                .send(DATA + 12_287, 2000)
                .ok()
                .await;
            noted.note("served");
        })
        .await;
        let noted = log.clone();
        root.start(Plan::new(&pair.client, "client").priority(20), |user| async move {
            let bytes: Vec<u8> = (0..6000_u64).map(|index| (index * 31 + random) as u8).collect();
            user.store(DATA + 3, &bytes[..4093]).await.unwrap();
            user.store(DATA + 8191, &bytes[4093..4100]).await.unwrap();
            user.store(DATA + 9000, &bytes[4100..]).await.unwrap();
            let answer = user
                .call(connection)
                .send(DATA + 3, 4093)
                .send(DATA + 8191, 7)
                .send(DATA + 9000, 1900)
                .room(DATA + 16_385, 5999)
                .room(DATA + 24_000, 10)
                .ok()
                .await;
            assert_eq!(answer.moved, 6000);
            assert!(user.load(DATA + 16_385, 5999).await.unwrap() == bytes[..5999]);
            assert!(user.load(DATA + 24_000, 1).await.unwrap() == bytes[5999..]);
            noted.note("answered");
        })
        .await;
        root.until_noted(&log, 2).await;
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
            assert_eq!(user.read_request(message.request, u64::MAX, DATA, 100).await.moved, 0);
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

#[test]
fn a_lenders_bad_page_is_an_error_to_the_server_and_leaves_the_request_open() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let log = Log::new();
        let (gate, connection) = (pair.receiving, pair.sending);
        let end = DATA + simulator::scenario::DATA_PAGES * abi::PAGE_SIZE;
        let noted = log.clone();
        root.start(Plan::new(&pair.server, "server").priority(20), |user| async move {
            let message = user.receive(gate).ok().await;
            let read = user.read_request(message.request, 0, DATA, 200).await;
            assert_eq!((read.error(), read.moved), (Some(Error::LenderFault), 96));
            let write = user.write_request(message.request, 0, DATA, 200).await;
            assert_eq!((write.error(), write.moved), (Some(Error::LenderFault), 50));
            let reply = user.reply(message.request).send(DATA, 200).await;
            assert_eq!((reply.error(), reply.moved), (Some(Error::LenderFault), 50));
            // The own buffer is blamed on the server itself.
            let own = user.read_request(message.request, 0, end - 10, 40).await;
            assert_eq!((own.error(), own.moved), (Some(Error::BadAddress), 10));
            // reply-and-receive with a failing reply returns without receiving.
            let reply = user.reply_and_receive(message.request, gate).send(DATA, 200).await;
            assert_eq!(reply.error(), Some(Error::LenderFault));
            noted.note("still open");
            user.reply(message.request).word(42).ok().await;
            noted.note("served");
        })
        .await;
        let noted = log.clone();
        root.start(Plan::new(&pair.client, "client").priority(20), |user| async move {
            let answer = user.call(connection).send(end - 96, 200).room(end - 50, 200).ok().await;
            assert_eq!(answer.words[0], 42);
            noted.note("answered");
        })
        .await;
        root.until_noted(&log, 3).await;
    });
}

#[test]
fn a_bad_envelope_is_refused_before_anything_happens() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let log = Log::new();
        let connection = pair.sending;
        let noted = log.clone();
        root.start(Plan::new(&pair.client, "client").priority(20), |user| async move {
            assert_eq!(user.call(connection).envelope_at(0x1000).await.error(), Some(Error::BadAddress));
            assert_eq!(user.call(connection).envelope_at(u64::MAX - 7).await.error(), Some(Error::BadAddress));
            for wrong in [
                Envelope { send_count: 5, ..Envelope::default() },
                Envelope { receive_count: 200, ..Envelope::default() },
                Envelope { give_count: 5, ..Envelope::default() },
                Envelope { take_count: 5, ..Envelope::default() },
                Envelope { reserved: 1, ..Envelope::default() },
            ] {
                assert_eq!(user.call(connection).envelope(wrong).await.error(), Some(Error::BadArgument), "{wrong:?}");
            }
            let mut long = Envelope { send_count: 2, ..Envelope::default() };
            long.send[0] = Segment { address: 0, length: 1 << 30 };
            long.send[1] = Segment { address: 0, length: 1 };
            assert_eq!(user.call(connection).envelope(long).await.error(), Some(Error::BadArgument));
            let mut wraps = Envelope { send_count: 1, ..Envelope::default() };
            wraps.send[0] = Segment { address: u64::MAX - 5, length: 100 };
            assert!(user.call(connection).envelope(wraps).await.error().is_some());
            noted.note("refused");
        })
        .await;
        root.until_noted(&log, 1).await;
        let information = root.user.method(pair.gate, gate_method::INFORMATION, [0; 4]).ok().await;
        assert_eq!(information.words[0], 0, "nobody waits");
    });
}

#[test]
fn what_does_not_exist_is_an_error() {
    scenario(|root| async move {
        let user = root.user.clone();
        assert_eq!(user.raw(7, 0).await.error(), Some(Error::Unsupported));
        assert_eq!(user.raw(255, 0).await.error(), Some(Error::Unsupported));
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
fn a_cycle_of_calls_is_an_answer() {
    scenario(|root| async move {
        let (a, b, c) = (root.process().await, root.process().await, root.process().await);
        let mut gates = Vec::new();
        for process in [&a, &b, &c] {
            gates.push(root.gate(process).await);
        }
        let log = Log::new();
        for (number, process) in [&a, &b, &c].into_iter().enumerate() {
            let receiving = root.give_gate(process, gates[number]).await;
            let next = root.give_connection(process, gates[(number + 1) % 3], 100 + number as u64).await;
            let noted = log.clone();
            root.start(Plan::new(process, "ring").priority(10 + number as u8), |user| async move {
                let message = user.receive(receiving).ok().await;
                let answer = user.call(next).await;
                noted.note(format!("{number}: {:?}", answer.error()));
                user.reply(message.request).ok().await;
            })
            .await;
        }
        let first = root.connect(gates[0], 1).await;
        root.sleep(100_000).await;
        root.user.call(first).ok().await;
        root.until_noted(&log, 3).await;
        log.assert(&["2: Some(Deadlock)", "1: None", "0: None"]);
    });
}

#[test]
fn a_server_that_calls_itself_through_its_only_thread_is_told_so() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let own = root.give_connection(&pair.server, pair.gate, 3).await;
        let gate = pair.receiving;
        let log = Log::new();
        let noted = log.clone();
        root.start(Plan::new(&pair.server, "server").priority(10), |user| async move {
            let message = user.receive(gate).ok().await;
            let answer = user.call(own).await;
            assert_eq!(answer.error(), Some(Error::Deadlock));
            assert_eq!(answer.words[0], 3, "the badge at which the cycle closes");
            user.reply(message.request).ok().await;
            noted.note("told");
        })
        .await;
        let connection = pair.sending;
        root.start(Plan::new(&pair.client, "client").priority(10), |user| async move {
            user.call(connection).ok().await;
        })
        .await;
        root.until_noted(&log, 1).await;
    });
}

#[test]
fn a_long_message_is_moved_whole_although_the_copy_is_cut_in_pieces() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let pages = 64;
        let length = pages * abi::PAGE_SIZE;
        for process in [&pair.client, &pair.server] {
            let memory = root.memory(pages).await;
            assert_eq!(
                root.map(process.handle, memory, 0x50_0000_0000, access::READ | access::WRITE, pages).await.error(),
                None
            );
        }
        let log = Log::new();
        let (gate, connection) = (pair.receiving, pair.sending);
        let noted = log.clone();
        root.start(Plan::new(&pair.server, "server").priority(10), |user| async move {
            let message = user.receive(gate).room(0x50_0000_0000, length).ok().await;
            assert_eq!(message.moved, length - 9);
            for page in 0..pages {
                assert_eq!(user.load_word(0x50_0000_0000 + page * abi::PAGE_SIZE).await, page << 8);
            }
            let done = user.reply(message.request).send(0x50_0000_0000, length).ok().await;
            assert_eq!(done.moved, length - 9);
            noted.note("served");
        })
        .await;
        let noted = log.clone();
        root.start(Plan::new(&pair.client, "client").priority(10), |user| async move {
            for page in 0..pages {
                // Sent from one byte behind, so that every page of the copy is unaligned.
                user.store_word(0x50_0000_0000 + 1 + page * abi::PAGE_SIZE, page << 8).await;
            }
            let answer =
                user.call(connection).send(0x50_0000_0001, length - 9).room(0x50_0000_0002, length - 9).ok().await;
            assert_eq!(answer.moved, length - 9);
            assert_eq!(user.load_word(0x50_0000_0002 + 63 * abi::PAGE_SIZE).await, 63 << 8);
            noted.note("answered");
        })
        .await;
        root.until_noted(&log, 2).await;
    });
}

#[test]
fn a_senders_bad_page_fails_the_call_and_the_server_goes_on_waiting() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let log = Log::new();
        let (gate, connection) = (pair.receiving, pair.sending);
        let noted = log.clone();
        root.start(Plan::new(&pair.server, "server").priority(20), |user| async move {
            let message = user.receive(gate).room(DATA, 100).ok().await;
            noted.note(format!("got {}", message.words[0]));
            user.reply(message.request).ok().await;
        })
        .await;
        let noted = log.clone();
        root.start(Plan::new(&pair.client, "client").priority(10), |user| async move {
            let answer = user.call(connection).word(1).send(0x7_0000, 50).await;
            assert_eq!(answer.error(), Some(Error::BadAddress));
            user.call(connection).word(2).send(DATA, 50).ok().await;
            noted.note("answered");
        })
        .await;
        root.until_noted(&log, 2).await;
        log.assert(&["got 2", "answered"]);
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
fn a_stronger_thread_does_not_wait_for_a_long_copy() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let pages = 4096;
        let length = pages * abi::PAGE_SIZE;
        for process in [&pair.client, &pair.server] {
            let memory = root.memory(pages).await;
            assert_eq!(
                root.map(process.handle, memory, 0x50_0000_0000, access::READ | access::WRITE, pages).await.error(),
                None
            );
        }
        let log = Log::new();
        let (gate, connection) = (pair.receiving, pair.sending);
        let noted = log.clone();
        root.start(Plan::new(&pair.server, "server").priority(10), |user| async move {
            let message = user.receive(gate).ok().await;
            noted.note("reads");
            let read = user.read_request(message.request, 0, 0x50_0000_0000, length).ok().await;
            assert_eq!(read.moved, length);
            noted.note("has read");
            user.reply(message.request).ok().await;
        })
        .await;
        root.start(Plan::new(&pair.client, "client").priority(10), |user| async move {
            user.call(connection).send(0x50_0000_0000, length).ok().await;
        })
        .await;
        root.until_noted(&log, 1).await;
        // A MiB is copied in 65 us of simulated time; 16 in a thousand.
        let before = root.user.now();
        root.sleep(50_000).await;
        assert!(root.user.now() < before + 60_000, "woken {} ns late", root.user.now() - before - 50_000);
        log.assert(&["reads"]);
        root.until_noted(&log, 2).await;
    });
}

#[test]
fn a_caller_that_dies_during_a_copy_ends_it_with_the_count_moved() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let pages = 4096;
        let length = pages * abi::PAGE_SIZE;
        for process in [&pair.client, &pair.server] {
            let memory = root.memory(pages).await;
            assert_eq!(
                root.map(process.handle, memory, 0x50_0000_0000, access::READ | access::WRITE, pages).await.error(),
                None
            );
        }
        let log = Log::new();
        let (gate, connection) = (pair.receiving, pair.sending);
        let noted = log.clone();
        root.start(Plan::new(&pair.server, "server").priority(30), |user| async move {
            let message = user.receive(gate).ok().await;
            noted.note("reads");
            let read = user.read_request(message.request, 0, 0x50_0000_0000, length).await;
            assert_eq!(read.error(), Some(Error::Gone));
            assert!(read.moved > 0 && read.moved < length && read.moved % 16384 == 0, "{}", read.moved);
            noted.note("told");
        })
        .await;
        root.start(Plan::new(&pair.client, "client").priority(10), |user| async move {
            let _ = user.call(connection).send(0x50_0000_0000, length).await;
        })
        .await;
        root.until_noted(&log, 1).await;
        root.sleep(300_000).await;
        root.destroy(pair.client.handle).await;
        root.until_noted(&log, 2).await;
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
fn a_chain_of_more_than_sixteen_gates_is_refused_rather_than_searched() {
    scenario(|root| async move {
        let server = root.process().await;
        let quota = abi::Quota { threads: 40, batons: 40, gates: 40, connections: 80, ..simulator::scenario::QUOTA };
        let many = root.process_with(quota).await;
        let log = Log::new();
        let mut gate = root.gate(&server).await;
        // Each forwards to the one before; the last, root, does not answer.
        for _ in 0..18 {
            let forward = root.give_connection(&many, gate, 1).await;
            gate = root.gate(&many).await;
            let receiving = root.give_gate(&many, gate).await;
            let noted = log.clone();
            let thread = root
                .start(Plan::new(&many, "link").priority(20), |user| async move {
                    let message = user.receive(receiving).ok().await;
                    let answer = user.call(forward).await;
                    if let Some(error) = answer.error() {
                        noted.note(format!("{error:?}"));
                    }
                    user.reply(message.request).ok().await;
                })
                .await;
            root.until_state(thread, State::Receive).await;
        }
        // All 18 links come to wait for each other: that is no search. The next caller at the far end is.
        let first = root.give_connection(&many, gate, 2).await;
        let caller = root
            .start(Plan::new(&many, "caller").priority(10), |user| async move {
                user.call(first).ok().await;
            })
            .await;
        root.until_state(caller, State::Reply).await;
        let second = root.give_connection(&many, gate, 3).await;
        let noted = log.clone();
        root.start(Plan::new(&many, "late").priority(10), |user| async move {
            noted.note(format!("late: {:?}", user.call(second).await.error()));
        })
        .await;
        root.until_noted(&log, 1).await;
        log.assert(&["late: Some(ChainTooLong)"]);
    });
}

#[test]
fn memory_that_is_taken_away_during_a_copy_ends_it_with_the_count_moved() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let pages = 4096;
        let length = pages * abi::PAGE_SIZE;
        let place = 0x50_0000_0000;
        for process in [&pair.client, &pair.server] {
            let memory = root.memory(pages).await;
            assert_eq!(
                root.map(process.handle, memory, place, access::READ | access::WRITE, pages).await.error(),
                None
            );
        }
        let log = Log::new();
        let (gate, connection) = (pair.receiving, pair.sending);
        let noted = log.clone();
        root.start(Plan::new(&pair.server, "server").priority(30), |user| async move {
            let message = user.receive(gate).ok().await;
            noted.note("reads");
            let read = user.read_request(message.request, 0, place, length).await;
            assert_eq!((read.error(), read.moved), (Some(Error::LenderFault), length / 2));
            noted.note("told");
            user.reply(message.request).ok().await;
        })
        .await;
        let noted = log.clone();
        root.start(Plan::new(&pair.client, "client").priority(10), |user| async move {
            user.call(connection).send(place, length).ok().await;
            noted.note("answered");
        })
        .await;
        root.until_noted(&log, 1).await;
        root.sleep(100_000).await;
        let words = [place + length / 2, length / 2, 0, 0];
        root.user.method(pair.client.handle, process::UNMAP, words).ok().await;
        root.until_noted(&log, 3).await;
    });
}
