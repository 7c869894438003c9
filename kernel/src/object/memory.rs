//! Methods of a Memory, and the mappings of a process.

use super::{Answer, DONE, Request};
use crate::death::{ENOUGH_PAGES, LARGE_PAGES};
use crate::handle_table::Reference;
use crate::header::DEPTH;
use crate::kernel::Kernel;
use crate::machine::{Machine, PageAccess};
use crate::memory::Memory;
use crate::process::Process;
use abi::object::{Kind, MemoryType, access, memory as method};
use abi::{Error, PAGE_SIZE, Rights, USER_END};

const ACCESS: u64 = access::READ | access::WRITE | access::EXECUTE;
/// Pages that a record has at most if MAP extends it: what goes by records then stays short (a fork maps and protects each page).
const EXTENDED: u64 = LARGE_PAGES / 4;
/// Records dealt with in one piece.
const RECORDS: u32 = 6;
/// The same where each is made once more, and protected.
const SHARED: u32 = 2;
/// The same where each may be cut twice and joined.
const PROTECTED: u32 = 3;

/// A page-aligned, not empty range of user addresses: start and end.
#[inline(always)]
fn user_range(address: u64, length: u64) -> Result<(u64, u64), Error> {
    if is_user_range(address, length) { Ok((address, address + length)) } else { Err(Error::BadArgument) }
}

#[inline(never)]
fn is_user_range(address: u64, length: u64) -> bool {
    let end = address.saturating_add(length);
    end <= USER_END && length != 0 && (address | length) & (PAGE_SIZE - 1) == 0
}

/// Most that a handle with these rights lets a mapping do.
fn allowed(rights: Rights) -> u64 {
    let one = |right: Rights, bit: u64| if rights.contains(right) { bit } else { 0 };
    one(Rights::READ, access::READ) | one(Rights::WRITE, access::WRITE) | one(Rights::EXECUTE, access::EXECUTE)
}

impl<M: Machine> Kernel<M> {
    #[inline(never)]
    pub(super) fn memory_method(&self, request: Request<'_, M>) -> Answer {
        let memory = self.tables.memory(request.object());
        match request.method() {
            method::INFORMATION => {
                let base = if request.rights().contains(Rights::MANAGE) { memory.base.get() } else { 0 };
                request.answer(memory.length.get(), u64::from(memory.kind.get()), base, 0)
            }
            method::DERIVE => self.derive(request),
            method::PORT_READ => {
                request.need(Rights::READ)?;
                let [offset, bytes, ..] = request.words();
                let port = self.port(request, offset, bytes)?;
                request.word(u64::from(self.machine.port_read(port, bytes as u8)))
            }
            method::PORT_WRITE => {
                request.need(Rights::WRITE)?;
                let [offset, bytes, value, _] = request.words();
                let port = self.port(request, offset, bytes)?;
                self.machine.port_write(port, bytes as u8, value as u32);
                DONE
            }
            method::PORT_WRITE_BYTES => {
                request.need(Rights::WRITE)?;
                let [offset, count, low, high] = request.words();
                let port = self.port(request, offset, 1)?;
                if count > 16 {
                    return Err(Error::BadArgument);
                }
                let bytes = u128::from(low) | u128::from(high) << 64;
                // Bound: 16 bytes.
                for at in 0..count {
                    self.machine.port_write(port, 1, u32::from((bytes >> (at * 8)) as u8));
                }
                DONE
            }
            method::TRACE => {
                request.need(Rights::MANAGE)?;
                if memory.base.get() != self.trace_base {
                    return Err(Error::WrongKind);
                }
                request.word(self.cpu.classes.replace(request.words()[0] as u32).into())
            }
            _ => Err(Error::Unsupported),
        }
    }

    /// The port at an offset, if so many bytes there are this Memory's, and not the kernel's own.
    fn port(&self, request: Request<'_, M>, offset: u64, bytes: u64) -> Result<u16, Error> {
        let memory = self.tables.memory(request.object());
        if memory.kind.get() != MemoryType::Ports as u8 {
            return Err(Error::WrongKind);
        }
        let end = offset.checked_add(bytes).ok_or(Error::BadArgument)?;
        if !matches!(bytes, 1 | 2 | 4) || end > memory.length.get() {
            return Err(Error::BadArgument);
        }
        let port = memory.base.get() + offset;
        // Bound: KEPT_PORTS.
        let kept = self.kept_ports.iter().any(|range| {
            let first = u64::from(range.first);
            port < first + u64::from(range.count) && port + bytes > first
        });
        if kept || port + bytes > 1 << 16 { Err(Error::NoRight) } else { Ok(port as u16) }
    }

    fn derive(&self, request: Request<'_, M>) -> Answer {
        request.need(Rights::COPY)?;
        let [payer, offset, length, rights] = request.words();
        let payer = self.named(request, payer, Kind::Process, Rights::MANAGE)?;
        let whole = self.tables.memory(request.object());
        let paged = whole.kind.get() <= MemoryType::Device as u8;
        let fits = offset.checked_add(length).is_some_and(|end| end <= whole.length.get());
        if length == 0 || !fits || (paged && (offset | length) & (PAGE_SIZE - 1) != 0) {
            return Err(Error::BadArgument);
        }
        let depth = whole.depth.get() + 1;
        if depth == DEPTH {
            return Err(Error::QuotaExceeded);
        }
        let index = self.create(Kind::Memory, payer)?;
        let part = self.tables.memory(index);
        part.depth.set(depth);
        part.base.set(whole.base.get() + offset);
        part.length.set(length);
        part.kind.set(whole.kind.get());
        part.parts.set(0);
        part.mappings.set(0);
        part.parent.set(request.object());
        part.sibling_previous.set(0);
        let next = whole.parts.replace(index);
        part.sibling_next.set(next);
        if next != 0 {
            self.tables.memory(next).sibling_previous.set(index);
        }
        self.hand_out(request, Kind::Memory, index, request.rights().intersect(Rights(rights as u32)))
    }

    /// A record, linked, of which nothing is mapped yet. `behind`: the process's last record before it, or 0 if that is not known.
    #[allow(clippy::too_many_arguments)]
    #[track_caller]
    pub(crate) fn new_mapping(
        &self,
        process: u32,
        memory: u32,
        address: u64,
        offset: u64,
        pages: u64,
        access: u64,
        most: u64,
        behind: u32,
    ) -> Result<u32, Error> {
        let id = self.take_mapping(self.tables.process(process))?;
        let record = self.tables.mapping(id);
        record.memory.set(memory);
        record.process.set(process);
        record.pages.set(pages);
        record.offset.set(offset);
        record.done.set(0);
        record.failed.set(false);
        record.access.set(access as u8);
        record.allowed.set(most as u8);
        self.tables.link_mapping(id, address, behind);
        Ok(id)
    }

    /// Map the next part of a record, at most a large page's worth. True: it is complete.
    pub(crate) fn map_piece(&self, id: u32) -> Result<bool, Error> {
        let record = self.tables.mapping(id);
        let done = record.done.get();
        if done >= record.pages.get() {
            return Ok(true);
        }
        let process = self.tables.process(record.process.get());
        let memory = self.tables.memory(record.memory.get());
        let address = record.address() + done * PAGE_SIZE;
        // Up to the next boundary of a large page.
        let room = LARGE_PAGES - ((address / PAGE_SIZE) & (LARGE_PAGES - 1));
        let pages = room.min(record.pages.get() - done);
        let offset = record.offset.get() + done * PAGE_SIZE;
        self.map_part(process, memory, address, offset, pages, record.access.get().into())?;
        record.done.set(done + pages);
        Ok(done + pages == record.pages.get())
    }

    /// Map pages of a Memory that do not go beyond a large page's place: all or none of them.
    #[inline(never)]
    fn map_part(
        &self,
        process: &Process<M>,
        memory: &Memory,
        address: u64,
        offset: u64,
        pages: u64,
        bits: u64,
    ) -> Result<(), Error> {
        let access = PageAccess { bits, device: memory.kind.get() == MemoryType::Device as u8 };
        let supply = &mut || self.charged_frame(process);
        let mapped = self.machine.map(process.space.get(), address, memory.base.get() + offset, pages, access, supply);
        if mapped { Ok(()) } else { Err(Error::QuotaExceeded) }
    }

    /// Remove a piece of a record whose mapping failed half-way; `More` until nothing of it is left, then the reason.
    fn undo_mapping(&self, id: u32) -> Error {
        let record = self.tables.mapping(id);
        record.failed.set(true);
        self.unmap_piece(id);
        if record.node.linked() { Error::More } else { Error::QuotaExceeded }
    }

    #[inline(never)]
    pub(super) fn map(&self, request: Request<'_, M>) -> Answer {
        request.need(Rights::MANAGE)?;
        let [handle, place, offset, length] = request.words();
        let entry = self.tables.slot(self.tables.process(request.caller.process.get()), handle);
        let Reference { kind, object: memory_index, generation, rights } = entry.reference();
        let memory = self.tables.memory(memory_index);
        if entry.key.get() != handle || kind != Kind::Memory || memory.header.generation.get() != generation {
            // What is wrong with it: it has another kind, or names nothing.
            self.named(request, handle, Kind::Memory, Rights::NONE)?;
            return Err(Error::BadHandle);
        }
        let wanted = place & (PAGE_SIZE - 1);
        let (start, end) = user_range(place & !(PAGE_SIZE - 1), length)?;
        let fits = offset <= memory.length.get() && length <= memory.length.get() - offset;
        if wanted & !ACCESS != 0 || !fits || offset & (PAGE_SIZE - 1) != 0 {
            return Err(Error::BadArgument);
        }
        if memory.kind.get() > MemoryType::Device as u8 {
            return Err(Error::WrongKind);
        }
        let most = allowed(rights);
        if wanted & !most != 0 {
            return Err(Error::NoRight);
        }
        let process = self.tables.process(request.object());
        let (before, pages) = (self.tables.mapping_before(process, end), length / PAGE_SIZE);
        let previous = self.tables.mapping(before);
        // More of the record before it; in one piece, so all or none of that.
        if (start ^ (end - 1)) < LARGE_PAGES * PAGE_SIZE
            && previous.pages.get() + pages <= EXTENDED
            && previous.goes_on(memory_index, start, offset, wanted as u8, most as u8)
        {
            self.map_part(process, memory, start, offset, pages, wanted)?;
            previous.pages.set(previous.pages.get() + pages);
            previous.done.set(previous.pages.get());
            return DONE;
        }
        let found = if previous.end() <= start { 0 } else { self.tables.mapping_from(process, start) };
        let record = self.tables.mapping(found);
        let goes_on = found != 0
            && record.address() == start
            && (record.failed.get()
                || (record.done.get() < record.pages.get()
                    && record.pages.get() == pages
                    && u64::from(record.access.get()) == wanted))
            && record.memory.get() == memory_index
            && record.offset.get() == offset;
        let id = if goes_on {
            found
        } else if found != 0 {
            return Err(Error::Busy);
        } else {
            self.new_mapping(request.object(), memory_index, start, offset, pages, wanted, most, before)?
        };
        if self.tables.mapping(id).failed.get() {
            return Err(self.undo_mapping(id));
        }
        match self.map_piece(id) {
            Ok(true) => DONE,
            Ok(false) => Err(Error::More),
            Err(_) => Err(self.undo_mapping(id)),
        }
    }

    /// Cut a record in two at an address inside it.
    fn split(&self, id: u32, at: u64) -> Result<u32, Error> {
        let record = self.tables.mapping(id);
        let head = (at - record.address()) / PAGE_SIZE;
        let tail = record.pages.get() - head;
        let offset = record.offset.get() + head * PAGE_SIZE;
        let access = (u64::from(record.access.get()), u64::from(record.allowed.get()));
        let new =
            self.new_mapping(record.process.get(), record.memory.get(), at, offset, tail, access.0, access.1, id)?;
        self.tables.mapping(new).done.set(tail);
        record.pages.set(head);
        record.done.set(head);
        Ok(new)
    }

    /// Make the records of a range end at its ends. The record that starts at or after `start`, 0: none.
    fn isolate(&self, process: &Process<M>, start: u64, end: u64) -> Result<u32, Error> {
        let mut id = self.tables.mapping_from(process, start);
        if id == 0 || self.tables.mapping(id).address() >= end {
            return Ok(0);
        }
        let record = self.tables.mapping(id);
        if record.done.get() < record.pages.get() || record.failed.get() {
            // A mapping that was never finished: it goes as a whole.
            self.undo_mapping(id);
            return Err(Error::More);
        }
        if self.tables.mapping(id).address() < start {
            id = self.split(id, start)?;
        }
        if self.tables.mapping(id).end() > end {
            self.split(id, end)?;
        }
        Ok(id)
    }

    pub(super) fn unmap(&self, request: Request<'_, M>) -> Answer {
        let (start, end) = user_range(request.words()[0], request.words()[1])?;
        let process = self.tables.process(request.object());
        let mut pages = 0;
        // Bound: RECORDS; ENOUGH_PAGES and a large page's worth of pages.
        for _ in 0..RECORDS {
            let id = self.isolate(process, start, end)?;
            if id == 0 {
                return DONE;
            }
            pages += self.unmap_split(id)?;
            if pages >= ENOUGH_PAGES {
                break;
            }
        }
        Err(Error::More)
    }

    /// Unmap a record's last part like `unmap_piece`; here a large page may have to be split, which can fail.
    fn unmap_split(&self, id: u32) -> Result<u64, Error> {
        let record = self.tables.mapping(id);
        let process = self.tables.process(record.process.get());
        let (start, end) = (record.address(), record.end());
        let from = ((end - 1) & !(LARGE_PAGES * PAGE_SIZE - 1)).max(start);
        let supply = &mut || self.charged_frame(process);
        if !self.machine.unmap(process.space.get(), from, (end - from) / PAGE_SIZE, supply) {
            return Err(Error::QuotaExceeded);
        }
        record.pages.set((from - start) / PAGE_SIZE);
        record.done.set(record.pages.get());
        if from == start {
            self.drop_mapping(id);
        }
        Ok((end - from) / PAGE_SIZE)
    }

    fn device(&self, memory: u32) -> bool {
        self.tables.memory(memory).kind.get() == MemoryType::Device as u8
    }

    /// Change what a whole record permits.
    fn set_access(&self, id: u32, bits: u64) -> Result<(), Error> {
        let record = self.tables.mapping(id);
        let process = self.tables.process(record.process.get());
        let access = PageAccess { bits, device: self.device(record.memory.get()) };
        let supply = &mut || self.charged_frame(process);
        if !self.machine.protect(process.space.get(), record.address(), record.pages.get(), access, supply) {
            return Err(Error::QuotaExceeded);
        }
        record.access.set(bits as u8);
        Ok(())
    }

    pub(super) fn protect(&self, request: Request<'_, M>) -> Answer {
        let bits = request.words()[0] & (PAGE_SIZE - 1);
        let (mut at, end) = user_range(request.words()[0] & !(PAGE_SIZE - 1), request.words()[1])?;
        if bits & !ACCESS != 0 {
            return Err(Error::BadArgument);
        }
        let process = self.tables.process(request.object());
        let mut pages = 0;
        // Bound: PROTECTED, changed or passed over because they need no change, or a large page's worth of pages.
        for _ in 0..PROTECTED {
            let found = self.tables.mapping_from(process, at);
            let record = self.tables.mapping(found);
            if found == 0 || at >= end || record.address() >= end {
                return DONE;
            }
            if u64::from(record.access.get()) == bits {
                at = record.end();
                continue;
            }
            if bits & !u64::from(record.allowed.get()) != 0 {
                return Err(Error::NoRight);
            }
            // Pieces end where large pages do, so that none is split for that.
            let start = record.address().max(at);
            let stop = record.end().min(end).min((start + LARGE_PAGES * PAGE_SIZE) & !(LARGE_PAGES * PAGE_SIZE - 1));
            pages += (stop - start) / PAGE_SIZE;
            if pages > LARGE_PAGES {
                break;
            }
            let id = self.isolate(process, start, stop)?;
            self.set_access(id, bits)?;
            at = stop;
            self.join_previous(process, id);
        }
        if at >= end {
            return DONE;
        }
        request.more(at | bits, end - at)
    }

    /// If a record goes on where the one before it ends, they become one: what is changed piece by piece stays one record.
    fn join_previous(&self, process: &Process<M>, id: u32) {
        let record = self.tables.mapping(id);
        let before = match record.address().checked_sub(PAGE_SIZE) {
            Some(address) => self.tables.mapping_from(process, address),
            None => id,
        };
        let previous = self.tables.mapping(before);
        let (memory, offset) = (record.memory.get(), record.offset.get());
        if before != id && previous.goes_on(memory, record.address(), offset, record.access.get(), record.allowed.get())
        {
            let pages = previous.pages.get() + record.pages.get();
            self.drop_mapping(id);
            previous.pages.set(pages);
            previous.done.set(pages);
        }
    }

    pub(super) fn share_range(&self, request: Request<'_, M>) -> Answer {
        let [source, address, length, _] = request.words();
        let source = self.tables.process(self.named(request, source, Kind::Process, Rights::MANAGE)?);
        let (mut at, end) = user_range(address, length)?;
        let keep = request.option() & 1 == 1;
        let (process, mut pages) = (self.tables.process(request.object()), LARGE_PAGES);
        // Bound: SHARED, and their pages.
        for _ in 0..SHARED {
            let found = self.tables.mapping_from(source, at);
            // A record may go on behind the end of the range.
            if found == 0 || at >= end || self.tables.mapping(found).address() >= end {
                return DONE;
            }
            let start = self.tables.mapping(found).address().max(at);
            let mut stop = self.tables.mapping(found).end().min(end);
            if stop - start > pages * PAGE_SIZE {
                // Pieces end where large pages do; the first is always one.
                stop = (start + pages * PAGE_SIZE) & !(LARGE_PAGES * PAGE_SIZE - 1);
                if stop <= start {
                    break;
                }
            }
            if let Err(error) = self.share_record((source, found), process, request.object(), start, stop, keep) {
                if at == address {
                    return Err(error);
                }
                // Said when it is asked for again, so that the asker knows what was done.
                break;
            }
            pages -= (stop - start) / PAGE_SIZE;
            at = stop;
        }
        if at >= end {
            return DONE;
        }
        request.more(at, 0)
    }

    /// Map `start..stop`, which lies in this record of `source`, in another process too.
    fn share_record(
        &self,
        (source, record): (&Process<M>, u32),
        process: &Process<M>,
        index: u32,
        start: u64,
        stop: u64,
        keep: bool,
    ) -> Result<(), Error> {
        let taken = self.tables.mapping_from(process, start);
        if taken != 0 && self.tables.mapping(taken).address() < stop {
            return Err(Error::Busy);
        }
        let mut id = record;
        let taken = if keep { 0 } else { u64::from(self.tables.mapping(id).access.get()) & access::WRITE };
        if taken != 0 {
            id = self.isolate(source, start, stop)?;
            if id == 0 {
                return Ok(());
            }
        }
        let record = self.tables.mapping(id);
        let offset = record.offset.get() + (start - record.address());
        let (bits, most) = (u64::from(record.access.get()) & !taken, u64::from(record.allowed.get()));
        let new =
            self.new_mapping(index, record.memory.get(), start, offset, (stop - start) / PAGE_SIZE, bits, most, 0)?;
        // Bound: the pages, a large page's worth at a time.
        let shared = loop {
            match self.map_piece(new) {
                Ok(false) => {}
                Ok(true) if taken != 0 => break self.set_access(id, bits),
                shared => break shared.map(drop),
            }
        };
        if shared.is_err() {
            // Bound: two pieces.
            while self.undo_mapping(new) == Error::More {}
        }
        shared
    }
}
