//! Hostile programs on the simulator, beside victims that check their own results: decided by a seed ([`attack`]), or by
//! the bytes of a fuzzer ([`fuzz`]).

mod fed;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use abi::object::thread;
use abi::{Handle, PAGE_SIZE, Quota, Rights};
use hostile::arsenal::{PROPS, Spoils, envelope_words};
use hostile::{Arsenal, Chance, FIELD, Random, Tally};
use simulator::scenario::{DATA, Plan, Process, Root};
use simulator::{Settings, User, simulation};
use std::future::Future;

use fed::Fed;

/// Exchanges that one process fires.
const ROUND: u64 = 5_000;
/// Threads of it.
const SHOOTERS: u64 = 3;
/// Words that are scribbled between two interruptions.
const SCRIBBLES: u64 = 10;
/// How often a round is looked at, simulated ns; when nothing was fired in so many looks, it is over.
const LOOK_NS: u64 = 300_000;
const IDLE_LOOKS: u32 = 3;
/// How long who waits does so at most, mostly, ns.
const PATIENCE_NS: u64 = 20_000;
/// Priority of everybody but root.
const PRIORITY: u8 = 10;
const SLICE_NS: u64 = 5_000;

/// What a hostile process may have.
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

/// Fire as long as there is something to fire with.
async fn shoot<C: Chance>(
    user: User,
    chance: C,
    goes_on: impl Fn(&C) -> bool,
    fired: Rc<Cell<u64>>,
    tally: Rc<RefCell<Tally>>,
) {
    let mut arsenal = Arsenal::new(chance, PATIENCE_NS);
    while goes_on(&arsenal.chance) {
        let shot = arsenal.shot(user.now());
        if let Some(prop) = &shot.prop {
            let bytes: Vec<u8> = prop.iter().flat_map(|word| word.to_le_bytes()).collect();
            let _ = user.store(PROPS, &bytes).await;
        }
        if let Some(envelope) = &shot.content {
            let bytes: Vec<u8> = envelope_words(envelope).iter().flat_map(|word| word.to_le_bytes()).collect();
            // Where it was moved to, if it was, it fires on.
            let _ = user.store(shot.envelope, &bytes).await;
        }
        let exchange = user.raw(shot.operation, shot.target).gate(shot.gate).label(shot.label).words(shot.words);
        let answer = exchange.deadline(shot.deadline, 0).envelope_at(shot.envelope).second_address(shot.lengths).await;
        arsenal.learn(&shot, Spoils { status: answer.status, request: answer.request, words: answer.words });
        tally.borrow_mut().count(shot.deed, answer.status);
        fired.set(fired.get() + 1);
    }
}

/// Changes envelopes that others wait with, and interrupts who still waits.
async fn scribble(user: User, seed: u64, shooters: Vec<Handle>) {
    let mut chance = Random::new(seed);
    loop {
        for shooter in &shooters {
            for _ in 0..SCRIBBLES {
                let place = FIELD + chance.below(PAGE_SIZE / 8) * 8;
                let word = chance.next() >> chance.below(64);
                let _ = user.store(place, &word.to_le_bytes()).await;
                let _ = user.compute(500).await;
            }
            // Who does not wait now waits less the next time.
            let _ = user.method(*shooter, thread::INTERRUPT, [0; 4]).await;
        }
    }
}

/// A server and its client, which insist on every byte.
async fn start_victims(root: &Root, rounds: &Rc<Cell<u64>>) -> (Process, Process) {
    let (server, client) = (root.process().await, root.process().await);
    let gate = root.gate(&server).await;
    let receiving = root.give_gate(&server, gate).await;
    let connection = root.give_connection(&client, gate, 7).await;
    let identity = client.identity;
    root.start(Plan::new(&server, "server").round_robin(PRIORITY, SLICE_NS), move |user| async move {
        let mut next = user.receive(receiving).room(DATA, 256).await;
        loop {
            assert_eq!((next.error(), next.badge, next.identity), (None, 7, identity));
            let words = next.words.map(|word| word.wrapping_mul(3));
            next = user
                .reply_and_receive(next.request, receiving)
                .words(words)
                .send(DATA, next.moved)
                .room(DATA, 256)
                .await;
        }
    })
    .await;
    let rounds = Rc::clone(rounds);
    root.start(Plan::new(&client, "client").round_robin(PRIORITY, SLICE_NS), move |user| async move {
        let mut chance = Random::new(1);
        loop {
            let word = chance.next();
            let bytes: Vec<u8> = (0..8 * (1 + chance.below(16))).map(|_| chance.next() as u8).collect();
            user.store(DATA, &bytes).await.expect("a victim is never moved");
            let length = bytes.len() as u64;
            let answer = user.call(connection).words([word; 4]).send(DATA, length).room(DATA + 4000, length).ok().await;
            assert_eq!((answer.words, answer.moved), ([word.wrapping_mul(3); 4], length));
            assert_eq!(user.load(DATA + 4000, length).await.expect("a victim is never moved"), bytes);
            rounds.set(rounds.get() + 1);
            let _ = user.compute(5_000).await;
        }
    })
    .await;
    (server, client)
}

/// A process that has what an ordinary program has, and what its threads are to run on: each has a baton of its own.
async fn prepare(root: &Root) -> Process {
    let process = root.process_with(QUOTA).await;
    let gate = root.gate(&process).await;
    root.give(&process, gate, Rights::RECEIVE.and(Rights::MANAGE).and(Rights::COPY)).await;
    root.give_connection(&process, gate, 1).await;
    root.give(&process, process.memory, Rights::READ.and(Rights::WRITE).and(Rights::COPY)).await;
    root.close(gate).await;
    process
}

/// One more thread of it. Gives its own handle of the thread.
async fn add<F: Future<Output = ()> + 'static>(root: &Root, process: &Process, body: impl FnOnce(User) -> F) -> Handle {
    let thread = root.start(Plan::new(process, "hostile").round_robin(PRIORITY, SLICE_NS), body).await;
    let own = root.give(process, thread.handle, Rights::ALL).await;
    root.give(process, thread.baton, Rights::ALL).await;
    root.close(thread.handle).await;
    root.close(thread.baton).await;
    own
}

/// Wait until so many were fired, or no more will be.
async fn watch(root: &Root, fired: &Cell<u64>, enough: u64) {
    let (mut last, mut idle) = (fired.get(), 0);
    while fired.get() < enough && idle < IDLE_LOOKS {
        root.sleep(LOOK_NS).await;
        idle = if fired.get() == last { idle + 1 } else { 0 };
        last = fired.get();
    }
}

/// What root has, to be compared.
async fn possessions(root: &Root) -> (Quota, u64) {
    (root.usage(Handle::SELF_PROCESS).await.used, root.arena_used().await)
}

async fn attack_in_rounds(root: Root, seed: u64, exchanges: u64, tally: Rc<RefCell<Tally>>) {
    let mut chance = Random::new(seed);
    let rounds = Rc::new(Cell::new(0));
    let victims = start_victims(&root, &rounds).await;
    let fired = Rc::new(Cell::new(0));
    let mut before = None;
    while fired.get() < exchanges {
        let (begun, served) = (fired.get(), rounds.get());
        let process = prepare(&root).await;
        let mut shooters = Vec::new();
        for _ in 0..SHOOTERS {
            let (chance, fired, tally) = (Random::new(chance.next()), Rc::clone(&fired), Rc::clone(&tally));
            shooters.push(add(&root, &process, move |user| shoot(user, chance, |_| true, fired, tally)).await);
        }
        let seed = chance.next();
        add(&root, &process, move |user| scribble(user, seed, shooters)).await;
        watch(&root, &fired, exchanges.min(begun + ROUND)).await;
        root.dismantle(process).await;
        assert!(rounds.get() > served, "the victims do not get on");
        // The first round's memories are used again.
        let now = possessions(&root).await;
        assert_eq!(*before.get_or_insert(now), now, "something was not given back");
    }
    for victim in [victims.1, victims.0] {
        root.dismantle(victim).await;
    }
}

/// Fire so many exchanges, from one process after the other; the invariants are checked after every so many steps. Gives
/// what came of which.
pub fn attack(seed: u64, exchanges: u64, check_every: u64) -> Tally {
    let tally = Rc::new(RefCell::new(Tally::default()));
    let counted = Rc::clone(&tally);
    let settings = Settings { check_every, patience: u64::MAX, large_pages: seed % 2 == 1, ..Settings::default() };
    let _ = simulation::run(seed, settings, move |root| attack_in_rounds(root, seed, exchanges, counted));
    tally.take()
}

/// Fire what a fuzzer's bytes say, from two threads of one process, with the invariants checked after every step.
pub fn fuzz(bytes: &[u8]) {
    let halves = bytes.split_at(bytes.len() / 2);
    let halves = [halves.0.to_vec(), halves.1.to_vec()];
    let _ = simulation::run(1, Settings::default(), move |root| async move {
        let process = prepare(&root).await;
        let fired = Rc::new(Cell::new(0));
        for bytes in halves {
            let fired = Rc::clone(&fired);
            add(&root, &process, move |user| shoot(user, Fed::new(bytes), Fed::goes_on, fired, Rc::default())).await;
        }
        watch(&root, &fired, u64::MAX).await;
        root.dismantle(process).await;
    });
}
