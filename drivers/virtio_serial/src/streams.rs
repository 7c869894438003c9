//! The ports as files: who waits for bytes, for room, or for the host to have taken everything.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use protocol::Errno;
use protocol::file::{Status, answer, features};
use protocol::resource_manager::{
    Call, Data, Done, Open, OpenFile, Opened, Pollers, Records, Refusal, ResourceManager, complete, complete_plain,
    events, mode, open_flags,
};
use runtime::exchange::read_request;

use crate::device::Device;

/// Badge of the interrupt's pulse.
pub(crate) const INTERRUPT_BADGE: u64 = 1 << 32;
/// Device number of this file system, and the major number of its nodes.
const FILE_SYSTEM: u64 = 6;
const MAJOR: u64 = 229 << 8;

/// What a port's file is: its position in the device's list, or the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Directory,
    Port(usize),
}

struct Reader {
    request: u64,
    port: usize,
    room: usize,
}

struct Writer {
    request: u64,
    port: usize,
    length: usize,
    taken: usize,
}

/// How far a message was taken.
enum Progress {
    /// To its end, or as far as its sender's memory goes.
    Done(Result<usize, Refusal>),
    /// So many bytes; then no buffer was free.
    Full(usize),
}

/// All ports.
pub(crate) struct Streams {
    device: Device,
    readers: VecDeque<Reader>,
    writers: VecDeque<Writer>,
    drains: Vec<(u64, usize)>,
    pollers: Vec<Pollers>,
}

impl Streams {
    pub(crate) fn new(device: Device) -> Self {
        let pollers = device.ports.iter().map(|_| Pollers::new()).collect();
        Self { device, readers: VecDeque::new(), writers: VecDeque::new(), drains: Vec::new(), pollers }
    }

    fn find(&self, path: &[u8]) -> Result<Stream, Refusal> {
        if path.is_empty() {
            return Ok(Stream::Directory);
        }
        let named = |name: &[u8]| self.device.ports.iter().position(|port| port.name.as_bytes() == name);
        named(path).filter(|_| !path.is_empty()).map(Stream::Port).ok_or(Refusal::Error(Errno::ENOENT))
    }

    fn readable(&self, port: usize) -> bool {
        self.device.arrived(port).next().is_some() || self.device.ports[port].at_end()
    }

    /// What a reader gets now; `None`: it must wait.
    fn bytes_for(&self, port: usize, room: usize) -> Option<Data> {
        let mut data = Data::new();
        for bytes in self.device.arrived(port) {
            let wanted = bytes.len().min(room - data.len());
            if wanted == 0 || !data.add(&bytes[..wanted]) {
                break;
            }
        }
        let found = !data.is_empty() || room == 0 || self.device.ports[port].at_end();
        found.then_some(data)
    }

    /// Take what the caller sent, from `offset` on, into one buffer. `None`: no buffer is free.
    fn send(&mut self, request: u64, port: usize, offset: usize, length: usize) -> Option<Result<usize, Refusal>> {
        self.device.send(port, |buffer| {
            let wanted = buffer.len().min(length - offset);
            match read_request(request, offset as u64, &mut buffer[..wanted]) {
                Ok(moved) => Ok(moved as usize),
                Err((_, moved)) if moved > 0 => Ok(moved as usize),
                Err((error, _)) => Err(Refusal::from(error)),
            }
        })
    }

    /// Take the rest of a message, behind `taken` bytes, as far as there are free buffers.
    fn send_all(&mut self, request: u64, port: usize, mut taken: usize, length: usize) -> Progress {
        while taken < length {
            match self.send(request, port, taken, length) {
                Some(Ok(count)) if count > 0 => taken += count,
                Some(Err(refusal)) if taken == 0 => return Progress::Done(Err(refusal)),
                Some(_) => break,
                None => return Progress::Full(taken),
            }
        }
        Progress::Done(Ok(taken))
    }

    /// The device has done something: serve those who waited for it.
    fn progress(&mut self) {
        self.device.interrupt();
        self.serve_readers();
        self.serve_writers();
        let device = &mut self.device;
        self.drains.retain(|&(request, port)| {
            let drained = device.drained(port);
            if drained {
                complete_plain(request, protocol::Reply::DONE);
            }
            !drained
        });
        for port in 0..self.pollers.len() {
            let ready = self.ready(port);
            self.pollers[port].wake(ready);
        }
    }

    fn serve_readers(&mut self) {
        let mut index = 0;
        while let Some(reader) = self.readers.get(index) {
            let (request, port, room) = (reader.request, reader.port, reader.room);
            let Some(data) = self.bytes_for(port, room) else {
                index += 1;
                continue;
            };
            self.readers.remove(index);
            let reply = answer::Read { count: data.len() as u64, ..Default::default() };
            if complete(request, reply.into(), &data) {
                self.device.consume(port, data.len());
            }
        }
    }

    fn serve_writers(&mut self) {
        let mut index = 0;
        while let Some(writer) = self.writers.get(index) {
            let (request, port, length) = (writer.request, writer.port, writer.length);
            match self.send_all(request, port, writer.taken, length) {
                Progress::Full(taken) => {
                    self.writers[index].taken = taken;
                    index += 1;
                }
                Progress::Done(result) => {
                    self.writers.remove(index);
                    let reply = match result {
                        Ok(count) => written(count),
                        Err(Refusal::Retry) => protocol::Reply::RETRY,
                        Err(_) => protocol::Reply::error(Errno::EFAULT),
                    };
                    complete_plain(request, reply);
                }
            }
        }
    }

    fn ready(&mut self, port: usize) -> u64 {
        let mut ready = 0;
        if self.readable(port) {
            ready |= events::READABLE;
        }
        if self.device.writable(port) {
            ready |= events::WRITABLE;
        }
        if self.device.ports[port].at_end() {
            ready |= events::HANG_UP;
        }
        ready
    }

    fn status_of(&self, stream: Stream) -> Status {
        let (mode, inode) = match stream {
            Stream::Directory => (mode::DIRECTORY | 0o755, 1),
            Stream::Port(port) => (mode::CHARACTER | 0o600, port as u64 + 2),
        };
        let device_node = if stream == Stream::Directory { 0 } else { MAJOR | inode };
        Status { device: FILE_SYSTEM, inode, links: 1, mode, device_node, block_size: 4096, ..Status::default() }
    }
}

impl ResourceManager for Streams {
    type File = Stream;

    fn open(&mut self, _: &Call<'_>, path: &[u8], open: &Open) -> Result<Opened<Stream>, Refusal> {
        let stream = self.find(path)?;
        let features = match stream {
            Stream::Directory if open.writes() => return Err(Errno::EISDIR.into()),
            Stream::Port(_) if open.has(open_flags::DIRECTORY) => return Err(Errno::ENOTDIR.into()),
            Stream::Directory => 0,
            Stream::Port(_) => features::WAITS,
        };
        Ok(Opened::new(stream, open, self.status_of(stream).mode, features))
    }

    fn closed(&mut self, file: OpenFile<Stream>) {
        if let Stream::Port(port) = file.file {
            self.pollers[port].forget(file.badge);
        }
    }

    fn status(&mut self, _: &Call<'_>, path: &[u8], _: bool) -> Result<Status, Refusal> {
        self.find(path).map(|stream| self.status_of(stream))
    }

    fn status_open(&mut self, _: &Call<'_>, file: &mut OpenFile<Stream>) -> Result<Status, Refusal> {
        Ok(self.status_of(file.file))
    }

    fn read_directory(&mut self, _: &Call<'_>, file: &mut OpenFile<Stream>, records: &mut Records<'_>) -> Done {
        if file.file != Stream::Directory {
            return Err(Errno::ENOTDIR.into());
        }
        let dots = [(1, mode::DIRECTORY, &b"."[..]), (1, mode::DIRECTORY, &b".."[..])];
        let ports = self.device.ports.iter().enumerate().filter(|(_, port)| !port.name.is_empty());
        let ports = ports.map(|(index, port)| (index as u64 + 2, mode::CHARACTER, port.name.as_bytes()));
        for (inode, mode, name) in dots.into_iter().chain(ports).skip(file.position as usize) {
            if !records.add(inode, file.position + 1, mode, name) {
                break;
            }
            file.position += 1;
        }
        Ok(())
    }

    fn read(&mut self, call: &Call<'_>, file: &mut OpenFile<Stream>, _: u64, wait: bool) -> Result<Data, Refusal> {
        let Stream::Port(port) = file.file else { return Err(Errno::EISDIR.into()) };
        if let Some(data) = self.bytes_for(port, call.room) {
            return Ok(data);
        }
        if !wait {
            return Err(Errno::EAGAIN.into());
        }
        self.readers.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        self.readers.push_back(Reader { request: call.request, port, room: call.room });
        Err(Refusal::Later)
    }

    fn delivered(&mut self, file: &mut OpenFile<Stream>, count: usize) {
        if let Stream::Port(port) = file.file {
            self.device.consume(port, count);
        }
    }

    fn write(&mut self, call: &Call<'_>, file: &mut OpenFile<Stream>, _: u64, wait: bool) -> Result<usize, Refusal> {
        let Stream::Port(port) = file.file else { return Err(Errno::EISDIR.into()) };
        if call.sent == 0 {
            return Ok(0);
        }
        // Those who waited longer come first.
        let queued = self.writers.iter().any(|writer| writer.port == port);
        let mut taken = 0;
        if !queued {
            match self.send_all(call.request, port, 0, call.sent) {
                Progress::Done(result) => return result,
                Progress::Full(count) => taken = count,
            }
        }
        if !wait {
            return if taken > 0 { Ok(taken) } else { Err(Errno::EAGAIN.into()) };
        }
        if self.writers.try_reserve(1).is_err() {
            return if taken > 0 { Ok(taken) } else { Err(Errno::ENOMEM.into()) };
        }
        // As with a pipe, who writes waits until all of it is taken: programs are used to that.
        self.writers.push_back(Writer { request: call.request, port, length: call.sent, taken });
        Err(Refusal::Later)
    }

    fn sync(&mut self, call: &Call<'_>, file: &mut OpenFile<Stream>) -> Done {
        let Stream::Port(port) = file.file else { return Ok(()) };
        if self.device.drained(port) {
            return Ok(());
        }
        self.drains.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        self.drains.push((call.request, port));
        Err(Refusal::Later)
    }

    fn poll(&mut self, call: &Call<'_>, file: &mut OpenFile<Stream>, wanted: u64) -> u64 {
        let Stream::Port(port) = file.file else { return wanted & events::READABLE };
        let ready = self.ready(port) & (wanted | events::HANG_UP);
        if ready == 0 {
            self.pollers[port].arm(call, wanted);
        }
        ready
    }

    fn unblock(&mut self, request: u64) -> bool {
        if let Some(index) = self.writers.iter().position(|writer| writer.request == request && writer.taken > 0) {
            let taken = self.writers.remove(index).map_or(0, |writer| writer.taken);
            complete_plain(request, written(taken));
            return false;
        }
        let before = self.readers.len() + self.writers.len() + self.drains.len();
        self.readers.retain(|reader| reader.request != request);
        self.writers.retain(|writer| writer.request != request);
        self.drains.retain(|&(drain, _)| drain != request);
        before != self.readers.len() + self.writers.len() + self.drains.len()
    }

    fn pulse(&mut self, badge: u64, _: u64) {
        if badge == INTERRUPT_BADGE {
            self.progress();
        }
    }
}

fn written(count: usize) -> protocol::Reply {
    answer::Write { count: count as u64, ..Default::default() }.into()
}

/// What stands in when there is no device.
pub(crate) struct Absent;

impl ResourceManager for Absent {
    type File = ();

    fn open(&mut self, _: &Call<'_>, _: &[u8], _: &Open) -> Result<Opened<()>, Refusal> {
        Err(Errno::ENXIO.into())
    }
}
