//! What init does for others.
//!
//! It is mounted at `/dev/init` (to end the machine only), so its labels are none of [`crate::file`]'s, of which it answers `Stat`.

/// Badge of the pulse that a program gets when one that it has a connection to (by init's list) was started again: what it
/// had open there is lost.
pub const RESTARTED: u64 = 1 << 59;

crate::protocol! {
    name: "init", uuid: 0x6261_746f_6e00_4000_8000_0000_0000_0005, version: 1;

    /// End the machine. `restart`: 1 to start it again. Does not return on success.
    0x211 Power power(restart) -> ();
    /// Service number `index`. Answer: how often it was started, 1 if it runs now, its pid, and its name (≤ 32 bytes) in the receive bytes. ENOENT at the end.
    0x212 Service service(index) -> (starts, running, pid);
    /// End service number `index`; its restart policy decides what happens then.
    0x213 Kill kill(index) -> ();
    /// The control program is ready: services are up, the started program runs.
    0x214 Up up() -> ();
}
