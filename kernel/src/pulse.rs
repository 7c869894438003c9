//! A pulse: a fixed-size event to a gate. Values coalesce while it is pending.

use crate::header::Header;
use crate::tree::Node;
use core::cell::Cell;

/// A fixed-size event to a gate.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Pulse {
    pub(crate) header: Header,
    /// The gate: generation (bits 32–63) and index (0–15).
    pub(crate) gate: Cell<u64>,
    pub(crate) badge: Cell<u64>,
    /// What was raised since it was last delivered.
    pub(crate) value: Cell<u64>,
    /// Values are added, else OR-ed.
    pub(crate) counts: Cell<bool>,
    pub(crate) priority: Cell<u8>,
    /// It was raised and waits for delivery.
    pub(crate) pending: Cell<bool>,
    /// Raised when a CPU has nothing else to do.
    pub(crate) idle: Cell<bool>,
    /// Its interrupt line waits for it to re-arm.
    pub(crate) unarmed: Cell<bool>,
    /// In the gate's queue.
    pub(crate) queue: Node,
    /// The baton it carries; whether it waits with it, among the callers: then that baton helps.
    pub(crate) baton: Cell<u32>,
    pub(crate) helps: Cell<bool>,
    pub(crate) baton_generation: Cell<u32>,
    /// Among the alarms.
    pub(crate) alarm: Node,
    /// Period of its alarm, ns; 0: once.
    pub(crate) period: Cell<u64>,
    /// Interrupt line + 1, 0: none; the bit it raises; the next taker of the line.
    pub(crate) line: Cell<u32>,
    pub(crate) line_bit: Cell<u32>,
    /// How long the line may stay masked on its account, ns; 0: no bound.
    pub(crate) line_limit: Cell<u64>,
    pub(crate) line_next: Cell<u32>,
    /// Whose death it tells, or was to tell: tagged process or thread, 0 if it has a line; the next such pulse.
    pub(crate) death_of: Cell<u32>,
    pub(crate) death_next: Cell<u32>,
    /// Neighbours among the idle pulses.
    pub(crate) idle_next: Cell<u32>,
    pub(crate) idle_previous: Cell<u32>,
}
