//! Who waits where, who works for whom: what the programs of a run say of themselves. From that, and from what the processor
//! says of who is on it, follows how long weaker ones delay each job. Nothing here asks the kernel.

use std::collections::{BTreeMap, BTreeSet};

use super::bound::{Bound, LeftBehind};
use super::plan::{Client, Plan, Source};

/// Index of a thread of the run: clients first, then receivers gate by gate.
pub(super) type Worker = usize;

/// For whom a thread works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum For {
    /// For nobody, or itself.
    #[default]
    Itself,
    /// For a caller: its so-manieth call.
    Call { caller: Worker, number: u64 },
    /// For a pulse.
    Pulse(usize),
}

/// One thread.
#[derive(Clone, Debug, Default)]
struct Thread {
    /// A receiver's gate.
    gate: Option<usize>,
    /// The strength it has of itself: of its baton, or its gate's reserve.
    own: u8,
    /// It has no baton of its own.
    passive: bool,
    works_for: For,
    /// Counts its calls; in one of them it is, or not.
    calls: u64,
    in_call: bool,
    /// The gate where it waits to be received.
    waits_at: Option<usize>,
    /// After this it may have left its call, ns.
    patient_until: u64,
}

/// What is measured: a client's job, or what is done for a pulse that carries a baton.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Job {
    /// Of this client.
    Client(usize),
    /// Of this pulse.
    Pulse(usize),
    /// Nothing that is measured.
    None,
}

/// A job that goes on.
#[derive(Clone, Debug)]
struct Progress {
    /// When it began, ns.
    since: u64,
    /// Its least and its highest priority since then.
    priorities: (u8, u8),
    /// Its server put it off: nobody delays it.
    suspended: bool,
    /// What was computed meanwhile for weaker ones, or idled away, by whom, ns.
    delays: BTreeMap<Option<Worker>, u64>,
    /// Disturbances until it began.
    disturbances: u64,
    /// What stronger ones that were served before it at the same gates may have left to wait for, ns.
    passed_over_ns: u64,
}

/// A job that was delayed for too long.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Which.
    pub job: Job,
    /// How long weaker ones delayed it, ns.
    pub delayed_ns: u64,
    /// How long they might have, ns.
    pub bound_ns: u64,
    /// When it ended, ns.
    pub at_ns: u64,
    /// Who was on the processor instead, and how long, ns; `None`: nobody. Clients come first, then receivers gate by gate.
    pub by: Vec<(Option<usize>, u64)>,
}

/// All that is known of a run.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    threads: Vec<Thread>,
    /// By the base of its program.
    programs: BTreeMap<u64, Worker>,
    clients: Vec<Client>,
    /// Strength of the clients now: what they have whatever their budgets, and at most.
    priorities: Vec<u8>,
    highest: Vec<u8>,
    /// Strength of what is done for a pulse; those that carry a baton; those that are raised.
    pulses: Vec<u8>,
    carries: Vec<bool>,
    /// Their gate has several receivers.
    several: Vec<bool>,
    /// How often each was raised and no receiver has come yet to say that it took it. They count: two receivers may have taken
    /// one each and be stuck, while a third one waits and helps.
    raised: Vec<u64>,
    pulse_gates: Vec<usize>,
    running: BTreeMap<Job, Progress>,
    bounds: BTreeMap<Job, u64>,
    /// By gate, what somebody may have to wait for anew who is passed over.
    left_behind: Vec<LeftBehind>,
    /// Priorities changed, callers left.
    disturbances: u64,
    pub(super) finished: u64,
    /// The largest share of its bound by which a job was delayed, of 1000.
    pub(super) worst_per_mille: u64,
    pub(super) violations: Vec<Violation>,
}

/// What the programs' steps cost beyond what is declared: a nanosecond each, and each time they are interrupted.
const SLACK_NS: u64 = 1_500;

impl Ledger {
    pub(super) fn new(plan: &Plan, bounds: BTreeMap<Job, u64>, left_behind: Vec<LeftBehind>) -> Self {
        let clients = plan.clients.iter().map(|client| Thread { own: client.low(), ..Thread::default() });
        let receivers = plan.gates.iter().enumerate().flat_map(|(number, gate)| {
            gate.receivers.iter().map(move |own| Thread {
                gate: Some(number),
                own: own.or(gate.reserve).unwrap_or(0),
                passive: own.is_none(),
                ..Thread::default()
            })
        });
        Self {
            threads: clients.chain(receivers).collect(),
            clients: plan.clients.clone(),
            priorities: plan.clients.iter().map(Client::low).collect(),
            highest: plan.clients.iter().map(|client| client.priority).collect(),
            pulses: plan.pulses.iter().map(|pulse| pulse.priority).collect(),
            carries: plan.pulses.iter().map(|pulse| pulse.carries).collect(),
            several: plan.pulses.iter().map(|pulse| plan.gates[pulse.gate].receivers.len() > 1).collect(),
            raised: vec![0; plan.pulses.len()],
            pulse_gates: plan.pulses.iter().map(|pulse| pulse.gate).collect(),
            bounds,
            left_behind,
            ..Self::default()
        }
    }

    pub(super) fn program(&mut self, base: u64, worker: Worker) {
        self.programs.insert(base, worker);
    }

    // What clients say.

    pub(super) fn begin(&mut self, job: Job, now: u64) {
        let fresh = Progress {
            since: now,
            priorities: (self.priority(job), self.priority(job)),
            suspended: false,
            delays: BTreeMap::new(),
            disturbances: self.disturbances,
            passed_over_ns: 0,
        };
        self.running.entry(job).or_insert(fresh);
    }

    pub(super) fn end(&mut self, job: Job, now: u64) {
        let Some(progress) = self.running.remove(&job) else { return };
        let weaker_ns = (self.bounds[&job] + progress.passed_over_ns) * (1 + self.disturbances - progress.disturbances);
        let bound_ns = weaker_ns + Bound::budgets(&self.clients, progress.priorities, now - progress.since);
        let delayed_ns: u64 = progress.delays.values().sum();
        self.finished += 1;
        self.worst_per_mille = self.worst_per_mille.max((delayed_ns * 1000).checked_div(bound_ns).unwrap_or(0));
        if delayed_ns > bound_ns + SLACK_NS {
            let by = progress.delays.into_iter().collect();
            self.violations.push(Violation { job, delayed_ns, bound_ns, at_ns: now, by });
        }
        // It came again meanwhile.
        if let Job::Pulse(pulse) = job
            && self.raised[pulse] > 0
            && !self.several[pulse]
        {
            self.begin(job, now);
            self.pulse_arrives(pulse, now);
        }
    }

    /// A thread is about to call; the answer is the number of its call.
    pub(super) fn call(&mut self, caller: Worker, gate: usize, patient_until: u64, now: u64) -> u64 {
        let strength = self.strength(caller, Job::None, now);
        self.arrive(&self.pressing(caller), gate, strength, true, now);
        let thread = &mut self.threads[caller];
        thread.calls += 1;
        thread.in_call = true;
        thread.waits_at = Some(gate);
        thread.patient_until = patient_until;
        thread.calls
    }

    /// The call in which a thread is.
    pub(super) fn present_call(&self, caller: Worker) -> u64 {
        self.threads[caller].calls
    }

    fn waiters(&self, gate: usize) -> impl Iterator<Item = Worker> {
        (0..self.threads.len()).filter(move |thread| self.threads[*thread].waits_at == Some(gate))
    }

    fn pulses_at(&self, gate: usize) -> impl Iterator<Item = usize> {
        (0..self.raised.len()).filter(move |pulse| self.raised[*pulse] > 0 && self.pulse_gates[*pulse] == gate)
    }

    /// Something is to wait at a gate, and, if it presses, for whatever its receivers wait for: at each of these gates it may be
    /// passed over by whatever waits there and is as strong, and others by it; and so may all that wait for one of them.
    fn arrive(&mut self, newcomers: &BTreeSet<Job>, gate: usize, sure: u8, presses: bool, now: u64) {
        // Whoever works for a sporadic baton may be stronger than it is for sure.
        let most = |jobs: &BTreeSet<Job>, sure: u8| {
            jobs.iter().fold(sure, |most, job| match *job {
                Job::Client(client) => most.max(self.highest[client]),
                _ => most,
            })
        };
        let by = most(newcomers, sure);
        let mut places = vec![(gate, None)];
        if presses {
            self.receivers(gate).for_each(|receiver| self.places(receiver, &mut places));
        }
        let mut passed_over = Vec::new();
        for (gate, through) in places {
            let callers = self.waiters(gate).filter(|waiter| Some(*waiter) != through);
            let callers = callers.map(|waiter| (self.pressing(waiter), self.strength(waiter, Job::None, now)));
            let pulses = self.pulses_at(gate).filter(|pulse| !newcomers.contains(&Job::Pulse(*pulse)));
            let pulses = pulses.map(|pulse| (BTreeSet::from([Job::Pulse(pulse)]), self.pulses[pulse]));
            for (jobs, other_sure) in callers.chain(pulses) {
                let by_other = newcomers.iter().map(|job| (*job, other_sure, most(&jobs, other_sure)));
                let by_newcomer = jobs.difference(newcomers).map(|job| (*job, sure, by));
                passed_over.extend(by_other.chain(by_newcomer).filter_map(|(job, sure, most)| {
                    let (priority, left) = (self.priority(job), self.left_behind[gate]);
                    let left_ns = if priority <= sure { left.answered_ns } else { left.begun_ns };
                    (priority <= most).then_some((job, left_ns))
                }));
            }
        }
        for (job, left_ns) in passed_over {
            if let Some(progress) = self.running.get_mut(&job) {
                progress.passed_over_ns += left_ns;
            }
        }
    }

    fn pulse_arrives(&mut self, pulse: usize, now: u64) {
        let (gate, strength) = (self.pulse_gates[pulse], self.pulses[pulse]);
        self.arrive(&BTreeSet::from([Job::Pulse(pulse)]), gate, strength, self.carries[pulse], now);
    }

    fn receivers(&self, gate: usize) -> impl Iterator<Item = Worker> {
        (0..self.threads.len()).filter(move |thread| self.threads[*thread].gate == Some(gate))
    }

    /// Where a thread waits, itself or in whoever works for it; and who it is that waits there.
    fn places(&self, worker: Worker, places: &mut Vec<(usize, Option<Worker>)>) {
        let thread = &self.threads[worker];
        if let Some(gate) = thread.waits_at {
            places.push((gate, Some(worker)));
            self.receivers(gate).for_each(|receiver| self.places(receiver, places));
        } else if thread.in_call {
            let call = For::Call { caller: worker, number: thread.calls };
            let servers = (0..self.threads.len()).filter(|server| self.threads[*server].works_for == call);
            servers.for_each(|server| self.places(server, places));
        }
    }

    /// The jobs that wait for a thread to get on: the one that it works for, and all that wait at its gate, or at that of
    /// whoever waits for it.
    fn pressing(&self, worker: Worker) -> BTreeSet<Job> {
        let (mut jobs, mut at) = (BTreeSet::from([self.job(worker)]), worker);
        loop {
            if let Some(gate) = self.threads[at].gate {
                self.waiters(gate).for_each(|waiter| jobs.extend(self.pressing(waiter)));
                jobs.extend(self.pulses_at(gate).filter(|pulse| self.carries[*pulse]).map(Job::Pulse));
            }
            match self.threads[at].works_for {
                For::Call { caller, number } if self.open(caller, number) => at = caller,
                _ => return jobs,
            }
        }
    }

    /// How strong a job is.
    fn priority(&self, job: Job) -> u8 {
        match job {
            Job::Client(client) => self.priorities[client],
            Job::Pulse(pulse) => self.pulses[pulse],
            Job::None => 0,
        }
    }

    pub(super) fn called(&mut self, caller: Worker, left: bool) {
        let thread = &mut self.threads[caller];
        thread.in_call = false;
        thread.waits_at = None;
        thread.patient_until = u64::MAX;
        self.disturbances += u64::from(left);
        if let Some(progress) = self.running.get_mut(&Job::Client(caller)) {
            progress.suspended = false;
        }
    }

    pub(super) fn change(&mut self, client: usize, priority: u8) {
        self.clients[client].priority = priority;
        self.priorities[client] = priority;
        self.highest[client] = priority;
        self.threads[client].own = priority;
        self.disturbances += 1;
        if let Some(progress) = self.running.get_mut(&Job::Client(client)) {
            let (least, highest) = progress.priorities;
            progress.priorities = (least.min(priority), highest.max(priority));
        }
    }

    pub(super) fn raise(&mut self, pulse: usize, now: u64) {
        self.raised[pulse] += 1;
        if self.raised[pulse] > 1 {
            return;
        }
        // If another receiver still uses its baton, this one may have to do without.
        let in_use = self.several[pulse] && self.threads.iter().any(|thread| thread.works_for == For::Pulse(pulse));
        if self.carries[pulse] && !in_use {
            self.begin(Job::Pulse(pulse), now);
        }
        self.pulse_arrives(pulse, now);
    }

    // What receivers say.

    fn open(&self, caller: Worker, number: u64) -> bool {
        self.threads[caller].in_call && self.threads[caller].calls == number
    }

    pub(super) fn take_call(&mut self, receiver: Worker, caller: Worker, number: u64) {
        if self.open(caller, number) {
            self.threads[caller].waits_at = None;
        }
        self.threads[receiver].works_for = For::Call { caller, number };
    }

    pub(super) fn take_pulse(&mut self, receiver: Worker, pulse: usize, count: u64) {
        let left = self.raised[pulse].checked_sub(count).expect("no pulse is taken more often than it was raised");
        self.raised[pulse] = left;
        self.threads[receiver].works_for = For::Pulse(pulse);
    }

    /// It does nothing more for anybody.
    pub(super) fn rest(&mut self, receiver: Worker) {
        self.threads[receiver].works_for = For::Itself;
    }

    /// A request is put off, or taken up again.
    pub(super) fn suspend(&mut self, caller: Worker, number: u64, suspended: bool) {
        let open = self.open(caller, number);
        if let Some(progress) = self.running.get_mut(&Job::Client(caller))
            && open
        {
            progress.suspended = suspended;
        }
    }

    // What follows.

    /// The job that a thread works for in the end.
    fn job(&self, worker: Worker) -> Job {
        match self.threads[worker].works_for {
            For::Pulse(pulse) => Job::Pulse(pulse),
            For::Call { caller, number } if self.open(caller, number) => self.job(caller),
            For::Itself if self.threads[worker].gate.is_none() => Job::Client(worker),
            _ => Job::None,
        }
    }

    /// How strong the work of a thread is of itself, without `except`; and whether there may be no baton behind that, because
    /// whoever it is for has left or never had one: then who works for it in turn uses its own.
    fn base(&self, worker: Worker, except: Job, now: u64) -> (u8, bool) {
        let thread = &self.threads[worker];
        match thread.works_for {
            For::Itself if thread.gate.is_none() => {
                let strength = if Job::Client(worker) == except { 0 } else { self.priorities[worker] };
                (strength, now >= thread.patient_until)
            }
            For::Itself => (thread.own, false),
            For::Pulse(pulse) if Job::Pulse(pulse) == except => (0, false),
            // Its baton's, or that of who handles it: and in the queue it was as strong as it says.
            For::Pulse(pulse) if self.carries[pulse] && !self.several[pulse] => (self.pulses[pulse], false),
            For::Pulse(pulse) => (self.pulses[pulse].max(thread.own), thread.passive),
            For::Call { caller, number } if self.open(caller, number) => match self.base(caller, except, now) {
                // It may go on by itself by now.
                (strength, true) => (strength.max(thread.own), true),
                whole => whole,
            },
            For::Call { .. } => (thread.own, true),
        }
    }

    /// How strong the work of a thread is, by whom it is for and by who waits for it, without `except`.
    fn strength(&self, worker: Worker, except: Job, now: u64) -> u8 {
        let mut strength = self.base(worker, except, now).0;
        let mut at = worker;
        // Up the calls that it works for: whoever waits at one of those gates waits for it.
        loop {
            if let Some(gate) = self.threads[at].gate {
                for waiter in self.waiters(gate) {
                    strength = strength.max(self.strength(waiter, except, now));
                }
                for pulse in self.pulses_at(gate).filter(|pulse| Job::Pulse(*pulse) != except && self.carries[*pulse]) {
                    strength = strength.max(self.pulses[pulse]);
                }
            }
            match self.threads[at].works_for {
                For::Call { caller, number } if self.open(caller, number) => at = caller,
                _ => return strength,
            }
        }
    }

    /// The processor ran a program (0: none) for so long.
    pub(super) fn passed(&mut self, base: u64, ns: u64, now: u64) {
        let worker = self.programs.get(&base).copied();
        if worker.is_none() && base != 0 {
            // Root, which is stronger than all.
            return;
        }
        let jobs: Vec<Job> = self.running.iter().filter(|(_, job)| !job.suspended).map(|(job, _)| *job).collect();
        for job in jobs {
            let priority = self.priority(job);
            let weaker = match worker {
                None => true,
                Some(worker) => self.job(worker) != job && self.strength(worker, job, now) < priority,
            };
            if weaker && let Some(progress) = self.running.get_mut(&job) {
                *progress.delays.entry(worker).or_default() += ns;
            }
        }
    }
}

/// Whether a pulse is raised by the world, at times that its period says.
pub(super) const fn period(source: Source) -> Option<u64> {
    match source {
        Source::Alarm(ns) | Source::Line(ns) => Some(ns),
        Source::Clients => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::{Gate, Pulse, Sporadic};
    use super::*;

    const NEVER: u64 = u64::MAX;

    fn client(priority: u8) -> Client {
        Client { priority, slice_ns: 0, sporadic: None, pager: 0, pause_ns: 0, job: Vec::new() }
    }

    fn gate(receivers: usize) -> Gate {
        let receivers = vec![None; receivers];
        Gate { receivers, reserve: None, services: vec![Vec::new()], after_ns: 0, defers: false, pager: None }
    }

    fn ledger(plan: &Plan, left_behind: [(u64, u64); 2]) -> Ledger {
        let left_behind = left_behind.map(|(answered_ns, begun_ns)| LeftBehind { answered_ns, begun_ns }).to_vec();
        let clients = (0..plan.clients.len()).map(Job::Client);
        let pulses = (0..plan.pulses.len()).map(Job::Pulse);
        Ledger::new(plan, clients.chain(pulses).map(|job| (job, 0)).collect(), left_behind)
    }

    #[test]
    fn a_pulse_helps_as_long_as_it_was_raised_more_often_than_receivers_took_it() {
        let pulse = Pulse { gate: 0, service: 0, priority: 19, carries: true, source: Source::Clients };
        let plan = Plan { gates: vec![gate(2)], clients: vec![client(7)], pulses: vec![pulse], ..Plan::default() };
        let mut ledger = ledger(&plan, [(0, 0); 2]);
        let (first, second) = (1, 2);
        ledger.program(0x1000, first);
        for time in 0..3 {
            ledger.raise(0, time);
        }
        for receiver in [first, second] {
            ledger.take_pulse(receiver, 0, 1);
            ledger.rest(receiver);
        }
        for (count, too_long) in [(0, 0), (1, 1)] {
            if count == 1 {
                ledger.take_pulse(second, 0, count);
            }
            ledger.begin(Job::Client(0), 10);
            ledger.passed(0x1000, 2 * SLACK_NS, 20);
            ledger.end(Job::Client(0), 20);
            assert_eq!(ledger.violations.len(), too_long);
        }
    }

    #[test]
    fn whoever_waits_for_a_receiver_is_passed_over_where_that_one_waits() {
        let clients = [30, 10, 50].map(client).to_vec();
        let plan = Plan { gates: vec![gate(1), gate(1)], clients, ..Plan::default() };
        let (waits, served, strong, receiver) = (0, 1, 2, 3);
        for strong_comes_first in [false, true] {
            let mut ledger = ledger(&plan, [(1, 2), (1000, 2000)]);
            [waits, served, strong].iter().for_each(|client| ledger.begin(Job::Client(*client), 0));
            let number = ledger.call(served, 0, NEVER, 0);
            ledger.take_call(receiver, served, number);
            ledger.call(receiver, 1, NEVER, 0);
            for caller in if strong_comes_first { [strong, waits] } else { [waits, strong] } {
                ledger.call(caller, if caller == strong { 1 } else { 0 }, NEVER, 0);
            }
            let passed_over = |client| ledger.running[&Job::Client(client)].passed_over_ns;
            assert_eq!([waits, served, strong].map(passed_over), [1000, 1000, 0], "{strong_comes_first}");
        }
    }

    #[test]
    fn whoever_passes_over_with_its_budget_may_leave_all_that_is_done_for_it() {
        let sporadic = Some(Sporadic { budget_ns: 1, period_ns: 100, low: 20 });
        let budgeted = Client { sporadic, ..client(50) };
        for (waits, expected) in [(51, 0), (50, 2000), (21, 2000), (20, 1000)] {
            let clients = vec![client(waits), budgeted.clone()];
            let plan = Plan { gates: vec![gate(1)], clients, ..Plan::default() };
            let mut ledger = ledger(&plan, [(1000, 2000); 2]);
            ledger.begin(Job::Client(0), 0);
            for caller in [0, 1] {
                ledger.call(caller, 0, NEVER, 0);
            }
            assert_eq!(ledger.running[&Job::Client(0)].passed_over_ns, expected, "{waits}");
        }
    }
}
