//! Starts what boot/command asks for: the shell, or one program with its streams, and reports how it ended.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {}
