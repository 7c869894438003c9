//! Device registers are mapped past the caches, and RAM has one cache type, wherever, however and through whatever part it is mapped
//! (DESIGN §2): the invariants compare each page with its Memory (`invariant::check_objects`), here after every step.

use abi::object::{access, memory, process};
use abi::{Error, Handle, Rights};
use simulator::scenario::Plan;
use simulator::{Settings, scenario_with};

const PLACE: u64 = 0x60_0000_0000;
const PAGE: u64 = abi::PAGE_SIZE;
const RW: u64 = access::READ | access::WRITE;
/// More than a large page has.
const PAGES: u64 = 600;

#[test]
fn ram_has_one_cache_type_and_devices_have_the_other_wherever_they_are_mapped() {
    for large_pages in [false, true] {
        scenario_with(Settings { large_pages, objects_every: 1, ..Settings::default() }, |root| async move {
            let (one, two) = (root.process().await, root.process().await);
            let user = root.user.clone();
            let part = [Handle::SELF_PROCESS.0, 4 * PAGE, PAGES * PAGE, u64::from(Rights::ALL.0)];
            let registers = user.method(root.record().devices, memory::DERIVE, part).ok().await.handle();
            let ram = root.aligned_memory(PAGES, 512).await;
            for (number, memory) in [registers, ram, registers, ram].into_iter().enumerate() {
                // Side by side, in both processes.
                let at = PLACE + number as u64 * 512 * PAGE;
                for process in [&one, &two] {
                    let mapped = root.map(process.handle, memory, at, RW, 512).await;
                    assert_eq!(mapped.error(), None, "{number}");
                }
            }
            // Records are cut, protected, shared and joined again.
            let range = PLACE + 500 * PAGE;
            let protect = [range | access::READ, 700 * PAGE, 0, 0];
            user.method(one.handle, process::PROTECT, protect).repeat().await;
            user.method(two.handle, process::UNMAP, [range, 700 * PAGE, 0, 0]).repeat().await;
            let share = user.method(two.handle, process::SHARE_RANGE, [one.handle.0, range, 700 * PAGE, 0]);
            assert_eq!(share.repeat().await.error(), None);
            user.method(one.handle, process::PROTECT, [range | RW, 700 * PAGE, 0, 0]).repeat().await;
            // There is something to be looked at meanwhile.
            let reader = root.start(Plan::new(&two, "reader").priority(10), |user| async move {
                for page in [0, 499, 500, 511, 512, 1199, 1200, 2047] {
                    user.load_word(PLACE + page * PAGE).await;
                }
            });
            root.until_state(reader.await, abi::thread::State::Dead).await;
            for memory in [registers, ram] {
                root.destroy(memory).await;
                user.method(memory, memory::INFORMATION, [0; 4]).fails(Error::BadHandle).await;
            }
        });
    }
}
