//! A service that is mounted at a path but is no file: what it answers to messages of [`crate::file`], so that `ls` shows it and
//! nothing that opens it does harm.

use runtime::Received;

use crate::file::{Request, Status};
use crate::{Errno, Reply};

/// Mode of such a place: a character device that only its service knows what to do with.
const MODE: u32 = 0o020_600;

/// The answer to a message that is not of the service's own protocol.
#[must_use]
pub fn answer(received: &Received, inode: u64) -> Reply {
    match Request::decode(received.message.label, received.message.words) {
        Some(Request::Stat { .. }) => {
            // device, inode, links, mode: see `Status`.
            let words = [0, inode, 1, u64::from(MODE)];
            let mut bytes = [0; size_of::<Status>()];
            for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
                place.copy_from_slice(&word.to_le_bytes());
            }
            match runtime::write_request(received.request, 0, &bytes) {
                Ok(_) => Reply::DONE,
                Err(_) => Reply::RETRY,
            }
        }
        Some(Request::Open { .. }) => Reply::error(Errno::ENXIO),
        Some(_) => Reply::error(Errno::EPERM),
        None => Reply::error(Errno::ENOSYS),
    }
}
