//! Descriptors: numbers for open files. An [`OpenFile`] is a connection; `dup` shares it within the process, `fork` by inheritance of
//! its handle. The last reference closes the handle, and the kernel tells the server when it was the last anywhere.

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use abi::Handle;
use protocol::{Errno, file};
use runtime::{Buffers, OwnedHandle};

use crate::epoll::Interest;
use crate::locks::Lock;
use crate::message::{PROMPT, ask};
use crate::numbered::Numbered;
use crate::numbers::{Outcome, int, mode, open};
use crate::slot::Recycled;
use crate::task::Task;

/// An open file.
pub(crate) struct OpenFile {
    handle: Recycled,
    /// Of a pair of sockets, which is two pipes: the end that is written to.
    writer: Option<Recycled>,
    /// Absolute, without links, with a directory's anchor; empty if it has no place in the tree.
    pub(crate) path: Vec<u8>,
    /// st_mode.
    pub(crate) mode: u32,
    /// [`file::features`] bits.
    pub(crate) features: u64,
    /// The O_* flags it was opened with.
    pub(crate) flags: AtomicU64,
    /// An `epoll` descriptor's wishes; it has no connection.
    pub(crate) interest: Option<Interest>,
    /// The `epoll` descriptors that have wishes about this file.
    pub(crate) watchers: Lock<Vec<Weak<OpenFile>>>,
    /// How often it was read or written since it first had such; 0: it never had.
    pub(crate) touched: AtomicU64,
}

/// A process's descriptors.
pub(crate) type Files = Numbered<Arc<OpenFile>>;

impl OpenFile {
    /// Take charge of a connection.
    pub(crate) const fn new(handle: OwnedHandle, path: Vec<u8>, mode: u32, features: u64, flags: u64) -> Self {
        Self {
            handle: Recycled::new(handle),
            writer: None,
            path,
            mode,
            features,
            flags: AtomicU64::new(flags),
            interest: None,
            watchers: Lock::new(Vec::new()),
            touched: AtomicU64::new(0),
        }
    }

    /// One of a pair of sockets.
    pub(crate) fn socket(reader: OwnedHandle, writer: OwnedHandle, flags: u64) -> Self {
        let mode = mode::SOCKET | 0o777;
        let features = file::features::WAITS;
        Self { writer: Some(Recycled::new(writer)), ..Self::new(reader, Vec::new(), mode, features, flags) }
    }

    /// An `epoll` descriptor.
    pub(crate) fn epoll() -> Self {
        let none = OwnedHandle::new(Handle::NONE);
        Self { interest: Some(Interest::default()), ..Self::new(none, Vec::new(), 0o600, 0, 2) }
    }

    /// It was read or written, or it was tried: what `epoll` reported is told anew. `wake`: what is ready for others may have changed.
    #[inline]
    pub(crate) fn touch(&self, wake: bool) {
        if self.touched.load(Ordering::Relaxed) != 0 {
            self.touch_watched(wake);
        }
    }

    fn touch_watched(&self, wake: bool) {
        self.touched.fetch_add(1, Ordering::Relaxed);
        let watchers = self.watchers.lock();
        for watcher in watchers.iter().filter(|_| wake).filter_map(Weak::upgrade) {
            if let Some(interest) = &watcher.interest {
                interest.wake();
            }
        }
    }

    /// The connection that is written to.
    pub(crate) fn writer(&self) -> Handle {
        self.writer.as_ref().unwrap_or(&self.handle).handle()
    }

    /// Whether it is one of a pair of sockets.
    pub(crate) const fn is_socket(&self) -> bool {
        self.writer.is_some()
    }

    /// The connection.
    pub(crate) const fn handle(&self) -> Handle {
        self.handle.handle()
    }

    /// Whether it is a directory.
    pub(crate) const fn is_directory(&self) -> bool {
        self.mode & mode::TYPE == mode::DIRECTORY
    }

    /// Whether it is a plain file.
    pub(crate) const fn is_regular(&self) -> bool {
        self.mode & mode::TYPE == mode::REGULAR
    }

    /// Flags it was opened with.
    pub(crate) fn opened(&self) -> u64 {
        self.flags.load(Ordering::Relaxed)
    }
}

/// The open file of a descriptor (not one of O_PATH).
pub(crate) fn get(task: &Task, number: u64) -> Result<Arc<OpenFile>, Errno> {
    let file = get_any(task, number)?;
    if file.opened() & open::PATH != 0 {
        return Err(Errno::EBADF);
    }
    if file.interest.is_some() { Err(Errno::EINVAL) } else { Ok(file) }
}

/// The open file of a descriptor.
pub(crate) fn get_any(task: &Task, number: u64) -> Result<Arc<OpenFile>, Errno> {
    task.files.lock().get(number as u32).map(|entry| Arc::clone(&entry.value))
}

/// A number for an open file.
pub(crate) fn install(task: &Task, file: OpenFile, close_on_exec: bool) -> Outcome {
    let file = Arc::new(file);
    task.files.lock().insert(0, file, close_on_exec).map(u64::from)
}

/// The handles of all open files, each once: what a forked child has, too.
pub(crate) fn handles(files: &Files) -> Vec<u8> {
    let mut handles: Vec<u64> = files.iter().flat_map(|(_, entry)| [entry.value.handle().0, entry.value.writer().0]).collect();
    handles.retain(|handle| *handle != 0);
    handles.sort_unstable();
    handles.dedup();
    handles.into_iter().flat_map(u64::to_le_bytes).collect()
}

/// What a closed descriptor leaves to be done: POSIX drops all of a process's record locks on a file with any descriptor of it.
fn let_go(task: &Task, file: &OpenFile) {
    if task.process.record_locks.load(Ordering::Relaxed) && file.is_regular() {
        let owner = u64::from(task.process.pid);
        // A server that is gone holds no locks.
        let _ = ask(&mut Buffers::new(), |buffers| file::unlock(file.handle(), owner, buffers, PROMPT));
    }
}

/// Drop all record locks, at the process's end.
pub(crate) fn let_all_go(task: &Task) {
    if task.process.record_locks.load(Ordering::Relaxed) {
        let files: Vec<Arc<OpenFile>> = task.files.lock().iter().map(|(_, entry)| Arc::clone(&entry.value)).collect();
        files.iter().for_each(|file| let_go(task, file));
    }
}

/// `close`.
pub(crate) fn close(task: &mut Task, [number, ..]: [u64; 6]) -> Outcome {
    let file = task.files.lock().remove(number as u32)?;
    let_go(task, &file);
    Ok(0)
}

/// `close_range`.
pub(crate) fn close_range(task: &mut Task, [first, last, flags, ..]: [u64; 6]) -> Outcome {
    const UNSHARE: u64 = 2;
    const CLOSE_ON_EXEC: u64 = 4;
    let (mut first, last) = (first as u32, last as u32);
    if first > last || flags & !(UNSHARE | CLOSE_ON_EXEC) != 0 {
        return Err(Errno::EINVAL);
    }
    loop {
        let mut files = task.files.lock();
        let Some(number) = files.first_in(first..=last) else { return Ok(0) };
        if flags & CLOSE_ON_EXEC != 0 {
            files.get_mut(number)?.close_on_exec = true;
        } else {
            let file = files.remove(number)?;
            drop(files);
            let_go(task, &file);
        }
        let Some(next) = number.checked_add(1) else { return Ok(0) };
        first = next;
    }
}

/// `dup`.
pub(crate) fn dup(task: &mut Task, [number, ..]: [u64; 6]) -> Outcome {
    duplicate(task, number, 0, false)
}

fn duplicate(task: &Task, number: u64, lowest: usize, close_on_exec: bool) -> Outcome {
    let file = get_any(task, number)?;
    task.files.lock().insert(lowest, file, close_on_exec).map(u64::from)
}

fn duplicate_to(task: &Task, old: u64, new: u64, close_on_exec: bool) -> Outcome {
    let file = get_any(task, old)?;
    let replaced = task.files.lock().replace(new as u32, file, close_on_exec)?;
    if let Some(replaced) = replaced {
        let_go(task, &replaced);
    }
    Ok(u64::from(new as u32))
}

/// `dup2`.
pub(crate) fn dup2(task: &mut Task, [old, new, ..]: [u64; 6]) -> Outcome {
    if old as u32 == new as u32 {
        return get_any(task, old).map(|_| u64::from(new as u32));
    }
    duplicate_to(task, old, new, false)
}

/// `dup3`.
pub(crate) fn dup3(task: &mut Task, [old, new, flags, ..]: [u64; 6]) -> Outcome {
    if old as u32 == new as u32 || flags & !open::CLOSE_ON_EXEC != 0 {
        return Err(Errno::EINVAL);
    }
    duplicate_to(task, old, new, flags != 0)
}

mod command {
    pub(super) const DUPLICATE: i32 = 0;
    pub(super) const DESCRIPTOR_FLAGS: i32 = 1;
    pub(super) const SET_DESCRIPTOR_FLAGS: i32 = 2;
    pub(super) const FLAGS: i32 = 3;
    pub(super) const SET_FLAGS: i32 = 4;
    pub(super) const LOCKS: [i32; 3] = [5, 6, 7];
    pub(super) const SET_OWNER: i32 = 8;
    pub(super) const OWNER: i32 = 9;
    pub(super) const OPEN_FILE_LOCKS: [i32; 3] = [36, 37, 38];
    pub(super) const DUPLICATE_CLOSE_ON_EXEC: i32 = 1030;
    pub(super) const SET_PIPE_SIZE: i32 = 1031;
    pub(super) const PIPE_SIZE: i32 = 1032;
}

/// `fcntl`.
pub(crate) fn fcntl(task: &mut Task, [number, code, argument, ..]: [u64; 6]) -> Outcome {
    let file = get_any(task, number)?;
    match int(code) {
        command::DUPLICATE | command::DUPLICATE_CLOSE_ON_EXEC => {
            let lowest = usize::try_from(int(argument)).map_err(|_| Errno::EINVAL)?;
            if lowest >= task.files.lock().limit() {
                return Err(Errno::EINVAL);
            }
            duplicate(task, number, lowest, int(code) == command::DUPLICATE_CLOSE_ON_EXEC)
        }
        command::DESCRIPTOR_FLAGS => {
            task.files.lock().get(number as u32).map(|entry| u64::from(entry.close_on_exec))
        }
        command::SET_DESCRIPTOR_FLAGS => {
            task.files.lock().get_mut(number as u32)?.close_on_exec = argument & 1 != 0;
            Ok(0)
        }
        command::FLAGS => flags(&file),
        command::SET_FLAGS => set_flags(&*get(task, number)?, argument),
        code if command::LOCKS.contains(&code) || command::OPEN_FILE_LOCKS.contains(&code) => {
            crate::record_locks::control(task, &*get(task, number)?, code as u64, argument)
        }
        command::SET_OWNER | command::OWNER => Ok(0),
        code @ (command::PIPE_SIZE | command::SET_PIPE_SIZE) if file.mode & mode::TYPE == 0o1_0000 => {
            let (code, argument) = (code as u64, argument & 0xffff_ffff);
            ask(&mut Buffers::new(), |buffers| file::control(file.handle(), code, argument, buffers, PROMPT)).map(|answer| answer.result)
        }
        command::PIPE_SIZE | command::SET_PIPE_SIZE => Err(Errno::EBADF),
        _ => Err(Errno::EINVAL),
    }
}

/// Flags of F_GETFL: those of the server, and what only the library knows.
fn flags(file: &OpenFile) -> Outcome {
    const KEPT: u64 = open::DIRECTORY | open::NO_FOLLOW | open::PATH;
    let opened = file.opened();
    if opened & open::PATH != 0 {
        return Ok(opened & KEPT);
    }
    let answer = ask(&mut Buffers::new(), |buffers| file::flags(file.handle(), buffers, PROMPT))?;
    let access = if file.is_socket() { 2 } else { answer.flags & open::ACCESS };
    let answered = answer.flags & !open::ACCESS | access;
    Ok(answered & !(open::CREATE | open::EXCLUSIVE | open::TRUNCATE | open::CLOSE_ON_EXEC) | opened & KEPT | 0o10_0000)
}

/// F_SETFL, and FIONBIO by way of it.
pub(crate) fn set_flags(file: &OpenFile, flags: u64) -> Outcome {
    let changeable = flags & (open::APPEND | open::NONBLOCK);
    ask(&mut Buffers::new(), |buffers| file::set_flags(file.handle(), changeable, buffers, PROMPT))?;
    if file.is_socket() {
        ask(&mut Buffers::new(), |buffers| file::set_flags(file.writer(), changeable, buffers, PROMPT))?;
    }
    Ok(0)
}

/// FIONBIO.
pub(crate) fn set_nonblocking(file: &OpenFile, on: bool) -> Outcome {
    let now = flags(file)?;
    set_flags(file, if on { now | open::NONBLOCK } else { now & !open::NONBLOCK })
}
