//! Processes: fork, exit, wait, groups and sessions, limits and names.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering};

use protocol::Errno;
use protocol::process::{self as service, CONNECTION, Resources};
use runtime::{Buffers, Options};

use crate::descriptor;
use crate::entry;
use crate::epoll;
use crate::file_limit::FileLimit;
use crate::heap;
use crate::message::{PROMPT, WAIT, ask, errno, insist};
use crate::numbers::{Outcome, RESTART, int};
use crate::signal;
use crate::system_v::SystemV;
use crate::task::{self, Process, Task};
use crate::time;
use crate::user_memory;
use crate::vector;

/// End the process with a status.
pub(crate) fn exit_group(task: &mut Task, [status, ..]: [u64; 6]) -> Outcome {
    descriptor::let_all_go(task);
    loop {
        // There is no answer: this thread is destroyed meanwhile.
        let _ = service::exit(task.connection(), status & 0xff, &mut Buffers::new(), PROMPT);
        runtime::object::thread::yield_now();
    }
}

/// End the process by a signal.
pub(crate) fn end_by_signal(task: &Task, signal: u32) -> ! {
    loop {
        // There is no answer: this thread is destroyed meanwhile.
        let _ = service::exit_signal(task.connection(), u64::from(signal), 1, &mut Buffers::new(), PROMPT);
        runtime::object::thread::yield_now();
    }
}

/// `fork`: the child is a copy of everything, and starts in [`begin_child`].
pub(crate) fn fork(task: &mut Task, _: [u64; 6]) -> Outcome {
    fork_with(task, 0, 0)
}

/// Between what a forked child finds on its parent's stack and its own stack.
const STACK_GAP: u64 = 64;

/// Fork a child that finds its tid at `child_tid` (if not 0) and whose program goes on at `stack` (if not 0).
pub(crate) fn fork_with(task: &mut Task, child_tid: u64, stack: u64) -> Outcome {
    // On the stack, so that no page is touched, and then copied, for it alone.
    let mut area = vector::Area([0; vector::AREA_LENGTH]);
    vector::save(&mut area);
    task.vectors = &raw mut area;
    // The child's stack starts below it.
    let top = (&raw const area) as u64 - STACK_GAP;
    let before = task.frame().rsp;
    if stack != 0 {
        task.frame().rsp = stack;
    }
    task.child_tid = child_tid;
    let address = core::ptr::from_mut(task) as u64;
    let result = {
        let files = Arc::clone(&task.files);
        let directory = Arc::clone(&task.directory);
        let actions = Arc::clone(&task.actions);
        let process = Arc::clone(&task.process);
        let (tasks, rooms) = task::lists();
        // In this order, and the heap last, since the others may allocate while they are held.
        let _tasks = tasks.lock();
        let _rooms = rooms.lock();
        let files = files.lock();
        epoll::freeze(&files);
        let handles = descriptor::handles(&files);
        let _directory = directory.lock();
        let _actions = actions.lock();
        let _break = process.program_break.lock();
        let _user = process.user.lock();
        let _mounts = process.mounts.lock();
        let _attachments = process.system_v.attachments.lock();
        let (connection, block) = (task.connection(), task.block as u64);
        heap::lock();
        let result = insist(&mut Buffers::new().send(&handles), |buffers| {
            service::fork(connection, entry::fork_child(), top, address, block, buffers, PROMPT)
        });
        heap::unlock();
        // SAFETY: frozen above; the descriptors are locked still.
        unsafe { epoll::thaw(&files) };
        result
    };
    task.frame().rsp = before;
    task.vectors = core::ptr::null_mut();
    result.map(|answer| answer.pid).map_err(errno)
}

/// Entry: a forked child, on its only thread, with a copy of the parent's task.
pub(crate) unsafe extern "C" fn begin_child(task: *mut Task) {
    // SAFETY: this thread is the only one of a new process, and the task its own copy.
    let own = unsafe { &mut *task };
    unlock_all(own);
    task::forget_others(task);
    let pid = task::own_pid();
    let parent = &own.process;
    parent.mounts.lock().forget();
    crate::slot::forget();
    let process = Process {
        pid,
        connection: CONNECTION,
        user: crate::locks::Lock::new(*parent.user.lock()),
        program: parent.program.clone(),
        file_limit: FileLimit::new(parent.file_limit.get()),
        system_v: SystemV::new(parent.system_v.attachments.lock().clone()),
        program_break: crate::locks::Lock::new(*parent.program_break.lock()),
        mounts: Default::default(),
        reported_numbers: Default::default(),
        reported: core::array::from_fn(|index| parent.reported[index].load(Ordering::Relaxed).into()),
        record_locks: AtomicBool::new(false),
        personality: parent.personality.load(Ordering::Relaxed).into(),
    };
    own.process = Arc::new(process);
    own.tid = pid;
    // Gate and pulse are not inherited: forget the names without closing what others might have there.
    if let Some(waiting) = own.gate.take() {
        let _ = waiting.gate.into_handle();
        let _ = waiting.pulse.into_handle();
    }
    (own.clear_tid, own.taken, own.restart) = (0, None, None);
    own.set_robust_list(0);
    own.set_pending(false);
    crate::thread::load_state(own);
    signal::announce_mask(own);
    if own.child_tid != 0 {
        // As on Linux, a bad address is the child's own loss.
        let _ = user_memory::write(own.child_tid, &pid);
    }
    own.frame().answer(Ok(0));
}

/// Open the locks that the parent's fork held.
fn unlock_all(task: &Task) {
    let (tasks, rooms) = task::lists();
    // First: others may allocate.
    heap::unlock();
    // SAFETY: `fork_with` held this lock for this copy.
    unsafe { tasks.force_unlock() };
    // SAFETY: as above.
    unsafe { rooms.force_unlock() };
    // SAFETY: as above.
    unsafe { task.files.force_unlock() };
    // SAFETY: `fork_with` froze them for this copy, and nobody else is here to change them.
    unsafe { epoll::thaw(&task.files.lock()) };
    // SAFETY: as above.
    unsafe { task.directory.force_unlock() };
    // SAFETY: as above.
    unsafe { task.actions.force_unlock() };
    // SAFETY: as above.
    unsafe { task.process.program_break.force_unlock() };
    // SAFETY: as above.
    unsafe { task.process.user.force_unlock() };
    // SAFETY: as above.
    unsafe { task.process.mounts.force_unlock() };
    // SAFETY: as above.
    unsafe { task.process.system_v.attachments.force_unlock() };
}

/// Linux's `struct rusage`.
fn usage_record(used: &Resources) -> [u64; 18] {
    let mut record = [0; 18];
    record[..2].copy_from_slice(&time::timeval(used.user_ns));
    record[2..4].copy_from_slice(&time::timeval(used.system_ns));
    record[4] = used.resident_maximum >> 10;
    record[8] = used.minor_faults;
    record[9] = used.major_faults;
    record
}

const WNOHANG: u64 = 1;
const WUNTRACED: u64 = 2;
const WEXITED: u64 = 4;
const WCONTINUED: u64 = 8;
const WNOWAIT: u64 = 0x0100_0000;
/// __WNOTHREAD, __WALL, __WCLONE: without meaning here.
const WIGNORED: u64 = 0xe000_0000;

type Waited = (u64, u64, Resources);

fn wait_once(task: &Task, selector: i64, options: u64, how: Options) -> Result<Waited, Errno> {
    let mut used = Resources::default();
    let mut buffers = Buffers::new().receive(user_memory::bytes_of_mut(&mut used));
    let answer = insist(&mut buffers, |buffers| service::wait(task.connection(), selector as u64, options, buffers, how));
    answer.map(|answer| (answer.pid, answer.status, used)).map_err(errno)
}

fn wait(task: &mut Task, selector: i64, options: u64) -> Result<Waited, Errno> {
    if options & WNOHANG != 0 {
        return wait_once(task, selector, options, PROMPT);
    }
    loop {
        match wait_once(task, selector, options, WAIT) {
            // A child that has ended already is told of, whatever signals there are.
            Err(RESTART) if signal::interrupted(task) => {
                let found = wait_once(task, selector, options | WNOHANG, PROMPT)?;
                return if found.0 == 0 { Err(RESTART) } else { Ok(found) };
            }
            Err(RESTART) => {}
            result => return result,
        }
    }
}

/// `wait4`.
pub(crate) fn wait4(task: &mut Task, [pid, status, options, usage, ..]: [u64; 6]) -> Outcome {
    let options = options & 0xffff_ffff;
    if options & !(WNOHANG | WUNTRACED | WCONTINUED | WIGNORED) != 0 {
        return Err(Errno::EINVAL);
    }
    let selector = i64::from(int(pid));
    let (found, code, used) = wait(task, selector, options & !WIGNORED | WEXITED)?;
    if found != 0 {
        user_memory::write_optional(status, &(code as u32))?;
        user_memory::write_optional(usage, &usage_record(&used))?;
    }
    Ok(found)
}

/// `waitid`.
pub(crate) fn waitid(task: &mut Task, [kind, id, address, options, usage, _]: [u64; 6]) -> Outcome {
    let options = options & 0xffff_ffff;
    let known = WNOHANG | WUNTRACED | WEXITED | WCONTINUED | WNOWAIT | WIGNORED;
    if options & !known != 0 || options & (WUNTRACED | WEXITED | WCONTINUED) == 0 {
        return Err(Errno::EINVAL);
    }
    let id = i64::from(int(id));
    let selector = match int(kind) {
        0 => -1,
        1 if id > 0 => id,
        2 if id >= 0 => -id,
        3 => i64::from(crate::special_files::pid_of_descriptor(task, id as u64)?),
        _ => return Err(Errno::EINVAL),
    };
    let (found, code, used) = wait(task, selector, options & !WIGNORED)?;
    let mut record = [0_u64; 16];
    if found != 0 {
        let (cause, value) = match code as u32 {
            0xffff => (6, 18),
            code if code & 0xff == 0x7f => (5, code >> 8 & 0xff),
            code if code & 0x7f == 0 => (1, code >> 8 & 0xff),
            code if code & 0x80 != 0 => (3, code & 0x7f),
            code => (2, code & 0x7f),
        };
        record[..4].copy_from_slice(&[17, cause, found, u64::from(value)]);
    }
    user_memory::write_optional(address, &record)?;
    if found != 0 {
        user_memory::write_optional(usage, &usage_record(&used))?;
    }
    Ok(0)
}

/// `getpid`.
pub(crate) fn getpid(task: &mut Task, _: [u64; 6]) -> Outcome {
    Ok(u64::from(task.process.pid))
}

/// `gettid`.
pub(crate) fn gettid(task: &mut Task, _: [u64; 6]) -> Outcome {
    Ok(u64::from(task.tid))
}

fn identity(task: &Task, pid: u64) -> Result<service::answer::Identity, Errno> {
    if int(pid) < 0 {
        return Err(Errno::ESRCH);
    }
    ask(&mut Buffers::new(), |buffers| service::identity(task.connection(), pid & 0xffff_ffff, buffers, PROMPT))
}

/// `getppid`.
pub(crate) fn getppid(task: &mut Task, _: [u64; 6]) -> Outcome {
    identity(task, 0).map(|identity| identity.parent)
}

/// `getpgid`.
pub(crate) fn getpgid(task: &mut Task, [pid, ..]: [u64; 6]) -> Outcome {
    identity(task, pid).map(|identity| identity.group)
}

/// `getpgrp`.
pub(crate) fn getpgrp(task: &mut Task, _: [u64; 6]) -> Outcome {
    identity(task, 0).map(|identity| identity.group)
}

/// `getsid`.
pub(crate) fn getsid(task: &mut Task, [pid, ..]: [u64; 6]) -> Outcome {
    identity(task, pid).map(|identity| identity.session)
}

/// `setpgid`.
pub(crate) fn setpgid(task: &mut Task, [pid, group, ..]: [u64; 6]) -> Outcome {
    if int(group) < 0 {
        return Err(Errno::EINVAL);
    }
    if int(pid) < 0 {
        return Err(Errno::ESRCH);
    }
    let own = u64::from(task.process.pid);
    let pid = if pid as u32 == 0 { own } else { pid & 0xffff_ffff };
    let group = if group as u32 == 0 { pid } else { group & 0xffff_ffff };
    ask(&mut Buffers::new(), |buffers| service::set_group(task.connection(), pid, group, buffers, PROMPT)).map(|_| 0)
}

/// `setsid`.
pub(crate) fn setsid(task: &mut Task, _: [u64; 6]) -> Outcome {
    ask(&mut Buffers::new(), |buffers| service::set_session(task.connection(), buffers, PROMPT)).map(|answer| answer.session)
}

/// Some limits are kept here, too: those on files.
fn limit_changed(task: &Task, resource: u64, soft: u64) {
    const FILE_LENGTH: u64 = 1;
    const DESCRIPTORS: u64 = 7;
    match resource & 0xffff_ffff {
        FILE_LENGTH => task.process.file_limit.set(soft),
        DESCRIPTORS => task.files.lock().set_limit(usize::try_from(soft).unwrap_or(usize::MAX)),
        _ => {}
    }
}

/// `getrlimit`.
pub(crate) fn getrlimit(task: &mut Task, [resource, address, ..]: [u64; 6]) -> Outcome {
    prlimit64(task, [0, resource, 0, address, 0, 0])
}

/// `setrlimit`.
pub(crate) fn setrlimit(task: &mut Task, [resource, address, ..]: [u64; 6]) -> Outcome {
    prlimit64(task, [0, resource, address, 0, 0, 0])
}

/// `prlimit64`.
pub(crate) fn prlimit64(task: &mut Task, [pid, resource, new, old, ..]: [u64; 6]) -> Outcome {
    const LEAVE: u64 = u64::MAX - 1;
    if resource & 0xffff_ffff > 15 {
        return Err(Errno::EINVAL);
    }
    let wanted = user_memory::read_optional::<[u64; 2]>(new)?;
    if wanted.is_some_and(|[soft, hard]| soft > hard) {
        return Err(Errno::EINVAL);
    }
    let own = pid as u32 == 0 || pid as u32 == task.process.pid;
    let named = if own { 0 } else { pid & 0xffff_ffff };
    let [soft, hard] = wanted.unwrap_or([LEAVE; 2]);
    let answer = ask(&mut Buffers::new(), |buffers| {
        service::limit(task.connection(), named, resource & 0xffff_ffff, soft, hard, buffers, PROMPT)
    })?;
    if let (Some([soft, _]), true) = (wanted, own) {
        limit_changed(task, resource, soft);
    }
    user_memory::write_optional(old, &[answer.soft, answer.hard])?;
    Ok(0)
}

/// What was used.
pub(crate) fn used(task: &Task, who: u64, number: u64) -> Result<Resources, Errno> {
    let mut used = Resources::default();
    let mut buffers = Buffers::new().receive(user_memory::bytes_of_mut(&mut used));
    ask(&mut buffers, |buffers| service::usage(task.connection(), who, number, buffers, PROMPT))?;
    Ok(used)
}

/// `getrusage`.
pub(crate) fn getrusage(task: &mut Task, [who, address, ..]: [u64; 6]) -> Outcome {
    let (kind, number) = match int(who) {
        0 => (0, 0),
        1 => (2, task.tid),
        -1 => (1, 0),
        _ => return Err(Errno::EINVAL),
    };
    let used = used(task, kind, u64::from(number))?;
    user_memory::write(address, &usage_record(&used))?;
    Ok(0)
}

/// `times`: in hundredths of seconds.
pub(crate) fn times(task: &mut Task, [address, ..]: [u64; 6]) -> Outcome {
    const TICK_NS: u64 = 10_000_000;
    let used = used(task, 0, 0)?;
    let record = [used.user_ns / TICK_NS, used.system_ns / TICK_NS, used.children_ns / TICK_NS, 0];
    user_memory::write_optional(address, &record)?;
    Ok(runtime::clock::monotonic_ns() / TICK_NS)
}
