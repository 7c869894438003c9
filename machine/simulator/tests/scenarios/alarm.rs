//! Alarms: once, again and again, at a time; none drifts.

use abi::Handle;
use abi::object::pulse;
use simulator::Settings;
use simulator::scenario::Root;
use simulator::{scenario, simulation};

/// The shortest period that there is, ns.
const PERIOD: u64 = 10_000;

/// Take alarms until so many periods have passed; `late`: how long to do something else between them.
async fn count_periods(root: &Root, periods: u64, late: impl Fn(u64) -> u64) {
    let process = root.process().await;
    let gate = root.gate(&process).await;
    let alarm = root.pulse(&process, gate, 1, 100, true, Handle::NONE).await;
    let start = root.user.now() + 50_000;
    root.alarm(alarm, start, PERIOD).await;
    let mut counted = 0;
    while counted < periods {
        let message = root.user.receive(gate).ok().await;
        counted += message.words[0];
        let now = root.user.now();
        let due = start + (counted - 1) * PERIOD;
        // Each that was due was counted, and none before its time: the phase is the first one's, whatever came between.
        assert!(now >= due && now - due < PERIOD + 5_000, "period {counted} was due at {due}, it is {now}");
        let busy = late(counted);
        if busy != 0 {
            let _ = root.user.compute(busy).await;
        }
    }
    root.destroy(alarm).await;
}

#[test]
fn a_periodic_alarm_does_not_drift_over_a_million_periods() {
    let settings = Settings { check_every: 1 << 16, patience: 100_000_000, ..Settings::default() };
    // Its receiver is late now and then, sometimes by many periods.
    simulation::run(1, settings, |root| async move {
        count_periods(&root, 1_000_000, |counted| if counted % 1000 == 7 { 2_345_678 } else { 0 }).await;
    });
}

#[test]
fn an_alarm_that_is_set_anew_keeps_its_new_phase_and_one_that_is_cancelled_does_not_come() {
    scenario(|root| async move {
        let process = root.process().await;
        let gate = root.gate(&process).await;
        let alarm = root.pulse(&process, gate, 1, 100, true, Handle::NONE).await;
        for round in 0..40 {
            let start = root.user.now() + 13_000 + 997 * round;
            root.alarm(alarm, start, PERIOD).await;
            for at in 0..3 {
                let message = root.user.receive(gate).ok().await;
                let now = root.user.now();
                assert_eq!(message.words[0], 1);
                assert!(now >= start + at * PERIOD && now < start + at * PERIOD + 3_000, "round {round}, period {at}");
            }
            root.user.method(alarm, pulse::SET_ALARM, [u64::MAX, 0, 0, 0]).ok().await;
            root.sleep(3 * PERIOD).await;
            root.user.receive(gate).poll().fails(abi::Error::TimedOut).await;
        }
    });
}

#[test]
fn an_alarm_at_the_end_of_time_never_comes_whatever_its_period_and_a_period_may_be_as_long() {
    scenario(|root| async move {
        let user = root.user.clone();
        let process = root.process().await;
        let gate = root.gate(&process).await;
        let alarm = root.pulse(&process, gate, 1, 100, true, Handle::NONE).await;
        for (never, period) in [(true, PERIOD), (false, u64::MAX)] {
            root.alarm(alarm, if never { u64::MAX } else { user.now() + PERIOD }, period).await;
            // Received, whoever raised it, it is set again only if its time had come.
            user.raise(alarm, 4).ok().await;
            assert_eq!(user.receive(gate).ok().await.words[0], 4);
            root.sleep(10 * PERIOD).await;
            let came = if never { None } else { Some(1) };
            let answer = user.receive(gate).poll().await;
            assert_eq!(answer.error().is_none().then_some(answer.words[0]), came);
            root.sleep(10 * PERIOD).await;
            user.receive(gate).poll().fails(abi::Error::TimedOut).await;
        }
    });
}

#[test]
fn an_alarm_that_was_not_received_is_set_anew_like_any_other() {
    scenario(|root| async move {
        let user = root.user.clone();
        let process = root.process().await;
        let gate = root.gate(&process).await;
        let alarm = root.pulse(&process, gate, 1, 100, true, Handle::NONE).await;
        root.alarm(alarm, user.now() + PERIOD, PERIOD).await;
        root.sleep(5 * PERIOD).await;
        // It is pending, with one period; those that passed since belong to the old alarm.
        let start = user.now() + 3 * PERIOD;
        root.alarm(alarm, start, 2 * PERIOD).await;
        assert_eq!(user.receive(gate).ok().await.words[0], 1);
        for at in 0..3 {
            assert_eq!(user.receive(gate).ok().await.words[0], 1);
            let due = start + at * 2 * PERIOD;
            assert!((due..due + 3_000).contains(&user.now()));
        }
        // Once only, from now on.
        root.alarm(alarm, user.now() + PERIOD, 0).await;
        root.sleep(5 * PERIOD).await;
        assert_eq!(user.receive(gate).ok().await.words[0], 1);
        root.sleep(5 * PERIOD).await;
        user.receive(gate).poll().fails(abi::Error::TimedOut).await;
    });
}
