//! A baton: the right to CPU time. The scheduler dispatches batons; each runs the thread that holds it.
//!
//! A baton that travels with a message is held by the last thread of the chain that works on it: its `holder`, whose
//! current baton it is. See `schedule.rs` for what happens while the holder cannot run.

use crate::header::Header;
use crate::tree::Node;
use core::cell::Cell;

/// Where a baton is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nobody can run on it now.
    #[default]
    Resting,
    /// In a ready queue.
    Queued,
    /// On the CPU.
    Running,
}

/// Priority, policy, budget; place in a ready queue.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Baton {
    pub(crate) header: Header,
    /// The thread that runs on it (or waits on its behalf), 0: none.
    pub(crate) holder: Cell<u32>,
    /// The thread to which it was given other than by a message: its own baton, a reserve or a pulse's.
    pub(crate) root: Cell<u32>,
    /// The gate whose reserve it is, 0: none. One gate at most, so that it is known who may want it.
    pub(crate) reserve_of: Cell<u32>,
    /// Next in the ready queue (circular).
    pub(crate) next: Cell<u32>,
    /// Previous in the ready queue.
    pub(crate) previous: Cell<u32>,
    pub(crate) place: Cell<Place>,
    /// [`abi::thread::Policy`].
    pub(crate) policy: Cell<u8>,
    pub(crate) priority: Cell<u8>,
    /// Sporadic: priority without budget.
    pub(crate) low_priority: Cell<u8>,
    /// The level it is queued or runs at.
    pub(crate) level: Cell<u8>,
    /// A thread's own (then it cannot be another's).
    pub(crate) owned: Cell<bool>,
    /// Slice, or budget a period, ns.
    pub(crate) slice: Cell<u64>,
    /// What is left of it, ns.
    pub(crate) left: Cell<u64>,
    /// Sporadic: period, ns.
    pub(crate) period: Cell<u64>,
    /// Sporadic: when the budget is filled again.
    pub(crate) alarm: Node,
    /// CPU time billed, ns.
    pub(crate) billed: Cell<u64>,
}
