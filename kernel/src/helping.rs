//! Helping: a baton whose holder waits runs whoever the holder waits for: the busy receiver of the gate it waits at, or the
//! server that works on its request, through at most [`CHAIN`] gates. Only the strongest waiter of a gate helps; and who is
//! waited for by a strong one waits as a strong one.
//!
//! One change can be one for very many: a strong caller that comes or leaves, for all that are waited for by whom it waits for and
//! all that wait for them. So a change only says which thread is to be looked at. Before user code runs again all are, each
//! in a piece of its own that may name others, and between two pieces interrupts are taken. How much that is in all is bounded too:
//! how urgent a thread is goes on over [`CHAIN`] gates, and [`HELPED`] are looked at for who helps them.

use crate::gate::Waiter;
use crate::kernel::Kernel;
use crate::machine::Machine;
use crate::schedule::{LOOK, POLL, SCHEDULE};
use crate::thread::{READY, REPLY, SEND, STOPPED};

/// Gates through which a waiting thread is helped or searched for a cycle.
pub(crate) const CHAIN: usize = 16;

/// Why a thread is to be looked at: it may have to wait with another priority, and whom it waits for, through so many gates; who
/// helps it may have to run.
const GATES: u32 = 2 * CHAIN as u32 - 1;
const HELPERS: u32 = 2 * CHAIN as u32;
/// Threads that are looked at for their helpers before it is decided who runs.
const HELPED: u32 = 64;

impl<M: Machine> Kernel<M> {
    /// Whether anybody may wait for a thread, for an answer or at its gate.
    pub(crate) fn waited_for(&self, index: u32) -> bool {
        let thread = self.tables.thread(index);
        thread.serving.get() != 0 || self.tables.gate(thread.gate.get()).callers.get() != 0
    }

    /// A thread is to be looked at for this reason, before user code runs: in a piece of its own, as very much may depend on it.
    fn look_later(&self, index: u32, why: u32) {
        let thread = self.tables.thread(index);
        let before = thread.look.get();
        if before == 0 {
            thread.look_next.set(self.cpu.looks.replace(index));
        }
        thread.look.set(before | why);
        self.cpu.attend(LOOK | POLL);
    }

    /// A piece: look at one of the threads that are to be looked at; or at the end, let the one receive that was about to.
    pub(crate) fn look(&self) {
        let index = self.cpu.looks.get();
        self.cpu.attend(SCHEDULE | POLL);
        if index == 0 {
            self.cpu.attention.set(self.cpu.attention.get() & !LOOK);
            return self.continue_work(self.cpu.receives.replace(0));
        }
        let thread = self.tables.thread(index);
        let why = thread.look.replace(0);
        self.cpu.looks.set(thread.look_next.get());
        if why & GATES != 0 {
            self.weigh(index, why & GATES);
        }
        if why & HELPERS != 0 {
            self.wake_helpers(index);
        }
    }

    /// Make the batons ready that rest because this thread could not run: that of the first at its gate, and those that help it
    /// through others.
    pub(crate) fn wake_helpers(&self, index: u32) {
        let tables = self.tables;
        // Whoever ran because this thread could not is perhaps not the one to run.
        self.cpu.attend(SCHEDULE);
        let thread = tables.thread(index);
        let served = (thread.serving.get() & 0xffff) as u32;
        let caller = tables.thread(served);
        if caller.request.get() == thread.serving.get() && caller.code() == REPLY {
            self.wake_further(served);
        }
        let gate = tables.gate(thread.gate.get());
        if gate.busy() != index {
            return;
        }
        let waiter = tables.strongest_helper(gate);
        if let Some(Waiter::Pulse(pulse)) = Waiter::from_id(waiter) {
            self.make_ready(tables.pulse(pulse).baton.get());
        } else if waiter != 0 {
            let current = tables.thread(waiter).current.get().baton();
            if current != 0 && tables.baton(current).holder.get() == waiter {
                self.make_ready(current);
            }
            self.wake_further(waiter);
        }
    }

    /// Likewise for a thread that helps another one, later.
    fn wake_further(&self, index: u32) {
        let helpers = &self.cpu.helpers;
        if self.waited_for(index) && helpers.get() < HELPED {
            helpers.set(helpers.get() + 1);
            self.look_later(index, HELPERS);
        }
    }

    /// Who runs on a baton: its holder, or whom the holder waits for. 0: nobody can.
    pub(crate) fn resolve(&self, index: u32) -> u32 {
        let at = self.tables.baton(index).holder.get();
        let thread = self.tables.thread(at);
        if at == 0 || thread.current.get().baton() != index {
            return self.helped_for_pulse(index);
        }
        match thread.code() {
            READY => self.runnable(at),
            _ => self.helped(at),
        }
    }

    /// Who runs on a baton that nobody holds: whom the pulse that carries it waits for, if it is the next.
    #[inline(never)]
    fn helped_for_pulse(&self, index: u32) -> u32 {
        let tables = self.tables;
        let pulse = tables.baton(index).waits.get();
        let gate = tables.gate(tables.pulse(pulse).gate.get() as u32 & 0xffff);
        let next = pulse != 0 && tables.strongest_helper(gate) == Waiter::Pulse(pulse).id();
        if next { self.helped(gate.busy()) } else { 0 }
    }

    /// A thread that is READY, if it may run; else 0.
    #[inline(always)]
    fn runnable(&self, at: u32) -> u32 {
        let thread = self.tables.thread(at);
        let alive = self.tables.process(thread.process.get()).header.alive();
        if thread.state.get() & STOPPED == 0 && alive { at } else { 0 }
    }

    /// Whom a waiting thread waits for, in the end. 0: nobody who can run.
    #[inline(never)]
    fn helped(&self, mut at: u32) -> u32 {
        let tables = self.tables;
        // Bound: CHAIN gates and the thread at the end.
        for _ in 0..=CHAIN {
            let thread = tables.thread(at);
            at = match thread.code() {
                READY => return self.runnable(at),
                SEND => {
                    let Some((_, gate)) = tables.gate_of(thread.target.get()) else { return 0 };
                    if tables.strongest_helper(gate) != at {
                        return 0;
                    }
                    gate.busy()
                }
                REPLY => {
                    let server = thread.server.get();
                    if tables.thread(server).serving.get() != thread.request.get() {
                        return 0;
                    }
                    server
                }
                _ => return 0,
            };
            if at == 0 {
                return 0;
            }
        }
        0
    }

    /// A baton is stronger or weaker than it was: what waits with it does so anew.
    pub(crate) fn weigh_anew(&self, index: u32) {
        self.wait_anew(index);
        let holder = self.tables.baton(index).holder.get();
        if self.tables.thread(holder).current.get().baton() == index {
            self.reorder(holder);
        }
    }

    /// With which priority a thread waits, if it does: that of its baton (the low one, without budget), or of the strongest that waits for it, be it at its
    /// gate or for the answer it works on, and so on.
    pub(crate) fn urgency(&self, index: u32) -> u8 {
        let tables = self.tables;
        let (mut at, mut urgency) = (index, 0);
        // Bound: CHAIN requests.
        for _ in 0..CHAIN {
            let thread = tables.thread(at);
            urgency = urgency.max(tables.baton(thread.current.get().baton()).level.get());
            let gate = tables.gate(thread.gate.get());
            if thread.gate.get() != 0 && gate.busy() == at {
                urgency = urgency.max(tables.pressure(gate));
            }
            at = (thread.serving.get() & 0xffff) as u32;
            let caller = tables.thread(at);
            if at == 0 || caller.request.get() != thread.serving.get() || caller.code() != REPLY {
                break;
            }
        }
        urgency
    }

    /// Whoever waits for a thread changed, or its baton: wherever it waits itself, and those that it waits for, it waits
    /// with the strongest priority of all that wait for it.
    #[inline(never)]
    pub(crate) fn reorder(&self, index: u32) {
        if index != 0 && self.tables.thread(index).code() != READY {
            self.look_later(index, CHAIN as u32);
        }
    }

    /// Let a thread wait with the priority that it should have; if that is another one, whom it waits for is looked at, through
    /// so many gates.
    fn weigh(&self, index: u32, gates: u32) {
        let tables = self.tables;
        let thread = tables.thread(index);
        let next = match thread.code() {
            SEND => {
                let gate = tables.gate(thread.target.get() as u32 & 0xffff);
                let (key, urgency) = (thread.queue.key(), self.urgency(index));
                debug_assert!(thread.queue.linked());
                if key >> 56 == u64::from(255 - urgency) {
                    return;
                }
                let helper = tables.strongest_helper(gate);
                tables.dequeue(gate, Waiter::Caller(index));
                tables.enqueue(gate, Waiter::Caller(index), urgency, key);
                let busy = gate.busy();
                if tables.strongest_helper(gate) != helper {
                    self.wake_helpers(busy);
                }
                busy
            }
            // If that put the request off, nothing comes of it.
            REPLY => thread.server.get(),
            _ => return,
        };
        if next != 0 && gates > 1 {
            self.look_later(next, gates - 1);
        }
    }

    /// Another receiver than before, or other callers: whoever waits at a gate helps the one that it waits for now.
    pub(crate) fn help_anew(&self, gate: u32) {
        let busy = self.tables.gate(gate).busy();
        if busy != 0 {
            self.reorder(busy);
            self.wake_helpers(busy);
        }
    }
}
