//! A checker of priorities: for how long may weaker ones delay each thread, and for how long do they?
//!
//! A [`plan`] declares gates, servers, clients and pulses, and how much everybody computes, all decided by a seed. The
//! [`bound`] of each job follows from that alone. The plan then runs on the kernel ([`run`]). Its programs say for whom they
//! work, the processor says who is on it, and the [`ledger`] adds up, for each job, how long something weaker ran while
//! it was to be done. That must not be more than the bound, and a processor must not idle meanwhile.
//!
//! "Weaker" is work that is for somebody of lower priority *and* that nobody else as strong waits for: what
//! a server does for a weak caller while a strong one waits for it is the strong one's delay, and of others' no more than
//! anything the strong one does.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

pub mod bound;
mod ledger;
pub mod plan;
mod run;

pub use ledger::{Job, Violation};

use crate::processor::Settings;
use crate::simulation;
use bound::Bound;
use ledger::Ledger;
use plan::Plan;
use run::Run;

/// What is to be wrong, to see that the checker notices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sabotage {
    /// Nothing.
    #[default]
    None,
    /// No server inherits: each puts its requests off and works on a baton of its own.
    WithoutInheritance,
    /// The bound forgets the receivers that have begun with something weaker.
    BoundTooLow,
}

/// What came of one seed.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was run.
    pub plan: Plan,
    /// Jobs that were done.
    pub jobs: u64,
    /// The largest share of its bound by which a job was delayed, of 1000.
    pub worst_per_mille: u64,
    /// Jobs that were delayed for longer than their bound.
    pub violations: Vec<Violation>,
}

/// Run the plan of a seed and check every job of it.
#[must_use]
pub fn check(seed: u64, sabotage: Sabotage) -> Outcome {
    check_plan(seed, Plan::random(seed), sabotage)
}

/// Run a plan, with everything else decided by a seed, and check every job of it.
#[must_use]
pub fn check_plan(seed: u64, mut plan: Plan, sabotage: Sabotage) -> Outcome {
    if sabotage == Sabotage::WithoutInheritance {
        for own in plan.gates.iter_mut().flat_map(|gate| &mut gate.receivers) {
            own.get_or_insert(1);
        }
    }
    let bound = Bound::new(&plan);
    let mut bounds = BTreeMap::new();
    for (number, client) in plan.clients.iter().enumerate() {
        bounds.insert(Job::Client(number), bound.blocking(&client.job));
    }
    for number in 0..plan.pulses.len() {
        bounds.insert(Job::Pulse(number), bound.pulse_blocking(number));
    }
    if sabotage == Sabotage::BoundTooLow {
        bounds.values_mut().for_each(|bound| *bound = 0);
    }
    let left_behind = plan.gates.iter().map(|gate| bound.left_behind(gate)).collect();
    let ledger = RefCell::new(Ledger::new(&plan, bounds, left_behind));
    let run = Rc::new(Run { plan, ledger, without_inheritance: sabotage == Sabotage::WithoutInheritance });
    let settings = Settings { step_ns: 1, check_every: 16, spurious_per_mille: seed % 3, ..Settings::default() };
    let running = Rc::clone(&run);
    simulation::run(seed, settings, move |root| run::root(root, running));
    let ledger = run.ledger.borrow();
    Outcome {
        plan: run.plan.clone(),
        jobs: ledger.finished,
        worst_per_mille: ledger.worst_per_mille,
        violations: ledger.violations.clone(),
    }
}
