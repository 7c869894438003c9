//! Leaving a wait before it is over: when patience ends, and by interrupts.

use abi::Error;

use super::{Specification, State, ThreadId, Waiter};

impl Specification {
    /// If the exchange may be interrupted and an interrupt is due: it is now.
    pub(super) fn take_interrupt(&mut self, thread: ThreadId) -> Result<(), Error> {
        if self.threads[thread].interrupted && self.threads[thread].message.wishes.interruptible {
            self.threads[thread].interrupted = false;
            return Err(Error::Interrupted);
        }
        Ok(())
    }

    /// A thread is interrupted: at once if it waits and may be, else by its next exchange that may.
    pub fn interrupt(&mut self, thread: ThreadId) {
        self.threads[thread].interrupted = true;
        let waits = !matches!(self.threads[thread].state, State::Dead | State::Ready);
        if waits && self.threads[thread].message.wishes.interruptible {
            self.threads[thread].interrupted = false;
            self.break_off(thread, Error::Interrupted);
        }
    }

    /// A thread's deadline has come, or the end of the time that its server had.
    pub(super) fn patience_ends(&mut self, thread: ThreadId) {
        self.threads[thread].timer = None;
        match self.threads[thread].leaving {
            Some(reason) => self.leave(thread, reason),
            None => self.break_off(thread, Error::TimedOut),
        }
    }

    /// A wait ends. In REPLY the server is asked first, and has the gate's grace time.
    fn break_off(&mut self, thread: ThreadId, reason: Error) {
        if let State::Reply(gate, _) = self.threads[thread].state {
            if self.threads[thread].leaving.is_some() {
                return;
            }
            let grace = self.gates[gate].grace;
            let at_once = self.threads[thread].message.wishes.no_grace && reason == Error::Interrupted;
            let priority = self.current(thread).map_or(0, |baton| self.batons[baton].priority);
            if grace != 0 && !at_once && self.tell(gate, Waiter::Unblock(thread), priority) {
                self.threads[thread].leaving = Some(reason);
                self.threads[thread].timer = Some((self.now + grace, self.next_event()));
                return;
            }
        }
        self.leave(thread, reason);
    }

    /// A wait ends now, with an error.
    pub(super) fn leave(&mut self, thread: ThreadId, reason: Error) {
        self.stop_wait(thread);
        self.release(thread, reason);
    }

    /// A thread is taken out of whatever it waits in.
    pub(super) fn stop_wait(&mut self, thread: ThreadId) {
        self.threads[thread].timer = None;
        match self.threads[thread].state {
            State::Send(gate) => {
                self.stop_waiting(gate, Waiter::Caller(thread));
                self.threads[thread].state = State::Ready;
            }
            State::Reply(..) => self.end_request(thread),
            State::Receive(gate) => self.unpark(gate, thread),
            State::Dead | State::Ready => {}
        }
    }
}
