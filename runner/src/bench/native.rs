//! The rows of native programs: a boot with `programs/bench` in place of init, and QEMU's instructions counted by kind beside it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::{Counts, Figure};
use crate::archive::Tree;
use crate::error::{Context, Error, Result};
use crate::qemu::{self, Counter, End, Machine, Profile, Scratch};
use crate::{Ready, image, module};

/// The row of the longest stretch of all.
pub(super) const WORST: &str = "worst_entry";

/// Boot, and read the rows.
///
/// # Errors
/// It does not boot or does not end in time, or a row could not be measured.
pub(super) fn measure(ready: &Ready, machine: &Machine, counter: &Path, limit: Duration) -> Result<Vec<Figure>> {
    let (told, counted) = boot(ready, machine, counter, None, limit)?;
    rows(&told, &counted, &machine.processor)
}

/// Boot: what the program tells on the debug port, and what the plugin `counter` counted.
pub(super) fn boot(
    ready: &Ready,
    machine: &Machine,
    counter: &Path,
    profile: Option<Profile>,
    limit: Duration,
) -> Result<(String, String)> {
    let scratch = Scratch::new()?;
    let [file, told, counted] = ["module", "told", "counted"].map(|name| scratch.path().join(name));
    module::write(image::bench(&ready.guest)?, &Tree::default(), &file)?;
    let counter = Counter { library: counter.into(), out: counted.clone(), profile };
    let machine = Machine { log: Some(told.clone()), counter: Some(counter), ..machine.clone() };
    let mut running = qemu::start(&ready.qemu, &machine, &ready.guest.kernel, &file, scratch.path())?;
    let end = running.finish(limit);
    let read = |file: &Path| fs::read_to_string(file).context(|| format!("cannot read {}", file.display()));
    let text = read(&told)?;
    if end != End::PoweredOff {
        return Err(Error::new(format!("measuring: {end}{}\n{text}", running.last_words())));
    }
    Ok((text, read(&counted)?))
}

/// The longest stretch of a boot without a point where the kernel would take an interrupt.
pub(crate) fn longest(counted: &str) -> Result<u64> {
    let line = lines(counted)?.into_iter().rfind(|line| line["whole"] == true);
    line.and_then(|line| line["longest"].as_u64()).ok_or_else(|| Error::new("the counter did not finish"))
}

pub(super) fn lines(text: &str) -> Result<Vec<Value>> {
    text.lines().map(|line| serde_json::from_str(line).context(|| format!("not a row: {line}"))).collect()
}

fn rows(told: &str, counted: &str, processor: &str) -> Result<Vec<Figure>> {
    let sections: BTreeMap<u64, Value> =
        lines(counted)?.into_iter().filter_map(|line| Some((line["section"].as_u64()?, line))).collect();
    let section = |line: &Value| {
        let number = line["section"].as_u64();
        number.and_then(|number| sections.get(&number)).ok_or_else(|| Error::new("the counter missed a section"))
    };
    let (mut figures, mut counts) = (Vec::new(), None);
    for line in told.lines() {
        let value: Value = serde_json::from_str(line).context(|| format!("not a row: {line}"))?;
        if let Some(name) = value["failed"].as_str() {
            let error = value["error"].as_str().unwrap_or_default();
            return Err(Error::new(format!("{name} could not be measured: {error}")));
        } else if !value["counted"].is_null() {
            counts = Some(Counts::of(section(&value)?, value["rounds"].as_f64().unwrap_or(1.0)));
        } else if let Some(name) = value["stretch"].as_str() {
            let longest = section(&value)?["longest"].as_f64().unwrap_or(f64::MAX);
            let how = format!("longest stretch without taking interrupts: {}", value["how"].as_str().unwrap_or(""));
            figures.push(Figure {
                name: name.into(),
                value: longest,
                unit: "instructions".into(),
                how: format!("{how} (-cpu {processor})"),
                counts: None,
            });
        } else {
            figures.push(Figure { counts: counts.take(), ..super::row(line, processor)? });
        }
    }
    figures.push(Figure {
        name: WORST.into(),
        value: longest(counted)? as f64,
        unit: "instructions".into(),
        how: format!("longest stretch of the kernel's without taking interrupts, of the whole boot, and that of POSIX programs (-cpu {processor})"),
        counts: None,
    });
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTED: &str = r#"{"section":3,"kernel":9,"page_table_writes":20,"model_register_writes":0,"segment_base_instructions":80,"system_calls":20,"longest":77}
{"whole":true,"longest":99}"#;

    #[test]
    fn rows_have_what_was_counted_in_their_section() {
        let row = r#"{"name":"a","value":0.501,"unit":"share","how":"b"}"#;
        let counted = r#"{"counted":"a","section":3,"rounds":10}"#;
        let stretch = r#"{"stretch":"c","section":3,"how":"d"}"#;
        let figures = rows(&format!("{counted}\n{row}\n{stretch}\n"), COUNTED, "max").expect("rows");
        let [first, second, worst] = &figures[..] else { panic!("{figures:?}") };
        let counts = first.counts.expect("counts");
        assert_eq!((first.value, counts.page_table_writes, counts.segment_base_instructions), (0.501, 2.0, 8.0));
        assert_eq!((second.name.as_str(), second.value, worst.value), ("c", 77.0, 99.0));
        assert!(rows(r#"{"stretch":"c","section":4,"how":"d"}"#, COUNTED, "max").is_err());
    }

    #[test]
    fn a_row_that_failed_is_an_error() {
        assert!(rows("{\"failed\":\"b\",\"error\":\"why\"}", COUNTED, "max").is_err());
        assert!(rows("noise", COUNTED, "max").is_err());
        assert!(rows("", "", "max").is_err(), "the counter did not finish");
    }
}
