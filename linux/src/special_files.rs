//! Timers and signals as files (`timerfd`, `signalfd`) and pidfds: the process service's.

use protocol::process::{self as service, TIMER_ABSOLUTE, open_file};
use protocol::{Errno, Failure, file};
use runtime::{Buffers, OwnedHandle};

use crate::descriptor::{self, OpenFile};
use crate::files;
use crate::message::{PROMPT, ask, errno, insist};
use crate::numbers::{Outcome, int, open, signals};
use crate::slot::Slot;
use crate::task::Task;
use crate::time::{Clock, clock, nanoseconds, timespec};
use crate::user_memory;

/// How the library remembers what a descriptor stands for: in the place of a path.
const TIMER: &[u8] = b"anon_inode:[timerfd]";
const SIGNALS: &[u8] = b"anon_inode:[signalfd]";
const PROCESS: &[u8] = b"pidfd:";

/// Have the service open something, charged to this process.
fn opened(
    task: &Task,
    mut send: impl for<'a> FnMut(&mut Buffers<'a>) -> Result<(), Failure>,
) -> Result<OwnedHandle, Errno> {
    let slot = Slot::new(task.connection())?;
    files::charged(task, || insist(&mut Buffers::new().take(slot.handle()), |buffers| send(buffers))).map_err(errno)?;
    Ok(slot.filled())
}

/// `timerfd_create`.
pub(crate) fn timerfd_create(task: &mut Task, [id, flags, ..]: [u64; 6]) -> Outcome {
    let flags = flags & 0xffff_ffff;
    let real = match int(id) {
        0 | 1 | 7 | 8 | 9 => u64::from(clock(id)? == Clock::Real),
        _ => return Err(Errno::EINVAL),
    };
    if flags & !(open::CLOSE_ON_EXEC | open::NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    let handle = opened(task, |buffers| service::open_timer(task.connection(), real, flags, buffers, files::CHARGED).map(drop))?;
    let opened = OpenFile::new(handle, TIMER.to_vec(), 0o600, file::features::WAITS, 2 | flags & open::NONBLOCK);
    descriptor::install(task, opened, flags & open::CLOSE_ON_EXEC != 0)
}

fn special(task: &Task, number: u64, name: &[u8]) -> Result<alloc::sync::Arc<OpenFile>, Errno> {
    let opened = descriptor::get(task, number)?;
    if opened.path == name { Ok(opened) } else { Err(Errno::EINVAL) }
}

fn record([value, interval]: [u64; 2]) -> [u64; 4] {
    let ([a, b], [c, d]) = (timespec(interval), timespec(value));
    [a, b, c, d]
}

/// `timerfd_settime`.
pub(crate) fn timerfd_settime(task: &mut Task, [number, flags, new, old, ..]: [u64; 6]) -> Outcome {
    const CANCEL_ON_SET: u64 = 2;
    if flags & !(TIMER_ABSOLUTE | CANCEL_ON_SET) != 0 {
        return Err(Errno::EINVAL);
    }
    let wish: [u64; 4] = user_memory::read(new)?;
    let (interval, value) = (nanoseconds([wish[0], wish[1]])?, nanoseconds([wish[2], wish[3]])?);
    let opened = special(task, number, TIMER)?;
    let wish = [value, interval];
    let mut before = [0_u64; 2];
    let mut buffers = Buffers::new().send(user_memory::bytes_of(&wish)).receive(user_memory::bytes_of_mut(&mut before));
    ask(&mut buffers, |buffers| {
        file::control(opened.handle(), open_file::SET_TIMER, flags & TIMER_ABSOLUTE, buffers, PROMPT)
    })?;
    opened.touch(true);
    user_memory::write_optional(old, &record(before))?;
    Ok(0)
}

/// `timerfd_gettime`.
pub(crate) fn timerfd_gettime(task: &mut Task, [number, address, ..]: [u64; 6]) -> Outcome {
    let opened = special(task, number, TIMER)?;
    let mut now = [0_u64; 2];
    ask(&mut Buffers::new().receive(user_memory::bytes_of_mut(&mut now)), |buffers| {
        file::control(opened.handle(), open_file::GET_TIMER, 0, buffers, PROMPT)
    })?;
    user_memory::write(address, &record(now)).map(|()| 0)
}

/// `signalfd`.
pub(crate) fn signalfd(task: &mut Task, [number, set, length, ..]: [u64; 6]) -> Outcome {
    signalfd4(task, [number, set, length, 0, 0, 0])
}

/// `signalfd4`.
pub(crate) fn signalfd4(task: &mut Task, [number, set, length, flags, ..]: [u64; 6]) -> Outcome {
    const SET_LENGTH: u64 = 8;
    let flags = flags & 0xffff_ffff;
    if length != SET_LENGTH || flags & !(open::CLOSE_ON_EXEC | open::NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    let set = user_memory::read::<u64>(set)? & !signals::UNBLOCKABLE;
    if int(number) != -1 {
        let opened = special(task, number, SIGNALS)?;
        ask(&mut Buffers::new(), |buffers| {
            file::control(opened.handle(), open_file::SET_SIGNALS, set, buffers, PROMPT)
        })?;
        return Ok(number & 0xffff_ffff);
    }
    let handle = opened(task, |buffers| service::open_signals(task.connection(), set, flags, buffers, files::CHARGED).map(drop))?;
    let opened = OpenFile::new(handle, SIGNALS.to_vec(), 0o600, file::features::WAITS, 2 | flags & open::NONBLOCK);
    descriptor::install(task, opened, flags & open::CLOSE_ON_EXEC != 0)
}

/// `pidfd_open`.
pub(crate) fn pidfd_open(task: &mut Task, [pid, flags, ..]: [u64; 6]) -> Outcome {
    if flags & !open::NONBLOCK != 0 || int(pid) <= 0 {
        return Err(Errno::EINVAL);
    }
    let pid = pid & 0xffff_ffff;
    let handle = opened(task, |buffers| service::process_file(task.connection(), pid, buffers, files::CHARGED).map(drop))?;
    let mut name = PROCESS.to_vec();
    crate::paths::digits(&mut name, pid);
    descriptor::install(task, OpenFile::new(handle, name, 0o600, 0, flags), true)
}

/// The pid of a `pidfd_open` descriptor.
pub(crate) fn pid_of_descriptor(task: &Task, number: u64) -> Result<i32, Errno> {
    let opened = descriptor::get(task, number)?;
    let digits = opened.path.strip_prefix(PROCESS).ok_or(Errno::EBADF)?;
    core::str::from_utf8(digits).ok().and_then(|text| text.parse().ok()).ok_or(Errno::EBADF)
}

/// `pidfd_send_signal`.
pub(crate) fn pidfd_send_signal(task: &mut Task, [number, signal, information, flags, ..]: [u64; 6]) -> Outcome {
    let pid = pid_of_descriptor(task, number)?;
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    match information {
        0 => crate::signal::kill(task, [pid as u64, signal, 0, 0, 0, 0]),
        address => crate::signal::rt_sigqueueinfo(task, [pid as u64, signal, address, 0, 0, 0]),
    }
}
