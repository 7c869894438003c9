//! One pipe: bytes, who waits to read and who waits to write.
//!
//! What always holds: bytes leave the ring only when a reader has got them; a write of at most [`ATOMIC`] bytes goes in whole or not at
//! all; writers are served in the order in which they came; nobody waits to read while there are bytes, nor to write while there is room.

use alloc::collections::VecDeque;

use protocol::pipe::ATOMIC;
use protocol::resource_manager::{Pollers, events};
use protocol::{Errno, Reply};

use crate::callers::{Callers, Lost};
use crate::ring::Ring;

/// A request to read or write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    pub(crate) request: u64,
    pub(crate) badge: u64,
    /// Room for what is read, or bytes that are to be written.
    pub(crate) length: usize,
    /// May it wait?
    pub(crate) wait: bool,
}

#[derive(Clone, Copy, Debug)]
struct Writer {
    asker: Asker,
    done: usize,
}

/// What to tell who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// So many bytes: written; or to be read from [`Pipe::front`].
    Count(usize),
    Error(Errno),
    /// Touch your buffers and repeat.
    Retry,
    /// Nothing yet.
    Later,
}

/// Beyond this many waiters, those whose caller has died are looked for.
const MANY: usize = 64;
/// Most waiters on each side.
const MOST: usize = 4096;

/// A pipe or FIFO.
#[derive(Debug)]
pub(crate) struct Pipe {
    ring: Ring,
    /// Open ends.
    pub(crate) readers: u32,
    pub(crate) writers: u32,
    /// There was a writer once (before that, no end of file is told to `poll`).
    pub(crate) had_writer: bool,
    waiting_readers: VecDeque<Asker>,
    waiting_writers: VecDeque<Writer>,
    pub(crate) read_pollers: Pollers,
    pub(crate) write_pollers: Pollers,
}

impl Pipe {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            ring: Ring::new(capacity),
            readers: 0,
            writers: 0,
            had_writer: false,
            waiting_readers: VecDeque::new(),
            waiting_writers: VecDeque::new(),
            read_pollers: Pollers::new(),
            write_pollers: Pollers::new(),
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.ring.len()
    }

    pub(crate) const fn capacity(&self) -> usize {
        self.ring.capacity()
    }

    /// Change the capacity.
    pub(crate) fn set_capacity(&mut self, callers: &mut impl Callers, capacity: usize) -> bool {
        let done = self.ring.set_capacity(capacity);
        self.pump(callers);
        done
    }

    /// The first bytes.
    pub(crate) fn front(&self, length: usize) -> [&[u8]; 2] {
        self.ring.front(length)
    }

    /// Somebody wants to read.
    pub(crate) fn read(&mut self, callers: &mut impl Callers, asker: Asker) -> Told {
        if self.ring.len() > 0 || asker.length == 0 {
            return Told::Count(asker.length.min(self.ring.len()));
        }
        if self.writers == 0 {
            return Told::Count(0);
        }
        if !asker.wait {
            return Told::Error(Errno::EAGAIN);
        }
        if self.waiting_readers.len() >= MANY {
            self.waiting_readers.retain(|reader| callers.is_waiting(reader.request));
        }
        if self.waiting_readers.len() >= MOST || self.waiting_readers.try_reserve(1).is_err() {
            return Told::Error(Errno::ENOMEM);
        }
        self.waiting_readers.push_back(asker);
        Told::Later
    }

    /// Whether somebody waits for room, so that reading must be accounted at once.
    pub(crate) fn is_full_for_somebody(&self) -> bool {
        !self.waiting_writers.is_empty() || !self.write_pollers.is_empty()
    }

    /// A reader has got the first `count` bytes.
    pub(crate) fn consumed(&mut self, callers: &mut impl Callers, count: usize) {
        self.ring.consume(count);
        self.pump(callers);
        self.tell_writable();
    }

    /// Somebody wants to write; `at_hand`: the first of its bytes, all of them if they are few.
    pub(crate) fn write(&mut self, callers: &mut impl Callers, asker: Asker, at_hand: &[u8]) -> Told {
        if self.readers == 0 {
            return Told::Error(Errno::EPIPE);
        }
        if asker.length == 0 {
            return Told::Count(0);
        }
        if self.hand_over(callers, asker, at_hand) {
            return Told::Count(asker.length);
        }
        let mut writer = Writer { asker, done: 0 };
        if self.waiting_writers.is_empty() {
            match self.take(callers, &mut writer, at_hand) {
                Ok(()) => {}
                Err(Lost::Missing) => {
                    self.pump(callers);
                    return if writer.done > 0 { Told::Count(writer.done) } else { Told::Retry };
                }
                // It will not hear of it.
                Err(Lost::Gone) => return Told::Later,
            }
            self.feed(callers);
            // Readers who waited may have made room for more.
            if writer.done > 0 && writer.done < asker.length && self.ring.room() > 0 {
                let _ = self.take(callers, &mut writer, at_hand);
                self.feed(callers);
            }
            self.tell_readable();
        }
        if writer.done == asker.length || (writer.done > 0 && !asker.wait) {
            return Told::Count(writer.done);
        }
        if !asker.wait {
            return Told::Error(Errno::EAGAIN);
        }
        if self.waiting_writers.len() >= MANY {
            self.waiting_writers.retain(|writer| callers.is_waiting(writer.asker.request));
        }
        if self.waiting_writers.len() >= MOST || self.waiting_writers.try_reserve(1).is_err() {
            return if writer.done > 0 { Told::Count(writer.done) } else { Told::Error(Errno::ENOMEM) };
        }
        self.waiting_writers.push_back(writer);
        Told::Later
    }

    /// Give a small write straight to a reader that waits for at least that much.
    fn hand_over(&mut self, callers: &mut impl Callers, asker: Asker, at_hand: &[u8]) -> bool {
        if self.ring.len() > 0 || at_hand.len() < asker.length {
            return false;
        }
        while let Some(reader) = self.waiting_readers.front() {
            if reader.length < asker.length {
                return false;
            }
            let reader = reader.request;
            self.waiting_readers.pop_front();
            if callers.answer(reader, count(asker.length), [&at_hand[..asker.length], &[]]) {
                return true;
            }
        }
        false
    }

    /// Move what fits of a write into the ring.
    fn take(&mut self, callers: &mut impl Callers, writer: &mut Writer, at_hand: &[u8]) -> Result<(), Lost> {
        let left = writer.asker.length - writer.done;
        if writer.asker.length <= ATOMIC && self.ring.room() < left {
            return Ok(());
        }
        while writer.done < writer.asker.length {
            let left = writer.asker.length - writer.done;
            let atomic = writer.asker.length <= ATOMIC;
            let free = self.ring.free(left);
            if free.is_empty() {
                return Ok(());
            }
            let wanted = free.len();
            let got = match at_hand.get(writer.done..writer.done + wanted) {
                Some(bytes) => {
                    free.copy_from_slice(bytes);
                    wanted
                }
                None => match callers.fetch(writer.asker.request, writer.done, free) {
                    // Less than was sent: its memory ends there.
                    Ok(0) => return Err(Lost::Missing),
                    Ok(got) => got,
                    Err(lost) => {
                        if atomic {
                            self.ring_undo(writer);
                        }
                        return Err(lost);
                    }
                },
            };
            self.ring.put(got);
            writer.done += got;
        }
        Ok(())
    }

    /// Take back what a small write put in before its memory ended.
    fn ring_undo(&mut self, writer: &mut Writer) {
        self.ring.unput(writer.done);
        writer.done = 0;
    }

    /// Give bytes to those who wait for them.
    fn feed(&mut self, callers: &mut impl Callers) -> bool {
        let mut fed = false;
        while self.ring.len() > 0
            && let Some(reader) = self.waiting_readers.pop_front()
        {
            let length = reader.length.min(self.ring.len());
            if callers.answer(reader.request, count(length), self.ring.front(length)) {
                self.ring.consume(length);
                fed = true;
            }
        }
        fed
    }

    /// Take bytes of those who wait to write, while there is room.
    fn pull(&mut self, callers: &mut impl Callers) -> bool {
        let mut pulled = false;
        while let Some(mut writer) = self.waiting_writers.front().copied() {
            let before = writer.done;
            let result = self.take(callers, &mut writer, &[]);
            pulled |= writer.done > before;
            let told = match result {
                Ok(()) if writer.done < writer.asker.length => {
                    self.waiting_writers[0] = writer;
                    break;
                }
                Ok(()) => Some(count(writer.done)),
                Err(Lost::Missing) if writer.done > 0 => Some(count(writer.done)),
                Err(Lost::Missing) => Some(Reply::RETRY),
                Err(Lost::Gone) => None,
            };
            self.waiting_writers.pop_front();
            if let Some(reply) = told {
                // A writer that has left meanwhile has written all the same.
                callers.answer(writer.asker.request, reply, [&[], &[]]);
            }
        }
        pulled
    }

    /// Let bytes flow as far as they can.
    fn pump(&mut self, callers: &mut impl Callers) {
        loop {
            let fed = self.feed(callers);
            let pulled = self.pull(callers);
            if pulled {
                self.tell_readable();
            }
            if !fed && !pulled {
                break;
            }
        }
    }

    fn tell_readable(&mut self) {
        if self.ring.len() > 0 && !self.read_pollers.is_empty() {
            self.read_pollers.wake(events::READABLE);
        }
    }

    fn tell_writable(&mut self) {
        if self.ring.room() >= ATOMIC && !self.write_pollers.is_empty() {
            self.write_pollers.wake(events::WRITABLE);
        }
    }

    /// What is ready for an end that reads and/or writes.
    pub(crate) fn ready(&self, reads: bool, writes: bool) -> u64 {
        let mut ready = 0;
        if reads {
            if self.ring.len() > 0 {
                ready |= events::READABLE;
            }
            if self.writers == 0 && self.had_writer {
                ready |= events::HANG_UP;
            }
        }
        if writes {
            if self.ring.room() >= ATOMIC.min(self.ring.capacity()) {
                ready |= events::WRITABLE;
            }
            if self.readers == 0 {
                ready |= events::ERROR;
            }
        }
        ready
    }

    /// An end is closed.
    pub(crate) fn closed(&mut self, callers: &mut impl Callers, badge: u64, reads: bool, writes: bool) {
        self.waiting_readers.retain(|reader| reader.badge != badge);
        self.waiting_writers.retain(|writer| writer.asker.badge != badge);
        self.read_pollers.forget(badge);
        self.write_pollers.forget(badge);
        if writes {
            self.writers -= 1;
            if self.writers == 0 {
                // End of file for all who wait: while they do there are no bytes.
                while let Some(reader) = self.waiting_readers.pop_front() {
                    callers.answer(reader.request, count(0), [&[], &[]]);
                }
                self.read_pollers.wake(events::READABLE | events::HANG_UP);
            }
        }
        if reads {
            self.readers -= 1;
            if self.readers == 0 {
                self.ring.clear();
                while let Some(writer) = self.waiting_writers.pop_front() {
                    let reply = if writer.done > 0 { count(writer.done) } else { Reply::error(Errno::EPIPE) };
                    callers.answer(writer.asker.request, reply, [&[], &[]]);
                }
                self.write_pollers.wake(events::WRITABLE | events::ERROR);
            }
        }
    }

    /// A caller wants to leave. What to tell it, if it waited here.
    pub(crate) fn cancel(&mut self, request: u64) -> Option<Reply> {
        if let Some(at) = self.waiting_readers.iter().position(|reader| reader.request == request) {
            self.waiting_readers.remove(at);
            return Some(Reply::error(Errno::EINTR));
        }
        let at = self.waiting_writers.iter().position(|writer| writer.asker.request == request)?;
        let writer = self.waiting_writers.remove(at)?;
        Some(if writer.done > 0 { count(writer.done) } else { Reply::error(Errno::EINTR) })
    }
}

const fn count(count: usize) -> Reply {
    Reply::ok([count as u64, 0, 0, 0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use alloc::vec::Vec;

    /// Callers made of arrays.
    #[derive(Default)]
    struct World {
        sends: BTreeMap<u64, Vec<u8>>,
        /// Requests whose next answer or fetch fails.
        faulty: Vec<u64>,
        gone: Vec<u64>,
        answers: Vec<(u64, Reply, Vec<u8>)>,
    }

    impl Callers for World {
        fn answer(&mut self, request: u64, reply: Reply, parts: [&[u8]; 2]) -> bool {
            if self.gone.contains(&request) {
                return false;
            }
            let empty = parts.concat().is_empty();
            if let Some(at) = self.faulty.iter().position(|&faulty| faulty == request && !empty) {
                self.faulty.remove(at);
                self.answers.push((request, Reply::RETRY, Vec::new()));
                return false;
            }
            self.answers.push((request, reply, parts.concat()));
            true
        }
        fn fetch(&mut self, request: u64, offset: usize, into: &mut [u8]) -> Result<usize, Lost> {
            if self.gone.contains(&request) {
                return Err(Lost::Gone);
            }
            if self.faulty.contains(&request) {
                return Err(Lost::Missing);
            }
            let bytes = &self.sends[&request][offset..];
            let count = bytes.len().min(into.len());
            into[..count].copy_from_slice(&bytes[..count]);
            Ok(count)
        }
        fn is_waiting(&mut self, request: u64) -> bool {
            !self.gone.contains(&request)
        }
    }

    impl World {
        fn take(&mut self) -> Vec<(u64, Reply, Vec<u8>)> {
            core::mem::take(&mut self.answers)
        }
    }

    fn open() -> Pipe {
        let mut pipe = Pipe::new(8192);
        (pipe.readers, pipe.writers, pipe.had_writer) = (1, 1, true);
        pipe
    }

    fn asker(request: u64, length: usize) -> Asker {
        Asker { request, badge: 5, length, wait: true }
    }

    fn write(pipe: &mut Pipe, world: &mut World, request: u64, bytes: &[u8], wait: bool) -> Told {
        world.sends.insert(request, bytes.to_vec());
        let asker = Asker { wait, ..asker(request, bytes.len()) };
        pipe.write(world, asker, &bytes[..bytes.len().min(512)])
    }

    fn read(pipe: &mut Pipe, world: &mut World, length: usize) -> Vec<u8> {
        match pipe.read(world, Asker { wait: false, ..asker(99, length) }) {
            Told::Count(count) => {
                let bytes = pipe.front(count).concat();
                pipe.consumed(world, count);
                bytes
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_waiting_reader_gets_a_small_write_at_once() {
        let (mut pipe, mut world) = (open(), World::default());
        assert_eq!(pipe.read(&mut world, asker(1, 10)), Told::Later);
        assert_eq!(write(&mut pipe, &mut world, 2, b"x", true), Told::Count(1));
        assert_eq!(world.take(), [(1, count(1), b"x".to_vec())]);
        assert_eq!(pipe.len(), 0);
    }

    #[test]
    fn no_byte_is_lost_when_the_reader_faults_or_left() {
        let (mut pipe, mut world) = (open(), World::default());
        for request in [1, 2] {
            assert_eq!(pipe.read(&mut world, asker(request, 10)), Told::Later);
        }
        world.faulty = vec![1];
        world.gone = vec![2];
        assert_eq!(write(&mut pipe, &mut world, 3, b"abc", true), Told::Count(3));
        assert_eq!(world.take(), [(1, Reply::RETRY, vec![])]);
        assert_eq!(read(&mut pipe, &mut world, 9), b"abc");
    }

    #[test]
    fn small_writes_are_whole_and_in_order() {
        let (mut pipe, mut world) = (open(), World::default());
        assert_eq!(write(&mut pipe, &mut world, 1, &[1; 6000], true), Told::Count(6000));
        assert_eq!(write(&mut pipe, &mut world, 2, &[2; 4000], true), Told::Later);
        // It would fit, but must not overtake.
        assert_eq!(write(&mut pipe, &mut world, 3, &[3; 10], true), Told::Later);
        assert_eq!(write(&mut pipe, &mut world, 4, &[4; 10], false), Told::Error(Errno::EAGAIN));
        assert_eq!(read(&mut pipe, &mut world, 1000).len(), 1000);
        assert!(world.take().is_empty());
        assert_eq!(read(&mut pipe, &mut world, 1000).len(), 1000);
        assert_eq!(world.take().iter().map(|a| (a.0, a.1)).collect::<Vec<_>>(), [(2, count(4000)), (3, count(10))]);
        let rest = read(&mut pipe, &mut world, 9999);
        assert_eq!(rest, [[1; 4000].as_slice(), &[2; 4000], &[3; 10]].concat());
    }

    #[test]
    fn a_large_write_flows_through() {
        let (mut pipe, mut world) = (open(), World::default());
        let bytes: Vec<u8> = (0..30_000u32).map(|at| at as u8).collect();
        assert_eq!(write(&mut pipe, &mut world, 1, &bytes, true), Told::Later);
        let mut got = Vec::new();
        while got.len() < bytes.len() {
            got.extend(read(&mut pipe, &mut world, 5000));
        }
        assert_eq!(got, bytes);
        assert_eq!(world.take(), [(1, count(30_000), vec![])]);
        assert_eq!(write(&mut pipe, &mut world, 2, &bytes, false), Told::Count(8192));
        assert_eq!(write(&mut pipe, &mut world, 3, &bytes, false), Told::Error(Errno::EAGAIN));
    }

    #[test]
    fn a_large_write_feeds_a_reader_who_waits() {
        let (mut pipe, mut world) = (open(), World::default());
        assert_eq!(pipe.read(&mut world, asker(1, 20_000)), Told::Later);
        assert_eq!(write(&mut pipe, &mut world, 2, &[7; 9000], true), Told::Count(9000));
        let answers = world.take();
        assert_eq!((answers[0].0, answers[0].2.len()), (1, 8192));
        assert_eq!(read(&mut pipe, &mut world, 9999).len(), 808);
    }

    #[test]
    fn a_writers_missing_page_loses_and_doubles_nothing() {
        let (mut pipe, mut world) = (open(), World::default());
        world.faulty = vec![1];
        assert_eq!(write(&mut pipe, &mut world, 1, &[1; 2000], true), Told::Retry);
        assert_eq!(pipe.len(), 0);
        world.faulty.clear();
        assert_eq!(write(&mut pipe, &mut world, 1, &[1; 2000], true), Told::Count(2000));
        assert_eq!(write(&mut pipe, &mut world, 2, &[2; 9000], true), Told::Later);
        world.faulty = vec![2];
        assert_eq!(read(&mut pipe, &mut world, 9999).len(), 8192);
        assert_eq!(world.take()[0].1, count(6192));
    }

    #[test]
    fn ends_close() {
        let (mut pipe, mut world) = (open(), World::default());
        pipe.readers = 2;
        assert_eq!(pipe.read(&mut world, asker(1, 10)), Told::Later);
        pipe.closed(&mut world, 8, false, true);
        assert_eq!(world.take(), [(1, count(0), vec![])]);
        assert_eq!(pipe.ready(true, false), events::HANG_UP);
        assert_eq!(pipe.read(&mut world, asker(2, 10)), Told::Count(0));

        let (mut pipe, mut world) = (open(), World::default());
        assert_eq!(write(&mut pipe, &mut world, 1, &[1; 9000], true), Told::Later);
        assert_eq!(write(&mut pipe, &mut world, 2, &[1; 90], true), Told::Later);
        assert_eq!(pipe.ready(false, true), 0);
        pipe.closed(&mut world, 7, true, false);
        assert_eq!(world.take(), [(1, count(8192), vec![]), (2, Reply::error(Errno::EPIPE), vec![])]);
        assert_eq!(write(&mut pipe, &mut world, 3, b"x", true), Told::Error(Errno::EPIPE));
        assert_ne!(pipe.ready(false, true) & events::ERROR, 0);
    }

    #[test]
    fn who_is_interrupted_hears_what_was_done() {
        let (mut pipe, mut world) = (open(), World::default());
        assert_eq!(pipe.read(&mut world, asker(1, 10)), Told::Later);
        assert_eq!(pipe.cancel(1), Some(Reply::error(Errno::EINTR)));
        assert_eq!(pipe.cancel(1), None);
        assert_eq!(write(&mut pipe, &mut world, 2, &[1; 9000], true), Told::Later);
        assert_eq!(pipe.cancel(2), Some(count(8192)));
        assert_eq!(write(&mut pipe, &mut world, 3, &[1; 900], true), Told::Later);
        assert_eq!(pipe.cancel(3), Some(Reply::error(Errno::EINTR)));
        assert_eq!(pipe.len(), 8192);
    }

    #[test]
    fn readiness_needs_room_for_an_atomic_write() {
        let (mut pipe, mut world) = (open(), World::default());
        assert_eq!(pipe.ready(true, true), events::WRITABLE);
        write(&mut pipe, &mut world, 1, &[1; 4096], true);
        assert_eq!(pipe.ready(true, true), events::READABLE | events::WRITABLE);
        write(&mut pipe, &mut world, 2, &[1; 1], true);
        assert_eq!(pipe.ready(true, true), events::READABLE);
    }
}
