//! The handle table of a process: pages of 64 entries, found through a directory in the process.
//!
//! An entry is built so that the message path needs one comparison: `send` holds the whole handle if, and only if, the
//! entry is a connection with the right to send; `receive` likewise for gates. A slot's generation grows with every
//! use; one whose generation would wrap is never used again.

use crate::header::{Header, Pool};
use crate::machine::Machine;
use crate::process::Process;
use crate::tables::{ENTRIES, Tables};
use abi::object::Kind;
use abi::{Error, Handle, Rights};
use core::cell::Cell;

/// Entries in a page.
pub(crate) const PAGE_ENTRIES: u32 = 64;
/// Pages that a directory can name: 16,384 handles.
pub(crate) const DIRECTORY: usize = 256;
const GENERATION_LIMIT: u64 = (1 << 48) - 1;

/// One slot of a handle table.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(crate) struct Entry {
    /// The whole handle, if it is a connection that may send; else something that no handle of this slot equals.
    pub(crate) send: Cell<u64>,
    /// The whole handle, if it is a gate that may be received from.
    pub(crate) receive: Cell<u64>,
    /// The whole handle, if it is an object that has methods.
    pub(crate) call: Cell<u64>,
    /// The whole handle while the slot is in use; else something that no handle of this slot equals.
    pub(crate) key: Cell<u64>,
    /// Generation of the present or the last use.
    pub(crate) generation: Cell<u64>,
    /// Index of the object, and the rights to it << 32.
    pub(crate) named: Cell<u64>,
    /// Generation of the object.
    pub(crate) object_generation: Cell<u32>,
    /// Neighbours among the free slots.
    next: Cell<u32>,
    previous: Cell<u32>,
    pub(crate) kind: Cell<Kind>,
    /// Copied by `COPY_TABLE`.
    pub(crate) inherit: Cell<bool>,
}

const _: () = assert!(size_of::<Entry>() == 64);

/// What an entry names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) kind: Kind,
    pub(crate) object: u32,
    pub(crate) generation: u32,
    pub(crate) rights: Rights,
}

impl Entry {
    /// Index of the object.
    #[inline(always)]
    pub(crate) fn object(&self) -> u32 {
        self.named.get() as u32
    }

    /// The rights to it.
    #[inline(always)]
    pub(crate) fn rights(&self) -> Rights {
        Rights((self.named.get() >> 32) as u32)
    }

    /// What it names.
    pub(crate) fn reference(&self) -> Reference {
        Reference {
            kind: self.kind.get(),
            object: self.object(),
            generation: self.object_generation.get(),
            rights: self.rights(),
        }
    }

    /// Its object, whose header this is, must still be alive.
    #[inline(always)]
    pub(crate) fn must_name(&self, header: &Header) -> Result<(), Error> {
        if header.generation.get() == self.object_generation.get() { Ok(()) } else { Err(Error::BadHandle) }
    }

    /// Make it name an object, under `key`.
    fn fill(&self, key: u64, reference: &Reference) {
        self.key.set(key);
        self.generation.set(key >> 16);
        self.named.set(u64::from(reference.object) | u64::from(reference.rights.0 as u8) << 32);
        self.object_generation.set(reference.generation);
        self.kind.set(reference.kind);
        self.inherit.set(false);
        // `!key` has another index in its low bits, so it equals no handle that leads here.
        let sends = reference.kind == Kind::Connection && reference.rights.contains(Rights::SEND);
        let receives = reference.kind == Kind::Gate && reference.rights.contains(Rights::RECEIVE);
        self.send.set(if sends { key } else { !key });
        self.receive.set(if receives { key } else { !key });
        let called = !matches!(reference.kind, Kind::Connection | Kind::Reserved);
        self.call.set(if called { key } else { !key });
    }

    /// Make it name nothing: no handle equals what it holds, as its index is another.
    pub(crate) fn vacate(&self, index: u32) {
        let nothing = !u64::from(index);
        self.key.set(nothing);
        self.send.set(nothing);
        self.receive.set(nothing);
        self.call.set(nothing);
        self.kind.set(Kind::Free);
    }

    /// Whether it names anything, or is to.
    pub(crate) fn in_use(&self) -> bool {
        self.kind.get() != Kind::Free
    }
}

impl<M: Machine> Tables<M> {
    /// The slot that a handle's index leads to, whatever it holds (a dummy for indices beyond the table).
    #[inline(always)]
    pub(crate) fn slot(&self, process: &Process<M>, handle: u64) -> &Entry {
        let first = process.directory[(handle >> 6) as usize & (DIRECTORY - 1)].get();
        let at = first | handle as u32 & (PAGE_ENTRIES - 1);
        &self.entries[at as usize & (ENTRIES - 1)]
    }

    /// The entry that a handle names.
    #[inline(always)]
    pub(crate) fn entry(&self, process: &Process<M>, handle: Handle) -> Result<&Entry, Error> {
        self.find(process, handle).ok_or(Error::BadHandle)
    }

    /// As [`Tables::entry`]: an option is passed in a register, and so needs fewer instructions wherever it is used.
    #[inline(never)]
    fn find(&self, process: &Process<M>, handle: Handle) -> Option<&Entry> {
        self.entry_at_once(process, handle)
    }

    /// As [`Tables::entry`], where it matters how long it takes.
    #[inline(always)]
    pub(crate) fn entry_at_once(&self, process: &Process<M>, handle: Handle) -> Option<&Entry> {
        let entry = self.slot(process, handle.0);
        (entry.key.get() == handle.0).then_some(entry)
    }

    /// Where the chain of free pages continues.
    fn page_link(&self, page: u32) -> &Cell<u32> {
        &self.entries[(page * PAGE_ENTRIES) as usize & (ENTRIES - 1)].next
    }

    /// Put a slot in front of the free ones.
    fn chain(&self, process: &Process<M>, entry: &Entry, index: u32) {
        let first = process.free_handle.replace(index);
        entry.next.set(first);
        entry.previous.set(0);
        if first != 0 {
            self.slot(process, u64::from(first)).previous.set(index);
        }
    }

    /// Take a slot out of the free ones.
    fn unchain(&self, process: &Process<M>, entry: &Entry) {
        let (next, previous) = (entry.next.get(), entry.previous.get());
        if previous == 0 {
            process.free_handle.set(next);
        } else {
            self.slot(process, u64::from(previous)).next.set(next);
        }
        if next != 0 {
            self.slot(process, u64::from(next)).previous.set(previous);
        }
    }

    /// Add a page of free slots to the table. The caller has charged it.
    pub(crate) fn grow(&self, pool: &Pool, process: &Process<M>) -> Result<(), Error> {
        let count = process.handle_pages.get();
        if count as usize >= DIRECTORY {
            return Err(Error::BadArgument);
        }
        let page = pool.take(|page| self.page_link(page)).ok_or(Error::Exhausted)?;
        process.directory[count as usize & (DIRECTORY - 1)].set(page * PAGE_ENTRIES);
        process.handle_pages.set(count + 1);
        // Bound: 64 entries. Chained so that the lowest index is used first.
        for position in (0..PAGE_ENTRIES).rev() {
            let index = count * PAGE_ENTRIES + position;
            let entry = self.slot(process, u64::from(index));
            entry.vacate(index);
            entry.generation.set(0);
            if index >= u32::from(Handle::FIRST_FREE_INDEX) {
                self.chain(process, entry, index);
            }
        }
        Ok(())
    }

    /// Give back the last page of a table whose process is dead; its entries are not looked at. False: none left.
    pub(crate) fn shrink(&self, pool: &Pool, process: &Process<M>) -> bool {
        let count = process.handle_pages.get();
        if count == 0 {
            return false;
        }
        // Its entries are as they are until the next process has it; their generations start anew then: its handles are other handles.
        let page = process.directory[(count as usize - 1) & (DIRECTORY - 1)].replace(0) / PAGE_ENTRIES;
        process.handle_pages.set(count - 1);
        process.free_handle.set(0);
        pool.give(page, self.page_link(page));
        true
    }

    /// How many slots are free, at most `limit`.
    pub(crate) fn free_slots(&self, process: &Process<M>, limit: u32) -> u32 {
        let (mut count, mut at) = (0, process.free_handle.get());
        // Bound: `limit`.
        while at != 0 && count < limit {
            count += 1;
            at = self.slot(process, u64::from(at)).next.get();
        }
        count
    }

    /// Whether an insertion would find a slot.
    pub(crate) fn has_room(&self, process: &Process<M>) -> bool {
        process.free_handle.get() != 0
    }

    /// Put a reference into a free slot. [`Handle::NONE`]: the table is full.
    pub(crate) fn insert(&self, process: &Process<M>, reference: &Reference) -> Handle {
        let index = process.free_handle.get();
        if index == 0 {
            return Handle::NONE;
        }
        let entry = self.slot(process, u64::from(index));
        self.unchain(process, entry);
        let handle = Handle::new(index as u16, entry.generation.get() + 1);
        entry.fill(handle.0, reference);
        handle
    }

    /// Put a reference into one of the slots that abi fixes (below `FIRST_FREE_INDEX`), generation 1.
    pub(crate) fn insert_fixed(&self, process: &Process<M>, handle: Handle, reference: &Reference) {
        self.slot(process, handle.0).fill(handle.0, reference);
    }

    /// Put a reference under exactly this handle, whose slot must be free and not have had such a generation (fork).
    pub(crate) fn insert_at(&self, process: &Process<M>, handle: Handle, reference: &Reference) -> Result<(), Error> {
        let index = u32::from(handle.index());
        if index < u32::from(Handle::FIRST_FREE_INDEX) || index >= process.handle_pages.get() * PAGE_ENTRIES {
            return Err(Error::TableFull);
        }
        let entry = self.slot(process, u64::from(index));
        // A slot that was used before may have named something else by this very handle; a retired one is in no chain.
        if entry.in_use() || entry.generation.get() >= handle.generation() {
            return Err(Error::Busy);
        }
        self.unchain(process, entry);
        entry.fill(handle.0, reference);
        Ok(())
    }

    /// Fill a reserved slot: same handle, now naming an object.
    pub(crate) fn fill_reserved(&self, entry: &Entry, reference: &Reference) {
        debug_assert!(entry.kind.get() == Kind::Reserved);
        entry.fill(entry.key.get(), reference);
    }

    /// Empty a slot that is in use.
    pub(crate) fn clear(&self, process: &Process<M>, entry: &Entry) {
        let index = entry.key.get() as u16;
        entry.vacate(u32::from(index));
        if entry.generation.get() < GENERATION_LIMIT && index >= Handle::FIRST_FREE_INDEX {
            self.chain(process, entry, u32::from(index));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake;

    fn reference(kind: Kind, rights: Rights) -> Reference {
        Reference { kind, object: 5, generation: 1, rights }
    }

    #[test]
    fn handles_are_used_lowest_first_and_never_come_back() {
        let (tables, pool) = (fake::tables(), Pool::new(8));
        let process = tables.process(1);
        tables.grow(&pool, process).unwrap();
        let first = tables.insert(process, &reference(Kind::Memory, Rights::ALL));
        assert_eq!(first, Handle::new(Handle::FIRST_FREE_INDEX, 1));
        assert_eq!(tables.entry(process, first).unwrap().reference(), reference(Kind::Memory, Rights::ALL));
        tables.clear(process, tables.entry(process, first).unwrap());
        assert!(tables.entry(process, first).is_err());
        let second = tables.insert(process, &reference(Kind::Memory, Rights::ALL));
        assert_eq!((second.index(), second.generation()), (first.index(), 2));
        assert!(tables.entry(process, first).is_err() && tables.entry(process, second).is_ok());
    }

    #[test]
    fn a_table_is_full_until_it_grows_and_no_made_up_handle_is_valid() {
        let (tables, pool) = (fake::tables(), Pool::new(8));
        let process = tables.process(1);
        assert!(tables.insert(process, &reference(Kind::Gate, Rights::ALL)).is_none());
        tables.grow(&pool, process).unwrap();
        for _ in Handle::FIRST_FREE_INDEX..64 {
            assert!(!tables.insert(process, &reference(Kind::Gate, Rights::ALL)).is_none());
        }
        assert!(tables.insert(process, &reference(Kind::Gate, Rights::ALL)).is_none());
        tables.grow(&pool, process).unwrap();
        assert_eq!(tables.insert(process, &reference(Kind::Gate, Rights::ALL)).index(), 64);
        for index in [0_u16, 1, 2, 65, 200, 20_000, u16::MAX] {
            for generation in [0, 1, 2, (1 << 48) - 1] {
                let handle = Handle::new(index, generation);
                assert!(tables.entry(process, handle).is_err(), "{handle:?}");
                let slot = tables.slot(process, handle.0);
                assert!(
                    handle.is_none() || (slot.send.get() != handle.0 && slot.receive.get() != handle.0),
                    "{handle:?}"
                );
            }
        }
    }

    #[test]
    fn one_comparison_tells_kind_and_right() {
        let (tables, pool) = (fake::tables(), Pool::new(8));
        let process = tables.process(1);
        tables.grow(&pool, process).unwrap();
        for (kind, rights, sends, receives) in [
            (Kind::Connection, Rights::SEND, true, false),
            (Kind::Connection, Rights::COPY, false, false),
            (Kind::Gate, Rights::RECEIVE, false, true),
            (Kind::Gate, Rights::MANAGE, false, false),
            (Kind::Pulse, Rights::ALL, false, false),
        ] {
            let handle = tables.insert(process, &reference(kind, rights));
            let slot = tables.slot(process, handle.0);
            assert_eq!((slot.send.get() == handle.0, slot.receive.get() == handle.0), (sends, receives), "{kind:?}");
        }
    }

    #[test]
    fn a_fork_gets_the_same_handles() {
        let (tables, pool) = (fake::tables(), Pool::new(8));
        let (parent, child) = (tables.process(1), tables.process(2));
        for process in [parent, child] {
            tables.grow(&pool, process).unwrap();
        }
        let handles: [Handle; 5] =
            core::array::from_fn(|_| tables.insert(parent, &reference(Kind::Memory, Rights::ALL)));
        for handle in [handles[3], handles[1]] {
            tables.insert_at(child, handle, &reference(Kind::Memory, Rights::READ)).unwrap();
            assert_eq!(tables.insert_at(child, handle, &reference(Kind::Memory, Rights::READ)), Err(Error::Busy));
        }
        let fresh: [u16; 3] =
            core::array::from_fn(|_| tables.insert(child, &reference(Kind::Gate, Rights::ALL)).index());
        assert_eq!(fresh, [handles[0].index(), handles[2].index(), handles[4].index()]);
        assert_eq!(
            tables.insert_at(child, Handle::new(64, 1), &reference(Kind::Gate, Rights::ALL)),
            Err(Error::TableFull)
        );
        // What was closed in the child does not come to life again by another way.
        tables.clear(child, tables.entry(child, handles[3]).unwrap());
        assert_eq!(tables.insert_at(child, handles[3], &reference(Kind::Memory, Rights::ALL)), Err(Error::Busy));
        let later = Handle::new(handles[3].index(), 7);
        tables.insert_at(child, later, &reference(Kind::Memory, Rights::ALL)).unwrap();
    }

    #[test]
    fn a_slot_whose_generation_would_wrap_retires() {
        let (tables, pool) = (fake::tables(), Pool::new(8));
        let process = tables.process(1);
        tables.grow(&pool, process).unwrap();
        tables.slot(process, 3).generation.set(GENERATION_LIMIT - 1);
        let last = tables.insert(process, &reference(Kind::Gate, Rights::ALL));
        assert_eq!(last, Handle::new(3, GENERATION_LIMIT));
        tables.clear(process, tables.entry(process, last).unwrap());
        assert_eq!(tables.insert(process, &reference(Kind::Gate, Rights::ALL)).index(), 4);
    }

    #[test]
    fn an_emptied_slot_is_no_handle_of_any_generation_on_the_message_path() {
        let (tables, pool) = (fake::tables(), Pool::new(8));
        let process = tables.process(1);
        tables.grow(&pool, process).unwrap();
        for generation in 1..4 {
            let handle = tables.insert(process, &reference(Kind::Connection, Rights::ALL));
            let entry = tables.entry(process, handle).unwrap();
            tables.clear(process, entry);
            for earlier in 0..=generation {
                let stale = Handle::new(handle.index(), earlier).0;
                assert!(entry.send.get() != stale && entry.receive.get() != stale);
            }
        }
    }

    #[test]
    fn pages_that_were_given_back_are_used_again() {
        let (tables, pool) = (fake::tables(), Pool::new(3));
        let process = tables.process(1);
        for _ in 0..4 {
            tables.grow(&pool, process).unwrap();
            tables.grow(&pool, process).unwrap();
            assert_eq!(tables.free_slots(process, 5), 5);
            assert!(tables.shrink(&pool, process) && tables.shrink(&pool, process));
            assert!(!tables.shrink(&pool, process));
            assert_eq!(pool.used(), 0);
        }
    }
}
