//! What one process gets of another whom it manages, or that somebody gives it: mappings, handles, whole tables (fork).

use abi::object::access;
use abi::{Error, Handle, Rights};

use super::{Answer, DONE, Object, ProcessId, Specification, WINDOW};
use crate::specification::object::Entry;

/// Entries of a page of a handle table, by which it grows and is copied.
pub const TABLE_PAGE: usize = 64;

impl Specification {
    /// How many pages can be shared from a place on at once or not at all, at least one.
    #[must_use]
    pub fn shareable(&self, into: ProcessId, from: ProcessId, place: usize, most: usize) -> usize {
        let (into, from) = (&self.processes[into].window, &self.processes[from].window);
        let run = |at: usize| from[at].map(|page| page.run);
        let fits = |at: &usize| into[*at].is_none() && run(*at).is_some() && run(*at) == run(place);
        (place..WINDOW).take_while(fits).count().clamp(1, most)
    }

    /// What is mapped in one window comes to be in another, at the same places. Unless both are to write there, neither may any
    /// more (but both can be permitted to again).
    pub(super) fn share(
        &mut self,
        process: ProcessId,
        (into, from): (Handle, Handle),
        (place, pages): (usize, usize),
        both_write: bool,
    ) -> Answer {
        let into = self.process_of(process, into)?;
        let from = self.process_of(process, from)?;
        let pages = self.shareable(into, from, place, pages);
        self.cut(from, place, pages);
        for at in place..place + pages {
            let Some(mut page) = self.processes[from].window[at] else { continue };
            if self.processes[into].window[at].is_some() {
                return Err(Error::Busy);
            }
            // What programs make has no records for mappings.
            if self.processes[into].parent.is_some() {
                return Err(Error::QuotaExceeded);
            }
            if !both_write {
                page.access &= !access::WRITE;
                self.processes[from].window[at] = Some(page);
            }
            self.processes[into].window[at] = Some(page);
        }
        DONE
    }

    /// A process gets a copy of a handle, with no more rights.
    pub(super) fn give_copy(&mut self, process: ProcessId, to: Handle, handle: Handle, rights: Rights) -> Answer {
        let to = self.process_of(process, to)?;
        let entry = self.copyable(process, handle)?;
        self.new_handle(to, entry.object, entry.rights.intersect(rights))
    }

    /// A handle is copied with its table, or is not.
    pub(super) fn set_inherit(&mut self, process: ProcessId, of: Handle, handle: Handle, inherit: bool) -> Answer {
        let of = self.process_of(process, of)?;
        self.entry(of, handle).ok_or(Error::BadHandle)?;
        let entry = self.processes[of].table[usize::from(handle.index())].as_mut();
        entry.ok_or(Error::BadHandle)?.inherit = inherit;
        DONE
    }

    /// A process gets a handle of another's, under the same name.
    pub(super) fn copy_entry(&mut self, process: ProcessId, (to, from): (Handle, Handle), handle: Handle) -> Answer {
        let to = self.process_of(process, to)?;
        let from = self.process_of(process, from)?;
        let entry = self.entry(from, handle).ok_or(Error::BadHandle)?;
        self.copy_under_same_name(to, entry)?;
        DONE
    }

    /// A process gets all handles of another's that are marked for it, of a page of its table, in order.
    pub(super) fn copy_table(&mut self, process: ProcessId, (to, from): (Handle, Handle), page: usize) -> Answer {
        let to = self.process_of(process, to)?;
        let from = self.process_of(process, from)?;
        let table = self.processes[from].table.clone();
        let entries = table.iter().skip(page * TABLE_PAGE).take(TABLE_PAGE).flatten();
        for entry in entries.filter(|entry| entry.inherit) {
            self.copy_under_same_name(to, *entry)?;
        }
        if (page + 1) * TABLE_PAGE < table.len() { Err(Error::More) } else { DONE }
    }

    /// What names nothing any more, or nothing yet, is not copied. No name comes twice.
    fn copy_under_same_name(&mut self, to: ProcessId, entry: Entry) -> Result<(), Error> {
        if entry.object == Object::Reserved || !self.is_alive(entry.object) {
            return Ok(());
        }
        let index = usize::from(entry.handle.index());
        let process = &mut self.processes[to];
        let fixed = index < usize::from(Handle::FIRST_FREE_INDEX);
        let slot = process.table.get_mut(index).filter(|_| !fixed).ok_or(Error::TableFull)?;
        let used = process.names.iter().filter(|name| usize::from(name.index()) == index);
        if slot.is_some() || used.map(|name| name.generation()).max() >= Some(entry.handle.generation()) {
            return Err(Error::Busy);
        }
        *slot = Some(entry);
        process.names.insert(entry.handle);
        self.count_handle(entry.object);
        Ok(())
    }

    /// A handle table has room for so many more pages of entries, which are paid for.
    pub(super) fn grow(&mut self, process: ProcessId, of: Handle, pages: usize) -> Answer {
        let of = self.process_of(process, of)?;
        let length = self.grown(of, pages);
        self.processes[of].table.resize(length, None);
        DONE
    }

    /// How many entries a table is to have then. (More are not tried than can be paid for in any case.)
    #[must_use]
    pub fn grown(&self, of: ProcessId, pages: usize) -> usize {
        let length = self.processes[of].table.len();
        if length >= 3 * TABLE_PAGE { length } else { length + pages * TABLE_PAGE }
    }
}
