//! Changes, tried.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::list::Mutant;

/// Seconds of what is tried together with others.
const SHORT: f64 = 0.5;
/// Of what failed with other changes in the same function, or else file, so many are tried alone and first.
const LIKELY: usize = 4;

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

/// A test: a function of a program.
#[derive(Debug)]
struct Test {
    program: PathBuf,
    name: String,
    /// Seconds of processor time without a change.
    taken: f64,
    /// The numbers of the changes that it gets to.
    reached: BTreeSet<usize>,
}

/// Run tests of a program. `seconds`: of processor time, so that a busy machine changes nothing.
fn run(program: &Path, names: &[&str], seconds: u64, quick: Option<f64>, mutant: usize) -> Output {
    let limits = format!("ulimit -t {seconds} && ulimit -c 0 && ulimit -v 8000000");
    // Without a change, say how long it took.
    let (before, after) = if mutant == 0 { ("", "; result=$?; times >&2; exit $result") } else { ("exec", "") };
    let script = format!("{limits} && {before} \"$0\" --exact --test-threads 1 --nocapture \"$@\"{after}");
    let mut command = Command::new("sh");
    command.args(["-c", &script]).arg(program).args(names).env("MUTANT", mutant.to_string()).stdin(Stdio::null());
    if quick.is_some() {
        command.env("SEEDS", "1");
    }
    command.stderr(if mutant == 0 { Stdio::piped() } else { Stdio::null() });
    command.output().expect("a test")
}

fn verdict(status: ExitStatus) -> Verdict {
    // SIGKILL or SIGXCPU.
    match status.signal() {
        Some(9 | 24) => Verdict::Stuck,
        _ if status.success() => Verdict::Missed,
        _ => Verdict::Caught,
    }
}

/// Names of a program's tests.
fn names(program: &Path) -> Vec<String> {
    let output = Command::new(program).args(["--list", "--format", "terse"]).output().expect("a test");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().filter_map(|line| line.strip_suffix(": test")).map(String::from).collect()
}

/// A test without a change; none if it is not among the quick ones that are wanted, or fails.
fn measure(program: &Path, name: &str, quick: Option<f64>) -> Option<Test> {
    let output = run(program, &[name], quick.map_or(3600, |seconds| 1 + seconds as u64), quick, 0);
    let errors = String::from_utf8_lossy(&output.stderr);
    let taken = processor_seconds(errors.lines().next_back()?)?;
    if quick.is_some_and(|seconds| taken > seconds) {
        return None;
    }
    if !output.status.success() {
        // Where a panic is what a test waits for: here it ends the whole test.
        eprintln!("left out, as it fails without a change: {name} of {}", program.display());
        return None;
    }
    let reached = errors.lines().filter_map(|line| line.strip_prefix("reached ")?.parse().ok()).collect();
    Some(Test { program: program.into(), name: name.into(), taken, reached })
}

/// Of a line of `times`: what the user's code and the system's took.
fn processor_seconds(line: &str) -> Option<f64> {
    let times = line.split_whitespace().map(|time| {
        let (minutes, seconds) = time.strip_suffix('s')?.split_once('m')?;
        Some(minutes.parse::<f64>().ok()? * 60.0 + seconds.parse::<f64>().ok()?)
    });
    times.sum()
}

/// Do something with each, several at a time.
pub fn each<T: Sync>(jobs: usize, list: &[T], action: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(item) = list.get(next.fetch_add(1, Ordering::Relaxed)) {
                    action(item);
                }
            });
        }
    });
}

/// All tests, the quickest first, and which of them caught what.
#[derive(Debug)]
pub struct Tests {
    list: Vec<Test>,
    quick: Option<f64>,
    /// By function and by file: those that failed, the last one last.
    caught: Mutex<BTreeMap<String, Vec<usize>>>,
}

impl Tests {
    /// Run the tests without a change; `quick`: those that take no more seconds, scenarios under one seed only.
    pub fn new(jobs: usize, programs: &[PathBuf], quick: Option<f64>) -> Self {
        let named =
            |program: &PathBuf| names(program).into_iter().map(|name| (program.clone(), name)).collect::<Vec<_>>();
        let named: Vec<_> = programs.iter().flat_map(named).collect();
        let list = Mutex::new(Vec::new());
        each(jobs, &named, |(program, name)| {
            let test = measure(program, name, quick);
            list.lock().expect("no test panics").extend(test);
        });
        let mut list = list.into_inner().expect("no test panics");
        list.sort_by(|one, other| one.taken.total_cmp(&other.taken));
        Self { list, quick, caught: Mutex::default() }
    }

    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// Those that failed with other changes nearby, the last one first.
    fn likely(&self, mutant: &Mutant, reaching: &[usize]) -> Vec<usize> {
        let caught = self.caught.lock().expect("nobody panics with it");
        let mut likely = Vec::new();
        for key in [&mutant.function, &mutant.file] {
            let known = caught.get(key).into_iter().flatten().rev();
            let fitting: Vec<_> = known.filter(|test| reaching.contains(test) && !likely.contains(*test)).collect();
            likely.extend(fitting.into_iter().take(LIKELY));
        }
        likely
    }

    fn remember(&self, mutant: &Mutant, test: usize) {
        let mut caught = self.caught.lock().expect("nobody panics with it");
        for key in [&mutant.function, &mutant.file] {
            let known = caught.entry(key.clone()).or_default();
            known.retain(|other| *other != test);
            known.push(test);
        }
    }

    /// Tests of one program, one after the other; which one it was that failed.
    fn run(&self, tests: &[usize], mutant: &Mutant) -> (Verdict, Option<usize>) {
        let names: Vec<_> = tests.iter().map(|test| self.list[*test].name.as_str()).collect();
        let taken: f64 = tests.iter().map(|test| self.list[*test].taken).sum();
        let output = run(&self.list[tests[0]].program, &names, 2 + 4 * taken.ceil() as u64, self.quick, mutant.number);
        // The harness says each test's name before it runs.
        let text = String::from_utf8_lossy(&output.stdout);
        let last = text.lines().filter_map(|line| line.strip_prefix("test ")?.split_once(" ... ")).next_back();
        let failed = last.and_then(|(name, _)| tests.iter().find(|test| self.list[**test].name == name));
        (verdict(output.status), failed.copied())
    }

    /// One change, in one test after the other that gets to it. Those that are likely to notice come first, then those that
    /// are quick.
    pub fn trial(&self, mutant: &Mutant) -> Verdict {
        let reaching: Vec<usize> =
            (0..self.list.len()).filter(|test| self.list[*test].reached.contains(&mutant.number)).collect();
        if reaching.is_empty() {
            return Verdict::Unreached;
        }
        let likely = self.likely(mutant, &reaching);
        let mut rounds: Vec<Vec<usize>> = likely.iter().map(|test| vec![*test]).collect();
        let rest = || reaching.iter().copied().filter(|test| !likely.contains(test));
        let (short, long): (Vec<_>, Vec<_>) = rest().partition(|test| self.list[*test].taken < SHORT);
        let mut together: BTreeMap<&Path, Vec<usize>> = BTreeMap::new();
        short.into_iter().for_each(|test| together.entry(&self.list[test].program).or_default().push(test));
        rounds.extend(together.into_values());
        rounds.extend(long.into_iter().map(|test| vec![test]));
        for round in rounds {
            let (verdict, failed) = self.run(&round, mutant);
            if verdict != Verdict::Missed {
                failed.into_iter().for_each(|test| self.remember(mutant, test));
                return verdict;
            }
        }
        Verdict::Missed
    }
}
