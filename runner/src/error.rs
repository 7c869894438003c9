//! What is told to the user when something cannot be done: one line, and the status that the runner ends with.

use std::fmt::{self, Display};
use std::io::{self, Write};

/// Baton itself failed.
pub const FAILED: u8 = 125;
/// The program is there but cannot be executed.
pub const NOT_EXECUTABLE: u8 = 126;
/// There is no such program.
pub const NOT_FOUND: u8 = 127;
/// The time given with `--timeout` is over.
pub const TIMED_OUT: u8 = 124;

/// A failure, complete with the message for the user.
#[derive(Debug)]
pub struct Error {
    /// The status that the runner ends with.
    pub status: u8,
    /// What happened and, if anything can be done, what to do.
    pub message: String,
}

/// What everything here returns.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A failure of Baton itself.
    pub fn new(message: impl Into<String>) -> Self {
        Self { status: FAILED, message: message.into() }
    }

    /// The same failure with another status.
    #[must_use]
    pub fn with_status(self, status: u8) -> Self {
        Self { status, ..self }
    }
}

impl Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// Says what was being done when a call of the host failed.
pub trait Context<T> {
    /// Turn the host's error into ours: `what: why`.
    ///
    /// # Errors
    /// The host's error, with `what` before it.
    fn context(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Display> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::new(format!("{}: {}", what(), plain(&error))))
    }
}

/// An error's text without the host's number for it, which says nothing more.
#[must_use]
pub fn plain(error: &impl Display) -> String {
    let text = error.to_string();
    match text.rsplit_once(" (os error ") {
        Some((plain, _)) => plain.to_owned(),
        None => text,
    }
}

/// Tell the user what is being done, on standard error.
pub fn say(message: &str) {
    // If there is nowhere to tell it, it is not told.
    let _ = writeln!(io::stderr(), "baton: {message}");
}

/// Write what was asked for, on standard output.
///
/// # Errors
/// It cannot be written.
pub fn tell(text: &str) -> Result<()> {
    io::stdout().write_all(text.as_bytes()).context(|| "cannot write to standard output".into())
}
