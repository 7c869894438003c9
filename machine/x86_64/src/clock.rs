//! The clock is the time-stamp counter; the alarm is the local APIC's timer. Both are measured against the interval timer
//! (8254) at boot, as no leaf of `cpuid` tells their rates on the machines we start with.

use core::cell::Cell;

use crate::apic::Apic;
use crate::pic::{self, Pic};
use crate::processor;
use crate::ticks::{self, Rate};
use crate::trap;

const CHANNEL_0: u16 = 0x40;
const CONTROL: u16 = 0x43;
/// Channel 0, both bytes, mode 0: count down once, then interrupt and count on from 0xffff.
const ONE_SHOT: u8 = 0x30;
const LATCH: u8 = 0x00;
const PIT_LINE: u32 = 0;

/// Counts of the two measurements, 2 and 20 ms. The first one guards the second: the interval timer wraps after 55 ms, and
/// a host that let us wait so long would make the processor look slow.
const GUARD_COUNTS: u16 = 2_386;
const COUNTS: u16 = 23_864;

/// An alarm that never comes.
const NEVER: u64 = u64::MAX;
/// The timer interrupts this long after it was set, ns, or later: however many alarms are due, programs and other interrupts
/// have their turn between them. The alarms that the kernel handles in one go take it about as long.
const LEAD: u64 = 3_000;

/// One instant on three clocks.
struct Instant {
    time_stamp: u64,
    apic: u32,
    pit: u16,
}

impl Instant {
    /// Read all three. A host may stop us between any two readings: the tightest of several attempts counts.
    #[unsafe(link_section = ".boot.text")]
    fn read(apic: &Apic) -> Self {
        let mut best = Self { time_stamp: 0, apic: 0, pit: 0 };
        let mut width = u64::MAX;
        for _ in 0..8 {
            let before = processor::time_stamp();
            processor::out8(CONTROL, LATCH);
            let after = processor::time_stamp();
            let count = apic.count();
            let last = processor::time_stamp();
            let low = processor::in8(CHANNEL_0);
            let high = processor::in8(CHANNEL_0);
            if last - before < width {
                width = last - before;
                best = Self {
                    time_stamp: before + (after - before) / 2,
                    apic: count,
                    pit: u16::from_le_bytes([low, high]),
                };
            }
        }
        best
    }
}

/// Ticks a second of the time-stamp counter and of the APIC's timer, measured over `counts` of the interval timer; 0 if it
/// has to be done again.
#[unsafe(link_section = ".boot.text")]
fn measure(pic: &Pic, apic: &Apic, counts: u16) -> (u64, u64) {
    apic.start_silent_count();
    let [low, high] = counts.to_le_bytes();
    processor::out8(CONTROL, ONE_SHOT);
    processor::out8(CHANNEL_0, low);
    processor::out8(CHANNEL_0, high);
    let start = Instant::read(apic);
    pic.unmask(PIT_LINE, true);
    // Waiting halted costs an emulator nothing: it skips to the interrupt.
    while trap::idle() != pic::FIRST_VECTOR + u64::from(PIT_LINE) {}
    pic.take(PIT_LINE);
    let end = Instant::read(apic);
    let elapsed = u64::from(start.pit.wrapping_sub(end.pit));
    if elapsed < u64::from(counts - counts / 8) {
        // An interrupt that the firmware's timer had left behind.
        return (0, 0);
    }
    (
        ticks::frequency_hz(end.time_stamp - start.time_stamp, elapsed),
        ticks::frequency_hz(u64::from(start.apic.wrapping_sub(end.apic)), elapsed),
    )
}

/// The clock and the alarm of a CPU.
pub(crate) struct Clock {
    pub(crate) rate: Rate,
    timer_hz: u64,
    apic: Apic,
    /// When the timer will interrupt.
    armed: Cell<u64>,
    /// When the kernel wants its alarm: not before `armed`. A later alarm leaves the timer alone; it is set again when it
    /// has interrupted too early. So a deadline that moves away again and again costs no device access.
    wanted: Cell<u64>,
}

impl Clock {
    /// Measure; time 0 is `base` on the time-stamp counter.
    #[unsafe(link_section = ".boot.text")]
    pub(crate) fn new(pic: &Pic, base: u64) -> Self {
        let apic = Apic::new();
        let (time_stamp, timer) = loop {
            let (guard, _) = measure(pic, &apic, GUARD_COUNTS);
            let (time_stamp, timer) = measure(pic, &apic, COUNTS);
            if guard.abs_diff(time_stamp) < time_stamp / 64 {
                break (time_stamp, timer);
            }
        };
        apic.enable_timer();
        Self {
            rate: Rate::new(base, time_stamp),
            timer_hz: timer,
            apic,
            armed: Cell::new(NEVER),
            wanted: Cell::new(NEVER),
        }
    }

    #[inline]
    pub(crate) fn now(&self) -> u64 {
        self.rate.nanoseconds(processor::time_stamp())
    }

    #[inline]
    pub(crate) fn set_alarm(&self, at_ns: u64) {
        self.wanted.set(at_ns);
        self.arm(at_ns);
    }

    /// Have the timer interrupt at this time, unless it will earlier.
    fn arm(&self, at_ns: u64) {
        let now = self.now();
        let at_ns = at_ns.max(now + LEAD);
        if at_ns >= self.armed.get() {
            return;
        }
        self.armed.set(at_ns);
        if self.apic.has_deadlines() {
            self.apic.set_deadline(self.rate.reading(at_ns));
        } else {
            let ticks = ticks::ticks(self.timer_hz, at_ns - now);
            self.apic.set_count(ticks.min(u64::from(u32::MAX)) as u32);
        }
    }

    /// The timer has interrupted; whether the alarm's time has come.
    pub(crate) fn timer_interrupt(&self) -> bool {
        self.apic.acknowledge();
        self.armed.set(NEVER);
        let wanted = self.wanted.get();
        if wanted == NEVER {
            return false;
        }
        if self.now() < wanted {
            self.arm(wanted);
            return false;
        }
        self.wanted.set(NEVER);
        true
    }

    /// Another kind of interrupt of the APIC's was taken.
    pub(crate) fn acknowledge(&self) {
        self.apic.acknowledge();
    }
}
