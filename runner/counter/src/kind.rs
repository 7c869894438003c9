//! Kinds of instructions, told by their bytes and where they are.

/// Where the kernel's half of all addresses begins.
const KERNEL: u64 = 1 << 63;
/// A mark: a no-operation with a displacement whose lowest byte is its number, and the rest of it (`programs/bench/src/mark.rs`).
const MARK: [u8; 3] = [0x0f, 0x1f, 0x80];
const MARK_TAIL: [u8; 3] = [0x4e, 0x54, 0x42];

/// What is told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Of a program's.
    User = 0,
    /// Of the kernel's.
    Kernel,
    /// The kernel opens interrupts for a moment.
    Window,
    /// Write of the page table register.
    PageTable,
    /// Write of a model-specific register.
    ModelRegister,
    /// Read or write of a segment base.
    SegmentBase,
    /// A program's system call.
    SystemCall,
    /// A program's mark: begin to count.
    Begin,
    /// A program's mark: stop counting.
    Pause,
    /// A program's mark: the section is complete.
    End,
}

impl Kind {
    /// All, by number.
    const ALL: [Self; 10] = [
        Self::User,
        Self::Kernel,
        Self::Window,
        Self::PageTable,
        Self::ModelRegister,
        Self::SegmentBase,
        Self::SystemCall,
        Self::Begin,
        Self::Pause,
        Self::End,
    ];

    /// Of an instruction at an address.
    #[must_use]
    pub fn of(address: u64, bytes: &[u8]) -> Self {
        if address < KERNEL {
            return match bytes {
                [0x0f, 0x05] => Self::SystemCall,
                [first, second, third, number, tail @ ..] if [*first, *second, *third] == MARK && tail == MARK_TAIL => {
                    match number {
                        1 => Self::Begin,
                        2 => Self::Pause,
                        3 => Self::End,
                        _ => Self::User,
                    }
                }
                _ => Self::User,
            };
        }
        match bytes {
            [0xfb] => Self::Window,
            [0x0f, 0x22, register] if register >> 3 & 7 == 3 => Self::PageTable,
            [0x0f, 0x30] => Self::ModelRegister,
            // rdfsbase, rdgsbase, wrfsbase, wrgsbase, of 32 or 64 bits.
            [0xf3, 0x0f, 0xae, operand] | [0xf3, 0x40..=0x4f, 0x0f, 0xae, operand]
                if operand >> 6 == 3 && operand >> 3 & 7 < 4 =>
            {
                Self::SegmentBase
            }
            _ => Self::Kernel,
        }
    }

    /// Whether the kernel executes it.
    #[must_use]
    pub const fn is_kernel(self) -> bool {
        matches!(self, Self::Kernel | Self::Window | Self::PageTable | Self::ModelRegister | Self::SegmentBase)
    }

    /// The kind with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or(Self::User)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HIGH: u64 = 0xffff_ffff_8010_0000;

    #[test]
    fn kinds_are_told_by_their_bytes() {
        assert_eq!(Kind::of(HIGH, &[0x0f, 0x22, 0xda]), Kind::PageTable);
        assert_eq!(Kind::of(HIGH, &[0x0f, 0x22, 0xe0]), Kind::Kernel, "cr4");
        assert_eq!(Kind::of(HIGH, &[0x0f, 0x30]), Kind::ModelRegister);
        assert_eq!(Kind::of(HIGH, &[0xf3, 0x48, 0x0f, 0xae, 0xd0]), Kind::SegmentBase, "wrfsbase rax");
        assert_eq!(Kind::of(HIGH, &[0xf3, 0x48, 0x0f, 0xae, 0xc1]), Kind::SegmentBase, "rdfsbase rcx");
        assert_eq!(Kind::of(HIGH, &[0x0f, 0xae, 0xe8]), Kind::Kernel, "lfence");
        assert_eq!(Kind::of(HIGH, &[0xfb]), Kind::Window);
        assert_eq!(Kind::of(0x40_0000, &[0x0f, 0x05]), Kind::SystemCall);
        assert_eq!(Kind::of(0x40_0000, &[0x0f, 0x1f, 0x80, 2, 0x4e, 0x54, 0x42]), Kind::Pause);
        assert_eq!(Kind::of(0x40_0000, &[0x0f, 0x1f, 0x80, 2, 0, 0, 0]), Kind::User, "a no-operation");
        for number in 0..10 {
            assert_eq!(Kind::from_number(number) as u8, number);
        }
    }
}
