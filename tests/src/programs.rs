//! Programs for the guest, compiled on the host.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use runner::setup::{Cache, musl};

use crate::Failed;

/// Scenarios run side by side and may want the same program.
static COMPILING: Mutex<()> = Mutex::new(());

pub(crate) fn c_with_musl(folder: &Path, name: &str, source: &str) -> Result<PathBuf, Failed> {
    let compiler = {
        let cache = Cache::open()?;
        musl::prepare(&cache)?
    };
    compile(folder, &format!("{name}-musl"), &format!("{name}.c"), source, |file, program| {
        let mut command = Command::new(&compiler);
        command.args(["-static", "-O1", "-pthread", "-w"]).arg(include()).arg("-o").arg(program).arg(file);
        command
    })
}

/// Where the sources' common header is.
fn include() -> String {
    format!("-I{}", Path::new(env!("CARGO_MANIFEST_DIR")).join("programs").display())
}

pub(crate) fn c_with_glibc(folder: &Path, name: &str, source: &str) -> Result<PathBuf, Failed> {
    compile(folder, &format!("{name}-glibc"), &format!("{name}.c"), source, |file, program| {
        let mut command = Command::new("gcc");
        command.args(["-static", "-O1", "-pthread", "-w"]).arg(include()).arg("-o").arg(program).arg(file);
        command
    })
}

pub(crate) fn rust(folder: &Path, name: &str, source: &str) -> Result<PathBuf, Failed> {
    compile(folder, &format!("{name}-rust"), &format!("{name}.rs"), source, |file, program| {
        let mut command = Command::new("rustc");
        command.args(["--edition", "2024", "-O", "-C", "target-feature=+crt-static", "-o"]).arg(program).arg(file);
        command
    })
}

/// Compile `source` unless that was done before.
fn compile(
    folder: &Path,
    program: &str,
    file: &str,
    source: &str,
    command: impl FnOnce(&Path, &Path) -> Command,
) -> Result<PathBuf, Failed> {
    let _one_at_a_time = COMPILING.lock().unwrap_or_else(PoisonError::into_inner);
    fs::create_dir_all(folder)?;
    let (program, file) = (folder.join(program), folder.join(file));
    let stamp = program.with_extension("source");
    let all = format!("{source}{}", include_str!("../programs/check.h"));
    if program.exists() && fs::read_to_string(&stamp).is_ok_and(|before| before == all) {
        return Ok(program);
    }
    fs::write(&file, source)?;
    let output = command(&file, &program).env_remove("LD_LIBRARY_PATH").output()?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{} cannot be compiled: {errors}", file.display()).into());
    }
    fs::write(&stamp, all)?;
    Ok(program)
}
