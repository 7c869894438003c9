//! Memory that is not there, or is not what it should be, in the middle of a message: the right side is blamed, with the
//! bytes moved, and nothing half-done is left behind.

use std::cell::Cell;
use std::rc::Rc;

use abi::envelope::{Envelope, MESSAGE_MAXIMUM};
use abi::object::{Kind, access, gate as gate_method, process};
use abi::{Error, Handle, Operation, PAGE_SIZE, Rights, Segment, USER_END};
use simulator::scenario::{DATA, DATA_PAGES, Log, Plan, Process, Root};
use simulator::{Answer, Exchange, User, scenario};

use crate::Pair;

/// Pages of a buffer, any one of which may be bad.
const PAGES: u64 = 4;
/// Buffers lie so far apart.
const STEP: u64 = 16 * PAGE_SIZE;
/// Buffers with a page missing, by which; the last is whole.
const MISSING: u64 = 0x50_0000_0000;
/// Buffers with a page that may only be read, likewise.
const FIXED: u64 = 0x51_0000_0000;

/// Map buffers with every fault they can have.
async fn map_buffers(root: &Root, process: &Process) {
    for (area, bad) in [(MISSING, None), (FIXED, Some(access::READ))] {
        for number in 0..=PAGES {
            let memory = root.memory(PAGES).await;
            for page in 0..PAGES {
                let bits = if page == number { bad } else { Some(access::READ | access::WRITE) };
                let Some(bits) = bits else { continue };
                let address = area + number * STEP + page * PAGE_SIZE;
                let words = [memory.0, address | bits, page * PAGE_SIZE, PAGE_SIZE];
                root.user.method(process.handle, process::MAP, words).ok().await;
            }
        }
    }
}

/// What moves bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Deliver,
    Reply,
    ReplyAndReceive,
    Read,
    Write,
}

/// One message with one bad page.
#[derive(Clone, Copy, Debug)]
struct Case {
    way: Way,
    /// The bad page is where bytes come from.
    at_source: bool,
    /// Where the buffer with the bad page is.
    bad: u64,
    /// How far into it the bytes begin.
    skip: u64,
    /// Into how many segments the bad side is cut.
    cuts: u64,
    /// Bytes until the bad page; none: they end before it.
    moved: Option<u64>,
}

/// Every bad page, in buffers that begin at odd places, whole or in several segments.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for way in [Way::Deliver, Way::Reply, Way::ReplyAndReceive, Way::Read, Way::Write] {
        for (at_source, area) in [(true, MISSING), (false, MISSING), (false, FIXED)] {
            for (page, skip) in (0..=PAGES).flat_map(|page| [(page, 0), (page, 5), (page, PAGE_SIZE - 1)]) {
                for cuts in [1, 2, 4] {
                    let moved = (page < PAGES).then(|| (page * PAGE_SIZE).saturating_sub(skip));
                    cases.push(Case { way, at_source, bad: area + page * STEP, skip, cuts, moved });
                }
            }
        }
    }
    cases
}

impl Case {
    fn length(&self) -> u64 {
        PAGES * PAGE_SIZE - self.skip
    }

    /// The segments of one side.
    fn segments(&self, source: bool) -> Vec<Segment> {
        let bad = source == self.at_source;
        // Segments are cut at odd places too.
        let (start, cuts) = if bad { (self.bad + self.skip, self.cuts) } else { (MISSING + PAGES * STEP, 1) };
        let border = |cut| self.length() * cut / cuts;
        let part = |cut| Segment { address: start + border(cut), length: border(cut + 1) - border(cut) };
        (0..cuts).map(part).collect()
    }

    fn source(&self, exchange: Exchange) -> Exchange {
        self.segments(true).iter().fold(exchange, |exchange, part| exchange.send(part.address, part.length))
    }

    fn destination(&self, exchange: Exchange) -> Exchange {
        self.segments(false).iter().fold(exchange, |exchange, part| exchange.room(part.address, part.length))
    }

    /// What is said to the side that has the bad page, or to the other.
    #[track_caller]
    fn check(&self, answer: &Answer, has_bad_page: bool) {
        let error = if has_bad_page { Error::BadAddress } else { Error::LenderFault };
        assert_eq!((answer.error(), answer.moved), (Some(error), self.moved.expect("it fails")), "{self:x?}");
    }
}

/// What a server can see of a request, its caller, its own gate and quota, and of a slot that it reserved.
async fn seen(user: &User, gate: Handle, request: u64, slot: Handle) -> Vec<u64> {
    let mut seen = Vec::new();
    let own = Handle::SELF_PROCESS;
    seen.extend(user.method(gate, gate_method::REQUEST_INFORMATION, [request, 0, 0, 0]).ok().await.words);
    seen.extend(user.method(gate, gate_method::INFORMATION, [0; 4]).ok().await.words);
    seen.extend(user.method(own, process::HANDLE_INFORMATION, [slot.0, 0, 0, 0]).ok().await.words);
    user.method(own, process::USAGE, [0; 4]).room(DATA, 80).ok().await;
    seen.extend(user.load(DATA, 80).await.expect("its own memory").into_iter().map(u64::from));
    seen
}

/// Receive until it is a request, or fails: that a handed over handle was closed is told in between.
async fn next(receive: Exchange) -> Answer {
    loop {
        let received = receive.clone().await;
        if received.request != 0 || received.error().is_some() {
            return received;
        }
        assert_eq!((received.label, received.badge), (abi::notice::CLOSED, 9));
    }
}

/// The server's part in one case; says whether it saw the message.
async fn serve(user: &User, gate: Handle, case: &Case, gift: Handle, slot: Handle) -> bool {
    let request = if case.way == Way::Deliver {
        let received = next(case.destination(user.receive(gate)).take(slot)).await;
        if case.moved.is_some() {
            // A bad page of the sender's was its own business: this is its next message.
            if !case.at_source {
                case.check(&received, true);
                next(user.receive(gate)).await.request
            } else {
                received.request
            }
        } else {
            assert_eq!((received.error(), received.moved), (None, case.length()), "{case:x?}");
            received.request
        }
    } else {
        next(user.receive(gate)).await.request
    };
    let before = seen(user, gate, request, slot).await;
    let done = match case.way {
        Way::Deliver => None,
        Way::Reply => Some(case.source(user.reply(request)).hand_over(gift, Rights::SEND).await),
        Way::ReplyAndReceive if case.moved.is_none() => None,
        Way::ReplyAndReceive => Some(case.source(user.reply_and_receive(request, gate)).await),
        Way::Read => Some(case.destination(user.raw(Operation::Read as u64, request)).await),
        Way::Write => Some(case.source(user.raw(Operation::Write as u64, request)).await),
    };
    if let Some(done) = done {
        if case.moved.is_some() {
            let source_is_own = case.way != Way::Read;
            case.check(&done, case.at_source == source_is_own);
        } else {
            assert_eq!((done.error(), done.moved), (None, case.length()), "{case:x?}");
        }
    }
    if case.way == Way::Reply && case.moved.is_none() {
        return true;
    }
    // As if nothing had been tried, and the request is still open.
    assert_eq!(seen(user, gate, request, slot).await, before, "{case:x?}");
    user.reply(request).word(42).ok().await;
    false
}

/// The client's part in one case.
async fn call(user: &User, connection: Handle, case: &Case, gift: Handle, slot: Handle) {
    let call = user.call(connection);
    let call = match case.way {
        Way::Deliver => case.source(call).hand_over(gift, Rights::SEND),
        Way::Read => case.source(call),
        Way::Reply | Way::ReplyAndReceive | Way::Write => case.destination(call).take(slot),
    };
    let answer = call.await;
    if case.way == Way::Deliver && case.moved.is_some() {
        case.check(&answer, case.at_source);
        // The handle was not handed over.
        user.method(Handle::SELF_PROCESS, process::HANDLE_INFORMATION, [gift.0, 0, 0, 0]).ok().await;
        assert_eq!(user.call(connection).ok().await.words[0], 42);
    } else {
        let replied = case.way == Way::Reply && case.moved.is_none();
        assert_eq!((answer.error(), answer.words[0]), (None, if replied { 0 } else { 42 }), "{case:x?}");
    }
}

#[test]
fn a_bad_page_anywhere_in_a_message_is_blamed_on_its_side_and_leaves_nothing_half_done() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        for process in [&pair.client, &pair.server] {
            map_buffers(&root, process).await;
        }
        let own = Handle::SELF_PROCESS;
        let (gate, connection) = (pair.receiving, pair.sending);
        let before = (root.usage(pair.client.handle).await.used, root.usage(pair.server.handle).await.used);
        let log = Log::new();
        let noted = log.clone();
        root.start(Plan::new(&pair.server, "server").priority(20), |user| async move {
            for case in cases() {
                let gift = user.method(gate, gate_method::CONNECT, [9, 0, 0, 0]).option(0xff).ok().await.handle();
                let slot = user.method(own, process::RESERVE, [0; 4]).ok().await.handle();
                let given = serve(&user, gate, &case, gift, slot).await;
                let what = user.method(own, process::HANDLE_INFORMATION, [gift.0, 0, 0, 0]).await;
                assert_eq!(what.error(), given.then_some(Error::BadHandle), "{case:x?}");
                let taken = user.method(own, process::HANDLE_INFORMATION, [slot.0, 0, 0, 0]).ok().await.words[1];
                let arrived = case.way == Way::Deliver && case.moved.is_none();
                assert_eq!(taken == Kind::Connection as u64, arrived, "{case:x?}");
                user.method(own, process::CLOSE, [slot.0, 0, 0, 0]).ok().await;
                let _ = user.method(own, process::CLOSE, [gift.0, 0, 0, 0]).await;
                // What was closed is told once, and then forgotten.
                while user.receive(gate).poll().await.error().is_none() {}
            }
            noted.note("served");
        })
        .await;
        let noted = log.clone();
        let plain = root.connect(pair.gate, 8).await;
        let gift = root.give(&pair.client, plain, Rights::ALL).await;
        root.close(plain).await;
        root.start(Plan::new(&pair.client, "client").priority(10), |user| async move {
            for case in cases() {
                let words = [gift.0, u64::from(Rights::ALL.0), 0, 0];
                let gift = user.method(own, process::DUPLICATE, words).ok().await.handle();
                let slot = user.method(own, process::RESERVE, [0; 4]).ok().await.handle();
                call(&user, connection, &case, gift, slot).await;
                for handle in [gift, slot] {
                    let _ = user.method(own, process::CLOSE, [handle.0, 0, 0, 0]).await;
                }
            }
            user.method(own, process::CLOSE, [gift.0, 0, 0, 0]).ok().await;
            noted.note("called");
        })
        .await;
        root.until_noted(&log, 2).await;
        root.sleep(100_000).await;
        // The notice that the last gift was closed is the only thing left.
        assert_eq!(root.user.receive(pair.gate).ok().await.badge, 8);
        root.user.receive(pair.gate).poll().fails(Error::TimedOut).await;
        let threads = |quota: abi::Quota| abi::Quota { threads: 0, batons: 0, mappings: 0, pages: 0, ..quota };
        let after = (root.usage(pair.client.handle).await.used, root.usage(pair.server.handle).await.used);
        assert_eq!((threads(after.0), threads(after.1)), (threads(before.0), threads(before.1)));
    });
}

#[test]
fn a_lent_page_that_the_caller_brings_back_is_moved_when_the_server_tries_again() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let log = Log::new();
        let (gate, connection) = (pair.receiving, pair.sending);
        let (place, broken) = (MISSING, Rc::new(Cell::new(true)));
        root.buffer(&pair.client, place, 1).await;
        let (noted, is_broken) = (log.clone(), Rc::clone(&broken));
        root.start(Plan::new(&pair.server, "server").priority(20), |user| async move {
            let request = user.receive(gate).ok().await.request;
            while is_broken.get() {
                let read = user.read_request(request, 0, DATA, 2 * PAGE_SIZE).await;
                assert_eq!((read.error(), read.moved), (Some(Error::LenderFault), PAGE_SIZE));
                noted.note("not there");
                let _ = user.compute(50_000).await;
            }
            user.read_request(request, 0, DATA, 2 * PAGE_SIZE).ok().await;
            assert_eq!(user.load(DATA + PAGE_SIZE, 4).await.expect("its own memory"), b"back");
            user.reply(request).ok().await;
        })
        .await;
        let client = root
            .start(Plan::new(&pair.client, "client").priority(10), |user| async move {
                user.call(connection).send(place, 2 * PAGE_SIZE).ok().await;
            })
            .await;
        root.until_noted(&log, 1).await;
        let second = root.buffer(&pair.client, place + PAGE_SIZE, 1).await;
        second.write(root.user.world(), 0, b"back");
        broken.set(false);
        root.until_state(client, abi::thread::State::Dead).await;
    });
}

/// Segments that no program can have, whatever is mapped.
const WRONG: [Segment; 9] = [
    Segment { address: u64::MAX - 5, length: 100 },
    Segment { address: u64::MAX, length: 1 },
    Segment { address: 1, length: u64::MAX },
    Segment { address: USER_END - 1, length: 2 },
    Segment { address: USER_END, length: 1 },
    Segment { address: 1 << 63, length: 8 },
    Segment { address: 0xffff_8000_0000_0000, length: PAGE_SIZE },
    Segment { address: DATA, length: MESSAGE_MAXIMUM + 1 },
    Segment { address: DATA, length: 1 << 63 },
];

/// Envelopes with one of them, in each place of each list, and with segments that are too many or too long together.
fn wrong_envelopes() -> Vec<Envelope> {
    let good = Segment { address: DATA, length: 8 };
    let mut envelopes = Vec::new();
    for wrong in WRONG {
        for at in 0..4 {
            let mut list = [good; 4];
            list[at] = wrong;
            for count in (at as u8 + 1)..=4 {
                envelopes.push(Envelope { send_count: count, send: list, ..Envelope::default() });
                envelopes.push(Envelope { receive_count: count, receive: list, ..Envelope::default() });
            }
        }
    }
    let half = [Segment { address: DATA, length: MESSAGE_MAXIMUM / 2 + 1 }; 4];
    envelopes.push(Envelope { send_count: 2, send: half, ..Envelope::default() });
    envelopes.push(Envelope { receive_count: 4, receive: half, ..Envelope::default() });
    for count in [5, 8, 0x80, 0xff] {
        let counts = Envelope::default();
        envelopes.push(Envelope { send_count: count, ..counts });
        envelopes.push(Envelope { receive_count: count, ..counts });
        envelopes.push(Envelope { give_count: count, ..counts });
        envelopes.push(Envelope { take_count: count, ..counts });
    }
    envelopes.push(Envelope { reserved: 1, ..Envelope::default() });
    envelopes
}

#[test]
fn segments_that_wrap_or_reach_the_kernel_are_refused_whatever_the_operation_before_anything_happens() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let log = Log::new();
        let (gate, connection) = (pair.receiving, pair.sending);
        let noted = log.clone();
        root.start(Plan::new(&pair.server, "server").priority(20), |user| async move {
            let slot = user.reserve().await;
            let request = user.receive(gate).ok().await.request;
            let before = seen(&user, gate, request, slot).await;
            for envelope in wrong_envelopes() {
                for exchange in [
                    user.receive(gate),
                    user.reply(request),
                    user.reply_and_receive(request, gate),
                    user.raw(Operation::Read as u64, request),
                    user.raw(Operation::Write as u64, request),
                ] {
                    // Half of those with one segment go in registers.
                    for label in 0..2 {
                        let wrong = exchange.clone().label(label).envelope(envelope);
                        wrong.fails(Error::BadArgument).await;
                    }
                }
            }
            for address in [0x1000, USER_END - 8, USER_END, u64::MAX - 7, 1 << 63] {
                user.reply_and_receive(request, gate).envelope_at(address).fails(Error::BadAddress).await;
            }
            assert_eq!(seen(&user, gate, request, slot).await, before);
            user.reply(request).ok().await;
            noted.note("served");
        })
        .await;
        let noted = log.clone();
        root.start(Plan::new(&pair.client, "client").priority(10), |user| async move {
            for envelope in wrong_envelopes() {
                for label in 0..2 {
                    user.call(connection).label(label).envelope(envelope).fails(Error::BadArgument).await;
                }
            }
            for address in [0x1000, USER_END - 8, USER_END, u64::MAX - 7, 1 << 63] {
                user.call(connection).envelope_at(address).fails(Error::BadAddress).await;
            }
            // The highest address there is, and nothing at one behind it.
            user.call(connection).send(USER_END - 1, 1).room(USER_END, 0).ok().await;
            noted.note("answered");
        })
        .await;
        root.until_noted(&log, 2).await;
        let information = root.user.method(pair.gate, gate_method::INFORMATION, [0; 4]).ok().await;
        assert_eq!(information.words[0], 0, "nobody waits");
    });
}

#[test]
fn an_envelope_may_cross_pages_but_must_be_there_whole() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let log = Log::new();
        let (gate, connection) = (pair.receiving, pair.sending);
        root.start(Plan::new(&pair.server, "server").priority(20), |user| async move {
            loop {
                let message = user.receive(gate).room(DATA, 8).ok().await;
                assert_eq!((message.sent, message.moved), (8, 8));
                user.reply(message.request).ok().await;
            }
        })
        .await;
        let noted = log.clone();
        root.start(Plan::new(&pair.client, "client").priority(10), |user| async move {
            let mut envelope = Envelope { send_count: 1, ..Envelope::default() };
            envelope.send[0] = Segment { address: DATA, length: 8 };
            let bytes = simulator::envelope_bytes(&envelope);
            let (border, end) = (DATA + 2 * PAGE_SIZE, DATA + DATA_PAGES * PAGE_SIZE);
            for before in (0..=bytes.len()).step_by(8) {
                user.store(border - before as u64, &bytes).await.expect("its own memory");
                user.call(connection).envelope_at(border - before as u64).ok().await;
                let (at, present) = (end - before as u64, &bytes[..before]);
                user.store(at, present).await.expect("its own memory");
                let call = user.call(connection).envelope_at(at);
                if before == bytes.len() {
                    call.ok().await
                } else {
                    call.fails(Error::BadAddress).await
                };
            }
            noted.note("all");
        })
        .await;
        root.until_noted(&log, 1).await;
    });
}
