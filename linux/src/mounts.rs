//! Whose a path is, remembered: the path service also tells where a path's part begins below which nothing else is mounted. What
//! was told is believed for a second, so that a later mount is seen.

use alloc::sync::Arc;
use alloc::vec::Vec;

use protocol::process::NAME_SPACE;
use protocol::{Failure, path};
use runtime::{Buffers, OwnedHandle, clock};

use crate::message::{PROMPT, insist};
use crate::paths;
use crate::slot::Slot;
use crate::task::Task;

/// An owner of a path.
#[derive(Clone)]
pub(crate) struct Owner {
    /// Its connection.
    pub(crate) mount: Arc<OwnedHandle>,
    /// Bytes of the path that are its prefix.
    pub(crate) consumed: usize,
    /// The mount's number.
    pub(crate) number: u64,
    /// Whether others may have the path, too.
    pub(crate) more: bool,
}

/// What is known of everything at and below a path.
struct Known {
    path: Vec<u8>,
    skip: u64,
    owner: Owner,
    /// In ticks of the time-stamp counter, which cost no division.
    until: u64,
}

/// What was told lately.
#[derive(Default)]
pub(crate) struct Mounts(Vec<Known>);

/// How much is remembered.
const ROOM: usize = 16;

fn covers(above: &[u8], path: &[u8]) -> bool {
    path.strip_prefix(above).is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
}

impl Mounts {
    fn find(&self, path: &[u8], skip: u64, now: u64) -> Option<Owner> {
        let known = self.0.iter().find(|known| known.skip == skip && covers(&known.path, path))?;
        (now < known.until).then(|| known.owner.clone())
    }

    fn remember(&mut self, known: Known) {
        self.0.retain(|other| other.skip != known.skip || other.path != known.path);
        if self.0.len() == ROOM {
            self.0.remove(0);
        }
        self.0.push(known);
    }

    /// In a forked child, which does not have the handles.
    pub(crate) fn forget(&mut self) {
        for known in self.0.drain(..) {
            if let Some(mount) = Arc::into_inner(known.owner.mount) {
                let _ = mount.into_handle();
            }
        }
    }
}

/// The owner of an absolute, tidy path, after `skip` better ones.
pub(crate) fn owner(task: &Task, path: &[u8], skip: u64) -> Result<Owner, Failure> {
    let now = clock::ticks();
    // Whose a directory is says the place that it had when it was opened.
    let path = &path[..paths::anchor(path).unwrap_or(path.len())];
    if let Some(owner) = task.process.mounts.lock().find(path, skip, now) {
        return Ok(Owner { consumed: owner.consumed.min(path.len()), ..owner });
    }
    let slot = Slot::new(task.connection()).map_err(Failure::Service)?;
    let mut buffers = Buffers::new().send(path).take(slot.handle());
    let answer = insist(&mut buffers, |buffers| path::resolve(NAME_SPACE, skip, buffers, PROMPT))?;
    let consumed = path.len().min(answer.consumed as usize);
    let owner = Owner { mount: Arc::new(slot.filled()), consumed, number: answer.mount, more: answer.more != 0 };
    if let Some(alone @ [_, ..]) = path.get(..answer.alone as usize) {
        // At the prefix itself no slash follows it, but one does below.
        let consumed = if consumed == path.len() && !path.ends_with(b"/") { consumed + 1 } else { consumed };
        let known = Known {
            path: alone.to_vec(),
            skip,
            owner: Owner { consumed, ..owner.clone() },
            until: now + clock::page().tsc_hz,
        };
        task.process.mounts.lock().remember(known);
    }
    Ok(owner)
}
