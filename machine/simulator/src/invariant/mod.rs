//! What must hold of the kernel's state between any two steps, whatever programs do.
//!
//! [`check_schedule`] is made after every trap, [`check_objects`], which is dearer, after every so many
//! ([`Settings::objects_every`](crate::Settings); some runs have 1). What they find:
//!
//! * **Lists and counts are consistent**: ready queues are circular, of their level, each baton in one; what waits at a gate is as
//!   many as its counter says, each where it belongs, once, in order; parked and busy receivers are in one list each; the free slots
//!   of a handle table are as many as are not used; possessions of a process are those that it is charged for; slots in use are those
//!   of objects alive or dying; takers of interrupt lines are counted; alarms are in order, and whoever has one is among them.
//! * **No handle to a freed object**: an entry's generation is its object's, which is alive then, or an older one. Connections have as
//!   many handles as are counted; one without is being told to its server.
//! * **Quota sums are exact**: each process uses what it has, by kind, tables and mapping records included, and its children's limits;
//!   the frames in use are those of spaces.
//! * **Every thread is runnable or waits for a reason that can be named**, and whatever could end its wait knows of it: in SEND it is
//!   in the queue of its gate, with the priority of the strongest that waits for it, and nobody is parked there; in REPLY a process may
//!   answer; in RECEIVE it is parked; a stuck one waits for its gate's reserve, which is in use.
//! * **No thread is reachable from two ready batons** but by helping: whoever is ready, or waits at a gate, uses one baton, and that one
//!   knows it as its holder; batons that it holds besides lead to nobody. Whoever could run on a baton is not forgotten, and the strongest runs.
//! * **Reserves**: a gate's reserve is alive and of this gate only.
//! * **Requests**: an id says whose it is; nobody works on a request that was not made yet; ids of a slot never go back (`Requests`).
//! * **Time**: every ns is billed once; the processor's alarm is not later than what is due.
//! * **Mapping records and page tables** say the same, page by page; records do not overlap, and each is in its Memory's list.
//!
//! The kernel's ordered sets are walked in order here; that they are balanced is what `kernel/src/tree.rs` tests itself.

mod memory;
mod objects;
mod schedule;
mod state;

use abi::object::Kind;
use kernel::inspect::HeaderView;

pub use objects::check_objects;
pub use schedule::{Requests, check_schedule};
pub use state::{Change, Corruption, State};

/// Kinds of objects.
const KINDS: [Kind; 7] =
    [Kind::Process, Kind::Thread, Kind::Baton, Kind::Gate, Kind::Connection, Kind::Pulse, Kind::Memory];

fn header(kernel: &State<'_>, kind: Kind, index: u32) -> HeaderView {
    match kind {
        Kind::Process => kernel.view_process(index).header,
        Kind::Thread => kernel.view_thread(index).header,
        Kind::Baton => kernel.view_baton(index).header,
        Kind::Gate => kernel.view_gate(index).header,
        Kind::Connection => kernel.view_connection(index).header,
        Kind::Pulse => kernel.view_pulse(index).header,
        _ => kernel.view_memory(index).header,
    }
}

fn all(kernel: &State<'_>, kind: Kind) -> impl Iterator<Item = u32> {
    let slots = kernel.slots(kind);
    let charged: Vec<u32> = (1..slots).filter(|index| header(kernel, kind, *index).charged()).collect();
    charged.into_iter()
}

#[cfg(test)]
mod tests;
