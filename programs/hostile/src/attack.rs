//! The threads that fire. They run in a process that shares nothing writable of this program's, so they use no statics.

use abi::thread::State;
use abi::{Handle, PAGE_SIZE};
use hostile::arsenal::{PROPS, Spoils, envelope_words};
use hostile::tally::{self, ANSWERS, DEEDS};
use hostile::{Arsenal, Chance, FIELD, FIELD_LENGTH, Random, Shot};
use runtime::clock;
use runtime::exchange::{Registers, exchange};
use runtime::mapped::Window;
use runtime::object::thread;

/// Threads that fire; one more scribbles on the envelopes meanwhile.
pub(crate) const SHOOTERS: u64 = 3;
/// Where each thread counts its shots, for the keeper: of a Memory that the threads have no handle to. Each has a table: how many
/// shots (8 bytes), and how many of each kind were answered in each way (the same).
pub(crate) const COUNTERS: u64 = 0xa0_0000_0000;
pub(crate) const COUNTERS_LENGTH: u64 = SHOOTERS * TABLE_STEP;
pub(crate) const TABLE_STEP: u64 = 4 * PAGE_SIZE;
pub(crate) const FIRST_CELL: u64 = 8;
pub(crate) const CELL: u64 = 8;
const _: () = assert!(FIRST_CELL + CELL * (DEEDS * ANSWERS) as u64 <= TABLE_STEP);
/// Where each thread has all of the field, apart from the field, which they unmap.
const ALIAS: u64 = 0x90_0000_0000;
const ALIAS_STEP: u64 = 0x100_0000;
/// How long who waits does so at most, mostly, ns: the scribbler interrupts it before.
const PATIENCE_NS: u64 = 2_000_000;
/// Words that are scribbled before others run.
const SCRIBBLES: u64 = 20;

/// What a thread is told in its one word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Task {
    /// Which thread it is: the last one scribbles.
    pub(crate) number: u64,
    /// The field's Memory in its process's table (of the first generation).
    pub(crate) memory: u16,
    /// What decides its shots.
    pub(crate) seed: u64,
}

impl Task {
    pub(crate) const fn word(self) -> u64 {
        self.seed << 24 | (self.memory as u64) << 8 | self.number
    }

    const fn from_word(word: u64) -> Self {
        Self { number: word & 0xff, memory: (word >> 8) as u16, seed: word }
    }
}

/// A thread's first function.
pub(crate) extern "C" fn attack(word: u64) -> ! {
    let task = Task::from_word(word);
    let memory = Handle::new(task.memory, 1);
    let Ok(shared) = Window::map(memory, ALIAS + task.number * ALIAS_STEP, 0, FIELD_LENGTH) else {
        stop();
    };
    if task.number < SHOOTERS { shoot(task, &shared) } else { scribble(task, &shared) }
}

#[allow(unsafe_code)]
fn shoot(task: Task, shared: &Window) -> ! {
    // SAFETY: the keeper has mapped the pages there. Should a shot unmap them, the next count faults, which ends the thread.
    let counters = unsafe { Window::given(COUNTERS + task.number * TABLE_STEP, TABLE_STEP) };
    let mut arsenal = Arsenal::new(Random::new(task.seed), PATIENCE_NS);
    let mut counts = [[0; ANSWERS]; DEEDS];
    let mut fired: u64 = 0;
    loop {
        let shot = arsenal.shot(clock::monotonic_ns());
        prepare(&shot, shared);
        let out = exchange(Registers {
            status: shot.operation,
            target: shot.target,
            gate: shot.gate,
            envelope: shot.envelope,
            deadline: shot.deadline,
            lengths: shot.lengths,
            label: shot.label,
            words: shot.words,
        });
        arsenal.learn(&shot, Spoils { status: out.status, request: out.target, words: out.words });
        let (deed, answer) = (shot.deed.place(), tally::answer(out.status));
        counts[deed][answer] += 1;
        counters.set(FIRST_CELL + CELL * (deed * ANSWERS + answer) as u64, counts[deed][answer]);
        fired += 1;
        counters.set(0, fired);
    }
}

/// Write what a shot wants to lie in the field.
fn prepare(shot: &Shot, shared: &Window) {
    if let Some(prop) = &shot.prop {
        for (place, word) in (PROPS - FIELD..).step_by(8).zip(prop) {
            shared.set(place, *word);
        }
    }
    if let Some(envelope) = &shot.content {
        for (place, word) in (shot.envelope - FIELD..).step_by(8).zip(envelope_words(envelope)) {
            shared.set(place, word);
        }
    }
}

/// Change envelopes while others wait with them, and just before they are read. Who still waits after that is interrupted:
/// timers would do it too, but a round would take long.
fn scribble(task: Task, shared: &Window) -> ! {
    let mut chance = Random::new(task.seed);
    let mut waited = [false; SHOOTERS as usize];
    loop {
        for (number, waited) in waited.iter_mut().enumerate() {
            let shooter = Handle::new(task.memory + 1 + 2 * number as u16, 1);
            let waits = thread::state(shooter)
                .is_ok_and(|now| matches!(now.state, State::Send | State::Reply | State::Receive));
            if core::mem::replace(waited, waits) && waits {
                // If it goes on meanwhile, its next wait is cut short.
                let _ = thread::interrupt(shooter);
            }
        }
        for _ in 0..SCRIBBLES {
            let place = chance.below(PAGE_SIZE / 8) * 8;
            let shift = chance.below(64);
            shared.set(place, chance.next() >> shift);
        }
        thread::yield_now();
    }
}

/// Wait for the end: a thread cannot end itself.
fn stop() -> ! {
    loop {
        thread::yield_now();
    }
}
