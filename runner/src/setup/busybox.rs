//! BusyBox, the shell and tools of the guest: one static program with many names.

use std::path::{Path, PathBuf};

use super::{Cache, apt};
use crate::error::{Context, Error, Result, say};
use crate::{process, program};

/// A static BusyBox and the names it goes by.
#[derive(Clone, Debug)]
pub struct Busybox {
    /// The program.
    pub file: PathBuf,
    /// The names of its tools.
    pub applets: Vec<String>,
}

/// The BusyBox that the user named, or Debian's.
///
/// # Errors
/// There is none, it is not static, or it does not run.
pub fn prepare(cache: &Cache, named: Option<&Path>) -> Result<Busybox> {
    let file = match named {
        Some(file) => {
            check(file).map_err(|error| Error::new(format!("--busybox: {error}")))?;
            file.canonicalize().context(|| format!("--busybox {}", file.display()))?
        }
        None => find(cache)?,
    };
    let list = process::output(process::command(&file).arg("--list"))?;
    let applets: Vec<String> =
        list.lines().map(str::trim).filter(|name| !name.is_empty() && !name.contains('/')).map(str::to_owned).collect();
    if !applets.iter().any(|name| name == "sh") {
        return Err(Error::new(format!("{} is no BusyBox with a shell", file.display())));
    }
    Ok(Busybox { file, applets })
}

fn find(cache: &Cache) -> Result<PathBuf> {
    // The dynamically linked one of the package `busybox` is of no use to us.
    for installed in ["/bin/busybox", "/usr/bin/busybox"].map(Path::new) {
        if check(installed).is_ok() {
            return Ok(installed.to_owned());
        }
    }
    if !cache.tool("busybox").exists() && !apt::available() {
        return Err(Error::new(
            "a static BusyBox is missing: install it as /bin/busybox (package busybox-static), or name one with \
             --busybox FILE",
        ));
    }
    let directory = cache.set_up("busybox", |directory| {
        say("setting up BusyBox (downloading 1 MB of Debian packages)");
        apt::unpack(cache, &["busybox-static"], &[], directory).map_err(|error| {
            Error::new(format!(
                "{error} (or install the package busybox-static, or name a BusyBox with --busybox FILE)"
            ))
        })
    })?;
    let places = ["bin/busybox", "usr/bin/busybox"].map(|place| directory.join(place));
    places
        .into_iter()
        .find(|file| file.exists())
        .ok_or_else(|| Error::new("the package busybox-static holds no busybox"))
}

fn check(file: &Path) -> Result<()> {
    program::check(file)
}
