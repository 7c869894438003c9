//! Death: what an object's end means for all others. An object is dead at once; that its remains go in pieces is not said
//! here: the supervisor does it while no time passes.

use abi::Error;

use super::{ConnectionId, Counts, GateId, Object, ProcessId, PulseId, Specification, State, Thread, ThreadId, Waiter};
use crate::specification::object::Entry;
use crate::specification::sharing::TABLE_PAGE;

impl Object {
    /// One of its kind.
    const fn counts(self) -> Counts {
        let none = Counts::all(0);
        match self {
            Self::Reserved => none,
            Self::Process(_) => Counts { processes: 1, ..none },
            Self::Thread(_) => Counts { threads: 1, ..none },
            Self::Baton(_) => Counts { batons: 1, ..none },
            Self::Gate(_) => Counts { gates: 1, ..none },
            Self::Connection(_) => Counts { connections: 1, ..none },
            Self::Pulse(_) => Counts { pulses: 1, ..none },
            Self::Memory(_) => Counts { memories: 1, ..none },
        }
    }
}

impl Specification {
    /// Who pays for an object.
    fn owner(&self, object: Object) -> Option<ProcessId> {
        match object {
            Object::Reserved => None,
            Object::Process(id) => self.processes[id].parent,
            Object::Thread(id) => Some(self.threads[id].process),
            Object::Baton(id) => self.batons[id].owner,
            Object::Gate(id) => self.gates[id].owner,
            Object::Connection(id) => self.connections[id].owner,
            Object::Pulse(id) => self.pulses[id].owner,
            Object::Memory(id) => self.memories[id].owner,
        }
    }

    /// A process pays for something new. (For a process, its share was taken before.)
    pub(super) fn charge(&mut self, owner: ProcessId, object: Object) -> Result<(), Error> {
        let process = &mut self.processes[owner];
        let used = process.used.plus(object.counts());
        if !used.fits(process.limit) {
            return Err(Error::QuotaExceeded);
        }
        process.used = used;
        process.possessions.push(object);
        Ok(())
    }

    /// Whether a process can pay for all this.
    #[must_use]
    pub fn has_left(&self, process: ProcessId, counts: Counts) -> bool {
        let process = &self.processes[process];
        process.used.plus(counts).fits(process.limit)
    }

    /// An object is no more, and nobody pays for it.
    pub(super) fn forget(&mut self, object: Object) {
        if let Some(owner) = self.owner(object) {
            let process = &mut self.processes[owner];
            process.used = process.used.minus(object.counts());
            process.possessions.retain(|possession| *possession != object);
        }
        match object {
            Object::Reserved => {}
            Object::Process(id) => self.processes[id].alive = false,
            Object::Thread(id) => self.threads[id].alive = false,
            Object::Baton(id) => self.batons[id].alive = false,
            Object::Gate(id) => self.gates[id].alive = false,
            Object::Connection(id) => self.connections[id].alive = false,
            Object::Pulse(id) => self.pulses[id].alive = false,
            Object::Memory(id) => self.memories[id].alive = false,
        }
    }

    /// The server of a connection without handles was told, or is no more.
    pub(super) fn forget_connection(&mut self, connection: ConnectionId) {
        if self.connections[connection].alive && self.connections[connection].handles == 0 {
            self.forget(Object::Connection(connection));
        }
    }

    /// A connection is destroyed: nobody is told.
    pub(super) fn destroy_connection(&mut self, connection: ConnectionId) {
        self.stop_waiting(self.connections[connection].gate, Waiter::Closed(connection));
        self.forget(Object::Connection(connection));
    }

    /// A pulse is destroyed.
    pub(super) fn destroy_pulse(&mut self, pulse: PulseId) {
        self.stop_waiting(self.pulses[pulse].gate, Waiter::Pulse(pulse));
        self.unbind_death(pulse);
        self.unbind_line(pulse);
        self.pulses[pulse].alarm = None;
        self.forget(Object::Pulse(pulse));
    }

    /// A pulse tells no death any more.
    pub(super) fn unbind_death(&mut self, pulse: PulseId) {
        self.pulses[pulse].tells_death = false;
        for process in &mut self.processes {
            process.death_pulses.retain(|other| *other != pulse);
        }
        for thread in &mut self.threads {
            thread.death_pulses.retain(|other| *other != pulse);
        }
    }

    /// A thread stops for good: whoever waits for it is told, what it held goes back.
    pub(super) fn end_thread(&mut self, thread: ThreadId) {
        if self.threads[thread].state == State::Dead {
            return;
        }
        self.stop_wait(thread);
        self.tell_taken_again(thread);
        if let Some(caller) = self.requester(self.threads[thread].process, self.threads[thread].serves) {
            self.abandon(caller);
        }
        let gate = self.threads[thread].receives_at;
        self.dissociate(thread);
        let pulses = std::mem::take(&mut self.threads[thread].death_pulses);
        let Thread { alive, process, name, pager, upcall, cookie, .. } = self.threads[thread];
        self.threads[thread] = Thread { alive, process, name, pager, upcall, cookie, ..Thread::default() };
        for pulse in pulses {
            self.raise(pulse, 1);
        }
        if let Some(gate) = gate {
            self.serve_anew(gate);
        }
    }

    /// A thread is destroyed.
    pub(super) fn destroy_thread(&mut self, thread: ThreadId) {
        self.end_thread(thread);
        self.set_pager(thread, None);
        let pulses = std::mem::take(&mut self.threads[thread].death_pulses);
        self.forget(Object::Thread(thread));
        // Those that were bound after it had ended.
        for pulse in pulses {
            self.raise(pulse, 1);
        }
    }

    /// Whoever should answer a caller is no more: if it wanted to leave, it does; it is queued again at its place, if it wished so,
    /// else it fails.
    fn abandon(&mut self, caller: ThreadId) {
        let State::Reply(gate, _) = self.threads[caller].state else { return };
        if let Some(reason) = self.threads[caller].leaving {
            self.leave(caller, reason);
            return;
        }
        if !self.threads[caller].message.wishes.retry || !self.gates[gate].alive {
            self.release(caller, Error::Gone);
            return;
        }
        self.end_request(caller);
        self.threads[caller].request = self.next_event();
        self.threads[caller].retried = true;
        self.threads[caller].state = State::Send(gate);
        self.start_timer(caller, self.threads[caller].message.covers.0);
        self.wait(gate, Waiter::Caller(caller), 0);
        self.serve_anew(gate);
    }

    /// What waits at a gate came back to it, or lost the receiver that was to look at it: a parked one will.
    fn serve_anew(&mut self, gate: GateId) {
        if let Some(receiver) = self.gates[gate].parked.last().copied()
            && !self.gates[gate].waiting.is_empty()
        {
            self.unpark(gate, receiver);
            self.threads[receiver].looks = true;
            self.wake(receiver);
        }
    }

    /// A gate is destroyed: all that wait there are told.
    pub fn destroy_gate(&mut self, gate: GateId) {
        self.forget(Object::Gate(gate));
        self.gates[gate].reserve = None;
        let callers = self.in_order(gate, |waiter| matches!(waiter, Waiter::Caller(_)));
        let notices = self.in_order(gate, |waiter| !matches!(waiter, Waiter::Caller(_)));
        for waiter in callers.into_iter().chain(notices) {
            self.stop_waiting(gate, waiter);
            match waiter {
                Waiter::Caller(caller) => self.leave(caller, Error::Gone),
                Waiter::Pulse(pulse) => {
                    self.pulses[pulse].pending = false;
                    self.unbind_line(pulse);
                }
                Waiter::Closed(connection) => self.forget_connection(connection),
                Waiter::Unblock(_) => {}
            }
        }
        while let Some(receiver) = self.gates[gate].parked.last().copied() {
            self.leave(receiver, Error::Gone);
            self.dissociate(receiver);
        }
        for receiver in self.gates[gate].busy.clone() {
            self.dissociate(receiver);
        }
    }

    /// A process is destroyed: what it has, newest first; then whoever waits for its answer is told; then its handles are closed.
    pub fn destroy_process(&mut self, process: ProcessId) {
        self.processes[process].alive = false;
        for pulse in std::mem::take(&mut self.processes[process].death_pulses) {
            self.raise(pulse, 1);
        }
        while let Some(possession) = self.processes[process].possessions.last().copied() {
            match possession {
                Object::Reserved => unreachable!("it costs nothing"),
                Object::Process(child) => self.destroy_process(child),
                Object::Thread(thread) => {
                    self.destroy_thread(thread);
                    // Whoever is queued again and late already leaves before more goes.
                    self.pass_time(self.now);
                }
                Object::Baton(baton) => self.destroy_baton(baton),
                Object::Gate(gate) => self.destroy_gate(gate),
                Object::Connection(connection) => self.inherit(connection),
                Object::Pulse(pulse) => self.destroy_pulse(pulse),
                Object::Memory(memory) => self.destroy_memory(memory),
            }
        }
        for caller in 0..self.threads.len() {
            if matches!(self.threads[caller].state, State::Reply(_, server) if self.threads[server].process == process)
            {
                self.abandon(caller);
            }
        }
        // A page of its table at a time, the last first.
        let table = self.processes[process].table.clone();
        for Entry { handle, .. } in table.chunks(TABLE_PAGE).rev().flatten().flatten() {
            self.close(process, *handle);
        }
        if let Some(parent) = self.processes[process].parent {
            self.processes[parent].used = self.processes[parent].used.minus(self.processes[process].limit);
        }
        self.forget(Object::Process(process));
        self.offer_reserves();
    }

    /// A dying process's connection, which others may use, goes to its parent, charge and all.
    fn inherit(&mut self, connection: ConnectionId) {
        let object = Object::Connection(connection);
        let Some(process) = self.connections[connection].owner else { return };
        let heir = self.processes[process].parent;
        let child = &mut self.processes[process];
        child.possessions.retain(|possession| *possession != object);
        child.used = child.used.minus(object.counts());
        child.limit = child.limit.minus(object.counts());
        self.connections[connection].owner = heir;
        if let Some(heir) = heir {
            self.processes[heir].possessions.push(object);
        }
    }
}
