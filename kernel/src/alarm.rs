//! Alarms: deadlines of threads, alarms of pulses, replenishments of batons, interrupt lines masked too long; one
//! ordered set a CPU. The machine is told the earliest one only when it is earlier than what it knows: a later one costs
//! a spurious alarm at most, an exchange with a deadline that is kept costs none.

use crate::kernel::Kernel;
use crate::machine::Machine;
use crate::schedule::{ALARM, POLL};
use crate::tables::Ordered;
use crate::tree::{self, Forest};

/// Alarms handled in one go.
const BATCH: u32 = 2;

/// What an alarm is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AlarmOf {
    /// A thread's deadline, or the end of its grace.
    Thread(u32),
    /// A pulse is to be raised.
    Pulse(u32),
    /// A sporadic baton's budget is to be filled.
    Baton(u32),
    /// An interrupt line was masked too long.
    Line(u32),
}

impl AlarmOf {
    fn id(self) -> u32 {
        let (kind, index) = match self {
            Self::Thread(index) => (0, index),
            Self::Pulse(index) => (1, index),
            Self::Baton(index) => (2, index),
            Self::Line(index) => (3, index),
        };
        kind << 16 | index
    }

    fn from_id(id: u32) -> Self {
        let index = id & 0xffff;
        match id >> 16 {
            0 => Self::Thread(index),
            1 => Self::Pulse(index),
            2 => Self::Baton(index),
            _ => Self::Line(index),
        }
    }
}

impl<M: Machine> Kernel<M> {
    /// Set or replace an alarm.
    pub(crate) fn set_alarm(&self, of: AlarmOf, at: u64) {
        let (forest, id) = (self.tables.members(Ordered::Alarms), of.id());
        tree::remove(forest, &self.cpu.alarms, id);
        tree::insert(forest, &self.cpu.alarms, id, at);
        if at < self.cpu.programmed.get() {
            self.cpu.attend(ALARM);
        }
    }

    /// Take an alarm back, if it is set.
    pub(crate) fn clear_alarm(&self, of: AlarmOf) {
        tree::remove(self.tables.members(Ordered::Alarms), &self.cpu.alarms, of.id());
    }

    /// The time has come for something: find out for what.
    pub(crate) fn alarm(&self) {
        let now = self.machine.now();
        self.note(abi::trace::ALARM, self.cpu.thread.get(), 0, 0);
        self.cpu.programmed.set(u64::MAX);
        self.cpu.attend(ALARM | POLL);
        self.expire_slice(now);
        let forest = self.tables.members(Ordered::Alarms);
        // Bound: BATCH; what is left raises the alarm again.
        for _ in 0..BATCH {
            let id = tree::first(forest, &self.cpu.alarms);
            if id == 0 || forest.node(id).key() > now {
                break;
            }
            tree::remove(forest, &self.cpu.alarms, id);
            match AlarmOf::from_id(id) {
                AlarmOf::Thread(index) => self.deadline_passed(index),
                AlarmOf::Pulse(index) => self.raise(index, 1),
                AlarmOf::Baton(index) => self.replenish(index),
                AlarmOf::Line(index) => self.line_overdue(index),
            }
        }
    }

    /// The next time at which something is due.
    pub(crate) fn next_alarm(&self) -> u64 {
        let forest = self.tables.members(Ordered::Alarms);
        let first = tree::first(forest, &self.cpu.alarms);
        let slice = self.slice_alarm();
        if first == 0 { slice } else { slice.min(forest.node(first).key()) }
    }

    /// Tell the machine the next time at which something is due.
    pub(crate) fn program_alarm(&self) {
        let next = self.next_alarm();
        if next < self.cpu.programmed.get() {
            self.cpu.programmed.set(next);
            self.machine.set_alarm(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake;

    #[test]
    fn the_machine_is_told_only_what_is_earlier_than_what_it_knows() {
        let kernel = fake::kernel();
        kernel.set_alarm(AlarmOf::Pulse(1), 500);
        kernel.program_alarm();
        assert_eq!(kernel.machine.alarm.get(), 500);
        kernel.set_alarm(AlarmOf::Pulse(2), 900);
        kernel.program_alarm();
        assert_eq!(kernel.machine.alarm.get(), 500);
        kernel.set_alarm(AlarmOf::Pulse(3), 100);
        kernel.program_alarm();
        assert_eq!(kernel.machine.alarm.get(), 100);
        kernel.clear_alarm(AlarmOf::Pulse(3));
        kernel.machine.now.set(600);
        kernel.alarm();
        kernel.program_alarm();
        assert_eq!(kernel.machine.alarm.get(), 900);
        assert!(!kernel.tables.pulse(1).alarm.linked() && kernel.tables.pulse(2).alarm.linked());
    }
}
