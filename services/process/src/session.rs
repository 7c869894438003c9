//! Groups and sessions, and what the console asks about them.

use protocol::Errno;

use crate::server::{Outcome, Server};
use crate::signal::from_system;
use crate::table::State;

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
}
