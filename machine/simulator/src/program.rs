//! User programs as `async` blocks: each `await` is one action of a simulated thread, so that a program reads like
//! prose, runs without a host thread, and stops wherever the kernel stops it.
//!
//! A program lives at its own page of (magic, always executable) code: its *base* is the instruction pointer that
//! `thread::START` is given. Programs below [`abi::NATIVE_BASE`] are foreign. An upcall that moves a thread to another
//! program's base runs that program on the same registers.

use std::cell::{Cell, RefCell};
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

use abi::call::{NEVER, POLL, flags};
use abi::object::thread;
use abi::thread::Registers;
use abi::{Envelope, Error, Gift, Handle, Operation, Rights, Segment, Status};

use crate::processor::World;

/// Where an exchange's envelope lies, below the stack pointer.
pub(crate) const ENVELOPE_BELOW_STACK: u64 = 256;
/// Bytes of a `syscall` instruction.
pub(crate) const CALL_LENGTH: u64 = 2;

/// What a simulated thread does next.
#[derive(Debug)]
pub(crate) enum Action {
    /// Trap into the kernel.
    Exchange(Exchange),
    /// Use the processor for so many nanoseconds.
    Compute(u64),
    /// Read memory.
    Read { address: u64, length: u64 },
    /// Write memory.
    Write { address: u64, bytes: Vec<u8> },
    /// Set all registers, the instruction pointer among them: how an upcall handler returns.
    Jump(Box<Registers>),
    /// Read all registers.
    Registers,
    /// Raise an exception.
    Exception { vector: u64, code: u64 },
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Completion {
    Answer(Answer),
    Bytes(Vec<u8>),
    Registers(Box<Registers>),
    Done,
    /// The kernel moved the thread elsewhere in the program (so many bytes behind its base) before the action ended.
    Jumped(u64),
}

/// What a program and the processor share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) action: RefCell<Option<Action>>,
    pub(crate) completion: RefCell<Option<Completion>>,
    /// Offset of the instruction pointer behind the base at which actions are done.
    pub(crate) place: Cell<u64>,
    pub(crate) argument: Cell<u64>,
}

pub(crate) type Body = Pin<Box<dyn Future<Output = ()>>>;

/// A program as the processor keeps it.
pub(crate) struct Program {
    pub(crate) name: String,
    pub(crate) base: u64,
    pub(crate) body: Option<Body>,
    pub(crate) shared: Rc<Shared>,
    pub(crate) pending: Option<Action>,
    /// Whether the pending exchange has trapped.
    pub(crate) issued: bool,
    /// The instruction pointer at which the program left off; `None` before it ran and after a jump.
    pub(crate) expected: Option<u64>,
    pub(crate) finished: bool,
    /// Its exchanges may lack memory.
    pub(crate) unlucky: bool,
}

impl Program {
    /// Let the program decide on its next action; false: it has ended.
    pub(crate) fn next(body: &mut Body) -> bool {
        let mut context = std::task::Context::from_waker(Waker::noop());
        body.as_mut().poll(&mut context).is_pending()
    }
}

/// A thread's view of the world: what a program is written with.
#[derive(Clone)]
pub struct User {
    pub(crate) world: Rc<World>,
    pub(crate) shared: Rc<Shared>,
    pub(crate) base: u64,
}

impl User {
    async fn act(&self, action: Action) -> Completion {
        *self.shared.action.borrow_mut() = Some(action);
        std::future::poll_fn(|_| match self.shared.completion.borrow_mut().take() {
            Some(completion) => Poll::Ready(completion),
            None => Poll::Pending,
        })
        .await
    }

    /// The simulation this program runs in.
    #[must_use]
    pub const fn world(&self) -> &Rc<World> {
        &self.world
    }

    /// Simulated time, ns.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.world.time()
    }

    /// The argument that the thread was started with.
    #[must_use]
    pub fn argument(&self) -> u64 {
        self.shared.argument.get()
    }

    /// The instruction pointer at which this program begins.
    #[must_use]
    pub const fn base(&self) -> u64 {
        self.base
    }

    /// Do what follows at this many bytes behind the program's base (for restart windows).
    pub fn place(&self, offset: u64) {
        assert!(offset < abi::PAGE_SIZE - CALL_LENGTH);
        self.shared.place.set(offset);
    }

    /// Use the processor for `ns`; the offset that the kernel moved the thread to, if it did.
    ///
    /// # Errors
    /// The offset behind the base that the kernel moved the thread to.
    pub async fn compute(&self, ns: u64) -> Result<(), u64> {
        match self.act(Action::Compute(ns)).await {
            Completion::Jumped(offset) => Err(offset),
            _ => Ok(()),
        }
    }

    /// Answer every call at a gate after so much computing.
    pub async fn serve(&self, gate: Handle, work_ns: u64) -> ! {
        let mut message = self.receive(gate).ok().await;
        loop {
            let _ = self.compute(work_ns).await;
            message = self.reply_and_receive(message.request, gate).ok().await;
        }
    }

    /// Let simulated time pass, at a gate where nothing arrives.
    pub async fn pause(&self, gate: Handle, ns: u64) {
        let until = self.now() + ns;
        self.receive(gate).deadline(until, flags::DEADLINE_RECEIVE).fails(Error::TimedOut).await;
    }

    /// The priority that this thread runs at now.
    pub async fn priority(&self) -> u8 {
        (self.method(Handle::CURRENT_THREAD, thread::STATE, [0; 4]).ok().await.words[0] >> 16) as u8
    }

    /// Use the processor for ever.
    pub async fn hog(&self) -> ! {
        loop {
            let _ = self.compute(1_000_000).await;
        }
    }

    /// Read memory of the own space, faulting as a real program would.
    ///
    /// # Errors
    /// The offset behind the base that the kernel moved the thread to.
    pub async fn load(&self, address: u64, length: u64) -> Result<Vec<u8>, u64> {
        match self.act(Action::Read { address, length }).await {
            Completion::Bytes(bytes) => Ok(bytes),
            Completion::Jumped(offset) => Err(offset),
            other => panic!("{other:?}"),
        }
    }

    /// Write memory of the own space, faulting as a real program would.
    ///
    /// # Errors
    /// The offset behind the base that the kernel moved the thread to.
    pub async fn store(&self, address: u64, bytes: &[u8]) -> Result<(), u64> {
        match self.act(Action::Write { address, bytes: bytes.to_vec() }).await {
            Completion::Jumped(offset) => Err(offset),
            _ => Ok(()),
        }
    }

    /// Read one word.
    pub async fn load_word(&self, address: u64) -> u64 {
        let bytes = self.load(address, 8).await.expect("the thread was moved while it read");
        u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
    }

    /// Write one word.
    pub async fn store_word(&self, address: u64, word: u64) {
        self.store(address, &word.to_le_bytes()).await.expect("the thread was moved while it wrote");
    }

    /// All registers as they are now.
    pub async fn registers(&self) -> Registers {
        match self.act(Action::Registers).await {
            Completion::Registers(registers) => *registers,
            other => panic!("{other:?}"),
        }
    }

    /// Set all registers and go on where they say; returns when something sends the thread to this program again.
    pub async fn jump(&self, registers: &Registers) {
        let _ = self.act(Action::Jump(Box::new(*registers))).await;
    }

    /// Raise an exception.
    ///
    /// # Errors
    /// The offset behind the base that the kernel moved the thread to.
    pub async fn exception(&self, vector: u64, code: u64) -> Result<(), u64> {
        match self.act(Action::Exception { vector, code }).await {
            Completion::Jumped(offset) => Err(offset),
            _ => Ok(()),
        }
    }

    fn exchange(&self, operation: Operation, target: u64) -> Exchange {
        Exchange {
            user: Link(Some(self.clone())),
            operation: operation as u64,
            target,
            gate: 0,
            envelope: None,
            envelope_address: None,
            second_address: None,
            deadline: NEVER,
            label: 0,
            words: [0; 4],
        }
    }

    /// Send to a connection and wait for the reply.
    pub fn call(&self, connection: Handle) -> Exchange {
        self.exchange(Operation::Call, connection.0)
    }

    /// Receive at a gate.
    pub fn receive(&self, gate: Handle) -> Exchange {
        let mut exchange = self.exchange(Operation::Receive, 0);
        exchange.gate = gate.0;
        exchange
    }

    /// Reply to a request.
    pub fn reply(&self, request: u64) -> Exchange {
        self.exchange(Operation::Reply, request)
    }

    /// Reply to a request and receive at a gate.
    pub fn reply_and_receive(&self, request: u64, gate: Handle) -> Exchange {
        let mut exchange = self.exchange(Operation::ReplyAndReceive, request);
        exchange.gate = gate.0;
        exchange
    }

    /// Raise a pulse with these bits (or this count).
    pub fn raise(&self, pulse: Handle, bits: u64) -> Exchange {
        self.exchange(Operation::Raise, pulse.0).words([bits, 0, 0, 0])
    }

    /// Copy from a request's send segments, from an offset, to an address of the own space.
    pub fn read_request(&self, request: u64, offset: u64, address: u64, length: u64) -> Exchange {
        self.exchange(Operation::Read, request).words([offset, 0, 0, 0]).room(address, length)
    }

    /// Copy from an address of the own space to a request's receive segments, at an offset.
    pub fn write_request(&self, request: u64, offset: u64, address: u64, length: u64) -> Exchange {
        self.exchange(Operation::Write, request).words([offset, 0, 0, 0]).send(address, length)
    }

    /// A slot of its own table, reserved for a handle that is to come.
    pub async fn reserve(&self) -> abi::Handle {
        self.method(abi::Handle::SELF_PROCESS, abi::object::process::RESERVE, [0; 4]).ok().await.handle()
    }

    /// Call a method of a kernel object.
    pub fn method(&self, object: Handle, method: u16, words: [u64; 4]) -> Exchange {
        self.exchange(Operation::Call, object.0).label(u64::from(method)).words(words)
    }

    /// Any exchange, also one that does not exist (or a foreign system call): `rax` and `rdi` as given.
    pub fn raw(&self, operation: u64, target: u64) -> Exchange {
        let mut exchange = self.exchange(Operation::Call, target);
        exchange.operation = operation;
        exchange
    }
}

#[derive(Clone)]
struct Link(Option<User>);

impl std::fmt::Debug for Link {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("program")
    }
}

/// An exchange being put together; `await` does it.
#[derive(Clone, Debug)]
#[must_use = "an exchange does nothing until it is awaited"]
pub struct Exchange {
    user: Link,
    pub(crate) operation: u64,
    pub(crate) target: u64,
    pub(crate) gate: u64,
    pub(crate) envelope: Option<Box<Envelope>>,
    pub(crate) envelope_address: Option<u64>,
    pub(crate) second_address: Option<u64>,
    pub(crate) deadline: u64,
    pub(crate) label: u64,
    pub(crate) words: [u64; 4],
}

impl Exchange {
    /// The label.
    pub const fn label(mut self, label: u64) -> Self {
        self.label = label;
        self
    }

    /// The option beside a method's number.
    pub const fn option(mut self, option: u64) -> Self {
        self.label = self.label & 0xffff | option << 16;
        self
    }

    /// The words.
    pub const fn words(mut self, words: [u64; 4]) -> Self {
        self.words = words;
        self
    }

    /// The first word.
    pub const fn word(mut self, word: u64) -> Self {
        self.words[0] = word;
        self
    }

    /// The gate to receive at, or whatever stands in its place.
    pub const fn gate(mut self, gate: u64) -> Self {
        self.gate = gate;
        self
    }

    /// More flags ([`abi::call::flags`]).
    pub const fn flags(mut self, flags: u64) -> Self {
        self.operation |= flags;
        self
    }

    /// Its operation, and in a call of an object the method.
    #[must_use]
    pub const fn asks(&self) -> (u8, u16) {
        let operation = self.operation as u8;
        (operation, if operation == Operation::Call as u8 && self.label >= 0x100 { self.label as u16 } else { 0 })
    }

    /// Its one segment each way, if that is all that goes with it.
    pub(crate) fn in_registers(&self) -> Option<(Segment, Segment)> {
        let envelope = self.envelope.as_ref().filter(|_| self.envelope_address.is_none())?;
        let Envelope { send_count, receive_count, give_count, take_count, reserved, send, receive, .. } = **envelope;
        let simple = send_count < 2 && receive_count < 2 && give_count | take_count == 0 && reserved == 0;
        let part =
            |list: [Segment; abi::envelope::SEGMENTS], count| if count == 0 { Segment::default() } else { list[0] };
        let (send, receive) = (part(send, send_count), part(receive, receive_count));
        let fits = (send.length | receive.length) >> 32 == 0 && self.operation & flags::DEADLINES == 0;
        (simple && fits).then_some((send, receive))
    }

    fn envelope_mut(&mut self) -> &mut Envelope {
        self.envelope.get_or_insert_default()
    }

    /// One more segment to send.
    pub fn send(mut self, address: u64, length: u64) -> Self {
        let envelope = self.envelope_mut();
        envelope.send[usize::from(envelope.send_count)] = Segment { address, length };
        envelope.send_count += 1;
        self
    }

    /// One more segment for what arrives.
    pub fn room(mut self, address: u64, length: u64) -> Self {
        let envelope = self.envelope_mut();
        envelope.receive[usize::from(envelope.receive_count)] = Segment { address, length };
        envelope.receive_count += 1;
        self
    }

    /// One more handle to pass.
    pub fn give(mut self, handle: Handle, rights: Rights) -> Self {
        let envelope = self.envelope_mut();
        envelope.give[usize::from(envelope.give_count)] = Gift { handle, rights, flags: 0 };
        envelope.give_count += 1;
        self
    }

    /// One more handle to pass, which the giver loses.
    pub fn hand_over(self, handle: Handle, rights: Rights) -> Self {
        let mut passing = self.give(handle, rights);
        let envelope = passing.envelope_mut();
        envelope.give[usize::from(envelope.give_count) - 1].flags = Gift::MOVE;
        passing
    }

    /// One more slot for a handle that arrives.
    pub fn take(mut self, slot: Handle) -> Self {
        let envelope = self.envelope_mut();
        envelope.take[usize::from(envelope.take_count)] = slot;
        envelope.take_count += 1;
        self
    }

    /// The whole envelope, however wrong.
    pub fn envelope(mut self, envelope: Envelope) -> Self {
        self.envelope = Some(Box::new(envelope));
        self
    }

    /// Where the envelope is said to be; nothing is written there.
    pub const fn envelope_at(mut self, address: u64) -> Self {
        self.envelope_address = Some(address);
        self
    }

    /// What is to be in the register for a receive segment's address.
    pub const fn second_address(mut self, address: u64) -> Self {
        self.second_address = Some(address);
        self
    }

    /// A deadline for the states that `flags` says.
    pub const fn deadline(mut self, at_ns: u64, states: u64) -> Self {
        self.deadline = at_ns;
        self.operation |= states;
        self
    }

    /// Do not wait for a receiver (call) or a message (receive).
    pub const fn poll(self) -> Self {
        self.deadline(POLL, flags::DEADLINE_SEND | flags::DEADLINE_RECEIVE)
    }

    /// Do it again until the answer is other than `More`.
    pub async fn repeat(mut self) -> Answer {
        loop {
            let answer = self.clone().await;
            if answer.error() != Some(Error::More) {
                return answer;
            }
            self = self.go_on(&answer);
        }
    }

    /// What to ask for after the answer `More`: some calls say what is left.
    pub fn go_on(mut self, more: &Answer) -> Self {
        use abi::object::process::{COPY_TABLE, PROTECT, SHARE_RANGE};
        let end = self.words[1] + self.words[2];
        match self.label as u16 {
            PROTECT => self.words = more.words,
            COPY_TABLE => self.words[1] = more.words[0],
            SHARE_RANGE => (self.words[1], self.words[2]) = (more.words[0], end - more.words[0]),
            _ => {}
        }
        self
    }

    /// Do it, and insist on success.
    #[track_caller]
    pub fn ok(self) -> impl Future<Output = Answer> {
        let place = std::panic::Location::caller();
        async move {
            let asked = self.clone();
            let answer = self.repeat().await;
            assert!(
                answer.error().is_none(),
                "{place}: {asked:x?} failed: {:?}, words {:x?}",
                answer.error(),
                answer.words
            );
            answer
        }
    }

    /// Do it, and insist on this failure.
    #[track_caller]
    pub fn fails(self, error: Error) -> impl Future<Output = Answer> {
        let place = std::panic::Location::caller();
        async move {
            let asked = self.clone();
            let answer = self.repeat().await;
            assert!(
                answer.error() == Some(error),
                "{place}: {asked:x?} should fail with {error:?}, but answered {answer:x?}"
            );
            answer
        }
    }
}

impl IntoFuture for Exchange {
    type Output = Answer;
    type IntoFuture = Pin<Box<dyn Future<Output = Answer>>>;

    fn into_future(mut self) -> Self::IntoFuture {
        let user = self.user.0.take().expect("an exchange belongs to a program");
        Box::pin(async move {
            match user.act(Action::Exchange(self)).await {
                Completion::Answer(answer) => answer,
                Completion::Jumped(offset) => Answer { jumped: Some(offset), ..Answer::default() },
                other => panic!("{other:?}"),
            }
        })
    }
}

/// What an exchange returned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// `rax`.
    pub status: u64,
    /// Request id of a received message, 0 for a pulse or notice.
    pub request: u64,
    /// Identity of the caller's process.
    pub identity: u64,
    /// Badge of connection or pulse.
    pub badge: u64,
    /// Bytes moved into the receive segments.
    pub moved: u64,
    /// Bytes that the caller sent.
    pub sent: u64,
    /// Bytes that the caller can take back.
    pub room: u64,
    /// Label.
    pub label: u64,
    /// Words.
    pub words: [u64; 4],
    /// The kernel moved the thread here instead (offset behind the program's base).
    pub jumped: Option<u64>,
}

impl Answer {
    /// The status word.
    #[must_use]
    pub const fn status(&self) -> Status {
        Status(self.status)
    }

    /// What failed, if it failed.
    #[must_use]
    pub fn error(&self) -> Option<Error> {
        self.status().result().err()
    }

    /// The first word as a handle.
    #[must_use]
    pub const fn handle(&self) -> Handle {
        Handle(self.words[0])
    }
}
