//! Threads that wait for each other in the worst ways that are known, and what a change among them keeps the kernel busy for: how
//! urgent a thread is goes on over the gates that it waits at, and who helps whom.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use abi::thread::Policy;
use abi::{Error, Handle};
use runtime::Message;
use runtime::object::process::Accumulate;
use runtime::object::{baton, gate, process, pulse, thread};

use crate::mark;
use crate::world::World;
use crate::worst::{BATONS, CHAIN, MANY, THREADS, clear, end_itself, load, spawn};

/// Threads in each other's requests behind each gate of the web.
const NESTED: usize = 14;
/// Others that wait at each gate.
const CROWD: usize = 40;
/// Pulses that tell one death.
const DEATH_PULSES: u8 = 8;
/// Threads of the tree: the leaves' batons help its root.
const TREE: usize = 511;

/// Priorities, all below that of what measures: of who is on its way to where it waits, of who waits there, of a crowd's first.
const MOVING: u8 = 90;
const WAITING: u8 = 40;
const CROWDED: u8 = 45;
/// Above all that wait.
const URGENT: u8 = 70;

/// Where each thread receives, and whom it asks then.
static GATES: [AtomicU64; MANY] = [const { AtomicU64::new(0) }; MANY];
static ASKED: [AtomicU64; MANY] = [const { AtomicU64::new(0) }; MANY];
/// The connections to those gates.
static CONNECTIONS: [AtomicU64; MANY] = [const { AtomicU64::new(0) }; MANY];

/// Receives once, if it has a gate, and asks another one meanwhile, or works for ever.
extern "C" fn pass_on(number: u64) -> ! {
    let (own, next) = (load(&GATES[number as usize % MANY]), load(&ASKED[number as usize % MANY]));
    if !own.is_none() && runtime::receive_words(own).is_err() {
        end_itself(number);
    }
    while next.is_none() {
        core::hint::spin_loop();
    }
    // Whatever comes of it.
    let _ = runtime::call_words(next, Message::default());
    end_itself(number)
}

/// A thread of that kind.
fn place(number: usize, receives: bool, asked: Handle) -> Result<Handle, Error> {
    let own = if receives { process::create_gate(Handle::SELF_PROCESS, Handle::NONE, 0)? } else { Handle::NONE };
    let connection = if receives { gate::connect(own, 7, 0)? } else { Handle::NONE };
    GATES[number].store(own.0, Relaxed);
    CONNECTIONS[number].store(connection.0, Relaxed);
    ASKED[number].store(asked.0, Relaxed);
    spawn(number, pass_on, MOVING)?;
    Ok(connection)
}

fn strength(number: usize, priority: u8) -> Result<(), Error> {
    baton::set(load(&BATONS[number]), priority, Policy::RoundRobin, 0)
}

/// Destroy the gates that are left, and all threads.
fn end(count: usize) -> Result<(), Error> {
    for (gate, connection) in GATES.iter().zip(&CONNECTIONS).take(count) {
        if !load(gate).is_none() {
            process::destroy(load(gate))?;
            runtime::handle::close(load(connection));
        }
    }
    clear(count)
}

/// 16 threads, each of which waits at the next one's gate, where a crowd waits too, and works on the request of the last of a
/// chain of others. Each crowd is stronger than the one before.
fn weave(world: &World) -> Result<usize, Error> {
    let (mut next, mut number) = (Handle::NONE, CHAIN);
    for link in (0..CHAIN).rev() {
        next = place(link, true, next)?;
        let mut asked = next;
        for _ in 0..NESTED {
            asked = place(number, true, asked)?;
            number += 1;
        }
        place(number, false, asked)?;
        world.rest(1_000_000)?;
        strength(number, WAITING)?;
        number += 1;
    }
    for (link, crowded) in CONNECTIONS.iter().take(CHAIN).enumerate() {
        for _ in 0..CROWD {
            place(number, false, load(crowded))?;
            world.rest(50_000)?;
            strength(number, CROWDED + link as u8)?;
            number += 1;
        }
    }
    Ok(number)
}

/// Pulses with ever stronger batons are raised at the first gate at once, by a death; then they are taken back.
fn deaths() -> Result<(), Error> {
    let own = Handle::SELF_PROCESS;
    let dies = process::create_thread(own, Handle::NONE)?;
    let mut told = [(Handle::NONE, Handle::NONE); DEATH_PULSES as usize];
    for (number, place) in told.iter_mut().enumerate() {
        // What is bound last is raised first.
        let carried = process::create_baton(own, URGENT + DEATH_PULSES - number as u8, Policy::RoundRobin, 0)?;
        let pulse = process::create_pulse(own, load(&GATES[0]), 1, Accumulate::Or, u8::MAX, carried)?;
        pulse::bind_death(pulse, dies)?;
        *place = (pulse, carried);
    }
    process::destroy(dies)?;
    told.into_iter().try_for_each(|(pulse, carried)| process::destroy(pulse).and_then(|()| process::destroy(carried)))
}

pub(crate) fn web(world: &World) -> Result<(), Error> {
    let count = weave(world)?;
    // The chain of which all else depends, and who began it.
    let first = CHAIN + CHAIN * (NESTED + 1) - 1;
    mark::begin();
    for _ in 0..2 {
        strength(first, URGENT)?;
        world.rest(20_000)?;
        strength(first, WAITING)?;
        world.rest(20_000)?;
    }
    deaths()?;
    // Those who work stop and go on; the last one, the first, and who began the chain end.
    strength(first, URGENT)?;
    thread::stop(load(&THREADS[CHAIN - 1]))?;
    world.rest(20_000)?;
    thread::resume(load(&THREADS[CHAIN - 1]))?;
    world.rest(20_000)?;
    for number in [first, 0, CHAIN - 1] {
        process::destroy(load(&THREADS[number]))?;
        world.rest(20_000)?;
    }
    end(count)?;
    mark::pause();
    world.rest(1_000_000)
}

/// A binary tree of threads: each works on the request of one, and another one waits at its gate. The root works on the batons of all leaves; it
/// stops, and nobody can run on any of them.
pub(crate) fn tree(world: &World) -> Result<(), Error> {
    // Whose parent is number n are 2n + 1 and 2n + 2.
    for branch in (0..TREE).step_by(2) {
        let (mut number, mut leaf) = (branch, branch);
        let mut asked = if branch == 0 { Handle::NONE } else { load(&CONNECTIONS[branch / 2 - 1]) };
        while number < TREE {
            asked = place(number, number * 2 + 1 < TREE, asked)?;
            leaf = number;
            number = number * 2 + 1;
        }
        world.rest(200_000)?;
        strength(leaf, WAITING)?;
    }
    mark::begin();
    thread::stop(load(&THREADS[0]))?;
    world.rest(1_000_000)?;
    thread::resume(load(&THREADS[0]))?;
    world.rest(1_000_000)?;
    process::destroy(load(&THREADS[0]))?;
    world.rest(1_000_000)?;
    mark::pause();
    end(TREE)
}
