//! Moving what goes with a message: bytes, in bounded pieces, and handles.
//!
//! A copy is work of the thread on the server's side (the one that received, replies, reads or writes): it does not run
//! user code before the work is done, and the work goes on on the baton it runs on. Between pieces, interrupts are
//! taken and stronger batons run. If the caller leaves, the work ends with an error and the count moved.

use crate::envelope::{Direction, RECEIVE, SEND};
use crate::handle_table::Reference;
use crate::kernel::Kernel;
use crate::machine::{Context, CopyFault, Machine};
use crate::schedule::WORK;
use crate::thread::{FAULTING, REPLY, Thread, Work};
use abi::object::Kind;
use abi::{Error, Gift, Handle, Rights};
use core::cell::Cell;

/// Bytes copied before interrupts are looked for: 4,096 words, which count as many instructions, and 16 pages' ends.
pub(crate) const PIECE: u64 = 32 * 1024;

/// One side of a copy: a thread's segments, from an offset on.
pub(crate) struct Side<'a, M: Machine> {
    pub(crate) thread: &'a Thread<M>,
    pub(crate) of: Direction,
    pub(crate) offset: u64,
}

impl<M: Machine> Side<'_, M> {
    /// Bytes from the offset on.
    fn length(&self) -> u64 {
        self.thread.total(self.of).saturating_sub(self.offset)
    }
}

impl<M: Machine> Kernel<M> {
    /// Copy the next piece. `moved` counts from the start of the copy. Says whether it is finished.
    pub(crate) fn copy_piece(
        &self,
        from: &Side<'_, M>,
        to: &Side<'_, M>,
        moved: &Cell<u64>,
    ) -> Result<bool, CopyFault> {
        let total = from.length().min(to.length());
        let end = total.min(moved.get() + PIECE);
        // Bound: PIECE bytes, and the ends of segments.
        while moved.get() < end {
            let (read, readable) = from.thread.envelope.place(from.of, from.offset + moved.get());
            let (write, writable) = to.thread.envelope.place(to.of, to.offset + moved.get());
            let length = readable.min(writable).min(end - moved.get());
            let (source, destination) = (from.thread.space.get(), to.thread.space.get());
            let (done, fault) = self.machine.copy(source, read, destination, write, length);
            moved.set(moved.get() + done);
            if let Some(fault) = fault {
                return Err(fault);
            }
        }
        Ok(end == total)
    }

    /// Copy all that goes from the thread that runs to another with a message, if that is little and both sides' memory is there;
    /// how much. If it is much and may be `long`, the first piece, and the rest is the receiver's work. `None`: go the general
    /// way, as if nothing had been copied.
    #[inline(always)]
    pub(crate) fn copy_at_once(&self, from: &Thread<M>, to: &Thread<M>, long: bool) -> Option<u64> {
        let length = from.envelope.total(SEND).min(to.total(RECEIVE));
        if length == 0 {
            return Some(0);
        }
        if let (Some(read), Some(write)) = (from.envelope.together(SEND, length), to.envelope.together(RECEIVE, length))
        {
            let (source, destination) = ((from.space.get(), &from.context, read), (to.space.get(), &to.context, write));
            if self.machine.copy_at_once(source, destination, length) {
                return Some(length);
            }
        }
        self.copy_soon(from, to, length <= PIECE, long)
    }

    #[cold]
    #[inline(never)]
    fn copy_soon(&self, thread: &Thread<M>, receiver: &Thread<M>, little: bool, long: bool) -> Option<u64> {
        let moved = Cell::new(0);
        let from = Side { thread, of: SEND, offset: 0 };
        let to = Side { thread: receiver, of: RECEIVE, offset: 0 };
        if !little && !long || self.copy_piece(&from, &to, &moved).is_err() {
            return None;
        }
        if !little {
            thread.retried.set(false);
            receiver.moved.set(moved.get());
            receiver.work.set(Work::Deliver);
            self.cpu.attend(WORK);
        }
        Some(moved.get())
    }

    /// Read or write: copy from or to a request's segments.
    pub(crate) fn begin_copy(&self, index: u32, thread: &Thread<M>, work: Work) -> Result<(), Error> {
        self.requester(thread, thread.context.target())?;
        if thread.context.words()[0] > abi::envelope::MESSAGE_MAXIMUM {
            return Err(Error::BadArgument);
        }
        thread.work.set(work);
        self.continue_work(index);
        Ok(())
    }

    /// Do a piece of a thread's work.
    pub(crate) fn continue_work(&self, index: u32) {
        let thread = self.tables.thread(index);
        match thread.work.get() {
            Work::None => {}
            Work::Deliver => self.continue_delivery(index, thread),
            Work::Receive => {
                if let Err(error) = self.receive_again(index) {
                    self.fail(index, error, 0);
                    self.keep_running(index);
                }
            }
            work => self.continue_answer(index, thread, work),
        }
        if thread.work.get() != Work::None && self.cpu.thread.get() == index {
            self.cpu.attend(WORK);
        }
    }

    fn continue_delivery(&self, index: u32, thread: &Thread<M>) {
        let Ok((caller_index, caller)) = self.requester(thread, thread.serving.get()) else {
            // The caller left meanwhile: as if its message had never come.
            thread.work.set(Work::Receive);
            return;
        };
        let (from, to) = (Side { thread: caller, of: SEND, offset: 0 }, Side { thread, of: RECEIVE, offset: 0 });
        match self.copy_piece(&from, &to, &thread.moved) {
            Ok(true) => self.delivered(index, caller_index),
            Ok(false) => {}
            Err(fault) => self.delivery_failed(index, caller_index, fault),
        }
    }

    /// One side's memory is not there: both are told, with the blame on the right one.
    pub(crate) fn delivery_failed(&self, index: u32, caller_index: u32, fault: CopyFault) {
        let thread = self.tables.thread(index);
        let moved = thread.moved.get();
        if fault == CopyFault::Source {
            // As if the message had never come.
            thread.work.set(Work::Receive);
            self.release_caller(caller_index, Error::BadAddress, moved);
        } else {
            self.release_caller(caller_index, Error::LenderFault, moved);
            self.fail(index, Error::BadAddress, moved);
        }
    }

    fn continue_answer(&self, index: u32, thread: &Thread<M>, work: Work) {
        let (caller_index, caller) = match self.requester(thread, thread.context.target()) {
            Ok(found) => found,
            Err(error) => return self.fail(index, error, thread.moved.get()),
        };
        let offset = thread.context.words()[0];
        let moved = &thread.moved;
        // A reply is a write at offset 0.
        let (from, to) = match work {
            Work::Read => (Side { thread: caller, of: SEND, offset }, Side { thread, of: RECEIVE, offset: 0 }),
            Work::Write => (Side { thread, of: SEND, offset: 0 }, Side { thread: caller, of: RECEIVE, offset }),
            _ => (Side { thread, of: SEND, offset: 0 }, Side { thread: caller, of: RECEIVE, offset: 0 }),
        };
        match self.copy_piece(&from, &to, moved) {
            Ok(false) => {}
            Ok(true) if work == Work::Reply => self.replied(index, caller_index),
            Ok(true) => self.succeed(index, moved.get()),
            Err(fault) => {
                let own = (fault == CopyFault::Destination) == (work == Work::Read);
                let error = if own { Error::BadAddress } else { Error::LenderFault };
                self.fail(index, error, moved.get());
            }
        }
    }

    /// Whether the handles that one side gives can go to the other; at the call, while nobody takes them yet (0), whether they
    /// can be given at all. Nothing is changed. The error is for the giver.
    #[inline]
    pub(crate) fn check_gifts(&self, giver: u32, taker: u32) -> Result<(), Error> {
        let giver = self.tables.thread(giver);
        if giver.gifts() == 0 {
            return Ok(());
        }
        self.exchange_gifts(giver, taker, false).map(|_| ())
    }

    /// As [`Kernel::check_gifts`], later than at the call: what was wrong with the giver's handles then was said then.
    pub(crate) fn check_gifts_again(&self, giver: u32, taker: u32) -> Result<(), Error> {
        self.check_gifts(giver, taker).map_err(|error| if error == Error::NoSlot { error } else { Error::BadGift })
    }

    /// Put copies of one side's handles into the slots that the other reserved; says how many.
    #[inline]
    pub(crate) fn pass_handles(&self, giver: u32, taker: u32) -> Result<usize, Error> {
        let giver = self.tables.thread(giver);
        match giver.gifts() {
            0 => return Ok(0),
            // Checked before it is passed in any case.
            1 => {}
            _ => {
                self.exchange_gifts(giver, taker, false)?;
            }
        }
        self.exchange_gifts(giver, taker, true)
    }

    /// What a thread gives, if it may.
    fn gift(&self, giver: &Thread<M>, at: usize) -> Result<Reference, Error> {
        let gift = giver.envelope.gift(at);
        let reference = self.tables.entry(self.tables.process(giver.process.get()), gift.handle)?.reference();
        if reference.kind == Kind::Reserved || !self.refers(&reference) {
            return Err(Error::BadHandle);
        }
        if gift.flags & !Gift::MOVE != 0 {
            return Err(Error::BadArgument);
        }
        if reference.rights.contains(Rights::COPY) { Ok(reference) } else { Err(Error::NoRight) }
    }

    fn exchange_gifts(&self, giver: &Thread<M>, taker: u32, pass: bool) -> Result<usize, Error> {
        let (gifts, taker) = (&giver.envelope, self.tables.thread(taker));
        let count = gifts.gifts();
        let (from, to) = (self.tables.process(giver.process.get()), self.tables.process(taker.process.get()));
        // Bound: GIFTS. The giver's side first.
        for at in 0..count {
            self.gift(giver, at)?;
        }
        if taker.index() == 0 {
            return Ok(count);
        }
        // Bound: GIFTS.
        for at in 0..count {
            let mut reference = self.gift(giver, at)?;
            let slots = taker.kept().filter(|slots| slots.slots() >= count).ok_or(Error::NoSlot)?;
            let slot = slots.slot(at);
            let entry = self.tables.entry(to, slot).map_err(|_| Error::NoSlot)?;
            // The same slot twice is no two slots.
            if entry.kind.get() != Kind::Reserved || (0..at).any(|other| slots.slot(other) == slot) {
                return Err(Error::NoSlot);
            }
            if pass {
                reference.rights = reference.rights.intersect(gifts.gift(at).rights);
                self.count_handle(&reference);
                self.tables.fill_reserved(entry, &reference);
            }
        }
        // Bound: GIFTS. What moves goes last: it may have been given twice.
        for at in 0..count {
            let gift = gifts.gift(at);
            if pass
                && gift.flags != 0
                && let Ok(entry) = self.tables.entry(from, gift.handle)
            {
                self.close(from, entry);
            }
        }
        Ok(count)
    }

    /// The caller of a request that cannot be delivered or goes on without an answer: it gets the error, and its baton.
    pub(crate) fn release_caller(&self, index: u32, error: Error, moved: u64) {
        let thread = self.tables.thread(index);
        self.note_leaving(index, error);
        if thread.code() == REPLY {
            self.take_baton_back(index);
        }
        self.stop_unblock(index);
        self.stop_timer(index);
        thread.request.set((thread.request.get() | 0xffff).wrapping_add(1) | u64::from(index));
        let faulting = thread.is(FAULTING);
        self.fail(index, error, moved);
        self.wake(index);
        if faulting {
            self.fault_refused(index);
        }
    }

    /// A handle of a thread's process for an object of this kind with these rights: the object's index.
    pub(crate) fn object(&self, thread: &Thread<M>, handle: Handle, kind: Kind, rights: Rights) -> Result<u32, Error> {
        let entry = self.tables.entry(self.tables.process(thread.process.get()), handle)?;
        let reference = entry.reference();
        if !self.refers(&reference) {
            return Err(Error::BadHandle);
        }
        if reference.kind != kind {
            return Err(Error::WrongKind);
        }
        if !reference.rights.contains(rights) {
            return Err(Error::NoRight);
        }
        Ok(reference.object)
    }
}
