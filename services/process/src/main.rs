//! Owns all free memory; processes, address spaces, faults; pids, signals and wait for POSIX.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {}
