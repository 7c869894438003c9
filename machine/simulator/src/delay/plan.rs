//! What one run of the checker consists of: gates with their servers, clients, pulses; all constant work declared.

use crate::random::Random;

/// One step of a service or of a client's job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Use the processor, ns.
    Compute(u64),
    /// Call a gate for one of its services; a client may lose patience after so many ns (0: never).
    Call {
        /// Which gate.
        gate: usize,
        /// Which of its services.
        service: usize,
        /// When the caller gives up, ns after the call; 0: never.
        patience_ns: u64,
    },
    /// Touch a page that is not to be written: a message to the pager, which lets it be written.
    Touch {
        /// The gate that is the pager of whoever does this.
        gate: usize,
        /// Which of its services.
        service: usize,
    },
    /// Raise a pulse.
    Raise {
        /// Which pulse.
        pulse: usize,
    },
}

/// A gate, and the threads that receive at it.
#[derive(Clone, Debug)]
pub struct Gate {
    /// Its receivers: the priority of each one's own baton, `None` for a passive one.
    pub receivers: Vec<Option<u8>>,
    /// Priority of its reserve baton.
    pub reserve: Option<u8>,
    /// What it does for callers and pulses. Calls go to later gates only.
    pub services: Vec<Vec<Step>>,
    /// What a receiver does after an answer, before it receives again, ns.
    pub after_ns: u64,
    /// It puts every request off, and answers all when a pulse comes.
    pub defers: bool,
    /// The gate to which faults of its receivers go: a later one.
    pub pager: Option<usize>,
}

/// What makes a baton sporadic.
#[derive(Clone, Copy, Debug)]
pub struct Sporadic {
    /// How long it has its priority, ns in each period.
    pub budget_ns: u64,
    /// The period, ns.
    pub period_ns: u64,
    /// Its priority when the budget is used up.
    pub low: u8,
}

/// A client: does its job, pauses, does its job again.
#[derive(Clone, Debug)]
pub struct Client {
    /// Priority of its baton.
    pub priority: u8,
    /// Round robin with this slice, ns; 0: FIFO.
    pub slice_ns: u64,
    /// Instead of that: a budget.
    pub sporadic: Option<Sporadic>,
    /// The gate to which its faults go.
    pub pager: usize,
    /// Pauses are up to this long, ns.
    pub pause_ns: u64,
    /// What it does each time.
    pub job: Vec<Step>,
}

impl Client {
    /// The priority that it always has: a budget of the whole period, too, is gone after too many uses.
    #[must_use]
    pub fn low(&self) -> u8 {
        self.sporadic.map_or(self.priority, |sporadic| sporadic.low)
    }
}

/// What raises a pulse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// An alarm, every so many ns.
    Alarm(u64),
    /// An interrupt line, every so many ns at most.
    Line(u64),
    /// Clients.
    Clients,
}

/// A pulse.
#[derive(Clone, Copy, Debug)]
pub struct Pulse {
    /// Where it arrives.
    pub gate: usize,
    /// What is done then.
    pub service: usize,
    /// Its place in the gate's queue.
    pub priority: u8,
    /// Whether it carries a baton, of the same priority.
    pub carries: bool,
    /// What raises it.
    pub source: Source,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The gates. Whoever serves one calls later ones only.
    pub gates: Vec<Gate>,
    /// The clients.
    pub clients: Vec<Client>,
    /// The pulses.
    pub pulses: Vec<Pulse>,
    /// The longest time between two changes of some client's priority, ns; 0: none is changed.
    pub change_ns: u64,
}

/// ns of computing, in steps that make near misses likely.
fn work(random: &Random) -> u64 {
    1_000 * (1 + random.below(40))
}

fn call(random: &Random, gates: &[Gate], patience_ns: u64) -> Step {
    let gate = random.below(gates.len() as u64) as usize;
    call_to(random, gates, gate, patience_ns)
}

fn call_to(random: &Random, gates: &[Gate], gate: usize, patience_ns: u64) -> Step {
    Step::Call { gate, service: random.below(gates[gate].services.len() as u64) as usize, patience_ns }
}

impl Plan {
    /// What `seed` decides.
    #[must_use]
    pub fn random(seed: u64) -> Self {
        let random = Random::new(seed);
        let mut plan = Self { change_ns: if seed % 3 == 1 { 400_000 } else { 0 }, ..Self::default() };
        let count = 2 + random.below(4) as usize;
        // From the last to the first, as each calls later ones. Those that put requests off are for clients only.
        for index in (0..count).rev() {
            let defers = index == 0 && random.chance(300);
            let later: Vec<usize> = (index + 1..count).collect();
            let pager = (!later.is_empty() && random.chance(500)).then(|| *random.choose(&later));
            let mut services = Vec::new();
            for _ in 0..1 + random.below(2) {
                let mut steps = vec![Step::Compute(work(&random))];
                while !later.is_empty() && !defers && steps.len() < 4 && random.chance(600) {
                    let gate = *random.choose(&later);
                    let service =
                        |gate: usize| random.below(plan.gates[gate - index - 1].services.len() as u64) as usize;
                    steps.push(match pager {
                        Some(pager) if random.chance(300) => Step::Touch { gate: pager, service: service(pager) },
                        _ => Step::Call { gate, service: service(gate), patience_ns: 0 },
                    });
                    steps.push(Step::Compute(work(&random)));
                }
                services.push(steps);
            }
            let reserve = random.chance(600).then(|| 1 + random.below(60) as u8);
            let receivers = 1 + if defers || random.chance(600) { 0 } else { random.below(3) };
            let receivers: Vec<Option<u8>> =
                (0..receivers).map(|_| (defers || random.chance(500)).then(|| 1 + random.below(60) as u8)).collect();
            // A passive one without a reserve cannot go on after its answer.
            let goes_on = !defers && (reserve.is_some() || receivers.iter().all(Option::is_some));
            let after_ns = if goes_on && random.chance(500) { work(&random) } else { 0 };
            plan.gates.insert(0, Gate { receivers, reserve, services, after_ns, defers, pager });
        }
        plan.add_pulses(&random);
        plan.add_clients(&random, seed % 3 == 2);
        plan
    }

    fn add_pulses(&mut self, random: &Random) {
        for (gate, shape) in self.gates.iter().enumerate() {
            for _ in 0..random.below(3).max(u64::from(shape.defers)) {
                let source = match random.below(3) {
                    _ if shape.defers => Source::Alarm(300_000 + random.below(300_000)),
                    0 => Source::Alarm(500_000 + random.below(3_000_000)),
                    1 => Source::Line(500_000 + random.below(3_000_000)),
                    _ => Source::Clients,
                };
                let service = random.below(shape.services.len() as u64) as usize;
                let (priority, carries) = (1 + random.below(60) as u8, random.chance(600));
                self.pulses.push(Pulse { gate, service, priority, carries, source });
            }
        }
    }

    fn add_clients(&mut self, random: &Random, impatient: bool) {
        let raised: Vec<usize> =
            (0..self.pulses.len()).filter(|pulse| self.pulses[*pulse].source == Source::Clients).collect();
        for number in 0..4 + random.below(4) {
            let mut job = vec![Step::Compute(work(random))];
            let pager = random.below(self.gates.len() as u64) as usize;
            // One of three computes only, and long: in the middle, it is what inversion would let in.
            if number % 3 == 2 {
                job = vec![Step::Compute(20 * work(random))];
            }
            while number % 3 != 2 && job.len() < 6 {
                let patience_ns = if impatient && random.chance(500) { 2 * work(random) } else { 0 };
                job.push(match random.below(10) {
                    0 if !raised.is_empty() => Step::Raise { pulse: *random.choose(&raised) },
                    1 | 2 => Step::Compute(work(random)),
                    3 | 4 => {
                        let service = random.below(self.gates[pager].services.len() as u64) as usize;
                        Step::Touch { gate: pager, service }
                    }
                    _ => call(random, &self.gates, patience_ns),
                });
            }
            let priority = 1 + random.below(60) as u8;
            let slice_ns = if random.chance(400) { 50_000 + random.below(200_000) } else { 0 };
            let sporadic = (slice_ns == 0 && random.chance(300)).then(|| {
                let period_ns = 200_000 + random.below(1_000_000);
                let budget_ns = if random.chance(200) { period_ns } else { 10_000 + random.below(period_ns / 2) };
                Sporadic { budget_ns, period_ns, low: random.below(u64::from(priority)) as u8 }
            });
            let pause_ns = 100_000 + random.below(1_500_000);
            self.clients.push(Client { priority, slice_ns, sporadic, pager, pause_ns, job });
        }
    }
}
