//! The figures to beat: what other systems need for the same, measured once on the same emulated machine.
//!
//! Linux 6.1 (Debian's cloud kernel, mitigations off) and seL4 16.0.0-dev, QEMU 7.2, one processor, `-icount shift=0,sleep=off`: one tick
//! of the time-stamp counter is one instruction. Linux on `-cpu qemu64`, which copies as old processors do; on `-cpu max` the counter
//! charges `rep movsb` an instruction a byte.

/// Another system's figure for a row.
#[derive(Clone, Copy, Debug)]
pub struct Baseline {
    /// The row.
    pub name: &'static str,
    /// Its value there.
    pub value: u64,
    /// Where.
    pub system: &'static str,
    /// The most that we allow ourselves, if a test guards it.
    pub bound: Option<u64>,
}

const fn linux(name: &'static str, value: u64) -> Baseline {
    Baseline { name, value, system: "Linux", bound: Some(2 * value) }
}

/// For comparison only.
const fn shown(name: &'static str, value: u64, system: &'static str) -> Baseline {
    Baseline { name, value, system, bound: None }
}

/// All that is compared.
pub const BASELINES: &[Baseline] = &[
    // seL4's own null system call is of a benchmark kernel; a program of Linux's has nothing smaller than getpid.
    Baseline { name: "null_call", value: 312, system: "Linux getpid", bound: Some(624) },
    Baseline { name: "ipc_round_trip_0", value: 423, system: "seL4", bound: Some(600) },
    shown("ipc_round_trip_4w", 465, "seL4"),
    Baseline { name: "ipc_round_trip_64b", value: 10_092, system: "Linux pipe", bound: Some(20_184) },
    shown("ipc_round_trip_512b", 2_257, "seL4"),
    Baseline { name: "ipc_round_trip_4k", value: 12_002, system: "Linux pipe", bound: Some(24_004) },
    Baseline { name: "ipc_round_trip_64k", value: 93_158, system: "Linux pipe", bound: Some(186_316) },
    shown("pulse_no_waiter", 385, "seL4"),
    Baseline { name: "kernel_image_bytes", value: 114_714, system: "seL4 text", bound: Some(60_000) },
    linux("boot_to_shell", 1_527_000_000),
    linux("memory_at_shell_bytes", 63_700_000),
    linux("getpid", 312),
    linux("pipe_round_trip_1b", 10_050),
    linux("pipe_round_trip_4k", 12_002),
    linux("read_1b", 1_340),
    linux("read_4k", 1_808),
    linux("open_close", 5_950),
    linux("stat", 3_890),
    linux("mmap_touch_munmap", 17_455),
    linux("fork_wait", 141_688),
    linux("fork_exec_wait", 343_000),
    linux("vfork_exec_wait", 246_000),
];

/// What a row is compared with.
#[must_use]
pub fn find(name: &str) -> Option<&'static Baseline> {
    BASELINES.iter().find(|baseline| baseline.name == name)
}
