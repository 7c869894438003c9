//! What a native program is started with: handles and numbers by name, and text arguments.
//!
//! The page lies at [`RECORD_ADDRESS`], read-only; its address is in `rdi` when the program's first thread starts.
//! Names used by init: handles `gate`, `process`, `path`, `registry`, `log`, `init`, `archive`, `ports`, `interrupts`,
//! `devices`, `firmware`, `thread` (the first thread), `system-page`, `ram0` … and whatever a program's entry in
//! init's list names; numbers `archive-length`, `tsc-hz`, `ram-total`, `acpi-root`, `priority` and the like.

use core::ptr::null;
use core::sync::atomic::{AtomicPtr, Ordering};

use abi::Handle;

/// First bytes of a record.
pub const RECORD_MAGIC: u64 = u64::from_le_bytes(*b"BatonSta");
/// Where init maps the record.
pub const RECORD_ADDRESS: u64 = 0x1000_0000;
/// Top of a native program's first stack.
pub const STACK_TOP: u64 = 0x2000_0000;
/// Entries in a record.
pub const ENTRIES: usize = 96;
/// Bytes of arguments in a record.
pub const TEXT: usize = 1024;
/// Longest name.
pub const NAME: usize = 16;

/// Names of the Memory of each range of RAM, and of the number that says how much of it init has used: from init to `process`.
pub const RAM_NAMES: [(&str, &str); abi::boot::RAM_RANGES] = [
    ("ram0", "ram0-used"),
    ("ram1", "ram1-used"),
    ("ram2", "ram2-used"),
    ("ram3", "ram3-used"),
    ("ram4", "ram4-used"),
    ("ram5", "ram5-used"),
    ("ram6", "ram6-used"),
    ("ram7", "ram7-used"),
    ("ram8", "ram8-used"),
    ("ram9", "ram9-used"),
    ("ram10", "ram10-used"),
    ("ram11", "ram11-used"),
    ("ram12", "ram12-used"),
    ("ram13", "ram13-used"),
    ("ram14", "ram14-used"),
    ("ram15", "ram15-used"),
];

/// A named handle or number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Entry {
    /// Its name, zero-padded.
    pub name: [u8; NAME],
    /// A handle's value, or a number.
    pub value: u64,
}

/// The record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct StartRecord {
    /// [`RECORD_MAGIC`].
    pub magic: u64,
    /// How many of `entries` count.
    pub count: u64,
    /// Bytes of `text` that count.
    pub text_length: u64,
    /// The program's name, zero-padded.
    pub name: [u8; NAME],
    /// Handles and numbers.
    pub entries: [Entry; ENTRIES],
    /// Arguments, each ended by a zero byte.
    pub text: [u8; TEXT],
}

const _: () = assert!(size_of::<StartRecord>() <= abi::PAGE_SIZE as usize);

/// A name, padded.
#[must_use]
pub const fn padded(name: &str) -> [u8; NAME] {
    let mut padded = [0; NAME];
    let mut index = 0;
    while index < NAME && index < name.len() {
        padded[index] = name.as_bytes()[index];
        index += 1;
    }
    padded
}

fn trimmed(name: &[u8]) -> &str {
    let length = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
    core::str::from_utf8(&name[..length]).unwrap_or("?")
}

impl StartRecord {
    /// Its bytes, to be put where the program finds it.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `repr(C)`, integers only, no padding (8-byte fields, arrays of multiples of 8 bytes); it borrows `self`.
        unsafe { core::slice::from_raw_parts(core::ptr::from_ref(self).cast(), size_of::<Self>()) }
    }

    /// A record with nothing in it but a name.
    #[must_use]
    pub const fn new(name: &str) -> Self {
        Self {
            magic: RECORD_MAGIC,
            count: 0,
            text_length: 0,
            name: padded(name),
            entries: [Entry { name: [0; NAME], value: 0 }; ENTRIES],
            text: [0; TEXT],
        }
    }

    /// Add a handle or a number. Gives false when the record is full.
    pub fn add(&mut self, name: &str, value: u64) -> bool {
        let Some(entry) = self.entries.get_mut(self.count as usize) else { return false };
        *entry = Entry { name: padded(name), value };
        self.count += 1;
        true
    }

    /// Add an argument. Gives false when the record is full.
    pub fn add_argument(&mut self, argument: &str) -> bool {
        let start = self.text_length as usize;
        let end = start + argument.len();
        if end >= TEXT {
            return false;
        }
        self.text[start..end].copy_from_slice(argument.as_bytes());
        self.text[end] = 0;
        self.text_length = end as u64 + 1;
        true
    }

    /// The value with this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<u64> {
        let wanted = padded(name);
        let count = (self.count as usize).min(ENTRIES);
        self.entries[..count].iter().find(|entry| entry.name == wanted).map(|entry| entry.value)
    }

    /// The arguments in order.
    pub fn arguments(&self) -> impl Iterator<Item = &str> {
        let text = &self.text[..(self.text_length as usize).min(TEXT)];
        text.split_inclusive(|&byte| byte == 0).map(trimmed)
    }
}

static RECORD: AtomicPtr<StartRecord> = AtomicPtr::new(null::<StartRecord>().cast_mut());

/// Remember the record.
///
/// # Safety
/// `record` is null or a valid record that is never written or unmapped.
pub unsafe fn set_record(record: *const StartRecord) {
    RECORD.store(record.cast_mut(), Ordering::Release);
}

/// Let the record be this one: for init, which nobody starts with one.
pub fn install(record: StartRecord) {
    let record: &'static StartRecord = alloc::boxed::Box::leak(alloc::boxed::Box::new(record));
    // SAFETY: a leaked box is valid for good and, behind a shared reference, never written.
    unsafe { set_record(record) };
}

/// The record, if this program was started with one.
#[must_use]
pub fn record() -> Option<&'static StartRecord> {
    // SAFETY: `set_record`'s caller promised a valid record for good, or null.
    let record = unsafe { RECORD.load(Ordering::Acquire).as_ref() };
    record.filter(|record| record.magic == RECORD_MAGIC)
}

/// The handle with this name; [`Handle::NONE`] if there is none.
#[must_use]
pub fn handle(name: &str) -> Handle {
    Handle(number(name))
}

/// The number with this name; 0 if there is none.
#[must_use]
pub fn number(name: &str) -> u64 {
    record().and_then(|record| record.find(name)).unwrap_or(0)
}

/// The program's arguments.
pub fn arguments() -> impl Iterator<Item = &'static str> {
    record().into_iter().flat_map(StartRecord::arguments)
}

/// The program's name.
#[must_use]
pub fn name() -> &'static str {
    record().map_or("?", |record| trimmed(&record.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_and_arguments_are_found_again() {
        let mut record = StartRecord::new("console");
        assert!(record.add("gate", 7) && record.add("a-name-of-16-byt", 8));
        assert!(record.add_argument("one") && record.add_argument("") && record.add_argument("three"));
        assert_eq!(
            (record.find("gate"), record.find("a-name-of-16-byt"), record.find("gat")),
            (Some(7), Some(8), None)
        );
        assert!(record.arguments().eq(["one", "", "three"]));
    }

    #[test]
    fn a_full_record_says_so() {
        let mut record = StartRecord::new("x");
        assert!((0..ENTRIES).all(|_| record.add("n", 1)));
        assert!(!record.add("n", 1));
        assert!(!record.add_argument(core::str::from_utf8(&[b'a'; TEXT]).unwrap_or("")));
    }
}
