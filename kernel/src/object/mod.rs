//! Calls to kernel objects: one table of methods (`abi::object`), answered on the spot.
//!
//! A method's arguments are the label's option and the words; what needs more reads the send segments. The answer is the
//! words. A method never blocks its caller; what takes long answers `More` and is repeated.

mod baton;
mod gate;
mod memory;
mod process;
mod pulse;
mod thread;

use crate::envelope::{RECEIVE, SEND};
use crate::handle_table::Entry;
use crate::kernel::Kernel;
use crate::machine::{Context, Machine, Outcome};
use crate::thread::Thread;
use abi::object::{Kind, process as process_method};
use abi::{Error, Handle, Rights, Segment};

/// Done, with what it has to say in the caller's words; or why not.
pub(crate) type Answer = Result<(), Error>;

/// Nothing to say.
pub(crate) const DONE: Answer = Ok(());

/// A method call. Method, option and words are in the caller's context, where the answer goes too. (Two registers, so passed in such.)
pub(crate) struct Request<'a, M: Machine> {
    /// The calling thread.
    pub(crate) caller: &'a Thread<M>,
    /// Index of the object, and the handle's rights << 32, as a handle's entry has them.
    called: u64,
}

impl<M: Machine> Clone for Request<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: Machine> Copy for Request<'_, M> {}

impl<'a, M: Machine> Request<'a, M> {
    /// The thread calls what an entry names.
    #[inline(always)]
    fn new(caller: &'a Thread<M>, entry: &Entry) -> Self {
        Self { caller, called: entry.named.get() }
    }

    /// The thread calls itself.
    fn own(caller: &'a Thread<M>) -> Self {
        Self { caller, called: u64::from(caller.index()) | u64::from(Rights::ALL.0) << 32 }
    }

    /// Whose method is called.
    pub(crate) fn object(self) -> u32 {
        self.called as u32
    }

    pub(crate) fn rights(self) -> Rights {
        Rights((self.called >> 32) as u32)
    }

    pub(crate) fn method(self) -> u16 {
        self.caller.context.label() as u16
    }

    /// Which thread calls.
    pub(crate) fn index(self) -> u32 {
        self.caller.index()
    }

    pub(crate) fn words(self) -> [u64; 4] {
        self.caller.context.words()
    }

    pub(crate) fn option(self) -> u64 {
        self.caller.context.label() >> 16
    }

    /// An answer of one word. The others stay what they were.
    #[inline(always)]
    pub(crate) fn word(self, word: u64) -> Answer {
        self.caller.context.set_word(word);
        DONE
    }

    /// An answer of a new handle, if there was room for it.
    pub(crate) fn handle(self, handle: Handle) -> Answer {
        if handle.is_none() { Err(Error::TableFull) } else { self.word(handle.0) }
    }

    /// An answer of several words.
    pub(crate) fn answer(self, first: u64, second: u64, third: u64, fourth: u64) -> Answer {
        self.caller.context.set_words([first, second, third, fourth]);
        DONE
    }

    /// The method is to be called again, with these words.
    pub(crate) fn more(self, first: u64, second: u64) -> Answer {
        self.caller.context.set_words([first, second, 0, 0]);
        Err(Error::More)
    }

    /// The handle must permit this.
    pub(crate) fn need(self, rights: Rights) -> Result<(), Error> {
        if self.rights().contains(rights) { Ok(()) } else { Err(Error::NoRight) }
    }
}

impl<M: Machine> Kernel<M> {
    /// Call the object that a handle of the thread's process names.
    pub(crate) fn call_object(&self, thread: &Thread<M>, handle: Handle) -> Answer {
        let method = thread.context.label() as u16;
        let own = handle == Handle::CURRENT_THREAD;
        let entry =
            if own { None } else { Some(self.tables.entry(self.tables.process(thread.process.get()), handle)?) };
        if entry.is_some_and(|entry| !self.tables.names(entry)) {
            return Err(Error::BadHandle);
        }
        if method >> 8 != entry.map_or(Kind::Thread, |entry| entry.kind.get()) as u16 {
            let exists = matches!(Kind::from_number((method >> 8) as u8), Some(kind) if kind != Kind::Free);
            return Err(if exists { Error::WrongKind } else { Error::Unsupported });
        }
        self.note(abi::trace::CALLED, thread.index(), thread.context.label() as u32, thread.context.words()[0]);
        match entry {
            Some(entry) => self.call_method(thread, entry)?,
            None => self.thread_method(Request::own(thread))?,
        }
        thread.context.set_label(0);
        thread.context.set_outcome(Outcome { moved: thread.moved.get(), ..Outcome::default() });
        DONE
    }

    /// Whether a plain call can go straight to [`Kernel::call_method`]: it names an object that has such a method, and nobody notes it.
    #[inline(always)]
    pub(crate) fn calls_object(&self, thread: &Thread<M>, entry: &Entry, target: u64) -> bool {
        entry.call.get() == target
            && thread.context.label() as u16 >> 8 == entry.kind.get() as u16
            && !self.traces(abi::trace::CALLED)
    }

    /// Call the method of an entry's object, if it is still alive. (All calls are the last thing in it: so it saves no registers.)
    #[inline(never)]
    pub(crate) fn call_method(&self, thread: &Thread<M>, entry: &Entry) -> Answer {
        let (tables, object) = (self.tables, entry.object());
        let request = Request::new(thread, entry);
        match entry.kind.get() {
            Kind::Process => {
                entry.must_name(&tables.process(object).header)?;
                // The one that waits for nothing.
                if thread.context.label() as u16 == process_method::HANDLE_INFORMATION {
                    return self.handle_information(thread);
                }
                self.process_method(request)
            }
            Kind::Thread => {
                entry.must_name(&tables.thread(object).header)?;
                self.thread_method(request)
            }
            Kind::Baton => {
                entry.must_name(&tables.baton(object).header)?;
                self.baton_method(request)
            }
            Kind::Gate => {
                entry.must_name(&tables.gate(object).header)?;
                self.gate_method(request)
            }
            Kind::Pulse => {
                entry.must_name(&tables.pulse(object).header)?;
                self.pulse_method(request)
            }
            Kind::Memory => {
                entry.must_name(&tables.memory(object).header)?;
                self.memory_method(request)
            }
            Kind::Connection | Kind::Free | Kind::Reserved => Err(Error::Unsupported),
        }
    }

    /// An object that a word names in the caller's table.
    pub(crate) fn named(&self, request: Request<'_, M>, word: u64, kind: Kind, rights: Rights) -> Result<u32, Error> {
        let handle = Handle(word);
        if kind == Kind::Thread && handle == Handle::CURRENT_THREAD {
            return Ok(request.index());
        }
        self.object(request.caller, handle, kind, rights)
    }

    /// Like [`Kernel::named`], but 0 is nobody.
    pub(crate) fn named_or_none(
        &self,
        request: Request<'_, M>,
        word: u64,
        kind: Kind,
        rights: Rights,
    ) -> Result<u32, Error> {
        if word == 0 { Ok(0) } else { self.named(request, word, kind, rights) }
    }

    /// A new object's handle for the caller; without room for it, the object is destroyed again.
    pub(crate) fn hand_out(&self, request: Request<'_, M>, kind: Kind, object: u32, rights: Rights) -> Answer {
        let process = self.tables.process(request.caller.process.get());
        let handle = self.install(process, kind, object, rights);
        if handle.is_none() {
            // New objects have no remains that would need a second piece.
            let _ = self.destroy(kind, object);
        }
        request.handle(handle)
    }

    /// The bytes that the caller sends, exactly so many.
    pub(crate) fn sent_bytes(&self, thread: &Thread<M>, bytes: &mut [u8]) -> Result<(), Error> {
        if thread.total(SEND) < bytes.len() as u64 {
            return Err(Error::BadArgument);
        }
        let mut at = 0;
        // Bound: SEGMENTS.
        for index in 0..abi::envelope::SEGMENTS {
            let Some(segment) = thread.envelope.segment(SEND, index) else { break };
            let length = (segment.length as usize).min(bytes.len() - at);
            let part = bytes.get_mut(at..at + length).unwrap_or_default();
            if !self.machine.read(thread.space.get(), segment.address, part) {
                return Err(Error::BadAddress);
            }
            at += length;
        }
        Ok(())
    }

    /// Put bytes into the caller's receive segments, as many as they take.
    pub(crate) fn give_bytes(&self, thread: &Thread<M>, bytes: &[u8]) -> Result<(), Error> {
        let kept = thread.kept().ok_or(Error::BadArgument)?;
        let mut at = 0;
        // Bound: SEGMENTS.
        for index in 0..abi::envelope::SEGMENTS {
            let Some(Segment { address, length }) = kept.segment(RECEIVE, index) else { break };
            let length = (length as usize).min(bytes.len() - at);
            if !self.machine.write(thread.space.get(), address, bytes.get(at..at + length).unwrap_or_default()) {
                return Err(Error::BadAddress);
            }
            at += length;
        }
        thread.moved.set(at as u64);
        Ok(())
    }
}
