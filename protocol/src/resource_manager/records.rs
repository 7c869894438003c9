//! Directory records, as Linux's `struct linux_dirent64`.

/// Collects records for one `ReadDirectory`, as many as the caller has room for.
#[derive(Debug)]
pub struct Records<'a> {
    bytes: &'a mut [u8],
    used: usize,
    refused: bool,
}

impl<'a> Records<'a> {
    /// Collect into these bytes.
    #[must_use]
    pub const fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, used: 0, refused: false }
    }

    /// Add an entry. `next`: the directory position behind it (`d_off`). `mode`: of which only the type counts.
    /// False if it does not fit; then nothing was added.
    pub fn add(&mut self, inode: u64, next: u64, mode: u32, name: &[u8]) -> bool {
        let length = (19 + name.len() + 1).next_multiple_of(8);
        let Some(record) = self.bytes.get_mut(self.used..self.used + length) else {
            self.refused = true;
            return false;
        };
        record[..8].copy_from_slice(&inode.to_le_bytes());
        record[8..16].copy_from_slice(&next.to_le_bytes());
        record[16..18].copy_from_slice(&(length as u16).to_le_bytes());
        record[18] = (mode >> 12) as u8 & 15;
        record[19..19 + name.len()].copy_from_slice(name);
        record[19 + name.len()..].fill(0);
        self.used += length;
        true
    }

    /// Bytes used.
    #[must_use]
    pub const fn used(&self) -> usize {
        self.used
    }

    /// Whether not even one entry fitted.
    #[must_use]
    pub const fn too_small(&self) -> bool {
        self.used == 0 && self.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_look_like_linux() {
        let mut bytes = [0xffu8; 64];
        let mut records = Records::new(&mut bytes);
        assert!(records.add(7, 1, 0o040_755, b"."));
        assert!(records.add(9, 2, 0o100_644, b"hello"));
        assert!(!records.add(10, 3, 0o100_644, b"a"));
        assert_eq!(records.used(), 24 + 32);
        assert!(!records.too_small());
        assert_eq!(bytes[16..21], [24, 0, 4, b'.', 0]);
        assert_eq!(bytes[24 + 16..24 + 19], [32, 0, 8]);
        assert_eq!(&bytes[24 + 19..24 + 25], b"hello\0");
    }

    #[test]
    fn a_first_entry_that_does_not_fit_is_known() {
        let mut bytes = [0; 16];
        let mut records = Records::new(&mut bytes);
        assert!(!records.add(7, 1, 0, b"."));
        assert!(records.too_small());
    }
}
