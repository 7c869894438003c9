//! Interrupt lines whose takers are late, die, or lose their gates: no interrupt is lost, no line stays masked for nobody,
//! and none comes again and again.

use std::cell::Cell;
use std::rc::Rc;

use abi::call::flags;
use abi::object::pulse;
use abi::thread::State;
use abi::{Handle, Rights};
use simulator::scenario;
use simulator::scenario::{Log, Plan, Process, Root, Thread};

use crate::interrupt::{acknowledge, bind};

const LINE: u64 = 6;

/// Where a driver is when it is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// It waits for the interrupt.
    Parked,
    /// It was never started: the interrupt waits.
    Absent,
    /// It has the interrupt, its device still asks.
    Taken,
    /// It served its device, and does not receive again.
    Served,
    /// It received again: that is over.
    Settled,
}

/// A driver of line 6 that stops somewhere, for good.
async fn driver(root: &Root, process: &Process, gate: Handle, stop: At, taken: &Rc<Cell<u32>>) -> Thread {
    let ports = root.give(process, root.record().ports, Rights::ALL).await;
    let taken = taken.clone();
    root.start(Plan::new(process, "driver").priority(50), |user| async move {
        loop {
            let message = user.receive(gate).ok().await;
            assert_eq!(message.words[0], 1 << LINE);
            taken.set(taken.get() + 1);
            if stop == At::Taken {
                user.hog().await;
            }
            acknowledge(&user, ports, LINE).await;
            if stop == At::Served {
                user.hog().await;
            }
        }
    })
    .await
}

#[test]
fn a_driver_killed_in_any_state_loses_no_interrupt_and_its_successor_has_no_storm() {
    for stop in [At::Parked, At::Absent, At::Taken, At::Served, At::Settled] {
        scenario(move |root| async move {
            // Gate and pulse outlive the driver.
            let supervisor = root.process().await;
            let gate = root.gate(&supervisor).await;
            let line_pulse = root.pulse(&supervisor, gate, 4, 50, false, Handle::NONE).await;
            bind(&root, line_pulse, LINE, 0, false).await;
            let world = root.user.world().clone();
            let taken = Rc::new(Cell::new(0));
            if stop != At::Absent {
                let process = root.process().await;
                let own = root.give_gate(&process, gate).await;
                let first = driver(&root, &process, own, stop, &taken).await;
                root.until_state(first, State::Receive).await;
                if stop != At::Parked {
                    world.set_line(LINE as u32, true);
                    root.sleep(100_000).await;
                    assert_eq!(taken.get(), 1);
                    assert_eq!(world.is_masked(LINE as u32), stop != At::Settled);
                }
                root.destroy(process.handle).await;
            }
            if matches!(stop, At::Parked | At::Absent) {
                world.set_line(LINE as u32, true);
                root.sleep(50_000).await;
                assert!(world.is_masked(LINE as u32));
            }
            let earlier = taken.replace(0);
            let process = root.process().await;
            let own = root.give_gate(&process, gate).await;
            driver(&root, &process, own, At::Settled, &taken).await;
            root.sleep(100_000).await;
            // Told of what was not settled, once.
            let expected = u32::from(stop != At::Settled);
            assert_eq!(taken.get(), expected, "{stop:?}, after {earlier}");
            assert!(!world.is_masked(LINE as u32) && !world.line(LINE as u32));
            // And it works.
            world.set_line(LINE as u32, true);
            root.sleep(100_000).await;
            assert_eq!(taken.get(), expected + 1);
        });
    }
}

#[test]
fn a_taker_whose_gate_is_destroyed_is_none_any_more() {
    // When the gate goes: before the interrupt, while it waits at the gate, after it was taken by one that dies.
    for when in 0..3 {
        scenario(move |root| async move {
            let (one, two) = (root.process().await, root.process().await);
            let world = root.user.world().clone();
            let ports = root.record().ports;
            let gate = root.gate(&one).await;
            let first = root.pulse(&one, gate, 1, 50, false, Handle::NONE).await;
            bind(&root, first, LINE, 0, false).await;
            let lost = root.gate(&two).await;
            let second = root.pulse(&two, lost, 2, 50, false, Handle::NONE).await;
            bind(&root, second, LINE, 0, false).await;
            let mut taker = None;
            if when == 2 {
                let own = root.give_gate(&two, lost).await;
                let thread = root
                    .start(Plan::new(&two, "taker").priority(50), |user| async move {
                        user.receive(own).ok().await;
                        user.hog().await;
                    })
                    .await;
                root.until_state(thread, State::Receive).await;
                taker = Some(thread);
            }
            if when == 0 {
                root.destroy(lost).await;
            }
            world.set_line(LINE as u32, true);
            root.sleep(50_000).await;
            assert_eq!(root.user.receive(gate).ok().await.badge, 1);
            acknowledge(&root.user, ports, LINE).await;
            if when != 0 {
                root.destroy(lost).await;
            }
            if let Some(thread) = taker {
                root.user.receive(gate).poll().fails(abi::Error::TimedOut).await;
                assert!(world.is_masked(LINE as u32), "one that lives has not re-armed");
                root.destroy(thread.handle).await;
            }
            root.user.receive(gate).poll().fails(abi::Error::TimedOut).await;
            assert!(!world.is_masked(LINE as u32), "the line waits for nobody");
            // The first one alone is told from now on, and once.
            for _ in 0..3 {
                world.set_line(LINE as u32, true);
                assert_eq!(root.user.receive(gate).ok().await.badge, 1);
                acknowledge(&root.user, ports, LINE).await;
                root.user.receive(gate).poll().fails(abi::Error::TimedOut).await;
            }
        });
    }
}

#[test]
fn a_taker_that_was_too_late_does_not_rearm_what_came_since() {
    scenario(|root| async move {
        let process = root.process().await;
        let gate = root.gate(&process).await;
        let line_pulse = root.pulse(&process, gate, 4, 50, false, Handle::NONE).await;
        bind(&root, line_pulse, LINE, 100_000, false).await;
        let own = root.give_gate(&process, gate).await;
        let ports = root.give(&process, root.record().ports, Rights::ALL).await;
        let world = root.user.world().clone();
        let log = Log::new();
        let noted = log.clone();
        root.start(Plan::new(&process, "late").priority(50), |user| async move {
            user.receive(own).ok().await;
            noted.note("first");
            // Longer than it said; meanwhile the line works again, and its device asks once more.
            let _ = user.compute(300_000).await;
            user.receive(own).ok().await;
            assert!(user.world().is_masked(LINE as u32), "re-armed by who had not seen it");
            acknowledge(&user, ports, LINE).await;
            noted.note("again");
            user.receive(own).poll().fails(abi::Error::TimedOut).await;
            noted.note("quiet");
        })
        .await;
        world.set_line(LINE as u32, true);
        root.until_noted(&log, 3).await;
        log.assert(&["first", "again", "quiet"]);
        assert!(!world.is_masked(LINE as u32));
    });
}

/// Eight takers of one line that do as they like: every one that lives hears of every interrupt, and the line works on.
#[test]
fn eight_takers_that_do_as_they_like_lose_nothing() {
    scenario(|root| async move {
        const ROUNDS: u32 = 25;
        let world = root.user.world().clone();
        let ports = root.record().ports;
        let mut heard = Vec::new();
        let mut processes = Vec::new();
        for number in 0..8 {
            let process = root.process().await;
            let gate = root.gate(&process).await;
            let taker = root.pulse(&process, gate, number, 50, false, Handle::NONE).await;
            // The last ones are late now and then, and said how late they may be.
            bind(&root, taker, LINE, if number >= 6 { 60_000 } else { 0 }, false).await;
            let (own, line_pulse) =
                (root.give_gate(&process, gate).await, root.give(&process, taker, Rights::ALL).await);
            let count = Rc::new(Cell::new(0_u32));
            let counted = count.clone();
            root.start(Plan::new(&process, "taker").priority(40 + number as u8), |user| async move {
                loop {
                    let held = number % 3 == 1;
                    let message = user.receive(own).flags(if held { flags::HOLD } else { 0 }).ok().await;
                    assert_eq!(message.words[0], 1 << LINE);
                    counted.set(counted.get() + 1);
                    let busy = user.world().random.below(if number >= 6 { 150_000 } else { 5_000 });
                    let _ = user.compute(busy).await;
                    if held {
                        user.method(line_pulse, pulse::REARM, [0; 4]).ok().await;
                    }
                }
            })
            .await;
            heard.push(count);
            processes.push(Some(process));
        }
        for round in 1..=ROUNDS {
            let earlier = heard.iter().map(|count| count.get()).collect::<Vec<_>>();
            world.set_line(LINE as u32, true);
            let all = heard.clone();
            let alive = processes.iter().map(Option::is_some).collect::<Vec<_>>();
            let (before, living) = (earlier.clone(), alive.clone());
            root.until(move || (0..8).all(|at| !living[at] || all[at].get() > before[at])).await;
            acknowledge(&root.user, ports, LINE).await;
            // Two go on the way, one of them in the middle of an interrupt.
            for (at, when) in [(2, 8), (4, 16)] {
                if round == when {
                    root.destroy(processes[at].take().expect("it lives").handle).await;
                }
            }
            let again = world.clone();
            root.until(move || !again.is_masked(LINE as u32)).await;
            root.sleep(400_000).await;
            // Nobody hears it more often than the line can have come: who is late does not hold the others up, who then
            // hear it again while the device still asks.
            for (at, count) in heard.iter().enumerate() {
                assert!(!alive[at] || count.get() - earlier[at] <= 4, "taker {at}, round {round}: a storm");
            }
        }
    });
}
