//! The texts, exactly as Linux's proc(5) has them: from records to bytes, and nothing else.

use alloc::string::String;
use core::fmt::Write;

use protocol::process::{Area, ProcessRecord, SystemRecord, ThreadRecord, map_flags};

/// Clock ticks a second, as programs are told (`sysconf(_SC_CLK_TCK)`).
const HERTZ: u64 = 100;
const NS: u64 = 1_000_000_000;
const PAGE: u64 = abi::PAGE_SIZE;

const fn ticks(ns: u64) -> u64 {
    ns / (NS / HERTZ)
}

/// The visible part of a zero-padded name.
fn name(bytes: &[u8; 16]) -> String {
    let length = bytes.iter().position(|&byte| byte == 0).unwrap_or(16);
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

/// Linux's state letter of a process.
fn letter(state: u32) -> char {
    char::from_u32(state).filter(char::is_ascii_uppercase).unwrap_or('S')
}

/// Linux's state letter of a thread.
fn thread_letter(state: u32) -> char {
    const STOPPED: u32 = 1 << 8;
    use abi::thread::State;
    if state & STOPPED != 0 {
        return 'T';
    }
    match State::from_number(state as u8) {
        Some(State::Running | State::Ready) => 'R',
        Some(State::Dead) => 'Z',
        _ => 'S',
    }
}

fn state_word(letter: char) -> &'static str {
    match letter {
        'R' => "R (running)",
        'D' => "D (disk sleep)",
        'T' => "T (stopped)",
        't' => "t (tracing stop)",
        'Z' => "Z (zombie)",
        _ => "S (sleeping)",
    }
}

/// `/proc/<pid>/stat`, or of a thread.
pub(crate) fn stat(out: &mut String, process: &ProcessRecord, thread: Option<&ThreadRecord>) {
    // The terminal's device number: whoever made it up below 256 counts consoles.
    let terminal = match process.terminal {
        0 => 0,
        number @ 1..=255 => 5 << 8 | number,
        number => number,
    };
    let (id, comm, state, cpu) = match thread {
        Some(thread) => (thread.tid, name(&thread.name), thread_letter(thread.state), thread.cpu_ns),
        None => (process.pid, name(&process.name), letter(process.state), process.cpu_ns),
    };
    let comm = if comm.is_empty() { name(&process.name) } else { comm };
    let nice = i64::from(process.nice) - 20;
    let [pending, blocked, ignored, caught] = process.signals.map(|set| set & 0x7fff_ffff);
    let foreground = if terminal == 0 { -1 } else { i64::from(process.group) };
    const SIGCHLD: u32 = 17;
    let _ = writeln!(
        out,
        "{id} ({comm}) {state} {} {} {} {terminal} {foreground} {} 0 0 0 0 {} 0 0 0 {} {nice} {} 0 {} {} {} 18446744073709551615 \
         0 0 0 0 0 {pending} {blocked} {ignored} {caught} 0 0 0 {SIGCHLD} 0 0 0 0 0 0 0 0 0 0 0 0 0 0",
        process.parent,
        process.group,
        process.session,
        // PF_KTHREAD for native programs: tools show their name in brackets.
        if process.native != 0 { 0x0020_0000 } else { 0x0040_0000 },
        ticks(cpu),
        20 + nice,
        process.threads.max(1),
        ticks(process.start_ns),
        process.virtual_bytes,
        process.resident_bytes / PAGE,
    );
}

/// `/proc/<pid>/status`.
pub(crate) fn status(out: &mut String, process: &ProcessRecord, thread: Option<&ThreadRecord>) {
    let (id, comm, state) = match thread {
        Some(thread) => (thread.tid, name(&thread.name), thread_letter(thread.state)),
        None => (process.pid, name(&process.name), letter(process.state)),
    };
    let comm = if comm.is_empty() { name(&process.name) } else { comm };
    let pair = |ids: u64| (ids as u32, (ids >> 32) as u32);
    let (user, effective_user) = pair(process.user);
    let (group, effective_group) = pair(process.group_id);
    let [pending, blocked, ignored, caught] = process.signals;
    let _ = write!(
        out,
        "Name:\t{comm}\nUmask:\t0022\nState:\t{}\nTgid:\t{}\nNgid:\t0\nPid:\t{id}\nPPid:\t{}\nTracerPid:\t0\n\
         Uid:\t{user}\t{effective_user}\t{effective_user}\t{effective_user}\n\
         Gid:\t{group}\t{effective_group}\t{effective_group}\t{effective_group}\nFDSize:\t64\nGroups:\t{group} \n\
         NStgid:\t{}\nNSpid:\t{id}\nNSpgid:\t{}\nNSsid:\t{}\n",
        state_word(state),
        process.pid,
        process.parent,
        process.pid,
        process.group,
        process.session,
    );
    // A zombie has no memory to tell of, and neither has what Linux calls a kernel thread.
    if process.virtual_bytes > 0 {
        let (size, resident) = (process.virtual_bytes / 1024, process.resident_bytes / 1024);
        for (label, value) in [
            ("VmPeak", size),
            ("VmSize", size),
            ("VmLck", 0),
            ("VmPin", 0),
            ("VmHWM", resident),
            ("VmRSS", resident),
            ("RssAnon", resident),
            ("RssFile", 0),
            ("RssShmem", 0),
            ("VmData", resident),
            ("VmStk", 132),
            ("VmExe", 4),
            ("VmLib", 8),
            ("VmPTE", 4),
            ("VmSwap", 0),
        ] {
            let _ = writeln!(out, "{label}:\t{value:8} kB");
        }
    }
    let _ = write!(
        out,
        "CoreDumping:\t0\nThreads:\t{}\nSigQ:\t0/1024\nSigPnd:\t{:016x}\nShdPnd:\t{pending:016x}\nSigBlk:\t{blocked:016x}\n\
         SigIgn:\t{ignored:016x}\nSigCgt:\t{caught:016x}\nCapInh:\t{:016x}\nCapPrm:\t{:016x}\nCapEff:\t{:016x}\n\
         CapBnd:\t{:016x}\nCapAmb:\t{:016x}\nNoNewPrivs:\t0\nSeccomp:\t0\nCpus_allowed:\t1\nCpus_allowed_list:\t0\n\
         Mems_allowed:\t1\nMems_allowed_list:\t0\nvoluntary_ctxt_switches:\t0\nnonvoluntary_ctxt_switches:\t0\n",
        process.threads.max(1),
        0,
        0,
        CAPABILITIES,
        CAPABILITIES,
        CAPABILITIES,
        0,
    );
}

const CAPABILITIES: u64 = 0x1ff_ffff_ffff;

/// `/proc/<pid>/statm`.
pub(crate) fn statm(out: &mut String, process: &ProcessRecord) {
    let (size, resident) = (process.virtual_bytes / PAGE, process.resident_bytes / PAGE);
    let _ = writeln!(out, "{size} {resident} 0 1 0 {resident} 0");
}

/// `/proc/<pid>/comm`.
pub(crate) fn comm(out: &mut String, process: &ProcessRecord, thread: Option<&ThreadRecord>) {
    let own = thread.map(|thread| name(&thread.name)).filter(|name| !name.is_empty());
    let _ = writeln!(out, "{}", own.unwrap_or_else(|| name(&process.name)));
}

/// A line of `/proc/<pid>/maps`.
pub(crate) fn area(out: &mut String, area: &Area) {
    let flags = area.access >> 8;
    let bit = |bit: u64, letter| if area.access & bit != 0 { letter } else { '-' };
    let sharing = if flags & map_flags::SHARED != 0 { 's' } else { 'p' };
    let start = out.len();
    let _ = write!(
        out,
        "{:08x}-{:08x} {}{}{}{sharing} {:08x} 00:00 0 ",
        area.start,
        area.end,
        bit(1, 'r'),
        bit(2, 'w'),
        bit(4, 'x'),
        area.offset,
    );
    if flags & map_flags::GROWS_DOWN != 0 {
        // Names start in column 73.
        while out.len() - start < 73 {
            out.push(' ');
        }
        out.push_str("[stack]");
    }
    out.push('\n');
}

/// `/proc/<pid>/limits`: soft and hard of resource 0, 1, ….
pub(crate) fn limits(out: &mut String, limits: &[(u64, u64)]) {
    const NAMES: [(&str, &str); 16] = [
        ("Max cpu time", "seconds"),
        ("Max file size", "bytes"),
        ("Max data size", "bytes"),
        ("Max stack size", "bytes"),
        ("Max core file size", "bytes"),
        ("Max resident set", "bytes"),
        ("Max processes", "processes"),
        ("Max open files", "files"),
        ("Max locked memory", "bytes"),
        ("Max address space", "bytes"),
        ("Max file locks", "locks"),
        ("Max pending signals", "signals"),
        ("Max msgqueue size", "bytes"),
        ("Max nice priority", ""),
        ("Max realtime priority", ""),
        ("Max realtime timeout", "us"),
    ];
    let _ = writeln!(out, "{:<25} {:<20} {:<20} {:<10}", "Limit", "Soft Limit", "Hard Limit", "Units");
    let text = |value: u64| match value {
        u64::MAX => String::from("unlimited"),
        value => alloc::format!("{value}"),
    };
    for ((label, unit), (soft, hard)) in NAMES.iter().zip(limits) {
        let _ = writeln!(out, "{label:<25} {:<20} {:<20} {unit:<10}", text(*soft), text(*hard));
    }
}

/// `/proc/meminfo`.
pub(crate) fn memory(out: &mut String, system: &SystemRecord) {
    let kib = |bytes: u64| bytes / 1024;
    for (label, value) in [
        ("MemTotal", kib(system.ram_total)),
        ("MemFree", kib(system.ram_free)),
        ("MemAvailable", kib(system.ram_free)),
        ("Buffers", 0),
        ("Cached", 0),
        ("SwapCached", 0),
        ("Active", kib(system.committed)),
        ("Inactive", 0),
        ("SwapTotal", 0),
        ("SwapFree", 0),
        ("Dirty", 0),
        ("Writeback", 0),
        ("AnonPages", kib(system.committed)),
        ("Mapped", 0),
        ("Shmem", 0),
        ("Slab", kib(system.arena_used)),
        ("SReclaimable", 0),
        ("SUnreclaim", kib(system.arena_used)),
        ("KernelStack", 0),
        ("PageTables", 0),
        ("CommitLimit", kib(system.ram_total)),
        ("Committed_AS", kib(system.committed)),
        ("VmallocTotal", 0),
        ("VmallocUsed", 0),
        ("HugePages_Total", 0),
        ("HugePages_Free", 0),
    ] {
        let unit = if label.starts_with("Huge") { "" } else { " kB" };
        let width = 23 - label.len();
        let _ = writeln!(out, "{label}:{value:width$}{unit}");
    }
}

/// `/proc/stat`.
pub(crate) fn statistics(out: &mut String, system: &SystemRecord, boot_seconds: u64) {
    let idle = ticks(system.idle_ns);
    let busy = ticks(system.uptime_ns).saturating_sub(idle);
    let _ = write!(
        out,
        "cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\ncpu0 {busy} 0 0 {idle} 0 0 0 0 0 0\nintr 0\nctxt 0\nbtime {boot_seconds}\n\
         processes {}\nprocs_running {}\nprocs_blocked 0\nsoftirq 0\n",
        system.forks, system.runnable,
    );
}

/// `/proc/uptime`.
pub(crate) fn uptime(out: &mut String, system: &SystemRecord) {
    let hundredths = |ns: u64| (ns / NS, ns % NS / (NS / 100));
    let ((up, up_part), (idle, idle_part)) = (hundredths(system.uptime_ns), hundredths(system.idle_ns));
    let _ = writeln!(out, "{up}.{up_part:02} {idle}.{idle_part:02}");
}

/// `/proc/loadavg`. `last`: the greatest pid.
pub(crate) fn load(out: &mut String, system: &SystemRecord, last: u32) {
    for load in system.load {
        let hundredths = (load * 100 + 0x8000) >> 16;
        let _ = write!(out, "{}.{:02} ", hundredths / 100, hundredths % 100);
    }
    let _ = writeln!(out, "{}/{} {last}", system.runnable, system.threads);
}

/// What is known of the processor.
#[derive(Clone, Debug, Default)]
pub(crate) struct Processor {
    pub(crate) vendor: String,
    pub(crate) model_name: String,
    pub(crate) family: u32,
    pub(crate) model: u32,
    pub(crate) stepping: u32,
    pub(crate) hertz: u64,
    pub(crate) flags: String,
}

/// `/proc/cpuinfo`.
pub(crate) fn processor(out: &mut String, processor: &Processor) {
    let Processor { vendor, model_name, family, model, stepping, hertz, flags } = processor;
    let (mhz, part) = (hertz / 1_000_000, hertz % 1_000_000 / 1000);
    let bogomips = hertz / 500_000;
    let _ = write!(
        out,
        "processor\t: 0\nvendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: {model}\nmodel name\t: {model_name}\n\
         stepping\t: {stepping}\ncpu MHz\t\t: {mhz}.{part:03}\nphysical id\t: 0\nsiblings\t: 1\ncore id\t\t: 0\ncpu cores\t: 1\n\
         apicid\t\t: 0\ninitial apicid\t: 0\nfpu\t\t: yes\nfpu_exception\t: yes\ncpuid level\t: 13\nwp\t\t: yes\nflags\t\t: {flags}\n\
         bogomips\t: {bogomips}.00\nclflush size\t: 64\ncache_alignment\t: 64\naddress sizes\t: 40 bits physical, 48 bits virtual\n\
         power management:\n\n",
    );
}

/// What a mount is, by its prefix: source, kind and options. `None`: a device, which is no file system.
pub(crate) fn mount_kind(prefix: &str) -> Option<(&'static str, &'static str, &'static str)> {
    Some(match prefix {
        "/" => ("memfs", "tmpfs", "rw,relatime"),
        "/boot" | "/bin" => ("bootfs", "squashfs", "ro,relatime"),
        "/dev" => ("device", "devtmpfs", "rw,nosuid"),
        "/proc" => ("proc", "proc", "rw,nosuid,nodev,noexec,relatime"),
        prefix if prefix.starts_with("/dev/") => return None,
        _ => ("none", "none", "rw"),
    })
}

/// A line of `/proc/mounts`, or of `mountinfo` (with its number).
pub(crate) fn mount(out: &mut String, prefix: &str, number: Option<usize>) {
    let Some((source, kind, options)) = mount_kind(prefix) else {
        return;
    };
    let _ = match number {
        None => writeln!(out, "{source} {prefix} {kind} {options} 0 0"),
        Some(number) => {
            let id = number + 20;
            let parent = if prefix == "/" { 1 } else { 20 };
            writeln!(out, "{id} {parent} 0:{id} / {prefix} {options} - {kind} {source} {options}")
        }
    };
}

/// A random UUID (version 4).
pub(crate) fn uuid(out: &mut String, mut random: [u8; 16]) {
    random[6] = random[6] & 0x0f | 0x40;
    random[8] = random[8] & 0x3f | 0x80;
    for (at, byte) in random.iter().enumerate() {
        if [4, 6, 8, 10].contains(&at) {
            out.push('-');
        }
        let _ = write!(out, "{byte:02x}");
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn record() -> ProcessRecord {
        let mut name = [0; 16];
        name[..4].copy_from_slice(b"sh x");
        ProcessRecord {
            pid: 42,
            parent: 1,
            group: 42,
            session: 40,
            terminal: 1,
            state: u32::from(b'S'),
            threads: 2,
            nice: 25,
            user: 5 << 32 | 7,
            group_id: 0,
            name,
            start_ns: 3_210_000_000,
            cpu_ns: 1_230_000_000,
            virtual_bytes: 40960,
            resident_bytes: 8192,
            native: 0,
            signals: [1, 2, 4, 1 << 63],
        }
    }

    #[test]
    fn stat_has_52_fields_in_their_places() {
        let mut out = String::new();
        stat(&mut out, &record(), None);
        assert!(out.starts_with("42 (sh x) S 1 42 40 1281 42 "));
        let after: Vec<_> = out.trim_end().rsplit_once(") ").unwrap().1.split(' ').collect();
        assert_eq!(after.len(), 50);
        // Field n of the manual is after[n - 3].
        let field = |number: usize| after[number - 3];
        assert_eq!((field(14), field(18), field(19), field(20)), ("123", "25", "5", "2"));
        assert_eq!((field(22), field(23), field(24)), ("321", "40960", "2"));
        assert_eq!((field(31), field(32), field(33), field(34)), ("1", "2", "4", "0"));
        assert_eq!((field(38), field(52)), ("17", "0"));
    }

    #[test]
    fn a_threads_stat_is_its_own() {
        let mut name = [0; 16];
        name[..6].copy_from_slice(b"worker");
        let thread = ThreadRecord { tid: 43, state: 1, waits_for: 0, cpu_ns: 20_000_000, name };
        let mut out = String::new();
        stat(&mut out, &record(), Some(&thread));
        assert!(out.starts_with("43 (worker) R 1 "));
    }

    #[test]
    fn status_names_what_tools_look_for() {
        let mut out = String::new();
        status(&mut out, &record(), None);
        for line in [
            "Name:\tsh x",
            "State:\tS (sleeping)",
            "Tgid:\t42",
            "Pid:\t42",
            "PPid:\t1",
            "Uid:\t7\t5\t5\t5",
            "VmSize:\t      40 kB",
            "VmRSS:\t       8 kB",
            "Threads:\t2",
            "SigCgt:\t8000000000000000",
        ] {
            assert!(out.lines().any(|have| have == line), "{line}\n{out}");
        }
    }

    #[test]
    fn maps_lines() {
        let mut out = String::new();
        area(&mut out, &Area { start: 0x40_0000, end: 0x40_1000, access: 5, offset: 0x1000 });
        area(
            &mut out,
            &Area { start: 0x7fff_f7fd_f000, end: 0x7fff_f800_0000, access: 3 | map_flags::GROWS_DOWN << 8, offset: 0 },
        );
        let lines: Vec<_> = out.lines().collect();
        assert_eq!(lines[0], "00400000-00401000 r-xp 00001000 00:00 0 ");
        assert!(lines[1].starts_with("7ffff7fdf000-7ffff8000000 rw-p 00000000 00:00 0 "));
        assert!(lines[1].ends_with(" [stack]"));
        assert_eq!(lines[1].find('['), Some(73));
    }

    #[test]
    fn figures_of_the_system() {
        let system = SystemRecord {
            ram_total: 512 << 20,
            ram_free: 400 << 20,
            uptime_ns: 12_345_678_901,
            idle_ns: 2_000_000_000,
            load: [65536, 32768, 655],
            runnable: 1,
            threads: 20,
            forks: 9,
            ..SystemRecord::default()
        };
        let mut out = String::new();
        uptime(&mut out, &system);
        load(&mut out, &system, 77);
        memory(&mut out, &system);
        statistics(&mut out, &system, 1000);
        assert!(
            out.starts_with(
                "12.34 2.00\n1.00 0.50 0.01 1/20 77\nMemTotal:         524288 kB\nMemFree:          409600 kB\n"
            ),
            "{out}"
        );
        assert!(out.contains("\ncpu  1034 0 0 200 0 0 0 0 0 0\n"), "{out}");
        assert!(out.contains("\nbtime 1000\nprocesses 9\nprocs_running 1\n"));
    }

    #[test]
    fn mounts_and_uuids_and_limits() {
        let mut out = String::new();
        for prefix in ["/", "/dev", "/dev/console", "/proc"] {
            mount(&mut out, prefix, None);
        }
        assert_eq!(
            out,
            "memfs / tmpfs rw,relatime 0 0\ndevice /dev devtmpfs rw,nosuid 0 0\nproc /proc proc rw,nosuid,nodev,noexec,relatime 0 0\n"
        );
        out.clear();
        uuid(&mut out, [0xff; 16]);
        assert_eq!(out, "ffffffff-ffff-4fff-bfff-ffffffffffff\n");
        out.clear();
        limits(&mut out, &[(1, u64::MAX)]);
        let lines: Vec<_> = out.lines().collect();
        assert_eq!(lines[1], "Max cpu time              1                    unlimited            seconds   ");
    }
}
