//! Random instructions with all that they work on, and what is compared after two machines have executed them.
//!
//! `tests/emulator-oracle` runs them natively on a host and in the emulator; the guest `instructions` runs them natively
//! on memory of its own and on memory that the hypervisor emulates.
//!
//! # Principles
//! - **A case is its seed.** The same number gives the same instruction and state on any machine.
//! - **Only what is harmless runs.** Instructions are put together from a table, never from random bytes.
//! - **The processor is right.** Registers, defined flags, memory and faults (vector, error code, CR2) must be equal.
//!
//! # What it must never do
//! Depend on a crate of the hypervisor: a mistake there must not hide itself here. Allocate: a guest has no heap.

#![no_std]
#![forbid(unsafe_code)]

mod case;
mod code;
mod difference;
mod encoding;
mod generate;
mod random;
mod undefined;

pub use case::{Case, Ending, MEMORY_BYTES, Machine, Outcome, PAGE, Place, Registers};
pub use code::Code;
pub use difference::{Difference, equal};
