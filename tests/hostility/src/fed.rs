//! Choices from a fuzzer's bytes: each takes as few as it needs, so that a changed byte changes one choice.

use hostile::Chance;

/// Bytes, and how many of them were used.
#[derive(Clone, Debug)]
pub(crate) struct Fed {
    bytes: Vec<u8>,
    used: usize,
}

impl Fed {
    pub(crate) const fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, used: 0 }
    }

    /// Whether there are bytes left. Without, everything is 0.
    pub(crate) fn goes_on(&self) -> bool {
        self.used < self.bytes.len()
    }

    fn take(&mut self, count: usize) -> u64 {
        let end = self.bytes.len().min(self.used + count);
        let taken = &self.bytes[self.used..end];
        self.used = end;
        taken.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}

impl Chance for Fed {
    fn next(&mut self) -> u64 {
        self.take(8)
    }

    fn below(&mut self, bound: u64) -> u64 {
        let bits = u64::BITS - (bound - 1).leading_zeros();
        self.take(bits.div_ceil(8) as usize) % bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_choice_takes_the_bytes_it_needs() {
        let mut fed = Fed::new(vec![7, 0x34, 0x12, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!((fed.below(1), fed.below(4), fed.below(0x2000)), (0, 3, 0x1234));
        assert_eq!((fed.next(), fed.goes_on(), fed.below(200)), (0x0807_0605_0403_0201, true, 9));
        assert_eq!((fed.goes_on(), fed.next(), fed.below(3)), (false, 0, 0));
    }
}
