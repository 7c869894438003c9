//! /dev and its simple devices: null, zero, full, random, urandom.
//!
//! Other devices are mounts of their drivers below /dev; their names come from the path service when the directory is read.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

mod entropy;
mod table;

use alloc::vec::Vec;

use abi::{Handle, Rights};
use protocol::file::{Status, features};
use protocol::resource_manager::resolve::{Place, Step, Walk, resolve};
use protocol::resource_manager::{
    Call, Data, Done, Figures, Mapped, Open, OpenFile, Opened, Records, Refusal, ResourceManager, Server, mode,
    open_flags,
};
use protocol::{Errno, path};
use runtime::{Buffers, Options, start};

use entropy::Entropy;
use table::{NODES, What};

runtime::main!(run);
runtime::heap!();

/// Device number of this file system.
const DEVICE: u64 = 0x1003;
/// TMPFS_MAGIC, as Linux's devtmpfs says.
const KIND: u64 = 0x0102_1994;
/// Bytes of zeros, or of randomness, that are lent at a time; also what a mapping of `zero` shows, again and again.
const LENT: usize = 64 * 1024;
/// Room for names of mounts.
const NAMES: usize = 4096;

/// An open node; the directory is `None`.
type Node = Option<usize>;

struct Devices {
    entropy: Entropy,
    zeros: Vec<u8>,
    random: Vec<u8>,
    /// A Memory of zeros, once somebody asked.
    zero_memory: Handle,
    names: Vec<u8>,
}

struct Tree;

impl Walk for Tree {
    type Node = Node;
    fn root(&self) -> Node {
        None
    }
    fn child(&self, _directory: Node, name: &[u8]) -> Result<Option<Node>, Errno> {
        Ok(table::find(name).map(Some))
    }
    fn step(&self, node: Node) -> Step {
        match node.map(|node| NODES[node].what) {
            None => Step::Directory,
            Some(What::Link(target)) => Step::Link(target.as_bytes().to_vec()),
            Some(_) => Step::Leaf,
        }
    }
}

fn walk(path: &[u8], follow: bool) -> Result<Place<'_, Node>, Refusal> {
    resolve(&Tree, path, follow)
}

fn status_of(node: Node) -> Status {
    // All is as old as the system.
    let boot = runtime::clock::realtime_ns().saturating_sub(runtime::clock::monotonic_ns()) / 1_000_000_000;
    let common = Status {
        device: DEVICE,
        inode: node.map_or(1, |node| node as u64 + 2),
        links: 1,
        block_size: abi::PAGE_SIZE,
        times: [boot, 0, boot, 0, boot, 0],
        ..Status::default()
    };
    match node.map(|node| &NODES[node]) {
        None => Status { links: 2, mode: mode::DIRECTORY | 0o755, ..common },
        Some(node) => Status {
            mode: node.mode(),
            device_node: node.number(),
            size: match node.what {
                What::Link(target) => target.len() as u64,
                _ => 0,
            },
            ..common
        },
    }
}

/// Answer with as many bytes as the caller has room for, taken from `next` again and again.
fn pour(call: &Call<'_>, mut next: impl FnMut(usize) -> Data) -> Result<Data, Refusal> {
    if call.room <= LENT {
        return Ok(next(call.room));
    }
    let mut done = 0;
    while done < call.room {
        let data = next((call.room - done).min(LENT));
        let buffers =
            data.segments().iter().fold(Buffers::new(), |buffers, part| buffers.send_raw(part.address, part.length));
        match runtime::exchange::write_request_from(call.request, done as u64, &buffers) {
            Ok(moved) if moved > 0 => done += moved as usize,
            Ok(_) => break,
            Err((_, moved)) if done + moved as usize > 0 => {
                done += moved as usize;
                break;
            }
            Err((error, _)) => return Err(error.into()),
        }
    }
    Ok(Data::moved(done))
}

impl Devices {
    fn new() -> Self {
        Self {
            entropy: Entropy::new(),
            zeros: alloc::vec![0; LENT],
            random: alloc::vec![0; LENT],
            zero_memory: Handle::NONE,
            names: alloc::vec![0; NAMES],
        }
    }

    /// What is mounted below: names, each ended by a zero byte.
    fn mounted(&mut self) -> &[u8] {
        let mut buffers = Buffers::new().send(b"/dev").receive(&mut self.names);
        let answer = path::children(start::handle("path"), &mut buffers, Options::NONE);
        // Without the path service there is nothing mounted.
        let length = answer.map_or(0, |answer| answer.length as usize);
        &self.names[..length.min(self.names.len())]
    }
}

impl ResourceManager for Devices {
    type File = Node;

    fn open(&mut self, _call: &Call<'_>, path: &[u8], open: &Open) -> Result<Opened<Node>, Refusal> {
        let create = open.has(open_flags::CREATE);
        let exclusive = create && open.has(open_flags::EXCLUSIVE);
        let place = walk(path, !open.has(open_flags::NO_FOLLOW) && !exclusive)?;
        let Some(node) = place.node else {
            return Err(if create { Errno::EACCES } else { Errno::ENOENT }.into());
        };
        if exclusive {
            return Err(Errno::EEXIST.into());
        }
        let status = status_of(node);
        match status.mode & mode::TYPE {
            mode::DIRECTORY if open.writes() || create => return Err(Errno::EISDIR.into()),
            mode::DIRECTORY => {}
            _ if open.has(open_flags::DIRECTORY) => return Err(Errno::ENOTDIR.into()),
            mode::LINK if !open.has(open_flags::PATH) => return Err(Errno::ELOOP.into()),
            _ => {}
        }
        Ok(Opened::new(node, open, status.mode, features::SEEK))
    }

    fn status(&mut self, _call: &Call<'_>, path: &[u8], follow: bool) -> Result<Status, Refusal> {
        Ok(status_of(walk(path, follow)?.existing()?))
    }

    fn read_link(&mut self, call: &Call<'_>, path: &[u8]) -> Result<Data, Refusal> {
        let node = walk(path, false)?.existing()?;
        match node.map(|node| NODES[node].what) {
            Some(What::Link(target)) => Ok(Data::for_call(call, target.as_bytes())),
            _ => Err(Errno::EINVAL.into()),
        }
    }

    fn unlink(&mut self, _call: &Call<'_>, path: &[u8], _directory: bool) -> Done {
        walk(path, false)?.existing()?;
        Err(Errno::EACCES.into())
    }

    fn make_directory(&mut self, _call: &Call<'_>, path: &[u8], _open: &Open) -> Done {
        Err(if walk(path, false)?.node.is_some() { Errno::EEXIST } else { Errno::EACCES }.into())
    }

    fn link(&mut self, _call: &Call<'_>, old: &[u8], new: &[u8], _follow: bool) -> Done {
        walk(old, false)?.existing()?;
        Err(if walk(new, false).map_err(Refusal::second)?.node.is_some() { Errno::EEXIST } else { Errno::EACCES }
            .into())
    }

    fn rename(&mut self, _call: &Call<'_>, old: &[u8], new: &[u8], _flags: u64) -> Done {
        walk(old, false)?.existing()?;
        walk(new, false).map_err(Refusal::second)?;
        Err(Errno::EACCES.into())
    }

    fn make_node(&mut self, _call: &Call<'_>, path: &[u8], _open: &Open, _device: u64) -> Done {
        Err(if walk(path, false)?.node.is_some() { Errno::EEXIST } else { Errno::EACCES }.into())
    }

    fn change_mode(&mut self, _call: &Call<'_>, path: &[u8], _mode: u32, follow: bool) -> Done {
        walk(path, follow)?.existing()?;
        Err(Errno::EPERM.into())
    }

    fn change_owner(&mut self, _call: &Call<'_>, path: &[u8], _user: u32, _group: u32, follow: bool) -> Done {
        walk(path, follow)?.existing()?;
        Err(Errno::EPERM.into())
    }

    fn set_times(&mut self, _call: &Call<'_>, path: &[u8], _times: &protocol::file::Times, follow: bool) -> Done {
        // `touch /dev/null` works.
        walk(path, follow)?.existing()?;
        Ok(())
    }

    fn truncate(&mut self, _call: &Call<'_>, path: &[u8], _length: u64) -> Done {
        walk(path, true)?.existing()?;
        Err(Errno::EINVAL.into())
    }

    fn file_system(&mut self, _call: &Call<'_>) -> Result<Figures, Refusal> {
        Ok(Figures { kind: KIND, identity: DEVICE, ..Figures::default() })
    }

    fn read(&mut self, call: &Call<'_>, file: &mut OpenFile<Node>, _offset: u64, _wait: bool) -> Result<Data, Refusal> {
        let node = file.file.ok_or(Errno::EISDIR)?;
        match NODES[node].what {
            What::Null => Ok(Data::new()),
            What::Zero | What::Full => pour(call, |count| Data::of(&self.zeros[..count])),
            What::Random => {
                let (entropy, random) = (&mut self.entropy, &mut self.random);
                pour(call, |count| {
                    entropy.fill(&mut random[..count]);
                    Data::of(&random[..count])
                })
            }
            What::Link(_) => Err(Errno::EBADF.into()),
        }
    }

    fn write(
        &mut self,
        call: &Call<'_>,
        file: &mut OpenFile<Node>,
        _offset: u64,
        _wait: bool,
    ) -> Result<usize, Refusal> {
        let node = file.file.ok_or(Errno::EISDIR)?;
        match NODES[node].what {
            What::Full => return Err(Errno::ENOSPC.into()),
            What::Random => self.entropy.mix(call.bytes()),
            _ => {}
        }
        Ok(call.sent)
    }

    fn status_open(&mut self, _call: &Call<'_>, file: &mut OpenFile<Node>) -> Result<Status, Refusal> {
        Ok(status_of(file.file))
    }

    fn read_directory(&mut self, _call: &Call<'_>, file: &mut OpenFile<Node>, records: &mut Records<'_>) -> Done {
        if file.file.is_some() {
            return Err(Errno::ENOTDIR.into());
        }
        let own = [".", ".."].map(|name| (1, mode::DIRECTORY, name.as_bytes()));
        let nodes = NODES.iter().enumerate().map(|(at, node)| (at as u64 + 2, node.mode(), node.name.as_bytes()));
        // Mounts: what they are is not known here.
        let mounts = self
            .mounted()
            .split(|&byte| byte == 0)
            .filter(|name| !name.is_empty() && table::find(name).is_none())
            .enumerate()
            .map(|(at, name)| (at as u64 + 1000, 0, name));
        let entries = own.into_iter().chain(nodes).chain(mounts).enumerate();
        for (at, (inode, mode, name)) in entries.skip(file.position as usize) {
            if !records.add(inode, at as u64 + 1, mode, name) {
                break;
            }
            file.position = at as u64 + 1;
        }
        Ok(())
    }

    fn map(
        &mut self,
        _call: &Call<'_>,
        file: &mut OpenFile<Node>,
        offset: u64,
        length: u64,
        writes: bool,
    ) -> Result<Mapped, Refusal> {
        let node = file.file.ok_or(Errno::ENODEV)?;
        if NODES[node].what != What::Zero || writes {
            return Err(Errno::ENODEV.into());
        }
        if self.zero_memory.is_none() {
            self.zero_memory = runtime::heap::allocate(LENT as u64).map_err(|_| Errno::ENOMEM)?;
        }
        let memory_offset = offset % LENT as u64;
        Ok(Mapped {
            memory: self.zero_memory,
            rights: Rights::READ.and(Rights::COPY),
            memory_offset,
            length: length.min(LENT as u64 - memory_offset),
        })
    }
}

fn run() {
    let error = Server::new(start::handle("gate"), Devices::new()).serve();
    runtime::log!(Error, "cannot receive: {}", error.text());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_have_their_status() {
        let null = walk(b"null", true).unwrap().existing().unwrap();
        let status = status_of(null);
        assert_eq!((status.mode, status.device_node), (mode::CHARACTER | 0o666, 0x103));
        assert_eq!(status_of(None).mode, mode::DIRECTORY | 0o755);
        let fd = walk(b"fd", false).unwrap().existing().unwrap();
        assert_eq!(status_of(fd).size, 13);
        assert_eq!(walk(b"fd/3", true), Err(Refusal::redirect(b"/proc/self/fd/3".to_vec())));
        assert_eq!(walk(b"null/x", true), Err(Errno::ENOTDIR.into()));
    }

    #[test]
    fn without_a_path_service_nothing_is_mounted() {
        assert!(Devices::new().mounted().is_empty());
    }

    #[test]
    fn nonsense_breaks_nothing() {
        use protocol::resource_manager::storm::{Dice, rage};
        let mut server = Server::new(Handle::NONE, Devices::new());
        let mut files = Vec::new();
        for node in core::iter::once(None).chain((0..NODES.len()).map(Some)) {
            for flags in [open_flags::BOTH, open_flags::PATH] {
                let open = Open { flags, ..Open::default() };
                files.extend(server.adopt(Opened::new(node, &open, 0, features::SEEK)));
            }
        }
        let names = ["null", "zero", "fd", "x", "..", ".", "urandom"];
        rage(&mut server, &files, &names, &mut Dice::new(1), 50_000);
    }
}
