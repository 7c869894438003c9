//! Faults: a message to the thread's pager first; what that refuses, and other exceptions, come back to the thread where it
//! asked for that, else they are a message; what nobody deals with is the thread's end.

use abi::{Error, notice};

use super::{Answer, Message, Object, Outcome, ProcessId, Specification, State, ThreadId};
use crate::action::{Fault, FaultKind};
use crate::specification::object::Page;

/// The exception that threads make.
pub const EXCEPTION: u64 = 6;
/// Threads of a process that can say where their own faults come back to, by their order.
pub const HANDLERS: usize = 16;

impl Specification {
    /// Which thread of its process this is.
    #[must_use]
    pub fn ordinal(&self, thread: ThreadId) -> usize {
        let process = self.threads[thread].process;
        self.threads[..thread].iter().filter(|earlier| earlier.process == process).count() % HANDLERS
    }

    /// Whether a thread deals with a fault of its own now.
    fn handles(&mut self, thread: ThreadId) -> &mut bool {
        let (area, ordinal) = (self.processes[self.threads[thread].process].area, self.ordinal(thread));
        &mut self.areas[area].handles[ordinal]
    }

    /// A thread has dealt with it.
    pub(super) fn settle(&mut self, thread: ThreadId) {
        *self.handles(thread) = false;
    }

    /// A thread touches a page that is missing, or forbids it.
    pub(super) fn page_fault(&mut self, thread: ThreadId, place: usize, page: Option<Page>, write: bool) {
        let present = page.is_some();
        let access = if write { notice::access::WRITE } else { 0 } | if present { notice::access::PRESENT } else { 0 };
        self.send_fault(thread, FaultKind::Page, place as u64, access);
    }

    /// A thread makes another fault.
    pub(super) fn exception(&mut self, thread: ThreadId) -> Answer {
        if self.upcall(thread) {
            return Ok(Some(Outcome::Upcall));
        }
        self.send_fault(thread, FaultKind::Exception, EXCEPTION, 0);
        Ok(None)
    }

    /// A fault is a call to the pager, which waits without end. What cannot be sent is refused.
    fn send_fault(&mut self, thread: ThreadId, kind: FaultKind, word: u64, access: u64) {
        let fault = Fault { kind, access, cookie: self.threads[thread].cookie };
        self.threads[thread].message = Message { word, deadline: abi::call::NEVER, ..Message::default() };
        self.threads[thread].fault = Some(fault);
        let pager = self.threads[thread].pager.filter(|pager| self.is_alive(Object::Connection(*pager)));
        let sent = match pager {
            None => Err(Error::Gone),
            Some(pager) => {
                self.threads[thread].message.badge = self.connections[pager].badge;
                self.send(thread, self.connections[pager].gate)
            }
        };
        if sent == Err(Error::ChainTooLong) {
            // There are so few gates that others wait in a ring. While a process goes in pieces, whether they do yet is not said here.
            self.cycle.set(true);
        }
        if sent.is_err() {
            self.refuse(thread);
        }
    }

    /// The pager deals with no fault of this thread's: it comes back to the thread, else the pager is told that it refused, else it is the end.
    pub(super) fn refuse(&mut self, thread: ThreadId) {
        let Some(Fault { kind, access, .. }) = self.threads[thread].fault.take() else { return };
        if kind != FaultKind::Page {
            self.end_thread(thread);
        } else if self.upcall(thread) {
            self.threads[thread].outcome = Some(Outcome::Upcall);
        } else {
            let place = self.threads[thread].message.word;
            self.send_fault(thread, FaultKind::Refused, place, access);
        }
    }

    /// A fault was dealt with: the thread does again what it did.
    pub(super) fn resume(&mut self, thread: ThreadId) {
        if self.threads[thread].fault.take().is_some_and(|fault| fault.kind == FaultKind::Exception) {
            self.threads[thread].outcome = Some(Outcome::Done { moved: 0 });
        }
    }

    /// A thread's fault comes back to it, if it wants that and does not deal with another one.
    fn upcall(&mut self, thread: ThreadId) -> bool {
        let goes = self.threads[thread].upcall && !*self.handles(thread);
        if goes {
            *self.handles(thread) = true;
        }
        goes
    }

    /// Faults of a thread go through this connection, which counts as a handle to it.
    pub(super) fn set_pager(&mut self, thread: ThreadId, pager: Option<usize>) {
        if let Some(pager) = pager {
            self.connections[pager].handles += 1;
        }
        if let Some(old) = std::mem::replace(&mut self.threads[thread].pager, pager) {
            self.drop_handle(old);
        }
    }

    /// Whether a thread, as it is, is in a fault.
    #[must_use]
    pub fn is_faulting(&self, thread: ThreadId) -> bool {
        self.threads[thread].fault.is_some() && !matches!(self.threads[thread].state, State::Dead | State::Ready)
    }

    /// The connection through which faults are to go.
    pub(super) fn pager_of(&self, process: ProcessId, connection: Option<abi::Handle>) -> Result<Option<usize>, Error> {
        let Some(handle) = connection.filter(|handle| !handle.is_none()) else { return Ok(None) };
        match self.object(process, handle, abi::object::Kind::Connection, abi::Rights::SEND)? {
            Object::Connection(connection) => Ok(Some(connection)),
            _ => Err(Error::WrongKind),
        }
    }
}
