//! Leaving a wait before it is over: deadlines, interruption, death.
//!
//! In SEND and RECEIVE a thread leaves at once. In REPLY its server is asked first and has the gate's grace time; then
//! the caller leaves anyway, takes its baton back, and the late answer finds nobody.

use crate::alarm::AlarmOf;
use crate::baton::Hold;
use crate::gate::Waiter;
use crate::kernel::Kernel;
use crate::machine::Machine;
use crate::schedule::SCHEDULE;
use crate::thread::{FAULTING, LEAVING, READY, RECEIVE, REPLY, SEND, TIMED};
use abi::Error;
use abi::call::flags;

/// No gate's grace time is longer, ns.
pub(crate) const GRACE_MAXIMUM: u64 = 10_000_000_000;

impl<M: Machine> Kernel<M> {
    /// The alarm of a thread: its deadline, or the end of the grace time.
    pub(crate) fn deadline_passed(&self, index: u32) {
        let thread = self.tables.thread(index);
        thread.state.set(thread.state.get() & !TIMED);
        if thread.is(LEAVING) {
            self.leave_as_wished(index);
        } else {
            self.break_off(index, Error::TimedOut);
        }
    }

    /// Nobody is waited for any more by a caller that wants to leave: its grace time is over, or its server is gone.
    #[inline(never)]
    pub(crate) fn leave_as_wished(&self, index: u32) {
        let reason = self.tables.thread(index).leave_reason.get();
        self.leave(index, Error::from_number(reason).unwrap_or(Error::TimedOut));
    }

    /// End a thread's wait for this reason, as soon as the rules allow.
    pub(crate) fn break_off(&self, index: u32, reason: Error) {
        let thread = self.tables.thread(index);
        if thread.code() == REPLY {
            if thread.is(LEAVING) {
                return;
            }
            let grace = self.tables.gate_of(thread.target.get()).map_or(0, |(_, gate)| gate.grace.get());
            let at_once = self.flagged(thread, flags::NO_GRACE) && reason == Error::Interrupted;
            if grace != 0 && !at_once && self.ask_to_unblock(index) {
                thread.leave_reason.set(reason as u16);
                self.set_alarm(AlarmOf::Thread(index), self.machine.now().saturating_add(grace));
                thread.state.set(thread.state.get() | TIMED);
                return;
            }
        }
        self.leave(index, reason);
    }

    /// End a thread's wait now, with an error.
    pub(crate) fn leave(&self, index: u32, reason: Error) {
        let faulting = self.tables.thread(index).is(FAULTING);
        self.note_leaving(index, reason);
        self.detach(index);
        if !faulting {
            self.fail(index, reason, 0);
        }
        self.wake(index);
        if faulting {
            self.fault_refused(index);
        }
    }

    /// Take a thread out of whatever it waits in. It is READY then, but not on any baton's way to run.
    pub(crate) fn detach(&self, index: u32) {
        let thread = self.tables.thread(index);
        self.stop_timer(index);
        match thread.code() {
            SEND => {
                // Whether or not the gate is alive: its slot is not used again while anything waits there.
                let gate = thread.target.get() as u32 & 0xffff;
                self.tables.dequeue(self.tables.gate(gate), Waiter::Caller(index));
                // The next strongest helps from now on.
                thread.enter_state(READY);
                self.help_anew(gate);
            }
            REPLY => {
                self.stop_unblock(index);
                self.take_baton_back(index);
                thread.request.set((thread.request.get() | 0xffff).wrapping_add(1) | u64::from(index));
                // Nobody presses its server any more, at least not through it.
                self.reorder(thread.server.get());
            }
            RECEIVE => {
                let gate_index = thread.gate.get();
                if gate_index != 0 {
                    self.tables.unpark(self.tables.gate(gate_index), index);
                }
            }
            _ => {}
        }
        // FAULTING stays visible to the caller of this function only through what it read before.
        thread.enter_state(READY);
        self.cpu.attend(SCHEDULE);
    }

    /// The thread that works on this caller's request on this baton, 0: none.
    fn works(&self, caller: u32, baton: u32) -> u32 {
        let caller = self.tables.thread(caller);
        let server = caller.server.get();
        let thread = self.tables.thread(server);
        // No request is served whose caller is not in REPLY.
        let same = thread.serving.get() == caller.request.get() && thread.current.get().baton() == baton;
        debug_assert!(!same || caller.code() == REPLY);
        if same { server } else { 0 }
    }

    /// A caller leaves without an answer: its baton comes back from whoever works on it.
    pub(crate) fn take_baton_back(&self, index: u32) {
        let baton = self.tables.thread(index).current.get().baton();
        if baton != 0 {
            self.strip(self.works(index, baton), baton);
            self.tables.baton(baton).holder.set(index);
            self.rest(baton);
        }
    }

    /// Take a baton from a thread and from all that work for it, down the chain of calls. They go on with the thread's
    /// own baton, or its gate's reserve, or wait for help.
    pub(crate) fn strip(&self, first: u32, baton: u32) {
        if first == 0 || self.tables.thread(first).current.get().baton() != baton {
            return;
        }
        let (mut at, mut last, mut spare) = (first, first, Hold::NONE);
        // Bound: so often is a baton carried on (`Hold`). The first that has one lends it to those behind.
        while at != 0 {
            last = at;
            if spare == Hold::NONE {
                spare = self.spare(at);
                spare = if spare.baton() == baton { Hold::NONE } else { spare };
            }
            self.tables.thread(at).current.set(spare);
            spare = spare.carried();
            at = self.works(at, baton);
        }
        let spare = spare.baton();
        if spare != 0 {
            self.tables.baton(spare).holder.set(last);
            self.make_ready(spare);
        } else if self.tables.thread(last).code() == READY {
            self.tables.stick(last, self.arrival());
        }
        self.reorder(last);
        self.rest(baton);
        self.offer(baton);
    }
}
