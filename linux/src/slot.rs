//! Slots for handles that arrive. One is always kept at hand if it costs nothing: closing an open file makes its slot free for
//! the next, in the same call, and a slot that nothing came for is used again.

use core::sync::atomic::{AtomicU64, Ordering};

use abi::Handle;
use protocol::Errno;
use runtime::OwnedHandle;
use runtime::object::process;

use crate::message::make;

/// A reserved slot, or 0. A static, since a handle table belongs to a kernel process, and all tasks in it share it.
static SPARE: AtomicU64 = AtomicU64::new(0);

/// A slot that is still empty, as far as the library knows.
pub(crate) struct Slot(Handle);

impl Slot {
    /// A slot. `connection`: to the process service, which is asked for more if the table is full.
    pub(crate) fn new(connection: Handle) -> Result<Self, Errno> {
        match SPARE.swap(0, Ordering::Relaxed) {
            0 => make(connection, || process::reserve(Handle::SELF_PROCESS)).map(|slot| Self(slot.into_handle())),
            spare => Ok(Self(Handle(spare))),
        }
    }

    /// What a message's sender names.
    pub(crate) const fn handle(&self) -> Handle {
        self.0
    }

    /// Something arrived.
    pub(crate) fn filled(mut self) -> OwnedHandle {
        OwnedHandle::new(core::mem::replace(&mut self.0, Handle::NONE))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if !self.0.is_none() {
            keep(self.0);
        }
    }
}

fn keep(slot: Handle) {
    if SPARE.compare_exchange(0, slot.0, Ordering::Relaxed, Ordering::Relaxed).is_err() {
        runtime::handle::close(slot);
    }
}

/// A handle whose slot is used again.
pub(crate) struct Recycled(OwnedHandle);

impl Recycled {
    /// Take charge of a handle, or of [`Handle::NONE`].
    pub(crate) const fn new(handle: OwnedHandle) -> Self {
        Self(handle)
    }

    /// The handle.
    pub(crate) const fn handle(&self) -> Handle {
        self.0.handle()
    }
}

impl Drop for Recycled {
    fn drop(&mut self) {
        if self.0.handle().is_none() || SPARE.load(Ordering::Relaxed) != 0 {
            return;
        }
        let handle = core::mem::replace(&mut self.0, OwnedHandle::new(Handle::NONE)).into_handle();
        // A handle whose object was destroyed is closed already, and leaves no slot.
        if let Ok(slot) = process::close_and_reserve(Handle::SELF_PROCESS, handle) {
            keep(slot);
        }
    }
}

/// In a forked child, which has no slots.
pub(crate) fn forget() {
    SPARE.store(0, Ordering::Relaxed);
}
