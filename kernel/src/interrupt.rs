//! Interrupt lines: mask, raise the pulses, done.
//!
//! A line is unmasked when all its takers (at most 8) have re-armed it, died, or taken longer than they asked for.

use crate::alarm::AlarmOf;
use crate::kernel::Kernel;
use crate::machine::Machine;
use crate::tree::Node;
use abi::{Error, trace};
use core::cell::Cell;

/// Lines that the kernel can manage.
pub(crate) const LINES: usize = 256;
/// Takers of one line.
const TAKERS: u32 = 8;

/// One interrupt line.
#[derive(Debug, Default)]
pub(crate) struct Line {
    takers: Cell<u32>,
    unarmed: Cell<u32>,
    edge: Cell<bool>,
    /// When it was masked.
    since: Cell<u64>,
    pub(crate) alarm: Node,
}

impl<M: Machine> Kernel<M> {
    /// Takers of a line, and how many of them have not re-armed: by its counter, and counted.
    pub(crate) fn line_figures(&self, number: u32) -> (u32, u32, u32) {
        let line = self.tables.line(number);
        let (mut takers, mut unarmed, mut at) = (0, 0, line.takers.get());
        // Bound: TAKERS.
        while at != 0 {
            let pulse = self.tables.pulse(at);
            takers += 1;
            unarmed += u32::from(pulse.unarmed.get());
            at = pulse.line_next.get();
        }
        (takers, line.unarmed.get(), unarmed)
    }

    /// A device asks for attention; the machine has masked the line.
    pub(crate) fn interrupt(&self, number: u32) {
        self.note(trace::LINE, self.cpu.thread.get(), number, 0);
        let line = self.tables.line(number);
        let (mut at, mut limited) = (line.takers.get(), 0);
        // Bound: TAKERS.
        while at != 0 {
            let pulse = self.tables.pulse(at);
            if !pulse.unarmed.replace(true) {
                line.unarmed.set(line.unarmed.get() + 1);
            }
            limited |= pulse.line_limit.get();
            at = pulse.line_next.get();
        }
        at = line.takers.get();
        // Bound: TAKERS. One whose gate is gone goes too: only when all are counted, so that the line stays masked.
        while at != 0 {
            let pulse = self.tables.pulse(at);
            let next = pulse.line_next.get();
            self.raise(at, 1 << pulse.line_bit.get());
            at = next;
        }
        if limited != 0 {
            line.since.set(self.machine.now());
            self.watch_line(number);
        }
    }

    /// Set the alarm for the next taker that will have taken too long.
    #[inline(never)]
    fn watch_line(&self, number: u32) {
        let line = self.tables.line(number);
        let (mut at, mut next) = (line.takers.get(), u64::MAX);
        // Bound: TAKERS.
        while at != 0 {
            let pulse = self.tables.pulse(at);
            if pulse.unarmed.get() && pulse.line_limit.get() != 0 {
                next = next.min(pulse.line_limit.get());
            }
            at = pulse.line_next.get();
        }
        if next != u64::MAX {
            self.set_alarm(AlarmOf::Line(number), line.since.get().saturating_add(next));
        }
    }

    /// A taker is done with the interrupt.
    pub(crate) fn rearm(&self, index: u32) {
        let pulse = self.tables.pulse(index);
        if pulse.line.get() == 0 || !pulse.unarmed.replace(false) {
            return;
        }
        let number = pulse.line.get() - 1;
        let line = self.tables.line(number);
        line.unarmed.set(line.unarmed.get() - 1);
        if line.unarmed.get() == 0 {
            self.clear_alarm(AlarmOf::Line(number));
            self.machine.unmask(number, line.edge.get());
        }
    }

    /// Some takers took longer than they asked for: the line does not wait for them any more.
    pub(crate) fn line_overdue(&self, number: u32) {
        let line = self.tables.line(number);
        let masked = self.machine.now().saturating_sub(line.since.get());
        let mut at = line.takers.get();
        // Bound: TAKERS.
        while at != 0 {
            let pulse = self.tables.pulse(at);
            at = pulse.line_next.get();
            if pulse.line_limit.get() != 0 && pulse.line_limit.get() <= masked && pulse.unarmed.replace(false) {
                line.unarmed.set(line.unarmed.get() - 1);
            }
        }
        if line.unarmed.get() == 0 {
            self.machine.unmask(number, line.edge.get());
        } else {
            self.watch_line(number);
        }
    }

    /// Bind a pulse to a line. Not if it has one, or was ever to tell a death: see [`bind_death`](Self::bind_death).
    pub(crate) fn bind_line(&self, index: u32, number: u32, bit: u32, limit: u64, edge: bool) -> Result<(), Error> {
        let (pulse, line) = (self.tables.pulse(index), self.tables.line(number));
        if pulse.line.get() | pulse.death_of.get() != 0 {
            return Err(Error::Busy);
        }
        let (mut count, mut at) = (0, line.takers.get());
        // Bound: TAKERS.
        while at != 0 {
            count += 1;
            at = self.tables.pulse(at).line_next.get();
        }
        if count >= TAKERS || (count > 0 && line.edge.get() != edge) {
            return Err(Error::Busy);
        }
        pulse.line.set(number + 1);
        pulse.line_bit.set(bit);
        pulse.unarmed.set(false);
        pulse.line_next.set(line.takers.replace(index));
        line.edge.set(edge);
        pulse.line_limit.set(limit);
        if line.unarmed.get() == 0 {
            self.machine.unmask(number, edge);
        }
        Ok(())
    }

    /// Undo the binding; a line without takers stays masked.
    pub(crate) fn unbind_line(&self, index: u32) {
        let pulse = self.tables.pulse(index);
        let bound = pulse.line.get();
        if bound == 0 {
            return;
        }
        let line = self.tables.line(bound - 1);
        let mut link = &line.takers;
        // Bound: TAKERS.
        while link.get() != index && link.get() != 0 {
            link = &self.tables.pulse(link.get()).line_next;
        }
        link.set(pulse.line_next.replace(0));
        if line.takers.get() == 0 {
            self.machine.mask(bound - 1);
            self.clear_alarm(AlarmOf::Line(bound - 1));
            line.unarmed.set(0);
            pulse.unarmed.set(false);
        } else {
            self.rearm(index);
        }
        pulse.line.set(0);
    }
}
