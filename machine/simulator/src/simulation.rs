//! A kernel on a simulated processor, run until its scenario has shown what it was to show.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::rc::Rc;
use std::sync::Once;

use kernel::{Boot, Capacities, Kernel, PortRange, Range};

use crate::arena::Arena;
use crate::invariant::{self, Requests, State};
use crate::processor::{Processor, Settings, World};
use crate::scenario::Root;

/// Physical address of the arena's frames, and where they are if there are many.
const FRAMES: u64 = 0x10_0000;
const MANY_FRAMES: u64 = 1 << 40;
/// Physical address of the ring of the trace.
pub(crate) const RING: u64 = 0x200_0000;
/// Physical address of the boot archive.
const ARCHIVE: u64 = 0x400_0000;
/// Physical address of RAM for programs.
const RAM: u64 = 0x800_0000;
const RAM_LENGTH: u64 = 1 << 30;
/// Physical addresses of devices.
const DEVICES: Range = Range { base: 0xc000_0000, length: 0x1000_0000 };

/// The first of two ports that the kernel keeps.
pub const KEPT_PORT: u16 = 0x40;

/// Most that the kernel may do between two looks at pending interrupts: bytes copied, pages mapped and unmapped, page
/// tables taken back.
const BYTES: u64 = 32 * 1024;
const PAGES: u64 = 16 * 512;
const FRAMES_BACK: u64 = 64;

/// As much of everything as scenarios need, and little enough to be used up.
#[must_use]
pub const fn capacities() -> Capacities {
    Capacities {
        threads: 512,
        handle_pages: 1024,
        processes: 128,
        batons: 1024,
        gates: 256,
        connections: 2048,
        pulses: 512,
        memories: 1024,
        mappings: 4096,
        frames: 4096,
    }
}

/// A kernel and its world.
#[derive(Debug)]
pub struct Simulation {
    world: Rc<World>,
    // Dropped before the memory it uses: fields are dropped in this order.
    kernel: Rc<Kernel<Processor>>,
    _arena: Arena,
}

/// What came of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// A number that two runs share only if the same happened in both, at the same times.
    pub hash: u64,
    /// Events in the trace.
    pub events: u64,
    /// How often user code ran.
    pub steps: u64,
    /// Simulated time at the end, ns.
    pub time_ns: u64,
}

impl Simulation {
    /// A machine that was just switched on, with `entry` as init's first instruction.
    fn new(world: &Rc<World>, entry: u64, capacities: Capacities) -> Self {
        let (arena, tables) = Arena::new();
        let length = u64::from(capacities.frames - 1) * abi::PAGE_SIZE;
        let frame_base = if FRAMES + length <= RING { FRAMES } else { MANY_FRAMES };
        world.set_arena(frame_base, length);
        let mut boot = Boot {
            capacities,
            frame_base,
            module: ARCHIVE,
            entry,
            archive: Range { base: ARCHIVE, length: abi::PAGE_SIZE },
            devices: DEVICES,
            interrupts: 24,
            tsc_hz: 1_000_000_000,
            ram_total: RAM_LENGTH,
            arena_length: u64::from(capacities.frames) * abi::PAGE_SIZE,
            trace: Range { base: RING, length: abi::trace::RING_LENGTH },
            ..Boot::default()
        };
        boot.kept_ports[1] = PortRange { first: KEPT_PORT, count: 2 };
        boot.ram[0] = Range { base: RAM, length: RAM_LENGTH };
        let kernel = Rc::new(Kernel::new(Processor::new(Rc::clone(world)), tables, &boot));
        kernel.start(&boot);
        world.set_kernel(&kernel);
        Self { world: Rc::clone(world), kernel, _arena: arena }
    }

    /// The kernel.
    #[must_use]
    pub fn kernel(&self) -> &Kernel<Processor> {
        &self.kernel
    }

    fn run(&self, settings: &Settings, watch: impl Fn(&Kernel<Processor>)) {
        let (mut steps, mut requests) = (0_u64, Requests::default());
        while !self.world.is_finished() {
            self.kernel.step();
            watch(&self.kernel);
            if steps.is_multiple_of(settings.check_every) {
                invariant::check_schedule(&State::new(&self.kernel), &self.world);
                requests.check(&State::new(&self.kernel));
            }
            if steps.is_multiple_of(settings.check_every * settings.objects_every) {
                invariant::check_objects(&State::new(&self.kernel), &self.world);
            }
            let piece = self.world.largest_piece();
            assert!(
                piece.bytes <= BYTES && piece.pages <= PAGES && piece.frames <= FRAMES_BACK,
                "too long without a look: {piece:?}"
            );
            assert!(!self.world.is_hung(), "nothing can run, nothing will come, and the scenario is not done");
            steps += 1;
            assert!(steps < settings.patience, "the scenario never ends");
        }
    }

    fn report(&self) -> Report {
        let trace = self.world.trace().borrow();
        Report { hash: trace.hash(), events: trace.count(), steps: self.world.steps(), time_ns: self.world.time() }
    }

    /// What happened last, and what every thread is doing, for people.
    fn explain(&self, seed: u64, settings: &Settings) {
        eprintln!("seed {seed}, {settings:?}, simulated time {} ns; the last events:", self.world.time());
        if let Ok(trace) = self.world.trace().try_borrow() {
            eprintln!("{trace}");
        }
        eprintln!("programs:");
        for (name, base, finished) in self.world.program_names() {
            eprintln!("    {base:#x} {name}{}", if finished { " (finished)" } else { "" });
        }
        eprintln!("threads (baton, thread on the processor: {:?}):", self.kernel.running());
        for index in 1..self.kernel.slots(abi::object::Kind::Thread) {
            let thread = self.kernel.view_thread(index);
            if thread.header.charged() {
                let name = self.world.program_at(thread.instruction_pointer).unwrap_or_default();
                eprintln!(
                    "    {index} {name} {}{}: {thread:x?}",
                    thread.state.name(),
                    if thread.stopped { " STOPPED" } else { "" }
                );
                eprintln!("        baton {:?}", self.kernel.view_baton(thread.current));
            }
        }
    }
}

thread_local! {
    /// What runs in this thread, for whoever explains a panic.
    static PRESENT: RefCell<Option<(Rc<Simulation>, u64, Settings)>> = const { RefCell::new(None) };
}

thread_local! {
    /// Panics are expected, and not to be explained.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Do something that may panic many times, without a word.
pub fn quietly<R>(action: impl FnOnce() -> R) -> R {
    explain_panics();
    QUIET.set(true);
    let result = action();
    QUIET.set(false);
    result
}

/// While it lives, a panic is explained by what the simulation was doing.
struct Present;

impl Present {
    fn new(simulation: &Rc<Simulation>, seed: u64, settings: Settings) -> Self {
        PRESENT.set(Some((Rc::clone(simulation), seed, settings)));
        Self
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        PRESENT.take();
    }
}

/// From now on a panic says what happened before it, and how to repeat it (also where panics abort).
fn explain_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let earlier = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if QUIET.get() {
                return;
            }
            earlier(panic);
            PRESENT.with_borrow(|present| {
                if let Some((simulation, seed, settings)) = present {
                    simulation.explain(*seed, settings);
                }
            });
        }));
    });
}

/// Switch the machine on, and refuse one of the allocations that the kernel makes before init runs: where that was asked for,
/// if the kernel then halted; `None`: it came up, because there are fewer.
#[must_use]
pub fn refused_boot(count: u64) -> Option<&'static Location<'static>> {
    let world = World::new(0, Settings::default());
    world.refuse_allocation_after(count);
    let boot = || drop(Simulation::new(&world, 0, capacities()));
    quietly(|| catch_unwind(AssertUnwindSafe(boot))).err().and_then(|_| world.refused_at())
}

/// Run `body` as init once, with everything decided by `seed`; on failure say what happened, and how to repeat it.
pub fn run<F: Future<Output = ()> + 'static>(
    seed: u64,
    settings: Settings,
    body: impl FnOnce(Root) -> F + 'static,
) -> Report {
    run_watched(seed, settings, body, |_| {})
}

/// The same, with something that looks at the kernel after each of its steps.
pub fn run_watched<F: Future<Output = ()> + 'static>(
    seed: u64,
    settings: Settings,
    body: impl FnOnce(Root) -> F + 'static,
    watch: impl Fn(&Kernel<Processor>),
) -> Report {
    let world = World::new(seed, settings);
    if settings.verbose {
        world.trace().borrow_mut().keep_all();
    }
    let entry = world.program("root", |user| async move {
        let world = Rc::clone(user.world());
        body(Root::new(user).await).await;
        world.finish();
    });
    let simulation = Rc::new(Simulation::new(&world, entry, settings.capacities));
    explain_panics();
    let _present = Present::new(&simulation, seed, settings);
    simulation.run(&settings, watch);
    let report = simulation.report();
    if settings.verbose {
        for ((operation, method, error), count) in world.coverage() {
            let operation = abi::Operation::from_number(operation)
                .map_or_else(|| operation.to_string(), |operation| format!("{operation:?}"));
            let error = abi::Error::from_number(error).map_or_else(|| "ok".to_string(), |error| format!("{error:?}"));
            println!("{operation} {} {error}: {count}", abi::object::method_name(method).unwrap_or(""));
        }
    }
    world.forget_programs();
    report
}
