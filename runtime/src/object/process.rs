//! Methods of a process: make objects in it, map memory, manage its handle table.

use abi::object::process as method;
use abi::quota::Usage;
use abi::thread::Policy;
use abi::{Error, Handle, Quota, Rights};

use super::{Plain, invoke, invoke_option, invoke_with, partial, repeat};
use crate::exchange::Buffers;

/// New child process with its own quota, carved out of this one's. No handle of the caller's table is in it.
///
/// # Errors
/// [`Error::QuotaExceeded`] and the like.
pub fn create_process(process: Handle, identity: u64, quota: &Quota) -> Result<Handle, Error> {
    invoke_with(process, method::CREATE_PROCESS, [identity, 0, 0, 0], &mut Buffers::new().send(quota.bytes()))
        .map(handle)
}

/// New thread, not started. `fault_connection` takes its fault messages ([`Handle::NONE`]: it dies of them).
///
/// # Errors
/// [`Error::QuotaExceeded`] and the like.
pub fn create_thread(process: Handle, fault_connection: Handle) -> Result<Handle, Error> {
    invoke(process, method::CREATE_THREAD, [fault_connection.0, 0, 0, 0]).map(handle)
}

/// New baton under FIFO or round robin. `slice_ns` 0: the system's default.
///
/// # Errors
/// [`Error::QuotaExceeded`] and the like; a priority above the quota's is [`Error::BadArgument`] or [`Error::NoRight`].
pub fn create_baton(process: Handle, priority: u8, policy: Policy, slice_ns: u64) -> Result<Handle, Error> {
    invoke(process, method::CREATE_BATON, [u64::from(priority), policy as u64, slice_ns, 0]).map(handle)
}

/// New gate. `reserve`: the baton on which its receivers run when they have none. `grace_ns`: how long a server may take to
/// answer an interrupted caller.
///
/// # Errors
/// [`Error::QuotaExceeded`] and the like.
pub fn create_gate(process: Handle, reserve: Handle, grace_ns: u64) -> Result<Handle, Error> {
    invoke(process, method::CREATE_GATE, [reserve.0, grace_ns, 0, 0]).map(handle)
}

/// How values raised on a pulse come together while nobody takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accumulate {
    /// They are OR-ed.
    Or,
    /// They are added.
    Count,
}

/// New pulse to a gate. `baton`: what its receiver runs on, or [`Handle::NONE`].
///
/// # Errors
/// [`Error::QuotaExceeded`] and the like.
pub fn create_pulse(
    process: Handle,
    gate: Handle,
    badge: u64,
    accumulate: Accumulate,
    priority: u8,
    baton: Handle,
) -> Result<Handle, Error> {
    let shape = u64::from(accumulate == Accumulate::Count) | u64::from(priority) << 8;
    invoke(process, method::CREATE_PULSE, [gate.0, badge, shape, baton.0]).map(handle)
}

/// Map `length` bytes of a Memory from `offset` on at `address`, which must be free. `access`: [`abi::object::access`] bits.
///
/// # Errors
/// [`Error::Busy`] if something is mapped there; quota and argument errors. Then nothing is mapped.
pub fn map(process: Handle, memory: Handle, address: u64, access: u64, offset: u64, length: u64) -> Result<(), Error> {
    repeat(process, method::MAP, [memory.0, address | access, offset, length]).map(drop)
}

/// Unmap whatever is mapped in a range.
///
/// # Errors
/// [`Error::QuotaExceeded`] if a mapping has to be split and the quota has no record for it.
pub fn unmap(process: Handle, address: u64, length: u64) -> Result<(), Error> {
    repeat(process, method::UNMAP, [address, length, 0, 0]).map(drop)
}

/// Change the access of whatever is mapped in a range.
///
/// # Errors
/// As [`unmap`]; [`Error::NoRight`] for more than the mapped handle permitted.
pub fn protect(process: Handle, address: u64, access: u64, length: u64) -> Result<(), Error> {
    let mut words = [address | access, length, 0, 0];
    loop {
        match partial(process, method::PROTECT, 0, words) {
            (rest, Err(Error::More)) => words = rest,
            (_, result) => return result.map(drop),
        }
    }
}

/// Duplicate the mappings of a range of another process at the same addresses, read-only in both; with `writable`, as they are.
///
/// # Errors
/// Quota and argument errors; then part of the range may be shared.
pub fn share_range(
    process: Handle,
    source: Handle,
    mut address: u64,
    length: u64,
    writable: bool,
) -> Result<(), Error> {
    let end = address + length;
    loop {
        let (words, result) =
            partial(process, method::SHARE_RANGE, u64::from(writable), [source.0, address, end - address, 0]);
        match result {
            Err(Error::More) => address = words[0].clamp(address, end),
            Err(error) => return Err(error),
            Ok(_) => return Ok(()),
        }
    }
}

/// Make the handle table hold at least this many entries.
///
/// # Errors
/// [`Error::QuotaExceeded`], or [`Error::BadArgument`] beyond the largest table.
pub fn grow_handles(process: Handle, entries: u64) -> Result<(), Error> {
    repeat(process, method::GROW_HANDLES, [entries, 0, 0, 0]).map(drop)
}

/// Reserve a slot for an arriving handle. See also [`crate::handle::reserve`], which grows a full table.
///
/// # Errors
/// [`Error::TableFull`].
pub fn reserve(process: Handle) -> Result<Handle, Error> {
    invoke(process, method::RESERVE, [0; 4]).map(handle)
}

/// Close a handle of this process.
///
/// # Errors
/// [`Error::BadHandle`].
pub fn close(process: Handle, closed: Handle) -> Result<(), Error> {
    invoke(process, method::CLOSE, [closed.0, 0, 0, 0]).map(drop)
}

/// Close a handle of this process and reserve a slot, in one call.
///
/// # Errors
/// [`Error::BadHandle`], and the slot is not reserved; [`Error::TableFull`], and the handle is closed all the same.
pub fn close_and_reserve(process: Handle, closed: Handle) -> Result<Handle, Error> {
    invoke_option(process, method::CLOSE, 1, [closed.0, 0, 0, 0]).map(handle)
}

/// Duplicate a handle of the caller's table in it.
///
/// # Errors
/// [`Error::NoRight`] without the right to copy; [`Error::TableFull`].
pub fn duplicate(process: Handle, original: Handle, rights: Rights) -> Result<Handle, Error> {
    invoke(process, method::DUPLICATE, [original.0, u64::from(rights.0), 0, 0]).map(handle)
}

/// What a handle is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandleInformation {
    /// What it permits.
    pub rights: Rights,
    /// Number of its [`Kind`](abi::object::Kind).
    pub kind: u8,
    /// Badge of a connection.
    pub badge: u64,
}

/// What a handle of the caller's table is.
///
/// # Errors
/// [`Error::BadHandle`].
#[inline]
pub fn handle_information(subject: Handle) -> Result<HandleInformation, Error> {
    let words = invoke(Handle::SELF_PROCESS, method::HANDLE_INFORMATION, [subject.0, 0, 0, 0])?;
    Ok(HandleInformation { rights: Rights(words[0] as u32), kind: words[1] as u8, badge: words[2] })
}

/// Copy every handle of `source` that is marked inherit, at the same values.
///
/// # Errors
/// Quota errors; then some may have been copied.
pub fn copy_table(process: Handle, source: Handle) -> Result<(), Error> {
    let mut from = 0;
    loop {
        let (words, result) = partial(process, method::COPY_TABLE, 0, [source.0, from, 0, 0]);
        match result {
            Err(Error::More) => from = words[0],
            Err(error) => return Err(error),
            Ok(_) => return Ok(()),
        }
    }
}

/// Copy one handle of `source`, at the same value.
///
/// # Errors
/// [`Error::Busy`] if the slot is in use; [`Error::BadHandle`].
pub fn copy_entry(process: Handle, source: Handle, entry: Handle) -> Result<(), Error> {
    invoke(process, method::COPY_ENTRY, [source.0, entry.0, 0, 0]).map(drop)
}

/// Mark a handle of this process for [`copy_table`], or not.
///
/// # Errors
/// [`Error::BadHandle`].
pub fn set_inherit(process: Handle, entry: Handle, inherit: bool) -> Result<(), Error> {
    invoke(process, method::SET_INHERIT, [entry.0, u64::from(inherit), 0, 0]).map(drop)
}

/// Put a copy of a handle of the caller's into this process's table. Gives its value there.
///
/// # Errors
/// [`Error::NoRight`] without the right to copy; [`Error::TableFull`].
pub fn give(process: Handle, given: Handle, rights: Rights) -> Result<Handle, Error> {
    invoke(process, method::GIVE, [given.0, u64::from(rights.0), 0, 0]).map(handle)
}

/// Destroy the object that a handle of the caller's table names, and close the handle; returns when all of it is gone.
///
/// # Errors
/// [`Error::NoRight`], [`Error::BadHandle`].
pub fn destroy(subject: Handle) -> Result<(), Error> {
    repeat(Handle::SELF_PROCESS, method::DESTROY, [subject.0, 0, 0, 0]).map(drop)
}

/// What a process may have and has.
///
/// # Errors
/// [`Error::BadHandle`].
pub fn usage(process: Handle) -> Result<Usage, Error> {
    let mut usage = Usage::default();
    invoke_with(process, method::USAGE, [0; 4], &mut Buffers::new().receive(usage.bytes_mut()))?;
    Ok(usage)
}

/// Change a child's quota; growth comes from its parent's.
///
/// # Errors
/// [`Error::QuotaExceeded`]; [`Error::BadArgument`] if more is used already.
pub fn set_quota(process: Handle, quota: &Quota) -> Result<(), Error> {
    invoke_with(process, method::SET_QUOTA, [0; 4], &mut Buffers::new().send(quota.bytes())).map(drop)
}

/// A process's identity.
///
/// # Errors
/// [`Error::BadHandle`].
pub fn identity(process: Handle) -> Result<u64, Error> {
    invoke(process, method::IDENTITY, [0; 4]).map(|words| words[0])
}

/// A thread of a process: a new handle to it, and its slot, above which the next is found. `None`: there is no more.
///
/// # Errors
/// [`Error::TableFull`]; [`Error::NoRight`] without the right to manage the process.
pub fn next_thread(process: Handle, mut slot: u64) -> Result<Option<(Handle, u64)>, Error> {
    loop {
        let (words, result) = partial(process, method::NEXT_THREAD, 0, [slot, 0, 0, 0]);
        match result {
            Err(Error::More) => slot = words[0],
            Err(Error::NotFound) => return Ok(None),
            Err(error) => return Err(error),
            Ok(_) => return Ok(Some((Handle(words[0]), words[1]))),
        }
    }
}

/// Figures of the whole system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct System {
    /// Bytes of the kernel's arena in use.
    pub arena_used: u64,
    /// Bytes of the kernel's arena.
    pub arena_total: u64,
    /// RAM in all.
    pub ram_total: u64,
    /// Nanoseconds that CPUs had nothing to do.
    pub idle_ns: u64,
}

/// Figures of the whole system, for tools.
///
/// # Errors
/// [`Error::NoRight`].
pub fn system() -> Result<System, Error> {
    let [arena_used, arena_total, ram_total, idle_ns] = invoke(Handle::SELF_PROCESS, method::SYSTEM, [0; 4])?;
    Ok(System { arena_used, arena_total, ram_total, idle_ns })
}

fn handle(words: [u64; 4]) -> Handle {
    Handle(words[0])
}
