//! Point 11 on the simulator.

use std::sync::Mutex;

use hostile::{Deed, Tally};

/// Exchanges that are fired in all, in runs of their own seeds.
const EXCHANGES: u64 = 10_000_000;
const RUNS: u64 = 40;

/// What succeeds rarely, if ever: it wants handles or rights that a program does not have, or it would end who does it.
const RARE: [&str; 9] = [
    "nonsense",
    "process.COPY_ENTRY",
    "process.SET_QUOTA",
    "process.NEXT_THREAD",
    "pulse.BIND_INTERRUPT",
    "memory.PORT",
    "memory.TRACE",
    "thread.START",
    "thread.WRITE_REGISTERS",
];

/// Every step is checked.
#[test]
fn point_11_hostile_programs_checked_closely() {
    let _ = hostility::attack(1000, 20_000, 1);
}

#[test]
fn point_11_hostile_programs() {
    let runs: Vec<u64> = (0..RUNS).collect();
    let tally = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for half in runs.chunks(runs.len() / 2) {
            let tally = &tally;
            scope.spawn(move || {
                for seed in half {
                    let counted = hostility::attack(*seed, EXCHANGES / RUNS, 256);
                    tally.lock().expect("nobody panics with it").add(&counted);
                }
            });
        }
    });
    let tally = tally.into_inner().expect("nobody panics with it");
    for deed in Deed::all() {
        let line = tally.line(deed).to_string();
        println!("{line}");
        // What is nearly right succeeds often, or it would not get far.
        let (all, done) = tally.successes(deed);
        assert!(all > 0, "{line}");
        if !line.starts_with("no method") && !RARE.iter().any(|rare| line.starts_with(rare)) {
            assert!(done * 1000 / all >= 30, "{line}");
        }
    }
}

/// The fuzzer's way in.
#[test]
fn point_11_bytes_are_fired() {
    for length in [0, 1, 2, 100, 2_000] {
        hostility::fuzz(&(0..length).map(|number| (number * 37 % 251) as u8).collect::<Vec<_>>());
    }
}
