//! `simulate`: the kernel itself on an imaginary processor. Each run has a seed, which with the commit decides all that happens:
//! random programs under the invariants, then random programs in lockstep with the model. All cores share the runs.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use simulator::simulation::Report;

use crate::error::{Error, Result, tell};
use crate::options::{Options, Simulate};

/// How often a long run says that it goes on.
const PROGRESS: Duration = Duration::from_secs(2);

/// What a run found.
struct Done {
    seed: u64,
    report: Report,
    /// Programs that the model agreed with, or how it did not.
    agreed: std::result::Result<u64, String>,
    taken: Duration,
}

/// Run the simulations.
///
/// # Errors
/// One of them shows a defect; what it said on standard error tells more.
pub fn run(options: &Options, simulate: &Simulate) -> Result<u8> {
    let start = Instant::now();
    let first = simulate.seed.unwrap_or_else(any_seed);
    let limit = options.limit(None);
    let runs = simulate.runs.unwrap_or(if limit.is_some() { u64::MAX } else { 1 });
    let (next, steps) = (AtomicU64::new(0), simulate.steps);
    let more = || {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let in_time = limit.is_none_or(|limit| start.elapsed() < limit);
        (number < runs && in_time).then(|| first.wrapping_add(number))
    };
    thread::scope(|scope| {
        // Gone when this ends, so that the workers end too.
        let (sender, results) = channel();
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            let (sender, more) = (sender.clone(), &more);
            scope.spawn(move || work(more, steps, &sender));
        }
        drop(sender);
        let mut runs: u64 = 0;
        loop {
            match results.recv_timeout(PROGRESS) {
                Ok(done) => {
                    runs += 1;
                    show(done, simulate.steps)?;
                }
                Err(RecvTimeoutError::Timeout) => {
                    // Progress that cannot be shown is not shown.
                    let _ = writeln!(std::io::stderr(), "{runs} runs in {} s", start.elapsed().as_secs());
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(0),
            }
        }
    })
}

/// Do runs as long as there are more.
fn work(more: &impl Fn() -> Option<u64>, steps: u64, sender: &Sender<Done>) {
    while let Some(seed) = more() {
        let start = Instant::now();
        // Before it runs: a defect may end us here and now.
        let begins = format!("seed {seed}: {steps} steps of random programs, {steps} in lockstep with the model\n");
        // If it cannot be told, nor can the result, which is an error then.
        let _ = tell(&begins);
        let report = simulator::simulate(seed, steps);
        let agreed = model::explore(seed << 32, steps).map_err(|difference| difference.to_string());
        if sender.send(Done { seed, report, agreed, taken: start.elapsed() }).is_err() {
            // Another run has shown a defect.
            return;
        }
    }
}

fn show(done: Done, steps: u64) -> Result<()> {
    let Done { seed, report, agreed, taken } = done;
    let repeat = || format!("run simulate --seed {seed} --steps {steps} to see it again");
    let programs = agreed.map_err(|difference| {
        Error::new(format!("kernel and model differ: {}; {difference}", repeat())).with_status(1)
    })?;
    tell(&format!(
        "seed {seed}: ran {} steps, {} events, {:.3} s simulated, {programs} programs like the model, in {:.1} s; trace {:016x}\n",
        report.steps,
        report.events,
        report.time_ns as f64 / 1e9,
        taken.as_secs_f64(),
        report.hash
    ))
}

fn any_seed() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |time| time.as_secs())
}
