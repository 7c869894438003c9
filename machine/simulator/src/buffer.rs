//! A process's memory as its scenario sees it: mapped by the kernel, read and written without it, so that what a message
//! moved can be compared with what it should have moved, byte by byte.

use abi::object::{access, memory};
use abi::{Handle, PAGE_SIZE};

use crate::processor::World;
use crate::scenario::{Process, Root};

/// A run of memory in one process.
#[derive(Clone, Copy, Debug)]
pub struct Buffer {
    /// Where it is in its process.
    pub address: u64,
    /// How long it is, in bytes.
    pub length: u64,
    /// The Memory behind it, in root's table.
    pub memory: Handle,
    physical: u64,
}

impl Buffer {
    /// Visit the parts of a range, each within one page: physical address, and place in the range.
    fn pieces(&self, offset: u64, length: u64, mut action: impl FnMut(u64, std::ops::Range<usize>)) {
        assert!(offset + length <= self.length, "{length} bytes at {offset} of {self:?}");
        let mut done = 0;
        while done < length {
            let at = offset + done;
            let piece = (PAGE_SIZE - at % PAGE_SIZE).min(length - done);
            action(self.physical + at, done as usize..(done + piece) as usize);
            done += piece;
        }
    }

    /// Put bytes in at an offset.
    pub fn write(&self, world: &World, offset: u64, bytes: &[u8]) {
        self.pieces(offset, bytes.len() as u64, |physical, range| world.memory().write(physical, &bytes[range]));
    }

    /// What is in it.
    #[must_use]
    pub fn bytes(&self, world: &World) -> Vec<u8> {
        let mut bytes = vec![0; self.length as usize];
        self.pieces(0, self.length, |physical, range| world.memory().read(physical, &mut bytes[range]));
        bytes
    }
}

impl Root {
    /// Memory of a process to read and write, at an address.
    pub async fn buffer(&self, process: &Process, address: u64, pages: u64) -> Buffer {
        let memory = self.memory(pages).await;
        process.memories.borrow_mut().push((pages, memory));
        let mapped = self.map(process.handle, memory, address, access::READ | access::WRITE, pages).await;
        assert_eq!(mapped.error(), None, "map a buffer");
        let physical = self.user.method(memory, memory::INFORMATION, [0; 4]).ok().await.words[2];
        Buffer { address, length: pages * PAGE_SIZE, memory, physical }
    }
}
