//! `exec`: one program in the guest, with our standard streams and its status as ours.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use abi::archive::TRACE_ORDER;
use signal_hook::consts::{SIGHUP, SIGINT, SIGPIPE, SIGTERM};

use crate::archive::Tree;
use crate::control::Message;
use crate::error::{Context, Error, FAILED, Result, TIMED_OUT, plain, say};
use crate::events::{self, Event, Stream, Tail};
use crate::options::{Exec, Options};
use crate::qemu::{self, Machine, Running, Scratch};
use crate::{Ready, image, module};

/// How long a program may take if `--timeout` does not say.
const DEFAULT_LIMIT: Duration = Duration::from_secs(60);

/// Whether the program and all that is to be copied can be used, before anything takes time.
///
/// # Errors
/// They cannot.
pub fn check(options: &Options, exec: &Exec) -> Result<()> {
    let mut tree = Tree::default();
    for (host, guest) in &exec.copies {
        image::copy(&mut tree, host, guest)?;
    }
    image::place_program(&mut tree, &exec.program, &exec.arguments, &exec.environment)?;
    image::check_size(&tree, options.memory_mib)
}

/// Run the program and return its status.
///
/// # Errors
/// Baton cannot run it, or its time is over.
pub fn run(ready: &Ready, options: &Options, exec: &Exec) -> Result<u8> {
    run_traced(ready, options, exec, 0, io::sink())
}

/// The same, with these classes of events traced into `trace`, as the guest passes them on.
///
/// # Errors
/// As [`run`].
pub fn run_traced(
    ready: &Ready,
    options: &Options,
    exec: &Exec,
    classes: u64,
    trace: impl Write + Send + 'static,
) -> Result<u8> {
    let mut tree = image::tree(&ready.guest, &ready.busybox)?;
    for (host, guest) in &exec.copies {
        image::copy(&mut tree, host, guest)?;
    }
    let start = image::place_program(&mut tree, &exec.program, &exec.arguments, &exec.environment)?;
    image::add_command(&mut tree, &start)?;
    if classes != 0 {
        tree.bytes(TRACE_ORDER, 0o644, classes.to_le_bytes());
    }
    image::check_size(&tree, options.memory_mib)?;
    let scratch = Scratch::new()?;
    let module = scratch.path().join("module");
    module::write(image::init(&ready.guest)?, &tree, &module)?;

    let (sender, events) = channel();
    // Before QEMU starts, so that no signal finds it without an owner.
    events::signals(&[SIGINT, SIGTERM, SIGHUP], &sender)?;
    let machine = Machine { trace: classes != 0, ..options.machine() };
    let running = qemu::start(&ready.qemu, &machine, &ready.guest.kernel, &module, scratch.path())?;
    let console = Tail::default();
    events::messages(&running.control, &sender)?;
    events::pass_on(&running.serial, Stream::Serial, console.clone(), &sender)?;
    events::pass_on(&running.stdout, Stream::Output, unbuffered_output()?, &sender)?;
    events::pass_on(&running.stderr, Stream::Error, io::stderr(), &sender)?;
    if let Some(port) = &running.trace {
        events::pass_on(port, Stream::Trace, trace, &sender)?;
    }
    let ready_to_read = pass_input(&running.stdin)?;
    let deadline = options.limit(Some(DEFAULT_LIMIT)).map(|limit| Instant::now() + limit);
    Session { scratch: Some(scratch), running, events, console, deadline, texts: Vec::new(), ready_to_read }.conduct()
}

/// Standard output as a file: the standard library's own handle looks for the ends of lines.
fn unbuffered_output() -> Result<std::fs::File> {
    use std::os::fd::AsFd;
    let output = io::stdout().as_fd().try_clone_to_owned().context(|| "cannot use standard output".into())?;
    Ok(output.into())
}

/// Pass our standard input to the guest; at its end, close the port for writing, which the guest sees as its end. Not before
/// something is sent to what is returned, once the guest is up: it never hears of a port that was closed before it looked.
fn pass_input(port: &UnixStream) -> Result<Sender<()>> {
    let mut port = events::clone(port)?;
    let (sender, guest_is_up) = channel();
    thread::spawn(move || {
        let mut chunk = vec![0; 64 * 1024];
        let mut input = io::stdin();
        loop {
            match input.read(&mut chunk) {
                Ok(length @ 1..) => {
                    if port.write_all(&chunk[..length]).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => break,
            }
        }
        // If the other end is gone, we are about to end.
        let _ = guest_is_up.recv();
        // Only one direction: if both were closed, QEMU would drop what the guest has not read yet.
        let _ = port.shutdown(Shutdown::Write);
    });
    Ok(sender)
}

struct Session {
    scratch: Option<Scratch>,
    running: Running,
    events: Receiver<Event>,
    console: Tail,
    deadline: Option<Instant>,
    ready_to_read: Sender<()>,
    /// What the guest said for the user. It is shown at the end, so as not to mix with the program's own output.
    texts: Vec<Vec<u8>>,
}

/// How the guest's side of it ended.
enum Outcome {
    Exit { status: u32, failed: bool },
    Gone,
}

impl Session {
    fn conduct(mut self) -> Result<u8> {
        let mut outcome = None;
        let mut open = vec![Stream::Output, Stream::Error];
        open.extend(self.running.trace.is_some().then_some(Stream::Trace));
        while outcome.is_none() || !open.is_empty() {
            match self.next() {
                // QEMU has read all its files: if we are killed, none of them stays behind.
                Ok(Event::Message(Message::Ready { .. })) => {
                    self.scratch = None;
                    // If all input was passed on already, nobody listens.
                    let _ = self.ready_to_read.send(());
                }
                Ok(Event::Leave) => {}
                Ok(Event::Message(Message::Text(text))) => self.texts.push(text),
                Ok(Event::Message(Message::Exit { status, failed })) => {
                    outcome.get_or_insert(Outcome::Exit { status, failed });
                    // All that was written is in the sockets: read it to the end.
                    for port in [&self.running.stdout, &self.running.stderr].into_iter().chain(&self.running.trace) {
                        // If QEMU is gone, that end has come anyway.
                        let _ = port.shutdown(Shutdown::Read);
                    }
                }
                Ok(Event::Gone) => {
                    outcome.get_or_insert(Outcome::Gone);
                }
                Ok(Event::Drained(stream)) => open.retain(|other| *other != stream),
                Ok(Event::Signal(signal)) => return Ok(128 + signal as u8),
                Ok(Event::OutputFailed(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                    return Ok(128 + SIGPIPE as u8);
                }
                Ok(Event::OutputFailed(error)) => {
                    return Err(Error::new(format!("cannot write the program's output: {}", plain(&error))));
                }
                Err(RecvTimeoutError::Timeout) => return Err(self.time_out()),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.show_texts();
        match outcome {
            Some(Outcome::Exit { status, failed }) => {
                if failed && self.texts.is_empty() {
                    say("Baton could not run the program");
                }
                Ok(u8::try_from(status).unwrap_or(FAILED))
            }
            Some(Outcome::Gone) | None => Err(self.lost()),
        }
    }

    fn next(&self) -> std::result::Result<Event, RecvTimeoutError> {
        match self.deadline {
            Some(deadline) => self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())),
            None => self.events.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    /// Show what the guest is doing, and say that time is over.
    fn time_out(&self) -> Error {
        self.show_texts();
        self.running.show_report();
        self.show_console();
        Error::new("the program did not end in time (--timeout SECONDS gives it more)").with_status(TIMED_OUT)
    }

    /// The guest ended without a word.
    fn lost(&mut self) -> Error {
        let end = self.running.finish(qemu::END_LIMIT);
        // QEMU is gone: what it wrote to the console is on its way to us, and ends.
        while let Ok(event) = self.events.recv_timeout(Duration::from_secs(1)) {
            if matches!(event, Event::Drained(Stream::Serial)) {
                break;
            }
        }
        self.show_console();
        Error::new(format!("{end}{}", self.running.last_words()))
    }

    fn show_texts(&self) {
        let mut output = io::stderr();
        for text in &self.texts {
            let text = String::from_utf8_lossy(text);
            // If there is nowhere to tell it, it is not told.
            let _ = writeln!(output, "baton: {}", text.trim_end());
        }
    }

    fn show_console(&self) {
        let text = self.console.text();
        if !text.trim().is_empty() {
            say("the last lines of the console:");
            let mut output = io::stderr();
            // As above.
            let _ = writeln!(output, "{}", text.trim_end());
        }
    }
}
