//! The story for viewers of Chrome's trace format (Perfetto, chrome://tracing): requests as slices on their servers' tracks.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::{Value, json};

use super::story::{Part, Story};

pub(super) fn write(story: &Story, output: &mut dyn Write) -> io::Result<()> {
    let mut events: Vec<Value> = Vec::new();
    let mut names = BTreeMap::new();
    for line in &story.lines {
        names.insert(line.thread, line.name.clone());
        let phase = match line.part {
            Part::Begin => "B",
            Part::End => "E",
            Part::Moment | Part::Gap => "i",
        };
        events.push(json!({
            "name": line.what, "ph": phase, "ts": line.time_ns as f64 / 1000.0, "pid": 1, "tid": line.thread, "s": "t",
            "args": { "trace": format!("{:#x}", line.trace) },
        }));
    }
    for (thread, name) in names {
        events.push(json!({ "name": "thread_name", "ph": "M", "pid": 1, "tid": thread, "args": { "name": name } }));
    }
    serde_json::to_writer(&mut *output, &json!({ "traceEvents": events, "displayTimeUnit": "ns" }))?;
    writeln!(output)
}
