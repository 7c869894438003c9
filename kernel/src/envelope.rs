//! An exchange's envelope, as its thread keeps it: the words of [`abi::Envelope`], read once and checked once.

use crate::bytes::word;
use abi::envelope::{GIFTS, MESSAGE_MAXIMUM, SEGMENTS};
use abi::{Envelope, Error, Gift, Handle, Rights, Segment, USER_END};
use core::cell::Cell;

const WORDS: usize = size_of::<Envelope>() / 8;
/// Cells for them, a power of two so that a mask makes an index safe.
const CELLS: usize = WORDS.next_power_of_two();

/// One of the two lists of segments: where it starts, in words, and where its count is, in bits of the first word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Direction {
    first: usize,
    shift: u32,
}

/// Bytes that the thread sends.
pub(crate) const SEND: Direction = Direction { first: 1, shift: 0 };
/// Room for bytes that it gets.
pub(crate) const RECEIVE: Direction = Direction { first: 1 + 2 * SEGMENTS, shift: 8 };
const GIVE: Direction = Direction { first: 1 + 4 * SEGMENTS, shift: 16 };
const TAKE: Direction = Direction { first: 1 + 4 * SEGMENTS + 2 * GIFTS, shift: 24 };

/// The words of an envelope. Without one, all counts are 0.
#[derive(Debug)]
pub(crate) struct Kept([Cell<u64>; CELLS]);

impl Default for Kept {
    fn default() -> Self {
        Self([const { Cell::new(0) }; CELLS])
    }
}

impl Kept {
    fn at(&self, index: usize) -> u64 {
        self.0[index & (CELLS - 1)].get()
    }

    fn count(&self, of: Direction) -> usize {
        (self.at(0) >> of.shift) as usize & 0xff
    }

    /// There is none.
    pub(crate) fn clear(&self) {
        self.0[0].set(0);
    }

    /// Keep an envelope and check it: segments lie in user space and do not wrap. Whether they are present shows at the
    /// copy.
    pub(crate) fn keep(&self, bytes: &[u8; size_of::<Envelope>()]) -> Result<(), Error> {
        // Bound: the envelope.
        for (index, cell) in self.0.iter().enumerate().take(WORDS) {
            cell.set(word(bytes, index));
        }
        let mut whole = self.at(0) >> 32 == 0;
        for (of, most) in [(SEND, SEGMENTS), (RECEIVE, SEGMENTS), (GIVE, GIFTS), (TAKE, GIFTS)] {
            whole &= self.count(of) <= most;
        }
        if whole {
            for of in [SEND, RECEIVE] {
                let mut total = 0;
                // Bound: SEGMENTS.
                for segment in self.segments(of) {
                    let end = segment.address.wrapping_add(segment.length);
                    whole &= segment.length <= MESSAGE_MAXIMUM && segment.address <= end && end <= USER_END;
                    total += segment.length & (2 * MESSAGE_MAXIMUM - 1);
                }
                whole &= total <= MESSAGE_MAXIMUM;
            }
        }
        if !whole {
            self.clear();
            return Err(Error::BadArgument);
        }
        Ok(())
    }

    /// A list of segments.
    pub(crate) fn segments(&self, of: Direction) -> impl Iterator<Item = Segment> {
        (0..self.count(of)).map(move |index| self.segment(of, index))
    }

    fn segment(&self, of: Direction, index: usize) -> Segment {
        Segment { address: self.at(of.first + 2 * index), length: self.at(of.first + 2 * index + 1) }
    }

    /// Bytes in a list of segments.
    pub(crate) fn total(&self, of: Direction) -> u64 {
        self.segments(of).map(|segment| segment.length).sum()
    }

    /// Where byte `offset` of a list of segments is, and how many follow it in the same segment.
    pub(crate) fn place(&self, of: Direction, mut offset: u64) -> Option<(u64, u64)> {
        // Bound: SEGMENTS.
        for segment in self.segments(of) {
            if offset < segment.length {
                return Some((segment.address + offset, segment.length - offset));
            }
            offset -= segment.length;
        }
        None
    }

    /// How many handles are given.
    pub(crate) fn gifts(&self) -> usize {
        self.count(GIVE)
    }

    /// A handle to give.
    pub(crate) fn gift(&self, index: usize) -> Gift {
        let rights = self.at(GIVE.first + 2 * index + 1);
        Gift {
            handle: Handle(self.at(GIVE.first + 2 * index)),
            rights: Rights(rights as u32),
            reserved: (rights >> 32) as u32,
        }
    }

    /// How many slots there are for handles.
    pub(crate) fn slots(&self) -> usize {
        self.count(TAKE)
    }

    /// A slot for a handle.
    pub(crate) fn slot(&self, index: usize) -> Handle {
        Handle(self.at(TAKE.first + index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(counts: u64, segments: &[(u64, u64)]) -> [u8; size_of::<Envelope>()] {
        let mut words = [0; WORDS];
        words[0] = counts;
        for (index, (address, length)) in segments.iter().enumerate() {
            words[1 + 2 * index] = *address;
            words[2 + 2 * index] = *length;
        }
        let mut bytes = [0; size_of::<Envelope>()];
        crate::bytes::store(&mut bytes, &words);
        bytes
    }

    #[test]
    fn a_run_finds_bytes_across_segments_and_skips_empty_ones() {
        let kept = Kept::default();
        kept.keep(&envelope(3, &[(100, 3), (0, 0), (200, 2), (300, 9)])).unwrap();
        assert_eq!(kept.total(SEND), 5);
        assert_eq!(kept.place(SEND, 0), Some((100, 3)));
        assert_eq!(kept.place(SEND, 2), Some((102, 1)));
        assert_eq!(kept.place(SEND, 3), Some((200, 2)));
        assert_eq!(kept.place(SEND, 5), None);
        assert_eq!((kept.total(RECEIVE), kept.gifts(), kept.slots()), (0, 0, 0));
    }

    #[test]
    fn wrapping_and_oversized_segments_and_counts_are_refused() {
        let kept = Kept::default();
        for (counts, segment) in
            [(5, (0, 0)), (1, (u64::MAX, 2)), (1, (USER_END, 1)), (1, (0, MESSAGE_MAXIMUM + 1)), (1 << 32, (0, 0))]
        {
            assert_eq!(kept.keep(&envelope(counts, &[segment])), Err(Error::BadArgument));
            assert_eq!(kept.total(SEND), 0);
        }
        assert_eq!(kept.keep(&envelope(2, &[(0, MESSAGE_MAXIMUM), (0, 1)])), Err(Error::BadArgument));
        assert_eq!(kept.keep(&envelope(1, &[(0, MESSAGE_MAXIMUM)])), Ok(()));
    }
}
