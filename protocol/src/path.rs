//! The path service: prefix → the connection of the program that owns it. Longest prefix first, then mount order.
//!
//! A connection to it stands for a *name space*. Deriving a smaller or rearranged one is one message; who derives one may
//! mount in it, others only in a space whose connection permits it (init's).
//! Paths are absolute; matching is by whole components, textually: empty components and `.` are passed over, `..` and links
//! are the owners' business, see [`crate::file`].
//!
//! A mount is a connection that its maker keeps valid: init mounts services on connections to gates that it owns itself, so that a
//! mount goes on working when its server is restarted.

/// Set in the badge of a connection that may change its name space.
pub const MAY_CHANGE: u64 = 1 << 63;
/// Longest path.
pub const PATH_MAXIMUM: usize = crate::file::PATH_MAXIMUM;

crate::protocol! {
    name: "path", uuid: 0x6261_746f_6e00_4000_8000_0000_0000_0002, version: 1;

    /// The owner of the path in the send bytes. `skip`: how many better candidates said "not mine". Answer: its mount connection in the
    /// first taken slot, how many bytes of the path are the prefix (and the slash behind it), the mount's number, whether further candidates follow (1), and
    /// `alone`: bytes of the path's shortest part below which nothing else is mounted, so that whatever lies there has the same candidates (0: it has none).
    1 Resolve resolve(skip) -> (consumed, mount, more, alone);
    /// Mount: the send bytes are the prefix, the passed handle is the owner's mount connection. `after`: 0 in front of equal prefixes, 1 behind. Answer: the mount's number.
    2 Mount mount(after) -> (mount);
    /// Remove a mount by number.
    3 Unmount unmount(mount) -> ();
    /// Names mounted directly below the prefix in the send bytes, each followed by a zero byte, in the receive bytes. Answer: bytes (ERANGE if there is too little room).
    4 Children children() -> (length);
    /// A new name space, as a connection in the first taken slot. The send bytes are pairs of zero-terminated strings: prefix in the new
    /// space, path in this one, with all that is mounted at and below it; nothing else is visible. No bytes: a copy of this one.
    /// EXDEV for a path inside a mount: only its owner could confine it. The caller pays for the connection: EPERM without
    /// [`CHARGE_ME`](abi::call::flags::CHARGE_ME).
    5 Derive derive() -> ();
    /// The prefix of mount number `index`-th in order, in the receive bytes (for /proc/mounts). Answer: its length and number. ENOENT at the end.
    6 Entry entry(index) -> (length, mount);
}
