//! QEMU for x86_64.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Cache, apt};
use crate::error::{Error, Result, say};
use crate::process;

const PROGRAM: &str = "qemu-system-x86_64";

/// A QEMU that runs.
#[derive(Clone, Debug)]
pub struct Qemu {
    program: PathBuf,
    /// Where it was unpacked, if it is ours.
    private: Option<PathBuf>,
}

/// The installed QEMU, or one of our own.
///
/// # Errors
/// There is none, and none can be had.
pub fn prepare(cache: &Cache) -> Result<Qemu> {
    if let Some(program) = process::find(PROGRAM) {
        let installed = Qemu { program, private: None };
        if installed.works() {
            return Ok(installed);
        }
    }
    if !cache.tool("qemu").exists() && !apt::available() {
        return Err(Error::new(format!(
            "QEMU is missing: install the program {PROGRAM} (package qemu-system-x86, or qemu-system-x86-core)"
        )));
    }
    let directory = cache.set_up("qemu", |directory| {
        say("setting up QEMU (downloading about 20 MB of Debian packages)");
        apt::unpack(cache, &["qemu-system-x86"], &[], directory)
            .and_then(|()| {
                if Qemu::private(directory).works() {
                    Ok(())
                } else {
                    Err(Error::new("the unpacked QEMU does not run"))
                }
            })
            .map_err(|error| Error::new(format!("{error} (or install the package qemu-system-x86)")))
    })?;
    Ok(Qemu::private(&directory))
}

impl Qemu {
    fn private(directory: &Path) -> Self {
        Self { program: directory.join("usr/bin").join(PROGRAM), private: Some(directory.to_owned()) }
    }

    fn works(&self) -> bool {
        process::output(self.command().arg("--version")).is_ok()
    }

    /// What it calls itself.
    ///
    /// # Errors
    /// It does not run.
    pub fn version(&self) -> Result<String> {
        let text = process::output(self.command().arg("--version"))?;
        Ok(text.lines().next().unwrap_or_default().trim().into())
    }

    /// A command that runs it, with no arguments yet but where its firmware is.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = process::command(&self.program);
        if let Some(directory) = &self.private {
            command.env("LD_LIBRARY_PATH", library_path(directory));
            command.env("QEMU_MODULE_DIR", directory.join("usr/lib/x86_64-linux-gnu/qemu"));
            for folder in ["usr/share/qemu", "usr/share/seabios"] {
                command.arg("-L").arg(directory.join(folder));
            }
        }
        command
    }
}

/// The value of `LD_LIBRARY_PATH` for programs unpacked into `directory`: its library folders and the folders in them.
pub(super) fn library_path(directory: &Path) -> OsString {
    let mut folders = Vec::new();
    for library in ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"] {
        let library = directory.join(library);
        let inner =
            fs::read_dir(&library).into_iter().flatten().filter_map(|entry| entry.ok().map(|entry| entry.path()));
        let mut inner: Vec<PathBuf> = inner.filter(|path| path.is_dir()).collect();
        inner.sort();
        folders.push(library);
        folders.append(&mut inner);
    }
    // Folders of ours have no colon in their names; if the cache has, its libraries are not found and this is said.
    std::env::join_paths(folders).unwrap_or_default()
}
