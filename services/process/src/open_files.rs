//! What of the service's is open as a file: timers (timerfd), pending signals (signalfd), and the ends of processes (pidfd).

use abi::{Handle, Rights};
use alloc::vec::Vec;
use protocol::file::Request as FileRequest;
use protocol::process::{SignalInformation, TIMER_ABSOLUTE, open_file};
use protocol::{Errno, Reply};

use crate::deadline::Event;
use crate::kernel;
use crate::server::{Call, Deferred, Outcome, Server, badge};
use crate::table::State;

/// `POLLIN`.
const READABLE: u64 = 1;
/// Pulses that wait for one file.
const WATCHERS: usize = 64;
/// Open timers and signal sets in the whole system.
const MOST: usize = 4096;
const NON_BLOCKING: u64 = 0o4000;
const READ_WRITE: u64 = 2;
/// Bytes of what a timer's read gives, and of Linux's `struct signalfd_siginfo`.
const EXPIRIES_LENGTH: usize = 8;
const SIGNAL_LENGTH: usize = 128;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Expires next at, and how often after that (0: not again), monotonic ns; expiries that nobody read.
    Timer { real: bool, at_ns: u64, every_ns: u64, expiries: u64 },
    /// Signals of a set, as they are pending for a process.
    Signals { pid: u32, set: u64 },
}

/// An open timer or signal set.
#[derive(Debug)]
pub(crate) struct OpenFile {
    kind: Kind,
    /// `O_NONBLOCK`.
    flags: u64,
    /// Raised when it may be read.
    watchers: Vec<Handle>,
}

impl Kind {
    /// Count what has expired up to `now`.
    const fn advance(&mut self, now: u64) {
        if let Self::Timer { at_ns, every_ns, expiries, .. } = self
            && *at_ns != 0
            && *at_ns <= now
        {
            let missed = match (now - *at_ns).checked_div(*every_ns) {
                Some(missed) => missed,
                None => 0,
            };
            let next = at_ns.saturating_add((missed + 1).saturating_mul(*every_ns));
            *at_ns = if *every_ns == 0 { 0 } else { next };
            *expiries = expiries.saturating_add(missed + 1);
        }
    }
}

/// Linux's `struct signalfd_siginfo`.
fn signal_record(information: &SignalInformation) -> [u8; SIGNAL_LENGTH] {
    let mut record = [0; SIGNAL_LENGTH];
    let mut put = |at: usize, value: u32| record[at..at + 4].copy_from_slice(&value.to_le_bytes());
    put(0, information.signal);
    put(4, information.errno);
    put(8, information.code as u32);
    put(12, information.pid);
    put(16, information.user);
    if information.code == crate::signal::SI_TIMER {
        put(24, information.pid);
        put(32, information.user);
    }
    put(40, information.status);
    put(44, information.value as u32);
    record[48..56].copy_from_slice(&information.value.to_le_bytes());
    record
}

impl Server {
    /// `OpenTimer`, `OpenSignals`.
    fn open_special(&mut self, kind: Kind, flags: u64, call: &Call) -> Result<Outcome, Errno> {
        if self.files.len() >= MOST || self.ram.is_scarce() {
            return Err(Errno::ENFILE);
        }
        let last = self.files.last_key_value().map_or(0, |(&number, _)| number);
        let number = (1..=last + 1).find(|number| !self.files.contains_key(number)).ok_or(Errno::ENFILE)?;
        let connection = self.connect(badge::OPEN, number, call.request)?;
        let file = OpenFile { kind, flags: flags & NON_BLOCKING, watchers: Vec::new() };
        self.files.insert(number, file);
        let given = self.reply_handle(call.request, Reply::DONE, connection, Rights::SEND.and(Rights::COPY));
        kernel::close(connection);
        if !given {
            self.file_closed(number);
        }
        Ok(Outcome::Later)
    }

    /// `OpenTimer`.
    pub(crate) fn open_timer(&mut self, real: u64, flags: u64, call: &Call) -> Result<Outcome, Errno> {
        self.open_special(Kind::Timer { real: real != 0, at_ns: 0, every_ns: 0, expiries: 0 }, flags, call)
    }

    /// `OpenSignals`.
    pub(crate) fn open_signals(&mut self, pid: u32, set: u64, flags: u64, call: &Call) -> Result<Outcome, Errno> {
        self.open_special(Kind::Signals { pid, set }, flags, call)
    }

    /// The last handle to a file is gone.
    pub(crate) fn file_closed(&mut self, number: u32) {
        let Some(file) = self.files.remove(&number) else { return };
        if let Kind::Timer { at_ns, .. } = file.kind {
            self.deadlines.remove(&(at_ns, Event::OpenTimer(number)));
        }
        file.watchers.into_iter().for_each(kernel::close);
    }

    /// Messages to an open timer or signal set.
    pub(crate) fn serve_open_file(&mut self, number: u32, call: &Call) -> Result<Outcome, Errno> {
        let request = FileRequest::decode(call.label, call.words).ok_or(Errno::ENOSYS)?;
        let file = self.files.get_mut(&number).ok_or(Errno::EBADF)?;
        match request {
            FileRequest::Read { flags, .. } => {
                let wait = (flags & 1 == 0) && file.flags & NON_BLOCKING == 0;
                if (call.room as usize) < file.least() {
                    return Err(Errno::EINVAL);
                }
                if self.read_file(number, call.request, call.room as usize) {
                    return Ok(Outcome::Later);
                }
                if !wait {
                    return Err(Errno::EAGAIN);
                }
                self.defer(call.request, Deferred::Read { file: number, room: call.room }, u64::MAX);
                Ok(Outcome::Later)
            }
            FileRequest::Poll { events, .. } => {
                let pulse = self.gift.take();
                let ready = if self.is_readable(number) { events & READABLE } else { 0 };
                let file = self.files.get_mut(&number).ok_or(Errno::EBADF)?;
                match pulse {
                    Some(pulse) if ready == 0 => watch(&mut file.watchers, pulse),
                    Some(pulse) => kernel::close(pulse),
                    None => {}
                }
                Ok(Outcome::ok([ready, 0, 0, 0]))
            }
            FileRequest::Control { command: open_file::SET_TIMER, argument } => {
                self.set_open_timer(number, argument, call)
            }
            FileRequest::Control { command: open_file::GET_TIMER, .. } => self.get_open_timer(number),
            FileRequest::Control { command: open_file::SET_SIGNALS, argument } => match &mut file.kind {
                Kind::Signals { set, .. } => {
                    *set = argument;
                    Ok(Outcome::DONE)
                }
                Kind::Timer { .. } => Err(Errno::EINVAL),
            },
            FileRequest::StatOpen {} => Ok(self.plain_status()),
            FileRequest::Flags {} => Ok(Outcome::ok([READ_WRITE | file.flags, 0, 0, 0])),
            FileRequest::SetFlags { flags } => {
                file.flags = flags & NON_BLOCKING;
                Ok(Outcome::DONE)
            }
            FileRequest::Seek { .. } => Err(Errno::ESPIPE),
            FileRequest::Control { .. } => Err(Errno::ENOTTY),
            _ => Err(Errno::EINVAL),
        }
    }

    /// st_nlink 1, st_mode 0600.
    fn plain_status(&mut self) -> Outcome {
        self.out[..144].fill(0);
        self.out[16] = 1;
        self.out[24..26].copy_from_slice(&0o600u16.to_le_bytes());
        Outcome::Bytes(Reply::DONE, 144)
    }

    /// Answer a read with what there is. False if there is nothing.
    fn read_file(&mut self, number: u32, request: u64, room: usize) -> bool {
        let Some(file) = self.files.get_mut(&number) else { return false };
        match &mut file.kind {
            kind @ Kind::Timer { .. } => {
                kind.advance(kernel::now());
                let Kind::Timer { expiries, .. } = kind else { return false };
                let count = core::mem::take(expiries);
                if count == 0 {
                    return false;
                }
                let given =
                    self.reply_bytes(request, Reply::ok([EXPIRIES_LENGTH as u64, 0, 0, 0]), &count.to_le_bytes());
                if !given && let Some(OpenFile { kind: Kind::Timer { expiries, .. }, .. }) = self.files.get_mut(&number)
                {
                    *expiries += count;
                }
                self.schedule_file(number);
                true
            }
            Kind::Signals { pid, set } => {
                let (pid, set) = (*pid, *set);
                self.read_signals(pid, set, request, room)
            }
        }
    }

    fn read_signals(&mut self, pid: u32, set: u64, request: u64, room: usize) -> bool {
        let most = (room / SIGNAL_LENGTH).min(crate::server::OUT / SIGNAL_LENGTH);
        let mut bytes = Vec::new();
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some((tid, information)) = self.take_of_any(pid, set)
        {
            let mut told = information;
            self.account_taken(pid, &mut told);
            bytes.extend_from_slice(&signal_record(&told));
            taken.push((tid, information));
        }
        if taken.is_empty() {
            return false;
        }
        if !self.reply_bytes(request, Reply::ok([bytes.len() as u64, 0, 0, 0]), &bytes) {
            for (tid, information) in taken.into_iter().rev() {
                self.put_back(pid, tid, information);
            }
        }
        true
    }

    fn is_readable(&mut self, number: u32) -> bool {
        let Some(file) = self.files.get_mut(&number) else { return false };
        file.kind.advance(kernel::now());
        match file.kind {
            Kind::Timer { expiries, .. } => expiries > 0,
            Kind::Signals { pid, set } => self.pending_of_any(pid) & set != 0,
        }
    }

    /// timerfd_settime. Sent: value and interval in ns. Answered: those of before.
    fn set_open_timer(&mut self, number: u32, flags: u64, call: &Call) -> Result<Outcome, Errno> {
        let bytes = self.all_bytes(call, 16)?;
        let (value, interval) = bytes.split_at_checked(8).ok_or(Errno::EINVAL)?;
        let word = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).map_err(|_| Errno::EINVAL);
        let (value, interval) = (word(value)?, word(interval)?);
        let before = self.get_open_timer(number)?;
        let (now, offset) = (kernel::now(), self.realtime_offset_ns);
        let file = self.files.get_mut(&number).ok_or(Errno::EBADF)?;
        let Kind::Timer { real, at_ns, every_ns, expiries } = &mut file.kind else { return Err(Errno::EINVAL) };
        self.deadlines.remove(&(*at_ns, Event::OpenTimer(number)));
        *at_ns = match value {
            0 => 0,
            value if flags & TIMER_ABSOLUTE != 0 => value.saturating_sub(if *real { offset } else { 0 }).max(1),
            value => now.saturating_add(value),
        };
        (*every_ns, *expiries) = (if value == 0 { 0 } else { interval }, 0);
        self.schedule_file(number);
        Ok(before)
    }

    /// timerfd_gettime: what is left, and the interval, in ns.
    fn get_open_timer(&mut self, number: u32) -> Result<Outcome, Errno> {
        let now = kernel::now();
        let file = self.files.get_mut(&number).ok_or(Errno::EBADF)?;
        file.kind.advance(now);
        let Kind::Timer { at_ns, every_ns, .. } = file.kind else { return Err(Errno::EINVAL) };
        self.out[..8].copy_from_slice(&at_ns.saturating_sub(now).to_le_bytes());
        self.out[8..16].copy_from_slice(&every_ns.to_le_bytes());
        Ok(Outcome::Bytes(Reply::DONE, 16))
    }

    /// Have a timer looked at when it expires, if anybody waits for that.
    fn schedule_file(&mut self, number: u32) {
        let Some(file) = self.files.get(&number) else { return };
        let Kind::Timer { at_ns, .. } = file.kind else { return };
        if at_ns != 0 {
            self.deadlines.insert((at_ns, Event::OpenTimer(number)));
        }
    }

    /// A timer expires: who waits is told. It is looked at again when somebody has read it, not before.
    pub(crate) fn open_timer_expired(&mut self, number: u32) {
        if !self.is_readable(number) {
            return self.schedule_file(number);
        }
        self.file_changed(number);
    }

    /// A signal is pending for a process: sets that hold it can be read.
    pub(crate) fn signal_files_changed(&mut self, pid: u32, signal: u32) {
        if self.files.is_empty() {
            return;
        }
        let bit = crate::signal::bit(signal);
        let holds = |kind: &Kind| matches!(kind, Kind::Signals { pid: owner, set } if *owner == pid && set & bit != 0);
        let changed: Vec<u32> =
            self.files.iter().filter(|(_, file)| holds(&file.kind)).map(|(&number, _)| number).collect();
        changed.into_iter().for_each(|number| self.file_changed(number));
    }

    /// There is something to read.
    fn file_changed(&mut self, number: u32) {
        let waiting: Vec<(u64, u64)> = self
            .deferred
            .iter()
            .filter_map(|(&request, deferred)| match deferred {
                Deferred::Read { file, room } if *file == number => Some((request, *room)),
                _ => None,
            })
            .collect();
        for (request, room) in waiting {
            // Taken out first, so that nothing answers it twice.
            let Some(deferred) = self.forget(request) else { continue };
            if !self.read_file(number, request, room as usize) {
                self.defer(request, deferred, u64::MAX);
            }
        }
        if self.is_readable(number)
            && let Some(file) = self.files.get_mut(&number)
        {
            for watcher in file.watchers.drain(..) {
                kernel::raise(watcher);
                kernel::close(watcher);
            }
        }
    }

    /// `ProcessFile`.
    pub(crate) fn process_file(&mut self, pid: u64, call: &Call) -> Result<Outcome, Errno> {
        let pid = u32::try_from(pid).map_err(|_| Errno::ESRCH)?;
        let process = self.known(pid)?;
        if process.native.is_some() {
            return Err(Errno::EINVAL);
        }
        let connection = self.connect(badge::FILE, pid, call.request)?;
        self.reply_handle(call.request, Reply::DONE, connection, Rights::SEND.and(Rights::COPY));
        kernel::close(connection);
        Ok(Outcome::Later)
    }

    /// Messages to a pidfd.
    pub(crate) fn serve_process_file(&mut self, pid: u32, call: &Call) -> Result<Outcome, Errno> {
        match FileRequest::decode(call.label, call.words).ok_or(Errno::ENOSYS)? {
            FileRequest::Poll { events, .. } => {
                let ended = self.table.process(pid).is_none_or(|process| process.state == State::Zombie);
                if ended {
                    return Ok(Outcome::ok([events & READABLE, 0, 0, 0]));
                }
                let pulse = self.gift.take();
                if let (Some(pulse), Some(process)) = (pulse, self.table.process_mut(pid)) {
                    watch(&mut process.watchers, pulse);
                }
                Ok(Outcome::ok([0; 4]))
            }
            FileRequest::StatOpen {} => Ok(self.plain_status()),
            FileRequest::Flags {} => Ok(Outcome::ok([READ_WRITE, 0, 0, 0])),
            FileRequest::SetFlags { .. } => Ok(Outcome::DONE),
            _ => Err(Errno::EINVAL),
        }
    }
}

impl OpenFile {
    /// The least room for a read.
    const fn least(&self) -> usize {
        match self.kind {
            Kind::Timer { .. } => EXPIRIES_LENGTH,
            Kind::Signals { .. } => SIGNAL_LENGTH,
        }
    }
}

/// Keep a pulse; of too many the oldest goes.
fn watch(watchers: &mut Vec<Handle>, pulse: Handle) {
    if watchers.len() >= WATCHERS {
        kernel::close(watchers.remove(0));
    }
    watchers.push(pulse);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiries_are_counted_until_they_are_read() {
        let mut timer = Kind::Timer { real: false, at_ns: 100, every_ns: 10, expiries: 0 };
        timer.advance(99);
        timer.advance(125);
        assert_eq!(timer, Kind::Timer { real: false, at_ns: 130, every_ns: 10, expiries: 3 });
        let mut once = Kind::Timer { real: false, at_ns: 100, every_ns: 0, expiries: 0 };
        once.advance(500);
        once.advance(600);
        assert_eq!(once, Kind::Timer { real: false, at_ns: 0, every_ns: 0, expiries: 1 });
    }

    #[test]
    fn a_signal_is_told_as_linux_lays_it_out() {
        let information = SignalInformation { signal: 10, code: -1, pid: 5, user: 6, value: 77, ..Default::default() };
        let record = signal_record(&information);
        assert_eq!((record[0], record[12], record[16], record[44], record[48]), (10, 5, 6, 77, 77));
    }
}
