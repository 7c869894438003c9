//! Rights: what a handle permits. A copy never has more than its original.

/// A set of rights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Rights(pub u32);

impl Rights {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Connection: send. Pulse: raise.
    pub const SEND: Self = Self(1);
    /// Gate: receive.
    pub const RECEIVE: Self = Self(1 << 1);
    /// Memory: map or copy for reading. Ports: read.
    pub const READ: Self = Self(1 << 2);
    /// Memory: map for writing. Ports: write.
    pub const WRITE: Self = Self(1 << 3);
    /// Memory: map for execution.
    pub const EXECUTE: Self = Self(1 << 4);
    /// Call the object's managing methods (create in, map into, start, configure, connect, bind, …).
    pub const MANAGE: Self = Self(1 << 5);
    /// Destroy the object.
    pub const DESTROY: Self = Self(1 << 6);
    /// Duplicate the handle, or pass it in a message.
    pub const COPY: Self = Self(1 << 7);
    /// Everything.
    pub const ALL: Self = Self(0xff);

    /// Both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What both sets have.
    #[must_use]
    pub const fn intersect(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether every right of `other` is in this set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}
