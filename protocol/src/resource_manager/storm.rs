//! Nonsense for servers: messages that no honest client sends. For the servers' own tests; deterministic.

use alloc::vec::Vec;

use runtime::{Message, Received};

use super::{OPEN_FILE, ResourceManager, Server};

/// Numbers that arithmetic goes wrong at.
const ODD: [u64; 24] = [
    0,
    1,
    2,
    3,
    5,
    6,
    7,
    8,
    100,
    102,
    108,
    511,
    512,
    4095,
    4096,
    4097,
    0xffff_ffff,
    1 << 32,
    i64::MAX as u64 - 1,
    i64::MAX as u64,
    1 << 63,
    u64::MAX - 4095,
    u64::MAX - 1,
    u64::MAX,
];

/// Where randomness comes from: the same for the same seed.
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// Start at `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `limit`.
    pub fn roll(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn word(&mut self) -> u64 {
        match self.roll(4) {
            0 => self.roll(1 << 31) << 33 | self.roll(1 << 31),
            1 => self.roll(0o20_000_000) << 3 | self.roll(8),
            _ => ODD[self.roll(ODD.len() as u64) as usize],
        }
    }
}

/// Send `count` messages of any kind to a server: to its mounts 0 to 2, to these open files, to none; with paths made of `names`.
pub fn rage<M: ResourceManager>(server: &mut Server<M>, files: &[u64], names: &[&str], dice: &mut Dice, count: usize) {
    for _ in 0..count {
        let badge = match dice.roll(3) {
            0 => dice.roll(3),
            1 if !files.is_empty() => files[dice.roll(files.len() as u64) as usize],
            _ => OPEN_FILE | dice.word(),
        };
        let mut bytes = Vec::new();
        for _ in 0..dice.roll(6) {
            match dice.roll(12) {
                0 => bytes.extend((0..dice.roll(600)).map(|_| dice.roll(256) as u8)),
                1 => bytes.extend(core::iter::repeat_n(b'a', dice.roll(600) as usize)),
                2 => bytes.extend_from_slice(&dice.word().to_le_bytes()),
                _ => {
                    bytes.extend_from_slice(names[dice.roll(names.len() as u64) as usize].as_bytes());
                    bytes.push(b'/');
                }
            }
        }
        if dice.roll(2) == 0 {
            bytes.pop();
        }
        let sent = match dice.roll(8) {
            0 => dice.word() as u32 & 0x3fff_ffff,
            _ => bytes.len() as u32,
        };
        let received = Received {
            request: dice.word(),
            badge,
            identity: dice.word(),
            message: Message::new(dice.roll(64), [dice.word(), dice.word(), dice.word(), dice.word()]),
            moved: bytes.len() as u64,
            sent: sent.max(bytes.len() as u32),
            room: dice.word() as u32 & 0x3fff_ffff,
            status: abi::Status(0),
        };
        server.pretend(&received, &bytes);
    }
}
