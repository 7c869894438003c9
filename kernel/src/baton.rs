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

/// Most replenishments of a sporadic baton that can be to come (`SS_REPL_MAX`).
pub(crate) const REFILLS: usize = abi::thread::REFILLS as usize;
/// No use of a budget goes on.
pub(crate) const NO_USE: u64 = u64::MAX;

/// How often calls may carry a baton on. So deep may calls be nested, and so long is what must be undone when it is taken
/// from a chain of them. Faults may carry it further: who serves a caller that is nested too deeply can still be paged.
pub(crate) const CALLS: u32 = 32;
const FAULTS: u32 = 4;

/// A baton as a thread has it: its index in bits 0–15, and how often it may still be carried on, from bit 16.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hold(u32);

impl Hold {
    pub(crate) const NONE: Self = Self(0);

    /// A baton that no call has carried yet.
    pub(crate) fn new(baton: u32) -> Self {
        if baton == 0 { Self::NONE } else { Self(baton | (CALLS + FAULTS) << 16) }
    }

    /// Its index, 0: none.
    pub(crate) fn baton(self) -> u32 {
        self.0 & 0xffff
    }

    /// How often it was carried on.
    pub(crate) fn carried_on(self) -> u32 {
        if self == Self::NONE { 0 } else { CALLS + FAULTS - (self.0 >> 16) }
    }

    /// There is one, and a call may carry it on.
    #[inline(always)]
    pub(crate) fn may_call(self) -> bool {
        self.0 >= (FAULTS + 1) << 16
    }

    /// There is one, and a fault may carry it on.
    pub(crate) fn may_fault(self) -> bool {
        self.0 >= 1 << 16
    }

    /// Whether it is what a receiver has of such a one of its caller's: then there is one.
    #[inline(always)]
    pub(crate) fn carries(self, callers: Self) -> bool {
        self.0 + (1 << 16) == callers.0
    }

    /// What a receiver has of its caller's. None of none.
    #[inline(always)]
    pub(crate) fn carried(self) -> Self {
        Self(self.0.saturating_sub(1 << 16))
    }
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
    /// The pulse that waits with it, 0: none.
    pub(crate) waits: Cell<u32>,
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
    /// Sporadic: how many replenishments are to come, and how many may be.
    pub(crate) refill_count: Cell<u8>,
    pub(crate) refill_limit: Cell<u8>,
    /// Slice, or budget a period, ns.
    pub(crate) slice: Cell<u64>,
    /// What is left of it, ns.
    pub(crate) left: Cell<u64>,
    /// Sporadic: period, ns.
    pub(crate) period: Cell<u64>,
    /// Sporadic: when the first replenishment is due.
    pub(crate) alarm: Node,
    /// Sporadic: when the use of the budget began that goes on, and how much it used; [`NO_USE`]: none goes on.
    pub(crate) use_start: Cell<u64>,
    pub(crate) used: Cell<u64>,
    /// Sporadic: replenishments to come, times and amounts, earliest first.
    pub(crate) refills: [Cell<(u64, u64)>; REFILLS],
    /// CPU time billed, ns.
    pub(crate) billed: Cell<u64>,
    /// The id of what is done on it, for the trace.
    pub(crate) trace: Cell<u64>,
}

impl Baton {
    /// It has the whole budget, at its priority.
    pub(crate) fn fill(&self) {
        self.left.set(self.slice.get());
        self.level.set(self.priority.get());
        self.use_start.set(NO_USE);
        self.refill_count.set(0);
    }

    /// Whether a sporadic one has budget that it may use: what it uses must come back by a replenishment of its own.
    pub(crate) fn has_budget(&self) -> bool {
        self.left.get() != 0 && self.refill_count.get() < self.refill_limit.get()
    }

    /// A use of the budget is over (the baton rests, or nothing is left): what was used comes back one period after the use
    /// began. Says when, if nothing else comes back before.
    pub(crate) fn end_use(&self) -> Option<u64> {
        let start = self.use_start.replace(NO_USE);
        if start == NO_USE {
            return None;
        }
        // There is room: no use begins without.
        let count = usize::from(self.refill_count.get());
        let due = start.saturating_add(self.period.get());
        self.refills[count & (REFILLS - 1)].set((due, self.used.replace(0)));
        self.refill_count.set(count as u8 + 1);
        (count == 0).then_some(due)
    }

    /// The first replenishment is due. Says when the next is.
    pub(crate) fn refill(&self) -> Option<u64> {
        let (_, amount) = self.refills[0].get();
        self.left.set(self.left.get() + amount);
        let count = usize::from(self.refill_count.get().saturating_sub(1));
        // Bound: REFILLS.
        for at in 0..count {
            self.refills[at & (REFILLS - 1)].set(self.refills[(at + 1) & (REFILLS - 1)].get());
        }
        self.refill_count.set(count as u8);
        (count != 0).then_some(self.refills[0].get().0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_use_comes_back_one_period_after_it_began_and_no_more_are_to_come_than_may_be() {
        let baton = Baton::default();
        baton.slice.set(100);
        baton.period.set(1000);
        baton.refill_limit.set(2);
        baton.fill();
        assert_eq!(baton.end_use(), None, "nothing was used");
        for (start, used, due) in [(10, 30, Some(1010)), (50, 20, None)] {
            assert!(baton.has_budget());
            baton.use_start.set(start);
            baton.used.set(used);
            baton.left.set(baton.left.get() - used);
            assert_eq!(baton.end_use(), due);
        }
        assert!(!baton.has_budget(), "50 are left, but could not come back");
        assert_eq!((baton.refill(), baton.left.get(), baton.has_budget()), (Some(1050), 80, true));
        assert_eq!((baton.refill(), baton.left.get(), baton.refill_count.get()), (None, 100, 0));
    }

    #[test]
    fn a_hold_tells_how_often_it_was_carried_on() {
        let hold = Hold::new(7).carried().carried();
        assert_eq!((hold.baton(), hold.carried_on(), Hold::new(7).carried_on(), Hold::NONE.carried_on()), (7, 2, 0, 0));
    }
}
