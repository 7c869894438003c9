//! Destruction goes in bounded pieces, whoever repeats it, and returns exactly what was held.

use std::cell::Cell;

use abi::object::{access, memory, process};
use abi::{Error, Handle, Quota, Rights};
use kernel::Kernel;
use simulator::processor::{Processor, Settings};
use simulator::scenario::{Log, Plan, QUOTA, Root, quota_bytes};
use simulator::simulation;

const PLACE: u64 = 0x60_0000_0000;
const PAGE: u64 = abi::PAGE_SIZE;
const SCRATCH: u64 = abi::boot::STACK_TOP - 3000;
const KINDS: [abi::object::Kind; 7] = [
    abi::object::Kind::Process,
    abi::object::Kind::Thread,
    abi::object::Kind::Baton,
    abi::object::Kind::Gate,
    abi::object::Kind::Connection,
    abi::object::Kind::Pulse,
    abi::object::Kind::Memory,
];

/// Make so many objects by a method, whose handles nobody keeps.
async fn make(root: &Root, count: u32, target: Handle, method: u16, words: [u64; 4]) {
    for _ in 0..count {
        let made = root.user.method(target, method, words).ok().await.handle();
        root.close(made).await;
    }
}

#[test]
fn a_process_with_10_000_objects_and_1_gib_goes_in_pieces_while_others_meet_their_deadlines() {
    const OBJECTS: u32 = 10_000;
    const HALF: u64 = (1 << 29) / PAGE;
    /// Most objects and records that may go between two looks at what is pending.
    const GONE: u32 = 16;
    /// How late a stronger thread may be, simulated ns: a few steps.
    const LATE: u64 = 2_000;
    let capacities = kernel::Capacities {
        threads: 4096,
        batons: 4096,
        gates: 2048,
        pulses: 4096,
        memories: 4096,
        frames: 8192,
        ..simulation::capacities()
    };
    let settings = Settings {
        capacities,
        check_every: 1 << 20,
        objects_every: 1 << 20,
        patience: 20_000_000,
        ..Settings::default()
    };
    let earlier = Cell::new((0, 0));
    let watch = move |kernel: &Kernel<Processor>| {
        let objects = KINDS.iter().map(|kind| kernel.objects(*kind)).sum::<u32>();
        let now = (objects, kernel.pages_in_use().1);
        let (objects, records) = earlier.replace(now);
        assert!(
            objects.saturating_sub(now.0) <= GONE && records.saturating_sub(now.1) <= GONE,
            "too much in one piece"
        );
    };
    let body = |root: Root| async move {
        let before = root.usage(Handle::SELF_PROCESS).await.used;
        let quota = Quota {
            threads: 2600,
            batons: 2600,
            gates: 1100,
            pulses: 2600,
            memories: 1600,
            mappings: 1100,
            pages: 1200,
            ..QUOTA
        };
        let keeper = root.process().await;
        let spent = root.usage(Handle::SELF_PROCESS).await.used;
        root.user.store(SCRATCH, &quota_bytes(&quota)).await.unwrap();
        let victim = root.user.method(Handle::SELF_PROCESS, process::CREATE_PROCESS, [77, 0, 0, 0]);
        let victim = victim.send(SCRATCH, 40).ok().await.handle();
        let gate = root.own_gate();
        make(&root, 2500, victim, process::CREATE_THREAD, [0; 4]).await;
        make(&root, 2500, victim, process::CREATE_BATON, [5, 0, 0, 0]).await;
        make(&root, 1000, victim, process::CREATE_GATE, [0; 4]).await;
        make(&root, 2500, victim, process::CREATE_PULSE, [gate.0, 1, 0, 0]).await;
        let all = root.memory(HALF).await;
        make(&root, 1500, all, memory::DERIVE, [victim.0, 0, PAGE, u64::from(Rights::ALL.0)]).await;
        for at in 0..2 {
            let mapped = root.map(victim, all, PLACE + at * (HALF * PAGE), access::READ, HALF).await;
            assert_eq!(mapped.error(), None);
        }
        // And a thousand records of a page each.
        for at in 0..1000 {
            let mapped = root.map(victim, all, PLACE + (1 << 34) + at * 2 * PAGE, access::READ, 1).await;
            assert_eq!(mapped.error(), None);
        }
        let used = root.usage(victim).await.used;
        assert_eq!(used.threads + used.batons + used.gates + used.pulses + used.memories, OBJECTS);

        let alarm_gate = root.gate(&keeper).await;
        let pulse = root.pulse(&keeper, alarm_gate, 1, 200, true, Handle::NONE).await;
        let gate = root.give_gate(&keeper, alarm_gate).await;
        let (kept, latest) = (std::rc::Rc::new(Cell::new(0_u64)), std::rc::Rc::new(Cell::new(0_u64)));
        let (count, late) = (kept.clone(), latest.clone());
        let start = root.user.now() + 200_000;
        root.start(Plan::new(&keeper, "keeper").priority(200), |user| async move {
            while let message = user.receive(gate).await
                && message.error() != Some(Error::Gone)
            {
                assert_eq!(message.words[0], 1, "a period was missed");
                count.set(count.get() + 1);
                late.set(late.get().max(user.now() - (start + (count.get() - 1) * 20_000)));
            }
        })
        .await;
        root.alarm(pulse, start, 20_000).await;
        root.sleep(300_000).await;
        let begun = kept.get();
        let mut pieces = 0;
        loop {
            let answer = root.user.method(Handle::SELF_PROCESS, process::DESTROY, [victim.0, 0, 0, 0]).await;
            match answer.error() {
                None => break,
                Some(error) => assert_eq!(error, Error::More),
            }
            pieces += 1;
        }
        assert!(pieces >= OBJECTS / GONE && kept.get() - begun > 5, "{pieces} pieces, {} periods", kept.get() - begun);
        assert!(latest.get() < LATE, "{} ns late", latest.get());
        root.destroy(all).await;
        root.destroy(pulse).await;
        root.destroy(alarm_gate).await;
        let after = root.usage(Handle::SELF_PROCESS).await.used;
        assert_eq!(Quota { memories: 0, ..after }, Quota { memories: 0, ..spent });
        root.destroy(keeper.handle).await;
        let after = root.usage(Handle::SELF_PROCESS).await.used;
        assert_eq!(Quota { memories: 0, ..after }, Quota { memories: 0, ..before });
    };
    simulation::run_watched(1, settings, body, watch);
}

/// A process of root's with a child that has some of everything; the child's handle in root's and in its table.
pub(crate) async fn family(root: &Root) -> (simulator::scenario::Process, Handle, Handle) {
    let parent = root
        .process_with(Quota {
            processes: 8,
            threads: 60,
            batons: 60,
            gates: 40,
            pulses: 40,
            memories: 60,
            mappings: 200,
            pages: 200,
            ..QUOTA
        })
        .await;
    let share = Quota {
        processes: 1,
        threads: 20,
        batons: 20,
        gates: 12,
        pulses: 12,
        memories: 20,
        mappings: 30,
        pages: 60,
        ..Quota::default()
    };
    root.user.store(SCRATCH, &quota_bytes(&Quota { priority: 50, ..share })).await.unwrap();
    let victim = root.user.method(parent.handle, process::CREATE_PROCESS, [99, 0, 0, 0]);
    let victim = victim.send(SCRATCH, 40).ok().await.handle();
    root.user.store(SCRATCH, &quota_bytes(&Quota { pages: 4, priority: 5, ..Quota::default() })).await.unwrap();
    let child = root.user.method(victim, process::CREATE_PROCESS, [100, 0, 0, 0]).send(SCRATCH, 40).ok().await.handle();
    root.close(child).await;
    make(root, 12, victim, process::CREATE_THREAD, [0; 4]).await;
    make(root, 12, victim, process::CREATE_BATON, [5, 0, 0, 0]).await;
    make(root, 10, victim, process::CREATE_GATE, [0; 4]).await;
    make(root, 10, victim, process::CREATE_PULSE, [root.own_gate().0, 1, 0, 0]).await;
    // Memory of its own, in parts, mapped in both.
    let all = root.memory(16).await;
    let own =
        root.user.method(all, memory::DERIVE, [victim.0, 0, 16 * PAGE, u64::from(Rights::ALL.0)]).ok().await.handle();
    make(root, 6, own, memory::DERIVE, [victim.0, 0, PAGE, u64::from(Rights::ALL.0)]).await;
    for at in 0..9 {
        assert_eq!(root.map(victim, own, PLACE + at * 64 * PAGE, access::READ, 2).await.error(), None);
    }
    assert_eq!(root.map(parent.handle, own, PLACE, access::READ, 16).await.error(), None);
    root.close(own).await;
    let given = root.give(&parent, victim, Rights::ALL).await;
    (parent, victim, given)
}

fn but_memories(used: Quota) -> Quota {
    Quota { memories: 0, ..used }
}

#[test]
fn a_destroyer_killed_after_any_piece_changes_nothing() {
    // Until it is not killed any more.
    for pieces in 0.. {
        let done = std::rc::Rc::new(Cell::new(false));
        let finished = done.clone();
        simulation::run(pieces, Settings { check_every: 7, ..Settings::default() }, move |root| async move {
            let before = root.usage(Handle::SELF_PROCESS).await.used;
            let (parent, victim, given) = family(&root).await;
            let log = Log::new();
            let noted = log.clone();
            root.start(Plan::new(&parent, "destroyer").priority(30), |user| async move {
                for _ in 0..pieces {
                    let answer = user.method(Handle::SELF_PROCESS, process::DESTROY, [given.0, 0, 0, 0]).await;
                    if answer.error().is_none() {
                        finished.set(true);
                        break;
                    }
                }
                noted.note("so far");
            })
            .await;
            root.until_noted(&log, 1).await;
            // Dead since the first piece.
            let alive = root.user.method(victim, process::IDENTITY, [0; 4]).await.error().is_none();
            assert_eq!(alive, pieces == 0);
            root.destroy(parent.handle).await;
            root.close(victim).await;
            assert_eq!(but_memories(root.usage(Handle::SELF_PROCESS).await.used), but_memories(before));
        });
        if done.get() {
            assert!(pieces > 10, "gone in {pieces} pieces");
            break;
        }
    }
}
