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
    /// Nanoseconds since boot at a reading of the time-stamp counter; the same arithmetic as the kernel's clock.
    #[must_use]
    pub const fn monotonic_ns(&self, tsc: u64) -> u64 {
        let ticks = tsc.wrapping_sub(self.tsc_base) as u128;
        if self.tsc_hz == 0 { 0 } else { (ticks * 1_000_000_000 / self.tsc_hz as u128) as u64 }
    }
}
