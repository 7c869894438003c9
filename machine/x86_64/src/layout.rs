//! Where everything is in the kernel's half of every address space.
//!
//! | from | what | rights |
//! |---|---|---|
//! | [`DIRECT`] | all RAM from 1 MiB on, at its physical address; without the kernel's text and read-only data | read, write |
//! | [`DIRECT`], first page | zeros, in place of physical address 0 | read |
//! | [`VECTORS`] | saved vector registers, [`vector::AREA`](crate::vector::AREA) bytes a thread | read, write |
//! | [`IMAGE`] | the kernel itself: text; read-only data; data, with an unmapped page below the stack | execute; read; read, write |
//! | [`TABLES`] | the kernel's tables; beyond their capacity one page of zeros, again and again | read, write; beyond: read |
//! | [`LOCAL_APIC`] | the interrupt controller of the CPU | read, write, uncached |
//!
//! Everything is for the supervisor only; nothing is both writable and executable, under either of its addresses.

use core::ops::Deref;

use kernel::{Capacities, Tables};

use crate::machine::X86;
use crate::vector;

/// The direct map.
pub(crate) const DIRECT: u64 = 0xffff_8000_0000_0000;
/// Saved vector registers.
pub(crate) const VECTORS: u64 = 0xffff_c080_0000_0000;
/// The kernel's image: its virtual addresses minus its physical ones.
pub(crate) const IMAGE: u64 = 0xffff_ffff_8000_0000;
/// The kernel's tables: near the image, so that their address is a constant of 32 bits in an instruction.
pub(crate) const TABLES: u64 = 0xffff_ffff_8400_0000;
/// The local interrupt controller.
pub(crate) const LOCAL_APIC: u64 = 0xffff_ffff_c000_0000;

/// RAM beyond this does not fit into the direct map.
pub(crate) const PHYSICAL_END: u64 = VECTORS - DIRECT;

const _: () = assert!(TABLES + size_of::<Tables<X86>>() as u64 <= LOCAL_APIC);

unsafe extern "C" {
    /// [`TABLES`], as the linker script has it too.
    #[expect(improper_ctypes, reason = "only its address comes from elsewhere")]
    static object_tables: Tables<X86>;
}

/// Knows where the kernel's tables are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place;

impl Deref for Place {
    type Target = Tables<X86>;

    #[inline(always)]
    fn deref(&self) -> &Tables<X86> {
        // SAFETY: the boot stub, which needs no tables, has mapped the window for the whole type (memory or the read-only zeros
        // that its documentation asks for); all bytes zero is its valid initial content; only shared references are made.
        unsafe { &object_tables }
    }
}

/// Where a physical address of RAM is in the direct map.
pub(crate) const fn direct(physical: u64) -> u64 {
    DIRECT + physical
}

/// The context of thread 0, the dummy.
pub(crate) const DUMMY_CONTEXT: u64 = TABLES + Tables::<X86>::CONTEXT_OFFSET as u64;

/// Where the vector registers of a thread are saved, found by the address of its context: the areas lie side by side like
/// the threads. (The compiler folds the size of a thread.)
pub(crate) fn vector_area(context: u64) -> u64 {
    let [threads, ..] = Tables::<X86>::regions(&Capacities { threads: 1, ..Capacities::default() });
    VECTORS + (context - DUMMY_CONTEXT) / threads.length as u64 * vector::AREA as u64
}
