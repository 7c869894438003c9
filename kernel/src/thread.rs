//! A thread: saved registers and a state. What the message path touches comes first.
//!
//! `state` is the state's number (bits 0–7), flags (8–15) and, in REPLY, the process that may answer (16–31). A server's
//! `reply_key` is exactly what the state of a plain caller waiting for it looks like: one comparison tells that the
//! request is this process's to answer and that nothing about the caller is out of the ordinary.

use crate::baton::Hold;
use crate::envelope::{Direction, Kept};
use crate::header::Header;
use crate::machine::Machine;
use crate::tree::Node;
use abi::call::flags::{ENVELOPE, SEGMENTS};
use abi::thread::State;
use core::cell::Cell;

/// State bits 0–7.
pub(crate) const CODE: u32 = 0xff;
/// Cannot run; never started, or finished.
pub(crate) const DEAD: u32 = State::Dead as u32;
/// Runs, or could.
pub(crate) const READY: u32 = State::Ready as u32;
/// Waits at a gate.
pub(crate) const SEND: u32 = State::Send as u32;
/// Waits for an answer.
pub(crate) const REPLY: u32 = State::Reply as u32;
/// Waits for a message.
pub(crate) const RECEIVE: u32 = State::Receive as u32;
/// The thread did not call: it faulted, and the message speaks for it.
pub(crate) const FAULTING: u32 = 1 << 8;
/// It has an alarm.
pub(crate) const TIMED: u32 = 1 << 9;
/// Its server was asked to let it go.
pub(crate) const LEAVING: u32 = 1 << 10;
/// It does not run until continued.
pub(crate) const STOPPED: u32 = 1 << 11;
/// The flags that stay when a wait ends.
pub(crate) const LASTING: u32 = STOPPED;

/// One of these is among an exchange's flags if it has an envelope, or what counts as one.
pub(crate) const LENDS: u64 = ENVELOPE | SEGMENTS;

/// Work that the kernel must finish before the thread runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Work {
    /// None: it runs user code.
    #[default]
    None,
    /// Copy the message that it received.
    Deliver,
    /// Copy its reply.
    Reply,
    /// Copy from a request's send segments.
    Read,
    /// Copy to a request's receive segments.
    Write,
    /// Receive again: the message it was about to get went away.
    Receive,
}

/// What a fault message says.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FaultMessage {
    pub(crate) label: u64,
    pub(crate) words: [u64; 4],
}

/// Where a thread goes on in its personality library; see [`abi::thread::Configuration`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Upcalls {
    pub(crate) syscall: u64,
    pub(crate) interrupt: u64,
    pub(crate) fault: u64,
    pub(crate) block: u64,
    pub(crate) window_start: u64,
    pub(crate) window_end: u64,
    pub(crate) cookie: u64,
}

/// Saved registers and a state.
#[repr(C)]
pub(crate) struct Thread<M: Machine> {
    /// Id of its present (or last) request: generation << 16 | own index. It never repeats, whoever uses the slot.
    pub(crate) request: Cell<u64>,
    /// Its process's identity.
    pub(crate) identity: Cell<u64>,
    /// See [`abi::thread::Configuration`].
    pub(crate) native_mask: Cell<u64>,
    pub(crate) state: Cell<u32>,
    pub(crate) reply_key: Cell<u32>,
    /// The request it received last and has not answered.
    pub(crate) serving: Cell<u64>,
    /// In SEND and REPLY: the gate (generation << 32 | index) and the connection's badge.
    pub(crate) target: Cell<u64>,
    pub(crate) badge: Cell<u64>,
    /// Operation and flags of the exchange it is in; with one of [`LENDS`] if there is an envelope, and it was good.
    pub(crate) operation: Cell<u64>,
    /// The baton it runs on.
    pub(crate) current: Cell<Hold>,
    /// Its own baton.
    pub(crate) own: Cell<Hold>,
    /// In REPLY: the thread that received its message.
    pub(crate) server: Cell<u32>,
    pub(crate) process: Cell<u32>,
    /// Something must be done when it next receives: the message path is closed to it.
    pub(crate) taken: Cell<u32>,
    /// The gate it is a receiver of, 0: none.
    pub(crate) gate: Cell<u32>,
    pub(crate) space: Cell<M::Space>,

    pub(crate) header: Header,
    pub(crate) work: Cell<Work>,
    /// Generation of what was taken.
    pub(crate) taken_generation: Cell<u32>,
    /// Bytes moved by the work so far.
    pub(crate) moved: Cell<u64>,
    pub(crate) queue: Node,
    pub(crate) alarm: Node,
    /// Neighbours among the gate's receivers.
    pub(crate) receiver_next: Cell<u32>,
    pub(crate) receiver_previous: Cell<u32>,
    pub(crate) deadline: Cell<u64>,
    /// The request was with a server that died.
    pub(crate) retried: Cell<bool>,
    /// A sticky interrupt.
    pub(crate) interrupted: Cell<bool>,
    /// Why it wants to leave, while its server is asked ([`abi::Error`]).
    pub(crate) leave_reason: Cell<u16>,
    pub(crate) envelope: Kept,
    pub(crate) fault: Cell<FaultMessage>,
    /// Connection for its faults.
    pub(crate) fault_connection: Cell<u32>,
    pub(crate) fault_generation: Cell<u32>,
    pub(crate) upcalls: Cell<Upcalls>,
    pub(crate) name: Cell<[u64; 2]>,
    /// First pulse to raise when it dies.
    pub(crate) death_pulses: Cell<u32>,
    /// Why it is to be looked at ([`crate::helping`]), 0: it is not; and the one that is to be looked at after it.
    pub(crate) look: Cell<u32>,
    pub(crate) look_next: Cell<u32>,
    /// Last, so that the fields above are near.
    pub(crate) context: M::Context,
}

impl<M: Machine> Default for Thread<M> {
    fn default() -> Self {
        Self {
            context: M::Context::default(),
            request: Cell::default(),
            identity: Cell::default(),
            native_mask: Cell::default(),
            state: Cell::default(),
            reply_key: Cell::default(),
            serving: Cell::default(),
            target: Cell::default(),
            badge: Cell::default(),
            current: Cell::default(),
            own: Cell::default(),
            server: Cell::default(),
            process: Cell::default(),
            taken: Cell::default(),
            taken_generation: Cell::default(),
            gate: Cell::default(),
            space: Cell::default(),
            header: Header::default(),
            work: Cell::default(),
            moved: Cell::default(),
            queue: Node::default(),
            alarm: Node::default(),
            receiver_next: Cell::default(),
            receiver_previous: Cell::default(),
            operation: Cell::default(),
            deadline: Cell::default(),
            retried: Cell::default(),
            interrupted: Cell::default(),
            leave_reason: Cell::default(),
            envelope: Kept::default(),
            fault: Cell::default(),
            fault_connection: Cell::default(),
            fault_generation: Cell::default(),
            upcalls: Cell::default(),
            name: Cell::default(),
            death_pulses: Cell::default(),
            look: Cell::default(),
            look_next: Cell::default(),
        }
    }
}

impl<M: Machine> Thread<M> {
    /// Its own index.
    #[inline(always)]
    pub(crate) fn index(&self) -> u32 {
        self.request.get() as u32 & 0xffff
    }

    /// The state's number, without flags.
    pub(crate) fn code(&self) -> u32 {
        self.state.get() & CODE
    }

    /// The envelope of the exchange it is in, if that has one.
    pub(crate) fn kept(&self) -> Option<&Kept> {
        (self.operation.get() & LENDS != 0).then_some(&self.envelope)
    }

    /// Bytes that go one way with the exchange it is in.
    #[inline(always)]
    pub(crate) fn total(&self, of: Direction) -> u64 {
        if self.operation.get() & LENDS == 0 { 0 } else { self.envelope.total(of) }
    }

    /// Bytes that go both ways with it: sent in bits 0–31, room in bits 32–63.
    #[inline(always)]
    pub(crate) fn totals(&self) -> u64 {
        if self.operation.get() & LENDS == 0 { 0 } else { self.envelope.totals() }
    }

    /// Handles that it gives with the exchange it is in. (A fault's message has none: it has no envelope.)
    #[inline(always)]
    pub(crate) fn gifts(&self) -> usize {
        if self.operation.get() & LENDS == 0 { 0 } else { self.envelope.gifts() }
    }

    /// Whether a flag of the state is set.
    pub(crate) fn is(&self, flag: u32) -> bool {
        self.state.get() & flag != 0
    }

    /// Change the state, keeping the flags that last.
    pub(crate) fn enter_state(&self, state: u32) {
        self.state.set(self.state.get() & LASTING | state);
    }
}
