//! Random services: servers that answer at once, late, after asking others, or die, and clients that check every answer,
//! while a root stops, interrupts, re-prioritises, kills and restarts them. What must hold beside the kernel's
//! invariants: every answer is the right one, and when the trouble ends, every client is served again.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

use abi::call::flags;
use abi::object::{baton, gate, process, thread};
use abi::thread::Policy;
use abi::{Error, Handle, notice};

use crate::program::User;
use crate::scenario::{DATA, Plan, Process, QUOTA, Root, Thread};

/// Gates, each with its server process.
const SERVICES: usize = 4;
/// Clients.
const CLIENTS: usize = 6;
/// Longest time that a client thinks between calls, ns.
const THINKS_NS: u64 = 60_000;
/// Longest time that a server computes for an answer, ns.
const WORKS_NS: u64 = 6_000;
/// How long after the end of all trouble every client must have been served, simulated ns.
const RECOVERY_NS: u64 = 20_000_000;

/// The answer to a question; asked of another service, or not, it is the same.
const fn answer(question: u64) -> u64 {
    question.wrapping_mul(3).wrapping_add(1)
}

/// Answer a request with what it asked for, in words and in bytes.
fn reply(user: &User, request: u64, question: u64) -> crate::Exchange {
    user.reply(request).words([answer(question), 0, 0, 0])
}

/// A thread that serves at a gate, and may ask other services on the way (only ones further down, so no cycles).
async fn serve(user: User, own: Handle, others: Vec<Handle>) {
    let world = Rc::clone(user.world());
    let random = &world.random;
    let mut deferred: VecDeque<(u64, u64)> = VecDeque::new();
    let mut next = user.receive(own).room(DATA, 64).await;
    loop {
        if next.error().is_some() || next.request == 0 {
            if next.label == notice::UNBLOCK && next.status().is_notice() {
                // The caller wants to leave: let it have its answer if it is one of those that were put off.
                if let Some(at) = deferred.iter().position(|(request, _)| *request == next.words[0]) {
                    let (request, question) = deferred.remove(at).expect("found above");
                    let _ = reply(&user, request, question).await;
                }
            }
        } else {
            let (request, question) = (next.request, next.words[0]);
            let _ = user.compute(1 + random.below(WORKS_NS)).await;
            match random.below(10) {
                0 | 1 if deferred.len() < 3 => deferred.push_back((request, question)),
                2 | 3 if !others.is_empty() => {
                    let other = *random.choose(&others);
                    let said = user.call(other).flags(flags::RETRY).words([question, 0, 0, 0]).await;
                    if said.error().is_none() {
                        assert_eq!(said.words[0], answer(question), "a service was told something wrong");
                    }
                    let _ = reply(&user, request, question).await;
                }
                4 => {
                    let _ = user.read_request(request, random.below(80), DATA + 128, 64).await;
                    let _ = user.write_request(request, random.below(80), DATA + 128, 64).await;
                    let _ = reply(&user, request, question).send(DATA + 128, random.below(64)).await;
                }
                _ if deferred.is_empty() => {
                    let words = [answer(question), 0, 0, 0];
                    let both = user.reply_and_receive(request, own).words(words);
                    let answered = if random.chance(500) { both.await } else { both.room(DATA, 64).await };
                    if answered.error() != Some(Error::Gone) {
                        next = answered;
                        continue;
                    }
                }
                _ => {
                    let _ = reply(&user, request, question).await;
                    let _ = user.compute(1 + random.below(WORKS_NS)).await;
                }
            }
        }
        if !deferred.is_empty()
            && random.chance(400)
            && let Some((request, question)) = deferred.pop_front()
        {
            let _ = reply(&user, request, question).await;
        }
        let receive = user.receive(own).room(DATA, 64).flags(flags::INTERRUPTIBLE);
        next = if deferred.is_empty() {
            receive.await
        } else {
            // Nobody waits for ever for what was put off.
            receive.deadline(user.now() + random.below(20_000), flags::DEADLINE_RECEIVE).await
        };
        if next.error() == Some(Error::TimedOut)
            && let Some((request, question)) = deferred.pop_front()
        {
            let _ = reply(&user, request, question).await;
        }
    }
}

/// A thread that asks and checks, for ever.
async fn ask(user: User, services: Vec<Handle>, own: Handle, served: Rc<Cell<u64>>) {
    let world = Rc::clone(user.world());
    let random = &world.random;
    loop {
        let question = random.next();
        let mut call = user.call(*random.choose(&services)).words([question, 0, 0, 0]);
        if random.chance(300) {
            call = call
                .send(DATA + 512 * random.below(8) + random.below(9), random.below(100))
                .room(DATA + 8192, random.below(100));
        }
        if random.chance(300) {
            call = call.flags(flags::RETRY);
        }
        if random.chance(300) {
            call = call.flags(flags::INTERRUPTIBLE);
        }
        if random.chance(100) {
            call = call.flags(flags::NO_GRACE);
        }
        if random.chance(300) {
            let states = *random.choose(&[
                flags::DEADLINE_SEND,
                flags::DEADLINE_REPLY,
                flags::DEADLINE_SEND | flags::DEADLINE_REPLY,
            ]);
            call = call.deadline(user.now() + random.below(60_000), states);
        }
        let said = call.await;
        match said.error() {
            None => {
                assert_eq!(said.words[0], answer(question), "a client was told something wrong");
                served.set(served.get() + 1);
            }
            Some(Error::Gone | Error::TimedOut | Error::Interrupted) => {}
            Some(error) => panic!("a call ended with {error:?}"),
        }
        if random.chance(300) {
            let _ = user.compute(1 + random.below(3_000)).await;
        } else {
            let until = user.now() + random.below(THINKS_NS);
            let _ = user.receive(own).deadline(until, flags::DEADLINE_RECEIVE).await;
        }
    }
}

struct Service {
    process: Process,
    threads: Vec<Thread>,
}

async fn start_service(root: &Root, gates: &[Handle], number: usize) -> Service {
    let random = &root.user.world().random;
    let process = root.process_with(QUOTA).await;
    let receiving = root.give_gate(&process, gates[number]).await;
    let mut others = Vec::new();
    for gate in &gates[number + 1..] {
        others.push(root.give_connection(&process, *gate, 1000).await);
    }
    let mut threads = Vec::new();
    for _ in 0..=random.below(2) {
        let others = others.clone();
        let plan = Plan::new(&process, "serve");
        let plan =
            if random.chance(600) { plan.priority(20 + random.below(30) as u8) } else { plan.round_robin(20, 30_000) };
        let thread = root.start(plan, move |user| serve(user, receiving, others)).await;
        threads.push(thread);
    }
    Service { process, threads }
}

async fn kill(root: &Root, service: Service) {
    root.dismantle(service.process).await;
    for thread in service.threads {
        for handle in [thread.handle, thread.baton] {
            let _ = root.user.method(Handle::SELF_PROCESS, process::CLOSE, [handle.0, 0, 0, 0]).await;
        }
    }
}

/// The body of a run: trouble for so many steps of user code, then a time of peace in which everybody must be served.
pub async fn run(root: Root, steps: u64) {
    let user = root.user.clone();
    let world = Rc::clone(user.world());
    let random = &world.random;
    let supervisor = root.process().await;
    let (mut gates, mut reserves) = (Vec::new(), Vec::new());
    for _ in 0..SERVICES {
        let reserve =
            if random.chance(800) { root.baton(&supervisor, 15 + random.below(20) as u8).await } else { Handle::NONE };
        gates.push(root.gate_with(&supervisor, reserve, random.below(30_000)).await);
        reserves.push(reserve);
    }
    let mut services = Vec::new();
    for number in 0..SERVICES {
        services.push(start_service(&root, &gates, number).await);
    }
    let clients = root.process_with(QUOTA).await;
    let own = root.gate(&clients).await;
    let own = root.give_gate(&clients, own).await;
    let mut asking = Vec::new();
    for number in 0..CLIENTS {
        let mut connections = Vec::new();
        for gate in &gates {
            connections.push(root.give_connection(&clients, *gate, number as u64).await);
        }
        let served = Rc::new(Cell::new(0));
        let counted = Rc::clone(&served);
        let plan = Plan::new(&clients, "ask");
        let plan = match random.below(3) {
            0 => plan.priority(10 + random.below(30) as u8),
            1 => plan.round_robin(20, 20_000),
            _ => {
                let sporadic = root.baton_with(&clients, 25, Policy::Sporadic, 20_000, 200_000, 12).await;
                plan.baton(sporadic)
            }
        };
        let thread = root.start(plan, move |user| ask(user, connections, own, counted)).await;
        asking.push((thread, served));
    }

    let end = world.steps() + steps;
    while world.steps() < end {
        let pause = random.below(40_000);
        root.sleep(pause).await;
        let which = random.below(SERVICES as u64) as usize;
        let serving = *random.choose(&services[which].threads);
        let client = random.choose(&asking).0;
        let victim = if random.chance(500) { serving } else { client };
        match random.below(16) {
            0 => {
                let service = services.remove(which);
                kill(&root, service).await;
                let service = start_service(&root, &gates, which).await;
                services.insert(which, service);
            }
            1 => drop(user.method(victim.handle, thread::STOP, [0; 4]).ok().await),
            2..=4 => drop(user.method(victim.handle, thread::CONTINUE, [0; 4]).ok().await),
            5..=8 => drop(user.method(victim.handle, thread::INTERRUPT, [0; 4]).ok().await),
            9 => {
                let words = [10 + random.below(40), random.below(2), 20_000, 0];
                let _ = user.method(victim.baton, baton::SET, words).await;
            }
            10 => {
                // Another reserve; the old one is destroyed, whoever runs on it.
                let new = root.baton(&supervisor, 15 + random.below(20) as u8).await;
                user.method(gates[which], gate::SET_RESERVE, [new.0, 0, 0, 0]).ok().await;
                let old = std::mem::replace(&mut reserves[which], new);
                if !old.is_none() {
                    root.destroy(old).await;
                }
            }
            11 => {
                // A server's thread without a baton of its own, and with one again.
                let words = [if random.chance(500) { 0 } else { serving.baton.0 }, 0, 0, 0];
                let _ = user.method(serving.handle, thread::SET_BATON, words).await;
            }
            _ => {}
        }
    }

    // Peace: everything runs again, with a reserve for everybody.
    for (gate, service) in gates.iter().zip(&services) {
        let reserve = root.baton(&supervisor, 18).await;
        user.method(*gate, gate::SET_RESERVE, [reserve.0, 0, 0, 0]).ok().await;
        for thread in &service.threads {
            let _ = user.method(thread.handle, thread::SET_BATON, [thread.baton.0, 0, 0, 0]).await;
            user.method(thread.handle, thread::CONTINUE, [0; 4]).ok().await;
        }
    }
    for (thread, _) in &asking {
        user.method(thread.handle, thread::CONTINUE, [0; 4]).ok().await;
    }
    let before: Vec<u64> = asking.iter().map(|(_, served)| served.get()).collect();
    root.sleep(RECOVERY_NS).await;
    for (number, ((thread, served), before)) in asking.iter().zip(before).enumerate() {
        let state = root.state(*thread).await;
        assert!(served.get() > before, "client {number} is not served any more: {thread:?} {state:?}");
    }
}
