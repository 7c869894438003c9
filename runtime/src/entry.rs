//! Entry, panic and end of a native program.

use core::fmt::Write;
use core::sync::atomic::{AtomicU64, Ordering};

use abi::Handle;
use abi::boot::BootRecord;

use crate::object::{memory, process};
use crate::{log, start};

/// Make a program: its entry point (`_start`), which calls `$main` with the start record at hand, and its panic handler.
/// On a host target it makes a `main` that does nothing, so that the workspace builds and tests there; a program whose
/// function is itself called `main` keeps it. `main!(init run)` is for the program that the kernel starts.
#[macro_export]
macro_rules! main {
    (main) => {
        $crate::main!(@entry enter_with_record, main, $crate::entry::panicked);
    };
    (init $main:path) => {
        $crate::main!(@entry enter_init, $main, $crate::entry::init_panicked);

        #[cfg(not(target_os = "none"))]
        fn main() {
            let _ = $main;
        }
    };
    ($main:path) => {
        $crate::main!(@entry enter_with_record, $main, $crate::entry::panicked);

        #[cfg(not(target_os = "none"))]
        fn main() {
            let _ = $main;
        }
    };
    (@entry $enter:ident, $main:path, $panicked:path) => {
        #[cfg(target_os = "none")]
        #[allow(unsafe_code)]
        const _: () = {
            // SAFETY: a program has one entry; its stack pointer is wherever its maker put it, hence aligned here.
            #[unsafe(no_mangle)]
            #[unsafe(naked)]
            #[unsafe(link_section = ".text._start")]
            extern "C" fn _start() -> ! {
                core::arch::naked_asm!("xor ebp, ebp", "and rsp, -16", "call {enter}", "ud2", enter = sym enter)
            }

            extern "C" fn enter(argument: u64) -> ! {
                $crate::entry::$enter(argument, $main)
            }

            #[panic_handler]
            fn panic(information: &core::panic::PanicInfo<'_>) -> ! {
                $panicked(information)
            }
        };
    };
}

/// A native program: remember the record whose address it was started with, run, end.
pub fn enter_with_record<T>(argument: u64, main: impl FnOnce() -> T) -> ! {
    // SAFETY: whoever started this program passed the address of a record, mapped read-only for good; `main!` is the only caller.
    unsafe { start::set_record(argument as *const start::StartRecord) };
    main();
    end()
}

/// Init: run with the boot record whose address it was started with; it must not return.
pub fn enter_init(argument: u64, main: fn(&'static BootRecord) -> !) -> ! {
    // SAFETY: the kernel passed the address of a record, mapped read-only for good; `main!` is the only caller.
    let record = unsafe { &*(argument as *const BootRecord) };
    PORTS.store(record.ports.0, Ordering::Relaxed);
    main(record)
}

/// All I/O ports, if this is init.
static PORTS: AtomicU64 = AtomicU64::new(0);

/// What a panic of init does: say it on the emulator's debug port, end the machine if that can be done, else stop.
pub fn init_panicked(information: &core::panic::PanicInfo<'_>) -> ! {
    let ports = Handle(PORTS.load(Ordering::Relaxed));
    let mut line = log::Line::new();
    // A line that is too long is cut off.
    let _ = write!(line, "{information}");
    for chunk in line.text().chunks(16).chain([&b"\n"[..]]) {
        let _ = memory::port_write_bytes(ports, log::DEBUG_PORT, chunk);
    }
    let _ = memory::port_write(ports, u64::from(abi::host::DEBUG_EXIT_PORT), 4, abi::host::DEBUG_EXIT_PANIC);
    stop()
}

/// Where the part of the program's image begins that it may write: what is before, two processes can share.
#[cfg(all(target_arch = "x86_64", target_os = "none"))]
#[must_use]
pub fn writable_start() -> u64 {
    // SAFETY: link.ld defines it in every native program; only its address is used.
    unsafe extern "C" {
        safe static __writable: u8;
    }
    &raw const __writable as u64
}

/// A host's programs are laid out otherwise.
#[cfg(not(all(target_arch = "x86_64", target_os = "none")))]
#[must_use]
pub fn writable_start() -> u64 {
    0
}

/// End the running process.
pub fn end() -> ! {
    // A process that may not destroy itself stays until its creator does; it must not run on.
    let _ = process::destroy(Handle::SELF_PROCESS);
    stop()
}

#[cfg(all(target_arch = "x86_64", target_os = "none"))]
fn stop() -> ! {
    // SAFETY: an undefined instruction touches nothing; it is a fault, which ends the thread.
    unsafe { core::arch::asm!("ud2", options(noreturn)) }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "none")))]
fn stop() -> ! {
    panic!("a process cannot end itself on a host")
}

/// What a panic does: say it in the log, end the process.
pub fn panicked(information: &core::panic::PanicInfo<'_>) -> ! {
    let mut line = log::Line::new();
    // A line that is too long is cut off.
    let _ = write!(line, "{information}");
    line.append(log::Level::Error);
    end()
}
