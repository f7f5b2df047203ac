//! One radix walker over table memory, with an entry format per kind of table.
//!
//! A [`Tree`] maps a linear space of 4 KiB pages to host-physical memory. Where its tables lie is the business of a
//! [`TableMemory`], what an entry's bits mean is the business of an [`EntryFormat`]; the walk itself exists once.
//!
//! # Principles
//! - **All or nothing.** An operation that fails leaves every translation as it was.
//! - **The largest page that fits.** Leaves are split when a part of them changes, and a table without entries is
//!   given back at once.
//! - **Say what is stale.** Every change returns a [`Flush`]; who applies it decides when freed tables may be used
//!   again (with several CPUs: after a flush epoch).
//! - **No memory of its own.** Nothing here allocates, locks, or touches hardware.
//!
//! # What it must never do
//! Dereference an address, or know who owns a frame.

#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod error;
pub mod format;
pub mod table;
pub mod tree;

#[cfg(test)]
mod tests;

pub use error::{Flush, MapError};
pub use format::{Attributes, CacheMode, Ept, Host, Npt, Permissions};
pub use table::{ENTRIES, EntryFormat, Level, OutOfTables, Slot, TableMemory};
pub use tree::{Geometry, Mapping, Span, Tree};
