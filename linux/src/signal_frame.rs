//! Frames for signal handlers on the program's stack: pushing one, and going back by `rt_sigreturn`.

use protocol::Errno;
use protocol::process::SignalInformation;

use crate::frame::{
    self, AUTO_DISARM, AlternateStack, CONTEXT, INFORMATION, NO_CALL, RED_ZONE, Registers, SignalFrame, places,
};
use crate::signal::{Action, SA_ONSTACK, set_mask};
use crate::task::Task;
use crate::user_memory::{self, Plain, bytes_of};
use crate::vector::{self, AREA_LENGTH, Area};

// SAFETY: `repr(C)`, integers; the assertion on its size in `frame` leaves no padding.
unsafe impl Plain for SignalFrame {}

/// What the processor said of a fault.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fault {
    pub(crate) error: u64,
    pub(crate) vector: u64,
    pub(crate) address: u64,
}

const DIRECTION: u64 = 1 << 10;
const HAS_VECTORS: u64 = 1;
/// UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS.
const STACK_SEGMENT: u64 = 6;
/// Where in saved state software says what is saved.
const SOFTWARE: usize = 464;
const MAGIC_FIRST: u32 = 0x4650_5853;
const MAGIC_LAST: u32 = 0x4650_5845;

/// Save the program's state on its stack, and let it go on in the handler.
pub(crate) fn push(
    task: &mut Task,
    signal: &SignalInformation,
    action: &Action,
    mask: u64,
    fault: &Fault,
) -> Result<(), Errno> {
    let interrupted = *task.frame();
    let stack = task.alternate_stack;
    let on_alternate = action.flags & SA_ONSTACK != 0 && stack.flags & frame::DISABLED == 0 && !stack.holds(interrupted.rsp);
    let top = if on_alternate { stack.address.wrapping_add(stack.length) } else { interrupted.rsp.wrapping_sub(RED_ZONE) };
    let (features, length) = vector::layout();
    let saved_length = if features == 0 { 512 } else { length as u64 + 4 };
    let (vectors_at, frame_at) = places(top, saved_length);
    if on_alternate && frame_at < stack.address {
        return Err(Errno::EFAULT);
    }
    save_vectors(vectors_at, features, length)?;
    let mut registers = Registers::of(&interrupted);
    (registers.error, registers.vector, registers.address) = (fault.error, fault.vector, fault.address);
    registers.vectors = vectors_at;
    let record = SignalFrame {
        restorer: action.restorer,
        flags: STACK_SEGMENT | if features == 0 { 0 } else { HAS_VECTORS },
        link: 0,
        stack: stack.shown(interrupted.rsp),
        registers,
        mask,
        information: frame::information(signal),
    };
    user_memory::write(frame_at, &record)?;
    if stack.flags & AUTO_DISARM != 0 {
        task.alternate_stack = AlternateStack::NONE;
    }
    let next = task.frame();
    next.rdi = u64::from(signal.signal);
    next.rsi = frame_at + INFORMATION;
    next.rdx = frame_at + CONTEXT;
    next.rax = 0;
    next.rip = action.handler;
    next.rsp = frame_at;
    next.rflags &= !DIRECTION;
    next.call = NO_CALL;
    Ok(())
}

fn save_vectors(address: u64, features: u64, length: usize) -> Result<(), Errno> {
    let mut area = Area([0; AREA_LENGTH]);
    vector::save(&mut area);
    if features == 0 {
        return user_memory::write_bytes(address, &area.0[..512]);
    }
    let mut put = |at: usize, bytes: &[u8]| area.0[at..at + bytes.len()].copy_from_slice(bytes);
    put(SOFTWARE, &MAGIC_FIRST.to_le_bytes());
    put(SOFTWARE + 4, &(length as u32 + 4).to_le_bytes());
    put(SOFTWARE + 8, &features.to_le_bytes());
    put(SOFTWARE + 16, &(length as u32).to_le_bytes());
    user_memory::write_bytes(address, &area.0[..length])?;
    user_memory::write_bytes(address + length as u64, bytes_of(&MAGIC_LAST))
}

/// Take the state that a handler leaves behind as the program's.
pub(crate) fn pop(task: &mut Task) -> Result<(), Errno> {
    let address = task.frame().rsp.wrapping_sub(8);
    let record: SignalFrame = user_memory::read(address)?;
    if record.registers.vectors != 0 {
        load_vectors(record.registers.vectors)?;
    }
    *task.frame() = record.registers.frame();
    let mut stack = record.stack;
    stack.flags &= !frame::ON_STACK;
    task.alternate_stack = stack;
    set_mask(task, record.mask);
    Ok(())
}

fn load_vectors(address: u64) -> Result<(), Errno> {
    let mut area = Area([0; AREA_LENGTH]);
    let (features, length) = vector::layout();
    user_memory::read_bytes(address, &mut area.0[..512])?;
    let is_whole = features != 0
        && area.0[SOFTWARE..SOFTWARE + 4] == MAGIC_FIRST.to_le_bytes()
        && user_memory::read::<u32>(address.wrapping_add(length as u64)) == Ok(MAGIC_LAST);
    if is_whole {
        user_memory::read_bytes(address, &mut area.0[..length])?;
    }
    vector::sanitize(&mut area, is_whole);
    vector::restore(&area);
    Ok(())
}
