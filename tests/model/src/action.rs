//! What threads do, what the supervisor does, and how exchanges end.

use abi::{Error, Rights};

use crate::specification::AREA;

/// Which of its process's handles an action uses: of those of the right kind so many'th, counted around. From
/// [`ANY`] on, of whatever kind. A process that has none uses one that names nothing.
pub type Choice = u8;

/// Choices from here on do not mind the kind.
pub const ANY: Choice = 250;

/// How long an exchange may wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Patience {
    /// For ever.
    #[default]
    Endless,
    /// Not at all: only if somebody is there.
    Poll,
    /// So many ns from now.
    Until(u64),
}

/// A handle that goes with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gift {
    /// Which one.
    pub handle: Choice,
    /// Rights of the copy.
    pub rights: Rights,
    /// The giver loses it.
    pub moves: bool,
}

/// What goes with an exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Bytes sent, and room for bytes that arrive.
    pub bytes: (u64, u64),
    /// The first word.
    pub word: u64,
    /// Handles given.
    pub gifts: [Option<Gift>; 2],
    /// Reserved slots for handles that arrive: the first so many of the process's.
    pub slots: u8,
}

/// What a call asks for besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// It may be interrupted.
    pub interruptible: bool,
    /// When it is interrupted, it does not wait for its server.
    pub no_grace: bool,
    /// It is queued again if its server dies.
    pub retry: bool,
    /// The server may have it pay for a connection.
    pub charge_me: bool,
    /// Its patience is for the answer, too, not only for a receiver.
    pub for_answer: bool,
}

/// What can be asked about an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// What a handle is.
    Handle,
    /// A process's identity.
    Identity,
    /// What a thread is doing.
    State,
    /// A thread's name.
    Name,
    /// A baton's priority and policy.
    Baton,
    /// What waits at a gate.
    Gate,
    /// The connection of a gate behind the one with this badge; `None`: the first.
    Connection(Option<u64>),
    /// Who sent one of the requests that the process received, to this gate.
    Request(u8),
    /// How large a Memory is, and of what.
    Memory,
}

/// What a thread does.
#[expect(missing_docs, reason = "fields are named after what they choose, and each variant says the rest")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Call through a connection.
    Call { connection: Choice, patience: Patience, load: Load, wishes: Wishes },
    /// Receive at a gate.
    Receive { gate: Choice, patience: Patience, load: Load, interruptible: bool, holds: bool },
    /// Answer a request that its process received and did not answer, the oldest being 0 (its caller may have left), and
    /// perhaps receive, with patience. A fault is dealt with, or refused.
    Reply { request: u8, load: Load, refuses: bool, receive: Option<(Choice, Patience)> },
    /// Read from a request's message, from an offset on.
    Read { request: u8, offset: u64, length: u64 },
    /// Write into a request's answer, from an offset on.
    Write { request: u8, offset: u64, length: u64 },
    /// Change a word of what its process sends.
    Prepare { at: u64, word: u64 },
    /// Look at all that arrived in its process's buffer.
    Look,
    /// Ask about an object.
    Ask { question: Question, of: Choice },
    /// Give a thread a name.
    Name { thread: Choice, name: u64 },
    /// Let equals run.
    Yield,
    /// Raise a pulse.
    Raise { pulse: Choice, bits: u64 },
    /// Reserve a slot for a handle.
    Reserve,
    /// Close a handle.
    Close { handle: Choice },
    /// Make a copy of a handle.
    Duplicate { handle: Choice, rights: Rights },
    /// Destroy what a handle names: a thread, a connection or a pulse; others are only closed.
    Destroy { handle: Choice },
    /// Interrupt a thread.
    Interrupt { thread: Choice },
    /// Stop a thread.
    Stop { thread: Choice },
    /// Let a stopped thread go on.
    Continue { thread: Choice },
    /// Have a pulse raised after so many ns, and then every so many ns (0: once).
    SetAlarm { pulse: Choice, after: u64, period: u64 },
    /// An interrupt that a pulse told of is dealt with.
    Rearm { pulse: Choice },
    /// Have a pulse raised when a process or thread dies.
    BindDeath { pulse: Choice, of: Choice },
    /// Change a baton's priority.
    SetPriority { baton: Choice, priority: u8 },
    /// New gate with a grace time.
    CreateGate { process: Choice, grace: u64 },
    /// New connection to a gate; the caller of the process's oldest open request pays, or itself.
    Connect { gate: Choice, caller_pays: bool },
    /// New pulse to a gate: one that counts, or one that ORs.
    CreatePulse { process: Choice, gate: Choice, counts: bool, priority: u8 },
    /// New baton.
    CreateBaton { process: Choice, priority: u8 },
    /// New thread, not started.
    CreateThread { process: Choice },
    /// Start a thread on a baton; it does what is left to be done by those that are started.
    Start { thread: Choice, baton: Choice },
    /// New process with nothing in it, with so much of everything.
    CreateProcess { process: Choice, share: u32 },
    /// A part of a Memory, that another process may pay for.
    Derive { memory: Choice, payer: Choice, offset: usize, pages: usize, rights: Rights },
    /// Map pages of a Memory at a place of a process's window.
    Map { into: Choice, memory: Choice, place: usize, offset: usize, pages: usize, access: u64 },
    /// What a process has mapped comes to be in another, too, as far as it can at once: writable only if both are to write.
    Share { into: Choice, from: Choice, place: usize, pages: usize, both_write: bool },
    /// Put a copy of a handle into a process's table.
    Give { to: Choice, handle: Choice, rights: Rights },
    /// Mark a process's handle as to be copied with its table, or not.
    SetInherit { of: Choice, handle: Choice, inherit: bool },
    /// Copy a handle of one process into another's table, under the same name.
    CopyEntry { to: Choice, from: Choice, handle: Choice },
    /// Copy what is marked of a page of one process's table into another's.
    CopyTable { to: Choice, from: Choice, page: usize },
    /// Make a table larger.
    Grow { of: Choice, pages: usize },
    /// Unmap what is at a place.
    Unmap { of: Choice, place: usize, pages: usize },
    /// Change what is permitted there.
    Protect { of: Choice, place: usize, pages: usize, access: u64 },
    /// Read or write a word of the own window.
    Touch { place: usize, write: Option<u64> },
    /// Have faults of a thread sent through a connection, or not any more.
    SetPager { thread: Choice, connection: Option<Choice> },
    /// Have own faults come back to oneself when they are refused, or not any more.
    Configure { upcall: bool },
    /// A fault that came back is dealt with.
    Settle,
    /// Make a fault that is none of a page's. It is the end, if nobody deals with it.
    Fault,
}

/// What the supervisor does, which is stronger than all threads and may do everything.
#[expect(missing_docs, reason = "fields are named after what they choose, and each variant says the rest")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Nothing for so many ns.
    Sleep(u64),
    /// Destroy the process in this role, with all it has.
    Kill(usize),
    /// Put a new process into this role if it is empty, whose threads go on with the old ones' actions.
    Replace(usize),
    /// Destroy the Memory that the process in this role was given, with all its parts.
    Revoke(usize),
    /// Destroy a gate of its own or of a process, if it is alive.
    DestroyGate(usize),
    /// Have a pulse of a gate raised by an interrupt line, for which the line may stay masked for so long.
    Bind { gate: usize, pulse: usize, line: usize, limit: u64 },
    /// The device at a line asks. (The first line's does so once each time, the others' until they are told.)
    Ask(usize),
    /// The device at a line asks no more.
    Quiet(usize),
    /// Interrupt a thread of this role.
    Interrupt(usize, usize),
    /// Stop or continue a thread of this role.
    Stop(usize, usize, bool),
    /// Change the priority of a thread's own baton.
    SetPriority(usize, usize, u8),
    /// Take a thread's own baton from it, or give it back.
    SetBaton(usize, usize, bool),
}

/// What kind of fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// A page is missing, or forbids the access.
    Page,
    /// The same, once the pager refused to do anything about it.
    Refused,
    /// Another exception.
    Exception,
}

/// What the message of a fault says besides the first word (the place that was touched, or the exception's number).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What it is.
    pub kind: FaultKind,
    /// How a page was touched ([`abi::notice::access`]).
    pub access: u64,
    /// What the thread has said it is to be known by.
    pub cookie: u64,
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
    /// There is a new handle.
    Made,
    /// This was read.
    Word(u64),
    /// The thread's own fault came back to it.
    Upcall,
    /// This is in the buffer.
    Bytes([u8; AREA]),
    /// This was told.
    Told([u64; 4]),
    /// The call was answered.
    Answer {
        /// The first word.
        word: u64,
        /// Bytes that arrived.
        moved: u64,
        /// Handles that arrived.
        handles: usize,
    },
    /// A request arrived.
    Request {
        /// Number of the request.
        request: u64,
        /// Identity of the caller's process.
        identity: u64,
        /// Through which connection.
        badge: u64,
        /// The first word.
        word: u64,
        /// Bytes that arrived.
        moved: u64,
        /// Bytes that were sent, and room for those that go back.
        bytes: (u64, u64),
        /// Handles that arrived.
        handles: usize,
        /// Priority of the caller's baton.
        priority: u8,
        /// An earlier receiver died with it.
        retried: bool,
        /// It is a fault's.
        fault: Option<Fault>,
    },
    /// A pulse arrived.
    Pulse {
        /// Its badge.
        badge: u64,
        /// All that was raised.
        value: u64,
        /// Its priority.
        priority: u8,
    },
    /// The last handle to a connection is gone.
    Closed {
        /// Its badge.
        badge: u64,
    },
    /// A caller wants to leave.
    Unblock {
        /// Badge of the connection it came through.
        badge: u64,
        /// Number of its request.
        request: u64,
    },
}
