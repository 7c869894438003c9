//! What objects tell about themselves, and names for tools.

use abi::object::{Kind, MemoryType};
use abi::thread::Policy;
use abi::{Error, Handle, PAGE_SIZE, Rights};

use super::{
    Answer, ConnectionId, GateId, Object, Outcome, ProcessId, SLICE_NS, Specification, State, ThreadId, Waiter,
};
use crate::action::{Choice, Question};

impl Specification {
    /// The handle of which something is asked.
    #[must_use]
    pub fn asked(&self, process: ProcessId, question: Question, of: Choice) -> Handle {
        let kind = match question {
            Question::Handle => Kind::Connection,
            Question::Identity => Kind::Process,
            Question::State | Question::Name => Kind::Thread,
            Question::Baton => Kind::Baton,
            Question::Gate | Question::Connection(_) | Question::Request(_) => Kind::Gate,
            Question::Memory => Kind::Memory,
        };
        self.choose(process, kind, of)
    }

    /// Something is asked of an object. What is not said here is 0.
    pub(super) fn ask(&self, process: ProcessId, question: Question, of: Choice) -> Answer {
        let handle = self.asked(process, question, of);
        let told = match question {
            Question::Handle => self.tell_handle(process, handle)?,
            Question::Identity => match self.object(process, handle, Kind::Process, Rights::NONE)? {
                Object::Process(id) => [self.processes[id].identity, 0, 0, 0],
                _ => return Err(Error::WrongKind),
            },
            Question::State => {
                let thread = self.thread_of(process, handle)?;
                self.tell_state(thread)
            }
            Question::Name => {
                let name = self.threads[self.thread_of(process, handle)?].name;
                [name[0], name[1], 0, 0]
            }
            Question::Baton => match self.object(process, handle, Kind::Baton, Rights::NONE)? {
                Object::Baton(id) => [0, u64::from(self.batons[id].priority), Policy::RoundRobin as u64, SLICE_NS],
                _ => return Err(Error::WrongKind),
            },
            Question::Gate => {
                let gate = self.gate_of(process, handle, Rights::MANAGE)?;
                let waiting = |of: fn(Waiter) -> bool| self.in_order(gate, of).len() as u64;
                let callers = waiting(|waiter| matches!(waiter, Waiter::Caller(_)));
                let others = waiting(|waiter| !matches!(waiter, Waiter::Caller(_)));
                [callers, u64::from(!self.gates[gate].parked.is_empty()), others, 0]
            }
            Question::Connection(badge) => {
                let gate = self.gate_of(process, handle, Rights::MANAGE)?;
                let next = self.next_connection(gate, badge).ok_or(Error::NotFound)?;
                [self.connections[next].badge, u64::from(self.connections[next].handles), 0, 0]
            }
            Question::Request(number) => {
                let gate = self.gate_of(process, handle, Rights::RECEIVE)?;
                let request = self.open_request(process, number);
                let caller = self.requester(process, request).ok_or(Error::Gone)?;
                if !matches!(self.threads[caller].state, State::Reply(from, _) if from == gate) {
                    return Err(Error::NotFound);
                }
                [self.processes[self.threads[caller].process].identity, u64::from(self.strength_of(caller)), 0, 0]
            }
            Question::Memory => match self.object(process, handle, Kind::Memory, Rights::NONE)? {
                Object::Memory(id) => [self.memories[id].pages as u64 * PAGE_SIZE, MemoryType::Ram as u64, 0, 0],
                _ => return Err(Error::WrongKind),
            },
        };
        Ok(Some(Outcome::Told(told)))
    }

    fn tell_handle(&self, process: ProcessId, handle: Handle) -> Result<[u64; 4], Error> {
        let entry = self.entry(process, handle).filter(|entry| self.is_alive(entry.object)).ok_or(Error::BadHandle)?;
        let badge = match entry.object {
            Object::Connection(id) => self.connections[id].badge,
            _ => 0,
        };
        Ok([u64::from(entry.rights.0), entry.object.kind() as u64, badge, 0])
    }

    /// Its state, with the flag and the priority of the baton that it runs on, or waits with.
    fn tell_state(&self, thread: ThreadId) -> [u64; 4] {
        use abi::thread::State as Told;
        let state = match self.threads[thread].state {
            State::Dead => Told::Dead,
            State::Ready => Told::Ready,
            _ if self.is_faulting(thread) => Told::Fault,
            State::Send(_) => Told::Send,
            State::Reply(..) => Told::Reply,
            State::Receive(_) => Told::Receive,
        };
        [state as u64 | u64::from(self.threads[thread].stopped) << 8, 0, 0, 0]
    }

    /// The priority of the baton that a thread runs on, or waits with.
    fn strength_of(&self, thread: ThreadId) -> u8 {
        self.current(thread).map_or(0, |baton| self.batons[baton].priority)
    }

    /// Of a gate's connections the one with the next badge.
    fn next_connection(&self, gate: GateId, after: Option<u64>) -> Option<ConnectionId> {
        (0..self.connections.len()).find(|id| {
            let connection = &self.connections[*id];
            connection.alive && connection.gate == gate && after.is_none_or(|after| connection.badge > after)
        })
    }
}
