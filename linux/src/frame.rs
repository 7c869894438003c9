//! The program's registers while the library runs, and the frame that Linux puts on a program's stack for a signal handler: layouts
//! and arithmetic only.

use protocol::Errno;
use protocol::process::SignalInformation;

/// The program's integer registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Frame {
    pub(crate) r15: u64,
    pub(crate) r14: u64,
    pub(crate) r13: u64,
    pub(crate) r12: u64,
    pub(crate) rbp: u64,
    pub(crate) rbx: u64,
    pub(crate) r11: u64,
    pub(crate) r10: u64,
    pub(crate) r9: u64,
    pub(crate) r8: u64,
    pub(crate) rax: u64,
    pub(crate) rcx: u64,
    pub(crate) rdx: u64,
    pub(crate) rsi: u64,
    pub(crate) rdi: u64,
    pub(crate) rip: u64,
    pub(crate) rflags: u64,
    pub(crate) rsp: u64,
    /// Number of the system call that is being served, or [`NO_CALL`].
    pub(crate) call: u64,
}

/// `Frame::call` outside a system call.
pub(crate) const NO_CALL: u64 = u64::MAX;

impl Frame {
    /// Make the system call once more, as soon as the program goes on.
    pub(crate) const fn repeat(&mut self) {
        if self.call != NO_CALL {
            self.rip = self.rip.wrapping_sub(2);
            self.rax = self.call;
        }
    }

    /// The system call's result.
    pub(crate) fn answer(&mut self, outcome: Result<u64, Errno>) {
        self.rax = match outcome {
            Ok(value) => value,
            Err(errno) => u64::from(errno.0).wrapping_neg(),
        };
    }
}

/// Flags that a program may set: the arithmetic ones and the direction.
const FLAGS: u64 = 0xcd5;
/// What is always set: interrupts, and a bit that is 1.
const FLAGS_ALWAYS: u64 = 0x202;

/// Linux's `stack_t`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct AlternateStack {
    pub(crate) address: u64,
    pub(crate) flags: u32,
    pub(crate) padding: u32,
    pub(crate) length: u64,
}

/// SS_ONSTACK.
pub(crate) const ON_STACK: u32 = 1;
/// SS_DISABLE.
pub(crate) const DISABLED: u32 = 2;
/// SS_AUTODISARM.
pub(crate) const AUTO_DISARM: u32 = 1 << 31;

impl AlternateStack {
    /// None.
    pub(crate) const NONE: Self = Self { address: 0, flags: DISABLED, padding: 0, length: 0 };

    /// Whether `pointer` lies in it.
    pub(crate) const fn holds(&self, pointer: u64) -> bool {
        self.flags & (DISABLED | AUTO_DISARM) == 0 && pointer > self.address && pointer - self.address <= self.length
    }

    /// As a program is shown it.
    pub(crate) const fn shown(&self, pointer: u64) -> Self {
        let on = if self.holds(pointer) { ON_STACK } else { 0 };
        Self { flags: self.flags | on, ..*self }
    }
}

/// Linux's `struct rt_sigframe` for x86_64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct SignalFrame {
    pub(crate) restorer: u64,
    pub(crate) flags: u64,
    pub(crate) link: u64,
    pub(crate) stack: AlternateStack,
    pub(crate) registers: Registers,
    pub(crate) mask: u64,
    pub(crate) information: [u64; 16],
}

/// Linux's `struct sigcontext`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Registers {
    r8: u64,
    r9: u64,
    r10: u64,
    r11: u64,
    r12: u64,
    r13: u64,
    r14: u64,
    r15: u64,
    rdi: u64,
    rsi: u64,
    rbp: u64,
    rbx: u64,
    rdx: u64,
    rax: u64,
    rcx: u64,
    rsp: u64,
    rip: u64,
    rflags: u64,
    /// cs, gs, fs, ss.
    segments: [u16; 4],
    pub(crate) error: u64,
    pub(crate) vector: u64,
    old_mask: u64,
    pub(crate) address: u64,
    pub(crate) vectors: u64,
    reserved: [u64; 8],
}

const _: () = assert!(size_of::<SignalFrame>() == 440 && size_of::<Registers>() == 256);
const _: () = assert!(core::mem::offset_of!(SignalFrame, registers) == 48);
const _: () = assert!(core::mem::offset_of!(SignalFrame, mask) == 304);

/// Offset of the information in a frame.
pub(crate) const INFORMATION: u64 = 312;
/// Offset of the context in a frame.
pub(crate) const CONTEXT: u64 = 8;

impl Registers {
    /// The registers of a frame.
    pub(crate) const fn of(frame: &Frame) -> Self {
        Self {
            r8: frame.r8,
            r9: frame.r9,
            r10: frame.r10,
            r11: frame.r11,
            r12: frame.r12,
            r13: frame.r13,
            r14: frame.r14,
            r15: frame.r15,
            rdi: frame.rdi,
            rsi: frame.rsi,
            rbp: frame.rbp,
            rbx: frame.rbx,
            rdx: frame.rdx,
            rax: frame.rax,
            rcx: frame.rcx,
            rsp: frame.rsp,
            rip: frame.rip,
            rflags: frame.rflags,
            segments: [0x33, 0, 0, 0x2b],
            error: 0,
            vector: 0,
            old_mask: 0,
            address: 0,
            vectors: 0,
            reserved: [0; 8],
        }
    }

    /// As the frame that the program goes on with: flags that are not its own are not taken.
    pub(crate) const fn frame(&self) -> Frame {
        Frame {
            r15: self.r15,
            r14: self.r14,
            r13: self.r13,
            r12: self.r12,
            rbp: self.rbp,
            rbx: self.rbx,
            r11: self.r11,
            r10: self.r10,
            r9: self.r9,
            r8: self.r8,
            rax: self.rax,
            rcx: self.rcx,
            rdx: self.rdx,
            rsi: self.rsi,
            rdi: self.rdi,
            rip: self.rip,
            rflags: self.rflags & FLAGS | FLAGS_ALWAYS,
            rsp: self.rsp,
            call: NO_CALL,
        }
    }
}

/// Where vector state of `length` bytes and the frame go, below `top`.
pub(crate) const fn places(top: u64, length: u64) -> (u64, u64) {
    let vectors = top.wrapping_sub(length) & !63;
    let frame = (vectors.wrapping_sub(size_of::<SignalFrame>() as u64) & !15).wrapping_sub(8);
    (vectors, frame)
}

/// Below the stack pointer programs may keep this much.
pub(crate) const RED_ZONE: u64 = 128;

const CHILD: u32 = 17;
const KERNEL: i32 = 0x80;

/// Linux's `siginfo_t`.
pub(crate) fn information(signal: &SignalInformation) -> [u64; 16] {
    let mut words = [0; 16];
    let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    words[0] = pair(signal.signal, signal.errno);
    words[1] = u64::from(signal.code as u32);
    let is_fault = matches!(signal.signal, 4 | 5 | 7 | 8 | 11) && signal.code > 0;
    if is_fault {
        words[2] = signal.value;
    } else if signal.code < KERNEL {
        words[2] = pair(signal.pid, signal.user);
        words[3] = if signal.signal == CHILD && signal.code > 0 { u64::from(signal.status) } else { signal.value };
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_lies_as_the_abi_wants_it() {
        for top in [0x7000, 0x7001, 0x7fff_ffff] {
            let (vectors, frame) = places(top, 836);
            assert_eq!(vectors % 64, 0);
            assert!(vectors + 836 <= top);
            assert_eq!((frame + 8) % 16, 0, "as after a call");
            assert!(frame + size_of::<SignalFrame>() as u64 <= vectors);
        }
    }

    #[test]
    fn registers_come_back_but_for_dangerous_flags() {
        let frame =
            Frame { r15: 1, rdi: 2, rip: 3, rsp: 4, rflags: u64::MAX, rax: 6, call: NO_CALL, ..Frame::default() };
        let back = Registers::of(&frame).frame();
        assert_eq!(back, Frame { rflags: FLAGS | FLAGS_ALWAYS, ..frame });
        assert_eq!(back.rflags & 0x100, 0, "no single steps");
    }

    #[test]
    fn a_repeated_call_starts_at_its_instruction() {
        let mut frame = Frame { rip: 0x1002, call: 7, ..Frame::default() };
        frame.repeat();
        assert_eq!((frame.rip, frame.rax), (0x1000, 7));
        let mut outside = Frame { rip: 0x1002, call: NO_CALL, ..Frame::default() };
        outside.repeat();
        assert_eq!(outside.rip, 0x1002);
        frame.answer(Err(Errno::ENOENT));
        assert_eq!(frame.rax as i64, -2);
    }

    #[test]
    fn information_has_linux_shapes() {
        let child =
            SignalInformation { signal: 17, code: 1, pid: 5, user: 6, status: 7, ..SignalInformation::default() };
        assert_eq!(information(&child)[..4], [17, 1, 5 | 6 << 32, 7]);
        let fault = SignalInformation { signal: 11, code: 1, value: 0x1234, ..SignalInformation::default() };
        assert_eq!(information(&fault)[..4], [11, 1, 0x1234, 0]);
        let queued = SignalInformation { signal: 34, code: -1, pid: 5, value: 9, ..SignalInformation::default() };
        assert_eq!(information(&queued)[..4], [34, 0xffff_ffff, 5, 9]);
    }

    #[test]
    fn an_alternate_stack_knows_who_is_on_it() {
        let stack = AlternateStack { address: 0x1000, length: 0x1000, ..AlternateStack::default() };
        assert!(!stack.holds(0x1000) && stack.holds(0x1001) && stack.holds(0x2000) && !stack.holds(0x2001));
        assert_eq!(stack.shown(0x1800).flags, ON_STACK);
        assert!(!AlternateStack::NONE.holds(0));
    }
}
