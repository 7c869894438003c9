//! The hardware seam: everything the kernel asks of a processor. One crate per processor implements it, and one imaginary
//! processor (`machine/simulator`) for tests.

use crate::tables::Tables;
use abi::PAGE_SIZE;
use core::cell::Cell;
use core::fmt;
use core::ops::Deref;

/// Why user code stopped running, or idling ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trap {
    /// The `exchange` system call: arguments are in the context. (Not if the entry code has carried it out.)
    Call,
    /// A page is missing or forbids the access. `access`: [`abi::notice::access`] bits.
    PageFault {
        /// The address.
        address: u64,
        /// What was tried.
        access: u64,
    },
    /// Another exception.
    Exception {
        /// The processor's number for it.
        vector: u64,
        /// The processor's error code.
        code: u64,
    },
    /// A device interrupt; the machine has masked the line and acknowledged the controller.
    Interrupt {
        /// The line.
        line: u32,
    },
    /// The time given to [`Machine::set_alarm`] has come.
    Alarm,
    /// Another CPU asked for attention, or nothing in particular happened (spurious).
    Kick,
}

/// The physical address of a page of the kernel's arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame(pub u64);

/// How a page is to be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageAccess {
    /// [`abi::object::access`] bits.
    pub bits: u64,
    /// Device registers: uncached.
    pub device: bool,
}

/// Why a copy between spaces stopped early. The bytes before it were moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyFault {
    /// The source is not readable at its next byte.
    Source,
    /// The destination is not writable at its next byte.
    Destination,
}

/// The exchange registers of a stopped thread; see [`abi::call`]. All take `&self`: a context is a set of cells.
pub trait Context: Default + 'static {
    /// `rax`: operation and flags.
    fn operation(&self) -> u64;
    /// `rdi`: target handle or request id.
    fn target(&self) -> u64;
    /// `rsi`: gate.
    fn gate(&self) -> u64;
    /// `rdx`: address of the envelope.
    fn envelope(&self) -> u64;
    /// `r8`: deadline, ns.
    fn deadline(&self) -> u64;
    /// `r9`: address of a receive segment.
    fn receive_address(&self) -> u64;
    /// `r10`: label.
    fn label(&self) -> u64;
    /// `r12`–`r15`.
    fn words(&self) -> [u64; 4];
    /// The instruction pointer (of a system call: after it).
    fn instruction_pointer(&self) -> u64;
    /// Set `rax` (status), `rdi` (request), `rsi` (identity), `rdx` (badge), `r8` (moved), `r9` (lengths): all of them, so
    /// that none carries anything else out.
    fn set_outcome(&self, outcome: Outcome);
    /// The outcome of receiving a plain message through the machine's own entry code, which itself takes care of label,
    /// words and of what is zero.
    fn set_receipt(&self, status: u64, request: u64, identity: u64, badge: u64) {
        self.set_outcome(Outcome { status, request, identity, badge, ..Outcome::default() });
    }
    /// Set the label.
    fn set_label(&self, label: u64);
    /// Set the words.
    fn set_words(&self, words: [u64; 4]);
    /// Set the label and the words.
    #[inline]
    fn set_message(&self, label: u64, words: [u64; 4]) {
        self.set_label(label);
        self.set_words(words);
    }
    /// Set the first word.
    fn set_word(&self, word: u64) {
        let [_, second, third, fourth] = self.words();
        self.set_words([word, second, third, fourth]);
    }
    /// Of a plain call that the machine's entry code passed on, operation and target were not stored.
    fn complete_plain_call(&self, target: u64) {
        let _ = target;
    }
    /// Of a plain reply-and-receive, likewise operation, request and gate.
    fn complete_plain_reply(&self, request: u64, gate: u64) {
        let _ = (request, gate);
    }
    /// Copy label and words from another context: the message itself.
    fn take_message(&self, from: &Self) {
        self.set_message(from.label(), from.words());
    }
    /// Prepare a new thread: instruction pointer, stack pointer, first argument; all else zero, but for what `set_bases`
    /// and `set_foreign` have set.
    fn start(&self, instruction_pointer: u64, stack_pointer: u64, argument: u64);
    /// Go on elsewhere, with nothing else changed.
    fn set_instruction_pointer(&self, instruction_pointer: u64);
    /// From now on, a system call from an address that has none of the bits of `native_mask` goes on at `entry` in the same
    /// space. A machine that can do this without the kernel does, and then such calls never come back as [`Trap::Call`];
    /// the others leave it to the kernel and [`Context::foreign_call`].
    fn set_foreign(&self, native_mask: u64, entry: u64) {
        let _ = (native_mask, entry);
    }
    /// Turn a foreign system call into an upcall ([`abi::upcall`]): `rcx`, `r11` as the instruction leaves them, `rip` at `entry`.
    fn foreign_call(&self, entry: u64);
    /// Where it is, for an upcall: instruction pointer, stack pointer, flags; and reset the flags.
    fn place(&self) -> abi::upcall::SavedPlace;
    /// All registers.
    fn registers(&self) -> abi::thread::Registers;
    /// Set all registers (flags and segment bases are made harmless).
    fn set_registers(&self, registers: &abi::thread::Registers);
    /// Set the segment bases.
    fn set_bases(&self, fs_base: u64, gs_base: u64);
}

/// The result registers of an exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// [`abi::Status`].
    pub status: u64,
    /// Request id.
    pub request: u64,
    /// The caller's identity.
    pub identity: u64,
    /// Badge.
    pub badge: u64,
    /// Bytes moved.
    pub moved: u64,
    /// Bytes sent | room << 32.
    pub lengths: u64,
}

/// A processor and its interrupt controllers. Methods never block and never allocate.
pub trait Machine: Sized + 'static {
    /// Saved registers of a thread, vector state included (or kept beside, found by the context's address).
    type Context: Context;
    /// An address space: names its root page table. `Default` (all zero) is no space.
    type Space: Copy + Default + PartialEq + fmt::Debug + 'static;
    /// Where the kernel's tables are: a reference, or something that knows. Where the address is a constant, the code that finds
    /// an object has it in its instructions, which are fewer and shorter.
    type Tables: Deref<Target = Tables<Self>> + Copy + 'static;

    /// Whether its entry code tries [`Kernel::pass_call`](crate::Kernel::pass_call),
    /// [`Kernel::pass_reply`](crate::Kernel::pass_reply) and, if it likes,
    /// [`Kernel::pass_segments`](crate::Kernel::pass_segments) before [`Machine::enter`] returns: then `enter` may return for
    /// another thread than it was called for.
    const PASSES_MESSAGES: bool = false;

    /// A new thread runs in this space: entry code that goes from thread to thread by itself wants to know.
    fn attach(&self, space: Self::Space, context: &Self::Context) {
        let _ = (space, context);
    }
    /// Run user code of a thread until it stops.
    fn enter(&self, space: Self::Space, context: &Self::Context) -> Trap;
    /// Wait for an interrupt, with nothing to run.
    fn idle(&self) -> Trap;
    /// Take a pending interrupt, if there is one, without waiting: called between the pieces of long work.
    fn poll(&self) -> Option<Trap> {
        None
    }
    /// Nanoseconds since boot.
    fn now(&self) -> u64;
    /// Cause [`Trap::Alarm`] at this time, soon if past; `u64::MAX`: no alarm. Replaces the earlier one. Where time passes in the
    /// kernel, "soon" leaves programs and other interrupts as long as a few alarms take: they may come without end.
    fn set_alarm(&self, at_ns: u64);

    /// Make an empty address space whose root table is `frame` (the machine clears it).
    fn create_space(&self, frame: Frame) -> Self::Space;
    /// Give the space's root frame back; every other table frame was returned by [`Machine::release_tables`].
    fn destroy_space(&self, space: Self::Space) -> Frame;
    /// Map `pages` pages from physical address `physical`, where nothing is mapped. They lie between two multiples of 512 pages, so
    /// all of them are mapped, or none (false) when `supply` has no further frame for a page table. May use a large page where all is aligned.
    fn map(
        &self,
        space: Self::Space,
        address: u64,
        physical: u64,
        pages: u64,
        access: PageAccess,
        supply: &mut dyn FnMut() -> Option<Frame>,
    ) -> bool;
    /// Remove the translations of `pages` pages, mapped or not, and forget them on every CPU. Whole ranges that were mapped
    /// with one call are removed whole; a large page that is only partly covered is split, with frames from `supply`
    /// (false: no frame, nothing was changed).
    fn unmap(&self, space: Self::Space, address: u64, pages: u64, supply: &mut dyn FnMut() -> Option<Frame>) -> bool;
    /// Change the access of the pages that are mapped in the range; splits large pages like `unmap`.
    fn protect(
        &self,
        space: Self::Space,
        address: u64,
        pages: u64,
        access: PageAccess,
        supply: &mut dyn FnMut() -> Option<Frame>,
    ) -> bool;
    /// Give back page-table frames (not the root) of a space being destroyed, which has no translations left; at most `limit` of them. `None`: no more.
    fn release_table(&self, space: Self::Space) -> Option<Frame>;
    /// Copy bytes between two spaces (user addresses), page by page by software walk. `length` is bounded by the kernel.
    ///
    /// # Errors
    /// Which side stopped it; the first value is the bytes moved in either case.
    fn copy(
        &self,
        from: Self::Space,
        source: u64,
        to: Self::Space,
        destination: u64,
        length: u64,
    ) -> (u64, Option<CopyFault>);
    /// Copy between the spaces of two contexts, if it is at most a page and can be done at once. False: go by
    /// [`Machine::copy`], as if nothing had been copied. `from` and `to`: space, context (for what the machine remembers of
    /// it) and address.
    fn copy_at_once(
        &self,
        from: (Self::Space, &Self::Context, u64),
        to: (Self::Space, &Self::Context, u64),
        length: u64,
    ) -> bool {
        length <= PAGE_SIZE && self.copy(from.0, from.2, to.0, to.2, length) == (length, None)
    }
    /// Read a structure from user memory into the kernel; false: not readable.
    fn read(&self, space: Self::Space, address: u64, bytes: &mut [u8]) -> bool;
    /// Read whole words from user memory (at any address) into cells of the kernel; false: not readable.
    fn read_words(&self, space: Self::Space, address: u64, words: &[Cell<u64>]) -> bool {
        let mut bytes = [0; 8];
        let mut at = address;
        for word in words {
            if !self.read(space, at, &mut bytes) {
                return false;
            }
            word.set(u64::from_le_bytes(bytes));
            at = at.wrapping_add(8);
        }
        true
    }
    /// Write a structure of the kernel to user memory; false: not writable.
    fn write(&self, space: Self::Space, address: u64, bytes: &[u8]) -> bool;
    /// Fill a page of the arena with zeros.
    fn clear_frame(&self, frame: Frame);

    /// Mask an interrupt line.
    fn mask(&self, line: u32);
    /// Unmask an interrupt line; `edge`: edge-triggered, active high, else level-triggered, active low.
    fn unmask(&self, line: u32, edge: bool);
    /// Read an I/O port of 1, 2 or 4 bytes.
    fn port_read(&self, port: u16, bytes: u8) -> u32;
    /// Write an I/O port of 1, 2 or 4 bytes.
    fn port_write(&self, port: u16, bytes: u8, value: u32);
    /// Write an event ([`abi::trace`]) into this CPU's ring, with the time. A machine without a ring writes none.
    fn trace(&self, event: u16, thread: u32, label: u64, word: u64, id: u64) {
        let _ = (event, thread, label, word, id);
    }
    /// Whether the slot or frame that is about to be taken is to be refused, as if none were left. Only a machine that looks
    /// for what comes of it does that.
    #[track_caller]
    fn refuses_memory(&self) -> bool {
        false
    }
    /// A sentence for whoever debugs the kernel itself.
    fn print(&self, text: &str);
    /// The kernel found itself broken: stop.
    fn halt(&self) -> !;
}
