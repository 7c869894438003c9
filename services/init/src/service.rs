//! A program of the list while it runs, and when it may run again.

use abi::Handle;

use crate::list::Program;

/// A program that ran this long counts as sound: it is started again at once.
const SOUND_NS: u64 = 10_000_000_000;
/// First delay of a program that ended too soon twice in a row.
const DELAY_NS: u64 = 100_000_000;
/// Longest delay, as a power of two times the first.
const DELAY_DOUBLINGS: u32 = 7;

/// What belongs to one run of a program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Running {
    /// Its process.
    pub(crate) process: Handle,
    /// The pulse of its death.
    pub(crate) death: Handle,
    /// Its pid at the process service.
    pub(crate) pid: u64,
    /// When it was started.
    pub(crate) since_ns: u64,
}

/// A program of the list.
#[derive(Debug)]
pub(crate) struct Service {
    /// Its entry.
    pub(crate) program: &'static Program,
    /// Its gate, which outlives it.
    pub(crate) gate: Handle,
    /// Where its faults go.
    pub(crate) faults: Handle,
    /// Pulse to its gate: somebody that it has a connection to was started again.
    pub(crate) restarted: Handle,
    /// How often it was started.
    pub(crate) starts: u64,
    /// Its run, if it runs.
    pub(crate) running: Option<Running>,
    /// When it is to be started again.
    pub(crate) due_ns: Option<u64>,
    /// Runs in a row that ended too soon.
    failures: u32,
}

impl Service {
    /// A program that did not run yet.
    pub(crate) const fn new(program: &'static Program, gate: Handle, faults: Handle, restarted: Handle) -> Self {
        Self { program, gate, faults, restarted, starts: 0, running: None, due_ns: None, failures: 0 }
    }

    /// A run ended (or could not begin): let it be due again, the later the more often it ended too soon.
    pub(crate) fn postpone(&mut self, now_ns: u64) {
        let sound = self.running.is_some_and(|run| now_ns.saturating_sub(run.since_ns) >= SOUND_NS);
        self.failures = if sound { 0 } else { self.failures.saturating_add(1) };
        let delay = match self.failures {
            0 | 1 => 0,
            failures => DELAY_NS << (failures - 2).min(DELAY_DOUBLINGS),
        };
        self.running = None;
        self.due_ns = Some(now_ns + delay);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_ends_soon_again_and_again_waits_longer_each_time() {
        let mut service = Service::new(&crate::list::PROGRAMS[0], Handle::NONE, Handle::NONE, Handle::NONE);
        let run = |since_ns| Some(Running { process: Handle::NONE, death: Handle::NONE, pid: 0, since_ns });
        let mut delays = alloc::vec::Vec::new();
        for _ in 0..12 {
            service.running = run(5);
            service.postpone(10);
            delays.push(service.due_ns.expect("due") - 10);
        }
        assert_eq!(delays[..4], [0, DELAY_NS, 2 * DELAY_NS, 4 * DELAY_NS]);
        assert_eq!(delays[11], DELAY_NS << DELAY_DOUBLINGS);
        service.running = run(0);
        service.postpone(SOUND_NS);
        assert_eq!(service.due_ns, Some(SOUND_NS));
    }
}
