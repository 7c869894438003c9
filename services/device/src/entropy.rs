//! Randomness: ChaCha20, seeded by the processor where it can, and by its clock.
#![allow(unsafe_code)]

use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};

/// How often an instruction that gives randomness is tried: it may be exhausted for a moment.
const TRIES: u32 = 64;

/// A generator.
pub(crate) struct Entropy {
    generator: ChaCha20Rng,
}

impl core::fmt::Debug for Entropy {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str("Entropy")
    }
}

impl Entropy {
    /// Seeded as well as this machine can.
    pub(crate) fn new() -> Self {
        let mut seed = [0; 32];
        for word in seed.chunks_exact_mut(8) {
            let value = processor().unwrap_or(0) ^ ticks().wrapping_mul(0x9e37_79b9_7f4a_7c15);
            word.copy_from_slice(&value.to_le_bytes());
        }
        Self::from_seed(seed)
    }

    /// From a known seed, for tests.
    pub(crate) fn from_seed(seed: [u8; 32]) -> Self {
        Self { generator: ChaCha20Rng::from_seed(seed) }
    }

    /// Random bytes.
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        self.generator.fill_bytes(bytes);
    }

    /// Stir something in that somebody wrote.
    pub(crate) fn mix(&mut self, bytes: &[u8]) {
        let mut seed = [0; 32];
        self.fill(&mut seed);
        for (at, byte) in bytes.iter().enumerate() {
            seed[at % 32] ^= byte;
        }
        self.generator = ChaCha20Rng::from_seed(seed);
    }
}

#[cfg(target_arch = "x86_64")]
fn ticks() -> u64 {
    // SAFETY: reading the time-stamp counter touches no memory.
    unsafe { core::arch::x86_64::_rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
fn ticks() -> u64 {
    runtime::clock::monotonic_ns()
}

/// A random number of the processor's, if it has the means.
#[cfg(target_arch = "x86_64")]
fn processor() -> Option<u64> {
    const RDRAND: u32 = 1 << 30;
    const RDSEED: u32 = 1 << 18;
    #[allow(unused_unsafe)]
    // SAFETY: every processor with 64 bits knows this instruction, and leaf 0.
    let most = unsafe { core::arch::x86_64::__cpuid(0) }.eax;
    #[allow(unused_unsafe)]
    // SAFETY: as before; leaf 1 is always there.
    let has_rdrand = unsafe { core::arch::x86_64::__cpuid(1) }.ecx & RDRAND != 0;
    #[allow(unused_unsafe)]
    // SAFETY: as before, and leaf 7 was asked for.
    let has_rdseed = most >= 7 && unsafe { core::arch::x86_64::__cpuid_count(7, 0) }.ebx & RDSEED != 0;
    for _ in 0..TRIES {
        let (mut value, mut good): (u64, u8) = (0, 0);
        if has_rdseed {
            // SAFETY: the processor has the instruction; it writes only its operand and the flags.
            unsafe {
                core::arch::asm!("rdseed {0}", "setc {1}", out(reg) value, out(reg_byte) good, options(nomem, nostack))
            };
        } else if has_rdrand {
            // SAFETY: as above.
            unsafe {
                core::arch::asm!("rdrand {0}", "setc {1}", out(reg) value, out(reg_byte) good, options(nomem, nostack))
            };
        } else {
            return None;
        }
        if good != 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(not(target_arch = "x86_64"))]
fn processor() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_chacha_and_differs_by_seed() {
        let (mut a, mut b, mut c) = (Entropy::from_seed([1; 32]), Entropy::from_seed([1; 32]), Entropy::new());
        let mut out = [[0; 64]; 3];
        a.fill(&mut out[0]);
        b.fill(&mut out[1]);
        c.fill(&mut out[2]);
        assert_eq!(out[0], out[1]);
        assert_ne!(out[0], out[2]);
        a.mix(b"x");
        a.fill(&mut out[0]);
        b.fill(&mut out[1]);
        assert_ne!(out[0], out[1]);
    }
}
