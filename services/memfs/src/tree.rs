//! Nodes and directories: the tree as such. No messages, no memory but the heap.
//!
//! What always holds: every directory entry names a live node; a node's `links` counts the entries that name it (for a directory
//! also its own `.` and its children's `..`); a node goes when it has neither links nor opens.
//!
//! Reading a directory goes by *cookies*: an entry keeps the number it got when it was made, and numbers only grow, so
//! entries that stay are seen exactly once, however much others come and go in between.

use alloc::vec::Vec;

use protocol::Errno;
use protocol::resource_manager::mode;
use protocol::resource_manager::resolve::{Step, Walk};

use crate::content::Content;
use crate::locks::Locks;
use crate::names::Names;

/// Position of a node in the tree's table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NodeId(pub(crate) u32);

/// A moment since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time {
    pub(crate) seconds: u64,
    pub(crate) nanoseconds: u32,
}

impl Time {
    pub(crate) const fn from_ns(ns: u64) -> Self {
        Self { seconds: ns / 1_000_000_000, nanoseconds: (ns % 1_000_000_000) as u32 }
    }
}

/// What a node is.
#[derive(Debug)]
pub(crate) enum Kind {
    File(Content),
    Directory(Directory),
    Link(Vec<u8>),
    /// FIFO, socket or device: the type is in the mode.
    Special {
        device: u64,
    },
}

/// A file, directory, link or special node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) inode: u64,
    pub(crate) mode: u32,
    pub(crate) user: u32,
    pub(crate) group: u32,
    pub(crate) links: u32,
    pub(crate) opens: u32,
    pub(crate) accessed: Time,
    pub(crate) modified: Time,
    pub(crate) changed: Time,
    pub(crate) kind: Kind,
    pub(crate) locks: Locks,
}

impl Node {
    pub(crate) const fn is_directory(&self) -> bool {
        matches!(self.kind, Kind::Directory(_))
    }

    /// Its content was changed.
    pub(crate) const fn touch(&mut self, now: Time) {
        self.modified = now;
        self.changed = now;
    }
}

/// The entries of a directory.
#[derive(Debug)]
pub(crate) struct Directory {
    parent: NodeId,
    names: Names,
}

/// Cookies of `.` and `..` are 0 and 1.
const FIRST_COOKIE: u64 = 2;

impl Directory {
    const fn new(parent: NodeId, seed: u32) -> Self {
        Self { parent, names: Names::new(FIRST_COOKIE, seed) }
    }

    /// Where `..` leads.
    pub(crate) const fn parent(&self) -> NodeId {
        self.parent
    }

    /// How many entries.
    pub(crate) const fn len(&self) -> usize {
        self.names.len()
    }

    pub(crate) fn find(&self, name: &[u8]) -> Option<NodeId> {
        self.names.find(name)
    }

    /// Entries whose cookie is at least `from`, in order: cookie, name and node.
    pub(crate) fn entries_from(&self, from: u64) -> impl Iterator<Item = (u64, &[u8], NodeId)> {
        self.names.entries_from(from)
    }
}

/// Rename flags.
pub(crate) mod rename_flags {
    /// The new name must not exist.
    pub(crate) const NO_REPLACE: u64 = 1;
    /// Both must exist, and change places.
    pub(crate) const EXCHANGE: u64 = 2;
}

/// The whole tree.
#[derive(Debug)]
pub(crate) struct Tree {
    nodes: Vec<Option<Node>>,
    /// How often each place was used: with its number it makes an inode number that never comes back.
    uses: Vec<u32>,
    free: Vec<u32>,
    seed: u32,
    /// Of this program: anchors of another say nothing here.
    run: u16,
}

/// Bits of an inode number that are its node's place, counted from 1.
const PLACE_BITS: u32 = 24;
/// Bits of an anchor that are an inode number; the others are the run.
const INODE_BITS: u32 = 48;
/// Uses of a place that its inode numbers tell apart.
const USES: u32 = 1 << (INODE_BITS - PLACE_BITS);

/// The root's place.
pub(crate) const ROOT: NodeId = NodeId(0);
/// Most links to a file.
const LINKS_MAXIMUM: u32 = 65_000;

impl Tree {
    /// A tree with nothing but a root directory.
    pub(crate) fn new(now: Time, seed: u32, run: u16) -> Self {
        let mut tree = Self { nodes: Vec::new(), uses: Vec::new(), free: Vec::new(), seed, run };
        if let Ok(root) = tree.add(mode::DIRECTORY | 0o755, 0, 0, Kind::Directory(Directory::new(ROOT, seed)), now) {
            tree.node_mut(root).links = 2;
        }
        tree
    }

    /// How many nodes there are.
    pub(crate) fn count(&self) -> usize {
        self.nodes.len() - self.free.len()
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        self.nodes[id.0 as usize].as_ref().expect("entries and open files name live nodes")
    }

    pub(crate) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.nodes[id.0 as usize].as_mut().expect("entries and open files name live nodes")
    }

    pub(crate) fn directory(&self, id: NodeId) -> Result<&Directory, Errno> {
        match &self.node(id).kind {
            Kind::Directory(directory) => Ok(directory),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn directory_mut(&mut self, id: NodeId) -> Result<&mut Directory, Errno> {
        match &mut self.node_mut(id).kind {
            Kind::Directory(directory) => Ok(directory),
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// A node without a name yet.
    pub(crate) fn add(&mut self, mode: u32, user: u32, group: u32, kind: Kind, now: Time) -> Result<NodeId, Errno> {
        let mut node = Node {
            inode: 0,
            mode,
            user,
            group,
            links: 0,
            opens: 0,
            accessed: now,
            modified: now,
            changed: now,
            kind,
            locks: Locks::new(),
        };
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                let more = self.nodes.len() + 1 - self.free.len();
                let index = self.nodes.len() as u32;
                if index >= (1 << PLACE_BITS) - 1 {
                    return Err(Errno::ENOSPC);
                }
                let room = self.nodes.try_reserve(1).and_then(|()| self.free.try_reserve(more));
                room.and_then(|()| self.uses.try_reserve(1)).map_err(|_| Errno::ENOSPC)?;
                self.nodes.push(None);
                self.uses.push(0);
                index
            }
        };
        node.inode = u64::from(self.uses[index as usize]) << PLACE_BITS | u64::from(index + 1);
        self.nodes[index as usize] = Some(node);
        Ok(NodeId(index))
    }

    /// Take a node out that nothing names any more, so that its content can be given back.
    pub(crate) fn take_unused(&mut self, id: NodeId) -> Option<Node> {
        let place = &mut self.nodes[id.0 as usize];
        if place.as_ref().is_none_or(|node| node.links > 0 || node.opens > 0) {
            return None;
        }
        let uses = &mut self.uses[id.0 as usize];
        *uses += 1;
        // A place whose numbers are used up is not used again.
        if *uses < USES {
            self.free.push(id.0);
        }
        place.take()
    }

    /// The anchor of a directory other than the root, else 0.
    pub(crate) fn anchor(&self, inode: u64, mode: u32) -> u64 {
        let is_root = inode == self.node(ROOT).inode;
        if is_root || mode & mode::TYPE != mode::DIRECTORY { 0 } else { u64::from(self.run) << INODE_BITS | inode }
    }

    /// The directory with this anchor.
    pub(crate) fn anchored(&self, anchor: u64) -> Result<NodeId, Errno> {
        if anchor >> INODE_BITS != u64::from(self.run) {
            return Err(Errno::ESTALE);
        }
        let inode = anchor & ((1 << INODE_BITS) - 1);
        let index = (inode as u32 & ((1 << PLACE_BITS) - 1)).wrapping_sub(1);
        let node = self.nodes.get(index as usize).and_then(Option::as_ref).ok_or(Errno::ENOENT)?;
        let there = node.inode == inode && node.is_directory() && node.links > 0;
        if there { Ok(NodeId(index)) } else { Err(Errno::ENOENT) }
    }

    /// Where a directory is, from the root.
    pub(crate) fn path_of(&self, mut id: NodeId) -> Result<Vec<u8>, Errno> {
        let mut names = Vec::new();
        while id != ROOT {
            let parent = self.directory(id)?.parent();
            let mut entries = self.directory(parent)?.entries_from(FIRST_COOKIE);
            names.push(entries.find(|(.., node)| *node == id).ok_or(Errno::ENOENT)?.1);
            id = parent;
        }
        names.reverse();
        Ok(names.join(&b'/'))
    }

    fn check_alive(&self, directory: NodeId) -> Result<(), Errno> {
        // A removed directory takes no new entries.
        if self.node(directory).links == 0 { Err(Errno::ENOENT) } else { Ok(()) }
    }

    /// Give a node that is no directory a name (a further one, perhaps).
    pub(crate) fn link(&mut self, directory: NodeId, name: &[u8], node: NodeId, now: Time) -> Result<(), Errno> {
        self.check_alive(directory)?;
        if self.node(node).is_directory() {
            return Err(Errno::EPERM);
        }
        if self.node(node).links >= LINKS_MAXIMUM {
            return Err(Errno::EMLINK);
        }
        if self.directory(directory)?.find(name).is_some() {
            return Err(Errno::EEXIST);
        }
        self.directory_mut(directory)?.names.insert(name, node)?;
        self.node_mut(directory).touch(now);
        let node = self.node_mut(node);
        node.links += 1;
        node.changed = now;
        Ok(())
    }

    /// Make a directory.
    pub(crate) fn make_directory(
        &mut self,
        parent: NodeId,
        name: &[u8],
        mode: u32,
        user: u32,
        group: u32,
        now: Time,
    ) -> Result<NodeId, Errno> {
        self.check_alive(parent)?;
        if self.directory(parent)?.find(name).is_some() {
            return Err(Errno::EEXIST);
        }
        let kind = Kind::Directory(Directory::new(parent, self.seed));
        let id = self.add(mode::DIRECTORY | mode & mode::PERMISSIONS, user, group, kind, now)?;
        self.node_mut(id).links = 2;
        if let Err(errno) = self.directory_mut(parent)?.names.insert(name, id) {
            self.node_mut(id).links = 0;
            self.take_unused(id);
            return Err(errno);
        }
        let parent = self.node_mut(parent);
        parent.links += 1;
        parent.touch(now);
        Ok(id)
    }

    /// Remove an entry. The node may now be unused.
    pub(crate) fn unlink(&mut self, parent: NodeId, name: &[u8], directory: bool, now: Time) -> Result<NodeId, Errno> {
        let id = self.directory(parent)?.find(name).ok_or(Errno::ENOENT)?;
        match (&self.node(id).kind, directory) {
            (Kind::Directory(_), false) => return Err(Errno::EISDIR),
            (Kind::Directory(entries), true) if entries.len() > 0 => return Err(Errno::ENOTEMPTY),
            (Kind::Directory(_), true) | (_, false) => {}
            (_, true) => return Err(Errno::ENOTDIR),
        }
        self.directory_mut(parent)?.names.remove(name);
        self.node_mut(parent).touch(now);
        self.unnamed(parent, id, now);
        Ok(id)
    }

    /// An entry in `parent` that named `id` is gone.
    fn unnamed(&mut self, parent: NodeId, id: NodeId, now: Time) {
        if self.node(id).is_directory() {
            self.node_mut(parent).links -= 1;
            self.node_mut(id).links = 0;
        } else {
            self.node_mut(id).links -= 1;
        }
        self.node_mut(id).changed = now;
    }

    /// Whether `id` is `ancestor` or below it.
    fn is_below(&self, id: NodeId, ancestor: NodeId) -> bool {
        let mut at = id;
        loop {
            if at == ancestor {
                return true;
            }
            match self.directory(at) {
                Ok(directory) if at != ROOT => at = directory.parent(),
                _ => return false,
            }
        }
    }

    /// Rename. The node that was replaced, if one was, may now be unused.
    pub(crate) fn rename(
        &mut self,
        (old_parent, old_name): (NodeId, &[u8]),
        (new_parent, new_name): (NodeId, &[u8]),
        flags: u64,
        now: Time,
    ) -> Result<Option<NodeId>, Errno> {
        use rename_flags::{EXCHANGE, NO_REPLACE};
        if flags & !(NO_REPLACE | EXCHANGE) != 0 || flags == NO_REPLACE | EXCHANGE {
            return Err(Errno::EINVAL);
        }
        let moved = self.directory(old_parent)?.find(old_name).ok_or(Errno::ENOENT)?;
        let target = self.directory(new_parent)?.find(new_name);
        self.check_alive(new_parent)?;
        if flags == NO_REPLACE && target.is_some() {
            return Err(Errno::EEXIST);
        }
        if self.node(moved).is_directory() && self.is_below(new_parent, moved) {
            return Err(Errno::EINVAL);
        }
        if let Some(target) = target
            && flags != EXCHANGE
            && target != moved
            && self.is_below(old_parent, target)
        {
            return Err(Errno::ENOTEMPTY);
        }
        if flags == EXCHANGE {
            let target = target.ok_or(Errno::ENOENT)?;
            if self.node(target).is_directory() && self.is_below(old_parent, target) {
                return Err(Errno::EINVAL);
            }
            self.directory_mut(old_parent)?.names.replace(old_name, target);
            self.directory_mut(new_parent)?.names.replace(new_name, moved);
            self.moved(moved, old_parent, new_parent, now)?;
            self.moved(target, new_parent, old_parent, now)?;
            return Ok(None);
        }
        if target == Some(moved) {
            // Two names of one file: nothing happens.
            return Ok(None);
        }
        if let Some(target) = target {
            match (&self.node(target).kind, self.node(moved).is_directory()) {
                (Kind::Directory(_), false) => return Err(Errno::EISDIR),
                (Kind::Directory(entries), true) if entries.len() > 0 => return Err(Errno::ENOTEMPTY),
                (Kind::Directory(_), true) | (_, false) => {}
                (_, true) => return Err(Errno::ENOTDIR),
            }
            self.directory_mut(new_parent)?.names.replace(new_name, moved);
            self.unnamed(new_parent, target, now);
        } else {
            self.directory_mut(new_parent)?.names.insert(new_name, moved)?;
        }
        self.directory_mut(old_parent)?.names.remove(old_name);
        self.moved(moved, old_parent, new_parent, now)?;
        Ok(target)
    }

    fn moved(&mut self, id: NodeId, from: NodeId, to: NodeId, now: Time) -> Result<(), Errno> {
        self.node_mut(from).touch(now);
        self.node_mut(to).touch(now);
        self.node_mut(id).changed = now;
        if self.node(id).is_directory() {
            self.node_mut(from).links -= 1;
            self.node_mut(to).links += 1;
            self.directory_mut(id)?.parent = to;
        }
        Ok(())
    }
}

impl Walk for Tree {
    type Node = NodeId;

    fn root(&self) -> NodeId {
        ROOT
    }

    fn child(&self, directory: NodeId, name: &[u8]) -> Result<Option<NodeId>, Errno> {
        Ok(self.directory(directory)?.find(name))
    }

    fn step(&self, node: NodeId) -> Step {
        match &self.node(node).kind {
            Kind::Directory(_) => Step::Directory,
            Kind::Link(target) => Step::Link(target.clone()),
            _ => Step::Leaf,
        }
    }

    fn is_directory(&self, node: NodeId) -> bool {
        self.node(node).is_directory()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time { seconds: 5, nanoseconds: 0 };

    fn tree() -> Tree {
        Tree::new(Time::default(), 0, 7)
    }

    #[test]
    fn an_anchor_follows_its_directory() {
        let mut tree = tree();
        let a = directory(&mut tree, ROOT, "a");
        let b = directory(&mut tree, a, "b");
        let anchor = tree.anchor(tree.node(b).inode, tree.node(b).mode);
        assert_eq!((tree.anchored(anchor), tree.path_of(b)), (Ok(b), Ok(b"a/b".to_vec())));
        tree.rename((ROOT, b"a"), (ROOT, b"c"), 0, NOW).unwrap();
        tree.rename((a, b"b"), (ROOT, b"d"), 0, NOW).unwrap();
        assert_eq!((tree.anchored(anchor), tree.path_of(b)), (Ok(b), Ok(b"d".to_vec())));
        let gone = tree.unlink(ROOT, b"d", true, NOW).unwrap();
        assert!(tree.take_unused(gone).is_some());
        assert_eq!(tree.anchored(anchor), Err(Errno::ENOENT));
        // Its place is used again, but its number is another.
        assert_eq!(directory(&mut tree, ROOT, "e"), b);
        assert_eq!(tree.anchored(anchor), Err(Errno::ENOENT));
        assert_eq!(tree.anchored(anchor ^ 1 << INODE_BITS), Err(Errno::ESTALE));
        assert_eq!(tree.anchor(tree.node(ROOT).inode, tree.node(ROOT).mode), 0);
    }

    fn directory(tree: &mut Tree, parent: NodeId, name: &str) -> NodeId {
        tree.make_directory(parent, name.as_bytes(), 0o755, 0, 0, NOW).unwrap()
    }

    fn file(tree: &mut Tree, parent: NodeId, name: &str) -> NodeId {
        let id = tree.add(mode::FILE | 0o644, 0, 0, Kind::File(Content::new()), NOW).unwrap();
        tree.link(parent, name.as_bytes(), id, NOW).unwrap();
        id
    }

    fn names(tree: &Tree, id: NodeId) -> Vec<&str> {
        tree.directory(id).unwrap().entries_from(0).map(|(_, name, _)| core::str::from_utf8(name).unwrap()).collect()
    }

    #[test]
    fn links_are_counted() {
        let mut tree = tree();
        let a = directory(&mut tree, ROOT, "a");
        let f = file(&mut tree, a, "f");
        assert_eq!((tree.node(ROOT).links, tree.node(a).links, tree.node(f).links), (3, 2, 1));
        tree.link(ROOT, b"g", f, NOW).unwrap();
        assert_eq!(tree.node(f).links, 2);
        assert_eq!(tree.link(ROOT, b"g", f, NOW), Err(Errno::EEXIST));
        assert_eq!(tree.link(ROOT, b"h", a, NOW), Err(Errno::EPERM));
        assert_eq!(tree.unlink(ROOT, b"g", false, NOW), Ok(f));
        assert!(tree.take_unused(f).is_none());
        assert_eq!(tree.unlink(a, b"f", false, NOW), Ok(f));
        assert!(tree.take_unused(f).is_some());
        assert!(tree.take_unused(f).is_none());
        assert_eq!(tree.count(), 2);
    }

    #[test]
    fn removal_wants_the_right_kind() {
        let mut tree = tree();
        let a = directory(&mut tree, ROOT, "a");
        file(&mut tree, a, "f");
        assert_eq!(tree.unlink(ROOT, b"a", false, NOW), Err(Errno::EISDIR));
        assert_eq!(tree.unlink(ROOT, b"a", true, NOW), Err(Errno::ENOTEMPTY));
        assert_eq!(tree.unlink(a, b"f", true, NOW), Err(Errno::ENOTDIR));
        assert_eq!(tree.unlink(a, b"x", true, NOW), Err(Errno::ENOENT));
        tree.unlink(a, b"f", false, NOW).unwrap();
        tree.unlink(ROOT, b"a", true, NOW).unwrap();
        assert_eq!(tree.node(ROOT).links, 2);
        assert_eq!(tree.make_directory(a, b"late", 0o755, 0, 0, NOW), Err(Errno::ENOENT));
    }

    #[test]
    fn rename_replaces_moves_and_refuses() {
        let mut tree = tree();
        let a = directory(&mut tree, ROOT, "a");
        let b = directory(&mut tree, ROOT, "b");
        let c = directory(&mut tree, a, "c");
        let f = file(&mut tree, a, "f");
        let g = file(&mut tree, b, "g");
        let rename = |tree: &mut Tree, old: (NodeId, &str), new: (NodeId, &str), flags| {
            tree.rename((old.0, old.1.as_bytes()), (new.0, new.1.as_bytes()), flags, NOW)
        };
        assert_eq!(rename(&mut tree, (ROOT, "a"), (c, "x"), 0), Err(Errno::EINVAL));
        assert_eq!(rename(&mut tree, (ROOT, "a"), (a, "x"), 0), Err(Errno::EINVAL));
        assert_eq!(rename(&mut tree, (a, "f"), (b, "g"), 1), Err(Errno::EEXIST));
        assert_eq!(rename(&mut tree, (a, "f"), (b, "g"), 3), Err(Errno::EINVAL));
        assert_eq!(rename(&mut tree, (a, "f"), (ROOT, "b"), 0), Err(Errno::EISDIR));
        assert_eq!(rename(&mut tree, (a, "c"), (b, "g"), 0), Err(Errno::ENOTDIR));
        assert_eq!(rename(&mut tree, (ROOT, "b"), (ROOT, "a"), 0), Err(Errno::ENOTEMPTY));
        assert_eq!(rename(&mut tree, (a, "none"), (b, "g"), 0), Err(Errno::ENOENT));
        assert_eq!(rename(&mut tree, (a, "f"), (b, "g"), 0), Ok(Some(g)));
        assert!(tree.take_unused(g).is_some());
        assert_eq!((names(&tree, a), names(&tree, b)), (vec!["c"], vec!["g"]));
        assert_eq!(tree.node(f).links, 1);
        assert_eq!(rename(&mut tree, (a, "c"), (b, "c"), 0), Ok(None));
        assert_eq!((tree.node(a).links, tree.node(b).links), (2, 3));
        assert_eq!(tree.directory(c).unwrap().parent(), b);
        assert_eq!(rename(&mut tree, (b, "g"), (b, "g"), 0), Ok(None));
        assert_eq!(rename(&mut tree, (b, "g"), (ROOT, "a"), 2), Ok(None));
        assert_eq!(tree.directory(ROOT).unwrap().find(b"a"), Some(f));
        assert_eq!(tree.directory(b).unwrap().find(b"g"), Some(a));
        assert_eq!(tree.directory(a).unwrap().parent(), b);
        assert_eq!((tree.node(ROOT).links, tree.node(b).links), (3, 4));
        assert_eq!(rename(&mut tree, (b, "g"), (ROOT, "b"), 2), Err(Errno::EINVAL));
    }

    #[test]
    fn two_names_of_one_file_stay() {
        let mut tree = tree();
        let f = file(&mut tree, ROOT, "f");
        tree.link(ROOT, b"g", f, NOW).unwrap();
        assert_eq!(tree.rename((ROOT, b"f"), (ROOT, b"g"), 0, NOW), Ok(None));
        assert_eq!(names(&tree, ROOT), ["f", "g"]);
    }

    #[test]
    fn reading_a_directory_sees_what_stays_exactly_once() {
        let mut tree = tree();
        for index in 0..100 {
            file(&mut tree, ROOT, &format!("f{index}"));
        }
        let mut seen = Vec::new();
        let mut cookie = 0;
        while let Some((at, name)) = {
            let found = tree.directory(ROOT).unwrap().entries_from(cookie).next();
            found.map(|(at, name, _)| (at, name.to_vec()))
        } {
            cookie = at + 1;
            let number: u32 = core::str::from_utf8(&name[1..]).unwrap().parse().unwrap();
            seen.push(number);
            // What was read is removed, what comes is removed every second time.
            tree.unlink(ROOT, &name, false, NOW).unwrap();
            let _ = tree.unlink(ROOT, format!("f{}", number + 1).as_bytes(), false, NOW);
        }
        assert_eq!(seen, (0..100).step_by(2).collect::<Vec<u32>>());
    }
}
