//! The message path straight from the entry code: a plain call or reply-and-receive that the kernel can do at once never
//! leaves the entry code's registers. The label and the words stay in `r10` and `r12`–`r15`, on their way from one program
//! to the other; everything else goes through the contexts, as always. What the kernel does not take goes the general
//! way, with nothing changed.

use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use kernel::Kernel;

use crate::context::X86Context;
use crate::machine::X86;
use crate::space::Space;

/// The kernel that the entry code asks; it never ends.
static KERNEL: AtomicPtr<Kernel<X86>> = AtomicPtr::new(ptr::null_mut());

/// Run the kernel, with its message path open to the entry code.
pub(crate) fn run(kernel: &Kernel<X86>) -> ! {
    KERNEL.store(ptr::from_ref(kernel).cast_mut(), Ordering::Relaxed);
    kernel.run()
}

/// Who goes on: its context and the root of its space. No context: nothing was changed, go the general way.
#[repr(C)]
pub(crate) struct Passed {
    context: *const X86Context,
    space: Space,
}

impl Passed {
    fn new(passed: Option<(Space, &X86Context)>) -> Self {
        match passed {
            Some((space, context)) => Self { context, space },
            None => Self { context: ptr::null(), space: Space::default() },
        }
    }
}

fn kernel() -> &'static Kernel<X86> {
    // SAFETY: programs run only after `run` stored the kernel, which is never moved or dropped; it is a set of cells, and
    // nobody else is in the kernel when the entry code asks.
    unsafe { &*KERNEL.load(Ordering::Relaxed) }
}

/// A plain call of the current thread, whose context is saved but for the registers that only the general way reads.
pub(crate) extern "C" fn call(target: u64) -> Passed {
    Passed::new(kernel().pass_call(target))
}

/// A plain reply-and-receive of the current thread, likewise.
pub(crate) extern "C" fn reply(request: u64, gate: u64) -> Passed {
    Passed::new(kernel().pass_reply(request, gate))
}
