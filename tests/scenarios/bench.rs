//! Point 8: the figures that are promised, and their bounds.

use runner::baseline;
use system_tests::{Baton, Exec, Outcome, ensure, ensure_equal};

use crate::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[("point_08_figures_keep_their_bounds", figures_keep_their_bounds)];

const NAMES: [&str; 13] = [
    "null_call",
    "ipc_round_trip_0",
    "ipc_round_trip_64b",
    "ipc_round_trip_4k",
    "ipc_round_trip_64k",
    "kernel_image_bytes",
    "boot_to_shell",
    "memory_at_shell_bytes",
    "getpid",
    "pipe_round_trip_1b",
    "read_4k",
    "open_close",
    "fork_exec_wait",
];

/// Figures that miss their bound, and what they must not exceed until they meet it: `docs/testing.md` says which and why.
const MISSED: [(&str, u64); 1] = [("open_close", 15_600)];

fn figures_keep_their_bounds(baton: &Baton) -> Outcome {
    let run = Exec::command(baton.runner(), &["bench", "--json"]).seconds(600).run()?;
    run.expect_status(0)?;
    let printed: serde_json::Value = serde_json::from_slice(&run.stdout)?;
    let figures = printed["figures"].as_array().ok_or("no figures")?;
    let mut wrong = String::new();
    for figure in figures {
        let keys: Vec<&str> =
            figure.as_object().into_iter().flat_map(|object| object.keys().map(String::as_str)).collect();
        ensure_equal!(keys, ["how", "name", "unit", "value"], "a figure's parts");
        let (name, value) = (figure["name"].as_str().unwrap_or(""), figure["value"].as_u64().ok_or("not a number")?);
        let missed = MISSED.iter().find(|(missed, _)| *missed == name).map(|&(_, limit)| limit);
        match missed.or_else(|| baseline::find(name).and_then(|baseline| baseline.bound)) {
            Some(bound) if value > bound => wrong += &format!("\n{name} is {value}, bound {bound}"),
            _ => {}
        }
    }
    ensure!(wrong.is_empty(), "{wrong}");
    for name in NAMES {
        ensure_equal!(figures.iter().filter(|figure| figure["name"] == name).count(), 1, "{name}");
    }
    Ok(())
}
