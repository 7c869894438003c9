//! Whole-system scenarios, on the simulator and in QEMU.
#![no_std]
