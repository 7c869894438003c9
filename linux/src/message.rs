//! Messages to services: repeated when a buffer was not present, and their failures as error numbers.

use abi::{Error, Handle};
use abi::call::flags::INTERRUPTIBLE;
use protocol::{Errno, Failure, process};
use runtime::handle::with_room;
use runtime::{Buffers, Options, OwnedHandle};

use crate::numbers::RESTART;
use crate::user_memory;

/// For messages that are answered soon.
pub(crate) const PROMPT: Options = Options::NONE;
/// For messages that may wait: a signal breaks them off.
pub(crate) const WAIT: Options = Options::flags(INTERRUPTIBLE);

/// How often a message is repeated because a buffer was not present.
const ATTEMPTS: usize = 1000;

/// Send a message; when a buffer was missing (a fork in another thread may take one away at any moment), make all buffers present and repeat.
pub(crate) fn insist<'a, T>(
    buffers: &mut Buffers<'a>,
    mut send: impl FnMut(&mut Buffers<'a>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    for _ in 0..ATTEMPTS {
        match send(buffers) {
            Err(Failure::Retry | Failure::Kernel(Error::LenderFault | Error::BadAddress)) => {
                user_memory::touch(buffers.sent(), buffers.received()).map_err(Failure::Service)?;
            }
            result => return result,
        }
    }
    Err(Failure::Service(Errno::EFAULT))
}

/// As [`insist`], with an error number.
pub(crate) fn ask<'a, T>(
    buffers: &mut Buffers<'a>,
    send: impl FnMut(&mut Buffers<'a>) -> Result<T, Failure>,
) -> Result<T, Errno> {
    insist(buffers, send).map_err(errno)
}

/// The error number of a failure; a wait that was broken off is [`RESTART`].
pub(crate) fn errno(failure: Failure) -> Errno {
    match failure {
        Failure::Kernel(Error::Interrupted) | Failure::Service(Errno::EINTR) => RESTART,
        // Only a server that died makes a good handle bad.
        Failure::Kernel(Error::BadHandle | Error::Gone) => Errno::EIO,
        other => other.errno(),
    }
}

/// The error number of a kernel error.
pub(crate) fn kernel(error: Error) -> Errno {
    errno(Failure::Kernel(error))
}

/// What the process is given at a time when its share of kernel objects is used up.
const MORE: [u64; 3] = [64, 16, 4];

/// Ask for more kernel objects. Whether they were given.
#[cold]
#[inline(never)]
pub(crate) fn enlarge(connection: Handle) -> bool {
    let [connections, pulses, pages] = MORE;
    process::enlarge(connection, connections, pulses, pages, &mut Buffers::new(), PROMPT).is_ok()
}

/// Make a handle, with a larger table or share of kernel objects if that is needed.
pub(crate) fn make(
    connection: Handle,
    mut attempt: impl FnMut() -> Result<Handle, Error>,
) -> Result<OwnedHandle, Errno> {
    let mut made = with_room(&mut attempt);
    if made == Err(Error::QuotaExceeded) && enlarge(connection) {
        made = with_room(&mut attempt);
    }
    made.map(OwnedHandle::new).map_err(kernel)
}
