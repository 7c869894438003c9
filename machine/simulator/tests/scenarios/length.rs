//! Messages of every length, alignment and division into segments: exactly the smaller of sent and wanted is moved, to
//! exactly the right place. A model of the copy says, for four buffers of two processes, what every byte must be after it.

use std::rc::Rc;

use abi::PAGE_SIZE;
use abi::envelope::SEGMENTS;
use simulator::Exchange;
use simulator::Settings;
use simulator::buffer::Buffer;
use simulator::random::Random;
use simulator::scenario::{Log, Plan, Root};
use simulator::simulation;

use crate::Pair;

/// Bytes that the kernel copies before it looks for interrupts, and at most with a message that is passed at once.
const PIECE: u64 = 16 * 1024;
const MIB: u64 = 1 << 20;
/// Where the client's buffers are, and the server's.
const CLIENT_OUT: u64 = 0x50_0000_0000;
const CLIENT_IN: u64 = 0x51_0000_0000;
const SERVER_OUT: u64 = 0x60_0000_0000;
const SERVER_IN: u64 = 0x61_0000_0000;

/// Segments of one buffer, in their order: offset and length.
type Parts = Vec<(u64, u64)>;

/// One round trip: which bytes of which buffer go where.
#[derive(Clone, Debug)]
struct Case {
    /// The client's segments.
    sent: Parts,
    room: Parts,
    /// The server's segments.
    wanted: Parts,
    answered: Parts,
    /// The server reads and writes the request from this offset on, instead of receiving and replying with segments.
    apart: Option<u64>,
    /// Decides whether what fits in registers goes in them.
    label: u64,
}

fn total(parts: &Parts) -> u64 {
    parts.iter().map(|part| part.1).sum()
}

/// The model of a copy: byte by byte, one run into the other, each from an offset on. Says how many.
fn copy(from: (&[u8], &Parts, u64), to: (&mut [u8], &Parts, u64)) -> u64 {
    let run = |parts: &Parts, skipped: u64| {
        parts.clone().into_iter().flat_map(|(offset, length)| offset..offset + length).skip(skipped as usize)
    };
    let mut moved = 0;
    for (source, destination) in run(from.1, from.2).zip(run(to.1, to.2)) {
        to.0[destination as usize] = from.0[source as usize];
        moved += 1;
    }
    moved
}

fn sending(exchange: Exchange, base: u64, parts: &Parts) -> Exchange {
    parts.iter().fold(exchange, |exchange, (offset, length)| exchange.send(base + offset, *length))
}

fn taking(exchange: Exchange, base: u64, parts: &Parts) -> Exchange {
    parts.iter().fold(exchange, |exchange, (offset, length)| exchange.room(base + offset, *length))
}

/// Make all these round trips of a pair, between buffers of so many pages.
async fn round_trips(root: &Root, pair: Pair, pages: u64, cases: Vec<Case>) {
    let world = root.user.world().clone();
    let client_out = root.buffer(&pair.client, CLIENT_OUT, pages).await;
    let client_in = root.buffer(&pair.client, CLIENT_IN, pages).await;
    let server_out = root.buffer(&pair.server, SERVER_OUT, pages).await;
    let server_in = root.buffer(&pair.server, SERVER_IN, pages).await;
    for source in [client_out, server_out] {
        let bytes: Vec<u8> = (0..source.length / 8).flat_map(|_| world.random.next().to_le_bytes()).collect();
        source.write(&world, 0, &bytes);
    }
    let (cases, log) = (Rc::new(cases), Log::new());

    let (gate, served) = (pair.receiving, Rc::clone(&cases));
    root.start(Plan::new(&pair.server, "server").priority(20), |user| async move {
        for case in served.iter() {
            let receive = user.receive(gate).label(case.label);
            let Some(offset) = case.apart else {
                let message = taking(receive, SERVER_IN, &case.wanted).ok().await;
                assert_eq!((message.sent, message.room), (total(&case.sent), total(&case.room)), "{case:x?}");
                assert_eq!(message.moved, total(&case.sent).min(total(&case.wanted)), "{case:x?}");
                let reply = user.reply(message.request).label(case.label);
                let done = sending(reply, SERVER_OUT, &case.answered).ok().await;
                assert_eq!(done.moved, total(&case.answered).min(total(&case.room)), "{case:x?}");
                continue;
            };
            let request = receive.ok().await.request;
            let read = user.raw(abi::Operation::Read as u64, request).label(case.label).word(offset);
            let read = taking(read, SERVER_IN, &case.wanted).ok().await;
            assert_eq!(read.moved, total(&case.sent).saturating_sub(offset).min(total(&case.wanted)), "{case:x?}");
            let write = user.raw(abi::Operation::Write as u64, request).label(case.label).word(offset);
            let written = sending(write, SERVER_OUT, &case.answered).ok().await;
            assert_eq!(written.moved, total(&case.room).saturating_sub(offset).min(total(&case.answered)), "{case:x?}");
            user.reply(request).ok().await;
        }
    })
    .await;

    let (connection, noted) = (pair.sending, log.clone());
    root.start(Plan::new(&pair.client, "client").priority(10), |user| async move {
        let sources = [client_out.bytes(&world), server_out.bytes(&world)];
        for (number, case) in cases.iter().enumerate() {
            let blank = vec![number as u8; client_in.length as usize];
            client_in.write(&world, 0, &blank);
            server_in.write(&world, 0, &blank);
            let call = taking(user.call(connection).label(case.label), CLIENT_IN, &case.room);
            let answer = sending(call, CLIENT_OUT, &case.sent).ok().await;
            let offset = case.apart.unwrap_or(0);
            let (mut arrived, mut returned) = (blank.clone(), blank);
            copy((&sources[0], &case.sent, offset), (&mut arrived, &case.wanted, 0));
            let moved = copy((&sources[1], &case.answered, 0), (&mut returned, &case.room, offset));
            assert_eq!(answer.moved, if case.apart.is_none() { moved } else { 0 }, "{case:x?}");
            let whole = |buffer: &Buffer, expected: &[u8]| buffer.bytes(&world) == expected;
            assert!(whole(&server_in, &arrived), "what the server got, or what lies beside it, is wrong: {case:x?}");
            assert!(whole(&client_in, &returned), "what the client got, or what lies beside it, is wrong: {case:x?}");
            assert!(
                whole(&client_out, &sources[0]) && whole(&server_out, &sources[1]),
                "what was sent has changed: {case:x?}"
            );
        }
        noted.note("all");
    })
    .await;
    root.until_noted(&log, 1).await;
}

/// The same under two seeds; a case says all else.
fn check(pages: u64, cases: impl Fn(&Random) -> Vec<Case> + Copy + 'static) {
    for seed in 0..2 {
        let settings = Settings { check_every: 7, patience: u64::MAX, ..Settings::default() };
        simulation::run(seed, settings, move |root| async move {
            let cases = cases(&root.user.world().random);
            round_trips(&root, Pair::new(&root).await, pages, cases).await;
        });
    }
}

/// One segment each way, the same there and back.
fn plain(from: (u64, u64), to: (u64, u64), label: u64) -> Case {
    let (sent, wanted) = (vec![from], vec![to]);
    Case { room: wanted.clone(), answered: sent.clone(), sent, wanted, apart: None, label }
}

/// All lengths around a border.
fn around(borders: &[u64]) -> Vec<u64> {
    let mut lengths: Vec<u64> =
        borders.iter().flat_map(|border| [border.saturating_sub(1), *border, border + 1]).collect();
    lengths.dedup();
    lengths
}

#[test]
fn messages_of_every_length_arrive_whole_and_nothing_beside_them_changes() {
    check(12, |_| {
        let mut cases = Vec::new();
        for length in around(&[0, 8, 64, 512, PAGE_SIZE, 2 * PAGE_SIZE, PIECE, 2 * PIECE]) {
            for wanted in [length.saturating_sub(1), length, length + 1, 0] {
                for (from, to) in [(0, 0), (1, 0), (0, 7), (PAGE_SIZE - 1, 3), (2, PAGE_SIZE - 2)] {
                    for label in 0..2 {
                        let case = plain((from, length), (to, wanted), label);
                        cases.push(Case { apart: Some(length / 2), ..case.clone() });
                        cases.push(case);
                    }
                }
            }
        }
        cases
    });
}

#[test]
fn messages_of_up_to_16_mib_arrive_whole() {
    check(16 * 256 + 1, |_| {
        let mut cases = Vec::new();
        for length in [MIB - 1, MIB + 1, 16 * MIB - 1, 16 * MIB] {
            cases.push(plain((0, length), (0, length), 0));
            cases.push(plain((1, length), (PAGE_SIZE - 1, length + 1), 1));
            cases.push(Case { apart: Some(PIECE + 1), ..plain((3, length), (0, length - 1), 1) });
        }
        cases
    });
}

#[test]
fn every_pair_of_alignments_and_places_in_a_page_moves_the_same_bytes() {
    check(4, |_| {
        let mut cases = Vec::new();
        for (from, to) in (0..64).map(|pair| (pair / 8, pair % 8)) {
            for (first, second) in [(0, 0), (0, PAGE_SIZE - 8), (PAGE_SIZE - 8, 0), (PAGE_SIZE - 8, PAGE_SIZE - 8)] {
                for length in [1, 7, 8, 9, 31, PAGE_SIZE + 5] {
                    for label in 0..2 {
                        cases.push(plain((first + from, length), (second + to, length), label));
                    }
                }
            }
        }
        cases
    });
}

/// Up to four segments, anywhere: empty, adjacent, over each other, in any order, over borders of pages.
fn anywhere(random: &Random, length: u64, whole: u64) -> Parts {
    let count = 1 + random.below(SEGMENTS as u64);
    (0..count)
        .map(|_| {
            let longest = if random.chance(200) { 3 } else { 1 + length };
            let part = random.below(longest);
            (random.below(whole - part), part)
        })
        .collect()
}

/// Round trips with such segments in buffers of so many pages.
fn random_cases(random: &Random, pages: u64) -> Vec<Case> {
    let one = |length| {
        let parts = || anywhere(random, length, pages * PAGE_SIZE);
        let apart = random.chance(500).then(|| random.below(2 * length));
        let label = random.below(2);
        Case { sent: parts(), room: parts(), wanted: parts(), answered: parts(), apart, label }
    };
    (0..600).map(|number| one([16, 300, 2 * PAGE_SIZE][number % 3])).collect()
}

#[test]
fn segments_anywhere_even_over_each_other_are_one_run_of_bytes() {
    check(3, |random| random_cases(random, 3));
}

#[test]
fn two_threads_of_one_process_pass_the_same_messages() {
    simulation::run(1, Settings::default(), |root| async move {
        let process = root.process().await;
        let gate = root.gate(&process).await;
        let receiving = root.give_gate(&process, gate).await;
        let sending = root.give_connection(&process, gate, 77).await;
        let pair = Pair { server: process.clone(), client: process, gate, receiving, sending };
        let cases = random_cases(&root.user.world().random, 3);
        round_trips(&root, pair, 3, cases).await;
    });
}

#[test]
fn more_segments_than_a_piece_holds_are_one_run_of_bytes() {
    check(24, |random| {
        let whole = 24 * PAGE_SIZE;
        let parts = |random: &Random| anywhere(random, 20 * PAGE_SIZE, whole);
        (0..40)
            .map(|number| Case {
                sent: parts(random),
                room: parts(random),
                wanted: parts(random),
                answered: parts(random),
                apart: (number % 2 == 0).then(|| random.below(PIECE)),
                label: 0,
            })
            .collect()
    });
}
