//! Where a row's instructions go, one by one: `bench --listing ROW`.
//!
//! The bench program is booted twice: to learn in which section the row is counted, and to have the counter profile that section.
//! `objdump` says what the instructions are, and of which line of source.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::native;
use crate::error::{Error, Result};
use crate::qemu::{Machine, Profile};
use crate::{Ready, image, process};

/// A function and those of its instructions that the row executes.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// Instructions a round.
    pub(crate) total: f64,
    lines: Vec<String>,
}

/// The listing of a native row.
///
/// # Errors
/// There is no such row, or it cannot be measured.
pub(super) fn of(ready: &Ready, machine: &Machine, counter: &Path, limit: Duration, row: &str) -> Result<String> {
    let (told, _) = native::boot(ready, machine, counter, None, limit)?;
    let (section, rounds) = section(&told, row)?;
    let (told, counted) = native::boot(ready, machine, counter, Some(Profile::Section(section)), limit)?;
    let times = times(&counted)?;
    let mut functions = Vec::new();
    for program in [&ready.guest.kernel, image::bench(&ready.guest)?] {
        functions.extend(parts(&disassembly(program)?, &times, rounds));
    }
    functions.sort_by(|one, other| other.total.total_cmp(&one.total));
    Ok(text(row, figure(&told, row), &machine.processor, &functions))
}

/// A program's instructions, as `objdump` has them.
pub(crate) fn disassembly(program: &Path) -> Result<String> {
    let mut objdump = process::command("objdump");
    objdump.args(["--disassemble", "--line-numbers", "--demangle", "--no-show-raw-insn", "-M", "intel"]);
    process::output(objdump.arg(program))
}

/// In which section a row is counted, and how many rounds that is.
fn section(told: &str, row: &str) -> Result<(u64, f64)> {
    let lines = told.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let rows: Vec<Value> = lines.filter(|line| !line["counted"].is_null()).collect();
    let found = rows.iter().find(|line| line["counted"] == row);
    found.and_then(|line| Some((line["section"].as_u64()?, line["rounds"].as_f64()?))).ok_or_else(|| {
        let names: Vec<&str> = rows.iter().filter_map(|line| line["counted"].as_str()).collect();
        Error::new(format!("--listing {row}: not one of {}", names.join(", ")))
    })
}

/// What a row says.
fn figure(told: &str, row: &str) -> f64 {
    let mut lines = told.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.find(|line| line["name"] == row).and_then(|line| line["value"].as_f64()).unwrap_or(f64::NAN)
}

/// How often each address was executed.
pub(crate) fn times(counted: &str) -> Result<BTreeMap<u64, f64>> {
    let address = |line: &Value| u64::from_str_radix(line["address"].as_str()?.strip_prefix("0x")?, 16).ok();
    let lines = native::lines(counted)?;
    Ok(lines.iter().filter_map(|line| Some((address(line)?, line["times"].as_f64()?))).collect())
}

/// The functions of a disassembly of which the row executes something in most rounds.
pub(crate) fn parts(disassembly: &str, times: &BTreeMap<u64, f64>, rounds: f64) -> Vec<Function> {
    let mut functions: Vec<Function> = Vec::new();
    let mut place = "";
    for line in disassembly.lines() {
        if let Some(name) = line.strip_suffix(">:").and_then(|line| Some(line.split_once(" <")?.1)) {
            functions.push(Function { name: name.into(), ..Function::default() });
            continue;
        }
        let Some((address, instruction)) = line.split_once(":\t") else {
            if line.starts_with('/') {
                place = line;
            }
            continue;
        };
        let address = u64::from_str_radix(address.trim(), 16).unwrap_or_default();
        let each = times.get(&address).copied().unwrap_or_default() / rounds;
        if let Some(function) = functions.last_mut().filter(|_| each >= 0.5) {
            function.total += each;
            function
                .lines
                .push(format!("{each:>7.1}  {:<60} {}", instruction.trim_end(), source(place)).trim_end().into());
            place = "";
        }
    }
    functions.retain(|function| !function.lines.is_empty());
    functions
}

/// A line of source as the tree has it: without the folder of the clone, or of the toolchain.
fn source(place: &str) -> &str {
    let place = place.split(" (discriminator").next().unwrap_or_default();
    let workspace = place.strip_prefix(env!("CARGO_MANIFEST_DIR").trim_end_matches("runner"));
    workspace.or_else(|| Some(place.split_once("/library/")?.1)).unwrap_or(place)
}

fn text(row: &str, figure: f64, processor: &str, functions: &[Function]) -> String {
    let sum: f64 = functions.iter().map(|function| function.total).sum();
    let mut text = format!(
        "{row}: {figure} instructions a round (-cpu {processor}); listed, what most rounds execute: {sum:.0}\n\n"
    );
    // Nothing fails that is written to a string.
    for Function { name, total, .. } in functions {
        let _ = writeln!(text, "{total:>7.1}  {name}");
    }
    for Function { name, total, lines } in functions {
        let _ = writeln!(text, "\n{name}: {total:.1}");
        for line in lines {
            let _ = writeln!(text, "{line}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_most_rounds_execute_is_listed_with_its_source() {
        let root = env!("CARGO_MANIFEST_DIR").trim_end_matches("runner");
        let disassembly = format!(
            "00000010 <first>:\nfirst():\n{root}kernel/src/call.rs:7 (discriminator 2)\n  10:\tret    \n  11:\tnop\n\n00000020 <never>:\n  20:\thlt\n"
        );
        let times = BTreeMap::from([(0x10, 200.0), (0x11, 1.0)]);
        let functions = parts(&disassembly, &times, 100.0);
        let [first] = &functions[..] else { panic!("{functions:?}") };
        assert_eq!((first.name.as_str(), first.total), ("first", 2.0));
        let [line] = &first.lines[..] else { panic!("{first:?}") };
        assert!(line.starts_with("    2.0  ret  ") && line.ends_with(" kernel/src/call.rs:7"), "{line}");
    }

    #[test]
    fn a_row_that_there_is_not_is_named() {
        let told = "{\"counted\":\"a\",\"section\":3,\"rounds\":10}\n{\"name\":\"a\",\"value\":5}\n";
        assert_eq!(section(told, "a").expect("there"), (3, 10.0));
        assert!(section(told, "b").is_err_and(|error| error.message.contains("--listing b: not one of a")));
        assert_eq!(figure(told, "a"), 5.0);
    }

    #[test]
    fn times_are_those_of_addresses() {
        let counted = "{\"section\":0}\n{\"address\":\"0x1f\",\"times\":4}\n";
        assert_eq!(times(counted).expect("lines"), BTreeMap::from([(0x1f, 4.0)]));
    }
}
