//! What happened, in order: kept as a hash over everything and, for people, as the last events in full.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{Hash, Hasher};

use kernel::machine::Trap;

/// Events that are kept for printing, unless all are.
const KEPT: usize = 200;

/// One thing that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A program issued an exchange.
    Exchange {
        /// Which program.
        program: u32,
        /// `rax`.
        operation: u64,
        /// `rdi`.
        target: u64,
        /// `r10`.
        label: u64,
        /// `r12`.
        word: u64,
    },
    /// Its exchange returned.
    Answer {
        /// Which program.
        program: u32,
        /// `rax`.
        status: u64,
        /// `r10`.
        label: u64,
        /// `r12`.
        word: u64,
    },
    /// User code stopped for another reason, or idling ended.
    Trap {
        /// Which program, or `u32::MAX` while idling.
        program: u32,
        /// Why.
        trap: Trap,
    },
    /// A program ended.
    Finish {
        /// Which program.
        program: u32,
    },
}

/// FNV-1a, so that a hash in a report means the same on every machine and with every compiler.
#[derive(Debug)]
struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// All events of a run.
#[derive(Debug)]
pub struct Trace {
    hash: Fnv,
    count: u64,
    last: VecDeque<(u64, Event)>,
    kept: usize,
}

impl Default for Trace {
    fn default() -> Self {
        Self { hash: Fnv(0xcbf2_9ce4_8422_2325), count: 0, last: VecDeque::new(), kept: KEPT }
    }
}

impl Trace {
    /// Keep all events for printing.
    pub const fn keep_all(&mut self) {
        self.kept = usize::MAX;
    }

    /// Note that `event` happened at time `now`.
    pub fn record(&mut self, now: u64, event: Event) {
        let numbers: [u64; 6] = match event {
            Event::Exchange { program, operation, target, label, word } => {
                [1, u64::from(program), operation, target, label, word]
            }
            Event::Answer { program, status, label, word } => [2, u64::from(program), status, label, word, 0],
            Event::Trap { program, trap } => {
                let (kind, argument) = match trap {
                    Trap::Call => (0, 0),
                    Trap::PageFault { address, access } => (1, address ^ access),
                    Trap::Exception { vector, code } => (2, vector ^ code << 8),
                    Trap::Interrupt { line } => (3, u64::from(line)),
                    Trap::Alarm => (4, 0),
                    Trap::Kick => (5, 0),
                };
                [3, u64::from(program), kind, argument, 0, 0]
            }
            Event::Finish { program } => [4, u64::from(program), 0, 0, 0, 0],
        };
        (now, numbers).hash(&mut self.hash);
        self.count += 1;
        if self.last.len() == self.kept {
            self.last.pop_front();
        }
        self.last.push_back((now, event));
    }

    /// A number that two runs share only if the same happened in both, at the same times.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash.finish()
    }

    /// How many events there were.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (now, event) in &self.last {
            write!(formatter, "{now:>12} ")?;
            match event {
                Event::Exchange { program, operation, target, label, word } => {
                    let name = abi::Operation::from_number(*operation as u8)
                        .map_or_else(|| "?".to_string(), |operation| format!("{operation:?}"));
                    let method = abi::object::method_name(*label as u16).unwrap_or("");
                    writeln!(
                        formatter,
                        "program {program}: {name} flags {:#x} target {target:#x} label {label:#x} {method} word {word:#x}",
                        operation >> 8
                    )?;
                }
                Event::Answer { program, status, label, word } => {
                    let error = abi::Error::from_number(*status as u16);
                    match error {
                        None => writeln!(
                            formatter,
                            "program {program}: -> ok status {status:#x} label {label:#x} word {word:#x}"
                        )?,
                        Some(error) => writeln!(formatter, "program {program}: -> {error:?} word {word:#x}")?,
                    }
                }
                Event::Trap { program: u32::MAX, trap } => writeln!(formatter, "idle: {trap:x?}")?,
                Event::Trap { program, trap } => writeln!(formatter, "program {program}: {trap:x?}")?,
                Event::Finish { program } => writeln!(formatter, "program {program}: finished")?,
            }
        }
        Ok(())
    }
}
