//! Starts what boot/command asks for: the shell, or one program with its streams, and reports how it ended.
//!
//! Init starts it last. It opens the control port, starts the program in a session of its own, says so ([`READY`]),
//! waits for its end, until the host took all that is left in the streams, and says the status ([`EXIT`]). A second thread meanwhile
//! does what the host asks for on the control port ([`control`]).
//!
//! It needs from init: handles `process` (allowed to spawn), `path`, `init`, `archive`, `gate`, `trace`; numbers `archive-length`, `priority`, `entry-tsc`.
//!
//! [`READY`]: abi::host::READY
//! [`EXIT`]: abi::host::EXIT
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

mod command;
mod control;
mod files;
mod program;
mod trace;

use abi::{Handle, PAGE_SIZE};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use protocol::resource_manager::open_flags;
use protocol::{file, init};
use runtime::object::process;
use runtime::{Buffers, Options, start};

use crate::command::{Command, Mode};
use crate::control::Control;
use crate::files::File;
use crate::trace::Trace;

runtime::main!(launch);
runtime::heap!();

/// Where the archive is mapped.
const ARCHIVE_ADDRESS: u64 = 0x40_0000_0000;
/// The terminal.
const CONSOLE: &[u8] = b"/dev/console";
/// `ioctl`: the terminal becomes that of session `argument` (asked by a native program; others get it for their own session).
const TIOCSCTTY: u64 = 0x540e;

/// Why there is nothing whose end could be reported.
#[derive(Debug)]
struct Failure {
    /// As shells have it: 127 not found, 126 not executable, 125 for all else.
    status: u32,
    /// For the user.
    text: String,
}

impl Failure {
    const fn new(status: u32, text: String) -> Self {
        Self { status, text }
    }

    /// Baton's own fault.
    const fn own(text: String) -> Self {
        Self::new(125, text)
    }
}

fn launch() {
    let (space, connection) = (start::handle("path"), start::handle("process"));
    let control = Control::open(space);
    if let Err(errno) = &control {
        runtime::log!(Error, "cannot open the control port: {}", errno.text());
    }
    let control = control.ok();
    if let Some(control) = &control {
        control.listen(space);
    }
    let ended = read_command().and_then(|(command, classes)| {
        let trace = if classes == 0 { None } else { Some(Trace::begin(space, classes)?) };
        let status = run(&command, control.as_ref(), space, connection);
        match trace {
            Some(trace) => trace.end().and(status),
            None => status,
        }
    });
    let (status, failed) = match ended {
        Ok(status) => (status, false),
        Err(failure) => {
            runtime::log!(Error, "{}", failure.text);
            if let Some(control) = &control {
                control.text(failure.text.as_bytes());
            }
            (failure.status, true)
        }
    };
    if let Some(control) = &control {
        control.exit(status, failed);
    }
    if let Err(failure) = init::power(start::handle("init"), 0, &mut Buffers::new(), Options::NONE) {
        runtime::log!(Error, "cannot power off: {}", failure.errno().text());
    }
}

/// What the host wants: a command, and which classes of events traced meanwhile.
fn read_command() -> Result<(Command, u64), Failure> {
    let length = start::number("archive-length").next_multiple_of(PAGE_SIZE);
    let archive = start::handle("archive");
    let read = abi::object::access::READ;
    process::map(Handle::SELF_PROCESS, archive, ARCHIVE_ADDRESS, read, 0, length)
        .map_err(|error| Failure::own(format!("cannot map the boot archive: {}", error.text())))?;
    let command = command::in_archive(ARCHIVE_ADDRESS, length);
    // A mapping that stays does no harm.
    let _ = process::unmap(Handle::SELF_PROCESS, ARCHIVE_ADDRESS, length);
    command.ok_or_else(|| Failure::own("the boot archive has no valid boot/command".into()))
}

fn open(space: Handle, path: &[u8], flags: u64) -> Result<File, Failure> {
    files::open_when_there(space, path, flags)
        .map_err(|errno| Failure::own(format!("cannot open {}: {}", String::from_utf8_lossy(path), errno.text())))
}

fn port(space: Handle, name: &str, flags: u64) -> Result<File, Failure> {
    files::open_port(space, name, flags)
        .map_err(|errno| Failure::own(format!("cannot open port {name}: {}", errno.text())))
}

/// Run what is wanted to its end. Gives its status.
fn run(command: &Command, control: Option<&Control>, space: Handle, connection: Handle) -> Result<u32, Failure> {
    let mut streams = Vec::new();
    match command.mode {
        Mode::Shell => streams.push(open(space, CONSOLE, open_flags::BOTH)?),
        Mode::Program => {
            streams.push(port(space, abi::host::STDIN_PORT, open_flags::READ)?);
            streams.push(port(space, abi::host::STDOUT_PORT, open_flags::WRITE)?);
            streams.push(port(space, abi::host::STDERR_PORT, open_flags::WRITE)?);
        }
    }
    let program = program::find(space, command)?;
    let (pid, spawned) = program::spawn(connection, space)?;
    if matches!(command.mode, Mode::Shell) {
        own_terminal(streams[0].handle.handle(), pid);
    }
    if let Some(control) = control {
        control.ready();
    }
    if let Err(failure) = init::up(start::handle("init"), &mut Buffers::new(), Options::NONE) {
        runtime::log!(Warning, "init does not know that the system is up: {}", failure.errno().text());
    }
    program::begin(&spawned, &program, &streams)?;
    let status = program::wait(connection, pid)?;
    for stream in &streams {
        // What cannot be waited for is lost anyway.
        let _ = file::sync(stream.handle.handle(), 0, &mut Buffers::new(), Options::NONE);
    }
    Ok(status)
}

fn own_terminal(console: Handle, session: u64) {
    if let Err(failure) = file::control(console, TIOCSCTTY, session, &mut Buffers::new(), Options::NONE) {
        runtime::log!(Warning, "the shell has no terminal: {}", failure.errno().text());
    }
}
