//! The command line.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use abi::trace::{CALLED, CLASSES, class_of};
use lexopt::Arg::{Long, Short, Value};

use crate::bench::Form;
use crate::error::{Context, Error, Result};
use crate::qemu::Machine;

/// What `--help` prints.
pub const HELP: &str = "\
Baton: an operating system on a small message-passing kernel, run in QEMU.

usage: cargo run -- [OPTION]... [COMMAND]

Without a command, Baton boots to a shell on this terminal.

commands:
  exec [--copy HOST:GUEST]... [--env K=V]... PROGRAM [ARG...]
                     run a static x86_64 Linux program: a file of this host if PROGRAM
                     has a '/', a program of Baton's, such as sh, if not; with our standard
                     input, output and error, and its status
  trace [--classes NAME,...] [--format text|json] [--output FILE] PROGRAM [ARG...]
                     run a program as exec does (with its options), and write down what the
                     kernel saw meanwhile: to FILE or standard error; as text, or for a viewer
                     of Chrome's trace format. Classes: message, pulse, schedule, interrupt,
                     fault, object, life, mark (all but object)
  bench [--json]     measure what Baton promises to be fast, in guest instructions
  bench --figures    print them as tests/scenarios/figures.txt has them, to be committed
  bench --listing ROW
                     say where the instructions of one of its native rows go, one by one
  simulate [--seed N] [--steps N] [--runs N]
                     run the kernel on an imaginary processor, with random programs, and
                     beside the model of what it must do; the seed decides all that happens.
                     On all processors, as many runs as wanted, or until --timeout
  attack [--seed N] [--exchanges N] [--simulated [--threads N]]
                     boot, and fire so many random exchanges at the kernel (1000000) while
                     ordinary programs check whether they notice anything; simulated: at the
                     kernel on an imaginary processor, on all processors or so many threads
  longest [FILTER]   run the whole-system scenarios (those with FILTER in their name), and say
                     for how many instructions the kernel kept interrupts waiting at most
  build              make everything ready to boot, and say where it is

options, before or after the command:
  --arch ARCH        the processor: x86_64
  --cpus N           how many processors: 1
  --memory MIB       memory of the machine (512; 2G means 2048)
  --timeout SECONDS  end after this time (exec: 60; 0: never)
  --cpu MODEL        the processor's model as QEMU has it, features and all (max)
  --kvm              use this host's processor by KVM, not emulation
  --log FILE         write the system log to this file as it grows
  --busybox FILE     a static BusyBox to use in place of Debian's
  -h, --help         print this

options of exec:
  --copy HOST:GUEST  put a file or directory into Baton's file system
  --env K=V          set a variable for the program

BATON_CACHE names the folder for what set-up downloads (~/.cache/baton).
";

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Boot to a shell on the terminal.
    Shell,
    /// Run one program.
    Exec(Exec),
    /// Run one program, traced.
    Trace(Trace),
    /// Measure.
    Bench {
        /// How to print it.
        form: Form,
    },
    /// Say where the instructions of a row go.
    List {
        /// Its name.
        row: String,
    },
    /// Simulate the kernel.
    Simulate(Simulate),
    /// Attack the kernel.
    Attack(Attack),
    /// Find the longest stretch without interrupts in the scenarios.
    Longest {
        /// What is in the names of those to run.
        filter: String,
    },
    /// Make everything ready.
    Build,
    /// Print [`HELP`].
    Help,
}

/// A program to run, and what it is given.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Exec {
    /// A path of the host if it has a slash, else a name in the guest.
    pub program: OsString,
    /// Its arguments, without the program's name.
    pub arguments: Vec<OsString>,
    /// Files and directories to copy, host path and guest path.
    pub copies: Vec<(PathBuf, OsString)>,
    /// Variables, `K=V`.
    pub environment: Vec<OsString>,
}

/// A program to run, and what to trace meanwhile.
#[derive(Debug, PartialEq, Eq)]
pub struct Trace {
    /// The program.
    pub exec: Exec,
    /// [Classes](abi::trace::CLASSES) of events.
    pub classes: u64,
    /// For a viewer, not as text.
    pub json: bool,
    /// Where it is written; `None`: standard error.
    pub output: Option<PathBuf>,
}

/// What to simulate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Simulate {
    /// The first seed; `None`: any.
    pub seed: Option<u64>,
    /// How long each run is: steps of programs.
    pub steps: u64,
    /// How many runs; each has the next seed. `None`: one, or as many as there is time for.
    pub runs: Option<u64>,
}

/// What to fire at the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attack {
    /// What decides every exchange.
    pub seed: u64,
    /// How many exchanges.
    pub exchanges: u64,
    /// Fire them on the simulator.
    pub simulated: bool,
    /// On how many threads, there; `None`: one a processor.
    pub threads: Option<u64>,
}

impl Default for Attack {
    fn default() -> Self {
        Self { seed: 1, exchanges: 1_000_000, simulated: false, threads: None }
    }
}

impl Default for Simulate {
    fn default() -> Self {
        Self { seed: None, steps: 1_000_000, runs: None }
    }
}

/// The machine, and where to find things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// RAM in MiB.
    pub memory_mib: u64,
    /// When to give up; `None` if the command's default holds, zero for never.
    pub timeout: Option<Duration>,
    /// Use KVM.
    pub kvm: bool,
    /// QEMU's name of the processor, if not the default one.
    pub processor: Option<String>,
    /// A BusyBox of the user's.
    pub busybox: Option<PathBuf>,
    /// Where the system log is written to.
    pub log: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self { memory_mib: 512, timeout: None, kvm: false, processor: None, busybox: None, log: None }
    }
}

/// Read a command line (without the runner's own name).
///
/// # Errors
/// It cannot be understood, or asks for what does not exist.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<(Options, Action)> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let mut options = Options::default();
    let mut action = Action::Shell;
    let usage = |error: lexopt::Error| Error::new(format!("{error} (cargo run -- --help tells more)"));
    while let Some(argument) = parser.next().map_err(usage)? {
        match argument {
            Short('h') | Long("help") => return Ok((options, Action::Help)),
            Long("arch") => {
                let arch = parser.value().map_err(usage)?;
                if arch != "x86_64" {
                    return Err(Error::new(format!("--arch {}: only x86_64 is supported", arch.display())));
                }
            }
            Long("cpus") => {
                let cpus = number(&parser.value().map_err(usage)?, "--cpus")?;
                if cpus != 1 {
                    return Err(Error::new(format!("--cpus {cpus}: Baton runs on one processor for now")));
                }
            }
            Long("memory") => options.memory_mib = memory(&parser.value().map_err(usage)?)?,
            Long("timeout") => {
                options.timeout = Some(seconds(&parser.value().map_err(usage)?)?);
            }
            Long("kvm") => options.kvm = true,
            Long("cpu") => options.processor = Some(parser.value().map_err(usage)?.to_string_lossy().into_owned()),
            Long("log") => options.log = Some(parser.value().map_err(usage)?.into()),
            Long("busybox") => options.busybox = Some(parser.value().map_err(usage)?.into()),
            Long("copy") if matches!(action, Action::Exec(_) | Action::Trace(_)) => {
                let copy = copy(&parser.value().map_err(usage)?)?;
                if let Action::Exec(exec) | Action::Trace(Trace { exec, .. }) = &mut action {
                    exec.copies.push(copy);
                }
            }
            Long("env") if matches!(action, Action::Exec(_) | Action::Trace(_)) => {
                let variable = variable(parser.value().map_err(usage)?)?;
                if let Action::Exec(exec) | Action::Trace(Trace { exec, .. }) = &mut action {
                    exec.environment.push(variable);
                }
            }
            Long(option @ ("classes" | "format" | "output")) if matches!(action, Action::Trace(_)) => {
                let option = option.to_owned();
                let value = parser.value().map_err(usage)?;
                if let Action::Trace(trace) = &mut action {
                    match option.as_str() {
                        "classes" => trace.classes = classes(&value)?,
                        "format" => trace.json = format(&value)?,
                        _ => trace.output = Some(value.into()),
                    }
                }
            }
            Long("json") if matches!(action, Action::Bench { .. }) => action = Action::Bench { form: Form::Json },
            Long("figures") if matches!(action, Action::Bench { .. }) => {
                action = Action::Bench { form: Form::Committed };
            }
            Long("listing") if matches!(action, Action::Bench { .. }) => {
                action = Action::List { row: parser.value().map_err(usage)?.to_string_lossy().into_owned() };
            }
            Long(option @ ("seed" | "steps" | "runs")) if matches!(action, Action::Simulate(_)) => {
                let option = format!("--{option}");
                let value = number(&parser.value().map_err(usage)?, &option)?;
                if let Action::Simulate(simulate) = &mut action {
                    match option.as_str() {
                        "--seed" => simulate.seed = Some(value),
                        "--steps" => simulate.steps = value,
                        _ => simulate.runs = Some(value),
                    }
                }
            }
            Long("simulated") if matches!(action, Action::Attack(_)) => {
                if let Action::Attack(attack) = &mut action {
                    attack.simulated = true;
                }
            }
            Long(option @ ("seed" | "exchanges" | "threads")) if matches!(action, Action::Attack(_)) => {
                let option = format!("--{option}");
                let value = number(&parser.value().map_err(usage)?, &option)?;
                if let Action::Attack(attack) = &mut action {
                    match option.as_str() {
                        "--seed" => attack.seed = value,
                        "--exchanges" => attack.exchanges = value,
                        _ => attack.threads = Some(value),
                    }
                }
            }
            Value(word) => match &mut action {
                Action::Shell => action = command(&word)?,
                Action::Exec(exec) | Action::Trace(Trace { exec, .. }) => {
                    exec.program = word;
                    exec.arguments = parser.raw_args().map_err(usage)?.collect();
                    return Ok((options, action));
                }
                Action::Longest { filter } if filter.is_empty() => *filter = word.to_string_lossy().into_owned(),
                _ => return Err(usage(Value(word).unexpected())),
            },
            other => return Err(usage(other.unexpected())),
        }
    }
    match action {
        Action::Trace(_) => Err(Error::new("trace: which PROGRAM? (cargo run -- --help tells more)")),
        Action::Exec(_) => Err(Error::new("exec: which PROGRAM? (cargo run -- --help tells more)")),
        action => Ok((options, action)),
    }
}

fn command(word: &OsStr) -> Result<Action> {
    match word.to_str() {
        Some("exec") => Ok(Action::Exec(Exec::default())),
        Some("trace") => {
            let all = CLASSES.iter().fold(0, |all, (_, bit)| all | bit);
            let classes = all & !class_of(CALLED);
            Ok(Action::Trace(Trace { exec: Exec::default(), classes, json: false, output: None }))
        }
        Some("bench") => Ok(Action::Bench { form: Form::Table }),
        Some("simulate") => Ok(Action::Simulate(Simulate::default())),
        Some("attack") => Ok(Action::Attack(Attack::default())),
        Some("longest") => Ok(Action::Longest { filter: String::new() }),
        Some("build") => Ok(Action::Build),
        _ => Err(Error::new(format!("there is no command '{}' (cargo run -- --help lists them)", word.display()))),
    }
}

fn classes(text: &OsStr) -> Result<u64> {
    let names = text.to_string_lossy();
    names.split(',').try_fold(0, |classes, name| match CLASSES.iter().find(|(known, _)| *known == name) {
        Some((_, bit)) => Ok(classes | bit),
        None => {
            let known: Vec<&str> = CLASSES.iter().map(|(known, _)| *known).collect();
            Err(Error::new(format!("--classes {names}: '{name}' is none of {}", known.join(", "))))
        }
    })
}

/// Whether it is for a viewer.
fn format(text: &OsStr) -> Result<bool> {
    match text.to_str() {
        Some("text") => Ok(false),
        Some("json") => Ok(true),
        _ => Err(Error::new(format!("--format {}: text or json", text.display()))),
    }
}

fn number(text: &OsStr, option: &str) -> Result<u64> {
    text.to_str()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Error::new(format!("{option} {}: not a number", text.display())))
}

fn seconds(text: &OsStr) -> Result<Duration> {
    text.to_str()
        .and_then(|text| text.parse().ok())
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| Error::new(format!("--timeout {}: not a number of seconds", text.display())))
}

fn memory(text: &OsStr) -> Result<u64> {
    let wrong = || Error::new(format!("--memory {}: not a number of MiB (as 512, 512M or 2G)", text.display()));
    let digits = text.to_str().ok_or_else(wrong)?;
    let (digits, unit) = match digits.strip_suffix(['G', 'g']) {
        Some(rest) => (rest, 1024),
        None => (digits.strip_suffix(['M', 'm']).unwrap_or(digits), 1),
    };
    let mib = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(unit)).ok_or_else(wrong)?;
    if !(MEMORY_MIB_LEAST..=MEMORY_MIB_MOST).contains(&mib) {
        return Err(Error::new(format!(
            "--memory {}: Baton needs {MEMORY_MIB_LEAST} to {MEMORY_MIB_MOST} MiB",
            text.display()
        )));
    }
    Ok(mib)
}

const MEMORY_MIB_LEAST: u64 = 64;
const MEMORY_MIB_MOST: u64 = 64 * 1024;

fn copy(text: &OsStr) -> Result<(PathBuf, OsString)> {
    use std::os::unix::ffi::OsStrExt;
    let bytes = text.as_bytes();
    // The last colon: names with a colon are likelier on the host, where they are already there.
    let colon = bytes.iter().rposition(|byte| *byte == b':');
    match colon.map(|at| (&bytes[..at], &bytes[at + 1..])) {
        Some((host, guest)) if !host.is_empty() && !guest.is_empty() => {
            Ok((PathBuf::from(OsStr::from_bytes(host)), OsStr::from_bytes(guest).to_owned()))
        }
        _ => Err(Error::new(format!("--copy {}: write it as HOST:GUEST", text.display()))),
    }
}

fn variable(text: OsString) -> Result<OsString> {
    use std::os::unix::ffi::OsStrExt;
    if text.as_bytes().iter().position(|byte| *byte == b'=').is_some_and(|at| at > 0) {
        Ok(text)
    } else {
        Err(Error::new(format!("--env {}: write it as NAME=VALUE", text.display())))
    }
}

impl Options {
    /// The machine that was asked for.
    #[must_use]
    pub fn machine(&self) -> Machine {
        let machine = Machine { kvm: self.kvm, log: self.log.clone(), ..Machine::new(self.memory_mib) };
        match &self.processor {
            Some(processor) => Machine { processor: processor.clone(), ..machine },
            None => machine,
        }
    }

    /// The time after which to give up, if ever.
    #[must_use]
    pub fn limit(&self, default: Option<Duration>) -> Option<Duration> {
        self.timeout.or(default).filter(|limit| !limit.is_zero())
    }

    /// Fail early if the machine that was asked for cannot be had.
    ///
    /// # Errors
    /// KVM was asked for and is not there.
    pub fn check(&self) -> Result<()> {
        if self.kvm {
            std::fs::OpenOptions::new()
                .read(true)
                .write(true)
                .open("/dev/kvm")
                .map(drop)
                .context(|| "--kvm: cannot open /dev/kvm".into())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<(Options, Action)> {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn refused(line: &str) -> String {
        let error = read(line).expect_err("this command line is wrong");
        assert_eq!(error.status, 125);
        error.message
    }

    #[test]
    fn no_arguments_boot_to_a_shell() {
        assert_eq!(read("").expect("valid"), (Options::default(), Action::Shell));
    }

    #[test]
    fn exec_leaves_the_arguments_of_the_program_alone() {
        let (options, action) =
            read("--memory 1G exec --timeout 5 --copy a:b:/c --env K=V=W sh -c --timeout=9").expect("valid");
        assert_eq!(options.memory_mib, 1024);
        assert_eq!(options.timeout, Some(Duration::from_secs(5)));
        let Action::Exec(exec) = action else { panic!("not exec") };
        assert_eq!(exec.program, "sh");
        assert_eq!(exec.arguments, ["-c", "--timeout=9"]);
        assert_eq!(exec.copies, [(PathBuf::from("a:b"), OsString::from("/c"))]);
        assert_eq!(exec.environment, ["K=V=W"]);
    }

    #[test]
    fn simulations_have_a_seed_a_length_and_a_number() {
        let action = read("simulate --seed 7 --steps 1000").expect("valid").1;
        assert_eq!(action, Action::Simulate(Simulate { seed: Some(7), steps: 1000, runs: None }));
    }

    #[test]
    fn a_listing_has_a_row() {
        assert_eq!(read("bench --listing null_call").expect("valid").1, Action::List { row: "null_call".into() });
        assert!(refused("bench --listing").contains("--listing"));
    }

    #[test]
    fn the_longest_stretch_is_looked_for_in_all_scenarios_or_some() {
        assert_eq!(read("longest").expect("valid").1, Action::Longest { filter: String::new() });
        assert_eq!(read("longest point_05").expect("valid").1, Action::Longest { filter: "point_05".into() });
        assert!(refused("longest one two").contains("two"));
    }

    #[test]
    fn attacks_have_a_seed_and_a_length() {
        let action = read("attack --exchanges 500 --seed 9").expect("valid").1;
        assert_eq!(action, Action::Attack(Attack { seed: 9, exchanges: 500, ..Attack::default() }));
        let action = read("attack --simulated --threads 3").expect("valid").1;
        assert_eq!(action, Action::Attack(Attack { simulated: true, threads: Some(3), ..Attack::default() }));
    }

    #[test]
    fn exec_passes_a_double_dash_after_the_program_on() {
        let Action::Exec(exec) = read("exec sh -- x").expect("valid").1 else { panic!("not exec") };
        assert_eq!(exec.arguments, ["--", "x"]);
    }

    #[test]
    fn wrong_command_lines_are_refused_by_name() {
        assert!(refused("--nonsense").contains("--nonsense"));
        assert!(refused("dance").contains("dance"));
        assert!(refused("exec").contains("PROGRAM"));
        assert!(refused("--cpus 4").contains("--cpus 4"));
        assert!(refused("--arch arm").contains("arm"));
        assert!(refused("simulate --seed x").contains("--seed"));
        assert!(refused("--seed 1").contains("--seed"));
        assert!(refused("--memory 3").contains("64"));
        assert!(refused("--memory lots").contains("lots"));
        assert!(refused("exec --copy nocolon sh").contains("HOST:GUEST"));
        assert!(refused("exec --env =x sh").contains("NAME=VALUE"));
        assert!(refused("--timeout -1").contains("--timeout"));
    }
}
