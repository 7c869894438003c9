//! Methods of a thread.

use abi::object::thread as method;
use abi::thread::{Configuration, NAME_LENGTH, Registers, State};
use abi::{Error, Handle};

use super::{Plain, invoke, invoke_with};
use crate::exchange::Buffers;

/// Start a thread. `argument` arrives in `rdi`; `baton`: its own, or [`Handle::NONE`] for one that only serves on others' time.
///
/// # Errors
/// [`Error::Busy`] if it runs already.
pub fn start(thread: Handle, instruction: u64, stack: u64, argument: u64, baton: Handle) -> Result<(), Error> {
    invoke(thread, method::START, [instruction, stack, argument, baton.0]).map(drop)
}

/// Set what rarely changes.
///
/// # Errors
/// [`Error::BadArgument`].
pub fn configure(thread: Handle, configuration: &Configuration) -> Result<(), Error> {
    invoke_with(thread, method::CONFIGURE, [0; 4], &mut Buffers::new().send(configuration.bytes())).map(drop)
}

/// The registers of a stopped or blocked thread.
///
/// # Errors
/// [`Error::Busy`] while it runs.
pub fn read_registers(thread: Handle) -> Result<Registers, Error> {
    let mut registers = Registers::default();
    invoke_with(thread, method::READ_REGISTERS, [0; 4], &mut Buffers::new().receive(registers.bytes_mut()))?;
    Ok(registers)
}

/// Set the registers of a thread that is stopped, or not started.
///
/// # Errors
/// [`Error::Busy`] while it runs.
pub fn write_registers(thread: Handle, registers: &Registers) -> Result<(), Error> {
    invoke_with(thread, method::WRITE_REGISTERS, [0; 4], &mut Buffers::new().send(registers.bytes())).map(drop)
}

/// Post an asynchronous upcall; see [`abi::upcall`].
///
/// # Errors
/// [`Error::BadHandle`].
pub fn interrupt(thread: Handle) -> Result<(), Error> {
    invoke(thread, method::INTERRUPT, [0; 4]).map(drop)
}

/// Let it not run until [`resume`].
///
/// # Errors
/// [`Error::BadHandle`].
pub fn stop(thread: Handle) -> Result<(), Error> {
    invoke(thread, method::STOP, [0; 4]).map(drop)
}

/// Let a stopped thread run again.
///
/// # Errors
/// [`Error::BadHandle`].
pub fn resume(thread: Handle) -> Result<(), Error> {
    invoke(thread, method::CONTINUE, [0; 4]).map(drop)
}

/// What a thread is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activity {
    /// Its state.
    pub state: State,
    /// Whether it is stopped besides.
    pub stopped: bool,
    /// The priority it runs at.
    pub priority: u8,
    /// Identity of the process that it waits for.
    pub waits_for: u64,
    /// Nanoseconds billed to its own baton.
    pub cpu_ns: u64,
    /// Instruction pointer.
    pub instruction: u64,
}

/// What a thread is doing.
///
/// # Errors
/// [`Error::BadHandle`].
pub fn state(thread: Handle) -> Result<Activity, Error> {
    let words = invoke(thread, method::STATE, [0; 4])?;
    Ok(Activity {
        state: State::from_number(words[0] as u8).unwrap_or(State::Dead),
        stopped: words[0] >> 8 & 1 != 0,
        priority: (words[0] >> 16) as u8,
        waits_for: words[1],
        cpu_ns: words[2],
        instruction: words[3],
    })
}

/// Set the FS and GS bases of the current thread.
///
/// # Errors
/// [`Error::BadArgument`] for addresses outside user space.
pub fn set_bases(fs: u64, gs: u64) -> Result<(), Error> {
    invoke(Handle::CURRENT_THREAD, method::SET_BASES, [fs, gs, 0, 0]).map(drop)
}

/// Let equals run first.
#[inline]
pub fn yield_now() {
    // There is nothing to do about a kernel that refuses to take the processor away.
    let _ = invoke(Handle::CURRENT_THREAD, method::YIELD, [0; 4]);
}

/// Name it for tools; what is longer than [`NAME_LENGTH`] is cut off.
///
/// # Errors
/// [`Error::BadHandle`].
pub fn set_name(thread: Handle, name: &str) -> Result<(), Error> {
    let mut bytes = [0; NAME_LENGTH];
    for (place, byte) in bytes.iter_mut().zip(name.bytes()) {
        *place = byte;
    }
    let name = u128::from_le_bytes(bytes);
    invoke(thread, method::SET_NAME, [name as u64, (name >> 64) as u64, 0, 0]).map(drop)
}

/// Its name, zero-padded.
///
/// # Errors
/// [`Error::BadHandle`].
pub fn name(thread: Handle) -> Result<[u8; NAME_LENGTH], Error> {
    let words = invoke(thread, method::NAME, [0; 4])?;
    Ok((u128::from(words[0]) | u128::from(words[1]) << 64).to_le_bytes())
}

/// Replace the connection for its faults.
///
/// # Errors
/// [`Error::BadHandle`].
pub fn set_fault_connection(thread: Handle, connection: Handle) -> Result<(), Error> {
    invoke(thread, method::SET_FAULT_CONNECTION, [connection.0, 0, 0, 0]).map(drop)
}

/// Give it another own baton, or none.
///
/// # Errors
/// [`Error::BadHandle`].
pub fn set_baton(thread: Handle, baton: Handle) -> Result<(), Error> {
    invoke(thread, method::SET_BATON, [baton.0, 0, 0, 0]).map(drop)
}

/// Give the baton that the calling thread runs on a trace id (0: none), and note a mark in the trace.
///
/// # Errors
/// None that a sound program could cause.
pub fn trace(id: u64, label: u32, word: u64) -> Result<(), Error> {
    invoke(Handle::CURRENT_THREAD, method::TRACE, [id, u64::from(label), word, 0]).map(drop)
}
