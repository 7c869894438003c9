//! Events in order, each with what is known from those before: who a thread is, which message a request was, whom it was
//! served for, and of which trace it is.

use std::collections::HashMap;

use abi::Error;
use abi::trace::{self, Event, READER, TraceHead};

use super::{Noted, names};

/// A line of the story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// ns since boot.
    pub(super) time_ns: u64,
    /// Who: the thread's slot, and its name.
    pub(super) thread: u16,
    pub(super) name: String,
    /// The trace id; 0: none.
    pub(super) trace: u64,
    /// How many requests it is inside of.
    pub(super) depth: usize,
    pub(super) what: String,
    pub(super) part: Part,
    /// The request that begins or ends; 0: none.
    pub(super) request: u64,
}

/// Of what a line is a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A server began with a request.
    Begin,
    /// It is done with it, or it left.
    End,
    /// Neither.
    Moment,
    /// So many events are missing here.
    Gap,
}

/// What is known while the story is told.
#[derive(Default)]
pub(super) struct Story {
    pub(super) lines: Vec<Line>,
    names: HashMap<u16, String>,
    /// By thread: the request it works on.
    serving: HashMap<u16, u64>,
    requests: HashMap<u64, Request>,
}

struct Request {
    server: u16,
    trace: u64,
    depth: usize,
    what: String,
}

impl Story {
    pub(super) fn tell(noted: &Noted) -> Self {
        let mut story = Self::default();
        let mut next = noted.events.first().map_or(0, |(number, _)| *number);
        for (number, event) in &noted.events {
            if *number > next {
                story.gap(&noted.head, event, number - next);
            }
            next = number + 1;
            story.event(&noted.head, event);
        }
        story
    }

    /// What happened in between is not known.
    fn gap(&mut self, head: &TraceHead, event: &Event, lost: u64) {
        self.serving.clear();
        self.requests.clear();
        let line = self.line(head, event, 0, 0, format!("{lost} events were lost"), Part::Gap);
        self.lines.push(Line { thread: 0, name: String::new(), ..line });
    }

    fn line(&self, head: &TraceHead, event: &Event, trace: u64, depth: usize, what: String, part: Part) -> Line {
        let name = self.name(event.thread);
        let request = if matches!(part, Part::Begin | Part::End) { event.word } else { 0 };
        Line { time_ns: head.nanoseconds(event.ticks()), thread: event.thread, name, trace, depth, what, part, request }
    }

    fn name(&self, thread: u16) -> String {
        match self.names.get(&thread) {
            Some(name) => name.clone(),
            None if thread == 0 => "(nobody)".into(),
            None => format!("thread {thread}"),
        }
    }

    /// The trace of what a thread does now, and how deep in requests it is.
    fn place(&self, thread: u16, noted: u64) -> (u64, usize) {
        match self.serving.get(&thread).and_then(|request| self.requests.get(request)) {
            Some(request) => (if noted == 0 { request.trace } else { noted }, request.depth + 1),
            None => (noted, 0),
        }
    }

    fn event(&mut self, head: &TraceHead, event: &Event) {
        let (thread, label) = (event.thread, event.label);
        if event.event == trace::NAMED {
            let bytes = [event.trace.to_le_bytes(), event.word.to_le_bytes()].concat();
            let name = String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_owned();
            self.names.insert(thread, name);
            return;
        }
        let (id, depth) = self.place(thread, event.trace);
        let caller = event.word as u16;
        let line = match event.event {
            trace::SENT => {
                let what = format!("waits at gate {} with message {label:#x}", event.word & 0xffff);
                self.line(head, event, id, depth, what, Part::Moment)
            }
            trace::RECEIVED => {
                let (outer, depth) = self.place(caller, event.trace);
                let id = if outer == 0 { event.word } else { outer };
                let what = format!("{} from {}", names::message(&self.name(thread), label), self.name(caller));
                self.serving.insert(thread, event.word);
                self.requests.insert(event.word, Request { server: thread, trace: id, depth, what: what.clone() });
                self.line(head, event, id, depth, what, Part::Begin)
            }
            trace::REPLIED => {
                let request = self.forget(event.word);
                let (id, depth) = request.as_ref().map_or((event.trace, 0), |request| (request.trace, request.depth));
                let to = request.map_or(String::new(), |request| format!(" to {}", request.what));
                self.line(head, event, id, depth, format!("answers {}{to}", names::answer(label)), Part::End)
            }
            trace::LEFT => {
                let why = Error::from_number(label as u16).map_or("an unknown reason", Error::text);
                let request = self.forget(event.word);
                let what = request.as_ref().map_or(String::new(), |request| format!(": {}", request.what));
                let part = if request.is_some() { Part::End } else { Part::Moment };
                self.line(head, event, id, depth, format!("waits no longer ({why}){what}"), part)
            }
            trace::RAISED => self.moment(head, event, format!("pulse {label} raised, badge {:#x}", event.word)),
            trace::TAKEN => {
                let what = match label >> 16 {
                    1 => format!("takes pulse {}, badge {:#x}", label & 0xffff, event.word),
                    2 => format!("learns that connection {:#x} is closed", event.word),
                    _ => format!("is asked to let {} go", self.name(label as u16)),
                };
                self.moment(head, event, what)
            }
            trace::RUNS if thread == 0 => self.moment(head, event, "nothing to run".into()),
            trace::RUNS => self.moment(head, event, format!("runs on baton {label}")),
            trace::LINE => self.moment(head, event, format!("interrupt of line {label}")),
            trace::ALARM => self.moment(head, event, "interrupt of the timer".into()),
            trace::FAULTED => {
                let what = names::message("process", label);
                self.moment(head, event, format!("{what} at {:#x}", event.word))
            }
            trace::CALLED => self.moment(head, event, format!("{} {:#x}", names::method(label), event.word)),
            trace::STARTED => self.moment(head, event, format!("starts, in process {:#x}", event.word)),
            trace::ENDED => self.moment(head, event, format!("ends, in process {:#x}", event.word)),
            trace::MARKED => self.moment(head, event, format!("mark {label} {:#x}", event.word)),
            other => self.moment(head, event, format!("event {other:#x}")),
        };
        if line.trace != READER {
            self.lines.push(line);
        }
    }

    fn moment(&self, head: &TraceHead, event: &Event, what: String) -> Line {
        let (id, depth) = self.place(event.thread, event.trace);
        self.line(head, event, id, depth, what, Part::Moment)
    }

    /// A request is over.
    fn forget(&mut self, id: u64) -> Option<Request> {
        let request = self.requests.remove(&id)?;
        if self.serving.get(&request.server) == Some(&id) {
            self.serving.remove(&request.server);
        }
        Some(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::trace::{NAMED, RECEIVED, REPLIED};

    fn event(event: u16, thread: u16, label: u32, word: u64, trace: u64) -> Event {
        Event { time: [0, 0], trace, word, label, thread, event }
    }

    fn named(thread: u16, name: &str) -> Event {
        let mut bytes = [0; 16];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        let number = u128::from_le_bytes(bytes);
        event(NAMED, thread, 0, (number >> 64) as u64, number as u64)
    }

    #[test]
    fn nested_calls_are_of_one_trace_and_deeper() {
        let events = [
            named(4, "memfs"),
            named(5, "process"),
            named(6, "sh"),
            event(RECEIVED, 4, 1, 0x1_0006, 0),
            event(RECEIVED, 5, 0x70, 0x2_0004, 0),
            event(REPLIED, 5, 0, 0x2_0004, 0),
            event(REPLIED, 4, 2, 0x1_0006, 0),
            event(RECEIVED, 4, 1, 0x2_0006, 0),
        ];
        let events = events.into_iter().zip(0..).map(|(event, number)| (number, event)).collect();
        let story = Story::tell(&Noted { events, ..Noted::default() });
        let lines: Vec<_> = story.lines.iter().map(|line| (line.trace, line.depth, line.part)).collect();
        assert_eq!(
            lines,
            [
                (0x1_0006, 0, Part::Begin),
                (0x1_0006, 1, Part::Begin),
                (0x1_0006, 1, Part::End),
                (0x1_0006, 0, Part::End),
                (0x2_0006, 0, Part::Begin),
            ]
        );
        assert_eq!(story.lines[1].what, "process.allocate from memfs");
        assert_eq!(story.lines[3].what, format!("answers {} to {}", names::answer(2), story.lines[0].what));
    }
}
