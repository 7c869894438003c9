//! Sporadic batons: a budget a period at their priority, what was used comes back piece by piece (DESIGN §2).

use std::cell::Cell;
use std::rc::Rc;

use abi::object::baton;
use abi::thread::{Policy, State};
use simulator::scenario;
use simulator::scenario::{Plan, Timeline};

use crate::Pair;

#[test]
fn a_sporadic_budget_holds_through_a_server() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let gate = pair.receiving;
        let server = root
            .start(Plan::new(&pair.server, "server").priority(60), |user| async move {
                let mut message = user.receive(gate).ok().await;
                loop {
                    let _ = user.compute(100_000).await;
                    message = user.reply_and_receive(message.request, gate).ok().await;
                }
            })
            .await;
        root.until_state(server, State::Receive).await;
        // 1 ms in every 10, then below the hog.
        let sporadic = root.baton_with(&pair.client, 30, Policy::Sporadic, 1_000_000, 10_000_000, 5).await;
        let hog = root
            .start(Plan::new(&pair.client, "hog").priority(20), |user| async move {
                user.hog().await;
            })
            .await;
        let connection = pair.sending;
        root.start(Plan::new(&pair.client, "client").baton(sporadic), |user| async move {
            loop {
                user.call(connection).ok().await;
            }
        })
        .await;
        let start = root.billed(hog.baton).await;
        root.sleep(100_000_000).await;
        let billed = root.billed(sporadic).await;
        assert!((9_000_000..=12_500_000).contains(&billed), "{billed}");
        let rest = root.billed(hog.baton).await - start;
        assert!(rest > 85_000_000, "{rest}");
    });
}

/// Time at the low priority is used without budget, and brings none.
#[test]
fn a_sporadic_baton_that_runs_at_its_low_priority_gets_no_budget_for_that() {
    scenario(|root| async move {
        let process = root.process().await;
        // 1 ms in every 10, else there is nobody stronger, but now and then.
        let sporadic = root.baton_with(&process, 30, Policy::Sporadic, 1_000_000, 10_000_000, 5).await;
        let timeline = Timeline::new(&root);
        let busy =
            root.start(Plan::new(&process, "busy").baton(sporadic), |user| async move { user.hog().await }).await;
        let gate = root.gate(&process).await;
        let gate = root.give_gate(&process, gate).await;
        let other = root.start(Plan::new(&process, "other").priority(20), move |user| async move {
            loop {
                user.pause(gate, 3_000_000).await;
                let _ = user.compute(5_000_000).await;
            }
        });
        let other = other.await;
        root.sleep(200_000_000).await;
        // Whenever the other one wants the processor, it waits for a budget at most.
        let waits: Vec<u64> = timeline.stretches(&[other]).windows(2).map(|pair| pair[1].0 - pair[0].1).collect();
        assert!(waits.len() > 20 && waits.iter().all(|wait| *wait < 3_000_000 + 1_010_000), "{waits:?}");
        assert!(root.billed(sporadic).await > 50_000_000, "{:?}", root.state(busy).await);
    });
}

/// A baton without budget waits as weakly as it runs: who is stronger now is helped first, and goes first.
#[test]
fn a_sporadic_baton_without_budget_waits_with_its_low_priority() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let (gate, connection) = (pair.receiving, pair.sending);
        // Used up at once, and not back before all is over.
        let sporadic = root.baton_with(&pair.client, 50, Policy::Sporadic, 10_000, 900_000_000, 5).await;
        let log = simulator::scenario::Log::new();
        let poor = root.start(Plan::new(&pair.client, "poor").baton(sporadic), {
            let noted = log.clone();
            move |user| async move {
                let _ = user.compute(50_000).await;
                user.call(connection).ok().await;
                noted.note("poor");
            }
        });
        let poor = poor.await;
        root.until_state(poor, State::Send).await;
        let plan = Plan::new(&pair.client, "rich").priority(30);
        let noted = log.clone();
        let rich = root.start(plan, move |user| async move {
            user.call(connection).ok().await;
            noted.note("rich");
        });
        let rich = rich.await;
        root.until_state(rich, State::Send).await;
        // In between: what a server at 1 would never get past, if it were helped by the poor one only.
        root.start(Plan::new(&pair.client, "hog").priority(20), |user| async move { user.hog().await }).await;
        root.start(Plan::new(&pair.server, "server").priority(40), move |user| async move {
            let own = user.method(abi::Handle::CURRENT_THREAD, abi::object::thread::SET_BATON, [0; 4]);
            let message = user.receive(gate).ok().await;
            own.ok().await;
            let _ = user.compute(100_000).await;
            user.reply_and_receive(message.request, gate).ok().await;
        })
        .await;
        root.until_noted(&log, 1).await;
        log.assert(&["rich"]);
    });
}

/// What was used comes back one period after the use began, stretch by stretch, not all at once.
#[test]
fn a_sporadic_batons_uses_come_back_one_by_one() {
    scenario(|root| async move {
        let process = root.process().await;
        // 1 ms in every 10, else below the hog.
        let sporadic = root.baton_with(&process, 30, Policy::Sporadic, 1_000_000, 10_000_000, 5).await;
        root.start(Plan::new(&process, "hog").priority(20), |user| async move { user.hog().await }).await;
        let gate = root.gate(&process).await;
        let gate = root.give_gate(&process, gate).await;
        let uses = Rc::new(std::cell::RefCell::new(Vec::new()));
        let noted = Rc::clone(&uses);
        root.start(Plan::new(&process, "sporadic").baton(sporadic), |user| async move {
            // Two uses of 0.4 ms, 3 ms apart, then as much as there is.
            for (pause, length) in
                [(3_000_000, 400_000), (3_000_000, 400_000), (0, 400_000), (0, 400_000), (0, 300_000)]
            {
                noted.borrow_mut().push(user.now());
                let _ = user.compute(length).await;
                noted.borrow_mut().push(user.now());
                if pause != 0 {
                    let until = user.now() + pause;
                    let _ = user.receive(gate).deadline(until, abi::call::flags::DEADLINE_RECEIVE).await;
                }
            }
        })
        .await;
        root.sleep(40_000_000).await;
        let uses = uses.borrow();
        let start = uses[0];
        let near = |ns: u64, expected: u64| assert!((ns - start).abs_diff(expected) < 100_000, "{uses:?} {expected}");
        // The third use ends the budget after 0.2 ms. The first's 0.4 ms come back at 10 ms: 0.2 for the third, 0.2 for
        // the fourth, which goes on when the second's come back at 13.4 ms, and has 0.2 left for the fifth. That ends with
        // the 0.2 ms of the third's beginning, which come back at 16.8 ms.
        for (at, expected) in [
            (1, 400_000),
            (2, 3_400_000),
            (3, 3_800_000),
            (4, 6_800_000),
            (5, 10_200_000),
            (7, 13_600_000),
            (9, 16_900_000),
        ] {
            near(uses[at], expected);
        }
    });
}

/// No more uses than it says are remembered: with so many to come back, it has no budget, whatever is left of it.
#[test]
fn a_sporadic_batons_replenishments_are_bounded() {
    scenario(|root| async move {
        let process = root.process().await;
        for (limit, expected) in [(2, 2), (5, 5), (8, 8), (0, 8)] {
            let words = [30, Policy::Sporadic as u64, 1_000_000, 100_000_000];
            let create = abi::object::process::CREATE_BATON;
            let sporadic = root.user.method(process.handle, create, words).option(5 | limit << 8).ok().await.handle();
            let plan = Plan::new(&process, "hog").priority(20);
            let hog = root.start(plan, |user| async move { user.hog().await }).await;
            let gate = root.gate(&process).await;
            let gate = root.give_gate(&process, gate).await;
            let uses = Rc::new(Cell::new(0));
            let counted = Rc::clone(&uses);
            let thread = root
                .start(Plan::new(&process, "sporadic").baton(sporadic), |user| async move {
                    loop {
                        let _ = user.compute(10_000).await;
                        counted.set(counted.get() + 1);
                        let until = user.now() + 20_000;
                        let _ = user.receive(gate).deadline(until, abi::call::flags::DEADLINE_RECEIVE).await;
                    }
                })
                .await;
            root.sleep(2_000_000).await;
            assert_eq!(uses.get(), expected);
            root.destroy(hog.handle).await;
            root.sleep(1_000_000).await;
            assert!(uses.get() > 20, "at its low priority it has all that nobody else wants: {}", uses.get());
            root.destroy(thread.handle).await;
        }
        for option in [5 | 9 << 8, 31, 1 << 16] {
            let words = [30, Policy::Sporadic as u64, 1_000_000, 100_000_000];
            let refused =
                root.user.method(process.handle, abi::object::process::CREATE_BATON, words).option(option).await;
            assert_eq!(refused.error(), Some(abi::Error::BadArgument));
        }
    });
}

/// What a baton has used when its parameters are set is forgotten, replenishments and all.
#[test]
fn a_sporadic_baton_that_is_set_anew_begins_anew() {
    scenario(|root| async move {
        let process = root.process().await;
        let sporadic = root.baton_with(&process, 30, Policy::Sporadic, 1_000_000, 10_000_000, 5).await;
        root.start(Plan::new(&process, "hog").priority(20), |user| async move { user.hog().await }).await;
        root.start(Plan::new(&process, "sporadic").baton(sporadic), |user| async move { user.hog().await }).await;
        root.sleep(5_000_000).await;
        let billed = async || root.billed(sporadic).await;
        let before = billed().await;
        assert!(before.abs_diff(1_000_000) < 20_000, "{before}");
        let words = [30, Policy::Sporadic as u64, 500_000, 20_000_000];
        root.user.method(sporadic, baton::SET, words).option(5).ok().await;
        // The old millisecond does not come back at 10 ms.
        root.sleep(19_000_000).await;
        let after = billed().await - before;
        assert!(after.abs_diff(500_000) < 20_000, "{after}");
        root.sleep(2_000_000).await;
        let again = billed().await - before;
        assert!(again.abs_diff(1_000_000) < 20_000, "{again}");
    });
}

/// From the beginning of any use on, a whole period has no more than one budget: whatever the pattern of use, and although a server
/// does some of the work.
#[test]
fn a_period_has_one_budget_at_most_whatever_the_uses() {
    const BUDGET_NS: u64 = 1_000_000;
    const PERIOD_NS: u64 = 10_000_000;
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let (gate, connection) = (pair.receiving, pair.sending);
        let plan = Plan::new(&pair.server, "server");
        let server = root.start_passive(plan, |user| async move { user.serve(gate, 130_000).await }).await;
        // Without budget it does not run: the hog never rests.
        let sporadic = root.baton_with(&pair.client, 30, Policy::Sporadic, BUDGET_NS, PERIOD_NS, 5).await;
        root.start(Plan::new(&pair.client, "hog").priority(20), |user| async move { user.hog().await }).await;
        let pauses = root.gate(&pair.client).await;
        let pauses = root.give_gate(&pair.client, pauses).await;
        let timeline = Timeline::new(&root);
        let client = root
            .start(Plan::new(&pair.client, "sporadic").baton(sporadic), |user| async move {
                let random = &Rc::clone(user.world()).random;
                loop {
                    let _ = user.compute(random.below(400_000)).await;
                    if random.chance(500) {
                        user.call(connection).ok().await;
                    }
                    if random.chance(700) {
                        user.pause(pauses, 1 + random.below(3_000_000)).await;
                    }
                }
            })
            .await;
        root.sleep(40 * PERIOD_NS).await;
        let uses = timeline.stretches(&[client, server]);
        assert!(uses.len() > 80, "{}", uses.len());
        for (start, _) in &uses {
            let end = start + PERIOD_NS;
            let inside = |(from, until): &(u64, u64)| until.min(&end).saturating_sub(*from.max(start));
            let used: u64 = uses.iter().map(inside).sum();
            assert!(used <= BUDGET_NS + 5_000, "{used} ns from {start} on: {uses:?}");
        }
        let billed = root.billed(sporadic).await;
        assert!(billed > 30 * BUDGET_NS, "{billed}");
    });
}

/// Help is paid from the budget like anything else: a server that is busy with a long weak request gets no more of it.
#[test]
fn help_uses_up_the_budget_of_the_helper() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let gate = pair.receiving;
        root.start_server(Plan::new(&pair.server, "server").priority(60), |user| async move {
            user.serve(gate, 5_000_000).await;
        })
        .await;
        let sporadic = root.baton_with(&pair.client, 30, Policy::Sporadic, 1_000_000, 20_000_000, 5).await;
        let mut weak = None;
        for (name, badge) in [("weak", 1), ("sporadic", 2)] {
            let connection = root.give_connection(&pair.client, pair.gate, badge).await;
            let plan = Plan::new(&pair.client, name);
            let plan = if badge == 1 { plan.priority(10) } else { plan.baton(sporadic) };
            let thread = root
                .start(plan, |user| async move {
                    user.call(connection).ok().await;
                })
                .await;
            weak = weak.or(Some(thread));
            root.sleep(500_000).await;
        }
        let hog = root.start(Plan::new(&pair.client, "hog").priority(20), |user| async move { user.hog().await }).await;
        root.sleep(10_000_000).await;
        let weak = weak.expect("two callers");
        for (baton, expected) in [(weak.baton, 500_000), (sporadic, 1_000_000), (hog.baton, 9_500_000)] {
            let billed = root.billed(baton).await;
            assert!(billed.abs_diff(expected) < 50_000, "{billed} ns of {expected}");
        }
    });
}
