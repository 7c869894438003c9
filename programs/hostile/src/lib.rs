//! Exchanges that no honest program makes, as data: what the hostile program of the guest, the hostile programs on the
//! simulator and the fuzz target have in common. Who fires them decides where they go and what is watched meanwhile.
#![no_std]

pub mod arsenal;
pub mod chance;
pub mod order;
pub mod tally;

pub use arsenal::{Arsenal, FIELD, FIELD_LENGTH, Shot};
pub use chance::{Chance, Random};
pub use order::Order;
pub use tally::{Deed, Tally};
