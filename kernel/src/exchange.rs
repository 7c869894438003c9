//! The one system call: what the registers ask for, and who answers.
//!
//! The plain message path is tried first (`call.rs`, `reply.rs`: everything checked before anything is written); what it
//! does not take comes here, where an exchange is parsed once into the thread (`operation`, `envelope`, `deadline`)
//! and then may block, be finished piece by piece, or be answered on the spot by a kernel object.

use crate::handle_table::Entry;
use crate::kernel::Kernel;
use crate::machine::{Context, Machine, Outcome};
use crate::thread::{FAULTING, Thread, Work};
use abi::call::{NEVER, flags};
use abi::object::{Kind, thread as method};
use abi::{Error, Handle, Operation, Status};

const FLAGS: u64 = flags::DEADLINE_SEND
    | flags::DEADLINE_REPLY
    | flags::DEADLINE_RECEIVE
    | flags::INTERRUPTIBLE
    | flags::NO_GRACE
    | flags::CHARGE_ME
    | flags::RETRY
    | flags::HOLD
    | flags::SEGMENTS
    | flags::ENVELOPE;

/// A plain call on its way from [`Kernel::pass_call`] to [`Kernel::finish_call`].
pub struct Missed<'a, M: Machine> {
    thread: &'a Thread<M>,
    entry: &'a Entry,
}

impl<M: Machine> Missed<'_, M> {
    /// Whether all that the thread wants is to let its equals run.
    #[inline(always)]
    pub fn is_yield(&self, target: u64) -> bool {
        target == Handle::CURRENT_THREAD.0 && self.thread.context.label() == u64::from(method::YIELD)
    }
}

impl<M: Machine> core::fmt::Debug for Missed<'_, M> {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.debug_struct("Missed").finish_non_exhaustive()
    }
}

impl<M: Machine> Kernel<M> {
    /// A thread made the system call.
    pub(crate) fn system_call(&self, index: u32) {
        let thread = self.tables.thread(index);
        let context = &thread.context;
        if !M::PASSES_MESSAGES && thread.native_mask.get() & context.instruction_pointer() == 0 {
            self.foreign_call(index);
            return;
        }
        let operation = context.operation();
        if !M::PASSES_MESSAGES && operation <= 1 {
            let done = if operation == 0 {
                let target = context.target();
                let entry = self.tables.slot(self.tables.process(thread.process.get()), target);
                self.fast_call::<true>(thread, entry, target).is_some()
            } else {
                self.fast_reply::<true>(index, thread, context.target(), context.gate()).is_some()
            };
            if done {
                return;
            }
        }
        if !M::PASSES_MESSAGES && operation == Operation::Raise as u64 && self.raise_at_once(thread) {
            return;
        }
        if let Err(error) = self.exchange(index, thread, operation) {
            self.fail(index, error, 0);
            self.keep_running(index);
        }
    }

    /// A plain call, without flags or envelope, for a machine's entry code: of the thread that runs, whose context is saved
    /// (but see [`Context::complete_plain_call`]). Who goes on with the message; its label and words are left to the machine: they
    /// stay in registers.
    ///
    /// # Errors
    /// It is no message, or none that can be passed at once: go by [`Kernel::finish_call`].
    #[inline(always)]
    pub fn pass_call(&self, target: u64) -> Result<&M::Context, Missed<'_, M>> {
        let tables = &self.tables;
        let thread = tables.thread(self.cpu.thread.get());
        let entry = tables.slot(tables.process(thread.process.get()), target);
        if self.cpu.attention.get() == 0
            && let Some(receiver) = self.fast_call::<false>(thread, entry, target)
        {
            return Ok(&receiver.context);
        }
        Err(Missed { thread, entry })
    }

    /// Likewise a plain reply-and-receive; the caller's outcome is all zero. `None`: nothing was changed, go by
    /// [`Kernel::take_call`].
    #[inline(always)]
    pub fn pass_reply(&self, request: u64, gate: u64) -> Option<&M::Context> {
        let index = self.cpu.thread.get();
        let thread = self.tables.thread(index);
        if self.cpu.attention.get() == 0
            && let Some(caller) = self.fast_reply::<false>(index, thread, request, gate)
        {
            return Some(&caller.context);
        }
        thread.context.complete_plain_reply(request, gate);
        None
    }

    /// Any system call, for a machine's entry code: of the thread that runs, whose context is saved. True: [`Kernel::current`] goes
    /// on, with all registers in its context; false: back to [`Kernel::step`].
    #[inline(always)]
    pub fn take_call(&self) -> bool {
        let index = self.cpu.thread.get();
        let thread = self.tables.thread(index);
        let raised = thread.context.operation() == Operation::Raise as u64 && self.raise_at_once(thread);
        if !raised && !self.pass_segments(index, thread) {
            self.system_call(index);
        }
        self.decided()
    }

    /// A call or reply-and-receive with segments in registers, nothing else that matters before it waits, and somebody to
    /// take it. False: go the general way.
    #[inline(always)]
    fn pass_segments(&self, index: u32, thread: &Thread<M>) -> bool {
        const HARMLESS: u64 = flags::INTERRUPTIBLE | flags::NO_GRACE | flags::CHARGE_ME | flags::RETRY;
        let (context, operation) = (&thread.context, thread.context.operation());
        if operation & !(HARMLESS | 1) != flags::SEGMENTS {
            return false;
        }
        thread.deadline.set(NEVER);
        thread.operation.set(operation | flags::ENVELOPE);
        if thread.envelope.set_segments(context.envelope(), context.receive_address(), context.deadline()).is_err() {
            return false;
        }
        if operation & 1 == Operation::Call as u64 { self.quick_call(thread) } else { self.quick_reply(index, thread) }
    }

    /// A plain call that [`Missed::is_yield`]; like [`Kernel::take_call`].
    #[inline(always)]
    pub fn finish_yield(&self, missed: Missed<'_, M>) -> bool {
        missed.thread.context.set_label(0);
        missed.thread.context.set_outcome(Outcome::default());
        self.yield_baton();
        self.decided()
    }

    /// A plain call that [`Kernel::pass_call`] did not pass; like [`Kernel::take_call`].
    #[inline(always)]
    pub fn finish_call(&self, missed: Missed<'_, M>, target: u64) -> bool {
        let Missed { thread, entry } = missed;
        if entry.key.get() == target && entry.kind.get() != Kind::Connection {
            thread.operation.set(0);
            thread.moved.set(0);
            if let Err(error) = self.call_method(thread, entry) {
                self.fail(thread.index(), error, 0);
            }
        } else {
            thread.context.complete_plain_call(target);
            self.system_call(thread.index());
        }
        self.decided()
    }

    /// The context of the thread that runs.
    #[inline(always)]
    pub fn current(&self) -> &M::Context {
        &self.tables.thread(self.cpu.thread.get()).context
    }

    /// Whether it is decided who goes on, after what must be done before.
    #[inline(always)]
    fn decided(&self) -> bool {
        self.cpu.attention.get() == 0 || self.attend_to_all()
    }

    fn exchange(&self, index: u32, thread: &Thread<M>, operation: u64) -> Result<(), Error> {
        if operation & !(0xff | FLAGS) != 0 {
            return Err(Error::Unsupported);
        }
        let kind = Operation::from_number(operation as u8).ok_or(Error::Unsupported)?;
        thread.moved.set(0);
        self.take_envelope(thread, operation)?;
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

    /// What goes with an exchange: from registers or from memory, once.
    #[inline(always)]
    fn take_envelope(&self, thread: &Thread<M>, operation: u64) -> Result<(), Error> {
        let context = &thread.context;
        // Until it is known to be good, there is none.
        thread.operation.set(operation & !flags::ENVELOPE);
        let deadline = if operation & flags::DEADLINES == 0 { NEVER } else { context.deadline() };
        thread.deadline.set(deadline);
        if operation & flags::SEGMENTS != 0 {
            if operation & (flags::DEADLINES | flags::ENVELOPE) != 0 {
                return Err(Error::BadArgument);
            }
            thread.envelope.set_segments(context.envelope(), context.receive_address(), context.deadline())?;
        } else if operation & flags::ENVELOPE != 0 {
            if !self.machine.read_words(thread.space.get(), context.envelope(), thread.envelope.words()) {
                return Err(Error::BadAddress);
            }
            thread.envelope.check()?;
        } else {
            return Ok(());
        }
        thread.operation.set(operation | flags::ENVELOPE);
        Ok(())
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
