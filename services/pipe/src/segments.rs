//! What is told of System V's shared memory: its bytes are a file of the memory file system, which the programs' library makes and maps.

use alloc::vec::Vec;

use protocol::Errno;

/// A segment.
#[derive(Debug, Default)]
pub(crate) struct Segment {
    /// Bytes.
    pub(crate) length: u64,
    /// Who has it attached, how often.
    attached: Vec<(u64, u32)>,
    /// Maker, and who attached or detached last; times of attaching, detaching, change: seconds.
    pub(crate) pids: [u32; 2],
    pub(crate) times: [u64; 3],
    /// It goes with the last who has it attached.
    pub(crate) is_removed: bool,
}

impl Segment {
    pub(crate) fn new(length: u64, pid: u32, now: u64) -> Self {
        Self { length, pids: [pid, 0], times: [0, 0, now], ..Self::default() }
    }

    /// How often it is attached.
    pub(crate) fn count(&self) -> u64 {
        self.attached.iter().map(|(_, count)| u64::from(*count)).sum()
    }

    pub(crate) fn attach(&mut self, badge: u64, pid: u32, now: u64) -> Result<(), Errno> {
        match self.attached.iter_mut().find(|(other, _)| *other == badge) {
            Some((_, count)) => *count += 1,
            None => {
                self.attached.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
                self.attached.push((badge, 1));
            }
        }
        (self.pids[1], self.times[0]) = (pid, now);
        Ok(())
    }

    /// One attachment fewer. (What a child inherited it never attached here.)
    pub(crate) fn detach(&mut self, badge: u64, pid: u32, now: u64) {
        if let Some((_, count)) = self.attached.iter_mut().find(|(other, _)| *other == badge) {
            *count -= 1;
        }
        self.attached.retain(|(_, count)| *count > 0);
        (self.pids[1], self.times[1]) = (pid, now);
    }

    /// A process ended. Whether the segment goes, too.
    pub(crate) fn leave(&mut self, badge: u64) -> bool {
        self.attached.retain(|(other, _)| *other != badge);
        self.is_removed && self.attached.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_segment_goes_with_its_last_attachment() {
        let mut segment = Segment::new(4096, 1, 0);
        for badge in [5, 5, 6] {
            segment.attach(badge, 1, 2).unwrap();
        }
        assert_eq!(segment.count(), 3);
        segment.is_removed = true;
        segment.detach(6, 1, 3);
        assert!(!segment.leave(6) && segment.leave(5));
    }
}
