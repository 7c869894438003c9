//! Interrupt lines: masked when they come, re-armed by the next receive.

use abi::call::flags;
use abi::object::{memory, pulse};
use abi::{Error, Handle, Rights};
use simulator::processor::LINE_PORTS;
use simulator::scenario;
use simulator::scenario::{Log, Plan, Root};

use crate::Pair;

/// The simulated device's way to be told that it was served: writing its port lowers the line.
pub(crate) async fn acknowledge(user: &simulator::User, ports: Handle, line: u64) {
    user.method(ports, memory::PORT_WRITE, [u64::from(LINE_PORTS) + line, 1, 0, 0]).ok().await;
}

pub(crate) async fn bind(root: &Root, pulse_handle: Handle, line: u64, longest_ns: u64, edge: bool) {
    let interrupts = root.record().interrupts;
    root.user
        .method(pulse_handle, pulse::BIND_INTERRUPT, [interrupts.0, line, longest_ns, 0])
        .option(u64::from(edge))
        .ok()
        .await;
}

#[test]
fn a_line_stays_masked_until_its_taker_receives_again() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let log = Log::new();
        let gate = pair.receiving;
        let line_pulse = root.pulse(&pair.server, pair.gate, 4, 50, false, Handle::NONE).await;
        bind(&root, line_pulse, 5, 0, false).await;
        let ports = root.give(&pair.server, root.record().ports, Rights::ALL).await;
        let world = root.user.world().clone();
        assert!(!world.is_masked(5));
        let noted = log.clone();
        root.start(Plan::new(&pair.server, "driver").priority(50), |user| async move {
            for _ in 0..3 {
                let message = user.receive(gate).ok().await;
                assert_eq!((message.badge, message.words[0]), (4, 1 << 5));
                assert!(user.world().is_masked(5));
                let _ = user.compute(20_000).await;
                assert!(user.world().is_masked(5));
                acknowledge(&user, ports, 5).await;
                noted.note("served");
            }
            let last = user.receive(gate).deadline(user.now() + 100_000, flags::DEADLINE_RECEIVE).await;
            assert_eq!(last.error(), Some(Error::TimedOut));
            noted.note("quiet");
        })
        .await;
        for round in 1..=3 {
            world.at(world.time() + 10_000, |world| world.set_line(5, true));
            root.until_noted(&log, round).await;
        }
        root.until_noted(&log, 4).await;
        assert!(!world.is_masked(5));
    });
}

#[test]
fn a_held_line_is_unmasked_only_by_rearm() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let log = Log::new();
        let gate = pair.receiving;
        let line_pulse = root.pulse(&pair.server, pair.gate, 4, 50, false, Handle::NONE).await;
        bind(&root, line_pulse, 9, 0, true).await;
        let own_pulse = root.give(&pair.server, line_pulse, Rights::ALL).await;
        let world = root.user.world().clone();
        let noted = log.clone();
        root.start(Plan::new(&pair.server, "driver").priority(50), |user| async move {
            let message = user.receive(gate).flags(flags::HOLD).ok().await;
            assert_eq!(message.badge, 4);
            let again = user.receive(gate).deadline(user.now() + 50_000, flags::DEADLINE_RECEIVE).await;
            assert_eq!(again.error(), Some(Error::TimedOut));
            assert!(user.world().is_masked(9), "a receive re-armed a held line");
            user.method(own_pulse, pulse::REARM, [0; 4]).ok().await;
            let message = user.receive(gate).ok().await;
            assert_eq!(message.badge, 4);
            noted.note("served");
        })
        .await;
        world.at(world.time() + 5_000, |world| world.edge(9));
        // The second edge comes while the line is masked, and is not lost.
        world.at(world.time() + 30_000, |world| world.edge(9));
        root.until_noted(&log, 1).await;
    });
}

#[test]
fn a_shared_line_is_unmasked_when_all_takers_have_rearmed_died_or_are_too_late() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let third = root.process().await;
        let world = root.user.world().clone();
        let ports = root.record().ports;
        let log = Log::new();
        let mut gates = Vec::new();
        for (number, process) in [&pair.server, &pair.client, &third].into_iter().enumerate() {
            let gate = root.gate(process).await;
            let taker = root.pulse(process, gate, number as u64, 50, false, Handle::NONE).await;
            bind(&root, taker, 7, if number == 1 { 200_000 } else { 0 }, false).await;
            gates.push((root.give_gate(process, gate).await, taker));
        }
        // The first one serves properly.
        let gate = gates[0].0;
        let noted = log.clone();
        root.start(Plan::new(&pair.server, "good").priority(50), |user| async move {
            loop {
                user.receive(gate).ok().await;
                noted.note("taken");
            }
        })
        .await;
        world.at(world.time() + 5_000, |world| world.set_line(7, true));
        root.until_noted(&log, 1).await;
        acknowledge(&root.user, ports, 7).await;
        root.sleep(50_000).await;
        assert!(world.is_masked(7), "two takers have not re-armed");
        root.sleep(300_000).await;
        assert!(world.is_masked(7), "one taker, without a bound, has not re-armed");
        root.destroy(gates[2].1).await;
        root.sleep(10_000).await;
        assert!(!world.is_masked(7));
        // The second never re-arms: after its bound the line works without it.
        world.at(world.time() + 5_000, |world| world.set_line(7, true));
        root.until_noted(&log, 2).await;
        acknowledge(&root.user, ports, 7).await;
        root.sleep(400_000).await;
        assert!(!world.is_masked(7));
    });
}

#[test]
fn a_line_has_at_most_eight_takers() {
    scenario(|root| async move {
        let child = root.process().await;
        let gate = root.gate(&child).await;
        for number in 0..9 {
            let taker = root.pulse(&child, gate, number, 50, false, Handle::NONE).await;
            let bound = root.user.method(taker, pulse::BIND_INTERRUPT, [root.record().interrupts.0, 3, 0, 0]).await;
            assert_eq!(bound.error().is_some(), number == 8, "{bound:?}");
        }
        let taker = root.pulse(&child, gate, 10, 50, false, Handle::NONE).await;
        let beyond = root.user.method(taker, pulse::BIND_INTERRUPT, [root.record().interrupts.0, 1 << 40, 0, 0]).await;
        assert_eq!(beyond.error(), Some(Error::BadArgument));
    });
}

/// A line is edge- or level-triggered for all that take it, until nobody does.
#[test]
fn takers_of_one_line_agree_on_its_trigger() {
    scenario(|root| async move {
        let child = root.process().await;
        let gate = root.gate(&child).await;
        let new = async || root.pulse(&child, gate, 1, 50, false, Handle::NONE).await;
        let binds = async |taker: Handle, edge: bool| {
            let words = [root.record().interrupts.0, 3, 0, 0];
            root.user.method(taker, pulse::BIND_INTERRUPT, words).option(u64::from(edge)).await.error()
        };
        for edge in [true, false] {
            let (first, second) = (new().await, new().await);
            assert_eq!(binds(first, edge).await, None);
            assert_eq!(binds(second, !edge).await, Some(Error::Busy));
            assert_eq!(binds(second, edge).await, None);
            assert_eq!(binds(second, edge).await, Some(Error::Busy), "it has a line");
            root.destroy(first).await;
            assert_eq!(binds(new().await, !edge).await, Some(Error::Busy));
            root.destroy(second).await;
        }
    });
}

/// Its only taker goes, while it is masked or not. If a time was set: the end of that time is nobody's business any more. What the device
/// asks for comes to the next taker.
#[test]
fn a_line_that_nobody_takes_stays_masked() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let world = root.user.world().clone();
        let first = root.pulse(&pair.server, pair.gate, 1, 50, false, Handle::NONE).await;
        bind(&root, first, 7, 200_000, false).await;
        world.at(world.time() + 5_000, |world| world.set_line(7, true));
        root.sleep(50_000).await;
        assert!(world.is_masked(7));
        root.destroy(first).await;
        root.sleep(500_000).await;
        assert!(world.is_masked(7));
        let next = root.pulse(&pair.server, pair.gate, 2, 50, false, Handle::NONE).await;
        bind(&root, next, 7, 0, false).await;
        assert_eq!(root.user.receive(pair.gate).ok().await.badge, 2);
        acknowledge(&root.user, root.record().ports, 7).await;
        root.user.receive(pair.gate).poll().fails(Error::TimedOut).await;
        assert!(!world.is_masked(7));
        root.destroy(next).await;
        assert!(world.is_masked(7), "nobody takes it");
    });
}
