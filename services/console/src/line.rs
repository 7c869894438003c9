//! The line below the terminal: a serial driver, spoken to by the file protocol without ever waiting for it.

use abi::call::flags::CHARGE_ME;
use abi::{Error, Handle, Rights};
use protocol::{Errno, Failure, file};
use runtime::object::process;
use runtime::{Buffers, Options, handle};

const O_RDWR: u64 = 2;
const O_NONBLOCK: u64 = 0o4000;
/// Do not wait, whatever the flags say.
const NO_WAIT: u64 = 1;
const POLLIN: u64 = 1;
const POLLOUT: u64 = 4;

/// An open line, and the pulse that says when it may be ready again.
pub(crate) struct Line {
    mount: Handle,
    connection: Handle,
    pulse: Handle,
    armed: u64,
}

impl Line {
    /// Open what `mount` stands for; its pulses come to `gate` with this badge.
    ///
    /// # Errors
    /// What the driver or the kernel answered.
    pub(crate) fn open(mount: Handle, gate: Handle, badge: u64) -> Result<Self, Failure> {
        let slot = open(mount)?;
        let pulse = process::create_pulse(Handle::SELF_PROCESS, gate, badge, process::Accumulate::Or, 0, Handle::NONE)?;
        Ok(Self { mount, connection: slot, pulse, armed: 0 })
    }

    /// The driver was started again: open it anew.
    ///
    /// # Errors
    /// What the driver answered.
    pub(crate) fn reopen(&mut self) -> Result<(), Failure> {
        let slot = open(self.mount)?;
        handle::close(core::mem::replace(&mut self.connection, slot));
        self.armed = 0;
        Ok(())
    }

    /// Bytes that came, as many as there are and fit.
    ///
    /// # Errors
    /// What the driver answered.
    pub(crate) fn read(&self, bytes: &mut [u8]) -> Result<usize, Failure> {
        let answer =
            file::read(self.connection, file::AT_POSITION, NO_WAIT, &mut Buffers::new().receive(bytes), Options::NONE);
        none_when_not_ready(answer.map(|answer| answer.count))
    }

    /// Send bytes; gives how many the driver took.
    ///
    /// # Errors
    /// What the driver answered.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<usize, Failure> {
        let answer =
            file::write(self.connection, file::AT_POSITION, NO_WAIT, &mut Buffers::new().send(bytes), Options::NONE);
        none_when_not_ready(answer.map(|answer| answer.count))
    }

    /// Wait until the driver has sent everything.
    pub(crate) fn drain(&self) {
        // A driver that is gone has nothing left to send.
        let _ = file::sync(self.connection, 0, &mut Buffers::new(), Options::NONE);
    }

    /// The pulse came: whatever was asked for must be asked for again.
    pub(crate) const fn disarm(&mut self) {
        self.armed = 0;
    }

    /// Have the pulse raised when there is input (if `input` is set), and when there is room for output (if `output` is). Gives true
    /// if that is so already.
    pub(crate) fn arm(&mut self, input: bool, output: bool) -> bool {
        let events = if input { POLLIN } else { 0 } | if output { POLLOUT } else { 0 };
        if self.armed == events {
            return false;
        }
        let mut buffers = Buffers::new().give(self.pulse, Rights::SEND.and(Rights::COPY));
        match file::poll(self.connection, events, 0, &mut buffers, Options::NONE) {
            Ok(answer) if answer.ready != 0 => true,
            Ok(_) => {
                self.armed = events;
                false
            }
            Err(failure) => {
                runtime::log!(Error, "the line below cannot be waited for: {}", failure.errno().text());
                false
            }
        }
    }
}

fn open(mount: Handle) -> Result<Handle, Failure> {
    let slot = handle::reserve()?;
    match file::open(mount, O_RDWR | O_NONBLOCK, 0, 0, &mut Buffers::new().take(slot), Options::flags(CHARGE_ME)) {
        Ok(_) => Ok(slot),
        Err(failure) => {
            handle::close(slot);
            Err(failure)
        }
    }
}

fn none_when_not_ready(result: Result<u64, Failure>) -> Result<usize, Failure> {
    match result {
        Ok(count) => Ok(count as usize),
        Err(Failure::Service(Errno::EAGAIN) | Failure::Kernel(Error::TimedOut)) => Ok(0),
        Err(failure) => Err(failure),
    }
}
