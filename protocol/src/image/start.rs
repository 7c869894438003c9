//! What a new image starts with, beside its memory: a blob that [`Start::encode`] writes and the library of the new image reads
//! with [`Start::decode`].

use alloc::vec::Vec;

use super::long;
use crate::process::BLOB_MAXIMUM;

/// An open file that the new image has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// Its number.
    pub number: u32,
    /// 1: it is closed at the next exec.
    pub flags: u32,
    /// Descriptors of the same `share` are one open file in the library's eyes (made by `dup`).
    pub share: u32,
    /// st_mode.
    pub mode: u32,
    /// The connection.
    pub handle: u64,
    /// Of a pair of sockets: the connection that is written to; else 0.
    pub writer: u64,
    /// [`file::features`] bits.
    pub features: u64,
    /// The O_* flags it was opened with.
    pub open_flags: u64,
    /// Where it is, absolute and without links; may be empty.
    pub path: Vec<u8>,
}

/// Who the new image is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// Real, effective and saved user.
    pub user: [u32; 3],
    /// Real, effective and saved group.
    pub group: [u32; 3],
}

/// What a new image starts with, beside its memory: the blob.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// Where it starts; set by [`replace`].
    pub entry: u64,
    /// Its first stack pointer; set by [`replace`].
    pub stack: u64,
    /// Where `brk` starts; set by [`replace`].
    pub program_break: u64,
    /// File mode creation mask.
    pub umask: u32,
    /// Who it is.
    pub user: User,
    /// Descriptors stay below this (RLIMIT_NOFILE); 0: the system's default.
    pub descriptor_limit: u64,
    /// Files that are written stay so small (RLIMIT_FSIZE).
    pub file_limit: Option<u64>,
    /// Blocked signals.
    pub mask: u64,
    /// Ignored signals.
    pub ignored: u64,
    /// Current directory, absolute and without links.
    pub directory: Vec<u8>,
    /// The program's path, absolute and without links (`/proc/self/exe`).
    pub program: Vec<u8>,
    /// Open files.
    pub descriptors: Vec<Descriptor>,
}

const BLOB_MAGIC: u64 = u64::from_le_bytes(*b"BatonIm1");

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn number(&mut self) -> Option<u64> {
        let value = long(self.0, 0)?;
        self.0 = self.0.get(8..)?;
        Some(value)
    }

    fn small(&mut self) -> Option<u32> {
        self.number().map(|value| value as u32)
    }

    fn bytes(&mut self) -> Option<Vec<u8>> {
        let length = usize::try_from(self.number()?).ok()?;
        let bytes = self.0.get(..length)?.to_vec();
        self.0 = self.0.get(length..)?;
        Some(bytes)
    }
}

pub(super) fn put(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

impl Start {
    /// The blob's bytes; the first eight after the magic number are its length.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, BLOB_MAGIC);
        put(&mut out, 0);
        for value in [
            self.entry,
            self.stack,
            self.program_break,
            u64::from(self.umask),
            self.descriptor_limit,
            self.file_limit.unwrap_or(u64::MAX),
            self.mask,
            self.ignored,
        ] {
            put(&mut out, value);
        }
        for id in self.user.user.iter().chain(&self.user.group) {
            put(&mut out, u64::from(*id));
        }
        for text in [&self.directory, &self.program] {
            put_bytes(&mut out, text);
        }
        put(&mut out, self.descriptors.len() as u64);
        for descriptor in &self.descriptors {
            for value in [descriptor.number, descriptor.flags, descriptor.share, descriptor.mode] {
                put(&mut out, u64::from(value));
            }
            for value in [descriptor.handle, descriptor.writer, descriptor.features, descriptor.open_flags] {
                put(&mut out, value);
            }
            put_bytes(&mut out, &descriptor.path);
        }
        let length = out.len() as u64;
        out[8..16].copy_from_slice(&length.to_le_bytes());
        out
    }

    /// Length of a blob, from its first 16 bytes.
    #[must_use]
    pub fn length(head: &[u8]) -> Option<u64> {
        let length = long(head, 8)?;
        (long(head, 0)? == BLOB_MAGIC && length <= BLOB_MAXIMUM).then_some(length)
    }

    /// Read a blob; `None` if it is not one.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let length = usize::try_from(Self::length(bytes)?).ok()?;
        let mut reader = Reader(bytes.get(16..length)?);
        let mut start = Self {
            entry: reader.number()?,
            stack: reader.number()?,
            program_break: reader.number()?,
            umask: reader.small()?,
            descriptor_limit: reader.number()?,
            file_limit: reader.number().map(|limit| (limit != u64::MAX).then_some(limit))?,
            mask: reader.number()?,
            ignored: reader.number()?,
            ..Self::default()
        };
        for id in start.user.user.iter_mut().chain(&mut start.user.group) {
            *id = reader.small()?;
        }
        start.directory = reader.bytes()?;
        start.program = reader.bytes()?;
        for _ in 0..reader.number()? {
            start.descriptors.push(Descriptor {
                number: reader.small()?,
                flags: reader.small()?,
                share: reader.small()?,
                mode: reader.small()?,
                handle: reader.number()?,
                writer: reader.number()?,
                features: reader.number()?,
                open_flags: reader.number()?,
                path: reader.bytes()?,
            });
        }
        Some(start)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn a_blob_survives_the_way() {
        let descriptor =
            Descriptor { number: 3, flags: 1, handle: 0x1_0007, path: b"/tmp/x".to_vec(), ..Descriptor::default() };
        let start = Start {
            entry: 5,
            umask: 0o22,
            directory: b"/root".to_vec(),
            descriptors: vec![descriptor.clone(), Descriptor { number: 9, ..descriptor }],
            ..Start::default()
        };
        let bytes = start.encode();
        assert_eq!(Start::decode(&bytes), Some(start));
        for length in 0..bytes.len() {
            assert_eq!(Start::decode(&bytes[..length]), None);
        }
    }
}
