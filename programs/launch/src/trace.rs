//! Passing the kernel's trace on to the host while a program runs: a thread that copies events out of the ring into a stream
//! ([`abi::trace::TracePiece`]), every millisecond and at the end.

use abi::archive::{Archive, TRACE_ORDER};
use abi::call::flags::DEADLINE_RECEIVE;
use abi::object::access;
use abi::thread::Policy;
use abi::trace::{CHOSEN, EVENTS, Event, READER, RING_LENGTH, STARTED, TraceHead, TracePiece, class_of};
use abi::{Error, Handle, PAGE_SIZE};
use alloc::boxed::Box;
use alloc::format;
use protocol::file::{AT_POSITION, answer};
use protocol::resource_manager::open_flags;
use protocol::{Failure as Refusal, file};
use runtime::object::{gate, memory, process as kernel, thread};
use runtime::{Buffers, Mapping, Message, Options, clock, start};

use crate::Failure;
use crate::files::File;

/// How often the ring is read, ns. It holds 32,768 events; a message takes two of them and 150 ns at least.
const PERIOD_NS: u64 = 1_000_000;
/// Stronger than all that is traced but drivers.
const PRIORITY: u8 = 180;
/// Bytes of the thread's stack.
const STACK_LENGTH: usize = 64 << 10;
/// Events passed on at once.
const PIECE: usize = 512;
const EVENT: u64 = size_of::<Event>() as u64;
const HEADER: usize = size_of::<TracePiece>();

/// The classes that the host wants traced; 0: none.
pub(crate) fn wanted(archive: &Archive<'_>) -> u64 {
    let order = archive.find(TRACE_ORDER.as_bytes()).and_then(|file| file.data.first_chunk());
    order.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// A trace that is going on.
#[derive(Debug)]
pub(crate) struct Trace {
    /// To the thread.
    connection: Handle,
}

/// What the thread uses.
struct Reader {
    ring: Mapping,
    port: File,
    /// Bytes of events read, of all that were ever written.
    read: u64,
    piece: [u8; HEADER + PIECE * EVENT as usize],
}

impl Trace {
    /// Switch the classes on, and begin to pass on what was noted since the system started.
    pub(crate) fn begin(space: Handle, classes: u64) -> Result<Self, Failure> {
        let cannot = |error: Error| Failure::own(format!("cannot trace: {}", error.text()));
        let port = crate::port(space, abi::host::TRACE_PORT, open_flags::WRITE)?;
        let ring = Mapping::new(start::handle("trace"), 0, RING_LENGTH, access::READ).map_err(cannot)?;
        let connection = gate::connect(start::handle("gate"), 0, 0).map_err(cannot)?;
        let reader = Box::new(Reader { ring, port, read: 0, piece: [0; HEADER + PIECE * EVENT as usize] });
        let stack = Box::leak(alloc::vec![0u128; STACK_LENGTH / size_of::<u128>()].into_boxed_slice());
        // As a called function finds it: the stack 8 below a multiple of 16.
        let top = stack.as_ptr_range().end as u64 - 8;
        let own = Handle::SELF_PROCESS;
        let thread = kernel::create_thread(own, Handle::NONE).map_err(cannot)?;
        let baton = kernel::create_baton(own, PRIORITY, Policy::RoundRobin, 0).map_err(cannot)?;
        thread::set_name(thread, "trace").map_err(cannot)?;
        thread::start(thread, read_on as *const () as u64, top, Box::into_raw(reader) as u64, baton).map_err(cannot)?;
        memory::trace(start::handle("trace"), classes | class_of(STARTED)).map_err(cannot)?;
        Ok(Self { connection })
    }

    /// Switch off, and wait until the host has all of it.
    pub(crate) fn end(self) -> Result<(), Failure> {
        let cannot = |error: Error| Failure::own(format!("cannot end the trace: {}", error.text()));
        memory::trace(start::handle("trace"), 0).map_err(cannot)?;
        runtime::call_words(self.connection, Message::new(0, [0; 4])).map(drop).map_err(cannot)
    }
}

/// The thread.
#[allow(unsafe_code)]
extern "C" fn read_on(reader: u64) -> ! {
    // SAFETY: `Trace::begin` made it by `Box::into_raw` for this thread alone.
    let mut reader = unsafe { Box::from_raw(reader as *mut Reader) };
    // What passes the trace on is told apart in it. Without, it is only harder to read.
    let _ = thread::trace(READER, 0, 0);
    let gate = start::handle("gate");
    reader.introduce();
    loop {
        let deadline = clock::monotonic_ns() + PERIOD_NS;
        let received = runtime::receive(gate, &mut Buffers::new(), Options { flags: DEADLINE_RECEIVE, deadline });
        reader.pass_on();
        if let Ok(received) = received
            && received.request != 0
        {
            reader.finish();
            // A caller that is gone needs no answer.
            let _ = runtime::reply(received.request, Message::new(0, [0; 4]), &Buffers::new());
        }
    }
}

impl Reader {
    /// Say what the host needs to know of the clock.
    fn introduce(&self) {
        let page = clock::page();
        let mut head = [0; size_of::<TraceHead>()];
        put(&mut head, [page.tsc_hz, page.tsc_base]);
        self.send(&head);
    }

    fn written(&self) -> u64 {
        let mut bytes = [0; 8];
        self.ring.read(0, &mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// Pass on what was written up to now.
    fn pass_on(&mut self) {
        const RING: u64 = EVENTS as u64 * EVENT;
        let end = self.written();
        while self.read < end {
            // What is older was overwritten. The host sees it by the numbers.
            self.read = self.read.max(end.saturating_sub(RING));
            let at = self.read % RING;
            let length = (end - self.read).min(PIECE as u64 * EVENT).min(RING - at);
            self.ring.read(PAGE_SIZE + at, &mut self.piece[HEADER..HEADER + length as usize]);
            // As was what came round while it was copied.
            let lost = self.written().saturating_sub(RING).clamp(self.read, self.read + length) - self.read;
            self.read += lost;
            self.say(lost as usize, (length - lost) as usize);
            self.read += length - lost;
        }
    }

    /// Say the end: a piece without events.
    fn finish(&mut self) {
        self.pass_on();
        self.say(0, 0);
        // If it cannot be waited for, the host has to read faster than the machine ends.
        let _ = file::sync(self.port.handle.handle(), 0, &mut Buffers::new(), Options::NONE);
    }

    /// Say so many bytes of the events that were copied, from `offset` on.
    fn say(&mut self, offset: usize, length: usize) {
        let first = self.read / EVENT;
        put(&mut self.piece[offset..], [first, length as u64 / EVENT]);
        self.send(&self.piece[offset..offset + HEADER + length]);
    }

    fn send(&self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let mut buffers = Buffers::new().send(rest);
            match file::write(self.port.handle.handle(), AT_POSITION, 0, &mut buffers, Options::NONE) {
                Ok(answer::Write { count: 0, .. }) | Err(Refusal::Service(_) | Refusal::Kernel(_)) => return,
                Ok(written) => rest = &rest[(written.count as usize).min(rest.len())..],
                Err(_) => {}
            }
        }
    }
}

fn put(bytes: &mut [u8], words: [u64; 2]) {
    for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
}

const _: () = assert!(READER & CHOSEN != 0);
