//! The process service: all free memory, everybody's pager, and what POSIX calls processes.
//!
//! Three kinds of connection, told apart by badge (made by the service; who holds one can do just this):
//! * *native* (made by init for each native program): [`Allocate`](Request::Allocate), [`Release`](Request::Release), information, and the privileged messages that init marked it for;
//! * *POSIX* (one per pid): everything about that process and its children; it fixes which pids can be named;
//! * *fault* connections, to which the kernel itself sends.
//!
//! # A POSIX process as its library sees it
//!
//! The service makes the kernel process, maps the personality library at [`LIBRARY_ADDRESS`], the system page
//! ([`abi::system_page`]) and installs two handles at fixed places: [`CONNECTION`] (this protocol, this pid) and
//! [`NAME_SPACE`] (the path service). A new image starts in its library's `start` entry with `rdi` = [`BLOB_ADDRESS`], where what `ExecWrite` put there lies
//! (the blob's layout is the library's own business), on a small stack of the service's ([`START_STACK_TOP`]).
//!
//! Every kernel thread of it is configured with the entries in the library's [`LibraryHeader`], its native mask is
//! [`abi::NATIVE_BASE`], its GS base and upcall block are the `block` address that the library named.
//! Page faults come to the service: absent pages of an area are filled (zero, or from the Memory), copy-on-write pages copied; others
//! are refused, and become fault upcalls. A fault that no upcall takes kills the process with the right signal.
//!
//! # Signals
//!
//! The service keeps each disposition and mask, pending sets, and carries out default actions, SIGKILL and SIGSTOP itself. For
//! a signal with a handler it picks a thread that does not block it and interrupts it ([`abi::upcall`]); the library then asks with
//! `TakeSignal` until none is left, before it returns to the program. A message that waits (`Wait`, `FutexWait`, `SignalWait`, …) is
//! sent [`INTERRUPTIBLE`](abi::call::flags::INTERRUPTIBLE) and is answered EINTR when interrupted.
//!
//! Deadlines are monotonic nanoseconds, `u64::MAX`: none.
//!
//! # Handles across fork and exec
//!
//! `Fork` copies the handles that the library marked ([`SET_INHERIT`](abi::object::process::SET_INHERIT)), and those whose values
//! (u64 each) are in its send bytes; nothing else: the child's [`CONNECTION`] and [`NAME_SPACE`] are its own, reserved slots,
//! pulses and gates have to be made anew. So: mark each open file once, when it is opened. exec keeps what `ExecKeep` names and
//! nothing else. `Spawn` + `ExecKeep` copies from the caller's own table, at the same values (none may have index 3 or 4).
//!
//! # Quota
//!
//! A POSIX process starts with a small share of kernel objects; what the service itself makes in it (threads, mappings)
//! grows as needed. When a call fails with `QuotaExceeded` (or a server answers ENOMEM for an open), the library asks for more with `Enlarge` and
//! repeats once.
//!
//! # What init starts the service with
//!
//! In its start record: handles `gate`, `archive`, `ram0` … `ram15` (all rights); numbers `archive-length`, `tsc-hz`, `tsc-base`, `ram-total`,
//! and `ram0-used` … : bytes at the start of that range which are taken already (by init, the service, the first programs). Everything
//! behind is the service's. The personality is `system/linux` in the archive. A connection to `gate` that init makes itself with
//! badge 0 is init's own: pid 1, with all privileges. The service is pid 2. The service makes the system page and hands it to whoever asks by
//! `SystemPage`; it maps it into POSIX processes itself.

use abi::Handle;

/// A POSIX process's connection to the process service.
pub const CONNECTION: Handle = Handle::new(3, 1);
/// A POSIX process's name space.
pub const NAME_SPACE: Handle = Handle::new(4, 1);
/// Where the personality library is mapped (its link address): it starts with a [`LibraryHeader`].
pub const LIBRARY_ADDRESS: u64 = abi::NATIVE_BASE + 0x1000_0000;
/// Where a new image finds the blob that its old one wrote.
pub const BLOB_ADDRESS: u64 = abi::NATIVE_BASE + 0x1803_0000;
/// Most bytes of a blob.
pub const BLOB_MAXIMUM: u64 = 4 << 20;
/// Top of the stack on which a new image's library starts (64 KiB).
pub const START_STACK_TOP: u64 = abi::NATIVE_BASE + 0x1802_0000;
/// Bytes of that stack; the library may unmap it when it has its own.
pub const START_STACK_LENGTH: u64 = 64 << 10;
/// Region in which the library may place its own areas (its heap, task blocks, stacks) by fixed `Map`s; the service
/// never places a program's area at or above [`abi::NATIVE_BASE`]. All of these are near each other: each 2 MiB used costs a
/// page table, each GiB another.
pub const LIBRARY_HEAP: u64 = abi::NATIVE_BASE + 0x2000_0000;
/// Lowest address a program's area may have (`vm.mmap_min_addr`).
pub const PROGRAM_LOWEST: u64 = 0x1_0000;

/// Behind the upcall block of each thread lies the address of the head of its list of robust futexes, or 0 (`set_robust_list(2)`): the service
/// reads it when the thread ends, whatever the cause.
pub const ROBUST_LIST: u64 = size_of::<abi::upcall::UpcallBlock>() as u64;

/// The start of the personality library's image, at [`LIBRARY_ADDRESS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct LibraryHeader {
    /// [`LIBRARY_MAGIC`].
    pub magic: u64,
    /// Entry of a new image.
    pub start: u64,
    /// Foreign system calls.
    pub syscall: u64,
    /// Asynchronous upcalls.
    pub interrupt: u64,
    /// Faults.
    pub fault: u64,
    /// Restart window.
    pub window_start: u64,
    /// Restart window's end.
    pub window_end: u64,
}

/// First bytes of a personality library's image.
pub const LIBRARY_MAGIC: u64 = u64::from_le_bytes(*b"BatonLib");

crate::protocol! {
    name: "process", uuid: 0x6261_746f_6e00_4000_8000_0000_0000_0006, version: 1;

    /// A further thread is to be made, by thread `maker`: answer its id and nothing runs yet. `block`: its upcall block and GS base.
    1 ThreadPrepare thread_prepare(block, maker) -> (tid);
    /// Start the prepared thread at `entry` with `stack` and `argument` in `rdi`.
    2 ThreadStart thread_start(tid, entry, stack, argument) -> ();
    /// The calling thread `tid` ends: it is destroyed without an answer; then, if `clear` is not 0, the u32 there becomes 0 and its futex is woken.
    /// The last thread's end is the process's exit with `status`.
    3 ThreadExit thread_exit(tid, clear, status) -> ();
    /// The whole process exits (no answer). `status`: 0–255, as `_exit`'s argument.
    4 Exit exit(status) -> ();
    /// The process dies of a signal (no answer). `core`: 1 if it would leave a core.
    5 ExitSignal exit_signal(signal, core) -> ();
    /// Fork: a copy of the caller's process (copy-on-write), whose one thread starts at `entry` with `stack`, `argument` in `rdi` and `block` as its upcall block. Answer: the child's pid.
    /// The send bytes: handles (u64 each) to copy besides those marked inherit. The child starts with every signal blocked: its library calls `SetMask` with the parent's mask when it is ready.
    6 Fork fork(entry, stack, argument, block) -> (pid);
    /// A further task in this kernel process, with a pid of its own (`CLONE_VM` without `CLONE_THREAD`; vfork). Answer: its pid (also its tid) and, in the first taken slot, its own connection.
    /// `flags`: 1: its exit signal is none (else SIGCHLD).
    7 TaskPrepare task_prepare(block, flags) -> (pid);
    /// Start it, with `argument` in `rdi` (for vfork: then `TaskWait`).
    8 TaskStart task_start(pid, entry, stack, argument) -> ();
    /// Wait until task or child `pid` has replaced its image or ended (vfork).
    9 TaskWait task_wait(pid) -> ();
    /// wait4/waitid (natives wait for what they `Spawn`ed). `selector`: pid > 0 this one, 0 own group, −1 any, < −1 group. `options`: WNOHANG 1, WUNTRACED (WSTOPPED) 2, WEXITED 4, WCONTINUED 8,
    /// WNOWAIT 0x0100_0000 (wait4 passes WEXITED too). Answer: pid (0 with WNOHANG if none), the wait status as `wait4` gives it, and a [`Resources`] in the receive bytes.
    10 Wait wait(selector, options) -> (pid, status);

    /// Begin to replace the caller's image: an empty address space with library, system page and handles.
    16 ExecBegin exec_begin() -> ();
    /// As `Map`, fixed, private, in the new image. `access`: PROT_* bits | [`map_flags`] << 8 (GROWS_DOWN, NO_RESERVE and LIBRARY are used).
    17 ExecMap exec_map(address, length, access, memory_offset) -> ();
    /// Write the send bytes into the new image at `address`: an area there, or the blob at [`BLOB_ADDRESS`].
    18 ExecWrite exec_write(address) -> ();
    /// Handles (u64 each, in the send bytes) that the new image keeps, at the same values.
    19 ExecKeep exec_keep() -> ();
    /// The new image takes the old one's place (no answer but an error): all other threads of the process end, `block` is the upcall block of its one
    /// thread, which starts at the library's `start`. The send bytes: name for tools (up to a zero byte), then the command line (arguments each ended by a zero byte).
    20 ExecCommit exec_commit(block) -> ();
    /// Give the new image up.
    21 ExecAbort exec_abort() -> ();

    /// mmap. `access`: PROT_* bits; `flags`: [`map_flags`] | memory offset (page-aligned, above bit 12). With a passed Memory handle the area shows it. Answer: the address.
    32 Map map(address, length, access, flags) -> (address);
    /// munmap, as much of it as can be done soon. Answer: how many bytes from `address` on were; the caller asks for the rest.
    33 Unmap unmap(address, length) -> (done);
    /// mprotect.
    34 Protect protect(address, length, access) -> ();
    /// mremap. `flags`: MREMAP_MAYMOVE 1, MREMAP_FIXED 2 (then the new address is in the first 8 send bytes). Answer: the address.
    35 Remap remap(address, old_length, new_length, flags) -> (address);
    /// madvise: DONTNEED 4, FREE 8, DONTFORK 10, DOFORK 11, …; unknown advice is EINVAL.
    36 Advise advise(address, length, advice) -> ();
    /// Resident pages of a range (mincore): a byte per page in the receive bytes, as many as have room. ENOMEM: not all is mapped.
    37 Resident resident(address, length) -> ();
    /// Areas of process `pid` from address `from` on: [`Area`] records in the receive bytes. Answer: how many.
    38 Areas areas(pid, from) -> (count);

    /// sigaction: `disposition`: 0 default, 1 ignore, 2 handled; `flags`: SA_* bits. (The library keeps the handler's address.)
    48 SetAction set_action(signal, disposition, flags) -> ();
    /// The mask of thread `tid` becomes `mask`. If a signal is deliverable now, the thread is interrupted. Answer: the pending set of thread and process.
    49 SetMask set_mask(tid, mask) -> (pending);
    /// kill: `pid` as kill(2) has it (sign-extended). `value`: sigval for rt_sigqueueinfo; `code`: si_code (0 SI_USER).
    50 Kill kill(pid, signal, code, value) -> ();
    /// tgkill; `pid` 0: any. `how`: signal | si_code << 32 (0: tgkill's own). `value`: sigval.
    51 ThreadKill thread_kill(pid, tid, how, value) -> ();
    /// The next deliverable signal with a handler for thread `tid`, taken off the pending set: answer its number (0: none), whether more are deliverable (1), and a [`SignalInformation`] in the receive bytes.
    52 TakeSignal take_signal(tid) -> (signal, more);
    /// sigtimedwait: wait until a signal of `set` is pending for thread `tid` or `deadline`; take it. EAGAIN on time-out.
    53 SignalWait signal_wait(tid, set, deadline) -> (signal);
    /// timer_create. `clock`: 0 monotonic, 1 CPU time of process `clock >> 32` (0: the caller's), 2 of its thread `clock >> 32`, 3 the time of day. `notify`: signal | [`notify`] << 8 |
    /// thread << 32. `value`: sigval. Answer: its number ([`FIRST_TIMER`] and more). EAGAIN, EINVAL.
    54 TimerCreate timer_create(clock, notify, value) -> (number);
    /// timer_settime, setitimer (0 real, 1 virtual, 2 prof). `flags`: [`TIMER_ABSOLUTE`] by the timer's clock. Answer: time left and interval of the old one, ns.
    55 TimerSet timer_set(number, value_ns, interval_ns, flags) -> (value_ns, interval_ns);
    /// timer_gettime, getitimer.
    56 TimerGet timer_get(number) -> (value_ns, interval_ns);
    /// timer_getoverrun: of the last signal that was taken.
    57 TimerOverrun timer_overrun(number) -> (count);
    /// timer_delete.
    58 TimerDelete timer_delete(number) -> ();

    /// futex wait: if the u32 at `address` is `expected` (bits 0–31; bits 32–63 bitset), wait for a wake or `deadline`. `flags`: 1: shared between processes. EAGAIN if it differs, ETIMEDOUT, EINTR.
    64 FutexWait futex_wait(address, expected, deadline, flags) -> ();
    /// futex wake of up to `count` waiters whose bitset meets `bitset`. Answer: how many.
    65 FutexWake futex_wake(address, count, bitset, flags) -> (woken);
    /// futex requeue: wake `count & 0xffff_ffff`, move up to `count >> 32` to `target`. Answer: woken + moved. `expected`: as CMP_REQUEUE's, `u64::MAX`: no comparison.
    66 FutexRequeue futex_requeue(address, count, target, expected) -> (woken);
    /// FUTEX_LOCK_PI by thread `tid`: the word becomes its id, now or when its owner hands it on. `flags`: 1: shared between processes; 2: do not wait (EAGAIN). EDEADLK, ESRCH, ETIMEDOUT, EINTR.
    67 FutexLock futex_lock(address, tid, deadline, flags) -> ();
    /// FUTEX_UNLOCK_PI: hand it on to the strongest who waits. EPERM: it is another's.
    68 FutexUnlock futex_unlock(address, tid, flags) -> ();

    /// Identity of `pid` (0: the caller): ppid, pgid, sid, and the session's terminal (0: none).
    80 Identity identity(pid) -> (parent, group, session, terminal);
    /// setpgid.
    81 SetGroup set_group(pid, group) -> ();
    /// setsid. Answer: the session.
    82 SetSession set_session() -> (session);
    /// Real, effective and saved ids, for /proc and for new files: bookkeeping only. uid | euid << 32, gid | egid << 32.
    83 SetUser set_user(user, group) -> ();
    /// The caller's limits: `resource`; new soft and hard (u64::MAX − 1: leave). Answer: soft, hard before.
    84 Limit limit(pid, resource, soft, hard) -> (soft, hard);
    /// prctl(PR_SET_NAME): name in the send bytes, of thread `tid`.
    85 SetName set_name(tid) -> ();
    /// PR_SET_PDEATHSIG.
    86 SetDeathSignal set_death_signal(signal) -> ();
    /// PR_SET_CHILD_SUBREAPER: `wish`: 0 no, 1 yes, 2 only ask. Answer: as it is now.
    105 Subreaper subreaper(wish) -> (set);
    /// sched_setscheduler of thread `tid` (`policy` `u64::MAX`: only ask). `policy`: SCHED_* | 256 if children start with the ordinary one. Answer: as it is now.
    96 Schedule schedule(tid, policy, priority) -> (policy, priority);
    /// setpriority/getpriority: `which` 0 process, 1 group, 2 user; `nice` biased by 20 (0–39), u64::MAX: only ask. Answer: nice + 20.
    87 Nice nice(which, who, nice) -> (nice);
    /// times, getrusage, CPU clocks: `who` 0 process `number` (0: the caller), 1 the caller's children, 2 the caller's thread `number`. A [`Resources`] in the receive bytes.
    88 Usage usage(who, number) -> ();
    /// The process with the smallest pid above `after`: a [`ProcessRecord`] in the receive bytes. ESRCH at the end.
    89 Next next(after) -> (pid);
    /// The record of `pid`.
    90 Record record(pid) -> ();
    /// The command line of `pid` in the receive bytes (arguments each ended by a zero byte). Answer: bytes.
    91 CommandLine command_line(pid) -> (length);
    /// Figures of the whole system: a [`SystemRecord`] in the receive bytes.
    92 System system() -> ();
    /// The thread of `pid` with the smallest tid above `after`: a [`ThreadRecord`] in the receive bytes. ESRCH at the end.
    93 NextThread next_thread(pid, after) -> (tid);
    /// More kernel objects for the caller's process: how many connections, pulses (with a gate each) and pages (of 64 handles, or page tables) besides what it has. ENOMEM.
    95 Enlarge enlarge(connections, pulses, pages) -> ();
    /// A connection that polls readable when `pid` has ended (pidfd_open), speaking [`crate::file`] (`Poll`, `StatOpen`), in the first taken slot.
    /// The caller pays for it: EPERM without [`CHARGE_ME`](abi::call::flags::CHARGE_ME), ENOMEM if its quota is used up.
    94 ProcessFile process_file(pid) -> ();

    /// timerfd_create: a timer that is read, speaking [`crate::file`] (`Read`, `Poll`, `Control` of [`open_file`]), in the first taken slot. `real`: 1: its absolute
    /// moments are of the time of day. `flags`: O_NONBLOCK.
    97 OpenTimer open_timer(real, flags) -> ();
    /// signalfd: the caller's pending signals of a set, likewise.
    98 OpenSignals open_signals(set, flags) -> ();

    /// Native: RAM of `length` bytes (whole pages, zeroed): a Memory in the first taken slot. `flags`: [`allocate_flags`]; it is contiguous. Answer: an allocation number.
    0x70 Allocate allocate(length, flags) -> (number);
    /// Native: give an allocation back. (All of a native's are given back when its connection closes.)
    0x71 Release release(number) -> ();

    /// The system page, read-only, as a Memory in the first taken slot.
    0x72 SystemPage system_page() -> ();

    /// Privileged (init): a native program exists; passed: its Process (may be destroyed by SIGKILL). Name in the send bytes. Answer: its pid and, in the first taken slot, a native connection for it. `flags`: [`native_flags`].
    0x80 AddNative add_native(flags) -> (pid);
    /// Privileged (init): the native program is gone.
    0x81 RemoveNative remove_native(pid) -> ();
    /// Privileged (launch): a first POSIX process (its parent is the caller's pid, session and group of its own), to be filled by `Exec…` on its connection, which comes in the first
    /// taken slot. Passed: its name space.
    0x82 Spawn spawn(flags) -> (pid);
    /// Privileged (console): send `signal` to process group `group`.
    0x83 SignalGroup signal_group(group, signal) -> ();
    /// Privileged (console): session `session` has the terminal with this number (0: none any more). Its leader's end is answered by SIGHUP to `foreground` (asked by `Foreground`).
    0x84 SetTerminal set_terminal(session, terminal) -> ();
    /// Privileged (clock): nanoseconds since 1970 minus monotonic nanoseconds.
    0x85 SetRealtime set_realtime(offset_ns) -> ();
    /// Privileged (console): raise the passed pulse (OR 1) whenever a session leader ends.
    0x86 WatchSessions watch_sessions() -> ();
    /// Privileged (console): whether process group `group` has a member that could be answered to (not orphaned) and a sid. For background reads and writes.
    0x87 Group group(group) -> (session, orphaned);
    /// Privileged (console, for a caller by its pid): whether `signal` is ignored or blocked by every thread of process `pid` (1).
    0x88 SignalIgnored signal_ignored(pid, signal) -> (ignored);
}

/// Number of a process's first POSIX timer; below are setitimer's.
pub const FIRST_TIMER: u32 = 4;
/// `TimerSet`: not from now on, but a moment.
pub const TIMER_ABSOLUTE: u64 = 1;

/// `Control` commands of open timers and signal sets.
pub mod open_file {
    /// timerfd_settime: `argument`: [`TIMER_ABSOLUTE`](super::TIMER_ABSOLUTE). Send: value and interval, ns (u64 each); answered: what was left, and the interval.
    pub const SET_TIMER: u64 = 0x4254_0001;
    /// timerfd_gettime: as `SET_TIMER` answers.
    pub const GET_TIMER: u64 = 0x4254_0002;
    /// signalfd: `argument` is the new set.
    pub const SET_SIGNALS: u64 = 0x4254_0003;
}

/// What a POSIX timer does when it expires.
pub mod notify {
    /// Send the process its signal (SIGEV_SIGNAL).
    pub const SIGNAL: u64 = 0;
    /// Nothing (SIGEV_NONE).
    pub const NONE: u64 = 1;
    /// As `SIGNAL`, with the timer's own number (counted from 0) as the value.
    pub const NUMBER: u64 = 2;
    /// Send one thread its signal (SIGEV_THREAD_ID).
    pub const THREAD: u64 = 4;
}

/// `Allocate` flags.
pub mod allocate_flags {
    /// It must be contiguous (it always is today).
    pub const CONTIGUOUS: u64 = 1;
    /// It is for data that somebody stores: ENOMEM while some is still left for programs.
    pub const FOR_DATA: u64 = 2;
}

/// `AddNative` flags: what more than a plain native program its connection permits.
pub mod native_flags {
    /// All privileged messages of init.
    pub const INIT: u64 = 1;
    /// `Spawn`.
    pub const SPAWN: u64 = 2;
    /// The console's messages.
    pub const CONSOLE: u64 = 4;
    /// `SetRealtime`.
    pub const CLOCK: u64 = 8;
    /// Read every process's records (all natives may).
    pub const TOOLS: u64 = 16;
}

/// `Map` flags.
pub mod map_flags {
    /// Changes are shared with all who map the same Memory, and with children (MAP_SHARED).
    pub const SHARED: u64 = 1;
    /// Exactly there, replacing what was (MAP_FIXED).
    pub const FIXED: u64 = 2;
    /// Exactly there, or EEXIST (MAP_FIXED_NOREPLACE).
    pub const NO_REPLACE: u64 = 4;
    /// Do not account it as committed (MAP_NORESERVE, and MAP_STACK: stacks are touched little).
    pub const NO_RESERVE: u64 = 8;
    /// Grows downwards on demand (MAP_GROWSDOWN, the first stack), with a guard of 1 MiB below.
    pub const GROWS_DOWN: u64 = 16;
    /// Fill at once (MAP_POPULATE).
    pub const POPULATE: u64 = 32;
    /// The library's own area: not counted as the program's, not listed.
    pub const LIBRARY: u64 = 64;
}

/// A memory area, for /proc/…/maps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Area {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// PROT_* bits | `map_flags` << 8.
    pub access: u64,
    /// Offset in its Memory.
    pub offset: u64,
}

/// What a signal handler is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SignalInformation {
    /// Signal number.
    pub signal: u32,
    /// si_code.
    pub code: i32,
    /// si_errno.
    pub errno: u32,
    /// Sender's pid, or the child's.
    pub pid: u32,
    /// Sender's uid.
    pub user: u32,
    /// SIGCHLD: exit status or signal.
    pub status: u32,
    /// si_value, or the fault's address.
    pub value: u64,
    /// The thread's mask at the time it was taken.
    pub mask: u64,
}

const _: () = assert!(size_of::<SignalInformation>() == 40);

/// What was used, for wait4, times, getrusage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Resources {
    /// CPU time in the program, ns.
    pub user_ns: u64,
    /// CPU time on its behalf, ns (0 while batons bill all to the program).
    pub system_ns: u64,
    /// CPU time of waited-for children, ns.
    pub children_ns: u64,
    /// Most resident bytes.
    pub resident_maximum: u64,
    /// Page faults served without input.
    pub minor_faults: u64,
    /// Page faults that needed input.
    pub major_faults: u64,
}

/// A process, for tools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ProcessRecord {
    /// Its pid, parent, group, session.
    pub pid: u32,
    /// Parent's pid.
    pub parent: u32,
    /// Process group.
    pub group: u32,
    /// Session.
    pub session: u32,
    /// Number of the session's terminal, 0: none.
    pub terminal: u32,
    /// Linux's state letter: R, S, D, T, Z.
    pub state: u32,
    /// Threads.
    pub threads: u32,
    /// nice + 20.
    pub nice: u32,
    /// Real and effective user.
    pub user: u64,
    /// Real and effective group id.
    pub group_id: u64,
    /// Name, zero-padded.
    pub name: [u8; 16],
    /// Start, monotonic ns.
    pub start_ns: u64,
    /// CPU time, ns.
    pub cpu_ns: u64,
    /// Virtual bytes.
    pub virtual_bytes: u64,
    /// Resident bytes.
    pub resident_bytes: u64,
    /// 1: a native program.
    pub native: u64,
    /// Pending, blocked, ignored, caught signals.
    pub signals: [u64; 4],
}

const _: () = assert!(size_of::<ProcessRecord>() == 32 + 16 + 16 + 40 + 32);

/// A thread, for tools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ThreadRecord {
    /// Its id.
    pub tid: u32,
    /// [`abi::thread::State`] number | STOPPED << 8 | priority << 16.
    pub state: u32,
    /// Pid of the process it waits for, 0: none.
    pub waits_for: u64,
    /// CPU time, ns.
    pub cpu_ns: u64,
    /// Name, zero-padded.
    pub name: [u8; 16],
}

const _: () = assert!(size_of::<ThreadRecord>() == 40);

/// The whole system, for tools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SystemRecord {
    /// RAM bytes in all, and not used by anything.
    pub ram_total: u64,
    /// RAM bytes free.
    pub ram_free: u64,
    /// Bytes of the kernel's arena in use.
    pub arena_used: u64,
    /// Bytes of the kernel's arena.
    pub arena_total: u64,
    /// Bytes committed to programs.
    pub committed: u64,
    /// Processes, natives included.
    pub processes: u64,
    /// Processes made since boot.
    pub forks: u64,
    /// Monotonic ns.
    pub uptime_ns: u64,
    /// ns the CPU was idle.
    pub idle_ns: u64,
    /// Load averages over 1, 5, 15 minutes, in 1/65536.
    pub load: [u64; 3],
    /// Runnable threads, and threads.
    pub runnable: u64,
    /// Threads in all.
    pub threads: u64,
}
