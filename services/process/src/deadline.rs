//! Deadlines: what is due when. The server waits for messages until the earliest.

use crate::kernel;
use crate::server::Server;

/// What happens at a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    /// A request has waited long enough.
    Request(u64),
    /// A process that was killed has had its time.
    End(u32),
    /// An open timer expires.
    OpenTimer(u32),
    /// A process's timer is to be looked at.
    Timer(u32, u32),
}

impl Server {
    /// Do what is due, if there is anything to be due: reading the clock costs.
    pub(crate) fn expire_if_due(&mut self) {
        if !self.deadlines.is_empty() {
            self.expire();
        }
    }

    /// Do what is due.
    pub(crate) fn expire(&mut self) {
        let now = kernel::now();
        while let Some(&(at, event)) = self.deadlines.first().filter(|(at, _)| *at <= now) {
            self.deadlines.remove(&(at, event));
            match event {
                Event::Request(request) => self.timed_out(request),
                Event::End(pid) => {
                    self.end_if_due(pid);
                }
                Event::OpenTimer(number) => self.open_timer_expired(number),
                Event::Timer(pid, number) => self.look_at_timer(pid, number),
            }
        }
    }
}
