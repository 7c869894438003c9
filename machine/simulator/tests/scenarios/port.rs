//! I/O ports: a Memory of ports is used by calls on it, within its range, and without those that the kernel keeps.

use abi::object::{access, memory, process};
use abi::{Error, Handle, Rights};
use simulator::processor::LINE_PORTS;
use simulator::scenario;
use simulator::simulation::KEPT_PORT;

const LINE: u64 = 3;

#[test]
fn ports_are_read_and_written_within_their_range_with_the_rights_for_it() {
    scenario(|root| async move {
        let (user, ports, own) = (root.user.clone(), root.record().ports, Handle::SELF_PROCESS);
        let world = user.world().clone();
        // A part of them, that need not begin where pages do: the device's four.
        let first = u64::from(LINE_PORTS) + LINE;
        let derive = |rights: Rights| user.method(ports, memory::DERIVE, [own.0, first, 4, u64::from(rights.0)]);
        let part = derive(Rights::ALL).ok().await.handle();
        let words = user.method(part, memory::INFORMATION, [0; 4]).ok().await.words;
        assert_eq!(words[..2], [4, abi::object::MemoryType::Ports as u64]);
        world.set_line(LINE as u32, true);
        assert_eq!(user.method(part, memory::PORT_READ, [0, 1, 0, 0]).ok().await.words[0], 1);
        user.method(part, memory::PORT_WRITE, [0, 1, 7, 0]).ok().await;
        assert!(!world.line(LINE as u32));
        world.set_line(LINE as u32, true);
        user.method(part, memory::PORT_WRITE_BYTES, [0, 0, 1, 2]).ok().await;
        assert!(world.line(LINE as u32), "no byte was to be written");
        user.method(part, memory::PORT_WRITE_BYTES, [0, 16, 1, 2]).ok().await;
        assert!(!world.line(LINE as u32));
        // Up to its last byte, by one, two and four at a time, and not beyond.
        for (offset, bytes, fits) in [
            (3, 1, true),
            (2, 2, true),
            (0, 4, true),
            (4, 1, false),
            (3, 2, false),
            (1, 4, false),
            (0, 0, false),
            (0, 3, false),
            (0, 8, false),
            (u64::MAX, 1, false),
            (u64::MAX - 1, 4, false),
        ] {
            for method in [memory::PORT_READ, memory::PORT_WRITE] {
                let error = user.method(part, method, [offset, bytes, 0, 0]).await.error();
                assert_eq!(error, (!fits).then_some(Error::BadArgument), "{bytes} bytes at {offset}");
            }
        }
        user.method(part, memory::PORT_WRITE_BYTES, [0, 17, 0, 0]).fails(Error::BadArgument).await;
        user.method(part, memory::PORT_WRITE_BYTES, [4, 1, 0, 0]).fails(Error::BadArgument).await;
        // Rights, and kinds of Memory.
        let read_only = derive(Rights::READ).ok().await.handle();
        user.method(read_only, memory::PORT_READ, [0, 1, 0, 0]).ok().await;
        for method in [memory::PORT_WRITE, memory::PORT_WRITE_BYTES] {
            user.method(read_only, method, [0, 1, 0, 0]).fails(Error::NoRight).await;
        }
        let write_only = derive(Rights::WRITE).ok().await.handle();
        user.method(write_only, memory::PORT_READ, [0, 1, 0, 0]).fails(Error::NoRight).await;
        let ram = root.memory(1).await;
        user.method(ram, memory::PORT_READ, [0, 1, 0, 0]).fails(Error::WrongKind).await;
        let map = [ports.0, 0x60_0000_0000 | access::READ, 0, abi::PAGE_SIZE];
        user.method(own, process::MAP, map).fails(Error::WrongKind).await;
    });
}

#[test]
fn ports_that_the_kernel_keeps_are_nobodys() {
    scenario(|root| async move {
        let (user, ports) = (root.user.clone(), root.record().ports);
        let kept = u64::from(KEPT_PORT);
        for (offset, bytes, free) in [
            (kept - 1, 1, true),
            (kept - 2, 2, true),
            (kept - 1, 2, false),
            (kept - 3, 4, false),
            (kept, 1, false),
            (kept + 1, 4, false),
            (kept + 2, 1, true),
        ] {
            for method in [memory::PORT_READ, memory::PORT_WRITE] {
                let error = user.method(ports, method, [offset, bytes, 0, 0]).await.error();
                assert_eq!(error, (!free).then_some(Error::NoRight), "{bytes} bytes at {offset:#x}");
            }
        }
        user.method(ports, memory::PORT_WRITE_BYTES, [kept, 1, 0, 0]).fails(Error::NoRight).await;
        // There are 65,536.
        user.method(ports, memory::PORT_READ, [0xffff, 1, 0, 0]).ok().await;
        user.method(ports, memory::PORT_READ, [0xffff, 2, 0, 0]).fails(Error::BadArgument).await;
    });
}
