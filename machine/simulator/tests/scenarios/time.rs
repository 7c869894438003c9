//! Deadlines: what they cover, and what happens when they come.

use std::cell::Cell;
use std::rc::Rc;

use abi::Error;
use abi::call::flags;
use abi::thread::State;
use simulator::scenario;
use simulator::scenario::{Log, Plan};

use crate::Pair;

#[test]
fn a_deadline_covers_the_states_that_its_flags_say() {
    scenario(|root| async move {
        let pair = Pair::with_gate(&root, 90, 0).await;
        let log = Log::new();
        let connection = pair.sending;
        let noted = log.clone();
        root.start(Plan::new(&pair.client, "client").priority(10), |user| async move {
            // Nobody receives: SEND times out.
            let until = user.now() + 50_000;
            let answer = user.call(connection).deadline(until, flags::DEADLINE_SEND).await;
            assert_eq!(answer.error(), Some(Error::TimedOut));
            assert!(user.now() >= until && user.now() < until + 20_000, "{} {until}", user.now());
            noted.note("send");
            // Someone receives and does not answer: SEND's deadline does not matter any more, REPLY's does.
            let until = user.now() + 500_000;
            let answer = user.call(connection).deadline(until, flags::DEADLINE_SEND | flags::DEADLINE_REPLY).await;
            assert_eq!(answer.error(), Some(Error::TimedOut));
            assert!(user.now() >= until);
            noted.note("reply");
            let until = user.now() + 500_000;
            user.call(connection).deadline(until, flags::DEADLINE_SEND).ok().await;
            assert!(user.now() > until);
            noted.note("answered");
        })
        .await;
        root.until_noted(&log, 1).await;
        let first = root.user.receive(pair.gate).ok().await;
        root.until_noted(&log, 2).await;
        assert_eq!(root.user.reply(first.request).await.error(), Some(Error::Gone));
        // With a grace time of 0 the caller has left at once; a notice may say so or not.
        let second = loop {
            let message = root.user.receive(pair.gate).ok().await;
            if message.request != 0 {
                break message;
            }
        };
        root.sleep(2_000_000).await;
        root.user.reply(second.request).ok().await;
        root.until_noted(&log, 3).await;
    });
}

#[test]
fn a_poll_fails_unless_a_receiver_is_parked() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let log = Log::new();
        let (gate, connection) = (pair.receiving, pair.sending);
        let noted = log.clone();
        root.start(Plan::new(&pair.client, "client").priority(10), |user| async move {
            assert_eq!(user.call(connection).deadline(0, flags::DEADLINE_SEND).await.error(), Some(Error::TimedOut));
            noted.note("nobody");
            let _ = user.compute(200_000).await;
            user.call(connection).deadline(0, flags::DEADLINE_SEND).ok().await;
            noted.note("served");
        })
        .await;
        root.until_noted(&log, 1).await;
        root.start(Plan::new(&pair.server, "server").priority(20), |user| async move {
            let message = user.receive(gate).ok().await;
            user.reply(message.request).ok().await;
        })
        .await;
        root.until_noted(&log, 2).await;
        assert_eq!(root.user.receive(pair.gate).poll().await.error(), Some(Error::TimedOut));
    });
}

#[test]
fn receive_times_out_on_its_own_deadline_and_the_reply_is_not_lost() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let log = Log::new();
        let (gate, connection) = (pair.receiving, pair.sending);
        let noted = log.clone();
        root.start(Plan::new(&pair.server, "server").priority(20), |user| async move {
            let message = user.receive(gate).deadline(user.now() + 10_000_000, flags::DEADLINE_RECEIVE).ok().await;
            let until = user.now() + 30_000;
            let next =
                user.reply_and_receive(message.request, gate).word(8).deadline(until, flags::DEADLINE_RECEIVE).await;
            assert_eq!(next.error(), Some(Error::TimedOut));
            assert!(user.now() >= until);
            noted.note("timed out");
        })
        .await;
        let noted = log.clone();
        root.start(Plan::new(&pair.client, "client").priority(10), |user| async move {
            assert_eq!(user.call(connection).ok().await.words[0], 8);
            noted.note("answered");
        })
        .await;
        root.until_noted(&log, 2).await;
        log.assert(&["answered", "timed out"]);
    });
}

#[test]
fn many_deadlines_come_in_their_order() {
    scenario(|root| async move {
        let client = root.process().await;
        let gate = root.gate(&client).await;
        let log = Log::new();
        let start = root.user.now() + 1_000_000;
        for number in 0..12_u64 {
            let delay = (number * 7) % 12;
            let connection = root.give_connection(&client, gate, number).await;
            let noted = log.clone();
            root.start(Plan::new(&client, "sleeper").priority(10), |user| async move {
                let until = start + delay * 40_000;
                assert_eq!(
                    user.call(connection).deadline(until, flags::DEADLINE_SEND).await.error(),
                    Some(Error::TimedOut)
                );
                assert!(user.now() >= until && user.now() < until + 40_000);
                noted.note(format!("{delay}"));
            })
            .await;
        }
        root.until_noted(&log, 12).await;
        log.assert(&["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"]);
    });
}

#[test]
fn an_interrupted_caller_leaves_send_at_once_and_reply_after_the_grace_time() {
    scenario(|root| async move {
        let grace = 300_000;
        let pair = Pair::with_gate(&root, 40, grace).await;
        let log = Log::new();
        let connection = pair.sending;
        let noted = log.clone();
        let left = Rc::new(Cell::new(0));
        let when = Rc::clone(&left);
        let client = root
            .start(Plan::new(&pair.client, "client").priority(10), |user| async move {
                assert_eq!(user.call(connection).flags(flags::INTERRUPTIBLE).await.error(), Some(Error::Interrupted));
                noted.note("left send");
                assert_eq!(user.call(connection).flags(flags::INTERRUPTIBLE).await.error(), Some(Error::Interrupted));
                when.set(user.now());
                noted.note("left reply");
                assert_eq!(
                    user.call(connection).flags(flags::INTERRUPTIBLE | flags::NO_GRACE).await.error(),
                    Some(Error::Interrupted)
                );
                noted.note("left at once");
                let answer = user.call(connection).flags(flags::INTERRUPTIBLE).ok().await;
                assert_eq!(answer.words[0], 5);
                noted.note("was answered");
            })
            .await;
        let interrupt = |root: simulator::scenario::Root| async move {
            root.user.method(client.handle, abi::object::thread::INTERRUPT, [0; 4]).ok().await
        };
        root.until_state(client, State::Send).await;
        interrupt(root.clone()).await;
        root.until_noted(&log, 1).await;

        // REPLY: the server gets a notice and has the gate's grace time.
        root.until_state(client, State::Send).await;
        let request = root.user.receive(pair.gate).ok().await;
        assert_eq!(root.state(client).await.state, State::Reply);
        let asked = root.user.now();
        interrupt(root.clone()).await;
        let notice = root.user.receive(pair.gate).ok().await;
        assert!(notice.status().is_notice());
        assert_eq!((notice.label, notice.words[0], notice.badge), (abi::notice::UNBLOCK, request.request, 77));
        assert_eq!(root.state(client).await.state, State::Reply);
        root.until_noted(&log, 2).await;
        assert!(left.get() >= asked + grace && left.get() < asked + grace + 100_000);
        assert_eq!(root.user.reply(request.request).await.error(), Some(Error::Gone));

        // No grace at the caller's wish.
        root.until_state(client, State::Send).await;
        let request = root.user.receive(pair.gate).ok().await;
        interrupt(root.clone()).await;
        root.until_noted(&log, 3).await;
        assert_eq!(root.user.reply(request.request).await.error(), Some(Error::Gone));

        // An answer within the grace time counts.
        let request = loop {
            let message = root.user.receive(pair.gate).ok().await;
            if message.request != 0 {
                break message.request;
            }
        };
        interrupt(root.clone()).await;
        let notice = root.user.receive(pair.gate).ok().await;
        assert_eq!((notice.label, notice.words[0]), (abi::notice::UNBLOCK, request));
        root.user.reply(request).word(5).ok().await;
        root.until_noted(&log, 4).await;
    });
}

#[test]
fn an_answer_in_the_grace_time_takes_the_notice_back() {
    scenario(|root| async move {
        let pair = Pair::with_gate(&root, 90, 1_000_000).await;
        let (connection, log) = (pair.sending, Log::new());
        let noted = log.clone();
        root.start(Plan::new(&pair.client, "client").priority(10), |user| async move {
            for _ in 0..2 {
                let until = user.now() + 100_000;
                let answer = user.call(connection).deadline(until, flags::DEADLINE_REPLY).await;
                noted.note(format!("{:?}", answer.error()));
            }
        })
        .await;
        for count in 1..=2 {
            let request = root.user.receive(pair.gate).ok().await.request;
            // It wants to leave, and its server hears of it when it receives.
            root.sleep(500_000).await;
            root.user.reply(request).ok().await;
            root.until_noted(&log, count).await;
        }
        root.user.receive(pair.gate).poll().fails(Error::TimedOut).await;
        log.assert(&["None", "None"]);
    });
}

/// However long a gate would have its callers wait: not one that was interrupted, nor one whose deadline has passed.
#[test]
fn a_grace_time_is_ten_seconds_at_most() {
    const MOST_NS: u64 = 10_000_000_000;
    scenario(|root| async move {
        for grace in [MOST_NS - 1_000_000, MOST_NS + 1_000_000, 1 << 62, u64::MAX] {
            let pair = Pair::with_gate(&root, 40, grace).await;
            let (connection, left) = (pair.sending, Rc::new(Cell::new(0)));
            let when = Rc::clone(&left);
            let client = root
                .start(Plan::new(&pair.client, "client").priority(10), |user| async move {
                    let answer = user.call(connection).flags(flags::INTERRUPTIBLE).await;
                    assert_eq!(answer.error(), Some(Error::Interrupted));
                    when.set(user.now());
                })
                .await;
            let request = root.user.receive(pair.gate).ok().await.request;
            let asked = root.user.now();
            root.user.method(client.handle, abi::object::thread::INTERRUPT, [0; 4]).ok().await;
            assert_eq!(root.user.receive(pair.gate).ok().await.label, abi::notice::UNBLOCK);
            root.sleep(MOST_NS + 2_000_000).await;
            let expected = asked + grace.min(MOST_NS);
            assert!((expected..expected + 100_000).contains(&left.get()), "{} {expected}", left.get());
            root.user.reply(request).fails(Error::Gone).await;
            root.dismantle(pair.server).await;
            root.dismantle(pair.client).await;
        }
    });
}
