//! The multiport console device (Virtual I/O Device 1.2, §5.3): control messages, and one pair of queues a port.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;

use virtio_drivers::transport::pci::PciTransport;
use virtio_drivers::transport::{DeviceStatus, Transport};

use crate::ring::{Direction, QUEUE_LENGTH, Ring};

/// VIRTIO_F_VERSION_1 and VIRTIO_CONSOLE_F_MULTIPORT.
const FEATURES: u64 = 1 << 32 | 1 << 1;
/// Offset of `max_nr_ports` in the configuration.
const MAXIMUM_PORTS_OFFSET: usize = 4;
/// Ports that we drive: numbers 0 to 7.
const PORTS: u32 = 8;
const CONTROL_RECEIVE: u16 = 2;
const CONTROL_SEND: u16 = 3;
const CONTROL_LENGTH: usize = 256;
/// Buffers for control messages each way: what either side may say of all ports before the other listens (a port is there, its name,
/// it is open). A message that finds no buffer is lost.
const CONTROL_BUFFERS: usize = 3 * PORTS as usize;
const _: () = assert!(CONTROL_BUFFERS <= QUEUE_LENGTH);
/// Buffers and bytes of a port's queues.
const RECEIVE_BUFFERS: usize = 8;
const RECEIVE_LENGTH: usize = 4096;
const SEND_BUFFERS: usize = 4;
pub(crate) const SEND_LENGTH: usize = 8192;

/// Control events.
mod event {
    pub(super) const DEVICE_READY: u16 = 0;
    pub(super) const PORT_ADD: u16 = 1;
    pub(super) const PORT_REMOVE: u16 = 2;
    pub(super) const PORT_READY: u16 = 3;
    pub(super) const PORT_OPEN: u16 = 6;
    pub(super) const PORT_NAME: u16 = 7;
}

/// One stream to the host.
pub(crate) struct Port {
    number: u32,
    /// Its name on the host's command line; empty until the device told it.
    pub(crate) name: String,
    /// Whether the host's end is connected, and whether it ever was.
    pub(crate) connected: bool,
    pub(crate) was_connected: bool,
    receive: Ring,
    /// Filled buffers: which, how much of it was read, how many bytes it has.
    filled: VecDeque<(usize, usize, usize)>,
    send: Ring,
}

/// The device.
pub(crate) struct Device {
    transport: PciTransport,
    control_receive: Ring,
    control_send: Ring,
    pub(crate) ports: Vec<Port>,
}

impl Device {
    /// Negotiate, set the queues up and start.
    pub(crate) fn new(mut transport: PciTransport) -> Option<Self> {
        transport.set_status(DeviceStatus::empty());
        transport.set_status(DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER);
        let features = transport.read_device_features() & FEATURES;
        if features != FEATURES {
            return None;
        }
        transport.write_driver_features(features);
        transport.set_status(DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER | DeviceStatus::FEATURES_OK);
        let maximum: u32 = transport.read_config_space(MAXIMUM_PORTS_OFFSET).ok()?;
        let control_receive =
            Ring::new(&mut transport, CONTROL_RECEIVE, Direction::FromDevice, CONTROL_BUFFERS, CONTROL_LENGTH)?;
        let control_send =
            Ring::new(&mut transport, CONTROL_SEND, Direction::ToDevice, CONTROL_BUFFERS, CONTROL_LENGTH)?;
        let ports = (1..PORTS.min(maximum)).map(|number| Port::new(&mut transport, number)).collect::<Option<_>>()?;
        let mut device = Self { transport, control_receive, control_send, ports };
        device.transport.finish_init();
        device.control_receive.lend_all(&mut device.transport);
        device.tell(u32::MAX, event::DEVICE_READY, 1);
        Some(device)
    }

    /// Take the interrupt and everything that the device has done since.
    pub(crate) fn interrupt(&mut self) {
        self.transport.ack_interrupt();
        while let Some((buffer, length)) = self.control_receive.pop() {
            let message = Control::parse(&self.control_receive.bytes(buffer)[..length]);
            self.control_receive.lend(&mut self.transport, buffer, CONTROL_LENGTH);
            if let Some(message) = message {
                self.control(&message);
            }
        }
        while let Some((buffer, _)) = self.control_send.pop() {
            self.control_send.give_back(buffer);
        }
        for port in &mut self.ports {
            port.collect();
        }
    }

    fn control(&mut self, message: &Control) {
        let known = self.ports.iter().position(|port| port.number == message.port);
        match (message.event, known) {
            (event::PORT_ADD, Some(index)) => {
                self.ports[index].receive.lend_all(&mut self.transport);
                self.tell(message.port, event::PORT_READY, 1);
                self.tell(message.port, event::PORT_OPEN, 1);
            }
            (event::PORT_ADD, None) => self.tell(message.port, event::PORT_READY, 0),
            (event::PORT_REMOVE, Some(index)) => self.ports[index].connected = false,
            (event::PORT_OPEN, Some(index)) => {
                let port = &mut self.ports[index];
                port.connected = message.value != 0;
                port.was_connected |= port.connected;
            }
            (event::PORT_NAME, Some(index)) => self.ports[index].name.clone_from(&message.name),
            _ => {}
        }
    }

    fn tell(&mut self, port: u32, event: u16, value: u16) {
        while let Some((buffer, _)) = self.control_send.pop() {
            self.control_send.give_back(buffer);
        }
        let Some(buffer) = self.control_send.take_free() else {
            runtime::log!(Error, "the device does not take control messages");
            return;
        };
        let bytes = self.control_send.bytes_mut(buffer);
        bytes[..4].copy_from_slice(&port.to_le_bytes());
        bytes[4..6].copy_from_slice(&event.to_le_bytes());
        bytes[6..8].copy_from_slice(&value.to_le_bytes());
        self.control_send.lend(&mut self.transport, buffer, 8);
    }

    /// What came on a port and was not consumed, in order, a piece per buffer.
    pub(crate) fn arrived(&self, port: usize) -> impl Iterator<Item = &[u8]> {
        let port = &self.ports[port];
        port.filled.iter().map(|&(buffer, start, end)| &port.receive.bytes(buffer)[start..end])
    }

    /// The first `count` bytes that arrived are delivered.
    pub(crate) fn consume(&mut self, port: usize, mut count: usize) {
        let port = &mut self.ports[port];
        while let Some((buffer, start, end)) = port.filled.pop_front() {
            if count < end - start {
                port.filled.push_front((buffer, start + count, end));
                return;
            }
            count -= end - start;
            port.receive.lend(&mut self.transport, buffer, RECEIVE_LENGTH);
            if count == 0 {
                return;
            }
        }
    }

    /// Fill a free send buffer with `fill` (which gives how many bytes it wrote) and send it. `None`: no buffer is free.
    pub(crate) fn send<E>(
        &mut self,
        port: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Option<Result<usize, E>> {
        let port = &mut self.ports[port];
        port.collect();
        let buffer = port.send.take_free()?;
        let filled = fill(port.send.bytes_mut(buffer));
        match filled {
            Ok(length) if length > 0 => port.send.lend(&mut self.transport, buffer, length),
            _ => port.send.give_back(buffer),
        }
        Some(filled)
    }

    /// Whether a port takes bytes now.
    pub(crate) fn writable(&mut self, port: usize) -> bool {
        let port = &mut self.ports[port];
        port.collect();
        port.send.has_free()
    }

    /// Whether everything that was sent on a port has reached the host.
    pub(crate) fn drained(&mut self, port: usize) -> bool {
        let port = &mut self.ports[port];
        port.collect();
        port.send.is_idle()
    }
}

impl Port {
    fn new(transport: &mut PciTransport, number: u32) -> Option<Self> {
        // Port 0 has the first two queues, the control queues follow, then the other ports (§5.3.2).
        let queue = 2 + 2 * number as u16;
        Some(Self {
            number,
            name: String::new(),
            connected: false,
            was_connected: false,
            receive: Ring::new(transport, queue, Direction::FromDevice, RECEIVE_BUFFERS, RECEIVE_LENGTH)?,
            filled: VecDeque::with_capacity(RECEIVE_BUFFERS),
            send: Ring::new(transport, queue + 1, Direction::ToDevice, SEND_BUFFERS, SEND_LENGTH)?,
        })
    }

    /// Take over what the device is done with.
    fn collect(&mut self) {
        while let Some((buffer, length)) = self.receive.pop() {
            self.filled.push_back((buffer, 0, length));
        }
        while let Some((buffer, _)) = self.send.pop() {
            self.send.give_back(buffer);
        }
    }

    /// Whether the host has closed its end, and everything it sent was read.
    pub(crate) fn at_end(&self) -> bool {
        self.was_connected && !self.connected && self.filled.is_empty()
    }
}

/// A control message.
struct Control {
    port: u32,
    event: u16,
    value: u16,
    name: String,
}

impl Control {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (head, name) = bytes.split_at_checked(8)?;
        let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
        Some(Self {
            port: u32::from_le_bytes(head[..4].try_into().ok()?),
            event: u16::from_le_bytes([head[4], head[5]]),
            value: u16::from_le_bytes([head[6], head[7]]),
            name: String::from_utf8_lossy(name).into_owned(),
        })
    }
}
