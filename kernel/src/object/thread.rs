//! Methods of a thread.

use super::{Answer, DONE, Request};
use crate::baton::Hold;
use crate::bytes::{store, word};
use crate::gate::ODD;
use crate::kernel::Kernel;
use crate::machine::{Context, Machine};
use crate::thread::{CODE, DEAD, FAULTING, FaultMessage, READY, RECEIVE, REPLY, SEND, STOPPED, Upcalls, Work};
use abi::object::{Kind, thread as method};
use abi::thread::{Configuration, Registers, State};
use abi::{Error, Rights, trace};

impl<M: Machine> Kernel<M> {
    /// A new thread of a process, not started.
    pub(crate) fn new_thread(&self, owner: u32, connection: u32, generation: u32) -> Result<u32, Error> {
        let index = self.create(Kind::Thread, owner)?;
        let (thread, process) = (self.tables.thread(index), self.tables.process(owner));
        thread.context.start(0, 0, 0);
        thread.context.set_bases(0, 0);
        thread.request.set(thread.request.get() & !0xffff | u64::from(index));
        thread.identity.set(process.identity.get());
        thread.native_mask.set(u64::MAX);
        thread.context.set_foreign(u64::MAX, 0);
        thread.state.set(DEAD);
        thread.reply_key.set(owner << 16 | REPLY);
        thread.serving.set(0);
        thread.operation.set(0);
        thread.current.set(Hold::NONE);
        thread.own.set(Hold::NONE);
        thread.server.set(0);
        thread.process.set(owner);
        thread.taken.set(0);
        thread.gate.set(0);
        thread.space.set(process.space.get());
        self.machine.attach(process.space.get(), &thread.context);
        thread.work.set(Work::None);
        thread.retried.set(false);
        thread.interrupted.set(false);
        thread.envelope.clear();
        thread.fault.set(FaultMessage::default());
        thread.upcalls.set(Upcalls::default());
        thread.name.set([0; 2]);
        thread.death_pulses.set(0);
        self.set_fault_connection(index, connection, generation);
        Ok(index)
    }

    fn set_fault_connection(&self, index: u32, connection: u32, generation: u32) {
        let thread = self.tables.thread(index);
        thread.fault_connection.set(connection);
        thread.fault_generation.set(generation);
        if connection != 0 {
            let count = &self.tables.connection(connection).count;
            count.set(count.get() + 1);
        }
    }

    /// Make a baton a thread's own.
    pub(crate) fn own_baton(&self, index: u32, baton: u32) {
        let thread = self.tables.thread(index);
        let old = thread.own.replace(Hold::new(baton)).baton();
        if old != 0 {
            self.tables.baton(old).owned.set(false);
            self.tables.baton(old).root.set(index);
            self.offer(old);
        }
        if baton != 0 {
            let new = self.tables.baton(baton);
            new.owned.set(true);
            new.root.set(index);
            new.holder.set(index);
            self.wait_anew(baton);
        }
    }

    fn free_baton(&self, request: Request<'_, M>, word: u64) -> Result<u32, Error> {
        let baton = self.named_or_none(request, word, Kind::Baton, Rights::MANAGE)?;
        let object = self.tables.baton(baton);
        if baton != 0 && (object.owned.get() || self.in_use(baton)) { Err(Error::Busy) } else { Ok(baton) }
    }

    #[inline(never)]
    pub(super) fn thread_method(&self, request: Request<'_, M>) -> Answer {
        request.need(Rights::MANAGE)?;
        let index = request.object();
        let thread = self.tables.thread(index);
        let [first, second, third, fourth] = request.words();
        match request.method() {
            method::START => {
                if thread.code() != DEAD {
                    return Err(Error::Busy);
                }
                let baton = self.free_baton(request, fourth)?;
                thread.context.start(first, second, third);
                self.own_baton(index, baton);
                self.note_life(trace::STARTED, thread);
                self.wake(index);
            }
            method::CONFIGURE => self.configure(request)?,
            method::READ_REGISTERS => {
                if thread.code() == READY && !thread.is(STOPPED) {
                    return Err(Error::Busy);
                }
                self.give_bytes(request.caller, &registers_bytes(&thread.context.registers()))?;
            }
            method::WRITE_REGISTERS => {
                if thread.code() != DEAD && !thread.is(STOPPED) {
                    return Err(Error::Busy);
                }
                let mut bytes = [0; size_of::<Registers>()];
                self.sent_bytes(request.caller, &mut bytes)?;
                thread.context.set_registers(&registers_from(&bytes));
            }
            method::INTERRUPT => self.post_interrupt(index),
            method::STOP => {
                thread.state.set(thread.state.get() | STOPPED);
                if thread.code() == RECEIVE && thread.gate.get() != 0 {
                    self.tables.gate(thread.gate.get()).flag(ODD, true);
                }
                self.cpu.attend(crate::schedule::SCHEDULE);
            }
            method::CONTINUE => {
                thread.state.set(thread.state.get() & !STOPPED);
                if thread.code() == READY {
                    self.wake(index);
                }
            }
            method::STATE => return self.thread_state(request),
            method::SET_BASES => {
                if index != request.index() {
                    return Err(Error::BadArgument);
                }
                thread.context.set_bases(first, second);
            }
            method::YIELD => self.yield_baton(),
            method::SET_NAME => {
                thread.name.set([first, second]);
                self.note_name(thread);
            }
            method::TRACE => self.set_trace(thread, first, second, third),
            method::NAME => {
                let [low, high] = thread.name.get();
                return request.answer(low, high, 0, 0);
            }
            method::SET_FAULT_CONNECTION => {
                let connection = self.named_or_none(request, first, Kind::Connection, Rights::SEND)?;
                let generation = self.tables.connection(connection).header.generation.get();
                self.drop_fault_connection(index);
                self.set_fault_connection(index, connection, generation);
            }
            method::SET_BATON => {
                let baton = self.free_baton(request, first)?;
                let running_on = thread.current.get().baton();
                let current = self.tables.baton(running_on);
                // What it runs on for want of its own: that, or its gate's reserve.
                let old = match thread.own.get().baton() {
                    0 if baton != 0 && current.reserve_of.get() != 0 && current.root.get() == index => running_on,
                    own => own,
                };
                self.own_baton(index, baton);
                // Without a new one, a thread that runs keeps the old one until it next waits.
                if old != 0 && (baton != 0 || thread.code() != READY) {
                    self.strip(index, old);
                }
                if thread.code() == READY {
                    self.wake(index);
                } else if thread.code() == RECEIVE || thread.code() == SEND && thread.current.get() == Hold::NONE {
                    // It waits with that one from now on; a parked one needs no reserve.
                    thread.current.set(Hold::new(baton));
                    self.make_ready(baton);
                    self.reorder(index);
                }
            }
            _ => return Err(Error::Unsupported),
        }
        DONE
    }

    fn configure(&self, request: Request<'_, M>) -> Result<(), Error> {
        let thread = self.tables.thread(request.object());
        let mut bytes = [0; size_of::<Configuration>()];
        self.sent_bytes(request.caller, &mut bytes)?;
        thread.native_mask.set(word(&bytes, 0));
        thread.upcalls.set(Upcalls {
            syscall: word(&bytes, 1),
            interrupt: word(&bytes, 2),
            fault: word(&bytes, 3),
            block: word(&bytes, 4),
            window_start: word(&bytes, 5),
            window_end: word(&bytes, 6),
            cookie: word(&bytes, 7),
        });
        thread.context.set_foreign(word(&bytes, 0), word(&bytes, 1));
        thread.context.set_bases(word(&bytes, 8), word(&bytes, 9));
        Ok(())
    }

    fn thread_state(&self, request: Request<'_, M>) -> Answer {
        let index = request.object();
        let thread = self.tables.thread(index);
        let state = thread.state.get();
        let (shown, waits_for) = match state & CODE {
            SEND => {
                let gate = self.tables.gate(thread.target.get() as u32 & 0xffff);
                let busy = gate.busy();
                let waits_for =
                    if busy == 0 { gate.header.owner.get() } else { self.tables.thread(busy).process.get() };
                (State::Send, waits_for)
            }
            REPLY => (State::Reply, state >> 16),
            RECEIVE => (State::Receive, 0),
            READY if self.cpu.thread.get() == index => (State::Running, 0),
            READY => (State::Ready, 0),
            _ => (State::Dead, 0),
        };
        let shown = if state & FAULTING != 0 { State::Fault } else { shown };
        let baton = match thread.current.get().baton() {
            0 => thread.own.get().baton(),
            baton => baton,
        };
        let priority = u64::from(self.tables.baton(baton).priority.get());
        let stopped = u64::from(state & STOPPED != 0);
        request.answer(
            shown as u64 | stopped << 8 | priority << 16,
            self.tables.process(waits_for).identity.get(),
            self.billed(thread.own.get().baton()),
            thread.context.instruction_pointer(),
        )
    }
}

fn registers_bytes(registers: &Registers) -> [u8; size_of::<Registers>()] {
    let mut bytes = [0; size_of::<Registers>()];
    store(&mut bytes, &registers.general);
    let tail = [registers.rip, registers.rflags, registers.fs_base, registers.gs_base];
    store(bytes.get_mut(size_of_val(&registers.general)..).unwrap_or_default(), &tail);
    bytes
}

fn registers_from(bytes: &[u8; size_of::<Registers>()]) -> Registers {
    Registers {
        general: core::array::from_fn(|at| word(bytes, at)),
        rip: word(bytes, 16),
        rflags: word(bytes, 17),
        fs_base: word(bytes, 18),
        gs_base: word(bytes, 19),
    }
}
