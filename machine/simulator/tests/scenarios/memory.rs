//! Memory: mapping, protecting, sharing with copy on write, and who hears of faults.

use abi::notice;
use abi::object::{access, memory, process};
use abi::thread::State;
use abi::{Error, Handle, Rights};
use simulator::scenario::{DATA, Log, Plan};
use simulator::{Settings, scenario, scenario_with};

use crate::Pair;

const PLACE: u64 = 0x60_0000_0000;
const PAGE: u64 = abi::PAGE_SIZE;
/// The last page of all addresses.
const LAST_PAGE: u64 = !4095;
const RW: u64 = access::READ | access::WRITE;

#[test]
fn what_is_mapped_can_be_used_as_permitted_and_not_otherwise() {
    scenario_with(Settings { large_pages: true, ..Settings::default() }, |root| async move {
        let process = root.process().await;
        let user = root.user.clone();
        let memory = root.aligned_memory(1024, 512).await;
        assert_eq!(root.map(process.handle, memory, PLACE, RW, 1024).await.error(), None);
        assert_eq!(root.map(process.handle, memory, PLACE + 5 * PAGE, RW, 1).await.error(), Some(Error::Busy));
        // Split a large page by a protection and an unmapping inside it.
        user.method(process.handle, process::PROTECT, [(PLACE + 3 * PAGE) | access::READ, PAGE, 0, 0]).ok().await;
        user.method(process.handle, process::UNMAP, [PLACE + 600 * PAGE, 2 * PAGE, 0, 0]).ok().await;
        let log = Log::new();
        let mut expected = Vec::new();
        for (number, (address, write, works)) in [
            (PLACE, true, true),
            (PLACE + 3 * PAGE, false, true),
            (PLACE + 3 * PAGE, true, false),
            (PLACE + 2 * PAGE, true, true),
            (PLACE + 600 * PAGE, false, false),
            (PLACE + 601 * PAGE, false, false),
            (PLACE + 602 * PAGE, true, true),
            (PLACE + 1023 * PAGE, true, true),
            (PLACE + 1024 * PAGE, false, false),
        ]
        .into_iter()
        .enumerate()
        {
            let noted = log.clone();
            let thread = root
                .start(Plan::new(&process, "toucher").priority(10), |user| async move {
                    if write {
                        user.store_word(address, 1).await
                    } else {
                        let _ = user.load_word(address).await;
                    }
                    noted.note(format!("{number}"));
                })
                .await;
            root.until_state(thread, State::Dead).await;
            expected.extend(works.then(|| format!("{number}")));
        }
        log.assert(&expected.iter().map(String::as_str).collect::<Vec<_>>());
        // What was never permitted by the handle cannot be protected to.
        let only_read = root.give(&process, memory, Rights::READ).await;
        let noted = log.clone();
        root.start(Plan::new(&process, "mapper").priority(10), |user| async move {
            let own = Handle::SELF_PROCESS;
            assert_eq!(
                user.method(own, process::MAP, [only_read.0, (PLACE + 2048 * PAGE) | RW, 0, PAGE]).await.error(),
                Some(Error::NoRight)
            );
            user.method(own, process::MAP, [only_read.0, (PLACE + 2048 * PAGE) | access::READ, 0, PAGE]).ok().await;
            let more = user.method(own, process::PROTECT, [(PLACE + 2048 * PAGE) | RW, PAGE, 0, 0]).await;
            assert!(more.error().is_some() || user.store(PLACE + 2048 * PAGE, &[1]).await.is_err());
            noted.note("refused");
        })
        .await;
        root.until_noted(&log, 6).await;
    });
}

#[test]
fn wrong_ranges_are_refused() {
    scenario(|root| async move {
        let process = root.process().await;
        let user = root.user.clone();
        let memory = root.memory(4).await;
        for (address, offset, length) in [
            (PLACE, 0, 5 * PAGE),
            (PLACE, PAGE, 4 * PAGE),
            (PLACE, 1, PAGE),
            (PLACE, 0, 0),
            (PLACE, 0, 100),
            (PLACE, u64::MAX - 4095, PAGE),
            (abi::USER_END, 0, PAGE),
            (abi::USER_END - PAGE, 0, 2 * PAGE),
            (LAST_PAGE, 0, PAGE),
            (PLACE, 0, LAST_PAGE),
        ] {
            let answer = user.method(process.handle, process::MAP, [memory.0, address | RW, offset, length]).await;
            assert_eq!(answer.error(), Some(Error::BadArgument), "{address:#x} {offset:#x} {length:#x}");
        }
        for (address, length) in [(PLACE, 100), (LAST_PAGE, PAGE), (abi::USER_END, PAGE), (0, LAST_PAGE)] {
            let answer = user.method(process.handle, process::UNMAP, [address, length, 0, 0]).await;
            assert_eq!(answer.error(), Some(Error::BadArgument), "{address:#x} {length:#x}");
        }
        for (offset, length) in [(0, 5 * PAGE), (PAGE, LAST_PAGE), (4 * PAGE, PAGE), (100, PAGE), (0, 0)] {
            let answer = user
                .method(memory, memory::DERIVE, [Handle::SELF_PROCESS.0, offset, length, u64::from(Rights::ALL.0)])
                .await;
            assert_eq!(answer.error(), Some(Error::BadArgument), "{offset:#x} {length:#x}");
        }
        assert_eq!(root.usage(process.handle).await.used.mappings, 1);
    });
}

#[test]
fn destroying_memory_takes_it_away_everywhere() {
    scenario(|root| async move {
        let (one, two) = (root.process().await, root.process().await);
        let user = root.user.clone();
        let memory = root.memory(40).await;
        let part = user
            .method(memory, memory::DERIVE, [one.handle.0, 8 * PAGE, 8 * PAGE, u64::from(Rights::ALL.0)])
            .ok()
            .await
            .handle();
        let before = (root.usage(one.handle).await.used.mappings, root.usage(two.handle).await.used.mappings);
        for round in 0..20 {
            assert_eq!(root.map(one.handle, part, PLACE + round * 16 * PAGE, RW, 8).await.error(), None);
            assert_eq!(root.map(two.handle, memory, PLACE + round * 64 * PAGE, RW, 40).await.error(), None);
        }
        root.destroy(memory).await;
        assert!(user.method(part, memory::INFORMATION, [0; 4]).await.error().is_some());
        assert_eq!((root.usage(one.handle).await.used.mappings, root.usage(two.handle).await.used.mappings), before);
        for process in [&one, &two] {
            let thread = root
                .start(Plan::new(process, "toucher").priority(10), |user| async move {
                    user.load_word(PLACE).await;
                    panic!("the memory is still mapped");
                })
                .await;
            root.until_state(thread, State::Dead).await;
        }
    });
}

#[test]
fn a_page_fault_is_a_message_to_the_pager_first() {
    scenario(|root| async move {
        let pager = root.process().await;
        let process = root.process().await;
        let gate = root.gate(&pager).await;
        let faults = root.connect(gate, 66).await;
        let user = root.user.clone();
        let log = Log::new();
        let noted = log.clone();
        let configuration = abi::thread::Configuration { native_mask: u64::MAX, cookie: 0xc00c, ..Default::default() };
        let thread = root
            .start(
                Plan::new(&process, "faulter").priority(10).fault(faults).configuration(configuration),
                |user| async move {
                    user.store_word(PLACE + 8, 5).await;
                    assert_eq!(user.load_word(PLACE + 8).await, 5);
                    noted.note("went on");
                    drop(user.load(PLACE + 100 * PAGE, 1).await);
                    noted.note("never");
                },
            )
            .await;
        let fault = user.receive(gate).ok().await;
        assert_eq!((fault.label, fault.badge, fault.identity), (notice::FAULT_PAGE, 66, process.identity));
        assert_eq!(fault.words[0], PLACE + 8);
        assert_eq!(fault.words[2], notice::access::WRITE);
        assert_eq!(fault.words[3], 0xc00c);
        assert_eq!(root.state(thread).await.state, State::Fault);
        let memory = root.memory(1).await;
        assert_eq!(root.map(process.handle, memory, PLACE, RW, 1).await.error(), None);
        user.reply(fault.request).ok().await;
        let fault = user.receive(gate).ok().await;
        assert_eq!((fault.label, fault.words[0], fault.words[2]), (notice::FAULT_PAGE, PLACE + 100 * PAGE, 0));
        // Refused, and no upcall: a second message, whose refusal is death.
        user.reply(fault.request).label(1).ok().await;
        let refused = user.receive(gate).ok().await;
        assert_eq!((refused.label, refused.words[0]), (notice::FAULT_REFUSED, PLACE + 100 * PAGE));
        user.reply(refused.request).label(1).ok().await;
        root.until_state(thread, State::Dead).await;
        log.assert(&["went on"]);
    });
}

#[test]
fn a_pager_may_refuse_as_it_receives_the_next_fault() {
    scenario(|root| async move {
        let pager = root.process().await;
        let process = root.process().await;
        let gate = root.gate(&pager).await;
        let faults = root.connect(gate, 66).await;
        let receiving = root.give_gate(&pager, gate).await;
        let log = Log::new();
        let noted = log.clone();
        root.start_server(Plan::new(&pager, "pager").priority(20), |user| async move {
            let mut fault = user.receive(receiving).ok().await;
            loop {
                noted.note(format!("{}", fault.label));
                fault = user.reply_and_receive(fault.request, receiving).label(1).ok().await;
            }
        })
        .await;
        let plan = Plan::new(&process, "faulter").priority(10).fault(faults);
        let thread = root.start(plan, |user| async move { drop(user.load(PLACE, 1).await) }).await;
        root.until_state(thread, State::Dead).await;
        log.assert(&[&notice::FAULT_PAGE.to_string(), &notice::FAULT_REFUSED.to_string()]);
    });
}

#[test]
fn a_pager_that_dies_does_not_leave_its_threads_hanging() {
    scenario(|root| async move {
        let pager = root.process().await;
        let process = root.process().await;
        let gate = root.gate(&pager).await;
        let faults = root.connect(gate, 66).await;
        let mut threads = Vec::new();
        for _ in 0..2 {
            threads.push(
                root.start(Plan::new(&process, "faulter").priority(10).fault(faults), |user| async move {
                    user.store_word(PLACE, 5).await;
                })
                .await,
            );
        }
        for thread in &threads {
            root.until_state(*thread, State::Fault).await;
        }
        let receiving = root.give_gate(&pager, gate).await;
        let log = Log::new();
        let noted = log.clone();
        root.start(Plan::new(&pager, "pager").priority(20), |user| async move {
            user.receive(receiving).ok().await;
            noted.note("took one");
            user.hog().await;
        })
        .await;
        root.until_noted(&log, 1).await;
        root.destroy(pager.handle).await;
        for thread in &threads {
            root.until_state(*thread, State::Dead).await;
        }
    });
}

#[test]
fn share_range_is_copy_on_write_unless_shared() {
    scenario(|root| async move {
        let pager = root.process().await;
        let (parent, child) = (root.process().await, root.process().await);
        let gate = root.gate(&pager).await;
        let faults = root.connect(gate, 66).await;
        let user = root.user.clone();
        let memory = root.memory(40).await;
        for (page, pages) in [(0, 20), (30, 20)] {
            assert_eq!(root.map(parent.handle, memory, PLACE + page * PAGE, RW, pages).await.error(), None);
        }
        let mut from = PLACE;
        loop {
            let answer = user
                .method(child.handle, process::SHARE_RANGE, [parent.handle.0, from, PLACE + 64 * PAGE - from, 0])
                .await;
            match answer.error() {
                None => break,
                Some(Error::More) => from = answer.words[0],
                Some(error) => panic!("{error:?}"),
            }
        }
        // Both can read; the first write of either is a fault that says so.
        for process in [&parent, &child] {
            let log = Log::new();
            let noted = log.clone();
            root.start(Plan::new(process, "writer").priority(10).fault(faults), |user| async move {
                user.load_word(PLACE + 45 * PAGE).await;
                user.store_word(PLACE + 7 * PAGE, 1).await;
                noted.note("wrote");
            })
            .await;
            let fault = user.receive(gate).ok().await;
            assert_eq!(fault.words[0], PLACE + 7 * PAGE);
            assert_eq!(fault.words[2], notice::access::WRITE | notice::access::PRESENT);
            // The pager's answer: a page of its own.
            user.method(process.handle, process::UNMAP, [PLACE + 7 * PAGE, PAGE, 0, 0]).ok().await;
            let copy = root.memory(1).await;
            assert_eq!(root.map(process.handle, copy, PLACE + 7 * PAGE, RW, 1).await.error(), None);
            user.reply(fault.request).ok().await;
            root.until_noted(&log, 1).await;
            // The program's end is an exception, too.
            let end = user.receive(gate).ok().await;
            assert_eq!(end.label, notice::FAULT_EXCEPTION);
            user.reply(end.request).label(1).ok().await;
        }
        // Kept shared, on request.
        let third = root.process().await;
        let shared = root.memory(3).await;
        assert_eq!(root.map(parent.handle, shared, PLACE + 100 * PAGE, RW, 3).await.error(), None);
        user.method(third.handle, process::SHARE_RANGE, [parent.handle.0, PLACE + 100 * PAGE, 3 * PAGE, 0])
            .option(1)
            .ok()
            .await;
        let log = Log::new();
        for process in [&parent, &third] {
            let noted = log.clone();
            root.start(Plan::new(process, "writer").priority(10), |user| async move {
                let old = user.load_word(PLACE + 101 * PAGE).await;
                user.store_word(PLACE + 101 * PAGE, old + 1).await;
                noted.note(format!("{old}"));
            })
            .await;
        }
        root.until_noted(&log, 2).await;
        log.assert(&["0", "1"]);
    });
}

#[test]
fn buffers_that_become_copy_on_write_lose_no_byte() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let user = root.user.clone();
        let log = Log::new();
        let connection = pair.sending;
        let noted = log.clone();
        let client = root
            .start(Plan::new(&pair.client, "client").priority(10), |user| async move {
                let answer = user.call(connection).room(DATA, 8000).ok().await;
                assert_eq!(answer.moved, 8000);
                assert_eq!(user.load(DATA + 7999, 1).await.unwrap(), [9]);
                noted.note("answered");
            })
            .await;
        root.until_state(client, State::Send).await;
        let message = user.receive(pair.gate).ok().await;
        // Another thread forks meanwhile.
        let child = root.process_with(abi::Quota { mappings: 30, ..simulator::scenario::QUOTA }).await;
        user.method(child.handle, process::UNMAP, [DATA, 8 * PAGE, 0, 0]).ok().await;
        user.method(child.handle, process::SHARE_RANGE, [pair.client.handle.0, DATA, 8 * PAGE, 0]).ok().await;
        let bytes = abi::boot::STACK_TOP - 3 * PAGE;
        user.store(bytes - 4096, &[9; 8000]).await.unwrap();
        let reply = user.reply(message.request).send(bytes - 4096, 8000).await;
        assert_eq!((reply.error(), reply.moved), (Some(Error::LenderFault), 0));
        user.method(pair.client.handle, process::PROTECT, [DATA | RW, 8 * PAGE, 0, 0]).ok().await;
        assert_eq!(user.reply(message.request).send(bytes - 4096, 8000).ok().await.moved, 8000);
        root.until_noted(&log, 1).await;
    });
}

#[test]
fn share_range_takes_the_part_of_a_record_that_is_in_the_range() {
    scenario(|root| async move {
        let (parent, child) = (root.process().await, root.process().await);
        let user = root.user.clone();
        let memory = root.memory(10).await;
        assert_eq!(root.map(parent.handle, memory, PLACE, RW, 10).await.error(), None);
        for option in [0, 1] {
            user.method(child.handle, process::SHARE_RANGE, [parent.handle.0, PLACE + 3 * PAGE, 4 * PAGE, 0])
                .option(option)
                .ok()
                .await;
            // One of its own for data.
            assert_eq!(root.usage(child.handle).await.used.mappings, 2);
            for (first, pages, mapped) in [(0, 3, true), (2, 2, false), (6, 2, false), (7, 3, true)] {
                let answer = root.map(child.handle, memory, PLACE + first * PAGE, RW, pages).await;
                assert_eq!(answer.error().is_none(), mapped, "{first} {pages}");
            }
            user.method(child.handle, process::UNMAP, [PLACE, 10 * PAGE, 0, 0]).ok().await;
        }
    });
}

/// However large a record is, it is changed a large page at a time, with interrupts taken in between, and is one record after.
#[test]
fn protecting_a_large_record_goes_in_pieces_and_leaves_one_record() {
    for large_pages in [false, true] {
        scenario_with(Settings { large_pages, ..Settings::default() }, |root| async move {
            let process = root.process().await;
            let user = root.user.clone();
            let pages = 3 * 512 + 7;
            let memory = root.aligned_memory(pages, 512).await;
            let start = PLACE + 5 * PAGE;
            assert_eq!(root.map(process.handle, memory, start, RW, pages).await.error(), None);
            let before = root.usage(process.handle).await.used;
            let mut words = [start | access::READ, pages * PAGE, 0, 0];
            let mut rounds = 0;
            loop {
                let answer = user.method(process.handle, process::PROTECT, words).await;
                let used = root.usage(process.handle).await.used.mappings;
                assert!(used <= before.mappings + 2, "{used}");
                if answer.error().is_none() {
                    break;
                }
                assert_eq!(answer.error(), Some(Error::More));
                words = answer.words;
                rounds += 1;
            }
            assert!(rounds >= 3, "{rounds}");
            assert_eq!(root.usage(process.handle).await.used.mappings, before.mappings);
            // A part in the middle is a record of its own, and comes back to the others.
            for (bits, records) in [(RW, 2), (access::READ, 0)] {
                let part = [(start + 600 * PAGE) | bits, PAGE, 0, 0];
                user.method(process.handle, process::PROTECT, part).repeat().await;
                let used = root.usage(process.handle).await.used.mappings;
                assert!(used <= before.mappings + 2 && (records == 0 || used == before.mappings + records), "{used}");
            }
            // Records that need no change are passed over, a bounded number at a time.
            for page in (0..100).step_by(2) {
                user.method(process.handle, process::PROTECT, [(start + page * PAGE) | RW, PAGE, 0, 0]).repeat().await;
            }
            let all = [start | access::READ, pages * PAGE, 0, 0];
            assert_eq!(user.method(process.handle, process::PROTECT, all).await.error(), Some(Error::More));
            assert_eq!(user.method(process.handle, process::PROTECT, all).repeat().await.error(), None);
            user.method(process.handle, process::UNMAP, [start, pages * PAGE, 0, 0]).repeat().await;
            assert_eq!(root.usage(process.handle).await.used.mappings, before.mappings - 1);
        });
    }
}

/// A pager maps page after page. What goes on where the mapping before it ends, of the same Memory with the same access, is more of
/// that record; and unmapping takes any part of it out again.
#[test]
fn what_goes_on_where_a_mapping_ends_is_one_record_with_it() {
    scenario(|root| async move {
        let process = root.process().await;
        let (user, own) = (root.user.clone(), root.usage(process.handle).await.used.mappings);
        let (memory, other) = (root.memory(1100).await, root.memory(16).await);
        let share = [memory.0, u64::from(Rights::READ.and(Rights::WRITE).0), 0, 0];
        let lesser = user.method(Handle::SELF_PROCESS, process::DUPLICATE, share).ok().await.handle();
        // Memory, page, offset, pages, access, and how many records there are then.
        let maps = [
            (memory, 0, 0, 1, RW, 1),
            (memory, 1, 1, 1, RW, 1),
            (memory, 2, 2, 5, RW, 1),
            // Another access, what was permitted at most, offset, Memory; a gap between them; what ends where another begins.
            (memory, 7, 7, 1, access::READ, 2),
            (memory, 8, 8, 1, RW, 3),
            (lesser, 9, 9, 1, RW, 4),
            (memory, 10, 9, 1, RW, 5),
            (other, 11, 10, 1, RW, 6),
            (other, 14, 12, 1, RW, 7),
            (other, 13, 11, 1, RW, 8),
            // Up to the end of a large page's place, on to as many pages as are extended, one more, across such an end, and behind
            // what is longer.
            (memory, 900, 0, 124, RW, 9),
            (memory, 1024, 124, 4, RW, 9),
            (memory, 1028, 128, 1, RW, 10),
            (memory, 1029, 129, 1, RW, 10),
            (memory, 1030, 130, 507, RW, 11),
            (memory, 1537, 637, 70, RW, 12),
        ];
        for (number, (memory, page, offset, pages, bits, records)) in maps.into_iter().enumerate() {
            let words = [memory.0, (PLACE + page * PAGE) | bits, offset * PAGE, pages * PAGE];
            assert_eq!(user.method(process.handle, process::MAP, words).repeat().await.error(), None, "map {number}");
            assert_eq!(root.usage(process.handle).await.used.mappings, own + records, "map {number}");
        }
        let again = [memory.0, (PLACE + 6 * PAGE) | RW, 6 * PAGE, PAGE];
        user.method(process.handle, process::MAP, again).fails(Error::Busy).await;
        // A hole in the first, then the rest, page by page in disorder.
        for (page, records) in [(3, 13), (0, 13), (6, 13), (5, 13), (1, 13), (4, 12), (2, 11)] {
            user.method(process.handle, process::UNMAP, [PLACE + page * PAGE, PAGE, 0, 0]).ok().await;
            assert_eq!(root.usage(process.handle).await.used.mappings, own + records, "page {page}");
        }
        root.destroy(memory).await;
        assert_eq!(root.usage(process.handle).await.used.mappings, own + 3);
    });
}

/// A record that could not go on, as there is no frame for another page table, is what it was.
#[test]
fn a_record_that_cannot_go_on_stays_as_it_was() {
    scenario(|root| async move {
        let process = root.process().await;
        let (user, memory) = (root.user.clone(), root.memory(600).await);
        let first = [memory.0, (PLACE + 500 * PAGE) | RW, 0, 12 * PAGE];
        user.method(process.handle, process::MAP, first).repeat().await;
        let used = root.usage(process.handle).await.used;
        let quota = |pages| simulator::scenario::quota_bytes(&abi::Quota { pages, ..simulator::scenario::QUOTA });
        let limit = async |pages| {
            let place = abi::boot::STACK_TOP - 2 * PAGE;
            user.store(place, &quota(pages)).await.unwrap();
            user.method(process.handle, process::SET_QUOTA, [0; 4]).send(place, quota(pages).len() as u64).ok().await;
        };
        limit(used.pages).await;
        let second = [memory.0, (PLACE + 512 * PAGE) | RW, 12 * PAGE, 3 * PAGE];
        user.method(process.handle, process::MAP, second).fails(Error::QuotaExceeded).await;
        assert_eq!(root.usage(process.handle).await.used, used);
        limit(used.pages + 1).await;
        user.method(process.handle, process::MAP, second).ok().await;
        assert_eq!(root.usage(process.handle).await.used, abi::Quota { pages: used.pages + 1, ..used });
        user.method(process.handle, process::UNMAP, [PLACE + 500 * PAGE, 15 * PAGE, 0, 0]).repeat().await;
        assert_eq!(root.usage(process.handle).await.used.mappings, used.mappings - 1);
    });
}

/// Parts of parts are found by going down from the whole: not deeper than a bound.
#[test]
fn memory_is_derived_from_memory_a_bounded_number_of_times() {
    scenario(|root| async move {
        let user = root.user.clone();
        let whole = root.memory(1).await;
        let (mut part, mut depth) = (whole, 0);
        let refused = loop {
            let words = [Handle::SELF_PROCESS.0, 0, PAGE, u64::from(Rights::ALL.0)];
            let derived = user.method(part, memory::DERIVE, words).await;
            match derived.error() {
                None => (part, depth) = (derived.handle(), depth + 1),
                Some(error) => break error,
            }
            assert!(depth < 100);
        };
        // The whole is itself a part of all RAM.
        assert_eq!((refused, depth), (Error::QuotaExceeded, 30));
        root.destroy(whole).await;
        user.method(part, memory::INFORMATION, [0; 4]).fails(Error::BadHandle).await;
    });
}
