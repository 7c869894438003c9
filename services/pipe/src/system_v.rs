//! System V's IPC: which request does what; see [`protocol::system_v`].

use alloc::vec::Vec;

use protocol::Errno;
use protocol::resource_manager::{Call, Output, Refusal};
use protocol::system_v::{Permission, SEND_HEAD, User, command, question};

use crate::callers::Callers;
use crate::keyed::Keyed;
use crate::segments::Segment;
use crate::semaphores::{Operation, Semaphores};
use crate::typed_queue::{Asker, TypedQueue};

/// Most semaphores of a set, operations of a call, and bytes of a segment and of a queue.
const SEMAPHORES: u64 = 32_000;
const OPERATIONS: usize = 500;
const SEGMENT: u64 = 1 << 40;
const QUEUE: u64 = 1 << 20;
/// Permission to read, and to change.
const READ: u32 = 4;
const WRITE: u32 = 2;

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct SystemV {
    queues: Keyed<TypedQueue>,
    sets: Keyed<Semaphores>,
    segments: Keyed<Segment>,
}

/// Words that a caller sent.
fn words<const N: usize>(call: &Call<'_>) -> Result<[u64; N], Refusal> {
    let mut words = [0; N];
    let mut bytes = [0; 8 * 8];
    if call.fetch(0, &mut bytes[..8 * N])? < 8 * N {
        return Err(Errno::EINVAL.into());
    }
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = bytes.try_into().map(u64::from_le_bytes).map_err(|_| Errno::EINVAL)?;
    }
    Ok(words)
}

fn user(word: u64) -> User {
    User { user: word as u32, group: (word >> 32) as u32 }
}

fn put(output: &mut Output, words: &[u64]) {
    for word in words {
        output.put(&word.to_le_bytes());
    }
}

fn put_permission(output: &mut Output, permission: &Permission) {
    let Permission { key, user, group, maker_user, maker_group, mode } = *permission;
    put(output, &[key, user, group, maker_user, maker_group, mode].map(u64::from));
}

/// IPC_SET: owner, group and mode.
fn change(permission: &mut Permission, owner: u64, group: u64, mode: u64) {
    (permission.user, permission.group, permission.mode) = (owner as u32, group as u32, mode as u32 & 0o777);
}

fn seconds() -> u64 {
    runtime::clock::realtime_ns() / 1_000_000_000
}

/// Bytes behind the caller's ids.
fn bytes(call: &Call<'_>, length: usize) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length).map_err(|_| Errno::ENOMEM)?;
    bytes.resize(length, 0);
    if call.fetch(8, &mut bytes)? < length { Err(Errno::EINVAL.into()) } else { Ok(bytes) }
}

impl SystemV {
    /// Answer a request.
    pub(crate) fn control(
        &mut self,
        callers: &mut impl Callers,
        call: &Call<'_>,
        code: u64,
        argument: u64,
        output: &mut Output,
    ) -> Result<u64, Refusal> {
        let (id, further) = (argument as u32, argument >> 32);
        match code {
            command::QUEUE_GET..=command::QUEUE_REMOVE => self.queue(callers, call, code, id, further, output),
            command::SET_GET..=command::SET_REMOVE => self.set(callers, call, code, id, further, output),
            command::SEGMENT_GET..=command::SEGMENT_REMOVE => self.segment(call, code, id, output),
            _ => Err(Errno::ENOTTY.into()),
        }
    }

    fn queue(
        &mut self,
        callers: &mut impl Callers,
        call: &Call<'_>,
        code: u64,
        id: u32,
        further: u64,
        output: &mut Output,
    ) -> Result<u64, Refusal> {
        let [ids] = words(call)?;
        let (user, now) = (user(ids), seconds());
        let asker = |kind: u64, length: usize| Asker {
            request: call.request,
            badge: call.badge,
            pid: call.pid(),
            flags: further as u32,
            kind: kind as i64,
            length,
        };
        match code {
            command::QUEUE_GET => {
                let [_, key, flags] = words(call)?;
                let made = self.queues.get(key as u32, flags as u32, user, |_| Ok(()), || Ok(TypedQueue::new(now)))?;
                return Ok(u64::from(made.0));
            }
            command::QUEUE_SEND => {
                let [_, kind] = words(call)?;
                let queue = &mut self.queues.permitted(id, user, WRITE)?.item;
                queue.send(callers, asker(kind, call.sent - SEND_HEAD), now).ok_or(Refusal::Later)??;
            }
            command::QUEUE_RECEIVE => {
                let [_, kind, room] = words(call)?;
                let queue = &mut self.queues.permitted(id, user, READ)?.item;
                return Err(queue
                    .receive(callers, asker(kind, room as usize), now)
                    .map_or(Refusal::Later, Refusal::from));
            }
            command::QUEUE_STATUS => {
                let entry = self.queues.permitted(id, user, READ)?;
                put_permission(output, &entry.permission);
                let (queue, (count, bytes)) = (&entry.item, entry.item.held());
                put(output, &[bytes as u64, count as u64, queue.capacity as u64]);
                put(output, &queue.pids.map(u64::from));
                put(output, &queue.times);
            }
            command::QUEUE_SET => {
                let [_, owner, group, mode, most] = words(call)?;
                let entry = self.queues.owned(id, user)?;
                if most > QUEUE {
                    return Err(Errno::EINVAL.into());
                }
                change(&mut entry.permission, owner, group, mode);
                entry.item.set_capacity(callers, most as usize, now);
            }
            _ => {
                self.queues.owned(id, user)?;
                if let Some(queue) = self.queues.remove(id) {
                    queue.remove(callers);
                }
            }
        }
        Ok(0)
    }

    fn set(
        &mut self,
        callers: &mut impl Callers,
        call: &Call<'_>,
        code: u64,
        id: u32,
        further: u64,
        output: &mut Output,
    ) -> Result<u64, Refusal> {
        let [ids] = words(call)?;
        let (user, now) = (user(ids), seconds());
        match code {
            command::SET_GET => {
                let [_, key, flags, count] = words(call)?;
                let fits = |set: &Semaphores| if count as usize > set.count() { Err(Errno::EINVAL) } else { Ok(()) };
                let make = || {
                    if count == 0 || count > SEMAPHORES {
                        return Err(Errno::EINVAL);
                    }
                    Semaphores::new(count as usize, now)
                };
                return Ok(u64::from(self.sets.get(key as u32, flags as u32, user, fits, make)?.0));
            }
            command::SET_OPERATE => return self.operate(callers, call, id, further as usize, user),
            command::SET_ASK => {
                let set = &self.sets.permitted(id, user, READ)?.item;
                let number = (further >> 8) as usize;
                return Ok(match further & 0xff {
                    question::VALUE => set.value(number)?,
                    question::PID => set.pid(number)?,
                    question::WAIT_FOR_MORE => set.waiting(number, false)?,
                    question::WAIT_FOR_ZERO => set.waiting(number, true)?,
                    _ => return Err(Errno::EINVAL.into()),
                });
            }
            command::SET_VALUE => {
                let [_, value] = words(call)?;
                let set = &mut self.sets.permitted(id, user, WRITE)?.item;
                let value = u16::try_from(value).map_err(|_| Errno::ERANGE)?;
                set.set(callers, further as usize, &[value], call.pid())?;
                set.changed = now;
            }
            command::SET_ALL => {
                let set = &self.sets.permitted(id, user, READ)?.item;
                output.put(&set.values());
                return Ok(set.count() as u64);
            }
            command::SET_SET_ALL => {
                let set = &mut self.sets.permitted(id, user, WRITE)?.item;
                let bytes = bytes(call, 2 * set.count())?;
                let values: Vec<u16> =
                    bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
                set.set(callers, 0, &values, call.pid())?;
                set.changed = now;
            }
            command::SET_STATUS => {
                let entry = self.sets.permitted(id, user, READ)?;
                put_permission(output, &entry.permission);
                put(output, &[entry.item.count() as u64, entry.item.operated, entry.item.changed]);
            }
            command::SET_SET => {
                let [_, owner, group, mode] = words(call)?;
                let entry = self.sets.owned(id, user)?;
                change(&mut entry.permission, owner, group, mode);
                entry.item.changed = now;
            }
            _ => {
                self.sets.owned(id, user)?;
                if let Some(set) = self.sets.remove(id) {
                    set.remove(callers);
                }
            }
        }
        Ok(0)
    }

    fn operate(
        &mut self,
        callers: &mut impl Callers,
        call: &Call<'_>,
        id: u32,
        count: usize,
        user: User,
    ) -> Result<u64, Refusal> {
        if count == 0 {
            return Err(Errno::EINVAL.into());
        }
        if count > OPERATIONS {
            return Err(Errno::E2BIG.into());
        }
        let bytes = bytes(call, 6 * count)?;
        let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let operations: Vec<Operation> = (0..count)
            .map(|at| Operation { number: half(6 * at), change: half(6 * at + 2) as i16, flags: half(6 * at + 4) })
            .collect();
        let wanted = if operations.iter().any(|operation| operation.change != 0) { WRITE } else { READ };
        let set = &mut self.sets.permitted(id, user, wanted)?.item;
        set.operate(callers, (call.request, call.badge, call.pid()), operations).ok_or(Refusal::Later)??;
        set.operated = seconds();
        Ok(0)
    }

    fn segment(&mut self, call: &Call<'_>, code: u64, id: u32, output: &mut Output) -> Result<u64, Refusal> {
        let [ids] = words(call)?;
        let (user, now) = (user(ids), seconds());
        match code {
            command::SEGMENT_GET => {
                let [_, key, flags, length] = words(call)?;
                let fits = |segment: &Segment| if length > segment.length { Err(Errno::EINVAL) } else { Ok(()) };
                let make = || {
                    if length == 0 || length > SEGMENT {
                        return Err(Errno::EINVAL);
                    }
                    Ok(Segment::new(length, call.pid(), now))
                };
                let (id, is_new) = self.segments.get(key as u32, flags as u32, user, fits, make)?;
                return Ok(u64::from(id) | u64::from(is_new) << 32);
            }
            command::SEGMENT_ATTACH => {
                let [_, write] = words(call)?;
                let entry = self.segments.permitted(id, user, if write != 0 { READ | WRITE } else { READ })?;
                entry.item.attach(call.badge, call.pid(), now)?;
                return Ok(entry.item.length);
            }
            command::SEGMENT_DETACH => {
                let segment = &mut self.segments.find(id)?.item;
                segment.detach(call.badge, call.pid(), now);
                if segment.is_removed && segment.count() == 0 {
                    self.segments.remove(id);
                }
            }
            command::SEGMENT_STATUS => {
                let entry = self.segments.permitted(id, user, READ)?;
                put_permission(output, &entry.permission);
                let segment = &entry.item;
                put(output, &[segment.length, segment.count()]);
                put(output, &segment.pids.map(u64::from));
                put(output, &segment.times);
                put(output, &[u64::from(segment.is_removed)]);
            }
            command::SEGMENT_SET => {
                let [_, owner, group, mode] = words(call)?;
                let entry = self.segments.owned(id, user)?;
                change(&mut entry.permission, owner, group, mode);
                entry.item.times[2] = now;
            }
            _ => {
                let entry = self.segments.owned(id, user)?;
                // Nobody finds it by its key any more.
                entry.permission.key = 0;
                entry.item.is_removed = true;
                if entry.item.count() == 0 {
                    self.segments.remove(id);
                }
            }
        }
        Ok(0)
    }

    /// A process's connection is closed: it has ended.
    pub(crate) fn leave(&mut self, callers: &mut impl Callers, badge: u64) {
        self.queues.all().for_each(|(_, queue)| queue.leave(badge));
        self.sets.all().for_each(|(_, set)| set.leave(callers, badge));
        let gone: Vec<u32> =
            self.segments.all().filter_map(|(id, segment)| segment.leave(badge).then_some(id)).collect();
        for id in gone {
            self.segments.remove(id);
        }
    }

    /// A caller wants to leave. Whether it waited here.
    pub(crate) fn cancel(&mut self, request: u64) -> bool {
        self.queues.all().any(|(_, queue)| queue.cancel(request)) || self.sets.all().any(|(_, set)| set.cancel(request))
    }
}
