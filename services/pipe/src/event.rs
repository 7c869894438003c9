//! An event counter (`eventfd`).

use alloc::collections::VecDeque;

use protocol::resource_manager::{Pollers, events};
use protocol::{Errno, Reply};

use crate::callers::Callers;
use crate::pipe::Told;

/// The counter's greatest value.
const GREATEST: u64 = u64::MAX - 1;
/// Bytes of a value.
pub(crate) const VALUE: usize = 8;
/// Most waiters on each side.
const MOST: usize = 4096;

#[derive(Clone, Copy, Debug)]
struct Waiter {
    request: u64,
    value: u64,
}

/// A counter.
#[derive(Debug, Default)]
pub(crate) struct Event {
    counter: u64,
    semaphore: bool,
    /// What a reader is being given.
    lent: [u8; VALUE],
    readers: VecDeque<Waiter>,
    writers: VecDeque<Waiter>,
    pub(crate) pollers: Pollers,
}

impl Event {
    pub(crate) fn new(initial: u64, semaphore: bool) -> Self {
        Self { counter: initial.min(GREATEST), semaphore, ..Self::default() }
    }

    const fn next(&self) -> u64 {
        if self.semaphore && self.counter > 0 { 1 } else { self.counter }
    }

    /// Somebody wants to read: then [`Event::lent`] is what it gets.
    pub(crate) fn read(&mut self, request: u64, room: usize, wait: bool) -> Told {
        if room < VALUE {
            return Told::Error(Errno::EINVAL);
        }
        if self.counter > 0 {
            self.lent = self.next().to_le_bytes();
            return Told::Count(VALUE);
        }
        if !wait {
            return Told::Error(Errno::EAGAIN);
        }
        enqueue(&mut self.readers, Waiter { request, value: 0 })
    }

    pub(crate) const fn lent(&self) -> &[u8; VALUE] {
        &self.lent
    }

    /// The reader has got what was lent.
    pub(crate) fn consumed(&mut self, callers: &mut impl Callers) {
        self.counter = self.counter.saturating_sub(u64::from_le_bytes(self.lent));
        self.pump(callers);
    }

    /// Somebody wants to add.
    pub(crate) fn write(&mut self, callers: &mut impl Callers, request: u64, value: u64, wait: bool) -> Told {
        if value == u64::MAX {
            return Told::Error(Errno::EINVAL);
        }
        if value <= GREATEST - self.counter {
            self.counter += value;
            self.pump(callers);
            return Told::Count(VALUE);
        }
        if !wait {
            return Told::Error(Errno::EAGAIN);
        }
        enqueue(&mut self.writers, Waiter { request, value })
    }

    fn pump(&mut self, callers: &mut impl Callers) {
        loop {
            let mut moved = false;
            while self.counter > 0
                && let Some(reader) = self.readers.pop_front()
            {
                let value = self.next();
                if callers.answer(reader.request, value_count(), [&value.to_le_bytes(), &[]]) {
                    self.counter -= value;
                    moved = true;
                }
            }
            while let Some(writer) = self.writers.front().copied()
                && writer.value <= GREATEST - self.counter
            {
                self.writers.pop_front();
                if callers.answer(writer.request, value_count(), [&[], &[]]) {
                    self.counter += writer.value;
                    moved = true;
                }
            }
            if !moved {
                break;
            }
        }
        let ready = self.ready();
        if ready != 0 && !self.pollers.is_empty() {
            self.pollers.wake(ready);
        }
    }

    pub(crate) const fn ready(&self) -> u64 {
        let readable = if self.counter > 0 { events::READABLE } else { 0 };
        let writable = if self.counter < GREATEST { events::WRITABLE } else { 0 };
        readable | writable
    }

    /// A caller wants to leave. Whether it waited here.
    pub(crate) fn cancel(&mut self, request: u64) -> bool {
        let before = self.readers.len() + self.writers.len();
        self.readers.retain(|waiter| waiter.request != request);
        self.writers.retain(|waiter| waiter.request != request);
        self.readers.len() + self.writers.len() != before
    }
}

fn enqueue(list: &mut VecDeque<Waiter>, waiter: Waiter) -> Told {
    if list.len() >= MOST || list.try_reserve(1).is_err() {
        return Told::Error(Errno::ENOMEM);
    }
    list.push_back(waiter);
    Told::Later
}

const fn value_count() -> Reply {
    Reply::ok([VALUE as u64, 0, 0, 0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::callers::Willing as World;

    #[test]
    fn a_counter_is_read_whole() {
        let (mut event, mut world) = (Event::new(3, false), World::default());
        assert_eq!(event.read(1, 7, true), Told::Error(Errno::EINVAL));
        assert_eq!(event.read(1, 8, true), Told::Count(8));
        assert_eq!(event.lent(), &3u64.to_le_bytes());
        event.consumed(&mut world);
        assert_eq!(event.read(1, 8, false), Told::Error(Errno::EAGAIN));
        assert_eq!(event.read(1, 8, true), Told::Later);
        assert_eq!(event.write(&mut world, 2, 5, true), Told::Count(8));
        assert_eq!(world.0, [(1, 5u64.to_le_bytes().to_vec())]);
        assert_eq!(event.ready(), events::WRITABLE);
    }

    #[test]
    fn a_semaphore_is_read_one_by_one() {
        let (mut event, mut world) = (Event::new(2, true), World::default());
        for _ in 0..2 {
            assert_eq!(event.read(1, 8, true), Told::Count(8));
            assert_eq!(event.lent(), &1u64.to_le_bytes());
            event.consumed(&mut world);
        }
        assert_eq!(event.read(1, 8, false), Told::Error(Errno::EAGAIN));
    }

    #[test]
    fn it_does_not_overflow() {
        let (mut event, mut world) = (Event::new(0, false), World::default());
        assert_eq!(event.write(&mut world, 1, u64::MAX, true), Told::Error(Errno::EINVAL));
        assert_eq!(event.write(&mut world, 1, u64::MAX - 1, true), Told::Count(8));
        assert_eq!(event.ready(), events::READABLE);
        assert_eq!(event.write(&mut world, 2, 1, false), Told::Error(Errno::EAGAIN));
        assert_eq!(event.write(&mut world, 2, 1, true), Told::Later);
        assert_eq!(event.read(3, 8, true), Told::Count(8));
        event.consumed(&mut world);
        assert_eq!(world.0, [(2, vec![])]);
        assert!(!event.cancel(2));
        assert_eq!(event.ready(), events::READABLE | events::WRITABLE);
    }
}
