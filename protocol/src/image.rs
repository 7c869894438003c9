//! A new image for a POSIX process: what an ELF file asks for, the first stack, the blob for the personality library, and
//! [`replace`], which brings all of it about by `Exec…` messages. `execve` and whoever starts a first process share it.
//!
//! [`Image::examine`] plans from the file's first bytes and touches nothing; whatever is wrong with a file is found there,
//! before anything is changed. The blob ([`Start`]) is written by [`Start::encode`] and read by the library of the new image with
//! [`Start::decode`].

extern crate alloc;

use alloc::vec;
use alloc::vec::Vec;

use abi::{Handle, PAGE_SIZE, Rights};
use runtime::{Buffers, Options};

use crate::process::{BLOB_ADDRESS, BLOB_MAXIMUM, LIBRARY_HEAP, map_flags};
use crate::{Errno, Failure, file, process};

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
                if !fits || address < process::PROGRAM_LOWEST || end > STACK_TOP - STACK_LENGTH {
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

fn put(out: &mut Vec<u8>, value: u64) {
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

/// What a program is told about itself and its machine, beside what its image says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    /// `argv`: each string ended by a zero byte.
    pub arguments: Vec<u8>,
    /// `envp`: each string ended by a zero byte.
    pub environment: Vec<u8>,
    /// The path as it was named (AT_EXECFN).
    pub name: Vec<u8>,
    /// 16 random bytes (AT_RANDOM).
    pub random: [u8; 16],
    /// CPUID leaf 1, `edx` (AT_HWCAP).
    pub capabilities: u64,
    /// Least size of a signal stack (AT_MINSIGSTKSZ).
    pub signal_stack: u64,
}

fn count(strings: &[u8]) -> u64 {
    strings.iter().filter(|byte| **byte == 0).count() as u64
}

/// Pointers to each of `strings`, which lie at `address`.
fn pointers(out: &mut Vec<u8>, strings: &[u8], mut address: u64) {
    for string in strings.split_inclusive(|byte| *byte == 0) {
        put(out, address);
        address += string.len() as u64;
    }
    put(out, 0);
}

/// The bytes that the first stack ends with, and where they begin: the first stack pointer.
///
/// # Errors
/// E2BIG.
pub fn stack(image: &Image, arguments: &Arguments, user: &User) -> Result<(u64, Vec<u8>), Errno> {
    const PLATFORM: &[u8] = b"x86_64\0";
    let mut name = arguments.name.clone();
    name.push(0);
    // From the top: 8 zero bytes, the name, the environment, the arguments, the platform, 16 random bytes, all 16-aligned.
    let name_at = STACK_TOP - 8 - name.len() as u64;
    let environment_at = name_at.checked_sub(arguments.environment.len() as u64).ok_or(Errno::E2BIG)?;
    let arguments_at = environment_at.checked_sub(arguments.arguments.len() as u64).ok_or(Errno::E2BIG)?;
    let platform_at = arguments_at - PLATFORM.len() as u64;
    let random_at = (platform_at - 16) & !15;
    let vector = [
        (3, image.headers),
        (4, 56),
        (5, image.header_count),
        (6, PAGE_SIZE),
        (7, 0),
        (8, 0),
        (9, image.entry),
        (11, u64::from(user.user[0])),
        (12, u64::from(user.user[1])),
        (13, u64::from(user.group[0])),
        (14, u64::from(user.group[1])),
        (15, platform_at),
        (16, arguments.capabilities),
        (17, 100),
        (23, 0),
        (25, random_at),
        (26, 0),
        (31, name_at),
        (51, arguments.signal_stack),
        (0, 0),
    ];
    let argument_count = count(&arguments.arguments);
    let words = 1 + argument_count + 1 + count(&arguments.environment) + 1 + 2 * vector.len() as u64;
    let pointer = random_at.checked_sub(words * 8).ok_or(Errno::E2BIG)? & !15;
    if STACK_TOP - pointer > ARGUMENTS_MAXIMUM {
        return Err(Errno::E2BIG);
    }
    let mut out = Vec::new();
    out.try_reserve((STACK_TOP - pointer) as usize).map_err(|_| Errno::ENOMEM)?;
    put(&mut out, argument_count);
    pointers(&mut out, &arguments.arguments, arguments_at);
    pointers(&mut out, &arguments.environment, environment_at);
    for (key, value) in vector {
        put(&mut out, key);
        put(&mut out, value);
    }
    out.resize((random_at - pointer) as usize, 0);
    out.extend_from_slice(&arguments.random);
    out.resize((platform_at - pointer) as usize, 0);
    for text in [PLATFORM, &arguments.arguments, &arguments.environment, &name, &[0; 8]] {
        out.extend_from_slice(text);
    }
    Ok((pointer, out))
}

/// How often a message is repeated because a buffer was not present.
const ATTEMPTS: usize = 1000;

/// Repeat a message as long as its server asks for it.
fn insist<T>(mut attempt: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    for _ in 0..ATTEMPTS {
        match attempt() {
            Err(Failure::Retry | Failure::Kernel(abi::Error::LenderFault | abi::Error::BadAddress)) => {}
            result => return result,
        }
    }
    attempt()
}

/// Read all of `bytes` from an open file at `offset`.
///
/// # Errors
/// EIO if the file is shorter; else what its server says.
pub fn read_exactly(file: Handle, mut offset: u64, mut bytes: &mut [u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        let count = read_some(file, offset, bytes)?;
        if count == 0 {
            return Err(Errno::EIO);
        }
        offset += count as u64;
        bytes = &mut bytes[count..];
    }
    Ok(())
}

/// Read up to `bytes` from an open file at `offset`; fewer only at its end.
///
/// # Errors
/// What its server says.
pub fn read_some(file: Handle, offset: u64, bytes: &mut [u8]) -> Result<usize, Errno> {
    let length = bytes.len();
    let answer = insist(|| {
        // A fork may have made the buffer copy-on-write.
        for page in bytes.chunks_mut(PAGE_SIZE as usize) {
            page[0] = core::hint::black_box(0);
        }
        file::read(file, offset, 0, &mut Buffers::new().receive(bytes), Options::NONE)
    });
    answer.map(|answer| length.min(answer.count as usize)).map_err(Failure::errno)
}

fn write(connection: Handle, mut address: u64, bytes: &[u8]) -> Result<(), Errno> {
    const CHUNK: usize = 64 << 10;
    for chunk in bytes.chunks(CHUNK) {
        insist(|| process::exec_write(connection, address, &mut Buffers::new().send(chunk), Options::NONE))
            .map_err(Failure::errno)?;
        address += chunk.len() as u64;
    }
    Ok(())
}

/// Zeroed memory in the new image. `flags`: [`map_flags`].
fn map_zeroed(connection: Handle, address: u64, length: u64, access: u64, flags: u64) -> Result<(), Errno> {
    if length == 0 {
        return Ok(());
    }
    process::exec_map(connection, address, length, access | flags << 8, 0, &mut Buffers::new(), Options::NONE)
        .map(drop)
        .map_err(Failure::errno)
}

/// Map `length` bytes of the file from `offset` on, if its server can show them. Whether it could.
fn map_file(
    connection: Handle,
    file: Handle,
    address: u64,
    length: u64,
    offset: u64,
    access: u64,
) -> Result<bool, Errno> {
    let slot = runtime::handle::reserve().map_err(|error| Failure::from(error).errno())?;
    let slot = runtime::OwnedHandle::new(slot);
    let shown = file::map(file, offset, length, 0, &mut Buffers::new().take(slot.handle()), Options::NONE);
    let Ok(shown) = shown else { return Ok(false) };
    if shown.length.next_multiple_of(PAGE_SIZE) < length || !shown.memory_offset.is_multiple_of(PAGE_SIZE) {
        return Ok(false);
    }
    let mut buffers = Buffers::new().give(slot.handle(), Rights::ALL);
    process::exec_map(connection, address, length, access, shown.memory_offset, &mut buffers, Options::NONE)
        .map(|_| true)
        .map_err(Failure::errno)
}

fn copy(connection: Handle, file: Handle, segment: &Segment, from: u64, bounce: &mut [u8]) -> Result<(), Errno> {
    let mut done = from;
    while done < segment.file_length {
        let part = bounce.len().min((segment.file_length - done) as usize);
        read_exactly(file, segment.file_offset + done, &mut bounce[..part])?;
        write(connection, segment.address + done, &bounce[..part])?;
        done += part as u64;
    }
    Ok(())
}

/// Load one segment; `below` is the first page that is not taken yet, by what lies below it. The access of a page shared by two is that of the first and WRITE.
fn load_segment(
    connection: Handle,
    file: Handle,
    segment: &Segment,
    below: u64,
    bounce: &mut [u8],
) -> Result<(), Errno> {
    let first = segment.first_page().max(below);
    let lead = first.saturating_sub(segment.address);
    // Whole pages of file content; the last one too, if nothing but zeros of its own could follow in it.
    let content_end = segment.address + segment.file_length;
    let shown_end = if segment.memory_length > segment.file_length || segment.access & 2 != 0 {
        content_end & !(PAGE_SIZE - 1)
    } else {
        content_end.next_multiple_of(PAGE_SIZE)
    };
    let mut shown = 0;
    if segment.is_congruent() && shown_end > first {
        let offset = segment.file_offset - (segment.address - segment.first_page()) + (first - segment.first_page());
        if map_file(connection, file, first, shown_end - first, offset, segment.access)? {
            shown = shown_end - first;
        }
    }
    let rest = first + shown;
    if segment.end_page() > rest {
        map_zeroed(connection, rest, segment.end_page() - rest, segment.access, 0)?;
    }
    if shown == 0 {
        return copy(connection, file, segment, 0, bounce);
    }
    if lead > 0 {
        let head = Segment { file_length: lead.min(segment.file_length), ..*segment };
        copy(connection, file, &head, 0, bounce)?;
    }
    copy(connection, file, segment, rest - segment.address, bounce)
}

fn load(connection: Handle, file: Handle, image: &Image) -> Result<(), Errno> {
    let mut bounce = Vec::new();
    bounce.try_reserve_exact(64 << 10).map_err(|_| Errno::ENOMEM)?;
    bounce.resize(64 << 10, 0);
    let mut below = 0;
    for segment in &image.segments {
        load_segment(connection, file, segment, below, &mut bounce)?;
        below = segment.end_page();
    }
    Ok(())
}

fn build(
    connection: Handle,
    file: Handle,
    image: &Image,
    arguments: &Arguments,
    start: &mut Start,
) -> Result<(), Errno> {
    load(connection, file, image)?;
    let (pointer, bytes) = stack(image, arguments, &start.user)?;
    let access = if image.executable_stack { 7 } else { 3 };
    map_zeroed(
        connection,
        STACK_TOP - STACK_LENGTH,
        STACK_LENGTH,
        access,
        map_flags::GROWS_DOWN | map_flags::NO_RESERVE,
    )?;
    write(connection, pointer, &bytes)?;
    map_zeroed(connection, TASK_ADDRESS, TASK_LENGTH, 3, map_flags::LIBRARY | map_flags::NO_RESERVE)?;
    (start.entry, start.stack, start.program_break) = (image.entry, pointer, image.end);
    write(connection, BLOB_ADDRESS, &start.encode())?;
    let mut kept: Vec<u64> =
        start.descriptors.iter().flat_map(|descriptor| [descriptor.handle, descriptor.writer]).collect();
    kept.retain(|handle| *handle != 0);
    kept.sort_unstable();
    kept.dedup();
    for part in kept.chunks(512) {
        let bytes: Vec<u8> = part.iter().flat_map(|handle| handle.to_le_bytes()).collect();
        insist(|| process::exec_keep(connection, &mut Buffers::new().send(&bytes), Options::NONE))
            .map_err(Failure::errno)?;
    }
    Ok(())
}

/// Give the process of `connection` a new image: `image`, of the open `file`. If it works, and the process is the caller's, this does not return.
///
/// # Errors
/// Whatever went wrong; then the old image is as it was.
pub fn replace(
    connection: Handle,
    file: Handle,
    image: &Image,
    arguments: &Arguments,
    start: &mut Start,
) -> Result<(), Errno> {
    let names = prepare(connection, file, image, arguments, start)?;
    commit(connection, &names)
}

/// The first part of [`replace`], with all that can fail for want of anything: build the new image beside the old one. Gives
/// what [`commit`] is to tell. The caller can free everything else before that.
///
/// # Errors
/// Whatever went wrong; then the new image is given up.
pub fn prepare(
    connection: Handle,
    file: Handle,
    image: &Image,
    arguments: &Arguments,
    start: &mut Start,
) -> Result<Vec<u8>, Errno> {
    process::exec_begin(connection, &mut Buffers::new(), Options::NONE).map_err(Failure::errno)?;
    let mut names = tool_name(&arguments.name);
    names.push(0);
    names.extend_from_slice(&arguments.arguments);
    names.truncate(64 << 10);
    match build(connection, file, image, arguments, start) {
        Ok(()) => Ok(names),
        Err(error) => {
            give_up(connection);
            Err(error)
        }
    }
}

/// The new image takes the old one's place.
///
/// # Errors
/// The service refused; then the old image is as it was.
pub fn commit(connection: Handle, names: &[u8]) -> Result<(), Errno> {
    match insist(|| process::exec_commit(connection, TASK_ADDRESS, &mut Buffers::new().send(names), Options::NONE)) {
        Ok(_) => Ok(()),
        Err(failure) => {
            give_up(connection);
            Err(failure.errno())
        }
    }
}

fn give_up(connection: Handle) {
    // What cannot be given up is gone with the process.
    let _ = process::exec_abort(connection, &mut Buffers::new(), Options::NONE);
}

/// The name for tools: the last component, at most 15 bytes.
fn tool_name(path: &[u8]) -> Vec<u8> {
    let last = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    last[..last.len().min(15)].to_vec()
}

/// Strings as `argv` and `envp` of [`Arguments`] have them.
#[must_use]
pub fn strings<'a>(texts: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = vec![];
    for text in texts {
        out.extend_from_slice(text);
        out.push(0);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(kind: u32, flags: u32, offset: u64, address: u64, in_file: u64, in_memory: u64) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&kind.to_le_bytes());
        out.extend_from_slice(&flags.to_le_bytes());
        for value in [offset, address, address, in_file, in_memory, PAGE_SIZE] {
            put(&mut out, value);
        }
        out
    }

    fn elf(kind: u16, headers: &[Vec<u8>]) -> Vec<u8> {
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

    #[test]
    fn a_stack_holds_arguments_environment_and_vector() {
        let image =
            Image::examine(&elf(2, &[header(LOAD, 5, 0, 0x40_0000, 0x1800, 0x1800)]), 0x1800).expect("a program");
        let arguments = Arguments {
            arguments: strings([b"sh".as_slice(), b"-c", b""]),
            environment: strings([b"A=1".as_slice()]),
            name: b"/bin/sh".to_vec(),
            random: [7; 16],
            ..Arguments::default()
        };
        let (pointer, bytes) = stack(&image, &arguments, &User::default()).expect("small");
        assert_eq!(pointer % 16, 0);
        assert_eq!(pointer + bytes.len() as u64, STACK_TOP);
        let at = |address: u64| long(&bytes, (address - pointer) as usize).expect("inside");
        let text =
            |address: u64| bytes[(address - pointer) as usize..].split(|byte| *byte == 0).next().expect("a string");
        assert_eq!(at(pointer), 3);
        assert_eq!(text(at(pointer + 16)), b"-c");
        assert_eq!(at(pointer + 32), 0);
        assert_eq!(text(at(pointer + 40)), b"A=1");
        assert_eq!(at(pointer + 48), 0);
        let vector: Vec<(u64, u64)> = (0..)
            .map(|index| pointer + 56 + 16 * index)
            .map(|here| (at(here), at(here + 8)))
            .take_while(|pair| pair.0 != 0)
            .collect();
        let value = |key| vector.iter().find(|pair| pair.0 == key).expect("present").1;
        assert_eq!((value(9), value(3), value(6)), (0x40_1000, 0x40_0040, 4096));
        assert_eq!(text(value(31)), b"/bin/sh");
        assert_eq!(text(value(15)), b"x86_64");
        assert_eq!(&bytes[(value(25) - pointer) as usize..][..16], &[7; 16]);
    }

    #[test]
    fn too_many_arguments_are_e2big() {
        let image =
            Image::examine(&elf(2, &[header(LOAD, 5, 0, 0x40_0000, 0x1800, 0x1800)]), 0x1800).expect("a program");
        let arguments = Arguments { arguments: vec![0; ARGUMENTS_MAXIMUM as usize / 8], ..Arguments::default() };
        assert_eq!(stack(&image, &arguments, &User::default()), Err(Errno::E2BIG));
    }

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
