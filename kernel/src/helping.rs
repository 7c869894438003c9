//! Helping: a baton whose holder waits runs whoever the holder waits for: the busy receiver of the gate it waits at, or the
//! server that works on its request, through at most [`CHAIN`] gates. Only the strongest waiter of a gate helps; and who is
//! waited for by a strong one waits as a strong one.

use crate::gate::Waiter;
use crate::kernel::Kernel;
use crate::machine::Machine;
use crate::schedule::SCHEDULE;
use crate::thread::{READY, REPLY, SEND, STOPPED};

/// Gates through which a waiting thread is helped or searched for a cycle.
pub(crate) const CHAIN: usize = 16;

impl<M: Machine> Kernel<M> {
    /// Whether anybody may wait for a thread, for an answer or at its gate.
    fn waited_for(&self, index: u32) -> bool {
        let thread = self.tables.thread(index);
        thread.serving.get() != 0 || self.tables.gate(thread.gate.get()).callers.get() != 0
    }

    /// Make the batons ready that rest because this thread could not run.
    pub(crate) fn wake_helpers(&self, index: u32) {
        if !self.waited_for(index) {
            return;
        }
        // Whoever ran because this thread could not is perhaps not the one to run.
        self.cpu.attend(SCHEDULE);
        // The threads to look at: those that others wait for.
        let (mut list, mut at, mut end) = ([0; CHAIN], 0, 1);
        list[0] = index;
        // Bound: CHAIN threads.
        while at < end {
            let here = list[at & (CHAIN - 1)];
            at += 1;
            let mut look_at = |thread: u32| {
                if end < CHAIN && self.waited_for(thread) {
                    list[end & (CHAIN - 1)] = thread;
                    end += 1;
                }
            };
            let thread = self.tables.thread(here);
            let served = (thread.serving.get() & 0xffff) as u32;
            let caller = self.tables.thread(served);
            if served != 0 && caller.request.get() == thread.serving.get() && caller.code() == REPLY {
                look_at(served);
            }
            let gate = self.tables.gate(thread.gate.get());
            if thread.gate.get() == 0 || gate.busy() != here {
                continue;
            }
            let waiter = self.tables.strongest_helper(gate);
            if let Some(Waiter::Pulse(pulse)) = Waiter::from_id(waiter) {
                self.make_ready(self.tables.pulse(pulse).baton.get());
            } else if waiter != 0 {
                let current = self.tables.thread(waiter).current.get().baton();
                if current != 0 && self.tables.baton(current).holder.get() == waiter {
                    self.make_ready(current);
                }
                look_at(waiter);
            }
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
    fn urgency(&self, index: u32) -> u8 {
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
    pub(crate) fn reorder(&self, index: u32) {
        let tables = self.tables;
        let mut at = index;
        // Bound: CHAIN gates.
        for _ in 0..CHAIN {
            let thread = tables.thread(at);
            at = match thread.code() {
                SEND => {
                    let gate = tables.gate(thread.target.get() as u32 & 0xffff);
                    let (key, urgency) = (thread.queue.key(), self.urgency(at));
                    if !thread.queue.linked() || key >> 56 == u64::from(255 - urgency) {
                        return;
                    }
                    let helper = tables.strongest_helper(gate);
                    tables.dequeue(gate, Waiter::Caller(at));
                    tables.enqueue(gate, Waiter::Caller(at), urgency, key);
                    let busy = gate.busy();
                    if busy != 0 && tables.strongest_helper(gate) != helper {
                        self.wake_helpers(busy);
                    }
                    busy
                }
                REPLY if tables.thread(thread.server.get()).serving.get() == thread.request.get() => {
                    thread.server.get()
                }
                _ => 0,
            };
            if at == 0 {
                return;
            }
        }
    }

    /// Another receiver than before, or other callers: whoever waits at a gate helps the one that it waits for now.
    pub(crate) fn help_anew(&self, gate: u32) {
        let busy = self.tables.gate(gate).busy();
        if gate != 0 && busy != 0 {
            self.reorder(busy);
            self.wake_helpers(busy);
        }
    }
}
