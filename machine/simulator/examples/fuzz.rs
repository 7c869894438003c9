//! Random programs from the command line: `cargo run --release -p simulator --example fuzz -- FIRST_SEED SEEDS STEPS`.

use std::panic::catch_unwind;

fn main() {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let [first, seeds, steps] = numbers[..] else {
        eprintln!("usage: fuzz FIRST_SEED SEEDS STEPS");
        std::process::exit(2);
    };
    let mut failed = 0;
    for seed in first..first + seeds {
        match catch_unwind(|| simulator::simulate(seed, steps)) {
            Ok(report) => {
                if seeds <= 20 {
                    println!("seed {seed}: {report:?}");
                }
            }
            Err(_) => failed += 1,
        }
    }
    println!("{failed} of {seeds} seeds failed");
    std::process::exit(i32::from(failed != 0));
}
