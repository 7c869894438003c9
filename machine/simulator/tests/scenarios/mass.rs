//! As much of everything as there can be: thousands of deaths at once, all priorities, all objects of a kind.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use abi::object::{Kind, gate, memory, process, pulse};
use abi::{Error, Handle, Quota, Rights};
use kernel::{Capacities, Kernel};
use simulator::scenario::{Log, Plan, QUOTA, Root, quota_bytes};
use simulator::{Processor, Settings, scenario, simulation};

const OWN: Handle = Handle::SELF_PROCESS;
const SCRATCH: u64 = abi::boot::STACK_TOP - 3000;
const THREADS: u64 = 2_000;
const CONNECTIONS: u64 = 1_500;
const CHILDREN: u64 = 60;
/// Pulses that tell of one death.
const PULSES: u64 = 8;
/// Badges of what dies: threads from 0 on, then these.
const CLOSED: u64 = 10_000;
const PROCESS: u64 = 20_000;
const CHILD: u64 = 30_000;

/// A process with threads, children and connections, of each of which one is told when it dies; root's handle to it.
async fn doomed(root: &Root, told: Handle) -> Handle {
    let user = &root.user;
    let quota = Quota { processes: 70, threads: 2_100, pages: 400, ..QUOTA };
    user.store(SCRATCH, &quota_bytes(&quota)).await.unwrap();
    let victim = user.method(OWN, process::CREATE_PROCESS, [77, 0, 0, 0]).send(SCRATCH, 40).ok().await.handle();
    user.method(victim, process::GROW_HANDLES, [CONNECTIONS + 64, 0, 0, 0]).repeat().await;
    let bind = async |object: Handle, badge: u64| {
        let death = user.method(OWN, process::CREATE_PULSE, [told.0, badge, 10 << 8, 0]).ok().await.handle();
        user.method(death, pulse::BIND_DEATH, [object.0, 0, 0, 0]).ok().await;
        root.close(death).await;
    };
    for badge in 0..THREADS {
        let thread = user.method(victim, process::CREATE_THREAD, [0; 4]).ok().await.handle();
        bind(thread, badge).await;
        root.close(thread).await;
    }
    user.store(SCRATCH, &quota_bytes(&Quota { pages: 3, priority: 5, ..Quota::default() })).await.unwrap();
    for badge in 0..CHILDREN {
        let child = user.method(victim, process::CREATE_PROCESS, [78, 0, 0, 0]).send(SCRATCH, 40).ok().await.handle();
        bind(child, CHILD + badge).await;
        root.close(child).await;
    }
    for badge in 0..PULSES {
        bind(victim, PROCESS + badge).await;
    }
    for badge in 0..CONNECTIONS {
        let connection = user.method(told, gate::CONNECT, [CLOSED + badge, 0, 0, 0]).ok().await.handle();
        user.method(victim, process::GIVE, [connection.0, u64::from(Rights::SEND.0), 0, 0]).ok().await;
        root.close(connection).await;
    }
    victim
}

/// Whoever is to hear of it waits, or comes when all is over; meanwhile somebody stronger has its periods.
#[test]
fn thousands_of_deaths_at_once_are_each_told_once_while_others_meet_their_deadlines() {
    const ALL: u64 = THREADS + CHILDREN + PULSES + CONNECTIONS;
    /// Most that may go between two looks at what is pending, and how late a stronger thread may be, ns.
    const GONE: u32 = 16;
    const LATE: u64 = 2_000;
    for waits in [true, false] {
        let capacities = Capacities { threads: 4096, pulses: 4096, ..simulation::capacities() };
        let settings = Settings {
            capacities,
            check_every: 1 << 20,
            objects_every: 1 << 20,
            patience: 20_000_000,
            ..Settings::default()
        };
        let earlier = Cell::new(0);
        let watch = move |kernel: &Kernel<Processor>| {
            let now = kernel.objects(Kind::Thread) + kernel.objects(Kind::Connection) + kernel.objects(Kind::Process);
            assert!(earlier.replace(now).saturating_sub(now) <= GONE, "too much in one piece");
        };
        let body = move |root: Root| async move {
            let supervisor = root.process().await;
            let told = root.gate(&supervisor).await;
            let victim = doomed(&root, told).await;
            let late = periods(&root).await;
            let own = root.give_gate(&supervisor, told).await;
            let badges = Rc::new(RefCell::new(Vec::new()));
            let heard = badges.clone();
            let plan = Plan::new(&supervisor, "supervisor").priority(if waits { 100 } else { 30 });
            root.start(plan, move |user| async move {
                loop {
                    let message = user.receive(own).ok().await;
                    let number = if message.status().is_notice() { abi::notice::CLOSED } else { message.words[0] };
                    assert_eq!(number, 1, "told twice at once");
                    heard.borrow_mut().push(message.badge);
                }
            })
            .await;
            root.destroy(victim).await;
            let heard = badges.clone();
            root.until(move || heard.borrow().len() as u64 >= ALL).await;
            root.sleep(1_000_000).await;
            let mut badges = badges.borrow().clone();
            badges.sort_unstable();
            let runs = [(0, THREADS), (CLOSED, CONNECTIONS), (PROCESS, PULSES), (CHILD, CHILDREN)];
            assert!(badges.into_iter().eq(runs.into_iter().flat_map(|(first, count)| first..first + count)));
            assert!(late.get() < LATE, "{} ns late", late.get());
        };
        simulation::run_watched(1, settings, body, watch);
    }
}

/// Somebody stronger that counts periods of 20 µs, and misses none: how late it was at most, ns.
async fn periods(root: &Root) -> Rc<Cell<u64>> {
    const PERIOD: u64 = 20_000;
    let keeper = root.process().await;
    let alarms = root.gate(&keeper).await;
    let alarm = root.pulse(&keeper, alarms, 1, 200, true, Handle::NONE).await;
    let own = root.give_gate(&keeper, alarms).await;
    let start = root.user.now() + 10 * PERIOD;
    let latest = Rc::new(Cell::new(0));
    let late = latest.clone();
    root.start(Plan::new(&keeper, "keeper").priority(200), move |user| async move {
        for period in 0.. {
            assert_eq!(user.receive(own).ok().await.words[0], 1, "a period was missed");
            late.set(late.get().max(user.now() - (start + period * PERIOD)));
        }
    })
    .await;
    root.alarm(alarm, start, PERIOD).await;
    latest
}

#[test]
fn each_of_256_priorities_goes_before_those_below_it() {
    scenario(|root| async move {
        let user = root.user.clone();
        let process =
            root.process_with(Quota { threads: 300, batons: 300, mappings: 400, priority: 255, ..QUOTA }).await;
        // Nothing of it runs before all are ready.
        let own = user.method(OWN, process::CREATE_BATON, [255, 0, 0, 0]).ok().await.handle();
        user.method(Handle::CURRENT_THREAD, abi::object::thread::SET_BATON, [own.0, 0, 0, 0]).ok().await;
        let log = Log::new();
        for number in 0..=255_u32 {
            // In an order that is neither.
            let priority = (number * 91 + 13) as u8;
            let noted = log.clone();
            root.start(Plan::new(&process, "one").priority(priority), move |user| async move {
                let _ = user.compute(300).await;
                noted.note(format!("{priority}"));
            })
            .await;
        }
        assert!(log.is_empty());
        root.until_noted(&log, 256).await;
        let expected: Vec<String> = (0..=255).rev().map(|priority: u8| priority.to_string()).collect();
        log.assert(&expected.iter().map(String::as_str).collect::<Vec<_>>());
    });
}

#[test]
fn there_are_65_535_objects_of_each_kind() {
    const MOST: u32 = 65_535;
    let capacities = Capacities {
        threads: 1 << 16,
        handle_pages: 1 << 17,
        processes: 1 << 16,
        batons: 1 << 16,
        gates: 1 << 16,
        connections: 1 << 16,
        pulses: 1 << 16,
        memories: 1 << 16,
        mappings: 4096,
        frames: 1 << 17,
    };
    let settings = Settings {
        capacities,
        check_every: 1 << 30,
        objects_every: 1 << 30,
        patience: 100_000_000,
        ..Settings::default()
    };
    let count = Rc::new(Cell::new([0; 9]));
    let counted = count.clone();
    let body = |root: Root| async move {
        let user = root.user.clone();
        let (told, ram) = (root.own_gate(), root.record().ram[0]);
        let mut keepers = Vec::new();
        for _ in 0..5 {
            let keeper = root.process_with(Quota { mappings: 4, pages: 300, ..Quota::default() }).await.handle;
            user.method(keeper, process::GROW_HANDLES, [1 << 14, 0, 0, 0]).repeat().await;
            keepers.push(keeper);
        }
        user.store(SCRATCH, &quota_bytes(&Quota { pages: 2, ..Quota::default() })).await.unwrap();
        for made in [
            user.method(OWN, process::CREATE_THREAD, [0; 4]),
            user.method(OWN, process::CREATE_BATON, [5, 0, 0, 0]),
            user.method(OWN, process::CREATE_GATE, [0; 4]),
            user.method(OWN, process::CREATE_PULSE, [told.0, 1, 0, 0]),
            user.method(ram, memory::DERIVE, [OWN.0, 0, abi::PAGE_SIZE, 0]),
            user.method(OWN, process::CREATE_PROCESS, [9, 0, 0, 0]).send(SCRATCH, 40),
        ] {
            let refused = loop {
                let answer = made.clone().await;
                if answer.error().is_some() {
                    break answer.error();
                }
                root.close(answer.handle()).await;
            };
            assert!(matches!(refused, Some(Error::QuotaExceeded | Error::Exhausted)), "{refused:?}");
        }
        // A connection lives as long as it has handles, and a process has no more of them than a quarter of all connections.
        'all: for keeper in keepers {
            for badge in 0.. {
                let made = user.method(told, gate::CONNECT, [badge, 0, 0, 0]).await;
                if made.error().is_some() {
                    break 'all;
                }
                let given = user.method(keeper, process::GIVE, [made.handle().0, 1, 0, 0]).await;
                if given.error().is_some() {
                    root.close(made.handle()).await;
                    break;
                }
                root.close(made.handle()).await;
            }
        }
    };
    simulation::run_watched(1, settings, body, move |kernel| {
        let mut most = counted.get();
        for kind in (1..).map_while(Kind::from_number).take_while(|kind| *kind != Kind::Reserved) {
            most[kind as usize] = most[kind as usize].max(kernel.objects(kind));
        }
        counted.set(most);
    });
    assert_eq!(count.get(), [0, MOST, MOST, MOST, MOST, MOST, MOST, MOST, 0]);
}
