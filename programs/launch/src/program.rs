//! The program: where it is, its image, its process.

use abi::{Handle, Rights};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use protocol::file::{self, Status};
use protocol::image::{self, Arguments, Descriptor, HEAD_LENGTH, Image, Start};
use protocol::process;
use protocol::resource_manager::{mode, open_flags};
use protocol::{Errno, Failure as Refusal};
use runtime::{Buffers, Options, OwnedHandle};

use crate::Failure;
use crate::command::Command;
use crate::files::{self, File};

/// Where programs are looked for if the environment does not say.
const PATH: &[u8] = b"/bin";
/// Directory that programs start in.
const HOME: &[u8] = b"/root";
/// Interpreters of interpreters of scripts.
const SCRIPTS: u32 = 4;
/// `Wait` option: for the end.
const ENDED: u64 = 4;
/// Least size of a signal stack (AT_MINSIGSTKSZ) with every register that the emulated processor has.
const SIGNAL_STACK: u64 = 3632;

/// A program that can be started.
#[derive(Debug)]
pub(crate) struct Program {
    file: File,
    image: Image,
    arguments: Arguments,
}

fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

fn no_executable(name: &[u8], why: &str) -> Failure {
    Failure::new(126, format!("{}: {why}", shown(name)))
}

fn refused(name: &[u8], errno: Errno) -> Failure {
    let status = if errno == Errno::ENOENT || errno == Errno::ENOTDIR { 127 } else { 126 };
    Failure::new(status, format!("{}: {}", shown(name), errno.text()))
}

/// Open a file that may be executed.
fn open_executable(space: Handle, path: &[u8]) -> Result<File, Errno> {
    let file = files::open(space, path, open_flags::READ)?;
    if file.mode & mode::TYPE != mode::FILE || file.mode & 0o111 == 0 {
        return Err(Errno::EACCES);
    }
    Ok(file)
}

/// Look `name` up in PATH, as a shell does: what may not be executed is remembered, and the search goes on.
fn look_up(space: Handle, name: &[u8], path: &[u8]) -> Result<File, Errno> {
    let mut result = Errno::ENOENT;
    for directory in path.split(|byte| *byte == b':') {
        let directory = if directory.is_empty() { HOME } else { directory };
        match open_executable(space, &[directory, b"/", name].concat()) {
            Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            Err(errno) => result = errno,
            file => return file,
        }
    }
    Err(result)
}

/// The program that `command` asks for.
pub(crate) fn find(space: Handle, command: &Command) -> Result<Program, Failure> {
    let name = command.arguments.first().map(Vec::as_slice).unwrap_or_default();
    let file = if command.program.is_empty() {
        look_up(space, name, command.variable(b"PATH").unwrap_or(PATH)).map_err(|errno| match errno {
            Errno::ENOENT => Failure::new(127, format!("{}: no such program in Baton", shown(name))),
            errno => refused(name, errno),
        })?
    } else {
        open_executable(space, &command.program).map_err(|errno| refused(&command.program, errno))?
    };
    plan(space, file, command)
}

/// Plan its image. A script's program is its interpreter, with the script as an argument.
fn plan(space: Handle, mut file: File, command: &Command) -> Result<Program, Failure> {
    let mut arguments = command.arguments.clone();
    for _ in 0..SCRIPTS {
        let name = file.name.clone();
        let mut head = alloc::vec![0; HEAD_LENGTH];
        let unreadable = |errno: Errno| no_executable(&name, errno.text());
        let length = image::read_some(file.handle.handle(), 0, &mut head).map_err(unreadable)?;
        head.truncate(length);
        if !head.starts_with(b"#!") {
            let length = size(&file).map_err(unreadable)?;
            let image = Image::examine(&head, length).map_err(|_| no_executable(&name, "not a program"))?;
            if image.interpreter.is_some() {
                return Err(no_executable(&name, "dynamically linked; Baton runs static programs"));
            }
            let arguments = Arguments {
                arguments: image::strings(arguments.iter().map(Vec::as_slice)),
                environment: image::strings(command.environment.iter().map(Vec::as_slice)),
                name,
                random: random(space),
                capabilities: 0,
                signal_stack: SIGNAL_STACK,
            };
            return Ok(Program { file, image, arguments });
        }
        let (interpreter, argument) = image::script(&head).map_err(|_| no_executable(&name, "names no interpreter"))?;
        let after_name = arguments.get(1..).unwrap_or_default();
        arguments = [interpreter]
            .into_iter()
            .chain(argument)
            .map(<[u8]>::to_vec)
            .chain([name.clone()])
            .chain(after_name.iter().cloned())
            .collect();
        file = open_executable(space, interpreter).map_err(|errno| {
            let text = format!("{}: its interpreter {}: {}", shown(&name), shown(interpreter), errno.text());
            Failure::new(refused(&name, errno).status, text)
        })?;
    }
    Err(no_executable(&file.path, Errno::ELOOP.text()))
}

fn size(file: &File) -> Result<u64, Errno> {
    let mut status = [0; size_of::<Status>()];
    file::stat_open(file.handle.handle(), &mut Buffers::new().receive(&mut status), Options::NONE)
        .map_err(Refusal::errno)?;
    let at = core::mem::offset_of!(Status, size);
    Ok(status[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)))
}

/// Bytes that cannot be foreseen, for AT_RANDOM.
fn random(space: Handle) -> [u8; 16] {
    let mut bytes = [0; 16];
    let read = files::open(space, b"/dev/urandom", open_flags::READ)
        .and_then(|file| image::read_exactly(file.handle.handle(), 0, &mut bytes));
    if let Err(errno) = read {
        runtime::log!(Warning, "no random numbers: {}", errno.text());
    }
    bytes
}

/// Make a process, with a session of its own. Gives its pid and its connection to the process service.
pub(crate) fn spawn(connection: Handle, space: Handle) -> Result<(u64, OwnedHandle), Failure> {
    let cannot = |errno: Errno| Failure::own(format!("cannot make a process: {}", errno.text()));
    let slot = files::slot().map_err(cannot)?;
    let mut buffers = Buffers::new().give(space, Rights::ALL).take(slot.handle());
    let spawned = process::spawn(connection, 0, &mut buffers, Options::NONE);
    spawned.map(|answer| (answer.pid, slot)).map_err(|failure| cannot(failure.errno()))
}

/// Give the process its image, with `streams` as its standard files; one stream stands for all of them. It runs.
pub(crate) fn begin(spawned: &OwnedHandle, program: &Program, streams: &[File]) -> Result<(), Failure> {
    let descriptor = |number: u32| {
        let share = (number as usize).min(streams.len() - 1);
        let stream = &streams[share];
        Descriptor {
            number,
            flags: 0,
            share: share as u32,
            mode: stream.mode,
            handle: stream.handle.handle().0,
            writer: 0,
            features: stream.features,
            open_flags: stream.flags,
            path: stream.path.clone(),
        }
    };
    let mut start = Start {
        umask: 0o22,
        directory: HOME.to_vec(),
        program: program.file.path.clone(),
        descriptors: (0..3).map(descriptor).collect(),
        ..Start::default()
    };
    let file = program.file.handle.handle();
    image::replace(spawned.handle(), file, &program.image, &program.arguments, &mut start).map_err(|errno| {
        let status = if errno == Errno::ENOMEM { 125 } else { 126 };
        Failure::new(status, format!("cannot start {}: {}", shown(&program.file.path), errno.text()))
    })
}

/// Wait for its end. Gives its status, as a shell does.
pub(crate) fn wait(connection: Handle, pid: u64) -> Result<u32, Failure> {
    loop {
        match process::wait(connection, pid, ENDED, &mut Buffers::new(), Options::NONE) {
            Ok(answer) => return Ok(status(answer.status)),
            Err(Refusal::Service(Errno::EINTR) | Refusal::Retry) => {}
            Err(failure) => {
                return Err(Failure::own(format!("cannot wait for the program: {}", failure.errno().text())));
            }
        }
    }
}

/// The exit status for a wait status.
const fn status(wait: u64) -> u32 {
    let signal = wait as u32 & 0x7f;
    if signal == 0 { wait as u32 >> 8 & 0xff } else { 128 + signal }
}

#[cfg(test)]
mod tests {
    use super::status;

    #[test]
    fn statuses_are_as_a_shell_gives_them() {
        assert_eq!((status(0), status(7 << 8), status(15), status(0x80 | 11)), (0, 7, 143, 139));
    }
}
