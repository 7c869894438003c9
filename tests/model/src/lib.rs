//! What the kernel must do, written down once more: shortly, without any thought of speed, and executable.
//!
//! * [`specification`] is the model: what there is, and what each action does to it, a file for each concept;
//! * [`action`] is what threads and the supervisor can do, and how it ends;
//! * [`program`] makes random programs of several processes and threads from a seed;
//! * [`lockstep`] runs one on the simulated kernel and in the model at the same time, and compares every answer, and after
//!   each step (`compare.rs`) the state of every thread, gate, pulse, baton, handle table, quota and mapped page;
//! * [`shrink`] makes a program with which they differ as short as it can be.
//!
//! Of those that could run with equal priority, which one acts next the model is told, and when time passes. Everything
//! else follows from what was done.

pub mod action;
mod compare;
pub mod lockstep;
pub mod program;
pub mod shrink;
pub mod specification;
mod supervisor;

use simulator::simulation;

pub use lockstep::{Difference, run, run_closely};
pub use program::Program;

/// Run random programs from a seed on, until so many steps were made in all; gives how many programs that took.
///
/// # Errors
/// The first difference between kernel and model, with the shortest program that shows it.
pub fn explore(seed: u64, steps: u64) -> Result<u64, Difference> {
    let (mut made, mut programs) = (0, 0);
    while made < steps {
        let program = Program::random(seed.wrapping_add(programs));
        match run(&program) {
            Ok(more) => made += more,
            Err(_) => {
                // With all checks after every step it differs as soon as it can.
                return Err(simulation::quietly(|| shrink::shortest(program, |shorter| run_closely(shorter).err())));
            }
        }
        programs += 1;
    }
    Ok(programs)
}
