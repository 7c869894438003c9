//! The service's own heap: grows out of frames that the server put aside beforehand.
//!
//! The allocator may be called while the server's state is being changed, so it must not touch it: it takes from a small pool of runs, which
//! the server fills up between messages.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use abi::object::access;
use abi::{Error, Handle, PAGE_SIZE};

use crate::ram::Ram;

/// A run of frames: Memory, offset there, bytes left.
struct Run {
    memory: AtomicU64,
    offset: AtomicU64,
    length: AtomicU64,
}

const RUNS: usize = 64;
/// What the pool holds between messages, at least.
const LEAST: u64 = 256 << 10;

static POOL: [Run; RUNS] =
    [const { Run { memory: AtomicU64::new(0), offset: AtomicU64::new(0), length: AtomicU64::new(0) } }; RUNS];
/// Bytes in the pool, and in the heap.
static HELD: AtomicU64 = AtomicU64::new(0);
static TAKEN: AtomicU64 = AtomicU64::new(0);

/// Make `length` more bytes of heap at `address`.
///
/// # Errors
/// [`Error::QuotaExceeded`] when the pool is too small.
pub(crate) fn grow(mut address: u64, length: u64) -> Result<(), Error> {
    if HELD.load(Relaxed) < length {
        return Err(Error::QuotaExceeded);
    }
    let mut rest = length;
    for run in &POOL {
        let part = run.length.load(Relaxed).min(rest);
        if part == 0 {
            continue;
        }
        let (memory, offset) = (Handle(run.memory.load(Relaxed)), run.offset.load(Relaxed));
        crate::kernel::map(Handle::SELF_PROCESS, memory, address, access::READ | access::WRITE, offset, part)?;
        run.offset.store(offset + part, Relaxed);
        run.length.store(run.length.load(Relaxed) - part, Relaxed);
        HELD.fetch_sub(part, Relaxed);
        address += part;
        rest -= part;
    }
    TAKEN.fetch_add(length, Relaxed);
    Ok(())
}

/// Heap that is there from the start: so much serves some hundred processes, whose end then leaves no trace in what is free.
const FIRST: usize = 1 << 20;

/// Make the first part of the heap.
pub(crate) fn begin(ram: &mut Ram) {
    top_up(ram, FIRST as u64 + (64 << 10));
    drop(core::hint::black_box(alloc::vec::Vec::<u8>::with_capacity(FIRST)));
}

/// Fill the pool up, to an eighth of the heap at least, and `besides`. Whether it holds so much.
pub(crate) fn top_up(ram: &mut Ram, besides: u64) -> bool {
    if cfg!(not(target_os = "none")) {
        // The host's own heap serves tests.
        return true;
    }
    let wanted = LEAST.max(TAKEN.load(Relaxed) / 8) + besides;
    for run in &POOL {
        let held = HELD.load(Relaxed);
        if held >= wanted {
            return true;
        }
        if run.length.load(Relaxed) > 0 {
            continue;
        }
        let pages = ((wanted - held) / PAGE_SIZE).clamp(16, 1024).next_power_of_two() as u32;
        let Some((frame, count)) = ram.frames.allocate_up_to(pages) else { return false };
        // What the heap has nobody else can be promised. If all is promised already, it comes out of the reserve.
        let _ = ram.charge(count.into());
        let (memory, offset) = ram.frames.memory(frame);
        run.memory.store(memory.0, Relaxed);
        run.offset.store(offset, Relaxed);
        run.length.store(u64::from(count) * PAGE_SIZE, Relaxed);
        HELD.fetch_add(u64::from(count) * PAGE_SIZE, Relaxed);
    }
    HELD.load(Relaxed) >= wanted
}
