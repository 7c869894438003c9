//! The one system call: what the registers ask for, and who answers.
//!
//! The plain message path is tried first (`call.rs`, `reply.rs`: everything checked before anything is written); what it
//! does not take comes here, where an exchange is parsed once into the thread (`operation`, `envelope`, `deadline`)
//! and then may block, be finished piece by piece, or be answered on the spot by a kernel object.

use crate::handle_table::Entry;
use crate::kernel::Kernel;
use crate::machine::{Context, Machine, Outcome, Trap};
use crate::thread::{FAULTING, LENDS, Thread, Work};
use abi::call::flags;
use abi::object::thread as method;
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

/// What became of a plain call that could not be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finished {
    /// A kernel object has answered: the thread goes on, with the words of its context; label and outcome are all zero.
    Answered,
    /// [`Kernel::current`] goes on, with all registers in its context.
    Decided,
    /// Back to [`Kernel::step`].
    Undecided,
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

/// A call or reply-and-receive with segments, as its registers say; see [`abi::call`].
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    /// Operation and flags.
    pub operation: u64,
    /// Handle or request.
    pub target: u64,
    /// Where to receive.
    pub gate: u64,
    /// Address of the bytes to send.
    pub send: u64,
    /// Address of the room for bytes.
    pub receive: u64,
    /// Bytes to send (bits 0–31) and room (bits 32–63).
    pub lengths: u64,
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
        let thread = self.tables.thread(self.cpu.thread.get());
        if thread.context.operation() != Operation::Raise as u64 || !self.raise_at_once(thread) {
            self.system_call(thread.index());
        }
        self.decided()
    }

    /// What else stopped the thread that runs; like [`Kernel::take_call`].
    #[inline(always)]
    pub fn take_trap(&self, trap: Trap) -> bool {
        self.trapped(self.cpu.thread.get(), trap);
        self.decided()
    }

    /// A call or reply-and-receive with segments in registers, for a machine's entry code: of the thread that runs, whose context
    /// is saved. Who goes on with the message; its label and words are left to the machine: they stay in registers. `None`:
    /// nothing was changed, go by [`Kernel::take_call`].
    #[inline(always)]
    pub fn pass_segments(&self, exchange: Exchange) -> Option<&M::Context> {
        // What matters only while it waits.
        const HARMLESS: u64 = flags::INTERRUPTIBLE | flags::NO_GRACE | flags::CHARGE_ME | flags::RETRY;
        let Exchange { operation, target, gate, send, receive, lengths } = exchange;
        let thread = self.tables.thread(self.cpu.thread.get());
        if self.cpu.attention.get() != 0
            || operation & !(HARMLESS | 1) != flags::SEGMENTS
            || !thread.envelope.keeps_short_segments(send, receive, lengths)
        {
            return None;
        }
        thread.operation.set(operation);
        if operation & 1 == Operation::Call as u64 {
            self.quick_call(target, thread, false)
        } else {
            self.quick_reply(target, gate, thread, false)
        }
    }

    /// A plain call that [`Missed::is_yield`]; like [`Kernel::take_call`].
    #[inline(always)]
    pub fn finish_yield(&self, missed: Missed<'_, M>) -> bool {
        missed.thread.context.set_label(0);
        missed.thread.context.set_outcome(Outcome::default());
        self.yield_baton();
        self.decided()
    }

    /// A plain call that [`Kernel::pass_call`] did not pass.
    #[inline(always)]
    pub fn finish_call(&self, missed: Missed<'_, M>, target: u64) -> Finished {
        let Missed { thread, entry } = missed;
        if !self.calls_object(thread, entry, target) {
            return self.finish_generally(thread, target);
        }
        thread.operation.set(0);
        match self.call_method(thread, entry) {
            // Unless somebody stronger, whom the method told something, runs at once.
            Ok(()) if self.cpu.attention.get() == 0 && self.cpu.thread.get() == thread.index() => Finished::Answered,
            answer => self.finish_answer(thread, answer),
        }
    }

    #[inline(never)]
    fn finish_generally(&self, thread: &Thread<M>, target: u64) -> Finished {
        thread.context.complete_plain_call(target);
        self.system_call(thread.index());
        self.finished()
    }

    #[inline(never)]
    fn finish_answer(&self, thread: &Thread<M>, answer: Result<(), Error>) -> Finished {
        match answer {
            Ok(()) => {
                thread.context.set_label(0);
                thread.context.set_outcome(Outcome::default());
            }
            Err(error) => self.fail(thread.index(), error, 0),
        }
        self.finished()
    }

    fn finished(&self) -> Finished {
        if self.decided() { Finished::Decided } else { Finished::Undecided }
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
        let (target, gate) = (thread.context.target(), thread.context.gate());
        match kind {
            Operation::Call if self.quick_call(target, thread, true).is_some() => Ok(()),
            Operation::Call => self.call(index, thread),
            Operation::ReplyAndReceive if self.quick_reply(target, gate, thread, true).is_some() => Ok(()),
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
        thread.operation.set(operation & !LENDS);
        // It is looked at only with a flag that says for what.
        thread.deadline.set(context.deadline());
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
            thread.envelope.clear();
            return Ok(());
        }
        thread.operation.set(operation);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{self, Fake};
    use crate::schedule::{ALARM, SCHEDULE};
    use crate::thread::{READY, RECEIVE, REPLY};
    use abi::object::{Kind, gate, process, thread};
    use abi::{notice, trace};
    use core::ptr::eq;

    /// With 5 bytes of 9 that there is room for, each way.
    fn segments(operation: Operation, flags: u64, target: u64, gate: u64) -> Exchange {
        let operation = operation as u64 | flags::SEGMENTS | flags;
        Exchange { operation, target, gate, send: 0x1000, receive: 0x2000, lengths: 5 | 9 << 32 }
    }

    /// A caller, a server that waits, and nothing to look after.
    fn pair() -> fake::Pair {
        let pair = fake::pair();
        pair.kernel.cpu.attention.set(0);
        pair
    }

    #[test]
    fn a_round_trip_with_segments_is_passed_but_for_its_words() {
        let pair = pair();
        let kernel = &pair.kernel;
        let (caller, server) = (kernel.tables.thread(pair.caller), kernel.tables.thread(pair.server));
        let words = [1, 2, 3, 4];
        server.context.set_message(3, words);
        let runs =
            |context: Option<&_>, thread: &Thread<_>| context.is_some_and(|it| core::ptr::eq(it, &thread.context));

        let call = segments(Operation::Call, flags::INTERRUPTIBLE, pair.connection.0, 0);
        assert!(runs(kernel.pass_segments(call), server));
        assert_eq!((kernel.cpu.thread.get(), caller.code(), server.code()), (pair.server, REPLY, READY));
        let outcome = server.context.outcome.get();
        assert_eq!((outcome.request, outcome.moved, outcome.lengths), (caller.request.get(), 0, 5 | 9 << 32));

        // The server takes what it is sent from now on.
        let reply = segments(Operation::ReplyAndReceive, 0, caller.request.get(), pair.gate.0);
        assert!(runs(kernel.pass_segments(reply), caller));
        let outcome = caller.context.outcome.get();
        assert_eq!((kernel.cpu.thread.get(), outcome.moved, outcome.status), (pair.caller, 5, 0));
        assert!(runs(kernel.pass_segments(call), server));
        assert_eq!(server.context.outcome.get().moved, 5);
        assert_eq!((server.context.label(), server.context.words()), (3, words));
    }

    #[test]
    fn what_is_odd_about_segments_goes_the_general_way() {
        let pair = pair();
        let kernel = &pair.kernel;
        let call = segments(Operation::Call, 0, pair.connection.0, 0);
        let odd = [
            segments(Operation::Call, flags::DEADLINE_SEND, pair.connection.0, 0),
            segments(Operation::Call, flags::ENVELOPE, pair.connection.0, 0),
            segments(Operation::Receive, 0, pair.connection.0, 0),
            segments(Operation::Call, 0, pair.connection.0 + 0x10000, 0),
            Exchange { operation: 0, ..call },
            Exchange { send: abi::USER_END - 4, ..call },
            Exchange { send: u64::MAX, ..call },
            Exchange { receive: abi::USER_END - 8, ..call },
            Exchange { lengths: abi::envelope::MESSAGE_MAXIMUM + 1, ..call },
            Exchange { lengths: (abi::envelope::MESSAGE_MAXIMUM + 1) << 32, ..call },
        ];
        for exchange in odd {
            assert!(kernel.pass_segments(exchange).is_none(), "{exchange:x?}");
        }
        // Something must be looked after first.
        kernel.cpu.attend(ALARM);
        assert!(kernel.pass_segments(call).is_none());
        assert_eq!((kernel.cpu.thread.get(), kernel.tables.thread(pair.caller).code()), (pair.caller, READY));
        kernel.cpu.attention.set(0);
        assert!(kernel.pass_segments(call).is_some());
    }

    #[test]
    fn long_messages_and_answers_to_faults_go_the_general_way() {
        let pair = pair();
        let kernel = &pair.kernel;
        let (caller, server) = (kernel.tables.thread(pair.caller), kernel.tables.thread(pair.server));
        let long = crate::transfer::PIECE + 1;
        server.operation.set(flags::ENVELOPE);
        server.envelope.set_segments(0, 0x1000, long << 32).expect("a program's");
        let call = segments(Operation::Call, 0, pair.connection.0, 0);
        let call = Exchange { lengths: long, ..call };
        assert!(kernel.pass_segments(call).is_none());
        assert!(kernel.pass_segments(Exchange { lengths: long - 1, ..call }).is_some());

        caller.state.set(caller.state.get() | FAULTING);
        let reply = segments(Operation::ReplyAndReceive, 0, caller.request.get(), pair.gate.0);
        assert!(kernel.pass_segments(reply).is_none());
        caller.state.set(caller.state.get() & !FAULTING);
        assert!(kernel.pass_segments(reply).is_some());
    }

    /// A plain call of init's first thread, as a machine's entry code makes it: what became of it, its status, its first word. (Word 1 is all rights.)
    fn plain(kernel: &Kernel<Fake>, target: Handle, label: u16, first: u64) -> (Finished, Status, u64) {
        let context = &kernel.tables.thread(1).context;
        context.outcome.set(Outcome { status: u64::MAX, ..Outcome::default() });
        context.operation.set(0);
        context.target.set(target.0);
        context.label.set(u64::from(label));
        context.words.set([first, u64::from(abi::Rights::ALL.0), 0, 0]);
        kernel.cpu.thread.set(1);
        let Err(missed) = kernel.pass_call(target.0) else { panic!("nobody waits for a message") };
        let finished = kernel.finish_call(missed, target.0);
        (finished, Status(context.outcome.get().status), context.words.get()[0])
    }

    /// The outcome of what is answered at once is the machine's to set, so it stays what it was.
    const UNTOUCHED: Status = Status(u64::MAX);

    #[test]
    fn a_plain_call_to_an_object_is_answered_at_once() {
        let pair = fake::pair();
        let kernel = &pair.kernel;
        assert!(kernel.decided());
        let asked = plain(kernel, Handle::SELF_PROCESS, process::HANDLE_INFORMATION, pair.gate.0);
        assert_eq!(asked, (Finished::Answered, UNTOUCHED, u64::from(abi::Rights::ALL.0 as u8)));
        assert_eq!(kernel.tables.thread(1).context.words.get()[1], Kind::Gate as u64);
        assert_eq!(plain(kernel, pair.gate, gate::INFORMATION, 9), (Finished::Answered, UNTOUCHED, 0));
    }

    #[test]
    fn what_is_wrong_or_noted_goes_the_general_way() {
        let pair = fake::pair();
        let kernel = &pair.kernel;
        assert!(kernel.decided());
        let failed = |target, label, first| {
            let (finished, status, _) = plain(kernel, target, label, first);
            assert_eq!(finished, Finished::Decided);
            status.result()
        };
        let dead = Handle(plain(kernel, Handle::SELF_PROCESS, process::CREATE_GATE, 0).2);
        let copy = Handle(plain(kernel, Handle::SELF_PROCESS, process::DUPLICATE, dead.0).2);
        assert_eq!(failed(Handle(pair.gate.0 + 0x10000), gate::INFORMATION, 0), Err(Error::BadHandle));
        assert_eq!(failed(pair.gate, process::IDENTITY, 0), Err(Error::WrongKind));
        assert_eq!(failed(pair.gate, 0x9901, 0), Err(Error::Unsupported));
        assert_eq!(failed(pair.gate, gate::INFORMATION | 0xff, 0), Err(Error::Unsupported));
        assert_eq!(failed(Handle::SELF_PROCESS, process::HANDLE_INFORMATION, 77), Err(Error::BadHandle));
        assert_eq!(plain(kernel, Handle::SELF_PROCESS, process::DESTROY, dead.0).2, dead.0);
        assert_eq!(failed(copy, gate::INFORMATION, 0), Err(Error::BadHandle));
        kernel.cpu.classes.set(trace::class_of(trace::CALLED) as u32);
        assert_eq!(plain(kernel, pair.gate, gate::INFORMATION, 9), (Finished::Decided, Status(0), 0));
    }

    #[test]
    fn what_changes_who_runs_leaves_a_whole_outcome_behind() {
        let pair = fake::pair();
        let kernel = &pair.kernel;
        kernel.cpu.attend(SCHEDULE);
        assert_eq!(plain(kernel, pair.gate, gate::INFORMATION, 0).1, Status(0));
        let own = Handle(plain(kernel, Handle::SELF_PROCESS, process::DUPLICATE, Handle::CURRENT_THREAD.0).2);
        let context = &kernel.tables.thread(1).context;
        assert_ne!(plain(kernel, own, thread::STOP, 0).0, Finished::Answered);
        assert_eq!(Status(context.outcome.get().status), Status(0));
        assert_ne!(kernel.cpu.thread.get(), 1);
    }

    #[test]
    fn who_tells_somebody_stronger_something_goes_on_later_with_a_whole_outcome() {
        let pair = fake::pair();
        let kernel = &pair.kernel;
        assert!(kernel.decided());
        let told = plain(kernel, Handle::SELF_PROCESS, process::CLOSE, pair.connection.0);
        assert_eq!((told.0, told.1), (Finished::Decided, Status(0)));
        let server = kernel.tables.thread(pair.server);
        assert!(eq(kernel.current(), &server.context));
        assert_eq!(server.context.label.get(), notice::CLOSED);
        assert!(Status(server.context.outcome.get().status).is_pulse());
    }

    #[test]
    fn plain_calls_and_replies_are_passed_while_nothing_is_to_be_attended_to() {
        let pair = fake::pair();
        let kernel = &pair.kernel;
        let (caller, server) = (kernel.tables.thread(pair.caller), kernel.tables.thread(pair.server));
        kernel.cpu.attention.set(SCHEDULE);
        assert!(kernel.pass_call(pair.connection.0).is_err());
        kernel.cpu.attention.set(0);
        assert!(eq(kernel.pass_call(pair.connection.0).unwrap(), &server.context));
        assert_eq!((kernel.cpu.thread.get(), caller.code(), server.code()), (pair.server, REPLY, READY));
        assert!(eq(kernel.current(), &server.context));

        let request = caller.request.get();
        kernel.cpu.attention.set(SCHEDULE);
        assert!(kernel.pass_reply(request, pair.gate.0).is_none());
        kernel.cpu.attention.set(0);
        assert!(kernel.pass_reply(request, 0).is_none());
        assert!(eq(kernel.pass_reply(request, pair.gate.0).unwrap(), &caller.context));
        assert_eq!((kernel.cpu.thread.get(), caller.code(), server.code()), (pair.caller, READY, RECEIVE));
    }

    #[test]
    fn a_yield_is_known_by_target_and_label() {
        let kernel = fake::kernel();
        let context = &kernel.tables.thread(1).context;
        kernel.cpu.thread.set(1);
        kernel.cpu.attention.set(0);
        let own = Handle::CURRENT_THREAD.0;
        let is_yield = |target: u64, label: u16| {
            context.label.set(label.into());
            kernel.pass_call(target).unwrap_err().is_yield(target)
        };
        assert!(!is_yield(own, thread::YIELD + 1) && !is_yield(Handle::SELF_PROCESS.0, thread::YIELD));
        assert!(is_yield(own, thread::YIELD));
        context.outcome.set(Outcome { status: 1, ..Outcome::default() });
        assert!(kernel.finish_yield(kernel.pass_call(own).unwrap_err()));
        assert_eq!((context.label.get(), context.outcome.get()), (0, Outcome::default()));
    }

    #[test]
    fn a_pulse_is_raised_once_and_only_by_a_raise() {
        let pair = fake::pair();
        let kernel = &pair.kernel;
        let (caller, server) = (kernel.tables.thread(pair.caller), kernel.tables.thread(pair.server));
        let create = (u64::from(process::CREATE_PULSE), [pair.gate.0, 7, 1, 0]);
        let handle = fake::exchange(kernel, pair.caller, 0, Handle::SELF_PROCESS, create);
        caller.context.target.set(handle);
        caller.context.words.set([3, 0, 0, 0]);
        // A method of the pulse, not for it.
        caller.context.operation.set(Operation::Call as u64);
        caller.context.label.set(0xff);
        kernel.cpu.thread.set(pair.caller);
        assert!(kernel.take_call());
        assert_eq!(server.code(), RECEIVE);

        caller.context.operation.set(Operation::Raise as u64);
        kernel.cpu.thread.set(pair.caller);
        assert!(kernel.take_call());
        assert_eq!((server.code(), server.context.words.get()[0], server.context.outcome.get().badge), (READY, 3, 7));
        let entry = kernel.tables.slot(kernel.tables.process(1), handle);
        assert!(!kernel.tables.pulse(entry.object()).pending.get());
    }

    #[test]
    fn what_stopped_a_thread_is_dealt_with_before_it_goes_on() {
        let pair = pair();
        let kernel = &pair.kernel;
        assert!(kernel.take_trap(Trap::Kick));
        assert_eq!(kernel.cpu.thread.get(), pair.caller);
        // Nobody hears of its fault: it ends, and nobody is left to run.
        assert!(!kernel.take_trap(Trap::Exception { vector: 6, code: 0 }));
        assert_eq!(kernel.tables.thread(pair.caller).code(), crate::thread::DEAD);
    }
}
