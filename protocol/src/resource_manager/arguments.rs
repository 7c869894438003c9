//! What a message brings, checked: paths, places, times and locks.

use super::{Open, OpenFile, Refusal, ResourceManager, TIME_NOW, TIME_OMIT};
use crate::Errno;
use crate::file::{self, AT_POSITION, Lock, PATH_MAXIMUM, Times};

/// Text that may be a path: a link's target.
pub(super) fn text(bytes: &[u8]) -> Result<&[u8], Errno> {
    if bytes.len() >= PATH_MAXIMUM {
        return Err(Errno::ENAMETOOLONG);
    }
    if bytes.contains(&0) {
        return Err(Errno::EINVAL);
    }
    Ok(bytes)
}

/// A path that may be looked at.
pub(super) fn path<M: ResourceManager>(bytes: &[u8]) -> Result<&[u8], Errno> {
    if M::ANCHORS && bytes.first() == Some(&0) {
        let (_, rest) = file::anchor::read(bytes).ok_or(Errno::EINVAL)?;
        return text(rest).map(|_| bytes);
    }
    let bytes = text(bytes)?;
    // A leading slash would be no different: relative to the mount's root.
    let start = bytes.iter().position(|&byte| byte != b'/').unwrap_or(bytes.len());
    Ok(&bytes[start..])
}

pub(super) fn split(bytes: &[u8], first: u64) -> Result<(&[u8], &[u8]), Errno> {
    let first = usize::try_from(first).map_err(|_| Errno::EINVAL)?;
    bytes.split_at_checked(first).ok_or(Errno::EINVAL)
}

pub(super) const fn owned(flags: u64, mode: u64, owner: u64) -> Open {
    Open { flags, mode: mode as u32, user: owner as u32, group: (owner >> 32) as u32 }
}

/// Lengths are `off_t`.
pub(super) fn file_size(length: u64) -> Result<u64, Errno> {
    if length > i64::MAX as u64 {
        return Err(Errno::EINVAL);
    }
    Ok(length)
}

/// Where a `Read` or `Write` is.
pub(super) fn place(offset: u64, position: u64, seeks: bool) -> Result<u64, Errno> {
    match (offset, seeks) {
        (AT_POSITION, true) => Ok(position),
        (AT_POSITION, false) => Ok(0),
        (_, false) => Err(Errno::ESPIPE),
        (offset, true) if offset > i64::MAX as u64 => Err(Errno::EINVAL),
        (offset, true) => Ok(offset),
    }
}

pub(super) fn seek<M: ResourceManager>(
    manager: &mut M,
    open: &mut OpenFile<M::File>,
    offset: u64,
    whence: u64,
) -> Result<u64, Refusal> {
    let from = match whence {
        0 => 0,
        1 => open.position,
        2 => manager.size(open),
        3 | 4 => {
            if offset >= manager.size(open) {
                return Err(Errno::ENXIO.into());
            }
            return manager.seek_data(open, offset, whence == 4);
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    // `offset` is signed.
    let position = (from as i64).checked_add(offset as i64).ok_or(Errno::EOVERFLOW)?;
    u64::try_from(position).map_err(|_| Errno::EINVAL.into())
}

pub(super) fn read_word(bytes: &[u8], index: usize) -> u64 {
    bytes.get(index * 8..index * 8 + 8).and_then(|word| word.try_into().ok()).map_or(0, u64::from_le_bytes)
}

pub(super) fn parse_times(bytes: &[u8]) -> Result<Times, Errno> {
    let times = Times {
        access_seconds: read_word(bytes, 0),
        access_nanoseconds: read_word(bytes, 1),
        modified_seconds: read_word(bytes, 2),
        modified_nanoseconds: read_word(bytes, 3),
    };
    for nanoseconds in [times.access_nanoseconds, times.modified_nanoseconds] {
        if nanoseconds >= 1_000_000_000 && nanoseconds != TIME_NOW && nanoseconds != TIME_OMIT {
            return Err(Errno::EINVAL);
        }
    }
    Ok(times)
}

pub(super) fn parse_lock(bytes: &[u8; 32]) -> Lock {
    let first = read_word(bytes, 0);
    Lock {
        kind: first as u16,
        whence: (first >> 16) as u16,
        padding: 0,
        start: read_word(bytes, 1),
        length: read_word(bytes, 2),
        pid: read_word(bytes, 3) as u32,
        padding_end: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Call, Data, Opened, open_flags};
    use super::*;

    #[test]
    fn paths_are_checked() {
        assert_eq!(path::<Fixed>(b"a/b"), Ok(&b"a/b"[..]));
        assert_eq!(path::<Fixed>(b"//a"), Ok(&b"a"[..]));
        assert_eq!(path::<Fixed>(b""), Ok(&b""[..]));
        assert_eq!(path::<Fixed>(b"a\0b"), Err(Errno::EINVAL));
        assert_eq!(path::<Fixed>(b"\x000123456789abcdef/x"), Err(Errno::EINVAL));
        assert_eq!(path::<Fixed>(&[b'a'; 4096]), Err(Errno::ENAMETOOLONG));
        assert!(path::<Fixed>(&[b'a'; 4095]).is_ok());
        assert_eq!(split(b"abc", 4), Err(Errno::EINVAL));
        assert_eq!(split(b"abc", u64::MAX), Err(Errno::EINVAL));
        assert_eq!(split(b"abc", 1), Ok((&b"a"[..], &b"bc"[..])));
    }

    #[test]
    fn places_of_reads_and_writes() {
        assert_eq!(place(AT_POSITION, 7, true), Ok(7));
        assert_eq!(place(AT_POSITION, 7, false), Ok(0));
        assert_eq!(place(3, 7, true), Ok(3));
        assert_eq!(place(3, 7, false), Err(Errno::ESPIPE));
        assert_eq!(place(1 << 63, 7, true), Err(Errno::EINVAL));
    }

    struct Fixed;

    impl ResourceManager for Fixed {
        type File = ();
        fn open(&mut self, _: &Call<'_>, _: &[u8], open: &Open) -> Result<Opened<()>, Refusal> {
            Ok(Opened::new((), open, 0, 0))
        }
        fn size(&mut self, _: &mut OpenFile<()>) -> u64 {
            100
        }
    }

    #[test]
    fn seeking_is_signed_and_checked() {
        let mut open = OpenFile { position: 10, ..OpenFile::default() };
        let mut go = |offset: i64, whence| seek(&mut Fixed, &mut open, offset as u64, whence);
        assert_eq!(go(5, 0), Ok(5));
        assert_eq!(go(-5, 1), Ok(5));
        assert_eq!(go(-100, 2), Ok(0));
        assert_eq!(go(-101, 2), Err(Errno::EINVAL.into()));
        assert_eq!(go(-1, 0), Err(Errno::EINVAL.into()));
        assert_eq!(go(i64::MAX, 1), Err(Errno::EOVERFLOW.into()));
        assert_eq!(go(99, 3), Ok(99));
        assert_eq!(go(99, 4), Ok(100));
        assert_eq!(go(100, 3), Err(Errno::ENXIO.into()));
        assert_eq!(go(0, 9), Err(Errno::EINVAL.into()));
    }

    #[test]
    fn access_modes() {
        let open = |flags| Open { flags, ..Open::default() };
        assert!(open(0).reads() && !open(0).writes());
        assert!(!open(1).reads() && open(1).writes());
        assert!(open(2).reads() && open(2).writes());
        assert!(!open(open_flags::PATH).reads() && !open(open_flags::PATH | 1).writes());
    }

    #[test]
    fn times_are_checked() {
        let words = |a: u64, b: u64| {
            let mut bytes = [0u8; 32];
            bytes[8..16].copy_from_slice(&a.to_le_bytes());
            bytes[24..32].copy_from_slice(&b.to_le_bytes());
            parse_times(&bytes)
        };
        assert!(words(TIME_NOW, TIME_OMIT).is_ok());
        assert!(words(999_999_999, 0).is_ok());
        assert_eq!(words(1_000_000_000, 0), Err(Errno::EINVAL));
        assert_eq!(words(0, u64::MAX), Err(Errno::EINVAL));
    }

    #[test]
    fn data_counts_what_it_lends() {
        let bytes = [1u8; 10];
        let mut data = Data::of(&bytes);
        assert!(data.add(&bytes[..3]) && data.add(&bytes) && data.add(&bytes));
        assert!(data.is_full() && !data.add(&bytes));
        assert_eq!((data.len(), data.segments().len()), (33, 4));
        assert_eq!(Data::moved(9).len(), 9);
    }
}
