//! Into user code and out again: running user code is a function call that returns when the kernel's loop has something to do.
//!
//! * [`enter`] saves the kernel's stack pointer, loads the whole context and leaves by `sysretq` (the thread is inside a plain
//!   system call) or `iretq`.
//! * `syscall` comes back at `syscall_*`, which stores the context and calls [`message`](crate::message), on the kernel's
//!   stack as [`enter`] left it. A plain message goes straight to another thread there. Whatever else the call was, most
//!   often the same or another thread can go on at once; only if there is more to do, [`enter`] returns. Outside the thread's native range
//!   it is an upcall instead: the program goes on at its personality's entry after ten instructions, and the kernel never
//!   hears of it ([`abi::upcall`]: nothing is written to memory; flags are reset, so the entry runs with DF and TF clear).
//! * An exception or interrupt in user mode comes back at `trap_common`, which does the same with the frame that the
//!   processor pushed. In kernel mode, interrupts come only while [`idle`] or [`poll`] waits; then the frame is dropped
//!   and that function returns. Any other exception in kernel mode is a defect: [`kernel_fault`].
//!
//! What must hold: the kernel runs with interrupts off; every register is loaded from the context on the way out, so no
//! value of the kernel's leaves it; `GS` and `FS` belong to the program, the kernel uses absolute addresses (one CPU; later
//! one copy of the entry code and of these statics per CPU).

use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::context::{
    AREA, FLAGS, FOREIGN_ENTRY, FRESH_FLAGS, FS_BASE, GS_BASE, INSTRUCTION_POINTER, NATIVE_MASK, SPACE, WHOLE,
    X86Context,
};
use crate::segments::{USER_CODE, USER_DATA};
use crate::serial::Part;
use crate::{message, space, vector};
use abi::call::flags::SEGMENTS;
use kernel::machine::Context;

/// What [`idle`] returns when something woke the processor that needs no work.
pub(crate) const NOTHING: u64 = 0x101;

/// How many vectors have an entry.
pub(crate) const VECTORS: usize = 64;

/// Written by the entry code, read in what it calls.
static ERROR_CODE: AtomicU64 = AtomicU64::new(0);
static KERNEL_STACK: AtomicU64 = AtomicU64::new(0);
/// Where the entry code goes on after an exception or interrupt.
static GO_ON: AtomicU64 = AtomicU64::new(0);

/// The frame of `iretq` for an upcall. Its stack pointer is also where `syscall` leaves the user's for a moment.
#[repr(C)]
struct UpcallFrame(UnsafeCell<[u64; 5]>);

// SAFETY: only the entry code touches it, on one CPU, with interrupts off.
unsafe impl Sync for UpcallFrame {}

static UPCALL_FRAME: UpcallFrame = UpcallFrame(UnsafeCell::new([0, USER_CODE, FRESH_FLAGS, 0, USER_DATA]));

global_asm!(
    r#"
    .section .text.entry, "ax"

    .macro LOAD_GENERAL            // all but rcx, rdi, rsp, r11
        mov rax, [rdi + 8 * 0]
        mov rbx, [rdi + 8 * 1]
        mov rdx, [rdi + 8 * 3]
        mov rsi, [rdi + 8 * 4]
        mov rbp, [rdi + 8 * 6]
        mov r8,  [rdi + 8 * 8]
        mov r9,  [rdi + 8 * 9]
        mov r10, [rdi + 8 * 10]
        mov r12, [rdi + 8 * 12]
        mov r13, [rdi + 8 * 13]
        mov r14, [rdi + 8 * 14]
        mov r15, [rdi + 8 * 15]
    .endm

    .macro STORE_GENERAL base      // all but rcx, rdi, rsp, r11
        mov [\base + 8 * 0], rax
        mov [\base + 8 * 1], rbx
        mov [\base + 8 * 3], rdx
        mov [\base + 8 * 4], rsi
        mov [\base + 8 * 6], rbp
        mov [\base + 8 * 8], r8
        mov [\base + 8 * 9], r9
        mov [\base + 8 * 10], r10
        mov [\base + 8 * 12], r12
        mov [\base + 8 * 13], r13
        mov [\base + 8 * 14], r14
        mov [\base + 8 * 15], r15
    .endm

    .macro ENTER                   // rdi: context
        push rbx
        push rbp
        sub rsp, 8                 // aligned, as function calls want it
        mov [rip + {kernel_stack}], rsp
    .endm

    .macro RESUME
        cmp dword ptr [rdi + {whole}], 0
        RESUME_COMPARED
    .endm

    .macro RESUME_COMPARED         // `whole`, with 0
        jne enter_whole
        LOAD_GENERAL
        mov rcx, [rdi + {ip}]
        mov r11, [rdi + {flags}]
        mov rsp, [rdi + 8 * 7]
        mov rdi, [rdi + 8 * 5]
        sysretq
    .endm

    .macro FOREIGN                 // the first instructions of a system call: on to the personality, or rsp: context
        mov [rip + {upcall} + 24], rsp
        mov rsp, [rip + {current}]
        test [rsp + {native_mask}], rcx
        jz upcall
    .endm

    .balign 16
    enter_user:
        ENTER
        RESUME

    .macro STORE_CALL base         // what a system call has besides general registers
        mov [\base + {ip}], rcx
        mov [\base + {flags}], r11
        mov rcx, [rip + {upcall} + 24]
        mov [\base + 8 * 7], rcx
    .endm

    .macro STORE_PLAIN             // a plain call or reply-and-receive: what must survive; rbp: its context
        mov [rsp + 8 * 1], rbx
        mov [rsp + 8 * 6], rbp
        STORE_CALL rsp
        mov rbp, rsp
        mov rsp, [rip + {kernel_stack}]
    .endm

    .macro ZERO_OUTCOME
        xor eax, eax
        xor edx, edx
        xor esi, esi
        xor edi, edi
        xor r8d, r8d
        xor r9d, r9d
    .endm

    .macro STORE_WORDS
        mov [rbp + 8 * 12], r12
        mov [rbp + 8 * 13], r13
        mov [rbp + 8 * 14], r14
        mov [rbp + 8 * 15], r15
    .endm

    .macro SWITCH_REGISTERS        // vector registers and segment bases, from the context in rbp to the one in rax: rdi
        mov rdi, rax
        mov rcx, [rbp + {area}]
        mov rsi, [rdi + {area}]
        mov eax, -1                // all components; there are none in the upper half, so edx does not count
        xsaveopt64 [rcx]
        xrstor64 [rsi]
        mov [rip + {current}], rdi
        rdfsbase rax
        mov [rbp + {fs}], rax
        rdgsbase rax
        mov [rbp + {gs}], rax
        mov rax, [rdi + {fs}]
        wrfsbase rax
        mov rax, [rdi + {gs}]
        wrgsbase rax
    .endm

    .macro SWITCH_BY_CALL          // the same where the processor lacks some of these instructions
        mov rdi, rax
        call {switch}
        mov rdi, rax
    .endm

    .macro SWITCH registers        // from the context in rbp to the one in rax: rdi
        mov rdx, [rax + {space}]
        cmp [rip + {loaded_space}], rdx
        je 5f
        mov [rip + {loaded_space}], rdx
        mov cr3, rdx
    5:  \registers
        cmp dword ptr [rdi + {whole}], 0
    .endm

    .macro GO_ON registers         // from the context in rbp to the one in rax, with all its registers
        cmp rax, rbp
        je 6f
        SWITCH \registers
        RESUME_COMPARED
    6:  mov rdi, rax
    .endm

    .macro STORE_ALL
        STORE_GENERAL rsp
        mov [rsp + 8 * 5], rdi
        STORE_CALL rsp
        mov rsp, [rip + {kernel_stack}]
    .endm

    .balign 16
    syscall_fast:
        FOREIGN
        cmp rax, 1                 // a plain call or reply-and-receive?
        ja 4f
        je 3f

        STORE_PLAIN
        mov [rbp + 8 * 10], r10
        STORE_WORDS
        call {pass_call}
        test rax, rax
        jns 9f
        xor r8d, r8d
        xor r9d, r9d
    2:  SWITCH SWITCH_REGISTERS
        mov r10, [rbp + 8 * 10]
        jne passed_to_whole
        mov rax, [rdi + 8 * 0]
        mov rbx, [rdi + 8 * 1]
        mov rdx, [rdi + 8 * 3]
        mov rsi, [rdi + 8 * 4]
        mov rbp, [rdi + 8 * 6]
        mov rcx, [rdi + {ip}]
        mov r11, [rdi + {flags}]
        mov rsp, [rdi + 8 * 7]
        mov rdi, [rdi + 8 * 5]
        sysretq

    3:  STORE_PLAIN
        mov [rbp + 8 * 10], r10
        call {pass_reply}
        test rax, rax
        jz 7f
        SWITCH SWITCH_REGISTERS
        mov r10, [rbp + 8 * 10]
        jne replied_to_whole
        mov rbx, [rdi + 8 * 1]
        mov rbp, [rdi + 8 * 6]
        mov rcx, [rdi + {ip}]
        mov r11, [rdi + {flags}]
        mov rsp, [rdi + 8 * 7]
        ZERO_OUTCOME
        sysretq

    7:  STORE_WORDS                // the rest was left to `pass_reply`
        jmp 8f

    4:  bt eax, {segments}         // one with segments in registers?
        jnc 4f
        STORE_PLAIN
        mov [rbp + 8 * 0], rax
        mov [rbp + 8 * 3], rdx
        mov [rbp + 8 * 4], rsi
        mov [rbp + 8 * 5], rdi
        mov [rbp + 8 * 8], r8
        mov [rbp + 8 * 9], r9
        mov [rbp + 8 * 10], r10
        STORE_WORDS
        mov rcx, rax
        call {pass_segments}
        test rax, rax
        jz 8f
        mov r8, [rax + 8 * 8]
        mov r9, [rax + 8 * 9]
        jmp 2b

    4:  STORE_ALL
    8:  call {general}
    go_on_fast:
        test rax, rax              // who goes on
        jz return_from_enter
        mov rbp, [rip + {current}]
        jmp 8f
    9:  cmp rax, {undecided}
        jb answered                // the one that is less
        je return_from_enter
        not rax
    8:  GO_ON SWITCH_REGISTERS
    resume:
        RESUME

    answered:
        mov r12, [rbp + 8 * 12]
        mov r13, [rbp + 8 * 13]
        mov r14, [rbp + 8 * 14]
        mov r15, [rbp + 8 * 15]
        xor r10d, r10d
        mov rcx, [rbp + {ip}]
        mov r11, [rbp + {flags}]
        mov rsp, [rbp + 8 * 7]
        mov rbp, [rbp + 8 * 6]
        ZERO_OUTCOME
        sysretq

    .balign 16
    syscall_portable:
        FOREIGN
        STORE_ALL
        call {general}
    go_on_portable:
        test rax, rax
        jz return_from_enter
        mov rbp, [rip + {current}]
        GO_ON SWITCH_BY_CALL
        jmp resume

    return_from_enter:
        add rsp, 8
        pop rbp
        pop rbx
        ret

    replied_to_whole:              // somebody has set this thread's registers: all of them must be loaded
        xor r8d, r8d
        xor r9d, r9d
        mov [rdi + 8 * 0], r8
        mov [rdi + 8 * 3], r8
        mov [rdi + 8 * 4], r8
        mov [rdi + 8 * 5], r8
    passed_to_whole:
        mov [rdi + 8 * 8], r8
        mov [rdi + 8 * 9], r9
        mov rbp, rdi
        mov [rbp + 8 * 10], r10
        STORE_WORDS

    .balign 16
    enter_whole:
        mov dword ptr [rdi + {whole}], 0
        push {user_data}
        push [rdi + 8 * 7]
        push [rdi + {flags}]
        push {user_code}
        push [rdi + {ip}]
        LOAD_GENERAL
        mov rcx, [rdi + 8 * 2]
        mov r11, [rdi + 8 * 11]
        mov rdi, [rdi + 8 * 5]
        iretq

    .balign 16
    upcall:                        // rsp: context; every other register is the program's
        mov rsp, [rsp + {foreign_entry}]
        mov [rip + {upcall}], rsp
        lea rsp, [rip + {upcall}]
        iretq

    // One entry of 8 bytes for each vector: its number is found from the return address that `call` leaves.
    .balign 8
    .globl vector_entries
    vector_entries:
    .set vector, 0
    .rept {vectors}
        .balign 8
        .if (vector > 31)
            push 0
        .elseif ((0x60227d00 >> vector) & 1) == 0
            push 0
        .endif
        call trap_common
        .set vector, vector + 1
    .endr

    .macro VECTOR                  // rax: return address of a vector entry; its number
        lea rcx, [rip + vector_entries]
        sub rax, rcx
        shr eax, 3
    .endm

    .balign 16
    trap_common:                   // return address, error code, rip, cs, flags, rsp, ss
        test byte ptr [rsp + 24], 3
        jz from_kernel
        push rdi
        mov rdi, [rip + {current}]
        STORE_GENERAL rdi
        mov [rdi + 8 * 2], rcx
        mov [rdi + 8 * 11], r11
        pop [rdi + 8 * 5]
        pop rax
        pop [rip + {error}]
        pop [rdi + {ip}]
        pop rcx
        pop [rdi + {flags}]
        pop [rdi + 8 * 7]
        mov dword ptr [rdi + {whole}], 1
        cld
        mov rsp, [rip + {kernel_stack}]
        VECTOR
        mov edi, eax
        call {trapped}
        jmp [rip + {go_on}]

    from_kernel:
        push rax
        push rcx
        mov rax, [rsp + 16]
        VECTOR
        cmp eax, 1                 // a debug trap that was on its way when a program entered the kernel
        je 3f
        cld
        cmp eax, 32
        jae 4f                     // interrupts are on in `idle` and `poll` only
        lea rdi, [rsp + 16]
        and rsp, -16
        call {kernel_fault}
        ud2
    4:  mov rsp, [rip + {kernel_stack}]
        jmp return_from_enter
    3:  pop rcx
        pop rax
        add rsp, 16
    .globl ignore_interrupt
    ignore_interrupt:
        iretq

    .balign 16
    idle_wait:
        push rbx
        push rbp
        sub rsp, 8                 // aligned, as function calls want it
        mov [rip + {kernel_stack}], rsp
        sti
        hlt
        cli
        mov eax, {nothing}
        add rsp, 8
        pop rbp
        pop rbx
        ret

    .balign 16
    idle_poll:
        push rbx
        push rbp
        sub rsp, 8                 // aligned, as function calls want it
        mov [rip + {kernel_stack}], rsp
        sti
        nop                            // a pending interrupt is taken after this one
        cli
        mov eax, {nothing}
        add rsp, 8
        pop rbp
        pop rbx
        ret

    .text
    "#,
    kernel_stack = sym KERNEL_STACK,
    current = sym vector::LOADED,
    upcall = sym UPCALL_FRAME,
    error = sym ERROR_CODE,
    kernel_fault = sym kernel_fault,
    pass_call = sym message::call,
    pass_reply = sym message::reply,
    pass_segments = sym message::segments,
    general = sym message::general,
    segments = const SEGMENTS.trailing_zeros(),
    trapped = sym message::trapped,
    go_on = sym GO_ON,
    switch = sym vector::switch,
    loaded_space = sym space::LOADED,
    area = const AREA,
    space = const SPACE,
    fs = const FS_BASE,
    gs = const GS_BASE,
    ip = const INSTRUCTION_POINTER,
    flags = const FLAGS,
    whole = const WHOLE,
    native_mask = const NATIVE_MASK,
    foreign_entry = const FOREIGN_ENTRY,
    undecided = const message::UNDECIDED,
    nothing = const NOTHING,
    vectors = const VECTORS,
    user_code = const USER_CODE,
    user_data = const USER_DATA,
);

unsafe extern "C" {
    safe static vector_entries: u8;
    safe static ignore_interrupt: u8;
    safe static enter_user: u8;
    safe static syscall_fast: u8;
    safe static syscall_portable: u8;
    safe static go_on_fast: u8;
    safe static go_on_portable: u8;
    safe static idle_wait: u8;
    safe static idle_poll: u8;
}

/// Where the entry code of a vector is.
pub(crate) fn entry_of(vector: usize) -> u64 {
    (&raw const vector_entries) as u64 + 8 * vector as u64
}

/// An entry that returns at once: for non-maskable interrupts, which nothing here uses.
pub(crate) fn ignoring_entry() -> u64 {
    (&raw const ignore_interrupt) as u64
}

/// Where `syscall` goes; once, at boot. `fast`: the processor has XSAVEOPT, and instructions for segment bases.
#[unsafe(link_section = ".boot.text")]
pub(crate) fn syscall_entry(fast: bool) -> u64 {
    let (go_on, entry) = if fast {
        (&raw const go_on_fast, &raw const syscall_fast)
    } else {
        (&raw const go_on_portable, &raw const syscall_portable)
    };
    GO_ON.store(go_on as u64, Ordering::Relaxed);
    entry as u64
}

/// Run user code in the current address space until the kernel's loop has something to do.
#[inline(always)]
pub(crate) fn enter(context: &X86Context) {
    // SAFETY: the stub loads all user registers from the context (cells, so it may write them) and comes back with the
    // kernel's stack as it was. Every register it does not restore is declared lost.
    unsafe {
        asm!(
            "call {enter}",
            enter = sym enter_user,
            inout("rdi") context => _,
            out("rax") _, out("rcx") _, out("rdx") _, out("rsi") _, out("r8") _, out("r9") _, out("r10") _, out("r11") _,
            out("r12") _, out("r13") _, out("r14") _, out("r15") _,
        );
    }
}

/// Wait for an interrupt: its vector, or [`NOTHING`].
pub(crate) fn idle() -> u64 {
    open_interrupts((&raw const idle_wait) as u64)
}

/// Take a pending interrupt: its vector, or [`NOTHING`].
pub(crate) fn poll() -> u64 {
    open_interrupts((&raw const idle_poll) as u64)
}

fn open_interrupts(stub: u64) -> u64 {
    let reason;
    // SAFETY: the stub opens interrupts only while it waits; their entry restores the stack and returns from here.
    unsafe {
        asm!(
            "call rax",
            inout("rax") stub => reason,
            out("rdi") _, out("rcx") _, out("rdx") _, out("rsi") _, out("r8") _, out("r9") _, out("r10") _, out("r11") _,
            out("r12") _, out("r13") _, out("r14") _, out("r15") _,
        );
    }
    reason
}

/// The error code of the exception that is dealt with.
pub(crate) fn error_code() -> u64 {
    ERROR_CODE.load(Ordering::Relaxed)
}

/// Where the program that ran last was when it stopped: for a panic's message.
pub(crate) fn last_place() -> Option<(u64, u64)> {
    let context = vector::LOADED.load(Ordering::Relaxed) as *const X86Context;
    // SAFETY: the address of a context that `enter` was given, or of the dummy's; contexts live in the kernel's tables for
    // ever.
    let context = unsafe { context.as_ref() }?;
    let place = context.registers();
    Some((place.rip, place.general[7]))
}

/// What the entry code finds on the stack.
#[derive(Debug)]
#[repr(C)]
struct Frame {
    entry: u64,
    error_code: u64,
    instruction_pointer: u64,
    code_segment: u64,
    flags: u64,
    stack_pointer: u64,
}

/// An exception in the kernel itself.
extern "C" fn kernel_fault(frame: &Frame) -> ! {
    let vector = (frame.entry - (&raw const vector_entries) as u64) >> 3;
    crate::start::broken(&[
        Part::Text(b"exception in the kernel: "),
        Part::Hexadecimal(vector),
        Part::Text(b", code "),
        Part::Hexadecimal(frame.error_code),
        Part::Text(b", rip "),
        Part::Hexadecimal(frame.instruction_pointer),
        Part::Text(b", rsp "),
        Part::Hexadecimal(frame.stack_pointer),
        Part::Text(b", cr2 "),
        Part::Hexadecimal(crate::processor::fault_address()),
    ])
}
