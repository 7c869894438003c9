//! What is in /dev, besides what others mount there.

use protocol::resource_manager::mode;

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Null,
    Zero,
    Full,
    Random,
    Link(&'static str),
}

/// A node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) name: &'static str,
    pub(crate) what: What,
    /// Linux's major and minor number.
    pub(crate) major: u64,
    pub(crate) minor: u64,
}

const fn device(name: &'static str, what: What, minor: u64) -> Node {
    Node { name, what, major: 1, minor }
}

const fn link(name: &'static str, target: &'static str) -> Node {
    Node { name, what: What::Link(target), major: 0, minor: 0 }
}

/// All nodes.
pub(crate) const NODES: [Node; 10] = [
    device("null", What::Null, 3),
    device("zero", What::Zero, 5),
    device("full", What::Full, 7),
    device("random", What::Random, 8),
    device("urandom", What::Random, 9),
    link("fd", "/proc/self/fd"),
    link("stdin", "/proc/self/fd/0"),
    link("stdout", "/proc/self/fd/1"),
    link("stderr", "/proc/self/fd/2"),
    link("shm", "/run/shm"),
];

impl Node {
    pub(crate) const fn mode(&self) -> u32 {
        match self.what {
            What::Link(_) => mode::LINK | 0o777,
            _ => mode::CHARACTER | 0o666,
        }
    }

    /// As `st_rdev` has it.
    pub(crate) const fn number(&self) -> u64 {
        self.major << 8 | self.minor
    }
}

/// The node with this name.
pub(crate) fn find(name: &[u8]) -> Option<usize> {
    NODES.iter().position(|node| node.name.as_bytes() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_linux() {
        let number = |name: &[u8]| NODES[find(name).unwrap()].number();
        assert_eq!((number(b"null"), number(b"zero"), number(b"urandom")), (0x103, 0x105, 0x109));
        assert_eq!(find(b"none"), None);
    }
}
