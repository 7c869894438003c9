//! Methods of a Memory.

use abi::object::memory as method;
use abi::{Error, Handle, Rights};

use super::invoke;

/// What a Memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Information {
    /// Bytes, ports or lines.
    pub length: u64,
    /// Number of its [`MemoryType`](abi::object::MemoryType).
    pub memory_type: u8,
    /// First physical address, port or line; 0 without the right to manage it.
    pub base: u64,
}

/// What a Memory is.
///
/// # Errors
/// [`Error::BadHandle`].
pub fn information(memory: Handle) -> Result<Information, Error> {
    let words = invoke(memory, method::INFORMATION, [0; 4])?;
    Ok(Information { length: words[0], memory_type: words[1] as u8, base: words[2] })
}

/// New Memory for a part of this one, charged to `process`.
///
/// # Errors
/// [`Error::BadArgument`] for a range outside it; quota errors.
pub fn derive(memory: Handle, process: Handle, offset: u64, length: u64, rights: Rights) -> Result<Handle, Error> {
    invoke(memory, method::DERIVE, [process.0, offset, length, u64::from(rights.0)]).map(|words| Handle(words[0]))
}

/// Read `bytes` (1, 2 or 4) from the port at `offset`.
///
/// # Errors
/// [`Error::BadArgument`] outside its ports.
#[inline]
pub fn port_read(ports: Handle, offset: u64, bytes: u64) -> Result<u32, Error> {
    invoke(ports, method::PORT_READ, [offset, bytes, 0, 0]).map(|words| words[0] as u32)
}

/// Write `bytes` (1, 2 or 4) to the port at `offset`.
///
/// # Errors
/// [`Error::BadArgument`] outside its ports.
#[inline]
pub fn port_write(ports: Handle, offset: u64, bytes: u64, value: u32) -> Result<(), Error> {
    invoke(ports, method::PORT_WRITE, [offset, bytes, u64::from(value), 0]).map(drop)
}

/// Write up to 16 bytes to one port, one after the other. Gives how many were written.
///
/// # Errors
/// [`Error::BadArgument`] outside its ports.
pub fn port_write_bytes(ports: Handle, offset: u64, bytes: &[u8]) -> Result<usize, Error> {
    let count = bytes.len().min(16);
    let mut padded = [0; 16];
    padded[..count].copy_from_slice(&bytes[..count]);
    let value = u128::from_le_bytes(padded);
    invoke(ports, method::PORT_WRITE_BYTES, [offset, count as u64, value as u64, (value >> 64) as u64]).map(|_| count)
}

/// From now on, note the events of these [classes](abi::trace::CLASSES) in the trace's ring. Gives those noted before.
///
/// # Errors
/// [`Error::WrongKind`] if this is no ring, [`Error::NoRight`] if it is only for reading.
pub fn trace(ring: Handle, classes: u64) -> Result<u64, Error> {
    invoke(ring, method::TRACE, [classes, 0, 0, 0]).map(|words| words[0])
}
