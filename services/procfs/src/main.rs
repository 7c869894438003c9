//! /proc, in Linux's formats, made from what the process service tells.
//!
//! A file's text is made when it is read from its start, so what one reader sees in pieces is of one moment. `exe`, `cwd` and `fd/…` of a
//! process are known to its own personality library only, which answers them itself; here they are names.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

mod format;
mod processor;
mod source;
mod tree;

use alloc::string::String;
use alloc::vec::Vec;

use protocol::Errno;
use protocol::file::{Status, features};
use protocol::resource_manager::resolve::{Place, resolve};
use protocol::resource_manager::{
    Call, Data, Done, Figures, Open, OpenFile, Opened, Records, Refusal, ResourceManager, Server, mode, open_flags,
};
use runtime::start;

use source::Source;
use tree::{Directory, Entry, Leaf, Node, Tree};

runtime::main!(run);
runtime::heap!();

/// Device number of this file system.
const DEVICE: u64 = 0x1004;
/// PROC_SUPER_MAGIC.
const KIND: u64 = 0x9fa0;
/// Directory position of the first process: behind all tables.
const FIRST_PROCESS: u64 = 0x1000;

struct ProcessFiles {
    source: Source,
    boot_id: [u8; 16],
    /// Makes UUIDs; not for secrets.
    dice: u64,
    link: Vec<u8>,
}

/// An open file.
struct Opening {
    node: Node,
    text: Vec<u8>,
}

impl ProcessFiles {
    fn new() -> Self {
        let mut files = Self {
            source: Source::new(),
            boot_id: [0; 16],
            dice: runtime::clock::realtime_ns() ^ runtime::clock::monotonic_ns().rotate_left(32),
            link: Vec::new(),
        };
        files.boot_id = files.roll();
        files
    }

    fn roll(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        for part in bytes.chunks_exact_mut(8) {
            // SplitMix64.
            self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15 ^ runtime::clock::monotonic_ns());
            let mut word = self.dice;
            word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            part.copy_from_slice(&(word ^ word >> 31).to_le_bytes());
        }
        bytes
    }

    const fn tree(&self, caller: u32) -> Tree<'_, Source> {
        Tree { census: &self.source, caller }
    }

    fn walk<'p>(&self, call: &Call<'_>, path: &'p [u8], follow: bool) -> Result<Place<'p, Node>, Refusal> {
        resolve(&self.tree(call.pid()), path, follow)
    }

    /// The text of a file.
    fn text(&mut self, node: Node, leaf: Leaf) -> Result<Vec<u8>, Errno> {
        let mut out = String::new();
        let source = &self.source;
        let thread = if node.tid == 0 { None } else { Some(source.thread(node.pid, node.tid).ok_or(Errno::ESRCH)?) };
        let thread = thread.as_ref();
        match leaf {
            Leaf::Text(text) => out.push_str(text),
            Leaf::Empty | Leaf::Buddy => {}
            Leaf::CommandLine => out.push('\n'),
            Leaf::CpuInformation => format::processor(&mut out, &processor::ask(hertz())),
            Leaf::FileSystems => {
                out.push_str("nodev\ttmpfs\nnodev\tproc\nnodev\tdevtmpfs\nnodev\tpipefs\n\tsquashfs\n")
            }
            Leaf::Devices => out
                .push_str("Character devices:\n  1 mem\n  4 ttyS\n  5 /dev/tty\n  5 /dev/console\n\nBlock devices:\n"),
            Leaf::Load => {
                let mut last = 0;
                while let Some(process) = source.next(last) {
                    last = process.pid;
                }
                format::load(&mut out, &source.system()?, last);
            }
            Leaf::Memory => format::memory(&mut out, &source.system()?),
            Leaf::Statistics => {
                let now = runtime::clock::realtime_ns();
                let boot = now.saturating_sub(runtime::clock::monotonic_ns()) / 1_000_000_000;
                format::statistics(&mut out, &source.system()?, boot);
            }
            Leaf::Swaps => out.push_str("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"),
            Leaf::Uptime => format::uptime(&mut out, &source.system()?),
            Leaf::Version => out.push_str("Linux version 6.1.0-baton (baton) #1 SMP Baton\n"),
            Leaf::Mounts | Leaf::MountInformation => {
                let numbered = leaf == Leaf::MountInformation;
                for index in 0..256 {
                    let Some(prefix) = source.mount(index) else {
                        break;
                    };
                    format::mount(&mut out, &prefix, numbered.then_some(index));
                }
            }
            Leaf::Uuid { boot } => {
                let bytes = if boot { self.boot_id } else { self.roll() };
                format::uuid(&mut out, bytes);
            }
            Leaf::Name => format::comm(&mut out, &source.record(node.pid)?, thread),
            Leaf::Stat => format::stat(&mut out, &source.record(node.pid)?, thread),
            Leaf::Status => format::status(&mut out, &source.record(node.pid)?, thread),
            Leaf::Statm => format::statm(&mut out, &source.record(node.pid)?),
            Leaf::Io => out.push_str(
                "rchar: 0\nwchar: 0\nsyscr: 0\nsyscw: 0\nread_bytes: 0\nwrite_bytes: 0\ncancelled_write_bytes: 0\n",
            ),
            Leaf::Arguments => return source.command_line(node.pid),
            Leaf::Areas => {
                let mut from = 0;
                // A native program has none that the process service knows.
                while let Ok(areas) = source.areas(node.pid, from)
                    && let Some(last) = areas.last()
                {
                    from = last.end;
                    for area in &areas {
                        format::area(&mut out, area);
                    }
                }
            }
            Leaf::Limits => {
                source.record(node.pid)?;
                let limits: Vec<_> =
                    (0..16).map(|resource| source.limit(node.pid, resource).unwrap_or((u64::MAX, u64::MAX))).collect();
                format::limits(&mut out, &limits);
            }
        }
        Ok(out.into_bytes())
    }

    fn status_of(&self, node: Node) -> Status {
        let seconds = runtime::clock::realtime_ns() / 1_000_000_000;
        let mut status = Status {
            device: DEVICE,
            inode: node.inode(),
            links: 1,
            mode: node.mode(),
            block_size: 1024,
            times: [seconds, 0, seconds, 0, seconds, 0],
            ..Status::default()
        };
        if matches!(node.entry, Entry::Directory(_)) {
            status.links = 2;
        }
        if node.pid != 0
            && let Ok(record) = self.source.record(node.pid)
        {
            status.user = (record.user >> 32) as u32;
            status.group = (record.group_id >> 32) as u32;
        }
        status
    }
}

fn hertz() -> u64 {
    #[cfg(all(target_arch = "x86_64", target_os = "none"))]
    {
        runtime::clock::page().tsc_hz
    }
    #[cfg(not(all(target_arch = "x86_64", target_os = "none")))]
    {
        0
    }
}

impl ResourceManager for ProcessFiles {
    type File = Opening;

    fn open(&mut self, call: &Call<'_>, path: &[u8], open: &Open) -> Result<Opened<Opening>, Refusal> {
        let create = open.has(open_flags::CREATE);
        let exclusive = create && open.has(open_flags::EXCLUSIVE);
        let place = self.walk(call, path, !open.has(open_flags::NO_FOLLOW) && !exclusive)?;
        let node = place.existing()?;
        if exclusive {
            return Err(Errno::EEXIST.into());
        }
        let path_only = open.has(open_flags::PATH);
        match node.entry {
            Entry::Directory(_) if open.writes() || create => return Err(Errno::EISDIR.into()),
            Entry::Directory(_) => {}
            _ if open.has(open_flags::DIRECTORY) => return Err(Errno::ENOTDIR.into()),
            Entry::Leaf(_) if open.writes() => return Err(Errno::EACCES.into()),
            Entry::Leaf(_) => {}
            Entry::Private if !path_only => return Err(Errno::ENOENT.into()),
            _ if !path_only => return Err(Errno::ELOOP.into()),
            _ => {}
        }
        let file = Opening { node, text: Vec::new() };
        Ok(Opened::new(file, open, node.mode(), features::SEEK))
    }

    fn status(&mut self, call: &Call<'_>, path: &[u8], follow: bool) -> Result<Status, Refusal> {
        let node = self.walk(call, path, follow)?.existing()?;
        if follow && node.entry == Entry::Private {
            return Err(Errno::ENOENT.into());
        }
        Ok(self.status_of(node))
    }

    fn read_link(&mut self, call: &Call<'_>, path: &[u8]) -> Result<Data, Refusal> {
        let node = self.walk(call, path, false)?.existing()?;
        if node.mode() & mode::TYPE != mode::LINK {
            return Err(Errno::EINVAL.into());
        }
        self.link = self.tree(call.pid()).target(node).ok_or(Errno::ENOENT)?;
        Ok(Data::for_call(call, &self.link))
    }

    fn unlink(&mut self, call: &Call<'_>, path: &[u8], _directory: bool) -> Done {
        self.walk(call, path, false)?.existing()?;
        Err(Errno::EPERM.into())
    }

    fn make_directory(&mut self, call: &Call<'_>, path: &[u8], _open: &Open) -> Done {
        Err(if self.walk(call, path, false)?.node.is_some() { Errno::EEXIST } else { Errno::ENOENT }.into())
    }

    fn file_system(&mut self, _call: &Call<'_>) -> Result<Figures, Refusal> {
        Ok(Figures { kind: KIND, identity: DEVICE, ..Figures::default() })
    }

    fn read(
        &mut self,
        call: &Call<'_>,
        file: &mut OpenFile<Opening>,
        offset: u64,
        _wait: bool,
    ) -> Result<Data, Refusal> {
        let Entry::Leaf(leaf) = file.file.node.entry else {
            return Err(Errno::EISDIR.into());
        };
        if offset == 0 || file.file.text.is_empty() {
            file.file.text = self.text(file.file.node, leaf)?;
        }
        let text = &file.file.text;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(text.len());
        Ok(Data::for_call(call, &text[start..]))
    }

    fn status_open(&mut self, _call: &Call<'_>, file: &mut OpenFile<Opening>) -> Result<Status, Refusal> {
        Ok(self.status_of(file.file.node))
    }

    fn read_directory(&mut self, _call: &Call<'_>, file: &mut OpenFile<Opening>, records: &mut Records<'_>) -> Done {
        let node = file.file.node;
        let Entry::Directory(directory) = node.entry else {
            return Err(Errno::ENOTDIR.into());
        };
        if node.pid != 0 {
            // The process may be gone.
            self.source.record(node.pid).map_err(|_| Errno::ENOENT)?;
        }
        if file.position == 0 {
            if !records.add(node.inode(), 1, mode::DIRECTORY, b".") {
                return Ok(());
            }
            file.position = 1;
        }
        if file.position == 1 {
            if !records.add(node.parent().inode(), 2, mode::DIRECTORY, b"..") {
                return Ok(());
            }
            file.position = 2;
        }
        while file.position < FIRST_PROCESS {
            let Some((name, child)) = node.entry(file.position as usize - 2) else {
                file.position = FIRST_PROCESS;
                break;
            };
            if !records.add(child.inode(), file.position + 1, child.mode(), name.as_bytes()) {
                return Ok(());
            }
            file.position += 1;
        }
        // Behind the tables a position is a pid or tid, so that whoever comes and goes disturbs nobody.
        loop {
            let after = (file.position - FIRST_PROCESS) as u32;
            let (number, child) = match directory {
                Directory::Root => match self.source.next(after) {
                    Some(record) => (record.pid, Node::process(record.pid)),
                    None => break,
                },
                Directory::Tasks => match self.source.next_thread(node.pid, after) {
                    Some(record) => (record.tid, Node::thread(node.pid, record.tid)),
                    None => break,
                },
                _ => break,
            };
            let next = FIRST_PROCESS + u64::from(number);
            let name = alloc::format!("{number}");
            if !records.add(child.inode(), next, mode::DIRECTORY, name.as_bytes()) {
                break;
            }
            file.position = next;
        }
        Ok(())
    }
}

fn run() {
    let error = Server::new(start::handle("gate"), ProcessFiles::new()).serve();
    runtime::log!(Error, "cannot receive: {}", error.text());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constant_files_need_nobody() {
        let mut files = ProcessFiles::new();
        let node = Node::ROOT;
        assert_eq!(files.text(node, Leaf::Text("x\n")), Ok(b"x\n".to_vec()));
        let version = files.text(node, Leaf::Version).unwrap();
        assert!(version.starts_with(b"Linux version 6.1.0-baton"));
        let uuid = Leaf::Uuid { boot: true };
        assert_eq!(files.text(node, uuid), files.text(node, uuid));
        let uuid = Leaf::Uuid { boot: false };
        assert_ne!(files.text(node, uuid), files.text(node, uuid));
    }

    #[test]
    fn nonsense_breaks_nothing() {
        use protocol::resource_manager::storm::{Dice, rage};
        let mut server = Server::new(abi::Handle::NONE, ProcessFiles::new());
        let mut files = Vec::new();
        for index in 0..19 {
            let node = Node::ROOT.entry(index).unwrap().1;
            let file = Opening { node, text: Vec::new() };
            files.extend(server.adopt(Opened::new(file, &Open::default(), 0, features::SEEK)));
        }
        let names = ["1", "self", "sys", "kernel", "stat", "task", "..", "mounts", "fd", "exe"];
        rage(&mut server, &files, &names, &mut Dice::new(1), 50_000);
    }
}
