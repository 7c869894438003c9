//! A set of System V semaphores: all operations of a call are done at once, or it waits; see semop(2).

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use protocol::system_v::SEMAPHORE_MOST;
use protocol::{Errno, Reply};

use crate::callers::Callers;

/// Most waiters for one set.
const MOST_WAITING: usize = 4096;
/// `IPC_NOWAIT`, `SEM_UNDO`.
const NO_WAIT: u16 = 0o4000;
const UNDO: u16 = 0x1000;

/// Linux's `struct sembuf`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    pub(crate) number: u16,
    pub(crate) change: i16,
    pub(crate) flags: u16,
}

#[derive(Clone, Copy, Debug, Default)]
struct Semaphore {
    value: i32,
    pid: u32,
}

#[derive(Debug)]
struct Waiter {
    request: u64,
    badge: u64,
    pid: u32,
    operations: Vec<Operation>,
}

/// What a process that ends takes back.
#[derive(Clone, Copy, Debug)]
struct Adjustment {
    badge: u64,
    number: u16,
    change: i32,
}

/// A set.
#[derive(Debug, Default)]
pub(crate) struct Semaphores {
    all: Vec<Semaphore>,
    waiting: VecDeque<Waiter>,
    adjustments: Vec<Adjustment>,
    /// When it was last operated on, and changed: seconds.
    pub(crate) operated: u64,
    pub(crate) changed: u64,
}

/// Why operations cannot be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hindrance {
    /// It has to wait at this operation.
    Waits(usize),
    Error(Errno),
}

impl Semaphores {
    pub(crate) fn new(count: usize, now: u64) -> Result<Self, Errno> {
        let mut all = Vec::new();
        all.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
        all.resize(count, Semaphore::default());
        Ok(Self { all, changed: now, ..Self::default() })
    }

    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn value(&self, number: usize) -> Result<u64, Errno> {
        self.all.get(number).map(|semaphore| semaphore.value as u64).ok_or(Errno::EINVAL)
    }

    pub(crate) fn pid(&self, number: usize) -> Result<u64, Errno> {
        self.all.get(number).map(|semaphore| u64::from(semaphore.pid)).ok_or(Errno::EINVAL)
    }

    /// How many wait for a semaphore to become 0, or (not `zero`) to grow.
    pub(crate) fn waiting(&self, number: usize, zero: bool) -> Result<u64, Errno> {
        self.value(number)?;
        let waits = |waiter: &&Waiter| match self.attempt(&waiter.operations) {
            Err(Hindrance::Waits(at)) => {
                let operation = waiter.operations[at];
                usize::from(operation.number) == number && (operation.change == 0) == zero
            }
            _ => false,
        };
        Ok(self.waiting.iter().filter(waits).count() as u64)
    }

    /// The values after these operations.
    fn attempt(&self, operations: &[Operation]) -> Result<Vec<i32>, Hindrance> {
        let mut values: Vec<i32> = self.all.iter().map(|semaphore| semaphore.value).collect();
        for (at, operation) in operations.iter().enumerate() {
            let value = values.get_mut(usize::from(operation.number)).ok_or(Hindrance::Error(Errno::EFBIG))?;
            let next = *value + i32::from(operation.change);
            if operation.change == 0 && *value != 0 || next < 0 {
                return Err(Hindrance::Waits(at));
            }
            if next > SEMAPHORE_MOST {
                return Err(Hindrance::Error(Errno::ERANGE));
            }
            *value = next;
        }
        Ok(values)
    }

    fn perform(&mut self, values: &[i32], operations: &[Operation], badge: u64, pid: u32) {
        for (semaphore, value) in self.all.iter_mut().zip(values) {
            semaphore.value = *value;
        }
        for operation in operations {
            if let Some(semaphore) = self.all.get_mut(usize::from(operation.number)) {
                semaphore.pid = pid;
            }
            if operation.flags & UNDO != 0 {
                self.adjust(badge, operation.number, -i32::from(operation.change));
            }
        }
    }

    fn adjust(&mut self, badge: u64, number: u16, change: i32) {
        let known = self.adjustments.iter_mut().find(|other| other.badge == badge && other.number == number);
        match known {
            Some(adjustment) => adjustment.change += change,
            None => self.adjustments.push(Adjustment { badge, number, change }),
        }
    }

    /// semop. `None`: it waits.
    pub(crate) fn operate(
        &mut self,
        callers: &mut impl Callers,
        (request, badge, pid): (u64, u64, u32),
        operations: Vec<Operation>,
    ) -> Option<Result<(), Errno>> {
        if operations.iter().any(|operation| usize::from(operation.number) >= self.all.len()) {
            return Some(Err(Errno::EFBIG));
        }
        match self.attempt(&operations) {
            Ok(values) => {
                self.perform(&values, &operations, badge, pid);
                self.pump(callers);
                Some(Ok(()))
            }
            Err(Hindrance::Error(errno)) => Some(Err(errno)),
            Err(Hindrance::Waits(at)) if operations[at].flags & NO_WAIT != 0 => Some(Err(Errno::EAGAIN)),
            Err(Hindrance::Waits(_)) => {
                if self.waiting.len() >= MOST_WAITING || self.waiting.try_reserve(1).is_err() {
                    return Some(Err(Errno::ENOMEM));
                }
                self.waiting.push_back(Waiter { request, badge, pid, operations });
                None
            }
        }
    }

    /// Let those go on who can, in the order in which they came, until nobody can.
    fn pump(&mut self, callers: &mut impl Callers) {
        let mut at = 0;
        while at < self.waiting.len() {
            let Ok(values) = self.attempt(&self.waiting[at].operations) else {
                at += 1;
                continue;
            };
            let Some(waiter) = self.waiting.remove(at) else { return };
            if callers.answer(waiter.request, Reply::DONE, [&[], &[]]) {
                self.perform(&values, &waiter.operations, waiter.badge, waiter.pid);
                at = 0;
            }
        }
    }

    /// SETVAL and SETALL: values from semaphore `first` on; nobody takes back what was done to them before.
    pub(crate) fn set(
        &mut self,
        callers: &mut impl Callers,
        first: usize,
        values: &[u16],
        pid: u32,
    ) -> Result<(), Errno> {
        if values.iter().any(|&value| i32::from(value) > SEMAPHORE_MOST) {
            return Err(Errno::ERANGE);
        }
        let all = self.all.get_mut(first..first + values.len()).ok_or(Errno::EINVAL)?;
        for (semaphore, value) in all.iter_mut().zip(values) {
            *semaphore = Semaphore { value: i32::from(*value), pid };
        }
        let set = first..first + values.len();
        self.adjustments.retain(|adjustment| !set.contains(&usize::from(adjustment.number)));
        self.pump(callers);
        Ok(())
    }

    /// Its values, as GETALL gives them.
    pub(crate) fn values(&self) -> Vec<u8> {
        self.all.iter().flat_map(|semaphore| (semaphore.value as u16).to_le_bytes()).collect()
    }

    /// A process ended: what it wanted taken back is.
    pub(crate) fn leave(&mut self, callers: &mut impl Callers, badge: u64) {
        self.waiting.retain(|waiter| waiter.badge != badge);
        for adjustment in self.adjustments.iter().filter(|adjustment| adjustment.badge == badge) {
            if let Some(semaphore) = self.all.get_mut(usize::from(adjustment.number)) {
                semaphore.value = (semaphore.value + adjustment.change).clamp(0, SEMAPHORE_MOST);
            }
        }
        let before = self.adjustments.len();
        self.adjustments.retain(|adjustment| adjustment.badge != badge);
        if self.adjustments.len() != before {
            self.pump(callers);
        }
    }

    /// A caller wants to leave. Whether it waited here.
    pub(crate) fn cancel(&mut self, request: u64) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|waiter| waiter.request != request);
        self.waiting.len() != before
    }

    /// The set is removed: who waits is told.
    pub(crate) fn remove(self, callers: &mut impl Callers) {
        for waiter in self.waiting {
            callers.answer(waiter.request, Reply::error(Errno::EIDRM), [&[], &[]]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::callers::Lost;

    #[derive(Default)]
    struct World(Vec<u64>);

    impl Callers for World {
        fn answer(&mut self, request: u64, _: Reply, _: [&[u8]; 2]) -> bool {
            self.0.push(request);
            true
        }
        fn fetch(&mut self, _: u64, _: usize, _: &mut [u8]) -> Result<usize, Lost> {
            Err(Lost::Gone)
        }
        fn is_waiting(&mut self, _: u64) -> bool {
            true
        }
    }

    fn operation(number: u16, change: i16, flags: u16) -> Operation {
        Operation { number, change, flags }
    }

    #[test]
    fn all_operations_of_a_call_are_done_or_none() {
        let (mut set, mut world) = (Semaphores::new(2, 0).unwrap(), World::default());
        let both = || Vec::from([operation(0, -1, 0), operation(1, -1, 0)]);
        assert_eq!(set.operate(&mut world, (1, 1, 1), both()), None);
        assert_eq!(set.operate(&mut world, (2, 2, 2), Vec::from([operation(0, 1, 0)])), Some(Ok(())));
        assert!(world.0.is_empty());
        assert_eq!((set.waiting(1, false), set.waiting(0, false)), (Ok(1), Ok(0)));
        assert_eq!(set.operate(&mut world, (3, 2, 2), Vec::from([operation(1, 2, 0)])), Some(Ok(())));
        assert_eq!((world.0.as_slice(), set.value(0), set.value(1), set.pid(0)), (&[1][..], Ok(0), Ok(1), Ok(1)));
        let refused = Vec::from([operation(0, -1, NO_WAIT)]);
        assert_eq!(set.operate(&mut world, (4, 2, 2), refused), Some(Err(Errno::EAGAIN)));
        assert_eq!(set.operate(&mut world, (4, 2, 2), Vec::from([operation(2, 1, 0)])), Some(Err(Errno::EFBIG)));
    }

    #[test]
    fn who_ends_takes_back_what_it_did() {
        let (mut set, mut world) = (Semaphores::new(1, 0).unwrap(), World::default());
        set.set(&mut world, 0, &[1], 1).unwrap();
        assert_eq!(set.operate(&mut world, (1, 9, 9), Vec::from([operation(0, -1, UNDO)])), Some(Ok(())));
        assert_eq!(set.operate(&mut world, (2, 8, 8), Vec::from([operation(0, -1, 0)])), None);
        set.leave(&mut world, 9);
        assert_eq!((world.0.as_slice(), set.value(0)), (&[2][..], Ok(0)));
    }
}
