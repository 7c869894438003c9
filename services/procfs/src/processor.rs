//! What the processor says of itself.
#![allow(unsafe_code)]

use alloc::string::String;

use crate::format::Processor;

/// Names of feature bits, in Linux's spelling and order: leaf 1 edx, leaf 1 ecx, leaf 7 ebx.
#[cfg(target_arch = "x86_64")]
const NAMES: [[&str; 32]; 3] = [
    [
        "fpu", "vme", "de", "pse", "tsc", "msr", "pae", "mce", "cx8", "apic", "", "sep", "mtrr", "pge", "mca", "cmov",
        "pat", "pse36", "pn", "clflush", "", "dts", "acpi", "mmx", "fxsr", "sse", "sse2", "ss", "ht", "tm", "ia64",
        "pbe",
    ],
    [
        "pni",
        "pclmulqdq",
        "dtes64",
        "monitor",
        "ds_cpl",
        "vmx",
        "smx",
        "est",
        "tm2",
        "ssse3",
        "cid",
        "sdbg",
        "fma",
        "cx16",
        "xtpr",
        "pdcm",
        "",
        "pcid",
        "dca",
        "sse4_1",
        "sse4_2",
        "x2apic",
        "movbe",
        "popcnt",
        "tsc_deadline_timer",
        "aes",
        "xsave",
        "",
        "avx",
        "f16c",
        "rdrand",
        "hypervisor",
    ],
    [
        "fsgsbase",
        "tsc_adjust",
        "sgx",
        "bmi1",
        "hle",
        "avx2",
        "",
        "smep",
        "bmi2",
        "erms",
        "invpcid",
        "rtm",
        "cqm",
        "",
        "mpx",
        "rdt_a",
        "avx512f",
        "avx512dq",
        "rdseed",
        "adx",
        "smap",
        "avx512ifma",
        "",
        "clflushopt",
        "clwb",
        "intel_pt",
        "avx512pf",
        "avx512er",
        "avx512cd",
        "sha_ni",
        "avx512bw",
        "avx512vl",
    ],
];

/// Ask it.
#[cfg(target_arch = "x86_64")]
pub(crate) fn ask(hertz: u64) -> Processor {
    let leaf = |leaf: u32| {
        #[allow(unused_unsafe)]
        // SAFETY: every processor with 64 bits knows the instruction; it only writes registers.
        unsafe {
            core::arch::x86_64::__cpuid_count(leaf, 0)
        }
    };
    let (basic, one) = (leaf(0), leaf(1));
    let text = |words: &[u32]| {
        let bytes = words.iter().flat_map(|word| word.to_le_bytes());
        let text: String = bytes.take_while(|&byte| byte != 0).map(char::from).collect();
        String::from(text.trim())
    };
    let mut model_name = String::new();
    if leaf(0x8000_0000).eax >= 0x8000_0004 {
        let words: [u32; 12] = {
            let mut words = [0; 12];
            for (part, number) in words.chunks_exact_mut(4).zip(0x8000_0002..) {
                let leaf = leaf(number);
                part.copy_from_slice(&[leaf.eax, leaf.ebx, leaf.ecx, leaf.edx]);
            }
            words
        };
        model_name = text(&words);
    }
    let seven = if basic.eax >= 7 { leaf(7).ebx } else { 0 };
    let mut flags = String::new();
    for (names, bits) in NAMES.iter().zip([one.edx, one.ecx, seven]) {
        for (bit, name) in names.iter().enumerate().filter(|(bit, name)| bits >> bit & 1 != 0 && !name.is_empty()) {
            let _ = bit;
            if !flags.is_empty() {
                flags.push(' ');
            }
            flags.push_str(name);
        }
    }
    // Long mode and no-execute are what we run on.
    flags.push_str(" syscall nx lm");
    let signature = one.eax;
    let family = (signature >> 8 & 15) + if signature >> 8 & 15 == 15 { signature >> 20 & 255 } else { 0 };
    Processor {
        vendor: text(&[basic.ebx, basic.edx, basic.ecx]),
        model_name,
        family,
        model: (signature >> 4 & 15) | (signature >> 16 & 15) << 4,
        stepping: signature & 15,
        hertz,
        flags,
    }
}

/// Another kind of processor.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn ask(hertz: u64) -> Processor {
    Processor { hertz, vendor: String::from("unknown"), ..Processor::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn it_says_something() {
        let processor = ask(1_000_000_000);
        assert_eq!(processor.vendor.len(), 12);
        assert!(processor.flags.starts_with("fpu ") && processor.flags.contains(" sse2 "));
    }
}
