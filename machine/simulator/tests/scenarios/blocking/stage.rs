//! How a case of a caller that waits for a server is played: root brings both to where it begins, lets the event happen,
//! lets the server go on, and takes down what each was told.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use abi::call::flags;
use abi::object::{process, thread};
use abi::thread::State;
use abi::{Handle, Status, notice};
use simulator::User;
use simulator::scenario::{Log, Plan, Process, Root, Thread};

use super::{BY_SERVER, BY_SUCCESSOR, Caller, Case, Event as E, Server, Told};

/// The gate's grace time, where it has one, ns.
pub(super) const GRACE_NS: u64 = 300_000;
/// When deadlines come, after the call.
const DEADLINE_NS: u64 = 1_000_000;
/// Where the server finds no page, or a caller that faults.
const MISSING: u64 = 0x50_0000_0000;

/// Badges of the pulses that tell the server what to do: something else than its caller's request; to go on.
const OCCUPY: u64 = 1;
const GO: u64 = 2;

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
    if case.faults {
        user.load(MISSING, 1).await.expect("it is moved nowhere");
        caller.note("resumed");
        // Its end is nobody's business.
        user.method(Handle::CURRENT_THREAD, thread::SET_FAULT_CONNECTION, [0; 4]).ok().await;
        return;
    }
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

/// A case being played: everybody in it.
pub(super) struct Stage {
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
    pub(super) async fn new(root: &Root, case: Case, ids: &Rc<RefCell<BTreeSet<u64>>>) -> Self {
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
        let told_of_faults = if case.faults { root.connect(gate, 78).await } else { Handle::NONE };
        let plan = Plan::new(&client_process, "client").priority(30).fault(told_of_faults);
        let client = root.start(plan, |user| ask(user, case, connection, shared)).await;
        let waits = match case.caller {
            _ if case.event == E::Poll => State::Dead,
            _ if case.faults => State::Fault,
            Caller::Send => State::Send,
            Caller::Reply | Caller::Deferred => State::Reply,
        };
        root.until_state(client, waits).await;
        if case.faults {
            // The page is there; but who tells it?
            let mapped = root.map(client_process.handle, client_process.memory, MISSING, 1, 1).await;
            assert_eq!(mapped.error(), None);
            root.close(told_of_faults).await;
        }
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

    /// Let the event happen, and some time pass.
    pub(super) async fn happen(&self, root: &Root) {
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
    pub(super) async fn release(&self, root: &Root) {
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

    /// Compare what was told with what should be, and take all down.
    pub(super) async fn end(self, root: &Root) {
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
