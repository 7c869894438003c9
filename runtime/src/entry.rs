//! Entry, panic and end of a native program.

use core::fmt::Write;

use abi::Handle;

use crate::object::process;
use crate::{log, start};

/// Make a program: its entry point (`_start`), which calls `$main` with the start record at hand, and its panic handler.
/// On a host target it makes a `main` that does nothing, so that the workspace builds and tests there; a program whose
/// function is itself called `main` keeps it.
#[macro_export]
macro_rules! main {
    (main) => {
        $crate::main!(@entry main, $crate::entry::begin);
    };
    ($main:path) => {
        $crate::main!(@entry $main, $crate::entry::begin);

        #[cfg(not(target_os = "none"))]
        fn main() {
            let _ = $main;
        }
    };
    (@entry $main:path, $begin:path) => {
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
                $begin(argument);
                $main();
                $crate::entry::end()
            }

            #[panic_handler]
            fn panic(information: &core::panic::PanicInfo<'_>) -> ! {
                $crate::entry::panicked(information)
            }
        };
    };
}

/// What a program's entry does first: remember the record whose address it was started with.
pub fn begin(record: u64) {
    // SAFETY: whoever started this program passed the address of a record, mapped read-only for good; `main!` is the only caller.
    unsafe { start::set_record(record as *const start::StartRecord) };
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
