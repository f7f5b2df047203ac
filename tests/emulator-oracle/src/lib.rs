//! The emulator compared with the processor: `instruction-cases` run natively, in this process, and emulated.
//!
//! # What it must never do
//! Be linked into anything but tests.

#![cfg(all(target_arch = "x86_64", target_os = "linux"))]
#![deny(unsafe_op_in_unsafe_fn)]

mod compare;
mod emulated;
mod native;

pub use compare::{Bench, Tally};
pub use native::Arena;
