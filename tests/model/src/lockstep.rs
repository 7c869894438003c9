//! The kernel and the model, step by step. A thread tells the model what it does just before it does it, and asks it
//! what came of it when the kernel has answered; after every step of the kernel all states are compared.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use abi::call::{NEVER, POLL, flags};
use abi::object::{Kind, process, thread as thread_method};
use abi::{Handle, thread as abi_thread};
use kernel::Kernel;
use simulator::scenario::{DATA, Plan, Root};
use simulator::{Answer, Exchange, Processor, Settings, User, simulation};

use crate::program::Program;
use crate::specification::{
    Action, GATES, Outcome, PROCESSES, PULSES, Specification, State, THREADS, ThreadId, badge_of, owner_of, process_of,
    pulse_badge,
};

/// Priority of all threads; pulses are below or above.
const PRIORITY: u8 = 10;
/// How often it is looked whether anything still happens, simulated ns.
const LOOK_NS: u64 = 100_000;
/// Where bytes are sent from, and where they arrive.
const SENT: u64 = DATA;
const ROOM: u64 = DATA + 4096;
/// A request id that nobody ever has.
const NO_REQUEST: u64 = 0x7fff_ffff_0001;

/// Kernel and model differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// With this program.
    pub program: Program,
    /// In this.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}", self.what)?;
        writeln!(formatter, "the shortest program that shows it, seed {}:", self.program.seed)?;
        for (thread, actions) in self.program.actions.iter().enumerate() {
            for action in actions {
                writeln!(formatter, "    thread {thread} of process {}: {action:?}", process_of(thread))?;
            }
        }
        Ok(())
    }
}

/// What the threads of a run share.
struct Run {
    model: RefCell<Specification>,
    /// The kernel's ids of open requests, by caller.
    requests: RefCell<BTreeMap<ThreadId, u64>>,
    steps: Cell<u64>,
    /// All threads and gates exist.
    ready: Cell<bool>,
    /// Slots of the first thread and the first gate.
    first_thread: Cell<u32>,
    first_gate: Cell<u32>,
    difference: RefCell<Option<String>>,
}

/// A process's handles.
#[derive(Clone)]
struct Handles {
    gates: Vec<Handle>,
    connections: Vec<Handle>,
    pulses: Vec<Handle>,
}

/// Run a program; gives the steps that were made.
///
/// # Errors
/// What differs first.
pub fn run(program: &Program) -> Result<u64, Difference> {
    let shared = Rc::new(Run {
        model: RefCell::new(Specification::new(program.wrong)),
        requests: RefCell::default(),
        steps: Cell::new(0),
        ready: Cell::new(false),
        first_thread: Cell::new(0),
        first_gate: Cell::new(0),
        difference: RefCell::new(None),
    });
    let settings = Settings { check_every: 64, ..Settings::default() };
    let (body, watched, actions) = (Rc::clone(&shared), Rc::clone(&shared), program.actions.clone());
    let _ = simulation::run_watched(
        program.seed,
        settings,
        move |root| conduct(root, body, actions),
        move |kernel| {
            if watched.ready.get() && watched.difference.borrow().is_none() {
                *watched.difference.borrow_mut() = watched.compare(kernel);
            }
        },
    );
    let difference = shared.difference.take();
    difference.map_or(Ok(shared.steps.get()), |what| Err(Difference { program: program.clone(), what }))
}

/// Set everything up, let it run until nothing happens any more.
async fn conduct(root: Root, run: Rc<Run>, actions: Vec<Vec<Action>>) {
    let mut processes = Vec::new();
    for _ in 0..PROCESSES {
        processes.push(root.process().await);
    }
    let mut gates = Vec::new();
    for gate in 0..GATES {
        gates.push(root.gate(&processes[owner_of(gate)]).await);
    }
    let mut pulses = Vec::new();
    for pulse in 0..PULSES {
        let gate = pulse % GATES;
        let priority = if pulse < GATES { PRIORITY - 1 } else { PRIORITY + 1 };
        let owner = &processes[owner_of(gate)];
        pulses.push(root.pulse(owner, gates[gate], pulse_badge(pulse), priority, false, Handle::NONE).await);
    }
    let mut starts = Vec::new();
    for (number, process) in processes.iter().enumerate() {
        let mut handles = Handles { gates: Vec::new(), connections: Vec::new(), pulses: Vec::new() };
        for (gate, handle) in gates.iter().enumerate() {
            let own = owner_of(gate) == number;
            handles.gates.push(if own { root.give_gate(process, *handle).await } else { Handle::NONE });
            handles.connections.push(root.give_connection(process, *handle, badge_of(number, gate)).await);
        }
        for pulse in &pulses {
            handles.pulses.push(root.give(process, *pulse, abi::Rights::SEND).await);
        }
        for thread in 0..THREADS {
            let id = number * THREADS + thread;
            let (run, handles, actions) = (Rc::clone(&run), handles.clone(), actions[id].clone());
            let plan = Plan::new(process, "thread").round_robin(PRIORITY, 3_000);
            let base = root.user.world().program("thread", move |user| act_all(user, run, id, handles, actions));
            starts.push((root.create_thread(&plan, base).await, plan));
        }
    }
    // Slots are given out in order: root's come first.
    run.first_thread.set(2);
    run.first_gate.set(2);
    for (thread, plan) in starts {
        root.begin(&plan, thread).await;
    }
    run.ready.set(true);
    let (mut last, mut woken) = (u64::MAX, u64::MAX);
    while run.difference.borrow().is_none() {
        root.sleep(LOOK_NS).await;
        if run.steps.get() != last {
            last = run.steps.get();
            continue;
        }
        if woken == last {
            break;
        }
        // Nothing happens any more: wake all that are parked, once.
        woken = last;
        for gate in 0..GATES {
            let pulse = GATES + gate;
            while !run.model.borrow().gates[gate].parked.is_empty() {
                run.model.borrow_mut().raise(pulse, 1);
                root.user.raise(pulses[pulse], 1).ok().await;
            }
        }
    }
}

/// A thread's program.
async fn act_all(user: User, run: Rc<Run>, id: ThreadId, handles: Handles, actions: Vec<Action>) {
    // Nobody acts before all can.
    while !run.ready.get() {
        let _ = user.compute(1_000).await;
    }
    for action in actions {
        if run.difference.borrow().is_some() {
            break;
        }
        let exchange = run.exchange(&user, id, &handles, action);
        run.model.borrow_mut().act(id, action);
        run.steps.set(run.steps.get() + 1);
        let answer = exchange.await;
        let expected = run.model.borrow_mut().take_outcome(id);
        if let Some(what) = run.check(id, action, &answer, expected) {
            run.difference.borrow_mut().get_or_insert(what);
        }
    }
    let _ = user.method(Handle::CURRENT_THREAD, thread_method::STOP, [0; 4]).await;
}

impl Run {
    /// An action as registers and an envelope.
    fn exchange(&self, user: &User, id: ThreadId, handles: &Handles, action: Action) -> Exchange {
        let deadline = |poll| if poll { POLL } else { NEVER };
        match action {
            Action::Call { gate, poll, bytes, word } => {
                let call =
                    user.call(handles.connections[gate]).word(word).deadline(deadline(poll), flags::DEADLINE_SEND);
                with_room(with_bytes(call, bytes.0), bytes.1)
            }
            Action::Receive { gate, poll, room } => {
                let receive = user.receive(handles.gates[gate]).deadline(deadline(poll), flags::DEADLINE_RECEIVE);
                with_room(receive, room)
            }
            Action::Reply { request, sent, word, receive } => {
                let caller = self.model.borrow().request(id, request);
                // If kernel and model differ there may be none.
                let known = caller.and_then(|caller| self.requests.borrow().get(&caller).copied());
                let request = known.unwrap_or(NO_REQUEST);
                match receive {
                    None => with_bytes(user.reply(request).word(word), sent),
                    Some((gate, poll)) => {
                        let both = user.reply_and_receive(request, handles.gates[gate]).word(word);
                        let both = both.deadline(deadline(poll), flags::DEADLINE_RECEIVE);
                        with_room(with_bytes(both, sent), sent)
                    }
                }
            }
            Action::Raise { pulse, bits } => user.raise(handles.pulses[pulse], bits),
            Action::Close { gate } => {
                user.method(Handle::SELF_PROCESS, process::CLOSE, [handles.connections[gate].0, 0, 0, 0])
            }
        }
    }

    /// What is wrong with an answer.
    fn check(&self, id: ThreadId, action: Action, answer: &Answer, expected: Option<Outcome>) -> Option<String> {
        let outcome = Some(self.understand(action, answer));
        (outcome != expected).then(|| {
            format!("thread {id}: {action:?}: the kernel says {outcome:?}, the model {expected:?}; {answer:x?}")
        })
    }

    /// An answer in the model's words.
    fn understand(&self, action: Action, answer: &Answer) -> Outcome {
        let (moved, word) = (answer.moved, answer.words[0]);
        match (answer.error(), action) {
            (Some(error), _) => Outcome::Failed(error),
            (None, Action::Call { .. }) => Outcome::Answer { word, moved },
            (None, Action::Raise { .. } | Action::Close { .. } | Action::Reply { receive: None, .. }) => {
                Outcome::Done { moved }
            }
            _ if answer.status().is_notice() => Outcome::Closed { badge: answer.badge },
            _ if answer.status().is_pulse() => Outcome::Pulse { badge: answer.badge, bits: word },
            _ => {
                let caller = (answer.request as u32 & 0xffff).wrapping_sub(self.first_thread.get()) as ThreadId;
                Outcome::Request { caller, badge: answer.badge, word, moved, bytes: (answer.sent, answer.room) }
            }
        }
    }

    /// What is wrong with the kernel's state.
    fn compare(&self, kernel: &Kernel<Processor>) -> Option<String> {
        let model = self.model.borrow();
        for (id, thread) in model.threads.iter().enumerate() {
            let view = kernel.view_thread(self.first_thread.get() + id as u32);
            let expected = match thread.state {
                State::Ready => abi_thread::State::Ready,
                State::Send(_) => abi_thread::State::Send,
                State::Reply(..) => abi_thread::State::Reply,
                State::Receive(_) => abi_thread::State::Receive,
            };
            let gate = match thread.state {
                State::Send(gate) | State::Reply(gate, _) => Some((gate, view.target as u32 & 0xffff)),
                State::Receive(gate) => Some((gate, view.gate)),
                State::Ready => None,
            };
            let elsewhere = gate.is_some_and(|(gate, slot)| gate as u32 + self.first_gate.get() != slot);
            let server = match thread.state {
                State::Reply(_, server) => server as u32 + self.first_thread.get() != view.server,
                _ => false,
            };
            if view.state != expected || elsewhere || server {
                return Some(format!("thread {id}: the model has it {:?}, the kernel {view:x?}", thread.state));
            }
            if let State::Reply(..) = thread.state {
                // Any thread of the process may answer it, also one that has not seen it.
                self.requests.borrow_mut().insert(id, view.request);
            }
        }
        for (id, gate) in model.gates.iter().enumerate() {
            let view = kernel.view_gate(self.first_gate.get() + id as u32);
            let parked = gate.parked.last().map_or(0, |thread| *thread as u32 + self.first_thread.get());
            if (view.count as usize, view.parked) != (gate.waiting.len(), parked) {
                return Some(format!("gate {id}: the model has {gate:?}, the kernel {view:x?}"));
            }
        }
        (kernel.objects(Kind::Thread) as usize != 1 + PROCESSES * THREADS).then(|| "a thread is gone".to_string())
    }
}

fn with_bytes(exchange: Exchange, sent: u64) -> Exchange {
    if sent == 0 { exchange } else { exchange.send(SENT, sent) }
}

fn with_room(exchange: Exchange, room: u64) -> Exchange {
    if room == 0 { exchange } else { exchange.room(ROOM, room) }
}
