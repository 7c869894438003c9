//! The command line of `cargo run`.

use std::process::ExitCode;

use runner::error::{Result, say, tell};
use runner::options::{self, Action};

fn main() -> ExitCode {
    match run() {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            say(&error.message);
            ExitCode::from(error.status)
        }
    }
}

fn run() -> Result<u8> {
    let (options, action) = options::parse(std::env::args_os().skip(1))?;
    if action == Action::Help {
        tell(options::HELP)?;
        return Ok(0);
    }
    if let Action::Simulate(simulate) = &action {
        return runner::simulate::run(&options, simulate);
    }
    if let Action::Attack(attack) = &action
        && attack.simulated
    {
        return runner::attack::simulate(attack);
    }
    options.check()?;
    if let Action::Exec(exec) = &action {
        runner::exec::check(&options, exec)?;
    }
    if let Action::Trace(trace) = &action {
        runner::exec::check(&options, &trace.exec)?;
    }
    let ready = runner::prepare(options.busybox.as_deref())?;
    match action {
        Action::Exec(exec) => runner::exec::run(&ready, &options, &exec),
        Action::Trace(trace) => runner::trace::run(&ready, &options, &trace),
        Action::Bench { form } => runner::bench::run(&ready, &options, form),
        Action::List { row } => runner::bench::list(&ready, &options, &row),
        Action::Longest { filter } => runner::longest::run(&ready, &filter),
        Action::Attack(attack) => runner::attack::run(&ready, &options, &attack),
        Action::Build => {
            for file in [&ready.guest.kernel].into_iter().chain(&ready.guest.programs).chain(&ready.guest.personality) {
                tell(&format!("{}\n", file.display()))?;
            }
            Ok(0)
        }
        Action::Shell | Action::Simulate(_) | Action::Help => runner::shell::run(&ready, &options),
    }
}
