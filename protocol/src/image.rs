//! A new image for a POSIX process: what an ELF file asks for, the first [`stack()`], the blob for the personality library
//! ([`Start`]), and [`replace`], which brings all of it about by `Exec…` messages. `execve` and whoever starts a first process share it.
//!
//! [`Image::examine`] plans from the file's first bytes and touches nothing; whatever is wrong with a file is found there,
//! before anything is changed.

extern crate alloc;

mod load;
mod stack;
mod start;

use alloc::vec::Vec;

use abi::PAGE_SIZE;

use crate::Errno;
use crate::process::{LIBRARY_HEAP, PROGRAM_LOWEST};

pub use load::{commit, prepare, read_exactly, read_some, replace};
pub use stack::{Arguments, stack, strings};
pub use start::{Descriptor, Start, User};

/// How much of a file [`Image::examine`] wants to see (less only if the file is shorter).
pub const HEAD_LENGTH: usize = 4096;
/// Where position-independent programs are put.
pub const DYNAMIC_BASE: u64 = 0x1555_5555_4000;
/// Top of the first stack.
pub const STACK_TOP: u64 = abi::NATIVE_BASE - PAGE_SIZE;
/// Room for the first stack.
pub const STACK_LENGTH: u64 = 8 << 20;
/// Where the library of a new image finds room for its first thread: the address of its upcall block, too.
pub const TASK_ADDRESS: u64 = LIBRARY_HEAP;
/// Bytes of that room, zeroed: the thread's block and stack, and the beginning of the library's heap.
pub const TASK_LENGTH: u64 = 512 << 10;
/// Most bytes of arguments and environment, pointers included (a quarter of the stack, as on Linux).
pub const ARGUMENTS_MAXIMUM: u64 = STACK_LENGTH / 4;

const MACHINE_X86_64: u16 = 62;
const LOAD: u32 = 1;
const INTERPRETER: u32 = 3;
const HEADERS: u32 = 6;
const STACK: u32 = 0x6474_e551;
/// Most parts that are mapped.
const SEGMENTS: usize = 64;

/// A part of a program that is loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Address of its first byte.
    pub address: u64,
    /// Bytes in memory.
    pub memory_length: u64,
    /// Where its bytes begin in the file.
    pub file_offset: u64,
    /// Bytes in the file; the rest is zero.
    pub file_length: u64,
    /// PROT_* bits.
    pub access: u64,
}

impl Segment {
    fn first_page(&self) -> u64 {
        self.address & !(PAGE_SIZE - 1)
    }

    fn end(&self) -> u64 {
        self.address + self.memory_length
    }

    fn end_page(&self) -> u64 {
        self.end().next_multiple_of(PAGE_SIZE)
    }

    /// Whether whole pages can be shown from the file.
    fn is_congruent(&self) -> bool {
        self.address % PAGE_SIZE == self.file_offset % PAGE_SIZE
    }
}

/// What an ELF file asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Where it starts.
    pub entry: u64,
    /// What was added to its addresses.
    pub base: u64,
    /// Its parts in address order.
    pub segments: Vec<Segment>,
    /// Address of its program headers, 0 if they are not loaded.
    pub headers: u64,
    /// How many there are.
    pub header_count: u64,
    /// First address after it: where `brk` starts.
    pub end: u64,
    /// Whether its stack may be executed.
    pub executable_stack: bool,
    /// Where the path of the program that it needs to be loaded by lies in the file.
    pub interpreter: Option<(u64, u64)>,
}

fn number<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..offset.checked_add(N)?)?.try_into().ok()
}

fn half(bytes: &[u8], offset: usize) -> Option<u16> {
    number(bytes, offset).map(u16::from_le_bytes)
}

fn word(bytes: &[u8], offset: usize) -> Option<u32> {
    number(bytes, offset).map(u32::from_le_bytes)
}

fn long(bytes: &[u8], offset: usize) -> Option<u64> {
    number(bytes, offset).map(u64::from_le_bytes)
}

impl Image {
    /// Plan the image of a file that begins with `head` and is `file_length` bytes long.
    ///
    /// # Errors
    /// ENOEXEC for whatever is not a whole ELF program for this processor.
    pub fn examine(head: &[u8], file_length: u64) -> Result<Self, Errno> {
        Self::parse(head, file_length).ok_or(Errno::ENOEXEC)
    }

    fn parse(head: &[u8], file_length: u64) -> Option<Self> {
        let is_ours =
            head.get(..7)? == b"\x7fELF\x02\x01\x01" && half(head, 18)? == MACHINE_X86_64 && half(head, 54)? == 56;
        let base = match half(head, 16)? {
            2 => 0,
            3 => DYNAMIC_BASE,
            _ => return None,
        };
        let count = usize::from(half(head, 56)?);
        if !is_ours || count == 0 || count > SEGMENTS {
            return None;
        }
        let table = usize::try_from(long(head, 32)?).ok()?;
        let table = head.get(table..table.checked_add(count * 56)?)?;
        let mut image = Self {
            entry: long(head, 24)?.checked_add(base)?,
            base,
            segments: Vec::new(),
            headers: 0,
            header_count: count as u64,
            end: 0,
            executable_stack: false,
            interpreter: None,
        };
        for header in table.chunks_exact(56) {
            image.add(header, file_length)?;
        }
        image.finish(long(head, 32)?)
    }

    fn add(&mut self, header: &[u8], file_length: u64) -> Option<()> {
        let flags = word(header, 4)?;
        let (offset, address) = (long(header, 8)?, long(header, 16)?.checked_add(self.base)?);
        let (in_file, in_memory) = (long(header, 32)?, long(header, 40)?);
        match word(header, 0)? {
            LOAD if in_memory > 0 => {
                let end = address.checked_add(in_memory)?;
                let fits = in_file <= in_memory && offset.checked_add(in_file)? <= file_length;
                if !fits || address < PROGRAM_LOWEST || end > STACK_TOP - STACK_LENGTH {
                    return None;
                }
                let access = u64::from(flags >> 2 & 1 | flags & 2 | (flags & 1) << 2);
                self.segments.push(Segment {
                    address,
                    memory_length: in_memory,
                    file_offset: offset,
                    file_length: in_file,
                    access,
                });
            }
            INTERPRETER if in_file > 1 && in_file <= 4096 => self.interpreter = Some((offset, in_file - 1)),
            HEADERS => self.headers = address,
            STACK => self.executable_stack = flags & 1 != 0,
            _ => {}
        }
        Some(())
    }

    fn finish(mut self, table_offset: u64) -> Option<Self> {
        self.segments.sort_by_key(|segment| segment.address);
        let apart = self.segments.windows(2).all(|pair| pair[0].end() <= pair[1].address);
        self.end = self.segments.last()?.end_page();
        if self.headers == 0 {
            let holder = self.segments.iter().find(|segment| {
                (segment.file_offset..segment.file_offset + segment.file_length).contains(&table_offset)
            });
            self.headers = holder.map_or(0, |segment| segment.address + (table_offset - segment.file_offset));
        }
        apart.then_some(self)
    }
}

/// The first line of a script: its interpreter and at most one argument.
///
/// # Errors
/// ENOEXEC if it is not a script, or names no interpreter.
pub fn script(head: &[u8]) -> Result<(&[u8], Option<&[u8]>), Errno> {
    let line = head.strip_prefix(b"#!").ok_or(Errno::ENOEXEC)?;
    let line = &line[..line.len().min(254)];
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or(line).trim_ascii();
    let end = line.iter().position(|byte| matches!(byte, b' ' | b'\t')).unwrap_or(line.len());
    let (interpreter, argument) = line.split_at(end);
    let argument = argument.trim_ascii();
    if interpreter.is_empty() || interpreter.contains(&0) {
        return Err(Errno::ENOEXEC);
    }
    Ok((interpreter, (!argument.is_empty()).then_some(argument)))
}

#[cfg(test)]
mod tests {
    use super::start::put;
    use super::*;

    pub(super) fn header(kind: u32, flags: u32, offset: u64, address: u64, in_file: u64, in_memory: u64) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&kind.to_le_bytes());
        out.extend_from_slice(&flags.to_le_bytes());
        for value in [offset, address, address, in_file, in_memory, PAGE_SIZE] {
            put(&mut out, value);
        }
        out
    }

    pub(super) fn elf(kind: u16, headers: &[Vec<u8>]) -> Vec<u8> {
        let mut out = b"\x7fELF\x02\x01\x01".to_vec();
        out.resize(16, 0);
        out.extend_from_slice(&kind.to_le_bytes());
        out.extend_from_slice(&MACHINE_X86_64.to_le_bytes());
        out.extend_from_slice(&1u32.to_le_bytes());
        for value in [0x40_1000, 64, 0] {
            put(&mut out, value);
        }
        out.extend_from_slice(&0u32.to_le_bytes());
        for value in [64u16, 56, headers.len() as u16, 0, 0, 0] {
            out.extend_from_slice(&value.to_le_bytes());
        }
        out.extend(headers.iter().flatten());
        out
    }

    #[test]
    fn a_plain_program_is_planned() {
        let file =
            elf(2, &[header(LOAD, 5, 0, 0x40_0000, 0x1800, 0x1800), header(LOAD, 6, 0x1800, 0x40_2800, 0x100, 0x5000)]);
        let image = Image::examine(&file, 0x1900).expect("a program");
        assert_eq!((image.entry, image.base, image.end), (0x40_1000, 0, 0x40_8000));
        assert_eq!((image.headers, image.header_count), (0x40_0040, 2));
        assert_eq!((image.segments[0].access, image.segments[1].access), (5, 3));
    }

    #[test]
    fn a_position_independent_program_is_moved() {
        let image = Image::examine(&elf(3, &[header(LOAD, 4, 0, 0, 0x500, 0x500)]), 0x500).expect("a program");
        assert_eq!(image.segments[0].address, DYNAMIC_BASE);
        assert_eq!(image.entry, DYNAMIC_BASE + 0x40_1000);
    }

    #[test]
    fn what_is_no_program_is_refused() {
        let good = elf(2, &[header(LOAD, 5, 0, 0x40_0000, 0x1800, 0x1800)]);
        assert!(Image::examine(&good, 0x1800).is_ok());
        assert_eq!(Image::examine(&good, 0x17ff), Err(Errno::ENOEXEC), "truncated");
        for length in 0..good.len() {
            assert_eq!(Image::examine(&good[..length], 0x1800), Err(Errno::ENOEXEC), "{length} bytes");
        }
        let mut foreign = good;
        foreign[18] = 183;
        assert_eq!(Image::examine(&foreign, 0x1800), Err(Errno::ENOEXEC));
        for bad in [
            header(LOAD, 5, 0, 0, 1, 1),
            header(LOAD, 5, 0, abi::NATIVE_BASE, 1, 1),
            header(LOAD, 5, 0, u64::MAX - 1, 1, 100),
            header(LOAD, 5, u64::MAX - 1, 0x40_0000, 100, 100),
            header(LOAD, 5, 0, 0x40_0000, 100, 50),
        ] {
            assert_eq!(Image::examine(&elf(2, &[bad]), 0x1800), Err(Errno::ENOEXEC));
        }
        let overlapping = [header(LOAD, 5, 0, 0x40_0000, 0x1000, 0x1000), header(LOAD, 5, 0, 0x40_0800, 0x100, 0x100)];
        assert_eq!(Image::examine(&elf(2, &overlapping), 0x2000), Err(Errno::ENOEXEC));
    }

    #[test]
    fn random_bytes_are_no_program_and_no_panic() {
        let mut state = 1u64;
        let mut head = elf(2, &[header(LOAD, 5, 0, 0x40_0000, 0x1800, 0x1800)]);
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = (state >> 33) as usize % head.len();
            head[at] = (state >> 56) as u8;
            let _ = Image::examine(&head, 0x1800);
        }
    }

    #[test]
    fn scripts_name_an_interpreter_and_one_argument() {
        assert_eq!(script(b"#!/bin/sh\necho"), Ok((b"/bin/sh".as_slice(), None)));
        assert_eq!(script(b"#! /bin/awk  -f x \n"), Ok((b"/bin/awk".as_slice(), Some(b"-f x".as_slice()))));
        assert_eq!(script(b"#!\n"), Err(Errno::ENOEXEC));
        assert_eq!(script(b"\x7fELF"), Err(Errno::ENOEXEC));
    }
}
