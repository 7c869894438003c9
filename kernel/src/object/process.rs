//! Methods of a process: what is created in it, its mappings, its handle table, its quota.

use super::{Answer, DONE, Request};
use crate::bytes::{store, word};
use crate::death::SCAN;
use crate::handle_table::{DIRECTORY, PAGE_ENTRIES, Reference};
use crate::header::DEPTH;
use crate::kernel::Kernel;
use crate::machine::{Context, Machine};
use crate::process::Teardown;
use crate::quota::{RESOURCES, Resource, Share};
use crate::thread::Thread;
use abi::object::{Kind, process as method};
use abi::thread::Policy;
use abi::{Error, Handle, PAGE_SIZE, Quota, Rights};

/// Handle-table pages added in one piece.
const GROW_PIECE: u32 = 2;
/// Entries copied in one piece.
const COPY_PIECE: u64 = 64;

/// A quota as words: pairs of 32-bit numbers.
fn quota_words(share: &Share) -> [u64; size_of::<Quota>() / 8] {
    let mut words = [0; size_of::<Quota>() / 8];
    // Bound: the resources.
    for (word, pair) in words.iter_mut().zip(share.as_chunks::<2>().0) {
        *word = u64::from(pair[0]) | u64::from(pair[1]) << 32;
    }
    words
}

impl<M: Machine> Kernel<M> {
    /// What a page fault waits for comes first.
    #[inline(never)]
    pub(super) fn process_method(&self, request: Request<'_, M>) -> Answer {
        if request.method() == method::MAP { self.map(request) } else { self.rarer_process_method(request) }
    }

    #[inline(never)]
    fn rarer_process_method(&self, request: Request<'_, M>) -> Answer {
        match request.method() {
            method::IDENTITY => return request.word(self.tables.process(request.object()).identity.get()),
            _ => request.need(Rights::MANAGE)?,
        }
        let [first, second, ..] = request.words();
        let process = self.tables.process(request.object());
        let caller = self.tables.process(request.caller.process.get());
        match request.method() {
            method::CREATE_PROCESS => self.create_process(request),
            method::CREATE_THREAD => {
                let connection = self.named_or_none(request, first, Kind::Connection, Rights::SEND)?;
                let generation = self.tables.connection(connection).header.generation.get();
                let thread = self.new_thread(request.object(), connection, generation)?;
                self.hand_out(request, Kind::Thread, thread, Rights::ALL)
            }
            method::CREATE_BATON => self.create_baton(request),
            method::CREATE_GATE => self.create_gate(request),
            method::CREATE_PULSE => self.create_pulse(request),
            method::UNMAP => self.unmap(request),
            method::PROTECT => self.protect(request),
            method::SHARE_RANGE => self.share_range(request),
            method::GROW_HANDLES => {
                if first > (DIRECTORY as u64) * u64::from(PAGE_ENTRIES) {
                    return Err(Error::BadArgument);
                }
                let mut piece = 0;
                // Bound: GROW_PIECE.
                while u64::from(process.handle_pages.get() * PAGE_ENTRIES) < first {
                    if piece == GROW_PIECE {
                        return Err(Error::More);
                    }
                    self.grow_handles(process)?;
                    piece += 1;
                }
                DONE
            }
            method::RESERVE | method::CLOSE => {
                if request.method() == method::CLOSE {
                    self.close(process, self.tables.entry(process, Handle(first))?);
                    if request.option() & 1 == 0 {
                        return DONE;
                    }
                }
                let slot = Reference { kind: Kind::Reserved, object: 0, generation: 0, rights: Rights::NONE };
                request.handle(self.tables.insert(process, &slot))
            }
            method::DUPLICATE => {
                let reference = self.copyable(request, first, second)?;
                request.handle(self.install_reference(caller, &reference))
            }
            method::GIVE => {
                let reference = self.copyable(request, first, second)?;
                request.handle(self.install_reference(process, &reference))
            }
            method::COPY_TABLE => self.copy_table(request),
            method::COPY_ENTRY => {
                let source = self.tables.process(self.named(request, first, Kind::Process, Rights::MANAGE)?);
                let entry = self.tables.entry(source, Handle(second))?;
                self.copy_entry(request.object(), entry)?;
                DONE
            }
            method::SET_INHERIT => {
                self.tables.entry(process, Handle(first))?.inherit.set(second != 0);
                DONE
            }
            method::DESTROY => self.destroy_handle(request),
            method::USAGE => {
                let mut bytes = [0; size_of::<abi::quota::Usage>()];
                store(&mut bytes, &quota_words(&process.account.share(true)));
                let used = bytes.get_mut(size_of::<Quota>()..).unwrap_or_default();
                store(used, &quota_words(&process.account.share(false)));
                self.give_bytes(request.caller, &bytes)?;
                DONE
            }
            method::SET_QUOTA => self.set_quota(request),
            method::SYSTEM => {
                let used = u64::from(self.frames.used()) * PAGE_SIZE;
                let objects: u64 = self.pools.iter().map(|pool| u64::from(pool.used())).sum();
                request.answer(used + objects * 256, self.arena_total, self.ram_total, self.cpu.idle.get())
            }
            method::NEXT_THREAD => self.next_thread(request),
            _ => Err(Error::Unsupported),
        }
    }

    fn next_thread(&self, request: Request<'_, M>) -> Answer {
        let end = self.pool(Kind::Thread).high_water();
        let start = request.words()[0].min(u64::from(end)) as u32;
        let stop = end.min(start.saturating_add(1 + SCAN));
        // Bound: SCAN.
        for slot in start + 1..stop {
            let thread = self.tables.thread(slot);
            if thread.header.alive() && thread.process.get() == request.object() {
                let process = self.tables.process(request.caller.process.get());
                let handle = self.install(process, Kind::Thread, slot, Rights::ALL);
                request.answer(0, u64::from(slot), 0, 0)?;
                return request.handle(handle);
            }
        }
        if stop < end {
            return request.more(u64::from(stop) - 1, 0);
        }
        Err(Error::NotFound)
    }

    #[inline(never)]
    pub(super) fn handle_information(&self, caller: &Thread<M>) -> Answer {
        let [handle, ..] = caller.context.words();
        let process = self.tables.process(caller.process.get());
        let entry = self.tables.entry_at_once(process, Handle(handle)).ok_or(Error::BadHandle)?;
        if !self.tables.names_at_once(entry) {
            return Err(Error::BadHandle);
        }
        let kind = entry.kind.get();
        let badge = if kind == Kind::Connection { self.tables.connection(entry.object()).badge.get() } else { 0 };
        caller.context.set_words([u64::from(entry.rights().0), kind as u64, badge, 0]);
        DONE
    }

    /// A reference of the caller's that may be copied, with at most these rights.
    fn copyable(&self, request: Request<'_, M>, handle: u64, rights: u64) -> Result<Reference, Error> {
        if Handle(handle) == Handle::CURRENT_THREAD {
            let generation = request.caller.header.generation.get();
            let rights = Rights::ALL.intersect(Rights(rights as u32));
            return Ok(Reference { kind: Kind::Thread, object: request.index(), generation, rights });
        }
        let process = self.tables.process(request.caller.process.get());
        let mut reference = self.tables.entry(process, Handle(handle))?.reference();
        if reference.kind == Kind::Reserved || !self.refers(&reference) {
            return Err(Error::BadHandle);
        }
        if !reference.rights.contains(Rights::COPY) {
            return Err(Error::NoRight);
        }
        reference.rights = reference.rights.intersect(Rights(rights as u32));
        Ok(reference)
    }

    #[inline(never)]
    fn sent_quota(&self, request: Request<'_, M>) -> Result<Share, Error> {
        let mut bytes = [0; size_of::<Quota>()];
        self.sent_bytes(request.caller, &mut bytes)?;
        let mut share = [0; RESOURCES + 1];
        // Bound: the resources.
        for (at, number) in share.iter_mut().enumerate() {
            *number = (word(&bytes, at / 2) >> (32 * (at % 2))) as u32;
        }
        Ok(share)
    }

    fn create_process(&self, request: Request<'_, M>) -> Answer {
        let quota = self.sent_quota(request)?;
        let parent = self.tables.process(request.object());
        if !self.tables.has_room(self.tables.process(request.caller.process.get())) {
            return Err(Error::TableFull);
        }
        // The root table and the first page of handles.
        if quota[Resource::Pages as usize] < 2 || quota[RESOURCES] > parent.account.priority.get() {
            return Err(Error::BadArgument);
        }
        let depth = parent.depth.get() + 1;
        if depth == DEPTH || !parent.account.carve(&quota) {
            return Err(Error::QuotaExceeded);
        }
        let Ok(index) = self.create(Kind::Process, request.object()) else {
            parent.account.restore(&quota);
            return Err(Error::Exhausted);
        };
        let process = self.tables.process(index);
        process.account.reset(&quota);
        process.identity.set(request.words()[0]);
        process.handle_pages.set(0);
        process.free_handle.set(0);
        process.possessions.set(0);
        process.depth.set(depth);
        process.mappings.set(0);
        process.death_pulses.set(0);
        process.teardown.set(Teardown::None);
        process.served.set(false);
        let root = self.charged_frame(process);
        let grown = root.is_some() && self.grow_handles(process).is_ok();
        if let (Some(root), true) = (root, grown) {
            process.space.set(self.machine.create_space(root));
            let generation = process.header.generation.get();
            let own = Reference { kind: Kind::Process, object: index, generation, rights: Rights::ALL };
            self.tables.insert_fixed(process, Handle::SELF_PROCESS, &own);
            return self.hand_out(request, Kind::Process, index, Rights::ALL);
        }
        if let Some(root) = root {
            self.give_frame(root);
        }
        process.header.kill();
        self.remains.set(self.remains.get() + 1);
        self.free(Kind::Process, index);
        Err(Error::Exhausted)
    }

    fn create_baton(&self, request: Request<'_, M>) -> Answer {
        let parameters = self.baton_parameters(request, self.tables.process(request.object()))?;
        let index = self.create(Kind::Baton, request.object())?;
        let (priority, policy, slice, period, low) = parameters;
        self.set_baton(index, priority, policy, slice, period, low);
        self.hand_out(request, Kind::Baton, index, Rights::ALL)
    }

    /// The words of `CREATE_BATON`, checked.
    pub(super) fn baton_parameters(
        &self,
        request: Request<'_, M>,
        owner: &crate::process::Process<M>,
    ) -> Result<(u8, Policy, u64, u64, u16), Error> {
        let [priority, policy, slice, period] = request.words();
        let cap = u64::from(owner.account.priority.get().min(255));
        let policy = match policy {
            0 => Policy::Fifo,
            1 => Policy::RoundRobin,
            2 => Policy::Sporadic,
            _ => return Err(Error::BadArgument),
        };
        let [low, refills, ..] = request.option().to_le_bytes();
        let sporadic_fits = policy != Policy::Sporadic
            || (slice >= 1000
                && period >= slice
                && u64::from(low) <= priority
                && refills <= abi::thread::REFILLS
                && request.option() >> 16 == 0);
        if priority > 255 || !sporadic_fits || (slice != 0 && slice < 1000) {
            return Err(Error::BadArgument);
        }
        if priority > cap {
            return Err(Error::QuotaExceeded);
        }
        let slice = if slice == 0 { crate::boot::DEFAULT_SLICE } else { slice };
        Ok((priority as u8, policy, slice, period, request.option() as u16))
    }

    fn copy_entry(&self, target: u32, entry: &crate::handle_table::Entry) -> Result<(), Error> {
        let reference = entry.reference();
        let handle = Handle(entry.key.get());
        if !self.refers(&reference) || reference.kind == Kind::Reserved {
            return Ok(());
        }
        let process = self.tables.process(target);
        self.tables.insert_at(process, handle, &reference)?;
        self.count_handle(&reference);
        let copy = self.tables.slot(process, handle.0);
        copy.inherit.set(entry.inherit.get());
        Ok(())
    }

    fn copy_table(&self, request: Request<'_, M>) -> Answer {
        let source = self.tables.process(self.named(request, request.words()[0], Kind::Process, Rights::MANAGE)?);
        let end = u64::from(source.handle_pages.get() * PAGE_ENTRIES);
        let start = request.words()[1];
        let stop = end.min(start.saturating_add(COPY_PIECE));
        // Bound: COPY_PIECE.
        for index in start..stop {
            let entry = self.tables.slot(source, index);
            if entry.in_use() && entry.inherit.get() {
                self.copy_entry(request.object(), entry)?;
            }
        }
        if stop < end {
            return request.more(stop, 0);
        }
        DONE
    }

    fn destroy_handle(&self, request: Request<'_, M>) -> Answer {
        let process = self.tables.process(request.caller.process.get());
        let entry = self.tables.entry(process, Handle(request.words()[0]))?;
        let reference = entry.reference();
        if reference.kind == Kind::Reserved {
            self.close(process, entry);
            return DONE;
        }
        if !reference.rights.contains(Rights::DESTROY) {
            return Err(Error::NoRight);
        }
        // Alive, or dead with remains: the handle still serves to repeat this call.
        let header = self.tables.header(reference.kind, reference.object);
        let generation = header.generation.get();
        let dying = generation == reference.generation.wrapping_add(1) && header.dying.get();
        if generation == reference.generation || dying {
            self.destroy(reference.kind, reference.object)?;
        }
        if process.header.alive() && entry.key.get() == request.words()[0] {
            self.tables.clear(process, entry);
        }
        DONE
    }

    fn set_quota(&self, request: Request<'_, M>) -> Answer {
        let process = self.tables.process(request.object());
        let owner = process.header.owner.get();
        // A process does not help itself to its parent's share.
        if owner == 0 || owner != request.caller.process.get() {
            return Err(Error::NoRight);
        }
        let quota = self.sent_quota(request)?;
        let parent = self.tables.process(owner);
        if process.account.resize(&parent.account, &quota) { DONE } else { Err(Error::QuotaExceeded) }
    }

    /// Charge one mapping record and take it.
    #[track_caller]
    pub(crate) fn take_mapping(&self, process: &crate::process::Process<M>) -> Result<u32, Error> {
        if !process.account.charge(Resource::Mappings, 1) {
            return Err(Error::QuotaExceeded);
        }
        let taken = self.take_slot(&self.mapping_pool, |slot| &self.tables.mapping(slot).next);
        taken.ok_or_else(|| {
            process.account.release(Resource::Mappings, 1);
            Error::Exhausted
        })
    }
}
