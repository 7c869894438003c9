//! Random programs: what each thread does, in order, and what the supervisor does meanwhile.

use abi::Rights;
use abi::object::access;
use simulator::random::Random;

use crate::action::{ANY, Action, Choice, Gift, Load, Order, Patience, Question, Wishes};
use crate::specification::{AREA, LINES, WINDOW};

/// Roles that processes play: when one is killed, another takes its place.
pub const ROLES: usize = 3;
/// Threads of a process in a role.
pub const THREADS: usize = 2;
/// Threads that are started later, by others.
pub const SPARES: usize = 4;
/// Gates: one of each role's process, and one of the supervisor's.
pub const GATES: usize = ROLES + 1;
/// Actions of each thread, of spare ones, and orders of the supervisor.
const LENGTH: usize = 300;
const SPARE_LENGTH: usize = 50;
const ORDERS: usize = 120;

/// A program, and the seed that decides how its threads interleave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Of the simulator.
    pub seed: u64,
    /// What each thread does: those of the roles, then those that are started later.
    pub actions: Vec<Vec<Action>>,
    /// What the supervisor does.
    pub orders: Vec<Order>,
    /// Compare with a model that is wrong on purpose.
    pub wrong: bool,
}

impl Program {
    /// The program that a seed stands for.
    #[must_use]
    pub fn random(seed: u64) -> Self {
        let random = Random::new(seed);
        let script = |length| {
            let beginning = Draw(&random).beginning();
            beginning.into_iter().chain((0..length).map(|_| Draw(&random).action())).collect()
        };
        let roles = (0..ROLES * THREADS).map(|_| script(LENGTH));
        let actions = roles.chain((0..SPARES).map(|_| script(SPARE_LENGTH))).collect();
        let orders = (0..ORDERS).map(|_| Draw(&random).order()).collect();
        Self { seed, actions, orders, wrong: false }
    }

    /// How many actions it has.
    #[must_use]
    pub fn length(&self) -> usize {
        self.actions.iter().map(Vec::len).sum::<usize>() + self.orders.len()
    }
}

/// Draws parts of programs.
struct Draw<'a>(&'a Random);

impl Draw<'_> {
    fn below(&self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    fn choice(&self) -> Choice {
        if self.0.chance(10) { ANY + self.below(6) as Choice } else { self.below(24) as Choice }
    }

    /// One of the first few, which its process has from the start.
    fn early(&self, bound: u64) -> Choice {
        if self.0.chance(900) { self.below(bound) as Choice } else { self.choice() }
    }

    /// What a thread needs for its faults to be survived.
    fn beginning(&self) -> Vec<Action> {
        let pager = Action::SetPager { thread: self.below(2) as Choice, connection: Some(self.below(4) as Choice) };
        let access = access::READ | access::WRITE;
        let map = Action::Map { into: 0, memory: self.below(3) as Choice, place: 0, offset: 0, pages: 2, access };
        let all = [(600, pager), (300, Action::Configure { upcall: true }), (300, map)];
        all.into_iter().filter(|(per_mille, _)| self.0.chance(*per_mille)).map(|(_, action)| action).collect()
    }

    fn rights(&self) -> Rights {
        if self.0.chance(700) { Rights::ALL } else { Rights(self.below(256) as u32) }
    }

    fn patience(&self) -> Patience {
        match self.below(10) {
            0..=3 => Patience::Poll,
            4..=6 => Patience::Until(self.below(60_000)),
            _ => Patience::Endless,
        }
    }

    fn load(&self) -> Load {
        let bytes = || if self.0.chance(500) { 0 } else { self.below(64) };
        let gift = |per_mille| {
            self.0.chance(per_mille).then(|| Gift {
                handle: self.choice(),
                rights: self.rights(),
                moves: self.0.chance(300),
            })
        };
        let first = gift(120);
        let second = if first.is_some() { gift(200) } else { None };
        Load { bytes: (bytes(), bytes()), word: self.0.next(), gifts: [first, second], slots: self.below(3) as u8 }
    }

    fn call(&self) -> Action {
        let wishes = Wishes {
            interruptible: self.0.chance(500),
            no_grace: self.0.chance(200),
            retry: self.0.chance(300),
            charge_me: self.0.chance(500),
            for_answer: self.0.chance(400),
        };
        let connection = if self.0.chance(850) { self.below(4) as Choice } else { self.choice() };
        Action::Call { connection, patience: self.patience(), load: self.load(), wishes }
    }

    fn action(&self) -> Action {
        match self.below(100) {
            0..=23 => self.call(),
            24..=47 => Action::Receive {
                gate: self.early(2),
                patience: self.patience(),
                load: self.load(),
                interruptible: self.0.chance(400),
                holds: self.0.chance(200),
            },
            48..=71 => {
                let receive = self.0.chance(400).then(|| (self.early(2), self.patience()));
                let request = if self.0.chance(800) { 0 } else { self.below(4) as u8 };
                Action::Reply { request, load: self.load(), refuses: self.0.chance(300), receive }
            }
            72..=76 => self.bytes(),
            77..=82 => Action::Raise { pulse: self.choice(), bits: 1 << self.below(64) },
            83..=86 => Action::Reserve,
            87..=88 => Action::Close { handle: self.choice() },
            89 if self.0.chance(600) => self.sharing(),
            89..=90 => self.control(),
            91 if self.0.chance(500) => self.faults(),
            91..=93 => self.memory(),
            94..=95 => self.question(),
            _ => self.creation(),
        }
    }

    /// What is done with the bytes of messages.
    fn bytes(&self) -> Action {
        let request = if self.0.chance(800) { 0 } else { self.below(4) as u8 };
        let (offset, length) = (self.below(AREA as u64 / 2), self.below(AREA as u64 / 2));
        match self.below(7) {
            0..=1 => Action::Read { request, offset, length },
            2..=3 => Action::Write { request, offset, length },
            4..=5 => Action::Prepare { at: self.below(AREA as u64 - 7), word: self.0.next() },
            _ => Action::Look,
        }
    }

    /// What only asks.
    fn question(&self) -> Action {
        let of = self.choice();
        let question = match self.below(12) {
            0..=1 => Question::Handle,
            2 => Question::Identity,
            3 => Question::State,
            4 => Question::Name,
            5 => Question::Baton,
            6 => Question::Gate,
            7 => Question::Connection(self.0.chance(500).then(|| self.below(12))),
            8 => Question::Request(if self.0.chance(800) { 0 } else { self.below(4) as u8 }),
            9 => Question::Memory,
            10 => return Action::Yield,
            _ => return Action::Name { thread: of, name: self.0.next() },
        };
        Action::Ask { question, of }
    }

    /// What is done to threads, pulses and handles.
    fn control(&self) -> Action {
        match self.below(12) {
            0..=2 => Action::Interrupt { thread: self.choice() },
            3 => Action::Stop { thread: self.choice() },
            4..=5 => Action::Continue { thread: self.choice() },
            6..=7 => Action::SetAlarm {
                pulse: self.choice(),
                after: self.below(50_000),
                period: if self.0.chance(700) { 0 } else { 5_000 + self.below(40_000) },
            },
            8 if self.0.chance(400) => Action::Rearm { pulse: self.choice() },
            8 => Action::BindDeath { pulse: self.choice(), of: self.choice() },
            9..=10 => Action::SetPriority { baton: self.choice(), priority: 5 + self.below(40) as u8 },
            _ => Action::Destroy {
                handle: if self.0.chance(700) { ANY + self.below(6) as Choice } else { self.choice() },
            },
        }
    }

    /// What processes get of each other.
    fn sharing(&self) -> Action {
        let (to, from) = (self.below(6) as Choice, self.below(6) as Choice);
        match self.below(10) {
            0..=2 => {
                let place = self.below(WINDOW as u64) as usize;
                let pages = 1 + self.below((WINDOW - place) as u64) as usize;
                Action::Share { into: to, from, place, pages, both_write: self.0.chance(300) }
            }
            3 => Action::Give { to, handle: self.choice(), rights: self.rights() },
            4..=5 => Action::SetInherit { of: from, handle: self.choice(), inherit: self.0.chance(800) },
            6 => Action::CopyEntry { to, from, handle: self.choice() },
            7..=8 => Action::CopyTable { to, from, page: if self.0.chance(900) { 0 } else { 1 } },
            _ => Action::Grow { of: to, pages: self.below(3) as usize },
        }
    }

    /// What is done about faults.
    fn faults(&self) -> Action {
        match self.below(10) {
            0..=5 => Action::SetPager {
                thread: self.choice(),
                connection: self.0.chance(900).then(|| self.below(4) as Choice),
            },
            6..=7 => Action::Configure { upcall: self.0.chance(700) },
            8 => Action::Settle,
            _ => Action::Fault,
        }
    }

    /// What is done with Memory.
    fn memory(&self) -> Action {
        let place = self.below(WINDOW as u64) as usize;
        let pages = 1 + self.below((WINDOW - place) as u64) as usize;
        let (memory, process, access) = (self.early(4), self.early(1), self.below(8));
        match self.below(20) {
            0..=1 => Action::Derive {
                memory,
                payer: process,
                offset: self.below(3) as usize,
                pages: self.below(4) as usize,
                rights: self.rights(),
            },
            2..=5 => {
                // What nobody could map is of little use.
                let access = if self.0.chance(700) { access::READ | access::WRITE } else { access };
                Action::Map { into: process, memory, place, offset: self.below(3) as usize, pages, access }
            }
            6..=7 => Action::Unmap { of: process, place, pages },
            8..=10 => Action::Protect { of: process, place, pages, access },
            _ => Action::Touch { place, write: self.0.chance(500).then(|| self.0.next()) },
        }
    }

    /// What is made.
    fn creation(&self) -> Action {
        let process = self.early(1);
        match self.below(14) {
            0 => Action::CreateGate { process, grace: if self.0.chance(500) { 0 } else { self.below(30_000) } },
            1..=3 => Action::Connect { gate: self.choice(), caller_pays: self.0.chance(500) },
            4..=5 => Action::CreatePulse {
                process,
                gate: self.choice(),
                counts: self.0.chance(500),
                priority: self.below(40) as u8,
            },
            6 => Action::CreateBaton { process, priority: self.below(45) as u8 },
            7..=8 => Action::CreateThread { process },
            9..=10 => Action::Start { thread: self.choice(), baton: self.choice() },
            11 => Action::CreateProcess { process, share: self.below(3) as u32 },
            _ => Action::Duplicate { handle: self.choice(), rights: self.rights() },
        }
    }

    fn order(&self) -> Order {
        let (role, thread) = (self.below(ROLES as u64) as usize, self.below(THREADS as u64) as usize);
        match self.below(100) {
            0..=32 => Order::Sleep(self.below(30_000)),
            33..=35 => Order::Bind {
                gate: self.below(GATES as u64) as usize,
                pulse: self.below(2) as usize,
                line: self.below(LINES as u64) as usize,
                limit: if self.0.chance(500) { 0 } else { 1_000 + self.below(60_000) },
            },
            36..=41 => Order::Ask(self.below(LINES as u64) as usize),
            42..=44 => Order::Quiet(self.below(LINES as u64) as usize),
            45..=49 => Order::Kill(role),
            50..=58 => Order::Replace(role),
            59 => Order::Revoke(role),
            60 => Order::DestroyGate(self.below(GATES as u64) as usize),
            61..=72 => Order::Interrupt(role, thread),
            73..=76 => Order::Stop(role, thread, true),
            77..=86 => Order::Stop(role, thread, false),
            87..=91 => Order::SetPriority(role, thread, 5 + self.below(40) as u8),
            // One only: with two passive threads at a gate, who has its reserve depends on the order within a step.
            _ => Order::SetBaton(1, 1, self.0.chance(500)),
        }
    }
}
