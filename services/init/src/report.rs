//! What every thread is doing, told on a serial line of init's own, the *report line* ([`abi::host::REPORT_LINE`]): to
//! each byte that comes there the answer is a line of text a thread, and an end of transmission.
//!
//! No other program is needed for it, so that it tells which one hangs: init finds the threads of all that it started by kernel calls
//! on their processes. Only for those of POSIX programs it asks `process`, and not for longer than [`PATIENCE_NS`].

use core::fmt::{self, Write};
use core::mem::offset_of;

use abi::call::flags::{DEADLINE_REPLY, DEADLINE_SEND, NO_GRACE};
use abi::host::{REPORT_END, REPORT_LINE};
use abi::thread::State;
use abi::{Error, Handle};
use protocol::process::{ProcessRecord, ThreadRecord};
use protocol::{Errno, Failure};
use runtime::object::process::Accumulate;
use runtime::object::{memory, process, pulse, thread};
use runtime::{Buffers, Options, clock, handle};

use crate::Init;

/// Badge of the line's interrupts.
pub(crate) const INTERRUPT: u64 = 1 << 59;
/// How long `process` may take for all that it is asked.
const PATIENCE_NS: u64 = 500_000_000;
/// Most threads of POSIX programs that are told of.
const THREADS: u32 = 1000;
/// Bytes that the line takes when it says that it has sent all others.
const FIFO: usize = 16;
/// Most bytes that are taken at once: who sends more without waiting for an answer is not heard any more.
const TAKEN: u32 = 4096;
/// How often it is asked for that: a line that does not get on loses text.
const TRIES: u32 = 1_000_000;

/// Offsets and values of a 16550's registers.
mod register {
    pub(super) const DATA: u64 = 0;
    pub(super) const INTERRUPT_ENABLE: u64 = 1;
    pub(super) const FIFO_CONTROL: u64 = 2;
    pub(super) const MODEM_CONTROL: u64 = 4;
    pub(super) const LINE_STATUS: u64 = 5;

    /// Interrupt at received bytes.
    pub(super) const ENABLE_RECEIVED: u32 = 1;
    /// Enable and clear both FIFOs, interrupt at the first byte.
    pub(super) const FIFOS: u32 = 0x07;
    /// DTR, RTS, and OUT2, which lets interrupts through on PCs.
    pub(super) const MODEM: u32 = 0x0b;
    pub(super) const RECEIVED: u32 = 0x01;
    pub(super) const HOLDING_EMPTY: u32 = 0x20;
    /// What is read where there is no such line.
    pub(super) const ABSENT: u32 = 0xff;
}

/// The line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    ports: Handle,
    interrupt: Handle,
}

impl Line {
    /// Set it up; `None` if the machine has none.
    pub(crate) fn open(ports: Handle, interrupts: Handle, gate: Handle) -> Result<Option<Self>, Error> {
        let line = Self { ports, interrupt: Handle::NONE };
        if line.read(register::LINE_STATUS) == register::ABSENT {
            return Ok(None);
        }
        line.write(register::FIFO_CONTROL, register::FIFOS);
        line.write(register::MODEM_CONTROL, register::MODEM);
        let interrupt = handle::with_room(|| {
            process::create_pulse(Handle::SELF_PROCESS, gate, INTERRUPT, Accumulate::Or, u8::MAX, Handle::NONE)
        })?;
        pulse::bind_interrupt(interrupt, interrupts, REPORT_LINE.1, 0, pulse::Trigger::Edge)?;
        line.write(register::INTERRUPT_ENABLE, register::ENABLE_RECEIVED);
        Ok(Some(Self { interrupt, ..line }))
    }

    fn read(&self, register: u64) -> u32 {
        // It fails only without the handle, which the boot record has.
        memory::port_read(self.ports, REPORT_LINE.0 + register, 1).unwrap_or(register::ABSENT)
    }

    fn write(&self, register: u64, value: u32) {
        // As above.
        let _ = memory::port_write(self.ports, REPORT_LINE.0 + register, 1, value);
    }

    /// Take what came. Whether that was anything.
    fn take(&self) -> bool {
        let mut any = false;
        for _ in 0..TAKEN {
            if self.read(register::LINE_STATUS) & register::RECEIVED == 0 {
                break;
            }
            self.read(register::DATA);
            any = true;
        }
        any
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.as_bytes().chunks(FIFO) {
            let empty = (0..TRIES).any(|_| self.read(register::LINE_STATUS) & register::HOLDING_EMPTY != 0);
            if !empty {
                return Err(fmt::Error);
            }
            memory::port_write_bytes(self.ports, REPORT_LINE.0 + register::DATA, piece).map_err(|_| fmt::Error)?;
        }
        Ok(())
    }
}

/// What is told of a thread besides its state.
struct Told<'a> {
    pid: u64,
    program: &'a str,
    thread: u64,
    name: &'a str,
}

/// The text before the zeros of a name in a record.
fn text(bytes: &[u8]) -> &str {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    core::str::from_utf8(&bytes[..end]).unwrap_or("?")
}

type Process = [u8; size_of::<ProcessRecord>()];
type Thread = [u8; size_of::<ThreadRecord>()];

fn name(process: &Process) -> &str {
    text(&process[offset_of!(ProcessRecord, name)..][..16])
}

fn word(record: &[u8], at: usize) -> u64 {
    record.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

impl Init {
    /// Something came on the line.
    pub(crate) fn report(&mut self) {
        let Some(mut line) = self.report_line else { return };
        if line.take() {
            // The host sees by the missing end that the line did not take it all.
            let _ = self.report_all(&mut line).and_then(|()| line.write_char(char::from(REPORT_END)));
        }
        // What came while the line was masked made no edge that anybody saw: look again once it is open.
        // It fails only without the handle.
        let _ = pulse::rearm(line.interrupt);
        line.take();
    }

    fn report_all(&self, line: &mut Line) -> fmt::Result {
        self.report_threads(line, 1, "init", Handle::SELF_PROCESS)?;
        for service in &self.services {
            match service.running {
                Some(run) => self.report_threads(line, run.pid, service.program.name, run.process)?,
                None if service.due_ns.is_some() => writeln!(line, "    - {:<15} starts again", service.program.name)?,
                None => {}
            }
        }
        let options =
            Options { flags: DEADLINE_SEND | DEADLINE_REPLY | NO_GRACE, deadline: clock::monotonic_ns() + PATIENCE_NS };
        match self.report_posix(line, options) {
            Ok(written) => written,
            Err(failure) => {
                writeln!(line, "the threads of POSIX programs are not known: process: {}", failure.errno().text())
            }
        }
    }

    /// The threads of a program that init started.
    fn report_threads(&self, line: &mut Line, pid: u64, program: &str, process: Handle) -> fmt::Result {
        let mut slot = 0;
        while let Ok(Some((found, next))) = process::next_thread(process, slot) {
            slot = next;
            let known = thread::name(found).and_then(|name| Ok((name, thread::state(found)?)));
            handle::close(found);
            // It may have ended meanwhile.
            let Ok((name, activity)) = known else { continue };
            let told = Told { pid, program, thread: slot, name: text(&name) };
            let (waits_for, of) = self.known_as(activity.waits_for);
            tell(line, &told, activity.state, activity.stopped, waits_for, of)?;
        }
        Ok(())
    }

    /// The pid for the identity of a process, and its name if init started it.
    fn known_as(&self, identity: u64) -> (u64, Option<&'static str>) {
        let is_it = |process| process::identity(process) == Ok(identity);
        if identity == 0 {
            return (0, None);
        }
        if is_it(Handle::SELF_PROCESS) {
            return (1, Some("init"));
        }
        let mut running = self.services.iter().filter_map(|service| Some((service.running?, service.program.name)));
        match running.find(|(run, _)| is_it(run.process)) {
            Some((run, name)) => (run.pid, Some(name)),
            // A POSIX process's identity has its pid in the lower half.
            None => (identity & u64::from(u32::MAX), None),
        }
    }

    /// The threads of all POSIX programs. Fails if `process` does; within, if the line does.
    fn report_posix(&self, line: &mut Line, options: Options) -> Result<fmt::Result, Failure> {
        let mut process: Process = [0; _];
        let (mut pid, mut told) = (0, 0);
        loop {
            match protocol::process::next(self.process, pid, &mut Buffers::new().receive(&mut process), options) {
                Ok(found) => pid = found.pid,
                Err(Failure::Service(Errno::ESRCH)) => return Ok(Ok(())),
                Err(failure) => return Err(failure),
            }
            if word(&process, offset_of!(ProcessRecord, native)) != 0 {
                continue;
            }
            let (mut record, mut tid): (Thread, u64) = ([0; _], 0);
            loop {
                let mut buffers = Buffers::new().receive(&mut record);
                match protocol::process::next_thread(self.process, pid, tid, &mut buffers, options) {
                    Ok(found) => tid = found.tid,
                    Err(Failure::Service(Errno::ESRCH)) => break,
                    Err(failure) => return Err(failure),
                }
                told += 1;
                if told > THREADS {
                    return Ok(writeln!(line, "and more"));
                }
                if let Err(error) = self.tell_posix(line, (pid, &process), (tid, &record), options) {
                    return Ok(Err(error));
                }
            }
        }
    }

    fn tell_posix(
        &self,
        line: &mut Line,
        (pid, process): (u64, &Process),
        (tid, record): (u64, &Thread),
        options: Options,
    ) -> fmt::Result {
        // The upper half of these eight bytes is another field.
        let state = word(record, offset_of!(ThreadRecord, state));
        let waits_for = word(record, offset_of!(ThreadRecord, waits_for));
        let mut other: Process = [0; _];
        let of = if waits_for == 0 {
            None
        } else {
            let mut buffers = Buffers::new().receive(&mut other);
            let known = protocol::process::record(self.process, waits_for, &mut buffers, options);
            known.is_ok().then(|| name(&other))
        };
        let name_of_thread = text(&record[offset_of!(ThreadRecord, name)..][..16]);
        let told = Told { pid, program: name(process), thread: tid, name: name_of_thread };
        let shown = State::from_number(state as u8).unwrap_or(State::Dead);
        tell(line, &told, shown, state >> 8 & 1 != 0, waits_for, of)
    }
}

/// A line of text.
fn tell(
    line: &mut Line,
    told: &Told<'_>,
    state: State,
    stopped: bool,
    waits_for: u64,
    of: Option<&str>,
) -> fmt::Result {
    write!(line, "{:>5} {:<15} thread {:<5} {}", told.pid, told.program, told.thread, state.name())?;
    if stopped {
        write!(line, " STOPPED")?;
    }
    if waits_for != 0 {
        write!(line, " of {} ({waits_for})", of.unwrap_or("?"))?;
    }
    if !told.name.is_empty() && told.name != told.program {
        write!(line, " [{}]", told.name)?;
    }
    writeln!(line)
}
