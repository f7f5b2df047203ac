//! What stands behind a guest's devices: consoles now; volumes and the switch in their step.
//!
//! # Principles
//! - A backend never waits: it takes what it has room for and says what it dropped.
//! - A backend belongs to one VM and costs no other VM anything.
//!
//! # What it must never do
//! Reach into a guest's memory or a device's registers.

#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

extern crate alloc;

pub mod console;

pub use console::VmConsole;
