//! Scenarios, named by the points of the issue that they show: `cargo test point_02` runs those of point 2.

mod abuse;
mod bad_input;
mod bench;
mod exec;
mod hostility;
mod interactive;
mod personality;
mod programs;
mod services;
mod trace;

use std::process::ExitCode;
use std::sync::OnceLock;

use libtest_mimic::{Arguments, Failed, Trial};
use system_tests::{Baton, Outcome};

/// A scenario's name and what it does.
type Scenario = (&'static str, fn(&Baton) -> Outcome);

/// Scenarios that need nothing but the runner's program.
const WITHOUT_GUEST: &[&[Scenario]] = &[bad_input::SCENARIOS];

/// Scenarios that boot.
const WITH_GUEST: &[&[Scenario]] = &[
    exec::SCENARIOS,
    interactive::SCENARIOS,
    services::SCENARIOS,
    personality::SCENARIOS,
    programs::SCENARIOS,
    abuse::SCENARIOS,
    hostility::SCENARIOS,
    trace::SCENARIOS,
    bench::SCENARIOS,
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Each guest keeps a processor busy: more at once only makes all of them slow.
    arguments.test_threads.get_or_insert(2);
    let wanted = |(name, _): &&Scenario| arguments.filter.as_ref().is_none_or(|filter| name.contains(filter));
    // Before the harness begins, so that set-up is shown as it happens. If it fails, so does each scenario that needs it.
    if !arguments.list && WITH_GUEST.concat().iter().any(|scenario| wanted(&scenario)) {
        drop(prepared());
    }
    let without = WITHOUT_GUEST.concat().into_iter().map(|(name, scenario)| trial(name, scenario, unprepared));
    let with = WITH_GUEST.concat().into_iter().map(|(name, scenario)| trial(name, scenario, prepared));
    let trials = without.chain(with).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(name: &str, scenario: fn(&Baton) -> Outcome, baton: fn() -> Result<&'static Baton, String>) -> Trial {
    Trial::test(name, move || scenario(baton().map_err(Failed::from)?))
}

/// The system, set up and built when it is first asked for.
fn prepared() -> Result<&'static Baton, String> {
    static BATON: OnceLock<Result<Baton, String>> = OnceLock::new();
    BATON.get_or_init(|| Baton::prepare().map_err(message)).as_ref().map_err(Clone::clone)
}

/// The runner alone.
fn unprepared() -> Result<&'static Baton, String> {
    static BATON: OnceLock<Result<Baton, String>> = OnceLock::new();
    BATON.get_or_init(|| Baton::unprepared().map_err(message)).as_ref().map_err(Clone::clone)
}

fn message(failed: Failed) -> String {
    failed.message().unwrap_or("the system is not ready").to_owned()
}
