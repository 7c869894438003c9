//! Random programs under many seeds: nothing they do may break an invariant, hang the system or leak.

use simulator::{simulate, simulate_verbosely};

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

/// One seed, or many: `BATON_SEEDS="1009 1 40000" cargo test -p simulator --test fuzz -- --ignored --nocapture` (first seed,
/// how many, steps). A single one also says how often which exchange ended how.
#[test]
#[ignore = "takes as long as it is told to"]
fn seeds_from_the_environment() {
    let wanted = std::env::var("BATON_SEEDS").expect("BATON_SEEDS says which");
    let numbers: Vec<u64> = wanted.split_whitespace().map(|number| number.parse().expect("a number")).collect();
    let [first, count, steps] = numbers[..] else { panic!("first seed, how many, steps") };
    for seed in first..first + count {
        let report = if count == 1 { simulate_verbosely(seed, steps) } else { simulate(seed, steps) };
        println!("seed {seed}: {report:?}");
    }
}
