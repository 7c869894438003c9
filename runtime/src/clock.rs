//! The time, read without a call from the [system page](abi::system_page).

/// Nanoseconds since boot: the clock of all deadlines. 0 as long as the process has no system page.
#[cfg(all(target_arch = "x86_64", target_os = "none"))]
#[must_use]
pub fn monotonic_ns() -> u64 {
    page().monotonic_ns(ticks())
}

/// Nanoseconds since 1970, UTC.
#[cfg(all(target_arch = "x86_64", target_os = "none"))]
#[must_use]
pub fn realtime_ns() -> u64 {
    let page = page();
    page.monotonic_ns(ticks()).wrapping_add(page.realtime_offset_ns)
}

/// The time-stamp counter.
#[cfg(all(target_arch = "x86_64", target_os = "none"))]
#[must_use]
pub fn ticks() -> u64 {
    // SAFETY: reading the counter touches no memory; the kernel permits it to programs.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// The system page's content now.
#[cfg(all(target_arch = "x86_64", target_os = "none"))]
#[must_use]
pub fn page() -> abi::system_page::SystemPage {
    // SAFETY: whoever started this process mapped the page there, read-only and for good; its owner may write it at any
    // time, hence volatile, and every field is a number.
    unsafe { core::ptr::read_volatile(abi::system_page::SYSTEM_PAGE_ADDRESS as *const abi::system_page::SystemPage) }
}

/// There is no system page on a host: 0.
#[cfg(not(all(target_arch = "x86_64", target_os = "none")))]
#[must_use]
pub fn monotonic_ns() -> u64 {
    0
}

/// There is no system page on a host: 0.
#[cfg(not(all(target_arch = "x86_64", target_os = "none")))]
#[must_use]
pub fn realtime_ns() -> u64 {
    0
}

/// There is no system page on a host: all 0.
#[cfg(not(all(target_arch = "x86_64", target_os = "none")))]
#[must_use]
pub fn page() -> abi::system_page::SystemPage {
    abi::system_page::SystemPage::default()
}
