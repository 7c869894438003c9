//! How large the kernel is, and which of its source files makes how much of that.

use std::collections::BTreeMap;
use std::path::Path;

use elf::ElfBytes;
use elf::abi::{PT_LOAD, SHF_ALLOC, SHT_NOBITS, STT_FUNC};
use elf::endian::LittleEndian;

use crate::error::{Context, Error, Result};

/// Bytes of the kernel's file that are loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// What stays: neither `.bss`, which has none in it, nor the boot stub.
    pub kernel: u64,
    /// The boot stub, which does not.
    pub boot_stub: u64,
    /// What stays, by the source file of the function. What is inlined counts where it is inlined.
    pub files: BTreeMap<String, u64>,
}

/// What is not a function of a source file.
const REST: &str = "entry code, constants, tables and padding";

/// Look at the kernel.
///
/// # Errors
/// It is no good ELF file.
pub(super) fn of(kernel: &Path) -> Result<Size> {
    let wrong = || format!("cannot read {}", kernel.display());
    let bytes = std::fs::read(kernel).context(wrong)?;
    let elf = ElfBytes::<LittleEndian>::minimal_parse(&bytes).context(wrong)?;
    let (sections, names) = elf.section_headers_with_strtab().context(wrong)?;
    let (Some(sections), Some(names)) = (sections, names) else {
        return Err(Error::new(format!("{}: no sections", wrong())));
    };
    let mut size = Size::default();
    let mut boot = Vec::new();
    for section in sections.iter().filter(|section| section.sh_flags & u64::from(SHF_ALLOC) != 0) {
        if names.get(section.sh_name as usize).is_ok_and(|name| name.starts_with(".boot")) {
            boot.push(section.sh_addr..section.sh_addr + section.sh_size);
            size.boot_stub += if section.sh_type == SHT_NOBITS { 0 } else { section.sh_size };
        }
    }
    let segments = elf.segments().ok_or_else(|| Error::new(format!("{}: no segments", wrong())))?;
    let stays = segments.iter().filter(|segment| {
        let range = segment.p_vaddr..segment.p_vaddr + segment.p_memsz;
        segment.p_type == PT_LOAD && !boot.iter().any(|section| range.contains(&section.start))
    });
    size.kernel = stays.map(|segment| segment.p_filesz).sum();

    let (symbols, names) = elf.symbol_table().context(wrong)?.ok_or_else(|| Error::new("no symbols"))?;
    let functions = symbols.iter().filter(|symbol| symbol.st_symtype() == STT_FUNC);
    // Functions that are alike share an address.
    let mut at = BTreeMap::new();
    for function in functions.filter(|symbol| !boot.iter().any(|section| section.contains(&symbol.st_value))) {
        at.insert(function.st_value, (function.st_size, names.get(function.st_name as usize).unwrap_or_default()));
    }
    for (length, name) in at.into_values() {
        *size.files.entry(file_of(name)).or_default() += length;
    }
    let rest = size.kernel.saturating_sub(size.files.values().sum());
    size.files.insert(REST.into(), rest);
    Ok(size)
}

/// The source file that a function is in, by its mangled name.
fn file_of(name: &str) -> String {
    let path = path_of(name);
    let (folder, path) = match path.split_first() {
        Some((krate, path)) if krate == "kernel" => ("kernel/src", path),
        Some((krate, path)) if krate == "baton_kernel" => ("machine/x86_64/src", path),
        Some((krate, path)) if krate == "abi" => ("abi/src", path),
        _ => return "core library and compiler's functions".into(),
    };
    match path {
        [module, part, ..] if module == "object" && !part.starts_with('_') => format!("{folder}/object/{part}.rs"),
        [module, ..] if module == "object" => format!("{folder}/object/mod.rs"),
        [module, _, ..] => format!("{folder}/{module}.rs"),
        _ => format!("{folder}/lib.rs"),
    }
}

/// The parts of a mangled name (`_ZN`, length, part, …), crate first; none if it is mangled in another way. An implementation of a trait
/// is where its type is.
fn path_of(name: &str) -> Vec<String> {
    let mut rest = name.strip_prefix("_ZN").unwrap_or_default();
    let mut path = Vec::new();
    while let Some(end) = rest.find(|character: char| !character.is_ascii_digit()).filter(|end| *end > 0) {
        let length: usize = rest[..end].parse().unwrap_or(0);
        let Some(part) = rest.get(end..end + length) else { break };
        path.push(part.to_owned());
        rest = &rest[end + length..];
    }
    match path.first().and_then(|first| first.strip_prefix("_$LT$")) {
        Some(implementation) => {
            let subject = implementation.split("$u20$as$u20$").next().unwrap_or_default();
            let subject = subject.split('$').next().unwrap_or_default();
            subject.split("..").map(str::to_owned).collect()
        }
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_found_in_their_files() {
        let file = |name| file_of(name);
        assert_eq!(
            file("_ZN6kernel5death55_$LT$impl$u20$kernel..kernel..Kernel$LT$M$GT$$GT$7destroy17h0123456789abcdefE"),
            "kernel/src/death.rs"
        );
        assert_eq!(
            file(
                "_ZN6kernel6object6memory55_$LT$impl$u20$kernel..kernel..Kernel$LT$M$GT$$GT$5split17h0123456789abcdefE"
            ),
            "kernel/src/object/memory.rs"
        );
        assert_eq!(
            file(
                "_ZN72_$LT$baton_kernel..machine..X86$u20$as$u20$kernel..machine..Machine$GT$5unmap17h0123456789abcdefE"
            ),
            "machine/x86_64/src/machine.rs"
        );
        assert_eq!(file("_ZN6kernel4tree6remove17h0123456789abcdefE"), "kernel/src/tree.rs");
        assert_eq!(file("memcpy"), "core library and compiler's functions");
    }
}
