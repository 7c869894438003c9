//! The areas of an address space: what a range of addresses is, whether or not pages are there yet.
//!
//! Areas never overlap and are whole pages. Splitting keeps each part's place in what it shows; neighbours that say the same are joined.

use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;

use crate::kernel::PassedMemory;
use crate::pages::Pages;
use abi::PAGE_SIZE;

/// PROT_READ.
pub(crate) const READ: u8 = 1;
/// PROT_WRITE.
pub(crate) const WRITE: u8 = 2;
/// PROT_EXEC.
pub(crate) const EXECUTE: u8 = 4;

/// Frames that several spaces show: an anonymous shared mapping.
#[derive(Default)]
pub(crate) struct Shared {
    /// Names it in futex keys; unique.
    pub(crate) id: u64,
    /// Its frames by page; each counts as used once by this object.
    pub(crate) pages: Pages,
    /// Pages that it is charged for.
    pub(crate) charge: u64,
}

/// Where an area's pages come from.
#[derive(Clone)]
pub(crate) enum Backing {
    /// Zeros; private.
    Anonymous,
    /// Frames shared with others, from this byte on.
    Shared(Rc<RefCell<Shared>>, u64),
    /// A Memory from this byte on: itself, or (a private area) a copy of each page that is written.
    Memory(Rc<PassedMemory>, u64),
}

/// What an area is, apart from where.
#[derive(Clone)]
pub(crate) struct Kind {
    /// PROT_* bits.
    pub(crate) access: u8,
    /// [`protocol::process::map_flags`]: `SHARED`, `NO_RESERVE`, `GROWS_DOWN`, `LIBRARY`.
    pub(crate) flags: u8,
    /// Its pages are charged whether or not they are there.
    pub(crate) charged: bool,
    /// Not for children (MADV_DONTFORK).
    pub(crate) own: bool,
    /// Where pages come from.
    pub(crate) backing: Backing,
}

/// A range of addresses and what it is.
#[derive(Clone)]
pub(crate) struct Area {
    /// First address.
    pub(crate) start: u64,
    /// First address after it.
    pub(crate) end: u64,
    /// What it is.
    pub(crate) kind: Kind,
}

impl Kind {
    /// A private anonymous area.
    #[must_use]
    pub(crate) const fn anonymous(access: u8, flags: u8) -> Self {
        Self { access, flags, charged: false, own: false, backing: Backing::Anonymous }
    }

    /// The same, `bytes` further on in what it shows.
    fn further(&self, bytes: u64) -> Self {
        let backing = match &self.backing {
            Backing::Anonymous => Backing::Anonymous,
            Backing::Shared(shared, offset) => Backing::Shared(shared.clone(), offset + bytes),
            Backing::Memory(memory, offset) => Backing::Memory(memory.clone(), offset + bytes),
        };
        Self { backing, ..self.clone() }
    }

    /// Whether writes go to what others see.
    #[must_use]
    pub(crate) const fn is_shared(&self) -> bool {
        self.flags & protocol::process::map_flags::SHARED as u8 != 0
    }

    /// Whether an area of this kind that follows `length` bytes later is the same area going on.
    fn continues(&self, later: &Self, length: u64) -> bool {
        self.access == later.access
            && self.flags == later.flags
            && self.charged == later.charged
            && self.own == later.own
            && match (&self.backing, &later.backing) {
                (Backing::Anonymous, Backing::Anonymous) => true,
                (Backing::Shared(a, x), Backing::Shared(b, y)) => Rc::ptr_eq(a, b) && x + length == *y,
                (Backing::Memory(a, x), Backing::Memory(b, y)) => Rc::ptr_eq(a, b) && x + length == *y,
                _ => false,
            }
    }
}

impl Area {
    /// Bytes.
    #[must_use]
    pub(crate) const fn length(&self) -> u64 {
        self.end - self.start
    }

    /// Pages.
    #[must_use]
    pub(crate) const fn pages(&self) -> u64 {
        self.length() / PAGE_SIZE
    }
}

/// The areas of a space by address.
#[derive(Clone, Default)]
pub(crate) struct Areas {
    list: BTreeMap<u64, (u64, Kind)>,
}

/// More than these are not copied to one run of memory: how long it would be is the program's choice, and the service's heap could
/// not grow by so much at once.
const FEW: usize = 512;

/// Areas that were taken out, in order.
pub(crate) enum Carved {
    Few(alloc::vec::IntoIter<Area>),
    Many(alloc::collections::btree_map::IntoIter<u64, (u64, Kind)>),
}

impl Carved {
    /// The last one.
    pub(crate) fn pop(&mut self) -> Option<Area> {
        match self {
            Self::Few(areas) => areas.next_back(),
            Self::Many(areas) => areas.next_back().map(|(start, (end, kind))| Area { start, end, kind }),
        }
    }
}

impl Iterator for Carved {
    type Item = Area;

    fn next(&mut self) -> Option<Area> {
        match self {
            Self::Few(areas) => areas.next(),
            Self::Many(areas) => areas.next().map(|(start, (end, kind))| Area { start, end, kind }),
        }
    }
}

impl Areas {
    /// How many there are.
    #[must_use]
    pub(crate) fn count(&self) -> usize {
        self.list.len()
    }

    /// The area at an address.
    #[must_use]
    pub(crate) fn find(&self, address: u64) -> Option<Area> {
        let (&start, (end, kind)) = self.list.range(..=address).next_back()?;
        (address < *end).then(|| Area { start, end: *end, kind: kind.clone() })
    }

    /// Areas that touch a range, in order.
    pub(crate) fn range(&self, start: u64, end: u64) -> impl Iterator<Item = (u64, u64, &Kind)> {
        let first =
            self.list.range(..=start).next_back().filter(|(_, (stop, _))| *stop > start).map_or(start, |(&at, _)| at);
        self.list.range(first..end.max(first)).map(|(&at, (stop, kind))| (at, *stop, kind))
    }

    /// All areas from an address on.
    pub(crate) fn from(&self, start: u64) -> impl Iterator<Item = (u64, u64, &Kind)> {
        self.range(start, u64::MAX)
    }

    /// Whether nothing is in a range.
    #[must_use]
    pub(crate) fn is_free(&self, start: u64, end: u64) -> bool {
        self.range(start, end).next().is_none()
    }

    /// Whether a range has no hole.
    #[must_use]
    pub(crate) fn covers(&self, start: u64, end: u64) -> bool {
        let mut at = start;
        for (first, stop, _) in self.range(start, end) {
            if first > at {
                return false;
            }
            at = stop;
        }
        at >= end
    }

    /// Put an area where nothing is; join it with neighbours that it continues.
    pub(crate) fn insert(&mut self, area: Area) {
        let Area { mut start, mut end, mut kind } = area;
        if let Some((&before, (stop, other))) = self.list.range(..start).next_back()
            && *stop == start
            && other.continues(&kind, start - before)
        {
            kind = other.clone();
            start = before;
        }
        if let Some((stop, other)) = self.list.get(&end)
            && kind.continues(other, end - start)
        {
            let stop = *stop;
            self.list.remove(&end);
            end = stop;
        }
        self.list.insert(start, (end, kind));
    }

    fn split(&mut self, address: u64) {
        let Some((&start, (end, kind))) = self.list.range_mut(..address).next_back() else { return };
        if *end > address {
            let rest = (*end, kind.further(address - start));
            *end = address;
            self.list.insert(address, rest);
        }
    }

    /// Take out what lies in a range, cut at its ends.
    pub(crate) fn carve(&mut self, start: u64, end: u64) -> Carved {
        if start >= end {
            return Carved::Few(Vec::new().into_iter());
        }
        self.split(start);
        self.split(end);
        let count = self.list.range(start..end).take(FEW + 1).count();
        if count > FEW {
            let mut many = self.list.split_off(&start);
            self.list.append(&mut many.split_off(&end));
            return Carved::Many(many.into_iter());
        }
        let starts: Vec<u64> = self.list.range(start..end).map(|(&at, _)| at).collect();
        let areas =
            starts.into_iter().filter_map(|at| self.list.remove(&at).map(|(end, kind)| Area { start: at, end, kind }));
        Carved::Few(areas.collect::<Vec<Area>>().into_iter())
    }

    /// Change every area in a range, cut at its ends.
    pub(crate) fn change(&mut self, start: u64, end: u64, mut change: impl FnMut(&mut Kind)) {
        for mut area in self.carve(start, end) {
            change(&mut area.kind);
            self.insert(area);
        }
    }

    /// The highest free run of `length` bytes below `top`, not below `bottom`. Below a growing stack `gap` bytes stay free.
    #[must_use]
    pub(crate) fn find_free(&self, length: u64, bottom: u64, top: u64, gap: u64) -> Option<u64> {
        let mut ceiling = top;
        for (&start, (end, kind)) in self.list.range(..top).rev() {
            if ceiling.checked_sub(length).is_some_and(|address| address >= *end && address >= bottom) {
                return Some(ceiling - length);
            }
            let grows = kind.flags & protocol::process::map_flags::GROWS_DOWN as u8 != 0;
            ceiling = ceiling.min(start.saturating_sub(if grows { gap } else { 0 }));
            if ceiling < bottom {
                return None;
            }
        }
        ceiling.checked_sub(length).filter(|&address| address >= bottom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(start: u64, end: u64, access: u8) -> Area {
        Area { start: start * PAGE_SIZE, end: end * PAGE_SIZE, kind: Kind::anonymous(access, 0) }
    }

    fn shape(areas: &Areas) -> Vec<(u64, u64, u8)> {
        areas.from(0).map(|(start, end, kind)| (start / PAGE_SIZE, end / PAGE_SIZE, kind.access)).collect()
    }

    #[test]
    fn neighbours_join_and_split() {
        let mut areas = Areas::default();
        areas.insert(area(10, 20, 3));
        areas.insert(area(30, 40, 3));
        areas.insert(area(20, 30, 3));
        assert_eq!(shape(&areas), [(10, 40, 3)]);
        areas.change(15 * PAGE_SIZE, 18 * PAGE_SIZE, |kind| kind.access = 1);
        assert_eq!(shape(&areas), [(10, 15, 3), (15, 18, 1), (18, 40, 3)]);
        assert!(areas.covers(10 * PAGE_SIZE, 40 * PAGE_SIZE) && !areas.covers(9 * PAGE_SIZE, 11 * PAGE_SIZE));
        areas.change(15 * PAGE_SIZE, 18 * PAGE_SIZE, |kind| kind.access = 3);
        assert_eq!(shape(&areas), [(10, 40, 3)]);
        let out: Vec<Area> = areas.carve(0, 12 * PAGE_SIZE).collect();
        assert_eq!((out.len(), out[0].pages()), (1, 2));
        assert_eq!(shape(&areas), [(12, 40, 3)]);
        assert!(areas.find(11 * PAGE_SIZE).is_none() && areas.find(39 * PAGE_SIZE + 5).is_some());
    }

    #[test]
    fn parts_keep_their_place_in_what_they_show() {
        let shared = Rc::new(RefCell::new(Shared::default()));
        let mut areas = Areas::default();
        let kind = Kind { backing: Backing::Shared(shared, 0x5000), ..Kind::anonymous(3, 1) };
        areas.insert(Area { start: 0x1000, end: 0x9000, kind });
        areas.change(0x3000, 0x4000, |kind| kind.access = 0);
        let offsets: Vec<u64> = areas
            .from(0)
            .map(|(_, _, kind)| if let Backing::Shared(_, offset) = kind.backing { offset } else { 0 })
            .collect();
        assert_eq!(offsets, [0x5000, 0x7000, 0x8000]);
        areas.change(0x3000, 0x4000, |kind| kind.access = 3);
        assert_eq!(areas.count(), 1);
    }

    #[test]
    fn free_runs_are_found_from_the_top() {
        let mut areas = Areas::default();
        let (bottom, top) = (PAGE_SIZE, 100 * PAGE_SIZE);
        assert_eq!(areas.find_free(PAGE_SIZE, bottom, top, 0), Some(99 * PAGE_SIZE));
        areas.insert(area(95, 100, 3));
        areas.insert(area(80, 90, 3));
        assert_eq!(areas.find_free(5 * PAGE_SIZE, bottom, top, 0), Some(90 * PAGE_SIZE));
        assert_eq!(areas.find_free(6 * PAGE_SIZE, bottom, top, 0), Some(74 * PAGE_SIZE));
        assert_eq!(areas.find_free(80 * PAGE_SIZE, bottom, top, 0), None);
        areas.insert(area(95 + 10, 120, 3));
        assert_eq!(areas.find_free(PAGE_SIZE, bottom, top, 0), Some(94 * PAGE_SIZE));
    }

    #[test]
    fn many_areas_are_carved_as_few_are() {
        for count in [10, FEW as u64 * 3] {
            let mut areas = Areas::default();
            for page in 0..count {
                areas.insert(area(page * 2, page * 2 + 1, 3));
            }
            let mut carved = areas.carve(2 * PAGE_SIZE, (2 * count - 2) * PAGE_SIZE);
            assert_eq!(carved.pop().map(|last| last.start), Some((2 * count - 4) * PAGE_SIZE));
            assert_eq!((carved.count() as u64, areas.count()), (count - 3, 2));
            assert!(areas.find(0).is_some() && areas.find((2 * count - 2) * PAGE_SIZE).is_some());
        }
    }
}
