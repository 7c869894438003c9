//! Memory that the device reaches: one run of RAM for queues and buffers, and the device's registers.
//!
//! The library's `Hal` has no state of its own, so the run lives in statics, set once by [`set_up`] before the device is touched.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use abi::object::access;
use abi::{Error, Handle, PAGE_SIZE};
use runtime::object::{memory, process};
use virtio_drivers::{BufferDirection, Hal, PhysAddr};

/// Where the run is mapped.
const RUN_ADDRESS: u64 = 0x20_0000_0000;
/// Bytes of the run.
const RUN_LENGTH: u64 = 1 << 20;
/// Where device registers are mapped, one after the other.
const REGISTERS_ADDRESS: u64 = 0x28_0000_0000;

static RUN_PHYSICAL: AtomicU64 = AtomicU64::new(0);
static RUN_USED: AtomicU64 = AtomicU64::new(0);
static DEVICES: AtomicU64 = AtomicU64::new(0);
static DEVICES_PHYSICAL: AtomicU64 = AtomicU64::new(0);
static REGISTERS_USED: AtomicU64 = AtomicU64::new(0);

/// Get and map the run; `devices` is the Memory of device registers.
///
/// # Errors
/// No memory, or no right to know where it lies.
pub(crate) fn set_up(devices: Handle) -> Result<(), Error> {
    let run = runtime::heap::allocate(RUN_LENGTH)?;
    process::map(Handle::SELF_PROCESS, run, RUN_ADDRESS, access::READ | access::WRITE, 0, RUN_LENGTH)?;
    let physical = memory::information(run)?.base;
    if physical == 0 {
        return Err(Error::NoRight);
    }
    RUN_PHYSICAL.store(physical, Ordering::Relaxed);
    DEVICES.store(devices.0, Ordering::Relaxed);
    DEVICES_PHYSICAL.store(memory::information(devices)?.base, Ordering::Relaxed);
    Ok(())
}

/// A buffer of whole pages in the run, for good.
pub(crate) fn buffer(length: usize) -> Option<NonNull<[u8]>> {
    let offset = take(length as u64)?;
    let start = NonNull::new((RUN_ADDRESS + offset) as *mut u8)?;
    Some(NonNull::slice_from_raw_parts(start, length))
}

fn take(length: u64) -> Option<u64> {
    let length = length.next_multiple_of(PAGE_SIZE);
    let offset = RUN_USED.load(Ordering::Relaxed);
    if length > RUN_LENGTH - offset {
        return None;
    }
    RUN_USED.store(offset + length, Ordering::Relaxed);
    Some(offset)
}

/// The library's view of this memory.
pub(crate) struct DeviceMemory;

// SAFETY: `dma_alloc` hands out each page of the run once, zeroed by the process service, mapped for good; `mmio_phys_to_virt`
// maps each range of registers at an address of its own.
unsafe impl Hal for DeviceMemory {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        match take(pages as u64 * PAGE_SIZE) {
            Some(offset) => (
                RUN_PHYSICAL.load(Ordering::Relaxed) + offset,
                NonNull::new((RUN_ADDRESS + offset) as *mut u8).unwrap_or(NonNull::dangling()),
            ),
            // The library takes physical address 0 as failure.
            None => (0, NonNull::dangling()),
        }
    }

    unsafe fn dma_dealloc(_: PhysAddr, _: NonNull<u8>, _: usize) -> i32 {
        // Queues live as long as the program.
        0
    }

    unsafe fn mmio_phys_to_virt(physical: PhysAddr, size: usize) -> NonNull<u8> {
        let first = physical & !(PAGE_SIZE - 1);
        let length = (physical + size as u64 - first).next_multiple_of(PAGE_SIZE);
        let address = REGISTERS_ADDRESS + REGISTERS_USED.fetch_add(length, Ordering::Relaxed);
        let offset = first.wrapping_sub(DEVICES_PHYSICAL.load(Ordering::Relaxed));
        let devices = Handle(DEVICES.load(Ordering::Relaxed));
        process::map(Handle::SELF_PROCESS, devices, address, access::READ | access::WRITE, offset, length)
            .expect("the device's registers lie in the devices' memory");
        NonNull::new((address + (physical - first)) as *mut u8).unwrap_or(NonNull::dangling())
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        let offset = (buffer.cast::<u8>().as_ptr() as u64).wrapping_sub(RUN_ADDRESS);
        assert!(offset < RUN_LENGTH, "only buffers of the run are shared with the device");
        RUN_PHYSICAL.load(Ordering::Relaxed) + offset
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}
