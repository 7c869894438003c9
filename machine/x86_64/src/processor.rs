//! The instructions that Rust has no words for, one function each.
//!
//! They are safe to call from anywhere in this crate: what they change is either harmless by itself (time, ports of
//! devices that the kernel owns) or `unsafe fn`, with the condition that the caller must see to.

use core::arch::asm;

/// Read a port of 8 bits.
#[inline]
pub(crate) fn in8(port: u16) -> u8 {
    let value;
    // SAFETY: reading a port touches no memory.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Read a port of 16 bits.
#[inline]
pub(crate) fn in16(port: u16) -> u16 {
    let value;
    // SAFETY: reading a port touches no memory.
    unsafe { asm!("in ax, dx", in("dx") port, out("ax") value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Read a port of 32 bits.
#[inline]
pub(crate) fn in32(port: u16) -> u32 {
    let value;
    // SAFETY: reading a port touches no memory.
    unsafe { asm!("in eax, dx", in("dx") port, out("eax") value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Write a port of 8 bits.
#[inline]
pub(crate) fn out8(port: u16, value: u8) {
    // SAFETY: the processor writes no memory; a device that does is trusted with it (DESIGN.md, section 1, rule 8).
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags)) };
}

/// Write a port of 16 bits.
#[inline]
pub(crate) fn out16(port: u16, value: u16) {
    // SAFETY: as for `out8`.
    unsafe { asm!("out dx, ax", in("dx") port, in("ax") value, options(nomem, nostack, preserves_flags)) };
}

/// Write a port of 32 bits.
#[inline]
pub(crate) fn out32(port: u16, value: u32) {
    // SAFETY: as for `out8`.
    unsafe { asm!("out dx, eax", in("dx") port, in("eax") value, options(nomem, nostack, preserves_flags)) };
}

/// The time-stamp counter.
#[inline]
pub(crate) fn time_stamp() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads a counter.
    unsafe { asm!("rdtsc", out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags)) };
    u64::from(high) << 32 | u64::from(low)
}

/// Low and high half of the time-stamp counter. `rax` is kept, for the sake of callers that have their result there on the way
/// that does not come here.
#[inline(always)]
pub(crate) fn time_stamp_halves() -> [u32; 2] {
    let (low, high): (u64, u32);
    // SAFETY: reads a counter, and `rax` is as it was.
    unsafe {
        asm!("mov {low}, rax", "rdtsc", "xchg {low}, rax", low = out(reg) low, out("edx") high, options(nomem, nostack, preserves_flags));
    }
    [low as u32, high]
}

/// `eax`, `ebx`, `ecx`, `edx` of a processor information leaf; zeros for leaves that it does not have.
pub(crate) fn cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
    let last = core::arch::x86_64::__cpuid(leaf & 0x8000_0000).eax;
    if leaf > last {
        return [0; 4];
    }
    let answer = core::arch::x86_64::__cpuid_count(leaf, subleaf);
    [answer.eax, answer.ebx, answer.ecx, answer.edx]
}

/// Read a model-specific register.
///
/// # Safety
/// The processor must have it.
#[inline]
pub(crate) unsafe fn read_model_register(register: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: the register exists, by contract; reading has no effect on memory.
    unsafe {
        asm!("rdmsr", in("ecx") register, out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags))
    };
    u64::from(high) << 32 | u64::from(low)
}

/// Write a model-specific register.
///
/// # Safety
/// The processor must have it, and the value must keep what Rust code relies on (segment bases, long mode).
#[inline]
pub(crate) unsafe fn write_model_register(register: u32, value: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!("wrmsr", in("ecx") register, in("eax") value as u32, in("edx") (value >> 32) as u32, options(nostack, preserves_flags))
    };
}

/// FS base and GS base.
#[inline]
pub(crate) fn segment_bases() -> (u64, u64) {
    let (fs, gs);
    // SAFETY: reads registers; called only where the instructions are switched on.
    unsafe { asm!("rdfsbase {}", "rdgsbase {}", out(reg) fs, out(reg) gs, options(nomem, nostack, preserves_flags)) };
    (fs, gs)
}

/// Set FS base and GS base.
///
/// # Safety
/// The instructions must be switched on, the addresses canonical, and nothing of the kernel's may use the segments.
#[inline]
pub(crate) unsafe fn set_segment_bases(fs: u64, gs: u64) {
    // SAFETY: the caller's promise.
    unsafe { asm!("wrfsbase {}", "wrgsbase {}", in(reg) fs, in(reg) gs, options(nostack, preserves_flags)) };
}

/// The address of the last page fault.
#[inline]
pub(crate) fn fault_address() -> u64 {
    let value;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, cr2", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Forget why the last debug trap came.
pub(crate) fn clear_debug_status() {
    // SAFETY: the register only reports.
    unsafe { asm!("mov dr6, {}", in(reg) 0xffff_0ff0_u64, options(nomem, nostack, preserves_flags)) };
}

/// Load another root page table.
///
/// # Safety
/// It must map the kernel as the present one does.
#[inline]
pub(crate) unsafe fn load_root(physical: u64) {
    // SAFETY: the caller's promise. The compiler must not move memory accesses over it: no `nomem`.
    unsafe { asm!("mov cr3, {}", in(reg) physical, options(nostack, preserves_flags)) };
}

/// Forget the translation of one address in the current space.
#[inline]
pub(crate) fn forget(address: u64) {
    // SAFETY: only makes the processor read the tables again.
    unsafe { asm!("invlpg [{}]", in(reg) address, options(nostack, preserves_flags)) };
}

/// CR0.
pub(crate) fn control_0() -> u64 {
    let value;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, cr0", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Write CR0.
///
/// # Safety
/// Paging and protection must stay on.
pub(crate) unsafe fn set_control_0(value: u64) {
    // SAFETY: the caller's promise.
    unsafe { asm!("mov cr0, {}", in(reg) value, options(nostack, preserves_flags)) };
}

/// CR4.
pub(crate) fn control_4() -> u64 {
    let value;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, cr4", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Write CR4.
///
/// # Safety
/// Paging must stay as it is, and every feature switched on must exist.
pub(crate) unsafe fn set_control_4(value: u64) {
    // SAFETY: the caller's promise.
    unsafe { asm!("mov cr4, {}", in(reg) value, options(nostack, preserves_flags)) };
}

/// Wait for ever.
pub(crate) fn stop() -> ! {
    loop {
        // SAFETY: nothing runs any more; interrupts stay off.
        unsafe { asm!("cli; hlt", options(nomem, nostack)) };
    }
}

/// Copy memory, 8 bytes at a time and then the rest: the fastest way that needs no vector register on processors with
/// fast string operations, and the fewest instructions on the emulator (which counts one per element).
///
/// # Safety
/// `length` bytes at `from` must be readable, at `to` writable; they must not overlap.
#[inline]
pub(crate) unsafe fn copy_bytes(from: *const u8, to: *mut u8, length: usize) {
    // SAFETY: the caller's promise; the direction flag is clear in all Rust code.
    unsafe {
        asm!(
            "rep movsq", "mov ecx, edx", "rep movsb",
            inout("rcx") length / 8 => _, in("rdx") length % 8, inout("rsi") from => _, inout("rdi") to => _,
            options(nostack, preserves_flags)
        );
    }
}
