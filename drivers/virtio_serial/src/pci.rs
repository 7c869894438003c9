//! Finding the device on PCI, through the configuration ports (PCI Local Bus Specification 3.0, §3.2.2.3.2).

use abi::Handle;
use runtime::object::memory;
use virtio_drivers::transport::DeviceType;
use virtio_drivers::transport::pci::bus::{Command, ConfigurationAccess, DeviceFunction, PciRoot};
use virtio_drivers::transport::pci::virtio_device_type;

/// Offsets of the address and data ports in the Memory of ports 0xcf8–0xcff.
const ADDRESS: u64 = 0;
const DATA: u64 = 4;
const ENABLE: u32 = 1 << 31;
/// Configuration register with the interrupt line that firmware chose, in its lowest byte.
const INTERRUPT_LINE: u8 = 0x3c;

/// Configuration space by ports.
#[derive(Debug)]
pub(crate) struct ConfigurationPorts(pub(crate) Handle);

impl ConfigurationPorts {
    fn select(&self, function: DeviceFunction, register: u8) {
        let address = ENABLE
            | u32::from(function.bus) << 16
            | u32::from(function.device) << 11
            | u32::from(function.function) << 8
            | u32::from(register & 0xfc);
        // Fails only without the handle; then every device reads as absent.
        let _ = memory::port_write(self.0, ADDRESS, 4, address);
    }
}

impl ConfigurationAccess for ConfigurationPorts {
    fn read_word(&self, function: DeviceFunction, register: u8) -> u32 {
        self.select(function, register);
        memory::port_read(self.0, DATA, 4).unwrap_or(u32::MAX)
    }

    fn write_word(&mut self, function: DeviceFunction, register: u8, data: u32) {
        self.select(function, register);
        let _ = memory::port_write(self.0, DATA, 4, data);
    }

    unsafe fn unsafe_clone(&self) -> Self {
        Self(self.0)
    }
}

/// The first virtio console on bus 0, made ready to be driven, and its interrupt line.
pub(crate) fn find(root: &mut PciRoot<ConfigurationPorts>, ports: Handle) -> Option<(DeviceFunction, u64)> {
    let (function, _) =
        root.enumerate_bus(0).find(|(_, information)| virtio_device_type(information) == Some(DeviceType::Console))?;
    root.set_command(function, Command::IO_SPACE | Command::MEMORY_SPACE | Command::BUS_MASTER);
    let line = ConfigurationPorts(ports).read_word(function, INTERRUPT_LINE) & 0xff;
    Some((function, u64::from(line)))
}
