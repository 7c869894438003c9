//! Point 7: what a program does wrong harms only itself. After each abuse the shell works, and the memory is free again.

use system_tests::{Baton, Key, Outcome, Script, ensure};

use crate::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("point_07_faults_kill_their_process", faults_kill_their_process),
    ("point_07_memory_comes_back", memory_comes_back),
    ("point_07_no_call_believes_its_arguments", no_call_believes_its_arguments),
    ("point_07_fork_bomb", fork_bomb),
    ("point_07_endless_loop_is_stopped_by_a_key", endless_loop_is_stopped_by_a_key),
    ("point_07_forks_lose_no_byte", forks_lose_no_byte),
];

fn script(baton: &Baton) -> Result<Script, system_tests::Failed> {
    let program = baton.c_with_musl("abuse", include_str!("../programs/abuse.c"))?;
    Ok(baton.script().copy(&program, "/usr/local/bin/abuse"))
}

/// Signals, as statuses of a shell.
const ILL: u32 = 132;
const BUS: u32 = 135;
const SEGV: u32 = 139;

fn faults_kill_their_process(baton: &Baton) -> Outcome {
    let mut script = script(baton)?;
    let ways = [
        ("null_dereference", SEGV),
        ("jump_to_garbage", SEGV),
        ("stack_overflow", SEGV),
        ("illegal_instruction", ILL),
        ("privileged_instruction", SEGV),
        ("port_instruction", SEGV),
        ("kernel_read", SEGV),
        ("kernel_write", SEGV),
        ("non_canonical", SEGV),
        ("stack_pointer_garbage", SEGV),
        ("stack_pointer_call", BUS),
        ("overwrite_library_code", SEGV),
    ];
    for (way, status) in ways {
        script = script.ends(&format!("abuse {way}"), status).prints("echo the shell works", "the shell works\n");
    }
    script
        .ends("abuse overwrite_library_data; [ $? -gt 128 ]", 0)
        .prints("echo the shell works", "the shell works\n")
        .run()
}

/// Free memory before and after something that was done once already: what the services keep for next time they have. What is left of
/// a process is taken away while others go on, so each is what memory comes to at last.
fn compared(way: &str) -> String {
    format!(
        "memory() {{ awk '/MemFree/ {{ print $2 }}' /proc/meminfo; }}; \
         {way} >/dev/null 2>&1; before=0; until [ $before = \"$(memory)\" ]; do before=$(memory); sleep 0.1; done; \
         {way} >/dev/null 2>&1; \
         for try in $(seq 100); do after=$(memory); [ $((before - after)) -le 128 ] && break; sleep 0.1; done; \
         [ $((before - after)) -le 128 ] || echo \"$before KiB before, $after KiB after\""
    )
}

fn memory_comes_back(baton: &Baton) -> Outcome {
    let mut script = script(baton)?.memory_mib(192);
    script = script.ends("abuse memory_until_failure", 0).mentions("dmesg; abuse memory_until_failure", "ENOMEM");
    for way in [
        "abuse null_dereference",
        "abuse stack_overflow",
        "abuse memory_until_failure",
        "abuse forks_until_failure",
        "abuse threads_until_failure",
        "abuse overwrite_library_data",
        "sh -c 'sleep 0 | sleep 0 | sleep 0; ls /bin | wc -l'",
        "{ dd if=/dev/zero of=/tmp/big bs=1M count=30; rm /tmp/big; }",
    ] {
        script = script.prints(&compared(way), "").prints("echo the shell works", "the shell works\n");
    }
    script.run()
}

fn no_call_believes_its_arguments(baton: &Baton) -> Outcome {
    script(baton)?
        .prints("abuse wild_pointers", "done\n")
        .prints("abuse random_descriptors", "done\n")
        .prints("abuse random_bytes_as_programs", "refused\n")
        .prints("abuse every_call_with_nonsense", "done\n")
        .prints("echo the shell works", "the shell works\n")
        .run()
}

fn fork_bomb(baton: &Baton) -> Outcome {
    script(baton)?
        .prints("abuse forks_until_failure", "limited\n")
        .prints("abuse fork_bomb & sleep 2; echo the shell works", "the shell works\n")
        // At once: whatever is left of it fills up what was killed one by one.
        .ends("kill -9 -1", 0)
        .prints("while ps | grep -q '[a]buse fork'; do sleep 0.1; done", "")
        .prints("echo the shell works", "the shell works\n")
        .run()
}

fn endless_loop_is_stopped_by_a_key(baton: &Baton) -> Outcome {
    let terminal = baton.terminal(&[])?;
    terminal.wait_for_prompt()?;
    terminal.start("echo up; while :; do :; done")?;
    terminal.press(Key::Control('C'))?;
    terminal.wait_for_prompt()?;
    terminal.start("awk 'BEGIN { print \"up\"; for (;;) x++ }'")?;
    terminal.press(Key::Control('C'))?;
    terminal.wait_for_prompt()?;
    ensure!(terminal.run("echo works")? == "works\n", "{}", terminal.screen());
    Ok(())
}

fn forks_lose_no_byte(baton: &Baton) -> Outcome {
    script(baton)?.prints("abuse forks_beside_readers", "2991000 bytes, 0 wrong\n").run()
}
