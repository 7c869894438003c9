//! Point 6: real programs, unmodified: the shell and its tools, C with two libraries, Rust with `std`.

use runner::setup::{Cache, shells};
use system_tests::{Baton, Key, Outcome, Terminal, ensure, ensure_equal};

use crate::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("point_06_shell_language", shell_language),
    ("point_06_tools", tools),
    ("point_06_rust_program", rust_program),
    ("point_06_other_shells", other_shells),
    ("point_06_job_control", job_control),
    ("point_06_history_and_editing", history_and_editing),
    ("point_06_vi_and_top", vi_and_top),
];

fn shell_language(baton: &Baton) -> Outcome {
    baton
        .script()
        .prints("echo a b  c 'd  e' \"$((6 * 7))\"", "a b c d  e 42\n")
        .prints("for i in 1 2 3; do echo $i; done | while read x; do echo \"<$x>\"; done", "<1>\n<2>\n<3>\n")
        .prints("cat <<X\nhere $((1 + 1))\n\tdocument\nX", "here 2\n\tdocument\n")
        .prints("f() { local a=$1; echo \"f $a\"; return 3; }; f x || echo $?", "f x\n3\n")
        .prints("x=$(echo sub; echo stitution); echo \"$x\"", "sub\nstitution\n")
        .prints("case abc in a*) echo yes;; *) echo no;; esac", "yes\n")
        .prints("i=0; while [ $i -lt 1000 ]; do i=$((i + 1)); done; echo $i", "1000\n")
        .prints("(exit 5); echo $?; false || true && echo ok", "5\nok\n")
        .prints("echo to file > /tmp/f; echo more >> /tmp/f; cat < /tmp/f; rm /tmp/f", "to file\nmore\n")
        .prints("{ echo out; echo err >&2; } 2>&1 | sort", "err\nout\n")
        .prints("set -- a b c; shift; echo $# $1 \"$@\"", "2 b b c\n")
        .prints("trap 'echo trapped' USR1; kill -USR1 $$; echo after", "trapped\nafter\n")
        .prints("sleep 0.1 & wait $!; echo waited $?", "waited 0\n")
        // (Whether it says "Terminated" depends on whether the job had begun when it was killed.)
        .mentions("(sleep 100 & p=$!; kill $p; wait $p; echo $?) 2>/dev/null", "143\n")
        .prints("true | false | true; echo $?", "0\n")
        .prints("cd /tmp; mkdir -p a/b; cd a/b; pwd; cd ../..; pwd; rmdir -p a/b", "/tmp/a/b\n/tmp\n")
        .prints("echo /e*tc /etc/host* | cat", "/etc /etc/hostname /etc/hosts\n")
        .prints("printf '%s-%03d\\n' a 7 b 8", "a-007\nb-008\n")
        .prints("exec 5>/tmp/five; echo x >&5; exec 5>&-; cat /tmp/five; rm /tmp/five", "x\n")
        .prints("umask; ulimit -n >/dev/null && echo limits", "0022\nlimits\n")
        .prints("echo 'echo script $1' > /tmp/s; chmod +x /tmp/s; /tmp/s arg; rm /tmp/s", "script arg\n")
        .prints("printf '#!/bin/sh\\necho bang $2\\n' > /tmp/s; chmod +x /tmp/s; /tmp/s 1 2; rm /tmp/s", "bang 2\n")
        .ends("nonexistent-command", 127)
        .ends("/etc/passwd", 126)
        .prints("yes | head -n 3", "y\ny\ny\n")
        .prints("sh -c 'kill -SEGV $$' 2>/dev/null; echo $?", "139\n")
        .run()
}

/// The same script in shells with three C libraries: each forks, execs, waits and handles signals in its own way.
fn other_shells(baton: &Baton) -> Outcome {
    let script = "
        x=0; while [ $x -lt 1000 ]; do x=$((x+1)); done; echo $x
        for i in 1 2 3; do echo $i; done | while read a; do echo \"got $a\"; done
        f() { return 3; }; f || echo \"f=$?\"
        cat <<X | tr a-z A-Z\nhello $x\nX
        (sleep 0.1; exit 4) & wait $! || echo \"w=$?\"
        trap 'echo trapped' USR1; kill -USR1 $$
        echo $(echo nested $(echo deep))
        i=0; while [ $i -lt 20 ]; do i=$((i+1)); y=$(echo $i | cat); done; echo $y
        nothing-of-this-name 2>/dev/null; echo $?
        [ -t 0 ] || echo end";
    let expected = "1000\ngot 1\ngot 2\ngot 3\nf=3\nHELLO 1000\nw=4\ntrapped\nnested deep\n20\n127\nend\n";
    let shells = shells::prepare(&Cache::open()?)?;
    for shell in &shells {
        baton.exec(&[&shell.to_string_lossy(), "-c", script]).run()?.expect_output(expected)?;
    }
    Ok(())
}

fn tools(baton: &Baton) -> Outcome {
    let tree = "mkdir -p /tmp/t/x/y /tmp/t/z; echo apple > /tmp/t/one; echo banana > /tmp/t/x/two; \
                echo apple pie > /tmp/t/x/y/three; ln -s one /tmp/t/link";
    baton
        .script()
        .prints(tree, "")
        .prints(
            "find /tmp/t -type f | xargs cat | tr ' ' '\\n' | sort | uniq -c",
            "      2 apple\n      1 banana\n      1 pie\n",
        )
        .prints("grep -r apple /tmp/t | sort", "/tmp/t/link:apple\n/tmp/t/one:apple\n/tmp/t/x/y/three:apple pie\n")
        .prints("sed 's/a/A/g; 1q' /tmp/t/x/two", "bAnAnA\n")
        .prints("seq 1 100 | awk '{ sum += $1 } END { printf \"%d %.2f\\n\", sum, sum / NR }'", "5050 50.50\n")
        .prints(
            "cd /tmp/t; tar c . | gzip | gunzip | tar t | sort; cd",
            "./\n./link\n./one\n./x/\n./x/two\n./x/y/\n./x/y/three\n./z/\n",
        )
        .prints("mkdir /tmp/u; tar cf - -C /tmp t | tar xf - -C /tmp/u; diff -r /tmp/t /tmp/u/t && echo same", "same\n")
        .prints("readlink /tmp/u/t/link; ls -1 /tmp/u/t", "one\nlink\none\nx\nz\n")
        .prints(
            "seq 1 20000 > /tmp/n; md5sum < /tmp/n; sha256sum /tmp/n | cut -c1-16",
            "e071f707df7bbeee2a6a1eb48011ddd0  -\nf6351f5ead9a700e\n",
        )
        .prints("gzip -9 /tmp/n; gunzip -c /tmp/n.gz | wc; rm /tmp/n.gz", "    20000     20000    108894\n")
        .prints(
            "head -c 100000 /dev/urandom > /tmp/r; base64 /tmp/r | base64 -d | cmp - /tmp/r && echo equal",
            "equal\n",
        )
        .prints(
            "dd if=/dev/zero of=/tmp/z bs=64k count=100 2>/dev/null; stat -c '%s %F' /tmp/z",
            "6553600 regular file\n",
        )
        .prints(
            "cp -a /tmp/t /tmp/v; mv /tmp/v /tmp/w; rm -r /tmp/w; ls /tmp/w || true",
            "ls: /tmp/w: No such file or directory\n",
        )
        .prints(
            "touch -d '2020-01-02 03:04:05' /tmp/d; date -u -r /tmp/d +%F_%T; stat -c %Y /tmp/d",
            "2020-01-02_03:04:05\n1577934245\n",
        )
        .prints("chmod 640 /tmp/d; ls -l /tmp/d | cut -c1-10; rm /tmp/d", "-rw-r-----\n")
        .prints("printf 'b 2\\na 1\\nc 3\\n' | sort -k2 -rn | cut -d' ' -f1 | tr -d '\\n'", "cba")
        .prints("echo 'x=2^64; x' | bc 2>/dev/null || echo '2 64 ^ p' | dc", "18446744073709551616\n")
        .prints("expr 3 '*' 4; test 5 -gt 3 && basename /a/b.c .c; dirname /a/b", "12\nb\n/a\n")
        .prints("uname -s -m; hostname; whoami; id -u", "Linux x86_64\nbaton\nroot\n0\n")
        .mentions("ps", "sh /tmp/script")
        .mentions("df /tmp", "/")
        .mentions("free", "Mem:")
        .mentions("mount", "/proc")
        .mentions("uptime", "load average")
        .mentions("cat /proc/cpuinfo", "processor")
        .mentions("cat /proc/$$/maps", "stack")
        .prints("sleep 0.2; echo slept; timeout 1 sleep 10; echo $?", "slept\nTerminated\n143\n")
        .prints("mkfifo /tmp/p; (echo through > /tmp/p &); cat /tmp/p; rm /tmp/p", "through\n")
        .prints("echo abc | tee /tmp/tee | rev; cat /tmp/tee", "cba\nabc\n")
        .prints(
            "vi -c ':%s/pie/cake/' -c ':wq' /tmp/t/x/y/three < /dev/null > /dev/null 2>&1; cat /tmp/t/x/y/three",
            "apple cake\n",
        )
        .prints("time true 2>&1 | grep -c real", "1\n")
        .prints("rm -r /tmp/t /tmp/u /tmp/r /tmp/z /tmp/tee; ls -A /tmp", "script\n")
        .run()
}

fn rust_program(baton: &Baton) -> Outcome {
    let program = baton.rust("standard", include_str!("../programs/standard.rs"))?;
    let run = baton.exec(&["--env", "RUST_BACKTRACE=0", &program.to_string_lossy()]).run()?;
    run.expect_output("threads\nfiles\nchildren\ntime\n")?;
    let run = baton.exec(&[&program.to_string_lossy(), "panic"]).run()?;
    run.expect_status(101)?;
    ensure!(run.errors().contains("on purpose"), "{}", run.errors());
    Ok(())
}

fn job_control(baton: &Baton) -> Outcome {
    let terminal = baton.terminal(&[])?;
    terminal.wait_for_prompt()?;
    // It says when it is continued in the foreground.
    let job = "sh -c 'trap \"echo up; trap : CONT\" CONT; > /tmp/ready; while :; do sleep 0.1; done'";
    terminal.run(&format!("{job} &"))?;
    terminal.run("until [ -e /tmp/ready ]; do sleep 0.1; done")?;
    ensure!(terminal.run("jobs")?.contains("Running"), "{}", terminal.screen());
    terminal.start("fg")?;
    terminal.press(Key::Control('Z'))?;
    terminal.wait_for_answer("Stopped")?;
    // What is typed before the prompt is there would be taken for its answer.
    terminal.wait_for_prompt()?;
    ensure!(terminal.run("jobs")?.contains("Stopped"), "{}", terminal.screen());
    terminal.run("bg")?;
    ensure!(terminal.run("jobs")?.contains("Running"), "{}", terminal.screen());
    terminal.run("kill %1")?;
    terminal.wait("the job's end", || terminal.run("jobs").is_ok_and(|jobs| !jobs.contains("Running")))?;
    terminal.start("sh -c 'echo up; exec cat'")?;
    terminal.press(Key::Control('C'))?;
    terminal.wait_for_answer("^C")?;
    terminal.wait_for_prompt()?;
    ensure_equal!(terminal.run("echo $?")?, "130\n", "after ^C");
    terminal.start("sh -c 'trap \"echo up\" CONT; echo up; while :; do sleep 0.1; done' | cat")?;
    terminal.press(Key::Control('Z'))?;
    terminal.wait_for_answer("Stopped")?;
    terminal.wait_for_prompt()?;
    terminal.start("fg")?;
    terminal.press(Key::Control('C'))?;
    terminal.wait_for_prompt()?;
    terminal.start("awk 'BEGIN { print \"up\"; for (;;) x++ }'")?;
    terminal.press(Key::Control('\\'))?;
    terminal.wait_for_prompt()?;
    // A background job that reads the terminal is stopped.
    terminal.run("cat &")?;
    terminal.wait("the reader's stop", || {
        terminal.run("jobs").is_ok_and(|jobs| jobs.contains("tty input") || jobs.contains("Stopped"))
    })?;
    Ok(())
}

fn history_and_editing(baton: &Baton) -> Outcome {
    let terminal = baton.terminal(&[])?;
    terminal.wait_for_prompt()?;
    terminal.run("echo first")?;
    terminal.run("echo second")?;
    terminal.press(Key::Up)?;
    terminal.press(Key::Up)?;
    terminal.press(Key::Enter)?;
    terminal.wait("the line from the history", || terminal.screen().matches("\nfirst\n").count() == 2)?;
    terminal.wait_for_prompt()?;
    terminal.type_text("echo wrng")?;
    terminal.press(Key::Left)?;
    terminal.press(Key::Left)?;
    terminal.type_text("o")?;
    terminal.press(Key::Enter)?;
    terminal.wait_for("\nwrong\n")?;
    terminal.wait_for_prompt()?;
    terminal.type_text("ls /etc/hostn")?;
    terminal.press(Key::Tab)?;
    terminal.wait_for("/etc/hostname")?;
    terminal.press(Key::Control('U'))?;
    ensure_equal!(terminal.run("echo clean")?, "clean\n", "after ^U");
    ensure!(terminal.run("history")?.contains("echo second"), "{}", terminal.screen());
    Ok(())
}

/// Leave vi's inserting. What follows an escape at once is taken for a key's sequence, and where to go up and down vi knows when it
/// has drawn: so wait until it has, with the cursor back on what was typed last.
fn escape(terminal: &Terminal, cursor: (u16, u16)) -> Outcome {
    terminal.press(Key::Escape)?;
    let commands = || terminal.screen().lines().last().is_some_and(|line| line.starts_with("- "));
    terminal.wait("vi to take commands", || commands() && terminal.cursor() == cursor)
}

fn vi_and_top(baton: &Baton) -> Outcome {
    let terminal = baton.terminal(&[])?;
    terminal.wait_for_prompt()?;
    terminal.run("printf 'one\\ntwo\\nthree\\n' > /tmp/text")?;
    terminal.line("vi /tmp/text")?;
    terminal.wait_for("~\n~\n")?;
    terminal.type_text("jcwTWO")?;
    terminal.wait_for("TWO")?;
    escape(&terminal, (1, 2))?;
    terminal.type_text("Gofour")?;
    terminal.wait_for("four")?;
    escape(&terminal, (3, 3))?;
    terminal.type_text("kkkx")?;
    terminal.resize(40, 100)?;
    terminal.wait("lines down to the new bottom", || terminal.screen().lines().count() == 40)?;
    terminal.line(":wq")?;
    terminal.wait_for_prompt()?;
    ensure_equal!(terminal.run("cat /tmp/text")?, "on\nTWO\nthree\nfour\n", "what vi wrote");
    terminal.line("top -d 1")?;
    terminal.wait_for("Mem:")?;
    terminal.wait_for("launch")?;
    terminal.wait_for("COMMAND")?;
    terminal.type_text("q")?;
    terminal.wait_for_prompt()?;
    ensure_equal!(terminal.run("echo back")?, "back\n", "after top");
    Ok(())
}
