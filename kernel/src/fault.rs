//! Faults: a message to the thread's fault connection (its pager), then what the pager refused becomes an upcall, or a
//! second message, or the end of the thread. And the other upcalls: foreign system calls, posted interrupts.

use crate::bytes::{store, word};
use crate::kernel::Kernel;
use crate::machine::{Context, Machine};
use crate::schedule::SCHEDULE;
use crate::thread::{CODE, FAULTING, FaultMessage, LASTING, READY, RECEIVE, REPLY, SEND, Thread, Work};
use abi::call::flags;
use abi::upcall::{SavedPlace, UpcallBlock};
use abi::{Error, notice, trace};
use core::mem::offset_of;

/// The processor's vectors that the kernel itself reports.
const INVALID_INSTRUCTION: u64 = 6;
const PAGE_FAULT: u64 = 14;

impl<M: Machine> Kernel<M> {
    /// A page is missing or forbids the access, says the thread that runs: ask the pager.
    pub(crate) fn page_fault(&self, index: u32, address: u64, access: u64) {
        let thread = self.tables.thread(index);
        self.keep_fault(thread, notice::FAULT_PAGE, address, access);
        thread.operation.set(0);
        let connection = self.tables.connection(thread.fault_connection.get());
        if connection.header.generation.get() != thread.fault_generation.get()
            || self.deliver_at_once(thread, connection, FAULTING, true).is_none()
        {
            self.send_fault(index);
        }
    }

    /// Another exception: an upcall, else a message.
    pub(crate) fn exception(&self, index: u32, vector: u64, code: u64) {
        let thread = self.tables.thread(index);
        self.keep_fault(thread, notice::FAULT_EXCEPTION, vector, code);
        if !self.fault_upcall(index, vector, code, 0) {
            self.send_fault(index);
        }
    }

    /// Keep what the message says: this, and where the thread is.
    fn keep_fault(&self, thread: &Thread<M>, label: u64, what: u64, how: u64) {
        self.note(trace::FAULTED, thread.index(), label as u32, what);
        let words = [what, thread.context.instruction_pointer(), how, thread.upcalls.get().cookie];
        thread.fault.set(FaultMessage { label, words });
    }

    /// Send the thread's fault to its fault connection; without one, or if that fails, it counts as refused.
    fn send_fault(&self, index: u32) {
        let thread = self.tables.thread(index);
        let connection = self.tables.connection(thread.fault_connection.get());
        thread.operation.set(0);
        thread.state.set(thread.state.get() & LASTING | READY | FAULTING);
        let sent = if connection.header.alive() && connection.header.generation.get() == thread.fault_generation.get() {
            self.send(index, connection.gate.get(), connection.badge.get())
        } else {
            Err(Error::Gone)
        };
        if sent.is_err() {
            thread.state.set(thread.state.get() & !FAULTING);
            self.fault_refused(index);
        }
    }

    /// The fault's message was answered with a refusal, or had nobody to go to. The thread is runnable.
    pub(crate) fn fault_refused(&self, index: u32) {
        let thread = self.tables.thread(index);
        let message = thread.fault.get();
        if message.label == notice::FAULT_PAGE {
            let [address, _, access, _] = message.words;
            if self.fault_upcall(index, PAGE_FAULT, access, address) {
                return;
            }
            self.keep_fault(thread, notice::FAULT_REFUSED, address, access);
            self.send_fault(index);
        } else {
            if thread.process.get() == 1 {
                self.machine.print("init died of a fault");
            }
            self.end_thread(index);
        }
    }

    /// The fault was dealt with: the thread goes on, unless an interrupt was posted meanwhile.
    pub(crate) fn resume_from_fault(&self, index: u32) {
        if self.tables.thread(index).interrupted.get() {
            self.try_interrupt_upcall(index);
        }
    }

    fn write_words(&self, thread: &Thread<M>, address: u64, words: &[u64]) -> bool {
        let mut bytes = [0; size_of::<SavedPlace>()];
        store(&mut bytes, words);
        let length = (words.len() * 8).min(bytes.len());
        self.machine.write(thread.space.get(), address, bytes.get(..length).unwrap_or_default())
    }

    /// Enter the library's fault handler, if there is one and it is not already at work.
    fn fault_upcall(&self, index: u32, vector: u64, code: u64, address: u64) -> bool {
        let thread = self.tables.thread(index);
        let (entry, block) = (thread.upcalls.get().fault, thread.upcalls.get().block);
        if entry == 0 || block == 0 {
            return false;
        }
        let flag = block.wrapping_add(offset_of!(UpcallBlock, fault_active) as u64);
        let mut active = [0; 8];
        if !self.machine.read(thread.space.get(), flag, &mut active) || word(&active, 0) != 0 {
            return false;
        }
        let saved = block.wrapping_add(offset_of!(UpcallBlock, fault) as u64);
        // `place` resets the flags, so the block is tried first.
        if !self.write_words(thread, saved, &[0; 6]) || !self.write_words(thread, flag, &[1]) {
            return false;
        }
        let place = thread.context.place();
        self.write_words(thread, saved, &[place.rip, place.rsp, place.rflags, vector, code, address]);
        thread.context.set_instruction_pointer(entry);
        true
    }

    /// A system call from outside the native range: the library's business.
    pub(crate) fn foreign_call(&self, index: u32) {
        let thread = self.tables.thread(index);
        match thread.upcalls.get().syscall {
            0 => self.exception(index, INVALID_INSTRUCTION, 0),
            entry => thread.context.foreign_call(entry),
        }
    }

    /// `thread.INTERRUPT`: post an asynchronous upcall.
    pub(crate) fn post_interrupt(&self, index: u32) {
        let thread = self.tables.thread(index);
        thread.interrupted.set(true);
        let block = thread.upcalls.get().block;
        if block != 0 {
            self.write_words(thread, block.wrapping_add(offset_of!(UpcallBlock, interrupt_pending) as u64), &[1]);
        }
        let interruptible = self.flagged(thread, flags::INTERRUPTIBLE);
        match thread.state.get() & (CODE | FAULTING) {
            READY if thread.work.get() == Work::None => self.try_interrupt_upcall(index),
            SEND | REPLY | RECEIVE if interruptible && thread.interrupted.replace(false) => {
                self.break_off(index, Error::Interrupted);
            }
            _ => {}
        }
    }

    /// A thread in user mode with a sticky interrupt: enter the library, if it is outside the native range.
    fn try_interrupt_upcall(&self, index: u32) {
        let thread = self.tables.thread(index);
        let (entry, block) = (thread.upcalls.get().interrupt, thread.upcalls.get().block);
        let at = thread.context.instruction_pointer();
        if at >= thread.upcalls.get().window_start && at < thread.upcalls.get().window_end {
            // The window begins with the check for what is pending.
            thread.context.set_instruction_pointer(thread.upcalls.get().window_start);
            thread.interrupted.set(false);
            return;
        }
        if entry == 0 || block == 0 || thread.native_mask.get() & at != 0 {
            return;
        }
        let saved = block.wrapping_add(offset_of!(UpcallBlock, interrupt) as u64);
        if !self.write_words(thread, saved, &[0; 6]) {
            return;
        }
        let place = thread.context.place();
        self.write_words(thread, saved, &[place.rip, place.rsp, place.rflags, 0, 0, 0]);
        thread.context.set_instruction_pointer(entry);
        thread.interrupted.set(false);
        self.cpu.attend(SCHEDULE);
    }
}
