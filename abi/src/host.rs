//! The control port: fixed records between the host's runner and the system, on the virtio-serial port `baton.control`.

/// A record, little-endian, both ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct HostRecord {
    /// One of the kinds below.
    pub kind: u32,
    /// First argument.
    pub a: u32,
    /// Second argument.
    pub b: u32,
    /// Third argument.
    pub c: u32,
}

const _: () = assert!(size_of::<HostRecord>() == 16);

/// To the guest: the terminal has `a` rows and `b` columns.
pub const RESIZE: u32 = 1;
/// To the host: the program is about to start. `a`, `b`: low and high half of the time-stamp counter at the kernel's entry, 0 if unknown.
pub const READY: u32 = 0x101;
/// To the host: the program ended with status `a`; everything it wrote was handed to its ports before. `b`: 1 if Baton could not run it.
pub const EXIT: u32 = 0x102;
/// To the host: `a` bytes of text for the user follow.
pub const TEXT: u32 = 0x103;

/// Name of the control port.
pub const CONTROL_PORT: &str = "baton.control";
/// Name of the port that is an executed program's standard input.
pub const STDIN_PORT: &str = "baton.stdin";
/// Name of the port that is an executed program's standard output.
pub const STDOUT_PORT: &str = "baton.stdout";
/// Name of the port that is an executed program's standard error.
pub const STDERR_PORT: &str = "baton.stderr";
/// Name of the port to which the trace is passed on, if one is asked for.
pub const TRACE_PORT: &str = "baton.trace";

/// The report line, a 16550: first I/O port and interrupt line. To each byte that the host sends there, the answer is text that says what
/// every thread is doing, then [`REPORT_END`].
pub const REPORT_LINE: (u64, u64) = (0x2f8, 3);
/// End of transmission.
pub const REPORT_END: u8 = 4;

/// I/O port (not virtio) whose 32-bit write ends the virtual machine; used when nothing else can.
pub const DEBUG_EXIT_PORT: u16 = 0xf4;
/// Written to [`DEBUG_EXIT_PORT`] by a kernel that cannot go on; the emulator then exits with `(value << 1) | 1`.
pub const DEBUG_EXIT_PANIC: u32 = 0x2a;
/// Written to [`DEBUG_EXIT_PORT`] to power off; the emulator then exits with `(value << 1) | 1`.
pub const DEBUG_EXIT_POWER_OFF: u32 = 0x10;
