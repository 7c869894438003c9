//! `epoll`: a list of wishes that stays in the library, asked of the servers at every wait, as `poll` does.
//!
//! Edges (EPOLLET) are made here: what was reported is not reported again until the file was read or written through this process
//! ([`OpenFile::touched`]), or was seen not to be ready. A write also wakes who waits in this process, since a server that
//! has said "ready" raises no pulse for more of the same.

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use abi::Handle;
use protocol::Errno;

use crate::descriptor::{self, Files, OpenFile};
use crate::locks::Lock;
use crate::numbers::{Outcome, RESTART_UNHANDLED, int};
use crate::poll::{self, Bell};
use crate::signal;
use crate::task::Task;
use crate::user_memory;

const EDGE: u32 = 1 << 31;
const ONE_SHOT: u32 = 1 << 30;
/// ERR and HUP are always wished for.
const ALWAYS: u32 = 0x18;
const EVENTS: u32 = 0xffff;

/// A wish about a file.
struct Wish {
    number: u32,
    file: Weak<OpenFile>,
    events: u32,
    data: u64,
    /// What was reported, and how often the file had been touched then.
    reported: u32,
    touched: u64,
    /// Off after one report, until it is changed.
    is_off: bool,
}

/// What an `epoll` descriptor holds.
#[derive(Default)]
pub(crate) struct Interest {
    wishes: Lock<Vec<Wish>>,
    /// Pulses of who waits.
    waiters: Lock<Vec<Handle>>,
}

impl Wish {
    /// What is new to report. `bell` is rung when more may be.
    fn ask(&mut self, opened: &OpenFile, bell: Option<Bell>) -> Result<u32, Errno> {
        let ready = self.look(opened, bell)?;
        if self.events & EDGE != 0 {
            self.reported |= ready;
        }
        Ok(ready)
    }

    /// What there would be to report.
    fn look(&mut self, opened: &OpenFile, bell: Option<Bell>) -> Result<u32, Errno> {
        if self.is_off {
            return Ok(0);
        }
        let touched = opened.touched.load(Ordering::Relaxed);
        if touched != self.touched {
            (self.reported, self.touched) = (0, touched);
        }
        let wanted = (self.events & EVENTS | ALWAYS) & !self.reported;
        poll::ask_one(opened, wanted as u16, bell).map(|ready| u32::from(ready) & wanted)
    }
}

impl Interest {
    /// What is new to report of up to `most` files.
    fn collect(&self, most: usize, bell: Option<Bell>) -> Result<Vec<(u32, u64)>, Errno> {
        let mut found = Vec::new();
        let mut wishes = self.wishes.lock();
        // A file that nobody has open any more is wished for no longer.
        wishes.retain(|wish| wish.file.strong_count() > 0);
        for wish in wishes.iter_mut() {
            if found.len() == most {
                break;
            }
            let Some(opened) = wish.file.upgrade() else { continue };
            let bell = if found.is_empty() { bell } else { None };
            let ready = wish.ask(&opened, bell)?;
            if ready != 0 {
                wish.is_off = wish.events & ONE_SHOT != 0;
                found.push((ready, wish.data));
            }
        }
        // Who was reported first is asked last the next time.
        let reported = found.len().min(wishes.len());
        if reported == most {
            wishes.rotate_left(reported);
        }
        Ok(found)
    }

    /// Whether anything is ready.
    pub(crate) fn is_ready(&self, bell: Option<Bell>) -> Result<bool, Errno> {
        let mut wishes = self.wishes.lock();
        for wish in wishes.iter_mut() {
            let Some(opened) = wish.file.upgrade() else { continue };
            if wish.look(&opened, bell)? != 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Wake whoever waits.
    pub(crate) fn wake(&self) {
        for pulse in self.waiters.lock().iter() {
            // A waiter that is gone needs no wake.
            let _ = runtime::raise(*pulse, 1);
        }
    }
}

/// For `fork`: take the locks of all wishes about these files, so that no other thread is in the middle of changing them.
/// Threads hold several of these at once, in no fixed order: hence all or none. [`thaw`] opens them again.
pub(crate) fn freeze(files: &Files) {
    let watched = watched(files);
    loop {
        let frozen = watched.iter().take_while(|file| file.try_freeze()).count();
        if frozen == watched.len() {
            return;
        }
        // SAFETY: these were taken just now.
        watched[..frozen].iter().for_each(|file| unsafe { file.thaw() });
        runtime::object::thread::yield_now();
    }
}

/// Open what [`freeze`] took, in parent or child.
///
/// # Safety
/// It was taken for this copy of the memory, and the descriptors are as they were.
pub(crate) unsafe fn thaw(files: &Files) {
    // SAFETY: as the caller says.
    watched(files).iter().for_each(|file| unsafe { file.thaw() });
}

/// The files that have wishes or are wished for, each once.
fn watched(files: &Files) -> Vec<&Arc<OpenFile>> {
    let concerned = |file: &OpenFile| file.interest.is_some() || file.touched.load(Ordering::Relaxed) != 0;
    let mut found: Vec<&Arc<OpenFile>> = files.iter().map(|(_, entry)| &entry.value).filter(|file| concerned(file)).collect();
    found.sort_unstable_by_key(|file| Arc::as_ptr(file));
    found.dedup_by_key(|file| Arc::as_ptr(file));
    found
}

/// Take a lock for a thread that will not give it back itself.
fn try_take<T>(lock: &Lock<T>) -> bool {
    lock.try_lock().map(core::mem::forget).is_some()
}

impl OpenFile {
    fn try_freeze(&self) -> bool {
        if !try_take(&self.watchers) {
            return false;
        }
        let Some(interest) = &self.interest else { return true };
        if try_take(&interest.wishes) {
            if try_take(&interest.waiters) {
                return true;
            }
            // SAFETY: taken above.
            unsafe { interest.wishes.force_unlock() };
        }
        // SAFETY: taken above.
        unsafe { self.watchers.force_unlock() };
        false
    }

    /// # Safety
    /// [`Self::try_freeze`] took its locks.
    unsafe fn thaw(&self) {
        // SAFETY: as the caller says.
        unsafe { self.watchers.force_unlock() };
        if let Some(interest) = &self.interest {
            // SAFETY: as above.
            unsafe { interest.wishes.force_unlock() };
            // SAFETY: as above.
            unsafe { interest.waiters.force_unlock() };
        }
    }
}

/// `epoll_create`.
pub(crate) fn epoll_create(task: &mut Task, [size, ..]: [u64; 6]) -> Outcome {
    if int(size) <= 0 { Err(Errno::EINVAL) } else { epoll_create1(task, [0; 6]) }
}

/// `epoll_create1`.
pub(crate) fn epoll_create1(task: &mut Task, [flags, ..]: [u64; 6]) -> Outcome {
    const CLOSE_ON_EXEC: u64 = 0o200_0000;
    if flags & !CLOSE_ON_EXEC != 0 {
        return Err(Errno::EINVAL);
    }
    descriptor::install(task, OpenFile::epoll(), flags != 0)
}

fn get(task: &Task, number: u64) -> Result<Arc<OpenFile>, Errno> {
    let opened = descriptor::get_any(task, number)?;
    if opened.interest.is_some() { Ok(opened) } else { Err(Errno::EINVAL) }
}

/// `epoll_ctl`.
pub(crate) fn epoll_ctl(task: &mut Task, [epoll, operation, number, address, ..]: [u64; 6]) -> Outcome {
    const ADD: i32 = 1;
    const DELETE: i32 = 2;
    const CHANGE: i32 = 3;
    let holder = get(task, epoll)?;
    let opened = descriptor::get_any(task, number)?;
    let Some(interest) = &holder.interest else { return Err(Errno::EINVAL) };
    if Arc::ptr_eq(&holder, &opened) {
        return Err(Errno::EINVAL);
    }
    if opened.is_regular() || opened.is_directory() {
        return Err(Errno::EPERM);
    }
    let (mut events, mut data) = (0, 0);
    if int(operation) != DELETE {
        events = user_memory::read::<u32>(address)?;
        data = user_memory::read::<u64>(address.wrapping_add(4))?;
    }
    let mut wishes = interest.wishes.lock();
    let known = wishes.iter().position(|wish| {
        wish.number == number as u32 && core::ptr::eq(wish.file.as_ptr(), Arc::as_ptr(&opened))
    });
    let wish = Wish {
        number: number as u32,
        file: Arc::downgrade(&opened),
        events,
        data,
        reported: 0,
        touched: 0,
        is_off: false,
    };
    match (int(operation), known) {
        (ADD, None) => {
            wishes.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
            wishes.push(wish);
            opened.touched.fetch_add(1, Ordering::Relaxed);
            let mut watchers = opened.watchers.lock();
            if !watchers.iter().any(|watcher| core::ptr::eq(watcher.as_ptr(), Arc::as_ptr(&holder))) {
                watchers.push(Arc::downgrade(&holder));
            }
        }
        (ADD, Some(_)) => return Err(Errno::EEXIST),
        (CHANGE, Some(place)) => wishes[place] = wish,
        (DELETE, Some(place)) => drop(wishes.remove(place)),
        (CHANGE | DELETE, None) => return Err(Errno::ENOENT),
        _ => return Err(Errno::EINVAL),
    }
    drop(wishes);
    // Who waits already waits for the new wish, too.
    interest.wake();
    Ok(0)
}

/// `epoll_wait`.
pub(crate) fn epoll_wait(task: &mut Task, [epoll, address, most, timeout, ..]: [u64; 6]) -> Outcome {
    let holder = get(task, epoll)?;
    let most = usize::try_from(int(most)).ok().filter(|most| *most > 0).ok_or(Errno::EINVAL)?;
    user_memory::check(address, 12 * most as u64)?;
    let deadline = match timeout as i32 {
        timeout if timeout < 0 => u64::MAX,
        0 => 0,
        timeout => runtime::clock::monotonic_ns().saturating_add(timeout as u64 * 1_000_000),
    };
    let Some(interest) = &holder.interest else { return Err(Errno::EINVAL) };
    let found = match wait(task, interest, most, deadline) {
        Err(RESTART_UNHANDLED) => return Err(Errno::EINTR),
        found => found?,
    };
    for (index, (events, data)) in found.iter().enumerate() {
        let place = address + 12 * index as u64;
        user_memory::write(place, events)?;
        user_memory::write(place + 4, data)?;
    }
    Ok(found.len() as u64)
}

fn wait(task: &mut Task, interest: &Interest, most: usize, deadline: u64) -> Result<Vec<(u32, u64)>, Errno> {
    if deadline == 0 {
        return interest.collect(most, None);
    }
    let bell = Bell::of(task)?;
    // Before the first question, so that no wake is lost.
    interest.waiters.lock().push(bell.pulse);
    let result = loop {
        match interest.collect(most, Some(bell)) {
            Ok(found) if found.is_empty() => {}
            result => break result,
        }
        match poll::wait_for_pulse(task, deadline) {
            Ok(false) => {}
            Ok(true) => break Ok(Vec::new()),
            Err(error) => break Err(error),
        }
    };
    let mut waiters = interest.waiters.lock();
    if let Some(place) = waiters.iter().position(|other| *other == bell.pulse) {
        waiters.swap_remove(place);
    }
    result
}

/// `epoll_pwait`.
pub(crate) fn epoll_pwait(task: &mut Task, [epoll, address, most, timeout, set, length]: [u64; 6]) -> Outcome {
    if let Some(mask) = user_memory::read_optional::<u64>(set)? {
        if length != 8 {
            return Err(Errno::EINVAL);
        }
        signal::set_mask_for_call(task, mask);
    }
    epoll_wait(task, [epoll, address, most, timeout, 0, 0])
}
