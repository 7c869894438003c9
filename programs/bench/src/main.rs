//! What we promise to be fast, measured in guest instructions: the rows of native programs.
//!
//! Booted in place of init (see `runner/src/bench`), so that it has every device and every quota, and nothing else runs; the
//! kernel is the one that is shipped, the stubs are the runtime library's. It writes a line of JSON a row on the emulator's
//! debug port and switches the machine off.
//!
//! Meant for QEMU's `-icount shift=0,sleep=off`, where the time-stamp counter counts instructions. What runs between two marks
//! ([`mark`]) is counted by kind from outside.
#![cfg_attr(target_os = "none", no_std, no_main)]

mod device;
mod fault;
mod life;
mod mark;
mod message;
mod pulse;
mod row;
mod share;
mod switch;
mod web;
mod world;
mod worst;

use abi::boot::BootRecord;

use crate::row::Report;
use crate::world::World;

runtime::main!(init run);
runtime::heap!();

fn run(boot: &'static BootRecord) -> ! {
    let report = Report::new(boot.ports);
    match World::new(boot) {
        Ok(world) => {
            message::rows(&world, &report);
            pulse::rows(&world, &report);
            switch::rows(&world, &report);
            device::rows(&world, &report);
            fault::rows(&world, &report);
            life::rows(&world, &report);
            share::rows(&world, &report);
            worst::rows(&world, &report);
        }
        Err(error) => report.failed("world", error),
    }
    report.power_off()
}
