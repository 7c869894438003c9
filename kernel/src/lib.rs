//! The Baton microkernel: a portable library without `unsafe`, generic over the [`machine::Machine`] trait.
#![no_std]
#![forbid(unsafe_code)]

pub mod machine;
