//! What a resource manager implements: every message, with the answer that a POSIX user expects by default.

use alloc::vec::Vec;

use super::{
    Call, Data, Done, Figures, LockOperation, Mapped, Open, OpenFile, Opened, OpenedLater, Output, Records, Refusal,
    events,
};
use crate::file::{Lock, Status, Times};
use crate::{Errno, Reply};

/// Why nothing can be changed at a path whose status this is: it may lead out of the file system, which else is read-only.
fn read_only(status: Result<Status, Refusal>) -> Refusal {
    match status {
        Err(redirect @ Refusal::Redirect { .. }) => redirect,
        _ => Errno::EROFS.into(),
    }
}

#[allow(unused_variables)]
/// A program that owns a part of the path tree. `path` is always relative to the mount, without a leading slash.
pub trait ResourceManager {
    /// The manager's part of an open file.
    type File;

    /// Bytes of a message that arrive with it. Small writes and nearly all paths fit; more is fetched where it is wanted, so
    /// that large data is copied once.
    const AT_ONCE: usize = 512;

    /// Whether paths may begin with an anchor of its directories.
    const ANCHORS: bool = false;

    /// The anchor of what has this status, or 0.
    fn anchor(&self, status: &Status) -> u64 {
        0
    }

    /// Path of the directory with this anchor, relative to the root. ENOENT.
    ///
    /// # Errors
    /// It is gone; ESTALE: it is none of this run's.
    fn where_is(&mut self, anchor: u64) -> Result<Vec<u8>, Errno> {
        Err(Errno::ENOENT)
    }

    /// Open (perhaps create) what is at `path`.
    ///
    /// # Errors
    /// Refused, redirected, or answered later through [`ResourceManager::opened_later`].
    fn open(&mut self, call: &Call<'_>, path: &[u8], open: &Open) -> Result<Opened<Self::File>, Refusal>;

    /// Status of a path. ENOSYS.
    ///
    /// # Errors
    /// Refused or redirected.
    fn status(&mut self, call: &Call<'_>, path: &[u8], follow: bool) -> Result<Status, Refusal> {
        Err(Errno::ENOSYS.into())
    }

    /// Remove a path. EROFS.
    ///
    /// # Errors
    /// Refused or redirected.
    fn unlink(&mut self, call: &Call<'_>, path: &[u8], directory: bool) -> Done {
        Err(read_only(self.status(call, path, false)))
    }

    /// Make a directory. EROFS.
    ///
    /// # Errors
    /// Refused or redirected.
    fn make_directory(&mut self, call: &Call<'_>, path: &[u8], open: &Open) -> Done {
        Err(read_only(self.status(call, path, false)))
    }

    /// Make a node; `open.mode` has its type. EROFS.
    ///
    /// # Errors
    /// Refused or redirected.
    fn make_node(&mut self, call: &Call<'_>, path: &[u8], open: &Open, device: u64) -> Done {
        Err(read_only(self.status(call, path, false)))
    }

    /// Make a symbolic link. EROFS.
    ///
    /// # Errors
    /// Refused or redirected.
    fn symbolic_link(&mut self, call: &Call<'_>, path: &[u8], target: &[u8], open: &Open) -> Done {
        Err(read_only(self.status(call, path, false)))
    }

    /// A link's target. EINVAL: not a link.
    ///
    /// # Errors
    /// Refused or redirected.
    fn read_link(&mut self, call: &Call<'_>, path: &[u8]) -> Result<Data, Refusal> {
        Err(Errno::EINVAL.into())
    }

    /// Rename. EROFS.
    ///
    /// # Errors
    /// Refused or redirected.
    fn rename(&mut self, call: &Call<'_>, old: &[u8], new: &[u8], flags: u64) -> Done {
        match read_only(self.status(call, old, false)) {
            Refusal::Error(_) => Err(read_only(self.status(call, new, false)).second()),
            refusal => Err(refusal),
        }
    }

    /// Make a hard link. EROFS.
    ///
    /// # Errors
    /// Refused or redirected.
    fn link(&mut self, call: &Call<'_>, old: &[u8], new: &[u8], follow: bool) -> Done {
        match read_only(self.status(call, old, follow)) {
            Refusal::Error(_) => Err(read_only(self.status(call, new, false)).second()),
            refusal => Err(refusal),
        }
    }

    /// Change permission bits. EROFS.
    ///
    /// # Errors
    /// Refused or redirected.
    fn change_mode(&mut self, call: &Call<'_>, path: &[u8], mode: u32, follow: bool) -> Done {
        Err(read_only(self.status(call, path, follow)))
    }

    /// Change the owner; `u32::MAX` leaves one. EROFS.
    ///
    /// # Errors
    /// Refused or redirected.
    fn change_owner(&mut self, call: &Call<'_>, path: &[u8], user: u32, group: u32, follow: bool) -> Done {
        Err(read_only(self.status(call, path, follow)))
    }

    /// Set times. EROFS.
    ///
    /// # Errors
    /// Refused or redirected.
    fn set_times(&mut self, call: &Call<'_>, path: &[u8], times: &Times, follow: bool) -> Done {
        Err(read_only(self.status(call, path, follow)))
    }

    /// Truncate a path. EROFS.
    ///
    /// # Errors
    /// Refused or redirected.
    fn truncate(&mut self, call: &Call<'_>, path: &[u8], length: u64) -> Done {
        Err(read_only(self.status(call, path, true)))
    }

    /// Figures of the file system. By default an empty one of unknown kind.
    ///
    /// # Errors
    /// Refused.
    fn file_system(&mut self, call: &Call<'_>) -> Result<Figures, Refusal> {
        Ok(Figures::default())
    }

    /// Read at `offset` (0 if the file has no position), up to `call.room` bytes. EINVAL.
    ///
    /// # Errors
    /// Refused, or answered later ([`complete`] with `answer::Read`).
    fn read(
        &mut self,
        call: &Call<'_>,
        file: &mut OpenFile<Self::File>,
        offset: u64,
        wait: bool,
    ) -> Result<Data, Refusal> {
        Err(Errno::EINVAL.into())
    }

    /// The caller has got `count` bytes of what `read` answered. Only for files without [`features::SEEK`]. It comes at once, unless the data
    /// was answered [lazily](Data::lazily).
    fn delivered(&mut self, file: &mut OpenFile<Self::File>, count: usize) {}

    /// Write `call.sent` bytes at `offset` (0 if the file has no position): answer how many were taken. EINVAL.
    ///
    /// # Errors
    /// Refused, or answered later.
    fn write(
        &mut self,
        call: &Call<'_>,
        file: &mut OpenFile<Self::File>,
        offset: u64,
        wait: bool,
    ) -> Result<usize, Refusal> {
        Err(Errno::EINVAL.into())
    }

    /// The size of a file with a position, for `Seek` and O_APPEND. 0.
    fn size(&mut self, file: &mut OpenFile<Self::File>) -> u64 {
        0
    }

    /// The first data (or, with `hole`, hole) at or behind `offset`, which is less than the size. By default all is data.
    ///
    /// # Errors
    /// ENXIO if there is none.
    fn seek_data(&mut self, file: &mut OpenFile<Self::File>, offset: u64, hole: bool) -> Result<u64, Refusal> {
        Ok(if hole { self.size(file) } else { offset })
    }

    /// Status of an open file. ENOSYS.
    ///
    /// # Errors
    /// Refused.
    fn status_open(&mut self, call: &Call<'_>, file: &mut OpenFile<Self::File>) -> Result<Status, Refusal> {
        Err(Errno::ENOSYS.into())
    }

    /// Truncate an open file. EINVAL.
    ///
    /// # Errors
    /// Refused.
    fn truncate_open(&mut self, call: &Call<'_>, file: &mut OpenFile<Self::File>, length: u64) -> Done {
        Err(Errno::EINVAL.into())
    }

    /// Entries of an open directory from `file.position` on (0: the start), which then says where to go on; it is
    /// put back if the caller did not get them. ENOTDIR.
    ///
    /// # Errors
    /// Refused.
    fn read_directory(&mut self, call: &Call<'_>, file: &mut OpenFile<Self::File>, records: &mut Records<'_>) -> Done {
        Err(Errno::ENOTDIR.into())
    }

    /// Make it durable. There is nothing to do by default.
    ///
    /// # Errors
    /// Refused.
    fn sync(&mut self, call: &Call<'_>, file: &mut OpenFile<Self::File>) -> Done {
        Ok(())
    }

    /// What of `events` is ready. If nothing is, hand the call to [`Pollers::arm`] of the object. By default always readable and writable.
    fn poll(&mut self, call: &Call<'_>, file: &mut OpenFile<Self::File>, events: u64) -> u64 {
        events & (events::READABLE | events::WRITABLE)
    }

    /// `ioctl`. ENOTTY.
    ///
    /// # Errors
    /// Refused, or answered later.
    fn control(
        &mut self,
        call: &Call<'_>,
        file: &mut OpenFile<Self::File>,
        command: u64,
        argument: u64,
        output: &mut Output,
    ) -> Result<u64, Refusal> {
        Err(Errno::ENOTTY.into())
    }

    /// Record locks. With [`LockOperation::Test`] the lock becomes the answer. EINVAL.
    ///
    /// # Errors
    /// Refused, or answered later.
    fn lock(
        &mut self,
        call: &Call<'_>,
        file: &mut OpenFile<Self::File>,
        operation: LockOperation,
        owner: u64,
        lock: &mut Lock,
    ) -> Done {
        Err(Errno::EINVAL.into())
    }

    /// Drop all record locks of a pid.
    fn unlock(&mut self, file: &mut OpenFile<Self::File>, owner: u64) {}

    /// Memory to map. ENODEV.
    ///
    /// # Errors
    /// Refused.
    fn map(
        &mut self,
        call: &Call<'_>,
        file: &mut OpenFile<Self::File>,
        offset: u64,
        length: u64,
        writes: bool,
    ) -> Result<Mapped, Refusal> {
        Err(Errno::ENODEV.into())
    }

    /// Change permission bits of an open file. EPERM.
    ///
    /// # Errors
    /// Refused.
    fn change_mode_open(&mut self, call: &Call<'_>, file: &mut OpenFile<Self::File>, mode: u32) -> Done {
        Err(Errno::EPERM.into())
    }

    /// Change the owner of an open file. EPERM.
    ///
    /// # Errors
    /// Refused.
    fn change_owner_open(&mut self, call: &Call<'_>, file: &mut OpenFile<Self::File>, user: u32, group: u32) -> Done {
        Err(Errno::EPERM.into())
    }

    /// Set times of an open file. EPERM.
    ///
    /// # Errors
    /// Refused.
    fn set_times_open(&mut self, call: &Call<'_>, file: &mut OpenFile<Self::File>, times: &Times) -> Done {
        Err(Errno::EPERM.into())
    }

    /// Reserve room. EOPNOTSUPP.
    ///
    /// # Errors
    /// Refused.
    fn allocate(
        &mut self,
        call: &Call<'_>,
        file: &mut OpenFile<Self::File>,
        mode: u64,
        offset: u64,
        length: u64,
    ) -> Done {
        Err(Errno::EOPNOTSUPP.into())
    }

    /// The last handle to an open file is gone.
    fn closed(&mut self, file: OpenFile<Self::File>) {}

    /// The caller of a kept request wants to leave. True if the request was still kept (now no longer): it is answered EINTR.
    fn unblock(&mut self, request: u64) -> bool {
        false
    }

    /// A deferred `Open` that has come to its end; asked for after every message until there is none.
    fn opened_later(&mut self) -> Option<OpenedLater<Self::File>> {
        None
    }

    /// A pulse of the manager's own (interrupts, alarms). `bits`: its value.
    fn pulse(&mut self, badge: u64, bits: u64) {}

    /// A message of another protocol, on a connection that is not an open file. ENOSYS.
    fn other(&mut self, call: &Call<'_>, label: u64, words: [u64; 4]) -> Result<(Reply, Data), Refusal> {
        Err(Errno::ENOSYS.into())
    }
}
