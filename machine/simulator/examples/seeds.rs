//! Many seeds of random programs, or one in detail: `cargo run -p simulator --example seeds -- FIRST COUNT STEPS`. A single
//! one also says how often which exchange ended how.

use simulator::{simulate, simulate_verbosely};

fn main() {
    let numbers: Result<Vec<u64>, _> = std::env::args().skip(1).map(|argument| argument.parse()).collect();
    let Ok(&[first, count, steps]) = numbers.as_deref() else {
        eprintln!("seeds: give three numbers: the first seed, how many, steps of each");
        std::process::exit(2);
    };
    for seed in first..first + count {
        let report = if count == 1 { simulate_verbosely(seed, steps) } else { simulate(seed, steps) };
        println!("seed {seed}: {report:?}");
    }
}
