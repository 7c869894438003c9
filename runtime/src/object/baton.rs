//! Methods of a baton.

use abi::object::baton as method;
use abi::thread::Policy;
use abi::{Error, Handle};

use super::invoke;

/// Change its priority, policy and slice.
///
/// # Errors
/// A priority above the quota's.
pub fn set(baton: Handle, priority: u8, policy: Policy, slice_ns: u64) -> Result<(), Error> {
    invoke(baton, method::SET, [u64::from(priority), policy as u64, slice_ns, 0]).map(drop)
}

/// What a baton is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Information {
    /// Nanoseconds billed to it.
    pub billed_ns: u64,
    /// Its priority.
    pub priority: u8,
    /// Number of its [`Policy`].
    pub policy: u8,
    /// Its slice or budget.
    pub slice_ns: u64,
}

/// What a baton is, and what was billed to it.
///
/// # Errors
/// [`Error::BadHandle`].
pub fn information(baton: Handle) -> Result<Information, Error> {
    let words = invoke(baton, method::INFORMATION, [0; 4])?;
    Ok(Information { billed_ns: words[0], priority: words[1] as u8, policy: words[2] as u8, slice_ns: words[3] })
}
