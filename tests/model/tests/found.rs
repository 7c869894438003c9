//! Programs with which kernel and model once differed, as short as they could be made.

use model::Program;
use model::action::{Action, Load, Order, Patience, Wishes};
use model::program::{ROLES, SPARES, THREADS};
use model::run_closely;

/// What threads of roles do, and what the supervisor does.
fn agree(seed: u64, threads: &[((usize, usize), &[Action])], orders: &[Order]) {
    let mut actions = vec![Vec::new(); ROLES * THREADS + SPARES];
    for ((role, thread), script) in threads {
        actions[role * THREADS + thread] = script.to_vec();
    }
    let program = Program { seed, actions, orders: orders.to_vec(), wrong: false };
    if let Err(difference) = run_closely(&program) {
        panic!("{difference}");
    }
}

const fn call(connection: u8, retry: bool) -> Action {
    let wishes = Wishes { interruptible: false, no_grace: false, retry, charge_me: false, for_answer: false };
    let load = Load { bytes: (0, 0), word: 7, gifts: [None, None], slots: 0 };
    Action::Call { connection, patience: Patience::Endless, load, wishes }
}

const fn receive(gate: u8, patience: Patience) -> Action {
    let load = Load { bytes: (0, 0), word: 0, gifts: [None, None], slots: 0 };
    Action::Receive { gate, patience, load, interruptible: false, holds: false }
}

#[test]
fn a_thread_that_waits_and_gets_its_baton_back_waits_with_it() {
    let orders = [Order::Sleep(23_527), Order::SetBaton(2, 0, false), Order::SetBaton(2, 0, true)];
    agree(0, &[((2, 0), &[call(3, false)])], &orders);
}

#[test]
fn a_passive_thread_that_waits_on_its_gates_reserve_does_not_lose_it() {
    let actions = [receive(1, Patience::Until(24_598)), call(2, true)];
    let orders =
        [Order::Sleep(60_000), Order::SetBaton(1, 0, false), Order::Sleep(6_237), Order::SetBaton(1, 0, false)];
    agree(6, &[((1, 0), &actions)], &orders);
}

#[test]
fn a_parked_thread_does_not_keep_its_gates_reserve_from_others() {
    let script = [receive(0, Patience::Endless)];
    let orders = [Order::Sleep(27_236), Order::SetBaton(1, 0, false), Order::SetBaton(1, 1, false)];
    agree(1, &[((1, 0), &script), ((1, 1), &script)], &orders);
}

#[test]
fn a_request_that_is_queued_again_waits_with_the_baton_its_caller_was_given_meanwhile() {
    let server = [receive(1, Patience::Poll), receive(1, Patience::Until(40_511))];
    let orders = [Order::Sleep(9_779), Order::SetBaton(0, 1, false), Order::SetBaton(0, 1, true), Order::Kill(1)];
    agree(101_690, &[((0, 1), &[call(1, true)]), ((1, 1), &server)], &orders);
}
