//! Upcalls: how the kernel enters a personality library in the same address space.
//!
//! * **Foreign system call.** A `syscall` outside the native range goes to `upcall_syscall` with every register as it was,
//!   except `rcx` (old `rip`) and `r11` (old `rflags`), which the instruction itself overwrites. Nothing is written to
//!   memory, so it cannot fault. `rsp` is still the program's: the entry switches stacks through its GS block, and
//!   returns by jumping to the old `rip`.
//! * **Interrupt** (`thread::INTERRUPT`). The kernel sets [`UpcallBlock::interrupt_pending`]. A thread in user mode outside
//!   the native range has `rip`, `rsp`, `rflags` saved in [`UpcallBlock::interrupt`] and goes on at `upcall_interrupt`
//!   with all other registers as they were and the sticky bit cleared. Inside the restart window it goes on at the window's
//!   start. Elsewhere in the native range the bit stays: the next interruptible exchange returns
//!   [`Interrupted`](crate::Error::Interrupted) before it blocks, and clears it; one already blocked is broken off.
//! * **Fault** that the pager refused, or another exception. Saved in [`UpcallBlock::fault`], inside the native range
//!   too (fix-ups); goes on at `upcall_fault`. While [`UpcallBlock::fault_active`] is not 0 (the kernel sets it, the
//!   library clears it) a further fault is a message instead.

/// Where a thread was when an upcall was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SavedPlace {
    /// Instruction pointer.
    pub rip: u64,
    /// Stack pointer.
    pub rsp: u64,
    /// Flags.
    pub rflags: u64,
    /// Fault: the processor's vector (14: page fault).
    pub vector: u64,
    /// Fault: page fault access bits ([`crate::notice::access`]), or the processor's error code.
    pub code: u64,
    /// Page fault: the address.
    pub address: u64,
}

/// The start of a foreign thread's GS block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct UpcallBlock {
    /// The kernel writes 1 when an interrupt is posted; the library clears it before it asks what happened.
    pub interrupt_pending: u64,
    /// The kernel writes 1 when it takes a fault upcall; the library clears it.
    pub fault_active: u64,
    /// Place of the last asynchronous upcall.
    pub interrupt: SavedPlace,
    /// Place of the last fault upcall.
    pub fault: SavedPlace,
}

const _: () = assert!(size_of::<UpcallBlock>() == 112);
