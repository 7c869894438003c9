//! All pipes, FIFOs, event counters and message queues, and their open ends: the file protocol.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use abi::Handle;
use protocol::file::{Status, features};
use protocol::pipe::{
    CAPACITY, EVENT, EVENT_SEMAPHORE, FIFO, GET_SIZE, PIPE, PRIORITY_LENGTH, QUEUE, QUEUE_FIGURES, QUEUE_FORGET,
    QUEUE_NOTIFY, SET_SIZE,
};
use protocol::resource_manager::{
    Call, Data, Done, Figures, Open, OpenFile, Opened, OpenedLater, Output, Records, Refusal, ResourceManager,
    complete_plain, mode, open_flags,
};
use protocol::{Errno, Reply};

use crate::callers::{Callers, Kernel};
use crate::event::{Event, VALUE};
use crate::pipe::{Asker, Pipe, Told};
use crate::queue::{Notice, Queue};
use crate::system_v::SystemV;

/// Device number of this file system.
const DEVICE: u64 = 0x1002;
/// PIPEFS_MAGIC.
const KIND: u64 = 0x5049_5045;
/// `ioctl`: bytes that can be read.
const FIONREAD: u64 = 0x541b;
/// Longest id of a FIFO.
const ID_MAXIMUM: usize = 64;
/// Largest capacity of a pipe.
const CAPACITY_MAXIMUM: u64 = 1 << 20;
/// Most message queues, of each most messages and bytes, and bytes of all; the usual figures.
const QUEUES: usize = 256;
const QUEUE_MESSAGES: u64 = 65_536;
const QUEUE_LENGTH: u64 = 1 << 20;
const QUEUE_BYTES: usize = 16 << 20;
const USUAL: (u64, u64) = (10, 8192);
/// Longest name of a queue.
const NAME_MAXIMUM: usize = 255;
/// Most pipes and counters at a time.
const MOST: usize = 65_536;

#[derive(Debug)]
enum Thing {
    Pipe(Pipe),
    Event(Event),
    Queue(Queue),
}

/// A pipe or counter with what its status says.
#[derive(Debug)]
struct Object {
    thing: Thing,
    /// Of a FIFO: its id; of a message queue: its name.
    id: Vec<u8>,
    /// Waiting `Open`s of a FIFO.
    openers: Vec<Opener>,
    opens: u32,
    inode: u64,
    user: u32,
    group: u32,
    made_ns: u64,
}

#[derive(Clone, Copy, Debug)]
struct Opener {
    request: u64,
    flags: u64,
    end: End,
}

/// An open end. The directory itself can be opened, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// Its object; `None`: the directory, or System V's IPC.
    object: Option<u32>,
    is_system_v: bool,
    reads: bool,
    writes: bool,
}

/// The service.
#[derive(Debug)]
pub(crate) struct Ends {
    objects: Vec<Option<Box<Object>>>,
    free: Vec<u32>,
    next_inode: u64,
    callers: Kernel,
    opened: VecDeque<OpenedLater<End>>,
    system_v: SystemV,
}

type OpenEnd = OpenFile<End>;

/// Decimal digits.
fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |value, &digit| {
        let digit = digit.checked_sub(b'0').filter(|&digit| digit < 10)?;
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

fn told(told: Told) -> Result<usize, Refusal> {
    match told {
        Told::Count(count) => Ok(count),
        Told::Error(errno) => Err(errno.into()),
        Told::Retry => Err(Refusal::Retry),
        Told::Later => Err(Refusal::Later),
    }
}

impl Ends {
    pub(crate) fn new(gate: Handle) -> Self {
        Self {
            objects: Vec::new(),
            free: Vec::new(),
            next_inode: 2,
            callers: Kernel { gate },
            opened: VecDeque::new(),
            system_v: SystemV::default(),
        }
    }

    fn add(&mut self, thing: Thing, id: &[u8], open: &Open) -> Result<u32, Errno> {
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                let more = self.objects.len() + 1 - self.free.len();
                let room = self.objects.try_reserve(1).and_then(|()| self.free.try_reserve(more));
                if room.is_err() || self.objects.len() >= MOST {
                    return Err(Errno::ENFILE);
                }
                self.objects.push(None);
                self.objects.len() as u32 - 1
            }
        };
        let mut copy = Vec::new();
        let mut probe: Vec<u8> = Vec::new();
        // The box itself cannot fail gracefully: ask for more than it needs first.
        if copy.try_reserve_exact(id.len()).is_err() || probe.try_reserve_exact(4096).is_err() {
            self.free.push(index);
            return Err(Errno::ENFILE);
        }
        core::hint::black_box(&probe);
        drop(probe);
        copy.extend_from_slice(id);
        self.objects[index as usize] = Some(Box::new(Object {
            thing,
            id: copy,
            openers: Vec::new(),
            opens: 0,
            inode: self.next_inode,
            user: open.user,
            group: open.group,
            made_ns: runtime::clock::realtime_ns(),
        }));
        self.next_inode += 1;
        Ok(index)
    }

    fn object(&mut self, end: &End) -> Result<(&mut Object, &mut Kernel), Errno> {
        let object = end.object.and_then(|index| self.objects.get_mut(index as usize)?.as_deref_mut());
        Ok((object.ok_or(Errno::EISDIR)?, &mut self.callers))
    }

    fn drop_if_unused(&mut self, index: u32) {
        let place = &mut self.objects[index as usize];
        let is_named = |object: &Object| matches!(&object.thing, Thing::Queue(queue) if queue.is_named);
        if place.as_ref().is_some_and(|object| object.opens == 0 && !is_named(object)) {
            *place = None;
            self.free.push(index);
        }
    }

    /// A new pipe: both ends.
    fn open_pipe(&mut self, open: &Open) -> Result<Opened<End>, Refusal> {
        let mut pipe = Pipe::new(CAPACITY);
        (pipe.readers, pipe.writers, pipe.had_writer) = (1, 1, true);
        let index = self.add(Thing::Pipe(pipe), &[], open)?;
        let end = |reads: bool| End { object: Some(index), is_system_v: false, reads, writes: !reads };
        if let Some(object) = &mut self.objects[index as usize] {
            object.opens = 2;
        }
        let kept = open.flags & open_flags::NON_BLOCKING;
        Ok(Opened {
            file: end(true),
            flags: kept | open_flags::READ,
            mode: mode::FIFO | 0o600,
            features: features::WAITS,
            second: Some((end(false), kept | open_flags::WRITE)),
            anchor: 0,
        })
    }

    fn open_event(&mut self, arguments: &[u8], open: &Open) -> Result<Opened<End>, Refusal> {
        let mut parts = arguments.splitn(2, |&byte| byte == b'/');
        let flags = parts.next().and_then(number).ok_or(Errno::EINVAL)?;
        let initial = parts.next().and_then(number).ok_or(Errno::EINVAL)?;
        let event = Event::new(initial, flags & EVENT_SEMAPHORE != 0);
        let index = self.add(Thing::Event(event), &[], open)?;
        if let Some(object) = &mut self.objects[index as usize] {
            object.opens = 1;
        }
        Ok(Opened {
            file: End { object: Some(index), is_system_v: false, reads: true, writes: true },
            flags: (open.flags | flags) & open_flags::NON_BLOCKING | open_flags::BOTH,
            mode: 0o600,
            features: features::WAITS,
            second: None,
            anchor: 0,
        })
    }

    fn named_queue(&self, name: &[u8]) -> Option<u32> {
        let is_it =
            |object: &Object| matches!(&object.thing, Thing::Queue(queue) if queue.is_named) && object.id == name;
        self.objects.iter().position(|place| place.as_deref().is_some_and(is_it)).map(|index| index as u32)
    }

    /// A message queue; see mq_open(3).
    fn open_queue(&mut self, arguments: &[u8], open: &Open) -> Result<Opened<End>, Refusal> {
        let mut parts = arguments.splitn(3, |&byte| byte == b'/');
        let mut figure = || parts.next().and_then(number).ok_or(Errno::EINVAL);
        let (most, length) = (figure()?, figure()?);
        let name = parts.next().filter(|name| !name.is_empty()).ok_or(Errno::ENOENT)?;
        if name.contains(&b'/') {
            return Err(Errno::EACCES.into());
        }
        if name.len() > NAME_MAXIMUM {
            return Err(Errno::ENAMETOOLONG.into());
        }
        let index = match self.named_queue(name) {
            Some(_) if open.has(open_flags::CREATE) && open.has(open_flags::EXCLUSIVE) => {
                return Err(Errno::EEXIST.into());
            }
            Some(index) => index,
            None if !open.has(open_flags::CREATE) => return Err(Errno::ENOENT.into()),
            None => self.make_queue(most, length, name, open)?,
        };
        let end = End { object: Some(index), is_system_v: false, reads: open.reads(), writes: open.writes() };
        let (object, _) = self.object(&end)?;
        object.permit(open)?;
        object.opens += 1;
        Ok(Opened::new(end, open, 0o600, features::WAITS))
    }

    fn make_queue(&mut self, most: u64, length: u64, name: &[u8], open: &Open) -> Result<u32, Refusal> {
        let (most, length) = if most == 0 { USUAL } else { (most, length) };
        if most > QUEUE_MESSAGES || length == 0 || length > QUEUE_LENGTH {
            return Err(Errno::EINVAL.into());
        }
        let queue = Queue::new(most as usize, length as usize, open.mode);
        let capacities = self.objects.iter().flatten().filter_map(|object| match &object.thing {
            Thing::Queue(queue) => Some(queue.capacity()),
            _ => None,
        });
        let (count, bytes) = capacities.fold((0, 0), |(count, sum), bytes| (count + 1, sum + bytes));
        if count >= QUEUES || bytes + queue.capacity() > QUEUE_BYTES {
            return Err(Errno::ENOSPC.into());
        }
        Ok(self.add(Thing::Queue(queue), name, open)?)
    }

    /// Tell who wanted to know that a queue has a message.
    fn give_notice(&mut self, end: &End) {
        let Ok((Object { thing: Thing::Queue(queue), .. }, _)) = self.object(end) else { return };
        if let Some(notice) = queue.due.take().filter(|notice| notice.signal != 0) {
            send_signal(notice);
        }
    }

    /// One end of a FIFO; see fifo(7).
    fn open_fifo(&mut self, call: &Call<'_>, id: &[u8], open: &Open) -> Result<Opened<End>, Refusal> {
        if id.is_empty() || id.len() > ID_MAXIMUM || id.contains(&b'/') {
            return Err(Errno::ENOENT.into());
        }
        let known = self.objects.iter().position(|place| {
            place.as_ref().is_some_and(|object| object.id == id && matches!(object.thing, Thing::Pipe(_)))
        });
        let index = match known {
            Some(index) => index as u32,
            None => self.add(Thing::Pipe(Pipe::new(CAPACITY)), id, open)?,
        };
        self.drop_dead_openers(index);
        let end = End { object: Some(index), is_system_v: false, reads: open.reads(), writes: open.writes() };
        let wait = open.flags & open_flags::NON_BLOCKING == 0;
        let result = self.enter_fifo(call.request, end, open, wait);
        if result.is_err() {
            self.drop_if_unused(index);
        }
        self.wake_openers(index);
        result
    }

    fn enter_fifo(&mut self, request: u64, end: End, open: &Open, wait: bool) -> Result<Opened<End>, Refusal> {
        let (object, _) = self.object(&end)?;
        let Thing::Pipe(pipe) = &mut object.thing else {
            return Err(Errno::ENOENT.into());
        };
        let alone = end.reads != end.writes && if end.reads { pipe.writers == 0 } else { pipe.readers == 0 };
        if alone && !wait && end.writes {
            return Err(Errno::ENXIO.into());
        }
        if alone && wait {
            object.openers.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        }
        // Who waits counts already: the other side finds it there.
        object.opens += 1;
        pipe.readers += u32::from(end.reads);
        pipe.writers += u32::from(end.writes);
        pipe.had_writer |= end.writes;
        if alone && wait {
            object.openers.push(Opener { request, flags: open.flags, end });
            return Err(Refusal::Later);
        }
        Ok(Opened::new(end, open, mode::FIFO | 0o600, features::WAITS))
    }

    /// Let those open whose other side has come.
    fn wake_openers(&mut self, index: u32) {
        let Some(object) = &mut self.objects[index as usize] else {
            return;
        };
        let Thing::Pipe(pipe) = &object.thing else {
            return;
        };
        let (readers, writers) = (pipe.readers, pipe.writers);
        let opened = &mut self.opened;
        object.openers.retain(|opener| {
            let alone = if opener.end.reads { writers == 0 } else { readers == 0 };
            if alone || opened.try_reserve(1).is_err() {
                return true;
            }
            let open = Open { flags: opener.flags, ..Open::default() };
            opened.push_back(OpenedLater {
                request: opener.request,
                result: Ok(Opened::new(opener.end, &open, mode::FIFO | 0o600, features::WAITS)),
            });
            false
        });
    }

    /// Forget `Open`s whose caller died while it waited.
    fn drop_dead_openers(&mut self, index: u32) {
        let Some(object) = &mut self.objects[index as usize] else {
            return;
        };
        let mut dead = Vec::new();
        let callers = &mut self.callers;
        object.openers.retain(|opener| {
            let waits = callers.is_waiting(opener.request) || dead.try_reserve(1).is_err();
            if !waits {
                dead.push(opener.end);
            }
            waits
        });
        for end in dead {
            self.leave(end, 0);
        }
    }

    /// An end goes away.
    fn leave(&mut self, end: End, badge: u64) {
        let Ok((object, callers)) = self.object(&end) else {
            return;
        };
        match &mut object.thing {
            Thing::Pipe(pipe) => pipe.closed(callers, badge, end.reads, end.writes),
            Thing::Event(event) => event.pollers.forget(badge),
            Thing::Queue(queue) => queue.closed(badge),
        }
        object.opens -= 1;
    }
}

impl ResourceManager for Ends {
    type File = End;

    /// An atomic write comes with its message, and goes straight to a reader who waits.
    const AT_ONCE: usize = protocol::pipe::ATOMIC;

    fn open(&mut self, call: &Call<'_>, path: &[u8], open: &Open) -> Result<Opened<End>, Refusal> {
        if path == PIPE {
            return self.open_pipe(open);
        }
        if let Some(id) = path.strip_prefix(FIFO) {
            return self.open_fifo(call, id, open);
        }
        if let Some(arguments) = path.strip_prefix(EVENT) {
            return self.open_event(arguments, open);
        }
        if let Some(arguments) = path.strip_prefix(QUEUE) {
            return self.open_queue(arguments, open);
        }
        if path == protocol::system_v::PATH {
            let end = End { object: None, is_system_v: true, reads: true, writes: true };
            return Ok(Opened::new(end, open, 0o600, features::WAITS));
        }
        if !path.is_empty() {
            return Err(Errno::ENOENT.into());
        }
        if open.writes() {
            return Err(Errno::EISDIR.into());
        }
        let end = End { object: None, is_system_v: false, reads: false, writes: false };
        Ok(Opened::new(end, open, mode::DIRECTORY | 0o555, features::SEEK))
    }

    fn unlink(&mut self, _call: &Call<'_>, path: &[u8], _directory: bool) -> Done {
        let name = path.strip_prefix(QUEUE).ok_or(Errno::EPERM)?;
        if name.len() > NAME_MAXIMUM {
            return Err(Errno::ENAMETOOLONG.into());
        }
        let index = self.named_queue(name).ok_or(Errno::ENOENT)?;
        if let Some(Object { thing: Thing::Queue(queue), .. }) = self.objects[index as usize].as_deref_mut() {
            queue.is_named = false;
        }
        self.drop_if_unused(index);
        Ok(())
    }

    fn status(&mut self, _call: &Call<'_>, path: &[u8], _follow: bool) -> Result<Status, Refusal> {
        // Ways to what is opened below them: who may search one may go on.
        let is_way = |prefix: &&[u8]| path.starts_with(prefix) || prefix.strip_suffix(b"/") == Some(path);
        let is_directory = path.is_empty() || [FIFO, EVENT, QUEUE].iter().any(is_way);
        if is_directory { Ok(directory_status()) } else { Err(Errno::ENOENT.into()) }
    }

    fn file_system(&mut self, _call: &Call<'_>) -> Result<Figures, Refusal> {
        Ok(Figures { kind: KIND, identity: DEVICE, ..Figures::default() })
    }

    fn read(&mut self, call: &Call<'_>, file: &mut OpenEnd, _offset: u64, wait: bool) -> Result<Data, Refusal> {
        let (object, callers) = self.object(&file.file)?;
        match &mut object.thing {
            Thing::Pipe(pipe) => {
                let asker = Asker { request: call.request, badge: call.badge, length: call.room, wait };
                let count = told(pipe.read(callers, asker))?;
                let mut data = Data::new();
                for part in pipe.front(count) {
                    if !part.is_empty() {
                        data.add(part);
                    }
                }
                Ok(if pipe.is_full_for_somebody() { data } else { data.lazily() })
            }
            Thing::Event(event) => {
                told(event.read(call.request, call.room, wait))?;
                Ok(Data::of(event.lent()))
            }
            Thing::Queue(queue) => {
                told(queue.receive(Asker { request: call.request, badge: call.badge, length: call.room, wait }))?;
                let mut data = Data::new();
                for part in queue.front() {
                    if !part.is_empty() {
                        data.add(part);
                    }
                }
                Ok(data)
            }
        }
    }

    fn delivered(&mut self, file: &mut OpenEnd, count: usize) {
        if let Ok((object, callers)) = self.object(&file.file) {
            match &mut object.thing {
                Thing::Pipe(pipe) => pipe.consumed(callers, count),
                Thing::Event(event) => event.consumed(callers),
                Thing::Queue(queue) => queue.received(callers),
            }
        }
        self.give_notice(&file.file);
    }

    fn write(&mut self, call: &Call<'_>, file: &mut OpenEnd, _offset: u64, wait: bool) -> Result<usize, Refusal> {
        let (object, callers) = self.object(&file.file)?;
        let result = match &mut object.thing {
            Thing::Pipe(pipe) => {
                let asker = Asker { request: call.request, badge: call.badge, length: call.sent, wait };
                told(pipe.write(callers, asker, call.bytes()))
            }
            Thing::Event(event) => {
                let value = u64::from_le_bytes(call.structure::<VALUE>()?);
                told(event.write(callers, call.request, value, wait))
            }
            Thing::Queue(queue) => {
                let asker = Asker { request: call.request, badge: call.badge, length: call.sent, wait };
                let priority = u64::from_le_bytes(call.structure::<PRIORITY_LENGTH>()?);
                told(queue.send(callers, asker, priority, call.bytes()))
            }
        };
        self.give_notice(&file.file);
        result
    }

    fn status_open(&mut self, _call: &Call<'_>, file: &mut OpenEnd) -> Result<Status, Refusal> {
        let Ok((object, _)) = self.object(&file.file) else {
            return Ok(directory_status());
        };
        let (seconds, ns) = (object.made_ns / 1_000_000_000, object.made_ns % 1_000_000_000);
        Ok(Status {
            device: DEVICE,
            inode: object.inode,
            links: 1,
            mode: match object.thing {
                Thing::Pipe(_) => mode::FIFO | 0o600,
                Thing::Event(_) => 0o600,
                Thing::Queue(ref queue) => queue.mode,
            },
            user: object.user,
            group: object.group,
            block_size: abi::PAGE_SIZE,
            times: [seconds, ns, seconds, ns, seconds, ns],
            ..Status::default()
        })
    }

    fn read_directory(&mut self, _call: &Call<'_>, file: &mut OpenEnd, records: &mut Records<'_>) -> Done {
        if file.file.object.is_some() {
            return Err(Errno::ENOTDIR.into());
        }
        for (at, name) in [&b"."[..], b".."].into_iter().enumerate() {
            if file.position == at as u64 {
                if !records.add(1, at as u64 + 1, mode::DIRECTORY, name) {
                    return Ok(());
                }
                file.position += 1;
            }
        }
        Ok(())
    }

    fn poll(&mut self, call: &Call<'_>, file: &mut OpenEnd, wanted: u64) -> u64 {
        const ALWAYS: u64 = protocol::resource_manager::events::ERROR | protocol::resource_manager::events::HANG_UP;
        let end = file.file;
        let Ok((object, _)) = self.object(&end) else {
            return wanted & protocol::resource_manager::events::READABLE;
        };
        let ready = match &object.thing {
            Thing::Pipe(pipe) => pipe.ready(end.reads, end.writes),
            Thing::Event(event) => event.ready(),
            Thing::Queue(queue) => queue.ready(end.reads, end.writes),
        } & (wanted | ALWAYS);
        if ready == 0 {
            match &mut object.thing {
                Thing::Pipe(pipe) if end.reads && end.writes => {
                    // One pulse can only be in one place: whoever opened both ends waits for what it reads.
                    let pollers = if wanted & protocol::resource_manager::events::READABLE != 0 {
                        &mut pipe.read_pollers
                    } else {
                        &mut pipe.write_pollers
                    };
                    pollers.arm(call, wanted);
                }
                Thing::Pipe(pipe) if end.reads => pipe.read_pollers.arm(call, wanted),
                Thing::Pipe(pipe) => pipe.write_pollers.arm(call, wanted),
                Thing::Event(event) => event.pollers.arm(call, wanted),
                // As with a FIFO: one pulse, one place.
                Thing::Queue(queue) => {
                    let reads = wanted & protocol::resource_manager::events::READABLE != 0;
                    let pollers = if reads { &mut queue.read_pollers } else { &mut queue.write_pollers };
                    pollers.arm(call, wanted);
                }
            }
        }
        ready
    }

    fn control(
        &mut self,
        call: &Call<'_>,
        file: &mut OpenEnd,
        command: u64,
        argument: u64,
        output: &mut Output,
    ) -> Result<u64, Refusal> {
        if file.file.is_system_v {
            return self.system_v.control(&mut self.callers, call, command, argument, output);
        }
        let (object, callers) = self.object(&file.file).map_err(|_| Errno::ENOTTY)?;
        if let Thing::Queue(queue) = &mut object.thing {
            return control_queue(queue, call, command, argument, output);
        }
        let Thing::Pipe(pipe) = &mut object.thing else {
            return Err(match command {
                GET_SIZE | SET_SIZE => Errno::EBADF,
                _ => Errno::ENOTTY,
            }
            .into());
        };
        match command {
            FIONREAD => {
                output.put(&(pipe.len() as u32).to_le_bytes());
                Ok(0)
            }
            GET_SIZE => Ok(pipe.capacity() as u64),
            SET_SIZE => {
                if argument > i32::MAX as u64 {
                    return Err(Errno::EINVAL.into());
                }
                if argument > CAPACITY_MAXIMUM {
                    return Err(Errno::EPERM.into());
                }
                let capacity = argument.max(abi::PAGE_SIZE).next_power_of_two();
                if !pipe.set_capacity(callers, capacity as usize) {
                    return Err(Errno::EBUSY.into());
                }
                Ok(capacity)
            }
            _ => Err(Errno::ENOTTY.into()),
        }
    }

    fn sync(&mut self, _call: &Call<'_>, _file: &mut OpenEnd) -> Done {
        Err(Errno::EINVAL.into())
    }

    fn closed(&mut self, file: OpenEnd) {
        if file.file.is_system_v {
            self.system_v.leave(&mut self.callers, file.badge);
        }
        self.leave(file.file, file.badge);
        if let Some(index) = file.file.object {
            self.drop_if_unused(index);
        }
    }

    fn unblock(&mut self, request: u64) -> bool {
        // Seldom, so that a search will do.
        if self.system_v.cancel(request) {
            return true;
        }
        for index in 0..self.objects.len() {
            let Some(object) = &mut self.objects[index] else {
                continue;
            };
            if let Some(at) = object.openers.iter().position(|opener| opener.request == request) {
                let opener = object.openers.remove(at);
                self.leave(opener.end, 0);
                self.drop_if_unused(index as u32);
                return true;
            }
            let reply = match &mut object.thing {
                Thing::Pipe(pipe) => pipe.cancel(request),
                Thing::Event(event) => event.cancel(request).then(|| Reply::error(Errno::EINTR)),
                Thing::Queue(queue) => queue.cancel(request).then(|| Reply::error(Errno::EINTR)),
            };
            if let Some(reply) = reply {
                complete_plain(request, reply);
                return false;
            }
        }
        false
    }

    fn opened_later(&mut self) -> Option<OpenedLater<End>> {
        self.opened.pop_front()
    }
}

impl Object {
    /// Whether a queue's permission bits let somebody open it so.
    fn permit(&self, open: &Open) -> Result<(), Errno> {
        let Thing::Queue(queue) = &self.thing else { return Ok(()) };
        let bits = match () {
            () if open.user == 0 => 0o6,
            () if open.user == self.user => queue.mode >> 6,
            () if open.group == self.group => queue.mode >> 3,
            () => queue.mode,
        };
        let wanted = if open.reads() { 4 } else { 0 } | if open.writes() { 2 } else { 0 };
        if bits & wanted == wanted { Ok(()) } else { Err(Errno::EACCES) }
    }
}

fn control_queue(
    queue: &mut Queue,
    call: &Call<'_>,
    command: u64,
    argument: u64,
    output: &mut Output,
) -> Result<u64, Refusal> {
    let own = queue.notice.is_some_and(|notice| notice.pid == call.pid());
    match command {
        QUEUE_FIGURES => {
            for figure in queue.figures() {
                output.put(&figure.to_le_bytes());
            }
        }
        QUEUE_NOTIFY if queue.notice.is_some() => return Err(Errno::EBUSY.into()),
        QUEUE_NOTIFY => {
            let value = u64::from_le_bytes(call.structure()?);
            queue.notice = Some(Notice { pid: call.pid(), badge: call.badge, signal: argument as u32, value });
        }
        QUEUE_FORGET if own => queue.notice = None,
        QUEUE_FORGET => {}
        _ => return Err(Errno::ENOTTY.into()),
    }
    Ok(0)
}

/// Send a process the signal that it wanted; one that has ended wants it no longer.
#[cfg(target_os = "none")]
fn send_signal(notice: Notice) {
    const MESSAGE_QUEUE: i32 = -3;
    let (pid, signal) = (u64::from(notice.pid), u64::from(notice.signal));
    let code = u64::from(MESSAGE_QUEUE as u32);
    let mut buffers = runtime::Buffers::new();
    let process = runtime::start::handle("process");
    let _ = protocol::process::kill(process, pid, signal, code, notice.value, &mut buffers, runtime::Options::NONE);
}

#[cfg(not(target_os = "none"))]
fn send_signal(_: Notice) {}

fn directory_status() -> Status {
    let boot = runtime::clock::realtime_ns().saturating_sub(runtime::clock::monotonic_ns()) / 1_000_000_000;
    Status {
        times: [boot, 0, boot, 0, boot, 0],
        device: DEVICE,
        inode: 1,
        links: 2,
        mode: mode::DIRECTORY | 0o555,
        block_size: abi::PAGE_SIZE,
        ..Status::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_decimal() {
        assert_eq!(number(b"2048"), Some(2048));
        assert_eq!(number(b""), None);
        assert_eq!(number(b"-1"), None);
        assert_eq!(number(b"99999999999999999999"), None);
    }

    #[test]
    fn a_pipe_goes_with_its_last_end() {
        let mut ends = Ends::new(Handle::NONE);
        let opened = ends.open_pipe(&Open::default()).unwrap();
        let (second, _) = opened.second.unwrap();
        let file = |badge, file| OpenFile { badge, file, flags: 0, features: 0, position: 0 };
        ends.closed(file(1, opened.file));
        assert!(ends.objects[0].is_some());
        ends.closed(file(2, second));
        assert!(ends.objects[0].is_none());
        assert_eq!(ends.free, [0]);
        assert_eq!(ends.open_pipe(&Open::default()).unwrap().file.object, Some(0));
    }

    #[test]
    fn fifos_open_as_fifo_7_says() {
        let mut ends = Ends::new(Handle::NONE);
        let index = ends.add(Thing::Pipe(Pipe::new(4096)), b"7", &Open::default()).unwrap();
        let end = |reads, writes| End { object: Some(index), is_system_v: false, reads, writes };
        let open = Open::default();
        let enter = |ends: &mut Ends, request, reads, writes, wait| {
            let result = ends.enter_fifo(request, end(reads, writes), &open, wait).map(|_| ());
            ends.wake_openers(index);
            result
        };
        assert_eq!(enter(&mut ends, 1, false, true, false), Err(Errno::ENXIO.into()));
        assert_eq!(enter(&mut ends, 2, true, false, true), Err(Refusal::Later));
        assert!(ends.opened_later().is_none());
        assert_eq!(enter(&mut ends, 3, false, true, true), Ok(()));
        assert_eq!(ends.opened_later().map(|late| late.request), Some(2));
        assert_eq!(enter(&mut ends, 4, true, true, true), Ok(()));
        assert_eq!(ends.objects[index as usize].as_ref().unwrap().opens, 3);
    }

    #[test]
    fn nonsense_breaks_nothing() {
        use protocol::resource_manager::Server;
        use protocol::resource_manager::storm::{Dice, rage};
        for seed in 0..10 {
            let mut server = Server::new(Handle::NONE, Ends::new(Handle::NONE));
            let mut files = Vec::new();
            for flags in [0, open_flags::NON_BLOCKING] {
                let open = Open { flags, ..Open::default() };
                let pipe = server.manager().open_pipe(&open).unwrap();
                let (second, second_flags) = pipe.second.unwrap();
                files.extend(server.adopt(Opened { file: second, flags: second_flags, second: None, ..pipe }));
                files.extend(server.adopt(Opened { second: None, ..pipe }));
                let event = server.manager().open_event(b"1/5", &open).unwrap();
                files.extend(server.adopt(event));
                let create = Open { flags: flags | open_flags::CREATE | open_flags::BOTH, ..open };
                let queue = server.manager().open_queue(b"2/16/name", &create).unwrap();
                files.extend(server.adopt(queue));
                let end = End { object: None, is_system_v: true, reads: true, writes: true };
                files.extend(server.adopt(Opened::new(end, &open, 0o600, features::WAITS)));
            }
            let names = ["pipe", "fifo", "7", "eventfd", "mqueue", "0", "2048", "x", ".."];
            rage(&mut server, &files, &names, &mut Dice::new(seed), 20_000);
        }
    }

    #[test]
    fn an_interrupted_open_leaves_no_trace() {
        let mut ends = Ends::new(Handle::NONE);
        let index = ends.add(Thing::Pipe(Pipe::new(4096)), b"7", &Open::default()).unwrap();
        let end = End { object: Some(index), is_system_v: false, reads: true, writes: false };
        assert_eq!(ends.enter_fifo(9, end, &Open::default(), true), Err(Refusal::Later));
        assert!(!ends.unblock(8));
        assert!(ends.unblock(9));
        assert!(ends.objects[index as usize].is_none());
    }
}
