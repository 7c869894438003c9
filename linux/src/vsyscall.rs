//! The three functions at fixed addresses that Linux once mapped into every program, and still acts out: dietlibc's programs
//! call them where there is no vDSO. Nothing is mapped there: the call is a fault, and is served as one.

use crate::numbers::Outcome;
use crate::system;
use crate::task::Task;
use crate::time;
use crate::user_memory;

const GETTIMEOFDAY: u64 = 0xffff_ffff_ff60_0000;
const TIME: u64 = GETTIMEOFDAY + 0x400;
const GETCPU: u64 = GETTIMEOFDAY + 0x800;

/// Serve a call of one of them, from which the program then has returned. Whether it was one.
pub(crate) fn serve(task: &mut Task) -> bool {
    let frame = task.frame();
    let (at, stack) = (frame.rip, frame.rsp);
    let arguments = [frame.rdi, frame.rsi, frame.rdx, 0, 0, 0];
    let function: fn(&mut Task, [u64; 6]) -> Outcome = match at {
        GETTIMEOFDAY => time::gettimeofday,
        TIME => time::time,
        GETCPU => system::getcpu,
        _ => return false,
    };
    let Ok(back) = user_memory::read::<u64>(stack) else { return false };
    // A bad pointer is a fault, as it was when this was code in the program's own memory.
    let Ok(value) = function(task, arguments) else { return false };
    let frame = task.frame();
    frame.answer(Ok(value));
    (frame.rip, frame.rsp) = (back, stack + 8);
    true
}
