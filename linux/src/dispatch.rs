//! From a system call's number to its handler, and its result back into the program's registers.

use protocol::Errno;

use crate::numbers::{Outcome, RESTART, RESTART_ALWAYS, RESTART_UNHANDLED};
use crate::system;
use crate::table;
use crate::task::Task;

/// Carries out a system call whose arguments are in the task's frame: what the program finds in `rax`.
pub(crate) type Handler = unsafe extern "C" fn(*mut Task) -> u64;

macro_rules! handlers {
    ($($number:literal $name:ident $module:ident :: $function:ident;)*) => {
        const fn handlers() -> [Handler; table::LENGTH] {
            let mut handlers: [Handler; table::LENGTH] = [missing; table::LENGTH];
            $({
                unsafe extern "C" fn handler(task: *mut Task) -> u64 {
                    // SAFETY: the entry passes the task of the running thread, which nobody else refers to meanwhile.
                    let task = unsafe { &mut *task };
                    let frame = task.frame();
                    let arguments = [frame.rdi, frame.rsi, frame.rdx, frame.r10, frame.r8, frame.r9];
                    let outcome = crate::$module::$function(task, arguments);
                    answer(task, outcome)
                }
                handlers[$number] = handler;
            })*
            handlers
        }
    };
}

crate::table::system_calls!(handlers);

/// What the entry calls, by number.
pub(crate) static HANDLERS: [Handler; table::LENGTH] = handlers();

/// Entry: the program made a system call that there is not.
pub(crate) unsafe extern "C" fn missing(task: *mut Task) -> u64 {
    // SAFETY: as for a handler.
    let task = unsafe { &mut *task };
    let number = task.frame().call;
    system::report(task, number);
    refuse(task, Errno::ENOSYS)
}

#[inline(always)]
fn answer(task: &mut Task, outcome: Outcome) -> u64 {
    match outcome {
        Ok(value) => value,
        Err(error) => refuse(task, error),
    }
}

#[inline(never)]
fn refuse(task: &mut Task, error: Errno) -> u64 {
    if let RESTART | RESTART_ALWAYS | RESTART_UNHANDLED = error {
        task.restart = Some(error);
        task.set_unfinished(true);
    }
    u64::from(error.0).wrapping_neg()
}

/// End a process whose library cannot go on.
pub(crate) fn give_up() -> ! {
    loop {
        // There is no answer: this thread is destroyed meanwhile.
        let _ = protocol::process::exit_signal(
            protocol::process::CONNECTION,
            u64::from(crate::numbers::signals::ABRT),
            0,
            &mut runtime::Buffers::new(),
            runtime::Options::NONE,
        );
        runtime::object::thread::yield_now();
    }
}

#[panic_handler]
fn panic(information: &core::panic::PanicInfo<'_>) -> ! {
    struct Line([u8; 256], usize);
    impl core::fmt::Write for Line {
        fn write_str(&mut self, text: &str) -> core::fmt::Result {
            let count = text.len().min(self.0.len() - self.1);
            self.0[self.1..self.1 + count].copy_from_slice(&text.as_bytes()[..count]);
            self.1 += count;
            Ok(())
        }
    }
    let mut line = Line([0; 256], 0);
    // What does not fit is cut off.
    let _ = core::fmt::write(&mut line, format_args!("{information}"));
    system::log_bytes(&line.0[..line.1]);
    give_up()
}
