//! Faults of threads, as messages from the kernel.

use alloc::format;

use abi::notice;
use protocol::Reply;

use crate::server::{Call, Outcome, Server};
use crate::signal::{SIGBUS, SIGFPE, SIGILL, SIGKILL, SIGSEGV, SIGTRAP};
use crate::space::Fault;
use crate::wait::signaled;

/// Refused: the thread takes an upcall, or comes back as `FAULT_REFUSED`.
const REFUSED: Reply = Reply { label: 1, words: [0; 4] };

/// The signal of a processor exception (Intel SDM volume 3, 6.15; Linux `arch/x86/kernel/traps.c` for the choice).
#[must_use]
pub(crate) const fn signal_of(vector: u64) -> u32 {
    match vector {
        0 | 16 | 19 => SIGFPE,
        1 | 3 => SIGTRAP,
        6 => SIGILL,
        11 | 12 | 17 => SIGBUS,
        _ => SIGSEGV,
    }
}

impl Server {
    /// A fault message: words as [`notice`] says, the cookie being tid | space id << 32.
    pub(crate) fn serve_fault(&mut self, call: &Call) -> Outcome {
        let [first, instruction, third, cookie] = call.words;
        let thread = self.table.threads.get(&(cookie as u32));
        let Some((pid, space)) =
            thread.map(|thread| (thread.pid, thread.space)).filter(|(_, space)| *space as u32 == (cookie >> 32) as u32)
        else {
            return Outcome::Answer(REFUSED);
        };
        match call.label {
            notice::FAULT_PAGE => {
                if let Some(process) = self.table.process_mut(pid) {
                    process.faults += 1;
                }
                let Some(memory) = self.spaces.get_mut(&space) else { return Outcome::Answer(REFUSED) };
                match memory.fault(&mut self.ram, first, third) {
                    Fault::Resolved => Outcome::DONE,
                    Fault::Refused => {
                        // The kernel has the library told there.
                        self.make_block_writable(cookie as u32);
                        Outcome::Answer(REFUSED)
                    }
                    Fault::Exhausted => {
                        self.note(format!("out of memory at a page fault: process {pid} killed"));
                        self.end_process(pid, signaled(SIGKILL, false));
                        Outcome::Later
                    }
                }
            }
            notice::FAULT_REFUSED => {
                self.note(format!("process {pid}: no access to {first:#x} at {instruction:#x}"));
                self.end_process(pid, signaled(SIGSEGV, false));
                Outcome::Later
            }
            // The library was not told, but can be if it happens again.
            notice::FAULT_EXCEPTION if self.make_block_writable(cookie as u32) => Outcome::DONE,
            notice::FAULT_EXCEPTION => {
                self.note(format!("process {pid}: exception {first} at {instruction:#x}"));
                self.end_process(pid, signaled(signal_of(first), false));
                Outcome::Later
            }
            _ => Outcome::Answer(REFUSED),
        }
    }
}
