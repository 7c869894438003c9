//! No unbounded priority inversion (DESIGN §2): over many random systems, weaker ones delay each job no longer than the declared
//! work of the servers that it needs explains. `cargo run --release -p simulator --example delays -- FIRST COUNT` tries others.

use simulator::delay::{Sabotage, check};

/// Tried in every run of the tests.
const SEEDS: u64 = 2000;

/// Moreover: systems in which pulses are raised while receivers that took others are stuck, in which somebody stronger is served
/// first where a receiver waits that a third one waits for, and in which its budget ends meanwhile.
const OTHERS: [u64; 4] = [29667, 42230, 48585, 175797];

#[test]
fn no_job_is_delayed_by_weaker_ones_for_longer_than_declared_work_explains() {
    let (mut jobs, mut worst) = (0, 0);
    for seed in (0..SEEDS).chain(OTHERS) {
        let outcome = check(seed, Sabotage::None);
        assert!(
            outcome.violations.is_empty(),
            "seed {seed}: {:#?}\nplan: {:?}\nonce more: cargo run -p simulator --example delays -- {seed} 1",
            outcome.violations,
            outcome.plan
        );
        jobs += outcome.jobs;
        worst = worst.max(outcome.worst_per_mille);
    }
    assert!(jobs > 60 * SEEDS, "{jobs} jobs");
    // The bound is no larger than it must be.
    assert!(worst > 900, "{worst} of 1000");
}

/// How many of some seeds show it, if something is wrong.
fn noticed(sabotage: Sabotage) -> usize {
    (0..40).filter(|seed| !check(*seed, sabotage).violations.is_empty()).count()
}

#[test]
fn the_checker_notices_servers_that_do_not_inherit() {
    let count = noticed(Sabotage::WithoutInheritance);
    assert!(count > 30, "{count} of 40");
}

#[test]
fn the_checker_notices_a_bound_that_is_too_low() {
    let count = noticed(Sabotage::BoundTooLow);
    assert!(count > 30, "{count} of 40");
}
