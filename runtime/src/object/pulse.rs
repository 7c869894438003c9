//! Methods of a pulse: what raises it.

use abi::object::pulse as method;
use abi::{Error, Handle};

use super::{invoke, invoke_option};

/// Raise it (with value 1) at `at_ns`, then every `interval_ns` (0: once). Replaces an earlier alarm.
///
/// # Errors
/// [`Error::BadHandle`].
pub fn set_alarm(pulse: Handle, at_ns: u64, interval_ns: u64) -> Result<(), Error> {
    invoke(pulse, method::SET_ALARM, [at_ns, interval_ns, 0, 0]).map(drop)
}

/// No alarm any more.
///
/// # Errors
/// [`Error::BadHandle`].
pub fn clear_alarm(pulse: Handle) -> Result<(), Error> {
    set_alarm(pulse, u64::MAX, 0)
}

/// How an interrupt line signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// Level, active low: PCI.
    Level,
    /// Edge, active high: ISA.
    Edge,
}

/// Raise it when an interrupt comes on `line` of a Memory of type Interrupts. `bound_ns`: the longest that the line may
/// stay masked on its account, 0 for no bound.
///
/// # Errors
/// [`Error::Busy`] when the line has as many takers as it can, or the pulse has a line or was bound to a death.
pub fn bind_interrupt(
    pulse: Handle,
    interrupts: Handle,
    line: u64,
    bound_ns: u64,
    trigger: Trigger,
) -> Result<(), Error> {
    let option = u64::from(trigger == Trigger::Edge);
    invoke_option(pulse, method::BIND_INTERRUPT, option, [interrupts.0, line, bound_ns, 0]).map(drop)
}

/// Unmask its interrupt line now.
///
/// # Errors
/// [`Error::BadHandle`].
pub fn rearm(pulse: Handle) -> Result<(), Error> {
    invoke(pulse, method::REARM, [0; 4]).map(drop)
}

/// Raise it when this process or thread dies.
///
/// # Errors
/// [`Error::BadHandle`]; [`Error::Gone`] if it is dead already; [`Error::Busy`] when it has an interrupt line, or as many
/// pulses as can be are bound to that death.
pub fn bind_death(pulse: Handle, subject: Handle) -> Result<(), Error> {
    invoke(pulse, method::BIND_DEATH, [subject.0, 0, 0, 0]).map(drop)
}

/// Raise it when a CPU has nothing else to do, or no longer.
///
/// # Errors
/// [`Error::BadHandle`].
pub fn bind_idle(pulse: Handle, on: bool) -> Result<(), Error> {
    invoke(pulse, method::BIND_IDLE, [u64::from(on), 0, 0, 0]).map(drop)
}
