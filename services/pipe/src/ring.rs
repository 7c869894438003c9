//! Bytes on their way: a ring that grows up to its capacity.

use alloc::vec::Vec;

/// Bytes a ring starts with.
const FIRST: usize = 4096;

/// A bounded queue of bytes.
#[derive(Debug)]
pub(crate) struct Ring {
    bytes: Vec<u8>,
    start: usize,
    length: usize,
    capacity: usize,
}

impl Ring {
    pub(crate) const fn new(capacity: usize) -> Self {
        Self { bytes: Vec::new(), start: 0, length: 0, capacity }
    }

    pub(crate) const fn len(&self) -> usize {
        self.length
    }

    pub(crate) const fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many bytes can be put in.
    pub(crate) const fn room(&self) -> usize {
        self.capacity - self.length
    }

    /// Change the capacity; false if more than that is inside.
    pub(crate) fn set_capacity(&mut self, capacity: usize) -> bool {
        if capacity < self.length {
            return false;
        }
        if capacity < self.bytes.len() {
            // The bytes are put at the start of a smaller ring.
            self.bytes.rotate_left(self.start);
            self.start = 0;
            self.bytes.truncate(capacity);
            self.bytes.shrink_to_fit();
        }
        self.capacity = capacity;
        true
    }

    /// Memory for `more` bytes; less if there is none: how much.
    fn grow(&mut self, more: usize) -> usize {
        let wanted = (self.length + more).min(self.capacity);
        if wanted > self.bytes.len() {
            let size = wanted.next_power_of_two().clamp(FIRST, self.capacity.max(FIRST)).min(self.capacity);
            let old = self.bytes.len();
            if self.bytes.try_reserve_exact(size - old).is_ok() {
                self.bytes.rotate_left(self.start);
                self.start = 0;
                self.bytes.resize(size, 0);
            }
        }
        (self.bytes.len() - self.length).min(more)
    }

    /// The free part that follows the bytes, without wrapping, at most `length` of it: where the next bytes go.
    /// [`Ring::put`] then takes them in.
    pub(crate) fn free(&mut self, length: usize) -> &mut [u8] {
        let length = self.grow(length.min(self.room()));
        if self.bytes.is_empty() {
            return &mut [];
        }
        if self.length == 0 {
            self.start = 0;
        }
        let end = (self.start + self.length) % self.bytes.len();
        let limit = if end >= self.start { self.bytes.len() } else { self.start };
        let stop = limit.min(end + length);
        &mut self.bytes[end..stop]
    }

    /// Take in `count` bytes that were written to [`Ring::free`].
    pub(crate) const fn put(&mut self, count: usize) {
        self.length += count;
    }

    /// Take back the last `count` bytes that were put in.
    pub(crate) const fn unput(&mut self, count: usize) {
        self.length -= count;
    }

    /// The first bytes, at most `length`, in one or two parts.
    pub(crate) fn front(&self, length: usize) -> [&[u8]; 2] {
        let length = length.min(self.length);
        let first = length.min(self.bytes.len() - self.start);
        [&self.bytes[self.start..self.start + first], &self.bytes[..length - first]]
    }

    /// Drop the first bytes.
    pub(crate) fn consume(&mut self, count: usize) {
        let count = count.min(self.length);
        self.length -= count;
        self.start = if self.length == 0 { 0 } else { (self.start + count) % self.bytes.len() };
    }

    /// Drop everything.
    pub(crate) fn clear(&mut self) {
        self.length = 0;
        self.start = 0;
        self.bytes = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::VecDeque;

    fn write(ring: &mut Ring, mut bytes: &[u8]) -> usize {
        let mut done = 0;
        while !bytes.is_empty() {
            let free = ring.free(bytes.len());
            if free.is_empty() {
                break;
            }
            let count = free.len();
            free.copy_from_slice(&bytes[..count]);
            ring.put(count);
            bytes = &bytes[count..];
            done += count;
        }
        done
    }

    #[test]
    fn it_is_a_queue() {
        let mut ring = Ring::new(10_000);
        let mut model = VecDeque::new();
        let mut dice = 1u64;
        let mut next = 0u8;
        for _ in 0..2000 {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let count = (dice >> 40) as usize % 5000;
            if dice >> 20 & 1 == 0 {
                let bytes: Vec<u8> = (0..count).map(|at| next.wrapping_add(at as u8)).collect();
                let done = write(&mut ring, &bytes);
                assert_eq!(done, count.min(10_000 - model.len()));
                model.extend(&bytes[..done]);
                next = next.wrapping_add(done as u8);
            } else {
                let [a, b] = ring.front(count);
                let read: Vec<u8> = a.iter().chain(b).copied().collect();
                let count = read.len();
                assert!(read.iter().eq(model.iter().take(count)));
                ring.consume(count);
                model.drain(..count);
            }
            assert_eq!((ring.len(), ring.room()), (model.len(), 10_000 - model.len()));
        }
    }

    #[test]
    fn the_capacity_changes_without_losing_bytes() {
        let mut ring = Ring::new(8192);
        assert_eq!(write(&mut ring, &[1; 8000]), 8000);
        ring.consume(7000);
        assert_eq!(write(&mut ring, &[2; 3000]), 3000);
        assert!(!ring.set_capacity(3999));
        assert!(ring.set_capacity(4096));
        let [a, b] = ring.front(9999);
        let bytes: Vec<u8> = a.iter().chain(b).copied().collect();
        assert_eq!(bytes, [[1; 1000].as_slice(), &[2; 3000]].concat());
        assert_eq!(write(&mut ring, &[3; 500]), 96);
        assert!(ring.set_capacity(65536));
        assert_eq!(ring.room(), 65536 - 4096);
    }
}
