//! RAM to give out: frames, and what was promised of them.
//!
//! *Commit is accounting*: every private writable page is charged when it is mapped, every other page when it is touched, so that
//! the frames in use never exceed what was charged, and a full machine says ENOMEM instead of killing. What the service
//! needs for itself is a reserve that nothing else touches.

use protocol::Errno;

use crate::frames::{Frame, Frames};
use crate::window;
use abi::PAGE_SIZE;

/// RAM to give out.
pub(crate) struct Ram {
    /// Who has which frame.
    pub(crate) frames: Frames,
    committed: u64,
    limit: u64,
    reserve: u32,
}

impl Ram {
    /// All free frames, less a reserve for the service's own tables and for those who are needed to end others.
    pub(crate) fn new(frames: Frames) -> Self {
        let free = frames.free();
        let reserve = (free / 32).clamp(16.min(free / 2), 4096);
        Self { frames, committed: 0, limit: u64::from(free - reserve), reserve }
    }

    /// Pages charged.
    #[must_use]
    pub(crate) const fn committed(&self) -> u64 {
        self.committed
    }

    /// Promise pages.
    ///
    /// # Errors
    /// ENOMEM when they are not there to be promised.
    pub(crate) fn charge(&mut self, pages: u64) -> Result<(), Errno> {
        self.charge_leaving(pages, 0)
    }

    /// Promise pages only if `spare` more would be left.
    ///
    /// # Errors
    /// ENOMEM when they are not there to be promised.
    pub(crate) fn charge_leaving(&mut self, pages: u64, spare: u64) -> Result<(), Errno> {
        let sum = self.committed.checked_add(pages).ok_or(Errno::ENOMEM)?;
        if sum.saturating_add(spare) > self.limit {
            return Err(Errno::ENOMEM);
        }
        self.committed = sum;
        Ok(())
    }

    /// Take a promise back.
    pub(crate) fn release(&mut self, pages: u64) {
        debug_assert!(self.committed >= pages, "more released than charged");
        self.committed = self.committed.saturating_sub(pages);
    }

    /// Whether the service's own memory is getting short: nothing new may be made for anybody.
    #[must_use]
    pub(crate) fn is_scarce(&self) -> bool {
        self.frames.free() < self.reserve / 2
    }

    /// Up to `count` (a power of two) frames in a row, zeroed, already charged by the caller.
    pub(crate) fn zeroed(&mut self, count: u32) -> Option<(Frame, u32)> {
        // When memory is short nobody gets more than was touched.
        let count = if self.frames.free() / 16 < count + self.reserve / 8 { 1 } else { count };
        if self.frames.free() < count + self.reserve / 4 {
            return None;
        }
        let (frame, count) = self.frames.allocate_up_to(count)?;
        window::zero(self.frames.physical(frame), u64::from(count) * PAGE_SIZE);
        Some((frame, count))
    }

    /// Up to `count` (a power of two) frames in a row, content undefined, already charged by the caller.
    pub(crate) fn run(&mut self, count: u32) -> Option<(Frame, u32)> {
        if self.frames.free() < count + self.reserve / 4 {
            return None;
        }
        self.frames.allocate_up_to(count)
    }

    /// So many frames in a row, content undefined, already charged by the caller.
    pub(crate) fn exactly(&mut self, count: u32) -> Option<(Frame, u32)> {
        if self.frames.free() < count + self.reserve / 4 {
            return None;
        }
        self.frames.allocate(count).map(|frame| (frame, count))
    }

    /// A frame, content undefined, already charged by the caller.
    pub(crate) fn frame(&mut self) -> Option<Frame> {
        if self.frames.free() < 1 + self.reserve / 4 {
            return None;
        }
        self.frames.allocate(1)
    }

    /// A copy of a frame.
    pub(crate) fn copy(&mut self, frame: Frame) -> Option<Frame> {
        let copy = self.frame()?;
        window::copy_page(self.frames.physical(frame), self.frames.physical(copy));
        Some(copy)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn ram(pages: u32) -> Ram {
        window::tests::make(u64::from(pages + 3) * PAGE_SIZE);
        Ram::new(crate::frames::tests::frames(pages))
    }

    #[test]
    fn promises_have_a_limit() {
        let mut ram = ram(1000);
        assert_eq!(ram.charge(10_000), Err(Errno::ENOMEM));
        assert_eq!(ram.charge(900), Ok(()));
        assert_eq!(ram.charge(100), Err(Errno::ENOMEM));
        assert_eq!(ram.charge_leaving(20, 60), Err(Errno::ENOMEM));
        ram.release(900);
        assert_eq!(ram.committed(), 0);
    }
}
