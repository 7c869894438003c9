//! Point 2: `exec` runs one program with the host's streams and ends with its status.

use system_tests::{Baton, Outcome, ensure, ensure_equal};

use crate::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("point_02_output_and_errors_come_apart", output_and_errors_come_apart),
    ("point_02_input_ends", input_ends),
    ("point_02_status_is_the_programs", status_is_the_programs),
    ("point_02_unknown_program_is_127", unknown_program_is_127),
    ("point_02_c_program_of_the_host", c_program_of_the_host),
    ("point_02_environment_and_directory", environment_and_directory),
    ("point_02_copies_keep_modes", copies_keep_modes),
    ("point_02_time_out_tells_what_threads_do", time_out_tells_what_threads_do),
    ("point_02_interrupt_ends_with_130", interrupt_ends_with_130),
    ("point_02_scripts_and_missing_files", scripts_and_missing_files),
    ("point_02_streams_of_all_kinds", streams_of_all_kinds),
    ("point_02_long_arguments", long_arguments),
    ("point_02_program_of_50_mib", program_of_50_mib),
    ("point_02_copy_of_130_mib", large_copy),
    ("point_02_program_finds_itself", program_finds_itself),
    ("point_02_100_mib_through_the_streams", much_through_the_streams),
];

fn output_and_errors_come_apart(baton: &Baton) -> Outcome {
    let run = baton.sh("printf 'a\\nb'; printf 'c\\n' >&2").run()?;
    run.expect_output("a\nb")?;
    ensure_equal!(run.errors(), "c\n", "standard error, and nothing of Baton's");
    Ok(())
}

fn input_ends(baton: &Baton) -> Outcome {
    baton.sh("wc -c").input("12345").run()?.expect_output("5\n")?;
    baton.sh("cat; echo end").run()?.expect_output("end\n")?;
    baton.sh("[ -t 0 ] || echo no terminal").run()?.expect_output("no terminal\n")?;
    Ok(())
}

fn status_is_the_programs(baton: &Baton) -> Outcome {
    baton.sh("exit 7").run()?.expect_status(7)?;
    baton.sh("kill -TERM $$").run()?.expect_status(128 + 15)?;
    Ok(())
}

fn unknown_program_is_127(baton: &Baton) -> Outcome {
    let run = baton.exec(&["there-is-no-such-program"]).run()?;
    run.expect_status(127)?;
    ensure!(run.errors().contains("there-is-no-such-program"), "{}", run.errors());
    Ok(())
}

fn c_program_of_the_host(baton: &Baton) -> Outcome {
    let source = r#"
        #include <stdio.h>
        int main(int count, char **words) {
            for (int i = 1; i < count; i++) printf("[%s]", words[i]);
            puts(""); fputs("errors\n", stderr);
            return count;
        }"#;
    for program in [baton.c_with_musl("arguments", source)?, baton.c_with_glibc("arguments", source)?] {
        let run = baton.exec(&[&program.to_string_lossy(), "a b", "", "--timeout"]).run()?;
        run.expect_status(4)?;
        ensure_equal!(run.output(), "[a b][][--timeout]\n", "the program's arguments");
        ensure_equal!(run.errors(), "errors\n", "standard error");
    }
    Ok(())
}

fn environment_and_directory(baton: &Baton) -> Outcome {
    let run = baton.exec(&["--env", "A=b c", "env"]).variable("TERM", "vt220").run()?;
    run.expect_status(0)?;
    let mut variables: Vec<String> = run.output().lines().map(str::to_owned).collect();
    variables.sort();
    ensure_equal!(variables, ["A=b c", "HOME=/root", "PATH=/usr/local/bin:/bin", "TERM=vt220"], "the environment");
    baton.exec(&["pwd"]).run()?.expect_output("/root\n")?;
    Ok(())
}

fn copies_keep_modes(baton: &Baton) -> Outcome {
    use std::os::unix::fs::PermissionsExt;
    let folder = std::env::temp_dir().join(format!("baton-test-{}-copies", std::process::id()));
    std::fs::create_dir_all(folder.join("inner"))?;
    std::fs::write(folder.join("inner/file"), "content")?;
    std::fs::set_permissions(folder.join("inner/file"), std::fs::Permissions::from_mode(0o640))?;
    let copy = format!("{}:/var/new/copies", folder.display());
    let run = baton
        .exec(&["--copy", &copy, "sh", "-c", "cat /var/new/copies/inner/file; stat -c %a /var/new/copies/inner/file"])
        .run();
    std::fs::remove_dir_all(folder)?;
    run?.expect_output("content640\n")?;
    Ok(())
}

fn time_out_tells_what_threads_do(baton: &Baton) -> Outcome {
    let source = r#"
        #include <fcntl.h>
        #include <pthread.h>
        #include <unistd.h>
        static void *reader(void *name) {
            int ends[2]; char byte;
            pthread_setname_np(pthread_self(), name);
            return pipe(ends) ? 0 : (void *)read(ends[0], &byte, 1);
        }
        int main(void) {
            pthread_t thread;
            pthread_create(&thread, 0, reader, "my-reader");
            // The other waits.
            usleep(300000);
            write(1, "up", 2);
            for (;;) {}
        }"#;
    let program = baton.c_with_glibc("waiting", source)?;
    // How far it comes in that time is the host's affair: more time, until it came far enough.
    let mut seconds = 2;
    let run = loop {
        let run = baton.exec(&["--timeout", &seconds.to_string(), &program.to_string_lossy()]).run()?;
        run.expect_status(124)?;
        if run.output() == "up" || seconds > 1000 {
            break run;
        }
        seconds *= 2;
    };
    let errors = run.errors();
    // Process, program, "thread", thread, state, whom it waits for.
    let lines: Vec<Vec<&str>> = errors.lines().map(|line| line.split_whitespace().collect()).collect();
    let services = ["process", "log", "registry", "path", "memfs", "bootfs", "pipe", "device", "clock", "serial"];
    for service in services.into_iter().chain(["virtio-serial", "console", "procfs", "launch"]) {
        let line = lines.iter().find(|words| words.get(1) == Some(&service));
        let state = line.and_then(|words| words.get(4));
        ensure!(matches!(state, Some(&("RECEIVE" | "REPLY" | "READY"))), "{service} is not told of: {errors}");
    }
    ensure!(lines.iter().any(|words| **words == ["1", "init", "thread", "1", "RUNNING"]), "init itself: {errors}");
    let own: Vec<&[&str]> =
        lines.iter().filter(|words| words.get(1) == Some(&"waiting-glibc")).map(|words| &words[4..]).collect();
    let [computing, reading] = *own else { return Err(format!("the program's two threads: {errors}").into()) };
    ensure_equal!(computing, ["READY"], "the thread that computes");
    ensure!(matches!(reading, ["REPLY", "of", "pipe", _, "[my-reader]"]), "the thread that reads: {errors}");
    Ok(())
}

fn interrupt_ends_with_130(baton: &Baton) -> Outcome {
    let mut child = std::process::Command::new(baton.runner())
        .args(["exec", "sh", "-c", "echo up; sleep 100"])
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .spawn()?;
    let mut first = [0; 3];
    let output = child.stdout.as_mut().ok_or("no output")?;
    std::io::Read::read_exact(output, &mut first)?;
    let process = rustix::process::Pid::from_child(&child);
    let group = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id()))?;
    rustix::process::kill_process(process, rustix::process::Signal::INT)?;
    ensure_equal!(child.wait()?.code(), Some(130), "status");
    let left = group.split_whitespace().any(|qemu| std::path::Path::new(&format!("/proc/{qemu}/stat")).exists());
    ensure!(!left, "QEMU is still running");
    Ok(())
}

fn scripts_and_missing_files(baton: &Baton) -> Outcome {
    let script = std::env::temp_dir().join(format!("baton-test-{}-script", std::process::id()));
    std::fs::write(&script, "#!/bin/sh\necho script $1\n")?;
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let name = script.to_string_lossy().into_owned();
    let run = baton.exec(&[&name, "argument"]).run();
    std::fs::remove_file(script)?;
    run?.expect_output("script argument\n")?;
    let run = baton.exec(&["sh", "-c", "/tmp"]).run()?;
    run.expect_status(126)?;
    Ok(())
}

/// Closed streams, full disks, readers that leave.
fn streams_of_all_kinds(baton: &Baton) -> Outcome {
    let runner = baton.runner().display();
    let host = |line: &str| {
        let line = line.replace("BATON", &format!("'{runner}'"));
        let output = std::process::Command::new("/bin/sh").args(["-c", &line]).output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok::<_, system_tests::Failed>((output.status.code(), text(&output.stdout), text(&output.stderr)))
    };
    let said = |status: i32, output: &str, errors: &str| (Some(status), output.to_owned(), errors.to_owned());
    let both = "sh -c 'cat; echo out; echo err >&2; exit 3'";
    ensure_equal!(host(&format!("BATON exec {both} <&-"))?, said(3, "out\n", "err\n"), "no standard input");
    ensure_equal!(host(&format!("BATON exec {both} </dev/null >&-"))?, said(3, "", "err\n"), "no standard output");
    ensure_equal!(host(&format!("BATON exec {both} </dev/null 2>&-"))?, said(3, "out\n", ""), "no standard error");
    let (status, _, errors) = host(&format!("BATON exec {both} </dev/null >/dev/full"))?;
    ensure_equal!(status, Some(125), "status with a full disk");
    ensure!(errors.contains("cannot write the program's output"), "{errors}");
    ensure_equal!(host(&format!("BATON exec {both} </dev/null 2>/dev/full"))?.0, Some(125), "nowhere for errors");
    let left = host("{ BATON exec sh -c 'yes | cat' </dev/null; echo $? >&2; } | head -n 1")?;
    ensure_equal!(left, said(0, "y\n", "141\n"), "a reader that leaves");
    ensure_equal!(host("yes | BATON exec head -n 1")?, said(0, "y\n", ""), "a program that does not read all");
    Ok(())
}

fn long_arguments(baton: &Baton) -> Outcome {
    let long = "a".repeat(100_000);
    let run =
        baton.exec(&["--env", &format!("LONG={long}"), "sh", "-c", "echo ${#1} ${#LONG} $#", "x", &long]).run()?;
    run.expect_output("100000 100000 1\n")?;
    let numbers: Vec<String> = (0..20_000).map(|number| number.to_string()).collect();
    let mut arguments = vec!["sh", "-c", "echo $#", "x"];
    arguments.extend(numbers.iter().map(String::as_str));
    baton.exec(&arguments).run()?.expect_output("20000\n")?;
    Ok(())
}

fn program_of_50_mib(baton: &Baton) -> Outcome {
    let source = "
        #include <stdio.h>
        static char large[50 << 20] = {1};
        int main(void) {
            long sum = 0;
            for (long i = 0; i < sizeof large; i += 4096) sum += large[i];
            printf(\"%ld\\n\", sum);
            return 0;
        }";
    let program = baton.c_with_glibc("large", source)?;
    baton.exec(&[&program.to_string_lossy()]).run()?.expect_output("1\n")?;
    Ok(())
}

fn program_finds_itself(baton: &Baton) -> Outcome {
    let source = "
        #include <stdio.h>
        #include <unistd.h>
        int main(int count, char **arguments) {
            if (count > 1) return puts(arguments[1]) < 0;
            execl(arguments[0], arguments[0], \"again\", (char *)0);
            return 1;
        }";
    let program = baton.c_with_musl("again", source)?;
    baton.exec(&[&program.to_string_lossy()]).run()?.expect_output("again\n")?;
    Ok(())
}

fn large_copy(baton: &Baton) -> Outcome {
    let file = std::env::temp_dir().join(format!("baton-test-{}-large", std::process::id()));
    std::fs::File::create(&file)?.set_len(130 << 20)?;
    let copy = format!("{}:/root/large", file.display());
    let run = baton.exec(&["--copy", &copy, "sh", "-c", "stat -c %s large; ls /boot >/dev/null && echo there"]).run();
    std::fs::remove_file(file)?;
    run?.expect_output("136314880\nthere\n")?;
    Ok(())
}

fn much_through_the_streams(baton: &Baton) -> Outcome {
    let input: Vec<u8> = (0..100u32 << 20).map(|byte| (byte.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let run = baton.exec(&["cat"]).input(input.clone()).run()?;
    run.expect_status(0)?;
    ensure!(run.stdout == input, "{} bytes came back, not the {} that went in", run.stdout.len(), input.len());
    Ok(())
}
