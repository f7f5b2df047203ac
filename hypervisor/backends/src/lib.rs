//! What stands behind a guest's devices: consoles, volumes and the switch.
//!
//! # Principles
//! - A backend never waits: it takes what it has room for and says what it dropped.
//! - What a VM has of a backend is its own and costs no other VM anything; what VMs share, a drive or a network, is bounded
//!   for each of them.
//!
//! # What it must never do
//! Reach into a guest's memory or a device's registers.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

extern crate alloc;

pub mod console;
pub mod switch;
pub mod volume;

pub use console::VmConsole;
