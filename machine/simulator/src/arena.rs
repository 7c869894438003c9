//! The kernel's object tables on the host: zeroed memory that the host provides page by page as it is touched.
//!
//! The one place with `unsafe`: the tables are far too large for a stack, all their bytes may be zero at first, and the
//! kernel wants them for `'static`.
#![expect(unsafe_code, reason = "the tables are larger than a stack, and live as long as the kernel, not for ever")]

use std::alloc::{Layout, alloc_zeroed, dealloc};

use kernel::Tables;

use crate::processor::Processor;

/// Owns the memory of [`Tables`] while a kernel uses them.
#[derive(Debug)]
pub struct Arena {
    allocation: *mut u8,
    layout: Layout,
}

impl Arena {
    /// Zeroed tables. The reference is valid while the `Arena` lives: drop the kernel first.
    #[must_use]
    pub fn new() -> (Self, &'static Tables<Processor>) {
        let align = align_of::<Tables<Processor>>();
        // Aligned by hand, with an ordinary alignment for the allocator: only then does the host hand out pages that are
        // zero anyway instead of writing zeros to all of them.
        let layout = Layout::from_size_align(size_of::<Tables<Processor>>() + align, 16)
            .expect("the tables fit into the address space");
        // SAFETY: the layout's size is not 0.
        let allocation = unsafe { alloc_zeroed(layout) };
        assert!(!allocation.is_null(), "no memory for the kernel's tables");
        let offset = allocation.align_offset(align);
        // SAFETY: `offset` is below `align`, by which the allocation is larger than the tables.
        let aligned = unsafe { allocation.add(offset) };
        // SAFETY: aligned and large enough (above); all bytes zero is a valid content, as `Tables` promises; nobody else has
        // the memory, and it is freed only when the `Arena` is dropped, which `Simulation` does after its kernel.
        let tables = unsafe { &*aligned.cast::<Tables<Processor>>() };
        (Self { allocation, layout }, tables)
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, and freed nowhere else.
        unsafe { dealloc(self.allocation, self.layout) };
    }
}
