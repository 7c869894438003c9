//! Kernel objects, one module per kind: a function per method of [`abi::object`], answered on the spot.
//!
//! What answers [`Error::More`] is repeated here until it is done. New handles go to the caller's table, whatever
//! process they are charged to.

pub mod baton;
pub mod gate;
pub mod memory;
pub mod process;
pub mod pulse;
pub mod thread;

use abi::{Error, Handle, Status};

use crate::exchange::{Buffers, Message, Options, call, plain_call};

/// A method that takes and gives words only.
#[inline]
fn invoke(target: Handle, method: u16, words: [u64; 4]) -> Result<[u64; 4], Error> {
    invoke_option(target, method, 0, words)
}

/// A method with an option.
#[inline]
fn invoke_option(target: Handle, method: u16, option: u64, words: [u64; 4]) -> Result<[u64; 4], Error> {
    partial(target, method, option, words).1
}

/// A method whose words count even if it failed: what [`Error::More`] says about how far it got.
#[inline]
fn partial(target: Handle, method: u16, option: u64, words: [u64; 4]) -> ([u64; 4], Result<[u64; 4], Error>) {
    let out = plain_call(target.0, Message { label: u64::from(method) | option << 16, words });
    (out.words, Status(out.status).result().map(|()| out.words))
}

/// A method that answers `More` until it is done.
fn repeat(target: Handle, method: u16, words: [u64; 4]) -> Result<[u64; 4], Error> {
    loop {
        match invoke(target, method, words) {
            Err(Error::More) => {}
            result => return result,
        }
    }
}

/// A method with bytes.
fn invoke_with(target: Handle, method: u16, words: [u64; 4], buffers: &mut Buffers<'_>) -> Result<[u64; 4], Error> {
    let message = Message { label: u64::from(method), words };
    call(target, message, buffers, Options::NONE).map(|answer| answer.message.words)
}

/// The bytes of a value that is plain data, for a send segment.
macro_rules! plain {
    ($($type:ty),*) => {$(
        impl Plain for $type {}
    )*};
}

/// Layouts of [`abi`] that travel as bytes: `repr(C)`, integers only, no padding.
pub(crate) trait Plain: Copy {
    /// Its bytes, to send.
    fn bytes(&self) -> &[u8] {
        // SAFETY: an implementor has no padding and no invalid bytes; the slice borrows `self`.
        unsafe { core::slice::from_raw_parts(core::ptr::from_ref(self).cast(), size_of::<Self>()) }
    }

    /// Its bytes, to receive.
    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: any bytes are a valid value of an implementor; the slice borrows `self`.
        unsafe { core::slice::from_raw_parts_mut(core::ptr::from_mut(self).cast(), size_of::<Self>()) }
    }
}

plain!(abi::Quota, abi::quota::Usage, abi::thread::Configuration, abi::thread::Registers);
