//! The figures to beat, and the bars: what other systems need for the same, measured once on the same emulated machine, and what
//! we allow ourselves.
//!
//! Linux 6.1 (Debian's cloud kernel, mitigations off) and seL4 16.0.0-dev, QEMU 7.2, one processor, `-icount shift=0,sleep=off`: one tick
//! of the time-stamp counter is one instruction. Linux on `-cpu qemu64`, which copies as old processors do; on `-cpu max` the counter
//! charges `rep movsb` an instruction a byte.

/// Another system's figure for a row, and our bar.
#[derive(Clone, Copy, Debug)]
pub struct Baseline {
    /// The row.
    pub name: &'static str,
    /// Its value elsewhere, and where.
    pub other: Option<(f64, &'static str)>,
    /// What we allow ourselves, if a test guards it.
    pub bar: Option<Bar>,
}

/// What a figure must keep to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bar {
    /// The most that it may be.
    AtMost(f64),
    /// It and how far it may be off.
    Near(f64, f64),
}

impl Bar {
    /// Whether a value keeps to it.
    #[must_use]
    pub fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::Near(middle, off) => (value - middle).abs() <= off,
        }
    }
}

impl std::fmt::Display for Bar {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtMost(most) => write!(formatter, "{most}"),
            Self::Near(middle, off) => write!(formatter, "{middle:.2}±{off:.2}"),
        }
    }
}

/// A POSIX call: twice what Linux needs.
const fn linux(name: &'static str, value: f64) -> Baseline {
    Baseline { name, other: Some((value, "Linux")), bar: Some(Bar::AtMost(2.0 * value)) }
}

/// A row of the kernel's with its bar.
const fn row(name: &'static str, bar: f64, value: f64, system: &'static str) -> Baseline {
    Baseline { name, other: Some((value, system)), bar: Some(Bar::AtMost(bar)) }
}

/// With nothing to compare it with.
const fn alone(name: &'static str, bar: f64) -> Baseline {
    Baseline { name, other: None, bar: Some(Bar::AtMost(bar)) }
}

/// Half of the processor. Linux's figure is that of its pipe under SCHED_RR, and of the hog beside it.
const fn half(name: &'static str, value: f64) -> Baseline {
    Baseline { name, other: Some((value, "Linux SCHED_RR")), bar: Some(Bar::Near(0.5, 0.02)) }
}

/// A share of the processor, with nothing to compare it with.
const fn share(name: &'static str, middle: f64, off: f64) -> Baseline {
    Baseline { name, other: None, bar: Some(Bar::Near(middle, off)) }
}

/// All that is compared.
pub const BASELINES: &[Baseline] = &[
    row("null_call", 90.0, 82.0, "seL4"),
    row("ipc_round_trip_0", 300.0, 423.0, "seL4"),
    row("ipc_round_trip_4w", 300.0, 465.0, "seL4"),
    row("ipc_round_trip_passive_nested", 620.0, 1_050.0, "seL4 MCS, twice 0 words"),
    row("ipc_round_trip_64b", 650.0, 10_092.0, "Linux pipe"),
    row("ipc_round_trip_512b", 900.0, 2_237.0, "seL4"),
    row("ipc_round_trip_4k", 1_900.0, 12_002.0, "Linux pipe"),
    row("ipc_round_trip_64k", 11_000.0, 93_158.0, "Linux pipe"),
    row("pulse_no_waiter", 250.0, 385.0, "seL4"),
    row("pulse_wakes_lower", 500.0, 643.0, "seL4"),
    row("pulse_to_higher", 450.0, 540.0, "seL4"),
    row("switch_round_trip", 420.0, 515.0, "seL4"),
    alone("interrupt_to_driver", 600.0),
    row("fault_to_pager", 1_500.0, 2_717.0, "Linux, in its kernel"),
    row("foreign_call", 80.0, 312.0, "Linux getpid"),
    alone("thread_cycle", 5_000.0),
    alone("process_cycle", 25_000.0),
    half("fair_share_pair", 1.0 / 18_829.0),
    half("fair_share_hog", 0.96),
    share("share_beside_alarms", 1.0, 0.02),
    share("share_beside_alarms_received", 0.5, 0.15),
    row("kernel_image_bytes", 60_000.0, 114_714.0, "seL4 text"),
    alone("worst_callers", 10_000.0),
    alone("worst_chain", 10_000.0),
    alone("worst_copy", 10_000.0),
    alone("worst_teardown", 10_000.0),
    alone("worst_alarms", 10_000.0),
    alone("worst_cancel", 10_000.0),
    alone("worst_storm", 10_000.0),
    alone("worst_web", 10_000.0),
    alone("worst_tree", 10_000.0),
    alone("worst_entry", 10_000.0),
    linux("boot_to_shell", 1_527_000_000.0),
    linux("memory_at_shell_bytes", 63_700_000.0),
    linux("getpid", 312.0),
    linux("pipe_round_trip_1b", 10_050.0),
    linux("pipe_round_trip_4k", 12_002.0),
    linux("read_1b", 1_340.0),
    linux("read_4k", 1_808.0),
    linux("open_close", 5_950.0),
    linux("stat", 3_890.0),
    linux("mmap_touch_munmap", 17_455.0),
    linux("fork_wait", 141_688.0),
    linux("fork_exec_wait", 343_000.0),
    linux("vfork_exec_wait", 246_000.0),
];

/// What a row is compared with.
#[must_use]
pub fn find(name: &str) -> Option<&'static Baseline> {
    BASELINES.iter().find(|baseline| baseline.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_hold_up_to_their_ends() {
        assert!(Bar::AtMost(3.0).holds(3.0) && !Bar::AtMost(3.0).holds(3.1));
        let half = Bar::Near(0.5, 0.02);
        assert!(half.holds(0.481) && half.holds(0.519) && !half.holds(0.47) && !half.holds(0.53));
    }
}
