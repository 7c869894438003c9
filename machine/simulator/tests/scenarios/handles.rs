//! Handles: rights, generations, tables.

use abi::object::{gate as gate_method, process};
use abi::{Error, Handle, Rights};
use simulator::scenario;
use simulator::scenario::{Log, Plan};

use crate::Pair;

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

/// Wherever it is named.
#[test]
fn a_handle_to_what_was_destroyed_is_none() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let pulse = root.pulse(&pair.client, pair.gate, 1, 10, false, Handle::NONE).await;
        let baton = root.baton(&pair.client, 10).await;
        let mut given = Vec::new();
        for object in [pulse, baton] {
            given.push(root.give(&pair.client, object, Rights::ALL).await);
            root.destroy(object).await;
        }
        let itself = root.give(&pair.client, pair.client.handle, Rights::ALL).await;
        let (connection, log) = (pair.sending, Log::new());
        let noted = log.clone();
        root.start(Plan::new(&pair.client, "client").priority(10), |user| async move {
            user.raise(given[0], 1).flags(abi::call::flags::NO_GRACE).fails(Error::BadHandle).await;
            let own = Handle::CURRENT_THREAD;
            user.method(own, abi::object::thread::SET_BATON, [given[1].0, 0, 0, 0]).fails(Error::BadHandle).await;
            for handle in given {
                user.call(connection).give(handle, Rights::ALL).fails(Error::BadHandle).await;
                let words = [handle.0, u64::from(Rights::ALL.0), 0, 0];
                user.method(itself, process::GIVE, words).fails(Error::BadHandle).await;
            }
            noted.note("none");
        })
        .await;
        root.until_noted(&log, 1).await;
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

/// A copy for a fork names the same by the same handle, but never what was closed before in the table it goes to.
#[test]
fn what_was_closed_does_not_come_back_by_a_copy_of_another_table() {
    scenario(|root| async move {
        let (parent, child) = (root.process().await, root.process().await);
        let user = root.user.clone();
        let gate = root.own_gate();
        let close = async |process: Handle, handle: Handle| {
            user.method(process, process::CLOSE, [handle.0, 0, 0, 0]).ok().await;
        };
        let copy = async |handle: Handle| {
            user.method(child.handle, process::COPY_ENTRY, [parent.handle.0, handle.0, 0, 0]).await.error()
        };
        let mut generations = Vec::new();
        for _ in 0..4 {
            let (ours, theirs) =
                (root.give(&parent, gate, Rights::ALL).await, root.give(&child, gate, Rights::ALL).await);
            assert_eq!(ours, theirs);
            // It is in use there, then it was.
            assert_eq!(copy(ours).await, Some(Error::Busy));
            close(child.handle, theirs).await;
            assert_eq!(copy(ours).await, Some(Error::Busy));
            close(parent.handle, ours).await;
            generations.push(ours);
        }
        let (last, fresh) = (generations[3], root.give(&parent, gate, Rights::ALL).await);
        assert_eq!((fresh.index(), fresh.generation()), (last.index(), last.generation() + 1));
        assert_eq!(copy(fresh).await, None);
        assert_eq!(copy(fresh).await, Some(Error::Busy));
        // The next use of the slot is another handle again, in both.
        close(child.handle, fresh).await;
        assert_eq!(root.give(&child, gate, Rights::ALL).await.generation(), fresh.generation() + 1);
    });
}

/// What is not in its table is nothing to a process: whatever number it tries, for whatever operation.
#[test]
fn a_new_process_can_name_nothing_but_itself() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let (alone, log) = (root.process().await, Log::new());
        // There is a request that somebody could answer.
        let connection = pair.sending;
        let client = root.start(Plan::new(&pair.client, "client").priority(10), |user| async move {
            user.call(connection).ok().await;
        });
        let client = client.await;
        let request = root.user.receive(pair.gate).ok().await.request;
        let theirs = [pair.gate, pair.receiving, pair.sending, client.handle, root.own_gate(), alone.handle];
        let noted = log.clone();
        root.start(Plan::new(&alone, "alone").priority(10), |user| async move {
            let guesses = (0..70).flat_map(|index| (0..4).map(move |generation| Handle::new(index, generation)));
            let itself = [Handle::SELF_PROCESS, Handle::CURRENT_THREAD];
            for guess in guesses.chain(theirs).filter(|guess| !itself.contains(guess)) {
                let own = Handle::SELF_PROCESS;
                user.method(own, process::HANDLE_INFORMATION, [guess.0, 0, 0, 0]).fails(Error::BadHandle).await;
                user.method(own, process::DUPLICATE, [guess.0, 0xff, 0, 0]).fails(Error::BadHandle).await;
                user.method(own, process::DESTROY, [guess.0, 0, 0, 0]).fails(Error::BadHandle).await;
                user.call(guess).poll().fails(Error::BadHandle).await;
                user.receive(guess).poll().fails(Error::BadHandle).await;
                user.raise(guess, 1).fails(Error::BadHandle).await;
            }
            for guess in (0..64).flat_map(|thread| (0..8).map(move |count| count << 16 | thread)).chain([request]) {
                user.reply(guess).fails(Error::Gone).await;
            }
            noted.note("nothing");
        })
        .await;
        root.until_noted(&log, 1).await;
        root.user.reply(request).ok().await;
        root.until_state(client, abi::thread::State::Dead).await;
    });
}
