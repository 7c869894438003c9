//! Terminal settings: Linux's `struct termios` as `TCGETS` and `TCSETS` carry it (`asm-generic/termbits.h`).

/// Bytes of the structure.
pub(crate) const TERMIOS_SIZE: usize = 36;

/// Input flags.
pub(crate) mod input {
    pub(crate) const ISTRIP: u32 = 0o40;
    pub(crate) const INLCR: u32 = 0o100;
    pub(crate) const IGNCR: u32 = 0o200;
    pub(crate) const ICRNL: u32 = 0o400;
    pub(crate) const IUCLC: u32 = 0o1000;
    pub(crate) const IXON: u32 = 0o2000;
    pub(crate) const IXANY: u32 = 0o4000;
    pub(crate) const IMAXBEL: u32 = 0o20000;
    pub(crate) const IUTF8: u32 = 0o40000;
}

/// Output flags.
pub(crate) mod output {
    pub(crate) const OPOST: u32 = 0o1;
    pub(crate) const OLCUC: u32 = 0o2;
    pub(crate) const ONLCR: u32 = 0o4;
    pub(crate) const OCRNL: u32 = 0o10;
    pub(crate) const ONOCR: u32 = 0o20;
    pub(crate) const ONLRET: u32 = 0o40;
    pub(crate) const XTABS: u32 = 0o14000;
}

/// Local flags.
pub(crate) mod local {
    pub(crate) const ISIG: u32 = 0o1;
    pub(crate) const ICANON: u32 = 0o2;
    pub(crate) const ECHO: u32 = 0o10;
    pub(crate) const ECHOE: u32 = 0o20;
    pub(crate) const ECHOK: u32 = 0o40;
    pub(crate) const ECHONL: u32 = 0o100;
    pub(crate) const NOFLSH: u32 = 0o200;
    pub(crate) const TOSTOP: u32 = 0o400;
    pub(crate) const ECHOCTL: u32 = 0o1000;
    pub(crate) const ECHOKE: u32 = 0o4000;
    pub(crate) const IEXTEN: u32 = 0o100000;
}

/// Positions in the table of control characters.
pub(crate) mod control {
    pub(crate) const VINTR: usize = 0;
    pub(crate) const VQUIT: usize = 1;
    pub(crate) const VERASE: usize = 2;
    pub(crate) const VKILL: usize = 3;
    pub(crate) const VEOF: usize = 4;
    pub(crate) const VTIME: usize = 5;
    pub(crate) const VMIN: usize = 6;
    pub(crate) const VSTART: usize = 8;
    pub(crate) const VSTOP: usize = 9;
    pub(crate) const VSUSP: usize = 10;
    pub(crate) const VEOL: usize = 11;
    pub(crate) const VREPRINT: usize = 12;
    pub(crate) const VWERASE: usize = 14;
    pub(crate) const VLNEXT: usize = 15;
    pub(crate) const VEOL2: usize = 16;
}

/// The settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Termios {
    pub(crate) input: u32,
    pub(crate) output: u32,
    pub(crate) control: u32,
    pub(crate) local: u32,
    pub(crate) line: u8,
    pub(crate) characters: [u8; 19],
}

impl Default for Termios {
    /// What Linux gives a new terminal: cooked, with echo, 38400 baud, eight bits.
    fn default() -> Self {
        let mut characters = [0; 19];
        characters[..17]
            .copy_from_slice(&[3, 0x1c, 0x7f, 0x15, 4, 0, 1, 0, 0x11, 0x13, 0x1a, 0, 0x12, 0x0f, 0x17, 0x16, 0]);
        Self {
            input: input::ICRNL | input::IXON | input::IUTF8,
            output: output::OPOST | output::ONLCR,
            control: 0o277,
            local: local::ISIG
                | local::ICANON
                | local::ECHO
                | local::ECHOE
                | local::ECHOK
                | local::ECHOCTL
                | local::ECHOKE
                | local::IEXTEN,
            line: 0,
            characters,
        }
    }
}

impl Termios {
    /// From the structure's bytes.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
        Some(Self {
            input: word(0)?,
            output: word(4)?,
            control: word(8)?,
            local: word(12)?,
            line: *bytes.get(16)?,
            characters: bytes.get(17..TERMIOS_SIZE)?.try_into().ok()?,
        })
    }

    /// The structure's bytes.
    pub(crate) fn to_bytes(self) -> [u8; TERMIOS_SIZE] {
        let mut bytes = [0; TERMIOS_SIZE];
        for (place, word) in bytes.chunks_exact_mut(4).zip([self.input, self.output, self.control, self.local]) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes[16] = self.line;
        bytes[17..].copy_from_slice(&self.characters);
        bytes
    }

    /// Whether a local flag is set.
    pub(crate) const fn local(&self, flag: u32) -> bool {
        self.local & flag != 0
    }

    /// Whether input is edited by lines.
    pub(crate) const fn canonical(&self) -> bool {
        self.local(local::ICANON)
    }

    /// Whether `byte` is the control character at `position` (a zero there disables it).
    pub(crate) fn is(&self, byte: u8, position: usize) -> bool {
        self.characters[position] != 0 && self.characters[position] == byte
    }
}
