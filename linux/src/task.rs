//! Tasks: what the library knows of each thread of the program, and what several of them share.
//!
//! A task lives in a *room*: a page with its [`Block`], then its library stack. Rooms are used again, never given back, since a
//! thread ends on its own stack. The [`Task`] itself is found through GS. One kernel process may hold tasks of several pids:
//! a child made with CLONE_VM but without CLONE_THREAD shares memory, and nothing else that it did not ask for.

use alloc::alloc::alloc;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::alloc::Layout;
use core::cell::Cell;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use abi::Handle;
use protocol::Errno;
use protocol::image::{TASK_ADDRESS, User};
use protocol::process::SignalInformation;
use runtime::OwnedHandle;

use crate::descriptor::Files;
use crate::directory::Directory;
use crate::entry::Block;
use crate::file_limit::FileLimit;
use crate::frame::{AlternateStack, Frame};
use crate::locks::Lock;
use crate::message::make;
use crate::mounts::Mounts;
use crate::signal::Actions;
use crate::system_v::SystemV;
use crate::vector;

/// What all threads of a process share.
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// To the process service, as this pid.
    pub(crate) connection: Handle,
    pub(crate) user: Lock<User>,
    /// Path of the program's file.
    pub(crate) program: Vec<u8>,
    /// Whose paths are, as far as known.
    pub(crate) mounts: Lock<Mounts>,
    pub(crate) system_v: SystemV,
    /// RLIMIT_FSIZE.
    pub(crate) file_limit: FileLimit,
    /// Where `brk` starts, and where it is.
    pub(crate) program_break: Lock<(u64, u64)>,
    /// Calls named in the log already: a bit each, and numbers that no call has.
    pub(crate) reported: [AtomicU64; 8],
    pub(crate) reported_numbers: Lock<Vec<u64>>,
    /// Whether it ever locked a record: then closing a file drops locks.
    pub(crate) record_locks: AtomicBool,
    /// Personality as `personality(2)` sets it.
    pub(crate) personality: AtomicU32,
}

/// A thread of the program.
pub(crate) struct Task {
    pub(crate) block: *mut Block,
    pub(crate) tid: u32,
    pub(crate) process: Arc<Process>,
    pub(crate) files: Arc<Lock<Files>>,
    pub(crate) directory: Arc<Lock<Directory>>,
    pub(crate) actions: Arc<Lock<Actions>>,
    /// FS base.
    pub(crate) thread_pointer: u64,
    /// Where the thread's id is cleared at its end.
    pub(crate) clear_tid: u64,
    /// Blocked signals.
    pub(crate) mask: u64,
    /// What the mask becomes again after a call with a mask of its own.
    pub(crate) saved_mask: Option<u64>,
    /// PR_SET_KEEPCAPS: remembered, of no other effect.
    pub(crate) keeps_capabilities: bool,
    pub(crate) alternate_stack: AlternateStack,
    /// A signal that was taken while a call waited, to be delivered at its end.
    pub(crate) taken: Option<SignalInformation>,
    /// How a call that was broken off goes on: [`crate::numbers::RESTART`] and the like.
    pub(crate) restart: Option<Errno>,
    /// Where it waits.
    pub(crate) gate: Option<Waiting>,
    /// Where a new task or child writes its id first.
    pub(crate) child_tid: u64,
    /// Room for paths that come back.
    pub(crate) room: Cell<Vec<u8>>,
    /// Vector registers that a further task starts with.
    pub(crate) vectors: *mut vector::Area,
    /// What it says of its new image when it replaces the old one.
    pub(crate) last_words: alloc::vec::Vec<u8>,
}

/// A gate of the task's own, and a pulse to it that servers are given.
pub(crate) struct Waiting {
    pub(crate) gate: OwnedHandle,
    pub(crate) pulse: OwnedHandle,
}

/// Bytes of a further task's room.
pub(crate) const ROOM_LENGTH: usize = 48 << 10;
const ROOM: Layout = match Layout::from_size_align(ROOM_LENGTH, 4096) {
    Ok(layout) => layout,
    Err(_) => panic!("a room's layout is valid"),
};

impl Task {
    /// The frame of the task's own thread (or of one that does not run yet).
    pub(crate) fn frame(&mut self) -> &mut Frame {
        // SAFETY: the block lives as long as its task; only the task's own thread (or who prepares it) calls this.
        unsafe { &mut (*self.block).frame }
    }

    /// Head of its list of robust futexes, or 0.
    pub(crate) fn robust_list(&self) -> u64 {
        // SAFETY: the block lives as long as its task; only the task's own thread writes there.
        unsafe { (*self.block).robust_list }
    }

    /// Where that head is from now on.
    pub(crate) fn set_robust_list(&mut self, head: u64) {
        // SAFETY: as above.
        unsafe { (*self.block).robust_list = head };
    }

    /// The connection to the process service.
    pub(crate) fn connection(&self) -> Handle {
        self.process.connection
    }

    /// The kernel's part of the block.
    pub(crate) fn upcall(&self) -> *mut abi::upcall::UpcallBlock {
        // SAFETY: the block lives as long as its task; no reference is made, since the kernel writes there.
        unsafe { &raw mut (*self.block).upcall }
    }

    fn pending(&self) -> *mut u64 {
        let upcall = self.upcall();
        // SAFETY: the block lives as long as its task.
        unsafe { &raw mut (*upcall).interrupt_pending }
    }

    /// Mark that signals may have been posted, or forget it: about to ask which.
    pub(crate) fn set_pending(&self, pending: bool) {
        // SAFETY: the block lives as long as its task; the kernel may write at the same time, hence volatile.
        unsafe { self.pending().write_volatile(u64::from(pending)) };
    }

    /// Whether signals may have been posted.
    pub(crate) fn is_pending(&self) -> bool {
        // SAFETY: as above.
        unsafe { self.pending().read_volatile() != 0 }
    }

    /// Whether a system call has more to do before the program goes on than to answer.
    pub(crate) fn set_unfinished(&mut self, unfinished: bool) {
        // SAFETY: the block lives as long as its task; only the task's own thread writes there.
        unsafe { (*self.block).unfinished = u64::from(unfinished) };
    }

    /// The gate and the pulse to wait with.
    pub(crate) fn waiting(&mut self) -> Result<(Handle, Handle), Errno> {
        if self.gate.is_none() {
            self.gate = Some(Waiting::new(self.connection())?);
        }
        let waiting = self.gate.as_ref().ok_or(Errno::ENOMEM)?;
        Ok((waiting.gate.handle(), waiting.pulse.handle()))
    }
}

impl Waiting {
    fn new(connection: Handle) -> Result<Self, Errno> {
        use runtime::object::process;
        let gate = make(connection, || process::create_gate(Handle::SELF_PROCESS, Handle::NONE, 0))?;
        let pulse = make(connection, || {
            let or = process::Accumulate::Or;
            process::create_pulse(Handle::SELF_PROCESS, gate.handle(), 0, or, 0, Handle::NONE)
        })?;
        Ok(Self { gate, pulse })
    }
}

/// The first task's block.
pub(crate) const FIRST_BLOCK: *mut Block = TASK_ADDRESS as *mut Block;

/// A pointer in a list that all threads see.
pub(crate) struct Shared<T>(*mut T);

// SAFETY: it is only followed under the rules of the list that it is in.
unsafe impl<T> Send for Shared<T> {}

/// A list that all threads see.
type List<T> = Lock<Vec<Shared<T>>>;

/// All tasks of this kernel process. Only who holds the lock may follow the pointers, and only to what tasks share.
static TASKS: List<Task> = Lock::new(Vec::new());
/// All rooms ever made. Those whose block says so are vacant.
static ROOMS: List<Block> = Lock::new(Vec::new());

/// The lists, for `fork` to lock.
pub(crate) fn lists() -> (&'static List<Task>, &'static List<Block>) {
    (&TASKS, &ROOMS)
}

/// Put a task in its room and make it known.
pub(crate) fn settle(task: Task) -> *mut Task {
    let block = task.block;
    let task = Box::into_raw(Box::new(task));
    // SAFETY: the room is this task's, and no thread uses it yet.
    unsafe { (*block).task = task };
    TASKS.lock().push(Shared(task));
    task
}

/// A room for a further task.
pub(crate) fn room() -> Result<*mut Block, Errno> {
    let mut rooms = ROOMS.lock();
    for room in rooms.iter() {
        if vacancy(room.0).compare_exchange(1, 0, Ordering::Acquire, Ordering::Relaxed).is_ok() {
            prepare(room.0);
            return Ok(room.0);
        }
    }
    rooms.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
    // Not zeroed: what is never used of it is never touched.
    // SAFETY: the layout is not empty.
    let block: *mut Block = unsafe { alloc(ROOM) }.cast();
    if block.is_null() {
        return Err(Errno::ENOMEM);
    }
    rooms.push(Shared(block));
    prepare(block);
    Ok(block)
}

/// Where in a room vector registers are handed over: behind the block, in its page.
pub(crate) fn vectors_in(block: *mut Block) -> *mut vector::Area {
    const OFFSET: usize = 1024;
    const _: () = assert!(size_of::<Block>() <= OFFSET && OFFSET + size_of::<vector::Area>() <= 4096);
    block.cast::<u8>().wrapping_add(OFFSET).cast()
}

fn vacancy<'a>(block: *mut Block) -> &'a AtomicU64 {
    // SAFETY: rooms are never given back to the heap; the word is only ever used as an atomic.
    unsafe { &(*block).vacant }
}

fn prepare(block: *mut Block) {
    // SAFETY: the room is the caller's alone. The kernel may still write its first words, which are numbers.
    unsafe { block.write_bytes(0, 1) };
    // SAFETY: as above.
    unsafe { (*block).stack = block as u64 + ROOM_LENGTH as u64 };
}

/// Forget a task, with all that is its alone: when its thread is at its end, or gone.
pub(crate) fn forget(task: *mut Task) {
    TASKS.lock().retain(|other| other.0 != task);
    // SAFETY: made by `settle`; it is in no list any more, and its thread does not use it any more.
    drop(unsafe { Box::from_raw(task) });
}

/// A room whose thread is gone, or was never made, can be used again. (A thread that ends says so itself, with its last instruction.)
pub(crate) fn vacate(block: *mut Block) {
    if block != FIRST_BLOCK {
        vacancy(block).store(1, Ordering::Release);
    }
}

/// In a forked child: forget every task but `own`; they are not here.
pub(crate) fn forget_others(own: *mut Task) {
    let others: Vec<*mut Task> = TASKS.lock().iter().map(|task| task.0).filter(|task| *task != own).collect();
    for task in others {
        // SAFETY: its thread does not exist in this process; the task is still in the list.
        let block = unsafe { (*task).block };
        forget(task);
        vacate(block);
    }
}

/// The pid of this kernel process, as the kernel knows it.
pub(crate) fn own_pid() -> u32 {
    runtime::object::process::identity(Handle::SELF_PROCESS).unwrap_or(0) as u32
}
