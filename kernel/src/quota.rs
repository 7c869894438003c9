//! Quotas: a vector of limits, carved out of the parent's when a process is created.
//!
//! `used` counts what the process itself has and the whole limits of its children, so a child can always use what it
//! was given, and no sibling can.

use abi::Quota;
use core::cell::Cell;

/// What is counted. The order is that of [`abi::Quota`]'s fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Resource {
    Processes,
    Threads,
    Batons,
    Gates,
    Connections,
    Pulses,
    Memories,
    Mappings,
    Pages,
}

/// Counted resources; the priority cap comes after them.
pub(crate) const RESOURCES: usize = 9;

/// A quota as numbers: the resources, and the priority cap. As words in memory it is [`abi::Quota`].
pub(crate) type Share = [u32; RESOURCES + 1];

const _: () = assert!(size_of::<Share>() == size_of::<Quota>());

/// Limits and use of one process.
#[derive(Debug, Default)]
pub(crate) struct Account {
    limit: [Cell<u32>; RESOURCES],
    used: [Cell<u32>; RESOURCES],
    /// Highest priority of its batons.
    pub(crate) priority: Cell<u32>,
}

// Bound of each loop: the resources.
#[expect(clippy::needless_range_loop, reason = "loops over indices are smaller than iterators here")]
impl Account {
    /// Start with this quota and nothing used.
    pub(crate) fn reset(&self, share: &Share) {
        for at in 0..RESOURCES {
            self.limit[at].set(share[at]);
            self.used[at].set(0);
        }
        self.priority.set(share[RESOURCES]);
    }

    /// Use `amount` more; false (and nothing changed) if the limit forbids it.
    pub(crate) fn charge(&self, resource: Resource, amount: u32) -> bool {
        let (used, limit) = (&self.used[resource as usize], &self.limit[resource as usize]);
        match used.get().checked_add(amount) {
            Some(sum) if sum <= limit.get() => {
                used.set(sum);
                true
            }
            _ => false,
        }
    }

    /// Give `amount` back.
    pub(crate) fn release(&self, resource: Resource, amount: u32) {
        let used = &self.used[resource as usize];
        debug_assert!(used.get() >= amount);
        used.set(used.get().saturating_sub(amount));
    }

    /// Take a child's whole quota and the child itself; all or nothing.
    pub(crate) fn carve(&self, share: &Share) -> bool {
        for at in 0..RESOURCES {
            let itself = u64::from(at == Resource::Processes as usize);
            let sum = u64::from(self.used[at].get()) + u64::from(share[at]) + itself;
            if sum > u64::from(self.limit[at].get()) {
                return false;
            }
        }
        for at in 0..RESOURCES {
            self.used[at].set(self.used[at].get() + share[at]);
        }
        self.charge(Resource::Processes, 1)
    }

    /// Give a child's whole quota and the child itself back.
    pub(crate) fn restore(&self, share: &Share) {
        for at in 0..RESOURCES {
            debug_assert!(self.used[at].get() >= share[at]);
            self.used[at].set(self.used[at].get().saturating_sub(share[at]));
        }
        self.release(Resource::Processes, 1);
    }

    /// Change the limits of `self`, a child of `parent`; all or nothing.
    pub(crate) fn resize(&self, parent: &Self, share: &Share) -> bool {
        let mut fits = share[RESOURCES] <= parent.priority.get();
        for at in 0..RESOURCES {
            let growth = share[at].saturating_sub(self.limit[at].get());
            let room = parent.limit[at].get().saturating_sub(parent.used[at].get());
            fits &= share[at] >= self.used[at].get() && growth <= room;
        }
        if fits {
            for at in 0..RESOURCES {
                let old = self.limit[at].replace(share[at]);
                let used = &parent.used[at];
                used.set(used.get().wrapping_add(share[at]).wrapping_sub(old));
            }
            self.priority.set(share[RESOURCES]);
        }
        fits
    }

    /// Move the charge for one thing from a dying child to `self`: its share shrinks by what `self` takes over.
    pub(crate) fn take_over(&self, child: &Self, resource: Resource) {
        let at = resource as usize;
        child.used[at].set(child.used[at].get().saturating_sub(1));
        child.limit[at].set(child.limit[at].get().saturating_sub(1));
    }

    /// Limits (`true`) or use.
    pub(crate) fn share(&self, limits: bool) -> Share {
        let from = if limits { &self.limit } else { &self.used };
        let mut share = [self.priority.get(); RESOURCES + 1];
        for at in 0..RESOURCES {
            share[at] = from[at].get();
        }
        share
    }

    /// Limits (`true`) or use, as the ABI shows them.
    pub(crate) fn quota(&self, limits: bool) -> Quota {
        let [processes, threads, batons, gates, connections, pulses, memories, mappings, pages, priority] =
            self.share(limits);
        Quota { processes, threads, batons, gates, connections, pulses, memories, mappings, pages, priority }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(amount: u32) -> Share {
        let mut share = [amount; RESOURCES + 1];
        share[RESOURCES] = 255;
        share
    }

    #[test]
    fn a_childs_share_is_carved_out_and_comes_back_whole() {
        let (parent, child) = (Account::default(), Account::default());
        parent.reset(&quota(10));
        assert!(parent.carve(&quota(6)));
        child.reset(&quota(6));
        assert!(!parent.carve(&quota(4)), "6 + 1 processes are in use");
        assert!(parent.charge(Resource::Threads, 4));
        assert!(!parent.charge(Resource::Threads, 1));
        assert!(child.charge(Resource::Threads, 6) && !child.charge(Resource::Threads, 1));
        child.release(Resource::Threads, 6);
        parent.restore(&child.share(true));
        assert!(parent.charge(Resource::Threads, 6));
        assert_eq!(parent.quota(false).processes, 0);
    }

    #[test]
    fn resizing_takes_from_the_parent_and_never_below_use() {
        let (parent, child) = (Account::default(), Account::default());
        parent.reset(&quota(10));
        assert!(parent.carve(&quota(3)));
        child.reset(&quota(3));
        assert!(child.charge(Resource::Gates, 3));
        assert!(!child.resize(&parent, &quota(2)));
        assert!(!child.resize(&parent, &quota(11)));
        assert!(child.resize(&parent, &quota(9)));
        assert_eq!(parent.quota(false).gates, 9);
        assert_eq!(parent.quota(false).processes, 10);
    }

    #[test]
    fn what_outlives_a_child_is_charged_to_the_parent() {
        let (parent, child) = (Account::default(), Account::default());
        parent.reset(&quota(10));
        assert!(parent.carve(&quota(3)));
        child.reset(&quota(3));
        assert!(child.charge(Resource::Connections, 1));
        parent.take_over(&child, Resource::Connections);
        parent.restore(&child.share(true));
        assert_eq!(parent.quota(false).connections, 1);
    }
}
