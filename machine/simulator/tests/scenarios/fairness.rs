//! The field's acceptance test (DESIGN §2): messages beside a program that only computes, under round robin. Every runnable baton
//! has an equal share, however long the messages, whoever owns a baton, and however many share the server.

use simulator::scenario::{DATA, DATA_PAGES, Plan, Root, Thread};
use simulator::{Settings, scenario_with};

use crate::Pair;

const SLICE_NS: u64 = 200_000;
/// Turns that each baton has in a test: one more or less is within what is allowed.
const TURNS: u64 = 100;

/// One case of the test.
#[derive(Clone, Copy, Debug)]
struct Case {
    /// Bytes of each message, in two segments.
    length: u64,
    passive: bool,
    clients: u64,
    hogs: u64,
    /// What the server computes for each call, ns.
    work_ns: u64,
}

impl Case {
    async fn start(self, root: &Root) -> (Pair, Vec<Thread>) {
        let pair = Pair::new(root).await;
        let (gate, half) = (pair.receiving, self.length / 2);
        let serve = move |user: simulator::User| async move {
            let mut message = user.receive(gate).room(DATA, half).room(DATA, half).ok().await;
            loop {
                assert_eq!(message.moved, self.length);
                let _ = user.compute(self.work_ns).await;
                let answer = user.reply_and_receive(message.request, gate);
                message = answer.room(DATA, half).room(DATA, half).ok().await;
            }
        };
        let plan = Plan::new(&pair.server, "server");
        if self.passive {
            root.start_passive(plan, serve).await;
        } else {
            root.start_server(plan.round_robin(10, SLICE_NS), serve).await;
        }
        let mut threads = Vec::new();
        for number in 0..self.clients {
            let connection = root.give_connection(&pair.client, pair.gate, number).await;
            let plan = Plan::new(&pair.client, "client").round_robin(10, SLICE_NS);
            let body = move |user: simulator::User| async move {
                loop {
                    user.call(connection).send(DATA, half).send(DATA, half).ok().await;
                }
            };
            threads.push(root.start(plan, body).await);
        }
        for _ in 0..self.hogs {
            let plan = Plan::new(&pair.client, "hog").round_robin(10, SLICE_NS);
            threads.push(root.start(plan, |user| async move { user.hog().await }).await);
        }
        (pair, threads)
    }

    async fn check(self, root: &Root) {
        let (pair, threads) = self.start(root).await;
        let mut before = Vec::new();
        for thread in &threads {
            before.push(root.billed(thread.baton).await);
        }
        let share = SLICE_NS * TURNS;
        root.sleep(share * threads.len() as u64).await;
        for (number, (thread, before)) in threads.iter().zip(before).enumerate() {
            let billed = root.billed(thread.baton).await - before;
            assert!(billed.abs_diff(share) <= share / 50, "{self:?}: thread {number} had {billed} ns of {share}");
        }
        root.dismantle(pair.server).await;
        root.dismantle(pair.client).await;
    }
}

fn check(lengths: &'static [u64], clients: u64, works: &'static [u64]) {
    scenario_with(Settings { check_every: 32, patience: 20_000_000, ..Settings::default() }, move |root| async move {
        for length in lengths {
            for (passive, hogs) in [(false, 1), (true, 1), (true, 2)] {
                for work_ns in works {
                    let case = Case { length: *length, passive, clients, hogs, work_ns: *work_ns };
                    case.check(&root).await;
                }
            }
        }
    });
}

/// All that one message can move between two processes of a scenario.
const LONG: u64 = 2 * DATA_PAGES * abi::PAGE_SIZE;

#[test]
fn a_client_and_its_server_beside_a_hog_have_an_equal_share() {
    check(&[0, LONG], 1, &[2_000]);
}

#[test]
fn ten_clients_of_one_server_beside_a_hog_have_an_equal_share() {
    check(&[0, LONG], 10, &[2_000]);
}

/// Most turns end while the server works for somebody.
#[test]
fn ten_clients_have_an_equal_share_however_long_a_service_is() {
    check(&[0], 10, &[30_000, 170_000]);
}
