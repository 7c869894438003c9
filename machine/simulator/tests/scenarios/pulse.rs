//! Pulses and alarms: they coalesce in their fixed slot and never block.

use abi::call::flags;
use abi::object::pulse;
use abi::thread::State;
use abi::{Error, Handle};
use simulator::scenario::{Log, Plan};
use simulator::{Settings, scenario, simulation};

use crate::Pair;

#[test]
fn a_pulse_ors_or_counts_while_it_is_pending() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let user = root.user.clone();
        let bits = root.pulse(&pair.server, pair.gate, 11, 10, false, Handle::NONE).await;
        let count = root.pulse(&pair.server, pair.gate, 12, 20, true, Handle::NONE).await;
        for value in [1, 4, 4, 8] {
            user.raise(bits, value).ok().await;
            user.raise(count, value).ok().await;
        }
        // The stronger one first.
        let second = user.receive(pair.gate).ok().await;
        assert!(second.status().is_pulse() && !second.status().is_notice());
        assert_eq!((second.badge, second.words[0], second.request), (12, 17, 0));
        assert_eq!(second.status().priority(), 20);
        let first = user.receive(pair.gate).ok().await;
        assert_eq!((first.badge, first.words[0]), (11, 13));
        assert_eq!(user.receive(pair.gate).poll().await.error(), Some(Error::TimedOut));
        user.raise(bits, 2).ok().await;
        assert_eq!(user.receive(pair.gate).ok().await.words[0], 2);
        let gate_figures = user.method(pair.gate, abi::object::gate::INFORMATION, [0; 4]).ok().await;
        assert_eq!(gate_figures.words[..3], [0, 0, 0]);
    });
}

#[test]
fn a_parked_receiver_takes_a_pulse_on_its_own_baton_or_the_pulses_or_the_reserve() {
    scenario(|root| async move {
        let pair = Pair::with_gate(&root, 30, 0).await;
        let log = Log::new();
        let gate = pair.receiving;
        for (name, own) in [("active", true), ("passive", false)] {
            let noted = log.clone();
            let plan = Plan::new(&pair.server, name).priority(40);
            let thread = root
                .start(plan, |user| async move {
                    let message = user.receive(gate).ok().await;
                    noted.note(format!("{name} got {}", message.words[0]));
                })
                .await;
            root.until_state(thread, State::Receive).await;
            if !own {
                root.user.method(thread.handle, abi::object::thread::SET_BATON, [0; 4]).ok().await;
            }
            let plain = root.pulse(&pair.server, pair.gate, 1, 10, false, Handle::NONE).await;
            root.user.raise(plain, 3).ok().await;
            root.until_state(thread, State::Dead).await;
        }
        let carried = root.baton(&pair.server, 35).await;
        let with_baton = root.pulse(&pair.server, pair.gate, 2, 35, false, carried).await;
        let noted = log.clone();
        let thread = root
            .start(Plan::new(&pair.server, "carried").priority(40), |user| async move {
                user.receive(gate).ok().await;
                let _ = user.compute(5000).await;
                noted.note("carried");
            })
            .await;
        root.until_state(thread, State::Receive).await;
        root.user.method(thread.handle, abi::object::thread::SET_BATON, [0; 4]).ok().await;
        root.user.raise(with_baton, 1).ok().await;
        root.until_noted(&log, 3).await;
        log.assert(&["active got 3", "passive got 3", "carried"]);
    });
}

/// Of several parked receivers one takes it, and the others stay; whoever has taken it has no deadline any more.
#[test]
fn a_pulse_wakes_one_receiver_and_ends_its_deadline() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let (gate, log) = (pair.receiving, Log::new());
        for _ in 0..3 {
            let noted = log.clone();
            root.start_server(Plan::new(&pair.server, "server").priority(20), |user| async move {
                let receive = user.receive(gate).deadline(user.now() + 1_000_000, flags::DEADLINE_RECEIVE);
                let message = receive.await;
                let _ = user.compute(2_000_000).await;
                noted.note(format!("{:?} {}", message.error(), message.words[0]));
            })
            .await;
        }
        let pulse = root.pulse(&pair.server, pair.gate, 1, 30, true, Handle::NONE).await;
        for value in [5, 6] {
            root.user.raise(pulse, value).ok().await;
        }
        root.until_noted(&log, 3).await;
        log.assert(&["None 5", "None 6", "Some(TimedOut) 0"]);
    });
}

/// A baton that is somebody's own does not go with a pulse: its priority is nothing to the pulse's place in the queue.
#[test]
fn a_pulse_whose_baton_is_somebodys_own_waits_with_its_own_priority() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let mut weakest = Handle::NONE;
        for (badge, priority) in [(1, 40), (2, 20), (3, 5)] {
            let connection = root.give_connection(&pair.client, pair.gate, badge).await;
            let plan = Plan::new(&pair.client, "caller").priority(priority);
            let caller = root.start(plan, |user| async move {
                user.call(connection).ok().await;
            });
            let caller = caller.await;
            root.until_state(caller, State::Send).await;
            weakest = caller.baton;
        }
        let pulse = root.pulse(&pair.server, pair.gate, 4, 30, false, weakest).await;
        root.user.raise(pulse, 1).ok().await;
        for expected in [1, 4, 2, 3] {
            let message = root.user.receive(pair.gate).ok().await;
            assert_eq!(message.badge, expected);
            if message.request != 0 {
                root.user.reply(message.request).ok().await;
            }
        }
    });
}

/// Two pulses with one baton: a receiver has it with the first, while the second waits at another gate. It helps there as soon as
/// that receiver has given it up, also if it runs on a stronger one just then.
#[test]
fn a_baton_that_its_receiver_gives_up_helps_where_another_pulse_waits_with_it() {
    scenario(|root| async move {
        let log = Log::new();
        let (first, second) = (Pair::new(&root).await, Pair::new(&root).await);
        for (pair, name) in [(&first, "first"), (&second, "second")] {
            let (gate, noted) = (pair.receiving, log.clone());
            root.start_server(Plan::new(&pair.server, name).priority(5), |user| async move {
                let mut message = user.receive(gate).ok().await;
                loop {
                    let _ = user.compute(500_000).await;
                    noted.note(format!("{name} is done with {}", message.badge));
                    message = if message.request == 0 {
                        user.receive(gate).ok().await
                    } else {
                        user.reply_and_receive(message.request, gate).ok().await
                    };
                }
            })
            .await;
        }
        let call = |pair: &Pair, priority| {
            let connection = pair.sending;
            root.start(Plan::new(&pair.client, "caller").priority(priority), move |user| async move {
                user.call(connection).ok().await;
            })
        };
        call(&second, 10).await;
        root.sleep(20_000).await;
        let noted = log.clone();
        root.start(Plan::new(&first.client, "hog").priority(20), |user| async move {
            let _ = user.compute(5_000_000).await;
            noted.note("hog is done");
        })
        .await;
        root.sleep(20_000).await;
        let carried = root.baton(&first.server, 40).await;
        for (pair, badge) in [(&first, 1), (&second, 2)] {
            let pulse = root.pulse(&pair.server, pair.gate, badge, 40, false, carried).await;
            root.user.raise(pulse, 1).ok().await;
        }
        call(&first, 50).await;
        root.until_noted(&log, 5).await;
        let expected = [
            "first is done with 1",
            "first is done with 77",
            "second is done with 77",
            "second is done with 2",
            "hog is done",
        ];
        log.assert(&expected);
    });
}

#[test]
fn alarms_come_once_or_again_and_again_and_coalesce() {
    scenario(|root| async move {
        let user = root.user.clone();
        let child = root.process().await;
        let gate = root.gate(&child).await;
        let once = root.pulse(&child, gate, 1, 10, true, Handle::NONE).await;
        let often = root.pulse(&child, gate, 2, 20, true, Handle::NONE).await;
        let start = user.now();
        root.alarm(once, start + 100_000, 0).await;
        root.alarm(often, start + 50_000, 50_000).await;
        let first = user.receive(gate).ok().await;
        assert_eq!((first.badge, first.words[0]), (2, 1));
        assert!(user.now() >= start + 50_000 && user.now() < start + 70_000);
        root.sleep(300_000).await;
        // 100, 150 … 350 have passed: six times in one slot, however late they are taken.
        let many = user.receive(gate).ok().await;
        assert_eq!(many.badge, 2);
        assert!((6..=7).contains(&many.words[0]), "{many:?}");
        let single = user.receive(gate).ok().await;
        assert_eq!((single.badge, single.words[0]), (1, 1));
        root.alarm(often, u64::MAX, 0).await;
        let _ = user.receive(gate).poll().await;
        root.sleep(200_000).await;
        assert_eq!(user.receive(gate).poll().await.error(), Some(Error::TimedOut));
        // An alarm in the past comes at once.
        root.alarm(once, 1, 0).await;
        let late = user.receive(gate).deadline(user.now() + 10_000, flags::DEADLINE_RECEIVE).ok().await;
        assert_eq!(late.badge, 1);
        // One that is replaced does not come.
        root.alarm(once, user.now() + 30_000, 0).await;
        root.alarm(once, user.now() + 90_000, 0).await;
        let until = user.now() + 60_000;
        assert_eq!(user.receive(gate).deadline(until, flags::DEADLINE_RECEIVE).await.error(), Some(Error::TimedOut));
        assert_eq!(user.receive(gate).ok().await.badge, 1);
    });
}

/// However many there are, and however short their periods.
#[test]
fn periodic_alarms_that_nobody_receives_come_once() {
    let report = simulation::run(1, Settings::default(), |root| async move {
        let user = root.user.clone();
        let child = root.process().await;
        let gate = root.gate(&child).await;
        let start = user.now();
        let mut pulses = Vec::new();
        for number in 0..16 {
            let pulse = root.pulse(&child, gate, number, 20, true, Handle::NONE).await;
            root.alarm(pulse, start + 1_000_000, 10_000).await;
            pulses.push(pulse);
        }
        root.sleep(100_000_000).await;
        // None of the periods is lost, and it goes on in phase.
        for number in 0..16 {
            let message = user.receive(gate).ok().await;
            assert_eq!(message.badge, number);
            assert!((9_900..9_950).contains(&message.words[0]), "{message:?}");
        }
        for number in 0..16 {
            let message = user.receive(gate).ok().await;
            assert_eq!((message.badge, message.words[0]), (number, 1));
            assert!((user.now() - start) % 10_000 < 8_000, "{}", user.now() - start);
        }
        for pulse in pulses {
            root.alarm(pulse, u64::MAX, 0).await;
        }
    });
    // Each of 160,000 would have stopped somebody.
    assert!(report.steps < 3_000, "{report:?}");
}

#[test]
fn an_idle_pulse_comes_when_the_processor_has_nothing_else_to_do() {
    scenario(|root| async move {
        let pair = Pair::with_gate(&root, 5, 0).await;
        let log = Log::new();
        let idle = root.pulse(&pair.server, pair.gate, 9, 1, false, Handle::NONE).await;
        let gate = pair.receiving;
        let noted = log.clone();
        root.start(Plan::new(&pair.server, "idler").priority(5), |user| async move {
            let message = user.receive(gate).ok().await;
            assert_eq!(message.badge, 9);
            noted.note("idle");
        })
        .await;
        let noted = log.clone();
        root.start(Plan::new(&pair.client, "worker").priority(10), |user| async move {
            let _ = user.compute(500_000).await;
            noted.note("worked");
        })
        .await;
        root.user.method(idle, pulse::BIND_IDLE, [1, 0, 0, 0]).ok().await;
        root.until_noted(&log, 2).await;
        log.assert(&["worked", "idle"]);
        root.user.method(idle, pulse::BIND_IDLE, [0; 4]).ok().await;
    });
}

#[test]
fn idle_pulses_are_raised_one_after_the_other_however_many_there_are() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let gate = pair.receiving;
        let processes = [root.process().await, root.process().await, root.process().await];
        let mut pulses = Vec::new();
        for number in 0..40 {
            let process = &processes[number as usize / 16];
            let idle = root.pulse(process, pair.gate, number, 5, false, Handle::NONE).await;
            root.user.method(idle, pulse::BIND_IDLE, [1, 0, 0, 0]).ok().await;
            pulses.push(idle);
        }
        // Some go, the first and the last among them.
        for number in [0, 39, 20, 38] {
            root.destroy(pulses[number]).await;
        }
        let log = Log::new();
        let noted = log.clone();
        root.start(Plan::new(&pair.server, "idler").priority(5), |user| async move {
            let mut seen = std::collections::BTreeSet::new();
            while seen.len() < 36 {
                seen.insert(user.receive(gate).ok().await.badge);
            }
            assert!(![0, 39, 20, 38].iter().any(|gone| seen.contains(gone)));
            noted.note("all");
        })
        .await;
        root.until_noted(&log, 1).await;
        for one in pulses {
            let _ = root.user.method(one, pulse::BIND_IDLE, [0; 4]).await;
        }
    });
}
