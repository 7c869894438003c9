//! Points 3 and 5: what POSIX programs may expect of calls, signals, threads and memory; with both C libraries.

use std::path::PathBuf;

use system_tests::{Baton, Failed, Outcome};

use crate::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("point_03_registers_and_processor_time", registers_and_processor_time),
    ("point_05_calls_with_musl", calls_with_musl),
    ("point_05_calls_with_glibc", calls_with_glibc),
    ("point_05_missing_calls_are_named_in_the_log", missing_calls_are_named_in_the_log),
];

const FILES: &str = include_str!("../programs/files.c");
const PROCESSES: &str = include_str!("../programs/processes.c");
const THREADS: &str = include_str!("../programs/threads.c");
const TIMERS: &str = include_str!("../programs/timers.c");
const MEMORY: &str = include_str!("../programs/memory.c");

const SOURCES: &[(&str, &str)] = &[
    ("files", FILES),
    ("processes", PROCESSES),
    ("memory", MEMORY),
    ("threads", THREADS),
    ("timers", TIMERS),
    ("limits", include_str!("../programs/limits.c")),
    ("signals", include_str!("../programs/signals.c")),
    ("events", include_str!("../programs/events.c")),
    ("ipc", include_str!("../programs/ipc.c")),
    ("queues", include_str!("../programs/queues.c")),
    ("registers", include_str!("../programs/registers.c")),
    ("sharing", include_str!("../programs/sharing.c")),
];

type Compile = fn(&Baton, &str, &str) -> Result<PathBuf, Failed>;

/// Run all test programs in one boot.
fn calls(baton: &Baton, compile: Compile) -> Outcome {
    let mut script = baton.script();
    for (name, source) in SOURCES {
        let place = format!("/usr/local/bin/{name}");
        script = script.copy(&compile(baton, name, source)?, &place).lacks(name, "FAILED");
    }
    script.run()
}

fn calls_with_musl(baton: &Baton) -> Outcome {
    calls(baton, Baton::c_with_musl)
}

fn calls_with_glibc(baton: &Baton) -> Outcome {
    calls(baton, Baton::c_with_glibc)
}

fn registers_and_processor_time(baton: &Baton) -> Outcome {
    let program = baton.c_with_glibc("threads", THREADS)?;
    baton
        .script()
        .copy(&program, "/usr/local/bin/threads")
        .lacks("threads computing vector_registers fair_shares", "FAILED")
        .run()
}

fn missing_calls_are_named_in_the_log(baton: &Baton) -> Outcome {
    let source = "
        #include <errno.h>
        #include <unistd.h>
        int main(void) {
            for (int i = 0; i < 10; i++) if (syscall(777) != -1 || errno != ENOSYS) return 1;
            return 0;
        }";
    let program = baton.c_with_musl("missing", source)?;
    baton
        .script()
        .copy(&program, "/usr/local/bin/missing")
        .prints("missing", "")
        // (Not the number alone: a line's time may have it.)
        .prints("dmesg | grep -c 'call 777 '", "1\n")
        .mentions("dmesg | grep 'call 777 '", "missing")
        .run()
}
