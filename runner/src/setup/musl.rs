//! A C compiler for small static programs: gcc with the musl library. Only the tests need it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{Cache, apt};
use crate::error::{Context, Error, Result, say};
use crate::process;

/// An installed `musl-gcc`, or one of our own around the installed gcc.
///
/// # Errors
/// There is none, and none can be had.
pub fn prepare(cache: &Cache) -> Result<PathBuf> {
    if let Some(compiler) = process::find("musl-gcc") {
        return Ok(compiler);
    }
    if process::find("gcc").is_none() {
        return Err(Error::new("gcc is not in PATH: install gcc and libc6-dev (or musl-tools)"));
    }
    if !cache.tool("musl").exists() && !apt::available() {
        return Err(Error::new(
            "musl-gcc is missing, a C compiler with musl that the tests need: install it (package musl-tools, or musl-gcc)",
        ));
    }
    let directory = cache.set_up("musl", |directory| {
        say("setting up a C compiler with musl (downloading 1 MB of Debian packages)");
        apt::unpack(cache, &["musl-tools", "musl-dev"], &[], directory)
            .and_then(|()| write_wrapper(directory))
            .map_err(|error| Error::new(format!("{error} (or install the package musl-tools)")))
    })?;
    Ok(directory.join("musl-gcc"))
}

/// The packaged wrapper names its files by absolute paths in `/usr`; ours finds them beside itself.
fn write_wrapper(directory: &Path) -> Result<()> {
    let script = directory.join("musl-gcc");
    let specs = directory.join("usr/lib/x86_64-linux-musl/musl-gcc.specs");
    let text = fs::read_to_string(&specs).context(|| format!("cannot read {}", specs.display()))?;
    // Written where the folder will be after set-up: it has `.incomplete` at its end now.
    let place = directory.with_extension("");
    let place = place.display().to_string();
    let moved = text
        .replace("/usr/include/x86_64-linux-musl", &format!("{place}/usr/include/x86_64-linux-musl"))
        .replace("/usr/lib/x86_64-linux-musl", &format!("{place}/usr/lib/x86_64-linux-musl"));
    fs::write(&specs, moved).context(|| format!("cannot write {}", specs.display()))?;
    let wrapper = format!("#!/bin/sh\nexec gcc \"$@\" -specs '{place}/usr/lib/x86_64-linux-musl/musl-gcc.specs'\n");
    fs::write(&script, wrapper).context(|| format!("cannot write {}", script.display()))?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))
        .context(|| format!("cannot make {} executable", script.display()))
}
