//! The port as a resource manager: who waits for bytes or for room.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use abi::Handle;
use protocol::Errno;
use protocol::file::{Status, answer, features};
use protocol::resource_manager::{
    Call, Data, Done, Open, OpenFile, Opened, Pollers, Refusal, ResourceManager, complete, events, mode,
};

use runtime::object::pulse;

use crate::uart::{OUTPUT_MAXIMUM, Uart};

/// Badge of the interrupt's pulse.
pub(crate) const INTERRUPT_BADGE: u64 = 1 << 32;
/// Major 4, minor 64: ttyS0.
const DEVICE_NUMBER: u64 = 4 << 8 | 64;
/// Most bytes taken over from a writer at a time.
const PIECE: usize = 1024;

/// A read that waits.
struct Reader {
    request: u64,
    room: usize,
}

/// The port.
pub(crate) struct Port {
    uart: Uart,
    interrupt: Handle,
    is_open: bool,
    readers: VecDeque<Reader>,
    /// Requests of those who wait until everything is sent.
    drains: Vec<u64>,
    pollers: Pollers,
}

impl Port {
    pub(crate) const fn new(uart: Uart, interrupt: Handle) -> Self {
        Self { uart, interrupt, is_open: false, readers: VecDeque::new(), drains: Vec::new(), pollers: Pollers::new() }
    }

    /// Something has come or gone: serve those who waited for it.
    fn progress(&mut self) {
        self.uart.service();
        while !self.uart.input.is_empty() {
            let Some(reader) = self.readers.pop_front() else { break };
            let data = self.input(reader.room);
            let count = data.len();
            if complete(reader.request, answer::Read { count: count as u64, ..Default::default() }.into(), &data) {
                self.uart.input.drain(..count);
            }
        }
        let mut ready = 0;
        if !self.uart.input.is_empty() {
            ready |= events::READABLE;
        }
        if self.uart.output.len() < OUTPUT_MAXIMUM {
            ready |= events::WRITABLE;
        }
        self.pollers.wake(ready);
        if self.uart.output.is_empty() {
            for request in self.drains.drain(..) {
                protocol::resource_manager::complete_plain(request, protocol::Reply::DONE);
            }
        }
    }

    /// What a reader with this much room gets.
    fn input(&mut self, room: usize) -> Data {
        let bytes = self.uart.input.make_contiguous();
        Data::of(&bytes[..bytes.len().min(room)])
    }
}

impl ResourceManager for Port {
    type File = ();

    fn open(&mut self, _: &Call<'_>, path: &[u8], open: &Open) -> Result<Opened<()>, Refusal> {
        if !path.is_empty() {
            return Err(Errno::ENOTDIR.into());
        }
        if self.is_open {
            return Err(Errno::EBUSY.into());
        }
        self.is_open = true;
        Ok(Opened::new((), open, mode::CHARACTER | 0o600, features::WAITS))
    }

    fn closed(&mut self, file: OpenFile<()>) {
        self.is_open = false;
        self.pollers.forget(file.badge);
    }

    fn status(&mut self, _: &Call<'_>, path: &[u8], _: bool) -> Result<Status, Refusal> {
        if !path.is_empty() {
            return Err(Errno::ENOTDIR.into());
        }
        Ok(Status {
            device: 5,
            inode: DEVICE_NUMBER,
            links: 1,
            mode: mode::CHARACTER | 0o600,
            device_node: DEVICE_NUMBER,
            block_size: 4096,
            ..Status::default()
        })
    }

    fn status_open(&mut self, call: &Call<'_>, _: &mut OpenFile<()>) -> Result<Status, Refusal> {
        self.status(call, b"", true)
    }

    fn read(&mut self, call: &Call<'_>, _: &mut OpenFile<()>, _: u64, wait: bool) -> Result<Data, Refusal> {
        if self.uart.input.is_empty() {
            self.uart.service();
        }
        if !self.uart.input.is_empty() {
            return Ok(self.input(call.room));
        }
        if !wait {
            return Err(Errno::EAGAIN.into());
        }
        self.readers.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        self.readers.push_back(Reader { request: call.request, room: call.room });
        Err(Refusal::Later)
    }

    fn delivered(&mut self, _: &mut OpenFile<()>, count: usize) {
        self.uart.input.drain(..count.min(self.uart.input.len()));
    }

    fn write(&mut self, call: &Call<'_>, _: &mut OpenFile<()>, _: u64, _: bool) -> Result<usize, Refusal> {
        let mut taken = 0;
        let mut piece = [0; PIECE];
        while taken < call.sent && self.uart.output.len() < OUTPUT_MAXIMUM {
            let count = match call.fetch(taken, &mut piece) {
                Ok(0) => break,
                Ok(count) => count,
                Err(_) if taken > 0 => break,
                Err(refusal) => return Err(refusal),
            };
            self.uart.output.extend(&piece[..count]);
            taken += count;
        }
        // Not only the output: what comes in meanwhile has no interrupt of its own any more, so whoever waits for it is told here.
        self.progress();
        if taken == 0 && call.sent > 0 {
            // The one opener is a terminal that polls; nobody waits inside the driver for room.
            return Err(Errno::EAGAIN.into());
        }
        Ok(taken)
    }

    fn sync(&mut self, call: &Call<'_>, _: &mut OpenFile<()>) -> Done {
        self.progress();
        if self.uart.output.is_empty() {
            return Ok(());
        }
        self.drains.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        self.drains.push(call.request);
        Err(Refusal::Later)
    }

    fn poll(&mut self, call: &Call<'_>, _: &mut OpenFile<()>, wanted: u64) -> u64 {
        self.progress();
        let mut ready = 0;
        if !self.uart.input.is_empty() {
            ready |= events::READABLE;
        }
        if self.uart.output.len() < OUTPUT_MAXIMUM {
            ready |= events::WRITABLE;
        }
        let ready = ready & wanted;
        if ready == 0 {
            self.pollers.arm(call, wanted);
        }
        ready
    }

    fn unblock(&mut self, request: u64) -> bool {
        let before = self.readers.len() + self.drains.len();
        self.readers.retain(|reader| reader.request != request);
        self.drains.retain(|&drain| drain != request);
        before != self.readers.len() + self.drains.len()
    }

    fn pulse(&mut self, badge: u64, _: u64) {
        if badge == INTERRUPT_BADGE {
            self.progress();
            // What came since then, while the line was masked, made no edge that anybody saw, and holds the line where it is:
            // look again once it is open, else no further byte is ever heard of.
            // It fails only without the handle, which binding has proved.
            let _ = pulse::rearm(self.interrupt);
            self.progress();
        }
    }
}
