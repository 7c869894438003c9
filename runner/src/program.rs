//! Whether a file is a program that Baton can run.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use elf::abi::{EI_CLASS, ELFCLASS64, EM_X86_64, ET_DYN, ET_EXEC, PT_INTERP};
use elf::endian::AnyEndian;
use elf::{ElfBytes, to_str};

use crate::error::{Error, NOT_EXECUTABLE, NOT_FOUND, Result, plain};

/// Bytes at the start of a file in which its program headers are looked for.
const HEAD_LENGTH: u64 = 64 * 1024;

/// Make sure that `file` is a static x86_64 Linux program.
///
/// # Errors
/// It is not, or cannot be read; with the status that a shell gives.
pub fn check(file: &Path) -> Result<()> {
    let name = file.display();
    let refuse = |why: &str| Err(Error::new(format!("{name}: {why}")).with_status(NOT_EXECUTABLE));
    // Before it is opened: opening a pipe would wait for a writer.
    let status = match fs::metadata(file) {
        Ok(status) if status.is_dir() => return refuse("a directory, not a program"),
        Ok(status) if !status.is_file() => return refuse("not a program, nor a file"),
        Ok(status) => status,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Error::new(format!("{name}: no such file")).with_status(NOT_FOUND));
        }
        Err(error) => return refuse(&plain(&error)),
    };
    let may_be_executed = || {
        if status.permissions().mode() & 0o111 == 0 { refuse("not executable (chmod +x makes it so)") } else { Ok(()) }
    };
    let mut head = Vec::new();
    if let Err(error) = File::open(file).and_then(|file| file.take(HEAD_LENGTH).read_to_end(&mut head)) {
        return refuse(&plain(&error));
    }
    if head.starts_with(b"#!") {
        // A script: its interpreter is looked for in the guest.
        return may_be_executed();
    }
    if !head.starts_with(b"\x7fELF") {
        return refuse("not a program (neither ELF nor #!)");
    }
    if head.get(EI_CLASS) != Some(&ELFCLASS64) {
        return refuse("a 32-bit program, not one for x86_64");
    }
    // We have only the head of the file: the section headers at its end are not there to be checked.
    if let Some(section_headers) = head.get_mut(0x28..0x30) {
        section_headers.fill(0);
    }
    let Ok(elf) = ElfBytes::<AnyEndian>::minimal_parse(&head) else {
        return refuse("a damaged ELF file");
    };
    let header = elf.ehdr;
    if header.e_machine != EM_X86_64 {
        let machine = to_str::e_machine_to_string(header.e_machine);
        return refuse(&format!("a program for another processor ({machine}), not for x86_64"));
    }
    if header.e_type != ET_EXEC && header.e_type != ET_DYN {
        return refuse("an ELF file, but not a program");
    }
    let Some(segments) = elf.segments() else {
        return refuse("a damaged ELF file");
    };
    if segments.iter().any(|segment| segment.p_type == PT_INTERP) {
        return refuse("dynamically linked; Baton runs static programs (link it with -static)");
    }
    may_be_executed()
}
