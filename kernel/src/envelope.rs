//! An exchange's envelope, as its thread keeps it: the words of [`abi::Envelope`], read once and checked once.

use abi::envelope::{GIFTS, MESSAGE_MAXIMUM, SEGMENTS};
use abi::{Envelope, Error, Gift, Handle, Rights, Segment, USER_END};
use core::cell::Cell;

/// From the end of what programs have to the next power of two.
const PAST_END: u64 = USER_END.next_power_of_two() - USER_END;
const WORDS: usize = size_of::<Envelope>() / 8;
/// Cells for them and for the totals, a power of two so that a mask makes an index safe.
const CELLS: usize = 32;

/// One of the two lists of segments: where it starts, in words, and where its total and its count are, in bits of the word of
/// totals and of the first word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Direction {
    first: usize,
    total: u32,
    shift: u32,
}

/// Bytes that the thread sends.
pub(crate) const SEND: Direction = Direction { first: 1, total: 0, shift: 0 };
/// Room for bytes that it gets.
pub(crate) const RECEIVE: Direction = Direction { first: 1 + 2 * SEGMENTS, total: 32, shift: 8 };
/// The word behind the envelope's own: how many bytes the lists have, as [`abi::call`] tells a receiver.
const TOTALS: usize = WORDS;
const GIVE: usize = 1 + 4 * SEGMENTS;
const TAKE: usize = 1 + 4 * SEGMENTS + 2 * GIFTS;
const GIFT_SHIFT: u32 = 16;
const SLOT_SHIFT: u32 = 24;

const _: () = assert!(WORDS == 29 && TAKE + GIFTS == WORDS);

/// The words of an envelope. Without one, all counts are 0.
#[derive(Debug)]
pub(crate) struct Kept([Cell<u64>; CELLS]);

impl Default for Kept {
    fn default() -> Self {
        Self([const { Cell::new(0) }; CELLS])
    }
}

// Plain loops over indices: they are small and fast even where the compiler inlines little.
impl Kept {
    #[inline(always)]
    fn at(&self, index: usize) -> u64 {
        self.0[index & (CELLS - 1)].get()
    }

    #[inline(always)]
    fn count(&self, shift: u32) -> usize {
        (self.at(0) >> shift) as usize & 0xff
    }

    /// There is none.
    pub(crate) fn clear(&self) {
        self.0[0].set(0);
        self.0[TOTALS].set(0);
    }

    /// Where the machine is to read an envelope to; [`Kept::check`] comes next.
    pub(crate) fn words(&self) -> &[Cell<u64>] {
        self.0.first_chunk::<WORDS>().map_or(&[], |words| words)
    }

    /// An envelope of one segment each way, from the registers; `lengths`: bits 0–31 send, 32–63 receive.
    #[inline(always)]
    pub(crate) fn set_segments(&self, send: u64, receive: u64, lengths: u64) -> Result<(), Error> {
        let (sent, room) = (lengths & 0xffff_ffff, lengths >> 32);
        if sent <= MESSAGE_MAXIMUM && room <= MESSAGE_MAXIMUM && self.keeps_segments(send, receive, lengths) {
            return Ok(());
        }
        self.clear();
        Err(Error::BadArgument)
    }

    /// Likewise, if each is shorter than may be. False: one is not, or not in user space, and nothing counts that was kept.
    #[inline(always)]
    pub(crate) fn keeps_short_segments(&self, send: u64, receive: u64, lengths: u64) -> bool {
        const LONG: u64 = !(MESSAGE_MAXIMUM - 1) & 0xffff_ffff;
        lengths & (LONG | LONG << 32) == 0 && self.keeps_segments(send, receive, lengths)
    }

    #[inline(always)]
    fn keeps_segments(&self, send: u64, receive: u64, lengths: u64) -> bool {
        let (sent, room) = (lengths & 0xffff_ffff, lengths >> 32);
        self.set_segment(SEND, send, sent);
        self.set_segment(RECEIVE, receive, room);
        self.0[TOTALS].set(lengths);
        self.0[0].set(1 << SEND.shift | 1 << RECEIVE.shift);
        // What ends behind `USER_END`, or is above it, has one of these bits here. No sum wraps that has not: a length has 32 bits.
        let ends = |address: u64, length| address | address.wrapping_add(length + (PAST_END - 1));
        (ends(send, sent) | ends(receive, room)) & !(USER_END + PAST_END - 1) == 0
    }

    #[inline(always)]
    fn set_segment(&self, of: Direction, address: u64, length: u64) {
        self.0[of.first & (CELLS - 1)].set(address);
        self.0[(of.first + 1) & (CELLS - 1)].set(length);
    }

    /// Where the first bytes are, if so many lie together. (There must be as many.)
    #[inline(always)]
    pub(crate) fn together(&self, of: Direction, length: u64) -> Option<u64> {
        (self.at(of.first + 1) >= length).then(|| self.at(of.first))
    }

    /// Check what was read: segments lie in user space and do not wrap. Whether they are present shows at the copy.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let counts = self.at(0);
        // 32 bits of counts, each at most 4 (SEGMENTS and GIFTS): nothing else but bits 0 to 2.
        let whole = counts & !0x0707_0707 == 0 && (counts + 0x0303_0303) & 0x0808_0808 == 0;
        if whole
            && let Some(sent) = self.sum(SEND)
            && let Some(room) = self.sum(RECEIVE)
        {
            self.0[TOTALS].set(sent | room << RECEIVE.total);
            return Ok(());
        }
        self.clear();
        Err(Error::BadArgument)
    }

    /// Check and add up the segments of a direction.
    #[inline(never)]
    fn sum(&self, of: Direction) -> Option<u64> {
        let (mut total, mut at) = (0, of.first);
        // Bound: SEGMENTS.
        for _ in 0..self.count(of.shift) {
            let (address, length) = (self.at(at), self.at(at + 1));
            if length > MESSAGE_MAXIMUM || address > USER_END || address + length > USER_END {
                return None;
            }
            total += length;
            at += 2;
        }
        (total <= MESSAGE_MAXIMUM).then_some(total)
    }

    /// A segment; none behind the last.
    pub(crate) fn segment(&self, of: Direction, index: usize) -> Option<Segment> {
        let at = of.first + 2 * index;
        (index < self.count(of.shift)).then(|| Segment { address: self.at(at), length: self.at(at + 1) })
    }

    /// Bytes in a list of segments.
    #[inline(always)]
    pub(crate) fn total(&self, of: Direction) -> u64 {
        self.totals() >> of.total & 0xffff_ffff
    }

    /// Bytes in both: sent in bits 0–31, room in bits 32–63.
    #[inline(always)]
    pub(crate) fn totals(&self) -> u64 {
        self.at(TOTALS)
    }

    /// Where byte `offset` of a list of segments is, and how many follow it in the same segment; none: behind the end.
    pub(crate) fn place(&self, of: Direction, mut offset: u64) -> (u64, u64) {
        let mut at = of.first;
        // Bound: SEGMENTS.
        for _ in 0..self.count(of.shift) {
            let length = self.at(at + 1);
            if offset < length {
                return (self.at(at) + offset, length - offset);
            }
            offset -= length;
            at += 2;
        }
        (0, 0)
    }

    /// How many handles are given.
    #[inline(always)]
    pub(crate) fn gifts(&self) -> usize {
        self.count(GIFT_SHIFT)
    }

    /// A handle to give.
    pub(crate) fn gift(&self, index: usize) -> Gift {
        let rights = self.at(GIVE + 2 * index + 1);
        Gift { handle: Handle(self.at(GIVE + 2 * index)), rights: Rights(rights as u32), flags: (rights >> 32) as u32 }
    }

    /// Whether this handle may be among those that go with it: true if anything there is this number.
    #[inline(always)]
    pub(crate) fn may_give(&self, handle: u64) -> bool {
        // Bound: GIFTS.
        self.0[GIVE..TAKE].iter().any(|word| word.get() == handle)
    }

    /// How many slots there are for handles.
    pub(crate) fn slots(&self) -> usize {
        self.count(SLOT_SHIFT)
    }

    /// A slot for a handle.
    pub(crate) fn slot(&self, index: usize) -> Handle {
        Handle(self.at(TAKE + index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(kept: &Kept, counts: u64, segments: &[(u64, u64)]) -> Result<(), Error> {
        kept.words()[0].set(counts);
        for (index, (address, length)) in segments.iter().enumerate() {
            kept.words()[1 + 2 * index].set(*address);
            kept.words()[2 + 2 * index].set(*length);
        }
        kept.check()
    }

    #[test]
    fn a_run_finds_bytes_across_segments_and_skips_empty_ones() {
        let kept = Kept::default();
        keep(&kept, 3, &[(100, 3), (0, 0), (200, 2), (300, 9)]).unwrap();
        assert_eq!(kept.total(SEND), 5);
        assert_eq!(kept.place(SEND, 0), (100, 3));
        assert_eq!(kept.place(SEND, 2), (102, 1));
        assert_eq!(kept.place(SEND, 3), (200, 2));
        assert_eq!(kept.place(SEND, 5), (0, 0));
        assert_eq!((kept.total(RECEIVE), kept.gifts(), kept.slots()), (0, 0, 0));
    }

    #[test]
    fn segments_in_registers_end_where_programs_do() {
        const MOST: u64 = MESSAGE_MAXIMUM;
        for (send, receive, lengths, good) in [
            (USER_END - 5, 0, 5, true),
            (USER_END - 4, 0, 5, false),
            (0, USER_END - 9, 9 << 32, true),
            (0, USER_END - 8, 9 << 32, false),
            (USER_END, USER_END, 0, true),
            (USER_END + 1, 0, 0, false),
            (0, USER_END + 1, 0, false),
            (u64::MAX, 0, 1, false),
            (0, u64::MAX, 1 << 32, false),
            (1 << 63, 1 << 63, 0, false),
            (0, 0, MOST | MOST << 32, true),
            (0, 0, MOST + 1, false),
            (0, 0, (MOST + 1) << 32, false),
        ] {
            let kept = Kept::default();
            assert_eq!(kept.set_segments(send, receive, lengths).is_ok(), good, "{send:x} {receive:x} {lengths:x}");
            assert_eq!(kept.totals(), if good { lengths } else { 0 });
            let short = good && lengths & (MOST | MOST << 32) == 0;
            assert_eq!(kept.keeps_short_segments(send, receive, lengths), short, "{send:x} {receive:x} {lengths:x}");
        }
    }

    #[test]
    fn wrapping_and_oversized_segments_and_counts_are_refused() {
        let kept = Kept::default();
        for (counts, segment) in
            [(5, (0, 0)), (1, (u64::MAX, 2)), (1, (USER_END, 1)), (1, (0, MESSAGE_MAXIMUM + 1)), (1 << 32, (0, 0))]
        {
            assert_eq!(keep(&kept, counts, &[segment]), Err(Error::BadArgument));
            assert_eq!(kept.total(SEND), 0);
        }
        assert_eq!(keep(&kept, 2, &[(0, MESSAGE_MAXIMUM), (0, 1)]), Err(Error::BadArgument));
        assert_eq!(keep(&kept, 1, &[(0, MESSAGE_MAXIMUM)]), Ok(()));
    }

    #[test]
    fn segments_in_registers_lie_in_user_space_and_are_not_too_long() {
        let kept = Kept::default();
        let wild = u64::MAX - 15;
        for (send, receive, lengths) in [
            (wild, 0, 32),
            (0, wild, 32 << 32),
            // Their differences are in no high bit.
            (wild, wild, 32 | 32 << 32),
            (USER_END, 0, 1),
            (0, USER_END, 1 << 32),
            (0, 0, MESSAGE_MAXIMUM + 1),
            (0, 0, (MESSAGE_MAXIMUM + 1) << 32),
        ] {
            assert_eq!(kept.set_segments(send, receive, lengths), Err(Error::BadArgument));
        }
        let most = MESSAGE_MAXIMUM | MESSAGE_MAXIMUM << 32;
        assert_eq!(kept.set_segments(USER_END - MESSAGE_MAXIMUM, USER_END - MESSAGE_MAXIMUM, most), Ok(()));
        assert_eq!(kept.set_segments(100, 200, 5 | 9 << 32), Ok(()));
        assert_eq!((kept.total(SEND), kept.total(RECEIVE), kept.gifts(), kept.slots()), (5, 9, 0, 0));
        assert_eq!((kept.place(SEND, 1), kept.place(RECEIVE, 1)), ((101, 4), (201, 8)));
        assert_eq!((kept.together(SEND, 5), kept.together(SEND, 6)), (Some(100), None));
        assert_eq!((kept.segment(SEND, 0).map(|segment| segment.length), kept.segment(SEND, 1)), (Some(5), None));
    }

    #[test]
    fn each_gift_has_its_own_handle_rights_and_flags() {
        let kept = Kept::default();
        for (at, word) in kept.words().iter().enumerate() {
            word.set(at as u64 | (100 + at as u64) << 32);
        }
        kept.words()[0].set(2 << GIFT_SHIFT | 3 << SLOT_SHIFT);
        assert_eq!((kept.gifts(), kept.slots()), (2, 3));
        for index in 0..2 {
            let (at, gift) = (GIVE + 2 * index, kept.gift(index));
            assert_eq!(gift.handle, Handle(at as u64 | (100 + at as u64) << 32));
            assert_eq!((gift.rights.0, gift.flags), (at as u32 + 1, 101 + at as u32));
        }
        assert_eq!(kept.slot(2).0 as usize & 0xff, TAKE + 2);
    }
}
