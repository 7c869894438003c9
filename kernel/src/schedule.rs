//! The scheduler: the strongest baton of the ready queues (`ready.rs`) runs its holder, or whom that one waits for
//! (`helping.rs`), and what it uses is its own (`billing.rs`).
//!
//! A baton for which nobody can run rests; whatever makes a thread runnable makes its current baton ready, and those that
//! would help it. Nothing here runs on the plain message path, which leaves the baton on the CPU
//! as it is.

use crate::alarm::AlarmOf;
use crate::baton::{Baton, Hold, NO_USE, Place};
use crate::kernel::Kernel;
use crate::machine::Machine;
use crate::thread::{READY, RECEIVE, Work};
use abi::thread::Policy;
use abi::trace;

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
/// Attention: threads are to be looked at, for how urgent they are and who helps them.
pub(crate) const LOOK: u32 = 32;

/// Batons tried in one piece: nobody may be able to run on any of many.
const TRIED: u32 = 8;

impl<M: Machine> Kernel<M> {
    /// Let a thread that has lent none have another baton as its current one. It does not become ready by that.
    pub(crate) fn give(&self, thread: u32, hold: Hold) {
        let old = self.tables.thread(thread).current.replace(hold).baton();
        let baton = hold.baton();
        if old != 0 {
            debug_assert!(old != baton && self.tables.baton(old).holder.get() == thread);
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
        if self.waited_for(index) {
            self.wake_helpers(index);
        }
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

    /// Bill the running baton and take it off the CPU.
    pub(crate) fn undispatch(&self) {
        let index = self.cpu.baton.get();
        if index != 0 {
            self.stop(index, self.machine.now());
            self.tables.baton(index).place.set(Place::Resting);
            self.cpu.baton.set(0);
            self.cpu.attend(SCHEDULE);
        }
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

    /// Decide who runs, or do a piece of that.
    pub(crate) fn schedule(&self) {
        self.cpu.attention.set(self.cpu.attention.get() & !(SCHEDULE | IDLE | WORK));
        self.cpu.helpers.set(0);
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
    }

    /// Put the strongest baton on the CPU for which somebody can run, and that one with it; or else, after a piece of that, let it go on.
    fn dispatch_strongest(&self, now: u64) {
        // Bound: TRIED.
        for _ in 0..TRIED {
            let Some(level) = self.cpu.strongest_level() else {
                self.run_thread(0);
                self.cpu.attend(IDLE);
                return;
            };
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
        self.cpu.attend(SCHEDULE | POLL);
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{self, Fake};
    use crate::thread::STOPPED;

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
