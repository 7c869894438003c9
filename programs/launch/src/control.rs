//! The control port: what is said to the host, and the thread that does what the host asks for.

use abi::Handle;
use abi::host::{CONTROL_PORT, EXIT, HostRecord, READY, RESIZE, TEXT};
use abi::thread::Policy;
use alloc::boxed::Box;
use protocol::file::{AT_POSITION, answer};
use protocol::resource_manager::open_flags;
use protocol::{Errno, Failure, file};
use runtime::object::{process as kernel, thread};
use runtime::{Buffers, Options, start};

use crate::files::{self, File};

/// `ioctl`: set the window's size.
const TIOCSWINSZ: u64 = 0x5414;
/// Bytes of the thread's stack.
const STACK_LENGTH: usize = 64 << 10;
/// Most bytes that are said at once.
const PIECE: usize = 2048;

/// The control port, open.
#[derive(Debug)]
pub(crate) struct Control(File);

/// What the listening thread uses; it lives as long as the program.
struct Listener {
    port: Handle,
    space: Handle,
    console: Option<File>,
}

fn encode(record: HostRecord) -> [u8; size_of::<HostRecord>()] {
    let mut bytes = [0; size_of::<HostRecord>()];
    for (place, word) in bytes.chunks_exact_mut(4).zip([record.kind, record.a, record.b, record.c]) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

fn decode(bytes: &[u8; size_of::<HostRecord>()]) -> HostRecord {
    let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    HostRecord { kind: word(0), a: word(4), b: word(8), c: word(12) }
}

/// Say a record, with text behind it. Both go in one message, so that those of two threads do not mix.
fn say(port: Handle, record: HostRecord, text: &[u8]) {
    let record = encode(record);
    let mut sent = 0;
    let length = record.len() + text.len();
    while sent < length {
        let buffers = Buffers::new().send(&record[sent.min(record.len())..]);
        let mut buffers = buffers.send(&text[sent.saturating_sub(record.len())..]);
        match file::write(port, AT_POSITION, 0, &mut buffers, Options::NONE) {
            Ok(answer::Write { count: 0, .. }) | Err(Failure::Service(_) | Failure::Kernel(_)) => return,
            Ok(written) => sent += written.count as usize,
            Err(_) => {}
        }
    }
}

fn say_text(port: Handle, text: &[u8]) {
    for piece in text.chunks(PIECE) {
        say(port, HostRecord { kind: TEXT, a: piece.len() as u32, b: 0, c: 0 }, piece);
    }
}

impl Control {
    /// Open it, once its driver has found it.
    pub(crate) fn open(space: Handle) -> Result<Self, Errno> {
        files::open_port(space, CONTROL_PORT, open_flags::BOTH).map(Self)
    }

    fn port(&self) -> Handle {
        self.0.handle.handle()
    }

    /// The program is about to start. The time-stamp counter at the kernel's entry goes with it, if init told it.
    pub(crate) fn ready(&self) {
        let entry = start::number("entry-tsc");
        say(self.port(), HostRecord { kind: READY, a: entry as u32, b: (entry >> 32) as u32, c: 0 }, &[]);
    }

    /// For the user.
    pub(crate) fn text(&self, text: &[u8]) {
        say_text(self.port(), text);
    }

    /// The program has ended, and the host has all that was said and written.
    pub(crate) fn exit(&self, status: u32, failed: bool) {
        say(self.port(), HostRecord { kind: EXIT, a: status, b: failed.into(), c: 0 }, &[]);
        // If it cannot be waited for, the host has to read faster than the machine ends.
        let _ = file::sync(self.port(), 0, &mut Buffers::new(), Options::NONE);
    }

    /// Do what the host asks for, in a thread of its own.
    pub(crate) fn listen(&self, space: Handle) {
        let listener = Box::new(Listener { port: self.port(), space, console: None });
        let stack = Box::leak(alloc::vec![0u128; STACK_LENGTH / size_of::<u128>()].into_boxed_slice());
        let own = Handle::SELF_PROCESS;
        // As a called function finds it: the stack 8 below a multiple of 16.
        let top = stack.as_ptr_range().end as u64 - 8;
        let argument = Box::into_raw(listener) as u64;
        let started = kernel::create_thread(own, Handle::NONE).and_then(|thread| {
            let baton = kernel::create_baton(own, start::number("priority") as u8, Policy::RoundRobin, 0)?;
            // A thread without a name does as well.
            let _ = thread::set_name(thread, "control");
            thread::start(thread, listen as *const () as u64, top, argument, baton)
        });
        if let Err(error) = started {
            runtime::log!(Error, "the host will not be heard: {}", error.text());
        }
    }
}

/// The thread.
#[allow(unsafe_code)]
extern "C" fn listen(listener: u64) -> ! {
    // SAFETY: `Control::listen` made it by `Box::into_raw` for this thread alone.
    let mut listener = unsafe { Box::from_raw(listener as *mut Listener) };
    let mut record = [0; size_of::<HostRecord>()];
    let mut filled = 0;
    loop {
        let mut buffers = Buffers::new().receive(&mut record[filled..]);
        match file::read(listener.port, AT_POSITION, 0, &mut buffers, Options::NONE) {
            // The host will say nothing more.
            Ok(answer::Read { count: 0, .. }) | Err(Failure::Service(_) | Failure::Kernel(_)) => break,
            Ok(read) => filled += read.count as usize,
            Err(_) => {}
        }
        if filled == record.len() {
            filled = 0;
            let record = decode(&record);
            if record.kind == RESIZE {
                listener.resize(record.a, record.b);
            }
        }
    }
    // What has no thread can destroy itself; a thread cannot. It waits for what never comes.
    loop {
        let Ok(gate) = kernel::create_gate(Handle::SELF_PROCESS, Handle::NONE, 0) else { continue };
        // Nobody sends there.
        let _ = runtime::receive(gate, &mut Buffers::new(), Options::NONE);
    }
}

impl Listener {
    fn resize(&mut self, rows: u32, columns: u32) {
        if self.console.is_none() {
            self.console = files::open(self.space, crate::CONSOLE, open_flags::BOTH | O_NOCTTY).ok();
        }
        let Some(console) = &self.console else { return };
        // struct winsize: rows, columns, and both in pixels, which nobody knows.
        let [rows, columns] = [rows, columns].map(|count| (count as u16).to_le_bytes());
        let size = [rows[0], rows[1], columns[0], columns[1], 0, 0, 0, 0];
        let mut buffers = Buffers::new().send(&size);
        // Without a size it is as it was.
        let _ = file::control(console.handle.handle(), TIOCSWINSZ, 0, &mut buffers, Options::NONE);
    }
}

/// Open it without becoming its session (which a native program does not have).
const O_NOCTTY: u64 = 0o400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_the_way() {
        let record = HostRecord { kind: RESIZE, a: 1, b: u32::MAX, c: 0x0102_0304 };
        assert_eq!(decode(&encode(record)), record);
    }
}
