//! The system log: a bounded ring of lines.
//!
//! It is mounted at `/dev/log`, so its labels are none of [`crate::file`]'s, of which it answers `Stat`.

crate::protocol! {
    name: "log", uuid: 0x6261_746f_6e00_4000_8000_0000_0000_0004, version: 1;

    /// Append the line in the send bytes (no newline). `level`: 0 (emergency) to 7 (debug), as syslog's. The caller's name, if the
    /// line should carry one, is part of it.
    0x201 Append append(level) -> ();
    /// Text of all lines from sequence number `from` on, as `<level>[seconds.micros] line\n`, whole lines only, in the receive bytes. Answer: bytes, the sequence number to go on from.
    0x202 Read read(from) -> (length, next);
    /// Forget all lines.
    0x203 Clear clear() -> ();
    /// Answer: sequence number of the next line, bytes kept.
    0x204 Position position() -> (next, bytes);
}

#[cfg(test)]
mod tests {
    use super::Request;

    /// The runtime sends these messages itself, below this crate.
    #[test]
    fn the_runtime_uses_the_same_labels() {
        assert_eq!(Request::Append { level: 0 }.encode().0, runtime::log::APPEND);
        assert_eq!(crate::process::Request::Allocate { length: 0, flags: 0 }.encode().0, runtime::heap::ALLOCATE);
    }
}
