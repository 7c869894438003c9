//! The envelope: buffers and handles that go with a message. The kernel reads it once, at the call.

use crate::{Handle, Rights};

/// Segments per direction in an envelope.
pub const SEGMENTS: usize = 4;
/// Handles per message.
pub const GIFTS: usize = 4;
/// Most bytes that one message may carry each way.
pub const MESSAGE_MAXIMUM: u64 = 1 << 30;

/// A run of the caller's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Segment {
    /// First byte.
    pub address: u64,
    /// Bytes.
    pub length: u64,
}

/// A handle to pass, with the rights that the copy shall have (intersected with those of the original, which must
/// have [`Rights::COPY`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Gift {
    /// The giver's handle.
    pub handle: Handle,
    /// Rights of the copy.
    pub rights: Rights,
    /// 0 or [`Gift::MOVE`].
    pub flags: u32,
}

impl Gift {
    /// The giver's handle is closed when the message is delivered: no copy stays with it. If the message fails, it stays.
    pub const MOVE: u32 = 1;
}

/// Names what goes with a message. `send` segments are the bytes of the message (or of the reply), in order, as one run;
/// `receive` segments are where the reply's (or the received message's) bytes go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Envelope {
    /// How many of `send` count, at most [`SEGMENTS`].
    pub send_count: u8,
    /// How many of `receive` count, at most [`SEGMENTS`].
    pub receive_count: u8,
    /// How many of `give` count, at most [`GIFTS`].
    pub give_count: u8,
    /// How many of `take` count, at most [`GIFTS`].
    pub take_count: u8,
    /// Must be 0.
    pub reserved: u32,
    /// Bytes to send.
    pub send: [Segment; SEGMENTS],
    /// Room for bytes that arrive.
    pub receive: [Segment; SEGMENTS],
    /// Handles to pass.
    pub give: [Gift; GIFTS],
    /// Slots for handles that arrive: each a handle made by [`process::RESERVE`](crate::object::process::RESERVE). Its
    /// value does not change when it is filled. Filled in order; [`Status::handles`](crate::Status::handles) says how many.
    pub take: [Handle; GIFTS],
}

const _: () = assert!(size_of::<Envelope>() == 232 && align_of::<Envelope>() == 8);
