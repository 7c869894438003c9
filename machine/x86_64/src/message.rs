//! The message path straight from the entry code: a call or reply-and-receive that the kernel can do at once, plain or with
//! segments in registers, never leaves the entry code's registers. The label and the words stay in `r10` and `r12`–`r15`, on
//! their way from one program to the other; everything else goes through the contexts, as always. The general way is
//! entered from here too: nearly always somebody can go on at once, and the kernel's loop is not needed.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;

use kernel::{Boot, Exchange, Finished, Kernel, Missed};

use crate::boot;
use crate::context::X86Context;
use crate::layout;
use crate::machine::X86;
use crate::space::Table;

/// The kernel, at an address that the entry code's functions know.
struct Place(UnsafeCell<MaybeUninit<Kernel<X86>>>);

// SAFETY: one CPU, and nobody else is in the kernel while entry code runs; the kernel itself is a set of cells.
unsafe impl Sync for Place {}

static KERNEL: Place = Place(UnsafeCell::new(MaybeUninit::uninit()));

/// Create the kernel and run it, with its message path open to the entry code.
#[unsafe(link_section = ".boot.text")]
pub(crate) fn start(machine: X86, boot: &Boot, root: Table) -> ! {
    // SAFETY: called once, at boot; there is no other reference yet.
    let place = unsafe { &mut *KERNEL.0.get() };
    place.write(Kernel::new(machine, layout::Place, boot));
    kernel().start(boot);
    run(root)
}

#[inline(never)]
fn run(root: Table) -> ! {
    boot::discard(root);
    kernel().run()
}

#[inline(always)]
fn kernel() -> &'static Kernel<X86> {
    // SAFETY: called only after `start` has written it; only shared references are made from then on.
    let place = unsafe { &*KERNEL.0.get() };
    // SAFETY: `start` has written it.
    unsafe { place.assume_init_ref() }
}

/// What [`call`] returns if the thread goes on with the words of its context, and zero in all other registers of an outcome.
pub(crate) const ANSWERED: u64 = 0;
/// What [`call`] returns if `enter` is to return. Both are less than any address with its bits inverted.
pub(crate) const UNDECIDED: u64 = 1;

/// A plain call of the current thread, whose context is saved but for what is zero in a plain call. The context to go on with:
/// its address, if it goes on with the message whose words are in registers; the address with every bit inverted, if all its
/// registers are in it; [`ANSWERED`]; or [`UNDECIDED`]. (So one test tells who gets a message: addresses of the kernel's are negative.)
pub(crate) extern "C" fn call(target: u64) -> u64 {
    match kernel().pass_call(target) {
        Ok(context) => address(context),
        Err(missed) if missed.is_yield(target) => finish_yield(missed),
        Err(missed) => finish(missed, target),
    }
}

#[inline(never)]
fn finish_yield(missed: Missed<'static, X86>) -> u64 {
    if kernel().finish_yield(missed) { inverted() } else { UNDECIDED }
}

#[inline(never)]
fn finish(missed: Missed<'static, X86>, target: u64) -> u64 {
    match kernel().finish_call(missed, target) {
        Finished::Answered => ANSWERED,
        Finished::Decided => inverted(),
        Finished::Undecided => UNDECIDED,
    }
}

fn inverted() -> u64 {
    !address(kernel().current())
}

const _: () = assert!(ANSWERED < UNDECIDED);

fn address(context: &X86Context) -> u64 {
    core::ptr::from_ref(context) as u64
}

/// A plain reply-and-receive of the current thread, whose context is saved but for the registers that only the general way
/// reads. The context to go on with; null: nothing was changed, go the general way.
pub(crate) extern "C" fn reply(request: u64, gate: u64) -> Option<&'static X86Context> {
    kernel().pass_reply(request, gate)
}

/// A call or reply-and-receive of the current thread with segments in registers; its context is saved. The context to go on
/// with, as after [`reply`]; null: nothing was changed, go the general way.
pub(crate) extern "C" fn segments(
    target: u64,
    gate: u64,
    send: u64,
    operation: u64,
    lengths: u64,
    receive: u64,
) -> Option<&'static X86Context> {
    kernel().pass_segments(Exchange { operation, target, gate, send, receive, lengths })
}

/// Any system call of the current thread, whose context is saved. The context to go on with; null: return from `enter`.
pub(crate) extern "C" fn general() -> Option<&'static X86Context> {
    kernel().take_call().then(|| kernel().current())
}

/// An exception or interrupt of user code, whose context is saved; likewise.
pub(crate) extern "C" fn trapped(vector: u64) -> Option<&'static X86Context> {
    kernel().take_trap(kernel().machine().trap(vector)).then(|| kernel().current())
}
