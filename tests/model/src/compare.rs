//! Whether the kernel's state is the model's.
//!
//! Which slot the kernel gave to an object is learned when the object is first seen, through a handle or as something that
//! a thread uses; from then on it must be that one.

use std::collections::BTreeMap;

use abi::object::Kind;
use abi::thread::State as KernelState;
use abi::{Handle, PAGE_SIZE, Quota};
use kernel::Kernel;
use kernel::inspect::WaiterView;
use simulator::Processor;

use crate::lockstep::WINDOW_START;
use crate::specification::object::{Counts, Object, ProcessId, State, Thread, ThreadId, Waiter};
use crate::specification::{Specification, TABLE_PAGE, WINDOW};

/// The kernel's first process.
const SUPERVISOR: u32 = 1;

/// What the kernel calls what the model knows.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Slots by kind and the model's number, 0: not known yet.
    slots: [Vec<u32>; 9],
    /// Ids of requests by the model's number.
    requests: BTreeMap<u64, u64>,
    /// Objects that are not the model's, by kind: the supervisor's own.
    others: Option<[u32; 8]>,
    /// Pages for tables of a process when it was first seen.
    pages: BTreeMap<ProcessId, u32>,
}

/// A kind and the model's number.
const fn number(object: Object) -> (Kind, usize) {
    let id = match object {
        Object::Reserved => 0,
        Object::Process(id)
        | Object::Thread(id)
        | Object::Baton(id)
        | Object::Gate(id)
        | Object::Connection(id)
        | Object::Pulse(id)
        | Object::Memory(id) => id,
    };
    (object.kind(), id)
}

impl Names {
    /// The slot of an object, 0: not known.
    fn slot(&self, object: Object) -> u32 {
        let (kind, id) = number(object);
        self.slots[kind as usize].get(id).copied().unwrap_or(0)
    }

    /// Whether an object is in this slot; if it was never seen, it is.
    fn agrees(&mut self, object: Object, slot: u32) -> bool {
        let (kind, id) = number(object);
        let slots = &mut self.slots[kind as usize];
        if slots.len() <= id {
            slots.resize(id + 1, 0);
        }
        if slots[id] == 0 {
            slots[id] = slot;
        }
        slots[id] == slot || object == Object::Reserved
    }

    /// The supervisor's handles name these processes.
    pub(crate) fn learn(&mut self, processes: &[(ProcessId, Handle)], kernel: &Kernel<Processor>) {
        kernel.entries(SUPERVISOR, |entry| {
            for (process, _) in processes.iter().filter(|(_, handle)| handle.0 == entry.handle) {
                self.agrees(Object::Process(*process), entry.object.0);
            }
        });
    }

    /// Whether the kernel has work to finish before a thread runs.
    pub(crate) fn works(&self, kernel: &Kernel<Processor>, thread: ThreadId) -> bool {
        kernel.view_thread(self.slot(Object::Thread(thread))).works
    }

    /// Which ids the requests have that wait now.
    pub(crate) fn learn_requests(&mut self, model: &Specification, kernel: &Kernel<Processor>) {
        for (id, thread) in model.threads.iter().enumerate() {
            let view = kernel.view_thread(self.slot(Object::Thread(id)));
            // One that ended within the same step has another id since.
            if thread.request != 0 && matches!(view.state, KernelState::Send | KernelState::Reply) {
                self.requests.entry(thread.request).or_insert(view.request);
            }
        }
    }

    /// A thread received a request that nobody saw wait: its caller died within the same step.
    pub(crate) fn learn_request(&mut self, number: u64, id: u64) {
        if self.request_number(id) == 0 {
            self.requests.entry(number).or_insert(id);
        }
    }

    /// The kernel's id of a request.
    pub(crate) fn request(&self, number: u64) -> Option<u64> {
        self.requests.get(&number).copied()
    }

    /// The model's number of a request, 0: there is none.
    pub(crate) fn request_number(&self, id: u64) -> u64 {
        self.requests.iter().rev().find(|(_, known)| **known == id).map_or(0, |(number, _)| *number)
    }

    /// What differs first.
    pub(crate) fn compare(&mut self, model: &mut Specification, kernel: &Kernel<Processor>) -> Option<String> {
        self.compare_tables(model, kernel)
            .or_else(|| self.compare_threads(model, kernel))
            .or_else(|| self.compare_gates(model, kernel))
            .or_else(|| self.compare_windows(model, kernel))
            .or_else(|| self.compare_rest(model, kernel))
    }

    fn compare_tables(&mut self, model: &mut Specification, kernel: &Kernel<Processor>) -> Option<String> {
        for id in 0..model.processes.len() {
            let slot = self.slot(Object::Process(id));
            if !model.processes[id].alive || slot == 0 {
                continue;
            }
            let (mut found, mut wrong) = (0, None);
            kernel.entries(slot, |entry| {
                let handle = Handle(entry.handle);
                if handle.index() < Handle::FIRST_FREE_INDEX || wrong.is_some() {
                    return;
                }
                if model.entry(id, handle).is_none() && !model.name_handle(id, handle) {
                    wrong = Some(format!("process {id}: the model has no {entry:?}"));
                    return;
                }
                let expected = model.entry(id, handle).expect("seen above");
                let same = expected.object.kind() as u8 == entry.kind && expected.rights.0 == u32::from(entry.rights);
                if !same || !self.agrees(expected.object, entry.object.0) {
                    wrong = Some(format!("process {id}: the model has {expected:?}, the kernel {entry:?}"));
                }
                found += 1;
            });
            let process = &model.processes[id];
            if wrong.is_none() && (process.unnamed.is_some() || process.table.iter().flatten().count() != found) {
                wrong = Some(format!("process {id} has {found} handles, in the model {:?}", process.table));
            }
            if wrong.is_some() {
                return wrong;
            }
        }
        None
    }

    fn compare_threads(&mut self, model: &Specification, kernel: &Kernel<Processor>) -> Option<String> {
        for (id, thread) in model.threads.iter().enumerate() {
            if thread.alive
                && let Some(what) = self.compare_thread(model, kernel, id, thread)
            {
                let view = kernel.view_thread(self.slot(Object::Thread(id)));
                return Some(format!("thread {id}: {what}: the model has {thread:?}, the kernel {view:x?}"));
            }
        }
        None
    }

    fn compare_thread(
        &mut self,
        model: &Specification,
        kernel: &Kernel<Processor>,
        id: ThreadId,
        thread: &Thread,
    ) -> Option<&'static str> {
        let view = kernel.view_thread(self.slot(Object::Thread(id)));
        let (state, gate) = match thread.state {
            State::Dead => (KernelState::Dead, None),
            State::Ready => (KernelState::Ready, None),
            State::Send(gate) => (KernelState::Send, Some((gate, view.target as u32 & 0xffff))),
            State::Reply(gate, _) => (KernelState::Reply, Some((gate, view.target as u32 & 0xffff))),
            State::Receive(gate) => (KernelState::Receive, Some((gate, view.gate))),
        };
        if view.state != state || view.faulting != model.is_faulting(id) || !view.header.alive() {
            return Some("state");
        }
        if gate.is_some_and(|(gate, slot)| !self.agrees(Object::Gate(gate), slot)) {
            return Some("gate");
        }
        if let State::Reply(_, server) = thread.state
            && !self.agrees(Object::Thread(server), view.server)
        {
            return Some("server");
        }
        if thread.request != 0 && self.requests.get(&thread.request) != Some(&view.request) {
            return Some("request");
        }
        let flags = (thread.stopped, thread.leaving.is_some(), thread.timer.is_some(), thread.looks);
        if flags != (view.stopped, view.leaving, view.timed, view.works) {
            return Some("flags");
        }
        // On which baton a parked thread would run is decided when it is woken.
        let parked = matches!(thread.state, State::Receive(_));
        let current = if parked { (None, 0) } else { (model.current(id), view.current) };
        for (baton, slot) in [(thread.own, view.own), current] {
            if baton.map_or(slot != 0, |baton| !self.agrees(Object::Baton(baton), slot)) {
                return Some("baton");
            }
        }
        None
    }

    fn compare_gates(&mut self, model: &Specification, kernel: &Kernel<Processor>) -> Option<String> {
        for (id, gate) in model.gates.iter().enumerate() {
            let slot = self.slot(Object::Gate(id));
            if !gate.alive || slot == 0 {
                continue;
            }
            let view = kernel.view_gate(slot);
            let parked = gate.parked.last().map_or(0, |thread| self.slot(Object::Thread(*thread)));
            let mut same = (view.count as usize, view.parked) == (gate.waiting.len(), parked);
            if same && !gate.waiting.is_empty() {
                let mut order = model.in_order(id, |waiter| matches!(waiter, Waiter::Caller(_)));
                order.extend(model.in_order(id, |waiter| !matches!(waiter, Waiter::Caller(_))));
                let mut order = order.into_iter();
                kernel.waiters(slot, |waiter| same &= order.next().is_some_and(|expected| self.is(expected, waiter)));
            }
            if !same {
                let mut waiters = Vec::new();
                kernel.waiters(slot, |waiter| waiters.push(waiter));
                return Some(format!("gate {id}: the model has {gate:?}, the kernel {view:x?} with {waiters:?}"));
            }
        }
        None
    }

    fn compare_windows(&mut self, model: &Specification, kernel: &Kernel<Processor>) -> Option<String> {
        for (id, process) in model.processes.iter().enumerate() {
            let slot = self.slot(Object::Process(id));
            if !process.alive || slot == 0 {
                continue;
            }
            let mut window = [None; WINDOW];
            kernel.mappings(slot, |record| {
                let view = kernel.view_mapping(record);
                let first = view.address.wrapping_sub(WINDOW_START) / PAGE_SIZE;
                for at in (0..view.pages).filter(|at| first + at < WINDOW as u64) {
                    let access = (u64::from(view.access.0), u64::from(view.access.1));
                    window[(first + at) as usize] = Some((view.memory, view.offset / PAGE_SIZE + at, access));
                }
            });
            for (found, page) in window.iter().zip(&process.window) {
                let expected = page.map(|page| {
                    let offset = (page.page - model.memories[page.memory].first) as u64;
                    (self.slot(Object::Memory(page.memory)), offset, (page.access, page.most))
                });
                if *found != expected {
                    return Some(format!("process {id}: the model has {:?}, the kernel {window:x?}", process.window));
                }
            }
        }
        None
    }

    fn is(&mut self, expected: Waiter, waiter: WaiterView) -> bool {
        match (expected, waiter) {
            (Waiter::Caller(id), WaiterView::Caller(slot)) | (Waiter::Unblock(id), WaiterView::Unblock(slot)) => {
                self.agrees(Object::Thread(id), slot)
            }
            (Waiter::Pulse(id), WaiterView::Pulse(slot)) => self.agrees(Object::Pulse(id), slot),
            (Waiter::Closed(id), WaiterView::Closed(slot)) => self.agrees(Object::Connection(id), slot),
            _ => false,
        }
    }

    /// Pulses, batons, quotas, and that there is nothing else.
    fn compare_rest(&mut self, model: &Specification, kernel: &Kernel<Processor>) -> Option<String> {
        for (id, pulse) in model.pulses.iter().enumerate() {
            let slot = self.slot(Object::Pulse(id));
            if pulse.alive && slot != 0 && kernel.view_pulse(slot).pending != pulse.pending {
                return Some(format!("pulse {id}: the model has {pulse:?}, the kernel {:x?}", kernel.view_pulse(slot)));
            }
        }
        for (id, baton) in model.batons.iter().enumerate() {
            let slot = self.slot(Object::Baton(id));
            if baton.alive && slot != 0 && kernel.view_baton(slot).priority != baton.priority {
                return Some(format!("baton {id}: the model has {baton:?}, the kernel {:?}", kernel.view_baton(slot)));
            }
        }
        for (id, process) in model.processes.iter().enumerate() {
            let slot = self.slot(Object::Process(id));
            if !process.alive || slot == 0 {
                continue;
            }
            let view = kernel.view_process(slot);
            let first = *self.pages.entry(id).or_insert(view.used.pages);
            let shares = process.possessions.iter().map(|possession| match possession {
                Object::Process(child) => model.pages(*child),
                _ => 0,
            });
            let grown = process.table.len() / TABLE_PAGE - 1;
            let pages = first + grown as u32 + shares.sum::<u32>();
            let same = (counts(&view.used), counts(&view.limit)) == (process.used, process.limit);
            if !same || view.used.pages != pages {
                return Some(format!("quota of process {id}: the model has {process:?}, the kernel {view:?}"));
            }
        }
        let count = |alive: usize, kind: Kind| kernel.objects(kind).wrapping_sub(alive as u32);
        let others = [
            0,
            count(model.processes.iter().filter(|object| object.alive).count(), Kind::Process),
            count(model.threads.iter().filter(|object| object.alive).count(), Kind::Thread),
            count(model.batons.iter().filter(|object| object.alive).count(), Kind::Baton),
            count(model.gates.iter().filter(|object| object.alive).count(), Kind::Gate),
            count(model.connections.iter().filter(|object| object.alive).count(), Kind::Connection),
            count(model.pulses.iter().filter(|object| object.alive).count(), Kind::Pulse),
            count(model.memories.iter().filter(|object| object.alive).count(), Kind::Memory),
        ];
        let first = *self.others.get_or_insert(others);
        (first != others).then(|| format!("objects that the model does not know, by kind: {others:?}, first {first:?}"))
    }
}

const fn counts(quota: &Quota) -> Counts {
    Counts {
        processes: quota.processes,
        threads: quota.threads,
        batons: quota.batons,
        gates: quota.gates,
        connections: quota.connections,
        pulses: quota.pulses,
        memories: quota.memories,
    }
}
