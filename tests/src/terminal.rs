//! A terminal of ours around the runner: keys are typed, the screen is read.

use std::io::{Read, Write};
use std::path::Path;
use std::process::Child;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use pty_process::Size;
use pty_process::blocking::{Command, Pty};

use crate::{Failed, PATIENCE};

/// A key that is not a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Enter.
    Enter,
    /// Escape.
    Escape,
    /// Tabulator.
    Tab,
    /// Erase the character before.
    Backspace,
    /// Arrow.
    Up,
    /// Arrow.
    Down,
    /// Arrow.
    Left,
    /// Arrow.
    Right,
    /// A letter or sign with the control key.
    Control(char),
}

impl Key {
    fn bytes(self) -> Vec<u8> {
        match self {
            Self::Enter => b"\r".to_vec(),
            Self::Escape => b"\x1b".to_vec(),
            Self::Tab => b"\t".to_vec(),
            Self::Backspace => b"\x7f".to_vec(),
            Self::Up => b"\x1b[A".to_vec(),
            Self::Down => b"\x1b[B".to_vec(),
            Self::Right => b"\x1b[C".to_vec(),
            Self::Left => b"\x1b[D".to_vec(),
            Self::Control(sign) => vec![sign.to_ascii_uppercase() as u8 & 0x1f],
        }
    }
}

/// What the shell prints when it wants a command.
pub const PROMPT: &str = "# ";

/// The sequence that asks a terminal where its cursor is.
const ASK_CURSOR: &[u8] = b"\x1b[6n";

/// A runner on a terminal of ours.
pub struct Terminal {
    pty: Arc<Pty>,
    child: Child,
    seen: Arc<Mutex<Seen>>,
}

/// What came from the runner.
struct Seen {
    screen: vt100::Parser,
    bytes: Vec<u8>,
}

const ROWS: u16 = 24;
const COLUMNS: u16 = 80;
const SCROLLBACK: usize = 1000;

impl Terminal {
    pub(crate) fn new(runner: &Path, arguments: &[&str]) -> Result<Self, Failed> {
        let (pty, terminal) = pty_process::blocking::open()?;
        pty.resize(Size::new(ROWS, COLUMNS))?;
        let child = Command::new(runner).args(arguments).env("TERM", "xterm").spawn(terminal)?;
        let pty = Arc::new(pty);
        let screen = vt100::Parser::new(ROWS, COLUMNS, SCROLLBACK);
        let seen = Arc::new(Mutex::new(Seen { screen, bytes: Vec::new() }));
        let (input, shown) = (Arc::clone(&pty), Arc::clone(&seen));
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            // A terminal whose last user is gone fails to be read.
            while let Ok(length @ 1..) = (&*input).read(&mut chunk) {
                let mut seen = shown.lock().unwrap_or_else(PoisonError::into_inner);
                seen.screen.process(&chunk[..length]);
                seen.bytes.extend_from_slice(&chunk[..length]);
                // As a terminal does. (A question that is cut in two is not answered: the shell does not insist.)
                if chunk[..length].windows(ASK_CURSOR.len()).any(|window| window == ASK_CURSOR) {
                    let (row, column) = seen.screen.screen().cursor_position();
                    // Who asked may be gone.
                    let _ = write!(&*input, "\x1b[{};{}R", row + 1, column + 1);
                }
            }
        });
        Ok(Self { pty, child, seen })
    }

    /// Type a text.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn type_text(&self, text: &str) -> Result<(), Failed> {
        Ok((&*self.pty).write_all(text.as_bytes())?)
    }

    /// Press a key.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn press(&self, key: Key) -> Result<(), Failed> {
        Ok((&*self.pty).write_all(&key.bytes())?)
    }

    /// Type a line.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn line(&self, text: &str) -> Result<(), Failed> {
        self.type_text(text)?;
        self.press(Key::Enter)
    }

    /// Type a command, wait until the shell wants another, and return what was printed between.
    ///
    /// # Errors
    /// The command takes too long.
    pub fn run(&self, command: &str) -> Result<String, Failed> {
        let before = self.bytes().len();
        self.line(command)?;
        let text = || String::from_utf8_lossy(&self.bytes()[before..]).replace('\r', "").replace("\x1b[6n", "");
        self.wait(&format!("the end of '{command}'"), || {
            text().split_once('\n').is_some_and(|(_, rest)| rest.ends_with(PROMPT))
        })?;
        let text = text();
        let (_, rest) = text.split_once('\n').unwrap_or_default();
        Ok(rest.rsplit_once('\n').map_or(String::new(), |(output, _)| format!("{output}\n")))
    }

    /// Give the guest a moment to begin what was typed: there is nothing to be seen of a program that only waits.
    pub fn pause(&self) {
        thread::sleep(Duration::from_millis(500));
    }

    /// Wait for the shell's first prompt.
    ///
    /// # Errors
    /// It does not come.
    pub fn wait_for_prompt(&self) -> Result<(), Failed> {
        self.wait("the prompt", || self.screen().trim_end().ends_with(PROMPT.trim_end()))
    }

    /// Wait until the screen shows this.
    ///
    /// # Errors
    /// It does not.
    pub fn wait_for(&self, text: &str) -> Result<(), Failed> {
        self.wait(&format!("'{text}'"), || self.screen().contains(text))
    }

    /// Wait until something holds.
    ///
    /// # Errors
    /// It takes longer than [`PATIENCE`]; the failure shows the screen.
    pub fn wait(&self, what: &str, holds: impl Fn() -> bool) -> Result<(), Failed> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if holds() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Err(format!("waited in vain for {what}; the screen:\n{}", self.screen()).into())
    }

    /// What the screen shows.
    #[must_use]
    pub fn screen(&self) -> String {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).screen.screen().contents()
    }

    /// Row and column of the cursor, from 0.
    #[must_use]
    pub fn cursor(&self) -> (u16, u16) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).screen.screen().cursor_position()
    }

    /// All bytes that came so far.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).bytes.clone()
    }

    /// Give the terminal another size.
    ///
    /// # Errors
    /// It is gone.
    pub fn resize(&self, rows: u16, columns: u16) -> Result<(), Failed> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).screen.screen_mut().set_size(rows, columns);
        Ok(self.pty.resize(Size::new(rows, columns))?)
    }

    /// Whether the terminal is as programs expect it, with echo, and not raw.
    ///
    /// # Errors
    /// It is gone.
    pub fn is_restored(&self) -> Result<bool, Failed> {
        use rustix::termios::{LocalModes, tcgetattr};
        let modes = tcgetattr(&*self.pty)?.local_modes;
        Ok(modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG))
    }

    /// Send a signal to the runner.
    ///
    /// # Errors
    /// It is gone.
    pub fn signal(&self, signal: rustix::process::Signal) -> Result<(), Failed> {
        Ok(rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal)?)
    }

    /// The runner's process id.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Wait for the runner to end, and return its status.
    ///
    /// # Errors
    /// It does not end.
    pub fn end(&mut self) -> Result<i32, Failed> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                use std::os::unix::process::ExitStatusExt;
                return Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)));
            }
            if start.elapsed() > PATIENCE {
                return Err(format!("the runner does not end; the screen:\n{}", self.screen()).into());
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
