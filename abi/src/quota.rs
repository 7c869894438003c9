//! Quotas: how much of each thing a process, and all below it, may have.

/// A quota vector, carved out of the parent's when a process is created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Quota {
    /// Child processes (of all generations below).
    pub processes: u32,
    /// Threads.
    pub threads: u32,
    /// Batons.
    pub batons: u32,
    /// Gates.
    pub gates: u32,
    /// Connections.
    pub connections: u32,
    /// Pulses.
    pub pulses: u32,
    /// Memory objects.
    pub memories: u32,
    /// Mapping records: one per run of pages mapped.
    pub mappings: u32,
    /// Pages for page tables and handle tables.
    pub pages: u32,
    /// Highest priority a baton may have (not consumed, only inherited downwards).
    pub priority: u32,
}

const _: () = assert!(size_of::<Quota>() == 40);

/// What [`process::USAGE`](crate::object::process::USAGE) writes: the limit and what is used of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Usage {
    /// What the process may have.
    pub limit: Quota,
    /// What it has, children's shares included.
    pub used: Quota,
}

const _: () = assert!(size_of::<Usage>() == 80);
