//! What the file system starts with: the usual directories, and `root/…` of the boot archive, whose data stays there until
//! it is written.

use abi::Handle;
use abi::archive::Archive;
use protocol::Errno;
use protocol::resource_manager::mode;
use protocol::resource_manager::resolve::{Place, resolve};

use crate::content::Content;
use crate::tree::{Kind, NodeId, Time, Tree};

/// Directories that are always there. The empty ones are where others are mounted.
const DIRECTORIES: [(&str, u32); 23] = [
    ("bin", 0o755),
    ("boot", 0o755),
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("lib", 0o755),
    ("mnt", 0o755),
    ("opt", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    // Where /dev/shm leads.
    ("run/shm", 0o1777),
    ("sbin", 0o755),
    ("srv", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("usr/bin", 0o755),
    ("usr/sbin", 0o755),
    ("usr/local", 0o755),
    ("var", 0o755),
    ("var/log", 0o755),
    ("var/tmp", 0o1777),
];

/// Where in the archive the tree lies.
const PREFIX: &[u8] = b"root/";

fn place<'a>(tree: &Tree, path: &'a [u8]) -> Result<Place<'a, NodeId>, Errno> {
    // Entries are below directories, not below links.
    resolve(tree, path, false).map_err(|_| Errno::ENOTDIR)
}

/// Make the usual directories, where nothing (such as a link) took their place.
pub(crate) fn directories(tree: &mut Tree, now: Time) {
    for (path, mode) in DIRECTORIES {
        if let Ok(place) = place(tree, path.as_bytes())
            && place.node.is_none()
        {
            let (directory, name) = (place.directory, place.name);
            // Without memory for that, nothing else will work either, and say so.
            let _ = tree.make_directory(directory, name, mode, 0, 0, now);
        }
    }
}

/// Take over `root/…`. Gives how many entries could not be.
pub(crate) fn archive(tree: &mut Tree, archive: &Archive<'static>, memory: Handle) -> usize {
    let from = archive.search(PREFIX).unwrap_or_else(|index| index);
    let mut failed = 0;
    for index in from..archive.count() {
        let Some(file) = archive.entry(index) else {
            failed += 1;
            continue;
        };
        let Some(path) = file.path.strip_prefix(PREFIX) else {
            break;
        };
        let seconds = match file.modified_seconds {
            0 => archive.built_seconds(),
            seconds => seconds,
        };
        let time = Time { seconds, nanoseconds: 0 };
        let address = archive.bytes().as_ptr() as u64 + file.data_offset;
        let made = entry(tree, path, file.mode, time, || match file.mode & mode::TYPE {
            mode::FILE => Content::of_archive(memory, file.data_offset, address, file.data.len() as u64)
                .map(Kind::File)
                .map_err(|_| Errno::ENOSPC),
            mode::LINK => Ok(Kind::Link(file.data.to_vec())),
            _ => Ok(Kind::Special { device: 0 }),
        });
        failed += usize::from(made.is_err());
    }
    failed
}

fn entry(
    tree: &mut Tree,
    path: &[u8],
    mode: u32,
    time: Time,
    kind: impl FnOnce() -> Result<Kind, Errno>,
) -> Result<(), Errno> {
    let place = place(tree, path)?;
    let (directory, name) = (place.directory, place.name);
    if mode & mode::TYPE == mode::DIRECTORY {
        let node = match place.node {
            Some(node) => node,
            None => tree.make_directory(directory, name, mode, 0, 0, time)?,
        };
        let node = tree.node_mut(node);
        node.mode = mode;
        node.modified = time;
        return Ok(());
    }
    if place.node.is_some() {
        return Err(Errno::EEXIST);
    }
    let node = tree.add(mode, 0, 0, kind()?, time)?;
    tree.link(directory, name, node, time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_directories_are_there() {
        let mut tree = Tree::new(Time::default(), 0, 0);
        directories(&mut tree, Time::default());
        let tmp = place(&tree, b"tmp").unwrap().node.unwrap();
        assert_eq!(tree.node(tmp).mode, mode::DIRECTORY | 0o1777);
        assert!(place(&tree, b"var/log").unwrap().node.is_some());
        assert_eq!(tree.count(), DIRECTORIES.len() + 1);
    }

    #[test]
    fn archive_entries_join_what_is_there() {
        let mut tree = Tree::new(Time::default(), 0, 0);
        directories(&mut tree, Time::default());
        let time = Time { seconds: 9, nanoseconds: 0 };
        let none = || Ok(Kind::Special { device: 0 });
        entry(&mut tree, b"tmp", mode::DIRECTORY | 0o700, time, none).unwrap();
        entry(&mut tree, b"tmp/x", mode::FILE | 0o600, time, || Ok(Kind::File(Content::new()))).unwrap();
        assert_eq!(entry(&mut tree, b"tmp/x", mode::FILE, time, none), Err(Errno::EEXIST));
        assert_eq!(entry(&mut tree, b"none/x", mode::FILE, time, none), Err(Errno::ENOTDIR));
        let tmp = place(&tree, b"tmp").unwrap().node.unwrap();
        assert_eq!((tree.node(tmp).mode & 0o7777, tree.node(tmp).modified), (0o700, time));
    }
}
