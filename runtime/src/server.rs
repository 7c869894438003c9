//! The server loop: `serve(gate, &mut inbox, |delivery| …)`, the function that runs when a message arrives.
//!
//! The handler answers at once, or keeps the request's id and answers later with [`reply`](crate::reply()). It acts only on its own
//! copy of the message (`delivery.bytes`); what is longer than the inbox it fetches with [`read_request`](crate::read_request).
//! Handles that came are the handler's if it [takes](Delivery::take) them, else closed.

use abi::envelope::GIFTS;
use abi::{Error, Handle, Rights};

use crate::exchange::{Buffers, Message, Options, Received, receive, reply, reply_and_receive};
use crate::handle::{self, OwnedHandle};

/// Label of the answer to a caller that has no slot for a handle it asked for: `EMFILE`.
const NO_ROOM: u64 = 24;

/// What the handler wants done with the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// Answer with a label and words.
    Reply(Message),
    /// Answer with a label, words, and a copy of a handle, which is then closed here if `keep` is not set.
    Give {
        /// Label and words.
        message: Message,
        /// The handle to pass.
        handle: Handle,
        /// Rights of the copy.
        rights: Rights,
        /// Whether the server keeps its own.
        keep: bool,
    },
    /// Nothing now: it was a pulse, or it will be answered later, or has been.
    None,
}

/// Where messages arrive: room for bytes, and slots for handles.
#[derive(Debug)]
pub struct Inbox<'a> {
    bytes: &'a mut [u8],
    slots: [Handle; GIFTS],
    slot_count: usize,
}

/// A message that arrived.
#[derive(Debug)]
pub struct Delivery<'a> {
    /// What the kernel says of it.
    pub received: Received,
    /// The server's copy of its bytes, as many as the inbox holds.
    pub bytes: &'a [u8],
    slots: &'a mut [Handle],
}

impl Delivery<'_> {
    /// How many handles came that were not taken yet.
    #[must_use]
    pub fn handles(&self) -> usize {
        self.slots.iter().filter(|slot| !slot.is_none()).count()
    }

    /// The first handle that came and was not taken yet; now the caller's.
    pub fn take(&mut self) -> Option<OwnedHandle> {
        let slot = self.slots.iter_mut().find(|slot| !slot.is_none())?;
        Some(OwnedHandle::new(core::mem::take(slot)))
    }
}

impl<'a> Inbox<'a> {
    /// An inbox with room for `bytes`, and for `slots` handles at a time (at most [`GIFTS`]).
    #[must_use]
    pub fn new(bytes: &'a mut [u8], slots: usize) -> Self {
        Self { bytes, slots: [Handle::NONE; GIFTS], slot_count: slots.min(GIFTS) }
    }

    /// Fill the slots that are empty, as far as there is room for them.
    fn reserve(&mut self) {
        for slot in &mut self.slots[..self.slot_count] {
            if slot.is_none() {
                match handle::reserve() {
                    Ok(reserved) => *slot = reserved,
                    // A message with more handles than slots fails, blamed on the receiver; others arrive.
                    Err(_) => return,
                }
            }
        }
    }

    fn buffers(&mut self) -> Buffers<'_> {
        let slots = self.slots;
        let mut buffers = Buffers::new().receive(self.bytes);
        for slot in slots.into_iter().take_while(|slot| !slot.is_none()) {
            buffers = buffers.take(slot);
        }
        buffers
    }

    /// Wait for the next message.
    ///
    /// # Errors
    /// As [`receive`].
    pub fn receive(&mut self, gate: Handle, options: Options) -> Result<Received, Error> {
        self.reserve();
        receive(gate, &mut self.buffers(), options)
    }

    /// Answer, and wait for the next message.
    ///
    /// # Errors
    /// As [`reply_and_receive`].
    pub fn reply_and_receive(
        &mut self,
        request: u64,
        message: Message,
        gate: Handle,
        options: Options,
    ) -> Result<Received, Error> {
        self.reserve();
        reply_and_receive(request, message, &mut self.buffers(), gate, options)
    }

    /// Answer with a copy of a handle, and wait for the next message.
    fn give_and_receive(
        &mut self,
        request: u64,
        message: Message,
        (handle, rights): (Handle, Rights),
        gate: Handle,
        options: Options,
    ) -> Result<Received, Error> {
        self.reserve();
        reply_and_receive(request, message, &mut self.buffers().give(handle, rights), gate, options)
    }

    /// Hand what arrived to `handler`.
    pub fn deliver<T>(&mut self, received: Received, handler: impl FnOnce(&mut Delivery<'_>) -> T) -> T {
        let arrived = received.status.handles().min(GIFTS);
        let length = usize::try_from(received.moved).unwrap_or(usize::MAX).min(self.bytes.len());
        let (filled, _) = self.slots.split_at_mut(arrived);
        let result = handler(&mut Delivery { received, bytes: &self.bytes[..length], slots: filled });
        for slot in filled {
            handle::close(core::mem::take(slot));
        }
        // The kernel fills slots in order: empty ones go to the end, where `reserve` fills them again.
        self.slots.sort_unstable_by_key(|slot| slot.is_none());
        result
    }
}

/// Serve a gate for ever: every request, pulse and notice goes to `handler`.
pub fn serve(gate: Handle, inbox: &mut Inbox<'_>, handler: impl FnMut(&mut Delivery<'_>) -> Reaction) -> ! {
    let error = serve_until(gate, inbox, Options::NONE, handler);
    panic!("cannot receive: {}", error.text())
}

/// As [`serve`], until receiving fails: by a deadline or an interruption that `options` allow, or since the gate is gone.
pub fn serve_until(
    gate: Handle,
    inbox: &mut Inbox<'_>,
    options: Options,
    mut handler: impl FnMut(&mut Delivery<'_>) -> Reaction,
) -> Error {
    let mut next = inbox.receive(gate, options);
    loop {
        let received = match next {
            Ok(received) => received,
            Err(error) => return error,
        };
        next = match inbox.deliver(received, &mut handler) {
            Reaction::None => inbox.receive(gate, options),
            _ if received.request == 0 => inbox.receive(gate, options),
            Reaction::Reply(message) => match inbox.reply_and_receive(received.request, message, gate, options) {
                result @ (Ok(_) | Err(Error::TimedOut | Error::Interrupted)) => result,
                // The caller left, nobody waits for this answer, and receiving was not tried; or the gate is gone,
                // which receiving tells.
                Err(_) => inbox.receive(gate, options),
            },
            Reaction::Give { message, handle, rights, keep: true } => {
                match inbox.give_and_receive(received.request, message, (handle, rights), gate, options) {
                    result @ (Ok(_) | Err(Error::TimedOut | Error::Interrupted)) => result,
                    Err(error) => {
                        not_given(received.request, error);
                        inbox.receive(gate, options)
                    }
                }
            }
            Reaction::Give { message, handle, rights, keep: false } => {
                give(received.request, message, handle, rights, false);
                inbox.receive(gate, options)
            }
        };
    }
}

/// Answer with a copy of a handle; see [`Reaction::Give`].
pub fn give(request: u64, message: Message, handle: Handle, rights: Rights, keep: bool) {
    if let Err(error) = reply(request, message, &Buffers::new().give(handle, rights)) {
        not_given(request, error);
    }
    if !keep {
        handle::close(handle);
    }
}

/// An answer with a handle failed.
fn not_given(request: u64, error: Error) {
    if error != Error::Gone {
        // It reserved no slot. If it left meanwhile, nobody needs the answer.
        let _ = reply(request, Message::new(NO_ROOM, [0; 4]), &Buffers::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_that_nobody_takes_are_not_kept() {
        let mut room = [0; 8];
        let mut inbox = Inbox::new(&mut room, 3);
        inbox.slots = [Handle(11), Handle(12), Handle(13), Handle::NONE];
        let received = Received {
            request: 1,
            badge: 0,
            identity: 0,
            message: Message::default(),
            moved: 3,
            sent: 3,
            room: 0,
            status: abi::Status(2 << 40),
        };
        let taken = inbox.deliver(received, |delivery| {
            assert_eq!((delivery.handles(), delivery.bytes.len()), (2, 3));
            delivery.take().map(OwnedHandle::into_handle)
        });
        assert_eq!(taken, Some(Handle(11)));
        assert_eq!(inbox.slots, [Handle(13), Handle::NONE, Handle::NONE, Handle::NONE]);
    }
}
