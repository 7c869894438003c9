//! Threads, and children that share memory: clone, the way a task begins and ends.

use alloc::sync::Arc;
use core::arch::asm;

use abi::Operation;
use abi::call::NEVER;
use protocol::Errno;
use protocol::process::{self as service, Request};
use runtime::{Buffers, OwnedHandle};

use crate::entry::{self, Block};
use crate::file_limit::FileLimit;
use crate::locks::Lock;
use crate::message::{PROMPT, ask};
use crate::numbers::Outcome;
use crate::process;
use crate::signal;
use crate::system_v::SystemV;
use crate::slot::Slot;
use crate::task::{self, Process, Task};
use crate::user_memory::{self, Plain};
use crate::vector;

mod flag {
    pub(super) const VM: u64 = 0x100;
    pub(super) const FS: u64 = 0x200;
    pub(super) const FILES: u64 = 0x400;
    pub(super) const SIGHAND: u64 = 0x800;
    pub(super) const PIDFD: u64 = 0x1000;
    pub(super) const VFORK: u64 = 0x4000;
    pub(super) const THREAD: u64 = 0x1_0000;
    pub(super) const SETTLS: u64 = 0x8_0000;
    pub(super) const PARENT_SETTID: u64 = 0x10_0000;
    pub(super) const CHILD_CLEARTID: u64 = 0x20_0000;
    pub(super) const CHILD_SETTID: u64 = 0x100_0000;
    pub(super) const CLEAR_SIGHAND: u64 = 0x1_0000_0000;
    /// New name spaces: not permitted.
    pub(super) const NEW: u64 = 0x7e02_0000;
}

/// What `clone` and `clone3` ask for: Linux's `struct clone_args`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Wish {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    /// Here: the stack pointer.
    stack: u64,
    stack_length: u64,
    thread_pointer: u64,
    rest: [u64; 3],
}

// SAFETY: `repr(C)`, `u64`s only.
unsafe impl Plain for Wish {}

/// `clone`.
pub(crate) fn clone(task: &mut Task, [flags, stack, parent_tid, child_tid, thread_pointer, _]: [u64; 6]) -> Outcome {
    let flags = flags & 0xffff_ffff;
    let wish = Wish {
        flags: flags & !0xff,
        pidfd: parent_tid,
        child_tid,
        parent_tid,
        exit_signal: flags & 0xff,
        stack,
        thread_pointer,
        ..Wish::default()
    };
    begin_clone(task, &wish)
}

/// `clone3`.
pub(crate) fn clone3(task: &mut Task, [address, length, ..]: [u64; 6]) -> Outcome {
    const FIRST_VERSION: u64 = 64;
    if length < FIRST_VERSION {
        return Err(Errno::EINVAL);
    }
    let known = length.min(size_of::<Wish>() as u64) as usize;
    let mut wish = Wish::default();
    user_memory::read_bytes(address, &mut user_memory::bytes_of_mut(&mut wish)[..known])?;
    if (wish.stack == 0) != (wish.stack_length == 0) || wish.flags & 0xff != 0 || wish.rest != [0; 3] {
        return Err(Errno::EINVAL);
    }
    wish.stack = wish.stack.wrapping_add(wish.stack_length);
    begin_clone(task, &wish)
}

/// `vfork`.
pub(crate) fn vfork(task: &mut Task, _: [u64; 6]) -> Outcome {
    begin_clone(task, &Wish { flags: flag::VM | flag::VFORK, exit_signal: 17, ..Wish::default() })
}

fn begin_clone(task: &mut Task, wish: &Wish) -> Outcome {
    let has = |bits: u64| wish.flags & bits == bits;
    if wish.flags & flag::NEW != 0 {
        return Err(Errno::EPERM);
    }
    let inconsistent = has(flag::THREAD) && !has(flag::SIGHAND) || has(flag::SIGHAND) && !has(flag::VM);
    if inconsistent || has(flag::PIDFD) && has(flag::PARENT_SETTID) && wish.pidfd == wish.parent_tid {
        return Err(Errno::EINVAL);
    }
    let id = if has(flag::THREAD) {
        new_thread(task, wish)?
    } else if has(flag::VM) {
        return new_sharing_process(task, wish);
    } else {
        let child_tid = if has(flag::CHILD_SETTID) { wish.child_tid } else { 0 };
        let pid = process::fork_with(task, child_tid, wish.stack)?;
        tell_parent(task, wish, pid)?;
        pid
    };
    Ok(id)
}

/// What the parent is told of a child beside its pid.
fn tell_parent(task: &mut Task, wish: &Wish, pid: u64) -> Result<(), Errno> {
    if wish.flags & flag::PARENT_SETTID != 0 {
        user_memory::write(wish.parent_tid, &(pid as u32))?;
    }
    if wish.flags & flag::PIDFD != 0 {
        let number = crate::special_files::pidfd_open(task, [pid, 0, 0, 0, 0, 0])?;
        user_memory::write(wish.pidfd, &(number as u32))?;
    }
    Ok(())
}

/// A task like this one, in a room of its own, that goes on where this one is.
fn sibling(task: &mut Task, wish: &Wish, block: *mut Block, process: Arc<Process>) -> Task {
    let shares = |bit: u64| wish.flags & bit != 0;
    let vectors = task::vectors_in(block);
    // SAFETY: the room is the new task's, and nobody uses it yet.
    vector::save(unsafe { &mut *vectors });
    let frame = *task.frame();
    let mut child = Task {
        block,
        tid: 0,
        process,
        files: if shares(flag::FILES) {
            Arc::clone(&task.files)
        } else {
            Arc::new(Lock::new(task.files.lock().clone()))
        },
        directory: if shares(flag::FS) {
            Arc::clone(&task.directory)
        } else {
            Arc::new(Lock::new(task.directory.lock().clone()))
        },
        actions: if shares(flag::SIGHAND) {
            Arc::clone(&task.actions)
        } else {
            Arc::new(Lock::new(task.actions.lock().clone()))
        },
        thread_pointer: if shares(flag::SETTLS) { wish.thread_pointer } else { task.thread_pointer },
        clear_tid: if shares(flag::CHILD_CLEARTID) { wish.child_tid } else { 0 },
        mask: task.mask,
        saved_mask: None,
        alternate_stack: if shares(flag::THREAD) { crate::frame::AlternateStack::NONE } else { task.alternate_stack },
        taken: None,
        restart: None,
        gate: None,
        child_tid: if shares(flag::CHILD_SETTID) { wish.child_tid } else { 0 },
        room: Default::default(),
        vectors,
        keeps_capabilities: task.keeps_capabilities,
        last_words: alloc::vec::Vec::new(),
    };
    *child.frame() = frame;
    child.frame().answer(Ok(0));
    if wish.stack != 0 {
        child.frame().rsp = wish.stack;
    }
    child
}

fn new_thread(task: &mut Task, wish: &Wish) -> Outcome {
    let block = task::room()?;
    let prepared = ask(&mut Buffers::new(), |buffers| {
        service::thread_prepare(task.connection(), block as u64, u64::from(task.tid), buffers, PROMPT)
    });
    let tid = match prepared {
        Ok(answer) => answer.tid,
        Err(error) => {
            task::vacate(block);
            return Err(error);
        }
    };
    let process = Arc::clone(&task.process);
    let mut child = sibling(task, wish, block, process);
    child.tid = tid as u32;
    let child = task::settle(child);
    // As Linux does it: the id is there before the child runs.
    let told = tell_parent(task, wish, tid);
    let started = told.and_then(|()| {
        let stack = block as u64 + task::ROOM_LENGTH as u64;
        ask(&mut Buffers::new(), |buffers| {
            service::thread_start(task.connection(), tid, entry::thread_start(), stack, child as u64, buffers, PROMPT)
        })
    });
    match started {
        Ok(_) => Ok(tid),
        Err(error) => {
            task::forget(child);
            // The service keeps a thread that never started; the process's end takes it.
            Err(error)
        }
    }
}

/// A child with a pid of its own in this same kernel process: `vfork`, and what `posix_spawn` uses.
fn new_sharing_process(task: &mut Task, wish: &Wish) -> Outcome {
    let block = task::room()?;
    let connection = match Slot::new(task.connection()) {
        Ok(slot) => slot,
        Err(error) => {
            task::vacate(block);
            return Err(error);
        }
    };
    let quiet = u64::from(wish.exit_signal == 0);
    let prepared = ask(&mut Buffers::new().take(connection.handle()), |buffers| {
        service::task_prepare(task.connection(), block as u64, quiet, buffers, PROMPT)
    });
    let pid = match prepared {
        Ok(answer) => answer.pid,
        Err(error) => {
            task::vacate(block);
            return Err(error);
        }
    };
    let connection = connection.filled();
    let process = child_process(task, pid as u32, &connection);
    let mut child = sibling(task, wish, block, Arc::new(process));
    child.tid = pid as u32;
    if wish.flags & flag::CLEAR_SIGHAND != 0 {
        let ignored = child.actions.lock().ignored();
        child.actions = Arc::new(Lock::new(signal::Actions::new(ignored)));
    }
    let child = task::settle(child);
    let stack = block as u64 + task::ROOM_LENGTH as u64;
    let started = ask(&mut Buffers::new(), |buffers| {
        service::task_start(task.connection(), pid, entry::thread_start(), stack, child as u64, buffers, PROMPT)
    });
    if let Err(error) = started {
        task::forget(child);
        task::vacate(block);
        return Err(error);
    }
    if wish.flags & flag::VFORK == 0 {
        // It lives as long as it likes: its connection and its task stay with it.
        let _ = connection.into_handle();
        tell_parent(task, wish, pid)?;
        return Ok(pid);
    }
    // Not broken off by signals, as on Linux; it fails only when the child is gone.
    let _ = ask(&mut Buffers::new(), |buffers| service::task_wait(task.connection(), pid, buffers, PROMPT));
    task::forget(child);
    task::vacate(block);
    tell_parent(task, wish, pid)?;
    Ok(pid)
}

fn child_process(task: &Task, pid: u32, connection: &OwnedHandle) -> Process {
    use core::sync::atomic::Ordering::Relaxed;
    let own = &task.process;
    Process {
        pid,
        connection: connection.handle(),
        user: Lock::new(*own.user.lock()),
        program: own.program.clone(),
        file_limit: FileLimit::new(own.file_limit.get()),
        system_v: SystemV::new(own.system_v.attachments.lock().clone()),
        program_break: Lock::new(*own.program_break.lock()),
        mounts: Default::default(),
        reported_numbers: Default::default(),
        reported: core::array::from_fn(|index| own.reported[index].load(Relaxed).into()),
        record_locks: false.into(),
        personality: own.personality.load(Relaxed).into(),
    }
}

/// Entry: a further task, on its own thread.
pub(crate) unsafe extern "C" fn begin(task: *mut Task) {
    // SAFETY: whoever made the task handed it to this thread.
    let task = unsafe { &mut *task };
    load_state(task);
    signal::announce_mask(task);
    if task.child_tid != 0 {
        // As on Linux, a bad address is the child's own loss.
        let _ = user_memory::write(task.child_tid, &task.tid);
    }
}

/// What only the running thread itself can load: bases and vector registers.
pub(crate) fn load_state(task: &mut Task) {
    set_bases(task);
    let vectors = core::mem::replace(&mut task.vectors, core::ptr::null_mut());
    if !vectors.is_null() {
        // SAFETY: whoever made the task saved them there, where nothing else is written.
        vector::restore(unsafe { &*vectors });
    }
}

/// Make FS the program's and GS the library's.
pub(crate) fn set_bases(task: &Task) {
    // The kernel refuses only addresses outside user space, which were refused before.
    let _ = runtime::object::thread::set_bases(task.thread_pointer, task.block as u64);
}

/// `exit`: the end of one thread.
pub(crate) fn exit(task: &mut Task, [status, ..]: [u64; 6]) -> Outcome {
    let is_last_use = Arc::strong_count(&task.files) == 1;
    if is_last_use {
        crate::descriptor::let_all_go(task);
    }
    let request = Request::ThreadExit {
        tid: u64::from(task.tid),
        clear: task.clear_tid,
        status: status & 0xff,
    };
    let (label, words) = request.encode();
    let connection = task.connection();
    let (block, is_waited_for) = (task.block, task.process.connection != service::CONNECTION);
    // The task of a vfork child belongs to its parent, which waits.
    if !is_waited_for {
        task::forget(task);
    }
    let vacant = u64::from(block != task::FIRST_BLOCK && !is_waited_for);
    // SAFETY: there is no answer, since this thread is destroyed. The room is vacant from the first instruction on; nothing after
    // it uses memory. Should the call fail, the thread stops at an undefined instruction.
    unsafe {
        asm!(
            "mov gs:[{vacant}], {value}",
            "mov rax, r9",
            "xor r9d, r9d",
            "syscall",
            "ud2",
            vacant = const core::mem::offset_of!(Block, vacant),
            value = in(reg) vacant,
            in("rdi") connection.0,
            in("rsi") 0_u64,
            in("rdx") 0_u64,
            in("r8") NEVER,
            in("r9") Operation::Call as u64,
            in("r10") label,
            in("r12") words[0],
            in("r13") words[1],
            in("r14") words[2],
            in("r15") words[3],
            options(noreturn),
        )
    }
}

/// `set_tid_address`.
pub(crate) fn set_tid_address(task: &mut Task, [address, ..]: [u64; 6]) -> Outcome {
    task.clear_tid = address;
    Ok(u64::from(task.tid))
}

/// Bytes of Linux's `struct robust_list_head`.
const ROBUST_LENGTH: u64 = 24;

/// `set_robust_list`.
pub(crate) fn set_robust_list(task: &mut Task, [address, length, ..]: [u64; 6]) -> Outcome {
    if length != ROBUST_LENGTH {
        return Err(Errno::EINVAL);
    }
    task.set_robust_list(address);
    Ok(0)
}

/// `get_robust_list`, of the caller.
pub(crate) fn get_robust_list(task: &mut Task, [pid, address, length, ..]: [u64; 6]) -> Outcome {
    if pid as u32 != 0 && pid as u32 != task.tid {
        return Err(Errno::EPERM);
    }
    user_memory::write(address, &task.robust_list())?;
    user_memory::write(length, &ROBUST_LENGTH)?;
    Ok(0)
}

/// `arch_prctl`.
pub(crate) fn arch_prctl(task: &mut Task, [code, address, ..]: [u64; 6]) -> Outcome {
    const SET_FS: u64 = 0x1002;
    const GET_FS: u64 = 0x1003;
    match code {
        SET_FS if address >= abi::USER_END => Err(Errno::EPERM),
        SET_FS => {
            task.thread_pointer = address;
            set_bases(task);
            Ok(0)
        }
        GET_FS => user_memory::write(address, &task.thread_pointer).map(|()| 0),
        _ => Err(Errno::EINVAL),
    }
}
