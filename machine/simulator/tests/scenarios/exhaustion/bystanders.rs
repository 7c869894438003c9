//! Programs beside the asker, whom nothing of its troubles concerns: messages, faults, alarms and interrupts in turn, each
//! of which must end as it would if nothing were ever refused.

use std::cell::RefCell;
use std::rc::Rc;

use abi::object::{access, process};
use abi::{Handle, Rights};
use simulator::scenario::{DATA, Plan, Process, Root};
use simulator::{Answer, World};

use super::PLACE;
use crate::Pair;
use crate::interrupt::{acknowledge, bind};

/// Above the asker, so that they act in between whatever it does.
const PRIORITY: u8 = 120;
/// How long they rest between two rounds, ns.
const REST: u64 = 15_000;
const LINE: u64 = 5;

/// What came of an exchange, without what depends on time.
type Outcome = [u64; 7];

/// What each saw, by name.
pub(super) type Results = Vec<(&'static str, Vec<Outcome>)>;

/// All of them, and what they saw.
#[derive(Clone)]
pub(super) struct Bystanders {
    pub(super) processes: Vec<Process>,
    results: Rc<RefCell<Results>>,
}

/// One of them takes notes.
#[derive(Clone)]
struct Notes(Bystanders, usize);

impl Notes {
    fn note(&self, answer: &Answer) {
        let Answer { status, badge, moved, sent, room, label, words, .. } = *answer;
        self.0.results.borrow_mut()[self.1].1.push([status, badge, moved, sent, room, label, words[0]]);
    }
}

impl Bystanders {
    pub(super) async fn start(root: &Root) -> Self {
        let mut all = Self { processes: Vec::new(), results: Rc::default() };
        all.messages(root).await;
        all.faults(root).await;
        all.alarms(root).await;
        all.interrupts(root).await;
        all
    }

    fn notes(&self, who: &'static str) -> Notes {
        self.results.borrow_mut().push((who, Vec::new()));
        Notes(self.clone(), self.results.borrow().len() - 1)
    }

    /// What each saw so far.
    pub(super) fn results(&self) -> Results {
        self.results.borrow().clone()
    }

    /// How much the one that saw least saw.
    pub(super) fn least(&self) -> usize {
        self.results.borrow().iter().map(|(_, outcomes)| outcomes.len()).min().unwrap_or_default()
    }

    async fn pair(&mut self, root: &Root) -> (Pair, Handle) {
        let pair = Pair::new(root).await;
        let nothing = root.gate(&pair.client).await;
        let resting = root.give_gate(&pair.client, nothing).await;
        self.processes.extend([pair.server.clone(), pair.client.clone()]);
        (pair, resting)
    }

    /// A client and its server.
    async fn messages(&mut self, root: &Root) {
        let (pair, resting) = self.pair(root).await;
        let (receiving, sending) = (pair.receiving, pair.sending);
        let (serves, asks) = (self.notes("server"), self.notes("client"));
        root.start(Plan::new(&pair.server, "server").priority(PRIORITY), move |user| async move {
            let mut next = user.receive(receiving).room(DATA, 64).ok().await;
            loop {
                serves.note(&next);
                next = user.reply_and_receive(next.request, receiving).send(DATA, 64).room(DATA, 64).ok().await;
            }
        })
        .await;
        root.start(Plan::new(&pair.client, "client").priority(PRIORITY), move |user| async move {
            for round in 0.. {
                user.pause(resting, REST).await;
                user.store_word(DATA, round).await;
                let answer = user.call(sending).word(round).send(DATA, 64).room(DATA + 64, 64).ok().await;
                assert_eq!(user.load_word(DATA + 64).await, round);
                asks.note(&answer);
            }
        })
        .await;
    }

    /// A pager and a program that faults: the pager lets it write, and forbids it again when the program says so.
    async fn faults(&mut self, root: &Root) {
        let (pair, resting) = self.pair(root).await;
        let (receiving, sending) = (pair.receiving, pair.sending);
        let faults = root.connect(pair.gate, 99).await;
        let target = root.give(&pair.server, pair.client.handle, Rights::ALL).await;
        let memory = root.memory(1).await;
        let mapped = root.map(pair.client.handle, memory, PLACE, access::READ | access::WRITE, 1).await;
        assert_eq!(mapped.error(), None);
        let (pages, asks) = (self.notes("pager"), self.notes("faulting"));
        root.start(Plan::new(&pair.server, "pager").priority(PRIORITY), move |user| async move {
            let mut next = user.receive(receiving).ok().await;
            loop {
                let writable = if next.badge == 99 { access::WRITE } else { 0 };
                let words = [PLACE | access::READ | writable, abi::PAGE_SIZE, 0, 0];
                pages.note(&user.method(target, process::PROTECT, words).ok().await);
                next = user.reply_and_receive(next.request, receiving).ok().await;
            }
        })
        .await;
        root.start(Plan::new(&pair.client, "faulting").priority(PRIORITY).fault(faults), move |user| async move {
            for round in 0.. {
                asks.note(&user.call(sending).ok().await);
                user.pause(resting, REST).await;
                user.store_word(PLACE, round).await;
                assert_eq!(user.load_word(PLACE).await, round);
            }
        })
        .await;
    }

    /// A program that counts periods: none is missed.
    async fn alarms(&mut self, root: &Root) {
        let (pair, _) = self.pair(root).await;
        let alarm = root.pulse(&pair.server, pair.gate, 3, PRIORITY, true, Handle::NONE).await;
        let (receiving, counts) = (pair.receiving, self.notes("periods"));
        root.start(Plan::new(&pair.server, "periods").priority(PRIORITY + 1), move |user| async move {
            loop {
                counts.note(&user.receive(receiving).ok().await);
            }
        })
        .await;
        root.alarm(alarm, root.user.now() + REST, 2 * REST).await;
    }

    /// A driver: no interrupt is lost.
    async fn interrupts(&mut self, root: &Root) {
        let (pair, _) = self.pair(root).await;
        let line = root.pulse(&pair.server, pair.gate, 4, PRIORITY, false, Handle::NONE).await;
        bind(root, line, LINE, 0, false).await;
        let ports = root.give(&pair.server, root.record().ports, Rights::ALL).await;
        let (receiving, takes) = (pair.receiving, self.notes("driver"));
        root.start(Plan::new(&pair.server, "driver").priority(PRIORITY + 2), move |user| async move {
            loop {
                takes.note(&user.receive(receiving).ok().await);
                acknowledge(&user, ports, LINE).await;
            }
        })
        .await;
        device(root.user.world());
    }
}

/// The device asks for attention again and again.
fn device(world: &Rc<World>) {
    world.at(world.time() + 2 * REST, |world| {
        assert!(!world.line(LINE as u32), "the last interrupt was not served");
        world.set_line(LINE as u32, true);
        device(world);
    });
}
