//! A QEMU plugin that counts instructions by kind, and how long the kernel keeps interrupts waiting. The guest notices nothing
//! of it: what is measured is the kernel that is shipped.
//!
//! Programs say by marks ([`Kind::Mark`], instructions that do nothing) what belongs together: *sections* ([`section::Section`]). Each is
//! written as a line of JSON to the file that the plugin is given (`out=FILE`); the last line is about the whole run.
//!
//! With `profile=NUMBER`, how often each address was executed in that section is written too; with `profile=longest`, in the
//! longest stretch of all.
//!
//! QEMU's plugin interface, version 1 (QEMU 5.2 to 8.2). Its functions are looked up when it loads us, so that nothing
//! here needs QEMU to be linked. One virtual processor.
#![allow(unsafe_code)]

mod interface;
mod kind;
mod section;

pub use kind::Kind;
pub use section::Section;
