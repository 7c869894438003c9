//! A search for calls that take what a quota does not give: programs that ask for anything at random, in trees of
//! processes. After every step the sums of all quotas must be exact (the invariants count everything that there is).

use abi::object::{gate, memory, process};
use abi::{Error, Handle, Quota, Rights};
use simulator::scenario::{Log, Plan, QUOTA, Root, quota_bytes};
use simulator::{Settings, User, simulation};

const SCRATCH: u64 = simulator::scenario::DATA;
const PLACE: u64 = 0x60_0000_0000;
const PAGE: u64 = abi::PAGE_SIZE;
/// What a searcher does.
const STEPS: usize = 1_500;

fn small(user: &User) -> Quota {
    let some = |most: u64| user.world().random.below(most) as u32;
    Quota {
        processes: some(3),
        threads: some(4),
        batons: some(4),
        gates: some(4),
        connections: some(6),
        pulses: some(4),
        memories: some(4),
        mappings: some(8),
        pages: some(24),
        priority: some(120),
    }
}

/// Ask for anything, of the own process and of all that it can name.
async fn search(user: User, ram: Handle) {
    let mut handles = vec![Handle::SELF_PROCESS, ram];
    for _ in 0..STEPS {
        let pick = |handles: &[Handle]| handles[user.world().random.below(handles.len() as u64) as usize];
        let (target, other) = (pick(&handles), pick(&handles));
        let size = user.world().random.below(6) * PAGE;
        let place = PLACE + user.world().random.below(40) * PAGE;
        let all = u64::from(Rights::ALL.0);
        let quota = quota_bytes(&small(&user));
        let wish = user.world().random.below(18);
        let exchange = match wish {
            0 | 1 => {
                user.store(SCRATCH, &quota).await.expect("never moved");
                user.method(target, process::CREATE_PROCESS, [7, 0, 0, 0]).send(SCRATCH, 40)
            }
            2 => user.method(target, process::CREATE_THREAD, [0; 4]),
            3 => user.method(target, process::CREATE_BATON, [user.world().random.below(150), 0, 0, 0]),
            4 => user.method(target, process::CREATE_GATE, [0; 4]),
            5 => user.method(target, process::CREATE_PULSE, [other.0, 1, 0, 0]),
            6 => user.method(target, gate::CONNECT, [1, 0, 0, 0]),
            7 => user.method(target, memory::DERIVE, [other.0, 0, size, all]),
            8 | 9 => user.method(target, process::MAP, [other.0, place | 1, 0, size]),
            10 => user.method(target, process::UNMAP, [place, size, 0, 0]),
            11 => user.method(target, process::PROTECT, [place, size, 0, 0]),
            12 => user.method(target, process::SHARE_RANGE, [other.0, place, size, 0]),
            13 => user.method(target, process::GROW_HANDLES, [user.world().random.below(300), 0, 0, 0]),
            14 => user.method(target, process::GIVE, [other.0, all, 0, 0]),
            15 | 16 => {
                user.store(SCRATCH, &quota).await.expect("never moved");
                user.method(target, process::SET_QUOTA, [0; 4]).send(SCRATCH, 40)
            }
            _ if target == Handle::SELF_PROCESS || target == ram => continue,
            _ => user.method(Handle::SELF_PROCESS, process::DESTROY, [target.0, 0, 0, 0]),
        };
        // A connection is called with nobody there to answer.
        let answer = exchange.poll().await;
        // Those that make something.
        let makes = wish <= 7;
        if makes && answer.error().is_none() {
            handles.push(answer.handle());
        } else if answer.error() == Some(Error::TableFull) {
            let last = handles.pop().filter(|_| handles.len() >= 2);
            if let Some(last) = last {
                let _ = user.method(Handle::SELF_PROCESS, process::CLOSE, [last.0, 0, 0, 0]).await;
            } else {
                handles = vec![Handle::SELF_PROCESS, ram];
            }
        }
    }
}

async fn searched(root: Root) {
    let before = root.usage(Handle::SELF_PROCESS).await.used;
    let log = Log::new();
    let quiet = root.process().await;
    let sibling = root.process().await;
    let (idle, limits) = (root.usage(quiet.handle).await, root.usage(Handle::SELF_PROCESS).await.limit);
    let mut searchers = Vec::new();
    let spent = root.usage(Handle::SELF_PROCESS).await.used;
    for _ in 0..2 {
        let process = root.process_with(Quota { processes: 8, ..QUOTA }).await;
        let all = root.memory(16).await;
        let ram = root.give(&process, all, Rights::ALL).await;
        let noted = log.clone();
        root.start(Plan::new(&process, "search").round_robin(20, 20_000), |user| async move {
            search(user, ram).await;
            noted.note("searched");
        })
        .await;
        searchers.push(process);
    }
    while log.len() < 2 {
        root.sleep(200_000).await;
        // Whatever they found: what their sibling and their parent have is not less, and its limits are what they were.
        assert_eq!(root.usage(quiet.handle).await, idle);
        let now = root.usage(Handle::SELF_PROCESS).await;
        assert_eq!(now.limit, limits);
        assert_eq!(Quota { memories: 0, connections: 0, ..now.used }.threads, spent.threads + 2 * QUOTA.threads);
    }
    // All that the sibling was given can still be had.
    for _ in 0..QUOTA.threads {
        root.user.method(sibling.handle, process::CREATE_THREAD, [0; 4]).ok().await;
    }
    for process in searchers {
        root.destroy(process.handle).await;
    }
    root.destroy(sibling.handle).await;
    root.destroy(quiet.handle).await;
    let after = root.usage(Handle::SELF_PROCESS).await.used;
    // The Memories that root lent them are root's own.
    assert_eq!(Quota { memories: 0, ..after }, Quota { memories: 0, ..before });
}

#[test]
fn no_sequence_of_calls_takes_anything_beyond_a_quota_or_from_a_sibling() {
    for seed in 0..12 {
        let settings = Settings { check_every: 1, large_pages: seed % 2 == 0, ..Settings::default() };
        simulation::run(seed, settings, searched);
    }
}
