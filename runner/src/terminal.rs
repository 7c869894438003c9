//! The user's terminal: raw while the guest has it, as it was afterwards, however we end.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use crate::error::{Context, Result};

/// How the terminal was, while it is raw.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// While this exists, the terminal on standard input is raw: every key goes to the guest.
#[derive(Debug)]
pub struct Raw(());

impl Raw {
    /// Make the terminal raw, if standard input is one.
    ///
    /// # Errors
    /// It is one, and does not let us.
    pub fn new() -> Result<Option<Self>> {
        if !io::stdin().is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(io::stdin()).context(|| "cannot ask the terminal for its modes".into())?;
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        // A failed assertion aborts without unwinding: the terminal must be fit to show it.
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            report(panic);
        }));
        let raw = Self(());
        raw.again()?;
        Ok(Some(raw))
    }

    /// Make it raw again, after a shell had it while we were stopped.
    ///
    /// # Errors
    /// It does not let us.
    pub fn again(&self) -> Result<()> {
        let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut modes) = before.clone() else {
            return Ok(());
        };
        modes.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &modes).context(|| "cannot set the terminal's modes".into())
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    if let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // If the terminal is gone there is nothing to restore.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
    }
}

/// Undo what a full-screen program that was cut off may have done: other screen, hidden cursor, colours, scroll region.
pub fn reset_screen() {
    if io::stdout().is_terminal() {
        // As above.
        let _ = io::stdout().write_all(b"\x1b[?1049l\x1b[?25h\x1b[?2004l\x1b[0m\x1b[r\x1b[9999;1H\r\n");
    }
}

/// Rows and columns of the terminal, if there is one that knows.
#[must_use]
pub fn size() -> Option<(u32, u32)> {
    let size = tcgetwinsize(io::stdout()).or_else(|_| tcgetwinsize(io::stdin())).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then(|| (size.ws_row.into(), size.ws_col.into()))
}
