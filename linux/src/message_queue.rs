//! POSIX message queues: files of the pipe service, by path.

use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::call::flags::{DEADLINE_REPLY, DEADLINE_SEND, INTERRUPTIBLE};
use protocol::file::{self, AT_POSITION};
use protocol::pipe::{MOUNT, PRIORITY_MOST, QUEUE, QUEUE_FIGURES, QUEUE_FORGET, QUEUE_NOTIFY};
use protocol::{Errno, process::notify};
use runtime::{Buffers, Options, clock};

use crate::descriptor::{self, OpenFile};
use crate::files;
use crate::message::{PROMPT, ask};
use crate::numbers::{Outcome, RESTART, int, open, signals};
use crate::path::{self, Follow};
use crate::paths;
use crate::signal;
use crate::task::Task;
use crate::time;
use crate::user_memory;

/// Longest name.
const NAME_MAXIMUM: usize = 255;
/// Flag of reads and writes: do not wait.
const AT_ONCE: u64 = 1;

fn prefix() -> Vec<u8> {
    let mut path = MOUNT.as_bytes().to_vec();
    path.push(b'/');
    path.extend_from_slice(QUEUE);
    path
}

fn name(address: u64) -> Result<Vec<u8>, Errno> {
    let name = user_memory::read_string(address, NAME_MAXIMUM, Errno::ENAMETOOLONG)?;
    match name.as_slice() {
        b"" => Err(Errno::ENOENT),
        b"." | b".." => Err(Errno::EACCES),
        plain if plain.contains(&b'/') => Err(Errno::EACCES),
        _ => Ok(name),
    }
}

/// `mq_open`.
pub(crate) fn mq_open(task: &mut Task, [address, flags, mode, attributes, ..]: [u64; 6]) -> Outcome {
    let flags = flags & 0xffff_ffff;
    let name = name(address)?;
    let mut figures = [0; 2];
    if flags & open::CREATE != 0
        && let Some([_, most, length, _]) = user_memory::read_optional::<[u64; 4]>(attributes)?
    {
        if most == 0 || length == 0 || most > i64::MAX as u64 || length > i64::MAX as u64 {
            return Err(Errno::EINVAL);
        }
        figures = [most, length];
    }
    let mut path = prefix();
    for figure in figures {
        paths::digits(&mut path, figure);
        path.push(b'/');
    }
    path.extend_from_slice(&name);
    let kept = open::ACCESS | open::CREATE | open::EXCLUSIVE | open::NONBLOCK;
    let opened = files::open_freely(task, path, flags & kept, mode)?;
    descriptor::install(task, opened, true)
}

/// `mq_unlink`.
pub(crate) fn mq_unlink(task: &mut Task, [address, ..]: [u64; 6]) -> Outcome {
    let mut path = prefix();
    path.extend_from_slice(&name(address)?);
    path::change(task, path, Follow::No, |mount, buffers| file::unlink(mount, 0, buffers, PROMPT).map(drop))
}

fn queue(task: &Task, number: u64) -> Result<Arc<OpenFile>, Errno> {
    let opened = descriptor::get_any(task, number)?;
    if opened.path.starts_with(&prefix()) { Ok(opened) } else { Err(Errno::EBADF) }
}

/// Wait for room or a message until a moment of the time of day.
fn waiting(task: &mut Task, until: u64, mut send: impl FnMut(u64, Options) -> Outcome) -> Outcome {
    let deadline = time::deadline_at(until, true)?;
    let mut options = Options::flags(INTERRUPTIBLE);
    if until != 0 {
        options = Options { flags: INTERRUPTIBLE | DEADLINE_SEND | DEADLINE_REPLY, deadline };
        if deadline <= clock::monotonic_ns() {
            return send(AT_ONCE, PROMPT).map_err(|error| if error == Errno::EAGAIN { Errno::ETIMEDOUT } else { error });
        }
    }
    loop {
        // The server's answer to one who leaves, whatever for, is the same: what can be done at once is done.
        let leaving = match send(0, options) {
            Err(RESTART) if deadline <= clock::monotonic_ns() => Errno::ETIMEDOUT,
            Err(RESTART) if signal::interrupted(task) => RESTART,
            Err(RESTART) => continue,
            result => return result,
        };
        return send(AT_ONCE, PROMPT).map_err(|error| if error == Errno::EAGAIN { leaving } else { error });
    }
}

/// `mq_timedsend`.
pub(crate) fn mq_timedsend(
    task: &mut Task,
    [number, address, length, priority, until, _]: [u64; 6],
) -> Outcome {
    let priority = priority & 0xffff_ffff;
    if priority >= PRIORITY_MOST {
        return Err(Errno::EINVAL);
    }
    let opened = queue(task, number)?;
    if opened.opened() & open::ACCESS == 0 {
        return Err(Errno::EBADF);
    }
    let [address, length] = files::segment(address, length)?;
    let place = (&raw const priority) as u64;
    let sent = waiting(task, until, |flags, options| {
        let mut buffers = Buffers::new();
        buffers.add_send(place, size_of::<u64>() as u64);
        buffers.add_send(address, length);
        ask(&mut buffers, |buffers| file::write(opened.handle(), AT_POSITION, flags, buffers, options)).map(|answer| answer.count)
    });
    opened.touch(true);
    sent.map(|_| 0)
}

/// `mq_timedreceive`.
pub(crate) fn mq_timedreceive(
    task: &mut Task,
    [number, address, length, priority, until, _]: [u64; 6],
) -> Outcome {
    let opened = queue(task, number)?;
    if opened.opened() & open::ACCESS == open::WRITE_ONLY {
        return Err(Errno::EBADF);
    }
    let [address, length] = files::segment(address, length)?;
    let mut found = 0_u64;
    let place = (&raw mut found) as u64;
    let received = waiting(task, until, |flags, options| {
        let mut buffers = Buffers::new();
        buffers.add_receive(place, size_of::<u64>() as u64);
        buffers.add_receive(address, length);
        ask(&mut buffers, |buffers| file::read(opened.handle(), AT_POSITION, flags, buffers, options)).map(|answer| answer.count)
    });
    opened.touch(false);
    let count = received?;
    user_memory::write_optional(priority, &(found as u32))?;
    Ok(count.saturating_sub(size_of::<u64>() as u64))
}

/// `mq_notify`.
pub(crate) fn mq_notify(task: &mut Task, [number, event, ..]: [u64; 6]) -> Outcome {
    const SIGNAL: u64 = 0;
    let wish = user_memory::read_optional::<[u64; 2]>(event)?;
    let opened = queue(task, number)?;
    let (command, signal, value) = match wish {
        None => (QUEUE_FORGET, 0, 0),
        Some([value, code]) => match code >> 32 {
            SIGNAL if (1..=u64::from(signals::LAST)).contains(&(code & 0xffff_ffff)) => (QUEUE_NOTIFY, code & 0xff, value),
            notify::NONE => (QUEUE_NOTIFY, 0, value),
            _ => return Err(Errno::EINVAL),
        },
    };
    ask(&mut Buffers::new().send(&value.to_le_bytes()), |buffers| {
        file::control(opened.handle(), command, signal, buffers, PROMPT)
    })
    .map(|_| 0)
}

/// `mq_getsetattr`.
pub(crate) fn mq_getsetattr(task: &mut Task, [number, new, old, ..]: [u64; 6]) -> Outcome {
    let wish = user_memory::read_optional::<[u64; 8]>(new)?;
    let opened = queue(task, number)?;
    if wish.is_some_and(|[flags, ..]| int(flags) as u64 & !open::NONBLOCK != 0) {
        return Err(Errno::EINVAL);
    }
    let mut figures = [0_u64; 3];
    ask(&mut Buffers::new().receive(user_memory::bytes_of_mut(&mut figures)), |buffers| {
        file::control(opened.handle(), QUEUE_FIGURES, 0, buffers, PROMPT)
    })?;
    let flags = ask(&mut Buffers::new(), |buffers| file::flags(opened.handle(), buffers, PROMPT))?.flags;
    if let Some([flags, ..]) = wish {
        descriptor::set_flags(&opened, flags)?;
    }
    let [most, length, count] = figures;
    user_memory::write_optional(old, &[flags & open::NONBLOCK, most, length, count, 0, 0, 0, 0])?;
    Ok(0)
}
