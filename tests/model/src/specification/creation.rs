//! Calls of kernel objects: what they check, in which order, and what is created and who pays for it.

use std::collections::BTreeSet;

use abi::object::Kind;
use abi::{Error, Handle, Rights};

use super::{
    Answer, Baton, BatonId, Connection, ConnectionId, Counts, DONE, Gate, GateId, Object, PERIOD_MINIMUM, Process,
    ProcessId, Pulse, PulseId, Specification, State, Thread, ThreadId,
};
use crate::action::{Action, Choice};
use crate::specification::object::Entry;
use crate::specification::sharing::TABLE_PAGE;

/// Pulses that can be bound to one death.
const DEATH_PULSES: usize = 8;
/// Pages for tables of a process in a role.
pub const PAGES: u32 = 1024;

impl Specification {
    pub(super) fn call_object(&mut self, process: ProcessId, action: &Action) -> Answer {
        let choose = |kind, choice| self.choose(process, kind, choice);
        match *action {
            Action::Reserve => return self.new_handle(process, Object::Reserved, Rights::NONE),
            Action::Close { handle } => {
                let handle = choose(Kind::Connection, handle);
                self.entry(process, handle).ok_or(Error::BadHandle)?;
                self.close(process, handle);
            }
            Action::Duplicate { handle, rights } => {
                let handle = choose(Kind::Connection, handle);
                return self.duplicate(process, handle, rights);
            }
            Action::Destroy { handle } => {
                let handle = choose(Kind::Connection, handle);
                return self.destroy(process, handle);
            }
            Action::Interrupt { thread } => {
                let thread = self.thread_of(process, choose(Kind::Thread, thread))?;
                self.interrupt(thread);
            }
            Action::Stop { thread } => {
                let thread = self.thread_of(process, choose(Kind::Thread, thread))?;
                self.stop(thread, true);
            }
            Action::Continue { thread } => {
                let thread = self.thread_of(process, choose(Kind::Thread, thread))?;
                self.stop(thread, false);
            }
            Action::Name { thread, name } => {
                let thread = self.thread_of(process, choose(Kind::Thread, thread))?;
                self.threads[thread].name = [name, !name];
            }
            // The order of equals is not said.
            Action::Yield => {}
            Action::SetAlarm { pulse, after, period } => {
                let pulse = self.pulse_of(process, choose(Kind::Pulse, pulse), Rights::MANAGE)?;
                if period != 0 && period < PERIOD_MINIMUM {
                    return Err(Error::BadArgument);
                }
                let alarm = Some((self.now + after, self.next_event()));
                (self.pulses[pulse].alarm, self.pulses[pulse].period) = (alarm, period);
            }
            Action::Rearm { pulse } => {
                let pulse = self.pulse_of(process, choose(Kind::Pulse, pulse), Rights::MANAGE)?;
                self.rearm(pulse);
            }
            Action::BindDeath { pulse, of } => {
                let (pulse, of) = (choose(Kind::Pulse, pulse), choose(Kind::Thread, of));
                return self.bind_death(process, pulse, of);
            }
            Action::Derive { memory, payer, offset, pages, rights } => {
                let handles = (choose(Kind::Memory, memory), choose(Kind::Process, payer));
                return self.derive(process, handles, (offset, pages), rights);
            }
            Action::Map { into, memory, place, offset, pages, access } => {
                let handles = (choose(Kind::Process, into), choose(Kind::Memory, memory));
                return self.map(process, handles, (place, offset, pages), access);
            }
            Action::Unmap { of, place, pages } => {
                let of = choose(Kind::Process, of);
                return self.unmap(process, of, place, pages);
            }
            Action::Protect { of, place, pages, access } => {
                let of = choose(Kind::Process, of);
                return self.protect(process, of, (place, pages), access);
            }
            Action::SetPriority { baton, priority } => {
                let handle = choose(Kind::Baton, baton);
                let Object::Baton(baton) = self.object(process, handle, Kind::Baton, Rights::MANAGE)? else {
                    return Err(Error::WrongKind);
                };
                let cap = self.batons[baton].owner.map_or(u8::MAX, |owner| self.processes[owner].cap);
                if priority > cap {
                    return Err(Error::QuotaExceeded);
                }
                self.batons[baton].priority = priority;
            }
            Action::Connect { gate, caller_pays } => {
                let gate = choose(Kind::Gate, gate);
                return self.connect(process, gate, caller_pays);
            }
            Action::Share { into, from, place, pages, both_write } => {
                let handles = (choose(Kind::Process, into), choose(Kind::Process, from));
                return self.share(process, handles, (place, pages), both_write);
            }
            Action::Give { to, handle, rights } => {
                let (to, handle) = (choose(Kind::Process, to), choose(Kind::Connection, handle));
                return self.give_copy(process, to, handle, rights);
            }
            Action::SetInherit { of, handle, inherit } => {
                let of = choose(Kind::Process, of);
                let handle = self.choose_theirs(process, of, handle);
                return self.set_inherit(process, of, handle, inherit);
            }
            Action::CopyEntry { to, from, handle } => {
                let (to, from) = (choose(Kind::Process, to), choose(Kind::Process, from));
                let handle = self.choose_theirs(process, from, handle);
                return self.copy_entry(process, (to, from), handle);
            }
            Action::CopyTable { to, from, page } => {
                let handles = (choose(Kind::Process, to), choose(Kind::Process, from));
                return self.copy_table(process, handles, page);
            }
            Action::Grow { of, pages } => return self.grow(process, choose(Kind::Process, of), pages),
            Action::SetPager { thread, connection } => {
                let thread = self.thread_of(process, choose(Kind::Thread, thread))?;
                let connection = connection.map(|connection| choose(Kind::Connection, connection));
                let pager = self.pager_of(process, connection)?;
                self.set_pager(thread, pager);
            }
            Action::Start { thread, baton } => {
                let (thread, baton) = (choose(Kind::Thread, thread), choose(Kind::Baton, baton));
                return self.start(process, thread, baton);
            }
            _ => return self.create(process, action),
        }
        DONE
    }

    /// A copy of a handle, with no more rights.
    fn duplicate(&mut self, process: ProcessId, handle: Handle, rights: Rights) -> Answer {
        let entry = self.copyable(process, handle)?;
        self.new_handle(process, entry.object, entry.rights.intersect(rights))
    }

    /// What a handle names that may be copied.
    pub(super) fn copyable(&self, process: ProcessId, handle: Handle) -> Result<Entry, Error> {
        let entry = self.entry(process, handle).filter(|entry| self.is_alive(entry.object));
        let entry = entry.filter(|entry| entry.object != Object::Reserved).ok_or(Error::BadHandle)?;
        if entry.rights.contains(Rights::COPY) { Ok(entry) } else { Err(Error::NoRight) }
    }

    /// Whether [`Action::Destroy`] destroys what this handle names; others are closed.
    #[must_use]
    pub fn destroys(&self, process: ProcessId, handle: Handle) -> bool {
        let entry = self.entry(process, handle);
        entry.is_none_or(|entry| {
            matches!(entry.object, Object::Reserved | Object::Thread(_) | Object::Connection(_) | Object::Pulse(_))
        })
    }

    fn destroy(&mut self, process: ProcessId, handle: Handle) -> Answer {
        let entry = self.entry(process, handle).ok_or(Error::BadHandle)?;
        if !self.destroys(process, handle) || entry.object == Object::Reserved {
            self.close(process, handle);
            return DONE;
        }
        if !entry.rights.contains(Rights::DESTROY) {
            return Err(Error::NoRight);
        }
        if self.is_alive(entry.object) {
            match entry.object {
                Object::Thread(thread) => self.destroy_thread(thread),
                Object::Connection(connection) => self.destroy_connection(connection),
                Object::Pulse(pulse) => self.destroy_pulse(pulse),
                _ => {}
            }
        }
        self.processes[process].table[usize::from(handle.index())] = None;
        DONE
    }

    /// A thread does not run until it is continued. (It can be answered all the same.)
    pub fn stop(&mut self, thread: ThreadId, stop: bool) {
        self.threads[thread].stopped = stop;
        if !stop && self.threads[thread].state == State::Ready {
            self.wake(thread);
        }
    }

    fn bind_death(&mut self, process: ProcessId, pulse: Handle, of: Handle) -> Answer {
        let pulse = self.pulse_of(process, pulse, Rights::MANAGE)?;
        let entry = self.entry(process, of).filter(|entry| self.is_alive(entry.object)).ok_or(Error::BadHandle)?;
        if !matches!(entry.object, Object::Process(_) | Object::Thread(_)) {
            return Err(Error::WrongKind);
        }
        if self.pulses[pulse].binding.is_some() {
            return Err(Error::Busy);
        }
        self.unbind_death(pulse);
        self.pulses[pulse].tells_death = true;
        let pulses = match entry.object {
            Object::Process(id) => &mut self.processes[id].death_pulses,
            Object::Thread(id) => &mut self.threads[id].death_pulses,
            _ => return Err(Error::WrongKind),
        };
        if pulses.len() == DEATH_PULSES {
            return Err(Error::Busy);
        }
        pulses.insert(0, pulse);
        DONE
    }

    fn start(&mut self, process: ProcessId, thread: Handle, baton: Handle) -> Answer {
        let thread = self.thread_of(process, thread)?;
        if self.threads[thread].state != State::Dead {
            return Err(Error::Busy);
        }
        self.threads[thread].own = self.free_baton(process, baton)?;
        self.wake(thread);
        DONE
    }

    fn connect(&mut self, process: ProcessId, gate: Handle, caller_pays: bool) -> Answer {
        let gate = self.gate_of(process, gate, Rights::MANAGE)?;
        let request = self.open_request(process, 0);
        let mut payer = process;
        if caller_pays && request != 0 {
            let caller = self.requester(process, request).ok_or(Error::Gone)?;
            if !self.threads[caller].message.wishes.charge_me {
                return Err(Error::NoRight);
            }
            payer = self.threads[caller].process;
        }
        if !self.has_room(process) {
            return Err(Error::TableFull);
        }
        let connection = Object::Connection(self.connections.len());
        self.charge(payer, connection)?;
        self.add_connection(Some(payer), gate);
        self.new_handle(process, connection, Rights::SEND.and(Rights::COPY))
    }

    /// What is created is charged to the process of the first choice; the handle goes to the caller's table.
    fn create(&mut self, process: ProcessId, action: &Action) -> Answer {
        let owner = |choice: Choice| self.process_of(process, self.choose(process, Kind::Process, choice));
        let (owner, object) = match *action {
            Action::CreateGate { process, .. } => (owner(process)?, Object::Gate(self.gates.len())),
            Action::CreateThread { process } => (owner(process)?, Object::Thread(self.threads.len())),
            Action::CreatePulse { process, .. } => (owner(process)?, Object::Pulse(self.pulses.len())),
            Action::CreateBaton { process, .. } => (owner(process)?, Object::Baton(self.batons.len())),
            Action::CreateProcess { process: parent, share } => {
                let parent = owner(parent)?;
                return self.create_process(process, parent, share);
            }
            _ => return Err(Error::Unsupported),
        };
        let to = match *action {
            Action::CreatePulse { gate, .. } => {
                self.gate_of(process, self.choose(process, Kind::Gate, gate), Rights::MANAGE)?
            }
            _ => 0,
        };
        if let Action::CreateBaton { priority, .. } = *action
            && priority > self.processes[owner].cap
        {
            return Err(Error::QuotaExceeded);
        }
        self.charge(owner, object)?;
        match *action {
            Action::CreateGate { grace, .. } => self.add_gate(Some(owner), grace),
            Action::CreateThread { .. } => self.add_thread(owner),
            Action::CreatePulse { counts, priority, .. } => self.add_pulse(Some(owner), to, counts, priority),
            Action::CreateBaton { priority, .. } => self.add_baton(Some(owner), priority),
            _ => 0,
        };
        // Without room for its handle, it is as if it had never been.
        self.new_handle(process, object, Rights::ALL).inspect_err(|_| self.forget(object))
    }

    /// A new process has a share of its parent's quota; it counts as one of the parent's, too.
    fn create_process(&mut self, creator: ProcessId, parent: ProcessId, share: u32) -> Answer {
        if !self.has_room(creator) {
            return Err(Error::TableFull);
        }
        let limit = Counts::all(share);
        let used = self.processes[parent].used.plus(limit);
        let itself = Counts { processes: 1, ..Counts::all(0) };
        if !used.plus(itself).fits(self.processes[parent].limit) {
            return Err(Error::QuotaExceeded);
        }
        self.processes[parent].used = used;
        let process = Object::Process(self.processes.len());
        self.charge(parent, process)?;
        let cap = self.processes[parent].cap;
        let area = self.add_area();
        self.add_process(Some(parent), limit, cap, 0, area);
        self.new_handle(creator, process, Rights::ALL)
    }

    /// Pages for tables that a process may have: enough for all below it, so that they need not be counted.
    #[must_use]
    pub fn pages(&self, process: ProcessId) -> u32 {
        self.processes[process].parent.map_or(PAGES, |parent| self.pages(parent) / 8)
    }

    /// There is a new process, which was paid for.
    pub fn add_process(
        &mut self,
        parent: Option<ProcessId>,
        limit: Counts,
        cap: u8,
        identity: u64,
        area: usize,
    ) -> ProcessId {
        self.processes.push(Process {
            alive: true,
            identity,
            parent,
            cap,
            limit,
            used: Counts::default(),
            table: vec![None; TABLE_PAGE],
            unnamed: None,
            names: BTreeSet::new(),
            possessions: Vec::new(),
            open: Vec::new(),
            death_pulses: Vec::new(),
            area,
            window: Default::default(),
        });
        self.processes.len() - 1
    }

    /// There is a new thread, not started, which was paid for.
    pub fn add_thread(&mut self, process: ProcessId) -> ThreadId {
        self.threads.push(Thread { alive: true, process, ..Thread::default() });
        self.threads.len() - 1
    }

    /// There is a new baton, which was paid for.
    pub fn add_baton(&mut self, owner: Option<ProcessId>, priority: u8) -> BatonId {
        self.batons.push(Baton { alive: true, owner, priority });
        self.batons.len() - 1
    }

    /// There is a new gate, which was paid for.
    pub fn add_gate(&mut self, owner: Option<ProcessId>, grace: u64) -> GateId {
        self.gates.push(Gate { alive: true, owner, grace, ..Gate::default() });
        self.gates.len() - 1
    }

    /// There is a new connection, which was paid for. Its badge is its number.
    pub fn add_connection(&mut self, owner: Option<ProcessId>, gate: GateId) -> ConnectionId {
        let badge = self.connections.len() as u64;
        self.connections.push(Connection { alive: true, owner, gate, badge, handles: 0 });
        self.connections.len() - 1
    }

    /// There is a new pulse, which was paid for. Its badge is its number.
    pub fn add_pulse(&mut self, owner: Option<ProcessId>, gate: GateId, counts: bool, priority: u8) -> PulseId {
        let badge = self.pulses.len() as u64;
        self.pulses.push(Pulse {
            alive: true,
            owner,
            gate,
            badge,
            priority,
            counts,
            value: 0,
            pending: false,
            tells_death: false,
            alarm: None,
            due: 0,
            period: 0,
            binding: None,
        });
        self.pulses.len() - 1
    }

    /// The supervisor has started a thread on a baton.
    pub fn begin(&mut self, thread: ThreadId, own: BatonId) {
        self.threads[thread].own = Some(own);
        self.wake(thread);
    }

    /// A process pays for what the supervisor made for it.
    pub fn pay(&mut self, owner: ProcessId, object: Object) {
        assert_eq!(self.charge(owner, object), Ok(()), "the supervisor makes no more than there is room for");
    }
}
