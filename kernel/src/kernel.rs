//! The kernel: all its state, and the loop that runs user code and handles why it stopped.

use crate::boot::{Boot, KEPT_PORTS, PortRange};
use crate::header::Pool;
use crate::machine::{Machine, Trap};
use crate::ready::Cpu;
use crate::schedule::{ALARM, IDLE, LOOK, POLL, SCHEDULE, WORK};
use crate::thread::{READY, Work};
use abi::object::Kind;
use core::cell::Cell;

/// Kinds of objects, and one more for index 0.
const KINDS: usize = 8;

/// The kernel of one machine. What is used everywhere comes first, what is long last: near fields have short instructions.
#[repr(C)]
pub struct Kernel<M: Machine> {
    pub(crate) tables: M::Tables,
    pub(crate) cpu: Cpu,
    pub(crate) frame_base: Cell<u64>,
    /// Counts what starts to wait at gates: the order of equals.
    pub(crate) arrivals: Cell<u64>,
    /// Processes that are dead but still have threads.
    pub(crate) dying: Cell<u32>,
    /// Dead objects that have remains, and where an idle CPU looks for them next.
    pub(crate) remains: Cell<u32>,
    pub(crate) remains_cursor: Cell<u32>,
    pub(crate) handle_pool: Pool,
    pub(crate) mapping_pool: Pool,
    pub(crate) frames: Pool,
    /// Free slots by [`Kind`].
    pub(crate) pools: [Pool; KINDS],
    pub(crate) kept_ports: [PortRange; KEPT_PORTS],
    pub(crate) ram_total: u64,
    pub(crate) arena_total: u64,
    /// Where the ring of the trace is.
    pub(crate) trace_base: u64,
    pub(crate) machine: M,
}

impl<M: Machine> core::fmt::Debug for Kernel<M> {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.debug_struct("Kernel").field("cpu", &self.cpu).finish_non_exhaustive()
    }
}

impl<M: Machine> Kernel<M> {
    /// A kernel without any program; [`Kernel::start`] comes next.
    ///
    /// `tables` must be all zero where it has memory, and read as zero elsewhere.
    #[must_use]
    pub fn new(machine: M, tables: M::Tables, boot: &Boot) -> Self {
        let capacities = &boot.capacities;
        let limit = |count: u32, slots: usize| Pool::new(count.min(slots as u32));
        let objects = crate::tables::OBJECTS;
        let now = machine.now();
        Self {
            machine,
            tables,
            cpu: Cpu::new(now),
            pools: [
                Pool::new(0),
                limit(capacities.processes, objects),
                limit(capacities.threads, objects),
                limit(capacities.batons, objects),
                limit(capacities.gates, objects),
                limit(capacities.connections, objects),
                limit(capacities.pulses, objects),
                limit(capacities.memories, objects),
            ],
            handle_pool: limit(capacities.handle_pages, crate::tables::HANDLE_PAGES),
            mapping_pool: limit(capacities.mappings, crate::tables::MAPPINGS),
            frames: limit(capacities.frames, crate::tables::FRAMES),
            frame_base: Cell::new(boot.frame_base),
            arrivals: Cell::new(1),
            dying: Cell::new(0),
            remains: Cell::new(0),
            remains_cursor: Cell::new(0),
            kept_ports: boot.kept_ports,
            ram_total: boot.ram_total,
            arena_total: boot.arena_length,
            trace_base: boot.trace.base,
        }
    }

    /// The machine, for whoever built the kernel.
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// Run for ever.
    pub fn run(&self) -> ! {
        loop {
            self.step();
        }
    }

    /// Run user code (or idle, or go on with a long copy) until it stops, and handle why.
    #[inline(always)]
    pub fn step(&self) {
        if self.cpu.attention.get() != 0 && !self.attend_to_all() {
            return;
        }
        let thread = self.tables.thread(self.cpu.thread.get());
        // It may be another thread that stops: messages are passed without a return from here.
        match self.machine.enter(thread.space.get(), &thread.context) {
            Trap::Call => self.system_call(self.cpu.thread.get()),
            Trap::Kick => {}
            trap => self.trapped(self.cpu.thread.get(), trap),
        }
    }

    /// Do what must be done before user code runs. False: do not run any, look again.
    #[inline(never)]
    pub(crate) fn attend_to_all(&self) -> bool {
        let cpu = &self.cpu;
        if cpu.attention.get() & POLL != 0 {
            cpu.attention.set(cpu.attention.get() & !POLL);
            self.poll();
            return false;
        }
        if cpu.attention.get() & LOOK != 0 {
            self.look();
            return false;
        }
        if cpu.attention.get() & (SCHEDULE | IDLE) != 0 {
            self.schedule();
            if cpu.attention.get() & (SCHEDULE | POLL) != 0 {
                return false;
            }
        }
        if cpu.attention.get() & IDLE != 0 {
            self.idle();
            return false;
        }
        if self.dying.get() != 0 {
            // The message path does not look whether a receiver's process is alive: look here, as long as any may be dead.
            cpu.attend(ALARM);
            let thread = self.tables.thread(cpu.thread.get());
            if !self.tables.process(thread.process.get()).header.alive() {
                self.end_thread(cpu.thread.get());
                cpu.attend(SCHEDULE);
                return false;
            }
        }
        if cpu.attention.get() & ALARM != 0 {
            if self.dying.get() == 0 {
                cpu.attention.set(cpu.attention.get() & !ALARM);
            }
            self.program_alarm();
        }
        if cpu.attention.get() & WORK != 0 {
            let index = cpu.thread.get();
            if self.tables.thread(index).work.get() == Work::None || self.tables.thread(index).code() != READY {
                cpu.attention.set(cpu.attention.get() & !WORK);
                cpu.attend(SCHEDULE);
            } else {
                // The first piece was done where the work began.
                if !self.poll() {
                    self.continue_work(index);
                }
            }
            return false;
        }
        true
    }

    fn idle(&self) {
        // A piece that an idle CPU does is one of its own.
        if self.poll() {
            return;
        }
        if self.finish_remains() || self.raise_idle() {
            self.bill_idle();
            return;
        }
        self.program_alarm();
        let trap = self.machine.idle();
        self.bill_idle();
        self.trapped(0, trap);
    }

    /// Between pieces of work: take what is pending, if anything is. User code runs again only by [`Kernel::step`].
    #[inline(never)]
    fn poll(&self) -> bool {
        self.machine.poll().map(|trap| self.trapped(0, trap)).is_some()
    }

    /// User code stopped for a reason other than a call. `index` 0: nobody ran.
    #[inline(never)]
    pub(crate) fn trapped(&self, index: u32, trap: Trap) {
        match trap {
            Trap::Call => self.system_call(index),
            Trap::PageFault { address, access } => self.page_fault(index, address, access),
            Trap::Exception { vector, code } => self.exception(index, vector, code),
            Trap::Interrupt { line } => self.interrupt(line),
            Trap::Alarm => self.alarm(),
            Trap::Kick => {}
        }
    }

    /// The slots of a kind.
    pub(crate) fn pool(&self, kind: Kind) -> &Pool {
        &self.pools[kind as usize & (KINDS - 1)]
    }

    /// How many objects of a kind are in use, for tests.
    #[must_use]
    pub fn objects(&self, kind: Kind) -> u32 {
        self.pool(kind).used()
    }
}
