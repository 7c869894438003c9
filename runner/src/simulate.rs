//! `simulate`: the kernel itself on an imaginary processor, with random programs. The seed and the commit decide everything that happens.

use std::io::Write;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use simulator::simulation::Report;

use crate::error::{Error, Result, tell};
use crate::options::Simulate;

/// How often a long run says that it goes on.
const PROGRESS: Duration = Duration::from_secs(2);

/// Run the simulations.
///
/// # Errors
/// One of them shows a defect; what it said on standard error tells more.
pub fn run(options: &Simulate) -> Result<u8> {
    let first = options.seed.unwrap_or_else(any_seed);
    for seed in (0..options.runs).map(|run| first.wrapping_add(run)) {
        let start = Instant::now();
        // Before it runs: a defect may end us here and now.
        tell(&format!("seed {seed}: {} steps of random programs\n", options.steps))?;
        let report = simulate(seed, options.steps, start)?;
        tell(&format!(
            "seed {seed}: ran {} steps, {} events, {} simulated, in {:.1} s; trace {:016x}\n",
            report.steps,
            report.events,
            simulated(report.time_ns),
            start.elapsed().as_secs_f64(),
            report.hash
        ))?;
    }
    Ok(0)
}

fn any_seed() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |time| time.as_secs())
}

fn simulated(time_ns: u64) -> String {
    format!("{:.3} s", time_ns as f64 / 1e9)
}

/// Run one in a thread of its own, and tell that it goes on.
fn simulate(seed: u64, steps: u64, start: Instant) -> Result<Report> {
    let (sender, results) = channel();
    let worker = thread::spawn(move || {
        // The other end is gone only when we are about to end.
        let _ = sender.send(simulator::simulate(seed, steps));
    });
    loop {
        match results.recv_timeout(PROGRESS) {
            Ok(report) => return Ok(report),
            Err(RecvTimeoutError::Timeout) => {
                // Progress that cannot be shown is not shown.
                let _ = writeln!(std::io::stderr(), "seed {seed}: {} s", start.elapsed().as_secs());
            }
            Err(RecvTimeoutError::Disconnected) => {
                // It has said why.
                let _ = worker.join();
                return Err(Error::new(format!(
                    "a defect: run simulate --seed {seed} --steps {steps} to see it again"
                ))
                .with_status(1));
            }
        }
    }
}
