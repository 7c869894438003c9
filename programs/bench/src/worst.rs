//! What could keep the kernel busy for long: from outside it is counted how many of its instructions pass, in each of these
//! scenarios, without a point where an interrupt would be taken.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use abi::object::access;
use abi::thread::Policy;
use abi::{Error, Handle, PAGE_SIZE, Quota, Rights};
use runtime::object::process::Accumulate;
use runtime::object::{baton, gate, memory, process, pulse, thread};
use runtime::{Buffers, Message, Options};

use crate::row::Report;
use crate::world::{Gate, PRIORITY, STRONGER, WEAKER, World, given};
use crate::{mark, web};

/// Callers, and alarms.
pub(crate) const MANY: usize = 1_000;
/// Gates in a chain.
pub(crate) const CHAIN: usize = 16;
/// Takers of one interrupt line.
const TAKERS: usize = 8;
/// Times that the line is served.
const STORM: u64 = 500;
/// The long message.
const COPY_LENGTH: u64 = 16 << 20;
const COPY_ADDRESS: u64 = 0x5000_0000;
/// Stacks of this process's further threads.
const STACKS_ADDRESS: u64 = 0x3400_0000;
const STACK_LENGTH: u64 = 2048;
/// Pulses that are told of one death.
const DEATH_PULSES: usize = 8;
/// Threads whose ends are told one after the other.
const THREADS_AT_ONCE: usize = 3;
/// What is mapped several times over, to make 1 GiB.
const CHUNK: u64 = 128 << 20;
const CHUNKS: u64 = 8;
const CHUNKS_ADDRESS: u64 = 0x1_0000_0000;

/// This process's further threads, and their batons.
pub(crate) static THREADS: [AtomicU64; MANY] = [const { AtomicU64::new(0) }; MANY];
pub(crate) static BATONS: [AtomicU64; MANY] = [const { AtomicU64::new(0) }; MANY];
/// What they use: whom they call, and where they receive.
static CONNECTIONS: [AtomicU64; CHAIN + 1] = [const { AtomicU64::new(0) }; CHAIN + 1];
static GATES: [AtomicU64; CHAIN] = [const { AtomicU64::new(0) }; CHAIN];
static PORTS: AtomicU64 = AtomicU64::new(0);
static SERVED: AtomicU64 = AtomicU64::new(0);

pub(crate) fn load(handle: &AtomicU64) -> Handle {
    Handle(handle.load(Relaxed))
}

/// Start a further thread of this process: its argument is its number.
pub(crate) fn spawn(number: usize, body: extern "C" fn(u64) -> !, priority: u8) -> Result<(), Error> {
    let own = Handle::SELF_PROCESS;
    let thread = process::create_thread(own, Handle::NONE)?;
    let baton = process::create_baton(own, priority, Policy::RoundRobin, 0)?;
    THREADS[number].store(thread.0, Relaxed);
    BATONS[number].store(baton.0, Relaxed);
    let stack = STACKS_ADDRESS + STACK_LENGTH * (number as u64 + 1) - 8;
    thread::start(thread, body as usize as u64, stack, number as u64, baton)
}

/// Destroy what [`spawn`] made.
pub(crate) fn clear(count: usize) -> Result<(), Error> {
    for (thread, baton) in THREADS.iter().zip(&BATONS).take(count) {
        match process::destroy(load(thread)) {
            // It has ended itself.
            Ok(()) | Err(Error::BadHandle) => {}
            Err(error) => return Err(error),
        }
        process::destroy(load(baton))?;
    }
    Ok(())
}

pub(crate) fn end_itself(number: u64) -> ! {
    // It does not come back.
    let _ = process::destroy(load(&THREADS[number as usize % MANY]));
    runtime::entry::end()
}

/// Calls once, and ends whatever comes of it.
extern "C" fn call_once(number: u64) -> ! {
    let _ = runtime::call_words(load(&CONNECTIONS[0]), Message::default());
    end_itself(number)
}

/// A gate with as many callers, weaker and stronger ones; nobody receives.
fn with_callers(world: &World) -> Result<Gate, Error> {
    let gate = world.gate()?;
    CONNECTIONS[0].store(gate.connection.0, Relaxed);
    for number in 0..MANY {
        spawn(number, call_once, PRIORITY + 1 + (number * 7 % 100) as u8)?;
    }
    if gate::information(gate.gate)?.callers == MANY as u64 { Ok(gate) } else { Err(Error::NotFound) }
}

fn callers(world: &World) -> Result<(), Error> {
    mark::begin();
    let gate = with_callers(world)?;
    baton::set(load(&BATONS[MANY / 2]), STRONGER + 100, Policy::RoundRobin, 0)?;
    for _ in 0..MANY {
        let received = runtime::receive_words(gate.gate)?;
        runtime::reply(received.request, Message::default(), &Buffers::new())?;
    }
    mark::pause();
    gate.end()?;
    clear(MANY)
}

fn cancel(world: &World) -> Result<(), Error> {
    let gate = with_callers(world)?;
    mark::begin();
    gate.end()?;
    mark::pause();
    clear(MANY)
}

/// Serves its gate by asking the next; the last one takes its time.
extern "C" fn chain_link(number: u64) -> ! {
    let own = load(&GATES[number as usize % CHAIN]);
    let next = load(&CONNECTIONS[number as usize % CHAIN + 1]);
    let mut request = runtime::receive_words(own);
    while let Ok(received) = request {
        if next.is_none() {
            (0..2_000).for_each(|_| core::hint::spin_loop());
        } else if runtime::call_words(next, received.message).is_err() {
            break;
        }
        request = runtime::reply_and_receive_words(received.request, Message::default(), own);
    }
    end_itself(number)
}

fn chain(world: &World) -> Result<(), Error> {
    let gates: [Gate; CHAIN] = {
        let mut made = [const { None }; CHAIN];
        for place in &mut made {
            *place = Some(world.gate()?);
        }
        made.map(|gate| gate.unwrap_or(Gate { gate: Handle::NONE, connection: Handle::NONE }))
    };
    for (number, gate) in gates.iter().enumerate() {
        GATES[number].store(gate.gate.0, Relaxed);
        CONNECTIONS[number].store(gate.connection.0, Relaxed);
    }
    CONNECTIONS[CHAIN].store(0, Relaxed);
    for number in 0..CHAIN {
        spawn(number, chain_link, WEAKER)?;
    }
    world.rest(100_000)?;
    mark::begin();
    for arrival in 0..16 {
        // A weak caller sets the chain off; a strong one arrives at its beginning, the first time as soon as the first link
        // works, the last time when the last one does.
        spawn(CHAIN, call_once, WEAKER)?;
        world.rest(4_000 + 800 * arrival)?;
        spawn(CHAIN + 1, call_once, STRONGER)?;
        world.rest(1_000_000)?;
        for number in [CHAIN, CHAIN + 1] {
            process::destroy(load(&BATONS[number]))?;
            runtime::handle::close(load(&THREADS[number]));
        }
    }
    mark::pause();
    for gate in gates {
        gate.end()?;
    }
    world.rest(1_000_000)?;
    clear(CHAIN)
}

/// Receives a long message, and answers.
extern "C" fn take_long(argument: u64) -> ! {
    let [gate, ..] = given(argument);
    let mut buffers = Buffers::new();
    buffers.add_receive(COPY_ADDRESS + 3, COPY_LENGTH);
    let mut next = runtime::receive(gate, &mut buffers, Options::NONE);
    while let Ok(received) = next {
        let answer = Message::new(0, [received.moved, 0, 0, 0]);
        next = runtime::reply_and_receive_words(received.request, answer, gate);
    }
    runtime::entry::end()
}

fn copy(world: &World) -> Result<(), Error> {
    let room = COPY_LENGTH + 2 * PAGE_SIZE;
    world.map_new(Handle::SELF_PROCESS, COPY_ADDRESS, room)?;
    let (gate, other) = (world.gate()?, world.other(Handle::NONE)?);
    world.map_new(other.process, COPY_ADDRESS, room)?;
    other.give(gate.gate, Rights::RECEIVE)?;
    other.start(take_long, PRIORITY, 0)?;
    world.rest(20_000)?;
    let mut buffers = Buffers::new();
    buffers.add_send(COPY_ADDRESS + 1, COPY_LENGTH);
    mark::begin();
    let answer = runtime::call(gate.connection, Message::default(), &mut buffers, Options::NONE)?;
    mark::pause();
    if answer.message.words[0] != COPY_LENGTH {
        return Err(Error::LenderFault);
    }
    other.end()?;
    gate.end()
}

/// 10,000 objects of every kind, the end of some threads told to as many pulses as can be, and 1 GiB of mappings.
fn fill(world: &World, space: Handle) -> Result<(), Error> {
    let (target, chunk) = (process::create_gate(space, Handle::NONE, 0)?, world.memory(CHUNK)?);
    let small = world.memory(PAGE_SIZE)?;
    // Objects stay without a handle; but for connections.
    let made = |made: Result<Handle, Error>| made.map(runtime::handle::close);
    let mut told = [Handle::NONE; THREADS_AT_ONCE * DEATH_PULSES];
    let mut threads = 0;
    for number in 0..2_000 {
        let at = number as usize % told.len();
        let pulse = process::create_pulse(space, target, number, Accumulate::Or, 1, Handle::NONE)?;
        runtime::handle::close(core::mem::replace(&mut told[at], pulse));
        if number < 1_000 {
            let own = process::create_gate(space, Handle::NONE, 0)?;
            (0..2).try_for_each(|badge| gate::connect(own, badge, 0).map(drop))?;
            runtime::handle::close(own);
            made(process::create_baton(space, 1, Policy::RoundRobin, 0))?;
        }
        // One after the other, so that they end in one piece.
        for pulses in told.chunks(DEATH_PULSES).filter(|_| at == told.len() - 1) {
            let thread = process::create_thread(space, Handle::NONE)?;
            pulses.iter().try_for_each(|pulse| pulse::bind_death(*pulse, thread))?;
            runtime::handle::close(thread);
            threads += 1;
        }
        if number < 1_500 {
            made(memory::derive(small, space, 0, PAGE_SIZE, Rights::ALL))?;
            let address = COPY_ADDRESS + number * PAGE_SIZE;
            process::map(space, small, address, access::READ, 0, PAGE_SIZE)?;
            let alarm = process::create_pulse(space, target, number, Accumulate::Or, 1, Handle::NONE)?;
            pulse::set_alarm(alarm, u64::MAX - 1, 0)?;
            runtime::handle::close(alarm);
        }
    }
    told.into_iter().for_each(runtime::handle::close);
    (threads..1_000).try_for_each(|_| made(process::create_thread(space, Handle::NONE)))?;
    let writable = access::READ | access::WRITE;
    (0..CHUNKS).try_for_each(|at| process::map(space, chunk, CHUNKS_ADDRESS + at * CHUNK, writable, 0, CHUNK))
}

fn teardown(world: &World) -> Result<(), Error> {
    let quota = Quota {
        threads: 1_000,
        batons: 1_000,
        gates: 1_001,
        connections: 2_000,
        pulses: 3_500,
        memories: 1_500,
        mappings: 1_600,
        pages: 1_000,
        priority: 255,
        ..Quota::default()
    };
    let space = process::create_process(Handle::SELF_PROCESS, 0xbe7c, &quota)?;
    fill(world, space)?;
    mark::begin();
    process::destroy(space)?;
    mark::pause();
    Ok(())
}

/// Alarms that come while this program waits, or computes.
fn alarms(world: &World, computes: bool) -> Result<(), Error> {
    let own = Handle::SELF_PROCESS;
    let gate = world.gate()?;
    let mut pulses = [Handle::NONE; MANY];
    let due = world.now() + 5_000_000;
    for (number, place) in pulses.iter_mut().enumerate() {
        *place = process::create_pulse(own, gate.gate, number as u64, Accumulate::Or, number as u8, Handle::NONE)?;
        pulse::set_alarm(*place, due, 0)?;
    }
    mark::begin();
    if computes {
        while world.now() < due + 5_000_000 {}
    } else {
        world.rest(10_000_000)?;
    }
    mark::pause();
    if gate::information(gate.gate)?.pulses != MANY as u64 {
        return Err(Error::NotFound);
    }
    pulses.into_iter().try_for_each(process::destroy)?;
    gate.end()
}

/// The serial port: it interrupts as long as it is asked to and has nothing to send.
mod uart {
    use super::{Error, Handle, memory};

    pub(super) const LINE: u64 = 4;
    const INTERRUPT_ENABLE: u64 = 0x3f9;
    const MODEM_CONTROL: u64 = 0x3fc;
    const WHEN_EMPTY: u32 = 2;
    /// OUT2, which lets interrupts through on PCs.
    const THROUGH: u32 = 8;

    pub(super) fn ask(ports: Handle) -> Result<(), Error> {
        memory::port_write(ports, MODEM_CONTROL, 1, THROUGH)?;
        memory::port_write(ports, INTERRUPT_ENABLE, 1, WHEN_EMPTY)
    }

    pub(super) fn quiet(ports: Handle) -> Result<(), Error> {
        memory::port_write(ports, INTERRUPT_ENABLE, 1, 0)
    }
}

/// One of those who share a line: it leaves the device alone, so that there is an interrupt as soon as all are ready for one,
/// until it has been often enough.
extern "C" fn take_interrupts(number: u64) -> ! {
    let own = load(&GATES[number as usize % CHAIN]);
    while runtime::receive_words(own).is_ok() {
        if SERVED.fetch_add(1, Relaxed) == STORM && uart::quiet(load(&PORTS)).is_err() {
            break;
        }
    }
    end_itself(number)
}

fn storm(world: &World) -> Result<(), Error> {
    let own = Handle::SELF_PROCESS;
    PORTS.store(world.boot.ports.0, Relaxed);
    let mut pulses = [Handle::NONE; TAKERS];
    for (number, place) in pulses.iter_mut().enumerate() {
        let gate = process::create_gate(own, Handle::NONE, 0)?;
        GATES[number].store(gate.0, Relaxed);
        *place = process::create_pulse(own, gate, 1, Accumulate::Or, PRIORITY, Handle::NONE)?;
        pulse::bind_interrupt(*place, world.boot.interrupts, uart::LINE, 0, pulse::Trigger::Level)?;
        spawn(number, take_interrupts, STRONGER)?;
    }
    mark::begin();
    uart::ask(world.boot.ports)?;
    world.rest(20_000_000)?;
    mark::pause();
    if SERVED.load(Relaxed) <= STORM {
        return Err(Error::TimedOut);
    }
    pulses.into_iter().try_for_each(process::destroy)?;
    GATES.iter().take(TAKERS).try_for_each(|gate| process::destroy(load(gate)))?;
    world.rest(1_000_000)?;
    clear(TAKERS)
}

/// The scenarios.
pub(crate) fn rows(world: &World, report: &Report) {
    let stacks = STACK_LENGTH * MANY as u64;
    if let Err(error) = world.map_new(Handle::SELF_PROCESS, STACKS_ADDRESS, stacks) {
        return report.failed("worst cases", error);
    }
    let row = |name, how, result: Result<(), Error>| report.stretch(name, how, result.map(|()| mark::end_section()));
    row(
        "worst_callers",
        "1,000 callers come to wait at one gate, one is made stronger, all are served",
        callers(world),
    );
    row("worst_chain", "a strongest caller arrives where a chain of 16 gates begins", chain(world));
    row("worst_copy", "a message of 16 MiB", copy(world));
    row(
        "worst_teardown",
        "destroying a process with 10,000 objects, ends of threads told to 8 pulses each, and 1 GiB mapped",
        teardown(world),
    );
    row("worst_alarms", "1,000 alarms due at once", alarms(world, false).and_then(|()| alarms(world, true)));
    row("worst_cancel", "destroying a gate with 1,000 callers", cancel(world));
    row(
        "worst_web",
        "changes and deaths in a chain of 16 gates with 15 threads behind and 40 callers at each",
        web::web(world),
    );
    row("worst_tree", "the one thread stops for whom 256 batons wait", web::tree(world));
    row("worst_storm", "an interrupt line with 8 takers, as fast as its device can", storm(world));
}
