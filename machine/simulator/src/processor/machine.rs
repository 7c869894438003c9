//! The processor as the kernel sees it: the `Machine` trait over a [`World`]. What a kernel must never ask of a processor is
//! asserted, not tolerated.

use std::panic::Location;
use std::rc::Rc;

use abi::object::access;
use abi::trace::{self, EVENTS};
use kernel::machine::{Context, CopyFault, Frame, Machine, PageAccess, Trap};

use super::{LINE_PORTS, PAGE, SpaceName, World};
use crate::context::SimulatedContext;
use crate::entry;
use crate::simulation::RING;
use crate::space::{LARGE, Tables};
use crate::trace::Event;

/// The processor as the kernel sees it.
#[derive(Clone, Debug)]
pub struct Processor {
    world: Rc<World>,
}

impl Processor {
    /// The processor of a world.
    #[must_use]
    pub const fn new(world: Rc<World>) -> Self {
        Self { world }
    }

    /// What is outside the kernel.
    #[must_use]
    pub const fn world(&self) -> &Rc<World> {
        &self.world
    }

    /// What stopped a thread: dealt with, or as the kernel's loop gets to know it.
    fn deal_with(&self, context: &SimulatedContext, trap: Trap) -> Trap {
        let world = &self.world;
        if !world.entry_random.chance(world.settings.dealt_with_per_mille) {
            return trap;
        }
        let Some(kernel) = world.kernel.borrow().upgrade() else { return trap };
        world.quiet.set(world.settings.one_event_a_step);
        entry::deal_with(&kernel, context, trap);
        world.quiet.set(false);
        Trap::Kick
    }

    fn with_tables<R>(
        &self,
        space: SpaceName,
        supply: &mut dyn FnMut() -> Option<Frame>,
        action: impl FnOnce(&mut Tables, &mut dyn FnMut() -> Option<Frame>) -> R,
    ) -> R {
        let mut spaces = self.world.spaces.borrow_mut();
        let tables = spaces.get_mut(&space).expect("a space that does not exist was used");
        let mut checked = || {
            let frame = supply()?;
            self.take_frame(frame);
            Some(frame)
        };
        action(tables, &mut checked)
    }

    fn take_frame(&self, frame: Frame) {
        let (start, end) = self.world.arena.get();
        assert!(
            frame.0.is_multiple_of(PAGE) && (start..end).contains(&frame.0),
            "{frame:x?} is not a page of the arena"
        );
        assert!(self.world.table_frames.borrow_mut().insert(frame.0), "{frame:x?} is already a page table");
    }
}

impl Machine for Processor {
    type Context = SimulatedContext;
    type Space = SpaceName;
    type Tables = &'static kernel::Tables<Self>;

    fn enter(&self, space: SpaceName, context: &SimulatedContext) -> Trap {
        let world = &self.world;
        world.about_to_run();
        world.piece.take();
        world.steps.set(world.steps.get() + 1);
        loop {
            world.running.set(Some(context.instruction_pointer() & !(PAGE - 1)));
            world.advance(1 + world.random.below(world.settings.step_ns));
            let trap = match world.due() {
                Some(trap) => Some(trap),
                None if world.is_finished() || world.random.chance(world.settings.spurious_per_mille) => {
                    Some(Trap::Kick)
                }
                None => world.execute(space, context),
            };
            world.running.set(None);
            if let Some(trap) = trap {
                let program = world.find(context.instruction_pointer()).map_or(u32::MAX - 1, |(number, _)| number);
                if trap != Trap::Call {
                    world.record(Event::Trap { program, trap });
                }
                return self.deal_with(context, trap);
            }
        }
    }

    fn idle(&self) -> Trap {
        let world = &self.world;
        world.unlucky.set(false);
        world.piece.take();
        if world.quiet.get() {
            return Trap::Kick;
        }
        loop {
            if let Some(trap) = world.due() {
                world.record(Event::Trap { program: u32::MAX, trap });
                return trap;
            }
            if world.random.chance(world.settings.spurious_per_mille) {
                return Trap::Kick;
            }
            let next = world.next_event().unwrap_or(u64::MAX).min(world.alarm.get());
            if next == u64::MAX {
                world.hung.set(!world.is_finished());
                return Trap::Kick;
            }
            let step = next.saturating_sub(world.now.get()).max(1);
            world.idle_ns.set(world.idle_ns.get() + step);
            world.running.set(Some(0));
            world.advance(step);
            world.running.set(None);
            if world.is_finished() {
                return Trap::Kick;
            }
        }
    }

    fn poll(&self) -> Option<Trap> {
        self.world.piece.take();
        if self.world.settings.one_event_a_step {
            return None;
        }
        let trap = self.world.due()?;
        self.world.record(Event::Trap { program: u32::MAX, trap });
        Some(trap)
    }

    fn now(&self) -> u64 {
        self.world.now.get()
    }

    fn set_alarm(&self, at_ns: u64) {
        self.world.alarm.set(at_ns);
    }

    fn create_space(&self, frame: Frame) -> SpaceName {
        self.take_frame(frame);
        self.world.memory.clear(frame.0);
        let name = SpaceName(self.world.space_count.get() + 1);
        self.world.space_count.set(name.0);
        self.world.spaces.borrow_mut().insert(name, Tables::new(frame));
        name
    }

    fn destroy_space(&self, space: SpaceName) -> Frame {
        let tables = self.world.spaces.borrow_mut().remove(&space).expect("a space that does not exist was destroyed");
        assert_eq!(tables.mapped(), 0, "a space was destroyed with translations");
        assert_eq!(tables.table_count(), 1, "a space was destroyed with page tables");
        assert!(self.world.table_frames.borrow_mut().remove(&tables.root().0));
        tables.root()
    }

    fn map(
        &self,
        space: SpaceName,
        address: u64,
        physical: u64,
        pages: u64,
        access: PageAccess,
        supply: &mut dyn FnMut() -> Option<Frame>,
    ) -> bool {
        self.world.work(|piece| piece.pages += pages);
        assert!(address.is_multiple_of(PAGE) && physical.is_multiple_of(PAGE), "map of {address:#x} to {physical:#x}");
        let last = address + (pages - 1) * PAGE;
        assert_eq!(address / (LARGE * PAGE), last / (LARGE * PAGE), "map of {pages} pages at {address:#x}");
        assert!(pages <= (abi::USER_END - address.min(abi::USER_END)) / PAGE, "map of {pages} pages at {address:#x}");
        let (start, end) = self.world.arena.get();
        let record = address == abi::boot::RECORD_ADDRESS && pages == 1;
        assert!(physical + pages * PAGE <= start || end <= physical || record, "the arena was mapped for a user");
        let large = self.world.settings.large_pages;
        self.with_tables(space, supply, |tables, supply| {
            tables.map(address / PAGE, physical, pages, access, large, supply) == pages
        })
    }

    fn unmap(&self, space: SpaceName, address: u64, pages: u64, supply: &mut dyn FnMut() -> Option<Frame>) -> bool {
        self.world.work(|piece| piece.pages += pages);
        assert!(address.is_multiple_of(PAGE));
        self.with_tables(space, supply, |tables, supply| tables.unmap(address / PAGE, pages, supply))
    }

    fn protect(
        &self,
        space: SpaceName,
        address: u64,
        pages: u64,
        access: PageAccess,
        supply: &mut dyn FnMut() -> Option<Frame>,
    ) -> bool {
        self.world.work(|piece| piece.pages += pages);
        assert!(address.is_multiple_of(PAGE));
        self.with_tables(space, supply, |tables, supply| tables.protect(address / PAGE, pages, access, supply))
    }

    fn release_table(&self, space: SpaceName) -> Option<Frame> {
        self.world.work(|piece| piece.frames += 1);
        let frame = self
            .world
            .spaces
            .borrow_mut()
            .get_mut(&space)
            .expect("a space that does not exist was used")
            .release_table()?;
        assert!(self.world.table_frames.borrow_mut().remove(&frame.0));
        Some(frame)
    }

    fn copy(
        &self,
        from: SpaceName,
        source: u64,
        to: SpaceName,
        destination: u64,
        length: u64,
    ) -> (u64, Option<CopyFault>) {
        let world = &self.world;
        let mut moved = 0;
        let mut page = [0; PAGE as usize];
        while moved < length {
            let (Some(read), Some(write)) = (source.checked_add(moved), destination.checked_add(moved)) else {
                return (
                    moved,
                    Some(if source.checked_add(moved).is_none() { CopyFault::Source } else { CopyFault::Destination }),
                );
            };
            world.meddle(from);
            world.meddle(to);
            let piece = world.part((PAGE - read % PAGE).min(PAGE - write % PAGE).min(length - moved));
            let Ok(read) = world.translate(from, read, access::READ) else { return (moved, Some(CopyFault::Source)) };
            let Ok(write) = world.translate(to, write, access::WRITE) else {
                return (moved, Some(CopyFault::Destination));
            };
            let bytes = &mut page[..piece as usize];
            world.memory.read(read, bytes);
            world.memory.write(write, bytes);
            moved += piece;
        }
        world.work(|piece| piece.bytes += moved);
        world.advance(moved / 16);
        (moved, None)
    }

    fn read(&self, space: SpaceName, address: u64, bytes: &mut [u8]) -> bool {
        self.world.meddle(space);
        self.world.user_read(space, address, bytes).is_ok()
    }

    fn write(&self, space: SpaceName, address: u64, bytes: &[u8]) -> bool {
        self.world.meddle(space);
        self.world.user_write(space, address, bytes).is_ok()
    }

    fn clear_frame(&self, frame: Frame) {
        self.world.memory.clear(frame.0);
    }

    fn mask(&self, line: u32) {
        self.world.lines.borrow_mut().entry(line).or_default().unmasked = false;
    }

    fn unmask(&self, line: u32, edge: bool) {
        let mut lines = self.world.lines.borrow_mut();
        let line = lines.entry(line).or_default();
        line.unmasked = true;
        line.edge_triggered = edge;
    }

    fn port_read(&self, port: u16, _bytes: u8) -> u32 {
        port.checked_sub(LINE_PORTS).map_or(u32::MAX, |line| u32::from(self.world.line(u32::from(line))))
    }

    fn port_write(&self, port: u16, _bytes: u8, _value: u32) {
        if let Some(line) = port.checked_sub(LINE_PORTS) {
            self.world.set_line(u32::from(line), false);
        }
    }

    fn trace(&self, event: u16, thread: u32, label: u64, word: u64, id: u64) {
        let memory = &self.world.memory;
        let mut head = [0; 8];
        memory.read(RING, &mut head);
        let written = u64::from_le_bytes(head);
        let length = size_of::<trace::Event>() as u64;
        memory.write(RING, &(written + length).to_le_bytes());
        let place = RING + PAGE + written % (EVENTS as u64 * length);
        let kind = (label & 0xffff_ffff) | u64::from(thread as u16) << 32 | u64::from(event) << 48;
        for (at, word) in [self.now(), id, word, kind].into_iter().enumerate() {
            memory.write(place + 8 * at as u64, &word.to_le_bytes());
        }
    }

    fn refuses_memory(&self) -> bool {
        let due = self.world.refused_after.get();
        self.world.refused_after.set(due.and_then(|count| count.checked_sub(1)));
        if due == Some(0) {
            self.world.refused_at.set(Some(Location::caller()));
        }
        due == Some(0) || self.world.unlucky.get()
    }

    fn print(&self, text: &str) {
        if self.world.settings.verbose {
            eprintln!("{:>12} kernel: {text}", self.now());
        }
    }

    fn halt(&self) -> ! {
        panic!("the kernel halted");
    }
}
