//! The checkers see each kind of thing that could be wrong: a state that is right but for one view is found out.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use kernel::inspect::{BatonView, ConnectionView, EntryView, GateView, MemoryView, ProcessView, PulseView, ThreadView};

use super::{Corruption, Requests, State, check_objects, check_schedule};
use crate::processor::SpaceName;
use crate::scenario::{Plan, Root};
use crate::{Settings, simulation};

/// A server with a reserve baton at its gate works for a client, another client waits, and a pulse was raised.
///
/// Slots: threads 1 root, 2 server, 3 and 4 clients; batons 1 root's, 2 the reserve, then the threads'; gates 1 root's, 2 the
/// server's; processes 1 root, 2 server, 3 clients.
async fn set_up(root: Root, ready: Rc<Cell<bool>>) {
    let (server, client) = (root.process().await, root.process().await);
    let reserve = root.baton(&server, 15).await;
    let gate = root.gate_with(&server, reserve, 0).await;
    let receiving = root.give_gate(&server, gate).await;
    let sending = root.give_connection(&client, gate, 7).await;
    let pulse = root.pulse(&server, gate, 1, 5, false, abi::Handle::NONE).await;
    let body = |user: crate::User| async move {
        user.receive(receiving).ok().await;
        user.hog().await;
    };
    let thread = root.start(Plan::new(&server, "server").priority(20), body).await;
    root.until_state(thread, abi::thread::State::Receive).await;
    for priority in [10, 30] {
        let body = |user: crate::User| async move {
            user.call(sending).await;
        };
        root.start(Plan::new(&client, "client").priority(priority), body).await;
        root.sleep(10_000).await;
    }
    root.user.raise(pulse, 1).ok().await;
    ready.set(true);
    root.sleep(50_000).await;
}

/// Insist that what is wrong is found, with words that say what.
fn finds(corruption: Corruption, words: &'static str) {
    let (ready, found) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(false)));
    let (set, noted) = (Rc::clone(&ready), Rc::clone(&found));
    let check = move |kernel: &kernel::Kernel<crate::Processor>| {
        // Some is only checked when nothing is to be decided first; root sleeps, then the others are what they are to be.
        let settled = !kernel.attention() && kernel.view_thread(1).state == abi::thread::State::Receive;
        if !ready.get() || !settled || noted.get() {
            return;
        }
        let (right, wrong) = (State::new(kernel), State::corrupt(kernel, corruption));
        let world = kernel.machine().world();
        let mut requests = Requests::default();
        let mut all = |state: &State<'_>| {
            check_schedule(state, world);
            check_objects(state, world);
            requests.check(state);
        };
        all(&right);
        let said = simulation::quietly(|| catch_unwind(AssertUnwindSafe(|| all(&wrong))));
        let said = said.expect_err("it is wrong, and was not found");
        let said = said.downcast_ref::<String>().expect("a sentence");
        assert!(said.contains(words), "{said:?} does not say {words:?}");
        noted.set(true);
    };
    let settings = Settings { spurious_per_mille: 300, ..Settings::default() };
    simulation::run_watched(1, settings, move |root| set_up(root, set), check);
    assert!(found.get());
}

fn thread(slot: u32, change: fn(&mut ThreadView), words: &'static str) {
    finds(Corruption { thread: Some((slot, change)), ..Corruption::default() }, words);
}

fn baton(slot: u32, change: fn(&mut BatonView), words: &'static str) {
    finds(Corruption { baton: Some((slot, change)), ..Corruption::default() }, words);
}

fn gate(change: fn(&mut GateView), words: &'static str) {
    finds(Corruption { gate: Some((2, change)), ..Corruption::default() }, words);
}

#[test]
fn a_waiting_thread_in_no_queue() {
    thread(4, |view| view.queued = false, "thread 4");
}

#[test]
fn a_thread_that_waits_too_weakly() {
    thread(4, |view| view.waits_with = 3, "waits with another priority");
}

#[test]
fn an_alarm_without_a_reason() {
    thread(2, |view| view.alarm = true, "thread 2");
}

#[test]
fn a_request_that_goes_back() {
    thread(4, |view| view.request -= 0x10000, "comes after");
}

#[test]
fn a_request_that_was_not_made_yet() {
    thread(2, |view| view.serving += 0x10000, "of the future");
}

#[test]
fn two_threads_on_one_baton() {
    // The second client's is the last baton.
    thread(4, |view| view.current = 4, "holder");
}

#[test]
fn a_baton_that_is_and_is_not_in_a_queue() {
    baton(4, |view| view.queued = !view.queued, "baton 4");
}

#[test]
fn a_reserve_of_another_gate() {
    baton(2, |view| view.reserve_of = 1, "reserve");
}

#[test]
fn a_gate_that_counts_wrongly() {
    gate(|view| view.count += 1, "gate 2");
}

#[test]
fn a_gate_with_a_receiver_too_many() {
    gate(|view| view.receivers += 1, "gate 2");
}

#[test]
fn a_gate_that_was_freed_while_handles_name_it() {
    gate(|view| (view.header.generation, view.header.dying) = (0, false), "");
}

#[test]
fn a_pulse_that_waits_but_was_not_raised() {
    let change: fn(&mut PulseView) = |view| view.pending = false;
    finds(Corruption { pulse: Some((1, change)), ..Corruption::default() }, "Pulse(1)");
}

#[test]
fn a_connection_with_a_handle_too_many() {
    let change: fn(&mut ConnectionView) = |view| view.count += 1;
    finds(Corruption { connection: Some((1, change)), ..Corruption::default() }, "connection 1");
}

#[test]
fn ram_that_is_mapped_like_a_device() {
    let change: fn(&mut MemoryView) = |view| view.kind = abi::object::MemoryType::Device as u8;
    // Init's stack.
    finds(Corruption { memory: Some((1, change)), ..Corruption::default() }, "cache type");
}

#[test]
fn a_quota_that_does_not_add_up() {
    let change: fn(&mut ProcessView<SpaceName>) = |view| view.used.gates += 1;
    finds(Corruption { process: Some((2, change)), ..Corruption::default() }, "process 2");
}

#[test]
fn a_handle_to_what_is_not_made_yet() {
    let change: fn(&mut EntryView) = |entry| entry.object.1 += 2;
    finds(Corruption { entry: Some((3, change)), ..Corruption::default() }, "names");
}
