//! The rows of native programs: a boot with `programs/bench` in place of init.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use super::Figure;
use crate::archive::Tree;
use crate::error::{Context, Error, Result};
use crate::qemu::{self, End, Machine, Scratch};
use crate::{Ready, image, module};

/// Boot, and read what it tells on the debug port.
///
/// # Errors
/// It does not boot or does not end in time, or a row could not be measured.
pub(super) fn measure(ready: &Ready, machine: &Machine, limit: Duration) -> Result<Vec<Figure>> {
    let scratch = Scratch::new()?;
    let (file, told) = (scratch.path().join("module"), scratch.path().join("told"));
    module::write(image::bench(&ready.guest)?, &Tree::default(), &file)?;
    let machine = Machine { log: Some(told.clone()), ..machine.clone() };
    let mut running = qemu::start(&ready.qemu, &machine, &ready.guest.kernel, &file, scratch.path())?;
    let end = running.finish(limit);
    let text = fs::read_to_string(&told).context(|| format!("cannot read {}", told.display()))?;
    if end != End::PoweredOff {
        return Err(Error::new(format!("measuring: {end}{}\n{text}", running.last_words())));
    }
    rows(&text, machine.processor)
}

fn rows(text: &str, processor: &str) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for line in text.lines() {
        let value: Value = serde_json::from_str(line).context(|| format!("not a row: {line}"))?;
        if let Some(name) = value["failed"].as_str() {
            let error = value["error"].as_str().unwrap_or_default();
            return Err(Error::new(format!("{name} could not be measured: {error}")));
        }
        if value["counted"].is_null() {
            figures.push(super::row(line, processor)?);
        }
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_failed_is_an_error() {
        let row = r#"{"name":"a","value":0.501,"unit":"share","how":"b"}"#;
        let counted = r#"{"counted":"a","section":3,"rounds":10}"#;
        let figures = rows(&format!("{counted}\n{row}\n"), "max").expect("rows");
        assert_eq!((figures.len(), figures[0].value), (1, 0.501));
        assert!(rows(&format!("{row}\n{{\"failed\":\"b\",\"error\":\"why\"}}"), "max").is_err());
        assert!(rows("noise", "max").is_err());
    }
}
