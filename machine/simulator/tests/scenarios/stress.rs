//! Rules that must hold for every order of events: many random ones are tried.

use std::cell::Cell;
use std::rc::Rc;

use abi::call::flags;
use abi::object::{access, process};
use abi::thread::State;
use abi::{Error, notice};
use simulator::scenario::{DATA, Log, Plan, QUOTA};
use simulator::{Settings, scenario_with, simulation};

use crate::Pair;

const PLACE: u64 = 0x60_0000_0000;
const PAGES: u64 = 16;
const LENGTH: u64 = PAGES * abi::PAGE_SIZE;
/// The server's answer to a caller whose buffers it found inaccessible: touch them and repeat.
const RETRY: u64 = 99;
const DONE: u64 = 0;

fn pattern(seed: u64, index: u64) -> u8 {
    ((seed * 7919 + index * 31 + index / 251) % 253) as u8
}

fn bytes(seed: u64, range: std::ops::Range<u64>) -> Vec<u8> {
    range.map(|index| pattern(seed, index)).collect()
}

/// A client's buffers become copy-on-write at any moment, as by a fork in another thread; its pager mends what it touches.
/// Whatever is moved at last is whole and in order.
#[test]
fn no_byte_is_lost_while_buffers_become_copy_on_write_at_any_moment() {
    scenario_with(Settings { spurious_per_mille: 30, ..Settings::default() }, |root| async move {
        let pair = Pair::with_gate(&root, 30, 0).await;
        let pager = root.process().await;
        let gate = root.gate(&pager).await;
        let faults = root.connect(gate, 66).await;
        let memory = root.memory(PAGES).await;
        let read_write = access::READ | access::WRITE;
        assert_eq!(root.map(pair.client.handle, memory, PLACE, read_write, PAGES).await.error(), None);

        // The pager gives write access back, as if it had copied the page.
        let receiving = root.give_gate(&pager, gate).await;
        let target = root.give(&pager, pair.client.handle, abi::Rights::ALL).await;
        let pager_thread = root
            .start(Plan::new(&pager, "pager").priority(40), |user| async move {
                let mut message = user.receive(receiving).ok().await;
                loop {
                    let page = message.words[0] & !(abi::PAGE_SIZE - 1);
                    let mends = message.label == notice::FAULT_PAGE;
                    if mends {
                        let words = [page | read_write, abi::PAGE_SIZE, 0, 0];
                        user.method(target, process::PROTECT, words).ok().await;
                    }
                    message = user.reply_and_receive(message.request, receiving).label(u64::from(!mends)).ok().await;
                }
            })
            .await;
        root.until_state(pager_thread, State::Receive).await;

        let (receiving, connection) = (pair.receiving, pair.sending);
        let server = root
            .start(Plan::new(&pair.server, "server").priority(35), |user| async move {
                let random = &Rc::clone(user.world()).random;
                let mut message = user.receive(receiving).ok().await;
                loop {
                    let (request, [seed, length, ..]) = (message.request, message.words);
                    let mut outcome = DONE;
                    // Read it in pieces, answer the next pattern in pieces.
                    let mut at = 0;
                    while at < length && outcome == DONE {
                        let piece = (1 + random.below(5000)).min(length - at);
                        let read = user.read_request(request, at, DATA, piece).await;
                        match read.error() {
                            None => assert_eq!(read.moved, piece),
                            Some(Error::LenderFault) => outcome = RETRY,
                            Some(error) => panic!("{error:?}"),
                        }
                        let got = user.load(DATA, read.moved).await.unwrap();
                        assert!(got == bytes(seed, at..at + read.moved), "sent bytes differ");
                        at += piece;
                    }
                    at = 0;
                    while at < length && outcome == DONE {
                        let piece = (1 + random.below(5000)).min(length - at);
                        user.store(DATA, &bytes(seed + 1, at..at + piece)).await.unwrap();
                        let written = user.write_request(request, at, DATA, piece).await;
                        match written.error() {
                            None => assert_eq!(written.moved, piece),
                            Some(Error::LenderFault) => outcome = RETRY,
                            Some(error) => panic!("{error:?}"),
                        }
                        at += piece;
                    }
                    message = user.reply_and_receive(request, receiving).label(outcome).ok().await;
                }
            })
            .await;
        root.until_state(server, State::Receive).await;

        let log = Log::new();
        let noted = log.clone();
        let retries = Rc::new(Cell::new(0_u64));
        let counted = Rc::clone(&retries);
        root.start(Plan::new(&pair.client, "client").priority(10).fault(faults), |user| async move {
            let random = &Rc::clone(user.world()).random;
            for round in 0..30 {
                let length = 1 + random.below(LENGTH / 2 - 1);
                let send = PLACE + random.below(LENGTH / 2 - length + 1);
                let room = PLACE + LENGTH / 2 + random.below(LENGTH / 2 - length + 1);
                user.store(send, &bytes(round, 0..length)).await.unwrap();
                loop {
                    // The stub touches what is to be written before each attempt.
                    let mut page = room & !(abi::PAGE_SIZE - 1);
                    while page < room + length {
                        let at = page.max(room);
                        user.store(at, &[0]).await.unwrap();
                        page += abi::PAGE_SIZE;
                    }
                    let cut = random.below(length + 1);
                    let answer = user
                        .call(connection)
                        .words([round, length, 0, 0])
                        .send(send, cut)
                        .send(send + cut, length - cut)
                        .room(room, cut)
                        .room(room + cut, length - cut)
                        .ok()
                        .await;
                    if answer.label == DONE {
                        break;
                    }
                    counted.set(counted.get() + 1);
                }
                let got = user.load(room, length).await.unwrap();
                assert!(got == bytes(round + 1, 0..length), "received bytes differ");
            }
            noted.note("all rounds");
        })
        .await;

        // Forks, at random moments.
        let child = root.process_with(abi::Quota { mappings: 60, ..QUOTA }).await;
        while log.is_empty() {
            let words = [pair.client.handle.0, PLACE, LENGTH, 0];
            user_share(&root, &child, words).await;
            root.user.method(child.handle, process::UNMAP, [PLACE, LENGTH, 0, 0]).ok().await;
            let pause = 5_000 + root.user.world().random.below(150_000);
            root.sleep(pause).await;
        }
        assert!(retries.get() > 0, "nothing was ever in the way");
    });
}

async fn user_share(root: &simulator::scenario::Root, child: &simulator::scenario::Process, mut words: [u64; 4]) {
    let end = words[1] + words[2];
    loop {
        let answer = root.user.method(child.handle, process::SHARE_RANGE, words).await;
        match answer.error() {
            None => break,
            Some(Error::More) => (words[1], words[2]) = (answer.words[0], end - answer.words[0]),
            Some(error) => panic!("{error:?}"),
        }
    }
}

/// However weak callers and stronger programs are mixed, a strong caller waits for one service of somebody else's at most.
#[test]
fn priority_inversion_is_bounded_by_one_service() {
    const SERVICE_NS: u64 = 50_000;
    scenario_with(Settings { spurious_per_mille: 10, ..Settings::default() }, |root| async move {
        let front = Pair::with_gate(&root, 50, 0).await;
        let back = root.process().await;
        let back_gate = root.gate(&back).await;
        let receiving = root.give_gate(&back, back_gate).await;
        let forward = root.give_connection(&front.server, back_gate, 1).await;
        let server = root
            .start(Plan::new(&back, "back").priority(55), |user| async move {
                let mut message = user.receive(receiving).ok().await;
                loop {
                    let _ = user.compute(SERVICE_NS / 2).await;
                    message = user.reply_and_receive(message.request, receiving).ok().await;
                }
            })
            .await;
        root.until_state(server, State::Receive).await;
        let receiving = front.receiving;
        let server = root
            .start(Plan::new(&front.server, "front").priority(55), |user| async move {
                let mut message = user.receive(receiving).ok().await;
                loop {
                    let _ = user.compute(SERVICE_NS / 2).await;
                    user.call(forward).ok().await;
                    message = user.reply_and_receive(message.request, receiving).ok().await;
                }
            })
            .await;
        root.until_state(server, State::Receive).await;

        for number in 0..4_u64 {
            let connection = root.give_connection(&front.client, front.gate, number).await;
            let direct = root.give_connection(&front.client, back_gate, number).await;
            root.start(Plan::new(&front.client, "weak").round_robin(5 + number as u8, 200_000), |user| async move {
                let random = &Rc::clone(user.world()).random;
                loop {
                    user.call(if random.chance(700) { connection } else { direct }).ok().await;
                    let _ = user.compute(random.below(30_000)).await;
                }
            })
            .await;
        }
        let hog_gate = root.gate(&front.client).await;
        let hog_gate = root.give_gate(&front.client, hog_gate).await;
        for priority in [15, 20, 25] {
            root.start(Plan::new(&front.client, "hog").priority(priority), |user| async move {
                let random = &Rc::clone(user.world()).random;
                loop {
                    let _ = user.compute(random.below(2_000_000)).await;
                    let until = user.now() + random.below(500_000);
                    let _ = user.receive(hog_gate).deadline(until, flags::DEADLINE_RECEIVE).await;
                }
            })
            .await;
        }
        let log = Log::new();
        let worst = Rc::new(Cell::new(0));
        let (noted, measured, connection) = (log.clone(), Rc::clone(&worst), front.sending);
        let strong_gate = root.gate(&front.client).await;
        let strong_gate = root.give_gate(&front.client, strong_gate).await;
        root.start(Plan::new(&front.client, "strong").priority(40), |user| async move {
            let random = &Rc::clone(user.world()).random;
            for _ in 0..100 {
                let until = user.now() + random.below(300_000);
                let _ = user.receive(strong_gate).deadline(until, flags::DEADLINE_RECEIVE).await;
                let start = user.now();
                user.call(connection).ok().await;
                measured.set(measured.get().max(user.now() - start));
            }
            noted.note("done");
        })
        .await;
        root.until_noted(&log, 1).await;
        // Its own service, and at each of the two gates what was begun when it came; and what the kernel itself takes.
        let bound = SERVICE_NS + SERVICE_NS + SERVICE_NS / 2 + 30_000;
        assert!(worst.get() > SERVICE_NS && worst.get() <= bound, "the strong caller waited {} ns", worst.get());
    });
}

/// Servers are killed at random moments under load; every call ends, and what was retried was done.
#[test]
fn callers_outlive_servers_that_are_killed_under_load() {
    for seed in 0..6 {
        simulation::run(seed, Settings::default(), |root| async move {
            let supervisor = root.process().await;
            let client = root.process().await;
            let gate = root.gate(&supervisor).await;
            let log = Log::new();
            let answered = Rc::new(Cell::new(0_u64));
            for number in 0..3 {
                let connection = root.give_connection(&client, gate, number).await;
                let (noted, counted) = (log.clone(), Rc::clone(&answered));
                root.start(Plan::new(&client, "client").round_robin(10, 100_000), |user| async move {
                    for round in 0..200 {
                        let answer = user.call(connection).flags(flags::RETRY).words([round, 0, 0, 0]).ok().await;
                        assert_eq!(answer.words[0], round * 3);
                        counted.set(counted.get() + 1);
                    }
                    noted.note("done");
                })
                .await;
            }
            let mut kills = 0;
            while log.len() < 3 {
                let server = root.process().await;
                let receiving = root.give_gate(&server, gate).await;
                for _ in 0..2 {
                    root.start(Plan::new(&server, "server").priority(20), |user| async move {
                        let mut message = user.receive(receiving).ok().await;
                        loop {
                            let _ = user.compute(user.world().random.below(20_000)).await;
                            let words = [message.words[0] * 3, 0, 0, 0];
                            message = user.reply_and_receive(message.request, receiving).words(words).ok().await;
                        }
                    })
                    .await;
                }
                let life = 20_000 + root.user.world().random.below(400_000);
                root.sleep(life).await;
                root.destroy(server.handle).await;
                root.destroy(server.memory).await;
                kills += 1;
            }
            assert_eq!(answered.get(), 600);
            assert!(kills > 10, "{kills}");
        });
    }
}
