//! CPU time is billed to who caused it, every nanosecond to somebody (DESIGN §2).

use abi::Handle;
use abi::object::process;
use abi::thread::{Policy, State};
use simulator::scenario::{Log, Plan, Root};
use simulator::{Settings, scenario_with};

use crate::Pair;

/// Each step of a program takes one nanosecond, so that it is known when the kernel read the clock, and what is computed is most of
/// what is billed.
const EXACT: Settings = Settings { step_ns: 1, spurious_per_mille: 0, ..Settings::ORDINARY };
/// What the steps of a program cost beyond what it computes, at most, in these scenarios.
const STEPS_NS: u64 = 5_000;

/// All batons and idle time add up to the time that passed. After each step of the kernel the simulator insists on that, to the
/// nanosecond (`invariant::check_schedule`); here the same is read as a program would.
#[test]
fn every_nanosecond_is_billed_to_a_baton_or_idle() {
    scenario_with(EXACT, |root| async move {
        let pair = Pair::new(&root).await;
        let gate = pair.receiving;
        // The gate's reserve and a pulse's baton are used, too.
        let reserve = root.baton(&pair.server, 12).await;
        root.user.method(pair.gate, abi::object::gate::SET_RESERVE, [reserve.0, 0, 0, 0]).ok().await;
        let carried = root.baton(&pair.server, 25).await;
        let pulse = root.pulse(&pair.server, pair.gate, 1, 25, false, carried).await;
        root.alarm(pulse, root.user.now() + 100_000, 330_000).await;
        root.start_passive(Plan::new(&pair.server, "server"), |user| async move {
            let mut message = user.receive(gate).ok().await;
            loop {
                let _ = user.compute(7_000).await;
                if message.request != 0 {
                    user.reply(message.request).ok().await;
                }
                let _ = user.compute(1_000).await;
                message = user.receive(gate).ok().await;
            }
        })
        .await;
        let own = root.gate(&pair.client).await;
        let own = root.give_gate(&pair.client, own).await;
        let sporadic = root.baton_with(&pair.client, 20, Policy::Sporadic, 50_000, 400_000, 2).await;
        let mut batons = vec![reserve, carried];
        for number in 0..4 {
            let connection = root.give_connection(&pair.client, pair.gate, number).await;
            let plan = Plan::new(&pair.client, "client");
            let plan = if number == 3 { plan.baton(sporadic) } else { plan.round_robin(10 + number as u8, 50_000) };
            let thread = root
                .start(plan, |user| async move {
                    loop {
                        user.call(connection).ok().await;
                        user.pause(own, 30_000).await;
                    }
                })
                .await;
            batons.push(thread.baton);
        }
        let billed = async || {
            let idle = root.user.method(Handle::SELF_PROCESS, process::SYSTEM, [0; 4]).ok().await.words[3];
            let mut sum = idle;
            for baton in &batons {
                sum += root.billed(*baton).await;
            }
            // Root is the strongest: meanwhile nobody else runs. It was started with a baton of its own.
            let itself = root.user.method(root.record().thread, abi::object::thread::STATE, [0; 4]).ok().await;
            (sum + itself.words[2], idle, root.user.now())
        };
        let before = billed().await;
        for _ in 0..20 {
            root.sleep(999_999).await;
            let after = billed().await;
            assert_eq!(after.0 - before.0, after.2 - before.2, "ns billed, and passed");
            assert!(after.1 > before.1);
        }
    });
}

/// A client calls a server often enough to tell who pays.
async fn serve_and_compare(root: &Root, passive: bool) {
    const CALLS: u64 = 100;
    let pair = Pair::new(root).await;
    let (gate, connection) = (pair.receiving, pair.sending);
    let plan = Plan::new(&pair.server, "server");
    let own = if passive {
        root.start_passive(plan, |user| async move { user.serve(gate, 30_000).await }).await.baton
    } else {
        root.start_server(plan.priority(20), |user| async move { user.serve(gate, 30_000).await }).await.baton
    };
    let before = root.billed(own).await;
    let client = root
        .start(Plan::new(&pair.client, "client").priority(10), |user| async move {
            for _ in 0..CALLS {
                let _ = user.compute(10_000).await;
                user.call(connection).ok().await;
            }
        })
        .await;
    root.until_state(client, State::Dead).await;
    let billed = root.billed(client.baton).await;
    let worked = CALLS * 40_000;
    assert!((worked..worked + STEPS_NS).contains(&billed), "{billed} ns of {worked}");
    assert_eq!(root.billed(own).await, before, "the server's own baton was not used");
}

#[test]
fn what_a_server_does_is_billed_to_its_caller() {
    scenario_with(EXACT, |root| async move {
        serve_and_compare(&root, false).await;
        serve_and_compare(&root, true).await;
    });
}

/// A weak caller's service is half done when a strong one comes: the rest is the strong one's.
#[test]
fn help_is_billed_to_whom_it_helps() {
    scenario_with(EXACT, |root| async move {
        let pair = Pair::new(&root).await;
        let gate = pair.receiving;
        root.start_server(Plan::new(&pair.server, "server").priority(20), |user| async move {
            user.serve(gate, 1_000_000).await;
        })
        .await;
        let mut batons = Vec::new();
        let log = Log::new();
        for (name, priority) in [("weak", 10), ("strong", 30)] {
            let connection = root.give_connection(&pair.client, pair.gate, 1).await;
            let noted = log.clone();
            let thread = root
                .start(Plan::new(&pair.client, name).priority(priority), |user| async move {
                    user.call(connection).ok().await;
                    noted.note(name);
                })
                .await;
            batons.push(thread.baton);
            root.sleep(400_000).await;
        }
        root.until_noted(&log, 2).await;
        for (baton, worked) in batons.into_iter().zip([400_000, 1_600_000]) {
            let billed = root.billed(baton).await;
            assert!(billed.abs_diff(worked) < STEPS_NS, "{billed} ns of {worked}");
        }
    });
}

/// What a pulse's receiver does is billed to the baton that the pulse carries, else to its own.
#[test]
fn what_is_done_for_a_pulse_is_billed_to_the_baton_it_carries() {
    scenario_with(EXACT, |root| async move {
        let pair = Pair::new(&root).await;
        let gate = pair.receiving;
        let log = Log::new();
        let noted = log.clone();
        let server = root
            .start_server(Plan::new(&pair.server, "driver").priority(20), |user| async move {
                loop {
                    user.receive(gate).ok().await;
                    let _ = user.compute(300_000).await;
                    noted.note("done");
                }
            })
            .await;
        let carried = root.baton(&pair.server, 30).await;
        for (baton, expected) in [(carried, [300_000, 0]), (Handle::NONE, [300_000, 300_000])] {
            let pulse = root.pulse(&pair.server, pair.gate, 1, 30, false, baton).await;
            let count = log.len();
            let own = root.billed(server.baton).await;
            root.user.raise(pulse, 1).ok().await;
            root.until_noted(&log, count + 1).await;
            let billed = [root.billed(carried).await, root.billed(server.baton).await - own];
            for (billed, expected) in billed.into_iter().zip(expected) {
                assert!(billed.abs_diff(expected) < STEPS_NS, "{billed} ns of {expected}");
            }
        }
    });
}
