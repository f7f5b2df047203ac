//! A virtual machine: its lifecycle, its loaders, and its exits dispatched to devices.
//!
//! # Principles
//! - **Everything the guest gives is hostile.** A register, an address, a file: checked before use; the worst that a
//!   guest can reach is the end of its own VM.
//! - **The exit path is sacred.** From a hot exit to the next entry nothing allocates, locks, formats or dispatches
//!   dynamically.
//! - **Generic below, concrete above.** The vCPU, the guest's memory and the host are type parameters, so that all of it
//!   runs under `cargo test`; devices are owned by value and dispatched by `match`.
//! - **A VM's end tells its story.** One line with name and reason; a crash adds registers and the last exits.
//!
//! # What it must never do
//! Touch hardware, wait, or know that there is another VM.

#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

extern crate alloc;

mod exits;
pub mod layout;
pub mod loader;
mod platform;
pub mod stats;
#[cfg(test)]
mod testing;
pub mod vm;

pub use layout::RamLayout;
pub use loader::{File, Image, LoadError, Loaded, Module};
pub use stats::Stats;
pub use vm::{CrashReport, Ending, Fault, Host, Lifecycle, Moment, PageInMap, Served, Settings, Vm};
