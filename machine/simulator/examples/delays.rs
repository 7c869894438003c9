//! Many seeds of the checker of priorities, or one in detail: `cargo run --release -p simulator --example delays -- FIRST COUNT`.

use simulator::delay::{Sabotage, check};

fn main() {
    let numbers: Result<Vec<u64>, _> = std::env::args().skip(1).map(|argument| argument.parse()).collect();
    let Ok(&[first, count]) = numbers.as_deref() else {
        eprintln!("delays: give two numbers: the first seed, and how many");
        std::process::exit(2);
    };
    let (mut jobs, mut failed) = (0, 0);
    for seed in first..first + count {
        let outcome = check(seed, Sabotage::None);
        jobs += outcome.jobs;
        if count == 1 {
            println!("{:?}", outcome.plan);
        }
        if count == 1 || !outcome.violations.is_empty() {
            println!("seed {seed}: {} jobs, worst {} of 1000 of its bound", outcome.jobs, outcome.worst_per_mille);
            outcome.violations.iter().for_each(|violation| println!("    {violation:?}"));
        }
        failed += u64::from(!outcome.violations.is_empty());
    }
    println!("{count} seeds from {first}: {jobs} jobs, {failed} seeds with a job delayed for too long");
    std::process::exit(i32::from(failed != 0));
}
