//! The heap of a native program: talc, growing with RAM asked of the process service.
//!
//! `runtime::heap!()` makes it the program's global allocator. The programs below the process service have no one to ask:
//! `runtime::heap!(static BYTES)` gives them what they will ever have, and `runtime::heap!(grow)` asks a function.
//! When there is no more memory, an allocation fails: a fallible one (`try_reserve`) with an error, any other with a panic.

use core::alloc::{GlobalAlloc, Layout};
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use abi::object::access;
use abi::{Error, Handle, PAGE_SIZE};
use talc::base::{Talc, binning::Binning};
use talc::source::Source;

use crate::exchange::{Buffers, Message, Options, call};
use crate::object::{process, thread};
use crate::{handle, start};

/// Where a heap begins.
pub const HEAP_ADDRESS: u64 = 0x1_0000_0000;
/// Where it may end: at most 64 GiB.
pub const HEAP_END: u64 = 0x11_0000_0000;
/// Label of the process service's `allocate`; `protocol::process` and this file agree by a test there.
pub const ALLOCATE: u64 = 0x70;
/// Smallest growth; at least an eighth of the heap is added besides.
const GROWTH: u64 = 64 * 1024;

/// A function that makes `length` bytes (whole pages) more memory readable and writable at `address`.
pub type Grow = fn(address: u64, length: u64) -> Result<(), Error>;

/// Ask the process service for RAM and map it.
///
/// # Errors
/// There is no connection to it, or no memory.
pub fn grow_by_process(address: u64, length: u64) -> Result<(), Error> {
    let memory = allocate(length)?;
    let mapped = process::map(Handle::SELF_PROCESS, memory, address, access::READ | access::WRITE, 0, length);
    // The mapping does not need the handle; the allocation belongs to the connection.
    handle::close(memory);
    mapped
}

/// RAM of `length` bytes (whole pages, zeroed) from the process service, as a Memory.
///
/// # Errors
/// [`Error::QuotaExceeded`] when there is no memory; else what the exchange failed with.
pub fn allocate(length: u64) -> Result<Handle, Error> {
    let slot = handle::reserve()?;
    let message = Message::new(ALLOCATE, [length, 0, 0, 0]);
    match call(start::handle("process"), message, &mut Buffers::new().take(slot), Options::NONE) {
        Ok(answer) if answer.message.label == 0 && answer.handles == 1 => Ok(slot),
        other => {
            handle::close(slot);
            Err(other.err().unwrap_or(Error::QuotaExceeded))
        }
    }
}

/// Where the heap's memory comes from.
pub struct Growing {
    grow: Grow,
    end: AtomicU64,
}

impl fmt::Debug for Growing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Growing").field("end", &self.end).finish_non_exhaustive()
    }
}

// SAFETY: `acquire` uses nothing but exchanges with the kernel and the process service, which never allocate from this heap.
unsafe impl Source for Growing {
    fn acquire<B: Binning>(talc: &mut Talc<Self, B>, layout: Layout) -> Result<(), ()> {
        let end = talc.source.end.load(Ordering::Relaxed);
        let wanted = (layout.size() as u64).checked_add(layout.align() as u64 + PAGE_SIZE).ok_or(())?;
        let length = wanted.max((end - HEAP_ADDRESS) / 8).max(GROWTH).next_multiple_of(PAGE_SIZE);
        if length > HEAP_END - end {
            return Err(());
        }
        (talc.source.grow)(end, length).map_err(drop)?;
        talc.source.end.store(end + length, Ordering::Relaxed);
        let top = (end + length) as *mut u8;
        if end == HEAP_ADDRESS {
            // SAFETY: the memory was just mapped, readable, writable and zeroed; nothing else uses this range.
            unsafe { talc.claim(end as *mut u8, length as usize) }.map(drop).ok_or(())
        } else {
            let end = core::ptr::NonNull::new(end as *mut u8).ok_or(())?;
            // SAFETY: a heap ends at `end` (this is the only source of it), and what follows was just mapped.
            unsafe { talc.extend(end, top) };
            Ok(())
        }
    }
}

/// A lock for what is held briefly: spins, and lets others run.
pub struct Yielding(AtomicBool);

// SAFETY: `try_lock` gives the lock to one caller at a time, until `unlock`.
unsafe impl lock_api::RawMutex for Yielding {
    #[allow(clippy::declare_interior_mutable_const)]
    const INIT: Self = Self(AtomicBool::new(false));
    type GuardMarker = lock_api::GuardSend;

    fn lock(&self) {
        while !self.try_lock() {
            thread::yield_now();
        }
    }

    fn try_lock(&self) -> bool {
        self.0.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    unsafe fn unlock(&self) {
        self.0.store(false, Ordering::Release);
    }
}

/// A heap, to be a program's global allocator.
pub struct Heap(talc::TalcLock<Yielding, Growing>);

impl Heap {
    /// A heap that grows by this function.
    #[must_use]
    pub const fn new(grow: Grow) -> Self {
        Self(talc::TalcLock::new(Growing { grow, end: AtomicU64::new(HEAP_ADDRESS) }))
    }

    /// Bytes it has taken from the system.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.0.lock().source.end.load(Ordering::Relaxed) - HEAP_ADDRESS
    }
}

// SAFETY: passed on to talc, which is an allocator.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are the same.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are the same.
        unsafe { self.0.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promises are the same.
        unsafe { self.0.realloc(block, layout, size) }
    }
}

/// A heap of fixed size, in the program's own zeroed memory.
pub type Fixed = talc::TalcLock<Yielding, talc::source::Claim>;

/// A heap in `memory`, which it takes for good.
///
/// # Safety
/// Nothing else uses `memory`, ever.
#[must_use]
pub const unsafe fn fixed<const BYTES: usize>(memory: *mut [u8; BYTES]) -> Fixed {
    // SAFETY: promised by the caller.
    talc::TalcLock::new(unsafe { talc::source::Claim::array(memory) })
}

/// Give the program a heap: `heap!()` grows by the process service, `heap!(static BYTES)` is fixed, `heap!(function)`
/// grows by a [`Grow`](crate::heap::Grow) of the program's own.
#[macro_export]
macro_rules! heap {
    () => {
        $crate::heap!($crate::heap::grow_by_process);
    };
    (static $bytes:expr) => {
        #[cfg(target_os = "none")]
        #[allow(unsafe_code)]
        const _: () = {
            static mut MEMORY: [u8; $bytes] = [0; $bytes];
            #[global_allocator]
            // SAFETY: nothing else can name the array.
            static HEAP: $crate::heap::Fixed = unsafe { $crate::heap::fixed(&raw mut MEMORY) };
        };
    };
    ($grow:path) => {
        #[cfg(target_os = "none")]
        #[allow(unsafe_code)]
        const _: () = {
            #[global_allocator]
            static HEAP: $crate::heap::Heap = $crate::heap::Heap::new($grow);
        };
    };
}
