//! The imaginary processor itself, under a kernel of a few lines.

use std::cell::Cell;
use std::rc::Rc;

use abi::object::access;
use kernel::machine::{Context, CopyFault, Frame, Machine, Outcome, PageAccess, Trap};
use simulator::context::SimulatedContext;
use simulator::processor::SpaceName;
use simulator::{Processor, Settings, World};

const PLACE: u64 = 0x10_0000_0000;
const ARENA: u64 = 0x10_0000;
const RW: PageAccess = PageAccess { bits: access::READ | access::WRITE, device: false };

struct Bench {
    world: Rc<World>,
    processor: Processor,
    frames: Cell<u64>,
    limit: Cell<u64>,
}

impl Bench {
    fn new(seed: u64, settings: Settings) -> Self {
        let world = World::new(seed, settings);
        world.set_arena(ARENA, 0x10_0000);
        Self { processor: Processor::new(Rc::clone(&world)), world, frames: Cell::new(0), limit: Cell::new(u64::MAX) }
    }

    fn frame(&self) -> Option<Frame> {
        let number = self.frames.get();
        (number < self.limit.get()).then(|| {
            self.frames.set(number + 1);
            Frame(ARENA + number * abi::PAGE_SIZE)
        })
    }

    fn space(&self) -> SpaceName {
        self.processor.create_space(self.frame().unwrap())
    }

    fn map(&self, space: SpaceName, address: u64, physical: u64, pages: u64) -> bool {
        self.processor.map(space, address, physical, pages, RW, &mut || self.frame())
    }
}

fn run(seed: u64) -> u64 {
    let bench = Bench::new(seed, Settings { spurious_per_mille: 50, ..Settings::default() });
    let space = bench.space();
    assert!(bench.map(space, PLACE, 0x80_0000, 4));
    let program = bench.world.program("echo", |user| async move {
        for round in 0..20 {
            let answer = user.call(abi::Handle(3)).words([round, 0, 0, 0]).send(PLACE, 10).await;
            assert_eq!(answer.words[0], round + 1);
            user.store_word(PLACE + 4090, round).await;
            let _ = user.compute(500).await;
        }
    });
    let context = SimulatedContext::default();
    context.start(program, PLACE + 4 * abi::PAGE_SIZE, 0);
    bench.processor.set_alarm(5_000);
    bench.processor.unmask(4, true);
    bench.world.at(7_000, |world| world.edge(4));
    let (mut alarms, mut interrupts) = (0, 0);
    loop {
        match bench.processor.enter(space, &context) {
            Trap::Call => {
                let words = context.words();
                context.set_outcome(Outcome::default());
                context.set_message(0, [words[0] + 1, 0, 0, 0]);
            }
            Trap::Alarm => alarms += 1,
            Trap::Interrupt { line } => {
                assert_eq!(line, 4);
                interrupts += 1;
            }
            Trap::Kick => {}
            Trap::Exception { vector: 6, .. } => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((alarms, interrupts), (1, 1));
    bench.world.trace().borrow().hash()
}

#[test]
fn equal_seeds_give_equal_traces_and_others_others() {
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn a_fault_is_repeated_until_it_is_mended() {
    let bench = Bench::new(3, Settings { spurious_per_mille: 0, ..Settings::default() });
    let space = bench.space();
    let program = bench.world.program("toucher", |user| async move {
        user.store_word(PLACE + 4092, 0x0102_0304_0506_0708).await;
        assert_eq!(user.load_word(PLACE + 4092).await, 0x0102_0304_0506_0708);
    });
    let context = SimulatedContext::default();
    context.start(program, 0, 0);
    let write = abi::notice::access::WRITE;
    assert_eq!(bench.processor.enter(space, &context), Trap::PageFault { address: PLACE + 4092, access: write });
    assert!(bench.map(space, PLACE, 0x80_0000, 1));
    assert_eq!(bench.processor.enter(space, &context), Trap::PageFault { address: PLACE + 4096, access: write });
    let read_only = PageAccess { bits: access::READ, device: false };
    assert!(bench.processor.map(space, PLACE + 4096, 0x90_0000, 1, read_only, &mut || bench.frame()));
    assert_eq!(
        bench.processor.enter(space, &context),
        Trap::PageFault { address: PLACE + 4096, access: write | abi::notice::access::PRESENT }
    );
    assert!(bench.processor.protect(space, PLACE + 4096, 1, RW, &mut || bench.frame()));
    assert_eq!(bench.processor.enter(space, &context), Trap::Exception { vector: 6, code: 0 });
}

#[test]
fn copies_stop_at_the_first_bad_page_of_either_side() {
    let bench = Bench::new(3, Settings::default());
    let (from, to) = (bench.space(), bench.space());
    assert!(bench.map(from, PLACE, 0x80_0000, 3) && bench.map(to, PLACE, 0x90_0000, 2));
    let bytes: Vec<u8> = (0..8192_u32).map(|number| (number % 251) as u8).collect();
    assert!(bench.processor.write(from, PLACE, &bytes));
    assert_eq!(bench.processor.copy(from, PLACE + 3, to, PLACE + 100, 8000), (8000, None));
    let mut back = vec![0; 8000];
    assert!(bench.processor.read(to, PLACE + 100, &mut back));
    assert_eq!(back, bytes[3..8003]);
    assert_eq!(bench.processor.copy(from, PLACE, to, PLACE + 8000, 1000), (192, Some(CopyFault::Destination)));
    assert_eq!(bench.processor.copy(from, PLACE + 3 * 4096 - 5, to, PLACE, 1000), (5, Some(CopyFault::Source)));
}

#[test]
fn page_tables_cost_frames_and_give_them_back() {
    let bench = Bench::new(3, Settings { large_pages: true, ..Settings::default() });
    let space = bench.space();
    // One large page and two small ones behind it: three levels and a leaf.
    assert!(bench.map(space, PLACE, 0x20_0000 * 8, 512));
    assert!(bench.map(space, PLACE + 0x20_0000, 0x20_0000 * 9, 2));
    assert_eq!(bench.frames.get(), 1 + 3);
    bench.limit.set(bench.frames.get());
    assert!(!bench.processor.unmap(space, PLACE + 4096, 1, &mut || bench.frame()), "a split needs a frame");
    bench.limit.set(u64::MAX);
    assert!(bench.processor.unmap(space, PLACE + 4096, 1, &mut || bench.frame()));
    assert_eq!(bench.processor.copy(space, PLACE + 4090, space, PLACE, 100), (6, Some(CopyFault::Source)));
    assert!(bench.processor.unmap(space, PLACE, 514, &mut || None));
    let mut released = 0;
    while bench.processor.release_table(space).is_some() {
        released += 1;
    }
    assert_eq!(released, bench.frames.get() - 1);
    bench.processor.destroy_space(space);
    assert_eq!(bench.world.table_frames(), 0);
}
