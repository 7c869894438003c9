//! Destruction: dead at once, gone in bounded pieces.
//!
//! `destroy` kills an object (no handle, no message works any more) and does a first piece of the rest; `Err(More)` means:
//! call again. A process's remains go in stages: possessions (threads, child processes and all), callers that wait for its
//! answer, handles, mappings, page tables. Then its quota returns to its parent.

use crate::baton::Hold;
use crate::gate::Waiter;
use crate::handle_table::PAGE_ENTRIES;
use crate::header::tag;
use crate::kernel::Kernel;
use crate::machine::Machine;
use crate::process::Teardown;
use crate::quota::Resource;
use crate::schedule::SCHEDULE;
use crate::tables::Ordered;
use crate::thread::{CODE, DEAD, FAULTING, LEAVING, READY, RECEIVE, REPLY, SEND, Work};
use crate::tree;
use abi::call::flags;
use abi::object::Kind;
use abi::{Error, PAGE_SIZE};

/// Things dealt with in one piece.
const PIECE: u32 = 4;
/// The same of what a process has. A thread that has not ended, or whose end is to be told, is the last of its piece: many may help
/// it, and several are told.
const POSSESSIONS: u32 = 3;
/// Callers told in one piece: many may wait for each.
const TOLD: u32 = 2;
/// Mapping records dealt with in one piece: they are sooner done with.
const RECORDS: u32 = 6;
/// Connections of which one piece closes a handle: it may be the last, of which the server is told.
const CLOSED: u32 = 8;
/// Threads looked at in one piece, in search of callers or of a process's own.
pub(crate) const SCAN: u32 = 256;
/// Objects looked at in one piece, of whatever kind, in search of remains.
const LOOKED_AT: u32 = 64;
/// Pages unmapped in one piece: what one large page covers, so that none is ever split.
pub(crate) const LARGE_PAGES: u64 = 512;
/// After so many pages a piece begins no further part.
pub(crate) const ENOUGH_PAGES: u64 = LARGE_PAGES / 2;

impl<M: Machine> Kernel<M> {
    /// Destroy an object, or go on destroying it.
    pub(crate) fn destroy(&self, kind: Kind, index: u32) -> Result<(), Error> {
        let header = self.tables.header(kind, index);
        if header.alive() {
            self.kill(kind, index);
        }
        if !header.dying.get() {
            return Ok(());
        }
        match kind {
            Kind::Process => return self.teardown_process(index),
            Kind::Gate => self.teardown_gate(index)?,
            Kind::Memory => return self.teardown_memory(index),
            Kind::Thread | Kind::Baton | Kind::Connection | Kind::Pulse | Kind::Free | Kind::Reserved => {}
        }
        self.free(kind, index);
        Ok(())
    }

    /// Make an object dead at once.
    fn kill(&self, kind: Kind, index: u32) {
        let header = self.tables.header(kind, index);
        header.kill();
        self.remains.set(self.remains.get() + 1);
        match kind {
            Kind::Process => {
                let process = self.tables.process(index);
                process.teardown.set(Teardown::Possessions);
                self.dying.set(self.dying.get() + 1);
                self.raise_deaths(process.death_pulses.replace(0));
                self.cpu.attend(SCHEDULE);
            }
            Kind::Thread => {
                self.end_thread(index);
                let thread = self.tables.thread(index);
                self.drop_fault_connection(index);
                // Those bound after it had ended.
                self.raise_deaths(thread.death_pulses.replace(0));
            }
            Kind::Baton => {
                let baton = self.tables.baton(index);
                self.wait_anew(index);
                let root = baton.root.get();
                if self.tables.thread(root).own.get().baton() == index {
                    self.tables.thread(root).own.set(Hold::NONE);
                }
                let reserve_of = baton.reserve_of.get();
                if reserve_of != 0 {
                    self.set_reserve(reserve_of, 0);
                }
                self.withdraw(index);
                self.strip(root, index);
                self.withdraw(index);
                self.clear_alarm(crate::alarm::AlarmOf::Baton(index));
                self.cpu.former.set(self.cpu.former.get() + baton.billed.get());
                baton.holder.set(0);
                baton.root.set(0);
                baton.owned.set(false);
            }
            Kind::Gate => {
                let gate = self.tables.gate(index);
                self.set_reserve(index, 0);
                gate.word.set(u64::from(header.generation.get()) << 32 | gate.word.get() & 0xffff_ffff);
            }
            Kind::Connection => {
                let connection = self.tables.connection(index);
                let gate = self.tables.gate(connection.gate.get() as u32 & 0xffff);
                self.tables.dequeue(gate, Waiter::Closed(index));
                tree::remove(self.tables.members(Ordered::Connections), &gate.connections, index);
            }
            Kind::Pulse => {
                self.dequeue_pulse(index);
                self.tables.pulse(index).pending.set(false);
                self.unbind_line(index);
                self.clear_alarm(crate::alarm::AlarmOf::Pulse(index));
                self.unbind_death(index);
                self.unbind_idle(index);
            }
            Kind::Memory | Kind::Free | Kind::Reserved => {}
        }
    }

    /// A CPU has nothing else to do: go on with an object whose destroyer does not (it may be dead itself). False: there
    /// is none.
    pub(crate) fn finish_remains(&self) -> bool {
        const KINDS: [Kind; 3] = [Kind::Process, Kind::Gate, Kind::Memory];
        if self.remains.get() == 0 {
            return false;
        }
        // Bound: LOOKED_AT slots; the next time goes on behind them, or with the same object. At the end of the tables the CPU
        // idles before the next search.
        for _ in 0..LOOKED_AT {
            let cursor = self.remains_cursor.get();
            let (kind, index) = (KINDS[cursor as usize % KINDS.len()], cursor / KINDS.len() as u32);
            if KINDS.iter().all(|kind| index >= self.pool(*kind).high_water()) {
                self.remains_cursor.set(0);
                return false;
            }
            if self.tables.header(kind, index).dying.get() && self.destroy(kind, index).is_err() {
                return true;
            }
            self.remains_cursor.set(cursor + 1);
        }
        true
    }

    /// The server was told, or is no more: forget a connection without handles.
    pub(crate) fn forget_connection(&self, index: u32) {
        let connection = self.tables.connection(index);
        if connection.header.alive() && connection.count.get() == 0 {
            self.kill(Kind::Connection, index);
            self.free(Kind::Connection, index);
        }
    }

    /// A thread's fault connection is no longer needed by it.
    pub(crate) fn drop_fault_connection(&self, index: u32) {
        let thread = self.tables.thread(index);
        let connection = thread.fault_connection.replace(0);
        if connection != 0 {
            self.uncount_handle(&crate::handle_table::Reference {
                kind: Kind::Connection,
                object: connection,
                generation: thread.fault_generation.get(),
                rights: abi::Rights::NONE,
            });
        }
    }

    /// A thread stops for good: whoever waits for it is told, what it held goes back.
    pub(crate) fn end_thread(&self, index: u32) {
        let thread = self.tables.thread(index);
        if thread.code() == DEAD {
            // It may have been given a baton all the same.
            return self.own_baton(index, 0);
        }
        self.note_life(abi::trace::ENDED, thread);
        if matches!(thread.state.get() & CODE, SEND | REPLY | RECEIVE) {
            self.detach(index);
        }
        self.stop_timer(index);
        self.unsettle(index);
        thread.work.set(Work::None);
        // The request it works on fails; others that it put off can still be answered by its process.
        let serving = thread.serving.get();
        if let Ok((caller, _)) = self.requester(thread, serving) {
            self.abandon(caller);
        }
        thread.serving.set(0);
        let current = thread.current.replace(Hold::NONE).baton();
        if current != 0 && self.tables.baton(current).holder.get() == index {
            self.rest(current);
            self.tables.baton(current).holder.set(0);
        }
        let own = thread.own.replace(Hold::NONE).baton();
        if own != 0 {
            self.rest(own);
            let baton = self.tables.baton(own);
            baton.owned.set(false);
            baton.holder.set(0);
            baton.root.set(0);
        }
        let gate = thread.gate.get();
        self.tables.dissociate(index);
        thread.interrupted.set(false);
        thread.state.set(DEAD);
        self.offer(current);
        self.offer(own);
        self.raise_deaths(thread.death_pulses.replace(0));
        self.serve_anew(gate);
        self.cpu.attend(SCHEDULE);
    }

    /// The server of a caller in REPLY is gone: queue the request again if the caller asked for it, else fail it. One that wanted
    /// to leave does.
    fn abandon(&self, index: u32) {
        let thread = self.tables.thread(index);
        match self.tables.gate_of(thread.target.get()) {
            _ if thread.is(LEAVING) => self.leave_as_wished(index),
            Some((_, gate)) if self.flagged(thread, flags::RETRY) => {
                self.take_baton_back(index);
                if thread.current.get() == Hold::NONE {
                    // It may have been given one meanwhile.
                    self.give(index, thread.own.get());
                }
                let faulting = thread.state.get() & FAULTING;
                thread.retried.set(true);
                thread.request.set((thread.request.get() | 0xffff).wrapping_add(1) | u64::from(index));
                thread.enter_state(SEND | faulting);
                if self.flagged(thread, flags::DEADLINE_SEND) {
                    self.start_timer(index);
                } else {
                    self.stop_timer(index);
                }
                // With the place it had when it came.
                self.tables.enqueue(gate, Waiter::Caller(index), self.urgency(index), thread.queue.key());
                self.serve_anew((thread.target.get() & 0xffff) as u32);
            }
            _ => self.release_caller(index, Error::Gone, 0),
        }
    }

    /// What waits at a gate came back to it, or lost the receiver that was about to take it: a parked one receives again, and
    /// whoever is busy there is pressed by it, and may run on its baton.
    #[inline(never)]
    fn serve_anew(&self, gate_index: u32) {
        let gate = self.tables.gate(gate_index);
        if gate.parked() != 0 && gate.count.get() != 0 {
            let receiver = self.wake_receiver(gate_index);
            self.tables.thread(receiver).enter_state(READY);
            self.tables.thread(receiver).work.set(Work::Receive);
            self.wake(receiver);
        }
        self.help_anew(gate_index);
    }

    fn teardown_gate(&self, index: u32) -> Result<(), Error> {
        let gate = self.tables.gate(index);
        // Bound: PIECE.
        for _ in 0..PIECE {
            if let Some(waiter) = self.tables.any_waiter(gate) {
                match waiter {
                    Waiter::Caller(caller) => self.leave(caller, Error::Gone),
                    Waiter::Pulse(pulse) => {
                        self.dequeue_pulse(pulse);
                        self.tables.pulse(pulse).pending.set(false);
                        self.unbind_line(pulse);
                    }
                    Waiter::Closed(connection) => {
                        self.tables.dequeue(gate, waiter);
                        self.forget_connection(connection);
                    }
                    Waiter::Unblock(_) => self.tables.dequeue(gate, waiter),
                }
            } else if gate.parked() != 0 {
                let receiver = gate.parked();
                self.leave(receiver, Error::Gone);
                self.tables.dissociate(receiver);
            } else if gate.busy() != 0 {
                self.tables.dissociate(gate.busy());
            } else if gate.connections.get() != 0 {
                tree::remove(self.tables.members(Ordered::Connections), &gate.connections, gate.connections.get());
            } else {
                return Ok(());
            }
        }
        Err(Error::More)
    }

    fn teardown_memory(&self, root: u32) -> Result<(), Error> {
        let mut pages = 0;
        // Bound: PIECE parts or mappings; ENOUGH_PAGES and a large page's worth of pages. Parts go before what they are part of.
        for _ in 0..PIECE {
            let mut index = root;
            // Bound: DEPTH.
            while self.tables.memory(index).parts.get() != 0 {
                index = self.tables.memory(index).parts.get();
                let part = &self.tables.memory(index).header;
                if part.alive() {
                    self.kill(Kind::Memory, index);
                }
            }
            let memory = self.tables.memory(index);
            let mapping = memory.mappings.get();
            if mapping != 0 {
                pages += self.unmap_piece(mapping);
                if pages >= ENOUGH_PAGES {
                    break;
                }
                continue;
            }
            let parent = memory.parent.replace(0);
            if parent != 0 {
                let (next, previous) = (memory.sibling_next.replace(0), memory.sibling_previous.replace(0));
                if previous == 0 {
                    self.tables.memory(parent).parts.set(next);
                } else {
                    self.tables.memory(previous).sibling_next.set(next);
                }
                if next != 0 {
                    self.tables.memory(next).sibling_previous.set(previous);
                }
            }
            self.free(Kind::Memory, index);
            if index == root {
                return Ok(());
            }
        }
        Err(Error::More)
    }

    /// Unmap a part of a record, from its end, no more than a large page's worth; the record goes with its last page. Says
    /// how many pages.
    pub(crate) fn unmap_piece(&self, id: u32) -> u64 {
        let record = self.tables.mapping(id);
        let process = self.tables.process(record.process.get());
        let (start, end) = (record.address(), record.address() + record.done.get() * PAGE_SIZE);
        let large = LARGE_PAGES * PAGE_SIZE;
        let from = if end > start { ((end - 1) & !(large - 1)).max(start) } else { start };
        if end > from {
            // Pieces follow large pages, so no frame is asked for.
            self.machine.unmap(process.space.get(), from, (end - from) / PAGE_SIZE, &mut || None);
        }
        record.done.set((from - start) / PAGE_SIZE);
        record.pages.set(record.done.get());
        if from == start {
            self.drop_mapping(id);
        }
        (end - from) / PAGE_SIZE
    }

    /// Forget a record whose pages have no translations.
    pub(crate) fn drop_mapping(&self, id: u32) {
        let record = self.tables.mapping(id);
        self.tables.unlink_mapping(id);
        self.tables.process(record.process.get()).account.release(Resource::Mappings, 1);
        self.mapping_pool.give(id, &record.next);
    }

    fn teardown_process(&self, root: u32) -> Result<(), Error> {
        let mut index = root;
        // Bound: DEPTH. Children go before their parent; one is killed a piece.
        loop {
            let first = self.tables.process(index).possessions.get();
            if first >> 16 != Kind::Process as u32 {
                break;
            }
            index = first & 0xffff;
            if self.tables.process(index).header.alive() {
                self.kill(Kind::Process, index);
                return Err(Error::More);
            }
        }
        let process = self.tables.process(index);
        match process.teardown.get() {
            Teardown::None | Teardown::Possessions => {
                // Bound: POSSESSIONS.
                for _ in 0..POSSESSIONS {
                    let first = process.possessions.get();
                    if first == 0 {
                        self.dying.set(self.dying.get() - 1);
                        process.cursor.set(1);
                        process.teardown.set(Teardown::Callers);
                        break;
                    }
                    let kind = Kind::from_number((first >> 16) as u8).unwrap_or(Kind::Free);
                    if kind == Kind::Process {
                        break;
                    }
                    let thread = self.tables.thread(first & 0xffff);
                    let ends = kind == Kind::Thread && (thread.code() != DEAD || thread.death_pulses.get() != 0);
                    self.destroy_possession(kind, first & 0xffff, process.header.owner.get())?;
                    if ends {
                        break;
                    }
                }
            }
            Teardown::Callers => {
                let end = self.pool(Kind::Thread).high_water();
                let start = process.cursor.get();
                let stop = end.min(start + SCAN);
                let (mut at, mut told) = (if process.served.get() { start } else { end }, 0);
                // Bound: SCAN threads looked at, TOLD callers told.
                while at < stop && told < TOLD {
                    let thread = self.tables.thread(at);
                    if thread.code() == REPLY && thread.state.get() >> 16 == index {
                        self.abandon(at);
                        told += 1;
                    }
                    at += 1;
                }
                process.cursor.set(at);
                if at >= end {
                    process.cursor.set(0);
                    process.teardown.set(Teardown::Handles);
                }
            }
            Teardown::Handles => {
                // Bound: a page of 64 entries, the last, and CLOSED connections in it.
                let pages = process.handle_pages.get();
                if pages == 0 {
                    process.teardown.set(Teardown::Mappings);
                } else {
                    let base = (pages - 1) * PAGE_ENTRIES;
                    let (mut at, mut closed) = (process.cursor.get(), 0);
                    while at < PAGE_ENTRIES && closed < CLOSED {
                        let entry = self.tables.slot(process, u64::from(base + at));
                        if entry.in_use() {
                            let reference = entry.reference();
                            entry.vacate(base + at);
                            closed += u32::from(reference.kind == Kind::Connection);
                            self.uncount_handle(&reference);
                        }
                        at += 1;
                    }
                    process.cursor.set(at);
                    if at == PAGE_ENTRIES {
                        process.cursor.set(0);
                        self.tables.shrink(&self.handle_pool, process);
                        process.account.release(Resource::Pages, 1);
                    }
                }
            }
            Teardown::Mappings => {
                let mut pages = 0;
                // Bound: RECORDS; ENOUGH_PAGES and a large page's worth of pages.
                for _ in 0..RECORDS {
                    // The lowest: nothing has to take its place.
                    let first = self.tables.first_mapping(process);
                    if first == 0 {
                        process.teardown.set(Teardown::PageTables);
                        break;
                    }
                    pages += self.unmap_piece(first);
                    if pages >= ENOUGH_PAGES {
                        break;
                    }
                }
            }
            Teardown::PageTables => {
                // Bound: half of PIECE, as finding a table takes a look at many entries.
                for _ in 0..PIECE / 2 {
                    let Some(frame) = self.machine.release_table(process.space.get()) else {
                        let frame = self.machine.destroy_space(process.space.replace(M::Space::default()));
                        self.give_frame(frame);
                        process.account.release(Resource::Pages, 1);
                        process.teardown.set(Teardown::None);
                        self.free(Kind::Process, index);
                        return if index == root { Ok(()) } else { Err(Error::More) };
                    };
                    self.give_frame(frame);
                    process.account.release(Resource::Pages, 1);
                }
            }
        }
        Err(Error::More)
    }

    /// Destroy what a dead process owned. Connections that others still use go to its parent, charge and all.
    fn destroy_possession(&self, kind: Kind, index: u32, heir: u32) -> Result<(), Error> {
        if kind == Kind::Connection && heir != 0 {
            let header = &self.tables.connection(index).header;
            let child = self.tables.process(header.owner.get());
            self.dispossess(kind, index);
            self.tables.process(heir).account.take_over(&child.account, Resource::Connections);
            self.possess(kind, index, heir);
            return Ok(());
        }
        debug_assert!(tag(kind, index) != 0);
        self.destroy(kind, index)
    }

    /// Undo a pulse's binding to a death.
    pub(crate) fn unbind_death(&self, index: u32) {
        let pulse = self.tables.pulse(index);
        let of = pulse.death_of.replace(0);
        let mut link = match of >> 16 {
            0 => return,
            kind if kind == Kind::Process as u32 => &self.tables.process(of & 0xffff).death_pulses,
            _ => &self.tables.thread(of & 0xffff).death_pulses,
        };
        // Bound: the pulses that one object can have. After the death the list is empty.
        while link.get() != 0 && link.get() != index {
            link = &self.tables.pulse(link.get()).death_next;
        }
        if link.get() == index {
            link.set(pulse.death_next.replace(0));
        }
    }
}
