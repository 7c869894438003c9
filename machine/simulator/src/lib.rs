//! An imaginary processor: virtual time, a seed decides every choice.
#![no_std]
