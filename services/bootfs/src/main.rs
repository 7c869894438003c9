//! The boot archive as a read-only file system.
//!
//! Two mount connections: badge [`WHOLE`] shows the whole archive (`/boot`), badge [`BIN`] its directory `bin` (`/bin`). File data
//! is lent straight from the archive's Memory, and `Map` hands out that Memory itself, so running a program copies nothing.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

mod view;

use abi::archive::{Archive, File};
use abi::{Handle, Rights};
use protocol::Errno;
use protocol::file::{Status, features};
use protocol::resource_manager::resolve::{Place, resolve};
use protocol::resource_manager::{
    Call, Data, Done, Figures, Mapped, Open, OpenFile, Opened, Records, Refusal, ResourceManager, Server, mode,
    open_flags,
};
use runtime::start;
use view::{ROOT, View};

runtime::main!(run);
runtime::heap!();

/// Badge of the mount connection for the whole archive.
const WHOLE: u64 = 0;
/// Badge of the mount connection for `bin`.
const BIN: u64 = 1;
/// Device number of this file system.
const DEVICE: u64 = 0x1001;
/// SQUASHFS_MAGIC: the nearest kind that tools know.
const KIND: u64 = 0x7371_7368;
/// Mount flag: read only.
const READ_ONLY: u64 = 1;

struct BootFiles {
    archive: Archive<'static>,
    memory: Handle,
    length: u64,
}

/// An open file: which view it belongs to, and its entry.
#[derive(Clone, Copy, Debug)]
struct Entry {
    badge: u64,
    node: usize,
}

impl BootFiles {
    fn view(&self, badge: u64) -> Result<View<'static>, Errno> {
        match badge {
            BIN => View::below(self.archive, b"bin").ok_or(Errno::ENOENT),
            WHOLE => Ok(View::whole(self.archive)),
            _ => Err(Errno::ENOENT),
        }
    }

    fn entry(&self, node: usize) -> File<'static> {
        View::whole(self.archive).entry(node)
    }

    fn status_of(&self, node: usize) -> Status {
        let entry = self.entry(node);
        let directory = entry.mode & mode::TYPE == mode::DIRECTORY;
        let size = entry.data.len() as u64;
        let seconds = match entry.modified_seconds {
            0 => self.archive.built_seconds(),
            seconds => seconds,
        };
        Status {
            device: DEVICE,
            inode: inode(node),
            links: if directory { 2 } else { 1 },
            mode: entry.mode,
            size: if directory { 0 } else { size },
            block_size: abi::PAGE_SIZE,
            blocks: size.div_ceil(512),
            times: [seconds, 0, seconds, 0, seconds, 0],
            ..Status::default()
        }
    }

    /// For messages that would change what is there: why not.
    fn refuse(&self, call: &Call<'_>, path: &[u8], follow: bool) -> Refusal {
        match self.view(call.badge).map_err(Refusal::from).and_then(|view| resolve(&view, path, follow).map(|_| ())) {
            Ok(()) => Errno::EROFS.into(),
            Err(refusal) => refusal,
        }
    }
}

/// The root's inode is 1.
const fn inode(node: usize) -> u64 {
    if node == ROOT { 1 } else { node as u64 + 2 }
}

fn place<'p>(view: &View<'_>, path: &'p [u8], follow: bool) -> Result<Place<'p, usize>, Refusal> {
    resolve(view, path, follow)
}

impl ResourceManager for BootFiles {
    type File = Entry;

    fn open(&mut self, call: &Call<'_>, path: &[u8], open: &Open) -> Result<Opened<Entry>, Refusal> {
        let view = self.view(call.badge)?;
        let exclusive = open.has(open_flags::CREATE) && open.has(open_flags::EXCLUSIVE);
        let place = place(&view, path, !open.has(open_flags::NO_FOLLOW) && !exclusive)?;
        let Some(node) = place.node else {
            return Err(if open.has(open_flags::CREATE) { Errno::EROFS } else { Errno::ENOENT }.into());
        };
        if exclusive {
            return Err(Errno::EEXIST.into());
        }
        let entry = self.entry(node);
        match entry.mode & mode::TYPE {
            mode::DIRECTORY if open.writes() || open.has(open_flags::CREATE) => return Err(Errno::EISDIR.into()),
            mode::DIRECTORY => {}
            _ if open.has(open_flags::DIRECTORY) => return Err(Errno::ENOTDIR.into()),
            mode::LINK if !open.has(open_flags::PATH) => return Err(Errno::ELOOP.into()),
            _ if open.writes() || open.has(open_flags::TRUNCATE) => return Err(Errno::EROFS.into()),
            _ => {}
        }
        let file = Entry { badge: call.badge, node };
        Ok(Opened::new(file, open, entry.mode, features::SEEK))
    }

    fn status(&mut self, call: &Call<'_>, path: &[u8], follow: bool) -> Result<Status, Refusal> {
        let view = self.view(call.badge)?;
        let node = place(&view, path, follow)?.existing()?;
        Ok(self.status_of(node))
    }

    fn read_link(&mut self, call: &Call<'_>, path: &[u8]) -> Result<Data, Refusal> {
        let view = self.view(call.badge)?;
        let entry = self.entry(place(&view, path, false)?.existing()?);
        if entry.mode & mode::TYPE != mode::LINK {
            return Err(Errno::EINVAL.into());
        }
        Ok(Data::for_call(call, entry.data))
    }

    fn unlink(&mut self, call: &Call<'_>, path: &[u8], _directory: bool) -> Done {
        let view = self.view(call.badge)?;
        place(&view, path, false)?.existing()?;
        Err(Errno::EROFS.into())
    }

    fn make_directory(&mut self, call: &Call<'_>, path: &[u8], _open: &Open) -> Done {
        let view = self.view(call.badge)?;
        Err(if place(&view, path, false)?.node.is_some() { Errno::EEXIST } else { Errno::EROFS }.into())
    }

    fn rename(&mut self, call: &Call<'_>, old: &[u8], new: &[u8], _flags: u64) -> Done {
        let view = self.view(call.badge)?;
        place(&view, old, false)?.existing()?;
        place(&view, new, false).map_err(Refusal::second)?;
        Err(Errno::EROFS.into())
    }

    fn link(&mut self, call: &Call<'_>, old: &[u8], new: &[u8], follow: bool) -> Done {
        let view = self.view(call.badge)?;
        place(&view, old, follow)?.existing()?;
        place(&view, new, false).map_err(Refusal::second)?;
        Err(Errno::EROFS.into())
    }

    fn change_mode(&mut self, call: &Call<'_>, path: &[u8], _mode: u32, follow: bool) -> Done {
        Err(self.refuse(call, path, follow))
    }

    fn change_owner(&mut self, call: &Call<'_>, path: &[u8], _user: u32, _group: u32, follow: bool) -> Done {
        Err(self.refuse(call, path, follow))
    }

    fn set_times(&mut self, call: &Call<'_>, path: &[u8], _times: &protocol::file::Times, follow: bool) -> Done {
        Err(self.refuse(call, path, follow))
    }

    fn truncate(&mut self, call: &Call<'_>, path: &[u8], _length: u64) -> Done {
        Err(self.refuse(call, path, true))
    }

    fn file_system(&mut self, _call: &Call<'_>) -> Result<Figures, Refusal> {
        Ok(Figures {
            kind: KIND,
            blocks: self.length / abi::PAGE_SIZE,
            files: self.archive.count() as u64,
            identity: DEVICE,
            flags: READ_ONLY,
            ..Figures::default()
        })
    }

    fn read(&mut self, call: &Call<'_>, file: &mut OpenFile<Entry>, offset: u64, _wait: bool) -> Result<Data, Refusal> {
        let entry = self.entry(file.file.node);
        if entry.mode & mode::TYPE == mode::DIRECTORY {
            return Err(Errno::EISDIR.into());
        }
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(entry.data.len());
        Ok(Data::for_call(call, &entry.data[start..]))
    }

    fn size(&mut self, file: &mut OpenFile<Entry>) -> u64 {
        self.entry(file.file.node).data.len() as u64
    }

    fn status_open(&mut self, _call: &Call<'_>, file: &mut OpenFile<Entry>) -> Result<Status, Refusal> {
        Ok(self.status_of(file.file.node))
    }

    fn read_directory(&mut self, _call: &Call<'_>, file: &mut OpenFile<Entry>, records: &mut Records<'_>) -> Done {
        let view = self.view(file.file.badge)?;
        let node = file.file.node;
        if !protocol::resource_manager::resolve::Walk::is_directory(&view, node) {
            return Err(Errno::ENOTDIR.into());
        }
        if file.position == 0 {
            if !records.add(inode(node), 1, mode::DIRECTORY, b".") {
                return Ok(());
            }
            file.position = 1;
        }
        if file.position == 1 {
            if !records.add(inode(view.parent(node)), 2, mode::DIRECTORY, b"..") {
                return Ok(());
            }
            file.position = 2;
        }
        // Position 2 + n: entry number n and those behind it.
        let from = |position: u64| usize::try_from(position - 2).unwrap_or(usize::MAX);
        while let Some((index, name)) = view.child_from(node, from(file.position)) {
            let next = index as u64 + 3;
            if !records.add(inode(index), next, self.entry(index).mode, name) {
                return Ok(());
            }
            file.position = next;
        }
        Ok(())
    }

    fn map(
        &mut self,
        _call: &Call<'_>,
        file: &mut OpenFile<Entry>,
        offset: u64,
        _length: u64,
        writes: bool,
    ) -> Result<Mapped, Refusal> {
        let entry = self.entry(file.file.node);
        if entry.mode & mode::TYPE != mode::FILE {
            return Err(Errno::ENODEV.into());
        }
        if writes {
            return Err(Errno::EACCES.into());
        }
        let size = entry.data.len() as u64;
        if offset >= size {
            return Err(Errno::ENXIO.into());
        }
        Ok(Mapped {
            memory: self.memory,
            rights: Rights::READ.and(Rights::EXECUTE).and(Rights::COPY),
            memory_offset: entry.data_offset + offset,
            length: size - offset,
        })
    }

    fn change_mode_open(&mut self, _call: &Call<'_>, _file: &mut OpenFile<Entry>, _mode: u32) -> Done {
        Err(Errno::EROFS.into())
    }

    fn change_owner_open(&mut self, _call: &Call<'_>, _file: &mut OpenFile<Entry>, _user: u32, _group: u32) -> Done {
        Err(Errno::EROFS.into())
    }

    fn set_times_open(
        &mut self,
        _call: &Call<'_>,
        _file: &mut OpenFile<Entry>,
        _times: &protocol::file::Times,
    ) -> Done {
        Err(Errno::EROFS.into())
    }
}

fn run() {
    let memory = start::handle("archive");
    let length = start::number("archive-length");
    let archive = match runtime::mapping::archive(memory, length) {
        Ok(archive) => archive,
        Err(error) => {
            runtime::log!(Error, "cannot use the archive: {}", error.text());
            return;
        }
    };
    let manager = BootFiles { archive, memory, length };
    let error = Server::new(start::handle("gate"), manager).serve();
    runtime::log!(Error, "cannot receive: {}", error.text());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inodes_are_not_zero_and_differ() {
        assert_eq!((inode(ROOT), inode(0), inode(1)), (1, 2, 3));
        assert_ne!(WHOLE, BIN);
    }

    #[test]
    fn nonsense_breaks_nothing() {
        use protocol::resource_manager::storm::{Dice, rage};
        let bytes: &'static [u8] = view::tests::sample().leak();
        let archive = Archive::new(bytes).unwrap();
        let manager = BootFiles { archive, memory: Handle::NONE, length: bytes.len() as u64 };
        let mut server = Server::new(Handle::NONE, manager);
        let mut files = alloc::vec::Vec::new();
        for node in (0..8).chain([ROOT]) {
            let file = Entry { badge: WHOLE, node };
            files.extend(server.adopt(Opened::new(file, &Open::default(), 0, features::SEEK)));
        }
        let names = ["bin", "busybox", "ls", "sub", "deep", "..", ".", "system", "x"];
        rage(&mut server, &files, &names, &mut Dice::new(1), 50_000);
    }
}
