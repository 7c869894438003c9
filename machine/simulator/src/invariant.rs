//! What must hold of the kernel's state between any two steps, whatever programs do.

use std::collections::{BTreeMap, BTreeSet};

use abi::object::Kind;
use abi::thread::State;
use abi::{Handle, Quota};
use kernel::Kernel;
use kernel::inspect::{HeaderView, ThreadView, WaiterView};

use crate::processor::{BOOT_TIME, Processor, World};

type K = Kernel<Processor>;

/// Kinds of objects.
const KINDS: [Kind; 7] =
    [Kind::Process, Kind::Thread, Kind::Baton, Kind::Gate, Kind::Connection, Kind::Pulse, Kind::Memory];

fn header(kernel: &K, kind: Kind, index: u32) -> HeaderView {
    match kind {
        Kind::Process => kernel.view_process(index).header,
        Kind::Thread => kernel.view_thread(index).header,
        Kind::Baton => kernel.view_baton(index).header,
        Kind::Gate => kernel.view_gate(index).header,
        Kind::Connection => kernel.view_connection(index).header,
        Kind::Pulse => kernel.view_pulse(index).header,
        _ => kernel.view_memory(index).header,
    }
}

fn all(kernel: &K, kind: Kind) -> impl Iterator<Item = u32> {
    let slots = kernel.slots(kind);
    let charged: Vec<u32> = (1..slots).filter(|index| header(kernel, kind, *index).charged()).collect();
    charged.into_iter()
}

/// What holds at every step: cheap.
pub fn check_schedule(kernel: &K, world: &World) {
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
fn urgency(kernel: &K, index: u32) -> u8 {
    let (mut at, mut urgency) = (index, 0);
    for _ in 0..16 {
        let thread = kernel.view_thread(at);
        urgency = urgency.max(kernel.view_baton(thread.current).priority);
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
        if caller == 0 || served.request != thread.serving || served.state != State::Reply {
            break;
        }
        at = caller;
    }
    urgency
}

/// Every thread is runnable, or waits for a reason that can be named, and whatever could end its wait knows of it.
fn check_thread(kernel: &K, index: u32, thread: &ThreadView) {
    let say = || format!("thread {index}: {thread:?}");
    assert_eq!(thread.timed, thread.alarm, "{}", say());
    if thread.current != 0 {
        let baton = kernel.view_baton(thread.current);
        assert!(baton.header.alive(), "{} runs on a dead baton", say());
    }
    if thread.own != 0 {
        assert!(kernel.view_baton(thread.own).header.alive() && kernel.view_baton(thread.own).owned, "{}", say());
    }
    if thread.header.dying || !thread.header.alive() {
        assert_eq!(thread.state, State::Dead, "{}", say());
    }
    let queued = match thread.state {
        State::Send => true,
        State::Reply => thread.leaving && thread.queued,
        // Stuck, in its gate's list of those that are.
        State::Ready | State::Running => thread.current == 0 && thread.gate != 0,
        _ => false,
    };
    assert_eq!(thread.queued, queued, "{}", say());
    match thread.state {
        State::Send => {
            let gate = kernel.view_gate(thread.target as u32 & 0xffff);
            if gate.header.alive() {
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
        State::Reply => {
            let process = kernel.view_process(thread.answerer);
            assert!(process.header.charged(), "{} waits for a process that is gone", say());
        }
        State::Receive => {
            let gate = kernel.view_gate(thread.gate);
            assert!(thread.gate != 0 && gate.header.charged(), "{} receives at no gate", say());
            assert!(gate.parked != 0, "{} is not parked", say());
            assert_eq!(thread.serving, 0, "{}", say());
        }
        State::Ready | State::Running => {
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
        State::Dead => {
            assert!(thread.current == 0 && thread.gate == 0 && thread.serving == 0 && !thread.works, "{}", say())
        }
        State::Fault => unreachable!(),
    }
    assert_eq!(thread.request & 0xffff, if thread.request == 0 { 0 } else { u64::from(index) }, "{}", say());
}

/// Everything else: dearer.
pub fn check_objects(kernel: &K, world: &World) {
    let mut counts: BTreeMap<(u32, u8), u32> = BTreeMap::new();
    for kind in KINDS {
        let live = all(kernel, kind).collect::<Vec<_>>();
        assert_eq!(live.len(), kernel.objects(kind) as usize, "{kind:?}: slots in use");
        for index in live {
            *counts.entry((header(kernel, kind, index).owner, kind as u8)).or_default() += 1;
        }
    }
    for line in 0..24 {
        let (takers, unarmed, counted) = kernel.line_takers(line);
        assert_eq!(unarmed, counted, "takers of line {line} that have not re-armed");
        assert_eq!(
            world.is_masked(line),
            takers == 0 || unarmed != 0,
            "line {line}: {takers} takers, {unarmed} not armed"
        );
    }
    check_gates(kernel);
    check_connections(kernel);
    check_memory(kernel, world);

    // Quotas are exact.
    let mut frames = 0;
    for index in all(kernel, Kind::Process) {
        let process = kernel.view_process(index);
        let count = |kind: Kind| counts.get(&(index, kind as u8)).copied().unwrap_or(0);
        let mut used = Quota {
            processes: count(Kind::Process),
            threads: count(Kind::Thread),
            batons: count(Kind::Baton),
            gates: count(Kind::Gate),
            connections: count(Kind::Connection),
            pulses: count(Kind::Pulse),
            memories: count(Kind::Memory),
            mappings: 0,
            pages: process.handle_pages,
            priority: process.used.priority,
        };
        kernel.mappings(index, |_| used.mappings += 1);
        if let Some((tables, _)) = world.space_figures(process.space) {
            used.pages += tables as u32;
            frames += tables as u32;
        }
        let mut owned = 0;
        kernel.possessions(index, |kind, object| {
            assert_eq!(header(kernel, kind, object).owner, index, "{kind:?} {object} is in a list of process {index}");
            owned += 1;
        });
        assert_eq!(owned, KINDS.iter().map(|kind| count(*kind)).sum::<u32>(), "possessions of process {index}");
        for child in all(kernel, Kind::Process) {
            let child = kernel.view_process(child);
            if child.header.owner == index {
                used.processes += child.limit.processes;
                used.threads += child.limit.threads;
                used.batons += child.limit.batons;
                used.gates += child.limit.gates;
                used.connections += child.limit.connections;
                used.pulses += child.limit.pulses;
                used.memories += child.limit.memories;
                used.mappings += child.limit.mappings;
                used.pages += child.limit.pages;
            }
        }
        assert_eq!(
            process.used, used,
            "what process {index} (identity {}) uses, by its account and by count",
            process.identity
        );
    }
    // One frame more: init's boot record.
    assert_eq!(kernel.pages_in_use().2, frames + 1, "frames in use");
}

fn check_gates(kernel: &K) {
    let mut receivers: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for index in all(kernel, Kind::Thread) {
        let thread = kernel.view_thread(index);
        if thread.gate != 0 {
            receivers.entry(thread.gate).or_default().push(index);
        }
    }
    let mut seen = BTreeSet::new();
    for index in all(kernel, Kind::Gate) {
        let gate = kernel.view_gate(index);
        let say = || format!("gate {index}: {gate:?}");
        assert_eq!(gate.word_generation, gate.header.generation, "{}", say());
        let mut count = 0;
        kernel.waiters(index, |waiter| {
            count += 1;
            let key = match waiter {
                WaiterView::Caller(thread) => {
                    let thread = kernel.view_thread(thread);
                    assert_eq!(thread.state, State::Send, "{waiter:?} of {}", say());
                    thread.target
                }
                WaiterView::Pulse(pulse) => {
                    let pulse = kernel.view_pulse(pulse);
                    assert!(pulse.header.alive() && pulse.pending, "{waiter:?} of {}", say());
                    pulse.gate
                }
                WaiterView::Closed(connection) => {
                    let connection = kernel.view_connection(connection);
                    assert!(connection.header.alive() && connection.count == 0, "{waiter:?} of {}", say());
                    connection.gate
                }
                WaiterView::Unblock(thread) => {
                    let thread = kernel.view_thread(thread);
                    assert!(thread.state == State::Reply && thread.leaving, "{waiter:?} of {}", say());
                    thread.target
                }
            };
            assert_eq!(key as u32 & 0xffff, index, "{waiter:?} of {}", say());
            assert!(seen.insert(format!("{waiter:?}")), "{waiter:?} waits twice");
        });
        assert_eq!((count, count != 0), (gate.count, gate.waiting), "{}", say());
        let members = receivers.remove(&index).unwrap_or_default();
        let looks = members.iter().any(|member| kernel.view_thread(*member).works);
        assert!(
            !gate.header.alive() || gate.parked == 0 || count == 0 || looks,
            "{} has waiters and a parked receiver",
            say()
        );
        assert_eq!(members.len(), gate.receivers as usize, "{}", say());
        assert_eq!(gate.several, members.len() > 1, "{}", say());
        let mut parked = BTreeSet::new();
        let mut busy = BTreeSet::new();
        if gate.several {
            for (first, set) in [(gate.parked, &mut parked), (gate.busy_first, &mut busy)] {
                let mut at = first;
                while at != 0 {
                    assert!(set.insert(at), "a cycle in a list of {}", say());
                    at = kernel.view_thread(at).receiver_next;
                }
            }
        } else if let [only] = members[..] {
            assert_eq!(gate.only, only, "{}", say());
            if gate.parked == 0 { &mut busy } else { &mut parked }.insert(only);
            assert!(gate.parked == 0 || gate.parked == only, "{}", say());
        } else {
            assert!(gate.parked == 0 && gate.only == 0, "{}", say());
        }
        for member in members {
            let receives = kernel.view_thread(member).state == State::Receive;
            assert_eq!(
                (parked.contains(&member), busy.contains(&member)),
                (receives, !receives),
                "thread {member} of {}",
                say()
            );
        }
    }
    assert!(receivers.is_empty(), "threads receive at gates that are gone: {receivers:?}");
    for index in all(kernel, Kind::Pulse) {
        let pulse = kernel.view_pulse(index);
        assert_eq!(pulse.pending, pulse.queued, "pulse {index}: {pulse:?}");
    }
}

fn check_connections(kernel: &K) {
    let mut counts: BTreeMap<(u32, u32), u32> = BTreeMap::new();
    for process in all(kernel, Kind::Process) {
        let mut used = 0;
        let fixed = u64::from(Handle::FIRST_FREE_INDEX);
        kernel.entries(process, |entry| used += u32::from(entry.handle & 0xffff >= fixed));
        let slots = (kernel.view_process(process).handle_pages * 64).saturating_sub(fixed as u32);
        if !kernel.view_process(process).teardown {
            assert_eq!(used + kernel.free_handles(process), slots, "handle slots of process {process}");
        }
        kernel.entries(process, |entry| {
            if entry.kind == Kind::Connection as u8 {
                *counts.entry(entry.object).or_default() += 1;
            }
            assert!(Handle(entry.handle).generation() != 0);
        });
    }
    for index in all(kernel, Kind::Thread) {
        let connection = kernel.view_thread(index).fault_connection;
        if connection.0 != 0 {
            *counts.entry(connection).or_default() += 1;
        }
    }
    for index in all(kernel, Kind::Connection) {
        let connection = kernel.view_connection(index);
        let count = counts.get(&(index, connection.header.generation)).copied().unwrap_or(0);
        assert_eq!(connection.count, count, "connection {index}: {connection:?}");
        if count == 0 && connection.header.alive() && !connection.queued {
            // Its server is being told.
            let told = all(kernel, Kind::Thread).any(|thread| kernel.view_thread(thread).closes == index);
            assert!(told, "connection {index} is in nobody's hands: {connection:?}");
        }
    }
}

fn check_memory(kernel: &K, world: &World) {
    world.check_spaces();
    let mut records = 0;
    for index in all(kernel, Kind::Process) {
        let process = kernel.view_process(index);
        let mut end = 0;
        let mut described = 0;
        kernel.mappings(index, |id| {
            records += 1;
            let record = kernel.view_mapping(id);
            let say = || format!("record {id} of process {index}: {record:x?}");
            assert_eq!(record.process, index, "{}", say());
            assert!(record.address >= end && record.done <= record.pages, "{} overlaps", say());
            end = record.address + record.pages * abi::PAGE_SIZE;
            assert!(end <= abi::USER_END, "{}", say());
            let memory = kernel.view_memory(record.memory);
            assert!(memory.header.charged(), "{} maps nothing", say());
            assert!(
                record.offset + record.pages * abi::PAGE_SIZE <= memory.length,
                "{} is longer than {memory:x?}",
                say()
            );
            assert_eq!(record.access.0 & !record.access.1, 0, "{}", say());
            for page in 0..record.done {
                let translation = world.translation(process.space, record.address / abi::PAGE_SIZE + page);
                let expected = memory.base + record.offset + page * abi::PAGE_SIZE;
                match translation {
                    Some(translation) => {
                        assert_eq!(translation.physical, expected, "{}, page {page}", say());
                        assert_eq!(translation.access.bits, u64::from(record.access.0), "{}, page {page}", say());
                    }
                    // Without access there is none.
                    None => assert_eq!(record.access.0, 0, "{}, page {page}", say()),
                }
                described += u64::from(translation.is_some());
            }
        });
        if let Some((_, mapped)) = world.space_figures(process.space) {
            assert_eq!(mapped, described, "process {index} has translations that no record describes");
        }
    }
    assert_eq!(kernel.pages_in_use().1, records, "mapping records");
    let mut listed = 0;
    for index in all(kernel, Kind::Memory) {
        let memory = kernel.view_memory(index);
        let mut at = memory.mappings;
        while at != 0 {
            let record = kernel.view_mapping(at);
            assert_eq!(record.memory, index, "record {at} is in the list of Memory {index}");
            listed += 1;
            assert!(listed <= records, "a cycle in the list of Memory {index}");
            at = record.next;
        }
    }
    assert_eq!(listed, records, "records in the lists of Memories");
}
