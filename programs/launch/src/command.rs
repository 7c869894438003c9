//! `boot/command`: what the host wants started ([`COMMAND_MAGIC`] says how it is written).

use abi::archive::{Archive, COMMAND_MAGIC};
use alloc::vec::Vec;

/// Which of the things that can be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// A shell on the console.
    Shell,
    /// A program with the streams of the host.
    Program,
}

/// What is to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) mode: Mode,
    /// Empty: the first argument is looked up in PATH.
    pub(crate) program: Vec<u8>,
    pub(crate) arguments: Vec<Vec<u8>>,
    /// `K=V` each.
    pub(crate) environment: Vec<Vec<u8>>,
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn number(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.bytes(4)?.try_into().ok()?))
    }

    fn text(&mut self) -> Option<Vec<u8>> {
        let length = self.number()? as usize;
        // It ends up as a C string.
        self.bytes(length).filter(|text| !text.contains(&0)).map(<[u8]>::to_vec)
    }
}

impl Command {
    /// Read the file's bytes; `None` if they are not as they should be.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        if reader.bytes(8)? != COMMAND_MAGIC.to_le_bytes() {
            return None;
        }
        let mode = match reader.number()? {
            0 => Mode::Shell,
            1 => Mode::Program,
            _ => return None,
        };
        let (arguments, environment) = (reader.number()?, reader.number()?);
        let program = reader.number()? as usize;
        let program = reader.bytes(program)?.to_vec();
        let arguments = (0..arguments).map(|_| reader.text()).collect::<Option<_>>()?;
        let environment = (0..environment).map(|_| reader.text()).collect::<Option<_>>()?;
        Some(Self { mode, program, arguments, environment })
    }

    /// The value of a variable.
    pub(crate) fn variable(&self, name: &[u8]) -> Option<&[u8]> {
        self.environment.iter().find_map(|variable| variable.strip_prefix(name)?.strip_prefix(b"="))
    }
}

/// The command in the archive that is mapped there, and the classes of events to be traced.
#[allow(unsafe_code)]
pub(crate) fn in_archive(address: u64, length: u64) -> Option<(Command, u64)> {
    // SAFETY: the only caller has just mapped the archive, which nobody ever writes, there and of that length, and unmaps it
    // after this; what is returned is a copy.
    let bytes = unsafe { core::slice::from_raw_parts(address as *const u8, length as usize) };
    let archive = Archive::new(bytes)?;
    Some((Command::parse(archive.find(b"boot/command")?.data)?, crate::trace::wanted(&archive)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(mode: u32, program: &[u8], texts: [&[&[u8]]; 2]) -> Vec<u8> {
        let mut bytes = COMMAND_MAGIC.to_le_bytes().to_vec();
        for number in [mode, texts[0].len() as u32, texts[1].len() as u32, program.len() as u32] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(program);
        for text in texts.concat() {
            bytes.extend((text.len() as u32).to_le_bytes());
            bytes.extend(text);
        }
        bytes
    }

    #[test]
    fn what_the_host_wrote_is_read() {
        let bytes = written(1, b"/x", [&[b"x", b"", b"a b"], &[b"PATH=/bin", b"PATHS=no", b"A==b"]]);
        let command = Command::parse(&bytes).expect("valid");
        assert_eq!((command.mode, command.program.as_slice()), (Mode::Program, b"/x".as_slice()));
        assert_eq!(command.arguments, [b"x".as_slice(), b"", b"a b"]);
        assert_eq!(command.variable(b"PATH"), Some(b"/bin".as_slice()));
        assert_eq!(command.variable(b"A"), Some(b"=b".as_slice()));
        assert_eq!(command.variable(b"B"), None);
    }

    #[test]
    fn damaged_bytes_are_no_command() {
        let bytes = written(0, b"", [&[b"sh"], &[]]);
        for length in 0..bytes.len() {
            assert_eq!(Command::parse(&bytes[..length]), None);
        }
        assert_eq!(Command::parse(&written(7, b"", [&[], &[]])), None);
        assert_eq!(Command::parse(&written(0, b"", [&[b"a\0b"], &[]])), None);
    }
}
