//! One message as a resource manager sees it, and what it can answer.

use alloc::vec::Vec;
use core::cell::Cell;

use abi::{Error, Handle, Segment, envelope::SEGMENTS};

use crate::{Errno, Reply};

/// Who asks, and what came along. Bytes beyond those that arrived at once are fetched by [`Call::fetch`].
#[derive(Debug)]
pub struct Call<'a> {
    /// The request to answer, for those who answer later.
    pub request: u64,
    /// Badge of the connection: the mount's, or the open file's.
    pub badge: u64,
    /// Identity of the calling process.
    pub identity: u64,
    /// Bytes that the caller sent.
    pub sent: usize,
    /// Bytes that the caller can take back.
    pub room: usize,
    /// Priority of the caller.
    pub priority: u8,
    pub(super) bytes: &'a [u8],
    pub(super) passed: Cell<Handle>,
    /// Who of the caller polls.
    pub(super) waiter: Cell<u64>,
}

impl Call<'_> {
    /// The caller's pid, if it is a POSIX process.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.identity as u32
    }

    /// The first bytes that the caller sent: all of them for path messages.
    #[must_use]
    pub const fn bytes(&self) -> &[u8] {
        self.bytes
    }

    /// Copy what the caller sent, from `offset` on, and say how much that was.
    ///
    /// # Errors
    /// [`Refusal::Retry`] if not even one byte could be had.
    pub fn fetch(&self, offset: usize, into: &mut [u8]) -> Result<usize, Refusal> {
        let wanted = into.len().min(self.sent.saturating_sub(offset));
        if let Some(ready) = offset.checked_add(wanted).and_then(|end| self.bytes.get(offset..end)) {
            into[..wanted].copy_from_slice(ready);
            return Ok(wanted);
        }
        match runtime::exchange::read_request(self.request, offset as u64, &mut into[..wanted]) {
            Ok(moved) => Ok((moved as usize).min(wanted)),
            Err((_, moved)) if moved > 0 => Ok((moved as usize).min(wanted)),
            Err((error, _)) => Err(Refusal::from(error)),
        }
    }

    /// A structure of `N` bytes that the caller must have sent.
    ///
    /// # Errors
    /// EINVAL if it sent less.
    pub fn structure<const N: usize>(&self) -> Result<[u8; N], Refusal> {
        let mut bytes = [0; N];
        if self.fetch(0, &mut bytes)? < N {
            return Err(Errno::EINVAL.into());
        }
        Ok(bytes)
    }

    /// The handle that came with the message; it is the taker's to close. What nobody takes is closed.
    #[must_use]
    pub fn take_passed(&self) -> Option<Handle> {
        let handle = self.passed.take();
        (!handle.is_none()).then_some(handle)
    }
}

/// Any answer that is not the plain success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No, because.
    Error(Errno),
    /// The path goes on there; see [`crate::file`].
    Redirect {
        /// The new path.
        path: Vec<u8>,
        /// Which of two paths.
        which: u64,
    },
    /// A buffer of the caller was missing, nothing was consumed: again, please.
    Retry,
    /// The answer comes later: the manager has kept the request's number.
    Later,
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self::Error(errno)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        match error {
            Error::LenderFault => Self::Retry,
            other => Self::Error(crate::Failure::Kernel(other).errno()),
        }
    }
}

impl Refusal {
    /// A redirection of the (only, or first) path.
    #[must_use]
    pub const fn redirect(path: Vec<u8>) -> Self {
        Self::Redirect { path, which: 0 }
    }

    /// The same of the second path.
    #[must_use]
    pub fn second(self) -> Self {
        match self {
            Self::Redirect { path, .. } => Self::Redirect { path, which: 1 },
            other => other,
        }
    }
}

/// Bytes to answer with, lent where they lie in the manager's memory: they must stay there until the reply, that is, until
/// the manager is called again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Data {
    segments: [Segment; SEGMENTS],
    count: usize,
    length: usize,
    pub(super) lazy: bool,
}

impl Data {
    pub(super) const NONE: Self =
        Self { segments: [Segment { address: 0, length: 0 }; SEGMENTS], count: 0, length: 0, lazy: false };

    pub(super) const fn clear(&mut self) {
        self.count = 0;
        self.length = 0;
        self.lazy = false;
    }

    /// None: end of file.
    #[must_use]
    pub const fn new() -> Self {
        Self::NONE
    }

    /// Bytes of which `length` were already moved by [`write_request`](runtime::exchange::write_request).
    #[must_use]
    pub fn moved(length: usize) -> Self {
        Self { length, ..Self::default() }
    }

    /// These bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut data = Self::new();
        data.add(bytes);
        data
    }

    /// These bytes, as far as the caller has room.
    #[must_use]
    pub fn for_call(call: &Call<'_>, bytes: &[u8]) -> Self {
        Self::of(&bytes[..bytes.len().min(call.room)])
    }

    /// Nobody waits for these bytes to be gone: [`delivered`](super::ResourceManager::delivered) may come as late as before the next message,
    /// which saves a trap.
    #[must_use]
    pub const fn lazily(mut self) -> Self {
        self.lazy = true;
        self
    }

    /// Further bytes. False if there is no room for another piece.
    pub fn add(&mut self, bytes: &[u8]) -> bool {
        self.add_raw(bytes.as_ptr() as u64, bytes.len())
    }

    /// Further bytes by address.
    pub fn add_raw(&mut self, address: u64, length: usize) -> bool {
        let Some(segment) = self.segments.get_mut(self.count) else {
            return false;
        };
        *segment = Segment { address, length: length as u64 };
        self.count += 1;
        self.length += length;
        true
    }

    /// How many bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Whether another piece fits.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.count == SEGMENTS
    }

    /// The pieces.
    #[must_use]
    #[inline]
    pub fn segments(&self) -> &[Segment] {
        &self.segments[..self.count]
    }
}

/// Answer a request that was kept, with bytes. True if the caller got it all: only then is anything consumed. If a page of
/// the caller was missing it is told to repeat; if it has left, nothing happens.
#[must_use]
pub fn complete(request: u64, reply: Reply, data: &Data) -> bool {
    let mut buffers = runtime::Buffers::new();
    for segment in data.segments() {
        buffers.add_send(segment.address, segment.length);
    }
    let message = runtime::Message::new(reply.label, reply.words);
    match runtime::reply(request, message, &buffers) {
        Ok(_) => true,
        Err(Error::Gone) => false,
        Err(error) => {
            let reply = match error {
                Error::LenderFault => Reply::RETRY,
                other => Reply::error(crate::Failure::Kernel(other).errno()),
            };
            let message = runtime::Message::new(reply.label, reply.words);
            let _ = runtime::reply(request, message, &runtime::Buffers::new());
            false
        }
    }
}

/// Answer a request that was kept, with a reply only.
pub fn complete_plain(request: u64, reply: Reply) -> bool {
    complete(request, reply, &Data::new())
}

/// A small answer that is put together on the spot.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    bytes: [u8; Self::CAPACITY],
    length: usize,
}

impl Output {
    /// Most bytes it holds.
    pub const CAPACITY: usize = 256;

    /// Nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: [0; Self::CAPACITY], length: 0 }
    }

    /// Append; what does not fit is cut off.
    pub fn put(&mut self, bytes: &[u8]) {
        let fits = bytes.len().min(Self::CAPACITY - self.length);
        self.bytes[self.length..self.length + fits].copy_from_slice(&bytes[..fits]);
        self.length += fits;
    }

    /// What was put.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Default for Output {
    fn default() -> Self {
        Self::new()
    }
}
