//! The model. All that waits has one priority but pulses, which have their own: so there is one order, pulses of the
//! stronger kind, then everything by arrival, then pulses of the weaker kind.

use std::collections::VecDeque;

use abi::Error;

/// Processes, each with so many threads.
pub const PROCESSES: usize = 3;
/// Threads of a process.
pub const THREADS: usize = 2;
/// Gates: gate `g` is process `g % PROCESSES`'s.
pub const GATES: usize = 4;
/// Pulses: pulse `p` goes to gate `p % GATES`; those from `GATES` on are stronger than any caller.
pub const PULSES: usize = 2 * GATES;
/// Gates along which a chain of waiting is followed.
const CHAIN: usize = 16;

/// A thread, counted through all processes.
pub type ThreadId = usize;
/// A gate.
pub type GateId = usize;

/// Whose thread it is.
#[must_use]
pub const fn process_of(thread: ThreadId) -> usize {
    thread / THREADS
}

/// Who may receive at it.
#[must_use]
pub const fn owner_of(gate: GateId) -> usize {
    gate % PROCESSES
}

/// Badge of a process's connection to a gate.
#[must_use]
pub const fn badge_of(process: usize, gate: GateId) -> u64 {
    (1 + process as u64) << 8 | gate as u64
}

/// Badge of a pulse.
#[must_use]
pub const fn pulse_badge(pulse: usize) -> u64 {
    0x1_0000 | pulse as u64
}

/// What a thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Call through its process's connection to a gate.
    Call {
        /// Where to.
        gate: GateId,
        /// Only if a receiver is parked.
        poll: bool,
        /// Bytes sent, and room for bytes that come back.
        bytes: (u64, u64),
        /// The first word.
        word: u64,
    },
    /// Receive.
    Receive {
        /// Where.
        gate: GateId,
        /// Only what waits already.
        poll: bool,
        /// Room for bytes.
        room: u64,
    },
    /// Answer a request that its process has not answered: number so many of them, if there are as many.
    Reply {
        /// Which one, the oldest being 0.
        request: usize,
        /// Bytes sent.
        sent: u64,
        /// The first word.
        word: u64,
        /// Receive there afterwards (`poll`, room for as many bytes as are sent).
        receive: Option<(GateId, bool)>,
    },
    /// Raise a pulse.
    Raise {
        /// Which one.
        pulse: usize,
        /// Its bits.
        bits: u64,
    },
    /// Close its process's connection to a gate.
    Close {
        /// To which gate.
        gate: GateId,
    },
}

/// How an exchange ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With an error.
    Failed(Error),
    /// It was done; so many bytes were moved.
    Done {
        /// Bytes.
        moved: u64,
    },
    /// The call was answered.
    Answer {
        /// The first word.
        word: u64,
        /// Bytes that arrived.
        moved: u64,
    },
    /// A request arrived.
    Request {
        /// Who called.
        caller: ThreadId,
        /// Through which connection.
        badge: u64,
        /// The first word.
        word: u64,
        /// Bytes that arrived.
        moved: u64,
        /// Bytes that were sent, and room for those that go back.
        bytes: (u64, u64),
    },
    /// A pulse arrived.
    Pulse {
        /// Its badge.
        badge: u64,
        /// All that was raised.
        bits: u64,
    },
    /// The last handle to a connection is gone.
    Closed {
        /// Its badge.
        badge: u64,
    },
}

/// What a thread is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// It runs, or could.
    #[default]
    Ready,
    /// It waits at a gate for a receiver.
    Send(GateId),
    /// Its message, sent to this gate, was received by this thread, and is not answered.
    Reply(GateId, ThreadId),
    /// It is parked at a gate.
    Receive(GateId),
}

/// What waits at a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiter {
    /// A thread, in Send.
    Caller(ThreadId),
    /// A pulse that was raised.
    Pulse(usize),
    /// The notice that a process has closed its connection.
    Closed(usize),
}

/// A message being passed: what its caller gave with it.
#[derive(Clone, Copy, Debug, Default)]
struct Message {
    word: u64,
    bytes: (u64, u64),
}

/// A thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct Thread {
    /// What it is doing.
    pub state: State,
    /// Its call, while it waits for an answer.
    message: Message,
    /// Room for bytes, while it receives.
    room: u64,
    /// The gate at which it received last.
    receives_at: Option<GateId>,
    /// Whose request it received last and has not answered.
    serves: Option<ThreadId>,
}

/// A gate.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    /// What waits, in the order in which it is served.
    pub waiting: VecDeque<Waiter>,
    /// Parked threads; the last is served first.
    pub parked: Vec<ThreadId>,
}

/// Everything.
#[derive(Clone, Debug)]
pub struct Specification {
    /// By [`ThreadId`].
    pub threads: Vec<Thread>,
    /// By [`GateId`].
    pub gates: Vec<Gate>,
    /// Bits of pulses that wait.
    pulses: [u64; PULSES],
    /// Which processes have which connections.
    connections: [[bool; GATES]; PROCESSES],
    /// Requests that were received and not answered, by process, oldest first.
    open: [VecDeque<ThreadId>; PROCESSES],
    /// How exchanges ended that the threads have not been asked about.
    outcomes: Vec<Option<Outcome>>,
    wrong: bool,
}

impl Specification {
    /// Nobody has done anything. `wrong`: only for tests of the comparison itself, what came last is served first.
    #[must_use]
    pub fn new(wrong: bool) -> Self {
        Self {
            threads: vec![Thread::default(); PROCESSES * THREADS],
            gates: vec![Gate::default(); GATES],
            pulses: [0; PULSES],
            connections: [[true; GATES]; PROCESSES],
            open: Default::default(),
            outcomes: vec![None; PROCESSES * THREADS],
            wrong,
        }
    }

    /// The request that a reply would answer.
    #[must_use]
    pub fn request(&self, thread: ThreadId, number: usize) -> Option<ThreadId> {
        self.open[process_of(thread)].get(number).copied()
    }

    /// How a thread's exchange ended.
    pub fn take_outcome(&mut self, thread: ThreadId) -> Option<Outcome> {
        self.outcomes[thread].take()
    }

    /// A thread does something. If it need not wait, its outcome is there afterwards.
    pub fn act(&mut self, thread: ThreadId, action: Action) {
        let outcome = match action {
            Action::Call { gate, poll, bytes, word } => self.call(thread, gate, poll, Message { word, bytes }),
            Action::Receive { gate, poll, room } => self.receive(thread, gate, poll, room),
            Action::Reply { request, sent, word, receive } => self.reply(thread, request, sent, word, receive),
            Action::Raise { pulse, bits } => Some(self.raise(pulse, bits)),
            Action::Close { gate } => Some(self.close(thread, gate)),
        };
        if outcome.is_some() {
            self.outcomes[thread] = outcome;
        }
    }

    fn call(&mut self, thread: ThreadId, gate: GateId, poll: bool, message: Message) -> Option<Outcome> {
        if !self.connections[process_of(thread)][gate] {
            return Some(Outcome::Failed(Error::BadHandle));
        }
        if let Some(receiver) = self.gates[gate].parked.pop() {
            self.threads[thread].message = message;
            self.deliver_call(thread, gate, receiver);
            return None;
        }
        if poll {
            return Some(Outcome::Failed(Error::TimedOut));
        }
        if let Some(error) = self.search_cycle(thread, gate) {
            return Some(Outcome::Failed(error));
        }
        self.threads[thread].message = message;
        self.threads[thread].state = State::Send(gate);
        self.wait(gate, Waiter::Caller(thread));
        None
    }

    /// From gate to gate, as long as each has one receiver, which waits for an answer that only the next one can give.
    fn search_cycle(&self, caller: ThreadId, mut gate: GateId) -> Option<Error> {
        for _ in 0..CHAIN {
            let mut receivers =
                (0..self.threads.len()).filter(|thread| self.threads[*thread].receives_at == Some(gate));
            let (Some(receiver), None) = (receivers.next(), receivers.next()) else { return None };
            if receiver == caller {
                return Some(Error::Deadlock);
            }
            gate = match self.threads[receiver].state {
                State::Send(next) => next,
                State::Reply(next, server) => {
                    let server = &self.threads[server];
                    if server.serves != Some(receiver) || server.receives_at != Some(next) {
                        return None;
                    }
                    next
                }
                State::Ready | State::Receive(_) => return None,
            };
        }
        Some(Error::ChainTooLong)
    }

    fn receive(&mut self, thread: ThreadId, gate: GateId, poll: bool, room: u64) -> Option<Outcome> {
        if owner_of(gate) != process_of(thread) {
            return Some(Outcome::Failed(Error::BadHandle));
        }
        self.threads[thread].receives_at = Some(gate);
        self.threads[thread].serves = None;
        self.threads[thread].room = room;
        let next = if self.wrong { self.gates[gate].waiting.pop_back() } else { self.gates[gate].waiting.pop_front() };
        match next {
            Some(Waiter::Caller(caller)) => {
                self.deliver_call(caller, gate, thread);
                None
            }
            Some(notice) => Some(self.notice(notice, gate)),
            None if poll => Some(Outcome::Failed(Error::TimedOut)),
            None => {
                self.gates[gate].parked.push(thread);
                self.threads[thread].state = State::Receive(gate);
                None
            }
        }
    }

    fn deliver_call(&mut self, caller: ThreadId, gate: GateId, receiver: ThreadId) {
        let Message { word, bytes } = self.threads[caller].message;
        self.threads[caller].state = State::Reply(gate, receiver);
        self.threads[receiver].state = State::Ready;
        self.threads[receiver].serves = Some(caller);
        self.open[process_of(receiver)].push_back(caller);
        let moved = bytes.0.min(self.threads[receiver].room);
        let badge = badge_of(process_of(caller), gate);
        self.outcomes[receiver] = Some(Outcome::Request { caller, badge, word, moved, bytes });
    }

    fn reply(
        &mut self,
        thread: ThreadId,
        request: usize,
        sent: u64,
        word: u64,
        receive: Option<(GateId, bool)>,
    ) -> Option<Outcome> {
        let Some(caller) = self.open[process_of(thread)].remove(request) else {
            return Some(Outcome::Failed(Error::Gone));
        };
        let moved = sent.min(self.threads[caller].message.bytes.1);
        self.threads[caller].state = State::Ready;
        self.outcomes[caller] = Some(Outcome::Answer { word, moved });
        for server in &mut self.threads {
            if server.serves == Some(caller) {
                server.serves = None;
            }
        }
        match receive {
            Some((gate, poll)) => self.receive(thread, gate, poll, sent),
            None => Some(Outcome::Done { moved }),
        }
    }

    /// A pulse is raised, by a thread or from outside.
    pub fn raise(&mut self, pulse: usize, bits: u64) -> Outcome {
        let gate = pulse % GATES;
        self.pulses[pulse] |= bits;
        if !self.gates[gate].waiting.contains(&Waiter::Pulse(pulse)) {
            self.tell(gate, Waiter::Pulse(pulse));
        }
        Outcome::Done { moved: 0 }
    }

    fn close(&mut self, thread: ThreadId, gate: GateId) -> Outcome {
        let process = process_of(thread);
        if !std::mem::replace(&mut self.connections[process][gate], false) {
            return Outcome::Failed(Error::BadHandle);
        }
        self.tell(gate, Waiter::Closed(process));
        Outcome::Done { moved: 0 }
    }

    /// A parked receiver is told at once, else it waits.
    fn tell(&mut self, gate: GateId, notice: Waiter) {
        if let Some(receiver) = self.gates[gate].parked.pop() {
            self.threads[receiver].state = State::Ready;
            self.outcomes[receiver] = Some(self.notice(notice, gate));
        } else {
            self.wait(gate, notice);
        }
    }

    fn notice(&mut self, notice: Waiter, gate: GateId) -> Outcome {
        match notice {
            Waiter::Pulse(pulse) => {
                Outcome::Pulse { badge: pulse_badge(pulse), bits: std::mem::take(&mut self.pulses[pulse]) }
            }
            Waiter::Closed(process) => Outcome::Closed { badge: badge_of(process, gate) },
            Waiter::Caller(_) => unreachable!("callers are delivered, not told"),
        }
    }

    /// Behind all that is as strong.
    fn wait(&mut self, gate: GateId, waiter: Waiter) {
        let waiting = &mut self.gates[gate].waiting;
        let place = waiting.iter().position(|other| strength(*other) < strength(waiter)).unwrap_or(waiting.len());
        waiting.insert(place, waiter);
    }
}

const fn strength(waiter: Waiter) -> u8 {
    match waiter {
        Waiter::Pulse(pulse) if pulse >= GATES => 2,
        Waiter::Caller(_) | Waiter::Closed(_) => 1,
        Waiter::Pulse(_) => 0,
    }
}
