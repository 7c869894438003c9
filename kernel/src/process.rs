//! A process: an address space, a handle table and a quota. See `object/process.rs` for what can be done to it.

use crate::handle_table::DIRECTORY;
use crate::header::Header;
use crate::machine::Machine;
use crate::quota::Account;
use core::cell::Cell;

/// How far the teardown of a dead process has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Teardown {
    /// Alive.
    #[default]
    None,
    /// Threads and other possessions are destroyed.
    Possessions,
    /// Callers that wait for its answer are told.
    Callers,
    /// Handles are closed.
    Handles,
    /// Mappings are removed.
    Mappings,
    /// Page tables are given back.
    PageTables,
}

/// An address space, a handle table, a quota and an identity.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Process<M: Machine> {
    pub(crate) header: Header,
    /// Set once by the creator; receivers of its messages see it.
    pub(crate) identity: Cell<u64>,
    pub(crate) space: Cell<M::Space>,
    /// Pages in the directory.
    pub(crate) handle_pages: Cell<u32>,
    /// First free slot of the handle table.
    pub(crate) free_handle: Cell<u32>,
    /// Limits and use.
    pub(crate) account: Account,
    /// First of the possessions (tagged).
    pub(crate) possessions: Cell<u32>,
    /// Processes above it.
    pub(crate) depth: Cell<u8>,
    /// Mapping records by address.
    pub(crate) mappings: Cell<u32>,
    /// First pulse to raise when it dies.
    pub(crate) death_pulses: Cell<u32>,
    /// Where a teardown in pieces goes on.
    pub(crate) teardown: Cell<Teardown>,
    pub(crate) cursor: Cell<u32>,
    /// Whether any of its threads ever received: callers may wait for it.
    pub(crate) served: Cell<bool>,
    /// Pages of the handle table.
    pub(crate) directory: [Cell<u32>; DIRECTORY],
}

impl<M: Machine> Default for Process<M> {
    fn default() -> Self {
        Self {
            header: Header::default(),
            identity: Cell::default(),
            space: Cell::default(),
            handle_pages: Cell::default(),
            free_handle: Cell::default(),
            account: Account::default(),
            possessions: Cell::default(),
            depth: Cell::default(),
            mappings: Cell::default(),
            death_pulses: Cell::default(),
            teardown: Cell::default(),
            cursor: Cell::default(),
            served: Cell::default(),
            directory: core::array::from_fn(|_| Cell::default()),
        }
    }
}
