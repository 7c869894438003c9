//! Simulated physical memory: pages that come into being, full of zeros, when they are first touched.

use std::cell::RefCell;
use std::collections::BTreeMap;

const PAGE: u64 = abi::PAGE_SIZE;

/// All physical pages that were ever touched.
#[derive(Debug, Default)]
pub struct Memory {
    pages: RefCell<BTreeMap<u64, Box<[u8; PAGE as usize]>>>,
}

impl Memory {
    /// Do something with the bytes of a page from `physical` on, up to its end.
    fn with<R>(&self, physical: u64, action: impl FnOnce(&mut [u8]) -> R) -> R {
        let mut pages = self.pages.borrow_mut();
        let page = pages.entry(physical / PAGE).or_insert_with(|| Box::new([0; PAGE as usize]));
        action(&mut page[(physical % PAGE) as usize..])
    }

    /// Read bytes that lie in one page.
    pub fn read(&self, physical: u64, bytes: &mut [u8]) {
        self.with(physical, |page| bytes.copy_from_slice(&page[..bytes.len()]));
    }

    /// Write bytes that lie in one page.
    pub fn write(&self, physical: u64, bytes: &[u8]) {
        self.with(physical, |page| page[..bytes.len()].copy_from_slice(bytes));
    }

    /// Fill the page at `physical` with zeros.
    pub fn clear(&self, physical: u64) {
        assert_eq!(physical % PAGE, 0);
        self.pages.borrow_mut().remove(&(physical / PAGE));
    }
}
