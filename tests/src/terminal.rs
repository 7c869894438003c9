//! A terminal of ours around the runner: keys are typed, the screen is read.
//!
//! A busy host makes all of it slow, and no pause is long enough: every key waits for something to be seen. So a program that is to
//! get keys says `up` first ([`Terminal::start`]).

use std::io::{Read, Write};
use std::path::Path;
use std::process::Child;
use std::sync::atomic::{AtomicUsize, Ordering};
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
const PROMPT: &str = "# ";

/// What a command says when keys are its own from now on.
const UP: &str = "\nup\n";

/// The sequence that asks a terminal where its cursor is.
const ASK_CURSOR: &str = "\x1b[6n";

/// A runner on a terminal of ours.
pub struct Terminal {
    pty: Arc<Pty>,
    child: Child,
    seen: Arc<Mutex<Seen>>,
    /// How many bytes had come when a line was typed last.
    before: AtomicUsize,
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
                if chunk[..length].windows(ASK_CURSOR.len()).any(|window| window == ASK_CURSOR.as_bytes()) {
                    let (row, column) = seen.screen.screen().cursor_position();
                    // Who asked may be gone.
                    let _ = write!(&*input, "\x1b[{};{}R", row + 1, column + 1);
                }
            }
        });
        Ok(Self { pty, child, seen, before: AtomicUsize::new(0) })
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
        self.before.store(self.bytes().len(), Ordering::Relaxed);
        self.type_text(text)?;
        self.press(Key::Enter)
    }

    /// What came since a line was typed last.
    fn since_line(&self) -> String {
        let text = self.bytes().split_off(self.before.load(Ordering::Relaxed));
        String::from_utf8_lossy(&text).replace('\r', "").replace(ASK_CURSOR, "")
    }

    /// The same, without the line itself.
    #[must_use]
    pub fn answer(&self) -> String {
        self.since_line().split_once('\n').map_or(String::new(), |(_, rest)| format!("\n{rest}"))
    }

    /// Type a command, wait until the shell wants another, and return what was printed between.
    ///
    /// # Errors
    /// The command takes too long.
    pub fn run(&self, command: &str) -> Result<String, Failed> {
        self.line(command)?;
        self.wait(&format!("the end of '{command}'"), || self.answer().ends_with(PROMPT))?;
        let answer = self.answer();
        let output = answer.strip_prefix('\n').and_then(|rest| rest.rsplit_once('\n'));
        Ok(output.map_or(String::new(), |(output, _)| format!("{output}\n")))
    }

    /// Type a command that says `up`, on a line of its own, when it can be sent signals by keys or reads them; and wait until it does.
    ///
    /// # Errors
    /// It does not.
    pub fn start(&self, command: &str) -> Result<(), Failed> {
        self.line(command)?;
        self.wait(&format!("'{command}' to say that it is up"), || self.answer().contains(UP))
    }

    /// Wait until the shell wants a command (another one, if one was typed).
    ///
    /// # Errors
    /// It does not.
    pub fn wait_for_prompt(&self) -> Result<(), Failed> {
        self.wait("the prompt", || self.since_line().ends_with(PROMPT))
    }

    /// Wait until the screen shows this.
    ///
    /// # Errors
    /// It does not.
    pub fn wait_for(&self, text: &str) -> Result<(), Failed> {
        self.wait(&format!("'{text}'"), || self.screen().contains(text))
    }

    /// Wait until this has come since a line was typed last.
    ///
    /// # Errors
    /// It does not.
    pub fn wait_for_answer(&self, text: &str) -> Result<(), Failed> {
        self.wait(&format!("'{text}'"), || self.answer().contains(text))
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
