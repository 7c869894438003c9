//! A native program's ELF: which pages are mapped straight from the archive, which are copied to memory of its own.

use abi::PAGE_SIZE;
use abi::object::access;
use elf::ElfBytes;
use elf::abi::{EM_X86_64, ET_EXEC, PF_R, PF_W, PF_X, PT_LOAD};
use elf::endian::LittleEndian;

/// Most segments of a program.
pub(crate) const SEGMENTS: usize = 8;
/// Programs lie below this address; what init maps into them begins here.
pub(crate) const IMAGE_END: u64 = runtime::start::RECORD_ADDRESS;

/// A run of pages of a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Page-aligned address.
    pub(crate) address: u64,
    /// Whole pages.
    pub(crate) length: u64,
    /// Access bits.
    pub(crate) access: u64,
    /// Where its first page's bytes are in the file; page-aligned if it is not writable.
    pub(crate) file_offset: u64,
    /// How many bytes of the file it begins with; the rest is zero.
    pub(crate) file_length: u64,
}

impl Segment {
    /// Whether it needs memory of its own.
    pub(crate) const fn is_private(&self) -> bool {
        self.access & access::WRITE != 0
    }
}

/// A program ready to be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    /// Where it starts.
    pub(crate) entry: u64,
    /// How many of `segments` count.
    count: usize,
    segments: [Segment; SEGMENTS],
}

impl Image {
    /// Look at an ELF file. Says what is wrong with it.
    pub(crate) fn parse(file: &[u8]) -> Result<Self, &'static str> {
        let elf = ElfBytes::<LittleEndian>::minimal_parse(file).map_err(|_| "not an ELF file")?;
        if elf.ehdr.e_type != ET_EXEC || elf.ehdr.e_machine != EM_X86_64 {
            return Err("not a static program for this processor");
        }
        let mut image = Self { entry: elf.ehdr.e_entry, count: 0, segments: [Segment::default(); SEGMENTS] };
        for header in elf.segments().ok_or("no segments")?.iter() {
            if header.p_type != PT_LOAD || header.p_memsz == 0 {
                continue;
            }
            let end = header.p_vaddr.checked_add(header.p_memsz).filter(|&end| end <= IMAGE_END);
            let end = end.ok_or("a segment lies outside the program's range")?.next_multiple_of(PAGE_SIZE);
            let file_end = header.p_offset.checked_add(header.p_filesz).ok_or("a segment's size overflows")?;
            if (header.p_filesz > 0 && file_end > file.len() as u64) || header.p_filesz > header.p_memsz {
                return Err("a segment is larger than its file");
            }
            if header.p_vaddr % PAGE_SIZE != 0 {
                return Err("a segment is not page-aligned");
            }
            let bit = |flag: u32, access: u64| if header.p_flags & flag == 0 { 0 } else { access };
            let segment = Segment {
                address: header.p_vaddr,
                length: end - header.p_vaddr,
                access: bit(PF_R, access::READ) | bit(PF_W, access::WRITE) | bit(PF_X, access::EXECUTE),
                file_offset: header.p_offset,
                file_length: header.p_filesz,
            };
            if segment.access & access::EXECUTE != 0 && segment.is_private() {
                return Err("a segment is writable and executable");
            }
            if !segment.is_private() && header.p_offset % PAGE_SIZE != 0 {
                return Err("a read-only segment is not page-aligned in the file");
            }
            if !segment.is_private() && header.p_filesz != header.p_memsz {
                return Err("a read-only segment is larger than its file");
            }
            *image.segments.get_mut(image.count).ok_or("too many segments")? = segment;
            image.count += 1;
        }
        if image.count == 0 { Err("nothing to load") } else { Ok(image) }
    }

    /// Its segments.
    pub(crate) fn segments(&self) -> &[Segment] {
        &self.segments[..self.count]
    }

    /// Bytes of memory of its own that it needs.
    pub(crate) fn private_length(&self) -> u64 {
        self.segments().iter().filter(|segment| segment.is_private()).map(|segment| segment.length).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    /// A file with these segments: flags, file offset, address, bytes in the file, bytes in memory.
    fn file(segments: &[(u32, u64, u64, u64, u64)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(*b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
        bytes.extend(ET_EXEC.to_le_bytes());
        bytes.extend(EM_X86_64.to_le_bytes());
        bytes.extend(1u32.to_le_bytes());
        bytes.extend(0x40_0000u64.to_le_bytes());
        bytes.extend(64u64.to_le_bytes());
        bytes.extend(0u64.to_le_bytes());
        bytes.extend(0u32.to_le_bytes());
        for half in [64u16, 56, segments.len() as u16, 64, 0, 0] {
            bytes.extend(half.to_le_bytes());
        }
        for &(flags, offset, address, in_file, in_memory) in segments {
            bytes.extend(PT_LOAD.to_le_bytes());
            bytes.extend(flags.to_le_bytes());
            for word in [offset, address, address, in_file, in_memory, PAGE_SIZE] {
                bytes.extend(word.to_le_bytes());
            }
        }
        bytes.resize(0x3000, 0);
        bytes
    }

    #[test]
    fn text_is_shared_and_data_is_private() {
        let image = Image::parse(&file(&[
            (PF_R | PF_X, 0x1000, 0x40_0000, 0x800, 0x800),
            (PF_R | PF_W, 0x2000, 0x40_1000, 0x10, 0x2001),
        ]))
        .expect("a program");
        assert_eq!(image.private_length(), 0x3000);
        let [text, data] = image.segments() else { panic!("two segments") };
        assert_eq!((text.length, text.access, text.is_private()), (0x1000, access::READ | access::EXECUTE, false));
        assert_eq!((data.length, data.file_length, data.is_private()), (0x3000, 0x10, true));
    }

    #[test]
    fn bad_files_are_refused() {
        let bad = |segment| Image::parse(&file(&[segment])).expect_err("bad");
        assert_eq!(bad((PF_R | PF_W | PF_X, 0, 0x40_0000, 1, 1)), "a segment is writable and executable");
        assert_eq!(bad((PF_R, 0x2000, 0x40_0000, 0x1001, 0x1001)), "a segment is larger than its file");
        assert_eq!(bad((PF_R, u64::MAX, 0x40_0000, 2, 2)), "a segment's size overflows");
        assert_eq!(bad((PF_R, 0, u64::MAX, 2, 2)), "a segment lies outside the program's range");
        assert_eq!(bad((PF_R, 0, IMAGE_END, 2, 2)), "a segment lies outside the program's range");
        assert_eq!(bad((PF_R, 0x10, 0x40_0010, 2, 2)), "a segment is not page-aligned");
        assert_eq!(Image::parse(b"#!/bin/sh"), Err("not an ELF file"));
        let whole = file(&[(PF_R, 0, 0x40_0000, 1, 1)]);
        for length in 0..120 {
            assert!(Image::parse(&whole[..length]).is_err());
        }
    }
}
