//! The kernel objects and their methods: the one table from which dispatch, stubs and tracing come.
//!
//! A method is called with [`Operation::Call`](crate::Operation::Call) on a handle of the object; its number is bits 0–15
//! of the label, and the answer is in the words (what a method says nothing of stays as it was). Bits 16–63 of the label carry the *option* where a method has one.
//! The call is answered on the spot and never blocks; what takes long answers [`More`](crate::Error::More) and is repeated.
//! "Access" in a word's low bits is a set of [`access`] bits (addresses are page-aligned).

/// Kinds of handle-table entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A free slot.
    #[default]
    Free = 0,
    /// An address space, a handle table, a quota.
    Process = 1,
    /// Saved registers and a state.
    Thread = 2,
    /// The right to CPU time.
    Baton = 3,
    /// Where messages arrive.
    Gate = 4,
    /// The right to send to a gate.
    Connection = 5,
    /// A fixed-size event to a gate.
    Pulse = 6,
    /// A run of physical addresses, ports or interrupt lines.
    Memory = 7,
    /// A slot reserved for a handle that a message may bring.
    Reserved = 8,
}

impl Kind {
    /// The kind with this number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Free,
            1 => Self::Process,
            2 => Self::Thread,
            3 => Self::Baton,
            4 => Self::Gate,
            5 => Self::Connection,
            6 => Self::Pulse,
            7 => Self::Memory,
            8 => Self::Reserved,
            _ => return None,
        })
    }
}

/// What a [`Kind::Memory`] is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum MemoryType {
    /// RAM, mapped with the ordinary cache type.
    Ram = 0,
    /// Device registers, mapped uncached.
    Device = 1,
    /// I/O ports: base and length count ports; used by calls, never mapped.
    Ports = 2,
    /// Interrupt lines: base and length count lines; used by [`pulse::BIND_INTERRUPT`].
    Interrupts = 3,
}

/// Bits of a mapping's access, carried in the low bits of a page-aligned address.
pub mod access {
    /// Readable.
    pub const READ: u64 = 1;
    /// Writable.
    pub const WRITE: u64 = 2;
    /// Executable.
    pub const EXECUTE: u64 = 4;
}

macro_rules! methods {
    ($($(#[$module_doc:meta])* $module:ident = $kind:literal { $($(#[$doc:meta])* $name:ident = $number:literal;)* })*) => {
        $($(#[$module_doc])* pub mod $module { $($(#[$doc])* pub const $name: u16 = $kind << 8 | $number;)* })*

        /// All methods, in the table's order.
        pub const METHODS: &[u16] = &[$($($module::$name,)*)*];

        /// The name of a method, for traces.
        #[must_use]
        pub const fn method_name(number: u16) -> Option<&'static str> {
            match number {
                $($($module::$name => Some(concat!(stringify!($module), ".", stringify!($name))),)*)*
                _ => None,
            }
        }
    };
}

methods! {
    /// Methods of a process. "Charged to the process" means to its quota; a new handle goes to the *caller's* table and
    /// is returned in word 0. All need [`MANAGE`](crate::Rights::MANAGE) unless said.
    process = 1 {
        /// New child process. Word 0: identity. Send: a [`Quota`](crate::Quota), carved out of this process's. The tree is at
        /// most 31 processes deep below init (`QuotaExceeded`).
        CREATE_PROCESS = 1;
        /// New thread in this process, not started. Word 0: connection for its faults in the caller's table, or 0.
        CREATE_THREAD = 2;
        /// New baton. Word 0: priority. Word 1: [`Policy`](crate::thread::Policy). Word 2: slice or budget, ns (0: the default slice). Word 3: period, ns (sporadic).
        /// Option (sporadic): bits 0–7 low priority, bits 8–15 how many replenishments may be to come
        /// (at most, and for 0, [`REFILLS`](crate::thread::REFILLS)); with so many, it runs at its low priority.
        CREATE_BATON = 3;
        /// New gate. Word 0: reserve baton in the caller's table, or 0 (`Busy` if it is another gate's). Word 1: grace time, ns.
        CREATE_GATE = 4;
        /// New pulse. Word 0: gate in the caller's table. Word 1: badge. Word 2: bit 0 set: raised values are added (a count), else OR-ed;
        /// bits 8–15: priority. Word 3: baton it carries in the caller's table, or 0: the receiver goes on with that, and while the pulse
        /// waits for a busy receiver, that one runs on it. It waits as urgently as the weaker of both priorities says.
        CREATE_PULSE = 5;
        /// Map. Word 0: Memory in the caller's table. Word 1: address in this process | access. Word 2: offset into the
        /// Memory. Word 3: length. The range must be free. May answer `More`: repeat, it goes on where it was; on any other error nothing stays mapped.
        /// A short range that goes on where the mapping before it ends, of the same Memory, with the same access, becomes one record with it (of at most 128 pages).
        MAP = 6;
        /// Unmap whatever is mapped in a range (records are split where needed). Word 0: address. Word 1: length. May answer `More`.
        UNMAP = 7;
        /// Set the access of whatever is mapped in a range, at most what its Memory handle permitted at `MAP`. Word 0: address | access. Word 1: length. May answer `More`, with both words to go on with.
        /// While it goes on it may need two mapping records more.
        PROTECT = 8;
        /// Duplicate the mappings of a range of another process into this one, same addresses; write access is removed
        /// in both for records not mapped as shared (option bit 0 set: keep write access in both). Word 0: source process in the caller's table. Word 1: address. Word 2: length.
        /// May answer `More`, with the address to go on from in word 0; a call that answers another error duplicated nothing.
        SHARE_RANGE = 9;
        /// Make the handle table hold at least word 0 entries (charged in pages of 64).
        GROW_HANDLES = 10;
        /// Reserve a slot for an arriving handle. Word 0 out: the handle to name in an envelope's `take`.
        RESERVE = 11;
        /// Close a handle of this process's table. Word 0: the handle. Option bit 0 set: reserve a slot, too, as `RESERVE` does (word 0 out).
        CLOSE = 12;
        /// Duplicate a handle of the caller's table in it. Word 0: handle. Word 1: rights.
        DUPLICATE = 13;
        /// What a handle of the caller's table is. Word 0: handle. Out: word 0 rights, word 1 [`Kind`](super::Kind), word 2 badge (connections).
        /// Needs no right on this process.
        HANDLE_INFORMATION = 14;
        /// Copy every handle of another process that is marked inherit into this one, at the same index and generation.
        /// Word 0: source process. May answer `More`, with the index to go on from in word 0 (pass it back in word 1).
        COPY_TABLE = 15;
        /// Copy one handle of another process into this one at the same index and generation. Word 0: source process. Word 1: the handle there.
        COPY_ENTRY = 16;
        /// Mark a handle of this process for `COPY_TABLE`, or not. Word 0: handle. Word 1: 1 or 0.
        SET_INHERIT = 17;
        /// Put a copy of a handle of the caller's table into this process's. Word 0: handle. Word 1: rights. Out: word 0, the handle there.
        GIVE = 18;
        /// Destroy the object that a handle of the caller's table names (needs [`DESTROY`](crate::Rights::DESTROY) on it) and close the handle.
        /// Word 0: handle. The object is dead at once; `More`: repeat until the remains are gone.
        DESTROY = 19;
        /// Write this process's [`Usage`](crate::quota::Usage) into the receive segments.
        USAGE = 20;
        /// Change the quota. Send: the new [`Quota`](crate::Quota); what is used must fit, growth comes from the parent's.
        SET_QUOTA = 21;
        /// This process's identity. Needs no right. Out: word 0.
        IDENTITY = 22;
        /// System-wide figures, for tools. Out: word 0 arena bytes in use, word 1 arena bytes in all, word 2 RAM bytes in all (a boot constant), word 3 ns the CPUs were idle.
        SYSTEM = 23;
        /// The thread of this process in the first slot above word 0. Out: word 0 a new handle, word 1 its slot. `NotFound` at the end.
        /// May answer `More`, with the slot to go on above in word 0.
        NEXT_THREAD = 24;
    }
    /// Methods of a thread. All need [`MANAGE`](crate::Rights::MANAGE), unless the handle is
    /// [`CURRENT_THREAD`](crate::Handle::CURRENT_THREAD).
    thread = 2 {
        /// Start. Word 0: instruction pointer. Word 1: stack pointer. Word 2: argument (`rdi`). Word 3: its own baton in the caller's table, or 0 for a passive thread.
        START = 1;
        /// Send: a [`Configuration`](crate::thread::Configuration).
        CONFIGURE = 2;
        /// Write the [`Registers`](crate::thread::Registers) into the receive segments. The thread must be stopped or blocked.
        READ_REGISTERS = 3;
        /// Send: [`Registers`](crate::thread::Registers). The thread must be stopped or not started.
        WRITE_REGISTERS = 4;
        /// Post an asynchronous upcall; see [`crate::upcall`].
        INTERRUPT = 5;
        /// Set the STOPPED flag: it does not run until `CONTINUE` (a blocked one stays blocked, and still gets its reply).
        STOP = 6;
        /// Clear the STOPPED flag.
        CONTINUE = 7;
        /// Out: word 0 [`State`](crate::thread::State) | STOPPED << 8 | priority << 16, word 1 the identity of the process it
        /// waits for (in SEND that of the receiver that must get on, or the gate's owner if it has none), word 2 ns of CPU billed to its own baton, word 3 instruction pointer.
        STATE = 8;
        /// Set FS base (word 0) and GS base (word 1) of the current thread.
        SET_BASES = 9;
        /// Let equals run first: the current baton goes behind its priority's queue.
        YIELD = 10;
        /// Name it for tools. Words 0 and 1: up to 16 bytes.
        SET_NAME = 11;
        /// Out: words 0 and 1, the name.
        NAME = 12;
        /// Replace the connection for faults. Word 0: a connection in the caller's table, or 0.
        SET_FAULT_CONNECTION = 13;
        /// Give it another own baton. Word 0: baton in the caller's table, or 0.
        SET_BATON = 14;
        /// Give the baton that it runs on a trace id: word 0, 0: none. (Bit 63 is set in it: see [`trace`](crate::trace).) And note
        /// [`MARKED`](crate::trace::MARKED) with word 1 (bits 0–31) as label and word 2 as word.
        TRACE = 15;
    }
    /// Methods of a baton.
    baton = 3 {
        /// Change it; needs [`MANAGE`](crate::Rights::MANAGE). Words as for `CREATE_BATON`.
        SET = 1;
        /// Out: word 0 ns billed, word 1 priority, word 2 policy, word 3 slice ns.
        INFORMATION = 2;
    }
    /// Methods of a gate. All need [`MANAGE`](crate::Rights::MANAGE), unless said.
    gate = 4 {
        /// New connection to this gate. Word 0: badge. Word 1: request id whose caller is charged (`NoRight` if it did
        /// not say [`CHARGE_ME`](crate::call::flags::CHARGE_ME)), or 0: the process that makes it is charged. Option: rights of the handle, 0 for SEND | COPY.
        CONNECT = 1;
        /// Replace the reserve baton. Word 0: baton in the caller's table, or 0. `Busy`: it is another gate's.
        SET_RESERVE = 2;
        /// Badge of the live connection after the one with badge word 0 (option bit 0 set: the first). Out: word 0 badge, word 1 how many handles. `NotFound` at the end.
        NEXT_CONNECTION = 3;
        /// Out: word 0 waiting callers, word 1 whether a receiver is parked (1 or 0), word 2 waiting pulses and notices.
        INFORMATION = 4;
        /// Of a request taken from this gate; needs [`RECEIVE`](crate::Rights::RECEIVE). Word 0: request id. Out: word 0 caller's process identity, word 1 priority, word 2 trace id.
        /// `Gone`: its caller does not wait for the process that asks, or no more. `NotFound`: it was sent to another gate.
        REQUEST_INFORMATION = 5;
    }
    /// Methods of a pulse.
    pulse = 6 {
        /// Raise it (with value 1) at word 0 ns, then every word 1 ns (0: once). Replaces an earlier alarm. Word 0 = `u64::MAX`: no alarm.
        /// Periods that pass while it is pending come with it, counted if it counts: the next alarm is set when it is received.
        SET_ALARM = 1;
        /// Raise it (OR 1 << (line − base)) when an interrupt comes. Word 0: Memory of type Interrupts. Word 1: line. Word 2: longest
        /// time the line may stay masked on its account, ns (0: no bound). Option bit 0: edge-triggered, active high; else level-triggered, active low (PCI).
        /// `Busy`: it has a line, or was to tell a death (also one that has come); or the line has eight takers, or one that says otherwise of its trigger.
        BIND_INTERRUPT = 2;
        /// Unmask its interrupt line now.
        REARM = 3;
        /// Raise it when the process or thread of handle word 0 dies; it is bound to no other death any more. `Busy`: it is bound to an
        /// interrupt line (and stays so), or eight pulses are bound to that death already (then it is bound to none).
        BIND_DEATH = 4;
        /// Raise it when a CPU has nothing else to do (word 0: 1 on, 0 off).
        BIND_IDLE = 5;
    }
    /// Methods of a Memory.
    memory = 7 {
        /// Out: word 0 length (bytes, ports or lines), word 1 [`MemoryType`](super::MemoryType), word 2 physical base (needs [`MANAGE`](crate::Rights::MANAGE), else 0).
        INFORMATION = 1;
        /// New Memory for a part of this one, which keeps it too (destroying this one destroys its parts). Parts of parts go
        /// 31 deep (`QuotaExceeded`). Word 0: process to
        /// charge, in the caller's table. Word 1: offset. Word 2: length. Word 3: rights.
        DERIVE = 2;
        /// Read a port. Word 0: offset. Word 1: bytes (1, 2 or 4). Out: word 0.
        PORT_READ = 3;
        /// Write a port. Word 0: offset. Word 1: bytes (1, 2 or 4). Word 2: value.
        PORT_WRITE = 4;
        /// Write up to 16 bytes to one port, one after the other. Word 0: offset. Word 1: how many. Words 2 and 3: the bytes, lowest first.
        PORT_WRITE_BYTES = 5;
        /// Of the trace's ring: from now on note the events of the classes in word 0 ([`CLASSES`](crate::trace::CLASSES)). Needs
        /// [`MANAGE`](crate::Rights::MANAGE). Out: word 0 the classes noted before.
        TRACE = 6;
    }
}
