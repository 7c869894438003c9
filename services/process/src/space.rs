//! An address space: its areas, its pages, and the kernel process whose mappings follow them.
//!
//! What must hold: a page has a frame here if and only if the frame counts this use; a private frame with other users is never
//! mapped writable; what is charged is every page of a charged area and every present page of another private one.

use alloc::rc::Rc;
use core::cell::RefCell;

use abi::{Error, Handle, NATIVE_BASE, PAGE_SIZE, Quota, USER_END};
use protocol::Errno;
use protocol::process::{PROGRAM_LOWEST, map_flags};

use crate::area::{Area, Areas, Backing, EXECUTE, Kind, READ, Shared, WRITE};
use crate::frames::Frame;
use crate::kernel::{self, PassedMemory};
use crate::pages::{Pages, Run};
use crate::ram::Ram;
use crate::window;

/// Areas that one space may have.
const AREAS: usize = 65_530;
/// Below a growing stack this much stays free.
const STACK_GAP: u64 = 1 << 20;
/// Pages that a fork copies at most.
const COPIES: u32 = 32;
/// Where the search for a free place begins, downwards: in the same GiB as the stack, which saves a page table.
const MAP_TOP: u64 = NATIVE_BASE - (256 << 20);

/// An address space.
pub(crate) struct Space {
    /// The kernel's process.
    pub(crate) process: Handle,
    /// What is where.
    pub(crate) areas: Areas,
    /// Which frames are there.
    pub(crate) pages: Pages,
    /// Its share of kernel objects.
    pub(crate) quota: Quota,
    /// Most pages that were ever present.
    pub(crate) peak: u64,
    /// POSIX processes in it (tasks share one).
    pub(crate) users: u32,
    /// How often it was forked.
    forks: u32,
}

/// What became of a page fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Try again.
    Resolved,
    /// Not allowed there.
    Refused,
    /// No memory for it.
    Exhausted,
}

/// Where the bytes of a page are.
enum Place {
    Frame(Frame),
    Memory(Rc<PassedMemory>, u64),
    Zeros,
}

fn page_of(address: u64) -> u64 {
    address / PAGE_SIZE
}

/// Access bits as the kernel has them: whatever may be done, reading may.
fn kernel_access(access: u8) -> u64 {
    u64::from(if access == 0 { 0 } else { access | READ })
}

fn private(access: u8) -> u8 {
    access & !WRITE
}

/// A whole-page range within user space.
///
/// # Errors
/// EINVAL, or ENOMEM if it leaves user space.
pub(crate) fn check_range(address: u64, length: u64) -> Result<(u64, u64), Errno> {
    if !address.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL);
    }
    let length = length.checked_next_multiple_of(PAGE_SIZE).ok_or(Errno::ENOMEM)?;
    let end = address.checked_add(length).filter(|&end| end <= USER_END).ok_or(Errno::ENOMEM)?;
    Ok((address, end))
}

impl Space {
    /// An empty space around a kernel process.
    pub(crate) fn new(process: Handle, quota: Quota) -> Self {
        Self { process, areas: Areas::default(), pages: Pages::default(), quota, peak: 0, users: 1, forks: 0 }
    }

    /// Do what may need more kernel objects than the process has; give it more if that is why it fails.
    pub(crate) fn with_quota<T>(&mut self, mut attempt: impl FnMut(Handle) -> Result<T, Error>) -> Result<T, Error> {
        // Each time half as much again: a few times are enough for anything.
        for _ in 0..12 {
            match attempt(self.process) {
                Err(Error::QuotaExceeded) => self.enlarge()?,
                result => return result,
            }
        }
        Err(Error::QuotaExceeded)
    }

    /// More of whatever is nearly used up.
    fn enlarge(&mut self) -> Result<(), Error> {
        let used = kernel::usage(self.process)?.used;
        let mut quota = self.quota;
        let grow = |limit: &mut u32, used: u32, least: u32| {
            if used + least / 4 >= *limit {
                *limit = used + least.max(used / 2);
            }
        };
        grow(&mut quota.mappings, used.mappings, 64);
        grow(&mut quota.pages, used.pages, 4);
        grow(&mut quota.threads, used.threads, 4);
        grow(&mut quota.batons, used.batons, 4);
        if quota == self.quota {
            // It was one step that needed several.
            quota.mappings += (quota.mappings / 2).max(64);
            quota.pages += (quota.pages / 4).max(4);
        }
        kernel::set_quota(self.process, &quota)?;
        self.quota = quota;
        Ok(())
    }

    /// More objects of the kinds that the library makes itself.
    ///
    /// # Errors
    /// ENOMEM when they cannot be had.
    pub(crate) fn enlarge_by(&mut self, connections: u32, pulses: u32, pages: u32) -> Result<(), Errno> {
        let mut quota = self.quota;
        let add = |limit: &mut u32, more: u32| *limit = limit.saturating_add(more.min(4096));
        add(&mut quota.connections, connections);
        add(&mut quota.pulses, pulses);
        // A thread that waits has a gate for its pulse.
        add(&mut quota.gates, pulses);
        add(&mut quota.pages, pages);
        kernel::set_quota(self.process, &quota).map_err(|_| Errno::ENOMEM)?;
        self.quota = quota;
        Ok(())
    }

    /// Map a run of frames that are already in `pages`.
    fn show(&mut self, ram: &Ram, run: Run, access: u8) -> Result<(), Error> {
        let (memory, offset) = ram.frames.memory(run.frame);
        let length = run.count * PAGE_SIZE;
        let (address, access) = (run.page * PAGE_SIZE, kernel_access(access));
        self.with_quota(|process| kernel::map(process, memory, address, access, offset, length))
    }

    fn unshow(&mut self, start: u64, end: u64) -> Result<(), Error> {
        if start >= end {
            return Ok(());
        }
        self.with_quota(|process| kernel::unmap(process, start, end - start))
    }

    fn reshow(&mut self, start: u64, end: u64, access: u8) -> Result<(), Error> {
        let access = kernel_access(access);
        match self.with_quota(|process| kernel::protect(process, start, access, end - start)) {
            Err(Error::BadArgument) if access == 0 => self.unshow(start, end),
            result => result,
        }
    }

    /// What a page may be mapped with: a private page that others use too is not written.
    fn effective(ram: &Ram, kind: &Kind, frame: Frame) -> u8 {
        if !kind.is_shared() && ram.frames.uses(frame) > 1 { private(kind.access) } else { kind.access }
    }

    /// Where a new area goes.
    fn choose(&self, address: u64, length: u64, flags: u64) -> Result<u64, Errno> {
        let library = flags & map_flags::LIBRARY != 0;
        let (low, high) = if library { (NATIVE_BASE, USER_END) } else { (PROGRAM_LOWEST, NATIVE_BASE) };
        let fits = |address: u64| address >= low && address.checked_add(length).is_some_and(|end| end <= high);
        if flags & (map_flags::FIXED | map_flags::NO_REPLACE) != 0 {
            if !address.is_multiple_of(PAGE_SIZE) {
                return Err(Errno::EINVAL);
            }
            if !fits(address) {
                return Err(if address < low { Errno::EPERM } else { Errno::ENOMEM });
            }
            if flags & map_flags::NO_REPLACE != 0 && !self.areas.is_free(address, address + length) {
                return Err(Errno::EEXIST);
            }
            return Ok(address);
        }
        let hint = address & !(PAGE_SIZE - 1);
        if hint != 0 && fits(hint) && self.areas.is_free(hint, hint + length) {
            return Ok(hint);
        }
        if library {
            return Err(Errno::EINVAL);
        }
        let found = self.areas.find_free(length, PROGRAM_LOWEST, MAP_TOP, STACK_GAP);
        found.or_else(|| self.areas.find_free(length, PROGRAM_LOWEST, NATIVE_BASE, STACK_GAP)).ok_or(Errno::ENOMEM)
    }

    /// Make an area; `flags`: [`map_flags`]. Gives where.
    ///
    /// # Errors
    /// As mmap.
    pub(crate) fn map(
        &mut self,
        ram: &mut Ram,
        address: u64,
        length: u64,
        access: u64,
        flags: u64,
        backing: Backing,
    ) -> Result<u64, Errno> {
        if length == 0 || access > 7 {
            return Err(Errno::EINVAL);
        }
        let length =
            length.checked_next_multiple_of(PAGE_SIZE).filter(|&length| length < USER_END).ok_or(Errno::ENOMEM)?;
        let address = self.choose(address, length, flags)?;
        if self.areas.count() >= AREAS || ram.is_scarce() {
            return Err(Errno::ENOMEM);
        }
        let access = access as u8;
        let kept = map_flags::SHARED | map_flags::NO_RESERVE | map_flags::GROWS_DOWN | map_flags::LIBRARY;
        let mut kind = Kind { access, flags: (flags & kept) as u8, charged: false, own: false, backing };
        let pages = page_of(length);
        if access == 0 && !kind.is_shared() {
            // What is mapped without access reserves addresses (thread stacks, arenas): made accessible later, it is charged as
            // it is touched.
            kind.flags |= map_flags::NO_RESERVE as u8;
        }
        let reserves = u64::from(kind.flags) & (map_flags::NO_RESERVE | map_flags::GROWS_DOWN) == 0;
        if !kind.is_shared() && access & WRITE != 0 && reserves {
            ram.charge(pages)?;
            kind.charged = true;
        }
        if kind.is_shared() && matches!(kind.backing, Backing::Anonymous) {
            ram.charge(pages)?;
            let shared = Shared { id: next_id(), pages: Pages::default(), charge: pages };
            kind.backing = Backing::Shared(Rc::new(RefCell::new(shared)), 0);
        }
        let area = Area { start: address, end: address + length, kind };
        let placed = self.unmap(ram, address, length).and_then(|()| self.show_memory(&area));
        if let Err(errno) = placed {
            self.drop_charge(ram, &area, 0);
            return Err(errno);
        }
        let populate = flags & map_flags::POPULATE != 0 && access != 0;
        self.areas.insert(area);
        if populate {
            self.populate(ram, address, address + length);
        }
        Ok(address)
    }

    /// Map what an area shows of a Memory, as far as that reaches.
    fn show_memory(&mut self, area: &Area) -> Result<(), Errno> {
        let Backing::Memory(memory, offset) = &area.kind.backing else { return Ok(()) };
        let length = memory.length.saturating_sub(*offset).min(area.length()) & !(PAGE_SIZE - 1);
        if length == 0 || area.kind.access == 0 {
            return Ok(());
        }
        let access = if area.kind.is_shared() { area.kind.access } else { private(area.kind.access) };
        let access = kernel_access(access.max(READ));
        let (handle, start) = (memory.handle, area.start);
        match self.with_quota(|process| kernel::map(process, handle, start, access, *offset, length)) {
            Ok(()) => Ok(()),
            Err(Error::NoRight) => Err(Errno::EACCES),
            Err(Error::QuotaExceeded | Error::Exhausted | Error::TableFull) => Err(Errno::ENOMEM),
            Err(_) => Err(Errno::ENODEV),
        }
    }

    /// Fill pages now, as far as memory goes.
    fn populate(&mut self, ram: &mut Ram, start: u64, end: u64) {
        let mut at = start;
        while at < end {
            let Some(area) = self.areas.find(at) else { return };
            let access = if area.kind.access & WRITE != 0 { abi::notice::access::WRITE } else { 0 };
            if self.fault(ram, at, access) != Fault::Resolved {
                return;
            }
            at += PAGE_SIZE;
            while at < end && self.pages.find(page_of(at)).is_some() {
                at += PAGE_SIZE;
            }
        }
    }

    /// Give back what an area was charged for, `present` pages of it having had frames; and the area's share in what it showed.
    fn drop_charge(&mut self, ram: &mut Ram, area: &Area, present: u64) {
        if area.kind.charged {
            ram.release(area.pages());
        } else if !area.kind.is_shared() {
            ram.release(present);
        }
        if let Backing::Shared(shared, _) = &area.kind.backing {
            release_shared(ram, shared);
        }
    }

    /// How much of a range is unmapped in one go, so that nobody else waits for long: up to some thousand frames.
    #[must_use]
    pub(crate) fn soon_unmapped(&self, address: u64, length: u64) -> u64 {
        const FRAMES: u32 = 2048;
        let Ok((start, end)) = check_range(address, length) else { return length };
        let stop = self.pages.bounded(page_of(start), page_of(end), FRAMES) * PAGE_SIZE;
        if stop < end { stop - start } else { length }
    }

    /// Remove whatever is in a range.
    ///
    /// # Errors
    /// ENOMEM if a mapping cannot be split; EINVAL for a bad range.
    pub(crate) fn unmap(&mut self, ram: &mut Ram, address: u64, length: u64) -> Result<(), Errno> {
        let (start, end) = check_range(address, length)?;
        if self.areas.is_free(start, end) {
            return Ok(());
        }
        self.unshow(start, end).map_err(|_| Errno::ENOMEM)?;
        for area in self.areas.carve(start, end) {
            let present = self.discard(ram, area.start, area.end);
            self.drop_charge(ram, &area, present);
        }
        Ok(())
    }

    /// Forget the frames of a range, which is not mapped any more. Gives how many there were.
    fn discard(&mut self, ram: &mut Ram, start: u64, end: u64) -> u64 {
        let mut present = 0;
        let mut at = page_of(start);
        while let Some((page, frame)) = self.pages.next(at, page_of(end)) {
            self.pages.remove(page);
            ram.frames.release(frame);
            present += 1;
            at = page + 1;
        }
        present
    }

    /// Everything goes: the kernel's process was destroyed.
    pub(crate) fn clear(&mut self, ram: &mut Ram) {
        let pages = core::mem::take(&mut self.pages);
        for area in self.areas.carve(0, u64::MAX) {
            let counted = !area.kind.charged && !area.kind.is_shared();
            let present = if counted { pages.resident(page_of(area.start), page_of(area.end)) } else { 0 };
            self.drop_charge(ram, &area, present);
        }
        for frame in pages.frames() {
            ram.frames.release(frame);
        }
    }

    /// Change what may be done in a range.
    ///
    /// # Errors
    /// As mprotect.
    pub(crate) fn protect(&mut self, ram: &mut Ram, address: u64, length: u64, access: u64) -> Result<(), Errno> {
        let (start, end) = check_range(address, length)?;
        if access > 7 {
            return Err(Errno::EINVAL);
        }
        if !self.areas.covers(start, end) {
            return Err(Errno::ENOMEM);
        }
        if self.areas.count() + 2 > AREAS {
            return Err(Errno::ENOMEM);
        }
        let access = access as u8;
        // What becomes writable is charged from now on, less what was charged page by page.
        let (mut new, mut old) = (0, 0);
        for (first, stop, kind) in self.areas.range(start, end) {
            if needs_charge(kind, access) {
                let (first, stop) = (page_of(first.max(start)), page_of(stop.min(end)));
                new += stop - first;
                old += self.pages.resident(first, stop);
            }
        }
        ram.charge(new)?;
        let mut failed = None;
        for mut area in self.areas.carve(start, end) {
            if failed.is_none() {
                let charged = area.kind.charged || needs_charge(&area.kind, access);
                let before = area.kind.access;
                area.kind.access = access;
                match self.reshow_area(ram, &area, before) {
                    Ok(()) => area.kind.charged = charged,
                    Err(errno) => {
                        area.kind.access = before;
                        failed = Some(errno);
                    }
                }
            }
            self.areas.insert(area);
        }
        if let Some(errno) = failed {
            // Rare (no record left for a split): what was charged for parts that stayed as they were is found by counting.
            let mut kept = 0;
            for (first, stop, kind) in self.areas.range(start, end) {
                if needs_charge(kind, access) {
                    kept += page_of(stop.min(end)) - page_of(first.max(start));
                }
            }
            ram.release(kept.min(new));
            return Err(errno);
        }
        ram.release(old);
        Ok(())
    }

    /// Bring the kernel's mappings in line with an area whose access changed.
    fn reshow_area(&mut self, ram: &Ram, area: &Area, before: u8) -> Result<(), Errno> {
        let refused = |error| if error == Error::NoRight { Errno::EACCES } else { Errno::ENOMEM };
        let (access, shared) = (area.kind.access, area.kind.is_shared());
        if matches!(area.kind.backing, Backing::Memory(..)) {
            if before == 0 && access != 0 {
                // Pages of the Memory that were never mapped, or were hidden: map them anew around the frames.
                self.unshow(area.start, area.end).map_err(refused)?;
                self.show_memory_around(area)?;
                return self.show_frames(ram, area).map_err(refused);
            }
            if access != before {
                let plain = if shared { access } else { private(access) };
                self.reshow(area.start, area.end, plain).map_err(refused)?;
            }
        } else if self.pages.next(page_of(area.start), page_of(area.end)).is_none() {
            return Ok(());
        } else {
            let plain = if shared { access } else { private(access) };
            self.reshow(area.start, area.end, plain).map_err(refused)?;
        }
        if access & WRITE != 0 && !shared {
            let mut at = page_of(area.start);
            let end = page_of(area.end);
            while let Some((page, frame)) = self.pages.next(at, end) {
                at = page + 1;
                if ram.frames.uses(frame) > 1 {
                    continue;
                }
                while self.pages.find(at).is_some_and(|frame| at < end && ram.frames.uses(frame) == 1) {
                    at += 1;
                }
                self.reshow(page * PAGE_SIZE, at * PAGE_SIZE, access).map_err(refused)?;
            }
        }
        Ok(())
    }

    /// Map an area's Memory wherever no frame takes its place.
    fn show_memory_around(&mut self, area: &Area) -> Result<(), Errno> {
        let Backing::Memory(memory, offset) = &area.kind.backing else { return Ok(()) };
        let mut at = page_of(area.start);
        let end = page_of(area.end);
        while at < end {
            let next = self.pages.next(at, end).map_or(end, |(page, _)| page);
            if next > at {
                let (start, stop) = (at * PAGE_SIZE, next * PAGE_SIZE);
                let backing = Backing::Memory(memory.clone(), offset + (start - area.start));
                self.show_memory(&Area { start, end: stop, kind: Kind { backing, ..area.kind.clone() } })?;
            }
            at = next + 1;
        }
        Ok(())
    }

    /// Put frames that others use too at the pages of an area, where they are.
    ///
    /// # Errors
    /// ENOMEM when the kernel has no more objects for it.
    pub(crate) fn show_shared(&mut self, ram: &mut Ram, area: &Area, frames: &[Option<Frame>]) -> Result<(), Errno> {
        // A few are surely written: copied now they cost no fault.
        let few = frames.iter().flatten().count() <= 2;
        for (at, frame) in frames.iter().enumerate() {
            let Some(frame) = *frame else { continue };
            let page = page_of(area.start) + at as u64;
            match if few { ram.copy(frame) } else { None } {
                Some(copy) => {
                    self.pages.insert(page, copy);
                }
                None => {
                    ram.frames.share(frame);
                    self.pages.insert(page, frame);
                }
            }
        }
        self.show_frames(ram, area).map_err(|_| Errno::ENOMEM)
    }

    /// Map all frames of an area.
    fn show_frames(&mut self, ram: &Ram, area: &Area) -> Result<(), Error> {
        let mut at = page_of(area.start);
        while let Some((run, access)) =
            self.pages.run(at, page_of(area.end), |_, frame| Self::effective(ram, &area.kind, frame))
        {
            self.show(ram, run, access)?;
            at = run.page + run.count;
        }
        Ok(())
    }

    /// madvise(MADV_DONTNEED): private pages are forgotten, to be filled anew.
    ///
    /// # Errors
    /// ENOMEM for a range with holes.
    pub(crate) fn forget(&mut self, ram: &mut Ram, address: u64, length: u64) -> Result<(), Errno> {
        let (start, end) = check_range(address, length)?;
        if !self.areas.covers(start, end) {
            return Err(Errno::ENOMEM);
        }
        let mut at = start;
        while let Some(area) = self.areas.find(at).filter(|_| at < end) {
            let (first, stop) = (at, area.end.min(end));
            at = stop;
            if area.kind.is_shared() || self.pages.next(page_of(first), page_of(stop)).is_none() {
                continue;
            }
            self.unshow(first, stop).map_err(|_| Errno::ENOMEM)?;
            let present = self.discard(ram, first, stop);
            if !area.kind.charged {
                ram.release(present);
            }
            if let Backing::Memory(memory, offset) = &area.kind.backing {
                let backing = Backing::Memory(memory.clone(), offset + (first - area.start));
                self.show_memory(&Area { start: first, end: stop, kind: Kind { backing, ..area.kind.clone() } })?;
            }
        }
        Ok(())
    }

    /// mremap. `target`: where it must go.
    ///
    /// # Errors
    /// As mremap.
    pub(crate) fn remap(
        &mut self,
        ram: &mut Ram,
        address: u64,
        old: u64,
        new: u64,
        may_move: bool,
        target: Option<u64>,
    ) -> Result<u64, Errno> {
        let (start, end) = check_range(address, old)?;
        let new =
            new.checked_next_multiple_of(PAGE_SIZE).filter(|&new| new != 0 && new < USER_END).ok_or(Errno::EINVAL)?;
        let old = end - start;
        if target.is_none() && new <= old && self.areas.covers(start, end) {
            self.unmap(ram, start + new, old - new)?;
            return Ok(start);
        }
        let area = self.areas.find(start).filter(|area| area.end >= end && end > start).ok_or(Errno::EFAULT)?;
        if target.is_none() {
            let grown =
                start.checked_add(new).filter(|&stop| stop <= if start < NATIVE_BASE { NATIVE_BASE } else { USER_END });
            if let Some(stop) = grown
                && area.end == end
                && self.areas.is_free(end, stop)
            {
                return self.extend(ram, &area, stop).map(|()| start);
            }
            if !may_move {
                return Err(Errno::ENOMEM);
            }
        }
        let flags = u64::from(area.kind.flags);
        let to = match target {
            Some(to) => {
                let to = self.choose(to, new, flags | map_flags::FIXED)?;
                if to < end && start < to + new {
                    return Err(Errno::EINVAL);
                }
                to
            }
            None if start >= NATIVE_BASE => return Err(Errno::ENOMEM),
            None => self.choose(0, new, flags)?,
        };
        if self.areas.count() + 3 > AREAS {
            return Err(Errno::ENOMEM);
        }
        let moved = new.min(old);
        let extra = page_of(new - moved);
        if extra > 0 && matches!(area.kind.backing, Backing::Memory(..)) {
            // More of a file would be other Memory, which only its server could show.
            return Err(Errno::ENOMEM);
        }
        if area.kind.charged {
            ram.charge(extra)?;
        }
        if let Backing::Shared(shared, _) = &area.kind.backing
            && extra > 0
            && let Err(errno) = ram.charge(extra)
        {
            let _ = shared;
            return Err(errno);
        }
        let prepared = self
            .unmap(ram, to, new)
            .and_then(|()| self.unmap(ram, start + moved, old - moved))
            .and_then(|()| self.unshow(start, start + moved).map_err(|_| Errno::ENOMEM));
        if let Err(errno) = prepared {
            if area.kind.charged || matches!(area.kind.backing, Backing::Shared(..)) {
                ram.release(extra);
            }
            return Err(errno);
        }
        let Some(part) = self.areas.carve(start, start + moved).pop() else { return Err(Errno::EFAULT) };
        if let Backing::Shared(shared, _) = &part.kind.backing {
            shared.borrow_mut().charge += extra;
        }
        let mut at = page_of(start);
        while let Some((page, frame)) = self.pages.next(at, page_of(start + moved)) {
            self.pages.remove(page);
            self.pages.insert(page_of(to) + (page - page_of(start)), frame);
            at = page + 1;
        }
        let area = Area { start: to, end: to + new, kind: part.kind };
        // Pages that cannot be mapped now are mapped when they are touched.
        let _ = self.show_memory_around(&area);
        let _ = self.show_frames(ram, &area);
        self.areas.insert(area);
        Ok(to)
    }

    fn extend(&mut self, ram: &mut Ram, area: &Area, stop: u64) -> Result<(), Errno> {
        let extra = page_of(stop - area.end);
        if let Backing::Shared(shared, _) = &area.kind.backing {
            ram.charge(extra)?;
            shared.borrow_mut().charge += extra;
        } else if area.kind.charged {
            ram.charge(extra)?;
        }
        let backing = match &area.kind.backing {
            Backing::Anonymous => Backing::Anonymous,
            Backing::Shared(shared, offset) => Backing::Shared(shared.clone(), offset + area.length()),
            Backing::Memory(memory, offset) => Backing::Memory(memory.clone(), offset + area.length()),
        };
        let added = Area { start: area.end, end: stop, kind: Kind { backing, ..area.kind.clone() } };
        self.show_memory(&added)?;
        self.areas.insert(added);
        Ok(())
    }

    /// Resolve a page fault. `access`: [`abi::notice::access`] bits.
    pub(crate) fn fault(&mut self, ram: &mut Ram, address: u64, access: u64) -> Fault {
        use abi::notice::access as bits;
        let Some(area) = self.areas.find(address) else { return Fault::Refused };
        let needed = if access & bits::WRITE != 0 {
            WRITE
        } else if access & bits::EXECUTE != 0 {
            EXECUTE
        } else {
            READ
        };
        let allowed = if area.kind.access == 0 { 0 } else { area.kind.access | READ };
        if allowed & needed == 0 {
            return Fault::Refused;
        }
        let result =
            match self.resolve(ram, &area, page_of(address), access & bits::WRITE != 0, access & bits::PRESENT != 0) {
                Ok(fault) => fault,
                Err(_) => Fault::Exhausted,
            };
        self.peak = self.peak.max(self.pages.count());
        if needed == WRITE && result == Fault::Resolved {
            self.pages.set_written(page_of(address), true);
        }
        result
    }

    /// Have the pages of a range be such that the kernel can write there: it makes no faults, and a fork takes from pages what
    /// they may be written with. Gives whether there was anything to do. (Where there is no memory for that, it is left undone.)
    pub(crate) fn make_writable(&mut self, ram: &mut Ram, address: u64, length: u64) -> bool {
        use abi::notice::access as bits;
        let mut changed = false;
        for page in page_of(address)..page_of(address + length - 1) + 1 {
            if !self.pages.is_written(page) {
                changed |= self.fault(ram, page * PAGE_SIZE, bits::WRITE | bits::PRESENT) == Fault::Resolved;
            }
        }
        changed
    }

    fn resolve(&mut self, ram: &mut Ram, area: &Area, page: u64, write: bool, present: bool) -> Result<Fault, Error> {
        let Some(frame) = self.pages.find(page) else { return self.fill(ram, area, page, write, present) };
        if write && !area.kind.is_shared() && ram.frames.uses(frame) > 1 {
            return self.separate(ram, area, page, frame);
        }
        if present {
            let (start, end) = self.alone_around(ram, area, page);
            self.reshow(start * PAGE_SIZE, end * PAGE_SIZE, area.kind.access)?;
        } else {
            let access = Self::effective(ram, &area.kind, frame);
            match self.show(ram, Run { page, frame, count: 1 }, access) {
                Ok(()) | Err(Error::Busy) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Fault::Resolved)
    }

    /// The pages around one, within an aligned run of 16, that nobody else uses: they may all be written.
    fn alone_around(&self, ram: &Ram, area: &Area, page: u64) -> (u64, u64) {
        let alone =
            |at: u64| self.pages.find(at).is_some_and(|frame| area.kind.is_shared() || ram.frames.uses(frame) == 1);
        let low = (page & !15).max(page_of(area.start));
        let high = (page | 15).min(page_of(area.end) - 1);
        let (mut start, mut end) = (page, page + 1);
        while start > low && alone(start - 1) {
            start -= 1;
        }
        while end <= high && alone(end) {
            end += 1;
        }
        (start, end)
    }

    /// A private copy of a page that others use too.
    fn separate(&mut self, ram: &mut Ram, area: &Area, page: u64, frame: Frame) -> Result<Fault, Error> {
        let Some(copy) = ram.copy(frame) else { return Ok(Fault::Exhausted) };
        self.replace(ram, area, page, copy)?;
        ram.frames.release(frame);
        Ok(Fault::Resolved)
    }

    /// Put a frame of this space's own in the place of what is mapped at a page.
    fn replace(&mut self, ram: &mut Ram, area: &Area, page: u64, frame: Frame) -> Result<(), Error> {
        if let Err(error) = self.unshow(page * PAGE_SIZE, (page + 1) * PAGE_SIZE) {
            ram.frames.release(frame);
            return Err(error);
        }
        self.pages.insert(page, frame);
        // If this fails the page is mapped at the next touch.
        self.show(ram, Run { page, frame, count: 1 }, area.kind.access)
    }

    /// Fill a page that has no frame.
    fn fill(&mut self, ram: &mut Ram, area: &Area, page: u64, write: bool, present: bool) -> Result<Fault, Error> {
        match &area.kind.backing {
            Backing::Anonymous => self.fill_zeros(ram, area, page),
            Backing::Shared(shared, offset) => {
                let at = page_of(*offset) + (page - page_of(area.start));
                let found = shared.borrow().pages.find(at);
                let frame = match found {
                    Some(frame) => frame,
                    None => {
                        let Some((frame, _)) = ram.zeroed(1) else { return Ok(Fault::Exhausted) };
                        shared.borrow_mut().pages.insert(at, frame);
                        frame
                    }
                };
                ram.frames.share(frame);
                self.pages.insert(page, frame);
                self.show(ram, Run { page, frame, count: 1 }, area.kind.access)?;
                Ok(Fault::Resolved)
            }
            Backing::Memory(memory, offset) => {
                let at = offset + (page - page_of(area.start)) * PAGE_SIZE;
                if at >= memory.length {
                    return Ok(Fault::Refused);
                }
                if write && !area.kind.is_shared() {
                    return self.fill_copies(ram, area, memory, page);
                }
                if present {
                    // It is there, with what the area allows: nothing can be given.
                    let plain = if area.kind.is_shared() { area.kind.access } else { private(area.kind.access) };
                    self.reshow(page * PAGE_SIZE, (page + 1) * PAGE_SIZE, plain)?;
                    return Ok(Fault::Resolved);
                }
                let access = if area.kind.is_shared() { area.kind.access } else { private(area.kind.access).max(READ) };
                let (handle, address) = (memory.handle, page * PAGE_SIZE);
                match self
                    .with_quota(|process| kernel::map(process, handle, address, kernel_access(access), at, PAGE_SIZE))
                {
                    Ok(()) | Err(Error::Busy) => Ok(Fault::Resolved),
                    Err(Error::QuotaExceeded | Error::Exhausted) => Ok(Fault::Exhausted),
                    Err(_) => Ok(Fault::Refused),
                }
            }
        }
    }

    /// Private copies of a Memory's page that is written, and of its neighbours in an aligned run of four if all are untouched:
    /// data that a program changes lies together.
    fn fill_copies(&mut self, ram: &mut Ram, area: &Area, memory: &PassedMemory, page: u64) -> Result<Fault, Error> {
        const BLOCK: u64 = 4;
        let Backing::Memory(_, offset) = &area.kind.backing else { return Ok(Fault::Refused) };
        let place = |page: u64| offset + (page - page_of(area.start)) * PAGE_SIZE;
        let first = page & !(BLOCK - 1);
        let whole = first >= page_of(area.start)
            && first + BLOCK <= page_of(area.end)
            && place(first + BLOCK) <= memory.length
            && self.pages.next(first, first + BLOCK).is_none()
            && (area.kind.charged || ram.charge(BLOCK).is_ok());
        let (first, wanted) = if whole { (first, BLOCK as u32) } else { (page, 1) };
        if !whole && !area.kind.charged && ram.charge(1).is_err() {
            return Ok(Fault::Exhausted);
        }
        let taken = ram.run(wanted);
        let count = taken.map_or(0, |(_, count)| count);
        if !area.kind.charged {
            ram.release(u64::from(wanted - count));
        }
        let Some((frame, count)) = taken else { return Ok(Fault::Exhausted) };
        // Of a shorter run the part that ends with the page.
        let first = if page < first + u64::from(count) { first } else { page + 1 - u64::from(count) };
        let (start, end) = (first * PAGE_SIZE, (first + u64::from(count)) * PAGE_SIZE);
        let done = copy_from(ram, memory, place(first), frame, count).and_then(|()| self.unshow(start, end));
        if let Err(error) = done {
            ram.frames.free_run(frame, count);
            if !area.kind.charged {
                ram.release(count.into());
            }
            return if error == Error::QuotaExceeded { Err(error) } else { Ok(Fault::Refused) };
        }
        for at in 0..u64::from(count) {
            self.pages.insert(first + at, Frame(frame.0 + at as u32));
        }
        // If this fails the pages are mapped at the next touch.
        self.show(ram, Run { page: first, frame, count: count.into() }, area.kind.access)?;
        Ok(Fault::Resolved)
    }

    /// Zeros for a page, and for some around it: the more, the longer the filled run before it.
    fn fill_zeros(&mut self, ram: &mut Ram, area: &Area, page: u64) -> Result<Fault, Error> {
        let mut block = 4;
        // A run that is already filled next to the block says that more will follow.
        while block < 64 {
            let start = page & !(block - 1);
            let (before, after) = (start.wrapping_sub(1), start + block);
            if self.pages.find(before).is_none() && self.pages.find(after).is_none() {
                break;
            }
            block *= 4;
        }
        let block = block.min(64);
        let low = (page & !(block - 1)).max(page_of(area.start));
        let high = ((page | (block - 1)) + 1).min(page_of(area.end));
        let (mut start, mut end) = (page, page + 1);
        while start > low && self.pages.find(start - 1).is_none() {
            start -= 1;
        }
        while end < high && self.pages.find(end).is_none() {
            end += 1;
        }
        let wanted = (end - start) as u32;
        let rounded = if wanted.is_power_of_two() { wanted } else { wanted.next_power_of_two() / 2 };
        if !area.kind.charged && ram.charge(u64::from(rounded)).is_err() {
            // Only what is touched, if anything.
            if ram.charge(1).is_err() {
                return Ok(Fault::Exhausted);
            }
            return self.fill_run(ram, area, page, page, 1);
        }
        // Of a shorter run the part around the page.
        self.fill_run(ram, area, page, start, rounded)
    }

    fn fill_run(&mut self, ram: &mut Ram, area: &Area, page: u64, start: u64, wanted: u32) -> Result<Fault, Error> {
        let zeroed = ram.zeroed(wanted);
        let count = zeroed.map_or(0, |(_, count)| count);
        if !area.kind.charged {
            ram.release(u64::from(wanted - count));
        }
        let Some((frame, count)) = zeroed else { return Ok(Fault::Exhausted) };
        let count = u64::from(count);
        let first = if page < start + count { start } else { page + 1 - count };
        for at in 0..count {
            self.pages.insert(first + at, Frame(frame.0 + at as u32));
        }
        let run = Run { page: first, frame, count };
        if let Err(error) = self.show(ram, run, area.kind.access) {
            for at in first..first + count {
                if let Some(frame) = self.pages.remove(at) {
                    ram.frames.release(frame);
                }
            }
            if !area.kind.charged {
                ram.release(count);
            }
            return Err(error);
        }
        Ok(Fault::Resolved)
    }

    /// Where the bytes at an address are; for writing, the page becomes this space's own.
    fn place(&mut self, ram: &mut Ram, address: u64, write: bool, force: bool) -> Result<Place, Errno> {
        let area = self.areas.find(address).ok_or(Errno::EFAULT)?;
        let allowed = if area.kind.access == 0 { 0 } else { area.kind.access | READ };
        if !force && allowed & if write { WRITE } else { READ } == 0 {
            return Err(Errno::EFAULT);
        }
        let page = page_of(address);
        if let Some(frame) = self.pages.find(page) {
            if !write || area.kind.is_shared() || ram.frames.uses(frame) == 1 {
                return Ok(Place::Frame(frame));
            }
            return match self.separate(ram, &area, page, frame) {
                Ok(Fault::Resolved) => self.pages.find(page).map(Place::Frame).ok_or(Errno::EFAULT),
                _ => Err(Errno::ENOMEM),
            };
        }
        if let Backing::Memory(memory, offset) = &area.kind.backing {
            let at = offset + (page - page_of(area.start)) * PAGE_SIZE;
            if at >= memory.length {
                return Err(Errno::EFAULT);
            }
            if !write || area.kind.is_shared() {
                return Ok(Place::Memory(memory.clone(), at));
            }
        }
        if !write && matches!(area.kind.backing, Backing::Anonymous) {
            return Ok(Place::Zeros);
        }
        match self.fill(ram, &area, page, write, false) {
            Ok(Fault::Resolved) => self.pages.find(page).map(Place::Frame).ok_or(Errno::EFAULT),
            Ok(Fault::Refused) => Err(Errno::EFAULT),
            _ => Err(Errno::ENOMEM),
        }
    }

    /// Read bytes of the space.
    ///
    /// # Errors
    /// EFAULT where there is nothing to read.
    pub(crate) fn read(&mut self, ram: &mut Ram, address: u64, bytes: &mut [u8]) -> Result<(), Errno> {
        let mut at = address;
        let mut rest = bytes;
        while !rest.is_empty() {
            let within = at % PAGE_SIZE;
            let count = (PAGE_SIZE - within).min(rest.len() as u64) as usize;
            let (part, others) = rest.split_at_mut(count);
            match self.place(ram, at, false, false)? {
                Place::Frame(frame) => window::read(ram.frames.physical(frame) + within, part),
                Place::Memory(memory, offset) => {
                    read_memory(&memory, offset, within, part).map_err(|_| Errno::EFAULT)?
                }
                Place::Zeros => part.fill(0),
            }
            rest = others;
            at = at.checked_add(count as u64).ok_or(Errno::EFAULT)?;
        }
        Ok(())
    }

    /// Write bytes to the space. `force`: also where the program may not.
    ///
    /// # Errors
    /// EFAULT where nothing can be written.
    pub(crate) fn write(&mut self, ram: &mut Ram, address: u64, bytes: &[u8], force: bool) -> Result<(), Errno> {
        let mut at = address;
        let mut rest = bytes;
        while !rest.is_empty() {
            let within = at % PAGE_SIZE;
            let count = (PAGE_SIZE - within).min(rest.len() as u64) as usize;
            let (part, others) = rest.split_at(count);
            match self.place(ram, at, true, force)? {
                Place::Frame(frame) => window::write(ram.frames.physical(frame) + within, part),
                Place::Memory(memory, offset) => {
                    write_memory(&memory, offset, within, part).map_err(|_| Errno::EFAULT)?
                }
                Place::Zeros => return Err(Errno::EFAULT),
            }
            rest = others;
            at = at.checked_add(count as u64).ok_or(Errno::EFAULT)?;
        }
        Ok(())
    }

    /// The physical address behind an address, made writable: for bytes that the kernel copies straight there.
    ///
    /// # Errors
    /// EFAULT where nothing can be written.
    pub(crate) fn physical(&mut self, ram: &mut Ram, address: u64) -> Result<u64, Errno> {
        match self.place(ram, address, true, true)? {
            Place::Frame(frame) => Ok(ram.frames.physical(frame) + address % PAGE_SIZE),
            _ => Err(Errno::EFAULT),
        }
    }

    /// Whether a page is there (mincore).
    #[must_use]
    pub(crate) fn is_resident(&self, address: u64) -> bool {
        self.pages.find(page_of(address)).is_some()
            || self.areas.find(address).is_some_and(|area| matches!(area.kind.backing, Backing::Memory(..)))
    }

    /// What shared futexes at an address are known by; `None`: private to this space.
    #[must_use]
    pub(crate) fn shared_key(&self, address: u64) -> Option<(u64, u64)> {
        let area = self.areas.find(address)?;
        if !area.kind.is_shared() {
            return None;
        }
        let within = address - area.start;
        match &area.kind.backing {
            Backing::Anonymous => None,
            Backing::Shared(shared, offset) => Some((shared.borrow().id, offset + within)),
            Backing::Memory(memory, _) if memory.base == 0 => None,
            Backing::Memory(memory, offset) => Some((0, memory.base + offset + within)),
        }
    }

    /// Make `child` a copy of this space: areas, frames shared, nothing private writable in either.
    ///
    /// # Errors
    /// ENOMEM when the copy cannot be promised, or the kernel has no more objects for it.
    pub(crate) fn fork_into(&mut self, ram: &mut Ram, child: &mut Self, spare: u64) -> Result<(), Errno> {
        let mut charge = 0;
        for (start, end, kind) in self.areas.from(0) {
            if kind.own || kind.is_shared() {
                continue;
            }
            charge +=
                if kind.charged { page_of(end - start) } else { self.pages.resident(page_of(start), page_of(end)) };
        }
        ram.charge_leaving(charge, spare)?;
        child.areas = self.areas.clone();
        let mut own = alloc::vec::Vec::new();
        let mut failed = false;
        let mut run: Option<(u64, u64, bool)> = None;
        let copies = self.copies(ram);
        let mut copied = alloc::vec::Vec::new();
        if copies {
            for (start, end, kind) in self.areas.from(0) {
                if !kind.own && !kind.is_shared() && kind.access & WRITE != 0 {
                    self.written_runs(ram, page_of(start), page_of(end), &mut copied);
                }
            }
        }
        child.pages = self.pages.clone();
        child.pages.forget_written();
        for frame in self.pages.frames() {
            ram.frames.share(frame);
        }
        let mut copied = copied.into_iter().peekable();
        // Taken out, so that both spaces can be changed meanwhile.
        let areas = core::mem::take(&mut child.areas);
        for (start, end, kind) in areas.from(0) {
            if kind.own {
                own.push((start, end));
                continue;
            }
            let mut from = start;
            while let Some((page, count)) = copied.next_if(|(page, _)| *page < page_of(end)) {
                let done = self.copy_run(ram, child, kind.access, page, count).unwrap_or(0);
                // What there was no memory for is shared like the rest.
                for at in done..count {
                    self.pages.set_written(page + at, false);
                }
                if done > 0 {
                    // What is before it goes as it is; the copied pages stay the parent's own.
                    run = self.share_next(child, run, (from, page * PAGE_SIZE, false), &mut failed);
                    from = (page + done) * PAGE_SIZE;
                }
            }
            run = self.share_next(child, run, (from, end, kind.is_shared()), &mut failed);
        }
        if let Some(done) = run {
            failed |= self.share_with(child, done).is_err();
        }
        child.areas = areas;
        for (start, end) in own {
            child.areas.carve(start, end);
            child.discard(ram, start, end);
        }
        child.peak = child.pages.count();
        // The charge is the child's now: `clear` gives it back.
        if failed { Err(Errno::ENOMEM) } else { Ok(()) }
    }

    /// Add a range to the one that is to be shared next: neighbours go in one call.
    fn share_next(
        &mut self,
        child: &mut Self,
        run: Option<(u64, u64, bool)>,
        next: (u64, u64, bool),
        failed: &mut bool,
    ) -> Option<(u64, u64, bool)> {
        match run {
            _ if next.0 >= next.1 => run,
            Some((first, stop, shared)) if stop == next.0 && shared == next.2 => Some((first, next.1, shared)),
            Some(done) => {
                *failed |= self.share_with(child, done).is_err();
                Some(next)
            }
            None => Some(next),
        }
    }

    /// Whether a fork copies pages at once: those written since the last one, which both will write again; two faults cost
    /// more than a copy. Not the first time, when all are, and now and then not, to learn anew which.
    fn copies(&mut self, ram: &Ram) -> bool {
        self.forks += 1;
        let copies = self.forks % 16 != 1 && self.pages.written() <= COPIES && !ram.is_scarce();
        if !copies {
            self.pages.forget_written();
        }
        copies
    }

    /// Runs of up to eight pages of a range that were written since the last fork and that nobody else uses.
    fn written_runs(&self, ram: &Ram, start: u64, end: u64, runs: &mut alloc::vec::Vec<(u64, u64)>) {
        for (page, frame) in self.pages.written_range(start, end) {
            if ram.frames.uses(frame) > 1 {
                continue;
            }
            match runs.last_mut() {
                Some((first, count)) if *first + *count == page && *count < 8 && *first >= start => *count += 1,
                _ => runs.push((page, 1)),
            }
        }
    }

    /// Copy pages for a child, which has them like the parent so far; how many were, `None` for want of memory.
    fn copy_run(&self, ram: &mut Ram, child: &mut Self, access: u8, page: u64, count: u64) -> Option<u64> {
        let (frame, count) = ram.exactly(count as u32)?;
        for at in 0..u64::from(count) {
            let to = Frame(frame.0 + at as u32);
            if let Some(from) = child.pages.insert(page + at, to) {
                window::copy_page(ram.frames.physical(from), ram.frames.physical(to));
                ram.frames.release(from);
            }
        }
        // What cannot be mapped now is mapped when it is touched.
        if child.show(ram, Run { page, frame, count: count.into() }, access).is_ok() {
            for at in 0..u64::from(count) {
                child.pages.set_written(page + at, true);
            }
        }
        Some(count.into())
    }

    /// Either side's share may run out: the parent's where its records have to be split.
    fn share_with(&mut self, child: &mut Self, (start, end, shared): (u64, u64, bool)) -> Result<(), Error> {
        let (source, target) = (self.process, child.process);
        self.with_quota(|_| {
            let result = kernel::share_range(target, source, start, end - start, shared);
            if result == Err(Error::QuotaExceeded) {
                // What was shared before it ran out would be in the way of the repetition.
                kernel::unmap(target, start, end - start)?;
                child.enlarge()?;
            }
            result
        })
    }
}

/// One object's share is dropped; the last one's end frees its frames.
fn release_shared(ram: &mut Ram, shared: &Rc<RefCell<Shared>>) {
    // The caller's area still holds one; others are other areas'.
    if Rc::strong_count(shared) > 1 {
        return;
    }
    let mut shared = shared.borrow_mut();
    let pages = core::mem::take(&mut shared.pages);
    for (_, frame) in pages.range(0, u64::MAX) {
        ram.frames.release(frame);
    }
    ram.release(shared.charge);
    shared.charge = 0;
}

/// Whether an area of this kind has to be charged when its access becomes `access`.
fn needs_charge(kind: &Kind, access: u8) -> bool {
    let free = (map_flags::NO_RESERVE | map_flags::GROWS_DOWN) as u8;
    !kind.charged && !kind.is_shared() && access & WRITE != 0 && kind.flags & free == 0
}

/// A number that was not used before.
pub(crate) fn next_id() -> u64 {
    use core::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Run `act` while pages of a Memory are mapped in the scratch window.
#[cfg(target_os = "none")]
fn with_scratch<T>(
    memory: &PassedMemory,
    offset: u64,
    pages: u64,
    write: bool,
    act: impl FnOnce() -> T,
) -> Result<T, Error> {
    let access = kernel_access(if write { READ | WRITE } else { READ });
    let (offset, length) = (offset & !(PAGE_SIZE - 1), pages * PAGE_SIZE);
    kernel::map(Handle::SELF_PROCESS, memory.handle, window::SCRATCH, access, offset, length)?;
    let result = act();
    kernel::unmap(Handle::SELF_PROCESS, window::SCRATCH, length)?;
    Ok(result)
}

/// Fill frames with the content of a Memory's pages.
#[cfg(target_os = "none")]
fn copy_from(ram: &Ram, memory: &PassedMemory, offset: u64, frame: Frame, count: u32) -> Result<(), Error> {
    let physical = ram.frames.physical(frame);
    with_scratch(memory, offset, count.into(), false, || window::copy_scratch(physical, u64::from(count) * PAGE_SIZE))
}

#[cfg(target_os = "none")]
fn read_memory(memory: &PassedMemory, offset: u64, within: u64, bytes: &mut [u8]) -> Result<(), Error> {
    with_scratch(memory, offset, 1, false, || window::read_scratch(within, bytes))
}

#[cfg(target_os = "none")]
fn write_memory(memory: &PassedMemory, offset: u64, within: u64, bytes: &[u8]) -> Result<(), Error> {
    with_scratch(memory, offset, 1, true, || window::write_scratch(within, bytes))
}

/// In tests a Memory's page is filled with its page number.
#[cfg(not(target_os = "none"))]
fn copy_from(ram: &Ram, _memory: &PassedMemory, offset: u64, frame: Frame, count: u32) -> Result<(), Error> {
    for at in 0..u64::from(count) {
        let byte = (offset / PAGE_SIZE + at) as u8;
        window::write(ram.frames.physical(frame) + at * PAGE_SIZE, &[byte; PAGE_SIZE as usize]);
    }
    Ok(())
}

#[cfg(not(target_os = "none"))]
fn read_memory(_memory: &PassedMemory, offset: u64, _within: u64, bytes: &mut [u8]) -> Result<(), Error> {
    bytes.fill((offset / PAGE_SIZE) as u8);
    Ok(())
}

#[cfg(not(target_os = "none"))]
fn write_memory(_memory: &PassedMemory, _offset: u64, _within: u64, _bytes: &[u8]) -> Result<(), Error> {
    Ok(())
}
