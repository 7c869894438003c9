//! Passing handles: all or none, into reserved slots, with no more rights than the giver had, and whose fault it is if not.

use abi::object::{Kind, gate as gate_method, process};
use abi::{Error, Handle, Rights};
use simulator::scenario;
use simulator::scenario::{DATA, Log, Plan};

use crate::Pair;

#[test]
fn a_passed_handle_arrives_in_a_reserved_slot_with_at_most_the_same_rights() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let extra = root.give_connection(&pair.client, pair.gate, 5).await;
        let log = Log::new();
        let (gate, connection) = (pair.receiving, pair.sending);
        let noted = log.clone();
        root.start(Plan::new(&pair.server, "server").priority(20), |user| async move {
            let slot = user.reserve().await;
            let second = user.reserve().await;
            let message = user.receive(gate).take(slot).take(second).ok().await;
            assert_eq!(message.status().handles(), 1);
            let what = user.method(Handle::SELF_PROCESS, process::HANDLE_INFORMATION, [slot.0, 0, 0, 0]).ok().await;
            assert_eq!(what.words[..3], [u64::from(Rights::SEND.0), Kind::Connection as u64, 5]);
            // The reply passes one back.
            user.reply(message.request).give(gate, Rights::RECEIVE).ok().await;
            noted.note("served");
        })
        .await;
        let noted = log.clone();
        root.start(Plan::new(&pair.client, "client").priority(10), |user| async move {
            let slot = user.reserve().await;
            // More rights are asked for than the original has, and less than it has.
            let answer =
                user.call(connection).give(extra, Rights(Rights::SEND.0 | Rights::DESTROY.0)).take(slot).ok().await;
            assert_eq!(answer.status().handles(), 1);
            let what = user.method(Handle::SELF_PROCESS, process::HANDLE_INFORMATION, [slot.0, 0, 0, 0]).ok().await;
            assert_eq!(what.words[..2], [u64::from(Rights::RECEIVE.0), Kind::Gate as u64]);
            noted.note("answered");
        })
        .await;
        root.until_noted(&log, 2).await;
    });
}

#[test]
fn the_answer_of_a_server_that_receives_on_carries_handles_and_bytes_as_any_does() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let (gate, connection, log) = (pair.receiving, pair.sending, Log::new());
        root.start_server(Plan::new(&pair.server, "server").priority(20), |user| async move {
            user.store(DATA, b"bytes").await.expect("it is not moved");
            let message = user.receive(gate).ok().await;
            let _ = user.reply_and_receive(message.request, gate).send(DATA, 5).give(gate, Rights::RECEIVE).await;
        })
        .await;
        let noted = log.clone();
        root.start(Plan::new(&pair.client, "client").priority(10), |user| async move {
            let slot = user.reserve().await;
            let answer = user.call(connection).take(slot).room(DATA, 9).ok().await;
            assert_eq!((answer.status().handles(), answer.moved), (1, 5));
            assert_eq!(user.load(DATA, 5).await.as_deref(), Ok(&b"bytes"[..]));
            let what = user.method(Handle::SELF_PROCESS, process::HANDLE_INFORMATION, [slot.0, 0, 0, 0]).ok().await;
            assert_eq!(what.words[..2], [u64::from(Rights::RECEIVE.0), Kind::Gate as u64]);
            noted.note("answered");
        })
        .await;
        root.until_noted(&log, 1).await;
    });
}

#[test]
fn a_handle_that_is_handed_over_is_gone_here_and_its_last_close_is_seen_there() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let log = Log::new();
        let (gate, connection) = (pair.receiving, pair.sending);
        let noted = log.clone();
        root.start(Plan::new(&pair.server, "server").priority(20), |user| async move {
            let message = user.receive(gate).ok().await;
            let made = user.method(gate, gate_method::CONNECT, [5, 0, 0, 0]).ok().await.handle();
            // The caller has room for one only: nothing is delivered, and nothing lost.
            let reply = user.reply(message.request).hand_over(made, Rights::ALL).hand_over(made, Rights::ALL).await;
            assert_eq!(reply.error(), Some(Error::NoSlot));
            user.reply(message.request).hand_over(made, Rights::ALL).ok().await;
            let what = user.method(Handle::SELF_PROCESS, process::HANDLE_INFORMATION, [made.0, 0, 0, 0]).await;
            assert_eq!(what.error(), Some(Error::BadHandle));
            let notice = user.receive(gate).ok().await;
            assert_eq!((notice.request, notice.label, notice.badge), (0, abi::notice::CLOSED, 5));
            noted.note("closed");
        })
        .await;
        let noted = log.clone();
        root.start(Plan::new(&pair.client, "client").priority(10), |user| async move {
            let slot = user.reserve().await;
            assert_eq!(user.call(connection).take(slot).ok().await.status().handles(), 1);
            let next =
                user.method(Handle::SELF_PROCESS, process::CLOSE, [slot.0, 0, 0, 0]).option(1).ok().await.handle();
            assert!(next != slot && next.index() == slot.index());
            let what = user.method(Handle::SELF_PROCESS, process::HANDLE_INFORMATION, [next.0, 0, 0, 0]).ok().await;
            assert_eq!(what.words[1], Kind::Reserved as u64);
            noted.note("the slot is used again");
        })
        .await;
        root.until_noted(&log, 2).await;
    });
}

#[test]
fn whoever_hands_over_its_gate_with_an_answer_cannot_receive_there() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let log = Log::new();
        let (gate, connection) = (pair.receiving, pair.sending);
        let noted = log.clone();
        root.start_server(Plan::new(&pair.server, "server").priority(20), |user| async move {
            let message = user.receive(gate).ok().await;
            let answer = user.reply_and_receive(message.request, gate).hand_over(gate, Rights::ALL);
            answer.fails(Error::BadHandle).await;
            noted.note("it is gone");
        })
        .await;
        let noted = log.clone();
        root.start(Plan::new(&pair.client, "client").priority(10), |user| async move {
            let slot = user.reserve().await;
            assert_eq!(user.call(connection).take(slot).ok().await.status().handles(), 1);
            user.receive(slot).poll().fails(Error::TimedOut).await;
            noted.note("it is here");
        })
        .await;
        root.until_noted(&log, 2).await;
    });
}

#[test]
fn a_handle_handed_over_twice_in_one_message_arrives_twice() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let extra = root.give_connection(&pair.client, pair.gate, 5).await;
        let log = Log::new();
        let (gate, connection) = (pair.receiving, pair.sending);
        let noted = log.clone();
        root.start(Plan::new(&pair.server, "server").priority(20), |user| async move {
            let first = user.reserve().await;
            let second = user.reserve().await;
            let message = user.receive(gate).take(first).take(second).ok().await;
            assert_eq!(message.status().handles(), 2);
            user.reply(message.request).ok().await;
            for slot in [first, second] {
                user.method(Handle::SELF_PROCESS, process::CLOSE, [slot.0, 0, 0, 0]).ok().await;
            }
            let notice = user.receive(gate).ok().await;
            assert_eq!((notice.request, notice.label, notice.badge), (0, abi::notice::CLOSED, 5));
            noted.note("closed");
        })
        .await;
        let noted = log.clone();
        root.start(Plan::new(&pair.client, "client").priority(10), |user| async move {
            user.call(connection).hand_over(extra, Rights::SEND).hand_over(extra, Rights::SEND).ok().await;
            let what = user.method(Handle::SELF_PROCESS, process::HANDLE_INFORMATION, [extra.0, 0, 0, 0]).await;
            assert_eq!(what.error(), Some(Error::BadHandle));
            noted.note("gone");
        })
        .await;
        root.until_noted(&log, 2).await;
    });
}

#[test]
fn without_a_slot_the_whole_message_fails_and_the_server_sees_nothing() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let extra = root.give_connection(&pair.client, pair.gate, 5).await;
        let log = Log::new();
        let (gate, connection) = (pair.receiving, pair.sending);
        let noted = log.clone();
        root.start(Plan::new(&pair.server, "server").priority(20), |user| async move {
            let message = user.receive(gate).ok().await;
            noted.note(format!("got {}", message.words[0]));
            let reply = user.reply(message.request).give(gate, Rights::SEND).await;
            assert_eq!(reply.error(), Some(Error::NoSlot));
            user.reply(message.request).ok().await;
        })
        .await;
        let noted = log.clone();
        root.start(Plan::new(&pair.client, "client").priority(10), |user| async move {
            let answer = user.call(connection).word(1).give(extra, Rights::SEND).await;
            assert_eq!(answer.error(), Some(Error::NoSlot));
            // Not permitted to pass it, and no such handle: the giver is to blame.
            let gift = user.call(connection).word(2).give(Handle(1 << 40), Rights::SEND).await;
            noted.note(format!("{:?}", gift.error()));
            user.call(connection).word(3).ok().await;
            noted.note("answered");
        })
        .await;
        root.until_noted(&log, 3).await;
        log.assert(&["Some(BadHandle)", "got 3", "answered"]);
    });
}

/// At the call, before anybody is there to take anything and before any byte moves: the giver is to blame for its handles.
#[test]
fn a_bad_gift_is_refused_at_the_call_or_the_reply_and_blamed_on_the_giver() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let plain = root.connect(pair.gate, 6).await;
        let only_send = root.give(&pair.client, plain, Rights::SEND).await;
        let good = root.give_connection(&pair.client, pair.gate, 5).await;
        let connection = pair.sending;
        let log = Log::new();
        for served in [false, true] {
            let noted = log.clone();
            root.start(Plan::new(&pair.client, "client").priority(10), |user| async move {
                let slot = user.reserve().await;
                // The first gift is good each time: nothing of it arrives.
                for bad in [only_send, Handle(1 << 40), slot, Handle::CURRENT_THREAD] {
                    let answer = user.call(connection).give(good, Rights::SEND).give(bad, Rights::SEND).await;
                    noted.note(format!("{:?}", answer.error().expect("it is refused")));
                }
                user.method(Handle::SELF_PROCESS, process::CLOSE, [slot.0, 0, 0, 0]).ok().await;
                user.call(connection).send(DATA, 64).room(DATA + 128, 64).ok().await;
                noted.note("answered");
            })
            .await;
            if served {
                continue;
            }
            // The first client's call waits, and is all that does.
            root.until_noted(&log, 4).await;
            let gate = pair.receiving;
            let noted = log.clone();
            root.start(Plan::new(&pair.server, "server").priority(20), |user| async move {
                loop {
                    let message = user.receive(gate).ok().await;
                    assert_eq!((message.badge, message.sent), (77, 64));
                    user.store(DATA, &[7; 64]).await.expect("its own memory");
                    let refused = user.reply(message.request).send(DATA, 64).give(Handle(1 << 40), Rights::SEND).await;
                    noted.note(format!("server {:?} {}", refused.error().expect("it is refused"), refused.moved));
                    user.reply(message.request).ok().await;
                }
            })
            .await;
            root.until_noted(&log, 6).await;
        }
        root.until_noted(&log, 12).await;
        let one = ["NoRight", "BadHandle", "BadHandle", "BadHandle", "server BadHandle 0", "answered"];
        log.assert(&[one, one].concat());
    });
}

#[test]
fn a_gift_is_looked_up_at_delivery() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let extra = root.give_connection(&pair.client, pair.gate, 5).await;
        let connection = pair.sending;
        let log = Log::new();
        let noted = log.clone();
        let client = root
            .start(Plan::new(&pair.client, "client").priority(10), |user| async move {
                let answer = user.call(connection).give(extra, Rights::SEND).await;
                noted.note(format!("{:?}", answer.error()));
            })
            .await;
        root.until_state(client, abi::thread::State::Send).await;
        root.user.method(pair.client.handle, process::CLOSE, [extra.0, 0, 0, 0]).ok().await;
        let slot = root.user.reserve().await;
        // What is left is the notice that the gift's connection was closed.
        let message = root.user.receive(pair.gate).take(slot).ok().await;
        assert_eq!((message.request, message.label, message.badge), (0, abi::notice::CLOSED, 5));
        root.user.receive(pair.gate).take(slot).poll().fails(Error::TimedOut).await;
        root.until_noted(&log, 1).await;
        log.assert(&["Some(BadGift)"]);
    });
}

#[test]
fn a_message_refused_for_want_of_slots_moves_no_byte() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let extra = root.give_connection(&pair.client, pair.gate, 5).await;
        let connection = pair.sending;
        let log = Log::new();
        let noted = log.clone();
        root.start(Plan::new(&pair.client, "client").priority(10), |user| async move {
            user.store(simulator::scenario::DATA, &[9; 64]).await.unwrap();
            let call = user.call(connection).send(simulator::scenario::DATA, 64).give(extra, Rights::SEND);
            noted.note(format!("{:?}", call.await.error()));
        })
        .await;
        let buffer = abi::boot::STACK_TOP - 8000;
        let deadline = root.user.now() + 300_000;
        let message =
            root.user.receive(pair.gate).room(buffer, 64).deadline(deadline, abi::call::flags::DEADLINE_RECEIVE);
        assert_eq!(message.await.error(), Some(Error::TimedOut));
        assert_eq!(root.user.load(buffer, 64).await.unwrap(), [0; 64]);
        log.assert(&["Some(NoSlot)"]);
    });
}

/// Whatever its giver asks for: what it had itself, and of that what it wanted to give.
#[test]
fn a_passed_handle_has_no_right_that_its_giver_had_not() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let some = [0, 1, 2, 0x0f, 0x20, 0x40, 0x55, 0x7f].map(|bits| Rights(bits | Rights::COPY.0));
        let mut handles = Vec::new();
        for rights in some {
            handles.push((rights, root.give(&pair.client, pair.gate, rights).await));
        }
        let (gate, connection, log) = (pair.receiving, pair.sending, Log::new());
        let noted = log.clone();
        root.start(Plan::new(&pair.server, "server").priority(20), |user| async move {
            let own = Handle::SELF_PROCESS;
            for had in some {
                for asked in 0..=0xff {
                    let slot = user.method(own, process::RESERVE, [0; 4]).ok().await.handle();
                    let message = user.receive(gate).take(slot).ok().await;
                    let what = user.method(own, process::HANDLE_INFORMATION, [slot.0, 0, 0, 0]).ok().await.words;
                    assert_eq!(what[..2], [u64::from(had.0 & asked), Kind::Gate as u64]);
                    user.method(own, process::CLOSE, [slot.0, 0, 0, 0]).ok().await;
                    user.reply(message.request).ok().await;
                }
            }
            noted.note("all");
        })
        .await;
        root.start(Plan::new(&pair.client, "client").priority(10), |user| async move {
            for (_, handle) in handles {
                for asked in 0..=0xff {
                    user.call(connection).give(handle, Rights(asked)).ok().await;
                }
            }
        })
        .await;
        root.until_noted(&log, 1).await;
    });
}

/// Four may go each way; each place in the list is good, bad, or without a slot, in every combination.
#[test]
fn of_several_handles_all_arrive_or_none() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let mut gifts = Vec::new();
        for badge in 0..4 {
            gifts.push(root.give_connection(&pair.client, pair.gate, badge).await);
        }
        let (gate, connection, log) = (pair.receiving, pair.sending, Log::new());
        let cases = || (1..=4).flat_map(|count| (0..4_usize.pow(count as u32)).map(move |which| (count, which)));
        // 0: good; 1: no such handle; 2: no slot; 3: a slot that is none.
        let what = |which: usize, at: usize| which >> (2 * at) & 3;
        let fails = move |count, which, kind| (0..count).any(|at| what(which, at) == kind);
        let noted = log.clone();
        root.start(Plan::new(&pair.server, "server").priority(20), |user| async move {
            let own = Handle::SELF_PROCESS;
            for (count, which) in cases() {
                let mut slots = Vec::new();
                let mut receive = user.receive(gate);
                for at in 0..count {
                    let slot = user.method(own, process::RESERVE, [0; 4]).ok().await.handle();
                    slots.push(slot);
                    receive = match what(which, at) {
                        2 => receive,
                        3 => receive.take(gate),
                        _ => receive.take(slot),
                    };
                }
                let message = receive.ok().await;
                let whole = (0..count).all(|at| what(which, at) == 0);
                assert_eq!((message.status().handles(), message.words[0]), if whole { (count, 1) } else { (0, 2) });
                for slot in slots {
                    let kind = user.method(own, process::HANDLE_INFORMATION, [slot.0, 0, 0, 0]).ok().await.words[1];
                    assert_eq!(kind, if whole { Kind::Connection } else { Kind::Reserved } as u64);
                    user.method(own, process::CLOSE, [slot.0, 0, 0, 0]).ok().await;
                }
                user.reply(message.request).ok().await;
            }
            noted.note("all");
        })
        .await;
        root.start(Plan::new(&pair.client, "client").priority(10), |user| async move {
            for (count, which) in cases() {
                let call = (0..count).fold(user.call(connection).word(1), |call, at| {
                    call.give(if what(which, at) == 1 { Handle(1 << 40) } else { gifts[at] }, Rights::SEND)
                });
                // The giver's own handles come first, and then the receiver's slots.
                let expected = if fails(count, which, 1) {
                    Some(Error::BadHandle)
                } else if fails(count, which, 2) || fails(count, which, 3) {
                    Some(Error::NoSlot)
                } else {
                    None
                };
                assert_eq!(call.await.error(), expected, "{count} {which:#x}");
                if expected.is_some() {
                    user.call(connection).word(2).ok().await;
                }
            }
        })
        .await;
        root.until_noted(&log, 1).await;
    });
}
