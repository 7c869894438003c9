//! Groups and sessions, and what the console asks about them.

use protocol::{Errno, Reply};

use crate::kernel;
use crate::server::{Call, Outcome, Server};
use crate::signal::from_system;
use crate::table::State;

/// `POLLIN`.
const READABLE: u64 = 1;
/// Pulses that wait for one process's end.
const WATCHERS: usize = 8;

impl Server {
    /// `Identity`.
    pub(crate) fn identity(&self, pid: u32) -> Result<Outcome, Errno> {
        let process = self.known(pid)?;
        let terminal = self.table.terminals.get(&process.session).copied().unwrap_or(0);
        Ok(Outcome::ok([process.parent, process.group, process.session, terminal].map(u64::from)))
    }

    /// setpgid.
    pub(crate) fn set_group(&mut self, caller: u32, pid: u64, group: u64) -> Result<Outcome, Errno> {
        let pid = if pid == 0 { caller } else { u32::try_from(pid).map_err(|_| Errno::ESRCH)? };
        let group = if group == 0 {
            pid
        } else {
            u32::try_from(group).ok().filter(|&group| group < 1 << 31).ok_or(Errno::EINVAL)?
        };
        let session = self.known(caller)?.session;
        let process = self.known(pid)?;
        if pid != caller && process.parent != caller || process.native.is_some() {
            return Err(Errno::ESRCH);
        }
        if pid != caller && process.executed {
            return Err(Errno::EACCES);
        }
        if process.session != session || process.session == pid {
            return Err(Errno::EPERM);
        }
        if group != pid && !self.table.group_in_session(group, session) {
            return Err(Errno::EPERM);
        }
        if let Some(process) = self.table.process_mut(pid) {
            process.group = group;
        }
        Ok(Outcome::DONE)
    }

    /// setsid.
    pub(crate) fn set_session(&mut self, pid: u32) -> Result<Outcome, Errno> {
        if self.table.processes.values().any(|process| process.group == pid) {
            return Err(Errno::EPERM);
        }
        let process = self.table.process_mut(pid).ok_or(Errno::ESRCH)?;
        (process.session, process.group) = (pid, pid);
        self.table.terminals.remove(&pid);
        Ok(Outcome::ok([u64::from(pid), 0, 0, 0]))
    }

    /// `SignalGroup`.
    pub(crate) fn console_signal(&mut self, group: u32, signal: u64) -> Result<Outcome, Errno> {
        let signal = u32::try_from(signal).ok().filter(|signal| (1..65).contains(signal)).ok_or(Errno::EINVAL)?;
        if group == 0 || !self.signal_group(group, from_system(signal)) { Err(Errno::ESRCH) } else { Ok(Outcome::DONE) }
    }

    /// `SetTerminal`.
    pub(crate) fn set_terminal(&mut self, session: u32, terminal: u32) -> Result<Outcome, Errno> {
        if terminal == 0 {
            self.table.terminals.remove(&session);
        } else {
            if !self
                .table
                .processes
                .values()
                .any(|process| process.session == session && process.state != State::Zombie)
            {
                return Err(Errno::ESRCH);
            }
            self.table.terminals.insert(session, terminal);
        }
        Ok(Outcome::DONE)
    }

    /// `Group`.
    pub(crate) fn group(&self, group: u32) -> Result<Outcome, Errno> {
        // One that ended but was not waited for is a member still.
        let member = self.table.processes.values().find(|process| process.group == group && process.native.is_none());
        let session = member.ok_or(Errno::ESRCH)?.session;
        Ok(Outcome::ok([u64::from(session), u64::from(self.table.is_orphaned(group, 0)), 0, 0]))
    }

    /// `ProcessFile`.
    pub(crate) fn process_file(&mut self, pid: u64, call: &Call) -> Result<Outcome, Errno> {
        let pid = u32::try_from(pid).map_err(|_| Errno::ESRCH)?;
        let process = self.known(pid)?;
        if process.native.is_some() {
            return Err(Errno::EINVAL);
        }
        let connection = self.connect(crate::server::badge::FILE, pid, call.request)?;
        self.reply_handle(call.request, Reply::DONE, connection, abi::Rights::SEND.and(abi::Rights::COPY));
        kernel::close(connection);
        Ok(Outcome::Later)
    }

    /// Messages to a pidfd.
    pub(crate) fn serve_file(&mut self, pid: u32, call: &Call) -> Result<Outcome, Errno> {
        use protocol::file::Request;
        match Request::decode(call.label, call.words).ok_or(Errno::ENOSYS)? {
            Request::Poll { events } => {
                let ended = self.table.process(pid).is_none_or(|process| process.state == State::Zombie);
                if ended {
                    return Ok(Outcome::ok([events & READABLE, 0, 0, 0]));
                }
                let pulse = self.gift.take();
                if let (Some(pulse), Some(process)) = (pulse, self.table.process_mut(pid)) {
                    if process.watchers.len() >= WATCHERS {
                        kernel::close(process.watchers.remove(0));
                    }
                    process.watchers.push(pulse);
                }
                Ok(Outcome::ok([0; 4]))
            }
            Request::StatOpen {} => {
                self.out[..144].fill(0);
                // st_nlink 1, st_mode 0600.
                self.out[16] = 1;
                self.out[24..26].copy_from_slice(&0o600u16.to_le_bytes());
                Ok(Outcome::Bytes(Reply::DONE, 144))
            }
            Request::Flags {} => Ok(Outcome::ok([2, 0, 0, 0])),
            Request::SetFlags { .. } => Ok(Outcome::DONE),
            _ => Err(Errno::EINVAL),
        }
    }
}
