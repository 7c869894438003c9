//! Where the facts come from: the process service and the path service.

use abi::Handle;
use alloc::string::String;
use alloc::vec::Vec;
use protocol::process::{self, Area, ProcessRecord, SystemRecord, ThreadRecord};
use protocol::{Errno, Failure, path};
use runtime::{Buffers, Options, start};

use crate::tree::Census;

/// Both services.
#[derive(Debug)]
pub(crate) struct Source {
    process: Handle,
    path: Handle,
}

/// Reads numbers off a record.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk::<N>() {
            Some((bytes, rest)) => {
                self.0 = rest;
                *bytes
            }
            None => [0; N],
        }
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.bytes())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.bytes())
    }

    fn words<const N: usize>(&mut self) -> [u64; N] {
        core::array::from_fn(|_| self.u64())
    }
}

fn process_record(bytes: &[u8]) -> ProcessRecord {
    let mut f = Fields(bytes);
    ProcessRecord {
        pid: f.u32(),
        parent: f.u32(),
        group: f.u32(),
        session: f.u32(),
        terminal: f.u32(),
        state: f.u32(),
        threads: f.u32(),
        nice: f.u32(),
        user: f.u64(),
        group_id: f.u64(),
        name: f.bytes(),
        start_ns: f.u64(),
        cpu_ns: f.u64(),
        virtual_bytes: f.u64(),
        resident_bytes: f.u64(),
        native: f.u64(),
        signals: f.words(),
    }
}

fn thread_record(bytes: &[u8]) -> ThreadRecord {
    let mut f = Fields(bytes);
    ThreadRecord { tid: f.u32(), state: f.u32(), waits_for: f.u64(), cpu_ns: f.u64(), name: f.bytes() }
}

fn system_record(bytes: &[u8]) -> SystemRecord {
    let mut f = Fields(bytes);
    SystemRecord {
        ram_total: f.u64(),
        ram_free: f.u64(),
        arena_used: f.u64(),
        arena_total: f.u64(),
        committed: f.u64(),
        processes: f.u64(),
        forks: f.u64(),
        uptime_ns: f.u64(),
        idle_ns: f.u64(),
        load: f.words(),
        runnable: f.u64(),
        threads: f.u64(),
    }
}

impl Source {
    pub(crate) fn new() -> Self {
        Self { process: start::handle("process"), path: start::handle("path") }
    }

    /// The process with the smallest pid above `after`.
    pub(crate) fn next(&self, after: u32) -> Option<ProcessRecord> {
        let mut bytes = [0; size_of::<ProcessRecord>()];
        process::next(self.process, after.into(), &mut Buffers::new().receive(&mut bytes), Options::NONE).ok()?;
        Some(process_record(&bytes))
    }

    /// A process.
    pub(crate) fn record(&self, pid: u32) -> Result<ProcessRecord, Errno> {
        let mut bytes = [0; size_of::<ProcessRecord>()];
        process::record(self.process, pid.into(), &mut Buffers::new().receive(&mut bytes), Options::NONE)
            .map_err(Failure::errno)?;
        Ok(process_record(&bytes))
    }

    /// The thread of a process with the smallest tid above `after`.
    pub(crate) fn next_thread(&self, pid: u32, after: u32) -> Option<ThreadRecord> {
        let mut bytes = [0; size_of::<ThreadRecord>()];
        let mut buffers = Buffers::new().receive(&mut bytes);
        process::next_thread(self.process, pid.into(), after.into(), &mut buffers, Options::NONE).ok()?;
        Some(thread_record(&bytes))
    }

    /// A thread.
    pub(crate) fn thread(&self, pid: u32, tid: u32) -> Option<ThreadRecord> {
        self.next_thread(pid, tid.checked_sub(1)?).filter(|thread| thread.tid == tid)
    }

    /// The whole system.
    pub(crate) fn system(&self) -> Result<SystemRecord, Errno> {
        let mut bytes = [0; size_of::<SystemRecord>()];
        process::system(self.process, &mut Buffers::new().receive(&mut bytes), Options::NONE)
            .map_err(Failure::errno)?;
        Ok(system_record(&bytes))
    }

    /// A command line: arguments, each ended by a zero byte.
    pub(crate) fn command_line(&self, pid: u32) -> Result<Vec<u8>, Errno> {
        let mut bytes = alloc::vec![0; 4096];
        let mut buffers = Buffers::new().receive(&mut bytes);
        let answer =
            process::command_line(self.process, pid.into(), &mut buffers, Options::NONE).map_err(Failure::errno)?;
        bytes.truncate((answer.length as usize).min(answer.moved as usize));
        Ok(bytes)
    }

    /// Areas of a process, from an address on: at most some.
    pub(crate) fn areas(&self, pid: u32, from: u64) -> Result<Vec<Area>, Errno> {
        const SOME: usize = 64;
        let mut bytes = [0; SOME * size_of::<Area>()];
        let mut buffers = Buffers::new().receive(&mut bytes);
        let answer =
            process::areas(self.process, pid.into(), from, &mut buffers, Options::NONE).map_err(Failure::errno)?;
        let count = (answer.count as usize).min(SOME);
        Ok(bytes
            .chunks_exact(size_of::<Area>())
            .take(count)
            .map(|bytes| {
                let mut f = Fields(bytes);
                Area { start: f.u64(), end: f.u64(), access: f.u64(), offset: f.u64() }
            })
            .collect())
    }

    /// Soft and hard limit.
    pub(crate) fn limit(&self, pid: u32, resource: u64) -> Result<(u64, u64), Errno> {
        const LEAVE: u64 = u64::MAX - 1;
        let answer =
            process::limit(self.process, pid.into(), resource, LEAVE, LEAVE, &mut Buffers::new(), Options::NONE)
                .map_err(Failure::errno)?;
        Ok((answer.soft, answer.hard))
    }

    /// Prefix of the mount at this place in the order.
    pub(crate) fn mount(&self, index: usize) -> Option<String> {
        let mut bytes = [0; 512];
        let mut buffers = Buffers::new().receive(&mut bytes);
        let answer = path::entry(self.path, index as u64, &mut buffers, Options::NONE).ok()?;
        let length = (answer.length as usize).min(bytes.len());
        let prefix = String::from_utf8_lossy(&bytes[..length]).into_owned();
        Some(if prefix.starts_with('/') { prefix } else { alloc::format!("/{prefix}") })
    }
}

impl Census for Source {
    fn has_process(&self, pid: u32) -> bool {
        self.record(pid).is_ok()
    }

    fn has_thread(&self, pid: u32, tid: u32) -> bool {
        self.thread(pid, tid).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_field_by_field() {
        let mut bytes = Vec::new();
        for number in 1..=8u32 {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for number in [9u64, 10] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(b"0123456789abcdef");
        for number in 11..=19u64 {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        assert_eq!(bytes.len(), size_of::<ProcessRecord>());
        let record = process_record(&bytes);
        assert_eq!((record.pid, record.nice, record.group_id, &record.name), (1, 8, 10, b"0123456789abcdef"));
        assert_eq!((record.start_ns, record.native, record.signals), (11, 15, [16, 17, 18, 19]));
        assert_eq!(process_record(&[]), ProcessRecord::default());
    }
}
