//! Futexes: requests that wait for a word of memory to change, by where the word is.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use protocol::Errno;
use protocol::process::ROBUST_LIST;

use crate::kernel;
use crate::server::{Call, Deferred, Outcome, Server};

/// Where a word is: in a space, or in what several spaces share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    /// At an address of a space.
    Private(u64, u64),
    /// At an offset of a shared object.
    Shared(u64, u64),
}

/// A request that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiter {
    /// The request.
    pub(crate) request: u64,
    /// Wakes it must meet.
    pub(crate) bitset: u32,
    /// Who waits for a lock with an owner; else 0.
    pub(crate) tid: u32,
}

/// All that wait, in order of arrival.
#[derive(Default)]
pub(crate) struct Queues {
    queues: BTreeMap<Key, VecDeque<Waiter>>,
}

impl Queues {
    /// Wait.
    pub(crate) fn add(&mut self, key: Key, waiter: Waiter) {
        self.queues.entry(key).or_default().push_back(waiter);
    }

    /// No longer wait.
    pub(crate) fn remove(&mut self, key: Key, request: u64) {
        if let Some(queue) = self.queues.get_mut(&key) {
            queue.retain(|waiter| waiter.request != request);
            if queue.is_empty() {
                self.queues.remove(&key);
            }
        }
    }

    /// Whether anybody waits.
    pub(crate) fn has(&self, key: Key) -> bool {
        self.queues.contains_key(&key)
    }

    /// The strongest, of equals the one that came first, taken out.
    pub(crate) fn take_strongest(&mut self, key: Key, strength: impl Fn(&Waiter) -> u8) -> Option<Waiter> {
        let queue = self.queues.get_mut(&key)?;
        let (at, _) = queue.iter().enumerate().rev().max_by_key(|(_, waiter)| strength(waiter))?;
        let waiter = queue.remove(at);
        if queue.is_empty() {
            self.queues.remove(&key);
        }
        waiter
    }

    /// The first that meets `bitset`, taken out.
    pub(crate) fn take(&mut self, key: Key, bitset: u32) -> Option<Waiter> {
        let queue = self.queues.get_mut(&key)?;
        let at = queue.iter().position(|waiter| waiter.bitset & bitset != 0)?;
        let waiter = queue.remove(at);
        if queue.is_empty() {
            self.queues.remove(&key);
        }
        waiter
    }
}

/// Most entries of a robust list that are looked at.
const ROBUST: usize = 2048;
pub(crate) const OWNER: u32 = 0x3fff_ffff;
pub(crate) const OWNER_DIED: u32 = 0x4000_0000;
pub(crate) const WAITERS: u32 = 0x8000_0000;

impl Server {
    pub(crate) fn key(&self, space: u64, address: u64, shared: bool) -> Key {
        let found = if shared { self.spaces.get(&space).and_then(|space| space.shared_key(address)) } else { None };
        found.map_or(Key::Private(space, address), |(object, offset)| Key::Shared(object, offset))
    }

    pub(crate) fn word(&mut self, space: u64, address: u64) -> Result<u32, Errno> {
        if !address.is_multiple_of(4) {
            return Err(Errno::EINVAL);
        }
        let mut bytes = [0; 4];
        self.spaces.get_mut(&space).ok_or(Errno::ESRCH)?.read(&mut self.ram, address, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// FUTEX_WAIT, FUTEX_WAIT_BITSET.
    pub(crate) fn futex_wait(
        &mut self,
        pid: u32,
        address: u64,
        expected: u64,
        deadline: u64,
        flags: u64,
        call: &Call,
    ) -> Result<Outcome, Errno> {
        let space = self.space_of(pid)?;
        if self.word(space, address)? != expected as u32 {
            return Err(Errno::EAGAIN);
        }
        if deadline <= kernel::now() {
            return Err(Errno::ETIMEDOUT);
        }
        let bitset = match (expected >> 32) as u32 {
            0 => u32::MAX,
            bitset => bitset,
        };
        let key = self.key(space, address, flags & 1 != 0);
        self.futexes.add(key, Waiter { request: call.request, bitset, tid: 0 });
        self.defer(call.request, Deferred::Futex { pid, key, deadline }, deadline);
        Ok(Outcome::Later)
    }

    /// Wake up to `count`; gives how many were.
    pub(crate) fn wake(&mut self, key: Key, count: u64, bitset: u32) -> u64 {
        let mut woken = 0;
        while woken < count {
            let Some(waiter) = self.futexes.take(key, bitset) else { break };
            // One that has left meanwhile does not count.
            if self.forget(waiter.request).is_some() && kernel::reply(waiter.request, 0, [0; 4], &[], None).is_ok() {
                woken += 1;
            }
        }
        woken
    }

    /// FUTEX_WAKE, FUTEX_WAKE_BITSET.
    pub(crate) fn futex_wake(
        &mut self,
        pid: u32,
        address: u64,
        count: u64,
        bitset: u64,
        flags: u64,
    ) -> Result<Outcome, Errno> {
        let space = self.space_of(pid)?;
        if !address.is_multiple_of(4) {
            return Err(Errno::EINVAL);
        }
        let bitset = if bitset as u32 == 0 { u32::MAX } else { bitset as u32 };
        let key = self.key(space, address, flags & 1 != 0);
        Ok(Outcome::ok([self.wake(key, count, bitset), 0, 0, 0]))
    }

    /// FUTEX_REQUEUE, FUTEX_CMP_REQUEUE.
    pub(crate) fn futex_requeue(
        &mut self,
        pid: u32,
        address: u64,
        count: u64,
        target: u64,
        expected: u64,
    ) -> Result<Outcome, Errno> {
        let space = self.space_of(pid)?;
        if !target.is_multiple_of(4) {
            return Err(Errno::EINVAL);
        }
        if expected != u64::MAX && self.word(space, address)? != expected as u32 {
            return Err(Errno::EAGAIN);
        }
        let (from, to) = (self.key(space, address, true), self.key(space, target, true));
        let woken = self.wake(from, count & 0xffff_ffff, u32::MAX);
        let mut moved = 0;
        while from != to && moved < count >> 32 {
            let Some(waiter) = self.futexes.take(from, u32::MAX) else { break };
            if let Some(Deferred::Futex { key, .. }) = self.deferred.get_mut(&waiter.request) {
                *key = to;
                self.futexes.add(to, waiter);
                moved += 1;
            }
        }
        Ok(Outcome::ok([woken + moved, 0, 0, 0]))
    }

    /// All threads of a process end, whatever the cause: hand their robust mutexes on.
    pub(crate) fn leave_all_robust(&mut self, pid: u32) {
        let Some(process) = self.table.process(pid) else { return };
        let (space, threads) = (process.space, process.threads.clone());
        for tid in threads {
            self.leave_robust(space, tid);
        }
    }

    /// A thread ends: hand its robust mutexes on, clear its word and wake who waits for it (`set_robust_list(2)`).
    pub(crate) fn leave_futexes(&mut self, space: u64, tid: u32, clear: u64) {
        self.leave_robust(space, tid);
        if clear != 0 && clear.is_multiple_of(4) {
            if let Some(space) = self.spaces.get_mut(&space) {
                let _ = space.write(&mut self.ram, clear, &[0; 4], false);
            }
            let key = self.key(space, clear, true);
            self.wake(key, 1, u32::MAX);
        }
    }

    fn leave_robust(&mut self, space: u64, tid: u32) {
        let Some(block) = self.table.threads.get(&tid).map(|thread| thread.block) else { return };
        let Some(memory) = self.spaces.get_mut(&space) else { return };
        let mut head = [0; 8];
        // What is not there cannot be known.
        let known = memory.is_resident(block) && memory.read(&mut self.ram, block + ROBUST_LIST, &mut head).is_ok();
        let head = u64::from_le_bytes(head);
        if !known || head == 0 {
            return;
        }
        let mut words = [0; 24];
        if memory.read(&mut self.ram, head, &mut words).is_err() {
            return;
        }
        let [first, offset, pending] =
            [0, 8, 16].map(|at| u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|byte| words[at + byte])));
        let mut entries = Vec::new();
        // The lowest bit of a pointer says that what it points to is a lock with an owner.
        let mut entry = first;
        while entry & !1 != head && entry & !1 != 0 && entries.len() < ROBUST {
            entries.push(entry);
            let mut next = [0; 8];
            let Some(memory) = self.spaces.get_mut(&space) else { return };
            if memory.read(&mut self.ram, entry & !1, &mut next).is_err() {
                break;
            }
            entry = u64::from_le_bytes(next);
        }
        if pending & !1 != 0 {
            entries.push(pending);
        }
        for entry in entries {
            let address = (entry & !1).wrapping_add(offset);
            let Ok(word) = self.word(space, address) else { continue };
            if word & OWNER != tid {
                continue;
            }
            if entry & 1 != 0 {
                let key = self.key(space, address, true);
                // What cannot be written is nobody's lock.
                let _ = self.hand_on(space, address, key, OWNER_DIED);
                continue;
            }
            let left = word & WAITERS | OWNER_DIED;
            if let Some(space) = self.spaces.get_mut(&space) {
                let _ = space.write(&mut self.ram, address, &left.to_le_bytes(), false);
            }
            if word & WAITERS != 0 {
                let key = self.key(space, address, true);
                self.wake(key, 1, u32::MAX);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_meets_the_bitset_is_taken() {
        let mut queues = Queues::default();
        let key = Key::Private(1, 8);
        for (request, bitset) in [(1, 1), (2, 2), (3, 3)] {
            queues.add(key, Waiter { request, bitset, tid: 0 });
        }
        assert_eq!(queues.take(key, 2).map(|waiter| waiter.request), Some(2));
        assert_eq!(queues.take(Key::Private(2, 8), u32::MAX), None);
        queues.remove(key, 1);
        assert_eq!(queues.take(key, u32::MAX).map(|waiter| waiter.request), Some(3));
        assert!(queues.queues.is_empty());
    }
}
