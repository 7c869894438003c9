//! The one system call: what the registers ask for, and who answers.
//!
//! The plain message path is tried first (`call.rs`, `reply.rs`: everything checked before anything is written); what it
//! does not take comes here, where an exchange is parsed once into the thread (`operation`, `envelope`, `deadline`)
//! and then may block, be finished piece by piece, or be answered on the spot by a kernel object.

use crate::bytes::word;
use crate::kernel::Kernel;
use crate::machine::{Context, Machine, Outcome};
use crate::thread::{ENVELOPE, FAULTING, Thread, Work};
use abi::call::flags;
use abi::envelope::{GIFTS, MESSAGE_MAXIMUM, SEGMENTS};
use abi::{Envelope, Error, Gift, Handle, Operation, Rights, Segment, Status, USER_END};

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
            let done =
                if operation == 0 { self.fast_call::<true>(thread, context.target()) } else { self.fast_reply::<true>(index, thread, context.target(), context.gate()) };
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
    /// runs and whose context is saved. Who runs now; `None`: nothing was changed, go the general way. Label and words
    /// are left to the machine: they stay in registers.
    #[inline(always)]
    pub fn pass_call(&self, target: u64) -> Option<(M::Space, &M::Context)> {
        let thread = self.tables.thread(self.cpu.thread.get());
        let passed = self.cpu.attention.get() == 0 && self.fast_call::<false>(thread, target);
        passed.then(|| self.current())
    }

    /// Likewise a plain reply-and-receive; the caller's outcome is all zero.
    #[inline(always)]
    pub fn pass_reply(&self, request: u64, gate: u64) -> Option<(M::Space, &M::Context)> {
        let index = self.cpu.thread.get();
        let thread = self.tables.thread(index);
        let passed = self.cpu.attention.get() == 0 && self.fast_reply::<false>(index, thread, request, gate);
        passed.then(|| self.current())
    }

    #[inline(always)]
    fn current(&self) -> (M::Space, &M::Context) {
        let thread = self.tables.thread(self.cpu.thread.get());
        (thread.space.get(), &thread.context)
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
                thread.envelope.set(self.read_envelope(thread, address)?);
                thread.operation.set(operation | ENVELOPE);
            }
        }
        match kind {
            Operation::Call => self.call(index, thread),
            Operation::ReplyAndReceive | Operation::Reply => self.reply(index, thread),
            Operation::Receive => self.receive(index),
            Operation::Raise => self.raise_handle(thread),
            Operation::Read => self.begin_copy(index, thread, Work::Read),
            Operation::Write => self.begin_copy(index, thread, Work::Write),
        }
    }

    /// Read and check an envelope. Segments lie in user space and do not wrap; whether they are present shows at the copy.
    fn read_envelope(&self, thread: &Thread<M>, address: u64) -> Result<Envelope, Error> {
        let mut bytes = [0; size_of::<Envelope>()];
        if !self.machine.read(thread.space.get(), address, &mut bytes) {
            return Err(Error::BadAddress);
        }
        let counts = word(&bytes, 0);
        if counts >> 32 != 0 {
            return Err(Error::BadArgument);
        }
        let mut envelope = Envelope {
            send_count: counts as u8,
            receive_count: (counts >> 8) as u8,
            give_count: (counts >> 16) as u8,
            take_count: (counts >> 24) as u8,
            ..Envelope::default()
        };
        let segments_fit = usize::from(envelope.send_count.max(envelope.receive_count)) <= SEGMENTS;
        if !segments_fit || usize::from(envelope.give_count.max(envelope.take_count)) > GIFTS {
            return Err(Error::BadArgument);
        }
        let segment = |at: usize| Segment { address: word(&bytes, at), length: word(&bytes, at + 1) };
        // Bound: SEGMENTS and GIFTS.
        for at in 0..SEGMENTS {
            envelope.send[at] = segment(1 + at * 2);
            envelope.receive[at] = segment(9 + at * 2);
        }
        for at in 0..GIFTS {
            let rights = word(&bytes, 18 + at * 2);
            envelope.give[at] = Gift {
                handle: Handle(word(&bytes, 17 + at * 2)),
                rights: Rights(rights as u32),
                reserved: (rights >> 32) as u32,
            };
            envelope.take[at] = Handle(word(&bytes, 25 + at));
        }
        let mut whole = true;
        for (count, segments) in [(envelope.send_count, &envelope.send), (envelope.receive_count, &envelope.receive)] {
            let mut total = 0_u64;
            for segment in segments.iter().take(usize::from(count)) {
                whole &= segment.length <= MESSAGE_MAXIMUM
                    && segment.address.checked_add(segment.length).is_some_and(|end| end <= USER_END);
                total += segment.length.min(MESSAGE_MAXIMUM);
            }
            whole &= total <= MESSAGE_MAXIMUM;
        }
        if whole { Ok(envelope) } else { Err(Error::BadArgument) }
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

/// Bytes in a list of segments.
pub(crate) fn total(count: u8, segments: &[Segment; SEGMENTS]) -> u64 {
    // Bound: SEGMENTS.
    segments.iter().take(usize::from(count)).map(|segment| segment.length).sum()
}
