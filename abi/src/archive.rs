//! The boot archive: a read-only tree of files whose data is page-aligned, so that it can be mapped where it lies.
//!
//! Layout: an [`ArchiveHeader`], then `count` [`ArchiveEntry`]s sorted by path (bytewise), then the paths' bytes, then, from
//! the next page boundary on, each file's data, padded with zeros to whole pages. All numbers little-endian. Paths
//! are relative, with single slashes, no `.` or `..`; every parent directory has an entry before its children.
//!
//! The tree: `system/<program>` native programs, `system/linux` the Linux personality, `bin/…` BusyBox and its links,
//! `root/…` what the memory file system starts with, `boot/command` a [`COMMAND_MAGIC`] file that says what to start.

/// First bytes of an archive.
pub const ARCHIVE_MAGIC: u64 = u64::from_le_bytes(*b"BatonArc");

/// The start of an archive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ArchiveHeader {
    /// [`ARCHIVE_MAGIC`].
    pub magic: u64,
    /// Entries.
    pub count: u64,
    /// Bytes of the whole archive, whole pages.
    pub length: u64,
    /// When it was built, seconds since 1970 (also the times of all files without their own).
    pub built_seconds: u64,
}

/// One file, directory or symbolic link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ArchiveEntry {
    /// Where its path starts in the archive.
    pub path_offset: u64,
    /// Bytes of its path.
    pub path_length: u32,
    /// POSIX mode with type (0o100000 file, 0o040000 directory, 0o120000 link).
    pub mode: u32,
    /// Where its data (a link's target) starts in the archive; page-aligned for files.
    pub data_offset: u64,
    /// Bytes of data.
    pub data_length: u64,
    /// Last change, seconds since 1970.
    pub modified_seconds: u64,
}

const _: () = assert!(size_of::<ArchiveHeader>() == 32 && size_of::<ArchiveEntry>() == 40);

/// First 8 bytes of `boot/command`. Then four little-endian u32: mode (0 interactive shell on the console, 1 exec with the
/// virtio streams, 2 bench), argument count, environment count, length of the program path; then the program path, then every
/// argument (argv[0] first) and every environment string (`K=V`), each preceded by its length as a little-endian u32.
/// In mode 1 an empty program path means: look argv[0] up in PATH.
pub const COMMAND_MAGIC: u64 = u64::from_le_bytes(*b"BatonCmd");

/// The file without which the program that attacks the kernel is not started: two little-endian u64, a seed and how many
/// exchanges it is to fire.
pub const HOSTILE_ORDER: &str = "boot/hostile";

/// The file that asks for a trace: a little-endian u64, the [classes](crate::trace::CLASSES) of events that are wanted.
pub const TRACE_ORDER: &str = "boot/trace";

fn read_u64(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(offset..offset.checked_add(8)?)?.try_into().ok()?))
}

fn read_u32(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(offset..offset.checked_add(4)?)?.try_into().ok()?))
}

/// A view of an archive in memory. Bad data gives `None`, never a panic.
#[derive(Clone, Copy, Debug)]
pub struct Archive<'a> {
    bytes: &'a [u8],
    count: usize,
}

/// An entry with its path and data found.
#[derive(Clone, Copy, Debug)]
pub struct File<'a> {
    /// Path within the archive.
    pub path: &'a [u8],
    /// POSIX mode with type.
    pub mode: u32,
    /// Content, or a link's target.
    pub data: &'a [u8],
    /// Where the data starts in the archive.
    pub data_offset: u64,
    /// Last change, seconds since 1970.
    pub modified_seconds: u64,
}

impl<'a> Archive<'a> {
    /// Look at `bytes` as an archive.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        if read_u64(bytes, 0)? != ARCHIVE_MAGIC {
            return None;
        }
        let count = usize::try_from(read_u64(bytes, 8)?).ok()?;
        let end = count.checked_mul(size_of::<ArchiveEntry>())?.checked_add(size_of::<ArchiveHeader>())?;
        (end <= bytes.len()).then_some(Self { bytes, count })
    }

    /// All its bytes.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// How many entries it has.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// When it was built, seconds since 1970.
    #[must_use]
    pub fn built_seconds(&self) -> u64 {
        read_u64(self.bytes, 24).unwrap_or(0)
    }

    /// Entry number `index`, in path order.
    #[must_use]
    pub fn entry(&self, index: usize) -> Option<File<'a>> {
        if index >= self.count {
            return None;
        }
        let at = size_of::<ArchiveHeader>() + index * size_of::<ArchiveEntry>();
        let run = |offset: u64, length: u64| {
            let start = usize::try_from(offset).ok()?;
            self.bytes.get(start..start.checked_add(usize::try_from(length).ok()?)?)
        };
        let data_offset = read_u64(self.bytes, at + 16)?;
        Some(File {
            path: run(read_u64(self.bytes, at)?, u64::from(read_u32(self.bytes, at + 8)?))?,
            mode: read_u32(self.bytes, at + 12)?,
            data: run(data_offset, read_u64(self.bytes, at + 24)?)?,
            data_offset,
            modified_seconds: read_u64(self.bytes, at + 32)?,
        })
    }

    /// Position of `path`, or where it would be.
    ///
    /// # Errors
    /// The position of the first entry behind it, if it is not there.
    pub fn search(&self, path: &[u8]) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low.midpoint(high);
            match self.entry(middle).map(|file| file.path.cmp(path)) {
                Some(core::cmp::Ordering::Equal) => return Ok(middle),
                Some(core::cmp::Ordering::Less) => low = middle + 1,
                _ => high = middle,
            }
        }
        Err(low)
    }

    /// The entry with this path.
    #[must_use]
    pub fn find(&self, path: &[u8]) -> Option<File<'a>> {
        self.entry(self.search(path).ok()?)
    }
}
