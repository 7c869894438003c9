//! A POSIX message queue: whole messages with priorities, the highest first, of equals the oldest.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use protocol::pipe::{PRIORITY_LENGTH, PRIORITY_MOST};
use protocol::resource_manager::{Pollers, events};
use protocol::{Errno, Reply};

use crate::callers::{Callers, Lost};
use crate::pipe::{Asker, Told};

/// Most waiters on each side.
const MOST_WAITING: usize = 4096;

#[derive(Debug)]
struct Message {
    priority: [u8; PRIORITY_LENGTH],
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Sender {
    asker: Asker,
    priority: u64,
}

/// A process that wants to be told when there is a message again (`mq_notify(3)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) pid: u32,
    /// The connection it was asked for on.
    pub(crate) badge: u64,
    /// 0: none.
    pub(crate) signal: u32,
    pub(crate) value: u64,
}

/// A queue.
#[derive(Debug)]
pub(crate) struct Queue {
    most: usize,
    length: usize,
    messages: VecDeque<Message>,
    receivers: VecDeque<Asker>,
    senders: VecDeque<Sender>,
    /// Whether it has a name still.
    pub(crate) is_named: bool,
    /// Permission bits.
    pub(crate) mode: u32,
    pub(crate) notice: Option<Notice>,
    /// Who is to be told now.
    pub(crate) due: Option<Notice>,
    pub(crate) read_pollers: Pollers,
    pub(crate) write_pollers: Pollers,
}

impl Queue {
    pub(crate) fn new(most: usize, length: usize, mode: u32) -> Self {
        Self {
            most,
            length,
            messages: VecDeque::new(),
            receivers: VecDeque::new(),
            senders: VecDeque::new(),
            is_named: true,
            mode,
            notice: None,
            due: None,
            read_pollers: Pollers::new(),
            write_pollers: Pollers::new(),
        }
    }

    /// Most messages, most bytes of one, messages now.
    pub(crate) fn figures(&self) -> [u64; 3] {
        [self.most as u64, self.length as u64, self.messages.len() as u64]
    }

    /// Bytes that it may hold.
    pub(crate) const fn capacity(&self) -> usize {
        self.most * self.length
    }

    /// Somebody sends a message's priority and bytes, `asker.length` in all; `at_hand`: the first of them.
    pub(crate) fn send(&mut self, callers: &mut impl Callers, asker: Asker, priority: u64, at_hand: &[u8]) -> Told {
        if priority >= PRIORITY_MOST || asker.length < PRIORITY_LENGTH {
            return Told::Error(Errno::EINVAL);
        }
        if asker.length - PRIORITY_LENGTH > self.length {
            return Told::Error(Errno::EMSGSIZE);
        }
        if self.messages.len() < self.most && self.senders.is_empty() {
            return match fetch(callers, asker, at_hand) {
                Ok(bytes) => match self.put(callers, priority, bytes) {
                    Ok(()) => Told::Count(asker.length),
                    Err(errno) => Told::Error(errno),
                },
                Err(told) => told,
            };
        }
        if !asker.wait {
            return Told::Error(Errno::EAGAIN);
        }
        if self.senders.len() >= MOST_WAITING || self.senders.try_reserve(1).is_err() {
            return Told::Error(Errno::ENOMEM);
        }
        self.senders.push_back(Sender { asker, priority });
        Told::Later
    }

    /// A message goes to who waits for one, or into the queue.
    fn put(&mut self, callers: &mut impl Callers, priority: u64, bytes: Vec<u8>) -> Result<(), Errno> {
        let message = Message { priority: priority.to_le_bytes(), bytes };
        while let Some(receiver) = self.receivers.pop_front() {
            if callers.answer(receiver.request, message.answer(), [&message.priority, &message.bytes]) {
                return Ok(());
            }
        }
        self.messages.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        let place = self.messages.partition_point(|other| u64::from_le_bytes(other.priority) >= priority);
        self.messages.insert(place, message);
        if self.messages.len() == 1 {
            self.due = self.notice.take();
        }
        if !self.read_pollers.is_empty() {
            self.read_pollers.wake(events::READABLE);
        }
        Ok(())
    }

    /// Somebody wants a message: then [`Queue::front`] is what it gets.
    pub(crate) fn receive(&mut self, asker: Asker) -> Told {
        if asker.length < PRIORITY_LENGTH + self.length {
            return Told::Error(Errno::EMSGSIZE);
        }
        if let Some(message) = self.messages.front() {
            return Told::Count(PRIORITY_LENGTH + message.bytes.len());
        }
        if !asker.wait {
            return Told::Error(Errno::EAGAIN);
        }
        if self.receivers.len() >= MOST_WAITING || self.receivers.try_reserve(1).is_err() {
            return Told::Error(Errno::ENOMEM);
        }
        self.receivers.push_back(asker);
        Told::Later
    }

    /// The next message: its priority, its bytes.
    pub(crate) fn front(&self) -> [&[u8]; 2] {
        self.messages.front().map_or([&[], &[]], |message| [&message.priority, &message.bytes])
    }

    /// The front was received: there is room for one more.
    pub(crate) fn received(&mut self, callers: &mut impl Callers) {
        self.messages.pop_front();
        while self.messages.len() < self.most
            && let Some(sender) = self.senders.pop_front()
        {
            let reply = match fetch(callers, sender.asker, &[]) {
                Ok(bytes) => match self.put(callers, sender.priority, bytes) {
                    Ok(()) => Reply::ok([sender.asker.length as u64, 0, 0, 0]),
                    Err(errno) => Reply::error(errno),
                },
                Err(Told::Retry) => Reply::RETRY,
                // It has left.
                Err(_) => continue,
            };
            callers.answer(sender.asker.request, reply, [&[], &[]]);
        }
        if self.messages.len() < self.most && !self.write_pollers.is_empty() {
            self.write_pollers.wake(events::WRITABLE);
        }
    }

    pub(crate) fn ready(&self, reads: bool, writes: bool) -> u64 {
        let readable = if reads && !self.messages.is_empty() { events::READABLE } else { 0 };
        let writable = if writes && self.messages.len() < self.most { events::WRITABLE } else { 0 };
        readable | writable
    }

    /// An end is closed.
    pub(crate) fn closed(&mut self, badge: u64) {
        self.receivers.retain(|receiver| receiver.badge != badge);
        self.senders.retain(|sender| sender.asker.badge != badge);
        self.read_pollers.forget(badge);
        self.write_pollers.forget(badge);
        self.notice = self.notice.filter(|notice| notice.badge != badge);
    }

    /// A caller wants to leave. Whether it waited here.
    pub(crate) fn cancel(&mut self, request: u64) -> bool {
        let before = self.receivers.len() + self.senders.len();
        self.receivers.retain(|receiver| receiver.request != request);
        self.senders.retain(|sender| sender.asker.request != request);
        self.receivers.len() + self.senders.len() != before
    }
}

impl Message {
    fn answer(&self) -> Reply {
        Reply::ok([(PRIORITY_LENGTH + self.bytes.len()) as u64, 0, 0, 0])
    }
}

/// The bytes of a message, without its priority; what to tell its sender if they cannot be had.
fn fetch(callers: &mut impl Callers, asker: Asker, at_hand: &[u8]) -> Result<Vec<u8>, Told> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(asker.length).map_err(|_| Told::Error(Errno::ENOMEM))?;
    bytes.extend_from_slice(&at_hand[..at_hand.len().min(asker.length)]);
    let mut done = bytes.len();
    bytes.resize(asker.length, 0);
    while done < asker.length {
        match callers.fetch(asker.request, done, &mut bytes[done..]) {
            Ok(got) if got > 0 => done += got,
            Ok(_) | Err(Lost::Missing) => return Err(Told::Retry),
            Err(Lost::Gone) => return Err(Told::Later),
        }
    }
    bytes.drain(..PRIORITY_LENGTH);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::callers::Willing as World;

    fn asker(request: u64, length: usize, wait: bool) -> Asker {
        Asker { request, badge: request, length, wait }
    }

    fn send(queue: &mut Queue, world: &mut World, request: u64, wait: bool, priority: u64, bytes: &[u8]) -> Told {
        let sent = [&[0; PRIORITY_LENGTH], bytes].concat();
        queue.send(world, asker(request, sent.len(), wait), priority, &sent)
    }

    #[test]
    fn the_highest_priority_comes_first_and_of_equals_the_oldest() {
        let (mut queue, mut world) = (Queue::new(4, 8, 0o600), World::default());
        for (request, priority) in [(1, 5), (2, 9), (3, 5), (4, 0)] {
            assert_eq!(send(&mut queue, &mut world, request, true, priority, &[request as u8]), Told::Count(9));
        }
        assert_eq!(send(&mut queue, &mut world, 5, false, 1, &[5]), Told::Error(Errno::EAGAIN));
        assert_eq!(send(&mut queue, &mut world, 5, true, 7, &[5]), Told::Later);
        let mut order = Vec::new();
        while queue.receive(asker(9, 16, false)) == Told::Count(9) {
            order.push(queue.front()[1][0]);
            queue.received(&mut world);
        }
        assert_eq!(order, [2, 5, 1, 3, 4]);
        assert_eq!(world.0, [(5, Vec::new())]);
    }

    #[test]
    fn a_receiver_that_waits_gets_the_message_at_once_and_nobody_is_told() {
        let (mut queue, mut world) = (Queue::new(1, 8, 0o600), World::default());
        let notice = Notice { pid: 7, badge: 70, signal: 10, value: 0 };
        queue.notice = Some(notice);
        assert_eq!(queue.receive(asker(1, 15, true)), Told::Error(Errno::EMSGSIZE));
        assert_eq!(queue.receive(asker(1, 16, true)), Told::Later);
        assert_eq!(send(&mut queue, &mut world, 2, true, 2, b"abc"), Told::Count(11));
        assert_eq!(world.0, [(1, b"\x02\0\0\0\0\0\0\0abc".to_vec())]);
        assert_eq!((queue.notice, queue.due), (Some(notice), None));
        assert_eq!(send(&mut queue, &mut world, 3, true, 0, b"123456789"), Told::Error(Errno::EMSGSIZE));
        assert_eq!(send(&mut queue, &mut world, 3, true, PRIORITY_MOST, b"abc"), Told::Error(Errno::EINVAL));
        assert_eq!(send(&mut queue, &mut world, 4, true, 0, b"abc"), Told::Count(11));
        assert_eq!((queue.notice, queue.due), (None, Some(notice)));
        assert_eq!(queue.ready(true, true), events::READABLE);
    }

    #[test]
    fn who_leaves_is_forgotten() {
        let (mut queue, mut world) = (Queue::new(1, 8, 0o600), World::default());
        assert_eq!(queue.receive(asker(1, 16, true)), Told::Later);
        assert!(queue.cancel(1) && !queue.cancel(1));
        assert_eq!(send(&mut queue, &mut world, 2, true, 0, b"a"), Told::Count(9));
        assert_eq!(send(&mut queue, &mut world, 3, true, 0, b"b"), Told::Later);
        queue.closed(3);
        queue.received(&mut world);
        assert_eq!(queue.ready(true, true), events::WRITABLE);
    }
}
