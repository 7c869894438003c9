//! A program that fires random and nearly right exchanges at the kernel: wild handles, pointers, lengths and labels,
//! segments that overlap or lie in the kernel, envelopes that another thread changes meanwhile.
//!
//! It is started only if the boot archive has an [`Order`]. It fires in rounds, each from a new process of its own that
//! has what an ordinary program has: its own process, a gate, a connection to it, RAM, and the log. When a round has made
//! its shots, or all its threads are stuck or dead, the process is destroyed, and exactly the quota that it held must come
//! back. What it says in the log tells how it went: `hostile: seed S: N exchanges in R rounds, nothing is missing`.
#![cfg_attr(target_os = "none", no_std, no_main)]

mod attack;

use abi::archive::HOSTILE_ORDER;
use abi::call::flags::DEADLINE_RECEIVE;
use abi::object::access;
use abi::thread::Policy;
use abi::{Error, Handle, PAGE_SIZE, Quota, Rights, system_page};
use hostile::tally::{ANSWERS, DEEDS};
use hostile::{Chance, Deed, FIELD, FIELD_LENGTH, Order, Random, Tally};
use runtime::object::{gate, process, thread};
use runtime::{Buffers, Mapping, Options, OwnedHandle, clock, entry, heap, log, mapping, start};

use attack::{CELL, COUNTERS, COUNTERS_LENGTH, FIRST_CELL, SHOOTERS, TABLE_STEP, Task};

runtime::main!(run);
runtime::heap!();

/// Shots of a round.
const ROUND: u64 = 50_000;
/// How often a round is looked at, ns.
const LOOK_NS: u64 = 10_000_000;
/// Grace times of gates, by round.
const GRACES_NS: [u64; 4] = [0, 0, 0, 50_000];
/// A round in which so many looks in a row found no further shot is over.
const IDLE_LOOKS: u32 = 4;
/// Rounds between two lines of the log.
const PROGRESS: u64 = 50;
/// As strong as ordinary programs.
const PRIORITY: u8 = 10;
/// How long each thread runs before others do, by round: in some so short that threads meet in the middle of what they do,
/// all the time. (On an emulated processor a change of threads costs more than an exchange.)
const SLICES_NS: [u64; 8] = [50_000, 500_000, 2_000_000, 4_000_000, 4_000_000, 4_000_000, 4_000_000, 4_000_000];
/// Where the image begins (runtime/link.ld).
const IMAGE_ADDRESS: u64 = 0x40_0000;
/// The threads' stacks.
const STACKS: u64 = 0x3000_0000;
const STACK_LENGTH: u64 = 8 * PAGE_SIZE;

/// What a round's process may have.
const QUOTA: Quota = Quota {
    processes: 2,
    threads: 8,
    batons: 12,
    gates: 6,
    connections: 24,
    pulses: 12,
    memories: 8,
    mappings: 64,
    pages: 96,
    priority: PRIORITY as u32,
};

/// RAM that every round uses again.
struct Ground {
    field: Handle,
    stacks: Handle,
    counters: Handle,
    /// The counters here.
    view: Mapping,
    /// Nobody sends there: for waiting.
    gate: Handle,
}

fn run() {
    match order().ok_or("the archive has no valid order").and_then(|order| fire(order).map_err(Error::text)) {
        Ok(()) => {}
        Err(why) => log!(Error, "failed: {why}"),
    }
}

fn order() -> Option<Order> {
    let archive = mapping::archive(start::handle("archive"), start::number("archive-length")).ok()?;
    Order::parse(archive.find(HOSTILE_ORDER.as_bytes())?.data)
}

fn fire(order: Order) -> Result<(), Error> {
    let stacks = heap::allocate((SHOOTERS + 1) * STACK_LENGTH)?;
    let field = heap::allocate(FIELD_LENGTH)?;
    let counters = heap::allocate(COUNTERS_LENGTH)?;
    let view = Mapping::new(counters, 0, COUNTERS_LENGTH, access::READ | access::WRITE)?;
    process::grow_handles(Handle::SELF_PROCESS, 128)?;
    let gate = process::create_gate(Handle::SELF_PROCESS, Handle::NONE, 0)?;
    let ground = Ground { field, stacks, counters, view, gate };
    log!(Notice, "seed {}: {} exchanges to fire", order.seed, order.exchanges);
    let before = process::usage(Handle::SELF_PROCESS)?;
    let mut chance = Random::new(order.seed);
    let (mut fired, mut rounds) = (0, 0);
    let mut tally = Tally::default();
    while fired < order.exchanges {
        fired += ground.round(chance.next(), ROUND.min(order.exchanges - fired))?;
        ground.count(&mut tally);
        rounds += 1;
        if process::usage(Handle::SELF_PROCESS)? != before {
            log!(Error, "round {rounds}: not all of its quota came back");
            return Ok(());
        }
        if rounds % PROGRESS == 0 {
            log!(Notice, "{fired} so far");
        }
    }
    for deed in Deed::all() {
        log!(Notice, "{}", tally.line(deed));
    }
    log!(Notice, "seed {}: {fired} exchanges in {rounds} rounds, nothing is missing", order.seed);
    Ok(())
}

impl Ground {
    /// Let a new process fire so many shots, and take it away. Gives how many it fired.
    fn round(&self, seed: u64, shots: u64) -> Result<u64, Error> {
        self.view.clear(0, COUNTERS_LENGTH);
        let space = process::create_process(Handle::SELF_PROCESS, seed | 1 << 63, &QUOTA)?;
        let fired = self.begin(space, seed).and_then(|()| self.watch(shots));
        process::destroy(space)?;
        fired
    }

    /// Give the process what a program has, and start its threads.
    fn begin(&self, space: Handle, seed: u64) -> Result<(), Error> {
        let own = Handle::SELF_PROCESS;
        let writable = access::READ | access::WRITE;
        process::share_range(space, own, IMAGE_ADDRESS, entry::writable_start() - IMAGE_ADDRESS, false)?;
        process::share_range(space, own, system_page::SYSTEM_PAGE_ADDRESS, PAGE_SIZE, false)?;
        process::map(space, self.stacks, STACKS, writable, 0, (SHOOTERS + 1) * STACK_LENGTH)?;
        process::map(space, self.field, FIELD, writable, 0, FIELD_LENGTH)?;
        process::map(space, self.counters, COUNTERS, writable, 0, COUNTERS_LENGTH)?;
        process::grow_handles(space, 64)?;
        let gate =
            OwnedHandle::new(process::create_gate(space, Handle::NONE, GRACES_NS[seed as usize % GRACES_NS.len()])?);
        let connection = OwnedHandle::new(gate::connect(gate.handle(), 1, 0)?);
        process::give(space, gate.handle(), Rights::RECEIVE.and(Rights::MANAGE).and(Rights::COPY))?;
        process::give(space, connection.handle(), Rights::SEND.and(Rights::COPY))?;
        process::give(space, start::handle("log"), Rights::SEND.and(Rights::COPY))?;
        let memory = process::give(space, self.field, Rights::READ.and(Rights::WRITE).and(Rights::COPY))?.index();
        let slice = SLICES_NS[(seed >> 8) as usize % SLICES_NS.len()];
        let mut chance = Random::new(seed);
        for number in 0..=SHOOTERS {
            let thread = OwnedHandle::new(process::create_thread(space, Handle::NONE)?);
            let baton = OwnedHandle::new(process::create_baton(space, PRIORITY, Policy::RoundRobin, slice)?);
            process::give(space, thread.handle(), Rights::ALL)?;
            process::give(space, baton.handle(), Rights::ALL)?;
            // As a called function finds it: the stack 8 below a multiple of 16.
            let stack = STACKS + (number + 1) * STACK_LENGTH - 8;
            let word = Task { number, memory, seed: chance.next() }.word();
            thread::start(thread.handle(), attack::attack as *const () as u64, stack, word, baton.handle())?;
        }
        Ok(())
    }

    /// Wait until so many shots were fired, or no more will be.
    fn watch(&self, shots: u64) -> Result<u64, Error> {
        let (mut fired, mut idle) = (0, 0);
        while fired < shots && idle < IDLE_LOOKS {
            let options = Options { flags: DEADLINE_RECEIVE, deadline: clock::monotonic_ns() + LOOK_NS };
            match runtime::receive(self.gate, &mut Buffers::new(), options) {
                Err(Error::TimedOut) => {}
                Err(error) => return Err(error),
                // Nobody has a connection to it.
                Ok(_) => return Err(Error::Gone),
            }
            let now = self.fired();
            idle = if now == fired { idle + 1 } else { 0 };
            fired = now;
        }
        Ok(fired)
    }

    fn fired(&self) -> u64 {
        let mut bytes = [0; 8];
        let counts = (0..SHOOTERS).map(|number| {
            self.view.read(number * TABLE_STEP, &mut bytes);
            u64::from_le_bytes(bytes)
        });
        counts.sum()
    }

    /// Add what the round's shots were answered.
    fn count(&self, tally: &mut Tally) {
        for number in 0..SHOOTERS {
            let mut table = [0; CELL as usize * DEEDS * ANSWERS];
            self.view.read(number * TABLE_STEP + FIRST_CELL, &mut table);
            for (sum, bytes) in tally.0.iter_mut().flatten().zip(table.as_chunks().0) {
                *sum += u64::from_le_bytes(*bytes);
            }
        }
    }
}
