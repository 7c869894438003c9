//! Objects, what they cost and who names them.

use std::collections::{BTreeMap, BTreeSet};

use abi::object::Kind;
use abi::thread::State as ThreadState;
use abi::{Handle, Quota};
use kernel::inspect::WaiterView;

use super::memory::check_memory;
use super::{KINDS, State, all, header};
use crate::processor::World;

/// Everything else: dearer.
pub fn check_objects(kernel: &State<'_>, world: &World) {
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
    check_handles(kernel);
    check_connections(kernel);
    check_alarms(kernel);
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

fn check_gates(kernel: &State<'_>) {
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
        let (mut count, mut last) = (0, u8::MAX);
        kernel.waiters(index, |waiter| {
            count += 1;
            if let WaiterView::Caller(caller) = waiter {
                let strength = kernel.view_thread(caller).waits_with;
                assert!(strength <= last, "{waiter:?} waits behind weaker ones at {}", say());
                last = strength;
            }
            let key = match waiter {
                WaiterView::Caller(thread) => {
                    let thread = kernel.view_thread(thread);
                    assert_eq!(thread.state, ThreadState::Send, "{waiter:?} of {}", say());
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
                    assert!(thread.state == ThreadState::Reply && thread.leaving, "{waiter:?} of {}", say());
                    thread.target
                }
            };
            assert_eq!(key as u32 & 0xffff, index, "{waiter:?} of {}", say());
            assert!(seen.insert(format!("{waiter:?}")), "{waiter:?} waits twice");
        });
        assert_eq!((count, count != 0), (gate.count, gate.waiting), "{}", say());
        if gate.reserve != 0 {
            let reserve = kernel.view_baton(gate.reserve);
            assert!(reserve.header.alive() && reserve.reserve_of == index, "reserve {reserve:?} of {}", say());
        }
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
            let receives = kernel.view_thread(member).state == ThreadState::Receive;
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
        assert!(pulse.queued || pulse.helps_with.is_none(), "pulse {index} helps, but waits nowhere: {pulse:?}");
    }
}

fn check_connections(kernel: &State<'_>) {
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

/// An entry names an object of its time: alive as long as their generations are the same.
fn check_handles(kernel: &State<'_>) {
    for process in all(kernel, Kind::Process) {
        kernel.entries(process, |entry| {
            let Some(kind) = Kind::from_number(entry.kind).filter(|kind| KINDS.contains(kind)) else { return };
            let (index, generation) = entry.object;
            let object = header(kernel, kind, index);
            let say = || format!("{entry:x?} of process {process} names {object:?}");
            assert!(generation & 1 == 1 && generation <= object.generation, "{}", say());
            assert!(generation != object.generation || object.charged(), "{}: it was freed", say());
        });
    }
    for index in all(kernel, Kind::Baton) {
        let baton = kernel.view_baton(index);
        let gate = kernel.view_gate(baton.reserve_of);
        assert!(baton.reserve_of == 0 || gate.reserve == index, "baton {index}: {baton:?} is no reserve of {gate:?}");
    }
}

/// Alarms are in order, and each thread that has one is among them.
fn check_alarms(kernel: &State<'_>) {
    let (mut last, mut count) = (0, 0);
    kernel.alarms(|due| {
        assert!(due >= last, "an alarm at {due} comes after one at {last}");
        last = due;
        count += 1;
    });
    let timed = all(kernel, Kind::Thread).filter(|index| kernel.view_thread(*index).alarm).count();
    assert!(timed <= count, "{timed} threads have alarms, of {count} in all");
}
