//! Where file pages come from: RAM of the process service, mapped here at addresses of our own choice.

use alloc::vec::Vec;

use abi::{Handle, Rights};
use protocol::process;
use runtime::mapped::{FREE_ADDRESS, Window};
use runtime::{Buffers, Options, handle};

use crate::PAGE;
use crate::content::{RUN_PAGES, Run, Store};

/// Classes of runs: 1, 2, 4 … pages.
const CLASSES: usize = RUN_PAGES.ilog2() as usize + 1;
/// Addresses for the runs of one class.
const CLASS_SPAN: u64 = 64 << 30;

/// Addresses for runs of one size, used again and again.
#[derive(Debug, Default)]
struct Places {
    free: Vec<u32>,
    next: u32,
}

impl Places {
    fn take(&mut self, most: u64) -> Option<u32> {
        if let Some(place) = self.free.pop() {
            return Some(place);
        }
        if u64::from(self.next) >= most {
            return None;
        }
        // Room for every place, so that giving back never allocates.
        self.free.try_reserve(self.next as usize + 1).ok()?;
        self.next += 1;
        Some(self.next - 1)
    }
}

#[derive(Debug)]
struct Allocation {
    window: Window,
    number: u64,
    place: u32,
}

/// The pages of all files.
#[derive(Debug)]
pub(crate) struct Pages {
    process: Handle,
    archive: &'static [u8],
    places: [Places; CLASSES],
    allocations: Vec<Option<Allocation>>,
    free: Vec<usize>,
    /// Pages in use.
    pub(crate) used: u64,
}

impl Pages {
    /// RAM from `process`; `archive` is where runs of the boot archive lie.
    pub(crate) fn new(process: Handle, archive: &'static [u8]) -> Self {
        Self { process, archive, places: Default::default(), allocations: Vec::new(), free: Vec::new(), used: 0 }
    }

    /// What a program may do with a run that it maps. With the right to manage, the process service knows which RAM it is.
    pub(crate) const fn rights(ram: bool, writes: bool) -> Rights {
        let rights = Rights::READ.and(Rights::EXECUTE).and(Rights::COPY);
        let rights = if ram { rights.and(Rights::MANAGE) } else { rights };
        if writes { rights.and(Rights::WRITE) } else { rights }
    }

    fn slot(&mut self) -> Option<usize> {
        if let Some(slot) = self.free.pop() {
            return Some(slot);
        }
        self.allocations.try_reserve(1).ok()?;
        self.free.try_reserve(self.allocations.len() + 1).ok()?;
        self.allocations.push(None);
        Some(self.allocations.len() - 1)
    }

    fn window(&self, run: &Run) -> Option<&Window> {
        let slot = usize::try_from(run.number?).ok()?;
        self.allocations.get(slot)?.as_ref().map(|allocation| &allocation.window)
    }

    fn map(&mut self, class: usize, pages: u64) -> Option<(Allocation, Handle)> {
        let length = pages * PAGE;
        let place = self.places[class].take(CLASS_SPAN / length)?;
        let address = FREE_ADDRESS + class as u64 * CLASS_SPAN + u64::from(place) * length;
        let mapped = handle::reserve().ok().and_then(|memory| {
            let answer = process::allocate(
                self.process,
                length,
                process::allocate_flags::FOR_DATA,
                &mut Buffers::new().take(memory),
                Options::NONE,
            );
            let window = answer.as_ref().ok().and_then(|_| Window::map(memory, address, 0, length).ok());
            match (answer, window) {
                (Ok(answer), Some(window)) => Some((Allocation { window, number: answer.number, place }, memory)),
                (answer, _) => {
                    handle::close(memory);
                    if let Ok(answer) = answer {
                        self.give_back(answer.number);
                    }
                    None
                }
            }
        });
        if mapped.is_none() {
            self.places[class].free.push(place);
        }
        mapped
    }

    fn give_back(&self, number: u64) {
        let _ = process::release(self.process, number, &mut Buffers::new(), Options::NONE);
    }
}

impl Store for Pages {
    fn allocate(&mut self, pages: u64) -> Option<Run> {
        let class = pages.ilog2() as usize;
        let slot = self.slot()?;
        let Some((allocation, memory)) = self.map(class, pages) else {
            self.free.push(slot);
            return None;
        };
        let address = allocation.window.address();
        self.allocations[slot] = Some(allocation);
        self.used += pages;
        Some(Run { address, memory, offset: 0, pages, number: Some(slot as u64) })
    }

    fn release(&mut self, run: Run) {
        let slot = run.number.and_then(|slot| usize::try_from(slot).ok());
        let Some((slot, allocation)) = slot.and_then(|slot| Some((slot, self.allocations.get_mut(slot)?.take()?)))
        else {
            return;
        };
        self.free.push(slot);
        self.used -= run.pages;
        allocation.window.unmap();
        handle::close(run.memory);
        self.give_back(allocation.number);
        self.places[run.pages.ilog2() as usize].free.push(allocation.place);
    }

    fn clear(&mut self, run: &Run, offset: u64, length: u64) {
        if let Some(window) = self.window(run) {
            window.clear(offset, length);
        }
    }

    fn copy_in(&mut self, run: &Run, offset: u64, bytes: &[u8]) {
        if let Some(window) = self.window(run) {
            window.copy_in(offset, bytes);
        }
    }

    fn copy(&mut self, from: &Run, from_offset: u64, to: &Run, to_offset: u64, length: u64) {
        // Only the archive is ever copied from.
        let start = (from.offset + from_offset) as usize;
        let end = (start + length as usize).min(self.archive.len());
        if let Some(bytes) = self.archive.get(start..end) {
            self.copy_in(to, to_offset, bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_used_again() {
        let mut places = Places::default();
        assert_eq!((places.take(2), places.take(2), places.take(2)), (Some(0), Some(1), None));
        places.free.push(0);
        assert_eq!(places.take(2), Some(0));
    }

    #[test]
    fn nothing_is_had_without_a_process_service() {
        let mut pages = Pages::new(Handle::NONE, &[]);
        assert!(pages.allocate(4).is_none());
        assert!(pages.allocate(4).is_none());
        assert_eq!((pages.used, pages.places[2].next, pages.allocations.len()), (0, 1, 1));
    }
}
