//! Which frame is at which page of an address space: a sparse map in chunks of 64 pages.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;

use crate::frames::Frame;

const PAGES: u64 = 64;

#[derive(Clone)]
struct Chunk {
    present: u64,
    written: u64,
    frames: [u32; PAGES as usize],
}

/// Page number → frame.
#[derive(Clone, Default)]
pub(crate) struct Pages {
    chunks: BTreeMap<u64, Box<Chunk>>,
    count: u64,
}

/// Pages and frames that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// First page number.
    pub(crate) page: u64,
    /// Its frame.
    pub(crate) frame: Frame,
    /// Pages.
    pub(crate) count: u64,
}

impl Pages {
    /// Pages that have a frame.
    #[must_use]
    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    /// The frame at a page.
    #[must_use]
    pub(crate) fn find(&self, page: u64) -> Option<Frame> {
        let chunk = self.chunks.get(&(page / PAGES))?;
        let at = page % PAGES;
        (chunk.present >> at & 1 != 0).then(|| Frame(chunk.frames[at as usize]))
    }

    /// Put a frame at a page; what was there before.
    pub(crate) fn insert(&mut self, page: u64, frame: Frame) -> Option<Frame> {
        let chunk = self
            .chunks
            .entry(page / PAGES)
            .or_insert_with(|| Box::new(Chunk { present: 0, written: 0, frames: [0; PAGES as usize] }));
        let at = page % PAGES;
        let old = (chunk.present >> at & 1 != 0).then(|| Frame(chunk.frames[at as usize]));
        chunk.present |= 1 << at;
        chunk.frames[at as usize] = frame.0;
        self.count += u64::from(old.is_none());
        old
    }

    /// Take the frame away from a page.
    pub(crate) fn remove(&mut self, page: u64) -> Option<Frame> {
        let chunk = self.chunks.get_mut(&(page / PAGES))?;
        let at = page % PAGES;
        if chunk.present >> at & 1 == 0 {
            return None;
        }
        chunk.present &= !(1 << at);
        chunk.written &= !(1 << at);
        let frame = Frame(chunk.frames[at as usize]);
        if chunk.present == 0 {
            self.chunks.remove(&(page / PAGES));
        }
        self.count -= 1;
        Some(frame)
    }

    /// Remember that a page is being written (which it is mapped for, then), or forget it.
    pub(crate) fn set_written(&mut self, page: u64, written: bool) {
        if let Some(chunk) = self.chunks.get_mut(&(page / PAGES)) {
            let bit = 1 << (page % PAGES);
            chunk.written = if written { chunk.written | bit } else { chunk.written & !bit };
        }
    }

    /// Whether a page is being written.
    #[must_use]
    pub(crate) fn is_written(&self, page: u64) -> bool {
        self.chunks.get(&(page / PAGES)).is_some_and(|chunk| chunk.written >> (page % PAGES) & 1 != 0)
    }

    /// Pages being written in a range, in order.
    pub(crate) fn written_range(&self, start: u64, end: u64) -> impl Iterator<Item = (u64, Frame)> + '_ {
        self.chunks
            .range(start / PAGES..end.div_ceil(PAGES).max(start / PAGES))
            .flat_map(move |(&number, chunk)| {
                let written = (0..PAGES).filter(move |at| chunk.written != 0 && chunk.written >> at & 1 != 0);
                written.map(move |at| (number * PAGES + at, Frame(chunk.frames[at as usize])))
            })
            .filter(move |(page, _)| (start..end).contains(page))
    }

    /// The end of a part of a range with about `most` frames, and at least one page.
    #[must_use]
    pub(crate) fn bounded(&self, start: u64, end: u64, most: u32) -> u64 {
        let mut count = 0;
        for (&number, chunk) in self.chunks.range(start / PAGES..end.div_ceil(PAGES).max(start / PAGES)) {
            count += chunk.present.count_ones();
            if count >= most {
                return ((number + 1) * PAGES).min(end);
            }
        }
        end
    }

    /// All frames.
    pub(crate) fn frames(&self) -> impl Iterator<Item = Frame> + '_ {
        self.chunks.values().flat_map(|chunk| {
            let mut present = chunk.present;
            core::iter::from_fn(move || {
                let at = (present != 0).then(|| present.trailing_zeros())?;
                present &= present - 1;
                Some(Frame(chunk.frames[at as usize]))
            })
        })
    }

    /// How many pages are being written.
    #[must_use]
    pub(crate) fn written(&self) -> u32 {
        self.chunks.values().map(|chunk| chunk.written.count_ones()).sum()
    }

    /// No page is being written.
    pub(crate) fn forget_written(&mut self) {
        for chunk in self.chunks.values_mut() {
            chunk.written = 0;
        }
    }

    /// The first page from `page` on that has a frame, before `end`.
    #[must_use]
    pub(crate) fn next(&self, page: u64, end: u64) -> Option<(u64, Frame)> {
        if page >= end {
            return None;
        }
        for (&number, chunk) in self.chunks.range(page / PAGES..end.div_ceil(PAGES)) {
            let base = number * PAGES;
            let skip = page.saturating_sub(base);
            let present = if skip >= PAGES { 0 } else { chunk.present >> skip << skip };
            if present != 0 {
                let at = u64::from(present.trailing_zeros());
                return (base + at < end).then(|| (base + at, Frame(chunk.frames[at as usize])));
            }
        }
        None
    }

    /// All pages with a frame in a range, in order.
    pub(crate) fn range(&self, start: u64, end: u64) -> impl Iterator<Item = (u64, Frame)> + '_ {
        let mut at = start;
        core::iter::from_fn(move || {
            let (page, frame) = self.next(at, end)?;
            at = page + 1;
            Some((page, frame))
        })
    }

    /// The next run of pages from `page` on whose frames follow each other and of which `same` says the same as of the first: cut at `end`.
    pub(crate) fn run<T: PartialEq>(
        &self,
        page: u64,
        end: u64,
        mut same: impl FnMut(u64, Frame) -> T,
    ) -> Option<(Run, T)> {
        let (first, frame) = self.next(page, end)?;
        let property = same(first, frame);
        let mut count = 1;
        while first + count < end
            && self.find(first + count).is_some_and(|next| {
                u64::from(next.0) == u64::from(frame.0) + count && same(first + count, next) == property
            })
        {
            count += 1;
        }
        Some((Run { page: first, frame, count }, property))
    }

    /// How many pages of a range have a frame.
    #[must_use]
    pub(crate) fn resident(&self, start: u64, end: u64) -> u64 {
        let mut total = 0;
        if start >= end {
            return 0;
        }
        for (&number, chunk) in self.chunks.range(start / PAGES..end.div_ceil(PAGES)) {
            let base = number * PAGES;
            let mut present = chunk.present;
            if base < start {
                present = present >> (start - base) << (start - base);
            }
            if base + PAGES > end {
                present &= (1 << (end - base)) - 1;
            }
            total += u64::from(present.count_ones());
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_is_found() {
        let mut pages = Pages::default();
        for page in [0, 1, 63, 64, 65, 1000] {
            assert_eq!(pages.insert(page, Frame(page as u32 + 5)), None);
        }
        assert_eq!(pages.insert(64, Frame(1)), Some(Frame(69)));
        assert_eq!(
            (pages.count(), pages.find(63), pages.find(64), pages.find(2)),
            (6, Some(Frame(68)), Some(Frame(1)), None)
        );
        assert_eq!(pages.range(1, 65).map(|entry| entry.0).collect::<Vec<_>>(), [1, 63, 64]);
        assert_eq!(pages.range(66, 1000).count(), 0);
        assert_eq!(pages.next(66, 1001), Some((1000, Frame(1005))));
        assert_eq!((pages.resident(1, 65), pages.resident(0, 2000), pages.resident(65, 64)), (3, 6, 0));
        assert_eq!(pages.remove(64), Some(Frame(1)));
        assert_eq!((pages.remove(64), pages.count()), (None, 5));
    }

    #[test]
    fn a_range_is_cut_where_it_has_enough_frames() {
        let mut pages = Pages::default();
        for page in 100..400 {
            pages.insert(page, Frame(page as u32));
        }
        assert_eq!((pages.bounded(0, 10_000, 1000), pages.bounded(5000, 10_000, 1)), (10_000, 10_000));
        // 28 in the first chunk that has any, then 64 in each.
        assert_eq!(
            (pages.bounded(0, 10_000, 28), pages.bounded(0, 10_000, 29), pages.bounded(0, 150, 29)),
            (128, 192, 150)
        );
        assert_eq!(pages.bounded(120, 130, 1), 128);
    }

    #[test]
    fn runs_follow_frames_and_property() {
        let mut pages = Pages::default();
        for (page, frame) in [(10, 100), (11, 101), (12, 102), (13, 200), (14, 201)] {
            pages.insert(page, Frame(frame));
        }
        let mut at = 0;
        let mut runs = Vec::new();
        while let Some((run, even)) = pages.run(at, 14, |page, _| page != 12) {
            runs.push((run.page, run.count, even));
            at = run.page + run.count;
        }
        assert_eq!(runs, [(10, 2, true), (12, 1, false), (13, 1, true)]);
    }
}
