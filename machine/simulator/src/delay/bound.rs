//! How long weaker ones may delay a job, from what the plan declares and nothing else.
//!
//! A stronger one never waits for a weaker one's computing, but for this: at each gate that it calls, and that is called for
//! it, *one* receiver may have begun with something weaker, which it must end first (with the same rule for what that calls,
//! in its turn). Each time that somebody stronger is served before it there, or before a receiver where that one waits that it
//! waits for itself, that may leave it something more to wait for: what the receiver does after its answer, or, where there are
//! several, another receiver; all of its service, if its budget may end meanwhile. A fault is a call of the pager. Work on a sporadic baton counts as of its low priority; whoever is
//! in between waits for its budgets besides. If meanwhile a priority changes, or somebody leaves who made the weaker work
//! urgent, that may happen anew.

use super::plan::{Client, Gate, Plan, Step};

/// What somebody that was served first may leave to wait for, ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftBehind {
    /// If it is stronger until it is answered: what the receiver does after that; where there are several, another receiver
    /// that has just begun.
    pub answered_ns: u64,
    /// If it is stronger only while its budget lasts: all that a receiver has begun.
    pub begun_ns: u64,
}

/// Bounds for the jobs of a plan.
#[derive(Debug)]
pub struct Bound<'a> {
    plan: &'a Plan,
}

impl<'a> Bound<'a> {
    /// For this plan.
    #[must_use]
    pub const fn new(plan: &'a Plan) -> Self {
        Self { plan }
    }

    /// How long a receiver of a gate is at work once it has begun, all that it waits for included.
    fn occupied(&self, gate: &Gate) -> u64 {
        let longest = gate.services.iter().map(|steps| self.computing(steps) + self.blocking(steps)).max();
        longest.unwrap_or(0) + gate.after_ns
    }

    /// How long a receiver of a gate may still be in the way of somebody who was passed over there.
    #[must_use]
    pub fn left_behind(&self, gate: &Gate) -> LeftBehind {
        let begun_ns = self.occupied(gate);
        let answered_ns = if gate.receivers.len() == 1 { gate.after_ns } else { begun_ns };
        LeftBehind { answered_ns, begun_ns }
    }

    /// What is computed in these steps, by whom ever.
    fn computing(&self, steps: &[Step]) -> u64 {
        let of = |step: &Step| match *step {
            Step::Compute(ns) => ns,
            Step::Call { gate, service, .. } | Step::Touch { gate, service } => {
                self.computing(&self.plan.gates[gate].services[service])
            }
            Step::Raise { .. } => 0,
        };
        steps.iter().map(of).sum()
    }

    /// How long weaker ones may delay whoever does these steps, if nothing changes meanwhile.
    #[must_use]
    pub fn blocking(&self, steps: &[Step]) -> u64 {
        let of = |step: &Step| match *step {
            Step::Call { gate, service, .. } | Step::Touch { gate, service } => {
                let gate = &self.plan.gates[gate];
                self.occupied(gate) + self.blocking(&gate.services[service])
            }
            Step::Compute(_) | Step::Raise { .. } => 0,
        };
        steps.iter().map(of).sum()
    }

    /// How long sporadic batons may be in the way, for a time, of something that has priorities from the first to the second:
    /// each that is as strong now and weaker then, one budget in each period that the time touches.
    #[must_use]
    pub fn budgets(clients: &[Client], (least, highest): (u8, u8), time_ns: u64) -> u64 {
        let of = |client: &Client| match client.sporadic {
            Some(sporadic) if client.priority >= least && client.low() < highest => {
                sporadic.budget_ns * (time_ns.div_ceil(sporadic.period_ns) + 1)
            }
            _ => 0,
        };
        clients.iter().map(of).sum()
    }

    /// How long weaker ones may delay what is done for a pulse on its own baton.
    #[must_use]
    pub fn pulse_blocking(&self, pulse: usize) -> u64 {
        let pulse = &self.plan.pulses[pulse];
        let gate = &self.plan.gates[pulse.gate];
        self.occupied(gate) + self.blocking(&gate.services[pulse.service])
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::Sporadic;
    use super::*;

    fn gate(services: Vec<Vec<Step>>, after_ns: u64) -> Gate {
        Gate { receivers: vec![Some(9)], reserve: None, services, after_ns, defers: false, pager: None }
    }

    fn call(gate: usize) -> Step {
        Step::Call { gate, service: 0, patience_ns: 0 }
    }

    #[test]
    fn each_gate_on_the_way_adds_what_one_receiver_has_begun() {
        let last = gate(vec![vec![Step::Compute(100)], vec![Step::Compute(700)]], 50);
        let first = gate(vec![vec![Step::Compute(10), call(1), Step::Compute(20)]], 0);
        let plan = Plan { gates: vec![first, last], ..Plan::default() };
        let bound = Bound::new(&plan);
        assert_eq!(bound.blocking(&[Step::Compute(1_000_000)]), 0);
        // The longest of its services, and what comes after.
        assert_eq!(bound.blocking(&[call(1)]), 750);
        // At the first gate 30 + 100 of computing, which may wait for 750 itself; then 750 at the last for the own call.
        assert_eq!(bound.blocking(&[call(0)]), 130 + 750 + 750);
        assert_eq!(bound.blocking(&[call(0), call(1)]), 130 + 750 + 750 + 750);
    }

    #[test]
    fn sporadic_batons_are_in_the_way_for_one_budget_in_each_period_of_those_between_their_priorities() {
        let sporadic = |budget_ns, period_ns| Some(Sporadic { budget_ns, period_ns, low: 10 });
        let client = |sporadic| Client { priority: 30, slice_ns: 0, sporadic, pager: 0, pause_ns: 0, job: Vec::new() };
        let clients = [client(None), client(sporadic(5, 100)), client(sporadic(100, 1_000))];
        for (priority, time_ns, expected) in
            [(31, 1_000, 0), (30, 1_000, 255), (11, 1_001, 360), (11, 1, 210), (10, 1_000, 0)]
        {
            assert_eq!(Bound::budgets(&clients, (priority, priority), time_ns), expected, "{priority}, {time_ns} ns");
        }
        assert_eq!(Bound::budgets(&clients, (5, 40), 1_000), 255);
    }

    #[test]
    fn a_fault_is_a_call_of_the_pager() {
        let plan = Plan { gates: vec![gate(vec![vec![Step::Compute(100)]], 50)], ..Plan::default() };
        let bound = Bound::new(&plan);
        assert_eq!(bound.blocking(&[Step::Touch { gate: 0, service: 0 }]), bound.blocking(&[call(0)]));
    }
}
