//! Rows: how they are measured, and how they are told.

use core::fmt::{self, Write};

use abi::{Error, Handle};
use runtime::object::memory;

use crate::mark;

/// Rounds of what is short.
pub(crate) const ROUNDS: u64 = 1_000;
const WARM_UP: u64 = 20;

/// The time-stamp counter.
#[cfg(target_os = "none")]
#[inline(always)]
pub(crate) fn ticks() -> u64 {
    runtime::clock::ticks()
}

/// Nothing is measured on a host.
#[cfg(not(target_os = "none"))]
pub(crate) fn ticks() -> u64 {
    0
}

/// A figure.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value {
    /// Instructions of one of many rounds, and the section in which they were counted by kind.
    Instructions { total: u64, rounds: u64, section: u64 },
    /// A share, in thousandths.
    Share(u64),
}

/// Instructions of many rounds of `body` in a row, the loop's own included.
pub(crate) fn measure(rounds: u64, mut body: impl FnMut(u64) -> Result<(), Error>) -> Result<Value, Error> {
    for round in 0..WARM_UP.min(rounds) {
        body(round)?;
    }
    mark::begin();
    let start = ticks();
    for round in 0..rounds {
        body(round)?;
    }
    let total = ticks() - start;
    mark::pause();
    Ok(Value::Instructions { total, rounds, section: mark::end_section() })
}

/// Instructions between reading the counter twice, nothing in between.
fn timing() -> u64 {
    let start = ticks();
    let end = ticks();
    end - start
}

/// Rounds that are timed one by one: `body` gives the instructions of one, and sets the marks around them.
pub(crate) fn timed(rounds: u64, mut body: impl FnMut(u64) -> Result<u64, Error>) -> Result<Value, Error> {
    for round in 0..WARM_UP.min(rounds) {
        body(round)?;
    }
    // What the rounds for warming up left in it is a section of its own, which nobody asks for.
    mark::end_section();
    let mut total = 0;
    for round in 0..rounds {
        total += body(round)?.saturating_sub(timing());
    }
    Ok(Value::Instructions { total, rounds, section: mark::end_section() })
}

/// Time this: marks around it, the counter read before and after.
#[macro_export]
macro_rules! time {
    ($body:expr) => {{
        $crate::mark::begin();
        let start = $crate::row::ticks();
        $body;
        let end = $crate::row::ticks();
        $crate::mark::pause();
        end - start
    }};
}

/// Where rows are told: the emulator's debug port.
#[derive(Debug)]
pub(crate) struct Report {
    ports: Handle,
}

impl Report {
    pub(crate) const fn new(ports: Handle) -> Self {
        Self { ports }
    }

    /// Tell a row, or that it could not be measured.
    pub(crate) fn row(&self, name: &str, how: &str, value: Result<Value, Error>) {
        let (value, unit) = match value {
            Err(error) => return self.failed(name, error),
            Ok(Value::Share(thousandths)) => (thousandths, "share"),
            Ok(Value::Instructions { total, rounds, section }) => {
                self.line(format_args!(r#"{{"counted":"{name}","section":{section},"rounds":{rounds}}}"#));
                (total / rounds.max(1), "instructions")
            }
        };
        if unit == "share" {
            let (whole, part) = (value / 1000, value % 1000);
            self.line(format_args!(r#"{{"name":"{name}","value":{whole}.{part:03},"unit":"{unit}","how":"{how}"}}"#));
        } else {
            self.line(format_args!(r#"{{"name":"{name}","value":{value},"unit":"{unit}","how":"{how}"}}"#));
        }
    }

    /// Tell in which section the longest stretch without interrupts is to be looked for.
    pub(crate) fn stretch(&self, name: &str, how: &str, section: Result<u64, Error>) {
        match section {
            Ok(section) => self.line(format_args!(r#"{{"stretch":"{name}","section":{section},"how":"{how}"}}"#)),
            Err(error) => self.failed(name, error),
        }
    }

    /// A row could not be measured: whoever reads this fails.
    pub(crate) fn failed(&self, name: &str, error: Error) {
        self.line(format_args!(r#"{{"failed":"{name}","error":"{}"}}"#, error.text()));
    }

    fn line(&self, arguments: fmt::Arguments<'_>) {
        // Whoever does not get a whole line says so.
        let _ = (&mut &*self).write_fmt(arguments);
        let _ = (&mut &*self).write_str("\n");
    }

    /// The end.
    pub(crate) fn power_off(&self) -> ! {
        let port = u64::from(abi::host::DEBUG_EXIT_PORT);
        let _ = memory::port_write(self.ports, port, 4, abi::host::DEBUG_EXIT_POWER_OFF);
        panic!("the machine does not end")
    }
}

impl Write for &Report {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for chunk in text.as_bytes().chunks(16) {
            memory::port_write_bytes(self.ports, runtime::log::DEBUG_PORT, chunk).map_err(|_| fmt::Error)?;
        }
        Ok(())
    }
}
