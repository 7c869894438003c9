//! Sending: a thread calls through a connection and waits for the answer.

use crate::alarm::AlarmOf;
use crate::baton::Hold;
use crate::connection::Connection;
use crate::gate::Waiter;
use crate::handle_table::Entry;
use crate::helping::CHAIN;
use crate::kernel::Kernel;
use crate::machine::{Context, Machine, Outcome};
use crate::schedule::SCHEDULE;
use crate::thread::{FAULTING, READY, REPLY, SEND, TIMED, Thread, Work};
use abi::call::{NEVER, flags};
use abi::{Error, Handle, Status, trace};

/// A new request id for a thread: ids of one slot never repeat.
fn next_request(id: u64, index: u32) -> u64 {
    (id | 0xffff).wrapping_add(1) | u64::from(index)
}

impl<M: Machine> Kernel<M> {
    /// A plain call to a gate whose one receiver is parked: the receiver runs at once on the caller's baton; who it is. `None`:
    /// nothing was changed, go the general way. `CARRY`: label and words go from context to context.
    #[inline(always)]
    pub(crate) fn fast_call<const CARRY: bool>(
        &self,
        thread: &Thread<M>,
        entry: &Entry,
        handle: u64,
    ) -> Option<&Thread<M>> {
        let tables = &self.tables;
        let connection = tables.connection(entry.object());
        let target = connection.gate.get();
        let gate = tables.gate(target as u32 & 0xffff);
        let word = gate.word.get();
        let parked = word as u32 & 0xffff;
        let hold = thread.current.get();
        // Alive, nobody waiting, and the receiver, if one is parked, is a plain one.
        if entry.send.get() != handle
            || connection.header.generation.get() != entry.object_generation.get()
            || (word ^ target) >> 16 != 0
            || parked == 0
            || !hold.may_call()
        {
            return None;
        }
        let receiver = tables.thread(parked);
        thread.target.set(target);
        let badge = connection.badge.get();
        thread.badge.set(badge);
        let request = thread.request.get() + 0x10000;
        thread.request.set(request);
        thread.server.set(parked);
        thread.operation.set(0);
        gate.word.set(word & !0xffff);
        thread.state.set(receiver.reply_key.get());
        receiver.serving.set(request);
        receiver.current.set(hold.carried());
        receiver.state.set(READY);
        let baton = tables.baton(hold.baton());
        baton.holder.set(parked);
        let (status, identity) = (u64::from(baton.priority.get()) << 32, thread.identity.get());
        if CARRY {
            receiver.context.take_message(&thread.context);
            receiver.context.set_outcome(Outcome { status, request, identity, badge, ..Outcome::default() });
        } else {
            receiver.context.set_receipt(status, request, identity, badge);
        }
        self.cpu.thread.set(parked);
        if self.traces(trace::RECEIVED) {
            self.machine.trace(trace::RECEIVED, parked, thread.context.label(), request, baton.trace.get());
        }
        Some(receiver)
    }

    /// A call that is plain but for its envelope, or a flag that matters only while it waits, to a gate whose one receiver
    /// is parked: like [`Kernel::fast_call`], with the bytes copied. The context of the receiver; `None`: nothing was
    /// changed, go the general way. `whole`: this is the general way, so that the envelope is any, a long message may begin, and
    /// label and words go from context to context.
    #[inline(never)]
    pub(crate) fn quick_call(&self, handle: u64, thread: &Thread<M>, whole: bool) -> Option<&M::Context> {
        let tables = &self.tables;
        let entry = tables.slot(tables.process(thread.process.get()), handle);
        let connection = tables.connection(entry.object());
        if entry.send.get() != handle
            || connection.header.generation.get() != entry.object_generation.get()
            || thread.interrupted.get()
            || whole && self.flagged(thread, flags::DEADLINE_SEND | flags::DEADLINE_REPLY)
            || whole && thread.envelope.gifts() != 0
        {
            return None;
        }
        self.deliver_at_once(thread, connection, 0, whole)
    }

    /// The message of the thread that runs, or its fault, to the one receiver that is parked: its context. `None`: nothing
    /// was changed.
    #[inline(always)]
    pub(crate) fn deliver_at_once(
        &self,
        thread: &Thread<M>,
        connection: &Connection,
        faulting: u32,
        whole: bool,
    ) -> Option<&M::Context> {
        let tables = &self.tables;
        let target = connection.gate.get();
        let gate = tables.gate(target as u32 & 0xffff);
        let word = gate.word.get();
        let (parked, hold) = (u32::from(word as u16), thread.current.get());
        let carried = if faulting == 0 { hold.may_call() } else { hold.may_fault() };
        if (word ^ target) >> 16 != 0 || parked == 0 || !carried {
            return None;
        }
        let receiver = tables.thread(parked);
        let (moved, lengths) = match faulting {
            0 => (self.copy_at_once(thread, receiver, whole)?, thread.envelope.totals()),
            _ => (0, 0),
        };
        if self.flagged(thread, flags::RETRY) {
            // Its place, should it have to come again.
            thread.queue.set_key(self.arrival());
        }
        // Read anew what the copy cannot have changed: that is cheaper than to keep it meanwhile.
        let (hold, receiver_index) = (thread.current.get().carried(), receiver.index());
        gate.word.set(gate.word.get() & !0xffff);
        let request = thread.request.get() + 0x10000;
        let badge = connection.badge.get();
        thread.request.set(request);
        thread.target.set(connection.gate.get());
        thread.badge.set(badge);
        thread.server.set(receiver_index);
        thread.state.set(receiver.reply_key.get() | faulting);
        receiver.serving.set(request);
        receiver.current.set(hold);
        receiver.state.set(READY);
        let baton = tables.baton(hold.baton());
        baton.holder.set(receiver_index);
        self.cpu.thread.set(receiver_index);
        if faulting != 0 {
            let message = thread.fault.get();
            receiver.context.set_message(message.label, message.words);
        } else if whole {
            receiver.context.take_message(&thread.context);
        }
        receiver.context.set_outcome(Outcome {
            status: u64::from(baton.priority.get()) << 32,
            request,
            identity: thread.identity.get(),
            badge,
            moved,
            lengths,
        });
        if self.traces(trace::RECEIVED) {
            self.note_message(trace::RECEIVED, thread, receiver_index, request);
        }
        Some(&receiver.context)
    }

    /// Call: send through a connection, or call the object that the handle names.
    pub(crate) fn call(&self, index: u32, thread: &Thread<M>) -> Result<(), Error> {
        let handle = thread.context.target();
        let entry = self.tables.slot(self.tables.process(thread.process.get()), handle);
        if entry.send.get() != handle {
            return self.call_object(thread, Handle(handle));
        }
        let connection = self.tables.connection(entry.object());
        if connection.header.generation.get() != entry.object_generation.get() {
            return Err(Error::Gone);
        }
        self.take_interrupt(thread)?;
        self.send(index, connection.gate.get(), connection.badge.get())
    }

    /// If the exchange may be interrupted and an interrupt is due: it is now.
    pub(crate) fn take_interrupt(&self, thread: &Thread<M>) -> Result<(), Error> {
        if thread.interrupted.get() && self.flagged(thread, flags::INTERRUPTIBLE) {
            thread.interrupted.set(false);
            return Err(Error::Interrupted);
        }
        Ok(())
    }

    /// Send a thread's message, or its fault, to a gate. On success the thread waits.
    pub(crate) fn send(&self, index: u32, target: u64, badge: u64) -> Result<(), Error> {
        let thread = self.tables.thread(index);
        let (gate_index, gate) = self.tables.gate_of(target).ok_or(Error::Gone)?;
        let parked = gate.parked();
        let bounded = self.flagged(thread, flags::DEADLINE_SEND);
        if parked == 0 {
            if bounded && thread.deadline.get() <= self.machine.now() {
                return Err(Error::TimedOut);
            }
            self.search_cycle(index, gate_index)?;
        }
        let hold = thread.current.get();
        let carried = if thread.is(FAULTING) { hold.may_fault() } else { hold.may_call() };
        if !carried && hold != Hold::NONE {
            return Err(Error::ChainTooLong);
        }
        self.check_gifts(index, parked)?;
        thread.target.set(target);
        thread.badge.set(badge);
        thread.retried.set(false);
        thread.request.set(next_request(thread.request.get(), index));
        let faulting = thread.state.get() & FAULTING;
        self.tables.unstick(index);
        if parked == 0 {
            thread.enter_state(SEND | faulting);
            self.note_message(trace::SENT, thread, index, target);
            if bounded {
                self.start_timer(index);
            }
            self.tables.enqueue(gate, Waiter::Caller(index), self.urgency(index), self.arrival());
            // Whom it waits for may wait.
            self.reorder(gate.busy());
            self.cpu.attend(SCHEDULE);
        } else {
            thread.queue.set_key(self.arrival());
            self.stop_timer(parked);
            self.tables.unpark(gate, parked);
            thread.enter_state(SEND | faulting);
            self.accept(parked, index);
        }
        Ok(())
    }

    /// Fail a call that would wait for itself. From `gate` on, as long as a gate has exactly one receiver, and that one
    /// waits for an answer it alone can get.
    fn search_cycle(&self, caller: u32, gate: u32) -> Result<(), Error> {
        let (mut at, mut waits) = (gate, self.tables.thread(caller).identity.get());
        // Bound: CHAIN gates.
        for length in 1..=CHAIN as u64 {
            let gate = self.tables.gate(at);
            if gate.receivers.get() != 1 {
                return Ok(());
            }
            let receiver = gate.only.get();
            if receiver == caller {
                let thread = self.tables.thread(caller);
                // Named by the badge of the call that was to close it, its length, and who waits for the caller.
                let badge = self.closing_badge(thread);
                if !thread.is(FAULTING) {
                    thread.context.set_words([badge, length, waits, 0]);
                }
                return Err(Error::Deadlock);
            }
            let thread = self.tables.thread(receiver);
            waits = thread.identity.get();
            match thread.code() {
                SEND => {}
                REPLY => {
                    let server = self.tables.thread(thread.server.get());
                    let deferred = server.serving.get() != thread.request.get();
                    let elsewhere = server.gate.get() != (thread.target.get() & 0xffff) as u32;
                    if deferred || elsewhere {
                        return Ok(());
                    }
                }
                _ => return Ok(()),
            }
            at = (thread.target.get() & 0xffff) as u32;
        }
        Err(Error::ChainTooLong)
    }

    fn closing_badge(&self, thread: &Thread<M>) -> u64 {
        let handle = thread.context.target();
        let entry = self.tables.slot(self.tables.process(thread.process.get()), handle);
        self.tables.connection(entry.object()).badge.get()
    }

    /// Give a receiver (busy, not running user code) the message of a thread that left the gate's queue. The receiver
    /// goes on with the caller's baton.
    pub(crate) fn accept(&self, receiver_index: u32, index: u32) {
        let (receiver, thread) = (self.tables.thread(receiver_index), self.tables.thread(index));
        self.note_message(trace::RECEIVED, thread, receiver_index, thread.request.get());
        let flags_kept = thread.state.get() & FAULTING;
        thread.state.set(receiver.reply_key.get() | flags_kept | thread.state.get() & crate::thread::LASTING);
        if thread.alarm.linked() {
            thread.state.set(thread.state.get() | TIMED);
        }
        if self.flagged(thread, flags::DEADLINE_REPLY) {
            self.start_timer(index);
        } else {
            self.stop_timer(index);
        }
        thread.server.set(receiver_index);
        receiver.serving.set(thread.request.get());
        receiver.moved.set(0);
        receiver.work.set(Work::Deliver);
        receiver.enter_state(READY);
        self.give(receiver_index, thread.current.get().carried());
        self.wake(receiver_index);
        self.continue_work(receiver_index);
    }

    /// The message is copied: tell the receiver.
    pub(crate) fn delivered(&self, receiver_index: u32, index: u32) {
        let (receiver, thread) = (self.tables.thread(receiver_index), self.tables.thread(index));
        let handles = match self.pass_handles(index, receiver_index) {
            Ok(count) => count,
            Err(error) => {
                receiver.work.set(Work::Receive);
                self.release_caller(index, error, 0);
                return;
            }
        };
        receiver.work.set(Work::None);
        if thread.is(FAULTING) {
            let message = thread.fault.get();
            receiver.context.set_message(message.label, message.words);
        } else {
            receiver.context.take_message(&thread.context);
        }
        let priority = self.tables.baton(receiver.current.get().baton()).priority.get();
        let retried = if thread.retried.get() { Status::RETRIED } else { 0 };
        receiver.context.set_outcome(Outcome {
            status: retried | u64::from(priority) << 32 | (handles as u64) << 40,
            request: thread.request.get(),
            identity: thread.identity.get(),
            badge: thread.badge.get(),
            moved: receiver.moved.get(),
            lengths: thread.totals(),
        });
    }

    /// Set the alarm of the thread's deadline, if it has one.
    pub(crate) fn start_timer(&self, index: u32) {
        let thread = self.tables.thread(index);
        if thread.deadline.get() != NEVER {
            self.set_alarm(AlarmOf::Thread(index), thread.deadline.get());
            thread.state.set(thread.state.get() | TIMED);
        }
    }

    /// Take the thread's alarm back.
    pub(crate) fn stop_timer(&self, index: u32) {
        let thread = self.tables.thread(index);
        if thread.alarm.linked() {
            self.clear_alarm(AlarmOf::Thread(index));
        }
        thread.state.set(thread.state.get() & !TIMED);
    }

    /// Orders what arrives with the same priority.
    pub(crate) fn arrival(&self) -> u64 {
        let arrival = self.arrivals.get();
        self.arrivals.set(arrival + 1);
        arrival
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake;

    #[test]
    fn ids_of_a_slot_never_repeat() {
        assert_eq!(
            (next_request(0, 5), next_request(0x1_0005, 5), next_request(0x7_ffff, 9)),
            (0x1_0005, 0x2_0005, 0x8_0009)
        );
    }

    /// What is quick is no different from outside, so that no scenario can see whether it happens.
    #[test]
    fn a_plain_call_is_quick_if_its_receiver_waits_and_nothing_is_odd() {
        let pair = fake::pair();
        let kernel = &pair.kernel;
        let caller = kernel.tables.thread(pair.caller);
        let handle = pair.connection.0;
        let entry = kernel.tables.slot(kernel.tables.process(caller.process.get()), handle);
        let call = || kernel.fast_call::<true>(caller, entry, handle).is_some();
        let connection = kernel.tables.connection(entry.object());
        let gate = kernel.tables.gate(connection.gate.get() as u32 & 0xffff);

        // Another generation of the entry, a connection or a gate that was replaced, a receiver that is busy, no baton.
        assert!(kernel.fast_call::<true>(caller, entry, handle + 0x10000).is_none());
        for cell in [&connection.gate, &gate.word] {
            let right = cell.replace(cell.get() ^ 1 << 40);
            assert!(!call());
            cell.set(right);
        }
        let parked = gate.word.replace(gate.word.get() & !0xffff);
        assert!(!call());
        gate.word.set(parked);
        let odd = gate.word.replace(gate.word.get() | 1 << 16);
        assert!(!call());
        gate.word.set(odd);
        let baton = caller.current.replace(Hold::NONE);
        assert!(!call());
        caller.current.set(baton);
        assert_eq!(kernel.cpu.thread.get(), pair.caller);

        let before = caller.request.get();
        caller.identity.set(77);
        assert!(call());
        let server = kernel.tables.thread(pair.server);
        assert_eq!(kernel.cpu.thread.get(), pair.server);
        assert_eq!((server.code(), caller.code(), gate.word.get() & 0xffff), (READY, REPLY, 0));
        assert_eq!(caller.request.get(), next_request(before, pair.caller));
        assert_eq!(
            (server.serving.get(), server.context.outcome.get().request),
            (caller.request.get(), caller.request.get())
        );
        let outcome = server.context.outcome.get();
        assert_eq!((server.current.get().baton(), outcome.badge, outcome.identity), (baton.baton(), 7, 77));
        assert_eq!(outcome.status >> 32, kernel.tables.baton(baton.baton()).priority.get().into());
    }

    #[test]
    fn a_call_with_bytes_is_quick_if_moreover_it_has_no_deadline_and_no_handles() {
        let pair = fake::pair();
        let kernel = &pair.kernel;
        let (caller, server) = (kernel.tables.thread(pair.caller), kernel.tables.thread(pair.server));
        let call = || kernel.quick_call(caller.context.target.get(), caller, true).is_some();
        let entry = kernel.tables.slot(kernel.tables.process(caller.process.get()), pair.connection.0);
        let connection = kernel.tables.connection(entry.object());
        let gate = kernel.tables.gate(connection.gate.get() as u32 & 0xffff);

        caller.operation.set(flags::ENVELOPE);
        caller.context.target.set(pair.connection.0 + 0x10000);
        assert!(!call());
        caller.context.target.set(pair.connection.0);
        for cell in [&connection.gate, &gate.word] {
            let right = cell.replace(cell.get() ^ 1 << 40);
            assert!(!call());
            cell.set(right);
        }
        let parked = gate.word.replace(gate.word.get() & !0xffff);
        assert!(!call());
        gate.word.set(parked);
        for flag in [flags::DEADLINE_SEND, flags::DEADLINE_REPLY] {
            caller.operation.set(flags::ENVELOPE | flag);
            assert!(!call());
        }
        caller.operation.set(flags::ENVELOPE | flags::DEADLINE_RECEIVE);
        caller.interrupted.set(true);
        assert!(!call());
        caller.interrupted.set(false);
        caller.envelope.words()[0].set(1 << 16);
        assert!(!call());
        caller.envelope.set_segments(0x1000, 0x2000, 5 | 9 << 32).expect("segments of a program");
        let baton = caller.current.replace(Hold::NONE);
        assert!(!call());
        caller.current.set(baton);
        assert_eq!(kernel.cpu.thread.get(), pair.caller);

        assert!(call());
        assert_eq!((kernel.cpu.thread.get(), server.code(), caller.code()), (pair.server, READY, REPLY));
        assert_eq!((server.serving.get(), gate.word.get() & 0xffff), (caller.request.get(), 0));
        let outcome = server.context.outcome.get();
        assert_eq!(outcome.lengths, 5 | 9 << 32);
        assert_eq!(outcome.status >> 32, kernel.tables.baton(baton.baton()).priority.get().into());
    }
}
