//! Child processes of the runner: none of them outlives it, and none sees what cargo put into our environment.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Context, Error, Result};

/// A command whose process the host kills when the thread that started it ends, however that happens.
pub fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    // `cargo run` points this at its own toolchain's libraries, which are wrong for every other program.
    command.env_remove("LD_LIBRARY_PATH");
    end_with_parent(&mut command);
    command
}

#[allow(
    unsafe_code,
    reason = "the standard library has no safe way to set an attribute of the child between fork and exec"
)]
fn end_with_parent(command: &mut Command) {
    let set = || {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).map_err(io::Error::from)
    };
    // SAFETY: the closure makes one system call (prctl) and touches neither heap nor locks, as is required after a fork.
    unsafe { command.pre_exec(set) };
}

/// The path of an executable found in PATH.
#[must_use]
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| is_executable(file))
}

/// Whether `file` is a file that may be executed.
#[must_use]
pub fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// Run to the end and return what it printed; its messages are part of the error.
///
/// # Errors
/// It could not be started, or its status was not 0.
pub fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().context(|| format!("cannot run {name}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let messages = String::from_utf8_lossy(&output.stderr);
    let last = messages.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no message");
    Err(Error::new(format!("{name} failed ({}): {last}", output.status)))
}
