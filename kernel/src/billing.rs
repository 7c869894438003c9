//! Billing: every nanosecond goes to the baton that ran, or to nobody; slices and budgets end, budgets come back.

use crate::alarm::AlarmOf;
use crate::baton::Place;
use crate::kernel::Kernel;
use crate::machine::Machine;
use crate::schedule::{ALARM, SCHEDULE};
use abi::thread::Policy;

impl<M: Machine> Kernel<M> {
    /// Bill the running baton, which is about to leave the CPU for another place, up to now.
    #[inline(always)]
    pub(crate) fn stop(&self, index: u32, now: u64) {
        let baton = self.tables.baton(index);
        baton.billed.set(baton.billed.get() + now.wrapping_sub(self.cpu.since.replace(now)));
        // Without an end, a FIFO baton or one that runs without budget: nothing is used up.
        let end = self.cpu.slice_end.get();
        if end != u64::MAX {
            let left = end.saturating_sub(now);
            let before = baton.left.replace(left);
            if baton.policy.get() == Policy::Sporadic as u8 {
                baton.used.set(baton.used.get() + before.saturating_sub(left));
                if left == 0 {
                    self.end_use(index);
                }
            }
        }
    }

    /// There was nothing to run.
    pub(crate) fn bill_idle(&self) {
        let now = self.machine.now();
        self.cpu.idle.set(self.cpu.idle.get() + now.saturating_sub(self.cpu.since.replace(now)));
    }

    /// A baton rests, or a sporadic one has no budget: what it used of that will come back.
    pub(crate) fn end_use(&self, index: u32) {
        let baton = self.tables.baton(index);
        if let Some(due) = baton.end_use() {
            self.set_alarm(AlarmOf::Baton(index), due);
        }
        let low = baton.low_priority.get();
        // Once only: whoever waits with it may be looked at again for that.
        if baton.policy.get() == Policy::Sporadic as u8 && !baton.has_budget() && baton.level.replace(low) != low {
            self.weigh_anew(index);
        }
    }

    /// A stretch of use of a sporadic baton's budget comes back. At the level where it is, it keeps its turn.
    pub(crate) fn replenish(&self, index: u32) {
        let running = self.cpu.baton.get() == index;
        if running {
            self.undispatch();
        }
        let baton = self.tables.baton(index);
        if let Some(due) = baton.refill() {
            self.set_alarm(AlarmOf::Baton(index), due);
        }
        let level = if baton.has_budget() { baton.priority.get() } else { baton.low_priority.get() };
        let same = level == baton.level.get();
        let queued = baton.place.get() == Place::Queued && !same;
        if queued {
            self.pull(index);
        }
        baton.level.set(level);
        if queued || running {
            self.push(index, same);
        }
        self.weigh_anew(index);
        // It may be the running baton's equal now, whose slice counts from then on.
        self.cpu.attend(SCHEDULE | ALARM);
    }

    /// Whether the slice of the running baton is over; then it goes behind its equals.
    pub(crate) fn expire_slice(&self, now: u64) {
        let index = self.cpu.baton.get();
        if index != 0 && now >= self.cpu.slice_end.get() {
            self.undispatch();
            let baton = self.tables.baton(index);
            if baton.policy.get() == Policy::RoundRobin as u8 {
                baton.left.set(baton.slice.get());
            }
            self.push(index, false);
        }
    }

    /// When the running baton must be looked at again: the end of its slice if others wait for it, or of its budget.
    pub(crate) fn slice_alarm(&self) -> u64 {
        let index = self.cpu.baton.get();
        if index == 0 {
            return u64::MAX;
        }
        let baton = self.tables.baton(index);
        let contended = self.cpu.heads[usize::from(baton.level.get())].get() != 0;
        let sporadic = baton.policy.get() == Policy::Sporadic as u8;
        if contended || sporadic { self.cpu.slice_end.get() } else { u64::MAX }
    }

    /// ns billed to a baton up to now.
    pub(crate) fn billed(&self, index: u32) -> u64 {
        let baton = self.tables.baton(index);
        let running = if self.cpu.baton.get() == index && index != 0 {
            self.machine.now().saturating_sub(self.cpu.since.get())
        } else {
            0
        };
        baton.billed.get() + running
    }
}
