//! The story for viewers of Chrome's trace format (Perfetto, chrome://tracing): requests as slices on their servers' tracks.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::{Value, json};

use super::story::{Line, Part, Story};

pub(super) fn write(story: &Story, output: &mut dyn Write) -> io::Result<()> {
    let mut events = slices(&story.lines);
    let names: BTreeMap<_, _> = story.lines.iter().map(|line| (line.thread, &line.name)).collect();
    for (thread, name) in names {
        events.push(json!({ "name": "thread_name", "ph": "M", "pid": 1, "tid": thread, "args": { "name": name } }));
    }
    serde_json::to_writer(&mut *output, &json!({ "traceEvents": events, "displayTimeUnit": "ns" }))?;
    writeln!(output)
}

/// Slices of a track may not overlap, but a server puts requests off and receives others: what is shown of a request is
/// until its answer or the server's next request, and a later answer is a moment. What has no answer ends with the trace.
fn slices(lines: &[Line]) -> Vec<Value> {
    let mut events = Vec::new();
    // By track.
    let mut open: BTreeMap<u16, u64> = BTreeMap::new();
    for line in lines {
        match line.part {
            Part::Begin => {
                if open.insert(line.thread, line.request).is_some() {
                    events.push(end(line.thread, line));
                }
                events.push(event(line, "B"));
            }
            Part::End => {
                let server = open.iter().find(|(_, request)| **request == line.request).map(|(server, _)| *server);
                events.push(event(line, "i"));
                if let Some(server) = server {
                    open.remove(&server);
                    events.push(end(server, line));
                }
            }
            Part::Moment => events.push(event(line, "i")),
            Part::Gap => {
                events.extend(std::mem::take(&mut open).into_keys().map(|server| end(server, line)));
                events.push(event(line, "i"));
            }
        }
    }
    if let Some(last) = lines.last() {
        events.extend(open.into_keys().map(|server| end(server, last)));
    }
    events
}

fn event(line: &Line, phase: &str) -> Value {
    json!({
        "name": line.what, "ph": phase, "ts": line.time_ns as f64 / 1000.0, "pid": 1, "tid": line.thread, "s": "t",
        "args": { "trace": format!("{:#x}", line.trace) },
    })
}

/// The slice that is open on a track ends when this happens.
fn end(track: u16, at: &Line) -> Value {
    json!({ "ph": "E", "ts": at.time_ns as f64 / 1000.0, "pid": 1, "tid": track })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(part: Part, thread: u16, request: u64) -> Line {
        Line { time_ns: 0, thread, name: String::new(), trace: 0, depth: 0, what: String::new(), part, request }
    }

    #[test]
    fn requests_that_were_put_off_do_not_overlap() {
        let lines = [
            line(Part::Begin, 1, 7),
            line(Part::Begin, 1, 8),
            line(Part::End, 1, 8),
            // Put off until now.
            line(Part::End, 1, 7),
            line(Part::Begin, 2, 9),
            // Its caller left.
            line(Part::End, 3, 9),
            line(Part::Begin, 1, 10),
        ];
        let told: Vec<_> = slices(&lines)
            .iter()
            .filter(|event| event["ph"] != "i")
            .map(|event| format!("{}{}", event["ph"].as_str().unwrap_or(""), event["tid"]))
            .collect();
        assert_eq!(told, ["B1", "E1", "B1", "E1", "B2", "E2", "B1", "E1"]);
    }
}
