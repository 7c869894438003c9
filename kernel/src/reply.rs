//! Receiving and answering.

use crate::baton::Hold;
use crate::gate::{SEVERAL, Waiter};
use crate::kernel::Kernel;
use crate::machine::{Context, Machine, Outcome};
use crate::schedule::SCHEDULE;
use crate::thread::{FAULTING, READY, RECEIVE as STATE_RECEIVE, REPLY, Thread, Work};
use abi::call::flags;
use abi::object::Kind;
use abi::{Error, Handle, Operation, Rights, trace};

/// Messages that fail on delivery before a receive pauses.
const BATCH: u32 = 4;

impl<M: Machine> Kernel<M> {
    /// A plain reply to a plain caller on the same baton, and parking at a gate where nothing waits: the caller runs at
    /// once; who it is. `None`: nothing was changed, go the general way.
    #[inline(always)]
    pub(crate) fn fast_reply<const CARRY: bool>(
        &self,
        index: u32,
        thread: &Thread<M>,
        request: u64,
        handle: u64,
    ) -> Option<&Thread<M>> {
        let tables = &self.tables;
        let caller_index = request as u32 & 0xffff;
        let caller = tables.thread(caller_index);
        let entry = tables.slot(tables.process(thread.process.get()), handle);
        let gate = tables.gate(entry.object());
        let word = gate.word.get();
        let hold = thread.current.get();
        // This process's to answer, nothing odd about the caller; alive, nobody waiting or parked, a single receiver:
        // this thread, with nothing to do before it receives.
        if caller.request.get() != request
            || caller.state.get() != thread.reply_key.get()
            || !hold.carries(caller.current.get())
            || entry.receive.get() != handle
            || word != u64::from(entry.object_generation.get()) << 32
            || thread.gate.get() != entry.object()
            || thread.taken.get() != 0
            || thread.serving.get() != request
        {
            return None;
        }
        gate.word.set(word | u64::from(index));
        caller.state.set(READY);
        if CARRY {
            caller.context.take_message(&thread.context);
            caller.context.set_outcome(Outcome::default());
        }
        tables.baton(hold.baton()).holder.set(caller_index);
        thread.state.set(STATE_RECEIVE);
        thread.operation.set(Operation::ReplyAndReceive as u64);
        thread.current.set(thread.own.get());
        thread.serving.set(0);
        self.cpu.thread.set(caller_index);
        if self.traces(trace::REPLIED) {
            let id = tables.baton(hold.baton()).trace.get();
            self.machine.trace(trace::REPLIED, index, thread.context.label(), request, id);
        }
        Some(caller)
    }

    /// A reply-and-receive that is plain but for its envelope, or a flag that matters only while it waits: like
    /// [`Kernel::fast_reply`], with the bytes copied. The caller's context; `None`: nothing was changed (but bytes may have been
    /// copied), go the general way. `whole`: this is the general way, so that the envelope is any, a fault may be answered, and
    /// label and words go from context to context.
    #[inline(never)]
    pub(crate) fn quick_reply(
        &self,
        request: u64,
        handle: u64,
        thread: &Thread<M>,
        whole: bool,
    ) -> Option<&M::Context> {
        let tables = &self.tables;
        let caller = tables.thread(request as u32 & 0xffff);
        let entry = tables.slot(tables.process(thread.process.get()), handle);
        let gate = tables.gate(entry.object());
        let word = gate.word.get();
        let hold = thread.current.get();
        // Nothing is odd about the caller, or that it faulted.
        let (state, key) = (caller.state.get(), thread.reply_key.get());
        let answers = state == key
            || whole && state == key | FAULTING && thread.context.label() == 0 && !caller.interrupted.get();
        if caller.request.get() != request
            || !answers
            || !hold.carries(caller.current.get())
            || entry.receive.get() != handle
            || word != u64::from(entry.object_generation.get()) << 32
            || thread.gate.get() != entry.object()
            || thread.taken.get() != 0
            || thread.serving.get() != request
            || thread.interrupted.get()
            || whole && self.flagged(thread, flags::DEADLINE_RECEIVE)
            || whole
                && thread.envelope.gifts() != 0
                && (thread.envelope.may_give(handle) || self.check_gifts(thread.index(), caller.index()).is_err())
        {
            return None;
        }
        let moved = self.copy_at_once(thread, caller, false)?;
        // Read anew what the copy cannot have changed: that is cheaper than to keep it meanwhile.
        let (index, caller_index, hold) = (thread.index(), caller.index(), thread.current.get());
        gate.word.set(gate.word.get() | u64::from(index));
        let mut handles = 0;
        if whole {
            if thread.envelope.gifts() != 0 {
                handles = self.pass_handles(index, caller_index).unwrap_or(0) as u64;
            }
            if !caller.is(FAULTING) {
                caller.context.take_message(&thread.context);
            }
        }
        // A fault that was dealt with: its thread goes on, and that is all.
        if !whole || !caller.is(FAULTING) {
            caller.context.set_outcome(Outcome { status: handles << 40, moved, ..Outcome::default() });
        }
        caller.state.set(READY);
        tables.baton(hold.baton()).holder.set(caller_index);
        thread.state.set(STATE_RECEIVE);
        thread.current.set(thread.own.get());
        thread.serving.set(0);
        self.cpu.thread.set(caller_index);
        if self.traces(trace::REPLIED) {
            self.note_answer(thread, caller);
        }
        Some(&caller.context)
    }

    /// The caller that a request id names, if it is this process's to answer.
    pub(crate) fn requester(&self, thread: &Thread<M>, request: u64) -> Result<(u32, &Thread<M>), Error> {
        let index = request as u32 & 0xffff;
        let caller = self.tables.thread(index);
        let valid = index != 0
            && caller.request.get() == request
            && caller.code() == REPLY
            && caller.state.get() >> 16 == thread.process.get();
        if valid { Ok((index, caller)) } else { Err(Error::Gone) }
    }

    /// Answer a request, and perhaps receive.
    pub(crate) fn reply(&self, index: u32, thread: &Thread<M>) -> Result<(), Error> {
        let (caller, _) = self.requester(thread, thread.context.target())?;
        self.check_gifts(index, caller)?;
        thread.work.set(Work::Reply);
        self.continue_work(index);
        Ok(())
    }

    /// The answer is copied: let the caller go on.
    pub(crate) fn replied(&self, index: u32, caller_index: u32) {
        let (thread, caller) = (self.tables.thread(index), self.tables.thread(caller_index));
        let moved = thread.moved.get();
        let handles = match self.pass_handles(index, caller_index) {
            Ok(count) => count,
            Err(error) => return self.fail(index, error, moved),
        };
        self.note_answer(thread, caller);
        thread.work.set(Work::None);
        self.stop_unblock(caller_index);
        self.stop_timer(caller_index);
        let refused = if caller.is(FAULTING) {
            thread.context.label() != 0
        } else {
            caller.context.take_message(&thread.context);
            caller.context.set_outcome(Outcome { status: (handles as u64) << 40, moved, ..Outcome::default() });
            false
        };
        // The caller's baton goes back to it; the server goes on with its own, or its gate's reserve.
        let receives = thread.operation.get() as u8 == Operation::ReplyAndReceive as u8;
        let current = thread.current.get().baton();
        let callers = caller.current.get().baton();
        if thread.serving.get() == caller.request.get() && current == callers && current != 0 {
            thread.current.set(Hold::NONE);
            if receives {
                self.give(index, thread.own.get());
            } else {
                self.wake(index);
            }
        } else {
            // Another thread received it, or it was put off.
            self.take_baton_back(caller_index);
        }
        if thread.serving.get() == caller.request.get() {
            thread.serving.set(0);
        }
        // The id is used up.
        caller.request.set((caller.request.get() | 0xffff).wrapping_add(1) | u64::from(caller_index));
        let faulting = caller.is(FAULTING);
        self.wake(caller_index);
        if caller.server.get() != index {
            // Whoever received it waits elsewhere, perhaps: it is not pressed by this caller any more.
            self.reorder(caller.server.get());
        }
        if faulting {
            if refused { self.fault_refused(caller_index) } else { self.resume_from_fault(caller_index) }
        }
        if receives {
            if let Err(error) = self.receive(index) {
                self.fail(index, error, 0);
                self.keep_running(index);
            }
        } else {
            self.succeed(index, moved);
        }
    }

    /// A thread whose exchange failed goes on, even if it gave its baton away.
    pub(crate) fn keep_running(&self, index: u32) {
        let thread = self.tables.thread(index);
        let current = thread.current.get().baton();
        if thread.code() == READY && (current == 0 || current != self.cpu.baton.get()) {
            self.wake(index);
            self.cpu.attend(SCHEDULE);
        }
    }

    /// Receive at the gate of the context.
    pub(crate) fn receive(&self, index: u32) -> Result<(), Error> {
        let thread = self.tables.thread(index);
        let process = self.tables.process(thread.process.get());
        let handle = thread.context.gate();
        let entry = self.tables.slot(process, handle);
        if entry.receive.get() != handle {
            self.object(thread, Handle(handle), Kind::Gate, Rights::RECEIVE)?;
            return Err(Error::BadHandle);
        }
        let gate_index = entry.object();
        let gate = self.tables.gate(gate_index);
        if gate.word.get() >> 32 != u64::from(entry.object_generation.get()) {
            return Err(Error::Gone);
        }
        self.settle(index);
        process.served.set(true);
        if thread.gate.get() != gate_index {
            let earlier = thread.gate.get();
            self.tables.dissociate(index);
            self.help_anew(earlier);
            self.tables.associate(gate_index, index);
        }
        // What it received before and did not answer is deferred: that baton rests.
        thread.serving.set(0);
        if thread.current.get() != thread.own.get() {
            self.give(index, thread.own.get());
        }
        if gate.count.get() == 0 {
            // Before it blocks, not before it takes what is there.
            self.take_interrupt(thread)?;
        }
        self.receive_next(index)
    }

    /// Take what waits at the thread's gate, or park.
    pub(crate) fn receive_next(&self, index: u32) -> Result<(), Error> {
        let thread = self.tables.thread(index);
        let gate_index = thread.gate.get();
        let gate = self.tables.gate(gate_index);
        thread.work.set(Work::None);
        // Bound: BATCH.
        for _ in 0..BATCH {
            if self.cpu.looks.get() != 0 {
                // Who is first is certain only then.
                thread.work.set(Work::Receive);
                self.cpu.receives.set(index);
                return Ok(());
            }
            let Some(waiter) = self.tables.strongest(gate) else {
                return self.park(index);
            };
            match waiter {
                Waiter::Pulse(pulse) => self.dequeue_pulse(pulse),
                _ => self.tables.dequeue(gate, waiter),
            }
            if gate.has(SEVERAL) {
                self.tables.to_busy_end(gate, index);
                self.help_anew(gate_index);
            }
            let Waiter::Caller(caller) = waiter else {
                self.deliver_notice(index, waiter);
                // It goes on with the baton it has, its own, or the reserve.
                self.wake(index);
                return Ok(());
            };
            match self.check_gifts_again(caller, index) {
                Ok(()) => {
                    self.accept(index, caller);
                    return Ok(());
                }
                Err(error) => self.release_caller(caller, error, 0),
            }
        }
        thread.work.set(Work::Receive);
        self.wake(index);
        Ok(())
    }

    /// What a thread was about to receive went away: receive as if it had not been there.
    pub(crate) fn receive_again(&self, index: u32) -> Result<(), Error> {
        let thread = self.tables.thread(index);
        thread.serving.set(0);
        if thread.current.get() != thread.own.get() {
            self.give(index, thread.own.get());
        }
        if thread.gate.get() == 0 {
            return Err(Error::Gone);
        }
        self.receive_next(index)
    }

    fn park(&self, index: u32) -> Result<(), Error> {
        let thread = self.tables.thread(index);
        let gate = self.tables.gate(thread.gate.get());
        let bounded = self.flagged(thread, flags::DEADLINE_RECEIVE);
        if bounded && thread.deadline.get() <= self.machine.now() {
            return Err(Error::TimedOut);
        }
        self.tables.unstick(index);
        thread.enter_state(STATE_RECEIVE);
        if bounded {
            self.start_timer(index);
        }
        let odd = thread.state.get() != STATE_RECEIVE;
        self.tables.park(gate, index, odd);
        self.rest(thread.own.get().baton());
        self.cpu.attend(SCHEDULE);
        Ok(())
    }

    /// A message for a parked receiver that is none of a caller: take the receiver from its gate.
    pub(crate) fn wake_receiver(&self, gate_index: u32) -> u32 {
        let gate = self.tables.gate(gate_index);
        let index = gate.parked();
        self.stop_timer(index);
        self.tables.unpark(gate, index);
        index
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake;
    use abi::Envelope;
    use abi::object::process;
    use core::cell::Cell;
    use core::mem::offset_of;

    #[test]
    fn a_plain_reply_is_quick_if_its_caller_waits_and_nothing_is_odd() {
        let pair = fake::pair();
        let kernel = &pair.kernel;
        fake::exchange(kernel, pair.caller, 0, pair.connection, (3, [0; 4]));
        let (caller, server) = (kernel.tables.thread(pair.caller), kernel.tables.thread(pair.server));
        assert_eq!((caller.code(), kernel.cpu.thread.get()), (REPLY, pair.server));
        let (request, handle) = (caller.request.get(), pair.gate.0);
        let reply = |request, gate| kernel.fast_reply::<true>(pair.server, server, request, gate).is_some();
        let entry = kernel.tables.slot(kernel.tables.process(server.process.get()), handle);
        let gate = kernel.tables.gate(entry.object());

        assert!(!reply(request + 0x10000, handle) && !reply(request, handle + 0x10000));
        // Somebody waits at the gate, or it was replaced; the server has a notice to deal with, another request, or no baton.
        let oddities: [(&Cell<u64>, u64); 3] = [(&gate.word, 1), (&gate.word, 1 << 40), (&server.serving, 1 << 16)];
        for (cell, bit) in oddities {
            cell.set(cell.get() ^ bit);
            assert!(!reply(request, handle));
            cell.set(cell.get() ^ bit);
        }
        for cell in [&server.taken, &server.gate] {
            cell.set(cell.get() ^ 4);
            assert!(!reply(request, handle));
            cell.set(cell.get() ^ 4);
        }
        let hold = server.current.replace(Hold::new(server.current.get().baton() ^ 4));
        assert!(!reply(request, handle));
        server.current.set(hold);
        assert_eq!(kernel.cpu.thread.get(), pair.server);

        assert!(reply(request, handle));
        assert_eq!((caller.code(), server.code(), kernel.cpu.thread.get()), (READY, STATE_RECEIVE, pair.caller));
        assert_eq!((gate.word.get() as u32 & 0xffff, server.serving.get()), (pair.server, 0));
        assert_eq!(server.current.get(), server.own.get());
        // It is answered: not again.
        assert!(!reply(request, handle));
    }

    #[test]
    fn a_reply_with_bytes_or_handles_is_quick_if_moreover_its_receive_has_no_deadline() {
        const GIVE: usize = offset_of!(Envelope, give) / 8;
        const TAKE: usize = offset_of!(Envelope, take) / 8;
        let pair = fake::pair();
        let kernel = &pair.kernel;
        let reserve = (u64::from(process::RESERVE), [0; 4]);
        let slot = fake::exchange(kernel, pair.caller, 0, Handle::SELF_PROCESS, reserve);
        fake::exchange(kernel, pair.caller, 0, pair.connection, (3, [0; 4]));
        let (caller, server) = (kernel.tables.thread(pair.caller), kernel.tables.thread(pair.server));
        let reply = || {
            let (request, gate) = (server.context.target.get(), server.context.gate.get());
            kernel.quick_reply(request, gate, server, true).is_some()
        };
        let entry = kernel.tables.slot(kernel.tables.process(server.process.get()), pair.gate.0);
        let gate = kernel.tables.gate(entry.object());
        server.context.target.set(caller.request.get());
        server.context.gate.set(pair.gate.0);
        server.operation.set(Operation::ReplyAndReceive as u64 | flags::ENVELOPE);

        let oddities: [(&Cell<u64>, u64); 5] = [
            (&gate.word, 1),
            (&server.serving, 1 << 16),
            (&server.context.target, 1 << 16),
            (&server.context.gate, 1 << 16),
            (&server.operation, flags::DEADLINE_RECEIVE),
        ];
        for (cell, bit) in oddities {
            cell.set(cell.get() ^ bit);
            assert!(!reply());
            cell.set(cell.get() ^ bit);
        }
        for cell in [&server.taken, &server.gate] {
            cell.set(cell.get() ^ 4);
            assert!(!reply());
            cell.set(cell.get() ^ 4);
        }
        let hold = server.current.replace(Hold::new(server.current.get().baton() ^ 4));
        assert!(!reply());
        server.current.set(hold);
        server.interrupted.set(true);
        assert!(!reply());
        server.interrupted.set(false);
        // A handle to pass that it does not have.
        server.envelope.words()[0].set(1 << 16);
        assert!(!reply());
        assert_eq!(kernel.cpu.thread.get(), pair.server);

        // One that it has, to a caller with room for it.
        server.envelope.words()[GIVE].set(pair.connection.0);
        caller.operation.set(flags::ENVELOPE);
        caller.envelope.words()[0].set(1 << 24);
        caller.envelope.words()[TAKE].set(slot);
        assert!(reply());
        assert_eq!((caller.code(), server.code(), kernel.cpu.thread.get()), (READY, STATE_RECEIVE, pair.caller));
        assert_eq!(caller.context.outcome.get().status, 1 << 40);
        assert!(!reply());
    }
}
