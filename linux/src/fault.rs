//! Faults: of the program they become signals, with a handler or without; of the library they are the end.

use abi::notice::access;
use abi::upcall::SavedPlace;
use protocol::process::{self as service, SignalInformation};
use runtime::Buffers;

use crate::entry::Block;
use crate::memory;
use crate::message::{PROMPT, ask};
use crate::numbers::signals;
use crate::signal::{self, bit};
use crate::signal_frame::Fault;
use crate::task::Task;
use crate::user_memory::bytes_of_mut;
use crate::vsyscall;

/// SEGV_MAPERR.
const NOT_MAPPED: i32 = 1;
/// SEGV_ACCERR.
const NOT_PERMITTED: i32 = 2;

/// What a page fault means whose page is not there: an area that forbids it, what lies beyond a file's end, or nothing.
fn absent(task: &Task, address: u64) -> (u32, i32) {
    const BEYOND_END: i32 = 2;
    let mut area = [0_u64; 4];
    let pid = u64::from(task.process.pid);
    let found = ask(&mut Buffers::new().receive(bytes_of_mut(&mut area)), |buffers| {
        service::areas(task.connection(), pid, address, buffers, PROMPT)
    });
    let [start, end, kind, _] = area;
    if !found.is_ok_and(|answer| answer.count > 0) || !(start..end).contains(&address) {
        (signals::SEGV, NOT_MAPPED)
    } else if kind == memory::BEYOND_FILE << 8 {
        (signals::BUS, BEYOND_END)
    } else {
        (signals::SEGV, NOT_PERMITTED)
    }
}

/// The signal, its code and its address for an exception.
const fn translate(place: &SavedPlace) -> (u32, i32, u64) {
    const BY_KERNEL: i32 = 0x80;
    let SavedPlace { vector, code, address, rip, rsp, .. } = *place;
    match vector {
        // A stack pointer that is no address is exception 12; the emulator says 13.
        13 if (rsp as i64) << 16 >> 16 != rsp as i64 => (signals::BUS, BY_KERNEL, 0),
        0 => (signals::FPE, 1, rip),
        1 => (signals::TRAP, 2, rip),
        3 => (signals::TRAP, BY_KERNEL, 0),
        6 => (signals::ILL, 2, rip),
        11 | 12 => (signals::BUS, BY_KERNEL, 0),
        14 if code & access::PRESENT != 0 => (signals::SEGV, NOT_PERMITTED, address),
        14 => (signals::SEGV, NOT_MAPPED, address),
        16 | 19 => (signals::FPE, 7, rip),
        17 => (signals::BUS, 1, 0),
        _ => (signals::SEGV, BY_KERNEL, 0),
    }
}

/// The processor's error code for a page fault.
const fn error_code(code: u64) -> u64 {
    const USER: u64 = 4;
    let present = if code & access::PRESENT != 0 { 1 } else { 0 };
    let write = if code & access::WRITE != 0 { 2 } else { 0 };
    let execute = if code & access::EXECUTE != 0 { 16 } else { 0 };
    USER | present | write | execute
}

/// Entry: the program faulted, and nobody could help.
pub(crate) unsafe extern "C" fn program_fault(task: *mut Task) {
    // SAFETY: the entry passes the task of the running thread, which nobody else refers to meanwhile.
    let task = unsafe { &mut *task };
    let upcall = task.upcall();
    // SAFETY: the kernel wrote it before it entered here, and writes no other while `fault_active` is set.
    let place = unsafe { (*upcall).fault };
    // SAFETY: the block lives as long as its task.
    unsafe { (*upcall).fault_active = 0 };
    let is_page_fault = place.vector == 14;
    if is_page_fault && vsyscall::serve(task) {
        return;
    }
    let (mut number, mut code, address) = translate(&place);
    if is_page_fault && code == NOT_MAPPED {
        (number, code) = absent(task, address);
    }
    let fault = Fault {
        error: if is_page_fault { error_code(place.code) } else { place.code },
        vector: place.vector,
        address: if is_page_fault { place.address } else { 0 },
    };
    let action = task.actions.lock().get(number);
    if action.handler <= 1 || task.mask & bit(number) != 0 {
        crate::process::end_by_signal(task, number);
    }
    let signal = SignalInformation { signal: number, code, value: address, ..SignalInformation::default() };
    signal::handle(task, &signal, &fault);
}

/// Entry: the library itself faulted, and not where it may: its memory was overwritten.
pub(crate) unsafe extern "C" fn library_fault(task: *mut Task) -> ! {
    // SAFETY: the entry passes the task of the running thread; what can still be wrong is only this program's loss.
    crate::process::end_by_signal(unsafe { &mut *task }, signals::SEGV)
}

// The entry assembly finds the kernel's part at the block's start.
const _: () = assert!(core::mem::offset_of!(Block, upcall) == 0);
