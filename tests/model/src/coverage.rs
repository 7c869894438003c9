//! What was tried in lockstep: how often each operation and each method of an object ended how.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use abi::object::{METHODS, gate, memory, method_name, process, pulse, thread};
use abi::{Error, Operation};

use crate::action::{Action, FaultKind, Outcome};

/// What was tried, and how often.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    /// How each exchange ended, by operation, method (0: of no object) and error (0: none).
    exchanges: BTreeMap<(u8, u16, u16), u64>,
    /// What came of what is no exchange, and what arrived.
    events: BTreeMap<&'static str, u64>,
}

/// What must come to pass now and then.
const EVENTS: &[&str] =
    &[REQUEST, RETRIED, PULSE, CLOSED, UNBLOCK, PAGE, REFUSED, EXCEPTION, UPCALL, TOUCHED, RESUMED, LINE];
const REQUEST: &str = "a request arrives";
const RETRIED: &str = "a request arrives again";
const PULSE: &str = "a pulse arrives";
const CLOSED: &str = "a connection is closed";
const UNBLOCK: &str = "a caller wants to leave";
const PAGE: &str = "a page fault arrives";
const REFUSED: &str = "a refused fault arrives";
const EXCEPTION: &str = "an exception arrives";
const UPCALL: &str = "a fault comes back";
const TOUCHED: &str = "memory is touched";
const LINE: &str = "a device interrupts";
const RESUMED: &str = "an exception is resumed";

/// What an action's outcome is counted as.
fn event(action: &Action, outcome: &Outcome) -> Option<&'static str> {
    Some(match (action, outcome) {
        (_, Outcome::Request { fault: Some(fault), .. }) => match fault.kind {
            FaultKind::Page => PAGE,
            FaultKind::Refused => REFUSED,
            FaultKind::Exception => EXCEPTION,
        },
        (_, Outcome::Request { retried: true, .. }) => RETRIED,
        (_, Outcome::Request { .. }) => REQUEST,
        (_, Outcome::Pulse { .. }) => PULSE,
        (_, Outcome::Closed { .. }) => CLOSED,
        (_, Outcome::Unblock { .. }) => UNBLOCK,
        (_, Outcome::Upcall) => UPCALL,
        (Action::Touch { .. }, _) => TOUCHED,
        (Action::Fault, _) => RESUMED,
        _ => return None,
    })
}

/// Why a method is not tried. What it does then is left to the scenarios.
const REGISTERS: &str = "registers are the processor's, and the model has none";
const PAGES: &str = "it tells of page tables and mapping records, which the model does not count";
const SLOTS: &str = "its order is that of the kernel's slots, which is nobody's business";
const PORTS: &str = "ports change no object";
const TRACING: &str = "the trace changes no object";
const IDLE: &str = "when the processor is idle the model does not know";
const RESERVES: &str = "of two that compete for one reserve, who gets it depends on the order within a step";
const LINES: &str = "lines are bound by the supervisor, whose they are";

/// Methods that the model does not know, and why.
pub const EXCEPTIONS: &[(u16, &str)] = &[
    (process::USAGE, PAGES),
    (process::SET_QUOTA, PAGES),
    (process::SYSTEM, PAGES),
    (process::NEXT_THREAD, SLOTS),
    (thread::READ_REGISTERS, REGISTERS),
    (thread::WRITE_REGISTERS, REGISTERS),
    (thread::SET_BASES, REGISTERS),
    (thread::SET_BATON, RESERVES),
    (thread::TRACE, TRACING),
    (gate::SET_RESERVE, RESERVES),
    (pulse::BIND_INTERRUPT, LINES),
    (pulse::BIND_IDLE, IDLE),
    (memory::PORT_READ, PORTS),
    (memory::PORT_WRITE, PORTS),
    (memory::PORT_WRITE_BYTES, PORTS),
    (memory::TRACE, TRACING),
];

impl Coverage {
    /// An action ended so.
    pub(crate) fn count_outcome(&mut self, action: &Action, outcome: &Outcome) {
        if let Some(event) = event(action, outcome) {
            *self.events.entry(event).or_default() += 1;
        }
    }

    /// A device interrupted.
    pub(crate) fn count_interrupt(&mut self) {
        *self.events.entry(LINE).or_default() += 1;
    }

    /// An exchange ended so.
    pub(crate) fn count(&mut self, (operation, method): (u8, u16), error: Option<Error>) {
        *self.exchanges.entry((operation, method, error.map_or(0, |error| error as u16))).or_default() += 1;
    }

    /// Both together.
    pub fn add(&mut self, other: &Self) {
        for (what, count) in &other.exchanges {
            *self.exchanges.entry(*what).or_default() += count;
        }
        for (what, count) in &other.events {
            *self.events.entry(what).or_default() += count;
        }
    }

    /// How often a method was done without an error.
    #[must_use]
    pub fn succeeded(&self, method: u16) -> u64 {
        self.exchanges.get(&(Operation::Call as u8, method, 0)).copied().unwrap_or(0)
    }

    /// Methods of the table that never succeeded and are no exceptions, exceptions that did, and events that never came.
    #[must_use]
    pub fn surprises(&self) -> Vec<&'static str> {
        let is_exception = |method| EXCEPTIONS.iter().any(|(exception, _)| *exception == method);
        let surprising = |method: &&u16| (self.succeeded(**method) == 0) != is_exception(**method);
        let methods = METHODS.iter().filter(surprising).filter_map(|method| method_name(*method));
        methods.chain(EVENTS.iter().copied().filter(|event| !self.events.contains_key(event))).collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds: BTreeSet<_> = self.exchanges.keys().map(|(operation, method, _)| (*operation, *method)).collect();
        for (operation, method) in kinds {
            let ends = || self.exchanges.range((operation, method, 0)..=(operation, method, u16::MAX));
            let operation = Operation::from_number(operation).map(|operation| format!("{operation:?}"));
            let name = method_name(method).map_or_else(|| operation.unwrap_or_default(), str::to_string);
            write!(formatter, "{name:<27}{:>9}:", ends().map(|(_, count)| count).sum::<u64>())?;
            for ((_, _, error), count) in ends() {
                let error = Error::from_number(*error).map_or_else(|| "done".to_string(), |error| format!("{error:?}"));
                write!(formatter, " {error} {count}")?;
            }
            writeln!(formatter)?;
        }
        for (event, count) in &self.events {
            writeln!(formatter, "{event:<27}{count:>9}")?;
        }
        Ok(())
    }
}
