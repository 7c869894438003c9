//! `execve`: everything that can fail is done before the old image goes.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use protocol::Errno;
use protocol::image::{self, Arguments, Descriptor, HEAD_LENGTH, Image, Start};

use crate::descriptor::OpenFile;
use crate::files;
use crate::numbers::{AT_FDCWD, Outcome, int, open};
use crate::permission;
use crate::path;
use crate::system;
use crate::task::Task;
use crate::user_memory;
use crate::vector;

/// Interpreters of interpreters, and so on.
const SCRIPTS: usize = 4;

/// `execve`.
pub(crate) fn execve(task: &mut Task, [path, arguments, environment, ..]: [u64; 6]) -> Outcome {
    execveat(task, [AT_FDCWD as u64, path, arguments, environment, 0, 0])
}

/// `execveat`.
pub(crate) fn execveat(task: &mut Task, [directory, path, arguments, environment, flags, _]: [u64; 6]) -> Outcome {
    const AT_EMPTY_PATH: u64 = 0x1000;
    if flags & !AT_EMPTY_PATH != 0 {
        return Err(Errno::EINVAL);
    }
    let mut name = user_memory::read_path(path)?;
    let whole = if name.is_empty() && flags & AT_EMPTY_PATH != 0 {
        name = crate::descriptor::get_any(task, directory)?.path.clone();
        name.clone()
    } else {
        path::from(task, int(directory), &name)?
    };
    let arguments = strings(arguments)?;
    let environment = strings(environment)?;
    let program = find(task, whole, name, arguments)?;
    replace(task, program, environment)
}

/// Strings by an array of pointers, each ended by a zero byte.
fn strings(mut address: u64) -> Result<Vec<u8>, Errno> {
    let mut out = Vec::new();
    while address != 0 {
        let pointer: u64 = user_memory::read(address)?;
        if pointer == 0 {
            break;
        }
        let text = user_memory::read_string(pointer, image::ARGUMENTS_MAXIMUM as usize, Errno::E2BIG)?;
        out.try_reserve(text.len() + 1).map_err(|_| Errno::ENOMEM)?;
        out.extend_from_slice(&text);
        out.push(0);
        if out.len() as u64 > image::ARGUMENTS_MAXIMUM {
            return Err(Errno::E2BIG);
        }
        address += 8;
    }
    Ok(out)
}

/// A file that can be run.
struct Program {
    file: OpenFile,
    image: Image,
    name: Vec<u8>,
    arguments: Vec<u8>,
}

/// Open a program; a script's interpreter in its place.
fn find(task: &Task, mut whole: Vec<u8>, name: Vec<u8>, mut arguments: Vec<u8>) -> Result<Box<Program>, Errno> {
    let mut script = name.clone();
    for _ in 0..=SCRIPTS {
        permission::executing(task, &whole)?;
        let file = files::open_freely(task, whole, open::CLOSE_ON_EXEC, 0)?;
        if !file.is_regular() || file.mode & 0o111 == 0 {
            return Err(Errno::EACCES);
        }
        let mut head = user_memory::buffer(HEAD_LENGTH)?;
        let length = image::read_some(file.handle(), 0, &mut head)?;
        head.truncate(length);
        if head.starts_with(b"#!") {
            let (interpreter, argument) = image::script(&head)?;
            arguments = script_arguments(interpreter, argument, &script, &arguments);
            whole = path::from(task, AT_FDCWD, interpreter)?;
            script = interpreter.to_vec();
            continue;
        }
        let image = examine(&file, &head)?;
        if arguments.is_empty() {
            arguments.push(0);
        }
        return Ok(Box::new(Program { file, image, name, arguments }));
    }
    Err(Errno::ELOOP)
}

/// What a program's file starts with, as an image. (A frame of its own: all of `execve` is to fit into a page of stack, since what it
/// touches of that after a fork is copied.)
#[inline(never)]
fn examine(file: &OpenFile, head: &[u8]) -> Result<Image, Errno> {
    let image = Image::examine(head, path::stat_open(file)?.size)?;
    match image.interpreter {
        Some(interpreter) => Err(dynamic(file, interpreter)),
        None => Ok(image),
    }
}

/// A script's interpreter is called with its own name, its argument, the script's name, and the script's arguments.
fn script_arguments(interpreter: &[u8], argument: Option<&[u8]>, script: &[u8], arguments: &[u8]) -> Vec<u8> {
    let mut out = image::strings([interpreter].into_iter().chain(argument).chain([script]));
    let first = arguments.iter().position(|byte| *byte == 0).map_or(arguments.len(), |end| end + 1);
    out.extend_from_slice(&arguments[first..]);
    out
}

/// A program that is linked dynamically: as if its interpreter were not there.
fn dynamic(file: &OpenFile, (offset, length): (u64, u64)) -> Errno {
    let mut interpreter = alloc::vec![0; length as usize];
    if let Err(error) = image::read_exactly(file.handle(), offset, &mut interpreter) {
        return error;
    }
    let name = core::str::from_utf8(&file.path).unwrap_or("?");
    let interpreter = core::str::from_utf8(&interpreter).unwrap_or("?");
    system::log(format_args!("{name}: dynamically linked programs do not run yet (it wants {interpreter})"));
    Errno::ENOENT
}

fn descriptors(task: &Task) -> Vec<Descriptor> {
    let files = task.files.lock();
    let kept = files.iter().filter(|(_, entry)| !entry.close_on_exec && entry.value.interest.is_none());
    kept.map(|(number, entry)| {
        let first = files.iter().find(|(_, other)| Arc::ptr_eq(&other.value, &entry.value));
        Descriptor {
            number,
            flags: 0,
            share: first.map_or(number, |(first, _)| first),
            mode: entry.value.mode,
            handle: entry.value.handle().0,
            writer: if entry.value.is_socket() { entry.value.writer().0 } else { 0 },
            features: entry.value.features,
            open_flags: entry.value.opened(),
            path: entry.value.path.clone(),
        }
    })
    .collect()
}

fn replace(task: &mut Task, program: Box<Program>, environment: Vec<u8>) -> Outcome {
    task.last_words = prepare(task, program, environment)?;
    // Nothing is held any more but what the task holds: the child of a vfork shares its parent's heap and handles, and what
    // it had here would stay with the parent for good.
    image::commit(task.connection(), &task.last_words)?;
    // The thread is gone when this works; the service answers nothing else.
    Err(Errno::EAGAIN)
}

fn prepare(task: &mut Task, program: Box<Program>, environment: Vec<u8>) -> Result<Vec<u8>, Errno> {
    let mut random = [0; 16];
    system::random(task, &mut random)?;
    let arguments = Arguments {
        arguments: program.arguments,
        environment,
        name: program.name,
        random,
        capabilities: vector::capabilities(),
        signal_stack: 1024 + vector::layout().1 as u64,
    };
    let directory = task.directory.lock().clone();
    // Each lock is let go before the next is taken: in one expression they would all be held to its end.
    let user = *task.process.user.lock();
    let descriptor_limit = task.files.lock().limit() as u64;
    let ignored = task.actions.lock().ignored();
    let file_limit = task.process.file_limit.get();
    let mut start = Start {
        umask: directory.umask,
        user,
        descriptor_limit,
        file_limit,
        mask: task.mask,
        ignored,
        directory: directory.path,
        program: path::shown(task, &program.file.path).unwrap_or_else(|_| crate::paths::plain(&program.file.path)),
        descriptors: descriptors(task),
        ..Start::default()
    };
    image::prepare(task.connection(), program.file.handle(), &program.image, &arguments, &mut start)
}
