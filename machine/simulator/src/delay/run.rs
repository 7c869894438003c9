//! A plan as real processes, threads and gates.

use std::cell::RefCell;
use std::rc::Rc;

use abi::call::flags;
use abi::notice::FAULT_PAGE;
use abi::object::{access, baton, process, pulse, thread};
use abi::thread::{Configuration, Policy, State};
use abi::{Error, Handle, Rights};

use super::ledger::{Job, Ledger, Worker, period};
use super::plan::{Plan, Source, Sporadic, Step};
use crate::processor::World;
use crate::program::{Answer, User};
use crate::scenario::{Plan as ThreadPlan, Process, Root, Thread};

/// How long a run lasts, simulated ns.
const LENGTH_NS: u64 = 20_000_000;

/// What all programs of a run know.
pub(super) struct Run {
    pub(super) plan: Plan,
    pub(super) ledger: RefCell<Ledger>,
    /// Servers put each request off and work on their own batons: what a kernel without inheritance would do.
    pub(super) without_inheritance: bool,
}

/// The handles of a program: connections by gate, pulses by number.
#[derive(Clone, Debug, Default)]
struct Means {
    connections: Vec<Handle>,
    pulses: Vec<Handle>,
    /// Processes by worker.
    processes: Vec<Handle>,
    /// A gate where nothing ever arrives.
    elsewhere: Handle,
}

/// Where each worker has a page to touch.
const PAGES: u64 = 0x60_0000_0000;

fn page_of(worker: Worker) -> u64 {
    PAGES + worker as u64 * abi::PAGE_SIZE
}

/// What a receiver is asked for: by whom, in which of its calls, which service.
type Asked = (Worker, u64, usize);

impl Run {
    /// Do some steps for somebody; false: lost patience.
    async fn perform(&self, user: &User, worker: Worker, means: &Means, steps: &[Step]) -> bool {
        for step in steps {
            match *step {
                Step::Compute(ns) => drop(user.compute(ns).await),
                Step::Touch { gate, service } => {
                    self.ledger.borrow_mut().call(worker, gate, u64::MAX, user.now());
                    user.store_word(page_of(worker) + 8 * service as u64, 1).await;
                    self.ledger.borrow_mut().called(worker, false);
                    let words = [page_of(worker) | access::READ, abi::PAGE_SIZE, 0, 0];
                    user.method(Handle::SELF_PROCESS, process::PROTECT, words).ok().await;
                }
                Step::Raise { pulse } => {
                    self.ledger.borrow_mut().raise(pulse, user.now());
                    user.raise(means.pulses[pulse], 1).ok().await;
                }
                Step::Call { gate, service, patience_ns } => {
                    let until = if patience_ns == 0 { u64::MAX } else { user.now() + patience_ns };
                    let number = self.ledger.borrow_mut().call(worker, gate, until, user.now());
                    let call = user.call(means.connections[gate]).words([worker as u64, number, service as u64, 0]);
                    let answer = call.deadline(until, flags::DEADLINE_SEND | flags::DEADLINE_REPLY).await;
                    let left = answer.error() == Some(Error::TimedOut);
                    assert!(left || answer.error().is_none(), "{answer:?}");
                    self.ledger.borrow_mut().called(worker, left);
                    if left {
                        return false;
                    }
                }
            }
        }
        true
    }

    fn asked(&self, message: &Answer) -> Asked {
        let [first, number, service, cookie] = message.words;
        if message.label == FAULT_PAGE {
            let caller = cookie as Worker;
            return (caller, self.ledger.borrow().present_call(caller), ((first - page_of(caller)) / 8) as usize);
        }
        (first as Worker, number, service as usize)
    }

    async fn client(self: Rc<Self>, user: User, number: usize, means: Means) {
        let client = self.plan.clients[number].clone();
        loop {
            let world = Rc::clone(user.world());
            let until = user.now() + world.random.below(client.pause_ns);
            // It begins when the time has come, not when it gets the processor.
            let run = Rc::clone(&self);
            world.at(until, move |_| run.ledger.borrow_mut().begin(Job::Client(number), until));
            let _ = user.receive(means.elsewhere).deadline(until, flags::DEADLINE_RECEIVE).await;
            self.perform(&user, number, &means, &client.job).await;
            self.ledger.borrow_mut().end(Job::Client(number), user.now());
        }
    }

    async fn receiver(self: Rc<Self>, user: User, worker: Worker, gate: usize, means: Means, receiving: Handle) {
        let shape = self.plan.gates[gate].clone();
        let mut put_off: Vec<(u64, Worker, u64)> = Vec::new();
        let mut message = user.receive(receiving).ok().await;
        loop {
            if message.status().is_pulse() {
                let number = message.badge as usize;
                // An interrupt counts as much as its line's bit is worth.
                let line = matches!(self.plan.pulses[number].source, Source::Line(_));
                let count = message.words[0] >> if line { number } else { 0 };
                self.ledger.borrow_mut().take_pulse(worker, number, count);
                let steps = &shape.services[self.plan.pulses[number].service];
                self.perform(&user, worker, &means, steps).await;
                self.ledger.borrow_mut().end(Job::Pulse(number), user.now());
                self.ledger.borrow_mut().rest(worker);
                for (request, caller, number) in put_off.drain(..) {
                    self.ledger.borrow_mut().suspend(caller, number, false);
                    let _ = user.reply(request).await;
                }
                message = user.receive(receiving).ok().await;
                continue;
            }
            let request = message.request;
            let (caller, number, service) = self.asked(&message);
            self.ledger.borrow_mut().take_call(worker, caller, number);
            if self.without_inheritance {
                // It receives elsewhere: nobody who waits at its gate helps it, and the request is put off.
                user.receive(means.elsewhere).poll().fails(Error::TimedOut).await;
            }
            self.perform(&user, worker, &means, &shape.services[service]).await;
            if message.label == FAULT_PAGE {
                let words = [page_of(caller) | access::READ | access::WRITE, abi::PAGE_SIZE, 0, 0];
                user.method(means.processes[caller], process::PROTECT, words).ok().await;
            }
            self.ledger.borrow_mut().rest(worker);
            message = if shape.defers {
                self.ledger.borrow_mut().suspend(caller, number, true);
                put_off.push((request, caller, number));
                user.receive(receiving).ok().await
            } else if shape.after_ns == 0 {
                let answer = user.reply_and_receive(request, receiving).await;
                // Whoever asked has left.
                if answer.error() == Some(Error::Gone) { user.receive(receiving).ok().await } else { answer }
            } else {
                let _ = user.reply(request).await;
                let _ = user.compute(shape.after_ns).await;
                user.receive(receiving).ok().await
            };
        }
    }
}

/// Raise a pulse every now and then, as its plan says.
fn raise_at(world: &Rc<World>, run: &Rc<Run>, number: usize, time: u64) {
    let run = Rc::clone(run);
    world.at(time, move |world| {
        let source = run.plan.pulses[number].source;
        if !world.is_latched(number as u32) {
            run.ledger.borrow_mut().raise(number, time);
        }
        if let Source::Line(_) = source {
            world.edge(number as u32);
        }
        if let Some(ns) = period(source) {
            let random = if matches!(source, Source::Line(_)) { world.random.below(ns) } else { 0 };
            raise_at(world, &run, number, time + ns + random);
        }
    });
}

/// The gates of a run, and what leads to them.
struct Build<'a> {
    root: &'a Root,
    run: &'a Rc<Run>,
    gates: Vec<(Process, Handle)>,
    clients: Vec<Process>,
    /// In root's table.
    pulses: Vec<Handle>,
}

impl Build<'_> {
    async fn gates(&mut self) {
        for shape in &self.run.plan.gates {
            let process = self.root.process().await;
            let reserve = match shape.reserve {
                Some(priority) => self.root.baton(&process, priority).await,
                None => Handle::NONE,
            };
            let gate = self.root.gate_with(&process, reserve, 0).await;
            self.gates.push((process, gate));
        }
        for _ in &self.run.plan.clients {
            self.clients.push(self.root.process().await);
        }
    }

    /// Each worker's process, and the gate its faults go to.
    fn workers(&self) -> Vec<(&Process, Option<usize>)> {
        let plan = &self.run.plan;
        let clients = self.clients.iter().zip(&plan.clients).map(|(process, client)| (process, Some(client.pager)));
        let receivers = self
            .gates
            .iter()
            .zip(&plan.gates)
            .flat_map(|((process, _), gate)| gate.receivers.iter().map(move |_| (process, gate.pager)));
        clients.chain(receivers).collect()
    }

    /// How a worker's thread begins: with a page that it may not write, and a pager.
    async fn worker(&self, worker: Worker, name: &str) -> ThreadPlan {
        let (process, pager) = self.workers()[worker];
        let page = self.root.memory(1).await;
        let writable = self.root.map(process.handle, page, page_of(worker), access::READ | access::WRITE, 1).await;
        assert_eq!(writable.error(), None);
        let words = [page_of(worker) | access::READ, abi::PAGE_SIZE, 0, 0];
        self.root.user.method(process.handle, process::PROTECT, words).ok().await;
        let configuration = Configuration { native_mask: u64::MAX, cookie: worker as u64, ..Configuration::default() };
        let plan = ThreadPlan::new(process, name).configuration(configuration);
        match pager {
            Some(gate) => plan.fault(self.root.connect(self.gates[gate].1, 0).await),
            None => plan,
        }
    }

    async fn pulses(&mut self) {
        let user = &self.root.user;
        for (number, shape) in self.run.plan.pulses.iter().enumerate() {
            let (process, gate) = &self.gates[shape.gate];
            let carried = if shape.carries { self.root.baton(process, shape.priority).await } else { Handle::NONE };
            let pulse = self.root.pulse(process, *gate, number as u64, shape.priority, true, carried).await;
            self.pulses.push(pulse);
            let first = user.now() + 300_000;
            match shape.source {
                Source::Alarm(ns) => self.root.alarm(pulse, first, ns).await,
                Source::Line(_) => {
                    let lines = self.root.record().interrupts;
                    let words = [lines.0, number as u64, 0, 0];
                    user.method(pulse, pulse::BIND_INTERRUPT, words).option(1).ok().await;
                }
                Source::Clients => {}
            }
            if period(shape.source).is_some() {
                raise_at(user.world(), self.run, number, first);
            }
        }
    }

    /// What a program in this process needs.
    async fn means(&self, process: &Process) -> Means {
        let mut means = Means { elsewhere: self.root.gate(process).await, ..Means::default() };
        means.elsewhere = self.root.give_gate(process, means.elsewhere).await;
        for (_, gate) in &self.gates {
            means.connections.push(self.root.give_connection(process, *gate, 0).await);
        }
        for pulse in &self.pulses {
            means.pulses.push(self.root.give(process, *pulse, Rights::SEND).await);
        }
        for (worker, _) in self.workers() {
            means.processes.push(self.root.give(process, worker.handle, Rights::ALL).await);
        }
        means
    }

    async fn receivers(&self) {
        let mut worker = self.run.plan.clients.len();
        for (number, shape) in self.run.plan.gates.iter().enumerate() {
            let (process, gate) = &self.gates[number];
            let means = self.means(process).await;
            let receiving = self.root.give_gate(process, *gate).await;
            for own in &shape.receivers {
                // A passive one needs a baton to come to its first receive.
                let plan = self.worker(worker, "receiver").await.priority(own.unwrap_or(1));
                let (run, means) = (Rc::clone(self.run), means.clone());
                let body = move |user| run.receiver(user, worker, number, means, receiving);
                let thread = self.root.start(plan, body).await;
                self.root.until_state(thread, State::Receive).await;
                if own.is_none() {
                    self.root.user.method(thread.handle, thread::SET_BATON, [0; 4]).ok().await;
                }
                self.run.ledger.borrow_mut().program(thread.base, worker);
                worker += 1;
            }
        }
    }

    async fn clients(&self) -> Vec<Thread> {
        let mut threads = Vec::new();
        for (number, client) in self.run.plan.clients.iter().enumerate() {
            let process = &self.clients[number];
            let means = self.means(process).await;
            let plan = self.worker(number, "client").await;
            let plan = match (client.sporadic, client.slice_ns) {
                (Some(Sporadic { budget_ns, period_ns, low }), _) => {
                    let (root, priority) = (self.root, client.priority);
                    let baton = root.baton_with(process, priority, Policy::Sporadic, budget_ns, period_ns, low).await;
                    plan.baton(baton)
                }
                (None, 0) => plan.priority(client.priority),
                (None, slice) => plan.round_robin(client.priority, slice),
            };
            let run = Rc::clone(self.run);
            let thread = self.root.start(plan, move |user| run.client(user, number, means)).await;
            self.run.ledger.borrow_mut().program(thread.base, number);
            threads.push(thread);
        }
        threads
    }
}

/// Init of a run.
pub(super) async fn root(root: Root, run: Rc<Run>) {
    let world = Rc::clone(root.user.world());
    let meter = Rc::clone(&run);
    world.meter(move |program, ns, now| meter.ledger.borrow_mut().passed(program, ns, now));
    let mut build = Build { root: &root, run: &run, gates: Vec::new(), clients: Vec::new(), pulses: Vec::new() };
    build.gates().await;
    build.pulses().await;
    build.receivers().await;
    let clients = build.clients().await;
    let end = root.user.now() + LENGTH_NS;
    let random = &world.random;
    while root.user.now() < end {
        if run.plan.change_ns == 0 {
            root.sleep(LENGTH_NS).await;
            break;
        }
        root.sleep(1 + random.below(run.plan.change_ns)).await;
        let number = random.below(clients.len() as u64) as usize;
        if run.plan.clients[number].sporadic.is_some() {
            continue;
        }
        let (priority, slice) = (1 + random.below(60), run.plan.clients[number].slice_ns);
        let policy = if slice == 0 { Policy::Fifo } else { Policy::RoundRobin };
        run.ledger.borrow_mut().change(number, priority as u8);
        let words = [priority, policy as u64, slice, 0];
        root.user.method(clients[number].baton, baton::SET, words).ok().await;
    }
}
