//! Pipes, FIFOs, event counters and POSIX message queues: paths of the pipe service, which is mounted at [`MOUNT`]. There is no message beyond
//! those of [`crate::file`]:
//!
//! * `Open` of [`PIPE`] makes a pipe: the read end comes in the first taken slot, the write end in the second. `flags`:
//!   O_NONBLOCK for both ends.
//! * `Open` of [`FIFO`] and a unique id opens one end (or with O_RDWR both) of the FIFO that the id names, which exists while it
//!   is open. It waits for the other end as `fifo(7)` says. File systems redirect there; ids are theirs to keep unique.
//! * `Open` of `eventfd/<flags>/<initial>` makes an event counter; `flags` as `eventfd2`'s, both numbers decimal.
//! * `Open` of `mqueue/<messages>/<bytes>/<name>` opens (with O_CREAT makes) a message queue for so many messages of so many bytes at most (0: the usual). `Unlink` of
//!   `mqueue/<name>` takes its name away. `Write` sends a message: first its priority (u64), then its bytes. `Read` receives one
//!   likewise; there must be room for the longest (EMSGSIZE).
//!
//! `Control` knows FIONREAD, and F_GETPIPE_SZ and F_SETPIPE_SZ as [`GET_SIZE`] and [`SET_SIZE`].

/// Where the service is mounted.
pub const MOUNT: &str = "/dev/pipe";
/// Path of a new pipe, below the mount.
pub const PIPE: &[u8] = b"pipe";
/// Path of a FIFO, below the mount, up to its id.
pub const FIFO: &[u8] = b"fifo/";
/// Path of a new event counter, below the mount, up to `<flags>/<initial>`.
pub const EVENT: &[u8] = b"eventfd/";
/// `Control` command: the pipe's capacity (`F_GETPIPE_SZ`).
pub const GET_SIZE: u64 = 1032;
/// `Control` command: set the capacity to at least `argument` (`F_SETPIPE_SZ`).
pub const SET_SIZE: u64 = 1031;
/// Path of a message queue, below the mount, up to `<messages>/<bytes>/<name>`.
pub const QUEUE: &[u8] = b"mqueue/";
/// Bytes of a message's priority, before those that `Read` gives.
pub const PRIORITY_LENGTH: usize = 8;
/// Priorities are below this (MQ_PRIO_MAX).
pub const PRIORITY_MOST: u64 = 32_768;
/// `Control` command of a queue: most messages, most bytes of one, messages now (u64 each) are answered.
pub const QUEUE_FIGURES: u64 = 0x4d51_0001;
/// `Control` command of a queue: when it gets a message and nobody waits for one, the calling process is sent signal `argument` (0: none) once, with the value that is sent along (u64). EBUSY:
/// another is.
pub const QUEUE_NOTIFY: u64 = 0x4d51_0002;
/// `Control` command of a queue: the calling process wants no notice any more.
pub const QUEUE_FORGET: u64 = 0x4d51_0003;
/// Bytes up to which a write is not mixed with others (PIPE_BUF).
pub const ATOMIC: usize = 4096;
/// Capacity of a new pipe.
pub const CAPACITY: usize = 64 * 1024;
/// `eventfd2` flag: reads take 1.
pub const EVENT_SEMAPHORE: u64 = 1;
