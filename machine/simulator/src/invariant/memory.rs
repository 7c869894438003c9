//! Mapping records and page tables.

use abi::object::{Kind, MemoryType};

use super::{State, all};
use crate::processor::World;

/// Records, the lists they are in, and page tables say the same.
pub(super) fn check_memory(kernel: &State<'_>, world: &World) {
    world.check_spaces();
    let mut records = 0;
    for index in all(kernel, Kind::Process) {
        let process = kernel.view_process(index);
        let mut end = 0;
        let mut described = 0;
        kernel.mappings(index, |id| {
            records += 1;
            let record = kernel.view_mapping(id);
            let say = || format!("record {id} of process {index}: {record:x?}");
            assert_eq!(record.process, index, "{}", say());
            assert!(record.address >= end && record.done <= record.pages, "{} overlaps", say());
            end = record.address + record.pages * abi::PAGE_SIZE;
            assert!(end <= abi::USER_END, "{}", say());
            let memory = kernel.view_memory(record.memory);
            assert!(memory.header.charged(), "{} maps nothing", say());
            assert!(
                record.offset + record.pages * abi::PAGE_SIZE <= memory.length,
                "{} is longer than {memory:x?}",
                say()
            );
            assert_eq!(record.access.0 & !record.access.1, 0, "{}", say());
            for page in 0..record.done {
                let translation = world.translation(process.space, record.address / abi::PAGE_SIZE + page);
                let expected = memory.base + record.offset + page * abi::PAGE_SIZE;
                match translation {
                    Some(translation) => {
                        assert_eq!(translation.physical, expected, "{}, page {page}", say());
                        assert_eq!(translation.access.bits, u64::from(record.access.0), "{}, page {page}", say());
                        // RAM has one cache type wherever it is mapped.
                        let device = memory.kind == MemoryType::Device as u8;
                        assert_eq!(translation.access.device, device, "cache type of {}, page {page}", say());
                    }
                    // Without access there is none.
                    None => assert_eq!(record.access.0, 0, "{}, page {page}", say()),
                }
                described += u64::from(translation.is_some());
            }
        });
        if let Some((_, mapped)) = world.space_figures(process.space) {
            assert_eq!(mapped, described, "process {index} has translations that no record describes");
        }
    }
    assert_eq!(kernel.pages_in_use().1, records, "mapping records");
    let mut listed = 0;
    for index in all(kernel, Kind::Memory) {
        let memory = kernel.view_memory(index);
        let mut at = memory.mappings;
        while at != 0 {
            let record = kernel.view_mapping(at);
            assert_eq!(record.memory, index, "record {at} is in the list of Memory {index}");
            listed += 1;
            assert!(listed <= records, "a cycle in the list of Memory {index}");
            at = record.next;
        }
    }
    assert_eq!(listed, records, "records in the lists of Memories");
}
