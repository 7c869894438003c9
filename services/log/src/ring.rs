//! The lines kept: a ring of text, the oldest lines making room for new ones.
//!
//! A sequence number is a count of bytes ever appended: a line's is where it begins.

use alloc::collections::TryReserveError;
use alloc::vec::Vec;
use core::fmt::{self, Write};

/// Lines of text in a ring of fixed size.
#[derive(Debug)]
pub(crate) struct Ring {
    bytes: Vec<u8>,
    /// Where the oldest line begins.
    oldest: u64,
    /// Where the next line will begin.
    next: u64,
    /// Where what is being appended ends.
    end: u64,
}

impl Ring {
    /// A ring of `size` bytes.
    pub(crate) fn new(size: usize) -> Result<Self, TryReserveError> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(size)?;
        bytes.resize(size, 0);
        Ok(Self { bytes, oldest: 0, next: 0, end: 0 })
    }

    /// Append a line, as the kernel log of Linux has it.
    pub(crate) fn append(&mut self, level: u64, monotonic_ns: u64, line: &[u8]) {
        let microseconds = monotonic_ns / 1000;
        // Writing to the ring cannot fail.
        let _ = write!(self, "<{}>[{:5}.{:06}] ", level & 7, microseconds / 1_000_000, microseconds % 1_000_000);
        for &byte in line {
            self.push(if byte == b'\n' { b' ' } else { byte });
        }
        self.push(b'\n');
        self.next = self.end;
    }

    fn push(&mut self, byte: u8) {
        let size = self.bytes.len() as u64;
        if self.end - self.oldest == size {
            // Forget the oldest line, whole.
            while self.oldest < self.end && self.at(self.oldest) != b'\n' {
                self.oldest += 1;
            }
            self.oldest = (self.oldest + 1).min(self.end);
        }
        let place = self.place(self.end);
        self.bytes[place] = byte;
        self.end += 1;
    }

    fn place(&self, sequence: u64) -> usize {
        (sequence % self.bytes.len() as u64) as usize
    }

    fn at(&self, sequence: u64) -> u8 {
        self.bytes[self.place(sequence)]
    }

    /// The whole lines from `from` on that fit in `room` bytes, as two runs of text, and where the next read goes on.
    pub(crate) fn read(&self, from: u64, room: usize) -> ([&[u8]; 2], u64) {
        let mut from = from.clamp(self.oldest, self.next);
        if from > self.oldest && self.at(from - 1) != b'\n' {
            // Not where a line begins: go on with the next.
            while from < self.next && self.at(from - 1) != b'\n' {
                from += 1;
            }
        }
        let mut end = self.next.min(from.saturating_add(room as u64));
        while end > from && self.at(end - 1) != b'\n' {
            end -= 1;
        }
        let (start, length) = (self.place(from), (end - from) as usize);
        let first = length.min(self.bytes.len() - start);
        ([&self.bytes[start..start + first], &self.bytes[..length - first]], end)
    }

    /// Forget all lines.
    pub(crate) const fn clear(&mut self) {
        self.oldest = self.next;
    }

    /// Sequence number of the next line, and bytes kept.
    pub(crate) const fn position(&self) -> (u64, u64) {
        (self.next, self.next - self.oldest)
    }
}

impl Write for Ring {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.push(byte);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;

    fn text(ring: &Ring, from: u64, room: usize) -> (String, u64) {
        let ([first, second], next) = ring.read(from, room);
        (String::from_utf8([first, second].concat()).unwrap_or_default(), next)
    }

    #[test]
    fn lines_come_back_in_order_and_reading_goes_on() {
        let mut ring = Ring::new(200).expect("memory");
        ring.append(6, 1_234_567_890, b"one");
        ring.append(3, 2_000_000, b"two\nlines");
        let (all, next) = text(&ring, 0, 1000);
        assert_eq!(all, "<6>[    1.234567] one\n<3>[    0.002000] two lines\n");
        assert_eq!(text(&ring, next, 1000), (String::new(), next));
        let (first, after) = text(&ring, 0, 30);
        assert_eq!(first, "<6>[    1.234567] one\n");
        assert_eq!(text(&ring, after, 1000).0, "<3>[    0.002000] two lines\n");
    }

    #[test]
    fn old_lines_make_room_and_only_whole_ones_are_read() {
        let mut ring = Ring::new(100).expect("memory");
        for number in 0..1000u32 {
            ring.append(6, u64::from(number) * 1000, alloc::format!("line {number}").as_bytes());
            let (all, _) = text(&ring, 0, 1000);
            assert!(all.ends_with(&alloc::format!("line {number}\n")), "{all}");
            assert!(all.split_inclusive('\n').all(|line| line.starts_with("<6>[") && line.ends_with('\n')), "{all}");
            assert!(number < 5 || all.len() > 60);
        }
    }

    #[test]
    fn a_line_longer_than_the_ring_does_no_harm() {
        let mut ring = Ring::new(64).expect("memory");
        ring.append(6, 0, &[b'x'; 500]);
        ring.append(6, 0, b"after");
        assert!(text(&ring, 0, 1000).0.ends_with("after\n"));
        ring.clear();
        assert_eq!(text(&ring, 0, 1000).0, "");
    }
}
