//! Point 11: a program that fires whatever an exchange can be at the kernel harms only itself.

use system_tests::{Baton, Exec, Outcome, ensure};

use crate::Scenario;

pub(crate) const SCENARIOS: &[Scenario] =
    &[("point_11_hostile_program_beside_victims", hostile_program_beside_victims)];

/// Exchanges that are fired, and what decides them.
const EXCHANGES: &str = "1000000";
const SEED: &str = "1";

fn hostile_program_beside_victims(baton: &Baton) -> Outcome {
    let arguments = ["attack", "--seed", SEED, "--exchanges", EXCHANGES, "--timeout", "3000"];
    let run = Exec::command(baton.runner(), &arguments).run()?;
    run.expect_status(0)?;
    let output = run.output();
    ensure!(output.contains("nothing is missing"), "{output}");
    ensure!(output.contains("all results right, all memory free"), "{output}");
    Ok(())
}
