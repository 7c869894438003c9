//! One start of a program: its process, its memory, its handles, its thread.

use abi::object::access;
use abi::system_page::SYSTEM_PAGE_ADDRESS;
use abi::thread::Policy as Sharing;
use abi::{Error, Handle, PAGE_SIZE, Rights};
use runtime::object::process::Accumulate;
use runtime::object::{gate, memory, process, pulse, thread};
use runtime::start::{RECORD_ADDRESS, STACK_TOP, StartRecord};
use runtime::{Buffers, Mapping, Options, OwnedHandle, clock, handle};

use crate::image::Image;
use crate::list::{self, Grant};
use crate::service::Running;
use crate::{Doing, Init, NATIVE_IDENTITY, Problem, death_badge, has_room, index_of};

/// Pid of the process service.
const PROCESS_PID: u64 = 2;

/// Why a program is not even tried again.
pub(crate) const MISSING: &str = "no such program";

/// A child that is destroyed if its start fails.
struct Child(Handle);

impl Drop for Child {
    fn drop(&mut self) {
        if !self.0.is_none() {
            // It never ran; if it cannot be destroyed, init's quota bears it.
            let _ = process::destroy(self.0);
        }
    }
}

impl Init {
    /// Start a program of the list.
    pub(crate) fn launch(&mut self, index: usize) -> Result<Running, Problem> {
        let (program, starts) = (self.services[index].program, self.services[index].starts);
        let mut path = [0; 64];
        let path = system_path(program.name, &mut path);
        let missing = Problem { doing: "looking in the archive", why: MISSING };
        let file = self.archive.find(path).ok_or(missing)?;
        let image = Image::parse(file.data).doing("reading its ELF file")?;

        let is_process = program.name == list::PROCESS;
        let quota = if is_process { self.process_quota } else { program.share(self.boot.archive_length) };
        self.sequence += 1;
        let identity = NATIVE_IDENTITY | self.sequence;
        let child = handle::with_room(|| process::create_process(Handle::SELF_PROCESS, identity, &quota));
        let mut child = Child(child.doing("making its process")?);
        let process = child.0;

        let mut record = StartRecord::new(program.name);
        record.add("priority", u64::from(program.priority));
        record.add("run", starts);
        let rights = Rights::RECEIVE.and(Rights::MANAGE).and(Rights::COPY);
        give(&mut record, process, "gate", self.services[index].gate, rights)?;
        let length = PAGE_SIZE + program.stack + image.private_length();
        let early = self.system_page.is_none();
        let (pid, private) = if early {
            (if is_process { PROCESS_PID } else { 0 }, self.carve(length)?)
        } else {
            let (pid, connection) = self.add_native(process, program.name, program.flags)?;
            let slot = OwnedHandle::new(handle::reserve().doing("a slot")?);
            let mut buffers = Buffers::new().take(slot.handle());
            protocol::process::allocate(connection.handle(), length, 0, &mut buffers, Options::NONE)
                .doing("its memory")?;
            give(&mut record, process, "process", connection.handle(), Rights::SEND.and(Rights::COPY))?;
            (pid, slot)
        };
        if !is_process {
            let page = if early { self.first_page } else { self.system_page };
            process::map(process, page, SYSTEM_PAGE_ADDRESS, access::READ, 0, PAGE_SIZE)
                .doing("mapping the system page")?;
        }
        if program.name != list::LOG {
            self.connect(&mut record, process, "log", list::LOG, 0)?;
        }
        for grant in program.grants {
            self.grant(&mut record, process, index, *grant)?;
        }
        fill(private.handle(), &record, program.stack, &image, file.data)?;
        self.map(process, private.handle(), program.stack, &image, file.data_offset)?;

        let thread = handle::with_room(|| process::create_thread(process, self.services[index].faults));
        let thread = OwnedHandle::new(thread.doing("making its thread")?);
        thread::set_name(thread.handle(), program.name).doing("naming its thread")?;
        let baton = handle::with_room(|| process::create_baton(process, program.priority, Sharing::RoundRobin, 0));
        let baton = OwnedHandle::new(baton.doing("making its baton")?);
        let badge = death_badge(index, starts);
        let death = handle::with_room(|| {
            let priority = u8::MAX;
            process::create_pulse(Handle::SELF_PROCESS, self.gate, badge, Accumulate::Or, priority, Handle::NONE)
        });
        let mut death = Child(death.doing("making the pulse of its death")?);
        pulse::bind_death(death.0, process).doing("watching its process")?;
        thread::start(thread.handle(), image.entry, STACK_TOP, RECORD_ADDRESS, baton.handle())
            .doing("starting its thread")?;
        let since_ns = clock::monotonic_ns();
        let death = core::mem::replace(&mut death.0, Handle::NONE);
        Ok(Running { process: core::mem::replace(&mut child.0, Handle::NONE), death, pid, since_ns })
    }

    /// Tell the process service of a new program: its pid, and its connection there.
    pub(crate) fn add_native(&self, process: Handle, name: &str, flags: u64) -> Result<(u64, OwnedHandle), Problem> {
        let slot = OwnedHandle::new(handle::reserve().doing("a slot")?);
        let rights = Rights::MANAGE.and(Rights::DESTROY).and(Rights::COPY);
        let mut buffers = Buffers::new().send(name.as_bytes()).give(process, rights).take(slot.handle());
        let answer = protocol::process::add_native(self.process, flags, &mut buffers, Options::NONE)
            .doing("telling the process service")?;
        Ok((answer.pid, slot))
    }

    /// Memory for what runs before the process service, and for that: from the start of a RAM range. It stays when the handle is closed.
    pub(crate) fn carve(&mut self, length: u64) -> Result<OwnedHandle, Problem> {
        let count = (self.boot.ram_count as usize).min(self.boot.ram.len());
        for (range, used) in self.boot.ram[..count].iter().zip(&mut self.ram_used) {
            if !has_room(*range, *used, length) {
                continue;
            }
            let rights = Rights::READ.and(Rights::WRITE);
            let memory = handle::with_room(|| memory::derive(*range, Handle::SELF_PROCESS, *used, length, rights))
                .doing("its memory")?;
            *used += length;
            let window = Mapping::new(memory, 0, length, access::READ | access::WRITE).doing("a window")?;
            window.clear(0, length);
            return Ok(OwnedHandle::new(memory));
        }
        Err(Problem { doing: "its memory", why: "no RAM range is large enough" })
    }

    /// Map a program's segments, stack and start record.
    fn map(
        &self,
        process: Handle,
        private: Handle,
        stack: u64,
        image: &Image,
        file_offset: u64,
    ) -> Result<(), Problem> {
        let mut offset = 0;
        process::map(process, private, RECORD_ADDRESS, access::READ, offset, PAGE_SIZE).doing("mapping its record")?;
        offset += PAGE_SIZE;
        let writable = access::READ | access::WRITE;
        process::map(process, private, STACK_TOP - stack, writable, offset, stack).doing("mapping its stack")?;
        offset += stack;
        for segment in image.segments() {
            if segment.is_private() {
                process::map(process, private, segment.address, segment.access, offset, segment.length)
                    .doing("mapping its data")?;
                offset += segment.length;
            } else {
                let from = file_offset + segment.file_offset;
                process::map(process, self.boot.archive, segment.address, segment.access, from, segment.length)
                    .doing("mapping its text")?;
            }
        }
        Ok(())
    }

    /// A connection to another program's gate.
    fn connect(
        &self,
        record: &mut StartRecord,
        process: Handle,
        name: &str,
        to: &str,
        badge: u64,
    ) -> Result<(), Problem> {
        let to = index_of(to).ok_or(Problem { doing: "a connection", why: "no such program in the list" })?;
        self.connect_gate(record, process, name, self.services[to].gate, badge)
    }

    fn connect_gate(
        &self,
        record: &mut StartRecord,
        process: Handle,
        name: &str,
        gate: Handle,
        badge: u64,
    ) -> Result<(), Problem> {
        let connection = handle::with_room(|| gate::connect(gate, badge, 0)).doing("a connection")?;
        let connection = OwnedHandle::new(connection);
        give(record, process, name, connection.handle(), Rights::SEND.and(Rights::COPY))
    }

    /// Give a program what the list grants it.
    fn grant(&self, record: &mut StartRecord, process: Handle, index: usize, grant: Grant) -> Result<(), Problem> {
        let boot = self.boot;
        let whole = |name, source, record: &mut StartRecord| give(record, process, name, source, Rights::ALL);
        let part = |name, source, base, length, record: &mut StartRecord| {
            let part = handle::with_room(|| memory::derive(source, process, base, length, Rights::ALL));
            let part = OwnedHandle::new(part.doing("a part of a device")?);
            give(record, process, name, part.handle(), Rights::ALL)
        };
        match grant {
            Grant::Ports(base, length) => part("ports", boot.ports, base, length, record),
            Grant::DebugPort => part("debug-port", boot.ports, runtime::log::DEBUG_PORT, 1, record),
            Grant::Interrupts(base, length) => {
                record.add("line", base);
                part("interrupts", boot.interrupts, base, length, record)
            }
            Grant::Devices => {
                // Not to destroy it: others have it too.
                let rights = Rights::READ.and(Rights::WRITE).and(Rights::MANAGE).and(Rights::COPY);
                give(record, process, "devices", boot.devices, rights)
            }
            Grant::Archive => {
                record.add("archive-length", boot.archive_length);
                whole("archive", boot.archive, record)
            }
            Grant::Ram => {
                record.add("tsc-hz", boot.tsc_hz);
                record.add("tsc-base", boot.tsc_base);
                record.add("ram-total", boot.ram_total);
                let count = (boot.ram_count as usize).min(boot.ram.len());
                record.add("ram-count", count as u64);
                for ((range, used), (name, used_name)) in
                    boot.ram[..count].iter().zip(self.ram_used).zip(runtime::start::RAM_NAMES)
                {
                    record.add(used_name, used);
                    whole(name, *range, record)?;
                }
                Ok(())
            }
            Grant::Connection(name, to, badge) => self.connect(record, process, name, to, badge),
            Grant::Path => self.connect(record, process, "path", list::PATH, 0),
            Grant::Registry => {
                // Each start has a badge of its own: what an earlier one registered goes with that.
                let badge = (1 + index as u64) | (self.services[index].starts << 16);
                self.connect(record, process, "registry", list::REGISTRY, badge)
            }
            Grant::Init(rights) => self.connect_gate(record, process, "init", self.gate, rights),
            Grant::EntryTime => {
                record.add("entry-tsc", boot.entry_tsc);
                Ok(())
            }
            Grant::Trace => give(record, process, "trace", boot.trace, Rights::READ.and(Rights::MANAGE)),
            Grant::Signals => {
                let pulse = handle::with_room(|| {
                    let priority = u8::MAX;
                    process::create_pulse(
                        Handle::SELF_PROCESS,
                        self.gate,
                        crate::SIGNALS,
                        Accumulate::Or,
                        priority,
                        Handle::NONE,
                    )
                });
                give(record, process, "init-signals", pulse.doing("a pulse for signals")?, Rights::SEND)
            }
            Grant::Number(name, value) => {
                record.add(name, value);
                Ok(())
            }
        }
    }
}

/// `system/` and a program's name.
fn system_path<'a>(name: &str, path: &'a mut [u8; 64]) -> &'a [u8] {
    const DIRECTORY: &[u8] = b"system/";
    let length = DIRECTORY.len() + name.len().min(32);
    path[..DIRECTORY.len()].copy_from_slice(DIRECTORY);
    path[DIRECTORY.len()..length].copy_from_slice(&name.as_bytes()[..length - DIRECTORY.len()]);
    &path[..length]
}

/// Put a copy of a handle into a program's table and its value there into its record.
fn give(record: &mut StartRecord, process: Handle, name: &str, given: Handle, rights: Rights) -> Result<(), Problem> {
    let mut entries = 64;
    let there = loop {
        match process::give(process, given, rights) {
            Err(Error::TableFull) if entries < 4096 => {
                entries += 64;
                process::grow_handles(process, entries).doing("growing its handle table")?;
            }
            result => break result.doing("giving it a handle")?,
        }
    };
    if record.add(name, there.0) { Ok(()) } else { Err(Problem { doing: "its record", why: "too many entries" }) }
}

/// Write a program's start record and the content of its writable segments.
fn fill(private: Handle, record: &StartRecord, stack: u64, image: &Image, file: &[u8]) -> Result<(), Problem> {
    let length = PAGE_SIZE + stack + image.private_length();
    let window = Mapping::new(private, 0, length, access::READ | access::WRITE).doing("a window")?;
    window.write(0, record.bytes());
    let mut offset = PAGE_SIZE + stack;
    for segment in image.segments().iter().filter(|segment| segment.is_private()) {
        if segment.file_length > 0 {
            let start = segment.file_offset as usize;
            // `Image::parse` checked that the file has these bytes.
            window.write(offset, &file[start..start + segment.file_length as usize]);
        }
        offset += segment.length;
    }
    Ok(())
}
