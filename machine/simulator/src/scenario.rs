//! Words to write scenarios with. A scenario is the body of init ("root"), which builds processes, threads and gates with
//! real exchanges, as the system's own init does.
//!
//! Every process that [`Root::process`] makes has [`DATA_PAGES`] writable pages at [`DATA`], and every thread a stack.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;

use abi::boot::{BootRecord, MODULE_MAGIC, RAM_RANGES, RECORD_ADDRESS};
use abi::call::flags;
use abi::object::{access, baton, gate, memory, process, pulse, thread};
use abi::thread::{Configuration, Policy, State};
use abi::{Error, Handle, Quota, Rights};

use crate::program::{Answer, User};

/// Where every process has memory to play with.
pub const DATA: u64 = 0x20_0000_0000;
/// Pages at [`DATA`].
pub const DATA_PAGES: u64 = 8;
/// Where stacks are, 64 KiB apart.
const STACKS: u64 = 0x30_0000_0000;
/// Root's own stack distance.
const STACK_STEP: u64 = 0x1_0000;
/// How long [`Root::until`] waits before it calls it a failure, simulated ns.
const PATIENCE_NS: u64 = 2_000_000_000;

/// What an ordinary process of a scenario may have.
pub const QUOTA: Quota = Quota {
    processes: 4,
    threads: 16,
    batons: 16,
    gates: 16,
    connections: 64,
    pulses: 16,
    memories: 32,
    mappings: 128,
    pages: 128,
    priority: 200,
};

/// A quota as it lies in user memory.
#[must_use]
pub fn quota_bytes(quota: &Quota) -> Vec<u8> {
    [
        quota.processes,
        quota.threads,
        quota.batons,
        quota.gates,
        quota.connections,
        quota.pulses,
        quota.memories,
        quota.mappings,
        quota.pages,
        quota.priority,
    ]
    .iter()
    .flat_map(|number| number.to_le_bytes())
    .collect()
}

/// A quota read from user memory.
#[must_use]
pub fn quota_from_bytes(bytes: &[u8]) -> Quota {
    let number = |index: usize| u32::from_le_bytes(bytes[index * 4..index * 4 + 4].try_into().expect("four bytes"));
    Quota {
        processes: number(0),
        threads: number(1),
        batons: number(2),
        gates: number(3),
        connections: number(4),
        pulses: number(5),
        memories: number(6),
        mappings: number(7),
        pages: number(8),
        priority: number(9),
    }
}

/// A thread's configuration as it lies in user memory.
#[must_use]
pub fn configuration_bytes(configuration: &Configuration) -> Vec<u8> {
    [
        configuration.native_mask,
        configuration.upcall_syscall,
        configuration.upcall_interrupt,
        configuration.upcall_fault,
        configuration.upcall_block,
        configuration.window_start,
        configuration.window_end,
        configuration.cookie,
        configuration.fs_base,
        configuration.gs_base,
    ]
    .iter()
    .flat_map(|number| number.to_le_bytes())
    .collect()
}

/// What programs of a scenario noted, in order.
#[derive(Clone, Debug, Default)]
pub struct Log {
    notes: Rc<RefCell<Vec<String>>>,
}

impl Log {
    /// An empty log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Note something.
    pub fn note(&self, text: impl Into<String>) {
        self.notes.borrow_mut().push(text.into());
    }

    /// How many notes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.notes.borrow().len()
    }

    /// Whether nothing was noted yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.notes.borrow().is_empty()
    }

    /// Whether something holds of every note.
    pub fn all(&self, holds: impl Fn(&str) -> bool) -> bool {
        self.notes.borrow().iter().all(|note| holds(note))
    }

    /// All notes, in order.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        self.notes.borrow().clone()
    }

    /// Insist that exactly this was noted, in this order.
    #[track_caller]
    pub fn assert(&self, expected: &[&str]) {
        assert_eq!(*self.notes.borrow(), expected);
    }
}

/// A process as its maker sees it.
#[derive(Clone, Debug)]
pub struct Process {
    /// Root's handle to it.
    pub handle: Handle,
    /// Its identity.
    pub identity: u64,
    /// Memory behind its pages at [`DATA`], in root's table.
    pub memory: Handle,
    /// Stacks and buffers, by pages: another process's when this one is dismantled.
    pub(crate) memories: Rc<RefCell<Vec<(u64, Handle)>>>,
}

/// A thread as its maker sees it.
#[derive(Clone, Copy, Debug)]
pub struct Thread {
    /// Root's handle to it.
    pub handle: Handle,
    /// Root's handle to its own baton, or [`Handle::NONE`].
    pub baton: Handle,
    /// Where its program begins.
    pub base: u64,
}

/// What [`thread::STATE`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadState {
    /// The state.
    pub state: State,
    /// The STOPPED flag.
    pub stopped: bool,
    /// The priority it would run at.
    pub priority: u8,
    /// Whom it waits for.
    pub waits_for: u64,
    /// ns billed to its own baton.
    pub billed_ns: u64,
}

/// Who was on the processor when, as the processor saw it.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    /// Base of a program, from when, until when, ns.
    stretches: Rc<RefCell<Vec<(u64, u64, u64)>>>,
}

impl Timeline {
    /// What happens from now on.
    #[must_use]
    pub fn new(root: &Root) -> Self {
        let timeline = Self::default();
        let stretches = Rc::clone(&timeline.stretches);
        root.user.world().meter(move |program, ns, now| stretches.borrow_mut().push((program, now - ns, now)));
        timeline
    }

    /// From when until when these threads ran, with nobody in between.
    #[must_use]
    pub fn stretches(&self, of: &[Thread]) -> Vec<(u64, u64)> {
        let mut merged = Vec::<(u64, u64)>::new();
        for (program, from, until) in self.stretches.borrow().iter() {
            if of.iter().any(|thread| thread.base == *program) {
                match merged.last_mut() {
                    Some(last) if last.1 == *from => last.1 = *until,
                    _ => merged.push((*from, *until)),
                }
            }
        }
        merged
    }

    /// Which of these groups of threads ran for how long before another of them did, ns; others do not count.
    #[must_use]
    pub fn turns(&self, groups: &[&[Thread]]) -> Vec<(usize, u64)> {
        let mut turns = Vec::<(usize, u64)>::new();
        for (program, from, until) in self.stretches.borrow().iter() {
            let of = |group: &&[Thread]| group.iter().any(|thread| thread.base == *program);
            let Some(group) = groups.iter().position(of) else { continue };
            match turns.last_mut() {
                Some(last) if last.0 == group => last.1 += until - from,
                _ => turns.push((group, until - from)),
            }
        }
        turns
    }
}

/// How a thread is to be started.
#[derive(Clone, Debug)]
pub struct Plan {
    process: Process,
    name: String,
    baton: Option<Handle>,
    priority: Option<u8>,
    slice_ns: Option<u64>,
    fault: Handle,
    configuration: Option<Configuration>,
    argument: u64,
    foreign: bool,
}

impl Plan {
    /// A passive thread (without a baton of its own).
    #[must_use]
    pub fn new(process: &Process, name: &str) -> Self {
        Self {
            process: process.clone(),
            name: name.to_string(),
            baton: None,
            priority: None,
            slice_ns: None,
            fault: Handle::NONE,
            configuration: None,
            argument: 0,
            foreign: false,
        }
    }

    /// With a FIFO baton of this priority.
    #[must_use]
    pub const fn priority(mut self, priority: u8) -> Self {
        self.priority = Some(priority);
        self
    }

    /// With a round-robin baton of this slice.
    #[must_use]
    pub const fn round_robin(mut self, priority: u8, slice_ns: u64) -> Self {
        self.priority = Some(priority);
        self.slice_ns = Some(slice_ns);
        self
    }

    /// With this baton.
    #[must_use]
    pub const fn baton(mut self, baton: Handle) -> Self {
        self.baton = Some(baton);
        self
    }

    /// With this connection for faults.
    #[must_use]
    pub const fn fault(mut self, connection: Handle) -> Self {
        self.fault = connection;
        self
    }

    /// With this configuration.
    #[must_use]
    pub const fn configuration(mut self, configuration: Configuration) -> Self {
        self.configuration = Some(configuration);
        self
    }

    /// With this argument.
    #[must_use]
    pub const fn argument(mut self, argument: u64) -> Self {
        self.argument = argument;
        self
    }

    /// Outside the native range.
    #[must_use]
    pub const fn foreign(mut self) -> Self {
        self.foreign = true;
        self
    }
}

/// Init of a scenario.
#[derive(Clone)]
pub struct Root {
    /// The program itself.
    pub user: User,
    record: BootRecord,
    ram_used: Rc<Cell<u64>>,
    /// Memories of processes that were dismantled, by pages.
    recycled: Rc<RefCell<Vec<(u64, Handle)>>>,
    identities: Rc<Cell<u64>>,
    gate: Rc<Cell<Handle>>,
    scratch: u64,
}

impl Root {
    /// Read the boot record and get ready.
    pub async fn new(user: User) -> Self {
        let bytes = user.load(RECORD_ADDRESS, size_of::<BootRecord>() as u64).await.expect("the boot record is mapped");
        let word = |index: usize| u64::from_le_bytes(bytes[index * 8..index * 8 + 8].try_into().expect("eight bytes"));
        let after = 5 + RAM_RANGES;
        let record = BootRecord {
            magic: word(0),
            thread: Handle(word(1)),
            archive: Handle(word(2)),
            archive_length: word(3),
            ram_count: word(4),
            ram: std::array::from_fn(|index| Handle(word(5 + index))),
            ports: Handle(word(after)),
            interrupts: Handle(word(after + 1)),
            devices: Handle(word(after + 2)),
            acpi_root: word(after + 3),
            firmware: Handle(word(after + 4)),
            tsc_hz: word(after + 5),
            tsc_base: word(after + 6),
            ram_total: word(after + 7),
            arena_length: word(after + 8),
            entry_tsc: word(after + 9),
            trace: Handle(word(after + 10)),
        };
        assert_eq!(record.magic, MODULE_MAGIC);
        let root = Self {
            user,
            record,
            ram_used: Rc::default(),
            recycled: Rc::default(),
            identities: Rc::new(Cell::new(1)),
            gate: Rc::new(Cell::new(Handle::NONE)),
            scratch: abi::boot::STACK_TOP - 2048,
        };
        root.user.method(Handle::SELF_PROCESS, process::GROW_HANDLES, [1024, 0, 0, 0]).ok().await;
        let gate = root.gate_in(Handle::SELF_PROCESS, Handle::NONE, 0).await;
        root.gate.set(gate);
        root
    }

    /// What init was told at boot.
    #[must_use]
    pub const fn record(&self) -> &BootRecord {
        &self.record
    }

    /// Root's gate.
    #[must_use]
    pub fn own_gate(&self) -> Handle {
        self.gate.get()
    }

    /// Let simulated time pass.
    pub async fn sleep(&self, ns: u64) {
        let until = self.user.now() + ns;
        let answer = self.user.receive(self.gate.get()).deadline(until, flags::DEADLINE_RECEIVE).await;
        assert_eq!(answer.error(), Some(Error::TimedOut));
    }

    /// Wait until something is so.
    #[track_caller]
    pub fn until(&self, condition: impl Fn() -> bool) -> impl Future<Output = ()> {
        let place = std::panic::Location::caller();
        let root = self.clone();
        async move {
            let start = root.user.now();
            while !condition() {
                assert!(root.user.now() < start + PATIENCE_NS, "{place}: it never came to be");
                root.sleep(20_000).await;
            }
        }
    }

    /// Wait until so many notes are in a log.
    #[track_caller]
    pub fn until_noted(&self, log: &Log, count: usize) -> impl Future<Output = ()> {
        let log = log.clone();
        self.until(move || log.len() >= count)
    }

    /// New Memory of so many pages, charged to root.
    pub async fn memory(&self, pages: u64) -> Handle {
        let fitting = self.recycled.borrow().iter().position(|(size, _)| *size == pages);
        if let Some(index) = fitting {
            return self.recycled.borrow_mut().swap_remove(index).1;
        }
        let offset = self.ram_used.get();
        let length = pages * abi::PAGE_SIZE;
        self.ram_used.set(offset + length);
        let ram = self.record.ram[0];
        self.user
            .method(ram, memory::DERIVE, [Handle::SELF_PROCESS.0, offset, length, u64::from(Rights::ALL.0)])
            .ok()
            .await
            .handle()
    }

    /// New Memory of so many pages whose physical address is a multiple of so many.
    pub async fn aligned_memory(&self, pages: u64, alignment_pages: u64) -> Handle {
        let base = self.user.method(self.record.ram[0], memory::INFORMATION, [0; 4]).ok().await.words[2];
        let align = alignment_pages * abi::PAGE_SIZE;
        self.ram_used.set((base + self.ram_used.get()).next_multiple_of(align) - base);
        self.memory(pages).await
    }

    /// Map all of a Memory.
    pub async fn map(&self, into: Handle, memory: Handle, address: u64, bits: u64, pages: u64) -> Answer {
        self.user.method(into, process::MAP, [memory.0, address | bits, 0, pages * abi::PAGE_SIZE]).repeat().await
    }

    /// New process with the ordinary quota.
    pub async fn process(&self) -> Process {
        self.process_with(QUOTA).await
    }

    /// New process with a quota of its own.
    pub async fn process_with(&self, quota: Quota) -> Process {
        self.process_reusing(quota, None).await
    }

    /// New process with a quota and, perhaps, a Memory of an earlier one for its data.
    pub async fn process_reusing(&self, quota: Quota, memory: Option<Handle>) -> Process {
        let identity = self.identities.get() + 1;
        self.identities.set(identity);
        let bytes = quota_bytes(&quota);
        self.user.store(self.scratch, &bytes).await.expect("root is never moved");
        let handle = self
            .user
            .method(Handle::SELF_PROCESS, process::CREATE_PROCESS, [identity, 0, 0, 0])
            .send(self.scratch, bytes.len() as u64)
            .ok()
            .await
            .handle();
        let memory = match memory {
            Some(memory) => memory,
            None => self.memory(DATA_PAGES).await,
        };
        let mapped = self.map(handle, memory, DATA, access::READ | access::WRITE, DATA_PAGES).await;
        assert_eq!(mapped.error(), None, "map the process's memory");
        Process { handle, identity, memory, memories: Rc::default() }
    }

    async fn gate_in(&self, process: Handle, reserve: Handle, grace_ns: u64) -> Handle {
        self.user.method(process, process::CREATE_GATE, [reserve.0, grace_ns, 0, 0]).ok().await.handle()
    }

    /// New gate of a process, without a reserve baton.
    pub async fn gate(&self, process: &Process) -> Handle {
        self.gate_in(process.handle, Handle::NONE, 0).await
    }

    /// New gate of a process with a reserve baton and a grace time.
    pub async fn gate_with(&self, process: &Process, reserve: Handle, grace_ns: u64) -> Handle {
        self.gate_in(process.handle, reserve, grace_ns).await
    }

    /// New baton of a process.
    pub async fn baton(&self, process: &Process, priority: u8) -> Handle {
        self.baton_with(process, priority, Policy::Fifo, 0, 0, 0).await
    }

    /// New baton of a process, with everything said.
    pub async fn baton_with(
        &self,
        process: &Process,
        priority: u8,
        policy: Policy,
        slice_ns: u64,
        period_ns: u64,
        low: u8,
    ) -> Handle {
        self.user
            .method(process.handle, process::CREATE_BATON, [u64::from(priority), policy as u64, slice_ns, period_ns])
            .option(u64::from(low))
            .ok()
            .await
            .handle()
    }

    /// New connection to a gate, in root's table.
    pub async fn connect(&self, gate: Handle, badge: u64) -> Handle {
        self.user.method(gate, gate::CONNECT, [badge, 0, 0, 0]).ok().await.handle()
    }

    /// Put a copy of a handle of root's into a process's table.
    pub async fn give(&self, process: &Process, handle: Handle, rights: Rights) -> Handle {
        self.user.method(process.handle, process::GIVE, [handle.0, u64::from(rights.0), 0, 0]).ok().await.handle()
    }

    /// Give a gate to receive at (and everything else).
    pub async fn give_gate(&self, process: &Process, gate: Handle) -> Handle {
        self.give(process, gate, Rights::ALL).await
    }

    /// New connection to a gate, in a process's table only.
    pub async fn give_connection(&self, process: &Process, gate: Handle, badge: u64) -> Handle {
        let connection = self.connect(gate, badge).await;
        let given = self.give(process, connection, Rights::SEND.and(Rights::COPY)).await;
        self.close(connection).await;
        given
    }

    /// New pulse to a gate, charged to a process.
    pub async fn pulse(
        &self,
        process: &Process,
        gate: Handle,
        badge: u64,
        priority: u8,
        counts: bool,
        baton: Handle,
    ) -> Handle {
        let kind = u64::from(counts) | u64::from(priority) << 8;
        self.user.method(process.handle, process::CREATE_PULSE, [gate.0, badge, kind, baton.0]).ok().await.handle()
    }

    /// Have a pulse raised at a time, and then every so often (0: once).
    pub async fn alarm(&self, pulse: Handle, at_ns: u64, period_ns: u64) {
        self.user.method(pulse, pulse::SET_ALARM, [at_ns, period_ns, 0, 0]).ok().await;
    }

    /// Close a handle of root's.
    pub async fn close(&self, handle: Handle) {
        self.user.method(Handle::SELF_PROCESS, process::CLOSE, [handle.0, 0, 0, 0]).ok().await;
    }

    /// Empty slots of root's table, whether or not what they named was destroyed.
    pub async fn forget(&self, handles: &[Handle]) {
        for handle in handles {
            let _ = self.user.method(Handle::SELF_PROCESS, process::CLOSE, [handle.0, 0, 0, 0]).await;
        }
    }

    /// Destroy what a handle of root's names, to the end.
    pub async fn destroy(&self, handle: Handle) {
        self.user.method(Handle::SELF_PROCESS, process::DESTROY, [handle.0, 0, 0, 0]).ok().await;
    }

    /// Destroy a process to the end, if it is not yet; its data, stacks and buffers become other processes' (with what is in them).
    pub async fn dismantle(&self, process: Process) {
        let words = [process.handle.0, 0, 0, 0];
        let destroyed = self.user.method(Handle::SELF_PROCESS, process::DESTROY, words).repeat().await.error();
        assert!(matches!(destroyed, None | Some(Error::BadHandle)), "{destroyed:?}");
        let mut recycled = self.recycled.borrow_mut();
        recycled.push((DATA_PAGES, process.memory));
        recycled.extend(process.memories.take());
    }

    /// What a process may have and what it has.
    pub async fn usage(&self, process: Handle) -> abi::quota::Usage {
        let length = size_of::<abi::quota::Usage>() as u64;
        self.user.method(process, process::USAGE, [0; 4]).room(self.scratch, length).ok().await;
        let bytes = self.user.load(self.scratch, length).await.expect("root is never moved");
        abi::quota::Usage { limit: quota_from_bytes(&bytes[..40]), used: quota_from_bytes(&bytes[40..]) }
    }

    /// Bytes of the kernel's arena in use.
    pub async fn arena_used(&self) -> u64 {
        self.user.method(Handle::SELF_PROCESS, process::SYSTEM, [0; 4]).ok().await.words[0]
    }

    /// What a thread is doing.
    pub async fn state(&self, thread: Thread) -> ThreadState {
        let words = self.user.method(thread.handle, thread::STATE, [0; 4]).ok().await.words;
        ThreadState {
            state: State::from_number(words[0] as u8).expect("a state"),
            stopped: words[0] >> 8 & 1 != 0,
            priority: (words[0] >> 16) as u8,
            waits_for: words[1],
            billed_ns: words[2],
        }
    }

    /// Wait until a thread is in a state.
    #[track_caller]
    pub fn until_state(&self, thread: Thread, state: State) -> impl Future<Output = ()> {
        let place = std::panic::Location::caller();
        let root = self.clone();
        async move {
            let start = root.user.now();
            loop {
                let now = root.state(thread).await;
                if now.state == state {
                    break;
                }
                assert!(
                    root.user.now() < start + PATIENCE_NS,
                    "{place}: the thread never came to be {}, it is {now:?}",
                    state.name()
                );
                root.sleep(20_000).await;
            }
        }
    }

    /// Start a thread.
    pub async fn start<F: Future<Output = ()> + 'static>(&self, plan: Plan, body: impl FnOnce(User) -> F) -> Thread {
        let world = self.user.world();
        let base = if plan.foreign { world.foreign_program(&plan.name, body) } else { world.program(&plan.name, body) };
        self.start_at(plan, base).await
    }

    /// Start a thread, and wait until it receives.
    pub async fn start_server<F: Future<Output = ()> + 'static>(
        &self,
        plan: Plan,
        body: impl FnOnce(User) -> F,
    ) -> Thread {
        let thread = self.start(plan, body).await;
        self.until_state(thread, State::Receive).await;
        thread
    }

    /// The same for a passive thread: it needs a baton to come to its first receive, and has none from then on.
    pub async fn start_passive<F: Future<Output = ()> + 'static>(
        &self,
        plan: Plan,
        body: impl FnOnce(User) -> F,
    ) -> Thread {
        let thread = self.start_server(plan.priority(50), body).await;
        self.user.method(thread.handle, thread::SET_BATON, [0; 4]).ok().await;
        thread
    }

    /// ns billed to a baton.
    pub async fn billed(&self, baton: Handle) -> u64 {
        self.user.method(baton, baton::INFORMATION, [0; 4]).ok().await.words[0]
    }

    /// Start a thread at an instruction pointer.
    pub async fn start_at(&self, plan: Plan, base: u64) -> Thread {
        let thread = self.create_thread(&plan, base).await;
        self.begin(&plan, thread).await;
        thread
    }

    /// Create a thread and all it needs, but do not start it.
    pub async fn create_thread(&self, plan: &Plan, base: u64) -> Thread {
        let handle =
            self.user.method(plan.process.handle, process::CREATE_THREAD, [plan.fault.0, 0, 0, 0]).ok().await.handle();
        if let Some(configuration) = &plan.configuration {
            let bytes = configuration_bytes(configuration);
            self.user.store(self.scratch, &bytes).await.expect("root is never moved");
            self.user.method(handle, thread::CONFIGURE, [0; 4]).send(self.scratch, bytes.len() as u64).ok().await;
        }
        let baton = match (plan.baton, plan.priority, plan.slice_ns) {
            (Some(baton), _, _) => baton,
            (None, None, _) => Handle::NONE,
            (None, Some(priority), None) => self.baton(&plan.process, priority).await,
            (None, Some(priority), Some(slice)) => {
                self.baton_with(&plan.process, priority, Policy::RoundRobin, slice, 0, 0).await
            }
        };
        let name = plan.name.bytes().chain(std::iter::repeat(0)).take(16).collect::<Vec<_>>();
        let word = |range: std::ops::Range<usize>| u64::from_le_bytes(name[range].try_into().expect("eight bytes"));
        self.user.method(handle, thread::SET_NAME, [word(0..8), word(8..16), 0, 0]).ok().await;
        Thread { handle, baton, base }
    }

    /// Start a thread that was created.
    pub async fn begin(&self, plan: &Plan, thread: Thread) {
        let number = plan.process.memories.borrow().len() as u64;
        let stack = self.memory(1).await;
        plan.process.memories.borrow_mut().push((1, stack));
        let bottom = STACKS + number * STACK_STEP;
        let mapped = self.map(plan.process.handle, stack, bottom, access::READ | access::WRITE, 1).await;
        assert_eq!(mapped.error(), None, "map a stack");
        let top = bottom + abi::PAGE_SIZE;
        self.user.method(thread.handle, thread::START, [thread.base, top, plan.argument, thread.baton.0]).ok().await;
    }
}
