//! `trace`: a program run as `exec` does, and what the kernel saw meanwhile, decoded.
//!
//! The guest passes the kernel's events on as they are ([`abi::trace`]); names of messages come from the protocols' own tables.

mod json;
mod names;
mod story;
mod text;

use std::fs::File;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use abi::trace::{Event, TraceHead, TracePiece};

use crate::error::{Context, Result, say};
use crate::options::{Options, Trace};
use crate::{Ready, exec};
use story::Story;

/// What came from the guest.
#[derive(Clone, Default)]
struct Received(Arc<Mutex<Vec<u8>>>);

impl Write for Received {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Run the program, write its trace, and return its status.
///
/// # Errors
/// As [`exec::run`]; the trace cannot be written.
pub fn run(ready: &Ready, options: &Options, trace: &Trace) -> Result<u8> {
    // Before anything takes time.
    let mut output: Box<dyn Write> = match &trace.output {
        Some(path) => Box::new(File::create(path).context(|| format!("cannot write {}", path.display()))?),
        None => Box::new(io::stderr()),
    };
    let received = Received::default();
    let status = exec::run_traced(ready, options, &trace.exec, trace.classes, received.clone())?;
    let bytes = received.0.lock().unwrap_or_else(PoisonError::into_inner);
    let noted = Noted::parse(&bytes);
    let story = Story::tell(&noted);
    let written = if trace.json { json::write(&story, &mut output) } else { text::write(&story, &mut output) };
    written.and_then(|()| output.flush()).context(|| "cannot write the trace".into())?;
    if noted.lost > 0 {
        say(&format!(
            "{} of {} events were lost: they came faster than they could be passed on",
            noted.lost, noted.all
        ));
    }
    if !noted.whole {
        say("the trace is cut short: the system ended before it had passed all of it on");
    }
    Ok(status)
}

/// Events as they came.
#[derive(Debug, Default)]
struct Noted {
    head: TraceHead,
    /// Each with its number.
    events: Vec<(u64, Event)>,
    lost: u64,
    all: u64,
    /// The end was told.
    whole: bool,
}

impl Noted {
    fn parse(mut bytes: &[u8]) -> Self {
        let mut noted = Self::default();
        let Some(head) = take(&mut bytes, size_of::<TraceHead>()) else { return noted };
        noted.head = TraceHead { tsc_hz: word(head, 0), tsc_base: word(head, 1) };
        while let Some(piece) = take(&mut bytes, size_of::<TracePiece>()) {
            let (first, count) = (word(piece, 0), word(piece, 1));
            noted.lost += first.saturating_sub(noted.all);
            noted.all = first;
            if count == 0 {
                noted.whole = true;
                break;
            }
            for number in first..first.saturating_add(count) {
                let Some(event) = take(&mut bytes, size_of::<Event>()) else { return noted };
                noted.events.push((number, event_from(event)));
                noted.all = number + 1;
            }
        }
        noted
    }
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

fn word(bytes: &[u8], index: usize) -> u64 {
    bytes[index * 8..index * 8 + 8].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn event_from(bytes: &[u8]) -> Event {
    let (time, kind) = (word(bytes, 0), word(bytes, 3));
    Event {
        time: [time as u32, (time >> 32) as u32],
        trace: word(bytes, 1),
        word: word(bytes, 2),
        label: kind as u32,
        thread: (kind >> 32) as u16,
        event: (kind >> 48) as u16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_between_pieces_is_lost_events_and_the_end_is_known() {
        let mut bytes: Vec<u8> = [1_000_000_000_u64, 5].iter().flat_map(|word| word.to_le_bytes()).collect();
        for words in [&[10, 1, 7, 0, 99, 0x0001_0003_0000_0008][..], &[15, 0]] {
            bytes.extend(words.iter().flat_map(|word: &u64| word.to_le_bytes()));
        }
        let noted = Noted::parse(&bytes);
        assert_eq!((noted.lost, noted.all, noted.whole, noted.events.len()), (14, 15, true, 1));
        let (number, event) = noted.events[0];
        assert_eq!((number, event.ticks(), event.word), (10, 7, 99));
        assert_eq!((event.event, event.thread, event.label), (1, 3, 8));
        for length in 0..bytes.len() {
            assert!(!Noted::parse(&bytes[..length]).whole);
        }
    }
}
