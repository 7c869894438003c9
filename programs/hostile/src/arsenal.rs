//! What is fired: registers and an envelope, partly random, partly so nearly right that the kernel gets far with them.
//!
//! An [`Arsenal`] remembers handles and requests that the kernel gave out, guesses others, and makes one [`Shot`] after
//! the other. It touches nothing itself.

use abi::call::{NEVER, POLL, flags};
use abi::envelope::{GIFTS, SEGMENTS};
use abi::object::{Kind, baton, gate, memory, process, pulse, thread};
use abi::quota::Usage;
use abi::thread::{Configuration, Registers};
use abi::{Envelope, Error, Gift, Handle, Operation, PAGE_SIZE, Quota, Rights, Segment, USER_END, system_page};

use crate::chance::Chance;
use crate::tally::Deed;

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
/// Longest wait of one whom nobody interrupts, ns.
const SHORT_WAIT_NS: u64 = 20_000;
/// In how many of 1000 shots the one who fires may be lost: waits for ever, stops itself, or worse.
const NEVER_BACK: u64 = 2;
/// In how many of 1000 shots the one who fires does not wait at all, and in how many of the others it does not wait for long.
const POLLS: u64 = 600;
const SHORT_WAITS: u64 = 20;
/// In how many of 1000 shots an open request is dealt with.
const ANSWERED: u64 = 700;
/// The numbers in [`Arsenal::shot`] of what can be done with a request: reply and receive, reply, read or write, ask about it.
const ANSWERS: [u64; 8] = [45, 45, 48, 50, 50, 50, 51, ASK];
const ASK: u64 = 97;
/// What is likely to end the one who fires.
const LETHAL: [u16; 6] =
    [thread::CONFIGURE, thread::WRITE_REGISTERS, thread::STOP, thread::SET_BATON, thread::START, baton::SET];
/// What empties a processor's memory of translations. An emulated one is slow then, so there is less of it.
const FLUSHES: [u16; 3] = [process::UNMAP, process::PROTECT, process::SHARE_RANGE];
/// Kinds of what is closed and destroyed: of threads and batons some may be of those who fire.
const DISPENSABLE: [u64; 7] = [
    Kind::Process as u64,
    Kind::Gate as u64,
    Kind::Connection as u64,
    Kind::Connection as u64,
    Kind::Pulse as u64,
    Kind::Memory as u64,
    Kind::Reserved as u64,
];
/// Handles of each kind, and requests, that are remembered.
const HANDLES: usize = 12;
const REQUESTS: usize = 8;
/// Kinds of handles, and one more for 0.
const KINDS: usize = Kind::Reserved as usize + 1;
/// Indices of a new process's table that are likely in use; what they are is asked first.
const LIKELY: u64 = 16;
/// How many methods each [`Kind`] has. A connection has none.
pub(crate) const METHODS: [u64; 8] = [0, 24, 14, 2, 5, 0, 5, 5];
/// Where methods find what they read besides words, or write it: among the envelopes.
pub const PROPS: u64 = FIELD + PAGE_SIZE - 256;
/// Words of it that a shot may want there.
pub const PROP_WORDS: usize = size_of::<Configuration>() / 8;

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
    /// What it is meant to be.
    pub deed: Deed,
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
    /// `r9`.
    pub lengths: u64,
    /// `r10`.
    pub label: u64,
    /// `r12`–`r15`.
    pub words: [u64; 4],
    /// What is to be written at `envelope` first; it lies in the field then.
    pub content: Option<Envelope>,
    /// What is to be written at [`PROPS`] first.
    pub prop: Option<[u64; PROP_WORDS]>,
}

/// What an exchange gave back, as far as it is of use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spoils {
    /// `rax`.
    pub status: u64,
    /// `rdi`.
    pub request: u64,
    /// `r12`–`r15`.
    pub words: [u64; 4],
}

/// Makes shots.
#[derive(Clone, Copy, Debug)]
pub struct Arsenal<C> {
    /// Where its choices come from.
    pub chance: C,
    handles: [[u64; HANDLES]; KINDS],
    learned: [usize; KINDS],
    requests: [u64; REQUESTS],
    received: usize,
    /// The last request is not answered yet, as far as is known.
    owes: bool,
    asked: u64,
    patience_ns: u64,
    /// The last envelope: the next one differs from it by a little.
    envelope: Envelope,
}

impl<C: Chance> Arsenal<C> {
    /// With nothing learned but what every program knows. `patience_ns`: how long most of those wait who wait at all; somebody
    /// may interrupt them before.
    pub const fn new(chance: C, patience_ns: u64) -> Self {
        let mut handles = [[0; HANDLES]; KINDS];
        handles[Kind::Process as usize][0] = Handle::SELF_PROCESS.0;
        handles[Kind::Thread as usize][0] = Handle::CURRENT_THREAD.0;
        let mut learned = [0; KINDS];
        learned[Kind::Process as usize] = 1;
        learned[Kind::Thread as usize] = 1;
        let whole = Segment { address: FIELD, length: PAGE_SIZE };
        let nothing = Gift { handle: Handle::NONE, rights: Rights(0), flags: 0 };
        let envelope = Envelope {
            send_count: 0,
            receive_count: 0,
            give_count: 0,
            take_count: 0,
            reserved: 0,
            send: [whole; SEGMENTS],
            receive: [whole; SEGMENTS],
            give: [nothing; GIFTS],
            take: [Handle::NONE; GIFTS],
        };
        Self {
            chance,
            handles,
            learned,
            requests: [0; REQUESTS],
            received: 0,
            owes: false,
            asked: 0,
            patience_ns,
            envelope,
        }
    }

    /// Remember what a shot brought.
    pub fn learn(&mut self, shot: &Shot, spoils: Spoils) {
        let answered = matches!(shot.deed, Deed::REPLY | Deed::REPLY_AND_RECEIVE);
        if answered && [0, Error::Gone as u16].contains(&(spoils.status as u16)) {
            self.owes = false;
        }
        if spoils.status as u16 == Error::BadHandle as u16 {
            self.forget(shot.target);
        }
        if spoils.status as u16 != 0 {
            return;
        }
        if spoils.request != 0 {
            self.requests[self.received % REQUESTS] = spoils.request;
            self.received += 1;
            self.owes = true;
            return;
        }
        if shot.operation as u8 != Operation::Call as u8 {
            return;
        }
        let (kind, handle) = match shot.label as u16 {
            process::HANDLE_INFORMATION => (spoils.words[1], shot.words[0]),
            process::CREATE_PROCESS => (Kind::Process as u64, spoils.words[0]),
            process::CREATE_THREAD => (Kind::Thread as u64, spoils.words[0]),
            process::CREATE_BATON => (Kind::Baton as u64, spoils.words[0]),
            process::CREATE_GATE => (Kind::Gate as u64, spoils.words[0]),
            process::CREATE_PULSE => (Kind::Pulse as u64, spoils.words[0]),
            process::RESERVE => (Kind::Reserved as u64, spoils.words[0]),
            gate::CONNECT => (Kind::Connection as u64, spoils.words[0]),
            memory::DERIVE => (Kind::Memory as u64, spoils.words[0]),
            _ => return,
        };
        let kind = kind as usize % KINDS;
        if !self.handles[kind].contains(&handle) {
            self.handles[kind][self.learned[kind] % HANDLES] = handle;
            self.learned[kind] += 1;
        }
    }

    /// A handle is none, likely: half of those are not tried again.
    fn forget(&mut self, handle: u64) {
        for (known, learned) in self.handles.iter_mut().zip(&mut self.learned) {
            let held = (*learned).min(HANDLES);
            // What it began with is kept.
            if let Some(place) = known[..held].iter().skip(1).position(|other| *other == handle)
                && self.chance.chance(500)
            {
                known[place + 1] = known[held - 1];
                *learned = held - 1;
            }
        }
    }

    /// The next shot. `now` is the time, ns.
    pub fn shot(&mut self, now: u64) -> Shot {
        let mut shot = Shot {
            deed: Deed::CALL,
            operation: Operation::Call as u64,
            target: 0,
            gate: 0,
            envelope: 0,
            deadline: NEVER,
            lengths: 0,
            label: 0,
            words: [now; 4],
            content: None,
            prop: None,
        };
        if self.asked < LIKELY {
            self.asked += 1;
            shot.deed = Deed::method(process::HANDLE_INFORMATION);
            shot.target = Handle::SELF_PROCESS.0;
            shot.label = u64::from(process::HANDLE_INFORMATION);
            shot.words[0] = Handle::new(self.asked as u16, 1).0;
            return shot;
        }
        // Who asked does not wait for ever.
        let what = if self.owes && self.chance.chance(ANSWERED) {
            self.chance.choose(&ANSWERS)
        } else {
            self.chance.below(100)
        };
        match what {
            0..=24 => {
                shot.target = self.handle(Kind::Connection);
                shot.label = self.chance.below(64);
            }
            25..=44 => {
                (shot.deed, shot.operation) = (Deed::RECEIVE, Operation::Receive as u64);
                shot.gate = self.handle(Kind::Gate);
            }
            45..=47 => {
                (shot.deed, shot.operation) = (Deed::REPLY_AND_RECEIVE, Operation::ReplyAndReceive as u64);
                (shot.target, shot.gate) = (self.request(), self.handle(Kind::Gate));
            }
            48..=49 => {
                (shot.deed, shot.operation) = (Deed::REPLY, Operation::Reply as u64);
                shot.target = self.request();
            }
            50..=51 => {
                let (deed, operation) = match self.chance.below(2) {
                    0 => (Deed::READ, Operation::Read),
                    _ => (Deed::WRITE, Operation::Write),
                };
                (shot.deed, shot.operation) = (deed, operation as u64);
                shot.target = self.request();
                shot.words[0] = self.length();
            }
            52..=55 => {
                (shot.deed, shot.operation) = (Deed::RAISE, Operation::Raise as u64);
                shot.target = self.handle(Kind::Pulse);
            }
            ASK => {
                let method = self.chance.choose(&[gate::REQUEST_INFORMATION.into(), gate::CONNECT.into()]) as u16;
                shot.target = self.handle(Kind::Gate);
                (shot.deed, shot.label) = (Deed::method(method), method.into());
                self.reason(&mut shot, method, now);
            }
            56..=96 => self.arrange(&mut shot, now),
            _ => {
                (shot.deed, shot.operation) = (Deed::NONSENSE, self.nonsense());
                (shot.target, shot.gate, shot.label) = (self.nonsense(), self.nonsense(), self.nonsense());
                shot.words = core::array::from_fn(|_| self.word(now));
            }
        }
        self.decorate(&mut shot, now);
        shot
    }

    /// Flags, a deadline and an envelope.
    fn decorate(&mut self, shot: &mut Shot, now: u64) {
        // Three bits for each of five flags: all 0 in one of eight cases.
        let bits = self.chance.below(1 << 15);
        let rare = |number: u64| bits >> (3 * number) & 7 == 0;
        for (number, flag) in [flags::NO_GRACE, flags::CHARGE_ME, flags::RETRY, flags::HOLD].into_iter().enumerate() {
            if rare(number as u64) {
                shot.operation |= flag;
            }
        }
        if !rare(4) {
            shot.operation |= flags::INTERRUPTIBLE;
        }
        // Nearly all come back by themselves.
        if !self.chance.chance(NEVER_BACK) {
            shot.operation |= flags::DEADLINES;
            shot.deadline = self.deadline(rare(4), now);
        } else if self.chance.chance(500) {
            shot.deadline = self.nonsense();
        }
        let before = if shot.content.is_some() { 12 } else { self.chance.below(20) };
        if before > 9 && self.chance.below(16) != 0 {
            shot.operation |= flags::ENVELOPE;
        }
        match before {
            0..=9 if self.chance.chance(300) => {
                shot.operation |= flags::SEGMENTS;
                // No deadline goes with them. Who waits for ever is interrupted.
                if !rare(4) && self.chance.below(16) != 0 {
                    shot.operation &= !flags::DEADLINES;
                }
                let (send, receive) = (self.segment(), self.segment());
                (shot.envelope, shot.lengths) = (send.address, receive.address);
                shot.deadline = send.length | receive.length << 32;
                match self.chance.below(16) {
                    0 => shot.envelope = self.address(),
                    1 => shot.lengths = self.address(),
                    2 => shot.deadline = self.length() | self.length() << 32,
                    _ => {}
                }
            }
            0..=9 => {}
            10 => shot.envelope = self.address(),
            11 => shot.envelope = FIELD + self.chance.below(PAGE_SIZE),
            _ => {
                shot.envelope = FIELD + self.chance.below(PAGE_SIZE - size_of::<Envelope>() as u64);
                if shot.content.is_none() {
                    shot.content = Some(self.envelope());
                }
            }
        }
    }

    /// Until when a shot waits, that may come back.
    fn deadline(&mut self, alone: bool, now: u64) -> u64 {
        if self.chance.chance(POLLS) || alone && self.chance.chance(900) {
            POLL
        } else if alone || self.chance.chance(SHORT_WAITS) {
            now.saturating_add(self.chance.below(SHORT_WAIT_NS))
        } else {
            now.saturating_add(self.patience_ns)
        }
    }

    /// The last envelope, changed here and there.
    fn envelope(&mut self) -> Envelope {
        let bits = self.chance.below(1 << 14);
        let count = |shift: u32| (bits >> shift & 3) as u8 + (bits >> (shift + 2) & 1) as u8;
        let mut envelope = Envelope { send_count: count(0), receive_count: count(3), ..self.envelope };
        (envelope.give_count, envelope.take_count) = if bits >> 12 == 0 { (count(6), count(9)) } else { (0, 0) };
        let wild = self.chance.below(4) == 0;
        let mut last = envelope.send[3];
        let sent = envelope.send.iter_mut().take(envelope.send_count.into());
        for segment in sent.chain(envelope.receive.iter_mut().take(envelope.receive_count.into())) {
            match self.chance.below(8) {
                0..=2 => {}
                // Overlaps the one before.
                3 => {
                    *segment = Segment { address: last.address.wrapping_add(self.chance.below(9)), length: last.length }
                }
                _ if wild => *segment = Segment { address: self.address(), length: self.length() },
                _ => *segment = self.segment(),
            }
            last = *segment;
        }
        for gift in envelope.give.iter_mut().take(envelope.give_count.into()) {
            let (kind, flags) = match self.chance.below(64) {
                // What does not exist.
                0 => (self.kind(), 2),
                // Not what it began with, mostly: that would disarm us.
                1 => (Kind::Pulse, Gift::MOVE),
                _ => (self.kind(), 0),
            };
            *gift = Gift { handle: Handle(self.handle(kind)), rights: Rights(self.nonsense() as u32), flags };
        }
        for slot in envelope.take.iter_mut().take(envelope.take_count.into()) {
            *slot = Handle(self.handle(Kind::Reserved));
        }
        if !wild {
            self.envelope = envelope;
        } else if self.chance.chance(50) {
            envelope.send_count = self.nonsense() as u8;
            envelope.reserved = self.nonsense() as u32;
        }
        envelope
    }

    /// A method, and words with which it makes sense, or nearly.
    fn arrange(&mut self, shot: &mut Shot, now: u64) {
        let kind = if self.chance.chance(500) { Kind::Process } else { self.kind() };
        // One more than there are: that does not exist.
        let mut method = (kind as u16) << 8 | (1 + self.chance.below(METHODS[kind as usize] + 1)) as u16;
        if LETHAL.contains(&method) && !self.chance.chance(10 * NEVER_BACK) {
            // Left to accident, mostly, or nobody would get far.
            method = if self.chance.chance(500) { thread::CONTINUE } else { thread::INTERRUPT };
        }
        if FLUSHES.contains(&method) && self.chance.chance(700) {
            method = process::RESERVE;
        }
        shot.deed = Deed::method(method);
        shot.label = u64::from(method) | if self.chance.chance(150) { self.nonsense() << 16 } else { 0 };
        let kind = Kind::from_number((method >> 8) as u8).unwrap_or(Kind::Free);
        let own = kind == Kind::Process && self.chance.chance(if method == process::SET_QUOTA { 200 } else { 800 });
        shot.target = if own { Handle::SELF_PROCESS.0 } else { self.handle(kind) };
        let loses = matches!(method, process::CLOSE | process::DESTROY);
        if !loses && self.chance.chance(150) {
            shot.words = core::array::from_fn(|_| self.word(now));
        } else {
            self.reason(shot, method, now);
            self.equip(shot, method);
        }
    }

    /// Memory for a method that reads or writes some.
    fn equip(&mut self, shot: &mut Shot, method: u16) {
        let length = match method {
            process::CREATE_PROCESS | process::SET_QUOTA => {
                // Ten numbers of 32 bits, small as the one who fires has not much: objects, at the end pages and the priority.
                let mut quota = [0; PROP_WORDS];
                for word in &mut quota[..4] {
                    *word = self.chance.below(2) | self.chance.below(2) << 32;
                }
                quota[4] = (1 + self.chance.below(8)) | self.chance.below(12) << 32;
                shot.prop = Some(quota);
                size_of::<Quota>()
            }
            thread::CONFIGURE => {
                shot.prop = Some(core::array::from_fn(|_| if self.chance.chance(500) { 0 } else { self.address() }));
                size_of::<Configuration>()
            }
            process::USAGE => size_of::<Usage>(),
            thread::READ_REGISTERS | thread::WRITE_REGISTERS => size_of::<Registers>(),
            _ => return,
        };
        let mut envelope = self.envelope();
        let right = Segment { address: PROPS, length: length as u64 };
        (envelope.send_count, envelope.receive_count, envelope.give_count, envelope.take_count) = (1, 1, 0, 0);
        (envelope.send[0], envelope.receive[0]) = (right, right);
        shot.content = Some(envelope);
    }

    /// Words with which a method makes sense.
    fn reason(&mut self, shot: &mut Shot, method: u16, now: u64) {
        let (place, length) = self.range();
        let soon = now.saturating_add(self.chance.below(10 * WAIT_NS));
        let baton = if self.chance.chance(500) { 0 } else { self.handle(Kind::Baton) };
        shot.words = match method {
            process::MAP => {
                // Most of it is there.
                let (offset, access) =
                    (self.chance.below(4) * PAGE_SIZE, self.chance.choose(&[1, 1, 3, 3, 3, 2, 5, 7]));
                [self.handle(Kind::Memory), place | access, offset, length.min((1 + self.chance.below(5)) * PAGE_SIZE)]
            }
            process::UNMAP => [place, length, 0, 0],
            process::PROTECT => [place | self.chance.below(8), length, 0, 0],
            process::SHARE_RANGE => [self.handle(Kind::Process), place, length, 0],
            process::COPY_TABLE | process::COPY_ENTRY => [self.handle(Kind::Process), self.any_handle(), 0, 0],
            process::GROW_HANDLES => [self.chance.below(400), 0, 0, 0],
            process::GIVE | process::DUPLICATE => [self.any_handle(), self.nonsense(), 0, 0],
            process::SET_INHERIT => [self.any_handle(), self.chance.below(2), 0, 0],
            process::CLOSE | process::DESTROY => [self.dispensable(), 0, 0, 0],
            process::CREATE_THREAD | thread::SET_FAULT_CONNECTION => {
                let connection = if self.chance.chance(500) { 0 } else { self.handle(Kind::Connection) };
                [connection, 0, 0, 0]
            }
            process::CREATE_BATON | baton::SET => {
                [self.chance.below(12), self.chance.below(3), self.chance.below(WAIT_NS), WAIT_NS * 4]
            }
            process::CREATE_GATE => [baton, self.chance.below(WAIT_NS), 0, 0],
            process::CREATE_PULSE => {
                [self.handle(Kind::Gate), self.nonsense(), self.chance.below(2) | self.chance.below(12) << 8, baton]
            }
            thread::START => [self.address(), FIELD + self.chance.below(FIELD_LENGTH), 0, baton],
            thread::SET_BATON | gate::SET_RESERVE => [baton, 0, 0, 0],
            gate::CONNECT => {
                let charged = if self.chance.chance(500) { 0 } else { self.request() };
                [self.nonsense(), charged, 0, 0]
            }
            gate::REQUEST_INFORMATION => [self.request(), 0, 0, 0],
            pulse::SET_ALARM => [soon, self.period(), 0, 0],
            pulse::BIND_INTERRUPT => [self.handle(Kind::Memory), self.chance.below(24), 0, 0],
            pulse::BIND_DEATH => {
                let kind = if self.chance.chance(500) { Kind::Thread } else { Kind::Process };
                [self.handle(kind), 0, 0, 0]
            }
            memory::DERIVE => {
                let offset = self.chance.below(8) * PAGE_SIZE;
                [Handle::SELF_PROCESS.0, offset, (1 + self.chance.below(4)) * PAGE_SIZE, self.nonsense()]
            }
            _ => return,
        };
    }

    /// Whole pages of the meadow, or of the field behind the envelopes.
    fn range(&mut self) -> (u64, u64) {
        let (base, pages) = if self.chance.chance(50) { (FIELD + PAGE_SIZE, 7) } else { (MEADOW, MEADOW_PAGES) };
        let first = self.chance.below(pages);
        (base + first * PAGE_SIZE, (1 + self.chance.below(pages - first)) * PAGE_SIZE)
    }

    fn kind(&mut self) -> Kind {
        Kind::from_number(1 + self.chance.below(7) as u8).unwrap_or(Kind::Process)
    }

    fn any_handle(&mut self) -> u64 {
        let kind = self.kind();
        self.handle(kind)
    }

    /// A handle of this kind, mostly.
    fn handle(&mut self, kind: Kind) -> u64 {
        let choice = self.chance.below(40 * HANDLES as u64);
        match choice / HANDLES as u64 {
            0 => self.nonsense(),
            1 => Handle::new(self.chance.below(80) as u16, self.chance.below(4)).0,
            2 | 3 => self.handles[self.chance.below(KINDS as u64) as usize][0],
            _ => {
                let known = self.learned[kind as usize].clamp(1, HANDLES);
                self.handles[kind as usize][choice as usize % HANDLES * known / HANDLES]
            }
        }
    }

    /// A handle that can be done without: nothing that it began with, mostly.
    fn dispensable(&mut self) -> u64 {
        if self.chance.chance(5 * NEVER_BACK) {
            return self.any_handle();
        }
        let kind = self.chance.choose(&DISPENSABLE) as usize;
        let known = self.learned[kind].clamp(2, HANDLES) as u64;
        self.handles[kind][1 + self.chance.below(known - 1) as usize]
    }

    /// Of an alarm, ns: none, or more than a few that are so short would let nobody run.
    fn period(&mut self) -> u64 {
        match self.chance.below(256) {
            0 => self.nonsense(),
            1 => self.chance.below(WAIT_NS),
            2..=99 => (20 * WAIT_NS) << self.chance.below(6),
            _ => 0,
        }
    }

    /// A request that may be open: most likely the last one.
    fn request(&mut self) -> u64 {
        match self.chance.below(20) {
            0 => self.nonsense(),
            1 => self.chance.below(1 << 24),
            2..=14 => self.requests[self.received.wrapping_sub(1) % REQUESTS],
            _ => self.requests[self.chance.below(REQUESTS as u64) as usize],
        }
    }

    fn word(&mut self, now: u64) -> u64 {
        match self.chance.below(8) {
            0 | 1 => self.any_handle(),
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

    /// A run of bytes with which little is wrong: some of it may not be there.
    fn segment(&mut self) -> Segment {
        let address = match self.chance.below(32) {
            0 => MEADOW + self.chance.below(MEADOW_PAGES * PAGE_SIZE),
            1..=8 => FIELD + self.chance.below(FIELD_LENGTH / PAGE_SIZE) * PAGE_SIZE,
            _ => FIELD + self.chance.below(FIELD_LENGTH - PAGE_SIZE),
        };
        let length = match self.chance.below(16) {
            0 => 0,
            1..=3 => PAGE_SIZE * (1 + self.chance.below(3)) - self.chance.below(3),
            4 => self.chance.below(3 * PAGE_SIZE),
            _ => self.chance.below(200),
        };
        Segment { address, length }
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
    for index in 0..SEGMENTS {
        let (send, receive) = (envelope.send[index], envelope.receive[index]);
        (words[1 + 2 * index], words[2 + 2 * index]) = (send.address, send.length);
        (words[9 + 2 * index], words[10 + 2 * index]) = (receive.address, receive.length);
    }
    for index in 0..GIFTS {
        let gift = envelope.give[index];
        (words[17 + 2 * index], words[18 + 2 * index]) =
            (gift.handle.0, u64::from(gift.rights.0) | u64::from(gift.flags) << 32);
        words[25 + index] = envelope.take[index].0;
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
            let mut arsenal = Arsenal::new(Random::new(seed), 1_000);
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
        envelope.give[1] = Gift { handle: Handle(8), rights: Rights(9), flags: 10 };
        envelope.take[3] = Handle(11);
        let words = envelope_words(&envelope);
        assert_eq!((words[0], words[7], words[8], words[9]), (0x0403_0201, 5, 6, 7));
        assert_eq!((words[19], words[20], words[28]), (8, 9 | 10 << 32, 11));
    }

    #[test]
    fn a_new_handle_and_a_request_are_used_again() {
        let mut arsenal = Arsenal::new(Random::new(3), 1_000);
        let mut shot = arsenal.shot(0);
        let words = |word| [word, 0, 0, 0];
        shot.label = u64::from(process::CREATE_GATE);
        arsenal.learn(&shot, Spoils { status: 0, request: 0, words: words(0x1234_5678) });
        arsenal.learn(&shot, Spoils { status: 0, request: 0x8765_4321, words: [0; 4] });
        arsenal.learn(&shot, Spoils { status: 1, request: 0, words: words(0x1111_1111) });
        let (mut gate, mut request) = (0, 0);
        for _ in 0..5_000 {
            let shot = arsenal.shot(0);
            gate += u64::from(shot.gate == 0x1234_5678);
            request += u64::from(shot.target == 0x8765_4321);
            assert_ne!(shot.target, 0x1111_1111);
        }
        assert!(gate > 500 && request > 100, "{gate} {request}");
    }
}
