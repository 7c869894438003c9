//! What every kernel object begins with: a generation, the process that pays for it, and its place in that process's
//! list of possessions.
//!
//! An odd generation is alive; destroying an object makes it even, which kills every handle to it at once. The slot is
//! given out again only when its remains are gone. A slot whose generation would wrap is never given out again.

use abi::object::Kind;
use core::cell::Cell;

/// The common part of all objects.
#[derive(Debug, Default)]
pub(crate) struct Header {
    /// Odd while alive.
    pub(crate) generation: Cell<u32>,
    /// The process that is charged.
    pub(crate) owner: Cell<u32>,
    /// The owner's next possession (tagged), or the next free slot.
    pub(crate) next: Cell<u32>,
    /// The owner's previous possession (tagged).
    pub(crate) previous: Cell<u32>,
    /// Dead, but with remains.
    pub(crate) dying: Cell<bool>,
}

impl Header {
    /// Whether the object exists and was not destroyed.
    pub(crate) fn alive(&self) -> bool {
        self.generation.get() & 1 == 1
    }

    /// Kill every handle to it.
    pub(crate) fn kill(&self) {
        debug_assert!(self.alive());
        self.generation.set(self.generation.get().wrapping_add(1));
        self.dying.set(true);
    }
}

/// How deep the tree of processes may be, and how often Memory may be derived from Memory: what goes with the topmost is found
/// by going down.
pub(crate) const DEPTH: u8 = 32;

/// A possession's name in its owner's list: kind and index.
pub(crate) const fn tag(kind: Kind, index: u32) -> u32 {
    (kind as u32) << 16 | index
}

/// The slots of a table: which are free, which were never used.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    free: Cell<u32>,
    fresh: Cell<u32>,
    capacity: Cell<u32>,
    used: Cell<u32>,
}

impl Pool {
    /// Slots 1 to `capacity` − 1 may be given out; slot 0 is the dummy.
    pub(crate) fn new(capacity: u32) -> Self {
        Self { free: Cell::new(0), fresh: Cell::new(1), capacity: Cell::new(capacity), used: Cell::new(0) }
    }

    /// Take a slot; `link` finds the cell in which free slots are chained.
    pub(crate) fn take<'a>(&self, link: impl FnOnce(u32) -> &'a Cell<u32>) -> Option<u32> {
        let index = match self.free.get() {
            0 => {
                let fresh = self.fresh.get();
                if fresh >= self.capacity.get() {
                    return None;
                }
                self.fresh.set(fresh + 1);
                fresh
            }
            free => {
                self.free.set(link(free).get());
                free
            }
        };
        self.used.set(self.used.get() + 1);
        Some(index)
    }

    /// Give a slot back.
    pub(crate) fn give(&self, index: u32, link: &Cell<u32>) {
        link.set(self.free.get());
        self.free.set(index);
        self.used.set(self.used.get() - 1);
    }

    /// Slots that were ever used are below this one.
    pub(crate) fn high_water(&self) -> u32 {
        self.fresh.get()
    }

    /// Slots in use.
    pub(crate) fn used(&self) -> u32 {
        self.used.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_gives_each_slot_once_and_stops_at_its_capacity() {
        let links: [Cell<u32>; 4] = Default::default();
        let pool = Pool::new(4);
        let link = |index: u32| &links[index as usize];
        assert_eq!((pool.take(link), pool.take(link), pool.take(link)), (Some(1), Some(2), Some(3)));
        assert_eq!(pool.take(link), None);
        pool.give(2, &links[2]);
        pool.give(1, &links[1]);
        assert_eq!((pool.take(link), pool.take(link), pool.take(link)), (Some(1), Some(2), None));
        assert_eq!(pool.used(), 3);
    }
}
