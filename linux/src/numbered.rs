//! A table of things with small numbers, lowest free first: what descriptors are kept in.

use alloc::vec::Vec;

use protocol::Errno;

/// Most numbers a table can have, whatever the limit says.
pub(crate) const MAXIMUM: usize = 1 << 14;

/// One entry.
#[derive(Clone, Debug)]
pub(crate) struct Entry<T> {
    /// What it is.
    pub(crate) value: T,
    /// Whether it is closed by `execve`.
    pub(crate) close_on_exec: bool,
}

/// The table.
#[derive(Clone, Debug)]
pub(crate) struct Numbered<T> {
    entries: Vec<Option<Entry<T>>>,
    limit: usize,
}

impl<T> Numbered<T> {
    /// An empty table whose numbers stay below `limit`.
    pub(crate) const fn new(limit: usize) -> Self {
        Self { entries: Vec::new(), limit }
    }

    /// Numbers stay below this.
    pub(crate) const fn limit(&self) -> usize {
        self.limit
    }

    /// Change the limit; what is there stays.
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit.min(MAXIMUM);
    }

    /// What has this number.
    pub(crate) fn get(&self, number: u32) -> Result<&Entry<T>, Errno> {
        self.entries.get(number as usize).and_then(Option::as_ref).ok_or(Errno::EBADF)
    }

    /// What has this number, to be changed.
    pub(crate) fn get_mut(&mut self, number: u32) -> Result<&mut Entry<T>, Errno> {
        self.entries.get_mut(number as usize).and_then(Option::as_mut).ok_or(Errno::EBADF)
    }

    /// Put a value at the lowest free number from `lowest` on.
    pub(crate) fn insert(&mut self, lowest: usize, value: T, close_on_exec: bool) -> Result<u32, Errno> {
        let taken = |number: &usize| self.entries.get(*number).is_some_and(Option::is_some);
        let number = (lowest..).find(|number| !taken(number)).unwrap_or(lowest);
        if number >= self.limit {
            return Err(Errno::EMFILE);
        }
        self.place(number, Entry { value, close_on_exec })?;
        Ok(number as u32)
    }

    /// Put a value at exactly this number. What was there comes back.
    pub(crate) fn replace(&mut self, number: u32, value: T, close_on_exec: bool) -> Result<Option<T>, Errno> {
        if number as usize >= self.limit {
            return Err(Errno::EBADF);
        }
        self.place(number as usize, Entry { value, close_on_exec })
    }

    fn place(&mut self, number: usize, entry: Entry<T>) -> Result<Option<T>, Errno> {
        if number >= self.entries.len() {
            self.entries.try_reserve(number + 1 - self.entries.len()).map_err(|_| Errno::ENOMEM)?;
            self.entries.resize_with(number + 1, || None);
        }
        Ok(self.entries[number].replace(entry).map(|entry| entry.value))
    }

    /// Take the value with this number out.
    pub(crate) fn remove(&mut self, number: u32) -> Result<T, Errno> {
        let slot = self.entries.get_mut(number as usize).ok_or(Errno::EBADF)?;
        slot.take().map(|entry| entry.value).ok_or(Errno::EBADF)
    }

    /// All entries with their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Entry<T>)> {
        self.entries.iter().enumerate().filter_map(|(number, entry)| entry.as_ref().map(|entry| (number as u32, entry)))
    }

    /// The first number in use in a range.
    pub(crate) fn first_in(&self, range: core::ops::RangeInclusive<u32>) -> Option<u32> {
        self.iter().map(|(number, _)| number).find(|number| range.contains(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_number_is_taken() {
        let mut table = Numbered::new(8);
        for expected in 0..3 {
            assert_eq!(table.insert(0, expected, false), Ok(expected));
        }
        assert_eq!(table.remove(1), Ok(1));
        assert_eq!(table.insert(0, 9, true), Ok(1));
        assert_eq!(table.insert(5, 9, true), Ok(5));
        assert_eq!(table.insert(8, 9, true), Err(Errno::EMFILE));
        assert_eq!(table.remove(4), Err(Errno::EBADF));
        assert_eq!(table.remove(400), Err(Errno::EBADF));
    }

    #[test]
    fn replacing_gives_back_what_was_there() {
        let mut table = Numbered::new(8);
        assert_eq!(table.replace(3, 'a', false), Ok(None));
        assert_eq!(table.replace(3, 'b', true), Ok(Some('a')));
        assert!(table.get(3).expect("there").close_on_exec);
        assert_eq!(table.replace(8, 'b', true), Err(Errno::EBADF));
        assert_eq!(table.first_in(0..=2), None);
        assert_eq!(table.first_in(0..=3), Some(3));
    }
}
