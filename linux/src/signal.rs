//! Signals: what the program wants done with them, which are blocked, who sends them, and when handlers run.
//!
//! The process service keeps pending signals, dispositions and masks, and does all that needs no handler. For a signal with a
//! handler it interrupts a thread; on its way back to the program the thread takes signals ([`take`]) until none is left, and builds a frame for
//! each ([`crate::signal_frame`]).

use protocol::Errno;
use protocol::process::{self as service, SignalInformation};
use runtime::{Buffers, Options};

use crate::frame::{self, AUTO_DISARM, AlternateStack, DISABLED, ON_STACK};
use crate::message::{PROMPT, WAIT, ask, insist};
use crate::numbers::{Outcome, RESTART, RESTART_ALWAYS, RESTART_UNHANDLED, int, signals};
use crate::signal_frame;
use crate::task::Task;
use crate::time;
use crate::user_memory::{self, Plain};

/// What the program wants done with a signal: Linux's `struct sigaction` of the kernel.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Action {
    /// 0: default, 1: ignore, else the handler's address.
    pub(crate) handler: u64,
    /// SA_* bits.
    pub(crate) flags: u64,
    /// Where a handler returns to.
    pub(crate) restorer: u64,
    /// Blocked besides, while the handler runs.
    pub(crate) mask: u64,
}

// SAFETY: `repr(C)`, `u64`s only.
unsafe impl Plain for Action {}
// SAFETY: `repr(C)`, integers, its padding is a field.
unsafe impl Plain for AlternateStack {}

/// SA_ONSTACK.
pub(crate) const SA_ONSTACK: u64 = 0x0800_0000;
const SA_RESTART: u64 = 0x1000_0000;
const SA_NODEFER: u64 = 0x4000_0000;
const SA_RESETHAND: u64 = 0x8000_0000;
/// si_code of `tgkill`.
const SI_TKILL: i32 = -6;
const DEFAULT: u64 = 0;
const IGNORE: u64 = 1;
/// Bytes of a signal set.
const SET_LENGTH: u64 = 8;

/// All actions, by signal.
#[derive(Clone)]
pub(crate) struct Actions([Action; signals::LAST as usize + 1]);

impl Actions {
    /// Everything at its default, but the signals of a set ignored.
    pub(crate) fn new(ignored: u64) -> Self {
        let mut actions = Self([Action::default(); signals::LAST as usize + 1]);
        for signal in 1..=signals::LAST {
            if ignored & bit(signal) != 0 {
                actions.0[signal as usize].handler = IGNORE;
            }
        }
        actions
    }

    /// Those that are ignored, as a set.
    pub(crate) fn ignored(&self) -> u64 {
        (1..=signals::LAST).filter(|signal| self.get(*signal).handler == IGNORE).map(bit).sum()
    }

    /// What is to be done with a signal.
    pub(crate) fn get(&self, signal: u32) -> Action {
        self.0.get(signal as usize).copied().unwrap_or_default()
    }
}

/// A signal as a set.
pub(crate) const fn bit(signal: u32) -> u64 {
    1 << (signal - 1)
}

fn check_set_length(length: u64) -> Result<(), Errno> {
    if length == SET_LENGTH { Ok(()) } else { Err(Errno::EINVAL) }
}

/// `rt_sigaction`.
pub(crate) fn rt_sigaction(task: &mut Task, [signal, new, old, length, ..]: [u64; 6]) -> Outcome {
    check_set_length(length)?;
    let signal = signal as u32;
    if !(1..=signals::LAST).contains(&signal) {
        return Err(Errno::EINVAL);
    }
    let mut wanted = user_memory::read_optional::<Action>(new)?;
    if let Some(action) = &mut wanted {
        if signals::UNBLOCKABLE & bit(signal) != 0 {
            return Err(Errno::EINVAL);
        }
        action.mask &= !signals::UNBLOCKABLE;
    }
    let before = task.actions.lock().get(signal);
    if let Some(action) = wanted {
        set_action(task, signal, action)?;
    }
    user_memory::write_optional(old, &before)?;
    Ok(0)
}

fn set_action(task: &Task, signal: u32, action: Action) -> Result<(), Errno> {
    let disposition = action.handler.min(2);
    // A handler must be known here before the service interrupts anybody for it.
    let before = core::mem::replace(&mut task.actions.lock().0[signal as usize], action);
    if before.handler.min(2) == disposition && before.flags == action.flags {
        return Ok(());
    }
    ask(&mut Buffers::new(), |buffers| {
        service::set_action(task.connection(), u64::from(signal), disposition, action.flags, buffers, PROMPT)
    })?;
    Ok(())
}

/// Block these signals and no others.
pub(crate) fn set_mask(task: &mut Task, mask: u64) {
    let mask = mask & !signals::UNBLOCKABLE;
    if mask == task.mask {
        return;
    }
    task.mask = mask;
    announce_mask(task);
}

/// Tell the service the mask: it blocks everything for a thread that never said.
pub(crate) fn announce_mask(task: &Task) {
    let mask = task.mask;
    // It fails only if the thread is unknown, and then it is about to be destroyed.
    let _ = ask(&mut Buffers::new(), |buffers| {
        service::set_mask(task.connection(), u64::from(task.tid), mask, buffers, PROMPT)
    });
}

/// `rt_sigprocmask`.
pub(crate) fn rt_sigprocmask(task: &mut Task, [how, new, old, length, ..]: [u64; 6]) -> Outcome {
    check_set_length(length)?;
    let before = task.mask;
    if let Some(set) = user_memory::read_optional::<u64>(new)? {
        let mask = match int(how) {
            0 => before | set,
            1 => before & !set,
            2 => set,
            _ => return Err(Errno::EINVAL),
        };
        set_mask(task, mask);
    }
    user_memory::write_optional(old, &before)?;
    Ok(0)
}

/// `rt_sigpending`.
pub(crate) fn rt_sigpending(task: &mut Task, [set, length, ..]: [u64; 6]) -> Outcome {
    if length > SET_LENGTH {
        return Err(Errno::EINVAL);
    }
    let answer = ask(&mut Buffers::new(), |buffers| {
        service::set_mask(task.connection(), u64::from(task.tid), task.mask, buffers, PROMPT)
    })?;
    user_memory::write_bytes(set, &(answer.pending & task.mask).to_le_bytes()[..length as usize])?;
    Ok(0)
}

/// Use a mask until the call ends (or the handler that ends it starts).
pub(crate) fn set_mask_for_call(task: &mut Task, mask: u64) {
    task.saved_mask = Some(task.mask);
    task.set_unfinished(true);
    set_mask(task, mask);
}

/// `rt_sigsuspend`.
pub(crate) fn rt_sigsuspend(task: &mut Task, [set, length, ..]: [u64; 6]) -> Outcome {
    check_set_length(length)?;
    let mask = user_memory::read(set)?;
    set_mask_for_call(task, mask);
    pause(task, [0; 6])
}

/// `pause`.
pub(crate) fn pause(task: &mut Task, _: [u64; 6]) -> Outcome {
    time::wait(task, u64::MAX)?;
    Err(Errno::EINTR)
}

/// `rt_sigtimedwait`.
pub(crate) fn rt_sigtimedwait(task: &mut Task, [set, address, timeout, length, ..]: [u64; 6]) -> Outcome {
    check_set_length(length)?;
    let set: u64 = user_memory::read(set)?;
    let deadline = time::deadline_after(timeout)?;
    loop {
        let mut signal = SignalInformation::default();
        let mut buffers = Buffers::new().receive(user_memory::bytes_of_mut(&mut signal));
        let taken = ask(&mut buffers, |buffers| {
            service::signal_wait(task.connection(), u64::from(task.tid), set, deadline, buffers, WAIT)
        });
        match taken {
            Err(RESTART) if interrupted(task) => return Err(Errno::EINTR),
            Err(RESTART) => {}
            Err(Errno::ETIMEDOUT) => return Err(Errno::EAGAIN),
            Err(error) => return Err(error),
            Ok(answer) => {
                user_memory::write_optional(address, &frame::information(&signal))?;
                return Ok(answer.signal);
            }
        }
    }
}

/// `sigaltstack`.
pub(crate) fn sigaltstack(task: &mut Task, [new, old, ..]: [u64; 6]) -> Outcome {
    const MINIMUM: u64 = 2048;
    let pointer = task.frame().rsp;
    let before = task.alternate_stack;
    if let Some(mut wanted) = user_memory::read_optional::<AlternateStack>(new)? {
        if before.holds(pointer) {
            return Err(Errno::EPERM);
        }
        if !matches!(wanted.flags & !AUTO_DISARM, 0 | ON_STACK | DISABLED) {
            return Err(Errno::EINVAL);
        }
        if wanted.flags & DISABLED != 0 {
            wanted = AlternateStack::NONE;
        } else if wanted.length < MINIMUM {
            return Err(Errno::ENOMEM);
        }
        wanted.flags &= !ON_STACK;
        wanted.padding = 0;
        task.alternate_stack = wanted;
    }
    user_memory::write_optional(old, &before.shown(pointer))?;
    Ok(0)
}

/// `kill`.
pub(crate) fn kill(task: &mut Task, [pid, signal, ..]: [u64; 6]) -> Outcome {
    send(task, i64::from(int(pid)) as u64, signal, 0, 0)
}

fn send(task: &Task, pid: u64, signal: u64, code: u64, value: u64) -> Outcome {
    if int(signal) < 0 || int(signal) > signals::LAST as i32 {
        return Err(Errno::EINVAL);
    }
    let signal = signal & 0xff;
    ask(&mut Buffers::new(), |buffers| service::kill(task.connection(), pid, signal, code, value, buffers, PROMPT)).map(|_| 0)
}

/// `tkill`.
pub(crate) fn tkill(task: &mut Task, [tid, signal, ..]: [u64; 6]) -> Outcome {
    send_to_thread(task, 0, int(tid), signal, 0, 0)
}

/// `tgkill`.
pub(crate) fn tgkill(task: &mut Task, [pid, tid, signal, ..]: [u64; 6]) -> Outcome {
    if int(pid) <= 0 {
        return Err(Errno::EINVAL);
    }
    send_to_thread(task, pid & 0xffff_ffff, int(tid), signal, 0, 0)
}

fn send_to_thread(task: &Task, pid: u64, tid: i32, signal: u64, code: u32, value: u64) -> Outcome {
    if tid <= 0 || int(signal) < 0 || int(signal) > signals::LAST as i32 {
        return Err(Errno::EINVAL);
    }
    let how = signal & 0xff | u64::from(code) << 32;
    ask(&mut Buffers::new(), |buffers| {
        service::thread_kill(task.connection(), pid, tid as u64, how, value, buffers, PROMPT)
    })
    .map(|_| 0)
}

/// A signal of this thread's own making.
pub(crate) fn send_to_self(task: &Task, signal: u32) {
    // It fails only if the thread is unknown, and then it is about to be destroyed.
    let _ = send_to_thread(task, u64::from(task.process.pid), task.tid as i32, u64::from(signal), 0, 0);
}

/// `rt_sigqueueinfo`.
pub(crate) fn rt_sigqueueinfo(task: &mut Task, [pid, signal, address, ..]: [u64; 6]) -> Outcome {
    let information: [u64; 4] = user_memory::read(address)?;
    let code = information[1] as u32 as i32;
    if (code >= 0 || code == SI_TKILL) && int(pid) as u32 != task.process.pid {
        return Err(Errno::EPERM);
    }
    send(task, i64::from(int(pid)) as u64, signal, code as u32 as u64, information[3])
}

/// `rt_tgsigqueueinfo`.
pub(crate) fn rt_tgsigqueueinfo(task: &mut Task, [pid, tid, signal, address, ..]: [u64; 6]) -> Outcome {
    let information: [u64; 4] = user_memory::read(address)?;
    let code = information[1] as u32;
    let own = int(pid) as u32 == task.process.pid;
    if int(pid) <= 0 {
        return Err(Errno::EINVAL);
    }
    if ((code as i32) >= 0 || code as i32 == SI_TKILL) && !own {
        return Err(Errno::EPERM);
    }
    send_to_thread(task, pid & 0xffff_ffff, int(tid), signal, code, information[3])
}

/// `rt_sigreturn`.
pub(crate) fn rt_sigreturn(task: &mut Task, _: [u64; 6]) -> Outcome {
    match signal_frame::pop(task) {
        Ok(()) => {
            // All registers come from the frame.
            task.set_unfinished(true);
            Ok(task.frame().rax)
        }
        Err(_) => crate::process::end_by_signal(task, signals::SEGV),
    }
}

/// The next signal with a handler, off the pending set. (If there are more, the thread stays marked.)
fn take(task: &Task) -> Option<SignalInformation> {
    task.set_pending(false);
    let mut signal = SignalInformation::default();
    let mut buffers = Buffers::new().receive(user_memory::bytes_of_mut(&mut signal));
    let answer = insist(&mut buffers, |buffers| {
        service::take_signal(task.connection(), u64::from(task.tid), buffers, Options::NONE)
    });
    let answer = answer.ok().filter(|answer| answer.signal != 0)?;
    if answer.more != 0 {
        task.set_pending(true);
    }
    Some(signal)
}

fn take_pending(task: &Task) -> Option<SignalInformation> {
    if task.is_pending() { take(task) } else { None }
}

/// After a wait was broken off: whether a handler is to run. (Else whoever waited goes on.)
pub(crate) fn interrupted(task: &mut Task) -> bool {
    if task.taken.is_none() {
        task.taken = take(task);
    }
    task.set_unfinished(task.taken.is_some() || task.saved_mask.is_some());
    task.taken.is_some()
}

/// Entry: signals may be pending or a call be unfinished, and the program is about to go on. Run handlers (that is: build their
/// frames), and settle how a call that was broken off goes on.
pub(crate) unsafe extern "C" fn deliver(task: *mut Task) {
    // SAFETY: the entry passes the task of the running thread, which nobody else refers to meanwhile.
    let task = unsafe { &mut *task };
    task.set_unfinished(false);
    while let Some(signal) = task.taken.take().or_else(|| take_pending(task)) {
        handle(task, &signal, &signal_frame::Fault::default());
    }
    if task.restart.take().is_some() {
        task.frame().repeat();
    }
    if let Some(mask) = task.saved_mask.take() {
        set_mask(task, mask);
    }
}

/// Build the frame for a signal's handler.
pub(crate) fn handle(task: &mut Task, signal: &SignalInformation, fault: &signal_frame::Fault) {
    let number = signal.signal;
    let action = task.actions.lock().get(number);
    if action.handler == DEFAULT || action.handler == IGNORE {
        return;
    }
    match task.restart.take() {
        Some(RESTART_ALWAYS) => task.frame().repeat(),
        Some(RESTART) if action.flags & SA_RESTART != 0 => task.frame().repeat(),
        Some(RESTART | RESTART_UNHANDLED) => task.frame().answer(Err(Errno::EINTR)),
        _ => {}
    }
    let mask = task.saved_mask.take().unwrap_or(task.mask);
    if signal_frame::push(task, signal, &action, mask, fault).is_err() {
        crate::process::end_by_signal(task, signals::SEGV);
    }
    if action.flags & SA_RESETHAND != 0 {
        // It was a valid action.
        let _ = set_action(task, number, Action { handler: DEFAULT, ..action });
    }
    let own = if action.flags & SA_NODEFER == 0 { bit(number) } else { 0 };
    set_mask(task, task.mask | action.mask | own);
}
