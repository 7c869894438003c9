//! The system as a whole: names, figures, random numbers, the log, power; and what is answered in one line.

use alloc::string::String;
use core::fmt::Write;
use core::sync::atomic::Ordering;

use abi::Handle;
use protocol::process::{self as service, SystemRecord};
use protocol::{Errno, init, log as log_service};
use runtime::Buffers;

use crate::names;
use crate::message::{PROMPT, ask, insist};
use crate::numbers::{Outcome, int};
use crate::slot::Slot;
use crate::task::Task;
use crate::user_memory;

/// Where the log service and init are found.
const LOG: &[u8] = b"/dev/log";
const INIT: &[u8] = b"/dev/init";

/// `uname`.
pub(crate) fn uname(_: &mut Task, [address, ..]: [u64; 6]) -> Outcome {
    const FIELD: usize = 65;
    let mut record = [0; 6 * FIELD];
    let fields = ["Linux", "baton", "6.1.0-baton", "#1 SMP Baton", "x86_64", "(none)"];
    for (place, field) in record.chunks_mut(FIELD).zip(fields) {
        place[..field.len()].copy_from_slice(field.as_bytes());
    }
    user_memory::write_bytes(address, &record)?;
    Ok(0)
}

fn figures(task: &Task) -> Result<SystemRecord, Errno> {
    let mut record = SystemRecord::default();
    let mut buffers = Buffers::new().receive(user_memory::bytes_of_mut(&mut record));
    ask(&mut buffers, |buffers| service::system(task.connection(), buffers, PROMPT))?;
    Ok(record)
}

/// `sysinfo`.
pub(crate) fn sysinfo(task: &mut Task, [address, ..]: [u64; 6]) -> Outcome {
    let figures = figures(task)?;
    let mut record = [0_u64; 14];
    record[0] = figures.uptime_ns / 1_000_000_000;
    record[1..4].copy_from_slice(&figures.load);
    (record[4], record[5]) = (figures.ram_total, figures.ram_free);
    record[10] = figures.processes & 0xffff;
    record[13] = 1;
    user_memory::write(address, &record)?;
    Ok(0)
}

/// Random bytes: the processor's, or else the device's.
pub(crate) fn random(task: &Task, bytes: &mut [u8]) -> Result<(), Errno> {
    for chunk in bytes.chunks_mut(8) {
        let Some(value) = processor_random() else { return device_random(task, bytes) };
        chunk.copy_from_slice(&value.to_le_bytes()[..chunk.len()]);
    }
    Ok(())
}

fn processor_random() -> Option<u64> {
    const PRESENT: u32 = 1 << 30;
    const ATTEMPTS: usize = 10;
    #[allow(unused_unsafe)]
    // SAFETY: every x86_64 processor has the instruction.
    let features = unsafe { core::arch::x86_64::__cpuid(1) }.ecx;
    if features & PRESENT == 0 {
        return None;
    }
    (0..ATTEMPTS).find_map(|_| {
        let (value, valid): (u64, u8);
        // SAFETY: the processor has the instruction (bit above); it touches no memory.
        unsafe { core::arch::asm!("rdrand {}", "setc {}", out(reg) value, out(reg_byte) valid, options(nomem, nostack)) };
        (valid != 0).then_some(value)
    })
}

fn device_random(task: &Task, bytes: &mut [u8]) -> Result<(), Errno> {
    let device = crate::files::open_path(task, b"/dev/urandom".to_vec(), 0, 0)?;
    let count = protocol::image::read_some(device.handle(), protocol::file::AT_POSITION, bytes)?;
    if count == bytes.len() { Ok(()) } else { Err(Errno::EAGAIN) }
}

/// `getrandom`.
pub(crate) fn getrandom(task: &mut Task, [address, length, flags, ..]: [u64; 6]) -> Outcome {
    const MAXIMUM: u64 = 32 << 20;
    if flags & !7 != 0 {
        return Err(Errno::EINVAL);
    }
    let length = length.min(MAXIMUM);
    let mut done = 0;
    let mut part = [0; 256];
    while done < length {
        let count = (length - done).min(256) as usize;
        random(task, &mut part[..count])?;
        user_memory::write_bytes(address.wrapping_add(done), &part[..count])?;
        done += count as u64;
    }
    Ok(length)
}

/// The mount connection of a service with a fixed place.
fn service_at(connection: Handle, place: &[u8]) -> Result<runtime::OwnedHandle, Errno> {
    let slot = Slot::new(connection)?;
    let mut buffers = Buffers::new().send(place).take(slot.handle());
    let answer = ask(&mut buffers, |buffers| protocol::path::resolve(service::NAME_SPACE, 0, buffers, PROMPT))?;
    let connection = slot.filled();
    if answer.consumed as usize >= place.len() { Ok(connection) } else { Err(Errno::ENOENT) }
}

/// Say something in the system log.
pub(crate) fn log(message: core::fmt::Arguments<'_>) {
    let mut line = String::new();
    // Nobody can be told when the log is not there.
    let _ = write!(line, "linux: {message}");
    log_bytes(line.as_bytes());
}

/// A line for the log that needs no memory.
pub(crate) fn log_bytes(line: &[u8]) {
    const WARNING: u64 = 4;
    if let Ok(connection) = service_at(service::CONNECTION, LOG) {
        let _ = insist(&mut Buffers::new().send(line), |buffers| {
            log_service::append(connection.handle(), WARNING, buffers, PROMPT)
        });
    }
}

/// Name a call that is not there in the log, once per program.
pub(crate) fn report(task: &Task, number: u64) {
    if is_news(task, number) {
        let program = core::str::from_utf8(&task.process.program).unwrap_or("?");
        let pid = task.process.pid;
        log(format_args!("{program} [{pid}]: system call {number} ({}) is not there", names::missing(number)));
    }
}

fn is_news(task: &Task, number: u64) -> bool {
    /// Most numbers without a meaning that are named.
    const ROOM: usize = 16;
    if let Some(word) = task.process.reported.get((number / 64) as usize) {
        let bit = 1 << (number % 64);
        return word.fetch_or(bit, Ordering::Relaxed) & bit == 0;
    }
    let mut numbers = task.process.reported_numbers.lock();
    let news = numbers.len() < ROOM && !numbers.contains(&number);
    if news {
        numbers.push(number);
    }
    news
}

/// `syslog`.
pub(crate) fn syslog(_: &mut Task, [action, address, length, ..]: [u64; 6]) -> Outcome {
    const BUFFER: u64 = 128 << 10;
    let connection = service_at(service::CONNECTION, LOG)?;
    match int(action) {
        2..=4 => {
            let length = (length & 0x7fff_ffff).min(BUFFER);
            user_memory::check(address, length)?;
            let mut buffers = Buffers::new().receive_raw(address, length);
            let answer = ask(&mut buffers, |buffers| log_service::read(connection.handle(), 0, buffers, PROMPT))?;
            Ok(answer.length)
        }
        5 => ask(&mut Buffers::new(), |buffers| log_service::clear(connection.handle(), buffers, PROMPT)).map(|_| 0),
        0 | 1 | 6..=8 => Ok(0),
        9 => Ok(0),
        10 => Ok(BUFFER),
        _ => Err(Errno::EINVAL),
    }
}

/// `reboot`.
pub(crate) fn reboot(_: &mut Task, [first, second, command, ..]: [u64; 6]) -> Outcome {
    const RESTART: u32 = 0x0123_4567;
    const HALT: u32 = 0xcdef_0123;
    const POWER_OFF: u32 = 0x4321_fedc;
    const KEYS: [u32; 2] = [0, 0x89ab_cdef];
    if first as u32 != 0xfee1_dead || !matches!(second as u32, 672_274_793 | 85_072_278 | 369_367_448 | 537_993_216) {
        return Err(Errno::EINVAL);
    }
    let command = command as u32;
    if KEYS.contains(&command) {
        return Ok(0);
    }
    if !matches!(command, RESTART | HALT | POWER_OFF) {
        return Err(Errno::EINVAL);
    }
    let connection = service_at(service::CONNECTION, INIT).map_err(|_| Errno::EPERM)?;
    let restart = u64::from(command == RESTART);
    ask(&mut Buffers::new(), |buffers| init::power(connection.handle(), restart, buffers, PROMPT)).map(|_| 0)
}

/// `prctl`.
pub(crate) fn prctl(task: &mut Task, [code, argument, ..]: [u64; 6]) -> Outcome {
    const SET_DEATH_SIGNAL: u64 = 1;
    const SET_NAME: u64 = 15;
    const GET_NAME: u64 = 16;
    const GET_KEEP_CAPABILITIES: u64 = 7;
    const KEEP_CAPABILITIES: u64 = 8;
    const CAPABILITY_READ: u64 = 23;
    const SET_SUBREAPER: u64 = 36;
    const GET_SUBREAPER: u64 = 37;
    match code {
        SET_DEATH_SIGNAL if argument > 64 => Err(Errno::EINVAL),
        SET_DEATH_SIGNAL => {
            ask(&mut Buffers::new(), |buffers| service::set_death_signal(task.connection(), argument, buffers, PROMPT))
                .map(|_| 0)
        }
        SET_NAME => set_name(task, argument),
        GET_NAME => {
            let name = name(task)?;
            user_memory::write_bytes(argument, &name).map(|()| 0)
        }
        // PR_GET_DUMPABLE, PR_SET_DUMPABLE, PR_SET_TIMERSLACK, PR_SET_NO_NEW_PRIVS, PR_SET_VMA, PR_GET_NO_NEW_PRIVS.
        3 => Ok(1),
        4 | 29 | 38 | 0x5356_4d41 | 39 => Ok(0),
        KEEP_CAPABILITIES if argument > 1 => Err(Errno::EINVAL),
        KEEP_CAPABILITIES => {
            task.keeps_capabilities = argument == 1;
            Ok(0)
        }
        GET_KEEP_CAPABILITIES => Ok(task.keeps_capabilities.into()),
        SET_SUBREAPER => subreaper(task, u64::from(argument != 0)).map(|_| 0),
        GET_SUBREAPER => user_memory::write(argument, &(subreaper(task, 2)? as u32)).map(|()| 0),
        30 => Ok(50_000),
        CAPABILITY_READ if argument <= 40 => Ok(1),
        _ => Err(Errno::EINVAL),
    }
}

/// Whether orphans below this process become its children. `wish`: 0, 1, or 2 to ask only.
fn subreaper(task: &Task, wish: u64) -> Outcome {
    ask(&mut Buffers::new(), |buffers| service::subreaper(task.connection(), wish, buffers, PROMPT)).map(|answer| answer.set)
}

fn set_name(task: &Task, address: u64) -> Outcome {
    let mut name = [0; 16];
    for (index, place) in name[..15].iter_mut().enumerate() {
        *place = user_memory::read(address.wrapping_add(index as u64))?;
        if *place == 0 {
            break;
        }
    }
    let tid = u64::from(task.tid);
    ask(&mut Buffers::new().send(&name), |buffers| service::set_name(task.connection(), tid, buffers, PROMPT)).map(|_| 0)
}

fn name(task: &Task) -> Result<[u8; 16], Errno> {
    let mut record = [0_u8; size_of::<service::ThreadRecord>()];
    let (pid, before) = (u64::from(task.process.pid), u64::from(task.tid) - 1);
    ask(&mut Buffers::new().receive(&mut record), |buffers| {
        service::next_thread(task.connection(), pid, before, buffers, PROMPT)
    })?;
    let mut name = [0; 16];
    name.copy_from_slice(&record[24..40]);
    Ok(name)
}

/// `personality`.
pub(crate) fn personality(task: &mut Task, [wanted, ..]: [u64; 6]) -> Outcome {
    let value = &task.process.personality;
    let before = match wanted as u32 {
        u32::MAX => value.load(Ordering::Relaxed),
        wanted => value.swap(wanted, Ordering::Relaxed),
    };
    Ok(u64::from(before))
}

/// `getcpu`: 0.
pub(crate) fn getcpu(_: &mut Task, [cpu, node, ..]: [u64; 6]) -> Outcome {
    user_memory::write_optional(cpu, &0_u32)?;
    user_memory::write_optional(node, &0_u32)?;
    Ok(0)
}

/// `membarrier`: one processor is always in order.
pub(crate) fn membarrier(_: &mut Task, [command, flags, ..]: [u64; 6]) -> Outcome {
    /// GLOBAL, and the private expedited ones.
    const COMMANDS: u64 = 0x1f;
    match command {
        _ if flags != 0 => Err(Errno::EINVAL),
        0 => Ok(COMMANDS),
        1 | 2 | 4 | 8 | 16 => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}

/// `mount`, `unshare`, `chroot` and the like: not for programs.
pub(crate) fn not_permitted(_: &mut Task, _: [u64; 6]) -> Outcome {
    Err(Errno::EPERM)
}

/// `socket`: no family is supported yet.
pub(crate) fn no_family(_: &mut Task, _: [u64; 6]) -> Outcome {
    Err(Errno::EAFNOSUPPORT)
}

/// Extended attributes: there are none.
pub(crate) fn no_attributes(_: &mut Task, _: [u64; 6]) -> Outcome {
    Err(Errno::EOPNOTSUPP)
}

/// `rseq`, `ptrace` and others that programs do without.
pub(crate) fn silent(_: &mut Task, _: [u64; 6]) -> Outcome {
    Err(Errno::ENOSYS)
}

/// `restart_syscall` is never needed: calls that were broken off are simply made again.
pub(crate) fn restart_syscall(_: &mut Task, _: [u64; 6]) -> Outcome {
    Err(Errno::EINTR)
}
