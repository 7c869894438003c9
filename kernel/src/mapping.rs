//! Mapping records: one for each run of pages that a space maps from a Memory, linked from both.
//!
//! A space's records are ordered by address and never overlap; every translation of a space is described by one.

use crate::machine::Machine;
use crate::process::Process;
use crate::tables::{Ordered, Tables};
use crate::tree::{self, Forest, Node};
use abi::PAGE_SIZE;
use core::cell::Cell;

/// A run of pages mapped from a Memory into a space.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Mapping {
    /// In the space's set, by address.
    pub(crate) node: Node,
    pub(crate) memory: Cell<u32>,
    pub(crate) process: Cell<u32>,
    /// Neighbours among the Memory's records; also the chain of free records.
    pub(crate) next: Cell<u32>,
    pub(crate) previous: Cell<u32>,
    pub(crate) pages: Cell<u64>,
    /// Where it starts in the Memory, bytes.
    pub(crate) offset: Cell<u64>,
    /// Pages that have translations; less than `pages` only while `MAP` is repeated.
    pub(crate) done: Cell<u64>,
    /// It could not be mapped whole: what is mapped goes, piece by piece.
    pub(crate) failed: Cell<bool>,
    /// [`abi::object::access`] now, and at most.
    pub(crate) access: Cell<u8>,
    pub(crate) allowed: Cell<u8>,
}

impl Mapping {
    pub(crate) fn address(&self) -> u64 {
        self.node.key()
    }

    /// First address after it.
    pub(crate) fn end(&self) -> u64 {
        self.node.key() + self.pages.get() * PAGE_SIZE
    }

    /// Whether it is mapped whole, and what is mapped so at this address would be more of it.
    #[inline(always)]
    pub(crate) fn goes_on(&self, memory: u32, address: u64, offset: u64, access: u8, allowed: u8) -> bool {
        self.end() == address
            && self.memory.get() == memory
            && self.offset.get() + self.pages.get() * PAGE_SIZE == offset
            && self.access.get() == access
            && self.allowed.get() == allowed
            && self.done.get() == self.pages.get()
            && !self.failed.get()
    }
}

/// The mapping records alone, for what is asked at every fault: a copy of that part of the tree's code that knows where they are.
impl<'a, M: Machine> Forest<'a> for &'a Tables<M> {
    fn node(self, id: u32) -> &'a Node {
        &self.mapping(id).node
    }
}

impl<M: Machine> Tables<M> {
    /// Link a record, whose other fields are set, to its space at `address` and to its Memory. `behind`: the space's last record
    /// before it, or 0 if that is not known.
    pub(crate) fn link_mapping(&self, id: u32, address: u64, behind: u32) {
        let record = self.mapping(id);
        let records = &self.process(record.process.get()).mappings;
        tree::insert_behind(self.members(Ordered::Mappings), records, behind, id, address);
        let head = &self.memory(record.memory.get()).mappings;
        let first = head.replace(id);
        record.previous.set(0);
        record.next.set(first);
        if first != 0 {
            self.mapping(first).previous.set(id);
        }
    }

    /// A process's last record that begins before `end`; 0: none.
    pub(crate) fn mapping_before(&self, process: &Process<M>, end: u64) -> u32 {
        tree::last_up_to(self, &process.mappings, end.saturating_sub(1))
    }

    /// Unlink a record from both.
    pub(crate) fn unlink_mapping(&self, id: u32) {
        let record = self.mapping(id);
        tree::remove(self.members(Ordered::Mappings), &self.process(record.process.get()).mappings, id);
        let (next, previous) = (record.next.get(), record.previous.get());
        if previous == 0 {
            self.memory(record.memory.get()).mappings.set(next);
        } else {
            self.mapping(previous).next.set(next);
        }
        if next != 0 {
            self.mapping(next).previous.set(previous);
        }
    }

    /// The record with the lowest address, 0 if there is none.
    pub(crate) fn first_mapping(&self, process: &Process<M>) -> u32 {
        tree::first(self.members(Ordered::Mappings), &process.mappings)
    }

    /// The first record of a space that ends after `address`, 0 if there is none.
    pub(crate) fn mapping_from(&self, process: &Process<M>, address: u64) -> u32 {
        let forest = self.members(Ordered::Mappings);
        let at = tree::last_up_to(self, &process.mappings, address);
        if at == 0 {
            self.first_mapping(process)
        } else if self.mapping(at).end() > address {
            at
        } else {
            tree::next(forest, at)
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::fake;

    #[test]
    fn records_are_found_by_what_they_cover() {
        let tables = fake::tables();
        let process = tables.process(1);
        for (id, address, pages) in [(1, 0x10000, 2), (2, 0x40000, 1), (3, 0x20000, 16)] {
            let record = tables.mapping(id);
            record.process.set(1);
            record.memory.set(1);
            record.pages.set(pages);
            tables.link_mapping(id, address, 0);
        }
        for (address, id) in
            [(0, 1), (0x10000, 1), (0x11fff, 1), (0x12000, 3), (0x2ffff, 3), (0x30000, 2), (0x40fff, 2), (0x41000, 0)]
        {
            assert_eq!(tables.mapping_from(process, address), id, "{address:#x}");
        }
        tables.unlink_mapping(3);
        assert_eq!(tables.mapping_from(process, 0x12000), 2);
        let mut listed = 0;
        let mut at = tables.memory(1).mappings.get();
        while at != 0 {
            listed |= 1 << at;
            at = tables.mapping(at).next.get();
        }
        assert_eq!(listed, 0b110);
    }
}
