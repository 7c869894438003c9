//! Files, and all that looks like one: what every program below the path tree answers.
//!
//! Two kinds of connection speak it. A *mount connection* (badge chosen by the server, e.g. 0) stands for the root of what the
//! server owns; it takes the path messages. An *open file* is a connection of its own, made by `Open`: the offset and the
//! status flags live with it at the server, `dup` and `fork` share it, and the last close is a
//! [`CLOSED`](abi::notice::CLOSED) notice.
//!
//! # Paths
//!
//! Paths in messages are relative to the mount's root, without a leading slash ("" is the root itself). A server resolves
//! *downwards* only. When it meets a symbolic link that must be followed, or `..`, it answers
//! [`REDIRECT`](crate::message::REDIRECT) with a new path and the client starts over at the path service:
//! * a path that starts with `/` is absolute (an absolute link, with the rest appended);
//! * any other is relative to the mount's root and its resolved part has no links (`..` removed together with its directory);
//!   at the root itself it starts with `../`.
//!
//! A path may also begin at a directory that can be renamed: a zero byte, the directory's *anchor* (`Open` and `Stat` tell it) as sixteen
//! hexadecimal digits, then nothing or a slash and the rest; see [`anchor`]. Redirections are relative to the root all the same. ESTALE:
//! the anchor is one of an earlier run of the server, whose directories were others.
//!
//! The client gives up after [`REDIRECTS`] of them with ELOOP. A trailing slash or `/.` asks for a directory.
//! Flags, modes, types, times, `ioctl` numbers and `dirent` layouts are Linux's for x86_64, so that the personality need
//! not translate. Who asks is the identity of the calling process; its low 32 bits are the pid of a POSIX process.
//!
//! # Data
//!
//! `Read` and `Write` move bytes between the caller's lent segments and the server: the reply's data goes straight into the
//! receive segments. When a lent page is missing the server answers [`RETRY`](crate::message::RETRY), having consumed nothing
//! (`Write` may also answer the shorter count that it took).

/// Redirects a client follows before it gives up.
pub const REDIRECTS: usize = 40;
/// Longest path in a message, in bytes.
pub const PATH_MAXIMUM: usize = 4096;
/// Offset that means: at the open file's own position, which moves on.
pub const AT_POSITION: u64 = u64::MAX;

crate::protocol! {
    name: "file", uuid: 0x6261_746f_6e00_4000_8000_0000_0000_0001, version: 1;

    /// Open the path in the send bytes. `flags`: O_* bits. `mode`: permission bits for a new file (umask applied). `owner`: uid | gid << 32
    /// for a new file. Answer: a connection to the open file in the first taken slot, its `mode` (st_mode), and `features` bits. Who
    /// opens pays for the connection: EPERM without [`CHARGE_ME`](abi::call::flags::CHARGE_ME), ENOMEM if its quota is used up.
    /// `anchor`: of a directory, if it has one, else 0.
    1 Open open(flags, mode, owner) -> (mode, features, anchor);
    /// Status of the path in the send bytes. `follow`: 1 to follow a final link. Answer: a [`Status`] in the receive bytes, and the `anchor` as in `Open`.
    2 Stat stat(follow) -> (anchor);
    /// Remove the path. `directory`: 1 for a directory (which must be empty), 0 for anything else.
    3 Unlink unlink(directory) -> ();
    /// Make a directory.
    4 MakeDirectory make_directory(mode, owner) -> ();
    /// Make a node: `mode` with type (regular, FIFO, socket); `device` for device nodes.
    5 MakeNode make_node(mode, owner, device) -> ();
    /// Make a symbolic link. The send bytes are its path (`path_length` bytes), then its target.
    6 SymbolicLink symbolic_link(path_length, owner) -> ();
    /// The target of the link, in the receive bytes. Answer: its length.
    7 ReadLink read_link() -> (length);
    /// Rename. The send bytes are the old path (`first_length` bytes), then the new one. `flags`: RENAME_NOREPLACE 1, RENAME_EXCHANGE 2.
    8 Rename rename(first_length, flags) -> ();
    /// Hard link. The send bytes are the existing path (`first_length` bytes), then the new one. `follow`: 1 to follow a final link of the first.
    9 Link link(first_length, follow) -> ();
    /// Change the permission bits of the path (`follow` as in `Stat`).
    10 ChangeMode change_mode(mode, follow) -> ();
    /// Change the owner: uid and gid, `u32::MAX` to leave one.
    11 ChangeOwner change_owner(user, group, follow) -> ();
    /// Set times. The send bytes are a [`Times`], then the path.
    12 SetTimes set_times(follow) -> ();
    /// Truncate the path to `length`.
    13 Truncate truncate(length) -> ();
    /// Figures of the file system: a Linux `struct statfs` (120 bytes) in the receive bytes.
    14 FileSystem file_system() -> ();
    /// Where the directory with this anchor is now: its path, relative to the mount's root, in the receive bytes. Answer: its length. ENOENT: it was removed.
    15 Where where_is(anchor) -> (length);

    /// Read up to the receive segments' length at `offset` or [`AT_POSITION`]. `flags`: [`read_flags`]. Answer: bytes read, 0 at the end.
    32 Read read(offset, flags) -> (count);
    /// Write the send bytes at `offset` or [`AT_POSITION`] (O_APPEND: at the end). `flags` as in `Read`. Answer: bytes written.
    33 Write write(offset, flags) -> (count);
    /// Move the position. `whence`: SEEK_SET 0, SEEK_CUR 1, SEEK_END 2, SEEK_DATA 3, SEEK_HOLE 4. Answer: the new position. ESPIPE where there is none.
    34 Seek seek(offset, whence) -> (position);
    /// Status of the open file: a [`Status`] in the receive bytes.
    35 StatOpen stat_open() -> ();
    /// Truncate the open file.
    36 TruncateOpen truncate_open(length) -> ();
    /// Next entries of the open directory, as Linux `struct linux_dirent64` records, in the receive bytes. Answer: bytes, 0 at the end.
    37 ReadDirectory read_directory() -> (count);
    /// The open file's status flags (O_APPEND, O_NONBLOCK, access mode). Answer: them.
    38 Flags flags() -> (flags);
    /// Set O_APPEND and O_NONBLOCK.
    39 SetFlags set_flags(flags) -> ();
    /// Make it durable, as far as this file system can.
    40 Sync sync(data_only) -> ();
    /// What is ready now of `events` (POLL* bits). If nothing is and a pulse is passed, it is raised once when something may be
    /// (the server keeps it until then, until the next `Poll` with a pulse of the same caller and `waiter` on this file, or the last close).
    /// `waiter`: tells those of one caller apart that wait at the same time (a thread's id).
    41 Poll poll(events, waiter) -> (ready);
    /// `ioctl`: `command`, `argument` (a plain number); structures go in the send bytes and come back in the receive bytes. ENOTTY if unknown. Answer: the result.
    42 Control control(command, argument) -> (result);
    /// Record locks. `operation`: F_GETLK 5, F_SETLK 6, F_SETLKW 7; `owner`: the pid. F_OFD_GETLK 36, F_OFD_SETLK 37, F_OFD_SETLKW 38: the open file itself is the owner. Send: a [`Lock`]; `F_GETLK` answers one. flock: operation 100 + LOCK_* bits, owned by the open file.
    43 Lock lock(operation, owner) -> ();
    /// Drop every record lock of this pid on the file (it closed one of its descriptors of it).
    44 Unlock unlock(owner) -> ();
    /// Memory that holds the file's bytes from `offset` (page-aligned) on, for mapping. `flags`: 1: it will be written. Answer: a Memory in the first
    /// taken slot, where in it the byte `offset` is, and how many bytes from there on belong to the file (the last page is zero-filled). ENODEV if it cannot.
    45 Map map(offset, length, flags) -> (memory_offset, length);
    /// As `ChangeMode`, of the open file.
    46 ChangeModeOpen change_mode_open(mode) -> ();
    /// As `ChangeOwner`, of the open file.
    47 ChangeOwnerOpen change_owner_open(user, group) -> ();
    /// Set times of the open file. Send: a [`Times`].
    48 SetTimesOpen set_times_open() -> ();
    /// Reserve room (`fallocate`). `mode`: 0, or FALLOC_FL_KEEP_SIZE 1, PUNCH_HOLE 2.
    49 Allocate allocate(mode, offset, length) -> ();
    /// As `FileSystem`, of the open file.
    50 FileSystemOpen file_system_open() -> ();
}

/// Anchors of directories in paths.
pub mod anchor {
    /// Bytes of an anchor in a path.
    pub const LENGTH: usize = 17;

    /// An anchor as it stands in a path.
    #[must_use]
    pub fn write(anchor: u64) -> [u8; LENGTH] {
        let mut text = [0; LENGTH];
        for (at, place) in text[1..].iter_mut().enumerate() {
            *place = b"0123456789abcdef"[(anchor >> (60 - 4 * at)) as usize & 15];
        }
        text
    }

    /// The anchor that a path begins with, and what follows it, without a slash in front. `None`: it begins with none.
    #[must_use]
    pub fn read(path: &[u8]) -> Option<(u64, &[u8])> {
        let (text, rest) = path.split_at_checked(LENGTH).filter(|(text, _)| text[0] == 0)?;
        let digits = core::str::from_utf8(&text[1..]).ok()?;
        let rest = if rest.is_empty() { rest } else { rest.strip_prefix(b"/")? };
        u64::from_str_radix(digits, 16).ok().map(|anchor| (anchor, rest))
    }
}

/// `flags` of `Read`.
pub mod read_flags {
    /// Do not wait, whatever the status flags say.
    pub const AT_ONCE: u64 = 1;
    /// What is read stays there (with [`AT_ONCE`], of a file without a position).
    pub const STAY: u64 = 2;
}

/// `features` of an open file.
pub mod features {
    /// It has a position (`lseek` works).
    pub const SEEK: u64 = 1;
    /// It is a terminal.
    pub const TERMINAL: u64 = 2;
    /// Reads or writes may wait.
    pub const WAITS: u64 = 4;
}

/// A file's status: Linux's `struct stat` for x86_64 (`asm/stat.h`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Status {
    /// Device number of the file system.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Hard links.
    pub links: u64,
    /// Type and permissions.
    pub mode: u32,
    /// Owner.
    pub user: u32,
    /// Group.
    pub group: u32,
    /// 0.
    pub padding: u32,
    /// Device number, if it is a device node.
    pub device_node: u64,
    /// Bytes.
    pub size: u64,
    /// Preferred block for I/O.
    pub block_size: u64,
    /// 512-byte units occupied.
    pub blocks: u64,
    /// Last access, change of content, change of status: seconds and nanoseconds since 1970.
    pub times: [u64; 6],
    /// 0.
    pub reserved: [u64; 3],
}

const _: () = assert!(size_of::<Status>() == 144);

/// Times to set: access, then modification. Nanoseconds may be UTIME_NOW (0x3fffffff) or UTIME_OMIT (0x3ffffffe).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Times {
    /// Access: seconds since 1970.
    pub access_seconds: u64,
    /// Access: nanoseconds.
    pub access_nanoseconds: u64,
    /// Modification: seconds since 1970.
    pub modified_seconds: u64,
    /// Modification: nanoseconds.
    pub modified_nanoseconds: u64,
}

const _: () = assert!(size_of::<Times>() == 32);

/// A record lock: Linux's `struct flock`, with absolute start (whence 0) .
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Lock {
    /// F_RDLCK 0, F_WRLCK 1, F_UNLCK 2.
    pub kind: u16,
    /// SEEK_SET: clients translate.
    pub whence: u16,
    /// 0.
    pub padding: u32,
    /// First byte.
    pub start: u64,
    /// Bytes; 0: to the end.
    pub length: u64,
    /// Who holds it (`F_GETLK`).
    pub pid: u32,
    /// 0.
    pub padding_end: u32,
}

const _: () = assert!(size_of::<Lock>() == 32);
