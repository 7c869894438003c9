//! Where the kernel enters the library, and how it goes back to the program: the [`Block`] that GS points to, and assembly.
//!
//! Every entry saves the program's registers in the block's [`Frame`], switches to the task's library stack and calls one
//! Rust function: a system call that of its number. (It saves all but `rax`, `rcx` and `r11`, which programs expect lost.)
//!
//! The way back is a restart window: it checks for posted signals, then loads from the frame, which it never changes, the registers
//! that Rust functions lose. When the kernel posts a signal inside the window, the thread starts at the window's beginning again. The others,
//! and `rax`, `rcx` and `r11`, are the program's before the window and stay so in it: after a system call Rust kept them; where
//! the frame may say something else (every other entry, signals, [`Block::unfinished`]), `linux_resume` loads them first.

use core::arch::global_asm;
use core::mem::offset_of;
use core::sync::atomic::AtomicU64;

use abi::upcall::UpcallBlock;
use protocol::image::TASK_ADDRESS;
use protocol::process::{LIBRARY_MAGIC, LibraryHeader, ROBUST_LIST};

use crate::frame::Frame;
use crate::heap::FIRST_TASK_LENGTH;
use crate::task::Task;

/// What GS points to: one per task.
#[repr(C)]
pub(crate) struct Block {
    pub(crate) upcall: UpcallBlock,
    /// Head of the list of robust futexes, where the process service looks for it.
    pub(crate) robust_list: u64,
    pub(crate) task: *mut Task,
    /// Top of the library stack.
    pub(crate) stack: u64,
    scratch: u64,
    /// Not 0: a system call has more to do before the program goes on than to answer ([`crate::signal::deliver`] does it).
    pub(crate) unfinished: u64,
    /// 1: no thread uses the room any more.
    pub(crate) vacant: AtomicU64,
    pub(crate) frame: Frame,
}

const _: () = assert!(offset_of!(Block, robust_list) as u64 == ROBUST_LIST);

unsafe extern "C" {
    fn linux_start();
    fn linux_syscall();
    fn linux_interrupt();
    fn linux_fault();
    fn linux_window_start();
    fn linux_window_end();
    fn linux_thread_start();
    fn linux_fork_child();
}

#[repr(transparent)]
struct Header(Functions);

#[repr(C)]
struct Functions {
    magic: u64,
    entries: [unsafe extern "C" fn(); 6],
}

const _: () = assert!(size_of::<Functions>() == size_of::<LibraryHeader>());

#[used]
#[unsafe(link_section = ".library_header")]
static HEADER: Header = Header(Functions {
    magic: LIBRARY_MAGIC,
    entries: [
        linux_start,
        linux_syscall,
        linux_interrupt,
        linux_fault,
        linux_window_start,
        linux_window_end,
    ],
});

/// Where a further task starts, with its [`Task`] as argument.
pub(crate) fn thread_start() -> u64 {
    linux_thread_start as *const () as u64
}

/// Where a forked child starts, with its [`Task`] as argument.
pub(crate) fn fork_child() -> u64 {
    linux_fork_child as *const () as u64
}

global_asm!(
    // But rax, rcx, r11.
    ".macro save_kept",
    "mov gs:[{frame} + {r15}], r15",
    "mov gs:[{frame} + {r14}], r14",
    "mov gs:[{frame} + {r13}], r13",
    "mov gs:[{frame} + {r12}], r12",
    "mov gs:[{frame} + {rbp}], rbp",
    "mov gs:[{frame} + {rbx}], rbx",
    "mov gs:[{frame} + {r10}], r10",
    "mov gs:[{frame} + {r9}], r9",
    "mov gs:[{frame} + {r8}], r8",
    "mov gs:[{frame} + {rdx}], rdx",
    "mov gs:[{frame} + {rsi}], rsi",
    "mov gs:[{frame} + {rdi}], rdi",
    ".endm",
    ".macro save_registers",
    "save_kept",
    "mov gs:[{frame} + {rax}], rax",
    "mov gs:[{frame} + {rcx}], rcx",
    "mov gs:[{frame} + {r11}], r11",
    ".endm",
    // The place that the kernel saved, at \\place in the block, becomes the frame's.
    ".macro save_place place",
    "mov rax, gs:[\\place + {place_rip}]",
    "mov gs:[{frame} + {rip}], rax",
    "mov rax, gs:[\\place + {place_rflags}]",
    "mov gs:[{frame} + {rflags}], rax",
    "mov rax, gs:[\\place + {place_rsp}]",
    "mov gs:[{frame} + {rsp}], rax",
    "mov qword ptr gs:[{frame} + {call}], -1",
    ".endm",
    ".macro enter function",
    "mov rsp, gs:[{stack}]",
    "cld",
    "xor ebp, ebp",
    "mov rdi, gs:[{task}]",
    "call \\function",
    ".endm",
    ".pushsection .text.entry, \"ax\"",
    ".global linux_start",
    "linux_start:",
    "mov rsp, {first_stack}",
    "xor ebp, ebp",
    "call {start}",
    "jmp linux_resume",
    //
    ".global linux_thread_start",
    "linux_thread_start:",
    "xor ebp, ebp",
    "call {thread_begin}",
    "jmp linux_resume",
    //
    ".global linux_fork_child",
    "linux_fork_child:",
    "xor ebp, ebp",
    "call {fork_begin}",
    "jmp linux_resume",
    //
    ".global linux_interrupt",
    "linux_interrupt:",
    "save_registers",
    "save_place {interrupt}",
    // The kernel could not note what it posted when the block could not be written.
    "mov qword ptr gs:[{pending}], 1",
    "enter {deliver}",
    "jmp linux_resume",
    //
    ".global linux_fault",
    "linux_fault:",
    "mov gs:[{scratch}], rax",
    "mov rax, gs:[{fault} + {place_rip}]",
    // What lies above the library is no part of it: a wild jump, or a call of a `vsyscall`.
    "shr rax, 46",
    "cmp rax, 1",
    "mov rax, gs:[{scratch}]",
    "je 2f",
    "save_registers",
    "save_place {fault}",
    "enter {program_fault}",
    "jmp linux_resume",
    // In the library: touches of the program's memory answer 1, anything else is the end.
    "2:",
    "lea rax, [rip + {access_start}]",
    "cmp gs:[{fault} + {place_rip}], rax",
    "jb 3f",
    "lea rax, [rip + {access_end}]",
    "cmp gs:[{fault} + {place_rip}], rax",
    "jae 3f",
    "mov rsp, gs:[{fault} + {place_rsp}]",
    "mov qword ptr gs:[{fault_active}], 0",
    "mov eax, 1",
    "ret",
    "3:",
    "enter {library_fault}",
    "ud2",
    //
    "linux_pending:",
    "mov gs:[{frame} + {rax}], rax",
    "enter {deliver}",
    "linux_resume:",
    "mov r15, gs:[{frame} + {r15}]",
    "mov r14, gs:[{frame} + {r14}]",
    "mov r13, gs:[{frame} + {r13}]",
    "mov r12, gs:[{frame} + {r12}]",
    "mov rbp, gs:[{frame} + {rbp}]",
    "mov rbx, gs:[{frame} + {rbx}]",
    "mov r11, gs:[{frame} + {r11}]",
    "mov rcx, gs:[{frame} + {rcx}]",
    "mov rax, gs:[{frame} + {rax}]",
    "jmp linux_window_start",
    //
    "2:",
    "call {missing}",
    "jmp 3f",
    // The kernel cleared the direction flag.
    ".global linux_syscall",
    "linux_syscall:",
    "mov gs:[{frame} + {rsp}], rsp",
    "mov gs:[{frame} + {call}], rax",
    "mov gs:[{frame} + {rip}], rcx",
    "mov gs:[{frame} + {rflags}], r11",
    "save_kept",
    "mov rsp, gs:[{stack}]",
    "mov rdi, gs:[{task}]",
    "cmp rax, {calls}",
    "jae 2b",
    "lea rcx, [rip + {handlers}]",
    "call [rcx + 8 * rax]",
    "3:",
    "cmp qword ptr gs:[{unfinished}], 0",
    "jne linux_pending",
    //
    ".global linux_window_start",
    "linux_window_start:",
    "cmp qword ptr gs:[{pending}], 0",
    "jne linux_pending",
    "mov rsp, gs:[{stack}]",
    "push qword ptr gs:[{frame} + {rflags}]",
    "popfq",
    "mov r10, gs:[{frame} + {r10}]",
    "mov r9, gs:[{frame} + {r9}]",
    "mov r8, gs:[{frame} + {r8}]",
    "mov rdx, gs:[{frame} + {rdx}]",
    "mov rsi, gs:[{frame} + {rsi}]",
    "mov rdi, gs:[{frame} + {rdi}]",
    "mov rsp, gs:[{frame} + {rsp}]",
    "jmp qword ptr gs:[{frame} + {rip}]",
    ".global linux_window_end",
    "linux_window_end:",
    ".popsection",
    frame = const offset_of!(Block, frame),
    stack = const offset_of!(Block, stack),
    task = const offset_of!(Block, task),
    scratch = const offset_of!(Block, scratch),
    unfinished = const offset_of!(Block, unfinished),
    pending = const offset_of!(UpcallBlock, interrupt_pending),
    fault_active = const offset_of!(UpcallBlock, fault_active),
    interrupt = const offset_of!(UpcallBlock, interrupt),
    fault = const offset_of!(UpcallBlock, fault),
    place_rip = const offset_of!(abi::upcall::SavedPlace, rip),
    place_rsp = const offset_of!(abi::upcall::SavedPlace, rsp),
    place_rflags = const offset_of!(abi::upcall::SavedPlace, rflags),
    r15 = const offset_of!(Frame, r15),
    r14 = const offset_of!(Frame, r14),
    r13 = const offset_of!(Frame, r13),
    r12 = const offset_of!(Frame, r12),
    rbp = const offset_of!(Frame, rbp),
    rbx = const offset_of!(Frame, rbx),
    r11 = const offset_of!(Frame, r11),
    r10 = const offset_of!(Frame, r10),
    r9 = const offset_of!(Frame, r9),
    r8 = const offset_of!(Frame, r8),
    rax = const offset_of!(Frame, rax),
    rcx = const offset_of!(Frame, rcx),
    rdx = const offset_of!(Frame, rdx),
    rsi = const offset_of!(Frame, rsi),
    rdi = const offset_of!(Frame, rdi),
    rip = const offset_of!(Frame, rip),
    rflags = const offset_of!(Frame, rflags),
    rsp = const offset_of!(Frame, rsp),
    call = const offset_of!(Frame, call),
    first_stack = const TASK_ADDRESS + FIRST_TASK_LENGTH,
    access_start = sym crate::user_memory::linux_access_start,
    access_end = sym crate::user_memory::linux_access_end,
    start = sym crate::start::start,
    thread_begin = sym crate::thread::begin,
    fork_begin = sym crate::process::begin_child,
    calls = const crate::table::LENGTH,
    handlers = sym crate::dispatch::HANDLERS,
    missing = sym crate::dispatch::missing,
    deliver = sym crate::signal::deliver,
    program_fault = sym crate::fault::program_fault,
    library_fault = sym crate::fault::library_fault,
);
