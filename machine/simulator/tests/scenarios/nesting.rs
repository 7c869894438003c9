//! Calls within calls: a baton is carried on 32 times, so that taking it back from a nest of calls is bounded; the pagers
//! of those that are nested are reached all the same.

use abi::object::access;
use abi::thread::State;
use abi::{Error, Handle, Quota};
use simulator::scenario;
use simulator::scenario::{Log, Plan, Process, QUOTA, Root, Thread};

/// How often a baton is carried on by calls.
const CALLS: usize = 32;
const PLACE: u64 = 0x60_0000_0000;

/// Servers, each of which asks the next; the last one says how deep it was.
struct Nest {
    process: Process,
    /// Of the first, in root's table.
    gate: Handle,
    threads: Vec<Thread>,
}

/// A process with room for so many threads.
async fn roomy(root: &Root) -> Process {
    let process = root.process_with(Quota { threads: 64, batons: 64, gates: 64, pages: 300, ..QUOTA }).await;
    root.user.method(process.handle, abi::object::process::GROW_HANDLES, [192, 0, 0, 0]).repeat().await;
    process
}

impl Nest {
    /// `active`: which of them has a baton of its own. Before the last answers, it has something done.
    async fn new(
        root: &Root,
        depth: usize,
        active: Option<usize>,
        faults: Handle,
        last: impl AsyncFn(&simulator::User) + Clone + 'static,
    ) -> Self {
        let process = roomy(root).await;
        let mut gates = Vec::new();
        for _ in 0..depth {
            gates.push(root.gate(&process).await);
        }
        let mut threads = Vec::new();
        for at in 0..depth {
            let own = root.give_gate(&process, gates[at]).await;
            let next = match gates.get(at + 1) {
                Some(gate) => root.give_connection(&process, *gate, 1).await,
                None => Handle::NONE,
            };
            let last = last.clone();
            let plan = Plan::new(&process, "nested").priority(30).fault(faults);
            let thread = root
                .start(plan, |user| async move {
                    let mut message = user.receive(own).ok().await;
                    loop {
                        let answer = if next.is_none() {
                            last(&user).await;
                            at as u64 + 1
                        } else {
                            let answer = user.call(next).await;
                            // Refused: this is where it ends.
                            if answer.error() == Some(Error::ChainTooLong) { at as u64 + 1 } else { answer.words[0] }
                        };
                        let replied = user.reply_and_receive(message.request, own).word(answer).await;
                        // Who asked may be gone.
                        message = if replied.error().is_some() { user.receive(own).ok().await } else { replied };
                    }
                })
                .await;
            root.until_state(thread, State::Receive).await;
            if active != Some(at) {
                root.user.method(thread.handle, abi::object::thread::SET_BATON, [0; 4]).ok().await;
            }
            threads.push(thread);
        }
        Self { process, gate: gates[0], threads }
    }
}

#[test]
fn a_baton_is_carried_on_by_32_calls_and_no_more() {
    for (servers, reached) in [(3, 3), (CALLS, CALLS), (CALLS + 1, CALLS), (CALLS + 6, CALLS)] {
        scenario(move |root| async move {
            let nest = Nest::new(&root, servers, None, Handle::NONE, async |_| {}).await;
            let connection = root.connect(nest.gate, 1).await;
            // Again and again: what was carried on comes back whole.
            for _ in 0..3 {
                assert_eq!(root.user.call(connection).ok().await.words[0], reached as u64);
            }
        });
    }
}

/// Who waited first is carried on like one that found a receiver parked.
#[test]
fn a_baton_that_waited_is_carried_on_as_often() {
    scenario(|root| async move {
        // The chain of waiting is no longer than 16 gates at a call: that has its own error.
        let nest = Nest::new(&root, 16, None, Handle::NONE, async |_| {}).await;
        let asks = root.process().await;
        let log = Log::new();
        for _ in 0..3 {
            let connection = root.give_connection(&asks, nest.gate, 2).await;
            let noted = log.clone();
            root.start(Plan::new(&asks, "asks").round_robin(20, 5_000), |user| async move {
                noted.note(user.call(connection).ok().await.words[0].to_string());
            })
            .await;
        }
        root.until_noted(&log, 3).await;
        log.assert(&["16"; 3]);
    });
}

#[test]
fn who_is_nested_as_deep_as_can_be_still_has_its_pager() {
    scenario(|root| async move {
        let pager = root.process().await;
        let gate = root.gate(&pager).await;
        let faults = root.connect(gate, 66).await;
        let nest = Nest::new(&root, CALLS, None, faults, async |user: &simulator::User| {
            user.store_word(PLACE, 5).await;
        })
        .await;
        let asks = root.process().await;
        let connection = root.give_connection(&asks, nest.gate, 1).await;
        let log = Log::new();
        let noted = log.clone();
        root.start(Plan::new(&asks, "asks").priority(20), |user| async move {
            noted.note(user.call(connection).ok().await.words[0].to_string());
        })
        .await;
        let fault = root.user.receive(gate).ok().await;
        assert_eq!((fault.badge, fault.words[0]), (66, PLACE));
        let memory = root.memory(1).await;
        let mapped = root.map(nest.process.handle, memory, PLACE, access::READ | access::WRITE, 1).await;
        assert_eq!(mapped.error(), None);
        root.user.reply(fault.request).ok().await;
        root.until_noted(&log, 1).await;
        log.assert(&[&CALLS.to_string()]);
    });
}

/// Pagers that fault on pagers are a nest too, which does not end in a chain without bound.
#[test]
fn faults_of_pagers_are_carried_on_only_so_far() {
    scenario(|root| async move {
        let process = roomy(&root).await;
        let mut gates = Vec::new();
        for _ in 0..CALLS + 8 {
            gates.push(root.gate(&process).await);
        }
        let mut threads = Vec::new();
        for at in 0..gates.len() {
            let own = root.give_gate(&process, gates[at]).await;
            let next = match gates.get(at + 1) {
                Some(gate) => root.connect(*gate, 1).await,
                None => Handle::NONE,
            };
            let thread = root
                .start(Plan::new(&process, "pager").priority(30).fault(next), |user| async move {
                    user.receive(own).ok().await;
                    let _ = user.load(PLACE, 1).await;
                    panic!("nobody maps it");
                })
                .await;
            root.until_state(thread, State::Receive).await;
            root.user.method(thread.handle, abi::object::thread::SET_BATON, [0; 4]).ok().await;
            threads.push(thread);
        }
        let asks = root.process().await;
        let connection = root.give_connection(&asks, gates[0], 1).await;
        root.start(Plan::new(&asks, "asks").priority(20), |user| async move {
            user.call(connection).await;
        })
        .await;
        // Of those that were reached, one by the call, the last died of its fault; the next four were never asked.
        root.until_state(threads[CALLS + 3], State::Dead).await;
        root.until_state(threads[CALLS + 2], State::Fault).await;
        for thread in &threads[CALLS + 4..] {
            assert_eq!(root.state(*thread).await.state, State::Receive);
        }
    });
}

#[test]
fn a_nest_whose_caller_leaves_goes_on_with_the_first_baton_it_has() {
    for active in [0, 7, CALLS - 1] {
        scenario(move |root| async move {
            let log = Log::new();
            let noted = log.clone();
            let nest = Nest::new(&root, CALLS, Some(active), Handle::NONE, async move |user: &simulator::User| {
                noted.note("begins");
                let _ = user.compute(400_000).await;
                noted.note("ends");
            })
            .await;
            let asks = root.process().await;
            let connection = root.give_connection(&asks, nest.gate, 1).await;
            for round in 0..2 {
                let caller = root
                    .start(Plan::new(&asks, "asks").priority(20), |user| async move {
                        user.call(connection).await;
                    })
                    .await;
                root.until_noted(&log, 2 * round + 1).await;
                root.destroy(caller.handle).await;
                root.until_noted(&log, 2 * round + 2).await;
                for (at, thread) in nest.threads.iter().enumerate() {
                    // Those without a baton have nothing to receive on again, but for the one that answered the last.
                    if at >= active {
                        root.until_state(*thread, State::Receive).await;
                    }
                }
                if active != 0 {
                    break;
                }
            }
        });
    }
}
