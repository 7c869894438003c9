//! What the kernel holds for all but the asker and what it asked to change, to be compared over the very step in which
//! something is refused.

use std::collections::BTreeMap;

use abi::object::Kind;
use kernel::Kernel;
use kernel::inspect::MappingView;
use simulator::Processor;

/// Init is the asker.
const ASKER: u32 = 1;

/// By the identity of the process: what there is, in words.
pub(super) type Others = BTreeMap<u64, Vec<String>>;

/// Of all processes.
pub(super) fn look(kernel: &Kernel<Processor>) -> Others {
    let mut others = Others::new();
    for index in 1..kernel.slots(Kind::Process) {
        let process = kernel.view_process(index);
        if process.header.charged() {
            others.insert(process.identity, of_process(kernel, index));
        }
    }
    others
}

/// What is not in both, of all but one.
pub(super) fn changed(before: &Others, after: &Others, but: u64) -> Vec<String> {
    let only = |one: &Others, other: &Others, when: &str| {
        let mut words = Vec::new();
        for (identity, lines) in one.iter().filter(|(identity, _)| **identity != but) {
            let there = other.get(identity).map(Vec::as_slice).unwrap_or_default();
            let gone = lines.iter().filter(|line| !there.contains(line));
            words.extend(gone.map(|line| format!("{when}, process {identity}: {line}")));
        }
        words
    };
    [only(before, after, "before"), only(after, before, "after")].concat()
}

fn of_process(kernel: &Kernel<Processor>, index: u32) -> Vec<String> {
    let mut process = kernel.view_process(index);
    // Records and page tables of what was split may stay: they are compared by what they mean.
    for used in [&mut process.used.mappings, &mut process.used.pages] {
        *used = 0;
    }
    let mut words = vec![format!("{process:x?}")];
    kernel.entries(index, |entry| words.push(format!("{entry:x?}")));
    kernel.possessions(index, |kind, object| words.push(of_object(kernel, kind, object)));
    words.extend(mapped(kernel, index));
    for thread in 1..kernel.slots(Kind::Thread) {
        let view = kernel.view_thread(thread);
        if view.process == index && index != ASKER && view.header.alive() {
            words.push(format!("{view:x?}"));
        }
    }
    words
}

fn of_object(kernel: &Kernel<Processor>, kind: Kind, index: u32) -> String {
    match kind {
        Kind::Baton => {
            let baton = kernel.view_baton(index);
            // Where it is queued changes when the processor goes to another.
            format!("{index} {:x?} {} {} {}", baton.header, baton.priority, baton.owned, baton.reserve_of)
        }
        Kind::Gate => {
            let mut words = format!("{index} {:x?}", kernel.view_gate(index));
            kernel.waiters(index, |waiter| words += &format!(" {waiter:?}"));
            words
        }
        Kind::Connection => format!("{index} {:x?}", kernel.view_connection(index)),
        Kind::Pulse => format!("{index} {:x?}", kernel.view_pulse(index)),
        Kind::Memory => {
            let memory = kernel.view_memory(index);
            format!("{index} {:x?} {:#x} {:#x} {}", memory.header, memory.base, memory.length, memory.parent)
        }
        // Threads and processes are looked at for themselves.
        _ => format!("{index} {kind:?}"),
    }
}

/// A run of addresses, where in which Memory it is, and the access to it.
#[derive(Debug)]
struct Run {
    start: u64,
    end: u64,
    offset: u64,
    memory: u32,
    access: (u8, u8),
}

/// What is mapped where, whatever records say it.
fn mapped(kernel: &Kernel<Processor>, index: u32) -> Vec<String> {
    let mut runs: Vec<Run> = Vec::new();
    kernel.mappings(index, |id| {
        let MappingView { memory, address: start, done, offset, access, .. } = kernel.view_mapping(id);
        let end = start + done * abi::PAGE_SIZE;
        match runs.last_mut() {
            Some(last)
                if (last.end, last.memory, last.access) == (start, memory, access)
                    && last.offset + (start - last.start) == offset =>
            {
                last.end = end;
            }
            _ => runs.push(Run { start, end, offset, memory, access }),
        }
    });
    runs.iter().map(|run| format!("{run:x?}")).collect()
}
