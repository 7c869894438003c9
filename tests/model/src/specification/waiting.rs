//! What waits at a gate, in which order, and who is told of pulses and notices.

use super::{ConnectionId, GateId, Outcome, Pulse, PulseId, Specification, State, Thread, ThreadId, Waiter};
use crate::specification::object::Waiting;

impl Specification {
    /// How strong something is that waits: callers as strong as whoever waits for them, in the end.
    fn strength(&self, waiting: &Waiting) -> u8 {
        match waiting.waiter {
            Waiter::Caller(thread) => self.urgency(thread),
            _ => waiting.priority,
        }
    }

    /// What waits at a gate that is of a sort: the strongest first, of equals the earliest.
    #[must_use]
    pub fn in_order(&self, gate: GateId, of: impl Fn(Waiter) -> bool) -> Vec<Waiter> {
        let waiting = self.gates[gate].waiting.iter().filter(|waiting| of(waiting.waiter));
        let mut order: Vec<_> =
            waiting.map(|waiting| (255 - self.strength(waiting), waiting.arrival, waiting.waiter)).collect();
        order.sort_unstable_by_key(|(weakness, arrival, _)| (*weakness, *arrival));
        order.into_iter().map(|(.., waiter)| waiter).collect()
    }

    /// The caller that is served next.
    pub(super) fn strongest_caller(&self, gate: GateId) -> Option<ThreadId> {
        let callers = self.gates[gate].waiting.iter().filter_map(|waiting| match waiting.waiter {
            Waiter::Caller(thread) => Some((255 - self.strength(waiting), waiting.arrival, thread)),
            _ => None,
        });
        callers.min().map(|(.., thread)| thread)
    }

    /// What is served next.
    pub(super) fn next_waiter(&self, gate: GateId) -> Option<Waiter> {
        let waiting = self.gates[gate].waiting.iter();
        if self.wrong {
            return waiting.max_by_key(|waiting| waiting.arrival).map(|waiting| waiting.waiter);
        }
        let key = |waiting: &&Waiting| (255 - self.strength(waiting), waiting.arrival);
        waiting.min_by_key(key).map(|waiting| waiting.waiter)
    }

    /// Something waits, behind what is as strong.
    pub(super) fn wait(&mut self, gate: GateId, waiter: Waiter, priority: u8) {
        let arrival = match waiter {
            Waiter::Caller(thread) => self.threads[thread].sent,
            _ => self.next_event(),
        };
        self.gates[gate].waiting.push(Waiting { waiter, priority, arrival });
    }

    /// Something waits no more, if it did.
    pub(super) fn stop_waiting(&mut self, gate: GateId, waiter: Waiter) {
        self.gates[gate].waiting.retain(|waiting| waiting.waiter != waiter);
    }

    /// A parked receiver is parked no more: it is the last of the busy ones.
    pub(super) fn unpark(&mut self, gate: GateId, thread: ThreadId) {
        self.gates[gate].parked.retain(|parked| *parked != thread);
        self.gates[gate].busy.push(thread);
        self.threads[thread].timer = None;
        self.threads[thread].state = State::Ready;
    }

    /// A thread is no longer a receiver of its gate.
    pub(super) fn dissociate(&mut self, thread: ThreadId) {
        if let Some(gate) = self.threads[thread].receives_at.take() {
            self.gates[gate].parked.retain(|parked| *parked != thread);
            self.gates[gate].busy.retain(|busy| *busy != thread);
        }
    }

    /// A parked receiver is told at once, else it waits. False: there is no such gate any more.
    pub(super) fn tell(&mut self, gate: GateId, waiter: Waiter, priority: u8) -> bool {
        if !self.gates[gate].alive {
            return false;
        }
        if let Some(receiver) = self.gates[gate].parked.last().copied() {
            self.unpark(gate, receiver);
            self.deliver_notice(receiver, waiter);
            self.wake(receiver);
        } else {
            self.wait(gate, waiter, priority);
        }
        true
    }

    /// A pulse is raised; nothing happens if its gate is no more.
    pub fn raise(&mut self, pulse: PulseId, value: u64) {
        let Pulse { gate, counts, priority, .. } = self.pulses[pulse];
        if !self.gates[gate].alive {
            self.unbind_line(pulse);
            return;
        }
        let old = self.pulses[pulse].value;
        self.pulses[pulse].value = if counts { old.saturating_add(value) } else { old | value };
        if !std::mem::replace(&mut self.pulses[pulse].pending, true) {
            self.tell(gate, Waiter::Pulse(pulse), priority);
        }
    }

    /// The last handle to a connection is gone: its server is told, then it is forgotten.
    pub(super) fn closed(&mut self, connection: ConnectionId) {
        if !self.tell(self.connections[connection].gate, Waiter::Closed(connection), self.running) {
            self.forget_connection(connection);
        }
    }

    /// A pulse or notice arrives.
    pub(super) fn deliver_notice(&mut self, receiver: ThreadId, waiter: Waiter) {
        let (takes, outcome) = match waiter {
            Waiter::Pulse(id) => {
                self.next_period(id);
                let pulse = &mut self.pulses[id];
                pulse.pending = false;
                let (badge, value, priority) = (pulse.badge, std::mem::take(&mut pulse.value), pulse.priority);
                let holds = self.threads[receiver].message.holds;
                let takes = pulse.tells_death || pulse.binding.is_some() && !holds;
                (takes, Outcome::Pulse { badge, value, priority })
            }
            Waiter::Closed(connection) => (true, Outcome::Closed { badge: self.connections[connection].badge }),
            Waiter::Unblock(caller) => {
                let Thread { message, request, .. } = &self.threads[caller];
                (false, Outcome::Unblock { badge: message.badge, request: *request })
            }
            Waiter::Caller(_) => unreachable!("callers are received, not told"),
        };
        if takes {
            self.threads[receiver].took = Some(waiter);
        }
        self.threads[receiver].outcome = Some(outcome);
    }

    /// A thread receives again: what it took is dealt with.
    pub(super) fn settle_taken(&mut self, thread: ThreadId) {
        match self.threads[thread].took.take() {
            Some(Waiter::Closed(connection)) => self.forget_connection(connection),
            // If it came again meanwhile, that is for whoever takes it now.
            Some(Waiter::Pulse(pulse)) if self.pulses[pulse].alive && !self.pulses[pulse].pending => self.rearm(pulse),
            _ => {}
        }
    }

    /// A thread dies before it dealt with what it took: it is told again.
    pub(super) fn tell_taken_again(&mut self, thread: ThreadId) {
        match self.threads[thread].took.take() {
            Some(Waiter::Pulse(pulse)) if self.pulses[pulse].alive => self.raise_again(pulse),
            Some(Waiter::Closed(connection)) if self.connections[connection].alive => self.closed(connection),
            _ => {}
        }
    }
}
