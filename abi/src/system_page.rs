//! The system page: mapped read-only into every process, so that the time can be read without a call.

/// Where it is in every process: in POSIX processes in the same 2 MiB as other things of the personality's, which saves page tables.
pub const SYSTEM_PAGE_ADDRESS: u64 = crate::NATIVE_BASE + 0x1800_0000;

/// Its content. `process` owns the page; the clock driver tells it the time of day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SystemPage {
    /// Ticks of the time-stamp counter a second.
    pub tsc_hz: u64,
    /// Time-stamp counter when the monotonic clock was 0.
    pub tsc_base: u64,
    /// Nanoseconds to add to the monotonic clock for the time since 1970 (UTC); 0 until the clock driver has read it.
    pub realtime_offset_ns: u64,
    /// RAM bytes in all.
    pub ram_total: u64,
}

impl SystemPage {
    /// Nanoseconds since boot at a reading of the time-stamp counter, which is the kernel's clock too.
    #[must_use]
    pub const fn monotonic_ns(&self, tsc: u64) -> u64 {
        const SECOND_NS: u64 = 1_000_000_000;
        let ticks = tsc.wrapping_sub(self.tsc_base);
        if self.tsc_hz == 0 {
            return 0;
        }
        // `t/h*n` cut down is `(t/h)*n + (t%h)*n/h` cut down: no division of 128 bits. (h is below 18 GHz, so the product fits.)
        (ticks / self.tsc_hz) * SECOND_NS + (ticks % self.tsc_hz) * SECOND_NS / self.tsc_hz
    }
}
