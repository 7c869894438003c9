//! Threads: stopping, registers, upcalls, the sticky interrupt and the restart window.

use abi::call::flags;
use abi::object::thread;
use abi::thread::{Configuration, State};
use abi::{Error, notice};
use simulator::scenario;
use simulator::scenario::{DATA, Log, Plan, Root, Thread};

use crate::Pair;

/// Where upcall blocks lie in these scenarios.
const BLOCK: u64 = DATA + 4096;

const BLOCK_INTERRUPT_RIP: u64 = BLOCK + 16;
const BLOCK_FAULT: u64 = BLOCK + 16 + 48;

async fn interrupt(root: &Root, thread: Thread) {
    root.user.method(thread.handle, thread::INTERRUPT, [0; 4]).ok().await;
}

#[test]
fn a_stopped_thread_does_not_run_and_a_stopped_caller_still_gets_its_reply() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let log = Log::new();
        let connection = pair.sending;
        let noted = log.clone();
        let client = root
            .start(Plan::new(&pair.client, "client").priority(10), |user| async move {
                let answer = user.call(connection).ok().await;
                noted.note(format!("answered {}", answer.words[0]));
                loop {
                    let _ = user.compute(10_000).await;
                    noted.note("tick");
                }
            })
            .await;
        root.until_state(client, State::Send).await;
        root.user.method(client.handle, thread::STOP, [0; 4]).ok().await;
        assert!(root.state(client).await.stopped);
        let message = root.user.receive(pair.gate).ok().await;
        assert_eq!(root.state(client).await.state, State::Reply);
        root.user.reply(message.request).word(4).ok().await;
        root.sleep(100_000).await;
        log.assert(&[]);
        let now = root.state(client).await;
        assert!(now.stopped && now.state == State::Ready, "{now:?}");
        root.user.method(client.handle, thread::CONTINUE, [0; 4]).ok().await;
        root.until_noted(&log, 5).await;
        root.user.method(client.handle, thread::STOP, [0; 4]).ok().await;
        let count = log.len();
        root.sleep(100_000).await;
        assert_eq!(log.len(), count);
        root.user.method(client.handle, thread::CONTINUE, [0; 4]).ok().await;
        root.until_noted(&log, count + 2).await;
    });
}

#[test]
fn a_foreign_call_is_an_upcall_in_one_trap() {
    scenario(|root| async move {
        let process = root.process().await;
        let log = Log::new();
        let world = root.user.world().clone();
        let noted = log.clone();
        let library = world.program("library", |user| async move {
            loop {
                let mut registers = user.registers().await;
                let (old, number) = (registers.general[2], registers.general[0]);
                assert_eq!(registers.general[11], 0x202);
                noted.note(format!("call {number}"));
                // The library may use the native call itself.
                user.method(abi::Handle::SELF_PROCESS, abi::object::process::IDENTITY, [0; 4]).ok().await;
                registers.general[0] = number + 100;
                registers.rip = old;
                user.jump(&registers).await;
            }
        });
        let configuration =
            Configuration { native_mask: abi::NATIVE_BASE, upcall_syscall: library, ..Configuration::default() };
        let noted = log.clone();
        let thread = root
            .start(
                Plan::new(&process, "foreign").priority(10).configuration(configuration).foreign(),
                |user| async move {
                    for number in [3, 60, 1] {
                        let answer = user.raw(number, 0x1234).await;
                        assert_eq!(answer.status, number + 100);
                        noted.note("back");
                    }
                },
            )
            .await;
        root.until_state(thread, State::Dead).await;
        log.assert(&["call 3", "back", "call 60", "back", "call 1", "back"]);
    });
}

#[test]
fn an_interrupt_is_taken_at_once_outside_the_native_range() {
    scenario(|root| async move {
        let process = root.process().await;
        let log = Log::new();
        let world = root.user.world().clone();
        let noted = log.clone();
        let handler = world.program("handler", |user| async move {
            loop {
                let registers = user.registers().await;
                let rip = user.load_word(BLOCK_INTERRUPT_RIP).await;
                let rsp = user.load_word(BLOCK_INTERRUPT_RIP + 8).await;
                let rflags = user.load_word(BLOCK_INTERRUPT_RIP + 16).await;
                assert_eq!(user.load_word(BLOCK).await, 1, "pending");
                user.store_word(BLOCK, 0).await;
                noted.note("signal");
                let mut back = registers;
                back.rip = rip;
                back.rflags = rflags;
                back.general[7] = rsp;
                user.jump(&back).await;
            }
        });
        let configuration = Configuration {
            native_mask: abi::NATIVE_BASE,
            upcall_interrupt: handler,
            upcall_block: BLOCK,
            ..Configuration::default()
        };
        let noted = log.clone();
        let thread = root
            .start(
                Plan::new(&process, "foreign").priority(10).configuration(configuration).foreign(),
                |user| async move {
                    for _ in 0..3 {
                        let _ = user.compute(1_000_000).await;
                        noted.note("computed");
                    }
                },
            )
            .await;
        root.sleep(200_000).await;
        interrupt(&root, thread).await;
        root.until_noted(&log, 2).await;
        interrupt(&root, thread).await;
        root.until_state(thread, State::Dead).await;
        log.assert(&["signal", "computed", "signal", "computed", "computed"]);
    });
}

#[test]
fn inside_the_native_range_the_interrupt_bit_sticks_until_an_interruptible_exchange() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let log = Log::new();
        let world = root.user.world().clone();
        let handler = world.program("handler", |_| async move { panic!("an upcall in the native range") });
        let configuration = Configuration {
            native_mask: abi::NATIVE_BASE,
            upcall_interrupt: handler,
            upcall_block: BLOCK,
            ..Configuration::default()
        };
        let (gate, connection) = (pair.receiving, pair.sending);
        root.start(Plan::new(&pair.server, "server").priority(40), |user| async move {
            let mut message = user.receive(gate).ok().await;
            loop {
                message = user.reply_and_receive(message.request, gate).ok().await;
            }
        })
        .await;
        let noted = log.clone();
        let thread = root
            .start(Plan::new(&pair.client, "native").priority(10).configuration(configuration), |user| async move {
                let _ = user.compute(500_000).await;
                assert_eq!(user.load_word(BLOCK).await, 1);
                // Not interruptible: it goes through, and the bit stays.
                user.call(connection).ok().await;
                noted.note("went through");
                assert_eq!(user.call(connection).flags(flags::INTERRUPTIBLE).await.error(), Some(Error::Interrupted));
                user.call(connection).flags(flags::INTERRUPTIBLE).ok().await;
                noted.note("once only");
            })
            .await;
        root.sleep(100_000).await;
        interrupt(&root, thread).await;
        root.until_noted(&log, 2).await;
    });
}

#[test]
fn an_interrupt_inside_the_restart_window_goes_back_to_its_start() {
    scenario(|root| async move {
        let process = root.process().await;
        let log = Log::new();
        let world = root.user.world().clone();
        let noted = log.clone();
        let gate = root.gate(&process).await;
        let own = root.give_gate(&process, gate).await;
        let base = world.program("windowed", |user| async move {
            user.place(0x120);
            match user.compute(1_000_000).await {
                Err(offset) => noted.note(format!("restarted at {offset:#x}")),
                Ok(()) => noted.note("not restarted"),
            }
            user.place(0x40);
            // The window's start has found it pending: it does not end an exchange as well.
            let answer = user.receive(own).flags(flags::INTERRUPTIBLE).poll().await;
            noted.note(format!("{:?}", answer.error()));
            match user.compute(1_000_000).await {
                Err(offset) => noted.note(format!("restarted at {offset:#x}")),
                Ok(()) => noted.note("outside"),
            }
        });
        let configuration = Configuration {
            native_mask: abi::NATIVE_BASE,
            upcall_interrupt: base + 0x800,
            upcall_block: BLOCK,
            window_start: base + 0x100,
            window_end: base + 0x200,
            ..Configuration::default()
        };
        let thread =
            root.start_at(Plan::new(&process, "windowed").priority(10).configuration(configuration), base).await;
        root.sleep(100_000).await;
        interrupt(&root, thread).await;
        root.until_noted(&log, 2).await;
        root.sleep(100_000).await;
        interrupt(&root, thread).await;
        root.until_noted(&log, 3).await;
        log.assert(&["restarted at 0x100", "Some(TimedOut)", "outside"]);
    });
}

#[test]
fn a_refused_fault_is_an_upcall_and_a_second_one_meanwhile_a_message() {
    scenario(|root| async move {
        let pager = root.process().await;
        let process = root.process().await;
        let gate = root.gate(&pager).await;
        let faults = root.connect(gate, 66).await;
        let log = Log::new();
        let world = root.user.world().clone();
        let noted = log.clone();
        let handler = world.program("fixup", |user| async move {
            for round in 0..2 {
                let mut registers = user.registers().await;
                assert_eq!(user.load_word(BLOCK + 8).await, 1, "fault_active");
                assert_eq!(user.load_word(BLOCK_FAULT + 24).await, if round == 0 { 14 } else { 3 });
                if round == 0 {
                    assert_eq!(user.load_word(BLOCK_FAULT + 40).await, 0xbad_0000);
                    assert_eq!(user.load_word(BLOCK_FAULT + 32).await, notice::access::WRITE);
                }
                noted.note("fix-up");
                registers.rip = user.load_word(BLOCK_FAULT).await + 0x10;
                registers.general[7] = user.load_word(BLOCK_FAULT + 8).await;
                if round == 1 {
                    // While active, a further fault is a message.
                    drop(user.load(0xbad_1000, 1).await);
                    panic!("the second fault was taken as an upcall");
                }
                user.store_word(BLOCK + 8, 0).await;
                user.jump(&registers).await;
            }
        });
        let configuration = Configuration {
            native_mask: abi::NATIVE_BASE,
            upcall_fault: handler,
            upcall_block: BLOCK,
            ..Configuration::default()
        };
        let noted = log.clone();
        let thread = root
            .start(
                Plan::new(&process, "wild").priority(10).fault(faults).configuration(configuration),
                |user| async move {
                    let stored = user.store(0xbad_0000, &[1]).await;
                    assert_eq!(stored, Err(0x10), "fixed up");
                    noted.note("went on");
                    let _ = user.exception(3, 0).await;
                    noted.note("never");
                },
            )
            .await;
        let user = root.user.clone();
        let fault = user.receive(gate).ok().await;
        assert_eq!((fault.label, fault.words[0]), (notice::FAULT_PAGE, 0xbad_0000));
        user.reply(fault.request).label(1).ok().await;
        let fault = user.receive(gate).ok().await;
        assert_eq!((fault.label, fault.words[0]), (notice::FAULT_PAGE, 0xbad_1000));
        user.reply(fault.request).label(1).ok().await;
        let fault = user.receive(gate).ok().await;
        assert_eq!((fault.label, fault.words[0]), (notice::FAULT_REFUSED, 0xbad_1000));
        user.reply(fault.request).label(1).ok().await;
        root.until_state(thread, State::Dead).await;
        log.assert(&["fix-up", "went on", "fix-up"]);
    });
}

#[test]
fn an_exception_is_a_message_with_its_vector() {
    scenario(|root| async move {
        let pager = root.process().await;
        let process = root.process().await;
        let gate = root.gate(&pager).await;
        let faults = root.connect(gate, 66).await;
        let log = Log::new();
        let noted = log.clone();
        let thread = root
            .start(Plan::new(&process, "divider").priority(10).fault(faults), |user| async move {
                user.exception(0, 7).await.unwrap();
                noted.note("resumed");
                let _ = user.exception(6, 0).await;
                noted.note("never");
            })
            .await;
        let user = root.user.clone();
        let fault = user.receive(gate).ok().await;
        assert_eq!((fault.label, fault.words[0], fault.words[2]), (notice::FAULT_EXCEPTION, 0, 7));
        user.reply(fault.request).ok().await;
        let fault = user.receive(gate).ok().await;
        assert_eq!((fault.label, fault.words[0]), (notice::FAULT_EXCEPTION, 6));
        user.reply(fault.request).label(9).ok().await;
        root.until_state(thread, State::Dead).await;
        log.assert(&["resumed"]);
    });
}

#[test]
fn registers_of_a_stopped_thread_can_be_read_and_written() {
    scenario(|root| async move {
        let process = root.process().await;
        let user = root.user.clone();
        let thread = root
            .start(Plan::new(&process, "subject").priority(10).argument(55), |user| async move {
                user.hog().await;
            })
            .await;
        root.sleep(50_000).await;
        let scratch = abi::boot::STACK_TOP - 3000;
        user.method(thread.handle, thread::READ_REGISTERS, [0; 4]).room(scratch, 160).fails(Error::Busy).await;
        user.method(thread.handle, thread::WRITE_REGISTERS, [0; 4]).send(scratch, 160).fails(Error::Busy).await;
        user.method(thread.handle, thread::STOP, [0; 4]).ok().await;
        user.method(thread.handle, thread::READ_REGISTERS, [0; 4]).room(scratch, 160).ok().await;
        assert_eq!(user.load_word(scratch + 128).await, thread.base, "rip");
        assert_eq!(user.load_word(scratch + 5 * 8).await, 55, "rdi");
        user.store_word(scratch + 8, 0x77).await;
        // Flags that would harm the kernel are not taken over.
        user.store_word(scratch + 136, u64::MAX).await;
        user.method(thread.handle, thread::WRITE_REGISTERS, [0; 4]).send(scratch, 160).ok().await;
        user.store_word(scratch + 8, 0).await;
        user.method(thread.handle, thread::READ_REGISTERS, [0; 4]).room(scratch, 160).ok().await;
        assert_eq!(user.load_word(scratch + 8).await, 0x77, "rbx");
        assert_eq!(user.load_word(scratch + 136).await & 0x3000, 0, "I/O privilege");
        // One that has not been started is as good as stopped.
        let plan = Plan::new(&process, "another").priority(10);
        let another = root.create_thread(&plan, 0).await;
        user.method(another.handle, thread::WRITE_REGISTERS, [0; 4]).send(scratch, 160).ok().await;
    });
}

#[test]
fn a_stopped_receiver_keeps_its_caller_waiting_until_it_is_continued() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let (gate, connection) = (pair.receiving, pair.sending);
        let log = Log::new();
        let server = root
            .start(Plan::new(&pair.server, "server").priority(20), |user| async move {
                let message = user.receive(gate).ok().await;
                user.reply(message.request).ok().await;
            })
            .await;
        root.until_state(server, State::Receive).await;
        root.user.method(server.handle, thread::STOP, [0; 4]).ok().await;
        let noted = log.clone();
        let client = root
            .start(Plan::new(&pair.client, "client").priority(10), |user| async move {
                user.call(connection).ok().await;
                noted.note("answered");
            })
            .await;
        root.until_state(client, State::Reply).await;
        root.sleep(100_000).await;
        log.assert(&[]);
        root.user.method(server.handle, thread::CONTINUE, [0; 4]).ok().await;
        root.until_noted(&log, 1).await;
    });
}

#[test]
fn a_sticky_interrupt_ends_a_receive_before_it_blocks_but_not_before_it_takes() {
    scenario(|root| async move {
        let pair = Pair::new(&root).await;
        let (gate, connection) = (pair.receiving, pair.sending);
        let log = Log::new();
        let noted = log.clone();
        let server = root
            .start(Plan::new(&pair.server, "server").priority(20), |user| async move {
                let _ = user.compute(300_000).await;
                let message = user.receive(gate).flags(flags::INTERRUPTIBLE).ok().await;
                noted.note("took");
                user.reply(message.request).ok().await;
                assert_eq!(user.receive(gate).flags(flags::INTERRUPTIBLE).await.error(), Some(Error::Interrupted));
                noted.note("interrupted");
            })
            .await;
        root.start(Plan::new(&pair.client, "client").priority(25), |user| async move {
            user.call(connection).ok().await;
        })
        .await;
        root.sleep(50_000).await;
        interrupt(&root, server).await;
        root.until_noted(&log, 2).await;
        log.assert(&["took", "interrupted"]);
    });
}
