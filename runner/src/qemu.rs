//! The virtual machine: QEMU, and our ends of its serial line and its virtio-serial ports.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use abi::host::{
    CONTROL_PORT, DEBUG_EXIT_PANIC, DEBUG_EXIT_PORT, DEBUG_EXIT_POWER_OFF, REPORT_END, STDERR_PORT, STDIN_PORT,
    STDOUT_PORT, TRACE_PORT,
};

use crate::error::{Context, Error, Result, say};
use crate::longest;
use crate::setup::qemu::Qemu;

/// What the machine is like.
#[derive(Clone, Debug)]
pub struct Machine {
    /// RAM in MiB.
    pub memory_mib: u64,
    /// The host's processor in place of emulation.
    pub kvm: bool,
    /// Count instructions: one nanosecond each, idle time skipped.
    pub count_instructions: bool,
    /// QEMU's name of the processor.
    pub processor: String,
    /// Where the system log is written to.
    pub log: Option<PathBuf>,
    /// Count instructions by kind.
    pub counter: Option<Counter>,
    /// A port for the trace.
    pub trace: bool,
}

/// The plugin that counts (`runner/counter`).
#[derive(Clone, Debug)]
pub struct Counter {
    /// Where it is.
    pub library: PathBuf,
    /// The file that it writes.
    pub out: PathBuf,
    /// Of what it says besides how often each address was executed.
    pub profile: Option<Profile>,
}

/// What the counter profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// A section.
    Section(u64),
    /// The longest stretch of all.
    Longest,
}

impl std::fmt::Display for Profile {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Section(number) => write!(formatter, "{number}"),
            Self::Longest => formatter.write_str("longest"),
        }
    }
}

impl Machine {
    /// The default machine with this much memory.
    #[must_use]
    pub fn new(memory_mib: u64) -> Self {
        Self {
            memory_mib,
            kvm: false,
            count_instructions: false,
            processor: "max".into(),
            log: None,
            counter: None,
            trace: false,
        }
    }
}

/// A folder that is removed at the end.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Make one, for us alone.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        loop {
            let name = format!("baton-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            let path = std::env::temp_dir().join(name);
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self(path)),
                // Left by a process that had our number before and was killed.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(Error::new(format!("cannot make {}: {error}", path.display())));
                }
            }
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It may have been removed already; nothing can be done about a failure.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running machine. It ends when this is dropped, or when the thread that started it ends.
#[derive(Debug)]
pub struct Running {
    child: Child,
    messages: Option<JoinHandle<String>>,
    /// The serial line.
    pub serial: UnixStream,
    /// The line on which init tells what every thread is doing.
    report: UnixStream,
    /// The control port.
    pub control: UnixStream,
    /// The port of standard input.
    pub stdin: UnixStream,
    /// The port of standard output.
    pub stdout: UnixStream,
    /// The port of standard error.
    pub stderr: UnixStream,
    /// The port of the trace, if the machine has one.
    pub trace: Option<UnixStream>,
}

/// How a machine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was switched off by the guest.
    PoweredOff,
    /// The kernel could not go on.
    Panicked,
    /// QEMU ended in some other way.
    Lost(ExitStatus),
}

/// The guest may take this long to begin to tell what its threads are doing, and to go on.
const REPORT_LIMIT: Duration = Duration::from_secs(10);

/// QEMU may need this long to be gone once it has closed its end, on a busy host.
pub const END_LIMIT: Duration = Duration::from_secs(10);

/// QEMU may need this long to open its sockets on a busy host.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Start the machine with this kernel and boot module; the sockets are made in `scratch`.
///
/// # Errors
/// QEMU does not start; what it said is in the message.
pub fn start(qemu: &Qemu, machine: &Machine, kernel: &Path, module: &Path, scratch: &Path) -> Result<Running> {
    let (machine, mut command) = (&longest::machine(machine), qemu.command());
    let accelerator = if machine.kvm { "kvm" } else { "tcg" };
    command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-M", "q35"]);
    // Counting instructions, the time of day is counted, too: else when it interrupts would depend on the host.
    command.args(["-rtc", if machine.count_instructions { "base=utc,clock=vm" } else { "base=utc" }]);
    command.args(["-accel", accelerator, "-cpu", &machine.processor, "-m", &format!("{}M", machine.memory_mib)]);
    command.args(["-device", &format!("isa-debug-exit,iobase={DEBUG_EXIT_PORT:#x},iosize=0x04")]);
    if machine.count_instructions {
        command.args(["-icount", "shift=0,sleep=off"]);
    }
    if let Some(log) = &machine.log {
        command.args(["-debugcon", &format!("file:{}", option(log))]);
    }
    if let Some(Counter { library, out, profile }) = &machine.counter {
        let profile = profile.map_or(String::new(), |profile| format!(",profile={profile}"));
        command.args(["-plugin", &format!("{},out={}{profile}", option(library), option(out))]);
    }
    command.arg("-kernel").arg(kernel).arg("-initrd").arg(module);
    command.args(["-device", "virtio-serial-pci"]);
    let mut listeners = Vec::new();
    let names = ["serial", "report", CONTROL_PORT, STDIN_PORT, STDOUT_PORT, STDERR_PORT];
    for name in names.into_iter().chain(machine.trace.then_some(TRACE_PORT)) {
        let socket = scratch.join(name);
        let listener = UnixListener::bind(&socket).context(|| format!("cannot listen at {}", socket.display()))?;
        listener.set_nonblocking(true).context(|| format!("cannot listen at {}", socket.display()))?;
        listeners.push(listener);
        command.args(["-chardev", &format!("socket,id={name},path={}", option(&socket))]);
        match name {
            "serial" | "report" => command.args(["-serial", &format!("chardev:{name}")]),
            _ => command.args(["-device", &format!("virtserialport,chardev={name},name={name}")]),
        };
    }
    // A group of its own: ^C on the terminal is for us to act on.
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().context(|| "cannot start QEMU".into())?;
    let messages = child.stderr.take().map(|stderr| std::thread::spawn(|| read_messages(stderr)));
    let mut streams = Vec::new();
    let start = Instant::now();
    while streams.len() < listeners.len() {
        match listeners[streams.len()].accept() {
            Ok((stream, _)) => streams.push(stream),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let ended = child.try_wait().context(|| "cannot wait for QEMU".into())?;
                if ended.is_some() || start.elapsed() > START_LIMIT {
                    let status = stop(&mut child);
                    return Err(Error::new(format!("QEMU did not start ({status}){}", last_words(messages))));
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => {
                stop(&mut child);
                return Err(Error::new(format!("cannot connect to QEMU: {error}")));
            }
        }
    }
    for stream in &streams {
        stream.set_nonblocking(false).context(|| "cannot connect to QEMU".into())?;
    }
    let trace = if machine.trace { streams.pop() } else { None };
    match <[UnixStream; 6]>::try_from(streams) {
        Ok([serial, report, control, stdin, stdout, stderr]) => {
            Ok(Running { child, messages, serial, report, control, stdin, stdout, stderr, trace })
        }
        Err(_) => unreachable!("one stream was accepted from each of six listeners"),
    }
}

/// A path in one of QEMU's options: there, a comma is written twice.
fn option(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

fn read_messages(mut stderr: impl Read) -> String {
    let mut bytes = Vec::new();
    // What was read before an error is still worth showing.
    let _ = stderr.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn last_words(messages: Option<JoinHandle<String>>) -> String {
    let text = messages.and_then(|thread| thread.join().ok()).unwrap_or_default();
    let text = text.trim();
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

fn stop(child: &mut Child) -> ExitStatus {
    // It may have ended already.
    let _ = child.kill();
    child.wait().unwrap_or_else(|_| ExitStatus::from_raw(0))
}

impl Running {
    /// Wait until it ends by itself, at most for `limit`; then end it.
    pub fn finish(&mut self, limit: Duration) -> End {
        let start = Instant::now();
        while start.elapsed() < limit {
            match self.child.try_wait() {
                Ok(Some(status)) => return end(status),
                _ => std::thread::sleep(Duration::from_millis(2)),
            }
        }
        end(stop(&mut self.child))
    }

    /// Show on standard error what every thread of the guest is doing.
    pub fn show_report(&self) {
        match self.report() {
            Some(report) => {
                say("what each thread of the guest is doing:");
                // If there is nowhere to tell it, it is not told.
                let _ = io::stderr().write_all(report.as_bytes());
            }
            None => say("the guest does not tell what its threads are doing"),
        }
    }

    /// What every thread of the guest is doing; `None` if the guest does not tell.
    fn report(&self) -> Option<String> {
        let mut line = &self.report;
        line.set_read_timeout(Some(REPORT_LIMIT)).ok()?;
        line.write_all(b"?").ok()?;
        let mut text = Vec::new();
        let mut chunk = [0; 4096];
        while let Ok(length @ 1..) = line.read(&mut chunk) {
            text.extend_from_slice(&chunk[..length]);
            if text.ends_with(&[REPORT_END]) {
                break;
            }
        }
        text.retain(|byte| *byte != REPORT_END);
        (!text.is_empty()).then(|| String::from_utf8_lossy(&text).into_owned())
    }

    /// What QEMU said on its standard error, once it has ended: empty, or a colon and the text.
    pub fn last_words(&mut self) -> String {
        last_words(self.messages.take())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

fn end(status: ExitStatus) -> End {
    let written = |value: u32| status.code() == Some((value << 1 | 1) as i32);
    if written(DEBUG_EXIT_POWER_OFF) {
        End::PoweredOff
    } else if written(DEBUG_EXIT_PANIC) {
        End::Panicked
    } else {
        End::Lost(status)
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::PoweredOff => formatter.write_str("Baton switched itself off"),
            Self::Panicked => formatter.write_str("Baton's kernel stopped"),
            // A processor that cannot go on resets, which ends QEMU as if all was well.
            Self::Lost(status) if status.success() => formatter.write_str("the machine reset itself"),
            Self::Lost(status) => match status.signal() {
                Some(signal) => write!(formatter, "QEMU was killed by signal {signal}"),
                None => write!(formatter, "QEMU ended ({status})"),
            },
        }
    }
}
