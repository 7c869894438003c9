//! The first instructions: from where a PVH loader leaves us (32-bit protected mode, no paging, `ebx` the address of its
//! start information) into 64-bit Rust code at the kernel's own addresses.
//!
//! The early page tables map the first 4 GiB three times: where they are, in the direct map, and (the first of them) where
//! the kernel is linked. They are writable and executable; the final ones replace them before any program runs.

use core::arch::global_asm;
use core::cell::UnsafeCell;

use crate::boot;
use crate::layout::{DIRECT, IMAGE};
use crate::page::{self, ENTRIES};

/// Early page tables: root, two of level 3, four of level 2.
#[repr(C, align(4096))]
struct Early(UnsafeCell<[[u64; ENTRIES]; 7]>);

// SAFETY: written by the code below only, before Rust code runs.
unsafe impl Sync for Early {}

#[unsafe(link_section = ".bss.boot")]
static EARLY: Early = Early(UnsafeCell::new([[0; ENTRIES]; 7]));

/// Bytes of the kernel's stack. Nothing recurses; most of it is the kernel itself, which lives in the first frame, and the
/// copies that were made on its way there.
const STACK: usize = 128 * 1024;

/// The kernel's stack, with a page below it that the final tables leave out.
#[repr(C, align(4096))]
pub(crate) struct Stack {
    guard: UnsafeCell<[u8; 4096]>,
    bytes: UnsafeCell<[u8; STACK]>,
}

// SAFETY: the processor uses it as its stack; nothing else touches it.
unsafe impl Sync for Stack {}

pub(crate) static KERNEL_STACK: Stack = Stack { guard: UnsafeCell::new([0; 4096]), bytes: UnsafeCell::new([0; STACK]) };

global_asm!(
    r#"
    .section .note.pvh, "a", @note
    .balign 4
        .long 4, 8, 18                 // name and descriptor sizes; XEN_ELFNOTE_PHYS32_ENTRY
        .asciz "Xen"
        .quad pvh_start

    .section .boot.low, "awx"
    .code32
    .globl pvh_start
    pvh_start:
        cli
        cld
        rdtsc
        mov esi, eax                   // ebp:esi: when we began
        mov ebp, edx

        mov edi, offset {early} - {image} + 3 * 4096
        mov eax, 0x83                  // present, writable, large
        xor edx, edx
        mov ecx, 4 * 512
    2:  mov [edi], eax
        mov [edi + 4], edx
        add edi, 8
        add eax, 0x200000
        adc edx, 0
        dec ecx
        jnz 2b

        mov edi, offset {early} - {image}
        lea eax, [edi + 1 * 4096 + 3]
        mov [edi + 8 * 0], eax
        mov [edi + 8 * {direct_index}], eax
        lea eax, [edi + 2 * 4096 + 3]
        mov [edi + 8 * {image_index}], eax
        lea eax, [edi + 3 * 4096 + 3]
        mov [edi + 2 * 4096 + 8 * {image_index_3}], eax
        lea edx, [edi + 1 * 4096]
        mov ecx, 4
    2:  mov [edx], eax
        add eax, 4096
        add edx, 8
        dec ecx
        jnz 2b

        mov cr3, edi
        mov eax, 0x20                  // CR4: physical address extension
        mov cr4, eax
        mov ecx, 0xc0000080            // EFER: long mode, no-execute
        mov eax, 0x900
        xor edx, edx
        wrmsr
        lgdt [early_segments_pointer]
        mov eax, 0x80010011            // CR0: paging, write protection, protection
        mov cr0, eax
        .byte 0xea                     // jump far
        .long early_long
        .word 8

    .code64
    early_long:
        xor eax, eax
        mov ds, eax
        mov es, eax
        mov fs, eax
        mov gs, eax
        mov ss, eax
        mov edi, ebx
        mov esi, esi
        shl rbp, 32
        or rsi, rbp
        lea rsp, [{stack} + {stack_size}]
        xor ebp, ebp
        movabs rax, offset {main}
        call rax
        ud2

    .balign 8
    early_segments:
        .quad 0, 0x00209b0000000000
    early_segments_pointer:
        .word 15
        .long early_segments

    .text
    "#,
    early = sym EARLY,
    image = const IMAGE,
    direct_index = const page::index(DIRECT, 4),
    image_index = const page::index(IMAGE, 4),
    image_index_3 = const page::index(IMAGE, 3),
    stack = sym KERNEL_STACK,
    stack_size = const size_of::<Stack>(),
    main = sym main,
);

/// The first Rust code.
#[unsafe(link_section = ".boot.text")]
extern "C" fn main(start_information: u64, time_stamp: u64) -> ! {
    boot::boot(start_information, time_stamp)
}
