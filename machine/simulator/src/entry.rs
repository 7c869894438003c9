//! Entry code that passes messages by itself, as that of x86_64 does: it asks the kernel before [`Machine::enter`] returns, with
//! part of the registers saved, and takes label and words from one program to the other in registers.
//!
//! What is not saved there holds [`NEVER_SAVED`] here, so that a kernel that reads it is found out.
//!
//! [`Machine::enter`]: kernel::machine::Machine::enter

use abi::Operation;
use abi::call::flags;
use kernel::machine::{Context, Outcome, Trap};
use kernel::{Exchange, Finished, Kernel};

use crate::context::SimulatedContext;
use crate::processor::Processor;

const CALL: u64 = Operation::Call as u64;
const REPLY_AND_RECEIVE: u64 = Operation::ReplyAndReceive as u64;

/// In registers of a saved context that no entry code has saved.
const NEVER_SAVED: u64 = 0x6e65_7665_7273_6176;

/// Deal with what stopped the thread that runs, as far as entry code does.
pub(crate) fn deal_with(kernel: &Kernel<Processor>, context: &SimulatedContext, trap: Trap) {
    match trap {
        Trap::Kick => {}
        Trap::Call => deal_with_call(kernel, context),
        trap => {
            kernel.take_trap(trap);
        }
    }
}

/// Entry code runs this one now, without another look at what is to be done.
fn goes_on(kernel: &Kernel<Processor>, context: &SimulatedContext) {
    assert!(std::ptr::eq(kernel.current(), context), "another thread is to run");
    assert!(!kernel.attention(), "something is to be done first");
}

fn deal_with_call(kernel: &Kernel<Processor>, context: &SimulatedContext) {
    match context.operation() {
        _ if context.is_foreign() => {
            kernel.take_call();
        }
        CALL => call(kernel, context),
        REPLY_AND_RECEIVE => reply_and_receive(kernel, context),
        operation if operation & flags::SEGMENTS != 0 => with_segments(kernel, context),
        _ => {
            kernel.take_call();
        }
    }
}

/// A plain call: label and words are saved, for an object's method.
fn call(kernel: &Kernel<Processor>, context: &SimulatedContext) {
    let target = context.target();
    let (label, words) = (context.label(), context.words());
    context.forget_exchange(NEVER_SAVED);
    match kernel.pass_call(target) {
        Ok(receiver) => {
            goes_on(kernel, receiver);
            receiver.set_message(label, words);
            receiver.set_lengths(0, 0);
        }
        Err(missed) if missed.is_yield(target) => {
            kernel.finish_yield(missed);
        }
        Err(missed) => {
            if kernel.finish_call(missed, target) == Finished::Answered {
                goes_on(kernel, context);
                context.set_label(0);
                context.set_outcome(Outcome::default());
            }
        }
    }
}

/// A plain reply-and-receive: the words are saved only if it is not passed.
fn reply_and_receive(kernel: &Kernel<Processor>, context: &SimulatedContext) {
    let (request, gate) = (context.target(), context.gate());
    let (label, words) = (context.label(), context.words());
    context.forget_exchange(NEVER_SAVED);
    context.set_words([NEVER_SAVED; 4]);
    if let Some(caller) = kernel.pass_reply(request, gate) {
        goes_on(kernel, caller);
        caller.set_message(label, words);
        caller.set_outcome(Outcome::default());
    } else {
        context.set_words(words);
        kernel.take_call();
    }
}

/// One of the two with segments in registers; all is saved.
fn with_segments(kernel: &Kernel<Processor>, context: &SimulatedContext) {
    let (label, words) = (context.label(), context.words());
    let exchange = Exchange {
        operation: context.operation(),
        target: context.target(),
        gate: context.gate(),
        send: context.envelope(),
        receive: context.receive_address(),
        lengths: context.deadline(),
    };
    match kernel.pass_segments(exchange) {
        Some(other) => {
            goes_on(kernel, other);
            other.set_message(label, words);
        }
        None => {
            kernel.take_call();
        }
    }
}
