//! User code: one step of the program that is at a thread's instruction pointer.

use std::rc::Rc;

use abi::call::flags;
use abi::notice::access as fault;
use kernel::machine::{Context, Trap};

use super::{SpaceName, World};
use crate::context::SimulatedContext;
use crate::program::{Action, Answer, CALL_LENGTH, Completion, ENVELOPE_BELOW_STACK, Program};
use crate::trace::Event;

impl World {
    /// One step of user code. `None`: it goes on.
    pub(super) fn execute(self: &Rc<Self>, space: SpaceName, context: &SimulatedContext) -> Option<Trap> {
        let rip = context.instruction_pointer();
        let Some((number, program)) = self.find(rip) else {
            return Some(Trap::PageFault { address: rip, access: fault::EXECUTE });
        };
        let mut program = program.borrow_mut();
        let program = &mut *program;
        if program.finished {
            return Some(Trap::Exception { vector: 6, code: 0 });
        }
        if program.expected.is_some_and(|expected| expected != rip) {
            // The kernel (an upcall's end, a restart window) has sent the thread elsewhere in its program.
            program.pending = None;
            program.issued = false;
            *program.shared.completion.borrow_mut() = Some(Completion::Jumped(rip - program.base));
        } else if program.expected.is_none() {
            program.shared.argument.set(context.argument());
        }
        program.expected = Some(rip);
        if program.pending.is_none() {
            let mut body = program.body.take().expect("a program runs in one thread at a time");
            let goes_on = Program::next(&mut body);
            if !goes_on {
                program.finished = true;
                self.record(Event::Finish { program: number });
                return Some(Trap::Exception { vector: 6, code: 0 });
            }
            program.body = Some(body);
            program.pending = program.shared.action.borrow_mut().take();
            assert!(program.pending.is_some(), "{} waits for something that is not an action", program.name);
            program.issued = false;
            let place = program.base + program.shared.place.get();
            context.set_instruction_pointer(place);
            program.expected = Some(place);
        }
        let shared = Rc::clone(&program.shared);
        let complete = move |completion| *shared.completion.borrow_mut() = Some(completion);
        match program.pending.as_mut().expect("decided above") {
            Action::Exchange(exchange) if program.issued => {
                let outcome = context.outcome();
                let (operation, method) = exchange.asks();
                *self.coverage.borrow_mut().entry((operation, method, outcome.status as u16)).or_default() += 1;
                let answer = Answer {
                    status: outcome.status,
                    request: outcome.request,
                    identity: outcome.identity,
                    badge: outcome.badge,
                    moved: outcome.moved,
                    sent: outcome.lengths & 0xffff_ffff,
                    room: outcome.lengths >> 32,
                    label: context.label(),
                    words: context.words(),
                    jumped: None,
                };
                self.record(Event::Answer {
                    program: number,
                    status: answer.status,
                    label: answer.label,
                    word: answer.words[0],
                });
                complete(Completion::Answer(answer));
            }
            Action::Exchange(exchange) => {
                let mut operation = exchange.operation;
                let mut address = exchange.envelope_address.unwrap_or(0);
                let mut deadline = exchange.deadline;
                // Half of what can go in registers does.
                let in_registers = exchange.in_registers().filter(|_| (exchange.target ^ exchange.label) & 1 == 0);
                if let Some((send, receive)) = in_registers {
                    operation |= flags::SEGMENTS;
                    (address, deadline) = (send.address, send.length | receive.length << 32);
                    context.set_receive_address(receive.address);
                } else if let Some(envelope) = &exchange.envelope
                    && exchange.envelope_address.is_none()
                {
                    operation |= flags::ENVELOPE;
                    address = context.stack_pointer().wrapping_sub(ENVELOPE_BELOW_STACK) & !7;
                    if let Err((done, present)) = self.user_write(space, address, &crate::envelope_bytes(envelope)) {
                        return Some(page_fault(address + done, fault::WRITE, present));
                    }
                } else if address != 0 && operation & flags::SEGMENTS == 0 {
                    operation |= flags::ENVELOPE;
                }
                if let Some(second) = exchange.second_address {
                    context.set_receive_address(second);
                }
                context.set_exchange(operation, exchange.target, exchange.gate, address, deadline);
                context.set_message(exchange.label, exchange.words);
                context.set_instruction_pointer(context.instruction_pointer() + CALL_LENGTH);
                program.expected = Some(context.instruction_pointer());
                program.issued = true;
                self.unlucky.set(program.unlucky && self.random.chance(self.settings.unlucky_per_mille));
                self.record(Event::Exchange {
                    program: number,
                    operation: exchange.operation,
                    target: exchange.target,
                    label: exchange.label,
                    word: exchange.words[0],
                });
                return Some(Trap::Call);
            }
            Action::Compute(remaining) => {
                let next = self.next_event().unwrap_or(u64::MAX).min(self.alarm.get());
                let step = (*remaining).min(next.saturating_sub(self.now.get()).max(1));
                *remaining -= step;
                let ended = *remaining == 0;
                self.advance(step);
                if !ended {
                    return None;
                }
                complete(Completion::Done);
            }
            Action::Read { address, length } => {
                self.about_to_access(program.base, *address);
                let mut bytes = vec![0; *length as usize];
                if let Err((done, present)) = self.user_read(space, *address, &mut bytes) {
                    return Some(page_fault(*address + done, 0, present));
                }
                complete(Completion::Bytes(bytes));
            }
            Action::Write { address, bytes } => {
                self.about_to_access(program.base, *address);
                if let Err((done, present)) = self.user_write(space, *address, bytes) {
                    return Some(page_fault(*address + done, fault::WRITE, present));
                }
                complete(Completion::Done);
            }
            Action::Jump(registers) => {
                context.set_registers(registers);
                program.expected = None;
                complete(Completion::Done);
                program.pending = None;
                return None;
            }
            Action::Registers => complete(Completion::Registers(Box::new(context.registers()))),
            Action::Exception { vector, code } => {
                let trap = Trap::Exception { vector: *vector, code: *code };
                if program.issued {
                    complete(Completion::Done);
                } else {
                    program.issued = true;
                    return Some(trap);
                }
            }
        }
        program.pending = None;
        program.issued = false;
        None
    }
}

const fn page_fault(address: u64, access: u64, present: bool) -> Trap {
    Trap::PageFault { address, access: access | if present { fault::PRESENT } else { 0 } }
}
