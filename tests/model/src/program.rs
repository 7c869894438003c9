//! Random programs: what each thread does, in order.

use simulator::random::Random;

use crate::specification::{Action, GATES, PROCESSES, PULSES, THREADS, ThreadId, process_of};

/// Actions of each thread. Few programs get to their end: sooner or later all threads wait for one another.
const LENGTH: usize = 400;

/// A program, and the seed that decides how its threads interleave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Of the simulator.
    pub seed: u64,
    /// What each thread does.
    pub actions: Vec<Vec<Action>>,
    /// Compare with a model that is wrong on purpose.
    pub wrong: bool,
}

impl Program {
    /// The program that a seed stands for.
    #[must_use]
    pub fn random(seed: u64) -> Self {
        let random = Random::new(seed);
        let actions =
            (0..PROCESSES * THREADS).map(|thread| (0..LENGTH).map(|_| action(&random, thread)).collect()).collect();
        Self { seed, actions, wrong: false }
    }

    /// How many actions it has.
    #[must_use]
    pub fn length(&self) -> usize {
        self.actions.iter().map(Vec::len).sum()
    }
}

fn action(random: &Random, thread: ThreadId) -> Action {
    let any = |bound: usize| random.below(bound as u64) as usize;
    // A gate of its own, mostly.
    let own =
        || if random.chance(950) && process_of(thread) == 0 && random.chance(500) { 3 } else { process_of(thread) };
    let gate = if random.chance(30) { any(GATES) } else { own() };
    let bytes = || if random.chance(500) { 0 } else { random.below(64) };
    match random.below(100) {
        0..=24 => {
            Action::Call { gate: any(GATES), poll: random.chance(600), bytes: (bytes(), bytes()), word: random.next() }
        }
        25..=49 => Action::Receive { gate, poll: random.chance(500), room: bytes() },
        50..=84 => {
            let receive = random.chance(300).then(|| (gate, random.chance(500)));
            let request = if random.chance(800) { 0 } else { any(4) };
            Action::Reply { request, sent: bytes(), word: random.next(), receive }
        }
        85..=98 => Action::Raise { pulse: any(PULSES), bits: 1 << random.below(64) },
        _ if random.chance(100) => Action::Close { gate: any(GATES) },
        _ => Action::Receive { gate, poll: true, room: 0 },
    }
}
