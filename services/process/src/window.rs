//! All RAM of the service, mapped into its own space: the one place where it reads and writes frames by address.
//!
//! A frame of physical address p is at `WINDOW + p`. On a host (tests) a zeroed block of ordinary memory stands in.
#![allow(unsafe_code)]

use abi::PAGE_SIZE;

/// Where RAM is mapped.
pub(crate) const WINDOW: u64 = 0x2000_0000_0000;
/// Where pages of a Memory that is not the service's RAM are mapped for a moment.
pub(crate) const SCRATCH: u64 = 0x1f00_0000_0000;
/// Where the boot archive is mapped for good.
pub(crate) const ARCHIVE: u64 = 0x1e00_0000_0000;

#[cfg(target_os = "none")]
fn place(physical: u64) -> *mut u8 {
    (WINDOW + physical) as *mut u8
}

#[cfg(not(target_os = "none"))]
fn place(physical: u64) -> *mut u8 {
    tests::place(physical)
}

/// Fill whole pages with zeros.
pub(crate) fn zero(physical: u64, length: u64) {
    // SAFETY: callers name frames of the service's RAM, which are mapped writable for good, and which no Rust reference names.
    unsafe { core::ptr::write_bytes(place(physical), 0, length as usize) }
}

/// Copy a page onto another.
pub(crate) fn copy_page(from: u64, to: u64) {
    // SAFETY: both are whole frames of the service's RAM, mapped for good, and different ones.
    unsafe { core::ptr::copy_nonoverlapping(place(from), place(to), PAGE_SIZE as usize) }
}

/// Copy from a frame; the range must not leave the run of frames.
pub(crate) fn read(physical: u64, bytes: &mut [u8]) {
    // SAFETY: callers stay within frames of the service's RAM; a program may change them meanwhile, which only garbles bytes.
    unsafe { core::ptr::copy_nonoverlapping(place(physical), bytes.as_mut_ptr(), bytes.len()) }
}

/// Copy into a frame; the range must not leave the run of frames.
pub(crate) fn write(physical: u64, bytes: &[u8]) {
    // SAFETY: callers stay within frames of the service's RAM, which no Rust reference names.
    unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), place(physical), bytes.len()) }
}

/// The address at which the kernel finds a frame in this process.
#[must_use]
pub(crate) fn address(physical: u64) -> u64 {
    place(physical) as u64
}

/// Copy from the scratch window (just mapped by the caller) to frames.
#[cfg(target_os = "none")]
pub(crate) fn copy_scratch(to: u64, length: u64) {
    // SAFETY: the caller mapped so much at SCRATCH readable; the destination is a run of frames of the service's RAM.
    unsafe { core::ptr::copy_nonoverlapping(SCRATCH as *const u8, place(to), length as usize) }
}

/// Copy between the scratch window and bytes of the service.
#[cfg(target_os = "none")]
pub(crate) fn read_scratch(offset: u64, bytes: &mut [u8]) {
    // SAFETY: the caller mapped a page at SCRATCH and stays within it.
    unsafe { core::ptr::copy_nonoverlapping((SCRATCH + offset) as *const u8, bytes.as_mut_ptr(), bytes.len()) }
}

/// Copy bytes of the service to the scratch window.
#[cfg(target_os = "none")]
pub(crate) fn write_scratch(offset: u64, bytes: &[u8]) {
    // SAFETY: the caller mapped a page at SCRATCH writable and stays within it.
    unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), (SCRATCH + offset) as *mut u8, bytes.len()) }
}

/// A run of this process's RAM window as a slice for good: for the frame table.
///
/// # Safety
/// The frames were never given out and never will be; all zeros is a valid `T`, and they are zeroed.
#[cfg(target_os = "none")]
pub(crate) unsafe fn table<T>(physical: u64, count: usize) -> &'static mut [T] {
    // SAFETY: promised by the caller; the window is mapped for good.
    unsafe { core::slice::from_raw_parts_mut(place(physical).cast(), count) }
}

/// The boot archive.
///
/// # Safety
/// `length` bytes at `ARCHIVE` are mapped readable for good.
#[cfg(target_os = "none")]
pub(crate) unsafe fn archive(length: u64) -> &'static [u8] {
    // SAFETY: promised by the caller; nobody writes the archive.
    unsafe { core::slice::from_raw_parts(ARCHIVE as *const u8, length as usize) }
}

#[cfg(not(target_os = "none"))]
pub(crate) mod tests {
    //! RAM of a thread's own for tests.
    use std::cell::RefCell;
    use std::vec::Vec;

    thread_local! {
        static RAM: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
    }

    /// Have this much RAM, filled with a pattern, before anything asks for its address.
    #[cfg_attr(not(test), allow(dead_code))]
    pub(crate) fn make(bytes: u64) {
        RAM.with(|ram| *ram.borrow_mut() = vec![0xa5a5_a5a5_a5a5_a5a5; (bytes / 8) as usize]);
    }

    pub(crate) fn place(physical: u64) -> *mut u8 {
        RAM.with(|ram| {
            let mut ram = ram.borrow_mut();
            assert!(physical < ram.len() as u64 * 8, "no such frame");
            ram.as_mut_ptr().cast::<u8>().wrapping_add(physical as usize)
        })
    }
}
