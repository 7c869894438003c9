//! The call, fed with bytes that a fuzzer chooses by what code of kernel and simulator they reach.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hostility::fuzz(bytes));
