//! Who runs and who waits for what: checked after every trap.

use std::collections::BTreeSet;

use abi::object::Kind;
use abi::thread::State as ThreadState;
use kernel::inspect::{ThreadView, WaiterView};

use super::{State, all};
use crate::processor::{BOOT_TIME, World};

/// What holds at every step: cheap.
pub fn check_schedule(kernel: &State<'_>, world: &World) {
    let (running, thread) = kernel.running();
    // Every nanosecond since the start is somebody's, or the running baton's.
    let (billed, until) = kernel.billed_time();
    assert_eq!(BOOT_TIME + billed, until, "ns billed, and until when");
    assert!(until <= world.time());
    if !kernel.attention() {
        assert!(
            world.alarm_time() <= kernel.next_due(),
            "the alarm at {} is too late for {}",
            world.alarm_time(),
            kernel.next_due()
        );
    }
    // Ready queues: circular, of their level, each baton in one.
    let mut queued = BTreeSet::new();
    for level in 0..=255 {
        let first = kernel.first_ready(level);
        let mut at = first;
        while at != 0 {
            let baton = kernel.view_baton(at);
            assert!(queued.insert(at), "baton {at} is twice in ready queues");
            assert!(
                baton.queued && !baton.running && baton.level == level,
                "baton {at} in the queue of level {level}: {baton:?}"
            );
            assert!(baton.header.alive(), "dead baton {at} is ready");
            assert_eq!(kernel.view_baton(baton.next).previous, at);
            at = if baton.next == first { 0 } else { baton.next };
        }
    }
    for index in all(kernel, Kind::Baton) {
        let baton = kernel.view_baton(index);
        assert_eq!(baton.queued, queued.contains(&index), "baton {index}: {baton:?}");
        assert_eq!(baton.running, index == running, "baton {index}: {baton:?}, running {running}");
        // Nobody who could run is forgotten.
        if baton.header.alive() && !kernel.attention() {
            let runs = kernel.would_run(index);
            assert!(
                runs == 0 || baton.queued || baton.running,
                "baton {index} rests, but thread {runs} could run on it: {baton:?} {:?}",
                kernel.view_thread(runs)
            );
        }
    }
    if running != 0 && !kernel.attention() {
        assert_eq!(kernel.would_run(running), thread, "the running thread is not the one its baton runs");
        let level = kernel.view_baton(running).level;
        let stronger = queued.iter().find(|baton| kernel.view_baton(**baton).level > level);
        assert!(stronger.is_none(), "baton {stronger:?} is stronger than the running one, {running}");
    }
    for index in all(kernel, Kind::Thread) {
        let thread = kernel.view_thread(index);
        check_thread(kernel, index, &thread);
    }
}

/// With which priority a thread should wait: that of its baton, or of the strongest that waits for it, through all gates.
fn urgency(kernel: &State<'_>, index: u32) -> u8 {
    let (mut at, mut urgency) = (index, 0);
    for _ in 0..16 {
        let thread = kernel.view_thread(at);
        urgency = urgency.max(kernel.view_baton(thread.current).level);
        let gate = kernel.view_gate(thread.gate);
        let busy = if gate.several { gate.busy_first } else { gate.only };
        if thread.gate != 0 && busy == at {
            kernel.waiters(thread.gate, |waiter| match waiter {
                WaiterView::Caller(caller) => urgency = urgency.max(kernel.view_thread(caller).waits_with),
                WaiterView::Pulse(pulse) => urgency = urgency.max(kernel.view_pulse(pulse).helps_with.unwrap_or(0)),
                WaiterView::Closed(_) | WaiterView::Unblock(_) => {}
            });
        }
        // Whose request it works on.
        let caller = thread.serving as u32 & 0xffff;
        let served = kernel.view_thread(caller);
        if caller == 0 || served.request != thread.serving || served.state != ThreadState::Reply {
            break;
        }
        at = caller;
    }
    urgency
}

/// Every thread is runnable, or waits for a reason that can be named, and whatever could end its wait knows of it.
fn check_thread(kernel: &State<'_>, index: u32, thread: &ThreadView) {
    let say = || format!("thread {index}: {thread:?}");
    assert_eq!(thread.timed, thread.alarm, "{}", say());
    if thread.current != 0 {
        let baton = kernel.view_baton(thread.current);
        assert!(baton.header.alive(), "{} runs on a dead baton", say());
    }
    if thread.current != 0 && matches!(thread.state, ThreadState::Ready | ThreadState::Send) {
        let baton = kernel.view_baton(thread.current);
        assert_eq!(baton.holder, index, "{} is not the holder of its baton {baton:?}", say());
    }
    let (worked_for, slot) = (thread.serving, thread.serving as u32 & 0xffff);
    assert!(worked_for <= kernel.view_thread(slot).request, "{} works on a request of the future", say());
    if thread.own != 0 {
        assert!(kernel.view_baton(thread.own).header.alive() && kernel.view_baton(thread.own).owned, "{}", say());
    }
    if thread.header.dying || !thread.header.alive() {
        assert_eq!(thread.state, ThreadState::Dead, "{}", say());
    }
    let queued = match thread.state {
        ThreadState::Send => true,
        ThreadState::Reply => thread.leaving && thread.queued,
        // Just about to receive, perhaps.
        ThreadState::Ready if kernel.looks() && thread.works && thread.current == 0 => thread.queued,
        // Stuck, in its gate's list of those that are.
        ThreadState::Ready | ThreadState::Running => thread.current == 0 && thread.gate != 0,
        _ => false,
    };
    assert_eq!(thread.queued, queued, "{}", say());
    match thread.state {
        ThreadState::Send => {
            let gate = kernel.view_gate(thread.target as u32 & 0xffff);
            if gate.header.alive() && !kernel.looks() {
                assert_eq!(
                    thread.waits_with,
                    urgency(kernel, index),
                    "{} waits with another priority than it should",
                    say()
                );
            }
            assert!(gate.header.charged(), "{} waits at no gate", say());
            let looks = |other: u32| {
                let other = kernel.view_thread(other);
                u64::from(other.gate) == thread.target & 0xffff && other.works
            };
            assert!(
                !gate.header.alive() || gate.parked == 0 || all(kernel, Kind::Thread).any(looks),
                "{} waits although a receiver is parked",
                say()
            );
        }
        ThreadState::Reply => {
            let process = kernel.view_process(thread.answerer);
            assert!(process.header.charged(), "{} waits for a process that is gone", say());
            let server = kernel.view_thread(thread.server);
            if server.serving == thread.request && server.current == thread.current && thread.current != 0 {
                // So is what carries the baton on counted, and bounded.
                assert_eq!(server.carried, thread.carried + 1, "{} and {server:?}", say());
            }
        }
        ThreadState::Receive => {
            let gate = kernel.view_gate(thread.gate);
            assert!(thread.gate != 0 && gate.header.charged(), "{} receives at no gate", say());
            assert!(gate.parked != 0, "{} is not parked", say());
            assert_eq!(thread.serving, 0, "{}", say());
            assert_eq!(thread.current, thread.own, "{} is parked with a baton that is not its own", say());
        }
        ThreadState::Ready | ThreadState::Running => {
            assert!(!thread.timed, "{}", say());
            let alive = kernel.view_process(thread.process).header.alive();
            if thread.current == 0 && alive && !kernel.attention() {
                // Stuck, for want of a baton: it has none of its own, and its gate's reserve is elsewhere.
                assert_eq!(thread.own, 0, "{} does not use its own baton", say());
                let reserve = kernel.view_gate(thread.gate).reserve;
                let used = |other: u32| kernel.view_thread(other).current == reserve;
                let free = reserve != 0 && !kernel.view_baton(reserve).owned && !all(kernel, Kind::Thread).any(used);
                assert!(
                    !free || thread.gate == 0 || thread.stopped,
                    "{} is stuck although its gate's reserve is free",
                    say()
                );
            }
        }
        ThreadState::Dead => {
            assert!(thread.current == 0 && thread.gate == 0 && thread.serving == 0 && !thread.works, "{}", say())
        }
        ThreadState::Fault => unreachable!(),
    }
    assert_eq!(thread.request & 0xffff, if thread.request == 0 { 0 } else { u64::from(index) }, "{}", say());
}

/// The ids of requests that each slot of a thread had last.
#[derive(Debug, Default)]
pub struct Requests(Vec<u64>);

impl Requests {
    /// After a step: none has gone back, and each is of its own slot.
    pub fn check(&mut self, kernel: &State<'_>) {
        let slots = kernel.slots(Kind::Thread) as usize;
        self.0.resize(self.0.len().max(slots), 0);
        for (index, last) in self.0.iter_mut().enumerate().take(slots).skip(1) {
            let request = kernel.view_thread(index as u32).request;
            assert!(request >= *last, "thread {index}: request {request:x} comes after {last:x}");
            *last = request;
        }
    }
}
