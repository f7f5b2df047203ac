//! The Cofferdam hypervisor: the order of bring-up, the CPU's loop, and the wiring of real types.
//!
//! ```text
//! _start (entry) ─► bring_up::on_boot_tables ─► new tables, new stack ─► bring_up::on_own_tables ─► run::for_ever
//! ```
//!
//! # Principles
//! - **Order is the subject.** What is done when is decided here and only here; how is other crates' business.
//! - **One owner.** All state of the CPU's loop hangs from one value, [`run::Host`], on one stack; there are no globals
//!   but those that an interrupt or a panic must find.
//! - **A VM that cannot start is one line**, and the host goes on.
//!
//! # What it must never do
//! Know a device, a table format or a vendor; hold policy.
//!
//! Unsafe is here for the entry, the change of stacks and the heap that exists before there is memory management.

#![no_std]
#![no_main]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

extern crate alloc;

mod bring_up;
mod devices;
mod dying;
mod entropy;
mod entry;
#[cfg(feature = "seeded-faults")]
mod faults;
mod guests;
mod heap;
mod ledger;
mod line;
mod meter;
mod network;
mod operator;
mod overrides;
mod power;
mod run;
mod storage;
mod strays;
mod version;
