//! The program's vector and floating-point registers: saved for signal frames, handed to new tasks. The library is compiled
//! without them, so they are the program's wherever it runs.

use core::arch::asm;
use core::arch::x86_64::{__cpuid, __cpuid_count};
use core::sync::atomic::{AtomicU64, Ordering};

/// Most bytes of saved state that a processor may want here: with AVX-512 and protection keys it is 2,696.
pub(crate) const AREA_LENGTH: usize = 2816;
/// Bytes of the oldest part, which every processor has.
const LEGACY_LENGTH: usize = 512;
/// After it: which parts are saved, how, and zeros.
const HEADER_LENGTH: usize = 64;

/// Room for saved state.
#[derive(Clone)]
#[repr(C, align(64))]
pub(crate) struct Area(pub(crate) [u8; AREA_LENGTH]);

/// What the processor saves: features in the low 32 bits, bytes in the high ones. 0: not asked yet.
static LAYOUT: AtomicU64 = AtomicU64::new(0);

/// The features that are saved (0: only the oldest), and in how many bytes.
pub(crate) fn layout() -> (u64, usize) {
    let mut layout = LAYOUT.load(Ordering::Relaxed);
    if layout == 0 {
        layout = examine();
        LAYOUT.store(layout, Ordering::Relaxed);
    }
    (layout & 0xffff_ffff, (layout >> 32) as usize)
}

fn examine() -> u64 {
    const IN_USE: u32 = 1 << 27;
    let legacy = (LEGACY_LENGTH as u64) << 32;
    #[allow(unused_unsafe)]
    // SAFETY: every x86_64 processor has the instruction.
    let features = unsafe { __cpuid(1) }.ecx;
    if features & IN_USE == 0 {
        return legacy;
    }
    let (enabled, _high): (u32, u32);
    // SAFETY: the system uses XSAVE (bit above), so the register may be read.
    unsafe { asm!("xgetbv", in("ecx") 0, out("eax") enabled, out("edx") _high, options(nomem, nostack)) };
    #[allow(unused_unsafe)]
    // SAFETY: as above.
    let length = unsafe { __cpuid_count(0xd, 0) }.ebx;
    if length as usize > AREA_LENGTH { legacy } else { u64::from(length) << 32 | u64::from(enabled) }
}

/// CPUID leaf 1, `edx`: AT_HWCAP.
pub(crate) fn capabilities() -> u64 {
    #[allow(unused_unsafe)]
    // SAFETY: every x86_64 processor has the instruction.
    let leaf = unsafe { __cpuid(1) };
    u64::from(leaf.edx)
}

/// Save the registers.
pub(crate) fn save(area: &mut Area) {
    let (features, length) = layout();
    let end = if features == 0 { LEGACY_LENGTH } else { length.max(LEGACY_LENGTH + HEADER_LENGTH) };
    area.0[..end].fill(0);
    let address = area.0.as_mut_ptr();
    if features == 0 {
        // SAFETY: the area is aligned and large enough.
        unsafe { asm!("fxsave64 [{}]", in(reg) address, options(nostack)) };
    } else {
        // SAFETY: the area is aligned and as large as the processor said.
        unsafe { asm!("xsave64 [{}]", in(reg) address, in("eax") features as u32, in("edx") 0, options(nostack)) };
    }
}

/// Load the registers from an area that [`save`] or [`sanitize`] made.
pub(crate) fn restore(area: &Area) {
    let (features, _) = layout();
    let address = area.0.as_ptr();
    if features == 0 {
        // SAFETY: the area is aligned, and its control words are valid.
        unsafe { asm!("fxrstor64 [{}]", in(reg) address, options(nostack)) };
    } else {
        // SAFETY: as above, and its header is.
        unsafe { asm!("xrstor64 [{}]", in(reg) address, in("eax") features as u32, in("edx") 0, options(nostack)) };
    }
}

/// Make an area that a program wrote harmless: what would fault when loaded is cleared. `whole`: it has more than the oldest part.
pub(crate) fn sanitize(area: &mut Area, whole: bool) {
    const CONTROL: usize = 24;
    const CONTROL_MASK: usize = 28;
    let (features, _) = layout();
    let mut fresh = Area([0; AREA_LENGTH]);
    save(&mut fresh);
    let number = |bytes: &[u8], at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let mask = match number(&fresh.0, CONTROL_MASK) {
        0 => 0xffbf,
        mask => mask,
    };
    let control = number(&area.0, CONTROL) & mask;
    area.0[CONTROL..CONTROL + 4].copy_from_slice(&control.to_le_bytes());
    let header = &mut area.0[LEGACY_LENGTH..LEGACY_LENGTH + HEADER_LENGTH];
    let present = u64::from_le_bytes([header[0], header[1], header[2], header[3], header[4], header[5], header[6], header[7]]);
    let present = if whole { present & features } else { features & 3 };
    header.fill(0);
    header[..8].copy_from_slice(&present.to_le_bytes());
}
