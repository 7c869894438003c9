//! QEMU's side: what it calls, and what we call of it (qemu-plugin.h of QEMU 7.2).

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::fs::File;
use std::io::Write;
use std::sync::{Mutex, OnceLock};

use crate::kind::Kind;
use crate::section::{Counter, Profiled};

type Id = u64;
type Block = c_void;
type Instruction = c_void;
type Executed = extern "C" fn(c_uint, *mut c_void);

/// The version of the interface that QEMU is to speak.
// SAFETY: the symbol's name is QEMU's own.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
pub(crate) static qemu_plugin_version: c_int = 1;

unsafe extern "C" {
    /// libc's: `handle` null is whatever the process has loaded.
    fn dlsym(handle: *const c_void, name: *const c_char) -> *const c_void;
}

/// Functions of QEMU's.
struct Functions {
    on_translation: extern "C" fn(Id, extern "C" fn(Id, *const Block)),
    on_exit: extern "C" fn(Id, extern "C" fn(Id, *mut c_void), *mut c_void),
    length: extern "C" fn(*const Block) -> usize,
    instruction: extern "C" fn(*const Block, usize) -> *mut Instruction,
    data: extern "C" fn(*const Instruction) -> *const u8,
    size: extern "C" fn(*const Instruction) -> usize,
    address: extern "C" fn(*const Instruction) -> u64,
    on_execution: extern "C" fn(*mut Instruction, Executed, c_int, *mut c_void),
}

/// Look a function of QEMU's up; `F` is its type.
fn function<F: Copy>(name: &CStr) -> Option<F> {
    const { assert!(size_of::<F>() == size_of::<*const c_void>()) };
    // SAFETY: the name is a C string; a null handle is allowed.
    let found = unsafe { dlsym(core::ptr::null(), name.as_ptr()) };
    if found.is_null() {
        return None;
    }
    // SAFETY: a function pointer is as large as this address; the caller takes its type from QEMU's header.
    Some(unsafe { core::mem::transmute_copy(&found) })
}

impl Functions {
    fn find() -> Option<Self> {
        Some(Self {
            on_translation: function(c"qemu_plugin_register_vcpu_tb_trans_cb")?,
            on_exit: function(c"qemu_plugin_register_atexit_cb")?,
            length: function(c"qemu_plugin_tb_n_insns")?,
            instruction: function(c"qemu_plugin_tb_get_insn")?,
            data: function(c"qemu_plugin_insn_data")?,
            size: function(c"qemu_plugin_insn_size")?,
            address: function(c"qemu_plugin_insn_vaddr")?,
            on_execution: function(c"qemu_plugin_register_vcpu_insn_exec_cb")?,
        })
    }
}

/// What the callbacks share.
struct State {
    functions: Functions,
    /// Only stretches matter: programs are told of once a block.
    sparse: bool,
    work: Mutex<(Counter, File)>,
}

static STATE: OnceLock<State> = OnceLock::new();

/// Called by QEMU when it has loaded us. 0: all is well.
///
/// # Safety
/// `arguments` are `count` C strings.
// SAFETY: the symbol's name is QEMU's own.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn qemu_plugin_install(
    id: Id,
    _: *const c_void,
    count: c_int,
    arguments: *const *const c_char,
) -> c_int {
    let (mut out, mut profiled) = (None, Profiled::Nothing);
    for number in 0..usize::try_from(count).unwrap_or(0) {
        // SAFETY: there are `count` of them.
        let argument = unsafe { arguments.add(number) };
        // SAFETY: and each is there.
        let argument = unsafe { *argument };
        // SAFETY: it is a C string, which lives as long as this call.
        let text = unsafe { CStr::from_ptr(argument) }.to_string_lossy();
        match text.split_once('=') {
            Some(("out", file)) => out = File::create(file).ok(),
            Some(("profile", "longest")) => profiled = Profiled::Longest,
            Some(("profile", section)) => profiled = section.parse().map_or(Profiled::Nothing, Profiled::Section),
            _ => {
                eprintln!("counter: what is {text}?");
                return 1;
            }
        }
    }
    let (Some(functions), Some(out)) = (Functions::find(), out) else {
        eprintln!("counter: no out=FILE that can be written, or another QEMU than expected");
        return 1;
    };
    let (on_translation, on_exit) = (functions.on_translation, functions.on_exit);
    let (sparse, work) = (profiled == Profiled::Longest, Mutex::new((Counter::new(profiled), out)));
    if STATE.set(State { functions, sparse, work }).is_err() {
        return 1;
    }
    on_translation(id, translated);
    on_exit(id, ended, core::ptr::null_mut());
    0
}

/// An instruction's address and kind in the one word that its callback gets: addresses have their upper 16 bits alike.
fn pack(address: u64, kind: Kind) -> *mut c_void {
    (address << 8 | kind as u64) as *mut c_void
}

fn unpack(word: *mut c_void) -> (u64, Kind) {
    let word = word as u64;
    ((word as i64 >> 8) as u64, Kind::from_number(word as u8))
}

/// QEMU has translated a block: ask to be told of each of its instructions.
extern "C" fn translated(_: Id, block: *const Block) {
    let Some(State { functions, sparse, .. }) = STATE.get() else { return };
    for index in 0..(functions.length)(block) {
        let instruction = (functions.instruction)(block, index);
        let (data, size) = ((functions.data)(instruction), (functions.size)(instruction));
        // SAFETY: QEMU has `size` bytes there, as long as this callback runs.
        let bytes = unsafe { core::slice::from_raw_parts(data, size) };
        let address = (functions.address)(instruction);
        let kind = Kind::of(address, bytes);
        if *sparse && kind == Kind::User && index > 0 {
            continue;
        }
        let word = pack(address, kind);
        // 0: the callback looks at no registers.
        (functions.on_execution)(instruction, executed, 0, word);
    }
}

extern "C" fn executed(_: c_uint, word: *mut c_void) {
    let (address, kind) = unpack(word);
    let Some(Ok(mut work)) = STATE.get().map(|state| state.work.lock()) else { return };
    let (counter, file) = &mut *work;
    if let Some(line) = counter.executed(kind, address) {
        // A line that is missing is noticed by whoever reads them.
        let _ = file.write_all(line.as_bytes());
    }
}

extern "C" fn ended(_: Id, _: *mut c_void) {
    let Some(Ok(mut work)) = STATE.get().map(|state| state.work.lock()) else { return };
    let (counter, file) = &mut *work;
    // Likewise.
    let _ = file.write_all(counter.end().as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_and_kind_fit_into_a_word() {
        for address in [0xffff_ffff_8010_0123, 0x40_0000, 0x7fff_ffff_f000] {
            assert_eq!(unpack(pack(address, Kind::Window)), (address, Kind::Window));
        }
    }
}
