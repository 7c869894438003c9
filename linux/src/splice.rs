//! `splice`, `tee` and `vmsplice`: bytes between a pipe and something else. They go through a buffer of the library's; what cannot be
//! written stays in its pipe, since it is looked at first and taken out when it was written.

use protocol::file::{self, AT_POSITION, read_flags};
use protocol::{Errno, pipe};
use runtime::Buffers;

use crate::descriptor::OpenFile;
use crate::files::{self, readable, vector, writable, write_segments};
use crate::message::{PROMPT, ask};
use crate::numbers::{Outcome, mode, open};
use crate::poll;
use crate::task::Task;
use crate::user_memory;

const NONBLOCK: u64 = 2;
/// SPLICE_F_MOVE, NONBLOCK, MORE, GIFT.
const FLAGS: u64 = 15;
/// Most bytes moved by one call.
const MOST: u64 = pipe::CAPACITY as u64;

const fn is_pipe(opened: &OpenFile) -> bool {
    opened.mode & mode::TYPE == mode::FIFO
}

fn control(opened: &OpenFile, command: u64, back: &mut [u8]) -> Outcome {
    ask(&mut Buffers::new().receive(back), |buffers| file::control(opened.writer(), command, 0, buffers, PROMPT))
        .map(|answer| answer.result)
}

/// How much a pipe takes at once. If that is nothing, wait for more, or say EAGAIN.
fn room(task: &mut Task, target: &OpenFile, waits: bool) -> Outcome {
    const FIONREAD: u64 = 0x541b;
    loop {
        let mut held = [0; 4];
        control(target, FIONREAD, &mut held)?;
        let room = control(target, pipe::GET_SIZE, &mut [])?.saturating_sub(u64::from(u32::from_le_bytes(held)));
        if room > 0 {
            return Ok(room);
        }
        ready(task, target, poll::OUT, waits)?;
    }
}

fn ready(task: &mut Task, opened: &OpenFile, events: u16, waits: bool) -> Result<(), Errno> {
    if waits { poll::until_ready(task, opened, events) } else { Err(Errno::EAGAIN) }
}

/// Look at what is in a pipe, or take it out.
fn take(source: &OpenFile, room: &mut [u8], flags: u64) -> Outcome {
    let mut buffers = Buffers::new().receive(room);
    ask(&mut buffers, |buffers| file::read(source.handle(), AT_POSITION, read_flags::AT_ONCE | flags, buffers, PROMPT))
        .map(|answer| answer.count)
}

/// Bytes of a pipe, which stay there; 0 at its end.
fn look(task: &mut Task, source: &OpenFile, room: &mut [u8], waits: bool) -> Outcome {
    loop {
        match take(source, room, read_flags::STAY) {
            Err(Errno::EAGAIN) => ready(task, source, poll::IN, waits)?,
            result => return result,
        }
    }
}

/// Copy from a pipe; with `consume`, what was written is taken out.
fn from_pipe(task: &mut Task, source: &OpenFile, target: &OpenFile, at: u64, count: u64, consume: bool, waits: bool) -> Outcome {
    let count = if is_pipe(target) { count.min(room(task, target, waits)?) } else { count };
    let mut bytes = user_memory::buffer(count as usize)?;
    let got = look(task, source, &mut bytes, waits)?;
    if got == 0 {
        return Ok(0);
    }
    let put = write_segments(task, target, &[[bytes.as_ptr() as u64, got]], at)?;
    if consume {
        take(source, &mut bytes[..put as usize], 0)?;
    }
    Ok(put)
}

/// `splice`.
pub(crate) fn splice(task: &mut Task, [from, at_from, to, at_to, count, flags]: [u64; 6]) -> Outcome {
    let (source, target) = (readable(task, from)?, writable(task, to)?);
    if flags & !FLAGS != 0 || !is_pipe(&source) && !is_pipe(&target) || target.opened() & open::APPEND != 0 {
        return Err(Errno::EINVAL);
    }
    if is_pipe(&source) && at_from != 0 || is_pipe(&target) && at_to != 0 {
        return Err(Errno::ESPIPE);
    }
    let waits = flags & NONBLOCK == 0;
    let count = count.min(MOST);
    if count == 0 {
        return Ok(0);
    }
    if !is_pipe(&source) {
        let mut at = user_memory::read_optional::<u64>(at_from)?;
        let count = count.min(room(task, &target, waits)?);
        let moved = files::pump(task, &source, at.as_mut(), &target, None, count)?;
        if let Some(at) = at {
            user_memory::write(at_from, &at)?;
        }
        return Ok(moved);
    }
    let at = user_memory::read_optional::<u64>(at_to)?;
    let moved = from_pipe(task, &source, &target, at.unwrap_or(AT_POSITION), count, true, waits)?;
    if let Some(at) = at {
        user_memory::write(at_to, &(at + moved))?;
    }
    Ok(moved)
}

/// `tee`.
pub(crate) fn tee(task: &mut Task, [from, to, count, flags, ..]: [u64; 6]) -> Outcome {
    let (source, target) = (readable(task, from)?, writable(task, to)?);
    if flags & !FLAGS != 0 || !is_pipe(&source) || !is_pipe(&target) {
        return Err(Errno::EINVAL);
    }
    let count = count.min(MOST);
    if count == 0 { Ok(0) } else { from_pipe(task, &source, &target, AT_POSITION, count, false, flags & NONBLOCK == 0) }
}

/// `vmsplice`: into a pipe or out of it, as it was opened.
pub(crate) fn vmsplice(task: &mut Task, [number, address, count, flags, ..]: [u64; 6]) -> Outcome {
    let opened = crate::descriptor::get(task, number)?;
    if flags & !FLAGS != 0 {
        return Err(Errno::EINVAL);
    }
    if !is_pipe(&opened) {
        return Err(Errno::EBADF);
    }
    if opened.opened() & open::ACCESS == 0 {
        return files::readv(task, [number, address, count, 0, 0, 0]);
    }
    if vector(address, count)?.is_empty() {
        return Ok(0);
    }
    room(task, &opened, flags & NONBLOCK == 0)?;
    files::writev(task, [number, address, count, 0, 0, 0])
}
