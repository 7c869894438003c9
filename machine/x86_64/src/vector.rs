//! Vector and floating-point registers: they stay loaded until another thread runs. (So do segment bases: [`bases`](crate::bases).)
//!
//! The kernel never touches them, so a thread that calls a kernel object, faults or is interrupted and goes on pays one
//! comparison. When another thread is entered, the old one's are saved at its place in the *vector window*, found by the
//! thread's number, and the new one's are loaded. Lazy switching by CR0.TS was rejected: it is no cheaper here, and leaks by
//! speculation.

use core::arch::asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crate::boot::require;
use crate::context::X86Context;
use crate::layout;
use crate::processor;
use crate::serial::Part;

/// Bytes that each thread has for its registers: x87, SSE and AVX take 832.
pub(crate) const AREA: usize = 1024;

/// Address of the context whose registers are loaded: the thread that ran last. The entry code of trap.rs knows it as the
/// current one, and changes it when it passes a message. Nobody's belong to the dummy, thread 0, whose area takes what is
/// saved for nobody; so the switch needs no branch. One per CPU, when there are more.
pub(crate) static LOADED: AtomicUsize = AtomicUsize::new(NOBODY);
const NOBODY: usize = layout::DUMMY_CONTEXT as usize;
/// The components that are switched (XCR0), or 0 on processors without XSAVE.
static COMPONENTS: AtomicU32 = AtomicU32::new(0);
/// Whether XSAVEOPT exists.
static OPTIMISED: AtomicU32 = AtomicU32::new(0);

/// What a new thread starts with: everything in its initial state, all exceptions masked. Legacy area and header: of
/// components that are in their initial state, nothing is read.
#[repr(C, align(64))]
struct Image(UnsafeCell<[u8; 512 + 64]>);

// SAFETY: written by `initialize` only, before any thread exists.
unsafe impl Sync for Image {}

static FRESH: Image = Image(UnsafeCell::new([0; 512 + 64]));

const X87_SSE_AVX: u64 = 7;

/// Switch the feature on, with as many components as fit into [`AREA`].
#[unsafe(link_section = ".boot.text")]
pub(crate) fn initialize() {
    let nobody = NOBODY as *const X86Context;
    // SAFETY: the kernel's tables are mapped; the dummy's context is in their first slot.
    reset(unsafe { &*nobody });
    // SAFETY: nobody else has a reference yet.
    let fresh = unsafe { &mut *FRESH.0.get() };
    // x87 control word, for FXRSTOR (XRSTOR takes its own, as the header says that the component is initial); MXCSR.
    fresh[..2].copy_from_slice(&0x37f_u16.to_le_bytes());
    fresh[24..26].copy_from_slice(&0x1f80_u16.to_le_bytes());
    const XSAVE: u32 = 1 << 26;
    const OSXSAVE: u64 = 1 << 18;
    if processor::cpuid(1, 0)[2] & XSAVE == 0 {
        return;
    }
    // SAFETY: the processor has XSAVE.
    unsafe { processor::set_control_4(processor::control_4() | OSXSAVE) };
    let components = u64::from(processor::cpuid(0xd, 0)[0]) & X87_SSE_AVX;
    // SAFETY: XSETBV exists with OSXSAVE set; the components are ones that the processor lists.
    unsafe {
        asm!("xsetbv", in("ecx") 0, in("eax") components as u32, in("edx") 0, options(nomem, nostack, preserves_flags))
    };
    require!(processor::cpuid(0xd, 0)[1] as usize <= AREA, b"vector registers too large");
    COMPONENTS.store(components as u32, Ordering::Relaxed);
    OPTIMISED.store(processor::cpuid(0xd, 1)[0] & 1, Ordering::Relaxed);
}

/// Whether the processor has XSAVEOPT.
pub(crate) fn is_optimised() -> bool {
    OPTIMISED.load(Ordering::Relaxed) != 0
}

/// Whether this context's registers are loaded.
#[inline(always)]
pub(crate) fn is_loaded(context: &X86Context) -> bool {
    LOADED.load(Ordering::Relaxed) == address(context)
}

/// Forget a context's registers: it starts with fresh ones.
pub(crate) fn reset(context: &X86Context) {
    let area = layout::vector_area(address(context) as u64);
    context.area.set(area);
    // SAFETY: the thread's own place in the vector window, which holds an image of this size.
    unsafe { processor::copy_bytes(FRESH.0.get() as *const u8, area as *mut u8, size_of::<Image>()) };
    if is_loaded(context) {
        LOADED.store(NOBODY, Ordering::Relaxed);
    }
}

/// Save whose are loaded, load this context's; segment bases too.
#[inline(always)]
pub(crate) fn switch_to(context: &X86Context) {
    let loaded = LOADED.load(Ordering::Relaxed);
    // SAFETY: `LOADED` holds the address of the dummy's context or of one that was passed here as a reference; contexts live
    // in the kernel's tables, which are never unmapped, and consist of cells.
    let old = unsafe { &*(loaded as *const X86Context) };
    let area = old.area.get();
    if OPTIMISED.load(Ordering::Relaxed) != 0 {
        let components = COMPONENTS.load(Ordering::Relaxed);
        // SAFETY: `area` is a thread's own place in the vector window: mapped, 1 KiB, 64-byte aligned, used by nobody else.
        unsafe {
            asm!("xsaveopt64 [{}]", in(reg) area, in("eax") components, in("edx") 0, options(nostack, preserves_flags))
        };
        // SAFETY: where an earlier switch saved this context's registers, or `reset` put fresh ones: a well-formed image.
        unsafe {
            asm!("xrstor64 [{}]", in(reg) context.area.get(), in("eax") components, in("edx") 0, options(nostack, preserves_flags))
        };
    } else {
        exchange_plainly(area, context);
    }
    old.keep_bases();
    context.load_bases();
    LOADED.store(address(context), Ordering::Relaxed);
}

/// [`switch_to`] for the entry code: gives back what it was given.
pub(crate) extern "C" fn switch(context: &'static X86Context) -> &'static X86Context {
    switch_to(context);
    context
}

/// The same for processors without XSAVEOPT, or without XSAVE.
#[cold]
#[inline(never)]
fn exchange_plainly(area: u64, new: &X86Context) {
    let components = COMPONENTS.load(Ordering::Relaxed);
    if components != 0 {
        // SAFETY: as in `switch_to`.
        unsafe {
            asm!("xsave64 [{}]", in(reg) area, in("eax") components, in("edx") 0, options(nostack, preserves_flags))
        };
    } else {
        // SAFETY: as in `switch_to`.
        unsafe { asm!("fxsave64 [{}]", in(reg) area, options(nostack, preserves_flags)) };
    }
    let area = new.area.get();
    if components != 0 {
        // SAFETY: as in `switch_to`.
        unsafe {
            asm!("xrstor64 [{}]", in(reg) area, in("eax") components, in("edx") 0, options(nostack, preserves_flags))
        };
    } else {
        // SAFETY: as in `switch_to`.
        unsafe { asm!("fxrstor64 [{}]", in(reg) area, options(nostack, preserves_flags)) };
    }
}

fn address(context: &X86Context) -> usize {
    core::ptr::from_ref(context) as usize
}
