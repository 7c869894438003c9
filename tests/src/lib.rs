//! Driving the whole system from outside, as a user does: `cargo run -- exec` and the interactive shell.
//!
//! A scenario gets a [`Baton`]. [`Baton::exec`] runs a program in the guest and returns all that it did; [`Baton::terminal`]
//! gives a shell on a terminal of ours, whose keys are typed and whose screen is read. Every wait has a limit, and
//! what was seen until then is in the failure.

mod exec;
mod programs;
mod script;
mod terminal;

pub use exec::{Exec, Run};
pub use script::Script;
pub use terminal::{Key, Terminal};

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Why a scenario failed.
pub type Failed = libtest_mimic::Failed;

/// What a scenario returns.
pub type Outcome = Result<(), Failed>;

/// What a guest may take to start on a host however busy, or to do anything small: only what hangs takes longer.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// The system, ready to boot.
#[derive(Debug)]
pub struct Baton {
    runner: PathBuf,
    programs: PathBuf,
}

impl Baton {
    /// Set up and build all that booting needs, showing it.
    ///
    /// # Errors
    /// It cannot be set up or built.
    pub fn prepare() -> Result<Self, Failed> {
        let runner = build_runner()?;
        let status = Command::new(&runner).arg("build").stdout(std::process::Stdio::null()).status()?;
        if !status.success() {
            return Err("the system cannot be set up or built".into());
        }
        Ok(Self::with_runner(runner))
    }

    /// The runner alone: for scenarios in which nothing boots.
    ///
    /// # Errors
    /// It cannot be built.
    pub fn unprepared() -> Result<Self, Failed> {
        Ok(Self::with_runner(build_runner()?))
    }

    fn with_runner(runner: PathBuf) -> Self {
        let programs = runner.with_file_name("test-programs");
        Self { runner, programs }
    }

    /// The runner's program.
    #[must_use]
    pub fn runner(&self) -> &Path {
        &self.runner
    }

    /// Run a program, as `cargo run -q -- exec ARGUMENTS…` does.
    #[must_use]
    pub fn exec(&self, arguments: &[&str]) -> Exec {
        Exec::new(&self.runner, arguments)
    }

    /// Run a shell script in the guest.
    #[must_use]
    pub fn sh(&self, script: &str) -> Exec {
        self.exec(&["sh", "-c", script])
    }

    /// Commands for a shell in the guest, each with what it must print.
    #[must_use]
    pub fn script(&self) -> Script {
        Script::new(&self.runner)
    }

    /// Boot to a shell on a terminal of 24 rows and 80 columns.
    ///
    /// # Errors
    /// No terminal can be had.
    pub fn terminal(&self, arguments: &[&str]) -> Result<Terminal, Failed> {
        Terminal::new(&self.runner, arguments)
    }

    /// A static program from this C source, built with musl. Sources may include `check.h` of `tests/programs`.
    ///
    /// # Errors
    /// It cannot be compiled.
    pub fn c_with_musl(&self, name: &str, source: &str) -> Result<PathBuf, Failed> {
        programs::c_with_musl(&self.programs, name, source)
    }

    /// A static program from this C source, built with glibc.
    ///
    /// # Errors
    /// It cannot be compiled.
    pub fn c_with_glibc(&self, name: &str, source: &str) -> Result<PathBuf, Failed> {
        programs::c_with_glibc(&self.programs, name, source)
    }

    /// A static program from this Rust source, with `std`.
    ///
    /// # Errors
    /// It cannot be compiled.
    pub fn rust(&self, name: &str, source: &str) -> Result<PathBuf, Failed> {
        programs::rust(&self.programs, name, source)
    }
}

/// Cargo builds the programs of a package only for the tests of that package, so we ask for the runner ourselves.
fn build_runner() -> Result<PathBuf, Failed> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(runner::guest::workspace()).args(["build", "--quiet", "--package", "runner"]);
    if !command.status()?.success() {
        return Err("the runner cannot be built".into());
    }
    // target/debug/deps/system-… is this test.
    let test = std::env::current_exe()?;
    let folder = test.parent().and_then(Path::parent).ok_or("where is the target folder?")?;
    let runner = folder.join("baton");
    if runner.exists() { Ok(runner) } else { Err(format!("{} is not there", runner.display()).into()) }
}

/// Fail with a message unless this holds.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!("{} does not hold: {}", stringify!($condition), format!($($message)+)).into());
        }
    };
}

/// Fail with both values unless they are equal.
#[macro_export]
macro_rules! ensure_equal {
    ($left:expr, $right:expr, $($message:tt)+) => {
        match (&$left, &$right) {
            (left, right) => {
                if *left != *right {
                    return Err(format!("{left:?} is not {right:?}: {}", format!($($message)+)).into());
                }
            }
        }
    };
}
