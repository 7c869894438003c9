//! Page tables: maps, unmaps and copies by walking them in software, through the direct map.
//!
//! A space is the physical address of its root table. The kernel's half of all roots is the same 256 entries, which never
//! change after boot. Intermediate entries grant everything, the leaf decides. Table frames come from the kernel's `supply`
//! and go back when the space is destroyed; a table that has become empty stays until then.
//!
//! Without PCID, a processor holds translations of the loaded space only (and the kernel's global ones): a change of any
//! other space needs no forgetting.

use core::cell::Cell;
use core::sync::atomic::{AtomicU64, Ordering};

use kernel::machine::{CopyFault, Frame, PageAccess};

use crate::context::X86Context;
use crate::layout;
use crate::page::{self, ENTRIES, Entry, LARGE, PAGE, ROOT_LEVEL};
use crate::processor;
use crate::range::{Range, Ranges};

/// Physical address of a root table; 0: no space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Space(pub(crate) u64);

/// A page table, by its physical address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table(u64);

impl Table {
    /// The table at a physical address.
    ///
    /// # Safety
    /// A page of RAM that is a page table and nothing else, and is in the direct map as long as the result is used.
    pub(crate) const unsafe fn at(physical: u64) -> Self {
        Self(physical)
    }

    const fn entry_pointer(self, index: usize) -> *mut Entry {
        (layout::direct(self.0) as *mut Entry).wrapping_add(index % ENTRIES)
    }

    #[inline]
    pub(crate) fn read(self, index: usize) -> Entry {
        // SAFETY: an aligned entry within a table (contract of `at`); volatile, as the processor sets bits in it.
        unsafe { self.entry_pointer(index).read_volatile() }
    }

    #[inline]
    pub(crate) fn write(self, index: usize, entry: Entry) {
        // SAFETY: as for `read`; what the entry leads to is what the space's owner may reach.
        unsafe { self.entry_pointer(index).write_volatile(entry) }
    }

    /// The first of the first `count` entries that is not zero. (One instruction, so that a table is searched in the time
    /// it takes to read.)
    fn first_used(self, count: usize) -> Option<usize> {
        let left: usize;
        let used: u8;
        // SAFETY: reads the first `count` entries of a table; the direction flag is clear in all Rust code.
        unsafe {
            core::arch::asm!(
                "cmp eax, eax", "repe scasq", "setne dl",
                inout("rcx") count => left, inout("rdi") layout::direct(self.0) => _, in("rax") 0, out("dl") used,
                options(nostack, readonly)
            );
        }
        (used != 0).then(|| count - left - 1)
    }

    /// The entry that points to this table.
    pub(crate) const fn as_entry(self) -> Entry {
        Entry::table(self.0)
    }

    /// The table that an entry of this one points to.
    #[inline]
    pub(crate) fn below(entry: Entry) -> Self {
        // It has no bits above the address.
        Self(entry.0 & !(PAGE - 1))
    }
}

/// Fill a page of RAM with zeros.
pub(crate) fn clear(frame: Frame) {
    let to = layout::direct(frame.0);
    // SAFETY: a frame that the kernel's arena has given out to nobody else, in the direct map.
    unsafe {
        core::arch::asm!("rep stosq", inout("rcx") ENTRIES => _, inout("rdi") to => _, in("rax") 0, options(nostack, preserves_flags))
    };
}

type Supply<'a> = &'a mut dyn FnMut() -> Option<Frame>;

/// The root table that the processor has loaded; the entry code of trap.rs changes it too. One per CPU, when there are more.
pub(crate) static LOADED: AtomicU64 = AtomicU64::new(0);

/// More translations than these are forgotten by loading the root table anew: in the kernel, that is one instruction. Its own are global
/// and stay.
const FORGOTTEN_SINGLY: usize = 32;

/// All address spaces of one processor.
pub(crate) struct Spaces {
    /// The root that maps the kernel only.
    kernel: Table,
    ram: Ranges,
    /// Counts changes that make a [`Translation`] wrong, in any space.
    changes: Cell<u64>,
}

/// What a walk found: where a page is that may be read, or written. It holds as long as nothing is unmapped or protected
/// anywhere: then messages that go from and to the same buffers over and over need no walk.
#[derive(Debug, Default)]
pub(crate) struct Translation {
    /// Value of [`Spaces::changes`]; 0: none.
    at: Cell<u64>,
    page: Cell<u64>,
    /// Where it is in the direct map.
    place: Cell<u64>,
}

impl Translation {
    pub(crate) fn forget(&self) {
        self.at.set(0);
    }
}

impl Spaces {
    /// Load the kernel's own root table; it has all of `ram` in its direct map.
    pub(crate) fn new(kernel: Table, ram: Ranges) -> Self {
        let spaces = Self { kernel, ram, changes: Cell::new(1) };
        spaces.load_root(kernel.0);
        spaces
    }

    /// Load a space, unless it is loaded.
    #[inline(always)]
    pub(crate) fn load(&self, space: Space) {
        if LOADED.load(Ordering::Relaxed) != space.0 {
            self.load_root(space.0);
        }
    }

    #[inline(always)]
    fn load_root(&self, root: u64) {
        LOADED.store(root, Ordering::Relaxed);
        // SAFETY: every root has the kernel's half.
        unsafe { processor::load_root(root) };
    }

    /// What is remembered of any space may be wrong from now on.
    fn forget_walks(&self) {
        self.changes.set(self.changes.get() + 1);
    }

    /// Stand on the kernel's own tables, if `space` is the loaded one: its tables are about to go.
    fn leave(&self, space: Space) {
        self.forget_walks();
        if LOADED.load(Ordering::Relaxed) == space.0 {
            self.load_root(self.kernel.0);
        }
    }

    pub(crate) fn create(&self, frame: Frame) -> Space {
        clear(frame);
        let half = PAGE / 2;
        let (from, to) = (layout::direct(self.kernel.0 + half) as *const u8, layout::direct(frame.0 + half) as *mut u8);
        // SAFETY: the upper halves of two tables: the kernel's own, and a frame of the arena given to us as a root table.
        unsafe { processor::copy_bytes(from, to, half as usize) };
        Space(frame.0)
    }

    pub(crate) fn destroy(&self, space: Space) -> Frame {
        self.leave(space);
        Frame(space.0)
    }

    /// The next table of a space that is being destroyed; children before parents.
    pub(crate) fn release_table(&self, space: Space) -> Option<Frame> {
        self.leave(space);
        let mut above = root(space);
        let mut index = above.first_used(ENTRIES / 2)?;
        let mut level = ROOT_LEVEL - 1;
        loop {
            let table = Table::below(above.read(index));
            match table.first_used(ENTRIES) {
                // The leaves of small pages are gone; a large one would be too, but is not taken for a table.
                Some(child) if level > 1 && !table.read(child).is_large() => (above, index) = (table, child),
                _ => {
                    above.write(index, Entry(0));
                    return Some(Frame(table.0));
                }
            }
            level -= 1;
        }
    }

    /// Map pages that lie in one large page's place, where nothing is mapped. False: no frame for a table, and nothing is mapped.
    #[inline(always)]
    pub(crate) fn map(
        &self,
        space: Space,
        address: u64,
        physical: u64,
        pages: u64,
        access: PageAccess,
        supply: Supply<'_>,
    ) -> bool {
        if !in_user_half(address, pages) {
            return false;
        }
        let ram = self.ram.contains(Range::new(physical, physical + pages * PAGE));
        let mut entry = Entry::user(physical, access, ram);
        let above = directory_entry(space, address);
        let table = if above.is_table() {
            Table::below(above)
        } else if pages == ENTRIES as u64 && physical.is_multiple_of(LARGE) {
            let Some(directory) = descend(space, address, 2, supply) else { return false };
            directory.write(page::index(address, 2), entry.large());
            return true;
        } else {
            let Some(table) = descend(space, address, 1, supply) else { return false };
            table
        };
        let first = page::index(address, 1);
        for index in first..ENTRIES.min(first + pages as usize) {
            debug_assert!(!table.read(index).is_present());
            table.write(index, entry);
            entry = entry.next();
        }
        true
    }

    /// Split a large page. False: no frame for the table.
    fn split(directory: Table, index: usize, address: u64, supply: Supply<'_>) -> bool {
        let Some(frame) = supply() else { return false };
        let large = directory.read(index);
        // SAFETY: a frame of the arena given to us as a page table.
        let table = unsafe { Table::at(frame.0) };
        for part in 0..ENTRIES {
            table.write(part, large.part(part));
        }
        directory.write(index, Entry::table(frame.0));
        // The translations are the same, but a processor must not hold both sizes for long.
        processor::forget(address);
        true
    }

    pub(crate) fn unmap(&self, space: Space, address: u64, pages: u64, supply: Supply<'_>) -> bool {
        self.change(space, address, pages, supply, |_| Entry::default())
    }

    pub(crate) fn protect(
        &self,
        space: Space,
        address: u64,
        pages: u64,
        access: PageAccess,
        supply: Supply<'_>,
    ) -> bool {
        let change = |entry: Entry| if entry.is_present() { entry.with_access(access.bits) } else { entry };
        self.change(space, address, pages, supply, change)
    }

    /// Change every leaf in a range. Large pages at its ends are split first, so that running out of frames changes nothing.
    fn change(
        &self,
        space: Space,
        address: u64,
        pages: u64,
        supply: Supply<'_>,
        change: impl Fn(Entry) -> Entry,
    ) -> bool {
        if !in_user_half(address, pages) {
            return false;
        }
        let end = address + pages * PAGE;
        // Both ends within one large page's reach: the second look would find what the first left.
        let together = !address.is_multiple_of(LARGE) && (address ^ end) < LARGE;
        if !self.split_at(space, address, supply) || !together && !self.split_at(space, end, supply) {
            return false;
        }
        self.forget_walks();
        let mut at = address;
        while at < end {
            let (directory, level) = deepest(space, at, 2);
            let index = page::index(at, level);
            let entry = directory.read(index);
            if !entry.is_present() {
                at = page::next(at, level);
                continue;
            }
            // Both sizes by one loop: what changes an entry is then part of it.
            let (table, first, size) =
                if entry.is_large() { (directory, index, LARGE) } else { (Table::below(entry), page::index(at, 1), PAGE) };
            let left = if entry.is_large() { 1 } else { ((end - at) / PAGE) as usize };
            let stop = ENTRIES.min(first.saturating_add(left));
            for index in first..stop {
                table.write(index, change(table.read(index)));
            }
            let next = at + (stop - first) as u64 * size;
            if LOADED.load(Ordering::Relaxed) != space.0 {
                at = next;
            } else if stop - first > FORGOTTEN_SINGLY {
                self.load_root(space.0);
                at = next;
            } else {
                while at < next {
                    processor::forget(at);
                    at += size;
                }
            }
        }
        true
    }

    /// Make sure that no large page lies across an address.
    fn split_at(&self, space: Space, address: u64, supply: Supply<'_>) -> bool {
        if address.is_multiple_of(LARGE) {
            return true;
        }
        let (directory, level) = deepest(space, address, 2);
        let index = page::index(address, level);
        let entry = directory.read(index);
        level != 2
            || !entry.is_present()
            || !entry.is_large()
            || Self::split(directory, index, address, supply)
    }

    pub(crate) fn copy(
        &self,
        from: Space,
        source: u64,
        to: Space,
        destination: u64,
        length: u64,
    ) -> (u64, Option<CopyFault>) {
        let mut done = 0;
        let mut readable = Window::default();
        let mut writable = Window::default();
        while done < length {
            if readable.left == 0 {
                readable = translate(from, source.wrapping_add(done), length - done, Entry::READABLE);
                if readable.left == 0 {
                    return (done, Some(CopyFault::Source));
                }
            }
            if writable.left == 0 {
                writable = translate(to, destination.wrapping_add(done), length - done, Entry::WRITABLE);
                if writable.left == 0 {
                    return (done, Some(CopyFault::Destination));
                }
            }
            let bytes = readable.left.min(writable.left).min(length - done);
            if readable.physical.abs_diff(writable.physical) < bytes {
                // The same memory on both sides (a program that sends to itself, or shared memory).
                copy_overlapping(readable.physical, writable.physical, bytes);
            } else {
                // SAFETY: both are pages of RAM granted to programs, in the direct map, for `bytes` bytes; they do not
                // overlap. No Rust reference to such memory exists.
                unsafe { processor::copy_bytes(readable.pointer(), writable.pointer(), bytes as usize) };
            }
            readable.advance(bytes);
            writable.advance(bytes);
            done += bytes;
        }
        (done, None)
    }

    /// Copy within one page on each side. False: it is not within one, or it is not there.
    #[inline(always)]
    pub(crate) fn copy_at_once(
        &self,
        (from, source): (&X86Context, u64),
        (to, destination): (&X86Context, u64),
        length: u64,
    ) -> bool {
        // Where within a page it may begin at most.
        let Some(last) = PAGE.checked_sub(length) else { return false };
        let (read, written, changes) = (&from.read, &to.written, self.changes.get());
        let mut offsets = (source.wrapping_sub(read.page.get()), destination.wrapping_sub(written.page.get()));
        if offsets.0 > last || offsets.1 > last || read.at.get() != changes || written.at.get() != changes {
            offsets = (source % PAGE, destination % PAGE);
            if offsets.0 > last || offsets.1 > last || !self.walk_both((from, source), (to, destination)) {
                return false;
            }
        }
        // Within one page they may overlap.
        if read.place.get() == written.place.get() {
            return false;
        }
        let (read, write) = ((read.place.get() + offsets.0) as *const u8, (written.place.get() + offsets.1) as *mut u8);
        // SAFETY: both are in pages of RAM granted to programs, in the direct map, for `length` bytes; they do not overlap. No
        // Rust reference to such memory exists.
        unsafe { processor::copy_bytes(read, write, length as usize) };
        true
    }

    /// Find out where two pages are. False: one is not to be used so.
    #[cold]
    #[inline(never)]
    fn walk_both(&self, (from, source): (&X86Context, u64), (to, destination): (&X86Context, u64)) -> bool {
        self.walk(from.space.get(), &from.read, source, Entry::READABLE)
            && self.walk(to.space.get(), &to.written, destination, Entry::WRITABLE)
    }

    /// Find out where a page is, if that is not known.
    fn walk(&self, space: Space, known: &Translation, address: u64, need: u64) -> bool {
        let offset = address % PAGE;
        if known.at.get() != self.changes.get() || known.page.get() != address - offset {
            let window = translate(space, address, 0, need);
            if window.left == 0 {
                return false;
            }
            known.at.set(self.changes.get());
            known.page.set(address - offset);
            known.place.set(layout::direct(window.physical) - offset);
        }
        true
    }

    pub(crate) fn read(&self, space: Space, address: u64, bytes: &mut [u8]) -> bool {
        // SAFETY: the kernel's slice.
        unsafe { read_to(space, address, bytes.as_mut_ptr(), bytes.len()) }
    }

    pub(crate) fn read_words(&self, space: Space, address: u64, words: &[Cell<u64>]) -> bool {
        // SAFETY: cells may be written through a shared reference, and nothing else looks at them meanwhile.
        unsafe { read_to(space, address, words.as_ptr() as *mut u8, size_of_val(words)) }
    }

    pub(crate) fn write(&self, space: Space, address: u64, bytes: &[u8]) -> bool {
        let mut done = 0;
        while done < bytes.len() {
            let window = translate(space, address.wrapping_add(done as u64), 0, Entry::WRITABLE);
            if window.left == 0 {
                return false;
            }
            let part = (bytes.len() - done).min(window.left as usize);
            let from = bytes[done..].as_ptr();
            // SAFETY: `part` bytes of a program's writable page in the direct map, and of the kernel's slice.
            unsafe { processor::copy_bytes(from, window.pointer(), part) };
            done += part;
        }
        true
    }
}

/// Read a program's memory; false: not readable.
///
/// # Safety
/// `length` bytes at `to` must be writable memory of the kernel.
unsafe fn read_to(space: Space, mut address: u64, mut to: *mut u8, mut length: usize) -> bool {
    while length != 0 {
        let window = translate(space, address, 0, Entry::READABLE);
        if window.left == 0 {
            return false;
        }
        let part = length.min(window.left as usize);
        // SAFETY: `part` bytes of a program's page in the direct map, and of the kernel's memory (the caller's promise).
        unsafe { processor::copy_bytes(window.pointer(), to, part) };
        address = address.wrapping_add(part as u64);
        to = to.wrapping_add(part);
        length -= part;
    }
    true
}

/// A piece of a page that may be copied from or to; none, if it has no bytes.
#[derive(Clone, Copy, Default)]
struct Window {
    physical: u64,
    left: u64,
}

impl Window {
    const fn pointer(self) -> *mut u8 {
        layout::direct(self.physical) as *mut u8
    }

    const fn advance(&mut self, bytes: u64) {
        self.physical += bytes;
        self.left -= bytes;
    }
}

fn copy_overlapping(from: u64, to: u64, bytes: u64) {
    let (from, to) = (layout::direct(from) as *const u8, layout::direct(to) as *mut u8);
    // SAFETY: as for the other copy, and `copy` allows them to overlap.
    unsafe { core::ptr::copy(from, to, bytes as usize) };
}

fn in_user_half(address: u64, pages: u64) -> bool {
    address.is_multiple_of(PAGE)
        && pages
            .checked_mul(PAGE)
            .and_then(|length| address.checked_add(length))
            .is_some_and(|end| end <= abi::USER_END)
}

fn root(space: Space) -> Table {
    // SAFETY: a space is made by `create` only, and its root stays one until `destroy`.
    unsafe { Table::at(space.0) }
}

/// The table of `level` on the way to an address; made, with all above it, where it is missing.
fn descend(space: Space, address: u64, level: u32, supply: Supply<'_>) -> Option<Table> {
    let mut table = root(space);
    let mut at = ROOT_LEVEL;
    while at > level {
        let index = page::index(address, at);
        let entry = table.read(index);
        table = if entry.is_present() {
            Table::below(entry)
        } else {
            let frame = supply()?;
            clear(frame);
            table.write(index, Entry::table(frame.0));
            Table(frame.0)
        };
        at -= 1;
    }
    Some(table)
}

/// The table nearest to `level` that exists on the way to an address.
fn deepest(space: Space, address: u64, level: u32) -> (Table, u32) {
    let mut table = root(space);
    let mut at = ROOT_LEVEL;
    while at > level {
        let entry = table.read(page::index(address, at));
        if !entry.is_present() {
            break;
        }
        table = Table::below(entry);
        at -= 1;
    }
    (table, at)
}

/// Where a program's address is and how many bytes of the page are left; none, if the page does not have all bits of `need`
/// ([`Entry::READABLE`] or [`Entry::WRITABLE`]). If that is less than `length`, then with the pages behind it that lie side by side
/// and have the same access, as far as the same table says.
///
/// A walk that ends early goes on through zeros to a leaf that allows nothing.
#[inline(never)]
fn translate(space: Space, address: u64, length: u64, need: u64) -> Window {
    if address >= abi::USER_END {
        return Window::default();
    }
    let above = directory_entry(space, address);
    let mut entry = place(above.0, address >> 9);
    let (leaf, size) = if above.is_large() { (above, LARGE) } else { (Entry(read(entry)), PAGE) };
    if !leaf.allows(need) {
        return Window::default();
    }
    let offset = address & (size - 1);
    let mut window = Window { physical: leaf.physical() | offset, left: size - offset };
    // Bound: the pages of `length`.
    while window.left < length
        && size == PAGE
        && entry & (PAGE - 8) != PAGE - 8
        && Entry(read(entry + 8)).is_like(Entry(read(entry)).next())
    {
        window.left += PAGE;
        entry += 8;
    }
    window
}

/// The entry of a directory on the way to an address of the user half.
///
/// What is not present is zero in our tables, and at physical address 0 the direct map has a page of zeros
/// (boot.rs). So a walk that ends early goes on through zeros, and needs no test on the way.
#[inline(always)]
fn directory_entry(space: Space, address: u64) -> Entry {
    let pointers = read(place(space.0, address >> 36));
    let directory = read(place(pointers, address >> 27));
    Entry(read(place(directory, address >> 18)))
}

/// Where in the direct map the entry is whose number, times 8, is in bits 3 to 11 of `place`; of the table that the entry `above` points to.
#[inline(always)]
const fn place(above: u64, place: u64) -> u64 {
    layout::direct(above & !(PAGE - 1)) + (place & 0xff8)
}

#[inline(always)]
fn read(place: u64) -> u64 {
    // SAFETY: an aligned word of a page table, or of the page of zeros at physical address 0.
    unsafe { (place as *const u64).read_volatile() }
}
