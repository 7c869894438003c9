//! Where the kernel allocates, by its source: each place that asks for a slot, a frame or a page of handles.
//!
//! What takes one on behalf of its caller is `#[track_caller]`, down to the machine's question whether to refuse it; the
//! places are the calls of these functions in all others.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// File and line, as [`std::panic::Location`] says them, and what is there.
pub(super) type Sites = BTreeMap<(String, u32), String>;

const ATTRIBUTE: &str = "#[track_caller]";

/// Lines of a file without its unit tests, each with the function it is in.
fn lines(text: &str) -> Vec<(u32, &str, &str)> {
    let (mut function, mut lines) = ("", Vec::new());
    for (number, line) in (1..).zip(text.lines()) {
        if line.starts_with("#[cfg(test)]") {
            break;
        }
        if let Some((before, after)) = line.split_once("fn ")
            && before.trim().split(' ').all(|word| word.is_empty() || word.starts_with("pub") || word == "const")
        {
            function = after.split(['(', '<']).next().unwrap_or_default();
        }
        lines.push((number, function, line));
    }
    lines
}

/// Everywhere in the kernel, tests and the machine they run on apart.
pub(super) fn all() -> Sites {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = Vec::new();
    for folder in ["kernel/src", "kernel/src/object"] {
        for entry in fs::read_dir(root.join(folder)).expect("the kernel's source") {
            let name = entry.expect("an entry").file_name().into_string().expect("a name");
            if name.ends_with(".rs") && name != "fake.rs" {
                let path = format!("{folder}/{name}");
                files.push((path.clone(), fs::read_to_string(root.join(path)).expect("a source file")));
            }
        }
    }
    let mut takers = BTreeSet::new();
    for (_, text) in &files {
        let lines = lines(text);
        for pair in lines.windows(2) {
            if pair[0].2.trim() == ATTRIBUTE {
                takers.insert(pair[1].1);
            }
        }
    }
    let mut sites = Sites::new();
    for (path, text) in &files {
        for (number, function, line) in lines(text) {
            let asks = takers.iter().any(|taker| line.contains(&format!(".{taker}(")));
            // Pools themselves are asked by takers only.
            let past = line.contains("pool.take(") && function != "take_slot" && !path.ends_with("handle_table.rs");
            assert!(!past, "{path}:{number} allocates in a way that no test can refuse");
            if asks && !takers.contains(function) {
                sites.insert((path.clone(), number), line.trim().to_string());
            }
        }
    }
    sites
}
