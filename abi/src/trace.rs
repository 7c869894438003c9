//! The trace: what the kernel notes of what happens, in a ring per CPU that a program can read.
//!
//! The ring is a [`Kind::Memory`](crate::object::Kind::Memory) that init finds in its boot record: a [`RingHead`] in the first
//! page, then [`EVENTS`] times an [`Event`]. The kernel writes event number n (from 0) into place n modulo [`EVENTS`], so that the oldest are
//! overwritten; nothing is allocated and nobody is waited for. A reader that knows how many had been written before and after it
//! copied some knows which of them it missed. Which classes are noted is switched by
//! [`memory::TRACE`](crate::object::memory::TRACE); at first none is.
//!
//! **Trace ids.** Each event has the trace id of the baton that its thread ran on, so an id goes wherever the CPU time goes: with a call
//! to the server, from there to other servers, and back. A program gives its baton one by
//! [`thread::TRACE`](crate::object::thread::TRACE). Without, what is done for a call of a thread that works for nobody else has that
//! call's request id. (The kernel's shortest paths note 0 then: the reader knows for whom a thread works, from the events before.)

use crate::system_page::SystemPage;

/// Events in a ring.
pub const EVENTS: usize = 1 << 15;
/// Bytes of a ring.
pub const RING_LENGTH: u64 = crate::PAGE_SIZE + (EVENTS * size_of::<Event>()) as u64;
/// Set in the trace ids that programs chose.
pub const CHOSEN: u64 = 1 << 63;

/// The trace id of the program that passes the trace on.
pub const READER: u64 = CHOSEN | 1;

/// What the stream begins with, in which that program passes events on to the host: the clock, see
/// [`system_page`](crate::system_page).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct TraceHead {
    /// Ticks of the processor's counter a second.
    pub tsc_hz: u64,
    /// The counter when the monotonic clock was 0.
    pub tsc_base: u64,
}

impl TraceHead {
    /// Nanoseconds since boot at a reading of the counter.
    #[must_use]
    pub fn nanoseconds(&self, ticks: u64) -> u64 {
        let page = SystemPage { tsc_hz: self.tsc_hz, tsc_base: self.tsc_base, ..SystemPage::default() };
        page.monotonic_ns(ticks)
    }
}

/// Before each piece of the stream in which that program passes events on to the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct TracePiece {
    /// Number of its first event, counted from the system's start: a gap means that events were lost.
    pub first: u64,
    /// How many events follow; 0: the trace ends, and `first` events were noted in all.
    pub count: u64,
}

const _: () = assert!(size_of::<TracePiece>() == 16);

/// The first page of a ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct RingHead {
    /// How many bytes of events were ever written.
    pub written: u64,
}

/// What happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Event {
    /// When, on the processor's counter (see [`system_page`](crate::system_page)): low and high half.
    pub time: [u32; 2],
    /// The trace id of the baton, 0: none.
    pub trace: u64,
    /// What the event's description says.
    pub word: u64,
    /// What the event's description says.
    pub label: u32,
    /// The thread's slot, 0: nobody's.
    pub thread: u16,
    /// Which event: class << 8 | number.
    pub event: u16,
}

const _: () = assert!(size_of::<Event>() == 32 && EVENTS.is_power_of_two());

impl Event {
    /// When, on the processor's counter.
    #[must_use]
    pub const fn ticks(&self) -> u64 {
        self.time[0] as u64 | (self.time[1] as u64) << 32
    }
}

macro_rules! events {
    ($($(#[$class_doc:meta])* $class:ident = $number:literal { $($(#[$doc:meta])* $name:ident = $event:literal;)* })*) => {
        $($($(#[$doc])* pub const $name: u16 = $number << 8 | $event;)*)*

        /// Classes of events, each of which is switched for itself: name and bit.
        pub const CLASSES: &[(&str, u64)] = &[$((stringify!($class), 1 << $number)),*];

        /// The name of an event.
        #[must_use]
        pub const fn event_name(event: u16) -> Option<&'static str> {
            match event {
                $($($name => Some(stringify!($name)),)*)*
                _ => None,
            }
        }
    };
}

/// The bit of an event's class.
#[must_use]
pub const fn class_of(event: u16) -> u64 {
    1 << (event >> 8)
}

events! {
    /// Messages. The word is the request's id (bits 0–15: the caller's slot); it never repeats, but for a retried request.
    message = 0 {
        /// A caller waits at a gate. Word: the gate's slot, and above bit 31 its generation. Label: the message's.
        SENT = 0;
        /// A thread received a request, be it at the call or later. Label: the message's.
        RECEIVED = 1;
        /// A thread answered a request. Label: the answer's.
        REPLIED = 2;
        /// A thread's wait ended before its time: a request without an answer, or a receive. Label: [`Error`](crate::Error).
        LEFT = 3;
    }
    /// Pulses and the kernel's notices. The word is the badge.
    pulse = 1 {
        /// A pulse was raised that was not pending. The thread is the one that ran. Label: the pulse's slot.
        RAISED = 0;
        /// A thread took it. Label: what it is (bits 16–17: 1 pulse, 2 closed connection, 3 caller that wants to leave) and its slot.
        TAKEN = 1;
    }
    /// Who runs.
    schedule = 2 {
        /// The scheduler decided that this thread runs, maybe the one that ran before (a yield, a pulse); or none (0). A message passed at
        /// once is no decision. Label: the baton's slot.
        RUNS = 0;
    }
    /// Interrupts. The thread is the one that was interrupted.
    interrupt = 3 {
        /// A device's. Label: the line.
        LINE = 0;
        /// The timer's.
        ALARM = 1;
    }
    /// Faults.
    fault = 4 {
        /// A thread's fault goes to its pager. Label: the message's ([`notice`](crate::notice)). Word: the address, or the processor's vector.
        FAULTED = 0;
    }
    /// Calls of kernel objects.
    object = 5 {
        /// A method is called. Label: bits 0–31 of the call's. Word: the first word.
        CALLED = 0;
    }
    /// Threads.
    life = 6 {
        /// A thread starts. Label: its process's slot. Word: its process's identity.
        STARTED = 0;
        /// A thread ends. Label and word likewise.
        ENDED = 1;
        /// A thread is named: the name is in the trace id and the word.
        NAMED = 2;
    }
    /// What programs note themselves.
    mark = 7 {
        /// See [`thread::TRACE`](crate::object::thread::TRACE).
        MARKED = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_a_bit_of_its_own_and_every_event_a_name() {
        for (number, (_, bit)) in CLASSES.iter().enumerate() {
            assert_eq!(*bit, 1 << number);
        }
        assert_eq!((event_name(RECEIVED), class_of(RECEIVED)), (Some("RECEIVED"), 1));
        assert_eq!((event_name(MARKED), class_of(MARKED)), (Some("MARKED"), 1 << 7));
        assert_eq!(event_name(0xff), None);
    }
}
