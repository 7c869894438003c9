//! Segment descriptors, the task state with its stacks, and the interrupt descriptors: what the processor wants in memory.

use core::arch::asm;
use core::cell::UnsafeCell;

use crate::trap;

/// Selectors. `syscall` and `sysret` demand this order.
const KERNEL_CODE: u64 = 0x08;
const KERNEL_DATA: u64 = 0x10;
pub(crate) const USER_DATA: u64 = 0x18 | 3;
pub(crate) const USER_CODE: u64 = 0x20 | 3;
const TASK: u16 = 0x28;

/// `IA32_STAR`: the base selectors of `syscall` and `sysret`.
pub(crate) const STAR: u64 = KERNEL_CODE << 32 | KERNEL_DATA << 48;

/// Stacks that the processor switches to. Those for user traps, debug traps and non-maskable interrupts only ever hold one
/// frame; a double fault or machine check prints its last words on its own.
const FRAME_STACK: usize = 256;
const FAULT_STACK: usize = 8192;

#[repr(C, align(16))]
struct Stacks {
    user: [u8; FRAME_STACK],
    non_maskable: [u8; FRAME_STACK],
    debug: [u8; FRAME_STACK],
    fault: [u8; FAULT_STACK],
}

#[repr(C, packed(4))]
struct TaskState {
    reserved_0: u32,
    stacks: [u64; 3],
    reserved_1: u64,
    interrupt_stacks: [u64; 7],
    reserved_2: u64,
    reserved_3: u16,
    /// Beyond the segment's limit: no program reaches a port.
    permission_map: u16,
}

const TASK_LIMIT: u64 = size_of::<TaskState>() as u64 - 1;

#[derive(Clone, Copy)]
#[repr(C)]
struct Gate(u64, u64);

impl Gate {
    const fn new(entry: u64, stack: u64, user: bool) -> Self {
        const PRESENT_INTERRUPT: u64 = 0x8e << 40;
        const FROM_USER: u64 = 3 << 45;
        let low = entry & 0xffff | KERNEL_CODE << 16 | stack << 32 | PRESENT_INTERRUPT | (entry >> 16 & 0xffff) << 48;
        Self(low | if user { FROM_USER } else { 0 }, entry >> 32)
    }
}

#[repr(C, align(16))]
struct Tables {
    segments: [u64; 7],
    task: TaskState,
    gates: [Gate; trap::VECTORS],
    stacks: Stacks,
}

struct Shared(UnsafeCell<Tables>);

// SAFETY: written once, by the only CPU, before the processor is told of it.
unsafe impl Sync for Shared {}

static TABLES: Shared = Shared(UnsafeCell::new(Tables {
    segments: [0; 7],
    task: TaskState {
        reserved_0: 0,
        stacks: [0; 3],
        reserved_1: 0,
        interrupt_stacks: [0; 7],
        reserved_2: 0,
        reserved_3: 0,
        permission_map: 0,
    },
    gates: [Gate(0, 0); trap::VECTORS],
    stacks: Stacks {
        user: [0; FRAME_STACK],
        non_maskable: [0; FRAME_STACK],
        debug: [0; FRAME_STACK],
        fault: [0; FAULT_STACK],
    },
}));

const DEBUG: usize = 1;
const NON_MASKABLE: usize = 2;
const BREAKPOINT: usize = 3;
const DOUBLE_FAULT: usize = 8;
const MACHINE_CHECK: usize = 18;

/// The operand of `lgdt` and `lidt`.
#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: u64,
}

fn end_of<const N: usize>(stack: &[u8; N]) -> u64 {
    stack.as_ptr_range().end as u64
}

/// Fill the tables in and load them.
#[unsafe(link_section = ".boot.text")]
pub(crate) fn initialize() {
    // SAFETY: called once, at boot; nobody else has a reference.
    let tables = unsafe { &mut *TABLES.0.get() };
    let task = &raw const tables.task as u64;
    tables.segments = [
        0,
        0x0020_9b00_0000_0000,
        0x0000_9300_0000_0000,
        0x0000_f300_0000_0000,
        0x0020_fb00_0000_0000,
        TASK_LIMIT | (task & 0xff_ffff) << 16 | 0x89 << 40 | (task >> 24 & 0xff) << 56,
        task >> 32,
    ];
    let fault = end_of(&tables.stacks.fault);
    let user = end_of(&tables.stacks.user);
    tables.task.stacks = [user, 0, 0];
    tables.task.interrupt_stacks =
        [fault, end_of(&tables.stacks.non_maskable), end_of(&tables.stacks.debug), 0, 0, 0, 0];
    tables.task.permission_map = size_of::<TaskState>() as u16;
    for (vector, gate) in tables.gates.iter_mut().enumerate() {
        *gate = match vector {
            DEBUG => Gate::new(trap::entry_of(vector), 3, false),
            NON_MASKABLE => Gate::new(trap::ignoring_entry(), 2, false),
            BREAKPOINT => Gate::new(trap::entry_of(vector), 0, true),
            DOUBLE_FAULT | MACHINE_CHECK => Gate::new(trap::entry_of(vector), 1, false),
            _ => Gate::new(trap::entry_of(vector), 0, false),
        };
    }
    let segments = Pointer { limit: size_of_val(&tables.segments) as u16 - 1, base: tables.segments.as_ptr() as u64 };
    let gates = Pointer { limit: size_of_val(&tables.gates) as u16 - 1, base: tables.gates.as_ptr() as u64 };
    // SAFETY: the table is complete and lives for ever; the code selector is loaded by the far return to the next line.
    unsafe {
        asm!(
            "lgdt [{segments}]",
            "push {code}", "lea {scratch}, [rip + 2f]", "push {scratch}", "retfq", "2:",
            "mov ss, {data:e}", "xor {scratch:e}, {scratch:e}",
            "mov ds, {scratch:e}", "mov es, {scratch:e}", "mov fs, {scratch:e}", "mov gs, {scratch:e}",
            segments = in(reg) &raw const segments, code = const KERNEL_CODE, data = in(reg) KERNEL_DATA, scratch = out(reg) _,
        );
    }
    // SAFETY: every gate leads to entry code.
    unsafe { asm!("lidt [{}]", in(reg) &raw const gates, options(readonly, nostack, preserves_flags)) };
    // SAFETY: the descriptor is in the loaded table.
    unsafe { asm!("ltr {:x}", in(reg) TASK, options(nostack, preserves_flags)) };
}
