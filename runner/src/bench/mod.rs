//! `bench`: what we promise to be fast, measured in guest instructions.
//!
//! Four boots under `-icount`: native rows and the time to the shell on the default processor; rows of 4 KiB and more, and
//! all that is compared with Linux, on `qemu64`, whose copies cost what they cost on processors without fast string operations.

pub(crate) mod listing;
pub(crate) mod native;
mod size;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::archive::Tree;
use crate::baseline;
use crate::capture::{self, Captured};
use crate::error::{Context, Error, Result, say, tell};
use crate::options::Options;
use crate::qemu::{Counter, Machine, Scratch};
use crate::{Ready, guest, image, process};

pub use size::Size;

/// How long each boot may take, if `--timeout` does not say.
const LIMIT: Duration = Duration::from_secs(300);

/// The processor for rows that move much, for the longest stretches and for POSIX calls.
const LARGE: &str = "qemu64";

/// The program that measures POSIX calls.
const SOURCE: &str = include_str!("posix.c");

/// Where it is in the guest.
const PROGRAM: &str = "/usr/local/bin/posix-bench";

/// A measured value.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// What it is called.
    pub name: String,
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: String,
    /// How it was measured.
    pub how: String,
    /// What was counted besides, of native rows.
    pub counts: Option<Counts>,
}

/// Instructions of one round, by kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Counts {
    /// Writes of CR3.
    pub page_table_writes: f64,
    /// Writes of model-specific registers.
    pub model_register_writes: f64,
    /// System calls.
    pub system_calls: f64,
    /// `rdfsbase` and its like.
    pub segment_base_instructions: f64,
}

impl Counts {
    /// Of a section of so many rounds.
    fn of(section: &Value, rounds: f64) -> Self {
        // Without what an interrupt in between adds to few of many rounds.
        let of = |name: &str| (section[name].as_f64().unwrap_or(f64::NAN) / rounds * 100.0).round() / 100.0;
        Self {
            page_table_writes: of("page_table_writes"),
            model_register_writes: of("model_register_writes"),
            system_calls: of("system_calls"),
            segment_base_instructions: of("segment_base_instructions"),
        }
    }

    fn json(&self) -> Value {
        json!({
            "page_table_writes": number(self.page_table_writes),
            "model_register_writes": number(self.model_register_writes),
            "system_calls": number(self.system_calls),
            "segment_base_instructions": number(self.segment_base_instructions),
        })
    }
}

/// How figures are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people.
    Table,
    /// For programs.
    Json,
    /// As the committed table has them that later figures are held to.
    Committed,
}

/// Measure everything and print it.
///
/// # Errors
/// The system does not boot, or a program in it fails.
pub fn run(ready: &Ready, options: &Options, form: Form) -> Result<u8> {
    let (figures, size) = measure(ready, options)?;
    let (compiler, emulator) = (ready.rust.version()?, ready.qemu.version()?);
    if form == Form::Committed {
        tell(&committed(&figures, &compiler, &emulator))?;
    } else if form == Form::Json {
        let rows: Vec<Value> = figures
            .iter()
            .map(|Figure { name, value, unit, how, .. }| json!({"name": name, "value": number(*value), "unit": unit, "how": how}))
            .collect();
        let counted: serde_json::Map<String, Value> =
            figures.iter().filter_map(|figure| Some((figure.name.clone(), figure.counts?.json()))).collect();
        tell(&format!(
            "{}\n",
            json!({ "compiler": compiler, "emulator": emulator, "figures": rows, "counted": counted, "kernel_files": size.files, "boot_stub_bytes": size.boot_stub })
        ))?;
    } else {
        tell(&format!("{}\n{}", table(&figures), size_table(&size)))?;
    }
    Ok(0)
}

/// Measure everything.
///
/// # Errors
/// As [`run`].
pub fn measure(ready: &Ready, options: &Options) -> Result<(Vec<Figure>, Size)> {
    let limit = limit(options);
    let machine = |processor: &str| machine(options, processor);
    let (posix, counter) = (compile()?, guest::counter()?);
    let native = |processor: &str| {
        say(&format!("measuring messages (-cpu {processor})"));
        native::measure(ready, &machine(processor), &counter, limit)
    };
    let scratch = Scratch::new()?;
    let counted = scratch.path().join("counted");
    let exec = |processor: &str, program: &str, input: &[u8]| {
        let mut tree = image::tree(&ready.guest, &ready.busybox)?;
        add_program(&mut tree, &posix)?;
        let start = image::place_program(&mut tree, program.as_ref(), &[], &[])?;
        image::add_command(&mut tree, &start)?;
        let counter = Counter { library: counter.clone(), out: counted.clone(), profile: None };
        let machine = Machine { counter: Some(counter), ..machine(processor) };
        capture::run(ready, &machine, &tree, input, limit)
    };

    let mut figures = native("max")?;
    for figure in native(LARGE)? {
        if let Some(small) = figures.iter_mut().find(|small| small.name == figure.name && is_large(&small.name)) {
            *small = figure;
        }
    }
    let size = size::of(&ready.guest.kernel)?;
    figures.push(Figure {
        name: "kernel_image_bytes".into(),
        value: size.kernel as f64,
        unit: "bytes".into(),
        how: "loaded bytes of the kernel's ELF file but .bss and the boot stub".into(),
        counts: None,
    });
    say("measuring the time to the shell (-cpu max)");
    figures.extend(shell(&exec("max", "sh", format!("{PROGRAM} mark\n").as_bytes())?, options.memory_mib)?);
    say(&format!("measuring POSIX calls (-cpu {LARGE})"));
    figures.extend(rows(&exec(LARGE, "posix-bench", b"")?, LARGE)?);
    let counted = std::fs::read_to_string(&counted).context(|| format!("cannot read {}", counted.display()))?;
    let longest = native::longest(&counted)? as f64;
    if let Some(worst) = figures.iter_mut().find(|figure| figure.name == native::WORST) {
        worst.value = worst.value.max(longest);
    }
    Ok((figures, size))
}

/// Print where the instructions of a native row go.
///
/// # Errors
/// As [`run`], or there is no such row.
pub fn list(ready: &Ready, options: &Options, row: &str) -> Result<u8> {
    let processor = options.processor.as_deref().unwrap_or(if is_large(row) { LARGE } else { "max" });
    say(&format!("profiling {row} (-cpu {processor})"));
    let machine = machine(options, processor);
    tell(&listing::of(ready, &machine, &guest::counter()?, limit(options), row)?)?;
    Ok(0)
}

fn limit(options: &Options) -> Duration {
    options.limit(Some(LIMIT)).unwrap_or(Duration::MAX)
}

fn machine(options: &Options, processor: &str) -> Machine {
    Machine {
        count_instructions: true,
        processor: processor.into(),
        log: options.log.clone(),
        ..Machine::new(options.memory_mib)
    }
}

/// Counts are whole numbers.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 { json!(value as u64) } else { json!(value) }
}

/// Rows that move so much that the way of copying counts, and those that may.
fn is_large(name: &str) -> bool {
    name.ends_with("4k") || name.starts_with("worst_")
}

fn add_program(tree: &mut Tree, file: &Path) -> Result<()> {
    tree.program(format!("root{PROGRAM}").as_bytes(), 0o755, file)
}

/// The program that measures POSIX calls, compiled.
fn compile() -> Result<PathBuf> {
    let folder = guest::target()?.join("bench");
    std::fs::create_dir_all(&folder).context(|| format!("cannot make {}", folder.display()))?;
    let (source, program) = (folder.join("posix.c"), folder.join("posix-bench"));
    std::fs::write(&source, SOURCE).context(|| format!("cannot write {}", source.display()))?;
    let mut gcc = process::command("gcc");
    gcc.args(["-O2", "-static", "-nostdlib", "-nostartfiles", "-ffreestanding", "-fno-stack-protector"]);
    gcc.args(["-fno-pic", "-no-pie", "-Wl,--build-id=none", "-Wl,-z,noseparate-code", "-s", "-o"]);
    process::output(gcc.arg(&program).arg(&source))?;
    Ok(program)
}

/// The rows that a program of the guest printed, one JSON object a line.
fn rows(captured: &Captured, processor: &str) -> Result<Vec<Figure>> {
    captured.output.lines().map(|line| row(line, processor)).collect()
}

fn row(line: &str, processor: &str) -> Result<Figure> {
    let wrong = || Error::new(format!("not a row: {line}"));
    let value: Value = serde_json::from_str(line).map_err(|_| wrong())?;
    let text = |key: &str| value[key].as_str().map(str::to_owned).ok_or_else(wrong);
    Ok(Figure {
        name: text("name")?,
        value: value["value"].as_f64().filter(|value| *value >= 0.0).ok_or_else(wrong)?,
        unit: text("unit")?,
        how: format!("{} (-cpu {processor})", text("how")?),
        counts: None,
    })
}

/// What the shell's answer says: the counter, and the free memory.
fn shell(captured: &Captured, memory_mib: u64) -> Result<Vec<Figure>> {
    let numbers: Vec<u64> = captured.output.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [ticks, free] = numbers[..] else {
        return Err(Error::new(format!("not an answer of the shell: {}", captured.output)));
    };
    Ok(vec![
        Figure {
            name: "boot_to_shell".into(),
            value: ticks.saturating_sub(captured.entry_ticks) as f64,
            unit: "instructions".into(),
            how: "from the kernel's entry until a command waiting on the shell's standard input is answered (-cpu max)"
                .into(),
            counts: None,
        },
        Figure {
            name: "memory_at_shell_bytes".into(),
            value: (memory_mib << 20).saturating_sub(free) as f64,
            unit: "bytes".into(),
            how: format!("RAM that is not free then, of {memory_mib} MiB, boot archive and kernel arena included"),
            counts: None,
        },
    ])
}

/// For people: our figure, the other system's, how many times as much ours is, and our bar.
#[must_use]
pub fn table(figures: &[Figure]) -> String {
    let mut text = format!(
        "{:<29} {:>11} {:<13} {:>11}  {:>6}  {:>10}  {}\n",
        "", "Baton", "", "baseline", "ratio", "bar", "baseline's system"
    );
    for Figure { name, value, unit, .. } in figures {
        // Nothing fails that is written to a string.
        let _ = write!(text, "{name:<29} {:>11} {unit:<13}", number(*value));
        if let Some(baseline) = baseline::find(name) {
            let (other, ratio, system) = match baseline.other {
                Some((other, system)) if other >= 1.0 => (format!("{other}"), format!("{:.2}", value / other), system),
                Some((other, system)) => (format!("{other:.5}"), format!("{:.2}", value / other), system),
                None => (String::new(), String::new(), ""),
            };
            let bar = baseline.bar.map_or(String::new(), |bar| bar.to_string());
            let over = baseline.bar.is_some_and(|bar| !bar.holds(*value));
            let mark = if over { "  misses its bar" } else { "" };
            let _ = write!(text, " {other:>11}  {ratio:>6}  {bar:>10}  {system}{mark}");
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text += "\nof which, each round        CR3 writes  MSR writes  system calls  segment base instructions\n";
    for Figure { name, counts, .. } in figures {
        if let Some(counts) = counts {
            let Counts { page_table_writes, model_register_writes, system_calls, segment_base_instructions } = counts;
            let _ = writeln!(
                text,
                "{name:<29} {page_table_writes:>8} {model_register_writes:>11} {system_calls:>13} {segment_base_instructions:>26}"
            );
        }
    }
    text
}

/// For a test: what it was measured with, and each row; with its bar, if it misses that.
fn committed(figures: &[Figure], compiler: &str, emulator: &str) -> String {
    let mut text = format!("{compiler}\n{emulator}\n");
    for Figure { name, value, .. } in figures {
        // Nothing fails that is written to a string.
        let _ = write!(text, "{name} {}", number(*value));
        match baseline::find(name).and_then(|baseline| baseline.bar).filter(|bar| !bar.holds(*value)) {
            Some(bar) => text += &format!(" misses {bar}\n"),
            None => text.push('\n'),
        }
    }
    text
}

/// For people: which file makes how much of the kernel, largest first.
fn size_table(size: &Size) -> String {
    let mut files: Vec<(&String, &u64)> = size.files.iter().collect();
    files.sort_by_key(|(_, bytes)| std::cmp::Reverse(**bytes));
    let mut text = format!("kernel, {} bytes; boot stub, which does not stay: {} bytes\n", size.kernel, size.boot_stub);
    for (file, bytes) in files {
        // Nothing fails that is written to a string.
        let _ = writeln!(text, "{bytes:>8}  {file}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_as_programs_print_them() {
        let figure = row(r#"{"name":"a","value":7,"unit":"instructions","how":"b"}"#, "max").expect("a row");
        assert_eq!((figure.name.as_str(), figure.value, figure.how.as_str()), ("a", 7.0, "b (-cpu max)"));
        assert!(row("noise", "max").is_err());
        assert!(row(r#"{"name":"a","value":-7}"#, "max").is_err());
    }

    fn figure(name: &str, value: f64) -> Figure {
        Figure { name: name.into(), value, unit: "instructions".into(), how: "".into(), counts: None }
    }

    #[test]
    fn the_committed_table_names_what_misses_its_bar() {
        let text = committed(&[figure("ipc_round_trip_0", 301.0), figure("fair_share_pair", 0.5)], "rustc 1", "QEMU 2");
        assert_eq!(text, "rustc 1\nQEMU 2\nipc_round_trip_0 301 misses 300\nfair_share_pair 0.5\n");
    }

    #[test]
    fn the_table_compares_and_marks_what_is_too_much() {
        let text = table(&[figure("ipc_round_trip_0", 846.0), figure("unknown", 1.0)]);
        assert!(text.contains("2.00         300  seL4  misses its bar"), "{text}");
        assert!(text.lines().last().is_some_and(|line| line.ends_with("instructions")), "{text}");
    }
}
