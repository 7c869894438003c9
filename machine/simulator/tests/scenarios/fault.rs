//! Faults and upcalls where something is missing or comes between: a handler, or an interrupt while the pager works.

use abi::object::thread;
use abi::thread::{Configuration, State};
use abi::{Error, PAGE_SIZE, notice};
use simulator::scenario;
use simulator::scenario::{DATA, Log, Plan};

/// Where upcall blocks lie, and in them what is pending and where an interrupt came.
const BLOCK: u64 = DATA + PAGE_SIZE;
const INTERRUPT: u64 = BLOCK + 16;

/// Where nothing is mapped.
const MISSING: u64 = 0x70_0000_0000;

/// An interrupt does not disturb the pager's work, and is taken before the thread that faulted does anything else.
#[test]
fn an_interrupt_that_comes_while_a_pager_works_is_taken_when_its_thread_goes_on() {
    scenario(|root| async move {
        let process = root.process().await;
        let gate = root.gate(&process).await;
        let faults = root.connect(gate, 0).await;
        let log = Log::new();
        let noted = log.clone();
        let handler = root.user.world().program("handler", |user| async move {
            let mut back = user.registers().await;
            noted.note("signal");
            back.rip = user.load_word(INTERRUPT).await;
            back.general[7] = user.load_word(INTERRUPT + 8).await;
            user.jump(&back).await;
        });
        let configuration = Configuration {
            native_mask: abi::NATIVE_BASE,
            upcall_interrupt: handler,
            upcall_block: BLOCK,
            ..Configuration::default()
        };
        let noted = log.clone();
        let plan = Plan::new(&process, "foreign").priority(10).configuration(configuration).foreign().fault(faults);
        let thread = root
            .start(plan, |user| async move {
                user.store(MISSING, &[1]).await.expect("its page is there by then");
                noted.note("stored");
            })
            .await;
        let fault = root.user.receive(gate).ok().await;
        assert_eq!((fault.label, fault.words[0]), (notice::FAULT_PAGE, MISSING));
        root.user.method(thread.handle, thread::INTERRUPT, [0; 4]).ok().await;
        root.sleep(100_000).await;
        log.assert(&[]);
        let memory = root.memory(1).await;
        assert_eq!(root.map(process.handle, memory, MISSING, 3, 1).await.error(), None);
        root.user.reply(fault.request).ok().await;
        root.sleep(100_000).await;
        log.assert(&["signal", "stored"]);
    });
}

/// A block alone is no handler: its thread's refused fault is a message, and an interrupt waits.
#[test]
fn a_thread_without_handlers_has_no_upcalls() {
    scenario(|root| async move {
        let process = root.process().await;
        let gate = root.gate(&process).await;
        let faults = root.connect(gate, 0).await;
        let log = Log::new();
        let noted = log.clone();
        let configuration =
            Configuration { native_mask: abi::NATIVE_BASE, upcall_block: BLOCK, ..Configuration::default() };
        let plan = Plan::new(&process, "foreign").priority(10).configuration(configuration).foreign().fault(faults);
        let thread = root
            .start(plan, |user| async move {
                assert_eq!(user.compute(200_000).await, Ok(()), "it was not disturbed");
                noted.note("computed");
                let _ = user.store(MISSING, &[1]).await;
            })
            .await;
        root.sleep(100_000).await;
        root.user.method(thread.handle, thread::INTERRUPT, [0; 4]).ok().await;
        for label in [notice::FAULT_PAGE, notice::FAULT_REFUSED] {
            let fault = root.user.receive(gate).ok().await;
            assert_eq!((fault.label, fault.words[0]), (label, MISSING));
            root.user.reply(fault.request).label(1).ok().await;
        }
        root.until_state(thread, State::Dead).await;
        log.assert(&["computed"]);
        let no_thread = root.user.method(thread.handle, thread::SET_BASES, [MISSING, 0, 0, 0]);
        no_thread.fails(Error::BadArgument).await;
    });
}
