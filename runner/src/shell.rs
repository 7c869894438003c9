//! Without a command: a shell in the guest, on our terminal.

use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use abi::host::RESIZE;
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGPIPE, SIGTERM, SIGWINCH};

use crate::control::{self, Message};
use crate::error::{Error, Result, TIMED_OUT, plain, say};
use crate::events::{self, Event, Stream};
use crate::options::Options;
use crate::qemu::{self, End, Running, Scratch};
use crate::terminal::{self, Raw};
use crate::{Ready, image, module};

/// Ctrl-], as in telnet.
const LEAVE_KEY: u8 = 0x1d;

/// Ctrl-D, which a terminal takes for the end of input.
const END_KEY: u8 = 0x04;

/// Between two of them.
const END_KEY_PAUSE: Duration = Duration::from_millis(500);

/// How long the guest may take to switch itself off.
const POWER_OFF_LIMIT: Duration = Duration::from_secs(5);

/// Boot to a shell and return when the guest is off.
///
/// # Errors
/// It does not boot, or ends by itself otherwise than by switching off.
pub fn run(ready: &Ready, options: &Options) -> Result<u8> {
    let mut tree = image::tree(&ready.guest, &ready.busybox)?;
    image::add_command(&mut tree, &image::Start::Shell)?;
    image::check_size(&tree, options.memory_mib)?;
    let scratch = Scratch::new()?;
    let module = scratch.path().join("module");
    module::write(image::init(&ready.guest)?, &tree, &module)?;

    say("`exit` or `poweroff` leaves; Ctrl-] ends a guest that hangs");
    say("files are kept in memory only: they vanish when you leave");
    let (sender, events) = channel();
    events::signals(&[SIGINT, SIGTERM, SIGHUP, SIGWINCH, SIGCONT], &sender)?;
    let machine = options.machine();
    let running = qemu::start(&ready.qemu, &machine, &ready.guest.kernel, &module, scratch.path())?;
    let raw = Raw::new()?;
    events::messages(&running.control, &sender)?;
    events::pass_on(&running.serial, Stream::Serial, io::stdout(), &sender)?;
    let ready_to_read = pass_keys(&running.serial, &sender)?;
    let mut session = Session { scratch: Some(scratch), running, events, raw, ready_to_read };
    session.tell_size();
    let deadline = options.limit(None).map(|limit| Instant::now() + limit);
    let ended = session.conduct(deadline);
    if !matches!(ended, Ended::ByItself(End::PoweredOff, _)) && session.raw.is_some() {
        terminal::reset_screen();
    }
    session.raw = None;
    if matches!(ended, Ended::Left | Ended::TimedOut) {
        session.running.show_report();
    }
    match ended {
        Ended::ByItself(End::PoweredOff, status) => Ok(status),
        Ended::ByItself(end, _) => Err(Error::new(format!("{end}{}", session.running.last_words()))),
        Ended::TimedOut => Err(Error::new("time is over (--timeout)").with_status(TIMED_OUT)),
        Ended::Left => {
            say("left; the guest was ended");
            Ok(0)
        }
        Ended::Signalled(signal) => Ok(128 + signal as u8),
        Ended::OutputFailed(error) => Err(Error::new(format!("cannot write to the terminal: {}", plain(&error)))),
    }
}

/// Pass what is typed to the guest's serial line, from when something is sent to what is returned: a driver that sets the line up
/// loses what is there already.
fn pass_keys(port: &UnixStream, events: &Sender<Event>) -> Result<Sender<()>> {
    let mut port = events::clone(port)?;
    let events = events.clone();
    let (ready, guest_is_up) = channel();
    let (typed, keys) = channel::<Vec<u8>>();
    thread::spawn(move || {
        // If the other end is gone, so is the guest, and nothing can be written.
        let _ = guest_is_up.recv();
        while let Ok(keys) = keys.recv() {
            if port.write_all(&keys).is_err() {
                return;
            }
        }
        // A key that comes while a program runs is that program's: until the shell itself gets one and ends, there is another.
        while port.write_all(&[END_KEY]).is_ok() {
            thread::sleep(END_KEY_PAUSE);
        }
    });
    thread::spawn(move || {
        let mut input = io::stdin();
        let is_typed = input.is_terminal();
        let mut chunk = [0; 4096];
        loop {
            let length = match input.read(&mut chunk) {
                Ok(length @ 1..) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Ok(_) | Err(_) => return,
            };
            let keys = &chunk[..length];
            // Only a key: a file on standard input may contain any byte.
            let leave = keys.iter().position(|key| is_typed && *key == LEAVE_KEY);
            if typed.send(keys[..leave.unwrap_or(length)].to_vec()).is_err() {
                return;
            }
            if leave.is_some() {
                // The other end is gone only when the runner is about to end.
                let _ = events.send(Event::Leave);
                return;
            }
        }
    });
    Ok(ready)
}

struct Session {
    scratch: Option<Scratch>,
    running: Running,
    events: Receiver<Event>,
    raw: Option<Raw>,
    ready_to_read: Sender<()>,
}

enum Ended {
    ByItself(End, u8),
    TimedOut,
    Left,
    Signalled(i32),
    OutputFailed(io::Error),
}

impl Session {
    fn conduct(&mut self, deadline: Option<Instant>) -> Ended {
        let mut deadline = deadline;
        let mut status = None;
        loop {
            let event = match deadline {
                Some(deadline) => self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())),
                None => self.events.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match event {
                Ok(Event::Message(Message::Exit { status: code, .. })) => {
                    status.get_or_insert(u8::try_from(code).unwrap_or(u8::MAX));
                    deadline = Some(Instant::now() + POWER_OFF_LIMIT);
                }
                Ok(Event::Message(Message::Text(text))) => {
                    say(&format!("{}\r", String::from_utf8_lossy(&text).trim_end().replace('\n', "\r\n")));
                }
                // The serial line has been read to its end, so QEMU is gone.
                Ok(Event::Drained(Stream::Serial)) => {
                    let end = self.running.finish(qemu::END_LIMIT);
                    return Ended::ByItself(end, status.unwrap_or(0));
                }
                Ok(Event::Signal(SIGWINCH)) => self.tell_size(),
                Ok(Event::Signal(SIGCONT)) => {
                    if let Some(raw) = &self.raw {
                        // If the terminal is gone, SIGHUP follows.
                        let _ = raw.again();
                    }
                    self.tell_size();
                }
                Ok(Event::Signal(signal)) => return Ended::Signalled(signal),
                Ok(Event::OutputFailed(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                    return Ended::Signalled(SIGPIPE);
                }
                Ok(Event::OutputFailed(error)) => return Ended::OutputFailed(error),
                Ok(Event::Leave) => return Ended::Left,
                // QEMU has read all its files: if we are killed, none of them stays behind.
                Ok(Event::Message(Message::Ready { .. })) => {
                    self.scratch = None;
                    // If nothing more is read, nobody listens.
                    let _ = self.ready_to_read.send(());
                }
                Ok(Event::Drained(_) | Event::Gone) => {}
                Err(RecvTimeoutError::Timeout) => {
                    return match status {
                        // It said that it would switch off, and did not: we do it.
                        Some(status) => Ended::ByItself(End::PoweredOff, status),
                        None => Ended::TimedOut,
                    };
                }
                Err(RecvTimeoutError::Disconnected) => return Ended::Left,
            }
        }
    }

    fn tell_size(&self) {
        if let Some((rows, columns)) = terminal::size() {
            // If the guest is gone it does not matter to it.
            let _ = control::write(&self.running.control, RESIZE, rows, columns);
        }
    }
}
