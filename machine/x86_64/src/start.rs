//! From the boot stub into the kernel, and out of it if it breaks.

use kernel::Kernel;
use kernel::tables::Tables;

use crate::boot::Handoff;
use crate::layout;
use crate::machine::X86;
use crate::space::Spaces;

/// Leave the early page tables (and with them the boot stub), set the processor up and run the kernel.
#[inline(never)]
pub(crate) fn start(handoff: Handoff) -> ! {
    let spaces = Spaces::new(handoff.root, handoff.ram);
    let machine = X86::new(spaces, handoff.entry_time_stamp);
    let boot = boot_record(&handoff, &machine);
    let tables = layout::TABLES as *const Tables<X86>;
    // SAFETY: the window is mapped for the whole type (memory or the read-only zeros that its documentation asks for);
    // all bytes zero is its valid initial content; nobody else has a reference.
    let tables = unsafe { &*tables };
    Kernel::new(machine, tables, &boot).run()
}

/// Print what can be known and stop.
#[cfg(target_os = "none")]
#[panic_handler]
fn panic(information: &core::panic::PanicInfo<'_>) -> ! {
    crate::serial::print(format_args!("kernel {information}"));
    if let Some((instruction_pointer, stack_pointer)) = crate::trap::last_place() {
        crate::serial::print(format_args!("last program: rip {instruction_pointer:#x}, rsp {stack_pointer:#x}"));
    }
    for caller in crate::pvh::Callers::new() {
        crate::serial::print(format_args!("  from {caller:#x}"));
    }
    crate::machine::halt()
}
