//! Held interrupts: only who re-arms the line unmasks it. If the holder dies, it neither storms nor is lost, and who comes
//! next re-arms it.

use std::cell::Cell;
use std::rc::Rc;

use abi::call::flags;
use abi::object::pulse;
use abi::thread::State;
use abi::{Error, Handle, Rights};
use simulator::scenario::{Log, Plan, Process, Root};
use simulator::{World, scenario};

use crate::interrupt::{acknowledge, bind};

const LINE: u64 = 6;
const LIMIT: u64 = 200_000;

/// What is different from case to case.
#[derive(Clone, Copy, Debug)]
struct Case {
    /// The whole process dies, not only the thread.
    process: bool,
    edge: bool,
    /// Somebody else takes the line, too.
    shared: bool,
    /// The line waits for no taker for ever.
    limited: bool,
}

fn cases() -> impl Iterator<Item = Case> {
    (0..16).map(|bits| Case {
        process: bits & 1 != 0,
        edge: bits & 2 != 0,
        shared: bits & 4 != 0,
        limited: bits & 8 != 0,
    })
}

/// The device wants attention.
fn ask(world: &World, edge: bool) {
    if edge { world.edge(LINE as u32) } else { world.set_line(LINE as u32, true) }
}

/// A holder takes the interrupt, holds it, receives on, and dies.
async fn hold_and_die(root: &Root, process: Process, gate: Handle, case: Case) {
    let own = root.give_gate(&process, gate).await;
    let log = Log::new();
    let noted = log.clone();
    let holder = root
        .start(Plan::new(&process, "holder").priority(50), |user| async move {
            user.receive(own).flags(flags::HOLD).ok().await;
            noted.note("held");
            user.receive(own).await;
            noted.note("again");
        })
        .await;
    root.until_state(holder, State::Receive).await;
    ask(root.user.world(), case.edge);
    root.until_noted(&log, 1).await;
    root.until_state(holder, State::Receive).await;
    assert!(root.user.world().is_masked(LINE as u32));
    root.destroy(if case.process { process.handle } else { holder.handle }).await;
    log.assert(&["held"]);
}

/// A further taker, that serves nothing: how often it was told.
async fn other(root: &Root) -> Rc<Cell<u32>> {
    let process = root.process().await;
    let gate = root.gate(&process).await;
    let taker = root.pulse(&process, gate, 9, 50, false, Handle::NONE).await;
    let own = root.give_gate(&process, gate).await;
    let told = Rc::new(Cell::new(0));
    let count = told.clone();
    root.start_server(Plan::new(&process, "other").priority(40), move |user| async move {
        loop {
            user.receive(own).ok().await;
            count.set(count.get() + 1);
        }
    })
    .await;
    bind(root, taker, LINE, 0, false).await;
    told
}

/// The pulse is a supervisor's and outlives the holder: the successor re-arms it (or its time is over), and hears what came.
#[test]
fn a_held_line_whose_holder_dies_waits_for_a_successor_that_rearms_it() {
    // Takers agree on how a line works: the other one's is level-triggered.
    for case in cases().filter(|case| !(case.edge && case.shared)) {
        scenario(move |root| async move {
            let world = root.user.world().clone();
            let supervisor = root.process().await;
            let gate = root.gate(&supervisor).await;
            let line = root.pulse(&supervisor, gate, 4, 50, false, Handle::NONE).await;
            bind(&root, line, LINE, if case.limited { LIMIT } else { 0 }, case.edge).await;
            let others = if case.shared { Some(other(&root).await) } else { None };
            let first = root.process().await;
            hold_and_die(&root, first, gate, case).await;
            // The device asks once more (an edge) or still (a level): nobody hears it while the line is held.
            ask(&world, case.edge);
            root.sleep(LIMIT / 4).await;
            assert!(world.is_masked(LINE as u32), "{case:?}");
            assert!(others.as_ref().is_none_or(|told| told.get() == 1), "{case:?}: a storm");
            root.sleep(LIMIT).await;
            // If its time is over, what came since waits for a receiver.
            assert!(world.is_masked(LINE as u32), "{case:?}");

            let successor = root.process().await;
            let own = root.give_gate(&successor, gate).await;
            let (rearm, ports) = (
                root.give(&successor, line, Rights::ALL).await,
                root.give(&successor, root.record().ports, Rights::ALL).await,
            );
            let taken = Rc::new(Cell::new(0));
            let count = taken.clone();
            root.start(Plan::new(&successor, "successor").priority(50), move |user| async move {
                if !case.limited {
                    user.method(rearm, pulse::REARM, [0; 4]).ok().await;
                }
                loop {
                    let message = user.receive(own).ok().await;
                    assert_eq!((message.badge, message.words[0]), (4, 1 << LINE));
                    acknowledge(&user, ports, LINE).await;
                    count.set(count.get() + 1);
                }
            })
            .await;
            let count = taken.clone();
            root.until(move || count.get() == 1).await;
            root.sleep(3 * LIMIT).await;
            assert_eq!(taken.get(), 1, "{case:?}: told again of what was served");
            // And it works.
            for round in 2..5 {
                ask(&world, case.edge);
                root.sleep(50_000).await;
                assert_eq!(taken.get(), round, "{case:?}");
                assert!(!world.is_masked(LINE as u32) && !world.line(LINE as u32), "{case:?}");
            }
        });
    }
}

/// The pulse dies with the process: other takers have the line again at once, and who binds it anew has, too.
#[test]
fn a_held_line_whose_pulse_dies_with_its_holder_is_the_others_again() {
    for case in cases().filter(|case| case.process && !(case.edge && case.shared)) {
        scenario(move |root| async move {
            let world = root.user.world().clone();
            let process = root.process().await;
            let gate = root.gate(&process).await;
            let line = root.pulse(&process, gate, 4, 50, false, Handle::NONE).await;
            bind(&root, line, LINE, if case.limited { LIMIT } else { 0 }, case.edge).await;
            let others = if case.shared { Some(other(&root).await) } else { None };
            hold_and_die(&root, process, gate, case).await;
            if let Some(told) = others {
                // Its device still asks: the other taker hears it, as often as it receives without serving.
                let earlier = told.get();
                root.until(move || told.get() > earlier).await;
                acknowledge(&root.user, root.record().ports, LINE).await;
                root.sleep(50_000).await;
                assert!(!world.is_masked(LINE as u32));
                return;
            }
            ask(&world, case.edge);
            root.sleep(2 * LIMIT).await;
            assert!(world.is_masked(LINE as u32), "nobody takes it");
            let line = root.pulse(&root.process().await, root.own_gate(), 5, 50, false, Handle::NONE).await;
            bind(&root, line, LINE, 0, case.edge).await;
            let message = root.user.receive(root.own_gate()).ok().await;
            assert_eq!((message.badge, message.words[0]), (5, 1 << LINE), "{case:?}");
        });
    }
}

/// Of a pulse that told deaths, too, the next receive would settle what was taken, and so unmask a line that is held.
#[test]
fn a_pulse_is_bound_to_a_line_or_to_a_death_so_that_what_is_held_stays_so() {
    scenario(|root| async move {
        let world = root.user.world().clone();
        let (gate, lines) = (root.own_gate(), root.record().interrupts);
        let victims = [root.process().await, root.process().await, root.process().await];
        let new = async |badge| root.pulse(&root.process().await, gate, badge, 50, false, Handle::NONE).await;
        let tell = |one: Handle, of: usize| root.user.method(one, pulse::BIND_DEATH, [victims[of].handle.0, 0, 0, 0]);
        let take = |one: Handle| root.user.method(one, pulse::BIND_INTERRUPT, [lines.0, LINE, 0, 0]).option(1);

        let line = new(4).await;
        take(line).ok().await;
        tell(line, 0).fails(Error::Busy).await;
        ask(&world, true);
        assert_eq!(root.user.receive(gate).flags(flags::HOLD).ok().await.badge, 4);
        root.user.receive(gate).poll().fails(Error::TimedOut).await;
        assert!(world.is_masked(LINE as u32), "a receive re-armed a held line");

        let death = new(5).await;
        tell(death, 0).ok().await;
        take(death).fails(Error::Busy).await;
        // It can be told of another death instead, and what was refused has undone nothing.
        tell(death, 1).ok().await;
        root.destroy(victims[0].handle).await;
        root.user.receive(gate).poll().fails(Error::TimedOut).await;
        root.destroy(victims[1].handle).await;
        assert_eq!(root.user.receive(gate).ok().await.badge, 5);
        // Nor when the death has come, as it may have to be told again; and not if it cannot be told of another one.
        take(death).fails(Error::Busy).await;
        for badge in 10..18 {
            tell(new(badge).await, 2).ok().await;
        }
        tell(death, 2).fails(Error::Busy).await;
        take(death).fails(Error::Busy).await;
        root.user.method(line, pulse::REARM, [0; 4]).ok().await;
        assert!(!world.is_masked(LINE as u32));
        ask(&world, true);
        assert_eq!(root.user.receive(gate).ok().await.badge, 4);
    });
}
