//! Point 8: what the kernel saw while a program ran.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use system_tests::{Baton, Exec, Outcome, Run, ensure, ensure_equal};

use crate::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("trace_shows_what_servers_did", shows_what_servers_did),
    ("trace_in_json", in_json),
    ("trace_classes", classes),
    ("trace_on_standard_error", on_standard_error),
    ("trace_loses_only_the_oldest", loses_only_the_oldest),
    ("trace_that_cannot_be_written", cannot_be_written),
];

/// How many events the ring holds.
const EVENTS: usize = 32_768;

/// Run `trace` with these options and the program, and give what it wrote to its file, too.
fn traced(
    baton: &Baton,
    name: &str,
    options: &[&str],
    program: &[&str],
) -> Result<(Run, String), system_tests::Failed> {
    let path: PathBuf = std::env::temp_dir().join(format!("baton-test-{}-trace-{name}", std::process::id()));
    let output = path.to_string_lossy();
    let arguments = [&["trace", "--output", &output], options, program].concat();
    let run = Exec::command(baton.runner(), &arguments).run()?;
    let text = fs::read_to_string(&path)?;
    fs::remove_file(&path)?;
    Ok((run, text))
}

/// A line: time, trace id (or nothing), thread, what.
struct Line<'a> {
    time: &'a str,
    trace: &'a str,
    what: &'a str,
}

fn lines(text: &str) -> Result<Vec<Line<'_>>, system_tests::Failed> {
    let line = |line| parse(line).ok_or_else(|| format!("not a line of a trace: {line:?}").into());
    text.lines().map(line).collect()
}

fn parse(line: &str) -> Option<Line<'_>> {
    Some(Line { time: line.get(..13)?, trace: line.get(14..30)?.trim(), what: line.get(31..)?.get(17..)?.trim() })
}

fn shows_what_servers_did(baton: &Baton) -> Outcome {
    let (run, text) = traced(baton, "servers", &[], &["cat", "/etc/hostname"])?;
    run.expect_output("baton\n")?;
    ensure_equal!(run.errors(), "", "nothing was lost, and nothing else is said");
    let lines = lines(&text)?;
    ensure!(lines.is_sorted_by_key(|line| line.time), "a line is before one that happened earlier:\n{text}");
    for request in ["path.resolve from cat", "file.open from cat", "file.read from cat", "process.exit from cat"] {
        ensure!(lines.iter().any(|line| line.what == request), "'{request}' is not in:\n{text}");
    }
    // What was received is answered, under the same trace id.
    for request in ["path.resolve from cat", "file.open from cat", "file.read from cat"] {
        let answer = format!("answers done to {request}");
        let answered = lines.iter().enumerate().any(|(index, line)| {
            line.what == request
                && !line.trace.is_empty()
                && lines[index..].iter().any(|later| later.what == answer && later.trace == line.trace)
        });
        ensure!(answered, "no '{answer}' of its trace in:\n{text}");
    }
    let parts = [
        "cat              page fault at 0x",
        "cat              ends, in process",
        "runs on baton",
        "interrupt of the timer",
    ];
    for part in parts {
        ensure!(text.contains(part), "'{part}' is not in:\n{text}");
    }
    Ok(())
}

/// What viewers read: of each thread, slices that begin and end.
fn in_json(baton: &Baton) -> Outcome {
    // Waits, pipes and exits: requests that are put off, and some that are never answered.
    let script = "sleep 0.05 & (sleep 0.01; echo x) | cat; wait";
    let (run, text) = traced(baton, "json", &["--format", "json"], &["sh", "-c", script])?;
    run.expect_output("x\n")?;
    let trace: serde_json::Value = serde_json::from_str(&text)?;
    let events = trace["traceEvents"].as_array().ok_or("no traceEvents")?;
    let mut open: BTreeMap<u64, u64> = BTreeMap::new();
    let mut named = BTreeMap::new();
    let mut before = 0.0;
    for event in events {
        let track = event["tid"].as_u64().ok_or_else(|| format!("without a track: {event}"))?;
        let slices = open.entry(track).or_default();
        match event["ph"].as_str() {
            Some("B") => *slices += 1,
            Some("E") => {
                *slices = slices.checked_sub(1).ok_or_else(|| format!("an end without a beginning: {event}"))?
            }
            Some("i") => {}
            Some("M") => drop(named.insert(track, event["args"]["name"].to_string())),
            _ => return Err(format!("another phase: {event}").into()),
        }
        if event["ph"] != "M" {
            let time = event["ts"].as_f64().ok_or_else(|| format!("without a time: {event}"))?;
            ensure!(time >= before, "earlier than what is before it: {event}");
            before = time;
        }
    }
    ensure!(open.values().all(|slices| *slices == 0), "slices that do not end: {open:?}");
    ensure!(open.keys().all(|track| named.contains_key(track)), "tracks without a name: {open:?}, {named:?}");
    for name in ["\"memfs\"", "\"pipe\"", "\"cat\""] {
        ensure!(named.values().any(|known| known == name), "no track is called {name}: {named:?}");
    }
    let slice = |event: &&serde_json::Value| event["ph"] == "B" && event["name"] == "file.read from cat";
    ensure!(events.iter().any(|event| slice(&event)), "cat reads nothing");
    Ok(())
}

/// Only what is asked for.
fn classes(baton: &Baton) -> Outcome {
    let (run, text) = traced(baton, "life", &["--classes", "life"], &["cat", "/etc/hostname"])?;
    run.expect_output("baton\n")?;
    for line in lines(&text)? {
        let life = line.what.starts_with("starts, in process") || line.what.starts_with("ends, in process");
        ensure!(life, "'{}' is of another class", line.what);
    }
    ensure!(text.contains("cat              ends, in process"), "cat does not end in:\n{text}");
    let (run, text) = traced(baton, "object", &["--classes", "fault,object"], &["cat", "/etc/hostname"])?;
    run.expect_output("baton\n")?;
    ensure!(text.contains("page fault at"), "no fault in:\n{text}");
    ensure!(!text.contains("runs on baton") && !text.contains("answers"), "another class is in:\n{text}");
    Ok(())
}

/// Without a file; the program's own errors and status come as ever.
fn on_standard_error(baton: &Baton) -> Outcome {
    let script = "echo out; echo err >&2; exit 7";
    let run = Exec::command(baton.runner(), &["trace", "--classes", "life", "sh", "-c", script]).run()?;
    run.expect_status(7)?;
    ensure_equal!(run.output(), "out\n", "output");
    let errors = run.errors();
    ensure!(errors.starts_with("err\n"), "the program's errors are not first: {errors}");
    ensure!(errors.contains("ends, in process"), "no trace in: {errors}");
    Ok(())
}

/// Several times more events than the ring holds: what is lost is said, where it was and how much, and the rest is there.
fn loses_only_the_oldest(baton: &Baton) -> Outcome {
    let script = "dd if=/dev/zero of=/dev/null bs=1 count=30000 2>/dev/null; echo end; cat /etc/hostname";
    let (run, text) = traced(baton, "many", &["--classes", "message,life"], &["sh", "-c", script])?;
    run.expect_output("end\nbaton\n")?;
    let lines = lines(&text)?;
    let lost = |line: &Line<'_>| line.what.strip_suffix(" events were lost").map(str::parse::<usize>);
    let gaps: Vec<usize> = lines.iter().filter_map(lost).collect::<Result<_, _>>()?;
    let lost: usize = gaps.iter().sum();
    let errors = run.errors();
    if lost == 0 {
        ensure_equal!(errors, "", "nothing was lost");
    } else {
        ensure!(errors.contains(&format!("{lost} of ")), "{gaps:?} were lost, but it says: {errors}");
    }
    ensure!(lines.len() + lost > 3 * EVENTS, "{} lines, and {lost} events lost, are not many", lines.len());
    let read =
        lines.iter().rposition(|line| line.what == "file.read from cat").ok_or("cat, at the end, reads nothing")?;
    let answered = lines[read..].iter().any(|line| line.what == "answers done to file.read from cat");
    ensure!(answered, "cat, at the end, is not answered");
    Ok(())
}

/// Nothing runs if its trace could not be kept.
fn cannot_be_written(baton: &Baton) -> Outcome {
    let run = Exec::command(baton.runner(), &["trace", "--output", "/there/is/no/such/folder", "echo", "x"]).run()?;
    run.expect_status(125)?;
    ensure_equal!(run.output(), "", "nothing was run");
    let errors = run.errors();
    ensure!(errors.lines().count() == 1 && errors.contains("/there/is/no/such/folder"), "one message, not {errors}");
    Ok(())
}
