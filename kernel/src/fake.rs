//! A machine without a processor, for the kernel's unit tests: nothing runs, memory reads as zero, time stands still until
//! a test moves it. Whole scenarios are played on `machine/simulator`.

extern crate std;

use crate::boot::{Boot, Range};
use crate::kernel::Kernel;
use crate::machine::{Context, CopyFault, Frame, Machine, Outcome, PageAccess, Trap};
use crate::tables::{Capacities, OBJECTS, Tables};
use abi::object::{gate, process, thread};
use abi::thread::Registers;
use abi::upcall::SavedPlace;
use abi::{Handle, Operation};
use core::array::from_fn;
use core::cell::Cell;
use std::boxed::Box;

/// Registers that a test sets and reads.
#[derive(Debug, Default)]
pub(crate) struct FakeContext {
    pub(crate) operation: Cell<u64>,
    pub(crate) target: Cell<u64>,
    pub(crate) gate: Cell<u64>,
    pub(crate) label: Cell<u64>,
    pub(crate) words: Cell<[u64; 4]>,
    pub(crate) outcome: Cell<Outcome>,
}

impl Context for FakeContext {
    fn operation(&self) -> u64 {
        self.operation.get()
    }
    fn target(&self) -> u64 {
        self.target.get()
    }
    fn gate(&self) -> u64 {
        self.gate.get()
    }
    fn envelope(&self) -> u64 {
        0
    }
    fn deadline(&self) -> u64 {
        abi::call::NEVER
    }
    fn receive_address(&self) -> u64 {
        0
    }
    fn label(&self) -> u64 {
        self.label.get()
    }
    fn words(&self) -> [u64; 4] {
        self.words.get()
    }
    fn instruction_pointer(&self) -> u64 {
        1
    }
    fn set_outcome(&self, outcome: Outcome) {
        self.outcome.set(outcome);
    }
    fn set_label(&self, label: u64) {
        self.label.set(label);
    }
    fn set_words(&self, words: [u64; 4]) {
        self.words.set(words);
    }
    fn start(&self, _: u64, _: u64, _: u64) {}
    fn set_instruction_pointer(&self, _: u64) {}
    fn foreign_call(&self, _: u64) {}
    fn place(&self) -> SavedPlace {
        SavedPlace::default()
    }
    fn registers(&self) -> Registers {
        Registers::default()
    }
    fn set_registers(&self, _: &Registers) {}
    fn set_bases(&self, _: u64, _: u64) {}
}

/// No processor.
#[derive(Debug, Default)]
pub(crate) struct Fake {
    pub(crate) now: Cell<u64>,
    pub(crate) alarm: Cell<u64>,
}

impl Machine for Fake {
    type Context = FakeContext;
    type Space = u64;
    type Tables = &'static Tables<Self>;

    fn enter(&self, _: u64, _: &FakeContext) -> Trap {
        Trap::Kick
    }
    fn idle(&self) -> Trap {
        Trap::Kick
    }
    fn now(&self) -> u64 {
        self.now.get()
    }
    fn set_alarm(&self, at_ns: u64) {
        self.alarm.set(at_ns);
    }
    fn create_space(&self, frame: Frame) -> u64 {
        frame.0
    }
    fn destroy_space(&self, space: u64) -> Frame {
        Frame(space)
    }
    fn map(&self, _: u64, _: u64, _: u64, _: u64, _: PageAccess, _: &mut dyn FnMut() -> Option<Frame>) -> bool {
        true
    }
    fn unmap(&self, _: u64, _: u64, _: u64, _: &mut dyn FnMut() -> Option<Frame>) -> bool {
        true
    }
    fn protect(&self, _: u64, _: u64, _: u64, _: PageAccess, _: &mut dyn FnMut() -> Option<Frame>) -> bool {
        true
    }
    fn release_table(&self, _: u64) -> Option<Frame> {
        None
    }
    fn copy(&self, _: u64, _: u64, _: u64, _: u64, length: u64) -> (u64, Option<CopyFault>) {
        (length, None)
    }
    fn read(&self, _: u64, _: u64, bytes: &mut [u8]) -> bool {
        bytes.fill(0);
        true
    }
    fn write(&self, _: u64, _: u64, _: &[u8]) -> bool {
        true
    }
    fn clear_frame(&self, _: Frame) {}
    fn mask(&self, _: u32) {}
    fn unmask(&self, _: u32, _: bool) {}
    fn port_read(&self, _: u16, _: u8) -> u32 {
        0
    }
    fn port_write(&self, _: u16, _: u8, _: u32) {}
    fn print(&self, text: &str) {
        std::eprintln!("{text}");
    }
    fn halt(&self) -> ! {
        panic!("halted")
    }
}

/// Empty tables.
pub(crate) fn tables() -> &'static Tables<Fake> {
    Box::leak(Box::new(Tables {
        threads: from_fn(|_| Default::default()),
        entries: from_fn(|_| Default::default()),
        processes: from_fn(|_| Default::default()),
        batons: from_fn(|_| Default::default()),
        gates: from_fn(|_| Default::default()),
        connections: from_fn(|_| Default::default()),
        pulses: from_fn(|_| Default::default()),
        memories: from_fn(|_| Default::default()),
        mappings: from_fn(|_| Default::default()),
        frames: from_fn(|_| Default::default()),
        lines: from_fn(|_| Default::default()),
    }))
}

/// A kernel with its init: thread 1 of process 1 on baton 1.
pub(crate) fn kernel() -> Kernel<Fake> {
    let objects = OBJECTS as u32;
    let mut boot = Boot {
        capacities: Capacities {
            threads: objects,
            handle_pages: crate::tables::HANDLE_PAGES as u32,
            processes: objects,
            batons: objects,
            gates: objects,
            connections: objects,
            pulses: objects,
            memories: objects,
            mappings: crate::tables::MAPPINGS as u32,
            frames: crate::tables::FRAMES as u32,
        },
        frame_base: 1 << 20,
        interrupts: 16,
        ..Boot::default()
    };
    boot.ram[0] = Range { base: 1 << 30, length: 1 << 24 };
    let kernel = Kernel::new(Fake::default(), tables(), &boot);
    kernel.start(&boot);
    kernel
}

/// Let a thread make an exchange. Gives its answer's first word.
pub(crate) fn exchange(
    kernel: &Kernel<Fake>,
    index: u32,
    operation: u64,
    target: Handle,
    message: (u64, [u64; 4]),
) -> u64 {
    let context = &kernel.tables.thread(index).context;
    context.operation.set(operation);
    context.target.set(target.0);
    context.label.set(message.0);
    context.words.set(message.1);
    kernel.cpu.thread.set(index);
    kernel.system_call(index);
    context.words.get()[0]
}

/// Two threads of init that talk to each other.
pub(crate) struct Pair {
    pub(crate) kernel: Kernel<Fake>,
    /// Its first thread, which runs.
    pub(crate) caller: u32,
    /// The other one, which has received and waits at the gate.
    pub(crate) server: u32,
    pub(crate) gate: Handle,
    pub(crate) connection: Handle,
}

/// A caller, and a server that waits for it.
pub(crate) fn pair() -> Pair {
    let kernel = kernel();
    let call = |label: u16, target, words| Handle(exchange(&kernel, 1, 0, target, (u64::from(label), words)));
    let own = Handle::SELF_PROCESS;
    let gate = call(process::CREATE_GATE, own, [0; 4]);
    let connection = call(gate::CONNECT, gate, [7, 0, 0, 0]);
    let thread = call(process::CREATE_THREAD, own, [0; 4]);
    let baton = call(process::CREATE_BATON, own, [200, 0, 0, 0]);
    call(thread::START, thread, [1, 1, 0, baton.0]);
    kernel.tables.thread(2).context.gate.set(gate.0);
    exchange(&kernel, 2, Operation::Receive as u64, Handle::NONE, (0, [0; 4]));
    kernel.cpu.thread.set(1);
    Pair { kernel, caller: 1, server: 2, gate, connection }
}
