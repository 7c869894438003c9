//! From a message to the manager's method, with its arguments checked.

use runtime::Message;

use super::super::arguments::{file_size, owned, parse_lock, parse_times, path, place, seek, split, text};
use super::super::{
    Call, Data, Done, LockOperation, OPEN_FILE, OpenFile, Output, Records, ResourceManager, lock_kind, mode, open_flags,
};
use super::{Outcome, RECORDS, Server, Then};
use crate::file::{self, AT_POSITION, Lock, Request, Times, features};
use crate::{Errno, Reply};

impl<M: ResourceManager> Server<M> {
    pub(super) fn dispatch(&mut self, call: &Call<'_>, message: Message, out: &mut Outcome) -> Done {
        let request = Request::decode(message.label, message.words);
        if call.badge & OPEN_FILE == 0 {
            return match request {
                Some(request) if message.label < FIRST_OPEN_LABEL => self.dispatch_path(call, request, out),
                _ => {
                    let (reply, data) = self.manager.other(call, message.label, message.words)?;
                    out.lend(reply, data)
                }
            };
        }
        let request = request.ok_or(Errno::ENOSYS)?;
        self.dispatch_open(call, request, out)
    }

    fn dispatch_path(&mut self, call: &Call<'_>, request: Request, out: &mut Outcome) -> Done {
        let bytes = call.bytes();
        let manager = &mut self.manager;
        match request {
            Request::Open { flags, mode, owner } => {
                let path = path::<M>(bytes)?;
                let open = owned(flags, mode, owner);
                let opened = manager.open(call, path, &open)?;
                self.install(call.request, opened, out)?;
            }
            Request::Stat { follow } => {
                self.scratch.status = manager.status(call, path::<M>(bytes)?, follow != 0)?;
                let anchor = manager.anchor(&self.scratch.status);
                return out.lend(Reply::ok([anchor, 0, 0, 0]), lent(&raw const self.scratch.status, call));
            }
            Request::Where { anchor } => {
                self.scratch.path = manager.where_is(anchor)?;
                let data = Data::for_call(call, &self.scratch.path);
                return out.lend(Reply::ok([data.len() as u64, 0, 0, 0]), data);
            }
            Request::Unlink { directory } => manager.unlink(call, path::<M>(bytes)?, directory != 0)?,
            Request::MakeDirectory { mode, owner } => {
                manager.make_directory(call, path::<M>(bytes)?, &owned(0, mode, owner))?;
            }
            Request::MakeNode { mode, owner, device } => {
                manager.make_node(call, path::<M>(bytes)?, &owned(0, mode, owner), device)?;
            }
            Request::SymbolicLink { path_length, owner } => {
                let (first, target) = split(bytes, path_length)?;
                if target.is_empty() {
                    return Err(Errno::ENOENT.into());
                }
                manager.symbolic_link(call, path::<M>(first)?, text(target)?, &owned(0, 0o777, owner))?;
            }
            Request::ReadLink {} => {
                let target = manager.read_link(call, path::<M>(bytes)?)?;
                return out.lend(Reply::ok([target.len() as u64, 0, 0, 0]), target);
            }
            Request::Rename { first_length, flags } => {
                let (old, new) = split(bytes, first_length)?;
                manager.rename(call, path::<M>(old)?, path::<M>(new)?, flags)?;
            }
            Request::Link { first_length, follow } => {
                let (old, new) = split(bytes, first_length)?;
                manager.link(call, path::<M>(old)?, path::<M>(new)?, follow != 0)?;
            }
            Request::ChangeMode { mode, follow } => {
                manager.change_mode(call, path::<M>(bytes)?, mode as u32 & mode::PERMISSIONS, follow != 0)?;
            }
            Request::ChangeOwner { user, group, follow } => {
                manager.change_owner(call, path::<M>(bytes)?, user as u32, group as u32, follow != 0)?;
            }
            Request::SetTimes { follow } => {
                let (times, rest) = bytes.split_at_checked(size_of::<Times>()).ok_or(Errno::EINVAL)?;
                manager.set_times(call, path::<M>(rest)?, &parse_times(times)?, follow != 0)?;
            }
            Request::Truncate { length } => manager.truncate(call, path::<M>(bytes)?, file_size(length)?)?,
            Request::FileSystem {} => {
                self.scratch.figures = manager.file_system(call)?.to_words();
                out.data = lent(&raw const self.scratch.figures, call);
            }
            _ => return Err(Errno::EBADF.into()),
        }
        Ok(())
    }

    fn dispatch_open(&mut self, call: &Call<'_>, request: Request, out: &mut Outcome) -> Done {
        let Self { manager, files, scratch, .. } = self;
        // Opened before this program was started again: what it named is lost.
        let open = files.find(call.badge).ok_or(Errno::EIO)?;
        if open.flags & open_flags::PATH != 0
            && !matches!(request, Request::StatOpen {} | Request::Flags {} | Request::FileSystemOpen {})
        {
            return Err(Errno::EBADF.into());
        }
        let wait = |flags: u64, open: &OpenFile<M::File>| flags & 1 == 0 && open.flags & open_flags::NON_BLOCKING == 0;
        let readable = open.flags & open_flags::ACCESS != open_flags::WRITE;
        let writable = open.flags & open_flags::ACCESS != open_flags::READ;
        let seeks = open.features & features::SEEK != 0;
        match request {
            Request::Read { offset, flags } => {
                let at = place(offset, open.position, seeks)?;
                if !readable {
                    return Err(Errno::EBADF.into());
                }
                let data = manager.read(call, open, at, wait(flags, open))?;
                out.then = match (seeks, offset) {
                    (true, AT_POSITION) if !data.is_empty() => {
                        Then::Advance { badge: call.badge, position: at.saturating_add(data.len() as u64) }
                    }
                    (false, _) if !data.is_empty() && flags & file::read_flags::STAY == 0 => {
                        Then::Deliver { badge: call.badge, count: data.len(), lazily: data.lazy }
                    }
                    _ => Then::Nothing,
                };
                out.lend(Reply::ok([data.len() as u64, 0, 0, 0]), data)
            }
            Request::Write { offset, flags } => {
                let at = place(offset, open.position, seeks)?;
                if !writable {
                    return Err(Errno::EBADF.into());
                }
                let at = if open.flags & open_flags::APPEND != 0 && seeks { manager.size(open) } else { at };
                if seeks && call.sent > 0 && at >= i64::MAX as u64 {
                    return Err(Errno::EFBIG.into());
                }
                let count = manager.write(call, open, at, wait(flags, open))?;
                if offset == AT_POSITION && seeks {
                    // What was written stays written, whether or not its writer lives to hear of it.
                    open.position = at.saturating_add(count as u64);
                }
                out.say(Reply::ok([count as u64, 0, 0, 0]))
            }
            Request::Seek { offset, whence } => {
                if !seeks {
                    return Err(Errno::ESPIPE.into());
                }
                let position = seek(manager, open, offset, whence)?;
                open.position = position;
                out.say(Reply::ok([position, 0, 0, 0]))
            }
            Request::StatOpen {} => {
                scratch.status = manager.status_open(call, open)?;
                out.lend(Reply::DONE, lent(&raw const scratch.status, call))
            }
            Request::TruncateOpen { length } => {
                if !writable {
                    return Err(Errno::EINVAL.into());
                }
                manager.truncate_open(call, open, file_size(length)?)?;
                Ok(())
            }
            Request::ReadDirectory {} => {
                let before = open.position;
                let limit = call.room.min(RECORDS);
                let mut records = Records::new(&mut scratch.records[..limit]);
                manager.read_directory(call, open, &mut records)?;
                let after = core::mem::replace(&mut open.position, before);
                if records.too_small() {
                    return Err(Errno::EINVAL.into());
                }
                let used = records.used();
                out.then = Then::Advance { badge: call.badge, position: after };
                out.lend(Reply::ok([used as u64, 0, 0, 0]), Data::of(&scratch.records[..used]))
            }
            Request::Flags {} => out.say(Reply::ok([open.flags, 0, 0, 0])),
            Request::SetFlags { flags } => {
                open.flags = open.flags & !open_flags::SETTABLE | flags & open_flags::SETTABLE;
                Ok(())
            }
            Request::Sync { .. } => manager.sync(call, open),
            Request::Poll { events, waiter } => {
                call.waiter.set(waiter);
                let ready = manager.poll(call, open, events);
                out.say(Reply::ok([ready, 0, 0, 0]))
            }
            Request::Control { command, argument } => {
                scratch.output = Output::new();
                let result = manager.control(call, open, command, argument, &mut scratch.output)?;
                let data = Data::for_call(call, scratch.output.bytes());
                out.lend(Reply::ok([result, 0, 0, 0]), data)
            }
            Request::Lock { operation, owner } => {
                let owner = if matches!(operation, 36..=38) { open.badge } else { owner };
                let operation = match operation {
                    5 | 36 => LockOperation::Test,
                    6 | 37 => LockOperation::Set,
                    7 | 38 => LockOperation::SetAndWait,
                    100..=115 => LockOperation::Whole(operation - 100),
                    _ => return Err(Errno::EINVAL.into()),
                };
                scratch.lock = match operation {
                    LockOperation::Whole(_) => Lock::default(),
                    _ => parse_lock(&call.structure::<{ size_of::<Lock>() }>()?),
                };
                let kind = scratch.lock.kind;
                let forbidden = kind == lock_kind::READ && !readable || kind == lock_kind::WRITE && !writable;
                if forbidden && matches!(operation, LockOperation::Set | LockOperation::SetAndWait) {
                    return Err(Errno::EBADF.into());
                }
                manager.lock(call, open, operation, owner, &mut scratch.lock)?;
                let data =
                    if operation == LockOperation::Test { lent(&raw const scratch.lock, call) } else { Data::new() };
                out.lend(Reply::DONE, data)
            }
            Request::Unlock { owner } => {
                manager.unlock(open, owner);
                Ok(())
            }
            Request::Map { offset, length, flags } => {
                if !readable || flags & 1 != 0 && !writable {
                    return Err(Errno::EACCES.into());
                }
                if !offset.is_multiple_of(abi::PAGE_SIZE) || offset.checked_add(length).is_none() {
                    return Err(Errno::EINVAL.into());
                }
                let mapped = manager.map(call, open, offset, length, flags & 1 != 0)?;
                out.gifts[0] = (mapped.memory, mapped.rights);
                out.say(Reply::ok([mapped.memory_offset, mapped.length, 0, 0]))
            }
            Request::ChangeModeOpen { mode } => manager.change_mode_open(call, open, mode as u32 & mode::PERMISSIONS),
            Request::ChangeOwnerOpen { user, group } => {
                manager.change_owner_open(call, open, user as u32, group as u32)
            }
            Request::SetTimesOpen {} => {
                let times = parse_times(&call.structure::<{ size_of::<Times>() }>()?)?;
                manager.set_times_open(call, open, &times)
            }
            Request::Allocate { mode, offset, length } => {
                const PUNCH_HOLE: u64 = 2;
                if length == 0 || length > i64::MAX as u64 || offset > i64::MAX as u64 {
                    return Err(Errno::EINVAL.into());
                }
                // A hole can only be punched with the size kept.
                if mode > 3 || mode == PUNCH_HOLE {
                    return Err(Errno::EOPNOTSUPP.into());
                }
                if !writable {
                    return Err(Errno::EBADF.into());
                }
                if !seeks {
                    return Err(Errno::ESPIPE.into());
                }
                if offset.checked_add(length).is_none_or(|end| end > i64::MAX as u64) {
                    return Err(Errno::EFBIG.into());
                }
                manager.allocate(call, open, mode, offset, length)
            }
            Request::FileSystemOpen {} => {
                scratch.figures = manager.file_system(call)?.to_words();
                out.lend(Reply::DONE, lent(&raw const scratch.figures, call))
            }
            _ => Err(Errno::EBADF.into()),
        }
    }
}

/// Labels from here on are for open files.
const FIRST_OPEN_LABEL: u64 = 32;

/// A structure, lent by address. The kernel reads it like any other memory of ours.
fn lent<T>(structure: *const T, call: &Call<'_>) -> Data {
    let mut data = Data::new();
    data.add_raw(structure as u64, size_of::<T>().min(call.room));
    data
}
