//! Locks on a file: record locks of processes (`fcntl`), and whole-file locks of open files (`flock`).

use alloc::vec::Vec;

/// The end of a lock that reaches to the end of the file, however long it gets.
const TO_THE_END: u64 = u64::MAX;
/// Most record locks on one file.
const MOST: usize = 4096;

/// A record lock: bytes `start` to `end` (exclusive).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) write: bool,
    /// The process that holds it.
    pub(crate) owner: u64,
    /// The open file through which it was set: if that is closed for good, it goes.
    pub(crate) badge: u64,
}

impl Record {
    /// A range as `struct flock` has it: length 0 is to the end. `None`: it is not a range.
    pub(crate) fn range(start: u64, length: u64) -> Option<(u64, u64)> {
        let (start, length) = (start as i64, length as i64);
        // A negative length means the bytes before `start`.
        let (start, end) = match length {
            0 => (start, None),
            1.. => (start, Some(start.checked_add(length)?)),
            _ => (start.checked_add(length)?, Some(start)),
        };
        let start = u64::try_from(start).ok()?;
        Some((start, end.map_or(TO_THE_END, |end| end as u64)))
    }

    /// Its length as `struct flock` has it.
    pub(crate) const fn length(&self) -> u64 {
        if self.end == TO_THE_END { 0 } else { self.end - self.start }
    }

    const fn overlaps(&self, start: u64, end: u64) -> bool {
        self.start < end && start < self.end
    }
}

/// A whole-file lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Whole {
    badge: u64,
    exclusive: bool,
}

/// The locks on one file.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    records: Vec<Record>,
    whole: Vec<Whole>,
}

/// There is no memory for another lock (ENOLCK).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoLocks;

impl Locks {
    pub(crate) const fn new() -> Self {
        Self { records: Vec::new(), whole: Vec::new() }
    }

    /// The first lock that keeps `wanted` from being set.
    pub(crate) fn conflict(&self, wanted: &Record) -> Option<&Record> {
        self.records
            .iter()
            .filter(|held| held.owner != wanted.owner && (held.write || wanted.write))
            .filter(|held| held.overlaps(wanted.start, wanted.end))
            .min_by_key(|held| held.start)
    }

    /// Set a lock that has no conflict, in place of what its owner holds there.
    pub(crate) fn set(&mut self, wanted: Record) -> Result<(), NoLocks> {
        // Room for the lock and for a lock that is cut in two.
        if self.records.len() >= MOST || self.records.try_reserve(2).is_err() {
            return Err(NoLocks);
        }
        self.cut(wanted.owner, wanted.start, wanted.end);
        let mut wanted = wanted;
        // Neighbours of the same kind become one.
        self.records.retain(|held| {
            let joins = held.owner == wanted.owner
                && held.write == wanted.write
                && (held.end == wanted.start || held.start == wanted.end);
            if joins {
                wanted.start = wanted.start.min(held.start);
                wanted.end = wanted.end.max(held.end);
            }
            !joins
        });
        self.records.push(wanted);
        Ok(())
    }

    /// Unlock a range of an owner's.
    pub(crate) fn unset(&mut self, owner: u64, start: u64, end: u64) -> Result<(), NoLocks> {
        if self.records.try_reserve(1).is_err() {
            return Err(NoLocks);
        }
        self.cut(owner, start, end);
        Ok(())
    }

    fn cut(&mut self, owner: u64, start: u64, end: u64) {
        let mut right = None;
        self.records.retain_mut(|held| {
            if held.owner != owner || !held.overlaps(start, end) {
                return true;
            }
            if held.end > end {
                right = Some(Record { start: end, ..*held });
            }
            held.end = start;
            held.start < start
        });
        self.records.extend(right);
    }

    /// Unlock all that an owner holds. Whether it held any.
    pub(crate) fn drop_owner(&mut self, owner: u64) -> bool {
        let before = self.records.len();
        self.records.retain(|held| held.owner != owner);
        self.records.len() != before
    }

    /// An open file is gone. Whether it held any lock.
    pub(crate) fn drop_badge(&mut self, badge: u64) -> bool {
        let before = self.records.len() + self.whole.len();
        self.records.retain(|held| held.badge != badge);
        self.whole.retain(|held| held.badge != badge);
        self.records.len() + self.whole.len() != before
    }

    /// Whether a whole-file lock can be had.
    pub(crate) fn whole_conflict(&self, badge: u64, exclusive: bool) -> bool {
        self.whole.iter().any(|held| held.badge != badge && (held.exclusive || exclusive))
    }

    /// Set a whole-file lock that has no conflict.
    pub(crate) fn set_whole(&mut self, badge: u64, exclusive: bool) -> Result<(), NoLocks> {
        self.whole.try_reserve(1).map_err(|_| NoLocks)?;
        self.unset_whole(badge);
        self.whole.push(Whole { badge, exclusive });
        Ok(())
    }

    /// Unlock the whole file. Whether it was locked.
    pub(crate) fn unset_whole(&mut self, badge: u64) -> bool {
        let before = self.whole.len();
        self.whole.retain(|held| held.badge != badge);
        self.whole.len() != before
    }

    /// The owners that keep `wanted` from being set.
    pub(crate) fn blockers<'a>(&'a self, wanted: &'a Record) -> impl Iterator<Item = u64> + 'a {
        self.records
            .iter()
            .filter(|held| held.owner != wanted.owner && (held.write || wanted.write))
            .filter(|held| held.overlaps(wanted.start, wanted.end))
            .map(|held| held.owner)
    }
}

/// Whether an owner that waits for `blockers` would wait for itself. `waits_for`: the owners that an owner waits for now.
pub(crate) fn is_deadlock(owner: u64, blockers: &[u64], waits_for: impl Fn(u64) -> Vec<u64>) -> bool {
    let mut seen: Vec<u64> = Vec::new();
    let mut todo: Vec<u64> = blockers.to_vec();
    while let Some(next) = todo.pop() {
        if next == owner {
            return true;
        }
        if !seen.contains(&next) {
            seen.push(next);
            todo.extend(waits_for(next));
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(owner: u64, start: u64, end: u64, write: bool) -> Record {
        Record { start, end, write, owner, badge: owner + 100 }
    }

    fn held(locks: &Locks) -> Vec<(u64, u64, u64, bool)> {
        let mut held: Vec<_> = locks.records.iter().map(|r| (r.owner, r.start, r.end, r.write)).collect();
        held.sort_unstable();
        held
    }

    #[test]
    fn ranges_are_linux() {
        assert_eq!(Record::range(10, 5), Some((10, 15)));
        assert_eq!(Record::range(10, 0), Some((10, TO_THE_END)));
        assert_eq!(Record::range(10, -4i64 as u64), Some((6, 10)));
        assert_eq!(Record::range(3, -4i64 as u64), None);
        assert_eq!(Record::range(1 << 63, 1), None);
        assert_eq!(Record::range(i64::MAX as u64, 2), None);
        assert_eq!(record(1, 10, TO_THE_END, true).length(), 0);
    }

    #[test]
    fn readers_share_writers_do_not() {
        let mut locks = Locks::new();
        locks.set(record(1, 0, 10, false)).unwrap();
        assert!(locks.conflict(&record(2, 5, 6, false)).is_none());
        assert_eq!(locks.conflict(&record(2, 5, 6, true)).unwrap().owner, 1);
        assert!(locks.conflict(&record(2, 10, 20, true)).is_none());
        assert!(locks.conflict(&record(1, 0, 99, true)).is_none());
    }

    #[test]
    fn locks_split_join_and_change_kind() {
        let mut locks = Locks::new();
        locks.set(record(1, 0, 100, true)).unwrap();
        locks.unset(1, 40, 60).unwrap();
        assert_eq!(held(&locks), [(1, 0, 40, true), (1, 60, 100, true)]);
        locks.set(record(1, 40, 60, true)).unwrap();
        assert_eq!(held(&locks), [(1, 0, 100, true)]);
        locks.set(record(1, 20, 30, false)).unwrap();
        assert_eq!(held(&locks), [(1, 0, 20, true), (1, 20, 30, false), (1, 30, 100, true)]);
        locks.set(record(2, 200, TO_THE_END, true)).unwrap();
        assert!(locks.drop_owner(1));
        assert!(!locks.drop_owner(1));
        assert_eq!(held(&locks), [(2, 200, TO_THE_END, true)]);
        assert!(locks.drop_badge(102));
        assert!(held(&locks).is_empty());
    }

    #[test]
    fn whole_file_locks_belong_to_the_open_file() {
        let mut locks = Locks::new();
        locks.set_whole(1, false).unwrap();
        locks.set_whole(2, false).unwrap();
        assert!(locks.whole_conflict(1, true));
        locks.unset_whole(2);
        assert!(!locks.whole_conflict(1, true));
        locks.set_whole(1, true).unwrap();
        assert!(locks.whole_conflict(2, false));
        assert!(locks.drop_badge(1));
        assert!(!locks.whole_conflict(2, true));
    }

    #[test]
    fn a_cycle_is_a_deadlock() {
        let waits = |owner| match owner {
            2 => vec![3],
            3 => vec![4, 1],
            _ => vec![],
        };
        assert!(is_deadlock(1, &[2], waits));
        assert!(!is_deadlock(5, &[2], waits));
        assert!(is_deadlock(9, &[9], waits));
        assert!(!is_deadlock(9, &[3], |_| vec![3]));
    }
}
