//! Reads that wait for keys, and when each has waited long enough (termios(3), MIN and TIME).

use alloc::collections::VecDeque;

use protocol::file::answer;
use protocol::resource_manager::{Data, complete};

use crate::discipline::{Available, Discipline};
use crate::termios::control;

/// Unit of VTIME.
const TENTH_NS: u64 = 100_000_000;

/// A read that waits.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) request: u64,
    pub(crate) room: usize,
    pub(crate) since_ns: u64,
}

/// All reads that wait, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    waiting: VecDeque<Read>,
    pub(crate) last_key_ns: u64,
}

/// What a read can have now.
pub(crate) enum Verdict {
    Give(Available),
    /// Nothing before this time (`u64::MAX`: before a key comes).
    WaitUntil(u64),
}

impl Reads {
    /// What a read gets now, by the terminal's settings.
    pub(crate) fn judge(&self, discipline: &Discipline, read: &Read, now_ns: u64) -> Verdict {
        let available = discipline.available(read.room);
        if discipline.termios.canonical() {
            return if available == Available::Nothing {
                Verdict::WaitUntil(u64::MAX)
            } else {
                Verdict::Give(available)
            };
        }
        let minimum = usize::from(discipline.termios.characters[control::VMIN]);
        let time_ns = u64::from(discipline.termios.characters[control::VTIME]) * TENTH_NS;
        let waiting = discipline.waiting();
        let enough = waiting >= minimum.min(read.room).max(1) || minimum == 0 && time_ns == 0;
        if enough {
            return Verdict::Give(available);
        }
        let deadline = match (minimum, time_ns) {
            (_, 0) => return Verdict::WaitUntil(u64::MAX),
            (0, time_ns) => read.since_ns.saturating_add(time_ns),
            // Between keys: the clock starts with the first.
            (_, _) if waiting == 0 => return Verdict::WaitUntil(u64::MAX),
            (_, time_ns) => self.last_key_ns.max(read.since_ns).saturating_add(time_ns),
        };
        if now_ns >= deadline { Verdict::Give(available) } else { Verdict::WaitUntil(deadline) }
    }

    /// Keep a read. Gives false if there is no memory for it.
    pub(crate) fn push(&mut self, read: Read) -> bool {
        let room = self.waiting.try_reserve(1).is_ok();
        if room {
            self.waiting.push_back(read);
        }
        room
    }

    /// Answer all that can be answered; gives the time at which to look again.
    pub(crate) fn serve(&mut self, discipline: &mut Discipline, now_ns: u64) -> u64 {
        while let Some(read) = self.waiting.front() {
            match self.judge(discipline, read, now_ns) {
                Verdict::WaitUntil(time) => return time,
                Verdict::Give(available) => {
                    let request = read.request;
                    self.waiting.pop_front();
                    let (bytes, entries) = match available {
                        Available::Bytes { bytes, entries } => (bytes, entries),
                        Available::Nothing => Default::default(),
                    };
                    let reply = answer::Read { count: bytes.len() as u64, ..Default::default() };
                    if complete(request, reply.into(), &Data::of(&bytes)) {
                        discipline.consume(entries);
                    }
                }
            }
        }
        u64::MAX
    }

    /// Take a read back. Gives whether it was there.
    pub(crate) fn remove(&mut self, request: u64) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|read| read.request != request);
        before != self.waiting.len()
    }
}
