//! The boot stub: what the firmware says becomes one plain record ([`Handoff`]), RAM is carved, the final page tables are
//! made. `.boot.text`, here and in other modules, is everything that runs once; it does not count as kernel, and
//! [`discard`] unmaps it before the first program runs.
//!
//! Who has which RAM is decided in [`crate::carve`]. From the arena come the final tables, the kernel's object tables, the
//! threads' vector areas, and the frames that the kernel will use for page tables.

use abi::boot::{MODULE_MAGIC, MODULE_VERSION, ModuleHeader};
use kernel::{Capacities, FRAMES, Tables};

use crate::carve::{EARLY_END, carve};
use crate::layout::{self, IMAGE};
use crate::machine::X86;
use crate::page::{self, ENTRIES, Entry, HUGE, LARGE, PAGE, ROOT_LEVEL};
use crate::pvh::KERNEL_STACK;
use crate::range::{Range, Ranges};
use crate::serial::Part;
use crate::space::{self, Table};
use crate::{apic, processor, ring, vector};

/// What the rest of the machine is told.
#[derive(Clone, Debug)]
pub(crate) struct Handoff {
    /// The final root table.
    pub(crate) root: Table,
    /// All RAM in the direct map.
    pub(crate) ram: Ranges,
    /// RAM that nobody uses yet.
    pub(crate) free: Ranges,
    /// RAM bytes that the firmware reported.
    pub(crate) ram_total: u64,
    /// Bytes of the arena.
    pub(crate) arena_length: u64,
    /// The kernel's tables.
    pub(crate) capacities: Capacities,
    /// The arena's frames.
    pub(crate) frames: Range,
    /// The boot module, and what its first page says.
    pub(crate) module: Range,
    pub(crate) header: ModuleHeader,
    /// Addresses of devices.
    pub(crate) devices: Range,
    /// The firmware's tables; empty if none.
    pub(crate) firmware: Range,
    /// Physical address of the ACPI root table.
    pub(crate) acpi_root: u64,
    /// Time-stamp of the first instruction.
    pub(crate) entry_time_stamp: u64,
    /// Where the ring of the trace is.
    pub(crate) ring: u64,
}

/// `hvm_start_info` (Xen, public/arch-x86/hvm/start_info.h), version 1.
#[derive(Clone, Copy)]
#[repr(C)]
struct StartInformation {
    magic: u32,
    version: u32,
    flags: u32,
    modules: u32,
    module_list: u64,
    command_line: u64,
    acpi_root: u64,
    memory_map: u64,
    memory_map_entries: u32,
    reserved: u32,
}

const START_MAGIC: u32 = 0x336e_c578;

#[derive(Clone, Copy)]
#[repr(C)]
struct ModuleEntry {
    address: u64,
    length: u64,
    command_line: u64,
    reserved: u64,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct MapEntry {
    address: u64,
    length: u64,
    kind: u32,
    reserved: u32,
}

const KIND_RAM: u32 = 1;


unsafe extern "C" {
    safe static image_start: u8;
    safe static boot_start: u8;
    safe static boot_end: u8;
    safe static text_start: u8;
    safe static text_end: u8;
    safe static rodata_end: u8;
    safe static image_end: u8;
}

/// Refuse to boot unless something holds that the loader or the machine owes. The words stay in the boot stub, which a panic's would not.
macro_rules! require {
    ($holds:expr, $otherwise:literal) => {{
        #[unsafe(link_section = ".boot.data")]
        static WORDS: [u8; $otherwise.len()] = *$otherwise;
        if !$holds {
            crate::start::broken(&[Part::Text(&WORDS)]);
        }
    }};
}
pub(crate) use require;

/// Read a structure that the loader left in memory.
#[unsafe(link_section = ".boot.text")]
fn read<T: Copy>(physical: u64) -> T {
    require!(physical.saturating_add(size_of::<T>() as u64) <= EARLY_END, b"boot information above 4 GiB");
    // SAFETY: the early tables map all of the first 4 GiB; the types read here are plain numbers, valid for any bytes.
    unsafe { (layout::direct(physical) as *const T).read_unaligned() }
}

/// Read `hvm_start_info` and go on in the kernel.
#[unsafe(link_section = ".boot.text")]
pub(crate) fn boot(start_information: u64, entry_time_stamp: u64) -> ! {
    let start: StartInformation = read(start_information);
    require!(start.magic == START_MAGIC && start.version >= 1, b"not started by a PVH loader with a memory map");
    require!(start.modules == 1, b"one boot module expected");
    let module: ModuleEntry = read(start.module_list);
    let module = Range::new(module.address, module.address.saturating_add(module.length));
    require!(module.start.is_multiple_of(PAGE), b"boot module not page-aligned");

    let mut ram = Ranges::new();
    let mut reserved = Ranges::new();
    for number in 0..u64::from(start.memory_map_entries) {
        let entry: MapEntry = read(start.memory_map + number * size_of::<MapEntry>() as u64);
        let range = Range::new(entry.address, entry.address.saturating_add(entry.length));
        if entry.kind == KIND_RAM { ram.add(range) } else { reserved.add(range) }
    }
    let image = Range::new(physical(&raw const image_start), physical(&raw const image_end));
    let carving = carve(&ram, &reserved, image, module, layout::PHYSICAL_END);
    require!(carving.arena.length() != 0, b"no room for the arena");

    require!(&raw const *layout::Place as u64 == layout::TABLES, b"linked for other tables");
    let mut tables = Builder::new(carving.arena);
    tables.map_ram(&carving.usable);
    tables.map_image();
    tables.map_page(layout::LOCAL_APIC, apic::physical(), Entry::WRITE | Entry::NO_EXECUTE | Entry::UNCACHED);
    let capacities = tables.map_objects();

    let header: ModuleHeader = read(module.start);
    require!(header.magic == MODULE_MAGIC && header.version == MODULE_VERSION, b"not a boot module of this version");
    require!(is_within(&header, module.length()), b"boot module cut short");

    crate::start(Handoff {
        root: tables.root,
        ram: carving.usable,
        free: carving.free,
        ram_total: ram.total(),
        arena_length: carving.arena.length(),
        capacities,
        frames: tables.arena,
        module,
        header,
        devices: carving.devices,
        firmware: carving.firmware,
        acpi_root: acpi_root(start.acpi_root),
        entry_time_stamp,
        ring: ring::start() - IMAGE,
    })
}

/// Unmap the boot stub: it has done its work.
pub(crate) fn discard(root: Table) {
    let mut at = &raw const boot_start as u64;
    while at < &raw const boot_end as u64 {
        let table = (2..=ROOT_LEVEL).rev().fold(root, |table, level| Table::below(table.read(page::index(at, level))));
        table.write(page::index(at, 1), Entry::default());
        processor::forget(at);
        at += PAGE;
    }
}

/// Whether all that the header speaks of is in the module, in whole pages.
#[unsafe(link_section = ".boot.text")]
fn is_within(header: &ModuleHeader, length: u64) -> bool {
    let part = |offset: u64, bytes: u64| {
        (offset | bytes).is_multiple_of(PAGE) && offset.checked_add(bytes).is_some_and(|end| end <= length)
    };
    header.segment_count as usize <= header.segments.len()
        && header
            .segments
            .iter()
            .take(header.segment_count as usize)
            .all(|segment| part(segment.offset, segment.length))
        && part(header.archive_offset, header.archive_length)
}

/// The ACPI root table. Its pointer lies in the BIOS's segment, which programs are not given; so it is followed here.
#[unsafe(link_section = ".boot.text")]
fn acpi_root(pointer: u64) -> u64 {
    const REVISION: u64 = 15;
    const TABLE: u64 = 16;
    const EXTENDED_TABLE: u64 = 24;
    if pointer == 0 || pointer >= EARLY_END - PAGE {
        return 0;
    }
    let revision: u8 = read(pointer + REVISION);
    if revision >= 2 { read(pointer + EXTENDED_TABLE) } else { u64::from(read::<u32>(pointer + TABLE)) }
}

/// The physical address of something in the image.
fn physical<T>(place: *const T) -> u64 {
    place as u64 - IMAGE
}

/// Makes the kernel's half of all address spaces, with pages from the arena.
struct Builder {
    root: Table,
    /// What is left.
    arena: Range,
    huge: bool,
}

impl Builder {
    #[unsafe(link_section = ".boot.text")]
    fn new(arena: Range) -> Self {
        const HUGE_PAGES: u32 = 1 << 26;
        let huge = processor::cpuid(0x8000_0001, 0)[3] & HUGE_PAGES != 0;
        let mut arena = arena;
        let root = new_table(&mut arena);
        let mut builder = Self { root, arena, huge };
        // Every root has these entries, so what is below them may not be added later.
        for address in [layout::DIRECT, layout::TABLES, layout::VECTORS, layout::IMAGE] {
            builder.table(address, 3);
        }
        builder
    }

    /// The table of `level` on the way to an address.
    #[unsafe(link_section = ".boot.text")]
    fn table(&mut self, address: u64, level: u32) -> Table {
        let mut table = self.root;
        let mut at = ROOT_LEVEL;
        while at > level {
            let entry = table.read(page::index(address, at));
            table = if entry.is_present() {
                Table::below(entry)
            } else {
                let next = new_table(&mut self.arena);
                table.write(page::index(address, at), next.as_entry());
                next
            };
            at -= 1;
        }
        table
    }

    #[unsafe(link_section = ".boot.text")]
    fn map_page(&mut self, address: u64, physical: u64, bits: u64) {
        let entry = Entry(physical | bits | Entry::PRESENT | Entry::GLOBAL | Entry::ACCESSED | Entry::DIRTY);
        self.table(address, 1).write(page::index(address, 1), entry);
    }

    /// The direct map, in the largest pages that fit; without text and read-only data, which it would make writable.
    #[unsafe(link_section = ".boot.text")]
    fn map_ram(&mut self, ram: &Ranges) {
        const BITS: u64 =
            Entry::PRESENT | Entry::WRITE | Entry::NO_EXECUTE | Entry::GLOBAL | Entry::ACCESSED | Entry::DIRTY;
        let mut ram = *ram;
        ram.remove(Range::new(physical(&raw const text_start), physical(&raw const rodata_end)));
        for range in ram.members() {
            let mut at = range.start;
            while at < range.end {
                let left = range.end - at;
                let (level, size, large) = if self.huge && at.is_multiple_of(HUGE) && left >= HUGE {
                    (3, HUGE, Entry::LARGE)
                } else if at.is_multiple_of(LARGE) && left >= LARGE {
                    (2, LARGE, Entry::LARGE)
                } else {
                    (1, PAGE, 0)
                };
                let address = layout::direct(at);
                self.table(address, level).write(page::index(address, level), Entry(at | BITS | large));
                at += size;
            }
        }
    }

    #[unsafe(link_section = ".boot.text")]
    fn map_image(&mut self) {
        let mut at = &raw const boot_start as u64;
        while at < &raw const boot_end as u64 {
            self.map_page(at, at - IMAGE, 0);
            at += PAGE;
        }
        let guard = &raw const KERNEL_STACK as u64;
        let mut at = &raw const text_start as u64;
        while at < &raw const image_end as u64 {
            let bits = if at < &raw const text_end as u64 {
                0
            } else if at < &raw const rodata_end as u64 {
                Entry::NO_EXECUTE
            } else {
                Entry::WRITE | Entry::NO_EXECUTE
            };
            if at != guard {
                self.map_page(at, at - IMAGE, bits);
            }
            at += PAGE;
        }
    }

    /// The object tables and vector areas; what remains of the arena becomes frames.
    #[unsafe(link_section = ".boot.text")]
    fn map_objects(&mut self) -> Capacities {
        const DATA: u64 = Entry::WRITE | Entry::NO_EXECUTE;
        // Vector areas and the windows' page tables come on top, and whatever is left becomes frames: processes run out of
        // them first.
        let mut capacities = Capacities::for_arena::<X86>(self.arena.length() / 64 * 50);
        capacities.frames = (self.arena.length() / PAGE).min(FRAMES as u64) as u32;
        let regions = Tables::<X86>::regions(&capacities);
        let end = layout::TABLES + size_of::<Tables<X86>>() as u64;
        let mut zeros = Zeros::new(&mut self.arena);
        // Walks of page tables that lead nowhere end there (space.rs).
        self.map_page(layout::direct(0), zeros.page.physical(), Entry::NO_EXECUTE);
        for (number, region) in regions.iter().enumerate() {
            let start = layout::TABLES + region.offset as u64;
            let backed = start + (region.length as u64).next_multiple_of(PAGE);
            let next = regions.get(number + 1).map_or(end, |next| layout::TABLES + next.offset as u64);
            self.map_fresh(start, backed, DATA);
            self.map_zeros(backed, next, &mut zeros);
        }
        let areas = u64::from(capacities.threads) * vector::AREA as u64;
        self.map_fresh(layout::VECTORS, layout::VECTORS + areas.next_multiple_of(PAGE), DATA);
        // Slot 0 has no frame.
        capacities.frames = capacities.frames.min((self.arena.length() / PAGE) as u32 + 1);
        capacities
    }

    /// Zeroed pages of the arena.
    #[unsafe(link_section = ".boot.text")]
    fn map_fresh(&mut self, from: u64, to: u64, bits: u64) {
        let mut at = from;
        while at < to {
            let page = new_page(&mut self.arena);
            self.map_page(at, page, bits);
            at += PAGE;
        }
    }

    /// The page of zeros, as often as it takes, with shared page tables where a whole table would say so.
    #[unsafe(link_section = ".boot.text")]
    fn map_zeros(&mut self, from: u64, to: u64, zeros: &mut Zeros) {
        let mut at = from;
        while at < to {
            let (level, size, entry) = if at.is_multiple_of(HUGE) && to - at >= HUGE {
                (3, HUGE, zeros.directory)
            } else if at.is_multiple_of(LARGE) && to - at >= LARGE {
                (2, LARGE, zeros.table)
            } else {
                (1, PAGE, zeros.page)
            };
            self.table(at, level).write(page::index(at, level), entry);
            at += size;
        }
    }
}

/// The page of zeros, a table full of it, and a table full of that.
struct Zeros {
    page: Entry,
    table: Entry,
    directory: Entry,
}

impl Zeros {
    #[unsafe(link_section = ".boot.text")]
    fn new(arena: &mut Range) -> Self {
        const BITS: u64 = Entry::PRESENT | Entry::NO_EXECUTE | Entry::GLOBAL | Entry::ACCESSED;
        let page = Entry(new_page(arena) | BITS);
        let table = full_table(arena, page);
        let directory = full_table(arena, table);
        Self { page, table, directory }
    }
}

#[unsafe(link_section = ".boot.text")]
fn full_table(arena: &mut Range, entry: Entry) -> Entry {
    let table = new_table(arena);
    for index in 0..ENTRIES {
        table.write(index, entry);
    }
    table.as_entry()
}

#[unsafe(link_section = ".boot.text")]
fn new_table(arena: &mut Range) -> Table {
    // SAFETY: a zeroed page that nobody else has; the early and the final direct map have it.
    unsafe { Table::at(new_page(arena)) }
}

/// The arena's next page, zeroed.
#[unsafe(link_section = ".boot.text")]
fn new_page(arena: &mut Range) -> u64 {
    let page = arena.start;
    require!(page + PAGE <= arena.end, b"arena too small");
    arena.start += PAGE;
    space::clear(kernel::machine::Frame(page));
    page
}
