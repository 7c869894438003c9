//! A System V message queue: messages of types, received by type; see msgop(2).

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use protocol::system_v::SEND_HEAD;
use protocol::{Errno, Reply};

use crate::callers::{Callers, Lost};

/// Most waiters on each side.
const MOST_WAITING: usize = 4096;
/// Bytes that a queue holds unless it was told otherwise, and most messages.
const CAPACITY: usize = 16_384;
const MESSAGES: usize = 4096;
/// `IPC_NOWAIT`, `MSG_NOERROR`, `MSG_EXCEPT`.
const NO_WAIT: u32 = 0o4000;
const CUT: u32 = 0o10_000;
const EXCEPT: u32 = 0o20_000;

#[derive(Debug)]
struct Message {
    kind: i64,
    bytes: Vec<u8>,
}

/// Who sends or receives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    pub(crate) request: u64,
    pub(crate) badge: u64,
    pub(crate) pid: u32,
    /// IPC_NOWAIT and the like.
    pub(crate) flags: u32,
    /// The type that is sent or wanted.
    pub(crate) kind: i64,
    /// Bytes to be sent, or room for them.
    pub(crate) length: usize,
}

/// A queue.
#[derive(Debug)]
pub(crate) struct TypedQueue {
    messages: VecDeque<Message>,
    bytes: usize,
    /// Most bytes.
    pub(crate) capacity: usize,
    senders: VecDeque<Asker>,
    receivers: VecDeque<Asker>,
    /// Last sender and receiver; when, and when it was changed: seconds.
    pub(crate) pids: [u32; 2],
    pub(crate) times: [u64; 3],
}

impl Asker {
    /// Whether it wants a message of this type; `least`: the lowest that is there.
    fn wants(&self, kind: i64, least: i64) -> bool {
        match self.kind {
            0 => true,
            wanted if wanted > 0 => (kind == wanted) == (self.flags & EXCEPT == 0),
            wanted => kind == least && kind <= wanted.saturating_neg(),
        }
    }
}

impl TypedQueue {
    pub(crate) fn new(now: u64) -> Self {
        Self {
            messages: VecDeque::new(),
            bytes: 0,
            capacity: CAPACITY,
            senders: VecDeque::new(),
            receivers: VecDeque::new(),
            pids: [0; 2],
            times: [0, 0, now],
        }
    }

    /// Messages, and their bytes.
    pub(crate) fn held(&self) -> (usize, usize) {
        (self.messages.len(), self.bytes)
    }

    fn has_room(&self, length: usize) -> bool {
        self.bytes + length <= self.capacity && self.messages.len() < MESSAGES
    }

    /// msgsnd. `None`: it waits.
    pub(crate) fn send(&mut self, callers: &mut impl Callers, asker: Asker, now: u64) -> Option<Result<(), Errno>> {
        if asker.kind < 1 || asker.length > self.capacity {
            return Some(Err(Errno::EINVAL));
        }
        if self.has_room(asker.length) {
            return Some(self.take(callers, asker, now).map(|()| self.pump(callers, now)));
        }
        if asker.flags & NO_WAIT != 0 {
            return Some(Err(Errno::EAGAIN));
        }
        wait(&mut self.senders, asker)
    }

    /// A message goes into the queue.
    fn take(&mut self, callers: &mut impl Callers, asker: Asker, now: u64) -> Result<(), Errno> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(asker.length).map_err(|_| Errno::ENOMEM)?;
        bytes.resize(asker.length, 0);
        let mut done = 0;
        while done < bytes.len() {
            match callers.fetch(asker.request, SEND_HEAD + done, &mut bytes[done..]) {
                Ok(got) if got > 0 => done += got,
                Ok(_) | Err(Lost::Missing) => return Err(Errno::EFAULT),
                Err(Lost::Gone) => return Err(Errno::EINTR),
            }
        }
        self.messages.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        self.bytes += bytes.len();
        self.messages.push_back(Message { kind: asker.kind, bytes });
        (self.pids[0], self.times[0]) = (asker.pid, now);
        Ok(())
    }

    /// msgrcv: `None`: it waits. It is answered here.
    pub(crate) fn receive(&mut self, callers: &mut impl Callers, asker: Asker, now: u64) -> Option<Errno> {
        match self.give(callers, asker, now) {
            Some(Ok(())) => {
                self.pump(callers, now);
                None
            }
            Some(Err(errno)) => Some(errno),
            None if asker.flags & NO_WAIT != 0 => Some(Errno::ENOMSG),
            None => wait(&mut self.receivers, asker).and_then(Result::err),
        }
    }

    /// Answer a receiver, if there is a message for it.
    fn give(&mut self, callers: &mut impl Callers, asker: Asker, now: u64) -> Option<Result<(), Errno>> {
        let least = self.messages.iter().map(|message| message.kind).min()?;
        let at = self.messages.iter().position(|message| asker.wants(message.kind, least))?;
        let message = self.messages.get(at)?;
        if message.bytes.len() > asker.length && asker.flags & CUT == 0 {
            return Some(Err(Errno::E2BIG));
        }
        let count = message.bytes.len().min(asker.length);
        let answer = Reply::ok([count as u64, 0, 0, 0]);
        if callers.answer(asker.request, answer, [&message.kind.to_le_bytes(), &message.bytes[..count]]) {
            self.bytes -= message.bytes.len();
            self.messages.remove(at);
            (self.pids[1], self.times[1]) = (asker.pid, now);
        }
        Some(Ok(()))
    }

    /// Let who waits go on as far as possible.
    fn pump(&mut self, callers: &mut impl Callers, now: u64) {
        loop {
            let before = (self.receivers.len(), self.senders.len());
            for receiver in core::mem::take(&mut self.receivers) {
                match self.give(callers, receiver, now) {
                    None => self.receivers.push_back(receiver),
                    Some(Ok(())) => {}
                    Some(Err(errno)) => {
                        callers.answer(receiver.request, Reply::error(errno), [&[], &[]]);
                    }
                }
            }
            while self.senders.front().is_some_and(|sender| self.has_room(sender.length))
                && let Some(sender) = self.senders.pop_front()
            {
                let reply = self.take(callers, sender, now).map_or_else(Reply::error, |()| Reply::DONE);
                callers.answer(sender.request, reply, [&[], &[]]);
            }
            if before == (self.receivers.len(), self.senders.len()) {
                return;
            }
        }
    }

    /// It may hold another number of bytes.
    pub(crate) fn set_capacity(&mut self, callers: &mut impl Callers, capacity: usize, now: u64) {
        (self.capacity, self.times[2]) = (capacity, now);
        self.pump(callers, now);
    }

    /// A process ended.
    pub(crate) fn leave(&mut self, badge: u64) {
        self.senders.retain(|asker| asker.badge != badge);
        self.receivers.retain(|asker| asker.badge != badge);
    }

    /// A caller wants to leave. Whether it waited here.
    pub(crate) fn cancel(&mut self, request: u64) -> bool {
        let before = self.senders.len() + self.receivers.len();
        self.senders.retain(|asker| asker.request != request);
        self.receivers.retain(|asker| asker.request != request);
        self.senders.len() + self.receivers.len() != before
    }

    /// The queue is removed: who waits is told.
    pub(crate) fn remove(self, callers: &mut impl Callers) {
        for asker in self.senders.into_iter().chain(self.receivers) {
            callers.answer(asker.request, Reply::error(Errno::EIDRM), [&[], &[]]);
        }
    }
}

fn wait(list: &mut VecDeque<Asker>, asker: Asker) -> Option<Result<(), Errno>> {
    if list.len() >= MOST_WAITING || list.try_reserve(1).is_err() {
        return Some(Err(Errno::ENOMEM));
    }
    list.push_back(asker);
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::callers::Willing as World;
    use protocol::system_v::TYPE_LENGTH;

    fn asker(request: u64, kind: i64, length: usize, flags: u32) -> Asker {
        Asker { request, badge: request, pid: 1, flags, kind, length }
    }

    #[test]
    fn messages_are_received_by_type() {
        let (mut queue, mut world) = (TypedQueue::new(0), World::default());
        for (request, kind) in [(1, 5), (2, 3), (3, 5), (4, 9)] {
            assert_eq!(queue.send(&mut world, asker(request, kind, 1, 0), 0), Some(Ok(())));
        }
        for (kind, flags, expected) in [(-4, 0, 2), (5, EXCEPT, 4), (5, 0, 1), (0, 0, 3)] {
            assert_eq!(queue.receive(&mut world, asker(9, kind, 8, flags), 0), None);
            assert_eq!(world.0.pop().map(|(_, bytes)| bytes[TYPE_LENGTH]), Some(expected));
        }
        assert_eq!(queue.receive(&mut world, asker(9, 0, 8, NO_WAIT), 0), Some(Errno::ENOMSG));
        assert_eq!(queue.held(), (0, 0));
    }

    #[test]
    fn senders_wait_for_room_and_receivers_for_their_type() {
        let (mut queue, mut world) = (TypedQueue::new(0), World::default());
        queue.set_capacity(&mut world, 10, 0);
        assert_eq!(queue.receive(&mut world, asker(1, 7, 10, 0), 0), None);
        assert_eq!(queue.send(&mut world, asker(2, 1, 8, 0), 0), Some(Ok(())));
        assert_eq!(queue.send(&mut world, asker(3, 7, 4, NO_WAIT), 0), Some(Err(Errno::EAGAIN)));
        assert!(queue.send(&mut world, asker(4, 7, 4, 0), 0).is_none());
        assert_eq!(queue.receive(&mut world, asker(5, 1, 4, 0), 0), Some(Errno::E2BIG));
        assert_eq!(queue.receive(&mut world, asker(6, 1, 4, CUT), 0), None);
        let order: Vec<u64> = world.0.iter().map(|(request, _)| *request).collect();
        assert_eq!(order, [6, 4, 1]);
        assert!(!queue.cancel(1));
    }
}
