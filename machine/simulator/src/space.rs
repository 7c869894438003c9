//! Address spaces as page maps: translations beside the page-table frames they would need on a real processor, so
//! that a kernel that loses, doubles or forgets a frame is found out.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use kernel::machine::{Frame, PageAccess};

/// Pages in the range that one table covers, per level: a leaf table maps 512 pages, and so on.
const LEVEL_BITS: [u32; 3] = [9, 18, 27];
/// Pages of a large page.
pub(crate) const LARGE: u64 = 512;

/// One translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// Physical address of the page.
    pub physical: u64,
    /// What it permits.
    pub access: PageAccess,
}

/// One address space.
#[derive(Debug)]
pub struct Tables {
    root: Frame,
    /// Tables below the root, by level and number of the range they cover.
    tables: BTreeMap<(usize, u64), Frame>,
    /// Translations by page number.
    pages: BTreeMap<u64, Translation>,
    /// Large translations by page number / 512.
    large: BTreeMap<u64, Translation>,
    /// A frame taken for a split that then lacked a second one.
    spare: Option<Frame>,
}

impl Tables {
    /// An empty space.
    #[must_use]
    pub const fn new(root: Frame) -> Self {
        Self { root, tables: BTreeMap::new(), pages: BTreeMap::new(), large: BTreeMap::new(), spare: None }
    }

    /// The frame of the root table.
    #[must_use]
    pub const fn root(&self) -> Frame {
        self.root
    }

    /// How many pages are mapped.
    #[must_use]
    pub fn mapped(&self) -> u64 {
        self.pages.len() as u64 + self.large.len() as u64 * LARGE
    }

    /// All tables' frames.
    pub fn frames(&self) -> impl Iterator<Item = Frame> + '_ {
        std::iter::once(self.root).chain(self.tables.values().copied()).chain(self.spare)
    }

    /// How many tables there are, the root included.
    #[must_use]
    pub fn table_count(&self) -> usize {
        1 + self.tables.len()
    }

    /// Every translation, large ones as their single pages.
    pub fn translations(&self) -> impl Iterator<Item = (u64, Translation)> + '_ {
        let large = self
            .large
            .iter()
            .flat_map(|(number, first)| (0..LARGE).map(move |page| (number * LARGE + page, offset(*first, page))));
        self.pages.iter().map(|(page, translation)| (*page, *translation)).chain(large)
    }

    /// What page number `page` translates to.
    #[must_use]
    pub fn translate(&self, page: u64) -> Option<Translation> {
        self.pages
            .get(&page)
            .copied()
            .or_else(|| self.large.get(&(page / LARGE)).map(|first| offset(*first, page % LARGE)))
    }

    /// Make sure that the tables down to `level` exist for `page`.
    fn ensure(&mut self, page: u64, level: usize, supply: &mut dyn FnMut() -> Option<Frame>) -> bool {
        for level in (level..LEVEL_BITS.len()).rev() {
            let key = (level, page >> LEVEL_BITS[level]);
            if let Entry::Vacant(entry) = self.tables.entry(key) {
                let Some(frame) = supply() else { return false };
                entry.insert(frame);
            }
        }
        true
    }

    /// Map pages, as many as there are tables for; large ones where that is allowed and all is aligned.
    pub fn map(
        &mut self,
        first: u64,
        physical: u64,
        pages: u64,
        access: PageAccess,
        large: bool,
        supply: &mut dyn FnMut() -> Option<Frame>,
    ) -> u64 {
        let mut done = 0;
        while done < pages {
            let page = first + done;
            let target = physical + done * abi::PAGE_SIZE;
            let translation = Translation { physical: target, access };
            if large
                && page.is_multiple_of(LARGE)
                && target.is_multiple_of(LARGE * abi::PAGE_SIZE)
                && pages - done >= LARGE
                && !self.tables.contains_key(&(0, page / LARGE))
            {
                if !self.ensure(page, 1, supply) {
                    break;
                }
                assert!(self.large.insert(page / LARGE, translation).is_none(), "page {page:#x} was mapped twice");
                done += LARGE;
            } else {
                assert!(!self.large.contains_key(&(page / LARGE)), "page {page:#x} was mapped into a large page");
                if !self.ensure(page, 0, supply) {
                    break;
                }
                assert!(self.pages.insert(page, translation).is_none(), "page {page:#x} was mapped twice");
                done += 1;
            }
        }
        done
    }

    /// Split the large pages that a range covers in part; false, with nothing changed, when frames run out.
    fn split(&mut self, first: u64, pages: u64, supply: &mut dyn FnMut() -> Option<Frame>) -> bool {
        let end = first + pages;
        let partly = |number: u64| number * LARGE < first || (number + 1) * LARGE > end;
        let mut numbers: Vec<u64> = [first / LARGE, (end - 1) / LARGE]
            .into_iter()
            .filter(|number| self.large.contains_key(number) && partly(*number))
            .collect();
        numbers.dedup();
        if numbers.is_empty() {
            return true;
        }
        let Some(frame) = self.spare.take().or_else(&mut *supply) else { return false };
        let mut frames = vec![frame];
        if numbers.len() == 2 {
            let Some(second) = supply() else {
                // The trait has no way to hand a frame back.
                self.spare = Some(frame);
                return false;
            };
            frames.push(second);
        }
        for (number, frame) in numbers.into_iter().zip(frames) {
            let translation = self.large.remove(&number).expect("seen above");
            self.tables.insert((0, number), frame);
            for page in 0..LARGE {
                self.pages.insert(number * LARGE + page, offset(translation, page));
            }
        }
        true
    }

    /// Remove translations.
    pub fn unmap(&mut self, first: u64, pages: u64, supply: &mut dyn FnMut() -> Option<Frame>) -> bool {
        if pages == 0 {
            return true;
        }
        if !self.split(first, pages, supply) {
            return false;
        }
        let gone: Vec<u64> = self.pages.range(first..first + pages).map(|(page, _)| *page).collect();
        for page in gone {
            self.pages.remove(&page);
        }
        let numbers = first.div_ceil(LARGE)..((first + pages) / LARGE).max(first.div_ceil(LARGE));
        let gone: Vec<u64> = self.large.range(numbers).map(|(number, _)| *number).collect();
        for number in gone {
            self.large.remove(&number);
        }
        true
    }

    /// Change what translations permit.
    pub fn protect(
        &mut self,
        first: u64,
        pages: u64,
        access: PageAccess,
        supply: &mut dyn FnMut() -> Option<Frame>,
    ) -> bool {
        if pages == 0 {
            return true;
        }
        if !self.split(first, pages, supply) {
            return false;
        }
        for (_, translation) in self.pages.range_mut(first..first + pages) {
            translation.access = access;
        }
        let numbers = first.div_ceil(LARGE)..((first + pages) / LARGE).max(first.div_ceil(LARGE));
        for (_, translation) in self.large.range_mut(numbers) {
            translation.access = access;
        }
        true
    }

    /// Give one table back, lowest level first.
    pub fn release_table(&mut self) -> Option<Frame> {
        assert_eq!(self.mapped(), 0, "tables are released while translations are left");
        self.tables.pop_first().map(|(_, frame)| frame).or_else(|| self.spare.take())
    }
}

const fn offset(first: Translation, pages: u64) -> Translation {
    Translation { physical: first.physical + pages * abi::PAGE_SIZE, access: first.access }
}
