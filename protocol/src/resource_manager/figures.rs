//! Figures of a file system.

/// Figures of a file system: what counts of Linux's `struct statfs`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Magic number of its kind.
    pub kind: u64,
    /// Blocks of 4 KiB in all.
    pub blocks: u64,
    /// Blocks free.
    pub free: u64,
    /// Files it can have.
    pub files: u64,
    /// Further files it can take.
    pub files_free: u64,
    /// An identity.
    pub identity: u64,
    /// Mount flags: ST_RDONLY 1.
    pub flags: u64,
}

impl Figures {
    /// Linux's `struct statfs` for x86_64.
    #[must_use]
    pub fn to_words(self) -> [u64; 15] {
        const NAME_MAXIMUM: u64 = 255;
        const BLOCK: u64 = 4096;
        const VALID: u64 = 0x20;
        [
            self.kind,
            BLOCK,
            self.blocks,
            self.free,
            self.free,
            self.files,
            self.files_free,
            self.identity,
            NAME_MAXIMUM,
            BLOCK,
            self.flags | VALID,
            0,
            0,
            0,
            0,
        ]
    }
}
