//! All kernel objects: arrays of the largest size, of which only a part decided at boot has memory behind it.
//!
//! The machine places [`Tables`] in a fixed window of addresses: zeroed memory up to what [`Capacities`] say, one
//! read-only page of zeros behind the rest of each array. Only indices that programs made up are ever read there, and a
//! zero compares equal to nothing: index 0 is a dummy in every table, generation 0 is never alive, handle 0 never valid.
//! Sizes are powers of two, so that an index is made safe by a mask, which no speculation gets around.

use crate::baton::Baton;
use crate::connection::Connection;
use crate::gate::Gate;
use crate::handle_table::{Entry, PAGE_ENTRIES};
use crate::header::Header;
use crate::interrupt::{LINES, Line};
use crate::machine::Machine;
use crate::mapping::Mapping;
use crate::memory::Memory;
use crate::process::Process;
use crate::pulse::Pulse;
use crate::thread::Thread;
use crate::tree::{Forest, Node};
use abi::object::Kind;
use core::cell::Cell;
use core::mem::offset_of;

/// Slots of each object table: the kernel's own unit tests build real tables on the host's stack, so theirs are small.
pub const OBJECTS: usize = if cfg!(test) { 64 } else { 1 << 16 };
/// Pages of handles.
pub const HANDLE_PAGES: usize = if cfg!(test) { 32 } else { 1 << 17 };
/// Their entries.
pub(crate) const ENTRIES: usize = HANDLE_PAGES * PAGE_ENTRIES as usize;
const ENTRY_PAGE: usize = size_of::<Entry>() * PAGE_ENTRIES as usize;
/// Mapping records.
pub const MAPPINGS: usize = if cfg!(test) { 128 } else { 1 << 20 };
/// Frames of the arena.
pub const FRAMES: usize = if cfg!(test) { 256 } else { 1 << 20 };

/// Every kernel object. All bytes zero is the valid initial content.
#[repr(C, align(4096))]
pub struct Tables<M: Machine> {
    pub(crate) threads: [Thread<M>; OBJECTS],
    pub(crate) entries: [Entry; ENTRIES],
    pub(crate) processes: [Process<M>; OBJECTS],
    pub(crate) batons: [Baton; OBJECTS],
    pub(crate) gates: [Gate; OBJECTS],
    pub(crate) connections: [Connection; OBJECTS],
    pub(crate) pulses: [Pulse; OBJECTS],
    pub(crate) memories: [Memory; OBJECTS],
    pub(crate) mappings: [Mapping; MAPPINGS],
    pub(crate) frames: [Cell<u32>; FRAMES],
    pub(crate) lines: [Line; LINES],
}

impl<M: Machine> core::fmt::Debug for Tables<M> {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.debug_struct("Tables").finish_non_exhaustive()
    }
}

/// What is kept in order; see [`crate::tree`]. Numbered so that number and kind of a member (bits 16 on of its id) add up to
/// different sums: one jump finds its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Ordered {
    /// What waits at a gate, by priority: see [`Waiter`](crate::gate::Waiter).
    Waiters = 0,
    /// The alarms of a CPU, by time: see [`AlarmOf`](crate::alarm::AlarmOf).
    Alarms = 4,
    /// The connections of a gate, by badge.
    Connections = 8,
    /// The mapping records of a space, by address.
    Mappings = 9,
}

/// The members of an ordered set, by their ids in it.
pub(crate) struct Members<'a, M: Machine>(pub(crate) &'a Tables<M>, pub(crate) Ordered);

impl<M: Machine> Clone for Members<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: Machine> Copy for Members<'_, M> {}

impl<'a, M: Machine> Forest<'a> for Members<'a, M> {
    fn node(self, id: u32) -> &'a Node {
        let tables = self.0;
        match self.1 as u32 + (id >> 16) {
            0 | 3 => &tables.thread(id).queue,
            1 => &tables.pulses[id as usize & (OBJECTS - 1)].queue,
            2 => &tables.connection(id).queue,
            4 => &tables.thread(id).alarm,
            5 => &tables.pulses[id as usize & (OBJECTS - 1)].alarm,
            6 => &tables.baton(id).alarm,
            7 => &tables.line(id).alarm,
            8 => &tables.connection(id).set,
            _ => &tables.mapping(id).node,
        }
    }
}

/// How many slots of each table have memory behind them (slot 0, the dummy, included). At most the table's size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capacities {
    /// Threads.
    pub threads: u32,
    /// Pages of 64 handles.
    pub handle_pages: u32,
    /// Processes.
    pub processes: u32,
    /// Batons.
    pub batons: u32,
    /// Gates.
    pub gates: u32,
    /// Connections.
    pub connections: u32,
    /// Pulses.
    pub pulses: u32,
    /// Memory objects.
    pub memories: u32,
    /// Mapping records.
    pub mappings: u32,
    /// Frames for page tables; they are outside the tables, this sizes the table that chains free ones.
    pub frames: u32,
}

/// Tables in [`Tables`].
pub const TABLES: usize = 11;

/// A part of [`Tables`] that needs memory: byte offset and length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Region {
    /// Bytes from the start of the tables to the start of this table.
    pub offset: usize,
    /// Bytes that need memory. What lies between here and the next table's offset must read as zero.
    pub length: usize,
}

impl Capacities {
    /// A sensible division of an arena of so many bytes. The tables' regions and `frames` pages together fit into it
    /// (each region rounded up to whole pages).
    #[must_use]
    pub fn for_arena<M: Machine>(bytes: u64) -> Self {
        // Shares in 1/256 of the arena.
        let count = |share: u64, size: usize, limit: usize| {
            let wanted = bytes * share / 256 / size as u64;
            wanted.max(2).min(limit as u64) as u32
        };
        let mut capacities = Self {
            threads: count(24, size_of::<Thread<M>>(), OBJECTS),
            handle_pages: count(40, ENTRY_PAGE, HANDLE_PAGES),
            processes: count(12, size_of::<Process<M>>(), OBJECTS),
            batons: count(6, size_of::<Baton>(), OBJECTS),
            gates: count(5, size_of::<Gate>(), OBJECTS),
            connections: count(20, size_of::<Connection>(), OBJECTS),
            pulses: count(6, size_of::<Pulse>(), OBJECTS),
            memories: count(16, size_of::<Memory>(), OBJECTS),
            mappings: count(48, size_of::<Mapping>(), MAPPINGS),
            frames: 2,
        };
        let page = abi::PAGE_SIZE as usize;
        let tables: usize =
            Tables::<M>::regions(&capacities).iter().map(|region| region.length.next_multiple_of(page)).sum();
        // Each frame needs its page and four bytes of chain.
        let left = bytes.saturating_sub(tables as u64 + abi::PAGE_SIZE);
        capacities.frames = (left / (abi::PAGE_SIZE + 4)).max(2).min(FRAMES as u64) as u32;
        capacities
    }
}

impl<M: Machine> Tables<M> {
    /// Where the context is in a slot of the first table, the threads.
    pub const CONTEXT_OFFSET: usize = offset_of!(Thread<M>, context);

    /// What needs memory, in ascending order of offset.
    #[must_use]
    pub fn regions(capacities: &Capacities) -> [Region; TABLES] {
        let region = |offset, count: u32, size| Region { offset, length: count as usize * size };
        [
            region(offset_of!(Self, threads), capacities.threads, size_of::<Thread<M>>()),
            region(offset_of!(Self, entries), capacities.handle_pages, ENTRY_PAGE),
            region(offset_of!(Self, processes), capacities.processes, size_of::<Process<M>>()),
            region(offset_of!(Self, batons), capacities.batons, size_of::<Baton>()),
            region(offset_of!(Self, gates), capacities.gates, size_of::<Gate>()),
            region(offset_of!(Self, connections), capacities.connections, size_of::<Connection>()),
            region(offset_of!(Self, pulses), capacities.pulses, size_of::<Pulse>()),
            region(offset_of!(Self, memories), capacities.memories, size_of::<Memory>()),
            region(offset_of!(Self, mappings), capacities.mappings, size_of::<Mapping>()),
            region(offset_of!(Self, frames), capacities.frames, size_of::<u32>()),
            region(offset_of!(Self, lines), LINES as u32, size_of::<Line>()),
        ]
    }

    #[inline(always)]
    pub(crate) fn thread(&self, index: u32) -> &Thread<M> {
        &self.threads[index as usize & (OBJECTS - 1)]
    }

    #[inline(always)]
    pub(crate) fn process(&self, index: u32) -> &Process<M> {
        &self.processes[index as usize & (OBJECTS - 1)]
    }

    #[inline(always)]
    pub(crate) fn baton(&self, index: u32) -> &Baton {
        &self.batons[index as usize & (OBJECTS - 1)]
    }

    #[inline(always)]
    pub(crate) fn gate(&self, index: u32) -> &Gate {
        &self.gates[index as usize & (OBJECTS - 1)]
    }

    #[inline(always)]
    pub(crate) fn connection(&self, index: u32) -> &Connection {
        &self.connections[index as usize & (OBJECTS - 1)]
    }

    #[inline(always)]
    pub(crate) fn pulse(&self, index: u32) -> &Pulse {
        &self.pulses[index as usize & (OBJECTS - 1)]
    }

    #[inline(always)]
    pub(crate) fn memory(&self, index: u32) -> &Memory {
        &self.memories[index as usize & (OBJECTS - 1)]
    }

    #[inline(always)]
    pub(crate) fn mapping(&self, index: u32) -> &Mapping {
        &self.mappings[index as usize & (MAPPINGS - 1)]
    }

    #[inline(always)]
    pub(crate) fn frame_link(&self, index: u32) -> &Cell<u32> {
        &self.frames[index as usize & (FRAMES - 1)]
    }

    pub(crate) fn line(&self, line: u32) -> &Line {
        &self.lines[line as usize & (LINES - 1)]
    }

    /// The members of a set.
    #[inline(always)]
    pub(crate) fn members(&self, of: Ordered) -> Members<'_, M> {
        Members(self, of)
    }

    /// The header of any object.
    #[inline(never)]
    pub(crate) fn header(&self, kind: Kind, index: u32) -> &Header {
        self.header_at_once(kind, index)
    }

    /// As [`Tables::header`], where it matters how long it takes.
    #[inline(always)]
    fn header_at_once(&self, kind: Kind, index: u32) -> &Header {
        match kind {
            Kind::Process => &self.process(index).header,
            Kind::Thread => &self.thread(index).header,
            Kind::Baton => &self.baton(index).header,
            Kind::Gate => &self.gate(index).header,
            Kind::Connection => &self.connection(index).header,
            Kind::Pulse => &self.pulse(index).header,
            // Nothing else has objects; the dummy stands in.
            Kind::Memory | Kind::Free | Kind::Reserved => &self.memory(index).header,
        }
    }

    /// Whether what a used entry names is still alive (a reserved slot names the dummy of no kind, which never dies).
    #[inline(never)]
    pub(crate) fn names(&self, entry: &Entry) -> bool {
        self.names_at_once(entry)
    }

    /// As [`Tables::names`], where it matters how long it takes.
    #[inline(always)]
    pub(crate) fn names_at_once(&self, entry: &Entry) -> bool {
        let header = self.header_at_once(entry.kind.get(), entry.object());
        header.generation.get() == entry.object_generation.get()
    }

    /// The gate that a connection's or pulse's key names, if it is still alive.
    pub(crate) fn gate_of(&self, key: u64) -> Option<(u32, &Gate)> {
        let index = key as u32 & 0xffff;
        let gate = self.gate(index);
        (index != 0 && gate.word.get() >> 32 == key >> 32 && gate.header.alive()).then_some((index, gate))
    }
}
