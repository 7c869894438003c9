//! Who waits where, who works for whom: what the programs of a run say of themselves. From that, and from what the processor
//! says of who is on it, follows how long weaker ones delay each job. Nothing here asks the kernel.

use std::collections::BTreeMap;

use super::bound::Bound;
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
    raised: Vec<bool>,
    /// Raised again before it was taken, or before its receiver came to say so. An interrupt that comes meanwhile is not lost; of
    /// others that cannot be told.
    again: Vec<bool>,
    lines: Vec<bool>,
    pulse_gates: Vec<usize>,
    running: BTreeMap<Job, Progress>,
    bounds: BTreeMap<Job, u64>,
    /// By gate, what somebody may have to wait for anew who is passed over, ns.
    left_behind: Vec<u64>,
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
    pub(super) fn new(plan: &Plan, bounds: BTreeMap<Job, u64>, left_behind: Vec<u64>) -> Self {
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
            raised: vec![false; plan.pulses.len()],
            lines: plan.pulses.iter().map(|pulse| matches!(pulse.source, Source::Line(_))).collect(),
            again: vec![false; plan.pulses.len()],
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
        if let Job::Pulse(pulse) = job
            && self.raised[pulse]
            && self.lines[pulse]
            && !self.several[pulse]
        {
            self.begin(job, now);
        }
    }

    /// A thread is about to call; the answer is the number of its call.
    pub(super) fn call(&mut self, caller: Worker, gate: usize, patient_until: u64, now: u64) -> u64 {
        let strength = self.strength(caller, Job::None, now);
        self.arrive(self.job(caller), gate, strength, now);
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
        (0..self.raised.len()).filter(move |pulse| self.raised[*pulse] && self.pulse_gates[*pulse] == gate)
    }

    /// Something is to wait at a gate: it may be passed over by whatever waits there and is as strong, and others by it.
    fn arrive(&mut self, newcomer: Job, gate: usize, strength: u8, now: u64) {
        // Whoever works for a sporadic baton may be stronger than it is for sure.
        let most = |job: Job, strength: u8| match job {
            Job::Client(client) => strength.max(self.highest[client]),
            _ => strength,
        };
        let callers = self.waiters(gate).map(|waiter| (self.job(waiter), self.strength(waiter, Job::None, now)));
        let pulses = self.pulses_at(gate).map(|pulse| (Job::Pulse(pulse), self.pulses[pulse]));
        let others = callers.chain(pulses).map(|(job, other)| (job, most(job, other))).collect::<Vec<_>>();
        let by = most(newcomer, strength);
        for (job, other) in others {
            for (passed_over, strength, by) in [(newcomer, strength, other), (job, self.priority(job), by)] {
                if strength <= by
                    && let Some(progress) = self.running.get_mut(&passed_over)
                {
                    progress.passed_over_ns += self.left_behind[gate];
                }
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
        if self.raised[pulse] {
            self.again[pulse] = true;
            return;
        }
        // If another receiver still uses its baton, this one may have to do without.
        let in_use = self.several[pulse] && self.threads.iter().any(|thread| thread.works_for == For::Pulse(pulse));
        if self.carries[pulse] && !in_use {
            self.begin(Job::Pulse(pulse), now);
        }
        self.raised[pulse] = false;
        self.arrive(Job::Pulse(pulse), self.pulse_gates[pulse], self.pulses[pulse], now);
        self.raised[pulse] = true;
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

    pub(super) fn take_pulse(&mut self, receiver: Worker, pulse: usize) {
        self.raised[pulse] = std::mem::take(&mut self.again[pulse]);
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
