//! Everything the service asks of the kernel, and nothing else. On a host (tests) a model of the kernel answers.

use abi::Handle;
use abi::thread::Configuration;
pub(crate) use abi::thread::Policy as Sharing;

#[cfg(target_os = "none")]
pub(crate) use real::*;

#[cfg(not(target_os = "none"))]
pub(crate) use model::*;

/// A Memory that somebody passed: its handle is closed with the last use.
#[derive(Debug)]
pub(crate) struct PassedMemory {
    /// The handle.
    pub(crate) handle: Handle,
    /// Bytes.
    pub(crate) length: u64,
    /// Physical address, if known: names what it is for shared futexes.
    pub(crate) base: u64,
}

impl Drop for PassedMemory {
    fn drop(&mut self) {
        crate::lent::DROPPED.store(true, core::sync::atomic::Ordering::Relaxed);
        close(self.handle);
    }
}

/// What a thread is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Activity {
    /// [`abi::thread::State`] number | STOPPED << 8 | priority << 16.
    pub(crate) state: u32,
    /// Identity of the process that it waits for.
    pub(crate) waits_for: u64,
    /// CPU time, ns.
    pub(crate) cpu_ns: u64,
}

/// What is needed to make a thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ThreadSpecification {
    /// The process it runs in.
    pub(crate) process: Handle,
    /// Where its faults go.
    pub(crate) faults: Handle,
    /// Everything else.
    pub(crate) configuration: Configuration,
}

#[cfg(target_os = "none")]
mod real {
    use super::Sharing;
    use super::{Activity, ThreadSpecification};
    use abi::{Error, Handle, Quota, Rights};
    use runtime::handle::with_room;
    use runtime::object::{baton, gate, memory, process, thread};
    use runtime::{Buffers, Message};

    /// Create a process.
    pub(crate) fn create_process(identity: u64, quota: &Quota) -> Result<Handle, Error> {
        with_room(|| process::create_process(Handle::SELF_PROCESS, identity, quota))
    }

    /// Destroy an object and close its handle.
    pub(crate) fn destroy(subject: Handle) {
        if process::destroy(subject).is_err() {
            close(subject);
        }
    }

    /// Close a handle.
    pub(crate) fn close(handle: Handle) {
        runtime::handle::close(handle);
    }

    pub(crate) use process::{copy_entry, grow_handles, map, protect, set_quota, share_range, unmap, usage};

    /// One piece of copying a table, from an index on; where to go on, `None` at the end.
    pub(crate) fn copy_table(process: Handle, source: Handle, from: u64) -> Result<Option<u64>, Error> {
        let message = Message::new(u64::from(abi::object::process::COPY_TABLE), [source.0, from, 0, 0]);
        let out = runtime::exchange::exchange(runtime::exchange::Registers {
            status: abi::Operation::Call as u64,
            target: process.0,
            deadline: abi::call::NEVER,
            label: message.label,
            words: message.words,
            ..runtime::exchange::Registers::default()
        });
        match abi::Status(out.status).result() {
            Ok(()) => Ok(None),
            Err(Error::More) => Ok(Some(out.words[0])),
            Err(error) => Err(error),
        }
    }

    /// Put a copy of a handle into another table.
    pub(crate) fn give(process: Handle, handle: Handle, rights: Rights) -> Result<Handle, Error> {
        process::give(process, handle, rights)
    }

    /// A connection to the service's gate, charged to the caller of a request, or (0) to the service.
    pub(crate) fn connect(gate: Handle, badge: u64, charge: u64) -> Result<Handle, Error> {
        with_room(|| gate::connect(gate, badge, charge))
    }

    /// Make a thread, not started.
    pub(crate) fn create_thread(specification: &ThreadSpecification) -> Result<Handle, Error> {
        let handle = with_room(|| process::create_thread(specification.process, specification.faults))?;
        match thread::configure(handle, &specification.configuration) {
            Ok(()) => Ok(handle),
            Err(error) => {
                destroy(handle);
                Err(error)
            }
        }
    }

    /// Start a thread with a baton of its own.
    pub(crate) fn start_thread(
        process: Handle,
        handle: Handle,
        entry: u64,
        stack: u64,
        argument: u64,
        (priority, sharing): (u8, Sharing),
    ) -> Result<Handle, Error> {
        let baton = with_room(|| process::create_baton(process, priority, sharing, 0))?;
        match thread::start(handle, entry, stack, argument, baton) {
            Ok(()) => Ok(baton),
            Err(error) => {
                destroy(baton);
                Err(error)
            }
        }
    }

    /// Change a baton's priority.
    pub(crate) fn set_priority(handle: Handle, priority: u8, sharing: Sharing) {
        let _ = baton::set(handle, priority, sharing, 0);
    }

    /// Post an interrupt.
    pub(crate) fn interrupt(handle: Handle) {
        let _ = thread::interrupt(handle);
    }

    /// Stop a thread.
    pub(crate) fn stop(handle: Handle) {
        let _ = thread::stop(handle);
    }

    /// Continue a thread.
    pub(crate) fn resume(handle: Handle) {
        let _ = thread::resume(handle);
    }

    /// Name a thread for tools.
    pub(crate) fn name_thread(handle: Handle, name: &str) {
        let _ = thread::set_name(handle, name);
    }

    /// What a thread is doing.
    pub(crate) fn activity(handle: Handle) -> Activity {
        thread::state(handle).map_or_else(
            |_| Activity::default(),
            |activity| Activity {
                state: activity.state as u32 | u32::from(activity.stopped) << 8 | u32::from(activity.priority) << 16,
                waits_for: activity.waits_for,
                cpu_ns: activity.cpu_ns,
            },
        )
    }

    /// Length and physical address (0: not known) of a Memory.
    pub(crate) fn memory_information(handle: Handle) -> Result<(u64, u64), Error> {
        memory::information(handle).map(|information| (information.length, information.base))
    }

    /// A part of a Memory as a Memory of its own.
    pub(crate) fn derive(whole: Handle, offset: u64, length: u64, rights: Rights) -> Result<Handle, Error> {
        with_room(|| memory::derive(whole, Handle::SELF_PROCESS, offset, length, rights))
    }

    /// Raise a pulse.
    pub(crate) fn raise(pulse: Handle) {
        let _ = runtime::raise(pulse, 1);
    }

    /// System figures: arena used, arena, RAM, idle ns.
    pub(crate) fn system() -> [u64; 4] {
        process::system()
            .map_or([0; 4], |system| [system.arena_used, system.arena_total, system.ram_total, system.idle_ns])
    }

    /// Answer a request.
    pub(crate) fn reply(
        request: u64,
        label: u64,
        words: [u64; 4],
        bytes: &[u8],
        gift: Option<(Handle, Rights)>,
    ) -> Result<(), Error> {
        let mut buffers = Buffers::new();
        if !bytes.is_empty() {
            buffers = buffers.send(bytes);
        }
        if let Some((handle, rights)) = gift {
            buffers = buffers.give(handle, rights);
        }
        runtime::reply(request, Message { label, words }, &buffers).map(drop)
    }

    /// Copy from what a caller sent.
    pub(crate) fn read_request(request: u64, offset: u64, bytes: &mut [u8]) -> Result<u64, Error> {
        runtime::read_request(request, offset, bytes).map_err(|(error, _)| error)
    }

    /// Copy from what a caller sent straight into RAM at an address of the window.
    pub(crate) fn read_request_raw(request: u64, offset: u64, address: u64, length: u64) -> Result<u64, Error> {
        let mut buffers = Buffers::new().receive_raw(address, length);
        runtime::exchange::read_request_into(request, offset, &mut buffers).map_err(|(error, _)| error)
    }

    /// Copy to where a caller wants its answer.
    pub(crate) fn write_request(request: u64, offset: u64, bytes: &[u8]) -> Result<u64, Error> {
        runtime::write_request(request, offset, bytes).map_err(|(error, _)| error)
    }

    /// Monotonic nanoseconds.
    pub(crate) fn now() -> u64 {
        runtime::clock::monotonic_ns()
    }
}

#[cfg(not(target_os = "none"))]
#[allow(clippy::unwrap_used)]
pub(crate) mod model {
    //! A kernel that keeps books: handles, mappings, threads, replies.
    use std::cell::RefCell;
    use std::collections::{BTreeMap, BTreeSet};
    use std::vec::Vec;

    use super::{Activity, Configuration, Handle, Sharing, ThreadSpecification};
    use abi::quota::Usage;
    use abi::{Error, PAGE_SIZE, Quota, Rights};

    /// A page as mapped.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Mapped {
        pub(crate) memory: Handle,
        pub(crate) offset: u64,
        pub(crate) access: u64,
        pub(crate) shared: bool,
    }

    /// A process as the kernel has it.
    #[derive(Debug, Default)]
    pub(crate) struct Process {
        pub(crate) pages: BTreeMap<u64, Mapped>,
        pub(crate) handles: BTreeMap<u64, Handle>,
        next: u64,
    }

    /// A thread as the kernel has it.
    #[derive(Debug)]
    pub(crate) struct Thread {
        pub(crate) process: Handle,
        pub(crate) configuration: Configuration,
        pub(crate) start: Option<(u64, u64, u64)>,
        pub(crate) interrupts: u32,
        pub(crate) stopped: bool,
    }

    /// An answer.
    #[derive(Debug, PartialEq, Eq)]
    pub(crate) struct Answer {
        pub(crate) label: u64,
        pub(crate) words: [u64; 4],
        pub(crate) bytes: Vec<u8>,
        pub(crate) gift: Option<Handle>,
    }

    /// Everything.
    #[derive(Debug, Default)]
    pub(crate) struct World {
        next: u64,
        pub(crate) processes: BTreeMap<Handle, Process>,
        pub(crate) threads: BTreeMap<Handle, Thread>,
        pub(crate) other: BTreeSet<Handle>,
        pub(crate) replies: BTreeMap<u64, Answer>,
        pub(crate) sent: BTreeMap<u64, Vec<u8>>,
        pub(crate) raised: Vec<Handle>,
        pub(crate) now: u64,
    }

    thread_local! {
        static WORLD: RefCell<World> = RefCell::new(World::default());
    }

    /// Look at, or change, the world.
    pub(crate) fn with<T>(act: impl FnOnce(&mut World) -> T) -> T {
        WORLD.with(|world| act(&mut world.borrow_mut()))
    }

    impl World {
        fn handle(&mut self) -> Handle {
            self.next += 1;
            Handle::new(0x100 + self.next as u16, self.next)
        }

        /// Another handle of no particular kind.
        pub(crate) fn object(&mut self) -> Handle {
            let handle = self.handle();
            self.other.insert(handle);
            handle
        }
    }

    pub(crate) fn create_process(_identity: u64, _quota: &Quota) -> Result<Handle, Error> {
        with(|world| {
            let handle = world.handle();
            world.processes.insert(handle, Process { next: 3, ..Process::default() });
            Ok(handle)
        })
    }

    pub(crate) fn destroy(subject: Handle) {
        with(|world| {
            if world.processes.remove(&subject).is_some() {
                world.threads.retain(|_, thread| thread.process != subject);
            }
            world.threads.remove(&subject);
            world.other.remove(&subject);
        });
    }

    pub(crate) fn close(handle: Handle) {
        with(|world| world.other.remove(&handle));
    }

    pub(crate) fn map(
        process: Handle,
        memory: Handle,
        address: u64,
        access: u64,
        offset: u64,
        length: u64,
    ) -> Result<(), Error> {
        assert!((address | offset | length).is_multiple_of(PAGE_SIZE) && length > 0);
        with(|world| {
            let process = world.processes.get_mut(&process).ok_or(Error::BadHandle)?;
            if process.pages.range(address / PAGE_SIZE..(address + length) / PAGE_SIZE).next().is_some() {
                return Err(Error::Busy);
            }
            for page in 0..length / PAGE_SIZE {
                let mapped = Mapped { memory, offset: offset + page * PAGE_SIZE, access, shared: false };
                process.pages.insert(address / PAGE_SIZE + page, mapped);
            }
            Ok(())
        })
    }

    pub(crate) fn unmap(process: Handle, address: u64, length: u64) -> Result<(), Error> {
        with(|world| {
            let process = world.processes.get_mut(&process).ok_or(Error::BadHandle)?;
            process.pages.retain(|page, _| !(address / PAGE_SIZE..(address + length) / PAGE_SIZE).contains(page));
            Ok(())
        })
    }

    pub(crate) fn protect(process: Handle, address: u64, access: u64, length: u64) -> Result<(), Error> {
        with(|world| {
            let process = world.processes.get_mut(&process).ok_or(Error::BadHandle)?;
            for (_, mapped) in process.pages.range_mut(address / PAGE_SIZE..(address + length) / PAGE_SIZE) {
                mapped.access = access;
            }
            Ok(())
        })
    }

    pub(crate) fn share_range(
        process: Handle,
        source: Handle,
        address: u64,
        length: u64,
        keep: bool,
    ) -> Result<(), Error> {
        with(|world| {
            let range = address / PAGE_SIZE..(address + length) / PAGE_SIZE;
            let from = world.processes.get_mut(&source).ok_or(Error::BadHandle)?;
            let mut copies = Vec::new();
            for (&page, mapped) in from.pages.range_mut(range) {
                if !keep {
                    mapped.access &= !abi::object::access::WRITE;
                }
                copies.push((page, *mapped));
            }
            let to = world.processes.get_mut(&process).ok_or(Error::BadHandle)?;
            for (page, mapped) in copies {
                if to.pages.insert(page, mapped).is_some() {
                    return Err(Error::Busy);
                }
            }
            Ok(())
        })
    }

    pub(crate) fn grow_handles(_process: Handle, _entries: u64) -> Result<(), Error> {
        Ok(())
    }

    pub(crate) fn give(process: Handle, handle: Handle, _rights: Rights) -> Result<Handle, Error> {
        with(|world| {
            let process = world.processes.get_mut(&process).ok_or(Error::BadHandle)?;
            let index = process.next;
            process.next += 1;
            process.handles.insert(index, handle);
            Ok(Handle::new(index as u16, 1))
        })
    }

    pub(crate) fn copy_entry(process: Handle, source: Handle, entry: Handle) -> Result<(), Error> {
        with(|world| {
            let index = u64::from(entry.index());
            let from =
                *world.processes.get(&source).and_then(|from| from.handles.get(&index)).ok_or(Error::BadHandle)?;
            world.processes.get_mut(&process).ok_or(Error::BadHandle)?.handles.insert(index, from);
            Ok(())
        })
    }

    pub(crate) fn copy_table(_process: Handle, _source: Handle, _from: u64) -> Result<Option<u64>, Error> {
        Ok(None)
    }

    pub(crate) fn usage(_process: Handle) -> Result<Usage, Error> {
        let limit = Quota {
            processes: 60,
            threads: 1000,
            batons: 1000,
            gates: 1000,
            connections: 30_000,
            pulses: 5000,
            memories: 5000,
            mappings: 60_000,
            pages: 5000,
            priority: 255,
        };
        Ok(Usage { limit, used: Quota::default() })
    }

    pub(crate) fn set_quota(_process: Handle, _quota: &Quota) -> Result<(), Error> {
        Ok(())
    }

    pub(crate) fn connect(_gate: Handle, _badge: u64, _charge: u64) -> Result<Handle, Error> {
        Ok(with(World::object))
    }

    pub(crate) fn create_thread(specification: &ThreadSpecification) -> Result<Handle, Error> {
        with(|world| {
            let handle = world.handle();
            let ThreadSpecification { process, configuration, .. } = *specification;
            world.threads.insert(handle, Thread { process, configuration, start: None, interrupts: 0, stopped: false });
            Ok(handle)
        })
    }

    pub(crate) fn start_thread(
        _: Handle,
        handle: Handle,
        entry: u64,
        stack: u64,
        argument: u64,
        _: (u8, Sharing),
    ) -> Result<Handle, Error> {
        with(|world| {
            world.threads.get_mut(&handle).ok_or(Error::BadHandle)?.start = Some((entry, stack, argument));
            Ok(world.object())
        })
    }

    pub(crate) fn set_priority(_baton: Handle, _priority: u8, _sharing: Sharing) {}

    pub(crate) fn interrupt(handle: Handle) {
        with(|world| {
            if let Some(thread) = world.threads.get_mut(&handle) {
                thread.interrupts += 1;
            }
        });
    }

    pub(crate) fn stop(handle: Handle) {
        with(|world| {
            if let Some(thread) = world.threads.get_mut(&handle) {
                thread.stopped = true;
            }
        });
    }

    pub(crate) fn resume(handle: Handle) {
        with(|world| {
            if let Some(thread) = world.threads.get_mut(&handle) {
                thread.stopped = false;
            }
        });
    }

    pub(crate) fn name_thread(_handle: Handle, _name: &str) {}

    pub(crate) fn activity(_handle: Handle) -> Activity {
        Activity::default()
    }

    pub(crate) fn memory_information(_handle: Handle) -> Result<(u64, u64), Error> {
        Ok((1 << 20, 0))
    }

    pub(crate) fn derive(_whole: Handle, _offset: u64, _length: u64, _rights: Rights) -> Result<Handle, Error> {
        Ok(with(World::object))
    }

    pub(crate) fn raise(pulse: Handle) {
        with(|world| world.raised.push(pulse));
    }

    pub(crate) fn system() -> [u64; 4] {
        [0; 4]
    }

    pub(crate) fn reply(
        request: u64,
        label: u64,
        words: [u64; 4],
        bytes: &[u8],
        gift: Option<(Handle, Rights)>,
    ) -> Result<(), Error> {
        with(|world| {
            let answer = Answer { label, words, bytes: bytes.to_vec(), gift: gift.map(|gift| gift.0) };
            assert!(world.replies.insert(request, answer).is_none(), "answered twice");
        });
        Ok(())
    }

    pub(crate) fn read_request(request: u64, offset: u64, bytes: &mut [u8]) -> Result<u64, Error> {
        with(|world| {
            let sent = world.sent.get(&request).map_or(&[][..], |sent| sent.get(offset as usize..).unwrap_or(&[]));
            let count = sent.len().min(bytes.len());
            bytes[..count].copy_from_slice(&sent[..count]);
            Ok(count as u64)
        })
    }

    pub(crate) fn write_request(_request: u64, _offset: u64, bytes: &[u8]) -> Result<u64, Error> {
        Ok(bytes.len() as u64)
    }

    pub(crate) fn now() -> u64 {
        with(|world| world.now)
    }
}
