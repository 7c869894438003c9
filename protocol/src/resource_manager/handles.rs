//! The few calls on kernel objects that a resource manager makes itself.

use abi::{Error, Handle};
use runtime::object::gate;

pub use runtime::handle::{close, reserve};

/// A new connection to `gate`, charged to the caller of `request`.
///
/// # Errors
/// Its quota is used up, or it does not permit to be charged ([`Error::NoRight`]).
pub fn connect(gate: Handle, badge: u64, request: u64) -> Result<Handle, Error> {
    runtime::handle::with_room(|| gate::connect(gate, badge, request))
}

/// Whether somebody still waits for the answer to `request`.
#[must_use]
pub fn is_waiting(gate: Handle, request: u64) -> bool {
    gate::request_information(gate, request).is_ok()
}
