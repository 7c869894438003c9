//! The message path straight from the entry code: a plain call or reply-and-receive that the kernel can do at once never
//! leaves the entry code's registers. The label and the words stay in `r10` and `r12`–`r15`, on their way from one program
//! to the other; everything else goes through the contexts, as always. What the kernel does not take goes the general
//! way, with nothing changed.

use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use kernel::Kernel;

use crate::context::X86Context;
use crate::machine::X86;

/// The kernel that the entry code asks; it never ends.
static KERNEL: AtomicPtr<Kernel<X86>> = AtomicPtr::new(ptr::null_mut());

/// Run the kernel, with its message path open to the entry code.
pub(crate) fn run(kernel: &Kernel<X86>) -> ! {
    KERNEL.store(ptr::from_ref(kernel).cast_mut(), Ordering::Relaxed);
    kernel.run()
}

/// Operation 0 or 1 of [`abi::Operation`], without an envelope, of the current thread, whose context is saved. The context
/// to go on with, its space and vector registers loaded; null: go the general way.
pub(crate) extern "C" fn exchange(operation: u64) -> *const X86Context {
    // SAFETY: programs run only after `run` stored the kernel, which is never moved or dropped; it is a set of cells, and
    // nobody else is in the kernel while a program runs.
    let kernel = unsafe { &*KERNEL.load(Ordering::Relaxed) };
    match kernel.pass_message(operation) {
        Some((space, context)) => {
            kernel.machine().prepare(space, context);
            context
        }
        None => ptr::null(),
    }
}
