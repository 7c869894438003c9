//! Where choices come from: a seed, or the bytes of a fuzzer.

/// A source of choices.
pub trait Chance {
    /// The next 64 bits.
    fn next(&mut self) -> u64;

    /// A number below `bound`, which is not 0.
    fn below(&mut self, bound: u64) -> u64 {
        // The upper half of a product: evenly enough, and several times as quick as a division on an emulated processor.
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// True in `per_mille` of 1000 cases.
    fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// One of `choices`, which is not empty.
    fn choose(&mut self, choices: &[u64]) -> u64 {
        choices[self.below(choices.len() as u64) as usize]
    }
}

/// SplitMix64: equal seeds give equal sequences on every machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Random(u64);

impl Random {
    /// A sequence that `seed` decides.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed ^ 0x686f_7374_696c_6521)
    }
}

impl Chance for Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
