//! System V's message queues, semaphores and shared memory, of the pipe service: `Open` of [`PATH`] below its mount gives a process its connection to all of them, on which
//! `Control` does what follows. It is not handed to children; with its last close operations with SEM_UNDO are taken back, and attachments end.
//!
//! Words that are sent and answered are u64. Who asks sends its effective ids with each request, in one word: user | group << 32 (bookkeeping of POSIX, as everywhere).
//! What waits is told EIDRM when its object is removed, EINTR when it is broken off.

/// Path of the connection, below the mount.
pub const PATH: &[u8] = b"sysv";
/// Flags of the `GET`s: IPC_CREAT, IPC_EXCL. Below: permission bits.
pub const CREATE: u32 = 0o1000;
/// See above.
pub const EXCLUSIVE: u32 = 0o2000;
/// Most of a semaphore's value (SEMVMX).
pub const SEMAPHORE_MOST: i32 = 32_767;
/// Bytes of a message's type, before its own.
pub const TYPE_LENGTH: usize = 8;
/// Bytes before those of a message that is sent: ids and type.
pub const SEND_HEAD: usize = 16;

/// Who asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// Effective user.
    pub user: u32,
    /// Effective group.
    pub group: u32,
}

/// An object's key, owner, maker and permission bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permission {
    /// Its key; 0: none.
    pub key: u32,
    /// Owner.
    pub user: u32,
    /// Owner's group.
    pub group: u32,
    /// Maker.
    pub maker_user: u32,
    /// Maker's group.
    pub maker_group: u32,
    /// Permission bits.
    pub mode: u32,
}

/// `Control` commands. The argument is an id | further << 32.
pub mod command {
    /// msgget: send ids, key, flags. Result: id.
    pub const QUEUE_GET: u64 = 0x5356_0001;
    /// msgsnd: further: flags. Send ids, the type, then the bytes.
    pub const QUEUE_SEND: u64 = 0x5356_0002;
    /// msgrcv: further: flags. Send ids, type and room. The type, then the bytes come back. Result: bytes.
    pub const QUEUE_RECEIVE: u64 = 0x5356_0003;
    /// IPC_STAT: send ids. Back: permission (6 words), bytes held, messages, most bytes, last sender, last receiver, times of sending, receiving, change.
    pub const QUEUE_STATUS: u64 = 0x5356_0004;
    /// IPC_SET: send ids, owner, group, mode, most bytes.
    pub const QUEUE_SET: u64 = 0x5356_0005;
    /// IPC_RMID: send ids.
    pub const QUEUE_REMOVE: u64 = 0x5356_0006;
    /// semget: send ids, key, flags, count. Result: id.
    pub const SET_GET: u64 = 0x5356_0011;
    /// semop: further: how many. Send ids, then Linux's `struct sembuf`s.
    pub const SET_OPERATE: u64 = 0x5356_0012;
    /// GETVAL, GETPID, GETNCNT, GETZCNT: further: [`question`](super::question) | number << 8. Send ids. Result: the answer.
    pub const SET_ASK: u64 = 0x5356_0013;
    /// SETVAL: further: number. Send ids, value.
    pub const SET_VALUE: u64 = 0x5356_0014;
    /// GETALL: send ids. Back: values (u16 each). Result: how many.
    pub const SET_ALL: u64 = 0x5356_0015;
    /// SETALL: send ids, then all values (u16 each).
    pub const SET_SET_ALL: u64 = 0x5356_0016;
    /// IPC_STAT: send ids. Back: permission (6 words), count, times of operation and change.
    pub const SET_STATUS: u64 = 0x5356_0017;
    /// IPC_SET: send ids, owner, group, mode.
    pub const SET_SET: u64 = 0x5356_0018;
    /// IPC_RMID: send ids.
    pub const SET_REMOVE: u64 = 0x5356_0019;
    /// shmget: send ids, key, flags, bytes. Result: id | 1 << 32 if it is new.
    pub const SEGMENT_GET: u64 = 0x5356_0021;
    /// shmat: send ids, whether it is to be written. Result: bytes.
    pub const SEGMENT_ATTACH: u64 = 0x5356_0022;
    /// shmdt: send ids.
    pub const SEGMENT_DETACH: u64 = 0x5356_0023;
    /// IPC_STAT: send ids. Back: permission (6 words), bytes, how often attached, maker, last user, times of attaching, detaching, change; whether it is removed.
    pub const SEGMENT_STATUS: u64 = 0x5356_0024;
    /// IPC_SET: send ids, owner, group, mode.
    pub const SEGMENT_SET: u64 = 0x5356_0025;
    /// IPC_RMID: send ids.
    pub const SEGMENT_REMOVE: u64 = 0x5356_0026;
}

/// What `SET_ASK` asks.
pub mod question {
    /// GETVAL.
    pub const VALUE: u64 = 0;
    /// GETPID.
    pub const PID: u64 = 1;
    /// GETNCNT.
    pub const WAIT_FOR_MORE: u64 = 2;
    /// GETZCNT.
    pub const WAIT_FOR_ZERO: u64 = 3;
}
