//! Running the runner to its end.

use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::Failed;

/// A run that is yet to begin.
#[derive(Debug)]
pub struct Exec {
    command: Command,
    input: Vec<u8>,
}

/// All that a run did.
#[derive(Debug)]
pub struct Run {
    /// The runner's status; 128 and the signal if it was killed.
    pub status: i32,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
    /// How long it took.
    pub duration: Duration,
}

/// What a run may take on a host however busy, for the runner's own time-out, in seconds: only what hangs takes longer.
const TIME_OUT: &str = "1200";

/// That comes first; this one only catches a runner that hangs.
const LIMIT: Duration = Duration::from_secs(3600);

impl Exec {
    pub(crate) fn new(runner: &Path, arguments: &[&str]) -> Self {
        Self::command(runner, &[&["exec"], arguments].concat())
    }

    /// Any command line of the runner's.
    #[must_use]
    pub fn command(runner: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(runner);
        // One among the arguments counts instead.
        command.args(["--timeout", TIME_OUT]).args(arguments);
        Self { command, input: Vec::new() }
    }

    /// What it reads from standard input.
    #[must_use]
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// Set a variable of the runner's environment.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Run it to the end.
    ///
    /// # Errors
    /// It cannot be started, or hangs.
    pub fn run(mut self) -> Result<Run, Failed> {
        let start = Instant::now();
        let mut child = self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (Some(mut stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            unreachable!("all three streams are pipes");
        };
        let input = self.input;
        // A program that does not read it all ends before we have written it all.
        let writer = thread::spawn(move || drop(stdin.write_all(&input)));
        let stdout = read(stdout);
        let stderr = read(stderr);
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if start.elapsed() > LIMIT {
                child.kill()?;
                child.wait()?;
                return Err(format!("the runner did not end within {:?}", LIMIT).into());
            }
            thread::sleep(Duration::from_millis(5));
        };
        drop(writer);
        let join = |thread: Reader| match thread.join() {
            Ok(bytes) => Ok::<_, Failed>(bytes?),
            Err(_) => Err("a reader failed".into()),
        };
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        Ok(Run { status: code, stdout: join(stdout)?, stderr: join(stderr)?, duration: start.elapsed() })
    }
}

type Reader = thread::JoinHandle<io::Result<Vec<u8>>>;

fn read(mut stream: impl Read + Send + 'static) -> Reader {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).map(|_| bytes)
    })
}

impl Run {
    /// Standard output as text.
    #[must_use]
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    #[must_use]
    pub fn errors(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Fail unless the status is this one; the failure shows both outputs.
    ///
    /// # Errors
    /// It is another.
    pub fn expect_status(&self, status: i32) -> Result<&Self, Failed> {
        if self.status == status {
            return Ok(self);
        }
        let (output, errors) = (self.output(), self.errors());
        Err(format!("status {} in place of {status}\noutput: {output}\nerrors: {errors}", self.status).into())
    }

    /// Fail unless the status is 0 and standard output is this text.
    ///
    /// # Errors
    /// It is not.
    pub fn expect_output(&self, text: &str) -> Result<&Self, Failed> {
        self.expect_status(0)?;
        if self.output() == text {
            return Ok(self);
        }
        Err(format!("output: {:?}\nin place of: {text:?}\nerrors: {}", self.output(), self.errors()).into())
    }
}
