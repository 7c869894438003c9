//! What there is: processes with their handles and quotas, threads, batons, gates, connections, pulses, Memory.

use std::collections::BTreeSet;

use abi::{Error, Handle, Rights};

use crate::action::{Fault, Outcome};
use crate::specification::interrupt::Binding;
use crate::specification::memory::WINDOW;

/// A process.
pub type ProcessId = usize;
/// A thread.
pub type ThreadId = usize;
/// A baton.
pub type BatonId = usize;
/// A gate.
pub type GateId = usize;
/// A connection.
pub type ConnectionId = usize;
/// A pulse.
pub type PulseId = usize;
/// A Memory.
pub type MemoryId = usize;

/// What a handle can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    /// A slot for a handle that a message may bring.
    Reserved,
    /// A process.
    Process(ProcessId),
    /// A thread.
    Thread(ThreadId),
    /// A baton.
    Baton(BatonId),
    /// A gate.
    Gate(GateId),
    /// A connection.
    Connection(ConnectionId),
    /// A pulse.
    Pulse(PulseId),
    /// A Memory.
    Memory(MemoryId),
}

/// An entry of a handle table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name, which the kernel chooses.
    pub handle: Handle,
    /// What it names.
    pub object: Object,
    /// What it permits.
    pub rights: Rights,
    /// It is copied with the table.
    pub inherit: bool,
}

/// How many objects of each kind: what a process may have, or has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Processes.
    pub processes: u32,
    /// Threads.
    pub threads: u32,
    /// Batons.
    pub batons: u32,
    /// Gates.
    pub gates: u32,
    /// Connections.
    pub connections: u32,
    /// Pulses.
    pub pulses: u32,
    /// Memory.
    pub memories: u32,
}

impl Counts {
    /// The same number of each.
    #[must_use]
    pub const fn all(number: u32) -> Self {
        Self {
            processes: number,
            threads: number,
            batons: number,
            gates: number,
            connections: number,
            pulses: number,
            memories: number,
        }
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            processes: self.processes + other.processes,
            threads: self.threads + other.threads,
            batons: self.batons + other.batons,
            gates: self.gates + other.gates,
            connections: self.connections + other.connections,
            pulses: self.pulses + other.pulses,
            memories: self.memories + other.memories,
        }
    }

    /// What is left without `other`.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self {
            processes: self.processes - other.processes,
            threads: self.threads - other.threads,
            batons: self.batons - other.batons,
            gates: self.gates - other.gates,
            connections: self.connections - other.connections,
            pulses: self.pulses - other.pulses,
            memories: self.memories - other.memories,
        }
    }

    /// Whether none is more than in `limit`.
    #[must_use]
    pub const fn fits(self, limit: Self) -> bool {
        self.processes <= limit.processes
            && self.threads <= limit.threads
            && self.batons <= limit.batons
            && self.gates <= limit.gates
            && self.connections <= limit.connections
            && self.pulses <= limit.pulses
            && self.memories <= limit.memories
    }
}

/// An address space, a handle table, a quota, an identity.
#[derive(Clone, Debug)]
pub struct Process {
    /// It was not destroyed.
    pub alive: bool,
    /// What receivers of its messages see.
    pub identity: u64,
    /// Who pays for it; none: the supervisor.
    pub parent: Option<ProcessId>,
    /// The highest priority of its batons.
    pub cap: u8,
    /// What it may have.
    pub limit: Counts,
    /// What it has, and what its children may have.
    pub used: Counts,
    /// Its handles, by index.
    pub table: Vec<Option<Entry>>,
    /// A new entry whose name is not known yet.
    pub unnamed: Option<(Object, Rights)>,
    /// Names that were ever used in its table.
    pub names: BTreeSet<Handle>,
    /// What it pays for, newest last.
    pub possessions: Vec<Object>,
    /// Requests that its threads received and it did not answer, oldest first. Their callers may have left.
    pub open: Vec<u64>,
    /// Pulses to be raised when it dies, the latest first.
    pub death_pulses: Vec<PulseId>,
    /// Where its messages' bytes are.
    pub area: usize,
    /// What its threads see at the addresses that are used for this, page by page.
    pub window: [Option<Page>; WINDOW],
}

/// What a thread is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Not started, or ended.
    #[default]
    Dead,
    /// It runs, or could.
    Ready,
    /// It waits at a gate for a receiver.
    Send(GateId),
    /// Its message, sent to this gate, was received by this thread, whose process may answer.
    Reply(GateId, ThreadId),
    /// It is parked at a gate.
    Receive(GateId),
}

/// A handle on its way: its name at the giver's, the copy's rights, whether the giver loses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// The giver's handle.
    pub handle: Handle,
    /// Rights of the copy.
    pub rights: Rights,
    /// Whether it moves.
    pub moves: bool,
}

/// The exchange that a thread is in, or was in last.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// The first word.
    pub word: u64,
    /// Bytes sent, room for bytes.
    pub bytes: (u64, u64),
    /// Handles that go with it.
    pub gifts: Vec<Passed>,
    /// Slots for handles that arrive.
    pub slots: Vec<Handle>,
    /// Badge of the connection, in a call.
    pub badge: u64,
    /// When its patience ends.
    pub deadline: u64,
    /// The deadline covers SEND, REPLY, RECEIVE.
    pub covers: (bool, bool, bool),
    /// An interrupt that it takes is not dealt with by the next receive.
    pub holds: bool,
    /// What it wishes.
    pub wishes: crate::action::Wishes,
}

/// A thread.
#[derive(Clone, Debug, Default)]
pub struct Thread {
    /// It was not destroyed.
    pub alive: bool,
    /// Whose it is.
    pub process: ProcessId,
    /// What it is doing.
    pub state: State,
    /// It does not run until continued.
    pub stopped: bool,
    /// An interrupt that it has not noticed.
    pub interrupted: bool,
    /// The exchange it is in.
    pub message: Message,
    /// Number of its request, while it is in SEND or REPLY; 0: none.
    pub request: u64,
    /// When it sent its request: its place among those that wait, also when it is queued again.
    pub sent: u64,
    /// Whoever works on its request does so on its baton.
    pub lends: bool,
    /// An earlier receiver of its request died.
    pub retried: bool,
    /// Why it wants to leave, once its server was asked.
    pub leaving: Option<Error>,
    /// When its wait is to end, and when that was decided.
    pub timer: Option<(u64, u64)>,
    /// The gate at which it received last.
    pub receives_at: Option<GateId>,
    /// The request it received last and has not answered; 0: none.
    pub serves: u64,
    /// What it took and has not dealt with: told again to others if it dies.
    pub took: Option<Waiter>,
    /// It will look again at what waits at its gate when it runs.
    pub looks: bool,
    /// Its own baton.
    pub own: Option<BatonId>,
    /// A baton that it uses until it next receives: its gate's reserve, or one that was its own.
    pub borrowed: Option<BatonId>,
    /// Since when it could run but has no baton.
    pub stuck: Option<u64>,
    /// Pulses to be raised when it dies, the latest first.
    pub death_pulses: Vec<PulseId>,
    /// Its name for tools.
    pub name: [u64; 2],
    /// Through which connection its faults go.
    pub pager: Option<ConnectionId>,
    /// Those that the pager refuses come back to it.
    pub upcall: bool,
    /// What it wants to be known by in messages of its faults.
    pub cookie: u64,
    /// The fault that it waits in.
    pub fault: Option<Fault>,
    /// How its exchange ended, until it is asked.
    pub outcome: Option<Outcome>,
}

/// The right to CPU time.
#[derive(Clone, Copy, Debug)]
pub struct Baton {
    /// It was not destroyed.
    pub alive: bool,
    /// Who pays; none: the supervisor.
    pub owner: Option<ProcessId>,
    /// Its priority.
    pub priority: u8,
}

/// What can wait at a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiter {
    /// A thread, in SEND.
    Caller(ThreadId),
    /// A pulse that was raised.
    Pulse(PulseId),
    /// A connection without handles.
    Closed(ConnectionId),
    /// A thread, in REPLY, that wants to leave.
    Unblock(ThreadId),
}

/// What waits, how strong it is (callers: as strong as they are at the moment), since when.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    /// What.
    pub waiter: Waiter,
    /// Priority of a pulse or notice.
    pub priority: u8,
    /// Order among equals.
    pub arrival: u64,
}

/// Where messages arrive.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    /// It was not destroyed.
    pub alive: bool,
    /// Who pays; none: the supervisor.
    pub owner: Option<ProcessId>,
    /// How long a server may take to answer a caller that wants to leave.
    pub grace: u64,
    /// Baton for receivers that have none.
    pub reserve: Option<BatonId>,
    /// What waits.
    pub waiting: Vec<Waiting>,
    /// Parked receivers; the last is served first.
    pub parked: Vec<ThreadId>,
    /// Its other receivers, in the order in which they received last.
    pub busy: Vec<ThreadId>,
}

/// A counted right to send.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    /// It was not destroyed.
    pub alive: bool,
    /// Who pays; none: the supervisor.
    pub owner: Option<ProcessId>,
    /// To where.
    pub gate: GateId,
    /// Its badge.
    pub badge: u64,
    /// Handles that name it.
    pub handles: u32,
}

/// An event to a gate.
#[derive(Clone, Copy, Debug)]
pub struct Pulse {
    /// It was not destroyed.
    pub alive: bool,
    /// Who pays; none: the supervisor.
    pub owner: Option<ProcessId>,
    /// To where.
    pub gate: GateId,
    /// Its badge.
    pub badge: u64,
    /// Its priority.
    pub priority: u8,
    /// Values are added, else OR-ed.
    pub counts: bool,
    /// What was raised since it was last delivered.
    pub value: u64,
    /// It waits for delivery.
    pub pending: bool,
    /// It tells a death, or was to tell one.
    pub tells_death: bool,
    /// When it will be raised, and when that was decided.
    pub alarm: Option<(u64, u64)>,
    /// When its alarm came last.
    pub due: u64,
    /// How often it comes from the first time on, if it is received; 0: once.
    pub period: u64,
    /// The interrupt line by which it is raised.
    pub binding: Option<Binding>,
}

/// A run of pages.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// It was not destroyed.
    pub alive: bool,
    /// Who pays; none: the supervisor.
    pub owner: Option<ProcessId>,
    /// What it is a part of.
    pub parent: Option<MemoryId>,
    /// Its first page, of all there is.
    pub first: usize,
    /// How many.
    pub pages: usize,
}

/// A page that is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// As part of which Memory.
    pub memory: MemoryId,
    /// Which, of all there is.
    pub page: usize,
    /// What it permits now.
    pub access: u64,
    /// And at most.
    pub most: u64,
    /// What was mapped, protected and shared together with it, and so is shared at once.
    pub run: u64,
}
