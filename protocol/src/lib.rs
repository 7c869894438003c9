//! What services say to each other: one file per service.
#![no_std]
