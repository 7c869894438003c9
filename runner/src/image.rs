//! What is in the boot archive: programs, BusyBox, the first content of the memory file system, and what to start.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use abi::archive::COMMAND_MAGIC;

use crate::archive::{Tree, join};
use crate::error::{Context, Error, NOT_FOUND, Result};
use crate::guest::Guest;
use crate::setup::busybox::Busybox;
use crate::{module, program};

/// PATH of all programs in the guest.
pub const PATH: &str = "/usr/local/bin:/bin";

/// HOME of all programs in the guest, and the directory they start in.
pub const HOME: &str = "/root";

/// Memory that Baton needs beside what is copied into it.
const OVERHEAD_BYTES: u64 = 40 << 20;

/// What the system starts once its services are up.
#[derive(Debug)]
pub enum Start {
    /// A shell on the console.
    Shell,
    /// A program with the streams of the host.
    Program {
        /// Its path in the guest; empty to look for the name in PATH.
        path: Vec<u8>,
        /// Its arguments, the name first.
        arguments: Vec<OsString>,
        /// Variables beside PATH, HOME and TERM.
        environment: Vec<OsString>,
    },
}

/// The tree that every boot has.
///
/// # Errors
/// A built program cannot be read.
pub fn tree(guest: &Guest, busybox: &Busybox) -> Result<Tree> {
    let mut tree = Tree::default();
    for (file, name) in guest
        .programs
        .iter()
        .map(|file| (file, file.file_name()))
        .chain(guest.personality.iter().map(|file| (file, Some(OsStr::new("linux")))))
    {
        let Some(name) = name.and_then(OsStr::to_str) else {
            continue;
        };
        if [INIT, BENCH].contains(&name) {
            continue;
        }
        let bytes = fs::read(file).context(|| format!("cannot read {}", file.display()))?;
        let bytes = module::stripped(&bytes).map_err(|error| Error::new(format!("{}: {error}", file.display())))?;
        tree.bytes(&format!("system/{name}"), 0o755, bytes);
    }
    tree.program(b"bin/busybox", 0o755, &busybox.file)?;
    for applet in busybox.applets.iter().filter(|applet| *applet != "busybox") {
        tree.link(&format!("bin/{applet}"), "busybox");
    }
    fill_root(&mut tree);
    Ok(tree)
}

const INIT: &str = "init";
/// Runs in place of init, to measure.
const BENCH: &str = "bench";

/// The init among the built programs.
///
/// # Errors
/// There is none.
pub fn init(guest: &Guest) -> Result<&Path> {
    program_named(guest, INIT)
}

/// The program that measures in place of init.
///
/// # Errors
/// There is none.
pub fn bench(guest: &Guest) -> Result<&Path> {
    program_named(guest, BENCH)
}

fn program_named<'a>(guest: &'a Guest, name: &str) -> Result<&'a Path> {
    let program = guest.programs.iter().find(|file| file.file_name().is_some_and(|file| file == name));
    program.map(PathBuf::as_path).ok_or_else(|| Error::new(format!("this workspace has no program named {name}")))
}

/// The first content of the memory file system, which is the root.
fn fill_root(tree: &mut Tree) {
    // Where other file systems are seen, and where programs expect a place.
    for directory in ["bin", "dev", "etc", "proc", "system", "usr/local/bin", "var/log", "var/run"] {
        tree.directory(&format!("root/{directory}"), 0o755);
    }
    tree.directory("root/root", 0o700);
    tree.directory("root/tmp", 0o1777);
    tree.directory("root/var/tmp", 0o1777);
    tree.link("root/sbin", "bin");
    tree.link("root/usr/bin", "../bin");
    tree.link("root/usr/sbin", "../bin");
    let files = [
        ("hostname", "baton\n"),
        ("hosts", "127.0.0.1 localhost\n"),
        ("passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
        ("group", "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"),
        ("shells", "/bin/sh\n/bin/ash\n"),
        ("os-release", "NAME=Baton\nID=baton\nPRETTY_NAME=Baton\n"),
        ("profile", "export PS1='\\u@\\h:\\w\\$ '\nexport PAGER=less EDITOR=vi\nalias ll='ls -l'\n"),
    ];
    for (name, text) in files {
        tree.bytes(&format!("root/etc/{name}"), 0o644, text);
    }
}

/// Add what the user wants copied: a file or directory of the host, as the guest's path.
///
/// # Errors
/// It cannot be read, or there is no such place in the guest.
pub fn copy(tree: &mut Tree, host: &Path, guest: &OsStr) -> Result<()> {
    let mut place = archive_path(guest)?;
    // As `cp` does: a file copied to a directory goes into it. A directory becomes the directory.
    let into = guest.as_bytes().ends_with(b"/") || tree.is_directory(&place);
    if into && !host.is_dir() {
        let name =
            host.file_name().ok_or_else(|| Error::new(format!("cannot copy {}: it has no name", host.display())))?;
        place = join(&place, name.as_bytes());
    }
    tree.copy(&place, host)
}

/// Where a file lies in the archive that the guest shall see at `path`.
fn archive_path(path: &OsStr) -> Result<Vec<u8>> {
    let bytes = path.as_bytes();
    let start: &[u8] = if bytes.starts_with(b"/") { b"" } else { b"root" };
    let mut parts: Vec<&[u8]> = if start.is_empty() { Vec::new() } else { vec![start] };
    for part in bytes.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    match parts.as_slice() {
        [b"dev" | b"proc" | b"system", ..] => {
            Err(Error::new(format!("cannot copy to {}: it is not a place for files", path.display())))
        }
        [b"bin" | b"sbin", rest @ ..] | [b"usr", b"bin" | b"sbin", rest @ ..] => {
            Ok([&[&b"bin"[..]], rest].concat().join(&b'/'))
        }
        parts => Ok([&[&b"root"[..]], parts].concat().join(&b'/')),
    }
}

/// Add the program to execute, and return how to start it.
///
/// # Errors
/// It is a file of the host, and not one that Baton can run.
pub fn place_program(tree: &mut Tree, name: &OsStr, arguments: &[OsString], environment: &[OsString]) -> Result<Start> {
    if name.is_empty() {
        return Err(Error::new("exec: PROGRAM is empty").with_status(NOT_FOUND));
    }
    let mut path = Vec::new();
    if name.as_bytes().contains(&b'/') {
        let host = Path::new(name);
        program::check(host)?;
        let file = host.file_name().unwrap_or(OsStr::new("program")).as_bytes();
        path = join(b"/usr/local/bin", file);
        tree.program(&join(b"root/usr/local/bin", file), 0o755, host)?;
        // Programs that start themselves once more do so by the name that they were called by.
        if let Ok(typed) = archive_path(name)
            && typed.starts_with(b"root/")
        {
            tree.link_if_free(&typed, &path);
        }
    }
    let mut all = vec![name.to_owned()];
    all.extend_from_slice(arguments);
    Ok(Start::Program { path, arguments: all, environment: environment.to_vec() })
}

/// Add the record that says what to start.
///
/// # Errors
/// An argument contains a NUL byte.
pub fn add_command(tree: &mut Tree, start: &Start) -> Result<()> {
    let term = std::env::var_os("TERM").filter(|term| !term.is_empty()).unwrap_or_else(|| "linux".into());
    let mut variables: Vec<OsString> = vec![format!("PATH={PATH}").into(), format!("HOME={HOME}").into()];
    let mut term_variable = OsString::from("TERM=");
    term_variable.push(term);
    variables.push(term_variable);
    let record = match start {
        Start::Shell => {
            for variable in ["SHELL=/bin/sh", "USER=root", "LOGNAME=root"] {
                variables.push(variable.into());
            }
            command_record(0, b"/bin/sh", &["-sh".into()], &variables)
        }
        Start::Program { path, arguments, environment } => {
            for variable in environment {
                let name = name_of(variable);
                variables.retain(|earlier| name_of(earlier) != name);
                variables.push(variable.clone());
            }
            command_record(1, path, arguments, &variables)
        }
    };
    tree.bytes("boot/command", 0o644, record);
    Ok(())
}

fn name_of(variable: &OsStr) -> &[u8] {
    variable.as_bytes().split(|byte| *byte == b'=').next().unwrap_or_default()
}

/// The bytes of `boot/command` (layout: [`COMMAND_MAGIC`]).
fn command_record(mode: u32, path: &[u8], arguments: &[OsString], environment: &[OsString]) -> Vec<u8> {
    let mut record = COMMAND_MAGIC.to_le_bytes().to_vec();
    for number in [mode, arguments.len() as u32, environment.len() as u32, path.len() as u32] {
        record.extend(number.to_le_bytes());
    }
    record.extend(path);
    for text in arguments.iter().chain(environment) {
        record.extend((text.len() as u32).to_le_bytes());
        record.extend(text.as_bytes());
    }
    record
}

/// Make sure that all of it fits into the machine's memory.
///
/// # Errors
/// It does not.
pub fn check_size(tree: &Tree, memory_mib: u64) -> Result<()> {
    let needed_mib = (tree.length() + OVERHEAD_BYTES).div_ceil(1 << 20);
    if needed_mib <= memory_mib {
        return Ok(());
    }
    Err(Error::new(format!(
        "the files to copy need a machine of at least {needed_mib} MiB, it has {memory_mib}: use --memory"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: &str) -> String {
        String::from_utf8(archive_path(OsStr::new(path)).expect("valid")).expect("text")
    }

    #[test]
    fn guest_paths_lie_in_the_memory_file_system_or_in_bin() {
        assert_eq!(place("/tmp//x/./y/../z"), "root/tmp/x/z");
        assert_eq!(place("x"), "root/root/x");
        assert_eq!(place("/"), "root");
        assert_eq!(place("/../.."), "root");
        assert_eq!(place("/usr/bin/tool"), "bin/tool");
        assert!(archive_path(OsStr::new("/dev/x")).is_err());
        assert!(archive_path(OsStr::new("/tmp/../proc/x")).is_err());
    }

    #[test]
    fn a_variable_given_twice_has_its_last_value() {
        let mut tree = Tree::default();
        let environment = ["A=1", "PATH=/x", "A=2"].map(OsString::from).to_vec();
        add_command(&mut tree, &Start::Program { path: Vec::new(), arguments: vec!["sh".into()], environment })
            .expect("written");
        let mut bytes = Vec::new();
        tree.write(0, &mut bytes).expect("written");
        let archive = abi::archive::Archive::new(&bytes).expect("valid");
        let record = archive.find(b"boot/command").expect("there").data.to_vec();
        let text = String::from_utf8_lossy(&record);
        assert!(text.contains("A=2") && !text.contains("A=1"));
        assert!(text.contains("PATH=/x") && !text.contains(PATH));
    }
}
