//! Job control: which session the terminal belongs to, which process group is in the foreground, and what happens to others.

use abi::{Handle, Rights};
use protocol::Errno;
use protocol::process::{self, ProcessRecord};
use runtime::{Buffers, Options};

/// The terminal's number as `/proc/…/stat` shows it: ttyS0.
const TERMINAL: u64 = 4 << 8 | 64;

const SIGHUP: u64 = 1;
const SIGCONT: u64 = 18;
pub(crate) const SIGTTIN: u64 = 21;
pub(crate) const SIGTTOU: u64 = 22;

/// A process that asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    pub(crate) pid: u64,
    pub(crate) group: u64,
    pub(crate) session: u64,
}

/// The terminal's place among sessions and groups; 0: none.
#[derive(Debug)]
pub(crate) struct Jobs {
    connection: Handle,
    pub(crate) session: u64,
    pub(crate) foreground: u64,
}

impl Jobs {
    /// No session yet. `watch` is raised when a session's leader ends.
    pub(crate) fn new(connection: Handle, watch: Handle) -> Self {
        let mut buffers = Buffers::new().give(watch, Rights::SEND.and(Rights::COPY));
        if let Err(failure) = process::watch_sessions(connection, &mut buffers, Options::NONE) {
            runtime::log!(Error, "ends of sessions will not be seen: {}", failure.errno().text());
        }
        Self { connection, session: 0, foreground: 0 }
    }

    /// Who `pid` is. `None` for programs that are not POSIX processes.
    pub(crate) fn caller(&self, pid: u32) -> Option<Caller> {
        let pid = u64::from(pid);
        let identity = process::identity(self.connection, pid, &mut Buffers::new(), Options::NONE).ok()?;
        Some(Caller { pid, group: identity.group, session: identity.session })
    }

    /// Send a signal to the group in the foreground.
    pub(crate) fn signal_foreground(&self, signal: u64) {
        if self.foreground != 0 {
            self.signal(self.foreground, signal);
        }
    }

    fn signal(&self, group: u64, signal: u64) {
        // A group that is gone needs no signal.
        let _ = process::signal_group(self.connection, group, signal, &mut Buffers::new(), Options::NONE);
    }

    /// Whether the caller may go on: it is in the foreground, or the terminal is not its session's. Else its group is sent
    /// `signal`, and it is told to try again (EINTR), or EIO if it could never be stopped.
    pub(crate) fn check_background(&self, pid: u32, signal: u64) -> Result<(), Errno> {
        let Some(caller) = self.caller(pid) else { return Ok(()) };
        if self.session == 0 || caller.session != self.session || caller.group == self.foreground {
            return Ok(());
        }
        let ignored = process::signal_ignored(self.connection, caller.pid, signal, &mut Buffers::new(), Options::NONE)
            .is_ok_and(|answer| answer.ignored != 0);
        if ignored {
            return if signal == SIGTTOU { Ok(()) } else { Err(Errno::EIO) };
        }
        let orphaned = process::group(self.connection, caller.group, &mut Buffers::new(), Options::NONE)
            .is_ok_and(|answer| answer.orphaned != 0);
        if orphaned {
            return Err(Errno::EIO);
        }
        self.signal(caller.group, signal);
        Err(Errno::EINTR)
    }

    /// The terminal becomes the controlling one of the caller's session, if the caller leads it. `steal`: even if another has it.
    pub(crate) fn take(&mut self, pid: u32, steal: bool) -> Result<(), Errno> {
        let caller = self.caller(pid).ok_or(Errno::ENOTTY)?;
        if self.session == caller.session {
            return Ok(());
        }
        if caller.pid != caller.session || self.session != 0 && !steal {
            return Err(Errno::EPERM);
        }
        self.session = caller.session;
        self.foreground = caller.group;
        self.tell_session(caller.session, TERMINAL);
        Ok(())
    }

    /// Who wants the terminal: the caller, or the session that a native caller names (it starts the session's first program).
    pub(crate) fn taker(&self, pid: u32, argument: u64) -> u32 {
        match u32::try_from(argument) {
            Ok(session) if session > 1 && self.is_native(pid) => session,
            _ => pid,
        }
    }

    fn is_native(&self, pid: u32) -> bool {
        let mut record = [0; size_of::<ProcessRecord>()];
        let mut buffers = Buffers::new().receive(&mut record);
        let known = process::record(self.connection, u64::from(pid), &mut buffers, Options::NONE);
        let at = core::mem::offset_of!(ProcessRecord, native);
        known.is_err() || record[at..].starts_with(&1u64.to_le_bytes())
    }

    fn tell_session(&self, session: u64, terminal: u64) {
        // A session that is gone needs no terminal.
        let _ = process::set_terminal(self.connection, session, terminal, &mut Buffers::new(), Options::NONE);
    }

    /// TIOCNOTTY: the caller's session gives the terminal up, if the caller leads it.
    pub(crate) fn give_up(&mut self, pid: u32) -> Result<(), Errno> {
        let caller = self.caller(pid).ok_or(Errno::ENOTTY)?;
        if caller.session != self.session {
            return Err(Errno::ENOTTY);
        }
        if caller.pid == caller.session {
            self.release();
        }
        Ok(())
    }

    fn release(&mut self) {
        self.signal_foreground(SIGHUP);
        self.signal_foreground(SIGCONT);
        self.tell_session(self.session, 0);
        self.session = 0;
        self.foreground = 0;
    }

    /// A session's leader has ended: if it was ours, the terminal is free.
    pub(crate) fn leader_ended(&mut self) {
        if self.session != 0 && self.caller(self.session as u32).is_none_or(|leader| leader.session != self.session) {
            self.release();
        }
    }

    /// The caller's session must be the terminal's.
    pub(crate) fn member(&self, pid: u32) -> Result<Caller, Errno> {
        self.caller(pid).filter(|caller| self.session != 0 && caller.session == self.session).ok_or(Errno::ENOTTY)
    }

    /// tcsetpgrp.
    pub(crate) fn set_foreground(&mut self, pid: u32, group: u64) -> Result<(), Errno> {
        self.member(pid)?;
        self.check_background(pid, SIGTTOU)?;
        let answer =
            process::group(self.connection, group, &mut Buffers::new(), Options::NONE).map_err(|_| Errno::ESRCH)?;
        if answer.session != self.session {
            return Err(Errno::EPERM);
        }
        self.foreground = group;
        Ok(())
    }
}
