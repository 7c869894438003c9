//! Point 4: user space as separate processes, and what becomes of one that dies.

use std::time::Duration;

use system_tests::{Baton, Key, Outcome, Terminal, ensure, ensure_equal};

use crate::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("point_04_services_are_processes", services_are_processes),
    ("point_04_memory_file_system_is_restarted", memory_file_system_is_restarted),
    ("point_04_each_service_is_restarted", each_service_is_restarted),
    ("point_04_terminal", terminal_discipline),
    ("point_04_terminal_takes_much_and_can_be_held", terminal_takes_much_and_can_be_held),
];

fn services_are_processes(baton: &Baton) -> Outcome {
    let mut script = baton.script();
    for name in [
        "init",
        "process",
        "path",
        "registry",
        "memfs",
        "bootfs",
        "console",
        "serial",
        "virtio-serial",
        "clock",
        "pipe",
        "device",
        "procfs",
        "log",
        "launch",
    ] {
        script = script.mentions("ps", &format!("[{name}]"));
    }
    script
        .ends("dmesg | grep -q .", 0)
        .ends("echo x > /bin/x", 1)
        .ends("echo x > /proc/version", 1)
        .prints("head -c 4 /dev/zero | od -An -tx1", " 00 00 00 00\n")
        .prints("cat /dev/null | wc -c; echo x > /dev/null", "0\n")
        .prints("head -c 1000 /dev/urandom | wc -c", "1000\n")
        .prints("cat /proc/self/comm", "cat\n")
        .prints("cat /proc/$$/cmdline | tr '\\0' ' '", "sh /tmp/script ")
        .prints("grep -c . /proc/stat /proc/meminfo /proc/uptime /proc/loadavg >/dev/null && echo there", "there\n")
        .prints(
            "cd /; ls",
            "bin\nboot\ndev\netc\nhome\nlib\nmnt\nopt\nproc\nroot\nrun\nsbin\nsrv\nsys\nsystem\ntmp\nusr\nvar\n",
        )
        .run()
}

/// Commands that kill a service and wait until there is another.
fn kill_and_wait(service: &str) -> String {
    format!(
        "old=$(pidof {service}); kill -9 $old; until [ \"$(pidof {service})\" -gt $old ] 2>/dev/null; do sleep 0.1; done"
    )
}

fn memory_file_system_is_restarted(baton: &Baton) -> Outcome {
    baton
        .script()
        .prints("echo content > /tmp/file; exec 7< /tmp/file 8< /tmp/script; cat /tmp/file", "content\n")
        .prints(&format!("{}; echo the shell goes on", kill_and_wait("memfs")), "the shell goes on\n")
        .mentions("cat <&7", "Input/output error")
        .ends("cat /tmp/file", 1)
        .prints("mkdir -p /tmp; echo again > /tmp/new; cat /tmp/new", "again\n")
        .mentions("ps", "[memfs]")
        .mentions("dmesg", "memfs")
        .run()
}

/// What is open at a service that was killed is lost; all else goes on, and what is opened afterwards is as it should be.
fn each_service_is_restarted(baton: &Baton) -> Outcome {
    let open = "exec 5>/tmp/kept 6</bin/busybox 7</dev/zero 8</proc/version; echo before >&5";
    let lost = |service: &str, owner: &str| if service == owner { 1 } else { 0 };
    let mut script = baton.script();
    for service in ["log", "registry", "path", "bootfs", "device", "procfs", "pipe"] {
        script = script
            .prints(open, "")
            .prints(&kill_and_wait(service), "")
            .prints("echo after >&5; cat /tmp/kept", "before\nafter\n")
            .ends("head -c 4 <&6 2>&1 | grep -q ELF", lost(service, "bootfs"))
            .ends("dd bs=1 count=1 <&7 2>/dev/null >/dev/null", lost(service, "device"))
            .ends("read version <&8", lost(service, "procfs"))
            .prints("cd /etc; ls -d passwd /bin/sh; cd /; echo through | cat", "/bin/sh\npasswd\nthrough\n")
            .prints("head -c 2 /dev/zero | wc -c; cut -d ' ' -f 1 /proc/version", "2\nLinux\n")
            .prints("[ -p /tmp/fifo ] || mkfifo /tmp/fifo; echo by name > /tmp/fifo & cat /tmp/fifo", "by name\n")
            .mentions("dmesg", &format!("init: {service} "));
    }
    // Who waits at a service that dies is told.
    script
        .mentions("{ sleep 1; echo late; } | cat & sleep 0.3; kill -9 $(pidof pipe); wait; echo told", "told\n")
        .mentions("echo works | cat", "works\n")
        .run()
}

fn terminal_discipline(baton: &Baton) -> Outcome {
    let terminal = baton.terminal(&[])?;
    terminal.wait_for_prompt()?;
    // Lines are edited by the terminal for programs that read them.
    terminal.start("sh -c 'echo up; exec cat > /tmp/typed'")?;
    terminal.type_text("wrogn")?;
    terminal.press(Key::Backspace)?;
    terminal.press(Key::Backspace)?;
    terminal.line("ng")?;
    terminal.type_text("all of this goes")?;
    terminal.press(Key::Control('U'))?;
    terminal.line("kept")?;
    terminal.type_text("one two")?;
    terminal.press(Key::Control('W'))?;
    terminal.press(Key::Enter)?;
    terminal.press(Key::Control('D'))?;
    terminal.wait_for_prompt()?;
    ensure_equal!(terminal.run("cat /tmp/typed")?, "wrong\nkept\none \n", "what was typed");
    // Signals from keys.
    terminal.start("sh -c 'echo up; exec sleep 1000'")?;
    terminal.press(Key::Control('C'))?;
    terminal.wait_for_answer("^C")?;
    terminal.wait_for_prompt()?;
    terminal.start("sh -c 'trap \"\" INT; echo up; read x; echo survived'")?;
    terminal.press(Key::Control('C'))?;
    terminal.wait_for_answer("^C")?;
    terminal.press(Key::Enter)?;
    terminal.wait_for_answer("^C\nsurvived\n")?;
    // Without echo, and byte by byte.
    terminal.wait_for_prompt()?;
    terminal.start("stty -echo; echo up; read x; stty echo; echo \"got $x\"")?;
    terminal.line("secret")?;
    terminal.wait_for("got secret")?;
    ensure_equal!(terminal.screen().matches("secret").count(), 1, "the secret is not echoed");
    terminal.wait_for_prompt()?;
    terminal.start("stty raw -echo; echo up; dd bs=1 count=3 2>/dev/null | od -An -tx1; stty sane")?;
    terminal.press(Key::Control('C'))?;
    terminal.press(Key::Control('D'))?;
    terminal.type_text("x")?;
    terminal.wait_for("03 04 78")?;
    terminal.wait_for_prompt()?;
    ensure!(terminal.run("tty")?.contains("/dev/"), "{}", terminal.screen());
    ensure_equal!(terminal.run("stty size")?, "24 80\n", "the window's size");
    Ok(())
}

fn terminal_takes_much_and_can_be_held(baton: &Baton) -> Outcome {
    let terminal = baton.terminal(&[])?;
    terminal.wait_for_prompt()?;
    terminal.line("yes")?;
    terminal.wait_for("y\ny\ny\n")?;
    terminal.press(Key::Control('C'))?;
    terminal.wait_for_answer("^C")?;
    terminal.wait_for_prompt()?;
    can_be_held(&terminal)?;
    // A line is 4095 bytes and its end; what is typed beyond them is not taken.
    terminal.start("sh -c 'echo up; exec cat > /tmp/long'")?;
    terminal.line(&"x".repeat(5000))?;
    terminal.press(Key::Control('D'))?;
    terminal.wait_for_prompt()?;
    ensure_equal!(terminal.run("wc -c < /tmp/long")?, "4096\n", "a long line");
    // A paste waits for who reads it, however late.
    for begins in ["", "sleep 1; "] {
        terminal.start(&format!("sh -c 'echo up; {begins}exec cat > /tmp/paste'"))?;
        terminal.type_text(&format!("{}\r", "y".repeat(70)).repeat(300))?;
        terminal.press(Key::Control('D'))?;
        terminal.wait_for_prompt()?;
        ensure_equal!(terminal.run("wc < /tmp/paste | tr -s ' '")?, " 300 300 21300\n", "a paste");
    }
    // Even if nobody reads it: ^C comes through.
    terminal.start("echo up; while :; do :; done")?;
    terminal.type_text(&format!("{}\r", ": ".repeat(50)).repeat(100))?;
    terminal.press(Key::Control('C'))?;
    terminal.wait_for_answer("^C")?;
    terminal.wait_for_prompt()
}

/// Held back is what a program that writes all the time has not written meanwhile, by its own clock.
fn can_be_held(terminal: &Terminal) -> Outcome {
    const SECONDS: f64 = 0.3;
    /// On a busy host the guest may not have run between two keys: then once more.
    const BETWEEN_KEYS: Duration = Duration::from_millis(500);
    let pause = || {
        let answer = terminal.answer();
        let (whole, _) = answer.rsplit_once('\n').unwrap_or_default();
        let times: Vec<f64> = whole.lines().filter_map(|line| line.parse().ok()).collect();
        times.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max)
    };
    terminal.line("while read up idle < /proc/uptime; do echo $up; done")?;
    terminal.wait("the time", || pause() > 0.0)?;
    terminal.wait("a pause between ^S and ^Q", || {
        let pressed = terminal.press(Key::Control('S')).is_ok();
        std::thread::sleep(BETWEEN_KEYS);
        let before = terminal.bytes().len();
        let resumed = terminal.press(Key::Control('Q')).is_ok();
        let went_on = terminal.wait("more after ^Q", || terminal.bytes().len() > before).is_ok();
        pressed && resumed && went_on && pause() > SECONDS
    })?;
    terminal.press(Key::Control('C'))?;
    terminal.wait_for_answer("^C")?;
    terminal.wait_for_prompt()
}
