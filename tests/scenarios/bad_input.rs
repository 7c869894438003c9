//! Wrong command lines and unusable files end with one clear message.

use std::fs;
use std::path::PathBuf;

use system_tests::{Baton, Exec, Outcome, ensure, ensure_equal};

use crate::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("bad_input_unknown_option", unknown_option),
    ("bad_input_unknown_command", unknown_command),
    ("bad_input_more_than_one_processor", more_than_one_processor),
    ("bad_input_other_processor", other_processor),
    ("bad_input_missing_program", missing_program),
    ("bad_input_no_elf_program", no_elf_program),
    ("bad_input_dynamically_linked_program", dynamically_linked_program),
    ("bad_input_foreign_program", foreign_program),
    ("bad_input_truncated_program", truncated_program),
    ("bad_input_program_that_is_no_file", program_that_is_no_file),
    ("bad_input_program_that_may_not_be_executed", program_that_may_not_be_executed),
    ("bad_input_empty_names", empty_names),
    ("bad_input_trace_options", trace_options),
    ("bad_input_nobody_reads_the_help", nobody_reads_the_help),
    ("bad_input_nothing_can_be_set_up", nothing_can_be_set_up),
    ("bad_input_missing_copy", missing_copy),
    ("bad_input_copy_of_a_device", copy_of_a_device),
    ("bad_input_copy_below_a_file", copy_below_a_file),
    ("bad_input_copy_larger_than_memory", copy_larger_than_memory),
];

/// Run, and expect this status and one line on standard error that contains `word`.
fn refused(baton: &Baton, arguments: &[&str], status: i32, word: &str) -> Outcome {
    let run = Exec::command(baton.runner(), arguments).run()?;
    run.expect_status(status)?;
    ensure_equal!(run.output(), "", "nothing was run");
    let errors = run.errors();
    ensure_equal!(errors.lines().count(), 1, "one message, not {errors}");
    ensure!(errors.contains(word), "'{word}' is not in: {errors}");
    Ok(())
}

/// A file of the host with this content.
fn file(name: &str, content: &[u8]) -> Result<PathBuf, system_tests::Failed> {
    let path = std::env::temp_dir().join(format!("baton-test-{}-{name}", std::process::id()));
    fs::write(&path, content)?;
    Ok(path)
}

fn unknown_option(baton: &Baton) -> Outcome {
    refused(baton, &["--nonsense"], 125, "--nonsense")
}

fn unknown_command(baton: &Baton) -> Outcome {
    refused(baton, &["dance"], 125, "dance")
}

fn more_than_one_processor(baton: &Baton) -> Outcome {
    refused(baton, &["--cpus", "2", "exec", "true"], 125, "one processor")
}

fn other_processor(baton: &Baton) -> Outcome {
    refused(baton, &["--arch", "riscv64"], 125, "riscv64")
}

fn missing_program(baton: &Baton) -> Outcome {
    refused(baton, &["exec", "./there-is-no-such-file"], 127, "no such file")
}

fn no_elf_program(baton: &Baton) -> Outcome {
    refused(baton, &["exec", "/etc/passwd"], 126, "not a program")
}

fn dynamically_linked_program(baton: &Baton) -> Outcome {
    // Programs that come with a compiler are there, and are dynamically linked.
    refused(baton, &["exec", "/usr/bin/gcc"], 126, "dynamically linked")
}

fn foreign_program(baton: &Baton) -> Outcome {
    let mut program = fs::read("/usr/bin/gcc")?;
    // e_machine: 183 is aarch64.
    program[18..20].copy_from_slice(&183u16.to_le_bytes());
    let path = file("foreign", &program)?;
    let outcome = refused(baton, &["exec", &path.to_string_lossy()], 126, "another processor");
    fs::remove_file(path)?;
    outcome
}

fn truncated_program(baton: &Baton) -> Outcome {
    let path = file("truncated", &fs::read("/usr/bin/gcc")?[..40])?;
    let outcome = refused(baton, &["exec", &path.to_string_lossy()], 126, "damaged");
    fs::remove_file(path)?;
    outcome
}

fn program_that_is_no_file(baton: &Baton) -> Outcome {
    refused(baton, &["exec", "/etc"], 126, "a directory")?;
    refused(baton, &["exec", "/dev/null"], 126, "nor a file")?;
    // Nobody ever writes to it.
    let pipe = std::env::temp_dir().join(format!("baton-test-{}-fifo", std::process::id()));
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o777.into(), 0)?;
    let outcome = refused(baton, &["exec", &pipe.to_string_lossy()], 126, "nor a file");
    fs::remove_file(pipe)?;
    outcome
}

fn program_that_may_not_be_executed(baton: &Baton) -> Outcome {
    let path = file("not-executable", b"#!/bin/sh\n")?;
    let outcome = refused(baton, &["exec", &path.to_string_lossy()], 126, "not executable");
    fs::remove_file(path)?;
    outcome
}

fn empty_names(baton: &Baton) -> Outcome {
    refused(baton, &["exec", ""], 127, "empty")?;
    refused(baton, &["exec", "--env", "NAME", "true"], 125, "NAME=VALUE")?;
    refused(baton, &["exec", "--copy", ":/x", "true"], 125, "HOST:GUEST")?;
    refused(baton, &["exec"], 125, "PROGRAM")
}

fn trace_options(baton: &Baton) -> Outcome {
    refused(baton, &["trace"], 125, "PROGRAM")?;
    refused(baton, &["trace", "--classes", "life,dance", "true"], 125, "'dance' is none of message, pulse")?;
    refused(baton, &["trace", "--classes", "", "true"], 125, "--classes")?;
    refused(baton, &["trace", "--format", "xml", "true"], 125, "--format xml: text or json")?;
    refused(baton, &["trace", "--output"], 125, "--output")?;
    // Options of `trace` alone.
    refused(baton, &["exec", "--format", "json", "true"], 125, "--format")
}

/// What cannot be written is said, if there is anywhere to say it; nothing panics.
fn nobody_reads_the_help(baton: &Baton) -> Outcome {
    let full = || fs::OpenOptions::new().write(true).open("/dev/full");
    let command = |arguments: &[&str]| {
        let mut command = std::process::Command::new(baton.runner());
        command.args(arguments).stdin(std::process::Stdio::null());
        command
    };
    let output = command(&["--help"]).stdout(full()?).output()?;
    ensure_equal!(output.status.code(), Some(125), "status");
    ensure!(String::from_utf8_lossy(&output.stderr).contains("standard output"), "{output:?}");
    let output = command(&["--nonsense"]).stderr(full()?).output()?;
    ensure_equal!(output.status.code(), Some(125), "status with nowhere to say why");
    Ok(())
}

/// Another distribution, nothing installed: one message names exactly what to install.
fn nothing_can_be_set_up(baton: &Baton) -> Outcome {
    let folder = std::env::temp_dir().join(format!("baton-test-{}-bare", std::process::id()));
    fs::create_dir_all(folder.join("bin"))?;
    let cargo = std::env::var_os("CARGO").ok_or("cargo runs the tests")?;
    let toolchain = PathBuf::from(cargo).with_file_name("");
    for tool in ["cargo", "rustc"] {
        std::os::unix::fs::symlink(toolchain.join(tool), folder.join("bin").join(tool))?;
    }
    let mut command = std::process::Command::new(baton.runner());
    command.args(["exec", "true"]).env_clear().env("PATH", folder.join("bin")).env("BATON_CACHE", folder.join("cache"));
    // Whatever the toolchain has.
    let output = command.env("BATON_RUST", "debian").stdin(std::process::Stdio::null()).output();
    fs::remove_dir_all(folder)?;
    let output = output?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure_equal!(output.status.code(), Some(125), "status");
    let has_busybox = PathBuf::from("/bin/busybox").exists();
    for word in ["qemu-system-x86_64", "busybox-static", "--busybox FILE", "rustup target add x86_64-unknown-none"] {
        ensure!(errors.contains(word) || (has_busybox && word.contains("busybox")), "'{word}' is not in: {errors}");
    }
    ensure_equal!(errors.matches("baton: ").count(), 1, "messages");
    Ok(())
}

fn missing_copy(baton: &Baton) -> Outcome {
    refused(baton, &["exec", "--copy", "/there/is/none:/x", "true"], 125, "/there/is/none")
}

fn copy_of_a_device(baton: &Baton) -> Outcome {
    refused(baton, &["exec", "--copy", "/dev/null:/x", "true"], 125, "/dev/null")
}

fn copy_below_a_file(baton: &Baton) -> Outcome {
    let arguments = ["exec", "--copy", "/etc/passwd:/tmp/x", "--copy", "/etc/passwd:/tmp/x/y", "true"];
    refused(baton, &arguments, 125, "/tmp/x")
}

fn copy_larger_than_memory(baton: &Baton) -> Outcome {
    let path = file("large", &vec![0; 100 << 20])?;
    let copy = format!("{}:/tmp/large", path.display());
    let outcome = refused(baton, &["--memory", "64", "exec", "--copy", &copy, "true"], 125, "--memory");
    fs::remove_file(path)?;
    outcome
}
