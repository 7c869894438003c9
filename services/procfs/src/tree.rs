//! What is where in /proc. Everything is computed from the place in the tree: a node is a process, a thread and an entry.

use alloc::vec::Vec;

use protocol::Errno;
use protocol::resource_manager::mode;
use protocol::resource_manager::resolve::{Step, Walk};

/// A file or link with generated content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaf {
    Buddy,
    CommandLine,
    CpuInformation,
    FileSystems,
    Load,
    Memory,
    Devices,
    Empty,
    Mounts,
    Statistics,
    Swaps,
    Uptime,
    Version,
    /// A constant.
    Text(&'static str),
    /// Random UUID: the boot's, or a new one each time.
    Uuid {
        boot: bool,
    },
    // Of a process or thread.
    Name,
    Areas,
    Limits,
    Statm,
    Stat,
    Status,
    Arguments,
    MountInformation,
    Io,
}

/// Something in a directory table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Directory(Directory),
    Leaf(Leaf),
    /// A link with this target.
    Link(&'static str),
    /// A link to the caller's own directory, or its thread's.
    Own {
        thread: bool,
    },
    /// A link that only the process's own library can tell.
    Private,
}

/// A directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Directory {
    Root,
    Sys,
    SysKernel,
    SysRandom,
    SysVm,
    SysFs,
    SysNet,
    SysNetCore,
    Process,
    Net,
    Tasks,
    Thread,
    Descriptors,
}

type Table = &'static [(&'static str, Entry)];

const fn leaf(leaf: Leaf) -> Entry {
    Entry::Leaf(leaf)
}

const fn text(text: &'static str) -> Entry {
    Entry::Leaf(Leaf::Text(text))
}

/// Entries of the root, besides one directory for each process.
const ROOT: Table = &[
    ("self", Entry::Own { thread: false }),
    ("thread-self", Entry::Own { thread: true }),
    ("buddyinfo", leaf(Leaf::Buddy)),
    ("cmdline", leaf(Leaf::CommandLine)),
    ("cpuinfo", leaf(Leaf::CpuInformation)),
    ("devices", leaf(Leaf::Devices)),
    ("diskstats", leaf(Leaf::Empty)),
    ("filesystems", leaf(Leaf::FileSystems)),
    ("loadavg", leaf(Leaf::Load)),
    ("meminfo", leaf(Leaf::Memory)),
    ("modules", leaf(Leaf::Empty)),
    ("mounts", Entry::Link("self/mounts")),
    ("net", Entry::Link("self/net")),
    ("partitions", text("major minor  #blocks  name\n\n")),
    ("stat", leaf(Leaf::Statistics)),
    ("swaps", leaf(Leaf::Swaps)),
    ("sys", Entry::Directory(Directory::Sys)),
    ("uptime", leaf(Leaf::Uptime)),
    ("version", leaf(Leaf::Version)),
];

const SYS: Table = &[
    ("fs", Entry::Directory(Directory::SysFs)),
    ("kernel", Entry::Directory(Directory::SysKernel)),
    ("net", Entry::Directory(Directory::SysNet)),
    ("vm", Entry::Directory(Directory::SysVm)),
];

const SYS_KERNEL: Table = &[
    ("cap_last_cap", text("40\n")),
    ("core_pattern", text("core\n")),
    ("domainname", text("(none)\n")),
    ("hostname", text("baton\n")),
    ("msgmax", text("8192\n")),
    ("msgmnb", text("16384\n")),
    ("ngroups_max", text("65536\n")),
    ("osrelease", text("6.1.0-baton\n")),
    ("ostype", text("Linux\n")),
    ("panic", text("0\n")),
    ("pid_max", text("32768\n")),
    ("printk", text("4\t4\t1\t7\n")),
    ("random", Entry::Directory(Directory::SysRandom)),
    ("randomize_va_space", text("0\n")),
    ("sem", text("32000\t1024000000\t500\t32000\n")),
    ("shmall", text("18446744073692774399\n")),
    ("shmmax", text("18446744073692774399\n")),
    ("shmmni", text("4096\n")),
    ("tainted", text("0\n")),
    ("threads-max", text("8192\n")),
    ("version", text("#1 SMP Baton\n")),
];

const SYS_RANDOM: Table = &[
    ("boot_id", leaf(Leaf::Uuid { boot: true })),
    ("entropy_avail", text("256\n")),
    ("poolsize", text("256\n")),
    ("uuid", leaf(Leaf::Uuid { boot: false })),
];

const SYS_VM: Table = &[
    ("max_map_count", text("65530\n")),
    ("mmap_min_addr", text("65536\n")),
    ("nr_hugepages", text("0\n")),
    ("overcommit_memory", text("2\n")),
    ("overcommit_ratio", text("100\n")),
    ("swappiness", text("0\n")),
];

const SYS_FS: Table = &[
    ("file-max", text("65536\n")),
    ("file-nr", text("0\t0\t65536\n")),
    ("nr_open", text("1048576\n")),
    ("pipe-max-size", text("1048576\n")),
];

const SYS_NET: Table = &[("core", Entry::Directory(Directory::SysNetCore))];
const SYS_NET_CORE: Table = &[("somaxconn", text("4096\n"))];

const PROCESS: Table = &[
    ("auxv", leaf(Leaf::Empty)),
    ("cgroup", text("0::/\n")),
    ("cmdline", leaf(Leaf::Arguments)),
    ("comm", leaf(Leaf::Name)),
    ("cwd", Entry::Private),
    ("environ", leaf(Leaf::Empty)),
    ("exe", Entry::Private),
    ("fd", Entry::Directory(Directory::Descriptors)),
    ("io", leaf(Leaf::Io)),
    ("limits", leaf(Leaf::Limits)),
    ("loginuid", text("4294967295")),
    ("maps", leaf(Leaf::Areas)),
    ("mountinfo", leaf(Leaf::MountInformation)),
    ("mounts", leaf(Leaf::Mounts)),
    ("net", Entry::Directory(Directory::Net)),
    ("oom_adj", text("0\n")),
    ("oom_score", text("0\n")),
    ("oom_score_adj", text("0\n")),
    ("root", Entry::Link("/")),
    ("stat", leaf(Leaf::Stat)),
    ("statm", leaf(Leaf::Statm)),
    ("status", leaf(Leaf::Status)),
    ("task", Entry::Directory(Directory::Tasks)),
    ("wchan", text("0")),
];

const THREAD: Table = &[
    ("cmdline", leaf(Leaf::Arguments)),
    ("comm", leaf(Leaf::Name)),
    ("limits", leaf(Leaf::Limits)),
    ("maps", leaf(Leaf::Areas)),
    ("stat", leaf(Leaf::Stat)),
    ("statm", leaf(Leaf::Statm)),
    ("status", leaf(Leaf::Status)),
];

const NET: Table = &[
    (
        "dev",
        text(
            "Inter-|   Receive                                                |  Transmit\n \
             face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n",
        ),
    ),
    ("route", text("Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n")),
    ("tcp", text("  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n")),
    (
        "udp",
        text(
            "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n",
        ),
    ),
    ("unix", text("Num       RefCount Protocol Flags    Type St Inode Path\n")),
];

impl Directory {
    /// What is always in it.
    pub(crate) const fn table(self) -> Table {
        match self {
            Self::Root => ROOT,
            Self::Sys => SYS,
            Self::SysKernel => SYS_KERNEL,
            Self::SysRandom => SYS_RANDOM,
            Self::SysVm => SYS_VM,
            Self::SysFs => SYS_FS,
            Self::SysNet => SYS_NET,
            Self::SysNetCore => SYS_NET_CORE,
            Self::Process => PROCESS,
            Self::Net => NET,
            Self::Thread => THREAD,
            Self::Tasks | Self::Descriptors => &[],
        }
    }

    const fn parent(self) -> Self {
        match self {
            Self::Root | Self::Sys | Self::Process => Self::Root,
            Self::SysKernel | Self::SysVm | Self::SysFs | Self::SysNet => Self::Sys,
            Self::SysRandom => Self::SysKernel,
            Self::SysNetCore => Self::SysNet,
            Self::Net | Self::Tasks | Self::Descriptors => Self::Process,
            Self::Thread => Self::Tasks,
        }
    }
}

/// A place in /proc.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// Process, or 0.
    pub(crate) pid: u32,
    /// Thread, or 0.
    pub(crate) tid: u32,
    pub(crate) entry: Entry,
    /// Position in its directory's table, for inode numbers.
    pub(crate) index: u8,
}

impl Node {
    pub(crate) const ROOT: Self = Self { pid: 0, tid: 0, entry: Entry::Directory(Directory::Root), index: 0 };

    /// Type and permissions.
    pub(crate) const fn mode(&self) -> u32 {
        match self.entry {
            Entry::Directory(Directory::Descriptors) => mode::DIRECTORY | 0o500,
            Entry::Directory(_) => mode::DIRECTORY | 0o555,
            Entry::Leaf(_) => mode::FILE | 0o444,
            Entry::Link(_) | Entry::Own { .. } | Entry::Private => mode::LINK | 0o777,
        }
    }

    /// A number of its own.
    pub(crate) const fn inode(&self) -> u64 {
        let kind = match self.entry {
            Entry::Directory(directory) => 1 + directory as u64,
            _ => 32 + self.index as u64,
        };
        // Entries of different directories with one index differ by what `kind` cannot: the text they show. That is enough for tools.
        (self.pid as u64) << 40 | (self.tid as u64 & 0xff_ffff) << 16 | kind << 4 | 1
    }

    /// Where `..` leads.
    pub(crate) const fn parent(&self) -> Self {
        let Entry::Directory(directory) = self.entry else {
            return Self::ROOT;
        };
        let parent = directory.parent();
        let (pid, tid) = match parent {
            Directory::Process | Directory::Tasks => (self.pid, 0),
            _ => (0, 0),
        };
        Self { pid, tid, entry: Entry::Directory(parent), index: 0 }
    }

    /// The directory of a process.
    pub(crate) const fn process(pid: u32) -> Self {
        Self { pid, tid: 0, entry: Entry::Directory(Directory::Process), index: 0 }
    }

    /// The directory of a thread.
    pub(crate) const fn thread(pid: u32, tid: u32) -> Self {
        Self { pid, tid, entry: Entry::Directory(Directory::Thread), index: 0 }
    }

    /// Entry number `index` of a directory's table.
    pub(crate) fn entry(&self, index: usize) -> Option<(&'static str, Self)> {
        let Entry::Directory(directory) = self.entry else {
            return None;
        };
        let &(name, entry) = directory.table().get(index)?;
        let node = Self {
            pid: self.pid,
            tid: self.tid,
            entry,
            // A directory is told by what it is.
            index: if matches!(entry, Entry::Directory(_)) { 0 } else { index as u8 },
        };
        Some((name, node))
    }
}

/// Who exists.
pub(crate) trait Census {
    fn has_process(&self, pid: u32) -> bool;
    fn has_thread(&self, pid: u32, tid: u32) -> bool;
}

/// The tree as one caller sees it.
pub(crate) struct Tree<'a, C> {
    pub(crate) census: &'a C,
    /// The caller's pid.
    pub(crate) caller: u32,
}

/// A decimal number without a leading zero.
fn number(name: &[u8]) -> Option<u32> {
    if name.is_empty() || name.len() > 9 || name[0] == b'0' {
        return None;
    }
    name.iter().try_fold(0u32, |value, &digit| {
        let digit = digit.checked_sub(b'0').filter(|&digit| digit < 10)?;
        Some(value * 10 + u32::from(digit))
    })
}

impl<C: Census> Tree<'_, C> {
    /// A link's target.
    pub(crate) fn target(&self, node: Node) -> Option<Vec<u8>> {
        match node.entry {
            Entry::Link(target) => Some(target.as_bytes().to_vec()),
            Entry::Own { thread: false } => Some(alloc::format!("{}", self.caller).into_bytes()),
            Entry::Own { thread: true } => Some(alloc::format!("{0}/task/{0}", self.caller).into_bytes()),
            _ => None,
        }
    }
}

impl<C: Census> Walk for Tree<'_, C> {
    type Node = Node;

    fn root(&self) -> Node {
        Node::ROOT
    }

    fn child(&self, directory: Node, name: &[u8]) -> Result<Option<Node>, Errno> {
        let Entry::Directory(kind) = directory.entry else {
            return Err(Errno::ENOTDIR);
        };
        if let Some(index) = kind.table().iter().position(|entry| entry.0.as_bytes() == name) {
            return Ok(directory.entry(index).map(|(_, node)| node));
        }
        Ok(match (kind, number(name)) {
            (Directory::Root, Some(pid)) => self.census.has_process(pid).then(|| Node::process(pid)),
            (Directory::Tasks, Some(tid)) => {
                self.census.has_thread(directory.pid, tid).then(|| Node::thread(directory.pid, tid))
            }
            _ => None,
        })
    }

    fn step(&self, node: Node) -> Step {
        match node.entry {
            Entry::Directory(_) => Step::Directory,
            Entry::Leaf(_) => Step::Leaf,
            // A link that cannot be followed: whoever tries gets ENOENT, as for a kernel thread's.
            _ => match self.target(node) {
                Some(target) => Step::Link(target),
                None => Step::Leaf,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::resource_manager::Refusal;
    use protocol::resource_manager::resolve::resolve;

    struct Few;

    impl Census for Few {
        fn has_process(&self, pid: u32) -> bool {
            pid == 1 || pid == 42
        }
        fn has_thread(&self, pid: u32, tid: u32) -> bool {
            pid == 42 && (tid == 42 || tid == 43)
        }
    }

    fn walk(path: &str, follow: bool) -> Result<Option<Node>, Refusal> {
        let tree = Tree { census: &Few, caller: 42 };
        resolve(&tree, path.as_bytes(), follow).map(|place| place.node)
    }

    #[test]
    fn processes_and_threads_are_found() {
        assert_eq!(walk("1", true), Ok(Some(Node::process(1))));
        assert_eq!(walk("2", true), Ok(None));
        assert_eq!(walk("01", true), Ok(None));
        assert_eq!(walk("42/task/43", true), Ok(Some(Node::thread(42, 43))));
        assert_eq!(walk("1/task/43", true), Ok(None));
        let stat = walk("42/stat", true).unwrap().unwrap();
        assert_eq!((stat.pid, stat.entry), (42, Entry::Leaf(Leaf::Stat)));
        let stat = walk("42/task/43/stat", true).unwrap().unwrap();
        assert_eq!((stat.pid, stat.tid), (42, 43));
    }

    #[test]
    fn self_leads_to_the_caller() {
        assert_eq!(walk("self/stat", true), Err(Refusal::redirect(b"42/stat".to_vec())));
        assert_eq!(walk("thread-self", true), Err(Refusal::redirect(b"42/task/42".to_vec())));
        assert_eq!(walk("mounts", true), Err(Refusal::redirect(b"self/mounts".to_vec())));
        assert!(walk("self", false).unwrap().is_some());
        assert_eq!(walk("1/root/x", true), Err(Refusal::redirect(b"/x".to_vec())));
    }

    #[test]
    fn parents_lead_up() {
        let random = walk("sys/kernel/random", true).unwrap().unwrap();
        assert_eq!(random.parent(), walk("sys/kernel", true).unwrap().unwrap());
        assert_eq!(Node::thread(42, 43).parent(), walk("42/task", true).unwrap().unwrap());
        assert_eq!(walk("42/task", true).unwrap().unwrap().parent(), Node::process(42));
        assert_eq!(Node::process(42).parent(), Node::ROOT);
    }

    #[test]
    fn tables_are_sorted_enough_and_fit() {
        for directory in [Directory::Root, Directory::SysKernel, Directory::Process, Directory::Thread, Directory::Net]
        {
            let names: Vec<_> = directory.table().iter().map(|entry| entry.0).collect();
            assert!(names.len() < 64 && names.iter().all(|name| !name.is_empty()));
            for (at, name) in names.iter().enumerate() {
                assert!(!names[..at].contains(name), "{name}");
            }
        }
    }
}
