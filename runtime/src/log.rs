//! Saying something in the system log: `log!("{count} blocks")`, `log!(Warning, "…")`.
//!
//! A line is made on the stack and sent to the connection named `log`; without one, or when the log does not take it,
//! it is lost. Programs that must not wait for the log for long (those that start it or give it memory) have the number
//! `log-wait-ns` in their start record: what they say is lost when the log is busy for longer.

use core::fmt::{Result, Write};

use abi::Handle;
use abi::call::flags::{DEADLINE_REPLY, DEADLINE_SEND};

use crate::exchange::{Buffers, Message, Options, call};
use crate::{clock, start};

/// Label of the log's `append` message: `protocol::log` and this file agree by a test there.
pub const APPEND: u64 = 0x201;
/// The emulator's debug port: what is written there outlives a system that hangs. Other machines ignore it.
pub const DEBUG_PORT: u64 = 0xe9;
/// Longest line, in bytes.
pub const LINE: usize = 240;

/// How urgent a line is, as syslog has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Level {
    /// The system cannot go on.
    Emergency = 0,
    /// Something failed that should not.
    Error = 3,
    /// Something is odd.
    Warning = 4,
    /// Worth knowing.
    Notice = 5,
    /// What happens ordinarily.
    Information = 6,
    /// For those who look for a defect.
    Debug = 7,
}

/// A line in the making.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    bytes: [u8; LINE],
    length: usize,
}

impl Line {
    /// A line that begins with the program's name.
    #[must_use]
    pub fn new() -> Self {
        let mut line = Self { bytes: [0; LINE], length: 0 };
        // The name fits.
        let _ = write!(line, "{}: ", start::name());
        line
    }

    /// What it says so far.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Send it.
    pub fn append(&self, level: Level) {
        let connection = start::handle("log");
        if connection == Handle::NONE {
            return;
        }
        let message = Message::new(APPEND, [level as u64, 0, 0, 0]);
        let options = match start::number("log-wait-ns") {
            0 => Options::NONE,
            wait => Options { flags: DEADLINE_SEND | DEADLINE_REPLY, deadline: clock::monotonic_ns() + wait },
        };
        // A log that is gone loses lines; there is nowhere to say so.
        let _ = call(connection, message, &mut Buffers::new().send(self.text()), options);
    }
}

impl Default for Line {
    fn default() -> Self {
        Self::new()
    }
}

impl Write for Line {
    /// Add text; what does not fit is cut off, newlines become spaces.
    fn write_str(&mut self, text: &str) -> Result {
        let room = &mut self.bytes[self.length..];
        for (place, byte) in room.iter_mut().zip(text.bytes()) {
            *place = if byte == b'\n' { b' ' } else { byte };
        }
        self.length += text.len().min(room.len());
        Ok(())
    }
}

/// Say a line in the system log, formatted as `format!` would: `log!("…")`, or `log!(Error, "…")` with a [`Level`].
#[macro_export]
macro_rules! log {
    ($level:ident, $($argument:tt)+) => {{
        let mut line = $crate::log::Line::new();
        let _ = core::fmt::Write::write_fmt(&mut line, core::format_args!($($argument)+));
        line.append($crate::log::Level::$level);
    }};
    ($($argument:tt)+) => { $crate::log!(Information, $($argument)+) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_cut_off() {
        let mut line = Line { bytes: [0; LINE], length: 0 };
        for _ in 0..LINE {
            writeln!(line, "a").unwrap_or_default();
        }
        assert_eq!((line.text().len(), &line.text()[..4]), (LINE, &b"a a "[..]));
    }
}
