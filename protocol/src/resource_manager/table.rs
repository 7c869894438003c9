//! The open files of a resource manager, named by badges: an index and a generation, never an address.

use alloc::vec::Vec;

use crate::Errno;

/// Set in every badge of an open file, in no mount's.
pub const OPEN_FILE: u64 = 1 << 63;
/// Generations that a slot has in one run of the manager: each run has its own, so that what was open before the manager was
/// restarted is never taken for something else. (Of 2,048 runs; init counts them.)
const GENERATIONS: u32 = 1 << 20;
const RUNS: u64 = 1 << 11;

/// An open file: what the skeleton keeps for every one, and the manager's own part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenFile<F> {
    /// Its badge.
    pub badge: u64,
    /// Status flags: access mode, O_APPEND, O_NONBLOCK, O_PATH, O_DIRECTORY.
    pub flags: u64,
    /// [`features`](crate::file::features) as the opener was told.
    pub features: u64,
    /// Where the next `Read` or `Write` at [`AT_POSITION`](crate::file::AT_POSITION) is.
    pub position: u64,
    /// The manager's part.
    pub file: F,
}

#[derive(Debug)]
struct Slot<F> {
    generation: u32,
    file: Option<OpenFile<F>>,
}

/// All open files.
#[derive(Debug)]
pub struct Table<F> {
    slots: Vec<Slot<F>>,
    free: Vec<u32>,
    /// Generation of slots that were never used.
    first: u32,
}

impl<F> Default for Table<F> {
    fn default() -> Self {
        Self::for_run(runtime::start::number("run"))
    }
}

impl<F> Table<F> {
    /// The table of the manager's run with this number.
    #[must_use]
    pub fn for_run(run: u64) -> Self {
        let first = (run % RUNS) as u32 * GENERATIONS;
        Self { slots: Vec::new(), free: Vec::new(), first }
    }

    /// Put a file in; its badge is set.
    ///
    /// # Errors
    /// ENFILE when there is no memory for more. The file comes back, to be closed.
    pub fn insert(&mut self, mut file: OpenFile<F>) -> Result<u64, (Errno, OpenFile<F>)> {
        let index = match self.free.pop() {
            Some(index) => index as usize,
            None => {
                // Room in `free` for every slot, so that removing never allocates.
                let more = self.slots.len() + 1 - self.free.len();
                if self.slots.try_reserve(1).is_err() || self.free.try_reserve(more).is_err() {
                    return Err((Errno::ENFILE, file));
                }
                self.slots.push(Slot { generation: self.first, file: None });
                self.slots.len() - 1
            }
        };
        let slot = &mut self.slots[index];
        slot.generation += 1;
        let badge = OPEN_FILE | u64::from(slot.generation) << 32 | index as u64;
        file.badge = badge;
        slot.file = Some(file);
        Ok(badge)
    }

    /// The file with this badge.
    #[must_use]
    pub fn find(&mut self, badge: u64) -> Option<&mut OpenFile<F>> {
        self.slots.get_mut(badge as u32 as usize)?.file.as_mut().filter(|file| file.badge == badge)
    }

    /// Take it out.
    pub fn remove(&mut self, badge: u64) -> Option<OpenFile<F>> {
        self.find(badge)?;
        let index = badge as u32;
        let slot = &mut self.slots[index as usize];
        // A slot whose generation would wrap is retired for good.
        if slot.generation - self.first < GENERATIONS - 1 {
            self.free.push(index);
        }
        slot.file.take()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.iter().filter(|slot| slot.file.is_some()).count()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_badge_dies_with_its_file() {
        let mut table = Table::default();
        let first = table.insert(OpenFile { file: 'a', ..OpenFile::default() }).unwrap();
        let other = table.insert(OpenFile { file: 'b', ..OpenFile::default() }).unwrap();
        assert_ne!(first & OPEN_FILE, 0);
        assert_eq!(table.find(first).unwrap().file, 'a');
        assert_eq!(table.remove(first).unwrap().file, 'a');
        assert!(table.remove(first).is_none());
        let second = table.insert(OpenFile { file: 'c', ..OpenFile::default() }).unwrap();
        assert_eq!(second as u32, first as u32);
        assert_ne!(second, first);
        assert!(table.find(first).is_none());
        assert_eq!(table.find(other).unwrap().file, 'b');
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn a_badge_of_an_earlier_run_finds_nothing() {
        let (mut before, mut after) = (Table::for_run(1), Table::for_run(2));
        let badge = before.insert(OpenFile { file: (), ..OpenFile::default() }).unwrap();
        after.insert(OpenFile { file: (), ..OpenFile::default() }).unwrap();
        assert!(before.find(badge).is_some() && after.find(badge).is_none());
    }

    #[test]
    fn wild_badges_find_nothing() {
        let mut table = Table::default();
        let badge = table.insert(OpenFile { file: (), ..OpenFile::default() }).unwrap();
        for wild in [0, 1, u64::MAX, OPEN_FILE, badge ^ OPEN_FILE, badge + (1 << 32), badge + 1] {
            assert!(table.find(wild).is_none());
        }
    }
}
