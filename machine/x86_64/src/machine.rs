//! The x86_64 processor as the kernel sees it: [`kernel::machine::Machine`], put together from the other modules.

use core::cell::Cell;
use kernel::machine::{CopyFault, Frame, Machine, PageAccess, Trap};

use crate::apic;
use crate::clock::Clock;
use crate::context::X86Context;
use crate::pic::{self, Pic};
use crate::processor;
use crate::ring;
use crate::segments;
use crate::serial;
use crate::space::{self, Space, Spaces};
use crate::trap;
use crate::bases;
use crate::vector;

const DEBUG: u64 = 1;
const DOUBLE_FAULT: u64 = 8;
const PAGE_FAULT: u64 = 14;
const MACHINE_CHECK: u64 = 18;

/// Bits of a page fault's error code.
const FAULT_PRESENT: u64 = 1;
const FAULT_WRITE: u64 = 2;
const FAULT_FETCH: u64 = 16;


/// One processor.
pub(crate) struct X86 {
    spaces: Spaces,
    pic: Pic,
    pub(crate) clock: Clock,
}

impl X86 {
    /// Take the processor over. The final page tables are loaded; interrupts are off.
    #[unsafe(link_section = ".boot.text")]
    pub(crate) fn new(spaces: Spaces, time_base: u64) -> Self {
        segments::initialize();
        vector::initialize();
        let bases = control::enable();
        bases::initialize(bases);
        control::enable_calls(trap::syscall_entry(bases && vector::is_optimised()));
        let pic = Pic::new();
        let clock = Clock::new(&pic, time_base);
        Self { spaces, pic, clock }
    }

    /// Load a thread's space, and those of its registers that stay loaded while it is in the kernel.
    #[inline(always)]
    pub(crate) fn prepare(&self, space: Space, context: &X86Context) {
        self.spaces.load(space);
        if !vector::is_loaded(context) {
            vector::switch_to(context);
        }
    }

    /// What an exception or interrupt is to the kernel.
    #[inline(always)]
    pub(crate) fn trap(&self, vector: u64) -> Trap {
        if vector == PAGE_FAULT {
            Trap::PageFault { address: processor::fault_address(), access: fault_access(trap::error_code()) }
        } else {
            self.further_trap(vector)
        }
    }

    /// The same, but for a page fault, which the kernel itself has none of.
    #[inline(never)]
    fn further_trap(&self, vector: u64) -> Trap {
        match vector {
            DOUBLE_FAULT | MACHINE_CHECK => crate::start::broken(&[serial::Part::Text(b"double fault or machine check")]),
            DEBUG => {
                processor::clear_debug_status();
                Trap::Exception { vector, code: 0 }
            }
            apic::TIMER_VECTOR => {
                if self.clock.timer_interrupt() {
                    Trap::Alarm
                } else {
                    Trap::Kick
                }
            }
            apic::KICK_VECTOR => {
                self.clock.acknowledge();
                Trap::Kick
            }
            apic::SPURIOUS_VECTOR | trap::NOTHING => Trap::Kick,
            vector if vector >= pic::FIRST_VECTOR => {
                let line = (vector - pic::FIRST_VECTOR) as u32;
                if line < pic::LINES && self.pic.take(line) { Trap::Interrupt { line } } else { Trap::Kick }
            }
            vector => Trap::Exception { vector, code: trap::error_code() },
        }
    }
}

/// [`abi::notice::access`] bits of a page fault.
const fn fault_access(code: u64) -> u64 {
    let mut access = 0;
    if code & FAULT_PRESENT != 0 {
        access |= abi::notice::access::PRESENT;
    }
    if code & FAULT_WRITE != 0 {
        access |= abi::notice::access::WRITE;
    }
    if code & FAULT_FETCH != 0 {
        access |= abi::notice::access::EXECUTE;
    }
    access
}

impl Machine for X86 {
    type Context = X86Context;
    type Space = Space;
    type Tables = crate::layout::Place;
    const PASSES_MESSAGES: bool = true;

    fn attach(&self, space: Space, context: &X86Context) {
        context.space.set(space);
    }

    #[inline(always)]
    fn enter(&self, space: Space, context: &X86Context) -> Trap {
        self.prepare(space, context);
        trap::enter(context);
        // Whatever it was has been dealt with.
        Trap::Kick
    }

    fn idle(&self) -> Trap {
        self.further_trap(trap::idle())
    }

    fn poll(&self) -> Option<Trap> {
        match trap::poll() {
            trap::NOTHING => None,
            vector => Some(self.further_trap(vector)),
        }
    }

    #[inline]
    fn now(&self) -> u64 {
        self.clock.now()
    }

    #[inline]
    fn set_alarm(&self, at_ns: u64) {
        self.clock.set_alarm(at_ns);
    }

    fn create_space(&self, frame: Frame) -> Space {
        self.spaces.create(frame)
    }

    fn destroy_space(&self, space: Space) -> Frame {
        self.spaces.destroy(space)
    }

    fn map(
        &self,
        space: Space,
        address: u64,
        physical: u64,
        pages: u64,
        access: PageAccess,
        supply: &mut dyn FnMut() -> Option<Frame>,
    ) -> bool {
        self.spaces.map(space, address, physical, pages, access, supply)
    }

    fn unmap(&self, space: Space, address: u64, pages: u64, supply: &mut dyn FnMut() -> Option<Frame>) -> bool {
        self.spaces.unmap(space, address, pages, supply)
    }

    fn protect(
        &self,
        space: Space,
        address: u64,
        pages: u64,
        access: PageAccess,
        supply: &mut dyn FnMut() -> Option<Frame>,
    ) -> bool {
        self.spaces.protect(space, address, pages, access, supply)
    }

    fn release_table(&self, space: Space) -> Option<Frame> {
        self.spaces.release_table(space)
    }

    fn copy(&self, from: Space, source: u64, to: Space, destination: u64, length: u64) -> (u64, Option<CopyFault>) {
        self.spaces.copy(from, source, to, destination, length)
    }

    #[inline(always)]
    fn copy_at_once(&self, from: (Space, &X86Context, u64), to: (Space, &X86Context, u64), length: u64) -> bool {
        // A context knows its space.
        self.spaces.copy_at_once((from.1, from.2), (to.1, to.2), length)
    }

    fn read(&self, space: Space, address: u64, bytes: &mut [u8]) -> bool {
        self.spaces.read(space, address, bytes)
    }

    fn read_words(&self, space: Space, address: u64, words: &[Cell<u64>]) -> bool {
        self.spaces.read_words(space, address, words)
    }

    fn write(&self, space: Space, address: u64, bytes: &[u8]) -> bool {
        self.spaces.write(space, address, bytes)
    }

    fn clear_frame(&self, frame: Frame) {
        space::clear(frame);
    }

    fn mask(&self, line: u32) {
        self.pic.mask(line);
    }

    fn unmask(&self, line: u32, edge: bool) {
        self.pic.unmask(line, edge);
    }

    fn port_read(&self, port: u16, bytes: u8) -> u32 {
        match bytes {
            1 => u32::from(processor::in8(port)),
            2 => u32::from(processor::in16(port)),
            _ => processor::in32(port),
        }
    }

    fn port_write(&self, port: u16, bytes: u8, value: u32) {
        match bytes {
            1 => processor::out8(port, value as u8),
            2 => processor::out16(port, value as u16),
            _ => processor::out32(port, value),
        }
    }

    #[inline(always)]
    fn trace(&self, event: u16, thread: u32, label: u64, word: u64, id: u64) {
        ring::write(event, thread, label, word, id);
    }

    fn print(&self, text: &str) {
        serial::print(&[serial::Part::Text(text.as_bytes())]);
    }

    fn halt(&self) -> ! {
        halt()
    }
}

/// Stop for good: an emulator with the debug exit device ends, anything else stands still.
pub(crate) fn halt() -> ! {
    processor::out32(abi::host::DEBUG_EXIT_PORT, abi::host::DEBUG_EXIT_PANIC);
    processor::stop()
}

/// Control registers.
mod control {
    use crate::processor;
    use crate::segments;

    const EXTENDED_FEATURES: u32 = 0xc000_0080;
    const STAR: u32 = 0xc000_0081;
    const LONG_STAR: u32 = 0xc000_0082;
    const FLAG_MASK: u32 = 0xc000_0084;

    /// `syscall` clears every flag that a program can set but the fixed one: interrupts, direction, trap, nested task,
    /// alignment check among them.
    const CALL_CLEARS: u64 = 0x0025_7fd5;

    /// Switch on every protection that the processor has; whether programs may change their segment bases.
    #[unsafe(link_section = ".boot.text")]
    pub(super) fn enable() -> bool {
        const MACHINE_CHECKS: u64 = 1 << 6;
        const GLOBAL_PAGES: u64 = 1 << 7;
        const VECTORS: u64 = 1 << 9 | 1 << 10;
        const INSTRUCTION_PREVENTION: u64 = 1 << 11;
        const SEGMENT_BASES: u64 = 1 << 16;
        const EXECUTION_PREVENTION: u64 = 1 << 20;
        const ACCESS_PREVENTION: u64 = 1 << 21;
        const FEATURES: [(usize, u32, u64); 4] = [
            (1, 0, SEGMENT_BASES),
            (1, 7, EXECUTION_PREVENTION),
            (1, 20, ACCESS_PREVENTION),
            (2, 2, INSTRUCTION_PREVENTION),
        ];
        let features = processor::cpuid(7, 0);
        let mut control = processor::control_4() | MACHINE_CHECKS | GLOBAL_PAGES | VECTORS;
        for (register, bit, switch) in FEATURES {
            if features[register & 3] & 1 << bit != 0 {
                control |= switch;
            }
        }
        // SAFETY: the first ones exist wherever long mode does, the others were just asked for.
        unsafe { processor::set_control_4(control) };
        const MONITOR: u64 = 1 << 1;
        const EMULATE: u64 = 1 << 2;
        const NATIVE_ERRORS: u64 = 1 << 5;
        const WRITE_PROTECT: u64 = 1 << 16;
        let control_0 = processor::control_0() & !EMULATE | MONITOR | NATIVE_ERRORS | WRITE_PROTECT;
        // SAFETY: only vector and protection bits change.
        unsafe { processor::set_control_0(control_0) };
        control & SEGMENT_BASES != 0
    }

    /// Let programs call, at `entry`.
    #[unsafe(link_section = ".boot.text")]
    pub(super) fn enable_calls(entry: u64) {
        const CALLS: u64 = 1;
        // SAFETY: long mode has these registers; the selectors are those of segments.rs.
        unsafe { processor::write_model_register(STAR, segments::STAR) };
        // SAFETY: `entry` is entry code.
        unsafe { processor::write_model_register(LONG_STAR, entry) };
        // SAFETY: the entry code expects these flags clear.
        unsafe { processor::write_model_register(FLAG_MASK, CALL_CLEARS) };
        // SAFETY: long mode has the register.
        let features = unsafe { processor::read_model_register(EXTENDED_FEATURES) };
        // SAFETY: all that `syscall` needs is set.
        unsafe { processor::write_model_register(EXTENDED_FEATURES, features | CALLS) };
    }
}
