//! What happens at boot: the one module that the boot loader hands over, and the record that init is started with.
//!
//! The *boot module* is a page with a [`ModuleHeader`], then init's segments (page-aligned, already laid out as they
//! are mapped), then the boot archive ([`crate::archive`]), page-aligned. The host's builder writes it; the kernel's
//! boot stub reads only the header.
//!
//! Init starts with its segments mapped, a stack, and in `rdi` the address of a read-only [`BootRecord`].

use crate::Handle;

/// First bytes of a boot module.
pub const MODULE_MAGIC: u64 = u64::from_le_bytes(*b"BatonMod");
/// Version of [`ModuleHeader`].
pub const MODULE_VERSION: u32 = 1;
/// Most segments that init can have.
pub const INIT_SEGMENTS: usize = 8;

/// A part of init's image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct InitSegment {
    /// Offset of its first page in the module, in bytes; page-aligned.
    pub offset: u64,
    /// Virtual address; page-aligned.
    pub address: u64,
    /// Bytes, whole pages, zero-filled where the program asks for more memory than its file has.
    pub length: u64,
    /// [`access`](crate::object::access) bits.
    pub access: u64,
}

/// The first page of the boot module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ModuleHeader {
    /// [`MODULE_MAGIC`].
    pub magic: u64,
    /// [`MODULE_VERSION`].
    pub version: u32,
    /// How many of `segments` count.
    pub segment_count: u32,
    /// Where init starts.
    pub entry: u64,
    /// Offset of the archive in the module, page-aligned.
    pub archive_offset: u64,
    /// Bytes of the archive, whole pages.
    pub archive_length: u64,
    /// Init's image.
    pub segments: [InitSegment; INIT_SEGMENTS],
}

const _: () = assert!(size_of::<ModuleHeader>() == 296);

/// Where the kernel maps init's boot record (one page, read-only).
pub const RECORD_ADDRESS: u64 = 0x1000_0000;
/// Top of init's stack.
pub const STACK_TOP: u64 = 0x2000_0000;
/// Bytes of init's stack.
pub const STACK_LENGTH: u64 = 64 * 1024;

/// Most RAM ranges in a boot record.
pub const RAM_RANGES: usize = 16;

/// What init is told, at [`RECORD_ADDRESS`]. Init's own process is [`Handle::SELF_PROCESS`], with everything in its quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct BootRecord {
    /// [`MODULE_MAGIC`].
    pub magic: u64,
    /// Init's first thread.
    pub thread: Handle,
    /// Memory: the boot archive (read, execute, copy).
    pub archive: Handle,
    /// Bytes of the archive.
    pub archive_length: u64,
    /// How many of `ram` count.
    pub ram_count: u64,
    /// Memory: all RAM that the kernel, its arena and the boot module do not occupy.
    pub ram: [Handle; RAM_RANGES],
    /// Memory of type Ports: all 65,536 I/O ports but those of the interrupt controllers and the kernel's timer.
    pub ports: Handle,
    /// Memory of type Interrupts: all interrupt lines.
    pub interrupts: Handle,
    /// Memory of type Device: physical addresses above RAM below 4 GiB that belong to devices (PCI windows), but for the interrupt controllers.
    pub devices: Handle,
    /// Physical address of the ACPI root pointer, 0 if none (to be read through `firmware`).
    pub acpi_root: u64,
    /// Memory: the firmware's tables (reserved RAM ranges), read-only; [`Handle::NONE`] if none.
    pub firmware: Handle,
    /// Ticks of the time-stamp counter a second.
    pub tsc_hz: u64,
    /// Time-stamp counter when the kernel's clock was 0.
    pub tsc_base: u64,
    /// RAM bytes the firmware reported in all.
    pub ram_total: u64,
    /// Bytes of the kernel's arena.
    pub arena_length: u64,
    /// Instructions between the kernel's entry and init's start are counted from this time-stamp (the entry's).
    pub entry_tsc: u64,
    /// Memory: the ring of the [`trace`](crate::trace) (to read, and to switch).
    pub trace: Handle,
}

const _: () = assert!(size_of::<BootRecord>() <= crate::PAGE_SIZE as usize);
