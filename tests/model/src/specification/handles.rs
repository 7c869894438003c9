//! Handles: what a process can name, and handles that go with messages.

use abi::object::Kind;
use abi::{Error, Handle, Rights};

use super::{Answer, ConnectionId, GateId, Object, ProcessId, PulseId, Specification, ThreadId};
use crate::action::{ANY, Choice, Load, Outcome, Patience};
use crate::specification::object::{BatonId, Entry, Message, Passed};

impl Object {
    /// Its kind.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::Reserved => Kind::Reserved,
            Self::Process(_) => Kind::Process,
            Self::Thread(_) => Kind::Thread,
            Self::Baton(_) => Kind::Baton,
            Self::Gate(_) => Kind::Gate,
            Self::Connection(_) => Kind::Connection,
            Self::Pulse(_) => Kind::Pulse,
            Self::Memory(_) => Kind::Memory,
        }
    }
}

impl Specification {
    /// The handle that a choice means.
    #[must_use]
    pub fn choose(&self, process: ProcessId, kind: Kind, choice: Choice) -> Handle {
        let table = || self.processes[process].table.iter().flatten();
        let own = (kind == Kind::Process && choice < ANY).then_some(Handle::SELF_PROCESS);
        // What is asked of an object through a connection would be a message.
        let any = |object: Object| choice >= ANY && (kind == Kind::Connection || object.kind() != Kind::Connection);
        let fits = |entry: &&Entry| any(entry.object) || entry.object.kind() == kind;
        let all = || own.into_iter().chain(table().filter(fits).map(|entry| entry.handle));
        match all().count() {
            0 => Handle::NONE,
            count => all().nth(usize::from(choice) % count).unwrap_or(Handle::NONE),
        }
    }

    /// A handle of the process that one of this process's handles names.
    #[must_use]
    pub fn choose_theirs(&self, process: ProcessId, of: Handle, choice: Choice) -> Handle {
        match self.entry(process, of).map(|entry| entry.object) {
            Some(Object::Process(of)) => self.choose(of, Kind::Connection, choice),
            _ => Handle::NONE,
        }
    }

    /// The first so many slots that a process has reserved.
    #[must_use]
    pub fn reserved(&self, process: ProcessId, count: u8) -> Vec<Handle> {
        let table = self.processes[process].table.iter().flatten();
        let reserved = table.filter(|entry| entry.object == Object::Reserved).map(|entry| entry.handle);
        reserved.take(usize::from(count)).collect()
    }

    /// What an exchange carries and asks for.
    pub(super) fn message(
        &self,
        process: ProcessId,
        load: Load,
        patience: Patience,
        covers: (bool, bool, bool),
    ) -> Message {
        let gifts = load.gifts.iter().flatten().map(|gift| Passed {
            handle: self.choose(process, Kind::Connection, gift.handle),
            rights: gift.rights,
            moves: gift.moves,
        });
        let (deadline, covers) = match patience {
            Patience::Endless => (abi::call::NEVER, (false, false, false)),
            Patience::Poll => (abi::call::POLL, covers),
            Patience::Until(after) => (self.now + after, covers),
        };
        let (gifts, slots) = (gifts.collect(), self.reserved(process, load.slots));
        Message { word: load.word, bytes: load.bytes, gifts, slots, deadline, covers, ..Message::default() }
    }

    /// What a handle names, whether or not that still exists.
    #[must_use]
    pub fn entry(&self, process: ProcessId, handle: Handle) -> Option<Entry> {
        if handle == Handle::SELF_PROCESS {
            return Some(Entry { handle, object: Object::Process(process), rights: Rights::ALL, inherit: false });
        }
        let entry = *self.processes[process].table.get(usize::from(handle.index()))?;
        entry.filter(|entry| entry.handle == handle)
    }

    /// Whether what a handle names still exists. A reserved slot does.
    #[must_use]
    pub fn is_alive(&self, object: Object) -> bool {
        match object {
            Object::Reserved => true,
            Object::Process(id) => self.processes[id].alive,
            Object::Thread(id) => self.threads[id].alive,
            Object::Baton(id) => self.batons[id].alive,
            Object::Gate(id) => self.gates[id].alive,
            Object::Connection(id) => self.connections[id].alive,
            Object::Pulse(id) => self.pulses[id].alive,
            Object::Memory(id) => self.memories[id].alive,
        }
    }

    /// What a handle names, if it names something of this kind and permits this.
    pub(super) fn object(
        &self,
        process: ProcessId,
        handle: Handle,
        kind: Kind,
        rights: Rights,
    ) -> Result<Object, Error> {
        let entry = self.entry(process, handle).filter(|entry| self.is_alive(entry.object)).ok_or(Error::BadHandle)?;
        if entry.object.kind() != kind {
            Err(Error::WrongKind)
        } else if !entry.rights.contains(rights) {
            Err(Error::NoRight)
        } else {
            Ok(entry.object)
        }
    }

    pub(super) fn process_of(&self, process: ProcessId, handle: Handle) -> Result<ProcessId, Error> {
        match self.object(process, handle, Kind::Process, Rights::MANAGE)? {
            Object::Process(process) => Ok(process),
            _ => Err(Error::WrongKind),
        }
    }

    pub(super) fn pulse_of(&self, process: ProcessId, handle: Handle, rights: Rights) -> Result<PulseId, Error> {
        match self.object(process, handle, Kind::Pulse, rights)? {
            Object::Pulse(pulse) => Ok(pulse),
            _ => Err(Error::WrongKind),
        }
    }

    pub(super) fn gate_of(&self, process: ProcessId, handle: Handle, rights: Rights) -> Result<GateId, Error> {
        match self.object(process, handle, Kind::Gate, rights)? {
            Object::Gate(gate) => Ok(gate),
            _ => Err(Error::WrongKind),
        }
    }

    pub(super) fn thread_of(&self, process: ProcessId, handle: Handle) -> Result<ThreadId, Error> {
        match self.object(process, handle, Kind::Thread, Rights::MANAGE)? {
            Object::Thread(thread) => Ok(thread),
            _ => Err(Error::WrongKind),
        }
    }

    /// A baton that can become a thread's own. No handle: none.
    pub(super) fn free_baton(&self, process: ProcessId, handle: Handle) -> Result<Option<BatonId>, Error> {
        if handle.is_none() {
            return Ok(None);
        }
        match self.object(process, handle, Kind::Baton, Rights::MANAGE)? {
            Object::Baton(baton) if self.is_free(baton) => Ok(Some(baton)),
            Object::Baton(_) => Err(Error::Busy),
            _ => Err(Error::WrongKind),
        }
    }

    /// Whether a table has room.
    #[must_use]
    pub fn has_room(&self, process: ProcessId) -> bool {
        let process = &self.processes[process];
        let used = process.table.iter().flatten().count() + usize::from(process.unnamed.is_some());
        used < process.table.len() - usize::from(Handle::FIRST_FREE_INDEX)
    }

    /// A new handle, whose name the kernel will tell.
    pub(super) fn new_handle(&mut self, process: ProcessId, object: Object, rights: Rights) -> Answer {
        if !self.has_room(process) {
            return Err(Error::TableFull);
        }
        self.count_handle(object);
        self.processes[process].unnamed = Some((object, rights));
        Ok(Some(Outcome::Made))
    }

    /// The kernel has named a new handle. False: it may not be named so.
    pub fn name_handle(&mut self, process: ProcessId, handle: Handle) -> bool {
        let process = &mut self.processes[process];
        let Some((object, rights)) = process.unnamed.take() else { return false };
        let Some(slot) = process.table.get_mut(usize::from(handle.index())) else { return false };
        // No name was ever another's.
        let new = slot.is_none() && process.names.insert(handle) && handle.index() >= Handle::FIRST_FREE_INDEX;
        *slot = Some(Entry { handle, object, rights, inherit: false });
        new
    }

    /// A handle that the supervisor gives, with its name.
    pub fn give(&mut self, process: ProcessId, handle: Handle, object: Object, rights: Rights) {
        self.count_handle(object);
        self.processes[process].unnamed = Some((object, rights));
        assert!(self.name_handle(process, handle), "{handle:?} is no name for a new handle");
    }

    pub(super) fn count_handle(&mut self, object: Object) {
        if let Object::Connection(connection) = object {
            self.connections[connection].handles += 1;
        }
    }

    /// A handle is no more.
    pub(super) fn close(&mut self, process: ProcessId, handle: Handle) {
        let slot = &mut self.processes[process].table[usize::from(handle.index())];
        if let Some(Entry { object: Object::Connection(connection), .. }) = slot.take() {
            self.drop_handle(connection);
        }
    }

    /// One handle less names a connection.
    pub(super) fn drop_handle(&mut self, connection: ConnectionId) {
        if self.connections[connection].alive {
            self.connections[connection].handles -= 1;
            if self.connections[connection].handles == 0 {
                self.closed(connection);
            }
        }
    }

    /// Whether handles can go from one thread to another; at the call, while nobody takes them (`None`), whether they can be
    /// given at all. The error is for the giver.
    pub(super) fn check_gifts(&self, giver: ThreadId, taker: Option<ThreadId>) -> Result<(), Error> {
        let (from, gifts) = (self.threads[giver].process, &self.threads[giver].message.gifts);
        for gift in gifts {
            let entry = self.entry(from, gift.handle).filter(|entry| self.is_alive(entry.object));
            let entry = entry.filter(|entry| entry.object != Object::Reserved).ok_or(Error::BadHandle)?;
            if !entry.rights.contains(Rights::COPY) {
                return Err(Error::NoRight);
            }
        }
        let Some(taker) = taker else { return Ok(()) };
        let (to, slots) = (self.threads[taker].process, &self.threads[taker].message.slots);
        let is_free = |slot: &Handle| self.entry(to, *slot).is_some_and(|entry| entry.object == Object::Reserved);
        let enough = slots.len() >= gifts.len() && slots.iter().take(gifts.len()).all(is_free);
        if enough { Ok(()) } else { Err(Error::NoSlot) }
    }

    /// The same, later than at the call: what was wrong with the giver's handles then was said then.
    pub(super) fn check_gifts_again(&self, giver: ThreadId, taker: ThreadId) -> Result<(), Error> {
        self.check_gifts(giver, Some(taker))
            .map_err(|error| if error == Error::NoSlot { error } else { Error::BadGift })
    }

    /// Copies of one thread's handles come to be in the slots that the other reserved; how many.
    pub(super) fn pass_gifts(&mut self, giver: ThreadId, taker: ThreadId) -> usize {
        let (from, to) = (self.threads[giver].process, self.threads[taker].process);
        let (gifts, slots) = (self.threads[giver].message.gifts.clone(), self.threads[taker].message.slots.clone());
        for (gift, slot) in gifts.iter().zip(&slots) {
            let Some(entry) = self.entry(from, gift.handle) else { continue };
            let rights = entry.rights.intersect(gift.rights);
            self.count_handle(entry.object);
            self.processes[to].table[usize::from(slot.index())] =
                Some(Entry { handle: *slot, rights, inherit: false, ..entry });
        }
        // What moves goes last: it may have been given twice.
        for gift in gifts.iter().filter(|gift| gift.moves) {
            if self.entry(from, gift.handle).is_some() {
                self.close(from, gift.handle);
            }
        }
        gifts.len()
    }
}
