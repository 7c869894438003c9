//! The loop at the gate: receive, have it answered, and do what follows an answer that arrived.

mod dispatch;

use alloc::vec::Vec;
use core::cell::Cell;

use abi::{Error, Handle, Rights, notice};
use runtime::{Buffers, Message, Options, Received};

use super::{
    Call, Data, Done, OPEN_FILE, OpenFile, Opened, OpenedLater, Output, Refusal, ResourceManager, Table,
    complete_plain, handles, open_flags,
};
use crate::file::{self, Lock, PATH_MAXIMUM, Status};
use crate::{Errno, Reply};

/// Most bytes of a path message: two paths, or a structure and a path.
const PATHS_MAXIMUM: usize = 2 * PATH_MAXIMUM;
/// Bytes collected for one `ReadDirectory`.
const RECORDS: usize = 8192;

/// What is to be answered, and what then.
struct Outcome {
    reply: Reply,
    data: Data,
    gifts: [(Handle, Rights); 2],
    /// Whether the gifts leave this program: as long as it had a handle to a connection too, its last close could not be seen.
    hands_over: bool,
    then: Then,
}

/// What follows a successful answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Nothing,
    /// The position moves on.
    Advance {
        badge: u64,
        position: u64,
    },
    /// The manager is told: at once, or before the next message.
    Deliver {
        badge: u64,
        count: usize,
        lazily: bool,
    },
}

impl Outcome {
    const NONE: Self = Self {
        reply: Reply::DONE,
        data: Data::NONE,
        gifts: [(Handle::NONE, Rights::NONE); 2],
        hands_over: false,
        then: Then::Nothing,
    };

    /// Success, with nothing to say. Only what counts is written: this is done for every message.
    fn clear(&mut self) {
        self.reply = Reply::DONE;
        self.data.clear();
        self.gifts = Self::NONE.gifts;
        self.hands_over = false;
        self.then = Then::Nothing;
    }

    fn say(&mut self, reply: Reply) -> Done {
        self.reply = reply;
        Ok(())
    }

    fn lend(&mut self, reply: Reply, data: Data) -> Done {
        self.reply = reply;
        self.data = data;
        Ok(())
    }

    /// What goes with the answer, added to what else is in `buffers`.
    #[inline]
    fn fill(&self, buffers: &mut Buffers<'_>) {
        for segment in self.data.segments() {
            buffers.add_send(segment.address, segment.length);
        }
        for (handle, rights) in self.gifts {
            if handle.is_none() {
                break;
            }
            if self.hands_over {
                buffers.add_hand_over(handle, rights);
            } else {
                buffers.add_give(handle, rights);
            }
        }
    }

    fn message(&self) -> Message {
        Message::new(self.reply.label, self.reply.words)
    }

    /// The answer did not arrive: what it was to hand over is closed, which brings the notice that closes the file.
    fn take_back(&self) {
        for (handle, _) in self.gifts.iter().filter(|_| self.hands_over) {
            handles::close(*handle);
        }
    }
}

/// A resource manager at its gate.
pub struct Server<M: ResourceManager> {
    gate: Handle,
    manager: M,
    files: Table<M::File>,
    /// Where answers lie while they are lent.
    scratch: Scratch,
}

/// Memory for answers that are put together here.
struct Scratch {
    status: Status,
    figures: [u64; 15],
    lock: Lock,
    output: Output,
    path: Vec<u8>,
    records: Vec<u8>,
    long: Vec<u8>,
}

impl<M: ResourceManager> core::fmt::Debug for Server<M> {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.debug_struct("Server").field("gate", &self.gate).finish_non_exhaustive()
    }
}

impl<M: ResourceManager> Server<M> {
    /// `manager` at `gate`.
    pub fn new(gate: Handle, manager: M) -> Self {
        Self {
            gate,
            manager,
            files: Table::default(),
            scratch: Scratch {
                status: Status::default(),
                figures: [0; 15],
                lock: Lock::default(),
                output: Output::new(),
                path: Vec::new(),
                records: alloc::vec![0; RECORDS],
                long: alloc::vec![0; PATHS_MAXIMUM],
            },
        }
    }

    /// Have a file open without a caller, for tests: its badge.
    #[doc(hidden)]
    pub fn adopt(&mut self, opened: Opened<M::File>) -> Option<u64> {
        let Opened { file, flags, features, .. } = opened;
        self.files.insert(OpenFile { badge: 0, flags, features, position: 0, file }).ok()
    }

    /// The manager, for tests.
    #[doc(hidden)]
    pub fn manager(&mut self) -> &mut M {
        &mut self.manager
    }

    /// Handle a message as if it had arrived, for tests: the label of the answer, if there is one now.
    #[doc(hidden)]
    pub fn pretend(&mut self, received: &Received, bytes: &[u8]) -> Option<u64> {
        if received.is_pulse() {
            self.event(received);
            return None;
        }
        let mut outcome = Outcome::NONE;
        self.request(received, bytes, Handle::NONE, &mut outcome).then_some(outcome.reply.label)
    }

    /// Answer messages for ever, that is, until the gate is gone.
    pub fn serve(mut self) -> Error {
        let mut bytes = alloc::vec![0; M::AT_ONCE];
        let mut slot = Handle::NONE;
        let mut outcome = Outcome::NONE;
        // The request that `outcome` answers, together with the next receive; 0: none.
        let mut answering = 0;
        loop {
            if slot.is_none() {
                // Without a slot, messages that pass a handle fail on their sender's side; others still work.
                slot = handles::reserve().unwrap_or(Handle::NONE);
            }
            let mut buffers = Buffers::new().receive(&mut bytes);
            if !slot.is_none() {
                buffers.add_take(slot);
            }
            let request = core::mem::replace(&mut answering, 0);
            let received = if request == 0 {
                runtime::receive(self.gate, &mut buffers, Options::NONE)
            } else {
                outcome.fill(&mut buffers);
                let message = outcome.message();
                runtime::reply_and_receive(request, message, &mut buffers, self.gate, Options::NONE)
            };
            let received = match received {
                Ok(received) => received,
                Err(error) if request != 0 => {
                    refuse(request, error);
                    outcome.take_back();
                    continue;
                }
                // A sender whose buffer is missing must not end the server.
                Err(Error::LenderFault | Error::Interrupted | Error::BadGift | Error::NoSlot) => continue,
                Err(error) => return error,
            };
            if request != 0 {
                self.answered(&outcome);
            }
            let passed =
                if received.status.handles() > 0 { core::mem::replace(&mut slot, Handle::NONE) } else { Handle::NONE };
            if received.is_pulse() {
                handles::close(passed);
                self.event(&received);
            } else if self.request(&received, &bytes, passed, &mut outcome) {
                answering = received.request;
            }
            while let Some(late) = self.manager.opened_later() {
                self.finish_open(late);
            }
        }
    }

    fn answered(&mut self, outcome: &Outcome) {
        match outcome.then {
            Then::Nothing => {}
            Then::Advance { badge, position } => {
                if let Some(file) = self.files.find(badge) {
                    file.position = position;
                }
            }
            Then::Deliver { badge, count, .. } => {
                if let Some(file) = self.files.find(badge) {
                    self.manager.delivered(file, count);
                }
            }
        }
    }

    fn event(&mut self, received: &Received) {
        if !received.is_notice() {
            self.manager.pulse(received.badge, received.message.words[0]);
            return;
        }
        match received.message.label {
            notice::CLOSED => {
                if let Some(file) = self.files.remove(received.badge) {
                    self.manager.closed(file);
                }
            }
            notice::UNBLOCK => {
                let request = received.message.words[0];
                if self.manager.unblock(request) {
                    complete_plain(request, Reply::error(Errno::EINTR));
                }
            }
            _ => {}
        }
    }

    /// Handle a request. Whether `outcome` is to be answered with the next receive.
    fn request(&mut self, received: &Received, bytes: &[u8], passed: Handle, outcome: &mut Outcome) -> bool {
        let sent = received.sent as usize;
        let ready = (received.moved as usize).min(bytes.len());
        let mut call = Call {
            request: received.request,
            badge: received.badge,
            identity: received.identity,
            sent,
            room: received.room as usize,
            priority: received.status.priority(),
            bytes: &bytes[..ready],
            passed: Cell::new(passed),
            waiter: Cell::new(0),
        };
        outcome.clear();
        let done = if received.badge & OPEN_FILE != 0 || sent <= ready {
            self.dispatch(&call, received.message, outcome)
        } else {
            // A long path.
            let mut long = core::mem::take(&mut self.scratch.long);
            let done = whole(received.request, sent, &mut long).and_then(|bytes| {
                call.bytes = bytes;
                self.dispatch(&call, received.message, outcome)
            });
            // What the call still holds is closed before its bytes go back.
            handles::close(call.passed.take());
            self.scratch.long = long;
            return self.settle(received.request, done, outcome);
        };
        handles::close(call.passed.take());
        self.settle(received.request, done, outcome)
    }

    fn settle(&mut self, request: u64, done: Done, outcome: &mut Outcome) -> bool {
        match done {
            Ok(()) => {}
            Err(Refusal::Later) => return false,
            Err(refusal) => {
                outcome.clear();
                outcome.reply = match refusal {
                    Refusal::Error(errno) => Reply::error(errno),
                    Refusal::Redirect { path, which } => {
                        self.scratch.path = path;
                        outcome.data = Data::of(&self.scratch.path);
                        Reply::redirect(self.scratch.path.len() as u64, which)
                    }
                    _ => Reply::RETRY,
                };
            }
        }
        if !matches!(outcome.then, Then::Deliver { lazily: false, .. }) {
            return true;
        }
        self.answer_now(request, outcome);
        false
    }

    /// Answer before receiving, as somebody may wait for what follows.
    fn answer_now(&mut self, request: u64, outcome: &Outcome) {
        let mut buffers = Buffers::new();
        outcome.fill(&mut buffers);
        match runtime::reply(request, outcome.message(), &buffers) {
            Ok(_) => self.answered(outcome),
            Err(error) => {
                refuse(request, error);
                outcome.take_back();
            }
        }
    }

    fn finish_open(&mut self, late: OpenedLater<M::File>) {
        let mut outcome = Outcome::NONE;
        let done = match late.result {
            Ok(opened) => self.install(late.request, opened, &mut outcome),
            Err(errno) => Err(errno),
        };
        match done {
            Ok(()) => self.answer_now(late.request, &outcome),
            Err(errno) => {
                complete_plain(late.request, Reply::error(errno));
            }
        }
    }

    /// Make the connections for what was opened.
    fn install(&mut self, request: u64, opened: Opened<M::File>, outcome: &mut Outcome) -> Result<(), Errno> {
        outcome.reply = file::answer::Open {
            mode: u64::from(opened.mode),
            features: opened.features,
            anchor: opened.anchor,
            ..Default::default()
        }
        .into();
        outcome.hands_over = true;
        let mut refused = None;
        let both = [Some((opened.file, opened.flags)), opened.second];
        for (gift, (file, flags)) in outcome.gifts.iter_mut().zip(both.into_iter().flatten()) {
            let file =
                OpenFile { badge: 0, flags: flags & open_flags::KEPT, features: opened.features, position: 0, file };
            match self.files.insert(file) {
                Err((errno, file)) => {
                    self.manager.closed(file);
                    refused = Some(errno);
                }
                Ok(badge) => match handles::connect(self.gate, badge, request) {
                    Ok(connection) => *gift = (connection, Rights::SEND.and(Rights::COPY)),
                    Err(error) => {
                        // Who opens pays: it must agree to that, and can get a larger share.
                        refused = Some(match error {
                            Error::NoRight => Errno::EPERM,
                            Error::QuotaExceeded => Errno::ENOMEM,
                            _ => Errno::ENFILE,
                        });
                        if let Some(file) = self.files.remove(badge) {
                            self.manager.closed(file);
                        }
                    }
                },
            }
        }
        match refused {
            None => Ok(()),
            Some(errno) => {
                outcome.take_back();
                Err(errno)
            }
        }
    }
}

/// A reply failed: say so, if the request is still open.
fn refuse(request: u64, error: Error) {
    let reply = match error {
        Error::Gone => return,
        Error::LenderFault => Reply::RETRY,
        other => Reply::error(crate::Failure::Kernel(other).errno()),
    };
    let _ = runtime::reply(request, Message::new(reply.label, reply.words), &Buffers::new());
}

/// All bytes of a message.
fn whole(request: u64, sent: usize, long: &mut [u8]) -> Result<&[u8], Refusal> {
    let long = long.get_mut(..sent).ok_or(Errno::ENAMETOOLONG)?;
    match runtime::exchange::read_request(request, 0, long) {
        Ok(got) if got as usize == sent => Ok(long),
        Ok(_) => Err(Refusal::Retry),
        Err((error, _)) => Err(error.into()),
    }
}
