//! What the kernel must do, written down once more: shortly, without any thought of speed, and executable.
//!
//! * [`specification`] is the model: what there is, and what each action does to it, a file for each concept;
//! * [`action`] is what threads and the supervisor can do, and how it ends;
//! * [`program`] makes random programs of several processes and threads from a seed;
//! * [`lockstep`] runs one on the simulated kernel and in the model at the same time, and compares every answer, and after
//!   each step (`compare.rs`) the state of every thread, gate, pulse, baton, handle table, quota and mapped page;
//! * [`coverage`] counts what was tried;
//! * [`shrink`] makes a program with which they differ as short as it can be.
//!
//! Of those that could run with equal priority, which one acts next the model is told, and when time passes. Everything
//! else follows from what was done.

pub mod action;
mod compare;
pub mod coverage;
pub mod lockstep;
pub mod program;
pub mod shrink;
pub mod specification;
mod supervisor;

use simulator::simulation;

pub use coverage::Coverage;
pub use lockstep::{Difference, run, run_closely};
pub use program::Program;

/// What was done.
#[derive(Clone, Debug, Default)]
pub struct Explored {
    /// Programs that were run.
    pub programs: u64,
    /// Their actions.
    pub steps: u64,
    /// What they tried.
    pub coverage: Coverage,
}

impl Explored {
    /// Both together.
    pub fn add(&mut self, other: &Self) {
        self.programs += other.programs;
        self.steps += other.steps;
        self.coverage.add(&other.coverage);
    }
}

/// Run random programs from a seed on, until so many steps were made in all.
///
/// # Errors
/// The first difference between kernel and model, with the shortest program that shows it.
pub fn explore(seed: u64, steps: u64) -> Result<Explored, Difference> {
    let mut explored = Explored::default();
    while explored.steps < steps {
        let program = Program::random(seed.wrapping_add(explored.programs));
        match run(&program) {
            Ok(more) => explored.add(&more),
            Err(_) => {
                // With all checks after every step it differs as soon as it can.
                return Err(simulation::quietly(|| shrink::shortest(program, |shorter| run_closely(shorter).err())));
            }
        }
    }
    Ok(explored)
}
