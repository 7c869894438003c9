//! Resource limits: kept here for every process; those on CPU time, memory, processes and signals are also held here, those on files by
//! the library.

use abi::PAGE_SIZE;
use protocol::Errno;
use protocol::process::map_flags;

use crate::area::WRITE;
use crate::server::{Outcome, Server};
use crate::table::{SERVICE, State};

const CPU: u64 = 0;
const DATA: usize = 2;
const STACK: usize = 3;
const PROCESSES: usize = 6;
const FILES: u64 = 7;
const ADDRESSES: usize = 9;
/// No limit.
pub(crate) const NONE: u64 = u64::MAX;
/// Most descriptors that a hard limit may allow (`fs.nr_open`).
const FILES_MOST: u64 = 1 << 20;
/// A first stack has at least and at most so much room, and this if there is no limit.
const STACK_LEAST: u64 = 128 << 10;
const STACK_MOST: u64 = 192 << 20;
const STACK_USUAL: u64 = 8 << 20;

impl Server {
    /// `Limit`.
    pub(crate) fn limit(
        &mut self,
        pid: u32,
        target: u64,
        resource: u64,
        soft: u64,
        hard: u64,
    ) -> Result<Outcome, Errno> {
        const LEAVE: u64 = u64::MAX - 1;
        let target = if target == 0 { pid } else { u32::try_from(target).map_err(|_| Errno::ESRCH)? };
        if target == SERVICE {
            return Err(Errno::ESRCH);
        }
        let caller = self.known(pid)?;
        let privileged = caller.is_privileged();
        let process = self.known(target)?;
        if target != pid && !privileged && process.user != caller.user {
            return Err(Errno::EPERM);
        }
        let old = *process.limits.get(resource as usize).ok_or(Errno::EINVAL)?;
        let new = (if soft == LEAVE { old.0 } else { soft }, if hard == LEAVE { old.1 } else { hard });
        if new.0 > new.1 {
            return Err(Errno::EINVAL);
        }
        if new.1 > old.1 && !privileged || resource == FILES && new.1 > FILES_MOST && new.1 > old.1 {
            return Err(Errno::EPERM);
        }
        if let Some(limit) =
            self.table.process_mut(target).and_then(|process| process.limits.get_mut(resource as usize))
        {
            *limit = new;
        }
        if resource == CPU && new != old {
            self.watch_cpu(target);
        }
        Ok(Outcome::ok([old.0, old.1, 0, 0]))
    }

    /// Whether a process's limits leave room for `more` bytes, which are its own data or not.
    pub(crate) fn room_for_memory(&self, pid: u32, more: u64, is_data: bool) -> Result<(), Errno> {
        let process = self.known(pid)?;
        let (data, addresses) = (process.limits[DATA].0, process.limits[ADDRESSES].0);
        if addresses == NONE && (data == NONE || !is_data) {
            return Ok(());
        }
        let space = self.spaces.get(&process.space).ok_or(Errno::ESRCH)?;
        let (mut all, mut own) = (0, 0);
        // As many steps as there are areas, and only for who has such a limit.
        for (start, end, kind) in
            space.areas.from(0).filter(|(_, _, kind)| u64::from(kind.flags) & map_flags::LIBRARY == 0)
        {
            all += end - start;
            let stack = u64::from(kind.flags) & map_flags::GROWS_DOWN != 0;
            own += if kind.access & WRITE != 0 && !kind.is_shared() && !stack { end - start } else { 0 };
        }
        let more = more.checked_next_multiple_of(PAGE_SIZE).ok_or(Errno::ENOMEM)?;
        let exceeds = |limit: u64, used: u64| used.saturating_add(more) > limit;
        if exceeds(addresses, all) || is_data && exceeds(data, own) { Err(Errno::ENOMEM) } else { Ok(()) }
    }

    /// Room for the first stack of a new image.
    pub(crate) fn stack_length(&self, pid: u32) -> u64 {
        match self.table.process(pid).map_or(NONE, |process| process.limits[STACK].0) {
            NONE => STACK_USUAL,
            limit => (limit & !(PAGE_SIZE - 1)).clamp(STACK_LEAST, STACK_MOST),
        }
    }

    /// Whether RLIMIT_NPROC lets a process's user have one more process or thread.
    pub(crate) fn room_for_user(&self, pid: u32) -> Result<(), Errno> {
        let process = self.known(pid)?;
        let (limit, user) = (process.limits[PROCESSES].0, process.user as u32);
        if limit == NONE || process.is_privileged() {
            return Ok(());
        }
        let of_user = self.table.processes.values().filter(|other| other.user as u32 == user && other.native.is_none());
        let count: usize =
            of_user.map(|other| if other.state == State::Zombie { 1 } else { other.threads.len() }).sum();
        if count as u64 >= limit { Err(Errno::EAGAIN) } else { Ok(()) }
    }
}
