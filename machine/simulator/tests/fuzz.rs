//! Random programs under many seeds: nothing they do may break an invariant, hang the system or leak.

use simulator::{simulate, simulate_closely};

#[test]
fn equal_seeds_give_equal_runs() {
    let first = simulate(7, 3_000);
    assert_eq!(first, simulate(7, 3_000));
    assert_ne!(first.hash, simulate(8, 3_000).hash);
}

#[test]
fn random_programs_break_nothing() {
    for seed in 0..20 {
        let _ = simulate(seed, 10_000);
    }
}

#[test]
fn all_that_must_hold_does_after_every_trap() {
    for seed in 0..6 {
        let _ = simulate_closely(seed, 1_500);
    }
}

/// A gate that got a reserve baton while a receiver was stuck for want of one left it stuck.
#[test]
fn a_new_reserve_goes_to_a_stuck_receiver() {
    let _ = simulate(2, 60_000);
}
