//! The story as text: time, trace id, who, and what, indented by the requests that it is inside of.

use std::io::{self, Write};

use super::story::Story;

pub(super) fn write(story: &Story, output: &mut dyn Write) -> io::Result<()> {
    let mut output = io::BufWriter::new(output);
    for line in &story.lines {
        let (seconds, rest) = (line.time_ns / 1_000_000_000, line.time_ns % 1_000_000_000);
        let trace = if line.trace == 0 { String::new() } else { format!("{:x}", line.trace) };
        let indent = 2 * line.depth.min(16);
        writeln!(output, "{seconds:3}.{rest:09} {trace:>16} {:16} {:indent$}{}", line.name, "", line.what)?;
    }
    output.flush()
}
