//! A thread on another processor changes memory while the kernel uses it: what was read once is what counts.

use std::rc::Rc;

use abi::call::flags;
use abi::thread::State;
use abi::{Envelope, Error, Segment};
use simulator::processor::MEDDLED;
use simulator::scenario::{DATA, Log, Plan, Root};
use simulator::{Settings, World, envelope_bytes, simulation};

use crate::Pair;

const PAGE: u64 = abi::PAGE_SIZE;
/// Calls of a run, and runs.
const ROUNDS: u64 = 200;
const SEEDS: u64 = 8;

fn run<F: Future<Output = ()> + 'static>(meddling_per_mille: u64, body: impl Fn(Root) -> F + Copy + 'static) {
    for seed in 0..SEEDS {
        let settings = Settings { meddling_per_mille, ..Settings::default() };
        let report = simulation::run(seed, settings, body);
        assert_eq!(report, simulation::run(seed, settings, body), "a seed decides what the other processor does");
    }
}

fn enough(world: &Rc<World>) {
    assert!(world.meddled() > ROUNDS / 4, "changed {} words only", world.meddled());
}

/// An envelope that changes while it is read is some envelope, refused or used as it was read; what it says later is nothing.
#[test]
fn an_envelope_that_changes_while_it_is_read() {
    run(40, |root| async move {
        let pair = Pair::new(&root).await;
        let log = Log::new();
        let receiving = pair.receiving;
        let body = |user: simulator::User| async move {
            loop {
                let message = user.receive(receiving).room(DATA + PAGE, PAGE).await;
                if message.error() == Some(Error::BadAddress) {
                    continue;
                }
                assert!(message.moved <= message.sent.min(PAGE), "{message:x?}");
                let read = user.read_request(message.request, 0, DATA + PAGE, PAGE).await;
                let bad = matches!(read.error(), Some(Error::LenderFault));
                assert!(bad || (read.error().is_none() && read.moved == message.sent.min(PAGE)), "{read:x?}");
                // Where its answer is to go may be nowhere: the request stays open then.
                let answered = user.reply(message.request).send(DATA + PAGE, PAGE).await;
                match answered.error() {
                    None => {}
                    Some(Error::LenderFault) => drop(user.reply(message.request).ok().await),
                    Some(error) => panic!("{error:?}"),
                }
            }
        };
        let server = root.start(Plan::new(&pair.server, "server").priority(20), body).await;
        root.until_state(server, State::Receive).await;
        let place = DATA + 2 * PAGE;
        root.user.world().share(place, size_of::<Envelope>() as u64);
        let (sending, noted) = (pair.sending, log.clone());
        let body = |user: simulator::User| async move {
            let part = Segment { address: DATA, length: 64 };
            let mut envelope = Envelope { send_count: 2, receive_count: 1, ..Envelope::default() };
            (envelope.send[0], envelope.send[1], envelope.receive[0]) = (part, part, part);
            let mut good = 0;
            for _ in 0..ROUNDS {
                user.store(place, &envelope_bytes(&envelope)).await.expect("it is not moved");
                let answer = user.call(sending).flags(flags::ENVELOPE).envelope_at(place).await;
                match answer.error() {
                    None => good += 1,
                    Some(
                        Error::BadArgument
                        | Error::BadAddress
                        | Error::LenderFault
                        | Error::BadHandle
                        | Error::NoSlot
                        | Error::NoRight,
                    ) => {}
                    Some(error) => panic!("{error:?}"),
                }
            }
            noted.note(if good > ROUNDS / 10 { "some good" } else { "hardly any good" });
        };
        root.start(Plan::new(&pair.client, "client").priority(10), body).await;
        root.until_noted(&log, 1).await;
        log.assert(&["some good"]);
        enough(root.user.world());
    });
}

/// Bytes that change while they are copied arrive old or new, word by word, and nothing else does.
#[test]
fn bytes_that_change_while_they_are_copied() {
    run(300, |root| async move {
        let pair = Pair::new(&root).await;
        let log = Log::new();
        let receiving = pair.receiving;
        let (length, old) = (3 * PAGE, 0x0101_0101_0101_0101_u64);
        let noted = log.clone();
        let body = |user: simulator::User| async move {
            for _ in 0..ROUNDS / 10 {
                let message = user.receive(receiving).room(DATA + 4 * PAGE, length).ok().await;
                assert_eq!(message.moved, length);
                let bytes = user.load(DATA + 4 * PAGE, length).await.expect("it is not moved");
                for word in bytes.chunks_exact(8) {
                    let word = u64::from_le_bytes(word.try_into().expect("eight bytes"));
                    assert!(word == old || word == MEDDLED || word < 5, "{word:x}");
                }
                user.reply(message.request).ok().await;
            }
            noted.note("all right");
        };
        let server = root.start(Plan::new(&pair.server, "server").priority(20), body).await;
        root.until_state(server, State::Receive).await;
        root.user.world().share(DATA, length);
        let sending = pair.sending;
        let body = |user: simulator::User| async move {
            for _ in 0..ROUNDS / 10 {
                user.store(DATA, &[1; 3 * PAGE as usize]).await.expect("it is not moved");
                user.call(sending).send(DATA, length).ok().await;
            }
        };
        root.start(Plan::new(&pair.client, "client").priority(10), body).await;
        root.until_noted(&log, 1).await;
        enough(root.user.world());
    });
}
