//! What POSIX processes ask about their memory: mmap and its relatives.

use abi::PAGE_SIZE;
use alloc::vec::Vec;
use protocol::Errno;
use protocol::process::map_flags;

use crate::area::{Backing, WRITE};
use crate::kernel;
use crate::server::{Call, Outcome, Server};
use crate::space::check_range;

impl Server {
    /// `Map`.
    pub(crate) fn map(
        &mut self,
        pid: u32,
        address: u64,
        length: u64,
        access: u64,
        flags: u64,
    ) -> Result<Outcome, Errno> {
        let offset = flags & !(PAGE_SIZE - 1);
        let flags = flags & (PAGE_SIZE - 1);
        let backing = self.passed_backing(offset)?;
        if let Backing::Memory(memory, offset) = &backing
            && offset.checked_add(length).is_none_or(|end| end > u64::MAX / 2)
        {
            let _ = memory;
            return Err(Errno::EOVERFLOW);
        }
        if flags & map_flags::LIBRARY == 0 {
            self.room_for_memory(pid, length, access & u64::from(WRITE) != 0 && flags & map_flags::SHARED == 0)?;
        }
        let (space, ram) = self.space_and_ram(pid)?;
        let address = space.map(ram, address, length, access, flags, backing)?;
        Ok(Outcome::ok([address, 0, 0, 0]))
    }

    /// `Remap`.
    pub(crate) fn remap(
        &mut self,
        pid: u32,
        address: u64,
        old: u64,
        new: u64,
        flags: u64,
        call: &Call,
    ) -> Result<Outcome, Errno> {
        let target = match flags {
            0 | 1 => None,
            3 => {
                let bytes = call.bytes.get(..8).ok_or(Errno::EINVAL)?;
                Some(u64::from_le_bytes(bytes.try_into().map_err(|_| Errno::EINVAL)?))
            }
            _ => return Err(Errno::EINVAL),
        };
        if old == 0 {
            return Err(Errno::EINVAL);
        }
        if new > old {
            self.room_for_memory(pid, new - old, true)?;
        }
        let (space, ram) = self.space_and_ram(pid)?;
        let address = space.remap(ram, address, old, new, flags & 1 != 0, target)?;
        Ok(Outcome::ok([address, 0, 0, 0]))
    }

    /// `Advise`.
    pub(crate) fn advise(&mut self, pid: u32, address: u64, length: u64, advice: u64) -> Result<Outcome, Errno> {
        let (start, end) = check_range(address, length).map_err(|_| Errno::EINVAL)?;
        let (space, ram) = self.space_and_ram(pid)?;
        match advice {
            // DONTNEED, FREE (which may do it at once).
            4 | 8 => space.forget(ram, start, end - start)?,
            10 | 11 => space.areas.change(start, end, |kind| kind.own = advice == 10),
            // NORMAL, RANDOM, SEQUENTIAL, WILLNEED, MERGEABLE, UNMERGEABLE, HUGEPAGE, NOHUGEPAGE, DONTDUMP, DODUMP, COLD.
            0..=3 | 12..=17 | 20 => {
                if !space.areas.covers(start, end) {
                    return Err(Errno::ENOMEM);
                }
            }
            _ => return Err(Errno::EINVAL),
        }
        Ok(Outcome::DONE)
    }

    /// `Resident`.
    pub(crate) fn resident(&mut self, pid: u32, address: u64, length: u64, call: &Call) -> Result<Outcome, Errno> {
        let (start, end) = check_range(address, length)?;
        let id = self.space_of(pid)?;
        let space = self.spaces.get(&id).ok_or(Errno::ESRCH)?;
        if !space.areas.covers(start, end) {
            return Err(Errno::ENOMEM);
        }
        let pages = ((end - start) / PAGE_SIZE).min(call.room);
        let mut done = 0;
        while done < pages {
            let part: Vec<u8> = (done..pages.min(done + 1024))
                .map(|page| u8::from(space.is_resident(start + page * PAGE_SIZE)))
                .collect();
            kernel::write_request(call.request, done, &part).map_err(|_| crate::server::RETRY)?;
            done += part.len() as u64;
        }
        Ok(Outcome::DONE)
    }

    /// `Areas`.
    pub(crate) fn areas(&mut self, pid: u32, from: u64, call: &Call) -> Result<Outcome, Errno> {
        let id = self.space_of(pid)?;
        let space = self.spaces.get(&id).ok_or(Errno::ESRCH)?;
        let most = (call.room as usize).min(self.out.len()) / 32;
        let mut count = 0;
        for (start, end, kind) in space.areas.from(from) {
            if count == most {
                break;
            }
            if kind.flags & map_flags::LIBRARY as u8 != 0 {
                continue;
            }
            let offset = match &kind.backing {
                Backing::Anonymous => 0,
                Backing::Shared(_, offset) | Backing::Memory(_, offset) => *offset,
            };
            let words = [start, end, u64::from(kind.access) | u64::from(kind.flags) << 8, offset];
            for (at, word) in words.into_iter().enumerate() {
                self.out[count * 32 + at * 8..][..8].copy_from_slice(&word.to_le_bytes());
            }
            count += 1;
        }
        Ok(Outcome::Bytes(protocol::Reply::ok([count as u64, 0, 0, 0]), count * 32))
    }
}
