//! The terminal as a resource manager.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use abi::{Error, Handle};
use protocol::file::{Status, answer, features};
use protocol::resource_manager::{
    Call, Data, Done, Open, OpenFile, Opened, Output, Pollers, Refusal, ResourceManager, complete_plain, events, mode,
    open_flags,
};
use protocol::{Errno, Failure};
use runtime::exchange::read_request;
use runtime::object::{process, pulse};

use crate::discipline::{Available, Discipline, Signal};
use crate::jobs::{Jobs, SIGTTIN, SIGTTOU};
use crate::line::Line;
use crate::reads::{Read, Reads, Verdict};
use crate::termios::{TERMIOS_SIZE, Termios, local};

/// Badges of our own pulses.
const LINE_BADGE: u64 = 1 << 32;
const ALARM_BADGE: u64 = 2 << 32;
const SESSION_BADGE: u64 = 3 << 32;
/// Mount badge of `/dev/tty`.
const TTY_MOUNT: u64 = 1;
/// Device numbers of `/dev/console` and `/dev/tty`.
const CONSOLE_DEVICE: u64 = 5 << 8 | 1;
const TTY_DEVICE: u64 = 5 << 8;
const FILE_SYSTEM: u64 = 5;
/// O_NOCTTY.
const NO_CONTROLLING_TERMINAL: u64 = 0o400;
/// Processed output waiting for the line; writers wait beyond it.
const SCREEN_MAXIMUM: usize = 8 * 1024;
/// Taken over from a writer at a time.
const PIECE: usize = 1024;
/// Keys taken from the line at a time.
const KEYS: usize = 256;
const SIGWINCH: u64 = 28;

/// `ioctl` commands (asm-generic/ioctls.h).
mod command {
    pub(super) const TCGETS: u64 = 0x5401;
    pub(super) const TCSETS: u64 = 0x5402;
    pub(super) const TCSETSW: u64 = 0x5403;
    pub(super) const TCSETSF: u64 = 0x5404;
    pub(super) const TCSBRK: u64 = 0x5409;
    pub(super) const TCXONC: u64 = 0x540a;
    pub(super) const TCFLSH: u64 = 0x540b;
    pub(super) const TIOCEXCL: u64 = 0x540c;
    pub(super) const TIOCNXCL: u64 = 0x540d;
    pub(super) const TIOCSCTTY: u64 = 0x540e;
    pub(super) const TIOCGPGRP: u64 = 0x540f;
    pub(super) const TIOCSPGRP: u64 = 0x5410;
    pub(super) const TIOCOUTQ: u64 = 0x5411;
    pub(super) const TIOCGWINSZ: u64 = 0x5413;
    pub(super) const TIOCSWINSZ: u64 = 0x5414;
    pub(super) const FIONREAD: u64 = 0x541b;
    pub(super) const TIOCNOTTY: u64 = 0x5422;
    pub(super) const TIOCGETD: u64 = 0x5424;
    pub(super) const TCSBRKP: u64 = 0x5425;
    pub(super) const TIOCGSID: u64 = 0x5429;
}

/// A write that waits for room on the screen.
#[derive(Debug)]
struct Writer {
    request: u64,
    done: usize,
    length: usize,
}

/// The terminal.
pub(crate) struct Console {
    line: Line,
    alarm: Handle,
    alarm_ns: u64,
    discipline: Discipline,
    jobs: Jobs,
    /// `struct winsize`: rows, columns, and two unused.
    size: [u8; 8],
    reads: Reads,
    writers: VecDeque<Writer>,
    screen: Vec<u8>,
    pollers: Pollers,
    /// Keys were left in the driver, for want of room.
    keys_wait: bool,
}

impl Console {
    /// Open the line below and make the pulses.
    ///
    /// # Errors
    /// The line is not there, or the quota does not allow pulses.
    pub(crate) fn new(gate: Handle, mount: Handle) -> Result<Self, Failure> {
        let own_pulse = |badge| -> Result<Handle, Error> {
            process::create_pulse(Handle::SELF_PROCESS, gate, badge, process::Accumulate::Or, 0, Handle::NONE)
        };
        let mut console = Self {
            line: Line::open(mount, gate, LINE_BADGE)?,
            alarm: own_pulse(ALARM_BADGE)?,
            alarm_ns: u64::MAX,
            discipline: Discipline::default(),
            jobs: Jobs::new(runtime::start::handle("process"), own_pulse(SESSION_BADGE)?),
            size: [24, 0, 80, 0, 0, 0, 0, 0],
            reads: Reads::default(),
            writers: VecDeque::new(),
            screen: Vec::new(),
            pollers: Pollers::new(),
            keys_wait: false,
        };
        console.keys();
        Ok(console)
    }

    /// Take what was typed, and serve who waits for it: again if that made room for more.
    fn keys(&mut self) {
        loop {
            self.take_keys();
            self.progress();
            if !(self.keys_wait && self.discipline.has_room(KEYS)) {
                break;
            }
        }
    }

    /// Take keys as long as they are kept: what there is no room for waits in the driver.
    fn take_keys(&mut self) {
        let mut bytes = [0; KEYS];
        self.keys_wait = false;
        while self.discipline.has_room(KEYS) {
            let count = match self.line.read(&mut bytes) {
                Ok(count) => count,
                Err(failure) => {
                    runtime::log!(Error, "cannot read the line: {}", failure.errno().text());
                    0
                }
            };
            for &byte in &bytes[..count] {
                self.reads.last_key_ns = runtime::clock::monotonic_ns();
                if let Some(signal) = self.discipline.key(byte, &mut self.screen) {
                    self.signal(signal);
                }
            }
            if count == 0 {
                // What was echoed goes first: a line that has room for it would be "ready" for ever.
                self.flush();
                let output = !self.screen.is_empty() && !self.discipline.stopped();
                if !self.line.arm(true, output) {
                    return;
                }
            }
        }
        self.keys_wait = true;
    }

    /// Something was read or forgotten, or has changed: keys that waited may be taken now.
    fn go_on(&mut self) {
        if self.keys_wait { self.keys() } else { self.progress() }
    }

    fn signal(&mut self, signal: Signal) {
        self.jobs.signal_foreground(signal as u64);
    }

    /// Serve whoever waits: readers, writers, pollers; send what is to be seen.
    fn progress(&mut self) {
        let now_ns = runtime::clock::monotonic_ns();
        let again_ns = self.reads.serve(&mut self.discipline, now_ns);
        self.set_alarm(again_ns);
        self.flush();
        self.serve_writers();
        let ready = self.ready();
        self.pollers.wake(ready);
    }

    fn set_alarm(&mut self, at_ns: u64) {
        if self.alarm_ns != at_ns {
            self.alarm_ns = at_ns;
            // Fails only for a bad handle; this one is ours.
            let _ = pulse::set_alarm(self.alarm, at_ns, 0);
        }
    }

    /// Hand the screen's bytes to the line, as many as it takes now.
    fn flush(&mut self) {
        if self.discipline.stopped() {
            return;
        }
        let mut sent = 0;
        while sent < self.screen.len() {
            match self.line.write(&self.screen[sent..]) {
                Ok(0) => {
                    if !self.line.arm(!self.keys_wait, true) {
                        break;
                    }
                }
                Ok(count) => sent += count,
                Err(failure) => {
                    runtime::log!(Error, "cannot write the line: {}", failure.errno().text());
                    sent = self.screen.len();
                }
            }
        }
        self.screen.drain(..sent);
    }

    fn serve_writers(&mut self) {
        while let Some(mut writer) = self.writers.pop_front() {
            let result = self.take_over(writer.request, &mut writer.done, writer.length);
            self.flush();
            match result {
                Err(error) if writer.done == 0 => {
                    let reply = match Refusal::from(error) {
                        Refusal::Retry => protocol::Reply::RETRY,
                        _ => protocol::Reply::error(Errno::EFAULT),
                    };
                    complete_plain(writer.request, reply);
                }
                Ok(()) if writer.done < writer.length => {
                    let full = self.is_full();
                    self.writers.push_front(writer);
                    if full {
                        return;
                    }
                }
                _ => complete_write(writer.request, writer.done),
            }
        }
    }

    fn is_full(&self) -> bool {
        self.discipline.stopped() || self.screen.len() >= SCREEN_MAXIMUM
    }

    /// Process a writer's bytes from `done` on, until the screen is full.
    fn take_over(&mut self, request: u64, done: &mut usize, length: usize) -> Result<(), Error> {
        let mut piece = [0; PIECE];
        while *done < length && !self.is_full() {
            let wanted = PIECE.min(length - *done);
            let count = match read_request(request, *done as u64, &mut piece[..wanted]) {
                Ok(moved) => moved as usize,
                Err((_, moved)) if moved > 0 => moved as usize,
                Err((error, _)) => return Err(error),
            };
            if count == 0 {
                break;
            }
            self.discipline.write(&piece[..count], &mut self.screen);
            *done += count;
        }
        Ok(())
    }

    fn ready(&self) -> u64 {
        let mut ready = 0;
        if self.discipline.readable() {
            ready |= events::READABLE;
        }
        if !self.is_full() {
            ready |= events::WRITABLE;
        }
        ready
    }

    fn status_of(tty: bool) -> Status {
        let device_node = if tty { TTY_DEVICE } else { CONSOLE_DEVICE };
        let now = runtime::clock::realtime_ns();
        let (seconds, nanoseconds) = (now / 1_000_000_000, now % 1_000_000_000);
        Status {
            device: FILE_SYSTEM,
            inode: device_node,
            links: 1,
            mode: mode::CHARACTER | if tty { 0o666 } else { 0o620 },
            device_node,
            block_size: 1024,
            times: [seconds, nanoseconds, seconds, nanoseconds, seconds, nanoseconds],
            ..Status::default()
        }
    }

    fn set_termios(&mut self, call: &Call<'_>, flush: bool) -> Done {
        self.jobs.check_background(call.pid(), SIGTTOU)?;
        let bytes = call.structure::<TERMIOS_SIZE>()?;
        let termios = Termios::from_bytes(&bytes).ok_or(Errno::EINVAL)?;
        if flush {
            self.discipline.flush_input();
        }
        self.discipline.set_termios(termios);
        self.go_on();
        Ok(())
    }

    fn set_size(&mut self, call: &Call<'_>) -> Done {
        let size = call.structure::<8>()?;
        if size != self.size {
            self.size = size;
            self.jobs.signal_foreground(SIGWINCH);
        }
        Ok(())
    }

    /// tcflow and tcflush: their arguments are small numbers.
    fn flow(&mut self, call: &Call<'_>, argument: u64) -> Done {
        self.jobs.check_background(call.pid(), SIGTTOU)?;
        match argument {
            0 => self.discipline.set_stopped(true),
            1 => {
                self.discipline.set_stopped(false);
                self.progress();
            }
            2 | 3 => {}
            _ => return Err(Errno::EINVAL.into()),
        }
        Ok(())
    }

    fn discard(&mut self, call: &Call<'_>, argument: u64) -> Done {
        self.jobs.check_background(call.pid(), SIGTTOU)?;
        if argument > 2 {
            return Err(Errno::EINVAL.into());
        }
        if argument != 1 {
            self.discipline.flush_input();
        }
        if argument != 0 {
            self.screen.clear();
        }
        self.go_on();
        Ok(())
    }
}

fn complete_write(request: u64, count: usize) {
    complete_plain(request, answer::Write { count: count as u64, ..Default::default() }.into());
}

impl ResourceManager for Console {
    /// Whether it was opened as `/dev/tty`.
    type File = bool;

    fn open(&mut self, call: &Call<'_>, path: &[u8], open: &Open) -> Result<Opened<bool>, Refusal> {
        if !path.is_empty() || open.has(open_flags::DIRECTORY) {
            return Err(Errno::ENOTDIR.into());
        }
        let tty = call.badge == TTY_MOUNT;
        if tty {
            self.jobs.member(call.pid()).map_err(|_| Errno::ENXIO)?;
        } else if !open.has(NO_CONTROLLING_TERMINAL | open_flags::PATH) && self.jobs.session == 0 {
            // A session leader without a terminal gets this one; others just open it.
            let _ = self.jobs.take(call.pid(), false);
        }
        Ok(Opened::new(tty, open, Self::status_of(tty).mode, features::TERMINAL | features::WAITS))
    }

    fn closed(&mut self, file: OpenFile<bool>) {
        self.pollers.forget(file.badge);
    }

    fn status(&mut self, call: &Call<'_>, path: &[u8], _: bool) -> Result<Status, Refusal> {
        if !path.is_empty() {
            return Err(Errno::ENOTDIR.into());
        }
        Ok(Self::status_of(call.badge == TTY_MOUNT))
    }

    fn status_open(&mut self, _: &Call<'_>, file: &mut OpenFile<bool>) -> Result<Status, Refusal> {
        Ok(Self::status_of(file.file))
    }

    fn change_mode(&mut self, _: &Call<'_>, _: &[u8], _: u32, _: bool) -> Done {
        Ok(())
    }

    fn change_owner(&mut self, _: &Call<'_>, _: &[u8], _: u32, _: u32, _: bool) -> Done {
        Ok(())
    }

    fn change_mode_open(&mut self, _: &Call<'_>, _: &mut OpenFile<bool>, _: u32) -> Done {
        Ok(())
    }

    fn change_owner_open(&mut self, _: &Call<'_>, _: &mut OpenFile<bool>, _: u32, _: u32) -> Done {
        Ok(())
    }

    fn read(&mut self, call: &Call<'_>, _: &mut OpenFile<bool>, _: u64, wait: bool) -> Result<Data, Refusal> {
        self.jobs.check_background(call.pid(), SIGTTIN)?;
        if call.room == 0 {
            return Ok(Data::new());
        }
        let now_ns = runtime::clock::monotonic_ns();
        let read = Read { request: call.request, room: call.room, since_ns: now_ns };
        if !wait && !self.discipline.readable() {
            return Err(Errno::EAGAIN.into());
        }
        match self.reads.judge(&self.discipline, &read, now_ns) {
            // At the end of the file nothing is lent; else the bytes are delivered by the ordinary way of late answers,
            // since they are put together for this one read.
            Verdict::Give(Available::Nothing) => return Ok(Data::new()),
            Verdict::Give(Available::Bytes { bytes, .. }) if bytes.is_empty() => {
                self.discipline.consume(1);
                self.go_on();
                return Ok(Data::new());
            }
            Verdict::WaitUntil(_) if !wait => return Err(Errno::EAGAIN.into()),
            _ => {}
        }
        if !self.reads.push(read) {
            return Err(Errno::ENOMEM.into());
        }
        let again_ns = self.reads.serve(&mut self.discipline, now_ns);
        self.set_alarm(again_ns);
        if self.keys_wait {
            // What was read made room.
            self.keys();
        }
        Err(Refusal::Later)
    }

    fn write(&mut self, call: &Call<'_>, _: &mut OpenFile<bool>, _: u64, wait: bool) -> Result<usize, Refusal> {
        if self.discipline.termios.local(local::TOSTOP) {
            self.jobs.check_background(call.pid(), SIGTTOU)?;
        }
        if call.sent == 0 {
            return Ok(0);
        }
        let mut done = 0;
        while self.writers.is_empty() && done < call.sent && !self.is_full() {
            if let Err(error) = self.take_over(call.request, &mut done, call.sent) {
                if done == 0 {
                    return Err(error.into());
                }
                break;
            }
            self.flush();
        }
        if done == call.sent || done > 0 && !wait {
            return Ok(done);
        }
        if !wait {
            return Err(Errno::EAGAIN.into());
        }
        if self.writers.try_reserve(1).is_err() {
            return if done > 0 { Ok(done) } else { Err(Errno::ENOMEM.into()) };
        }
        self.writers.push_back(Writer { request: call.request, done, length: call.sent });
        Err(Refusal::Later)
    }

    fn sync(&mut self, _: &Call<'_>, _: &mut OpenFile<bool>) -> Done {
        self.flush();
        self.line.drain();
        Ok(())
    }

    fn poll(&mut self, call: &Call<'_>, _: &mut OpenFile<bool>, wanted: u64) -> u64 {
        let ready = self.ready() & wanted;
        if ready == 0 {
            self.pollers.arm(call, wanted);
        }
        ready
    }

    fn control(
        &mut self,
        call: &Call<'_>,
        _: &mut OpenFile<bool>,
        command: u64,
        argument: u64,
        output: &mut Output,
    ) -> Result<u64, Refusal> {
        match command {
            command::TCGETS => output.put(&self.discipline.termios.to_bytes()),
            command::TCSETS | command::TCSETSW => self.set_termios(call, false)?,
            command::TCSETSF => self.set_termios(call, true)?,
            command::TCSBRK | command::TCSBRKP => self.line.drain(),
            command::TCXONC => self.flow(call, argument)?,
            command::TCFLSH => self.discard(call, argument)?,
            command::TIOCEXCL | command::TIOCNXCL => {}
            command::TIOCSCTTY => self.jobs.take(self.jobs.taker(call.pid(), argument), argument == 1)?,
            command::TIOCNOTTY => self.jobs.give_up(call.pid())?,
            command::TIOCGPGRP => {
                self.jobs.member(call.pid())?;
                output.put(&(self.jobs.foreground as u32).to_le_bytes());
            }
            command::TIOCGSID => {
                self.jobs.member(call.pid())?;
                output.put(&(self.jobs.session as u32).to_le_bytes());
            }
            command::TIOCSPGRP => {
                let group = i32::from_le_bytes(call.structure::<4>()?);
                let group = u64::try_from(group).map_err(|_| Errno::EINVAL)?;
                self.jobs.set_foreground(call.pid(), group)?;
            }
            command::TIOCGWINSZ => output.put(&self.size),
            command::TIOCSWINSZ => self.set_size(call)?,
            command::TIOCOUTQ => output.put(&(self.screen.len() as u32).to_le_bytes()),
            command::FIONREAD => output.put(&(self.discipline.waiting() as u32).to_le_bytes()),
            command::TIOCGETD => output.put(&[0; 4]),
            _ => return Err(Errno::ENOTTY.into()),
        }
        Ok(0)
    }

    fn unblock(&mut self, request: u64) -> bool {
        if self.reads.remove(request) {
            return true;
        }
        let Some(position) = self.writers.iter().position(|writer| writer.request == request) else { return false };
        match self.writers.remove(position) {
            // What was shown was written.
            Some(writer) if writer.done > 0 => {
                complete_write(request, writer.done);
                false
            }
            _ => true,
        }
    }

    fn pulse(&mut self, badge: u64, _: u64) {
        match badge {
            LINE_BADGE => {
                self.line.disarm();
                self.keys();
            }
            ALARM_BADGE => {
                self.alarm_ns = u64::MAX;
                self.go_on();
            }
            SESSION_BADGE => self.jobs.leader_ended(),
            protocol::init::RESTARTED => {
                if let Err(failure) = self.line.reopen() {
                    runtime::log!(Error, "cannot open the line again: {}", failure.errno().text());
                }
                self.keys();
            }
            _ => {}
        }
    }
}
