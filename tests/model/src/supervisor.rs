//! The supervisor: it makes processes, threads and gates, kills and replaces them, and disturbs threads.

use std::rc::Rc;

use abi::object::{baton, process, pulse, thread};
use abi::{Handle, Rights};
use simulator::scenario::{Plan, Process, Root, Thread};

use crate::action::Order;
use crate::lockstep::{LIMIT, Run, act_all, baton_words};
use crate::program::{GATES, ROLES, THREADS};
use crate::specification::object::{BatonId, Counts, GateId, MemoryId, Object, ProcessId, PulseId, ThreadId};
use crate::specification::{SLICE_NS, Specification};

/// How often it is looked whether anything still happens, simulated ns.
const LOOK_NS: u64 = 100_000;
/// Looks without anything happening before it is over.
const LOOKS: u32 = 2;
/// Priorities of the threads of each role.
const PRIORITIES: [[u8; THREADS]; ROLES] = [[10, 20], [20, 10], [30, 10]];
/// Grace times and priorities of the reserve batons of the gates, 0: none.
const GRACES: [u64; GATES] = [0, 20_000, 5_000, 20_000];
const RESERVES: [u8; GATES] = [0, 15, 0, 25];
/// Pulses of a gate: weaker and stronger than callers mostly are.
const PULSES: [(bool, u8); 2] = [(false, 9), (true, 35)];
const COPYABLE: Rights = Rights::SEND.and(Rights::COPY);

/// What processes may do with each other.
const MANAGED: Rights = Rights::MANAGE.and(Rights::COPY);
/// Pages of the Memory that a process in a role is given: as many as no other has, so that it is new. And what others may do with it.
const MEMORY_PAGES: u64 = 4;
const SHARED: Rights = Rights::READ.and(Rights::WRITE).and(Rights::COPY);

/// What threads are called at first.
const NAME: &[u8; 8] = b"thread\0\0";

/// A process that plays a role.
struct Role {
    id: ProcessId,
    process: Process,
    threads: Vec<(ThreadId, BatonId, Thread)>,
    /// Memory that it was given, until that is revoked.
    memory: Option<(MemoryId, Handle)>,
}

/// A gate, and pulses to it.
struct Entrance {
    id: GateId,
    handle: Handle,
    pulses: Vec<(PulseId, Handle)>,
}

/// What the supervisor knows.
struct Supervisor {
    root: Root,
    run: Rc<Run>,
    roles: [Option<Role>; ROLES],
    entrances: [Option<Entrance>; GATES],
    /// Memory of processes' data, which others have after them, and the model's number of the buffers in it.
    areas: Vec<(Handle, usize)>,
}

/// Set everything up, give orders, and let it run until nothing happens any more.
pub(crate) async fn conduct(root: Root, run: Rc<Run>, orders: Vec<Order>) {
    let mut supervisor =
        Supervisor { root, run, roles: Default::default(), entrances: Default::default(), areas: Vec::new() };
    supervisor.hold(true);
    for role in 0..ROLES {
        supervisor.renew(role).await;
    }
    supervisor.hold(false);
    for order in orders {
        if supervisor.is_over() {
            return;
        }
        supervisor.carry_out(order).await;
    }
    supervisor.wait().await;
}

impl Supervisor {
    fn is_over(&self) -> bool {
        self.run.over.get()
    }

    /// What comes is one step, which takes no time; or it is over.
    fn hold(&self, held: bool) {
        let now = self.root.user.now();
        if !held {
            // Requests that were queued again may be late already.
            self.run.model.borrow_mut().pass_time(now);
        }
        self.root.user.world().hold_time(held);
        self.run.comparable.set(!held);
    }

    /// Something happens to the model by the supervisor's hand.
    fn supervise<R>(&self, action: impl FnOnce(&mut Specification) -> R) -> R {
        self.run.model.borrow_mut().supervise(self.root.user.now(), action)
    }

    async fn method(&self, object: Handle, method: u16, words: [u64; 4]) {
        self.root.user.method(object, method, words).ok().await;
    }

    /// Until nothing happens any more; those that are parked are woken, once.
    async fn wait(&self) {
        let (mut last, mut quiet) = (u64::MAX, 0);
        while !self.is_over() && quiet < LOOKS {
            self.root.sleep(LOOK_NS).await;
            quiet = if self.run.steps.get() == last { quiet + 1 } else { 0 };
            last = self.run.steps.get();
            for entrance in self.entrances.iter().flatten() {
                let (pulse, handle) = entrance.pulses[0];
                let useful = |model: &Specification| {
                    let alive = model.is_alive(Object::Gate(entrance.id)) && model.is_alive(Object::Pulse(pulse));
                    alive && !model.gates[entrance.id].parked.is_empty()
                };
                if self.supervise(|model| useful(model)) {
                    self.supervise(|model| model.raise(pulse, 1));
                    self.root.user.raise(handle, 1).ok().await;
                }
            }
        }
    }

    async fn carry_out(&mut self, order: Order) {
        match order {
            Order::Sleep(ns) => self.root.sleep(ns.max(1)).await,
            Order::Kill(role) => {
                if let Some(Role { id, process, memory, .. }) = self.roles[role].take() {
                    self.hold(true);
                    self.supervise(|model| model.destroy_process(id));
                    self.root.dismantle(process).await;
                    self.revoke(memory).await;
                    self.hold(false);
                }
            }
            Order::Revoke(role) => {
                let memory = self.roles[role].as_mut().and_then(|role| role.memory.take());
                self.hold(true);
                self.revoke(memory).await;
                self.hold(false);
            }
            Order::Replace(role) => {
                self.hold(true);
                self.renew(role).await;
                self.hold(false);
            }
            Order::DestroyGate(gate) => {
                let entrance = self.entrances[gate].take();
                if let Some(entrance) = entrance
                    && self.run.model.borrow().is_alive(Object::Gate(entrance.id))
                {
                    self.hold(true);
                    self.supervise(|model| model.destroy_gate(entrance.id));
                    self.root.destroy(entrance.handle).await;
                    self.hold(false);
                }
            }
            Order::Bind { gate, pulse, line, limit } => {
                let Some(Entrance { pulses, .. }) = &self.entrances[gate] else { return };
                let (id, handle) = pulses[pulse];
                let possible = |model: &Specification| model.is_alive(Object::Pulse(id)) && model.can_bind(id, line);
                if possible(&self.run.model.borrow()) {
                    self.supervise(|model| model.bind_line(id, line, limit));
                    let lines = self.root.record().interrupts;
                    let exchange =
                        self.root.user.method(handle, pulse::BIND_INTERRUPT, [lines.0, line as u64, limit, 0]);
                    exchange.option(u64::from(line == 0)).ok().await;
                }
            }
            Order::Ask(0) => self.root.user.world().edge(0),
            Order::Ask(line) => self.root.user.world().set_line(line as u32, true),
            Order::Quiet(line) => self.root.user.world().set_line(line as u32, false),
            Order::Interrupt(role, number) => {
                if let Some((id, _, thread)) = self.thread(role, number) {
                    self.supervise(|model| model.interrupt(id));
                    self.method(thread.handle, thread::INTERRUPT, [0; 4]).await;
                }
            }
            Order::Stop(role, number, stop) => {
                if let Some((id, _, thread)) = self.thread(role, number) {
                    self.supervise(|model| model.stop(id, stop));
                    let method = if stop { thread::STOP } else { thread::CONTINUE };
                    self.method(thread.handle, method, [0; 4]).await;
                }
            }
            Order::SetPriority(role, number, priority) => {
                if let Some((_, id, thread)) = self.thread(role, number)
                    && self.run.model.borrow().is_alive(Object::Baton(id))
                {
                    let priority = priority.min(LIMIT.priority as u8);
                    self.supervise(|model| model.batons[id].priority = priority);
                    self.method(thread.baton, baton::SET, baton_words(priority)).await;
                }
            }
            Order::SetBaton(role, number, give) => {
                if let Some((id, baton, thread)) = self.thread(role, number)
                    && (!give || self.run.model.borrow().is_free(baton))
                {
                    self.supervise(|model| model.set_baton(id, give.then_some(baton)));
                    let baton = if give { thread.baton } else { Handle::NONE };
                    self.method(thread.handle, thread::SET_BATON, [baton.0, 0, 0, 0]).await;
                }
            }
        }
    }

    /// Destroy Memory that was given.
    async fn revoke(&self, memory: Option<(MemoryId, Handle)>) {
        if let Some((id, handle)) = memory {
            self.supervise(|model| model.destroy_memory(id));
            self.root.destroy(handle).await;
        }
    }

    /// A thread of a role that was not destroyed.
    fn thread(&self, role: usize, number: usize) -> Option<(ThreadId, BatonId, Thread)> {
        let thread = *self.roles[role].as_ref()?.threads.get(number)?;
        self.run.model.borrow().is_alive(Object::Thread(thread.0)).then_some(thread)
    }

    /// Fill a role that is empty, and make the gates that are missing.
    async fn renew(&mut self, role: usize) {
        let fresh = self.roles[role].is_none();
        if fresh {
            self.fill(role).await;
        }
        for gate in [role, ROLES] {
            let alive = |entrance: &Entrance| self.run.model.borrow().is_alive(Object::Gate(entrance.id));
            if !self.entrances[gate].as_ref().is_some_and(alive) {
                self.open(gate).await;
            } else if fresh {
                self.admit(gate, role).await;
            }
        }
        if fresh {
            for gate in (0..ROLES).filter(|gate| *gate != role) {
                self.admit(gate, role).await;
            }
            for other in (0..ROLES).filter(|other| *other != role) {
                self.introduce(role, other).await;
                self.introduce(other, role).await;
            }
            let Some(Role { process, threads, .. }) = &self.roles[role] else { return };
            let (plan, threads) = (self.plan(process, role, 0), threads.clone());
            for (id, baton, thread) in threads {
                self.supervise(|model| model.begin(id, baton));
                self.root.begin(&plan, thread).await;
            }
        }
    }

    /// The buffers in a Memory.
    fn area(&mut self, memory: Handle) -> usize {
        let known = self.areas.iter().find(|(handle, _)| *handle == memory).map(|(_, area)| *area);
        known.unwrap_or_else(|| {
            let area = self.supervise(Specification::add_area);
            self.areas.push((memory, area));
            area
        })
    }

    fn plan(&self, process: &Process, role: usize, thread: usize) -> Plan {
        Plan::new(process, "thread").round_robin(PRIORITIES[role][thread], SLICE_NS)
    }

    /// A process for a role, with threads that are not started.
    async fn fill(&mut self, role: usize) {
        let process = self.root.process_with(LIMIT).await;
        let limit = Counts {
            processes: LIMIT.processes,
            threads: LIMIT.threads,
            batons: LIMIT.batons,
            gates: LIMIT.gates,
            connections: LIMIT.connections,
            pulses: LIMIT.pulses,
            memories: LIMIT.memories,
        };
        let cap = LIMIT.priority as u8;
        let area = self.area(process.memory);
        let id = self.supervise(|model| model.add_process(None, limit, cap, process.identity, area));
        let mut threads = Vec::new();
        for (number, priority) in PRIORITIES[role].into_iter().enumerate() {
            let (thread, baton) = self.supervise(|model| {
                let (thread, baton) = (model.add_thread(id), model.add_baton(Some(id), priority));
                model.threads[thread].name = [u64::from_le_bytes(*NAME), 0];
                // The order in which they are made.
                model.pay(id, Object::Thread(thread));
                model.pay(id, Object::Baton(baton));
                (thread, baton)
            });
            let (run, script) = (Rc::clone(&self.run), role * THREADS + number);
            let body = move |user| act_all(user, run, thread, Some(script));
            let base = self.root.user.world().program("thread", body);
            let handles = self.root.create_thread(&self.plan(&process, role, number), base).await;
            self.give(id, &process, handles.handle, Object::Thread(thread), Rights::ALL).await;
            self.give(id, &process, handles.baton, Object::Baton(baton), Rights::ALL).await;
            threads.push((thread, baton, handles));
        }
        self.run.made.borrow_mut().push((id, process.handle));
        let handle = self.root.memory(MEMORY_PAGES).await;
        let memory = self.supervise(|model| model.add_memory(MEMORY_PAGES as usize));
        self.give(id, &process, handle, Object::Memory(memory), Rights::ALL).await;
        for other in self.roles.iter().flatten() {
            self.give(other.id, &other.process, handle, Object::Memory(memory), SHARED).await;
        }
        self.roles[role] = Some(Role { id, process, threads, memory: Some((memory, handle)) });
    }

    /// A new gate, of a role's process or the supervisor's own, and pulses to it, for all.
    async fn open(&mut self, gate: usize) {
        let owner = self.roles.get(gate).map(|role| role.as_ref().map(|role| (role.id, role.process.handle)));
        let (owner, creator) = match owner {
            Some(None) => return,
            Some(Some((id, handle))) => (Some(id), handle),
            None => (None, Handle::SELF_PROCESS),
        };
        let needed = Counts { batons: 1, gates: 1, pulses: PULSES.len() as u32, ..Counts::all(0) };
        if owner.is_some_and(|id| !self.run.model.borrow().has_left(id, needed)) {
            return;
        }
        let mut reserve = Handle::NONE;
        let baton = (RESERVES[gate] != 0).then(|| self.supervise(|model| model.add_baton(owner, RESERVES[gate])));
        if let Some(baton) = baton {
            self.pay(owner, Object::Baton(baton));
            let words = baton_words(RESERVES[gate]);
            reserve = self.root.user.method(creator, process::CREATE_BATON, words).ok().await.handle();
        }
        let id = self.supervise(|model| model.add_gate(owner, GRACES[gate]));
        self.pay(owner, Object::Gate(id));
        self.supervise(|model| model.gates[id].reserve = baton);
        let words = [reserve.0, GRACES[gate], 0, 0];
        let handle = self.root.user.method(creator, process::CREATE_GATE, words).ok().await.handle();
        let mut pulses = Vec::new();
        for (counts, priority) in PULSES {
            let pulse = self.supervise(|model| model.add_pulse(owner, id, counts, priority));
            self.pay(owner, Object::Pulse(pulse));
            let words = [handle.0, pulse as u64, u64::from(counts) | u64::from(priority) << 8, 0];
            pulses.push((pulse, self.root.user.method(creator, process::CREATE_PULSE, words).ok().await.handle()));
        }
        self.entrances[gate] = Some(Entrance { id, handle, pulses });
        for role in 0..ROLES {
            self.admit(gate, role).await;
        }
    }

    /// Let one role's process manage another's, if both are there.
    async fn introduce(&self, role: usize, to: usize) {
        if let (Some(managed), Some(to)) = (&self.roles[role], &self.roles[to]) {
            self.give(to.id, &to.process, managed.process.handle, Object::Process(managed.id), MANAGED).await;
        }
    }

    fn pay(&self, owner: Option<ProcessId>, object: Object) {
        if let Some(owner) = owner {
            self.supervise(|model| model.pay(owner, object));
        }
    }

    /// Give a role's process what it may have of a gate: its own and the first two roles the supervisor's to receive at, all a
    /// connection and pulses.
    async fn admit(&self, gate: usize, role: usize) {
        let (Some(Role { id, process, .. }), Some(entrance)) = (&self.roles[role], &self.entrances[gate]) else {
            return;
        };
        if !self.run.model.borrow().is_alive(Object::Gate(entrance.id)) {
            return;
        }
        if gate == role || (gate == ROLES && role < 2) {
            self.give(*id, process, entrance.handle, Object::Gate(entrance.id), Rights::ALL).await;
        }
        for (pulse, handle) in &entrance.pulses {
            if self.run.model.borrow().is_alive(Object::Pulse(*pulse)) {
                let rights = if gate == role { Rights::ALL } else { COPYABLE };
                self.give(*id, process, *handle, Object::Pulse(*pulse), rights).await;
            }
        }
        if self.run.model.borrow().has_room(*id) {
            let connection = self.supervise(|model| model.add_connection(None, entrance.id));
            let given = self.root.give_connection(process, entrance.handle, connection as u64).await;
            self.supervise(|model| model.give(*id, given, Object::Connection(connection), COPYABLE));
        }
    }

    /// Give a process a handle, if its table has room.
    async fn give(&self, id: ProcessId, process: &Process, handle: Handle, object: Object, rights: Rights) {
        if self.run.model.borrow().has_room(id) {
            let given = self.root.give(process, handle, rights).await;
            self.supervise(|model| model.give(id, given, object, rights));
        }
    }
}
