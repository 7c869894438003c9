//! The path service: prefix → the connection of the program that owns it. Longest prefix first, then mount order.
//!
//! A connection to it stands for a *name space*; deriving a smaller or rearranged one is one message.
//! Paths are absolute; matching is by whole components, textually (links and `..` are the owners' business, see [`crate::file`]).

crate::protocol! {
    name: "path", uuid: 0x6261_746f_6e00_4000_8000_0000_0000_0002, version: 1;

    /// The owner of the path in the send bytes. `skip`: how many better candidates said "not mine". Answer: its mount connection in the
    /// first taken slot, how many bytes of the path are the prefix (and the slash behind it), the mount's number and whether further candidates follow (1).
    1 Resolve resolve(skip) -> (consumed, mount, more);
    /// Mount: the send bytes are the prefix, the passed handle is the owner's mount connection. `after`: 0 in front of equal prefixes, 1 behind. Answer: the mount's number.
    2 Mount mount(after) -> (mount);
    /// Remove a mount by number.
    3 Unmount unmount(mount) -> ();
    /// Names mounted directly below the prefix in the send bytes, each followed by a zero byte, in the receive bytes. Answer: bytes.
    4 Children children() -> (length);
    /// A new name space, as a connection in the first taken slot. The send bytes are pairs of zero-terminated strings: prefix in the new
    /// space, path in this one; nothing else is visible. No bytes: a copy of this one.
    5 Derive derive() -> ();
    /// The prefix of mount number `index`-th in order, in the receive bytes (for /proc/mounts). Answer: its length and number.
    6 Entry entry(index) -> (length, mount);
}
