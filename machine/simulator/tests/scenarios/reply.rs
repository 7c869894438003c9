//! Replies that fail (DESIGN §2): the request is as open as before, and a reply-and-receive returns without receiving.

use abi::object::gate as gate_method;
use abi::thread::State;
use abi::{Error, Handle, Rights};
use simulator::scenario;
use simulator::scenario::{DATA, Log, Plan};

use crate::Pair;
use crate::interrupt::{acknowledge, bind};

/// Where nobody has a page.
const MISSING: u64 = 0x50_0000_0000;
const LINE: u64 = 5;

/// Nor is what the server took before settled by it: that is what a receive does. Whether or not something waits at the gate.
#[test]
fn a_reply_and_receive_whose_reply_fails_returns_without_receiving() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let (gate, connection, log) = (pair.receiving, pair.sending, Log::new());
        let line = root.pulse(&pair.server, pair.gate, 4, 50, false, Handle::NONE).await;
        bind(&root, line, LINE, 0, false).await;
        let next = root.pulse(&pair.server, pair.gate, 6, 60, true, Handle::NONE).await;
        let next = root.give(&pair.server, next, Rights::ALL).await;
        let ports = root.give(&pair.server, root.record().ports, Rights::ALL).await;
        let noted = log.clone();
        root.start_server(Plan::new(&pair.server, "driver").priority(50), |user| async move {
            let request = user.receive(gate).ok().await.request;
            let interrupt = user.receive(gate).ok().await;
            assert_eq!((interrupt.badge, user.world().is_masked(LINE as u32)), (4, true));
            acknowledge(&user, ports, LINE).await;
            for waiting in [0, 1] {
                if waiting == 1 {
                    user.raise(next, 7).ok().await;
                }
                let reply = |request| user.reply_and_receive(request, gate);
                for (reply, error) in [
                    (reply(0), Error::Gone),
                    (reply(request + (1 << 16)), Error::Gone),
                    (reply(request).give(Handle(1 << 40), Rights::SEND), Error::BadHandle),
                    (reply(request).give(gate, Rights::SEND), Error::NoSlot),
                    (reply(request).send(MISSING, 8), Error::BadAddress),
                    (reply(request).send(DATA, 8), Error::LenderFault),
                    (reply(request).send(u64::MAX, 8), Error::BadArgument),
                    (reply(request).envelope_at(MISSING).flags(abi::call::flags::ENVELOPE), Error::BadAddress),
                ] {
                    reply.fails(error).await;
                    let figures = user.method(gate, gate_method::INFORMATION, [0; 4]).ok().await.words;
                    assert_eq!(figures[..3], [0, 0, waiting], "{error:?}");
                    assert!(user.world().is_masked(LINE as u32), "{error:?}");
                }
            }
            let pulse = user.reply_and_receive(request, gate).word(9).ok().await;
            assert_eq!((pulse.badge, pulse.words[0], user.world().is_masked(LINE as u32)), (6, 7, false));
            noted.note("received");
        })
        .await;
        let noted = log.clone();
        let client = root.start(Plan::new(&pair.client, "client").priority(10), |user| async move {
            // With room that is not there.
            assert_eq!(user.call(connection).room(MISSING, 8).ok().await.words[0], 9);
            noted.note("answered");
        });
        root.until_state(client.await, State::Reply).await;
        let world = root.user.world().clone();
        world.at(world.time() + 10_000, |world| world.set_line(LINE as u32, true));
        root.until_noted(&log, 2).await;
    });
}
