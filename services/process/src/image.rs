//! The personality library: an ELF file in the boot archive, mapped into every POSIX process.
//!
//! What is only read is shown straight from the archive; of what is written there is one frame for all until somebody writes.

use alloc::rc::Rc;
use alloc::vec::Vec;

use abi::{NATIVE_BASE, PAGE_SIZE, USER_END};
use protocol::Errno;
use protocol::process::{LIBRARY_ADDRESS, LIBRARY_MAGIC, LibraryHeader, map_flags};

use crate::area::{Area, Backing, Kind, WRITE};
use crate::frames::Frame;
use crate::kernel::PassedMemory;
use crate::ram::Ram;
use crate::space::Space;
use crate::window;

/// What a segment's pages come from.
enum Source {
    /// The archive, from this byte on.
    Archive(u64),
    /// Frames by page; pages without one are zeros.
    Frames(Vec<Option<Frame>>),
}

struct Segment {
    start: u64,
    end: u64,
    access: u8,
    source: Source,
}

/// The library.
pub(crate) struct Image {
    /// Its entries.
    pub(crate) header: LibraryHeader,
    archive: Rc<PassedMemory>,
    segments: Vec<Segment>,
}

/// A loadable part of an ELF file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    /// Virtual address.
    pub(crate) address: u64,
    /// Bytes in memory.
    pub(crate) memory: u64,
    /// Offset in the file.
    pub(crate) offset: u64,
    /// Bytes in the file.
    pub(crate) file: u64,
    /// PROT_* bits.
    pub(crate) access: u8,
}

fn number(bytes: &[u8], offset: u64, size: usize) -> Option<u64> {
    let start = usize::try_from(offset).ok()?;
    let field = bytes.get(start..start.checked_add(size)?)?;
    Some(field.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
}

/// The loadable parts of a 64-bit little-endian ELF file for fixed addresses. Bad data gives `None`.
#[must_use]
pub(crate) fn loads(file: &[u8]) -> Option<Vec<Load>> {
    if file.get(..6)? != b"\x7fELF\x02\x01" || number(file, 16, 2)? != 2 {
        return None;
    }
    let (table, size, count) = (number(file, 32, 8)?, number(file, 54, 2)?, number(file, 56, 2)?);
    let mut loads = Vec::new();
    for index in 0..count.min(64) {
        let at = table.checked_add(index * size)?;
        if number(file, at, 4)? != 1 {
            continue;
        }
        let flags = number(file, at + 4, 4)?;
        let load = Load {
            address: number(file, at + 16, 8)?,
            memory: number(file, at + 40, 8)?,
            offset: number(file, at + 8, 8)?,
            file: number(file, at + 32, 8)?,
            // PF_X 1, PF_W 2, PF_R 4 against PROT_READ 1, WRITE 2, EXEC 4.
            access: (flags >> 2 & 1 | flags & 2 | (flags & 1) << 2) as u8,
        };
        let fits = load.file <= load.memory
            && load.offset.checked_add(load.file).is_some_and(|end| end <= file.len() as u64)
            && load.address >= NATIVE_BASE
            && load.address.checked_add(load.memory).is_some_and(|end| end <= USER_END);
        if !fits {
            return None;
        }
        if load.memory > 0 {
            loads.push(load);
        }
    }
    loads.sort_by_key(|load| load.address);
    let page = |address: u64| address / PAGE_SIZE;
    let apart = loads.windows(2).all(|pair| page(pair[0].address + pair[0].memory - 1) < page(pair[1].address));
    (apart && !loads.is_empty()).then_some(loads)
}

impl Image {
    /// Prepare a library: `file` is its bytes, `offset` where they are in the archive.
    #[must_use]
    pub(crate) fn new(file: &[u8], archive: Rc<PassedMemory>, offset: u64, ram: &mut Ram) -> Option<Self> {
        let loads = loads(file)?;
        let at =
            loads.iter().find(|load| load.address <= LIBRARY_ADDRESS && LIBRARY_ADDRESS < load.address + load.file)?;
        let start = at.offset + (LIBRARY_ADDRESS - at.address);
        let field = |index: u64| number(file, start + 8 * index, 8);
        let header = LibraryHeader {
            magic: field(0)?,
            start: field(1)?,
            syscall: field(2)?,
            interrupt: field(3)?,
            fault: field(4)?,
            window_start: field(5)?,
            window_end: field(6)?,
        };
        if header.magic != LIBRARY_MAGIC {
            return None;
        }
        let mut segments = Vec::new();
        for load in loads {
            let (first, end) =
                (load.address & !(PAGE_SIZE - 1), (load.address + load.memory).next_multiple_of(PAGE_SIZE));
            let place = offset + load.offset;
            let direct =
                load.access & WRITE == 0 && load.file == load.memory && place % PAGE_SIZE == load.address % PAGE_SIZE;
            let source = if direct {
                Source::Archive(place & !(PAGE_SIZE - 1))
            } else {
                Source::Frames(frames(file, &load, ram)?)
            };
            segments.push(Segment { start: first, end, access: load.access, source });
        }
        Some(Self { header, archive, segments })
    }

    /// Map it into a space.
    pub(crate) fn map_into(&self, space: &mut Space, ram: &mut Ram) -> Result<(), Errno> {
        let flags = map_flags::FIXED | map_flags::LIBRARY;
        for segment in &self.segments {
            let length = segment.end - segment.start;
            let backing = match segment.source {
                Source::Archive(offset) => Backing::Memory(self.archive.clone(), offset),
                Source::Frames(_) => Backing::Anonymous,
            };
            space.map(ram, segment.start, length, u64::from(segment.access), flags, backing)?;
            if let Source::Frames(frames) = &segment.source {
                let kind = Kind::anonymous(segment.access, map_flags::LIBRARY as u8);
                let area = Area { start: segment.start, end: segment.end, kind };
                space.show_shared(ram, &area, frames)?;
            }
        }
        Ok(())
    }
}

/// Frames with a segment's bytes, used once by the image itself.
fn frames(file: &[u8], load: &Load, ram: &mut Ram) -> Option<Vec<Option<Frame>>> {
    let first = load.address & !(PAGE_SIZE - 1);
    let pages = (load.address + load.memory).next_multiple_of(PAGE_SIZE) - first;
    let bytes = &file[load.offset as usize..(load.offset + load.file) as usize];
    let mut frames = Vec::new();
    for page in 0..pages / PAGE_SIZE {
        let start = first + page * PAGE_SIZE;
        let (from, to) = (start.max(load.address), (start + PAGE_SIZE).min(load.address + load.file));
        if from >= to {
            frames.push(None);
            continue;
        }
        ram.charge(1).ok()?;
        let (frame, _) = ram.zeroed(1)?;
        let part = &bytes[(from - load.address) as usize..(to - load.address) as usize];
        window::write(ram.frames.physical(frame) + (from - start), part);
        frames.push(Some(frame));
    }
    Some(frames)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use abi::Handle;

    /// A library of three pages: its header and code, data, zeros.
    pub(crate) fn file() -> Vec<u8> {
        let mut file = vec![0u8; 0x2010];
        let put = |file: &mut Vec<u8>, at: usize, value: u64, size: usize| {
            file[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
        };
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        for (at, value, size) in [(16, 2, 2), (32, 64, 8), (54, 56, 2), (56, 2, 2)] {
            put(&mut file, at, value, size);
        }
        let segments =
            [(5, 0x1000, LIBRARY_ADDRESS, 0x1000, 0x1000), (6, 0x2000, LIBRARY_ADDRESS + 0x1000, 0x10, 0x1800)];
        for (index, (flags, offset, address, in_file, in_memory)) in segments.into_iter().enumerate() {
            let at = 64 + 56 * index;
            let fields =
                [(0, 1, 4), (4, flags, 4), (8, offset, 8), (16, address, 8), (32, in_file, 8), (40, in_memory, 8)];
            for (field, value, size) in fields {
                put(&mut file, at + field, value, size);
            }
        }
        put(&mut file, 0x1000, LIBRARY_MAGIC, 8);
        put(&mut file, 0x1008, LIBRARY_ADDRESS + 0x100, 8);
        file[0x2000..].copy_from_slice(b"library data....");
        file
    }

    #[test]
    fn a_library_is_read_and_bad_ones_are_refused() {
        let file = file();
        let loads = loads(&file).unwrap_or_default();
        assert_eq!((loads.len(), loads[0].access, loads[1].access), (2, 5, 3));
        for at in [0, 4, 16, 64 + 40 + 7, 64 + 8 + 7] {
            let mut broken = file.clone();
            broken[at] ^= 0x7f;
            assert!(super::loads(&broken).is_none_or(|loads| loads.len() < 2), "{at}");
        }
        assert!(super::loads(&file[..100]).is_none());
    }

    #[test]
    fn the_header_and_frames_come_from_the_file() {
        let mut ram = crate::ram::tests::ram(100);
        let archive = Rc::new(PassedMemory { handle: Handle(5), length: 1 << 20, base: 0 });
        let image = Image::new(&file(), archive, 0x4000, &mut ram);
        let Some(image) = image else { panic!("refused") };
        assert_eq!(image.header.start, LIBRARY_ADDRESS + 0x100);
        assert!(matches!(image.segments[0].source, Source::Archive(0x5000)));
        assert!(
            matches!(&image.segments[1].source, Source::Frames(frames) if frames.len() == 2 && frames[1].is_none())
        );
    }
}
