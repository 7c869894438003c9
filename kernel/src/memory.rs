//! A Memory: a run of physical addresses, of I/O ports or of interrupt lines.

use crate::header::Header;
use core::cell::Cell;

/// A run of physical addresses, of I/O ports or of interrupt lines.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Memory {
    pub(crate) header: Header,
    /// First physical address (bytes), port or line.
    pub(crate) base: Cell<u64>,
    /// Bytes, ports or lines.
    pub(crate) length: Cell<u64>,
    /// [`abi::object::MemoryType`].
    pub(crate) kind: Cell<u8>,
    /// How often it was derived from another.
    pub(crate) depth: Cell<u8>,
    /// The Memory it was derived from, its first part, its neighbours among the parts.
    pub(crate) parent: Cell<u32>,
    pub(crate) parts: Cell<u32>,
    pub(crate) sibling_next: Cell<u32>,
    pub(crate) sibling_previous: Cell<u32>,
    /// First mapping record.
    pub(crate) mappings: Cell<u32>,
}
