//! Exhaustion: whatever the kernel allocates, the asker gets an error when it cannot, nothing half-done is left, nobody
//! else notices, and asked again it works.
//!
//! Each scenario is run once for every allocation in it, and that one is refused. Together they reach every place of the
//! kernel that allocates, by its source.

mod bystanders;
mod others;
mod sites;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;

use abi::call::flags;
use abi::object::{Kind, access, baton, gate, memory, process, pulse, thread};
use abi::{Error, Handle, Quota, Rights};
use simulator::invariant::{State, check_objects};
use simulator::scenario::{Plan, Process, QUOTA, Root, quota_bytes};
use simulator::{Answer, Exchange, Settings, simulation};

use bystanders::{Bystanders, Results};
use others::Others;

const PAGE: u64 = abi::PAGE_SIZE;
const RW: u64 = access::READ | access::WRITE;
/// Apart from all else in the tree of page tables.
const PLACE: u64 = 0x60_0000_0000;
const OWN: Handle = Handle::SELF_PROCESS;
/// Where root has a quota to send.
const SCRATCH: u64 = abi::boot::STACK_TOP - 1024;
/// More allocations than any scenario makes.
const PATIENCE: u64 = 500;
/// Rounds that each bystander makes after all is done.
const ROUNDS: usize = 3;

/// Who asks, and keeps account.
#[derive(Clone)]
struct Asker {
    root: Root,
    /// What objects are made in.
    subject: Process,
    /// What is copied from.
    source: Process,
    /// 1024 pages that large pages can map.
    memory: Handle,
    bystanders: Bystanders,
    refusals: Rc<Cell<u64>>,
    /// The identity of the process that is to be changed.
    target: Rc<Cell<u64>>,
    /// After how many allocations one is refused; `None`: none is.
    refused: Option<u64>,
}

impl Asker {
    async fn new(root: &Root, bystanders: &Bystanders, target: &Rc<Cell<u64>>, refused: Option<u64>) -> Self {
        let quota = Quota { pages: 300, mappings: 300, ..QUOTA };
        let (subject, source) = (root.process_with(quota).await, root.process_with(quota).await);
        let memory = root.aligned_memory(1024, 512).await;
        let (bystanders, target) = (bystanders.clone(), Rc::clone(target));
        Self { root: root.clone(), subject, source, memory, bystanders, refusals: Rc::default(), target, refused }
    }

    /// From here on allocations count.
    fn begin(&self) {
        if let Some(count) = self.refused {
            self.root.user.world().refuse_allocation_after(count);
        }
    }

    /// What must not change when something is refused. (Page tables, and records of mappings that were split, stay for next
    /// time: they change nothing of what is mapped.)
    async fn account(&self) -> Vec<Quota> {
        let mut account = Vec::new();
        for process in [OWN, self.subject.handle, self.source.handle] {
            account.push(Quota { pages: 0, mappings: 0, ..self.root.usage(process).await.used });
        }
        for process in &self.bystanders.processes {
            account.push(self.root.usage(process.handle).await.used);
        }
        account
    }

    /// From now on this is asked to change.
    fn aim(&self, object: Handle) {
        let aimed = [&self.subject, &self.source].into_iter().find(|process| process.handle == object);
        self.target.set(aimed.map_or(0, |process| process.identity));
    }

    /// Ask until it is granted. Of what was refused nothing is left.
    async fn insist(&self, exchange: Exchange) -> Answer {
        loop {
            let before = self.account().await;
            let answer = exchange.clone().repeat().await;
            let Some(error) = answer.error() else { return answer };
            assert!(matches!(error, Error::Exhausted | Error::QuotaExceeded), "{exchange:x?} ended with {error:?}");
            self.refusals.set(self.refusals.get() + 1);
            assert_eq!(self.account().await, before, "something is left of {exchange:x?}");
        }
    }

    async fn method(&self, object: Handle, method: u16, words: [u64; 4]) -> Answer {
        self.aim(object);
        self.insist(self.root.user.method(object, method, words)).await
    }

    /// The same for what is done in pieces, each going on where the last one says: the pieces before stay done, and a refusal
    /// behind some of them may be told by the next call.
    async fn insist_on_all(&self, object: Handle, method: u16, mut from: u64, words: impl Fn(u64) -> [u64; 4]) {
        let world = self.root.user.world();
        self.aim(object);
        loop {
            let due = world.is_refusal_due();
            let answer = self.root.user.method(object, method, words(from)).await;
            if due && !world.is_refusal_due() {
                self.refusals.set(self.refusals.get() + 1);
            }
            match answer.error() {
                None => return,
                Some(Error::More) => from = answer.words[0],
                Some(error) => assert!(due && !world.is_refusal_due(), "{error:?} though nothing was refused"),
            }
        }
    }

    async fn end(self) {
        self.root.destroy(self.memory).await;
        self.root.dismantle(self.subject).await;
        self.root.dismantle(self.source).await;
    }
}

type Scenario = fn(Asker) -> Pin<Box<dyn Future<Output = ()>>>;

/// A place in the kernel's source.
type Site = (String, u32);

fn site(location: &Location<'_>) -> Site {
    (location.file().to_string(), location.line())
}

/// Run a scenario once for every allocation that the kernel makes in it. The places that asked.
fn each_allocation_fails(scenario: Scenario) -> BTreeSet<Site> {
    let (_, expected) = refuse(u64::MAX, scenario);
    let mut sites = BTreeSet::new();
    for count in 0..PATIENCE {
        let (refused, seen) = refuse(count, scenario);
        for ((who, expected), (_, seen)) in expected.iter().zip(&seen) {
            let rounds = expected.len().min(seen.len());
            assert!(rounds >= ROUNDS, "{who} did nothing");
            assert_eq!(expected[..rounds], seen[..rounds], "{who} noticed that allocation {count} was refused");
        }
        let Some(location) = refused else { return sites };
        sites.insert(site(location));
    }
    panic!("there is no end of allocations");
}

/// Run it with one allocation refused: where that was asked for (`None`: there were fewer), and what bystanders saw.
fn refuse(count: u64, scenario: Scenario) -> (Option<&'static Location<'static>>, Results) {
    let outcome: Rc<RefCell<(Option<&'static Location<'static>>, Results)>> = Rc::default();
    let told = Rc::clone(&outcome);
    let settings = Settings { large_pages: true, ..Settings::default() };
    // The process that is asked to change; what there was before the step in which something is refused.
    let (target, before) = (Rc::new(Cell::new(0)), RefCell::new(None::<Others>));
    let aimed = Rc::clone(&target);
    let body = move |root: Root| async move {
        let bystanders = Bystanders::start(&root).await;
        // What it leaves for others to use again is there from now on.
        let asker = Asker::new(&root, &bystanders, &target, None).await;
        scenario(asker.clone()).await;
        asker.end().await;
        let before = (root.usage(OWN).await.used, root.arena_used().await);
        let asker = Asker::new(&root, &bystanders, &target, Some(count)).await;
        let world = Rc::clone(root.user.world());
        scenario(asker.clone()).await;
        let refused = world.refused_at();
        assert_eq!(refused.is_some(), !world.is_refusal_due());
        world.refuse_allocation_after(u64::MAX);
        assert_eq!(asker.refusals.get(), u64::from(refused.is_some()), "each refusal is told once");
        asker.end().await;
        assert_eq!((root.usage(OWN).await.used, root.arena_used().await), before, "not everything came back");
        let seen = bystanders.least();
        root.until(|| bystanders.least() >= seen + ROUNDS).await;
        *told.borrow_mut() = (refused, bystanders.results());
    };
    simulation::run_watched(count, settings, body, |kernel| {
        let world = kernel.machine().world();
        if world.is_refusal_next() {
            *before.borrow_mut() = Some(others::look(kernel));
        } else if let (Some(before), Some(place)) = (before.take(), world.refused_at()) {
            check_objects(&State::new(kernel), world);
            let changed = others::changed(&before, &others::look(kernel), aimed.get());
            assert!(changed.is_empty(), "others are not as they were before {place}: {changed:#?}");
        }
    });
    outcome.take()
}

async fn every_kind_of_object(asker: Asker) {
    asker.begin();
    let (user, subject) = (asker.root.user.clone(), asker.subject.handle);
    let quota = quota_bytes(&Quota { pages: 4, ..Quota::default() });
    user.store(SCRATCH, &quota).await.expect("root is never moved");
    asker.aim(subject);
    let child = user.method(subject, process::CREATE_PROCESS, [9, 0, 0, 0]).send(SCRATCH, quota.len() as u64);
    let child = asker.insist(child).await.handle();
    let baton = asker.method(subject, process::CREATE_BATON, [7, 0, 0, 0]).await.handle();
    let gate = asker.method(subject, process::CREATE_GATE, [baton.0, 0, 0, 0]).await.handle();
    let pulse = asker.method(subject, process::CREATE_PULSE, [gate.0, 1, 0, 0]).await.handle();
    let connection = asker.method(gate, gate::CONNECT, [1, 0, 0, 0]).await.handle();
    let thread = asker.method(subject, process::CREATE_THREAD, [connection.0, 0, 0, 0]).await.handle();
    let part = asker.method(asker.subject.memory, memory::DERIVE, [subject.0, 0, PAGE, 0xff]).await.handle();
    // They are whole.
    user.method(pulse, pulse::BIND_DEATH, [thread.0, 0, 0, 0]).ok().await;
    user.raise(pulse, 1).ok().await;
    assert_eq!(user.receive(gate).ok().await.badge, 1);
    assert_eq!(user.method(part, memory::INFORMATION, [0; 4]).ok().await.words[0], PAGE);
    assert_eq!(user.method(baton, baton::INFORMATION, [0; 4]).ok().await.words[1], 7);
    user.method(thread, thread::SET_NAME, [1, 0, 0, 0]).ok().await;
    assert_eq!(user.method(child, process::IDENTITY, [0; 4]).ok().await.words[0], 9);
    user.method(OWN, process::CLOSE, [connection.0, 0, 0, 0]).ok().await;
    for handle in [thread, pulse, part, child, gate, baton] {
        asker.root.destroy(handle).await;
    }
}

/// A server that lacks memory for a caller's connection tells neither, and can go on with the request.
async fn connection_charged_to_a_caller(asker: Asker) {
    let root = &asker.root;
    let gate = root.gate(&asker.source).await;
    let connection = root.give_connection(&asker.subject, gate, 8).await;
    let given = Rc::new(Cell::new(Handle::NONE));
    let told = Rc::clone(&given);
    let caller = root.start(Plan::new(&asker.subject, "caller").priority(10), move |user| async move {
        let slot = user.reserve().await;
        user.call(connection).flags(flags::CHARGE_ME).take(slot).ok().await;
        told.set(slot);
    });
    let caller = caller.await;
    let message = root.user.receive(gate).ok().await;
    asker.begin();
    let made = asker.method(gate, gate::CONNECT, [5, message.request, 0, 0]).await.handle();
    assert_eq!(root.usage(asker.subject.handle).await.used.connections, 1);
    root.user.reply(message.request).hand_over(made, Rights::SEND).ok().await;
    root.until(|| given.get() != Handle::NONE).await;
    root.destroy(gate).await;
    root.forget(&[caller.handle, caller.baton]).await;
}

async fn growing_and_copying_a_handle_table(asker: Asker) {
    asker.begin();
    let (user, subject, source) = (asker.root.user.clone(), asker.subject.handle, asker.source.handle);
    asker.method(source, process::GROW_HANDLES, [300, 0, 0, 0]).await;
    let mut given = Vec::new();
    for _ in 0..250 {
        let handle = asker.method(source, process::GIVE, [asker.source.memory.0, 0xff, 0, 0]).await.handle();
        user.method(source, process::SET_INHERIT, [handle.0, 1, 0, 0]).ok().await;
        given.push(handle);
    }
    asker.method(subject, process::GROW_HANDLES, [300, 0, 0, 0]).await;
    asker.insist_on_all(subject, process::COPY_TABLE, 0, |from| [source.0, from, 0, 0]).await;
    for handle in given {
        // All are there, at the same place.
        user.method(subject, process::CLOSE, [handle.0, 0, 0, 0]).ok().await;
    }
}

async fn mapping_splitting_and_sharing(asker: Asker) {
    asker.begin();
    let (user, subject, source) = (asker.root.user.clone(), asker.subject.handle, asker.source.handle);
    asker.method(source, process::MAP, [asker.memory.0, PLACE | RW, 0, 1024 * PAGE]).await;
    // In the middle of large pages: records and page tables are split.
    asker.method(source, process::UNMAP, [PLACE + 7 * PAGE, PAGE, 0, 0]).await;
    asker.method(source, process::PROTECT, [(PLACE + 600 * PAGE) | access::READ, 2 * PAGE, 0, 0]).await;
    let end = PLACE + 1024 * PAGE;
    asker.insist_on_all(subject, process::SHARE_RANGE, PLACE, |from| [source.0, from, end - from, 0]).await;
    // What is left of the large pages is no longer written in either.
    asker.method(subject, process::PROTECT, [(PLACE + 900 * PAGE) | access::READ, PAGE, 0, 0]).await;
    for space in [source, subject] {
        user.method(space, process::UNMAP, [PLACE, 1024 * PAGE, 0, 0]).ok().await;
    }
}

/// The part of a large page: what it is taken from is as it was if that fails.
async fn sharing_a_part(asker: Asker) {
    asker.begin();
    let (user, subject, source) = (asker.root.user.clone(), asker.subject.handle, asker.source.handle);
    asker.method(source, process::MAP, [asker.memory.0, PLACE | RW, 0, 1024 * PAGE]).await;
    let (start, end) = (PLACE + 40 * PAGE, PLACE + 990 * PAGE);
    asker.insist_on_all(subject, process::SHARE_RANGE, start, |from| [source.0, from, end - from, 0]).await;
    for space in [source, subject] {
        user.method(space, process::UNMAP, [PLACE, 1024 * PAGE, 0, 0]).ok().await;
    }
}

#[test]
fn whatever_the_kernel_cannot_allocate_the_asker_is_told_and_all_else_is_as_without() {
    let scenarios: [Scenario; 5] = [
        |asker| Box::pin(every_kind_of_object(asker)),
        |asker| Box::pin(connection_charged_to_a_caller(asker)),
        |asker| Box::pin(growing_and_copying_a_handle_table(asker)),
        |asker| Box::pin(mapping_splitting_and_sharing(asker)),
        |asker| Box::pin(sharing_a_part(asker)),
    ];
    let mut refused: BTreeSet<Site> = scenarios.into_iter().flat_map(each_allocation_fails).collect();
    let at_boot = (0..PATIENCE).map_while(simulation::refused_boot);
    refused.extend(at_boot.map(site));
    let all = sites::all();
    for (place, words) in &all {
        assert!(refused.contains(place), "no scenario has the kernel refused what it asks for at {place:?}: {words}");
    }
    assert_eq!(refused.len(), all.len(), "{refused:?} asked, which are not all among {all:?}");
    for kind in (1..).map_while(Kind::from_number).take_while(|kind| *kind != Kind::Reserved) {
        let made = format!("create(Kind::{kind:?},");
        assert!(all.values().any(|words| words.contains(&made)), "nothing makes a {kind:?}");
    }
}

/// Messages, pulses, faults and their answers, alarms and interrupts allocate nothing.
#[test]
fn messages_and_pulses_never_allocate() {
    let (refused, _) = refuse(0, |asker| {
        Box::pin(async move {
            asker.begin();
            asker.root.sleep(200_000).await;
            assert!(asker.bystanders.least() >= ROUNDS, "the bystanders did nothing");
        })
    });
    assert_eq!(refused, None, "the bystanders made the kernel allocate");
}
