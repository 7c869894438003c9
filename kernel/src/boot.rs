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
use abi::{Error, Handle, PAGE_SIZE, Quota, Rights};

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
}

/// Slice of round robin batons unless they say otherwise, ns.
pub(crate) const DEFAULT_SLICE: u64 = 4_000_000;
/// Priority at which init starts.
const INIT_PRIORITY: u8 = 64;
/// Handle pages of init at the start.
const INIT_HANDLE_PAGES: usize = 4;

impl<M: Machine> Kernel<M> {
    /// Create init. An error means that the arena is too small for it or the machine's ranges make no sense.
    pub(crate) fn create_init(&self, boot: &Boot) -> Result<(), Error> {
        let capacities = &boot.capacities;
        let (first, quota) = self.first_process(capacities)?;
        let process = self.tables.process(first);
        // Bound: a constant.
        for _ in 0..INIT_HANDLE_PAGES {
            self.grow_handles(process)?;
        }
        let generation = process.header.generation.get();
        let reference =
            crate::handle_table::Reference { kind: Kind::Process, object: first, generation, rights: Rights::ALL };
        self.tables.insert_fixed(process, Handle::SELF_PROCESS, reference);
        debug_assert!(quota.processes > 0);

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
        let mut record = BootRecord {
            magic: MODULE_MAGIC,
            archive_length: boot.archive.length,
            acpi_root: boot.acpi_root,
            tsc_hz: boot.tsc_hz,
            tsc_base: boot.tsc_base,
            ram_total: boot.ram_total,
            arena_length: boot.arena_length,
            entry_tsc: boot.entry_tsc,
            ..BootRecord::default()
        };
        let readable = Rights(Rights::READ.0 | Rights::EXECUTE.0 | Rights::COPY.0);
        record.archive = self.memory_at_boot(first, MemoryType::Ram, boot.archive, readable)?;
        // Bound: RAM_RANGES.
        for range in ram.iter().filter(|range| range.length != 0) {
            let handle = self.memory_at_boot(first, MemoryType::Ram, *range, all)?;
            if let Some(place) = record.ram.get_mut(record.ram_count as usize) {
                *place = handle;
                record.ram_count += 1;
            }
        }
        record.ports = self.memory_at_boot(first, MemoryType::Ports, Range { base: 0, length: 1 << 16 }, all)?;
        let lines = Range { base: 0, length: u64::from(boot.interrupts).min(crate::interrupt::LINES as u64) };
        record.interrupts = self.memory_at_boot(first, MemoryType::Interrupts, lines, all)?;
        record.devices = self.memory_at_boot(first, MemoryType::Device, boot.devices, all)?;
        let look = Rights(Rights::READ.0 | Rights::COPY.0 | Rights::MANAGE.0);
        record.firmware = self.memory_at_boot(first, MemoryType::Ram, boot.firmware, look)?;

        let thread = self.new_thread(first, 0, 0)?;
        record.thread = self.install(process, Kind::Thread, thread, all)?;
        let baton = self.create(Kind::Baton, first)?;
        self.set_baton(baton, INIT_PRIORITY, Policy::RoundRobin, DEFAULT_SLICE, 0, 0);
        self.own_baton(thread, baton);

        let page = self.take_frame().ok_or(Error::Exhausted)?;
        self.machine.clear_frame(page);
        let range = Range { base: page.0, length: PAGE_SIZE };
        let record_map = self.map_at_boot(first, range, RECORD_ADDRESS, read_write)?;
        let written = self.machine.write(process.space.get(), RECORD_ADDRESS, &record_bytes(&record));
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
    fn first_process(&self, capacities: &Capacities) -> Result<(u32, Quota), Error> {
        let quota = Quota {
            processes: capacities.processes,
            threads: capacities.threads,
            batons: capacities.batons,
            gates: capacities.gates,
            connections: capacities.connections,
            pulses: capacities.pulses,
            memories: capacities.memories,
            mappings: capacities.mappings,
            pages: capacities.frames.saturating_add(capacities.handle_pages),
            priority: 255,
        };
        let root = self.take_frame().ok_or(Error::Exhausted)?;
        let index = self.create(Kind::Process, 0)?;
        let process = self.tables.process(index);
        process.account.reset(&quota);
        process.identity.set(1);
        process.space.set(self.machine.create_space(root));
        process.account.charge(Resource::Pages, 1);
        Ok((index, quota))
    }

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
    fn memory_at_boot(&self, owner: u32, kind: MemoryType, range: Range, rights: Rights) -> Result<Handle, Error> {
        if range.length == 0 {
            return Ok(Handle::NONE);
        }
        let index = self.memory_object(owner, kind, range)?;
        self.install(self.tables.process(owner), Kind::Memory, index, rights)
    }

    /// Map a range for init, whole.
    fn map_at_boot(&self, owner: u32, range: Range, address: u64, access: u64) -> Result<u32, Error> {
        let memory = self.memory_object(owner, MemoryType::Ram, range)?;
        let record = self.new_mapping(owner, memory, address, 0, range.length / PAGE_SIZE, access, access)?;
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

/// The boot record as it lies in memory: all its fields are 64-bit numbers.
fn record_bytes(record: &BootRecord) -> [u8; size_of::<BootRecord>()] {
    let mut bytes = [0; size_of::<BootRecord>()];
    let head = [record.magic, record.thread.0, record.archive.0, record.archive_length, record.ram_count];
    let tail = [
        record.ports.0,
        record.interrupts.0,
        record.devices.0,
        record.acpi_root,
        record.firmware.0,
        record.tsc_hz,
        record.tsc_base,
        record.ram_total,
        record.arena_length,
        record.entry_tsc,
    ];
    const HEAD: usize = 5;
    const WORDS: usize = HEAD + RAM_RANGES + 10;
    const _: () = assert!(size_of::<BootRecord>() == 8 * WORDS);
    let mut words = [0; WORDS];
    // Bound: the record.
    let places = words.iter_mut();
    for (to, word) in places.zip(head.into_iter().chain(record.ram.iter().map(|handle| handle.0)).chain(tail)) {
        *to = word;
    }
    store(&mut bytes, &words);
    bytes
}
