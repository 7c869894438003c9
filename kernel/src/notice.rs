//! What reaches a gate without a caller: pulses, and the kernel's notices (a connection was closed, a caller wants to
//! leave). They wait in the gate's queue with the callers, in one order, each in a slot of its own object.
//!
//! A closing notice, a death pulse and an interrupt are settled by the next receive of the thread that took them; if it
//! dies before, the next receiver gets them again.

use crate::alarm::AlarmOf;
use crate::baton::Hold;
use crate::gate::{Gate, ODD, SEVERAL, Waiter};
use crate::handle_table::Reference;
use crate::header::tag;
use crate::kernel::Kernel;
use crate::machine::{Context, Machine, Outcome};
use crate::pulse::Pulse;
use crate::thread::{LEAVING, Thread};
use abi::call::flags;
use abi::object::Kind;
use abi::{Error, Handle, Rights, Status, notice, trace};

/// Pulses that tell one object's death: all are raised at once.
const DEATH_PULSES: u32 = 8;
/// Idle pulses looked at in one piece.
const IDLE_PULSES: u32 = 16;

impl<M: Machine> Kernel<M> {
    /// The operation Raise.
    pub(crate) fn raise_handle(&self, thread: &Thread<M>) -> Result<(), Error> {
        let pulse = self.object(thread, Handle(thread.context.target()), Kind::Pulse, Rights::SEND)?;
        let value = thread.context.words()[0];
        thread.context.set_outcome(Outcome::default());
        self.raise(pulse, value);
        Ok(())
    }

    /// The same, if nothing is odd about it. False: nothing was changed, go the general way.
    #[inline(always)]
    pub(crate) fn raise_at_once(&self, thread: &Thread<M>) -> bool {
        let handle = thread.context.target();
        let entry = self.tables.slot(self.tables.process(thread.process.get()), handle);
        let pulse = entry.object();
        if entry.key.get() != handle
            || entry.kind.get() != Kind::Pulse
            || !entry.rights().contains(Rights::SEND)
            || self.tables.pulse(pulse).header.generation.get() != entry.object_generation.get()
        {
            return false;
        }
        thread.context.set_outcome(Outcome::default());
        self.raise(pulse, thread.context.words()[0]);
        true
    }

    /// Raise a pulse. If its gate is no more nothing happens, but that its interrupt line does not wait for it any more.
    pub(crate) fn raise(&self, index: u32, value: u64) {
        let pulse = self.tables.pulse(index);
        let key = pulse.gate.get();
        let gate = self.tables.gate(key as u32 & 0xffff);
        if (gate.word.get() ^ key) >> 32 != 0 {
            self.unbind_line(index);
            return;
        }
        let old = pulse.value.get();
        pulse.value.set(if pulse.counts.get() { old.saturating_add(value) } else { old | value });
        if pulse.pending.replace(true) {
            return;
        }
        if self.traces(trace::RAISED) {
            self.note_and_deliver(index);
        } else {
            self.deliver(index, pulse, gate);
        }
    }

    /// A pulse is pending: a receiver that is parked has it, or it waits for one.
    #[inline(always)]
    fn deliver(&self, index: u32, pulse: &Pulse, gate: &Gate) {
        if gate.parked() != 0 {
            self.hand_over(pulse.gate.get() as u32 & 0xffff, Waiter::Pulse(index));
        } else if pulse.baton.get() == 0 {
            self.tables.enqueue(gate, Waiter::Pulse(index), pulse.priority.get(), self.arrival());
        } else {
            self.wait_for_receiver(index);
        }
    }

    #[cold]
    #[inline(never)]
    fn note_and_deliver(&self, index: u32) {
        let pulse = self.tables.pulse(index);
        self.note(trace::RAISED, self.cpu.thread.get(), index, pulse.badge.get());
        self.deliver(index, pulse, self.tables.gate(pulse.gate.get() as u32 & 0xffff));
    }

    /// The baton that a pulse carries, if it is nobody's own; else 0.
    fn carried(&self, pulse: &Pulse) -> u32 {
        let index = pulse.baton.get();
        let baton = self.tables.baton(index);
        let there = baton.header.generation.get() == pulse.baton_generation.get();
        if there && !baton.owned.get() { index } else { 0 }
    }

    /// Let a pulse that carries a baton wait at its gate, with that: it helps meanwhile, unless it is somebody's own.
    #[inline(never)]
    fn wait_for_receiver(&self, index: u32) {
        let pulse = self.tables.pulse(index);
        let gate = pulse.gate.get() as u32 & 0xffff;
        let carried = self.carried(pulse);
        let baton = self.tables.baton(carried);
        let helps = carried != 0 && baton.waits.get() == 0;
        pulse.helps.set(helps);
        // Where it waits in front of others, its baton must help in their place.
        let priority = if helps { pulse.priority.get().min(baton.level.get()) } else { pulse.priority.get() };
        self.tables.enqueue(self.tables.gate(gate), Waiter::Pulse(index), priority, self.arrival());
        if helps {
            baton.waits.set(index);
            self.help_anew(gate);
        }
    }

    /// Take a pulse out of its gate's queue, if it waits there.
    pub(crate) fn dequeue_pulse(&self, index: u32) {
        let pulse = self.tables.pulse(index);
        let gate = pulse.gate.get() as u32 & 0xffff;
        self.tables.dequeue(self.tables.gate(gate), Waiter::Pulse(index));
        if pulse.helps.replace(false) {
            self.tables.baton(pulse.baton.get()).waits.set(0);
            // The next strongest helps from now on.
            self.help_anew(gate);
        }
    }

    /// A baton is not what it was: the pulse that waits with it, if one does, waits anew.
    pub(crate) fn wait_anew(&self, baton: u32) {
        let index = self.tables.baton(baton).waits.get();
        if index != 0 {
            self.dequeue_pulse(index);
            self.wait_for_receiver(index);
        }
    }

    /// Let a notice of the kernel wait at its gate, or give it to a parked receiver.
    fn notify(&self, key: u64, waiter: Waiter, priority: u8) -> bool {
        let Some((gate_index, gate)) = self.tables.gate_of(key) else { return false };
        if gate.parked() == 0 {
            self.tables.enqueue(gate, waiter, priority, self.arrival());
        } else {
            self.hand_over(gate_index, waiter);
        }
        true
    }

    #[inline(never)]
    fn hand_over(&self, gate_index: u32, waiter: Waiter) {
        let gate = self.tables.gate(gate_index);
        let plain = !gate.has(ODD | SEVERAL);
        let receiver = if plain { gate.parked() } else { self.wake_receiver(gate_index) };
        if plain {
            gate.set_parked(0);
        }
        self.deliver_notice(receiver, waiter);
        if plain { self.resume(receiver) } else { self.wake(receiver) }
    }

    /// Put a pulse or notice into a receiver's registers, and note what its next receive settles.
    pub(crate) fn deliver_notice(&self, index: u32, waiter: Waiter) {
        let thread = self.tables.thread(index);
        let (label, word, badge, status) = match waiter {
            Waiter::Pulse(pulse) => return self.deliver_pulse(index, pulse),
            Waiter::Closed(connection) => {
                let connection = self.tables.connection(connection);
                self.note_taken(thread, waiter, connection.header.generation.get());
                (notice::CLOSED, 0, connection.badge.get(), Status::PULSE | Status::NOTICE)
            }
            Waiter::Unblock(caller) | Waiter::Caller(caller) => {
                let caller = self.tables.thread(caller);
                (notice::UNBLOCK, caller.request.get(), caller.badge.get(), Status::PULSE | Status::NOTICE)
            }
        };
        self.note(trace::TAKEN, index, waiter.id(), badge);
        let priority = self.tables.baton(thread.current.get().baton()).priority.get();
        thread.context.set_message(label, [word, 0, 0, 0]);
        thread.context.set_outcome(Outcome { status: status | u64::from(priority) << 32, badge, ..Outcome::default() });
    }

    #[inline(always)]
    fn deliver_pulse(&self, index: u32, pulse_index: u32) {
        let (thread, pulse) = (self.tables.thread(index), self.tables.pulse(pulse_index));
        pulse.pending.set(false);
        self.note(trace::TAKEN, index, Waiter::Pulse(pulse_index).id(), pulse.badge.get());
        // It is one or the other: who holds a line settles nothing.
        if pulse.line.get() | pulse.death_of.get() != 0 && (pulse.line.get() == 0 || !self.flagged(thread, flags::HOLD))
        {
            self.note_taken(thread, Waiter::Pulse(pulse_index), pulse.header.generation.get());
        }
        if u64::from(pulse.baton.get()) | pulse.period.get() != 0 {
            self.carry_on(index, pulse, pulse_index);
        }
        let status = Status::PULSE | u64::from(pulse.priority.get()) << 32;
        thread.context.set_message(0, [pulse.value.replace(0), 0, 0, 0]);
        thread.context.set_outcome(Outcome { status, badge: pulse.badge.get(), ..Outcome::default() });
    }

    /// The receiver goes on with the baton that a pulse carries, if that is free, and a periodic pulse with its next period.
    #[inline(never)]
    fn carry_on(&self, index: u32, pulse: &Pulse, pulse_index: u32) {
        self.next_period(pulse, pulse_index);
        let carried = self.carried(pulse);
        if carried != 0 && !self.in_use(carried) {
            self.tables.baton(carried).root.set(index);
            self.give(index, Hold::new(carried));
        }
    }

    fn note_taken(&self, thread: &Thread<M>, waiter: Waiter, generation: u32) {
        thread.taken.set(waiter.id());
        thread.taken_generation.set(generation);
    }

    /// What a thread took and has not settled, if that was not destroyed since: its slot may be another's by now.
    fn take_taken(&self, index: u32) -> Option<Waiter> {
        let thread = self.tables.thread(index);
        let waiter = Waiter::from_id(thread.taken.replace(0))?;
        let generation = match waiter {
            Waiter::Pulse(pulse) => &self.tables.pulse(pulse).header.generation,
            Waiter::Closed(connection) => &self.tables.connection(connection).header.generation,
            Waiter::Caller(_) | Waiter::Unblock(_) => return None,
        };
        (generation.get() == thread.taken_generation.get()).then_some(waiter)
    }

    /// The thread receives again: what it took the last time is dealt with.
    pub(crate) fn settle(&self, index: u32) {
        match self.take_taken(index) {
            // If it came again meanwhile (its line had waited too long), that is for whoever takes it now.
            Some(Waiter::Pulse(pulse)) if !self.tables.pulse(pulse).pending.get() => self.rearm(pulse),
            Some(Waiter::Closed(connection)) => self.forget_connection(connection),
            _ => {}
        }
    }

    /// The thread dies before it dealt with what it took: it is told again.
    pub(crate) fn unsettle(&self, index: u32) {
        match self.take_taken(index) {
            Some(Waiter::Pulse(pulse)) => {
                let line_bit = self.tables.pulse(pulse).line_bit.get();
                if self.tables.pulse(pulse).unarmed.get() {
                    self.raise(pulse, 1 << line_bit);
                } else if self.tables.pulse(pulse).death_of.get() != 0 {
                    self.raise(pulse, 1);
                }
            }
            Some(Waiter::Closed(connection)) => self.closed(connection),
            _ => {}
        }
    }

    /// A pulse is received: if it is periodic, set its next alarm. Not before: alarms that nobody receives would take the
    /// processor from all others, as many as a program has pulses.
    fn next_period(&self, pulse: &Pulse, index: u32) {
        let (due, period) = (pulse.alarm.key(), pulse.period.get());
        if period == 0 || pulse.alarm.linked() {
            return;
        }
        // What was missed has come in one slot; the phase is kept.
        let missed = (self.machine.now() - due) / period;
        if pulse.counts.get() {
            pulse.value.set(pulse.value.get().saturating_add(missed));
        }
        self.set_alarm(AlarmOf::Pulse(index), (due + missed * period).saturating_add(period));
    }

    /// The last handle to a connection is gone: its server is told, then it is forgotten.
    pub(crate) fn closed(&self, index: u32) {
        let connection = self.tables.connection(index);
        let priority = self.tables.baton(self.cpu.baton.get()).priority.get();
        if !self.notify(connection.gate.get(), Waiter::Closed(index), priority) {
            self.forget_connection(index);
        }
    }

    /// Ask the server of a caller in REPLY to let it go. False: nobody to ask.
    pub(crate) fn ask_to_unblock(&self, index: u32) -> bool {
        let thread = self.tables.thread(index);
        let priority = self.tables.baton(thread.current.get().baton()).priority.get();
        let asked = self.notify(thread.target.get(), Waiter::Unblock(index), priority);
        if asked {
            thread.state.set(thread.state.get() | LEAVING);
        }
        asked
    }

    /// The caller got its answer or left: the notice is void.
    pub(crate) fn stop_unblock(&self, index: u32) {
        let thread = self.tables.thread(index);
        if thread.is(LEAVING) {
            let gate = self.tables.gate(thread.target.get() as u32 & 0xffff);
            self.tables.dequeue(gate, Waiter::Unblock(index));
            thread.state.set(thread.state.get() & !LEAVING);
        }
    }

    /// Bind a pulse to a death, and to no other; not if it takes a line: the next receive would re-arm what is held.
    pub(crate) fn bind_death(&self, index: u32, reference: &Reference) -> Result<(), Error> {
        let list = match reference.kind {
            Kind::Process => &self.tables.process(reference.object).death_pulses,
            Kind::Thread => &self.tables.thread(reference.object).death_pulses,
            _ => return Err(Error::WrongKind),
        };
        let pulse = self.tables.pulse(index);
        if pulse.line.get() != 0 {
            return Err(Error::Busy);
        }
        self.unbind_death(index);
        // Even if it fails: a death that it told before may be taken and not settled, so it must not take a line.
        pulse.death_of.set(tag(reference.kind, reference.object));
        let (mut count, mut at) = (0, list.get());
        // Bound: DEATH_PULSES.
        while at != 0 {
            count += 1;
            at = self.tables.pulse(at).death_next.get();
        }
        if count == DEATH_PULSES {
            return Err(Error::Busy);
        }
        pulse.death_next.set(list.replace(index));
        Ok(())
    }

    /// Raise the pulses that are bound to a death, and unbind them.
    pub(crate) fn raise_deaths(&self, first: u32) {
        let mut at = first;
        // Bound: DEATH_PULSES.
        while at != 0 {
            let pulse = self.tables.pulse(at);
            let next = pulse.death_next.replace(0);
            self.raise(at, 1);
            at = next;
        }
    }

    /// There is nothing to run: raise an idle pulse, if one is bound and not raised already. False: there is none. True may
    /// also mean that not all were looked at.
    pub(crate) fn raise_idle(&self) -> bool {
        let cursor = &self.cpu.idle_cursor;
        if cursor.get() == 0 {
            cursor.set(self.cpu.idle_pulses.get());
        }
        // Bound: IDLE_PULSES.
        for _ in 0..IDLE_PULSES {
            let index = cursor.get();
            if index == 0 {
                return false;
            }
            let pulse = self.tables.pulse(index);
            cursor.set(pulse.idle_next.get());
            if !pulse.pending.get() && self.tables.gate_of(pulse.gate.get()).is_some() {
                self.raise(index, 1);
                return true;
            }
        }
        true
    }

    /// Bind a pulse to idle CPUs.
    pub(crate) fn bind_idle(&self, index: u32) {
        let pulse = self.tables.pulse(index);
        let next = self.cpu.idle_pulses.replace(index);
        pulse.idle.set(true);
        pulse.idle_previous.set(0);
        pulse.idle_next.set(next);
        if next != 0 {
            self.tables.pulse(next).idle_previous.set(index);
        }
    }

    /// Undo a pulse's binding to idle CPUs.
    pub(crate) fn unbind_idle(&self, index: u32) {
        let pulse = self.tables.pulse(index);
        if !pulse.idle.replace(false) {
            return;
        }
        let (next, previous) = (pulse.idle_next.get(), pulse.idle_previous.get());
        if self.cpu.idle_cursor.get() == index {
            self.cpu.idle_cursor.set(next);
        }
        if previous == 0 {
            self.cpu.idle_pulses.set(next);
        } else {
            self.tables.pulse(previous).idle_next.set(next);
        }
        if next != 0 {
            self.tables.pulse(next).idle_previous.set(previous);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake;
    use abi::object::process;

    #[test]
    fn a_raise_needs_a_pulse_that_is_alive_and_the_right_to_send() {
        let pair = fake::pair();
        let kernel = &pair.kernel;
        let caller = kernel.tables.thread(pair.caller);
        let create = (u64::from(process::CREATE_PULSE), [pair.gate.0, 7, 1, 0]);
        let handle = fake::exchange(kernel, pair.caller, 0, Handle::SELF_PROCESS, create);
        let entry = kernel.tables.slot(kernel.tables.process(1), handle);
        let pulse = kernel.tables.pulse(entry.object());
        caller.context.words.set([3, 0, 0, 0]);
        let raised = |target: u64| {
            caller.context.target.set(target);
            kernel.raise_at_once(caller)
        };
        assert!(!raised(handle + 0x10000));
        let kind = entry.kind.replace(Kind::Gate);
        assert!(!raised(handle));
        entry.kind.set(kind);
        let named = entry.named.replace(u64::from(entry.object()) | u64::from(Rights::COPY.0) << 32);
        assert!(!raised(handle));
        entry.named.set(named);
        let generation = pulse.header.generation.replace(99);
        assert!(!raised(handle));
        pulse.header.generation.set(generation);
        let server = kernel.tables.thread(pair.server);
        assert_eq!(server.code(), crate::thread::RECEIVE);
        assert!(raised(handle));
        assert_eq!((server.code(), server.context.words.get()[0]), (crate::thread::READY, 3));
    }

    #[test]
    fn an_idle_cpu_goes_on_behind_a_pulse_that_is_bound_no_more() {
        let pair = fake::pair();
        let kernel = &pair.kernel;
        let create = (u64::from(process::CREATE_PULSE), [pair.gate.0, 7, 1, 0]);
        for _ in 0..3 {
            fake::exchange(kernel, pair.caller, 0, Handle::SELF_PROCESS, create);
        }
        (1..=3).for_each(|pulse| kernel.bind_idle(pulse));
        // The last one is the first; the next to be looked at is the one that goes.
        assert!(kernel.raise_idle());
        assert_eq!(kernel.cpu.idle_cursor.get(), 2);
        kernel.unbind_idle(3);
        assert_eq!(kernel.cpu.idle_cursor.get(), 2);
        kernel.unbind_idle(2);
        assert_eq!((kernel.cpu.idle_cursor.get(), kernel.cpu.idle_pulses.get()), (1, 1));
    }
}
