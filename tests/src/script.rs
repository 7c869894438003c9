//! Many commands in one boot, each with the output that it must have: a boot costs seconds, a command nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{Exec, Outcome};

/// Before a command's output, on a line of its own with its number; and behind it, with its status.
const BEGIN: &str = "@@begin";
const END: &str = "@@end";

/// What a command must print.
#[derive(Debug)]
enum Wanted {
    /// Exactly this, with status 0.
    Output(String),
    /// This somewhere.
    Text(String),
    /// Anything, with this status.
    Status(u32),
    /// No line that begins so, and status 0.
    Without(String),
}

/// Commands for a shell in the guest.
#[derive(Debug)]
pub struct Script {
    runner: PathBuf,
    copies: Vec<(PathBuf, String)>,
    memory_mib: u32,
    checks: Vec<(String, Wanted)>,
}

impl Script {
    pub(crate) fn new(runner: &Path) -> Self {
        Self { runner: runner.to_owned(), copies: Vec::new(), memory_mib: 512, checks: Vec::new() }
    }

    /// Copy a file or directory in.
    #[must_use]
    pub fn copy(mut self, host: &Path, guest: &str) -> Self {
        self.copies.push((host.to_owned(), guest.into()));
        self
    }

    /// Memory of the machine.
    #[must_use]
    pub fn memory_mib(mut self, mib: u32) -> Self {
        self.memory_mib = mib;
        self
    }

    /// A command that must print this, on standard output or error, and succeed.
    #[must_use]
    pub fn prints(self, command: &str, output: &str) -> Self {
        self.add(command, Wanted::Output(output.into()))
    }

    /// A command whose output must contain this.
    #[must_use]
    pub fn mentions(self, command: &str, text: &str) -> Self {
        self.add(command, Wanted::Text(text.into()))
    }

    /// A command that must end with this status.
    #[must_use]
    pub fn ends(self, command: &str, status: u32) -> Self {
        self.add(command, Wanted::Status(status))
    }

    /// A command that must succeed, without a line that begins so.
    #[must_use]
    pub fn lacks(self, command: &str, text: &str) -> Self {
        self.add(command, Wanted::Without(text.into()))
    }

    fn add(mut self, command: &str, wanted: Wanted) -> Self {
        self.checks.push((command.into(), wanted));
        self
    }

    /// Boot, run all commands in one shell, and fail with all that was wrong.
    ///
    /// # Errors
    /// A command did not do what it must, or the system ended before.
    pub fn run(self) -> Outcome {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let file = std::env::temp_dir().join(format!("baton-test-{}-{number}.sh", std::process::id()));
        fs::write(&file, self.text())?;
        let mut arguments = vec!["--memory".into(), self.memory_mib.to_string()];
        for (host, guest) in self.copies.iter().map(|(host, guest)| (host.as_path(), guest.as_str())) {
            arguments.extend(["--copy".into(), format!("{}:{guest}", host.display())]);
        }
        arguments.extend(["--copy".into(), format!("{}:/tmp/script", file.display())]);
        arguments.extend(["sh".into(), "/tmp/script".into()]);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let run = Exec::new(&self.runner, &arguments).run();
        fs::remove_file(&file)?;
        let run = run?;
        let (output, errors) = (run.output(), run.errors());
        let mut wrong = String::new();
        for (number, (command, wanted)) in self.checks.iter().enumerate() {
            match section(&output, number) {
                None => {
                    wrong += &format!("\n$ {command}\n  did not end; from there on:\n{}", tail(&output, number));
                    break;
                }
                Some((text, status)) => {
                    if let Some(why) = mismatch(wanted, text, status) {
                        wrong += &format!("\n$ {command}\n{why}\n");
                    }
                }
            }
        }
        if wrong.is_empty() && run.status == 0 {
            return Ok(());
        }
        Err(format!("status {}{wrong}\nstandard error: {errors}", run.status).into())
    }

    fn text(&self) -> String {
        let checks = self.checks.iter().enumerate();
        let parts = checks.map(|(number, (command, _))| {
            format!("echo; echo '{BEGIN} {number}'\n{{ {command}\n}} 2>&1\necho \"{END} {number} $?\"\n")
        });
        parts.collect::<String>() + "exit 0\n"
    }
}

/// The output of a command and its status.
fn section(output: &str, number: usize) -> Option<(&str, u32)> {
    let (_, rest) = output.split_once(&format!("\n{BEGIN} {number}\n"))?;
    let (text, rest) = rest.split_once(&format!("{END} {number} "))?;
    Some((text, rest.lines().next()?.parse().ok()?))
}

fn tail(output: &str, number: usize) -> &str {
    output.split_once(&format!("\n{BEGIN} {number}\n")).map_or("", |(_, rest)| rest)
}

fn mismatch(wanted: &Wanted, text: &str, status: u32) -> Option<String> {
    let failure = |what: String| Some(format!("  {what}, but prints (status {status}):\n{text}"));
    match wanted {
        Wanted::Output(output) if text != output || status != 0 => failure(format!("must print {output:?}")),
        Wanted::Text(part) if !text.contains(part.as_str()) => failure(format!("must mention {part:?}")),
        Wanted::Status(code) if status != *code => failure(format!("must end with {code}")),
        Wanted::Without(part) if status != 0 || text.lines().any(|line| line.starts_with(part.as_str())) => {
            failure(format!("must have no line {part:?}, and succeed"))
        }
        _ => None,
    }
}
