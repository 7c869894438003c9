//! The registers of a simulated thread: the same ones as on x86_64, so that the ABI is exercised as it is.

use std::cell::Cell;

use abi::Operation;
use abi::thread::Registers;
use abi::upcall::SavedPlace;
use kernel::machine::{Context, Outcome};

/// Flags of a program that did nothing to them.
const FLAGS: u64 = 0x202;

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

/// Saved registers.
#[derive(Debug, Default)]
pub struct SimulatedContext {
    general: [Cell<u64>; 16],
    rip: Cell<u64>,
    rflags: Cell<u64>,
    fs_base: Cell<u64>,
    gs_base: Cell<u64>,
    native_mask: Cell<u64>,
}

impl SimulatedContext {
    /// The stack pointer.
    #[must_use]
    pub fn stack_pointer(&self) -> u64 {
        self.general[RSP].get()
    }

    /// What a thread was started with.
    #[must_use]
    pub fn argument(&self) -> u64 {
        self.general[RDI].get()
    }

    /// Set the registers of an exchange, as a program's stub does.
    pub fn set_exchange(&self, operation: u64, target: u64, gate: u64, envelope: u64, deadline: u64) {
        self.general[RAX].set(operation);
        self.general[RDI].set(target);
        self.general[RSI].set(gate);
        self.general[RDX].set(envelope);
        self.general[R8].set(deadline);
    }

    /// Set the address of a receive segment.
    pub fn set_receive_address(&self, address: u64) {
        self.general[R9].set(address);
    }

    /// What an exchange is, but for label and words, was not saved.
    pub(crate) fn forget_exchange(&self, instead: u64) {
        self.set_exchange(instead, instead, instead, instead, instead);
        self.set_receive_address(instead);
    }

    /// Set the registers that tell how many bytes there are.
    pub(crate) fn set_lengths(&self, moved: u64, lengths: u64) {
        self.general[R8].set(moved);
        self.general[R9].set(lengths);
    }

    /// Whether it stopped outside the native range, so that a call of its is its personality's.
    pub(crate) fn is_foreign(&self) -> bool {
        self.native_mask.get() & self.rip.get() == 0
    }

    /// The result registers of an exchange.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        Outcome {
            status: self.general[RAX].get(),
            request: self.general[RDI].get(),
            identity: self.general[RSI].get(),
            badge: self.general[RDX].get(),
            moved: self.general[R8].get(),
            lengths: self.general[R9].get(),
        }
    }
}

impl Context for SimulatedContext {
    fn operation(&self) -> u64 {
        self.general[RAX].get()
    }

    fn target(&self) -> u64 {
        self.general[RDI].get()
    }

    fn gate(&self) -> u64 {
        self.general[RSI].get()
    }

    fn envelope(&self) -> u64 {
        self.general[RDX].get()
    }

    fn deadline(&self) -> u64 {
        self.general[R8].get()
    }

    fn receive_address(&self) -> u64 {
        self.general[R9].get()
    }

    fn label(&self) -> u64 {
        self.general[R10].get()
    }

    fn words(&self) -> [u64; 4] {
        std::array::from_fn(|word| self.general[R12 + word].get())
    }

    fn instruction_pointer(&self) -> u64 {
        self.rip.get()
    }

    fn set_outcome(&self, outcome: Outcome) {
        self.general[RAX].set(outcome.status);
        self.general[RDI].set(outcome.request);
        self.general[RSI].set(outcome.identity);
        self.general[RDX].set(outcome.badge);
        self.general[R8].set(outcome.moved);
        self.general[R9].set(outcome.lengths);
    }

    fn set_receipt(&self, status: u64, request: u64, identity: u64, badge: u64) {
        self.general[RAX].set(status);
        self.general[RDI].set(request);
        self.general[RSI].set(identity);
        self.general[RDX].set(badge);
    }

    fn complete_plain_call(&self, target: u64) {
        self.general[RAX].set(Operation::Call as u64);
        self.general[RDI].set(target);
    }

    fn complete_plain_reply(&self, request: u64, gate: u64) {
        self.general[RAX].set(Operation::ReplyAndReceive as u64);
        self.general[RDI].set(request);
        self.general[RSI].set(gate);
    }

    fn set_foreign(&self, native_mask: u64, _entry: u64) {
        self.native_mask.set(native_mask);
    }

    fn set_label(&self, label: u64) {
        self.general[R10].set(label);
    }

    fn set_words(&self, words: [u64; 4]) {
        for (word, value) in words.into_iter().enumerate() {
            self.general[R12 + word].set(value);
        }
    }

    fn start(&self, instruction_pointer: u64, stack_pointer: u64, argument: u64) {
        for register in &self.general {
            register.set(0);
        }
        self.rip.set(instruction_pointer);
        self.rflags.set(FLAGS);
        self.general[RSP].set(stack_pointer);
        self.general[RDI].set(argument);
        self.fs_base.set(0);
        self.gs_base.set(0);
    }

    fn set_instruction_pointer(&self, instruction_pointer: u64) {
        self.rip.set(instruction_pointer);
    }

    fn foreign_call(&self, entry: u64) {
        self.general[RCX].set(self.rip.get());
        self.general[R11].set(self.rflags.get());
        self.rip.set(entry);
    }

    fn place(&self) -> SavedPlace {
        let rflags = self.rflags.replace(FLAGS);
        SavedPlace { rip: self.rip.get(), rsp: self.general[RSP].get(), rflags, ..SavedPlace::default() }
    }

    fn registers(&self) -> Registers {
        Registers {
            general: std::array::from_fn(|register| self.general[register].get()),
            rip: self.rip.get(),
            rflags: self.rflags.get(),
            fs_base: self.fs_base.get(),
            gs_base: self.gs_base.get(),
        }
    }

    fn set_registers(&self, registers: &Registers) {
        for (register, value) in self.general.iter().zip(registers.general) {
            register.set(value);
        }
        self.rip.set(registers.rip);
        self.rflags.set(registers.rflags & 0xcd5 | FLAGS);
        self.set_bases(registers.fs_base, registers.gs_base);
    }

    fn set_bases(&self, fs_base: u64, gs_base: u64) {
        self.fs_base.set(fs_base);
        self.gs_base.set(gs_base);
    }
}
