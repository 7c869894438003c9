//! How the service starts, and its loop.
#![allow(unsafe_code)]

use alloc::rc::Rc;

use abi::archive::Archive;
use abi::boot::RAM_RANGES;
use abi::call::flags;
use abi::object::access;
use abi::system_page::{SYSTEM_PAGE_ADDRESS, SystemPage};
use abi::{Error, Handle, PAGE_SIZE, Rights, notice};
use protocol::Reply;
use runtime::{Buffers, Message, Options, log, start};

use crate::frames::{Frame, Frames, Range, Record, first_number};
use crate::heap;
use crate::image::Image;
use crate::kernel::{self, PassedMemory};
use crate::ram::Ram;
use crate::server::{Call, Outcome, Server, badge};
use crate::window;

/// Bytes of a message that come with it; longer ones are fetched.
const INBOX: usize = 512;
/// Kernel objects of each kind that the service keeps for itself when it counts how many processes there can be.
const OWN: u32 = 64;

/// A piece of RAM at the start.
#[derive(Clone, Copy)]
struct Piece {
    memory: Handle,
    base: u64,
    used: u64,
    length: u64,
}

/// Take all RAM: map it, make the table of frames in it.
fn take_ram() -> Result<Ram, Error> {
    let mut pieces = [Piece { memory: Handle::NONE, base: 0, used: 0, length: 0 }; RAM_RANGES];
    let mut count = 0;
    for (name, used_name) in start::RAM_NAMES {
        let memory = start::handle(name);
        if memory == Handle::NONE {
            continue;
        }
        let (length, base) = kernel::memory_information(memory)?;
        let length = length & !(PAGE_SIZE - 1);
        let used = start::number(used_name).next_multiple_of(PAGE_SIZE).min(length);
        kernel::map(Handle::SELF_PROCESS, memory, window::WINDOW + base, access::READ | access::WRITE, 0, length)?;
        pieces[count] = Piece { memory, base, used, length };
        count += 1;
    }
    let pieces = &mut pieces[..count];
    // Where the table goes: the largest piece. Its size counts the frames it takes itself, too.
    let mut end = 0;
    for piece in pieces.iter() {
        end = first_number(end + 1, piece.base + piece.used) + ((piece.length - piece.used) / PAGE_SIZE) as u32;
    }
    let bytes = (u64::from(end) * size_of::<Record>() as u64).next_multiple_of(PAGE_SIZE);
    let largest = pieces.iter_mut().max_by_key(|piece| piece.length - piece.used).ok_or(Error::NotFound)?;
    if largest.length - largest.used < 4 * bytes {
        return Err(Error::Exhausted);
    }
    let table = largest.base + largest.used;
    largest.used += bytes;
    window::zero(table, bytes);
    // SAFETY: these frames were just mapped and zeroed, and are left out of what is given out below; a zeroed `Record` is valid.
    let records = unsafe { window::table::<Record>(table, (bytes / size_of::<Record>() as u64) as usize) };
    let mut frames = Frames::new(records);
    let mut end = 0;
    for piece in pieces.iter() {
        let physical = piece.base + piece.used;
        let count = ((piece.length - piece.used) / PAGE_SIZE) as u32;
        if count == 0 {
            continue;
        }
        let first = first_number(end + 1, physical);
        end = first + count;
        frames.add(Range { memory: piece.memory, offset: piece.used, physical, first, count });
        frames.free_run(Frame(first), count);
    }
    Ok(Ram::new(frames))
}

/// Make the system page, which tells everybody the time.
fn make_system_page(ram: &mut Ram) -> Result<(Handle, u64), Error> {
    let (frame, _) = ram.zeroed(1).ok_or(Error::Exhausted)?;
    let (memory, offset) = ram.frames.memory(frame);
    let physical = ram.frames.physical(frame);
    let page = SystemPage {
        tsc_hz: start::number("tsc-hz"),
        tsc_base: start::number("tsc-base"),
        realtime_offset_ns: 0,
        ram_total: start::number("ram-total"),
    };
    let words = [page.tsc_hz, page.tsc_base, page.realtime_offset_ns, page.ram_total];
    for (at, word) in words.into_iter().enumerate() {
        window::write(physical + 8 * at as u64, &word.to_le_bytes());
    }
    let handle = kernel::derive(memory, offset, PAGE_SIZE, Rights::ALL)?;
    kernel::map(Handle::SELF_PROCESS, handle, SYSTEM_PAGE_ADDRESS, access::READ, 0, PAGE_SIZE)?;
    Ok((handle, physical))
}

/// The personality library out of the archive.
fn find_image(ram: &mut Ram) -> Option<Image> {
    let (handle, length) = (start::handle("archive"), start::number("archive-length"));
    let (all, base) = kernel::memory_information(handle).ok()?;
    let length = length.min(all) & !(PAGE_SIZE - 1);
    kernel::map(Handle::SELF_PROCESS, handle, window::ARCHIVE, access::READ, 0, length).ok()?;
    // SAFETY: so many bytes were just mapped there, and stay.
    let bytes = unsafe { window::archive(length) };
    let file = Archive::new(bytes)?.find(b"system/linux")?;
    Image::new(file.data, Rc::new(PassedMemory { handle, length, base }), file.data_offset, ram)
}

/// How many POSIX processes the kernel objects suffice for.
fn process_limit() -> usize {
    let Ok(usage) = kernel::usage(Handle::SELF_PROCESS) else { return 16 };
    let (limit, used, each) = (usage.limit, usage.used, crate::exec::SHARE);
    let share = |limit: u32, used: u32, each: u32| limit.saturating_sub(used).saturating_sub(OWN) / each;
    let shares = [
        share(limit.processes, used.processes, 1),
        share(limit.threads, used.threads, each.threads),
        share(limit.batons, used.batons, each.batons),
        share(limit.gates, used.gates, each.gates),
        // Each has one to the service, which pays for it; while it is replaced, two.
        share(limit.connections, used.connections, each.connections + 2),
        share(limit.pulses, used.pulses, each.pulses),
        share(limit.mappings, used.mappings, each.mappings),
        // A little more than all have, for those that grow.
        share(limit.pages, used.pages, each.pages + 2),
    ];
    shares.into_iter().min().unwrap_or(0).max(8) as usize
}

fn begin() -> Result<Server, &'static str> {
    let mut ram = take_ram().map_err(Error::text)?;
    heap::begin(&mut ram);
    let system_page = make_system_page(&mut ram).map_err(Error::text)?;
    let gate = start::handle("gate");
    let faults = kernel::connect(gate, badge::make(badge::FAULT, 0, 0), 0).map_err(Error::text)?;
    let mut server = Server::new(gate, faults, ram);
    server.system_page = system_page;
    server.image = find_image(&mut server.ram);
    if server.image.is_none() {
        server.note("no personality: system/linux is missing or not fit".into());
    }
    server.process_limit = process_limit();
    let (limit, free) = (server.process_limit, server.ram.frames.free() * 4);
    server.note(alloc::format!("{free} KiB to give out, {limit} processes at most"));
    Ok(server)
}

/// Offer a line to the log, which takes it only if it waits for one: the service waits for nobody. Whether it did.
fn say(line: &str) -> bool {
    let message = Message::new(runtime::log::APPEND, [runtime::log::Level::Notice as u64, 0, 0, 0]);
    let options = Options { flags: flags::DEADLINE_SEND, deadline: abi::call::POLL };
    let mut buffers = Buffers::new().send(b"process: ").send(line.as_bytes());
    !matches!(runtime::call(start::handle("log"), message, &mut buffers, options), Err(Error::TimedOut))
}

/// The service.
pub(crate) fn run() {
    match begin() {
        Ok(mut server) => serve(&mut server),
        Err(problem) => panic!("cannot begin: {problem}"),
    }
}

/// What is to be answered next.
#[derive(Clone, Copy)]
struct Pending {
    request: u64,
    reply: Reply,
    bytes: usize,
}

fn serve(server: &mut Server) {
    let mut inbox = [0u8; INBOX];
    let mut pending: Option<Pending> = None;
    let mut slot = Handle::NONE;
    loop {
        if slot == Handle::NONE {
            slot = runtime::handle::reserve().unwrap_or(Handle::NONE);
        }
        let options = match server.deadlines.first() {
            Some(&(deadline, _)) => Options { flags: flags::DEADLINE_RECEIVE, deadline },
            None => Options::NONE,
        };
        let mut buffers = Buffers::new().receive(&mut inbox);
        if slot != Handle::NONE {
            buffers = buffers.take(slot);
        }
        let arrived = match pending {
            Some(Pending { request, reply, bytes }) => {
                if bytes > 0 {
                    buffers = buffers.send(&server.out[..bytes]);
                }
                let message = Message { label: reply.label, words: reply.words };
                runtime::reply_and_receive(request, message, &mut buffers, server.gate, options)
            }
            None => runtime::receive(server.gate, &mut buffers, options),
        };
        let answered = pending.take();
        let received = match arrived {
            Ok(received) => received,
            Err(Error::TimedOut | Error::Interrupted) => {
                server.expire();
                continue;
            }
            Err(error) => {
                // The answer failed: its caller is gone, or its room for bytes is not there (let it touch that and repeat).
                match answered {
                    Some(Pending { request, .. }) if error != Error::Gone => {
                        let _ = kernel::reply(request, Reply::RETRY.label, [0; 4], &[], None);
                    }
                    Some(_) => {}
                    None => log!(Error, "cannot receive: {}", error.text()),
                }
                continue;
            }
        };
        if received.is_pulse() {
            if received.is_notice() {
                match received.message.label {
                    notice::CLOSED => server.closed(received.badge),
                    notice::UNBLOCK => server.unblock(received.message.words[0]),
                    _ => {}
                }
            }
        } else {
            server.gift = (received.status.handles() > 0).then(|| core::mem::replace(&mut slot, Handle::NONE));
            let call = Call {
                request: received.request,
                badge: received.badge,
                label: received.message.label,
                words: received.message.words,
                sent: u64::from(received.sent),
                room: u64::from(received.room),
                bytes: &inbox[..(received.moved as usize).min(INBOX)],
            };
            pending = match server.serve(&call) {
                Outcome::Answer(reply) => Some(Pending { request: call.request, reply, bytes: 0 }),
                Outcome::Bytes(reply, bytes) => Some(Pending { request: call.request, reply, bytes }),
                Outcome::Later => None,
            };
            if let Some(unused) = server.gift.take() {
                kernel::close(unused);
            }
        }
        server.expire_if_due();
        // When this fails memory is scarce, and nothing new is made for anybody.
        let _ = heap::top_up(&mut server.ram, 0);
        while server.notes.first().is_some_and(|line| say(line)) {
            server.notes.remove(0);
        }
    }
}
