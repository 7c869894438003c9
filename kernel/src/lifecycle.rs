//! Objects come and go: slots, charges, lists of possessions, references from handles.

use crate::handle_table::{Entry, Reference};
use crate::header::{Pool, tag};
use crate::kernel::Kernel;
use crate::machine::{Frame, Machine};
use crate::process::Process;
use crate::quota::Resource;
use abi::object::Kind;
use abi::{Error, Handle, PAGE_SIZE, Rights};
use core::cell::Cell;

const fn resource(kind: Kind) -> Resource {
    match kind {
        Kind::Process | Kind::Free | Kind::Reserved => Resource::Processes,
        Kind::Thread => Resource::Threads,
        Kind::Baton => Resource::Batons,
        Kind::Gate => Resource::Gates,
        Kind::Connection => Resource::Connections,
        Kind::Pulse => Resource::Pulses,
        Kind::Memory => Resource::Memories,
    }
}

impl<M: Machine> Kernel<M> {
    /// A new object of this kind, charged to `owner`; for a process, whose quota was carved out before, `owner` is its
    /// parent. Alive, linked, and its generation new; the other fields are as the last user left them.
    #[track_caller]
    pub(crate) fn create(&self, kind: Kind, owner: u32) -> Result<u32, Error> {
        let account = &self.tables.process(owner).account;
        if kind != Kind::Process && !account.charge(resource(kind), 1) {
            return Err(Error::QuotaExceeded);
        }
        let pool = self.pool(kind);
        let Some(index) = self.take_slot(pool, |slot| &self.tables.header(kind, slot).next) else {
            if kind != Kind::Process {
                account.release(resource(kind), 1);
            }
            return Err(Error::Exhausted);
        };
        let header = self.tables.header(kind, index);
        header.generation.set(header.generation.get() + 1);
        header.dying.set(false);
        self.possess(kind, index, owner);
        Ok(index)
    }

    /// Link an object into a process's list of possessions.
    pub(crate) fn possess(&self, kind: Kind, index: u32, owner: u32) {
        let header = self.tables.header(kind, index);
        let name = tag(kind, index);
        let first = self.tables.process(owner).possessions.replace(name);
        header.owner.set(owner);
        header.previous.set(0);
        header.next.set(first);
        if first != 0 {
            self.tagged(first).previous.set(name);
        }
    }

    fn tagged(&self, name: u32) -> &crate::header::Header {
        let kind = Kind::from_number((name >> 16) as u8).unwrap_or(Kind::Free);
        self.tables.header(kind, name & 0xffff)
    }

    /// Take an object out of its owner's list.
    pub(crate) fn dispossess(&self, kind: Kind, index: u32) {
        let header = self.tables.header(kind, index);
        let (next, previous) = (header.next.get(), header.previous.get());
        if previous == 0 {
            self.tables.process(header.owner.get()).possessions.set(next);
        } else {
            self.tagged(previous).next.set(next);
        }
        if next != 0 {
            self.tagged(next).previous.set(previous);
        }
    }

    /// A dead object's remains are gone: its slot and its charge come back.
    pub(crate) fn free(&self, kind: Kind, index: u32) {
        let header = self.tables.header(kind, index);
        debug_assert!(!header.alive());
        self.remains.set(self.remains.get() - 1);
        self.dispossess(kind, index);
        let account = &self.tables.process(header.owner.get()).account;
        if kind == Kind::Process {
            account.restore(&self.tables.process(index).account.share(true));
        } else {
            account.release(resource(kind), 1);
        }
        header.dying.set(false);
        if header.generation.get() < u32::MAX - 1 {
            self.pool(kind).give(index, &header.next);
        }
    }

    /// Whether what an entry refers to is still alive (a reserved slot refers to nothing).
    pub(crate) fn refers(&self, reference: &Reference) -> bool {
        match reference.kind {
            Kind::Free => false,
            Kind::Reserved => true,
            kind => self.tables.header(kind, reference.object).generation.get() == reference.generation,
        }
    }

    /// One more handle to an object: connections count them.
    pub(crate) fn count_handle(&self, reference: &Reference) {
        if reference.kind == Kind::Connection && self.refers(reference) {
            let count = &self.tables.connection(reference.object).count;
            count.set(count.get() + 1);
        }
    }

    /// One handle to an object less.
    pub(crate) fn uncount_handle(&self, reference: &Reference) {
        if reference.kind == Kind::Connection && self.refers(reference) {
            let count = &self.tables.connection(reference.object).count;
            count.set(count.get() - 1);
            if count.get() == 0 {
                self.closed(reference.object);
            }
        }
    }

    /// Put a new handle for an object into a table.
    pub(crate) fn install(&self, process: &Process<M>, kind: Kind, object: u32, rights: Rights) -> Handle {
        let generation = self.tables.header(kind, object).generation.get();
        self.install_reference(process, &Reference { kind, object, generation, rights })
    }

    /// Put a copy of a reference into a table. [`Handle::NONE`]: the table is full.
    pub(crate) fn install_reference(&self, process: &Process<M>, reference: &Reference) -> Handle {
        let handle = self.tables.insert(process, reference);
        if !handle.is_none() {
            self.count_handle(reference);
        }
        handle
    }

    /// Empty a slot of a table.
    pub(crate) fn close(&self, process: &Process<M>, entry: &Entry) {
        let reference = entry.reference();
        self.tables.clear(process, entry);
        self.uncount_handle(&reference);
    }

    /// Take a slot of a table: every allocation of the kernel but for pages of handles.
    #[track_caller]
    pub(crate) fn take_slot<'a>(&self, pool: &Pool, link: impl FnOnce(u32) -> &'a Cell<u32>) -> Option<u32> {
        if self.machine.refuses_memory() { None } else { pool.take(link) }
    }

    /// A frame of the arena, uncharged.
    #[track_caller]
    pub(crate) fn take_frame(&self) -> Option<Frame> {
        let index = self.take_slot(&self.frames, |slot| self.tables.frame_link(slot))?;
        Some(Frame(self.frame_base.get() + u64::from(index - 1) * PAGE_SIZE))
    }

    /// Give a frame of the arena back.
    pub(crate) fn give_frame(&self, frame: Frame) {
        let index = ((frame.0 - self.frame_base.get()) / PAGE_SIZE) as u32 + 1;
        self.frames.give(index, self.tables.frame_link(index));
    }

    /// A frame for a page table, charged to a process.
    #[track_caller]
    pub(crate) fn charged_frame(&self, process: &Process<M>) -> Option<Frame> {
        if !process.account.charge(Resource::Pages, 1) {
            return None;
        }
        let frame = self.take_frame();
        if frame.is_none() {
            process.account.release(Resource::Pages, 1);
        }
        frame
    }

    /// Add a page to a process's handle table, charged to it.
    #[track_caller]
    pub(crate) fn grow_handles(&self, process: &Process<M>) -> Result<(), Error> {
        if !process.account.charge(Resource::Pages, 1) {
            return Err(Error::QuotaExceeded);
        }
        let refused = self.machine.refuses_memory();
        let grown = if refused { Err(Error::Exhausted) } else { self.tables.grow(&self.handle_pool, process) };
        grown.inspect_err(|_| process.account.release(Resource::Pages, 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake;

    #[test]
    fn an_objects_slot_whose_generation_would_wrap_is_never_given_out_again() {
        let kernel = fake::kernel();
        let gate = kernel.create(Kind::Gate, 1).unwrap();
        for (last, again) in [(u32::MAX - 4, true), (u32::MAX - 2, false)] {
            kernel.tables.header(Kind::Gate, gate).generation.set(last);
            kernel.destroy(Kind::Gate, gate).unwrap();
            assert_eq!(kernel.create(Kind::Gate, 1).unwrap() == gate, again, "generation {last:#x}");
        }
        // It is charged to nobody, and has no handle.
        let header = kernel.tables.header(Kind::Gate, gate);
        assert!(!header.alive() && !header.dying.get());
        assert_eq!(kernel.remains.get(), 0);
    }
}
