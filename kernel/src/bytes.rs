//! Structures as they lie in user memory: little-endian words, without any possibility to panic.

/// The word at an index; 0 behind the end.
pub(crate) fn word(bytes: &[u8], index: usize) -> u64 {
    bytes.as_chunks::<8>().0.get(index).map_or(0, |chunk| u64::from_le_bytes(*chunk))
}

/// Store words one after the other, as many as fit.
#[inline(never)]
pub(crate) fn store(bytes: &mut [u8], words: &[u64]) {
    // Bound: the structure.
    for (to, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *to = word.to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back_and_nothing_lies_behind_the_end() {
        let mut bytes = [0; 20];
        store(&mut bytes, &[1, u64::MAX - 1, 7]);
        assert_eq!((word(&bytes, 0), word(&bytes, 1), word(&bytes, 2)), (1, u64::MAX - 1, 0));
        assert_eq!(bytes[16..], [0; 4]);
    }
}
