//! The kernel's state as the checkers see it, which a test can make wrong.

use std::ops::Deref;

use kernel::Kernel;
use kernel::inspect::{BatonView, ConnectionView, EntryView, GateView, MemoryView, ProcessView, PulseView, ThreadView};

use crate::processor::{Processor, SpaceName};

/// The slot of what is changed, and how.
pub type Change<V> = Option<(u32, fn(&mut V))>;

/// What is to look otherwise than it is: of the object in a slot, what a function changes. Only for tests of the checkers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Corruption {
    /// A thread.
    pub thread: Change<ThreadView>,
    /// A baton.
    pub baton: Change<BatonView>,
    /// A gate.
    pub gate: Change<GateView>,
    /// A connection.
    pub connection: Change<ConnectionView>,
    /// A pulse.
    pub pulse: Change<PulseView>,
    /// A Memory.
    pub memory: Change<MemoryView>,
    /// A process.
    pub process: Change<ProcessView<SpaceName>>,
    /// All entries of a process's handle table.
    pub entry: Change<EntryView>,
}

/// The kernel's state.
#[derive(Clone, Copy, Debug)]
pub struct State<'a> {
    kernel: &'a Kernel<Processor>,
    corruption: Corruption,
}

impl<'a> State<'a> {
    /// As it is.
    #[must_use]
    pub fn new(kernel: &'a Kernel<Processor>) -> Self {
        Self { kernel, corruption: Corruption::default() }
    }

    /// As it is not.
    #[must_use]
    pub const fn corrupt(kernel: &'a Kernel<Processor>, corruption: Corruption) -> Self {
        Self { kernel, corruption }
    }

    /// The entries of a process's handle table that are in use.
    pub fn entries(&self, process: u32, mut each: impl FnMut(EntryView)) {
        self.kernel.entries(process, |entry| each(changed(self.corruption.entry, process, entry)));
    }
}

fn changed<V>(change: Change<V>, index: u32, mut view: V) -> V {
    if let Some((slot, change)) = change
        && slot == index
    {
        change(&mut view);
    }
    view
}

macro_rules! views {
    ($($name:ident $kind:ident $view:ty;)*) => {
        impl State<'_> {
            $(
                /// The object in a slot.
                #[must_use]
                pub fn $name(&self, index: u32) -> $view {
                    changed(self.corruption.$kind, index, self.kernel.$name(index))
                }
            )*
        }
    };
}

views! {
    view_thread thread ThreadView;
    view_baton baton BatonView;
    view_gate gate GateView;
    view_connection connection ConnectionView;
    view_pulse pulse PulseView;
    view_memory memory MemoryView;
    view_process process ProcessView<SpaceName>;
}

impl Deref for State<'_> {
    type Target = Kernel<Processor>;

    fn deref(&self) -> &Kernel<Processor> {
        self.kernel
    }
}
