//! The bytes of messages: each process sends from one buffer and receives into another. They go straight from one to the
//! other when a message is received or answered, and whoever received a request reads and writes there until it answers.

use abi::Error;

use super::fault::HANDLERS;
use super::{Answer, DONE, Outcome, ProcessId, Specification, ThreadId};

/// Bytes of a buffer: more than a message has.
pub const AREA: usize = 64;

/// The buffers of a process.
#[derive(Clone, Debug)]
pub(super) struct Area {
    /// What it sends.
    sent: [u8; AREA],
    /// What arrived.
    room: [u8; AREA],
    /// Which of its threads deal with faults of their own.
    pub(super) handles: [bool; HANDLERS],
}

impl Specification {
    /// New buffers, with nothing in them.
    pub fn add_area(&mut self) -> usize {
        self.areas.push(Area { sent: [0; AREA], room: [0; AREA], handles: [false; HANDLERS] });
        self.areas.len() - 1
    }

    /// Bytes are copied from what one process sends, from an offset on, to where another receives, from an offset on.
    pub(super) fn copy(&mut self, (from, source): (ThreadId, u64), (to, place): (ThreadId, u64), length: u64) {
        let area = |thread: ThreadId| self.processes[self.threads[thread].process].area;
        let (from, to) = (area(from), area(to));
        for at in 0..length as usize {
            self.areas[to].room[place as usize + at] = self.areas[from].sent[source as usize + at];
        }
    }

    /// A thread changes a word of what its process sends.
    pub(super) fn prepare(&mut self, process: ProcessId, at: u64, word: u64) -> Answer {
        let area = self.processes[process].area;
        self.areas[area].sent[at as usize..at as usize + 8].copy_from_slice(&word.to_le_bytes());
        DONE
    }

    /// A thread looks at what arrived.
    pub(super) fn look(&self, process: ProcessId) -> Answer {
        Ok(Some(Outcome::Bytes(self.areas[self.processes[process].area].room)))
    }

    /// As much as there is of a message from an offset on.
    pub(super) fn read(&mut self, thread: ThreadId, request: u64, (offset, length): (u64, u64)) -> Answer {
        let caller = self.requester(self.threads[thread].process, request).ok_or(Error::Gone)?;
        let moved = length.min(self.threads[caller].message.bytes.0.saturating_sub(offset));
        self.copy((caller, offset), (thread, 0), moved);
        Ok(Some(Outcome::Done { moved }))
    }

    /// As much as there is room for in the answer from an offset on.
    pub(super) fn write(&mut self, thread: ThreadId, request: u64, (offset, length): (u64, u64)) -> Answer {
        let caller = self.requester(self.threads[thread].process, request).ok_or(Error::Gone)?;
        let moved = length.min(self.threads[caller].message.bytes.1.saturating_sub(offset));
        self.copy((thread, 0), (caller, offset), moved);
        Ok(Some(Outcome::Done { moved }))
    }
}
