//! What is measured with: other address spaces that run functions of this program, memory, and time.
//!
//! All processes share the program's image, its statics included: that is how they tell each other numbers without a message.

use core::cell::Cell;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use abi::boot::{BootRecord, RAM_RANGES};
use abi::call::flags::DEADLINE_RECEIVE;
use abi::object::access;
use abi::thread::Policy;
use abi::{Error, Handle, PAGE_SIZE, Quota, Rights};
use runtime::object::{memory, process, thread};
use runtime::{Buffers, Options};

use crate::row::ticks;

/// Where the image begins (runtime/link.ld), and the most it may have.
const IMAGE_ADDRESS: u64 = 0x40_0000;
const IMAGE_MAXIMUM: u64 = 0x40_0000;
/// The other side's stack.
const STACK_ADDRESS: u64 = 0x3000_0000;
const STACK_LENGTH: u64 = 4 * PAGE_SIZE;
/// A buffer that every side has at this address, each its own.
pub(crate) const BUFFER_ADDRESS: u64 = 0x3100_0000;
/// Bytes of that buffer.
const BUFFER_LENGTH: u64 = 64 * 1024;

/// Priority of what measures.
pub(crate) const PRIORITY: u8 = 100;
/// Above it.
pub(crate) const STRONGER: u8 = 150;
/// Below it.
pub(crate) const WEAKER: u8 = 50;
/// Below all else.
const CROWD: u8 = 20;

/// Handles that one of the others can be given.
const GIVEN: usize = 4;
/// The others that can exist at a time.
const OTHERS: usize = 8;
/// What each of the others was given, as it names it.
static HANDLES: [[AtomicU64; GIVEN]; OTHERS] = [const { [const { AtomicU64::new(0) }; GIVEN] }; OTHERS];

/// What one of the others was given, found by its argument.
pub(crate) fn given(argument: u64) -> [Handle; GIVEN] {
    HANDLES[argument as usize % OTHERS].each_ref().map(|handle| Handle(handle.load(Relaxed)))
}

/// All that the machine has.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) boot: &'static BootRecord,
    /// The largest range of RAM, and how much of it is in use.
    ram: Handle,
    used: Cell<u64>,
    /// Where nothing ever arrives.
    rest: Handle,
    started: Cell<usize>,
}

impl World {
    /// Take the machine over.
    ///
    /// # Errors
    /// It is too small.
    pub(crate) fn new(boot: &'static BootRecord) -> Result<Self, Error> {
        let own = Handle::SELF_PROCESS;
        process::grow_handles(own, 16_384)?;
        let ranges = &boot.ram[..(boot.ram_count as usize).min(RAM_RANGES)];
        let length = |range: &Handle| memory::information(*range).map_or(0, |information| information.length);
        let ram = *ranges.iter().max_by_key(|range| length(range)).ok_or(Error::Exhausted)?;
        let rest = process::create_gate(own, Handle::NONE, 0)?;
        let baton = process::create_baton(own, PRIORITY, Policy::RoundRobin, 0)?;
        thread::set_baton(Handle::CURRENT_THREAD, baton)?;
        let world = Self { boot, ram, used: Cell::new(0), rest, started: Cell::new(0) };
        world.map_new(own, BUFFER_ADDRESS, BUFFER_LENGTH)?;
        Ok(world)
    }

    /// Memory that nobody else has. It is never given back: there is enough.
    ///
    /// # Errors
    /// There is not enough.
    pub(crate) fn memory(&self, length: u64) -> Result<Handle, Error> {
        let memory = memory::derive(self.ram, Handle::SELF_PROCESS, self.used.get(), length, Rights::ALL)?;
        self.used.set(self.used.get() + length);
        Ok(memory)
    }

    /// New memory, mapped.
    ///
    /// # Errors
    /// Quotas, or no memory.
    pub(crate) fn map_new(&self, space: Handle, address: u64, length: u64) -> Result<(), Error> {
        let memory = self.memory(length)?;
        process::map(space, memory, address, access::READ | access::WRITE, 0, length)?;
        runtime::handle::close(memory);
        Ok(())
    }

    /// Nanoseconds since boot, as the kernel has them.
    pub(crate) fn now(&self) -> u64 {
        let ticks = u128::from(ticks().wrapping_sub(self.boot.tsc_base));
        (ticks * 1_000_000_000 / u128::from(self.boot.tsc_hz.max(1))) as u64
    }

    /// Let the weaker ones run for so long.
    ///
    /// # Errors
    /// The kernel does not let it rest.
    pub(crate) fn rest(&self, nanoseconds: u64) -> Result<(), Error> {
        let options = Options { flags: DEADLINE_RECEIVE, deadline: self.now() + nanoseconds };
        match runtime::receive(self.rest, &mut Buffers::new(), options) {
            Err(Error::TimedOut) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(Error::Unsupported),
        }
    }

    /// Another address space with this program in it, and a thread that is not started yet.
    ///
    /// # Errors
    /// Quotas, or no memory.
    pub(crate) fn other(&self, faults: Handle) -> Result<Other, Error> {
        let own = Handle::SELF_PROCESS;
        let quota = Quota {
            threads: 64,
            batons: 64,
            gates: 4,
            connections: 4,
            pulses: 4,
            mappings: 256,
            pages: 64,
            priority: u32::from(u8::MAX),
            ..Quota::default()
        };
        let space = process::create_process(own, 0xbe7c, &quota)?;
        // Write access stays in both: else this side could no longer write its own data.
        process::share_range(space, own, IMAGE_ADDRESS, IMAGE_MAXIMUM, true)?;
        self.map_new(space, STACK_ADDRESS, STACK_LENGTH)?;
        self.map_new(space, BUFFER_ADDRESS, BUFFER_LENGTH)?;
        let thread = process::create_thread(space, faults)?;
        let number = self.started.replace(self.started.get() + 1) % OTHERS;
        Ok(Other { process: space, thread, number, given: Cell::new(0) })
    }

    /// A gate of this side's, and a connection to it.
    ///
    /// # Errors
    /// Quotas.
    pub(crate) fn gate(&self) -> Result<Gate, Error> {
        let gate = process::create_gate(Handle::SELF_PROCESS, Handle::NONE, 0)?;
        Ok(Gate { gate, connection: runtime::object::gate::connect(gate, 7, 0)? })
    }

    /// Another side that receives at a new gate.
    ///
    /// # Errors
    /// Quotas, or no memory.
    pub(crate) fn server(&self, body: extern "C" fn(u64) -> !, priority: u8) -> Result<Server, Error> {
        let (gate, other) = (self.gate()?, self.other(Handle::NONE)?);
        other.give(gate.gate, Rights::RECEIVE)?;
        other.start(body, priority, 0)?;
        // Until it waits.
        self.rest(20_000)?;
        Ok(Server { gate, other })
    }
}

/// A gate and a connection to it, both this side's.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) gate: Handle,
    pub(crate) connection: Handle,
}

impl Gate {
    /// Destroy it.
    ///
    /// # Errors
    /// It is destroyed already.
    pub(crate) fn end(self) -> Result<(), Error> {
        process::destroy(self.gate)?;
        runtime::handle::close(self.connection);
        Ok(())
    }
}

/// Another address space that runs a function of this program.
#[derive(Debug)]
pub(crate) struct Other {
    pub(crate) process: Handle,
    thread: Handle,
    number: usize,
    given: Cell<usize>,
}

impl Other {
    /// Give it a handle: the next of [`given`].
    ///
    /// # Errors
    /// The handle may not be given.
    pub(crate) fn give(&self, handle: Handle, rights: Rights) -> Result<(), Error> {
        let there = process::give(self.process, handle, rights)?;
        HANDLES[self.number][self.given.get() % GIVEN].store(there.0, Relaxed);
        self.given.set(self.given.get() + 1);
        Ok(())
    }

    /// Let it run `body` on a baton of its own.
    ///
    /// # Errors
    /// Quotas.
    pub(crate) fn start(&self, body: extern "C" fn(u64) -> !, priority: u8, slice_ns: u64) -> Result<(), Error> {
        let baton = process::create_baton(self.process, priority, Policy::RoundRobin, slice_ns)?;
        // As a called function finds it: the stack 8 below a multiple of 16.
        let stack = STACK_ADDRESS + STACK_LENGTH - 8;
        thread::start(self.thread, body as usize as u64, stack, self.number as u64, baton)
    }

    /// Take its own baton from it: it runs on its callers' from now on.
    ///
    /// # Errors
    /// It has ended.
    pub(crate) fn make_passive(&self) -> Result<(), Error> {
        thread::set_baton(self.thread, Handle::NONE)
    }

    /// End it.
    ///
    /// # Errors
    /// It has been destroyed already.
    pub(crate) fn end(self) -> Result<(), Error> {
        runtime::handle::close(self.thread);
        process::destroy(self.process)
    }
}

/// Another side that receives at a gate of this side's.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) gate: Gate,
    pub(crate) other: Other,
}

impl Server {
    /// End it.
    ///
    /// # Errors
    /// It has been destroyed already.
    pub(crate) fn end(self) -> Result<(), Error> {
        self.other.end()?;
        self.gate.end()
    }
}

extern "C" fn crowd(_: u64) -> ! {
    loop {
        core::hint::spin_loop();
    }
}

/// Handles and ready threads that are only there, in one process.
#[derive(Debug)]
pub(crate) struct Crowd {
    threads: [(Handle, Handle); CROWD_THREADS],
}

/// Ready threads of a crowd.
const CROWD_THREADS: usize = 50;
/// Open handles of a crowd.
const CROWD_HANDLES: usize = 100;

impl Crowd {
    /// 100 open handles and 50 ready threads in a process.
    ///
    /// # Errors
    /// Quotas.
    pub(crate) fn new(world: &World, space: Handle) -> Result<Self, Error> {
        process::grow_handles(space, 256)?;
        for _ in 0..CROWD_HANDLES {
            process::give(space, world.rest, Rights::SEND)?;
        }
        let mut threads = [(Handle::NONE, Handle::NONE); CROWD_THREADS];
        for (thread, baton) in &mut threads {
            *thread = process::create_thread(space, Handle::NONE)?;
            *baton = process::create_baton(space, CROWD, Policy::RoundRobin, 0)?;
            thread::start(*thread, crowd as *const () as u64, 0, 0, *baton)?;
        }
        Ok(Self { threads })
    }

    /// End the threads.
    ///
    /// # Errors
    /// They have ended already.
    pub(crate) fn end(self) -> Result<(), Error> {
        for (thread, baton) in self.threads {
            process::destroy(thread)?;
            process::destroy(baton)?;
        }
        Ok(())
    }
}
