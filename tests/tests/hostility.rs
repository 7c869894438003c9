//! Point 11 on the simulator: hostile programs beside victims that check their own results.

use std::cell::Cell;
use std::rc::Rc;

use abi::{Handle, PAGE_SIZE, Quota, Rights};
use hostile::arsenal::{Spoils, envelope_words};
use hostile::{Arsenal, Chance, FIELD, Random};
use simulator::scenario::{DATA, Plan, Process, Root};
use simulator::{Settings, User, simulation};

/// Exchanges that are fired in all, in runs of their own seeds.
const EXCHANGES: u64 = 10_000_000;
const RUNS: u64 = 40;
/// Exchanges that one process fires.
const ROUND: u64 = 5_000;
/// Threads of it.
const SHOOTERS: u64 = 3;
/// How often a round is looked at, simulated ns; when nothing was fired in so many looks, it is over.
const LOOK_NS: u64 = 300_000;
const IDLE_LOOKS: u32 = 3;
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

async fn shoot(user: User, seed: u64, fired: Rc<Cell<u64>>) {
    let mut arsenal = Arsenal::new(Random::new(seed));
    loop {
        let shot = arsenal.shot(user.now());
        if let Some(envelope) = &shot.content {
            let bytes: Vec<u8> = envelope_words(envelope).iter().flat_map(|word| word.to_le_bytes()).collect();
            // Where it was moved to, if it was, it fires on.
            let _ = user.store(shot.envelope, &bytes).await;
        }
        let exchange = user.raw(shot.operation, shot.target).gate(shot.gate).label(shot.label).words(shot.words);
        let answer = exchange.deadline(shot.deadline, 0).envelope_at(shot.envelope).await;
        arsenal.learn(&shot, Spoils { status: answer.status, request: answer.request, words: answer.words });
        fired.set(fired.get() + 1);
    }
}

/// Changes envelopes that others wait with.
async fn scribble(user: User, seed: u64) {
    let mut chance = Random::new(seed);
    loop {
        let place = FIELD + chance.below(PAGE_SIZE / 8) * 8;
        let word = chance.next() >> chance.below(64);
        let _ = user.store(place, &word.to_le_bytes()).await;
        let _ = user.compute(500).await;
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

/// Start a process that has what an ordinary program has, and fires.
async fn start_attack(root: &Root, chance: &mut Random, fired: &Rc<Cell<u64>>) -> Process {
    let process = root.process_with(QUOTA).await;
    let gate = root.gate(&process).await;
    root.give(&process, gate, Rights::RECEIVE.and(Rights::MANAGE).and(Rights::COPY)).await;
    root.give_connection(&process, gate, 1).await;
    root.give(&process, process.memory, Rights::READ.and(Rights::WRITE).and(Rights::COPY)).await;
    root.close(gate).await;
    for number in 0..=SHOOTERS {
        let (seed, fired) = (chance.next(), Rc::clone(fired));
        let plan = Plan::new(&process, "hostile").round_robin(PRIORITY, SLICE_NS);
        let thread = if number < SHOOTERS {
            root.start(plan, move |user| shoot(user, seed, fired)).await
        } else {
            root.start(plan, move |user| scribble(user, seed)).await
        };
        for handle in [thread.handle, thread.baton] {
            root.give(&process, handle, Rights::ALL).await;
            root.close(handle).await;
        }
    }
    process
}

async fn attack(root: Root, seed: u64, exchanges: u64) {
    let mut chance = Random::new(seed);
    let rounds = Rc::new(Cell::new(0));
    let victims = start_victims(&root, &rounds).await;
    let fired = Rc::new(Cell::new(0));
    let mut before = None;
    while fired.get() < exchanges {
        let (begun, served) = (fired.get(), rounds.get());
        let process = start_attack(&root, &mut chance, &fired).await;
        let (mut last, mut idle) = (begun, 0);
        while fired.get() < exchanges.min(begun + ROUND) && idle < IDLE_LOOKS {
            root.sleep(LOOK_NS).await;
            idle = if fired.get() == last { idle + 1 } else { 0 };
            last = fired.get();
        }
        root.dismantle(process).await;
        assert!(rounds.get() > served, "the victims do not get on");
        let now = (root.usage(Handle::SELF_PROCESS).await.used, root.arena_used().await);
        // The first round's memories are used again.
        assert_eq!(*before.get_or_insert(now), now, "something of the quota was not given back");
    }
    let (server, client) = victims;
    root.dismantle(client).await;
    root.dismantle(server).await;
}

fn run(seed: u64, exchanges: u64, check_every: u64) {
    let settings = Settings {
        verbose: std::env::var_os("V").is_some(),
        check_every,
        patience: u64::MAX,
        large_pages: seed % 2 == 1,
        ..Settings::default()
    };
    let _ = simulation::run(seed, settings, move |root| attack(root, seed, exchanges));
}

/// Every step is checked.
#[test]
fn point_11_hostile_programs_on_the_simulator_checked_closely() {
    run(1000, 20_000, 1);
}

#[test]
fn point_11_hostile_programs_on_the_simulator() {
    let runs: Vec<u64> = (0..RUNS).collect();
    std::thread::scope(|scope| {
        for half in runs.chunks(runs.len() / 2) {
            scope.spawn(move || half.iter().for_each(|seed| run(*seed, EXCHANGES / RUNS, 256)));
        }
    });
}
