//! The Baton microkernel: a portable library without `unsafe`, generic over the [`machine::Machine`] trait.
//!
//! The machine crate finds out what memory there is, places [`Tables`] (see [`Tables::regions`]), fills in a [`Boot`],
//! and calls [`Kernel::new`] and [`Kernel::run`]. One file per concept: objects (`process`, `thread`, `baton`, `gate`,
//! `connection`, `pulse`, `memory`, `mapping`), what they are kept in (`tables`, `header`, `tree`, `handle_table`,
//! `quota`), the message path (`exchange`, `call`, `reply`, `transfer`, `notice`, `waiting`), time (`schedule`, `alarm`,
//! `interrupt`), what goes wrong (`fault`, `death`), and what can be asked of each object (`object/`).
#![no_std]
#![forbid(unsafe_code)]

mod alarm;
mod baton;
mod billing;
mod boot;
mod bytes;
mod call;
mod connection;
mod death;
mod envelope;
mod exchange;
#[cfg(test)]
mod fake;
mod fault;
mod gate;
mod handle_table;
mod header;
mod helping;
pub mod inspect;
mod interrupt;
mod kernel;
mod lifecycle;
pub mod machine;
mod mapping;
mod memory;
mod notice;
mod object;
mod process;
mod pulse;
mod quota;
mod ready;
mod reply;
mod schedule;
mod tables;
mod thread;
mod trace;
mod transfer;
mod tree;
mod waiting;

pub use boot::{Boot, KEPT_PORTS, PortRange, Range};
pub use exchange::{Exchange, Finished, Missed};
pub use kernel::Kernel;
pub use tables::{Capacities, FRAMES, HANDLE_PAGES, MAPPINGS, OBJECTS, Region, TABLES, Tables};
