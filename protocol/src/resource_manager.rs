//! The skeleton of a resource manager: a program that answers the messages of [`crate::file`].
//!
//! Implement [`ResourceManager`] for what you serve: every message has a default that a POSIX user expects (ENOSYS, EINVAL,
//! ENOTTY, ESPIPE…), so a simple device writes `open`, `read` and `write`. Then
//! `Server::new(gate, manager).serve()`. The skeleton keeps the open files (position, status flags, generation-checked
//! badges), checks paths and access modes, makes the connection that an `Open` answers, and closes what the last handle left.
//!
//! What always holds:
//! * A file's position moves, and [`ResourceManager::delivered`] is called, only after the caller has got the bytes. If one of its
//!   pages was missing it is answered [`RETRY`](crate::message::RETRY) and nothing was consumed.
//! * Nothing of a caller's is trusted: lengths are bounded here, and paths hold no zero byte.
//! * Answers may come later: return [`Refusal::Later`] and keep [`Call::request`]; then [`complete`] it. A caller that
//!   wants to leave is announced by [`ResourceManager::unblock`], and answered EINTR.

use alloc::vec::Vec;
use core::cell::Cell;

use abi::{Error, Handle, Rights, notice};
use runtime::{Buffers, Message, Options, Received};

use crate::file::{self, AT_POSITION, Lock, PATH_MAXIMUM, Request, Status, Times, features};
use crate::{Errno, Reply};

mod call;
pub mod handles;
mod pollers;
mod records;
pub mod resolve;
#[doc(hidden)]
pub mod storm;
mod table;

pub use call::{Call, Data, Output, Refusal, complete, complete_plain};
pub use pollers::Pollers;
pub use records::Records;
pub use table::{OPEN_FILE, OpenFile, Table};

/// Most bytes of a path message: two paths, or a structure and a path.
const PATHS_MAXIMUM: usize = 2 * PATH_MAXIMUM;
/// Bytes collected for one `ReadDirectory`.
const RECORDS: usize = 8192;

/// Flags of `Open` (Linux's O_*).
pub mod open_flags {
    /// The access mode: 0 read, 1 write, 2 both.
    pub const ACCESS: u64 = 3;
    /// Read only.
    pub const READ: u64 = 0;
    /// Write only.
    pub const WRITE: u64 = 1;
    /// Read and write.
    pub const BOTH: u64 = 2;
    /// Create it if it is not there.
    pub const CREATE: u64 = 0o100;
    /// It must not be there.
    pub const EXCLUSIVE: u64 = 0o200;
    /// Truncate it.
    pub const TRUNCATE: u64 = 0o1000;
    /// Writes go to the end.
    pub const APPEND: u64 = 0o2000;
    /// Do not wait.
    pub const NON_BLOCKING: u64 = 0o4000;
    /// It must be a directory.
    pub const DIRECTORY: u64 = 0o200_000;
    /// A final symbolic link is not followed.
    pub const NO_FOLLOW: u64 = 0o400_000;
    /// Reads do not change the access time.
    pub const NO_ACCESS_TIME: u64 = 0o1_000_000;
    /// Only a place in the tree.
    pub const PATH: u64 = 0o10_000_000;
    /// A file without a name (with [`DIRECTORY`]).
    pub const TEMPORARY: u64 = 0o20_000_000;
    /// What stays with the open file and is told by `Flags`.
    pub const KEPT: u64 = ACCESS | APPEND | NON_BLOCKING | DIRECTORY | NO_ACCESS_TIME | PATH | NO_FOLLOW;
    /// What `SetFlags` may change.
    pub const SETTABLE: u64 = APPEND | NON_BLOCKING | NO_ACCESS_TIME;
}

/// Types and bits of a mode (Linux's S_*).
pub mod mode {
    /// The type.
    pub const TYPE: u32 = 0o170_000;
    /// Directory.
    pub const DIRECTORY: u32 = 0o040_000;
    /// Regular file.
    pub const FILE: u32 = 0o100_000;
    /// Symbolic link.
    pub const LINK: u32 = 0o120_000;
    /// FIFO.
    pub const FIFO: u32 = 0o010_000;
    /// Socket.
    pub const SOCKET: u32 = 0o140_000;
    /// Character device.
    pub const CHARACTER: u32 = 0o020_000;
    /// Block device.
    pub const BLOCK: u32 = 0o060_000;
    /// Permission bits, set-id bits and the sticky bit.
    pub const PERMISSIONS: u32 = 0o7777;
}

/// Events of `Poll` (Linux's POLL*).
pub mod events {
    /// Readable.
    pub const IN: u64 = 1;
    /// Writable.
    pub const OUT: u64 = 4;
    /// Broken.
    pub const ERROR: u64 = 8;
    /// The other end is gone.
    pub const HANG_UP: u64 = 16;
    /// All that means readable.
    pub const READABLE: u64 = IN | 0x40;
    /// All that means writable.
    pub const WRITABLE: u64 = OUT | 0x100;
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Open {
    /// [`open_flags`].
    pub flags: u64,
    /// Permission bits of a new file.
    pub mode: u32,
    /// Owner of a new file.
    pub user: u32,
    /// Group of a new file.
    pub group: u32,
}

impl Open {
    /// Whether it is opened for reading.
    #[must_use]
    pub const fn reads(&self) -> bool {
        self.flags & (open_flags::PATH | open_flags::ACCESS) != open_flags::WRITE && self.flags & open_flags::PATH == 0
    }

    /// Whether it is opened for writing.
    #[must_use]
    pub const fn writes(&self) -> bool {
        self.flags & open_flags::ACCESS != open_flags::READ && self.flags & open_flags::PATH == 0
    }

    /// Whether any of these flags is set.
    #[must_use]
    pub const fn has(&self, flags: u64) -> bool {
        self.flags & flags != 0
    }
}

/// A file that was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opened<F> {
    /// The manager's part.
    pub file: F,
    /// Its status flags.
    pub flags: u64,
    /// `st_mode`.
    pub mode: u32,
    /// [`features`].
    pub features: u64,
    /// A second open file with its status flags, for the second taken slot (pipes).
    pub second: Option<(F, u64)>,
    /// A directory's anchor, if it can be renamed: see [`file::anchor`].
    pub anchor: u64,
}

impl<F> Opened<F> {
    /// A file opened as asked.
    #[must_use]
    pub const fn new(file: F, open: &Open, mode: u32, features: u64) -> Self {
        Self { file, flags: open.flags, mode, features, second: None, anchor: 0 }
    }
}

/// What `Map` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// The Memory, which stays the manager's.
    pub memory: Handle,
    /// What its user may do.
    pub rights: Rights,
    /// Where in it the asked byte is.
    pub memory_offset: u64,
    /// Bytes from there on that belong to the file.
    pub length: u64,
}

/// A record lock operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockOperation {
    /// F_GETLK.
    Test,
    /// F_SETLK.
    Set,
    /// F_SETLKW.
    SetAndWait,
    /// flock: `LOCK_SH` 1, `LOCK_EX` 2, `LOCK_NB` 4, `LOCK_UN` 8.
    Whole(u64),
}

/// A deferred `Open` that came to an end.
#[derive(Debug)]
pub struct OpenedLater<F> {
    /// The request.
    pub request: u64,
    /// Its end.
    pub result: Result<Opened<F>, Errno>,
}

/// Result of a message with a plain answer.
pub type Done = Result<(), Refusal>;

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

/// Figures of a file system: what counts of Linux's `struct statfs`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Magic number of its kind.
    pub kind: u64,
    /// Blocks of 4 KiB in all.
    pub blocks: u64,
    /// Blocks free.
    pub free: u64,
    /// Files it can have.
    pub files: u64,
    /// Further files it can take.
    pub files_free: u64,
    /// An identity.
    pub identity: u64,
    /// Mount flags: ST_RDONLY 1.
    pub flags: u64,
}

impl Figures {
    /// Linux's `struct statfs` for x86_64.
    #[must_use]
    pub fn to_words(self) -> [u64; 15] {
        const NAME_MAXIMUM: u64 = 255;
        const BLOCK: u64 = 4096;
        const VALID: u64 = 0x20;
        [
            self.kind,
            BLOCK,
            self.blocks,
            self.free,
            self.free,
            self.files,
            self.files_free,
            self.identity,
            NAME_MAXIMUM,
            BLOCK,
            self.flags | VALID,
            0,
            0,
            0,
            0,
        ]
    }
}

/// What is to be answered, and what then.
struct Outcome {
    reply: Reply,
    data: Data,
    gifts: [(Handle, Rights); 2],
    /// Whether the gifts leave this program: as long as it had a handle to a connection too, its last close could not be seen.
    hands_over: bool,
    then: Then,
}

/// What follows a successful answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Nothing,
    /// The position moves on.
    Advance {
        badge: u64,
        position: u64,
    },
    /// The manager is told: at once, or before the next message.
    Deliver {
        badge: u64,
        count: usize,
        lazily: bool,
    },
}

impl Outcome {
    const NONE: Self = Self {
        reply: Reply::DONE,
        data: Data::NONE,
        gifts: [(Handle::NONE, Rights::NONE); 2],
        hands_over: false,
        then: Then::Nothing,
    };

    /// Success, with nothing to say. Only what counts is written: this is done for every message.
    fn clear(&mut self) {
        self.reply = Reply::DONE;
        self.data.clear();
        self.gifts = Self::NONE.gifts;
        self.hands_over = false;
        self.then = Then::Nothing;
    }

    fn say(&mut self, reply: Reply) -> Done {
        self.reply = reply;
        Ok(())
    }

    fn lend(&mut self, reply: Reply, data: Data) -> Done {
        self.reply = reply;
        self.data = data;
        Ok(())
    }

    /// What goes with the answer, added to what else is in `buffers`.
    #[inline]
    fn fill(&self, buffers: &mut Buffers<'_>) {
        for segment in self.data.segments() {
            buffers.add_send(segment.address, segment.length);
        }
        for (handle, rights) in self.gifts {
            if handle.is_none() {
                break;
            }
            if self.hands_over {
                buffers.add_hand_over(handle, rights);
            } else {
                buffers.add_give(handle, rights);
            }
        }
    }

    fn message(&self) -> Message {
        Message::new(self.reply.label, self.reply.words)
    }

    /// The answer did not arrive: what it was to hand over is closed, which brings the notice that closes the file.
    fn take_back(&self) {
        for (handle, _) in self.gifts.iter().filter(|_| self.hands_over) {
            handles::close(*handle);
        }
    }
}

/// A resource manager at its gate.
pub struct Server<M: ResourceManager> {
    gate: Handle,
    manager: M,
    files: Table<M::File>,
    /// Where answers lie while they are lent.
    scratch: Scratch,
}

/// Memory for answers that are put together here.
struct Scratch {
    status: Status,
    figures: [u64; 15],
    lock: Lock,
    output: Output,
    path: Vec<u8>,
    records: Vec<u8>,
    long: Vec<u8>,
}

impl<M: ResourceManager> core::fmt::Debug for Server<M> {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.debug_struct("Server").field("gate", &self.gate).finish_non_exhaustive()
    }
}

impl<M: ResourceManager> Server<M> {
    /// `manager` at `gate`.
    pub fn new(gate: Handle, manager: M) -> Self {
        Self {
            gate,
            manager,
            files: Table::default(),
            scratch: Scratch {
                status: Status::default(),
                figures: [0; 15],
                lock: Lock::default(),
                output: Output::new(),
                path: Vec::new(),
                records: alloc::vec![0; RECORDS],
                long: alloc::vec![0; PATHS_MAXIMUM],
            },
        }
    }

    /// Have a file open without a caller, for tests: its badge.
    #[doc(hidden)]
    pub fn adopt(&mut self, opened: Opened<M::File>) -> Option<u64> {
        let Opened { file, flags, features, .. } = opened;
        self.files.insert(OpenFile { badge: 0, flags, features, position: 0, file }).ok()
    }

    /// The manager, for tests.
    #[doc(hidden)]
    pub fn manager(&mut self) -> &mut M {
        &mut self.manager
    }

    /// Handle a message as if it had arrived, for tests: the label of the answer, if there is one now.
    #[doc(hidden)]
    pub fn pretend(&mut self, received: &Received, bytes: &[u8]) -> Option<u64> {
        if received.is_pulse() {
            self.event(received);
            return None;
        }
        let mut outcome = Outcome::NONE;
        self.request(received, bytes, Handle::NONE, &mut outcome).then_some(outcome.reply.label)
    }

    /// Answer messages for ever, that is, until the gate is gone.
    pub fn serve(mut self) -> Error {
        let mut bytes = alloc::vec![0; M::AT_ONCE];
        let mut slot = Handle::NONE;
        let mut outcome = Outcome::NONE;
        // The request that `outcome` answers, together with the next receive; 0: none.
        let mut answering = 0;
        loop {
            if slot.is_none() {
                // Without a slot, messages that pass a handle fail on their sender's side; others still work.
                slot = handles::reserve().unwrap_or(Handle::NONE);
            }
            let mut buffers = Buffers::new().receive(&mut bytes);
            if !slot.is_none() {
                buffers.add_take(slot);
            }
            let request = core::mem::replace(&mut answering, 0);
            let received = if request == 0 {
                runtime::receive(self.gate, &mut buffers, Options::NONE)
            } else {
                outcome.fill(&mut buffers);
                let message = outcome.message();
                runtime::reply_and_receive(request, message, &mut buffers, self.gate, Options::NONE)
            };
            let received = match received {
                Ok(received) => received,
                Err(error) if request != 0 => {
                    refuse(request, error);
                    outcome.take_back();
                    continue;
                }
                // A sender whose buffer is missing must not end the server.
                Err(Error::LenderFault | Error::Interrupted | Error::BadGift | Error::NoSlot) => continue,
                Err(error) => return error,
            };
            if request != 0 {
                self.answered(&outcome);
            }
            let passed =
                if received.status.handles() > 0 { core::mem::replace(&mut slot, Handle::NONE) } else { Handle::NONE };
            if received.is_pulse() {
                handles::close(passed);
                self.event(&received);
            } else if self.request(&received, &bytes, passed, &mut outcome) {
                answering = received.request;
            }
            while let Some(late) = self.manager.opened_later() {
                self.finish_open(late);
            }
        }
    }

    fn answered(&mut self, outcome: &Outcome) {
        match outcome.then {
            Then::Nothing => {}
            Then::Advance { badge, position } => {
                if let Some(file) = self.files.find(badge) {
                    file.position = position;
                }
            }
            Then::Deliver { badge, count, .. } => {
                if let Some(file) = self.files.find(badge) {
                    self.manager.delivered(file, count);
                }
            }
        }
    }

    fn event(&mut self, received: &Received) {
        if !received.is_notice() {
            self.manager.pulse(received.badge, received.message.words[0]);
            return;
        }
        match received.message.label {
            notice::CLOSED => {
                if let Some(file) = self.files.remove(received.badge) {
                    self.manager.closed(file);
                }
            }
            notice::UNBLOCK => {
                let request = received.message.words[0];
                if self.manager.unblock(request) {
                    complete_plain(request, Reply::error(Errno::EINTR));
                }
            }
            _ => {}
        }
    }

    /// Handle a request. Whether `outcome` is to be answered with the next receive.
    fn request(&mut self, received: &Received, bytes: &[u8], passed: Handle, outcome: &mut Outcome) -> bool {
        let sent = received.sent as usize;
        let ready = (received.moved as usize).min(bytes.len());
        let mut call = Call {
            request: received.request,
            badge: received.badge,
            identity: received.identity,
            sent,
            room: received.room as usize,
            priority: received.status.priority(),
            bytes: &bytes[..ready],
            passed: Cell::new(passed),
            waiter: Cell::new(0),
        };
        outcome.clear();
        let done = if received.badge & OPEN_FILE != 0 || sent <= ready {
            self.dispatch(&call, received.message, outcome)
        } else {
            // A long path.
            let mut long = core::mem::take(&mut self.scratch.long);
            let done = whole(received.request, sent, &mut long).and_then(|bytes| {
                call.bytes = bytes;
                self.dispatch(&call, received.message, outcome)
            });
            // What the call still holds is closed before its bytes go back.
            handles::close(call.passed.take());
            self.scratch.long = long;
            return self.settle(received.request, done, outcome);
        };
        handles::close(call.passed.take());
        self.settle(received.request, done, outcome)
    }

    fn settle(&mut self, request: u64, done: Done, outcome: &mut Outcome) -> bool {
        match done {
            Ok(()) => {}
            Err(Refusal::Later) => return false,
            Err(refusal) => {
                outcome.clear();
                outcome.reply = match refusal {
                    Refusal::Error(errno) => Reply::error(errno),
                    Refusal::Redirect { path, which } => {
                        self.scratch.path = path;
                        outcome.data = Data::of(&self.scratch.path);
                        Reply::redirect(self.scratch.path.len() as u64, which)
                    }
                    _ => Reply::RETRY,
                };
            }
        }
        if !matches!(outcome.then, Then::Deliver { lazily: false, .. }) {
            return true;
        }
        self.answer_now(request, outcome);
        false
    }

    /// Answer before receiving, as somebody may wait for what follows.
    fn answer_now(&mut self, request: u64, outcome: &Outcome) {
        let mut buffers = Buffers::new();
        outcome.fill(&mut buffers);
        match runtime::reply(request, outcome.message(), &buffers) {
            Ok(_) => self.answered(outcome),
            Err(error) => {
                refuse(request, error);
                outcome.take_back();
            }
        }
    }

    fn finish_open(&mut self, late: OpenedLater<M::File>) {
        let mut outcome = Outcome::NONE;
        let done = match late.result {
            Ok(opened) => self.install(late.request, opened, &mut outcome),
            Err(errno) => Err(errno),
        };
        match done {
            Ok(()) => self.answer_now(late.request, &outcome),
            Err(errno) => {
                complete_plain(late.request, Reply::error(errno));
            }
        }
    }

    /// Make the connections for what was opened.
    fn install(&mut self, request: u64, opened: Opened<M::File>, outcome: &mut Outcome) -> Result<(), Errno> {
        outcome.reply = file::answer::Open {
            mode: u64::from(opened.mode),
            features: opened.features,
            anchor: opened.anchor,
            ..Default::default()
        }
        .into();
        outcome.hands_over = true;
        let mut refused = None;
        let both = [Some((opened.file, opened.flags)), opened.second];
        for (gift, (file, flags)) in outcome.gifts.iter_mut().zip(both.into_iter().flatten()) {
            let file =
                OpenFile { badge: 0, flags: flags & open_flags::KEPT, features: opened.features, position: 0, file };
            match self.files.insert(file) {
                Err((errno, file)) => {
                    self.manager.closed(file);
                    refused = Some(errno);
                }
                Ok(badge) => match handles::connect(self.gate, badge, request) {
                    Ok(connection) => *gift = (connection, Rights::SEND.and(Rights::COPY)),
                    Err(error) => {
                        // Who opens pays: it must agree to that, and can get a larger share.
                        refused = Some(match error {
                            Error::NoRight => Errno::EPERM,
                            Error::QuotaExceeded => Errno::ENOMEM,
                            _ => Errno::ENFILE,
                        });
                        if let Some(file) = self.files.remove(badge) {
                            self.manager.closed(file);
                        }
                    }
                },
            }
        }
        match refused {
            None => Ok(()),
            Some(errno) => {
                outcome.take_back();
                Err(errno)
            }
        }
    }

    fn dispatch(&mut self, call: &Call<'_>, message: Message, out: &mut Outcome) -> Done {
        let request = Request::decode(message.label, message.words);
        if call.badge & OPEN_FILE == 0 {
            return match request {
                Some(request) if message.label < FIRST_OPEN_LABEL => self.dispatch_path(call, request, out),
                _ => {
                    let (reply, data) = self.manager.other(call, message.label, message.words)?;
                    out.lend(reply, data)
                }
            };
        }
        let request = request.ok_or(Errno::ENOSYS)?;
        self.dispatch_open(call, request, out)
    }

    fn dispatch_path(&mut self, call: &Call<'_>, request: Request, out: &mut Outcome) -> Done {
        let bytes = call.bytes();
        let manager = &mut self.manager;
        match request {
            Request::Open { flags, mode, owner } => {
                let path = path::<M>(bytes)?;
                let open = owned(flags, mode, owner);
                let opened = manager.open(call, path, &open)?;
                self.install(call.request, opened, out)?;
            }
            Request::Stat { follow } => {
                self.scratch.status = manager.status(call, path::<M>(bytes)?, follow != 0)?;
                let anchor = manager.anchor(&self.scratch.status);
                return out.lend(Reply::ok([anchor, 0, 0, 0]), lent(&raw const self.scratch.status, call));
            }
            Request::Where { anchor } => {
                self.scratch.path = manager.where_is(anchor)?;
                let data = Data::for_call(call, &self.scratch.path);
                return out.lend(Reply::ok([data.len() as u64, 0, 0, 0]), data);
            }
            Request::Unlink { directory } => manager.unlink(call, path::<M>(bytes)?, directory != 0)?,
            Request::MakeDirectory { mode, owner } => {
                manager.make_directory(call, path::<M>(bytes)?, &owned(0, mode, owner))?;
            }
            Request::MakeNode { mode, owner, device } => {
                manager.make_node(call, path::<M>(bytes)?, &owned(0, mode, owner), device)?;
            }
            Request::SymbolicLink { path_length, owner } => {
                let (first, target) = split(bytes, path_length)?;
                if target.is_empty() {
                    return Err(Errno::ENOENT.into());
                }
                manager.symbolic_link(call, path::<M>(first)?, text(target)?, &owned(0, 0o777, owner))?;
            }
            Request::ReadLink {} => {
                let target = manager.read_link(call, path::<M>(bytes)?)?;
                return out.lend(Reply::ok([target.len() as u64, 0, 0, 0]), target);
            }
            Request::Rename { first_length, flags } => {
                let (old, new) = split(bytes, first_length)?;
                manager.rename(call, path::<M>(old)?, path::<M>(new)?, flags)?;
            }
            Request::Link { first_length, follow } => {
                let (old, new) = split(bytes, first_length)?;
                manager.link(call, path::<M>(old)?, path::<M>(new)?, follow != 0)?;
            }
            Request::ChangeMode { mode, follow } => {
                manager.change_mode(call, path::<M>(bytes)?, mode as u32 & mode::PERMISSIONS, follow != 0)?;
            }
            Request::ChangeOwner { user, group, follow } => {
                manager.change_owner(call, path::<M>(bytes)?, user as u32, group as u32, follow != 0)?;
            }
            Request::SetTimes { follow } => {
                let (times, rest) = bytes.split_at_checked(size_of::<Times>()).ok_or(Errno::EINVAL)?;
                manager.set_times(call, path::<M>(rest)?, &parse_times(times)?, follow != 0)?;
            }
            Request::Truncate { length } => manager.truncate(call, path::<M>(bytes)?, file_size(length)?)?,
            Request::FileSystem {} => {
                self.scratch.figures = manager.file_system(call)?.to_words();
                out.data = lent(&raw const self.scratch.figures, call);
            }
            _ => return Err(Errno::EBADF.into()),
        }
        Ok(())
    }

    fn dispatch_open(&mut self, call: &Call<'_>, request: Request, out: &mut Outcome) -> Done {
        let Self { manager, files, scratch, .. } = self;
        // Opened before this program was started again: what it named is lost.
        let open = files.find(call.badge).ok_or(Errno::EIO)?;
        if open.flags & open_flags::PATH != 0
            && !matches!(request, Request::StatOpen {} | Request::Flags {} | Request::FileSystemOpen {})
        {
            return Err(Errno::EBADF.into());
        }
        let wait = |flags: u64, open: &OpenFile<M::File>| flags & 1 == 0 && open.flags & open_flags::NON_BLOCKING == 0;
        let readable = open.flags & open_flags::ACCESS != open_flags::WRITE;
        let writable = open.flags & open_flags::ACCESS != open_flags::READ;
        let seeks = open.features & features::SEEK != 0;
        match request {
            Request::Read { offset, flags } => {
                let at = place(offset, open.position, seeks)?;
                if !readable {
                    return Err(Errno::EBADF.into());
                }
                let data = manager.read(call, open, at, wait(flags, open))?;
                out.then = match (seeks, offset) {
                    (true, AT_POSITION) if !data.is_empty() => {
                        Then::Advance { badge: call.badge, position: at.saturating_add(data.len() as u64) }
                    }
                    (false, _) if !data.is_empty() && flags & file::read_flags::STAY == 0 => {
                        Then::Deliver { badge: call.badge, count: data.len(), lazily: data.lazy }
                    }
                    _ => Then::Nothing,
                };
                out.lend(Reply::ok([data.len() as u64, 0, 0, 0]), data)
            }
            Request::Write { offset, flags } => {
                let at = place(offset, open.position, seeks)?;
                if !writable {
                    return Err(Errno::EBADF.into());
                }
                let at = if open.flags & open_flags::APPEND != 0 && seeks { manager.size(open) } else { at };
                if seeks && call.sent > 0 && at >= i64::MAX as u64 {
                    return Err(Errno::EFBIG.into());
                }
                let count = manager.write(call, open, at, wait(flags, open))?;
                if offset == AT_POSITION && seeks {
                    // What was written stays written, whether or not its writer lives to hear of it.
                    open.position = at.saturating_add(count as u64);
                }
                out.say(Reply::ok([count as u64, 0, 0, 0]))
            }
            Request::Seek { offset, whence } => {
                if !seeks {
                    return Err(Errno::ESPIPE.into());
                }
                let position = seek(manager, open, offset, whence)?;
                open.position = position;
                out.say(Reply::ok([position, 0, 0, 0]))
            }
            Request::StatOpen {} => {
                scratch.status = manager.status_open(call, open)?;
                out.lend(Reply::DONE, lent(&raw const scratch.status, call))
            }
            Request::TruncateOpen { length } => {
                if !writable {
                    return Err(Errno::EINVAL.into());
                }
                manager.truncate_open(call, open, file_size(length)?)?;
                Ok(())
            }
            Request::ReadDirectory {} => {
                let before = open.position;
                let limit = call.room.min(RECORDS);
                let mut records = Records::new(&mut scratch.records[..limit]);
                manager.read_directory(call, open, &mut records)?;
                let after = core::mem::replace(&mut open.position, before);
                if records.too_small() {
                    return Err(Errno::EINVAL.into());
                }
                let used = records.used();
                out.then = Then::Advance { badge: call.badge, position: after };
                out.lend(Reply::ok([used as u64, 0, 0, 0]), Data::of(&scratch.records[..used]))
            }
            Request::Flags {} => out.say(Reply::ok([open.flags, 0, 0, 0])),
            Request::SetFlags { flags } => {
                open.flags = open.flags & !open_flags::SETTABLE | flags & open_flags::SETTABLE;
                Ok(())
            }
            Request::Sync { .. } => manager.sync(call, open),
            Request::Poll { events, waiter } => {
                call.waiter.set(waiter);
                let ready = manager.poll(call, open, events);
                out.say(Reply::ok([ready, 0, 0, 0]))
            }
            Request::Control { command, argument } => {
                scratch.output = Output::new();
                let result = manager.control(call, open, command, argument, &mut scratch.output)?;
                let data = Data::for_call(call, scratch.output.bytes());
                out.lend(Reply::ok([result, 0, 0, 0]), data)
            }
            Request::Lock { operation, owner } => {
                let owner = if matches!(operation, 36..=38) { open.badge } else { owner };
                let operation = match operation {
                    5 | 36 => LockOperation::Test,
                    6 | 37 => LockOperation::Set,
                    7 | 38 => LockOperation::SetAndWait,
                    100..=115 => LockOperation::Whole(operation - 100),
                    _ => return Err(Errno::EINVAL.into()),
                };
                scratch.lock = match operation {
                    LockOperation::Whole(_) => Lock::default(),
                    _ => parse_lock(&call.structure::<{ size_of::<Lock>() }>()?),
                };
                let kind = scratch.lock.kind;
                let forbidden = kind == lock_kind::READ && !readable || kind == lock_kind::WRITE && !writable;
                if forbidden && matches!(operation, LockOperation::Set | LockOperation::SetAndWait) {
                    return Err(Errno::EBADF.into());
                }
                manager.lock(call, open, operation, owner, &mut scratch.lock)?;
                let data =
                    if operation == LockOperation::Test { lent(&raw const scratch.lock, call) } else { Data::new() };
                out.lend(Reply::DONE, data)
            }
            Request::Unlock { owner } => {
                manager.unlock(open, owner);
                Ok(())
            }
            Request::Map { offset, length, flags } => {
                if !readable || flags & 1 != 0 && !writable {
                    return Err(Errno::EACCES.into());
                }
                if !offset.is_multiple_of(abi::PAGE_SIZE) || offset.checked_add(length).is_none() {
                    return Err(Errno::EINVAL.into());
                }
                let mapped = manager.map(call, open, offset, length, flags & 1 != 0)?;
                out.gifts[0] = (mapped.memory, mapped.rights);
                out.say(Reply::ok([mapped.memory_offset, mapped.length, 0, 0]))
            }
            Request::ChangeModeOpen { mode } => manager.change_mode_open(call, open, mode as u32 & mode::PERMISSIONS),
            Request::ChangeOwnerOpen { user, group } => {
                manager.change_owner_open(call, open, user as u32, group as u32)
            }
            Request::SetTimesOpen {} => {
                let times = parse_times(&call.structure::<{ size_of::<Times>() }>()?)?;
                manager.set_times_open(call, open, &times)
            }
            Request::Allocate { mode, offset, length } => {
                const PUNCH_HOLE: u64 = 2;
                if length == 0 || length > i64::MAX as u64 || offset > i64::MAX as u64 {
                    return Err(Errno::EINVAL.into());
                }
                // A hole can only be punched with the size kept.
                if mode > 3 || mode == PUNCH_HOLE {
                    return Err(Errno::EOPNOTSUPP.into());
                }
                if !writable {
                    return Err(Errno::EBADF.into());
                }
                if !seeks {
                    return Err(Errno::ESPIPE.into());
                }
                if offset.checked_add(length).is_none_or(|end| end > i64::MAX as u64) {
                    return Err(Errno::EFBIG.into());
                }
                manager.allocate(call, open, mode, offset, length)
            }
            Request::FileSystemOpen {} => {
                scratch.figures = manager.file_system(call)?.to_words();
                out.lend(Reply::DONE, lent(&raw const scratch.figures, call))
            }
            _ => Err(Errno::EBADF.into()),
        }
    }
}

/// Labels from here on are for open files.
const FIRST_OPEN_LABEL: u64 = 32;

/// `Lock::kind`.
pub mod lock_kind {
    /// F_RDLCK.
    pub const READ: u16 = 0;
    /// F_WRLCK.
    pub const WRITE: u16 = 1;
    /// F_UNLCK.
    pub const NONE: u16 = 2;
}

/// A structure, lent by address. The kernel reads it like any other memory of ours.
fn lent<T>(structure: *const T, call: &Call<'_>) -> Data {
    let mut data = Data::new();
    data.add_raw(structure as u64, size_of::<T>().min(call.room));
    data
}

/// A reply failed: say so, if the request is still open.
fn refuse(request: u64, error: Error) {
    let reply = match error {
        Error::Gone => return,
        Error::LenderFault => Reply::RETRY,
        other => Reply::error(crate::Failure::Kernel(other).errno()),
    };
    let _ = runtime::reply(request, Message::new(reply.label, reply.words), &Buffers::new());
}

/// All bytes of a message.
fn whole(request: u64, sent: usize, long: &mut [u8]) -> Result<&[u8], Refusal> {
    let long = long.get_mut(..sent).ok_or(Errno::ENAMETOOLONG)?;
    match runtime::exchange::read_request(request, 0, long) {
        Ok(got) if got as usize == sent => Ok(long),
        Ok(_) => Err(Refusal::Retry),
        Err((error, _)) => Err(error.into()),
    }
}

/// Text that may be a path: a link's target.
fn text(bytes: &[u8]) -> Result<&[u8], Errno> {
    if bytes.len() >= PATH_MAXIMUM {
        return Err(Errno::ENAMETOOLONG);
    }
    if bytes.contains(&0) {
        return Err(Errno::EINVAL);
    }
    Ok(bytes)
}

/// A path that may be looked at.
fn path<M: ResourceManager>(bytes: &[u8]) -> Result<&[u8], Errno> {
    if M::ANCHORS && bytes.first() == Some(&0) {
        let (_, rest) = file::anchor::read(bytes).ok_or(Errno::EINVAL)?;
        return text(rest).map(|_| bytes);
    }
    let bytes = text(bytes)?;
    // A leading slash would be no different: relative to the mount's root.
    let start = bytes.iter().position(|&byte| byte != b'/').unwrap_or(bytes.len());
    Ok(&bytes[start..])
}

fn split(bytes: &[u8], first: u64) -> Result<(&[u8], &[u8]), Errno> {
    let first = usize::try_from(first).map_err(|_| Errno::EINVAL)?;
    bytes.split_at_checked(first).ok_or(Errno::EINVAL)
}

const fn owned(flags: u64, mode: u64, owner: u64) -> Open {
    Open { flags, mode: mode as u32, user: owner as u32, group: (owner >> 32) as u32 }
}

/// Lengths are `off_t`.
fn file_size(length: u64) -> Result<u64, Errno> {
    if length > i64::MAX as u64 {
        return Err(Errno::EINVAL);
    }
    Ok(length)
}

/// Where a `Read` or `Write` is.
fn place(offset: u64, position: u64, seeks: bool) -> Result<u64, Errno> {
    match (offset, seeks) {
        (AT_POSITION, true) => Ok(position),
        (AT_POSITION, false) => Ok(0),
        (_, false) => Err(Errno::ESPIPE),
        (offset, true) if offset > i64::MAX as u64 => Err(Errno::EINVAL),
        (offset, true) => Ok(offset),
    }
}

fn seek<M: ResourceManager>(
    manager: &mut M,
    open: &mut OpenFile<M::File>,
    offset: u64,
    whence: u64,
) -> Result<u64, Refusal> {
    let from = match whence {
        0 => 0,
        1 => open.position,
        2 => manager.size(open),
        3 | 4 => {
            if offset >= manager.size(open) {
                return Err(Errno::ENXIO.into());
            }
            return manager.seek_data(open, offset, whence == 4);
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    // `offset` is signed.
    let position = (from as i64).checked_add(offset as i64).ok_or(Errno::EOVERFLOW)?;
    u64::try_from(position).map_err(|_| Errno::EINVAL.into())
}

fn read_word(bytes: &[u8], index: usize) -> u64 {
    bytes.get(index * 8..index * 8 + 8).and_then(|word| word.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// Nanoseconds that mean "now".
pub const TIME_NOW: u64 = 0x3fff_ffff;
/// Nanoseconds that mean "leave it".
pub const TIME_OMIT: u64 = 0x3fff_fffe;

fn parse_times(bytes: &[u8]) -> Result<Times, Errno> {
    let times = Times {
        access_seconds: read_word(bytes, 0),
        access_nanoseconds: read_word(bytes, 1),
        modified_seconds: read_word(bytes, 2),
        modified_nanoseconds: read_word(bytes, 3),
    };
    for nanoseconds in [times.access_nanoseconds, times.modified_nanoseconds] {
        if nanoseconds >= 1_000_000_000 && nanoseconds != TIME_NOW && nanoseconds != TIME_OMIT {
            return Err(Errno::EINVAL);
        }
    }
    Ok(times)
}

fn parse_lock(bytes: &[u8; 32]) -> Lock {
    let first = read_word(bytes, 0);
    Lock {
        kind: first as u16,
        whence: (first >> 16) as u16,
        padding: 0,
        start: read_word(bytes, 1),
        length: read_word(bytes, 2),
        pid: read_word(bytes, 3) as u32,
        padding_end: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_checked() {
        assert_eq!(path::<Fixed>(b"a/b"), Ok(&b"a/b"[..]));
        assert_eq!(path::<Fixed>(b"//a"), Ok(&b"a"[..]));
        assert_eq!(path::<Fixed>(b""), Ok(&b""[..]));
        assert_eq!(path::<Fixed>(b"a\0b"), Err(Errno::EINVAL));
        assert_eq!(path::<Fixed>(b"\x000123456789abcdef/x"), Err(Errno::EINVAL));
        assert_eq!(path::<Fixed>(&[b'a'; 4096]), Err(Errno::ENAMETOOLONG));
        assert!(path::<Fixed>(&[b'a'; 4095]).is_ok());
        assert_eq!(split(b"abc", 4), Err(Errno::EINVAL));
        assert_eq!(split(b"abc", u64::MAX), Err(Errno::EINVAL));
        assert_eq!(split(b"abc", 1), Ok((&b"a"[..], &b"bc"[..])));
    }

    #[test]
    fn places_of_reads_and_writes() {
        assert_eq!(place(AT_POSITION, 7, true), Ok(7));
        assert_eq!(place(AT_POSITION, 7, false), Ok(0));
        assert_eq!(place(3, 7, true), Ok(3));
        assert_eq!(place(3, 7, false), Err(Errno::ESPIPE));
        assert_eq!(place(1 << 63, 7, true), Err(Errno::EINVAL));
    }

    struct Fixed;

    impl ResourceManager for Fixed {
        type File = ();
        fn open(&mut self, _: &Call<'_>, _: &[u8], open: &Open) -> Result<Opened<()>, Refusal> {
            Ok(Opened::new((), open, 0, 0))
        }
        fn size(&mut self, _: &mut OpenFile<()>) -> u64 {
            100
        }
    }

    #[test]
    fn seeking_is_signed_and_checked() {
        let mut open = OpenFile { position: 10, ..OpenFile::default() };
        let mut go = |offset: i64, whence| seek(&mut Fixed, &mut open, offset as u64, whence);
        assert_eq!(go(5, 0), Ok(5));
        assert_eq!(go(-5, 1), Ok(5));
        assert_eq!(go(-100, 2), Ok(0));
        assert_eq!(go(-101, 2), Err(Errno::EINVAL.into()));
        assert_eq!(go(-1, 0), Err(Errno::EINVAL.into()));
        assert_eq!(go(i64::MAX, 1), Err(Errno::EOVERFLOW.into()));
        assert_eq!(go(99, 3), Ok(99));
        assert_eq!(go(99, 4), Ok(100));
        assert_eq!(go(100, 3), Err(Errno::ENXIO.into()));
        assert_eq!(go(0, 9), Err(Errno::EINVAL.into()));
    }

    #[test]
    fn access_modes() {
        let open = |flags| Open { flags, ..Open::default() };
        assert!(open(0).reads() && !open(0).writes());
        assert!(!open(1).reads() && open(1).writes());
        assert!(open(2).reads() && open(2).writes());
        assert!(!open(open_flags::PATH).reads() && !open(open_flags::PATH | 1).writes());
    }

    #[test]
    fn times_are_checked() {
        let words = |a: u64, b: u64| {
            let mut bytes = [0u8; 32];
            bytes[8..16].copy_from_slice(&a.to_le_bytes());
            bytes[24..32].copy_from_slice(&b.to_le_bytes());
            parse_times(&bytes)
        };
        assert!(words(TIME_NOW, TIME_OMIT).is_ok());
        assert!(words(999_999_999, 0).is_ok());
        assert_eq!(words(1_000_000_000, 0), Err(Errno::EINVAL));
        assert_eq!(words(0, u64::MAX), Err(Errno::EINVAL));
    }

    #[test]
    fn data_counts_what_it_lends() {
        let bytes = [1u8; 10];
        let mut data = Data::of(&bytes);
        assert!(data.add(&bytes[..3]) && data.add(&bytes) && data.add(&bytes));
        assert!(data.is_full() && !data.add(&bytes));
        assert_eq!((data.len(), data.segments().len()), (33, 4));
        assert_eq!(Data::moved(9).len(), 9);
    }
}
