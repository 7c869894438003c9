//! Saved registers of a thread. The assembly of trap.rs knows this layout by the offsets below.

use core::cell::Cell;

use abi::Operation;
use abi::thread::Registers;
use abi::upcall::SavedPlace;
use kernel::machine::{Context, Outcome};

use crate::space::{Space, Translation};
use crate::{bases, vector};

/// Flags that a program may have set: CF, PF, AF, ZF, SF, TF, DF, OF, AC, ID.
const USER_FLAGS: u64 = 0x24_0dd5;
/// Flags of a fresh program: interrupts on, and the bit that is always set.
pub(crate) const FRESH_FLAGS: u64 = 0x202;

const RAX: usize = 0;
const RCX: usize = 2;
const RDX: usize = 3;
const RSI: usize = 4;
const RDI: usize = 5;
const RSP: usize = 7;
const R8: usize = 8;
const R9: usize = 9;
const R10: usize = 10;
const R11: usize = 11;
const R12: usize = 12;

/// The registers, in the order of [`Registers`], and what the machine keeps with them. All zero is a thread that was never
/// started: its instruction pointer is not mapped in any space.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct X86Context {
    general: [Cell<u64>; 16],
    instruction_pointer: Cell<u64>,
    flags: Cell<u64>,
    fs_base: Cell<u64>,
    gs_base: Cell<u64>,
    /// Not 0: every register counts, so it goes on by `iretq`, which sets this to 0. 0: it runs, or is inside a system call, which
    /// loses `rcx` and `r11`, so it goes on by `sysretq`.
    whole: Cell<u64>,
    /// Where the vector registers are saved: the thread's own area.
    pub(crate) area: Cell<u64>,
    /// Its address space.
    pub(crate) space: Cell<Space>,
    /// Instructions whose address has one of these bits use [`abi::Operation`]s; system calls from elsewhere go to `foreign_entry`.
    native_mask: Cell<u64>,
    foreign_entry: Cell<u64>,
    /// Where the page is that a message of its was last copied from, or to.
    pub(crate) read: Translation,
    pub(crate) written: Translation,
}

pub(crate) const SPACE: usize = core::mem::offset_of!(X86Context, space);
pub(crate) const AREA: usize = core::mem::offset_of!(X86Context, area);
pub(crate) const INSTRUCTION_POINTER: usize = core::mem::offset_of!(X86Context, instruction_pointer);
pub(crate) const FLAGS: usize = core::mem::offset_of!(X86Context, flags);
pub(crate) const FS_BASE: usize = core::mem::offset_of!(X86Context, fs_base);
pub(crate) const GS_BASE: usize = core::mem::offset_of!(X86Context, gs_base);
pub(crate) const WHOLE: usize = core::mem::offset_of!(X86Context, whole);
pub(crate) const NATIVE_MASK: usize = core::mem::offset_of!(X86Context, native_mask);
pub(crate) const FOREIGN_ENTRY: usize = core::mem::offset_of!(X86Context, foreign_entry);

const _: () = assert!(size_of::<X86Context>() == 248);

impl Default for X86Context {
    fn default() -> Self {
        Self {
            general: [const { Cell::new(0) }; 16],
            instruction_pointer: Cell::new(0),
            flags: Cell::new(FRESH_FLAGS),
            fs_base: Cell::new(0),
            gs_base: Cell::new(0),
            whole: Cell::new(1),
            area: Cell::new(0),
            space: Cell::default(),
            native_mask: Cell::new(u64::MAX),
            foreign_entry: Cell::new(0),
            read: Translation::default(),
            written: Translation::default(),
        }
    }
}

/// An address that `iretq` and `wrfsbase` accept: one outside the lower half would be a fault of the kernel's. What a
/// program gets instead is a page that is never mapped, so that the fault is its own.
const fn user_address(address: u64) -> u64 {
    if address <= abi::USER_END { address } else { abi::USER_END }
}

impl X86Context {
    fn set(&self, register: usize, value: u64) {
        self.general[register].set(value);
    }

    /// The segment bases: those that are loaded, if they are this thread's.
    fn bases(&self) -> (u64, u64) {
        if vector::is_loaded(self) { bases::loaded() } else { (self.fs_base.get(), self.gs_base.get()) }
    }

    /// Its segment bases are about to be replaced: keep them.
    #[inline]
    pub(crate) fn keep_bases(&self) {
        let (fs, gs) = bases::loaded();
        self.fs_base.set(fs);
        self.gs_base.set(gs);
    }

    /// Load its segment bases.
    #[inline]
    pub(crate) fn load_bases(&self) {
        bases::load(self.fs_base.get(), self.gs_base.get());
    }


    fn go_on_whole_at(&self, instruction_pointer: u64) {
        self.instruction_pointer.set(user_address(instruction_pointer));
        self.whole.set(1);
    }
}

impl Context for X86Context {
    #[inline]
    fn operation(&self) -> u64 {
        self.general[RAX].get()
    }

    #[inline]
    fn target(&self) -> u64 {
        self.general[RDI].get()
    }

    #[inline]
    fn gate(&self) -> u64 {
        self.general[RSI].get()
    }

    #[inline]
    fn envelope(&self) -> u64 {
        self.general[RDX].get()
    }

    #[inline]
    fn deadline(&self) -> u64 {
        self.general[R8].get()
    }

    #[inline]
    fn receive_address(&self) -> u64 {
        self.general[R9].get()
    }

    #[inline]
    fn label(&self) -> u64 {
        self.general[R10].get()
    }

    #[inline]
    fn words(&self) -> [u64; 4] {
        [self.general[R12].get(), self.general[R12 + 1].get(), self.general[R12 + 2].get(), self.general[R12 + 3].get()]
    }

    #[inline]
    fn instruction_pointer(&self) -> u64 {
        self.instruction_pointer.get()
    }

    #[inline]
    fn set_outcome(&self, outcome: Outcome) {
        self.set(RAX, outcome.status);
        self.set(RDI, outcome.request);
        self.set(RSI, outcome.identity);
        self.set(RDX, outcome.badge);
        self.set(R8, outcome.moved);
        self.set(R9, outcome.lengths);
    }

    #[inline]
    fn set_receipt(&self, status: u64, request: u64, identity: u64, badge: u64) {
        self.set(RAX, status);
        self.set(RDI, request);
        self.set(RSI, identity);
        self.set(RDX, badge);
    }

    #[inline]
    fn set_words(&self, words: [u64; 4]) {
        self.set(R12, words[0]);
        self.set(R12 + 1, words[1]);
        self.set(R12 + 2, words[2]);
        self.set(R12 + 3, words[3]);
    }

    #[inline]
    fn set_label(&self, label: u64) {
        self.set(R10, label);
    }

    #[inline]
    fn set_word(&self, word: u64) {
        self.set(R12, word);
    }

    fn complete_plain_call(&self, target: u64) {
        self.set(RAX, Operation::Call as u64);
        self.set(RDI, target);
    }

    fn complete_plain_reply(&self, request: u64, gate: u64) {
        self.set(RAX, Operation::ReplyAndReceive as u64);
        self.set(RDI, request);
        self.set(RSI, gate);
    }

    fn start(&self, instruction_pointer: u64, stack_pointer: u64, argument: u64) {
        let (fs_base, gs_base) = self.bases();
        self.set_registers(&Registers { rip: instruction_pointer, fs_base, gs_base, ..Registers::default() });
        self.set(RSP, stack_pointer);
        self.set(RDI, argument);
        self.read.forget();
        self.written.forget();
        vector::reset(self);
    }

    fn set_instruction_pointer(&self, instruction_pointer: u64) {
        self.go_on_whole_at(instruction_pointer);
    }

    fn set_foreign(&self, native_mask: u64, entry: u64) {
        self.native_mask.set(native_mask);
        self.foreign_entry.set(user_address(entry));
    }

    fn foreign_call(&self, entry: u64) {
        self.set(RCX, self.instruction_pointer.get());
        self.set(R11, self.flags.get());
        self.flags.set(FRESH_FLAGS);
        self.go_on_whole_at(entry);
    }

    fn place(&self) -> SavedPlace {
        let place = SavedPlace {
            rip: self.instruction_pointer.get(),
            rsp: self.general[RSP].get(),
            rflags: self.flags.get(),
            ..SavedPlace::default()
        };
        self.flags.set(FRESH_FLAGS);
        place
    }

    fn registers(&self) -> Registers {
        let (fs_base, gs_base) = self.bases();
        let mut registers = Registers {
            rip: self.instruction_pointer.get(),
            rflags: self.flags.get(),
            fs_base,
            gs_base,
            ..Registers::default()
        };
        for (to, from) in registers.general.iter_mut().zip(&self.general) {
            *to = from.get();
        }
        registers
    }

    fn set_registers(&self, registers: &Registers) {
        for (to, from) in self.general.iter().zip(&registers.general) {
            to.set(*from);
        }
        self.flags.set(registers.rflags & USER_FLAGS | FRESH_FLAGS);
        self.set_bases(registers.fs_base, registers.gs_base);
        self.go_on_whole_at(registers.rip);
    }

    fn set_bases(&self, fs_base: u64, gs_base: u64) {
        self.fs_base.set(user_address(fs_base));
        self.gs_base.set(user_address(gs_base));
        if vector::is_loaded(self) {
            self.load_bases();
        }
    }
}
