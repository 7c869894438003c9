//! From a system call's number to its handler, and its result back into the program's registers.

use protocol::Errno;

use crate::numbers::{Outcome, RESTART, RESTART_ALWAYS, RESTART_UNHANDLED};
use crate::signal;
use crate::system;
use crate::table;
use crate::task::Task;

type Handler = fn(&mut Task, [u64; 6]) -> Outcome;

macro_rules! handlers {
    ($($number:literal $name:ident $module:ident :: $function:ident;)*) => {
        const fn handlers() -> [Option<Handler>; table::LENGTH] {
            let mut handlers: [Option<Handler>; table::LENGTH] = [None; table::LENGTH];
            $(handlers[$number] = Some(crate::$module::$function);)*
            handlers
        }
    };
}

crate::table::system_calls!(handlers);

static HANDLERS: [Option<Handler>; table::LENGTH] = handlers();

/// Entry: the program made a system call.
pub(crate) unsafe extern "C" fn dispatch(task: *mut Task) {
    // SAFETY: the entry passes the task of the running thread, which nobody else refers to meanwhile.
    let task = unsafe { &mut *task };
    let frame = task.frame();
    let (number, arguments) = (frame.call, [frame.rdi, frame.rsi, frame.rdx, frame.r10, frame.r8, frame.r9]);
    let handler = usize::try_from(number).ok().and_then(|number| HANDLERS.get(number)).copied().flatten();
    let outcome = match handler {
        Some(handler) => handler(task, arguments),
        None => {
            system::report(task, number);
            Err(Errno::ENOSYS)
        }
    };
    finish(task, outcome);
}

fn finish(task: &mut Task, outcome: Outcome) {
    if let Err(error @ (RESTART | RESTART_ALWAYS | RESTART_UNHANDLED)) = outcome {
        task.restart = Some(error);
    } else {
        task.frame().answer(outcome);
    }
    if task.restart.is_some() || task.taken.is_some() || task.saved_mask.is_some() {
        signal::deliver_all(task);
    }
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
