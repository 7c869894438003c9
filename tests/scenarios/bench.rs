//! Point 8: the figures that are promised, and their bounds.

use runner::baseline::{self, Bar};
use system_tests::{Baton, Exec, Outcome, ensure, ensure_equal};

use crate::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("point_08_figures_keep_their_bounds", figures_keep_their_bounds),
    ("point_14_older_processors", older_processors),
];

/// The same kernel where there is no XSAVE, no FSGSBASE, no SMAP, or only some of them: programs run, their vector registers and
/// segment bases are theirs.
fn older_processors(baton: &Baton) -> Outcome {
    // Arithmetic in floating point (awk), thread-local storage (every process has an FS base), several processes.
    const COMMANDS: &str = "seq 1 200 | awk '{s += $1 / 8} END {print s}'; echo $(echo a; echo b) | tr ab xy";
    for processor in ["qemu64", "max,-fsgsbase,-smap", "max,-xsaveopt", "max,-xsave,-smep"] {
        let run = Exec::command(baton.runner(), &["--cpu", processor, "exec", "sh", "-c", COMMANDS]).run()?;
        run.expect_output("2512.5\nx y\n").map_err(|failed| format!("{processor}: {failed:?}"))?;
    }
    Ok(())
}

/// Rows that must be there.
const NAMES: [&str; 43] = [
    "null_call",
    "ipc_round_trip_0",
    "ipc_round_trip_4w",
    "ipc_round_trip_0_traced",
    "ipc_round_trip_0_crowded",
    "ipc_round_trip_4w_crowded",
    "ipc_round_trip_passive_nested",
    "ipc_round_trip_64b",
    "ipc_round_trip_512b",
    "ipc_round_trip_4k",
    "ipc_round_trip_64k",
    "pulse_no_waiter",
    "pulse_wakes_lower",
    "pulse_to_higher",
    "switch_round_trip",
    "interrupt_to_driver",
    "fault_to_pager",
    "foreign_call",
    "thread_cycle",
    "process_cycle",
    "fair_share_pair",
    "fair_share_hog",
    "share_beside_alarms",
    "share_beside_alarms_received",
    "worst_callers",
    "worst_chain",
    "worst_copy",
    "worst_teardown",
    "worst_alarms",
    "worst_cancel",
    "worst_storm",
    "worst_web",
    "worst_tree",
    "worst_entry",
    "kernel_image_bytes",
    "boot_to_shell",
    "memory_at_shell_bytes",
    "getpid",
    "pipe_round_trip_1b",
    "read_4k",
    "open_close",
    "fork_exec_wait",
    "vfork_exec_wait",
];

/// What `cargo run -q -- bench --figures` printed: compiler and emulator, then each row, and whether it misses its bar.
const FIGURES: &str = include_str!("figures.txt");

/// How much more than in the table a row may be, measured with the same compiler and emulator.
const GROWTH: f64 = 1.02;

/// How many instructions more a round trip may take while messages are traced.
const TRACED: f64 = 40.0;

/// The committed table.
struct Table {
    compiler: &'static str,
    emulator: &'static str,
    /// Name, value, and whether it is known to miss its bar.
    rows: Vec<(&'static str, f64, bool)>,
}

fn table() -> Result<Table, system_tests::Failed> {
    let mut lines = FIGURES.lines();
    let (compiler, emulator) = (lines.next().unwrap_or(""), lines.next().unwrap_or(""));
    let row = |line: &'static str| {
        let mut words = line.split(' ');
        let (name, value) = (words.next()?, words.next()?.parse().ok()?);
        Some((name, value, words.next() == Some("misses")))
    };
    let rows = lines.map(|line| row(line).ok_or_else(|| format!("figures.txt: {line}"))).collect::<Result<_, _>>()?;
    Ok(Table { compiler, emulator, rows })
}

fn figures_keep_their_bounds(baton: &Baton) -> Outcome {
    let run = Exec::command(baton.runner(), &["bench", "--json"]).run()?;
    run.expect_status(0)?;
    let printed: serde_json::Value = serde_json::from_slice(&run.stdout)?;
    let figures = printed["figures"].as_array().ok_or("no figures")?;
    let table = table()?;
    // Another compiler's code has other figures; the bars hold for all.
    let comparable = printed["compiler"] == table.compiler && printed["emulator"] == table.emulator;
    let mut wrong = String::new();
    for figure in figures {
        let keys: Vec<&str> =
            figure.as_object().into_iter().flat_map(|object| object.keys().map(String::as_str)).collect();
        ensure_equal!(keys, ["how", "name", "unit", "value"], "a figure's parts");
        let (name, value) = (figure["name"].as_str().unwrap_or(""), figure["value"].as_f64().ok_or("not a number")?);
        let bar = baseline::find(name).and_then(|baseline| baseline.bar);
        let recorded = table.rows.iter().find(|(row, ..)| *row == name);
        match (bar, recorded) {
            (_, None) => wrong += &format!("\n{name} is not in figures.txt (bench --figures prints it anew)"),
            (Some(bar), Some((_, _, false))) if !bar.holds(value) => {
                wrong += &format!("\n{name} is {value}, bar {bar}")
            }
            (Some(Bar::Near(..)), _) => {}
            (_, Some((_, before, _))) if comparable && value > before * GROWTH => {
                wrong += &format!("\n{name} is {value}, was {before} (figures.txt)");
            }
            _ => {}
        }
    }
    let value = |name: &str| {
        let mut found = figures.iter().filter(|figure| figure["name"] == name);
        found.next().filter(|_| found.next().is_none()).and_then(|figure| figure["value"].as_f64())
    };
    for name in NAMES {
        ensure!(value(name).is_some(), "{name} is there once");
    }
    // A plain round trip: two system calls, two address spaces, nothing else that is dear.
    let counted = &printed["counted"]["ipc_round_trip_0"];
    for (kind, times) in [("page_table_writes", 2), ("model_register_writes", 0), ("system_calls", 2)] {
        ensure_equal!(counted[kind].as_u64(), Some(times), "{kind} of a round trip");
    }
    // What else is open or ready does not matter.
    for (alone, crowded) in
        [("ipc_round_trip_0", "ipc_round_trip_0_crowded"), ("ipc_round_trip_4w", "ipc_round_trip_4w_crowded")]
    {
        let (alone, beside) = (value(alone).unwrap_or(0.0), value(crowded).unwrap_or(f64::MAX));
        if (beside - alone).abs() > alone / 10.0 {
            wrong += &format!("\n{crowded} is {beside}, without the crowd {alone}");
        }
    }
    // What two events cost.
    let (plain, traced) = (value("ipc_round_trip_0"), value("ipc_round_trip_0_traced"));
    if let (Some(plain), Some(traced)) = (plain, traced)
        && traced > plain + TRACED
    {
        wrong += &format!("\nipc_round_trip_0_traced is {traced}, without the trace {plain}");
    }
    ensure!(wrong.is_empty(), "{wrong}");
    Ok(())
}
