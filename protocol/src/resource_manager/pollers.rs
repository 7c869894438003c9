//! Who waits for something to become ready: pulses left by `Poll`.

use alloc::vec::Vec;

use abi::Handle;

use super::Call;
use super::handles;

#[derive(Clone, Copy, Debug)]
struct Poller {
    /// The open file, the calling process, and who of it waits.
    key: (u64, u64, u64),
    events: u64,
    pulse: Handle,
}

/// Most pulses kept on one object. Beyond that the oldest is raised: its owner asks again.
const MOST: usize = 1024;

/// The pulses left on one object (a pipe, a terminal). Each is raised once, then closed.
#[derive(Debug, Default)]
pub struct Pollers {
    list: Vec<Poller>,
}

impl Pollers {
    /// Nobody waits.
    #[must_use]
    pub const fn new() -> Self {
        Self { list: Vec::new() }
    }

    /// Keep the pulse that came with this `Poll`, if one did. It replaces an earlier one of the same waiter on the same
    /// open file. If there is no memory to keep it, it is raised at once, so that the caller asks again.
    pub fn arm(&mut self, call: &Call<'_>, events: u64) {
        let Some(pulse) = call.take_passed() else {
            return;
        };
        let new = Poller { key: (call.badge, call.identity, call.waiter.get()), events, pulse };
        if let Some(old) = self.list.iter_mut().find(|old| old.key == new.key) {
            handles::close(old.pulse);
            *old = new;
            return;
        }
        if self.list.len() >= MOST {
            let oldest = self.list.remove(0);
            fire(oldest.pulse);
        }
        if self.list.try_reserve(1).is_err() {
            fire(pulse);
            return;
        }
        self.list.push(new);
    }

    /// Raise those who wait for any of `events` (errors and hang-ups are always waited for).
    pub fn wake(&mut self, events: u64) {
        const ALWAYS: u64 = super::events::ERROR | super::events::HANG_UP;
        self.list.retain(|poller| {
            let ready = (poller.events | ALWAYS) & events != 0;
            if ready {
                fire(poller.pulse);
            }
            !ready
        });
    }

    /// The open file with this badge is closed: drop its pulses.
    pub fn forget(&mut self, badge: u64) {
        self.list.retain(|poller| {
            let gone = poller.key.0 == badge;
            if gone {
                handles::close(poller.pulse);
            }
            !gone
        });
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

impl Drop for Pollers {
    fn drop(&mut self) {
        for poller in &self.list {
            handles::close(poller.pulse);
        }
    }
}

fn fire(pulse: Handle) {
    let _ = runtime::raise(pulse, 1);
    handles::close(pulse);
}
