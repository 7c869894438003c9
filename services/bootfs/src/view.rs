//! The archive as a tree: the whole of it, or one of its directories.

use abi::archive::{Archive, File};
use protocol::Errno;
use protocol::resource_manager::mode;
use protocol::resource_manager::resolve::{Step, Walk};

/// Number of the archive's own root, which has no entry.
pub(crate) const ROOT: usize = usize::MAX;

/// A directory of the archive, seen as a root.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub(crate) archive: Archive<'a>,
    pub(crate) root: usize,
}

impl<'a> View<'a> {
    /// The whole archive.
    pub(crate) const fn whole(archive: Archive<'a>) -> Self {
        Self { archive, root: ROOT }
    }

    /// The directory with this path in it.
    pub(crate) fn below(archive: Archive<'a>, path: &[u8]) -> Option<Self> {
        let root = archive.search(path).ok()?;
        Some(Self { archive, root })
    }

    /// The entry of a node. The archive's root gets one that is made up.
    pub(crate) fn entry(&self, node: usize) -> File<'a> {
        self.archive.entry(node).unwrap_or(File {
            path: b"",
            mode: mode::DIRECTORY | 0o755,
            data: b"",
            data_offset: 0,
            modified_seconds: self.archive.built_seconds(),
        })
    }

    /// The parent of a directory; the root's is itself.
    pub(crate) fn parent(&self, node: usize) -> usize {
        if node == self.root {
            return node;
        }
        let path = self.entry(node).path;
        match path.iter().rposition(|&byte| byte == b'/') {
            Some(end) => self.archive.search(&path[..end]).unwrap_or(ROOT),
            None => ROOT,
        }
    }

    /// The first child of `directory` whose number is at least `from`: its number and name.
    pub(crate) fn child_from(&self, directory: usize, from: usize) -> Option<(usize, &'a [u8])> {
        let path = self.entry(directory).path;
        let mut index = from;
        if !path.is_empty() {
            index = index.max(directory.wrapping_add(1));
        }
        loop {
            let entry = self.archive.entry(index)?;
            let name = if path.is_empty() {
                Some(entry.path)
            } else {
                entry.path.strip_prefix(path).and_then(|rest| rest.strip_prefix(b"/"))
            };
            match name {
                Some(name) if !name.is_empty() && !name.contains(&b'/') => return Some((index, name)),
                Some(_) => {}
                // "a-b" sorts between "a" and "a/x": the directory ends only where its path is no longer a prefix.
                None if entry.path.starts_with(path) => {}
                None => return None,
            }
            index += 1;
        }
    }
}

impl Walk for View<'_> {
    type Node = usize;

    fn root(&self) -> usize {
        self.root
    }

    fn child(&self, directory: usize, name: &[u8]) -> Result<Option<usize>, Errno> {
        let path = self.entry(directory).path;
        if path.is_empty() {
            return Ok(self.archive.search(name).ok());
        }
        let mut full = alloc::vec::Vec::new();
        full.try_reserve(path.len() + name.len() + 1).map_err(|_| Errno::ENOMEM)?;
        full.extend_from_slice(path);
        full.push(b'/');
        full.extend_from_slice(name);
        Ok(self.archive.search(&full).ok())
    }

    fn step(&self, node: usize) -> Step {
        let entry = self.entry(node);
        match entry.mode & mode::TYPE {
            mode::DIRECTORY => Step::Directory,
            mode::LINK => Step::Link(entry.data.to_vec()),
            _ => Step::Leaf,
        }
    }

    fn is_directory(&self, node: usize) -> bool {
        self.entry(node).mode & mode::TYPE == mode::DIRECTORY
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use abi::archive::{ARCHIVE_MAGIC, ArchiveEntry, ArchiveHeader};
    use alloc::vec::Vec;
    use protocol::resource_manager::resolve::resolve;

    /// An archive of these paths, modes and contents, which must be sorted.
    pub(crate) fn archive(files: &[(&str, u32, &[u8])]) -> Vec<u8> {
        let table = size_of::<ArchiveHeader>() + files.len() * size_of::<ArchiveEntry>();
        let mut paths = Vec::new();
        let mut data = Vec::new();
        let names: usize = files.iter().map(|file| file.0.len()).sum();
        let start = (table + names).next_multiple_of(4096);
        let mut bytes = Vec::new();
        for word in [ARCHIVE_MAGIC, files.len() as u64, 0, 99] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        for (path, mode, content) in files {
            bytes.extend_from_slice(&((table + paths.len()) as u64).to_le_bytes());
            bytes.extend_from_slice(&(path.len() as u32).to_le_bytes());
            bytes.extend_from_slice(&mode.to_le_bytes());
            bytes.extend_from_slice(&((start + data.len()) as u64).to_le_bytes());
            bytes.extend_from_slice(&(content.len() as u64).to_le_bytes());
            bytes.extend_from_slice(&7u64.to_le_bytes());
            paths.extend_from_slice(path.as_bytes());
            data.extend_from_slice(content);
            data.resize(data.len().next_multiple_of(4096), 0);
        }
        bytes.extend_from_slice(&paths);
        bytes.resize(start, 0);
        bytes.extend_from_slice(&data);
        bytes
    }

    const D: u32 = mode::DIRECTORY | 0o755;
    const F: u32 = mode::FILE | 0o755;
    const L: u32 = mode::LINK | 0o777;

    pub(crate) fn sample() -> Vec<u8> {
        archive(&[
            ("bin", D, b""),
            ("bin-old", F, b"x"),
            ("bin/busybox", F, b"ELF"),
            ("bin/ls", L, b"busybox"),
            ("bin/sub", D, b""),
            ("bin/sub/deep", F, b"d"),
            ("bin/zz", F, b"z"),
            ("system", D, b""),
        ])
    }

    fn names(view: &View<'_>, directory: usize) -> Vec<&'static str> {
        let mut from = 0;
        let mut names = Vec::new();
        while let Some((index, name)) = view.child_from(directory, from) {
            names.push(core::str::from_utf8(name).unwrap().to_owned().leak() as &str);
            from = index + 1;
        }
        names
    }

    #[test]
    fn directories_list_their_own_children_only() {
        let bytes = sample();
        let view = View::whole(Archive::new(&bytes).unwrap());
        assert_eq!(names(&view, ROOT), ["bin", "bin-old", "system"]);
        let bin = view.archive.search(b"bin").unwrap();
        assert_eq!(names(&view, bin), ["busybox", "ls", "sub", "zz"]);
        let system = view.archive.search(b"system").unwrap();
        assert!(names(&view, system).is_empty());
    }

    #[test]
    fn a_part_is_a_root_of_its_own() {
        let bytes = sample();
        let view = View::below(Archive::new(&bytes).unwrap(), b"bin").unwrap();
        let place = resolve(&view, b"sub/deep", true).unwrap();
        let deep = place.node.unwrap();
        assert_eq!(view.entry(deep).data, b"d");
        assert_eq!(view.parent(view.root), view.root);
        assert_eq!(view.parent(deep), view.archive.search(b"bin/sub").unwrap());
        assert!(resolve(&view, b"ls", true).is_err());
        assert_eq!(resolve(&view, b"none", true).unwrap().node, None);
    }
}
