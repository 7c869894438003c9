//! Segment bases: like the vector registers, they stay loaded until another thread runs.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::processor;

/// Model-specific registers.
const FS_BASE_REGISTER: u32 = 0xc000_0100;
const GS_BASE_REGISTER: u32 = 0xc000_0101;

/// Whether programs read and write their segment bases themselves, with instructions of their own.
static HAS_INSTRUCTIONS: AtomicBool = AtomicBool::new(false);
/// What is loaded, on processors whose programs cannot change it.
static FS: AtomicU64 = AtomicU64::new(0);
static GS: AtomicU64 = AtomicU64::new(0);

/// Once, at boot: whether CR4 lets programs change their segment bases.
pub(crate) fn initialize(has_instructions: bool) {
    HAS_INSTRUCTIONS.store(has_instructions, Ordering::Relaxed);
}

/// The loaded ones.
#[inline]
pub(crate) fn loaded() -> (u64, u64) {
    if HAS_INSTRUCTIONS.load(Ordering::Relaxed) {
        processor::segment_bases()
    } else {
        (FS.load(Ordering::Relaxed), GS.load(Ordering::Relaxed))
    }
}

/// Load them. The addresses are canonical ones.
#[inline]
pub(crate) fn load(fs: u64, gs: u64) {
    if HAS_INSTRUCTIONS.load(Ordering::Relaxed) {
        // SAFETY: the instructions are switched on, the kernel uses neither segment, and contexts hold canonical addresses.
        unsafe { processor::set_segment_bases(fs, gs) };
        return;
    }
    // Writing a model-specific register takes a processor long.
    if FS.swap(fs, Ordering::Relaxed) != fs {
        // SAFETY: every processor with long mode has the register; the rest as above.
        unsafe { processor::write_model_register(FS_BASE_REGISTER, fs) };
    }
    if GS.swap(gs, Ordering::Relaxed) != gs {
        // SAFETY: likewise.
        unsafe { processor::write_model_register(GS_BASE_REGISTER, gs) };
    }
}
