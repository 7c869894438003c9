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

/// Limits and use of one process.
#[derive(Debug, Default)]
pub(crate) struct Account {
    limit: [Cell<u32>; RESOURCES],
    used: [Cell<u32>; RESOURCES],
    /// Highest priority of its batons.
    pub(crate) priority: Cell<u32>,
}

/// A quota as an array, in the order of [`Resource`].
pub(crate) const fn vector(quota: &Quota) -> [u32; RESOURCES] {
    [
        quota.processes,
        quota.threads,
        quota.batons,
        quota.gates,
        quota.connections,
        quota.pulses,
        quota.memories,
        quota.mappings,
        quota.pages,
    ]
}

impl Account {
    /// Start with this quota and nothing used.
    pub(crate) fn reset(&self, quota: &Quota) {
        // Bound: the resources.
        for ((limit, used), amount) in self.limit.iter().zip(&self.used).zip(vector(quota)) {
            limit.set(amount);
            used.set(0);
        }
        self.priority.set(quota.priority);
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
    pub(crate) fn carve(&self, quota: &Quota) -> bool {
        let mut share = vector(quota);
        let Some(processes) = share[0].checked_add(1) else { return false };
        share[0] = processes;
        // Bound: the resources, twice.
        let fits = (0..RESOURCES)
            .all(|at| self.used[at].get().checked_add(share[at]).is_some_and(|sum| sum <= self.limit[at].get()));
        if fits {
            for (used, amount) in self.used.iter().zip(share) {
                used.set(used.get() + amount);
            }
        }
        fits
    }

    /// Give a child's whole quota and the child itself back.
    pub(crate) fn restore(&self, child: &Self) {
        // Bound: the resources.
        for (used, amount) in self.used.iter().zip(&child.limit) {
            debug_assert!(used.get() >= amount.get());
            used.set(used.get().saturating_sub(amount.get()));
        }
        self.release(Resource::Processes, 1);
    }

    /// Change the limits of `self`, a child of `parent`; all or nothing. `None` as parent: only shrinking.
    pub(crate) fn resize(&self, parent: Option<&Self>, quota: &Quota) -> bool {
        let new = vector(quota);
        // Bound: the resources, twice.
        let fits = (0..RESOURCES).all(|at| {
            let old = self.limit[at].get();
            let growth = new[at].saturating_sub(old);
            let room = parent.map_or(0, |parent| parent.limit[at].get().saturating_sub(parent.used[at].get()));
            new[at] >= self.used[at].get() && growth <= room
        });
        let cap = parent.map_or(self.priority.get(), |parent| parent.priority.get());
        if !fits || quota.priority > cap {
            return false;
        }
        for (at, &amount) in new.iter().enumerate() {
            let old = self.limit[at].replace(amount);
            if let Some(parent) = parent {
                let used = &parent.used[at];
                used.set((used.get() + amount).saturating_sub(old));
            }
        }
        self.priority.set(quota.priority);
        true
    }

    /// Move the charge for one thing from a dying child to `self`: its share shrinks by what `self` takes over.
    pub(crate) fn take_over(&self, child: &Self, resource: Resource) {
        let at = resource as usize;
        child.used[at].set(child.used[at].get().saturating_sub(1));
        child.limit[at].set(child.limit[at].get().saturating_sub(1));
    }

    /// Limits (`true`) or use, as the ABI shows them.
    pub(crate) fn quota(&self, limits: bool) -> Quota {
        let from = if limits { &self.limit } else { &self.used };
        let at = |resource: Resource| from[resource as usize].get();
        Quota {
            processes: at(Resource::Processes),
            threads: at(Resource::Threads),
            batons: at(Resource::Batons),
            gates: at(Resource::Gates),
            connections: at(Resource::Connections),
            pulses: at(Resource::Pulses),
            memories: at(Resource::Memories),
            mappings: at(Resource::Mappings),
            pages: at(Resource::Pages),
            priority: self.priority.get(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(amount: u32) -> Quota {
        Quota {
            processes: amount,
            threads: amount,
            batons: amount,
            gates: amount,
            connections: amount,
            pulses: amount,
            memories: amount,
            mappings: amount,
            pages: amount,
            priority: 255,
        }
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
        parent.restore(&child);
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
        assert!(!child.resize(Some(&parent), &quota(2)));
        assert!(!child.resize(Some(&parent), &quota(11)));
        assert!(child.resize(Some(&parent), &quota(9)));
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
        parent.restore(&child);
        assert_eq!(parent.quota(false).connections, 1);
    }
}
