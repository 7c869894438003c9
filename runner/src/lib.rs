//! `cargo run`: sets up what is missing on the host, builds the system, writes its boot image and runs it in QEMU.
//!
//! [`prepare`] makes everything ready; [`shell`] and [`exec`] are what a user can do with it. The system's tests boot it
//! by the same code.

pub mod archive;
pub mod attack;
pub mod baseline;
pub mod bench;
pub mod capture;
pub mod control;
pub mod error;
pub mod events;
pub mod exec;
pub mod guest;
pub mod image;
pub mod longest;
pub mod module;
pub mod options;
pub mod process;
pub mod program;
pub mod qemu;
pub mod setup;
pub mod share;
pub mod shell;
pub mod simulate;
pub mod terminal;
pub mod trace;

use std::path::Path;

use crate::error::{Error, Result};
use crate::setup::{Cache, busybox, rust};

/// All that is needed to boot.
#[derive(Debug)]
pub struct Ready {
    /// The emulator.
    pub qemu: setup::qemu::Qemu,
    /// The shell and tools of the guest.
    pub busybox: busybox::Busybox,
    /// The kernel and its programs.
    pub guest: guest::Guest,
    /// What compiled them.
    pub rust: rust::Rust,
}

/// Set up what is missing and build the system.
///
/// # Errors
/// Something is missing that cannot be set up (all of that is in one message), or the system cannot be built.
pub fn prepare(own_busybox: Option<&Path>) -> Result<Ready> {
    let cache = Cache::open()?;
    let tools = (setup::qemu::prepare(&cache), busybox::prepare(&cache, own_busybox), rust::prepare(&cache));
    // Cargo has its own locks; others need not wait for the build.
    drop(cache);
    match tools {
        (Ok(qemu), Ok(busybox), Ok(rust)) => Ok(Ready { qemu, busybox, guest: guest::build(&rust)?, rust }),
        (qemu, busybox, rust) => {
            let missing = [qemu.err(), busybox.err(), rust.err()];
            let mut messages: Vec<String> = missing.into_iter().flatten().map(|error| error.message).collect();
            if !setup::apt::available() {
                messages
                    .push("set-up does this by itself only on Debian-like systems (apt-get and dpkg, amd64)".into());
            }
            Err(Error::new(messages.join("\n  ")))
        }
    }
}
