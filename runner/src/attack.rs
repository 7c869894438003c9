//! `attack`: a boot in which one program fires exchanges at the kernel, as wild as they can be, while ordinary programs
//! beside it check whether they notice anything.

use std::ffi::OsString;
use std::time::Duration;

use hostile::Order;

use crate::error::{Error, Result, say, tell};
use crate::options::{Attack, Options};
use crate::{Ready, capture, image};

/// How long a boot may take if `--timeout` does not say: 10^8 exchanges take hours on a busy host.
const LIMIT: Duration = Duration::from_secs(24 * 3600);

/// The victims: a shell and what it starts.
const VICTIMS: &str = include_str!("victims.sh");

/// Attack, and say how it went.
///
/// # Errors
/// The system does not boot, or a victim notices something; what it said is in the message.
pub fn run(ready: &Ready, options: &Options, attack: &Attack) -> Result<u8> {
    let order = Order { seed: attack.seed, exchanges: attack.exchanges };
    let mut tree = image::tree(&ready.guest, &ready.busybox)?;
    tree.bytes(abi::archive::HOSTILE_ORDER, 0o644, order.bytes());
    let arguments = ["-c", VICTIMS].map(OsString::from);
    let start = image::place_program(&mut tree, "sh".as_ref(), &arguments, &[])?;
    image::add_command(&mut tree, &start)?;
    let machine = options.machine();
    say(&format!("firing {} exchanges, seed {}", order.exchanges, order.seed));
    let limit = options.limit(None).unwrap_or(LIMIT);
    let captured = capture::run(ready, &machine, &tree, b"", limit)?;
    tell(&captured.output)?;
    if captured.output.contains("nothing is missing") { Ok(0) } else { Err(Error::new("the attack did not end well")) }
}
