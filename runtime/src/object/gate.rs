//! Methods of a gate.

use abi::object::gate as method;
use abi::{Error, Handle, Rights};

use super::{invoke, invoke_option};

/// New connection to a gate. `charge`: a request being served whose caller is charged, or 0: the process that makes it is.
/// The handle permits sending and copying.
///
/// # Errors
/// [`Error::QuotaExceeded`], [`Error::TableFull`]; [`Error::NoRight`] if the caller did not allow to be charged
/// ([`abi::call::flags::CHARGE_ME`]).
pub fn connect(gate: Handle, badge: u64, charge: u64) -> Result<Handle, Error> {
    connect_with(gate, badge, charge, Rights::NONE)
}

/// As [`connect`], with rights chosen ([`Rights::NONE`]: to send and to copy).
///
/// # Errors
/// As [`connect`].
pub fn connect_with(gate: Handle, badge: u64, charge: u64, rights: Rights) -> Result<Handle, Error> {
    invoke_option(gate, method::CONNECT, u64::from(rights.0), [badge, charge, 0, 0]).map(|words| Handle(words[0]))
}

/// Replace the reserve baton.
///
/// # Errors
/// [`Error::BadHandle`].
pub fn set_reserve(gate: Handle, baton: Handle) -> Result<(), Error> {
    invoke(gate, method::SET_RESERVE, [baton.0, 0, 0, 0]).map(drop)
}

/// The live connection after the one with this badge (`None`: the first): its badge, and how many handles to it there are.
///
/// # Errors
/// [`Error::NotFound`] at the end.
pub fn next_connection(gate: Handle, after: Option<u64>) -> Result<(u64, u64), Error> {
    let option = u64::from(after.is_none());
    invoke_option(gate, method::NEXT_CONNECTION, option, [after.unwrap_or(0), 0, 0, 0])
        .map(|words| (words[0], words[1]))
}

/// How busy a gate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Information {
    /// Callers that wait for a receiver.
    pub callers: u64,
    /// Parked receivers.
    pub receivers: u64,
    /// Pulses not yet taken.
    pub pulses: u64,
}

/// How busy a gate is.
///
/// # Errors
/// [`Error::BadHandle`].
pub fn information(gate: Handle) -> Result<Information, Error> {
    let [callers, receivers, pulses, _] = invoke(gate, method::INFORMATION, [0; 4])?;
    Ok(Information { callers, receivers, pulses })
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestInformation {
    /// Identity of the caller's process.
    pub identity: u64,
    /// The priority at which it waits.
    pub priority: u64,
    /// The trace that it is part of.
    pub trace: u64,
}

/// About a request that was taken from this gate and is not yet answered.
///
/// # Errors
/// [`Error::Gone`] when the caller has left.
pub fn request_information(gate: Handle, request: u64) -> Result<RequestInformation, Error> {
    let [identity, priority, trace, _] = invoke(gate, method::REQUEST_INFORMATION, [request, 0, 0, 0])?;
    Ok(RequestInformation { identity, priority, trace })
}
