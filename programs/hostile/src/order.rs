//! What the host wants fired: the file [`HOSTILE_ORDER`](abi::archive::HOSTILE_ORDER) of the boot archive.

/// How much of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// What decides every exchange.
    pub seed: u64,
    /// How many exchanges.
    pub exchanges: u64,
}

impl Order {
    /// As it lies in the file.
    #[must_use]
    pub fn bytes(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.seed.to_le_bytes());
        bytes[8..].copy_from_slice(&self.exchanges.to_le_bytes());
        bytes
    }

    /// Read from the file.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        Some(Self { seed: word(0)?, exchanges: word(8)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_survives_the_way() {
        let order = Order { seed: 7, exchanges: u64::MAX - 1 };
        assert_eq!(Order::parse(&order.bytes()), Some(order));
        assert_eq!(Order::parse(&order.bytes()[..15]), None);
    }
}
