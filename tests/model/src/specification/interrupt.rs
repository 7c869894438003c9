//! Interrupt lines: when a device asks, the line is masked and the pulses of all its takers are raised. It is unmasked when
//! all takers have dealt with it (by receiving again, if they did not want to hold it, else by saying so), are gone, or have
//! taken longer than they said they would.

use super::{PulseId, Specification};

/// Lines that the supervisor has pulses bound to.
pub const LINES: usize = 2;
/// Most takers of a line.
const TAKERS: usize = 8;

/// A line.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    /// Pulses bound to it, the latest first.
    takers: Vec<PulseId>,
    /// When it was masked.
    since: u64,
    /// When somebody will have taken too long, and when that was decided.
    pub(super) overdue: Option<(u64, u64)>,
}

/// A pulse's share in a line.
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    /// Which.
    pub line: usize,
    /// How long it may stay masked for this pulse's sake; 0: without end.
    pub limit: u64,
    /// It waits for this pulse.
    pub unarmed: bool,
}

impl Specification {
    /// Whether a pulse can be bound to a line: not if it was ever to tell a death.
    #[must_use]
    pub fn can_bind(&self, pulse: PulseId, line: usize) -> bool {
        let free = self.pulses[pulse].binding.is_none() && !self.pulses[pulse].tells_death;
        free && self.lines[line].takers.len() < TAKERS
    }

    /// A pulse is raised from now on when a line's device asks.
    pub fn bind_line(&mut self, pulse: PulseId, line: usize, limit: u64) {
        self.pulses[pulse].binding = Some(Binding { line, limit, unarmed: false });
        self.lines[line].takers.insert(0, pulse);
    }

    /// A pulse is no taker any more.
    pub(super) fn unbind_line(&mut self, pulse: PulseId) {
        if let Some(Binding { line, .. }) = self.pulses[pulse].binding {
            self.rearm(pulse);
            self.pulses[pulse].binding = None;
            self.lines[line].takers.retain(|taker| *taker != pulse);
            if self.lines[line].takers.is_empty() {
                self.lines[line].overdue = None;
            }
        }
    }

    fn waits_for(&self, pulse: PulseId) -> bool {
        self.pulses[pulse].binding.is_some_and(|binding| binding.unarmed)
    }

    /// Whether a device that asks is heard.
    #[must_use]
    pub fn is_unmasked(&self, line: usize) -> bool {
        let takers = &self.lines[line].takers;
        !takers.is_empty() && !takers.iter().any(|taker| self.waits_for(*taker))
    }

    /// A device has asked.
    pub fn take_line(&mut self, line: usize, now: u64) {
        self.now = now;
        let takers = self.lines[line].takers.clone();
        for taker in &takers {
            if let Some(binding) = &mut self.pulses[*taker].binding {
                binding.unarmed = true;
            }
        }
        for taker in &takers {
            self.raise(*taker, 1 << line);
        }
        self.lines[line].since = now;
        self.watch_line(line);
        self.offer_reserves();
    }

    /// When will the next taker that says how long it may take have taken too long?
    fn watch_line(&mut self, line: usize) {
        let order = self.next_event();
        let bindings = self.lines[line].takers.iter().filter_map(|taker| self.pulses[*taker].binding);
        let limits = bindings.filter(|binding| binding.unarmed && binding.limit != 0).map(|binding| binding.limit);
        self.lines[line].overdue = limits.min().map(|limit| (self.lines[line].since + limit, order));
    }

    /// Who has taken too long is waited for no more.
    pub(super) fn line_overdue(&mut self, line: usize) {
        let masked = self.now - self.lines[line].since;
        for taker in self.lines[line].takers.clone() {
            if let Some(binding) = self.pulses[taker].binding.as_mut().filter(|binding| binding.limit != 0) {
                binding.unarmed &= binding.limit > masked;
            }
        }
        self.watch_line(line);
    }

    /// A taker has dealt with it.
    pub(super) fn rearm(&mut self, pulse: PulseId) {
        if let Some(binding) = &mut self.pulses[pulse].binding {
            binding.unarmed = false;
            let line = binding.line;
            if self.is_unmasked(line) {
                self.lines[line].overdue = None;
            }
        }
    }

    /// What whoever took a pulse and died did not deal with is told again: an interrupt, or a death.
    pub(super) fn raise_again(&mut self, pulse: PulseId) {
        match self.pulses[pulse].binding {
            Some(Binding { line, unarmed: true, .. }) => self.raise(pulse, 1 << line),
            _ if self.pulses[pulse].tells_death => self.raise(pulse, 1),
            _ => {}
        }
    }
}
