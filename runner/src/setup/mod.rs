//! What must be on this machine before Baton can be built and booted, found or set up.
//!
//! Everything downloaded lies in one folder, the [`Cache`]; a tool is put there complete or not at all. Nothing that the
//! user installed is changed, but for the one target that `rustup` is asked to add.

pub mod apt;
pub mod busybox;
pub mod musl;
pub mod qemu;
pub mod rust;
pub mod shells;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, Result};

/// The folder for downloads. While it exists, no other process uses the folder.
#[derive(Debug)]
pub struct Cache {
    directory: PathBuf,
    _lock: File,
}

impl Cache {
    /// Open the folder, waiting for other processes to be done with it.
    ///
    /// # Errors
    /// It is not known where it should be, or it cannot be made.
    pub fn open() -> Result<Self> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let directory = variable("BATON_CACHE")
            .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("baton")))
            .or_else(|| variable("HOME").map(|home| home.join(".cache/baton")))
            .ok_or_else(|| Error::new("neither BATON_CACHE nor HOME is set: where should downloads go?"))?;
        fs::create_dir_all(&directory).context(|| format!("cannot make the folder {}", directory.display()))?;
        let directory =
            directory.canonicalize().context(|| format!("cannot use the folder {}", directory.display()))?;
        let lock = File::create(directory.join("lock"))
            .context(|| format!("cannot write in the folder {}", directory.display()))?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)
            .context(|| format!("cannot lock {}", directory.display()))?;
        Ok(Self { directory, _lock: lock })
    }

    /// The place of the tool `name`, set up or not.
    #[must_use]
    pub fn tool(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The folder of the tool `name`: as it is if it was set up before, else what `fill` puts into an empty folder.
    ///
    /// # Errors
    /// `fill` failed; nothing is left of it then.
    pub fn set_up(&self, name: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let tool = self.tool(name);
        if tool.exists() {
            return Ok(tool);
        }
        let scratch = self.tool(&format!("{name}.incomplete"));
        make_empty(&scratch)?;
        let filled = fill(&scratch)
            .and_then(|()| fs::rename(&scratch, &tool).context(|| format!("cannot make {}", tool.display())));
        if filled.is_err() {
            // A failure here only leaves what the next set-up removes.
            let _ = fs::remove_dir_all(&scratch);
        }
        filled.map(|()| tool)
    }
}

/// Make `directory` exist and be empty.
pub(crate) fn make_empty(directory: &Path) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory).context(|| format!("cannot empty {}", directory.display()))?;
    }
    fs::create_dir_all(directory).context(|| format!("cannot make {}", directory.display()))
}
