//! The kernel and the model, step by step. A thread tells the model what it does just before it does it, and asks it
//! what came of it when the kernel has answered; after every step of the kernel all states are compared.
//!
//! The supervisor (`supervisor.rs`) is stronger than all threads, and time stands still while it does what takes several
//! calls: to the threads that is one step.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::mem::offset_of;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;

use abi::call::{POLL, flags};
use abi::object::{Kind, baton, gate, memory, process, pulse, thread};
use abi::thread::{Configuration, Policy, State};
use abi::upcall::UpcallBlock;
use abi::{Handle, PAGE_SIZE, Quota, notice};
use kernel::Kernel;
use kernel::machine::Machine;
use simulator::scenario::{DATA, QUOTA, configuration_bytes, quota_bytes};
use simulator::{Answer, Exchange, Processor, Settings, User, simulation};

use crate::Explored;
use crate::action::{Action, Choice, Fault, FaultKind, Gift, Load, Outcome, Patience, Question, Wishes};
use crate::compare::Names;
use crate::coverage::Coverage;
use crate::program::{Program, ROLES, THREADS};
use crate::specification::object::{Object, Process, ProcessId, ThreadId};
use crate::specification::{AREA, EXCEPTION, LINES, PAGES, SLICE_NS, Specification, TABLE_PAGE};
use crate::supervisor;

/// Where bytes are sent from, and where they arrive.
const SENT: u64 = DATA;
const ROOM: u64 = DATA + 4096;
/// Where a thread puts the quota of a process that it makes, by thread.
const SHARES: u64 = DATA + 2 * 4096;
/// Stacks of threads that were started by others, by thread.
const STACKS: u64 = DATA + 4 * 4096;
const STACK: u64 = 512;
/// Where a thread puts its configuration, and where its own faults are told it, by its order in the process.
const CONFIGURATIONS: u64 = SHARES + 64 * size_of::<Quota>() as u64;
const BLOCKS: u64 = DATA + 3 * 4096;
const BLOCK: u64 = 128;
/// Where a thread goes on when its own fault is told it, behind its program's beginning.
const HANDLER: u64 = 64;
/// Where Memory is mapped and touched.
pub(crate) const WINDOW_START: u64 = DATA + 64 * PAGE_SIZE;
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
        for (script, actions) in self.program.actions.iter().enumerate() {
            for action in actions {
                if script < ROLES * THREADS {
                    writeln!(formatter, "    role {} thread {}: {action:?}", script / THREADS, script % THREADS)?;
                } else {
                    writeln!(formatter, "    started thread {}: {action:?}", script - ROLES * THREADS)?;
                }
            }
        }
        for order in &self.program.orders {
            writeln!(formatter, "    supervisor: {order:?}")?;
        }
        Ok(())
    }
}

/// What the threads of a run share.
pub(crate) struct Run {
    pub(crate) model: RefCell<Specification>,
    names: RefCell<Names>,
    /// What is left to be done, by role and thread, then for threads that are started.
    scripts: Vec<RefCell<VecDeque<Action>>>,
    /// The next script for a thread that is started.
    spare: Cell<usize>,
    /// How many actions were made.
    pub(crate) steps: Cell<u64>,
    coverage: RefCell<Coverage>,
    /// What threads are about to touch, by their program.
    touching: RefCell<BTreeMap<u64, (ThreadId, Action)>>,
    /// Everything is set up, and no step of several calls goes on.
    pub(crate) comparable: Cell<bool>,
    pub(crate) difference: RefCell<Option<String>>,
    /// There is no more to be compared.
    pub(crate) over: Cell<bool>,
    /// Processes that the supervisor made, and its handles to them, which were not seen yet.
    pub(crate) made: RefCell<Vec<(ProcessId, Handle)>>,
    /// The last step ended before the kernel was done with what follows from it.
    pub(crate) skipped: Cell<bool>,
}

/// Run a program.
///
/// # Errors
/// What differs first.
pub fn run(program: &Program) -> Result<Explored, Difference> {
    run_checked(program, 64)
}

/// The same, with the kernel's invariants checked after every step.
///
/// # Errors
/// What differs first.
pub fn run_closely(program: &Program) -> Result<Explored, Difference> {
    run_checked(program, 1)
}

fn run_checked(program: &Program, check_every: u64) -> Result<Explored, Difference> {
    let run = Rc::new(Run {
        model: RefCell::new(Specification::new(program.wrong)),
        names: RefCell::default(),
        scripts: program.actions.iter().map(|actions| RefCell::new(actions.iter().copied().collect())).collect(),
        spare: Cell::new(ROLES * THREADS),
        steps: Cell::new(0),
        coverage: RefCell::default(),
        touching: RefCell::default(),
        comparable: Cell::new(false),
        difference: RefCell::new(None),
        over: Cell::new(false),
        made: RefCell::default(),
        skipped: Cell::default(),
    });
    let settings = Settings { check_every, one_event_a_step: true, ..Settings::default() };
    let (body, watched, orders) = (Rc::clone(&run), Rc::clone(&run), program.orders.clone());
    // Where panics unwind, what the kernel or an invariant says is a difference, too.
    let ran = std::panic::catch_unwind(AssertUnwindSafe(|| {
        simulation::run_watched(
            program.seed,
            settings,
            move |root| {
                let (world, toucher) = (Rc::clone(root.user.world()), Rc::clone(&body));
                let clock = Rc::downgrade(&world);
                world.watch_accesses(move |program, _| {
                    let now = clock.upgrade().map_or(0, |world| world.time());
                    toucher.touches(program, now);
                });
                let latecomer = Rc::clone(&body);
                world.watch_entries(move |kernel| latecomer.catch_up(kernel));
                supervisor::conduct(root, body, orders)
            },
            move |kernel| watched.watch(kernel),
        )
    }));
    let said = |panic: &Box<dyn Any + Send>| panic.downcast_ref::<String>().cloned().unwrap_or_default();
    let difference = run.difference.take().or_else(|| ran.as_ref().err().map(said));
    match difference {
        Some(what) => Err(Difference { program: program.clone(), what }),
        None => Ok(Explored { programs: 1, steps: run.steps.get(), coverage: run.coverage.take() }),
    }
}

/// The program of a thread: of a role, or (`None`) whatever is left for those that are started.
pub(crate) async fn act_all(user: User, run: Rc<Run>, id: ThreadId, script: Option<usize>) {
    let script = script.unwrap_or_else(|| {
        run.spare.set(run.spare.get() + 1);
        run.spare.get() - 1
    });
    let process = run.model.borrow().threads[id].process;
    // A process that a program made has no memory, so its threads cannot do much.
    let able = run.model.borrow().processes[process].parent.is_none();
    let script = run.scripts.get(script).filter(|_| able);
    let next = || script.and_then(|script| script.borrow_mut().pop_front());
    while !run.over.get() {
        let action = next().unwrap_or(Action::Fault);
        let share = SHARES + id as u64 % 64 * size_of::<Quota>() as u64;
        if let Action::CreateProcess { process, share: number } = action {
            let bytes = quota_bytes(&run.quota(id, process, number));
            let _ = user.store(share, &bytes).await;
        }
        if let Action::Configure { upcall } = action {
            let configuration = Configuration {
                native_mask: u64::MAX,
                upcall_fault: if upcall { user.base() + HANDLER } else { 0 },
                upcall_block: run.block(id),
                cookie: id as u64,
                ..Configuration::default()
            };
            let _ = user.store(run.configuration(id), &configuration_bytes(&configuration)).await;
        }
        let exchange = run.begin(&user, id, action);
        let outcome = match (action, exchange) {
            (_, Some(exchange)) => {
                let asks = exchange.asks();
                let answer = exchange.await;
                run.coverage.borrow_mut().count(asks, answer.error());
                run.understand(id, action, &answer)
            }
            (Action::Prepare { at, word }, None) => {
                user.store_word(SENT + at, word).await;
                Outcome::Done { moved: 0 }
            }
            (Action::Look, None) => {
                let bytes = user.load(ROOM, AREA as u64).await.expect("nobody moves the thread");
                Outcome::Bytes(bytes.try_into().expect("as many as asked for"))
            }
            (Action::Settle, None) => {
                user.store_word(run.block(id) + offset_of!(UpcallBlock, fault_active) as u64, 0).await;
                Outcome::Done { moved: 0 }
            }
            (Action::Fault, None) => match user.exception(EXCEPTION, 0).await {
                Ok(()) => Outcome::Done { moved: 0 },
                Err(HANDLER) => Outcome::Upcall,
                Err(offset) => panic!("moved to {offset:#x}"),
            },
            (Action::Touch { place, write }, None) => {
                let outcome = touch(&user, WINDOW_START + place as u64 * PAGE_SIZE, write).await;
                run.touching.borrow_mut().remove(&user.base());
                outcome
            }
            (_, None) => unreachable!("all others are exchanges"),
        };
        run.coverage.borrow_mut().count_outcome(&action, &outcome);
        let expected = run.model.borrow_mut().take_outcome(id);
        if Some(outcome) != expected {
            run.differs(format!("thread {id}: {action:?}: the kernel says {outcome:?}, the model {expected:?}"));
        }
    }
    let _ = user.method(Handle::CURRENT_THREAD, thread::STOP, [0; 4]).await;
}

/// Read or write a word.
async fn touch(user: &User, address: u64, write: Option<u64>) -> Outcome {
    let outcome = match write {
        None => user
            .load(address, 8)
            .await
            .map(|bytes| Outcome::Word(u64::from_le_bytes(bytes.try_into().expect("eight bytes")))),
        Some(word) => user.store(address, &word.to_le_bytes()).await.map(|()| Outcome::Done { moved: 0 }),
    };
    outcome.unwrap_or_else(|offset| {
        assert_eq!(offset, HANDLER, "where threads are moved to");
        Outcome::Upcall
    })
}

impl Run {
    /// Something differs.
    fn differs(&self, what: String) {
        if !self.over.replace(true) {
            *self.difference.borrow_mut() = Some(what);
        }
    }

    /// Before user code goes on: a step that ended before the kernel was done could not be compared then.
    fn catch_up(&self, kernel: &Kernel<Processor>) {
        if self.skipped.get() {
            self.watch(kernel);
        }
    }

    /// After a step of the kernel.
    fn watch(&self, kernel: &Kernel<Processor>) {
        // Only when the kernel is done with all that follows from the step.
        self.skipped.set(kernel.looks());
        if !self.comparable.get() || self.over.get() || kernel.looks() {
            return;
        }
        let (mut model, mut names) = (self.model.borrow_mut(), self.names.borrow_mut());
        let now = kernel.machine().now();
        let made = self.made.take();
        if !made.is_empty() {
            names.learn(&made, kernel);
        }
        for thread in 0..model.threads.len() {
            if model.threads[thread].looks && !names.works(kernel, thread) {
                model.look_again(thread, now);
            }
        }
        names.learn_requests(&model, kernel);
        // A line that was heard and is no more was taken.
        let world = kernel.machine().world();
        for line in 0..LINES {
            if model.is_unmasked(line) && world.is_masked(line as u32) {
                model.take_line(line, now);
                self.coverage.borrow_mut().count_interrupt();
            }
        }
        names.learn_requests(&model, kernel);
        // What is due comes before anything else happens.
        if kernel.next_due() <= now {
            return;
        }
        model.pass_time(now);
        names.learn_requests(&model, kernel);
        let masked = (0..LINES).find(|line| model.is_unmasked(*line) == world.is_masked(*line as u32));
        let masked = masked.map(|line| format!("line {line} is masked in one of model and kernel only"));
        let difference = masked.or_else(|| names.compare(&mut model, kernel));
        if model.cycle.get() {
            self.over.set(true);
        } else if let Some(what) = difference {
            self.differs(what);
        }
    }

    /// Tell the model what a thread does, and have it ready for the kernel. `None`: it ends.
    fn begin(self: &Rc<Self>, user: &User, id: ThreadId, action: Action) -> Option<Exchange> {
        if !self.model.borrow().may_run(id) {
            self.differs(format!("thread {id} does {action:?}, but in the model a stronger one can run"));
        }
        if matches!(action, Action::Touch { .. }) {
            // Now, and perhaps again later, if that is a fault.
            self.touching.borrow_mut().insert(user.base(), (id, action));
            return None;
        }
        let exchange = self.exchange(user, id, action);
        self.act(id, &action, user.now());
        exchange
    }

    fn act(&self, id: ThreadId, action: &Action, now: u64) {
        self.model.borrow_mut().act(id, action, now);
        self.steps.set(self.steps.get() + 1);
    }

    /// A program is about to touch memory.
    fn touches(&self, program: u64, now: u64) {
        let touching = self.touching.borrow().get(&program).copied();
        if let Some((id, action)) = touching {
            if !self.model.borrow().may_run(id) {
                self.differs(format!("thread {id} does {action:?}, but in the model a stronger one can run"));
            }
            self.act(id, &action, now);
        }
    }

    /// Where a thread puts its configuration.
    fn configuration(&self, id: ThreadId) -> u64 {
        CONFIGURATIONS + (self.model.borrow().ordinal(id) * size_of::<Configuration>()) as u64
    }

    /// Where its own faults are told it.
    fn block(&self, id: ThreadId) -> u64 {
        BLOCKS + self.model.borrow().ordinal(id) as u64 * BLOCK
    }

    /// An action as registers and an envelope.
    fn exchange(self: &Rc<Self>, user: &User, id: ThreadId, action: Action) -> Option<Exchange> {
        let model = self.model.borrow();
        let process = model.threads[id].process;
        let choose = |kind, choice| model.choose(process, kind, choice);
        let load = |exchange, load| self.load(exchange, process, load);
        let own = Handle::SELF_PROCESS;
        Some(match action {
            Action::Call { connection, patience, load: with, wishes } => {
                let call = load(user.call(choose(Kind::Connection, connection)), with).flags(wish_flags(wishes));
                let covered = flags::DEADLINE_SEND | if wishes.for_answer { flags::DEADLINE_REPLY } else { 0 };
                patient(user, call, patience, covered)
            }
            Action::Receive { gate, patience, load: with, interruptible, holds } => {
                let receive = load(user.receive(choose(Kind::Gate, gate)), with);
                let flag = |wished, flag| if wished { flag } else { 0 };
                let receive = receive.flags(flag(interruptible, flags::INTERRUPTIBLE) | flag(holds, flags::HOLD));
                patient(user, receive, patience, flags::DEADLINE_RECEIVE)
            }
            Action::Reply { request, load: with, refuses, receive } => {
                let request = self.names.borrow().request(model.open_request(process, request)).unwrap_or(NO_REQUEST);
                let label = u64::from(refuses);
                match receive {
                    None => load(user.reply(request), with).label(label),
                    Some((gate, patience)) => {
                        let both = user.reply_and_receive(request, choose(Kind::Gate, gate));
                        patient(user, load(both, with).label(label), patience, flags::DEADLINE_RECEIVE)
                    }
                }
            }
            Action::Raise { pulse, bits } => user.raise(choose(Kind::Pulse, pulse), bits),
            Action::Reserve => user.method(own, process::RESERVE, [0; 4]),
            Action::Close { handle } => user.method(own, process::CLOSE, [choose(Kind::Connection, handle).0, 0, 0, 0]),
            Action::Duplicate { handle, rights } => {
                let handle = choose(Kind::Connection, handle);
                user.method(own, process::DUPLICATE, [handle.0, u64::from(rights.0), 0, 0])
            }
            Action::Destroy { handle } => {
                let handle = choose(Kind::Connection, handle);
                let method = if model.destroys(process, handle) { process::DESTROY } else { process::CLOSE };
                user.method(own, method, [handle.0, 0, 0, 0])
            }
            Action::Interrupt { thread } => user.method(choose(Kind::Thread, thread), thread::INTERRUPT, [0; 4]),
            Action::Stop { thread } => user.method(choose(Kind::Thread, thread), thread::STOP, [0; 4]),
            Action::Continue { thread } => user.method(choose(Kind::Thread, thread), thread::CONTINUE, [0; 4]),
            Action::SetAlarm { pulse, after, period } => {
                user.method(choose(Kind::Pulse, pulse), pulse::SET_ALARM, [user.now() + after, period, 0, 0])
            }
            Action::Rearm { pulse } => user.method(choose(Kind::Pulse, pulse), pulse::REARM, [0; 4]),
            Action::BindDeath { pulse, of } => {
                let words = [choose(Kind::Thread, of).0, 0, 0, 0];
                user.method(choose(Kind::Pulse, pulse), pulse::BIND_DEATH, words)
            }
            Action::SetPriority { baton, priority } => {
                user.method(choose(Kind::Baton, baton), baton::SET, baton_words(priority))
            }
            Action::Connect { gate, caller_pays } => {
                let request = if caller_pays { model.open_request(process, 0) } else { 0 };
                let request = self.names.borrow().request(request).unwrap_or(0);
                let badge = model.connections.len() as u64;
                user.method(choose(Kind::Gate, gate), gate::CONNECT, [badge, request, 0, 0])
            }
            Action::CreateGate { process, grace } => {
                user.method(choose(Kind::Process, process), process::CREATE_GATE, [0, grace, 0, 0])
            }
            Action::CreateThread { process } => {
                user.method(choose(Kind::Process, process), process::CREATE_THREAD, [0; 4])
            }
            Action::CreatePulse { process, gate, counts, priority } => {
                let options = u64::from(counts) | u64::from(priority) << 8;
                let words = [choose(Kind::Gate, gate).0, model.pulses.len() as u64, options, 0];
                user.method(choose(Kind::Process, process), process::CREATE_PULSE, words)
            }
            Action::CreateBaton { process, priority } => {
                user.method(choose(Kind::Process, process), process::CREATE_BATON, baton_words(priority))
            }
            Action::CreateProcess { process, .. } => {
                let share = SHARES + id as u64 % 64 * size_of::<Quota>() as u64;
                let create = user.method(choose(Kind::Process, process), process::CREATE_PROCESS, [0; 4]);
                create.send(share, size_of::<Quota>() as u64)
            }
            Action::Start { thread, baton } => {
                let (handle, baton) = (choose(Kind::Thread, thread), choose(Kind::Baton, baton));
                let started = match model.entry(process, handle).map(|entry| entry.object) {
                    Some(Object::Thread(started)) => started,
                    _ => id,
                };
                let run = Rc::clone(self);
                let base = user.world().program("started", move |user| act_all(user, run, started, None));
                let stack = STACKS + (started as u64 % 32 + 1) * STACK;
                user.method(handle, thread::START, [base, stack, 0, baton.0])
            }
            Action::Derive { memory: whole, payer, offset, pages, rights } => {
                let (offset, length) = (offset as u64 * PAGE_SIZE, pages as u64 * PAGE_SIZE);
                let words = [choose(Kind::Process, payer).0, offset, length, u64::from(rights.0)];
                user.method(choose(Kind::Memory, whole), memory::DERIVE, words)
            }
            Action::Map { into, memory, place, offset, pages, access } => {
                let (memory, place) = (choose(Kind::Memory, memory), WINDOW_START + place as u64 * PAGE_SIZE);
                let words = [memory.0, place | access, offset as u64 * PAGE_SIZE, pages as u64 * PAGE_SIZE];
                user.method(choose(Kind::Process, into), process::MAP, words)
            }
            Action::Share { into, from, place, pages, both_write } => {
                let (into, from) = (choose(Kind::Process, into), choose(Kind::Process, from));
                let object = |handle| model.entry(process, handle).map(|entry| entry.object);
                let pages = match (object(into), object(from)) {
                    (Some(Object::Process(into)), Some(Object::Process(from))) => {
                        model.shareable(into, from, place, pages)
                    }
                    _ => pages,
                } as u64;
                let words = [from.0, WINDOW_START + place as u64 * PAGE_SIZE, pages * PAGE_SIZE, 0];
                user.method(into, process::SHARE_RANGE, words).option(u64::from(both_write))
            }
            Action::Give { to, handle, rights } => {
                let words = [choose(Kind::Connection, handle).0, u64::from(rights.0), 0, 0];
                user.method(choose(Kind::Process, to), process::GIVE, words)
            }
            Action::SetInherit { of, handle, inherit } => {
                let of = choose(Kind::Process, of);
                let words = [model.choose_theirs(process, of, handle).0, u64::from(inherit), 0, 0];
                user.method(of, process::SET_INHERIT, words)
            }
            Action::CopyEntry { to, from, handle } => {
                let from = choose(Kind::Process, from);
                let words = [from.0, model.choose_theirs(process, from, handle).0, 0, 0];
                user.method(choose(Kind::Process, to), process::COPY_ENTRY, words)
            }
            Action::CopyTable { to, from, page } => {
                let words = [choose(Kind::Process, from).0, (page * TABLE_PAGE) as u64, 0, 0];
                user.method(choose(Kind::Process, to), process::COPY_TABLE, words)
            }
            Action::Grow { of, pages } => {
                let of = choose(Kind::Process, of);
                let entries = match model.entry(process, of).map(|entry| entry.object) {
                    Some(Object::Process(of)) => model.grown(of, pages) as u64,
                    _ => 0,
                };
                user.method(of, process::GROW_HANDLES, [entries, 0, 0, 0])
            }
            Action::Unmap { of, place, pages } => {
                let words = [WINDOW_START + place as u64 * PAGE_SIZE, pages as u64 * PAGE_SIZE, 0, 0];
                user.method(choose(Kind::Process, of), process::UNMAP, words)
            }
            Action::Protect { of, place, pages, access } => {
                let words = [(WINDOW_START + place as u64 * PAGE_SIZE) | access, pages as u64 * PAGE_SIZE, 0, 0];
                user.method(choose(Kind::Process, of), process::PROTECT, words)
            }
            Action::Read { request, offset, length } => {
                let request = self.names.borrow().request(model.open_request(process, request)).unwrap_or(NO_REQUEST);
                user.read_request(request, offset, ROOM, length)
            }
            Action::Write { request, offset, length } => {
                let request = self.names.borrow().request(model.open_request(process, request)).unwrap_or(NO_REQUEST);
                user.write_request(request, offset, SENT, length)
            }
            Action::Ask { question, of } => self.ask(user, process, question, model.asked(process, question, of)),
            Action::Name { thread, name } => {
                user.method(choose(Kind::Thread, thread), thread::SET_NAME, [name, !name, 0, 0])
            }
            Action::Yield => user.method(Handle::CURRENT_THREAD, thread::YIELD, [0; 4]),
            Action::SetPager { thread, connection } => {
                let connection = connection.map_or(Handle::NONE, |connection| choose(Kind::Connection, connection));
                let words = [connection.0, 0, 0, 0];
                user.method(choose(Kind::Thread, thread), thread::SET_FAULT_CONNECTION, words)
            }
            Action::Configure { .. } => user
                .method(Handle::CURRENT_THREAD, thread::CONFIGURE, [0; 4])
                .send(self.configuration(id), size_of::<Configuration>() as u64),
            Action::Prepare { .. } | Action::Look | Action::Touch { .. } | Action::Settle | Action::Fault => {
                return None;
            }
        })
    }

    /// A question to an object.
    fn ask(&self, user: &User, process: ProcessId, question: Question, of: Handle) -> Exchange {
        match question {
            Question::Handle => user.method(Handle::SELF_PROCESS, process::HANDLE_INFORMATION, [of.0, 0, 0, 0]),
            Question::Identity => user.method(of, process::IDENTITY, [0; 4]),
            Question::State => user.method(of, thread::STATE, [0; 4]),
            Question::Name => user.method(of, thread::NAME, [0; 4]),
            Question::Baton => user.method(of, baton::INFORMATION, [0; 4]),
            Question::Gate => user.method(of, gate::INFORMATION, [0; 4]),
            Question::Connection(None) => user.method(of, gate::NEXT_CONNECTION, [0; 4]).option(1),
            Question::Connection(Some(badge)) => user.method(of, gate::NEXT_CONNECTION, [badge, 0, 0, 0]),
            Question::Request(number) => {
                let request = self.model.borrow().open_request(process, number);
                let request = self.names.borrow().request(request).unwrap_or(NO_REQUEST);
                user.method(of, gate::REQUEST_INFORMATION, [request, 0, 0, 0])
            }
            Question::Memory => user.method(of, memory::INFORMATION, [0; 4]),
        }
    }

    /// What goes with an exchange.
    fn load(&self, exchange: Exchange, process: ProcessId, load: Load) -> Exchange {
        let model = self.model.borrow();
        let mut exchange = exchange.word(load.word);
        if load.bytes.0 != 0 {
            exchange = exchange.send(SENT, load.bytes.0);
        }
        if load.bytes.1 != 0 {
            exchange = exchange.room(ROOM, load.bytes.1);
        }
        for Gift { handle, rights, moves } in load.gifts.into_iter().flatten() {
            let handle = model.choose(process, Kind::Connection, handle);
            exchange = if moves { exchange.hand_over(handle, rights) } else { exchange.give(handle, rights) };
        }
        model.reserved(process, load.slots).into_iter().fold(exchange, Exchange::take)
    }

    /// The quota of a process that a thread makes.
    fn quota(&self, id: ThreadId, parent: Choice, share: u32) -> Quota {
        let model = self.model.borrow();
        let process = model.threads[id].process;
        let parent = model.entry(process, model.choose(process, Kind::Process, parent)).map(|entry| entry.object);
        let (cap, pages) = match parent {
            Some(Object::Process(parent)) => (model.processes[parent].cap, model.pages(parent) / 8),
            _ => (0, 0),
        };
        Quota {
            processes: share,
            threads: share,
            batons: share,
            gates: share,
            connections: share,
            pulses: share,
            memories: share,
            mappings: 0,
            pages,
            priority: u32::from(cap),
        }
    }

    /// An answer in the model's words.
    fn understand(&self, id: ThreadId, action: Action, answer: &Answer) -> Outcome {
        let (moved, word, handles) = (answer.moved, answer.words[0], answer.status().handles());
        if let Some(error) = answer.error() {
            return Outcome::Failed(error);
        }
        match action {
            Action::Ask { question, .. } => Outcome::Told(told(question, answer.words)),
            Action::Call { .. } => Outcome::Answer { word, moved, handles },
            Action::Receive { .. } | Action::Reply { receive: Some(_), .. } => self.understand_message(id, answer),
            Action::Reserve
            | Action::Duplicate { .. }
            | Action::Connect { .. }
            | Action::CreateGate { .. }
            | Action::CreatePulse { .. }
            | Action::CreateBaton { .. }
            | Action::CreateThread { .. }
            | Action::Derive { .. }
            | Action::Give { .. }
            | Action::CreateProcess { .. } => {
                let process = self.model.borrow().threads[id].process;
                // By now the kernel's table was seen. (What is given may be in any.)
                let has = |process: &Process| process.names.contains(&answer.handle());
                let named = if matches!(action, Action::Give { .. }) {
                    self.model.borrow().processes.iter().any(has)
                } else {
                    has(&self.model.borrow().processes[process])
                };
                if named { Outcome::Made } else { Outcome::Done { moved } }
            }
            _ => Outcome::Done { moved },
        }
    }

    fn understand_message(&self, id: ThreadId, answer: &Answer) -> Outcome {
        if let Some(Outcome::Request { request, .. }) = self.model.borrow().threads[id].outcome {
            self.names.borrow_mut().learn_request(request, answer.request);
        }
        let (status, names) = (answer.status(), self.names.borrow());
        let badge = answer.badge;
        if status.is_notice() && answer.label == notice::UNBLOCK {
            return Outcome::Unblock { badge, request: names.request_number(answer.words[0]) };
        }
        if status.is_notice() {
            return Outcome::Closed { badge };
        }
        if status.is_pulse() {
            return Outcome::Pulse { badge, value: answer.words[0], priority: status.priority() };
        }
        let fault = fault(answer);
        let is_page = fault.is_some_and(|fault| fault.kind != FaultKind::Exception);
        let word = answer.words[0];
        Outcome::Request {
            request: names.request_number(answer.request),
            identity: answer.identity,
            badge,
            word: if is_page { word.wrapping_sub(WINDOW_START) / PAGE_SIZE } else { word },
            moved: answer.moved,
            bytes: (answer.sent, answer.room),
            handles: status.handles(),
            priority: status.priority(),
            retried: answer.status & abi::call::Status::RETRIED != 0,
            fault,
        }
    }
}

/// What a fault's message says. (Threads send no such labels.)
fn fault(answer: &Answer) -> Option<Fault> {
    let kind = match answer.label {
        notice::FAULT_PAGE => FaultKind::Page,
        notice::FAULT_REFUSED => FaultKind::Refused,
        notice::FAULT_EXCEPTION => FaultKind::Exception,
        _ => return None,
    };
    Some(Fault { kind, access: answer.words[2], cookie: answer.words[3] })
}

/// Of what was told the part that the model knows.
fn told(question: Question, [first, second, third, fourth]: [u64; 4]) -> [u64; 4] {
    match question {
        // It runs, or could.
        Question::State if first as u8 == State::Running as u8 => [first & 0xff00 | State::Ready as u64, 0, 0, 0],
        Question::State => [first & 0xffff, 0, 0, 0],
        Question::Baton => [0, second, third, fourth],
        Question::Request(_) | Question::Memory => [first, second, 0, 0],
        _ => [first, second, third, fourth],
    }
}

/// What a baton of this priority is made with.
pub(crate) fn baton_words(priority: u8) -> [u64; 4] {
    [u64::from(priority), Policy::RoundRobin as u64, SLICE_NS, 0]
}

fn wish_flags(wishes: Wishes) -> u64 {
    let flag = |wished, flag| if wished { flag } else { 0 };
    flag(wishes.interruptible, flags::INTERRUPTIBLE)
        | flag(wishes.no_grace, flags::NO_GRACE)
        | flag(wishes.retry, flags::RETRY)
        | flag(wishes.charge_me, flags::CHARGE_ME)
}

fn patient(user: &User, exchange: Exchange, patience: Patience, covered: u64) -> Exchange {
    match patience {
        Patience::Endless => exchange,
        Patience::Poll => exchange.deadline(POLL, covered),
        Patience::Until(after) => exchange.deadline(user.now() + after, covered),
    }
}

/// What a process in a role may have.
pub(crate) const LIMIT: Quota = Quota {
    processes: 4,
    threads: 5,
    batons: 6,
    gates: 4,
    connections: 12,
    pulses: 6,
    memories: 3,
    pages: PAGES,
    priority: 40,
    ..QUOTA
};
