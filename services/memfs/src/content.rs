//! The content of a regular file: a few bytes on the heap, or runs of pages with holes between them.
//!
//! A run is Memory that is mapped here and can be mapped by programs as well, so what they write is what `read` sees, and the
//! other way round. A run either is RAM of this file's own, or lies in the boot archive, which is never written: the pages
//! of it that are to be changed are copied first.
//!
//! What always holds: runs are in order and do not overlap; bytes of RAM runs behind the file's size are zero, but for what a
//! program wrote there through a mapping, which growing clears.

use alloc::vec::Vec;

use abi::Handle;

use crate::PAGE;

/// Up to this size a file's bytes are on the heap, and cost no page.
pub(crate) const SMALL: u64 = 2048;
/// Most pages in a run of RAM.
pub(crate) const RUN_PAGES: u64 = 64;

/// A run of pages.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// Where it is mapped here.
    pub(crate) address: u64,
    /// The Memory.
    pub(crate) memory: Handle,
    /// Where in the Memory it starts.
    pub(crate) offset: u64,
    /// Pages.
    pub(crate) pages: u64,
    /// Number of the allocation; `None`: a part of the boot archive.
    pub(crate) number: Option<u64>,
}

/// Where runs come from.
pub(crate) trait Store {
    /// Zeroed RAM, a power of two pages.
    fn allocate(&mut self, pages: u64) -> Option<Run>;
    /// Give RAM back.
    fn release(&mut self, run: Run);
    /// Fill with zeros.
    fn clear(&mut self, run: &Run, offset: u64, length: u64);
    /// Copy bytes in.
    fn copy_in(&mut self, run: &Run, offset: u64, bytes: &[u8]);
    /// Copy from run to run.
    fn copy(&mut self, from: &Run, from_offset: u64, to: &Run, to_offset: u64, length: u64);
}

/// There is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoSpace;

#[derive(Debug)]
struct Extent {
    first: u64,
    run: Run,
    /// A program may have mapped it.
    shared: bool,
}

impl Extent {
    const fn end(&self) -> u64 {
        self.first + self.run.pages
    }

    const fn writable(&self) -> bool {
        self.run.number.is_some()
    }
}

#[derive(Debug)]
enum Body {
    Small(Vec<u8>),
    Paged(Vec<Extent>),
}

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Bytes that lie here.
    Data {
        /// Where.
        address: u64,
        /// How many.
        length: u64,
    },
    /// Zeros.
    Hole(u64),
}

impl Piece {
    pub(crate) const fn length(self) -> u64 {
        match self {
            Self::Data { length, .. } | Self::Hole(length) => length,
        }
    }
}

/// A file's bytes.
#[derive(Debug)]
pub(crate) struct Content {
    size: u64,
    body: Body,
}

impl Content {
    /// Empty.
    pub(crate) const fn new() -> Self {
        Self { size: 0, body: Body::Small(Vec::new()) }
    }

    /// Bytes that lie in the boot archive, mapped at `address`.
    pub(crate) fn of_archive(memory: Handle, offset: u64, address: u64, size: u64) -> Result<Self, NoSpace> {
        let mut extents = Vec::new();
        extents.try_reserve(1).map_err(|_| NoSpace)?;
        if size > 0 {
            let run = Run { address, memory, offset, pages: size.div_ceil(PAGE), number: None };
            extents.push(Extent { first: 0, run, shared: false });
        }
        Ok(Self { size, body: Body::Paged(extents) })
    }

    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    /// Pages of RAM in use.
    pub(crate) fn pages(&self) -> u64 {
        match &self.body {
            Body::Small(_) => 0,
            Body::Paged(extents) => extents.iter().map(|extent| extent.run.pages).sum(),
        }
    }

    /// 512-byte units in use.
    pub(crate) fn blocks(&self) -> u64 {
        match &self.body {
            Body::Small(bytes) => (bytes.len() as u64).div_ceil(512),
            Body::Paged(_) => self.pages() * (PAGE / 512),
        }
    }

    /// The piece at `offset`, at most `length` bytes of it (which must not be 0).
    pub(crate) fn piece(&self, offset: u64, length: u64) -> Piece {
        match &self.body {
            Body::Small(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                match bytes.get(start..) {
                    Some(rest) if !rest.is_empty() => {
                        Piece::Data { address: rest.as_ptr() as u64, length: length.min(rest.len() as u64) }
                    }
                    _ => Piece::Hole(length),
                }
            }
            Body::Paged(extents) => {
                let page = offset / PAGE;
                let at = extents.partition_point(|extent| extent.end() <= page);
                match extents.get(at) {
                    Some(extent) if extent.first <= page => {
                        let inside = offset - extent.first * PAGE;
                        Piece::Data {
                            address: extent.run.address + inside,
                            length: length.min(extent.run.pages * PAGE - inside),
                        }
                    }
                    Some(extent) => Piece::Hole(length.min(extent.first * PAGE - offset)),
                    None => Piece::Hole(length),
                }
            }
        }
    }

    /// For a write that ends at `end`: whether the file stays small; then [`Content::write_small`] does it.
    pub(crate) const fn stays_small(&self, end: u64) -> bool {
        matches!(self.body, Body::Small(_)) && end <= SMALL
    }

    /// Write to a small file.
    pub(crate) fn write_small(&mut self, offset: u64, bytes: &[u8]) -> Result<(), NoSpace> {
        let end = offset as usize + bytes.len();
        let Body::Small(small) = &mut self.body else {
            return Err(NoSpace);
        };
        grow(small, end)?;
        small[offset as usize..end].copy_from_slice(bytes);
        self.size = small.len() as u64;
        Ok(())
    }

    /// Make sure that the bytes from `offset` on can be written where they lie; how many can (at least one, at most `length`).
    pub(crate) fn reserve(&mut self, store: &mut impl Store, offset: u64, length: u64) -> Result<u64, NoSpace> {
        let end = offset.saturating_add(length).div_ceil(PAGE);
        let mut page = offset / PAGE;
        let extents = paged(&mut self.body, store)?;
        let mut result = Ok(());
        while page < end && result.is_ok() {
            let at = extents.partition_point(|extent| extent.end() <= page);
            match extents.get(at) {
                Some(extent) if extent.first <= page && extent.writable() => page = extent.end(),
                Some(extent) if extent.first <= page => result = thaw(extents, store, at, page, end),
                next => {
                    let gap = next.map_or(u64::MAX, |extent| extent.first) - page;
                    result = fill(extents, store, at, page, end - page, gap);
                }
            }
        }
        let got = (page * PAGE).saturating_sub(offset).min(length);
        if got == 0 { Err(NoSpace) } else { Ok(got) }
    }

    /// Bytes up to `end` will be written: the file is at least that long now.
    pub(crate) fn grown(&mut self, store: &mut impl Store, end: u64) {
        if end > self.size {
            self.clear_tail(store);
            self.size = end;
        }
    }

    /// As [`Content::grown`], after `length` bytes were put at `offset` by the kernel: what they replaced must not be cleared.
    pub(crate) fn grown_to_fetched(&mut self, store: &mut impl Store, offset: u64, length: u64) {
        let end = offset + length;
        if end <= self.size {
            return;
        }
        // Between the old end and the bytes that came, a mapping may have left something.
        if offset > self.size {
            let tail = self.size.next_multiple_of(PAGE).min(offset);
            self.clear_range(store, self.size, tail);
        }
        self.size = end;
    }

    /// Set the size.
    pub(crate) fn truncate(&mut self, store: &mut impl Store, size: u64) -> Result<(), NoSpace> {
        if let Body::Small(small) = &mut self.body {
            if size <= SMALL {
                if size as usize <= small.len() {
                    small.truncate(size as usize);
                    if size == 0 {
                        *small = Vec::new();
                    }
                } else {
                    grow(small, size as usize)?;
                }
                self.size = size;
                return Ok(());
            }
            paged(&mut self.body, store)?;
        }
        if size >= self.size {
            self.clear_tail(store);
            self.size = size;
            return Ok(());
        }
        if size == 0 {
            self.free(store);
            return Ok(());
        }
        if !size.is_multiple_of(PAGE) && matches!(self.piece(size, 1), Piece::Data { .. }) {
            // The rest of the last page must be zero, hence be ours.
            self.reserve(store, size, 1)?;
            self.clear_range(store, size, size.next_multiple_of(PAGE));
        }
        let end = size.div_ceil(PAGE);
        if let Body::Paged(extents) = &mut self.body {
            while let Some(extent) = extents.pop_if(|extent| extent.end() > end) {
                if extent.first >= end {
                    drop_run(store, extent.run);
                    continue;
                }
                let mut extent = extent;
                if extent.writable() {
                    // A run of RAM is given back whole: what is behind the end is cleared.
                    let keep = (end - extent.first) * PAGE;
                    store.clear(&extent.run, keep, extent.run.pages * PAGE - keep);
                } else {
                    extent.run.pages = end - extent.first;
                }
                extents.push(extent);
                break;
            }
        }
        self.size = size;
        Ok(())
    }

    /// Make a hole. The size stays.
    pub(crate) fn punch(&mut self, store: &mut impl Store, offset: u64, length: u64) -> Result<(), NoSpace> {
        let end = offset.saturating_add(length).min(self.size);
        if offset >= end {
            return Ok(());
        }
        if let Body::Small(small) = &mut self.body {
            small[offset as usize..end as usize].fill(0);
            return Ok(());
        }
        let mut at = offset;
        while at < end {
            let piece = self.piece(at, end - at);
            if let Piece::Data { .. } = piece {
                let whole = self.whole_run(at, end);
                match whole {
                    Some(run_end) => {
                        self.drop_extent(store, at / PAGE);
                        at = run_end;
                        continue;
                    }
                    None => {
                        // Part of a run: its bytes become zero. A part of the archive is copied first.
                        let got = self.reserve(store, at, piece.length())?;
                        let got = self.piece(at, got).length();
                        self.clear_range(store, at, at + got);
                        at += got;
                        continue;
                    }
                }
            }
            at += piece.length();
        }
        Ok(())
    }

    /// The next data (or hole) at or behind `offset`, which is less than the size.
    pub(crate) fn next(&self, offset: u64, hole: bool) -> Option<u64> {
        let mut at = offset;
        while at < self.size {
            let piece = self.piece(at, self.size - at);
            if matches!(piece, Piece::Hole(_)) == hole {
                return Some(at);
            }
            at += piece.length();
        }
        hole.then_some(self.size)
    }

    /// The run with the page at `offset`, and where in it that is. With `write` it is RAM of the file's own, and reserved where
    /// there was none.
    pub(crate) fn run_at(
        &mut self,
        store: &mut impl Store,
        offset: u64,
        length: u64,
        write: bool,
    ) -> Result<(&Run, u64), NoSpace> {
        // A hole that is mapped for reading would not see later writes: it gets pages too.
        let hole = matches!(self.piece(offset, 1), Piece::Hole(_));
        if write || hole || matches!(self.body, Body::Small(_)) {
            self.reserve(store, offset, length.clamp(1, RUN_PAGES * PAGE))?;
        }
        let Body::Paged(extents) = &mut self.body else {
            return Err(NoSpace);
        };
        let page = offset / PAGE;
        let at = extents.partition_point(|extent| extent.end() <= page);
        let extent = extents.get_mut(at).filter(|extent| extent.first <= page).ok_or(NoSpace)?;
        extent.shared = true;
        Ok((&extent.run, (page - extent.first) * PAGE))
    }

    /// Give everything back.
    pub(crate) fn free(&mut self, store: &mut impl Store) {
        if let Body::Paged(extents) = &mut self.body {
            for extent in extents.drain(..) {
                drop_run(store, extent.run);
            }
        }
        *self = Self::new();
    }

    /// Copy bytes in, where room was [reserved](Content::reserve).
    pub(crate) fn copy_in(&mut self, store: &mut impl Store, offset: u64, bytes: &[u8]) {
        let Body::Paged(extents) = &self.body else {
            return;
        };
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let page = at / PAGE;
            let index = extents.partition_point(|extent| extent.end() <= page);
            let Some(extent) = extents.get(index).filter(|extent| extent.first <= page && extent.writable()) else {
                return;
            };
            let inside = at - extent.first * PAGE;
            let count = (bytes.len() - done).min((extent.run.pages * PAGE - inside) as usize);
            store.copy_in(&extent.run, inside, &bytes[done..done + count]);
            done += count;
        }
    }

    /// Where the run that starts at or before `at`, is RAM, and ends at or before `end` ends, if it starts at `at`.
    fn whole_run(&self, at: u64, end: u64) -> Option<u64> {
        let Body::Paged(extents) = &self.body else {
            return None;
        };
        let extent = extents.iter().find(|extent| extent.first * PAGE == at)?;
        // At the end of the file the run's rest counts as inside.
        let run_end = extent.end() * PAGE;
        (!extent.shared && (run_end <= end || end == self.size)).then_some(run_end)
    }

    fn drop_extent(&mut self, store: &mut impl Store, page: u64) {
        if let Body::Paged(extents) = &mut self.body
            && let Some(at) = extents.iter().position(|extent| extent.first == page)
        {
            drop_run(store, extents.remove(at).run);
        }
    }

    /// Clear what a program may have written behind the end through a mapping.
    fn clear_tail(&self, store: &mut impl Store) {
        if !self.size.is_multiple_of(PAGE) {
            let Body::Paged(extents) = &self.body else {
                return;
            };
            let page = self.size / PAGE;
            let at = extents.partition_point(|extent| extent.end() <= page);
            if extents.get(at).is_some_and(|extent| extent.first <= page && extent.shared && extent.writable()) {
                self.clear_range(store, self.size, self.size.next_multiple_of(PAGE));
            }
        }
    }

    /// Clear bytes, as far as they are in RAM.
    fn clear_range(&self, store: &mut impl Store, from: u64, to: u64) {
        let Body::Paged(extents) = &self.body else {
            return;
        };
        for extent in extents.iter().filter(|extent| extent.writable()) {
            let start = from.max(extent.first * PAGE);
            let end = to.min(extent.end() * PAGE);
            if start < end {
                store.clear(&extent.run, start - extent.first * PAGE, end - start);
            }
        }
    }
}

fn drop_run(store: &mut impl Store, run: Run) {
    if run.number.is_some() {
        store.release(run);
    }
}

fn grow(small: &mut Vec<u8>, length: usize) -> Result<(), NoSpace> {
    if length > small.len() {
        small.try_reserve(length - small.len()).map_err(|_| NoSpace)?;
        small.resize(length, 0);
    }
    Ok(())
}

/// The runs of a file; one that was small is moved into a page.
fn paged<'a>(body: &'a mut Body, store: &mut impl Store) -> Result<&'a mut Vec<Extent>, NoSpace> {
    if let Body::Small(small) = body {
        let mut extents = Vec::new();
        extents.try_reserve(1).map_err(|_| NoSpace)?;
        if !small.is_empty() {
            let run = store.allocate(1).ok_or(NoSpace)?;
            store.copy_in(&run, 0, small);
            extents.push(Extent { first: 0, run, shared: false });
        }
        *body = Body::Paged(extents);
    }
    match body {
        Body::Paged(extents) => Ok(extents),
        Body::Small(_) => Err(NoSpace),
    }
}

const fn power_of_two_at_most(pages: u64) -> u64 {
    1 << pages.ilog2()
}

/// Put a run of new pages at `page` (before extent `at`), where `wanted` pages are to be written and `gap` fit.
fn fill(
    extents: &mut Vec<Extent>,
    store: &mut impl Store,
    at: usize,
    page: u64,
    wanted: u64,
    gap: u64,
) -> Result<(), NoSpace> {
    extents.try_reserve(1).map_err(|_| NoSpace)?;
    // A file that grows bit by bit gets a quarter of its size at a time.
    let growth = extents.iter().map(|extent| extent.run.pages).sum::<u64>() / 4;
    let mut pages = power_of_two_at_most(wanted.max(growth).min(RUN_PAGES).min(gap));
    loop {
        if let Some(run) = store.allocate(pages) {
            extents.insert(at, Extent { first: page, run, shared: false });
            return Ok(());
        }
        if pages == 1 {
            return Err(NoSpace);
        }
        // Memory may only be scattered, or nearly gone.
        pages /= 2;
    }
}

/// Replace the pages from `page` to `end` (or the next few of them) of the archive run that is extent `at` by RAM.
fn thaw(extents: &mut Vec<Extent>, store: &mut impl Store, at: usize, page: u64, end: u64) -> Result<(), NoSpace> {
    extents.try_reserve(2).map_err(|_| NoSpace)?;
    let (first, last) = (extents[at].first, extents[at].end());
    let pages = power_of_two_at_most((end.min(last) - page).min(RUN_PAGES));
    let new = store.allocate(pages).or_else(|| store.allocate(1)).ok_or(NoSpace)?;
    let old = &extents[at].run;
    let pages = new.pages;
    store.copy(old, (page - first) * PAGE, &new, 0, pages * PAGE);
    let part = |from: u64, to: u64| Extent {
        first: from,
        run: Run {
            address: old.address + (from - first) * PAGE,
            memory: old.memory,
            offset: old.offset + (from - first) * PAGE,
            pages: to - from,
            number: None,
        },
        shared: extents[at].shared,
    };
    let (before, after) = (part(first, page), part(page + pages, last));
    extents[at] = Extent { first: page, run: new, shared: false };
    if after.run.pages > 0 {
        extents.insert(at + 1, after);
    }
    if before.run.pages > 0 {
        extents.insert(at, before);
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use alloc::vec;

    /// Runs on the heap, at made-up addresses; the archive lies at `ARCHIVE`.
    #[derive(Default)]
    pub(crate) struct Heap {
        runs: BTreeMap<u64, Vec<u8>>,
        next: u64,
        pub(crate) limit: Option<u64>,
    }

    pub(crate) const ARCHIVE: u64 = 1 << 40;

    fn archive_byte(at: u64) -> u8 {
        (at % 251) as u8 + 1
    }

    impl Heap {
        pub(crate) fn used(&self) -> u64 {
            self.runs.values().map(|run| run.len() as u64 / PAGE).sum()
        }

        fn byte(&self, address: u64) -> u8 {
            if address >= ARCHIVE {
                return archive_byte(address - ARCHIVE);
            }
            let (start, run) = self.runs.range(..=address).next_back().unwrap();
            run[(address - start) as usize]
        }
    }

    impl Store for Heap {
        fn allocate(&mut self, pages: u64) -> Option<Run> {
            assert!(pages.is_power_of_two() && pages <= RUN_PAGES);
            if self.limit.is_some_and(|limit| self.used() + pages > limit) {
                return None;
            }
            self.next += 1;
            let address = self.next << 24;
            self.runs.insert(address, vec![0; (pages * PAGE) as usize]);
            Some(Run { address, memory: Handle(self.next), offset: 0, pages, number: Some(self.next) })
        }
        fn release(&mut self, run: Run) {
            assert!(self.runs.remove(&run.address).is_some());
        }
        fn clear(&mut self, run: &Run, offset: u64, length: u64) {
            assert!(run.number.is_some());
            self.runs.get_mut(&run.address).unwrap()[offset as usize..(offset + length) as usize].fill(0);
        }
        fn copy_in(&mut self, run: &Run, offset: u64, bytes: &[u8]) {
            assert!(run.number.is_some());
            self.runs.get_mut(&run.address).unwrap()[offset as usize..offset as usize + bytes.len()]
                .copy_from_slice(bytes);
        }
        fn copy(&mut self, from: &Run, from_offset: u64, to: &Run, to_offset: u64, length: u64) {
            let bytes: Vec<u8> = (0..length).map(|at| self.byte(from.address + from_offset + at)).collect();
            self.copy_in(to, to_offset, &bytes);
        }
    }

    pub(crate) fn write(content: &mut Content, store: &mut Heap, offset: u64, bytes: &[u8]) -> Result<u64, NoSpace> {
        let end = offset + bytes.len() as u64;
        if content.stays_small(end) {
            content.write_small(offset, bytes)?;
            return Ok(bytes.len() as u64);
        }
        let got = content.reserve(store, offset, bytes.len() as u64)?;
        content.grown(store, offset + got);
        content.copy_in(store, offset, &bytes[..got as usize]);
        Ok(got)
    }

    pub(crate) fn read(content: &Content, store: &Heap) -> Vec<u8> {
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < content.size() {
            let at = bytes.len() as u64;
            match content.piece(at, content.size() - at) {
                Piece::Hole(length) => bytes.resize(bytes.len() + length as usize, 0),
                Piece::Data { address, length } => match &content.body {
                    Body::Small(small) => bytes.extend_from_slice(&small[at as usize..(at + length) as usize]),
                    Body::Paged(_) => bytes.extend((0..length).map(|at| store.byte(address + at))),
                },
            }
        }
        bytes
    }

    /// A generator good enough for tests: every run is the same.
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, below: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (self.0 >> 33) % below
        }
    }

    #[test]
    fn whatever_is_done_to_a_file_it_reads_like_a_plain_array() {
        for seed in 0..12 {
            let mut dice = Dice(seed);
            let mut store = Heap::default();
            if seed % 3 == 0 {
                store.limit = Some(12);
            }
            let archive = dice.roll(30_000);
            let (mut content, mut model) = if seed % 2 == 0 {
                let model = (0..archive).map(archive_byte).collect::<Vec<u8>>();
                // Behind an archive file's end its last page is zero; the model archive is not, so whole pages only.
                let whole = archive / PAGE * PAGE;
                (Content::of_archive(Handle(7), 0, ARCHIVE, whole).unwrap(), model[..whole as usize].to_vec())
            } else {
                (Content::new(), Vec::new())
            };
            for step in 0..100 {
                let offset = dice.roll(40_000);
                let length = 1 + dice.roll(9_000);
                match dice.roll(8) {
                    0..=3 => {
                        let offset = if dice.roll(2) == 0 { offset % 3000 } else { offset };
                        let bytes = vec![(step % 255) as u8 + 1; length as usize];
                        if let Ok(count) = write(&mut content, &mut store, offset, &bytes) {
                            let end = (offset + count) as usize;
                            if model.len() < end {
                                model.resize(end, 0);
                            }
                            model[offset as usize..end].copy_from_slice(&bytes[..count as usize]);
                        }
                    }
                    4 | 5 => {
                        if content.truncate(&mut store, offset).is_ok() {
                            model.resize(offset as usize, 0);
                        }
                    }
                    6 => {
                        if content.punch(&mut store, offset, length).is_ok() {
                            let end = (offset + length).min(model.len() as u64);
                            if offset < end {
                                model[offset as usize..end as usize].fill(0);
                            }
                        } else {
                            model = read(&content, &store);
                        }
                    }
                    _ => {
                        let size = content.size();
                        if size > 0 {
                            let _ = content.run_at(&mut store, offset % size / PAGE * PAGE, length, step % 2 == 0);
                        }
                    }
                }
                assert_eq!(content.size(), model.len() as u64, "seed {seed} step {step}");
                assert!(read(&content, &store) == model, "seed {seed} step {step}");
            }
            content.free(&mut store);
            assert_eq!(store.used(), 0, "seed {seed}");
        }
    }

    #[test]
    fn small_files_use_no_page() {
        let mut store = Heap::default();
        let mut content = Content::new();
        assert_eq!(write(&mut content, &mut store, 5, b"hello"), Ok(5));
        assert_eq!(read(&content, &store), b"\0\0\0\0\0hello");
        assert_eq!((store.used(), content.blocks()), (0, 1));
        assert_eq!(write(&mut content, &mut store, SMALL, b"!"), Ok(1));
        assert_eq!(store.used(), 1);
        assert_eq!(content.size(), SMALL + 1);
    }

    #[test]
    fn a_sparse_file_has_holes() {
        let mut store = Heap::default();
        let mut content = Content::new();
        let far = 1 << 40;
        assert_eq!(write(&mut content, &mut store, far, b"x"), Ok(1));
        assert_eq!(content.size(), far + 1);
        assert_eq!((store.used(), content.blocks()), (1, 8));
        assert_eq!(content.next(0, false), Some(far));
        assert_eq!(content.next(0, true), Some(0));
        assert_eq!(content.next(far, true), Some(far + 1));
        assert_eq!(content.piece(0, 100), Piece::Hole(100));
    }

    #[test]
    fn no_space_is_a_short_write_then_an_error() {
        let mut store = Heap { limit: Some(2), ..Heap::default() };
        let mut content = Content::new();
        assert_eq!(write(&mut content, &mut store, 0, &[1; 20_000]), Ok(2 * PAGE));
        assert_eq!(write(&mut content, &mut store, 2 * PAGE, &[1; 20_000]), Err(NoSpace));
        assert_eq!(content.size(), 2 * PAGE);
    }

    #[test]
    fn growing_clears_what_was_written_behind_the_end_by_a_mapping() {
        let mut store = Heap::default();
        let mut content = Content::new();
        write(&mut content, &mut store, 0, &[1; 3000]).unwrap();
        let (run, offset) = content.run_at(&mut store, 0, PAGE, true).unwrap();
        assert_eq!(offset, 0);
        let address = run.address;
        store.runs.get_mut(&address).unwrap()[3500] = 9;
        content.truncate(&mut store, 4000).unwrap();
        assert_eq!(read(&content, &store)[3500], 0);
    }

    #[test]
    fn the_archive_is_copied_only_where_it_is_written() {
        let mut store = Heap::default();
        let mut content = Content::of_archive(Handle(7), 8 * PAGE, ARCHIVE, 10 * PAGE).unwrap();
        assert_eq!(store.used(), 0);
        write(&mut content, &mut store, 5 * PAGE + 1, b"new").unwrap();
        assert_eq!(store.used(), 1);
        let (run, offset) = content.run_at(&mut store, 7 * PAGE, PAGE, false).unwrap();
        assert_eq!((run.memory, run.offset + offset), (Handle(7), 15 * PAGE));
    }
}
