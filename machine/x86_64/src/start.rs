//! From the boot stub into the kernel, and out of it if it breaks.

use abi::boot::RAM_RANGES;
use abi::trace::RING_LENGTH;
use kernel::{Boot, KEPT_PORTS, PortRange};

use crate::boot::Handoff;
use crate::machine::X86;
use crate::message;
use crate::pic;
use crate::range::Range;
use crate::serial::{Part, print};
use crate::space::Spaces;

/// Leave the early page tables, set the processor up and run the kernel.
#[unsafe(link_section = ".boot.text")]
pub(crate) fn start(handoff: Handoff) -> ! {
    let root = handoff.root;
    let spaces = Spaces::new(root, handoff.ram);
    let machine = X86::new(spaces, handoff.entry_time_stamp);
    let boot = boot_record(&handoff, &machine);
    message::start(machine, &boot, root)
}

/// The handoff in the kernel's words.
#[unsafe(link_section = ".boot.text")]
fn boot_record(handoff: &Handoff, machine: &X86) -> Boot {
    let Handoff { header, module, .. } = handoff;
    let mut ram = [kernel::Range::default(); RAM_RANGES];
    for (to, from) in ram.iter_mut().zip(handoff.free.members()) {
        *to = record_range(*from);
    }
    Boot {
        capacities: handoff.capacities,
        frame_base: handoff.frames.start,
        module: module.start,
        entry: header.entry,
        segment_count: header.segment_count as usize,
        segments: header.segments,
        archive: kernel::Range { base: module.start + header.archive_offset, length: header.archive_length },
        ram,
        devices: record_range(handoff.devices),
        firmware: record_range(handoff.firmware),
        kept_ports: kept_ports(),
        interrupts: pic::LINES,
        acpi_root: handoff.acpi_root,
        tsc_hz: machine.clock.rate.hz,
        tsc_base: machine.clock.rate.base,
        ram_total: handoff.ram_total,
        arena_length: handoff.arena_length,
        entry_tsc: handoff.entry_time_stamp,
        trace: kernel::Range { base: handoff.ring, length: RING_LENGTH },
    }
}

#[unsafe(link_section = ".boot.text")]
fn record_range(range: Range) -> kernel::Range {
    kernel::Range { base: range.start, length: range.length() }
}

/// The ports of the interrupt controllers and of the interval timer: to a driver, ports without a device.
#[unsafe(link_section = ".boot.text")]
fn kept_ports() -> [PortRange; KEPT_PORTS] {
    let mut kept = [PortRange::default(); KEPT_PORTS];
    for (to, (first, count)) in kept.iter_mut().zip([(0x20, 2), (0x40, 4), (0xa0, 2), (0x4d0, 2)]) {
        *to = PortRange { first, count };
    }
    kept
}

/// The kernel cannot go on: say why, and where the program was that ran last, and stop.
#[cold]
pub(crate) fn broken(why: &[Part<'_>]) -> ! {
    print(why);
    if let Some((instruction_pointer, stack_pointer)) = crate::trap::last_place() {
        let (rip, rsp) = (Part::Hexadecimal(instruction_pointer), Part::Hexadecimal(stack_pointer));
        print(&[Part::Text(b"last program: rip "), rip, Part::Text(b", rsp "), rsp]);
    }
    crate::machine::halt()
}

/// Only the boot stub panics, for no reason that is known: what may be wrong with a machine is said by [`crate::boot::require`]. In
/// the kernel itself no panic is left after optimisation; were there one, it would be told as an exception at this place.
#[cfg(target_os = "none")]
#[panic_handler]
#[unsafe(link_section = ".boot.text")]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    broken(&[Part::Text(b"the boot stub panicked")])
}
