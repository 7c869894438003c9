//! A second address space that runs a function of this program: the other side of what is measured.

use abi::thread::Policy;
use abi::{Error, Handle, PAGE_SIZE, Quota, Rights, system_page};
use runtime::object::{gate, process, thread};

/// Where the image begins (runtime/link.ld), and the most it may have.
const IMAGE_ADDRESS: u64 = 0x40_0000;
const IMAGE_MAXIMUM: u64 = 0x40_0000;
/// The other side's stack.
const STACK_ADDRESS: u64 = 0x3000_0000;
const STACK_LENGTH: u64 = 16 * PAGE_SIZE;
/// A buffer that both sides have at this address, each its own.
pub(crate) const BUFFER_ADDRESS: u64 = 0x3100_0000;
/// Bytes of that buffer.
pub(crate) const BUFFER_LENGTH: u64 = 64 * 1024;
/// Priority of all that is measured.
pub(crate) const PRIORITY: u8 = 20;

/// A server in an address space of its own, and a connection to it.
#[derive(Debug)]
pub(crate) struct Server {
    process: Handle,
    /// What it receives at, as this side names it.
    pub(crate) gate: Handle,
    /// The right to send to it.
    pub(crate) connection: Handle,
}

fn memory_at(space: Handle, address: u64, length: u64) -> Result<(), Error> {
    let memory = runtime::heap::allocate(length)?;
    process::map(space, memory, address, abi::object::access::READ | abi::object::access::WRITE, 0, length)?;
    runtime::handle::close(memory);
    Ok(())
}

/// This side's buffer.
///
/// # Errors
/// No memory.
pub(crate) fn own_buffer() -> Result<(), Error> {
    memory_at(Handle::SELF_PROCESS, BUFFER_ADDRESS, BUFFER_LENGTH)
}

impl Server {
    /// Start `body` (which gets the gate's handle) in a new process.
    ///
    /// # Errors
    /// Quotas, or no memory.
    pub(crate) fn start(body: extern "C" fn(u64) -> !) -> Result<Self, Error> {
        let own = Handle::SELF_PROCESS;
        let quota =
            Quota { threads: 2, batons: 2, mappings: 64, pages: 64, priority: u32::from(PRIORITY), ..Quota::default() };
        let space = process::create_process(own, 0xbe7c, &quota)?;
        // Write access stays in both: else this side could no longer write its own data.
        process::share_range(space, own, IMAGE_ADDRESS, IMAGE_MAXIMUM, true)?;
        process::share_range(space, own, system_page::SYSTEM_PAGE_ADDRESS, PAGE_SIZE, false)?;
        memory_at(space, STACK_ADDRESS, STACK_LENGTH)?;
        memory_at(space, BUFFER_ADDRESS, BUFFER_LENGTH)?;
        let gate = process::create_gate(own, Handle::NONE, 0)?;
        let connection = gate::connect(gate, 7, 0)?;
        let given = process::give(space, gate, Rights::RECEIVE)?;
        let thread = process::create_thread(space, Handle::NONE)?;
        let baton = process::create_baton(space, PRIORITY, Policy::RoundRobin, 0)?;
        // As a called function finds it: the stack 8 below a multiple of 16.
        thread::start(thread, body as usize as u64, STACK_ADDRESS + STACK_LENGTH - 8, given.0, baton)?;
        Ok(Self { process: space, gate, connection })
    }

    /// End it.
    pub(crate) fn stop(self) {
        for object in [self.process, self.gate] {
            if let Err(error) = process::destroy(object) {
                runtime::log!(Error, "a server stays: {}", error.text());
            }
        }
    }
}
