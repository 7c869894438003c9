//! Futexes that are locks with an owner (FUTEX_LOCK_PI): the word holds the owner's id, and the service hands it on. While others wait, the owner
//! runs at the priority of the strongest of them.
//!
//! Programs change the word by themselves as long as nobody waits. The service runs above all programs, and there is one processor: what it
//! reads here is still so when it writes.

use protocol::Errno;

use crate::futex::{Key, OWNER, OWNER_DIED, WAITERS, Waiter};
use crate::kernel;
use crate::server::{Call, Deferred, Outcome, Server};

/// `FutexLock` flags: it is shared between processes; do not wait.
const SHARED: u64 = 1;
const TRY: u64 = 2;

impl Server {
    /// FUTEX_LOCK_PI, FUTEX_TRYLOCK_PI.
    pub(crate) fn futex_lock(
        &mut self,
        pid: u32,
        address: u64,
        tid: u64,
        deadline: u64,
        flags: u64,
        call: &Call,
    ) -> Result<Outcome, Errno> {
        let tid = self.own_thread(pid, tid)?;
        let space = self.space_of(pid)?;
        let word = self.word(space, address)?;
        let key = self.key(space, address, flags & SHARED != 0);
        if word & OWNER == 0 {
            let others = if self.futexes.has(key) { WAITERS } else { 0 };
            self.set_word(space, address, tid | word & OWNER_DIED | others)?;
            return Ok(Outcome::DONE);
        }
        if word & OWNER == tid {
            return Err(Errno::EDEADLK);
        }
        if flags & TRY != 0 {
            return Err(Errno::EAGAIN);
        }
        if !self.table.threads.contains_key(&(word & OWNER)) {
            return Err(Errno::ESRCH);
        }
        if deadline <= kernel::now() {
            return Err(Errno::ETIMEDOUT);
        }
        self.set_word(space, address, word | WAITERS)?;
        self.futexes.add(key, Waiter { request: call.request, bitset: u32::MAX, tid });
        self.defer(call.request, Deferred::Futex { pid, key, deadline }, deadline);
        self.lend_priority(word & OWNER, tid);
        Ok(Outcome::Later)
    }

    /// FUTEX_UNLOCK_PI.
    pub(crate) fn futex_unlock(&mut self, pid: u32, address: u64, tid: u64, flags: u64) -> Result<Outcome, Errno> {
        let tid = self.own_thread(pid, tid)?;
        let space = self.space_of(pid)?;
        if self.word(space, address)? & OWNER != tid {
            return Err(Errno::EPERM);
        }
        let key = self.key(space, address, flags & SHARED != 0);
        self.hand_on(space, address, key, 0)?;
        self.restore_priority(tid);
        Ok(Outcome::DONE)
    }

    /// The strongest who waits owns the lock now; `mark`: bits to be left in its word. Without anybody it is free.
    pub(crate) fn hand_on(&mut self, space: u64, address: u64, key: Key, mark: u32) -> Result<(), Errno> {
        loop {
            let threads = &self.table.threads;
            let strength = |waiter: &Waiter| threads.get(&waiter.tid).map_or(0, |thread| thread.policy.level(20).0);
            let Some(next) = self.futexes.take_strongest(key, strength) else {
                return self.set_word(space, address, mark);
            };
            let more = if self.futexes.has(key) { WAITERS } else { 0 };
            self.set_word(space, address, next.tid | more | mark)?;
            // One that has left meanwhile cannot own it.
            if self.forget(next.request).is_some() && kernel::reply(next.request, 0, [0; 4], &[], None).is_ok() {
                return Ok(());
            }
        }
    }

    fn set_word(&mut self, space: u64, address: u64, word: u32) -> Result<(), Errno> {
        let memory = self.spaces.get_mut(&space).ok_or(Errno::ESRCH)?;
        memory.write(&mut self.ram, address, &word.to_le_bytes(), false)
    }

    /// A thread runs at least at another's priority until it unlocks.
    fn lend_priority(&mut self, owner: u32, waiter: u32) {
        let level = |tid: u32| {
            let thread = self.table.threads.get(&tid)?;
            let nice = self.table.process(thread.pid)?.nice;
            Some(thread.policy.level(nice))
        };
        if let (Some(own), Some(lent)) = (level(owner), level(waiter))
            && lent.0 > own.0
            && let Some(thread) = self.table.threads.get_mut(&owner)
        {
            thread.has_lent_priority = true;
            kernel::set_priority(thread.baton, lent.0, own.1);
        }
    }

    fn restore_priority(&mut self, tid: u32) {
        if let Some(thread) = self.table.threads.get_mut(&tid)
            && core::mem::take(&mut thread.has_lent_priority)
        {
            self.apply_policy_of(tid);
        }
    }
}
