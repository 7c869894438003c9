//! Point 1: the shell on a terminal, and how it is left.

use rustix::process::Signal;
use system_tests::{Baton, Key, Outcome, ensure, ensure_equal};

use crate::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("point_01_shell_runs_commands", shell_runs_commands),
    ("point_01_exit_leaves", exit_leaves),
    ("point_01_poweroff_leaves", poweroff_leaves),
    ("point_01_a_key_ends_a_hung_guest", a_key_ends_a_hung_guest),
    ("point_01_terminal_is_restored_after_signals", terminal_is_restored_after_signals),
    ("point_01_terminal_is_restored_after_qemu_is_killed", terminal_is_restored_after_qemu_is_killed),
    ("point_01_date_is_right", date_is_right),
    ("point_01_resizing_reaches_the_guest", resizing_reaches_the_guest),
];

fn shell_runs_commands(baton: &Baton) -> Outcome {
    let terminal = baton.terminal(&[])?;
    terminal.wait_for_prompt()?;
    let first_lines = terminal.screen();
    for word in ["exit", "poweroff", "Ctrl-]", "vanish"] {
        ensure!(first_lines.contains(word), "'{word}' is not in the first lines:\n{first_lines}");
    }
    ensure_equal!(terminal.run("echo $HOME $TERM")?, "/root xterm\n", "variables");
    ensure_equal!(terminal.run("hostname")?, "baton\n", "the host's name");
    Ok(())
}

fn exit_leaves(baton: &Baton) -> Outcome {
    let mut terminal = baton.terminal(&[])?;
    terminal.wait_for_prompt()?;
    terminal.line("exit")?;
    ensure_equal!(terminal.end()?, 0, "status");
    ensure!(terminal.is_restored()?, "the terminal's modes");
    Ok(())
}

fn poweroff_leaves(baton: &Baton) -> Outcome {
    let mut terminal = baton.terminal(&[])?;
    terminal.wait_for_prompt()?;
    terminal.line("poweroff")?;
    ensure_equal!(terminal.end()?, 0, "status");
    Ok(())
}

fn a_key_ends_a_hung_guest(baton: &Baton) -> Outcome {
    let mut terminal = baton.terminal(&[])?;
    terminal.wait_for_prompt()?;
    terminal.start("echo up; while :; do :; done")?;
    terminal.press(Key::Control(']'))?;
    ensure_equal!(terminal.end()?, 0, "status");
    terminal.wait_for("launch          thread")?;
    ensure!(terminal.screen().lines().any(|line| line.contains(" sh ") && line.contains(" READY")), "who hangs");
    ensure!(terminal.is_restored()?, "the terminal's modes");
    Ok(())
}

fn terminal_is_restored_after_signals(baton: &Baton) -> Outcome {
    for (signal, status) in [(Signal::TERM, 143), (Signal::HUP, 129)] {
        let mut terminal = baton.terminal(&[])?;
        terminal.wait_for_prompt()?;
        ensure!(!terminal.is_restored()?, "the guest has the terminal");
        let qemu = children(terminal.process())?;
        terminal.signal(signal)?;
        ensure_equal!(terminal.end()?, status, "status after {signal:?}");
        ensure!(terminal.is_restored()?, "the terminal's modes after {signal:?}");
        ensure!(!qemu.iter().any(|process| exists(*process)), "QEMU is still running after {signal:?}");
    }
    Ok(())
}

fn terminal_is_restored_after_qemu_is_killed(baton: &Baton) -> Outcome {
    let mut terminal = baton.terminal(&[])?;
    terminal.wait_for_prompt()?;
    for process in children(terminal.process())? {
        let process = i32::try_from(process)?;
        let process = rustix::process::Pid::from_raw(process).ok_or("a process number of 0")?;
        rustix::process::kill_process(process, Signal::KILL)?;
    }
    ensure_equal!(terminal.end()?, 125, "status");
    ensure!(terminal.is_restored()?, "the terminal's modes");
    terminal.wait_for("killed by signal 9")?;
    Ok(())
}

fn date_is_right(baton: &Baton) -> Outcome {
    let terminal = baton.terminal(&[])?;
    terminal.wait_for_prompt()?;
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map(|time| time.as_secs());
    let before = now()?;
    let seen: u64 = terminal.run("date +%s")?.trim().parse()?;
    let after = now()?;
    ensure!((before.saturating_sub(2)..=after + 2).contains(&seen), "{seen} is not between {before} and {after}");
    ensure!(terminal.run("date")?.contains(" UTC 2"), "{}", terminal.screen());
    Ok(())
}

fn resizing_reaches_the_guest(baton: &Baton) -> Outcome {
    let terminal = baton.terminal(&[])?;
    terminal.wait_for_prompt()?;
    ensure_equal!(terminal.run("stty size")?, "24 80\n", "at the start");
    terminal.resize(40, 100)?;
    terminal.wait("the new size", || terminal.run("stty size").is_ok_and(|size| size == "40 100\n"))?;
    // Full-screen programs fill the new screen, however odd it was in between.
    terminal.line("vi /etc/passwd")?;
    terminal.wait_for("/etc/passwd 1/2")?;
    for (rows, columns) in [(3, 9), (200, 500), (12, 60)] {
        let before = terminal.bytes().len();
        terminal.resize(rows, columns)?;
        terminal.wait("vi to draw again", || terminal.bytes().len() > before)?;
    }
    terminal.wait("vi's last line on the new last line", || {
        let screen = terminal.screen();
        let lines: Vec<&str> = screen.lines().collect();
        lines.len() == 12 && lines[11].contains("/etc/passwd 1/2")
    })?;
    terminal.line(":q")?;
    terminal.wait_for_prompt()?;
    terminal.line("top -d 1")?;
    terminal.wait_for("COMMAND")?;
    let processes = || terminal.screen().lines().filter(|line| line.contains("root ")).count();
    terminal.wait("as many processes as 12 rows take", || processes() == 12 - 4)?;
    terminal.resize(40, 100)?;
    terminal.wait("more of them", || processes() > 12)?;
    terminal.type_text("q")?;
    terminal.wait_for_prompt()
}

/// The processes that `process` started.
fn children(process: u32) -> Result<Vec<u32>, system_tests::Failed> {
    let list = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children"))?;
    Ok(list.split_whitespace().filter_map(|number| number.parse().ok()).collect())
}

fn exists(process: u32) -> bool {
    std::path::Path::new(&format!("/proc/{process}/stat")).exists()
}
