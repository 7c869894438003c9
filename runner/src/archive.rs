//! Writing the boot archive: the tree of files that the system starts with (layout: [`abi::archive`]).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use abi::PAGE_SIZE;
use abi::archive::{ARCHIVE_MAGIC, ArchiveEntry, ArchiveHeader};

use crate::error::{Context, Error, Result};

const TYPE_FILE: u32 = 0o100_000;
const TYPE_DIRECTORY: u32 = 0o040_000;
const TYPE_LINK: u32 = 0o120_000;
const PERMISSIONS: u32 = 0o7777;

/// The tree. Paths are relative, as in the archive; parents are made as needed.
#[derive(Debug, Default)]
pub struct Tree {
    nodes: BTreeMap<Vec<u8>, Node>,
}

#[derive(Debug)]
struct Node {
    mode: u32,
    modified_seconds: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Nothing,
    Bytes(Vec<u8>),
    /// A file of the host, and its length when it was looked at.
    File(PathBuf, u64),
}

impl Content {
    fn length(&self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(_, length) => *length,
        }
    }
}

impl Tree {
    /// Add a directory, or change the mode of the one that is there.
    pub fn directory(&mut self, path: &str, permissions: u32) {
        self.insert(path.as_bytes(), TYPE_DIRECTORY | permissions, 0, Content::Nothing);
    }

    /// Add a file with this content.
    pub fn bytes(&mut self, path: &str, permissions: u32, bytes: impl Into<Vec<u8>>) {
        self.insert(path.as_bytes(), TYPE_FILE | permissions, 0, Content::Bytes(bytes.into()));
    }

    /// Add a symbolic link.
    pub fn link(&mut self, path: &str, target: &str) {
        self.insert(path.as_bytes(), TYPE_LINK | 0o777, 0, Content::Bytes(target.into()));
    }

    /// Add a symbolic link, unless something is in its place or in its way.
    pub fn link_if_free(&mut self, path: &[u8], target: &[u8]) {
        if !self.nodes.contains_key(path) && self.check_place(path, false).is_ok() {
            self.insert(path, TYPE_LINK | 0o777, 0, Content::Bytes(target.to_vec()));
        }
    }

    /// Add a file of the host with these permissions in place of its own.
    ///
    /// # Errors
    /// It is no file that can be read.
    pub fn program(&mut self, path: &[u8], permissions: u32, host: &Path) -> Result<()> {
        let (length, modified) = readable(host)?;
        self.insert(path, TYPE_FILE | permissions, modified, Content::File(host.to_owned(), length));
        Ok(())
    }

    /// Whether there is a directory at `path`.
    #[must_use]
    pub fn is_directory(&self, path: &[u8]) -> bool {
        self.nodes.get(path).is_some_and(|node| node.mode & !PERMISSIONS == TYPE_DIRECTORY)
    }

    /// Add a file or directory of the host with all that is in it, keeping modes and times.
    ///
    /// # Errors
    /// A part of it cannot be read, or is neither file, directory nor symbolic link.
    pub fn copy(&mut self, path: &[u8], host: &Path) -> Result<()> {
        // What the user names is followed if it is a link; links within it are kept.
        let data = fs::metadata(host).context(|| format!("cannot copy {}", host.display()))?;
        self.copy_one(path, host, &data)
    }

    fn copy_one(&mut self, path: &[u8], host: &Path, data: &fs::Metadata) -> Result<()> {
        let cannot = || format!("cannot copy {}", host.display());
        let mode = data.mode() & PERMISSIONS;
        let modified = u64::try_from(data.mtime()).unwrap_or(0);
        let kind = data.file_type();
        self.check_place(path, kind.is_dir())?;
        if kind.is_dir() {
            if !self.is_directory(path) {
                self.insert(path, TYPE_DIRECTORY | mode, modified, Content::Nothing);
            }
            for entry in fs::read_dir(host).context(cannot)? {
                let entry = entry.context(cannot)?;
                let data = entry.metadata().context(|| format!("cannot copy {}", entry.path().display()))?;
                let inner = join(path, entry.file_name().as_bytes());
                self.copy_one(&inner, &entry.path(), &data)?;
            }
        } else if kind.is_symlink() {
            let target = fs::read_link(host).context(cannot)?;
            let target = target.as_os_str().as_bytes().to_vec();
            self.insert(path, TYPE_LINK | 0o777, modified, Content::Bytes(target));
        } else if kind.is_file() {
            let (length, _) = readable(host)?;
            self.insert(path, TYPE_FILE | mode, modified, Content::File(host.to_owned(), length));
        } else {
            let what = if kind.is_fifo() || kind.is_socket() { "a pipe or socket" } else { "a device" };
            return Err(Error::new(format!("{}: it is {what}", cannot())));
        }
        Ok(())
    }

    /// Refuse to put a file where a directory is, or anything below what is no directory.
    fn check_place(&self, path: &[u8], directory: bool) -> Result<()> {
        let refuse = |path: &[u8], why| {
            let path = String::from_utf8_lossy(path.strip_prefix(b"root").unwrap_or(path)).into_owned();
            Err(Error::new(format!("cannot copy to {path}: it is {why}")))
        };
        let exists = self.nodes.contains_key(path);
        if exists && self.is_directory(path) != directory {
            return refuse(path, if directory { "no directory" } else { "a directory" });
        }
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for parent in slashes.map(|at| &path[..at]) {
            if self.nodes.contains_key(parent) && !self.is_directory(parent) {
                return refuse(parent, "no directory");
            }
        }
        Ok(())
    }

    fn insert(&mut self, path: &[u8], mode: u32, modified_seconds: u64, content: Content) {
        debug_assert!(!path.is_empty() && path[0] != b'/', "paths in the archive are relative");
        let mut parent = path;
        while let Some(slash) = parent.iter().rposition(|byte| *byte == b'/') {
            parent = &parent[..slash];
            let missing = || Node { mode: TYPE_DIRECTORY | 0o755, modified_seconds: 0, content: Content::Nothing };
            self.nodes.entry(parent.to_vec()).or_insert_with(missing);
        }
        self.nodes.insert(path.to_vec(), Node { mode, modified_seconds, content });
    }

    /// Bytes of the archive.
    #[must_use]
    pub fn length(&self) -> u64 {
        let data: u64 = self.nodes.values().map(|node| pages(node.content.length())).sum();
        self.data_start() + data
    }

    fn data_start(&self) -> u64 {
        let paths: usize = self.nodes.keys().map(Vec::len).sum();
        pages((size_of::<ArchiveHeader>() + self.nodes.len() * size_of::<ArchiveEntry>() + paths) as u64)
    }

    /// Write the archive. `built_seconds` is the time of all that has none of its own.
    ///
    /// # Errors
    /// It cannot be written, or a file of the host cannot be read or has changed since it was added.
    pub fn write(&self, built_seconds: u64, output: &mut impl Write) -> Result<()> {
        let cannot = || "cannot write the boot module".to_owned();
        let mut head = Vec::new();
        for number in [ARCHIVE_MAGIC, self.nodes.len() as u64, self.length(), built_seconds] {
            head.extend(number.to_le_bytes());
        }
        let mut path_offset = (size_of::<ArchiveHeader>() + self.nodes.len() * size_of::<ArchiveEntry>()) as u64;
        let mut data_offset = self.data_start();
        for (path, node) in &self.nodes {
            let length = node.content.length();
            let modified = if node.modified_seconds == 0 { built_seconds } else { node.modified_seconds };
            head.extend(path_offset.to_le_bytes());
            head.extend((path.len() as u32).to_le_bytes());
            head.extend(node.mode.to_le_bytes());
            for number in [data_offset, length, modified] {
                head.extend(number.to_le_bytes());
            }
            path_offset += path.len() as u64;
            data_offset += pages(length);
        }
        for path in self.nodes.keys() {
            head.extend(path);
        }
        output.write_all(&head).context(cannot)?;
        pad(head.len() as u64, output).context(cannot)?;
        for node in self.nodes.values() {
            match &node.content {
                Content::Nothing => {}
                Content::Bytes(bytes) => output.write_all(bytes).context(cannot)?,
                Content::File(file, length) => copy_exactly(file, *length, output)?,
            }
            pad(node.content.length(), output).context(cannot)?;
        }
        Ok(())
    }
}

/// `directory/name`.
#[must_use]
pub fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    [directory, name].join(&b'/')
}

/// `length` rounded up to whole pages.
#[must_use]
pub fn pages(length: u64) -> u64 {
    length.next_multiple_of(PAGE_SIZE)
}

/// Write zeros up to the next page boundary behind `length`.
///
/// # Errors
/// `output` fails.
pub fn pad(length: u64, output: &mut impl Write) -> io::Result<()> {
    io::copy(&mut io::repeat(0).take(pages(length) - length), output).map(drop)
}

/// Length and time of a file that can be opened.
fn readable(file: &Path) -> Result<(u64, u64)> {
    let data =
        File::open(file).and_then(|opened| opened.metadata()).context(|| format!("cannot copy {}", file.display()))?;
    if !data.is_file() {
        return Err(Error::new(format!("cannot copy {}: it is no regular file", file.display())));
    }
    Ok((data.len(), u64::try_from(data.mtime()).unwrap_or(0)))
}

fn copy_exactly(file: &Path, length: u64, output: &mut impl Write) -> Result<()> {
    let opened = File::open(file).context(|| format!("cannot copy {}", file.display()))?;
    let copied = io::copy(&mut opened.take(length), output).context(|| format!("cannot copy {}", file.display()))?;
    if copied == length {
        Ok(())
    } else {
        Err(Error::new(format!("cannot copy {}: it became shorter meanwhile", file.display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::archive::Archive;

    #[test]
    fn what_is_written_can_be_found() {
        let mut tree = Tree::default();
        tree.bytes("root/etc/hostname", 0o644, "baton\n");
        tree.link("bin/sh", "busybox");
        tree.directory("root/tmp", 0o1777);
        tree.bytes("large", 0o600, vec![7; 5000]);
        let mut bytes = Vec::new();
        tree.write(99, &mut bytes).expect("written");
        assert_eq!(bytes.len() as u64, tree.length());
        assert_eq!(bytes.len() % 4096, 0);
        let archive = Archive::new(&bytes).expect("valid");
        assert_eq!(archive.built_seconds(), 99);
        let hostname = archive.find(b"root/etc/hostname").expect("there");
        assert_eq!((hostname.data, hostname.mode, hostname.modified_seconds), (&b"baton\n"[..], 0o100_644, 99));
        assert_eq!(hostname.data_offset % 4096, 0);
        assert_eq!(archive.find(b"bin/sh").expect("there").data, b"busybox");
        assert_eq!(archive.find(b"root/etc").expect("parents are made").mode, 0o040_755);
        assert_eq!(archive.find(b"root/tmp").expect("there").mode, 0o041_777);
        assert_eq!(archive.find(b"large").expect("there").data, vec![7; 5000]);
    }
}
