//! Users and groups: bookkeeping, not security. Everybody starts as user 0.

use protocol::Errno;
use protocol::image::User;
use protocol::process as service;
use runtime::Buffers;

use crate::message::{PROMPT, ask};
use crate::numbers::Outcome;
use crate::task::Task;
use crate::user_memory;

const SAME: u32 = u32::MAX;

fn get(task: &Task) -> User {
    *task.process.user.lock()
}

/// `getuid`.
pub(crate) fn getuid(task: &mut Task, _: [u64; 6]) -> Outcome {
    Ok(u64::from(get(task).user[0]))
}

/// `geteuid`.
pub(crate) fn geteuid(task: &mut Task, _: [u64; 6]) -> Outcome {
    Ok(u64::from(get(task).user[1]))
}

/// `getgid`.
pub(crate) fn getgid(task: &mut Task, _: [u64; 6]) -> Outcome {
    Ok(u64::from(get(task).group[0]))
}

/// `getegid`.
pub(crate) fn getegid(task: &mut Task, _: [u64; 6]) -> Outcome {
    Ok(u64::from(get(task).group[1]))
}

fn write_three(ids: [u32; 3], addresses: [u64; 6]) -> Outcome {
    for (id, address) in ids.iter().zip(addresses) {
        user_memory::write(address, id)?;
    }
    Ok(0)
}

/// `getresuid`.
pub(crate) fn getresuid(task: &mut Task, addresses: [u64; 6]) -> Outcome {
    write_three(get(task).user, addresses)
}

/// `getresgid`.
pub(crate) fn getresgid(task: &mut Task, addresses: [u64; 6]) -> Outcome {
    write_three(get(task).group, addresses)
}

/// Real, effective and saved id as wished; only user 0 may take any, others those that they have.
fn chosen(now: [u32; 3], wish: [u32; 3], privileged: bool) -> Result<[u32; 3], Errno> {
    let mut next = now;
    for (next, wish) in next.iter_mut().zip(wish) {
        if wish != SAME {
            if !privileged && !now.contains(&wish) {
                return Err(Errno::EPERM);
            }
            *next = wish;
        }
    }
    Ok(next)
}

fn set(task: &Task, users: [u32; 3], groups: [u32; 3]) -> Outcome {
    let mut user = task.process.user.lock();
    let privileged = user.user[1] == 0;
    let next = User { user: chosen(user.user, users, privileged)?, group: chosen(user.group, groups, privileged)? };
    *user = next;
    drop(user);
    let pair = |ids: [u32; 3]| u64::from(ids[0]) | u64::from(ids[1]) << 32;
    let (users, groups) = (pair(next.user), pair(next.group));
    ask(&mut Buffers::new(), |buffers| service::set_user(task.connection(), users, groups, buffers, PROMPT)).map(|_| 0)
}

/// All three for user 0, else the effective one.
fn one(task: &Task, id: u32) -> [u32; 3] {
    if get(task).user[1] == 0 { [id; 3] } else { [SAME, id, SAME] }
}

/// `setuid`.
pub(crate) fn setuid(task: &mut Task, [id, ..]: [u64; 6]) -> Outcome {
    let ids = one(task, id as u32);
    set(task, ids, [SAME; 3])
}

/// `setgid`.
pub(crate) fn setgid(task: &mut Task, [id, ..]: [u64; 6]) -> Outcome {
    let ids = one(task, id as u32);
    set(task, [SAME; 3], ids)
}

/// The saved id follows the effective one if the real one is set, or the effective one to other than the real one.
const fn real_and_effective(now: [u32; 3], real: u32, effective: u32) -> [u32; 3] {
    let next = if effective == SAME { now[1] } else { effective };
    let saved = if real != SAME || (effective != SAME && effective != now[0]) { next } else { SAME };
    [real, effective, saved]
}

/// `setreuid`.
pub(crate) fn setreuid(task: &mut Task, [real, effective, ..]: [u64; 6]) -> Outcome {
    let now = get(task).user;
    set(task, real_and_effective(now, real as u32, effective as u32), [SAME; 3])
}

/// `setregid`.
pub(crate) fn setregid(task: &mut Task, [real, effective, ..]: [u64; 6]) -> Outcome {
    let now = get(task).group;
    set(task, [SAME; 3], real_and_effective(now, real as u32, effective as u32))
}

/// `setresuid`.
pub(crate) fn setresuid(task: &mut Task, [real, effective, saved, ..]: [u64; 6]) -> Outcome {
    set(task, [real as u32, effective as u32, saved as u32], [SAME; 3])
}

/// `setresgid`.
pub(crate) fn setresgid(task: &mut Task, [real, effective, saved, ..]: [u64; 6]) -> Outcome {
    set(task, [SAME; 3], [real as u32, effective as u32, saved as u32])
}

/// `setfsuid`, `setfsgid`: the effective ids are used.
pub(crate) fn setfsid(task: &mut Task, _: [u64; 6]) -> Outcome {
    geteuid(task, [0; 6])
}

/// `getgroups`: none.
pub(crate) fn getgroups(_: &mut Task, _: [u64; 6]) -> Outcome {
    Ok(0)
}

/// `setgroups`: heard and forgotten, by user 0.
pub(crate) fn setgroups(task: &mut Task, [count, ..]: [u64; 6]) -> Outcome {
    const MAXIMUM: u64 = 65_536;
    match (get(task).user[1], count) {
        (0, 0..=MAXIMUM) => Ok(0),
        (0, _) => Err(Errno::EINVAL),
        _ => Err(Errno::EPERM),
    }
}

const CAPABILITY_VERSION: u32 = 0x2008_0522;

/// `capget`: user 0 has all.
pub(crate) fn capget(task: &mut Task, [header, data, ..]: [u64; 6]) -> Outcome {
    let version: u32 = user_memory::read(header)?;
    if version != CAPABILITY_VERSION {
        user_memory::write(header, &CAPABILITY_VERSION)?;
        return if data == 0 { Ok(0) } else { Err(Errno::EINVAL) };
    }
    let (low, high) = if get(task).user[1] == 0 { (u32::MAX, 0x1ff) } else { (0, 0) };
    user_memory::write_optional(data, &[low, low, 0, high, high, 0])?;
    Ok(0)
}

/// `capset`: heard and forgotten.
pub(crate) fn capset(_: &mut Task, [header, data, ..]: [u64; 6]) -> Outcome {
    let version: u32 = user_memory::read(header)?;
    let _: [u32; 6] = user_memory::read(data)?;
    if version == CAPABILITY_VERSION { Ok(0) } else { Err(Errno::EINVAL) }
}
