//! The emulator compared with the processor: random instructions run natively, in this process, and emulated.
//!
//! # Principles
//! - **The processor is right.** Registers, defined flags, memory and faults (vector, error code, CR2) must be equal.
//! - **A case is its seed.** The same number gives the same instruction and state on any machine.
//! - **Only what is harmless runs.** Instructions are put together from a table, never from random bytes.
//!
//! # What it must never do
//! Be linked into anything but tests.

#![cfg(all(target_arch = "x86_64", target_os = "linux"))]
#![deny(unsafe_op_in_unsafe_fn)]

mod case;
mod compare;
mod emulated;
mod encoding;
mod generate;
mod native;
mod random;

pub use case::Case;
pub use compare::{Difference, Tally, compare};
pub use native::Arena;
