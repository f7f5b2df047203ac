//! Addresses, ids, units, errors and the saved-state codec: what every other crate speaks in.

#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
