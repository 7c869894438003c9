//! What a program finds on its first stack: arguments, environment, and the vector of what it is told about itself and its machine.

use alloc::vec;
use alloc::vec::Vec;

use abi::PAGE_SIZE;

use super::start::put;
use super::{ARGUMENTS_MAXIMUM, Image, STACK_TOP, User};
use crate::Errno;

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
    use super::super::tests::{elf, header};
    use super::super::{LOAD, long};
    use super::*;

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
}
