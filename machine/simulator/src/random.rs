//! The one source of chance: a seed decides everything that follows.

use std::cell::Cell;

/// A small generator (SplitMix64): equal seeds give equal sequences on every machine.
#[derive(Debug)]
pub struct Random {
    state: Cell<u64>,
}

impl Random {
    /// A sequence that `seed` decides.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let random = Self { state: Cell::new(seed ^ 0x6261_746f_6e21) };
        random.next();
        random
    }

    /// The next 64 bits.
    pub fn next(&self) -> u64 {
        let state = self.state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.state.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&self, bound: u64) -> u64 {
        assert!(bound > 0);
        self.next() % bound
    }

    /// True in `per_mille` of 1000 cases.
    pub fn chance(&self, per_mille: u64) -> bool {
        per_mille > 0 && self.below(1000) < per_mille
    }

    /// One of `choices`, which is not empty.
    pub fn choose<'a, T>(&self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len() as u64) as usize]
    }
}
