//! Signals: what each does, which are pending, who takes them.
//!
//! The service carries out default actions itself and keeps what handlers are told; the personality is interrupted and asks for it.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use protocol::process::SignalInformation;
use protocol::{Errno, Reply};

use crate::kernel;
use crate::server::{Call, Deferred, Outcome, Server};
use crate::table::{INIT, Report, SERVICE, State};

/// Signals, 0 unused.
pub(crate) const SIGNALS: usize = 65;
/// Signals that one target keeps in its queue, whatever RLIMIT_SIGPENDING says.
pub(crate) const QUEUED: u64 = 512;

/// Hangup.
pub(crate) const SIGHUP: u32 = 1;
/// Illegal instruction.
pub(crate) const SIGILL: u32 = 4;
/// Trap.
pub(crate) const SIGTRAP: u32 = 5;
/// Bus error.
pub(crate) const SIGBUS: u32 = 7;
/// Arithmetic.
pub(crate) const SIGFPE: u32 = 8;
/// Kill.
pub(crate) const SIGKILL: u32 = 9;
/// Bad address.
pub(crate) const SIGSEGV: u32 = 11;
/// Alarm.
pub(crate) const SIGALRM: u32 = 14;
/// CPU time limit.
pub(crate) const SIGXCPU: u32 = 24;
/// Virtual timer.
pub(crate) const SIGVTALRM: u32 = 26;
/// Profiling timer.
pub(crate) const SIGPROF: u32 = 27;
/// Terminate.
pub(crate) const SIGTERM: u32 = 15;
/// A child changed state.
pub(crate) const SIGCHLD: u32 = 17;
/// Continue.
pub(crate) const SIGCONT: u32 = 18;
/// Stop.
pub(crate) const SIGSTOP: u32 = 19;
/// Stop from the terminal.
pub(crate) const SIGTSTP: u32 = 20;
const SIGTTIN: u32 = 21;
const SIGTTOU: u32 = 22;

/// `SA_NOCLDSTOP`.
const NO_CHILD_STOP: u64 = 1;
/// `SA_NOCLDWAIT`.
const NO_CHILD_WAIT: u64 = 2;

/// si_code of kill.
const SI_USER: i32 = 0;
/// si_code of a POSIX timer.
pub(crate) const SI_TIMER: i32 = -2;
/// si_code of tgkill.
const SI_TKILL: i32 = -6;
/// si_code of what the system sends.
pub(crate) const SI_KERNEL: i32 = 0x80;

/// What a process does with a signal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Disposition {
    /// What the signal does by default.
    #[default]
    Default,
    /// Nothing.
    Ignored,
    /// The program's handler.
    Handled,
}

/// A disposition with its flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Action {
    /// What it does.
    pub(crate) disposition: Disposition,
    /// SA_* bits.
    pub(crate) flags: u64,
}

/// What a signal does by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// The process dies, leaving a core or not.
    End { core: bool },
    /// The process stops.
    Stop,
    /// The process goes on (which happens whatever the disposition).
    Continue,
    /// Nothing.
    Nothing,
}

/// What a signal does by default (signal(7)).
#[must_use]
pub(crate) const fn default_effect(signal: u32) -> Effect {
    match signal {
        3 | 4 | 5 | 6 | 7 | 8 | 11 | 24 | 25 | 31 => Effect::End { core: true },
        SIGSTOP | SIGTSTP | SIGTTIN | SIGTTOU => Effect::Stop,
        SIGCONT => Effect::Continue,
        SIGCHLD | 23 | 28 => Effect::Nothing,
        _ => Effect::End { core: false },
    }
}

/// The bit of a signal in a mask.
#[must_use]
pub(crate) const fn bit(signal: u32) -> u64 {
    1 << (signal - 1)
}

const UNBLOCKABLE: u64 = bit(SIGKILL) | bit(SIGSTOP);
const STOPS: u64 = bit(SIGSTOP) | bit(SIGTSTP) | bit(SIGTTIN) | bit(SIGTTOU);

/// Signals that wait to be taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pending {
    set: u64,
    queue: VecDeque<SignalInformation>,
}

impl Pending {
    /// The signals.
    #[must_use]
    pub(crate) const fn set(&self) -> u64 {
        self.set
    }

    /// Add one: an ordinary signal is there once, a real-time one as often as it was sent, but what timers send always
    /// (they send one at a time). With `limit` in the queue already, more of the same are refused; what kill sends is pending without saying who sent it.
    ///
    /// # Errors
    /// EAGAIN when too many wait.
    pub(crate) fn add(&mut self, information: SignalInformation, limit: u64) -> Result<(), Errno> {
        let bit = bit(information.signal);
        if information.code != SI_TIMER && information.signal >= 32 && self.queue.len() as u64 >= limit.min(QUEUED) {
            self.set |= if information.code == SI_USER { bit } else { 0 };
            return if information.code == SI_USER { Ok(()) } else { Err(Errno::EAGAIN) };
        }
        if self.set & bit != 0 && information.signal < 32 && information.code != SI_TIMER {
            return Ok(());
        }
        self.set |= bit;
        self.queue.push_back(information);
        Ok(())
    }

    /// Whether it holds the signal of a POSIX timer, which has this number as its sender.
    pub(crate) fn is_from_timer(&self, number: u32) -> bool {
        self.queue.iter().any(|information| information.code == SI_TIMER && information.pid == number)
    }

    /// Take the lowest one of a set; of equals the oldest.
    pub(crate) fn take(&mut self, set: u64) -> Option<SignalInformation> {
        let ready = self.set & set;
        if ready == 0 {
            return None;
        }
        let signal = ready.trailing_zeros() + 1;
        let at = self.queue.iter().position(|information| information.signal == signal);
        let information = at.and_then(|at| self.queue.remove(at));
        if !self.queue.iter().any(|other| other.signal == signal) {
            self.set &= !bit(signal);
        }
        Some(information.unwrap_or(SignalInformation { signal, ..SignalInformation::default() }))
    }

    /// Put one back that could not be handed over.
    pub(crate) fn put_back(&mut self, information: SignalInformation) {
        self.set |= bit(information.signal);
        self.queue.push_front(information);
    }

    /// Forget those of a set.
    pub(crate) fn remove(&mut self, set: u64) {
        self.set &= !set;
        self.queue.retain(|information| set & bit(information.signal) == 0);
    }
}

/// What a signal from the system itself says.
#[must_use]
pub(crate) fn from_system(signal: u32) -> SignalInformation {
    SignalInformation { signal, code: SI_KERNEL, ..SignalInformation::default() }
}

impl Server {
    /// A signal to a process as a whole.
    pub(crate) fn signal_process(&mut self, pid: u32, information: SignalInformation) -> Result<(), Errno> {
        self.generate(pid, None, information)
    }

    /// A timer's signal to a process or one of its threads.
    pub(crate) fn signal_from_timer(
        &mut self,
        pid: u32,
        target: Option<u32>,
        information: SignalInformation,
    ) -> Result<(), Errno> {
        if target.is_some_and(|tid| !self.table.threads.contains_key(&tid)) {
            return Err(Errno::ESRCH);
        }
        self.generate(pid, target, information)
    }

    /// A signal to each member of a group.
    pub(crate) fn signal_group(&mut self, group: u32, information: SignalInformation) -> bool {
        let members = self
            .table
            .select(|process| process.group == group && process.state != State::Zombie && process.native.is_none());
        for &pid in &members {
            let _ = self.generate(pid, None, information);
        }
        !members.is_empty()
    }

    /// Whether a thread would not take a signal now.
    fn blocks(&self, tid: u32, signal: u32) -> bool {
        self.table.threads.get(&tid).is_none_or(|thread| thread.mask & bit(signal) != 0)
    }

    /// Make a signal pending for a process or one of its threads, and do what follows from it.
    fn generate(&mut self, pid: u32, target: Option<u32>, information: SignalInformation) -> Result<(), Errno> {
        let signal = information.signal;
        let Some(process) = self.table.process_mut(pid) else { return Err(Errno::ESRCH) };
        if process.state == State::Zombie {
            return Ok(());
        }
        if process.native.is_some() {
            return self.signal_native(pid, signal);
        }
        if signal == SIGKILL {
            self.end_by_signal(pid, SIGKILL, false);
            return Ok(());
        }
        // Stopping and continuing cancel each other, whatever becomes of the signal itself.
        if signal == SIGCONT || STOPS & bit(signal) != 0 {
            let cancelled = if signal == SIGCONT { STOPS } else { bit(SIGCONT) };
            process.pending.remove(cancelled);
            let threads: Vec<u32> = process.threads.iter().copied().collect();
            for tid in threads {
                if let Some(thread) = self.table.threads.get_mut(&tid) {
                    thread.pending.remove(cancelled);
                }
            }
            if signal == SIGCONT {
                self.continue_process(pid);
            }
        }
        let Some(process) = self.table.process(pid) else { return Err(Errno::ESRCH) };
        let action = process.actions[signal as usize];
        let threads = match target {
            Some(tid) => Vec::from([tid]),
            None => process.threads.iter().copied().collect(),
        };
        // A thread that waits for it with sigtimedwait gets it, blocked or not.
        if let Some(request) = self.signal_waiter(pid, &threads, signal) {
            return self.give_to_waiter(request, pid, target, information);
        }
        let taker = threads.iter().copied().find(|&tid| !self.blocks(tid, signal));
        let ignored = match action.disposition {
            Disposition::Ignored => true,
            Disposition::Default => matches!(default_effect(signal), Effect::Nothing | Effect::Continue),
            Disposition::Handled => false,
        };
        if taker.is_some() || process.threads.is_empty() {
            if ignored && signal != SIGSTOP {
                return Ok(());
            }
            if action.disposition == Disposition::Default || signal == SIGSTOP {
                self.default_action(pid, signal);
                return Ok(());
            }
        } else if signal == SIGSTOP {
            self.default_action(pid, signal);
            return Ok(());
        }
        self.make_pending(pid, target, information)?;
        self.signal_files_changed(pid, signal);
        if let Some(tid) = taker {
            self.interrupt(tid);
        }
        Ok(())
    }

    fn make_pending(&mut self, pid: u32, target: Option<u32>, information: SignalInformation) -> Result<(), Errno> {
        const PENDING_LIMIT: usize = 11;
        let Some(process) = self.table.processes.get_mut(&pid) else { return Ok(()) };
        // When memory is short, only what has to be kept is.
        let limit = if self.ram.is_scarce() { 0 } else { process.limits[PENDING_LIMIT].0 };
        match target.and_then(|tid| self.table.threads.get_mut(&tid)) {
            Some(thread) => thread.pending.add(information, limit),
            None => process.pending.add(information, limit),
        }
    }

    /// Have a thread's library ask for signals.
    pub(crate) fn interrupt(&mut self, tid: u32) {
        // The kernel notes it there, for a library that is at work: where it cannot, the program goes on and nobody asks.
        self.make_block_writable(tid);
        if let Some(thread) = self.table.threads.get(&tid) {
            kernel::interrupt(thread.handle);
        }
    }

    /// Let the kernel write to a thread's block, which a fork takes away until the library writes there. Whether it could not.
    pub(crate) fn make_block_writable(&mut self, tid: u32) -> bool {
        const LENGTH: u64 = size_of::<abi::upcall::UpcallBlock>() as u64;
        let Some(thread) = self.table.threads.get(&tid) else { return false };
        let memory = self.spaces.get_mut(&thread.space);
        memory.is_some_and(|memory| memory.make_writable(&mut self.ram, thread.block, LENGTH))
    }

    /// What a signal does by default, done.
    fn default_action(&mut self, pid: u32, signal: u32) {
        match default_effect(signal) {
            Effect::End { core } => self.end_by_signal(pid, signal, core),
            Effect::Stop => {
                let group = self.table.process(pid).map_or(0, |process| process.group);
                // Nobody could continue an orphaned group that the terminal stops (POSIX 2.4.3).
                if signal == SIGSTOP || !self.table.is_orphaned(group, 0) {
                    self.stop_process(pid, signal);
                }
            }
            Effect::Continue | Effect::Nothing => {}
        }
    }

    pub(crate) fn each_thread(&self, pid: u32, act: fn(abi::Handle)) {
        let Some(process) = self.table.process(pid) else { return };
        for thread in process.threads.iter().filter_map(|tid| self.table.threads.get(tid)) {
            act(thread.handle);
        }
    }

    fn stop_process(&mut self, pid: u32, signal: u32) {
        let Some(process) = self.table.process_mut(pid) else { return };
        if process.state != State::Running {
            return;
        }
        process.state = State::Stopped;
        process.report = Some(Report::Stopped(signal));
        process.status = signal;
        self.each_thread(pid, kernel::stop);
        self.tell_parent(pid, 5, signal);
    }

    fn continue_process(&mut self, pid: u32) {
        let Some(process) = self.table.process_mut(pid) else { return };
        if process.state != State::Stopped {
            return;
        }
        process.state = State::Running;
        process.report = Some(Report::Continued);
        self.each_thread(pid, kernel::resume);
        self.tell_parent(pid, 6, SIGCONT);
    }

    /// Tell the parent that a child changed: SIGCHLD (`code` CLD_*), and whoever waits. Gives whether the parent wants no zombie.
    pub(crate) fn tell_parent(&mut self, pid: u32, code: i32, status: u32) -> bool {
        let Some(child) = self.table.process(pid) else { return true };
        let (parent, user, exit_signal) = (child.parent, child.user as u32, child.exit_signal);
        let ended = child.state == State::Zombie;
        let Some(process) = self.table.process(parent) else { return true };
        if process.state == State::Zombie {
            return true;
        }
        if process.native.is_some() {
            self.child_changed(parent);
            // Natives get no signals; only those that started something wait.
            return parent == INIT;
        }
        let action = process.actions[SIGCHLD as usize];
        let unwanted = ended
            && exit_signal == SIGCHLD
            && (action.disposition == Disposition::Ignored || action.flags & NO_CHILD_WAIT != 0);
        let silent = !ended && action.flags & NO_CHILD_STOP != 0;
        let signal = if ended { exit_signal } else { SIGCHLD };
        if !silent && signal != 0 {
            let information = SignalInformation { signal, code, pid, user, status, ..SignalInformation::default() };
            let _ = self.generate(parent, None, information);
        }
        if !unwanted {
            self.child_changed(parent);
        }
        unwanted
    }

    fn signal_waiter(&self, pid: u32, threads: &[u32], signal: u32) -> Option<u64> {
        self.deferred.iter().find_map(|(&request, deferred)| match deferred {
            Deferred::Signal { pid: owner, tid, set, .. }
                if *owner == pid && threads.contains(tid) && set & bit(signal) != 0 =>
            {
                Some(request)
            }
            _ => None,
        })
    }

    fn give_to_waiter(
        &mut self,
        request: u64,
        pid: u32,
        target: Option<u32>,
        information: SignalInformation,
    ) -> Result<(), Errno> {
        self.forget(request);
        let answer = Reply::ok([u64::from(information.signal), 0, 0, 0]);
        let mut told = information;
        self.account_taken(pid, &mut told);
        if self.reply_bytes(request, answer, &bytes_of(&told)) {
            Ok(())
        } else {
            self.make_pending(pid, target, information)
        }
    }

    /// Do the default actions of what became deliverable to a thread; gives whether a handler has to run.
    fn settle(&mut self, pid: u32, tid: u32) -> bool {
        loop {
            let Some(thread) = self.table.threads.get(&tid) else { return false };
            let Some(process) = self.table.process(pid) else { return false };
            let ready = (thread.pending.set() | process.pending.set()) & !thread.mask;
            let unhandled =
                (0..64).find(|at| ready >> at & 1 != 0 && process.actions[at + 1].disposition != Disposition::Handled);
            let Some(at) = unhandled else { return ready != 0 };
            let signal = at as u32 + 1;
            let ignored = process.actions[at + 1].disposition == Disposition::Ignored;
            let own = self.table.threads.get_mut(&tid).and_then(|thread| thread.pending.take(bit(signal)));
            let taken = own.or_else(|| self.table.process_mut(pid)?.pending.take(bit(signal)));
            if let Some(mut information) = taken {
                self.account_taken(pid, &mut information);
            }
            if !ignored {
                self.default_action(pid, signal);
            }
        }
    }

    /// sigaction.
    pub(crate) fn set_action(&mut self, pid: u32, signal: u64, disposition: u64, flags: u64) -> Result<Outcome, Errno> {
        let number =
            u32::try_from(signal).ok().filter(|signal| (1..SIGNALS as u32).contains(signal)).ok_or(Errno::EINVAL)?;
        if number == SIGKILL || number == SIGSTOP {
            return Err(Errno::EINVAL);
        }
        let disposition = match disposition {
            0 => Disposition::Default,
            1 => Disposition::Ignored,
            2 => Disposition::Handled,
            _ => return Err(Errno::EINVAL),
        };
        let process = self.table.processes.get_mut(&pid).ok_or(Errno::ESRCH)?;
        process.actions[number as usize] = Action { disposition, flags };
        let ignored = disposition == Disposition::Ignored
            || disposition == Disposition::Default && default_effect(number) == Effect::Nothing;
        if ignored {
            process.pending.remove(bit(number));
            for tid in process.threads.clone() {
                if let Some(thread) = self.table.threads.get_mut(&tid) {
                    thread.pending.remove(bit(number));
                }
            }
        }
        Ok(Outcome::DONE)
    }

    /// sigprocmask.
    pub(crate) fn set_mask(&mut self, pid: u32, tid: u64, mask: u64) -> Result<Outcome, Errno> {
        let tid = self.own_thread(pid, tid)?;
        let thread = self.table.threads.get_mut(&tid).ok_or(Errno::ESRCH)?;
        thread.mask = mask & !UNBLOCKABLE;
        if self.settle(pid, tid) {
            self.interrupt(tid);
        }
        let Some(thread) = self.table.threads.get(&tid) else { return Ok(Outcome::Later) };
        let pending = thread.pending.set() | self.table.process(pid).map_or(0, |process| process.pending.set());
        Ok(Outcome::ok([pending, 0, 0, 0]))
    }

    /// The next signal for a thread's handlers.
    pub(crate) fn take_signal(&mut self, pid: u32, tid: u64, call: &Call) -> Result<Outcome, Errno> {
        let tid = self.own_thread(pid, tid)?;
        if self.end_if_due(pid) {
            return Ok(Outcome::Later);
        }
        if !self.settle(pid, tid) {
            return if self.table.threads.contains_key(&tid) { Ok(Outcome::ok([0; 4])) } else { Ok(Outcome::Later) };
        }
        let (Some(thread), Some(process)) = (self.table.threads.get_mut(&tid), self.table.processes.get_mut(&pid))
        else {
            return Ok(Outcome::Later);
        };
        let ready = !thread.mask;
        let (own, taken) = match thread.pending.take(ready) {
            Some(information) => (true, Some(information)),
            None => (false, process.pending.take(ready)),
        };
        let Some(taken) = taken else { return Ok(Outcome::ok([0; 4])) };
        let more = (thread.pending.set() | process.pending.set()) & ready != 0;
        let mut information = SignalInformation { mask: thread.mask, ..taken };
        self.account_taken(pid, &mut information);
        let answer = Reply::ok([u64::from(taken.signal), u64::from(more), 0, 0]);
        if !self.reply_bytes(call.request, answer, &bytes_of(&information)) {
            self.put_back(pid, own.then_some(tid), taken);
        }
        Ok(Outcome::Later)
    }

    /// Take a signal of a set that is pending for a process or any of its threads.
    pub(crate) fn take_of_any(&mut self, pid: u32, set: u64) -> Option<(Option<u32>, SignalInformation)> {
        let process = self.table.processes.get_mut(&pid)?;
        for &tid in &process.threads {
            let Some(thread) = self.table.threads.get_mut(&tid) else { continue };
            if let Some(information) = thread.pending.take(set) {
                return Some((Some(tid), information));
            }
        }
        process.pending.take(set).map(|information| (None, information))
    }

    /// What is pending for a process or any of its threads.
    pub(crate) fn pending_of_any(&self, pid: u32) -> u64 {
        let Some(process) = self.table.process(pid) else { return 0 };
        let threads = process.threads.iter().filter_map(|tid| self.table.threads.get(tid));
        threads.fold(process.pending.set(), |set, thread| set | thread.pending.set())
    }

    /// A signal that could not be handed over is pending still.
    pub(crate) fn put_back(&mut self, pid: u32, tid: Option<u32>, information: SignalInformation) {
        if let Some(thread) = tid.and_then(|tid| self.table.threads.get_mut(&tid)) {
            thread.pending.put_back(information);
        } else if let Some(process) = self.table.process_mut(pid) {
            process.pending.put_back(information);
        }
    }

    /// sigtimedwait.
    pub(crate) fn signal_wait(
        &mut self,
        pid: u32,
        tid: u64,
        set: u64,
        deadline: u64,
        call: &Call,
    ) -> Result<Outcome, Errno> {
        let tid = self.own_thread(pid, tid)?;
        let set = set & !UNBLOCKABLE;
        let (Some(thread), Some(process)) = (self.table.threads.get_mut(&tid), self.table.processes.get_mut(&pid))
        else {
            return Err(Errno::ESRCH);
        };
        let (own, taken) = match thread.pending.take(set) {
            Some(information) => (true, Some(information)),
            None => (false, process.pending.take(set)),
        };
        if let Some(taken) = taken {
            let answer = Reply::ok([u64::from(taken.signal), 0, 0, 0]);
            let mut information = taken;
            self.account_taken(pid, &mut information);
            if !self.reply_bytes(call.request, answer, &bytes_of(&information)) {
                self.put_back(pid, own.then_some(tid), taken);
            }
            return Ok(Outcome::Later);
        }
        if deadline <= kernel::now() {
            return Err(Errno::EAGAIN);
        }
        self.defer(call.request, Deferred::Signal { pid, tid, set, deadline }, deadline);
        Ok(Outcome::Later)
    }

    /// kill(2).
    pub(crate) fn kill(
        &mut self,
        sender: u32,
        target: i64,
        signal: u64,
        code: u64,
        value: u64,
    ) -> Result<Outcome, Errno> {
        let signal = checked(signal)?;
        let user = self.table.process(sender).map_or(0, |process| process.user as u32);
        let code = if code as i32 > SI_USER { SI_USER } else { code as i32 };
        let information = SignalInformation { signal, code, pid: sender, user, value, ..SignalInformation::default() };
        if target > 0 {
            let pid = u32::try_from(target).map_err(|_| Errno::ESRCH)?;
            // A thread's number stands for its process, as Linux has it.
            let pid = match self.table.process(pid) {
                Some(_) => pid,
                None => self.table.threads.get(&pid).map(|thread| thread.pid).ok_or(Errno::ESRCH)?,
            };
            self.may_signal(sender, pid, signal)?;
            if signal == 0 {
                return Ok(Outcome::DONE);
            }
            self.signal_process(pid, information)?;
            return Ok(Outcome::DONE);
        }
        let group = match target {
            0 => self.table.process(sender).map_or(0, |process| process.group),
            -1 => 0,
            _ => target.checked_neg().and_then(|group| u32::try_from(group).ok()).ok_or(Errno::ESRCH)?,
        };
        let targets = self.table.select(|process| {
            process.is_posix() && if target == -1 { process.pid != sender } else { process.group == group }
        });
        if targets.is_empty() {
            return Err(Errno::ESRCH);
        }
        let permitted: Vec<u32> =
            targets.into_iter().filter(|&pid| self.may_signal(sender, pid, signal).is_ok()).collect();
        if permitted.is_empty() {
            return Err(Errno::EPERM);
        }
        if signal != 0 {
            for pid in permitted {
                // The sender last: it may end itself by this.
                if pid != sender {
                    let _ = self.signal_process(pid, information);
                }
            }
            if target != -1 && self.table.process(sender).is_some_and(|process| process.group == group) {
                let _ = self.signal_process(sender, information);
            }
        }
        Ok(Outcome::DONE)
    }

    /// Whether kill(2) lets one process signal another: what user ids say, which are bookkeeping (who has no connection can signal nobody).
    fn may_signal(&self, sender: u32, target: u32, signal: u32) -> Result<(), Errno> {
        let (sender, target) = (self.known(sender)?, self.known(target)?);
        let (real, effective) = (sender.user as u32, (sender.user >> 32) as u32);
        let owners = [target.user as u32, (target.user >> 32) as u32];
        let continues = signal == SIGCONT && sender.session == target.session;
        if effective == 0 || owners.contains(&real) || owners.contains(&effective) || continues {
            return Ok(());
        }
        Err(Errno::EPERM)
    }

    /// tgkill, rt_tgsigqueueinfo.
    pub(crate) fn thread_kill(
        &mut self,
        sender: u32,
        pid: u64,
        tid: u64,
        how: u64,
        value: u64,
    ) -> Result<Outcome, Errno> {
        let signal = checked(how & 0xffff_ffff)?;
        let code = if how >> 32 == 0 { SI_TKILL } else { (how >> 32) as i32 };
        let tid = u32::try_from(tid).map_err(|_| Errno::EINVAL)?;
        let owner = self.table.threads.get(&tid).map(|thread| thread.pid).ok_or(Errno::ESRCH)?;
        if pid != 0 && pid != u64::from(owner) {
            return Err(Errno::ESRCH);
        }
        self.may_signal(sender, owner, signal)?;
        if signal != 0 {
            let user = self.table.process(sender).map_or(0, |process| process.user as u32);
            let information =
                SignalInformation { signal, code, pid: sender, user, value, ..SignalInformation::default() };
            self.generate(owner, Some(tid), information)?;
        }
        Ok(Outcome::DONE)
    }

    /// SIGKILL and SIGTERM end a native program (init may start it again); others do nothing. Init is told of its own.
    fn signal_native(&mut self, pid: u32, signal: u32) -> Result<(), Errno> {
        if pid == INIT && signal < 64 {
            // An init that takes no signals gave no pulse.
            let _ = runtime::raise(runtime::start::handle("init-signals"), 1 << signal);
            return Ok(());
        }
        if pid == INIT || pid == SERVICE {
            return Err(Errno::EPERM);
        }
        if signal == SIGKILL || signal == SIGTERM {
            self.end_native(pid);
        }
        Ok(())
    }

    /// Whether every thread blocks a signal, or the process ignores it.
    pub(crate) fn signal_ignored(&self, pid: u32, signal: u32) -> bool {
        let Some(process) = self.table.process(pid).filter(|_| (1..SIGNALS as u32).contains(&signal)) else {
            return false;
        };
        process.actions.get(signal as usize).is_some_and(|action| action.disposition == Disposition::Ignored)
            || !process.threads.is_empty() && process.threads.iter().all(|&tid| self.blocks(tid, signal))
    }
}

fn checked(signal: u64) -> Result<u32, Errno> {
    u32::try_from(signal).ok().filter(|&signal| signal < SIGNALS as u32).ok_or(Errno::EINVAL)
}

/// As it travels.
fn bytes_of(information: &SignalInformation) -> [u8; 40] {
    let mut bytes = [0; 40];
    let words = [
        u64::from(information.signal) | u64::from(information.code as u32) << 32,
        u64::from(information.errno) | u64::from(information.pid) << 32,
        u64::from(information.user) | u64::from(information.status) << 32,
        information.value,
        information.mask,
    ];
    for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn information(signal: u32, value: u64) -> SignalInformation {
        SignalInformation { signal, value, ..SignalInformation::default() }
    }

    #[test]
    fn ordinary_signals_merge_and_real_time_ones_queue_in_order() {
        let mut pending = Pending::default();
        for (signal, value) in [(34, 1), (10, 2), (34, 3), (10, 4)] {
            assert_eq!(pending.add(information(signal, value), QUEUED), Ok(()));
        }
        let mut taken = Vec::new();
        while let Some(next) = pending.take(u64::MAX) {
            taken.push((next.signal, next.value));
        }
        assert_eq!(taken, [(10, 2), (34, 1), (34, 3)]);
        assert_eq!(pending.set(), 0);
    }

    #[test]
    fn the_queue_is_bounded_but_ordinary_signals_always_fit() {
        let mut pending = Pending::default();
        let queued = |signal| SignalInformation { code: -1, ..information(signal, 0) };
        while pending.add(queued(40), 20).is_ok() {}
        assert_eq!(pending.queue.len(), 20);
        // What kill sends is never refused, nor what a timer does.
        assert_eq!(pending.add(information(40, 0), 20), Ok(()));
        let timer = SignalInformation { code: SI_TIMER, pid: 3, ..information(40, 0) };
        assert_eq!(pending.add(timer, 20), Ok(()));
        assert!(pending.is_from_timer(3) && !pending.is_from_timer(4));
        for signal in 1..32 {
            assert_eq!(pending.add(information(signal, 0), 20), Ok(()));
        }
    }

    #[test]
    fn only_the_set_is_taken() {
        let mut pending = Pending::default();
        assert_eq!(pending.add(information(2, 0), 20), Ok(()));
        assert!(pending.take(!bit(2)).is_none());
        pending.remove(bit(2));
        assert_eq!(pending.set(), 0);
    }
}
