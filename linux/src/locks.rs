//! Locks for what tasks share: held briefly, never across a wait. `fork` takes all of them (see [`crate::process`]), so that the
//! child's copy of what they guard is whole.

use core::sync::atomic::{AtomicBool, Ordering};

use lock_api::{GuardSend, RawMutex};

/// Spins, and lets others run.
pub(crate) struct Yielding(AtomicBool);

// SAFETY: `try_lock` gives the lock to one caller at a time, until `unlock`.
unsafe impl RawMutex for Yielding {
    #[allow(clippy::declare_interior_mutable_const)]
    const INIT: Self = Self(AtomicBool::new(false));
    type GuardMarker = GuardSend;

    fn lock(&self) {
        while !self.try_lock() {
            runtime::object::thread::yield_now();
        }
    }

    fn try_lock(&self) -> bool {
        self.0.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    unsafe fn unlock(&self) {
        self.0.store(false, Ordering::Release);
    }
}

/// A value that tasks share.
pub(crate) type Lock<T> = lock_api::Mutex<Yielding, T>;
