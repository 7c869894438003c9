//! A read-only view of the kernel's state, for checkers: what the simulator asserts after each step, what a post-mortem
//! prints. Nothing here runs in a system that nobody inspects.

use crate::baton::Place;
use crate::gate::{SEVERAL, WAITING, Waiter};
use crate::kernel::Kernel;
use crate::machine::{Context, Machine};
use crate::schedule::LOOK;
use crate::tables::Ordered;
use crate::thread::{CODE, FAULTING, LEAVING, STOPPED, TIMED, Work};
use crate::tree::{self, Forest};
use abi::object::Kind;
use abi::{Quota, thread::State};

/// The common part of an object.
#[derive(Clone, Copy, Debug)]
pub struct HeaderView {
    /// Odd while alive.
    pub generation: u32,
    /// Who is charged.
    pub owner: u32,
    /// Dead, but with remains.
    pub dying: bool,
}

impl HeaderView {
    /// It exists and was not destroyed.
    #[must_use]
    pub const fn alive(&self) -> bool {
        self.generation & 1 == 1
    }

    /// It takes up a slot and a charge.
    #[must_use]
    pub const fn charged(&self) -> bool {
        self.alive() || self.dying
    }
}

/// A thread.
#[derive(Clone, Copy, Debug)]
pub struct ThreadView {
    /// Slot, generation, owner.
    pub header: HeaderView,
    /// Its process.
    pub process: u32,
    /// What it does; RUNNING shows as READY.
    pub state: State,
    /// The process that may answer it, in REPLY.
    pub answerer: u32,
    /// It waits because it faulted.
    pub faulting: bool,
    /// It has an alarm, says its state.
    pub timed: bool,
    /// It has an alarm, says the set of alarms.
    pub alarm: bool,
    /// Its server was asked to let it go.
    pub leaving: bool,
    /// It does not run until continued.
    pub stopped: bool,
    /// It is in a gate's queue.
    pub queued: bool,
    /// The priority with which it waits there.
    pub waits_with: u8,
    /// It has kernel work to finish.
    pub works: bool,
    /// Id of its present or last request.
    pub request: u64,
    /// The request it works on.
    pub serving: u64,
    /// Gate it waits at or for: generation << 32 | index.
    pub target: u64,
    /// The baton it runs on.
    pub current: u32,
    /// How often calls carried that on, since it was its holder's own.
    pub carried: u32,
    /// Its own baton.
    pub own: u32,
    /// Who received its message.
    pub server: u32,
    /// The gate it is a receiver of.
    pub gate: u32,
    /// Neighbours among that gate's receivers.
    pub receiver_next: u32,
    /// Fault connection and its generation.
    pub fault_connection: (u32, u32),
    /// The connection whose closing notice it took and has not settled.
    pub closes: u32,
    /// Where it is.
    pub instruction_pointer: u64,
}

/// A baton.
#[derive(Clone, Copy, Debug)]
pub struct BatonView {
    /// Slot, generation, owner.
    pub header: HeaderView,
    /// The thread that holds it.
    pub holder: u32,
    /// In a ready queue.
    pub queued: bool,
    /// On the processor.
    pub running: bool,
    /// Its priority.
    pub priority: u8,
    /// The level it is queued or runs at.
    pub level: u8,
    /// Neighbours in the ready queue.
    pub next: u32,
    /// Neighbours in the ready queue.
    pub previous: u32,
    /// A thread's own.
    pub owned: bool,
    /// The gate whose reserve it is, 0: none.
    pub reserve_of: u32,
}

/// A gate.
#[derive(Clone, Copy, Debug)]
pub struct GateView {
    /// Slot, generation, owner.
    pub header: HeaderView,
    /// The generation that its word shows to the message path.
    pub word_generation: u32,
    /// The flag that something waits.
    pub waiting: bool,
    /// The flag that it has several receivers.
    pub several: bool,
    /// The parked receiver on top.
    pub parked: u32,
    /// How many receivers.
    pub receivers: u32,
    /// The one receiver.
    pub only: u32,
    /// The first busy one of several.
    pub busy_first: u32,
    /// How many wait, by its counter.
    pub count: u32,
    /// Its reserve baton.
    pub reserve: u32,
}

/// A connection.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionView {
    /// Slot, generation, owner.
    pub header: HeaderView,
    /// Its gate: generation << 32 | index.
    pub gate: u64,
    /// Handles and fault connections that name it, by its counter.
    pub count: u32,
    /// Its closing notice waits.
    pub queued: bool,
}

/// A pulse.
#[derive(Clone, Copy, Debug)]
pub struct PulseView {
    /// Slot, generation, owner.
    pub header: HeaderView,
    /// Its gate: generation << 32 | index.
    pub gate: u64,
    /// It was raised, says its flag.
    pub pending: bool,
    /// The priority with which it waits, if a baton helps.
    pub helps_with: Option<u8>,
    /// It is in its gate's queue.
    pub queued: bool,
}

/// A Memory.
#[derive(Clone, Copy, Debug)]
pub struct MemoryView {
    /// Slot, generation, owner.
    pub header: HeaderView,
    /// RAM, device registers, ports or lines: an [`abi::object::MemoryType`].
    pub kind: u8,
    /// First address, port or line.
    pub base: u64,
    /// Bytes, ports or lines.
    pub length: u64,
    /// What it was derived from.
    pub parent: u32,
    /// Its first mapping record.
    pub mappings: u32,
}

/// A mapping record.
#[derive(Clone, Copy, Debug)]
pub struct MappingView {
    /// What it maps.
    pub memory: u32,
    /// Into which process.
    pub process: u32,
    /// Where.
    pub address: u64,
    /// How much.
    pub pages: u64,
    /// How much of it has translations.
    pub done: u64,
    /// From where in the Memory, bytes.
    pub offset: u64,
    /// Access bits now, and at most.
    pub access: (u8, u8),
    /// The Memory's next record.
    pub next: u32,
}

/// A process.
#[derive(Clone, Copy, Debug)]
pub struct ProcessView<S> {
    /// Slot, generation, owner.
    pub header: HeaderView,
    /// Chosen by its creator.
    pub identity: u64,
    /// Its address space.
    pub space: S,
    /// Pages of its handle table.
    pub handle_pages: u32,
    /// What it may have.
    pub limit: Quota,
    /// What it has, by its account.
    pub used: Quota,
    /// Its remains are being removed.
    pub teardown: bool,
}

/// An entry of a handle table.
#[derive(Clone, Copy, Debug)]
pub struct EntryView {
    /// The whole handle.
    pub handle: u64,
    /// [`Kind`].
    pub kind: u8,
    /// The object and its generation when the handle was made.
    pub object: (u32, u32),
    /// [`abi::Rights`].
    pub rights: u8,
}

/// Something in a gate's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaiterView {
    /// A thread in SEND.
    Caller(u32),
    /// A pending pulse.
    Pulse(u32),
    /// A connection without handles.
    Closed(u32),
    /// A thread in REPLY that wants to leave.
    Unblock(u32),
}

impl<M: Machine + 'static> Kernel<M> {
    /// Slots of a kind that were ever used are below this one.
    #[must_use]
    pub fn slots(&self, kind: Kind) -> u32 {
        self.pools[kind as usize & 7].high_water()
    }

    /// Handle pages, mapping records and page-table frames in use.
    #[must_use]
    pub fn pages_in_use(&self) -> (u32, u32, u32) {
        (self.handle_pool.used(), self.mapping_pool.used(), self.frames.used())
    }

    fn header_view(&self, kind: Kind, index: u32) -> HeaderView {
        let header = self.tables.header(kind, index);
        HeaderView { generation: header.generation.get(), owner: header.owner.get(), dying: header.dying.get() }
    }

    /// The baton and the thread on the processor (meaningless while [`Kernel::attention`]).
    #[must_use]
    pub fn running(&self) -> (u32, u32) {
        (self.cpu.baton.get(), self.cpu.thread.get())
    }

    /// Whether something must be done before user code runs.
    #[must_use]
    pub fn attention(&self) -> bool {
        self.cpu.attention.get() != 0
    }

    /// Whether threads are still to be looked at: then it is not certain yet who is first at each gate.
    #[must_use]
    pub fn looks(&self) -> bool {
        self.cpu.attention.get() & LOOK != 0
    }

    /// A thread.
    #[must_use]
    pub fn view_thread(&self, index: u32) -> ThreadView {
        let thread = self.tables.thread(index);
        ThreadView {
            header: self.header_view(Kind::Thread, index),
            process: thread.process.get(),
            state: State::from_number((thread.state.get() & CODE) as u8).unwrap_or(State::Dead),
            answerer: thread.state.get() >> 16,
            faulting: thread.is(FAULTING),
            timed: thread.is(TIMED),
            alarm: thread.alarm.linked(),
            leaving: thread.is(LEAVING),
            stopped: thread.is(STOPPED),
            queued: thread.queue.linked(),
            waits_with: 255 - (thread.queue.key() >> 56) as u8,
            works: thread.work.get() != Work::None,
            request: thread.request.get(),
            serving: thread.serving.get(),
            target: thread.target.get(),
            current: thread.current.get().baton(),
            carried: thread.current.get().carried_on(),
            own: thread.own.get().baton(),
            server: thread.server.get(),
            gate: thread.gate.get(),
            receiver_next: thread.receiver_next.get(),
            fault_connection: (thread.fault_connection.get(), thread.fault_generation.get()),
            closes: match Waiter::from_id(thread.taken.get()) {
                Some(Waiter::Closed(connection)) => connection,
                _ => 0,
            },
            instruction_pointer: thread.context.instruction_pointer(),
        }
    }

    /// A baton.
    #[must_use]
    pub fn view_baton(&self, index: u32) -> BatonView {
        let baton = self.tables.baton(index);
        BatonView {
            header: self.header_view(Kind::Baton, index),
            holder: baton.holder.get(),
            queued: baton.place.get() == Place::Queued,
            running: baton.place.get() == Place::Running,
            priority: baton.priority.get(),
            level: baton.level.get(),
            next: baton.next.get(),
            previous: baton.previous.get(),
            owned: baton.owned.get(),
            reserve_of: baton.reserve_of.get(),
        }
    }

    /// Who would run on a baton, 0: nobody can.
    #[must_use]
    pub fn would_run(&self, baton: u32) -> u32 {
        self.resolve(baton)
    }

    /// The first baton of a ready level, 0: none.
    #[must_use]
    pub fn first_ready(&self, level: u8) -> u32 {
        self.cpu.first_ready(level)
    }

    /// A gate.
    #[must_use]
    pub fn view_gate(&self, index: u32) -> GateView {
        let gate = self.tables.gate(index);
        GateView {
            header: self.header_view(Kind::Gate, index),
            word_generation: (gate.word.get() >> 32) as u32,
            waiting: gate.has(WAITING),
            several: gate.has(SEVERAL),
            parked: gate.parked(),
            receivers: gate.receivers.get(),
            only: gate.only.get(),
            busy_first: gate.busy_first.get(),
            count: gate.count.get(),
            reserve: gate.reserve.get(),
        }
    }

    /// All that waits at a gate, in order.
    pub fn waiters(&self, gate: u32, mut each: impl FnMut(WaiterView)) {
        let mut at = self.tables.any_waiter(self.tables.gate(gate));
        while let Some(waiter) = at {
            each(match waiter {
                Waiter::Caller(index) => WaiterView::Caller(index),
                Waiter::Pulse(index) => WaiterView::Pulse(index),
                Waiter::Closed(index) => WaiterView::Closed(index),
                Waiter::Unblock(index) => WaiterView::Unblock(index),
            });
            at = self.tables.following(self.tables.gate(gate), waiter);
        }
    }

    /// A connection.
    #[must_use]
    pub fn view_connection(&self, index: u32) -> ConnectionView {
        let connection = self.tables.connection(index);
        ConnectionView {
            header: self.header_view(Kind::Connection, index),
            gate: connection.gate.get(),
            count: connection.count.get(),
            queued: connection.queue.linked(),
        }
    }

    /// A pulse.
    #[must_use]
    pub fn view_pulse(&self, index: u32) -> PulseView {
        let pulse = self.tables.pulse(index);
        PulseView {
            header: self.header_view(Kind::Pulse, index),
            gate: pulse.gate.get(),
            pending: pulse.pending.get(),
            helps_with: pulse.helps.get().then(|| 255 - (pulse.queue.key() >> 56) as u8),
            queued: pulse.queue.linked(),
        }
    }

    /// A Memory.
    #[must_use]
    pub fn view_memory(&self, index: u32) -> MemoryView {
        let memory = self.tables.memory(index);
        MemoryView {
            header: self.header_view(Kind::Memory, index),
            kind: memory.kind.get(),
            base: memory.base.get(),
            length: memory.length.get(),
            parent: memory.parent.get(),
            mappings: memory.mappings.get(),
        }
    }

    /// A mapping record.
    #[must_use]
    pub fn view_mapping(&self, id: u32) -> MappingView {
        let record = self.tables.mapping(id);
        MappingView {
            memory: record.memory.get(),
            process: record.process.get(),
            address: record.address(),
            pages: record.pages.get(),
            done: record.done.get(),
            offset: record.offset.get(),
            access: (record.access.get(), record.allowed.get()),
            next: record.next.get(),
        }
    }

    /// A process.
    #[must_use]
    pub fn view_process(&self, index: u32) -> ProcessView<M::Space> {
        let process = self.tables.process(index);
        ProcessView {
            header: self.header_view(Kind::Process, index),
            identity: process.identity.get(),
            space: process.space.get(),
            handle_pages: process.handle_pages.get(),
            limit: process.account.quota(true),
            used: process.account.quota(false),
            teardown: process.teardown.get() != crate::process::Teardown::None,
        }
    }

    /// The mapping records of a process, by address.
    pub fn mappings(&self, process: u32, mut each: impl FnMut(u32)) {
        let process = self.tables.process(process);
        let mut at = self.tables.mapping_from(process, 0);
        while at != 0 {
            each(at);
            at = self.tables.mapping_from(process, self.tables.mapping(at).end());
        }
    }

    /// The possessions of a process: kind and index.
    pub fn possessions(&self, process: u32, mut each: impl FnMut(Kind, u32)) {
        let mut at = self.tables.process(process).possessions.get();
        while at != 0 {
            let kind = Kind::from_number((at >> 16) as u8).unwrap_or(Kind::Free);
            each(kind, at & 0xffff);
            at = self.tables.header(kind, at & 0xffff).next.get();
        }
    }

    /// ns billed to batons, those that are no more among them, or to nobody because there was nothing to run; and up to when.
    #[must_use]
    pub fn billed_time(&self) -> (u64, u64) {
        let alive = (1..self.slots(Kind::Baton)).map(|index| self.tables.baton(index));
        let alive: u64 = alive.filter(|baton| baton.header.alive()).map(|baton| baton.billed.get()).sum();
        (alive + self.cpu.former.get() + self.cpu.idle.get(), self.cpu.since())
    }

    /// The next time at which the kernel has something to do.
    #[must_use]
    pub fn next_due(&self) -> u64 {
        self.next_alarm()
    }

    /// When alarms are due, in their order.
    pub fn alarms(&self, mut each: impl FnMut(u64)) {
        let forest = self.tables.members(Ordered::Alarms);
        let mut at = tree::first(forest, &self.cpu.alarms);
        while at != 0 {
            each(forest.node(at).key());
            at = tree::next(forest, at);
        }
    }

    /// Takers of an interrupt line, and how many of them have not re-armed: by its counter, and counted.
    #[must_use]
    pub fn line_takers(&self, line: u32) -> (u32, u32, u32) {
        self.line_figures(line)
    }

    /// Slots of a process's handle table that are in the chain of free ones.
    #[must_use]
    pub fn free_handles(&self, process: u32) -> u32 {
        self.tables.free_slots(self.tables.process(process), 1 << 16)
    }

    /// The entries of a process's handle table that are in use.
    pub fn entries(&self, process: u32, mut each: impl FnMut(EntryView)) {
        let process = self.tables.process(process);
        for index in 0..process.handle_pages.get() * crate::handle_table::PAGE_ENTRIES {
            let entry = self.tables.slot(process, u64::from(index));
            if entry.in_use() {
                each(EntryView {
                    handle: entry.key.get(),
                    kind: entry.kind.get() as u8,
                    object: (entry.object(), entry.object_generation.get()),
                    rights: entry.rights().0 as u8,
                });
            }
        }
    }
}
