//! Messages: calling, receiving, answering.

use abi::object::Kind;
use abi::{Error, Handle, Rights};

use super::{Answer, GateId, Object, Outcome, ProcessId, Specification, State, ThreadId, Waiter};

/// Gates along which a chain of waiting is followed.
const CHAIN: usize = 16;
/// Messages that cannot be delivered, before a receive pauses.
const FAILURES: usize = 4;

impl Specification {
    pub(super) fn call(&mut self, thread: ThreadId, handle: Handle) -> Answer {
        let process = self.threads[thread].process;
        let entry = self.entry(process, handle).ok_or(Error::BadHandle)?;
        let Object::Connection(connection) = entry.object else {
            // Everything else is called by method, and has none with this number.
            return Err(if self.is_alive(entry.object) { Error::Unsupported } else { Error::BadHandle });
        };
        if !entry.rights.contains(Rights::SEND) {
            return Err(if self.connections[connection].alive { Error::Unsupported } else { Error::BadHandle });
        }
        if !self.connections[connection].alive {
            return Err(Error::Gone);
        }
        self.take_interrupt(thread)?;
        let (gate, badge) = (self.connections[connection].gate, self.connections[connection].badge);
        self.threads[thread].message.badge = badge;
        self.send(thread, gate)
    }

    pub(super) fn send(&mut self, thread: ThreadId, gate: GateId) -> Answer {
        if !self.gates[gate].alive {
            return Err(Error::Gone);
        }
        let receiver = self.gates[gate].parked.last().copied();
        let bounded = self.threads[thread].message.covers.0;
        if receiver.is_none() {
            if bounded && self.threads[thread].message.deadline <= self.now {
                return Err(Error::TimedOut);
            }
            self.search_cycle(thread, gate)?;
        }
        self.check_gifts(thread, receiver)?;
        self.threads[thread].request = self.next_event();
        self.threads[thread].sent = self.threads[thread].request;
        self.threads[thread].retried = false;
        self.threads[thread].state = State::Send(gate);
        if let Some(receiver) = receiver {
            self.unpark(gate, receiver);
            self.accept(receiver, thread, gate);
        } else {
            self.start_timer(thread, bounded);
            self.wait(gate, Waiter::Caller(thread), 0);
        }
        Ok(None)
    }

    /// From gate to gate, as long as each has one receiver, which waits for an answer that only the next one can give.
    fn search_cycle(&self, caller: ThreadId, mut gate: GateId) -> Result<(), Error> {
        for _ in 0..CHAIN {
            let mut receivers = self.gates[gate].busy.iter().chain(&self.gates[gate].parked);
            let (Some(&receiver), None) = (receivers.next(), receivers.next()) else { return Ok(()) };
            if receiver == caller {
                return Err(Error::Deadlock);
            }
            gate = match self.threads[receiver].state {
                State::Send(next) => next,
                State::Reply(next, server) => {
                    let server = &self.threads[server];
                    if server.serves != self.threads[receiver].request || server.receives_at != Some(next) {
                        return Ok(());
                    }
                    next
                }
                State::Dead | State::Ready | State::Receive(_) => return Ok(()),
            };
        }
        Err(Error::ChainTooLong)
    }

    pub(super) fn receive(&mut self, thread: ThreadId, handle: Handle) -> Answer {
        let process = self.threads[thread].process;
        let gate = match self.entry(process, handle) {
            Some(entry) if entry.object.kind() == Kind::Gate && entry.rights.contains(Rights::RECEIVE) => {
                self.gate_of(process, handle, Rights::RECEIVE).map_err(|_| Error::Gone)?
            }
            _ => self.gate_of(process, handle, Rights::RECEIVE)?,
        };
        self.settle_taken(thread);
        if self.threads[thread].receives_at != Some(gate) {
            self.dissociate(thread);
            self.threads[thread].receives_at = Some(gate);
            self.gates[gate].busy.push(thread);
        }
        // What it received before and did not answer is put off.
        self.threads[thread].serves = 0;
        self.mark_stuck();
        self.threads[thread].borrowed = None;
        self.give_reserves();
        if self.gates[gate].waiting.is_empty() {
            self.take_interrupt(thread)?;
        }
        self.receive_next(thread)
    }

    /// Take what waits at the gate, or park.
    pub(super) fn receive_next(&mut self, thread: ThreadId) -> Answer {
        let Some(gate) = self.threads[thread].receives_at else { return Err(Error::Gone) };
        self.threads[thread].looks = false;
        for _ in 0..FAILURES {
            let Some(waiter) = self.next_waiter(gate) else { return self.park(thread, gate) };
            self.stop_waiting(gate, waiter);
            self.gates[gate].busy.retain(|busy| *busy != thread);
            self.gates[gate].busy.push(thread);
            let Waiter::Caller(caller) = waiter else {
                self.deliver_notice(thread, waiter);
                self.wake(thread);
                return Ok(None);
            };
            match self.check_gifts_again(caller, thread) {
                Ok(()) => {
                    self.accept(thread, caller, gate);
                    return Ok(None);
                }
                Err(error) => self.release(caller, error),
            }
        }
        self.threads[thread].looks = true;
        Ok(None)
    }

    fn park(&mut self, thread: ThreadId, gate: GateId) -> Answer {
        let bounded = self.threads[thread].message.covers.2;
        if bounded && self.threads[thread].message.deadline <= self.now {
            return Err(Error::TimedOut);
        }
        self.start_timer(thread, bounded);
        self.threads[thread].state = State::Receive(gate);
        self.threads[thread].borrowed = None;
        self.gates[gate].busy.retain(|busy| *busy != thread);
        self.gates[gate].parked.push(thread);
        Ok(None)
    }

    /// A receiver gets a caller's message.
    fn accept(&mut self, receiver: ThreadId, caller: ThreadId, gate: GateId) {
        self.threads[caller].lends = self.current(caller).is_some();
        self.threads[caller].state = State::Reply(gate, receiver);
        self.start_timer(caller, self.threads[caller].message.covers.1);
        let request = self.threads[caller].request;
        self.threads[receiver].serves = request;
        self.threads[receiver].borrowed = None;
        self.wake(receiver);
        let process = self.threads[receiver].process;
        self.processes[process].open.push(request);
        let handles = self.pass_gifts(caller, receiver);
        let moved = self.threads[caller].message.bytes.0.min(self.threads[receiver].message.bytes.1);
        self.copy((caller, 0), (receiver, 0), moved);
        let message = &self.threads[caller].message;
        let outcome = Outcome::Request {
            request,
            identity: self.processes[self.threads[caller].process].identity,
            badge: message.badge,
            word: message.word,
            moved,
            bytes: message.bytes,
            handles,
            priority: self.current(receiver).map_or(0, |baton| self.batons[baton].priority),
            retried: self.threads[caller].retried,
            fault: self.threads[caller].fault,
        };
        self.threads[receiver].outcome = Some(outcome);
    }

    /// A request that a process received and has not answered; 0: there is none with this number.
    #[must_use]
    pub fn open_request(&self, process: ProcessId, number: u8) -> u64 {
        self.processes[process].open.get(usize::from(number)).copied().unwrap_or(0)
    }

    /// The caller of a request, if it still waits, and for this process.
    #[must_use]
    pub(super) fn requester(&self, process: ProcessId, request: u64) -> Option<ThreadId> {
        self.threads.iter().position(|thread| {
            let waits = matches!(thread.state, State::Reply(_, server) if self.threads[server].process == process);
            waits && request != 0 && thread.request == request
        })
    }

    pub(super) fn reply(&mut self, thread: ThreadId, request: u64, refuses: bool, receive: Option<Handle>) -> Answer {
        let process = self.threads[thread].process;
        let Some(caller) = self.requester(process, request) else {
            self.processes[process].open.retain(|open| *open != request);
            return Err(Error::Gone);
        };
        self.check_gifts(thread, Some(caller))?;
        self.processes[process].open.retain(|open| *open != request);
        let handles = self.pass_gifts(thread, caller);
        let (reply, call) = (&self.threads[thread].message, &self.threads[caller].message);
        let moved = reply.bytes.0.min(call.bytes.1);
        let outcome = Outcome::Answer { word: reply.word, moved, handles };
        self.copy((thread, 0), (caller, 0), moved);
        self.end_request(caller);
        self.wake(caller);
        match self.threads[caller].fault {
            None => self.threads[caller].outcome = Some(outcome),
            Some(_) if refuses => self.refuse(caller),
            Some(_) => self.resume(caller),
        }
        match receive {
            Some(gate) => self.receive(thread, gate),
            None => Ok(Some(Outcome::Done { moved })),
        }
    }

    /// A caller in REPLY waits no longer, for whatever reason: its baton comes back to it.
    pub(super) fn end_request(&mut self, caller: ThreadId) {
        let State::Reply(gate, server) = self.threads[caller].state else { return };
        let workers = self.workers(caller);
        self.stop_waiting(gate, Waiter::Unblock(caller));
        let request = std::mem::take(&mut self.threads[caller].request);
        self.threads[caller].leaving = None;
        self.threads[caller].timer = None;
        self.threads[caller].state = State::Ready;
        if self.threads[server].serves == request {
            self.threads[server].serves = 0;
        }
        self.go_on_without(&workers);
    }

    /// A caller goes on with an error.
    pub(super) fn release(&mut self, caller: ThreadId, error: Error) {
        self.end_request(caller);
        self.threads[caller].timer = None;
        self.threads[caller].request = 0;
        self.wake(caller);
        if self.threads[caller].fault.is_some() {
            self.refuse(caller);
        } else {
            self.threads[caller].outcome = Some(Outcome::Failed(error));
        }
    }
}
