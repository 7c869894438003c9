//! What happens while a machine runs, from all sides, in one queue.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use signal_hook::iterator::Signals;

use crate::control::{self, Message};
use crate::error::{Context, Result};

/// Something that happened.
#[derive(Debug)]
pub enum Event {
    /// The guest said something.
    Message(Message),
    /// The guest will say nothing more: QEMU has ended.
    Gone,
    /// A signal came.
    Signal(i32),
    /// All that came on a stream has been passed on.
    Drained(Stream),
    /// Nobody reads our output any more, or it cannot be written.
    OutputFailed(io::Error),
    /// The user pressed the key that ends a hung guest.
    Leave,
}

/// A stream from the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// The console.
    Serial,
    /// Standard output.
    Output,
    /// Standard error.
    Error,
    /// The trace.
    Trace,
}

/// Bytes that are moved at a time.
const CHUNK: usize = 64 * 1024;

/// Report `signals`.
///
/// # Errors
/// The host does not let us.
pub fn signals(signals: &[i32], events: &Sender<Event>) -> Result<()> {
    let mut signals = Signals::new(signals).context(|| "cannot handle signals".into())?;
    let events = events.clone();
    thread::spawn(move || {
        for signal in signals.forever() {
            // The other end is gone only when the runner is about to end.
            let _ = events.send(Event::Signal(signal));
        }
    });
    Ok(())
}

/// Report what the guest says.
///
/// # Errors
/// The host does not let us.
pub fn messages(port: &UnixStream, events: &Sender<Event>) -> Result<()> {
    let mut port = clone(port)?;
    let events = events.clone();
    thread::spawn(move || {
        while let Ok(message) = control::read(&mut port) {
            if events.send(Event::Message(message)).is_err() {
                return;
            }
        }
        // As above.
        let _ = events.send(Event::Gone);
    });
    Ok(())
}

/// Pass on what comes from the guest, then report [`Event::Drained`].
///
/// # Errors
/// The host does not let us.
pub fn pass_on(
    port: &UnixStream,
    stream: Stream,
    mut output: impl Write + Send + 'static,
    events: &Sender<Event>,
) -> Result<()> {
    let mut port = clone(port)?;
    let events = events.clone();
    thread::spawn(move || {
        let mut chunk = vec![0; CHUNK];
        let mut failed = false;
        // What cannot be written any more is still read, so that the guest does not wait for us.
        while let Ok(length @ 1..) = port.read(&mut chunk) {
            if failed {
                continue;
            }
            if let Err(error) = output.write_all(&chunk[..length]).and_then(|()| output.flush()) {
                failed = true;
                // As above.
                let _ = events.send(Event::OutputFailed(error));
            }
        }
        // As above.
        let _ = events.send(Event::Drained(stream));
    });
    Ok(())
}

/// A second handle to a socket.
///
/// # Errors
/// Too many files are open.
pub fn clone(port: &UnixStream) -> Result<UnixStream> {
    port.try_clone().context(|| "cannot share a socket".into())
}

/// The last of what was written, for when something goes wrong.
#[derive(Clone, Debug, Default)]
pub struct Tail(Arc<Mutex<Vec<u8>>>);

/// How much of it is kept.
const TAIL_LENGTH: usize = 64 * 1024;

impl Tail {
    /// What was kept, as text.
    #[must_use]
    pub fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let start = bytes.len().saturating_sub(TAIL_LENGTH);
        String::from_utf8_lossy(&bytes[start..]).replace('\r', "")
    }
}

impl Write for Tail {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(bytes);
        // Cut now and then only, so that each byte is moved once or twice.
        if kept.len() > 2 * TAIL_LENGTH {
            let surplus = kept.len() - TAIL_LENGTH;
            kept.drain(..surplus);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
