//! The file protocol, answered from the tree.

use alloc::vec::Vec;

use abi::Handle;
use protocol::Errno;
use protocol::file::{Lock, Status, Times, anchor, features};
use protocol::resource_manager::resolve::{Last, Place, redirect, resolve_from};
use protocol::resource_manager::{
    Call, Data, Done, Figures, LockOperation, Mapped, Open, OpenFile, Opened, Records, Refusal, ResourceManager,
    TIME_NOW, TIME_OMIT, lock_kind, mode, open_flags,
};
use protocol::{pipe, process};
use runtime::{Buffers, Options};

use crate::PAGE;
use crate::content::{Content, NoSpace, Piece, SMALL};
use crate::locks::Record;
use crate::store::Pages;
use crate::tree::{Kind, Node, NodeId, ROOT, Time, Tree};
use crate::waiting::{Waiting, Wanted};

/// Device number of this file system.
const DEVICE: u64 = 0x1000;
/// TMPFS_MAGIC.
const KIND: u64 = 0x0102_1994;
/// Bytes of zeros that holes are read from.
const ZEROS: usize = 32 * 1024;
/// Heap that must be there before a tree operation begins: it needs less than that.
const RESERVE: usize = 16 * 1024;

/// The file system.
#[derive(Debug)]
pub(crate) struct Files {
    tree: Tree,
    pages: Pages,
    waiting: Waiting,
    process: Handle,
    zeros: Vec<u8>,
}

/// An open file.
pub(crate) type OpenNode = OpenFile<NodeId>;

impl From<NoSpace> for Refusal {
    fn from(_: NoSpace) -> Self {
        Errno::ENOSPC.into()
    }
}

fn now() -> Time {
    Time::from_ns(runtime::clock::realtime_ns())
}

/// Small allocations of the tree cannot fail gracefully one by one, so there must be room for all that an operation can need.
fn room() -> Result<(), Errno> {
    let mut probe: Vec<u8> = Vec::new();
    let result = probe.try_reserve_exact(RESERVE).map_err(|_| Errno::ENOSPC);
    core::hint::black_box(&probe);
    result
}

impl Files {
    pub(crate) fn new(gate: Handle, process: Handle, tree: Tree, pages: Pages) -> Self {
        Self { tree, pages, waiting: Waiting::new(gate), process, zeros: alloc::vec![0; ZEROS] }
    }

    fn walk<'p>(&self, path: &'p [u8], follow: bool) -> Result<Place<'p, NodeId>, Refusal> {
        self.place(path, if follow { Last::Follow } else { Last::Keep })
    }

    fn place<'p>(&self, path: &'p [u8], last: Last) -> Result<Place<'p, NodeId>, Refusal> {
        let Some((anchor, rest)) = anchor::read(path) else { return resolve_from(&self.tree, ROOT, path, last) };
        let base = self.tree.anchored(anchor)?;
        match resolve_from(&self.tree, base, rest, last) {
            // Where it goes on is said as seen from the root.
            Err(Refusal::Redirect { .. }) => {
                let whole = [&self.tree.path_of(base)?[..], b"/", rest].concat();
                match resolve_from(&self.tree, ROOT, &whole, last) {
                    Err(refusal) => Err(refusal),
                    Ok(_) => Err(Errno::ENOENT.into()),
                }
            }
            result => result,
        }
    }

    /// A place for an entry that is to be made, removed or renamed.
    fn entry<'p>(&self, path: &'p [u8]) -> Result<Place<'p, NodeId>, Refusal> {
        self.place(path, Last::Entry)
    }

    /// An existing node.
    fn find(&self, path: &[u8], follow: bool) -> Result<NodeId, Refusal> {
        Ok(self.walk(path, follow)?.existing()?)
    }

    fn content(&mut self, id: NodeId) -> Result<(&mut Content, &mut Pages), Errno> {
        match &mut self.tree.node_mut(id).kind {
            Kind::File(content) => Ok((content, &mut self.pages)),
            Kind::Directory(_) => Err(Errno::EISDIR),
            _ => Err(Errno::EINVAL),
        }
    }

    /// The group and mode of what is made in a directory.
    fn inherited(&self, directory: NodeId, open: &Open, is_directory: bool) -> (u32, u32) {
        const SET_GROUP: u32 = 0o2000;
        let parent = self.tree.node(directory);
        let permissions = open.mode & mode::PERMISSIONS;
        if parent.mode & SET_GROUP == 0 {
            return (open.group, permissions);
        }
        let permissions = if is_directory { permissions | SET_GROUP } else { permissions };
        (parent.group, permissions)
    }

    /// Make a node that is no directory, with a name.
    fn make(&mut self, place: &Place<'_, NodeId>, kind_mode: u32, open: &Open, kind: Kind) -> Result<NodeId, Refusal> {
        if place.node.is_some() {
            return Err(Errno::EEXIST.into());
        }
        if place.slash {
            return Err(Errno::ENOENT.into());
        }
        room()?;
        let now = now();
        let (group, permissions) = self.inherited(place.directory, open, false);
        let id = self.tree.add(kind_mode | permissions, open.user, group, kind, now)?;
        if let Err(errno) = self.tree.link(place.directory, place.name, id, now) {
            self.forget(id);
            return Err(errno.into());
        }
        Ok(id)
    }

    /// Give a node back if nothing names it any more.
    fn forget(&mut self, id: NodeId) {
        if let Some(node) = self.tree.take_unused(id)
            && let Kind::File(mut content) = node.kind
        {
            content.free(&mut self.pages);
        }
    }

    fn status_of(&self, id: NodeId) -> Status {
        let node = self.tree.node(id);
        let (size, blocks, device_node) = match &node.kind {
            Kind::File(content) => (content.size(), content.blocks(), 0),
            Kind::Directory(entries) => (entries.len() as u64 * 32, 0, 0),
            Kind::Link(target) => (target.len() as u64, 0, 0),
            Kind::Special { device } => (0, 0, *device),
        };
        let pair = |time: Time| [time.seconds, u64::from(time.nanoseconds)];
        let ([a, b], [c, d], [e, f]) = (pair(node.accessed), pair(node.modified), pair(node.changed));
        Status {
            device: DEVICE,
            inode: node.inode,
            links: u64::from(node.links),
            mode: node.mode,
            user: node.user,
            group: node.group,
            padding: 0,
            device_node,
            size,
            block_size: PAGE,
            blocks,
            times: [a, b, c, d, e, f],
            reserved: [0; 3],
        }
    }

    fn set_mode(&mut self, id: NodeId, permissions: u32) {
        let node = self.tree.node_mut(id);
        node.mode = node.mode & mode::TYPE | permissions;
        node.changed = now();
    }

    fn set_owner(&mut self, id: NodeId, user: u32, group: u32) {
        const SET_IDS: u32 = 0o6000;
        let node = self.tree.node_mut(id);
        if user != u32::MAX {
            node.user = user;
        }
        if group != u32::MAX {
            node.group = group;
        }
        if matches!(node.kind, Kind::File(_)) && node.mode & 0o111 != 0 {
            node.mode &= !SET_IDS;
        }
        node.changed = now();
    }

    fn stamp(&mut self, id: NodeId, times: &Times) {
        let now = now();
        let pick = |old: Time, seconds: u64, nanoseconds: u64| match nanoseconds {
            TIME_OMIT => old,
            TIME_NOW => now,
            nanoseconds => Time { seconds, nanoseconds: nanoseconds as u32 },
        };
        let node = self.tree.node_mut(id);
        node.accessed = pick(node.accessed, times.access_seconds, times.access_nanoseconds);
        node.modified = pick(node.modified, times.modified_seconds, times.modified_nanoseconds);
        node.changed = now;
    }

    fn resize(&mut self, id: NodeId, length: u64) -> Done {
        let (content, pages) = self.content(id)?;
        content.truncate(pages, length)?;
        self.tree.node_mut(id).touch(now());
        Ok(())
    }

    /// Fetch what the caller sends straight to where it belongs.
    fn fetch(&mut self, call: &Call<'_>, id: NodeId, offset: u64) -> Result<usize, Refusal> {
        let length = (call.sent as u64).min(i64::MAX as u64 - offset);
        let (content, pages) = self.content(id)?;
        if content.stays_small(offset + length) {
            let mut bytes = [0; SMALL as usize];
            let count = call.fetch(0, &mut bytes[..length as usize])?;
            content.write_small(offset, &bytes[..count])?;
            return Ok(count);
        }
        let mut done = 0;
        while done < length {
            let at = offset + done;
            let room = match content.reserve(pages, at, length - done) {
                Ok(room) => room,
                Err(NoSpace) if done > 0 => break,
                Err(NoSpace) => return Err(NoSpace.into()),
            };
            if call.bytes().len() as u64 == length {
                content.grown(pages, at + room);
                content.copy_in(pages, at, &call.bytes()[done as usize..(done + room) as usize]);
                done += room;
                continue;
            }
            let mut buffers = Buffers::new();
            let mut wanted = 0;
            for _ in 0..abi::envelope::SEGMENTS {
                if wanted == room {
                    break;
                }
                if let Piece::Data { address, length } = content.piece(at + wanted, room - wanted) {
                    buffers.add_receive(address, length);
                    wanted += length;
                }
            }
            let (moved, error) = match runtime::exchange::read_request_into(call.request, done, &mut buffers) {
                Ok(moved) => (moved, None),
                Err((error, moved)) => (moved, Some(error)),
            };
            if moved > 0 {
                // Growing clears the end of the last page if others have it mapped: not what just came.
                content.grown_to_fetched(pages, at, moved);
            }
            done += moved;
            match error {
                Some(error) if done == 0 => return Err(error.into()),
                None if moved == wanted => {}
                _ => break,
            }
        }
        Ok(done as usize)
    }

    fn lock_record(&mut self, call: &Call<'_>, id: NodeId, wait: bool, kind: u16, wanted: Record) -> Done {
        if kind == lock_kind::NONE {
            let locks = &mut self.tree.node_mut(id).locks;
            locks.unset(wanted.owner, wanted.start, wanted.end).map_err(|_| Errno::ENOLCK)?;
            self.waiting.wake(id, locks);
            return Ok(());
        }
        let node = self.tree.node(id);
        if node.locks.conflict(&wanted).is_none() {
            let locks = &mut self.tree.node_mut(id).locks;
            locks.set(wanted).map_err(|_| Errno::ENOLCK)?;
            // A write lock that became a read lock may let others in.
            self.waiting.wake(id, locks);
            return Ok(());
        }
        if !wait {
            return Err(Errno::EAGAIN.into());
        }
        let tree = &self.tree;
        if self.waiting.would_deadlock(&node.locks, &wanted, |id| Some(&tree.node(id).locks)) {
            return Err(Errno::EDEADLK.into());
        }
        self.waiting.add(call.request, id, Wanted::Record(wanted))?;
        Err(Refusal::Later)
    }

    fn lock_whole(&mut self, call: &Call<'_>, id: NodeId, operation: u64) -> Done {
        const SHARED: u64 = 1;
        const EXCLUSIVE: u64 = 2;
        const DO_NOT_WAIT: u64 = 4;
        const UNLOCK: u64 = 8;
        let badge = call.badge;
        let locks = &mut self.tree.node_mut(id).locks;
        let exclusive = match operation & !DO_NOT_WAIT {
            SHARED => false,
            EXCLUSIVE => true,
            UNLOCK => {
                locks.unset_whole(badge);
                self.waiting.wake(id, locks);
                return Ok(());
            }
            _ => return Err(Errno::EINVAL.into()),
        };
        if !locks.whole_conflict(badge, exclusive) {
            locks.set_whole(badge, exclusive).map_err(|_| Errno::ENOLCK)?;
            self.waiting.wake(id, locks);
            return Ok(());
        }
        // A lock that is to be converted is given up first, as Linux does.
        if locks.unset_whole(badge) {
            self.waiting.wake(id, locks);
        }
        if operation & DO_NOT_WAIT != 0 {
            return Err(Errno::EAGAIN.into());
        }
        self.waiting.add(call.request, id, Wanted::Whole { badge, exclusive })?;
        Err(Refusal::Later)
    }

    fn open_node(&mut self, open: &Open, id: NodeId) -> Opened<NodeId> {
        let node = self.tree.node_mut(id);
        node.opens += 1;
        let (mode, inode) = (node.mode, node.inode);
        Opened { anchor: self.tree.anchor(inode, mode), ..Opened::new(id, open, mode, features::SEEK) }
    }

    /// A file without a name (O_TMPFILE).
    fn open_unnamed(&mut self, place: &Place<'_, NodeId>, open: &Open) -> Result<Opened<NodeId>, Refusal> {
        let directory = place.existing()?;
        if !self.tree.node(directory).is_directory() {
            return Err(Errno::ENOTDIR.into());
        }
        if !open.writes() {
            return Err(Errno::EINVAL.into());
        }
        room()?;
        let (group, permissions) = self.inherited(directory, open, false);
        let kind = Kind::File(Content::new());
        let id = self.tree.add(mode::FILE | permissions, open.user, group, kind, now())?;
        Ok(self.open_node(open, id))
    }
}

/// Whether a path ended in no entry but in a directory itself: `.`, `..`, or nothing.
fn is_dots(name: &[u8]) -> bool {
    name.is_empty() || name == b".."
}

/// The node of an open file.
const fn node_of(file: &OpenNode) -> NodeId {
    file.file
}

fn is_special(node: &Node) -> bool {
    matches!(node.kind, Kind::Special { .. })
}

impl ResourceManager for Files {
    type File = NodeId;

    const ANCHORS: bool = true;

    fn anchor(&self, status: &Status) -> u64 {
        self.tree.anchor(status.inode, status.mode)
    }

    fn where_is(&mut self, anchor: u64) -> Result<Vec<u8>, Errno> {
        self.tree.path_of(self.tree.anchored(anchor)?)
    }

    fn open(&mut self, _call: &Call<'_>, path: &[u8], open: &Open) -> Result<Opened<NodeId>, Refusal> {
        let create = open.has(open_flags::CREATE) && !open.has(open_flags::PATH);
        let exclusive = create && open.has(open_flags::EXCLUSIVE);
        if create && path.ends_with(b"/") {
            // The way there must exist all the same.
            self.entry(path)?;
            return Err(Errno::EISDIR.into());
        }
        let place = self.walk(path, !open.has(open_flags::NO_FOLLOW) && !exclusive)?;
        if open.has(open_flags::TEMPORARY) && open.has(open_flags::DIRECTORY) {
            return self.open_unnamed(&place, open);
        }
        let Some(id) = place.node else {
            if !create {
                return Err(Errno::ENOENT.into());
            }
            let id = self.make(&place, mode::FILE, open, Kind::File(Content::new()))?;
            return Ok(self.open_node(open, id));
        };
        if exclusive {
            return Err(Errno::EEXIST.into());
        }
        let node = self.tree.node(id);
        if open.has(open_flags::DIRECTORY) && !node.is_directory() {
            return Err(Errno::ENOTDIR.into());
        }
        if !open.has(open_flags::PATH) {
            match &node.kind {
                Kind::Directory(_) if open.writes() || create || open.has(open_flags::TRUNCATE) => {
                    return Err(Errno::EISDIR.into());
                }
                Kind::Link(_) => return Err(Errno::ELOOP.into()),
                Kind::Special { .. } if node.mode & mode::TYPE == mode::FIFO => {
                    let target = alloc::format!("{}/{}{}", pipe::MOUNT, "fifo/", node.inode);
                    return Err(redirect(&[], target.as_bytes(), &[]));
                }
                Kind::Special { .. } => return Err(Errno::ENXIO.into()),
                Kind::File(_) if open.has(open_flags::TRUNCATE) => self.resize(id, 0)?,
                _ => {}
            }
        }
        Ok(self.open_node(open, id))
    }

    fn status(&mut self, _call: &Call<'_>, path: &[u8], follow: bool) -> Result<Status, Refusal> {
        let id = self.find(path, follow)?;
        Ok(self.status_of(id))
    }

    fn unlink(&mut self, _call: &Call<'_>, path: &[u8], directory: bool) -> Done {
        let place = self.entry(path)?;
        let node = place.existing()?;
        if is_dots(place.name) {
            return Err(match (directory, place.name, node == ROOT) {
                (false, ..) => Errno::EISDIR,
                (true, b"..", _) => Errno::ENOTEMPTY,
                (true, _, true) => Errno::EBUSY,
                (true, ..) => Errno::EINVAL,
            }
            .into());
        }
        if place.slash && !directory {
            return Err(if self.tree.node(node).is_directory() { Errno::EISDIR } else { Errno::ENOTDIR }.into());
        }
        room()?;
        let id = self.tree.unlink(place.directory, place.name, directory, now())?;
        self.forget(id);
        Ok(())
    }

    fn make_directory(&mut self, _call: &Call<'_>, path: &[u8], open: &Open) -> Done {
        let place = self.entry(path)?;
        if place.node.is_some() {
            return Err(Errno::EEXIST.into());
        }
        room()?;
        let (group, permissions) = self.inherited(place.directory, open, true);
        self.tree.make_directory(place.directory, place.name, permissions, open.user, group, now())?;
        Ok(())
    }

    fn make_node(&mut self, _call: &Call<'_>, path: &[u8], open: &Open, device: u64) -> Done {
        let place = self.entry(path)?;
        let (kind_mode, kind) = match open.mode & mode::TYPE {
            0 | mode::FILE => (mode::FILE, Kind::File(Content::new())),
            special @ (mode::FIFO | mode::SOCKET) => (special, Kind::Special { device: 0 }),
            special @ (mode::CHARACTER | mode::BLOCK) => (special, Kind::Special { device }),
            mode::DIRECTORY => return Err(Errno::EPERM.into()),
            _ => return Err(Errno::EINVAL.into()),
        };
        self.make(&place, kind_mode, open, kind).map(drop)
    }

    fn symbolic_link(&mut self, _call: &Call<'_>, path: &[u8], target: &[u8], open: &Open) -> Done {
        let place = self.entry(path)?;
        let mut copy = Vec::new();
        copy.try_reserve_exact(target.len()).map_err(|_| Errno::ENOSPC)?;
        copy.extend_from_slice(target);
        let open = Open { mode: 0o777, ..*open };
        self.make(&place, mode::LINK, &open, Kind::Link(copy)).map(drop)
    }

    fn read_link(&mut self, call: &Call<'_>, path: &[u8]) -> Result<Data, Refusal> {
        let id = self.find(path, false)?;
        match &self.tree.node(id).kind {
            Kind::Link(target) => Ok(Data::for_call(call, target)),
            _ => Err(Errno::EINVAL.into()),
        }
    }

    fn rename(&mut self, _call: &Call<'_>, old: &[u8], new: &[u8], flags: u64) -> Done {
        use crate::tree::rename_flags::{EXCHANGE, NO_REPLACE};
        if flags & !(NO_REPLACE | EXCHANGE) != 0 || flags == NO_REPLACE | EXCHANGE {
            return Err(Errno::EINVAL.into());
        }
        let from = self.entry(old)?;
        let to = self.entry(new).map_err(Refusal::second)?;
        if is_dots(from.name) {
            return Err(Errno::EBUSY.into());
        }
        if is_dots(to.name) {
            return Err(if flags == NO_REPLACE { Errno::EEXIST } else { Errno::EBUSY }.into());
        }
        let moved = from.existing()?;
        // Trailing slashes are for directories only.
        let is_directory = |id: NodeId| self.tree.node(id).is_directory();
        let wrong = match to.node {
            Some(_) if flags == NO_REPLACE => false,
            None if flags == EXCHANGE => return Err(Errno::ENOENT.into()),
            Some(target) if flags == EXCHANGE => {
                to.slash && !is_directory(target) || from.slash && !is_directory(moved)
            }
            _ => (from.slash || to.slash) && !is_directory(moved),
        };
        if wrong {
            return Err(Errno::ENOTDIR.into());
        }
        room()?;
        let replaced = self.tree.rename((from.directory, from.name), (to.directory, to.name), flags, now())?;
        if let Some(replaced) = replaced {
            self.forget(replaced);
        }
        Ok(())
    }

    fn link(&mut self, _call: &Call<'_>, old: &[u8], new: &[u8], follow: bool) -> Done {
        let id = self.find(old, follow)?;
        let place = self.entry(new).map_err(Refusal::second)?;
        if place.node.is_some() {
            return Err(Errno::EEXIST.into());
        }
        if place.slash {
            return Err(Errno::ENOENT.into());
        }
        room()?;
        self.tree.link(place.directory, place.name, id, now())?;
        Ok(())
    }

    fn change_mode(&mut self, _call: &Call<'_>, path: &[u8], mode: u32, follow: bool) -> Done {
        let id = self.find(path, follow)?;
        if matches!(self.tree.node(id).kind, Kind::Link(_)) {
            return Err(Errno::EOPNOTSUPP.into());
        }
        self.set_mode(id, mode);
        Ok(())
    }

    fn change_owner(&mut self, _call: &Call<'_>, path: &[u8], user: u32, group: u32, follow: bool) -> Done {
        let id = self.find(path, follow)?;
        self.set_owner(id, user, group);
        Ok(())
    }

    fn set_times(&mut self, _call: &Call<'_>, path: &[u8], times: &Times, follow: bool) -> Done {
        let id = self.find(path, follow)?;
        self.stamp(id, times);
        Ok(())
    }

    fn truncate(&mut self, _call: &Call<'_>, path: &[u8], length: u64) -> Done {
        let id = self.find(path, true)?;
        self.resize(id, length)
    }

    fn file_system(&mut self, _call: &Call<'_>) -> Result<Figures, Refusal> {
        let mut record = [0; size_of::<process::SystemRecord>()];
        // Without an answer it seems full, which is safe.
        let _ = process::system(self.process, &mut Buffers::new().receive(&mut record), Options::NONE);
        let word = |at: usize| record[at * 8..at * 8 + 8].try_into().map_or(0, u64::from_le_bytes);
        let free = word(1) / PAGE;
        const FILES: u64 = 1 << 20;
        let used = self.tree.count() as u64;
        Ok(Figures {
            kind: KIND,
            blocks: self.pages.used + free,
            free,
            files: FILES + used,
            files_free: FILES,
            identity: DEVICE,
            flags: 0,
        })
    }

    fn read(&mut self, call: &Call<'_>, file: &mut OpenNode, offset: u64, _wait: bool) -> Result<Data, Refusal> {
        let id = node_of(file);
        let node = self.tree.node_mut(id);
        let Kind::File(content) = &node.kind else {
            return Err(Errno::EISDIR.into());
        };
        let length = (call.room as u64).min(content.size().saturating_sub(offset));
        let mut data = Data::new();
        let mut done = 0;
        let mut sent = 0;
        while done < length {
            if data.is_full() {
                // More pieces than a reply takes: these go ahead.
                let mut buffers = Buffers::new();
                for segment in data.segments() {
                    buffers.add_send(segment.address, segment.length);
                }
                match runtime::exchange::write_request_from(call.request, sent, &buffers) {
                    Ok(moved) => sent += moved,
                    Err((_, moved)) if sent + moved > 0 => return Ok(Data::moved((sent + moved) as usize)),
                    Err((error, _)) => return Err(error.into()),
                }
                data = Data::new();
            }
            match content.piece(offset + done, length - done) {
                Piece::Data { address, length } => {
                    data.add_raw(address, length as usize);
                    done += length;
                }
                Piece::Hole(length) => {
                    let part = length.min(ZEROS as u64);
                    data.add(&self.zeros[..part as usize]);
                    done += part;
                }
            }
        }
        // Access times as `relatime` has it: only the first access after a change counts.
        let stale = node.accessed <= node.modified || node.accessed <= node.changed;
        if stale && file.flags & open_flags::NO_ACCESS_TIME == 0 {
            node.accessed = now();
        }
        if sent == 0 {
            return Ok(data);
        }
        // A reply's bytes go to the start of the caller's buffers: the rest, too, has to be moved now.
        let mut buffers = Buffers::new();
        for segment in data.segments() {
            buffers.add_send(segment.address, segment.length);
        }
        let moved = match runtime::exchange::write_request_from(call.request, sent, &buffers) {
            Ok(moved) | Err((_, moved)) => moved,
        };
        Ok(Data::moved((sent + moved) as usize))
    }

    fn write(&mut self, call: &Call<'_>, file: &mut OpenNode, offset: u64, _wait: bool) -> Result<usize, Refusal> {
        let id = node_of(file);
        if call.sent == 0 {
            return Ok(0);
        }
        let count = self.fetch(call, id, offset)?;
        self.tree.node_mut(id).touch(now());
        Ok(count)
    }

    fn size(&mut self, file: &mut OpenNode) -> u64 {
        match &self.tree.node(node_of(file)).kind {
            Kind::File(content) => content.size(),
            _ => 0,
        }
    }

    fn seek_data(&mut self, file: &mut OpenNode, offset: u64, hole: bool) -> Result<u64, Refusal> {
        let (content, _) = self.content(node_of(file))?;
        Ok(content.next(offset, hole).ok_or(Errno::ENXIO)?)
    }

    fn status_open(&mut self, _call: &Call<'_>, file: &mut OpenNode) -> Result<Status, Refusal> {
        Ok(self.status_of(node_of(file)))
    }

    fn truncate_open(&mut self, _call: &Call<'_>, file: &mut OpenNode, length: u64) -> Done {
        self.resize(node_of(file), length)
    }

    fn read_directory(&mut self, _call: &Call<'_>, file: &mut OpenNode, records: &mut Records<'_>) -> Done {
        let id = node_of(file);
        let node = self.tree.node(id);
        let directory = self.tree.directory(id)?;
        if node.links == 0 {
            return Ok(());
        }
        let parent = self.tree.node(directory.parent());
        for (name, inode) in [(&b"."[..], node.inode), (b"..", parent.inode)] {
            let at = name.len() as u64 - 1;
            if file.position == at {
                if !records.add(inode, at + 1, mode::DIRECTORY, name) {
                    return Ok(());
                }
                file.position = at + 1;
            }
        }
        for (cookie, name, child) in directory.entries_from(file.position) {
            let child = self.tree.node(child);
            if !records.add(child.inode, cookie + 1, child.mode, name) {
                return Ok(());
            }
            file.position = cookie + 1;
        }
        Ok(())
    }

    fn lock(
        &mut self,
        call: &Call<'_>,
        file: &mut OpenNode,
        operation: LockOperation,
        owner: u64,
        lock: &mut Lock,
    ) -> Done {
        let id = node_of(file);
        if let LockOperation::Whole(operation) = operation {
            return self.lock_whole(call, id, operation);
        }
        if lock.whence != 0 || lock.kind > lock_kind::NONE {
            return Err(Errno::EINVAL.into());
        }
        let (start, end) = Record::range(lock.start, lock.length).ok_or(Errno::EINVAL)?;
        let wanted = Record { start, end, write: lock.kind == lock_kind::WRITE, owner, badge: call.badge };
        if operation != LockOperation::Test {
            let wait = operation == LockOperation::SetAndWait;
            return self.lock_record(call, id, wait, lock.kind, wanted);
        }
        match self.tree.node(id).locks.conflict(&wanted) {
            None => lock.kind = lock_kind::NONE,
            Some(held) => {
                lock.kind = if held.write { lock_kind::WRITE } else { lock_kind::READ };
                lock.start = held.start;
                lock.length = held.length();
                // An open file is nobody: -1.
                lock.pid = if held.owner == held.badge { u32::MAX } else { held.owner as u32 };
            }
        }
        Ok(())
    }

    fn unlock(&mut self, file: &mut OpenNode, owner: u64) {
        let id = node_of(file);
        let locks = &mut self.tree.node_mut(id).locks;
        if locks.drop_owner(owner) {
            self.waiting.wake(id, locks);
        }
    }

    fn map(
        &mut self,
        _call: &Call<'_>,
        file: &mut OpenNode,
        offset: u64,
        length: u64,
        writes: bool,
    ) -> Result<Mapped, Refusal> {
        let Kind::File(content) = &mut self.tree.node_mut(node_of(file)).kind else {
            return Err(Errno::ENODEV.into());
        };
        let size = content.size();
        if offset >= size {
            return Err(Errno::ENXIO.into());
        }
        let length = length.min(size - offset);
        let (run, at) = content.run_at(&mut self.pages, offset, length, writes)?;
        Ok(Mapped {
            memory: run.memory,
            rights: Pages::rights(run.number.is_some(), writes),
            memory_offset: run.offset + at,
            length: (run.pages * PAGE - at).min(size - offset),
        })
    }

    fn change_mode_open(&mut self, _call: &Call<'_>, file: &mut OpenNode, mode: u32) -> Done {
        self.set_mode(node_of(file), mode);
        Ok(())
    }

    fn change_owner_open(&mut self, _call: &Call<'_>, file: &mut OpenNode, user: u32, group: u32) -> Done {
        self.set_owner(node_of(file), user, group);
        Ok(())
    }

    fn set_times_open(&mut self, _call: &Call<'_>, file: &mut OpenNode, times: &Times) -> Done {
        self.stamp(node_of(file), times);
        Ok(())
    }

    fn allocate(&mut self, call: &Call<'_>, file: &mut OpenNode, mode: u64, offset: u64, length: u64) -> Done {
        const KEEP_SIZE: u64 = 1;
        const PUNCH_HOLE: u64 = 2;
        let id = node_of(file);
        if is_special(self.tree.node(id)) {
            return Err(Errno::ENODEV.into());
        }
        if mode & PUNCH_HOLE == 0 && length / PAGE > self.file_system(call)?.free {
            // Better than taking all there is first.
            return Err(Errno::ENOSPC.into());
        }
        let (content, pages) = self.content(id)?;
        match mode {
            0 | KEEP_SIZE => {
                let end = offset + length;
                let mut at = offset;
                while at < end && (mode == 0 || !content.stays_small(end)) {
                    if content.stays_small(end) {
                        break;
                    }
                    at += content.reserve(pages, at, end - at)?;
                }
                if mode == 0 && end > content.size() {
                    content.truncate(pages, end)?;
                }
            }
            mode if mode == PUNCH_HOLE | KEEP_SIZE => content.punch(pages, offset, length)?,
            _ => return Err(Errno::EOPNOTSUPP.into()),
        }
        self.tree.node_mut(id).touch(now());
        Ok(())
    }

    fn closed(&mut self, file: OpenNode) {
        let id = node_of(&file);
        self.waiting.drop_badge(file.badge);
        let node = self.tree.node_mut(id);
        node.opens -= 1;
        if node.locks.drop_badge(file.badge) {
            self.waiting.wake(id, &mut node.locks);
        }
        self.forget(id);
    }

    fn unblock(&mut self, request: u64) -> bool {
        self.waiting.cancel(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import;
    use protocol::resource_manager::Server;
    use protocol::resource_manager::storm::{Dice, rage};

    #[test]
    fn nonsense_breaks_nothing() {
        for seed in 0..20 {
            let mut tree = Tree::new(Time::default(), seed, 0);
            import::directories(&mut tree, Time::default());
            let pages = Pages::new(Handle::NONE, &[]);
            let mut server = Server::new(Handle::NONE, Files::new(Handle::NONE, Handle::NONE, tree, pages));
            let mut files = Vec::new();
            for kind in [Kind::File(Content::new()), Kind::Link(b"../x".to_vec()), Kind::Special { device: 0 }] {
                let mode = match kind {
                    Kind::File(_) => mode::FILE,
                    Kind::Link(_) => mode::LINK,
                    _ => mode::FIFO,
                };
                let manager = server.manager();
                let id = manager.tree.add(mode | 0o644, 0, 0, kind, Time::default()).unwrap();
                manager.tree.link(ROOT, &[b'a' + id.0 as u8 % 26], id, Time::default()).unwrap();
                for flags in [open_flags::BOTH, open_flags::READ | open_flags::APPEND, open_flags::PATH] {
                    let opened = server.manager().open_node(&Open { flags, ..Open::default() }, id);
                    files.extend(server.adopt(opened));
                }
            }
            let opened = server.manager().open_node(&Open::default(), ROOT);
            files.extend(server.adopt(opened));
            let names = ["tmp", "var", "a", "b", "x", "y", "..", ".", "", "usr", "bin", "z"];
            rage(&mut server, &files, &names, &mut Dice::new(u64::from(seed)), 20_000);
        }
    }
}
