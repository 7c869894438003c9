//! Marks: instructions that do nothing, by which whoever counts from outside (`runner/counter`) knows what is being measured.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Sections ended so far.
static SECTIONS: AtomicU64 = AtomicU64::new(0);

/// A long no-operation whose displacement says which mark it is. The counter knows these bytes.
macro_rules! mark {
    ($number:literal) => {
        #[cfg(target_os = "none")]
        #[allow(unsafe_code)]
        // SAFETY: it does nothing.
        unsafe {
            core::arch::asm!(
                ".byte 0x0f, 0x1f, 0x80, {number}, 0x4e, 0x54, 0x42",
                number = const $number,
                options(nomem, nostack, preserves_flags)
            )
        }
    };
}

/// Count from here on.
#[inline(always)]
pub(crate) fn begin() {
    mark!(1);
}

/// Count no more until the next beginning.
#[inline(always)]
pub(crate) fn pause() {
    mark!(2);
}

/// What was counted belongs together. Gives its number: the first section is 0.
pub(crate) fn end_section() -> u64 {
    mark!(3);
    SECTIONS.fetch_add(1, Relaxed)
}
