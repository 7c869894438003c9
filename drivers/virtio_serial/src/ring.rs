//! A queue of the device with its buffers: which of them the device has, and which were filled or emptied.

use alloc::vec::Vec;
use core::ptr::NonNull;

use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::Transport;

use crate::dma::{self, DeviceMemory};

/// Descriptors of a queue.
pub(crate) const QUEUE_LENGTH: usize = 32;

/// Which way a queue's buffers go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// The device fills them.
    FromDevice,
    /// The device reads them.
    ToDevice,
}

/// A queue and its buffers.
pub(crate) struct Ring {
    queue: VirtQueue<DeviceMemory, QUEUE_LENGTH>,
    number: u16,
    direction: Direction,
    buffers: Vec<NonNull<[u8]>>,
    /// Buffers of the driver's side, by position in `buffers`.
    free: Vec<usize>,
    /// Token → buffer and length, for what the device has.
    lent: [Option<(usize, usize)>; QUEUE_LENGTH],
}

impl Ring {
    /// Queue `number`, with `count` buffers of `length` bytes.
    pub(crate) fn new(
        transport: &mut impl Transport,
        number: u16,
        direction: Direction,
        count: usize,
        length: usize,
    ) -> Option<Self> {
        let queue = VirtQueue::new(transport, number, false, false).ok()?;
        let buffers = (0..count).map(|_| dma::buffer(length)).collect::<Option<Vec<_>>>()?;
        let free = (0..count).rev().collect();
        Some(Self { queue, number, direction, buffers, free, lent: [None; QUEUE_LENGTH] })
    }

    /// A buffer that the driver holds.
    pub(crate) fn bytes(&self, buffer: usize) -> &[u8] {
        // SAFETY: the buffer lies in the run, which stays mapped; callers name buffers of the driver's side only, so
        // the device does not write it.
        unsafe { self.buffers[buffer].as_ref() }
    }

    /// Take a free buffer, to be filled.
    pub(crate) fn take_free(&mut self) -> Option<usize> {
        self.free.pop()
    }

    /// Whether a buffer is free.
    pub(crate) fn has_free(&self) -> bool {
        !self.free.is_empty()
    }

    /// Whether the device has none.
    pub(crate) fn is_idle(&self) -> bool {
        self.lent.iter().all(Option::is_none)
    }

    /// Write access to a buffer of the driver's side.
    pub(crate) fn bytes_mut(&mut self, buffer: usize) -> &mut [u8] {
        // SAFETY: as `bytes`; the borrow of `self` keeps it exclusive.
        unsafe { self.buffers[buffer].as_mut() }
    }

    /// Put a buffer back without using it.
    pub(crate) fn give_back(&mut self, buffer: usize) {
        self.free.push(buffer);
    }

    /// Give the first `length` bytes of a buffer to the device.
    pub(crate) fn lend(&mut self, transport: &mut impl Transport, buffer: usize, length: usize) {
        let mut run = NonNull::slice_from_raw_parts(self.buffers[buffer].cast::<u8>(), length);
        let added = match self.direction {
            Direction::FromDevice => {
                // SAFETY: the run stays mapped; the driver does not touch the buffer until it is popped.
                let bytes = unsafe { run.as_mut() };
                // SAFETY: as above.
                unsafe { self.queue.add(&[], &mut [bytes]) }
            }
            Direction::ToDevice => {
                // SAFETY: as above.
                let bytes = unsafe { run.as_ref() };
                // SAFETY: as above.
                unsafe { self.queue.add(&[bytes], &mut []) }
            }
        };
        match added {
            Ok(token) => self.lent[usize::from(token) % QUEUE_LENGTH] = Some((buffer, length)),
            // No descriptor: cannot be, as there are no more buffers than descriptors.
            Err(_) => self.free.push(buffer),
        }
        if self.queue.should_notify() {
            transport.notify(self.number);
        }
    }

    /// Give every free buffer to the device, to be filled.
    pub(crate) fn lend_all(&mut self, transport: &mut impl Transport) {
        while let Some(buffer) = self.free.pop() {
            let length = self.buffers[buffer].len();
            self.lend(transport, buffer, length);
        }
    }

    /// The next buffer that the device is done with: which, and how many bytes it wrote. It is the driver's now, and not free.
    pub(crate) fn pop(&mut self) -> Option<(usize, usize)> {
        let token = self.queue.peek_used()?;
        let (buffer, length) = self.lent[usize::from(token) % QUEUE_LENGTH].take()?;
        let mut run = NonNull::slice_from_raw_parts(self.buffers[buffer].cast::<u8>(), length);
        let written = match self.direction {
            Direction::FromDevice => {
                // SAFETY: the device is done with the buffer, and the driver holds no other reference to it.
                let bytes = unsafe { run.as_mut() };
                // SAFETY: it is the buffer that was added under this token.
                unsafe { self.queue.pop_used(token, &[], &mut [bytes]) }
            }
            Direction::ToDevice => {
                // SAFETY: as above.
                let bytes = unsafe { run.as_ref() };
                // SAFETY: as above.
                unsafe { self.queue.pop_used(token, &[bytes], &mut []) }
            }
        };
        written.ok().map(|written| (buffer, (written as usize).min(length)))
    }
}
