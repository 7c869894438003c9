//! RAM of a native program that POSIX processes show: files of the memory file system that are mapped, or run.
//!
//! When its owner gives such RAM back (the file was deleted), those who show it keep it: it is freed when the last of them is gone.

use alloc::collections::BTreeMap;
use alloc::rc::{Rc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::kernel::PassedMemory;
use crate::native::Allocation;

/// Set when a passed Memory is no longer used by anything: RAM may be free now.
pub(crate) static DROPPED: AtomicBool = AtomicBool::new(false);

/// Who shows what.
#[derive(Default)]
pub(crate) struct Lent {
    /// Passed Memories by physical address.
    shown: BTreeMap<u64, Vec<Weak<PassedMemory>>>,
    /// RAM that was given back but is still shown.
    kept: Vec<Allocation>,
}

impl Lent {
    /// A Memory was passed, to be shown.
    pub(crate) fn note(&mut self, memory: &Rc<PassedMemory>) {
        if memory.base != 0 {
            let list = self.shown.entry(memory.base).or_default();
            list.retain(|other| other.strong_count() > 0);
            list.push(Rc::downgrade(memory));
        }
    }

    /// Whether anybody shows anything of this range of physical addresses. What nobody shows any more is forgotten.
    fn shows(&mut self, start: u64, end: u64) -> bool {
        let mut dead = Vec::new();
        let mut found = false;
        for (&base, list) in self.shown.range(start..end) {
            if list.iter().any(|memory| memory.strong_count() > 0) {
                found = true;
            } else {
                dead.push(base);
            }
        }
        for base in dead {
            self.shown.remove(&base);
        }
        found
    }

    /// An allocation at this physical address is given back: the allocation, if nobody shows it; else it is kept.
    pub(crate) fn give_back(&mut self, allocation: Allocation) -> Option<Allocation> {
        if self.shows(allocation.physical, allocation.end()) {
            self.kept.push(allocation);
            return None;
        }
        Some(allocation)
    }

    /// Allocations that were kept and that nobody shows any more.
    pub(crate) fn sweep(&mut self) -> Vec<Allocation> {
        if self.kept.is_empty() || !DROPPED.swap(false, Ordering::Relaxed) {
            return Vec::new();
        }
        let kept = core::mem::take(&mut self.kept);
        let (still, free) = kept.into_iter().partition(|allocation| self.shows(allocation.physical, allocation.end()));
        self.kept = still;
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::Frame;
    use abi::Handle;

    fn allocation(physical: u64) -> Allocation {
        Allocation { memory: Handle(9), frame: Frame(1), pages: 2, physical }
    }

    #[test]
    fn what_is_shown_is_kept_until_it_is_not() {
        let mut lent = Lent::default();
        let memory = Rc::new(PassedMemory { handle: Handle::NONE, length: 8192, base: 0x5000 });
        lent.note(&memory);
        lent.note(&Rc::new(PassedMemory { handle: Handle::NONE, length: 1, base: 0 }));
        assert!(lent.give_back(allocation(0x9000)).is_some());
        assert!(lent.give_back(allocation(0x5000)).is_none());
        DROPPED.store(true, Ordering::Relaxed);
        assert!(lent.sweep().is_empty());
        drop(memory);
        DROPPED.store(true, Ordering::Relaxed);
        assert_eq!(lent.sweep().len(), 1);
        assert!(lent.sweep().is_empty() && lent.shown.is_empty());
    }
}
