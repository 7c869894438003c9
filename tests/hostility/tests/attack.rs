//! Point 11 on the simulator.

/// Exchanges that are fired in all, in runs of their own seeds.
const EXCHANGES: u64 = 10_000_000;
const RUNS: u64 = 40;

/// Every step is checked.
#[test]
fn point_11_hostile_programs_checked_closely() {
    hostility::attack(1000, 20_000, 1);
}

#[test]
fn point_11_hostile_programs() {
    let runs: Vec<u64> = (0..RUNS).collect();
    std::thread::scope(|scope| {
        for half in runs.chunks(runs.len() / 2) {
            scope.spawn(move || half.iter().for_each(|seed| hostility::attack(*seed, EXCHANGES / RUNS, 256)));
        }
    });
}

/// The fuzzer's way in.
#[test]
fn point_11_bytes_are_fired() {
    for length in [0, 1, 2, 100, 2_000] {
        hostility::fuzz(&(0..length).map(|number| (number * 37 % 251) as u8).collect::<Vec<_>>());
    }
}
