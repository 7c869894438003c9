//! The local interrupt controller of the CPU: its timer, and the way of the 8259s' interrupts to the processor.

use crate::layout;
use crate::processor;

/// The timer's vector.
pub(crate) const TIMER_VECTOR: u64 = 48;
/// Another CPU wants attention.
pub(crate) const KICK_VECTOR: u64 = 49;
/// An interrupt that vanished; not to be acknowledged.
pub(crate) const SPURIOUS_VECTOR: u64 = 63;

const BASE_REGISTER: u32 = 0x1b;
const DEADLINE_REGISTER: u32 = 0x6e0;

const END: u64 = 0xb0;
const SPURIOUS: u64 = 0xf0;
const TIMER: u64 = 0x320;
const LINE_0: u64 = 0x350;
const LINE_1: u64 = 0x360;
const ERROR: u64 = 0x370;
const INITIAL_COUNT: u64 = 0x380;
const CURRENT_COUNT: u64 = 0x390;
const DIVIDE: u64 = 0x3e0;

const ENABLE: u32 = 1 << 8;
const MASKED: u32 = 1 << 16;
const EXTERNAL: u32 = 7 << 8;
const NON_MASKABLE: u32 = 4 << 8;
const DEADLINE_MODE: u32 = 2 << 17;
const DIVIDE_BY_1: u32 = 0xb;

/// Physical address of the registers.
#[unsafe(link_section = ".boot.text")]
pub(crate) fn physical() -> u64 {
    // SAFETY: every processor with long mode has a local APIC and this register.
    unsafe { processor::read_model_register(BASE_REGISTER) & 0xf_ffff_f000 }
}

fn write(register: u64, value: u32) {
    let address = (layout::LOCAL_APIC + register) as *mut u32;
    // SAFETY: the window maps the controller's registers, uncached; the registers named here touch no memory.
    unsafe { address.write_volatile(value) };
}

fn read(register: u64) -> u32 {
    let address = (layout::LOCAL_APIC + register) as *const u32;
    // SAFETY: as for `write`.
    unsafe { address.read_volatile() }
}

/// The controller of this CPU.
pub(crate) struct Apic {
    deadlines: bool,
}

impl Apic {
    /// Switch it on: the 8259s on line 0, non-maskable interrupts on line 1, the timer masked.
    #[unsafe(link_section = ".boot.text")]
    pub(crate) fn new() -> Self {
        const TSC_DEADLINE: u32 = 1 << 24;
        write(TIMER, MASKED);
        write(ERROR, MASKED);
        write(LINE_0, EXTERNAL);
        write(LINE_1, NON_MASKABLE);
        write(SPURIOUS, ENABLE | SPURIOUS_VECTOR as u32);
        write(DIVIDE, DIVIDE_BY_1);
        Self { deadlines: processor::cpuid(1, 0)[2] & TSC_DEADLINE != 0 }
    }

    /// Whether the timer compares with the time-stamp counter instead of counting down.
    pub(crate) const fn has_deadlines(&self) -> bool {
        self.deadlines
    }

    /// Start counting down, without an interrupt: for calibration.
    #[unsafe(link_section = ".boot.text")]
    pub(crate) fn start_silent_count(&self) {
        write(TIMER, MASKED);
        write(INITIAL_COUNT, u32::MAX);
    }

    /// What is left of the count.
    #[unsafe(link_section = ".boot.text")]
    pub(crate) fn count(&self) -> u32 {
        read(CURRENT_COUNT)
    }

    /// Let the timer interrupt.
    #[unsafe(link_section = ".boot.text")]
    pub(crate) fn enable_timer(&self) {
        write(INITIAL_COUNT, 0);
        write(TIMER, TIMER_VECTOR as u32 | if self.deadlines { DEADLINE_MODE } else { 0 });
    }

    /// Interrupt after this many counts, at least 1.
    pub(crate) fn set_count(&self, count: u32) {
        write(INITIAL_COUNT, count);
    }

    /// Interrupt when the time-stamp counter reaches this.
    pub(crate) fn set_deadline(&self, reading: u64) {
        // SAFETY: the register exists where `has_deadlines`, and only causes interrupts.
        unsafe { processor::write_model_register(DEADLINE_REGISTER, reading) };
    }

    /// The interrupt was taken.
    pub(crate) fn acknowledge(&self) {
        write(END, 0);
    }
}
