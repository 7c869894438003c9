//! The ring of the trace ([`abi::trace`]): in the kernel's image, so that it is one run of physical memory at an address that the
//! code knows. One for each CPU, later.

use core::cell::Cell;

use abi::trace::{EVENTS, Event, RING_LENGTH, RingHead};

use crate::processor;

/// [`RingHead`], alone in its page.
#[repr(C, align(4096))]
struct Head {
    written: Cell<u64>,
}

/// [`Event`], as the kernel writes it.
#[repr(C)]
struct Place {
    time: [Cell<u32>; 2],
    trace: Cell<u64>,
    word: Cell<u64>,
    label: Cell<u32>,
    /// Thread, and above it the event.
    kind: Cell<u32>,
}

#[repr(C, align(4096))]
struct Ring {
    head: Head,
    places: [Place; EVENTS],
}

const _: () = assert!(size_of::<Ring>() as u64 == RING_LENGTH && size_of::<Place>() == size_of::<Event>());
const _: () = assert!(core::mem::offset_of!(RingHead, written) == 0 && core::mem::offset_of!(Place, kind) == 28);

// SAFETY: one CPU, and the kernel is never interrupted while it writes; programs have it mapped read-only at most.
unsafe impl Sync for Ring {}

static RING: Ring = Ring {
    head: Head { written: Cell::new(0) },
    places: [const {
        Place {
            time: [Cell::new(0), Cell::new(0)],
            trace: Cell::new(0),
            word: Cell::new(0),
            label: Cell::new(0),
            kind: Cell::new(0),
        }
    }; EVENTS],
};

/// The ring's first address.
pub(crate) fn start() -> u64 {
    (&raw const RING) as u64
}

/// Write an event over the oldest one.
#[inline(always)]
pub(crate) fn write(event: u16, thread: u32, label: u64, word: u64, id: u64) {
    let written = RING.head.written.get();
    RING.head.written.set(written + size_of::<Event>() as u64);
    let place = &RING.places[(written as usize / size_of::<Event>()) & (EVENTS - 1)];
    let [low, high] = processor::time_stamp_halves();
    place.time[0].set(low);
    place.time[1].set(high);
    place.trace.set(id);
    place.word.set(word);
    place.label.set(label as u32);
    place.kind.set(thread | u32::from(event) << 16);
}
