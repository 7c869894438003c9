//! Sets of physical address ranges: how RAM is carved at boot.
//!
//! A set is sorted, its members do not touch or overlap. A full set forgets its smallest member rather than failing: the
//! price is RAM that nobody uses. What only the boot stub needs is part of it (`.boot.text`).

use crate::page::PAGE;

/// Addresses from `start` up to `end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl Range {
    pub(crate) const fn new(start: u64, end: u64) -> Self {
        Self { start, end }
    }

    pub(crate) const fn length(self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// The whole pages within.
    pub(crate) const fn shrunk_to_pages(self) -> Self {
        Self { start: self.start.saturating_add(PAGE - 1) & !(PAGE - 1), end: self.end & !(PAGE - 1) }
    }

    /// The pages that it touches.
    pub(crate) const fn grown_to_pages(self) -> Self {
        Self { start: self.start & !(PAGE - 1), end: self.end.saturating_add(PAGE - 1) & !(PAGE - 1) }
    }
}

/// Most members of a set.
const LIMIT: usize = 32;

/// A sorted set of ranges.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ranges {
    members: [Range; LIMIT],
    count: usize,
}

impl Ranges {
    #[cfg_attr(target_os = "none", unsafe(link_section = ".boot.text"))]
    pub(crate) const fn new() -> Self {
        Self { members: [Range::new(0, 0); LIMIT], count: 0 }
    }

    pub(crate) fn members(&self) -> &[Range] {
        self.members.get(..self.count).unwrap_or(&[])
    }

    /// Take in every address of `range`.
    #[cfg_attr(target_os = "none", unsafe(link_section = ".boot.text"))]
    pub(crate) fn add(&mut self, range: Range) {
        if range.length() == 0 {
            return;
        }
        let mut all = range;
        let mut next = Self::new();
        for &member in self.members() {
            if member.end < all.start || member.start > all.end {
                next.append(member);
            } else {
                all = Range::new(all.start.min(member.start), all.end.max(member.end));
            }
        }
        next.append(all);
        next.sort();
        *self = next;
    }

    /// Take every address of `range` out.
    #[cfg_attr(target_os = "none", unsafe(link_section = ".boot.text"))]
    pub(crate) fn remove(&mut self, range: Range) {
        if range.length() == 0 {
            return;
        }
        let mut next = Self::new();
        for &member in self.members() {
            next.append(Range::new(member.start, member.end.min(range.start)));
            next.append(Range::new(member.start.max(range.end), member.end));
        }
        *self = next;
    }

    /// The highest `length` bytes, at a multiple of `align`, that lie below `limit`.
    #[cfg_attr(target_os = "none", unsafe(link_section = ".boot.text"))]
    pub(crate) fn find_high(&self, length: u64, align: u64, limit: u64) -> Option<Range> {
        for member in self.members().iter().rev() {
            let Some(start) = member.end.min(limit).checked_sub(length) else { continue };
            let start = start & !(align - 1);
            if start >= member.start {
                return Some(Range::new(start, start + length));
            }
        }
        None
    }

    /// How many bytes there are.
    #[cfg_attr(target_os = "none", unsafe(link_section = ".boot.text"))]
    pub(crate) fn total(&self) -> u64 {
        self.members().iter().map(|member| member.length()).sum()
    }

    /// Whether all of `range` is in the set.
    pub(crate) fn contains(&self, range: Range) -> bool {
        // Members that are not there are empty.
        self.members.iter().any(|member| member.start <= range.start && range.end <= member.end)
    }

    #[cfg_attr(target_os = "none", unsafe(link_section = ".boot.text"))]
    fn append(&mut self, range: Range) {
        if range.start >= range.end {
            return;
        }
        if self.count == LIMIT {
            let Some(smallest) = self.members.iter_mut().min_by_key(|member| member.length()) else { return };
            if smallest.length() < range.length() {
                *smallest = range;
            }
            self.sort();
            return;
        }
        if let Some(slot) = self.members.get_mut(self.count) {
            *slot = range;
            self.count += 1;
        }
    }

    /// Insertion sort: the sets are small and nearly sorted.
    #[cfg_attr(target_os = "none", unsafe(link_section = ".boot.text"))]
    fn sort(&mut self) {
        for end in 1..self.count {
            let mut at = end;
            while let Some([before, here]) = self.members.get_mut(at.wrapping_sub(1)..=at)
                && before.start > here.start
            {
                core::mem::swap(before, here);
                at -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ranges: &[(u64, u64)]) -> Ranges {
        let mut set = Ranges::new();
        for &(start, end) in ranges {
            set.add(Range::new(start, end));
        }
        set
    }

    fn list(set: &Ranges) -> Vec<(u64, u64)> {
        set.members().iter().map(|range| (range.start, range.end)).collect()
    }

    #[test]
    fn ranges_that_touch_become_one() {
        assert_eq!(list(&set(&[(30, 40), (10, 20), (20, 30), (50, 60)])), [(10, 40), (50, 60)]);
        assert_eq!(list(&set(&[(10, 20), (0, 100), (90, 110)])), [(0, 110)]);
    }

    #[test]
    fn a_hole_splits_a_range() {
        let mut ram = set(&[(0, 100), (200, 300)]);
        ram.remove(Range::new(40, 60));
        ram.remove(Range::new(90, 210));
        assert_eq!(list(&ram), [(0, 40), (60, 90), (210, 300)]);
        ram.remove(Range::new(0, 1000));
        assert_eq!(list(&ram), []);
        assert_eq!(ram.total(), 0);
    }

    #[test]
    fn space_is_found_from_the_top_below_the_limit() {
        let ram = set(&[(0x1000, 0x9000), (0x10_0000, 0x20_0000), (0x1_0000_0000, 0x2_0000_0000)]);
        assert_eq!(ram.find_high(0x1800, 0x1000, 1 << 32), Some(Range::new(0x1f_e000, 0x1f_f800)));
        assert_eq!(ram.find_high(0x1000, 0x1000, 0x10_0000), Some(Range::new(0x8000, 0x9000)));
        assert_eq!(ram.find_high(0x10_0001, 0x1000, 1 << 32), None);
    }

    #[test]
    fn a_full_set_loses_its_smallest_member_only() {
        let mut ram = Ranges::new();
        for number in 0..LIMIT as u64 {
            ram.add(Range::new(number * 100, number * 100 + 10 + number));
        }
        ram.add(Range::new(10_000, 10_500));
        assert_eq!(ram.members().len(), LIMIT);
        assert!(ram.contains(Range::new(10_000, 10_500)));
        assert!(!ram.contains(Range::new(0, 10)));
        assert!(ram.contains(Range::new(100, 111)));
    }

    #[test]
    fn pages_are_rounded_inwards_for_ram_and_outwards_for_what_is_taken() {
        assert_eq!(Range::new(0x1001, 0x3fff).shrunk_to_pages(), Range::new(0x2000, 0x3000));
        assert_eq!(Range::new(0x1001, 0x3001).grown_to_pages(), Range::new(0x1000, 0x4000));
    }
}
