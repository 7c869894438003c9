//! Handles: passing, rights, generations, tables.

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
            let slot = user.method(Handle::SELF_PROCESS, process::RESERVE, [0; 4]).ok().await.handle();
            let second = user.method(Handle::SELF_PROCESS, process::RESERVE, [0; 4]).ok().await.handle();
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
            let slot = user.method(Handle::SELF_PROCESS, process::RESERVE, [0; 4]).ok().await.handle();
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
            let slot = user.method(Handle::SELF_PROCESS, process::RESERVE, [0; 4]).ok().await.handle();
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
fn a_handle_handed_over_twice_in_one_message_arrives_twice() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let extra = root.give_connection(&pair.client, pair.gate, 5).await;
        let log = Log::new();
        let (gate, connection) = (pair.receiving, pair.sending);
        let noted = log.clone();
        root.start(Plan::new(&pair.server, "server").priority(20), |user| async move {
            let first = user.method(Handle::SELF_PROCESS, process::RESERVE, [0; 4]).ok().await.handle();
            let second = user.method(Handle::SELF_PROCESS, process::RESERVE, [0; 4]).ok().await.handle();
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

#[test]
fn a_handle_without_the_copy_right_cannot_be_passed_or_duplicated() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let plain = root.connect(pair.gate, 6).await;
        let only_send = root.give(&pair.client, plain, Rights::SEND).await;
        let log = Log::new();
        let connection = pair.sending;
        let noted = log.clone();
        root.start(Plan::new(&pair.client, "client").priority(10), |user| async move {
            let duplicate = user
                .method(Handle::SELF_PROCESS, process::DUPLICATE, [only_send.0, u64::from(Rights::SEND.0), 0, 0])
                .await;
            assert_eq!(duplicate.error(), Some(Error::NoRight));
            let passed = user.call(connection).give(only_send, Rights::SEND).await;
            assert_eq!(passed.error(), Some(Error::NoRight));
            let copy = user
                .method(Handle::SELF_PROCESS, process::DUPLICATE, [connection.0, u64::from(Rights::SEND.0), 0, 0])
                .ok()
                .await
                .handle();
            assert_ne!(copy, connection);
            assert_eq!(
                user.method(Handle::SELF_PROCESS, process::DUPLICATE, [copy.0, 0, 0, 0]).await.error(),
                Some(Error::NoRight)
            );
            noted.note("refused");
        })
        .await;
        root.user.receive(pair.gate).deadline(root.user.now() + 100_000, abi::call::flags::DEADLINE_RECEIVE).await;
        root.until_noted(&log, 1).await;
    });
}

#[test]
fn a_closed_handle_is_never_valid_again_although_its_slot_is() {
    scenario(|root| async move {
        let user = root.user.clone();
        let mut old = Vec::new();
        for badge in 0..50 {
            let connection = root.connect(root.own_gate(), badge).await;
            assert!(!old.contains(&connection));
            root.close(connection).await;
            assert_eq!(user.call(connection).poll().await.error(), Some(Error::BadHandle));
            old.push(connection);
        }
        // Each last close was told, the notices coalesce by nothing: one for every badge.
        let mut badges = Vec::new();
        loop {
            let notice = user.receive(root.own_gate()).poll().await;
            if notice.error().is_some() {
                break;
            }
            assert!(notice.status().is_notice() && notice.label == abi::notice::CLOSED, "{notice:?}");
            badges.push(notice.badge);
        }
        badges.sort_unstable();
        assert_eq!(badges, (0..50).collect::<Vec<_>>());
    });
}

#[test]
fn destroying_an_object_kills_every_handle_to_it_at_once() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let user = root.user.clone();
        let copies: Vec<Handle> = {
            let mut copies = Vec::new();
            for _ in 0..5 {
                copies.push(
                    user.method(
                        Handle::SELF_PROCESS,
                        process::DUPLICATE,
                        [pair.gate.0, u64::from(Rights::ALL.0), 0, 0],
                    )
                    .ok()
                    .await
                    .handle(),
                );
            }
            copies
        };
        let connection = root.connect(pair.gate, 9).await;
        root.destroy(pair.gate).await;
        for copy in copies {
            assert!(matches!(user.receive(copy).poll().await.error(), Some(Error::BadHandle | Error::Gone)));
            root.close(copy).await;
        }
        assert_eq!(user.call(connection).await.error(), Some(Error::Gone));
        root.close(connection).await;
    });
}

#[test]
fn a_table_grows_only_when_asked_and_a_full_one_is_an_error() {
    scenario(|root| async move {
        let child = root.process().await;
        let user = root.user.clone();
        let mut count = 0;
        let full = loop {
            let given =
                user.method(child.handle, process::GIVE, [root.own_gate().0, u64::from(Rights::SEND.0), 0, 0]).await;
            if let Some(error) = given.error() {
                break error;
            }
            count += 1;
            assert!(count < 5000);
        };
        assert_eq!(full, Error::TableFull);
        let before = root.usage(child.handle).await.used.pages;
        user.method(child.handle, process::GROW_HANDLES, [count + 3 + 64, 0, 0, 0]).ok().await;
        assert!(root.usage(child.handle).await.used.pages > before);
        for _ in 0..64 {
            user.method(child.handle, process::GIVE, [root.own_gate().0, u64::from(Rights::SEND.0), 0, 0]).ok().await;
        }
        // As many as the design promises.
        user.method(child.handle, process::GROW_HANDLES, [1 << 17, 0, 0, 0]).fails(Error::BadArgument).await;
    });
}

#[test]
fn copy_table_duplicates_what_is_marked_at_the_same_index_and_generation() {
    scenario(|root| async move {
        let parent = root.process().await;
        let child = root.process().await;
        let gate = root.gate(&parent).await;
        let mut connections = Vec::new();
        for badge in 0..40 {
            connections.push(root.give_connection(&parent, gate, badge).await);
        }
        let user = root.user.clone();
        for (index, connection) in connections.iter().enumerate() {
            if index % 3 == 0 {
                user.method(parent.handle, process::SET_INHERIT, [connection.0, 1, 0, 0]).ok().await;
            }
        }
        let mut from = 0;
        loop {
            let answer = user.method(child.handle, process::COPY_TABLE, [parent.handle.0, from, 0, 0]).await;
            match answer.error() {
                None => break,
                Some(Error::More) => from = answer.words[0],
                Some(error) => panic!("{error:?}"),
            }
        }
        let log = Log::new();
        let noted = log.clone();
        root.start(Plan::new(&child, "child").priority(10), |user| async move {
            for (index, connection) in connections.iter().enumerate() {
                let what =
                    user.method(Handle::SELF_PROCESS, process::HANDLE_INFORMATION, [connection.0, 0, 0, 0]).await;
                if index % 3 == 0 {
                    assert_eq!(what.error(), None);
                    assert_eq!(what.words[2], index as u64);
                } else {
                    assert_eq!(what.error(), Some(Error::BadHandle));
                }
            }
            noted.note("compared");
        })
        .await;
        root.until_noted(&log, 1).await;
        // A connection held by both is closed only when both are gone.
        let first = user.method(gate, gate_method::NEXT_CONNECTION, [0; 4]).option(1).ok().await;
        assert_eq!(first.words[..2], [0, 2]);
    });
}

#[test]
fn a_successor_can_list_the_live_connections_of_a_gate() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let user = root.user.clone();
        for badge in [500, 3, 90] {
            root.give_connection(&pair.client, pair.gate, badge).await;
        }
        let mut seen = Vec::new();
        let mut answer = user.method(pair.gate, gate_method::NEXT_CONNECTION, [0; 4]).option(1).await;
        while answer.error().is_none() {
            seen.push(answer.words[0]);
            assert_eq!(answer.words[1], 1);
            answer = user.method(pair.gate, gate_method::NEXT_CONNECTION, [answer.words[0], 0, 0, 0]).await;
        }
        assert_eq!(answer.error(), Some(Error::NotFound));
        seen.sort_unstable();
        assert_eq!(seen, [3, 77, 90, 500]);
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
                let slot = user.method(Handle::SELF_PROCESS, process::RESERVE, [0; 4]).ok().await.handle();
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
        let slot = root.user.method(Handle::SELF_PROCESS, process::RESERVE, [0; 4]).ok().await.handle();
        // What is left is the notice that the gift's connection was closed.
        let message = root.user.receive(pair.gate).take(slot).ok().await;
        assert_eq!((message.request, message.label, message.badge), (0, abi::notice::CLOSED, 5));
        root.user.receive(pair.gate).take(slot).poll().fails(Error::TimedOut).await;
        root.until_noted(&log, 1).await;
        log.assert(&["Some(BadGift)"]);
    });
}

#[test]
fn methods_need_their_rights() {
    scenario(|root| async move {
        let child = root.process().await;
        let gate = root.gate(&child).await;
        let user = root.user.clone();
        let weak = async |handle: Handle, rights: Rights| {
            let words = [handle.0, u64::from(rights.0), 0, 0];
            user.method(Handle::SELF_PROCESS, process::DUPLICATE, words).ok().await.handle()
        };
        let no_manage = Rights(Rights::ALL.0 & !Rights::MANAGE.0);
        let process = weak(child.handle, no_manage).await;
        for method in [process::CREATE_THREAD, process::CREATE_GATE, process::RESERVE, process::USAGE, process::SYSTEM]
        {
            assert_eq!(user.method(process, method, [0; 4]).await.error(), Some(Error::NoRight));
        }
        assert_eq!(user.method(process, process::IDENTITY, [0; 4]).ok().await.words[0], child.identity);
        let only_receive = weak(gate, Rights::RECEIVE).await;
        assert_eq!(user.method(only_receive, gate_method::CONNECT, [0; 4]).await.error(), Some(Error::NoRight));
        assert_eq!(user.receive(only_receive).poll().await.error(), Some(Error::TimedOut));
        let only_manage = weak(gate, Rights::MANAGE).await;
        assert_eq!(user.receive(only_manage).poll().await.error(), Some(Error::NoRight));
        let no_destroy = weak(gate, Rights(Rights::ALL.0 & !Rights::DESTROY.0)).await;
        let words = [no_destroy.0, 0, 0, 0];
        assert_eq!(user.method(Handle::SELF_PROCESS, process::DESTROY, words).await.error(), Some(Error::NoRight));
        let pulse = root.pulse(&child, gate, 1, 5, false, Handle::NONE).await;
        let no_send = weak(pulse, Rights::MANAGE).await;
        assert_eq!(user.raise(no_send, 1).await.error(), Some(Error::NoRight));
        let memory = root.memory(1).await;
        let no_write = weak(memory, Rights::READ).await;
        let mapped = root.map(child.handle, no_write, 0x66_0000_0000, abi::object::access::WRITE, 1).await;
        assert_eq!(mapped.error(), Some(Error::NoRight));
    });
}

#[test]
fn a_table_holds_sixteen_thousand_handles_and_a_fork_copies_them_in_pieces() {
    const MANY: u64 = 16_384;
    let only_once = simulator::Settings::default();
    simulator::simulation::run(1, only_once, |root| async move {
        let quota = abi::Quota { pages: 400, connections: 4, ..simulator::scenario::QUOTA };
        let (parent, child) = (root.process_with(quota).await, root.process_with(quota).await);
        let user = root.user.clone();
        for process in [&parent, &child] {
            user.method(process.handle, process::GROW_HANDLES, [MANY, 0, 0, 0]).ok().await;
            user.method(process.handle, process::GROW_HANDLES, [MANY + 1, 0, 0, 0]).fails(Error::BadArgument).await;
        }
        let gate = root.gate(&parent).await;
        let connection = root.connect(gate, 5).await;
        let mut handles = Vec::new();
        loop {
            let words = [connection.0, u64::from(Rights::SEND.0), 0, 0];
            let given = user.method(parent.handle, process::GIVE, words).await;
            if let Some(error) = given.error() {
                assert_eq!(error, Error::TableFull);
                break;
            }
            if handles.len() % 7 == 0 {
                user.method(parent.handle, process::SET_INHERIT, [given.words[0], 1, 0, 0]).ok().await;
            }
            handles.push(given.handle());
        }
        assert_eq!(handles.len() as u64, MANY - u64::from(Handle::FIRST_FREE_INDEX));
        let (mut from, mut pieces) = (0, 0);
        loop {
            let answer = user.method(child.handle, process::COPY_TABLE, [parent.handle.0, from, 0, 0]).await;
            match answer.error() {
                None => break,
                Some(Error::More) => from = answer.words[0],
                Some(error) => panic!("{error:?}"),
            }
            pieces += 1;
        }
        assert!(pieces > 10, "{pieces}");
        let inherited = handles.len().div_ceil(7) as u64;
        let first = user.method(gate, gate_method::NEXT_CONNECTION, [0; 4]).option(1).ok().await;
        assert_eq!(first.words[..2], [5, 1 + handles.len() as u64 + inherited]);
        root.destroy(parent.handle).await;
        // The gate went with its process; the child's handles are only closed.
        root.destroy(child.handle).await;
        assert_eq!(user.call(connection).await.error(), Some(Error::Gone));
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
