//! The first process: what the machine found at boot becomes init's memory, handles and boot record.

use crate::bytes::store;
use crate::kernel::Kernel;
use crate::machine::{Context, Frame, Machine, PageAccess};
use crate::memory::Memory;
use crate::quota::Resource;
use crate::tables::Capacities;
use abi::boot::{
    BootRecord, INIT_SEGMENTS, InitSegment, MODULE_MAGIC, RAM_RANGES, RECORD_ADDRESS, STACK_LENGTH, STACK_TOP,
};
use abi::object::{Kind, MemoryType, access};
use abi::thread::Policy;
use abi::{Error, Handle, PAGE_SIZE, Rights};
use core::mem::offset_of;

/// A range of physical addresses, page-aligned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// First address.
    pub base: u64,
    /// Bytes.
    pub length: u64,
}

/// I/O ports that only the kernel uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortRange {
    /// First port.
    pub first: u16,
    /// How many; 0: no range.
    pub count: u16,
}

/// Most ranges of ports that the kernel keeps.
pub const KEPT_PORTS: usize = 8;

/// What the machine tells the kernel at boot. Nothing is parsed any more.
#[derive(Clone, Copy, Debug, Default)]
pub struct Boot {
    /// How many slots of each table have memory.
    pub capacities: Capacities,
    /// Physical address of the arena's frames for page tables: `capacities.frames` − 1 pages, contiguous.
    pub frame_base: u64,
    /// Physical address of the boot module, page-aligned.
    pub module: u64,
    /// Where init starts.
    pub entry: u64,
    /// How many of `segments` count.
    pub segment_count: usize,
    /// Init's image, offsets within the module.
    pub segments: [InitSegment; INIT_SEGMENTS],
    /// The boot archive (physical addresses).
    pub archive: Range,
    /// RAM that nothing occupies: not the kernel, the arena, nor the module.
    pub ram: [Range; RAM_RANGES],
    /// Physical addresses of devices, without the interrupt controllers.
    pub devices: Range,
    /// The firmware's tables; length 0: none.
    pub firmware: Range,
    /// Ports that the kernel keeps: interrupt controllers and its timer.
    pub kept_ports: [PortRange; KEPT_PORTS],
    /// How many interrupt lines there are, at most 256.
    pub interrupts: u32,
    /// See [`BootRecord`].
    pub acpi_root: u64,
    /// See [`BootRecord`].
    pub tsc_hz: u64,
    /// See [`BootRecord`].
    pub tsc_base: u64,
    /// See [`BootRecord`].
    pub ram_total: u64,
    /// See [`BootRecord`].
    pub arena_length: u64,
    /// See [`BootRecord`].
    pub entry_tsc: u64,
    /// The ring of the trace.
    pub trace: Range,
}

/// Slice of round robin batons unless they say otherwise, ns.
pub(crate) const DEFAULT_SLICE: u64 = 4_000_000;
/// Priority at which init starts.
const INIT_PRIORITY: u8 = 64;
/// Handle pages of init at the start.
const INIT_HANDLE_PAGES: usize = 4;

impl<M: Machine> Kernel<M> {
    /// Create init from what the machine found. Halts the machine if there is not even enough memory for that. Apart from
    /// [`Kernel::new`], so that the kernel is where it will stay: a compiler that knows the place keeps it in no register.
    pub fn start(&self, boot: &Boot) {
        if self.create_init(boot).is_err() {
            self.machine.print("init cannot be created");
            self.machine.halt();
        }
    }

    /// Create init. An error means that the arena is too small for it or the machine's ranges make no sense.
    fn create_init(&self, boot: &Boot) -> Result<(), Error> {
        let capacities = &boot.capacities;
        // What the dummy's table leads to.
        self.tables.entries[0].vacate(0);
        let first = self.first_process(capacities)?;
        let process = self.tables.process(first);
        // Bound: a constant.
        for _ in 0..INIT_HANDLE_PAGES {
            self.grow_handles(process)?;
        }
        let generation = process.header.generation.get();
        let reference =
            crate::handle_table::Reference { kind: Kind::Process, object: first, generation, rights: Rights::ALL };
        self.tables.insert_fixed(process, Handle::SELF_PROCESS, &reference);

        let mut ram = boot.ram;
        let stack = take_from_end(&mut ram, STACK_LENGTH).ok_or(Error::Exhausted)?;
        // Bound: the pages of the stack.
        for page in 0..STACK_LENGTH / PAGE_SIZE {
            self.machine.clear_frame(Frame(stack.base + page * PAGE_SIZE));
        }
        let read_write = access::READ | access::WRITE;
        self.map_at_boot(first, stack, STACK_TOP - STACK_LENGTH, read_write)?;
        // Bound: INIT_SEGMENTS.
        for segment in boot.segments.iter().take(boot.segment_count) {
            let part = Range { base: boot.module + segment.offset, length: segment.length };
            if part.length != 0 {
                self.map_at_boot(first, part, segment.address, segment.access)?;
            }
        }

        let all = Rights::ALL;
        // The record as words: all its fields are 64-bit numbers.
        let mut record = [0; size_of::<BootRecord>() / 8];
        record[offset_of!(BootRecord, magic) / 8] = MODULE_MAGIC;
        record[offset_of!(BootRecord, archive_length) / 8] = boot.archive.length;
        record[offset_of!(BootRecord, acpi_root) / 8] = boot.acpi_root;
        record[offset_of!(BootRecord, tsc_hz) / 8] = boot.tsc_hz;
        record[offset_of!(BootRecord, tsc_base) / 8] = boot.tsc_base;
        record[offset_of!(BootRecord, ram_total) / 8] = boot.ram_total;
        record[offset_of!(BootRecord, arena_length) / 8] = boot.arena_length;
        record[offset_of!(BootRecord, entry_tsc) / 8] = boot.entry_tsc;
        let lines = Range { base: 0, length: u64::from(boot.interrupts).min(crate::interrupt::LINES as u64) };
        let ports = Range { base: 0, length: 1 << 16 };
        let readable = Rights(Rights::READ.0 | Rights::EXECUTE.0 | Rights::COPY.0);
        let look = Rights(Rights::READ.0 | Rights::COPY.0 | Rights::MANAGE.0);
        record[offset_of!(BootRecord, archive) / 8] =
            self.memory_at_boot(first, MemoryType::Ram, boot.archive, readable)?;
        record[offset_of!(BootRecord, ports) / 8] = self.memory_at_boot(first, MemoryType::Ports, ports, all)?;
        record[offset_of!(BootRecord, interrupts) / 8] =
            self.memory_at_boot(first, MemoryType::Interrupts, lines, all)?;
        record[offset_of!(BootRecord, devices) / 8] =
            self.memory_at_boot(first, MemoryType::Device, boot.devices, all)?;
        record[offset_of!(BootRecord, firmware) / 8] =
            self.memory_at_boot(first, MemoryType::Ram, boot.firmware, look)?;
        record[offset_of!(BootRecord, trace) / 8] = self.memory_at_boot(first, MemoryType::Ram, boot.trace, look)?;
        let mut count = 0;
        // Bound: RAM_RANGES.
        for range in &ram {
            if range.length != 0 {
                record[offset_of!(BootRecord, ram) / 8 + (count & (RAM_RANGES - 1))] =
                    self.memory_at_boot(first, MemoryType::Ram, *range, all)?;
                count += 1;
            }
        }
        record[offset_of!(BootRecord, ram_count) / 8] = count as u64;

        let thread = self.new_thread(first, 0, 0)?;
        record[offset_of!(BootRecord, thread) / 8] = self.install(process, Kind::Thread, thread, all).0;
        let baton = self.create(Kind::Baton, first)?;
        self.set_baton(baton, INIT_PRIORITY, Policy::RoundRobin, DEFAULT_SLICE, 0, 0);
        self.own_baton(thread, baton);

        let page = self.take_frame().ok_or(Error::Exhausted)?;
        self.machine.clear_frame(page);
        let range = Range { base: page.0, length: PAGE_SIZE };
        let record_map = self.map_at_boot(first, range, RECORD_ADDRESS, read_write)?;
        let mut bytes = [0; size_of::<BootRecord>()];
        store(&mut bytes, &record);
        let written = self.machine.write(process.space.get(), RECORD_ADDRESS, &bytes);
        let read_only = PageAccess { bits: access::READ, device: false };
        let protected = self.machine.protect(process.space.get(), RECORD_ADDRESS, 1, read_only, &mut || None);
        let mapping = self.tables.mapping(record_map);
        mapping.access.set(access::READ as u8);
        mapping.allowed.set(access::READ as u8);
        if !written || !protected {
            return Err(Error::BadAddress);
        }

        // As if called with a 16-byte aligned stack: the program's entry is not reached by a call instruction.
        self.tables.thread(thread).context.start(boot.entry, STACK_TOP - 16, RECORD_ADDRESS);
        self.wake(thread);
        Ok(())
    }

    /// Init's process, with everything there is in its quota.
    fn first_process(&self, capacities: &Capacities) -> Result<u32, Error> {
        let quota = [
            capacities.processes,
            capacities.threads,
            capacities.batons,
            capacities.gates,
            capacities.connections,
            capacities.pulses,
            capacities.memories,
            capacities.mappings,
            capacities.frames.saturating_add(capacities.handle_pages),
            255,
        ];
        let root = self.take_frame().ok_or(Error::Exhausted)?;
        let index = self.create(Kind::Process, 0)?;
        let process = self.tables.process(index);
        process.account.reset(&quota);
        process.identity.set(1);
        process.space.set(self.machine.create_space(root));
        process.account.charge(Resource::Pages, 1);
        Ok(index)
    }

    #[inline(never)]
    fn memory_object(&self, owner: u32, kind: MemoryType, range: Range) -> Result<u32, Error> {
        let index = self.create(Kind::Memory, owner)?;
        let memory: &Memory = self.tables.memory(index);
        memory.base.set(range.base);
        memory.length.set(range.length);
        memory.kind.set(kind as u8);
        memory.parent.set(0);
        memory.parts.set(0);
        memory.sibling_next.set(0);
        memory.sibling_previous.set(0);
        memory.mappings.set(0);
        Ok(index)
    }

    /// A Memory with a handle for init; none for an empty range.
    #[inline(never)]
    fn memory_at_boot(&self, owner: u32, kind: MemoryType, range: Range, rights: Rights) -> Result<u64, Error> {
        if range.length == 0 {
            return Ok(Handle::NONE.0);
        }
        let index = self.memory_object(owner, kind, range)?;
        Ok(self.install(self.tables.process(owner), Kind::Memory, index, rights).0)
    }

    /// Map a range for init, whole.
    #[inline(never)]
    fn map_at_boot(&self, owner: u32, range: Range, address: u64, access: u64) -> Result<u32, Error> {
        let memory = self.memory_object(owner, MemoryType::Ram, range)?;
        let record = self.new_mapping(owner, memory, address, 0, range.length / PAGE_SIZE, access, access, 0)?;
        // Bound: the pages of the range.
        while !self.map_piece(record)? {}
        Ok(record)
    }
}

/// Take some bytes from the end of a range that has more.
fn take_from_end(ranges: &mut [Range], length: u64) -> Option<Range> {
    let range = ranges.iter_mut().find(|range| range.length > length)?;
    range.length -= length;
    Some(Range { base: range.base + range.length, length })
}

const _: () = assert!(RAM_RANGES.is_power_of_two() && size_of::<BootRecord>() == 8 * (16 + RAM_RANGES));
