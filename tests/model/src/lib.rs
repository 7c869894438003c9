//! What the call must do, written down once more: shortly, without any thought of speed, and executable.
//!
//! * [`specification`] is the model: gates, connections, pulses, threads and what each exchange does to them;
//! * [`program`] makes random programs of several processes and threads from a seed;
//! * [`lockstep`] runs one on the simulated kernel and in the model at the same time, and compares every answer, and after
//!   each step the state of every thread and gate;
//! * [`shrink`] makes a program with which they differ as short as it can be.
//!
//! The model says nothing about scheduling: which thread acts next, it is told. Everything else follows from that.

pub mod lockstep;
pub mod program;
pub mod shrink;
pub mod specification;

pub use lockstep::{Difference, run};
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
            Err(_) => return Err(shrink::shortest(program, |shorter| run(shorter).err())),
        }
        programs += 1;
    }
    Ok(programs)
}
