//! Random programs under many seeds: nothing they do may break an invariant, hang the system or leak.

use simulator::simulate;

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
