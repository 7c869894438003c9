//! The end of the machine.

use abi::Handle;
use abi::host::{DEBUG_EXIT_PORT, DEBUG_EXIT_POWER_OFF};
use runtime::object::memory;

/// ACPI's PM1a control register, where QEMU's firmware puts it; its value for sleep state S5.
const ACPI_CONTROL: (u64, u32) = (0x604, 0x2000);
/// The chipset's reset register; its value for a full reset.
const RESET_CONTROL: (u64, u32) = (0xcf9, 0x06);
/// The keyboard controller's command port; its command to pulse the reset line.
const KEYBOARD_RESET: (u64, u32) = (0x64, 0xfe);

/// Switch the machine off, or start it again. Returns only if nothing worked.
pub(crate) fn end(ports: Handle, restart: bool) {
    let writes = if restart {
        [(RESET_CONTROL.0, 1, RESET_CONTROL.1), (KEYBOARD_RESET.0, 1, KEYBOARD_RESET.1)]
    } else {
        [(u64::from(DEBUG_EXIT_PORT), 4, DEBUG_EXIT_POWER_OFF), (ACPI_CONTROL.0, 2, ACPI_CONTROL.1)]
    };
    for (port, bytes, value) in writes {
        // A machine without this port goes on to the next way.
        let _ = memory::port_write(ports, port, bytes, value);
    }
}
