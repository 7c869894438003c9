//! Opening files by path, as every client of the path service does.

use abi::Handle;
use abi::call::flags::{CHARGE_ME, DEADLINE_RECEIVE};
use alloc::vec::Vec;
use protocol::file::{PATH_MAXIMUM, REDIRECTS};
use protocol::{Errno, Failure, file, path};
use runtime::object::process;
use runtime::{Buffers, Options, OwnedHandle};

/// How often, and how long apart, something is looked for that is not there yet: devices announce themselves when they are ready.
const ATTEMPTS: u32 = 1000;
const PAUSE_NS: u64 = 10_000_000;

/// An open file.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) handle: OwnedHandle,
    /// st_mode.
    pub(crate) mode: u32,
    pub(crate) features: u64,
    /// How it was opened.
    pub(crate) flags: u64,
    /// Where it was looked for.
    pub(crate) name: Vec<u8>,
    /// Where it is, links followed.
    pub(crate) path: Vec<u8>,
}

/// A slot for a handle that may go to a POSIX process at the same place: there, the first ones are taken.
pub(crate) fn slot() -> Result<OwnedHandle, Errno> {
    let taken = [protocol::process::CONNECTION.index(), protocol::process::NAME_SPACE.index()];
    let mut unfit = Vec::new();
    loop {
        let slot = runtime::handle::reserve().map_err(|error| Failure::from(error).errno())?;
        if !taken.contains(&slot.index()) {
            return Ok(OwnedHandle::new(slot));
        }
        // Kept until another one is found.
        unfit.push(OwnedHandle::new(slot));
    }
}

/// Where a redirection leads: `answer` is absolute, or relative to the directory `mount`.
fn redirected(mount: &[u8], answer: &[u8]) -> Vec<u8> {
    if answer.starts_with(b"/") {
        return answer.to_vec();
    }
    let (mut base, mut rest) = (mount.trim_ascii_end(), answer);
    while let Some(after) = rest.strip_prefix(b"..").filter(|after| after.is_empty() || after.starts_with(b"/")) {
        let without_slash = base.strip_suffix(b"/").unwrap_or(base);
        let parent = without_slash.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        (base, rest) = (&without_slash[..parent], after.strip_prefix(b"/").unwrap_or(after));
    }
    let base = base.strip_suffix(b"/").unwrap_or(base);
    [base, b"/", rest].concat()
}

/// Open the file at this absolute path.
pub(crate) fn open(space: Handle, path: &[u8], flags: u64) -> Result<File, Errno> {
    let (name, mut path) = (path.to_vec(), path.to_vec());
    for _ in 0..REDIRECTS {
        match open_once(space, &path, flags)? {
            Ok(file) => return Ok(File { name, ..file }),
            Err(elsewhere) => path = elsewhere,
        }
    }
    Err(Errno::ELOOP)
}

/// The file, or the path at which it is to be looked for instead.
fn open_once(space: Handle, path: &[u8], flags: u64) -> Result<Result<File, Vec<u8>>, Errno> {
    for skip in 0.. {
        let mount = OwnedHandle::new(runtime::handle::reserve().map_err(|error| Failure::from(error).errno())?);
        let mut buffers = Buffers::new().send(path).take(mount.handle());
        let owner = path::resolve(space, skip, &mut buffers, Options::NONE).map_err(Failure::errno)?;
        let rest = path.get(owner.consumed as usize..).unwrap_or_default();
        let handle = slot()?;
        let mut answer = alloc::vec![0; PATH_MAXIMUM];
        let mut buffers = Buffers::new().send(rest).receive(&mut answer).take(handle.handle());
        match file::open(mount.handle(), flags, 0, 0, &mut buffers, Options::flags(CHARGE_ME)) {
            Ok(opened) => {
                let path = path.to_vec();
                let (name, mode) = (Vec::new(), opened.mode as u32);
                return Ok(Ok(File { handle, mode, features: opened.features, flags, name, path }));
            }
            Err(Failure::Redirect { length, .. }) => {
                let answer = answer.get(..length as usize).ok_or(Errno::EIO)?;
                let prefix = &path[..path.len() - rest.len()];
                return Ok(Err(redirected(prefix, answer)));
            }
            Err(Failure::Service(Errno::ENOENT)) if owner.more != 0 => {}
            Err(failure) => return Err(failure.errno()),
        }
    }
    Err(Errno::ENOENT)
}

/// Open a stream of the host, once its driver has found it.
pub(crate) fn open_port(space: Handle, name: &str, flags: u64) -> Result<File, Errno> {
    open_when_there(space, &[b"/dev/virtio/", name.as_bytes()].concat(), flags)
}

/// As [`open`], of something that is there soon.
pub(crate) fn open_when_there(space: Handle, path: &[u8], flags: u64) -> Result<File, Errno> {
    for _ in 1..ATTEMPTS {
        match open(space, path, flags) {
            Err(Errno::ENOENT | Errno::ENXIO) => pause(),
            result => return result,
        }
    }
    open(space, path, flags)
}

/// Let others work for a moment.
fn pause() {
    let Ok(gate) = process::create_gate(Handle::SELF_PROCESS, Handle::NONE, 0) else { return };
    let deadline = runtime::clock::monotonic_ns() + PAUSE_NS;
    // Nobody sends there: the deadline ends it.
    let _ = runtime::receive(gate, &mut Buffers::new(), Options { flags: DEADLINE_RECEIVE, deadline });
    // A gate of our own, which nothing refers to.
    let _ = process::destroy(gate);
}

#[cfg(test)]
mod tests {
    use super::redirected;

    #[test]
    fn redirections_are_absolute_or_below_the_mount_or_beside_it() {
        assert_eq!(redirected(b"/dev/", b"/tmp/x"), b"/tmp/x");
        assert_eq!(redirected(b"/dev/", b"pts/0"), b"/dev/pts/0");
        assert_eq!(redirected(b"/dev/pipe", b"x"), b"/dev/pipe/x");
        assert_eq!(redirected(b"/dev/pipe/", b"../null"), b"/dev/null");
        assert_eq!(redirected(b"/dev/pipe/", b"../../../x"), b"/x");
        assert_eq!(redirected(b"/", b"../x"), b"/x");
        assert_eq!(redirected(b"/", b"bin/busybox"), b"/bin/busybox");
        assert_eq!(redirected(b"/dev/", b"..x"), b"/dev/..x");
    }
}
