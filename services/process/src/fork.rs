//! fork: a process that is a copy of its parent.

use alloc::boxed::Box;

use abi::{Handle, Rights};
use protocol::Errno;
use protocol::process::NAME_SPACE;

use crate::exec::SHARE;
use crate::kernel;
use crate::server::{Call, Outcome, Server, badge};
use crate::space::Space;
use crate::table::{Process, State};

impl Server {
    /// `Fork`. `start`: entry, stack, argument, block.
    pub(crate) fn fork(&mut self, pid: u32, start: [u64; 4], call: &Call) -> Result<Outcome, Errno> {
        let handles = self.all_bytes(call, 8 * 16_384)?;
        self.room_for_process(pid)?;
        let child = self.table.number().ok_or(Errno::EAGAIN)?;
        let parent = self.table.process(pid).ok_or(Errno::ESRCH)?;
        let process = Process { state: State::Running, start_ns: kernel::now(), ..Process::child(parent, child) };
        self.table.processes.insert(child, Box::new(process));
        match self.copy_process(pid, child, &handles, start) {
            Ok(()) => {
                self.forks += 1;
                self.inherit_cpu_limit(child);
                self.inherit_policy(child, pid);
                if kernel::reply(call.request, 0, [u64::from(child), 0, 0, 0], &[], None).is_err() {
                    // The parent has left and does not know of a child.
                    self.discard_process(child);
                } else if let Err(errno) = self.run_thread(child, start[0], start[1], start[2]) {
                    // Made, answered for, and yet it cannot run: it ends as if killed.
                    self.note(alloc::format!("process {child} cannot start: {}", errno.text()));
                    self.end_by_signal(child, crate::signal::SIGKILL, false);
                }
                Ok(Outcome::Later)
            }
            Err(errno) => {
                self.discard_process(child);
                Err(errno)
            }
        }
    }

    fn copy_process(&mut self, pid: u32, child: u32, handles: &[u8], start: [u64; 4]) -> Result<(), Errno> {
        let source = self.space_of(pid)?;
        let spare = self.spare(pid);
        let parent = self.spaces.get(&source).ok_or(Errno::ESRCH)?;
        // The copy's books: five bytes a page, some hundred an area.
        if !crate::heap::top_up(&mut self.ram, parent.pages.count() * 5 + parent.areas.count() as u64 * 256) {
            return Err(Errno::ENOMEM);
        }
        // Like the parent's, but for the threads: what that needed, the copy needs.
        let share = abi::Quota { threads: SHARE.threads, batons: SHARE.batons, ..parent.quota };
        let (id, mut space) = self.new_space(child, share)?;
        if let Some(process) = self.table.process_mut(child) {
            process.space = id;
        }
        let copied = match self.spaces.get_mut(&source) {
            Some(source) => source.fork_into(&mut self.ram, &mut space, spare),
            None => Err(Errno::ESRCH),
        };
        let from = self.spaces.get(&source).map_or(Handle::NONE, |source| source.process);
        self.spaces.insert(id, space);
        copied?;
        self.furnish(child, id, None)?;
        let memory = self.spaces.get_mut(&id).ok_or(Errno::ESRCH)?;
        copy_handle(memory, from, NAME_SPACE)?;
        copy_all(memory, from)?;
        for handle in handles.chunks_exact(8) {
            let handle = u64::from_le_bytes(handle.try_into().map_err(|_| Errno::EINVAL)?);
            copy_handle(memory, from, Handle(handle))?;
        }
        self.make_thread(child, child, id, start[3], u64::MAX)
    }

    /// What every space has besides its areas: the system page, and the connection and the name space in their places.
    pub(crate) fn furnish(&mut self, pid: u32, id: u64, name_space: Option<Handle>) -> Result<(), Errno> {
        let connection = self.connect(badge::POSIX, pid, 0)?;
        let page = self.system_page.0;
        let space = self.spaces.get_mut(&id).ok_or(Errno::ESRCH)?;
        let mut result = give(space, connection, Rights::SEND.and(Rights::COPY));
        if let (Ok(_), Some(name_space)) = (result, name_space) {
            result = give(space, name_space, Rights::SEND.and(Rights::COPY));
        }
        if result.is_ok() {
            let access = abi::object::access::READ;
            let address = abi::system_page::SYSTEM_PAGE_ADDRESS;
            result = space
                .with_quota(|process| kernel::map(process, page, address, access, 0, abi::PAGE_SIZE))
                .map(|()| Handle::NONE);
        }
        kernel::close(connection);
        result.map(drop).map_err(|_| Errno::ENOMEM)
    }
}

/// Put a handle into a space's table, whose size is of no concern.
fn give(space: &mut Space, handle: Handle, rights: Rights) -> Result<Handle, abi::Error> {
    with_entries(space, |process| kernel::give(process, handle, rights))
}

/// Do what needs room in a table; make the table larger if that is why it fails.
fn with_entries<T>(
    space: &mut Space,
    mut attempt: impl FnMut(Handle) -> Result<T, abi::Error>,
) -> Result<T, abi::Error> {
    let mut entries = 0;
    loop {
        match attempt(space.process) {
            Err(abi::Error::TableFull) if entries < 16_384 => {
                entries += 64;
                space.with_quota(|process| kernel::grow_handles(process, entries))?;
            }
            result => return result,
        }
    }
}

/// Copy one handle of another process, at the same value.
pub(crate) fn copy_handle(space: &mut Space, source: Handle, handle: Handle) -> Result<(), Errno> {
    with_entries(space, |process| kernel::copy_entry(process, source, handle)).map_err(|error| match error {
        abi::Error::Busy => Errno::EBUSY,
        abi::Error::QuotaExceeded | abi::Error::Exhausted | abi::Error::TableFull => Errno::ENOMEM,
        _ => Errno::EBADF,
    })
}

/// Entries that a new table has.
const ENTRIES: u64 = 64;

/// Copy all handles that are marked for it.
fn copy_all(space: &mut Space, source: Handle) -> Result<(), Errno> {
    let (mut from, mut entries) = (0, ENTRIES);
    loop {
        match kernel::copy_table(space.process, source, from) {
            Ok(None) => return Ok(()),
            Ok(Some(next)) => from = next,
            Err(abi::Error::TableFull) if entries < 16_384 => {
                // What fits was copied: indices are taken in order.
                from = entries;
                entries += ENTRIES;
                space.with_quota(|process| kernel::grow_handles(process, entries)).map_err(|_| Errno::ENOMEM)?;
            }
            Err(_) => return Err(Errno::ENOMEM),
        }
    }
}
