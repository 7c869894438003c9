//! Shells that nobody here built, as static programs: with glibc, musl and klibc. Only the tests need them.

use std::path::PathBuf;

use super::{Cache, apt};
use crate::error::{Error, Result, say};

/// The shells' places in the folder.
const SHELLS: [&str; 5] =
    ["bin/bash-static", "bin/zsh-static", "bin/lksh", "usr/lib/klibc/bin/mksh", "usr/lib/x86_64-linux-musl/bin/mksh"];

/// All of them.
///
/// # Errors
/// They cannot be had.
pub fn prepare(cache: &Cache) -> Result<Vec<PathBuf>> {
    const PACKAGES: [&str; 3] = ["bash-static", "zsh-static", "mksh"];
    if !cache.tool("shells").exists() && !apt::available() {
        return Err(Error::new(
            "static shells for the tests come from Debian's packages, and this is no Debian-like system",
        ));
    }
    let directory = cache.set_up("shells", |directory| {
        say("setting up static shells (downloading 3 MB of Debian packages)");
        apt::unpack(cache, &PACKAGES, &[], directory)
    })?;
    Ok(SHELLS.iter().map(|shell| directory.join(shell)).collect())
}
