//! The control port: records to and from the guest (layout: [`abi::host`]).

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

use abi::host::{EXIT, HostRecord, READY, TEXT};

/// What the guest says.
#[derive(Debug, PartialEq, Eq)]
pub enum Message {
    /// The program is about to start.
    Ready {
        /// The time-stamp counter at the kernel's entry; 0 if the guest does not tell.
        entry_ticks: u64,
    },
    /// The program ended.
    Exit {
        /// With this status.
        status: u32,
        /// Baton could not run it.
        failed: bool,
    },
    /// Text for the user.
    Text(Vec<u8>),
}

/// More than any text of the guest's; a longer one means that we lost the thread.
const TEXT_LIMIT: u32 = 16 << 20;

/// The next message. Unknown records are passed over.
///
/// # Errors
/// The guest is gone, or what it says makes no sense.
pub fn read(port: &mut impl Read) -> io::Result<Message> {
    loop {
        let mut bytes = [0; size_of::<HostRecord>()];
        port.read_exact(&mut bytes)?;
        let word = |index: usize| {
            let word = &bytes[index * 4..index * 4 + 4];
            word.iter().rev().fold(0u32, |number, byte| number << 8 | u32::from(*byte))
        };
        match word(0) {
            READY => return Ok(Message::Ready { entry_ticks: u64::from(word(1)) | u64::from(word(2)) << 32 }),
            EXIT => {
                return Ok(Message::Exit { status: word(1), failed: word(2) != 0 });
            }
            TEXT if word(1) <= TEXT_LIMIT => {
                let mut text = vec![0; word(1) as usize];
                port.read_exact(&mut text)?;
                return Ok(Message::Text(text));
            }
            TEXT => return Err(io::Error::other("a text of absurd length")),
            _ => {}
        }
    }
}

/// Say something to the guest.
///
/// # Errors
/// It is gone.
pub fn write(mut port: &UnixStream, kind: u32, a: u32, b: u32) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(size_of::<HostRecord>());
    for word in [kind, a, b, 0] {
        bytes.extend(word.to_le_bytes());
    }
    port.write_all(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_one_after_the_other() {
        let mut bytes: Vec<u8> = Vec::new();
        for word in [READY, 5, 1, 0, 77, 1, 2, 3, TEXT, 2, 0, 0] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(b"hi");
        for word in [EXIT, 3, 1, 0] {
            bytes.extend(word.to_le_bytes());
        }
        let mut port = bytes.as_slice();
        assert_eq!(read(&mut port).expect("whole"), Message::Ready { entry_ticks: 0x1_0000_0005 });
        assert_eq!(read(&mut port).expect("whole"), Message::Text(b"hi".to_vec()));
        assert_eq!(read(&mut port).expect("whole"), Message::Exit { status: 3, failed: true });
        assert!(read(&mut port).is_err());
    }
}
