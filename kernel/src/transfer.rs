//! Moving what goes with a message: bytes, in bounded pieces, and handles.
//!
//! A copy is work of the thread on the server's side (the one that received, replies, reads or writes): it does not run
//! user code before the work is done, and the work goes on on the baton it runs on. Between pieces, interrupts are
//! taken and stronger batons run. If the caller leaves, the work ends with an error and the count moved.

use crate::kernel::Kernel;
use crate::machine::{Context, CopyFault, Machine};
use crate::schedule::WORK;
use crate::thread::{ENVELOPE, REPLY, Thread, Work};
use abi::envelope::SEGMENTS;
use abi::object::Kind;
use abi::{Error, Handle, Rights, Segment};

/// Bytes copied before interrupts are looked for.
const PIECE: u64 = 16 * 1024;

/// A list of segments, as one run of bytes.
#[derive(Clone, Copy)]
struct Run {
    segments: [Segment; SEGMENTS],
    count: u8,
}

impl Run {
    /// Where byte `offset` is, and how many follow it in the same segment.
    fn at(&self, mut offset: u64) -> Option<(u64, u64)> {
        // Bound: SEGMENTS.
        for segment in self.segments.iter().take(usize::from(self.count)) {
            if offset < segment.length {
                return Some((segment.address + offset, segment.length - offset));
            }
            offset -= segment.length;
        }
        None
    }
}

impl<M: Machine> Kernel<M> {
    fn send_run(&self, thread: &Thread<M>) -> Run {
        let envelope = thread.envelope.get();
        let count = if self.flagged(thread, ENVELOPE) { envelope.send_count } else { 0 };
        Run { segments: envelope.send, count }
    }

    fn receive_run(&self, thread: &Thread<M>) -> Run {
        let envelope = thread.envelope.get();
        let count = if self.flagged(thread, ENVELOPE) { envelope.receive_count } else { 0 };
        Run { segments: envelope.receive, count }
    }

    /// Copy the next piece from one run to another. `moved` counts from the start of the copy; the offsets are where the
    /// copy started in each run. Says whether it is finished.
    fn copy_piece(
        &self,
        from: &Thread<M>,
        source: (Run, u64),
        to: &Thread<M>,
        destination: (Run, u64),
        moved: &core::cell::Cell<u64>,
    ) -> Result<bool, CopyFault> {
        let mut budget = PIECE;
        // Bound: PIECE bytes, and the ends of segments.
        while budget > 0 {
            let place = source.0.at(source.1 + moved.get()).zip(destination.0.at(destination.1 + moved.get()));
            let Some(((read, readable), (write, writable))) = place else { return Ok(true) };
            let length = readable.min(writable).min(budget);
            let (done, fault) = self.machine.copy(from.space.get(), read, to.space.get(), write, length);
            moved.set(moved.get() + done);
            budget -= length;
            if let Some(fault) = fault {
                return Err(fault);
            }
        }
        Ok(false)
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
        let plain = (caller.operation.get() & thread.operation.get()) & ENVELOPE == 0;
        let source = if plain { None } else { Some((self.send_run(caller), 0)) };
        let result = match source {
            None => Ok(true),
            Some(source) => self.copy_piece(caller, source, thread, (self.receive_run(thread), 0), &thread.moved),
        };
        match result {
            Ok(true) => self.delivered(index, caller_index),
            Ok(false) => {}
            Err(CopyFault::Source) => {
                thread.work.set(Work::Receive);
                self.release_caller(caller_index, Error::BadAddress, thread.moved.get());
            }
            Err(CopyFault::Destination) => {
                let moved = thread.moved.get();
                self.release_caller(caller_index, Error::LenderFault, moved);
                self.fail(index, Error::BadAddress, moved);
            }
        }
    }

    fn continue_answer(&self, index: u32, thread: &Thread<M>, work: Work) {
        let (caller_index, caller) = match self.requester(thread, thread.context.target()) {
            Ok(found) => found,
            Err(error) => return self.fail(index, error, thread.moved.get()),
        };
        let offset = thread.context.words()[0];
        let moved = &thread.moved;
        let result = match work {
            Work::Read => {
                self.copy_piece(caller, (self.send_run(caller), offset), thread, (self.receive_run(thread), 0), moved)
            }
            Work::Write => {
                self.copy_piece(thread, (self.send_run(thread), 0), caller, (self.receive_run(caller), offset), moved)
            }
            _ if thread.operation.get() & caller.operation.get() & ENVELOPE == 0 => Ok(true),
            _ => self.copy_piece(thread, (self.send_run(thread), 0), caller, (self.receive_run(caller), 0), moved),
        };
        match result {
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

    /// Whether the handles that one side gives can go to the other. Nothing is changed. The error is the giver's.
    pub(crate) fn check_gifts(&self, giver: u32, taker: u32) -> Result<(), Error> {
        let (giver, taker) = (self.tables.thread(giver), self.tables.thread(taker));
        if giver.operation.get() & ENVELOPE == 0 || giver.is(crate::thread::FAULTING) {
            return Ok(());
        }
        let gifts = giver.envelope.get();
        let count = usize::from(gifts.give_count);
        if count == 0 {
            return Ok(());
        }
        let process = self.tables.process(giver.process.get());
        // Bound: GIFTS.
        for gift in gifts.give.iter().take(count) {
            let entry = self.tables.entry(process, gift.handle).map_err(|_| Error::BadGift)?;
            let reference = entry.reference();
            let copyable = reference.kind != Kind::Reserved && reference.rights.contains(Rights::COPY);
            if !copyable || gift.reserved != 0 || !self.refers(&reference) {
                return Err(Error::BadGift);
            }
        }
        let slots = taker.envelope.get();
        if taker.operation.get() & ENVELOPE == 0 || usize::from(slots.take_count) < count {
            return Err(Error::NoSlot);
        }
        let process = self.tables.process(taker.process.get());
        // Bound: GIFTS, squared. The same slot twice is no two slots.
        for (at, slot) in slots.take.iter().take(count).enumerate() {
            let entry = self.tables.entry(process, *slot).map_err(|_| Error::NoSlot)?;
            if entry.kind.get() != Kind::Reserved as u8 || slots.take[..at].contains(slot) {
                return Err(Error::NoSlot);
            }
        }
        Ok(())
    }

    /// Put copies of one side's handles into the slots that the other reserved; says how many.
    pub(crate) fn pass_handles(&self, giver_index: u32, taker_index: u32) -> Result<usize, Error> {
        let (giver, taker) = (self.tables.thread(giver_index), self.tables.thread(taker_index));
        if giver.operation.get() & ENVELOPE == 0
            || giver.envelope.get().give_count == 0
            || giver.is(crate::thread::FAULTING)
        {
            return Ok(0);
        }
        self.check_gifts(giver_index, taker_index)?;
        let (gifts, slots) = (giver.envelope.get(), taker.envelope.get());
        let (from, to) = (self.tables.process(giver.process.get()), self.tables.process(taker.process.get()));
        let count = usize::from(gifts.give_count);
        // Bound: GIFTS.
        for (gift, slot) in gifts.give.iter().zip(&slots.take).take(count) {
            let mut reference = self.tables.entry(from, gift.handle)?.reference();
            reference.rights = reference.rights.intersect(gift.rights);
            self.count_handle(&reference);
            self.tables.fill_reserved(self.tables.entry(to, *slot)?, reference);
        }
        Ok(count)
    }

    /// The caller of a request that cannot be delivered or goes on without an answer: it gets the error, and its baton.
    pub(crate) fn release_caller(&self, index: u32, error: Error, moved: u64) {
        let thread = self.tables.thread(index);
        if thread.code() == REPLY {
            self.take_baton_back(index);
        }
        self.stop_unblock(index);
        self.stop_timer(index);
        thread.request.set((thread.request.get() | 0xffff).wrapping_add(1) | u64::from(index));
        let faulting = thread.is(crate::thread::FAULTING);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_finds_bytes_across_segments_and_skips_empty_ones() {
        let segment = |address, length| Segment { address, length };
        let run = Run { segments: [segment(100, 3), segment(0, 0), segment(200, 2), segment(300, 9)], count: 3 };
        assert_eq!(crate::exchange::total(run.count, &run.segments), 5);
        assert_eq!(run.at(0), Some((100, 3)));
        assert_eq!(run.at(2), Some((102, 1)));
        assert_eq!(run.at(3), Some((200, 2)));
        assert_eq!(run.at(5), None);
    }
}
