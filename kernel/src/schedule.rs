//! The scheduler: 256 ready levels of batons, found in constant time.
//!
//! A ready baton runs its holder; if the holder waits, it runs whoever the holder waits for (*helping*): the busy
//! receiver of the gate it waits at, or the server that works on its request, through at most 16 gates. Only the
//! strongest waiter of a gate helps. A baton for which nobody can run rests; whatever makes a thread runnable makes its
//! current baton ready, and those that would help it.
//!
//! The running baton is in no queue. Nothing here runs on the plain message path, which leaves the baton on the CPU
//! as it is.

use crate::alarm::AlarmOf;
use crate::baton::{Baton, Hold, NO_USE, Place};
use crate::gate::Waiter;
use crate::kernel::Kernel;
use crate::machine::Machine;
use crate::thread::{READY, RECEIVE, REPLY, SEND, STOPPED, Work};
use abi::thread::Policy;
use abi::trace;
use core::cell::Cell;

/// Attention: another thread may have to run.
pub(crate) const SCHEDULE: u32 = 1;
/// Attention: the alarm may have to be set anew.
pub(crate) const ALARM: u32 = 2;
/// Attention: there is nothing to run.
pub(crate) const IDLE: u32 = 4;
/// Attention: the thread on the CPU has kernel work to finish.
pub(crate) const WORK: u32 = 8;
/// Attention: alarms were handled, and before the machine is told of the next, which may be due, other interrupts have their turn.
pub(crate) const POLL: u32 = 16;

/// Gates through which a waiting thread is helped or searched for a cycle.
pub(crate) const CHAIN: usize = 16;

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
    since: Cell<u64>,
    slice_end: Cell<u64>,
    /// Heads of the circular ready queues, and which are not empty.
    heads: [Cell<u32>; 256],
    levels: [Cell<u64>; 4],
    /// The strongest level with a ready baton, −1: none.
    top: Cell<i32>,
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
    fn push(&self, index: u32, in_front: bool) {
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
    fn pull(&self, index: u32) {
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
    fn running_level(&self) -> i32 {
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

    /// Let a thread have a baton as its current one. It does not become ready by that.
    pub(crate) fn give(&self, thread: u32, hold: Hold) {
        let old = self.tables.thread(thread).current.replace(hold).baton();
        let baton = hold.baton();
        if old != 0 && old != baton && self.tables.baton(old).holder.get() == thread {
            self.rest(old);
            self.offer(old);
        }
        if baton != 0 {
            self.tables.unstick(thread);
            self.tables.baton(baton).holder.set(thread);
        }
        self.cpu.attend(SCHEDULE);
    }

    /// Whether a thread uses a baton: it holds it, or it was given it and lent it.
    pub(crate) fn in_use(&self, index: u32) -> bool {
        let baton = self.tables.baton(index);
        let uses = |thread: u32| thread != 0 && self.tables.thread(thread).current.get().baton() == index;
        uses(baton.holder.get()) || uses(baton.root.get())
    }

    /// The baton for a thread without one from a message: its own, else its gate's reserve, if that is free.
    pub(crate) fn spare(&self, index: u32) -> Hold {
        let thread = self.tables.thread(index);
        let own = thread.own.get();
        if own != Hold::NONE {
            return own;
        }
        // A thread that receives at none has gate 0, which has no reserve. One that is parked needs none.
        let reserve = self.tables.gate(thread.gate.get()).reserve.get();
        let baton = self.tables.baton(reserve);
        if reserve == 0 || thread.code() == RECEIVE || baton.owned.get() || self.in_use(reserve) {
            return Hold::NONE;
        }
        baton.root.set(index);
        Hold::new(reserve)
    }

    /// Somebody gave a baton up. It helps the pulse that waits with it. If it is a gate's reserve, the receiver that has been stuck
    /// for longest gets it, if it is free: so nobody is stuck while its gate's reserve is free.
    #[inline(never)]
    pub(crate) fn offer(&self, index: u32) {
        let baton = self.tables.baton(index);
        if baton.waits.get() != 0 {
            self.make_ready(index);
        }
        let stuck = self.tables.first_stuck(self.tables.gate(baton.reserve_of.get()));
        if stuck != 0 {
            self.wake(stuck);
        }
    }

    /// A thread can run again: so do its current baton and those that help it.
    pub(crate) fn wake(&self, index: u32) {
        let thread = self.tables.thread(index);
        thread.enter_state(READY);
        if thread.current.get() == Hold::NONE {
            self.give(index, self.spare(index));
        }
        let baton = thread.current.get().baton();
        if baton == 0 {
            self.tables.stick(index, self.arrival());
        } else {
            self.tables.baton(baton).holder.set(index);
            self.make_ready(baton);
        }
        self.wake_helpers(index);
    }

    /// A receiver that was parked, without a deadline, has a notice: it goes on, at once if its baton is stronger than the
    /// one that runs.
    pub(crate) fn resume(&self, index: u32) {
        let thread = self.tables.thread(index);
        let current = thread.current.get().baton();
        let baton = self.tables.baton(current);
        // Nobody waits for a parked receiver. Who waits for a decision waits for this one too.
        let decided = self.cpu.attention.get() == 0 && self.cpu.baton.get() != 0;
        let stronger = i32::from(baton.level.get()) > self.running_level();
        if !decided || !stronger || current == 0 || baton.place.get() != Place::Resting {
            return self.wake(index);
        }
        thread.enter_state(READY);
        baton.holder.set(index);
        let (running, now) = (self.cpu.baton.get(), self.machine.now());
        self.stop(running, now);
        self.push(running, true);
        self.dispatch(current, now);
        self.switch_to(index);
    }

    /// Whether anybody may wait for a thread, for an answer or at its gate.
    fn waited_for(&self, index: u32) -> bool {
        let thread = self.tables.thread(index);
        thread.serving.get() != 0 || self.tables.gate(thread.gate.get()).callers.get() != 0
    }

    /// Make the batons ready that rest because this thread could not run.
    pub(crate) fn wake_helpers(&self, index: u32) {
        if !self.waited_for(index) {
            return;
        }
        // Whoever ran because this thread could not is perhaps not the one to run.
        self.cpu.attend(SCHEDULE);
        // The threads to look at: those that others wait for.
        let (mut list, mut at, mut end) = ([0; CHAIN], 0, 1);
        list[0] = index;
        // Bound: CHAIN threads.
        while at < end {
            let here = list[at & (CHAIN - 1)];
            at += 1;
            let mut look_at = |thread: u32| {
                if end < CHAIN && self.waited_for(thread) {
                    list[end & (CHAIN - 1)] = thread;
                    end += 1;
                }
            };
            let thread = self.tables.thread(here);
            let served = (thread.serving.get() & 0xffff) as u32;
            let caller = self.tables.thread(served);
            if served != 0 && caller.request.get() == thread.serving.get() && caller.code() == REPLY {
                look_at(served);
            }
            let gate = self.tables.gate(thread.gate.get());
            if thread.gate.get() == 0 || gate.busy() != here {
                continue;
            }
            let waiter = self.tables.strongest_helper(gate);
            if let Some(Waiter::Pulse(pulse)) = Waiter::from_id(waiter) {
                self.make_ready(self.tables.pulse(pulse).baton.get());
            } else if waiter != 0 {
                let current = self.tables.thread(waiter).current.get().baton();
                if current != 0 && self.tables.baton(current).holder.get() == waiter {
                    self.make_ready(current);
                }
                look_at(waiter);
            }
        }
    }

    /// Who runs on a baton: its holder, or whom the holder waits for. 0: nobody can.
    pub(crate) fn resolve(&self, index: u32) -> u32 {
        let at = self.tables.baton(index).holder.get();
        let thread = self.tables.thread(at);
        if at == 0 || thread.current.get().baton() != index {
            return self.helped_for_pulse(index);
        }
        match thread.code() {
            READY => self.runnable(at),
            _ => self.helped(at),
        }
    }

    /// Who runs on a baton that nobody holds: whom the pulse that carries it waits for, if it is the next.
    #[inline(never)]
    fn helped_for_pulse(&self, index: u32) -> u32 {
        let tables = self.tables;
        let pulse = tables.baton(index).waits.get();
        let gate = tables.gate(tables.pulse(pulse).gate.get() as u32 & 0xffff);
        let next = pulse != 0 && tables.strongest_helper(gate) == Waiter::Pulse(pulse).id();
        if next { self.helped(gate.busy()) } else { 0 }
    }

    /// A thread that is READY, if it may run; else 0.
    #[inline(always)]
    fn runnable(&self, at: u32) -> u32 {
        let thread = self.tables.thread(at);
        let alive = self.tables.process(thread.process.get()).header.alive();
        if thread.state.get() & STOPPED == 0 && alive { at } else { 0 }
    }

    /// Whom a waiting thread waits for, in the end. 0: nobody who can run.
    #[inline(never)]
    fn helped(&self, mut at: u32) -> u32 {
        let tables = self.tables;
        // Bound: CHAIN gates and the thread at the end.
        for _ in 0..=CHAIN {
            let thread = tables.thread(at);
            at = match thread.code() {
                READY => return self.runnable(at),
                SEND => {
                    let Some((_, gate)) = tables.gate_of(thread.target.get()) else { return 0 };
                    if tables.strongest_helper(gate) != at {
                        return 0;
                    }
                    gate.busy()
                }
                REPLY => {
                    let server = thread.server.get();
                    if tables.thread(server).serving.get() != thread.request.get() {
                        return 0;
                    }
                    server
                }
                _ => return 0,
            };
            if at == 0 {
                return 0;
            }
        }
        0
    }

    /// Bill the running baton and take it off the CPU.
    fn undispatch(&self) {
        let index = self.cpu.baton.get();
        if index != 0 {
            self.stop(index, self.machine.now());
            self.tables.baton(index).place.set(Place::Resting);
            self.cpu.baton.set(0);
            self.cpu.attend(SCHEDULE);
        }
    }

    /// Bill the running baton, which is about to leave the CPU for another place, up to now.
    #[inline(always)]
    fn stop(&self, index: u32, now: u64) {
        let baton = self.tables.baton(index);
        baton.billed.set(baton.billed.get() + now.wrapping_sub(self.cpu.since.replace(now)));
        // Without an end, a FIFO baton or one that runs without budget: nothing is used up.
        let end = self.cpu.slice_end.get();
        if end != u64::MAX {
            let left = end.saturating_sub(now);
            let before = baton.left.replace(left);
            if baton.policy.get() == Policy::Sporadic as u8 {
                baton.used.set(baton.used.get() + before.saturating_sub(left));
                if left == 0 {
                    self.end_use(index);
                }
            }
        }
    }

    /// There was nothing to run.
    pub(crate) fn bill_idle(&self) {
        let now = self.machine.now();
        self.cpu.idle.set(self.cpu.idle.get() + now.saturating_sub(self.cpu.since.replace(now)));
    }

    /// A baton rests, or a sporadic one has no budget: what it used of that will come back.
    fn end_use(&self, index: u32) {
        let baton = self.tables.baton(index);
        if let Some(due) = baton.end_use() {
            self.set_alarm(AlarmOf::Baton(index), due);
        }
        let low = baton.low_priority.get();
        // Once only: whoever waits with it may be looked at again for that.
        if baton.policy.get() == Policy::Sporadic as u8 && !baton.has_budget() && baton.level.replace(low) != low {
            self.weigh_anew(index);
        }
    }

    /// A stretch of use of a sporadic baton's budget comes back. At the level where it is, it keeps its turn.
    pub(crate) fn replenish(&self, index: u32) {
        let running = self.cpu.baton.get() == index;
        if running {
            self.undispatch();
        }
        let baton = self.tables.baton(index);
        if let Some(due) = baton.refill() {
            self.set_alarm(AlarmOf::Baton(index), due);
        }
        let level = if baton.has_budget() { baton.priority.get() } else { baton.low_priority.get() };
        let same = level == baton.level.get();
        let queued = baton.place.get() == Place::Queued && !same;
        if queued {
            self.pull(index);
        }
        baton.level.set(level);
        if queued || running {
            self.push(index, same);
        }
        self.weigh_anew(index);
        // It may be the running baton's equal now, whose slice counts from then on.
        self.cpu.attend(SCHEDULE | ALARM);
    }

    /// Change a baton's parameters; it keeps its place as READY if it was.
    pub(crate) fn change_baton(&self, index: u32, change: impl FnOnce(&Baton)) {
        let baton = self.tables.baton(index);
        let active = baton.place.get() != Place::Resting;
        self.withdraw(index);
        self.clear_alarm(AlarmOf::Baton(index));
        change(baton);
        baton.fill();
        if active {
            self.push(index, false);
        }
        self.weigh_anew(index);
        self.cpu.attend(SCHEDULE | ALARM);
    }

    /// A baton is stronger or weaker than it was: what waits with it does so anew.
    fn weigh_anew(&self, index: u32) {
        self.wait_anew(index);
        let holder = self.tables.baton(index).holder.get();
        if self.tables.thread(holder).current.get().baton() == index {
            self.reorder(holder);
        }
    }

    /// With which priority a thread waits, if it does: that of its baton (the low one, without budget), or of the strongest that waits for it, be it at its
    /// gate or for the answer it works on, and so on.
    fn urgency(&self, index: u32) -> u8 {
        let tables = self.tables;
        let (mut at, mut urgency) = (index, 0);
        // Bound: CHAIN requests.
        for _ in 0..CHAIN {
            let thread = tables.thread(at);
            urgency = urgency.max(tables.baton(thread.current.get().baton()).level.get());
            let gate = tables.gate(thread.gate.get());
            if thread.gate.get() != 0 && gate.busy() == at {
                urgency = urgency.max(tables.pressure(gate));
            }
            at = (thread.serving.get() & 0xffff) as u32;
            let caller = tables.thread(at);
            if at == 0 || caller.request.get() != thread.serving.get() || caller.code() != REPLY {
                break;
            }
        }
        urgency
    }

    /// Whoever waits for a thread changed, or its baton: wherever it waits itself, and those that it waits for, it waits
    /// with the strongest priority of all that wait for it.
    pub(crate) fn reorder(&self, index: u32) {
        let tables = self.tables;
        let mut at = index;
        // Bound: CHAIN gates.
        for _ in 0..CHAIN {
            let thread = tables.thread(at);
            at = match thread.code() {
                SEND => {
                    let gate = tables.gate(thread.target.get() as u32 & 0xffff);
                    let (key, urgency) = (thread.queue.key(), self.urgency(at));
                    if !thread.queue.linked() || key >> 56 == u64::from(255 - urgency) {
                        return;
                    }
                    tables.dequeue(gate, Waiter::Caller(at));
                    tables.enqueue(gate, Waiter::Caller(at), urgency, key);
                    let busy = gate.busy();
                    if busy != 0 {
                        self.wake_helpers(busy);
                    }
                    busy
                }
                REPLY if tables.thread(thread.server.get()).serving.get() == thread.request.get() => {
                    thread.server.get()
                }
                _ => 0,
            };
            if at == 0 {
                return;
            }
        }
    }

    /// Another receiver than before, or other callers: whoever waits at a gate helps the one that it waits for now.
    pub(crate) fn help_anew(&self, gate: u32) {
        let busy = self.tables.gate(gate).busy();
        if gate != 0 && busy != 0 {
            self.reorder(busy);
            self.wake_helpers(busy);
        }
    }

    /// Put a baton on the CPU, which has none.
    #[inline(always)]
    fn dispatch(&self, index: u32, now: u64) {
        let baton = self.tables.baton(index);
        self.cpu.baton.set(index);
        baton.place.set(Place::Running);
        let round_robin = baton.policy.get() == Policy::RoundRobin as u8;
        if round_robin && baton.left.get() == 0 {
            baton.left.set(baton.slice.get());
        }
        // No slice is so long that this overflows.
        let mut end = now.wrapping_add(baton.left.get());
        if !round_robin {
            if baton.policy.get() == Policy::Fifo as u8 || !baton.has_budget() {
                end = u64::MAX;
            } else if baton.use_start.get() == NO_USE {
                baton.use_start.set(now);
                baton.used.set(0);
            }
        }
        self.cpu.slice_end.set(end);
        // It matters at once only if others wait for it, and the machine would interrupt later than that.
        if end < self.cpu.programmed.get() && self.slice_alarm() != u64::MAX {
            self.cpu.attend(ALARM);
        }
    }

    /// The running baton goes behind its equals.
    #[inline(never)]
    pub(crate) fn yield_baton(&self) {
        let index = self.cpu.baton.get();
        let baton = self.tables.baton(index);
        let first = self.cpu.first_ready(baton.level.get());
        if first == 0 {
            return;
        }
        // While nothing is to be attended to, a baton runs. A budget that is used up changes the level.
        let plain = self.cpu.attention.get() == 0 && baton.policy.get() != Policy::Sporadic as u8;
        let holder = self.tables.baton(first).holder.get();
        let next = self.tables.thread(holder);
        // Nothing odd about who holds that baton, either (while any process may be dead, something is attended to).
        if plain && next.state.get() == READY && next.current.get().baton() == first && next.work.get() == Work::None {
            self.take_turn(index, first);
            let now = self.machine.now();
            self.stop(index, now);
            self.dispatch(first, now);
            baton.place.set(Place::Queued);
            self.switch_to(holder);
        } else if index != 0 {
            self.undispatch();
            self.push(index, false);
        }
    }

    /// A baton becomes the last of its level's queue, of which the first is taken out.
    fn take_turn(&self, index: u32, first: u32) {
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

    /// Whether the slice of the running baton is over; then it goes behind its equals.
    pub(crate) fn expire_slice(&self, now: u64) {
        let index = self.cpu.baton.get();
        if index != 0 && now >= self.cpu.slice_end.get() {
            self.undispatch();
            let baton = self.tables.baton(index);
            if baton.policy.get() == Policy::RoundRobin as u8 {
                baton.left.set(baton.slice.get());
            }
            self.push(index, false);
        }
    }

    /// Decide who runs. Bound: every round takes a baton off the ready queues that some event had put there.
    pub(crate) fn schedule(&self) {
        self.cpu.attention.set(self.cpu.attention.get() & !(SCHEDULE | IDLE | WORK));
        let running = self.cpu.baton.get();
        let thread = if running == 0 { 0 } else { self.resolve(running) };
        if thread != 0 && self.cpu.top.get() <= self.running_level() {
            self.run_thread(thread);
        } else {
            let now = self.machine.now();
            if running != 0 {
                self.stop(running, now);
                self.cpu.baton.set(0);
                if thread != 0 {
                    self.push(running, true);
                } else {
                    self.tables.baton(running).place.set(Place::Resting);
                    self.end_use(running);
                }
            }
            self.dispatch_strongest(now);
        }
        self.cpu.attention.set(self.cpu.attention.get() & !SCHEDULE);
    }

    /// Put the strongest baton on the CPU for which somebody can run, and that one with it.
    fn dispatch_strongest(&self, now: u64) {
        while let Some(level) = self.cpu.strongest_level() {
            let strongest = self.cpu.heads[usize::from(level)].get();
            self.pull(strongest);
            let thread = self.resolve(strongest);
            if thread != 0 {
                self.dispatch(strongest, now);
                self.run_thread(thread);
                return;
            }
            self.end_use(strongest);
        }
        self.run_thread(0);
        self.cpu.attend(IDLE);
    }

    #[inline(always)]
    fn switch_to(&self, thread: u32) {
        self.cpu.thread.set(thread);
        self.note(trace::RUNS, thread, self.cpu.baton.get(), 0);
    }

    fn run_thread(&self, thread: u32) {
        if self.cpu.thread.get() != thread {
            self.switch_to(thread);
        }
        if self.tables.thread(thread).work.get() != Work::None {
            self.cpu.attend(WORK);
        }
    }

    /// When the running baton must be looked at again: the end of its slice if others wait for it, or of its budget.
    pub(crate) fn slice_alarm(&self) -> u64 {
        let index = self.cpu.baton.get();
        if index == 0 {
            return u64::MAX;
        }
        let baton = self.tables.baton(index);
        let contended = self.cpu.heads[usize::from(baton.level.get())].get() != 0;
        let sporadic = baton.policy.get() == Policy::Sporadic as u8;
        if contended || sporadic { self.cpu.slice_end.get() } else { u64::MAX }
    }

    /// ns billed to a baton up to now.
    pub(crate) fn billed(&self, index: u32) -> u64 {
        let baton = self.tables.baton(index);
        let running = if self.cpu.baton.get() == index && index != 0 {
            self.machine.now().saturating_sub(self.cpu.since.get())
        } else {
            0
        };
        baton.billed.get() + running
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{self, Fake};

    /// A thread on its own baton.
    fn thread(kernel: &Kernel<Fake>, priority: u8, policy: Policy) -> (u32, u32) {
        let thread = kernel.new_thread(1, 0, 0).unwrap();
        let baton = kernel.create(abi::object::Kind::Baton, 1).unwrap();
        kernel.set_baton(baton, priority, policy, 1000, 0, 0);
        kernel.own_baton(thread, baton);
        (thread, baton)
    }

    fn running(kernel: &Kernel<Fake>) -> u32 {
        kernel.schedule();
        kernel.cpu.thread.get()
    }

    #[test]
    fn the_strongest_runs_and_equals_in_order() {
        let kernel = fake::kernel();
        let [weak, first, second, strong] =
            [(10, 0), (70, 0), (70, 0), (255, 0)].map(|(priority, _)| thread(&kernel, priority, Policy::Fifo));
        for (thread, _) in [weak, first, second] {
            kernel.wake(thread);
        }
        assert_eq!(running(&kernel), first.0);
        kernel.wake(strong.0);
        assert_eq!(running(&kernel), strong.0);
        for expected in [first.0, second.0, 1, weak.0] {
            kernel.end_thread(kernel.cpu.thread.get());
            assert_eq!(running(&kernel), expected);
        }
        kernel.end_thread(weak.0);
        assert_eq!(running(&kernel), 0);
        assert_eq!(kernel.cpu.strongest_level(), None);
    }

    #[test]
    fn a_preempted_baton_keeps_its_turn_and_its_slice() {
        let kernel = fake::kernel();
        let [first, second, strong] = [70, 70, 100].map(|priority| thread(&kernel, priority, Policy::RoundRobin));
        kernel.wake(first.0);
        kernel.wake(second.0);
        assert_eq!(running(&kernel), first.0);
        kernel.machine.now.set(400);
        kernel.wake(strong.0);
        assert_eq!(running(&kernel), strong.0);
        kernel.machine.now.set(600);
        kernel.end_thread(strong.0);
        assert_eq!((running(&kernel), kernel.slice_alarm()), (first.0, 1200));
        kernel.machine.now.set(1200);
        kernel.expire_slice(1200);
        assert_eq!((running(&kernel), kernel.slice_alarm()), (second.0, 2200));
        kernel.yield_baton();
        assert_eq!(running(&kernel), first.0);
        assert_eq!(kernel.billed(first.1), 1000);
        assert_eq!(kernel.billed(strong.1), 200);
    }

    #[test]
    fn a_budget_lasts_for_its_period() {
        let kernel = fake::kernel();
        let (sporadic, baton) = thread(&kernel, 100, Policy::Sporadic);
        kernel.change_baton(baton, |baton| {
            baton.period.set(10_000);
            baton.refill_limit.set(1);
            baton.low_priority.set(5);
        });
        kernel.wake(sporadic);
        assert_eq!(running(&kernel), sporadic);
        kernel.machine.now.set(1000);
        kernel.alarm();
        assert_eq!((running(&kernel), kernel.tables.baton(baton).level.get()), (1, 5));
        kernel.machine.now.set(10_000);
        kernel.alarm();
        assert_eq!((running(&kernel), kernel.tables.baton(baton).level.get()), (sporadic, 100));
    }

    /// The first thread runs, with a second one of its level in the queue, and nothing is to be attended to.
    fn contended(kernel: &Kernel<Fake>, policy: Policy) -> [(u32, u32); 2] {
        let pair = [70, 70].map(|priority| thread(kernel, priority, policy));
        pair.iter().for_each(|(thread, _)| kernel.wake(*thread));
        assert_eq!(running(kernel), pair[0].0);
        kernel.cpu.attention.set(0);
        pair
    }

    #[test]
    fn a_receiver_with_a_notice_runs_at_once_if_it_is_stronger_and_in_its_turn_if_not() {
        let kernel = fake::kernel();
        let [first, second] = contended(&kernel, Policy::Fifo);
        let parked = |priority| {
            let (index, _) = thread(&kernel, priority, Policy::Fifo);
            let receiver = kernel.tables.thread(index);
            receiver.enter_state(RECEIVE);
            receiver.current.set(receiver.own.get());
            index
        };
        for priority in [69, 70] {
            let receiver = parked(priority);
            kernel.resume(receiver);
            assert_eq!((kernel.tables.thread(receiver).code(), kernel.cpu.thread.get()), (READY, first.0));
            assert_eq!(kernel.cpu.attention.get() & SCHEDULE, 0);
            kernel.end_thread(receiver);
            kernel.cpu.attention.set(0);
        }
        // Whoever is to be decided on, it is one of them.
        kernel.cpu.attention.set(SCHEDULE);
        let receiver = parked(100);
        kernel.resume(receiver);
        assert_eq!(kernel.cpu.thread.get(), first.0);
        assert_eq!(running(&kernel), receiver);
        kernel.end_thread(receiver);
        assert_eq!(running(&kernel), first.0);
        kernel.cpu.attention.set(0);

        let receiver = parked(100);
        kernel.machine.now.set(50);
        kernel.resume(receiver);
        assert_eq!((kernel.tables.thread(receiver).code(), kernel.cpu.thread.get()), (READY, receiver));
        assert_eq!((kernel.cpu.attention.get() & SCHEDULE, kernel.billed(first.1)), (0, 50));
        // The other one keeps its turn.
        for expected in [first.0, second.0] {
            kernel.end_thread(kernel.cpu.thread.get());
            assert_eq!(running(&kernel), expected);
        }
    }

    #[test]
    fn one_that_yields_lets_its_equal_run_at_once_if_nothing_is_odd_about_that() {
        for odd in ["no", "attention", "stopped", "lent", "work", "sporadic"] {
            let kernel = fake::kernel();
            let policy = if odd == "sporadic" { Policy::Sporadic } else { Policy::RoundRobin };
            let [first, second] = contended(&kernel, policy);
            let next = kernel.tables.thread(second.0);
            let mut expected = second.0;
            match odd {
                "attention" => kernel.cpu.attention.set(ALARM),
                "stopped" => {
                    next.state.set(READY | STOPPED);
                    expected = first.0;
                }
                "lent" => {
                    next.current.set(Hold::NONE);
                    expected = first.0;
                }
                "work" => next.work.set(Work::Receive),
                _ => {}
            }
            kernel.yield_baton();
            let at_once = odd == "no";
            assert_eq!(kernel.cpu.thread.get() == second.0, at_once, "{odd}");
            assert_eq!(kernel.cpu.attention.get() & SCHEDULE == 0, at_once, "{odd}");
            assert_eq!(running(&kernel), expected, "{odd}");
        }
    }

    #[test]
    fn a_baton_that_becomes_stronger_than_the_one_that_runs_is_decided_on() {
        let kernel = fake::kernel();
        let [_, second] = contended(&kernel, Policy::Fifo);
        kernel.change_baton(second.1, |baton| baton.priority.set(71));
        assert_ne!(kernel.cpu.attention.get() & SCHEDULE, 0);
        assert_eq!(running(&kernel), second.0);
    }

    #[test]
    fn time_up_to_now_is_billed_to_the_baton_that_runs_and_to_no_other() {
        let kernel = fake::kernel();
        let [first, second] = contended(&kernel, Policy::Fifo);
        kernel.machine.now.set(30);
        assert_eq!((kernel.billed(first.1), kernel.billed(second.1)), (30, 0));
        for (thread, _) in [first, second, (1, 1)] {
            kernel.end_thread(thread);
        }
        assert_eq!(running(&kernel), 0);
        // Nobody runs: it is idle time.
        kernel.machine.now.set(100);
        kernel.bill_idle();
        assert_eq!((kernel.cpu.idle.get(), kernel.billed(first.1), kernel.billed(0)), (70, 30, 0));
    }
}
