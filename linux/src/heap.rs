//! The library's own memory: talc over areas of the library's region of the address space. When there is no more, an allocation
//! that cannot fail gracefully ends the process.

use core::alloc::Layout;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use abi::PAGE_SIZE;
use lock_api::{GuardSend, RawMutex};
use protocol::image::{TASK_ADDRESS, TASK_LENGTH};
use protocol::process::{self as service, map_flags};
use runtime::{Buffers, Options};
use talc::TalcLock;
use talc::base::{Talc, binning::Binning};
use talc::source::Source;

/// The heap begins in the same page as the first task's block, since all of this is copied, page by page, after a fork.
const FIRST_ADDRESS: u64 = TASK_ADDRESS + 1024;
const FIRST_END: u64 = TASK_ADDRESS + (12 << 10);
/// Where the first task's stack ends, which begins where the first part of the heap ends.
pub(crate) const FIRST_TASK_LENGTH: u64 = 96 << 10;
/// The rest of the room that is mapped from the beginning.
const SECOND_ADDRESS: u64 = TASK_ADDRESS + FIRST_TASK_LENGTH;
/// Where further memory is mapped.
const FURTHER_ADDRESS: u64 = TASK_ADDRESS + TASK_LENGTH;
/// Where it ends.
const FURTHER_END: u64 = FURTHER_ADDRESS + (64 << 30);
/// Smallest growth.
const GROWTH: u64 = 256 << 10;

static LOCKED: AtomicBool = AtomicBool::new(false);

/// The heap's lock: a static of its own, so that a forked child can open it.
struct HeapLock;

// SAFETY: `try_lock` gives the lock to one caller at a time, until `unlock`; there is one heap.
unsafe impl RawMutex for HeapLock {
    #[allow(clippy::declare_interior_mutable_const)]
    const INIT: Self = Self;
    type GuardMarker = GuardSend;

    fn lock(&self) {
        while !self.try_lock() {
            runtime::object::thread::yield_now();
        }
    }

    fn try_lock(&self) -> bool {
        LOCKED.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    unsafe fn unlock(&self) {
        LOCKED.store(false, Ordering::Release);
    }
}

/// Take the heap's lock, for `fork`.
pub(crate) fn lock() {
    HeapLock.lock();
}

/// Open it again, in parent or child.
pub(crate) fn unlock() {
    // SAFETY: called by `fork` only, which took it.
    unsafe { HeapLock.unlock() };
}

/// Where the heap's memory comes from.
#[derive(Debug)]
struct Areas {
    end: AtomicU64,
}

/// Take a part of the room that is mapped from the beginning.
fn claim<B: Binning>(talc: &mut Talc<Areas, B>, start: u64, end: u64, next: u64) -> Result<(), ()> {
    talc.source.end.store(next, Ordering::Relaxed);
    // SAFETY: whoever made this image mapped the room (`protocol::image`), zeroed; only the heap uses these parts.
    unsafe { talc.claim(start as *mut u8, (end - start) as usize) }.map(drop).ok_or(())
}

// SAFETY: `acquire` only sends a message to the process service, which takes nothing from this heap.
unsafe impl Source for Areas {
    fn acquire<B: Binning>(talc: &mut Talc<Self, B>, layout: Layout) -> Result<(), ()> {
        let end = talc.source.end.load(Ordering::Relaxed);
        if end == 0 {
            return claim(talc, FIRST_ADDRESS, FIRST_END, SECOND_ADDRESS);
        }
        if end == SECOND_ADDRESS {
            return claim(talc, SECOND_ADDRESS, FURTHER_ADDRESS, FURTHER_ADDRESS);
        }
        let wanted = (layout.size() as u64).checked_add(layout.align() as u64 + PAGE_SIZE).ok_or(())?;
        let length = wanted.max(GROWTH).next_multiple_of(PAGE_SIZE);
        if length > FURTHER_END - end {
            return Err(());
        }
        let flags = map_flags::LIBRARY | map_flags::FIXED;
        service::map(service::CONNECTION, end, length, 3, flags, &mut Buffers::new(), Options::NONE).map_err(drop)?;
        talc.source.end.store(end + length, Ordering::Relaxed);
        // SAFETY: just mapped, readable, writable, zeroed, and nobody else's.
        unsafe { talc.claim(end as *mut u8, length as usize) }.map(drop).ok_or(())
    }
}

#[global_allocator]
static HEAP: TalcLock<HeapLock, Areas> = TalcLock::new(Areas { end: AtomicU64::new(0) });
