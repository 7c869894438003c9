//! A plan as real processes, threads and gates.

use std::cell::RefCell;
use std::rc::Rc;

use abi::call::flags;
use abi::object::{baton, pulse, thread};
use abi::thread::{Policy, State};
use abi::{Error, Handle, Rights};

use super::ledger::{Job, Ledger, Worker, period};
use super::plan::{Plan, Source, Step};
use crate::processor::World;
use crate::program::User;
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
    /// A gate where nothing ever arrives.
    elsewhere: Handle,
}

impl Run {
    /// Do some steps for somebody; false: lost patience.
    async fn perform(&self, user: &User, worker: Worker, means: &Means, steps: &[Step]) -> bool {
        for step in steps {
            match *step {
                Step::Compute(ns) => drop(user.compute(ns).await),
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

    async fn client(self: Rc<Self>, user: User, number: usize, means: Means) {
        let client = self.plan.clients[number].clone();
        loop {
            let world = Rc::clone(user.world());
            let until = user.now() + world.random.below(client.pause_ns);
            // It begins when the time has come, not when it gets the processor.
            let run = Rc::clone(&self);
            world.at(until, move |_| run.ledger.borrow_mut().begin(Job::Client(number)));
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
                self.ledger.borrow_mut().take_pulse(worker, number);
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
            let [caller, number, service, _] = message.words;
            let (caller, request) = (caller as Worker, message.request);
            self.ledger.borrow_mut().take_call(worker, caller, number);
            if self.without_inheritance {
                // It receives elsewhere: nobody who waits at its gate helps it, and the request is put off.
                user.receive(means.elsewhere).poll().fails(Error::TimedOut).await;
            }
            self.perform(&user, worker, &means, &shape.services[service as usize]).await;
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
    }

    async fn pulses(&mut self) {
        let user = &self.root.user;
        for (number, shape) in self.run.plan.pulses.iter().enumerate() {
            let (process, gate) = &self.gates[shape.gate];
            let carried = if shape.carries { self.root.baton(process, shape.priority).await } else { Handle::NONE };
            let pulse = self.root.pulse(process, *gate, number as u64, shape.priority, false, carried).await;
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
                let plan = ThreadPlan::new(process, "receiver").priority(own.unwrap_or(1));
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
            let process = self.root.process().await;
            let means = self.means(&process).await;
            let plan = ThreadPlan::new(&process, "client");
            let plan = match client.slice_ns {
                0 => plan.priority(client.priority),
                slice => plan.round_robin(client.priority, slice),
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
    let mut build = Build { root: &root, run: &run, gates: Vec::new(), pulses: Vec::new() };
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
        let (priority, slice) = (1 + random.below(60), run.plan.clients[number].slice_ns);
        let policy = if slice == 0 { Policy::Fifo } else { Policy::RoundRobin };
        run.ledger.borrow_mut().change(number, priority as u8);
        let words = [priority, policy as u64, slice, 0];
        root.user.method(clients[number].baton, baton::SET, words).ok().await;
    }
}
