//! A boot whose streams we keep: what `bench` needs.

use std::io::Write;
use std::net::Shutdown;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::archive::Tree;
use crate::control::Message;
use crate::error::{Error, Result, TIMED_OUT};
use crate::events::{self, Event, Stream, Tail};
use crate::qemu::{self, Machine, Scratch};
use crate::{Ready, image, module};

/// What came of it.
#[derive(Debug)]
pub struct Captured {
    /// Standard output.
    pub output: String,
    /// The time-stamp counter at the kernel's entry; 0 if the guest did not tell.
    pub entry_ticks: u64,
}

/// Boot the machine with this tree, which has its command, and these bytes on standard input; return when the program ends.
///
/// # Errors
/// It does not boot, or the program's status is not 0, or time is over; what the guest said is in the message.
pub fn run(ready: &Ready, machine: &Machine, tree: &Tree, input: &[u8], limit: Duration) -> Result<Captured> {
    image::check_size(tree, machine.memory_mib)?;
    let scratch = Scratch::new()?;
    let file = scratch.path().join("module");
    module::write(image::init(&ready.guest)?, tree, &file)?;
    let (sender, queue) = channel();
    events::signals(&[SIGINT, SIGTERM, SIGHUP], &sender)?;
    let mut running = qemu::start(&ready.qemu, machine, &ready.guest.kernel, &file, scratch.path())?;
    let (console, output, errors) = (Tail::default(), Tail::default(), Tail::default());
    events::messages(&running.control, &sender)?;
    events::pass_on(&running.serial, Stream::Serial, console.clone(), &sender)?;
    events::pass_on(&running.stdout, Stream::Output, output.clone(), &sender)?;
    events::pass_on(&running.stderr, Stream::Error, errors.clone(), &sender)?;
    let (mut port, input) = (events::clone(&running.stdin)?, input.to_vec());
    let (ready_to_read, guest_is_up) = channel();
    thread::spawn(move || {
        // A guest that does not read it says so by what it writes.
        let _ = port.write_all(&input);
        // It never hears of a port that was closed before it looked. If the other end is gone, so is the guest.
        let _ = guest_is_up.recv();
        let _ = port.shutdown(Shutdown::Write);
    });

    let deadline = Instant::now() + limit;
    let (mut entry_ticks, mut status, mut texts) = (0, None, String::new());
    let mut open = vec![Stream::Output, Stream::Error];
    while status.is_none() || !open.is_empty() {
        match queue.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Event::Message(Message::Ready { entry_ticks: ticks })) => {
                entry_ticks = ticks;
                // As above: the thread may have ended.
                let _ = ready_to_read.send(());
            }
            Ok(Event::Message(Message::Text(text))) => texts += &String::from_utf8_lossy(&text),
            Ok(Event::Message(Message::Exit { status: code, .. })) => {
                status = Some(code);
                for port in [&running.stdout, &running.stderr] {
                    // If QEMU is gone, that end has come anyway.
                    let _ = port.shutdown(Shutdown::Read);
                }
            }
            Ok(Event::Drained(stream)) => open.retain(|other| *other != stream),
            Ok(Event::Signal(signal)) => {
                return Err(Error::new("ended by a signal").with_status(128 + signal as u8));
            }
            Ok(Event::Gone) if status.is_none() => {
                let end = running.finish(qemu::END_LIMIT);
                return Err(Error::new(format!("{end}{}\n{}", running.last_words(), console.text().trim_end())));
            }
            Ok(Event::Gone | Event::Leave | Event::OutputFailed(_)) => {}
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                let seen = [&output, &errors, &console].map(Tail::text).concat();
                return Err(Error::new(format!("it did not end in time; seen so far:\n{seen}")).with_status(TIMED_OUT));
            }
        }
    }
    if machine.counter.is_some() {
        // The plugin writes its last lines when QEMU ends.
        running.finish(qemu::END_LIMIT);
    }
    match status {
        Some(0) => Ok(Captured { output: output.text(), entry_ticks }),
        status => Err(Error::new(format!(
            "the guest's program ended with status {}: {texts}{}",
            status.unwrap_or_default(),
            errors.text().trim_end()
        ))),
    }
}
