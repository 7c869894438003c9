//! `simulate`: the kernel itself on an imaginary processor. Each run has a seed, which with the commit decides all that happens:
//! random programs under the invariants, then random programs in lockstep with the model. All cores share the runs.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use model::Explored;
use simulator::simulation::Report;

use crate::error::{Error, Result, tell};
use crate::options::{Options, Simulate};
use crate::share;

/// What a run found.
struct Done {
    seed: u64,
    report: Report,
    /// What the model agreed with, or how it did not.
    agreed: std::result::Result<Explored, String>,
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
    let (finished, all) = (Cell::new(0), RefCell::new(Explored::default()));
    let done = |done: Done| {
        finished.set(finished.get() + 1);
        all.borrow_mut().add(&show(done, steps)?);
        Ok(())
    };
    share::run(share::all_processors(), more, |seed| work(seed, steps), done, || format!("{} runs", finished.get()))?;
    let all = all.take();
    tell(&format!("{} steps in {} programs like the model, of them:\n{}", all.steps, all.programs, all.coverage))?;
    Ok(0)
}

fn work(seed: u64, steps: u64) -> Done {
    let start = Instant::now();
    // Before it runs: a defect may end us here and now. If it cannot be told, nor can the result, which is an error then.
    let _ = tell(&format!("seed {seed}: {steps} steps of random programs, {steps} in lockstep with the model\n"));
    let report = simulator::simulate(seed, steps);
    let agreed = model::explore(seed << 32, steps).map_err(|difference| difference.to_string());
    Done { seed, report, agreed, taken: start.elapsed() }
}

fn show(done: Done, steps: u64) -> Result<Explored> {
    let Done { seed, report, agreed, taken } = done;
    let repeat = || format!("run simulate --seed {seed} --steps {steps} to see it again");
    let explored = agreed.map_err(|difference| {
        Error::new(format!("kernel and model differ: {}; {difference}", repeat())).with_status(1)
    })?;
    tell(&format!(
        "seed {seed}: ran {} steps, {} events, {:.3} s simulated, {} programs like the model, in {:.1} s; trace {:016x}\n",
        report.steps,
        report.events,
        report.time_ns as f64 / 1e9,
        explored.programs,
        taken.as_secs_f64(),
        report.hash
    ))?;
    Ok(explored)
}

fn any_seed() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |time| time.as_secs())
}
