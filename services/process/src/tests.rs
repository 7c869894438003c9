//! The whole server against a model of the kernel: processes with memory that can be read and written.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::vec::Vec;

use abi::{Handle, PAGE_SIZE, notice};
use protocol::process::{NAME_SPACE, Request, map_flags};

use crate::image::Image;
use crate::kernel::{self, PassedMemory, model};
use crate::server::{Call, Outcome, Server, badge};
use crate::table::State;

const BASE: u64 = 0x40_0000;
const BLOCK: u64 = abi::NATIVE_BASE + 0x2000_0000;

struct Bench {
    server: Server,
    requests: u64,
}

/// An answer: label, words, bytes.
type Answer = (u64, [u64; 4], Vec<u8>);

impl Bench {
    fn new(pages: u32) -> Self {
        let mut server = Server::new(Handle(1), Handle(2), crate::ram::tests::ram(pages));
        let archive = Rc::new(PassedMemory { handle: Handle(5), length: 1 << 20, base: 0 });
        server.image = Image::new(&crate::image::tests::file(), archive, 0x4000, &mut server.ram);
        assert!(server.image.is_some());
        server.process_limit = 40;
        let page = model::with(|world| world.object());
        server.system_page = (page, 0x3000);
        Self { server, requests: 1000 }
    }

    /// Send a message; gives the request and the answer, if it came at once.
    fn send(
        &mut self,
        badge: u64,
        (label, words): (u64, [u64; 4]),
        bytes: &[u8],
        gift: Option<Handle>,
    ) -> (u64, Option<Answer>) {
        self.requests += 1;
        let request = self.requests;
        model::with(|world| world.sent.insert(request, bytes.to_vec()));
        self.server.gift = gift;
        let call = Call { request, badge, label, words, sent: bytes.len() as u64, room: 1 << 20, bytes };
        let answer = match self.server.serve(&call) {
            Outcome::Answer(reply) => Some((reply.label, reply.words, Vec::new())),
            Outcome::Bytes(reply, count) => Some((reply.label, reply.words, self.server.out[..count].to_vec())),
            Outcome::Later => self.answered(request),
        };
        if let Some(unused) = self.server.gift.take() {
            kernel::close(unused);
        }
        (request, answer)
    }

    fn answered(&self, request: u64) -> Option<Answer> {
        model::with(|world| world.replies.remove(&request)).map(|answer| (answer.label, answer.words, answer.bytes))
    }

    fn badge(&self, pid: u32) -> u64 {
        badge::make(badge::POSIX, self.server.table.process(pid).map_or(0, |process| process.epoch), pid)
    }

    fn ask(&mut self, pid: u32, request: Request) -> Option<Answer> {
        let badge = self.badge(pid);
        self.send(badge, request.encode(), &[], None).1
    }

    fn wait_later(&mut self, pid: u32, request: Request) -> u64 {
        let badge = self.badge(pid);
        let (id, answer) = self.send(badge, request.encode(), &[], None);
        assert_eq!(answer, None, "it should wait");
        id
    }

    fn ok(&mut self, pid: u32, request: Request) -> [u64; 4] {
        match self.ask(pid, request) {
            Some((0, words, _)) => words,
            other => panic!("{request:?}: {other:?}"),
        }
    }

    /// A first process with eight writable pages at `BASE`.
    fn spawn(&mut self) -> u32 {
        let name_space = model::with(|world| world.object());
        let (_, answer) = self.send(0, Request::Spawn { flags: 0 }.encode(), &[], Some(name_space));
        let pid = answer.map_or(0, |answer| answer.1[0]) as u32;
        self.exec(pid);
        pid
    }

    fn exec(&mut self, pid: u32) {
        self.ok(pid, Request::ExecBegin {});
        self.ok(pid, Request::ExecMap { address: BASE, length: 8 * PAGE_SIZE, access: 3, memory_offset: 0 });
        let badge = self.badge(pid);
        let write = Request::ExecWrite { address: BASE + 5 }.encode();
        assert_eq!(self.send(badge, write, b"hello", None).1.map(|answer| answer.0), Some(0));
        let blob = Request::ExecWrite { address: protocol::process::BLOB_ADDRESS }.encode();
        assert_eq!(self.send(badge, blob, &[7; 5000], None).1.map(|answer| answer.0), Some(0));
        let commit = Request::ExecCommit { block: BLOCK }.encode();
        self.send(badge, commit, b"prog\0prog\0-x\0", None);
        let process = self.server.table.process(pid).map(|process| (process.state, process.executed, process.embryo));
        assert_eq!(process, Some((State::Running, true, 0)));
    }

    fn fork(&mut self, pid: u32) -> Option<u32> {
        let request = Request::Fork { entry: 1, stack: 2, argument: 3, block: BLOCK };
        self.ask(pid, request).filter(|answer| answer.0 == 0).map(|answer| answer.1[0] as u32)
    }

    fn exit(&mut self, pid: u32, status: u64) {
        assert_eq!(self.ask(pid, Request::Exit { status }), None);
    }

    /// The physical address behind an address, faulting as a processor would.
    fn touch(&mut self, pid: u32, address: u64, write: bool) -> Option<Result<u64, u8>> {
        for _ in 0..4 {
            let space = self.server.space_of(pid).ok()?;
            let process = self.server.spaces.get(&space)?.process;
            let page = model::with(|world| world.processes.get(&process)?.pages.get(&(address / PAGE_SIZE)).copied());
            let needed = if write { 3 } else { 1 };
            if let Some(mapped) = page
                && mapped.access & needed == needed
            {
                return Some(if mapped.memory == Handle(77) {
                    Ok(mapped.offset + address % PAGE_SIZE)
                } else {
                    Err((mapped.offset / PAGE_SIZE) as u8)
                });
            }
            let access = if write { notice::access::WRITE } else { 0 }
                | if page.is_some() { notice::access::PRESENT } else { 0 };
            let words = [address, 0, access, u64::from(pid) | space << 32];
            let answer = self.send(badge::make(badge::FAULT, 0, 0), (notice::FAULT_PAGE, words), &[], None).1?;
            if answer.0 != 0 {
                return None;
            }
        }
        panic!("the fault at {address:#x} repeats for ever");
    }

    fn read(&mut self, pid: u32, address: u64) -> Option<u8> {
        match self.touch(pid, address, false)? {
            Ok(physical) => {
                let mut byte = [0];
                crate::window::read(physical, &mut byte);
                Some(byte[0])
            }
            Err(byte) => Some(byte),
        }
    }

    fn write(&mut self, pid: u32, address: u64, byte: u8) -> bool {
        match self.touch(pid, address, true) {
            Some(Ok(physical)) => {
                crate::window::write(physical, &[byte]);
                true
            }
            _ => false,
        }
    }

    /// What must always hold.
    fn check(&self) {
        let server = &self.server;
        let mut uses: BTreeMap<u32, u32> = BTreeMap::new();
        let mut committed = 1;
        let mut shared_seen = Vec::new();
        for space in server.spaces.values() {
            for (_, frame) in space.pages.range(0, u64::MAX) {
                *uses.entry(frame.0).or_default() += 1;
            }
            for (start, end, kind) in space.areas.from(0) {
                let pages = (end - start) / PAGE_SIZE;
                if kind.charged {
                    committed += pages;
                } else if !kind.is_shared() {
                    committed += space.pages.resident(start / PAGE_SIZE, end / PAGE_SIZE);
                }
                if let crate::area::Backing::Shared(shared, _) = &kind.backing {
                    let shared = shared.borrow();
                    if !shared_seen.contains(&shared.id) {
                        shared_seen.push(shared.id);
                        committed += shared.charge;
                        for (_, frame) in shared.pages.range(0, u64::MAX) {
                            *uses.entry(frame.0).or_default() += 1;
                        }
                    }
                }
            }
        }
        assert_eq!(server.ram.committed(), committed, "what is charged");
        let mut image_frames = 0;
        for (&frame, &count) in &uses {
            let real = server.ram.frames.uses(crate::frames::Frame(frame));
            assert!(real == count || real == count + 1, "frame {frame} is used {count} times, not {real}");
            image_frames += u32::from(real == count + 1);
        }
        assert!(image_frames <= 1, "only the image's frame has a use of its own");
        for space in server.spaces.values() {
            model::with(|world| {
                for (&page, mapped) in &world.processes[&space.process].pages {
                    if mapped.memory != Handle(77) {
                        continue;
                    }
                    let frame = space.pages.find(page).map(|frame| server.ram.frames.physical(frame));
                    assert_eq!(frame, Some(mapped.offset), "page {page:#x} is mapped to what it has");
                    let area = space.areas.find(page * PAGE_SIZE);
                    let Some(area) = area else { panic!("mapped outside of areas") };
                    if mapped.access & 2 != 0 {
                        assert!(area.kind.access & 2 != 0, "writable against its area");
                        let frame = space.pages.find(page).unwrap_or(crate::frames::Frame(0));
                        assert!(
                            area.kind.is_shared() || server.ram.frames.uses(frame) == 1,
                            "a shared private page is writable"
                        );
                    }
                }
            });
        }
    }
}

#[test]
fn a_process_is_spawned_runs_and_leaves_nothing_behind() {
    let mut bench = Bench::new(400);
    let (free, committed) = (bench.server.ram.frames.free(), bench.server.ram.committed());
    let pid = bench.spawn();
    bench.check();
    assert_eq!((bench.read(pid, BASE + 5), bench.read(pid, BASE)), (Some(b'h'), Some(0)));
    assert_eq!(bench.read(pid, protocol::process::BLOB_ADDRESS + 4999), Some(7));
    assert_eq!(bench.read(pid, protocol::process::LIBRARY_ADDRESS + 0x1000), Some(b'l'));
    assert!(bench.write(pid, protocol::process::LIBRARY_ADDRESS + 0x1000, b'L'));
    assert!(bench.write(pid, protocol::process::LIBRARY_ADDRESS + 0x2000, 1));
    assert!(!bench.write(pid, protocol::process::LIBRARY_ADDRESS, 0), "text is not written");
    assert!(bench.write(pid, protocol::process::START_STACK_TOP - 8, 1));
    assert_eq!(bench.read(pid, 0x1000), None);
    bench.check();
    let handles = model::with(|world| {
        let space = bench.server.space_of(pid).unwrap_or(0);
        world.processes[&bench.server.spaces[&space].process].handles.clone()
    });
    assert_eq!(handles.keys().copied().collect::<Vec<_>>(), [3, u64::from(NAME_SPACE.index())]);
    // A second image under the same pid.
    bench.exec(pid);
    bench.check();
    assert_eq!(bench.read(pid, protocol::process::LIBRARY_ADDRESS + 0x1000), Some(b'l'));
    let record = bench.ask(pid, Request::CommandLine { pid: 0 });
    assert_eq!(record.map(|answer| answer.2), Some(b"prog\0-x\0".to_vec()));
    bench.exit(pid, 3);
    // Its maker is init, which is a native here and does not wait.
    assert!(bench.server.table.process(pid).is_none());
    assert_eq!((bench.server.ram.frames.free(), bench.server.ram.committed()), (free, committed));
    assert!(
        bench.server.spaces.is_empty() && bench.server.table.threads.is_empty() && bench.server.deferred.is_empty()
    );
    model::with(|world| assert!(world.processes.is_empty() && world.threads.is_empty()));
}

#[test]
fn fork_copies_and_wait_reaps() {
    let mut bench = Bench::new(400);
    let parent = bench.spawn();
    assert!(bench.write(parent, BASE, 1));
    let Some(child) = bench.fork(parent) else { panic!("no child") };
    bench.check();
    assert_eq!(bench.read(child, BASE), Some(1));
    assert!(bench.write(child, BASE, 2) && bench.write(parent, BASE + PAGE_SIZE, 3));
    assert_eq!((bench.read(parent, BASE), bench.read(child, BASE + PAGE_SIZE)), (Some(1), Some(0)));
    bench.check();

    let wait = Request::Wait { selector: u64::MAX, options: 4 };
    let request = bench.wait_later(parent, wait);
    bench.exit(child, 42);
    let answer = bench.answered(request);
    assert_eq!(answer.map(|answer| (answer.0, answer.1[0], answer.1[1])), Some((0, u64::from(child), 42 << 8)));
    assert!(bench.server.table.process(child).is_none());
    assert_eq!(bench.ask(parent, wait).map(|answer| answer.0), Some(10), "ECHILD");
    bench.check();
}

/// What the kernel has to tell a thread it writes to its block, and it makes no faults.
#[test]
fn the_kernel_can_write_to_the_block_of_whom_it_tells() {
    const EXCEPTION: [u64; 3] = [6, 0, 0];
    let mut bench = Bench::new(400);
    let parent = bench.spawn();
    let flags = map_flags::FIXED | map_flags::LIBRARY;
    bench.ok(parent, Request::Map { address: BLOCK, length: PAGE_SIZE, access: 3, flags });
    bench.ok(parent, Request::SetMask { tid: parent.into(), mask: 0 });
    bench.ok(parent, Request::SetAction { signal: 10, disposition: 2, flags: 0 });
    let space = bench.server.space_of(parent).unwrap_or_default();
    let process = bench.server.spaces[&space].process;
    let writable = || {
        let access = |world: &mut model::World| {
            world.processes[&process].pages.get(&(BLOCK / PAGE_SIZE)).map(|page| page.access)
        };
        model::with(access).is_some_and(|access| access & 2 != 0)
    };
    let fault = |bench: &mut Bench, label, [first, second, third]: [u64; 3]| {
        let words = [first, second, third, u64::from(parent) | space << 32];
        bench.send(badge::make(badge::FAULT, 0, 0), (label, words), &[], None).1.map(|answer| answer.0)
    };
    for told in 0..3 {
        for child_lives in [true, false] {
            assert!(bench.write(parent, BLOCK, 1));
            // Now and then a fork copies no page at once.
            let mut forks = 0;
            while writable() {
                let Some(child) = bench.fork(parent) else { panic!("no child") };
                forks += 1;
                assert!(forks < 40, "no fork shares the block's page");
                if !child_lives || writable() {
                    bench.exit(child, 0);
                    bench.ok(parent, Request::Wait { selector: child.into(), options: 4 });
                }
            }
            match told {
                0 => drop(bench.ok(parent, Request::Kill { pid: parent.into(), signal: 10, code: 0, value: 0 })),
                1 => assert_eq!(fault(&mut bench, notice::FAULT_PAGE, [8, 0, 0]), Some(1), "refused"),
                _ => assert_eq!(fault(&mut bench, notice::FAULT_EXCEPTION, EXCEPTION), Some(0), "once more"),
            }
            assert!(writable(), "told in way {told}");
        }
    }
    // It could be told, and was not: that is the end.
    assert_eq!(fault(&mut bench, notice::FAULT_EXCEPTION, EXCEPTION), None);
    assert_eq!(bench.server.table.process(parent).map(|process| process.state), None);
}

#[test]
fn signals_interrupt_end_stop_and_continue() {
    let mut bench = Bench::new(400);
    let parent = bench.spawn();
    let Some(child) = bench.fork(parent) else { panic!("no child") };
    let thread = |bench: &Bench, pid: u32| bench.server.table.threads[&pid].handle;
    let interrupts = |bench: &Bench, pid: u32| model::with(|world| world.threads[&thread(bench, pid)].interrupts);
    bench.ok(child, Request::SetMask { tid: child.into(), mask: 0 });
    bench.ok(child, Request::SetAction { signal: 10, disposition: 2, flags: 0 });
    let kill = |signal| Request::Kill { pid: child.into(), signal, code: 0, value: 77 };
    bench.ok(parent, kill(10));
    assert_eq!(interrupts(&bench, child), 1);
    let taken = bench.ask(child, Request::TakeSignal { tid: child.into() });
    let Some((0, words, bytes)) = taken else { panic!("nothing taken") };
    assert_eq!((words[0], u32::from_le_bytes(bytes[12..16].try_into().unwrap_or_default())), (10, parent));
    assert_eq!(bench.ok(child, Request::TakeSignal { tid: child.into() })[0], 0);

    // Blocked, then not.
    bench.ok(child, Request::SetMask { tid: child.into(), mask: 1 << 9 });
    bench.ok(parent, kill(10));
    assert_eq!(interrupts(&bench, child), 1);
    assert_eq!(bench.ok(child, Request::SetMask { tid: child.into(), mask: 0 })[0], 1 << 9);
    assert_eq!(interrupts(&bench, child), 2);

    // Stop, continue, both reported; then the end by a signal.
    bench.ok(parent, Request::SetAction { signal: 17, disposition: 2, flags: 0 });
    bench.ok(parent, kill(19));
    let stopped = |bench: &Bench| model::with(|world| world.threads[&thread(bench, child)].stopped);
    assert!(stopped(&bench));
    let wait = Request::Wait { selector: child.into(), options: 2 | 8 };
    assert_eq!(bench.ok(parent, wait)[1], 0x137f);
    bench.ok(parent, kill(18));
    assert!(!stopped(&bench));
    assert_eq!(bench.ok(parent, wait)[1], 0xffff);
    let request = bench.wait_later(parent, wait);
    bench.server.unblock(request);
    assert_eq!(bench.answered(request).map(|answer| answer.0), Some(4), "EINTR");
    bench.ok(parent, kill(15));
    assert_eq!(bench.ok(parent, Request::Wait { selector: child.into(), options: 5 })[1], 15);
    bench.check();
}

#[test]
fn futexes_wait_wake_and_time_out() {
    let mut bench = Bench::new(400);
    let pid = bench.spawn();
    assert!(bench.write(pid, BASE, 5));
    let wait = |expected, deadline| Request::FutexWait { address: BASE, expected, deadline, flags: 0 };
    assert_eq!(bench.ask(pid, wait(4, u64::MAX)).map(|answer| answer.0), Some(11), "EAGAIN");
    let first = bench.wait_later(pid, wait(5, u64::MAX));
    let second = bench.wait_later(pid, wait(5, 1000));
    assert_eq!(bench.ok(pid, Request::FutexWake { address: BASE, count: 1, bitset: 0, flags: 1 })[0], 1);
    assert_eq!(bench.answered(first).map(|answer| answer.0), Some(0));
    model::with(|world| world.now = 1000);
    bench.server.expire_if_due();
    assert_eq!(bench.answered(second).map(|answer| answer.0), Some(110), "ETIMEDOUT");
    assert!(bench.server.deadlines.is_empty());

    // A thread's end clears its word and wakes.
    let tid = bench.ok(pid, Request::ThreadPrepare { block: BLOCK, maker: u64::from(pid) })[0];
    bench.ok(pid, Request::ThreadStart { tid, entry: 1, stack: 2, argument: 3 });
    let joined = bench.wait_later(pid, wait(5, u64::MAX));
    let exit = Request::ThreadExit { tid, clear: BASE, status: 0 };
    assert_eq!(bench.ask(pid, exit), None);
    assert_eq!(bench.answered(joined).map(|answer| answer.0), Some(0));
    assert_eq!(bench.read(pid, BASE), Some(0));
    bench.check();
}

#[test]
fn a_task_shares_memory_until_it_has_an_image_of_its_own() {
    let mut bench = Bench::new(400);
    let parent = bench.spawn();
    let answer = bench.ask(parent, Request::TaskPrepare { block: BLOCK, flags: 0 });
    let task = answer.map_or(0, |answer| answer.1[0]) as u32;
    bench.ok(parent, Request::TaskStart { pid: task.into(), entry: 1, stack: 2, argument: 3 });
    let waiting = bench.wait_later(parent, Request::TaskWait { pid: task.into() });
    assert!(bench.write(task, BASE, 9));
    assert_eq!(bench.read(parent, BASE), Some(9));
    bench.exec(task);
    assert_eq!(bench.answered(waiting).map(|answer| answer.0), Some(0));
    assert_eq!((bench.read(task, BASE), bench.read(parent, BASE)), (Some(0), Some(9)));
    bench.check();
    bench.exit(parent, 0);
    bench.check();
    bench.exit(task, 0);
    assert!(bench.server.spaces.is_empty());
}

#[test]
fn nothing_that_a_library_sends_is_trusted() {
    let mut bench = Bench::new(400);
    let pid = bench.spawn();
    let odd =
        [0, 1, 7, 0xfff, PAGE_SIZE, BASE, BASE + 1, u64::MAX, u64::MAX - 4095, 1 << 47, 1 << 63, abi::NATIVE_BASE];
    let mut seed = 3u64;
    for label in 0..0x90 {
        // These end it, as they should.
        if matches!(label, 3..=5) {
            continue;
        }
        for _ in 0..60 {
            let words = [0; 4].map(|_: u64| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                odd[(seed >> 33) as usize % odd.len()]
            });
            if label == 50 || label == 51 {
                continue;
            }
            let badge = bench.badge(pid);
            bench.send(badge, (label, words), &[0xff; 13], None);
        }
    }
    assert!(bench.server.table.process(pid).is_some());
    bench.check();
}

/// One page of a process as it should be.
#[derive(Clone)]
enum Content {
    Private(u8),
    Shared(Rc<Cell<u8>>),
}

/// Memory operations at random, compared with a simple model after each.
#[test]
fn memory_behaves_as_mmap_says() {
    for seed in 1..40 {
        behave(seed);
    }
}

fn behave(seed: u64) {
    const PAGES: u64 = 40;
    let mut bench = Bench::new(600);
    let first = bench.spawn();
    bench.ok(first, Request::Unmap { address: BASE, length: 8 * PAGE_SIZE });
    let mut expected: BTreeMap<u32, BTreeMap<u64, (u64, Content)>> = BTreeMap::from([(first, BTreeMap::new())]);
    let mut state = seed;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for _ in 0..300 {
        let pids: Vec<u32> = expected.keys().copied().collect();
        let pid = pids[random(pids.len() as u64) as usize];
        let start = random(PAGES);
        let count = 1 + random(12.min(PAGES - start));
        let (address, length) = (BASE + start * PAGE_SIZE, count * PAGE_SIZE);
        let range = start..start + count;
        match random(12) {
            0 | 1 => {
                let (access, shared) = ([3, 3, 1, 0, 5][random(5) as usize], random(3) == 0);
                let flags = map_flags::FIXED
                    | if shared { map_flags::SHARED } else { 0 }
                    | if random(2) == 0 { map_flags::NO_RESERVE } else { 0 };
                let done =
                    bench.ask(pid, Request::Map { address, length, access, flags }).is_some_and(|answer| answer.0 == 0);
                if done {
                    for page in range {
                        let content = if shared { Content::Shared(Rc::default()) } else { Content::Private(0) };
                        expected.entry(pid).or_default().insert(page, (access, content));
                    }
                }
            }
            2 => {
                bench.ok(pid, Request::Unmap { address, length });
                if let Some(pages) = expected.get_mut(&pid) {
                    pages.retain(|page, _| !range.contains(page));
                }
            }
            3 => {
                let access = [3, 1, 0, 7][random(4) as usize];
                let done =
                    bench.ask(pid, Request::Protect { address, length, access }).is_some_and(|answer| answer.0 == 0);
                if done {
                    for (_, page) in expected.entry(pid).or_default().range_mut(range) {
                        page.0 = access;
                    }
                }
            }
            4 => {
                let done =
                    bench.ask(pid, Request::Advise { address, length, advice: 4 }).is_some_and(|answer| answer.0 == 0);
                if done {
                    for (_, page) in expected.entry(pid).or_default().range_mut(range) {
                        if let Content::Private(value) = &mut page.1 {
                            *value = 0;
                        }
                    }
                }
            }
            5 if expected.len() < 5 => {
                if let Some(child) = bench.fork(pid) {
                    let copy = expected[&pid].clone();
                    expected.insert(child, copy);
                }
            }
            6 if expected.len() > 1 => {
                bench.exit(pid, 0);
                expected.remove(&pid);
            }
            7 => {
                let to = random(PAGES - count + 1);
                if to + count <= start || start + count <= to {
                    let badge = bench.badge(pid);
                    let target = (BASE + to * PAGE_SIZE).to_le_bytes();
                    let request = Request::Remap { address, old_length: length, new_length: length, flags: 3 };
                    let answer = bench.send(badge, request.encode(), &target, None).1;
                    if answer.is_some_and(|answer| answer.0 == 0)
                        && let Some(pages) = expected.get_mut(&pid)
                    {
                        for at in 0..count {
                            if let Some(page) = pages.remove(&(start + at)) {
                                pages.insert(to + at, page);
                            }
                        }
                    }
                }
            }
            8 => {
                let page = expected[&pid].get(&start).cloned();
                let read = bench.read(pid, address);
                let should = page.filter(|page| page.0 != 0).map(|page| match page.1 {
                    Content::Private(value) => value,
                    Content::Shared(value) => value.get(),
                });
                assert_eq!(read, should, "seed {seed}, page {start} of {pid}");
            }
            _ => {
                let value = random(256) as u8;
                let written = bench.write(pid, address, value);
                let page = expected.entry(pid).or_default().get_mut(&start);
                match page {
                    Some((access, content)) if *access & 2 != 0 => {
                        assert!(written, "seed {seed}, page {start} of {pid} cannot be written");
                        match content {
                            Content::Private(old) => *old = value,
                            Content::Shared(cell) => cell.set(value),
                        }
                    }
                    _ => assert!(!written, "seed {seed}: page {start} of {pid} was written"),
                }
            }
        }
        bench.check();
    }
    for pid in expected.into_keys() {
        bench.exit(pid, 0);
    }
    assert!(bench.server.spaces.is_empty());
    assert_eq!(bench.server.ram.committed(), 1, "the image's own frame");
    assert_eq!(bench.server.ram.frames.free(), bench.server.ram.frames.total() - 1);
}
