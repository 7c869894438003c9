//! What runs: every program with the handles it gets, where it is mounted, its priority, and what happens when it ends.
//!
//! Programs start in the order of this list, each after its gate and all others exist, so that an early one may call a later one.
//! The order in which services may call each other is another matter: see `docs/user-space.md`.

use abi::Quota;
use protocol::process::native_flags;

/// A handle or number that a program finds in its start record, besides what all get: `gate`, `thread`, `process`, `log`, and
/// the number `priority`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grant {
    /// I/O ports: base and how many. `ports`.
    Ports(u64, u64),
    /// A 16-byte-a-call output port for the log. `debug-port`.
    DebugPort,
    /// Interrupt lines: base and how many. `interrupts`, and the number `line`: the first.
    Interrupts(u64, u64),
    /// Device memory. `devices`.
    Devices,
    /// The boot archive. `archive`, and the number `archive-length`.
    Archive,
    /// All RAM: `ram0` … and what `protocol::process` says besides.
    Ram,
    /// A connection to another program's gate, with this name and badge.
    Connection(&'static str, &'static str, u64),
    /// A connection to the path service. `path`.
    Path,
    /// A connection to the registry of the program's own. `registry`.
    Registry,
    /// A connection to init with these rights ([`init_rights`]). `init`.
    Init(u64),
    /// When the kernel was entered: the number `entry-tsc`.
    EntryTime,
    /// The ring of the kernel's trace, to read and to switch. `trace`.
    Trace,
    /// A pulse by which init hears of signals to pid 1. `init-signals`.
    Signals,
    /// A number.
    Number(&'static str, u64),
}

/// What a connection to init permits: bits of its badge.
pub(crate) mod init_rights {
    /// To end the machine.
    pub(crate) const POWER: u64 = 1;
    /// To end services.
    pub(crate) const KILL: u64 = 2;
}

/// What happens when a program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    /// It is started again; later each time if it ends soon.
    Restart,
    /// Nothing.
    Once,
    /// Nothing works without it: the machine ends.
    Critical,
}

/// Where a program's mount connection is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Absolute path.
    pub(crate) prefix: &'static str,
    /// Badge of the connection.
    pub(crate) badge: u64,
}

/// A program to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// Its name, and its file's in the archive's `system/`.
    pub(crate) name: &'static str,
    /// Priority of its baton, and of its gate's reserve baton.
    pub(crate) priority: u8,
    /// What it gets.
    pub(crate) grants: &'static [Grant],
    /// Where it is mounted.
    pub(crate) mounts: &'static [Mount],
    /// What its connection to the process service permits besides.
    pub(crate) flags: u64,
    /// What happens when it ends.
    pub(crate) policy: Policy,
    /// The file of the archive without which it is not started.
    pub(crate) needs: Option<&'static str>,
    /// Bytes of stack, whole pages.
    pub(crate) stack: u64,
    /// What it may have of the kernel, besides what mapping the boot archive takes.
    pub(crate) quota: Quota,
}

/// An ordinary program's share of the kernel.
const QUOTA: Quota = Quota {
    processes: 0,
    threads: 4,
    batons: 4,
    gates: 2,
    connections: 64,
    pulses: 64,
    memories: 16,
    mappings: 256,
    pages: 32,
    priority: 255,
};

const PROGRAM: Program = Program {
    name: "",
    priority: 140,
    grants: &[],
    mounts: &[],
    flags: 0,
    policy: Policy::Restart,
    needs: None,
    stack: 64 * 1024,
    quota: QUOTA,
};

/// How long init and `process` wait for the log, which may need them to go on.
pub(crate) const LOG_WAIT_NS: u64 = 20_000_000;

impl Program {
    /// What it may have of the kernel: with page tables for the boot archive, if it maps that.
    pub(crate) fn share(&self, archive_length: u64) -> Quota {
        /// Bytes that one page table covers.
        const TABLE_SPAN: u64 = 2 << 20;
        let maps_archive = self.grants.iter().any(|grant| matches!(grant, Grant::Archive));
        let tables = if maps_archive { archive_length.div_ceil(TABLE_SPAN) + 1 } else { 0 };
        Quota { pages: self.quota.pages + tables as u32, ..self.quota }
    }

    /// Whether it has a connection to the program with this name that it keeps things open through.
    pub(crate) fn depends_on(&self, name: &str) -> bool {
        self.grants.iter().any(|grant| matches!(grant, Grant::Connection(_, to, _) if *to == name))
    }
}

/// Name of the program that everything else gets its memory from; second in the list.
pub(crate) const PROCESS: &str = "process";
/// Name of the program that mounts are told to.
pub(crate) const PATH: &str = "path";
/// Name of the program that log lines go to; first in the list.
pub(crate) const LOG: &str = "log";
/// Name of the program that keeps services by UUID.
pub(crate) const REGISTRY: &str = "registry";

/// Where init itself is mounted, to end the machine only.
pub(crate) const INIT_MOUNT: Mount = Mount { prefix: "/dev/init", badge: init_rights::POWER };

/// The list.
pub(crate) const PROGRAMS: &[Program] = &[
    Program {
        name: LOG,
        priority: 150,
        grants: &[Grant::DebugPort],
        mounts: &[Mount { prefix: "/dev/log", badge: 0 }],
        ..PROGRAM
    },
    Program {
        name: PROCESS,
        priority: 160,
        grants: &[Grant::Ram, Grant::Archive, Grant::Path, Grant::Signals, Grant::Number("log-wait-ns", LOG_WAIT_NS)],
        policy: Policy::Critical,
        stack: 256 * 1024,
        ..PROGRAM
    },
    Program { name: REGISTRY, priority: 150, ..PROGRAM },
    Program { name: PATH, priority: 150, stack: 128 * 1024, ..PROGRAM },
    Program {
        name: "memfs",
        grants: &[Grant::Archive],
        mounts: &[Mount { prefix: "/", badge: 0 }],
        stack: 128 * 1024,
        quota: Quota { mappings: 16384, pages: 448, pulses: 256, ..QUOTA },
        ..PROGRAM
    },
    Program {
        name: "bootfs",
        grants: &[Grant::Archive],
        mounts: &[Mount { prefix: "/boot", badge: 0 }, Mount { prefix: "/bin", badge: 1 }],
        stack: 128 * 1024,
        ..PROGRAM
    },
    Program { name: "pipe", mounts: &[Mount { prefix: "/dev/pipe", badge: 0 }], stack: 128 * 1024, ..PROGRAM },
    Program {
        name: "device",
        grants: &[Grant::Path],
        mounts: &[Mount { prefix: "/dev", badge: 0 }],
        stack: 128 * 1024,
        ..PROGRAM
    },
    Program {
        name: "clock",
        priority: 180,
        grants: &[Grant::Ports(0x70, 2)],
        flags: native_flags::CLOCK,
        policy: Policy::Once,
        ..PROGRAM
    },
    Program { name: "serial", priority: 190, grants: &[Grant::Ports(0x3f8, 8), Grant::Interrupts(4, 1)], ..PROGRAM },
    Program {
        name: "virtio-serial",
        priority: 190,
        grants: &[Grant::Ports(0xcf8, 8), Grant::Interrupts(0, 16), Grant::Devices, Grant::Registry],
        mounts: &[Mount { prefix: "/dev/virtio", badge: 0 }],
        stack: 128 * 1024,
        ..PROGRAM
    },
    Program {
        name: "console",
        priority: 170,
        grants: &[Grant::Connection("line", "serial", 0)],
        mounts: &[Mount { prefix: "/dev/console", badge: 0 }, Mount { prefix: "/dev/tty", badge: 1 }],
        flags: native_flags::CONSOLE,
        stack: 128 * 1024,
        ..PROGRAM
    },
    Program {
        name: "procfs",
        mounts: &[Mount { prefix: "/proc", badge: 0 }],
        grants: &[Grant::Path],
        flags: native_flags::TOOLS,
        stack: 128 * 1024,
        ..PROGRAM
    },
    Program {
        name: "launch",
        priority: 130,
        grants: &[Grant::Archive, Grant::Path, Grant::Init(init_rights::POWER), Grant::EntryTime, Grant::Trace],
        flags: native_flags::SPAWN,
        policy: Policy::Once,
        stack: 256 * 1024,
        ..PROGRAM
    },
    Program {
        name: "hostile",
        // It only has to see to it that its processes, which are as strong as ordinary programs, end.
        priority: 100,
        grants: &[Grant::Archive],
        policy: Policy::Once,
        needs: Some(abi::archive::HOSTILE_ORDER),
        quota: Quota { processes: 4, threads: 12, batons: 16, gates: 8, mappings: 512, pages: 192, ..QUOTA },
        ..PROGRAM
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_makes_sense() {
        assert_eq!((PROGRAMS[0].name, PROGRAMS[1].name), (LOG, PROCESS));
        for (index, program) in PROGRAMS.iter().enumerate() {
            assert!(program.name.len() <= runtime::start::NAME);
            assert!(PROGRAMS[..index].iter().all(|other| other.name != program.name));
            assert_eq!(program.stack % abi::PAGE_SIZE, 0);
            for grant in program.grants {
                if let Grant::Connection(_, to, _) = grant {
                    assert!(PROGRAMS.iter().any(|other| other.name == *to), "{to}");
                }
            }
        }
        for name in [PATH, LOG, REGISTRY] {
            assert!(PROGRAMS.iter().any(|program| program.name == name));
        }
    }
}
