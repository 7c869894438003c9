//! `cargo run`: set-up, build, boot image, QEMU.
fn main() {}
