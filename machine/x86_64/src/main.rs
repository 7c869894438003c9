//! Baton on x86_64: boot stub, traps, paging, interrupt controllers.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {}
