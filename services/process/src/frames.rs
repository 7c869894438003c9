//! Physical pages: which are free, and how many use each one that is not. A buddy allocator over all RAM ranges.
//!
//! Frames are numbered from 0 over all ranges; a number's low nine bits are those of its physical page, so that an aligned
//! run of 512 can be mapped as a large page. A record per frame, in RAM of the service's own, says how many share it.

use abi::Handle;

/// A physical page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Frame(pub(crate) u32);

/// Largest blocks: 2^15 pages, 128 MiB.
const ORDERS: usize = 16;
const NONE: u32 = (1 << 26) - 1;
const FREE: u32 = 1 << 31;

/// What is known of a frame: of a used one how many use it; of the first of a free block its neighbours in the list and its size.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Record {
    /// Uses; or the next free block.
    a: u32,
    /// Previous free block | order << 26 | `FREE`.
    b: u32,
}

/// A range of RAM.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    /// The Memory that it is a part of.
    pub(crate) memory: Handle,
    /// Offset of its first frame in the Memory, bytes.
    pub(crate) offset: u64,
    /// Physical address of its first frame.
    pub(crate) physical: u64,
    /// Number of its first frame.
    pub(crate) first: u32,
    /// Frames.
    pub(crate) count: u32,
}

/// All frames.
pub(crate) struct Frames {
    ranges: [Range; abi::boot::RAM_RANGES],
    range_count: usize,
    records: &'static mut [Record],
    heads: [u32; ORDERS],
    free: u32,
    total: u32,
}

/// The number that the first frame of the next range gets, behind `end` numbers used so far.
#[must_use]
pub(crate) fn first_number(end: u32, physical: u64) -> u32 {
    end.next_multiple_of(512) + ((physical >> 12) & 511) as u32
}

impl Frames {
    /// No frames yet; `records`: zeroed, one for each number there will be.
    pub(crate) fn new(records: &'static mut [Record]) -> Self {
        let nothing = Range { memory: Handle::NONE, offset: 0, physical: 0, first: 0, count: 0 };
        Self {
            ranges: [nothing; abi::boot::RAM_RANGES],
            range_count: 0,
            records,
            heads: [NONE; ORDERS],
            free: 0,
            total: 0,
        }
    }

    /// Add a range, whose frames count as used once each; `free_run` gives them out.
    pub(crate) fn add(&mut self, range: Range) {
        let end = range.first as usize + range.count as usize;
        if self.range_count == self.ranges.len() || end > self.records.len() {
            return;
        }
        self.ranges[self.range_count] = range;
        self.range_count += 1;
        for record in &mut self.records[range.first as usize..end] {
            *record = Record { a: 1, b: 0 };
        }
        self.total += range.count;
    }

    /// Free frames.
    #[must_use]
    pub(crate) const fn free(&self) -> u32 {
        self.free
    }

    /// Frames in all.
    #[must_use]
    pub(crate) const fn total(&self) -> u32 {
        self.total
    }

    /// The range of a frame.
    #[must_use]
    pub(crate) fn range(&self, frame: Frame) -> &Range {
        // Bound: 16 ranges; nearly always the first.
        let found =
            self.ranges[..self.range_count].iter().find(|range| frame.0.wrapping_sub(range.first) < range.count);
        found.unwrap_or(&self.ranges[0])
    }

    /// The Memory of a frame and its offset there.
    #[must_use]
    pub(crate) fn memory(&self, frame: Frame) -> (Handle, u64) {
        let range = self.range(frame);
        (range.memory, range.offset + u64::from(frame.0 - range.first) * abi::PAGE_SIZE)
    }

    /// Physical address of a frame.
    #[must_use]
    pub(crate) fn physical(&self, frame: Frame) -> u64 {
        let range = self.range(frame);
        range.physical + u64::from(frame.0 - range.first) * abi::PAGE_SIZE
    }

    fn unlink(&mut self, block: u32) {
        let Record { a: next, b } = self.records[block as usize];
        let (previous, order) = (b & NONE, (b >> 26) & 31);
        if previous == NONE {
            self.heads[order as usize] = next;
        } else {
            self.records[previous as usize].a = next;
        }
        if next != NONE {
            let record = &mut self.records[next as usize];
            record.b = record.b & !NONE | previous;
        }
        self.records[block as usize] = Record { a: 0, b: 0 };
    }

    fn link(&mut self, block: u32, order: usize) {
        let next = self.heads[order];
        self.records[block as usize] = Record { a: next, b: NONE | (order as u32) << 26 | FREE };
        if next != NONE {
            let record = &mut self.records[next as usize];
            record.b = record.b & !NONE | block;
        }
        self.heads[order] = block;
    }

    /// A block of 2^order frames, used once each.
    fn take(&mut self, order: usize) -> Option<u32> {
        let mut found = (order..ORDERS).find(|&size| self.heads[size] != NONE)?;
        let block = self.heads[found];
        self.unlink(block);
        while found > order {
            found -= 1;
            self.link(block + (1 << found), found);
        }
        for record in &mut self.records[block as usize..(block + (1 << order)) as usize] {
            *record = Record { a: 1, b: 0 };
        }
        self.free -= 1 << order;
        Some(block)
    }

    /// Put back an aligned block that nobody uses, joined with its free neighbours.
    fn put(&mut self, mut block: u32, mut order: usize) {
        self.free += 1 << order;
        self.records[block as usize] = Record { a: 0, b: 0 };
        let range = *self.range(Frame(block));
        let (start, end) = (range.first, range.first + range.count);
        while order + 1 < ORDERS {
            let buddy = block ^ (1 << order);
            let free = buddy >= start
                && buddy + (1 << order) <= end
                && self.records[buddy as usize].b & !NONE == FREE | (order as u32) << 26;
            if !free {
                break;
            }
            self.unlink(buddy);
            block = block.min(buddy);
            order += 1;
        }
        self.link(block, order);
    }

    /// A run of frames, used once each, content undefined.
    pub(crate) fn allocate(&mut self, count: u32) -> Option<Frame> {
        if count == 0 || count > 1 << (ORDERS - 1) {
            return None;
        }
        let order = count.next_power_of_two().trailing_zeros() as usize;
        let block = self.take(order)?;
        self.give_back(block + count, (1 << order) - count);
        Some(Frame(block))
    }

    /// A run of up to `count` frames (a power of two), as long as there is: the run and its length.
    pub(crate) fn allocate_up_to(&mut self, count: u32) -> Option<(Frame, u32)> {
        let most = usize::min(count.checked_ilog2()? as usize, ORDERS - 1);
        let order = (0..=most).rev().find(|&order| self.heads[order..].iter().any(|&head| head != NONE))?;
        self.take(order).map(|block| (Frame(block), 1 << order))
    }

    /// Put a run back that nobody uses any more.
    fn give_back(&mut self, mut first: u32, count: u32) {
        let end = first + count;
        while first < end {
            let fits = (end - first).ilog2();
            let order = first.trailing_zeros().min(fits).min(ORDERS as u32 - 1);
            self.put(first, order as usize);
            first += 1 << order;
        }
    }

    /// Give back a run whose frames are used once each.
    pub(crate) fn free_run(&mut self, frame: Frame, count: u32) {
        self.give_back(frame.0, count);
    }

    /// One more uses the frame.
    pub(crate) fn share(&mut self, frame: Frame) {
        if let Some(record) = self.records.get_mut(frame.0 as usize) {
            record.a += 1;
        }
    }

    /// How many use the frame.
    #[must_use]
    pub(crate) fn uses(&self, frame: Frame) -> u32 {
        self.records.get(frame.0 as usize).map_or(0, |record| record.a)
    }

    /// One fewer uses the frame; the last one's end frees it. Gives whether it was freed.
    pub(crate) fn release(&mut self, frame: Frame) -> bool {
        match self.records.get_mut(frame.0 as usize) {
            Some(record) if record.a > 1 => {
                record.a -= 1;
                false
            }
            Some(_) => {
                self.put(frame.0, 0);
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn frames(count: u32) -> Frames {
        let first = 3;
        let mut frames = Frames::new(vec![Record::default(); (first + count) as usize].leak());
        frames.add(Range { memory: Handle(77), offset: 0x3000, physical: 0x3000, first, count });
        frames.free_run(Frame(first), count);
        frames
    }

    #[test]
    fn everything_comes_back_together() {
        let mut frames = frames(1000);
        assert_eq!(frames.free(), 1000);
        let mut held: Vec<(Frame, u32)> = Vec::new();
        let mut seed = 1u64;
        for _ in 0..20_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let value = (seed >> 33) as u32;
            if value & 1 == 0 {
                if let Some(run) = frames.allocate(1 + value % 40).map(|frame| (frame, 1 + value % 40)) {
                    for &(other, count) in &held {
                        assert!(run.0.0 + run.1 <= other.0 || other.0 + count <= run.0.0);
                    }
                    held.push(run);
                }
            } else if !held.is_empty() {
                let (frame, count) = held.swap_remove(value as usize % held.len());
                if value & 2 == 0 {
                    frames.free_run(frame, count);
                } else {
                    for at in 0..count {
                        assert!(frames.release(Frame(frame.0 + at)));
                    }
                }
            }
            assert_eq!(frames.free() + held.iter().map(|run| run.1).sum::<u32>(), 1000);
        }
        for (frame, count) in held {
            frames.free_run(frame, count);
        }
        assert!(frames.allocate(256).is_some(), "the blocks have joined");
    }

    #[test]
    fn a_shared_frame_is_freed_by_its_last_user() {
        let mut frames = frames(8);
        let frame = frames.allocate(1).unwrap_or(Frame(0));
        frames.share(frame);
        assert_eq!(frames.uses(frame), 2);
        assert!(!frames.release(frame));
        assert!(frames.release(frame));
        assert_eq!(frames.free(), 8);
    }

    #[test]
    fn scarce_memory_gives_shorter_runs() {
        let mut frames = frames(5);
        assert_eq!(frames.allocate_up_to(16).map(|run| run.1), Some(4));
        assert_eq!(frames.allocate_up_to(16).map(|run| run.1), Some(1));
        assert_eq!(frames.allocate_up_to(16), None);
    }

    #[test]
    fn ranges_do_not_join() {
        let mut frames = Frames::new(vec![Record::default(); 2048].leak());
        for (number, physical) in [(0, 0x10_0000u64), (1, 0x80_0000)] {
            let first = first_number(number * 700, physical);
            frames.add(Range { memory: Handle(u64::from(number)), offset: 0, physical, first, count: 300 });
            frames.free_run(Frame(first), 300);
        }
        assert!(frames.allocate(512).is_none());
        let frame = frames.allocate(256).unwrap_or(Frame(0));
        assert_eq!(frames.physical(frame) >> 12 & 255, u64::from(frame.0) & 255);
    }
}
