//! Point 4: user space as separate processes, and what becomes of one that dies.

use system_tests::{Baton, Key, Outcome, ensure, ensure_equal};

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

fn memory_file_system_is_restarted(baton: &Baton) -> Outcome {
    baton
        .script()
        .prints("echo content > /tmp/file; exec 7< /tmp/file 8< /tmp/script; cat /tmp/file", "content\n")
        .prints("kill -9 $(pidof memfs); sleep 1; echo the shell goes on", "the shell goes on\n")
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
            .prints(&format!("old=$(pidof {service}); kill -9 $old; sleep 0.5; [ $(pidof {service}) -gt $old ]"), "")
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
        .mentions("sleep 0.5; echo works | cat", "works\n")
        .run()
}

fn terminal_discipline(baton: &Baton) -> Outcome {
    let terminal = baton.terminal(&[])?;
    terminal.wait_for_prompt()?;
    // Lines are edited by the terminal for programs that read them.
    terminal.line("cat > /tmp/typed")?;
    terminal.pause();
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
    terminal.line("sleep 100")?;
    terminal.pause();
    terminal.press(Key::Control('C'))?;
    terminal.wait_for("^C")?;
    terminal.wait_for_prompt()?;
    terminal.line("sh -c 'trap \"\" INT; sleep 1; echo survived'")?;
    terminal.pause();
    terminal.press(Key::Control('C'))?;
    terminal.wait_for("^Csurvived\n")?;
    // Without echo, and byte by byte.
    terminal.wait_for_prompt()?;
    terminal.line("stty -echo; read x; stty echo; echo \"got $x\"")?;
    terminal.pause();
    terminal.line("secret")?;
    terminal.wait_for("got secret")?;
    ensure_equal!(terminal.screen().matches("secret").count(), 1, "the secret is not echoed");
    terminal.wait_for_prompt()?;
    terminal.line("stty raw -echo; dd bs=1 count=3 2>/dev/null | od -An -tx1; stty sane")?;
    terminal.pause();
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
    terminal.press(Key::Control('S'))?;
    let is_still = || {
        let before = terminal.bytes().len();
        terminal.pause();
        terminal.bytes().len() == before
    };
    terminal.wait("silence after ^S", is_still)?;
    ensure!(is_still(), "output after ^S");
    terminal.press(Key::Control('Q'))?;
    terminal.wait("more after ^Q", || !is_still())?;
    terminal.press(Key::Control('C'))?;
    terminal.wait("the prompt", || terminal.screen().trim_end().ends_with("^C\nroot@baton:~#"))?;
    // A line is 4095 bytes and its end; what is typed beyond them is not taken.
    terminal.line("cat > /tmp/long")?;
    terminal.pause();
    terminal.line(&"x".repeat(5000))?;
    terminal.press(Key::Control('D'))?;
    terminal.wait_for_prompt()?;
    ensure_equal!(terminal.run("wc -c < /tmp/long")?, "4096\n", "a long line");
    // A paste is taken as fast as it is read.
    terminal.line("cat > /tmp/paste")?;
    terminal.pause();
    terminal.type_text(&format!("{}\r", "y".repeat(70)).repeat(300))?;
    terminal.press(Key::Control('D'))?;
    terminal.wait("the prompt", || terminal.screen().trim_end().ends_with("y\nroot@baton:~#"))?;
    ensure_equal!(terminal.run("wc < /tmp/paste | tr -s ' '")?, " 300 300 21300\n", "a paste");
    Ok(())
}
