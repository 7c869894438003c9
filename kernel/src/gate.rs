//! A gate: where messages arrive. Waiting callers and pending pulses in one order, parked receivers.
//!
//! Its state that matters to the message path is one word: generation (bits 32–63), flags (16–31) and the parked
//! receiver on top (0–15). A connection holds generation and index in the same places, so that one comparison tells
//! that the gate is alive, that nobody waits, nothing is pending and that its receiver is a plain one.
//!
//! A thread is a receiver of the gate it last received from. While a gate has one receiver, the word alone says
//! whether it is parked; with more, the parked ones are in one list, the busy ones in another, in the order in which
//! they received.

use crate::header::Header;
use crate::machine::Machine;
use crate::tables::{Ordered, Tables};
use crate::thread::READY;
use crate::tree::{self, Forest};
use core::cell::Cell;

/// Callers, pulses or notices wait.
pub(crate) const WAITING: u64 = 1 << 16;
/// The parked receiver is not plain: it has a deadline, or is stopped.
pub(crate) const ODD: u64 = 1 << 17;
/// There is more than one receiver.
pub(crate) const SEVERAL: u64 = 1 << 18;
const INDEX: u64 = 0xffff;

/// Where messages arrive.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Gate {
    pub(crate) word: Cell<u64>,
    pub(crate) header: Header,
    /// Waiting callers and pulses that wait with a baton, strongest first; other pulses and notices, strongest first. Served in
    /// one order, but only the former help.
    pub(crate) callers: Cell<u32>,
    pub(crate) notices: Cell<u32>,
    /// How many receivers it has.
    pub(crate) receivers: Cell<u32>,
    /// The one receiver, if there is one only.
    pub(crate) only: Cell<u32>,
    /// With several: the busy one that received earliest, and the last.
    pub(crate) busy_first: Cell<u32>,
    pub(crate) busy_last: Cell<u32>,
    /// Baton for receivers that would be stuck: for want of one from a message, or of their own.
    pub(crate) reserve: Cell<u32>,
    /// Those that are stuck all the same, because it is in use or there is none; they wait for it in this order.
    pub(crate) stuck: Cell<u32>,
    /// How many wait, and how many of them are pulses and notices.
    pub(crate) count: Cell<u32>,
    pub(crate) notice_count: Cell<u32>,
    /// How long a server may take to answer a caller that wants to leave, ns.
    pub(crate) grace: Cell<u64>,
    /// Connections by badge and index.
    pub(crate) connections: Cell<u32>,
    /// The first of `callers`, which is asked for much more often than it changes.
    pub(crate) helper: Cell<u32>,
}

impl Gate {
    /// Where something waits that helps, or does not.
    #[inline(always)]
    fn queue(&self, helps: bool) -> &Cell<u32> {
        if helps { &self.callers } else { &self.notices }
    }

    /// The parked receiver on top, 0 if none is parked.
    pub(crate) fn parked(&self) -> u32 {
        (self.word.get() & INDEX) as u32
    }

    pub(crate) fn set_parked(&self, thread: u32) {
        self.word.set(self.word.get() & !INDEX | u64::from(thread));
    }

    pub(crate) fn flag(&self, flag: u64, on: bool) {
        let word = self.word.get();
        self.word.set(if on { word | flag } else { word & !flag });
    }

    pub(crate) fn has(&self, flag: u64) -> bool {
        self.word.get() & flag != 0
    }

    /// The thread that must get on for a waiting caller to be served: of several, the one that received earliest.
    pub(crate) fn busy(&self) -> u32 {
        if self.has(SEVERAL) {
            self.busy_first.get()
        } else if self.parked() == 0 {
            self.only.get()
        } else {
            0
        }
    }
}

/// What can wait at a gate, as an id in its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiter {
    /// A blocked caller: a thread.
    Caller(u32),
    /// A pending pulse.
    Pulse(u32),
    /// A connection without handles.
    Closed(u32),
    /// A caller in REPLY that wants to leave: a thread.
    Unblock(u32),
}

impl Waiter {
    /// 1 for pulses and notices, 0 for callers.
    fn is_notice(self) -> u32 {
        u32::from(!matches!(self, Self::Caller(_)))
    }

    pub(crate) fn id(self) -> u32 {
        match self {
            Self::Caller(index) => index,
            Self::Pulse(index) => 1 << 16 | index,
            Self::Closed(index) => 2 << 16 | index,
            Self::Unblock(index) => 3 << 16 | index,
        }
    }

    pub(crate) fn from_id(id: u32) -> Option<Self> {
        let index = id & 0xffff;
        match id >> 16 {
            _ if id == 0 => None,
            0 => Some(Self::Caller(index)),
            1 => Some(Self::Pulse(index)),
            2 => Some(Self::Closed(index)),
            _ => Some(Self::Unblock(index)),
        }
    }
}

impl<M: Machine> Tables<M> {
    /// Let something wait at a gate, behind what is as strong. `arrival` orders equals.
    pub(crate) fn enqueue(&self, gate: &Gate, waiter: Waiter, priority: u8, arrival: u64) {
        let key = u64::from(255 - priority) << 56 | arrival & ((1 << 56) - 1);
        let (members, helps) = (self.members(Ordered::Waiters), self.helps(waiter));
        let queue = gate.queue(helps);
        if queue.get() == 0 {
            tree::begin(members.node(waiter.id()), queue, waiter.id(), key);
        } else {
            tree::insert(members, queue, waiter.id(), key);
        }
        let helper = gate.helper.get();
        if helps && (helper == 0 || key < members.node(helper).key()) {
            gate.helper.set(waiter.id());
        }
        gate.count.set(gate.count.get() + 1);
        gate.notice_count.set(gate.notice_count.get() + waiter.is_notice());
        gate.flag(WAITING, true);
    }

    /// Whether this has a baton to help with.
    fn helps(&self, waiter: Waiter) -> bool {
        match waiter {
            Waiter::Caller(_) => true,
            Waiter::Pulse(pulse) => self.pulse(pulse).helps.get(),
            Waiter::Closed(_) | Waiter::Unblock(_) => false,
        }
    }

    /// Take something out of a gate's queue, if it is in.
    pub(crate) fn dequeue(&self, gate: &Gate, waiter: Waiter) {
        let forest = self.members(Ordered::Waiters);
        if forest.node(waiter.id()).linked() {
            tree::remove(forest, gate.queue(self.helps(waiter)), waiter.id());
            if gate.helper.get() == waiter.id() {
                gate.helper.set(tree::first(forest, &gate.callers));
            }
            gate.count.set(gate.count.get() - 1);
            gate.notice_count.set(gate.notice_count.get() - waiter.is_notice());
            gate.flag(WAITING, gate.count.get() != 0);
        }
    }

    /// Who is served next.
    pub(crate) fn strongest(&self, gate: &Gate) -> Option<Waiter> {
        let forest = self.members(Ordered::Waiters);
        let (caller, notice) = (self.strongest_helper(gate), tree::first(forest, &gate.notices));
        let callers_turn = notice == 0 || (caller != 0 && forest.node(caller).key() < forest.node(notice).key());
        Waiter::from_id(if callers_turn { caller } else { notice })
    }

    /// The id of the caller, or pulse with a baton, that is served next, whose baton helps until then; 0: none waits.
    pub(crate) fn strongest_helper(&self, gate: &Gate) -> u32 {
        debug_assert!(gate.helper.get() == tree::first(self.members(Ordered::Waiters), &gate.callers));
        gate.helper.get()
    }

    /// The priority with which it waits, 0: none does.
    pub(crate) fn pressure(&self, gate: &Gate) -> u8 {
        match self.strongest_helper(gate) {
            0 => 0,
            id => 255 - (self.members(Ordered::Waiters).node(id).key() >> 56) as u8,
        }
    }

    /// All that wait, callers before notices, for checkers and teardown: the first, and what follows one.
    pub(crate) fn any_waiter(&self, gate: &Gate) -> Option<Waiter> {
        let forest = self.members(Ordered::Waiters);
        let caller = self.strongest_helper(gate);
        Waiter::from_id(if caller == 0 { tree::first(forest, &gate.notices) } else { caller })
    }

    /// See [`Tables::any_waiter`].
    pub(crate) fn following(&self, gate: &Gate, waiter: Waiter) -> Option<Waiter> {
        let forest = self.members(Ordered::Waiters);
        let next = tree::next(forest, waiter.id());
        let last_caller = next == 0 && self.helps(waiter);
        Waiter::from_id(if last_caller { tree::first(forest, &gate.notices) } else { next })
    }

    /// A receiver can run, but has no baton: it waits for its gate's reserve.
    #[inline(never)]
    pub(crate) fn stick(&self, index: u32, arrival: u64) {
        let thread = self.thread(index);
        let gate = thread.gate.get();
        if gate != 0 && !thread.queue.linked() {
            tree::insert(self.members(Ordered::Waiters), &self.gate(gate).stuck, index, arrival);
        }
    }

    /// A receiver got a baton, waits otherwise, or is none any more.
    #[inline(never)]
    pub(crate) fn unstick(&self, index: u32) {
        let thread = self.thread(index);
        if thread.code() == READY {
            tree::remove(self.members(Ordered::Waiters), &self.gate(thread.gate.get()).stuck, index);
        }
    }

    /// The receiver that has been stuck for longest, 0: none is.
    pub(crate) fn first_stuck(&self, gate: &Gate) -> u32 {
        tree::first(self.members(Ordered::Waiters), &gate.stuck)
    }

    /// Make a thread a receiver of this gate, busy. It must not be a receiver of any.
    pub(crate) fn associate(&self, gate_index: u32, index: u32) {
        let (gate, thread) = (self.gate(gate_index), self.thread(index));
        debug_assert!(thread.gate.get() == 0);
        thread.gate.set(gate_index);
        let count = gate.receivers.get();
        gate.receivers.set(count + 1);
        thread.receiver_next.set(0);
        thread.receiver_previous.set(0);
        if count == 0 {
            gate.only.set(index);
            return;
        }
        if count == 1 {
            gate.flag(SEVERAL, true);
            let only = gate.only.get();
            if gate.parked() == 0 {
                gate.busy_first.set(only);
                gate.busy_last.set(only);
            }
        }
        self.append_busy(gate, index);
    }

    fn append_busy(&self, gate: &Gate, index: u32) {
        let last = gate.busy_last.replace(index);
        let thread = self.thread(index);
        thread.receiver_previous.set(last);
        thread.receiver_next.set(0);
        if last == 0 { gate.busy_first.set(index) } else { self.thread(last).receiver_next.set(index) }
    }

    /// A busy receiver takes a message: of several, it is now the one that received last.
    pub(crate) fn to_busy_end(&self, gate: &Gate, index: u32) {
        self.unlink_receiver(gate, index);
        self.append_busy(gate, index);
    }

    /// Take a thread out of the list (parked or busy) it is in; several receivers.
    fn unlink_receiver(&self, gate: &Gate, index: u32) {
        let thread = self.thread(index);
        let (next, previous) = (thread.receiver_next.replace(0), thread.receiver_previous.replace(0));
        if previous != 0 {
            self.thread(previous).receiver_next.set(next);
        } else if gate.parked() == index {
            gate.set_parked(next);
        } else if gate.busy_first.get() == index {
            gate.busy_first.set(next);
        }
        if next != 0 {
            self.thread(next).receiver_previous.set(previous);
        } else if gate.busy_last.get() == index {
            gate.busy_last.set(previous);
        }
    }

    /// The thread is no longer a receiver of its gate (it must be busy, not parked).
    pub(crate) fn dissociate(&self, index: u32) {
        let thread = self.thread(index);
        self.unstick(index);
        let gate_index = thread.gate.replace(0);
        if gate_index == 0 {
            return;
        }
        let gate = self.gate(gate_index);
        let count = gate.receivers.get() - 1;
        gate.receivers.set(count);
        if !gate.has(SEVERAL) {
            gate.only.set(0);
            return;
        }
        self.unlink_receiver(gate, index);
        if count == 1 {
            gate.flag(SEVERAL, false);
            let remaining = if gate.parked() != 0 { gate.parked() } else { gate.busy_first.get() };
            gate.only.set(remaining);
            gate.busy_first.set(0);
            gate.busy_last.set(0);
        }
    }

    /// A busy receiver of this gate parks. `odd`: it has a deadline.
    pub(crate) fn park(&self, gate: &Gate, index: u32, odd: bool) {
        if gate.has(SEVERAL) {
            self.unlink_receiver(gate, index);
            let top = gate.parked();
            self.thread(index).receiver_next.set(top);
            if top != 0 {
                self.thread(top).receiver_previous.set(index);
            }
        }
        gate.set_parked(index);
        if odd {
            gate.flag(ODD, true);
        }
    }

    /// A parked receiver becomes busy: a message is delivered to it, or it leaves.
    pub(crate) fn unpark(&self, gate: &Gate, index: u32) {
        if gate.has(SEVERAL) {
            self.unlink_receiver(gate, index);
            self.append_busy(gate, index);
        } else {
            gate.set_parked(0);
        }
        if gate.parked() == 0 {
            gate.flag(ODD, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake;

    #[test]
    fn waiters_are_served_by_priority_then_arrival_whatever_they_are() {
        let tables = fake::tables();
        let gate = tables.gate(1);
        let expected = [
            Waiter::Pulse(3),
            Waiter::Caller(2),
            Waiter::Closed(4),
            Waiter::Caller(5),
            Waiter::Unblock(6),
            Waiter::Caller(1),
            Waiter::Caller(7),
        ];
        let order = [
            (Waiter::Caller(1), 10),
            (Waiter::Caller(2), 200),
            (Waiter::Closed(4), 20),
            (Waiter::Caller(5), 20),
            (Waiter::Pulse(3), 201),
            (Waiter::Unblock(6), 20),
            (Waiter::Caller(7), 5),
        ];
        for (arrival, (waiter, priority)) in order.into_iter().enumerate() {
            tables.enqueue(gate, waiter, priority, arrival as u64);
        }
        assert_eq!((tables.strongest_helper(gate), gate.count.get(), gate.has(WAITING)), (2, 7, true));
        assert_eq!(gate.notice_count.get(), 3);
        for waiter in expected {
            assert_eq!(tables.strongest(gate), Some(waiter));
            tables.dequeue(gate, waiter);
            tables.dequeue(gate, waiter);
        }
        assert_eq!((tables.strongest(gate), gate.count.get(), gate.has(WAITING)), (None, 0, false));
        assert_eq!(gate.notice_count.get(), 0);
    }

    #[test]
    fn the_busy_receiver_that_received_earliest_is_helped() {
        let tables = fake::tables();
        let gate = tables.gate(1);
        tables.associate(1, 1);
        assert_eq!((gate.busy(), gate.parked(), gate.has(SEVERAL)), (1, 0, false));
        tables.park(gate, 1, false);
        assert_eq!((gate.busy(), gate.parked()), (0, 1));
        tables.associate(1, 2);
        tables.associate(1, 3);
        assert_eq!((gate.busy(), gate.parked(), gate.has(SEVERAL)), (2, 1, true));
        tables.park(gate, 2, true);
        assert_eq!((gate.busy(), gate.parked(), gate.has(ODD)), (3, 2, true));
        tables.unpark(gate, 2);
        // Whether another one that is parked has a deadline is not known.
        assert_eq!((gate.parked(), gate.has(ODD)), (1, true));
        tables.unpark(gate, 1);
        assert_eq!((gate.busy(), gate.parked(), gate.has(ODD)), (3, 0, false));
        tables.to_busy_end(gate, 3);
        assert_eq!(gate.busy(), 2);
        tables.dissociate(2);
        tables.dissociate(3);
        assert_eq!((gate.busy(), gate.only.get(), gate.has(SEVERAL)), (1, 1, false));
        tables.dissociate(1);
        assert_eq!((gate.busy(), gate.receivers.get()), (0, 0));
    }
}
