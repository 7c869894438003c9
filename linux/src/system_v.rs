//! System V's message queues, semaphores and shared memory: the pipe service keeps them; a segment's bytes are a file of the memory file system.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use abi::call::flags::{DEADLINE_REPLY, DEADLINE_SEND, INTERRUPTIBLE};
use abi::{Handle, PAGE_SIZE};
use protocol::file;
use protocol::pipe::MOUNT;
use protocol::system_v::{self as service, TYPE_LENGTH, command, question};
use protocol::Errno;
use runtime::{Buffers, Options, clock};

use crate::files;
use crate::locks::Lock;
use crate::memory;
use crate::message::{PROMPT, ask};
use crate::numbers::{Outcome, RESTART, RESTART_UNHANDLED, int, open};
use crate::path::{self, Follow};
use crate::paths;
use crate::signal;
use crate::task::Task;
use crate::time;
use crate::user_memory;

/// Where the bytes of segments are, up to their ids.
const SEGMENTS: &[u8] = b"/run/shm/.sysv-";
/// Commands of the `…ctl` calls; IPC_64 is without meaning here.
const REMOVE: i32 = 0;
const SET: i32 = 1;
const STATUS: i32 = 2;
const WIDE: i32 = 0x100;

/// A segment in this process's memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attachment {
    address: u64,
    length: u64,
    id: u64,
}

/// What a process has of all this.
pub(crate) struct SystemV {
    /// The connection, 0: none yet. It is never closed: the service takes its close for the process's end.
    connection: AtomicU64,
    /// Segments that are attached.
    pub(crate) attachments: Lock<Vec<Attachment>>,
}

impl SystemV {
    /// Of a new process, that has these in its memory.
    pub(crate) fn new(attachments: Vec<Attachment>) -> Self {
        Self { connection: AtomicU64::new(0), attachments: Lock::new(attachments) }
    }
}

fn connection(task: &Task) -> Result<Handle, Errno> {
    let known = task.process.system_v.connection.load(Ordering::Acquire);
    if known != 0 {
        return Ok(Handle(known));
    }
    let mut path = MOUNT.as_bytes().to_vec();
    path.push(b'/');
    path.extend_from_slice(service::PATH);
    let opened = files::open_freely(task, path, 2, 0)?;
    let handle = opened.handle();
    match task.process.system_v.connection.compare_exchange(0, handle.0, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => {
            // It stays open to the end.
            core::mem::forget(opened);
            Ok(handle)
        }
        Err(other) => Ok(Handle(other)),
    }
}

/// The caller's effective ids, as each request has them.
fn ids(task: &Task) -> u64 {
    let user = task.process.user.lock();
    u64::from(user.user[1]) | u64::from(user.group[1]) << 32
}

/// Send words, get a result, and words back.
fn request(task: &Task, code: u64, argument: u64, words: &[u64], back: &mut [u64]) -> Outcome {
    let connection = connection(task)?;
    let sent: Vec<u8> = [ids(task)].iter().chain(words).flat_map(|word| word.to_le_bytes()).collect();
    // SAFETY: `u64`s have no hidden bytes, and any bytes are `u64`s.
    let room = unsafe { core::slice::from_raw_parts_mut(back.as_mut_ptr().cast::<u8>(), size_of_val(back)) };
    ask(&mut Buffers::new().send(&sent).receive(room), |buffers| file::control(connection, code, argument, buffers, PROMPT))
        .map(|answer| answer.result)
}

/// An object's id as an argument.
fn id(register: u64) -> Outcome {
    u64::try_from(int(register)).map_err(|_| Errno::EINVAL)
}

/// Send what may wait, which no handler's end repeats. `deadline`: then EAGAIN.
fn wait(task: &mut Task, deadline: u64, mut send: impl FnMut(Options) -> Outcome) -> Outcome {
    let options = match deadline {
        u64::MAX => Options::flags(INTERRUPTIBLE),
        deadline => Options { flags: INTERRUPTIBLE | DEADLINE_SEND | DEADLINE_REPLY, deadline },
    };
    loop {
        match send(options) {
            Err(RESTART | Errno::ETIMEDOUT) if deadline <= clock::monotonic_ns() => return Err(Errno::EAGAIN),
            Err(RESTART) if signal::interrupted(task) => return Err(RESTART_UNHANDLED),
            Err(RESTART) => {}
            result => return result,
        }
    }
}

/// Linux's `struct ipc64_perm`, in words.
fn permission(words: &[u64]) -> [u64; 6] {
    let pair = |low: u64, high: u64| low & 0xffff_ffff | high << 32;
    [pair(words[0], words[1]), pair(words[2], words[3]), pair(words[4], words[5]), 0, 0, 0]
}

/// What IPC_SET takes from such a structure: owner, group, mode.
fn wanted(record: &[u64]) -> [u64; 3] {
    [record[0] >> 32, record[1] & 0xffff_ffff, record[2] >> 32]
}

/// `msgget`.
pub(crate) fn msgget(task: &mut Task, [key, flags, ..]: [u64; 6]) -> Outcome {
    request(task, command::QUEUE_GET, 0, &[key & 0xffff_ffff, flags & 0xffff_ffff], &mut [])
}

/// `msgsnd`.
pub(crate) fn msgsnd(task: &mut Task, [number, address, length, flags, ..]: [u64; 6]) -> Outcome {
    const MOST: u64 = 8192;
    let argument = id(number)? | (flags & 0xffff_ffff) << 32;
    if length > MOST {
        return Err(Errno::EINVAL);
    }
    let kind: u64 = user_memory::read(address)?;
    if (kind as i64) < 1 {
        return Err(Errno::EINVAL);
    }
    let [start, length] = files::segment(address.wrapping_add(TYPE_LENGTH as u64), length)?;
    let (connection, head) = (connection(task)?, [ids(task), kind]);
    wait(task, u64::MAX, |options| {
        let mut buffers = Buffers::new().send(user_memory::bytes_of(&head));
        buffers.add_send(start, length);
        ask(&mut buffers, |buffers| file::control(connection, command::QUEUE_SEND, argument, buffers, options))
            .map(|answer| answer.result)
    })
}

/// `msgrcv`.
pub(crate) fn msgrcv(task: &mut Task, [number, address, length, kind, flags, _]: [u64; 6]) -> Outcome {
    const COPY: u64 = 0o40_000;
    let argument = id(number)? | (flags & 0xffff_ffff) << 32;
    if flags & COPY != 0 {
        return Err(Errno::ENOSYS);
    }
    if length > i64::MAX as u64 {
        return Err(Errno::EINVAL);
    }
    let [start, length] = files::segment(address, length.saturating_add(TYPE_LENGTH as u64))?;
    let (connection, head) = (connection(task)?, [ids(task), kind, length - TYPE_LENGTH as u64]);
    wait(task, u64::MAX, |options| {
        let mut buffers = Buffers::new().send(user_memory::bytes_of(&head));
        buffers.add_receive(start, length);
        ask(&mut buffers, |buffers| file::control(connection, command::QUEUE_RECEIVE, argument, buffers, options))
            .map(|answer| answer.result)
    })
}

/// `msgctl`.
pub(crate) fn msgctl(task: &mut Task, [number, code, address, ..]: [u64; 6]) -> Outcome {
    let id = id(number)?;
    match int(code) & !WIDE {
        REMOVE => request(task, command::QUEUE_REMOVE, id, &[], &mut []),
        SET => {
            let record: [u64; 15] = user_memory::read(address)?;
            let [owner, group, mode] = wanted(&record);
            request(task, command::QUEUE_SET, id, &[owner, group, mode, record[11]], &mut [])
        }
        STATUS => {
            let mut words = [0; 14];
            request(task, command::QUEUE_STATUS, id, &[], &mut words)?;
            let mut record = [0_u64; 15];
            record[..6].copy_from_slice(&permission(&words));
            let [bytes, count, most, sender, receiver, sent, received, changed] = *words.last_chunk().ok_or(Errno::EIO)?;
            record[6..13].copy_from_slice(&[sent, received, changed, bytes, count, most, sender | receiver << 32]);
            user_memory::write(address, &record).map(|()| 0)
        }
        _ => Err(Errno::EINVAL),
    }
}

/// `semget`.
pub(crate) fn semget(task: &mut Task, [key, count, flags, ..]: [u64; 6]) -> Outcome {
    if int(count) < 0 {
        return Err(Errno::EINVAL);
    }
    request(task, command::SET_GET, 0, &[key & 0xffff_ffff, flags & 0xffff_ffff, count & 0xffff_ffff], &mut [])
}

/// `semop`.
pub(crate) fn semop(task: &mut Task, [number, address, count, ..]: [u64; 6]) -> Outcome {
    semtimedop(task, [number, address, count, 0, 0, 0])
}

/// `semtimedop`.
pub(crate) fn semtimedop(task: &mut Task, [number, address, count, timeout, ..]: [u64; 6]) -> Outcome {
    const OPERATION_LENGTH: u64 = 6;
    const MOST: u64 = 500;
    let id = id(number)?;
    if count > MOST {
        return Err(Errno::E2BIG);
    }
    let deadline = time::deadline_after(timeout)?;
    let [start, length] = files::segment(address, count * OPERATION_LENGTH)?;
    let (connection, head) = (connection(task)?, ids(task));
    wait(task, deadline, |options| {
        let mut buffers = Buffers::new().send(user_memory::bytes_of(&head));
        buffers.add_send(start, length);
        let argument = id | count << 32;
        ask(&mut buffers, |buffers| file::control(connection, command::SET_OPERATE, argument, buffers, options))
            .map(|answer| answer.result)
    })
}

/// `semctl`.
pub(crate) fn semctl(task: &mut Task, [number, at, code, argument, ..]: [u64; 6]) -> Outcome {
    const GET_PID: i32 = 11;
    const GET_VALUE: i32 = 12;
    const GET_ALL: i32 = 13;
    const GET_WAITING_MORE: i32 = 14;
    const GET_WAITING_ZERO: i32 = 15;
    const SET_VALUE: i32 = 16;
    const SET_ALL: i32 = 17;
    let id = id(number)?;
    let about = |what: u64| if int(at) < 0 { Err(Errno::EINVAL) } else { Ok(id | (what | (at & 0xffff) << 8) << 32) };
    let look = |what: u64| request(task, command::SET_ASK, about(what)?, &[], &mut []);
    match int(code) & !WIDE {
        GET_VALUE => look(question::VALUE),
        GET_PID => look(question::PID),
        GET_WAITING_MORE => look(question::WAIT_FOR_MORE),
        GET_WAITING_ZERO => look(question::WAIT_FOR_ZERO),
        SET_VALUE if int(at) < 0 => Err(Errno::EINVAL),
        SET_VALUE if int(argument) < 0 => Err(Errno::ERANGE),
        SET_VALUE => request(task, command::SET_VALUE, id | (at & 0xffff_ffff) << 32, &[argument & 0xffff_ffff], &mut []),
        GET_ALL | SET_ALL => all_values(task, id, int(code) & !WIDE == SET_ALL, argument),
        REMOVE => request(task, command::SET_REMOVE, id, &[], &mut []),
        SET => {
            let record: [u64; 13] = user_memory::read(argument)?;
            request(task, command::SET_SET, id, &wanted(&record), &mut [])
        }
        STATUS => {
            let words = set_status(task, id)?;
            let mut record = [0_u64; 13];
            record[..6].copy_from_slice(&permission(&words));
            (record[6], record[8], record[10]) = (words[7], words[8], words[6]);
            user_memory::write(argument, &record).map(|()| 0)
        }
        _ => Err(Errno::EINVAL),
    }
}

fn set_status(task: &Task, id: u64) -> Result<[u64; 9], Errno> {
    let mut words = [0; 9];
    request(task, command::SET_STATUS, id, &[], &mut words)?;
    Ok(words)
}

/// GETALL and SETALL: values straight from or to the program's array.
fn all_values(task: &Task, id: u64, set: bool, address: u64) -> Outcome {
    let [start, length] = files::segment(address, 2 * set_status(task, id)?[6])?;
    let (connection, head) = (connection(task)?, ids(task));
    let mut buffers = Buffers::new().send(user_memory::bytes_of(&head));
    let code = if set {
        buffers.add_send(start, length);
        command::SET_SET_ALL
    } else {
        buffers.add_receive(start, length);
        command::SET_ALL
    };
    ask(&mut buffers, |buffers| file::control(connection, code, id, buffers, PROMPT)).map(|_| 0)
}

fn file_of(id: u64) -> Vec<u8> {
    let mut path = SEGMENTS.to_vec();
    paths::digits(&mut path, id);
    path
}

/// `shmget`.
pub(crate) fn shmget(task: &mut Task, [key, length, flags, ..]: [u64; 6]) -> Outcome {
    let found = request(task, command::SEGMENT_GET, 0, &[key & 0xffff_ffff, flags & 0xffff_ffff, length], &mut [])?;
    let (id, is_new) = (found & 0xffff_ffff, found >> 32 != 0);
    if is_new && let Err(error) = make_file(task, id, length) {
        // What has no bytes is no segment.
        let _ = request(task, command::SEGMENT_REMOVE, id, &[], &mut []);
        return Err(if error == Errno::ENOSPC { Errno::ENOMEM } else { error });
    }
    Ok(id)
}

fn make_file(task: &Task, id: u64, length: u64) -> Result<(), Errno> {
    const EVERYBODY: u64 = 0o666;
    let flags = 2 | open::CREATE | open::TRUNCATE | open::CLOSE_ON_EXEC;
    let opened = files::open_freely(task, file_of(id), flags, EVERYBODY)?;
    // Who may have it is the service's to say.
    ask(&mut Buffers::new(), |buffers| file::change_mode_open(opened.handle(), EVERYBODY, buffers, PROMPT))?;
    ask(&mut Buffers::new(), |buffers| file::truncate_open(opened.handle(), length, buffers, PROMPT)).map(drop)
}

/// `shmat`.
pub(crate) fn shmat(task: &mut Task, [number, address, flags, ..]: [u64; 6]) -> Outcome {
    const READ_ONLY: u64 = 0o10_000;
    const ROUND: u64 = 0o20_000;
    const REPLACE: u64 = 0o40_000;
    let id = id(number)?;
    let place = if flags & ROUND != 0 { address & !(PAGE_SIZE - 1) } else { address };
    if !place.is_multiple_of(PAGE_SIZE) || flags & REPLACE != 0 && place == 0 {
        return Err(Errno::EINVAL);
    }
    let writes = flags & READ_ONLY == 0;
    let length = request(task, command::SEGMENT_ATTACH, id, &[u64::from(writes)], &mut [])?;
    let mapped = files::open_freely(task, file_of(id), if writes { 2 } else { 0 } | open::CLOSE_ON_EXEC, 0)
        .and_then(|opened| memory::map_segment(task, &opened, place, length, writes, flags & REPLACE != 0));
    match mapped {
        Ok(address) => {
            task.process.system_v.attachments.lock().push(Attachment { address, length, id });
            Ok(address)
        }
        Err(error) => {
            let _ = request(task, command::SEGMENT_DETACH, id, &[], &mut []);
            Err(if error == Errno::EEXIST { Errno::EINVAL } else { error })
        }
    }
}

/// `shmdt`.
pub(crate) fn shmdt(task: &mut Task, [address, ..]: [u64; 6]) -> Outcome {
    let process = alloc::sync::Arc::clone(&task.process);
    let mut attachments = process.system_v.attachments.lock();
    let place = attachments.iter().position(|attachment| attachment.address == address).ok_or(Errno::EINVAL)?;
    let gone = attachments.remove(place);
    drop(attachments);
    memory::munmap(task, [gone.address, gone.length, 0, 0, 0, 0])?;
    // One that was removed may be gone already.
    let _ = request(task, command::SEGMENT_DETACH, gone.id, &[], &mut []);
    Ok(0)
}

/// `shmctl`.
pub(crate) fn shmctl(task: &mut Task, [number, code, address, ..]: [u64; 6]) -> Outcome {
    const LOCK: i32 = 11;
    const UNLOCK: i32 = 12;
    const REMOVED: u64 = 0o1000;
    let id = id(number)?;
    let mut words = [0; 14];
    match int(code) & !WIDE {
        REMOVE => {
            request(task, command::SEGMENT_REMOVE, id, &[], &mut [])?;
            // Who has it attached keeps its memory; without a file nobody attaches it again.
            path::change(task, file_of(id), Follow::No, |mount, buffers| file::unlink(mount, 0, buffers, PROMPT).map(drop))
        }
        SET => {
            let record: [u64; 14] = user_memory::read(address)?;
            request(task, command::SEGMENT_SET, id, &wanted(&record), &mut [])
        }
        STATUS => {
            request(task, command::SEGMENT_STATUS, id, &[], &mut words)?;
            words[5] |= if words[13] != 0 { REMOVED } else { 0 };
            let mut record = [0_u64; 14];
            record[..6].copy_from_slice(&permission(&words));
            let [length, count, maker, last, attached, detached, changed] = [6, 7, 8, 9, 10, 11, 12].map(|at: usize| words[at]);
            record[6..12].copy_from_slice(&[length, attached, detached, changed, maker | last << 32, count]);
            user_memory::write(address, &record).map(|()| 0)
        }
        // Nothing is ever paged out.
        LOCK | UNLOCK => request(task, command::SEGMENT_STATUS, id, &[], &mut words).map(|_| 0),
        _ => Err(Errno::EINVAL),
    }
}
