//! Every state of a waiting caller with every state of its server, and everything that can end the wait: each side is told
//! once, nobody hangs, a late reply finds nobody, no request id comes twice, and in the end every quota is whole.

mod stage;

use std::rc::Rc;

use abi::{Error, Handle};
use simulator::{Settings, simulation};
use stage::{GRACE_NS, Stage};

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

/// What answers say: who gave them.
const BY_SERVER: u64 = 10;
const BY_SUCCESSOR: u64 = 20;

/// One of them, with what more there is to it.
#[derive(Clone, Copy, Debug)]
struct Case {
    caller: Caller,
    server: Server,
    event: Event,
    /// The server has no baton of its own.
    passive: bool,
    /// The caller is stopped while it waits.
    stopped: bool,
    /// It did not call: it faulted, and waits for its pager.
    faults: bool,
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
        // A fault has no flags and no handle.
        let faults = !self.faults
            || self.server_dies() && !self.replaced()
            || matches!(self.event, E::CallerThreadDies | E::CallerProcessDies | E::GateDies);
        dies && polls && faults
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
        let caller = if self.faults { self.of_a_fault(caller) } else { caller };
        let replies = taken && !self.server_dies() || deferred && self.server_thread_dies();
        let lives = caller.as_ref().is_some_and(|said| said.starts_with("answered") || said == "resumed");
        let server = replies.then(|| if lives { "ok".to_string() } else { "Gone".to_string() });
        let asks = matches!(self.event, E::DeadlineUnheeded | E::DeadlineHeeded | E::InterruptUnheeded)
            || self.event == E::InterruptHeeded;
        Told {
            caller: caller.into_iter().collect(),
            server: server.into_iter().collect(),
            // Who does not receive meanwhile is not told any more when it does: the notice is void by then.
            unblocks: u64::from(asks && self.server == Server::Parked),
            closes: match self.event {
                E::ConnectionIsClosed => 1,
                E::CallerProcessDies => 1 + u64::from(self.faults),
                E::GateDies | E::ServerProcessDiesWithItsGate => 0,
                // By its fault connection, if it ends.
                _ => u64::from(self.faults),
            },
        }
    }

    /// A fault that nobody answers is told once more, as refused; with nobody to tell, the thread ends.
    fn of_a_fault(&self, caller: Option<String>) -> Option<String> {
        let gate_dies = matches!(self.event, E::GateDies | E::ServerProcessDiesWithItsGate);
        let refused = caller.as_deref() == Some("Gone");
        caller.filter(|_| !refused || !gate_dies).map(|_| "resumed".to_string())
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

/// All cases, one after the other, in one system.
fn every_case(passive: bool, stopped: bool, faults: bool) {
    let settings = Settings { patience: 20_000_000, ..Settings::default() };
    simulation::run(u64::from(passive), settings, move |root| async move {
        let ids = Rc::default();
        // The one with most threads comes first: it makes the memories that the others use again.
        let first = [((Caller::Deferred, Server::Busy), E::ServerThreadDies)];
        let all = PAIRS.into_iter().flat_map(|pair| EVENTS.map(|event| (pair, event)));
        let mut before = None;
        for ((caller, server), event) in first.into_iter().chain(all) {
            let case = Case { caller, server, event, passive, stopped, faults };
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
    every_case(false, false, false);
}

#[test]
fn whatever_ends_a_wait_for_a_passive_server_each_side_is_told_once_and_nobody_hangs() {
    every_case(true, false, false);
}

#[test]
fn whatever_ends_the_wait_of_a_stopped_caller_each_side_is_told_once_and_nobody_hangs() {
    every_case(false, true, false);
    every_case(true, true, false);
}

#[test]
fn whatever_ends_a_fault_each_side_is_told_once_and_nobody_hangs() {
    every_case(false, false, true);
    every_case(true, false, true);
    every_case(true, true, true);
}
