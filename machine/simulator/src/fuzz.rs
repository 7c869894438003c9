//! Random programs: a few processes whose threads do anything that an exchange permits, and some things that none does,
//! under a root that pages, kills and rebuilds. Nothing they do may break the kernel, hang it or leak.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use abi::call::flags;
use abi::envelope::GIFTS;
use abi::object::{Kind, access, baton, gate, memory, process, pulse, thread};
use abi::thread::{Configuration, Policy};
use abi::{Envelope, Error, Gift, Handle, Quota, Rights, Segment};

use crate::processor::World;
use crate::program::{Answer, Exchange, User};
use crate::random::Random;
use crate::scenario::{DATA, DATA_PAGES, Plan, Process, Root, configuration_bytes, quota_bytes};

const PAGE: u64 = abi::PAGE_SIZE;
/// Where random mappings go.
const FIELD: u64 = 0x70_0000_0000;
const FIELD_PAGES: u64 = 64;
/// Where the data of a process has two quotas, a configuration and an upcall block.
const SMALL_QUOTA: u64 = DATA + 0x400;
const CONFIGURATION: u64 = DATA + 0x500;
const BLOCK: u64 = DATA + 0x600;

/// Processes at any time.
const PROCESSES: usize = 4;
/// Interrupt lines that simulated devices use.
const LINES: u64 = 4;

const METHODS: [(Kind, &[u16]); 6] = [
    (
        Kind::Process,
        &[
            process::CREATE_PROCESS,
            process::CREATE_THREAD,
            process::CREATE_THREAD,
            process::CREATE_BATON,
            process::CREATE_GATE,
            process::CREATE_PULSE,
            process::CREATE_PULSE,
            process::MAP,
            process::MAP,
            process::UNMAP,
            process::PROTECT,
            process::SHARE_RANGE,
            process::GROW_HANDLES,
            process::RESERVE,
            process::CLOSE,
            process::DUPLICATE,
            process::HANDLE_INFORMATION,
            process::COPY_TABLE,
            process::COPY_ENTRY,
            process::SET_INHERIT,
            process::GIVE,
            process::DESTROY,
            process::USAGE,
            process::SET_QUOTA,
            process::IDENTITY,
            process::SYSTEM,
            process::NEXT_THREAD,
        ],
    ),
    (
        Kind::Thread,
        &[
            thread::START,
            thread::START,
            thread::START,
            thread::CONFIGURE,
            thread::READ_REGISTERS,
            thread::INTERRUPT,
            thread::INTERRUPT,
            thread::STOP,
            thread::CONTINUE,
            thread::CONTINUE,
            thread::STATE,
            thread::YIELD,
            thread::SET_NAME,
            thread::NAME,
            thread::SET_FAULT_CONNECTION,
            thread::SET_BATON,
        ],
    ),
    (Kind::Baton, &[baton::SET, baton::INFORMATION]),
    (
        Kind::Gate,
        &[
            gate::CONNECT,
            gate::CONNECT,
            gate::SET_RESERVE,
            gate::NEXT_CONNECTION,
            gate::INFORMATION,
            gate::REQUEST_INFORMATION,
        ],
    ),
    (
        Kind::Pulse,
        &[pulse::SET_ALARM, pulse::SET_ALARM, pulse::BIND_INTERRUPT, pulse::REARM, pulse::BIND_DEATH, pulse::BIND_IDLE],
    ),
    (
        Kind::Memory,
        &[memory::INFORMATION, memory::DERIVE, memory::PORT_READ, memory::PORT_WRITE, memory::PORT_WRITE_BYTES],
    ),
];

/// Methods whose first word out is a new handle.
const MAKERS: [u16; 10] = [
    process::CREATE_PROCESS,
    process::CREATE_THREAD,
    process::CREATE_BATON,
    process::CREATE_GATE,
    process::CREATE_PULSE,
    process::RESERVE,
    process::DUPLICATE,
    gate::CONNECT,
    memory::DERIVE,
    process::GIVE,
];

/// What the threads of one process know together.
#[derive(Default)]
struct Knowledge {
    handles: RefCell<Vec<(Handle, Kind)>>,
    requests: RefCell<VecDeque<u64>>,
}

impl Knowledge {
    fn learn(&self, handle: Handle, kind: Kind) {
        let mut handles = self.handles.borrow_mut();
        if handles.len() > 120 {
            handles.swap_remove(40);
        }
        handles.push((handle, kind));
    }

    /// A handle of this kind, mostly.
    fn any(&self, random: &Random, kind: Option<Kind>) -> Handle {
        let handles = self.handles.borrow();
        if random.chance(20) || handles.is_empty() {
            return *random.choose(&[
                Handle::NONE,
                Handle::SELF_PROCESS,
                Handle::CURRENT_THREAD,
                Handle(random.next()),
                Handle(random.below(1 << 20)),
            ]);
        }
        if let Some(kind) = kind
            && !random.chance(50)
        {
            let fitting: Vec<Handle> =
                handles.iter().filter(|(_, other)| *other == kind).map(|(handle, _)| *handle).collect();
            if !fitting.is_empty() {
                return *random.choose(&fitting);
            }
        }
        random.choose(&handles).0
    }

    fn request(&self, random: &Random, keep: bool) -> u64 {
        let mut requests = self.requests.borrow_mut();
        if requests.is_empty() || random.chance(20) {
            return random.below(1 << 24);
        }
        let index = random.below(requests.len() as u64) as usize;
        if keep { requests[index] } else { requests.remove(index).expect("in range") }
    }
}

/// An address that may be anything, mostly in a part of memory that exists.
fn address(random: &Random) -> u64 {
    match random.below(20) {
        0 => random.next(),
        1 => abi::USER_END - random.below(3 * PAGE),
        2 => u64::MAX - random.below(PAGE),
        3..=8 => FIELD + random.below(FIELD_PAGES * PAGE),
        _ => DATA + random.below((DATA_PAGES + 1) * PAGE),
    }
}

fn length(random: &Random) -> u64 {
    match random.below(20) {
        0 => random.next(),
        1..=3 => random.below(3 * PAGE),
        4 => 0,
        _ => random.below(200),
    }
}

fn range(random: &Random) -> (u64, u64) {
    let first = random.below(FIELD_PAGES);
    let pages = 1 + random.below(if random.chance(200) { FIELD_PAGES - first } else { 4 });
    (FIELD + first * PAGE, pages * PAGE)
}

fn decorate(user: &User, knowledge: &Knowledge, mut exchange: Exchange, gifts: bool) -> Exchange {
    let random = &user.world().random;
    if random.chance(150) {
        // As plain as most calls are in a real system.
        return exchange;
    }
    if random.chance(300) {
        let mut envelope =
            Envelope { send_count: random.below(3) as u8, receive_count: random.below(3) as u8, ..Envelope::default() };
        for segment in envelope.send.iter_mut().chain(&mut envelope.receive) {
            *segment = Segment { address: address(random), length: length(random) };
        }
        if gifts && random.chance(400) {
            envelope.give_count = random.below(GIFTS as u64 + 1) as u8;
            envelope.take_count = random.below(GIFTS as u64 + 1) as u8;
            for gift in &mut envelope.give {
                *gift = Gift {
                    handle: knowledge.any(random, None),
                    rights: Rights(random.next() as u32 & 0xff),
                    flags: random.below(3) as u32 & 1,
                };
            }
            for slot in &mut envelope.take {
                *slot = knowledge.any(random, Some(Kind::Reserved));
            }
        }
        if random.chance(10) {
            envelope.reserved = 1;
        }
        exchange = exchange.envelope(envelope);
    }
    if random.chance(10) {
        exchange = exchange.envelope_at(address(random));
    }
    let all = [flags::INTERRUPTIBLE, flags::NO_GRACE, flags::CHARGE_ME, flags::RETRY, flags::HOLD];
    for flag in all {
        if random.chance(200) {
            exchange = exchange.flags(flag);
        }
    }
    let states = [(flags::DEADLINE_SEND, 800), (flags::DEADLINE_REPLY, 500), (flags::DEADLINE_RECEIVE, 800)];
    let states =
        states.into_iter().fold(0, |all, (state, per_mille)| all | if random.chance(per_mille) { state } else { 0 });
    let at = if random.chance(200) { 0 } else { user.now() + random.below(30_000) };
    if random.chance(900) { exchange.deadline(at, states) } else { exchange }
}

/// A word for a method: a handle, a number, an address or nonsense.
fn word(user: &User, knowledge: &Knowledge) -> u64 {
    let random = &user.world().random;
    match random.below(10) {
        0..=3 => knowledge.any(random, None).0,
        4..=5 => random.below(8),
        6 => range(random).0 | random.below(8),
        7 => random.below(64) * PAGE,
        8 => user.now() + random.below(100_000),
        _ => random.next() >> random.below(64),
    }
}

/// The words with which a method makes sense, most of the time.
fn words(user: &User, knowledge: &Rc<Knowledge>, method: u16) -> [u64; 4] {
    let random = &user.world().random;
    let any = |kind| knowledge.any(random, Some(kind)).0;
    let mut words = [word(user, knowledge), word(user, knowledge), word(user, knowledge), word(user, knowledge)];
    if random.chance(100) {
        return words;
    }
    let (place, length) = range(random);
    match method {
        process::CREATE_THREAD | thread::SET_FAULT_CONNECTION => {
            words[0] = if random.chance(300) { 0 } else { any(Kind::Connection) }
        }
        process::CREATE_BATON | baton::SET => {
            words = [random.below(60), random.below(3), random.below(100_000), 200_000 + random.below(1_000_000)];
        }
        process::CREATE_GATE => {
            words = [if random.chance(500) { 0 } else { any(Kind::Baton) }, random.below(100_000), 0, 0]
        }
        process::CREATE_PULSE => {
            words = [
                any(Kind::Gate),
                random.below(1000),
                random.below(2) | random.below(60) << 8,
                if random.chance(700) { 0 } else { any(Kind::Baton) },
            ];
        }
        process::MAP => words = [any(Kind::Memory), place | (1 + random.below(7)), random.below(8) * PAGE, length],
        process::UNMAP => words = [place, length, 0, 0],
        process::PROTECT => words = [place | random.below(8), length, 0, 0],
        process::SHARE_RANGE => words = [any(Kind::Process), place, length, 0],
        process::GROW_HANDLES => words[0] = random.below(300),
        process::CLOSE | process::DUPLICATE | process::HANDLE_INFORMATION | process::SET_INHERIT => {
            words[1] = if random.chance(500) { 1 } else { 0xff }
        }
        process::GIVE => words[1] = 0xff,
        process::NEXT_THREAD => words[0] = random.below(100),
        process::COPY_TABLE | process::COPY_ENTRY => words[0] = any(Kind::Process),
        process::DESTROY => {
            let kind = *random.choose(&[
                Kind::Thread,
                Kind::Baton,
                Kind::Gate,
                Kind::Pulse,
                Kind::Memory,
                Kind::Process,
                Kind::Connection,
            ]);
            words[0] = any(kind);
        }
        thread::START => {
            let body = wander(Rc::clone(knowledge));
            let base = user.world().unlucky_program("fuzz", body);
            words = [
                base,
                DATA + (1 + random.below(DATA_PAGES)) * PAGE,
                0,
                if random.chance(300) { 0 } else { any(Kind::Baton) },
            ];
        }
        thread::SET_BATON | gate::SET_RESERVE => words[0] = if random.chance(300) { 0 } else { any(Kind::Baton) },
        gate::CONNECT => {
            words = [random.below(50), if random.chance(500) { 0 } else { knowledge.request(random, true) }, 0, 0]
        }
        gate::REQUEST_INFORMATION => words[0] = knowledge.request(random, true),
        pulse::SET_ALARM => {
            words = [
                user.now() + random.below(200_000),
                if random.chance(500) { 0 } else { 5_000 + random.below(100_000) },
                0,
                0,
            ]
        }
        pulse::BIND_INTERRUPT => words = [any(Kind::Memory), random.below(LINES), random.below(2) * 50_000, 0],
        pulse::BIND_DEATH => words[0] = if random.chance(500) { any(Kind::Thread) } else { any(Kind::Process) },
        memory::DERIVE => {
            words = [Handle::SELF_PROCESS.0, random.below(8) * PAGE, (1 + random.below(4)) * PAGE, random.below(256)]
        }
        _ => {}
    }
    words
}

fn noted(knowledge: &Knowledge, answer: &Answer) {
    if answer.error().is_none() && answer.request != 0 {
        let mut requests = knowledge.requests.borrow_mut();
        requests.push_back(answer.request);
        if requests.len() > 12 {
            requests.pop_front();
        }
    }
}

/// One random thing.
async fn act(user: &User, knowledge: &Rc<Knowledge>) {
    let world = Rc::clone(user.world());
    let random = &world.random;
    let choice = random.below(100);
    let answer = match choice {
        0..=21 => {
            let target = knowledge.any(random, Some(Kind::Connection));
            decorate(user, knowledge, user.call(target), true).label(random.below(10)).await
        }
        22..=34 => {
            let at = knowledge.any(random, Some(Kind::Gate));
            let exchange = decorate(user, knowledge, user.receive(at), true);
            // Most of them come back some time.
            let exchange = if random.chance(750) {
                exchange.deadline(user.now() + random.below(30_000), flags::DEADLINE_RECEIVE)
            } else {
                exchange
            };
            exchange.await
        }
        35..=45 => {
            let request = knowledge.request(random, false);
            let at = knowledge.any(random, Some(Kind::Gate));
            let exchange = decorate(user, knowledge, user.reply_and_receive(request, at), true).label(random.below(3));
            let exchange = if random.chance(750) {
                exchange.deadline(user.now() + random.below(30_000), flags::DEADLINE_RECEIVE)
            } else {
                exchange
            };
            exchange.await
        }
        46..=51 => {
            let request = knowledge.request(random, false);
            decorate(user, knowledge, user.reply(request), true).label(random.below(3)).await
        }
        52..=55 => {
            let request = knowledge.request(random, true);
            user.read_request(request, random.below(300), address(random), length(random)).await
        }
        56..=59 => {
            let request = knowledge.request(random, true);
            user.write_request(request, random.below(300), address(random), length(random)).await
        }
        60..=64 => {
            let target = knowledge.any(random, Some(Kind::Pulse));
            user.raise(target, random.below(16)).await
        }
        65..=92 => {
            let (kind, methods) = *random.choose(&METHODS);
            let method = *random.choose(methods);
            if method == process::DESTROY && random.chance(700) {
                return;
            }
            let target = if kind == Kind::Process && random.chance(600) {
                Handle::SELF_PROCESS
            } else {
                knowledge.any(random, Some(kind))
            };
            let words = words(user, knowledge, method);
            let exchange = user.method(target, method, words);
            let exchange = if random.chance(900) { exchange } else { exchange.option(random.below(40)) };
            let exchange = if matches!(
                method,
                process::CREATE_PROCESS
                    | process::SET_QUOTA
                    | thread::CONFIGURE
                    | process::USAGE
                    | thread::READ_REGISTERS
            ) {
                let place = match method {
                    _ if random.chance(200) => address(random),
                    thread::CONFIGURE => CONFIGURATION,
                    _ => SMALL_QUOTA + 40 * random.below(2),
                };
                let length = if method == thread::CONFIGURE { 80 } else { 40 };
                exchange.send(place, length).room(address(random), 160)
            } else {
                exchange
            };
            let answer = exchange.await;
            if answer.error().is_none() && MAKERS.contains(&method) {
                knowledge.learn(answer.handle(), Kind::Free);
                let what =
                    user.method(Handle::SELF_PROCESS, process::HANDLE_INFORMATION, [answer.words[0], 0, 0, 0]).await;
                if let (None, Some(kind)) = (what.error(), Kind::from_number(what.words[1] as u8)) {
                    knowledge.handles.borrow_mut().retain(|(handle, _)| *handle != answer.handle());
                    knowledge.learn(answer.handle(), kind);
                }
            }
            return;
        }
        93..=95 => {
            let _ = user.compute(1 + random.below(20_000)).await;
            return;
        }
        96..=98 => {
            let place = if random.chance(50) { address(random) } else { DATA + random.below(DATA_PAGES * PAGE - 8) };
            if random.chance(500) {
                let _ = user.store(place, &random.next().to_le_bytes()).await;
            } else {
                let _ = user.load(place, 8).await;
            }
            return;
        }
        _ => user.raw(random.next() >> random.below(64), random.next() >> random.below(64)).await,
    };
    noted(knowledge, &answer);
}

type Body = std::pin::Pin<Box<dyn Future<Output = ()>>>;

/// What a random thread does, for ever.
fn wander(knowledge: Rc<Knowledge>) -> impl FnOnce(User) -> Body {
    move |user| {
        Box::pin(async move {
            loop {
                act(&user, &knowledge).await;
            }
        })
    }
}

/// A personality library's entry for foreign calls: does something of its own, and returns.
fn library(knowledge: Rc<Knowledge>) -> impl FnOnce(User) -> Body {
    move |user| {
        Box::pin(async move {
            loop {
                let mut registers = user.registers().await;
                let back = registers.general[2];
                if user.world().random.chance(700) {
                    act(&user, &knowledge).await;
                }
                registers.general[0] = user.world().random.below(30);
                registers.rip = back;
                user.jump(&registers).await;
            }
        })
    }
}

/// A personality library's entry for faults (at `saved` in its upcall block) or interrupts.
fn handler(knowledge: Rc<Knowledge>, flag: u64, saved: u64) -> impl FnOnce(User) -> Body {
    move |user| {
        Box::pin(async move {
            loop {
                let mut registers = user.registers().await;
                let rip = user.load(saved, 24).await;
                if user.world().random.chance(500) {
                    act(&user, &knowledge).await;
                }
                let _ = user.store(flag, &[0; 8]).await;
                let Ok(place) = rip else { continue };
                let word =
                    |index: usize| u64::from_le_bytes(place[index * 8..index * 8 + 8].try_into().expect("eight bytes"));
                registers.rip = word(0);
                registers.general[7] = word(1);
                registers.rflags = word(2);
                user.jump(&registers).await;
            }
        })
    }
}

/// A device that asserts its line every now and then.
fn device(world: &Rc<World>, line: u32) {
    let later = world.time() + 20_000 + world.random.below(300_000);
    world.at(later, move |world| {
        if world.random.chance(500) {
            world.edge(line);
        } else {
            let level = world.random.chance(500);
            world.set_line(line, level);
        }
        device(world, line);
    });
}

struct Member {
    process: Process,
    knowledge: Rc<Knowledge>,
    threads: Vec<Handle>,
    batons: Vec<Handle>,
}

/// One more process with threads, and something to play with for each.
async fn build(root: &Root, spare: &Spare, members: &[Member], faults: Handle) -> Member {
    let random = &root.user.world().random;
    let process = spare.process(root).await;
    let knowledge = Rc::new(Knowledge::default());
    root.user.method(process.handle, process::GROW_HANDLES, [128, 0, 0, 0]).ok().await;
    let small = Quota {
        threads: 2,
        batons: 2,
        gates: 1,
        connections: 3,
        pulses: 2,
        memories: 1,
        mappings: 3,
        pages: 12,
        priority: 40,
        processes: 0,
    };
    let mut bytes = quota_bytes(&small);
    bytes.extend(quota_bytes(&Quota { pages: 3, ..Quota::default() }));
    let physical = root.user.method(process.memory, memory::INFORMATION, [0; 4]).ok().await.words[2];
    root.user.world().memory().write(physical + (SMALL_QUOTA - DATA), &bytes);
    let plain = Configuration { native_mask: u64::MAX, upcall_block: BLOCK, ..Configuration::default() };
    root.user.world().memory().write(physical + (CONFIGURATION - DATA), &configuration_bytes(&plain));
    let (mut threads, mut batons) = (Vec::new(), Vec::new());
    let mut give = Vec::new();
    for _ in 0..2 {
        let reserve =
            if random.chance(500) { root.baton(&process, random.below(60) as u8).await } else { Handle::NONE };
        let gate = root.gate_with(&process, reserve, random.below(100_000)).await;
        give.push((gate, Kind::Gate));
        let pulse_baton = if random.chance(300) { root.baton(&process, 10).await } else { Handle::NONE };
        give.push((
            root.pulse(&process, gate, random.below(9), random.below(60) as u8, random.chance(500), pulse_baton).await,
            Kind::Pulse,
        ));
        for handle in [reserve, pulse_baton] {
            if !handle.is_none() {
                give.push((handle, Kind::Baton));
            }
        }
        give.push((root.connect(gate, random.below(100)).await, Kind::Connection));
        // Others can call it too.
        for member in members {
            let connection = root.connect(gate, random.below(100)).await;
            let _ = root.user.method(member.process.handle, process::GIVE, [connection.0, 0xff, 0, 0]).await;
            root.close(connection).await;
        }
    }
    let interrupts = root
        .user
        .method(root.record().interrupts, memory::DERIVE, [process.handle.0, 0, LINES, 0xff])
        .ok()
        .await
        .handle();
    give.push((interrupts, Kind::Memory));
    let part = root
        .user
        .method(process.memory, memory::DERIVE, [process.handle.0, 0, DATA_PAGES * PAGE, 0xff])
        .ok()
        .await
        .handle();
    give.push((part, Kind::Memory));
    for number in 0..3 {
        let block = BLOCK + 0x80 * number;
        let policy = *random.choose(&[Policy::Fifo, Policy::RoundRobin, Policy::Sporadic]);
        let slice = 20_000 + random.below(100_000);
        let baton = root
            .baton_with(&process, 1 + random.below(50) as u8, policy, slice, slice * (2 + random.below(5)), 1)
            .await;
        let world = root.user.world();
        let body = wander(Rc::clone(&knowledge));
        let foreign = random.chance(300);
        let base = if foreign { world.foreign_program("foreign", body) } else { world.unlucky_program("fuzz", body) };
        let mut plan = Plan::new(&process, "fuzz").baton(baton).fault(faults);
        if foreign || random.chance(500) {
            plan = plan.configuration(Configuration {
                native_mask: abi::NATIVE_BASE,
                upcall_syscall: world.unlucky_program("library", library(Rc::clone(&knowledge))),
                upcall_interrupt: world.program("interrupt", handler(Rc::clone(&knowledge), block, block + 16)),
                upcall_fault: if random.chance(700) {
                    world.program("fault", handler(Rc::clone(&knowledge), block + 8, block + 64))
                } else {
                    0
                },
                upcall_block: block,
                window_start: base,
                window_end: base + random.below(2),
                ..Configuration::default()
            });
        }
        let thread = root.create_thread(&plan, base).await;
        let stack = DATA + (1 + random.below(DATA_PAGES)) * PAGE;
        root.user.method(thread.handle, thread::START, [base, stack, 0, baton.0]).ok().await;
        threads.push(thread.handle);
        let spare =
            root.user.method(Handle::SELF_PROCESS, process::DUPLICATE, [baton.0, 0xff, 0, 0]).ok().await.handle();
        batons.push(spare);
        give.push((baton, Kind::Baton));
    }
    for (handle, kind) in give {
        let given = root.user.method(process.handle, process::GIVE, [handle.0, 0xff, 0, 0]).await;
        if given.error().is_none() {
            knowledge.learn(given.handle(), kind);
        }
        root.close(handle).await;
    }
    for member in members {
        // Some may manage others.
        if random.chance(500) {
            let given = root
                .user
                .method(
                    process.handle,
                    process::GIVE,
                    [member.process.handle.0, u64::from(Rights::ALL.0 & !Rights::DESTROY.0), 0, 0],
                )
                .await;
            knowledge.learn(given.handle(), Kind::Process);
        }
        for thread in &member.threads {
            let given =
                root.user.method(process.handle, process::GIVE, [thread.0, u64::from(Rights::ALL.0), 0, 0]).await;
            if given.error().is_none() {
                knowledge.learn(given.handle(), Kind::Thread);
            }
        }
    }
    Member { process, knowledge, threads, batons }
}

/// Memories that are used again when their process is gone.
#[derive(Default)]
struct Spare {
    memories: RefCell<Vec<Handle>>,
    identities: Cell<u64>,
}

impl Spare {
    async fn process(&self, root: &Root) -> Process {
        let quota = Quota {
            processes: 2,
            threads: 8,
            batons: 16,
            gates: 6,
            connections: 24,
            pulses: 12,
            memories: 12,
            mappings: 40,
            pages: 60,
            priority: 60,
        };
        let recycled = self.memories.borrow_mut().pop();
        self.identities.set(self.identities.get() + 1);
        root.process_reusing(quota, recycled).await
    }
}

/// The body of a random run: builds, pages, kills and rebuilds until so many steps of user code were made, then takes
/// everything down and insists that nothing is left.
pub async fn run(root: Root, steps: u64) {
    // Threads of all processes write where they like, also while the kernel reads it.
    root.user.world().share(DATA, PAGE);
    let user = root.user.clone();
    let world = Rc::clone(user.world());
    let random = &world.random;
    let before = root.usage(Handle::SELF_PROCESS).await.used;
    let arena_before = root.arena_used().await;
    for line in 0..LINES {
        device(&world, line as u32);
    }
    let spare = Spare::default();
    let faults = root.connect(root.own_gate(), 1).await;
    let field = root.memory(FIELD_PAGES).await;
    let mut members: Vec<Member> = Vec::new();
    let end = world.steps() + steps;
    while world.steps() < end {
        while members.len() < PROCESSES {
            let member = build(&root, &spare, &members, faults).await;
            members.push(member);
        }
        let until = user.now() + 30_000;
        let message = user.receive(root.own_gate()).deadline(until, flags::DEADLINE_RECEIVE).await;
        if message.error().is_none() && message.request != 0 {
            // A fault: mend it or not.
            let place = message.words[0] & !(PAGE - 1);
            let mut label = 1;
            if let Some(member) = members.iter().find(|member| member.process.identity == message.identity)
                && message.label == abi::notice::FAULT_PAGE
                && random.chance(700)
            {
                let _ = user.method(member.process.handle, process::UNMAP, [place, PAGE, 0, 0]).repeat().await;
                let page = random.below(FIELD_PAGES) * PAGE;
                let mapped = user
                    .method(
                        member.process.handle,
                        process::MAP,
                        [field.0, place | access::READ | access::WRITE, page, PAGE],
                    )
                    .repeat()
                    .await;
                label = u64::from(mapped.error().is_some());
            }
            let _ = user.reply(message.request).label(label).await;
            continue;
        }
        let victim = random.below(members.len() as u64) as usize;
        let which = random.below(3) as usize;
        let thread = members[victim].threads[which];
        match random.below(120) {
            0 => {
                let member = members.swap_remove(victim);
                take_down(&root, &spare, member).await;
            }
            1 => drop(user.method(thread, thread::STOP, [0; 4]).await),
            2..=12 => drop(user.method(thread, thread::CONTINUE, [0; 4]).await),
            13..=30 => drop(user.method(thread, thread::INTERRUPT, [0; 4]).await),
            31 => {
                // A server dies.
                let _ = user.method(Handle::SELF_PROCESS, process::DESTROY, [thread.0, 0, 0, 0]).repeat().await;
            }
            32..=60 => {
                // It may have died of a fault: let it live again.
                let base = world.unlucky_program("again", wander(Rc::clone(&members[victim].knowledge)));
                let baton = members[victim].batons[which];
                let stack = DATA + (1 + random.below(DATA_PAGES)) * PAGE;
                let _ = user.method(thread, thread::START, [base, stack, 0, baton.0]).await;
            }
            _ => drop(user.method(thread, thread::STATE, [0; 4]).await),
        }
    }
    for member in members {
        take_down(&root, &spare, member).await;
    }
    root.close(faults).await;
    root.destroy(field).await;
    for memory in spare.memories.take() {
        root.destroy(memory).await;
    }
    // Notices to root's gate that nobody took keep nothing alive.
    while user.receive(root.own_gate()).poll().await.error().is_none() {}
    let after = root.usage(Handle::SELF_PROCESS).await.used;
    assert_eq!(after, before, "something of the quota was not given back");
    assert_eq!(root.arena_used().await, arena_before, "something of the arena was not given back");
}

async fn take_down(root: &Root, spare: &Spare, member: Member) {
    let user = &root.user;
    root.destroy(member.process.handle).await;
    for thread in member.threads.into_iter().chain(member.batons) {
        let closed = user.method(Handle::SELF_PROCESS, process::CLOSE, [thread.0, 0, 0, 0]).await;
        assert!(matches!(closed.error(), None | Some(Error::BadHandle)));
    }
    spare.memories.borrow_mut().push(member.process.memory);
}
