//! Waiting for several files: every server is given the task's pulse and raises it when something may be ready.

use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::{Handle, Rights};
use protocol::{Errno, file};
use runtime::Buffers;

use crate::descriptor::{self, OpenFile};
use crate::message::{PROMPT, ask};
use crate::numbers::{Outcome, RESTART_UNHANDLED};
use crate::signal;
use crate::task::Task;
use crate::time;
use crate::user_memory::{self, Plain};

pub(crate) const IN: u16 = 1;
const PRI: u16 = 2;
pub(crate) const OUT: u16 = 4;
const ERR: u16 = 8;
const HUP: u16 = 0x10;
const INVALID: u16 = 0x20;
/// Nothing to read is no difference to `select`.
const READABLE: u16 = IN | 0x40 | 0x80 | HUP | ERR;
const WRITABLE: u16 = OUT | 0x100 | 0x200 | ERR;

/// Linux's `struct pollfd`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Wish {
    number: i32,
    events: u16,
    found: u16,
}

// SAFETY: `repr(C)`, integers, no padding (its size is 8).
unsafe impl Plain for Wish {}

/// A pulse to be woken by, and the thread that is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bell {
    pub(crate) pulse: Handle,
    thread: u32,
}

impl Bell {
    /// The task's.
    pub(crate) fn of(task: &mut Task) -> Result<Self, Errno> {
        Ok(Self { pulse: task.waiting()?.1, thread: task.tid })
    }
}

/// What is ready on a file; if nothing is, and there is a bell, it will be rung.
pub(crate) fn ask_one(opened: &OpenFile, events: u16, bell: Option<Bell>) -> Result<u16, Errno> {
    if let Some(interest) = &opened.interest {
        return interest.is_ready(bell).map(|ready| if ready { IN } else { 0 });
    }
    if !opened.is_socket() {
        return ask_server(opened.handle(), events, bell);
    }
    // Two pipes: the end of one for reading, of the other for writing. A reader that is gone is an error only to writers.
    let read = ask_server(opened.handle(), events & !WRITABLE, bell)?;
    let write = if events & WRITABLE & !ERR == 0 { 0 } else { ask_server(opened.writer(), events & WRITABLE, bell)? };
    Ok(read | write)
}

fn ask_server(connection: Handle, events: u16, bell: Option<Bell>) -> Result<u16, Errno> {
    let events = u64::from(events | ERR | HUP);
    let (mut buffers, waiter) = match bell {
        Some(bell) => (Buffers::new().give(bell.pulse, Rights::SEND), u64::from(bell.thread)),
        None => (Buffers::new(), 0),
    };
    match ask(&mut buffers, |buffers| file::poll(connection, events, waiter, buffers, PROMPT)) {
        Ok(answer) => Ok(answer.ready as u16),
        // What cannot be waited for is always ready, as on Linux; what is gone is an error.
        Err(Errno::ENOSYS | Errno::EPERM) => Ok(events as u16 & (IN | OUT | 0x40 | 0x100)),
        Err(Errno::EIO) => Ok(ERR | HUP),
        Err(error) => Err(error),
    }
}

/// Wait until one of the wishes is met, or the deadline. Answers how many are.
fn wait(task: &mut Task, wishes: &mut [Wish], deadline: u64) -> Outcome {
    let files: Vec<Option<Arc<OpenFile>>> = wishes
        .iter()
        .map(|wish| if wish.number < 0 { None } else { descriptor::get_any(task, wish.number as u64).ok() })
        .collect();
    let may_wait = deadline != 0;
    loop {
        let mut ready = 0;
        for (wish, opened) in wishes.iter_mut().zip(&files) {
            wish.found = match opened {
                None if wish.number < 0 => 0,
                None => INVALID,
                Some(opened) => {
                    // Once something is ready nobody has to call any more.
                    let bell = if may_wait && ready == 0 { Some(Bell::of(task)?) } else { None };
                    ask_one(opened, wish.events, bell)? & (wish.events | ERR | HUP)
                }
            };
            ready += u64::from(wish.found != 0);
        }
        if ready > 0 || !may_wait {
            return Ok(ready);
        }
        if wait_for_pulse(task, deadline)? {
            return Ok(0);
        }
    }
}

/// Wait until a file is ready for one of these events.
pub(crate) fn until_ready(task: &mut Task, opened: &OpenFile, events: u16) -> Result<(), Errno> {
    while ask_one(opened, events, Some(Bell::of(task)?))? & (events | ERR | HUP) == 0 {
        wait_for_pulse(task, u64::MAX)?;
    }
    Ok(())
}

/// Wait for the pulse; whether the deadline passed.
pub(crate) fn wait_for_pulse(task: &mut Task, deadline: u64) -> Result<bool, Errno> {
    use abi::Error;
    use abi::call::flags::{DEADLINE_RECEIVE, INTERRUPTIBLE};
    let (gate, _) = task.waiting()?;
    let options = runtime::Options { flags: INTERRUPTIBLE | DEADLINE_RECEIVE, deadline };
    loop {
        match runtime::receive(gate, &mut Buffers::new(), options) {
            Ok(_) => return Ok(false),
            Err(Error::TimedOut) => return Ok(true),
            Err(Error::Interrupted) if signal::interrupted(task) => return Err(RESTART_UNHANDLED),
            Err(Error::Interrupted) => {}
            Err(error) => return Err(crate::message::kernel(error)),
        }
    }
}

fn poll_until(task: &mut Task, address: u64, count: u64, deadline: u64) -> Outcome {
    if count as usize > crate::numbered::MAXIMUM {
        return Err(Errno::EINVAL);
    }
    let mut wishes = user_memory::read_array::<Wish>(address, count as usize)?;
    let ready = match wait(task, &mut wishes, deadline) {
        Err(RESTART_UNHANDLED) => return Err(Errno::EINTR),
        result => result?,
    };
    for (index, wish) in wishes.iter().enumerate() {
        user_memory::write(address + 8 * index as u64 + 6, &wish.found)?;
    }
    Ok(ready)
}

/// `poll`.
pub(crate) fn poll(task: &mut Task, [address, count, timeout, ..]: [u64; 6]) -> Outcome {
    let deadline = match timeout as i32 {
        timeout if timeout < 0 => u64::MAX,
        0 => 0,
        timeout => runtime::clock::monotonic_ns().saturating_add(timeout as u64 * 1_000_000),
    };
    poll_until(task, address, count & 0xffff_ffff, deadline)
}

/// A relative time-out as a deadline; 0 stays 0, for it means not to wait.
fn deadline(address: u64) -> Outcome {
    match user_memory::read_optional::<[u64; 2]>(address)? {
        None => Ok(u64::MAX),
        Some([0, 0]) => Ok(0),
        Some(_) => time::deadline_after(address),
    }
}

fn use_mask(task: &mut Task, set: u64, length: u64) -> Result<(), Errno> {
    if let Some(mask) = user_memory::read_optional::<u64>(set)? {
        if length != 8 {
            return Err(Errno::EINVAL);
        }
        signal::set_mask_for_call(task, mask);
    }
    Ok(())
}

/// `ppoll`. The time that is left is written back, as the kernel does it.
pub(crate) fn ppoll(task: &mut Task, [address, count, timeout, set, length, _]: [u64; 6]) -> Outcome {
    let until = deadline(timeout)?;
    use_mask(task, set, length)?;
    let result = poll_until(task, address, count & 0xffff_ffff, until);
    write_left(timeout, until);
    result
}

fn write_left(timeout: u64, until: u64) {
    let left = if until == 0 { 0 } else { until.saturating_sub(runtime::clock::monotonic_ns()) };
    // As on Linux, an address that cannot be written is no error here.
    let _ = user_memory::write_optional(timeout, &time::timespec(left));
}

/// Most descriptors of a set.
const SET_MAXIMUM: u64 = 1024;

fn select_until(task: &mut Task, count: u64, sets: [u64; 3], until: u64) -> Outcome {
    if count as i32 > crate::numbered::MAXIMUM as i32 || (count as i32) < 0 {
        return Err(Errno::EINVAL);
    }
    let count = (count & 0xffff_ffff).min(SET_MAXIMUM);
    let words = count.div_ceil(64) as usize;
    let mut asked: [Vec<u64>; 3] = Default::default();
    for (set, address) in asked.iter_mut().zip(sets) {
        *set = if address == 0 { alloc::vec![0; words] } else { user_memory::read_array(address, words)? };
    }
    let is_set = |set: &[u64], number: u64| set[number as usize / 64] >> (number % 64) & 1 != 0;
    let mut wishes = Vec::new();
    for number in 0..count {
        let mut events = 0;
        for (set, bits) in asked.iter().zip([IN, OUT, PRI]) {
            events |= if is_set(set, number) { bits } else { 0 };
        }
        if events != 0 {
            descriptor::get_any(task, number)?;
            wishes.push(Wish { number: number as i32, events, found: 0 });
        }
    }
    match wait(task, &mut wishes, until) {
        Err(RESTART_UNHANDLED) => return Err(Errno::EINTR),
        result => result?,
    };
    let mut total = 0;
    for ((set, address), bits) in asked.iter().zip(sets).zip([READABLE, WRITABLE, PRI]) {
        let mut found = alloc::vec![0; words];
        for wish in wishes.iter().filter(|wish| is_set(set, wish.number as u64) && wish.found & bits != 0) {
            found[wish.number as usize / 64] |= 1_u64 << (wish.number % 64);
            total += 1;
        }
        if address != 0 {
            for (index, word) in found.iter().enumerate() {
                user_memory::write(address + 8 * index as u64, word)?;
            }
        }
    }
    Ok(total)
}

/// `select`.
pub(crate) fn select(task: &mut Task, [count, read, write, other, timeout, _]: [u64; 6]) -> Outcome {
    let until = match user_memory::read_optional::<[u64; 2]>(timeout)? {
        None => u64::MAX,
        Some([0, 0]) => 0,
        Some([seconds, micros]) => {
            let whole = time::nanoseconds([seconds.saturating_add(micros / 1_000_000), micros % 1_000_000 * 1000])?;
            runtime::clock::monotonic_ns().saturating_add(whole)
        }
    };
    let result = select_until(task, count, [read, write, other], until);
    let left = if until == 0 { 0 } else { until.saturating_sub(runtime::clock::monotonic_ns()) };
    let [seconds, part] = time::timespec(left);
    // As on Linux, an address that cannot be written is no error here.
    let _ = user_memory::write_optional(timeout, &[seconds, part / 1000]);
    result
}

/// `pselect6`: the sixth argument points to the mask and its length.
pub(crate) fn pselect6(task: &mut Task, [count, read, write, other, timeout, mask]: [u64; 6]) -> Outcome {
    let until = deadline(timeout)?;
    if let Some([set, length]) = user_memory::read_optional::<[u64; 2]>(mask)? {
        use_mask(task, set, length)?;
    }
    let result = select_until(task, count, [read, write, other], until);
    write_left(timeout, until);
    result
}
