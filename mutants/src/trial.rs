//! One change, tried.

use std::collections::BTreeSet;
use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A test failed.
    Caught,
    /// A test took several times as long as it should.
    Stuck,
    /// No test noticed.
    Missed,
    /// No test gets there.
    Unreached,
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Caught => "caught",
            Self::Stuck => "stuck",
            Self::Missed => "missed",
            Self::Unreached => "unreached",
        })
    }
}

/// A test, and for how long it may run: the kernel without a change passes in half of it.
#[derive(Clone, Debug)]
pub struct Test {
    binary: PathBuf,
    seconds: u64,
}

/// A run of a test; `seconds`: of processor time, so that a busy machine changes nothing.
fn command(binary: &PathBuf, seconds: u64, mutant: usize) -> Command {
    let script =
        format!("ulimit -t {seconds} && ulimit -c 0 && ulimit -v 8000000 && exec \"$0\" --test-threads 1 --nocapture");
    let mut command = Command::new("sh");
    command.args(["-c", &script]).arg(binary).env("MUTANT", mutant.to_string()).stdin(Stdio::null());
    command
}

fn verdict(status: ExitStatus) -> Verdict {
    // SIGKILL or SIGXCPU.
    match status.signal() {
        Some(9 | 24) => Verdict::Stuck,
        _ if status.success() => Verdict::Missed,
        _ => Verdict::Caught,
    }
}

/// Run the tests without a change. Gives them, the quickest first, and the numbers of the changes that they get to.
pub fn prepare(binaries: Vec<PathBuf>) -> (Vec<Test>, BTreeSet<usize>) {
    let mut reached = BTreeSet::new();
    let tests = binaries.into_iter().map(|binary| {
        let mut seconds = 4;
        let (start, output) = loop {
            let start = Instant::now();
            let output = command(&binary, seconds, 0).output().expect("a test");
            if verdict(output.status) != Verdict::Stuck {
                break (start, output);
            }
            seconds *= 2;
        };
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{} fails as it is: {errors}", binary.display());
        reached.extend(errors.lines().filter_map(|line| line.strip_prefix("reached ")?.parse::<usize>().ok()));
        (start.elapsed(), Test { binary, seconds: 2 * seconds })
    });
    let mut tests: Vec<_> = tests.collect();
    tests.sort_by_key(|(taken, _)| *taken);
    (tests.into_iter().map(|(_, test)| test).collect(), reached)
}

/// One change, in one test after the other.
pub fn run(tests: &[Test], mutant: usize) -> Verdict {
    let verdicts = tests.iter().map(|test| {
        let mut command = command(&test.binary, test.seconds, mutant);
        verdict(command.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("a test"))
    });
    verdicts.into_iter().find(|verdict| *verdict != Verdict::Missed).unwrap_or(Verdict::Missed)
}
