//! The first program: starts the others from a declarative list ([`list`]) and restarts them.
//!
//! Init owns every service's gate, so callers of a service that died stay queued until its successor receives. It makes
//! the connections that programs start with, and the mount connections too: services need not know `path` at all, and a mount
//! goes on working when the service behind it is started again.
//!
//! It calls only `process` (its memory) and, with deadlines, `path` and `log`. It tells what every thread is doing even if
//! none of them answers ([`report`]).
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

mod image;
mod launch;
mod list;
mod power;
mod report;
mod service;

use alloc::vec::Vec;

use abi::archive::Archive;
use abi::boot::BootRecord;
use abi::call::flags::{DEADLINE_RECEIVE, DEADLINE_REPLY, DEADLINE_SEND};
use abi::object::access;
use abi::system_page::SYSTEM_PAGE_ADDRESS;
use abi::thread::Policy as Sharing;
use abi::trace::{NAMED, class_of};
use abi::{Error, Handle, PAGE_SIZE, Quota, Rights, notice};
use protocol::init::{Request, answer};
use protocol::{Errno, Failure, Reply};
use runtime::object::process::Accumulate;
use runtime::object::{gate, memory, process, thread};
use runtime::start::StartRecord;
use runtime::{Buffers, Mapping, Message, Options, Received, clock, handle, log, mapping, reply, start};

use list::{PROGRAMS, Policy, init_rights};
use service::Service;

runtime::main!(init run);
runtime::heap!(static 64 * 1024);

/// Set in the badge of a death pulse. Bits 0–15: the program's place in the list; bits 16–47: which start it was.
const DEATH: u64 = 1 << 62;
/// Set in the badge of a fault connection. Bits 0–15: the program's place in the list.
const FAULT: u64 = 1 << 61;
/// Badge of the pulse that `process` raises for signals to pid 1: bit n for signal n.
const SIGNALS: u64 = 1 << 60;
/// How long an interrupted caller of a service is kept waiting for its answer.
const GRACE_NS: u64 = 1_000_000_000;
/// Init's own priority, once all programs were started.
const PRIORITY: u8 = 200;
/// How long init waits for `path`.
const PATIENCE_NS: u64 = 5_000_000_000;
/// Identities of native programs: none is a POSIX process's, nor are its low 32 bits a pid.
const NATIVE_IDENTITY: u64 = 1 << 63 | 1 << 31;

/// What went wrong, and in doing what.
#[derive(Clone, Copy, Debug)]
struct Problem {
    doing: &'static str,
    why: &'static str,
}

/// Says what was being done when an exchange failed.
trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, Problem>;
}

impl<T> Doing<T> for Result<T, Error> {
    fn doing(self, doing: &'static str) -> Result<T, Problem> {
        self.map_err(|error| Problem { doing, why: error.text() })
    }
}

impl<T> Doing<T> for Result<T, Failure> {
    fn doing(self, doing: &'static str) -> Result<T, Problem> {
        self.map_err(|failure| match failure {
            Failure::Kernel(error) => Problem { doing, why: error.text() },
            other => Problem { doing, why: other.errno().text() },
        })
    }
}

impl<T> Doing<T> for Result<T, &'static str> {
    fn doing(self, doing: &'static str) -> Result<T, Problem> {
        self.map_err(|why| Problem { doing, why })
    }
}

/// Everything init knows.
struct Init {
    boot: &'static BootRecord,
    archive: Archive<'static>,
    /// Where deaths, faults and requests arrive.
    gate: Handle,
    /// Init's connection to `process`.
    process: Handle,
    /// Init's connection to `path`.
    path: Handle,
    /// The system page, once `process` made it.
    system_page: Handle,
    /// The system page until then.
    first_page: Handle,
    /// What `process` may have of the kernel: all that the others leave.
    process_quota: Quota,
    /// Bytes at the start of each RAM range that were taken before `process` got it.
    ram_used: [u64; abi::boot::RAM_RANGES],
    services: Vec<Service>,
    /// Where init tells what every thread is doing.
    report_line: Option<report::Line>,
    /// Programs started so far.
    sequence: u64,
    /// Whether the machine is being switched off.
    up: bool,
}

fn run(boot: &'static BootRecord) -> ! {
    match Init::new(boot) {
        Ok(mut init) => {
            init.start_all();
            if let Err(problem) = init.rise() {
                log!(Error, "{}: {}", problem.doing, problem.why);
            }
            init.serve()
        }
        Err(problem) => panic!("cannot start: {}: {}", problem.doing, problem.why),
    }
}

fn index_of(name: &str) -> Option<usize> {
    PROGRAMS.iter().position(|program| program.name == name)
}

impl Init {
    /// Make every gate, and the connections that init itself uses.
    fn new(boot: &'static BootRecord) -> Result<Self, Problem> {
        let own = Handle::SELF_PROCESS;
        let archive = mapping::archive(boot.archive, boot.archive_length).doing("the boot archive")?;
        let gate = handle::with_room(|| process::create_gate(own, Handle::NONE, GRACE_NS)).doing("a gate")?;
        let mut services = Vec::with_capacity(PROGRAMS.len());
        for (index, program) in PROGRAMS.iter().enumerate() {
            let reserve = handle::with_room(|| process::create_baton(own, program.priority, Sharing::RoundRobin, 0))
                .doing("a reserve baton")?;
            let own_gate = handle::with_room(|| process::create_gate(own, reserve, GRACE_NS)).doing("a gate")?;
            let faults =
                handle::with_room(|| gate::connect(gate, FAULT | index as u64, 0)).doing("a fault connection")?;
            let restarted = handle::with_room(|| {
                let badge = protocol::init::RESTARTED;
                process::create_pulse(own, own_gate, badge, Accumulate::Or, program.priority, Handle::NONE)
            });
            let restarted = restarted.doing("a pulse")?;
            services.push(Service::new(program, own_gate, faults, restarted));
        }
        let connection = |name: &str, badge| {
            let index = index_of(name).ok_or(Problem { doing: "the list", why: "a program is missing" })?;
            handle::with_room(|| gate::connect(services[index].gate, badge, 0)).doing("a connection")
        };
        let process = connection(list::PROCESS, 0)?;
        let path = connection(list::PATH, protocol::path::MAY_CHANGE)?;
        let mut record = StartRecord::new("init");
        record.add("log", connection(list::LOG, 0)?.0);
        record.add("log-wait-ns", list::LOG_WAIT_NS);
        start::install(record);
        let usage = process::usage(own).doing("init's quota")?;
        let process_quota = process_quota(&usage, boot.archive_length);
        let (system_page, first_page) = (Handle::NONE, Handle::NONE);
        let ram_used = [0; abi::boot::RAM_RANGES];
        let (sequence, up) = (0, false);
        let report_line =
            report::Line::open(boot.ports, boot.interrupts, gate).doing("the line that tells of threads")?;
        let mut init = Self {
            boot,
            archive,
            gate,
            process,
            path,
            system_page,
            first_page,
            process_quota,
            ram_used,
            services,
            report_line,
            sequence,
            up,
        };
        init.make_first_page()?;
        if init.archive.find(abi::archive::TRACE_ORDER.as_bytes()).is_some() {
            // Who is who; the rest is switched on by whoever passes it on.
            memory::trace(boot.trace, class_of(NAMED)).doing("the trace")?;
            thread::set_name(Handle::CURRENT_THREAD, "init").doing("its own name")?;
        }
        Ok(init)
    }

    /// Start every program in order, and mount what is to be mounted.
    fn start_all(&mut self) {
        for index in 0..self.services.len() {
            let needs = self.services[index].program.needs;
            if needs.is_none_or(|file| self.archive.find(file.as_bytes()).is_some()) {
                self.start(index);
            }
        }
    }

    /// Run above the programs that init started, now that they do: no program may keep it from starting another again.
    /// Until then it ran below them, so that each got as far as it could before the next was begun.
    fn rise(&self) -> Result<(), Problem> {
        let baton = handle::with_room(|| process::create_baton(Handle::SELF_PROCESS, PRIORITY, Sharing::RoundRobin, 0))
            .doing("init's baton")?;
        thread::set_baton(Handle::CURRENT_THREAD, baton).doing("taking a stronger baton")
    }

    /// Start a program. If it cannot be, its policy decides what then.
    fn start(&mut self, index: usize) {
        self.services[index].due_ns = None;
        self.services[index].starts += 1;
        match self.launch(index) {
            Ok(running) => self.services[index].running = Some(running),
            Err(problem) => {
                let program = self.services[index].program;
                log!(Error, "cannot start {}: {}: {}", program.name, problem.doing, problem.why);
                if program.policy == Policy::Critical {
                    panic!("cannot start {}: {}: {}", program.name, problem.doing, problem.why);
                }
                if program.policy == Policy::Restart && problem.why != launch::MISSING {
                    self.services[index].postpone(clock::monotonic_ns());
                }
                return;
            }
        }
        if self.services[index].starts > 1 {
            let name = self.services[index].program.name;
            for service in self.services.iter().filter(|service| service.program.depends_on(name)) {
                // A gate of init's own; nobody could have destroyed it.
                let _ = runtime::raise(service.restarted, 1);
            }
        }
        match self.services[index].program.name {
            // That it ended was said to nobody.
            list::LOG if self.services[index].starts > 1 => log!(Warning, "log ended; what it knew is lost"),
            list::PROCESS => {
                if let Err(problem) = self.adopt() {
                    panic!("{}: {}", problem.doing, problem.why);
                }
            }
            list::PATH => self.mount_all(),
            _ => {}
        }
    }

    /// Make what the log and init itself have for a system page: it tells the time since boot, but not the date, which only
    /// `process` will know.
    fn make_first_page(&mut self) -> Result<(), Problem> {
        let page = self.carve(PAGE_SIZE)?.into_handle();
        let window = Mapping::new(page, 0, PAGE_SIZE, access::READ | access::WRITE).doing("a window")?;
        for (index, word) in [self.boot.tsc_hz, self.boot.tsc_base, 0, self.boot.ram_total].into_iter().enumerate() {
            window.write(index as u64 * 8, &word.to_le_bytes());
        }
        process::map(Handle::SELF_PROCESS, page, SYSTEM_PAGE_ADDRESS, access::READ, 0, PAGE_SIZE)
            .doing("mapping the first system page")?;
        self.first_page = page;
        Ok(())
    }

    /// The process service runs: get the system page from it, for programs to come, and tell it of those before it.
    fn adopt(&mut self) -> Result<(), Problem> {
        let slot = handle::reserve().doing("a slot")?;
        protocol::process::system_page(self.process, &mut Buffers::new().take(slot), Options::NONE)
            .doing("the system page")?;
        self.system_page = slot;
        for index in 0..self.services.len() {
            let service = &self.services[index];
            let Some(run) = service.running.filter(|run| run.pid == 0) else { continue };
            // The connection stays with init: the program was started without.
            let (pid, connection) = self.add_native(run.process, service.program.name, service.program.flags)?;
            core::mem::forget(connection);
            self.services[index].running = Some(service::Running { pid, ..run });
        }
        Ok(())
    }

    /// Tell a new `path` of everything that is mounted.
    fn mount_all(&self) {
        for service in &self.services {
            for mount in service.program.mounts {
                self.mount_or_log(service.gate, mount);
            }
        }
        self.mount_or_log(self.gate, &list::INIT_MOUNT);
    }

    fn mount_or_log(&self, gate: Handle, mount: &list::Mount) {
        if let Err(problem) = self.mount(gate, mount) {
            log!(Error, "cannot mount {}: {}: {}", mount.prefix, problem.doing, problem.why);
        }
    }

    fn mount(&self, gate: Handle, mount: &list::Mount) -> Result<(), Problem> {
        let connection = handle::with_room(|| gate::connect(gate, mount.badge, 0)).doing("a connection")?;
        let rights = Rights::SEND.and(Rights::COPY);
        let mut buffers = Buffers::new().send(mount.prefix.as_bytes()).give(connection, rights);
        let options = Options { flags: DEADLINE_SEND | DEADLINE_REPLY, deadline: clock::monotonic_ns() + PATIENCE_NS };
        let mounted = protocol::path::mount(self.path, 0, &mut buffers, options).doing("mounting");
        handle::close(connection);
        mounted.map(drop)
    }

    /// Answer requests, hear of deaths, start what is due.
    fn serve(&mut self) -> ! {
        loop {
            let options = match self.services.iter().filter_map(|service| service.due_ns).min() {
                Some(deadline) => Options { flags: DEADLINE_RECEIVE, deadline },
                None => Options::NONE,
            };
            match runtime::receive(self.gate, &mut Buffers::new(), options) {
                Ok(received) if received.is_pulse() => self.pulse(&received),
                Ok(received) if received.badge & FAULT != 0 => self.fault(&received),
                Ok(received) => self.request(&received),
                Err(Error::TimedOut | Error::Interrupted) => {}
                Err(error) => panic!("cannot receive: {}", error.text()),
            }
            let now = clock::monotonic_ns();
            for index in 0..self.services.len() {
                if self.services[index].due_ns.is_some_and(|due| due <= now) {
                    self.start(index);
                }
            }
        }
    }

    /// A program died.
    fn pulse(&mut self, received: &Received) {
        let index = (received.badge & 0xffff) as usize;
        if received.is_notice() {
            return;
        }
        if received.badge == report::INTERRUPT {
            self.report();
            return;
        }
        if received.badge == SIGNALS {
            self.signals(received.message.words[0]);
            return;
        }
        if self.services.get(index).is_some_and(|service| received.badge == death_badge(index, service.starts)) {
            self.ended(index);
        }
    }

    /// Signals sent to pid 1 mean what they do to BusyBox's init.
    fn signals(&self, set: u64) {
        const HALT: u64 = 1 << 10;
        const POWER_OFF: u64 = 1 << 12;
        const RESTART: u64 = 1 << 15;
        if set & (HALT | POWER_OFF | RESTART) != 0 {
            power::end(self.boot.ports, set & (HALT | POWER_OFF) == 0);
        }
    }

    /// Take away what is left of a run, and decide what comes next.
    fn ended(&mut self, index: usize) {
        let service = &mut self.services[index];
        let Some(run) = service.running else { return };
        let program = service.program;
        // What is dead already is gone already.
        let _ = process::destroy(run.process);
        let _ = process::destroy(run.death);
        match program.policy {
            Policy::Restart => service.postpone(clock::monotonic_ns()),
            Policy::Once => service.running = None,
            Policy::Critical => panic!("{} ended", program.name),
        }
        log!(Warning, "{} (pid {}) ended", program.name, run.pid);
        if let Err(failure) =
            protocol::process::remove_native(self.process, run.pid, &mut Buffers::new(), Options::NONE)
        {
            log!(Warning, "process does not know {}: {}", program.name, failure.errno().text());
        }
    }

    /// A program did what it may not: say so, end it.
    fn fault(&mut self, received: &Received) {
        let index = (received.badge & 0xffff) as usize;
        let [address, instruction, code, _] = received.message.words;
        let refused = Message::new(1, [0; 4]);
        if let Some(service) = self.services.get(index) {
            let name = service.program.name;
            match received.message.label {
                notice::FAULT_EXCEPTION => {
                    log!(Error, "{name}: exception {address} at {instruction:#x}, code {code:#x}");
                }
                _ => log!(Error, "{name}: page fault at {instruction:#x}, address {address:#x}, access {code:#x}"),
            }
        }
        // The thread may have been destroyed meanwhile.
        let _ = reply(received.request, refused, &Buffers::new());
        if index < self.services.len() {
            self.ended(index);
        }
    }

    fn request(&mut self, received: &Received) {
        let answered = self.answer(received).unwrap_or_else(Reply::error);
        // If it fails the caller has left.
        let _ = reply(received.request, Message::new(answered.label, answered.words), &Buffers::new());
    }

    fn answer(&mut self, received: &Received) -> Result<Reply, Errno> {
        let permitted = |right| if received.badge & right == 0 { Err(Errno::EPERM) } else { Ok(()) };
        let found = |index: u64| usize::try_from(index).ok().filter(|&index| index < PROGRAMS.len());
        let Some(request) = Request::decode(received.message.label, received.message.words) else {
            return Ok(protocol::place::answer(received, 2));
        };
        match request {
            Request::Power { restart } => {
                permitted(init_rights::POWER)?;
                power::end(self.boot.ports, restart != 0);
                Err(Errno::EIO)
            }
            Request::Service { index } => {
                let service = &self.services[found(index).ok_or(Errno::ENOENT)?];
                if runtime::write_request(received.request, 0, service.program.name.as_bytes()).is_err() {
                    return Ok(Reply::RETRY);
                }
                let (running, pid) = service.running.map_or((0, 0), |run| (1, run.pid));
                Ok(answer::Service { starts: service.starts, running, pid, ..Default::default() }.into())
            }
            Request::Kill { index } => {
                permitted(init_rights::KILL)?;
                let index = found(index).ok_or(Errno::ENOENT)?;
                if self.services[index].running.is_none() {
                    return Err(Errno::ESRCH);
                }
                self.ended(index);
                Ok(Reply::DONE)
            }
            Request::Up {} => {
                if !core::mem::replace(&mut self.up, true) {
                    log!(Notice, "up after {} ms", clock::monotonic_ns() / 1_000_000);
                }
                Ok(Reply::DONE)
            }
        }
    }
}

/// Badge of the pulse for the death of a program's run.
const fn death_badge(index: usize, starts: u64) -> u64 {
    DEATH | index as u64 | (starts & 0xffff_ffff) << 16
}

/// What `process` may have: what is left when every other program has its share and init keeps some, for restarts.
fn process_quota(usage: &abi::quota::Usage, archive_length: u64) -> Quota {
    let left = |field: fn(&Quota) -> u32, kept: u32| {
        let others = PROGRAMS.iter().filter(|program| program.name != list::PROCESS);
        let others: u32 = others.map(|program| field(&program.share(archive_length))).sum();
        let available = field(&usage.limit).saturating_sub(field(&usage.used));
        available.saturating_sub(others).saturating_sub(kept)
    };
    Quota {
        processes: left(|quota| quota.processes, PROGRAMS.len() as u32 + 16),
        threads: left(|quota| quota.threads, 16),
        batons: left(|quota| quota.batons, 64),
        gates: left(|quota| quota.gates, 64),
        connections: left(|quota| quota.connections, 512),
        pulses: left(|quota| quota.pulses, 64),
        memories: left(|quota| quota.memories, 64),
        mappings: left(|quota| quota.mappings, 256),
        pages: left(|quota| quota.pages, 128),
        priority: usage.limit.priority,
    }
}

/// Whether a RAM range has room for this many more bytes.
fn has_room(range: Handle, used: u64, length: u64) -> bool {
    memory::information(range).is_ok_and(|information| information.length.saturating_sub(used) >= length)
}
