//! The one system call: `exchange`.
//!
//! # Registers (x86_64)
//!
//! | register | in | out |
//! |---|---|---|
//! | `rax` | [`Operation`] in bits 0–7, [flags] from bit 8 | [`Status`] |
//! | `rdi` | target: a [`Handle`](crate::Handle), or a request id | request id of the received message (0: a notice or pulse) |
//! | `rsi` | gate to receive at | identity of the calling process |
//! | `rdx` | with [`flags::ENVELOPE`]: address of an [`Envelope`](crate::Envelope) | badge of the connection or pulse |
//! | `r8` | with a flag that says for what: deadline, absolute nanoseconds ([`NEVER`], [`POLL`]) | bytes moved into the receive segments |
//! | `r9` | nothing | of a received message: bytes the caller sent (bits 0–31), bytes it can take back (bits 32–63) |
//! | `r10` | label | label |
//! | `r12`–`r15` | four words | four words |
//!
//! `rsp`, `rbx`, `rbp` and all vector and floating-point state are preserved; `rcx` and `r11` are lost (the processor
//! uses them). No register ever carries a kernel value out.
//!
//! With [`flags::SEGMENTS`], there is no envelope in memory and no deadline: `rdx` and `r9` are the addresses of one send segment
//! and one receive segment, and `r8` has their lengths (bits 0–31 send, 32–63 receive; a length of 0 is none).
//!
//! For a *reply* the words and the label of the registers are the answer, and `rdi` is the request id.

/// What an exchange does: bits 0–7 of `rax`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Operation {
    /// Send to the connection in `rdi` and block for the reply; or call the kernel object in `rdi`, answered on the spot.
    Call = 0,
    /// Reply to request `rdi`, then receive at gate `rsi`. A failed reply returns without receiving.
    ReplyAndReceive = 1,
    /// Receive at gate `rsi`.
    Receive = 2,
    /// Reply to request `rdi`; never blocks. `r8` comes back as the bytes moved to the caller.
    Reply = 3,
    /// Raise the pulse in `rdi` with the bits (or count) in word 0; never blocks.
    Raise = 4,
    /// Copy from request `rdi`'s send segments, from offset word 0, into the envelope's receive segments. `r8`: bytes moved.
    Read = 5,
    /// Copy the envelope's send segments to request `rdi`'s receive segments, at offset word 0. `r8`: bytes moved.
    Write = 6,
}

impl Operation {
    /// The operation with this number, if there is one.
    #[must_use]
    #[inline]
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Call,
            1 => Self::ReplyAndReceive,
            2 => Self::Receive,
            3 => Self::Reply,
            4 => Self::Raise,
            5 => Self::Read,
            6 => Self::Write,
            _ => return None,
        })
    }
}

/// Flags beside the operation: bits 8 and up of `rax`.
pub mod flags {
    /// The deadline covers the wait for a receiver (SEND).
    pub const DEADLINE_SEND: u64 = 1 << 8;
    /// The deadline covers the wait for the reply (REPLY).
    pub const DEADLINE_REPLY: u64 = 1 << 9;
    /// The deadline covers the wait for a message (RECEIVE).
    pub const DEADLINE_RECEIVE: u64 = 1 << 10;
    /// A blocked exchange may be broken off by [`thread::INTERRUPT`](crate::object::thread::INTERRUPT).
    pub const INTERRUPTIBLE: u64 = 1 << 11;
    /// When interrupted in REPLY, leave at once: do not grant the gate's grace time.
    pub const NO_GRACE: u64 = 1 << 12;
    /// A connection that is made while this call is served may be charged to the caller's quota. Without it, a server that
    /// would have the caller pay for what it asks for refuses.
    pub const CHARGE_ME: u64 = 1 << 13;
    /// If the server dies while serving, queue the request again, marked retried, instead of failing it.
    pub const RETRY: u64 = 1 << 14;
    /// A receive that takes an interrupt pulse leaves its line masked until it is re-armed explicitly.
    pub const HOLD: u64 = 1 << 15;
    /// Something goes with the exchange: `rdx` is the address of an [`Envelope`](crate::Envelope).
    pub const ENVELOPE: u64 = 1 << 17;
    /// One send segment and one receive segment in registers, in the place of envelope and deadline: see the table above.
    pub const SEGMENTS: u64 = 1 << 16;
    /// All that have to do with a deadline.
    pub const DEADLINES: u64 = DEADLINE_SEND | DEADLINE_REPLY | DEADLINE_RECEIVE;
}

/// A deadline that never comes.
pub const NEVER: u64 = u64::MAX;
/// A deadline that is always past: do not wait.
pub const POLL: u64 = 0;

/// The result word of an exchange (`rax` out): error code in bits 0–15, received-message flags in bits 16–31, the
/// caller's priority in bits 32–39, the number of handles that arrived in bits 40–47.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Status(pub u64);

impl Status {
    /// Success with nothing to add.
    pub const OK: Self = Self(0);
    /// What arrived is a pulse or a kernel notice, not a request.
    pub const PULSE: u64 = 1 << 16;
    /// What arrived is a notice of the kernel (its label is in [`crate::notice`]).
    pub const NOTICE: u64 = 1 << 17;
    /// The request was given to an earlier receiver that died: parts of it may have been done.
    pub const RETRIED: u64 = 1 << 18;

    /// A failed exchange.
    #[must_use]
    #[inline]
    pub const fn failed(error: crate::Error) -> Self {
        Self(error as u64)
    }

    /// The outcome: `Ok` unless the error code is set.
    ///
    /// # Errors
    /// The [`Error`](crate::Error) that the kernel reported.
    #[inline]
    pub const fn result(self) -> Result<(), crate::Error> {
        if self.0 as u16 == 0 {
            return Ok(());
        }
        match crate::Error::from_number(self.0 as u16) {
            // A number that this program does not know.
            None => Err(crate::Error::Unsupported),
            Some(error) => Err(error),
        }
    }

    /// Whether a pulse or a notice arrived.
    #[must_use]
    #[inline]
    pub const fn is_pulse(self) -> bool {
        self.0 & Self::PULSE != 0
    }

    /// Whether a kernel notice arrived.
    #[must_use]
    #[inline]
    pub const fn is_notice(self) -> bool {
        self.0 & Self::NOTICE != 0
    }

    /// The priority at which the message was sent.
    #[must_use]
    #[inline]
    pub const fn priority(self) -> u8 {
        (self.0 >> 32) as u8
    }

    /// How many handles arrived in the reserved slots, filled in order.
    #[must_use]
    #[inline]
    pub const fn handles(self) -> usize {
        (self.0 >> 40) as u8 as usize
    }
}
