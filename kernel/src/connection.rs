//! A connection: a counted right to send to one gate, with a badge that its server chose.

use crate::header::Header;
use crate::tree::Node;
use core::cell::Cell;

/// A counted right to send to one gate.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Connection {
    /// The gate: generation (bits 32–63) and index (0–15).
    pub(crate) gate: Cell<u64>,
    /// Chosen by the server.
    pub(crate) badge: Cell<u64>,
    pub(crate) header: Header,
    /// Handles (and fault connections of threads) that name it.
    pub(crate) count: Cell<u32>,
    /// As a closing notice in the gate's queue.
    pub(crate) queue: Node,
    /// In the gate's set of connections, by badge.
    pub(crate) set: Node,
}
