//! Noting what happens, for [`abi::trace`]: which classes, under which trace id, and what of each event.
//!
//! The plain message path looks at the classes itself and costs two instructions a message while they are off; everything else
//! comes here.

use crate::kernel::Kernel;
use crate::machine::{Context, Machine};
use crate::thread::{FAULTING, REPLY, SEND, Thread};
use abi::Error;
use abi::trace::{self, CHOSEN};

impl<M: Machine> Kernel<M> {
    /// Whether events of this kind are noted.
    #[inline(always)]
    pub(crate) fn traces(&self, event: u16) -> bool {
        self.cpu.classes.get() & trace::class_of(event) as u32 != 0
    }

    /// Note what a thread does or what happens to it, under the trace id of its baton.
    #[inline(always)]
    pub(crate) fn note(&self, event: u16, thread: u32, label: u32, word: u64) {
        if self.traces(event) {
            self.write_event(event, thread, label, word);
        }
    }

    #[cold]
    #[inline(never)]
    fn write_event(&self, event: u16, thread: u32, label: u32, word: u64) {
        let id = self.trace_id(self.tables.thread(thread).current.get().baton());
        self.write_event_of(event, thread, label.into(), word, id);
    }

    #[inline(never)]
    fn write_event_of(&self, event: u16, thread: u32, label: u64, word: u64, id: u64) {
        self.machine.trace(event, thread, label, word, id);
    }

    /// The trace id of a baton: the one that it was given, else the id of the request that its CPU time was lent with.
    #[inline(never)]
    pub(crate) fn trace_id(&self, baton: u32) -> u64 {
        let baton = self.tables.baton(baton);
        let root = self.tables.thread(baton.root.get());
        match baton.trace.get() {
            0 if matches!(root.code(), SEND | REPLY) => root.request.get(),
            id => id,
        }
    }

    /// Note where a caller's message, or its fault's, has come to.
    #[inline(never)]
    pub(crate) fn note_message(&self, event: u16, caller: &Thread<M>, thread: u32, word: u64) {
        if self.traces(event) {
            let label = if caller.is(FAULTING) { caller.fault.get().label } else { caller.context.label() };
            let id = self.trace_id(caller.current.get().baton());
            self.write_event_of(event, thread, label, word, id);
        }
    }

    /// Note that a server answers, under the trace id of the baton that goes back.
    #[inline(never)]
    pub(crate) fn note_answer(&self, server: &Thread<M>, caller: &Thread<M>) {
        if self.traces(trace::REPLIED) {
            let id = self.trace_id(caller.current.get().baton());
            self.write_event_of(trace::REPLIED, server.index(), server.context.label(), caller.request.get(), id);
        }
    }

    /// Note that a thread's wait ends for this reason.
    #[inline(never)]
    pub(crate) fn note_leaving(&self, index: u32, reason: Error) {
        let thread = self.tables.thread(index);
        self.note(trace::LEFT, index, reason as u32, thread.request.get());
    }

    /// Note that a thread starts or ends.
    #[inline(never)]
    pub(crate) fn note_life(&self, event: u16, thread: &Thread<M>) {
        self.note(event, thread.index(), thread.process.get(), thread.identity.get());
    }

    /// Note a thread's name.
    #[inline(never)]
    pub(crate) fn note_name(&self, thread: &Thread<M>) {
        if self.traces(trace::NAMED) {
            let [first, second] = thread.name.get();
            self.write_event_of(trace::NAMED, thread.index(), 0, second, first);
        }
    }

    /// `thread.TRACE`: the baton that a thread runs on gets another trace id, and something is noted.
    #[inline(never)]
    pub(crate) fn set_trace(&self, thread: &Thread<M>, id: u64, label: u64, word: u64) {
        let baton = thread.current.get().baton();
        if baton != 0 {
            self.tables.baton(baton).trace.set(if id == 0 { 0 } else { id | CHOSEN });
        }
        self.note(trace::MARKED, thread.index(), label as u32, word);
    }
}
