//! `longest`: the whole-system scenarios, each boot on `qemu64` with the counter beside it, and for how many instructions the kernel
//! kept interrupts waiting at most in all of them: in which boot, and in which functions.
//!
//! The scenarios start this program for their boots; by [`FOLDER`] in their environment it knows that it is to count.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::bench::{listing, native};
use crate::error::{Context, Error, Result, say, tell};
use crate::qemu::{Counter, Machine, Profile, Scratch};
use crate::setup::rust::cargo;
use crate::{Ready, guest};

/// Names the folder that has the counter, and where each boot puts what was counted.
const FOLDER: &str = "BATON_COUNTED";

/// The counter in that folder.
const LIBRARY: &str = "counter.so";

/// What counting needs: a processor without what makes copies short.
const PROCESSOR: &str = "qemu64";

/// Stretches of which the functions are told, and how many functions.
const SHOWN: usize = 3;
const FUNCTIONS: usize = 8;

/// The machine as it is asked for, or, if all boots are to be counted, that which counts.
#[must_use]
pub(crate) fn machine(asked: &Machine) -> Machine {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let mut machine = asked.clone();
    if let (Some(folder), None) = (std::env::var_os(FOLDER).map(PathBuf::from), &asked.counter) {
        let name = format!("{}-{}.counted", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let (library, out) = (folder.join(LIBRARY), folder.join(name));
        machine.counter = Some(Counter { library, out, profile: Some(Profile::Longest) });
        if machine.processor == "max" {
            machine.processor = PROCESSOR.into();
        }
    }
    machine
}

/// Run those scenarios whose name has `filter` in it, all if it is empty, and say what was longest.
///
/// # Errors
/// Nothing was counted. That a scenario failed is only said: counting takes time.
pub fn run(ready: &Ready, filter: &str) -> Result<u8> {
    let scratch = Scratch::new()?;
    let library = scratch.path().join(LIBRARY);
    fs::copy(guest::counter()?, &library).context(|| format!("cannot write {}", library.display()))?;
    say(&format!("running the scenarios on {PROCESSOR}, counted; this takes a while"));
    let mut cargo = cargo();
    cargo.current_dir(guest::workspace()).args([
        "test",
        "--quiet",
        "--package",
        "system-tests",
        "--test",
        "system",
        "--",
    ]);
    // That of the figures counts by itself.
    cargo.args(["--skip", "point_08", "--test-threads", "2"]).args(Some(filter).filter(|filter| !filter.is_empty()));
    let status = cargo.env(FOLDER, scratch.path()).stdin(Stdio::null()).stdout(Stdio::null()).status();
    let passed = status.context(|| "cannot run cargo".into())?.success();
    let counted = counted(scratch.path())?;
    let objdump = listing::disassembly(&ready.guest.kernel)?;
    tell(&text(&counted, &objdump)?)?;
    if !passed {
        say("not every scenario passed (with the counter beside it, all takes longer)");
    }
    Ok(0)
}

/// What every boot counted: what it told last.
fn counted(folder: &Path) -> Result<Vec<String>> {
    let wrong = || format!("cannot read {}", folder.display());
    let mut texts = Vec::new();
    for entry in fs::read_dir(folder).context(wrong)? {
        let path = entry.context(wrong)?.path();
        if path.extension().is_some_and(|extension| extension == "counted") {
            let text = fs::read_to_string(&path).context(|| format!("cannot read {}", path.display()))?;
            // The last line may be cut short where the machine was ended; all of one telling is written at once.
            let text = text.rfind("{\"whole\"").map_or("", |last| &text[last..]);
            texts.push(text[..text.rfind('\n').map_or(0, |end| end + 1)].to_owned());
        }
    }
    Ok(texts)
}

/// The longest stretch of each boot in a line, and the functions of the longest of all.
fn text(counted: &[String], disassembly: &str) -> Result<String> {
    let mut boots: Vec<(u64, &String)> =
        counted.iter().filter_map(|text| Some((native::longest(text).ok()?, text))).collect();
    boots.sort_by_key(|(longest, _)| std::cmp::Reverse(*longest));
    let Some((longest, _)) = boots.first() else {
        return Err(Error::new("no boot came to its end"));
    };
    let (ended, middle) = (boots.len(), boots[boots.len() / 2].0);
    let killed = counted.len() - ended;
    let mut text = format!(
        "longest stretch of {ended} boots: {longest} instructions; of half of them at most {middle} ({killed} boots told nothing)\n"
    );
    let firsts: Vec<String> = boots.iter().take(10).map(|(longest, _)| longest.to_string()).collect();
    // Nothing fails that is written to a string.
    let _ = writeln!(text, "the ten longest: {}", firsts.join(", "));
    for (longest, boot) in boots.iter().take(SHOWN) {
        let _ = writeln!(text, "\n{longest} instructions:");
        let mut functions = listing::parts(disassembly, &listing::times(boot)?, 1.0);
        functions.sort_by(|one, other| other.total.total_cmp(&one.total));
        for function in functions.iter().take(FUNCTIONS) {
            let _ = writeln!(text, "{:>7}  {}", function.total, function.name);
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_of_all_boots_is_told_with_its_functions() {
        let boot = |longest, address| {
            format!("{{\"whole\":true,\"longest\":{longest}}}\n{{\"address\":\"{address}\",\"times\":{longest}}}\n")
        };
        let boots = [boot(7, "0x10"), boot(9, "0x20"), String::new()];
        let disassembly = "00000010 <first>:\n  10:\tret\n\n00000020 <second>:\n  20:\thlt\n";
        let text = text(&boots, disassembly).expect("two boots ended");
        assert!(
            text.starts_with("longest stretch of 2 boots: 9 instructions; of half of them at most 7 (1 boots"),
            "{text}"
        );
        assert!(text.contains("\n9 instructions:\n      9  second\n\n7 instructions:\n      7  first\n"), "{text}");
        assert!(super::text(&[String::new()], disassembly).is_err());
    }

    #[test]
    fn boots_are_counted_only_if_that_is_asked_for() {
        assert!(machine(&Machine::new(64)).counter.is_none());
    }
}
