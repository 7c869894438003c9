//! Methods of a pulse.

use super::{Answer, DONE, Request};
use crate::alarm::AlarmOf;
use crate::kernel::Kernel;
use crate::machine::Machine;
use abi::object::{Kind, MemoryType, pulse as method};
use abi::{Error, Handle, Rights};

/// No alarm repeats faster, ns.
const PERIOD_MINIMUM: u64 = 10_000;

impl<M: Machine> Kernel<M> {
    pub(super) fn create_pulse(&self, request: Request<'_, M>) -> Answer {
        let [gate, badge, options, baton] = request.words();
        let gate = self.named(request, gate, Kind::Gate, Rights::MANAGE)?;
        let baton = self.named_or_none(request, baton, Kind::Baton, Rights::MANAGE)?;
        let index = self.create(Kind::Pulse, request.object())?;
        let pulse = self.tables.pulse(index);
        pulse.gate.set(self.tables.gate(gate).word.get() >> 32 << 32 | u64::from(gate));
        pulse.badge.set(badge);
        pulse.value.set(0);
        pulse.counts.set(options & 1 == 1);
        pulse.priority.set((options >> 8) as u8);
        pulse.pending.set(false);
        pulse.helps.set(false);
        pulse.idle.set(false);
        pulse.unarmed.set(false);
        pulse.baton.set(baton);
        pulse.baton_generation.set(self.tables.baton(baton).header.generation.get());
        pulse.period.set(0);
        pulse.line.set(0);
        pulse.line_bit.set(0);
        pulse.line_next.set(0);
        pulse.death_of.set(0);
        pulse.death_next.set(0);
        self.hand_out(request, Kind::Pulse, index, Rights::ALL)
    }

    #[inline(never)]
    pub(super) fn pulse_method(&self, request: Request<'_, M>) -> Answer {
        request.need(Rights::MANAGE)?;
        let index = request.object();
        let pulse = self.tables.pulse(index);
        let [first, second, third, _] = request.words();
        match request.method() {
            method::SET_ALARM => {
                if second != 0 && second < PERIOD_MINIMUM {
                    return Err(Error::BadArgument);
                }
                pulse.period.set(second);
                // At the end of time it never comes.
                self.set_alarm(AlarmOf::Pulse(index), first);
                DONE
            }
            method::BIND_INTERRUPT => {
                let lines = self.tables.memory(self.named(request, first, Kind::Memory, Rights::MANAGE)?);
                if lines.kind.get() != MemoryType::Interrupts as u8 {
                    return Err(Error::WrongKind);
                }
                let offset = second.wrapping_sub(lines.base.get());
                if offset >= lines.length.get() || second >= crate::interrupt::LINES as u64 {
                    return Err(Error::BadArgument);
                }
                self.bind_line(index, second as u32, (offset & 63) as u32, third, request.option() & 1 == 1)?;
                DONE
            }
            method::REARM => {
                self.rearm(index);
                DONE
            }
            method::BIND_DEATH => {
                let process = self.tables.process(request.caller.process.get());
                let reference = self.tables.entry(process, Handle(first))?.reference();
                if !self.refers(&reference) {
                    return Err(Error::BadHandle);
                }
                self.bind_death(index, &reference)
            }
            method::BIND_IDLE => {
                self.unbind_idle(index);
                if first != 0 {
                    self.bind_idle(index);
                }
                DONE
            }
            _ => Err(Error::Unsupported),
        }
    }
}
