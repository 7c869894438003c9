//! The model: what there is, what each action does to it, and how time passes.
//!
//! One file for each concept: [`object`] what there is, `handles` tables and passing, `message` calling, receiving and
//! answering, `bytes` what they carry, `memory` mappings, `waiting` what waits at a gate and who is told, `leaving` deadlines and interrupts, `interrupt` those of devices, `death`, `fault`, `creation` calls
//! of objects and quotas, `sharing` what processes get of each other, `information` what objects tell, `scheduling` who runs.

mod bytes;
mod creation;
mod death;
mod fault;
mod handles;
mod information;
mod interrupt;
mod leaving;
mod memory;
mod message;
pub mod object;
mod scheduling;
mod sharing;
mod waiting;

use std::cell::Cell;

use abi::Error;
use abi::object::Kind;

use crate::action::{Action, Outcome, Patience};
pub use bytes::AREA;
use bytes::Area;
pub use creation::PAGES;
pub use fault::{EXCEPTION, HANDLERS};
pub use interrupt::LINES;
use interrupt::Line;
pub use memory::WINDOW;
use object::{
    Baton, BatonId, Connection, ConnectionId, Counts, Gate, GateId, Memory, MemoryId, Message, Object, Process,
    ProcessId, Pulse, PulseId, State, Thread, ThreadId, Waiter,
};
pub use sharing::TABLE_PAGE;

/// Priority of the supervisor.
const SUPERVISOR: u8 = 64;
/// Slice of all batons, ns.
pub const SLICE_NS: u64 = 3_000;
/// No alarm repeats faster, ns.
const PERIOD_MINIMUM: u64 = 10_000;

/// How an action ends, if it need not wait and is not told otherwise.
type Answer = Result<Option<Outcome>, Error>;
/// Done, with nothing to say.
const DONE: Answer = Ok(Some(Outcome::Done { moved: 0 }));

/// What time can come for.
#[derive(Clone, Copy, Debug)]
enum Due {
    Thread(ThreadId),
    Pulse(PulseId),
    Line(usize),
}

/// Everything.
#[derive(Clone, Debug, Default)]
pub struct Specification {
    /// By [`ProcessId`]; so with all others. What was destroyed stays where it is.
    pub processes: Vec<Process>,
    /// Threads.
    pub threads: Vec<Thread>,
    /// Batons.
    pub batons: Vec<Baton>,
    /// Gates.
    pub gates: Vec<Gate>,
    /// Connections.
    pub connections: Vec<Connection>,
    /// Pulses.
    pub pulses: Vec<Pulse>,
    /// Memory.
    pub memories: Vec<Memory>,
    /// Interrupt lines.
    lines: [Line; LINES],
    /// Buffers.
    areas: Vec<Area>,
    /// A word of each page that there is.
    contents: Vec<u64>,
    /// Time, ns.
    now: u64,
    /// Counts what happens: what came earlier has a smaller number.
    events: u64,
    /// Threads were seen to wait for themselves.
    pub(crate) cycle: Cell<bool>,
    /// Priority at which that runs whose action is being done.
    running: u8,
    /// Only for tests of the comparison itself: what came last is served first.
    wrong: bool,
}

impl Specification {
    /// There is nothing. `wrong`: be wrong on purpose.
    #[must_use]
    pub fn new(wrong: bool) -> Self {
        Self { wrong, running: SUPERVISOR, ..Self::default() }
    }

    /// A thread does something. If it need not wait, its outcome is there afterwards.
    pub fn act(&mut self, thread: ThreadId, action: &Action, now: u64) {
        (self.now, self.running) = (now, self.priority_of_running(thread));
        let answer = self.do_action(thread, action);
        self.running = SUPERVISOR;
        self.conclude(thread, answer);
        self.offer_reserves();
    }

    fn do_action(&mut self, thread: ThreadId, action: &Action) -> Answer {
        let process = self.threads[thread].process;
        match *action {
            Action::Call { connection, patience, load, wishes } => {
                let handle = self.choose(process, Kind::Connection, connection);
                let covers = (true, wishes.for_answer, false);
                self.threads[thread].message = Message { wishes, ..self.message(process, load, patience, covers) };
                self.call(thread, handle)
            }
            Action::Receive { gate, patience, load, interruptible, holds } => {
                let handle = self.choose(process, Kind::Gate, gate);
                self.threads[thread].message = self.message(process, load, patience, (false, false, true));
                self.threads[thread].message.wishes.interruptible = interruptible;
                self.threads[thread].message.holds = holds;
                self.receive(thread, handle)
            }
            Action::Reply { request, load, refuses, receive } => {
                let request = self.open_request(process, request);
                let patience = receive.map_or(Patience::Endless, |(_, patience)| patience);
                self.threads[thread].message = self.message(process, load, patience, (false, false, true));
                let gate = receive.map(|(gate, _)| self.choose(process, Kind::Gate, gate));
                self.reply(thread, request, refuses, gate)
            }
            Action::Raise { pulse, bits } => {
                let handle = self.choose(process, Kind::Pulse, pulse);
                let pulse = self.pulse_of(process, handle, abi::Rights::SEND)?;
                self.raise(pulse, bits);
                DONE
            }
            Action::Read { request, offset, length } => {
                let request = self.open_request(process, request);
                self.read(thread, request, (offset, length))
            }
            Action::Write { request, offset, length } => {
                let request = self.open_request(process, request);
                self.write(thread, request, (offset, length))
            }
            Action::Prepare { at, word } => self.prepare(process, at, word),
            Action::Look => self.look(process),
            Action::Ask { question, of } => self.ask(process, question, of),
            Action::Touch { place, write } => self.touch(thread, place, write),
            Action::Fault => self.exception(thread),
            Action::Settle => {
                self.settle(thread);
                DONE
            }
            Action::Configure { upcall } => {
                (self.threads[thread].upcall, self.threads[thread].cookie) = (upcall, thread as u64);
                DONE
            }
            _ => self.call_object(process, action),
        }
    }

    /// Tell a thread how its exchange ended.
    fn conclude(&mut self, thread: ThreadId, answer: Answer) {
        match answer {
            Ok(None) => {}
            Ok(outcome) => self.threads[thread].outcome = outcome,
            Err(error) => self.threads[thread].outcome = Some(Outcome::Failed(error)),
        }
        if self.threads[thread].state == State::Ready {
            self.wake(thread);
        }
    }

    /// The supervisor does something.
    pub fn supervise<R>(&mut self, now: u64, action: impl FnOnce(&mut Self) -> R) -> R {
        self.now = now;
        let result = action(self);
        self.offer_reserves();
        result
    }

    /// A thread that has to look again at what waits at its gate has come to it.
    pub fn look_again(&mut self, thread: ThreadId, now: u64) {
        self.now = now;
        self.threads[thread].serves = 0;
        self.threads[thread].borrowed = None;
        let answer = if self.threads[thread].receives_at.is_none() {
            self.threads[thread].looks = false;
            Err(Error::Gone)
        } else {
            self.receive_next(thread)
        };
        self.conclude(thread, answer);
        self.offer_reserves();
    }

    /// Whatever is due by now happens.
    pub fn pass_time(&mut self, now: u64) {
        self.now = now;
        while let Some((due, _, what)) = self.next_due().filter(|(due, ..)| *due <= now) {
            match what {
                Due::Pulse(pulse) => self.alarm(pulse, due),
                Due::Thread(thread) => self.patience_ends(thread),
                Due::Line(line) => self.line_overdue(line),
            }
            self.offer_reserves();
        }
    }

    /// What is due next, and when.
    fn next_due(&self) -> Option<(u64, u64, Due)> {
        let threads = self.threads.iter().enumerate();
        let threads = threads.filter_map(|(id, thread)| thread.timer.map(|time| (time, Due::Thread(id))));
        let pulses = self.pulses.iter().enumerate();
        let pulses = pulses.filter_map(|(id, pulse)| pulse.alarm.map(|time| (time, Due::Pulse(id))));
        let lines = self.lines.iter().enumerate();
        let lines = lines.filter_map(|(id, line)| line.overdue.map(|time| (time, Due::Line(id))));
        let next = threads.chain(pulses).chain(lines).min_by_key(|(time, _)| *time);
        next.map(|((due, order), what)| (due, order, what))
    }

    /// A pulse's alarm has come.
    fn alarm(&mut self, pulse: PulseId, due: u64) {
        (self.pulses[pulse].alarm, self.pulses[pulse].due) = (None, due);
        self.raise(pulse, 1);
    }

    /// A periodic pulse arrives whose alarm has come: with all that came due since; the next comes in phase.
    fn next_period(&mut self, pulse: PulseId) {
        let Pulse { period, due, counts, alarm, value, .. } = self.pulses[pulse];
        if period != 0 && alarm.is_none() {
            let missed = (self.now - due) / period;
            self.pulses[pulse].value = if counts { value.saturating_add(missed) } else { value };
            self.pulses[pulse].alarm = Some((due + (missed + 1) * period, self.next_event()));
        }
    }

    /// A thread's exchange is to end by now; `None`: its wait need not.
    fn start_timer(&mut self, thread: ThreadId, bounded: bool) {
        let deadline = self.threads[thread].message.deadline;
        let order = self.next_event();
        self.threads[thread].timer = (bounded && deadline != abi::call::NEVER).then_some((deadline, order));
    }

    /// A number greater than all before.
    fn next_event(&mut self) -> u64 {
        self.events += 1;
        self.events
    }

    /// How a thread's exchange ended.
    pub fn take_outcome(&mut self, thread: ThreadId) -> Option<Outcome> {
        self.threads[thread].outcome.take()
    }
}
