//! Every state of a waiting caller with every state of its server, and everything that can end the wait: each side is told
//! once, nobody hangs, a late reply finds nobody, no request id comes twice, and in the end every quota is whole.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use abi::call::flags;
use abi::object::{process, thread};
use abi::thread::State;
use abi::{Error, Handle, Status, notice};
use simulator::scenario::{Log, Plan, Process, Root, Thread};
use simulator::{Settings, User, simulation};

/// How the caller waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caller {
    /// In SEND: nobody took its message.
    Send,
    /// In REPLY: its message was the last that the server took.
    Reply,
    /// In REPLY: the server has received again since.
    Deferred,
}

/// What the server does meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    /// There is none.
    Absent,
    /// It waits for a message.
    Parked,
    /// It runs.
    Busy,
    /// It waits for another server's answer.
    Calling,
    /// It was stopped while it ran.
    Stopped,
    /// It was stopped while it waited for a message.
    StoppedParked,
    /// It waits for its pager.
    Faulted,
}

/// What ends the wait, or might.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Deadline,
    /// The server has time to answer, and takes more.
    DeadlineUnheeded,
    /// The server answers in time.
    DeadlineHeeded,
    Interrupt,
    InterruptUnheeded,
    InterruptHeeded,
    /// The caller does not grant the time.
    InterruptWithoutGrace,
    CallerThreadDies,
    CallerProcessDies,
    ServerThreadDies,
    /// The caller wants its request to be repeated.
    ServerThreadIsReplaced,
    ServerProcessDies,
    ServerProcessIsReplaced,
    /// The gate was the server's own.
    ServerProcessDiesWithItsGate,
    GateDies,
    ConnectionIsClosed,
    /// It does not even begin: the caller does not want to wait for a receiver.
    Poll,
}

use Event as E;

const EVENTS: [Event; 17] = [
    E::Deadline,
    E::DeadlineUnheeded,
    E::DeadlineHeeded,
    E::Interrupt,
    E::InterruptUnheeded,
    E::InterruptHeeded,
    E::InterruptWithoutGrace,
    E::CallerThreadDies,
    E::CallerProcessDies,
    E::ServerThreadDies,
    E::ServerThreadIsReplaced,
    E::ServerProcessDies,
    E::ServerProcessIsReplaced,
    E::ServerProcessDiesWithItsGate,
    E::GateDies,
    E::ConnectionIsClosed,
    E::Poll,
];

/// Who can wait for whom.
const PAIRS: [(Caller, Server); 15] = [
    (Caller::Send, Server::Absent),
    (Caller::Send, Server::Busy),
    (Caller::Send, Server::Calling),
    (Caller::Send, Server::Stopped),
    (Caller::Send, Server::Faulted),
    (Caller::Reply, Server::Busy),
    (Caller::Reply, Server::Calling),
    (Caller::Reply, Server::Stopped),
    (Caller::Reply, Server::StoppedParked),
    (Caller::Reply, Server::Faulted),
    (Caller::Deferred, Server::Parked),
    (Caller::Deferred, Server::Busy),
    (Caller::Deferred, Server::Calling),
    (Caller::Deferred, Server::Stopped),
    (Caller::Deferred, Server::Faulted),
];

/// The gate's grace time, where it has one, ns.
const GRACE_NS: u64 = 300_000;
/// When deadlines come, after the call.
const DEADLINE_NS: u64 = 1_000_000;
/// Where the server finds no page.
const MISSING: u64 = 0x50_0000_0000;

/// Badges of the pulses that tell the server what to do: something else than its caller's request; to go on.
const OCCUPY: u64 = 1;
const GO: u64 = 2;
/// What answers say: who gave them.
const BY_SERVER: u64 = 10;
const BY_SUCCESSOR: u64 = 20;

#[derive(Clone, Copy, Debug)]
struct Case {
    caller: Caller,
    server: Server,
    event: Event,
    /// The server has no baton of its own.
    passive: bool,
    /// The caller is stopped while it waits.
    stopped: bool,
}

/// What must come of a case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Told {
    /// To the caller, each time.
    caller: Vec<String>,
    /// To the server that replies.
    server: Vec<String>,
    /// To the server: that its caller wants to leave, how often.
    unblocks: u64,
    /// To whoever receives at the gate: that a connection was closed, how often.
    closes: u64,
}

impl Case {
    fn can_be(&self) -> bool {
        let dies = self.server != Server::Absent || !self.server_dies();
        let polls = self.event != Event::Poll || self.caller == Caller::Send && !self.stopped;
        dies && polls
    }

    fn replaced(&self) -> bool {
        matches!(self.event, E::ServerThreadIsReplaced | E::ServerProcessIsReplaced)
    }

    fn grace(&self) -> u64 {
        let none = matches!(self.event, E::Deadline | E::Interrupt);
        if none { 0 } else { GRACE_NS }
    }

    fn heeded(&self) -> bool {
        matches!(self.event, E::DeadlineHeeded | E::InterruptHeeded)
    }

    fn expected(&self) -> Told {
        let error = |error: Error| Some(format!("{error:?}"));
        let answered = |by: u64| Some(format!("answered by {by}"));
        let (taken, deferred) = (self.caller != Caller::Send, self.caller == Caller::Deferred);
        let by_whoever_serves = answered(if self.server == Server::Absent { BY_SUCCESSOR } else { BY_SERVER });
        let caller = match self.event {
            E::DeadlineHeeded | E::InterruptHeeded if taken => answered(BY_SERVER),
            E::Deadline | E::DeadlineUnheeded | E::DeadlineHeeded | E::Poll => error(Error::TimedOut),
            E::Interrupt | E::InterruptUnheeded | E::InterruptHeeded | E::InterruptWithoutGrace => {
                error(Error::Interrupted)
            }
            E::CallerThreadDies | E::CallerProcessDies => None,
            // What a thread put off, the others of its process can answer.
            E::ServerThreadDies | E::ServerThreadIsReplaced if deferred => answered(BY_SERVER),
            E::ServerProcessDiesWithItsGate => error(Error::Gone),
            E::ServerThreadDies | E::ServerProcessDies if taken => error(Error::Gone),
            E::ServerThreadDies | E::ServerProcessDies => answered(BY_SUCCESSOR),
            E::ServerThreadIsReplaced | E::ServerProcessIsReplaced => answered(BY_SUCCESSOR),
            E::GateDies if taken => answered(BY_SERVER),
            E::GateDies => error(Error::Gone),
            E::ConnectionIsClosed => by_whoever_serves,
        };
        let replies = taken && !self.server_dies() || deferred && self.server_thread_dies();
        let lives = caller.as_ref().is_some_and(|said| said.starts_with("answered"));
        let server = replies.then(|| if lives { "ok".to_string() } else { "Gone".to_string() });
        let asks = matches!(self.event, E::DeadlineUnheeded | E::DeadlineHeeded | E::InterruptUnheeded)
            || self.event == E::InterruptHeeded;
        Told {
            caller: caller.into_iter().collect(),
            server: server.into_iter().collect(),
            // Who does not receive meanwhile is not told any more when it does: the notice is void by then.
            unblocks: u64::from(asks && self.server == Server::Parked),
            closes: u64::from(matches!(self.event, E::ConnectionIsClosed | E::CallerProcessDies)),
        }
    }

    fn server_thread_dies(&self) -> bool {
        matches!(self.event, E::ServerThreadDies | E::ServerThreadIsReplaced)
    }

    fn server_dies(&self) -> bool {
        let process =
            matches!(self.event, E::ServerProcessDies | E::ServerProcessIsReplaced | E::ServerProcessDiesWithItsGate);
        process || self.server_thread_dies()
    }
}

/// What was told, and what programs are told.
#[derive(Clone, Default)]
struct Board {
    caller: Log,
    server: Log,
    unblocks: Rc<Cell<u64>>,
    closes: Rc<Cell<u64>>,
    /// The server is where it is to be.
    holds: Rc<Cell<bool>>,
    /// The server may go on.
    released: Rc<Cell<bool>>,
    /// Every request id that anybody received in this run.
    ids: Rc<RefCell<BTreeSet<u64>>>,
    /// The one that is the case's.
    request: Rc<Cell<u64>>,
}

impl Board {
    /// Take note of what was received; says its request id.
    fn received(&self, message: &simulator::Answer) -> u64 {
        let status = message.status();
        if status.is_notice() {
            let count = if message.label == notice::CLOSED { &self.closes } else { &self.unblocks };
            count.set(count.get() + 1);
            if message.label == notice::UNBLOCK {
                assert_eq!(message.words[0], self.request.get(), "another request is to be let go");
            }
        } else if !status.is_pulse() {
            assert!(self.ids.borrow_mut().insert(message.request), "request {:#x} came twice", message.request);
            self.request.set(message.request);
        }
        message.request
    }

    async fn reply(&self, user: &User, request: u64) {
        let error = user.reply(request).word(BY_SERVER).await.error();
        self.server.note(error.map_or("ok".to_string(), |error| format!("{error:?}")));
    }
}

async fn serve(user: User, case: Case, gate: Handle, other: Handle, board: Board) {
    let request = if case.caller == Caller::Send {
        assert!(user.receive(gate).ok().await.status().is_pulse());
        None
    } else {
        Some(board.received(&user.receive(gate).ok().await))
    };
    if case.caller == Caller::Deferred && case.server != Server::Parked {
        assert!(user.receive(gate).ok().await.status().is_pulse());
    }
    board.holds.set(true);
    match case.server {
        Server::Busy | Server::Stopped => {
            while !board.released.get() {
                let _ = user.compute(3_000).await;
            }
        }
        Server::Calling => drop(user.call(other).await),
        Server::Faulted => drop(user.load(MISSING, 1).await),
        Server::Parked => loop {
            let message = user.receive(gate).await;
            if message.error().is_some() || message.badge == GO {
                break;
            }
            board.received(&message);
            if case.heeded() {
                break;
            }
        },
        Server::StoppedParked | Server::Absent => {}
    }
    if let Some(request) = request {
        board.reply(&user, request).await;
    }
    loop {
        let message = user.receive(gate).await;
        if message.error().is_some() {
            break;
        }
        let request = board.received(&message);
        if request != 0 {
            user.reply(request).word(BY_SERVER).ok().await;
        }
    }
}

async fn ask(user: User, case: Case, connection: Handle, caller: Log) {
    let call = user.call(connection).flags(if case.replaced() { flags::RETRY } else { 0 });
    let call = match case.event {
        E::Deadline | E::DeadlineUnheeded | E::DeadlineHeeded => {
            call.deadline(user.now() + DEADLINE_NS, flags::DEADLINE_SEND | flags::DEADLINE_REPLY)
        }
        E::Interrupt | E::InterruptUnheeded | E::InterruptHeeded => call.flags(flags::INTERRUPTIBLE),
        E::InterruptWithoutGrace => call.flags(flags::INTERRUPTIBLE | flags::NO_GRACE),
        E::Poll => call.poll(),
        _ => call,
    };
    let answer = call.await;
    caller.note(answer.error().map_or(format!("answered by {}", answer.words[0]), |error| format!("{error:?}")));
}

struct Stage {
    case: Case,
    board: Board,
    supervisor: Process,
    server_process: Process,
    client_process: Process,
    gate: Handle,
    /// The client's, in its table.
    connection: Handle,
    server: Thread,
    client: Thread,
    /// Root's gates: of whom the server calls, and of its pager.
    other: Handle,
    pager: Handle,
    go: Handle,
    /// Requests of the server's, that root is to answer.
    nested: u64,
    fault: u64,
}

impl Stage {
    /// Get everybody to where the case begins.
    async fn new(root: &Root, case: Case, ids: &Rc<RefCell<BTreeSet<u64>>>) -> Self {
        let board = Board { ids: Rc::clone(ids), ..Board::default() };
        let (supervisor, server_process) = (root.process().await, root.process().await);
        let client_process = root.process().await;
        let owns = case.event == E::ServerProcessDiesWithItsGate;
        let owner = if owns { &server_process } else { &supervisor };
        let reserve = root.baton(owner, 15).await;
        let gate = root.gate_with(owner, reserve, case.grace()).await;
        let (other, pager) = (root.gate(&supervisor).await, root.gate(&supervisor).await);
        let occupy = root.pulse(&supervisor, gate, OCCUPY, 30, false, Handle::NONE).await;
        let go = root.pulse(&supervisor, gate, GO, 30, false, Handle::NONE).await;
        let connection = root.give_connection(&client_process, gate, 77).await;
        let receiving = root.give_gate(&server_process, gate).await;
        let calling = root.give_connection(&server_process, other, 1).await;
        let faults = root.connect(pager, 1).await;

        let plan = Plan::new(&server_process, "server").priority(20).fault(faults);
        let shared = board.clone();
        let server = root.user.world().program("server", |user| serve(user, case, receiving, calling, shared));
        let server = root.create_thread(&plan, server).await;
        if case.server != Server::Absent {
            root.begin(&plan, server).await;
            root.until_state(server, State::Receive).await;
        }
        if case.passive {
            root.user.method(server.handle, thread::SET_BATON, [0; 4]).ok().await;
        }
        root.forget(&[reserve, faults]).await;
        if case.server == Server::StoppedParked {
            root.user.method(server.handle, thread::STOP, [0; 4]).ok().await;
        }
        let holds = Rc::clone(&board.holds);
        if case.caller == Caller::Send && case.server != Server::Absent {
            root.user.raise(occupy, 1).ok().await;
            root.until(move || holds.get()).await;
        }
        let shared = board.caller.clone();
        let plan = Plan::new(&client_process, "client").priority(30);
        let client = root.start(plan, |user| ask(user, case, connection, shared)).await;
        let waits = match case.caller {
            _ if case.event == E::Poll => State::Dead,
            Caller::Send => State::Send,
            Caller::Reply | Caller::Deferred => State::Reply,
        };
        root.until_state(client, waits).await;
        if case.caller == Caller::Deferred && case.server != Server::Parked {
            root.until_state(server, State::Receive).await;
            root.user.raise(occupy, 1).ok().await;
        }
        root.close(occupy).await;

        let mut stage = Self {
            case,
            board,
            supervisor,
            server_process,
            client_process,
            gate,
            connection,
            server,
            client,
            other,
            pager,
            go,
            nested: 0,
            fault: 0,
        };
        stage.settle(root).await;
        stage
    }

    /// Let the server come to do what it is to do, and stop who is to be stopped.
    async fn settle(&mut self, root: &Root) {
        let holds = Rc::clone(&self.board.holds);
        if !matches!(self.case.server, Server::Absent | Server::StoppedParked) {
            root.until(move || holds.get()).await;
        }
        match self.case.server {
            Server::Parked => root.until_state(self.server, State::Receive).await,
            Server::Calling => self.nested = root.user.receive(self.other).ok().await.request,
            Server::Faulted => self.fault = root.user.receive(self.pager).ok().await.request,
            Server::Stopped => drop(root.user.method(self.server.handle, thread::STOP, [0; 4]).ok().await),
            Server::Busy | Server::StoppedParked | Server::Absent => {}
        }
        if self.case.stopped {
            root.user.method(self.client.handle, thread::STOP, [0; 4]).ok().await;
        }
    }

    async fn happen(&self, root: &Root) {
        let user = &root.user;
        match self.case.event {
            E::Poll => {}
            E::Deadline | E::DeadlineUnheeded | E::DeadlineHeeded => root.sleep(DEADLINE_NS).await,
            E::Interrupt | E::InterruptUnheeded | E::InterruptHeeded | E::InterruptWithoutGrace => {
                user.method(self.client.handle, thread::INTERRUPT, [0; 4]).ok().await;
            }
            E::CallerThreadDies => root.destroy(self.client.handle).await,
            E::CallerProcessDies => root.destroy(self.client_process.handle).await,
            E::ServerThreadDies | E::ServerThreadIsReplaced => root.destroy(self.server.handle).await,
            E::ServerProcessDies | E::ServerProcessIsReplaced | E::ServerProcessDiesWithItsGate => {
                root.destroy(self.server_process.handle).await;
            }
            E::GateDies => root.destroy(self.gate).await,
            E::ConnectionIsClosed => {
                let words = [self.connection.0, 0, 0, 0];
                user.method(self.client_process.handle, process::CLOSE, words).ok().await;
            }
        }
        root.sleep(if self.case.heeded() { GRACE_NS / 3 } else { 2 * GRACE_NS }).await;
    }

    /// Let the server go on, if it lives, and a successor take what is left.
    async fn release(&self, root: &Root) {
        let user = &root.user;
        self.board.released.set(true);
        let _ = user.raise(self.go, 1).await;
        if self.nested != 0 {
            let _ = user.reply(self.nested).await;
        }
        if self.fault != 0 {
            let _ = root.map(self.server_process.handle, self.server_process.memory, MISSING, 1, 1).await;
            let _ = user.reply(self.fault).await;
        }
        if !self.case.server_dies() {
            user.method(self.server.handle, thread::CONTINUE, [0; 4]).ok().await;
        } else if self.case.server_thread_dies() && self.case.caller == Caller::Deferred {
            let (board, request) = (self.board.clone(), self.board.request.get());
            let plan = Plan::new(&self.server_process, "colleague").priority(20);
            let colleague = root.start(plan, |user| async move { board.reply(&user, request).await }).await;
            root.forget(&[colleague.handle, colleague.baton]).await;
        }
        let client_lives = !matches!(self.case.event, E::CallerThreadDies | E::CallerProcessDies);
        if client_lives && self.case.stopped {
            assert!(self.board.caller.is_empty(), "a stopped thread has run");
            user.method(self.client.handle, thread::CONTINUE, [0; 4]).ok().await;
        }
        if self.case.server_dies() || self.case.server == Server::Absent {
            loop {
                let message = user.receive(self.gate).deadline(user.now() + 100_000, flags::DEADLINE_RECEIVE).await;
                if message.error().is_some() {
                    break;
                }
                let request = self.board.received(&message);
                if request != 0 {
                    let retried = message.status & Status::RETRIED != 0;
                    assert_eq!(retried, self.case.replaced() && self.case.caller != Caller::Send);
                    user.reply(request).word(BY_SUCCESSOR).ok().await;
                }
            }
        }
        root.sleep(200_000).await;
        if self.case.event == E::GateDies && self.case.passive {
            // With its gate its reserve is gone: it has nothing to run on any more but a baton of its own.
            user.method(self.server.handle, thread::SET_BATON, [self.server.baton.0, 0, 0, 0]).ok().await;
            root.sleep(200_000).await;
        }
        if client_lives {
            assert_eq!(root.state(self.client).await.state, State::Dead, "the caller hangs");
        }
    }

    async fn end(self, root: &Root) {
        let Self { board, case, .. } = &self;
        let told = Told {
            caller: board.caller.notes(),
            server: board.server.notes(),
            unblocks: board.unblocks.get(),
            closes: board.closes.get(),
        };
        assert_eq!(told, case.expected(), "{case:?}");
        for process in [self.client_process, self.server_process, self.supervisor] {
            root.dismantle(process).await;
        }
        let (server, client) = (self.server, self.client);
        root.forget(&[self.gate, self.other, self.pager, self.go]).await;
        root.forget(&[server.handle, server.baton, client.handle, client.baton]).await;
    }
}

/// All cases, one after the other, in one system.
fn every_case(passive: bool, stopped: bool) {
    let settings = Settings { patience: u64::MAX, ..Settings::default() };
    simulation::run(u64::from(passive), settings, move |root| async move {
        let ids = Rc::default();
        // The one with most threads comes first: it makes the memories that the others use again.
        let first = [((Caller::Deferred, Server::Busy), E::ServerThreadDies)];
        let all = PAIRS.into_iter().flat_map(|pair| EVENTS.map(|event| (pair, event)));
        let mut before = None;
        for ((caller, server), event) in first.into_iter().chain(all) {
            let case = Case { caller, server, event, passive, stopped };
            if !case.can_be() {
                continue;
            }
            let stage = Stage::new(&root, case, &ids).await;
            stage.happen(&root).await;
            stage.release(&root).await;
            stage.end(&root).await;
            let after = (root.usage(Handle::SELF_PROCESS).await.used, root.arena_used().await);
            assert_eq!(*before.get_or_insert(after), after, "{case:?}");
        }
    });
}

#[test]
fn whatever_ends_a_wait_each_side_is_told_once_and_nobody_hangs() {
    every_case(false, false);
}

#[test]
fn whatever_ends_a_wait_for_a_passive_server_each_side_is_told_once_and_nobody_hangs() {
    every_case(true, false);
}

#[test]
fn whatever_ends_the_wait_of_a_stopped_caller_each_side_is_told_once_and_nobody_hangs() {
    every_case(false, true);
    every_case(true, true);
}
