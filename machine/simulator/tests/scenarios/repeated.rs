//! Threads that repeat the pieces of one call at once: together they finish it once, nothing is lost and nothing done twice.

use std::future::Future;

use abi::object::{access, memory, process};
use abi::{Error, Handle, Quota, Rights};
use simulator::scenario::{Log, Plan, Process, QUOTA, Root, Thread};
use simulator::{Exchange, Settings, User, scenario_with};

use crate::teardown::family;

const PLACE: u64 = 0x60_0000_0000;
const PAGE: u64 = abi::PAGE_SIZE;
const RW: u64 = access::READ | access::WRITE;
/// How many do the same.
const THREADS: usize = 8;
/// Their slice, ns: a few pieces.
const SLICE: u64 = 1_000;

/// Often away from one thread to another.
const RESTLESS: Settings = Settings { spurious_per_mille: 150, objects_every: 17, ..Settings::ORDINARY };

/// Have threads of a process do the same, with their numbers; what each ended with.
async fn together<F>(root: &Root, process: &Process, body: impl Fn(User, usize) -> F + Copy + 'static) -> Vec<String>
where
    F: Future<Output = String> + 'static,
{
    let log = Log::new();
    let mut threads: Vec<Thread> = Vec::new();
    for number in 0..THREADS {
        let noted = log.clone();
        let plan = Plan::new(process, "one of many").round_robin(10, SLICE);
        let program = move |user: User| async move {
            let ended = body(user, number).await;
            noted.note(ended);
        };
        threads.push(root.start(plan, program).await);
    }
    root.until_noted(&log, THREADS).await;
    for thread in threads {
        for handle in [thread.handle, thread.baton] {
            root.destroy(handle).await;
        }
    }
    log.notes()
}

/// Repeat a call, with a pause between its pieces now and then.
async fn to_the_end(user: &User, mut call: Exchange) -> String {
    loop {
        let answer = call.clone().await;
        match answer.error() {
            Some(Error::More) => {}
            error => return ending(error),
        }
        call = call.go_on(&answer);
        let pause = user.world().random.below(1_500);
        let _ = user.compute(pause).await;
    }
}

fn ending(error: Option<Error>) -> String {
    error.map_or_else(|| "done".to_string(), |error| format!("{error:?}"))
}

fn count(notes: &[String], what: &str) -> usize {
    notes.iter().filter(|note| *note == what).count()
}

/// Half of them by one handle, half each by its own copy of it.
async fn destroy_together(root: &Root, process: &Process, shared: Handle) {
    let notes = together(root, process, move |user, number| async move {
        let mut handle = shared;
        if number % 2 == 1 {
            let copy =
                user.method(Handle::SELF_PROCESS, process::DUPLICATE, [shared.0, u64::from(Rights::ALL.0), 0, 0]);
            match copy.await {
                copy if copy.error().is_none() => handle = copy.handle(),
                // Dead already.
                copy => return ending(copy.error()),
            }
        }
        to_the_end(&user, user.method(Handle::SELF_PROCESS, process::DESTROY, [handle.0, 0, 0, 0])).await
    })
    .await;
    // Who came too late by the same handle, or for a copy of it, is told that there is none.
    assert_eq!(count(&notes, "done") + count(&notes, "BadHandle"), THREADS, "{notes:?}");
    assert!(count(&notes, "done") >= 1, "{notes:?}");
}

#[test]
fn many_threads_that_destroy_one_thing_at_once_destroy_it_once() {
    scenario_with(RESTLESS, |root| async move {
        let before = root.usage(Handle::SELF_PROCESS).await.used;
        let (parent, victim, given) = family(&root).await;
        destroy_together(&root, &parent, given).await;
        root.user.method(victim, process::IDENTITY, [0; 4]).fails(Error::BadHandle).await;
        root.close(victim).await;
        let used = root.usage(parent.handle).await.used;
        assert_eq!(used.processes + used.threads + used.gates + used.pulses + used.batons, 0, "{used:?}");

        // A gate with callers, and Memory in parts that is mapped many times.
        let gate = root.gate(&parent).await;
        let connection = root.give_connection(&parent, gate, 1).await;
        let told = Log::new();
        let mut callers = Vec::new();
        for number in 0..40 {
            let told = told.clone();
            let plan = Plan::new(&parent, "caller").priority(20 + number % 5);
            let program = move |user: User| async move {
                user.call(connection).fails(Error::Gone).await;
                told.note("gone");
            };
            callers.push(root.start(plan, program).await);
        }
        for caller in &callers {
            root.until_state(*caller, abi::thread::State::Send).await;
        }
        let given = root.give_gate(&parent, gate).await;
        destroy_together(&root, &parent, given).await;
        root.until_noted(&told, 40).await;
        for caller in callers {
            root.destroy(caller.handle).await;
            root.destroy(caller.baton).await;
        }
        root.close(gate).await;
        let all = root.memory(64).await;
        for at in 0..50 {
            let words = [parent.handle.0, at * PAGE, PAGE, u64::from(Rights::ALL.0)];
            let part = root.user.method(all, memory::DERIVE, words).ok().await.handle();
            let mapped = root.map(parent.handle, part, PLACE + at * 2 * PAGE, access::READ, 1).await;
            assert_eq!(mapped.error(), None);
            root.close(part).await;
        }
        let given = root.give(&parent, all, Rights::ALL).await;
        destroy_together(&root, &parent, given).await;
        root.close(all).await;
        let used = root.usage(parent.handle).await.used;
        assert_eq!((used.gates, used.memories), (0, 0));
        root.destroy(parent.handle).await;
        let after = root.usage(Handle::SELF_PROCESS).await.used;
        assert_eq!(Quota { memories: 0, ..after }, Quota { memories: 0, ..before });
    });
}

/// Whether a program of this process can write there.
async fn writable(root: &Root, process: &Process, address: u64) -> bool {
    let log = Log::new();
    let noted = log.clone();
    let thread = root
        .start(Plan::new(process, "toucher").priority(10), move |user| async move {
            user.store_word(address, 1).await;
            noted.note("written");
        })
        .await;
    root.until_state(thread, abi::thread::State::Dead).await;
    !log.is_empty()
}

#[test]
fn many_threads_that_map_protect_share_and_unmap_one_range_at_once() {
    const LENGTH: u64 = 2048 * PAGE;
    let settings = Settings { large_pages: true, ..RESTLESS };
    scenario_with(settings, |root| async move {
        let quota = Quota { pages: 400, mappings: 300, ..QUOTA };
        let (workers, target, other) =
            (root.process().await, root.process_with(quota).await, root.process_with(quota).await);
        let all = root.aligned_memory(LENGTH / PAGE, 512).await;
        let own = root.give(&workers, all, Rights::ALL).await;
        let to = root.give(&workers, target.handle, Rights::ALL).await;
        let further = root.give(&workers, other.handle, Rights::ALL).await;
        let mappings = root.usage(target.handle).await.used.mappings;

        // In small pages, by some to be written: one mapping comes of it, and who is told that it is done has what it asked for.
        let notes = together(&root, &workers, move |user, number| async move {
            let (access, name) = if number % 2 == 0 { (RW, "written") } else { (access::READ, "read") };
            let map = user.method(to, process::MAP, [own.0, (PLACE + PAGE) | access, 0, LENGTH]);
            match to_the_end(&user, map).await.as_str() {
                "done" => name.to_string(),
                error => error.to_string(),
            }
        })
        .await;
        let (read, write) = (count(&notes, "read"), count(&notes, "written"));
        assert_eq!(read + write + count(&notes, "Busy"), THREADS, "{notes:?}");
        assert_eq!(root.usage(target.handle).await.used.mappings, mappings + 1);
        let writes = writable(&root, &target, PLACE + PAGE).await;
        assert!(
            if writes { read == 0 && write >= 1 } else { write == 0 && read >= 1 },
            "{notes:?}, writable: {writes}"
        );
        root.user.method(target.handle, process::UNMAP, [PLACE + PAGE, LENGTH, 0, 0]).repeat().await;

        // In large pages; forbidden to be written; shared; gone.
        let mapped = root.map(target.handle, all, PLACE, RW, LENGTH / PAGE).await;
        assert_eq!(mapped.error(), None);
        let notes = together(&root, &workers, move |user, _| async move {
            to_the_end(&user, user.method(to, process::PROTECT, [PLACE | access::READ, LENGTH, 0, 0])).await
        })
        .await;
        assert_eq!(count(&notes, "done"), THREADS, "{notes:?}");
        for page in [0, 511, 512, 1024, 2047] {
            assert!(!writable(&root, &target, PLACE + page * PAGE).await, "page {page}");
        }
        let notes = together(&root, &workers, move |user, _| async move {
            to_the_end(&user, user.method(further, process::SHARE_RANGE, [to.0, PLACE, LENGTH, 0])).await
        })
        .await;
        // Who came first does it all; the others are told that something is there.
        assert_eq!((count(&notes, "done"), count(&notes, "Busy")), (1, THREADS - 1), "{notes:?}");
        let everywhere = [target.handle, other.handle].map(|space| (space, PLACE + LENGTH - PAGE));
        for (space, last) in everywhere {
            root.user.method(space, process::MAP, [all.0, last | RW, 0, PAGE]).fails(Error::Busy).await;
        }
        // The stacks of those who touched it are there, too.
        let mappings = [mappings + 6, mappings];
        for space in [to, further] {
            let notes = together(&root, &workers, move |user, _| async move {
                to_the_end(&user, user.method(space, process::UNMAP, [PLACE, LENGTH, 0, 0])).await
            })
            .await;
            assert_eq!(count(&notes, "done"), THREADS, "{notes:?}");
        }
        for (process, mappings) in [&target, &other].into_iter().zip(mappings) {
            assert_eq!(root.usage(process.handle).await.used.mappings, mappings);
        }
    });
}

#[test]
fn many_threads_that_grow_and_copy_one_handle_table_at_once() {
    const HANDLES: u64 = 300;
    scenario_with(RESTLESS, |root| async move {
        let quota = Quota { pages: 60, ..QUOTA };
        let (workers, target, source) =
            (root.process().await, root.process_with(quota).await, root.process_with(quota).await);
        let to = root.give(&workers, target.handle, Rights::ALL).await;
        let from = root.give(&workers, source.handle, Rights::ALL).await;
        let pages = root.usage(target.handle).await.used.pages;
        let notes = together(&root, &workers, move |user, _| async move {
            to_the_end(&user, user.method(to, process::GROW_HANDLES, [HANDLES, 0, 0, 0])).await
        })
        .await;
        assert_eq!(count(&notes, "done"), THREADS, "{notes:?}");
        assert_eq!(u64::from(root.usage(target.handle).await.used.pages - pages), HANDLES.div_ceil(64) - 1);

        let user = &root.user;
        user.method(source.handle, process::GROW_HANDLES, [HANDLES, 0, 0, 0]).ok().await;
        let mut given = Vec::new();
        for badge in 0..250 {
            // Connections are counted: none is counted twice.
            let connection = root.give_connection(&source, root.own_gate(), badge).await;
            user.method(source.handle, process::SET_INHERIT, [connection.0, 1, 0, 0]).ok().await;
            given.push(connection);
        }
        let notes = together(&root, &workers, move |user, _| async move {
            to_the_end(&user, user.method(to, process::COPY_TABLE, [from.0, 0, 0, 0])).await
        })
        .await;
        // Who came first does it all; the others are told that a slot is taken.
        assert_eq!((count(&notes, "done"), count(&notes, "Busy")), (1, THREADS - 1), "{notes:?}");
        for handle in &given {
            user.method(target.handle, process::CLOSE, [handle.0, 0, 0, 0]).ok().await;
        }
        for handle in given {
            user.method(source.handle, process::CLOSE, [handle.0, 0, 0, 0]).ok().await;
        }
        // The last handle to each is gone, and each is told of once.
        let mut closed = [false; 250];
        for _ in 0..250 {
            let message = user.receive(root.own_gate()).poll().ok().await;
            assert!(!std::mem::replace(&mut closed[message.badge as usize], true), "twice: {}", message.badge);
        }
        user.receive(root.own_gate()).poll().fails(Error::TimedOut).await;
    });
}
