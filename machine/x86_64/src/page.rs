//! Page-table entries: how an access, a physical address and a level become 64 bits, and back.
//!
//! (Intel SDM volume 3, 5.5 "4-level paging".) A present entry without [`Entry::USER`] in the user half is a page whose
//! access was taken away altogether: nothing but the kernel could touch it, and the kernel touches user memory only by
//! way of the direct map.

use kernel::machine::PageAccess;

/// Entries in a table of any level.
pub(crate) const ENTRIES: usize = 512;
/// Bytes of a page.
pub(crate) const PAGE: u64 = abi::PAGE_SIZE;
/// Bytes of a large page (an entry of level 2).
pub(crate) const LARGE: u64 = PAGE * ENTRIES as u64;
/// Bytes of a huge page (an entry of level 3), used for the direct map only.
pub(crate) const HUGE: u64 = LARGE * ENTRIES as u64;
/// The level of the root table; the leaves of 4 KiB pages are entries of level 1.
pub(crate) const ROOT_LEVEL: u32 = 4;

/// Index of the entry that translates `address` in a table of `level`.
pub(crate) const fn index(address: u64, level: u32) -> usize {
    (address >> (3 + 9 * level)) as usize % ENTRIES
}

/// Bytes that one entry of a table of `level` translates.
pub(crate) const fn span(level: u32) -> u64 {
    1 << (3 + 9 * level)
}

/// The first address after `address` that another entry of `level` translates.
pub(crate) const fn next(address: u64, level: u32) -> u64 {
    (address | (span(level) - 1)) + 1
}

/// One entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Entry(pub(crate) u64);

impl Entry {
    pub(crate) const PRESENT: u64 = 1;
    pub(crate) const WRITE: u64 = 1 << 1;
    pub(crate) const USER: u64 = 1 << 2;
    /// PWT and PCD: uncached whatever the firmware left in the PAT, whose entry 3 nobody changes.
    pub(crate) const UNCACHED: u64 = 1 << 3 | 1 << 4;
    pub(crate) const ACCESSED: u64 = 1 << 5;
    pub(crate) const DIRTY: u64 = 1 << 6;
    pub(crate) const LARGE: u64 = 1 << 7;
    pub(crate) const GLOBAL: u64 = 1 << 8;
    /// Ignored by the processor, ours: the page is RAM and so in the direct map; the kernel may copy from and to it.
    pub(crate) const RAM: u64 = 1 << 9;
    pub(crate) const NO_EXECUTE: u64 = 1 << 63;
    /// What a page has that the kernel may copy from.
    pub(crate) const READABLE: u64 = Self::PRESENT | Self::USER | Self::RAM;
    /// What a page has that the kernel may copy to.
    pub(crate) const WRITABLE: u64 = Self::READABLE | Self::WRITE;
    const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

    /// What points to a table of the next level: all rights, the leaf decides.
    pub(crate) const fn table(physical: u64) -> Self {
        Self(physical | Self::PRESENT | Self::WRITE | Self::USER)
    }

    /// A leaf of the user half: of a small page.
    pub(crate) const fn user(physical: u64, access: PageAccess, ram: bool) -> Self {
        let mut bits = physical | Self::PRESENT;
        if access.bits & (abi::object::access::READ | abi::object::access::WRITE | abi::object::access::EXECUTE) != 0 {
            bits |= Self::USER;
        }
        if access.bits & abi::object::access::WRITE != 0 {
            bits |= Self::WRITE;
        }
        if access.bits & abi::object::access::EXECUTE == 0 {
            bits |= Self::NO_EXECUTE;
        }
        if access.device {
            bits |= Self::UNCACHED;
        } else if ram {
            bits |= Self::RAM;
        }
        Self(bits)
    }

    pub(crate) const fn is_present(self) -> bool {
        self.0 & Self::PRESENT != 0
    }

    /// At level 2 and 3: a leaf, not a table. (At level 1 the bit means something else and we never set it.)
    pub(crate) const fn is_large(self) -> bool {
        self.0 & Self::LARGE != 0
    }

    /// At level 2 and 3: a table of the next level, not a leaf.
    pub(crate) const fn is_table(self) -> bool {
        self.0 & (Self::PRESENT | Self::LARGE) == Self::PRESENT
    }

    /// Whether the kernel may copy from it (`need`: [`Entry::READABLE`]) or to it ([`Entry::WRITABLE`]).
    pub(crate) const fn allows(self, need: u64) -> bool {
        self.0 & need == need
    }

    /// Where the page or table is.
    pub(crate) const fn physical(self) -> u64 {
        self.0 & Self::ADDRESS
    }

    /// The same page with another access; what it is made of (RAM, uncached) stays.
    pub(crate) const fn with_access(self, bits: u64) -> Self {
        let keep = Self::ADDRESS | Self::LARGE | Self::RAM | Self::UNCACHED;
        Self(Self::user(0, PageAccess { bits, device: false }, false).0 | self.0 & keep)
    }

    /// Whether it says the same; the processor's own notes do not count.
    pub(crate) const fn is_like(self, other: Self) -> bool {
        (self.0 ^ other.0) & !(Self::ACCESSED | Self::DIRTY) == 0
    }

    /// The same access to a large page.
    pub(crate) const fn large(self) -> Self {
        Self(self.0 | Self::LARGE)
    }

    /// The same access to the next small page.
    pub(crate) const fn next(self) -> Self {
        Self(self.0 + PAGE)
    }

    /// The small page number `index` of this large page.
    pub(crate) const fn part(self, index: usize) -> Self {
        Self((self.0 & !Self::LARGE) + index as u64 * PAGE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::object::access::{EXECUTE, READ, WRITE};

    fn access(bits: u64) -> PageAccess {
        PageAccess { bits, device: false }
    }

    #[test]
    fn indices_cut_an_address_into_nine_bits_per_level() {
        let address = 5 << 39 | 6 << 30 | 7 << 21 | 8 << 12 | 9;
        assert_eq!([4, 3, 2, 1].map(|level| index(address, level)), [5, 6, 7, 8]);
        assert_eq!([1, 2, 3].map(span), [PAGE, LARGE, HUGE]);
        assert_eq!(next(LARGE + 1, 2), 2 * LARGE);
        assert_eq!(next(LARGE, 1), LARGE + PAGE);
    }

    #[test]
    fn a_page_is_writable_or_executable_only_if_asked() {
        let code = Entry::user(0x5000, access(READ | EXECUTE), true);
        assert_eq!(code.0, 0x5000 | Entry::PRESENT | Entry::USER | Entry::RAM);
        assert!(code.allows(Entry::READABLE) && !code.allows(Entry::WRITABLE));
        let data = Entry::user(0x5000, access(READ | WRITE), true);
        assert!(data.allows(Entry::WRITABLE));
        assert_ne!(data.0 & Entry::NO_EXECUTE, 0);
    }

    #[test]
    fn the_kernel_never_copies_device_registers_or_pages_without_access() {
        assert!(
            !Entry::user(0xfee0_0000, PageAccess { bits: READ | WRITE, device: true }, true).allows(Entry::READABLE)
        );
        assert!(!Entry::user(0x5000, access(READ), false).allows(Entry::READABLE));
        let none = Entry::user(0x5000, access(0), true);
        assert!(none.is_present() && !none.allows(Entry::READABLE));
    }

    #[test]
    fn an_access_changes_and_comes_back_without_losing_the_page() {
        let page = Entry::user(LARGE, access(READ | WRITE), true).large();
        assert_eq!(page.with_access(0).with_access(READ | WRITE), page);
        assert_eq!(page.with_access(READ).0 & Entry::WRITE, 0);
        let device = Entry::user(0xfee0_0000, PageAccess { bits: READ, device: true }, false);
        assert_ne!(device.with_access(READ | WRITE).0 & Entry::UNCACHED, 0);
    }

    #[test]
    fn a_large_page_falls_into_512_small_ones() {
        let page = Entry::user(LARGE, access(READ | WRITE), true).large();
        assert_eq!(page.part(0), Entry::user(LARGE, access(READ | WRITE), true));
        assert_eq!(page.part(511).physical(), 2 * LARGE - PAGE);
        assert!(!page.part(3).is_large());
    }
}
