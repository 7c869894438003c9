//! What we promise to be fast, measured in guest instructions: the rows of native programs.
//!
//! Meant for QEMU's `-icount shift=0,sleep=off`, where the time-stamp counter counts instructions. `launch` runs it when the host
//! asks for it: it is then an ordinary program in a system that is up, and what it measures is the kernel that is shipped.
//! The rows of POSIX programs are measured by one: see `runner/src/bench`.
#![no_std]

mod rows;
mod world;

pub use rows::{Row, all};
