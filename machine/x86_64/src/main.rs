//! Baton on x86_64: boot stub, traps, paging, interrupt controllers.
//!
//! The way from power-on: [`pvh`] (the first instructions) → [`boot`] (memory is carved, page tables are made) → [`start`]
//! (the processor is set up) → [`kernel::Kernel::run`], whose loop calls [`machine::X86`].
//!
//! | module | what |
//! |---|---|
//! | [`pvh`], [`boot`], [`carve`] | the boot stub; not part of the running kernel |
//! | [`layout`] | the kernel's half of every address space |
//! | [`machine`] | the `Machine` trait, put together from the rest |
//! | [`trap`], [`message`], [`context`], [`vector`], [`bases`], [`segments`] | into user code and out again |
//! | [`space`], [`page`] | page tables, copies between spaces |
//! | [`clock`], [`ticks`], [`apic`], [`pic`] | time and interrupts |
//! | [`ring`] | the trace |
//! | [`processor`], [`serial`], [`range`] | instructions, last words, sets of addresses |
//!
//! What must hold: interrupts are off in all kernel code but the wait of [`trap::idle`]; the kernel has no floating point
//! and no vector code (its target has none), so those registers are always some program's; user memory is reached through
//! the direct map only, never by a user address (SMAP would fault). One CPU for now: statics that become per-CPU are in
//! `trap`, `vector`, `segments` and `ring` only.
//!
//! On the host (tests, clippy) only the arithmetic is compiled; clippy sees everything.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![cfg_attr(not(target_os = "none"), allow(dead_code))]
#![allow(unsafe_code)]

mod carve;
mod page;
mod range;
mod ticks;

macro_rules! processor_modules {
    ($($name:ident)*) => {$(
        #[cfg(any(target_os = "none", all(clippy, target_arch = "x86_64")))]
        mod $name;
    )*};
}

processor_modules! { apic bases boot clock context layout machine message pic processor pvh ring segments serial space start trap vector }

#[cfg(any(target_os = "none", all(clippy, target_arch = "x86_64")))]
use start::start;

#[cfg(not(target_os = "none"))]
fn main() {}
