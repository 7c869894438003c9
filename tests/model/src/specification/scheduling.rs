//! Who runs. A baton runs the thread at the end of the chain of requests that it was lent along; if that one waits, whoever
//! it waits for. Of the batons that can run somebody, one of the strongest does.

use super::{BatonId, GateId, Object, Specification, State, Thread, ThreadId, Waiter};

/// Requests and gates along which batons are followed.
const CHAIN: usize = 16;

impl Specification {
    /// Whose request a thread works on.
    fn served(&self, thread: ThreadId) -> Option<ThreadId> {
        let request = self.threads[thread].serves;
        let waits = |caller: &Thread| caller.request == request && matches!(caller.state, State::Reply(..));
        if request == 0 { None } else { self.threads.iter().position(waits) }
    }

    /// The baton a thread runs on, or waits with: that of the request it works on; else one it borrowed; else its own.
    #[must_use]
    pub fn current(&self, thread: ThreadId) -> Option<BatonId> {
        let Thread { borrowed, own, state, lends, .. } = self.threads[thread];
        // A request that was received without a baton has none until it is answered.
        if state == State::Dead || (matches!(state, State::Reply(..)) && !lends) {
            return None;
        }
        let lender = self.served(thread).filter(|caller| self.threads[*caller].lends);
        lender.and_then(|caller| self.current(caller)).or(borrowed).or(own)
    }

    /// Whether a baton is any thread's own.
    pub(super) fn is_owned(&self, baton: BatonId) -> bool {
        self.threads.iter().any(|thread| thread.own == Some(baton))
    }

    /// Whether a thread uses a baton.
    pub(super) fn in_use(&self, baton: BatonId) -> bool {
        (0..self.threads.len()).any(|thread| self.threads[thread].alive && self.current(thread) == Some(baton))
    }

    /// Whether a baton can become a thread's own.
    #[must_use]
    pub fn is_free(&self, baton: BatonId) -> bool {
        self.batons[baton].alive && !self.is_owned(baton) && !self.in_use(baton)
    }

    /// The reserve of a thread's gate, if it has no baton of its own and that one is free.
    fn reserve_for(&self, thread: ThreadId) -> Option<BatonId> {
        let reserve = self.gates[self.threads[thread].receives_at?].reserve?;
        let free = self.threads[thread].own.is_none() && !self.is_owned(reserve) && !self.in_use(reserve);
        free.then_some(reserve)
    }

    /// A thread can run: without a baton, on its gate's reserve, if it can have that.
    pub(super) fn wake(&mut self, thread: ThreadId) {
        self.threads[thread].state = State::Ready;
        if self.current(thread).is_none() {
            self.threads[thread].borrowed = self.reserve_for(thread);
        }
    }

    /// Those that work on a caller's request, each for the one before, on its baton.
    pub(super) fn workers(&self, caller: ThreadId) -> Vec<ThreadId> {
        let (mut workers, mut at) = (Vec::new(), caller);
        while let State::Reply(_, server) = self.threads[at].state
            && self.threads[at].lends
            && self.threads[server].serves == self.threads[at].request
        {
            workers.push(server);
            at = server;
        }
        workers
    }

    /// They have lost that baton: the first of them that has one lends it to those behind.
    pub(super) fn go_on_without(&mut self, workers: &[ThreadId]) {
        for worker in workers {
            if self.current(*worker).is_none() {
                self.threads[*worker].borrowed = self.reserve_for(*worker);
            }
            if self.current(*worker).is_some() {
                break;
            }
            self.threads[*worker].lends = false;
        }
    }

    /// Nobody goes without a baton while its gate's reserve is free: who has gone without for longest comes first.
    pub(super) fn offer_reserves(&mut self) {
        self.mark_stuck();
        self.give_reserves();
    }

    /// Who goes without a baton from now on, and who does no more.
    pub(super) fn mark_stuck(&mut self) {
        for thread in 0..self.threads.len() {
            let Thread { state, receives_at, stuck, .. } = self.threads[thread];
            let without = state == State::Ready && receives_at.is_some() && self.current(thread).is_none();
            if without && stuck.is_none() {
                self.threads[thread].stuck = Some(self.next_event());
            } else if !without {
                self.threads[thread].stuck = None;
            }
        }
    }

    /// A baton was given up: those that go without have it before whoever gave it.
    pub(super) fn give_reserves(&mut self) {
        let mut stuck: Vec<_> =
            (0..self.threads.len()).filter_map(|id| self.threads[id].stuck.map(|since| (since, id))).collect();
        stuck.sort_unstable();
        for (_, thread) in stuck {
            if self.current(thread).is_none()
                && let Some(reserve) = self.reserve_for(thread)
            {
                self.threads[thread].borrowed = Some(reserve);
                self.threads[thread].stuck = None;
            }
        }
    }

    /// The receiver that must get on for callers to be served: the busy one that received earliest.
    fn busy(&self, gate: GateId) -> Option<ThreadId> {
        self.gates[gate].busy.first().copied()
    }

    /// With which priority a thread waits: that of its baton, or of the strongest that waits for it, be it at its gate or for
    /// the answer that it works on, and so on.
    pub(super) fn urgency(&self, thread: ThreadId) -> u8 {
        self.urgency_behind(thread, &mut Vec::new())
    }

    /// The same, without those that were looked at on the way here. Through gates with several receivers threads may wait for
    /// themselves; how strong they are then is not said here.
    fn urgency_behind(&self, thread: ThreadId, seen: &mut Vec<ThreadId>) -> u8 {
        let (mut at, mut urgency, depth) = (thread, 0, seen.len());
        for _ in 0..CHAIN {
            if seen.contains(&at) {
                self.cycle.set(true);
                break;
            }
            seen.push(at);
            urgency = urgency.max(self.current(at).map_or(0, |baton| self.batons[baton].priority));
            let gate = self.threads[at].receives_at.filter(|gate| self.busy(*gate) == Some(at));
            for waiting in gate.iter().flat_map(|gate| &self.gates[*gate].waiting) {
                if let Waiter::Caller(caller) = waiting.waiter {
                    urgency = urgency.max(self.urgency_behind(caller, seen));
                }
            }
            let Some(caller) = self.served(at) else { break };
            at = caller;
        }
        seen.truncate(depth);
        urgency
    }

    /// Whom a baton runs.
    #[must_use]
    pub fn runs(&self, baton: BatonId) -> Option<ThreadId> {
        let uses = |thread: &ThreadId| self.threads[*thread].alive && self.current(*thread) == Some(baton);
        let users: Vec<_> = (0..self.threads.len()).filter(uses).collect();
        let lent = |thread: ThreadId| users.iter().any(|other| self.served(*other) == Some(thread));
        let mut at = *users.iter().find(|thread| !lent(**thread))?;
        for _ in 0..=CHAIN {
            at = match self.threads[at].state {
                State::Ready => return (!self.threads[at].stopped).then_some(at),
                State::Send(gate) if self.gates[gate].alive && self.strongest_caller(gate) == Some(at) => {
                    self.busy(gate)?
                }
                State::Reply(_, server) if self.threads[server].serves == self.threads[at].request => server,
                _ => return None,
            };
        }
        None
    }

    /// The batons that can run somebody, with their priorities and whom.
    fn ready(&self) -> impl Iterator<Item = (u8, ThreadId)> {
        let alive = (0..self.batons.len()).filter(|baton| self.batons[*baton].alive);
        alive.filter_map(|baton| Some((self.batons[baton].priority, self.runs(baton)?)))
    }

    /// At which priority a thread runs that runs now.
    pub(super) fn priority_of_running(&self, thread: ThreadId) -> u8 {
        self.ready().filter(|(_, runs)| *runs == thread).map(|(priority, _)| priority).max().unwrap_or(0)
    }

    /// Whether it may be this thread that runs.
    #[must_use]
    pub fn may_run(&self, thread: ThreadId) -> bool {
        let strongest = self.ready().map(|(priority, _)| priority).max();
        self.ready().any(|(priority, runs)| Some(priority) == strongest && runs == thread)
    }

    /// A baton is destroyed.
    pub(super) fn destroy_baton(&mut self, baton: BatonId) {
        let users: Vec<_> = (0..self.threads.len())
            .filter(|thread| self.threads[*thread].own == Some(baton) || self.threads[*thread].borrowed == Some(baton))
            .collect();
        for gate in &mut self.gates {
            gate.reserve = gate.reserve.filter(|reserve| *reserve != baton);
        }
        self.forget(Object::Baton(baton));
        for thread in users {
            self.lose_baton(thread, baton, None);
        }
    }

    /// A thread's own or borrowed baton is taken from it, and from those that it was lent to; it may get another for it.
    fn lose_baton(&mut self, thread: ThreadId, baton: BatonId, new: Option<BatonId>) {
        let mut workers = vec![thread];
        if self.current(thread) == Some(baton) {
            workers.extend(self.workers(thread));
        }
        let thread = &mut self.threads[thread];
        thread.own = thread.own.filter(|own| *own != baton).or(new);
        thread.borrowed = thread.borrowed.filter(|borrowed| *borrowed != baton);
        if thread.state != State::Dead {
            self.go_on_without(&workers);
        }
    }

    /// A thread's own baton is changed. Without a new one, a thread that runs keeps the old one until it next waits.
    pub fn set_baton(&mut self, thread: ThreadId, baton: Option<BatonId>) {
        let Thread { own, borrowed, state, .. } = self.threads[thread];
        let reserve = self.threads[thread].receives_at.and_then(|gate| self.gates[gate].reserve);
        let current = self.current(thread);
        match (own, baton) {
            (Some(own), None) if state == State::Ready => {
                self.threads[thread].own = None;
                if current == Some(own) {
                    self.threads[thread].borrowed = Some(own);
                }
            }
            (Some(own), _) => self.lose_baton(thread, own, baton),
            (None, Some(_)) if borrowed == reserve => {
                self.threads[thread].own = baton;
                self.threads[thread].borrowed = None;
            }
            (None, _) => self.threads[thread].own = baton,
        }
        match state {
            State::Ready => self.wake(thread),
            // One that is parked needs none.
            State::Receive(_) => self.threads[thread].borrowed = None,
            _ => {}
        }
        self.offer_reserves();
    }
}
