//! The imaginary processor: virtual time, interrupt lines, spaces, and the programs that run as user code ([`execute`]). The kernel
//! sees it through [`machine`].
//!
//! What must hold: nothing here reads a clock, starts a thread or iterates in an order that addresses decide. Every
//! choice comes from [`World::random`].

mod execute;
mod machine;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::rc::{Rc, Weak};

use abi::object::access;
use kernel::Kernel;
use kernel::machine::Trap;

use crate::memory::Memory;
use crate::program::{Program, Shared, User};
use crate::random::Random;
use crate::space::{Tables, Translation};
use crate::trace::{Event, Trace};

pub use machine::Processor;

const PAGE: u64 = abi::PAGE_SIZE;
/// When the kernel starts, simulated ns.
pub(crate) const BOOT_TIME: u64 = 1000;
/// Where native programs' code is.
const NATIVE_CODE: u64 = abi::NATIVE_BASE + 0x1000_0000;
/// Where foreign programs' code is.
const FOREIGN_CODE: u64 = 0x4000_0000;
/// Ports from here on lower the interrupt line of their number when they are written, and read as its level.
pub const LINE_PORTS: u16 = 0x100;

/// How unkind the processor is.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// In how many of 1000 steps of user code a spurious trap comes.
    pub spurious_per_mille: u64,
    /// Whether aligned runs are mapped with large pages.
    pub large_pages: bool,
    /// In how many of 1000 traps entry code deals with what stopped the thread, as far as x86_64's does; the kernel's loop else.
    pub dealt_with_per_mille: u64,
    /// Interrupts come only between exchanges, so that who watches sees one event at a time.
    pub one_event_a_step: bool,
    /// Longest time that a step of user code takes, ns.
    pub step_ns: u64,
    /// In how many of 1000 exchanges of [`World::unlucky_program`]s the kernel has nothing left to allocate.
    pub unlucky_per_mille: u64,
    /// At so many of 1000 points where another processor could do it, memory that programs share with it changes: see
    /// [`World::share`].
    pub meddling_per_mille: u64,
    /// The invariants are checked after every so many steps of the kernel.
    pub check_every: u64,
    /// The dearer ones, of objects, only every so many'th time.
    pub objects_every: u64,
    /// After how many steps of the kernel a run is called endless.
    pub patience: u64,
    /// Print what happens.
    pub verbose: bool,
    /// How much of everything the kernel has.
    pub capacities: kernel::Capacities,
}

impl Settings {
    /// What most scenarios run with.
    pub const ORDINARY: Self = Self {
        spurious_per_mille: 5,
        large_pages: false,
        dealt_with_per_mille: 500,
        one_event_a_step: false,
        step_ns: 200,
        unlucky_per_mille: 0,
        meddling_per_mille: 0,
        check_every: 1,
        objects_every: 61,
        patience: 2_000_000,
        verbose: false,
        capacities: crate::simulation::capacities(),
    };
}

impl Default for Settings {
    fn default() -> Self {
        Self::ORDINARY
    }
}

/// What another processor writes into memory that programs share with it.
pub const MEDDLED: u64 = 0x4d4d_0000_0000_4d4d;

/// The name of a simulated space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpaceName(u64);

/// An interrupt line and the device at it.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    unmasked: bool,
    /// The device asserts it.
    level: bool,
    /// An edge came that was not yet taken.
    edge: bool,
    edge_triggered: bool,
}

impl Line {
    const fn pending(self) -> bool {
        self.unmasked && if self.edge_triggered { self.edge } else { self.level }
    }
}

type DeviceEvent = Box<dyn FnOnce(&Rc<World>)>;
type Meter = Box<dyn Fn(u64, u64, u64)>;
type Onlooker = Box<dyn Fn(u64, u64)>;

/// Called before user code goes on.
type EntryWatcher = Box<dyn Fn(&Kernel<Processor>)>;

/// Everything outside the kernel.
pub struct World {
    settings: Settings,
    /// The source of every choice.
    pub random: Random,
    /// Chooses who deals with a trap: apart, so that nothing else depends on that choice.
    entry_random: Random,
    /// What its entry code asks.
    kernel: RefCell<Weak<Kernel<Processor>>>,
    /// Told before user code goes on.
    entries: RefCell<Option<EntryWatcher>>,
    /// Entry code is at work, and nothing comes meanwhile.
    quiet: Cell<bool>,
    memory: Memory,
    now: Cell<u64>,
    alarm: Cell<u64>,
    lines: RefCell<BTreeMap<u32, Line>>,
    events: RefCell<BTreeMap<(u64, u64), DeviceEvent>>,
    event_count: Cell<u64>,
    spaces: RefCell<BTreeMap<SpaceName, Tables>>,
    space_count: Cell<u64>,
    table_frames: RefCell<BTreeSet<u64>>,
    arena: Cell<(u64, u64)>,
    programs: RefCell<Vec<Rc<RefCell<Program>>>>,
    trace: RefCell<Trace>,
    finished: Cell<bool>,
    hung: Cell<bool>,
    idle_ns: Cell<u64>,
    steps: Cell<u64>,
    coverage: RefCell<BTreeMap<(u8, u16, u16), u64>>,
    /// All allocations of the kernel are refused at the moment.
    unlucky: Cell<bool>,
    /// Allocations until the one that is refused, if one is to be.
    refused_after: Cell<Option<u64>>,
    /// Where the kernel asked for it.
    refused_at: Cell<Option<&'static Location<'static>>>,
    /// What another processor changes, and how often it did.
    shared: RefCell<Vec<(u64, u64)>>,
    meddled: Cell<u64>,
    /// Time stands still.
    held: Cell<bool>,
    piece: Cell<Piece>,
    largest_piece: Cell<Piece>,
    /// The program on the processor, by its base (0: it idles); `None`: the kernel.
    running: Cell<Option<u64>>,
    /// Told of all time that passes in programs and idle.
    meter: RefCell<Option<Meter>>,
    /// Told of all that programs read and write.
    onlooker: RefCell<Option<Onlooker>>,
}

/// What the kernel had the processor do between two looks at pending interrupts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// Bytes copied between spaces.
    pub bytes: u64,
    /// Pages mapped, unmapped or protected.
    pub pages: u64,
    /// Page-table frames taken back.
    pub frames: u64,
}

impl fmt::Debug for World {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("World")
            .field("now", &self.now)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl World {
    /// A world in which nothing has happened.
    #[must_use]
    pub fn new(seed: u64, settings: Settings) -> Rc<Self> {
        Rc::new(Self {
            settings,
            random: Random::new(seed),
            entry_random: Random::new(!seed),
            kernel: RefCell::default(),
            entries: RefCell::default(),
            quiet: Cell::default(),
            memory: Memory::default(),
            now: Cell::new(BOOT_TIME),
            alarm: Cell::new(u64::MAX),
            lines: RefCell::default(),
            events: RefCell::default(),
            event_count: Cell::new(0),
            spaces: RefCell::default(),
            space_count: Cell::new(0),
            table_frames: RefCell::default(),
            arena: Cell::new((0, 0)),
            programs: RefCell::default(),
            trace: RefCell::default(),
            finished: Cell::new(false),
            hung: Cell::new(false),
            idle_ns: Cell::new(0),
            steps: Cell::new(0),
            coverage: RefCell::default(),
            unlucky: Cell::new(false),
            refused_after: Cell::new(None),
            refused_at: Cell::new(None),
            shared: RefCell::default(),
            meddled: Cell::new(0),
            held: Cell::new(false),
            piece: Cell::default(),
            largest_piece: Cell::default(),
            running: Cell::new(None),
            meter: RefCell::default(),
            onlooker: RefCell::default(),
        })
    }

    /// Have this called before user code goes on, when the kernel has done all that follows from what came before.
    pub fn watch_entries(&self, onlooker: impl Fn(&Kernel<Processor>) + 'static) {
        self.entries.replace(Some(Box::new(onlooker)));
    }

    fn about_to_run(&self) {
        if let Some(onlooker) = &*self.entries.borrow()
            && let Some(kernel) = self.kernel.borrow().upgrade()
        {
            onlooker(&kernel);
        }
    }

    /// The kernel that runs here: from now on entry code may ask it.
    pub(crate) fn set_kernel(&self, kernel: &Rc<Kernel<Processor>>) {
        self.kernel.replace(Rc::downgrade(kernel));
    }

    /// Say which physical addresses are the kernel's own, so that a mapping of them is found out.
    pub fn set_arena(&self, start: u64, length: u64) {
        self.arena.set((start, start + length));
    }

    /// Simulated time, ns.
    #[must_use]
    pub fn time(&self) -> u64 {
        self.now.get()
    }

    /// How long the processor was idle, ns.
    #[must_use]
    pub fn idle_time(&self) -> u64 {
        self.idle_ns.get()
    }

    /// How often user code ran.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps.get()
    }

    /// The most that the kernel did without a look at pending interrupts, each figure for itself.
    #[must_use]
    pub fn largest_piece(&self) -> Piece {
        self.largest_piece.get()
    }

    fn work(&self, add: impl FnOnce(&mut Piece)) {
        let mut piece = self.piece.get();
        add(&mut piece);
        self.piece.set(piece);
        let largest = self.largest_piece.get();
        self.largest_piece.set(Piece {
            bytes: largest.bytes.max(piece.bytes),
            pages: largest.pages.max(piece.pages),
            frames: largest.frames.max(piece.frames),
        });
    }

    /// How often which exchange ended how: by operation, method (calls of objects) and error (0: none).
    #[must_use]
    pub fn coverage(&self) -> BTreeMap<(u8, u16, u16), u64> {
        self.coverage.borrow().clone()
    }

    /// The simulated physical memory.
    #[must_use]
    pub const fn memory(&self) -> &Memory {
        &self.memory
    }

    /// What has happened.
    #[must_use]
    pub const fn trace(&self) -> &RefCell<Trace> {
        &self.trace
    }

    /// The scenario has shown what it was to show.
    pub fn finish(&self) {
        self.finished.set(true);
    }

    /// Whether [`World::finish`] was called.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.finished.get()
    }

    /// Let so many allocations of the kernel succeed from now on, and refuse the one after.
    pub fn refuse_allocation_after(&self, count: u64) {
        self.refused_after.set(Some(count));
    }

    /// Whether an allocation is still to be refused.
    #[must_use]
    pub fn is_refusal_due(&self) -> bool {
        self.refused_after.get().is_some()
    }

    /// Whether the next allocation of the kernel is the one that is refused.
    #[must_use]
    pub fn is_refusal_next(&self) -> bool {
        self.refused_after.get() == Some(0)
    }

    /// Where in its source the kernel asked for what it was refused.
    #[must_use]
    pub fn refused_at(&self) -> Option<&'static Location<'static>> {
        self.refused_at.get()
    }

    /// Whether the kernel went idle with nothing that could ever end it.
    #[must_use]
    pub fn is_hung(&self) -> bool {
        self.hung.get()
    }

    /// Every program's name, base and whether it has ended.
    #[must_use]
    pub fn program_names(&self) -> Vec<(String, u64, bool)> {
        self.programs
            .borrow()
            .iter()
            .map(|program| {
                program.try_borrow().map_or_else(
                    |_| ("(running)".to_string(), 0, false),
                    |program| (program.name.clone(), program.base, program.finished),
                )
            })
            .collect()
    }

    /// Have `meter` told which program ran (by its base; 0: none, the processor idled), for how many ns, until when.
    pub fn meter(&self, meter: impl Fn(u64, u64, u64) + 'static) {
        *self.meter.borrow_mut() = Some(Box::new(meter));
    }

    /// Have `onlooker` told whenever a program (by its base) is about to read or write at an address, also if that will fault.
    pub fn watch_accesses(&self, onlooker: impl Fn(u64, u64) + 'static) {
        *self.onlooker.borrow_mut() = Some(Box::new(onlooker));
    }

    fn about_to_access(&self, program: u64, address: u64) {
        if let Some(onlooker) = &*self.onlooker.borrow() {
            onlooker(program, address);
        }
    }

    fn set_time(&self, now: u64) {
        let ns = now - self.now.replace(now);
        if let (Some(meter), Some(program)) = (&*self.meter.borrow(), self.running.get())
            && ns != 0
        {
            meter(program, ns, now);
        }
    }

    /// Drop all programs: they refer to the world, which would keep itself alive.
    pub fn forget_programs(&self) {
        self.meter.take();
        self.onlooker.take();
        let programs = self.programs.take();
        self.events.take();
        drop(programs);
    }

    /// The name of the program whose code is at `address`.
    #[must_use]
    pub fn program_at(&self, address: u64) -> Option<String> {
        let program = self.find(address)?;
        let name = program.1.try_borrow().map_or_else(|_| "(running)".to_string(), |program| program.name.clone());
        Some(name)
    }

    fn add(self: &Rc<Self>, name: &str, code: u64, build: impl FnOnce(User) -> crate::program::Body) -> u64 {
        let number = self.programs.borrow().len() as u64;
        let base = code + number * PAGE;
        let shared = Rc::new(Shared::default());
        let body = build(User { world: Rc::clone(self), shared: Rc::clone(&shared), base });
        let program = Program {
            name: name.to_string(),
            base,
            body: Some(body),
            shared,
            pending: None,
            issued: false,
            finished: false,
            expected: None,
            unlucky: false,
        };
        self.programs.borrow_mut().push(Rc::new(RefCell::new(program)));
        base
    }

    /// Add a native program; the answer is where a thread is to start.
    pub fn program<F: Future<Output = ()> + 'static>(self: &Rc<Self>, name: &str, body: impl FnOnce(User) -> F) -> u64 {
        self.add(name, NATIVE_CODE, |user| Box::pin(body(user)))
    }

    /// Add a native program whose exchanges may lack memory.
    pub fn unlucky_program<F: Future<Output = ()> + 'static>(
        self: &Rc<Self>,
        name: &str,
        body: impl FnOnce(User) -> F,
    ) -> u64 {
        let base = self.program(name, body);
        self.programs.borrow().last().expect("just added").borrow_mut().unlucky = true;
        base
    }

    /// Add a program outside the native range.
    pub fn foreign_program<F: Future<Output = ()> + 'static>(
        self: &Rc<Self>,
        name: &str,
        body: impl FnOnce(User) -> F,
    ) -> u64 {
        self.add(name, FOREIGN_CODE, |user| Box::pin(body(user)))
    }

    fn find(&self, address: u64) -> Option<(u32, Rc<RefCell<Program>>)> {
        let programs = self.programs.borrow();
        for code in [NATIVE_CODE, FOREIGN_CODE] {
            if let Some(offset) = address.checked_sub(code)
                && let Some(program) = programs.get((offset / PAGE) as usize)
                && program.try_borrow().is_ok_and(|program| program.base == address & !(PAGE - 1))
            {
                return Some(((offset / PAGE) as u32, Rc::clone(program)));
            }
        }
        None
    }

    /// Let a device do something later.
    pub fn at(&self, time: u64, event: impl FnOnce(&Rc<Self>) + 'static) {
        let number = self.event_count.get();
        self.event_count.set(number + 1);
        self.events.borrow_mut().insert((time.max(self.now.get() + 1), number), Box::new(event));
    }

    /// A device asserts (or not) a level-triggered line.
    pub fn set_line(&self, line: u32, level: bool) {
        self.lines.borrow_mut().entry(line).or_default().level = level;
    }

    /// Whether a device asserts a line.
    #[must_use]
    pub fn line(&self, line: u32) -> bool {
        self.lines.borrow().get(&line).is_some_and(|line| line.level)
    }

    /// Whether a line is masked at the interrupt controller.
    #[must_use]
    pub fn is_masked(&self, line: u32) -> bool {
        !self.lines.borrow().get(&line).is_some_and(|line| line.unmasked)
    }

    /// When the processor will cause an alarm.
    #[must_use]
    pub fn alarm_time(&self) -> u64 {
        self.alarm.get()
    }

    /// A device sends an edge.
    pub fn edge(&self, line: u32) {
        self.lines.borrow_mut().entry(line).or_default().edge = true;
    }

    /// Whether an edge came that was not yet taken: another makes no difference.
    #[must_use]
    pub fn is_latched(&self, line: u32) -> bool {
        self.lines.borrow().get(&line).is_some_and(|line| line.edge)
    }

    /// Let words of this run of addresses, in whatever space the kernel reads from or writes to, be changed by another
    /// processor: before each word of an envelope, before each structure, and between parts of a copy, by
    /// [`Settings::meddling_per_mille`]. Those of even addresses become [`MEDDLED`] or something small; nothing else does.
    pub fn share(&self, address: u64, length: u64) {
        assert!(address.is_multiple_of(8) && length >= 8);
        self.shared.borrow_mut().push((address, length));
    }

    /// How often another processor changed a word.
    #[must_use]
    pub fn meddled(&self) -> u64 {
        self.meddled.get()
    }

    /// The kernel is about to use memory of a space: another processor may be quicker.
    fn meddle(&self, space: SpaceName) {
        if !self.random.chance(self.settings.meddling_per_mille) || self.shared.borrow().is_empty() {
            return;
        }
        let (start, length) = *self.random.choose(&self.shared.borrow());
        let address = start + self.random.below(length / 8) * 8;
        if let Ok(physical) = self.translate(space, address, access::WRITE) {
            let word = if self.random.chance(500) { MEDDLED } else { self.random.below(5) };
            self.memory.write(physical, &word.to_le_bytes());
            self.meddled.set(self.meddled.get() + 1);
        }
    }

    /// How much of a copy is done before another processor may change memory: all, if none does.
    fn part(&self, length: u64) -> u64 {
        if self.settings.meddling_per_mille == 0 || length <= 8 {
            length
        } else {
            (1 + self.random.below(length / 8)) * 8
        }
    }

    /// Let time stand still, and no device interrupt, or go on: for what takes several calls and is to be one step to all others.
    pub fn hold_time(&self, held: bool) {
        self.held.set(held);
    }

    fn next_event(&self) -> Option<u64> {
        self.events.borrow().first_key_value().map(|((time, _), _)| *time)
    }

    /// Let time pass, and devices do what they do meanwhile.
    fn advance(self: &Rc<Self>, ns: u64) {
        if self.held.get() {
            return;
        }
        let until = self.now.get() + ns;
        while let Some(time) = self.next_event()
            && time <= until
        {
            self.set_time(self.now.get().max(time));
            let event = self.events.borrow_mut().pop_first().map(|(_, event)| event);
            event.expect("seen above")(self);
        }
        self.set_time(until);
    }

    /// What would stop user code now.
    fn due(&self) -> Option<Trap> {
        let alarm = self.alarm.get() <= self.now.get();
        let lines = self.lines.borrow();
        let pending = lines.iter().filter(|(_, line)| line.pending() && !self.held.get());
        let pending: Vec<u32> = pending.map(|(number, _)| *number).collect();
        drop(lines);
        if alarm && (pending.is_empty() || self.random.chance(500)) {
            self.alarm.set(u64::MAX);
            return Some(Trap::Alarm);
        }
        if pending.is_empty() {
            return None;
        }
        let number = *self.random.choose(&pending);
        let mut lines = self.lines.borrow_mut();
        let line = lines.get_mut(&number).expect("listed above");
        line.unmasked = false;
        line.edge = false;
        Some(Trap::Interrupt { line: number })
    }

    /// Where a user address is in memory; `Err(present)` if it is not mapped, or not so.
    fn translate(&self, space: SpaceName, address: u64, needed: u64) -> Result<u64, bool> {
        let spaces = self.spaces.borrow();
        let tables = spaces.get(&space).expect("a space that does not exist was used");
        if address >= abi::USER_END {
            return Err(false);
        }
        let Translation { physical, access } = tables.translate(address / PAGE).ok_or(false)?;
        if access.bits & needed == needed { Ok(physical + address % PAGE) } else { Err(true) }
    }

    /// Move bytes between user memory and a buffer, page by page; the length moved before it failed, and whether the page was present.
    fn access(
        &self,
        space: SpaceName,
        address: u64,
        length: u64,
        needed: u64,
        mut action: impl FnMut(u64, std::ops::Range<usize>),
    ) -> Result<(), (u64, bool)> {
        let mut done = 0;
        while done < length {
            let Some(at) = address.checked_add(done) else { return Err((done, false)) };
            let piece = (PAGE - at % PAGE).min(length - done);
            let physical = self.translate(space, at, needed).map_err(|present| (done, present))?;
            action(physical, done as usize..(done + piece) as usize);
            done += piece;
        }
        Ok(())
    }

    fn user_read(&self, space: SpaceName, address: u64, bytes: &mut [u8]) -> Result<(), (u64, bool)> {
        self.access(space, address, bytes.len() as u64, access::READ, |physical, range| {
            self.memory.read(physical, &mut bytes[range])
        })
    }

    fn user_write(&self, space: SpaceName, address: u64, bytes: &[u8]) -> Result<(), (u64, bool)> {
        self.access(space, address, bytes.len() as u64, access::WRITE, |physical, range| {
            self.memory.write(physical, &bytes[range])
        })
    }

    fn record(&self, event: Event) {
        self.trace.borrow_mut().record(self.now.get(), event);
    }

    /// Check what every space says of memory and page tables against what must hold.
    pub fn check_spaces(&self) {
        let (arena_start, arena_end) = self.arena.get();
        let spaces = self.spaces.borrow();
        let mut seen = BTreeSet::new();
        for tables in spaces.values() {
            for frame in tables.frames() {
                assert!(seen.insert(frame.0), "frame {:#x} is in two page tables", frame.0);
            }
            for (page, translation) in tables.translations() {
                let inside = (arena_start..arena_end).contains(&translation.physical);
                let record = page == abi::boot::RECORD_ADDRESS / PAGE && translation.access.bits == access::READ;
                assert!(!inside || record, "page {page:#x} is mapped to the kernel's arena");
            }
        }
        assert_eq!(seen, *self.table_frames.borrow(), "page-table frames");
    }

    /// How many page-table frames are in use in all spaces.
    #[must_use]
    pub fn table_frames(&self) -> usize {
        self.table_frames.borrow().len()
    }

    /// What a page of a space translates to.
    #[must_use]
    pub fn translation(&self, space: SpaceName, page: u64) -> Option<Translation> {
        self.spaces.borrow().get(&space)?.translate(page)
    }

    /// How many page tables a space has, and how many pages are mapped in it.
    #[must_use]
    pub fn space_figures(&self, space: SpaceName) -> Option<(usize, u64)> {
        self.spaces.borrow().get(&space).map(|tables| (tables.table_count(), tables.mapped()))
    }
}
