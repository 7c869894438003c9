//! Requests for locks that wait.

use alloc::vec::Vec;

use abi::Handle;
use protocol::resource_manager::{complete_plain, handles};
use protocol::{Errno, Reply};

use crate::locks::{Locks, Record, is_deadlock};
use crate::tree::NodeId;

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Record(Record),
    Whole { badge: u64, exclusive: bool },
}

#[derive(Clone, Copy, Debug)]
struct Waiter {
    request: u64,
    node: NodeId,
    wanted: Wanted,
}

/// Beyond this many, those whose caller has died are looked for.
const MANY: usize = 64;
/// Most waiters in all.
const MOST: usize = 4096;

/// All that wait, in the order in which they came.
#[derive(Debug)]
pub(crate) struct Waiting {
    gate: Handle,
    list: Vec<Waiter>,
}

impl Waiting {
    pub(crate) const fn new(gate: Handle) -> Self {
        Self { gate, list: Vec::new() }
    }

    /// Let a request wait.
    pub(crate) fn add(&mut self, request: u64, node: NodeId, wanted: Wanted) -> Result<(), Errno> {
        if self.list.len() >= MANY {
            let gate = self.gate;
            self.list.retain(|waiter| handles::is_waiting(gate, waiter.request));
        }
        if self.list.len() >= MOST || self.list.try_reserve(1).is_err() {
            return Err(Errno::ENOLCK);
        }
        self.list.push(Waiter { request, node, wanted });
        Ok(())
    }

    /// Whether waiting for `wanted` on a node with these locks would never end.
    pub(crate) fn would_deadlock<'a>(
        &self,
        locks: &Locks,
        wanted: &Record,
        locks_of: impl Fn(NodeId) -> Option<&'a Locks>,
    ) -> bool {
        let blockers: Vec<u64> = locks.blockers(wanted).collect();
        is_deadlock(wanted.owner, &blockers, |owner| {
            let mut owners = Vec::new();
            for waiter in &self.list {
                if let Wanted::Record(record) = &waiter.wanted
                    && record.owner == owner
                    && let Some(locks) = locks_of(waiter.node)
                {
                    owners.extend(locks.blockers(record));
                }
            }
            owners
        })
    }

    /// A lock on this node was dropped: who can go on now does.
    pub(crate) fn wake(&mut self, node: NodeId, locks: &mut Locks) {
        self.list.retain(|waiter| {
            if waiter.node != node {
                return true;
            }
            match waiter.wanted {
                Wanted::Record(record) => {
                    if locks.conflict(&record).is_some() {
                        return true;
                    }
                    let held = locks.set(record).is_ok();
                    if !answer(waiter.request, held) && held {
                        // It left: others get their chance at the next change, or right now, being behind it.
                        let _ = locks.unset(record.owner, record.start, record.end);
                    }
                }
                Wanted::Whole { badge, exclusive } => {
                    if locks.whole_conflict(badge, exclusive) {
                        return true;
                    }
                    let held = locks.set_whole(badge, exclusive).is_ok();
                    if !answer(waiter.request, held) && held {
                        locks.unset_whole(badge);
                    }
                }
            }
            false
        });
    }

    /// A caller wants to leave. Whether it waited here.
    pub(crate) fn cancel(&mut self, request: u64) -> bool {
        let before = self.list.len();
        self.list.retain(|waiter| waiter.request != request);
        self.list.len() != before
    }

    /// An open file is closed: nobody waits through it any more.
    pub(crate) fn drop_badge(&mut self, closed: u64) {
        self.list.retain(|waiter| match waiter.wanted {
            Wanted::Record(Record { badge, .. }) | Wanted::Whole { badge, .. } => badge != closed,
        });
    }
}

fn answer(request: u64, held: bool) -> bool {
    let reply = if held { Reply::DONE } else { Reply::error(Errno::ENOLCK) };
    complete_plain(request, reply)
}
