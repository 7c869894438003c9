//! The one system call, typed: call, receive, reply, raise, and reading or writing what a caller lent.
//!
//! Words and a label travel in registers; bytes and handles through [`Buffers`]. On a host target there is no kernel:
//! every exchange fails with [`Error::Unsupported`], so that programs type-check and their pure parts can be tested there.

use core::marker::PhantomData;
use core::mem::{MaybeUninit, offset_of};

use abi::call::{NEVER, flags};
use abi::envelope::{GIFTS, SEGMENTS};
use abi::{Envelope, Error, Gift, Handle, Operation, Rights, Segment, Status};

/// The registers of one exchange, in and out; [`abi::call`] says what each means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// `rax`: operation and flags in, status out.
    pub status: u64,
    /// `rdi`: target or request id in, request id out.
    pub target: u64,
    /// `rsi`: gate in, identity out.
    pub gate: u64,
    /// `rdx`: address of an envelope (or of a send segment) in, badge out.
    pub envelope: u64,
    /// `r8`: deadline (or lengths of segments) in, bytes moved out.
    pub deadline: u64,
    /// `r9`: nothing (or the address of a receive segment) in, lengths of a received message out.
    pub lengths: u64,
    /// `r10`: label.
    pub label: u64,
    /// `r12`–`r15`.
    pub words: [u64; 4],
}

/// Trap into the kernel.
#[cfg(all(target_arch = "x86_64", target_os = "none"))]
#[inline(always)]
#[must_use]
pub fn exchange(registers: Registers) -> Registers {
    let Registers { mut status, mut target, mut gate, mut envelope, mut deadline, mut lengths, mut label, mut words } =
        registers;
    // SAFETY: the kernel keeps every register that is not named here, writes only memory that the envelope names (which
    // `Buffers` borrowed for at least as long as the exchange, or whose caller asked for it by address, which the kernel
    // checks), and loses only rcx and r11.
    unsafe {
        core::arch::asm!(
            "syscall",
            inout("rax") status,
            inout("rdi") target,
            inout("rsi") gate,
            inout("rdx") envelope,
            inout("r8") deadline,
            inout("r9") lengths,
            inout("r10") label,
            inout("r12") words[0],
            inout("r13") words[1],
            inout("r14") words[2],
            inout("r15") words[3],
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    Registers { status, target, gate, envelope, deadline, lengths, label, words }
}

/// Plain exchanges, with a label and words: what they do not look at is not set.
macro_rules! plain_exchange {
    ($(#[$doc:meta])* $name:ident, $operation:expr, $target:ident, ($($gate:ident)?), $($rsi:tt)*) => {
        $(#[$doc])*
        #[cfg(all(target_arch = "x86_64", target_os = "none"))]
        #[inline(always)]
        pub(crate) fn $name($target: u64, $($gate: u64,)? message: Message) -> Registers {
            let Message { mut label, mut words } = message;
            let mut status = $operation as u64;
            let (target, gate, envelope, deadline, lengths);
            // SAFETY: as in `exchange`; nothing in memory goes with it.
            unsafe {
                core::arch::asm!(
                    "syscall",
                    inout("rax") status,
                    inout("rdi") $target => target,
                    $($rsi)* gate,
                    lateout("rdx") envelope,
                    lateout("r8") deadline,
                    lateout("r9") lengths,
                    inout("r10") label,
                    inout("r12") words[0],
                    inout("r13") words[1],
                    inout("r14") words[2],
                    inout("r15") words[3],
                    lateout("rcx") _,
                    lateout("r11") _,
                    options(nostack),
                );
            }
            Registers { status, target, gate, envelope, deadline, lengths, label, words }
        }

        $(#[$doc])*
        #[cfg(not(all(target_arch = "x86_64", target_os = "none")))]
        pub(crate) fn $name($target: u64, $($gate: u64,)? message: Message) -> Registers {
            let Message { label, words } = message;
            let registers = Registers { status: $operation as u64, target: $target, label, words, ..Registers::default() };
            exchange(Registers { $($gate,)? ..registers })
        }
    };
}

plain_exchange!(
    /// A plain call.
    plain_call, Operation::Call, target, (), lateout("rsi")
);
plain_exchange!(
    /// A plain reply-and-receive.
    plain_reply, Operation::ReplyAndReceive, request, (gate), inout("rsi") gate =>
);

/// There is no kernel here: fails.
#[cfg(not(all(target_arch = "x86_64", target_os = "none")))]
#[must_use]
pub fn exchange(registers: Registers) -> Registers {
    Registers { status: Status::failed(Error::Unsupported).0, deadline: 0, ..registers }
}

/// Label and words: what travels in registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// What is asked; in a reply of our services 0 for success, else an error number.
    pub label: u64,
    /// Four words.
    pub words: [u64; 4],
}

impl Message {
    /// A message with a label and words.
    #[must_use]
    pub const fn new(label: u64, words: [u64; 4]) -> Self {
        Self { label, words }
    }
}

/// How an exchange may wait: flags of [`abi::call::flags`], and an absolute deadline for the phases that they name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// A set of [`abi::call::flags`].
    pub flags: u64,
    /// Absolute nanoseconds.
    pub deadline: u64,
}

impl Options {
    /// Wait for ever.
    pub const NONE: Self = Self { flags: 0, deadline: NEVER };

    /// With these flags and no deadline.
    #[must_use]
    pub const fn flags(flags: u64) -> Self {
        Self { flags, deadline: NEVER }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::NONE
    }
}

/// A reply, or the answer of a kernel object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Label and words.
    pub message: Message,
    /// Bytes that arrived in the receive segments.
    pub moved: u64,
    /// How many handles arrived in the slots of `take`.
    pub handles: usize,
}

/// What arrived at a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// The request to answer; 0 for a pulse or a notice.
    pub request: u64,
    /// Badge of the connection or the pulse.
    pub badge: u64,
    /// Identity of the calling process.
    pub identity: u64,
    /// Label and words.
    pub message: Message,
    /// Bytes that arrived in the receive segments.
    pub moved: u64,
    /// Bytes that the caller sent (they may be more than what was moved: see [`read_request`]).
    pub sent: u32,
    /// Bytes that the caller can take back.
    pub room: u32,
    /// The whole status word: priority, number of handles, and what sort of message it is.
    pub status: Status,
}

impl Received {
    /// Whether it is a pulse or a notice, which nobody waits for.
    #[must_use]
    pub const fn is_pulse(&self) -> bool {
        self.status.is_pulse()
    }

    /// Whether it is a notice of the kernel; see [`abi::notice`].
    #[must_use]
    pub const fn is_notice(&self) -> bool {
        self.status.is_notice()
    }

    /// Whether it is a request that an earlier receiver may have begun.
    #[must_use]
    pub const fn is_retried(&self) -> bool {
        self.status.0 & Status::RETRIED != 0
    }
}

/// Bytes and handles that go with a message. Built up call by call:
/// `Buffers::new().send(header).send(data).receive(&mut answer)`. More than [`SEGMENTS`] segments or [`GIFTS`] handles
/// are refused by the kernel with [`Error::BadArgument`].
#[derive(Clone, Copy, Debug)]
pub struct Buffers<'a> {
    envelope: Lent,
    lent: PhantomData<&'a mut [u8]>,
}

/// An [`Envelope`] of which only what the counts say was written: to clear all of it costs as much as to use it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Lent {
    send_count: u8,
    receive_count: u8,
    give_count: u8,
    take_count: u8,
    reserved: u32,
    send: [MaybeUninit<Segment>; SEGMENTS],
    receive: [MaybeUninit<Segment>; SEGMENTS],
    give: [MaybeUninit<Gift>; GIFTS],
    take: [MaybeUninit<Handle>; GIFTS],
}

const _: () = assert!(
    size_of::<Lent>() == size_of::<Envelope>()
        && offset_of!(Lent, reserved) == offset_of!(Envelope, reserved)
        && offset_of!(Lent, send) == offset_of!(Envelope, send)
        && offset_of!(Lent, receive) == offset_of!(Envelope, receive)
        && offset_of!(Lent, give) == offset_of!(Envelope, give)
        && offset_of!(Lent, take) == offset_of!(Envelope, take)
);

/// Write the next place of a list, if there is one, and count it in any case: the kernel refuses what is too much.
#[inline]
fn add<T, const N: usize>(list: &mut [MaybeUninit<T>; N], count: &mut u8, value: T) {
    if let Some(place) = list.get_mut(usize::from(*count)) {
        place.write(value);
    }
    *count = count.saturating_add(1);
}

/// What of a list was written.
#[inline]
fn written<T>(list: &[MaybeUninit<T>], count: u8) -> &[T] {
    let list = &list[..list.len().min(usize::from(count))];
    // SAFETY: `add`, which alone changes a count, wrote every place below it; the slice borrows the list.
    unsafe { core::slice::from_raw_parts(list.as_ptr().cast(), list.len()) }
}

impl<'a> Buffers<'a> {
    /// Nothing.
    #[must_use]
    #[inline]
    pub const fn new() -> Self {
        let envelope = Lent {
            send_count: 0,
            receive_count: 0,
            give_count: 0,
            take_count: 0,
            reserved: 0,
            send: [MaybeUninit::uninit(); SEGMENTS],
            receive: [MaybeUninit::uninit(); SEGMENTS],
            give: [MaybeUninit::uninit(); GIFTS],
            take: [MaybeUninit::uninit(); GIFTS],
        };
        Self { envelope, lent: PhantomData }
    }

    /// Send these bytes, after those named before.
    #[must_use]
    #[inline]
    pub fn send(self, bytes: &'a [u8]) -> Self {
        self.send_raw(bytes.as_ptr() as u64, bytes.len() as u64)
    }

    /// Let arriving bytes go here, after what was named before.
    #[must_use]
    #[inline]
    pub fn receive(self, bytes: &'a mut [u8]) -> Self {
        self.receive_raw(bytes.as_mut_ptr() as u64, bytes.len() as u64)
    }

    /// Send bytes named by address. The kernel checks that they are the caller's.
    #[must_use]
    #[inline]
    pub fn send_raw(mut self, address: u64, length: u64) -> Self {
        self.add_send(address, length);
        self
    }

    /// Let arriving bytes go to an address. For memory that no Rust reference names, such as that of a program whose
    /// personality is calling; the kernel checks that it is the caller's and writable.
    #[must_use]
    #[inline]
    pub fn receive_raw(mut self, address: u64, length: u64) -> Self {
        self.add_receive(address, length);
        self
    }

    /// Pass a copy of a handle.
    #[must_use]
    #[inline]
    pub fn give(mut self, handle: Handle, rights: Rights) -> Self {
        self.add_give(handle, rights);
        self
    }

    /// Pass a handle itself: it is closed here when the message is delivered.
    #[must_use]
    #[inline]
    pub fn hand_over(mut self, handle: Handle, rights: Rights) -> Self {
        self.add_hand_over(handle, rights);
        self
    }

    /// Let an arriving handle go into this reserved slot.
    #[must_use]
    #[inline]
    pub fn take(mut self, slot: Handle) -> Self {
        self.add_take(slot);
        self
    }

    /// As [`Buffers::send_raw`], in place: for those who count instructions.
    #[inline]
    pub fn add_send(&mut self, address: u64, length: u64) {
        add(&mut self.envelope.send, &mut self.envelope.send_count, Segment { address, length });
    }

    /// As [`Buffers::receive_raw`], in place.
    #[inline]
    pub fn add_receive(&mut self, address: u64, length: u64) {
        add(&mut self.envelope.receive, &mut self.envelope.receive_count, Segment { address, length });
    }

    /// As [`Buffers::give`], in place.
    #[inline]
    pub fn add_give(&mut self, handle: Handle, rights: Rights) {
        self.add_gift(Gift { handle, rights, flags: 0 });
    }

    /// As [`Buffers::hand_over`], in place.
    #[inline]
    pub fn add_hand_over(&mut self, handle: Handle, rights: Rights) {
        self.add_gift(Gift { handle, rights, flags: Gift::MOVE });
    }

    #[inline]
    fn add_gift(&mut self, gift: Gift) {
        add(&mut self.envelope.give, &mut self.envelope.give_count, gift);
    }

    /// As [`Buffers::take`], in place.
    #[inline]
    pub fn add_take(&mut self, slot: Handle) {
        add(&mut self.envelope.take, &mut self.envelope.take_count, slot);
    }

    /// The slots named by [`Buffers::take`], in order.
    #[must_use]
    pub fn slots(&self) -> &[Handle] {
        written(&self.envelope.take, self.envelope.take_count)
    }

    /// What is sent.
    #[must_use]
    #[inline]
    pub fn sent(&self) -> &[Segment] {
        written(&self.envelope.send, self.envelope.send_count)
    }

    /// Where arriving bytes go.
    #[must_use]
    #[inline]
    pub fn received(&self) -> &[Segment] {
        written(&self.envelope.receive, self.envelope.receive_count)
    }
}

impl Default for Buffers<'_> {
    fn default() -> Self {
        Self::new()
    }
}

const _: () = assert!(SEGMENTS == 4 && GIFTS == 4);

/// Put what goes with an exchange into the registers: nothing, one segment each way, or where the envelope is.
#[inline]
fn lay_out(registers: Registers, buffers: &Buffers<'_>, options: Options) -> Registers {
    let Lent { send_count, receive_count, give_count, take_count, .. } = buffers.envelope;
    let status = registers.status | options.flags;
    let plain = Registers { status, envelope: 0, deadline: options.deadline, lengths: 0, ..registers };
    if send_count | receive_count | give_count | take_count == 0 {
        return plain;
    }
    if (send_count | receive_count) >> 1 | give_count | take_count == 0 && options.flags & flags::DEADLINES == 0 {
        let segment = |list: &[Segment]| list.first().copied().unwrap_or_default();
        let (send, receive) = (segment(buffers.sent()), segment(buffers.received()));
        // A length that does not fit is too long, and that is for the kernel to say.
        if (send.length | receive.length) >> 32 == 0 {
            return Registers {
                status: status | flags::SEGMENTS,
                envelope: send.address,
                deadline: send.length | receive.length << 32,
                lengths: receive.address,
                ..registers
            };
        }
    }
    Registers { status: status | flags::ENVELOPE, envelope: &raw const buffers.envelope as u64, ..plain }
}

#[inline]
fn answer(registers: Registers) -> Result<Answer, Error> {
    let status = Status(registers.status);
    status.result()?;
    Ok(Answer {
        message: Message { label: registers.label, words: registers.words },
        moved: registers.deadline,
        handles: status.handles(),
    })
}

#[inline]
fn received(registers: Registers) -> Result<Received, Error> {
    let status = Status(registers.status);
    status.result()?;
    Ok(Received {
        request: registers.target,
        badge: registers.envelope,
        identity: registers.gate,
        message: Message { label: registers.label, words: registers.words },
        moved: registers.deadline,
        sent: registers.lengths as u32,
        room: (registers.lengths >> 32) as u32,
        status,
    })
}

/// Send to a connection and wait for the reply, or call a kernel object.
///
/// # Errors
/// Whatever [`Error`] the exchange ended with; then nothing of the answer counts.
#[inline]
pub fn call(target: Handle, message: Message, buffers: &mut Buffers<'_>, options: Options) -> Result<Answer, Error> {
    answer(exchange(lay_out(call_registers(target, message), buffers, options)))
}

/// [`call`] with registers only, and no deadline.
///
/// # Errors
/// As [`call`].
#[inline]
pub fn call_words(target: Handle, message: Message) -> Result<Answer, Error> {
    answer(plain_call(target.0, message))
}

/// The registers of a plain call.
#[inline]
const fn call_registers(target: Handle, message: Message) -> Registers {
    Registers {
        status: Operation::Call as u64,
        target: target.0,
        gate: 0,
        envelope: 0,
        deadline: NEVER,
        lengths: 0,
        label: message.label,
        words: message.words,
    }
}

/// The registers of a plain reply-and-receive.
#[inline]
const fn reply_registers(request: u64, message: Message, gate: Handle) -> Registers {
    Registers {
        status: Operation::ReplyAndReceive as u64,
        target: request,
        gate: gate.0,
        envelope: 0,
        deadline: NEVER,
        lengths: 0,
        label: message.label,
        words: message.words,
    }
}

/// Wait at a gate for a request, a pulse or a notice.
///
/// # Errors
/// [`Error::TimedOut`] and [`Error::Interrupted`] as asked for by the options; else a fault of the caller's.
#[inline]
pub fn receive(gate: Handle, buffers: &mut Buffers<'_>, options: Options) -> Result<Received, Error> {
    let registers = Registers { status: Operation::Receive as u64, gate: gate.0, ..Registers::default() };
    received(exchange(lay_out(registers, buffers, options)))
}

/// Answer a request. Gives the number of bytes moved to the caller.
///
/// # Errors
/// [`Error::Gone`]: the caller has left and saw nothing of it. [`Error::LenderFault`]: its buffers are not accessible; the
/// request stays open.
#[inline]
pub fn reply(request: u64, message: Message, buffers: &Buffers<'_>) -> Result<u64, Error> {
    let registers = Registers {
        status: Operation::Reply as u64,
        target: request,
        label: message.label,
        words: message.words,
        ..Registers::default()
    };
    let out = exchange(lay_out(registers, buffers, Options::NONE));
    Status(out.status).result().map(|()| out.deadline)
}

/// Answer a request, then wait at a gate. One envelope serves both: its send segments and gifts are the answer's, its
/// receive segments and slots are for what arrives. A failed reply returns without receiving.
///
/// # Errors
/// As [`reply`] and [`receive`].
#[inline]
pub fn reply_and_receive(
    request: u64,
    message: Message,
    buffers: &mut Buffers<'_>,
    gate: Handle,
    options: Options,
) -> Result<Received, Error> {
    received(exchange(lay_out(reply_registers(request, message, gate), buffers, options)))
}

/// [`receive`] of what comes without bytes and handles: registers only, no deadline.
///
/// # Errors
/// As [`receive`].
#[inline]
pub fn receive_words(gate: Handle) -> Result<Received, Error> {
    received(exchange(Registers {
        status: Operation::Receive as u64,
        gate: gate.0,
        deadline: NEVER,
        ..Registers::default()
    }))
}

/// [`reply_and_receive`] with registers only, and no deadline: the shortest way round.
///
/// # Errors
/// As [`reply_and_receive`].
#[inline]
pub fn reply_and_receive_words(request: u64, message: Message, gate: Handle) -> Result<Received, Error> {
    received(plain_reply(request, gate.0, message))
}

/// Raise a pulse with these bits, or this count; never blocks.
///
/// # Errors
/// A bad handle, or a pulse whose gate is gone.
#[inline]
pub fn raise(pulse: Handle, value: u64) -> Result<(), Error> {
    let out = exchange(Registers {
        status: Operation::Raise as u64,
        target: pulse.0,
        deadline: NEVER,
        words: [value, 0, 0, 0],
        ..Registers::default()
    });
    Status(out.status).result()
}

#[inline]
fn transfer(kind: Operation, request: u64, offset: u64, buffers: &Buffers<'_>) -> Result<u64, (Error, u64)> {
    let registers =
        Registers { status: kind as u64, target: request, words: [offset, 0, 0, 0], ..Registers::default() };
    let out = exchange(lay_out(registers, buffers, Options::NONE));
    match Status(out.status).result() {
        Ok(()) => Ok(out.deadline),
        Err(error) => Err((error, out.deadline)),
    }
}

/// Copy from what a caller sent, from `offset` on. Gives the bytes moved, fewer than asked for at the message's end.
///
/// # Errors
/// What went wrong, and how many bytes had been moved before.
#[inline]
pub fn read_request(request: u64, offset: u64, bytes: &mut [u8]) -> Result<u64, (Error, u64)> {
    transfer(Operation::Read, request, offset, &Buffers::new().receive(bytes))
}

/// Copy to where a caller wants its answer, at `offset`. Gives the bytes moved, fewer than asked for when its room ends.
///
/// # Errors
/// What went wrong, and how many bytes had been moved before.
#[inline]
pub fn write_request(request: u64, offset: u64, bytes: &[u8]) -> Result<u64, (Error, u64)> {
    transfer(Operation::Write, request, offset, &Buffers::new().send(bytes))
}

/// [`read_request`] to, or [`write_request`] from, buffers of any shape.
///
/// # Errors
/// As there.
#[inline]
pub fn read_request_into(request: u64, offset: u64, buffers: &mut Buffers<'_>) -> Result<u64, (Error, u64)> {
    transfer(Operation::Read, request, offset, buffers)
}

/// [`write_request`] from buffers of any shape.
///
/// # Errors
/// As there.
#[inline]
pub fn write_request_from(request: u64, offset: u64, buffers: &Buffers<'_>) -> Result<u64, (Error, u64)> {
    transfer(Operation::Write, request, offset, buffers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_count_segments_and_keep_order() {
        let (a, b) = ([1u8; 3], [2u8; 5]);
        let mut room = [0u8; 7];
        let buffers = Buffers::new().send(&a).send(&b).receive(&mut room).take(Handle(9)).give(Handle(8), Rights::SEND);
        let Lent { send_count, receive_count, give_count, take_count, .. } = buffers.envelope;
        assert_eq!((send_count, receive_count, give_count, take_count), (2, 1, 1, 1));
        let lengths = |list: &[Segment]| list.iter().map(|segment| segment.length).collect::<alloc::vec::Vec<_>>();
        assert_eq!((lengths(buffers.sent()), lengths(buffers.received())), (alloc::vec![3, 5], alloc::vec![7]));
        assert_eq!(buffers.slots(), [Handle(9)]);
    }

    #[test]
    fn too_many_segments_reach_the_kernel_as_a_wrong_count() {
        let mut buffers = Buffers::new();
        for address in 0..6 {
            buffers = buffers.send_raw(address, 1);
        }
        assert_eq!(buffers.envelope.send_count, 6);
        assert_eq!(buffers.sent().len(), SEGMENTS);
    }

    #[test]
    fn without_a_kernel_every_exchange_fails() {
        assert_eq!(call_words(Handle(3), Message::default()), Err(Error::Unsupported));
    }
}
