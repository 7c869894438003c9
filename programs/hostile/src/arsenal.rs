//! What is fired: registers and an envelope, partly random, partly so nearly right that the kernel gets far with them.
//!
//! An [`Arsenal`] remembers handles and requests that the kernel gave out, guesses others, and makes one [`Shot`] after
//! the other. It touches nothing itself.

use abi::call::{NEVER, POLL, flags};
use abi::envelope::{GIFTS, SEGMENTS};
use abi::object::{baton, process, thread};
use abi::{Envelope, Gift, Handle, Operation, PAGE_SIZE, Rights, Segment, USER_END, system_page};

use crate::chance::Chance;

/// Memory that the one who fires has: envelopes lie on its first page, buffers anywhere.
pub const FIELD: u64 = 0x20_0000_0000;
/// Bytes of it.
pub const FIELD_LENGTH: u64 = 8 * PAGE_SIZE;
/// Where mappings are made and unmade, besides in the field.
const MEADOW: u64 = 0x70_0000_0000;
const MEADOW_PAGES: u64 = 64;
/// Words of an envelope.
pub const ENVELOPE_WORDS: usize = size_of::<Envelope>() / 8;
/// Longest wait that most shots ask for, ns.
const WAIT_NS: u64 = 100_000;
/// In how many of 1000 shots the one who fires may be lost: waits for ever, stops itself, or worse.
const NEVER_BACK: u64 = 2;
/// What is likely to end the one who fires.
const LETHAL: [u16; 7] = [
    process::DESTROY,
    thread::CONFIGURE,
    thread::WRITE_REGISTERS,
    thread::STOP,
    thread::SET_BATON,
    thread::START,
    baton::SET,
];
/// Handles and requests that are remembered.
const HANDLES: usize = 48;
const REQUESTS: usize = 8;
/// Indices of a new process's table that are likely in use.
const LIKELY: u64 = 16;

/// Addresses at which something begins or ends: the kernel's halves, the hole between, images, the boot record, 0.
const EDGES: [u64; 14] = [
    0,
    0x1000,
    0x40_0000,
    0x1000_0000,
    0x2000_0000,
    system_page::SYSTEM_PAGE_ADDRESS,
    abi::NATIVE_BASE,
    USER_END,
    0x0000_7fff_ffff_f000,
    0x0000_8000_0000_0000,
    0xffff_8000_0000_0000,
    0xffff_c000_0000_0000,
    0xffff_ffff_8000_0000,
    u64::MAX - 0xfff,
];

/// One exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shot {
    /// `rax`.
    pub operation: u64,
    /// `rdi`.
    pub target: u64,
    /// `rsi`.
    pub gate: u64,
    /// `rdx`.
    pub envelope: u64,
    /// `r8`.
    pub deadline: u64,
    /// `r10`.
    pub label: u64,
    /// `r12`–`r15`.
    pub words: [u64; 4],
    /// What is to be written at `envelope` first; it lies in the field then.
    pub content: Option<Envelope>,
}

/// What an exchange gave back, as far as it is of use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spoils {
    /// `rax`.
    pub status: u64,
    /// `rdi`.
    pub request: u64,
    /// `r12`.
    pub word: u64,
}

/// Makes shots.
#[derive(Clone, Copy, Debug)]
pub struct Arsenal<C> {
    /// Where its choices come from.
    pub chance: C,
    handles: [u64; HANDLES],
    requests: [u64; REQUESTS],
    learned: usize,
    received: usize,
}

impl<C: Chance> Arsenal<C> {
    /// With nothing learned: it begins with what a new process's handles are likely to be.
    pub fn new(chance: C) -> Self {
        let handles = core::array::from_fn(|index| Handle::new(1 + index as u16 % LIKELY as u16, 1).0);
        Self { chance, handles, requests: [0; REQUESTS], learned: 0, received: 0 }
    }

    /// Remember what a shot brought.
    pub fn learn(&mut self, shot: &Shot, spoils: Spoils) {
        if spoils.status as u16 != 0 {
            return;
        }
        if spoils.request != 0 {
            self.requests[self.received % REQUESTS] = spoils.request;
            self.received += 1;
        } else if shot.operation as u8 == Operation::Call as u8 && shot.label as u16 >= 0x100 {
            // The first slots keep what the process began with.
            self.handles[LIKELY as usize + self.learned % (HANDLES - LIKELY as usize)] = spoils.word;
            self.learned += 1;
        }
    }

    /// The next shot. `now` is the time, ns.
    pub fn shot(&mut self, now: u64) -> Shot {
        let mut shot = Shot {
            operation: 0,
            target: 0,
            gate: 0,
            envelope: 0,
            deadline: NEVER,
            label: self.label(),
            words: core::array::from_fn(|_| self.word(now)),
            content: None,
        };
        match self.chance.below(100) {
            0..=17 => {
                shot.operation = Operation::Call as u64;
                shot.target = self.handle();
                shot.label = self.chance.below(64);
            }
            18..=28 => {
                shot.operation = Operation::Receive as u64;
                shot.gate = self.handle();
            }
            29..=38 => {
                shot.operation = Operation::ReplyAndReceive as u64;
                (shot.target, shot.gate) = (self.request(), self.handle());
            }
            39..=43 => {
                shot.operation = Operation::Reply as u64;
                shot.target = self.request();
            }
            44..=50 => {
                let operation = if self.chance.chance(500) { Operation::Read } else { Operation::Write };
                shot.operation = operation as u64;
                shot.target = self.request();
                shot.words[0] = self.length();
            }
            51..=55 => {
                shot.operation = Operation::Raise as u64;
                shot.target = self.handle();
            }
            56..=95 => {
                shot.operation = Operation::Call as u64;
                shot.target = self.handle();
                self.arrange(&mut shot);
            }
            _ => {
                shot.operation = self.nonsense();
                (shot.target, shot.gate) = (self.nonsense(), self.nonsense());
            }
        }
        self.decorate(&mut shot, now);
        shot
    }

    /// Flags, a deadline and an envelope.
    fn decorate(&mut self, shot: &mut Shot, now: u64) {
        for flag in [flags::INTERRUPTIBLE, flags::NO_GRACE, flags::CHARGE_ME, flags::RETRY, flags::HOLD] {
            if self.chance.chance(150) {
                shot.operation |= flag;
            }
        }
        // Nearly all come back by themselves.
        if !self.chance.chance(NEVER_BACK) {
            shot.operation |= flags::DEADLINE_SEND | flags::DEADLINE_REPLY | flags::DEADLINE_RECEIVE;
            shot.deadline = if self.chance.chance(750) { POLL } else { now.saturating_add(self.chance.below(WAIT_NS)) };
        } else if self.chance.chance(500) {
            shot.deadline = self.nonsense();
        }
        match self.chance.below(20) {
            0..=9 => {}
            10 => shot.envelope = self.address(),
            11 => shot.envelope = FIELD + self.chance.below(PAGE_SIZE),
            _ => {
                shot.envelope = FIELD + self.chance.below(PAGE_SIZE - size_of::<Envelope>() as u64);
                shot.content = Some(self.envelope());
            }
        }
    }

    fn envelope(&mut self) -> Envelope {
        let mut envelope = Envelope {
            send_count: self.chance.below(SEGMENTS as u64 + 1) as u8,
            receive_count: self.chance.below(SEGMENTS as u64 + 1) as u8,
            ..Envelope::default()
        };
        if self.chance.chance(300) {
            envelope.give_count = self.chance.below(GIFTS as u64 + 1) as u8;
            envelope.take_count = self.chance.below(GIFTS as u64 + 1) as u8;
        }
        if self.chance.chance(20) {
            envelope.send_count = self.nonsense() as u8;
            envelope.reserved = self.nonsense() as u32;
        }
        let mut last = Segment { address: FIELD, length: PAGE_SIZE };
        for segment in envelope.send.iter_mut().chain(&mut envelope.receive) {
            *segment = match self.chance.below(4) {
                // Overlaps the one before.
                0 => Segment { address: last.address.wrapping_add(self.chance.below(9)), length: last.length },
                _ => Segment { address: self.address(), length: self.length() },
            };
            last = *segment;
        }
        for gift in &mut envelope.give {
            *gift = Gift {
                handle: Handle(self.handle()),
                rights: Rights(self.nonsense() as u32),
                // What does not exist; `Gift::MOVE` would disarm it.
                flags: 2 * u32::from(self.chance.chance(20)),
            };
        }
        for slot in &mut envelope.take {
            *slot = Handle(self.handle());
        }
        envelope
    }

    /// A method, and words with which it makes sense, or nearly.
    fn arrange(&mut self, shot: &mut Shot) {
        let kind = 1 + self.chance.below(7);
        let mut method = (kind << 8 | self.chance.below(26)) as u16;
        if LETHAL.contains(&method) && !self.chance.chance(10 * NEVER_BACK) {
            // Left to accident, mostly, or nobody would get far.
            method = if self.chance.chance(500) { thread::CONTINUE } else { thread::INTERRUPT };
        }
        shot.label = u64::from(method) | if self.chance.chance(200) { self.nonsense() << 16 } else { 0 };
        if self.chance.chance(200) {
            return;
        }
        if kind == 1 && self.chance.chance(700) {
            shot.target = Handle::SELF_PROCESS.0;
        }
        let (place, length) = self.range();
        match method {
            process::MAP => {
                shot.words = [self.handle(), place | self.chance.below(8), self.chance.below(8) * PAGE_SIZE, length];
            }
            process::UNMAP => shot.words = [place, length, 0, 0],
            process::PROTECT => shot.words = [place | self.chance.below(8), length, 0, 0],
            process::SHARE_RANGE => shot.words = [self.handle(), place, length, 0],
            process::GROW_HANDLES => shot.words[0] = self.chance.below(400),
            process::GIVE | process::DUPLICATE => shot.words = [self.handle(), self.nonsense(), 0, 0],
            process::CLOSE => shot.words[0] = self.handles[LIKELY as usize + self.chance.below(8) as usize],
            process::CREATE_BATON => {
                shot.words = [self.chance.below(12), self.chance.below(3), self.chance.below(WAIT_NS), WAIT_NS * 4];
            }
            thread::START => {
                shot.words = [self.address(), FIELD + self.chance.below(FIELD_LENGTH), 0, self.handle()];
            }
            _ => {}
        }
    }

    /// Whole pages of the meadow, or of the field behind the envelopes.
    fn range(&mut self) -> (u64, u64) {
        let (base, pages) = if self.chance.chance(200) { (FIELD + PAGE_SIZE, 7) } else { (MEADOW, MEADOW_PAGES) };
        let first = self.chance.below(pages);
        (base + first * PAGE_SIZE, (1 + self.chance.below(pages - first)) * PAGE_SIZE)
    }

    fn label(&mut self) -> u64 {
        if self.chance.chance(700) { self.chance.below(0x800) } else { self.nonsense() }
    }

    /// A handle that may be something, mostly.
    fn handle(&mut self) -> u64 {
        match self.chance.below(20) {
            0 => self.nonsense(),
            1 => Handle::CURRENT_THREAD.0,
            2 => Handle::new(self.chance.below(80) as u16, self.chance.below(4)).0,
            3..=10 => self.handles[self.chance.below(LIKELY) as usize],
            _ => self.handles[self.chance.below(HANDLES as u64) as usize],
        }
    }

    fn request(&mut self) -> u64 {
        match self.chance.below(10) {
            0 => self.nonsense(),
            1 => self.chance.below(1 << 24),
            _ => self.requests[self.chance.below(REQUESTS as u64) as usize],
        }
    }

    fn word(&mut self, now: u64) -> u64 {
        match self.chance.below(8) {
            0 | 1 => self.handle(),
            2 => self.chance.below(16),
            3 => self.address(),
            4 => self.length(),
            5 => now.saturating_add(self.chance.below(10 * WAIT_NS)),
            _ => self.nonsense(),
        }
    }

    /// An address that may be anything, mostly in the field or at an edge.
    fn address(&mut self) -> u64 {
        match self.chance.below(20) {
            0 => self.nonsense(),
            1..=3 => self.chance.choose(&EDGES).wrapping_add(self.chance.below(48)).wrapping_sub(24),
            4 => MEADOW + self.chance.below(MEADOW_PAGES * PAGE_SIZE),
            5 => FIELD + self.chance.below(9) * PAGE_SIZE - self.chance.below(9),
            _ => FIELD + self.chance.below(FIELD_LENGTH),
        }
    }

    fn length(&mut self) -> u64 {
        match self.chance.below(20) {
            0 => self.nonsense(),
            1 => 0,
            2 => self.chance.choose(&[1 << 24, 1 << 30, (1 << 30) + 1, 1 << 47, u64::MAX]),
            3..=5 => self.chance.below(3 * PAGE_SIZE),
            6..=8 => (PAGE_SIZE * self.chance.below(4) + self.chance.below(3)).saturating_sub(1),
            _ => self.chance.below(200),
        }
    }

    /// Any number, of any size.
    fn nonsense(&mut self) -> u64 {
        let shift = self.chance.below(64);
        self.chance.next() >> shift
    }
}

/// An envelope as words in memory.
#[must_use]
pub fn envelope_words(envelope: &Envelope) -> [u64; ENVELOPE_WORDS] {
    let mut words = [0; ENVELOPE_WORDS];
    let counts = [envelope.send_count, envelope.receive_count, envelope.give_count, envelope.take_count];
    words[0] = u64::from(u32::from_le_bytes(counts)) | u64::from(envelope.reserved) << 32;
    let segments = envelope.send.iter().chain(&envelope.receive).flat_map(|segment| [segment.address, segment.length]);
    let gifts =
        envelope.give.iter().flat_map(|gift| [gift.handle.0, u64::from(gift.rights.0) | u64::from(gift.flags) << 32]);
    let slots = envelope.take.iter().map(|slot| slot.0);
    for (word, value) in words[1..].iter_mut().zip(segments.chain(gifts).chain(slots)) {
        *word = value;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Random;

    #[test]
    fn equal_seeds_fire_equal_shots_and_others_others() {
        let fire = |seed| {
            let mut arsenal = Arsenal::new(Random::new(seed));
            core::array::from_fn::<_, 50, _>(|now| arsenal.shot(now as u64))
        };
        assert_eq!(fire(1), fire(1));
        assert_ne!(fire(1), fire(2));
    }

    #[test]
    fn an_envelope_lies_in_memory_as_the_abi_says() {
        let mut envelope =
            Envelope { send_count: 1, receive_count: 2, give_count: 3, take_count: 4, ..Envelope::default() };
        envelope.send[3] = Segment { address: 5, length: 6 };
        envelope.receive[0].address = 7;
        envelope.give[1] = Gift { handle: Handle(8), rights: Rights(9), reserved: 10 };
        envelope.take[3] = Handle(11);
        let words = envelope_words(&envelope);
        assert_eq!((words[0], words[7], words[8], words[9]), (0x0403_0201, 5, 6, 7));
        assert_eq!((words[19], words[20], words[28]), (8, 9 | 10 << 32, 11));
    }

    #[test]
    fn a_new_handle_and_a_request_are_used_again() {
        let mut arsenal = Arsenal::new(Random::new(3));
        let mut shot = arsenal.shot(0);
        (shot.operation, shot.label) = (0, u64::from(process::RESERVE));
        arsenal.learn(&shot, Spoils { status: 0, request: 0, word: 0x1234_5678 });
        arsenal.learn(&shot, Spoils { status: 0, request: 0x8765_4321, word: 0 });
        arsenal.learn(&shot, Spoils { status: 1, request: 0, word: 0x1111_1111 });
        let mut shots = core::iter::repeat_with(|| arsenal.shot(0)).take(5_000);
        let (mut handle, mut request) = (false, false);
        shots.by_ref().for_each(|shot| {
            handle |= shot.target == 0x1234_5678;
            request |= shot.target == 0x8765_4321;
            assert_ne!(shot.target, 0x1111_1111);
        });
        assert!(handle && request);
    }
}
