//! An imaginary processor for the kernel's own tests: plain Rust, no threads, virtual time, and a seed that decides every
//! choice. Seed + commit = replay.
//!
//! * [`processor`] implements the kernel's `Machine` trait over simulated [`memory`], [`space`]s and a [`context`];
//! * [`program`] lets user code be written as `async` blocks whose every `await` is one action of a thread;
//! * [`simulation`] runs a kernel on it, with a [`scenario`]'s body as init, or the random programs of [`fuzz`] and
//!   [`services`];
//! * [`delay`] checks by how much priorities are inverted;
//! * `entry` passes half of all messages as x86_64's entry code does, with only those registers saved that it saves; the
//!   kernel's loop gets to know the others;
//! * [`trace`] keeps what happened, with a hash that is equal for equal seeds.
//!
//! One processor runs; a second one that could act in between is imitated where it matters. By seed,
//!
//! * at each kernel exit, and between the pieces of what takes the kernel long, an alarm or interrupt that is due comes first (in which order,
//!   is chosen), or a spurious trap; every step of user code takes a chosen time, so that slices and deadlines end anywhere;
//! * between any two steps of user code, those of other threads come, by what batons are ready;
//! * while the kernel reads an envelope (before each word), reads or writes a structure, and between parts of each copy, memory that
//!   programs [share](World::share) changes, as threads of theirs on another processor would change it.
//!
//! What no simulated second processor does is run in the kernel at the same time: the kernel has one processor so far.
//!
//! What must hold: no wall clock, no host randomness, no order that depends on addresses.

pub mod arena;
pub mod buffer;
pub mod context;
pub mod delay;
mod entry;
pub mod fuzz;
pub mod invariant;
pub mod memory;
pub mod processor;
pub mod program;
pub mod random;
pub mod scenario;
pub mod services;
pub mod simulation;
pub mod space;
pub mod trace;

pub use processor::{Processor, Settings, World};
pub use program::{Answer, Exchange, User};

/// Seeds under which every scenario is run.
const SEEDS: u64 = 4;

/// Run a scenario under several seeds, with an ordinary processor.
pub fn scenario<F: Future<Output = ()> + 'static>(body: impl Fn(scenario::Root) -> F + Copy + 'static) {
    scenario_with(Settings::default(), body);
}

/// Run a scenario under several seeds.
pub fn scenario_with<F: Future<Output = ()> + 'static>(
    settings: Settings,
    body: impl Fn(scenario::Root) -> F + Copy + 'static,
) {
    for seed in 0..SEEDS {
        simulation::run(seed, settings, body);
    }
}

/// Run random programs for so many steps of user code.
#[must_use]
pub fn simulate(seed: u64, steps: u64) -> simulation::Report {
    simulate_with(seed, steps, fuzz_settings(seed))
}

/// The same, and say how often which exchange ended how.
#[must_use]
pub fn simulate_verbosely(seed: u64, steps: u64) -> simulation::Report {
    simulate_with(seed, steps, Settings { verbose: true, ..fuzz_settings(seed) })
}

/// The same, with all invariants checked after every step of the kernel, and with memory that changes while the kernel uses it.
#[must_use]
pub fn simulate_closely(seed: u64, steps: u64) -> simulation::Report {
    simulate_with(seed, steps, Settings { objects_every: 1, meddling_per_mille: 50, ..fuzz_settings(seed) })
}

fn simulate_with(seed: u64, steps: u64, settings: Settings) -> simulation::Report {
    let settings = Settings { patience: settings.patience.saturating_add(steps.saturating_mul(20)), ..settings };
    if seed % 3 == 2 {
        simulation::run(seed, settings, move |root| services::run(root, steps))
    } else {
        simulation::run(seed, settings, move |root| fuzz::run(root, steps))
    }
}

fn fuzz_settings(seed: u64) -> Settings {
    Settings {
        large_pages: seed % 2 == 1,
        spurious_per_mille: seed % 20,
        unlucky_per_mille: 20 * (seed % 5),
        ..Settings::default()
    }
}

/// An envelope as it lies in user memory.
#[must_use]
pub fn envelope_bytes(envelope: &abi::Envelope) -> Vec<u8> {
    let mut bytes = vec![envelope.send_count, envelope.receive_count, envelope.give_count, envelope.take_count];
    bytes.extend(envelope.reserved.to_le_bytes());
    for segment in envelope.send.iter().chain(&envelope.receive) {
        bytes.extend(segment.address.to_le_bytes());
        bytes.extend(segment.length.to_le_bytes());
    }
    for gift in &envelope.give {
        bytes.extend(gift.handle.0.to_le_bytes());
        bytes.extend(gift.rights.0.to_le_bytes());
        bytes.extend(gift.flags.to_le_bytes());
    }
    for slot in &envelope.take {
        bytes.extend(slot.0.to_le_bytes());
    }
    assert_eq!(bytes.len(), size_of::<abi::Envelope>());
    bytes
}
