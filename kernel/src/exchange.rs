//! The one system call: what the registers ask for, and who answers.
//!
//! The plain message path is tried first (`call.rs`, `reply.rs`: everything checked before anything is written); what it
//! does not take comes here, where an exchange is parsed once into the thread (`operation`, `envelope`, `deadline`)
//! and then may block, be finished piece by piece, or be answered on the spot by a kernel object.

use crate::kernel::Kernel;
use crate::machine::{Context, Machine, Outcome};
use crate::thread::{ENVELOPE, FAULTING, Thread, Work};
use abi::call::flags;
use abi::{Error, Operation, Status};

const FLAGS: u64 = flags::DEADLINE_SEND
    | flags::DEADLINE_REPLY
    | flags::DEADLINE_RECEIVE
    | flags::INTERRUPTIBLE
    | flags::NO_GRACE
    | flags::CHARGE_ME
    | flags::RETRY
    | flags::HOLD;

impl<M: Machine> Kernel<M> {
    /// A thread made the system call.
    pub(crate) fn system_call(&self, index: u32) {
        let thread = self.tables.thread(index);
        let context = &thread.context;
        if thread.native_mask.get() & context.instruction_pointer() == 0 {
            self.foreign_call(index);
            return;
        }
        let operation = context.operation();
        if !M::PASSES_MESSAGES && operation <= 1 && context.envelope() == 0 {
            let done = if operation == 0 {
                self.fast_call::<true>(thread, context.target())
            } else {
                self.fast_reply::<true>(index, thread, context.target(), context.gate())
            };
            if done {
                return;
            }
        }
        if let Err(error) = self.exchange(index, thread, operation) {
            self.fail(index, error, 0);
            self.keep_running(index);
        }
    }

    /// The message path alone, for a machine's entry code: a plain call, without flags or envelope, of the thread that
    /// runs and whose context is saved. Who runs now (it has run before, so the machine knows its space); `None`: nothing
    /// was changed, go the general way. Label and words are left to the machine: they stay in registers.
    #[inline(always)]
    pub fn pass_call(&self, target: u64) -> Option<&M::Context> {
        let thread = self.tables.thread(self.cpu.thread.get());
        let passed = self.cpu.attention.get() == 0 && self.fast_call::<false>(thread, target);
        if passed { Some(&self.tables.thread(self.cpu.thread.get()).context) } else { None }
    }

    /// Likewise a plain reply-and-receive; the caller's outcome is all zero.
    #[inline(always)]
    pub fn pass_reply(&self, request: u64, gate: u64) -> Option<&M::Context> {
        let index = self.cpu.thread.get();
        let thread = self.tables.thread(index);
        let passed = self.cpu.attention.get() == 0 && self.fast_reply::<false>(index, thread, request, gate);
        if passed { Some(&self.tables.thread(self.cpu.thread.get()).context) } else { None }
    }

    fn exchange(&self, index: u32, thread: &Thread<M>, operation: u64) -> Result<(), Error> {
        let context = &thread.context;
        if operation & !(0xff | FLAGS) != 0 {
            return Err(Error::Unsupported);
        }
        let kind = Operation::from_number(operation as u8).ok_or(Error::Unsupported)?;
        thread.deadline.set(context.deadline());
        thread.moved.set(0);
        match context.envelope() {
            0 => thread.operation.set(operation),
            address => {
                if !self.machine.read_words(thread.space.get(), address, thread.envelope.words()) {
                    thread.operation.set(operation);
                    return Err(Error::BadAddress);
                }
                thread.envelope.check()?;
                thread.operation.set(operation | ENVELOPE);
            }
        }
        match kind {
            Operation::Call if self.quick_call(thread) => Ok(()),
            Operation::Call => self.call(index, thread),
            Operation::ReplyAndReceive if self.quick_reply(index, thread) => Ok(()),
            Operation::ReplyAndReceive | Operation::Reply => self.reply(index, thread),
            Operation::Receive => self.receive(index),
            Operation::Raise => self.raise_handle(thread),
            Operation::Read => self.begin_copy(index, thread, Work::Read),
            Operation::Write => self.begin_copy(index, thread, Work::Write),
        }
    }

    /// End an exchange with an error. Label and words stay what they were. A fault message's thread has no exchange.
    pub(crate) fn fail(&self, index: u32, error: Error, moved: u64) {
        let thread = self.tables.thread(index);
        thread.work.set(Work::None);
        if !thread.is(FAULTING) {
            let status = Status::failed(error).0;
            thread.context.set_outcome(Outcome { status, moved, ..Outcome::default() });
        }
    }

    /// End an exchange well, with nothing but a count of bytes.
    pub(crate) fn succeed(&self, index: u32, moved: u64) {
        let thread = self.tables.thread(index);
        thread.work.set(Work::None);
        thread.context.set_outcome(Outcome { moved, ..Outcome::default() });
    }

    /// A flag of the exchange that a thread is in.
    pub(crate) fn flagged(&self, thread: &Thread<M>, flag: u64) -> bool {
        thread.operation.get() & flag != 0
    }
}
