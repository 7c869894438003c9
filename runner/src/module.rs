//! The boot module: init laid out as it is mapped, then the boot archive (layout: [`abi::boot`]).

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use abi::PAGE_SIZE;
use abi::boot::{INIT_SEGMENTS, InitSegment, MODULE_MAGIC, MODULE_VERSION, ModuleHeader};
use abi::object::access;
use elf::ElfBytes;
use elf::abi::{PF_R, PF_W, PF_X, PT_LOAD};
use elf::endian::LittleEndian;
use elf::segment::ProgramHeader;

use crate::archive::{Tree, pad, pages};
use crate::error::{Context, Error, Result};

/// Write the module with the program `init` and the archive `tree` to `file`.
///
/// # Errors
/// `init` is no program that can be laid out, or the file cannot be written.
pub fn write(init: &Path, tree: &Tree, file: &Path) -> Result<()> {
    let program = fs::read(init).context(|| format!("cannot read {}", init.display()))?;
    let (header, image) = lay_out(&program, tree.length()).map_err(|error| Error::new(format!("init: {error}")))?;
    let cannot = || format!("cannot write {}", file.display());
    let mut output = BufWriter::with_capacity(1 << 20, File::create(file).context(cannot)?);
    let header = encode(&header);
    output.write_all(&header).context(cannot)?;
    pad(header.len() as u64, &mut output).context(cannot)?;
    output.write_all(&image).context(cannot)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    tree.write(now, &mut output)?;
    output.flush().context(cannot)
}

/// The header, and init's segments one after the other.
fn lay_out(program: &[u8], archive_length: u64) -> Result<(ModuleHeader, Vec<u8>)> {
    let elf = ElfBytes::<LittleEndian>::minimal_parse(program).context(|| "not a good ELF file".into())?;
    let mut header = ModuleHeader {
        magic: MODULE_MAGIC,
        version: MODULE_VERSION,
        entry: elf.ehdr.e_entry,
        archive_length,
        ..ModuleHeader::default()
    };
    let mut image = Vec::new();
    let segments = elf.segments().ok_or_else(|| Error::new("no segments"))?;
    for segment in segments.iter().filter(|segment| segment.p_type == PT_LOAD && segment.p_memsz > 0) {
        let index = header.segment_count as usize;
        if index == INIT_SEGMENTS {
            return Err(Error::new(format!("more than {INIT_SEGMENTS} segments")));
        }
        let start = segment.p_vaddr - segment.p_vaddr % PAGE_SIZE;
        let length = pages(segment.p_vaddr + segment.p_memsz - start);
        header.segments[index] =
            InitSegment { offset: PAGE_SIZE + image.len() as u64, address: start, length, access: access_of(&segment) };
        header.segment_count += 1;
        let data = elf.segment_data(&segment).context(|| "a segment outside the file".into())?;
        let begin = image.len();
        image.resize(begin + length as usize, 0);
        let data_begin = begin + (segment.p_vaddr - start) as usize;
        image[data_begin..data_begin + data.len()].copy_from_slice(data);
    }
    for (earlier, later) in header.segments.iter().zip(&header.segments[1..header.segment_count as usize]) {
        if earlier.address + earlier.length > later.address {
            return Err(Error::new("two segments share a page: align them in the linker script"));
        }
    }
    header.archive_offset = PAGE_SIZE + image.len() as u64;
    Ok((header, image))
}

fn access_of(segment: &ProgramHeader) -> u64 {
    let bits = [(PF_R, access::READ), (PF_W, access::WRITE), (PF_X, access::EXECUTE)];
    bits.iter().filter(|(flag, _)| segment.p_flags & flag != 0).map(|(_, bit)| bit).sum()
}

fn encode(header: &ModuleHeader) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size_of::<ModuleHeader>());
    bytes.extend(header.magic.to_le_bytes());
    bytes.extend(header.version.to_le_bytes());
    bytes.extend(header.segment_count.to_le_bytes());
    for number in [header.entry, header.archive_offset, header.archive_length] {
        bytes.extend(number.to_le_bytes());
    }
    for segment in &header.segments {
        for number in [segment.offset, segment.address, segment.length, segment.access] {
            bytes.extend(number.to_le_bytes());
        }
    }
    debug_assert_eq!(bytes.len(), size_of::<ModuleHeader>());
    bytes
}

/// A program's ELF file without what only debuggers read.
///
/// # Errors
/// It is no ELF file.
pub fn stripped(program: &[u8]) -> Result<Vec<u8>> {
    let elf = ElfBytes::<LittleEndian>::minimal_parse(program).context(|| "not a good ELF file".into())?;
    let header = elf.ehdr;
    let mut end = header.e_phoff + u64::from(header.e_phnum) * u64::from(header.e_phentsize);
    for segment in elf.segments().into_iter().flatten().filter(|segment| segment.p_filesz > 0) {
        end = end.max(segment.p_offset + segment.p_filesz);
    }
    let end = usize::try_from(end).unwrap_or(usize::MAX);
    let mut bytes = program.get(..end).ok_or_else(|| Error::new("a segment outside the file"))?.to_vec();
    // No section headers any more: offset, then count and index of names.
    bytes[0x28..0x30].fill(0);
    bytes[0x3c..0x40].fill(0);
    Ok(bytes)
}
