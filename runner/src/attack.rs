//! `attack`: a boot in which one program fires exchanges at the kernel, as wild as they can be, while ordinary programs
//! beside it check whether they notice anything.

use std::cell::Cell;
use std::ffi::OsString;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hostile::{Deed, Order, Tally};

use crate::error::{Error, Result, say, tell};
use crate::options::{Attack, Options};
use crate::{Ready, capture, image, share};

/// How long a boot may take if `--timeout` does not say: 10^8 exchanges take an hour on a busy host.
const LIMIT: Duration = Duration::from_secs(24 * 3600);

/// The invariants are checked after so many steps of a simulation.
const CHECK_EVERY: u64 = 256;
/// In an attack of more exchanges the victims rest for longer, and leave the processor to it.
const LONG: u64 = 10_000_000;
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
    let pause = if attack.exchanges > LONG { "15" } else { "1" };
    let arguments = ["-c", VICTIMS, "victims", pause].map(OsString::from);
    let start = image::place_program(&mut tree, "sh".as_ref(), &arguments, &[])?;
    image::add_command(&mut tree, &start)?;
    let machine = options.machine();
    say(&format!("firing {} exchanges, seed {}", order.exchanges, order.seed));
    let limit = options.limit(None).unwrap_or(LIMIT);
    let captured = capture::run(ready, &machine, &tree, b"", limit)?;
    tell(&captured.output)?;
    if captured.output.contains("nothing is missing") { Ok(0) } else { Err(Error::new("the attack did not end well")) }
}

/// Exchanges of one simulation.
const SIMULATED: u64 = 1_000_000;

/// Fire them on the simulator, where the invariants are checked: in simulations whose seeds follow each other.
///
/// # Errors
/// What happened cannot be told. (A defect ends us here and now, and says where.)
pub fn simulate(attack: &Attack) -> Result<u8> {
    let (next, fired) = (AtomicU64::new(0), Cell::new(0));
    let mut tally = Tally::default();
    let more = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|number| number * SIMULATED < attack.exchanges);
    let work = |number: u64| {
        let seed = attack.seed.wrapping_add(number);
        let exchanges = SIMULATED.min(attack.exchanges - number * SIMULATED);
        // Before it runs, as a defect may end us. Without standard error nobody wants to know.
        say(&format!("seed {seed}: {exchanges} exchanges"));
        hostility::attack(seed, exchanges, CHECK_EVERY)
    };
    let done = |counted: Tally| {
        tally.add(&counted);
        fired.set(Deed::all().map(|deed| tally.successes(deed).0).sum::<u64>());
        Ok(())
    };
    let threads = attack.threads.map_or_else(share::all_processors, |threads| threads.max(1) as usize);
    share::run(threads, more, work, done, || format!("{} exchanges", fired.get()))?;
    for deed in Deed::all() {
        tell(&format!("{}\n", tally.line(deed)))?;
    }
    tell(&format!("seed {}: {} exchanges, nothing is missing\n", attack.seed, fired.get()))?;
    Ok(0)
}
