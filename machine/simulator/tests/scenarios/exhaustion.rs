//! Exhaustion: whatever the kernel allocates, the asker gets an error when it cannot, nothing half-done is left, nobody
//! else notices, and asked again it works.
//!
//! Each scenario is run once for every allocation in it, and that one is refused.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;

use abi::object::{access, baton, gate, memory, process, pulse, thread};
use abi::{Error, Handle, Quota};
use simulator::scenario::{DATA, Plan, Process, QUOTA, Root, quota_bytes};
use simulator::{Answer, Exchange, Settings, simulation};

use crate::Pair;

const PAGE: u64 = abi::PAGE_SIZE;
const RW: u64 = access::READ | access::WRITE;
/// Apart from all else in the tree of page tables.
const PLACE: u64 = 0x60_0000_0000;
const OWN: Handle = Handle::SELF_PROCESS;
/// Where root has a quota to send.
const SCRATCH: u64 = abi::boot::STACK_TOP - 1024;
/// More allocations than any scenario makes.
const PATIENCE: u64 = 500;

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
    refusals: Rc<Cell<u64>>,
}

impl Asker {
    async fn new(root: &Root) -> Self {
        let quota = Quota { pages: 300, mappings: 300, ..QUOTA };
        let (subject, source) = (root.process_with(quota).await, root.process_with(quota).await);
        let memory = root.aligned_memory(1024, 512).await;
        Self { root: root.clone(), subject, source, memory, refusals: Rc::default() }
    }

    /// What must not change when something is refused. (Page tables, and records of mappings that were split, stay for next
    /// time: they change nothing of what is mapped.)
    async fn account(&self) -> Vec<Quota> {
        let mut account = Vec::new();
        for process in [OWN, self.subject.handle, self.source.handle] {
            account.push(Quota { pages: 0, mappings: 0, ..self.root.usage(process).await.used });
        }
        account
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
        self.insist(self.root.user.method(object, method, words)).await
    }

    /// The same for what is done in pieces, each going on where the last one says: the pieces before stay done, and a refusal
    /// behind some of them may be told by the next call.
    async fn insist_on_all(&self, object: Handle, method: u16, mut from: u64, words: impl Fn(u64) -> [u64; 4]) {
        let world = self.root.user.world();
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

/// Run a scenario once for every allocation that the kernel makes in it.
fn each_allocation_fails<F: Future<Output = ()> + 'static>(least: u64, scenario: impl Fn(Asker) -> F + Copy + 'static) {
    let allocations = (0..PATIENCE).find(|refused| !refuse(*refused, scenario));
    assert!(allocations.is_some_and(|count| count >= least), "{allocations:?} allocations, at least {least} expected");
}

/// Run it with one allocation refused. False: there were fewer.
fn refuse<F: Future<Output = ()> + 'static>(count: u64, scenario: impl Fn(Asker) -> F + 'static) -> bool {
    let refused = Rc::new(Cell::new(false));
    let outcome = Rc::clone(&refused);
    let settings = Settings { large_pages: true, ..Settings::default() };
    let _ = simulation::run(count, settings, move |root| async move {
        let served = bystanders(&root).await;
        // What it leaves for others to use again is there from now on.
        Asker::new(&root).await.end().await;
        let before = (root.usage(OWN).await.used, root.arena_used().await);
        let asker = Asker::new(&root).await;
        let world = Rc::clone(root.user.world());
        world.refuse_allocation_after(count);
        scenario(asker.clone()).await;
        outcome.set(!world.is_refusal_due());
        world.refuse_allocation_after(u64::MAX);
        assert_eq!(asker.refusals.get(), u64::from(outcome.get()), "each refusal is told once");
        asker.end().await;
        assert_eq!((root.usage(OWN).await.used, root.arena_used().await), before, "not everything came back");
        let earlier = served.get();
        root.until(|| served.get() > earlier).await;
    });
    refused.get()
}

/// A client and its server, whom nothing of this concerns.
async fn bystanders(root: &Root) -> Rc<Cell<u64>> {
    let pair = Pair::new(root).await;
    let (receiving, sending) = (pair.receiving, pair.sending);
    root.start(Plan::new(&pair.server, "server").priority(10), move |user| async move {
        let mut next = user.receive(receiving).room(DATA, 64).ok().await;
        loop {
            next = user.reply_and_receive(next.request, receiving).send(DATA, 64).room(DATA, 64).ok().await;
        }
    })
    .await;
    let served = Rc::new(Cell::new(0));
    let counted = Rc::clone(&served);
    root.start(Plan::new(&pair.client, "client").priority(10), move |user| async move {
        loop {
            user.store_word(DATA, counted.get()).await;
            user.call(sending).send(DATA, 64).room(DATA + 64, 64).ok().await;
            assert_eq!(user.load_word(DATA + 64).await, counted.get());
            counted.set(counted.get() + 1);
            let _ = user.compute(3_000).await;
        }
    })
    .await;
    served
}

#[test]
fn every_kind_of_object_can_be_refused() {
    each_allocation_fails(8, |asker| async move {
        let (user, subject) = (asker.root.user.clone(), asker.subject.handle);
        let quota = quota_bytes(&Quota { pages: 4, ..Quota::default() });
        user.store(SCRATCH, &quota).await.expect("root is never moved");
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
    });
}

#[test]
fn growing_and_copying_a_handle_table_can_be_refused() {
    each_allocation_fails(8, |asker| async move {
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
    });
}

#[test]
fn mapping_splitting_and_sharing_can_be_refused() {
    each_allocation_fails(12, |asker| async move {
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
    });
}

/// Messages, pulses, faults and their answers allocate nothing.
#[test]
fn messages_and_pulses_never_allocate() {
    let refused = refuse(0, |asker| async move {
        let root = asker.root.clone();
        root.sleep(200_000).await;
    });
    assert!(!refused, "the bystanders made the kernel allocate");
}
