//! Random programs from the command line: `cargo run --release -p simulator --example fuzz -- FIRST_SEED SEEDS STEPS`.

fn main() {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let [first, seeds, steps] = numbers[..] else {
        eprintln!("usage: fuzz FIRST_SEED SEEDS STEPS");
        std::process::exit(2);
    };
    for seed in first..first + seeds {
        let report =
            if seeds == 1 { simulator::simulate_verbosely(seed, steps) } else { simulator::simulate(seed, steps) };
        println!("seed {seed}: {report:?}");
    }
}
