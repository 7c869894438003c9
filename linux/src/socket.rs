//! Sockets: pairs of them (`socketpair`), made of two pipes. Other sockets there are none yet.

use core::sync::atomic::Ordering;

use abi::envelope::SEGMENTS;
use protocol::Errno;
use protocol::file::AT_POSITION;

use crate::descriptor::{self, OpenFile};
use crate::files;
use crate::numbers::{Outcome, open, signals};
use crate::pipe;
use crate::signal;
use crate::task::Task;
use crate::user_memory::{self, Plain};

const UNIX: u64 = 1;
const STREAM: u64 = 1;
const DATAGRAM: u64 = 2;
const SEQUENCED: u64 = 5;
const MSG_PEEK: u64 = 2;
const MSG_NOSIGNAL: u64 = 0x4000;

/// `socketpair`. Messages of a pair are not kept apart: only streams promise nothing else.
pub(crate) fn socketpair(task: &mut Task, [family, kind, protocol, address, ..]: [u64; 6]) -> Outcome {
    const CLOSE_ON_EXEC: u64 = 0o200_0000;
    const NONBLOCK: u64 = 0o4000;
    if family != UNIX {
        return Err(Errno::EAFNOSUPPORT);
    }
    if !matches!(kind & !(CLOSE_ON_EXEC | NONBLOCK), STREAM | DATAGRAM | SEQUENCED) || protocol > UNIX {
        return Err(Errno::EPROTONOSUPPORT);
    }
    user_memory::check(address, 8)?;
    user_memory::touch_write(address, 8)?;
    let status = kind & NONBLOCK;
    let (one, to_one, _) = pipe::make(task, status)?;
    let (two, to_two, _) = pipe::make(task, status)?;
    let first = OpenFile::socket(one, to_two, status | 2);
    let second = OpenFile::socket(two, to_one, status | 2);
    pipe::install_two(task, first, second, kind & CLOSE_ON_EXEC != 0, address)
}

fn get(task: &Task, number: u64) -> Result<alloc::sync::Arc<OpenFile>, Errno> {
    let opened = descriptor::get(task, number)?;
    if opened.is_socket() { Ok(opened) } else { Err(Errno::ENOTSOCK) }
}

fn send(task: &mut Task, opened: &OpenFile, segments: &[[u64; 2]], flags: u64) -> Outcome {
    let sent = files::write_quietly(task, opened, segments, AT_POSITION);
    if sent == Err(Errno::EPIPE) && flags & MSG_NOSIGNAL == 0 {
        signal::send_to_self(task, signals::PIPE);
    }
    sent
}

fn receive(task: &mut Task, opened: &OpenFile, segments: &[[u64; 2]], flags: u64) -> Outcome {
    if flags & MSG_PEEK != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    files::read_segments(task, opened, segments, AT_POSITION)
}

/// `sendto`.
pub(crate) fn sendto(task: &mut Task, [number, address, length, flags, ..]: [u64; 6]) -> Outcome {
    let opened = get(task, number)?;
    send(task, &opened, &[files::segment(address, length)?], flags)
}

/// `recvfrom`.
pub(crate) fn recvfrom(task: &mut Task, [number, address, length, flags, from, from_length]: [u64; 6]) -> Outcome {
    let opened = get(task, number)?;
    let count = receive(task, &opened, &[files::segment(address, length)?], flags)?;
    if from != 0 {
        user_memory::write(from_length, &0_u32)?;
    }
    Ok(count)
}

/// Linux's `struct msghdr`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Header {
    name: u64,
    name_length: u64,
    vector: u64,
    count: u64,
    control: u64,
    control_length: u64,
    flags: u64,
}

// SAFETY: `repr(C)`, `u64`s only.
unsafe impl Plain for Header {}

/// `sendmsg`: what is sent must go in one piece; descriptors cannot be passed.
pub(crate) fn sendmsg(task: &mut Task, [number, address, flags, ..]: [u64; 6]) -> Outcome {
    let opened = get(task, number)?;
    let header: Header = user_memory::read(address)?;
    if header.control_length != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    let segments = files::vector(header.vector, header.count)?;
    send(task, &opened, &segments[..segments.len().min(SEGMENTS)], flags)
}

/// `recvmsg`.
pub(crate) fn recvmsg(task: &mut Task, [number, address, flags, ..]: [u64; 6]) -> Outcome {
    let opened = get(task, number)?;
    let mut header: Header = user_memory::read(address)?;
    let segments = files::vector(header.vector, header.count)?;
    let count = receive(task, &opened, &segments[..segments.len().min(SEGMENTS)], flags)?;
    (header.name_length, header.control_length, header.flags) = (header.name_length & !0xffff_ffff, 0, 0);
    user_memory::write(address, &header)?;
    Ok(count)
}

/// `getsockname`, `getpeername`: the name of a pair is its family alone.
pub(crate) fn name(task: &mut Task, [number, address, length, ..]: [u64; 6]) -> Outcome {
    get(task, number)?;
    let room: u32 = user_memory::read(length)?;
    let family = (UNIX as u16).to_le_bytes();
    user_memory::write_bytes(address, &family[..family.len().min(room as usize)])?;
    user_memory::write(length, &2_u32)?;
    Ok(0)
}

/// `getsockopt`: the type, no error, and 0 for the rest.
pub(crate) fn getsockopt(task: &mut Task, [number, level, option, address, length, _]: [u64; 6]) -> Outcome {
    const SOCKET: u64 = 1;
    const TYPE: u64 = 3;
    const BUFFERS: [u64; 2] = [7, 8];
    const DOMAIN: u64 = 39;
    get(task, number)?;
    if level != SOCKET {
        return Err(Errno::EOPNOTSUPP);
    }
    let value: u32 = match option {
        TYPE | DOMAIN => 1,
        option if BUFFERS.contains(&option) => 65_536,
        _ => 0,
    };
    let room: u32 = user_memory::read(length)?;
    let count = room.min(4);
    user_memory::write_bytes(address, &value.to_le_bytes()[..count as usize])?;
    user_memory::write(length, &count)?;
    Ok(0)
}

/// `setsockopt`: heard.
pub(crate) fn setsockopt(task: &mut Task, [number, ..]: [u64; 6]) -> Outcome {
    get(task, number).map(|_| 0)
}

/// `connect`, `bind`, `listen`, `accept`, `shutdown`: not for pairs.
pub(crate) fn unsuitable(task: &mut Task, [number, ..]: [u64; 6]) -> Outcome {
    let opened = get(task, number)?;
    let is_connected = opened.flags.load(Ordering::Relaxed) & open::ACCESS == 2;
    Err(if is_connected { Errno::EOPNOTSUPP } else { Errno::EINVAL })
}
