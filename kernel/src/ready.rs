//! The ready queues: 256 levels of batons, the strongest found in constant time. A baton keeps its turn in its level's ring until it
//! blocks, yields or its slice is over; the running one is in none.

use crate::baton::Place;
use crate::kernel::Kernel;
use crate::machine::Machine;
use crate::schedule::{ALARM, SCHEDULE};
use core::cell::Cell;

/// What belongs to one processor.
#[derive(Debug)]
pub(crate) struct Cpu {
    /// Who runs; meaningless while attention asks for scheduling.
    pub(crate) thread: Cell<u32>,
    /// On which baton.
    pub(crate) baton: Cell<u32>,
    /// Anything to do before user code runs; 0 on the message path.
    pub(crate) attention: Cell<u32>,
    /// The classes of events that are noted.
    pub(crate) classes: Cell<u32>,
    /// Up to when all time was billed, and until when the slice of the running baton lasts.
    pub(crate) since: Cell<u64>,
    pub(crate) slice_end: Cell<u64>,
    /// Heads of the circular ready queues, and which are not empty.
    pub(crate) heads: [Cell<u32>; 256],
    levels: [Cell<u64>; 4],
    /// The strongest level with a ready baton, −1: none.
    pub(crate) top: Cell<i32>,
    /// The first thread that is to be looked at, 0: none.
    pub(crate) looks: Cell<u32>,
    /// Who receives as soon as all are looked at, 0: nobody.
    pub(crate) receives: Cell<u32>,
    /// How many were to be looked at for their helpers since it was last decided who runs.
    pub(crate) helpers: Cell<u32>,
    /// Alarms by time.
    pub(crate) alarms: Cell<u32>,
    /// What the machine was told.
    pub(crate) programmed: Cell<u64>,
    /// ns without anything to run.
    pub(crate) idle: Cell<u64>,
    /// ns billed to batons that are no more.
    pub(crate) former: Cell<u64>,
    /// First idle pulse, and the one to look at next, 0: the first.
    pub(crate) idle_pulses: Cell<u32>,
    pub(crate) idle_cursor: Cell<u32>,
}

impl Cpu {
    pub(crate) fn new(now: u64) -> Self {
        Self {
            thread: Cell::new(0),
            baton: Cell::new(0),
            attention: Cell::new(SCHEDULE),
            classes: Cell::new(0),
            since: Cell::new(now),
            slice_end: Cell::new(u64::MAX),
            heads: [const { Cell::new(0) }; 256],
            levels: [const { Cell::new(0) }; 4],
            top: Cell::new(-1),
            looks: Cell::new(0),
            receives: Cell::new(0),
            helpers: Cell::new(0),
            alarms: Cell::new(0),
            programmed: Cell::new(u64::MAX),
            idle: Cell::new(0),
            former: Cell::new(0),
            idle_pulses: Cell::new(0),
            idle_cursor: Cell::new(0),
        }
    }

    /// Up to when all time was billed.
    pub(crate) fn since(&self) -> u64 {
        self.since.get()
    }

    pub(crate) fn attend(&self, what: u32) {
        self.attention.set(self.attention.get() | what);
    }

    /// The strongest level with a ready baton.
    pub(crate) fn strongest_level(&self) -> Option<u8> {
        u8::try_from(self.top.get()).ok()
    }

    fn find_top(&self) -> i32 {
        let mut word = self.levels.len();
        // Bound: 4 words.
        while word != 0 {
            word -= 1;
            let bits = self.levels[word & 3].get();
            if bits != 0 {
                return (word * 64) as i32 + 63 - bits.leading_zeros() as i32;
            }
        }
        -1
    }

    /// The first baton of a level, 0 if there is none.
    pub(crate) fn first_ready(&self, level: u8) -> u32 {
        self.heads[usize::from(level)].get()
    }

    fn mark(&self, level: u8, filled: bool) {
        let (word, bit) = (&self.levels[usize::from(level >> 6)], 1 << (level & 63));
        if filled {
            word.set(word.get() | bit);
            self.top.set(self.top.get().max(i32::from(level)));
        } else {
            word.set(word.get() & !bit);
            if self.top.get() == i32::from(level) {
                self.top.set(self.find_top());
            }
        }
    }
}

impl<M: Machine> Kernel<M> {
    /// Put a resting or running baton into the ready queue of its level.
    pub(crate) fn push(&self, index: u32, in_front: bool) {
        let baton = self.tables.baton(index);
        debug_assert!(index != 0 && baton.place.get() != Place::Queued);
        let level = baton.level.get();
        let head = &self.cpu.heads[usize::from(level)];
        baton.place.set(Place::Queued);
        if head.get() == 0 {
            baton.next.set(index);
            baton.previous.set(index);
            head.set(index);
            self.cpu.mark(level, true);
            return;
        }
        let first = self.tables.baton(head.get());
        let last = first.previous.get();
        baton.next.set(head.get());
        baton.previous.set(last);
        self.tables.baton(last).next.set(index);
        first.previous.set(index);
        if in_front {
            head.set(index);
        }
    }

    /// Take a baton out of its ready queue.
    pub(crate) fn pull(&self, index: u32) {
        let baton = self.tables.baton(index);
        debug_assert!(baton.place.get() == Place::Queued);
        let level = baton.level.get();
        let head = &self.cpu.heads[usize::from(level)];
        let (next, previous) = (baton.next.get(), baton.previous.get());
        baton.place.set(Place::Resting);
        if next == index {
            head.set(0);
            self.cpu.mark(level, false);
            return;
        }
        self.tables.baton(previous).next.set(next);
        self.tables.baton(next).previous.set(previous);
        if head.get() == index {
            head.set(next);
        }
    }

    /// The level of the running baton; −1: none.
    pub(crate) fn running_level(&self) -> i32 {
        match self.cpu.baton.get() {
            0 => -1,
            baton => i32::from(self.tables.baton(baton).level.get()),
        }
    }

    /// A resting baton has somebody to run again.
    pub(crate) fn make_ready(&self, index: u32) {
        if index == 0 || self.tables.baton(index).place.get() != Place::Resting {
            self.cpu.attend(SCHEDULE);
            return;
        }
        self.push(index, false);
        let level = i32::from(self.tables.baton(index).level.get());
        let running = self.running_level();
        if level > running {
            self.cpu.attend(SCHEDULE);
        } else if level == running {
            self.cpu.attend(ALARM);
        }
    }

    /// Nobody can run on this baton for now.
    pub(crate) fn rest(&self, index: u32) {
        match self.tables.baton(index).place.get() {
            Place::Queued => {
                self.pull(index);
                self.end_use(index);
            }
            Place::Running => self.cpu.attend(SCHEDULE),
            Place::Resting => {}
        }
    }

    /// The baton is on nobody's CPU and in no queue any more (it is about to be freed or changed).
    pub(crate) fn withdraw(&self, index: u32) {
        if self.cpu.baton.get() == index {
            self.undispatch();
        }
        self.rest(index);
    }

    /// A baton becomes the last of its level's queue, of which the first is taken out.
    pub(crate) fn take_turn(&self, index: u32, first: u32) {
        let (baton, taken) = (self.tables.baton(index), self.tables.baton(first));
        let head = &self.cpu.heads[usize::from(baton.level.get())];
        let (next, last) = (taken.next.get(), taken.previous.get());
        if next == first {
            baton.next.set(index);
            baton.previous.set(index);
            head.set(index);
            return;
        }
        // It takes the first one's place in the ring, whose beginning moves on.
        self.tables.baton(last).next.set(index);
        self.tables.baton(next).previous.set(index);
        baton.next.set(next);
        baton.previous.set(last);
        head.set(next);
    }
}
