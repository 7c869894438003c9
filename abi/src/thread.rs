//! Threads as programs see them: states and configuration.

/// What a thread is doing. Names are the field's, visible to tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// No longer exists, or never started.
    Dead = 0,
    /// On a processor.
    Running = 1,
    /// Could run.
    Ready = 2,
    /// Waits at a gate for a receiver.
    Send = 3,
    /// Waits for an answer.
    Reply = 4,
    /// Waits for a message.
    Receive = 5,
    /// Waits for its pager or fault handler.
    Fault = 6,
}

impl State {
    /// The name that tools print.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dead => "DEAD",
            Self::Running => "RUNNING",
            Self::Ready => "READY",
            Self::Send => "SEND",
            Self::Reply => "REPLY",
            Self::Receive => "RECEIVE",
            Self::Fault => "FAULT",
        }
    }

    /// The state with this number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Dead,
            1 => Self::Running,
            2 => Self::Ready,
            3 => Self::Send,
            4 => Self::Reply,
            5 => Self::Receive,
            6 => Self::Fault,
            _ => return None,
        })
    }
}

/// How a baton shares its priority with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Policy {
    /// Runs until it blocks or a stronger one is ready.
    Fifo = 0,
    /// Runs for a slice, then goes behind its equals.
    RoundRobin = 1,
    /// Runs for a budget per period at its priority, then at its low priority until replenished: each stretch of use comes
    /// back one period after it began.
    Sporadic = 2,
}

/// Most stretches of a sporadic baton's budget that can be to come back at a time.
pub const REFILLS: u8 = 8;

/// What `thread::CONFIGURE` takes in its send segments: everything that rarely changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Configuration {
    /// Instructions whose address has one of these bits are native; `u64::MAX`: all are. A `syscall` from elsewhere is an upcall.
    pub native_mask: u64,
    /// Entry for foreign system calls; see [`crate::upcall`].
    pub upcall_syscall: u64,
    /// Entry for asynchronous upcalls.
    pub upcall_interrupt: u64,
    /// Entry for faults; 0: faults are messages.
    pub upcall_fault: u64,
    /// Address of the thread's [`UpcallBlock`](crate::upcall::UpcallBlock); 0: none.
    pub upcall_block: u64,
    /// First address of the restart window, also where a thread interrupted inside it goes on.
    pub window_start: u64,
    /// First address after the restart window.
    pub window_end: u64,
    /// Comes with the thread's fault messages.
    pub cookie: u64,
    /// FS base.
    pub fs_base: u64,
    /// GS base.
    pub gs_base: u64,
}

const _: () = assert!(size_of::<Configuration>() == 80);

/// All integer registers of a thread, for debuggers and signal delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Registers {
    /// rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp, r8 … r15, in this order.
    pub general: [u64; 16],
    /// Instruction pointer.
    pub rip: u64,
    /// Flags.
    pub rflags: u64,
    /// FS base.
    pub fs_base: u64,
    /// GS base.
    pub gs_base: u64,
}

const _: () = assert!(size_of::<Registers>() == 160);

/// Most bytes a [`thread::SET_NAME`](crate::object::thread::SET_NAME) name may have: two words, padded with zeros.
pub const NAME_LENGTH: usize = 16;
