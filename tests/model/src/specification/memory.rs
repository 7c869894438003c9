//! Memory: parts of parts, and what processes see of them at which addresses. A process has a window of a few pages; a page of
//! all there is holds one word.

use abi::object::{Kind, access};
use abi::{Error, Handle, Rights};

use super::{Answer, DONE, MemoryId, Object, Outcome, ProcessId, Specification, ThreadId};
use crate::specification::object::{Memory, Page};

/// Pages of a window.
pub const WINDOW: usize = 3;
/// How often a part can be of a part.
const DEPTH: usize = 32;

impl Specification {
    /// There is new Memory of the supervisor's, which nobody else has.
    pub fn add_memory(&mut self, pages: usize) -> MemoryId {
        let first = self.contents.len();
        self.contents.resize(first + pages, 0);
        self.memories.push(Memory { alive: true, owner: None, parent: None, first, pages });
        self.memories.len() - 1
    }

    fn memory_of(&self, process: ProcessId, handle: Handle, rights: Rights) -> Result<MemoryId, Error> {
        match self.object(process, handle, Kind::Memory, rights)? {
            Object::Memory(memory) => Ok(memory),
            _ => Err(Error::WrongKind),
        }
    }

    fn depth(&self, memory: MemoryId) -> usize {
        self.memories[memory].parent.map_or(0, |parent| 1 + self.depth(parent))
    }

    /// A part of a Memory, with no more rights. Another process may pay for it.
    pub(super) fn derive(
        &mut self,
        process: ProcessId,
        (whole, payer): (Handle, Handle),
        (offset, pages): (usize, usize),
        rights: Rights,
    ) -> Answer {
        let parent = self.memory_of(process, whole, Rights::COPY)?;
        let granted = self.entry(process, whole).map_or(Rights::NONE, |entry| entry.rights.intersect(rights));
        let payer = self.process_of(process, payer)?;
        if pages == 0 || offset + pages > self.memories[parent].pages {
            return Err(Error::BadArgument);
        }
        // The supervisor's own is a part of all there is.
        if self.depth(parent) + 2 == DEPTH {
            return Err(Error::QuotaExceeded);
        }
        let part = Object::Memory(self.memories.len());
        self.charge(payer, part)?;
        let first = self.memories[parent].first + offset;
        self.memories.push(Memory { alive: true, owner: Some(payer), parent: Some(parent), first, pages });
        self.new_handle(process, part, granted).inspect_err(|_| self.forget(part))
    }

    /// Pages of a Memory come to be at a free place of a process's window.
    pub(super) fn map(
        &mut self,
        process: ProcessId,
        (into, memory): (Handle, Handle),
        (place, offset, pages): (usize, usize, usize),
        bits: u64,
    ) -> Answer {
        let into = self.process_of(process, into)?;
        let id = self.memory_of(process, memory, Rights::NONE)?;
        let Memory { first, pages: length, .. } = self.memories[id];
        if pages == 0 || offset + pages > length {
            return Err(Error::BadArgument);
        }
        let rights = self.entry(process, memory).map_or(Rights::NONE, |entry| entry.rights);
        let one = |right, bit| if rights.contains(right) { bit } else { 0 };
        let most =
            one(Rights::READ, access::READ) | one(Rights::WRITE, access::WRITE) | one(Rights::EXECUTE, access::EXECUTE);
        if bits & !most != 0 {
            return Err(Error::NoRight);
        }
        let run = self.next_event();
        let into = &mut self.processes[into];
        if into.window[place..place + pages].iter().any(Option::is_some) {
            return Err(Error::Busy);
        }
        // What programs make has no records for mappings.
        if into.parent.is_some() {
            return Err(Error::QuotaExceeded);
        }
        for at in 0..pages {
            into.window[place + at] = Some(Page { memory: id, page: first + offset + at, access: bits, most, run });
        }
        DONE
    }

    /// Nothing is at these places any more.
    pub(super) fn unmap(&mut self, process: ProcessId, of: Handle, place: usize, pages: usize) -> Answer {
        let of = self.process_of(process, of)?;
        self.cut(of, place, pages);
        self.processes[of].window[place..place + pages].fill(None);
        DONE
    }

    /// These pages of a window, those before them and those behind them are runs of their own from now on.
    pub(super) fn cut(&mut self, of: ProcessId, place: usize, pages: usize) {
        let (first, second) = (self.next_event(), self.next_event());
        for (at, page) in self.processes[of].window.iter_mut().enumerate().skip(place) {
            if let Some(page) = page {
                page.run = if at < place + pages { first } else { second };
            }
        }
    }

    /// What is mapped at these places permits this and no more, as far as its Memory's handle did. Page after page, up to the
    /// first that may not.
    pub(super) fn protect(
        &mut self,
        process: ProcessId,
        of: Handle,
        (place, pages): (usize, usize),
        bits: u64,
    ) -> Answer {
        let of = self.process_of(process, of)?;
        self.cut(of, place, pages);
        for page in self.processes[of].window[place..place + pages].iter_mut().flatten() {
            if bits & !page.most != 0 && page.access != bits {
                return Err(Error::NoRight);
            }
            page.access = bits;
        }
        DONE
    }

    /// A thread reads or writes a word at a place. What is not there, or forbids that, is a fault.
    pub(super) fn touch(&mut self, thread: ThreadId, place: usize, write: Option<u64>) -> Answer {
        let needed = if write.is_some() { access::WRITE } else { access::READ };
        let page = self.processes[self.threads[thread].process].window[place];
        let Some(page) = page.filter(|page| page.access & needed != 0) else {
            self.page_fault(thread, place, page, write.is_some());
            return Ok(None);
        };
        match write {
            Some(word) => self.contents[page.page] = word,
            None => return Ok(Some(Outcome::Word(self.contents[page.page]))),
        }
        DONE
    }

    /// A Memory is no more, nor are its parts, and nobody sees anything of them.
    pub fn destroy_memory(&mut self, memory: MemoryId) {
        for part in 0..self.memories.len() {
            if self.memories[part].alive && self.memories[part].parent == Some(memory) {
                self.destroy_memory(part);
            }
        }
        for page in self.processes.iter_mut().flat_map(|process| &mut process.window) {
            *page = page.filter(|page| page.memory != memory);
        }
        self.forget(Object::Memory(memory));
    }
}
