//! RLIMIT_FSIZE: how far this process may make files grow. Kept here, since servers know nothing of limits.

use core::sync::atomic::{AtomicU64, Ordering};

use protocol::file::{self, AT_POSITION};
use protocol::Errno;
use runtime::Buffers;

use crate::descriptor::OpenFile;
use crate::message::{PROMPT, ask};
use crate::numbers::{Outcome, open, signals};
use crate::path;
use crate::signal;
use crate::task::Task;

/// Most bytes of a file that is written.
pub(crate) struct FileLimit(AtomicU64);

impl FileLimit {
    /// No limit.
    const NONE: u64 = u64::MAX;

    /// A limit, or none.
    pub(crate) fn new(limit: Option<u64>) -> Self {
        Self(AtomicU64::new(limit.unwrap_or(Self::NONE)))
    }

    /// It was changed.
    pub(crate) fn set(&self, limit: u64) {
        self.0.store(limit, Ordering::Relaxed);
    }

    /// The limit, if there is one.
    pub(crate) fn get(&self) -> Option<u64> {
        let limit = self.0.load(Ordering::Relaxed);
        (limit != Self::NONE).then_some(limit)
    }
}

/// A file would grow too large: SIGXFSZ, and EFBIG if that is survived.
fn too_large(task: &Task) -> Errno {
    signal::send_to_self(task, signals::XFSZ);
    Errno::EFBIG
}

/// Whether a file may become so long.
pub(crate) fn check_length(task: &Task, length: u64) -> Result<(), Errno> {
    match task.process.file_limit.get() {
        Some(limit) if length > limit => Err(too_large(task)),
        _ => Ok(()),
    }
}

/// How many of `wanted` bytes may be written to a file at an offset (or where it stands).
pub(crate) fn allowed(task: &Task, opened: &OpenFile, offset: u64, wanted: u64) -> Outcome {
    const CURRENT: u64 = 1;
    let Some(limit) = task.process.file_limit.get().filter(|_| opened.is_regular() && wanted > 0) else {
        return Ok(wanted);
    };
    let at = if opened.opened() & open::APPEND != 0 {
        path::stat_open(opened)?.size
    } else if offset == AT_POSITION {
        ask(&mut Buffers::new(), |buffers| file::seek(opened.handle(), 0, CURRENT, buffers, PROMPT))?.position
    } else {
        offset
    };
    if at >= limit { Err(too_large(task)) } else { Ok(wanted.min(limit - at)) }
}
