//! What was fired, and what came of it: how often each kind of shot was answered in each way. It tells whether nearly right
//! ones succeed often enough for the kernel to get far with them.

use core::fmt;

use abi::Error;
use abi::object::{Kind, method_name};

use crate::arsenal::METHODS;

/// Kinds of shots.
pub const DEEDS: usize = FIRST_METHOD + count_methods();
/// Answers: success, the errors by number, and at the end none: others have changed the thread's registers or made its calls
/// upcalls meanwhile.
pub const ANSWERS: usize = Error::Exhausted as usize + 2;
/// What is no method of an object.
const FIRST_METHOD: usize = 8;
const NAMES: [&str; FIRST_METHOD] =
    ["call of a server", "receive", "reply and receive", "reply", "read", "write", "raise", "nonsense"];

/// How many methods there are, and for each kind one that does not exist.
const fn count_methods() -> usize {
    first_method(METHODS.len())
}

/// How many there are of the kinds before this one.
const fn first_method(kind: usize) -> usize {
    let (mut before, mut other) = (0, 1);
    while other < kind {
        before += METHODS[other] as usize + 1;
        other += 1;
    }
    before
}

/// What a shot is meant to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deed(u8);

impl Deed {
    /// A message to a server.
    pub const CALL: Self = Self(0);
    /// A receive.
    pub const RECEIVE: Self = Self(1);
    /// A reply, then a receive.
    pub const REPLY_AND_RECEIVE: Self = Self(2);
    /// A reply.
    pub const REPLY: Self = Self(3);
    /// A read of what a caller lent.
    pub const READ: Self = Self(4);
    /// A write to it.
    pub const WRITE: Self = Self(5);
    /// A raise of a pulse.
    pub const RAISE: Self = Self(6);
    /// Nothing that makes sense.
    pub const NONSENSE: Self = Self(7);

    /// A method of an object, or the number after the last one of its kind.
    #[must_use]
    pub const fn method(number: u16) -> Self {
        Self((FIRST_METHOD + first_method((number >> 8) as usize) + (number & 0xff) as usize - 1) as u8)
    }

    /// All there are.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..DEEDS as u8).map(Self)
    }

    /// Its place in a [`Tally`].
    #[must_use]
    pub const fn place(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(method) = self.place().checked_sub(FIRST_METHOD) else {
            return formatter.write_str(NAMES[self.place()]);
        };
        let kind = (1..METHODS.len()).rfind(|kind| first_method(*kind) <= method).unwrap_or(1);
        let number = method - first_method(kind) + 1;
        match method_name((kind as u16) << 8 | number as u16) {
            Some(name) => formatter.write_str(name),
            None => write!(formatter, "no method of {:?}", Kind::from_number(kind as u8).unwrap_or_default()),
        }
    }
}

/// How often each deed was answered in each way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally(pub [[u64; ANSWERS]; DEEDS]);

impl Default for Tally {
    fn default() -> Self {
        Self([[0; ANSWERS]; DEEDS])
    }
}

/// The place of an answer (`rax`) in a row of a [`Tally`].
#[must_use]
pub const fn answer(status: u64) -> usize {
    let number = status as u16 as usize;
    if number < ANSWERS { number } else { ANSWERS - 1 }
}

impl Tally {
    /// One more.
    pub fn count(&mut self, deed: Deed, status: u64) {
        self.0[deed.place()][answer(status)] += 1;
    }

    /// Add what another one counted.
    pub fn add(&mut self, other: &Self) {
        for (sum, number) in self.0.iter_mut().flatten().zip(other.0.iter().flatten()) {
            *sum += number;
        }
    }

    /// How often a deed was done, and how often with success.
    #[must_use]
    pub fn successes(&self, deed: Deed) -> (u64, u64) {
        let row = &self.0[deed.place()];
        (row.iter().sum(), row[0])
    }

    /// A line for people: how often a deed was done, and how many of 1000 with which answer.
    #[must_use]
    pub const fn line(&self, deed: Deed) -> Line<'_> {
        Line { tally: self, deed }
    }
}

/// What [`Tally::line`] gives.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    tally: &'a Tally,
    deed: Deed,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (all, done) = self.tally.successes(self.deed);
        write!(formatter, "{}: {all}, of 1000: done {}", self.deed, done * 1000 / all.max(1))?;
        for (number, times) in self.tally.0[self.deed.place()].iter().enumerate().skip(1) {
            if *times == 0 {
                continue;
            }
            match Error::from_number(number as u16) {
                Some(error) => write!(formatter, ", {error:?} {}", times * 1000 / all)?,
                None => write!(formatter, ", no answer {}", times * 1000 / all)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::ToString;

    use abi::object::{memory, process};

    use super::*;

    #[test]
    fn deeds_have_their_own_places_and_names() {
        assert_eq!(Deed::method(process::CREATE_PROCESS).to_string(), "process.CREATE_PROCESS");
        assert_eq!(Deed::method(memory::PORT_WRITE_BYTES).to_string(), "memory.PORT_WRITE_BYTES");
        assert_eq!(Deed::method(memory::PORT_WRITE_BYTES).place(), DEEDS - 2);
        let names: std::collections::BTreeSet<_> = Deed::all().map(|deed| deed.to_string()).collect();
        assert_eq!(names.len(), DEEDS, "{names:?}");
    }

    #[test]
    fn a_line_tells_the_shares() {
        let mut tally = Tally::default();
        for status in [0, 1 << 16, 1, 2] {
            tally.count(Deed::READ, status);
        }
        assert_eq!(tally.line(Deed::READ).to_string(), "read: 4, of 1000: done 500, BadHandle 250, WrongKind 250");
    }
}
